"""A capture written beside another: new poses and cameras, the same photographs and depth maps."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float64

from scenewise.errors import ConventionError
from scenewise.geometry.transforms import transform_points
from scenewise.io.atomic import atomic_write_bytes, atomic_write_json, atomic_write_text, disk_errors, link_or_copy
from scenewise.io.georeference import GPS_CSV_NAME
from scenewise.io.images import encoded_picture, rgb_over, with_image
from scenewise.io.placing import source_from_world
from scenewise.io.registered_depth import DepthCamera
from scenewise.io.rgbd.calibration import opencv_distortion, write_calibration
from scenewise.io.rgbd.capture_json import CAPTURE_JSON_NAME, read_capture_json
from scenewise.io.rgbd.number_files import matrix_text, write_rgbd_intrinsics
from scenewise.io.views import is_file
from scenewise.parts.poses.refinement.bundle import AdjustedBundle, as_model
from scenewise.parts.poses.refinement.placing import Placed
from scenewise.parts.poses.refinement.views import DepthSource, RefinementViews, lens_of_frame
from scenewise.scenes.captures import Capture, every_nth_name
from scenewise.scenes.frames import Frame

HELD_OUT_NAME = "held_out.txt"
"""Names of held-out views beside a model, where they are not every eighth."""
_MAPS = ("class", "instance")
_HOLDOUT = 8


def layout_for(capture: Capture) -> Literal["rgbd", "colmap"]:
    """Captures with depth stay so, as an RGB-D folder, which knows one colour camera; everything else becomes a COLMAP model."""
    if capture.source_format in {"rgbd", "scannet"}:
        return "rgbd"
    if capture.source_format == "co3d":  # RGB-D folders are in metres, and its poses are in no known unit
        return "colmap"
    frames = capture.frames_with_image
    has_depth = any(frame.load_depth is not None for frame in frames)
    return "rgbd" if has_depth and len({lens_of_frame(capture, frame) for frame in frames}) == 1 else "colmap"


def leaves_depth_out(capture: Capture) -> bool:
    """Whether there are depth maps that the layout has no place for."""
    return layout_for(capture) == "colmap" and any(frame.load_depth is not None for frame in capture.frames_with_image)


def needs_split_file(capture: Capture) -> bool:
    """Whether the held-out views have to be named beside the model: they are not the usual every eighth."""
    return layout_for(capture) == "colmap" and capture.test_names != every_nth_name(capture.frames, _HOLDOUT)


def write_capture(folder: Path, capture: Capture, views: RefinementViews, found: AdjustedBundle, placed: Placed) -> None:
    """Writes the files of a capture into an existing folder.

    Args:
        folder: empty.
        capture: that was refined.
        views: of it.
        found: the adjusted bundle.
        placed: its poses and points in the world.

    Raises:
        ConventionError: views of an RGB-D capture that do not share one camera.
        ResourceError: the disk is full.
    """
    if layout_for(capture) == "rgbd":
        _write_rgbd(folder, capture, views, found, placed)
    else:
        _write_colmap(folder, capture, views, found, placed)


def _write_rgbd(folder: Path, capture: Capture, views: RefinementViews, found: AdjustedBundle, placed: Placed) -> None:
    if len(views.lenses) > 1:
        raise ConventionError(
            str(capture.root), expected="one colour camera", got=f"{len(views.lenses)} lenses", fix="refine their views apart"
        )
    lens = found.bundle.lenses[0]
    kept = read_capture_json(capture.root) if capture.source_format == "rgbd" else {}
    more: dict[str, Any] = {key: value for key, value in kept.items() if key not in {"color_distortion", "pose_camera"}}
    depth = next((source for source in views.depth if source is not None), None)
    step = 0.001 if depth is None else depth.units_per_code
    if depth is None:
        write_rgbd_intrinsics(folder, lens.K, lens.width, lens.height)
        distortion = opencv_distortion(lens)
        more |= {"color_distortion": list(distortion)} if any(distortion) else {}
    else:
        transform = np.eye(4) if placed.depth is None else placed.depth.after.depth_from_color
        K = depth.K if placed.depth is None else placed.depth.K
        more |= write_calibration(folder, lens, DepthCamera(K, np.linalg.inv(transform)), depth.size)
        more["depth_codes_per_metre"] = 1.0 / step
    source_from_camera = source_from_world(capture.world_from_source) @ np.linalg.inv(placed.camera_from_world)
    names: dict[str, str] = {}
    for index, (frame, source) in enumerate(zip(views.frames, views.depth)):
        image = frame.image_path
        assert image is not None, "photographs are files"
        named_so = ".color." in image.name
        stem = image.name.split(".color.")[0] if named_so else f"frame-{index:06d}"
        names[frame.name] = f"{stem}.color{image.suffix.lower()}"
        link_or_copy(image, folder / names[frame.name])
        _link_mask(frame, folder, names[frame.name])
        if source is not None:
            _write_depth(
                source, depth.units_per_code if depth is not None else source.units_per_code, folder / f"{stem}.depth.png"
            )
        for kind in _MAPS:
            beside = image.with_name(f"{stem}.{kind}.png")
            if named_so and is_file(beside):
                link_or_copy(beside, folder / beside.name)
        with disk_errors(folder):
            (folder / f"{stem}.pose.txt").write_bytes(matrix_text(source_from_camera[index]).encode())
    more["test_names"] = sorted(names[name] for name in capture.test_names if name in names)
    more.setdefault("licence", capture.licence)
    if capture.up_in_world is not None:
        more.setdefault("up_in_world", (source_from_world(capture.world_from_source)[:3, :3] @ capture.up_in_world).tolist())
    told = {"scale": "metric"} | {key: value for key, value in more.items() if value is not None}
    atomic_write_json(folder / CAPTURE_JSON_NAME, told)


def _write_depth(source: DepthSource, units_per_code: float, target: Path) -> None:
    """The depth map as 16-bit codes of this many metres: the file itself where it holds them."""
    if source.path.suffix.lower() == ".png" and source.units_per_code == units_per_code:
        link_or_copy(source.path, target)
        return
    codes = np.rint(source.read() / np.float32(units_per_code))
    atomic_write_bytes(target, encoded_picture(np.where(codes < 65535, codes, 0).astype(np.uint16), "PNG"))


def _write_colmap(folder: Path, capture: Capture, views: RefinementViews, found: AdjustedBundle, placed: Placed) -> None:
    names = tuple(frame.name for frame in views.frames)
    for frame in views.frames:
        assert frame.image_path is not None, "photographs are files"
        link_or_copy(frame.image_path, folder / "images" / frame.name)
        _link_mask(frame, folder, frame.name)
    gps = capture.root / GPS_CSV_NAME
    if is_file(gps):
        link_or_copy(gps, folder / GPS_CSV_NAME)
    in_source = replace(found.bundle, camera_from_local=placed.camera_from_world @ capture.world_from_source)
    points = transform_points(source_from_world(capture.world_from_source), placed.points_in_world)
    kept = found.kept & np.isfinite(points).all(axis=1)[found.bundle.observations.point]
    model = as_model(in_source, points, kept, names)
    _color_points(model, views, kept, found)
    if needs_split_file(capture):
        atomic_write_text(folder / HELD_OUT_NAME, "".join(f"{name}\n" for name in sorted(capture.test_names)))
    target = folder / "sparse/0"
    target.mkdir(parents=True)
    model.update_point_3d_errors()
    model.write_binary(target)


def _color_points(model: Any, views: RefinementViews, kept: Bool[np.ndarray, "o"], found: AdjustedBundle) -> None:
    """Gives each point the mean colour of the places where it is seen."""
    seen = found.bundle.observations.selected(kept)
    sums: Float64[np.ndarray, "t 4"] = np.zeros((int(seen.point.max(initial=-1)) + 1, 4))
    for view, frame in enumerate(views.frames):
        mine = np.flatnonzero(seen.view == view)
        path = frame.image_path
        if not len(mine) or path is None:
            continue
        image = with_image(path, lambda opened: rgb_over(opened, None))
        column = np.clip(seen.pixels[mine, 0].astype(np.int64), 0, image.shape[1] - 1)
        row = np.clip(seen.pixels[mine, 1].astype(np.int64), 0, image.shape[0] - 1)
        np.add.at(sums, seen.point[mine], np.concatenate([image[row, column], np.ones((len(mine), 1))], axis=1))
    mean = np.rint(sums[:, :3] / np.maximum(sums[:, 3:], 1)).astype(np.uint8)
    order = np.unique(seen.point)
    for key, point in zip(sorted(model.points3D.keys()), order.tolist()):
        model.points3D[key].color = mean[point]


def _link_mask(frame: Frame, folder: Path, name: str) -> None:
    """The mask where :mod:`scenewise.io.masks` looks for it; one in another format than PNG keeps its photograph's name."""
    mask = frame.mask_path
    if mask is not None:
        link_or_copy(mask, folder / "masks" / (f"{name}.png" if mask.suffix.lower() == ".png" else name))

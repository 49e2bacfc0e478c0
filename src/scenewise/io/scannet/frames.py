"""Frames of an exported folder, and those of a ``.sens`` stream."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.images import Background, read_image_header
from scenewise.io.lens_files import camera_of, lens_camera_or_error
from scenewise.io.listed_files import is_hidden
from scenewise.io.scannet.depth import ScannetDepthLoader
from scenewise.io.scannet.number_files import (
    intrinsics_path,
    numbers_of,
    read_base_transforms,
    read_intrinsics,
    read_text,
    usable_pose,
)
from scenewise.io.sens import SensImageLoader, read_sens_header, stream_sens
from scenewise.io.views import ListedView, frames_of_views, is_file, rigid_inverse
from scenewise.scenes.frames import Frame

_COLOR_SUFFIXES = (".jpg", ".png", ".jpeg")


def _is_centred(K: Float64[np.ndarray, "3 3"], width: int, height: int) -> bool:
    """Whether a principal point can belong to an image of this size."""
    return bool(abs(K[0, 2] / width - 0.5) < 0.15 and abs(K[1, 2] / height - 0.5) < 0.15)


def exported_frames(root: Path, every: int, background: Background | None) -> tuple[tuple[Frame, ...], Background | None, int]:
    """Every n-th frame of an exported folder that has a pose, the background in effect, and the number of frames without a pose.

    Raises:
        DataFormatError: damaged files, or intrinsics that do not fit the images.
    """
    color_names: dict[str, str] = {}
    for entry in os.scandir(root / "color"):
        stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122 - a name, not a path
        if suffix.lower() in _COLOR_SUFFIXES and not is_hidden(entry.name):
            color_names[stem] = entry.name
    pose_stems = {
        entry.name[:-4] for entry in os.scandir(root / "pose") if entry.name.endswith(".txt") and not is_hidden(entry.name)
    }
    stems = sorted(set(color_names) | pose_stems, key=lambda stem: (len(stem), stem))[::every]
    suffix = os.path.splitext(next(iter(color_names.values()), "0.jpg"))[1]  # noqa: PTH122
    first = next((root / "color" / color_names[stem] for stem in stems if stem in color_names), None)
    K, K_depth, width, height = _lenses(root, first)
    lens = lens_camera_or_error(
        root / "color", "intrinsics", "PINHOLE", (float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])), width, height
    )
    base_from_color, base_from_depth = read_base_transforms(root)
    color_from_depth = _if_apart(np.linalg.inv(base_from_color) @ base_from_depth)
    views, poses, skipped = [], [], 0
    for stem in stems:
        pose_path = root / "pose" / f"{stem}.txt"
        pose = np.full((4, 4), np.nan)
        if stem in pose_stems:
            pose = np.array(numbers_of(pose_path, read_text(pose_path), (16,))).reshape(4, 4)
        if not usable_pose(pose_path, "", pose):
            skipped += 1
            continue
        name = f"color/{color_names.get(stem, stem + suffix)}"
        views.append(ListedView(name=name, image_path=root / name, lens_camera=lens, place=f"pose/{stem}.txt"))
        poses.append(_of_color(pose, base_from_color))
    camera_from_world = rigid_inverse(torch.from_numpy(np.array(poses, dtype=np.float64).reshape(-1, 4, 4)))
    frames, in_effect = frames_of_views(root / "pose", views, camera_from_world, background)

    def with_depth(frame: Frame) -> Frame:
        assert frame.image_path is not None
        depth_path = root / "depth" / f"{frame.image_path.stem}.png"
        if not is_file(depth_path):
            return frame
        size = (frame.camera.width, frame.camera.height)
        return replace(
            frame,
            load_depth=ScannetDepthLoader(depth_path, K_depth, frame.camera.K.numpy(), size, color_from_depth=color_from_depth),
            depth_path=depth_path,
        )

    return tuple(with_depth(frame) for frame in frames), in_effect, skipped


def _of_color(
    world_from_base: Float64[np.ndarray, "4 4"], base_from_color: Float64[np.ndarray, "4 4"]
) -> Float64[np.ndarray, "4 4"]:
    """The colour camera's pose; to the last bit, signs of zeros too, that of the file where the camera is the base."""
    return world_from_base if np.array_equal(base_from_color, np.eye(4)) else world_from_base @ base_from_color


def _if_apart(color_from_depth: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "4 4"] | None:
    """None where the two cameras coincide: then no measurement can hide another."""
    return None if np.abs(color_from_depth - np.eye(4)).max() < 1e-6 else color_from_depth


def _lenses(root: Path, first_image: Path | None) -> tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, "3 3"], int, int]:
    """Intrinsics of colour and depth, and the colour images' size."""
    color_path, depth_path = intrinsics_path(root, "color"), intrinsics_path(root, "depth")
    color = None if color_path is None else read_intrinsics(color_path)
    depth = None if depth_path is None else read_intrinsics(depth_path)
    candidates = [K for K in (color, depth) if K is not None]
    if first_image is None:
        K = candidates[0]
        return K, candidates[-1], max(1, round(2 * K[0, 2])), max(1, round(2 * K[1, 2]))
    header = read_image_header(first_image)
    # Tools often store colour shrunk to the depth's size and leave both files as they were; then depth's intrinsics hold.
    fitting = [K for K in candidates if _is_centred(K, header.width, header.height)]
    if not fitting:
        raise DataFormatError(
            color_path or depth_path or root,
            expected=f"a principal point near the middle of {header.width}×{header.height}",
            got=f"({candidates[0][0, 2]:g}, {candidates[0][1, 2]:g})",
            fix="scale the intrinsics with the images",
        )
    return fitting[0], candidates[-1], header.width, header.height


def stream_frames(path: Path, every: int) -> tuple[tuple[Frame, ...], int]:
    """Every n-th frame of a ``.sens`` stream that has a pose, and the number of frames without one.

    Raises:
        DataFormatError: a damaged stream.
    """
    header = read_sens_header(path)
    K, (width, height) = header.K_color, header.color_size
    lens = lens_camera_or_error(
        path, "header", "PINHOLE", (float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])), width, height
    )
    color_from_depth = _if_apart(np.linalg.inv(header.base_from_color) @ header.base_from_depth)
    frames, skipped = [], 0
    for found in stream_sens(path, every):
        place = f"frame {found.index}"
        if not usable_pose(path, place, found.world_from_camera):
            skipped += 1
            continue
        camera_from_world = rigid_inverse(torch.from_numpy(_of_color(found.world_from_camera, header.base_from_color))[None])[0]
        try:
            camera = camera_of(lens, camera_from_world)
        except ConventionError as error:
            raise DataFormatError(path, f"{place}: {error}") from error
        frames.append(
            Frame(
                name=f"color/{found.index:06d}.jpg",
                camera=camera,
                load_image=SensImageLoader(path, place, found.color_at, header.color_size, header.color_compression),
                load_depth=ScannetDepthLoader(
                    path, header.K_depth, K, header.color_size, header.codes_per_metre, (found, header), color_from_depth
                ),
                image_path=path,
            )
        )
    return tuple(frames), skipped

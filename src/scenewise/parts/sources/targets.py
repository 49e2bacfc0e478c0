"""What ``scenewise segment`` is pointed at: a scene, a capture, a cloud, or plain images."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from scenewise.commands.segment.options import SegmentOptions
from scenewise.engine.data_hash import capture_hash
from scenewise.engine.progress import Progress
from scenewise.engine.provenance import git_commit, versions
from scenewise.errors import CaptureWarning, DataFormatError, ScenewiseError
from scenewise.io.captures import is_capture, open_capture, usable_frames
from scenewise.io.images import IMAGE_SUFFIXES
from scenewise.io.las import read_las
from scenewise.io.meshes import read_mesh
from scenewise.io.ply import read_points_ply_with_extra
from scenewise.io.scene_folder import POINTS_FILE, SCENE_FILE, no_gaussians, read_scene
from scenewise.parts.points.choose import initial_points
from scenewise.parts.points.settings import spread_evenly
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame
from scenewise.scenes.meshes import TriangleMesh
from scenewise.scenes.point_clouds import PointCloud
from scenewise.scenes.scenes import Provenance, Scene, SceneCamera
from scenewise.teachers.choose import SMALL_CLIP
from scenewise.worlds.captures import LICENCE as GENERATED_LICENCE

PHOTO_COLUMNS = ("photo_red", "photo_green", "photo_blue")
"""Columns of ``points.ply`` that keep a point's own colour once the colour is that of its class."""
METHOD = "segment"

_CLOUD_SUFFIXES = (".ply", ".las", ".laz")
_MESH_SUFFIXES = (".obj", ".stl", ".off", ".glb")


@dataclass(frozen=True)
class SpatialTarget:
    """Elements of a world and the views that show them.

    Attributes:
        scene: description to write; its Gaussians are the splats to label (none where there are no splats).
        frames: views to look at, each with an image, their cameras as refined by the scene.
        cloud: points to label in the order of ``points.ply``, with their own colours; None where there are none.
        cloud_source: where the points come from, one phrase.
        mesh: the triangles between the points, or None.
        folder: the scene folder, where the target is one.
    """

    scene: Scene
    frames: tuple[Frame, ...]
    cloud: PointCloud | None
    cloud_source: str
    mesh: TriangleMesh | None = None
    folder: Path | None = None


@dataclass(frozen=True)
class ImageTarget:
    """Pictures without poses, in file-name order.

    Attributes:
        paths: of the files.
        names: unique, relative to what they have in common.
    """

    paths: tuple[Path, ...]
    names: tuple[str, ...]


def open_target(options: SegmentOptions, threads: int, progress: Progress) -> SpatialTarget | ImageTarget:
    """Finds out what the target is and opens it; no pixel is decoded yet, unless points have to be made from depth or matches.

    Raises:
        DataFormatError: nothing that can be read, a scene or cloud without its images, or several targets that are no images.
    """
    first = options.target[0]
    for path in options.target:
        if not path.exists():
            raise DataFormatError(path, expected="a folder or a file", got="nothing", fix="check the path")
    if len(options.target) > 1 or (first.is_file() and _is_image(first)):
        return _images(options.target)
    if first.is_file() and first.suffix.lower() in (*_CLOUD_SUFFIXES, *_MESH_SUFFIXES):
        return _cloud(first, options)
    if first.is_dir() and (first / SCENE_FILE).exists():
        return _scene(first, options)
    if first.is_dir() and not is_capture(first):
        pictures = sorted(path for path in first.iterdir() if path.is_file() and _is_image(path))
        if pictures:
            return _images(pictures)
    return _capture(_opened(first, options), options, threads, progress)


def warn_of_photographs(teacher_name: str, target: SpatialTarget | ImageTarget) -> None:
    """A CaptureWarning when the embedded model is to name what it has never seen: anything but generated rooms."""
    if teacher_name != SMALL_CLIP or (isinstance(target, SpatialTarget) and _is_generated(target.scene)):
        return
    shown = "images of anything else"
    if isinstance(target, SpatialTarget):
        shown = target.scene.provenance.capture or "this scene"
    warnings.warn(
        f"{SMALL_CLIP} has only ever seen procedural rooms: on {shown} expect wrong names. Teachers that know photographs: "
        "--teacher openai/clip-vit-base-patch16 (any CLIP or SigLIP on Hugging Face), or --teacher files:DIR (answers of any "
        "network)",
        CaptureWarning,
        stacklevel=3,
    )


def _is_generated(scene: Scene) -> bool:
    of_data = [licence for name, licence in scene.licences.items() if name != SMALL_CLIP]  # the model's own says nothing
    return scene.provenance.source_format == "world" or GENERATED_LICENCE in of_data


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _opened(path: Path, options: SegmentOptions) -> Capture:
    return open_capture(path, factor=options.downscale)


def _images(paths: Sequence[Path]) -> ImageTarget:
    wrong = [path for path in paths if not path.is_file() or not _is_image(path)]
    if wrong:
        raise DataFormatError(
            wrong[0],
            expected=f"an image file ({', '.join(IMAGE_SUFFIXES)})",
            got="a folder" if wrong[0].is_dir() else wrong[0].suffix or "no ending",
            fix="name one folder, or only image files",
        )
    ordered = sorted(set(paths))
    common = Path(ordered[0]).parent
    while any(common not in path.parents for path in ordered):
        common = common.parent
    return ImageTarget(tuple(ordered), tuple(path.relative_to(common).as_posix() for path in ordered))


def _capture(capture: Capture, options: SegmentOptions, threads: int, progress: Progress) -> SpatialTarget:
    frames = _chosen(usable_frames(capture), options)
    cloud, source = capture.points, f"points of {capture.root}"
    if cloud is None or not len(cloud):
        # A surface is fused from the views that will name it; matches between views need all of them.
        has_depth = any(frame.load_depth is not None for frame in frames)
        views = replace(capture, test_names=frozenset(), frames=frames if has_depth else capture.frames)
        with progress.stage("points"):
            made = initial_points(
                views, maximum=options.max_points, seed=options.seed, threads=threads, progress=progress, trim_far=False
            )
        cloud, source = made.cloud, made.provenance
    return SpatialTarget(_described(capture), frames, cloud, source)


def _cloud(path: Path, options: SegmentOptions) -> SpatialTarget:
    if options.capture is None:
        raise DataFormatError(
            path, expected="photographs of the cloud with their poses", got="none", fix="name their folder with --capture"
        )
    capture = _opened(options.capture, options)
    cloud, mesh = _read_cloud(path, capture)
    kind = f"{len(cloud):,} points" if mesh is None else f"{len(cloud):,} vertices and {len(mesh.faces):,} triangles"
    return SpatialTarget(_described(capture), _chosen(usable_frames(capture), options), cloud, f"{kind} of {path.name}", mesh)


def _read_cloud(path: Path, capture: Capture) -> tuple[PointCloud, TriangleMesh | None]:
    ending = path.suffix.lower()
    if ending in (".las", ".laz"):
        cloud, epsg = read_las(path)
        reference = capture.georeference
        if reference is not None and epsg in (None, reference.epsg):
            return replace(cloud, points_in_world=reference.world_from_projected(cloud.points_in_world)), None
        return cloud, None
    if ending == ".ply":
        cloud, extra = read_points_ply_with_extra(path)
        try:
            mesh = read_mesh(path)
        except ScenewiseError:  # no triangles: just points
            return with_own_colors(cloud, extra), None
        if len(mesh.vertices_in_world) == len(cloud):
            return with_own_colors(cloud, extra), replace(mesh, vertices_in_world=cloud.points_in_world)
        return with_own_colors(cloud, extra), None
    mesh = read_mesh(path)
    return PointCloud(mesh.vertices_in_world, mesh.colors_u8), mesh


def _scene(folder: Path, options: SegmentOptions) -> SpatialTarget:
    scene = read_scene(folder)
    where = options.capture or (Path(scene.provenance.capture) if scene.provenance.capture else None)
    if where is None or not where.exists():
        raise DataFormatError(
            folder,
            expected="the photographs the scene was made from",
            got=f"nothing at {where}" if where is not None else "no record of where they are",
            fix="name their folder with --capture",
        )
    factor = options.downscale or _recorded_factor(scene)
    capture = open_capture(where, preset=scene.provenance.preset, factor=factor)
    frames = _posed_as_in(scene, usable_frames(capture))
    if not frames:
        raise DataFormatError(
            where,
            expected=f"photographs of {folder}, such as {scene.cameras[0].name if scene.cameras else 'any'}",
            got=f"{len(capture.frames)} frames with other names",
            fix="name the scene's own capture with --capture",
        )
    cloud, source = None, "none"
    if (folder / POINTS_FILE).exists():
        stored, extra = read_points_ply_with_extra(folder / POINTS_FILE)
        if len(stored):
            cloud, source = with_own_colors(stored, extra), f"{len(stored):,} points of {folder / POINTS_FILE}"
    return SpatialTarget(scene, _chosen(frames, options), cloud, source, folder=folder)


def _recorded_factor(scene: Scene) -> int | None:
    """The factor that scenewise reconstruct used the images at."""
    factor = scene.provenance.config.get("downscale")
    return factor if isinstance(factor, int) and not isinstance(factor, bool) and factor > 1 else None


def _posed_as_in(scene: Scene, frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """The frames the scene knows, with the poses it refined."""
    known = {entry.name: entry.camera for entry in scene.cameras}
    found = []
    for frame in frames:
        camera = known.get(frame.name)
        if camera is not None:
            same_size = camera.resized(frame.camera.width, frame.camera.height)
            found.append(replace(frame, camera=replace(frame.camera, camera_from_world=same_size.camera_from_world)))
    return tuple(found)


def with_own_colors(cloud: PointCloud, extra: dict[str, np.ndarray]) -> PointCloud:
    """The cloud with the colours of the photographs, which our own ``points.ply`` keeps in further columns."""
    if all(name in extra and extra[name].dtype == np.uint8 for name in PHOTO_COLUMNS):
        return replace(cloud, colors_u8=np.stack([extra[name] for name in PHOTO_COLUMNS], axis=1))
    return cloud


def _chosen(frames: tuple[Frame, ...], options: SegmentOptions) -> tuple[Frame, ...]:
    return frames if options.frames is None else spread_evenly(frames, options.frames)


def _described(capture: Capture, config: dict[str, Any] | None = None) -> Scene:
    """A scene without splats: the world of a capture."""
    return Scene(
        load_gaussians=no_gaussians,
        num_gaussians=0,
        sh_degree=0,
        cameras=tuple(
            SceneCamera(frame.name, frame.camera, "test" if frame.name in capture.test_names else "train")
            for frame in capture.frames_with_image
        ),
        provenance=Provenance(
            capture=str(capture.root.resolve()),
            source_format=capture.source_format,
            preset=capture.preset,
            data_hash=capture_hash(capture),
            method=METHOD,
            config={} if config is None else config,
            versions=versions(),
            git_commit=git_commit(),
        ),
        scale=capture.scale,
        up_in_world=capture.up_in_world,
        world_from_source=capture.world_from_source,
        georeference=capture.georeference,
        background=capture.background,
        licences={} if capture.licence is None else {capture.preset or "capture": capture.licence},
    )

"""What is to be named: the elements of a scene, capture or cloud with the views that show them, or plain images."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scenewise.engine.data_hash import capture_hash
from scenewise.engine.progress import Progress
from scenewise.engine.provenance import git_commit, versions
from scenewise.errors import CaptureWarning, DataFormatError
from scenewise.io.captures import open_capture, usable_frames
from scenewise.io.images import IMAGE_SUFFIXES
from scenewise.io.named_points import read_named_points
from scenewise.io.scene_folder import POINTS_FILE, no_gaussians, read_scene
from scenewise.parts.points.settings import spread_evenly
from scenewise.parts.sources.capture_scans import points_of_views
from scenewise.parts.sources.clouds import SWEEP_ENDING, read_cloud
from scenewise.parts.sources.kinds import is_picture, kind_of, pictures_in
from scenewise.parts.sources.scene_photographs import place_of_photographs, recorded_place, reopen_photographs
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame
from scenewise.scenes.meshes import TriangleMesh
from scenewise.scenes.point_clouds import PointCloud
from scenewise.scenes.scenes import Provenance, Scene, SceneCamera
from scenewise.teachers.choice import CONSISTENT
from scenewise.teachers.choose import EMBEDDED
from scenewise.worlds.captures import LICENCE as GENERATED_LICENCE

METHOD = "segment"
_FIX = "name their folder with --capture"

PictureUse = Literal["required", "welcome", "ignored"]
"""Whether photographs must be there, may be missing, or are left alone."""


@dataclass(frozen=True)
class TargetChoices:
    """What a person may decide about a target.

    Attributes:
        capture: photographs of a scene whose own have moved, or of a cloud.
        frames: at most this many views, evenly spread.
        downscale: use the images at 1/N of their size; None takes a scene's photographs as the scene used them.
        max_points: of a cloud that is made of depth or matches.
        seed: of that.
        pictures: what is done about photographs of points and splats; points that have to be made are made from them anyhow.
    """

    capture: Path | None = None
    frames: int | None = None
    downscale: int | None = None
    max_points: int = 300_000
    seed: int = 0
    pictures: PictureUse = "required"


@dataclass(frozen=True)
class SpatialTarget:
    """Elements of a world and the views that show them.

    Attributes:
        scene: description to write; its Gaussians are the splats to label (none where there are no splats).
        frames: views to look at, each with an image, their cameras as refined by the scene; none where there need not be any.
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


def open_target(paths: Sequence[Path], choices: TargetChoices, threads: int, progress: Progress) -> SpatialTarget | ImageTarget:
    """Finds out what was named and opens it; no pixel is decoded yet, unless points have to be made from depth or matches.

    Args:
        paths: one folder or file (:mod:`scenewise.parts.sources.kinds`), or several pictures.
        choices: see there.
        threads: for making points.
        progress: told about that.

    Raises:
        DataFormatError: nothing that can be read, a scene or cloud without its images, or several targets that are no images.
    """
    first = paths[0]
    kind = kind_of(paths)
    if kind == "images":
        return _images(pictures_in(first) if first.is_dir() and len(paths) == 1 else paths)
    if kind == "cloud" and first.suffix.lower() != SWEEP_ENDING:
        return _cloud(first, choices)
    if kind == "scene":
        return _scene(first, choices)
    return _capture(open_capture(first, factor=choices.downscale), choices, threads, progress)


def warn_of_photographs(teacher_name: str, target: SpatialTarget | ImageTarget) -> None:
    """A CaptureWarning when the embedded model is to name what it has never seen: anything but generated rooms."""
    if teacher_name not in EMBEDDED or (isinstance(target, SpatialTarget) and _is_generated(target.scene)):
        return
    shown = "images of anything else"
    if isinstance(target, SpatialTarget):
        shown = target.scene.provenance.capture or "this scene"
    warnings.warn(
        f"{teacher_name} has only ever seen procedural rooms: on {shown} expect wrong names. Teachers that know photographs: "
        "--teacher openai/clip-vit-base-patch16 (any CLIP or SigLIP on Hugging Face), or --teacher files:DIR (answers of any "
        "network)",
        CaptureWarning,
        stacklevel=3,
    )


def _is_generated(scene: Scene) -> bool:
    of_data = [licence for name, licence in scene.licences.items() if name not in EMBEDDED]  # the model's own says nothing
    return scene.provenance.source_format == "world" or GENERATED_LICENCE in of_data


def _images(paths: Sequence[Path]) -> ImageTarget:
    wrong = [path for path in paths if not is_picture(path)]
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


def _capture(capture: Capture, choices: TargetChoices, threads: int, progress: Progress) -> SpatialTarget:
    cloud, source = capture.points, f"points of {capture.root}"
    has_points = cloud is not None and len(cloud) > 0
    needs_none = choices.pictures == "ignored" or (choices.pictures == "welcome" and not capture.frames_with_image)
    frames = () if has_points and needs_none else _chosen(usable_frames(capture), choices)
    if not has_points:
        # A surface is fused from the views that will name it; matches between views need all of them.
        has_depth = any(frame.load_depth is not None for frame in frames)
        with progress.stage("points"):
            made = points_of_views(
                capture,
                frames if has_depth else capture.frames,
                maximum=choices.max_points,
                seed=choices.seed,
                threads=threads,
                progress=progress,
            )
        cloud, source = made.cloud, made.provenance
    return SpatialTarget(_described(capture), () if choices.pictures == "ignored" else frames, cloud, source)


def _cloud(path: Path, choices: TargetChoices) -> SpatialTarget:
    if choices.capture is None and choices.pictures == "required":
        fix = f"{_FIX}, or let --teacher {CONSISTENT}:RUN name points without any"
        raise DataFormatError(path, expected="photographs of the cloud with their poses", got="none", fix=fix)
    capture = None if choices.capture is None else open_capture(choices.capture, factor=choices.downscale)
    cloud, mesh = read_cloud(path, capture)
    kind = f"{len(cloud):,} points" if mesh is None else f"{len(cloud):,} vertices and {len(mesh.faces):,} triangles"
    source = f"{kind} of {path.name}"
    if capture is None:
        return SpatialTarget(_scene_of_cloud(path), (), cloud, source, mesh)
    frames = () if choices.pictures == "ignored" else _chosen(usable_frames(capture), choices)
    return SpatialTarget(_described(capture), frames, cloud, source, mesh)


def _scene(folder: Path, choices: TargetChoices) -> SpatialTarget:
    scene = read_scene(folder)
    cloud, source = None, "none"
    if (folder / POINTS_FILE).exists():
        stored = read_named_points(folder / POINTS_FILE)
        if len(stored):
            cloud, source = stored, f"{len(stored):,} points of {folder / POINTS_FILE}"
    frames = () if _does_without(scene, choices) else _frames_of_scene(folder, scene, choices)
    return SpatialTarget(scene, frames, cloud, source, folder=folder)


def _does_without(scene: Scene, choices: TargetChoices) -> bool:
    """Whether a scene's photographs are left alone, or gone where they are merely welcome."""
    if choices.pictures != "welcome" or choices.capture is not None:
        return choices.pictures == "ignored"
    where = recorded_place(scene)
    return where is None or not where.exists() or not scene.cameras


def _frames_of_scene(folder: Path, scene: Scene, choices: TargetChoices) -> tuple[Frame, ...]:
    if choices.capture is None and not scene.cameras:
        fix = f"let --teacher {CONSISTENT}:RUN name it without any"
        raise DataFormatError(folder, expected="a scene with photographs", got="one that was made of points alone", fix=fix)
    where = place_of_photographs(folder, scene, choices.capture, fix=_FIX)
    photographs = reopen_photographs(scene, where, factor=choices.downscale)
    frames = photographs.known(usable_frames(photographs.opened))
    if not frames:
        raise DataFormatError(
            where,
            expected=f"photographs of {folder}, such as {scene.cameras[0].name if scene.cameras else 'any'}",
            got=f"{len(photographs.opened.frames)} frames with other names",
            fix="name the scene's own capture with --capture",
        )
    return _chosen(frames, choices)


def _chosen(frames: tuple[Frame, ...], choices: TargetChoices) -> tuple[Frame, ...]:
    return frames if choices.frames is None else spread_evenly(frames, choices.frames)


def _scene_of_cloud(path: Path) -> Scene:
    """A scene without splats and without views: the world of a cloud, whose unit counts as a metre."""
    return Scene(
        load_gaussians=no_gaussians,
        num_gaussians=0,
        sh_degree=0,
        cameras=(),
        provenance=Provenance(
            capture=str(path.resolve()),
            source_format="points",
            preset=None,
            data_hash="",
            method=METHOD,
            versions=versions(),
            git_commit=git_commit(),
        ),
        scale="metric",
    )


def _described(capture: Capture) -> Scene:
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

"""Pictures and films of a scene."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float64

from scenewise.commands.render.options import RenderOptions
from scenewise.engine.devices import compute_device
from scenewise.engine.progress import NullProgress, Progress
from scenewise.engine.threads import compute_threads
from scenewise.errors import ConventionError, MissingDependencyError, ResourceError
from scenewise.geometry.orbits import Orbit, orbit_around
from scenewise.io.atomic import atomic_path, atomic_write_bytes
from scenewise.io.images import image_u8_from_color, png_bytes
from scenewise.io.scene_folder import read_scene
from scenewise.rendering import render
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.frames import ImageU8
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.scenes import Scene
from scenewise.show.pictures import depth_picture, file_stem

Channel = Literal["color", "depth", "alpha"]
_BLOCK = 4096  # bytes that a file system gives to a file at once
_SOLID = 0.5  # a pixel at least this opaque has a depth worth showing


@dataclass(frozen=True)
class RenderSummary:
    """What ``scenewise render`` wrote.

    Attributes:
        pictures: how many.
        width: of each, in pixels.
        height: of each, in pixels (the first's, where they differ).
        seconds: for all of them, encoding included.
        files: what was written: the film, or the pictures.
    """

    pictures: int
    width: int
    height: int
    seconds: float
    files: tuple[Path, ...]

    def text(self) -> str:
        """One line for people."""
        place = self.files[0] if len(self.files) == 1 else self.files[0].parent
        each = 1000.0 * self.seconds / max(1, self.pictures)
        return f"{self.pictures} pictures of {self.width}×{self.height} in {place} ({each:.0f} ms each)"


def render_scene(options: RenderOptions, progress: Progress | None = None) -> RenderSummary:
    """Renders the scene's own views or an orbit and writes PNG files or an MP4 film.

    Raises:
        DataFormatError: the scene cannot be read.
        ConventionError: it has no views of the wanted split, or a file is in the way.
        MissingDependencyError: a film is wanted and OpenCV is not installed.
    """
    progress = NullProgress() if progress is None else progress
    device = compute_device(options.device)
    started = time.monotonic()
    with compute_threads(options.threads):
        scene = read_scene(options.scene)
        gaussians = scene.gaussians.to(device)
        views = _orbit_views(scene, gaussians, options) if options.path == "orbit" else _own_views(scene, options)
        _require_free(_targets(options, [name for name, _ in views]), options.overwrite)
        background = options.background or scene.background or (0.0, 0.0, 0.0)
        draw = _painter(gaussians, torch.tensor(background, device=device), options.channel)

        def pictures() -> Iterator[tuple[str, ImageU8]]:
            with progress.stage("render", len(views)) as stage:
                for name, camera in views:
                    yield name, draw(camera)
                    stage.advance()

        if options.format == "mp4":
            files: tuple[Path, ...] = (_write_film(_targets(options, [])[0], pictures(), options.fps),)
        else:
            files = tuple(_write_pictures(options, pictures()))
    first = views[0][1]
    return RenderSummary(len(views), first.width, first.height, time.monotonic() - started, files)


def _painter(gaussians: Gaussians, background: torch.Tensor, channel: Channel) -> Callable[[Cameras], ImageU8]:
    """A function that draws one view.  Depth keeps the scale of its first picture, so that a film does not flicker."""
    scale: list[float] = []

    def draw(camera: Cameras) -> ImageU8:
        with torch.no_grad():
            output = render(gaussians, camera, background=background)
        if channel == "color":
            return image_u8_from_color(output.color.cpu().numpy())
        alpha = output.alpha.cpu().numpy()
        if channel == "alpha":
            return image_u8_from_color(np.repeat(alpha[..., None], 3, axis=2))
        depth = np.where(alpha >= _SOLID, output.depth.cpu().numpy() / np.maximum(alpha, _SOLID), 0.0)
        if not scale and (depth > 0).any():
            scale.extend(float(np.percentile(depth[depth > 0], percent)) for percent in (2, 98))
        return depth_picture(depth, *scale)

    return draw


# --- cameras -----------------------------------------------------------------------------------------------------------------


def _own_views(scene: Scene, options: RenderOptions) -> list[tuple[str, Cameras]]:
    entries = scene.cameras if options.split == "all" else scene.cameras_of(options.split)
    if not entries:
        there = ", ".join(sorted({entry.split for entry in scene.cameras})) or "none"
        raise ConventionError(f"--split {options.split}", expected="a split with views", got=f"splits with views: {there}")
    return [(entry.name, _sized(entry.camera, options)) for entry in entries]


def _orbit_views(scene: Scene, gaussians: Gaussians, options: RenderOptions) -> list[tuple[str, Cameras]]:
    model = _sized(scene.cameras[0].camera, options)
    poses = scene_orbit(scene, gaussians, radius=options.radius, elevation_deg=options.elevation_deg).world_from_camera(
        options.frames
    )
    K = model.K.clone()
    K[0, 2], K[1, 2] = model.width / 2.0, model.height / 2.0  # a film looks straight at its focus
    names = [f"{number:04d}" for number in range(options.frames)]
    return [
        (name, replace(model, camera_from_world=torch.linalg.inv(torch.from_numpy(pose)), K=K))
        for name, pose in zip(names, poses)
    ]


def scene_orbit(scene: Scene, gaussians: Gaussians, *, radius: float = 1.0, elevation_deg: float | None = None) -> Orbit:
    """The orbit around what the scene's cameras look at.

    Raises:
        ConventionError: the scene has no cameras or no Gaussians.
    """
    if not scene.cameras or not len(gaussians):
        got = f"{len(scene.cameras)} cameras and {len(gaussians)} Gaussians"
        raise ConventionError("an orbit", expected="a scene with cameras and Gaussians", got=got)
    world_from_camera = np.stack([entry.camera.world_from_camera.numpy() for entry in scene.cameras])
    return orbit_around(
        world_from_camera,
        _typical_depth(world_from_camera, gaussians),
        up=scene.up_in_world,
        radius=radius,
        elevation=None if elevation_deg is None else float(np.radians(elevation_deg)),
    )


def _typical_depth(world_from_camera: Float64[np.ndarray, "n 4 4"], gaussians: Gaussians) -> float:
    """Median depth of opaque Gaussians near the optical axes of some of the cameras."""
    solid = gaussians.select(gaussians.opacities > 0.3) if bool((gaussians.opacities > 0.3).any()) else gaussians
    means = solid.means[:: max(1, len(solid) // 20_000)].detach().cpu().numpy().astype(np.float64)
    depths = []
    for pose in world_from_camera[:: max(1, len(world_from_camera) // 16)]:
        in_camera = (means - pose[:3, 3]) @ pose[:3, :3]
        near_axis = np.hypot(in_camera[:, 0], in_camera[:, 1]) < 0.3 * in_camera[:, 2]
        depths.append(in_camera[near_axis, 2])
    seen = np.concatenate(depths)
    if not len(seen):
        return float(np.median(np.linalg.norm(means - world_from_camera[:, :3, 3].mean(0), axis=1)))
    return float(np.median(seen))


def _sized(camera: Cameras, options: RenderOptions) -> Cameras:
    """The camera at the wanted size; a new aspect ratio keeps the vertical field of view and the pixels square."""
    if options.height is not None:
        height = options.height
    elif options.width is not None:
        height = max(1, round(options.width * camera.height / camera.width))
    else:
        return camera
    width = options.width or max(1, round(height * camera.width / camera.height))
    K = camera.K * (height / camera.height)
    K[0, 2] += 0.5 * (width - camera.width * height / camera.height)
    K[2, 2] = 1.0
    return replace(camera, K=K, width=width, height=height)


# --- files -------------------------------------------------------------------------------------------------------------------


def _targets(options: RenderOptions, names: list[str]) -> list[Path]:
    if options.format == "mp4":
        return [options.out or options.scene / "renders" / f"{options.path}_{options.channel}.mp4"]
    folder = options.out or options.scene / "renders" / (options.split if options.path == "views" else "orbit")
    suffix = "" if options.channel == "color" else f"_{options.channel}"
    return [folder / f"{file_stem(name)}{suffix}.png" for name in names]


def _require_free(targets: list[Path], overwrite: bool) -> None:
    if len(set(targets)) < len(targets):
        raise ConventionError("names of the views", expected="different names without their endings", got="two that are equal")
    there = next((target for target in targets if target.exists()), None)
    if there is not None and not overwrite:
        raise ConventionError(str(there), expected="nothing in the way", got="a file", fix="--overwrite, or another --out")


def _write_pictures(options: RenderOptions, pictures: Iterator[tuple[str, ImageU8]]) -> Iterator[Path]:
    for name, picture in pictures:
        target = _targets(options, [name])[0]
        atomic_write_bytes(target, png_bytes(picture))
        yield target


def _write_film(target: Path, pictures: Iterator[tuple[str, ImageU8]], fps: int) -> Path:
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise MissingDependencyError("opencv-python-headless", needed_for="writing MP4 films", extra="io") from error
    if target.suffix.lower() != ".mp4":
        raise ConventionError("--out", expected="a file name that ends in .mp4", got=target.name)
    number = 0
    with atomic_path(target) as temporary:
        writer = None
        for _, picture in pictures:
            height, width = (size - size % 2 for size in picture.shape[:2])  # the codec takes even sizes only
            if min(height, width) < 2:
                raise ConventionError(
                    "a film", expected="pictures of at least 2×2 pixels", got=f"{picture.shape[1]}×{picture.shape[0]}"
                )
            if writer is None:
                writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
                if not writer.isOpened():
                    _require_room(temporary)  # OpenCV does not say why it cannot begin
                    raise ResourceError("MP4 film", expected="an encoder in OpenCV", got="none", fix="--format png")
                size = (height, width)
            if (height, width) != size:
                raise ConventionError(
                    "a film", expected="pictures of one size", got=f"{size} and {(height, width)}", fix="--width"
                )
            writer.write(np.ascontiguousarray(picture[:height, :width, ::-1]))
            number += 1
        if writer is not None:
            writer.release()
            _require_room(temporary)
            _require_whole(temporary, target, number)
    return target


def _require_whole(film: Path, target: Path, number: int) -> None:
    """OpenCV writes as much of a film as it can, and says nothing: so it is opened again and its pictures are counted.

    Raises:
        ResourceError: pictures are missing.
    """
    import cv2

    reader = cv2.VideoCapture(str(film))
    found = 0
    while found <= number and reader.grab():
        found += 1
    reader.release()
    if found != number:
        raise ResourceError(
            f"writing {target}",
            expected=f"a film of {number} pictures",
            got=f"{found} that can be read again",
            fix="check the disk, or --format png",
        )


def _require_room(film: Path) -> None:
    """Writes a little behind what there is of a film and takes it away again, so that a full disk is told by the system itself.

    Raises:
        OSError: the disk is full, or a file may not become so large.
    """
    with film.open("ab") as file:
        size = file.tell()
        file.write(bytes(_BLOCK + 1))  # a whole block more than what the last one may still hold
        file.flush()
        os.fsync(file.fileno())
        file.truncate(size)

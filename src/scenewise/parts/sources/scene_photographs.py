"""The photographs a scene was made from, opened once more the way the scene used them."""

from dataclasses import dataclass, replace
from pathlib import Path

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.captures import open_capture
from scenewise.io.placing import in_world_frame
from scenewise.io.resizing import resized
from scenewise.io.transparency import Alpha
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame
from scenewise.scenes.scenes import Scene, SceneCamera, Split


@dataclass(frozen=True)
class ScenePhotographs:
    """Photographs as a scene used them: its size, its background, the poses it refined, its split.

    Attributes:
        scene: whose photographs they are.
        opened: the capture as its reader gives it, at the scene's size and over its background; all frames in their first poses.
        keeps_own_size: frames stay at the size they were opened at, because another one was asked for.
    """

    scene: Scene
    opened: Capture
    keeps_own_size: bool = False

    @property
    def capture(self) -> Capture:
        """The frames that the scene knows, with its cameras, split, scale and up direction."""
        return replace(
            self.opened,
            frames=self.known(self.opened.frames),
            test_names=frozenset(entry.name for entry in self.scene.cameras_of("test")),
            scale=self.scene.scale,
            up_in_world=self.scene.up_in_world,
        )

    def known(self, frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
        """Those of the opened frames that the scene knows, with its cameras."""
        cameras = {entry.name: entry for entry in self.scene.cameras}
        return tuple(self._as_in_scene(frame, cameras[frame.name]) for frame in frames if frame.name in cameras)

    def frame(self, entry: SceneCamera) -> Frame | None:
        """The photograph that one of the scene's cameras took; None where it is missing."""
        found = next((frame for frame in self.opened.frames if frame.name == entry.name), None)
        return None if found is None or not found.has_image else self._as_in_scene(found, entry)

    def frames_of(self, split: Split) -> tuple[Frame, ...]:
        """The photographs of a split in the scene's order.

        Raises:
            ConventionError: one is missing, or there is none of the split.
        """
        by_name = {frame.name: frame for frame in self.opened.frames_with_image}
        found = []
        for entry in self.scene.cameras_of(split):
            if entry.name not in by_name:
                raise ConventionError(
                    f"photograph {entry.name}",
                    expected=f"an image in {self.opened.root}",
                    got="none",
                    fix="name the capture with --capture",
                )
            found.append(self._as_in_scene(by_name[entry.name], entry))
        if not found:
            raise ConventionError(
                f"{split} views of the scene",
                expected="at least one",
                got="none",
                fix=f"try --split {'train' if split == 'test' else 'test'}",
            )
        return tuple(found)

    def _as_in_scene(self, frame: Frame, entry: SceneCamera) -> Frame:
        """A frame with the scene's camera; at a size of its own only the pose is taken over."""
        camera = entry.camera
        if self.keeps_own_size:
            return replace(frame, camera=replace(frame.camera, camera_from_world=camera.camera_from_world))
        if (frame.camera.width, frame.camera.height) != (camera.width, camera.height):
            frame = resized(frame, camera.width, camera.height)
        return replace(frame, camera=camera)


def reopen_photographs(scene: Scene, place: Path, *, factor: int | None = None) -> ScenePhotographs:
    """Opens the photographs of a scene at the size and over the background it was made from.

    Args:
        scene: its description.
        place: where the photographs are.
        factor: opens them at 1/factor of their size instead of the scene's.

    Raises:
        DataFormatError: nothing there, or nothing that can be read.
    """
    opened = open_capture(
        place,
        preset=scene.provenance.preset,
        factor=recorded_factor(scene) if factor is None else factor,
        background=scene.background,
        alpha=recorded_alpha(scene),
    )
    opened = in_world_frame(opened, scene.world_from_source)
    return ScenePhotographs(scene, opened, keeps_own_size=factor is not None)


def place_of_photographs(folder: Path, scene: Scene, place: Path | None = None, *, fix: str | None = None) -> Path:
    """Where the photographs of a scene are.

    Args:
        folder: of the scene, for the message.
        scene: its description.
        place: where a person says they are; None looks where the scene says they were.
        fix: what a person can do when they are gone.

    Raises:
        DataFormatError: nothing is there.
    """
    where = place if place is not None else recorded_place(scene)
    if where is None or not where.exists():
        raise DataFormatError(
            folder,
            expected="the photographs the scene was made from",
            got=f"nothing at {where}" if where is not None else "no record of where they are",
            fix=fix,
        )
    return where


def recorded_place(scene: Scene) -> Path | None:
    """Where the scene's photographs were when it was made; None where it does not say."""
    return Path(scene.provenance.capture) if scene.provenance.capture else None


def recorded_factor(scene: Scene) -> int | None:
    """The factor that the images were used at; None where none was asked for."""
    factor = scene.provenance.config.get("downscale")
    return factor if isinstance(factor, int) and not isinstance(factor, bool) else None


def recorded_alpha(scene: Scene) -> Alpha | None:
    """What transparent pixels were taken for; None where nobody said."""
    alpha = scene.provenance.config.get("alpha")
    return alpha if alpha in ("mask", "background") else None

"""A capture: the frames, points and frame of reference that a reader found in a folder."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float64

from scenewise.errors import ConventionError
from scenewise.scenes.frames import Frame
from scenewise.scenes.georeference import Georeference
from scenewise.scenes.point_clouds import PointCloud

Scale = Literal["metric", "arbitrary"]


@dataclass(frozen=True)
class Capture:
    """Everything a method may know about a captured place.  The input's frame of reference is kept, up to a local origin.

    Attributes:
        root: folder the capture was read from.
        source_format: "colmap", "transforms", "rgbd", "scannet", "nuscenes", "co3d" or "world".
        frames: all listed frames in file-name order, including those whose image is missing.
        points: sparse or dense points in the same world frame, or None.
        test_names: names of the held-out frames; the rest train.
        scale: "metric" when a world unit is a metre, else "arbitrary".
        up_in_world: unit vector away from the ground, or None when unknown.
        world_from_source: transform the reader applied to the file's frame: identity unless a data set demands one, or
            coordinates too large for float32 an origin of their own.
        georeference: world to projected coordinates, or None.
        background: colour behind everything, linear in [0, 1] sRGB values, or None when the images have no empty pixels.
        preset: name of the data set preset that set the split and sizes, or None.
        licence: what is known of the data's licence.
    """

    root: Path
    source_format: Literal["colmap", "transforms", "rgbd", "scannet", "nuscenes", "co3d", "world"]
    frames: tuple[Frame, ...]
    points: PointCloud | None = None
    test_names: frozenset[str] = frozenset()
    scale: Scale = "arbitrary"
    up_in_world: Float64[np.ndarray, "3"] | None = None
    world_from_source: Float64[np.ndarray, "4 4"] = field(default_factory=lambda: np.eye(4))
    georeference: Georeference | None = None
    background: tuple[float, float, float] | None = None
    preset: str | None = None
    licence: str | None = None

    def __post_init__(self) -> None:
        names = [frame.name for frame in self.frames]
        if len(set(names)) != len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ConventionError(
                f"frames of {self.root}", expected="unique names", got=f"{twice[0]} listed more than once", fix="remove the copy"
            )

    @property
    def frames_with_image(self) -> tuple[Frame, ...]:
        """Frames whose image file exists."""
        return tuple(frame for frame in self.frames if frame.has_image)

    @property
    def missing_frames(self) -> tuple[Frame, ...]:
        """Frames that are listed but have no image file."""
        return tuple(frame for frame in self.frames if not frame.has_image)

    @property
    def train_frames(self) -> tuple[Frame, ...]:
        """Frames with an image that are not held out."""
        return tuple(frame for frame in self.frames_with_image if frame.name not in self.test_names)

    @property
    def test_frames(self) -> tuple[Frame, ...]:
        """Held-out frames with an image."""
        return tuple(frame for frame in self.frames_with_image if frame.name in self.test_names)


def every_nth_name(frames: tuple[Frame, ...], n: int) -> frozenset[str]:
    """Names of frames 0, n, 2n … among those with an image, sorted by name: the field's usual held-out split (n = 8)."""
    names = sorted(frame.name for frame in frames if frame.has_image)
    return frozenset(names[::n])

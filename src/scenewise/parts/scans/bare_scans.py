"""Points of a scan in its own axes with what a network is given of each; all that naming them needs."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64

from scenewise.errors import ConventionError
from scenewise.parts.lifting import median_view_depth
from scenewise.parts.scans.scans import TrainingScan
from scenewise.parts.segments.oversegmentation import scale_unit
from scenewise.parts.sources.raw_scans import RawScan
from scenewise.scenes.correspondences import Correspondence
from scenewise.scenes.point_clouds import PointCloud


@dataclass(frozen=True)
class ScanAxes:
    """A scan's own axes: +Z up where that is known, metres, the origin near the middle.

    Attributes:
        rotation: scan_from_world.
        middle_in_world: origin.
        world_units_per_metre: 1 for metric captures.
    """

    rotation: Float64[np.ndarray, "3 3"]
    middle_in_world: Float64[np.ndarray, "3"]
    world_units_per_metre: float

    def __call__(self, points_in_world: Float64[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 3"]:
        """Positions in the scan's axes."""
        local = (points_in_world - self.middle_in_world) @ self.rotation.T / self.world_units_per_metre
        return np.ascontiguousarray(local, dtype=np.float32)


def scan_axes(raw: RawScan) -> ScanAxes:
    """The axes of a scan; where its scale is arbitrary, its median depth tells the unit.

    Raises:
        ConventionError: no point, or one that is not finite.
    """
    points = raw.cloud.points_in_world
    _require_finite(raw.name, points)
    unit, up = 1.0, None
    if raw.capture is not None:
        up = raw.capture.up_in_world
        if raw.capture.scale == "arbitrary":
            cameras = [frame.camera for frame in raw.capture.frames_with_image or raw.capture.frames]
            unit = scale_unit("arbitrary", median_view_depth(points, cameras))
    return axes_around(points, up, unit)


def axes_around(
    points_in_world: Float64[np.ndarray, "n 3"], up_in_world: Float64[np.ndarray, "3"] | None, world_units_per_metre: float
) -> ScanAxes:
    """The axes of a scan with these points.

    Args:
        points_in_world: at least one.
        up_in_world: None where nobody knows; +Z then counts as up.
        world_units_per_metre: of the world.

    Raises:
        ConventionError: no point, or one that is not finite.
    """
    _require_finite("a scan", points_in_world)
    rotation = np.eye(3) if up_in_world is None else _z_from(up_in_world)
    return ScanAxes(rotation, (points_in_world.min(axis=0) + points_in_world.max(axis=0)) / 2, world_units_per_metre)


def _require_finite(name: str, points: Float64[np.ndarray, "n 3"]) -> None:
    if not len(points):
        raise ConventionError(f"points of {name}", expected="at least one", got="none")
    if not np.isfinite(points).all():
        bad = int((~np.isfinite(points)).any(axis=1).sum())
        raise ConventionError(
            f"points of {name}", expected="finite positions", got=f"{bad} that are not", fix="drop those points first"
        )


def bare_scan(raw: RawScan) -> TrainingScan:
    """Points without pictures and segments: what a trained network needs to name them, in the same order."""
    none = np.zeros(0, dtype=np.int32)
    count = len(raw.cloud)
    return TrainingScan(
        name=raw.name,
        points_in_scan=scan_axes(raw)(raw.cloud.points_in_world),
        inputs=point_inputs(raw)[0],
        segments=np.full(count, -1, dtype=np.int32),
        views=(),
        pixels=Correspondence(none.astype(np.int64), none, none, none, count, 0),
    )


def point_inputs(raw: RawScan) -> tuple[Float32[np.ndarray, "n channels"], Literal["colour", "intensity", "ones"]]:
    """What a network is given of each point, and what that is: colour / 127.5 − 1, or intensity, or ones."""
    if raw.cloud.colors_u8 is not None:
        return inputs_of_colors(raw.cloud), "colour"
    if raw.intensity is not None:
        return np.ascontiguousarray(raw.intensity[:, None], dtype=np.float32), "intensity"
    return np.ones((len(raw.cloud), 1), dtype=np.float32), "ones"


def inputs_of_colors(cloud: PointCloud) -> Float32[np.ndarray, "n 3"]:
    """Colour / 127.5 − 1."""
    assert cloud.colors_u8 is not None
    return cloud.colors_u8.astype(np.float32) / np.float32(127.5) - np.float32(1.0)


def _z_from(up: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3 3"]:
    """The shortest rotation that takes a direction to +Z.

    R = I + [v]× + [v]×² / (1 + c) with v = up × z and c = up·z (Rodrigues' formula for an axis between two unit vectors).
    """
    x, y, c = (float(value) for value in up / np.linalg.norm(up))
    if c < -1 + 1e-9:  # every half turn about a level axis is as short
        return np.diag([1.0, -1.0, -1.0])
    if x == 0 and y == 0:
        return np.eye(3)
    cross = np.array([[0.0, 0.0, -x], [0.0, 0.0, -y], [x, y, 0.0]])
    return np.eye(3) + cross + cross @ cross / (1 + c)

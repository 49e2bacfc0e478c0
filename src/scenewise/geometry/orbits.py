"""Camera paths around what a set of cameras looks at."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

_AXIAL_WEIGHT = 1e-3  # how much the expected depth counts against the crossing of the axes; only decides when axes are parallel
_MAX_ELEVATION = np.radians(60.0)  # a nadir flight still gives a view in which things have sides
_GAP_FOR_SWING = np.radians(90.0)  # a gap in the covered directions above this is not flown through
_SWING_MARGIN = 0.9
_ROLL = 1e-2  # variance of the x axes along up that hands cause: about 6°


def focus_in_world(world_from_camera: Float64[np.ndarray, "n 4 4"], depth: float) -> Float64[np.ndarray, "3"]:
    """The point that the cameras look at together.

    Minimises Σ |(I − dᵢdᵢᵀ)(p − cᵢ)|² + λ Σ (dᵢ·(p − cᵢ) − depth)²: near all optical axes, and where these are parallel
    or cross behind the cameras, at the expected depth.

    Args:
        world_from_camera: OpenCV camera poses, at least one.
        depth: typical distance from a camera to what it sees, world units.
    """
    centers, directions = world_from_camera[:, :3, 3], world_from_camera[:, :3, 2]
    along = directions[:, :, None] * directions[:, None, :]
    weights = np.eye(3) - (1.0 - _AXIAL_WEIGHT) * along
    targets = np.einsum("nij,nj->ni", weights, centers) + _AXIAL_WEIGHT * depth * directions
    focus = np.linalg.solve(weights.sum(0), targets.sum(0))
    if (
        np.median(((focus - centers) * directions).sum(1)) < 0.3 * depth
    ):  # cameras that look outwards cross at or behind themselves
        focus = (centers + depth * directions).mean(0)
    return focus


def up_from_cameras(world_from_camera: Float64[np.ndarray, "n 4 4"]) -> Float64[np.ndarray, "3"]:
    """Unit vector away from the ground, from the assumption that cameras are turned and pitched, but not rolled on average.

    Where all look down, so does the mean m of their own up (−Y); but their x axes stay level.  Hence
    u ∝ (mean x xᵀ + ε I)⁻¹ m, the minimum of mean (x·u)² + ε‖u‖² − 2 m·u: what the x axes agree to be horizontal is taken out of
    m.  Where they span no plane (all cameras look the same way), m decides.
    """
    sideways = world_from_camera[:, :3, 0]
    level = sideways.T @ sideways / len(sideways) + _ROLL * np.eye(3)
    up = np.linalg.solve(level, -world_from_camera[:, :3, 1].mean(0))
    length = float(np.linalg.norm(up))
    return up / length if length > 1e-6 else np.array([0.0, 0.0, 1.0])


def look_at(
    center: Float64[np.ndarray, "3"], target: Float64[np.ndarray, "3"], up: Float64[np.ndarray, "3"]
) -> Float64[np.ndarray, "4 4"]:
    """``world_from_camera`` of an upright camera at ``center`` whose +Z points to ``target``.

    Args:
        center: optical centre in world units, not equal to ``target``.
        target: point on the optical axis.
        up: direction away from the ground; when the camera looks along it, another is taken.
    """
    forward = (target - center) / np.linalg.norm(target - center)
    if abs(float(forward @ up)) > 0.999 * float(np.linalg.norm(up)):
        up = np.roll(up, 1) + np.array([0.0, 1e-3, 0.0])
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    world_from_camera = np.eye(4)
    world_from_camera[:3, :4] = np.stack([right, np.cross(forward, right), forward, center], axis=1)
    return world_from_camera


@dataclass(frozen=True)
class Orbit:
    """A path on a circle around a focus.

    Attributes:
        focus: centre that every camera looks at, world units.
        up: unit axis of the circle.
        start: unit vector, perpendicular to ``up``, in the direction of the path's middle.
        distance: from the focus to every camera.
        elevation: angle above the plane through the focus, radians.
        half_arc: π for a full turn, otherwise how far the path swings to each side of ``start``, radians.
    """

    focus: Float64[np.ndarray, "3"]
    up: Float64[np.ndarray, "3"]
    start: Float64[np.ndarray, "3"]
    distance: float
    elevation: float
    half_arc: float

    def world_from_camera(self, count: int) -> Float64[np.ndarray, "{count} 4 4"]:
        """``count`` poses of one closed round: the last is followed smoothly by the first."""
        phases = 2.0 * np.pi * np.arange(count) / count
        azimuths = phases if self.half_arc >= np.pi else self.half_arc * np.sin(phases)
        side = np.cross(self.up, self.start)
        outward = np.cos(azimuths)[:, None] * self.start + np.sin(azimuths)[:, None] * side
        offsets = np.cos(self.elevation) * outward + np.sin(self.elevation) * self.up
        return np.stack([look_at(self.focus + self.distance * offset, self.focus, self.up) for offset in offsets])


def orbit_around(
    world_from_camera: Float64[np.ndarray, "n 4 4"],
    depth: float,
    *,
    up: Float64[np.ndarray, "3"] | None = None,
    radius: float = 1.0,
    elevation: float | None = None,
) -> Orbit:
    """The orbit that stays where the cameras have been: at their distance and height, and within the directions they cover.

    Args:
        world_from_camera: OpenCV camera poses, at least one.
        depth: typical distance from a camera to what it sees, world units.
        up: unit vector away from the ground; estimated from the cameras when None.
        radius: factor on the cameras' median distance.
        elevation: radians; the cameras' median when None.
    """
    up = up_from_cameras(world_from_camera) if up is None else up
    focus = focus_in_world(world_from_camera, depth)
    offsets = world_from_camera[:, :3, 3] - focus
    distances = np.linalg.norm(offsets, axis=1)
    heights = offsets @ up
    if elevation is None:
        elevation = float(np.median(np.arcsin(np.clip(heights / np.maximum(distances, 1e-12), -1.0, 1.0))))
        elevation = float(np.clip(elevation, -_MAX_ELEVATION, _MAX_ELEVATION))
    first = np.cross(up, np.eye(3)[int(np.argmin(np.abs(up)))])
    first /= np.linalg.norm(first)
    second = np.cross(up, first)
    azimuths = np.arctan2(offsets @ second, offsets @ first)
    # Cameras straight above the focus have no direction around it.
    azimuths = azimuths[np.hypot(offsets @ first, offsets @ second) > 0.15 * np.maximum(distances, 1e-12)]
    middle, half_arc = _covered_arc(azimuths)
    return Orbit(
        focus=focus,
        up=up,
        start=np.cos(middle) * first + np.sin(middle) * second,
        distance=radius * max(float(np.median(distances)), 0.3 * depth),
        elevation=elevation,
        half_arc=half_arc,
    )


def _covered_arc(azimuths: Float64[np.ndarray, "n"]) -> tuple[float, float]:
    """Middle and half width of the arc that remains when the largest gap is taken out; a full turn when no gap is large."""
    if len(azimuths) < 3:
        return (float(azimuths[0]) if len(azimuths) else 0.0), np.pi
    ordered = np.sort(azimuths)
    gaps = np.diff(ordered, append=ordered[0] + 2.0 * np.pi)
    widest = int(np.argmax(gaps))
    if gaps[widest] < _GAP_FOR_SWING:
        return float(ordered[0]), np.pi
    begin = ordered[(widest + 1) % len(ordered)]
    width = 2.0 * np.pi - gaps[widest]
    return float(begin + 0.5 * width), float(_SWING_MARGIN * 0.5 * width)

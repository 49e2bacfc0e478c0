"""Which points are seen in which pixels.

A point X is visible in a view when it lies in front of the camera, projects into the image, and nothing stands before it:

    (U, V, z) = K (R X + t),   u = U / z,   v = V / z,   |D(⌊v⌋, ⌊u⌋) − z| ≤ absolute + relative · D

The pixel is found once, by rounding down, and used for the depth test and for everything after it.  Pixel centres are at
half-integers here; ⌊u⌋ then equals rounding to the nearest integer where centres are at integers, u' = u − ½, since
⌊u' + ½⌋ = ⌊u⌋.  Testing the depth at one pixel and reading the label at another (rounding in one place, truncating in the
other) shifts labels by half a pixel against the geometry.

A tolerance wide enough for a depth camera lets the far side of thin things through: the back of a cabinet door 2 cm thick passes
as its front.  Where points have normals that look outwards, those that look away from the camera are left out as well.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Int32, Int64

from scenewise.engine.progress import NullProgress, Progress
from scenewise.errors import ConventionError, ShapeError
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.captures import Scale
from scenewise.scenes.correspondences import Correspondence
from scenewise.scenes.frames import Frame

DEPTH_TOLERANCE = 0.05
"""Metres between a point and the measured depth: twice the noise of a hand-held depth camera at 3 m plus a grazing half pixel."""

DEPTH_TOLERANCE_SHARE = 0.02
"""The same as a share of the median depth, where a world unit is no metre: 5 cm at 2.5 m, the median of indoor captures."""

OCCLUSION_TOLERANCE = 0.5
"""Metres behind the nearest point of a cell that still count as the same surface (a LiDAR's points on one car)."""

OCCLUSION_TOLERANCE_SHARE = 0.05
"""The same as a share of the median depth: 0.5 m at 10 m, the median of a street sweep."""

_CHUNK = 1 << 15  # points handled together; their float32 temporaries stay in the cache
_POSE_TOLERANCE = 1e-2


@dataclass(frozen=True)
class ZBuffer:
    """How views without measured depth tell what is hidden: by the points themselves.

    The image is cut into square cells; a point is hidden when it lies further than max(absolute, relative · nearest) behind the
    nearest point of its cell.

    Attributes:
        cell: side of a cell in pixels, about the spacing of the points in the image.
        absolute_tolerance: world units; None takes 0.5 m, or 5 % of the median depth where the scale is arbitrary.
        relative_tolerance: share of the nearest depth.
    """

    cell: int = 8
    absolute_tolerance: float | None = None
    relative_tolerance: float = 0.05

    def __post_init__(self) -> None:
        if self.cell < 1:
            raise ConventionError("ZBuffer.cell", expected="at least 1 pixel", got=self.cell)
        for name in ("absolute_tolerance", "relative_tolerance"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ConventionError(f"ZBuffer.{name}", expected="0 or more", got=value)


@dataclass(frozen=True)
class ViewPixels:
    """The points that one view shows, in ascending order, and where.

    Attributes:
        view: index of the view.
        element: indices of the points.
        row: pixel rows.
        column: pixel columns.
        depth: of the points along the camera's +Z, world units.
    """

    view: int
    element: Int64[np.ndarray, "pairs"]
    row: Int32[np.ndarray, "pairs"]
    column: Int32[np.ndarray, "pairs"]
    depth: Float64[np.ndarray, "pairs"]

    def __len__(self) -> int:
        return len(self.element)


@dataclass(frozen=True)
class VisibilityTest:
    """When a point counts as seen in a pixel.

    Attributes:
        absolute_tolerance: depth test, world units.  None takes 0.05 m, or 2 % of the median depth where the scale is arbitrary.
        relative_tolerance: depth test, share of the measured depth.
        border: pixels at each edge that are not used.
        minimum_depth: points nearer than this are not used, world units.
        z_buffer: occlusion test of views without measured depth; None tests nothing (the literal choice of several papers).
        use_masks: leave out pixels that a frame's mask excludes.
    """

    absolute_tolerance: float | None = None
    relative_tolerance: float = 0.0
    border: int = 0
    minimum_depth: float = 0.0
    z_buffer: ZBuffer | None = ZBuffer()
    use_masks: bool = True

    def __post_init__(self) -> None:
        for name in ("absolute_tolerance", "relative_tolerance", "border", "minimum_depth"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ConventionError(name, expected="0 or more", got=value)


_USUAL = VisibilityTest()


def visible_pixels(
    points_in_world: Float64[np.ndarray, "n 3"],
    views: Sequence[Frame | None],
    test: VisibilityTest = _USUAL,
    *,
    scale: Scale = "metric",
    normals_in_world: Float64[np.ndarray, "n 3"] | None = None,
    progress: Progress | None = None,
) -> Correspondence:
    """The pixel of each view that shows each point; see the module's formula.

    Views are read one at a time; what grows is the result alone, 20 bytes per pair.  :func:`stream_visible_pixels` gives the
    same view by view where even that is too much.

    Args:
        points_in_world: world units; non-finite points are visible nowhere.
        views: frames; None stands for a view whose pose the reader refused.  Views without a usable pose or without an image are
            skipped and listed in the result.
        test: when a point counts as seen.
        scale: of the capture.
        normals_in_world: outward normals of any length; points that face away from a camera are not visible in it.  A zero means
            unknown.  None asks for no facing: right for clouds whose normals have no sign.
        progress: where to report; silent by default.

    Returns:
        A row per (point, view), ordered by view, then point.

    Raises:
        ShapeError: a depth map or mask of another size than its image, or another number of normals than points.
    """
    shown, sizes = [], []
    elements: list[np.ndarray] = [np.zeros(0, dtype=np.int64)]
    rows: list[np.ndarray] = [np.zeros(0, dtype=np.int32)]
    columns: list[np.ndarray] = [np.zeros(0, dtype=np.int32)]
    for part in stream_visible_pixels(
        points_in_world, views, test, scale=scale, normals_in_world=normals_in_world, progress=progress
    ):
        shown.append(part.view)
        sizes.append(len(part))
        elements.append(part.element)
        rows.append(part.row)
        columns.append(part.column)
    return Correspondence(
        element=np.concatenate(elements),
        view=np.repeat(np.array(shown, dtype=np.int32), sizes),
        row=np.concatenate(rows),
        column=np.concatenate(columns),
        num_elements=len(points_in_world),
        num_views=len(views),
        skipped_views=tuple(index for index, frame in enumerate(views) if not _is_usable(frame)),
    )


def stream_visible_pixels(
    points_in_world: Float64[np.ndarray, "n 3"],
    views: Sequence[Frame | None],
    test: VisibilityTest = _USUAL,
    *,
    scale: Scale = "metric",
    normals_in_world: Float64[np.ndarray, "n 3"] | None = None,
    progress: Progress | None = None,
) -> Iterator[ViewPixels]:
    """:func:`visible_pixels` view by view, without the skipped ones; memory does not grow with the number of views."""
    if normals_in_world is not None and normals_in_world.shape != points_in_world.shape:
        raise ShapeError("normals_in_world", expected=f"{points_in_world.shape}", got=f"{normals_in_world.shape}")
    points = _LocalPoints(points_in_world)
    limits = _limits(test, points_in_world, views, scale)
    with (NullProgress() if progress is None else progress).stage("lifting", len(views)) as stage:
        for index, frame in enumerate(views):
            if frame is not None and _is_usable(frame):
                element, row, column, depth = points.projected(frame.camera, test.border, test.minimum_depth)
                kept = _not_hidden(frame, row, column, depth, test, limits)
                if test.use_masks and frame.load_mask is not None:
                    kept &= _of_size(frame.load_mask(), frame, "mask")[row, column]
                if normals_in_world is not None:
                    near = element[kept]
                    towards = frame.camera.centers_in_world.numpy() - points_in_world[near]
                    kept[kept] = np.einsum("nk,nk->n", normals_in_world[near], towards) >= 0
                yield ViewPixels(index, element[kept], row[kept], column[kept], depth[kept])
            stage.advance()


@dataclass(frozen=True)
class _Limits:
    """Tolerances in world units.

    Attributes:
        measured: between a point and the measured depth.
        behind: the nearest point of a cell.
    """

    measured: float
    behind: float


def _limits(
    test: VisibilityTest, points_in_world: Float64[np.ndarray, "n 3"], views: Sequence[Frame | None], scale: Scale
) -> _Limits:
    metric, unit = scale == "metric", 1.0
    if not metric:
        cameras = [frame.camera for frame in views if frame is not None and _is_usable(frame)]
        unit = median_view_depth(points_in_world, cameras)
    measured, behind = test.absolute_tolerance, None if test.z_buffer is None else test.z_buffer.absolute_tolerance
    if measured is None:
        measured = DEPTH_TOLERANCE if metric else DEPTH_TOLERANCE_SHARE * unit
    if behind is None:
        behind = OCCLUSION_TOLERANCE if metric else OCCLUSION_TOLERANCE_SHARE * unit
    return _Limits(measured, behind)


def _not_hidden(
    frame: Frame,
    row: Int32[np.ndarray, "pairs"],
    column: Int32[np.ndarray, "pairs"],
    depth: Float64[np.ndarray, "pairs"],
    test: VisibilityTest,
    limits: _Limits,
) -> Bool[np.ndarray, "pairs"]:
    """Points that nothing stands before: by the measured depth, or else by the points themselves."""
    measured = None if frame.load_depth is None else _of_size(frame.load_depth(), frame, "depth")
    if measured is not None:
        there = measured[row, column].astype(np.float64)
        with np.errstate(invalid="ignore"):
            return (there > 0) & (np.abs(there - depth) <= limits.measured + test.relative_tolerance * there)
    if test.z_buffer is not None:
        return _in_front(frame.camera, row, column, depth, test.z_buffer, limits.behind)
    return np.ones(len(row), dtype=bool)


def median_view_depth(points_in_world: Float64[np.ndarray, "n 3"], cameras: Sequence[Cameras]) -> float:
    """Median depth of points within the images of cameras: the unit of length of a capture without metres.

    At most 16 cameras and 20,000 points, evenly spaced in the given order, are looked at.

    Raises:
        ConventionError: no camera sees any point.
    """
    chosen = _LocalPoints(points_in_world[:: max(1, len(points_in_world) // 20_000)])
    depths = [chosen.projected(camera, 0, 0.0)[3] for camera in cameras[:: max(1, len(cameras) // 16)]]
    seen = np.concatenate(depths) if depths else np.zeros(0)
    if not len(seen):
        raise ConventionError(
            "points and cameras",
            expected="points in front of the cameras",
            got="none in any image",
            fix="check that points and poses share one frame",
        )
    return float(np.median(seen))


_Projected = tuple[
    Int64[np.ndarray, "pairs"], Int32[np.ndarray, "pairs"], Int32[np.ndarray, "pairs"], Float64[np.ndarray, "pairs"]
]


class _LocalPoints:
    """Points about their own middle: float32 for a quick look at all of them, float64 for those that may be in the image."""

    def __init__(self, points_in_world: Float64[np.ndarray, "n 3"]) -> None:
        finite = np.isfinite(points_in_world).all(axis=1)
        inside = points_in_world if finite.all() else points_in_world[finite]
        self.middle = (inside.min(axis=0) + inside.max(axis=0)) / 2 if len(inside) else np.zeros(3)
        self.local = points_in_world - self.middle
        self.reach = np.abs(inside - self.middle).max(axis=0, initial=0.0)
        self.rough = np.ascontiguousarray(self.local.T, dtype=np.float32)
        self.rough[:, ~finite] = np.nan

    def projected(self, camera: Cameras, border: int, minimum_depth: float) -> _Projected:
        """Points within the image: index, row, column, depth."""
        pose = camera.camera_from_world.numpy()
        K = camera.K.numpy()
        project = K @ pose[:3, :3]
        offset = K @ (pose[:3, :3] @ self.middle + pose[:3, 3])
        low, high_u, high_v = float(border), float(camera.width - border), float(camera.height - border)
        # The rounding error of float32 grows with the coordinates; what may be inside is decided again in float64.
        slack = 1e-6 * (np.abs(project) @ self.reach + np.abs(offset))
        slack_u, slack_v, slack_z = (float(value) for value in slack)
        slack_u, slack_v = slack_u + slack_z * camera.width, slack_v + slack_z * camera.height
        rough_project, rough_offset = project.astype(np.float32), offset.astype(np.float32)[:, None]
        found: list[_Projected] = []
        with np.errstate(invalid="ignore", over="ignore"):
            for begin in range(0, self.rough.shape[1], _CHUNK):
                U, V, z = rough_project @ self.rough[:, begin : begin + _CHUNK] + rough_offset
                near = z > minimum_depth - slack_z
                near &= low * z - slack_u <= U
                near &= high_u * z + slack_u > U
                near &= low * z - slack_v <= V
                near &= high_v * z + slack_v > V
                candidates = np.flatnonzero(near) + begin
                if len(candidates):
                    found.append(self._exact(candidates, project, offset, (low, high_u, high_v), minimum_depth))
        if not found:
            none = np.zeros(0, dtype=np.int32)
            return none.astype(np.int64), none, none, none.astype(np.float64)
        element, row, column, depth = (np.concatenate(parts) for parts in zip(*found))
        return element, row, column, depth

    def _exact(
        self,
        candidates: Int64[np.ndarray, "candidates"],
        project: Float64[np.ndarray, "3 3"],
        offset: Float64[np.ndarray, "3"],
        limits: tuple[float, float, float],
        minimum_depth: float,
    ) -> _Projected:
        low, high_u, high_v = limits
        U, V, z = project @ self.local[candidates].T + offset[:, None]
        with np.errstate(divide="ignore"):
            u, v = U / z, V / z
        inside = (z > 0) & (z >= minimum_depth) & (u >= low) & (u < high_u) & (v >= low) & (v < high_v)
        u, v = u[inside], v[inside]
        return candidates[inside], np.floor(v).astype(np.int32), np.floor(u).astype(np.int32), z[inside]


def _in_front(
    camera: Cameras,
    row: Int32[np.ndarray, "pairs"],
    column: Int32[np.ndarray, "pairs"],
    depth: Float64[np.ndarray, "pairs"],
    z_buffer: ZBuffer,
    behind: float,
) -> Bool[np.ndarray, "pairs"]:
    """Points no further behind the nearest point of their cell than the tolerance."""
    across = -(-camera.width // z_buffer.cell)
    cell = (row // z_buffer.cell).astype(np.int64) * across + column // z_buffer.cell
    nearest = np.full(across * -(-camera.height // z_buffer.cell), np.inf)
    np.minimum.at(nearest, cell, depth)
    front = nearest[cell]
    return depth <= front + np.maximum(behind, z_buffer.relative_tolerance * front)


def _is_usable(frame: Frame | None) -> bool:
    """Whether a view has an image and a rigid, finite pose.  Records check poses, but their tensors can change later."""
    if frame is None or not frame.has_image:
        return False
    pose, K = frame.camera.camera_from_world, frame.camera.K
    if not bool(torch.isfinite(pose).all() and torch.isfinite(K).all()):
        return False
    rotation = pose[:3, :3]
    return float((rotation @ rotation.mT - torch.eye(3, dtype=pose.dtype)).abs().max()) <= _POSE_TOLERANCE


def _of_size(
    values: Float32[np.ndarray, "height width"] | Bool[np.ndarray, "height width"], frame: Frame, what: str
) -> Float[np.ndarray, "height width"] | Bool[np.ndarray, "height width"]:
    if values.shape != (frame.camera.height, frame.camera.width):
        raise ShapeError(
            f"{what} of frame {frame.name}", expected=f"{frame.camera.height}×{frame.camera.width}", got=f"{values.shape}"
        )
    return values

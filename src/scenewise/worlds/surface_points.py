"""Points that lie evenly on the surfaces of solids.

Every piece of surface is drawn with the probability of an area that bounds it from above, and its points are then thinned to
their share of that bound (rejection sampling), so that points are uniform by area across solids of all shapes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int32, Int64

from scenewise.kernels.ray_casting import FACE_ROUND, MaterialTable, PrimitiveTable, Shape
from scenewise.kernels.ray_casting.textures import surface_colors
from scenewise.worlds.primitives import Primitive


@dataclass(frozen=True)
class SurfacePoints:
    """Points on solids.

    Attributes:
        part_ids: the solid each lies on.
        points: in the frame that holds the solids, metres.
        normals: outward, unit length, in the same frame.
        local_positions: in the solid's own frame, metres.
        faces: as in :class:`scenewise.kernels.ray_casting.RayHits`.
    """

    part_ids: Int64[np.ndarray, "n"]
    points: Float64[np.ndarray, "n 3"]
    normals: Float64[np.ndarray, "n 3"]
    local_positions: Float64[np.ndarray, "n 3"]
    faces: Int32[np.ndarray, "n"]

    def __len__(self) -> int:
        return len(self.part_ids)

    def rows(self, chosen: Int64[np.ndarray, "m"] | Bool[np.ndarray, "n"]) -> "SurfacePoints":
        """Some of the points."""
        return SurfacePoints(
            self.part_ids[chosen], self.points[chosen], self.normals[chosen], self.local_positions[chosen], self.faces[chosen]
        )

    def colors(self, primitives: PrimitiveTable, materials: MaterialTable) -> Float64[np.ndarray, "n 3"]:
        """Linear albedo of the textures at the points; the tables are those of the same solids in the same order."""
        ids = torch.from_numpy(self.part_ids)
        albedo = surface_colors(
            materials,
            primitives.material_ids[ids].long(),
            primitives.shapes[ids],
            primitives.half_sizes[ids],
            torch.from_numpy(self.local_positions.astype(np.float32)),
            torch.from_numpy(self.faces),
        )
        return albedo.numpy().astype(np.float64)


def joined(several: Sequence[SurfacePoints]) -> SurfacePoints:
    """All points of several, in order; at least one."""
    names = ("part_ids", "points", "normals", "local_positions", "faces")
    return SurfacePoints(*(np.concatenate([getattr(each, name) for each in several]) for name in names))


def draw_surface_points(rng: np.random.Generator, parts: Sequence[Primitive], tries: int) -> SurfacePoints:
    """Points uniform by area on all surfaces of all solids, those inside other solids included.

    Args:
        rng: source of the choice.
        parts: at least one.
        tries: points drawn; between half of them and all are kept, unless the solids are strange.
    """
    patches = [patch for index, part in enumerate(parts) for patch in _patches(index, part)]
    bounds = np.array([patch.bound for patch in patches])
    chosen = rng.choice(len(patches), tries, p=bounds / bounds.sum())
    uniform = rng.random((tries, 3))
    part_ids = np.array([patch.part for patch in patches])[chosen]
    faces = np.array([patch.face for patch in patches], dtype=np.int32)[chosen]
    half = np.array([part.half_size for part in parts])[part_ids]
    ends = np.array([part.end_scales for part in parts])[part_ids]
    shapes = np.array([int(part.shape) for part in parts])[part_ids]

    local, normals, share = np.zeros((tries, 3)), np.zeros((tries, 3)), np.ones(tries)
    is_side, is_ball = (faces == FACE_ROUND) & (shapes == Shape.FRUSTUM), shapes == Shape.ELLIPSOID
    is_cap, is_flat = (faces != FACE_ROUND) & (shapes == Shape.FRUSTUM), shapes == Shape.BOX
    local[is_flat], normals[is_flat] = _on_boxes(uniform[is_flat], half[is_flat], faces[is_flat])
    local[is_cap], normals[is_cap] = _on_caps(uniform[is_cap], half[is_cap], ends[is_cap], faces[is_cap])
    local[is_side], normals[is_side], share[is_side] = _on_sides(uniform[is_side], half[is_side], ends[is_side])
    local[is_ball], normals[is_ball], share[is_ball] = _on_ellipsoids(uniform[is_ball], half[is_ball])

    turn = np.array([part.yaw for part in parts])[part_ids]
    points = _turned(local, turn) + np.array([part.center for part in parts])[part_ids]
    kept = rng.random(tries) < share
    return SurfacePoints(part_ids, points, _turned(normals, turn), local, faces).rows(kept)


@dataclass(frozen=True)
class _Patch:
    part: int
    face: int
    bound: float  # m², at least the area


def _patches(index: int, part: Primitive) -> list[_Patch]:
    x, y, z = part.half_size
    if part.shape is Shape.ELLIPSOID:
        return [_Patch(index, FACE_ROUND, 4 * np.pi * x * y * z / min(x, y, z))]
    if part.shape is Shape.FRUSTUM:
        bottom, top = part.end_scales
        side = 4 * np.pi * z * _steepest(np.array([part.half_size]), np.array([part.end_scales]))[0]
        return [
            _Patch(index, FACE_ROUND, side),
            _Patch(index, 4, np.pi * x * y * bottom**2),
            _Patch(index, 5, np.pi * x * y * top**2),
        ]
    areas = (y * z, x * z, x * y)
    return [_Patch(index, face, 4 * areas[face // 2]) for face in range(6)]


def _steepest(half: Float64[np.ndarray, "n 3"], ends: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n"]:
    """Largest area of a frustum's side per radian and metre of height."""
    slope = (ends[:, 1] - ends[:, 0]) / (2 * half[:, 2])
    return ends.max(1) * np.sqrt(np.maximum(half[:, 0], half[:, 1]) ** 2 + (half[:, 0] * half[:, 1] * slope) ** 2)


_Placed = tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, "n 3"]]
_Shared = tuple[Float64[np.ndarray, "n 3"], Float64[np.ndarray, "n 3"], Float64[np.ndarray, "n"]]


def _on_boxes(uniform: Float64[np.ndarray, "n 3"], half: Float64[np.ndarray, "n 3"], faces: Int32[np.ndarray, "n"]) -> _Placed:
    rows = np.arange(len(faces))
    normals = np.zeros((len(faces), 3))
    normals[rows, faces // 2] = np.where(faces % 2, 1.0, -1.0)
    local = (2 * uniform - 1) * half
    local[rows, faces // 2] = normals[rows, faces // 2] * half[rows, faces // 2]
    return local, normals


def _on_caps(
    uniform: Float64[np.ndarray, "n 3"],
    half: Float64[np.ndarray, "n 3"],
    ends: Float64[np.ndarray, "n 2"],
    faces: Int32[np.ndarray, "n"],
) -> _Placed:
    up = faces - 4
    angle, out = 2 * np.pi * uniform[:, 0], np.sqrt(uniform[:, 1]) * np.where(up, ends[:, 1], ends[:, 0])
    sign = 2.0 * up - 1.0
    local = half * np.stack([out * np.cos(angle), out * np.sin(angle), sign], axis=1)
    return local, np.stack([np.zeros_like(sign), np.zeros_like(sign), sign], axis=1)


def _on_sides(uniform: Float64[np.ndarray, "n 3"], half: Float64[np.ndarray, "n 3"], ends: Float64[np.ndarray, "n 2"]) -> _Shared:
    """S(a, z) = (f·hx·cos a, f·hy·sin a, z) with f linear in z; the normal is ∂S/∂a × ∂S/∂z, whose length is the area's share."""
    angle, z = 2 * np.pi * uniform[:, 0], (2 * uniform[:, 1] - 1) * half[:, 2]
    slope = (ends[:, 1] - ends[:, 0]) / (2 * half[:, 2])
    scale = ends.mean(1) + slope * z
    hx, hy, c, s = half[:, 0], half[:, 1], np.cos(angle), np.sin(angle)
    across = np.stack([hy * c, hx * s, -hx * hy * slope], axis=1)
    length = np.linalg.norm(across, axis=1)
    local = np.stack([scale * hx * c, scale * hy * s, z], axis=1)
    return local, across / length[:, None], scale * length / _steepest(half, ends)


def _on_ellipsoids(uniform: Float64[np.ndarray, "n 3"], half: Float64[np.ndarray, "n 3"]) -> _Shared:
    """A point of the unit sphere stretched by h; area grows by hx·hy·hz·|n / h|."""
    angle, z = 2 * np.pi * uniform[:, 0], 2 * uniform[:, 1] - 1
    out = np.sqrt(np.maximum(1 - z**2, 0))
    sphere = np.stack([out * np.cos(angle), out * np.sin(angle), z], axis=1)
    across = sphere / half
    length = np.linalg.norm(across, axis=1)
    return sphere * half, across / length[:, None], length * half.min(1)


def _turned(vectors: Float64[np.ndarray, "n 3"], yaw: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "n 3"]:
    c, s = np.cos(yaw), np.sin(yaw)
    return np.stack([c * vectors[:, 0] - s * vectors[:, 1], s * vectors[:, 0] + c * vectors[:, 1], vectors[:, 2]], axis=1)

"""Compact pieces of a point cloud, grown from a grid of seeds over neighbouring voxels, and their union along smooth surfaces."""

from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8

from scenewise.errors import ConventionError, ShapeError
from scenewise.parts.segments.point_normals import Points, estimate_normals, nearest_neighbours
from scenewise.scenes.partitions import Partition

_BITS = 21  # of a voxel's index along an axis; three fit an int64
_REACH = 1.8  # seeds' spacings a piece may grow: its diagonal in space
_MIN_SEED_SHARE = 0.05  # of a disc of voxels as wide as a cell; a patch with fewer is a stray


@dataclass(frozen=True)
class RegionGrowing:
    """Settings of the smooth regions that pieces may be united to.

    Attributes:
        neighbours: of each point.
        angle_deg: neighbours whose normals differ by less belong together.
        max_variation: points with a larger surface variation (0 plane … ⅓) hold nothing together; ⅓ excludes none.
        min_share: of a piece that one region must cover to absorb it.
    """

    neighbours: int = 15
    angle_deg: float = 5.0
    max_variation: float = 1 / 3
    min_share: float = 0.5


@dataclass(frozen=True)
class Supervoxels:
    """Settings of :func:`supervoxels`; the defaults are those GrowSP uses on ScanNet (Zhang et al. 2023, arXiv 2305.16404).

    Attributes:
        voxel_size: metres.
        seed_spacing: metres.
        spatial_importance: weight of distance over seed spacing.
        normal_importance: weight of 1 − |cosine| between normals.
        color_importance: weight of the distance in RGB from 0 to 1.
        normal_radius: in voxels, for the normals.
        growing: unites pieces that lie in one smooth region, or None.
    """

    voxel_size: float = 0.05
    seed_spacing: float = 0.5
    spatial_importance: float = 0.4
    normal_importance: float = 1.0
    color_importance: float = 0.2
    normal_radius: float = 3.0
    growing: RegionGrowing | None = None

    def __post_init__(self) -> None:
        if not 0 < self.voxel_size < self.seed_spacing:
            raise ConventionError(
                "voxel_size", expected=f"between 0 and the seed spacing {self.seed_spacing}", got=self.voxel_size
            )


@dataclass(frozen=True)
class _Voxels:
    """Occupied voxels in ascending order of their keys."""

    of_point: Int64[np.ndarray, "n"]
    centers: Float64[np.ndarray, "v 3"]
    colors: Float64[np.ndarray, "v 3"]
    pairs: Int64[np.ndarray, "e 2"]  # neighbours by face, edge or corner, in both directions


def supervoxels(
    points: Points,
    *,
    colors_u8: UInt8[np.ndarray, "n 3"] | None = None,
    settings: Supervoxels | None = None,
    scale_unit: float = 1.0,
) -> Partition:
    """Voxel cloud connectivity segmentation: k-means like growth over the adjacency of voxels, so that no piece jumps a gap.

    Every iteration, each piece offers itself to the voxels next to it at the distance
    D = w_s·‖Δx‖/spacing + w_c·‖Δrgb‖ + w_n·(1 − |n·n'|), a voxel takes the nearest offer below its present distance, and the
    pieces' means are formed anew.  All pieces move at once, so the order of points does not matter.
    Source: Papon et al., "Voxel cloud connectivity segmentation", CVPR 2013, §3.  Departures: D is the weighted sum of the
    published implementation rather than the root of squares; a cell of the coarse grid has a seed for each connected patch in it,
    so that a floor under a table has its own; parts that a piece lost its connection with go to their neighbours; every
    connected group of voxels that no seed reached is a set of its own.

    Args:
        points: positions in the world frame.
        colors_u8: sRGB; without, colour has no influence.
        settings: defaults where None.
        scale_unit: world units per metre; see :func:`scenewise.parts.segments.oversegmentation.scale_unit`.

    Raises:
        ConventionError: coordinates are not finite, or span more than 2²¹ voxels.
        ShapeError: as many colours as points are needed.
    """
    settings = Supervoxels() if settings is None else settings
    if colors_u8 is not None and len(colors_u8) != len(points):
        raise ShapeError("colors_u8", expected=f"{len(points)} rows, one per point", got=len(colors_u8))
    if not np.isfinite(points).all():
        raise ConventionError("points", expected="finite coordinates", got="NaN or infinity", fix="drop those points first")
    parameters = {**asdict(settings), "scale_unit": scale_unit}
    if not len(points):
        return Partition(np.empty(0, np.int32), 0, "vccs", parameters)
    size, spacing = settings.voxel_size * scale_unit, settings.seed_spacing * scale_unit
    voxels = _voxelize(points, colors_u8, size)
    normals = _voxel_normals(voxels.centers, settings.normal_radius * size)
    seeds = _seeds(voxels, points.min(axis=0), size, spacing)
    owners = _grow(voxels, normals, seeds, settings, spacing)
    ids = _connected(owners, voxels.pairs)[voxels.of_point]
    if settings.growing is not None:
        ids = _absorbed(ids, smooth_regions(points, settings.growing), settings.growing.min_share)
    return Partition.from_any_ids(ids, "vccs", parameters)


def _voxelize(points: Points, colors_u8: UInt8[np.ndarray, "n 3"] | None, size: float) -> _Voxels:
    cells = np.floor((points - points.min(axis=0)) / size)
    if cells.max() >= 2**_BITS - 2:
        raise ConventionError(
            "voxel_size",
            expected=f"a grid of at most 2^{_BITS} voxels along an axis",
            got=f"{cells.max():.0f}",
            fix="drop far outliers, or give the scale_unit of a scene that is not metric",
        )
    cells = cells.astype(np.int64) + 1  # a free border: the key of a neighbour never wraps into the next row
    keys, of_point = np.unique((cells[:, 0] << 2 * _BITS) | (cells[:, 1] << _BITS) | cells[:, 2], return_inverse=True)
    of_point = of_point.reshape(-1).astype(np.int64)
    filled = np.bincount(of_point)[:, None]

    def mean(values: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(of_point, values[:, axis]) for axis in range(3)], axis=1) / filled

    origin = points.min(axis=0)  # before summing: digits at large coordinates
    centers = mean(points - origin) + origin
    colors = np.zeros_like(centers) if colors_u8 is None else mean(colors_u8.astype(np.float64) / 255)
    pairs = []
    steps = [(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if (x, y, z) > (0, 0, 0)]
    for x, y, z in steps:
        wanted = keys + (x << 2 * _BITS) + (y << _BITS) + z
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        first = np.flatnonzero(keys[at] == wanted)
        pairs.append(np.stack([first, at[first]], axis=1))
    half = np.concatenate(pairs)
    return _Voxels(of_point, centers, colors, np.concatenate([half, half[:, ::-1]]))


def _voxel_normals(centers: Float64[np.ndarray, "v 3"], radius: float) -> Float64[np.ndarray, "v 3"]:
    """Normals of the planes through all voxels within a radius; their sign is arbitrary."""
    from scipy.spatial import cKDTree

    pairs = cKDTree(centers).query_pairs(radius, output_type="ndarray").astype(np.int64)
    a, b = pairs[:, 0], pairs[:, 1]
    count = len(centers)
    step = centers[b] - centers[a]
    members = 1.0 + np.bincount(a, minlength=count) + np.bincount(b, minlength=count)

    def total(per_pair: np.ndarray, sign: float) -> np.ndarray:
        return np.bincount(a, per_pair, count) + sign * np.bincount(b, per_pair, count)

    mean = np.stack([total(step[:, i], -1.0) for i in range(3)], axis=1) / members[:, None]
    covariance = np.empty((count, 3, 3))
    for i in range(3):
        for j in range(i, 3):
            covariance[:, i, j] = covariance[:, j, i] = total(step[:, i] * step[:, j], 1.0) / members - mean[:, i] * mean[:, j]
    return np.linalg.eigh(covariance)[1][:, :, 0]


def _seeds(voxels: _Voxels, origin: Float64[np.ndarray, "3"], size: float, spacing: float) -> Int64[np.ndarray, "s"]:
    """In each cell of the coarse grid, of each connected patch that is no stray, the voxel nearest to the cell's middle."""
    cells = np.floor((voxels.centers - origin) / spacing)
    away = np.linalg.norm(origin + (cells + 0.5) * spacing - voxels.centers, axis=1)
    cell_ids = np.unique(cells, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
    patches = _connected(cell_ids, voxels.pairs)
    order = np.lexsort((away, patches))
    nearest = order[np.flatnonzero(np.diff(patches[order], prepend=-1))]
    is_patch = np.bincount(patches) > _MIN_SEED_SHARE * np.pi * (spacing / 2 / size) ** 2
    return np.sort(nearest[is_patch])


def _grow(
    voxels: _Voxels, normals: Float64[np.ndarray, "v 3"], seeds: Int64[np.ndarray, "s"], settings: Supervoxels, spacing: float
) -> Int64[np.ndarray, "v"]:
    """Piece per voxel, −1 where none came."""
    owners = np.full(len(voxels.centers), -1, dtype=np.int64)
    owners[seeds] = np.arange(len(seeds))
    if not len(seeds):
        return owners
    center, color, normal = voxels.centers[seeds], voxels.colors[seeds], normals[seeds]

    def distance(piece: Int64[np.ndarray, "q"], voxel: Int64[np.ndarray, "q"]) -> Float64[np.ndarray, "q"]:
        away = np.linalg.norm(center[piece] - voxels.centers[voxel], axis=1) / spacing
        tone = np.linalg.norm(color[piece] - voxels.colors[voxel], axis=1)
        turn = 1.0 - np.abs((normal[piece] * normals[voxel]).sum(axis=1))
        return settings.spatial_importance * away + settings.color_importance * tone + settings.normal_importance * turn

    def claim(only_free: bool) -> Bool[np.ndarray, "v"]:
        """Every voxel takes the best offer of its neighbours' pieces; which ones changed."""
        source, target = voxels.pairs[:, 0], voxels.pairs[:, 1]
        is_offer = (owners[source] >= 0) & (owners[source] != owners[target])
        if only_free:
            is_offer &= owners[target] < 0
        piece, target = owners[source[is_offer]], target[is_offer]
        offered = distance(piece, target)
        present = np.full(len(owners), np.inf)
        is_owned = np.flatnonzero(owners >= 0)
        present[is_owned] = distance(owners[is_owned], is_owned)
        is_better = offered < present[target]
        piece, target, offered = piece[is_better], target[is_better], offered[is_better]
        order = np.lexsort((piece, offered, target))
        best = order[np.flatnonzero(np.diff(target[order], prepend=-1))]
        changed = np.zeros(len(owners), dtype=bool)
        changed[target[best]] = True
        owners[target[best]] = piece[best]
        return changed

    for _ in range(int(_REACH * settings.seed_spacing / settings.voxel_size)):
        if not claim(only_free=False).any():
            break
        voxel = np.flatnonzero(owners >= 0)
        piece = owners[voxel]
        size = np.bincount(piece, minlength=len(seeds))
        facing = np.sign((normal[piece] * normals[voxel]).sum(axis=1))
        sums = [
            np.stack([np.bincount(piece, values[:, axis], len(seeds)) for axis in range(3)], axis=1)
            for values in (voxels.centers[voxel], voxels.colors[voxel], normals[voxel] * facing[:, None])
        ]
        alive = size > 0
        center[alive], color[alive] = sums[0][alive] / size[alive, None], sums[1][alive] / size[alive, None]
        lengths = np.linalg.norm(sums[2], axis=1)
        turned = alive & (lengths > 0)
        normal[turned] = sums[2][turned] / lengths[turned, None]
    owners[_is_cut_off(owners, voxels.pairs)] = -1
    while claim(only_free=True).any():  # these, and what is connected to a piece but too far for the iterations above
        pass
    return owners


def _is_cut_off(owners: Int64[np.ndarray, "v"], pairs: Int64[np.ndarray, "e 2"]) -> Bool[np.ndarray, "v"]:
    """Voxels that are not connected with the largest part of their piece."""
    parts = _connected(owners, pairs)
    sizes = np.bincount(parts)
    owner_of_part = np.empty(len(sizes), dtype=np.int64)
    owner_of_part[parts] = owners
    order = np.lexsort((np.arange(len(sizes)), -sizes, owner_of_part))
    is_main = np.zeros(len(sizes), dtype=bool)
    is_main[order[np.flatnonzero(np.diff(owner_of_part[order], prepend=-2))]] = True
    return ~is_main[parts]


def _connected(owners: Int64[np.ndarray, "v"], pairs: Int64[np.ndarray, "e 2"]) -> Int64[np.ndarray, "v"]:
    """A number per connected group of voxels of one owner, no owner included."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    inside = pairs[owners[pairs[:, 0]] == owners[pairs[:, 1]]]
    links = coo_matrix((np.ones(len(inside), dtype=bool), (inside[:, 0], inside[:, 1])), (len(owners), len(owners)))
    return connected_components(links, directed=False)[1].astype(np.int64)


def smooth_regions(points: Points, settings: RegionGrowing) -> Int64[np.ndarray, "n"]:
    """Region per point: neighbours whose normals differ by less than an angle belong together, step by step."""
    neighbours = nearest_neighbours(points, settings.neighbours)
    normals, variation = estimate_normals(points, neighbours)
    first = np.repeat(np.arange(len(points)), neighbours.shape[1])
    second = neighbours.ravel()
    # A tight bound: |cos| is 1 minus rounding for equal normals.
    is_smooth = np.abs((normals[first] * normals[second]).sum(axis=1)) > np.cos(np.deg2rad(settings.angle_deg))
    is_smooth &= (variation[first] <= settings.max_variation) & (variation[second] <= settings.max_variation)
    pairs = np.stack([first[is_smooth], second[is_smooth]], axis=1)
    return _connected(np.zeros(len(points), dtype=np.int64), pairs)


def _absorbed(pieces: Int64[np.ndarray, "n"], regions: Int64[np.ndarray, "n"], min_share: float) -> Int64[np.ndarray, "n"]:
    """Pieces of which one region covers more than ``min_share`` take that region's name; the others keep theirs."""
    count = int(regions.max()) + 1
    keys, overlap = np.unique(pieces * count + regions, return_counts=True)
    piece, region = keys // count, keys % count
    order = np.lexsort((region, -overlap, piece))
    dominant = order[np.flatnonzero(np.diff(piece[order], prepend=-1))]
    share = overlap[dominant] / np.bincount(pieces)[piece[dominant]]
    names = np.where(share > min_share, region[dominant], count + piece[dominant])
    return names[pieces]

"""How much two cameras see of the same thing, and under which angle.

Works on bare arrays, so that triangulation and the capture check share it whatever record the cameras come from.
All positions are in one world frame; transforms are ``camera_from_world`` with OpenCV axes.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

_GRID = 5  # samples per image side; 25 rays tell a 4 % step in overlap, enough to rank neighbours
_DEPTH_FACTORS = np.array([0.5, 1.0, 2.0])  # around one known distance
_BLIND_DEPTHS = np.array([3.0, 8.0, 20.0, 50.0])  # in nearest-neighbour spacings, where nothing tells the distance


@dataclass(frozen=True)
class ViewPairs:
    """Pairs of cameras with what they share; row i of each array belongs together.

    Attributes:
        pairs: indices of the two cameras, first < second, sorted.
        overlap: share of the sampled points of one view that the other sees too, mean of both directions, in [0, 1].
        angle_deg: median angle between the two viewing rays of the shared points; 0 where nothing is shared.
    """

    pairs: Int64[np.ndarray, "p 2"]
    overlap: Float64[np.ndarray, "p"]
    angle_deg: Float64[np.ndarray, "p"]


def camera_centers(camera_from_world: Float64[np.ndarray, "n 4 4"]) -> Float64[np.ndarray, "n 3"]:
    """Optical centres in the world frame, −Rᵀt."""
    return -np.einsum("nji,nj->ni", camera_from_world[:, :3, :3], camera_from_world[:, :3, 3])


def looking_directions(camera_from_world: Float64[np.ndarray, "n 4 4"]) -> Float64[np.ndarray, "n 3"]:
    """Unit optical axes in the world frame: the third row of each rotation."""
    return camera_from_world[:, 2, :3].copy()


def project_points(
    camera_from_world: Float64[np.ndarray, "*batch 4 4"],
    K: Float64[np.ndarray, "*batch 3 3"],
    points_in_world: Float64[np.ndarray, "*batch n 3"],
) -> tuple[Float64[np.ndarray, "*batch n 2"], Float64[np.ndarray, "*batch n"]]:
    """Pixel positions and depths along +Z; positions behind or beside the camera (depth ≤ 0) are NaN."""
    in_camera = points_in_world @ np.swapaxes(camera_from_world[..., :3, :3], -1, -2) + camera_from_world[..., None, :3, 3]
    depth = in_camera[..., 2]
    safe = np.where(depth > 0, depth, np.nan)
    in_image = in_camera @ np.swapaxes(K, -1, -2)
    return in_image[..., :2] / safe[..., None], depth


def focus_point(centers: Float64[np.ndarray, "n 3"], directions: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "3"] | None:
    """Point nearest to all optical axes, or None where it is undetermined or most cameras look away from it.

    Least squares of the perpendicular distances: Σ(I − ddᵀ)·p = Σ(I − ddᵀ)·c.
    """
    if len(centers) < 2:
        return None
    middle = centers.mean(axis=0)  # solved around the middle: georeferenced centres carry seven digits
    across = np.eye(3) - directions[:, :, None] * directions[:, None, :]
    normal = across.sum(axis=0)
    eigenvalues = np.linalg.eigvalsh(normal)
    if eigenvalues[0] < 0.02 * len(centers):  # axes within ~8° of parallel: the distance is anyone's guess
        return None
    point = middle + np.linalg.solve(normal, np.einsum("nij,nj->i", across, centers - middle))
    ahead = np.einsum("nj,nj->n", point - centers, directions)
    return point if np.mean(ahead > 0) >= 0.7 else None


def neighbour_spacing(centers: Float64[np.ndarray, "n 3"]) -> float:
    """Median distance of a camera centre to the nearest other one that is not at the same place; 1 where all coincide."""
    from scipy.spatial import cKDTree

    if len(centers) < 2:
        return 1.0
    spread = centers - centers.mean(axis=0)
    extent = float(np.abs(spread).max())
    if extent <= 1e-12 * float(np.abs(centers).max()):  # nothing but rounding between them
        return 1.0
    distinct = np.unique(np.round(spread / extent, 9), axis=0)
    distance, _ = cKDTree(distinct).query(distinct, k=2)
    return extent * float(np.median(distance[:, 1]))


def scene_depths(
    camera_from_world: Float64[np.ndarray, "n 4 4"],
    K: Float64[np.ndarray, "n 3 3"],
    sizes: Int64[np.ndarray, "n 2"],
    points_in_world: Float64[np.ndarray, "m 3"] | None = None,
) -> Float64[np.ndarray, "n d"]:
    """Plausible depths of what each camera looks at, near to far.

    From the points it sees (10 %, 50 % and 90 % quantiles), else from the point all axes aim at (½, 1 and 2 times its depth),
    else from multiples of the spacing between cameras.

    Args:
        camera_from_world: rigid transforms.
        K: intrinsics in pixels.
        sizes: width and height of each image in pixels.
        points_in_world: any sample of the scene's surface; a few thousand suffice.

    Returns:
        Depths along +Z in world units, > 0.  The number per camera depends on what was known.
    """
    count = len(camera_from_world)
    centers, directions = camera_centers(camera_from_world), looking_directions(camera_from_world)
    if points_in_world is not None and len(points_in_world) >= 8:
        quantiles = np.full((count, 3), np.nan)
        for i in range(count):
            pixels, depth = project_points(camera_from_world[i], K[i], points_in_world)
            seen = inside_image(pixels, sizes[i])
            if int(seen.sum()) >= 8:
                quantiles[i] = np.quantile(depth[seen], [0.1, 0.5, 0.9])
        known = np.isfinite(quantiles[:, 0])
        if known.any():
            quantiles[~known] = np.median(quantiles[known], axis=0)
            return quantiles
    focus = focus_point(centers, directions)
    if focus is not None:
        ahead = np.einsum("nj,nj->n", focus - centers, directions)
        typical = float(np.median(ahead[ahead > 0]))
        return np.clip(ahead, 0.25 * typical, 4 * typical)[:, None] * _DEPTH_FACTORS
    return np.broadcast_to(neighbour_spacing(centers) * _BLIND_DEPTHS, (count, len(_BLIND_DEPTHS))).copy()


def inside_image(pixels: Float64[np.ndarray, "*batch n 2"], size: Int64[np.ndarray, "*batch 2"]) -> Bool[np.ndarray, "*batch n"]:
    """Whether pixel positions lie in an image of this width and height; NaN (behind the camera) does not."""
    inside: Bool[np.ndarray, "*batch n"] = np.all((pixels >= 0) & (pixels < size[..., None, :]), axis=-1)
    return inside


def candidate_pairs(camera_from_world: Float64[np.ndarray, "n 4 4"], neighbours: int) -> Int64[np.ndarray, "p 2"]:
    """Pairs of each camera with its nearest ``neighbours`` in position and looking direction; all pairs when there are few.

    Distance is Euclidean in (centre ÷ spread of the centres, looking direction), so a half turn weighs as much as two spreads.
    """
    from scipy.spatial import cKDTree

    count = len(camera_from_world)
    if count < 2:
        return np.zeros((0, 2), dtype=np.int64)
    if count <= neighbours + 1:
        first, second = np.triu_indices(count, k=1)
        return np.stack([first, second], axis=1).astype(np.int64)
    centers = camera_centers(camera_from_world)
    centers = centers - centers.mean(axis=0)
    spread = float(np.median(np.linalg.norm(centers, axis=1))) or 1.0
    place = np.concatenate([centers / spread, looking_directions(camera_from_world)], axis=1)
    _, nearest = cKDTree(place).query(place, k=neighbours + 1)
    first = np.repeat(np.arange(count), neighbours + 1)
    pairs = np.stack([first, nearest.reshape(-1)], axis=1).astype(np.int64)
    pairs = np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1)
    return np.unique(pairs, axis=0)


def view_overlap(
    camera_from_world: Float64[np.ndarray, "n 4 4"],
    K: Float64[np.ndarray, "n 3 3"],
    sizes: Int64[np.ndarray, "n 2"],
    depths: Float64[np.ndarray, "n d"],
    pairs: Int64[np.ndarray, "p 2"],
) -> ViewPairs:
    """What the cameras of each pair share, by sampling a grid of pixels at several depths and projecting it into the other view.

    Samples count as seen between half the nearest and twice the farthest plausible depth of the other camera.  Occlusion is not
    known here, so this is an upper bound; it ranks neighbours and finds views that share nothing.

    Args:
        camera_from_world: rigid transforms.
        K: intrinsics in pixels.
        sizes: width and height of each image in pixels.
        depths: plausible depths along +Z per camera (``scene_depths``).
        pairs: which cameras to compare.

    Returns:
        The pairs with overlap and median viewing angle.
    """
    u, v = np.meshgrid((np.arange(_GRID) + 0.5) / _GRID, (np.arange(_GRID) + 0.5) / _GRID)
    shares = np.stack([u.ravel(), v.ravel(), np.ones(u.size)], axis=-1)
    pixels = shares * np.concatenate([sizes, np.ones((len(sizes), 1))], axis=1)[:, None, :]
    rays = pixels @ np.swapaxes(np.linalg.inv(K), 1, 2)
    centers = camera_centers(camera_from_world)
    in_camera = (rays[:, None] * depths[:, :, None, None]).reshape(len(K), -1, 3)
    samples = np.einsum("nji,nkj->nki", camera_from_world[:, :3, :3], in_camera) + centers[:, None]

    nearest, farthest = 0.5 * depths.min(axis=1, keepdims=True), 2.0 * depths.max(axis=1, keepdims=True)

    overlap, angle = np.zeros((len(pairs), 2)), np.zeros((len(pairs), 2))
    step = max(1, 2_000_000 // max(1, samples.shape[1]))  # bounds the memory at about 100 MB
    for start in range(0, len(pairs), step):
        chunk = slice(start, start + step)
        for side, (viewer, other) in enumerate((pairs[chunk].T, pairs[chunk, ::-1].T)):
            points = samples[viewer]
            projected, depth = project_points(camera_from_world[other], K[other], points)
            # What lies far behind or before all that a camera looks at is in its frustum, but not in its picture.
            seen = inside_image(projected, sizes[other]) & (depth > nearest[other]) & (depth < farthest[other])
            overlap[chunk, side] = seen.mean(axis=1)
            one, two = points - centers[viewer][:, None], points - centers[other][:, None]
            lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(two, axis=-1)
            cosine = np.einsum("pkj,pkj->pk", one, two) / np.maximum(lengths, 1e-300)
            degrees = np.rad2deg(np.arccos(np.clip(cosine, -1, 1)))
            angle[chunk, side] = _masked_median(degrees, seen)
    shared = overlap > 0
    angle_deg = np.where(shared.any(axis=1), (angle * shared).sum(axis=1) / np.maximum(shared.sum(axis=1), 1), 0.0)
    return ViewPairs(pairs=pairs, overlap=overlap.mean(axis=1), angle_deg=angle_deg)


def _masked_median(values: Float64[np.ndarray, "p k"], mask: Bool[np.ndarray, "p k"]) -> Float64[np.ndarray, "p"]:
    """Lower median of the masked values of each row; 0 for rows without any."""
    ordered = np.sort(np.where(mask, values, np.inf), axis=1)
    middle = np.maximum(mask.sum(axis=1) - 1, 0) // 2
    result = ordered[np.arange(len(ordered)), middle]
    return np.where(np.isfinite(result), result, 0.0)

"""Which views to match, and matching along the known epipolar geometry.

A feature is compared only with those of the other view that lie on its epipolar line: both are sorted by the angle of their
epipolar plane about the baseline, and blocks of neighbours in that order are compared by one batched matrix product.  That is
some twenty times less work than comparing all with all, and fewer rivals stand in the ratio test.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float16, Float32, Float64, Int64
from torch import Tensor

from scenewise.engine.progress import Progress
from scenewise.geometry.view_overlap import ViewPairs, camera_centers, candidate_pairs, scene_depths, view_overlap
from scenewise.parts.points.features import ViewFeatures
from scenewise.parts.points.settings import DEFAULT_SETTINGS, SILENT, TriangulationSettings


def matching_pairs(
    camera_from_world: Float64[np.ndarray, "n 4 4"],
    K: Float64[np.ndarray, "n 3 3"],
    sizes: Int64[np.ndarray, "n 2"],
    settings: TriangulationSettings,
) -> ViewPairs:
    """The pairs worth matching: per view its best ``neighbours`` by overlap and viewing angle."""
    depths = scene_depths(camera_from_world, K, sizes)
    candidates = candidate_pairs(camera_from_world, 4 * settings.neighbours)
    seen = view_overlap(camera_from_world, K, sizes, depths, candidates)
    usable = (
        (seen.overlap >= settings.min_overlap)
        & (seen.angle_deg >= settings.min_angle_deg)
        & (seen.angle_deg <= settings.max_angle_deg)
    )
    # A viewing angle of 8° costs SIFT little and triangulates well; the score falls off on both sides of it.
    fit = np.where(seen.angle_deg < 8, 0.5 + seen.angle_deg / 16, np.exp(-(((seen.angle_deg - 8) / 20) ** 2)))
    score = np.where(usable, seen.overlap * fit, -1.0)
    chosen = np.zeros(len(candidates), dtype=bool)
    for view in range(len(camera_from_world)):
        mine = np.flatnonzero((seen.pairs == view).any(axis=1) & usable)
        best = mine[np.argsort(-score[mine], kind="stable")[: settings.neighbours]]
        chosen[best] = True
    return ViewPairs(seen.pairs[chosen], seen.overlap[chosen], seen.angle_deg[chosen])


def match_views(
    features: list[ViewFeatures],
    camera_from_world: Float64[np.ndarray, "n 4 4"],
    K: Float64[np.ndarray, "n 3 3"],
    pairs: ViewPairs,
    *,
    settings: TriangulationSettings = DEFAULT_SETTINGS,
    threads: int = 2,
    progress: Progress = SILENT,
) -> Int64[np.ndarray, "m 4"]:
    """Matches of all pairs as rows (view, feature, other view, other feature)."""
    centers = camera_centers(camera_from_world)
    rays = [_unit_rays(view.pixels, camera_from_world[i], K[i]) for i, view in enumerate(features)]

    def match(pair: tuple[int, int]) -> Int64[np.ndarray, "m 4"]:
        i, j = pair
        matched = match_along_epipolar_planes(
            rays[i],
            rays[j],
            features[i].descriptors,
            features[j].descriptors,
            features[j].pixels,
            baseline=centers[j] - centers[i],
            focal_px=float(np.sqrt(K[i, 0, 0] * K[j, 0, 0])),
            settings=settings,
        )
        ends = np.empty((len(matched), 4), dtype=np.int64)
        ends[:, 0], ends[:, 1], ends[:, 2], ends[:, 3] = i, matched[:, 0], j, matched[:, 1]
        return ends

    # One pair per worker and one torch thread each: the products are small, and on a busy machine threads that wait for each
    # other inside every one of them cost ten times what they gain.
    threads_before = torch.get_num_threads()
    found = [np.zeros((0, 4), dtype=np.int64)]
    try:
        with (
            ThreadPoolExecutor(max(1, threads), initializer=torch.set_num_threads, initargs=(1,)) as pool,
            progress.stage("matching views", len(pairs.pairs)) as stage,
        ):
            for matched in pool.map(match, [(int(i), int(j)) for i, j in pairs.pairs]):
                found.append(matched)
                stage.advance()
    finally:
        torch.set_num_threads(threads_before)
    return np.concatenate(found)


def _unit_rays(
    pixels: Float64[np.ndarray, "f 2"], camera_from_world: Float64[np.ndarray, "4 4"], K: Float64[np.ndarray, "3 3"]
) -> Float64[np.ndarray, "f 3"]:
    """Unit viewing directions of pixels in the world frame."""
    homogeneous = np.concatenate([pixels, np.ones((len(pixels), 1))], axis=1)
    rays = homogeneous @ np.linalg.inv(K).T @ camera_from_world[:3, :3]
    return rays / np.linalg.norm(rays, axis=1, keepdims=True)


_BLOCK = 64  # rows per block: wide enough for an efficient product, narrow enough that the band of candidates stays small


@dataclass(frozen=True)
class _AboutBaseline:
    """Features of a view in the order of their epipolar planes.

    Attributes:
        features: their indices.
        azimuth: of the epipolar plane about the baseline, radians, ascending.
        angle: of the ray with the baseline, radians.
    """

    features: Int64[np.ndarray, "k"]
    azimuth: Float64[np.ndarray, "k"]
    angle: Float64[np.ndarray, "k"]

    def over_three_turns(self) -> "_AboutBaseline":
        """With copies one turn earlier and later, which close the circle."""
        return _AboutBaseline(
            np.concatenate([self.features, self.features, self.features]),
            np.concatenate([self.azimuth - 2 * np.pi, self.azimuth, self.azimuth + 2 * np.pi]),
            np.concatenate([self.angle, self.angle, self.angle]),
        )


def _about_baseline(rays: Float64[np.ndarray, "f 3"], axis: Float64[np.ndarray, "3"]) -> _AboutBaseline:
    """Rays by epipolar plane; those along the baseline are left out."""
    least = np.eye(3)[np.argmin(np.abs(axis))]
    right = np.cross(axis, least)
    right /= np.linalg.norm(right)
    up = np.cross(axis, right)
    across = np.hypot(rays @ right, rays @ up)
    azimuth = np.arctan2(rays @ up, rays @ right)
    kept = np.flatnonzero(across > 0.05)
    kept = kept[np.argsort(azimuth[kept], kind="stable")]
    return _AboutBaseline(kept, azimuth[kept], np.arctan2(across, rays @ axis)[kept])


def match_along_epipolar_planes(
    rays: Float64[np.ndarray, "a 3"],
    other_rays: Float64[np.ndarray, "b 3"],
    descriptors: Float16[np.ndarray, "a 128"],
    other_descriptors: Float16[np.ndarray, "b 128"],
    other_pixels: Float64[np.ndarray, "b 2"],
    *,
    baseline: Float64[np.ndarray, "3"],
    focal_px: float,
    settings: TriangulationSettings,
) -> Int64[np.ndarray, "m 2"]:
    """Mutual best matches among features on the same epipolar half-plane whose rays meet in front of both cameras.

    With e the unit baseline, two rays can meet only if their azimuth about e agrees; they meet in front of both cameras exactly
    if the second makes the larger angle with e.  Rays along the baseline are left out: their depth is not observable.

    Args:
        rays: unit viewing directions of the first view, world frame.
        other_rays: the same of the second view.
        descriptors: unit vectors of the first view.
        other_descriptors: the same of the second view.
        other_pixels: positions in the second view, to recognise two descriptors of one spot as no rivals.
        baseline: from the first centre to the second.
        focal_px: pixels per radian.
        settings: thresholds.

    Returns:
        Rows (feature, other feature), ordered by feature.
    """
    nothing = np.zeros((0, 2), dtype=np.int64)
    length = float(np.linalg.norm(baseline))
    if length == 0 or len(rays) == 0 or len(other_rays) == 0:
        return nothing
    axis = baseline / length
    mine, theirs = _about_baseline(rays, axis), _about_baseline(other_rays, axis)
    if len(mine.features) == 0 or len(theirs.features) == 0:
        return nothing
    theirs = theirs.over_three_turns()
    tolerance = settings.epipolar_px / focal_px / np.sin(mine.angle)

    blocks = -(-len(mine.features) // _BLOCK)
    padded = np.minimum(np.arange(blocks * _BLOCK), len(mine.features) - 1).reshape(blocks, _BLOCK)
    low = np.searchsorted(theirs.azimuth, (mine.azimuth - tolerance)[padded].min(axis=1))
    high = np.searchsorted(theirs.azimuth, (mine.azimuth + tolerance)[padded].max(axis=1), side="right")
    best, second = torch.full((blocks, _BLOCK), -1.0), torch.full((blocks, _BLOCK), -1.0)
    partner = torch.zeros((blocks, _BLOCK), dtype=torch.int64)
    best_for_other = torch.full((len(other_rays),), -1.0)
    # Near the epipole a pixel spans a large azimuth and the range of candidates is long: blocks go in groups of similar length.
    group = np.ceil(np.log2(np.maximum(high - low, 1))).astype(np.int64)
    for size in np.unique(group[high > low]).tolist():
        members = np.flatnonzero((group == size) & (high > low))
        rows = padded[members]
        columns = low[members, None] + np.arange(int((high - low)[members].max()))
        inside = columns < high[members, None]
        columns = np.minimum(columns, len(theirs.features) - 1)
        impossible = _impossible_pairs(mine, theirs, rows, columns, inside, tolerance, settings)
        similarity = torch.bmm(
            torch.from_numpy(descriptors[mine.features[rows]]).float(),
            torch.from_numpy(other_descriptors[theirs.features[columns]]).float().mT,
        ).masked_fill_(impossible, -1.0)
        owner = torch.from_numpy(theirs.features[columns])
        best_for_other.scatter_reduce_(0, owner.reshape(-1), similarity.amax(dim=1).reshape(-1), reduce="amax")
        best[members], where, second[members] = _best_and_rival(similarity, _f32(other_pixels[theirs.features[columns]]))
        partner[members] = owner.gather(1, where)

    distance, rival = (2 - 2 * best).clamp_min(0).sqrt(), (2 - 2 * second).clamp_min(0).sqrt()
    good = (best > 0) & (distance <= settings.max_distance) & (distance <= settings.ratio * rival)
    good &= best >= best_for_other[partner]
    good &= torch.from_numpy(np.arange(blocks * _BLOCK).reshape(blocks, _BLOCK) < len(mine.features))
    chosen = good.numpy()
    matched = np.stack([mine.features[padded][chosen], partner.numpy()[chosen]], axis=1)
    return matched[np.argsort(matched[:, 0], kind="stable")]


def _impossible_pairs(
    mine: _AboutBaseline,
    theirs: _AboutBaseline,
    rows: Int64[np.ndarray, "blocks rows"],
    columns: Int64[np.ndarray, "blocks columns"],
    inside: Bool[np.ndarray, "blocks columns"],
    tolerance: Float64[np.ndarray, "k"],
    settings: TriangulationSettings,
) -> Bool[Tensor, "blocks rows columns"]:
    """Pairs on other epipolar planes, and those whose rays do not meet at an allowed angle in front of both cameras.

    Azimuths are compared relative to the block's first one: float32 resolves 1e-7 rad there, far below a pixel.  Columns beyond
    the block's range (not ``inside``) stand a hundred turns away.
    """
    reference = mine.azimuth[rows[:, :1]]
    here, there = _f32(mine.azimuth[rows] - reference), _f32(np.where(inside, theirs.azimuth[columns] - reference, 600.0))
    impossible = (here[:, :, None] - there[:, None, :]).abs_() > _f32(tolerance[rows])[:, :, None]
    nearest, widest = np.deg2rad(0.5 * settings.min_angle_deg), np.deg2rad(1.5 * settings.max_angle_deg)
    half, middle = 0.5 * (widest - nearest), 0.5 * (widest + nearest)
    impossible |= (_f32(mine.angle[rows] + middle)[:, :, None] - _f32(theirs.angle[columns])[:, None, :]).abs_() > half
    return impossible


def _f32(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _best_and_rival(
    similarity: Float32[Tensor, "blocks rows columns"], spots: Float32[Tensor, "blocks columns 2"]
) -> tuple[Float32[Tensor, "blocks rows"], Int64[Tensor, "blocks rows"], Float32[Tensor, "blocks rows"]]:
    """Highest similarity of each row, its column, and the highest one at another spot; overwrites ``similarity``.

    SIFT describes one spot under several orientations.  Those are no rivals, so the search goes on past up to two of them.
    """

    def spot(column: Tensor) -> Tensor:
        return spots.gather(1, column[:, :, None].expand(-1, -1, 2))

    best, where = similarity.max(dim=2)
    here, rival = spot(where), best
    column, same_spot = where, torch.ones_like(best, dtype=torch.bool)
    for _ in range(3):
        similarity.scatter_(2, column[:, :, None], -1.0)
        next_best, column = similarity.max(dim=2)
        rival = torch.where(same_spot, next_best, rival)
        same_spot &= ((spot(column) - here).abs() < 2).all(dim=2)
    return best, where, rival

"""Levels of detail without pictures: a scene in fewer Gaussians, neighbours that look alike merged into one.

Rounds: every Gaussian proposes itself to its nearest neighbours, pairs are taken from the cheapest on so that each Gaussian is in
one at most, and the cheapest of all become one each.  A round takes no more than a part of the Gaussians, because what is merged
changes what its neighbours should merge with.  None is left out: doing so first with the faintest was measured and is no better.

Gaussians are kept along a space-filling curve, so that a chunk of rows is a piece of space; the borders of the chunks are
elsewhere in every other round.
"""

import math
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float, Int64
from scipy.spatial import cKDTree
from torch import Tensor

from scenewise.engine.progress import NullProgress, Progress
from scenewise.errors import ConventionError
from scenewise.io.ply.gaussians import finite_blocks
from scenewise.parts.splats.moments import Moments, gaussians_of, merged_moments, merging_costs, moments_of, typical_size
from scenewise.scenes.gaussians import Gaussians

_ROWS_PER_CHUNK = 1 << 18
_ROWS_PER_BLOCK = 1 << 16  # of what is done row by row, or pair by pair
_NEIGHBOURS = 6  # more propose pairs that lie further apart, which is no better
_MOST_IN_A_ROUND = 0.3  # of the Gaussians; 0.07 gives the same quality, 0.5 takes bad pairs
_PASSES = 4  # after them few Gaussians are left that could pair with another
_PASSES_BY_LOT = 3
_BITS = 21  # per axis of the curve


@dataclass(frozen=True)
class MergedGaussians:
    """Fewer Gaussians, and where they come from.

    Attributes:
        gaussians: in the order of ``source_rows``; what was not merged is the same to the bit.
        source_rows: for each, the row it had, or the row of the heaviest of those it was made of; ascending.
    """

    gaussians: Gaussians
    source_rows: Int64[Tensor, "n"]


@torch.no_grad()
def merged_to(gaussians: Gaussians, count: int, *, progress: Progress | None = None) -> MergedGaussians:
    """At most ``count`` Gaussians that look like the given ones, from their parameters alone.

    The same bits for the same input and number of threads.  Works on the CPU; beside the input it takes about 100 bytes for each
    Gaussian of degree 0.

    Args:
        gaussians: any degree of colour, any device.
        count: how many there may be; all stay where there are no more.
        progress: told how many have gone.

    Raises:
        ConventionError: ``count`` is below 1, or a value is NaN or infinite.
    """
    if count < 1:
        raise ConventionError("count of merged Gaussians", expected="1 or more", got=count)
    for _ in finite_blocks(gaussians.blocks(_ROWS_PER_BLOCK)):
        pass
    total = len(gaussians)
    if total <= count:
        return MergedGaussians(gaussians, torch.arange(total))
    source = gaussians.to("cpu")
    size = typical_size(source)
    moments = _moments_along_curve(source, size)
    progress = NullProgress() if progress is None else progress
    with progress.stage("merge Gaussians", total=total - count) as stage:
        turn = 0
        while len(moments) > count:
            before = len(moments)
            wanted = before - _left_after_round(before, count)
            moments = _with_merged(moments, *_cheapest_pairs(moments, wanted, size, turn), size)
            turn += 1
            stage.advance(before - len(moments))
    merged = _as_gaussians(moments, source, size)
    return MergedGaussians(merged.gaussians.to(gaussians.means.device), merged.source_rows)


def _left_after_round(rows: int, count: int) -> int:
    """Rows that one of equal rounds leaves, of which as few as possible lead to ``count``."""
    rounds = math.ceil(math.log(rows / count) / -math.log1p(-_MOST_IN_A_ROUND))
    return count if rounds <= 1 else min(rows - 1, max(count, round(rows * (count / rows) ** (1 / rounds))))


def _moments_along_curve(gaussians: Gaussians, size: float) -> Moments:
    order = torch.from_numpy(np.argsort(_curve_codes(gaussians.means.numpy()), kind="stable"))
    n, rest = len(gaussians), gaussians.shN.shape[1]
    widths = {"means": (3,), "covariances": (6,), "sh0": (1, 3), "shN": (rest, 3), "source_rows": ()}
    moments = Moments(
        **{
            field.name: torch.empty(n, *widths.get(field.name, ()), dtype=torch.int64 if field.name == "source_rows" else None)
            for field in fields(Moments)
        }
    )
    for start in range(0, n, _ROWS_PER_BLOCK):
        block = moments_of(gaussians, order[start : start + _ROWS_PER_BLOCK], size)
        for field in fields(Moments):
            getattr(moments, field.name)[start : start + len(block)] = getattr(block, field.name)
    return moments


def _curve_codes(points: Float[np.ndarray, "n 3"]) -> Int64[np.ndarray, "n"]:
    """Places along the Z-order curve (Morton 1966) through the box that holds nearly all points; the rest is at its border."""
    sample = points[:: max(1, len(points) // 100_000)].astype(np.float64)
    low, high = np.quantile(sample, 0.001, axis=0), np.quantile(sample, 0.999, axis=0)
    step = max(float((high - low).max()), 1e-30) / ((1 << _BITS) - 1)
    codes = np.zeros(len(points), dtype=np.int64)
    for axis in range(3):
        cells = np.clip((points[:, axis] - low[axis]) / step, 0, (1 << _BITS) - 1).astype(np.int64)
        codes |= _with_gaps(cells) << axis
    return codes


def _with_gaps(bits: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
    """Two zeros after each of the lowest 21 bits."""
    for shift, mask in (
        (32, 0x1F00000000FFFF),
        (16, 0x1F0000FF0000FF),
        (8, 0x100F00F00F00F00F),
        (4, 0x10C30C30C30C30C3),
        (2, 0x1249249249249249),
    ):
        bits = (bits | (bits << shift)) & mask
    return bits


def _cheapest_pairs(moments: Moments, wanted: int, size: float, turn: int) -> tuple[Int64[Tensor, "m"], Int64[Tensor, "m"]]:
    """Up to ``wanted`` pairs of rows, no row in two of them."""
    firsts, seconds, costs = [], [], []
    bounds = _chunk_bounds(len(moments), turn)
    for start, stop in pairwise(bounds):
        first, second = _neighbours(moments.means[start:stop].double().numpy())
        if not len(first):
            continue
        first, second = first + start, second + start
        cost = torch.cat(
            [
                merging_costs(moments.select(left), moments.select(right), size)
                for left, right in zip(first.split(_ROWS_PER_BLOCK), second.split(_ROWS_PER_BLOCK))
            ]
        )
        chosen = _disjoint(first - start, second - start, cost, stop - start)
        firsts.append(first[chosen])
        seconds.append(second[chosen])
        costs.append(cost[chosen].float())
    best = torch.argsort(torch.cat(costs), stable=True)[:wanted]
    return torch.cat(firsts)[best], torch.cat(seconds)[best]


def _chunk_bounds(rows: int, turn: int) -> list[int]:
    chunks = -(-rows // _ROWS_PER_CHUNK)
    step = -(-rows // chunks)
    start = step // 2 if chunks > 1 and turn % 2 else step
    return [0, *range(start, rows, step), rows]


def _neighbours(points: Float[np.ndarray, "n 3"]) -> tuple[Int64[Tensor, "m"], Int64[Tensor, "m"]]:
    """Pairs of different rows, each once: nearest neighbours, and rows at the very same place one after another.

    The tree is built of different places: of many at the same one it would be no tree.
    """
    order = np.lexsort(points.T)
    is_same = (points[order[1:]] == points[order[:-1]]).all(axis=1)
    places = order[np.concatenate([[True], ~is_same])]
    keys = [_pair_keys(order[:-1][is_same], order[1:][is_same], len(points))]
    k = min(_NEIGHBOURS + 1, len(places))
    if k > 1:
        near = cKDTree(points[places]).query(points[places], k=k, workers=torch.get_num_threads())[1]
        keys.append(_pair_keys(np.repeat(places, k), places[near.reshape(-1)], len(points)))
    pairs = np.sort(np.concatenate(keys))  # numpy's unique builds a table, which takes ten times as long
    is_new = np.concatenate([[True], pairs[1:] != pairs[:-1]])
    is_pair = pairs // len(points) != pairs % len(points)  # the nearest is most often the place itself
    pairs = pairs[is_new & is_pair]
    return torch.from_numpy(pairs // len(points)), torch.from_numpy(pairs % len(points))


def _pair_keys(first: Int64[np.ndarray, "m"], second: Int64[np.ndarray, "m"], rows: int) -> Int64[np.ndarray, "m"]:
    return np.minimum(first, second) * rows + np.maximum(first, second)


def _disjoint(
    first: Int64[Tensor, "m"], second: Int64[Tensor, "m"], costs: Float[Tensor, "m"], rows: int
) -> Int64[Tensor, "chosen"]:
    """Pairs as a greedy choice from the cheapest on would take them: those that are the cheapest of both their rows, again and
    again among the rows that are left.

    Where costs grow steadily from row to row that would be one pair each time, so what is left at last is paired by lot.
    """
    lot = torch.randperm(len(costs), generator=torch.Generator().manual_seed(0))
    order = lot[torch.argsort(costs[lot], stable=True)]
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    left = torch.arange(len(order))
    chosen = []
    for turn in range(_PASSES + _PASSES_BY_LOT):
        if turn == _PASSES:
            rank = lot
        best = torch.full((rows,), len(order))
        for end in (first, second):
            best.scatter_reduce_(0, end[left], rank[left], "amin")
        is_best = (best[first[left]] == rank[left]) & (best[second[left]] == rank[left])
        chosen.append(left[is_best])
        is_taken = torch.zeros(rows, dtype=torch.bool)
        is_taken[first[chosen[-1]]] = True
        is_taken[second[chosen[-1]]] = True
        left = left[~(is_taken[first[left]] | is_taken[second[left]])]
    return torch.cat(chosen)


def _with_merged(moments: Moments, first: Int64[Tensor, "m"], second: Int64[Tensor, "m"], size: float) -> Moments:
    """The mixtures in place of the first of each pair; in the same memory, of which there may be little."""
    for left, right in zip(first.split(_ROWS_PER_BLOCK), second.split(_ROWS_PER_BLOCK)):
        merged, _ = merged_moments(moments.select(left), moments.select(right), size)
        for field in fields(Moments):
            values = getattr(moments, field.name)
            values[left] = getattr(merged, field.name).to(values.dtype)
    stays = torch.ones(len(moments), dtype=torch.bool)
    stays[second] = False
    filled = 0
    for start in range(0, len(moments), _ROWS_PER_BLOCK):
        rows = slice(start, start + _ROWS_PER_BLOCK)
        count = int(stays[rows].sum())
        for field in fields(Moments):
            values = getattr(moments, field.name)
            values[filled : filled + count] = values[rows][stays[rows]]
        filled += count
    return Moments(**{field.name: getattr(moments, field.name)[:filled] for field in fields(Moments)})


def _as_gaussians(moments: Moments, source: Gaussians, size: float) -> MergedGaussians:
    order = torch.argsort(moments.source_rows)
    rows = moments.source_rows[order]
    result = source.select(rows)
    changed = (moments.members[order] > 1).nonzero()[:, 0]
    for part in changed.split(_ROWS_PER_BLOCK):
        merged = gaussians_of(moments.select(order[part]), size)
        for field in fields(Gaussians):
            getattr(result, field.name)[part] = getattr(merged, field.name)
    return MergedGaussians(result, rows)

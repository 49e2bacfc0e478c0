"""Anomalous tokens: finding the few patches that carry global instead of local content, and replacing them.

Three detectors give a score per token; one rule flags the highest.  Source: Bai et al. 2024, arXiv 2411.15869 (SC-CLIP), whose
released code uses ``lof_fast`` under the name LOF; ``lof`` is the local outlier factor of Breunig et al., SIGMOD 2000.
"""

from typing import assert_never

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional

from scenewise.teachers.read_outs.aggregation import row_blocks
from scenewise.teachers.read_outs.attention import as_computed
from scenewise.teachers.read_outs.settings import Detector

_TINY = 1e-10  # keeps densities of exact duplicates finite, as in scikit-learn


def squared_distances(
    tokens: Float[Tensor, "batch patches width"], rows: slice | None = None
) -> Float[Tensor, "batch rows patches"]:
    """‖a − b‖² between the tokens of an image in float32 or better: never negative, exactly 0 on the diagonal.

    Args:
        tokens: patches.
        rows: which a; None for all.
    """
    rows = slice(0, tokens.shape[1]) if rows is None else rows
    tokens = as_computed(tokens)
    tokens = tokens - tokens.mean(dim=1, keepdim=True)  # the common offset would cost digits below
    squares = tokens.square().sum(-1)
    distances = (tokens[:, rows] @ tokens.transpose(1, 2)).mul_(-2.0)
    distances.add_(squares[:, rows, None]).add_(squares[:, None, :]).clamp_(min=0.0)
    distances[:, :, rows].diagonal(dim1=1, dim2=2).zero_()
    return distances


def _nearest(
    tokens: Float[Tensor, "batch patches width"], neighbours: int
) -> tuple[Float[Tensor, "batch patches k"], Int64[Tensor, "batch patches k"]]:
    """Squared distances to the nearest other tokens, in no order, and which they are; k ≤ patches − 1."""
    found = []
    for rows in row_blocks(tokens):
        distances = squared_distances(tokens, rows)
        distances[:, :, rows].diagonal(dim1=1, dim2=2).fill_(torch.inf)
        found.append(distances.topk(min(neighbours, tokens.shape[1] - 1), dim=-1, largest=False, sorted=False))
    return torch.cat([part.values for part in found], dim=1), torch.cat([part.indices for part in found], dim=1)


def _of_neighbours(
    values: Float[Tensor, "batch tokens"], neighbours: Int64[Tensor, "batch tokens k"]
) -> Float[Tensor, "batch tokens k"]:
    return values.gather(1, neighbours.flatten(1)).unflatten(1, neighbours.shape[1:])


def local_outlier_factor(tokens: Float[Tensor, "batch tokens width"], neighbours: int) -> Float[Tensor, "batch tokens"]:
    """LOF_i = mean_j lrd_j / lrd_i over the k nearest j; lrd_i = 1 / mean_j max(kdist_j, ‖i − j‖).  About 1 for inliers."""
    squared, index = _nearest(tokens, neighbours)
    distances = squared.sqrt()
    reach = torch.maximum(_of_neighbours(distances.amax(-1), index), distances)
    density = 1.0 / (reach.mean(-1) + _TINY)
    return _of_neighbours(density, index).mean(-1) / density


def local_outlier_factor_fast(tokens: Float[Tensor, "batch tokens width"], neighbours: int) -> Float[Tensor, "batch tokens"]:
    """kdist²_i · mean_j 1 / kdist²_j: what the released code computes.

    It takes squared distances and every token's own k-distance for the reachability, max(‖i − j‖², kdist²_i) = kdist²_i, so
    that the density is 1 / kdist²_i.
    """
    squared, index = _nearest(tokens, neighbours)
    farthest = squared.amax(-1) + _TINY
    return farthest * _of_neighbours(1.0 / farthest, index).mean(-1)


def anomaly_scores(
    tokens: Float[Tensor, "batch tokens width"], detector: Detector, neighbours: int
) -> Float[Tensor, "batch tokens"]:
    """How unlike the others each token is; comparable within an image only.

    Args:
        tokens: patches, without the class token.
        detector: ``norm_topk`` scores by length.
        neighbours: of the outlier factors; at most tokens − 1 are used.
    """
    if detector == "norm_topk":
        return as_computed(tokens).norm(dim=-1)
    if tokens.shape[1] < 2:  # nothing to compare with
        return as_computed(tokens).new_ones(tokens.shape[:2])
    if detector == "lof":
        return local_outlier_factor(tokens, neighbours)
    if detector == "lof_fast":
        return local_outlier_factor_fast(tokens, neighbours)
    assert_never(detector)


def flag_highest(scores: Float[Tensor, "batch tokens"], contamination: float) -> Bool[Tensor, "batch tokens"]:
    """Scores above the (1 − contamination) quantile of their image: 10 of 196 at 0.05, none where all are equal."""
    return scores > torch.quantile(scores, 1.0 - contamination, dim=1, keepdim=True)


def find_anomalies(
    tokens: Float[Tensor, "batch tokens width"], detector: Detector, neighbours: int, contamination: float
) -> Bool[Tensor, "batch tokens"]:
    """Which patches are anomalous."""
    return flag_highest(anomaly_scores(tokens, detector, neighbours), contamination)


def neighbour_mean_fill(
    tokens: Float[Tensor, "batch tokens width"], flagged: Bool[Tensor, "batch tokens"], rows: int, columns: int
) -> Float[Tensor, "batch tokens width"]:
    """Flagged tokens become the mean of the unflagged among their eight neighbours; one without any stays as it is.

    Args:
        tokens: patches row by row, rows · columns of them.
        flagged: what to replace.
        rows: of the patch grid.
        columns: of the patch grid.
    """
    grid = as_computed(tokens).transpose(1, 2).unflatten(2, (rows, columns))
    valid = ~flagged.unflatten(1, (rows, columns))[:, None]
    # Where, not times: an infinite token times 0 is no number.  The centre of a flagged token is left out as it is flagged.
    total = functional.avg_pool2d(torch.where(valid, grid, grid.new_zeros(())), 3, 1, 1, divisor_override=1)
    count = functional.avg_pool2d(valid.to(grid.dtype), 3, 1, 1, divisor_override=1).round()
    filled = torch.where(~valid & (count > 0), total / count.clamp(min=1.0), grid)
    return filled.flatten(2).transpose(1, 2).to(tokens.dtype)

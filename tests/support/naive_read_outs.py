"""The read-outs again, one image at a time with Python loops over patches: slow, and easy to check against the papers."""

import math

import torch
from torch import Tensor


def naive_lof(x: Tensor, k: int) -> Tensor:
    """Breunig et al. 2000, with the k nearest others as neighbourhood."""
    n = len(x)
    k = min(k, n - 1)
    near, kdist = [], []
    for i in range(n):
        order = sorted((j for j in range(n) if j != i), key=lambda j: float((x[i] - x[j]).norm()))[:k]
        near.append(order)
        kdist.append(float((x[i] - x[order[-1]]).norm()))
    density = []
    for i in range(n):
        reach = [max(kdist[j], float((x[i] - x[j]).norm())) for j in near[i]]
        density.append(k / sum(reach))
    return torch.tensor([sum(density[j] for j in near[i]) / k / density[i] for i in range(n)], dtype=x.dtype)


def naive_lof_fast(x: Tensor, k: int) -> Tensor:
    """Squared distances; reachability with the token's own k-distance, written out as the released code does."""
    n = len(x)
    k = min(k, n - 1)
    near, reach_mean = [], []
    for i in range(n):
        order = sorted((j for j in range(n) if j != i), key=lambda j: float((x[i] - x[j]).square().sum()))[:k]
        squared = [float((x[i] - x[j]).square().sum()) for j in order]
        near.append(order)
        reach_mean.append(sum(max(d, squared[-1]) for d in squared) / k)
    lrd = [k / reach for reach in reach_mean]
    return torch.tensor([sum(lrd[j] / lrd[i] for j in near[i]) / k for i in range(n)], dtype=x.dtype)


def naive_flag(scores: Tensor, contamination: float) -> list[int]:
    ordered = sorted(scores.tolist())
    place = (1 - contamination) * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    threshold = ordered[low] + (place - low) * (ordered[high] - ordered[low])
    return [i for i, score in enumerate(scores.tolist()) if score > threshold]


def naive_fill(x: Tensor, flagged: list[int], rows: int, columns: int) -> Tensor:
    out = x.clone()
    for i in flagged:
        r, c = divmod(i, columns)
        around = [
            (r + dr) * columns + c + dc
            for dr in (-1, 0, 1)
            for dc in (-1, 0, 1)
            if (dr or dc) and 0 <= r + dr < rows and 0 <= c + dc < columns
        ]
        around = [j for j in around if j not in flagged]
        if around:
            out[i] = sum(x[j] for j in around) / len(around)
    return out


def naive_cosines(x: Tensor) -> Tensor:
    n = len(x)
    return torch.tensor([[float(x[i] @ x[j] / (x[i].norm() * x[j].norm())) for j in range(n)] for i in range(n)], dtype=x.dtype)


def naive_aggregate(similarity: Tensor, beta: float, x: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    for i in range(len(x)):
        weights = [float(s) if s >= beta else 0.0 for s in similarity[i]]
        for j, weight in enumerate(weights):
            out[i] += weight / (sum(weights) + 1e-6) * x[j]
    return out


def naive_softmax(scores: list[float]) -> list[float]:
    top = max(scores)
    powers = [math.exp(s - top) for s in scores]
    return [p / sum(powers) for p in powers]


def naive_attention(left: Tensor, right: Tensor, value: Tensor, heads: int, bonus: Tensor | None = None) -> Tensor:
    n, width = value.shape
    d = width // heads
    out = torch.zeros_like(value)
    for h in range(heads):
        part = slice(h * d, (h + 1) * d)
        for i in range(n):
            scores = [
                float(left[i, part] @ right[j, part]) / math.sqrt(d) + (float(bonus[i, j]) if bonus is not None else 0.0)
                for j in range(n)
            ]
            for j, weight in enumerate(naive_softmax(scores)):
                out[i, part] += weight * value[j, part]
    return out


def naive_adjusted_attention(block, x: Tensor, similarity: Tensor, gain: float) -> Tensor:
    normed = block.norm1(x)
    key, value = block.key(normed), block.value(normed)
    mean = float(similarity.mean())
    from_similarity = torch.zeros_like(value)
    for i in range(len(x)):
        scores = [gain * (float(s) - mean) if s >= mean else -math.inf for s in similarity[i]]
        for j, weight in enumerate(naive_softmax(scores)):
            from_similarity[i] += weight * value[j]
    return block.out(0.5 * (from_similarity + naive_attention(key, key, value, block.num_heads)))


def naive_sc_clip(tower, image: Tensor) -> Tensor:
    """Published settings on six blocks: pre 3, post 1, levels 1, 2, 3; [rows, columns, dim]."""
    passed = tower.tokens(image[None])
    rows, columns, block = passed.rows, passed.columns, tower.last_block
    feats = [tokens[0] for tokens in passed.hidden[1:]]
    x = feats[-1]
    cls, patches = x[0], x[1:]
    flagged = naive_flag(naive_lof(patches, 30), 0.05)
    patches = naive_fill(patches, flagged, rows, columns)
    similarity = naive_cosines(naive_fill(feats[3][1:], flagged, rows, columns))
    patches = naive_aggregate(similarity, 0.4, patches)
    patches = naive_adjusted_attention(block, patches, similarity, 3.0) + 0.3 * cls
    early = naive_cosines(feats[1][1:])
    patches = naive_aggregate(early, 0.4, patches)
    levels = feats[1] + feats[2] + feats[3]
    second = naive_adjusted_attention(block, levels[1:], similarity, 3.0) + 0.3 * levels[0]
    second = naive_aggregate(early, 0.4, second)
    return tower.head((patches + second)[None])[0].reshape(rows, columns, -1)

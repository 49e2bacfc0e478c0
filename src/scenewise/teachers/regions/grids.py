"""Pixels as a graph: neighbours, connected regions, colours in which distance means difference."""

import numpy as np
from jaxtyping import Float64, Int64

from scenewise.scenes.class_colors import linear_from_srgb
from scenewise.scenes.frames import ImageU8

# sRGB to XYZ under D65, divided by the white point row by row.  Source: IEC 61966-2-1.
_XYZ_FROM_RGB = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_XYZ_FROM_RGB = _XYZ_FROM_RGB / _XYZ_FROM_RGB.sum(axis=1, keepdims=True)


def lab_from_srgb(image: Float64[np.ndarray, "*shape 3"]) -> Float64[np.ndarray, "*shape 3"]:
    """CIE 1976 L*a*b* (L from 0 to 100, white point D65) of sRGB in [0, 1]."""
    xyz = linear_from_srgb(image) @ _XYZ_FROM_RGB.T
    edge = 6 / 29
    f = np.where(xyz > edge**3, np.cbrt(xyz), xyz / (3 * edge**2) + 4 / 29)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def smoothed(image: ImageU8, sigma: float) -> Float64[np.ndarray, "height width 3"]:
    """The image in [0, 1], each channel convolved with a Gaussian (borders mirrored); ``sigma`` in pixels, 0 for none."""
    from scipy.ndimage import gaussian_filter

    values = image.astype(np.float64) / 255
    return gaussian_filter(values, (sigma, sigma, 0.0)) if sigma > 0 else values


def pixel_pairs(height: int, width: int, *, diagonals: bool) -> Int64[np.ndarray, "m 2"]:
    """Indices (row·width + column) of pixels that touch by an edge, and with ``diagonals`` by a corner."""
    index = np.arange(height * width).reshape(height, width)
    pairs = [(index[:, :-1], index[:, 1:]), (index[:-1], index[1:])]
    if diagonals:
        pairs += [(index[:-1, :-1], index[1:, 1:]), (index[:-1, 1:], index[1:, :-1])]
    return np.concatenate([np.stack([first.ravel(), second.ravel()], axis=1) for first, second in pairs])


def connected_regions(labels: Int64[np.ndarray, "height width"]) -> Int64[np.ndarray, "height width"]:
    """A number per group of pixels of one label that touch by edges, in the order of their first pixels."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    pairs = pixel_pairs(*labels.shape, diagonals=False)
    flat = labels.ravel()
    inside = pairs[flat[pairs[:, 0]] == flat[pairs[:, 1]]]
    links = coo_matrix((np.ones(len(inside), dtype=bool), (inside[:, 0], inside[:, 1])), (flat.size, flat.size))
    parts = connected_components(links, directed=False)[1]
    first = np.unique(parts, return_index=True)[1]
    number = np.empty(len(first), dtype=np.int64)
    number[np.argsort(first, kind="stable")] = np.arange(len(first))
    return number[parts].reshape(labels.shape)


def without_small_regions(labels: Int64[np.ndarray, "height width"], min_size: float) -> Int64[np.ndarray, "height width"]:
    """Connected regions; those smaller than ``min_size`` pixels join the neighbour they share the longest border with.

    Smallest first, the lower number first among equals; a region that grew by joining is judged by its new size.
    """
    from heapq import heapify, heappop, heappush

    regions = connected_regions(labels)
    count = int(regions.max(initial=-1)) + 1
    sizes = np.bincount(regions.ravel(), minlength=count).tolist()
    pairs = pixel_pairs(*labels.shape, diagonals=False)
    ends = np.sort(regions.ravel()[pairs], axis=1)
    ends = ends[ends[:, 0] != ends[:, 1]]
    keys, lengths = np.unique(ends[:, 0] * max(count, 1) + ends[:, 1], return_counts=True)
    borders: list[dict[int, int]] = [{} for _ in range(count)]
    for key, length in zip(keys.tolist(), lengths.tolist(), strict=True):
        a, b = divmod(key, count)
        borders[a][b] = borders[b][a] = length
    target = list(range(count))
    waiting = [(size, number) for number, size in enumerate(sizes) if size < min_size]
    heapify(waiting)
    while waiting:
        size, number = heappop(waiting)
        if target[number] != number or size != sizes[number] or not borders[number]:
            continue  # joined meanwhile, grew meanwhile, or the whole image
        host = min(borders[number], key=lambda other: (-borders[number][other], other))
        target[number] = host
        sizes[host] += size
        for other, length in borders[number].items():
            del borders[other][number]
            if other != host:
                borders[host][other] = borders[other][host] = borders[host].get(other, 0) + length
        if sizes[host] < min_size:
            heappush(waiting, (sizes[host], host))
    for number in range(count):
        root = number
        while target[root] != root:
            root = target[root]
        while target[number] != root:
            target[number], number = root, target[number]
    joined = np.array(target, dtype=np.int64)[regions] if count else regions
    return connected_regions(joined)

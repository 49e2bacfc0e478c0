"""Sets of points that lie on one smooth surface: what the label-free methods vote in.

``mesh_segments`` cuts a mesh as ScanNet does, ``point_segments`` does the same on a graph of nearest neighbours, ``supervoxels``
grows compact pieces on a grid, ``splat_segments`` takes Gaussians.  All are deterministic.

ScanNet's ground truth was painted on segments made with k = 0.01, so votes inside the shipped segments follow the borders of the
truth.  Report results with own segments and with shipped ones separately.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from scenewise.errors import ConventionError, ShapeError
from scenewise.kernels.graph_segmentation import segment_graph
from scenewise.parts.segments.point_normals import (
    Points,
    estimate_normals,
    nearest_neighbours,
    nearest_viewpoints,
    vertex_normals,
)
from scenewise.parts.segments.supervoxels import RegionGrowing, Supervoxels, supervoxels
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.meshes import TriangleMesh
from scenewise.scenes.partitions import Partition

__all__ = [
    "PointSegments",
    "RegionGrowing",
    "Supervoxels",
    "mesh_segments",
    "normal_weights",
    "point_segments",
    "scale_unit",
    "splat_segments",
    "supervoxels",
]

TYPICAL_DEPTH = 2.5  # metres from camera to surface in an indoor scan (the median over scans is 2 to 3)


@dataclass(frozen=True)
class PointSegments:
    """Settings of :func:`point_segments`.

    Attributes:
        neighbours: of each point, both for its normal and for the graph; 8 to 16.
        k: preference for larger sets; see :func:`scenewise.kernels.graph_segmentation.segment_graph`.
        min_size: points in a set at least, where it has neighbours.
        color_weight: what a difference from black to white adds to the weight of an edge; 0 ignores colours.
        max_gap: longest edge in metres, or None.
    """

    neighbours: int = 16
    k: float = 0.01
    min_size: int = 20
    color_weight: float = 0.0
    max_gap: float | None = None


def scale_unit(scale: Literal["metric", "arbitrary"], median_depth: float) -> float:
    """World units per metre: 1 where the scale is known, else what makes the median camera–point depth ``TYPICAL_DEPTH``.

    Raises:
        ConventionError: the scale is arbitrary and the depth is not positive.
    """
    if scale == "metric":
        return 1.0
    if not 0 < median_depth < np.inf:
        raise ConventionError("median_depth", expected="a positive number", got=median_depth)
    return median_depth / TYPICAL_DEPTH


def normal_weights(points: Points, normals: Points, edges: Int64[np.ndarray, "m 2"]) -> Float64[np.ndarray, "m"]:
    """How sharply the surface turns between the ends a, b of each edge; less where it turns outwards.

    w = 1 − n_a·n_b; where n_b·(p_b − p_a) > 0 (convex), w² instead.  Only the second end's normal is asked, so that a → b and
    b → a may differ.  Source: the Segmentator of ScanNet (Dai et al. 2017, arXiv 1702.04405).
    """
    first, second = edges[:, 0], edges[:, 1]
    weights = np.maximum(1.0 - (normals[first] * normals[second]).sum(axis=1), 0.0)
    is_convex = (normals[second] * (points[second] - points[first])).sum(axis=1) > 0
    return np.where(is_convex, weights * weights, weights)


def mesh_segments(mesh: TriangleMesh, k: float = 0.01, min_size: int = 20) -> Partition:
    """Segments of a mesh as in ScanNet's ``*.segs.json``, a set per vertex; ids are in the order of first vertices.

    A vertex without faces is a set of its own.  The shipped files number the sets otherwise; the sets differ only where edges of
    equal weight are taken in another order and by rounding (float64 here, float32 there).

    Args:
        mesh: the scan.
        k: preference for larger segments; ScanNet's is 0.01.  On noise-free planes any fold splits; scans have noise.
        min_size: vertices per segment at least.
    """
    corners = mesh.faces
    edges = np.stack([corners[:, [0, 1]], corners[:, [0, 2]], corners[:, [2, 1]]], axis=1).reshape(-1, 2)
    weights = normal_weights(mesh.vertices_in_world, vertex_normals(mesh), edges)
    ids = segment_graph(edges, weights, len(mesh.vertices_in_world), k=k, min_size=min_size)
    return Partition(ids, int(ids.max(initial=-1)) + 1, "felzenszwalb-mesh", {"k": k, "min_size": min_size})


def point_segments(
    points: Points,
    *,
    viewpoints: Float64[np.ndarray, "3"] | Points | None = None,
    normals: Points | None = None,
    colors_u8: UInt8[np.ndarray, "n 3"] | None = None,
    settings: PointSegments | None = None,
    scale_unit: float = 1.0,
) -> Partition:
    """Segments of points without a mesh, on the graph of nearest neighbours.

    The weights are those of a mesh, in both directions of every edge as where two faces share it.  Without viewpoints the outside
    of a surface is unknown: then w = 1 − |n_a·n_b| for convex and concave alike.

    Args:
        points: positions in the world frame.
        viewpoints: where each point was seen from, or one sensor for all; see :func:`nearest_viewpoints`.
        normals: unit normals to use instead of estimated ones; with viewpoints they are turned towards them.
        colors_u8: needed for ``color_weight`` only.
        settings: defaults where None.
        scale_unit: world units per metre, for ``max_gap``; see :func:`scale_unit`.

    Raises:
        ConventionError: coordinates are not finite, or a colour weight without colours.
        ShapeError: normals or colours of another number of points.
    """
    settings = PointSegments() if settings is None else settings
    for name, values in (("normals", normals), ("colors_u8", colors_u8)):
        if values is not None and len(values) != len(points):
            raise ShapeError(name, expected=f"{len(points)} rows, one per point", got=len(values))
    if settings.color_weight > 0 and colors_u8 is None:
        raise ConventionError("color_weight", expected="0 where there are no colours", got=settings.color_weight)
    neighbours = nearest_neighbours(points, settings.neighbours)
    if normals is None:
        normals = estimate_normals(points, neighbours, viewpoints)[0]
    elif viewpoints is not None:
        normals = np.where((((viewpoints - points) * normals).sum(axis=1) < 0)[:, None], -normals, normals)
    edges = _undirected(neighbours)
    if settings.max_gap is not None:
        lengths = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
        edges = edges[lengths <= settings.max_gap * scale_unit]
    if viewpoints is None:
        weights = np.maximum(1.0 - np.abs((normals[edges[:, 0]] * normals[edges[:, 1]]).sum(axis=1)), 0.0)
    else:  # of two parallel edges the lighter one decides
        weights = np.minimum(normal_weights(points, normals, edges), normal_weights(points, normals, edges[:, ::-1]))
    if settings.color_weight > 0 and colors_u8 is not None:
        difference = (colors_u8[edges[:, 0]].astype(np.float64) - colors_u8[edges[:, 1]]) / 255
        weights += settings.color_weight * np.linalg.norm(difference, axis=1) / np.sqrt(3.0)
    ids = segment_graph(edges, weights, len(points), k=settings.k, min_size=settings.min_size)
    parameters = {**vars(settings), "scale_unit": scale_unit, "oriented": viewpoints is not None}
    return Partition(ids, int(ids.max(initial=-1)) + 1, "felzenszwalb-knn", parameters)


def _undirected(neighbours: Int64[np.ndarray, "n k"]) -> Int64[np.ndarray, "m 2"]:
    """Each pair once, the lower index first, in ascending order."""
    count, width = neighbours.shape
    first = np.repeat(np.arange(count), width)
    second = neighbours.ravel()
    keys = np.sort(np.minimum(first, second) * count + np.maximum(first, second))
    keys = keys[np.diff(keys, prepend=-1) != 0]
    return np.stack([keys // max(count, 1), keys % max(count, 1)], axis=1)


def splat_segments(
    gaussians: Gaussians,
    *,
    camera_centers: Float64[np.ndarray, "cameras 3"] | None = None,
    min_opacity: float = 0.1,
    settings: PointSegments | Supervoxels | None = None,
    scale_unit: float = 1.0,
) -> Partition:
    """Segments of a splat scene by the centres of its visible Gaussians; the others have no set (−1).

    Args:
        gaussians: the scene.
        camera_centers: where it was photographed from, in the world frame; orients the normals.
        min_opacity: Gaussians below it are haze rather than surface.
        settings: of :func:`point_segments` (the default) or :func:`supervoxels`.
        scale_unit: world units per metre; see :func:`scale_unit`.
    """
    keep = (gaussians.opacities >= min_opacity).cpu().numpy()
    points = gaussians.means.detach().cpu().numpy().astype(np.float64)
    keep &= np.isfinite(points).all(axis=1)
    points = points[keep]
    y00 = 0.28209479177387814  # the constant spherical harmonic
    colors = np.clip(0.5 + y00 * gaussians.sh0.detach().cpu().numpy()[keep, 0], 0.0, 1.0)
    colors_u8 = np.rint(colors * 255).astype(np.uint8)
    if isinstance(settings, Supervoxels):
        found = supervoxels(points, colors_u8=colors_u8, settings=settings, scale_unit=scale_unit)
    else:
        viewpoints = None if camera_centers is None or not len(points) else nearest_viewpoints(points, camera_centers)
        found = point_segments(points, viewpoints=viewpoints, colors_u8=colors_u8, settings=settings, scale_unit=scale_unit)
    ids = np.full(len(keep), -1, dtype=np.int32)
    ids[keep] = found.ids
    return Partition(ids, found.count, found.source, {**found.parameters, "min_opacity": min_opacity})

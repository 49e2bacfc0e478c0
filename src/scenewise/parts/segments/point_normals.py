"""Surface directions of meshes and of bare points."""

import numpy as np
from jaxtyping import Float64, Int64

from scenewise.errors import ConventionError
from scenewise.kernels.native import library
from scenewise.scenes.meshes import TriangleMesh

Points = Float64[np.ndarray, "n 3"]

_CHUNK = 1 << 17  # points whose neighbourhoods are in memory at a time


def vertex_normals(mesh: TriangleMesh) -> Points:
    """Mean of the unit normals of the faces around each vertex, not normalised again: shorter than 1 where the surface bends.

    Source: the Segmentator of ScanNet (Dai et al. 2017, arXiv 1702.04405).  Faces without area count for nothing; a vertex
    without faces has the normal 0.
    """
    corners = mesh.vertices_in_world[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(normals, axis=1)
    has_area = lengths > 0
    normals = normals[has_area] / lengths[has_area, None]
    vertices = mesh.faces[has_area].ravel()
    count = len(mesh.vertices_in_world)
    sums = [np.bincount(vertices, np.repeat(normals[:, axis], 3), count) for axis in range(3)]
    return np.stack(sums, axis=1) / np.maximum(np.bincount(vertices, minlength=count), 1)[:, None]


def nearest_neighbours(points: Points, neighbours: int) -> Int64[np.ndarray, "n k"]:
    """Indices of the nearest other points, nearest first; fewer columns than asked for where there are fewer points.

    Raises:
        ConventionError: coordinates are not finite, or fewer than one neighbour is asked for.
    """
    from scipy.spatial import cKDTree

    if neighbours < 1:
        raise ConventionError("neighbours", expected="at least 1", got=neighbours)
    if not np.isfinite(points).all():
        raise ConventionError("points", expected="finite coordinates", got="NaN or infinity", fix="drop those points first")
    count = min(neighbours, len(points) - 1)
    if count < 1:
        return np.empty((len(points), 0), dtype=np.int64)
    found = cKDTree(points).query(points, count + 1, workers=library.get_threads())[1].astype(np.int64)
    # The point itself is usually first, but not among duplicates, where it may even be missing.
    is_self = found == np.arange(len(points))[:, None]
    is_self[~is_self.any(axis=1), -1] = True
    return found[~is_self].reshape(len(points), count)


def estimate_normals(
    points: Points,
    neighbours: Int64[np.ndarray, "n k"],
    viewpoints: Float64[np.ndarray, "3"] | Points | None = None,
) -> tuple[Points, Float64[np.ndarray, "n"]]:
    """Unit normals of the planes that fit each point and its neighbours best (PCA), and how badly they fit.

    Args:
        points: positions in the world frame.
        neighbours: indices of each point's neighbours.
        viewpoints: where each point was seen from (or one sensor for all); normals then look towards it.  Without, their sign is
            arbitrary.

    Returns:
        Normals, and the surface variation λ₀/(λ₀+λ₁+λ₂) in [0, ⅓]: 0 on a plane.
    """
    normals, variation = np.zeros_like(points), np.zeros(len(points))
    for begin in range(0, len(points), _CHUNK):
        rows = slice(begin, begin + _CHUNK)
        # Differences to the point itself, which is a member too (the row of zeros), keep digits at large coordinates.
        around = points[neighbours[rows]] - points[rows, None]
        members = around.shape[1] + 1
        mean = around.sum(axis=1) / members
        covariance = np.matmul(around.transpose(0, 2, 1), around) / members - mean[:, :, None] * mean[:, None, :]
        values, vectors = np.linalg.eigh(covariance)
        normals[rows] = vectors[:, :, 0]
        variation[rows] = np.maximum(values[:, 0], 0.0) / np.maximum(values.sum(axis=1), np.finfo(np.float64).tiny)
    if viewpoints is not None:
        looks_away = ((viewpoints - points) * normals).sum(axis=1) < 0
        normals[looks_away] *= -1
    return normals, variation


def nearest_viewpoints(points: Points, camera_centers: Float64[np.ndarray, "cameras 3"]) -> Points:
    """The camera centre nearest to each point: a stand-in where nobody recorded which camera saw it.

    Raises:
        ConventionError: there is no camera.
    """
    from scipy.spatial import cKDTree

    if not len(camera_centers):
        raise ConventionError("camera_centers", expected="at least one camera", got="none")
    return camera_centers[cKDTree(camera_centers).query(points)[1]]

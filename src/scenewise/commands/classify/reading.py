"""An object from whatever file it is in."""

from pathlib import Path

import numpy as np
from jaxtyping import Float64, UInt8

from scenewise.commands.classify.options import ClassifyOptions
from scenewise.engine.randomness import keyed_seed
from scenewise.errors import ConventionError, DataFormatError
from scenewise.geometry.surface_sampling import points_on_triangles
from scenewise.io.classification.cloud_files import z_up_from_y_up
from scenewise.io.classification.modelnet import RESAMPLED_POINTS
from scenewise.parts.sources.clouds import cloud_scan
from scenewise.scenes.classified_clouds import ClassifiedCloud
from scenewise.scenes.meshes import TriangleMesh

_MOST_POINTS = 100_000
_UNKNOWN = 0


def read_object(path: Path, options: ClassifyOptions) -> ClassifiedCloud:
    """The object in a file, +Z up, the middle of its box at the origin; its class id means nothing.

    Meshes are sampled evenly over their surface, the same points whenever they are read; of larger clouds every n-th point is
    taken.

    Raises:
        DataFormatError: the file cannot be read, has no points, or triangles without an area.
    """
    raw = cloud_scan(path).open()
    if raw.mesh is not None and len(raw.mesh.faces):
        points, colors = _sampled(path, raw.mesh)
    else:
        points, colors = raw.cloud.points_in_world, raw.cloud.colors_u8
    if not len(points):
        raise DataFormatError(path, expected="points", got="none", fix="name a file with an object")
    rows = np.linspace(0, len(points) - 1, min(len(points), _MOST_POINTS)).round().astype(np.int64)
    points, colors = points[rows], None if colors is None else np.ascontiguousarray(colors[rows])
    low, high = points.min(axis=0), points.max(axis=0)
    centred = points - (low + high) / 2  # in double precision: projected coordinates have seven digits before the point
    longest = float((high - low).max())
    if options.size is not None and longest > 0:
        centred = centred * (options.size / longest)
    upright = z_up_from_y_up(centred) if options.up == "y" else centred.astype(np.float32)
    return ClassifiedCloud(str(path), upright, _UNKNOWN, colors)


def _sampled(path: Path, mesh: TriangleMesh) -> tuple[Float64[np.ndarray, "n 3"], UInt8[np.ndarray, "n 3"] | None]:
    """Points on the triangles, each in the colour of the vertex next to it."""
    generator = np.random.Generator(np.random.PCG64(keyed_seed("sampled mesh")))
    try:
        points = points_on_triangles(mesh.vertices_in_world, mesh.faces, RESAMPLED_POINTS, generator)
    except ConventionError as error:
        raise DataFormatError(path, expected="triangles with an area", got="none", fix="export it again") from error
    if mesh.colors_u8 is None:
        return points, None
    from scipy.spatial import cKDTree

    used = np.unique(mesh.faces)
    _, nearest = cKDTree(mesh.vertices_in_world[used]).query(points)
    return points, mesh.colors_u8[used[nearest]]

"""Sets of points or splats to vote in, however their elements are cut."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from scenewise.parts.segments.oversegmentation import (
    PointSegments,
    Supervoxels,
    mesh_segments,
    point_segments,
    splat_segments,
    supervoxels,
)
from scenewise.parts.segments.point_normals import nearest_viewpoints
from scenewise.parts.segments.segment_settings import compact_segments, smooth_segments
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.meshes import TriangleMesh
from scenewise.scenes.partitions import Partition
from scenewise.scenes.point_clouds import PointCloud


@dataclass(frozen=True)
class Cutting:
    """How elements are cut into sets.

    Attributes:
        compact: into pieces of one size; otherwise along smooth surfaces.
        camera_centers: where the elements were seen from: normals look there; none where nobody knows.
        world_units_per_metre: of the scene.
    """

    compact: bool
    camera_centers: Float64[np.ndarray, "cameras 3"]
    world_units_per_metre: float


def segments_of_points(cloud: PointCloud, mesh: TriangleMesh | None, cutting: Cutting) -> Partition:
    """Sets of points: along the mesh between them, where there is one and pieces need not be compact."""
    points, colors, unit = cloud.points_in_world, cloud.colors_u8, cutting.world_units_per_metre
    if cutting.compact:
        return supervoxels(points, colors_u8=colors, settings=compact_segments(points, unit), scale_unit=unit)
    if mesh is not None:
        return mesh_segments(mesh)
    return point_segments(
        points,
        viewpoints=nearest_viewpoints(points, cutting.camera_centers) if len(cutting.camera_centers) else None,
        normals=cloud.normals_in_world,
        colors_u8=colors,
        settings=smooth_segments(points, unit, colored=colors is not None),
        scale_unit=unit,
    )


def segments_of_splats(gaussians: Gaussians, cutting: Cutting) -> Partition:
    """Sets of splats."""
    places, unit = gaussians.means.detach().cpu().numpy().astype(np.float64), cutting.world_units_per_metre
    settings: PointSegments | Supervoxels
    settings = compact_segments(places, unit) if cutting.compact else smooth_segments(places, unit, colored=True)
    centers = cutting.camera_centers if len(cutting.camera_centers) else None
    return splat_segments(gaussians, camera_centers=centers, settings=settings, scale_unit=unit)

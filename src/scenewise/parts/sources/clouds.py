"""Point clouds, meshes and sweeps of a LiDAR in files of their own."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from scenewise.errors import DataFormatError, ScenewiseError
from scenewise.io.las import read_las
from scenewise.io.meshes import read_mesh
from scenewise.io.named_points import read_named_points
from scenewise.io.nuscenes.sweeps import read_lidar_sweep
from scenewise.io.placing import in_world
from scenewise.io.semantickitti import SEMANTICKITTI_CLASSES, read_semantickitti_scan
from scenewise.parts.sources.raw_scans import FrameTruths, RawScan, Truth, unknown_truth
from scenewise.scenes.captures import Capture
from scenewise.scenes.meshes import TriangleMesh
from scenewise.scenes.point_clouds import PointCloud

LAS_ENDINGS = (".las", ".laz")
POINT_ENDINGS = (".ply", *LAS_ENDINGS)
MESH_ENDINGS = (".obj", ".stl", ".off", ".glb")
SWEEP_ENDING = ".bin"
NUSCENES_ENDING = ".pcd.bin"


@dataclass(frozen=True)
class CloudScan:
    """A bare cloud or mesh: something to name, nothing to learn from.

    Attributes:
        path: ``.ply``, ``.las``, ``.laz``, a mesh, a sweep of SemanticKITTI (``.bin``) or nuScenes (``.pcd.bin``).
        name: of the scan.
        class_names: of SemanticKITTI's labels.
    """

    path: Path
    name: str
    class_names: tuple[str, ...] = ()

    def open(self) -> RawScan:
        ending = self.path.suffix.lower()
        said = self.path.name
        if self.path.name.lower().endswith(NUSCENES_ENDING):
            points, intensity, _ = read_lidar_sweep(self.path)
            cloud = PointCloud(points.astype(np.float64))
            return RawScan(self.name, cloud, said, intensity=intensity / np.float32(255.0), sensor_in_world=np.zeros(3))
        if ending == ".bin":
            sweep = read_semantickitti_scan(self.path)
            cloud = PointCloud(sweep.points_in_sensor.astype(np.float64))
            return RawScan(self.name, cloud, said, intensity=sweep.intensity, sensor_in_world=np.zeros(3))
        cloud, mesh = read_cloud(self.path)
        return RawScan(self.name, cloud, said, mesh=mesh)

    def capture(self) -> Capture | None:
        return None

    def points(self) -> PointCloud:
        return self.open().cloud

    def truth(self) -> Truth | None:
        is_kitti = self.path.suffix.lower() == ".bin" and not self.path.name.lower().endswith(NUSCENES_ENDING)
        return read_semantickitti_scan(self.path).class_ids if is_kitti else None

    def frame_truths(self) -> FrameTruths:
        return unknown_truth


def cloud_scan(path: Path) -> CloudScan:
    """The scan in a file; only sweeps of SemanticKITTI may have a truth."""
    if path.name.lower().endswith(NUSCENES_ENDING):
        return CloudScan(path, path.name[: -len(NUSCENES_ENDING)])
    return CloudScan(path, path.stem, SEMANTICKITTI_CLASSES if path.suffix.lower() == SWEEP_ENDING else ())


def read_cloud(path: Path, capture: Capture | None = None) -> tuple[PointCloud, TriangleMesh | None]:
    """Points, and the triangles between them where the file has any.

    Points at NaN, infinity or beyond every scene are left out with a warning; ``source_rows`` then tells the rows of the others.

    Args:
        path: ``.ply``, ``.las``, ``.laz`` or a mesh.
        capture: the photographs of the cloud.  Points are moved to its world: from projected coordinates of its georeference's
            system, else from the frame its poses are given in.

    Raises:
        DataFormatError: the file cannot be read.
    """
    ending = path.suffix.lower()
    if ending in LAS_ENDINGS:
        cloud, epsg = read_las(path)
        georeference = None if capture is None else capture.georeference
        if georeference is not None and epsg in (None, georeference.epsg):
            return replace(cloud, points_in_world=georeference.world_from_projected(cloud.points_in_world)), None
        return _in_world_of(capture, cloud), None
    if ending == ".ply":
        cloud = _in_world_of(capture, read_named_points(path, non_finite="drop"))
        try:
            mesh = read_mesh(path)
        except ScenewiseError:  # no triangles: just points
            return cloud, None
        same = len(mesh.vertices_in_world) == len(cloud)
        return cloud, replace(mesh, vertices_in_world=cloud.points_in_world) if same else None
    if ending not in MESH_ENDINGS:
        raise DataFormatError(
            path,
            expected=f"a point cloud ({', '.join(POINT_ENDINGS)}) or a mesh ({', '.join(MESH_ENDINGS)})",
            got=ending or "no ending",
            fix="convert it to .ply, for example with CloudCompare",
        )
    mesh = read_mesh(path)
    cloud = _in_world_of(capture, PointCloud(mesh.vertices_in_world, mesh.colors_u8))
    return cloud, replace(mesh, vertices_in_world=cloud.points_in_world)


def _in_world_of(capture: Capture | None, cloud: PointCloud) -> PointCloud:
    return cloud if capture is None else in_world(cloud, capture.world_from_source)

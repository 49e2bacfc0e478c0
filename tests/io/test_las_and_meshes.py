"""LAS with full coordinates, meshes and points on them."""

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.file_mutations import assert_reader_survives

from scenewise.errors import ConventionError, DataFormatError, ShapeError
from scenewise.io.las import read_las, write_las
from scenewise.io.meshes import read_mesh
from scenewise.scenes.meshes import TriangleMesh
from scenewise.scenes.point_clouds import PointCloud

pytest.importorskip("laspy", reason="laspy is an optional package")
pytest.importorskip("trimesh", reason="trimesh is an optional package")

_POINTS = np.array([[501234.56789, 4512345.12345, -3.00049], [501230.0, 4512340.5, 120.25]])
_COLOURS = np.array([[0, 128, 255], [1, 2, 3]], np.uint8)


class TestLas:
    @pytest.mark.parametrize("ending", ["las", "laz"])
    def test_everything_comes_back(self, tmp_path, ending):
        path = tmp_path / f"a.{ending}"
        write_las(path, PointCloud(_POINTS, _COLOURS), epsg=32615, classification=np.array([2, 6], np.uint8))
        cloud, epsg = read_las(path)
        assert epsg == 32615
        assert np.abs(cloud.points_in_world - _POINTS).max() <= 0.5e-4 + 1e-9
        assert np.array_equal(cloud.colors_u8, _COLOURS)

    def test_another_library_reads_the_same(self, tmp_path):
        import laspy

        write_las(tmp_path / "a.las", PointCloud(_POINTS, _COLOURS), epsg=32615, classification=np.array([2, 6], np.uint8))
        record = laspy.read(tmp_path / "a.las")
        assert np.abs(np.asarray(record.xyz) - _POINTS).max() <= 1e-3
        assert np.asarray(record.red).tolist() == [0, 257]
        assert np.asarray(record.blue).tolist() == [65535, 771]
        assert np.asarray(record.classification).tolist() == [2, 6]
        assert (record.header.scales <= 0.001).all()

    @settings(deadline=None, max_examples=25, derandomize=True)
    @given(east=st.floats(1e5, 9e5), north=st.floats(0, 1e7), spread=st.floats(1e-3, 3e5), seed=st.integers(0, 99))
    def test_utm_positions_stay_within_a_millimetre(self, tmp_path_factory, east, north, spread, seed):
        path = tmp_path_factory.mktemp("las") / "a.las"
        points = np.array([east, north, 50.0]) + np.random.default_rng(seed).uniform(-spread, spread, (9, 3))
        write_las(path, PointCloud(points), epsg=None)
        cloud, epsg = read_las(path)
        assert epsg is None
        assert cloud.colors_u8 is None
        assert np.abs(cloud.points_in_world - points).max() <= 1e-3

    def test_no_points(self, tmp_path):
        write_las(tmp_path / "a.las", PointCloud(np.empty((0, 3))), epsg=None)
        assert len(read_las(tmp_path / "a.las")[0]) == 0

    @pytest.mark.parametrize("ending", ["las", "laz"])
    def test_damaged_files(self, tmp_path, ending):
        good = tmp_path / f"good.{ending}"
        write_las(good, PointCloud(np.arange(30.0).reshape(10, 3), np.ones((10, 3), np.uint8)), epsg=32615)
        assert_reader_survives(read_las, good.read_bytes(), tmp_path / f"bad.{ending}", max_bytes=30_000_000)

    @pytest.mark.errors
    def test_errors(self, tmp_path):
        path = tmp_path / "a.las"
        with pytest.raises(ConventionError, match="position of point 1"):
            write_las(path, PointCloud(np.array([[0, 0, 0], [0, np.inf, 0]])), epsg=None)
        with pytest.raises(ConventionError, match="a known coordinate system, got 999999"):
            write_las(path, PointCloud(_POINTS), epsg=999999)
        with pytest.raises(ConventionError, match="4,000 km"):
            write_las(path, PointCloud(np.array([[0, 0, 0], [1e7, 0, 0]])), epsg=None)
        with pytest.raises(ShapeError, match="classification"):
            write_las(path, PointCloud(_POINTS), epsg=None, classification=np.zeros(3, np.uint8))
        assert not path.exists()
        path.write_bytes(b"ply\n")
        with pytest.raises(DataFormatError, match="mark LASF"):
            read_las(path)
        write_las(path, PointCloud(_POINTS), epsg=None)
        data = bytearray(path.read_bytes())
        struct.pack_into("<Q", data, 247, 10**15)  # point count of version 1.4
        path.write_bytes(data)
        with pytest.raises(DataFormatError, match="1,000,000,000,000,000 points"):
            read_las(path)


_TETRAHEDRON = TriangleMesh(
    np.array([[0, 0, 0], [2, 0, 0], [0, 3, 0], [0, 0, 5.0]]),
    np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]),
    np.array([[0, 0, 0], [200, 0, 0], [0, 100, 0], [0, 0, 50]], np.uint8),
)


def _ply_text(mesh, colours=True):
    lines = ["ply", "format ascii 1.0", f"element vertex {len(mesh.vertices_in_world)}", *[f"property float {n}" for n in "xyz"]]
    lines += [f"property uchar {name}" for name in ("red", "green", "blue")] if colours else []
    lines += [f"element face {len(mesh.faces)}", "property list uchar int vertex_indices", "end_header"]
    for vertex, colour in zip(mesh.vertices_in_world, mesh.colors_u8):
        lines.append(" ".join(map(str, [*vertex, *(colour if colours else [])])))
    lines += [f"3 {a} {b} {c}" for a, b, c in mesh.faces]
    return ("\n".join(lines) + "\n").encode()


class TestMeshes:
    def test_ply_with_colours(self, tmp_path):
        (tmp_path / "a.ply").write_bytes(_ply_text(_TETRAHEDRON))
        mesh = read_mesh(tmp_path / "a.ply")
        assert np.array_equal(mesh.vertices_in_world, _TETRAHEDRON.vertices_in_world)
        assert np.array_equal(mesh.faces, _TETRAHEDRON.faces)
        assert np.array_equal(mesh.colors_u8, _TETRAHEDRON.colors_u8)

    def test_obj_opens_no_other_file(self, tmp_path):
        (tmp_path / "a.mtl").write_text("newmtl m\nKd 1 0 0\n")
        (tmp_path / "a.obj").write_text("mtllib a.mtl\nv 0 0 0\nv 2 0 0\nv 0 3 0\nusemtl m\nf 1 2 3\n")
        mesh = read_mesh(tmp_path / "a.obj")
        assert mesh.vertices_in_world.tolist() == [[0, 0, 0], [2, 0, 0], [0, 3, 0]]
        assert mesh.faces.tolist() == [[0, 1, 2]]

    def test_damaged_files(self, tmp_path):
        assert_reader_survives(read_mesh, _ply_text(_TETRAHEDRON), tmp_path / "bad.ply", count=60, max_bytes=30_000_000)
        stl = bytes(80) + struct.pack("<I", 1) + struct.pack("<12fH", 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0)
        assert_reader_survives(read_mesh, stl, tmp_path / "bad.stl", count=60, max_bytes=30_000_000)

    @pytest.mark.errors
    def test_errors(self, tmp_path):
        with pytest.raises(DataFormatError, match=r"a mesh file \(\.ply.*got \.gltf"):
            read_mesh(tmp_path / "a.gltf")
        with pytest.raises(DataFormatError, match="got nothing"):
            read_mesh(tmp_path / "a.obj")
        (tmp_path / "a.ply").write_bytes(
            _ply_text(TriangleMesh(np.zeros((1, 3)), np.empty((0, 3), np.int64), np.zeros((1, 3), np.uint8)))
        )
        with pytest.raises(DataFormatError, match=r"with triangles|sound mesh"):
            read_mesh(tmp_path / "a.ply")
        with pytest.raises(ShapeError, match="indices of 3 vertices"):
            TriangleMesh(np.zeros((3, 3)), np.array([[0, 1, 3]]))

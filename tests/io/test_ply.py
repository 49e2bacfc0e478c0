"""PLY: the layout of 3DGS viewers bit by bit, generic tables, and hostile files."""

import struct
import time
import tracemalloc
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.file_mutations import assert_reader_survives

from scenewise.errors import ConventionError, DataFormatError, ShapeError
from scenewise.io.ply import gaussians as gaussians_module
from scenewise.io.ply.gaussians import (
    gaussians_ply_size,
    open_gaussians_ply,
    read_gaussians_ply,
    write_gaussians_ply,
    write_gaussians_ply_blocks,
)
from scenewise.io.ply.points import read_points_ply, read_points_ply_with_extra, write_points_ply
from scenewise.io.ply.tables import read_ply_table, read_ply_table_blocks
from scenewise.scenes.gaussians import SH_COEFFICIENTS, Gaussians
from scenewise.scenes.point_clouds import PointCloud

_FIELDS = ("means", "log_scales", "quats", "logit_opacities", "sh0", "shN")


def _random_gaussians(n, degree, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def values(*shape):
        return torch.randn(*shape, generator=generator)

    rest = SH_COEFFICIENTS[degree] - 1
    return Gaussians(values(n, 3), values(n, 3), values(n, 4), values(n), values(n, 1, 3), values(n, rest, 3))


def _assert_same_bits(first, second):
    for name in _FIELDS:
        a, b = getattr(first, name), getattr(second, name)
        assert a.shape == b.shape
        assert torch.equal(a.view(torch.int32), b.view(torch.int32)), name


def _joined(parts):
    return Gaussians(**{name: torch.cat([getattr(part, name) for part in parts]) for name in _FIELDS})


def _header(lines, rows=b""):
    return ("\n".join(["ply", *lines, "end_header"]) + "\n").encode() + rows


def _reference_header(n, rest):
    names = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", *[f"f_rest_{i}" for i in range(rest)]]
    names += ["opacity", "scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"]
    return _header(["format binary_little_endian 1.0", f"element vertex {n}", *[f"property float {name}" for name in names]])


class TestGaussians:
    @pytest.mark.parametrize("degree", [0, 1, 2, 3])
    def test_round_trip_is_exact_to_the_bit_in_both_directions(self, tmp_path, degree):
        gaussians = _random_gaussians(7, degree)
        gaussians.means[0] = torch.tensor([-0.0, 1e-42, 3e38])  # negative zero, a denormal, near the largest
        write_gaussians_ply(tmp_path / "a.ply", gaussians)
        _assert_same_bits(read_gaussians_ply(tmp_path / "a.ply"), gaussians)
        first = (tmp_path / "a.ply").read_bytes()
        assert first.startswith(_reference_header(7, 3 * (SH_COEFFICIENTS[degree] - 1)))
        write_gaussians_ply(tmp_path / "b.ply", read_gaussians_ply(tmp_path / "a.ply"))
        assert (tmp_path / "b.ply").read_bytes() == first

    def test_anchor_of_62_floats(self, tmp_path):
        """Hand-built row: column c holds the number c, so each wrong order shows as a wrong number."""
        path = tmp_path / "anchor.ply"
        path.write_bytes(_reference_header(1, 45) + struct.pack("<62f", *range(62)))
        assert path.stat().st_size - len(_reference_header(1, 45)) == 248
        gaussians = read_gaussians_ply(path)
        assert gaussians.means.tolist() == [[0.0, 1.0, 2.0]]
        assert gaussians.sh0.tolist() == [[[6.0, 7.0, 8.0]]]
        # channel-major: red's 15 coefficients are columns 9–23, green's 24–38, blue's 39–53
        assert gaussians.shN[0, 0].tolist() == [9.0, 24.0, 39.0]
        assert gaussians.shN[0, 1].tolist() == [10.0, 25.0, 40.0]
        assert gaussians.shN[0, 14].tolist() == [23.0, 38.0, 53.0]
        assert gaussians.logit_opacities.tolist() == [54.0]
        assert gaussians.log_scales.tolist() == [[55.0, 56.0, 57.0]]
        assert gaussians.quats.tolist() == [[58.0, 59.0, 60.0, 61.0]]
        write_gaussians_ply(tmp_path / "again.ply", gaussians)
        again = (tmp_path / "again.ply").read_bytes()[-248:]
        assert struct.unpack("<62f", again) == (0.0, 1.0, 2.0, 0.0, 0.0, 0.0, *range(6, 62))

    @pytest.mark.parametrize("order", ["ascii", "binary_big_endian"])
    def test_shuffled_columns_in_other_encodings(self, tmp_path, order):
        generator = np.random.default_rng(1)
        gaussians = _random_gaussians(5, 2)
        write_gaussians_ply(tmp_path / "plain.ply", gaussians)
        table = read_ply_table(tmp_path / "plain.ply")
        names = list(generator.permutation(list(table.columns)))
        lines = [f"format {order} 1.0", "comment made by hand", "element vertex 5"]
        lines += [f"property {'double' if name == 'x' else 'float'} {name}" for name in names] + ["property uchar spare"]
        if order == "ascii":
            text = "\n".join(" ".join([*[repr(float(table.columns[name][row])) for name in names], "200"]) for row in range(5))
            rows = text.encode()
        else:
            rows = b"".join(
                b"".join(struct.pack(">d" if name == "x" else ">f", table.columns[name][row]) for name in names) + b"\xc8"
                for row in range(5)
            )
        (tmp_path / "other.ply").write_bytes(_header(lines, rows))
        _assert_same_bits(read_gaussians_ply(tmp_path / "other.ply"), gaussians)

    def test_empty_set(self, tmp_path):
        write_gaussians_ply(tmp_path / "a.ply", _random_gaussians(0, 3))
        assert len(read_gaussians_ply(tmp_path / "a.ply")) == 0

    def test_writing_300k_rows_is_fast(self, tmp_path):
        gaussians = _random_gaussians(300_000, 3)
        seconds = []
        for _ in range(2):
            start = time.perf_counter()
            write_gaussians_ply(tmp_path / "a.ply", gaussians)
            seconds.append(time.perf_counter() - start)
        assert min(seconds) < 1.0  # 0.17 s alone on one core; the bound leaves room for a busy machine and its disk

    def test_dropping_non_finite_rows_counts_them(self, tmp_path):
        path = tmp_path / "a.ply"
        values = np.arange(3 * 17, dtype="<f4").reshape(3, 17)
        values[1, 9] = np.inf
        path.write_bytes(_reference_header(3, 0) + values.tobytes())
        with pytest.warns(UserWarning, match=r"left out 1 with NaN or infinity of 3 points, the first in row 1 "):
            gaussians = read_gaussians_ply(path, non_finite="drop")
        assert gaussians.means[:, 0].tolist() == [0.0, 34.0]

    @pytest.mark.errors
    def test_non_finite_rows_are_refused_by_name(self, tmp_path):
        path = tmp_path / "a.ply"
        values = np.zeros((3, 17), dtype="<f4")
        values[2, 9] = np.nan
        path.write_bytes(_reference_header(3, 0) + values.tobytes())
        with pytest.raises(DataFormatError, match=r"a\.ply: vertex 2, opacity: expected a finite number, got nan \(1 such"):
            read_gaussians_ply(path)

    @pytest.mark.errors
    @pytest.mark.parametrize("name", _FIELDS)
    def test_non_finite_values_are_never_written(self, tmp_path, name):
        gaussians = _random_gaussians(4, 1)
        getattr(gaussians, name)[3] = float("inf")
        with pytest.raises(ConventionError, match=f"{name} of Gaussian 3.*1 such row"):
            write_gaussians_ply(tmp_path / "a.ply", gaussians)
        assert not (tmp_path / "a.ply").exists()


class TestBlocks:
    """Splats and tables that are never in memory all at once."""

    @pytest.mark.parametrize("encoding", ["binary", "ascii"])
    def test_read_in_blocks(self, tmp_path, encoding):
        gaussians = _random_gaussians(11, 1)
        write_gaussians_ply(tmp_path / "a.ply", gaussians)
        path = tmp_path / "a.ply"
        if encoding == "ascii":
            columns = read_ply_table(path).columns
            lines = ["format ascii 1.0", "element vertex 11", *[f"property float {name}" for name in columns]]
            rows = "\n".join(" ".join(repr(float(values[row])) for values in columns.values()) for row in range(11))
            path.write_bytes(_header(lines, rows.encode()))
        on_disk = open_gaussians_ply(path)
        assert (len(on_disk), on_disk.sh_degree) == (11, 1)
        for _ in range(2):  # as often as asked
            blocks = list(on_disk.blocks(4))
            assert [len(block) for block in blocks] == [4, 4, 3]
            _assert_same_bits(_joined(blocks), gaussians)
        _assert_same_bits(on_disk.in_memory(), gaussians)
        _assert_same_bits(on_disk.with_sh_degree(0).in_memory(), gaussians.with_sh_degree(0))
        tables = list(read_ply_table_blocks(path, 6))
        assert [(table.first_row, table.count, table.file_rows) for table in tables] == [(0, 6, 11), (6, 5, 11)]

    def test_blocks_of_nothing(self, tmp_path):
        write_gaussians_ply(tmp_path / "a.ply", _random_gaussians(0, 2))
        assert [len(block) for block in open_gaussians_ply(tmp_path / "a.ply").blocks(4)] == [0]
        assert open_gaussians_ply(tmp_path / "a.ply").in_memory().sh_degree == 2
        write_gaussians_ply_blocks(tmp_path / "b.ply", [])
        assert gaussians_ply_size(tmp_path / "b.ply") == (0, 0)

    def test_written_in_blocks(self, tmp_path, monkeypatch):
        gaussians = _random_gaussians(11, 2)
        write_gaussians_ply(tmp_path / "whole.ply", gaussians)
        monkeypatch.setattr(gaussians_module, "ROWS_PER_BLOCK", 2)  # blocks that come may be larger
        write_gaussians_ply_blocks(tmp_path / "a.ply", gaussians.blocks(5), count=11)
        assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "whole.ply").read_bytes()
        write_gaussians_ply_blocks(tmp_path / "b.ply", gaussians.blocks(5))  # of which the number is not known before
        _assert_same_bits(read_gaussians_ply(tmp_path / "b.ply"), gaussians)
        rows = 11 * 4 * (17 + 24)
        assert (tmp_path / "b.ply").read_bytes()[-rows:] == (tmp_path / "whole.ply").read_bytes()[-rows:]

    @pytest.mark.parametrize("count", [1, 99_999])
    def test_the_header_has_one_length_for_every_number(self, tmp_path, count):
        one = _random_gaussians(1, 0)
        write_gaussians_ply_blocks(tmp_path / "a.ply", (one.select(torch.zeros(n, dtype=torch.int64)) for n in (1, count - 1)))
        content = (tmp_path / "a.ply").read_bytes()
        assert content.index(b"end_header") == 428
        assert f"\nelement vertex {count}\n".encode() in content
        assert gaussians_ply_size(tmp_path / "a.ply") == (count, 0)

    def test_lower_degrees_are_widened(self, tmp_path):
        parts = [_random_gaussians(3, degree, seed=degree) for degree in (1, 0, 2)]
        write_gaussians_ply_blocks(tmp_path / "a.ply", parts, sh_degree=2)
        _assert_same_bits(read_gaussians_ply(tmp_path / "a.ply"), _joined([part.with_sh_degree(2) for part in parts]))

    @pytest.mark.errors
    def test_what_does_not_fit_leaves_the_old_file(self, tmp_path):
        (tmp_path / "a.ply").write_bytes(b"mine")
        parts = [_random_gaussians(3, degree) for degree in (0, 1)]
        with pytest.raises(ShapeError, match=r"from Gaussian 3 on\): expected SH degree 0 or lower, got 1. Fix: .*sh_degree"):
            write_gaussians_ply_blocks(tmp_path / "a.ply", parts)
        with pytest.raises(ShapeError, match="blocks: expected 7 Gaussians in all, got 6"):
            write_gaussians_ply_blocks(tmp_path / "a.ply", parts, sh_degree=1, count=7)
        parts[1].means[2, 0] = float("nan")
        with pytest.raises(ConventionError, match=r"means of Gaussian 5: .*\(1 such rows\)"):
            write_gaussians_ply_blocks(tmp_path / "a.ply", parts, sh_degree=1)
        assert (tmp_path / "a.ply").read_bytes() == b"mine"
        assert [path.name for path in tmp_path.iterdir()] == ["a.ply"]

    @pytest.mark.errors
    def test_rows_are_named_and_counted_over_all_blocks(self, tmp_path, monkeypatch):
        monkeypatch.setattr(gaussians_module, "ROWS_PER_BLOCK", 4)
        path = tmp_path / "a.ply"
        values = np.zeros((11, 17), dtype="<f4")
        values[[5, 6, 10], 9] = np.nan
        values[8, 0] = 2e10
        path.write_bytes(_reference_header(11, 0) + values.tobytes())
        with pytest.raises(DataFormatError, match=r"vertex 5, opacity: expected a finite number, got nan \(3 such"):
            read_gaussians_ply(path)
        with pytest.warns(
            UserWarning, match="left out 3 with NaN or infinity and 1 beyond 1e\\+10 of 11 points, the first in row 5 "
        ):
            assert len(read_gaussians_ply(path, non_finite="drop")) == 7
        table = _header(["format ascii 1.0", "element vertex 5", "property uchar x"], b"1\n2\n3\n4\n256\n")
        path.write_bytes(table)
        with pytest.raises(DataFormatError, match="vertex 4, x: expected an integer uchar, got 256"):
            list(read_ply_table_blocks(path, 2))
        path.write_bytes(table.replace(b"256", b""))
        with pytest.raises(DataFormatError, match=r"expected 5 rows of 1 numbers, got 4 rows"):
            list(read_ply_table_blocks(path, 2))

    def test_a_file_is_read_and_written_in_little_memory(self, tmp_path):
        """40 MB of floats; numpy's part of the memory is what can be counted."""
        block = _random_gaussians(100_000, 0)
        write_gaussians_ply_blocks(tmp_path / "a.ply", (block for _ in range(6)), count=600_000)
        assert (tmp_path / "a.ply").stat().st_size > 40_000_000
        whole = _joined([block] * 6)
        tracemalloc.start()
        try:
            blocks = open_gaussians_ply(tmp_path / "a.ply").blocks(20_000)
            write_gaussians_ply_blocks(tmp_path / "b.ply", blocks, count=600_000, sh_degree=0)
            write_gaussians_ply_blocks(tmp_path / "one_block.ply", [whole], count=600_000)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 8_000_000
        contents = [(tmp_path / name).read_bytes() for name in ("a.ply", "b.ply", "one_block.ply")]
        assert contents[0] == contents[1] == contents[2]


class TestHeaders:
    @pytest.mark.errors
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "end_header"),
            (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "expected ply"),
            (b"ply\n" + b"comment x\n" * 100_000, "262,144 bytes"),
            (b"ply\nformat binary_little_endian 1.0\nelement vertex 1\n", "ends with end_header"),
            (_header(["element vertex 1", "property float x"]), "format line"),
            (_header(["format binary_middle_endian 1.0"]), "header line 2"),
            (_header(["format ascii 1.0", "element vertex -1"]), "header line 3"),
            (_header(["format ascii 1.0", "element vertex 1", "property quaternion q"]), "header line 4"),
            (_header(["format ascii 1.0", "element vertex 1", "property float x", "property float x"]), "x twice"),
            (_header(["format ascii 1.0", "element face 0"]), "element vertex.*got face"),
            (_header(["format ascii 1.0", "element vertex 1", "property list uchar int a"]), "the list a"),
            (
                _header(["format binary_little_endian 1.0", "element f 1", "property list uchar int a", "element vertex 0"]),
                "vertex before",
            ),
            (
                _header(["format binary_little_endian 1.0", "element vertex 999999999999", "property float x"]),
                "3,999,999,999,996 bytes",
            ),
            (
                _header(["format binary_little_endian 1.0", "element v 99999999999", "property int a", "element vertex 0"]),
                "element v:",
            ),
            (_header(["format ascii 1.0", "element vertex 99999999999", "property float x"], b"1\n"), "got 2 bytes"),
            (_header(["format ascii 1.0", "element vertex 2", "property float x"], b"1 2 3\n"), "2 rows of 1"),
            (_header(["format ascii 1.0", "element vertex 1", "property float x"], b"abc\n"), "rows of 1 numbers.*abc"),
            (_header(["format ascii 1.0", "element vertex 1", "property uchar x"], b"256\n"), "an integer uchar, got 256"),
        ],
    )
    def test_damage_is_named(self, tmp_path, content, words):
        path = tmp_path / "a.ply"
        path.write_bytes(content)
        with pytest.raises(DataFormatError, match=words):
            read_ply_table(path)

    @pytest.mark.errors
    def test_missing_files_folders_and_columns(self, tmp_path):
        with pytest.raises(DataFormatError, match="got nothing"):
            read_ply_table(tmp_path / "a.ply")
        with pytest.raises(DataFormatError, match="a folder"):
            read_ply_table(tmp_path)
        path = tmp_path / "a.ply"
        path.write_bytes(_header(["format ascii 1.0", "element vertex 0", "property float x", "property float y"]))
        with pytest.raises(DataFormatError, match="property z, got x, y"):
            read_points_ply(path)
        path.write_bytes(_header(["format ascii 1.0", "element vertex 0", "property uint packed_position"]))
        with pytest.raises(DataFormatError, match="compressed PLY"):
            read_gaussians_ply(path)
        path.write_bytes(_header(["format ascii 1.0", "element vertex 0", *[f"property float f_rest_{i}" for i in range(7)]]))
        with pytest.raises(DataFormatError, match=r"SH degree 0 to 3.*got 7"):
            read_gaussians_ply(path)

    def test_elements_around_the_vertices_are_passed_over(self, tmp_path):
        before = ["element camera 2", "property short a", "property uchar b"]
        vertex = ["element vertex 1", "property float x", "property float y", "property float z"]
        after = ["element face 1", "property list uchar int vertex_indices"]
        path = tmp_path / "a.ply"
        rows = b"\1\0\2" * 2 + struct.pack("<3f", 1, 2, 3) + b"\3" + struct.pack("<3i", 0, 0, 0)
        path.write_bytes(_header(["format binary_little_endian 1.0", *before, *vertex, *after], rows))
        assert read_points_ply(path).points_in_world.tolist() == [[1, 2, 3]]
        path.write_bytes(
            _header(["format ascii 1.0", *before, *vertex, *after], b"1 2\n1 2\n1 2 3\n3 0 0 0\n").replace(b"\n", b"\r\n")
        )
        assert read_points_ply(path).points_in_world.tolist() == [[1, 2, 3]]


class TestPoints:
    def test_colours_labels_and_normals(self, tmp_path):
        cloud = PointCloud(
            np.array([[1.5, -2.25, 3.0], [4, 5, 6]]),
            np.array([[1, 2, 3], [250, 251, 252]], np.uint8),
            np.array([[0, 0, 1.0], [0, 1, 0]]),
        )
        extra = {"label": np.array([-1, 70000]), "confidence": np.array([0.5, 0.25], np.float32), "used": np.array([True, False])}
        write_points_ply(tmp_path / "a.ply", cloud, extra=extra)
        again, more = read_points_ply_with_extra(tmp_path / "a.ply")
        for name in ("points_in_world", "colors_u8", "normals_in_world"):
            assert np.array_equal(getattr(again, name), getattr(cloud, name)), name
        assert {name: values.tolist() for name, values in more.items()} == {
            name: values.tolist() for name, values in extra.items()
        }
        head = (tmp_path / "a.ply").read_bytes()
        assert b"property float x" in head
        assert b"property uchar green" in head
        assert b"property int label" in head

    def test_ascii_anchor_with_float_colours(self, tmp_path):
        names = ["x", "y", "z", "red", "green", "blue"]
        lines = ["format ascii 1.0", "element vertex 1", *[f"property float {name}" for name in names]]
        (tmp_path / "a.ply").write_bytes(_header(lines, b"1 2e1 -3.5 0 0.5 1\n"))
        cloud = read_points_ply(tmp_path / "a.ply")
        assert cloud.points_in_world.tolist() == [[1, 20, -3.5]]
        assert cloud.colors_u8 is not None
        assert cloud.colors_u8.tolist() == [[0, 128, 255]]

    @settings(deadline=None, max_examples=30, derandomize=True)
    @given(
        east=st.floats(-2e5, 9e6),
        north=st.floats(0, 1e7),
        spread=st.floats(1e-3, 3000),
        seed=st.integers(0, 99),
        local=st.booleans(),
    )
    def test_utm_positions_stay_within_a_millimetre(self, tmp_path_factory, east, north, spread, seed, local):
        path = tmp_path_factory.mktemp("utm") / "a.ply"
        offset = np.array([east, north, 120.0])
        points = offset + np.random.default_rng(seed).uniform(-spread, spread, (20, 3))
        write_points_ply(path, PointCloud(points), offset=offset if local else None)
        assert np.abs(read_points_ply(path).points_in_world - points).max() <= 1e-3
        assert (b"property float x" in path.read_bytes()) or not local

    @pytest.mark.errors
    def test_what_is_not_written(self, tmp_path):
        cloud = PointCloud(np.zeros((2, 3)))
        with pytest.raises(ShapeError, match=r"extra column label: expected \(2,\)"):
            write_points_ply(tmp_path / "a.ply", cloud, extra={"label": np.zeros(3)})
        with pytest.raises(ShapeError, match="a new name"):
            write_points_ply(tmp_path / "a.ply", cloud, extra={"x": np.zeros(2)})
        with pytest.raises(ConventionError, match="32 bits"):
            write_points_ply(tmp_path / "a.ply", cloud, extra={"id": np.array([0, 2**40])})
        with pytest.raises(ConventionError, match="z of point 1"):
            write_points_ply(tmp_path / "a.ply", PointCloud(np.array([[0, 0, 0], [0, 0, np.nan]])))
        assert not (tmp_path / "a.ply").exists()


class TestHostileFiles:
    def test_damaged_splats(self, tmp_path):
        write_gaussians_ply(tmp_path / "good.ply", _random_gaussians(20, 1))
        assert_reader_survives(read_gaussians_ply, (tmp_path / "good.ply").read_bytes(), tmp_path / "bad.ply")

    def test_damaged_points(self, tmp_path):
        write_points_ply(tmp_path / "good.ply", PointCloud(np.ones((9, 3)), np.ones((9, 3), np.uint8)), offset=np.ones(3))
        assert_reader_survives(read_points_ply, (tmp_path / "good.ply").read_bytes(), tmp_path / "bad.ply")

    def test_damaged_text(self, tmp_path):
        lines = ["format ascii 1.0", "element vertex 4", *[f"property {kind}" for kind in ("float x", "double y", "int z")]]
        good = _header(lines, b"1 2 3\n-1.5e3 0.1 7\n0 0 0\n9 9 9\n")
        assert_reader_survives(read_points_ply, good, tmp_path / "bad.ply")

    @settings(deadline=None, max_examples=50, derandomize=True)
    @given(tail=st.binary(max_size=200))
    def test_random_rows_never_crash(self, tmp_path_factory, tail):
        path = tmp_path_factory.mktemp("rows") / "a.ply"
        names = ["x", "y", "z"]
        path.write_bytes(_header(["format ascii 1.0", "element vertex 3", *[f"property float {n}" for n in names]], tail))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                read_points_ply(path)
            except DataFormatError as error:
                assert str(path) in str(error)

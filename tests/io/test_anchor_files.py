"""Anchors in the layout of Scaffold-GS, bit by bit; named tensors in a file; hostile files."""

import json
import struct
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.file_mutations import assert_reader_survives
from tests.support.small_anchors import CHANNELS, SLOTS, random_anchors, same_bits

from scenewise.errors import ConventionError, DataFormatError, ShapeError
from scenewise.io.ply.anchors import anchors_ply_bytes, read_anchors_ply, write_anchors_ply
from scenewise.io.ply.tables import read_ply_table
from scenewise.io.tensor_files import read_tensors, write_tensors
from scenewise.scenes.anchors import Anchors, joined

# One anchor, two children, two channels, in the order of the released code.
_NAMES = [
    *("x", "y", "z", "nx", "ny", "nz"),
    *("f_offset_0", "f_offset_1", "f_offset_2", "f_offset_3", "f_offset_4", "f_offset_5", "f_anchor_feat_0", "f_anchor_feat_1"),
    *("opacity", "scale_0", "scale_1", "scale_2", "scale_3", "scale_4", "scale_5", "rot_0", "rot_1", "rot_2", "rot_3"),
]


def _file(names: list[str], rows: list[list[float]], kind: str = "float") -> bytes:
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(rows)}"]
    lines += [f"property {kind} {name}" for name in names] + ["end_header", ""]
    values = np.array(rows, dtype="<f8" if kind == "double" else "<f4")
    return "\n".join(lines).encode() + values.tobytes()


class TestLayout:
    def test_anchor_of_25_floats(self, tmp_path: Path) -> None:
        """Hand-built row: column c holds the number c, so each wrong order shows as a wrong number."""
        path = tmp_path / "hand.ply"
        path.write_bytes(_file(_NAMES, [list(range(25))]))
        anchors = read_anchors_ply(path)
        assert anchors.positions.tolist() == [[0.0, 1.0, 2.0]]
        # axis-major: both children's x are columns 6 and 7, their y 8 and 9, their z 10 and 11
        assert anchors.offsets.tolist() == [[[6.0, 8.0, 10.0], [7.0, 9.0, 11.0]]]
        assert anchors.features.tolist() == [[12.0, 13.0]]
        assert anchors.log_scales.tolist() == [[15.0, 16.0, 17.0, 18.0, 19.0, 20.0]]
        write_anchors_ply(tmp_path / "again.ply", [anchors], 1)
        written = (tmp_path / "again.ply").read_bytes()
        assert written.startswith(_file(_NAMES, [list(range(25))])[:-100])
        unused = float(np.float32(np.log(0.1 / 0.9)))  # an opacity of 0.1
        assert struct.unpack("<25f", written[-100:]) == (0, 1, 2, 0, 0, 0, *range(6, 14), unused, *range(15, 21), 1, 0, 0, 0)

    def test_columns_in_any_order_and_type_and_further_ones(self, tmp_path: Path) -> None:
        names = [*reversed(_NAMES), "spare"]
        (tmp_path / "a.ply").write_bytes(_file(names, [[*reversed(range(25)), 7.0]], kind="double"))
        (tmp_path / "b.ply").write_bytes(_file(_NAMES, [list(range(25))]))
        first, second = read_anchors_ply(tmp_path / "a.ply"), read_anchors_ply(tmp_path / "b.ply")
        assert same_bits(vars(first), vars(second))

    @pytest.mark.parametrize("cuts", [(), (3,), (0, 5, 5, 6)])
    def test_round_trip_is_exact_to_the_bit_however_it_is_parted(self, tmp_path: Path, cuts: tuple[int, ...]) -> None:
        anchors = random_anchors(7)
        anchors.positions[0] = torch.tensor([-0.0, 1e-42, 3e38])  # negative zero, a denormal, near the largest
        edges = [0, *cuts, 7]
        parts = (anchors.select(torch.arange(begin, end)) for begin, end in pairwise(edges))
        write_anchors_ply(tmp_path / "a.ply", parts, 7)
        found = read_anchors_ply(tmp_path / "a.ply")
        for name, value in vars(anchors).items():
            assert torch.equal(getattr(found, name).view(torch.int32), value.view(torch.int32)), name
        assert (tmp_path / "a.ply").stat().st_size == anchors_ply_bytes(7, SLOTS, CHANNELS)
        assert same_bits(vars(joined([anchors, anchors]).select(torch.arange(7, 14))), vars(anchors))

    def test_more_rows_than_are_written_at_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        anchors = random_anchors(11)
        write_anchors_ply(tmp_path / "a.ply", [anchors], 11)
        monkeypatch.setattr("scenewise.io.ply.anchors._ROWS_PER_WRITE", 4)
        write_anchors_ply(tmp_path / "b.ply", [anchors], 11)
        assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()

    def test_no_anchors_and_no_channels(self, tmp_path: Path) -> None:
        bare = Anchors(torch.zeros(0, 3), torch.zeros(0, 2, 3), torch.zeros(0, 0), torch.zeros(0, 6))
        write_anchors_ply(tmp_path / "a.ply", [bare], 0)
        assert list(read_ply_table(tmp_path / "a.ply").columns) == [name for name in _NAMES if "feat" not in name]
        assert same_bits(vars(read_anchors_ply(tmp_path / "a.ply")), vars(bare))


@pytest.mark.errors
class TestRefused:
    @pytest.mark.parametrize("missing", ["x", "f_offset_2", "f_anchor_feat_0", "scale_5"])
    def test_a_missing_column(self, tmp_path: Path, missing: str) -> None:
        names = [name for name in _NAMES if name != missing]
        if missing == "f_offset_2":  # three for each child are left, but not those of one
            names = [name for name in names if name not in ("f_offset_4", "f_offset_5")]
        (tmp_path / "a.ply").write_bytes(_file(names, [[1.0] * len(names)]))
        expected = f"a.ply: header: expected the vertex property {missing}"
        with pytest.raises(DataFormatError, match=expected):
            read_anchors_ply(tmp_path / "a.ply")

    @pytest.mark.parametrize("offsets", [0, 5])
    def test_offsets_that_are_not_three_for_each_child(self, tmp_path: Path, offsets: int) -> None:
        names = [name for name in _NAMES if not name.startswith("f_offset")] + [f"f_offset_{index}" for index in range(offsets)]
        (tmp_path / "a.ply").write_bytes(_file(names, [[1.0] * len(names)]))
        with pytest.raises(DataFormatError, match=rf"expected f_offset columns, three for each child, got {offsets}"):
            read_anchors_ply(tmp_path / "a.ply")

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_values_that_are_not_finite(self, tmp_path: Path, value: float) -> None:
        rows = [[float(column) for column in range(25)] for _ in range(3)]
        rows[2][9] = value
        (tmp_path / "a.ply").write_bytes(_file(_NAMES, rows))
        with pytest.raises(DataFormatError, match=r"a\.ply: vertex 2, f_offset_3: expected a finite number"):
            read_anchors_ply(tmp_path / "a.ply")

    def test_values_that_float32_cannot_hold(self, tmp_path: Path) -> None:
        rows = [[float(column) for column in range(25)]]
        rows[0][12] = 1e60
        (tmp_path / "a.ply").write_bytes(_file(_NAMES, rows, kind="double"))
        with pytest.raises(DataFormatError, match=r"a\.ply: features: expected numbers that float32 can hold"):
            read_anchors_ply(tmp_path / "a.ply")

    @pytest.mark.parametrize("name", ["positions", "offsets", "features", "log_scales"])
    def test_values_that_are_not_finite_are_never_written(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "a.ply").write_bytes(b"old")
        anchors = random_anchors(4)
        getattr(anchors, name)[2] = float("nan")
        with pytest.raises(ConventionError, match=f"{name} of anchors: expected finite values"):
            write_anchors_ply(tmp_path / "a.ply", [random_anchors(2), anchors], 6)
        assert [path.name for path in tmp_path.iterdir()] == ["a.ply"] and (tmp_path / "a.ply").read_bytes() == b"old"

    @pytest.mark.parametrize(("parts", "count"), [(1, 5), (2, 4), (0, 0)])
    def test_another_number_than_promised(self, tmp_path: Path, parts: int, count: int) -> None:
        with pytest.raises(ConventionError, match=f"expected {count} in at least one part, got {4 * parts}"):
            write_anchors_ply(tmp_path / "a.ply", [random_anchors(4)] * parts, count)
        assert not list(tmp_path.iterdir())

    def test_parts_that_do_not_fit(self, tmp_path: Path) -> None:
        other = Anchors(torch.zeros(1, 3), torch.zeros(1, SLOTS + 1, 3), torch.zeros(1, CHANNELS), torch.zeros(1, 6))
        with pytest.raises(ConventionError, match=r"expected children and channels \(3, 4\), got \(4, 4\)"):
            write_anchors_ply(tmp_path / "a.ply", [random_anchors(1), other], 2)

    @pytest.mark.parametrize(
        ("change", "argument"),
        [
            ({"positions": torch.zeros(2, 4)}, "positions"),
            ({"log_scales": torch.zeros(2, 3)}, "log_scales"),
            ({"offsets": torch.zeros(3, SLOTS, 3)}, "offsets"),
            ({"offsets": torch.zeros(2, SLOTS, 2)}, "offsets"),
            ({"features": torch.zeros(2, CHANNELS, 1)}, "features"),
        ],
    )
    def test_shapes_that_are_no_anchors(self, change: dict[str, torch.Tensor], argument: str) -> None:
        with pytest.raises(ShapeError, match=f"^{argument}: expected"):
            Anchors(**(vars(random_anchors(2)) | change))

    def test_damaged_files(self, tmp_path: Path) -> None:
        write_anchors_ply(tmp_path / "good.ply", [random_anchors(6)], 6)
        good = (tmp_path / "good.ply").read_bytes()
        assert assert_reader_survives(read_anchors_ply, good, tmp_path / "bad.ply") > 40


class TestTensors:
    def test_round_trip_of_every_type(self, tmp_path: Path) -> None:
        tensors = {
            "a/rows": torch.randn(5, 3).T,  # not contiguous
            "steps": torch.tensor(7),
            "bytes": torch.arange(9, dtype=torch.uint8),
            "flags": torch.tensor([True, False]),
            "exact": torch.tensor([0.1, -0.0], dtype=torch.float64).requires_grad_(),
            "none": torch.zeros(0, 4),
        }
        about = {"step": 3, "third": 1.0 / 3.0, "deep": {"é": [None, True, "x"]}}
        write_tensors(tmp_path / "deep" / "a.safetensors", tensors, "block", about)
        found, told = read_tensors(tmp_path / "deep" / "a.safetensors", "block")
        assert same_bits(found, tensors) and told == about
        assert not any(value.requires_grad for value in found.values())

    @pytest.mark.errors
    def test_other_kinds_missing_and_damaged_files(self, tmp_path: Path) -> None:
        path = tmp_path / "a.safetensors"
        with pytest.raises(DataFormatError, match=r"a\.safetensors: expected a file, got nothing"):
            read_tensors(path, "block")
        write_tensors(path, {"x": torch.arange(100.0)}, "block", {"step": 1})
        good = path.read_bytes()
        with pytest.raises(DataFormatError, match="expected a coarse file"):
            read_tensors(path, "coarse")
        for bad in (good[:-1], good[:40], b"", b"no tensors at all, but long enough"):
            path.write_bytes(bad)
            with pytest.raises(DataFormatError, match=r"a\.safetensors: expected a block file.*Fix: delete it"):
                read_tensors(path, "block")
        assert assert_reader_survives(lambda where: read_tensors(where, "block"), good, path) > 40

    @pytest.mark.errors
    @pytest.mark.parametrize("about", [[1], 3, "text", None])
    def test_a_description_that_is_no_object(self, tmp_path: Path, about: object) -> None:
        from safetensors.torch import save_file

        save_file({"x": torch.zeros(1)}, tmp_path / "a.safetensors", metadata={"block": json.dumps(about)})
        with pytest.raises(DataFormatError, match="metadata block: expected an object"):
            read_tensors(tmp_path / "a.safetensors", "block")

    @pytest.mark.errors
    def test_a_failed_write_leaves_the_old_file(self, tmp_path: Path) -> None:
        path = tmp_path / "a.safetensors"
        write_tensors(path, {"x": torch.zeros(1)}, "block", {"step": 1})
        before = path.read_bytes()
        with pytest.raises(ConventionError, match=r"a\.safetensors: loss: expected a finite number"):
            write_tensors(path, {"x": torch.zeros(2)}, "block", {"loss": float("nan")})
        assert path.read_bytes() == before and [entry.name for entry in tmp_path.iterdir()] == ["a.safetensors"]

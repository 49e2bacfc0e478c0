"""Partitions from files: every format, ScanNet's objects, and files that lie."""

import json
import zipfile

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.support.file_mutations import assert_reader_survives

from scenewise.errors import DataFormatError
from scenewise.io.segments import (
    objects_of_elements,
    read_aggregation,
    read_region_map,
    read_segment_ids,
    read_segments,
    write_segments,
)
from scenewise.scenes.partitions import Partition

IDS = [7, 7, -3, 2, 900]  # sets 1, 1, none, 0, 2


def _write(path, ids, **more):
    ids = np.array(ids)
    match path.suffix:
        case ".json":
            path.write_text(json.dumps({"segIndices": ids.tolist(), **more}))
        case ".npy":
            np.save(path, ids)
        case ".npz":
            np.savez_compressed(path, ids=ids)
        case ".safetensors":
            save_file({"ids": ids}, path)
        case ".txt":
            path.write_text("\n".join(map(str, ids)))
    return path


@pytest.mark.parametrize("name", ["a.segs.json", "a.npy", "a.npz", "a.safetensors", "a.txt"])
def test_ids_of_any_kind_are_numbered_anew(tmp_path, name):
    found = read_segments(_write(tmp_path / name, IDS), count=5)
    assert found.ids.tolist() == [1, 1, -1, 0, 2] and found.count == 3 and found.source == "file"
    assert found.parameters["file"] == name
    assert read_segment_ids(tmp_path / name, count=5).tolist() == IDS


@pytest.mark.parametrize("name", ["a.segs.json", "a.npy", "a.npz", "a.safetensors", "a.txt"])
@pytest.mark.parametrize("count", [4, 6])
def test_another_number_of_elements_is_an_error(tmp_path, name, count):
    with pytest.raises(DataFormatError, match=rf"expected {count} ids, one per element, got 5\. Fix: the partition belongs to"):
        read_segments(_write(tmp_path / name, IDS), count=count)


def test_a_file_of_scannet(tmp_path):
    path = tmp_path / "scene0000_00_vh_clean_2.0.010000.segs.json"
    params = {"kThresh": "0.0001", "segMinVerts": "20"}
    _write(path, [5, 5, 1], params=params, sceneId="scene0000_00")
    found = read_segments(path, count=3)
    assert found.ids.tolist() == [1, 1, 0]
    assert found.parameters == {"file": path.name, **params, "scene_id": "scene0000_00"}


def test_own_json_may_call_them_ids(tmp_path):
    (tmp_path / "a.json").write_text('{"ids": [4, 4, 3]}')
    assert read_segments(tmp_path / "a.json", count=3).ids.tolist() == [1, 1, 0]


@pytest.mark.parametrize("dtype", [">i4", "<u2", "u8", "i1"])
def test_arrays_of_any_integer_type_and_order(tmp_path, dtype):
    np.save(tmp_path / "a.npy", np.asfortranarray(np.array([[1, 2, 3], [3, 2, 9]], dtype=dtype)))
    assert read_region_map(tmp_path / "a.npy", height=2, width=3).ids.tolist() == [[0, 1, 2], [2, 1, 3]]


def test_maps_of_pixels(tmp_path):
    partition = Partition(np.array([[0, 1], [-1, 0], [2, 2]], np.int32), 3, "sam")
    for name in ("a.npy", "b.safetensors"):
        write_segments(tmp_path / name, partition)
        assert np.array_equal(read_region_map(tmp_path / name, height=3, width=2).ids, partition.ids)
        with pytest.raises(DataFormatError, match=r"expected 2×3 ids, one per pixel, got 3×2"):
            read_region_map(tmp_path / name, height=2, width=3)
    with pytest.raises(DataFormatError, match=r"ending in \.npy, \.safetensors"):
        write_segments(tmp_path / "a.json", partition)
    with pytest.raises(DataFormatError, match="ids of pixels as"):
        read_region_map(tmp_path / "a.txt", height=2, width=3)


@pytest.mark.parametrize("name", ["a.segs.json", "a.npy", "a.safetensors", "a.txt"])
def test_what_is_written_is_read(tmp_path, name):
    partition = Partition(np.array([1, 0, -1, 1], np.int32), 2, "felzenszwalb-mesh", {"k": 0.01, "min_size": 20})
    write_segments(tmp_path / name, partition, scene_id="room-3")
    assert np.array_equal(read_segments(tmp_path / name, count=4).ids, partition.ids)
    if name.endswith(".json"):
        written = json.loads((tmp_path / name).read_text())
        assert written == {
            "params": {"kThresh": 0.01, "segMinVerts": 20},
            "sceneId": "room-3",
            "segIndices": [1, 0, -1, 1],
        }


def test_no_elements(tmp_path):
    empty = Partition(np.empty(0, np.int32), 0, "vccs")
    for name in ("a.json", "a.npy", "a.safetensors", "a.txt"):
        write_segments(tmp_path / name, empty)
        assert read_segments(tmp_path / name, count=0).count == 0


# --- objects -----------------------------------------------------------------------------------------------------------------


def test_objects_own_segments(tmp_path):
    groups = [
        {"id": 0, "objectId": 10, "segments": [900, 7], "label": "office chair"},
        {"id": 1, "objectId": 11, "segments": [2, 12345], "label": "wall"},
    ]
    path = tmp_path / "scene0000_00.aggregation.json"
    path.write_text(json.dumps({"sceneId": "scannet.scene0000_00", "appId": "x", "segGroups": groups, "segmentsFile": "s.json"}))
    aggregation = read_aggregation(path)
    assert [(g.object_id, g.label, g.segments) for g in aggregation.groups] == [
        (10, "office chair", (900, 7)),
        (11, "wall", (2, 12345)),
    ]
    assert aggregation.segments_file == "s.json" and aggregation.scene_id == "scannet.scene0000_00"
    ids = read_segment_ids(_write(tmp_path / "s.json", IDS), count=5)
    assert objects_of_elements(ids, aggregation).tolist() == [0, 0, -1, 1, 0]
    path.write_text('{"segGroups": [{"id": 0, "segments": ["7"], "label": "wall"}]}')
    with pytest.raises(DataFormatError, match=r"segGroups\[0\].segments\[0\]: expected a whole number"):
        read_aggregation(path)


# --- files that lie ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b'{"segIndices": [1, 2.5, 3]}', r"segIndices\[1\]: expected a whole number of 64 bits, got 2.5"),
        ("a.json", b'{"segIndices": [1, true, 3]}', r"segIndices\[1\]"),
        ("a.json", b'{"segIndices": [1, 9223372036854775808, 3]}', r"segIndices\[1\]"),
        ("a.json", b'{"segIndices": 3}', "a list"),
        ("a.json", b'{"segments": [1, 2, 3]}', "segIndices: expected this key"),
        ("a.txt", b"1\n2.0\n3", r"id 1: expected a whole number, got '2.0'"),
        ("a.txt", b"1\n99999999999999999999\n3", "id 1"),
        ("a.txt", b"1\n1_0\n3", "id 1"),
        ("a.txt", b"1 " * 500, "at most 136 bytes"),
        ("a.npy", b"\x93NUMPY\x01\x00\x02\x00{}", "numpy's format"),
        ("a.npy", b"PK", "numpy's format"),
        ("a.npz", b"PK", "a .npz archive"),
        ("a.safetensors", b"\x10", "safetensors"),
        ("a.csv", b"", "ending in .json, .npy"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataFormatError, match=message) as caught:
        read_segments(tmp_path / name, count=3)
    assert str(tmp_path / name) in str(caught.value)


def test_arrays_that_are_no_ids_are_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(DataFormatError, match="whole numbers, got float64"):
        read_segments(tmp_path / "a.npy", count=3)
    np.save(tmp_path / "a.npy", np.array([1, "b", None], dtype=object))
    with pytest.raises(DataFormatError, match="whole numbers, got object"):
        read_segments(tmp_path / "a.npy", count=3)
    np.save(tmp_path / "a.npy", np.array([1, 2, 2**63], np.uint64))
    with pytest.raises(DataFormatError, match="ids below 2\\^63"):
        read_segments(tmp_path / "a.npy", count=3)
    save_file({"ids": np.zeros(3, np.float32)}, tmp_path / "a.safetensors")
    with pytest.raises(DataFormatError, match="whole numbers, got F32"):
        read_segments(tmp_path / "a.safetensors", count=3)
    save_file({"labels": np.zeros(3, np.int32)}, tmp_path / "a.safetensors")
    with pytest.raises(DataFormatError, match="the tensor ids, got labels"):
        read_segments(tmp_path / "a.safetensors", count=3)
    np.savez(tmp_path / "a.npz", first=np.arange(3), second=np.arange(3))
    with pytest.raises(DataFormatError, match=r"one array, or one called ids, got first\.npy, second\.npy"):
        read_segments(tmp_path / "a.npz", count=3)
    with pytest.raises(DataFormatError, match="expected a file, got nothing"):
        read_segments(tmp_path / "none.safetensors", count=3)


def test_a_promise_of_many_ids_allocates_nothing(tmp_path):
    header = b"{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000,), }"
    header = header.ljust(117) + b"\n"
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 80
    (tmp_path / "a.npy").write_bytes(data)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("ids.npy", data)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(DataFormatError, match="got 1000000000000"):
            read_segments(tmp_path / name, count=10)
        with pytest.raises(DataFormatError, match="80"):
            (tmp_path / "b.npy").write_bytes(data.replace(b"1000000000000", b"1000000      "))
            read_segments(tmp_path / "b.npy", count=10**6)


@pytest.mark.parametrize("name", ["a.segs.json", "a.npy", "a.npz", "a.safetensors", "a.txt"])
def test_damaged_copies_raise_only_our_errors(tmp_path, name):
    path = _write(tmp_path / name, np.arange(40) // 3, params={"kThresh": "0.01"})
    failed = assert_reader_survives(lambda p: read_segments(p, count=40), path.read_bytes(), path, count=150)
    assert failed > 20

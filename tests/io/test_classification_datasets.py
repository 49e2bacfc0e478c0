"""ModelNet40 in its layouts and ScanObjectNN: what is up, which class is which, files that are not as they should be."""

import sys
from pathlib import Path

import numpy as np
import pytest
from tests.support.file_mutations import assert_reader_survives

from scenewise.errors import ConventionError, DataFormatError, MissingDependencyError
from scenewise.io.classification.cloud_files import z_up_from_y_up
from scenewise.io.classification.modelnet import read_modelnet_meshes, read_modelnet_texts
from scenewise.io.classification.opening import open_classification
from scenewise.io.classification.scan_object_nn import SCAN_OBJECT_NN_CLASSES, read_scan_object_nn
from scenewise.scenes.classified_clouds import ClassifiedClouds

h5py = pytest.importorskip("h5py")

SWAPPED = ("night_stand", "airplane")  # as listed; not in the order of the alphabet
# A lamp in a frame with +Y up: a foot at the origin, a shade 3 above it, a switch 1 to its right and 2 in front of it.
LAMP_Y_UP = np.array([[0, 0, 0], [0, 3, 0], [1, 0, 2]], dtype=np.float32)
LAMP_Z_UP = [[0, 0, 0], [0, 0, 3], [1, -2, 0]]
BOX_CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 2) for z in (0, 5)])
BOX_FACES = "4 0 1 3 2\n4 4 5 7 6\n4 0 1 5 4\n4 2 3 7 6\n4 0 2 6 4\n4 1 3 7 5\n"


def write_texts(root: Path, classes: int = 40, order: tuple[str, ...] = SWAPPED) -> Path:
    root.mkdir(exist_ok=True)
    (root / f"modelnet{classes}_shape_names.txt").write_text("\n".join(order) + "\n")
    (root / f"modelnet{classes}_train.txt").write_text("airplane_0001\nnight_stand_0002\n")
    (root / f"modelnet{classes}_test.txt").write_text("night_stand_0003\n")
    for name in ("airplane_0001", "night_stand_0002", "night_stand_0003"):
        path = root / name.rpartition("_")[0] / f"{name}.txt"
        path.parent.mkdir(exist_ok=True)
        rows = LAMP_Y_UP + np.float32(name.endswith("3"))
        path.write_text("".join(f"{x:.6f},{y:.6f},{z:.6f},0.1,0.2,0.3\n" for x, y, z in rows))
    return root


def off_text(joint: str) -> str:
    """A box of 1×2×5 that stands upright; ``joint`` is between the first word and the numbers."""
    corners = "".join(f"{x} {y} {z}\n" for x, y, z in BOX_CORNERS)
    return f"OFF{joint}8 6 0\n{corners}{BOX_FACES}"


def write_meshes(root: Path) -> Path:
    for number, (name, split, joint) in enumerate(
        [("bed", "train", "\n"), ("bed", "test", ""), ("flower_pot", "train", ""), ("flower_pot", "train", "\n# a remark\n")]
    ):
        path = root / name / split / f"{name}_{number:04d}.off"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(off_text(joint))
    (root / "README.txt").write_text("")
    (root / "bed/train/.DS_Store").write_text("")
    return root


def write_scan_objects(path: Path, *, labels: object = (3, 0, 14), count: int = 3, column: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    points = np.concatenate([LAMP_Y_UP, LAMP_Y_UP * 0.5])[None] + np.arange(count, dtype=np.float32)[:, None, None]
    mask = np.tile([0, 0, 2, -1, -1, -1], (count, 1)).astype(np.float32)
    with h5py.File(path, "w") as file:
        file["data"], file["mask"] = points, mask
        file["label"] = np.asarray(labels)[:, None] if column else np.asarray(labels)
    return path


# ------------------------------------------------------------------------------------------------------------ conventions


def test_up_is_turned_not_swapped():
    turned = z_up_from_y_up(LAMP_Y_UP)
    assert turned.tolist() == LAMP_Z_UP and turned.dtype == np.float32
    assert np.linalg.det(z_up_from_y_up(np.eye(3, dtype=np.float32))) == pytest.approx(1)


def test_every_layout_is_up_along_z(tmp_path: Path):
    texts = read_modelnet_texts(write_texts(tmp_path / "texts"), "train")
    assert texts[0].points_in_object.tolist() == LAMP_Z_UP
    box = read_modelnet_meshes(write_meshes(tmp_path / "meshes"), "train")[0].points_in_object  # its files are +Z up
    assert np.allclose(np.ptp(box, axis=0), [1, 2, 5], atol=0.01)
    scans = read_scan_object_nn(write_scan_objects(tmp_path / "test_objectdataset.h5").parent, "test")
    assert np.allclose(scans[1].points_in_object[:3], [[1, -1, 1], [1, -1, 4], [2, -3, 1]])


# ----------------------------------------------------------------------------------------------------------------- layouts


def test_resampled_objects(tmp_path: Path):
    found = open_classification(write_texts(tmp_path / "modelnet40_normal_resampled"), "train")
    assert isinstance(found, ClassifiedClouds) and found.class_names == SWAPPED and found.split == "train"
    assert [(cloud.name, cloud.class_id) for cloud in found] == [("airplane_0001", 1), ("night_stand_0002", 0)]
    assert found.class_ids.tolist() == [1, 0] and found[-1].name == "night_stand_0002" and found[0].colors_u8 is None
    (held_out,) = open_classification(tmp_path / "modelnet40_normal_resampled", "test")
    assert held_out.name == "night_stand_0003" and held_out.points_in_object[0].tolist() == [1, -1, 1]
    write_texts(tmp_path / "both", 10, ("airplane", "night_stand"))
    assert open_classification(tmp_path / "both", "train").class_ids.tolist() == [0, 1]
    write_texts(tmp_path / "both")
    assert open_classification(tmp_path / "both", "train").class_ids.tolist() == [1, 0]
    assert read_modelnet_texts(tmp_path / "both", "train", classes=10).class_ids.tolist() == [0, 1]


def test_meshes_are_sampled_evenly_and_by_the_seed(tmp_path: Path):
    root = write_meshes(tmp_path / "ModelNet40")
    found = open_classification(root, "train", points=4000, seed=5)
    assert isinstance(found, ClassifiedClouds) and found.class_names == ("bed", "flower_pot")
    assert [(cloud.name, cloud.class_id) for cloud in found] == [("bed_0000", 0), ("flower_pot_0002", 1), ("flower_pot_0003", 1)]
    assert [cloud.name for cloud in open_classification(root, "test")] == ["bed_0001"]
    points = found[1].points_in_object
    assert points.shape == (4000, 3) and points.dtype == np.float32
    # Of the surface, 2·(1·2 + 1·5 + 2·5) = 34, the top and the bottom are 2 each.
    assert abs((points[:, 2] > 4.999).mean() - 2 / 34) < 0.016
    again = open_classification(root, "train", points=4000, seed=5)
    assert again[1].points_in_object.tobytes() == points.tobytes()  # whatever else was read before
    assert found[2].points_in_object.tobytes() != points.tobytes()  # the same mesh under another name
    assert open_classification(root, "train", points=4000, seed=6)[1].points_in_object.tobytes() != points.tobytes()


@pytest.mark.parametrize("column", [False, True])
def test_scan_objects(column: bool, tmp_path: Path):
    write_scan_objects(tmp_path / "h5_files/main_split/training_objectdataset.h5", column=column)
    found = open_classification(tmp_path, "train")
    assert isinstance(found, ClassifiedClouds) and found.class_names == SCAN_OBJECT_NN_CLASSES and len(found) == 3
    assert [(cloud.name, found.class_names[cloud.class_id]) for cloud in found] == [
        ("train_00000", "cabinet"), ("train_00001", "bag"), ("train_00002", "toilet")
    ]  # fmt: skip
    assert found.class_ids.tolist() == [3, 0, 14] and found[-1].points_in_object.shape == (6, 3)
    closer = read_scan_object_nn(tmp_path / "h5_files/main_split", "train", with_background=False)
    assert closer[0].points_in_object.tolist() == LAMP_Z_UP
    with pytest.raises(IndexError):
        found[3]


def test_variants_of_scan_objects(tmp_path: Path):
    hardest = "augmentedrot_scale75"
    write_scan_objects(tmp_path / f"training_objectdataset_{hardest}.h5", labels=(1, 1, 1))
    assert read_scan_object_nn(tmp_path, "train").class_ids.tolist() == [1, 1, 1]  # the only one
    write_scan_objects(tmp_path / "training_objectdataset_augmentedrot.h5", labels=(2, 2, 2))
    with pytest.raises(
        DataFormatError, match=r"training_objectdataset.h5, got the variants augmentedrot, augmentedrot_scale75. Fix"
    ):
        read_scan_object_nn(tmp_path, "train")
    write_scan_objects(tmp_path / "training_objectdataset.h5")
    assert read_scan_object_nn(tmp_path, "train").class_ids.tolist() == [3, 0, 14]
    assert open_classification(tmp_path, "train", variant=hardest).class_ids.tolist() == [1, 1, 1]
    with pytest.raises(DataFormatError, match=r"expected training_objectdataset_no.h5, got the variants plain, augmentedrot, .*"):
        read_scan_object_nn(tmp_path, "train", variant="no")
    with pytest.raises(DataFormatError, match=r"expected test_objectdataset.h5, got no file of this split"):
        read_scan_object_nn(tmp_path, "test")


# ------------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("modelnet40_train.txt", "boat_0001\n", r"object 1: expected a class of modelnet40_shape_names.txt .* got 'boat_0001'"),
        ("modelnet40_train.txt", "airplane_0009\n", r"the 1 objects of the split train, got 0; missing .*airplane_0009.txt"),
        ("modelnet40_train.txt", "airplane_0001\nairplane_0001\n", "each once, got 'airplane_0001' twice"),
        ("modelnet40_train.txt", "../../x_1\n", "names, one a line"),
        ("modelnet40_train.txt", "\n", "an empty list"),
        ("airplane/airplane_0001.txt", "1,2,three\n", r"airplane_0001.txt: expected x,y,z,nx,ny,nz in each line"),
        ("airplane/airplane_0001.txt", "1,2\n", r"airplane_0001.txt: expected x,y,z,nx,ny,nz in each line"),
        ("airplane/airplane_0001.txt", "\n", "an empty file"),
        ("airplane/airplane_0001.txt", "1,2,3\n1,nan,3\n", r"airplane_0001.txt: point 1: expected finite numbers"),
    ],
)
def test_lists_and_texts_that_are_none(name: str, content: str, message: str, tmp_path: Path):
    root = write_texts(tmp_path / "m")
    (root / name).write_text(content)
    with pytest.raises(DataFormatError, match=message) as caught:
        read_modelnet_texts(root, "train")[0]
    assert "Fix:" in str(caught.value)


def test_meshes_that_are_none(tmp_path: Path):
    root = write_meshes(tmp_path / "m")
    (root / "bed/train/bed_0000.off").write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n2 0 0\n3 0 1 2\n")
    with pytest.raises(DataFormatError, match=r"bed_0000.off: expected a surface with an area"):
        read_modelnet_meshes(root, "train")[0]
    (root / "bed/train/bed_0000.off").write_text("OFF\n3 1 0\n0 0 0\n")
    with pytest.raises(DataFormatError, match=r"bed_0000.off: expected a sound mesh"):
        read_modelnet_meshes(root, "train")[0]
    with pytest.raises(ConventionError, match="at least 1, got 0"):
        read_modelnet_meshes(root, "train", points=0)
    (root / "bed/test/bed_0001.off").unlink()
    with pytest.raises(DataFormatError, match="expected objects of the split test, got none"):
        open_classification(root, "test")


def test_folders_that_are_no_data_set(tmp_path: Path):
    for path, got in ((tmp_path, "none of them"), (tmp_path / "nowhere", "no such folder")):
        with pytest.raises(DataFormatError, match=rf"expected ModelNet .* or ScanObjectNN .*, got {got}"):
            open_classification(path, "train")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label": None}, "label: expected an array in this file, got data, mask"),
        ({"label": np.array([0, 1])}, r"label: expected 3 numbers, got int64 2"),
        ({"label": np.array([0, 15, 1])}, "label of object 1: expected 0 … 14, got 15"),
        ({"label": np.array([0, 1, -1])}, "label of object 2: expected 0 … 14, got -1"),
        ({"label": np.array([b"a", b"b", b"c"])}, "label: expected 3 numbers, got |S1 3"),
        ({"data": np.zeros((3, 6, 2))}, "data: expected n×n×3 numbers, got float64 3×6×2"),
        ({"data": np.zeros((0, 6, 3)), "label": np.zeros(0)}, "data: expected objects, got none"),
        ({"data": h5py.ExternalLink("other.h5", "data")}, "data: expected an array in this file"),
        ({"data": h5py.SoftLink("/mask")}, "data: expected an array in this file"),
    ],
)
def test_arrays_that_are_not_as_published(changes: dict[str, object], message: str, tmp_path: Path):
    path = write_scan_objects(tmp_path / "training_objectdataset.h5")
    with h5py.File(path, "a") as file:
        for name, value in changes.items():
            del file[name]
            if value is not None:
                file[name] = value
    with pytest.raises(DataFormatError, match=message.replace("|", r"\|")) as caught:
        read_scan_object_nn(tmp_path, "train")
    assert path.name in str(caught.value)


def test_arrays_of_other_files_and_beyond_reason_are_refused(tmp_path: Path):
    (tmp_path / "raw").write_bytes(b"\0" * 216)
    path = tmp_path / "training_objectdataset.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", (3, 6, 3), dtype="f4", external=[(str(tmp_path / "raw"), 0, 216)])
        file["label"] = np.zeros(3)
    with pytest.raises(DataFormatError, match="in other files"):
        read_scan_object_nn(tmp_path, "train")
    with h5py.File(path, "w") as file:
        file.create_dataset("data", (1 << 20, 2048, 3), dtype="f4", chunks=(1, 2048, 3), compression="gzip")
        file["label"] = np.zeros(1 << 20, dtype=np.int8)
    with pytest.raises(DataFormatError, match=r"data: expected at most [\d,]+ bytes, got 1048576×2048×3"):
        read_scan_object_nn(tmp_path, "train")


def test_points_that_are_none_are_named_by_their_object(tmp_path: Path):
    path = write_scan_objects(tmp_path / "training_objectdataset.h5")
    with h5py.File(path, "a") as file:
        file["data"][1, 2, 0] = np.nan
        file["mask"][2] = -1
    found = read_scan_object_nn(tmp_path, "train", with_background=False)
    with pytest.raises(DataFormatError, match=r"object 1 point 2: expected finite numbers"):
        found[1]
    with pytest.raises(DataFormatError, match=r"object 2: expected points, got none"):
        found[2]


def test_damaged_files_give_our_errors(tmp_path: Path):
    path = write_scan_objects(tmp_path / "training_objectdataset.h5")
    assert_reader_survives(lambda _: list(read_scan_object_nn(tmp_path, "train")), path.read_bytes(), path, count=60)
    root = write_texts(tmp_path / "m")
    text = root / "airplane/airplane_0001.txt"
    assert_reader_survives(lambda _: read_modelnet_texts(root, "train")[0], text.read_bytes(), text, count=60)


def test_without_h5py_there_is_one_clear_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_scan_objects(tmp_path / "training_objectdataset.h5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingDependencyError, match=r'h5py, which is not installed. Fix: pip install "scenewise\[io\]"'):
        open_classification(tmp_path, "train")

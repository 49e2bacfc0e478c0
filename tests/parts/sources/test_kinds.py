"""Whatever a person names is told apart by its files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.support.fabricated_folders import asymmetric_world, write_transforms

from scenewise.errors import DataFormatError
from scenewise.io.ply.points import write_points_ply
from scenewise.parts.sources.clouds import CloudScan
from scenewise.parts.sources.kinds import kind_of, pictures_in
from scenewise.parts.sources.opening import open_scans
from scenewise.scenes.point_clouds import PointCloud


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    """One of each kind that is quickly made."""
    write_transforms(tmp_path / "capture", asymmetric_world())
    (tmp_path / "images").mkdir()
    for number in range(2):
        Image.fromarray(np.zeros((4, 4, 3), dtype=np.uint8)).save(tmp_path / "images" / f"{number}.png")
    write_points_ply(tmp_path / "cloud.ply", PointCloud(np.zeros((3, 3))))
    (tmp_path / "scene").mkdir()
    (tmp_path / "scene" / "scene.json").write_text("{}")
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "data_set.json").write_text("{}")
    (tmp_path / "scans" / "picture.png").write_bytes(b"")
    return {name: tmp_path / name for name in ("capture", "images", "scene", "scans")} | {"cloud": tmp_path / "cloud.ply"}


def test_each_kind_is_recognised(places: dict[str, Path], tmp_path: Path):
    assert {name: kind_of((path,)) for name, path in places.items()} == {name: name for name in places}
    pictures = sorted(places["images"].iterdir())
    assert kind_of(pictures) == kind_of(pictures[:1]) == "images"
    (tmp_path / "notes.txt").write_text("nothing")
    assert kind_of((tmp_path / "notes.txt",)) is None
    (tmp_path / "sweep.pcd.bin").write_bytes(b"")
    assert kind_of((tmp_path / "sweep.pcd.bin",)) == "cloud"
    (tmp_path / "empty").mkdir()
    assert kind_of((tmp_path / "empty",)) is None


def test_what_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(DataFormatError, match="got nothing"):
        kind_of((tmp_path / "none",))


def test_scans_come_from_clouds_but_not_from_plain_images(places: dict[str, Path]):
    (source,) = open_scans(places["cloud"])
    assert isinstance(source, CloudScan) and source.name == "cloud" and len(source.points()) == 3
    assert source.capture() is None and source.truth() is None
    with pytest.raises(DataFormatError, match="none of them"):
        open_scans(places["images"])


def test_hidden_files_are_no_pictures(tmp_path: Path):
    """What macOS leaves on other systems' disks."""
    Image.fromarray(np.zeros((4, 4, 3), dtype=np.uint8)).save(tmp_path / "b.png")
    for name in ("._b.png", ".DS_Store", "._a.jpg"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    assert [path.name for path in pictures_in(tmp_path)] == ["b.png"]
    (tmp_path / "b.png").unlink()
    assert kind_of([tmp_path]) is None
    assert kind_of([Path("/dev/null")]) is None

"""Captures of mixed origin in one folder, found without opening any of them."""

import builtins
import shutil
from pathlib import Path

import pytest
from PIL import Image
from tests.support.fabricated_folders import asymmetric_world, share_of_right_colors, write_colmap_binary, write_transforms
from tests.support.tiny_co3d import CATEGORY, write_category

from scenewise.errors import DataFormatError
from scenewise.io.captures import open_capture
from scenewise.parts.sources.capture_scans import CaptureScan
from scenewise.parts.sources.listing import captures_below, find_captures_below
from scenewise.parts.sources.opening import has_splits, open_scans
from scenewise.parts.sources.scannet_scans import ScannetScan

WORLD = asymmetric_world()


def write_mvimgnet(root: Path) -> list[Path]:
    """Two classes that number their instances alike."""
    instances = [root / "7/0000a1", root / "7/0000b2", root / "23/0000a1"]
    for instance in instances:
        write_colmap_binary(instance, WORLD)
    return instances


@pytest.fixture
def many(tmp_path: Path) -> dict[str, list[Path]]:
    """One folder with a bit of everything, and what should be found in each part of it."""
    co3d = tmp_path / "co3d"
    write_category(co3d, WORLD, sequences=("1_1_1", "2_2_2"))
    (co3d / CATEGORY / "set_lists").mkdir()
    (co3d / CATEGORY / "set_lists/set_lists_fewview_dev.json").write_text("{}")
    write_transforms(tmp_path / "single", WORLD)
    scan = tmp_path / "scannet/scans/scene0000_00"
    for name in ("color", "depth", "pose", "intrinsic"):
        (scan / name).mkdir(parents=True)
    (scan / "intrinsic/intrinsic_color.txt").write_text("1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n")
    rgbd = tmp_path / "rgbd/seq-01"
    rgbd.mkdir(parents=True)
    (rgbd / "frame-000000.pose.txt").write_text("")
    scene = tmp_path / "scene"
    write_transforms(scene / "capture", WORLD)  # in a scene folder: nothing to learn from
    (scene / "scene.json").write_text("{}")
    (tmp_path / ".hidden").mkdir()
    write_transforms(tmp_path / ".hidden/capture", WORLD)
    (tmp_path / "notes/empty").mkdir(parents=True)
    return {
        "co3d": [co3d / CATEGORY / name for name in ("1_1_1", "2_2_2")],
        "mvimgnet": sorted(write_mvimgnet(tmp_path / "mvimgnet")),
        "rgbd": [rgbd],
        "scannet": [scan],
        "single": [tmp_path / "single"],
    }


def test_every_kind_is_found_in_order_and_nothing_is_opened(
    many: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def refused(*arguments: object, **options: object) -> None:
        raise AssertionError(f"opened {arguments}")

    monkeypatch.setattr(Path, "open", refused)
    monkeypatch.setattr(builtins, "open", refused)
    monkeypatch.setattr(Image, "open", refused)
    expected = [path for name in sorted(many) for path in many[name]]
    assert captures_below(tmp_path) == tuple(expected) == captures_below(str(tmp_path))
    for name, paths in many.items():
        assert captures_below(tmp_path / name) == tuple(paths)
    assert captures_below(tmp_path / "co3d" / CATEGORY) == tuple(many["co3d"])
    assert captures_below(tmp_path / "single") == (tmp_path / "single",)
    assert captures_below(tmp_path / "single/transforms.json") == (tmp_path / "single/transforms.json",)


def test_how_deep_is_looked(tmp_path: Path):
    write_transforms(tmp_path / "a/b/c", WORLD)
    assert captures_below(tmp_path, deepest=3) == (tmp_path / "a/b/c",)
    assert find_captures_below(tmp_path, deepest=2) == ()
    with pytest.raises(DataFormatError, match=r"at most 2 levels below it.*got none of them. Fix: name the folder"):
        captures_below(tmp_path, deepest=2)
    with pytest.raises(DataFormatError, match="got nothing"):
        captures_below(tmp_path / "nowhere")
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataFormatError, match="none of them"):
        captures_below(tmp_path / "notes.txt")


def test_links_are_followed_once_and_never_in_a_circle(tmp_path: Path):
    write_transforms(tmp_path / "store/one", WORLD)
    (tmp_path / "chosen").mkdir()
    (tmp_path / "chosen/a").symlink_to(tmp_path / "store/one")
    (tmp_path / "chosen/b").symlink_to(tmp_path / "store/one")
    (tmp_path / "chosen/up").symlink_to(tmp_path / "chosen")
    assert captures_below(tmp_path / "chosen") == (tmp_path / "chosen/a",)


def test_an_instance_of_mvimgnet_is_a_capture(tmp_path: Path):
    instance = write_mvimgnet(tmp_path)[0]
    masks = instance / "masks"  # of its own archive, named as COLMAP does
    masks.mkdir()
    for name in WORLD.names:
        Image.new("L", (96, 64), 255).save(masks / f"{name}.png")
    capture = open_capture(instance)
    assert capture.source_format == "colmap" and share_of_right_colors(capture, WORLD) > 0.9
    assert all(frame.load_mask is not None for frame in capture.frames)


def test_a_folder_of_captures_is_as_many_scans(many: dict[str, list[Path]], tmp_path: Path):
    scans = open_scans(tmp_path / "mvimgnet", max_points=77, seed=3)
    assert [scan.name for scan in scans] == ["23/0000a1", "7/0000a1", "7/0000b2"]
    assert all(isinstance(scan, CaptureScan) and (scan.max_points, scan.seed) == (77, 3) for scan in scans)
    assert len(scans[0].points()) == len(WORLD.points)
    category = open_scans(tmp_path / "co3d" / CATEGORY)
    assert [scan.name for scan in category] == ["1_1_1", "2_2_2"] and len(category[1].points()) == len(WORLD.points)
    assert not has_splits(tmp_path / "co3d")
    mixed = open_scans(tmp_path)
    assert [scan.name for scan in mixed if isinstance(scan, ScannetScan)] == ["scannet/scans/scene0000_00"]
    assert len(mixed) == sum(map(len, many.values()))
    with pytest.raises(DataFormatError, match="leave the split out"):
        open_scans(tmp_path / "mvimgnet", "train")
    shutil.rmtree(tmp_path / "mvimgnet")
    (tmp_path / "mvimgnet").mkdir()
    with pytest.raises(DataFormatError, match=r"or captures, a capture.*got none of them"):
        open_scans(tmp_path / "mvimgnet")


@pytest.mark.data
def test_real_captures_are_listed(data_root: Path):
    found = captures_below(data_root)
    assert {"fox", "redkitchen_rgbd"} <= {path.relative_to(data_root).parts[0] for path in found}

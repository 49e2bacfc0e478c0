"""Mill 19, UrbanScene3D and MatrixCity: each layout that people have, small."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.support.fabricated_folders import (
    HEIGHT,
    OPENGL_FROM_OPENCV,
    WIDTH,
    K,
    World,
    asymmetric_world,
    photograph,
    share_of_right_colors,
    transforms_of,
    write_colmap_binary,
    write_colmap_text,
    write_images,
)

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io import views as views_module
from scenewise.io.captures import is_capture, open_capture, usable_frames
from scenewise.io.datasets import DATASET_PRESETS
from scenewise.io.listed_files import ListedFiles
from scenewise.scenes.captures import Capture

WHOLE_WORLD = asymmetric_world(7)


def side(indices: list[int], names: list[str]) -> World:
    return replace(WHOLE_WORLD, world_from_camera=[WHOLE_WORLD.world_from_camera[i] for i in indices], names=names)


# Mega-NeRF numbers all photographs and puts some into val; MatrixCity counts each side from 0.
TRAIN = side([1, 2, 3, 5, 6], ["000001.png", "000002.png", "000003.png", "000005.png", "000006.png"])
VAL = side([0, 4], ["000000.png", "000004.png"])
BLOCKS = side([1, 2, 3, 5, 6], [f"{index:04d}.png" for index in range(5)])
BLOCKS_TEST = side([0, 4], ["0000.png", "0001.png"])


def write_mill19(root: Path) -> Path:
    write_colmap_binary(root / "train", TRAIN)
    write_colmap_text(root / "val", VAL)
    return root


def write_matrix_city(root: Path, test_block: str = "block_all") -> Path:
    write_colmap_binary(root / "train/block_all", BLOCKS)
    write_colmap_binary(root / "test" / test_block, BLOCKS_TEST)
    for folder in (root / "train/block_all", root / "test" / test_block):
        (folder / "images").rename(folder / "input")
    return root


def write_pose_lists(root: Path, inner: str = "") -> Path:
    """MatrixCity as published: lists in ``pose/block_all``, pictures in the folders of two blocks."""
    (root / "pose/block_all").mkdir(parents=True)
    for name, world in (("train", BLOCKS), ("test", BLOCKS_TEST)):
        frames = []
        for index, (file, pose) in enumerate(zip(world.names, world.world_from_camera)):
            block = f"{name}/block_{index % 2 + 1}" + ("_test" if name == "test" else "")
            folder = root / block / inner
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(photograph(world, pose)[0]).save(folder / file)
            frames.append({"file_path": f"../../{block}/{file}", "transform_matrix": (pose @ OPENGL_FROM_OPENCV).tolist()})
        listing = transforms_of(world) | {"frames": frames, "k1": 0, "k2": 0, "k3": 0, "k4": 0, "p1": 0, "p2": 0}
        (root / f"pose/block_all/transforms_{name}.json").write_text(json.dumps(listing), encoding="utf-8")
    return root


def write_smaller(folder: Path, factor: int, ending: str, shade: int = 7) -> None:
    """Copies of one grey, told apart from the photographs by it."""
    folder.mkdir(parents=True)
    for photograph_path in (folder.parent / "images").iterdir():
        Image.new("RGB", (WIDTH // factor, HEIGHT // factor), (shade,) * 3).save(folder / f"{photograph_path.stem}{ending}")


def test_the_split_is_the_folders_own_and_both_sides_share_a_world(tmp_path: Path):
    root = write_mill19(tmp_path / "rubble-pixsfm")
    capture = open_capture(root, preset="mill19", factor=1)
    assert [frame.name for frame in capture.train_frames] == [f"train/{name}" for name in TRAIN.names]
    assert [frame.name for frame in capture.test_frames] == [f"val/{name}" for name in VAL.names]
    assert capture.preset == "mill19" and capture.source_format == "colmap" and capture.root == root
    np.testing.assert_allclose(capture.points.points_in_world, TRAIN.points)
    for frames in (capture.train_frames, capture.test_frames):
        assert share_of_right_colors(replace(capture, frames=frames), WHOLE_WORLD) > 0.8  # the others hide behind each other
        assert share_of_right_colors(replace(capture, frames=frames), WHOLE_WORLD, flip_u=True) < 0.3


def test_files_that_other_tools_left_do_not_matter(tmp_path: Path):
    root = write_mill19(tmp_path / "rubble")
    (root / "transforms_train.json").write_text("{}")
    (root / "val/sparse/0/points3D.txt").write_text("not read: what is held out teaches nothing\n")
    assert len(open_capture(root, preset="mill19").points) == len(TRAIN.points)


def test_the_check_notices_sides_that_were_exchanged(tmp_path: Path):
    root = write_mill19(tmp_path / "rubble")
    for name in VAL.names:
        shutil.copy(root / "train/images/000001.png", root / "val/images" / name)
    capture = open_capture(root, preset="mill19", factor=1)
    assert share_of_right_colors(replace(capture, frames=capture.test_frames), WHOLE_WORLD) < 0.5


@pytest.mark.parametrize(
    ("preset", "folder"),
    [
        ("mill19", "building-pixsfm"),
        ("mill19", "Rubble"),
        ("urban_scene3d", "residence"),
        ("urban_scene3d", "sci-art-pixsfm"),
        ("urban_scene3d", "sciart"),
        ("urban_scene3d", "campus-pixsfm"),
    ],
)
def test_scenes_under_the_names_that_they_have_on_disk(preset: str, folder: str, tmp_path: Path):
    capture = open_capture(write_mill19(tmp_path / folder), preset=preset)
    assert capture.frames[0].camera.width == WIDTH // 4 and len(capture.test_frames) == 2


def test_the_training_folder_names_the_scene_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_mill19(tmp_path / "rubble-pixsfm")
    monkeypatch.chdir(tmp_path / "rubble-pixsfm/train")
    for path in (tmp_path / "rubble-pixsfm/train", Path()):
        capture = open_capture(path, preset="mill19")
        assert len(capture.train_frames) == 5 and len(capture.test_frames) == 2


def test_a_collection_called_train_is_no_side(tmp_path: Path):
    assert len(open_capture(write_mill19(tmp_path / "train/rubble"), preset="mill19").test_frames) == 2


# ------------------------------------------------------------------------------------------------------------------- sizes


@pytest.mark.parametrize("listed", [".png", ".jpg", ".JPG"])
def test_a_quarter_of_the_size_from_the_folder_where_there_is_one(listed: str, tmp_path: Path):
    """Who made images_4 wrote PNG, whatever the model lists."""
    root = tmp_path / "building-pixsfm"
    for name, world in (("train", TRAIN), ("val", VAL)):
        renamed = replace(world, names=[file.replace(".png", listed) for file in world.names])
        write_colmap_binary(root / name, renamed)
    write_smaller(root / "train/images_4", 4, ".png")
    capture = open_capture(root, preset="mill19")
    frame, held_out = capture.train_frames[0], capture.test_frames[0]
    assert frame.name == f"train/000001{listed}" and frame.image_path.parent.name == "images_4"
    assert (frame.load_image() == 7).all() and frame.load_image().shape == (16, 24, 3)
    assert held_out.image_path.parent.name == "images"  # val has no images_4: resized
    assert held_out.load_image().shape == (16, 24, 3) and (held_out.load_image() != 7).any()
    for each in (frame, held_out):
        np.testing.assert_allclose(each.camera.K.numpy()[:2], K[:2] / 4)
    assert open_capture(root, preset="mill19", factor=1).frames[0].camera.width == WIDTH
    assert open_capture(root, preset="mill19", factor=2).frames[0].load_image().shape == (32, 48, 3)


def test_a_name_that_is_none_names_no_copy(tmp_path: Path):
    assert ListedFiles(tmp_path).path_of_any_ending("") == tmp_path


@pytest.mark.parametrize("folder", ["input", "rgbs"])
def test_where_else_photographs_lie(folder: str, tmp_path: Path):
    root = write_mill19(tmp_path / "residence")
    for name in ("train", "val"):
        (root / name / "images").rename(root / name / folder)
    (root / "train/images").mkdir()  # made and never filled
    capture = open_capture(root, preset="urban_scene3d")
    assert {frame.image_path.parent.name for frame in capture.frames_with_image} == {folder}
    assert len(capture.frames_with_image) == 7


def test_matrix_city_is_at_most_1600_pixels_wide(tmp_path: Path):
    root = tmp_path / "aerial"
    lens = "PINHOLE 1920 1080 2317.6 2317.6 960 540"
    for folder, world in ((root / "train/block_all", BLOCKS), (root / "test/block_all_test", BLOCKS_TEST)):
        write_colmap_text(folder, world, camera=lens)
        shutil.rmtree(folder / "images")
        (folder / "input").mkdir()
        for name in world.names:
            Image.new("RGB", (1920, 1080), (9, 9, 9)).save(folder / "input" / name)
    capture = open_capture(root, preset="matrix_city")
    frame = capture.train_frames[0]
    assert frame.load_image().shape == (900, 1600, 3) and frame.image_path.parent.name == "input"
    np.testing.assert_allclose(frame.camera.K.numpy(), [[2317.6 / 1.2, 0, 800], [0, 2317.6 / 1.2, 450], [0, 0, 1]])
    # Momentum-GS keeps copies of that size.
    copies = root / "train/block_all/input_cached"
    copies.mkdir()
    for name in BLOCKS.names:
        Image.new("RGB", (1600, 900), (3, 3, 3)).save(copies / name)
    frame = open_capture(root, preset="matrix_city").train_frames[0]
    assert frame.image_path.parent == copies and (frame.load_image() == 3).all()
    np.testing.assert_allclose(frame.camera.K.numpy(), [[2317.6 / 1.2, 0, 800], [0, 2317.6 / 1.2, 450], [0, 0, 1]])
    halves = open_capture(root, preset="matrix_city", factor=2).train_frames[0]
    assert halves.image_path.parent.name == "input" and halves.camera.width == 960  # of the full pictures


def test_opening_decodes_nothing_and_looks_at_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    poses = WHOLE_WORLD.world_from_camera[:1] * 120
    root = tmp_path / "rubble"
    write_colmap_binary(
        root / "train", replace(WHOLE_WORLD, world_from_camera=poses[:100], names=[f"{i:06d}.jpg" for i in range(100)])
    )
    write_colmap_binary(
        root / "val", replace(WHOLE_WORLD, world_from_camera=poses[:20], names=[f"{i:06d}.jpg" for i in range(100, 120)])
    )
    for file in root.glob("*/images/*.jpg"):
        file.write_bytes(file.read_bytes()[:700])  # a header without pixels
    looked_at = []
    read = views_module.read_image_header
    monkeypatch.setattr(views_module, "read_image_header", lambda path: looked_at.append(path) or read(path))
    capture = open_capture(root, preset="mill19")
    assert len(capture.train_frames) == 100 and len(capture.test_frames) == 20
    assert len(looked_at) <= 4
    with pytest.raises(DataFormatError, match=r"000100\.jpg"):
        capture.test_frames[0].load_image()


# ------------------------------------------------------------------------------------------------------------- MatrixCity


@pytest.mark.parametrize("test_block", ["block_all", "block_all_test"])
@pytest.mark.parametrize("given", ["", "train/block_all"])
def test_matrix_city_as_colmap_models(given: str, test_block: str, tmp_path: Path):
    root = write_matrix_city(tmp_path / "aerial", test_block)
    capture = open_capture(root / given, preset="matrix_city")
    assert [frame.name for frame in capture.train_frames] == [f"train/{name}" for name in BLOCKS.names]
    assert [frame.name for frame in capture.test_frames] == ["test/0000.png", "test/0001.png"]
    assert share_of_right_colors(capture, WHOLE_WORLD) > 0.9 and capture.frames[0].camera.width == WIDTH


@pytest.mark.parametrize("inner", ["", "input", "rgb"])
@pytest.mark.parametrize("given", ["", "pose/block_all"])
def test_matrix_city_as_published(given: str, inner: str, tmp_path: Path):
    capture = open_capture(write_pose_lists(tmp_path / "aerial", inner) / given, preset="matrix_city")
    assert capture.source_format == "transforms" and capture.root == tmp_path / "aerial" / given
    assert [frame.name for frame in capture.test_frames] == ["test/block_1_test/0000.png", "test/block_2_test/0001.png"]
    assert [frame.name for frame in capture.train_frames] == sorted(
        f"train/block_{index % 2 + 1}/{name}" for index, name in enumerate(BLOCKS.names)
    )
    assert share_of_right_colors(capture, WHOLE_WORLD) > 0.9 and capture.points is None
    np.testing.assert_array_equal(capture.up_in_world, [0.0, 0.0, 1.0])


def test_models_win_over_lists_unless_the_lists_are_named(tmp_path: Path):
    root = write_matrix_city(write_pose_lists(tmp_path / "aerial"))
    assert open_capture(root, preset="matrix_city").source_format == "colmap"
    assert open_capture(root / "pose/block_all", preset="matrix_city").source_format == "transforms"


# ------------------------------------------------------------------------------------------------- other ways to be split


@pytest.mark.parametrize("place", ["test.txt", "val.txt", "sparse/0/test.txt"])
def test_one_model_and_the_names_of_what_is_held_out(place: str, tmp_path: Path):
    root = write_colmap_binary(tmp_path / "rubble", TRAIN)
    (root / place).write_text("000002.png\n000006.png\n")
    capture = open_capture(root, preset="mill19")
    assert capture.test_names == {"000002.png", "000006.png"} and len(capture.train_frames) == 3
    assert capture.frames[0].camera.width == WIDTH // 4


def test_two_folders_are_recognised_without_a_preset(tmp_path: Path):
    capture = open_capture(write_mill19(tmp_path / "my town"))
    assert len(capture.test_frames) == 2 and capture.frames[0].camera.width == WIDTH and capture.preset is None
    town = open_capture(write_matrix_city(tmp_path / "street"), factor=4)
    assert len(town.test_frames) == 2 and town.frames[0].camera.width == WIDTH // 4
    assert is_capture(tmp_path / "my town") and not is_capture(tmp_path)
    shutil.rmtree(tmp_path / "my town/val")
    assert not is_capture(tmp_path / "my town")


def test_averages_are_over_the_scenes_of_the_paper():
    assert DATASET_PRESETS["mill19"].average({"building": {"psnr": 23.0}, "rubble": {"psnr": 26.0}}) == {"psnr": 24.5}
    with pytest.raises(ConventionError, match="campus"):
        DATASET_PRESETS["urban_scene3d"].average({"residence": {"psnr": 23.0}, "sci-art": {"psnr": 25.0}})


# ------------------------------------------------------------------------------------------------------------------ errors


def refused(path: Path, preset: str) -> str:
    with pytest.raises(DataFormatError) as caught:
        open_capture(path, preset=preset)
    return str(caught.value)


def without(root: Path, *parts: str) -> Path:
    for part in parts:
        shutil.rmtree(root / part)
    return root


def test_what_is_missing_of_mill19_is_named(tmp_path: Path):
    def said(scene: str, *parts: str) -> str:
        return refused(without(write_mill19(tmp_path / scene / "rubble"), *parts), "mill19")

    assert "rubble/val: expected the held-out photographs" in (text := said("a", "val")) and "Fix: unpack that part" in text
    assert "rubble/train: expected the photographs to learn from" in (text := said("b", "train")) and "Fix: pass the" in text
    assert "rubble/val: expected a COLMAP model" in (text := said("c", "val/sparse")) and "CityGaussian" in text
    assert "rubble/train: expected a COLMAP model" in (text := said("d", "train/sparse")) and "got none" in text
    assert "val/images: expected the photographs of the model, in images, input or rgbs" in (text := said("e", "val/images"))
    assert "Fix: unpack or link them there" in text
    root = write_mill19(tmp_path / "f/rubble")
    for file in (root / "train/images").iterdir():
        file.rename(file.with_name(f"DJI_{file.name}"))
    assert "train/images: expected the 5 photographs of the model, got none of them" in (text := refused(root, "mill19"))
    assert "000001.png" in text and "Fix: keep the names" in text
    (root / "train/images_4").mkdir()
    (root / "train/images_4/stale.png").write_bytes(b"")
    assert "images_4" in (text := refused(root, "mill19")) and "Fix: make the smaller copies again" in text


def test_single_missing_photographs_are_listed(tmp_path: Path):
    root = write_mill19(tmp_path / "rubble")
    (root / "train/images/000005.png").unlink()
    capture = open_capture(root, preset="mill19")
    assert [frame.name for frame in capture.missing_frames] == ["train/000005.png"]
    with pytest.raises(DataFormatError, match=r"train/images/000005\.png"):
        usable_frames(capture, strict=True)


def test_cameras_as_pickles_are_refused_and_the_command_is_named(tmp_path: Path):
    root = without(write_mill19(tmp_path / "campus-pixsfm"), "train/sparse", "val/sparse")
    (root / "train/metadata").mkdir()
    (root / "train/metadata/000001.pt").write_bytes(b"never opened")
    text = refused(root, "urban_scene3d")
    assert "metadata/000001.pt" in text and "pickles" in text and f"scenewise convert-cameras {root}," in text
    assert f"scenewise convert-cameras {root}," in refused(root / "train", "urban_scene3d")


def test_what_is_missing_of_matrix_city_is_named(tmp_path: Path):
    root = write_pose_lists(tmp_path / "a/aerial")
    (root / "pose/block_all/transforms_train.json").unlink()
    text = refused(root, "matrix_city")
    assert "pose/block_all/transforms_train.json: expected MatrixCity's list of training pictures" in text
    assert "generate_split.py --block_name block_all --set_type train" in text
    root = without(write_pose_lists(tmp_path / "b/aerial"), "train", "test")
    assert "expected the listed pictures, got none of them" in (text := refused(root, "matrix_city")) and "block_1.tar" in text
    root = without(write_pose_lists(tmp_path / "c/aerial"), "pose")
    assert "train/block_all: expected a COLMAP model" in (text := refused(root, "matrix_city")) and "aerial/pose" in text
    root = without(write_matrix_city(tmp_path / "d/aerial"), "test")
    assert "test/block_all: expected the held-out photographs, here or in" in (text := refused(root, "matrix_city"))
    assert "block_all_test" in text


def test_another_scene_is_not_taken_for_one_of_the_data_set(tmp_path: Path):
    text = refused(write_mill19(tmp_path / "downtown-pixsfm"), "mill19")
    assert "name of the scene: expected building or rubble of mill19, got downtown. Fix: name the folder as published" in text
    assert "residence or sci-art or campus" in refused(write_mill19(tmp_path / "rubble"), "urban_scene3d")
    assert len(open_capture(tmp_path / "downtown-pixsfm", factor=4).test_frames) == 2  # the fix that it names


def test_one_model_without_a_list_is_not_split_by_guess(tmp_path: Path):
    text = refused(write_colmap_binary(tmp_path / "rubble", TRAIN), "mill19")
    assert "rubble/test.txt: expected the names of the held-out photographs" in text and "Fix: list the photographs" in text


def test_nothing_at_all(tmp_path: Path):
    (tmp_path / "rubble").mkdir()
    write_images(tmp_path / "rubble", TRAIN)
    assert "rubble/train: expected the photographs to learn from" in refused(tmp_path / "rubble", "mill19")
    assert isinstance(open_capture(write_mill19(tmp_path / "b/rubble"), preset="mill19"), Capture)

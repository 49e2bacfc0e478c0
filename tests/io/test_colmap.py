"""COLMAP models, text and binary."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.support.fabricated_folders import (
    HEIGHT,
    WIDTH,
    K,
    asymmetric_world,
    colmap_binary_files,
    share_of_right_colors,
    write_colmap_binary,
    write_colmap_text,
    write_images,
)
from tests.support.file_mutations import assert_reader_survives

from scenewise.errors import CaptureWarning, DataFormatError, ScenewiseError
from scenewise.io.colmap.captures import read_colmap
from scenewise.io.colmap.models import find_colmap_model, read_cameras, read_images, read_points

WRITERS = [write_colmap_text, write_colmap_binary]


@pytest.mark.parametrize("write", WRITERS)
def test_colours_are_where_the_cameras_say(write, tmp_path: Path):
    world = asymmetric_world()
    capture = read_colmap(write(tmp_path, world))
    assert share_of_right_colors(capture, world) > 0.9
    assert share_of_right_colors(capture, world, flip_u=True) < 0.3
    np.testing.assert_array_equal(capture.points.points_in_world, world.points)
    np.testing.assert_array_equal(capture.points.colors_u8, world.colors_u8)


def test_the_check_fails_for_another_quaternion_order(tmp_path: Path):
    world = asymmetric_world()
    capture = read_colmap(write_colmap_text(tmp_path, world, quat_order="xyzw"))
    assert share_of_right_colors(capture, world) < 0.3


def test_the_check_fails_for_inverted_poses(tmp_path: Path):
    world = asymmetric_world()
    turned = asymmetric_world()
    turned.world_from_camera[:] = [np.linalg.inv(pose) for pose in world.world_from_camera]
    write_colmap_text(tmp_path, turned)
    write_images(tmp_path / "images", world)
    assert share_of_right_colors(read_colmap(tmp_path), world) < 0.3


def test_intrinsics_are_used_as_they_are(tmp_path: Path):
    camera = read_colmap(write_colmap_text(tmp_path, asymmetric_world())).frames[0].camera
    np.testing.assert_array_equal(camera.K.numpy(), K)  # no half pixel is added: COLMAP's centres are at half-integers


@pytest.mark.parametrize("write", WRITERS)
def test_names_with_spaces_letters_and_folders(write, tmp_path: Path):
    world = asymmetric_world()
    world.names[:] = ["Küche 1.png", "台所 2.png", "sub folder/кухня.png", "z.png"]
    capture = read_colmap(write(tmp_path, world))
    assert [frame.name for frame in capture.frames] == sorted(world.names)
    assert len(capture.frames_with_image) == 4
    assert share_of_right_colors(capture, world) > 0.9


def test_every_eighth_by_name_is_held_out(tmp_path: Path):
    world = asymmetric_world(views=10)
    world.names[:] = [f"{9 - index}.png" for index in range(10)]
    assert read_colmap(write_colmap_binary(tmp_path, world)).test_names == {"0.png", "8.png"}


@pytest.mark.parametrize("folder", [".", "sparse", "sparse/0", "colmap/sparse/0"])
def test_where_models_are_found(folder: str, tmp_path: Path):
    write_colmap_binary(tmp_path / "made", asymmetric_world())
    place = tmp_path / "capture" / folder
    place.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "made/sparse/0").rename(place)
    (tmp_path / "made/images").rename(tmp_path / "capture/images")
    assert find_colmap_model(tmp_path / "capture") == place
    assert len(read_colmap(tmp_path / "capture").frames_with_image) == 4
    assert len(read_colmap(place).frames_with_image) == 4  # the model's own folder, images beside or above it


def test_images_next_to_the_model(tmp_path: Path):
    world = asymmetric_world()
    write_colmap_binary(tmp_path, world)
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    assert len(read_colmap(tmp_path, images="elsewhere").frames_with_image) == 4
    for image in (tmp_path / "elsewhere").iterdir():
        image.rename(tmp_path / image.name)
    assert len(read_colmap(tmp_path).frames_with_image) == 4
    with pytest.raises(DataFormatError, match="no such folder"):
        read_colmap(tmp_path, images="nowhere")


def test_factor_takes_the_resized_folder_and_rescales_the_camera(tmp_path: Path):
    world = asymmetric_world()
    write_colmap_binary(tmp_path, world)
    (tmp_path / "images_2").mkdir()
    for name in world.names:
        half = Image.open(tmp_path / "images" / name).resize((WIDTH // 2, HEIGHT // 2), Image.Resampling.BOX)
        half.save(tmp_path / "images_2" / name)
    frame = read_colmap(tmp_path, factor=2).frames[0]
    assert frame.image_path.parent.name == "images_2"
    assert frame.load_image().shape == (HEIGHT // 2, WIDTH // 2, 3)
    np.testing.assert_allclose(frame.camera.K.numpy()[:2], K[:2] / 2)
    downscaled = read_colmap(tmp_path, factor=4).frames[0]  # no images_4: the full images, downscaled on load
    assert downscaled.load_image().shape == (HEIGHT // 4, WIDTH // 4, 3)
    np.testing.assert_allclose(downscaled.camera.K.numpy()[:2], K[:2] / 4)


def test_missing_images_are_listed(tmp_path: Path):
    world = asymmetric_world()
    write_colmap_binary(tmp_path, world)
    (tmp_path / "images" / world.names[2]).unlink()
    capture = read_colmap(tmp_path)
    assert [frame.image_path for frame in capture.missing_frames] == [tmp_path / "images" / world.names[2]]


def test_names_cannot_lead_out_of_the_capture(tmp_path: Path):
    world = asymmetric_world()
    write_colmap_binary(tmp_path, world)
    outside = tmp_path.parent / "outside.png"
    world.names[0] = "../../outside.png"
    (tmp_path / "sparse/0/images.bin").write_bytes(colmap_binary_files(world)["images.bin"])
    frame = read_colmap(tmp_path).missing_frames[0]
    assert frame.name == "outside.png" and frame.image_path != outside


# ---------------------------------------------------------------------------------------------------------------- errors


def _message(read) -> str:
    with pytest.raises(DataFormatError) as caught:
        read()
    return str(caught.value)


def test_unknown_and_unsupported_models_are_named(tmp_path: Path):
    path = tmp_path / "cameras.bin"
    path.write_bytes(struct.pack("<Q", 1) + struct.pack("<IiQQ4d", 7, 99, 96, 64, 1, 1, 1, 1))
    assert "model 99" in _message(lambda: read_cameras(path))
    path.write_bytes(struct.pack("<Q", 1) + struct.pack("<IiQQ4d", 7, 17, 96, 64, 96, 48, 1, 1))
    assert "EQUIRECTANGULAR" in _message(lambda: read_cameras(path))
    text = tmp_path / "cameras.txt"
    text.write_text("1 WOBBLY 96 64 1 2 3\n")
    assert "WOBBLY" in _message(lambda: read_cameras(text))


@pytest.mark.parametrize(
    "line",
    [
        "1 PINHOLE 96 64 80 70 50",
        "1 PINHOLE 96 64 0 70 50 29",
        "1 PINHOLE 96 64 nan 70 50 29",
        "1 PINHOLE 0 64 80 70 50 29",
        "1 PINHOLE 96 99999999999 80 70 50 29",
        "1 PINHOLE x 64 80 70 50 29",
        "1",
    ],
)
def test_broken_cameras(line: str, tmp_path: Path):
    path = tmp_path / "cameras.txt"
    path.write_text(line + "\n")
    assert "cameras.txt: line 1" in _message(lambda: read_cameras(path))


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin", "points3D.bin"])
@pytest.mark.parametrize("count", [10**6, 2**63, 2**64 - 1])
def test_absurd_counts_are_refused_before_allocating(name: str, count: int, tmp_path: Path):
    path = tmp_path / name
    path.write_bytes(struct.pack("<Q", count) + colmap_binary_files(asymmetric_world())[name][8:])
    read = {"cameras.bin": read_cameras, "images.bin": read_images, "points3D.bin": read_points}[name]
    message = _message(lambda: read(path))
    assert name in message and f"{count:,}" in message


def test_absurd_counts_inside_records(tmp_path: Path):
    files = colmap_binary_files(asymmetric_world())
    images = tmp_path / "images.bin"
    images.write_bytes(files["images.bin"][: -8 - 3 * 24] + struct.pack("<Q", 2**62))
    assert "feature points" in _message(lambda: read_images(images))
    points = tmp_path / "points3D.bin"
    points.write_bytes(files["points3D.bin"][: 8 + 43] + struct.pack("<Q", 2**60) + files["points3D.bin"][8 + 51 :])
    assert "truncated" in _message(lambda: read_points(points))


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin", "points3D.bin"])
def test_every_truncation_is_noticed(name: str, tmp_path: Path):
    data = colmap_binary_files(asymmetric_world())[name]
    read = {"cameras.bin": read_cameras, "images.bin": read_images, "points3D.bin": read_points}[name]
    path = tmp_path / name
    for length in [*range(0, len(data), 7), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(DataFormatError, match=name):
            read(path)


def test_a_reference_to_a_camera_that_does_not_exist(tmp_path: Path):
    write_colmap_text(tmp_path, asymmetric_world())
    cameras = tmp_path / "sparse/0/cameras.txt"
    cameras.write_text(cameras.read_text().replace("\n7 ", "\n8 "))
    message = _message(lambda: read_colmap(tmp_path))
    assert "camera 7" in message and "view 0.png" in message


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_poses_that_are_not_finite(value: str, tmp_path: Path):
    world = asymmetric_world()
    world.world_from_camera[2][1, 3] = float(value)
    write_colmap_binary(tmp_path, asymmetric_world())
    write_pose = colmap_binary_files(asymmetric_world())["images.bin"]
    name = write_pose.index(b"view 2.png")
    broken = bytearray(write_pose)
    broken[name - 12 : name - 4] = struct.pack("<d", float(value))  # tz
    (tmp_path / "sparse/0/images.bin").write_bytes(broken)
    message = _message(lambda: read_colmap(tmp_path))
    assert "images.bin" in message and "view 2.png" in message


def test_zero_quaternion(tmp_path: Path):
    write_colmap_text(tmp_path, asymmetric_world())
    images = tmp_path / "sparse/0/images.txt"
    lines = images.read_text().splitlines()
    lines[3] = "2 0 0 0 0 1 2 3 7 view 1.png"
    images.write_text("\n".join(lines))
    assert "quaternion" in _message(lambda: read_colmap(tmp_path))


def test_images_of_another_shape_than_their_camera(tmp_path: Path):
    world = asymmetric_world()
    write_colmap_binary(tmp_path, world)
    Image.new("RGB", (WIDTH, WIDTH)).save(tmp_path / "images" / world.names[0])
    message = _message(lambda: read_colmap(tmp_path))
    assert "view 0.png" in message and f"{WIDTH}×{WIDTH}" in message


def test_one_image_of_another_size_is_named_when_decoded(tmp_path: Path):
    world = asymmetric_world()
    write_colmap_binary(tmp_path, world)
    Image.new("RGB", (WIDTH // 2, HEIGHT // 2)).save(tmp_path / "images" / world.names[2])
    frame = read_colmap(tmp_path).frames[2]
    assert "view 2.png" in _message(frame.load_image)


def test_the_same_image_listed_twice(tmp_path: Path):
    world = asymmetric_world()
    world.names[1] = world.names[0]
    assert "view 0.png again" in _message(lambda: read_colmap(write_colmap_binary(tmp_path, world)))


def test_points_that_are_not_finite(tmp_path: Path):
    path = tmp_path / "points3D.txt"
    path.write_text("1 0 1 2 3 4 5 0.1\n2 nan 1 2 3 4 5 0.1\n")
    with pytest.warns(CaptureWarning, match=r"left out 1 with NaN or infinity of 2 points, the first in row 1 "):
        found = read_points(path)
    assert found.points_in_world.tolist() == [[0, 1, 2]] and found.source_rows.tolist() == [0]
    path.write_text("1 0 1 2 3 4 5 0.1\n2 0 1e30 2 3 4 5 0.1\n3 5400000 500000 -300 7 8 9 0.1\n")
    with pytest.warns(CaptureWarning, match=r"left out 1 beyond 1e\+10 of 3 points, the first in row 1 "):
        found = read_points(path)
    assert found.points_in_world[:, 0].tolist() == [0, 5400000] and found.colors_u8.tolist() == [[3, 4, 5], [7, 8, 9]]
    path.write_text("1 0 1 2 3 4 256 0.1\n")
    assert "0 … 255" in _message(lambda: read_points(path))


def test_no_model_says_what_was_looked_for(tmp_path: Path):
    assert "cameras.bin" in _message(lambda: read_colmap(tmp_path))


# ------------------------------------------------------------------------------------------------------------- mutations


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin", "points3D.bin"])
def test_damaged_binary_files(name: str, tmp_path: Path):
    read = {"cameras.bin": read_cameras, "images.bin": read_images, "points3D.bin": read_points}[name]
    assert_reader_survives(read, colmap_binary_files(asymmetric_world())[name], tmp_path / name)


@pytest.mark.parametrize("name", ["cameras.txt", "images.txt", "points3D.txt"])
def test_damaged_text_files(name: str, tmp_path: Path):
    read = {"cameras.txt": read_cameras, "images.txt": read_images, "points3D.txt": read_points}[name]
    write_colmap_text(tmp_path / "good", asymmetric_world())
    assert_reader_survives(read, (tmp_path / "good/sparse/0" / name).read_bytes(), tmp_path / name)


def test_damaged_models_open_or_name_the_file(tmp_path: Path):
    """The whole reader, so that values which parse but make no sense (sizes, poses, names) are met by their own checks."""
    world = asymmetric_world()
    write_colmap_binary(tmp_path, world)
    path = tmp_path / "sparse/0/images.bin"
    assert_reader_survives(lambda _: read_colmap(tmp_path), path.read_bytes(), path, count=80)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(
    data=st.binary(max_size=200), name=st.sampled_from(["cameras.bin", "images.bin", "points3D.bin", "cameras.txt", "images.txt"])
)
def test_any_bytes(data: bytes, name: str, tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(data)
    read = {"c": read_cameras, "i": read_images, "p": read_points}[name[0]]
    try:
        read(path)
    except ScenewiseError as error:
        assert name in str(error)

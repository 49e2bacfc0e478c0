"""transforms.json of nerfstudio, instant-ngp and NeRF-synthetic."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.support.fabricated_folders import (
    HEIGHT,
    OPENGL_FROM_OPENCV,
    WIDTH,
    K,
    asymmetric_world,
    photograph,
    share_of_right_colors,
    transforms_of,
    write_images,
    write_transforms,
)
from tests.support.file_mutations import assert_reader_survives

from scenewise.errors import CaptureWarning, DataFormatError, ScenewiseError
from scenewise.io.ply.points import write_points_ply
from scenewise.io.transforms_json import read_transforms
from scenewise.scenes.point_clouds import PointCloud


def rewrite(root: Path, **changes: object) -> None:
    path = root / "transforms.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_colours_are_where_the_cameras_say(tmp_path: Path):
    world = asymmetric_world()
    capture = read_transforms(write_transforms(tmp_path, world))
    assert share_of_right_colors(capture, world) > 0.9
    assert share_of_right_colors(capture, world, flip_u=True) < 0.3
    np.testing.assert_array_equal(capture.frames[0].camera.K.numpy(), K)  # centres at half-integers: nothing added


@pytest.mark.parametrize(
    "turn", [np.eye(4), np.diag([1.0, -1, 1, 1]) @ np.diag([-1.0, 1, 1, 1]), np.diag([-1.0, -1, 1, 1]) @ OPENGL_FROM_OPENCV]
)
def test_the_check_fails_for_other_camera_axes(turn: np.ndarray, tmp_path: Path):
    world = asymmetric_world()
    write_images(tmp_path / "images", world)
    (tmp_path / "transforms.json").write_text(json.dumps(transforms_of(world, turn=turn)))
    assert share_of_right_colors(read_transforms(tmp_path), world) < 0.3


def test_a_mirrored_axis_is_refused(tmp_path: Path):
    world = asymmetric_world()
    write_images(tmp_path / "images", world)
    (tmp_path / "transforms.json").write_text(json.dumps(transforms_of(world, turn=np.diag([1.0, 1.0, -1.0, 1.0]))))
    with pytest.raises(DataFormatError, match="mirrored"):
        read_transforms(tmp_path)


def test_one_camera_by_hand(tmp_path: Path):
    """A camera at (1, 2, 3) with OpenGL's identity axes looks along −Z: (1, 2, 0) lies 3 ahead on the optical axis."""
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.png")
    pose = [[1, 0, 0, 1], [0, 1, 0, 2], [0, 0, 1, 3], [0, 0, 0, 1]]
    listing = {"fl_x": 10, "w": WIDTH, "h": HEIGHT, "frames": [{"file_path": "a.png", "transform_matrix": pose}]}
    (tmp_path / "transforms.json").write_text(json.dumps(listing))
    camera = read_transforms(tmp_path).frames[0].camera
    in_camera = camera.camera_from_world.numpy() @ [1.5, 2.25, 0.0, 1.0]
    np.testing.assert_allclose(in_camera, [0.5, -0.25, 3.0, 1.0])  # right stays right, up becomes −down
    np.testing.assert_allclose(camera.K.numpy(), [[10, 0, WIDTH / 2], [0, 10, HEIGHT / 2], [0, 0, 1]])


def write_blender(root: Path, world, *, split: str = "test") -> Path:
    """RGBA without .png in the listing, camera_angle_x and nothing else, as in NeRF-synthetic; the last view is held out."""
    angle = 2 * math.atan(WIDTH / 2 / K[0, 0])
    for part, views in (("train", range(len(world.names) - 1)), (split, range(len(world.names) - 1, len(world.names)))):
        frames = []
        (root / part).mkdir(parents=True, exist_ok=True)
        for index in views:
            image, _ = photograph(world, world.world_from_camera[index])
            alpha = np.where((image == 90).all(axis=-1), 0, 255).astype(np.uint8)
            Image.fromarray(np.dstack([image, alpha])).save(root / part / f"r_{index}.png")
            pose = (world.world_from_camera[index] @ OPENGL_FROM_OPENCV).tolist()
            frames.append({"file_path": f"./{part}/r_{index}", "rotation": 0.1, "transform_matrix": pose})
        (root / f"transforms_{part}.json").write_text(json.dumps({"camera_angle_x": angle, "frames": frames}))
    return root


def test_blender_layout(tmp_path: Path):
    world = asymmetric_world()
    write_blender(tmp_path, world)
    capture = read_transforms(tmp_path)
    assert [frame.name for frame in capture.frames] == ["test/r_3.png", "train/r_0.png", "train/r_1.png", "train/r_2.png"]
    assert capture.test_names == {"test/r_3.png"}
    assert capture.background == (1.0, 1.0, 1.0)
    np.testing.assert_allclose(capture.up_in_world, [0, 0, 1])
    np.testing.assert_allclose(capture.frames[0].camera.K.numpy(), [[80, 0, WIDTH / 2], [0, 80, HEIGHT / 2], [0, 0, 1]])
    assert (capture.frames[0].load_image() == 255).all(axis=-1).mean() > 0.5  # white behind
    black = read_transforms(tmp_path, background=(0.0, 0.0, 0.0))
    assert black.background == (0.0, 0.0, 0.0) and (black.frames[0].load_image() == 0).all(axis=-1).mean() > 0.5


def test_validation_frames_are_held_out_only_where_there_is_no_test_file(tmp_path: Path):
    write_blender(tmp_path, asymmetric_world(), split="val")
    assert read_transforms(tmp_path).test_names == {"val/r_3.png"}
    write_blender(tmp_path, asymmetric_world())
    capture = read_transforms(tmp_path)
    assert capture.test_names == {"test/r_3.png"} and not any("val" in frame.name for frame in capture.frames)


def test_frames_without_an_image_are_listed(tmp_path: Path):
    world = asymmetric_world()
    write_transforms(tmp_path, world)
    (tmp_path / "images" / world.names[1]).unlink()
    capture = read_transforms(tmp_path)
    assert [frame.name for frame in capture.missing_frames] == [f"images/{world.names[1]}"]
    assert len(capture.frames_with_image) == 3


def test_intrinsics_of_single_frames(tmp_path: Path):
    world = asymmetric_world()
    listing = transforms_of(world)
    listing["frames"][2] |= {"fl_x": 40.0, "fl_y": 35.0, "cx": 25.0, "cy": 14.5, "w": WIDTH // 2, "h": HEIGHT // 2}
    write_images(tmp_path / "images", world)
    path = tmp_path / "images" / world.names[2]
    Image.open(path).resize((WIDTH // 2, HEIGHT // 2), Image.Resampling.NEAREST).save(path)
    (tmp_path / "transforms.json").write_text(json.dumps(listing))
    capture = read_transforms(tmp_path)
    assert [frame.camera.width for frame in capture.frames] == [WIDTH, WIDTH, WIDTH // 2, WIDTH]
    assert share_of_right_colors(capture, world) > 0.9


@pytest.mark.parametrize(
    ("keys", "model"),
    [
        ({"k1": 0.1, "k2": 0.01, "p1": 0.001, "p2": 0.002}, "OPENCV"),
        ({"k1": 0.1, "k3": 0.02}, "FULL_OPENCV"),
        ({"camera_model": "OPENCV_FISHEYE", "k1": 0.1, "k2": 0.01, "k3": 0.003, "k4": 0.0004}, "OPENCV_FISHEYE"),
        ({"is_fisheye": True, "k1": 0.1}, "OPENCV_FISHEYE"),
        ({"camera_model": "SIMPLE_RADIAL", "k1": 0.1}, "OPENCV"),
        ({"camera_model": "FULL_OPENCV", "k1": 0.1, "k5": 0.2}, "FULL_OPENCV"),
    ],
)
def test_lens_models(keys: dict[str, object], model: str, tmp_path: Path):
    capture = read_transforms(write_transforms(tmp_path, asymmetric_world(), **keys))
    lens = capture.frames[0].load_image.lens_camera
    assert lens.model == model
    wanted = {"OPENCV": "k1 k2 p1 p2", "OPENCV_FISHEYE": "k1 k2 k3 k4", "FULL_OPENCV": "k1 k2 p1 p2 k3 k4 k5 k6"}[model].split()
    assert lens.extra == tuple(keys.get(key, 0.0) for key in wanted)


def test_depth_and_mask(tmp_path: Path):
    world = asymmetric_world()
    listing = transforms_of(world)
    for part in ("images", "depths", "masks"):
        (tmp_path / part).mkdir()
    for name, pose, frame in zip(world.names, world.world_from_camera, listing["frames"]):
        image, depth = photograph(world, pose)
        Image.fromarray(image).save(tmp_path / "images" / name)
        Image.fromarray(np.rint(depth * 1000).astype(np.uint16)).save(tmp_path / "depths" / name)
        Image.fromarray(((depth > 0) * 255).astype(np.uint8)).save(tmp_path / "masks" / name)
        frame |= {"depth_file_path": f"depths/{name}", "mask_path": f"masks/{name}"}
    (tmp_path / "transforms.json").write_text(json.dumps(listing))
    capture = read_transforms(tmp_path)
    assert capture.scale == "metric"
    depth, mask = capture.frames[1].load_depth(), capture.frames[1].load_mask()
    expected = photograph(world, world.world_from_camera[1])[1]
    np.testing.assert_allclose(depth, expected, atol=6e-4)
    np.testing.assert_array_equal(mask, expected > 0)


def test_splits_named_in_the_file(tmp_path: Path):
    world = asymmetric_world()
    names = [f"images/{name}" for name in world.names]
    write_transforms(tmp_path, world, train_filenames=names[:2], test_filenames=names[2:])
    assert read_transforms(tmp_path).test_names == set(names[2:])
    rewrite(tmp_path, test_filenames=None, val_filenames=None, train_filenames=names[1:])
    assert read_transforms(tmp_path).test_names == {names[0]}
    rewrite(tmp_path, train_filenames=None)
    assert read_transforms(tmp_path).test_names == {names[0]}  # every 8th
    rewrite(tmp_path, test_filenames=["images/other.png"])
    with pytest.raises(DataFormatError, match=r"images/other\.png"):
        read_transforms(tmp_path)


def test_points_are_in_the_frame_of_the_poses(tmp_path: Path):
    world = asymmetric_world()
    write_transforms(tmp_path, world, ply_file_path="points.ply", applied_transform=[[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]])
    write_points_ply(tmp_path / "points.ply", PointCloud(world.points, world.colors_u8))
    np.testing.assert_allclose(read_transforms(tmp_path).points.points_in_world, world.points, atol=1e-6)


def test_points_written_before_the_applied_transform(tmp_path: Path):
    world = asymmetric_world()
    write_transforms(tmp_path, world, ply_file_path="points.ply", applied_transform=[[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, -1, 0]])
    untransformed = world.points[:, [1, 0, 2]] * [1.0, 1.0, -1.0]
    write_points_ply(tmp_path / "points.ply", PointCloud(untransformed, world.colors_u8))
    with pytest.warns(CaptureWarning, match="applied_transform"):
        capture = read_transforms(tmp_path)
    np.testing.assert_allclose(capture.points.points_in_world, world.points, atol=1e-6)


def test_missing_points_are_no_reason_to_stop(tmp_path: Path):
    write_transforms(tmp_path, asymmetric_world(), ply_file_path="gone.ply")
    with pytest.warns(CaptureWarning, match=r"gone\.ply"):
        assert read_transforms(tmp_path).points is None


def test_factor_takes_the_resized_folder(tmp_path: Path):
    world = asymmetric_world()
    write_transforms(tmp_path, world)
    (tmp_path / "images_2").mkdir()
    for name in world.names:
        Image.open(tmp_path / "images" / name).resize((WIDTH // 2, HEIGHT // 2), Image.Resampling.BOX).save(
            tmp_path / "images_2" / name
        )
    frame = read_transforms(tmp_path, factor=2).frames[0]
    assert frame.image_path.parent.name == "images_2" and frame.name == "images/view 0.png"
    assert frame.load_image().shape == (HEIGHT // 2, WIDTH // 2, 3)
    np.testing.assert_allclose(frame.camera.K.numpy()[:2], K[:2] / 2)
    assert read_transforms(tmp_path, factor=4).frames[0].load_image().shape == (HEIGHT // 4, WIDTH // 4, 3)


# ---------------------------------------------------------------------------------------------------------------- errors

GOOD_FRAME = {"file_path": "images/a.png", "transform_matrix": np.eye(4).tolist()}


def test_a_matrix_may_be_one_list_of_its_rows(tmp_path: Path) -> None:
    pose = np.eye(4)
    pose[:3, 3] = [1.0, 2.0, 3.0]
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.png")
    listing = {"fl_x": 10, "w": WIDTH, "h": HEIGHT, "frames": [{"file_path": "a.png", "transform_matrix": pose.ravel().tolist()}]}
    (tmp_path / "transforms.json").write_text(json.dumps(listing))
    np.testing.assert_array_equal(read_transforms(tmp_path).frames[0].camera.world_from_camera.numpy()[:3, 3], [1.0, 2.0, 3.0])
    listing["frames"][0]["transform_matrix"] = pose.T.ravel().tolist()  # type: ignore[index]
    (tmp_path / "transforms.json").write_text(json.dumps(listing))
    with pytest.raises(DataFormatError, match="last row 0 0 0 1"):
        read_transforms(tmp_path)


def matrix_with(value: object) -> list[list[object]]:
    matrix = np.eye(4).tolist()
    matrix[1][2] = value
    return matrix


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": None}, "frames"),
        ({"frames": [1]}, r"frames\[0\]"),
        ({"frames": [{}]}, "file_path"),
        ({"frames": [GOOD_FRAME | {"file_path": 3}]}, "file_path"),
        ({"frames": [GOOD_FRAME | {"file_path": "a\u0000b"}]}, "file name"),
        ({"frames": [GOOD_FRAME, GOOD_FRAME]}, "again"),
        ({"frames": [GOOD_FRAME | {"transform_matrix": None}]}, "4×4"),
        ({"frames": [GOOD_FRAME | {"transform_matrix": [[1, 2], [3]]}]}, "4×4"),
        ({"frames": [GOOD_FRAME | {"transform_matrix": matrix_with(float("nan"))}]}, "finite"),
        ({"frames": [GOOD_FRAME | {"transform_matrix": matrix_with(float("inf"))}]}, "finite"),
        ({"frames": [GOOD_FRAME | {"transform_matrix": matrix_with(0.5)}]}, "orthonormal"),
        ({"frames": [GOOD_FRAME | {"transform_matrix": np.zeros((4, 4)).tolist()}]}, "last row"),
        ({"frames": [GOOD_FRAME | {"transform_matrix": (2 * np.eye(4)).tolist()}]}, "last row"),
        ({"fl_x": 0}, "focal"),
        ({"fl_x": None, "fl_y": None}, "fl_x or camera_angle_x"),
        ({"fl_x": None, "camera_angle_x": 4.0}, "between 0 and π"),
        ({"fl_x": "80"}, "a number"),
        ({"fl_x": float("nan")}, "finite"),
        ({"fl_x": 10**400}, "finite"),
        ({"w": 10**12}, "pixels"),
        ({"camera_model": "EQUIRECTANGULAR"}, "EQUIRECTANGULAR"),
        ({"k4": 0.1}, "FULL_OPENCV"),
        ({"train_filenames": [1]}, "list of file names"),
    ],
)
def test_broken_values_say_where(changes: dict[str, object], message: str, tmp_path: Path):
    write_transforms(tmp_path, asymmetric_world(), **changes)
    with pytest.raises(DataFormatError, match=message) as caught:
        read_transforms(tmp_path)
    assert "transforms.json" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[1, 2]", "nul", '{"frames": [' + "[" * 100_000, "\xff\xfe", '{"frames": 1' + "0" * 5000 + "}"]
)
def test_unreadable_json(text: str, tmp_path: Path):
    (tmp_path / "transforms.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataFormatError, match=r"transforms\.json"):
        read_transforms(tmp_path)


def test_a_broken_first_image_is_named(tmp_path: Path):
    world = asymmetric_world()
    write_transforms(tmp_path, world)
    (tmp_path / "images" / world.names[0]).write_bytes(b"\x89PNG\r\n")
    with pytest.raises(DataFormatError, match=r"view 0\.png"):
        read_transforms(tmp_path)


def test_training_and_test_files_must_differ(tmp_path: Path):
    write_blender(tmp_path, asymmetric_world())
    (tmp_path / "transforms_test.json").write_bytes((tmp_path / "transforms_train.json").read_bytes())
    with pytest.raises(DataFormatError, match=r"transforms_test\.json"):
        read_transforms(tmp_path)


@pytest.mark.filterwarnings("ignore::scenewise.errors.CaptureWarning")  # a damaged name of the points only warns
def test_damaged_listings(tmp_path: Path):
    world = asymmetric_world(views=3)
    write_transforms(tmp_path, world, k1=0.1, ply_file_path="points.ply")
    write_points_ply(tmp_path / "points.ply", PointCloud(world.points, world.colors_u8))
    path = tmp_path / "transforms.json"
    assert_reader_survives(lambda _: read_transforms(tmp_path), path.read_bytes(), path, count=150)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.filterwarnings("ignore::scenewise.errors.CaptureWarning")
@settings(deadline=None, max_examples=50, derandomize=True)
@given(
    key=st.sampled_from(
        ["w", "h", "fl_x", "cx", "k1", "k3", "p1", "camera_model", "frames", "ply_file_path", "applied_transform", "is_fisheye"]
    ),
    frame_key=st.sampled_from(["file_path", "transform_matrix", "depth_file_path", "mask_path", "w", "fl_x"]),
    value=JSON_VALUES,
    in_frame=st.booleans(),
)
def test_any_value_anywhere(key: str, frame_key: str, value: object, in_frame: bool, tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.getbasetemp() / "any"
    world = asymmetric_world(views=2)
    if not root.exists():
        write_images(root / "images", world)
    listing = transforms_of(world)
    if in_frame:
        listing["frames"][1][frame_key] = value
    else:
        listing[key] = value
    (root / "transforms.json").write_text(json.dumps(listing))
    try:
        capture = read_transforms(root)
    except ScenewiseError:
        return
    for frame in capture.frames:
        if frame.has_image:
            try:
                image = frame.load_image()
            except ScenewiseError:
                continue
            assert image.shape == (frame.camera.height, frame.camera.width, 3)

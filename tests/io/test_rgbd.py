"""RGB-D folders."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.support.fabricated_folders import HEIGHT, WIDTH, K, asymmetric_world, photograph, quat_of, share_of_right_colors
from tests.support.file_mutations import assert_reader_survives

from scenewise.errors import CaptureWarning, ConventionError, DataFormatError, ShapeError
from scenewise.io.resizing import downscaled_capture
from scenewise.io.rgbd.capture_json import read_class_names
from scenewise.io.rgbd.captures import find_rgbd_layout, read_rgbd
from scenewise.io.rgbd.ids import read_class_ids, read_instance_ids
from scenewise.io.rgbd.number_files import write_rgbd_intrinsics
from scenewise.io.rgbd.writing import RgbdFrame, write_rgbd_folder, write_rgbd_frame


def write_world(path: Path, world=None, **more: object) -> Path:
    world = world or asymmetric_world()
    frames = []
    for pose in world.world_from_camera:
        image, depth = photograph(world, pose)
        ids = np.where(depth > 0, 3, -1).astype(np.int64)
        frames.append(RgbdFrame(image, depth, pose, ids, np.where(depth > 0, 300, -1)))
    write_rgbd_folder(path, frames, K, WIDTH, HEIGHT, **more)
    return path


def test_colours_are_where_the_cameras_say(tmp_path: Path):
    world = asymmetric_world()
    capture = read_rgbd(write_world(tmp_path / "c", world))
    assert share_of_right_colors(capture, world) > 0.9
    assert share_of_right_colors(capture, world, flip_u=True) < 0.3
    np.testing.assert_allclose(capture.frames[0].camera.K.numpy(), K, atol=1e-12)
    assert capture.scale == "metric"
    assert [frame.name for frame in capture.frames] == [f"frame-{index:06d}.color.png" for index in range(4)]


@pytest.mark.parametrize("turn", [np.diag([1.0, -1, -1, 1]), np.diag([-1.0, -1, 1, 1])])
def test_the_check_fails_for_other_axes(turn: np.ndarray, tmp_path: Path):
    world, turned = asymmetric_world(), asymmetric_world()
    write_world(tmp_path / "c", world)
    for index, pose in enumerate(turned.world_from_camera):
        np.savetxt(tmp_path / f"c/frame-{index:06d}.pose.txt", pose @ turn)
    assert share_of_right_colors(read_rgbd(tmp_path / "c"), world) < 0.3


def test_the_check_fails_for_inverted_poses(tmp_path: Path):
    world = asymmetric_world()
    write_world(tmp_path / "c", world)
    for index, pose in enumerate(world.world_from_camera):
        np.savetxt(tmp_path / f"c/frame-{index:06d}.pose.txt", np.linalg.inv(pose))
    assert share_of_right_colors(read_rgbd(tmp_path / "c"), world) < 0.3


def test_the_file_puts_pixel_centres_at_integers(tmp_path: Path):
    write_world(tmp_path / "c")
    assert (tmp_path / "c/camera-intrinsics.txt").read_text().split()[:3] == ["80", "0", "49.5"]
    (tmp_path / "c/camera-intrinsics.txt").write_text("585 0 47\n0 586 31\n0 0 1\n")
    np.testing.assert_array_equal(
        read_rgbd(tmp_path / "c").frames[0].camera.K.numpy(), [[585, 0, 47.5], [0, 586, 31.5], [0, 0, 1]]
    )


def test_intrinsics_may_be_padded_to_four_rows(tmp_path: Path):
    write_world(tmp_path / "c")
    file = tmp_path / "c/camera-intrinsics.txt"
    file.write_text("585 0 47 0\n0 586 31 0\n0 0 1 0\n0 0 0 1\n")
    np.testing.assert_array_equal(
        read_rgbd(tmp_path / "c").frames[0].camera.K.numpy(), [[585, 0, 47.5], [0, 586, 31.5], [0, 0, 1]]
    )
    file.write_text("585 0 47 2\n0 586 31 0\n0 0 1 0\n0 0 0 1\n")
    with pytest.raises(DataFormatError, match="fourth row and column"):
        read_rgbd(tmp_path / "c")


def test_depth_and_ids_come_back(tmp_path: Path):
    world = asymmetric_world()
    capture = read_rgbd(write_world(tmp_path / "c", world, classes=["a", "b", "c", "d"], up_in_world=[0, -2, 0], licence="CC0"))
    for frame, pose in zip(capture.frames, world.world_from_camera):
        _, depth = photograph(world, pose)
        np.testing.assert_allclose(frame.load_depth(), depth, atol=5.1e-4)
        assert ((frame.load_depth() > 0) == (depth > 0)).all()
        np.testing.assert_array_equal(read_class_ids(frame), np.where(depth > 0, 3, -1))
        np.testing.assert_array_equal(read_instance_ids(frame), np.where(depth > 0, 300, -1))
    assert read_class_names(tmp_path / "c") == ["a", "b", "c", "d"]
    np.testing.assert_allclose(capture.up_in_world, [0, -1, 0])
    assert capture.licence == "CC0"
    small = downscaled_capture(capture, 2).frames[0]
    assert read_class_ids(small).shape == small.load_image().shape[:2] == (HEIGHT // 2, WIDTH // 2)


def test_missing_depth_is_zero(tmp_path: Path):
    depth = np.full((HEIGHT, WIDTH), 1.25, dtype=np.float32)
    depth[0, :7] = [np.nan, np.inf, -0.003, 0.0, 65.536, 1e30, 0.0004]
    image = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    write_rgbd_folder(tmp_path / "c", [RgbdFrame(image, depth, np.eye(4))], K, WIDTH, HEIGHT)
    frame = read_rgbd(tmp_path / "c").frames[0]
    assert frame.load_depth()[0, :7].max() == 0 and frame.load_depth()[1:].min() == np.float32(1.25)
    assert read_class_ids(frame) is None and read_instance_ids(frame) is None
    codes = np.asarray(Image.open(tmp_path / "c/frame-000000.depth.png")).copy()
    codes[2] = 65535  # the data set's own code for "nothing"
    Image.fromarray(codes).save(tmp_path / "c/frame-000000.depth.png")
    assert frame.load_depth()[2].max() == 0


def test_frames_without_image_depth_or_pose(tmp_path: Path):
    root = write_world(tmp_path / "c")
    (root / "frame-000000.depth.png").unlink()
    (root / "frame-000001.color.png").unlink()
    (root / "frame-000003.pose.txt").unlink()
    with pytest.warns(CaptureWarning, match="1 frames have no valid pose.*frame-000003"):
        capture = read_rgbd(root)
    assert [frame.has_image for frame in capture.frames] == [True, False, True]
    assert [frame.load_depth is None for frame in capture.frames] == [True, False, False]
    assert [frame.depth_path is None for frame in capture.frames] == [True, False, False]
    assert all(frame.depth_path == frame.load_depth.path for frame in capture.frames[1:])
    assert capture.missing_frames[0].image_path == root / "frame-000001.color.png"


@pytest.mark.parametrize("value", ["-inf", "nan", "inf"])
def test_poses_marked_invalid_are_left_out(value: str, tmp_path: Path):
    root = write_world(tmp_path / "c")
    (root / "frame-000002.pose.txt").write_text("\n".join([" ".join([value] * 4)] * 4))
    with pytest.warns(CaptureWarning, match="frame-000002"):
        assert len(read_rgbd(root).frames) == 3


def test_held_out_frames_named_by_the_capture(tmp_path: Path):
    names = ["frame-000001.color.png", "frame-000003.color.png"]
    assert read_rgbd(write_world(tmp_path / "a", test_names=names)).test_names == set(names)
    assert read_rgbd(write_world(tmp_path / "b")).test_names == {"frame-000000.color.png"}
    with pytest.raises(DataFormatError, match="other"):
        read_rgbd(write_world(tmp_path / "c", test_names=["other"]))


def test_background(tmp_path: Path):
    assert read_rgbd(write_world(tmp_path / "a", background=[0.2, 0.3, 0.4])).background == (0.2, 0.3, 0.4)
    assert read_rgbd(write_world(tmp_path / "b")).background is None


# ------------------------------------------------------------------------------------------------------------------- TUM


def write_tum(root: Path, world, *, quat_order: str = "xyzw") -> Path:
    (root / "rgb").mkdir(parents=True)
    (root / "depth").mkdir()
    lines: dict[str, list[str]] = {"rgb.txt": ["# color images"], "depth.txt": ["# depth"], "groundtruth.txt": ["# truth"]}
    for index, pose in enumerate(world.world_from_camera):
        time = 100.0 + index / 30
        image, depth = photograph(world, pose)
        Image.fromarray(image).save(root / f"rgb/{time:.6f}.png")
        Image.fromarray(np.rint(depth * 5000).astype(np.uint16)).save(root / f"depth/{time + 0.004:.6f}.png")
        lines["rgb.txt"].append(f"{time:.6f} rgb/{time:.6f}.png")
        lines["depth.txt"].append(f"{time + 0.004:.6f} depth/{time + 0.004:.6f}.png")
        quat = quat_of(pose[:3, :3])
        quat = np.roll(quat, -1) if quat_order == "xyzw" else quat
        values = " ".join(map(repr, map(float, [*pose[:3, 3], *quat])))
        lines["groundtruth.txt"].append(f"{time - 0.003:.6f} {values}")
        lines["groundtruth.txt"].append(f"{time + 0.013:.6f} 9 9 9 0 0 0 1")
    for name, content in lines.items():
        (root / name).write_text("\n".join(content) + "\n")
    write_rgbd_intrinsics(root, K, WIDTH, HEIGHT)
    return root


def test_tum_layout(tmp_path: Path):
    world = asymmetric_world()
    capture = read_rgbd(write_tum(tmp_path, world))
    assert find_rgbd_layout(tmp_path) == "tum"
    assert share_of_right_colors(capture, world) > 0.9
    np.testing.assert_allclose(capture.frames[2].load_depth(), photograph(world, world.world_from_camera[2])[1], atol=2e-4)


def test_tum_quaternions_are_xyzw(tmp_path: Path):
    world = asymmetric_world()
    assert share_of_right_colors(read_rgbd(write_tum(tmp_path, world, quat_order="wxyz")), world) < 0.3


def test_tum_frames_far_in_time_from_any_pose_are_left_out(tmp_path: Path):
    write_tum(tmp_path, asymmetric_world())
    with (tmp_path / "rgb.txt").open("a") as file:
        file.write("200.0 rgb/later image.png\n")
    with pytest.warns(CaptureWarning, match="later image"):
        assert len(read_rgbd(tmp_path).frames) == 4


def test_tum_without_intrinsics_takes_the_benchmarks(tmp_path: Path):
    write_tum(tmp_path, asymmetric_world())
    (tmp_path / "camera-intrinsics.txt").unlink()
    with pytest.warns(CaptureWarning, match="default calibration"):
        K_read = read_rgbd(tmp_path).frames[0].camera.K.numpy()
    np.testing.assert_array_equal(K_read, [[525, 0, 320], [0, 525, 240], [0, 0, 1]])


# ---------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("camera-intrinsics.txt", "0 0 0 0 0 0 0 0 0", "invertible"),
        ("camera-intrinsics.txt", "80 0 50 0 nan 30 0 0 1", "invertible"),
        ("camera-intrinsics.txt", "80 0 50 0 -70 30 0 0 1", "above 0"),
        ("camera-intrinsics.txt", "80 5 50 0 70 30 0 0 1", "skew"),
        ("camera-intrinsics.txt", "80 0 50 0 70 30", "3×3 numbers"),
        ("camera-intrinsics.txt", "80 0 50 0 70 30 0 0 one", "3×3 numbers"),
        ("frame-000001.pose.txt", "1 0 0 0 0 1 0 0 0 0 1 nan 0 0 0 1", "part of the pose"),
        ("frame-000001.pose.txt", "1 0 0 0 0 1 0 0 0 0 1 0 0 0 1 1", "last row"),
        ("frame-000001.pose.txt", "1 0 0 0 0 1 0 0 0 0 -1 0 0 0 0 1", "mirrored"),
        ("frame-000001.pose.txt", "2 0 0 0 0 2 0 0 0 0 2 0 0 0 0 1", "orthonormal"),
        ("frame-000001.pose.txt", "1 0 0", "4×4 numbers"),
        ("frame-000001.pose.txt", "\xff", "4×4 numbers|UTF-8"),
        ("capture.json", "{", "JSON"),
        ("capture.json", "[]", "object"),
        ("capture.json", '{"up_in_world": [0, 0, 0]}', "direction"),
        ("capture.json", '{"up_in_world": [0, 1e999, 0]}', "finite"),
        ("capture.json", '{"background": 3}', "background"),
        ("capture.json", '{"classes": [3]}', "classes"),
        ("capture.json", '{"scale": "arbitrary"}', "scale"),
        ("capture.json", '{"licence": 3}', "licence"),
        ("capture.json", '{"depth_codes_per_metre": 0}', "above 0"),
    ],
)
def test_broken_files_are_named(name: str, text: str, message: str, tmp_path: Path):
    root = write_world(tmp_path / "c")
    (root / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(DataFormatError, match=message) as caught:
        read_rgbd(root)
    assert name.split(".")[0] in str(caught.value)


def test_no_intrinsics_and_no_layout(tmp_path: Path):
    root = write_world(tmp_path / "c")
    (root / "camera-intrinsics.txt").unlink()
    with pytest.raises(DataFormatError, match=r"camera-intrinsics\.txt"):
        read_rgbd(root)
    with pytest.raises(DataFormatError, match=r"pose\.txt"):
        read_rgbd(tmp_path)


@pytest.mark.parametrize(
    "line", ["x 1 2 3 0 0 0 1", "100.0 1 2 3", "99.997 1 2 nan 0 0 0 1", "99.997 1 2 3 0 0 0 0", "99.997 a b c 0 0 0 1"]
)
def test_broken_tum_poses(line: str, tmp_path: Path):
    write_tum(tmp_path, asymmetric_world())
    (tmp_path / "groundtruth.txt").write_text(line + "\n")
    with pytest.raises(DataFormatError, match=r"groundtruth\.txt"):
        read_rgbd(tmp_path)


def test_what_cannot_be_written(tmp_path: Path):
    image, depth = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8), np.zeros((HEIGHT, WIDTH), dtype=np.float32)
    ids = np.zeros((HEIGHT, WIDTH), dtype=np.int64)
    with pytest.raises(ConventionError, match="class_ids"):
        write_rgbd_frame(tmp_path, 0, image, depth, np.eye(4), ids + 65535)
    with pytest.raises(ConventionError, match="instance_ids"):
        write_rgbd_frame(tmp_path, 0, image, depth, np.eye(4), ids, ids - 2)
    with pytest.raises(ConventionError, match="finite"):
        write_rgbd_frame(tmp_path, 0, image, depth, np.full((4, 4), np.nan))
    with pytest.raises(ConventionError, match="principal point"):
        write_rgbd_intrinsics(tmp_path, K, HEIGHT // 2, WIDTH)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.errors
def test_maps_of_another_size_are_refused(tmp_path: Path):
    image, depth = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8), np.zeros((HEIGHT, WIDTH), dtype=np.float32)
    with pytest.raises(ShapeError, match="depth"):
        write_rgbd_frame(tmp_path, 0, image, depth[:5], np.eye(4))
    with pytest.raises(ShapeError, match="frame 0"):
        write_rgbd_folder(tmp_path / "c", [RgbdFrame(image[:5], depth[:5], np.eye(4))], K, WIDTH, HEIGHT)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_fails_half_way_does_not_appear(tmp_path: Path):
    def frames():
        yield RgbdFrame(np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8), np.zeros((HEIGHT, WIDTH), dtype=np.float32), np.eye(4))
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write_rgbd_folder(tmp_path / "c", frames(), K, WIDTH, HEIGHT)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::scenewise.errors.CaptureWarning")
@pytest.mark.parametrize("name", ["frame-000001.pose.txt", "camera-intrinsics.txt", "capture.json"])
def test_damaged_files(name: str, tmp_path: Path):
    root = write_world(tmp_path / "c", classes=["a"], up_in_world=[0, 0, 1], test_names=["frame-000000.color.png"])
    path = root / name
    if name == "capture.json":
        path.write_text(json.dumps(json.loads(path.read_text())))
    assert_reader_survives(lambda _: read_rgbd(root), path.read_bytes(), path, count=70)


@pytest.mark.filterwarnings("ignore::scenewise.errors.CaptureWarning")
@pytest.mark.parametrize("name", ["groundtruth.txt", "rgb.txt", "depth.txt"])
def test_damaged_tum_files(name: str, tmp_path: Path):
    path = write_tum(tmp_path, asymmetric_world()) / name
    assert_reader_survives(lambda _: read_rgbd(tmp_path), path.read_bytes(), path, count=100)


# ------------------------------------------------------------------------------------------------- cameras of their own


K_DEPTH = np.array([[60.0, 0.0, 31.0], [0.0, 66.0, 26.0], [0.0, 0.0, 1.0]])


def apart() -> np.ndarray:
    """color_from_depth: turned about a slanted axis, shifted by another length along each."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]) @ [[1, 0, 0], [0, 0.96, -0.28], [0, 0.28, 0.96]]
    matrix[:3, 3] = [0.3, -0.1, 0.05]
    return matrix


def write_two_cameras(root: Path, *, poses_of: str | None = "color") -> tuple[Path, np.ndarray]:
    """The asymmetric world with depth from a camera beside; returns the folder and world_from_color of frame 1."""
    world = asymmetric_world()
    write_world(root, world, **({} if poses_of is None else {"pose_camera": poses_of}))
    (root / "camera-intrinsics.txt").unlink()
    write_rgbd_intrinsics(root, K, WIDTH, HEIGHT, name="color-intrinsics.txt")
    write_rgbd_intrinsics(root, K_DEPTH, 64, 52, name="depth-intrinsics.txt")
    np.savetxt(root / "depth_from_color.txt", np.linalg.inv(apart()), fmt="%.17g")
    depth = np.zeros((52, 64), dtype=np.uint16)
    depth[21, 40] = 2500
    Image.fromarray(depth).save(root / "frame-000001.depth.png")
    return root, world.world_from_camera[1]


def seen_by_hand() -> tuple[int, int, float]:
    """Row, column and depth of that one measurement in the photograph."""
    x, y, z = apart()[:3, :3] @ [2.5 * 9.5 / 60, 2.5 * -4.5 / 66, 2.5] + apart()[:3, 3]
    return int(70 * y / z + 29), int(80 * x / z + 50), z


def test_depth_of_its_own_camera_lies_on_the_photograph(tmp_path: Path):
    root, pose = write_two_cameras(tmp_path / "c")
    frame = read_rgbd(root).frames[1]
    depth = frame.load_depth()
    row, column, z = seen_by_hand()
    assert depth.shape == (HEIGHT, WIDTH) and (depth > 0).sum() <= 6
    np.testing.assert_allclose(depth[row, column], z, rtol=1e-6)
    np.testing.assert_allclose(frame.camera.K.numpy(), K, atol=1e-12)
    np.testing.assert_allclose(frame.camera.world_from_camera.numpy(), pose, atol=1e-12)


def test_poses_of_the_depth_camera_are_moved_to_the_colour_camera(tmp_path: Path):
    root, pose = write_two_cameras(tmp_path / "c", poses_of="depth")
    frame = read_rgbd(root).frames[1]
    np.testing.assert_allclose(frame.camera.world_from_camera.numpy(), pose @ np.linalg.inv(apart()), atol=1e-12)
    row, column, z = seen_by_hand()
    np.testing.assert_allclose(frame.load_depth()[row, column], z, rtol=1e-6)


def test_whose_the_poses_are_must_be_said(tmp_path: Path):
    root, _ = write_two_cameras(tmp_path / "c", poses_of=None)
    with pytest.raises(DataFormatError, match=r"pose_camera.*7-Scenes"):
        read_rgbd(root)
    np.savetxt(root / "depth_from_color.txt", np.eye(4))
    assert len(read_rgbd(root).frames) == 4  # the same centre and axes: it does not matter


def test_intrinsics_of_one_camera_stand_in_for_the_other(tmp_path: Path):
    root = write_world(tmp_path / "c")
    write_rgbd_intrinsics(root, K_DEPTH + np.array([[0, 0, 9], [0, 0, 4], [0, 0, 0]]), WIDTH, HEIGHT, name="color-intrinsics.txt")
    frame = read_rgbd(root).frames[2]
    np.testing.assert_allclose(frame.camera.K.numpy()[:2, 2], [40, 30], atol=1e-12)
    loader = frame.load_depth
    np.testing.assert_allclose(loader.depth_camera.K, K, atol=1e-12)
    np.testing.assert_array_equal(loader.depth_camera.color_from_depth, np.eye(4))


def test_colour_distortion_is_undone_and_the_maps_follow(tmp_path: Path):
    root = write_world(tmp_path / "c", color_distortion=[-0.2, 0.05])
    frame = read_rgbd(root).frames[0]
    assert frame.load_image.lens_camera.params[4:] == (-0.2, 0.05, 0.0, 0.0)
    size = (frame.camera.height, frame.camera.width)
    assert size != (HEIGHT, WIDTH)
    assert frame.load_image().shape[:2] == frame.load_depth().shape == read_class_ids(frame).shape == size
    np.testing.assert_array_equal(read_class_ids(frame) == 3, frame.load_depth() > 0)
    small = downscaled_capture(read_rgbd(root), 2).frames[0]
    assert read_class_ids(small).shape == small.load_image().shape[:2]


def test_tum_depth_may_have_a_camera_of_its_own(tmp_path: Path):
    world = asymmetric_world()
    write_tum(tmp_path, world)
    np.savetxt(tmp_path / "depth_from_color.txt", np.linalg.inv(apart()), fmt="%.17g")
    frame = read_rgbd(tmp_path).frames[2]
    np.testing.assert_allclose(frame.camera.world_from_camera.numpy(), world.world_from_camera[2], atol=1e-9)
    assert frame.load_depth.depth_camera.color_from_depth[0, 3] == pytest.approx(0.3)
    assert frame.load_depth.units_per_code == 1 / 5000


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("depth_from_color.txt", "1 0 0 0 0 1 0 0 0 0 1 0", "4×4"),
        ("depth_from_color.txt", "2 0 0 0 0 2 0 0 0 0 2 0 0 0 0 1", "rigid"),
        ("depth_from_color.txt", "1 0 0 0 0 1 0 0 0 0 -1 0 0 0 0 1", "rigid"),
        ("depth_from_color.txt", "1 0 0 nan 0 1 0 0 0 0 1 0 0 0 0 1", "rigid"),
        ("depth-intrinsics.txt", "60 0 310 0 66 26 0 0 1", "principal point within the depth maps of 64×52"),
        ("color-intrinsics.txt", "60 3 31 0 66 26 0 0 1", "skew"),
        ("capture.json", '{"pose_camera": "left"}', "pose_camera"),
        ("capture.json", '{"color_distortion": [1, 2, 3]}', "color_distortion"),
        ("capture.json", '{"color_distortion": [true]}', "color_distortion"),
    ],
)
def test_broken_calibrations_are_named(name: str, text: str, message: str, tmp_path: Path):
    root, _ = write_two_cameras(tmp_path / "c")
    (root / "frame-000000.depth.png").unlink()
    (root / name).write_text(text)
    with pytest.raises(DataFormatError, match=message) as caught:
        read_rgbd(root)
    assert name in str(caught.value)

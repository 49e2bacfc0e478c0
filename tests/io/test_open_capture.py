"""Opening whatever is in a folder; presets; georeference; missing images."""

import csv
import math
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.support.fabricated_folders import (
    HEIGHT,
    WIDTH,
    asymmetric_world,
    write_colmap_binary,
    write_colmap_text,
    write_images,
    write_transforms,
)
from tests.support.file_mutations import assert_reader_survives

from scenewise.errors import CaptureWarning, ConventionError, DataFormatError
from scenewise.io.captures import estimated_up, open_capture, usable_frames
from scenewise.io.datasets import DATASET_PRESETS, limited_to_width
from scenewise.io.decode_cache import DecodeCache
from scenewise.io.georeference import fit_georeference, read_gps_csv, read_gps_exif, utm_epsg
from scenewise.io.resizing import downscaled
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame


def make_folder(kind: str, root: Path) -> Path:
    world = asymmetric_world()
    if kind == "rgbd":
        from test_rgbd import write_world

        return write_world(root, world)
    if kind == "blender":
        from test_transforms_json import write_blender

        return write_blender(root, world)
    return {"colmap text": write_colmap_text, "colmap": write_colmap_binary, "transforms": write_transforms}[kind](root, world)


@pytest.mark.parametrize(
    ("kind", "source_format"),
    [("colmap", "colmap"), ("colmap text", "colmap"), ("transforms", "transforms"), ("blender", "transforms"), ("rgbd", "rgbd")],
)
def test_every_layout_is_recognised(kind: str, source_format: str, tmp_path: Path):
    capture = open_capture(make_folder(kind, tmp_path / "a capture ü"))
    assert capture.source_format == source_format and len(capture.frames) == 4
    assert capture.up_in_world is not None and np.linalg.norm(capture.up_in_world) == pytest.approx(1.0)
    half = open_capture(tmp_path / "a capture ü", factor=2).frames[0]
    assert half.load_image().shape == (HEIGHT // 2, WIDTH // 2, 3)


def test_the_json_itself_can_be_named(tmp_path: Path):
    assert len(open_capture(str(make_folder("transforms", tmp_path) / "transforms.json")).frames) == 4


def test_nerfstudios_own_colmap_run_does_not_hide_its_listing(tmp_path: Path):
    world = asymmetric_world()
    write_transforms(tmp_path, world)
    write_colmap_binary(tmp_path / "colmap", world)
    assert open_capture(tmp_path).source_format == "transforms"
    write_colmap_binary(tmp_path / "other", world)
    (tmp_path / "other/sparse").rename(tmp_path / "sparse")
    assert open_capture(tmp_path).source_format == "colmap"


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda root: None, "none of them"),
        (lambda root: write_images(root, asymmetric_world()), "4 images without camera poses.*COLMAP"),
        (lambda root: write_images(root / "images", asymmetric_world()), "4 images without camera poses"),
        (lambda root: root.rmdir(), "no such folder"),
    ],
)
def test_nothing_to_open_says_what_was_looked_for(prepare, message: str, tmp_path: Path):
    root = tmp_path / "c"
    root.mkdir()
    prepare(root)
    with pytest.raises(DataFormatError, match=message) as caught:
        open_capture(root)
    assert "Fix:" in str(caught.value)


@pytest.mark.parametrize("kind", ["colmap", "transforms", "rgbd"])
@pytest.mark.parametrize("left", [0, 1])
def test_zero_images_and_one_image(kind: str, left: int, tmp_path: Path):
    root = make_folder(kind, tmp_path / "c")
    pictures = sorted(path for path in root.rglob("*.png") if ".depth." not in path.name and "stance" not in path.name)
    for path in [path for path in pictures if ".class." not in path.name][left:]:
        path.unlink()
    with pytest.raises(DataFormatError, match=f"at least 2 images, got {left} of 4 listed"):
        open_capture(root)


def test_an_empty_list_of_frames(tmp_path: Path):
    (tmp_path / "transforms.json").write_text('{"frames": []}')
    with pytest.raises(DataFormatError, match="empty list"):
        open_capture(tmp_path)


@pytest.mark.parametrize(("options", "message"), [({"preset": "unknown"}, "mipnerf360"), ({"factor": 0}, "factor")])
def test_options_that_make_no_sense(options: dict[str, object], message: str, tmp_path: Path):
    with pytest.raises(DataFormatError, match=message):
        open_capture(make_folder("transforms", tmp_path), **options)


# -------------------------------------------------------------------------------------------------------- missing images


def capture_with(missing: int, listed: int, tmp_path: Path) -> Capture:
    world = asymmetric_world(views=2)
    frame = open_capture(write_transforms(tmp_path / "c", world)).frames[0]
    frames = tuple(
        Frame(
            f"{index:03d}", frame.camera, None if index < missing else frame.load_image, image_path=tmp_path / f"{index:03d}.jpg"
        )
        for index in range(listed)
    )
    return Capture(tmp_path, "transforms", frames)


@pytest.mark.parametrize(
    ("missing", "listed", "accepted"),
    [(17, 67, True), (60, 80, True), (1, 8, True), (2, 10, True), (3, 10, False), (61, 80, False), (9, 10, False)],
)
def test_missing_images_are_tolerated_while_enough_remain(missing: int, listed: int, accepted: bool, tmp_path: Path):
    capture = capture_with(missing, listed, tmp_path)
    if accepted:
        with pytest.warns(CaptureWarning, match=rf"{missing} of {listed} listed images are missing.*000\.jpg"):
            assert len(usable_frames(capture)) == listed - missing
    else:
        with pytest.raises(DataFormatError, match=rf"{listed - missing} of {listed}; missing .*000\.jpg"):
            usable_frames(capture)
    with pytest.raises(DataFormatError, match="every listed image"):
        usable_frames(capture, strict=True)


def test_nothing_missing_is_no_news(tmp_path: Path):
    assert len(usable_frames(capture_with(0, 3, tmp_path), strict=True)) == 3


# --------------------------------------------------------------------------------------------------------------------- up


def up_of(looks: list[list[float]], ups: list[list[float]]) -> np.ndarray:
    frames = []
    for index, (look, up) in enumerate(zip(looks, ups)):
        forward, down = np.array(look, dtype=float), -np.array(up, dtype=float)
        pose = np.eye(4)
        pose[:3, :3] = np.stack([np.cross(down, forward), down, forward])
        from scenewise.scenes.cameras import Cameras

        frames.append(Frame(str(index), Cameras(torch.from_numpy(pose), torch.eye(3, dtype=torch.float64), 8, 8), None))
    return estimated_up(Capture(Path("x"), "transforms", tuple(frames)))


def test_up_is_the_mean_of_the_cameras_own():
    np.testing.assert_allclose(up_of([[1, 0, 0], [0, 1, 0], [-1, 0, 0]], [[0, 0, 1]] * 3), [0, 0, 1])
    tilted = up_of([[1, 0, 0], [-1, 0, 0]], [[0, 0, 1], [0, 0.6, 0.8]])
    np.testing.assert_allclose(tilted, np.array([0, 0.3, 0.9]) / math.hypot(0.3, 0.9))


def test_up_of_a_flight_to_and_fro_is_where_the_cameras_look_away_from():
    np.testing.assert_allclose(up_of([[0, 0, -1]] * 4, [[0, 1, 0], [0, -1, 0]] * 2), [0, 0, 1])


# ----------------------------------------------------------------------------------------------------------- georeference

pyproj_needed = pytest.mark.skipif(find_spec("pyproj") is None, reason="pyproj is not installed")


def gps_of(centres: np.ndarray, scale: float, rotation: np.ndarray, offset: np.ndarray, epsg: int) -> np.ndarray:
    """Latitude, longitude, altitude of world points by the inverse projection."""
    import pyproj

    projected = offset + scale * centres @ rotation.T
    to_degrees = pyproj.Transformer.from_crs(f"EPSG:{epsg}", "EPSG:4326", always_xy=True)
    longitude, latitude = to_degrees.transform(projected[:, 0], projected[:, 1])
    return np.stack([latitude, longitude, projected[:, 2]], axis=-1)


ROTATION = np.array([[0.0, -1.0, 0.0], [0.6, 0.0, -0.8], [0.8, 0.0, 0.6]])
OFFSET = np.array([576705.25, 5188170.5, 198.75])


@pyproj_needed
@pytest.mark.parametrize("bad", [0, 1, 4])
def test_the_similarity_is_found_in_spite_of_bad_positions(bad: int):
    centres = np.random.default_rng(1).uniform(-5, 5, (12, 3))
    geodetic = gps_of(centres, 8.67, ROTATION, OFFSET, 32615)
    geodetic[:bad, 0] += np.array([0.01, -0.02, 0.3, 1.0])[:bad]
    found = fit_georeference(centres, geodetic)
    assert found.epsg == 32615 and found.scale == pytest.approx(8.67, rel=1e-6)
    np.testing.assert_allclose(found.rotation, ROTATION, atol=1e-6)
    np.testing.assert_allclose(found.projected_from_world(centres), OFFSET + 8.67 * centres @ ROTATION.T, atol=1e-3)
    assert found.rms_error < 1e-3


@pyproj_needed
def test_positions_that_fit_nothing():
    generator = np.random.default_rng(1)
    geodetic = np.array([46.8, -92.0, 200.0]) + generator.normal(size=(12, 3)) * [1e-3, 1e-3, 5.0]
    with pytest.raises(ConventionError, match="camera path"):
        fit_georeference(generator.uniform(-5, 5, (12, 3)), geodetic)
    line = np.linspace(0, 1, 6)[:, None] * np.array([[1.0, 2.0, 3.0]])
    with pytest.raises(ConventionError, match="line"):
        fit_georeference(line, gps_of(line, 8.67, ROTATION, OFFSET, 32615))
    with pytest.raises(ConventionError, match="at least 3"):
        fit_georeference(line[:2], geodetic[:2])


@pytest.mark.parametrize(
    ("latitude", "longitude", "epsg"),
    [
        (46.8, -92.0, 32615),
        (-33.9, 151.2, 32756),
        (0.0, -180.0, 32601),
        (10.0, 179.9, 32660),
        (10.0, 180.0, 32601),
        (88.0, 5.0, 32661),
        (-85.0, 5.0, 32761),
    ],
)
def test_utm_zones(latitude: float, longitude: float, epsg: int):
    assert utm_epsg(latitude, longitude) == epsg


def write_gps(path: Path, names: list[str], geodetic: np.ndarray) -> None:
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "latitude_deg", "longitude_deg", "altitude_m"])
        rows.writerows([name, *map(repr, map(float, position))] for name, position in zip(names, geodetic))


@pyproj_needed
def test_gps_csv_beside_a_model(tmp_path: Path):
    world = asymmetric_world()
    write_colmap_binary(tmp_path, world)
    centres = np.array([pose[:3, 3] for pose in world.world_from_camera])
    write_gps(tmp_path / "gps.csv", world.names, gps_of(centres, 8.67, ROTATION, OFFSET, 32615))
    capture = open_capture(tmp_path)
    assert capture.georeference is not None and capture.georeference.epsg == 32615
    np.testing.assert_allclose(
        capture.georeference.projected_from_world(centres), OFFSET + 8.67 * centres @ ROTATION.T, atol=1e-3
    )
    np.testing.assert_allclose(capture.up_in_world, ROTATION[2], atol=1e-6)  # up is known then


@pyproj_needed
def test_unusable_gps_only_warns(tmp_path: Path):
    world = asymmetric_world()
    write_colmap_binary(tmp_path, world)
    write_gps(tmp_path / "gps.csv", world.names[:2], np.array([[46.8, -92.0, 200.0], [46.9, -92.0, 200.0]]))
    with pytest.warns(CaptureWarning, match="at least 3"):
        assert open_capture(tmp_path).georeference is None


def test_without_pyproj_it_only_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    world = asymmetric_world()
    write_colmap_binary(tmp_path, world)
    write_gps(tmp_path / "gps.csv", world.names, np.tile([46.8, -92.0, 200.0], (4, 1)))
    monkeypatch.setitem(sys.modules, "pyproj", None)
    with pytest.warns(CaptureWarning, match=r"scenewise\[io\]"):
        assert open_capture(tmp_path).georeference is None


def test_gps_in_exif(tmp_path: Path):
    exif = Image.Exif()
    exif.get_ifd(0x8825).update({1: "S", 2: (33.0, 51.0, 36.0), 3: "W", 4: (70.0, 30.0, 0.0), 5: b"\x00", 6: 520.5})
    path = tmp_path / "x.jpg"
    Image.new("RGB", (8, 8)).save(path, exif=exif)
    assert read_gps_exif(path) == pytest.approx((-33.86, -70.5, 520.5))
    Image.new("RGB", (8, 8)).save(path)
    assert read_gps_exif(path) is None
    path.write_bytes(b"no image")
    assert read_gps_exif(path) is None


GPS_HEADER = "image,latitude_deg,longitude_deg,altitude_m\n"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "image,latitude_deg\n",
        GPS_HEADER + "a,x,2,3\n",
        GPS_HEADER + "a,91,2,3\n",
        GPS_HEADER + "a,nan,2,3\n",
        GPS_HEADER + "a,1\n",
    ],
)
def test_broken_gps_tables(text: str, tmp_path: Path):
    path = tmp_path / "gps.csv"
    path.write_text(text)
    with pytest.raises(DataFormatError, match=r"gps\.csv"):
        read_gps_csv(path)


def test_damaged_gps_tables(tmp_path: Path):
    path = tmp_path / "gps.csv"
    write_gps(path, ["a b.jpg", "ü.jpg"], np.array([[46.8, -92.0, 200.0], [46.9, -92.0, 200.0]]))
    assert_reader_survives(read_gps_csv, path.read_bytes(), path)


# ---------------------------------------------------------------------------------------------------------------- presets


def colmap_scene(root: Path, views: int, folders: dict[str, int]) -> Path:
    world = asymmetric_world(views=views)
    world.names[:] = [f"DSC{index:05d}.JPG" for index in range(views)]
    write_colmap_binary(root, world)
    for folder, factor in folders.items():
        (root / folder).mkdir(exist_ok=True)
        for name in world.names:
            Image.open(root / "images" / name).resize((WIDTH // factor, HEIGHT // factor)).save(root / folder / name)
    return root


@pytest.mark.parametrize(("scene", "factor"), [("garden", 4), ("kitchen", 2), ("Bicycle", 4), ("some_yard", 4)])
def test_mipnerf360(scene: str, factor: int, tmp_path: Path):
    root = colmap_scene(tmp_path / scene, 9, {"images_2": 2, "images_4": 4})
    capture = open_capture(root, preset="mipnerf360")
    assert capture.preset == "mipnerf360" and capture.test_names == {"DSC00000.JPG", "DSC00008.JPG"}
    assert capture.frames[0].load_image().shape == (HEIGHT // factor, WIDTH // factor, 3)
    assert capture.frames[0].image_path.parent.name == f"images_{factor}"
    assert open_capture(root, preset="mipnerf360", factor=1).frames[0].camera.width == WIDTH


def test_mipnerf360_without_its_folder(tmp_path: Path):
    with pytest.raises(DataFormatError, match="images_4"):
        open_capture(colmap_scene(tmp_path / "garden", 3, {}), preset="mipnerf360")


@pytest.mark.parametrize(("preset", "scene"), [("tanks_and_temples", "truck"), ("deep_blending", "playroom")])
def test_full_images_up_to_1600_pixels(preset: str, scene: str, tmp_path: Path):
    root = colmap_scene(tmp_path / scene, 9, {})
    capture = open_capture(root, preset=preset)
    assert capture.frames[0].camera.width == WIDTH and len(capture.test_frames) == 2
    limited = limited_to_width(capture, 50).frames[0]  # 96×64: the rule with another limit
    assert limited.load_image().shape == (33, 50, 3)  # 64·50/96 = 33.3, rounded down
    np.testing.assert_allclose(limited.camera.K.numpy()[0], np.array([80.0, 0, 50]) * 50 / 96)


def test_nerf_synthetic(tmp_path: Path):
    from test_transforms_json import write_blender

    capture = open_capture(write_blender(tmp_path / "lego", asymmetric_world()), preset="nerf_synthetic")
    assert capture.background == (1.0, 1.0, 1.0) and capture.test_names == {"test/r_3.png"}


def test_averages_are_over_all_published_scenes():
    preset = DATASET_PRESETS["deep_blending"]
    scenes = {"drjohnson": {"psnr": 29.0, "ssim": 0.9}, "playroom": {"psnr": 30.0, "ssim": 0.8}}
    assert preset.average(scenes) == pytest.approx({"psnr": 29.5, "ssim": 0.85})
    with pytest.raises(ConventionError, match="playroom"):
        preset.average({"drjohnson": {"psnr": 29.0}})
    with pytest.raises(ConventionError, match="same figures"):
        preset.average({"drjohnson": {"psnr": 29.0}, "playroom": {"ssim": 29.0}})
    assert len(DATASET_PRESETS["mipnerf360"].scene_factors) == 9 and len(DATASET_PRESETS["nerf_synthetic"].scene_factors) == 8


# ------------------------------------------------------------------------------------------------------------------- data


@pytest.mark.data
def test_fox(data_root: Path):
    capture = open_capture(data_root / "fox")
    assert (len(capture.frames), len(capture.frames_with_image)) == (67, 50)
    assert (len(capture.train_frames), len(capture.test_frames)) == (43, 7)
    frame = capture.frames_with_image[0]
    assert frame.load_image().shape == (frame.camera.height, frame.camera.width, 3)
    small = downscaled(frame, 4)
    assert (small.camera.width, small.camera.height) == (269, 480)
    # instant-ngp turned the mean of the cameras' own up to +Z; their x axes put the vertical 5° from it.
    assert 0.99 < capture.up_in_world[2] < 0.999


@pytest.mark.data
def test_lego(data_root: Path):
    capture = open_capture(data_root / "lego_400")
    assert (len(capture.train_frames), len(capture.test_frames)) == (100, 50)
    assert capture.background == (1.0, 1.0, 1.0)
    image = capture.frames[0].load_image()
    assert image.shape == (400, 400, 3) and (image[0] == 255).all()
    np.testing.assert_allclose(capture.frames[0].camera.K[0, 0], 555.5555, atol=1e-3)


@pytest.mark.data
def test_redkitchen(data_root: Path):
    capture = open_capture(data_root / "redkitchen_rgbd")
    assert len(capture.frames_with_image) == 200 and capture.scale == "metric"
    depths = [frame.load_depth() for frame in capture.frames[:20:5]]
    assert all(0.2 < np.median(depth[depth > 0]) < 5 for depth in depths)
    # Points of one view, moved by the poses, are measured again in the next view: poses, depth and K belong together.
    first, second = capture.frames[0], capture.frames[1]
    v, u = np.nonzero(depths[0])
    z = first.load_depth()[v, u].astype(np.float64)
    rays = np.linalg.inv(first.camera.K.numpy()) @ np.stack([u + 0.5, v + 0.5, np.ones(len(u))])
    in_second = (second.camera.camera_from_world @ first.camera.world_from_camera).numpy() @ np.vstack(
        [rays * z, np.ones(len(u))]
    )
    pixels = second.camera.K.numpy() @ in_second[:3]
    column, row = (pixels[:2] / pixels[2]).astype(int)
    seen = (column >= 0) & (column < 640) & (row >= 0) & (row < 480)
    measured = second.load_depth()[row[seen], column[seen]]
    assert np.median(np.abs(measured - in_second[2][seen])[measured > 0]) < 0.03


@pytest.mark.data
def test_brighton_beach(data_root: Path):
    pytest.importorskip("pyproj")
    capture = open_capture(data_root / "brighton_beach")
    assert len(capture.frames_with_image) == 18 and len(capture.points) == 3745
    found = capture.georeference
    assert found is not None and found.epsg == 32615
    assert found.scale == pytest.approx(8.67, abs=0.03)
    assert found.rms_error < 0.7
    looks_down = capture.frames[0].camera.camera_from_world.numpy()[2, :3] @ capture.up_in_world
    assert looks_down < -0.95
    assert capture.frames[0].load_image().shape[1] == capture.frames[0].camera.width


@pytest.mark.data
@pytest.mark.parametrize("name", ["fox", "brighton_beach"])
def test_undistorted_photographs_have_no_black_border(name: str, data_root: Path):
    frame = open_capture(data_root / name).frames_with_image[3]
    image = DecodeCache(1 << 26).image(frame)
    for edge in (image[0], image[-1], image[:, 0], image[:, -1]):
        assert (edge.max(axis=-1) == 0).mean() < 0.2


@pytest.mark.data
def test_up_of_a_hand_held_camera_that_looks_down(data_root: Path):
    source = data_root / "redkitchen_rgbd"
    if not source.is_dir():
        pytest.skip(f"no {source}")
    up = open_capture(source).up_in_world
    assert up is not None
    # Mean normal of the table, the floor and the work top, from the depth maps; the mean of the cameras' own up is 25° away.
    assert np.degrees(np.arccos(up @ [0.0079, -0.8898, -0.4563])) < 4

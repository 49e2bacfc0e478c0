"""Mega-NeRF's cameras become COLMAP models."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.fabricated_folders import (
    HEIGHT,
    WIDTH,
    K,
    World,
    asymmetric_world,
    share_of_right_colors,
    write_images,
)

from scenewise.cli.main import main
from scenewise.commands.convert_cameras.options import ConvertCamerasOptions
from scenewise.commands.convert_cameras.run import convert_cameras_command
from scenewise.errors import DataFormatError
from scenewise.io.captures import open_capture

ORIGIN, SCALE = np.array([30.0, -12.0, 7.0]), 40.0  # down, right, back


def write_mega_nerf(root: Path, world: World) -> Path:
    """As ``colmap_to_mega_nerf`` describes it, axes turned one by one, not by a matrix; every second photograph held out."""
    for index, (name, pose) in enumerate(zip(world.names, world.world_from_camera)):
        folder = root / ("val" if index % 2 else "train")
        (folder / "metadata").mkdir(parents=True, exist_ok=True)
        write_images(folder / "rgbs", World(world.points, world.colors_u8, [pose], [name]))
        right, down, forward, place = pose[:3].T
        columns = [right, -down, -forward, place]
        in_drb = np.array([[column[1], column[0], -column[2]] for column in columns]).T  # rows: down, right, back
        in_drb[:, 3] = (in_drb[:, 3] - ORIGIN) / SCALE
        record = {
            "W": WIDTH,
            "H": HEIGHT,
            "intrinsics": torch.tensor([K[0, 0], K[1, 1], K[0, 2], K[1, 2]], dtype=torch.float32),
            "c2w": torch.tensor(in_drb, dtype=torch.float32),
            "distortion": torch.zeros(4),
        }
        torch.save(record, folder / "metadata" / f"{Path(name).stem}.pt")
    torch.save({"origin_drb": torch.tensor(ORIGIN, dtype=torch.float32), "pose_scale_factor": SCALE}, root / "coordinates.pt")
    return root


@pytest.fixture
def world() -> World:
    world = asymmetric_world(6)
    return World(world.points, world.colors_u8, world.world_from_camera, [f"{index:06d}.png" for index in range(6)])


def test_the_cameras_see_what_the_photographs_show(world: World, tmp_path: Path):
    root = write_mega_nerf(tmp_path / "campus-pixsfm", world)
    done = convert_cameras_command(ConvertCamerasOptions(root))
    assert (done.train, done.held_out) == (3, 3) and "train/sparse/0" in done.text()
    capture = open_capture(root, preset="urban_scene3d", factor=1)
    assert capture.test_names == {"val/000001.png", "val/000003.png", "val/000005.png"} and capture.points is None
    assert share_of_right_colors(capture, world) > 0.9
    assert share_of_right_colors(capture, world, flip_u=True) < 0.3
    for frame in capture.frames:  # in metres, in COLMAP's axes
        pose = world.world_from_camera[int(frame.name[-10:-4])]
        np.testing.assert_allclose(frame.camera.world_from_camera.numpy(), pose, atol=2e-5)
    # One lens for all of them.
    assert (root / "train/sparse/0/cameras.txt").read_text().count("PINHOLE") == 1


def test_models_that_are_there_stay(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = write_mega_nerf(tmp_path / "rubble", world)
    assert main(["convert-cameras", str(root)]) == 0
    (root / "train/sparse/0/points3D.txt").write_text("1 0 0 5 9 9 9 0.5\n")
    assert main(["convert-cameras", str(root)]) == 2
    assert "train/sparse/0: expected no COLMAP model yet" in capsys.readouterr().err
    assert main(["convert-cameras", str(root), "--overwrite", "--json"]) == 0
    assert not (root / "train/sparse/0/points3D.txt").exists()


def test_what_is_wrong_is_named_before_anything_is_written(world: World, tmp_path: Path):
    root = write_mega_nerf(tmp_path / "rubble", world)
    broken = root / "val/metadata/000003.pt"
    good = torch.load(broken, weights_only=True)

    def said() -> str:
        with pytest.raises(DataFormatError) as caught:
            convert_cameras_command(ConvertCamerasOptions(root))
        assert not list(root.glob("*/sparse"))
        return str(caught.value)

    for key, value, message in (
        ("c2w", torch.zeros(4, 4), "000003.pt: c2w: expected 3×4 numbers, got shape"),
        ("c2w", torch.full((3, 4), float("nan")), "c2w: expected finite numbers"),
        ("intrinsics", None, "intrinsics: expected 4 numbers, got NoneType"),
        ("W", "96", "W: expected a number, got str"),
        ("W", 0, "000003.pt: intrinsics: expected an image size"),
    ):
        torch.save(good | {key: value}, broken)
        assert message in said(), key
    broken.write_bytes(b"no torch file")
    assert "000003.pt: expected a torch file of tensors and numbers" in said()
    torch.save(good, broken)
    (root / "coordinates.pt").unlink()
    assert "coordinates.pt" in said()


def test_code_in_a_file_is_not_run(world: World, tmp_path: Path):
    root = write_mega_nerf(tmp_path / "rubble", world)
    torch.save({"origin_drb": torch.zeros(3), "pose_scale_factor": Path("x")}, root / "coordinates.pt")  # any class will do
    with pytest.raises(DataFormatError, match=r"coordinates\.pt"):
        convert_cameras_command(ConvertCamerasOptions(root))

"""COLMAP models that are written: exact when read again, whatever the poses."""

from pathlib import Path

import numpy as np
import pytest
import torch

from scenewise.errors import ShapeError
from scenewise.geometry.lens_cameras import LensCamera
from scenewise.geometry.rotations import rotation_from_quat
from scenewise.io.colmap.models import read_cameras, read_images, read_points
from scenewise.io.colmap.writing import write_colmap_model
from scenewise.scenes.point_clouds import PointCloud


def cameras_with(focal_lengths: list[float]) -> tuple[list[LensCamera], torch.Tensor]:
    """Turned in any way, one by half a turn; focal lengths differ along the axes, the principal point is off centre."""
    n = len(focal_lengths)
    poses = torch.eye(4, dtype=torch.float64).repeat(n, 1, 1)
    quats = torch.randn(n, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    quats[0] = torch.tensor([0.0, 1.0, 0.0, 0.0])
    poses[:, :3, :3] = rotation_from_quat(quats)
    poses[:, :3, 3] = torch.arange(3 * n, dtype=torch.float64).reshape(n, 3) / 7
    return [LensCamera("PINHOLE", (f, 1.1 * f, 31.5, 22.25), 64, 48) for f in focal_lengths], poses


def test_reads_back_exactly(tmp_path: Path) -> None:
    given, poses = cameras_with([50.0, 50.0, 61.7])
    points = PointCloud(np.array([[0.1, -2.0 / 3.0, 1e-7], [5.0, 6.0, -7.0]]), np.array([[1, 2, 255], [0, 9, 8]], dtype=np.uint8))
    names = ["a.png", "folder/b.png", "with space.png"]
    write_colmap_model(tmp_path / "sparse/0", names, given, poses, points)
    lenses, images = read_cameras(tmp_path / "sparse/0/cameras.txt"), read_images(tmp_path / "sparse/0/images.txt")
    assert len(lenses) == 2 and [image.name for image in images] == names
    assert images[0].camera_id == images[1].camera_id != images[2].camera_id
    for index, image in enumerate(images):
        lens = lenses[image.camera_id]
        assert lens == given[index]
        rotation = rotation_from_quat(torch.tensor(image.quat, dtype=torch.float64))
        torch.testing.assert_close(rotation, poses[index, :3, :3], rtol=0, atol=1e-12)
        assert list(image.translation) == poses[index, :3, 3].tolist()
    read = read_points(tmp_path / "sparse/0/points3D.txt")
    np.testing.assert_array_equal(read.points_in_world, points.points_in_world)
    np.testing.assert_array_equal(read.colors_u8, points.colors_u8)


def test_points_may_lack_colours_or_be_missing(tmp_path: Path) -> None:
    write_colmap_model(tmp_path / "grey", ["a.png"], *cameras_with([50.0]), PointCloud(np.zeros((2, 3))))
    assert read_points(tmp_path / "grey/points3D.txt").colors_u8.tolist() == [[128] * 3] * 2
    write_colmap_model(tmp_path / "none", ["a.png"], *cameras_with([50.0]), None)
    assert not (tmp_path / "none/points3D.txt").exists()


def test_every_camera_needs_a_name(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="names"):
        write_colmap_model(tmp_path / "model", ["a.png"], *cameras_with([50.0, 60.0]), None)
    assert not (tmp_path / "model").exists()

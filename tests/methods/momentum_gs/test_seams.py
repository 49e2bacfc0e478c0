"""Seams: what is near a cut and what is not, how far two blocks differ, and the picture from above."""

from pathlib import Path

import numpy as np
import pytest
import torch

from scenewise.geometry.spherical_harmonics import sh0_from_rgb
from scenewise.methods.momentum_gs.cuts import Cut
from scenewise.methods.momentum_gs.from_above import camera_above, from_above
from scenewise.methods.momentum_gs.partition import even_partition
from scenewise.methods.momentum_gs.planning import frame_of_box
from scenewise.methods.momentum_gs.seams import seam_errors, seam_jumps
from scenewise.rendering import render
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.class_colors import class_colors
from scenewise.scenes.frames import DepthMap, Frame, ImageU8
from scenewise.scenes.gaussians import Gaussians

PARTITION = even_partition(frame_of_box((-4.0, -4.0, -1.0, 4.0, 4.0, 1.0)), (2, 1, 1))
"""Cut at x = 0: block 0 is where x is negative.  A cell is as wide as the contracted box; 5 % of that are 0.4 units."""
REACH = 0.4
HEIGHT = 2.0
BLACK = torch.zeros(3)


def above(x: float) -> Cameras:
    """From two units above the ground; a pixel is a twentieth of a unit wide there.  The picture's x runs along the world's."""
    pose = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64))
    pose[:3, 3] = torch.tensor([-x, 0.0, HEIGHT])
    K = torch.tensor([[40.0, 0.0, 40.0], [0.0, 40.0, 20.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    return Cameras(pose, K, 80, 40)


def ground(left: tuple[float, float, float], right: tuple[float, float, float]) -> Gaussians:
    """An opaque plane z = 0 in two colours."""
    x, y = torch.meshgrid(torch.arange(-5.0, 5.0, 0.1) + 0.05, torch.arange(-2.0, 2.0, 0.1) + 0.05, indexing="ij")
    means = torch.stack([x.ravel(), y.ravel(), torch.zeros(x.numel())], dim=1)
    rgb = torch.where(means[:, :1] < 0.0, torch.tensor(left), torch.tensor(right))
    n = len(means)
    return Gaussians(
        means, torch.full((n, 3), -2.5), torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(n, 1), torch.full((n,), 6.0),
        sh0_from_rgb(rgb)[:, None], torch.zeros(n, 0, 3),
    )  # fmt: skip


def flat_depth(camera: Cameras) -> DepthMap:
    return np.full((camera.height, camera.width), HEIGHT, dtype=np.float32)


def nobody(camera: Cameras) -> Gaussians:
    return ground((0.0, 0.0, 0.0), (0.0, 0.0, 0.0)).select(torch.zeros(100 * 40, dtype=torch.bool))


def frame(camera: Cameras, image_u8: ImageU8, mask: np.ndarray | None = None) -> Frame:
    return Frame("a.png", camera, load_image=lambda: image_u8, load_mask=None if mask is None else lambda: mask)


def test_errors_near_the_cut_and_elsewhere_against_a_loop() -> None:
    camera = above(0.7)  # the cut is 14 pixels left of the middle: asymmetric
    image_u8 = np.random.default_rng(3).integers(0, 255, (40, 80, 3)).astype(np.uint8)
    found = seam_errors(nobody, [frame(camera, image_u8)], PARTITION, BLACK, flat_depth)
    near, far = [], []
    for column in range(80):
        x = (column + 0.5 - 40.0) / 40.0 * HEIGHT + 0.7
        error = image_u8[:, column].mean() / 255.0
        (near if abs(x) < REACH else far).append(error)
    assert len(near) == 16
    assert found.near == pytest.approx(np.mean(near), rel=1e-5) and found.far == pytest.approx(np.mean(far), rel=1e-5)
    assert found.ratio == pytest.approx(np.mean(near) / np.mean(far), rel=1e-5)
    assert found.by_view["a.png"][2] == pytest.approx(16 / 80)


def test_masked_pixels_and_views_without_a_cut_do_not_count() -> None:
    image_u8 = np.full((40, 80, 3), 51, dtype=np.uint8)
    image_u8[:, 40:] = 255
    seen = np.ones((40, 80), dtype=bool)
    seen[:, 40:] = False
    masked = seam_errors(nobody, [frame(above(0.0), image_u8, seen)], PARTITION, BLACK, flat_depth)
    assert masked.near == pytest.approx(0.2, abs=1e-6) and masked.far == pytest.approx(0.2, abs=1e-6)
    away = seam_errors(nobody, [frame(above(3.5), image_u8)], PARTITION, BLACK, flat_depth)
    assert away.near is None and away.ratio is None and not away.by_view


def test_where_the_scene_itself_says_where_surfaces_are() -> None:
    whole = ground((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    camera = above(0.7)
    image_u8 = (255.0 * render(whole, camera).color.clamp(0.0, 1.0)).round().to(torch.uint8).numpy()
    image_u8[:, 23:29] //= 2  # around the cut
    found = seam_errors(lambda camera: whole, [frame(camera, image_u8)], PARTITION, BLACK)
    assert found.near == pytest.approx(0.25 * 6 / 16, rel=0.05) and found.far is not None and found.far < 0.004


def test_jumps_are_of_pairs_that_meet_in_a_view() -> None:
    merged = ground((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    alone = {0: ground((0.5, 0.5, 0.5), (0.8, 0.5, 0.5)), 1: ground((0.5, 0.5, 0.2), (0.5, 0.5, 0.5))}
    asked: list[int] = []

    def seen_alone(block: int):  # type: ignore[no-untyped-def]
        asked.append(block)
        return lambda camera: alone[block]

    middle, left, right = above(0.0), above(-3.5), above(3.5)
    found = seam_jumps(lambda camera: merged, seen_alone, {0: [middle, left], 1: [middle, right]}, PARTITION, BLACK)
    assert list(found) == [(0, 1)] and asked == [0, 1]
    # Left of the cut blue differs by 0.3, right of it red: of three channels one.
    assert found[0, 1] == pytest.approx(0.1, abs=0.006)
    assert seam_jumps(lambda camera: merged, seen_alone, {0: [left], 1: [right]}, PARTITION, BLACK) == {}
    assert asked == [0, 1], "a block without shared cameras is not loaded"


@pytest.mark.parametrize("most", [1_000_000, 1_300])
def test_the_map_has_each_block_where_it_is(most: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("scenewise.methods.momentum_gs.from_above._MOST", most)
    monkeypatch.setattr("scenewise.methods.momentum_gs.from_above._ROWS", 900)
    cut = Cut(PARTITION, np.ones((1, 2), dtype=bool), (2, 1, 1))
    white = ground((1.0, 1.0, 1.0), (1.0, 1.0, 1.0))
    picture = from_above(cut, white, torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64))
    camera = camera_above(cut)

    def pixel(x: float, y: float) -> np.ndarray:
        in_camera = camera.camera_from_world[:3, :3] @ torch.tensor([x, y, 0.0]).double() + camera.camera_from_world[:3, 3]
        place = camera.K @ in_camera
        return picture[int(place[1] / place[2]), int(place[0] / place[2])].astype(float)

    for block, x in enumerate((-2.0, 2.0)):
        expected = 255.0 * (0.65 + 0.35 * np.asarray(class_colors(2)[block]) / 255.0)
        assert np.abs(pixel(x, 0.5) - expected).max() < 12.0, block
    assert pixel(2.0, 1.0).min() == 255.0 and (pixel(-2.0, 1.0) < 255.0).any()
    assert pixel(-5.5, 3.5).min() == 255.0, "beyond the scene there is white"

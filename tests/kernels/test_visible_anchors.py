"""Which anchors a camera may see: every backend against a loop with planes through corner rays."""

import math
from dataclasses import replace

import pytest
import torch

from scenewise.errors import ShapeError
from scenewise.kernels.anchor_decoder import native, reference, visible_rows
from scenewise.kernels.native import library
from scenewise.scenes.cameras import Cameras

needs_native = pytest.mark.skipif(library.load() is None, reason="the compiled library was not built")


def turned_camera(near: float = 0.5) -> Cameras:
    """A camera with a principal point far from the middle, turned and moved."""
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))[0]
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3], pose[:3, 3] = rotation * torch.linalg.det(rotation), torch.tensor([0.4, -0.3, 2.0])
    K = torch.tensor([[50.0, 0.0, 12.0], [0.0, 70.0, 33.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    return Cameras(pose, K, 64, 40, near)


def distances_inside(point: torch.Tensor, camera: Cameras) -> list[float]:
    """Of a point of the camera's frame from the planes left, top, right and bottom, positive inside; normals from corner rays."""
    corners = torch.tensor([[0.0, 0.0], [camera.width, 0.0], [camera.width, camera.height], [0.0, camera.height]]).double()
    rays = (torch.cat([corners, torch.ones(4, 1)], dim=1) @ torch.linalg.inv(camera.K).T).unbind(0)
    normals = [torch.linalg.cross(rays[i - 1], rays[i]) for i in range(4)]
    return [float(point @ normal / normal.norm()) for normal in normals]


def seen_by(camera: Cameras, positions: torch.Tensor, log_scales: torch.Tensor, reach: float) -> tuple[list[int], float]:
    """Rows, anchor by anchor in float64, and how far the nearest decision was from the other."""
    rows, margin = [], math.inf
    for i in range(len(positions)):
        point = camera.camera_from_world[:3, :3] @ positions[i].double() + camera.camera_from_world[:3, 3]
        radius = reach * math.exp(max(log_scales[i, :3].tolist()))
        slack = [float(point[2]) - camera.near, *(distance + radius for distance in distances_inside(point, camera))]
        margin = min(margin, abs(min(slack)))
        if min(slack) > 0:
            rows.append(i)
    return rows, margin


VISIBLE = [
    pytest.param(reference.visible_rows, id="reference"),
    pytest.param(native.visible_rows, id="native", marks=needs_native),
]


@pytest.fixture(params=VISIBLE)
def visible_rows_of(request, monkeypatch):
    """:func:`visible_rows` with one backend."""
    monkeypatch.setattr(native, "takes", lambda *tensors: request.param is native.visible_rows)
    return visible_rows


@pytest.mark.parametrize("reach", [0.0, 3.0])
def test_visible_anchors_are_those_of_the_loop(visible_rows_of, reach):
    generator = torch.Generator().manual_seed(1)
    positions, log_scales = torch.randn(300, 3, generator=generator) * 3, torch.randn(300, 6, generator=generator) - 2.5
    camera = turned_camera()
    rows, margin = seen_by(camera, positions, log_scales, reach)
    assert 20 < len(rows) < 200 and margin > 1e-5
    assert visible_rows_of(positions, log_scales, camera, reach).tolist() == rows
    # The same camera looking the other way sees others.
    half_turn = torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0], dtype=torch.float64))
    away = replace(camera, camera_from_world=half_turn @ camera.camera_from_world)
    others, _ = seen_by(away, positions, log_scales, reach)
    found = visible_rows_of(positions, log_scales, away, reach).tolist()
    assert found == others and not set(found) & set(rows)


@pytest.mark.parametrize("side", range(4))
def test_spheres_that_just_touch(visible_rows_of, side):
    # Unturned, so that planes are easy: two depths before the camera, beyond each border in turn.
    camera = replace(turned_camera(), camera_from_world=torch.eye(4, dtype=torch.float64))
    u, v = ((-30.0, 20.0), (30.0, -25.0), (100.0, 10.0), (40.0, 75.0))[side]
    for depth in (1.0, 6.0):
        point = torch.tensor([(u - 12.0) / 50.0, (v - 33.0) / 70.0, 1.0], dtype=torch.float64) * depth
        outside = -min(distances_inside(point, camera))
        assert outside > 0.1
        # The largest of the first three scales counts, whichever it is; those of the children do not.
        for axis in range(3):
            scales = torch.full((2, 6), 1e-3)
            scales[:, axis], scales[:, 4] = torch.tensor([outside * 0.999, outside * 1.001]) / 3.0, 50.0
            assert visible_rows_of(point.float().expand(2, 3), scales.log(), camera).tolist() == [1]


def test_what_is_not_before_the_camera_is_not_seen(visible_rows_of):
    camera = replace(turned_camera(near=0.5), camera_from_world=torch.eye(4, dtype=torch.float64))
    positions = torch.tensor([[0.0, 0.0, 0.499], [0.0, 0.0, 0.501], [0.0, 0.0, -3.0], [0.1, 0.0, 2.0], [0.0, math.nan, 2.0]])
    log_scales = torch.full((6, 6), 1.0)
    log_scales[3, 1] = math.nan
    assert visible_rows_of(positions, log_scales[:5], camera).tolist() == [1]
    assert visible_rows_of(positions[:0], log_scales[:0], camera).tolist() == []


@needs_native
def test_visible_rows_of_many_anchors_rise():
    generator = torch.Generator().manual_seed(4)
    positions, log_scales = torch.randn(40_001, 3, generator=generator) * 3, torch.randn(40_001, 6, generator=generator) - 3
    camera, before = turned_camera(), library.get_threads()
    want = reference.visible_rows(positions, log_scales, camera.camera_from_world, camera.K, (64, 40), 0.5, 3.0)
    try:
        for threads in (1, 3):
            library.set_threads(threads)
            got = visible_rows(positions, log_scales, camera)
            assert bool((got[1:] > got[:-1]).all()) and len(got) > 3000
            # Single precision may decide otherwise for what touches a border within rounding.
            assert len(set(got.tolist()) ^ set(want.tolist())) <= 2
    finally:
        library.set_threads(before)


@pytest.mark.errors
def test_visible_rows_wants_scales_of_every_anchor():
    with pytest.raises(ShapeError, match=r"log_scales: expected 3 rows, got 2"):
        visible_rows(torch.zeros(3, 3), torch.zeros(2, 6), turned_camera())

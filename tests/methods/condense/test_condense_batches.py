"""What a step of ConDense sees: rays that meet what depth maps say, twins that show the same, nothing of the other scans."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from tests.support.posed_rooms import TINY, tiny_scan, wall_scan

from scenewise.engine.randomness import keyed_generator
from scenewise.methods.condense.batches import (
    ConsistencyBatch,
    Rays,
    consistency_batch,
    detail,
    looked_at,
    projected,
    relit,
    turn_about_up,
    varied_cloud,
)
from scenewise.methods.condense.options import RaySettings, Variation
from scenewise.parts.scans.posed_scans import PosedScan

CONFIG = replace(TINY, views_per_scan=3, rays=RaySettings(per_view=60))


@pytest.fixture(scope="module")
def rooms() -> list[PosedScan]:
    return [tiny_scan(seed, noise=False) for seed in (100, 101)]


def batch_of(scans: list[tuple[int, PosedScan]], step: int = 0, seed: int = 1, *, varied: bool = True) -> ConsistencyBatch:
    return consistency_batch(scans, CONFIG, seed, step, varied=varied)


def alone_of(batch: ConsistencyBatch, item: int) -> dict[str, torch.Tensor]:
    """What a batch holds of one of its scans."""
    own, rays = batch.cloud.batch == item, batch.rays
    views = [view for view, scan in enumerate(batch.scan_of_view) if scan == item]
    found = {"positions": batch.cloud.positions[own], "inputs": batch.cloud.inputs[own], "pictures": batch.pictures[item]}
    found |= {"priors": batch.priors[item], "shift": batch.shifts[item]}
    found |= {f"camera {place}": batch.cameras[view].camera_from_world for place, view in enumerate(views)}
    for name in ("view", "pixel", "origin", "direction", "depth", "point", "twin_view", "twin_pixel"):
        found[name] = getattr(rays, name)[rays.scan == item]
    found["view"] = found["view"] - views[0]
    found["twin_view"] = torch.where(found["twin_view"] >= 0, found["twin_view"] - views[0], -1)
    return found


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(first[name].shape == second[name].shape and torch.equal(first[name], second[name]) for name in first)


def test_what_is_drawn_depends_on_seed_step_and_scan_alone(rooms: list[PosedScan]) -> None:
    first, second = rooms
    before = torch.random.get_rng_state()
    alone = alone_of(batch_of([(7, first)]), 0)
    assert torch.equal(before, torch.random.get_rng_state())
    assert same(alone, alone_of(batch_of([(7, first)]), 0))
    assert same(alone, alone_of(batch_of([(7, first), (3, second)]), 0))
    assert same(alone, alone_of(batch_of([(3, second), (7, first)]), 1))
    for other in (batch_of([(7, first)], step=1), batch_of([(7, first)], seed=2), batch_of([(8, first)])):
        assert not same(alone, alone_of(other, 0))


def test_some_pictures_of_each_scan(rooms: list[PosedScan]) -> None:
    config = replace(CONFIG, views_per_scan=2)
    chosen = set()
    for step in range(8):
        batch = consistency_batch([(0, rooms[0]), (1, rooms[1])], config, 1, step, varied=False)
        assert batch.num_scans == 2 and batch.scan_of_view == (0, 0, 1, 1) and len(batch.cameras) == 4
        poses = rooms[0].camera_from_scan
        views = [int(np.abs(poses - camera.camera_from_world.numpy()).sum((1, 2)).argmin()) for camera in batch.cameras[:2]]
        for picture, prior, view in zip(batch.pictures[0], batch.priors[0], views):
            np.testing.assert_array_equal(picture.permute(1, 2, 0).numpy(), rooms[0].pictures_u8[view].astype(np.float32) / 255)
            np.testing.assert_array_equal(prior.numpy(), rooms[0].prior[view])
        chosen.add(tuple(views))
    assert chosen == {(0, 1), (0, 2), (1, 2)}


def test_rays_meet_what_the_depth_map_says_in_the_varied_axes(rooms: list[PosedScan]) -> None:
    scan = rooms[0]
    batch = batch_of([(0, rooms[1]), (5, scan)])  # all views of each, so that view 3 + i is picture i
    rays = batch.rays
    assert len(rays) == 6 * 60 and torch.equal(rays.view, torch.arange(6).repeat_interleave(60))
    at = rays.origin + rays.depth[:, None] * rays.direction
    for row in range(180, 360):
        view, (u, v) = int(rays.view[row]) - 3, rays.pixel[row].tolist()
        assert u % 1 == v % 1 == 0.5, "the middle of a pixel"
        depth = float(scan.depths[view, int(v), int(u)])
        assert float(rays.depth[row]) == depth > 0
        in_camera = depth * np.linalg.inv(scan.K[view]) @ [u, v, 1.0]
        in_scan = np.linalg.inv(scan.camera_from_scan[view]) @ [*in_camera, 1.0]
        np.testing.assert_allclose(rays.point[row].numpy(), in_scan[:3], atol=1e-5)
        camera = batch.cameras[view + 3]
        seen = camera.camera_from_world[:3, :3] @ at[row].double() + camera.camera_from_world[:3, 3]
        shown = camera.K @ seen
        np.testing.assert_allclose((shown[:2] / shown[2]).numpy(), [u, v], atol=1e-3)
        assert float(seen[2]) == pytest.approx(depth, abs=1e-5)
    assert not torch.allclose(at[180:], rays.point[180:], atol=0.1), "the cloud is turned"


def test_rays_end_at_the_points_of_the_varied_cloud(rooms: list[PosedScan]) -> None:
    """Turned and shifted as the cloud is: without noise of depth each end lies beside a fused point."""
    whole = replace(CONFIG, variation=Variation(least_points=1.0, whole=1.0))
    batch = consistency_batch([(2, rooms[0])], whole, 1, 0)
    rays = batch.rays
    ends = (rays.origin + rays.depth[:, None] * rays.direction) / whole.voxel + batch.shifts[rays.scan]
    nearest = torch.cdist(ends, batch.cloud.positions).amin(1) * whole.voxel
    assert float(nearest.max()) < 0.1 * math.sqrt(3) and float(batch.shifts.min()) > 0.0


def test_twin_pixels_show_the_same_point_in_another_picture(rooms: list[PosedScan]) -> None:
    scan = rooms[0]
    rays = batch_of([(0, scan)]).rays
    found = 0
    for row in range(len(rays)):
        view, twin = int(rays.view[row]), int(rays.twin_view[row])
        shows = {}
        for other in range(3):
            x, y, z = (scan.camera_from_scan[other] @ [*rays.point[row].tolist(), 1.0])[:3]
            if z <= 0:
                continue
            u, v, _ = scan.K[other] @ [x / z, y / z, 1.0]
            if 0 <= u < 64 and 0 <= v < 48:
                depth = float(scan.depths[other, int(v), int(u)])
                if depth > 0 and abs(depth - z) <= 0.05 * max(z, 1.0):
                    shows[other] = (u, v)
        assert twin != view
        expected = next((other for other in ((view + 1) % 3, (view + 2) % 3) if other in shows), -1)
        assert twin == expected, row
        if twin >= 0:
            np.testing.assert_allclose(rays.twin_pixel[row].numpy(), shows[twin], atol=1e-2)
            found += 1
    assert 20 < found < len(rays)


def test_a_point_is_seen_by_its_depth() -> None:
    scan = wall_scan(distance=2.0)
    # View 0 looks along +X from the origin; (2, y, z) is shown at (16 − 10 y, 12 − 10 z).
    point = torch.tensor(
        [
            [2.0, 0.5, -0.3],
            [2.09, 0.0, 0.0],
            [2.11, 0.0, 0.0],
            [1.89, 0.0, 0.0],
            [-2.0, 0.0, 0.0],
            [2.0, -1.7, 0.0],
            [2.0, 1.59, 0.0],
        ]
    )
    seen, pixel = projected(scan, 0, point, (24, 32))
    assert seen.tolist() == [True, True, False, False, False, False, True]
    torch.testing.assert_close(pixel[0], torch.tensor([11.0, 15.0]))
    assert not bool(projected(scan, 0, point[6:], (24, 0))[0]) and not bool(projected(scan, 0, point[:1], (15, 32))[0])
    scan.depths[0, 15, 11] = 0.0
    assert not bool(projected(scan, 0, point[:1], (24, 32))[0]), "nothing is known there"


def test_points_that_no_picture_looks_at_are_cut_away() -> None:
    scan = wall_scan(distance=2.0).with_views(
        [0]
    )  # shows |y| < 1.6 and |z| < 1.2 of the wall, and half as much again is beside it
    points = torch.tensor(
        [[2.0, 0, 0], [2.0, 2.39, 0], [2.0, 2.41, 0], [2.0, 0, 1.79], [2.0, 0, 1.81], [2.49, 0, 0], [2.51, 0, 0], [-1.0, 0, 0]]
    )
    assert looked_at(scan, points).tolist() == [True, True, False, True, False, True, False, False]
    config = replace(CONFIG, variation=Variation(least_points=1.0, whole=0.0))
    _, positions, colors = varied_cloud(scan, config, keyed_generator("any"))
    assert len(positions) == len(colors) == int(looked_at(scan, torch.from_numpy(scan.points_in_scan)).sum()) < len(scan)
    shown_whole = replace(config, variation=replace(config.variation, whole=1.0))
    assert len(varied_cloud(scan, shown_whole, keyed_generator("any"))[1]) == len(scan)


def test_clouds_that_are_not_varied_lie_as_they_are(rooms: list[PosedScan]) -> None:
    batch = batch_of([(0, rooms[0])], varied=False)
    np.testing.assert_allclose(batch.cloud.positions.numpy() * CONFIG.voxel, rooms[0].points_in_scan, atol=1e-5)
    np.testing.assert_allclose(batch.cloud.inputs.numpy(), rooms[0].colors_u8 / 127.5 - 1.0, atol=1e-5)
    assert not batch.shifts.any()
    torch.testing.assert_close(batch.rays.origin + batch.rays.depth[:, None] * batch.rays.direction, batch.rays.point)


def test_varied_clouds_lose_points_and_change_colour(rooms: list[PosedScan]) -> None:
    kept = [len(varied_cloud(rooms[0], CONFIG, keyed_generator("kept", each))[1]) / len(rooms[0]) for each in range(12)]
    assert min(kept) < 0.6 and max(kept) < 1.0 and len(set(kept)) > 6
    place, positions, colors = varied_cloud(rooms[0], CONFIG, keyed_generator("kept", 0))
    assert float(colors.min()) >= -1.0 and float(colors.max()) <= 1.0
    torch.testing.assert_close(place.turn @ place.turn.T, torch.eye(3))
    back = ((positions - place.shift) * CONFIG.voxel) @ place.turn
    exactly = "donot_use_mm_for_euclid_dist"
    assert float(torch.cdist(back, torch.from_numpy(rooms[0].points_in_scan), compute_mode=exactly).amin(1).max()) < 1e-4
    still = replace(CONFIG, variation=Variation(turn=False))
    assert torch.equal(varied_cloud(rooms[0], still, keyed_generator("kept", 0))[0].turn, torch.eye(3))


def test_up_stays_up_and_x_turns_to_y() -> None:
    turn = turn_about_up(math.pi / 2)
    torch.testing.assert_close(turn @ torch.tensor([1.0, 0.0, 5.0]), torch.tensor([0.0, 1.0, 5.0]))


def test_light_is_a_gain_of_each_channel_and_an_exponent() -> None:
    colors = torch.tensor([[0.2, 0.4, 0.6], [0.1, 0.3, 0.9]])
    lit = relit(colors, Variation(light=0.2, tint=0.1, gamma=0.15), keyed_generator("light"))
    draw = keyed_generator("light")
    light, gamma = torch.randn(2, generator=draw).tolist()
    tint = torch.randn(3, generator=draw).tolist()
    for row in range(2):
        for channel in range(3):
            gain = math.exp(0.2 * light + 0.1 * tint[channel])
            expected = min(1.0, gain * float(colors[row, channel]) ** math.exp(0.15 * gamma))
            assert float(lit[row, channel]) == pytest.approx(expected, rel=1e-4)
    torch.testing.assert_close(relit(colors, Variation(light=0.0, tint=0.0, gamma=0.0), draw), colors)


def test_detail_is_the_change_between_neighbours() -> None:
    picture = np.zeros((5, 6, 3), dtype=np.uint8)
    picture[2, 3] = [30, 60, 90]  # of brightness 60
    expected = np.ones((5, 6))
    for row, column in ((2, 2), (2, 4), (1, 3), (3, 3)):
        expected[row, column] += 60
    np.testing.assert_allclose(detail(picture).numpy(), expected)
    assert float(detail(np.full((4, 4, 3), 200, dtype=np.uint8)).max()) == 1.0


def test_half_of_the_pixels_are_drawn_where_there_is_detail() -> None:
    scan = wall_scan(views=1)
    scan.pictures_u8[:] = 0
    scan.pictures_u8[0, 7:10, 20] = 255
    share = {}
    for detailed in (0.0, 0.5, 1.0):
        config = replace(TINY, views_per_scan=1, rays=RaySettings(per_view=400, detailed=detailed))
        rays = consistency_batch([(0, scan)], config, 1, 0, varied=False).rays
        assert len(rays) == 400
        share[detailed] = float(
            (detail(scan.pictures_u8[0])[rays.pixel[:, 1].long(), rays.pixel[:, 0].long()] > 1).float().mean()
        )
    assert share[0.0] < 0.05 and 0.3 < share[0.5] < 0.5 and share[1.0] > 0.65


def test_pictures_are_cut_to_whole_cells_and_pixels_with_them(rooms: list[PosedScan]) -> None:
    scan = rooms[0]
    odd = replace(scan, pictures_u8=scan.pictures_u8[:, :47, :63].copy(), depths=scan.depths[:, :47, :63].copy())
    batch = batch_of([(0, odd)])
    assert batch.pictures[0].shape == (3, 3, 44, 60) and {(camera.height, camera.width) for camera in batch.cameras} == {(44, 60)}
    assert float(batch.rays.pixel[:, 0].max()) < 60 and float(batch.rays.pixel[:, 1].max()) < 44


def test_scans_without_depth_have_no_rays() -> None:
    scan = wall_scan()
    scan.depths[:2] = 0.0
    assert set(batch_of([(0, scan)]).rays.view.tolist()) == {2}
    scan.depths[:] = 0.0
    rays = batch_of([(0, scan)]).rays
    assert len(rays) == 0
    both = batch_of([(0, scan), (1, wall_scan())]).rays
    assert set(both.scan.tolist()) == {1} and set(both.view.tolist()) == {3, 4, 5}
    for each in fields(Rays):
        assert getattr(rays, each.name).dtype == getattr(both, each.name).dtype

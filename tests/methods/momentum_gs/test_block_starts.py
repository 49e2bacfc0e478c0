"""What a block begins with, by loops: its own anchors, new ones in free cells, and what stands behind, thinned."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.fabricated_capture import arc_camera
from tests.support.small_anchors import CHANNELS, SLOTS, random_anchors, random_heads, same_bits

from scenewise.errors import DataFormatError
from scenewise.io.tensor_files import read_tensors, write_tensors
from scenewise.kernels.anchor_decoder import visible_rows
from scenewise.methods.momentum_gs.blocks import is_in_block, start_of_block, thinned_background
from scenewise.methods.momentum_gs.coarse import CoarseModel, read_coarse, write_coarse
from scenewise.methods.momentum_gs.config import BackgroundSettings
from scenewise.methods.momentum_gs.partition import Partition, even_partition
from scenewise.methods.momentum_gs.planning import frame_of_box
from scenewise.parts.splats.anchors.decoder import HEADS
from scenewise.scenes.anchors import Anchors, joined
from scenewise.scenes.point_clouds import PointCloud

CELL = 0.05
CAMERAS = [arc_camera(-0.5, 48, 32), arc_camera(0.1, 48, 32)]
# Cuts at x = 0.03, inside a cell that reaches from 0.025 to 0.075, and at y = −0.2.
PARTITION = even_partition(frame_of_box((-0.97, -0.9, -0.3, 1.03, 0.5, 0.3)), (2, 2, 1))
WHOLE = BackgroundSettings(most=100.0, angle=1e-9)  # everything that is seen stays as it is


def _model(n: int = 120, seed: int = 0) -> CoarseModel:
    anchors = random_anchors(n, seed, scale=0.05)
    cells = sorted({tuple(cell) for cell in np.round(anchors.positions.numpy() / CELL).astype(int).tolist()})
    positions = torch.tensor(cells, dtype=torch.float64).mul(CELL).float()
    positions[::5, 2] -= 100.0  # behind all cameras
    anchors = replace(anchors.select(torch.arange(len(cells))), positions=positions)
    importance = torch.rand(len(cells), generator=torch.Generator().manual_seed(seed))
    return CoarseModel(anchors, random_heads(seed), CELL, scene_extent=3.0, importance=importance, seconds=1.5)


def _owners(model: CoarseModel) -> list[int]:
    return PARTITION.block_of(model.anchors.positions.numpy()).tolist()


class TestStart:
    def test_own_anchors_are_the_blocks_and_of_the_others_those_that_its_cameras_see(self) -> None:
        model = _model()
        seen = set()
        for camera in CAMERAS:
            seen |= set(visible_rows(model.anchors.positions, model.anchors.log_scales, camera).tolist())
        assert 0 < len(seen) < len(model.anchors)
        for block in range(PARTITION.num_blocks):
            start = start_of_block(block, PARTITION, model, CAMERAS, WHOLE)
            own = [row for row, owner in enumerate(_owners(model)) if owner == block]
            behind = [row for row, owner in enumerate(_owners(model)) if owner != block and row in seen]
            assert start.own == len(own) and not set(own) <= seen  # its own, whether seen or not
            assert same_bits(vars(start.anchors), vars(model.anchors.select(torch.tensor(own + behind))))

    @pytest.mark.parametrize("most", [0.0, 0.25, 0.5])
    def test_of_what_stands_behind_at_most_so_much_stays(self, most: float) -> None:
        model = _model()
        for block in range(PARTITION.num_blocks):
            start = start_of_block(block, PARTITION, model, CAMERAS, BackgroundSettings(most=most))
            behind = start.anchors.positions[start.own :]
            assert len(behind) <= int(most * start.own) and (len(behind) > 0) == (most > 0.0)
            assert not is_in_block(PARTITION, block, behind).any()
            assert {tuple(place) for place in behind.tolist()} <= {tuple(place) for place in model.anchors.positions.tolist()}

    def test_no_cameras_no_background(self) -> None:
        start = start_of_block(0, PARTITION, _model(), [], WHOLE)
        assert len(start.anchors) == start.own > 0

    def _points(self, n: int = 400) -> PointCloud:
        generator = np.random.default_rng(4)
        return PointCloud((generator.random((n, 3)) - 0.5) * [2.2, 1.6, 0.8])

    @pytest.mark.parametrize("at_a_time", [1 << 14, 7])
    def test_points_become_anchors_in_free_cells_of_one_block_each(self, at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("scenewise.methods.momentum_gs.blocks._POINTS", at_a_time)
        model, points = _model(), self._points()
        held = {tuple(cell) for cell in np.round(model.anchors.positions.double().numpy() / CELL).astype(int).tolist()}
        wanted = {tuple(cell) for cell in np.round(points.points_in_world / CELL).astype(int).tolist()}
        found: list[tuple[int, ...]] = []
        for block in range(PARTITION.num_blocks):
            start = start_of_block(block, PARTITION, model, CAMERAS, WHOLE, points)
            before = start_of_block(block, PARTITION, model, CAMERAS, WHOLE)
            # first the block's own anchors, then new ones, then the same background
            assert same_bits(
                vars(start.anchors.select(torch.arange(before.own))), vars(before.anchors.select(torch.arange(before.own)))
            )
            fresh = start.anchors.select(torch.arange(before.own, start.own))
            assert is_in_block(PARTITION, block, start.anchors.positions[: start.own]).all()
            assert not is_in_block(PARTITION, block, start.anchors.positions[start.own :]).any()
            assert same_bits(
                vars(start.anchors.select(torch.arange(start.own, len(start.anchors)))),
                vars(before.anchors.select(torch.arange(before.own, len(before.anchors)))),
            )
            found += [tuple(cell) for cell in np.round(fresh.positions.double().numpy() / CELL).astype(int).tolist()]
            own = before.anchors.select(torch.arange(before.own))
            for row in range(len(fresh)):  # what the nearest of the block's anchors says
                nearest = int((own.positions - fresh.positions[row]).norm(dim=1).argmin())
                distance = (own.positions[nearest] - fresh.positions[row]).norm()
                same = [other for other in range(len(own)) if torch.equal(own.features[other], fresh.features[row])]
                assert len(same) == 1 and torch.equal(own.offsets[same[0]], fresh.offsets[row])
                assert (own.positions[same[0]] - fresh.positions[row]).norm() <= distance + 1e-6
            assert torch.isfinite(fresh.log_scales).all() and not torch.equal(fresh.log_scales[0], own.log_scales[0])
        # All blocks together: each free cell that holds a point has one anchor, whatever the cuts run through.
        assert len(found) == len(set(found)) and set(found) == wanted - held and len(found) > 200

    def test_at_most_so_many_of_its_own(self) -> None:
        model, points = _model(), self._points()
        plain, all_ = (start_of_block(1, PARTITION, model, CAMERAS, WHOLE, cloud).own for cloud in (None, points))
        assert plain < all_
        for most, expected in ((plain + 7, plain + 7), (plain, plain), (3, plain), (10**6, all_)):
            assert start_of_block(1, PARTITION, model, CAMERAS, WHOLE, points, most).own == expected
        some = start_of_block(1, PARTITION, model, CAMERAS, WHOLE, points, plain + 20)
        fresh = some.anchors.positions[plain : some.own]
        assert float(fresh[:, 0].max() - fresh[:, 0].min()) > 0.7  # left out evenly, not from one end

    def test_without_points_in_free_cells_nothing_comes(self) -> None:
        model = _model()
        taken = PointCloud(model.anchors.positions.double().numpy())
        assert start_of_block(0, PARTITION, model, CAMERAS, WHOLE, taken).own == _owners(model).count(0)
        nothing = PointCloud(np.zeros((0, 3)))
        assert start_of_block(0, PARTITION, model, CAMERAS, WHOLE, nothing).own == _owners(model).count(0)


def _slowly_thinned(
    anchors: Anchors, importance: torch.Tensor, own: torch.Tensor, rules: BackgroundSettings
) -> list[tuple[int, int]]:
    """Rows that stay, and how many each stands for."""
    most, angle = int(rules.most * len(own)), rules.angle
    places = anchors.positions.double().tolist()
    distances = [min(math.dist(place, other) for other in own.double().tolist()) for place in places]
    while True:
        cells: dict[tuple[int, ...], list[int]] = {}
        for row, (place, distance) in enumerate(zip(places, distances)):
            level = max(0, math.floor(math.log2(max(1.0, distance * angle / CELL))))
            edge = CELL * 2.0**level
            cells.setdefault((level, *(round(x / edge) for x in place)), []).append(row)
        if len(cells) <= most or angle > 1e3:
            break
        angle *= 1.3
    found = [(max(rows, key=lambda row: (float(importance[row]), -row)), len(rows)) for rows in cells.values()]
    if len(found) > most:  # cells do not become fewer any more
        found = sorted(found, key=lambda each: (-float(importance[each[0]]), each[0]))[:most]
    return sorted(found)


class TestThinning:
    @given(seed=st.integers(0, 10**6), most=st.sampled_from([0.1, 0.5, 1.0, 3.0]), angle=st.sampled_from([0.02, 0.3, 2.0]))
    @settings(max_examples=20, deadline=None)
    def test_one_anchor_of_each_cell_stays_the_more_important_one(self, seed: int, most: float, angle: float) -> None:
        generator = torch.Generator().manual_seed(seed)
        own = torch.rand(20, 3, generator=generator)
        anchors = random_anchors(60, seed)
        spread = torch.exp(4.0 * torch.rand(60, 1, generator=generator))
        anchors = replace(anchors, positions=(torch.rand(60, 3, generator=generator) - 0.5) * spread + torch.tensor([1.5, 0, 0]))
        importance = torch.randint(0, 8, (60,), generator=generator).float()  # some are equal
        rules = BackgroundSettings(most=most, angle=angle)
        expected = _slowly_thinned(anchors, importance, own, rules)
        found = thinned_background(anchors, importance, own, CELL, rules)
        assert len(found) <= int(most * 20)
        chosen = anchors.select(torch.tensor([row for row, _ in expected], dtype=torch.int64))
        for name in ("positions", "offsets", "features"):
            assert torch.equal(getattr(found, name), getattr(chosen, name)), name
        counts = torch.tensor([count for _, count in expected]).float()
        torch.testing.assert_close(found.log_scales, chosen.log_scales + 0.5 * counts.log()[:, None])

    def test_near_ones_stay_as_they_are_and_far_ones_are_merged(self) -> None:
        own = torch.zeros(10, 3)
        near = torch.tensor([[0.3, 0.0, 0.0], [0.4, 0.0, 0.0]])
        far = torch.tensor([[80.0, 0.0, 0.0], [80.2, 0.1, 0.0], [80.1, 0.2, 0.1], [80.3, 0.0, 0.1]])
        positions = torch.cat([near, far])
        anchors = replace(random_anchors(6), positions=positions)
        found = thinned_background(anchors, torch.arange(6.0), own, CELL, BackgroundSettings(most=1.0, angle=0.02))
        assert torch.equal(found.positions, positions[[0, 1, 5]])
        torch.testing.assert_close(found.log_scales[:2], anchors.log_scales[:2])
        torch.testing.assert_close(found.log_scales[2], anchors.log_scales[5] + math.log(2.0))  # √4 times as large

    def test_nothing_behind_or_nothing_of_its_own(self) -> None:
        for behind, own, most in ((0, 5, 0.5), (9, 0, 0.5), (9, 5, 0.0), (9, 1, 0.5)):
            rules = BackgroundSettings(most=most)
            assert not len(thinned_background(random_anchors(behind), torch.ones(behind), torch.zeros(own, 3), CELL, rules))

    def test_it_never_keeps_more_than_it_may(self) -> None:
        anchors = replace(random_anchors(400), positions=20.0 * random_anchors(400).positions)
        found = thinned_background(anchors, torch.arange(400.0), torch.zeros(2, 3), CELL, BackgroundSettings(most=0.5))
        assert len(found) == 1 and torch.equal(found.positions[0], anchors.positions[399])


def test_blocks_of_a_model_are_the_model_again() -> None:
    model = _model()
    parts = []
    for block in range(PARTITION.num_blocks):
        start = start_of_block(block, PARTITION, model, CAMERAS, BackgroundSettings())
        parts.append(start.anchors.select(is_in_block(PARTITION, block, start.anchors.positions)))
    merged = joined(parts)
    order = torch.tensor(sorted(range(len(merged)), key=lambda row: merged.positions[row].tolist()))
    expected = torch.tensor(sorted(range(len(merged)), key=lambda row: model.anchors.positions[row].tolist()))
    assert len(merged) == len(model.anchors)
    assert same_bits(vars(merged.select(order)), vars(model.anchors.select(expected)))


def test_being_in_a_block_is_asked_of_positions_that_learn() -> None:
    positions = torch.tensor([[0.02, 0.0, 0.0], [0.04, 0.0, 0.0], [0.04, -0.3, 0.0]], requires_grad=True)
    assert is_in_block(PARTITION, 3, positions).tolist() == [False, True, False]
    assert is_in_block(PARTITION, 1, positions).tolist() == [False, False, True]


class TestCoarseFile:
    def test_round_trip(self, tmp_path: Path) -> None:
        model = _model()
        write_coarse(tmp_path / "model.safetensors", model)
        found = read_coarse(tmp_path / "model.safetensors")
        assert same_bits(vars(found.anchors), vars(model.anchors)) and torch.equal(found.importance, model.importance)
        assert all(torch.equal(getattr(found.heads, name), getattr(model.heads, name)) for name in HEADS)
        assert (found.cell, found.scene_extent, found.seconds) == (CELL, 3.0, 1.5)

    @pytest.mark.errors
    def test_a_file_that_lacks_something(self, tmp_path: Path) -> None:
        path = tmp_path / "model.safetensors"
        write_coarse(path, _model())
        tensors, about = read_tensors(path, "coarse")
        for name in ("anchors.offsets", "heads.color", "importance"):
            write_tensors(path, {key: value for key, value in tensors.items() if key != name}, "coarse", about)
            with pytest.raises(DataFormatError, match=r"model\.safetensors: expected a coarse model"):
                read_coarse(path)
        for change in ({"cell": None}, {"cell": "wide"}):
            write_tensors(path, tensors, "coarse", about | change)
            with pytest.raises(DataFormatError, match=r"model\.safetensors: expected a coarse model"):
                read_coarse(path)
        write_tensors(path, tensors | {"anchors.features": torch.zeros(3, CHANNELS)}, "coarse", about)
        with pytest.raises(DataFormatError, match=r"model\.safetensors: expected a coarse model"):
            read_coarse(path)


def test_a_partition_of_several_cells_in_a_block() -> None:
    model = _model()
    merged: Partition = PARTITION.joined(2, 0)
    start = start_of_block(0, merged, model, CAMERAS, WHOLE)
    assert start.own == _owners(model).count(0) + _owners(model).count(2)
    assert start.anchors.slots == SLOTS

"""How many blocks, in which frame, and which cameras train which of them."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from tests.support.fabricated_capture import arc_camera
from tests.support.small_anchors import CHANNELS, SLOTS, plain_heads, random_anchors

from scenewise.engine.progress import NullProgress
from scenewise.errors import ResourceError
from scenewise.methods.momentum_gs import assignment
from scenewise.methods.momentum_gs.assignment import cameras_inside, visible_change, with_cameras
from scenewise.methods.momentum_gs.coarse import CoarseModel, anchor_importance
from scenewise.methods.momentum_gs.config import AssignmentSettings
from scenewise.methods.momentum_gs.partition import Partition, contracted, even_partition
from scenewise.methods.momentum_gs.planning import (
    BlockSizes,
    anchor_bytes,
    block_sizes,
    blocks_within,
    found_frame,
    frame_of_box,
    grid_of,
)
from scenewise.parts.splats.anchors.decoder import DecoderSettings
from scenewise.parts.splats.anchors.field import decoded_anchors
from scenewise.rendering import render
from scenewise.scenes.anchors import Anchors
from scenewise.scenes.cameras import Cameras

HERE = np.eye(4)


class TestGrid:
    def test_hand_values(self) -> None:
        assert grid_of(1, (3.0, 1.0)) == (1, 1, 1)
        assert grid_of(4, (1.0, 1.0)) == (2, 2, 1)
        assert grid_of(6, (3.0, 2.0)) == (3, 2, 1) and grid_of(6, (2.0, 3.0)) == (2, 3, 1)
        assert grid_of(8, (4.0, 2.0)) == (4, 2, 1)
        assert grid_of(3, (9.0, 1.0)) == (3, 1, 1) and grid_of(3, (1.0, 9.0)) == (1, 3, 1)

    @pytest.mark.parametrize("sides", [(1.0, 1.0), (5.0, 1.0), (0.3, 1.7)])
    def test_there_are_enough_and_not_many_more(self, sides: tuple[float, float]) -> None:
        for blocks in range(1, 40):
            along, across, layers = grid_of(blocks, sides)
            assert layers == 1 and blocks <= along * across <= blocks + 3
            assert grid_of(blocks, (1e3 * sides[0], 1e3 * sides[1])) == (along, across, 1)  # in any unit

    def test_blocks_within_memory(self) -> None:
        assert blocks_within(1000, 1000, 0.0) == 1 and blocks_within(1001, 1000, 0.0) == 2
        assert blocks_within(1000, 1000, 0.5) == 2 and blocks_within(10, 1000, 0.5) == 1
        assert blocks_within(0, 1000, 0.5) == 1

    def test_an_anchor_takes_its_floats_eight_times_and_its_children(self) -> None:
        # 3 + 30 + 32 + 6 floats, two records of ten and two of one: 93; three children in view
        # Five Gaussians of degree 3 that settle, their values as they were baked, and the anchor itself.
        assert anchor_bytes(DecoderSettings()) == 5 * (8 * 4 * 59 + 420 + 4 * 59) + 4 * 93
        # With many children training takes more.
        assert anchor_bytes(DecoderSettings(slots=40)) == 8 * 4 * 243 + 12 * 650
        assert anchor_bytes(DecoderSettings(slots=20)) > anchor_bytes(DecoderSettings())

    def test_sizes_that_follow_from_what_is_asked_for_and_from_memory(self) -> None:
        decoder = DecoderSettings()
        each = anchor_bytes(decoder)
        # 100,000 Gaussians are 20,000 anchors; 1.3 times a block's share, and half as many behind it.
        found = block_sizes(100_000, decoder, 0.5, blocks=4, room=None)
        assert found == BlockSizes(20_000, 4, 9750)
        assert block_sizes(100_000, decoder, 0.5, blocks=None, room=None).blocks == 1  # 39,000 of 40,000
        assert block_sizes(110_000, decoder, 0.5, blocks=None, room=None).blocks == 2
        room = 10_000 * each
        assert block_sizes(100_000, decoder, 0.5, blocks=None, room=room) == BlockSizes(20_000, 4, 9750)
        assert block_sizes(100_000, decoder, 0.5, blocks=2, room=room).most_of_block == 10_000  # rather than 19,500
        assert block_sizes(100_000, decoder, 0.5, blocks=None, room=room, workers=2).blocks == 8
        assert block_sizes(5, decoder, 0.5, blocks=None, room=None) == BlockSizes(1, 1, 500)

    @pytest.mark.errors
    def test_too_little_memory_for_any_block(self) -> None:
        room = 499 * anchor_bytes(DecoderSettings())
        for budget, workers in ((room, 1), (2 * room, 2), (-5, 1)):
            with pytest.raises(ResourceError, match=r"memory for a block: expected .* MB beside program.*--budget"):
                block_sizes(100_000, DecoderSettings(), 0.5, blocks=None, room=budget, workers=workers)


class TestFrames:
    def test_a_box_is_taken_to_plus_and_minus_one(self) -> None:
        frame = frame_of_box((-3.0, 1.0, 10.0, 5.0, 2.0, 14.0))
        points = np.array([[-3.0, 1.0, 10.0], [5.0, 2.0, 14.0], [1.0, 1.5, 12.0], [3.0, 1.25, 13.0]])
        np.testing.assert_allclose(points @ frame[:3, :3].T + frame[:3, 3], [[-1] * 3, [1] * 3, [0] * 3, [0.5, -0.5, 0.5]])
        np.testing.assert_allclose(contracted(points[:2], frame), [[0.25] * 3, [0.75] * 3])

    @pytest.mark.parametrize("knows_up", [True, False])
    def test_it_is_found_around_a_turned_uneven_cloud(self, knows_up: bool) -> None:
        generator = np.random.default_rng(2)
        true_axes = Rotation.from_euler("xyz", [0.4, -0.6, 1.1]).as_matrix().T  # rows: along, across, up
        # Longer along than across, denser at one end, and a few points very far out.
        local = generator.uniform(size=(4000, 3)) ** [1.5, 1.0, 1.0] * [10.0, 4.0, 1.0] + [100.0, -20.0, 7.0]
        points = local @ true_axes
        points[:20] += generator.normal(size=(20, 3)) * 500.0
        centers = (generator.uniform(size=(12, 3)) * [10.0, 4.0, 0.2] + [100.0, -20.0, 9.0]) @ true_axes
        cameras = [_standing_at(center) for center in centers]
        frame, sides = found_frame(cameras, points, true_axes[2] * 3.0 if knows_up else None)
        axes = frame[:3, :3] / np.linalg.norm(frame[:3, :3], axis=1, keepdims=True)
        np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(axes) == pytest.approx(1.0)
        assert abs(axes[0] @ true_axes[0]) > 0.999 and abs(axes[2] @ true_axes[2]) > (0.9999999 if knows_up else 0.99)
        if knows_up:
            assert axes[2] @ true_axes[2] > 0.0
        # The box holds all but a fiftieth on either side, and is mapped to ±1.
        places = points[20:] @ frame[:3, :3].T + frame[:3, 3]
        low, high = np.quantile(places, [0.02, 0.98], axis=0)
        np.testing.assert_allclose([low, high], [[-1.0] * 3, [1.0] * 3], atol=0.03)
        assert sides == pytest.approx((10.0 * (0.98**1.5 - 0.02**1.5), 4.0 * 0.96), rel=0.03)

    @pytest.mark.parametrize("points", [1, 2, 5])
    def test_few_points_have_a_box_too(self, points: int) -> None:
        cloud = np.random.default_rng(0).normal(size=(points, 3))
        cameras = [arc_camera(angle, 48, 32) for angle in (-0.5, 0.0, 0.4)]
        frame, sides = found_frame(cameras, cloud, np.array([0.0, -1.0, 0.0]))
        assert np.isfinite(frame).all() and np.linalg.matrix_rank(frame[:3, :3]) == 3 and min(sides) > 0.0
        even_partition(frame, (2, 1, 1))

    def test_points_above_each_other_have_a_box_too(self) -> None:
        up = np.array([0.3, -0.8, 0.2])
        cloud = np.linspace(0.0, 4.0, 40)[:, None] * up
        frame, sides = found_frame([arc_camera(0.0, 48, 32)], cloud, up)
        axes = frame[:3, :3] / np.linalg.norm(frame[:3, :3], axis=1, keepdims=True)
        np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-9)
        assert axes[2] @ up > 0.0 and min(sides) > 0.0


def _standing_at(center: np.ndarray) -> Cameras:
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, 3] = -torch.from_numpy(center)
    return Cameras(pose, torch.tensor([[40.0, 0, 24], [0, 40, 16], [0, 0, 1]]).double(), 48, 32)


def _two_heaps() -> CoarseModel:
    """A heap of anchors around x = −3 and one around x = 3, both bright."""
    heaps = [random_anchors(30, seed) for seed in (0, 1)]
    positions = torch.cat([heap.positions * 0.3 + torch.tensor([x, 0.0, 0.0]) for heap, x in zip(heaps, (-3.0, 3.0))])
    anchors = Anchors(positions, torch.zeros(60, SLOTS, 3), torch.zeros(60, CHANNELS), torch.full((60, 6), math.log(0.2)))
    return CoarseModel(anchors, plain_heads(), cell=0.05, scene_extent=4.0, importance=torch.ones(60), seconds=0.0)


class TestVisibility:
    HALVES = even_partition(frame_of_box((-4.0, -1.0, -4.0, 4.0, 1.0, 4.0)), (2, 1, 1))

    def _cameras(self) -> list[Cameras]:
        """In front of the left heap, in front of the right heap, far away with both in view, looking away from both."""
        away = torch.diag(torch.tensor([-1.0, 1.0, -1.0, 1.0], dtype=torch.float64))
        left, right, both = (_standing_at(np.array(place)) for place in ([-3.0, 0, -2.5], [3.0, 0, -2.5], [0.5, 0, -9.0]))
        turned = Cameras(away @ left.camera_from_world, left.K, 48, 32)
        return [left, right, both, turned]

    def test_cameras_by_place(self) -> None:
        inside = cameras_inside(self.HALVES, self._cameras())
        assert inside.tolist() == [[True, False], [False, True], [False, True], [True, False]]

    def test_change_is_what_is_missing_without_a_block(self) -> None:
        model, cameras, progress = _two_heaps(), self._cameras(), NullProgress()
        change = visible_change(self.HALVES, model, cameras, 2, progress)
        assert change.shape == (4, 2) and change.dtype == np.float32
        assert change[0, 1] == change[1, 0] == 0.0 and not change[3].any()  # out of sight
        assert change[0, 0] > 0.3 and change[1, 1] > 0.3 and (change[2] > 0.03).all()
        # By the definition, at half the size.
        small = cameras[2].resized(24, 16)
        owner = torch.from_numpy(self.HALVES.block_of(model.anchors.positions.numpy()))
        whole = render(decoded_anchors(model.anchors, model.heads, small).gaussians, small).color.clamp(0, 1)
        for block in range(2):
            without = render(decoded_anchors(model.anchors.select(owner != block), model.heads, small).gaussians, small).color
            expected = 1.0 - assignment.ssim(without.clamp(0, 1), whole)
            assert float(change[2, block]) == pytest.approx(expected, abs=1e-5)

    def test_a_scene_of_one_block(self) -> None:
        one = even_partition(HERE, (1, 1, 1))
        change = visible_change(one, _two_heaps(), self._cameras(), 1, NullProgress())
        assert change[0, 0] > 0.3 and change[3, 0] == 0.0

    def test_cameras_belong_by_place_or_by_what_they_see(self) -> None:
        few = AssignmentSettings(fewest_cameras=0, fewest_anchors=0)
        model, cameras = _two_heaps(), self._cameras()
        found, belongs, said = with_cameras(self.HALVES, model, cameras, few, NullProgress())
        assert found is self.HALVES and said == []
        assert belongs.tolist() == [[True, False], [False, True], [True, True], [True, False]]
        strict = replace(few, threshold=2.0)  # no change is larger
        _, belongs, _ = with_cameras(self.HALVES, model, cameras, strict, NullProgress())
        assert np.array_equal(belongs, cameras_inside(self.HALVES, cameras))

    def test_what_the_whole_scene_is_seen_of_is_summed_over_views(self) -> None:
        model, cameras = _two_heaps(), self._cameras()
        found = anchor_importance(model.anchors, model.heads, cameras)
        assert found[:30].min() > 0.0 and found[30:].min() > 0.0
        alone = sum(anchor_importance(model.anchors, model.heads, [camera]) for camera in cameras)
        torch.testing.assert_close(found, alone)
        decoded = decoded_anchors(model.anchors, model.heads, cameras[0])
        seen = render(decoded.gaussians, cameras[0], contribution=True)
        assert seen.contribution is not None and decoded.row_of is not None
        expected = torch.zeros(60)
        for row, weight in zip(decoded.row_of.tolist(), seen.contribution.weight_sum.tolist()):
            expected[row] += weight
        torch.testing.assert_close(anchor_importance(model.anchors, model.heads, cameras[:1]), expected)


class TestStarvedBlocks:
    def _partition(self) -> Partition:
        """Block 0 fills the left half; on the right 1 is a thin strip, and 2 what is left: 1 has more in common with 0."""
        cells = [[[0, 0, 0], [0.5, 1, 1]], [[0.5, 0, 0], [0.9, 0.3, 1]], [[0.5, 0.3, 0], [1, 1, 1]], [[0.9, 0, 0], [1, 0.3, 1]]]
        return Partition(frame_of_box((-4.0, -4.0, -4.0, 4.0, 4.0, 4.0)), np.array(cells), np.array([0, 1, 2, 1]))

    def test_they_are_given_to_the_neighbour_with_the_largest_face(self) -> None:
        partition, model = self._partition(), _two_heaps()
        assert np.bincount(partition.block_of(model.anchors.positions.numpy())).tolist() == [30, 0, 30]
        cameras = [_standing_at(np.array([x, 0.0, -2.5])) for x in (-3.0, -2.8, 3.0, 2.7)]
        settings = AssignmentSettings(fewest_cameras=1, fewest_anchors=20)
        found, belongs, said = with_cameras(partition, model, cameras, settings, NullProgress())
        # 0.5 of the face towards 2, 0.3 of that towards 0
        assert partition.touching(1) == [2, 0]
        assert found.num_blocks == 2 and found.block_of_cell.tolist() == [0, 1, 1, 1]
        assert belongs.tolist() == [[True, False], [True, False], [False, True], [False, True]]
        assert len(said) == 1 and re.fullmatch("a block with 0 cameras and 0 coarse anchors was given to a neighbour", said[0])

    def test_who_sees_a_grown_block_is_found_out_and_nothing_else_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A strip with a part of the right heap is given away: the result is that of the new partition as a whole."""
        cells = [[[0, 0, 0], [0.5, 1, 1]], [[0.5, 0, 0], [0.6, 1, 1]], [[0.6, 0, 0], [1, 1, 1]]]
        partition = Partition(frame_of_box((-4.0, -4.0, -4.0, 4.0, 4.0, 4.0)), np.array(cells), np.array([1, 0, 2]))
        model = _two_heaps()
        model.anchors.positions[40:, 0] -= 2.2  # two thirds of the right heap lie in the strip
        assert np.bincount(partition.block_of(model.anchors.positions.numpy())).tolist() == [20, 30, 10]
        cameras = [
            _standing_at(np.array([x, 0.0, z])) for x, z in ((-3.0, -2.5), (-2.0, -4.0), (0.8, -2.5), (3.0, -2.5), (0, -9.0))
        ]
        asked: list[object] = []
        compute = assignment.visible_change
        monkeypatch.setattr(assignment, "visible_change", lambda *given: asked.append(given[5:]) or compute(*given))
        settings = AssignmentSettings(fewest_cameras=0, fewest_anchors=15, threshold=0.02)
        found, belongs, said = with_cameras(partition, model, cameras, settings, NullProgress())
        assert found.num_blocks == 2 and len(said) == 1 and asked == [(), ([0],)]
        change = compute(found, model, cameras, settings.downscale, NullProgress())
        assert np.array_equal(belongs, cameras_inside(found, cameras) | (change > settings.threshold))
        assert belongs.any(axis=0).all() and not belongs.all()

    def test_until_all_have_enough_or_one_is_left(self) -> None:
        cameras = [_standing_at(np.array([x, 0.0, -2.5])) for x in (-3.0, -2.8, 3.0)]
        for settings, blocks in (
            (AssignmentSettings(fewest_cameras=2, fewest_anchors=0), 1),
            (AssignmentSettings(fewest_cameras=0, fewest_anchors=31), 1),
            (AssignmentSettings(fewest_cameras=9, fewest_anchors=99), 1),
            (AssignmentSettings(fewest_cameras=1, fewest_anchors=30), 2),
        ):
            found, belongs, said = with_cameras(self._partition(), _two_heaps(), cameras, settings, NullProgress())
            assert found.num_blocks == blocks == belongs.shape[1] and len(said) == 3 - blocks
            assert belongs.any(axis=1).all()

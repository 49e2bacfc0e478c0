"""Where the first anchors are, the decoder's first values, and what anchors are trained for beside the photographs."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from tests.support.fabricated_capture import fabricated_capture, true_gaussians
from tests.support.small_anchors import CHANNELS, HIDDEN, INPUTS, SLOTS, SMALL, random_anchors, small_decoder

from scenewise.engine.randomness import RandomStreams
from scenewise.errors import ConventionError
from scenewise.kernels.anchor_decoder import DecoderHeads
from scenewise.parts.splats.anchors.building import build_anchor_trainer
from scenewise.parts.splats.anchors.decoder import HEADS, AnchorDecoder, copied, heads_of
from scenewise.parts.splats.anchors.field import AnchorField, AnchorRates
from scenewise.parts.splats.anchors.objectives import ChildVolume
from scenewise.parts.splats.anchors.recipes import FAST_ANCHORS, AnchorRecipe, with_anchor_cap
from scenewise.parts.splats.anchors.starting import anchors_from_points, finest_cell, occupied_cells
from scenewise.parts.splats.fields import DecodedGaussians
from scenewise.parts.splats.schedules import Schedule
from scenewise.parts.splats.strategies import StepContext
from scenewise.parts.splats.views import TrainingViews
from scenewise.rendering import render
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.point_clouds import PointCloud

CAPTURE = fabricated_capture(views=6, width=48, height=32)


def _points(n: int = 300, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 3)) * [1.0, 0.6, 0.2] + [3.0, -2.0, 0.4]


def test_occupied_cells_are_those_that_hold_a_point() -> None:
    points, size = _points(), 0.21
    expected = {tuple(round(float(x) / size) for x in point) for point in points}
    found = occupied_cells(points, size)
    assert len(found) == len(expected) < len(points) and {tuple(cell) for cell in found.tolist()} == expected
    assert found.tolist() == sorted(found.tolist())
    # The middle of a cell is a multiple of its size: it reaches from half a size below to half a size above.
    assert occupied_cells(np.array([[0.49, -0.49, 0.51], [2.4, -2.6, 0.0]]), 1.0).tolist() == [[0, 0, 1], [2, -3, 0]]


def test_anchors_stand_in_the_middle_of_their_cells_as_large_as_the_gap_to_their_neighbours() -> None:
    points, cell, extent = _points(), 0.21, 40.0
    anchors = anchors_from_points(PointCloud(points), extent, cell, slots=SLOTS, channels=CHANNELS)
    centers = occupied_cells(points, cell) * cell
    torch.testing.assert_close(anchors.positions, torch.from_numpy(centers).float(), rtol=0, atol=0)
    for row in (0, 17, len(anchors) - 1):
        distances = np.sort(np.linalg.norm(centers - centers[row], axis=1))[1:4]
        spacing = 0.5 * math.log(float((distances**2).mean()))
        assert anchors.log_scales[row].tolist() == pytest.approx([spacing] * 6, abs=1e-5)
    assert anchors.offsets.shape == (len(anchors), SLOTS, 3) and not anchors.offsets.any()
    assert anchors.features.shape == (len(anchors), CHANNELS) and not anchors.features.any()


def test_the_finest_cell_is_half_the_median_gap_in_any_unit() -> None:
    points, extent = _points(), 4.0
    gaps = cKDTree(points).query(points, k=4)[0][:, 1:]
    expected = 0.5 * float(np.median(np.sqrt((gaps**2).mean(axis=1))))
    assert finest_cell(points, extent) == pytest.approx(expected, rel=1e-12)
    for unit in (1e-3, 2.54, 1e4):
        assert finest_cell(points * unit, extent * unit) == pytest.approx(expected * unit, rel=1e-9)


@pytest.mark.errors
def test_points_and_cells_that_anchors_cannot_be_made_of() -> None:
    def start(points: np.ndarray, cell: float) -> None:
        anchors_from_points(PointCloud(points), 1.0, cell, slots=SLOTS, channels=CHANNELS)

    with pytest.raises(ConventionError, match="initial points: expected at least one, got 0"):
        start(np.zeros((0, 3)), 0.1)
    with pytest.raises(ConventionError, match="initial points: expected at least one, got 0"):
        finest_cell(np.zeros((0, 3)), 1.0)
    for cell in (0.0, -0.1, math.nan, math.inf, 1e-300):
        with pytest.raises(ConventionError, match=r"^cell: expected .*got"):
            start(np.full((3, 3), 7.0), cell)
    with pytest.raises(ConventionError, match=r"cell: expected one that suits the scene.*raise it"):
        start(np.full((3, 3), 7e5), 1e-7)


class TestBuilding:
    def test_the_cell_of_a_run_is_found_once_and_kept(self) -> None:
        assert CAPTURE.points is not None
        recipe = AnchorRecipe(steps=40, decoder=SMALL, max_initial_anchors=60)
        trainer = build_anchor_trainer(CAPTURE, CAPTURE.points, recipe)
        assert len(trainer.field.store) <= 60
        # of all points, not of those that are left
        found = trainer.checkpoint()
        assert found.details["cell"] == finest_cell(CAPTURE.points.points_in_world, trainer.scene_extent)
        again = build_anchor_trainer(CAPTURE, None, recipe, resume_from=found)
        assert again.checkpoint().details["cell"] == found.details["cell"]
        assert all(torch.equal(again.field.store[name], trainer.field.store[name]) for name in trainer.field.store)
        given = build_anchor_trainer(CAPTURE, CAPTURE.points, replace(recipe, cell=0.125))
        assert given.checkpoint().details["cell"] == 0.125
        assert torch.equal(given.field.store["positions"] * 8.0, (given.field.store["positions"] * 8.0).round())

    @pytest.mark.errors
    def test_no_points_and_another_run(self) -> None:
        recipe = AnchorRecipe(steps=40, decoder=SMALL)
        with pytest.raises(ConventionError, match="points: expected initial points or a checkpoint"):
            build_anchor_trainer(CAPTURE, None, recipe)
        with pytest.raises(ConventionError, match="initial points: expected at least one"):
            build_anchor_trainer(CAPTURE, PointCloud(np.zeros((0, 3))), recipe)
        found = build_anchor_trainer(CAPTURE, CAPTURE.points, recipe).checkpoint()
        with pytest.raises(ConventionError, match=r"option rates\.features"):
            build_anchor_trainer(CAPTURE, None, replace(recipe, rates=AnchorRates(features=1e-3)), resume_from=found)

    def test_a_cap_of_its_own_and_that_of_the_recipe(self) -> None:
        assert with_anchor_cap(FAST_ANCHORS, 7).growth.max_anchors == 7
        assert with_anchor_cap(FAST_ANCHORS, None) == FAST_ANCHORS


class TestDecoder:
    def test_first_values_are_uniform_within_one_over_the_root_of_the_inputs(self) -> None:
        heads = small_decoder().heads()
        first = HIDDEN * (INPUTS + 1)
        for name, outputs in (("opacity", SLOTS), ("color", 3 * SLOTS), ("covariance", 7 * SLOTS)):
            flat = getattr(heads, name).detach()
            assert len(flat) == first + outputs * (HIDDEN + 1)
            for part, inputs in ((flat[:first], INPUTS), (flat[first:], HIDDEN)):
                most = float(part.abs().max()) * math.sqrt(inputs)
                assert 0.8 < most <= 1.0 and abs(float(part.mean())) * math.sqrt(inputs) < 0.2
        assert torch.equal(heads.color, small_decoder().heads().color)
        assert not torch.equal(heads.color, small_decoder(1).heads().color)

    def test_rates_follow_their_schedules(self) -> None:
        decoder = small_decoder()
        decoder.set_learning_rates(0.5)
        rates = {name: decoder.parameters.learning_rate(name) for name in HEADS}
        assert rates == pytest.approx({"opacity": 2e-4, "color": math.sqrt(8e-3 * 5e-5), "covariance": 4e-3})

    def test_gradients_in_one_vector_and_back(self) -> None:
        decoder = small_decoder()
        heads = decoder.heads()
        (heads.opacity.sum() * 2.0 + (heads.covariance * torch.arange(len(heads.covariance))).sum()).backward()
        flat = decoder.flat_gradient()
        expected = [torch.full_like(heads.opacity, 2.0), torch.zeros_like(heads.color), torch.arange(len(heads.covariance))]
        assert torch.equal(flat, torch.cat(expected))
        decoder.set_flat_gradient(-flat)
        assert torch.equal(decoder.flat_gradient(), -flat)
        for name in HEADS:
            gradient = decoder.parameters[name].grad
            assert gradient is not None and gradient.shape == decoder.parameters[name].shape

    def test_given_heads_are_copied(self) -> None:
        given = copied(small_decoder().heads())
        decoder = AnchorDecoder(SMALL, given)
        before = given.color.clone()
        decoder.heads().color.sum().backward()
        decoder.parameters.step()
        assert torch.equal(given.color, before) and not torch.equal(decoder.heads().color, before)
        named = {name: getattr(given, name) for name in reversed(HEADS)}
        assert all(getattr(heads_of(named), name) is named[name] for name in HEADS)
        fixed = copied(decoder.heads())
        assert isinstance(fixed, DecoderHeads) and not fixed.color.requires_grad
        assert fixed.color.data_ptr() != decoder.heads().color.data_ptr()


def _volume(gaussians: Gaussians, extent: float) -> float | None:
    view = TrainingViews(CAPTURE.train_frames).load(0)
    field = AnchorField(random_anchors(2), small_decoder(), AnchorRates())
    context = StepContext(0, Schedule(10), field, extent, RandomStreams(0), DecodedGaussians(gaussians))
    output = render(gaussians, view.camera)
    found = ChildVolume().value(context, view, output, output.color)
    return None if found is None else float(found)


def test_the_volume_of_children_counts_in_scene_extents() -> None:
    gaussians = true_gaussians(30)
    products = [math.exp(sum(row)) for row in gaussians.log_scales.tolist()]
    found = _volume(gaussians, 2.5)
    assert found == pytest.approx(sum(products) / 30 / 0.5**3, rel=1e-5) and ChildVolume().factor == 0.01
    larger = replace(gaussians, log_scales=gaussians.log_scales + math.log(7.0))
    assert _volume(larger, 7.0 * 2.5) == pytest.approx(found, rel=1e-5)
    assert _volume(gaussians.select(torch.zeros(0, dtype=torch.int64)), 2.5) is None

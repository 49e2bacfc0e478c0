"""``hicl/scannet`` is the published run, to the letter; what the paper leaves open is an option."""

from dataclasses import replace

import pytest
import torch

from scenewise.errors import ConventionError
from scenewise.methods.hicl.compose import recipe
from scenewise.methods.hicl.options import PRESETS, HiclConfig
from scenewise.networks.minkunet import MinkUNet
from scenewise.parts.labelfree.label_sources import Fixed, Switch
from scenewise.parts.labelfree.regularisers import Correlation, FeedbackKL
from scenewise.parts.segments.votes import MajorityVote

DIM = 512


def made(config: HiclConfig):
    text = torch.nn.functional.normalize(torch.randn(20, DIM, generator=torch.Generator().manual_seed(0)), dim=1)
    return recipe(config).build_regularisers(text, 96, 0, 0)


def test_scannet_has_the_published_phases():
    schedule = recipe(PRESETS["scannet"]).schedule
    first, second, third = (
        {"points": 1.0},
        {"points": 1.0, "correlation": 1.0},
        {"points": 1.0, "correlation": 1.0, "feedback": 1.0},
    )
    active = [(epoch, schedule.at(epoch)) for epoch in range(1, 121)]
    assert all(weights == first for epoch, weights in active if epoch <= 10)
    assert all(weights == second for epoch, weights in active if 11 <= epoch <= 20)
    assert all(weights == third for epoch, weights in active if epoch >= 21)
    assert schedule.combine == "mean"


def test_scannet_has_the_published_optimisers_and_sizes():
    config = PRESETS["scannet"]
    assert config == HiclConfig()
    composed = recipe(config)
    points, transformers = composed.points_optimizer, composed.extra_optimizer
    assert (points.kind, points.learning_rate, points.momentum, points.dampening, points.weight_decay) == (
        "sgd",
        0.2,
        0.9,
        0.1,
        1e-4,
    )
    assert transformers is not None and (transformers.kind, transformers.learning_rate) == ("adamw", 2e-4)
    assert (composed.epochs, composed.batch_scans, composed.voxel) == (120, 8, 0.05)
    assert composed.build_pixels is None and composed.pixels_optimizer is None
    assert composed.point_labels.by == "set_vote" and composed.point_labels.set_vote == MajorityVote("scene", "count", True, 0.0)
    assert not composed.point_labels.region_vote and isinstance(composed.source, Fixed)
    network = composed.build_points(3)
    assert isinstance(network, MinkUNet) and network.out_channels == 96
    with_head = sum(parameter.numel() for parameter in network.parameters()) + 96 * DIM + DIM
    assert with_head == pytest.approx(8.06e6, rel=0.01)


def test_scannet_has_two_transformers_of_three_layers_and_1024_tokens():
    correlation, feedback = made(PRESETS["scannet"])
    assert isinstance(correlation, Correlation) and isinstance(feedback, FeedbackKL)
    assert (correlation.name, feedback.name) == ("correlation", "feedback")
    assert list(correlation.modules) == ["scene", "batch"] and correlation.tokens_per_scan == 1024
    for transformer in correlation.modules.values():
        assert len(transformer.layers) == 3
        assert sum(parameter.numel() for parameter in transformer.parameters()) == pytest.approx(9.46e6, rel=0.01)
    assert not correlation.detach and not correlation.deep_supervision and correlation.metres_per_voxel is None
    assert (feedback.space, feedback.direction) == ("class", "distil") and feedback.correlation is correlation


def test_the_ladder_leaves_losses_out():
    config = PRESETS["rooms"]
    two, three, four = (
        replace(config, levels=()),
        replace(config, levels=("scene",), feedback=False),
        replace(config, feedback=False),
    )
    assert made(two) == () and [len(made(rung)) for rung in (three, four, config)] == [1, 1, 2]
    assert list(made(three)[0].modules) == ["scene"] and list(made(four)[0].modules) == ["scene", "batch"]
    names = [set().union(*(phase.weights for phase in recipe(rung).schedule.phases)) for rung in (two, three, four, config)]
    assert names == [{"points"}, {"points", "correlation"}, {"points", "correlation"}, {"points", "correlation", "feedback"}]


@pytest.mark.parametrize(
    ("epochs", "starts"), [(120, [1, 11, 21]), (60, [1, 11, 21]), (40, [1, 4, 8]), (30, [1, 3, 6]), (3, [1, 2, 3])]
)
def test_phases_keep_their_share_in_short_runs(epochs: int, starts: list[int]):
    schedule = recipe(replace(PRESETS["scannet"], epochs=epochs)).schedule
    assert [phase.from_epoch for phase in schedule.phases] == starts


def test_literal_readings_are_options():
    config = replace(
        PRESETS["rooms"],
        vote=MajorityVote(scope="view", fill=False),
        layer_form="paper",
        heads=1,
        positions="xyz_fourier",
        deep_supervision=True,
        detach=True,
        feedback_space="channel",
        feedback_direction="literal",
        self_training=0.5,
        combine="sum",
    )
    composed = recipe(config)
    assert composed.point_labels.set_vote.scope == "view" and composed.schedule.combine == "sum"
    assert composed.source == Switch((0.5, 0.5, 0.0), 10, everywhere=False)
    correlation, feedback = made(config)
    assert correlation.detach and correlation.deep_supervision and correlation.metres_per_voxel == config.voxel
    assert (feedback.space, feedback.direction) == ("channel", "literal")


@pytest.mark.errors
def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ConventionError, match="divisor of dim = 512"):
        made(replace(PRESETS["rooms"], heads=7))

"""``cns/scannet`` is what can be read of the paper."""

from dataclasses import replace

import torch

from scenewise.methods.cns.compose import recipe
from scenewise.methods.cns.options import PRESETS, CnsConfig
from scenewise.networks.deeplab import DeepLab
from scenewise.networks.minkunet import MinkUNet
from scenewise.parts.labelfree.label_sources import Switch
from scenewise.parts.labelfree.regularisers import FeatureMatch

TEXT = torch.nn.functional.normalize(torch.randn(20, 512, generator=torch.Generator().manual_seed(0)), dim=1)
ALL = {"points": 1.0, "pixels": 1.0, "match_points": 1.0, "match_pixels": 1.0}


def test_scannet_is_what_can_be_read_of_the_paper():
    composed = recipe(PRESETS["scannet"])
    assert PRESETS["scannet"] == CnsConfig()
    assert composed.point_labels.by == "pairs" and composed.point_labels.region_vote
    source = composed.source
    assert isinstance(source, Switch) and source.shares == (1 / 3, 1 / 3, 1 / 3) and source.from_epoch == 10
    assert (source.granularity, source.pool_points, source.pool_pixels) == ("step", "regions", True)
    assert composed.epochs == 30 and composed.schedule.combine == "sum"
    assert [dict(phase.weights) for phase in composed.schedule.phases] == [ALL], "matching acts in both stages"
    assert composed.pixels_optimizer == composed.points_optimizer == composed.extra_optimizer


def test_one_projection_per_student_reaches_the_frozen_features():
    points, pixels = recipe(PRESETS["scannet"]).build_regularisers(TEXT, 96, 256, 256)
    assert isinstance(points, FeatureMatch) and isinstance(pixels, FeatureMatch)
    assert (points.modality, pixels.modality) == ("points", "pixels")
    assert points.projection is not None and points.projection.weight.shape == (256, 96)
    assert pixels.projection is not None and pixels.projection.weight.shape == (256, 256)


def test_students_are_a_minkunet34_and_a_deeplab_on_a_resnet50():
    composed = recipe(PRESETS["scannet"])
    network = composed.build_points(3)
    assert isinstance(network, MinkUNet) and [len(level.blocks) for level in network.encoders] == [2, 3, 4, 6]
    assert composed.build_pixels is not None
    pixels = composed.build_pixels()
    assert isinstance(pixels, DeepLab) and (pixels.output_stride, pixels.out_channels) == (8, 256)
    assert [len(stage) for stage in pixels.stages] == [3, 4, 6, 3]


def test_ablations_leave_parts_out():
    config = PRESETS["rooms"]
    assert not recipe(replace(config, region_refined=False)).point_labels.region_vote
    only_points = recipe(replace(config, match_pixels=0.0))
    assert [part.name for part in only_points.build_regularisers(TEXT, 24, 64, 78)] == ["match_points"]
    assert set(only_points.schedule.phases[0].weights) == {"points", "pixels", "match_points"}
    stage_one = recipe(replace(config, switch_shares=(1.0, 0.0, 0.0))).source
    assert isinstance(stage_one, Switch) and stage_one.shares == (1.0, 0.0, 0.0)
    alone = recipe(replace(config, pixel_backbone=None, switch_shares=(0.5, 0.5, 0.0)))
    assert alone.build_pixels is None and set(alone.schedule.phases[0].weights) == {"points", "match_points"}

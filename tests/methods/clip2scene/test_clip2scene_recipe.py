"""``clip2scene/scannet`` is the released configuration."""

from dataclasses import replace

import pytest
import torch

from scenewise.methods.clip2scene.compose import recipe
from scenewise.methods.clip2scene.options import PRESETS, Clip2SceneConfig
from scenewise.networks.spvcnn import SPVCNN
from scenewise.parts.labelfree.label_sources import Switch
from scenewise.parts.labelfree.regularisers import FeatureMatch, GridConsistency
from scenewise.parts.labelfree.settings import OptimizerSettings

TEXT = torch.nn.functional.normalize(torch.randn(20, 512, generator=torch.Generator().manual_seed(0)), dim=1)


def test_scannet_is_the_released_configuration():
    composed = recipe(PRESETS["scannet"])
    assert PRESETS["scannet"] == Clip2SceneConfig()
    assert composed.points_optimizer == OptimizerSettings("sgd", 0.1, momentum=0.9, dampening=0.1, weight_decay=1e-4)
    assert composed.extra_optimizer == composed.points_optimizer, "the second head is trained with the first"
    assert (composed.epochs, composed.batch_scans, composed.views_per_step, composed.voxel) == (30, 8, 8, 0.05)
    assert composed.point_labels.by == "pairs" and not composed.point_labels.region_vote
    assert composed.source == Switch((0.5, 0.5, 0.0), from_epoch=10, everywhere=False)
    assert [dict(phase.weights) for phase in composed.schedule.phases] == [{"points": 1.0, "features": 1.0}]
    assert composed.schedule.combine == "sum" and composed.build_pixels is None


def test_scannet_matches_frozen_features_by_a_second_head():
    (features,) = recipe(PRESETS["scannet"]).build_regularisers(TEXT, 96, 0, 768)
    assert isinstance(features, FeatureMatch) and (features.name, features.modality) == ("features", "points")
    assert features.projection is not None and features.projection.weight.shape == (768, 96)


def test_nuscenes_is_consistent_in_cells_of_ten_centimetres():
    composed = recipe(PRESETS["nuscenes"])
    (grid,) = composed.build_regularisers(TEXT, 480, 0, 0)
    assert isinstance(grid, GridConsistency) and grid.name == "features"
    assert grid.members == 8 and grid.cell_voxels == pytest.approx(1.0), "the voxels are of that size too"
    assert (composed.epochs, composed.batch_scans) == (20, 4)
    assert isinstance(composed.source, Switch) and composed.source.from_epoch == 11, (
        "the code asks for > 10 there, ≥ 10 on ScanNet"
    )
    network = composed.build_points(1)
    assert isinstance(network, SPVCNN) and network.out_channels == 480 and network.dropout == 0.0


def test_parts_can_be_left_out():
    config = replace(PRESETS["rooms"], feature_loss="none", switch_shares=(1.0, 0.0, 0.0))
    composed = recipe(config)
    assert composed.build_regularisers(TEXT, 24, 0, 0) == ()
    assert [dict(phase.weights) for phase in composed.schedule.phases] == [{"points": 1.0}]


@pytest.mark.parametrize(("epochs", "published", "start"), [(30, 30, 10), (40, 30, 13), (120, 120, 10), (40, 120, 4), (2, 30, 2)])
def test_switching_begins_at_its_share_of_the_run(epochs: int, published: int, start: int):
    source = recipe(replace(PRESETS["scannet"], epochs=epochs, published_epochs=published)).source
    assert isinstance(source, Switch) and source.from_epoch == start

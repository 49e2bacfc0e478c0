"""The union holds the parts of all three."""

from dataclasses import replace

import torch

from scenewise.methods.union.compose import recipe
from scenewise.methods.union.options import PRESETS
from scenewise.parts.labelfree.label_sources import Switch

TEXT = torch.nn.functional.normalize(torch.randn(20, 64, generator=torch.Generator().manual_seed(0)), dim=1)


def test_every_part_of_the_three_takes_part():
    composed = recipe(PRESETS["scannet"])
    labels = composed.point_labels
    assert (labels.by, labels.region_vote, labels.set_vote.weighting) == ("set_vote", True, "confidence")
    source = composed.source
    assert isinstance(source, Switch) and source.shares == (1 / 3, 1 / 3, 1 / 3) and source.from_epoch == 41
    assert (source.pool_points, source.pool_pixels) == ("segments", True)
    supervised = {"points", "pixels", "match_points", "match_pixels"}
    assert [(phase.from_epoch, set(phase.weights)) for phase in composed.schedule.phases] == [
        (1, supervised), (11, supervised | {"correlation"}), (21, supervised | {"correlation", "feedback"}),
    ]  # fmt: skip
    assert composed.schedule.combine == "mean" and composed.epochs == 120
    sgd, adamw = composed.points_optimizer, composed.extra_optimizer
    assert adamw is not None and (adamw.kind, adamw.learning_rate) == ("adamw", 2e-4), "of the transformers"
    assert composed.optimizers_by_loss == {"match_points": sgd, "match_pixels": sgd} and sgd.kind == "sgd"
    names = [part.name for part in composed.build_regularisers(TEXT, 96, 256, 256)]
    assert names == ["match_points", "match_pixels", "correlation", "feedback"]


def test_switching_begins_after_a_third_of_short_runs_too():
    source = recipe(PRESETS["rooms"]).source
    assert isinstance(source, Switch) and source.from_epoch == 28


def test_without_a_2d_student_nothing_is_asked_of_pixels():
    composed = recipe(replace(PRESETS["rooms"], pixel_backbone=None, switch_shares=(0.5, 0.5, 0.0)))
    assert composed.build_pixels is None and composed.pixels_optimizer is None
    assert all("pixels" not in name for phase in composed.schedule.phases for name in phase.weights)

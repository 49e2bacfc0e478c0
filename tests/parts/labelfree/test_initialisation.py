"""Students that begin where a pre-trained network ended."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.support.pair_run import WIDTH, write_pair_run
from tests.support.tiny_training import tiny_recipe, tiny_scans, tiny_text

from scenewise.catalogue import method_recipe
from scenewise.errors import ConventionError, DataFormatError
from scenewise.networks.consistent.point_branch import COLOR_CHANNELS
from scenewise.parts.labelfree.backbone_choice import point_backbone
from scenewise.parts.labelfree.initialisation import PretrainedBackbone, load_backbone, pretrained_backbone
from scenewise.parts.labelfree.students import PointStudent
from scenewise.parts.labelfree.trainer import LabelFreeTrainer
from scenewise.teachers.consistent import open_pair


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pair_run(tmp_path_factory.mktemp("pair") / "run", seed=4)


@pytest.fixture(scope="module")
def start(run: Path) -> PretrainedBackbone:
    return pretrained_backbone(f"condense:{run}")


def test_what_is_known_of_the_pre_trained_network(run: Path, start: PretrainedBackbone) -> None:
    assert (start.backbone, start.width, start.in_channels, start.licence) == ("minkunet14a", WIDTH, COLOR_CHANNELS, "CC0-1.0")
    assert start.name == f"condense:{run}" and start.fingerprint == open_pair(start.name).fingerprint


def test_parameters_and_statistics_are_taken_over_and_the_head_is_not(run: Path, start: PretrainedBackbone) -> None:
    torch.manual_seed(0)
    student = PointStudent(point_backbone("minkunet14a", WIDTH)(COLOR_CHANNELS), 7)
    head, before = student.head.weight.detach().clone(), student.backbone.state_dict()["stem.conv.weight"].clone()
    state = {name: value + 1 if value.dtype.is_floating_point else value for name, value in start.state.items()}
    load_backbone(student, state)
    own = student.backbone.state_dict()
    assert own.keys() == state.keys() and any("running" in name for name in own)
    assert all(torch.equal(own[name], state[name]) for name in own)
    assert torch.equal(student.head.weight, head) and not torch.equal(own["stem.conv.weight"], before)
    with torch.no_grad():
        own["stem.conv.weight"].zero_()  # a copy: the next student begins where this one did
    assert start.state["stem.conv.weight"].any()


def test_the_first_step_is_another_and_begins_at_the_pair(start: PretrainedBackbone) -> None:
    recipe = replace(tiny_recipe(epochs=1), build_points=point_backbone("minkunet14a", WIDTH))
    losses = {}
    for begins in (False, True):
        trainer = LabelFreeTrainer(recipe, tiny_scans(3), tiny_text(), seed=1)
        if begins:
            load_backbone(trainer.points, start.state)
            kept = trainer.points.backbone.state_dict()
            assert all(torch.equal(kept[name], value) for name, value in start.state.items())
        trainer.start()
        trainer.step()
        losses[begins] = trainer.describe().loss
    assert abs(losses[True] - losses[False]) > 1e-3


def test_another_network_is_refused_before_anything_is_made(run: Path, start: PretrainedBackbone) -> None:
    for width, fits in ((WIDTH, True), (0.12, True), (1.0, False)):  # channels are rounded up alike
        if fits:
            start.require_fitting("minkunet14a", width, point_backbone("minkunet14a", width))
        else:
            with pytest.raises(
                ConventionError, match=r"expected minkunet14a of width 0.125, as condense:.*got minkunet14a of width 1"
            ):
                start.require_fitting("minkunet14a", width, point_backbone("minkunet14a", width))
    for other in ("minkunet18a", "spvcnn"):
        with pytest.raises(ConventionError, match=f"got {other} of width 0.125"):
            start.require_fitting(other, WIDTH, point_backbone(other, WIDTH))
    with pytest.raises(ConventionError, match=r"expected colour, which condense:.* was given, got intensity"):
        start.require_inputs("intensity")
    start.require_inputs("colour")
    recipe = method_recipe("clip2scene", "rooms", {"width": WIDTH})
    start.require_fitting(str(recipe.config["backbone"]), float(recipe.config["width"]), recipe.build_points)


def test_promised_errors(start: PretrainedBackbone, tmp_path: Path) -> None:
    student = PointStudent(point_backbone("minkunet14a", WIDTH)(1), 7)
    with pytest.raises(ConventionError, match=r"pre-trained weights: stem.conv.weight: expected \(.*\), got \(.*\)"):
        load_backbone(student, start.state)
    with pytest.raises(ConventionError, match=r"pre-trained weights: .*got none"):
        load_backbone(student, {name: value for name, value in start.state.items() if not name.startswith("stem")})
    with pytest.raises(DataFormatError, match=r"a run of scenewise pretrain"):
        pretrained_backbone(f"condense:{tmp_path}")
    with pytest.raises(ConventionError, match=r'"condense" or "condense:RUN"'):
        pretrained_backbone("small-clip")

"""Arms of the study of Momentum-GS on a tiny city: what a bare and a repeated arm change, and what the control measures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.tiny_city import tiny_city, tiny_config

from scenewise.methods.momentum_gs.partition import even_partition
from scenewise.methods.momentum_gs.planning import frame_of_box
from scenewise.parts.splats.anchors.decoder import HEADS
from scenewise.studies.city import arms, control
from scenewise.studies.city.arms import BareArm, CityArm, RepeatedArm, bare, trained
from scenewise.studies.city.control import ControlArm, Drift, drift_of, moved
from scenewise.studies.city.towns import QUICK_SIZE, TownBench


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> TownBench:
    """A bench whose town is the tiny city."""
    monkeypatch.setattr(
        arms,
        "config_of",
        lambda arm, bench: tiny_config(shares_decoder=arm.shares, workers=arm.workers, teacher=arm.teacher, weighting=None),
    )
    monkeypatch.setattr(TownBench, "city", lambda self, grid: tiny_city())
    return TownBench(QUICK_SIZE, 0, tmp_path / "bench")


def test_a_bare_model_knows_places_and_nothing_else() -> None:
    model = tiny_city().model
    found = bare(model, 1)
    places = np.unique(np.round(model.anchors.positions.numpy() / model.cell), axis=0)
    assert len(found.anchors) == len(places) and not found.anchors.features.any() and not found.anchors.offsets.any()
    again, other = bare(model, 1), bare(model, 2)
    for name in HEADS:
        assert torch.equal(getattr(found.heads, name), getattr(again.heads, name))
        assert not torch.equal(getattr(found.heads, name), getattr(other.heads, name))


@pytest.fixture(autouse=True)
def small_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arms, "FAST_MOMENTUM", tiny_config())


def test_arms_differ_in_what_they_say(bench: TownBench, tmp_path: Path) -> None:
    def seen(arm: CityArm, name: str) -> torch.Tensor:
        folder = tmp_path / name
        folder.mkdir()
        made = trained(arm, bench, folder)
        assert made.rows > 0 and made.bytes > 0
        return made.merged(made.city.frames(0)[0].camera).means

    plain, again = seen(CityArm(), "plain"), seen(CityArm(), "again")
    assert torch.equal(plain, again)
    assert not torch.equal(plain, seen(RepeatedArm(), "repeated"))
    assert not torch.equal(plain, seen(BareArm(), "bare"))
    assert not torch.equal(plain, seen(CityArm(shares=False), "own"))


def test_the_control_tells_what_an_idle_block_forgets(bench: TownBench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    city = tiny_city()
    halves = even_partition(frame_of_box((-2.0, -2.0, -2.0, 2.0, 2.0, 2.0)), (2, 1, 1))
    centers = torch.stack([frame.camera.centers_in_world for frame in city.capture.train_frames]).numpy()
    city = replace(city, partition=halves, belongs=halves.block_of(centers)[:, None] == np.arange(2))
    capture = control.in_two_lights(city.capture, halves)
    lit = [frame.load_image() for frame in capture.frames]  # type: ignore[misc]
    plain = [frame.load_image() for frame in city.capture.frames]  # type: ignore[misc]
    assert any(np.array_equal(a, b) for a, b in zip(lit, plain)) and not all(np.array_equal(a, b) for a, b in zip(lit, plain))
    monkeypatch.setattr(control, "control_city", lambda bench, two_lights: replace(city, capture=capture))
    monkeypatch.setattr(
        control,
        "control_config",
        lambda arm, bench, slot_steps, rounds: tiny_config(teacher=arm.teacher, weighting=None, frozen_round=arm.frozen),
    )

    def drift(arm: ControlArm, name: str) -> Drift:
        return drift_of(arm, bench, tmp_path / name, slot_steps=4, rounds=3)

    free = drift(ControlArm(), "free")
    assert free.color > 0.0 and free.forgotten != 0.0 and free.lag == 0.0
    assert drift(ControlArm(), "again") == free
    frozen = drift(ControlArm(frozen=True), "frozen")
    assert frozen != free and frozen.color > 0.0


def test_nothing_moves_between_a_decoder_and_itself() -> None:
    city = tiny_city()
    cameras = [frame.camera for frame in city.frames(1)]
    heads = city.model.heads
    assert moved(city.model.anchors, heads, heads, cameras) == (0.0, 0.0, 0.0)
    assert min(moved(city.model.anchors, heads, bare(city.model, 5).heads, cameras)) > 0.0

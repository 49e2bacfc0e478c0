"""scenewise train --init: the 3D network begins as a pre-trained one."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.between_workers import made_once
from tests.support.pair_run import WIDTH, write_pair_run

from scenewise.commands.predict.options import PredictOptions
from scenewise.commands.predict.run import predict
from scenewise.commands.train.options import TrainOptions
from scenewise.commands.train.run import overrides_of, train
from scenewise.engine.checkpoints import Checkpointer
from scenewise.engine.journal import read_journal
from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.ply.points import write_points_ply
from scenewise.io.run_folder import read_run_config
from scenewise.parts.labelfree.initialisation import pretrained_backbone
from scenewise.parts.sources.room_scans import RoomScanSettings, write_room_data_set
from scenewise.scenes.point_clouds import PointCloud
from scenewise.worlds.seeds import LEARNING_SEEDS, VALIDATION_SEEDS


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = RoomScanSettings(frames=4, width=80, height=60, spacing=0.06)

    def make(place: Path) -> None:
        write_room_data_set(place, LEARNING_SEEDS[:2], VALIDATION_SEEDS[:1], settings=settings)

    return made_once(tmp_path_factory, "train_rooms", make)[0]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pair_run(tmp_path_factory.mktemp("pair") / "pretrained")


@pytest.fixture(scope="module")
def begun(rooms: Path, pair: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainOptions:
    """Options of a finished run; its folder is to be left as it is."""
    folder = tmp_path_factory.mktemp("begun")
    options = TrainOptions(
        method="hicl",
        data=rooms,
        out=folder / "run",
        init=f"condense:{pair}",
        preset="rooms",
        voxel=0.15,
        epochs=2,
        batch=2,
        picture_width=80,
        views=1,
        cache=folder / "scans",
        threads=1,
        device="cpu",
    )
    train(options)
    return options


def losses(folder: Path) -> list[float]:
    return [event["loss"] for event in read_journal(folder / "log.jsonl") if event["event"] == "step"]


def parameters(folder: Path) -> dict[str, Any]:
    found = Checkpointer(folder / "checkpoints").latest()
    assert found is not None and found.step == 2
    return dict(found.parameters)


def test_the_run_says_what_it_began_as_and_takes_the_network_over(begun: TrainOptions, pair: Path, tmp_path: Path):
    config = read_run_config(begun.out)
    assert config.init is not None and config.init.name == f"condense:{pair}"
    assert config.init.fingerprint == pretrained_backbone(config.init.name).fingerprint
    assert (config.network.backbone, config.network.width) == ("minkunet14a", WIDTH)  # the preset's width is another
    assert config.settings["width"] == WIDTH and config.licences[config.init.name] == "CC0-1.0"
    assert f"began as the 3D network of condense:{pair}" in (begun.out / "model_card.md").read_text()
    draw = np.random.default_rng(0)
    write_points_ply(
        tmp_path / "a.ply", PointCloud(draw.uniform(0, 2, (200, 3)), draw.integers(0, 256, (200, 3), dtype=np.uint8))
    )
    assert predict(PredictOptions(run=begun.out, target=tmp_path / "a.ply", out=tmp_path / "scene", threads=1)).points == 200


def test_it_begins_elsewhere_than_chance(begun: TrainOptions, tmp_path: Path):
    by_chance = replace(begun, out=tmp_path / "run", init=None, width=WIDTH)
    train(by_chance)
    first = [losses(folder)[0] for folder in (begun.out, by_chance.out)]
    assert abs(first[0] - first[1]) > 1e-3
    assert read_run_config(by_chance.out).init is None and '"init"' not in (by_chance.out / "config.json").read_text()
    assert "began as" not in (by_chance.out / "model_card.md").read_text()


def test_a_stopped_run_goes_on_and_only_from_the_same_start(begun: TrainOptions, pair: Path, tmp_path: Path):
    again = tmp_path / "again"
    shutil.copytree(begun.out, again)
    shutil.rmtree(sorted((again / "checkpoints").iterdir())[-1])  # as if killed after the first epoch
    for init, message in ((None, "option init"), (f"condense:{write_pair_run(tmp_path / 'other', seed=1)}", "option init")):
        with pytest.raises(ConventionError, match=message):
            train(replace(begun, out=again, init=init, width=WIDTH, resume=True))
    moved = tmp_path / "moved"
    shutil.copytree(pair, moved)
    train(replace(begun, out=again, init=f"condense:{moved}", resume=True))
    one, two = parameters(begun.out), parameters(again)
    assert one.keys() == two.keys() and all(np.array_equal(value, two[name]) for name, value in one.items())


def test_what_is_given_goes_before_the_run_and_must_fit(begun: TrainOptions, pair: Path):
    start = pretrained_backbone(f"condense:{pair}")
    assert overrides_of(begun, start)["width"] == WIDTH and overrides_of(begun, start)["backbone"] == "minkunet14a"
    assert "width" not in overrides_of(replace(begun, init=None))
    assert overrides_of(replace(begun, width=0.5), start)["width"] == 0.5
    for changes in ({"width": 1.0}, {"backbone": "minkunet34c"}, {"backbone": "spvcnn"}):
        with pytest.raises(ConventionError, match=r"network to begin with: expected minkunet14a of width 0.125, as condense:"):
            train(replace(begun, overwrite=True, **changes))
    with pytest.raises(ConventionError, match=r'--init: expected "condense" or "condense:RUN", got .small-clip.'):
        replace(begun, init="small-clip")
    with pytest.raises(DataFormatError, match=r"a run of scenewise pretrain"):
        train(replace(begun, init="condense:nowhere", overwrite=True))
    assert len(losses(begun.out)) == 2  # a refused overwrite leaves the run as it was

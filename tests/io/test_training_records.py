"""What the folder of a trained network says of it, and where the network in it is."""

import json
from pathlib import Path

import pytest

from scenewise.errors import DataFormatError
from scenewise.io.run_folder import POINT_RUN, RunKind, is_run_folder
from scenewise.io.training_records import (
    CLASSIFIER_RUN,
    GRAPH_RUN,
    PRETRAINING_RUN,
    TrainingRecord,
    begin_run,
    network_at,
    read_training_record,
    write_training_record,
)

CHOSEN = {
    GRAPH_RUN: {"method": "vl_sat", "teacher": "small-clip", "text": None},
    CLASSIFIER_RUN: {"start": "condense"},
    PRETRAINING_RUN: {"method": "condense", "precision": "bfloat16", "teacher": "small-clip", "tower_fingerprint": "ab12"},
}
KINDS = [pytest.param(kind, id=kind.command) for kind in CHOSEN]


def record_of(kind: RunKind) -> TrainingRecord:
    data = {"path": "rooms:3", "scans": 3}
    licences = {"small-clip": "Apache-2.0", "rooms": None}
    return TrainingRecord("rooms", 7, {"steps": 4}, data, CHOSEN[kind], licences, {"scenewise": "1.0"}, "c0ffee")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read_and_stands_flat_in_the_file(kind: RunKind, tmp_path: Path) -> None:
    write_training_record(tmp_path, kind, record_of(kind))
    assert read_training_record(tmp_path, kind) == record_of(kind)
    told = json.loads((tmp_path / "config.json").read_text())
    common = {"preset", "seed", "settings", "data", "licences", "versions", "git_commit"}
    assert told.keys() == {"format", "version", *common, *CHOSEN[kind]} and (told["format"], told["version"]) == (kind.format, 1)
    assert told["data"] == {"path": "rooms:3", "scans": 3} and told["seed"] == 7


def test_names_of_the_files_of_a_run() -> None:
    assert POINT_RUN.files == ("vocabulary.json", "log.jsonl", "model_card.md", "config.json")
    assert GRAPH_RUN.files == ("graph_network.safetensors", "figures.json", "log.jsonl", "model_card.md", "config.json")
    assert PRETRAINING_RUN.files[-2:] == ("README.md", "config.json") and "features.png" in PRETRAINING_RUN.files


@pytest.mark.errors
@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_named(kind: RunKind, tmp_path: Path) -> None:
    write_training_record(tmp_path, kind, record_of(kind))
    told = json.loads((tmp_path / "config.json").read_text())
    other = GRAPH_RUN if kind is CLASSIFIER_RUN else CLASSIFIER_RUN
    changes = [{"seed": "7"}, {"format": other.format}, {"version": 2}, {"colour": 1}, {"settings": []}]
    changes += [{name: 3} for name in CHOSEN[kind]]
    for change in changes:
        (tmp_path / "config.json").write_text(json.dumps({**told, **change}))
        with pytest.raises(DataFormatError, match=next(iter(change))):
            read_training_record(tmp_path, kind)


def test_a_begun_run_says_what_it_is_and_keeps_what_it_said(tmp_path: Path) -> None:
    first = record_of(GRAPH_RUN)
    begin_run(tmp_path / "run", GRAPH_RUN, first, overwrite=False)
    again = TrainingRecord(**{**vars(first), "seed": 8})
    begin_run(tmp_path / "run", GRAPH_RUN, again, overwrite=False)
    assert read_training_record(tmp_path / "run", GRAPH_RUN).seed == 7
    for name in ("graph_network.safetensors", "figures.json", "notes.txt"):
        (tmp_path / "run" / name).write_text("")
    begin_run(tmp_path / "run", GRAPH_RUN, again, overwrite=True)
    assert read_training_record(tmp_path / "run", GRAPH_RUN).seed == 8
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"config.json", "notes.txt"}
    assert is_run_folder(tmp_path / "run", GRAPH_RUN) and not is_run_folder(tmp_path / "run", CLASSIFIER_RUN)


@pytest.mark.errors
def test_the_network_of_a_place(tmp_path: Path) -> None:
    run, ask = tmp_path / "run", {"expected": "a run", "fix": "name one"}
    assert network_at(tmp_path / "one.safetensors", GRAPH_RUN, **ask) == (tmp_path / "one.safetensors", None)
    run.mkdir()
    with pytest.raises(DataFormatError, match=r"run: expected a run, got a folder without graph_network.*Fix: name one"):
        network_at(run, GRAPH_RUN, **ask)
    begin_run(run, GRAPH_RUN, record_of(GRAPH_RUN), overwrite=False)
    with pytest.raises(DataFormatError, match=r"expected a finished training, .*Fix: go on with .*train-graph … --resume"):
        network_at(run, GRAPH_RUN, **ask)
    (run / "graph_network.safetensors").write_bytes(b"")
    assert network_at(run, GRAPH_RUN, **ask) == (run / "graph_network.safetensors", "run")

"""The folder of a training of one network: what opens the network later, and how it came about.

my_run/
  graph_network.safetensors, classifier.safetensors or consistent.safetensors
                            the network, once the training is finished
  config.json               how it was trained, on what, by whom it was taught
  figures.json              figures on what was kept out of the training, where there is anything
  features.png              of a pre-training: both branches on some pictures, in the colours of one basis
  checkpoints/              the last two; resume from here
  model_card.md             for people: data, teacher, licences, figures, limits; README.md of a pre-training
  log.jsonl                 the run's diary
  cache/                    what is dear to prepare, unless it is kept elsewhere

A run of ``scenewise train``, which holds its network in checkpoints, is :mod:`scenewise.io.run_folder`'s.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scenewise.errors import DataFormatError
from scenewise.io.run_folder import RunKind, is_run_folder, opened_run_config, prepare_run_folder, write_described

FIGURES_FILE = "figures.json"
FEATURES_PICTURE_FILE = "features.png"

GRAPH_RUN = RunKind("scenewise-graph-run", "scenewise train-graph", "graph_network.safetensors", (FIGURES_FILE,))
CLASSIFIER_RUN = RunKind("scenewise-classifier-run", "scenewise train-classifier", "classifier.safetensors", (FIGURES_FILE,))
PRETRAINING_RUN = RunKind(
    "scenewise-pretraining-run",
    "scenewise pretrain",
    "consistent.safetensors",
    (FIGURES_FILE, FEATURES_PICTURE_FILE),
    card="README.md",
)
_CHOSEN = {
    GRAPH_RUN: ("method", "teacher", "text"),
    CLASSIFIER_RUN: ("start",),
    PRETRAINING_RUN: ("method", "precision", "teacher", "tower_fingerprint"),
}


@dataclass(frozen=True)
class TrainingRecord:
    """How a network was trained.

    Attributes:
        preset: of its settings.
        seed: of everything that was drawn.
        settings: all of them, JSON values.
        data: what was trained on, with checksum and counts, JSON values.
        chosen: what else decides a run of its kind: method, precision, the models that had a part in it; None = without.
        licences: of every model and data set used, by name; None = unknown.
        versions: of packages.
        git_commit: of the software, or None.
    """

    preset: str
    seed: int
    settings: Mapping[str, Any]
    data: Mapping[str, Any]
    chosen: Mapping[str, str | None]
    licences: Mapping[str, str | None]
    versions: Mapping[str, str]
    git_commit: str | None = None


def begin_run(folder: Path, kind: RunKind, record: TrainingRecord, *, overwrite: bool) -> None:
    """Makes the folder ready, and says at once what the run is, so that whoever interrupts its preparation can resume it.

    To be called once what the run needs can be read; see :func:`scenewise.io.run_folder.prepare_run_folder`.

    Raises:
        ResourceError: the folder cannot be made or written.
    """
    prepare_run_folder(folder, overwrite=overwrite, kind=kind)
    if not is_run_folder(folder, kind):
        write_training_record(folder, kind, record)


def write_training_record(folder: Path, kind: RunKind, record: TrainingRecord) -> None:
    """Writes ``config.json``; ResourceError where that fails."""
    told = asdict(record)
    write_described(folder, kind, {**told.pop("chosen"), **told})


def read_training_record(folder: Path, kind: RunKind) -> TrainingRecord:
    """What ``config.json`` says.

    Raises:
        DataFormatError: no such run there, one of a later version, or a key that is missing, unknown or of the wrong kind.
    """
    top = opened_run_config(folder, kind)
    found = TrainingRecord(
        preset=top.text("preset"),
        seed=top.integer("seed"),
        settings=top.mapping("settings"),
        data=top.mapping("data"),
        chosen={name: top.text(name, None) for name in _CHOSEN[kind]},
        licences=top.mapping("licences"),
        versions=top.mapping("versions"),
        git_commit=top.text("git_commit", None),
    )
    top.finish()
    return found


def network_at(place: Path, kind: RunKind, *, expected: str, fix: str) -> tuple[Path, str | None]:
    """The file of a trained network, and the name people know it by where that is not the file's.

    Args:
        place: a run's folder, or the file itself.
        kind: of the run.
        expected: what to ask for where a folder has no such file.
        fix: likewise.

    Raises:
        DataFormatError: a folder without such a network, or a run that is not finished.
    """
    place = place.expanduser()
    if not place.is_dir():
        return place, None
    file = place / kind.network
    if file.is_file():
        return file, place.resolve().name
    if is_run_folder(place, kind):
        go_on = f"go on with {kind.command} … --resume"
        raise DataFormatError(place, expected="a finished training", got=f"no {kind.network} yet", fix=go_on)
    raise DataFormatError(place, expected=expected, got=f"a folder without {kind.network}", fix=fix)

"""The folder of a training of a classifier of objects: what ``scenewise classify --run`` needs, and how it came about.

my_run/
  classifier.safetensors     the network, once the training is finished
  config.json                how it was trained, on what, from which start
  figures.json               how often held-out objects are named right, where there are any
  checkpoints/               the last two; resume from here
  model_card.md              for people: data, start, licences, figures, limits
  log.jsonl                  the run's diary
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scenewise.io.atomic import atomic_write_json
from scenewise.io.run_folder import MODEL_CARD_FILE, RUN_FILE, RUN_LOG_FILE, RunKind, opened_run_config

CLASSIFIER_FILE = "classifier.safetensors"
CLASSIFIER_FIGURES_FILE = "figures.json"
CLASSIFIER_RUN = RunKind(
    "scenewise-classifier-run",
    "scenewise train-classifier",
    (CLASSIFIER_FILE, CLASSIFIER_FIGURES_FILE, RUN_LOG_FILE, MODEL_CARD_FILE, RUN_FILE),
)
_VERSION = 1


@dataclass(frozen=True)
class ClassifierRunConfig:
    """How a classifier was trained.

    Attributes:
        preset: of its settings.
        seed: of everything that was drawn.
        settings: all of them, JSON values.
        data: what was trained on, with checksum and counts, JSON values.
        start: whose backbone it began with; None = random weights.
        licences: of every model and data set used, by name; None = unknown.
        versions: of packages.
        git_commit: of the software, or None.
    """

    preset: str
    seed: int
    settings: Mapping[str, Any]
    data: Mapping[str, Any]
    start: str | None
    licences: Mapping[str, str | None]
    versions: Mapping[str, str]
    git_commit: str | None = None


def write_classifier_run_config(folder: Path, config: ClassifierRunConfig) -> None:
    """Writes ``config.json``; ResourceError where that fails."""
    atomic_write_json(folder / RUN_FILE, {"format": CLASSIFIER_RUN.format, "version": _VERSION, **asdict(config)})


def read_classifier_run_config(folder: Path) -> ClassifierRunConfig:
    """What ``config.json`` says.

    Raises:
        DataFormatError: no such run there, one of a later version, or a key that is missing, unknown or of the wrong kind.
    """
    top = opened_run_config(folder, CLASSIFIER_RUN)
    found = ClassifierRunConfig(
        preset=top.text("preset"),
        seed=top.integer("seed"),
        settings=top.mapping("settings"),
        data=top.mapping("data"),
        start=top.text("start", None),
        licences=top.mapping("licences"),
        versions=top.mapping("versions"),
        git_commit=top.text("git_commit", None),
    )
    top.finish()
    return found

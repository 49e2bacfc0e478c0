"""The folder of a pre-training: what ``--teacher condense:RUN`` needs, and how it came about.

my_run/
  consistent.safetensors  both branches, once the training is finished
  config.json             how they were trained, on what, beside which tower
  figures.json            figures on held-out pictures
  features.png            both branches on some of these, in the colours of one basis
  checkpoints/            the last two; resume from here
  README.md               for people: data, tower, licences, figures, limits
  log.jsonl               the run's diary
  cache/                  posed scans, unless they are kept elsewhere
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scenewise.io.atomic import atomic_write_json
from scenewise.io.run_folder import RUN_FILE, RUN_LOG_FILE, RunKind, opened_run_config
from scenewise.teachers.consistent_file import FILE

CARD_FILE = "README.md"
FIGURES_FILE = "figures.json"
PICTURE_FILE = "features.png"
PRETRAINING_RUN = RunKind(
    "scenewise-pretraining-run",
    "scenewise pretrain",
    (FILE, FIGURES_FILE, PICTURE_FILE, RUN_LOG_FILE, CARD_FILE, RUN_FILE),
)
_VERSION = 1


@dataclass(frozen=True)
class PretrainingConfig:
    """How a pair of branches was trained.

    Attributes:
        method: name of its folder.
        preset: of its settings.
        seed: of everything that was drawn.
        precision: of the computation.
        settings: of the method, all of them, JSON values.
        data: what was trained on, with checksum and counts, JSON values.
        teacher: the frozen tower, whose dense features are the prior.
        tower_fingerprint: of its weights.
        licences: of every model and data set used, by name; None = unknown.
        versions: of packages.
        git_commit: of the software, or None.
    """

    method: str
    preset: str
    seed: int
    precision: str
    settings: Mapping[str, Any]
    data: Mapping[str, Any]
    teacher: str
    tower_fingerprint: str
    licences: Mapping[str, str | None]
    versions: Mapping[str, str]
    git_commit: str | None = None


def write_pretraining_config(folder: Path, config: PretrainingConfig) -> None:
    """Writes ``config.json``; ResourceError where that fails."""
    atomic_write_json(folder / RUN_FILE, {"format": PRETRAINING_RUN.format, "version": _VERSION, **asdict(config)})


def read_pretraining_config(folder: Path) -> PretrainingConfig:
    """What ``config.json`` says.

    Raises:
        DataFormatError: no such run there, one of a later version, or a key that is missing, unknown or of the wrong kind.
    """
    top = opened_run_config(folder, PRETRAINING_RUN)
    found = PretrainingConfig(
        method=top.text("method"),
        preset=top.text("preset"),
        seed=top.integer("seed"),
        precision=top.text("precision"),
        settings=top.mapping("settings"),
        data=top.mapping("data"),
        teacher=top.text("teacher"),
        tower_fingerprint=top.text("tower_fingerprint"),
        licences=top.mapping("licences"),
        versions=top.mapping("versions"),
        git_commit=top.text("git_commit", None),
    )
    top.finish()
    return found

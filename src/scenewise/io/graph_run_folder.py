"""The folder of a training of a graph network: what ``scenewise graph --network`` needs, and how it came about.

my_run/
  graph_network.safetensors  the network, once the training is finished
  config.json                how it was trained, on what, by whom it was taught
  figures.json               figures on the validation split, where there is one
  checkpoints/               the last two; resume from here
  model_card.md              for people: data, teacher, licences, figures, limits
  log.jsonl                  the run's diary
  cache/                     what the teacher saw, unless it is kept elsewhere
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scenewise.io.atomic import atomic_write_json
from scenewise.io.run_folder import MODEL_CARD_FILE, RUN_FILE, RUN_LOG_FILE, RunKind, opened_run_config

GRAPH_NETWORK_FILE = "graph_network.safetensors"
FIGURES_FILE = "figures.json"
GRAPH_RUN = RunKind(
    "scenewise-graph-run",
    "scenewise train-graph",
    (GRAPH_NETWORK_FILE, FIGURES_FILE, RUN_LOG_FILE, MODEL_CARD_FILE, RUN_FILE),
)
_VERSION = 1


@dataclass(frozen=True)
class GraphRunConfig:
    """How a graph network was trained.

    Attributes:
        method: name of its folder.
        preset: of its settings.
        seed: of everything that was drawn.
        settings: of the method, all of them, JSON values.
        data: what was trained on, with checksum and counts, JSON values.
        teacher: who looked at the things; None without.
        text: whose sentences the oracle was held to; None without.
        licences: of every model and data set used, by name; None = unknown.
        versions: of packages.
        git_commit: of the software, or None.
    """

    method: str
    preset: str
    seed: int
    settings: Mapping[str, Any]
    data: Mapping[str, Any]
    teacher: str | None
    text: str | None
    licences: Mapping[str, str | None]
    versions: Mapping[str, str]
    git_commit: str | None = None


def write_graph_run_config(folder: Path, config: GraphRunConfig) -> None:
    """Writes ``config.json``; ResourceError where that fails."""
    atomic_write_json(folder / RUN_FILE, {"format": GRAPH_RUN.format, "version": _VERSION, **asdict(config)})


def read_graph_run_config(folder: Path) -> GraphRunConfig:
    """What ``config.json`` says.

    Raises:
        DataFormatError: no such run there, one of a later version, or a key that is missing, unknown or of the wrong kind.
    """
    top = opened_run_config(folder, GRAPH_RUN)
    found = GraphRunConfig(
        method=top.text("method"),
        preset=top.text("preset"),
        seed=top.integer("seed"),
        settings=top.mapping("settings"),
        data=top.mapping("data"),
        teacher=top.text("teacher", None),
        text=top.text("text", None),
        licences=top.mapping("licences"),
        versions=top.mapping("versions"),
        git_commit=top.text("git_commit", None),
    )
    top.finish()
    return found

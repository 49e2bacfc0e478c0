"""The folder of a training run: what ``scenewise predict`` needs, and nothing else.

my_run/
  config.json       how it was trained and what the network is built from
  vocabulary.json   class names, phrases, prompts, colours
  checkpoints/      the last two; resume from here
  model_card.md     for people: data, teacher, licences, figures, limits
  log.jsonl         the run's diary
  cache/            prepared scans, unless they are kept elsewhere
"""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scenewise.errors import DataFormatError, ScenewiseError
from scenewise.io.atomic import atomic_write_json, disk_errors
from scenewise.io.json_fields import JsonFields, read_json_object
from scenewise.io.listed_files import visible

RUN_FILE = "config.json"
RUN_VOCABULARY_FILE = "vocabulary.json"
RUN_CHECKPOINTS = "checkpoints"
MODEL_CARD_FILE = "model_card.md"
RUN_LOG_FILE = "log.jsonl"

_VERSION = 1


@dataclass(frozen=True)
class RunKind:
    """What a run folder may be of.

    Attributes:
        format: in its ``config.json``.
        command: that writes such runs.
        network: name of what holds the trained network: a file, or the checkpoints.
        more: names of further files, beside diary, model card and ``config.json``.
        card: name of the model card.
    """

    format: str
    command: str
    network: str
    more: tuple[str, ...]
    card: str = MODEL_CARD_FILE

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files of a run, its checkpoints and its cache apart."""
        named = (self.network, *self.more, RUN_LOG_FILE, self.card, RUN_FILE)
        return tuple(name for name in named if name != RUN_CHECKPOINTS)


POINT_RUN = RunKind("scenewise-run", "scenewise train", RUN_CHECKPOINTS, (RUN_VOCABULARY_FILE,))


@dataclass(frozen=True)
class RunNetwork:
    """What the trained 3D student is built from.

    Attributes:
        backbone: its name.
        width: multiple of its channels.
        in_channels: of a point's input.
        inputs: what they are: "colour" / 127.5 − 1, "intensity" or "ones".
        dim: of the text space.
        voxel: edge in metres.
    """

    backbone: str
    width: float
    in_channels: int
    inputs: str
    dim: int
    voxel: float


@dataclass(frozen=True)
class RunStart:
    """What a network began as.

    Attributes:
        name: of the pre-trained one.
        fingerprint: of its weights.
    """

    name: str
    fingerprint: str


@dataclass(frozen=True)
class RunConfig:
    """How a network was trained.

    Attributes:
        method: name of its folder.
        preset: of its settings.
        seed: of everything that was drawn.
        precision: of the computation.
        network: what it is built from.
        settings: of the method, all of them, JSON values.
        data: what was trained on, with checksums and counts, JSON values.
        teacher: who named the pixels.
        licences: of every model and data set used, by name; None = unknown.
        versions: of packages.
        git_commit: of the software, or None.
        read_out: what the teacher was read with; None where its answers came finished, and in runs from before this was kept.
        init: what the network began as; None for random numbers.
    """

    method: str
    preset: str
    seed: int
    precision: str
    network: RunNetwork
    settings: Mapping[str, Any]
    data: Mapping[str, Any]
    teacher: str
    licences: Mapping[str, str | None]
    versions: Mapping[str, str]
    git_commit: str | None = None
    read_out: str | None = None
    init: RunStart | None = None


def is_run_folder(folder: str | Path, kind: RunKind = POINT_RUN) -> bool:
    """Whether a training of ours wrote the folder."""
    try:
        return read_json_object(Path(folder) / RUN_FILE).text("format") == kind.format
    except ScenewiseError:
        return False


def require_place_for_run(
    folder: str | Path, *, overwrite: bool = False, resume: bool = False, kind: RunKind = POINT_RUN
) -> None:
    """Refuses a folder that no run may be written into, before anything is read; nothing on disk changes.

    A new or empty folder is always fine, a run with ``resume`` or ``overwrite``.

    Raises:
        DataFormatError: a file stands there, the folder holds something else than a run, or a run and neither flag was given.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise DataFormatError(folder, expected="a folder", got="a file", fix="choose another name")
    if folder.is_dir() and any(entry.name != "cache" for entry in visible(folder.iterdir())):
        if not is_run_folder(folder, kind):
            raise DataFormatError(
                folder, expected="a new folder or a training run", got="a folder with other files", fix="choose another folder"
            )
        if not (overwrite or resume):
            raise DataFormatError(
                folder, expected="a new folder", got="an existing run", fix="--resume continues it, --overwrite replaces it"
            )
    elif resume:
        raise DataFormatError(folder, expected="a run to continue", got="none", fix="leave --resume out")


def prepare_run_folder(folder: str | Path, *, overwrite: bool = False, kind: RunKind = POINT_RUN) -> Path:
    """Makes a folder ready for a run; returns it.

    With ``overwrite`` the run that is there is deleted; prepared scans in its cache stay, as they are found again by what they
    were made from.  To be called once what the run needs can be read, so that a refused command deletes nothing.

    Raises:
        ResourceError: the folder cannot be made or written.
    """
    folder = Path(folder)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if overwrite:
            shutil.rmtree(folder / RUN_CHECKPOINTS, ignore_errors=True)
            for name in kind.files:
                (folder / name).unlink(missing_ok=True)
    return folder


def write_run_config(folder: str | Path, config: RunConfig) -> None:
    """Writes ``config.json``; ResourceError where that fails."""
    told = asdict(config)
    if config.init is None:
        del told["init"]
    write_described(Path(folder), POINT_RUN, told)


def read_run_config(folder: str | Path) -> RunConfig:
    """What ``config.json`` says.

    Raises:
        DataFormatError: no run there, one of a later version, or a key that is missing, unknown or of the wrong kind.
    """
    top = opened_run_config(Path(folder), POINT_RUN)
    network = top.object("network")
    shape = RunNetwork(
        backbone=network.text("backbone"),
        width=network.number("width"),
        in_channels=network.integer("in_channels", minimum=1, maximum=1024),
        inputs=network.choice("inputs", ["colour", "intensity", "ones"]),
        dim=network.integer("dim", minimum=1, maximum=1 << 16),
        voxel=network.number("voxel"),
    )
    network.finish()
    if not (0.0 < shape.width <= 16.0 and shape.voxel > 0.0):
        raise network.wrong("width, voxel", "above 0, and a width of at most 16", f"{shape.width}, {shape.voxel}")
    found = RunConfig(
        method=top.text("method"),
        preset=top.text("preset"),
        seed=top.integer("seed"),
        precision=top.text("precision"),
        network=shape,
        settings=top.mapping("settings"),
        data=top.mapping("data"),
        teacher=top.text("teacher"),
        licences=top.mapping("licences"),
        versions=top.mapping("versions"),
        git_commit=top.text("git_commit", None),
        read_out=top.text("read_out", None),
        init=_start(top.object("init", None)),
    )
    top.finish()
    return found


def write_described(folder: Path, kind: RunKind, told: Mapping[str, Any]) -> None:
    """Writes ``config.json`` of a run of this kind; ResourceError where that fails."""
    atomic_write_json(folder / RUN_FILE, {"format": kind.format, "version": _VERSION, **told})


def _start(told: JsonFields | None) -> RunStart | None:
    if told is None:
        return None
    found = RunStart(told.text("name"), told.text("fingerprint"))
    told.finish()
    return found


def opened_run_config(folder: Path, kind: RunKind) -> JsonFields:
    """The fields of ``config.json`` after format and version.

    Raises:
        DataFormatError: no run of this kind there, or one of a later version.
    """
    path, fix = folder / RUN_FILE, f"name a folder that {kind.command} wrote"
    if not path.is_file():
        got = "nothing" if not folder.exists() else f"no {RUN_FILE}"
        raise DataFormatError(folder, expected="the folder of a training run", got=got, fix=fix)
    top = read_json_object(path)
    if top.text("format") != kind.format:
        raise top.wrong("format", repr(kind.format), "another", fix)
    if top.integer("version") > _VERSION:
        raise top.wrong("version", f"at most {_VERSION}", "a later one", "use a newer Scenewise")
    return top

"""The ``scenewise`` command.

Each command reads its options, then imports and calls one function of ``commands``; nothing before that needs torch, so
``scenewise --help`` is instant.  Results go to standard output (with ``--json`` exactly one JSON object), progress and messages
to standard error.

Exit codes: 0 done; 1 a defect of ours; 2 something about the input or the environment, also of a part of what was asked for;
130 interrupted.
"""

import json as json_format
import os
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Annotated, Any, Union

import tyro

from scenewise import __version__
from scenewise.cli.streams import can_show, print_result, standard_streams
from scenewise.commands.check.options import CheckOptions
from scenewise.commands.classify.options import ClassifyOptions
from scenewise.commands.convert_cameras.options import ConvertCamerasOptions
from scenewise.commands.convert_weights.options import ConvertWeightsOptions
from scenewise.commands.demo.options import DemoOptions
from scenewise.commands.diff.options import DiffOptions
from scenewise.commands.doctor.options import DoctorOptions
from scenewise.commands.duplicates.options import DuplicatesOptions
from scenewise.commands.evaluate.options import EvalOptions
from scenewise.commands.evaluate_2d.options import Evaluate2dOptions
from scenewise.commands.export.options import ExportOptions
from scenewise.commands.features.options import FeaturesOptions
from scenewise.commands.graph.options import GraphOptions
from scenewise.commands.library.options import (
    LibraryAddOptions,
    LibraryCompactOptions,
    LibraryIndexOptions,
    LibraryInfoOptions,
    LibraryListOptions,
    LibraryRemoveOptions,
)
from scenewise.commands.method_settings import read_from
from scenewise.commands.poses.options import PosesOptions
from scenewise.commands.predict.options import PredictOptions
from scenewise.commands.pretrain.options import PretrainOptions
from scenewise.commands.query.options import QueryOptions
from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.commands.render.options import RenderOptions
from scenewise.commands.search.options import SearchOptions
from scenewise.commands.segment.options import SegmentOptions
from scenewise.commands.train.options import TrainOptions
from scenewise.commands.train_classifier.options import TrainClassifierOptions
from scenewise.commands.train_graph.options import TrainGraphOptions
from scenewise.commands.view.options import ViewOptions
from scenewise.engine.deferred import Deferred
from scenewise.engine.memory import is_out_of_memory
from scenewise.engine.progress import Progress, console_progress
from scenewise.errors import ScenewiseError
from scenewise.io.json_values import json_ready

_Json = Annotated[bool, tyro.conf.arg(help="print exactly one JSON object on standard output")]

DESCRIPTION = "Learns 3D scenes from images without labels. Photos in, Gaussian splats out, on a CPU in minutes."


@dataclass(frozen=True)
class Invocation:
    """What the command line asked for.

    Attributes:
        run: does the work and returns a record.
        json: whether the record is printed as JSON.
        resumable: whether ``--resume`` continues it after an interruption.
    """

    run: Callable[[Progress], object]
    json: bool
    resumable: bool = False


@dataclass(frozen=True)
class Command:
    """One word of the command line.

    Attributes:
        options: record of its options, and of nothing else.
        work: (options, progress) → record of what was done.
        about: what the overview says of it.
        resumable: whether ``--resume`` continues it after an interruption.
    """

    options: type
    work: Deferred
    about: str
    resumable: bool = False

    def parser(self) -> Callable[..., Invocation]:
        """A function whose parameters are the options, as tyro reads them."""

        flat = Annotated[self.options, tyro.conf.arg(name="")]

        def invoke(options: flat, *, json: _Json = False) -> Invocation:
            return Invocation(lambda progress: self.work(options, progress), json, self.resumable)

        invoke.__doc__ = self.about
        return invoke


@dataclass(frozen=True)
class CommandGroup:
    """A word of the command line that another one follows.

    Attributes:
        words: what may follow, and the command each stands for.
        about: what the overview says of it.
    """

    words: Mapping[str, Command]
    about: str

    def parser(self) -> Callable[..., Invocation]:
        """A function whose parameter is the chosen command, as tyro reads it."""
        kinds = [Annotated[Any, tyro.conf.subcommand(name=word, constructor=each.parser())] for word, each in self.words.items()]
        chosen_word = Annotated[Union[tuple(kinds)], tyro.conf.arg(name="")]  # noqa: UP007 (made at run time)

        def invoke(chosen: chosen_word) -> Invocation:
            return chosen

        invoke.__doc__ = f"{self.about}\n\nEach takes --help and --json."
        return invoke


def _work(command: str, function: str) -> Deferred:
    return Deferred(f"scenewise.commands.{command}.run", function)


def _library(module: str, function: str) -> Deferred:
    return Deferred(f"scenewise.commands.library.{module}", function)


COMMANDS: Mapping[str, Command | CommandGroup] = {
    "check": Command(
        CheckOptions,
        _work("check", "check_command"),
        "Look at a capture before training: poses, missing images, blur, coverage, predicted memory and time.",
    ),
    "poses": Command(
        PosesOptions,
        _work("poses", "poses_command"),
        "Find out where photographs or the frames of a film were taken from, and write a capture.",
        resumable=True,
    ),
    "reconstruct": Command(
        ReconstructOptions,
        _work("reconstruct", "reconstruct_command"),
        "Train Gaussian splats from a capture and write a scene folder.",
        resumable=True,
    ),
    "render": Command(
        RenderOptions, _work("render", "render_scene"), "Render a scene's views or an orbit around it as PNG or MP4."
    ),
    "eval": Command(
        EvalOptions,
        _work("evaluate", "evaluate_command"),
        "Measure a scene on its held-out views, or a trained network on labelled scans: IoU per class.",
    ),
    "eval-2d": Command(
        Evaluate2dOptions,
        _work("evaluate_2d", "evaluate_2d"),
        "Measure a 2D teacher on a labelled data set: mIoU, accuracies and IoU per class.",
    ),
    "export": Command(
        ExportOptions,
        _work("export", "export_scene"),
        "Write a scene as .ply, .spz or a coloured point cloud that other programs open.",
    ),
    "view": Command(ViewOptions, _work("view", "view_scene"), "Look at a scene in the browser, and ask it where things are."),
    "segment": Command(
        SegmentOptions,
        _work("segment", "segment"),
        "Name every point, splat or pixel with words, without training and without labels.",
        resumable=True,
    ),
    "query": Command(
        QueryOptions,
        _work("query", "query"),
        "Ask a segmented scene where something is: ranked segments with boxes, and heat maps.",
    ),
    "graph": Command(
        GraphOptions,
        _work("graph", "graph_scene"),
        "Turn a segmented scene into objects, rooms and relations, as JSON, Spark-DSG and GraphML.",
    ),
    "diff": Command(
        DiffOptions,
        _work("diff", "diff"),
        "Compare two scenes of one place: which objects moved, appeared and vanished.",
    ),
    "library": CommandGroup(
        {
            "add": Command(LibraryAddOptions, _library("add", "add_scenes"), "Add captures, scenes and clouds to a library."),
            "remove": Command(LibraryRemoveOptions, _library("upkeep", "remove_scenes"), "Remove scenes from a library."),
            "list": Command(LibraryListOptions, _library("listing", "list_scenes"), "List the scenes of a library."),
            "info": Command(LibraryInfoOptions, _library("listing", "library_info"), "Tell a library's size and versions."),
            "index": Command(LibraryIndexOptions, _library("upkeep", "index_library"), "Build the index of a large library."),
            "compact": Command(LibraryCompactOptions, _library("upkeep", "compact_library"), "Sweep a library on the disk."),
        },
        "Keep a library of scenes that can be searched by words, pictures and scans.",
    ),
    "search": Command(
        SearchOptions,
        _work("search", "search"),
        "Search a library of scenes by words, by a picture (and where it was taken), by a scan or by a thing.",
    ),
    "duplicates": Command(
        DuplicatesOptions, _work("duplicates", "duplicates"), "Find scenes of a library that were captured in one place."
    ),
    "train": Command(
        TrainOptions,
        _work("train", "train"),
        "Train a network that names points, from images and class names alone.",
        resumable=True,
    ),
    "train-graph": Command(
        TrainGraphOptions,
        _work("train_graph", "train_graph"),
        "Train a network that names things and tells relations between them, from labelled scans.",
        resumable=True,
    ),
    "pretrain": Command(
        PretrainOptions,
        _work("pretrain", "pretrain"),
        "Pre-train a 2D and a 3D network on captures, without labels, until a pixel and the point it shows have one feature.",
        resumable=True,
    ),
    "features": Command(
        FeaturesOptions,
        _work("features", "write_features"),
        "Write the features of a pre-trained pair as files: of points, of pictures, and key points.",
    ),
    "train-classifier": Command(
        TrainClassifierOptions,
        _work("train_classifier", "train_classifier"),
        "Train a network that names single objects from their points, from scratch or from a pre-trained network.",
        resumable=True,
    ),
    "classify": Command(
        ClassifyOptions,
        _work("classify", "classify"),
        "Name single objects from their points: by a trained classifier, or by words alone.  Needs no images.",
    ),
    "predict": Command(
        PredictOptions,
        _work("predict", "predict"),
        "Name the points of a cloud or scene with a trained network.  Needs no images.",
    ),
    "convert-cameras": Command(
        ConvertCamerasOptions,
        _work("convert_cameras", "convert_cameras_command"),
        "Turn the torch files with the cameras of Mega-NeRF's data sets into COLMAP models.",
    ),
    "convert-weights": Command(
        ConvertWeightsOptions,
        _work("convert_weights", "convert_weights_command"),
        "Turn a foreign checkpoint (.pth) into safetensors that --teacher takes.",
    ),
    "doctor": Command(
        DoctorOptions,
        _work("doctor", "examine"),
        "Report what this machine can do and which backend runs each kernel, and why.",
    ),
    "demo": Command(
        DemoOptions,
        _work("demo", "run_demo"),
        "Photograph a procedural room, reconstruct, measure and report it.  Needs no data.",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    with standard_streams(), warnings.catch_warnings():
        if arguments == ["--version"]:
            print_result(__version__)
            return 0
        return _run(arguments)


def _run(arguments: list[str]) -> int:
    wants_json = "--json" in arguments
    progress = console_progress()
    warnings.showwarning = lambda message, *_args, **_kwargs: progress.warning(str(message))
    resumable = False
    try:
        with read_from(arguments):
            invocation = tyro.extras.subcommand_cli_from_dict(
                {name: command.parser() for name, command in COMMANDS.items()},
                prog="scenewise",
                description=DESCRIPTION,
                args=arguments,
                config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes),
            )
        resumable = invocation.resumable
        # A library that prints must not break the promise of one JSON object.
        with redirect_stdout(sys.stderr):
            record = invocation.run(progress)
        if record is not None:  # of several processes only the first has one
            print_result(_json_text(record) if invocation.json else _plain_text(record))
        return int(getattr(record, "exit_code", 0))
    except SystemExit as leaving:  # tyro printed the help (0) or what is wrong with the arguments (2)
        if leaving.code and wants_json:
            print_result(_json_text({"error": {"type": "UsageError", "message": "the arguments are wrong; see standard error"}}))
        return int(leaving.code or 0)
    except KeyboardInterrupt:
        message = "interrupted"
        if resumable:
            kept = [argument for argument in arguments if argument not in ("--overwrite", "--resume")]
            message += f"; continue with: scenewise {shlex.join([*kept, '--resume'])}"
        return _fail("Interrupted", message, wants_json, 130)
    except ScenewiseError as error:
        return _fail(type(error).__name__, str(error), wants_json, 2)
    except Exception as error:
        environment = _about_the_machine(error)
        if environment is not None:
            return _fail(*environment, wants_json, 2)
        message = (
            f"a defect in Scenewise: {type(error).__name__}: {error}. Please report it with the output of `scenewise doctor`; "
            "SCENEWISE_DEBUG=1 shows where it happened"
        )
        return _fail(type(error).__name__, message, wants_json, 1)


def _about_the_machine(error: Exception) -> tuple[str, str] | None:
    """Kind and message of an error that tells of the machine rather than of a defect; None for any other."""
    if is_out_of_memory(error):
        return "MemoryError", (
            f"memory ran out ({str(error).splitlines()[0][:160] if str(error) else type(error).__name__}). Fix: close other "
            "programs, or ask for less: --budget, a larger --downscale, fewer --max-gaussians, a smaller --width"
        )
    if isinstance(error, ImportError) and error.name is not None and error.name.partition(".")[0] != "scenewise":
        return type(error).__name__, (
            f"the package {error.name.partition('.')[0]} is installed but cannot be loaded: {error}. Fix: install it again; "
            "`scenewise doctor` lists the versions"
        )
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return type(error).__name__, f"{place}{error.strerror or error}"
    # How Python puts it when a path that a person named leads to itself, or cannot be one.
    if str(error).startswith(("Symlink loop", "embedded null")):
        return type(error).__name__, f"{error}: expected a path that leads somewhere. Fix: name another file or folder"
    return None


def _fail(kind: str, message: str, wants_json: bool, code: int) -> int:
    if os.environ.get("SCENEWISE_DEBUG", "0") not in ("", "0"):
        traceback.print_exc()
    print(f"scenewise: {message}", file=sys.stderr)
    if wants_json:
        print_result(_json_text({"error": {"type": kind, "message": message}}))
    return code


def _json_text(record: object) -> str:
    values = json_ready(record)
    text = json_format.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    # Where the console lacks a character, JSON has a way to write it all the same.
    return text if can_show(text) else json_format.dumps(values, indent=2, allow_nan=False)


def _plain_text(record: object) -> str:
    """A record for people: its own ``text()`` where it has one, otherwise a line per field."""
    text = getattr(record, "text", None)
    if callable(text):
        return str(text())
    values = json_ready(record)
    if not isinstance(values, dict):
        return str(values)
    width = max((len(name) for name in values), default=0)
    return "\n".join(f"{name.replace('_', ' '):<{width}}  {_value_text(value)}" for name, value in values.items())


def _value_text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_value_text(item)}" for name, item in value.items())
    if isinstance(value, list):
        return ", ".join(_value_text(item) for item in value) if value else "none"
    return "none" if value is None else str(value)


if __name__ == "__main__":
    sys.exit(main())

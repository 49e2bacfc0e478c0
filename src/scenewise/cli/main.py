"""The ``scenewise`` command.

Each command reads its options, then imports and calls one function of ``apps``; nothing above the imports needs torch, so
``scenewise --help`` is instant.  Results go to standard output (with ``--json`` exactly one JSON object), progress and messages
to standard error.

Exit codes: 0 done; 1 a defect of ours; 2 something about the input or the environment; 130 interrupted.
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
from typing import Annotated, TypeVar

import tyro

from scenewise import __version__
from scenewise.commands.check.options import CheckOptions
from scenewise.commands.convert_weights.options import ConvertWeightsOptions
from scenewise.commands.demo.options import DemoOptions
from scenewise.commands.doctor.options import DoctorOptions
from scenewise.commands.evaluate.options import EvalOptions
from scenewise.commands.evaluate_2d.options import Evaluate2dOptions
from scenewise.commands.export.options import ExportOptions
from scenewise.commands.predict.options import PredictOptions
from scenewise.commands.query.options import QueryOptions
from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.commands.render.options import RenderOptions
from scenewise.commands.segment.options import SegmentOptions
from scenewise.commands.train.options import TrainOptions
from scenewise.commands.view.options import ViewOptions
from scenewise.engine.progress import Progress, console_progress
from scenewise.errors import ScenewiseError
from scenewise.io.json_values import json_ready

_Options = TypeVar("_Options")
_Flat = Annotated[_Options, tyro.conf.arg(name="")]
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


def check(options: _Flat[CheckOptions], *, json: _Json = False) -> Invocation:
    """Look at a capture before training: poses, missing images, blur, coverage, predicted memory and time."""

    def run(progress: Progress) -> object:
        from scenewise.commands.check.run import check_command

        return check_command(options, progress)

    return Invocation(run, json)


def reconstruct(options: _Flat[ReconstructOptions], *, json: _Json = False) -> Invocation:
    """Train Gaussian splats from a capture and write a scene folder."""

    def run(progress: Progress) -> object:
        from scenewise.commands.reconstruct.run import reconstruct

        return reconstruct(options, progress)

    return Invocation(run, json, resumable=True)


def render(options: _Flat[RenderOptions], *, json: _Json = False) -> Invocation:
    """Render a scene's views or an orbit around it as PNG or MP4."""

    def run(progress: Progress) -> object:
        from scenewise.commands.render.run import render_scene

        return render_scene(options, progress)

    return Invocation(run, json)


def evaluate(options: _Flat[EvalOptions], *, json: _Json = False) -> Invocation:
    """Measure a scene on its held-out views, or a trained network on labelled scans: IoU per class."""

    def run(progress: Progress) -> object:
        from scenewise.commands.evaluate.run import evaluate_command

        return evaluate_command(options, progress)

    return Invocation(run, json)


def evaluate_2d(options: _Flat[Evaluate2dOptions], *, json: _Json = False) -> Invocation:
    """Measure a 2D teacher on a labelled data set: mIoU, accuracies and IoU per class."""

    def run(progress: Progress) -> object:
        from scenewise.commands.evaluate_2d.run import evaluate_2d

        return evaluate_2d(options, progress)

    return Invocation(run, json)


def export(options: _Flat[ExportOptions], *, json: _Json = False) -> Invocation:
    """Write a scene as .ply, .spz or a coloured point cloud that other programs open."""

    def run(progress: Progress) -> object:
        from scenewise.commands.export.run import export_scene

        return export_scene(options, progress)

    return Invocation(run, json)


def segment(options: _Flat[SegmentOptions], *, json: _Json = False) -> Invocation:
    """Name every point, splat or pixel with words, without training and without labels."""

    def run(progress: Progress) -> object:
        from scenewise.commands.segment.run import segment

        return segment(options, progress)

    return Invocation(run, json, resumable=True)


def query(options: _Flat[QueryOptions], *, json: _Json = False) -> Invocation:
    """Ask a segmented scene where something is: ranked segments with boxes, and heat maps."""

    def run(progress: Progress) -> object:
        from scenewise.commands.query.run import query

        return query(options, progress)

    return Invocation(run, json)


def view(options: _Flat[ViewOptions], *, json: _Json = False) -> Invocation:
    """Look at a scene in the browser, and ask it where things are."""

    def run(progress: Progress) -> object:
        from scenewise.commands.view.run import view_scene

        return view_scene(options, progress)

    return Invocation(run, json)


def train(options: _Flat[TrainOptions], *, json: _Json = False) -> Invocation:
    """Train a network that names points, from images and class names alone."""

    def run(progress: Progress) -> object:
        from scenewise.commands.train.run import train

        return train(options, progress)

    return Invocation(run, json, resumable=True)


def predict(options: _Flat[PredictOptions], *, json: _Json = False) -> Invocation:
    """Name the points of a cloud or scene with a trained network.  Needs no images."""

    def run(progress: Progress) -> object:
        from scenewise.commands.predict.run import predict

        return predict(options, progress)

    return Invocation(run, json)


def convert_weights(options: _Flat[ConvertWeightsOptions], *, json: _Json = False) -> Invocation:
    """Turn a foreign checkpoint (.pth) into safetensors that --teacher takes."""

    def run(progress: Progress) -> object:
        from scenewise.commands.convert_weights.run import convert_weights_command

        return convert_weights_command(options, progress)

    return Invocation(run, json)


def doctor(options: _Flat[DoctorOptions], *, json: _Json = False) -> Invocation:
    """Report what this machine can do and which backend runs each kernel, and why."""

    def run(progress: Progress) -> object:
        from scenewise.commands.doctor.run import examine

        return examine(options, progress)

    return Invocation(run, json)


def demo(options: _Flat[DemoOptions], *, json: _Json = False) -> Invocation:
    """Photograph a procedural room, reconstruct, measure and report it.  Needs no data."""

    def run(progress: Progress) -> object:
        from scenewise.commands.demo.run import run_demo

        return run_demo(options, progress)

    return Invocation(run, json)


COMMANDS: Mapping[str, Callable[..., Invocation]] = {
    "check": check,
    "reconstruct": reconstruct,
    "render": render,
    "eval": evaluate,
    "eval-2d": evaluate_2d,
    "export": export,
    "view": view,
    "segment": segment,
    "query": query,
    "train": train,
    "predict": predict,
    "convert-weights": convert_weights,
    "doctor": doctor,
    "demo": demo,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments == ["--version"]:
        print(__version__)
        return 0
    with warnings.catch_warnings():
        return _run(arguments)


def _run(arguments: list[str]) -> int:
    wants_json = "--json" in arguments
    progress = console_progress()
    warnings.showwarning = lambda message, *_args, **_kwargs: progress.warning(str(message))
    resumable = False
    try:
        invocation = tyro.extras.subcommand_cli_from_dict(
            dict(COMMANDS),
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
            print(_json_text(record) if invocation.json else _plain_text(record))
        return 0
    except SystemExit as leaving:  # tyro printed the help (0) or what is wrong with the arguments (2)
        if leaving.code and wants_json:
            print(_json_text({"error": {"type": "UsageError", "message": "the arguments are wrong; see standard error"}}))
        return int(leaving.code or 0)
    except KeyboardInterrupt:
        message = "interrupted"
        if resumable:
            kept = [argument for argument in arguments if argument not in ("--overwrite", "--resume")]
            message += f"; continue with: scenewise {shlex.join([*kept, '--resume'])}"
        return _fail("Interrupted", message, wants_json, 130)
    except BrokenPipeError:  # the reader of our output has gone; there is nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ScenewiseError as error:
        return _fail(type(error).__name__, str(error), wants_json, 2)
    except MemoryError:
        return _fail("MemoryError", "memory ran out. Fix: --budget, a larger --downscale or fewer --max-gaussians", wants_json, 2)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _fail(type(error).__name__, f"{place}{error.strerror or error}", wants_json, 2)
    except Exception as error:
        message = (
            f"a defect in Scenewise: {type(error).__name__}: {error}. Please report it with the output of `scenewise doctor`; "
            "SCENEWISE_DEBUG=1 shows where it happened"
        )
        return _fail(type(error).__name__, message, wants_json, 1)


def _fail(kind: str, message: str, wants_json: bool, code: int) -> int:
    if os.environ.get("SCENEWISE_DEBUG", "0") not in ("", "0"):
        traceback.print_exc()
    print(f"scenewise: {message}", file=sys.stderr)
    if wants_json:
        print(_json_text({"error": {"type": kind, "message": message}}))
    return code


def _json_text(record: object) -> str:
    return json_format.dumps(json_ready(record), indent=2, ensure_ascii=False, allow_nan=False)


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

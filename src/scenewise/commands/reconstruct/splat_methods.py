"""The ways to reconstruct splats by name, and how each starts from the command's options."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from types import MappingProxyType

from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.methods.distilled_3dgs.ensemble import TEACHERS_FOLDER, TeacherCommand
from scenewise.methods.distilled_3dgs.stages import DistillationStages
from scenewise.methods.gaussian_splatting.reconstruction import PlainSplatting
from scenewise.parts.splats.reconstruction import SplatStart


def _gaussian_splatting(options: ReconstructOptions) -> SplatStart:
    return SplatStart(PlainSplatting, options.max_gaussians)


def _distilled_3dgs(options: ReconstructOptions) -> SplatStart:
    own = options.distillation
    return SplatStart(
        lambda run: DistillationStages(run, own, teacher_command(options)),
        # The dial of a distilled run is the student's; teachers have their own cap.
        own.teacher_gaussians,
        keeps_cap=False,
        part=None if own.only_teacher is None else Path(TEACHERS_FOLDER) / own.only_teacher,
        spoken="student: ",
    )


SPLAT_STARTS: Mapping[str, Callable[[ReconstructOptions], SplatStart]] = MappingProxyType(
    {"gaussian_splatting": _gaussian_splatting, "distilled_3dgs": _distilled_3dgs}
)
"""By the name of the method's folder."""


def teacher_command(options: ReconstructOptions) -> TeacherCommand:
    """How a process of its own trains one of the teachers of this run."""

    def command(name: str, threads: int | None) -> tuple[str, ...]:
        alone = replace(options.distillation, jobs=1, ray=None, only_teacher=name, curve=())
        own = replace(options, threads=threads, resume=True, overwrite=False, distillation=alone)
        return (sys.executable, "-m", "scenewise.cli.main", "reconstruct", *command_arguments(own))

    return command


def command_arguments(options: object) -> list[str]:
    """The command line that gives these options again.

    >>> from scenewise.commands.check.options import CheckOptions
    >>> command_arguments(CheckOptions(Path("a b"), downscale=2, strict=True, background=(0.0, 0.5, 1.0)))
    ['a b', '--downscale', '2', '--background', '0.0', '0.5', '1.0', '--strict']
    """
    arguments: list[str] = []
    assert is_dataclass(options)
    for entry in fields(options):
        value = getattr(options, entry.name)
        name = f"--{entry.name.replace('_', '-')}"
        if is_dataclass(value):
            arguments += command_arguments(value)
        elif entry.default is MISSING and entry.name == "capture":
            arguments.insert(0, str(value))
        elif value is None or value is False or value == entry.default:
            continue
        elif value is True:
            arguments.append(name)
        elif isinstance(value, tuple):
            arguments += [name, *map(str, value)]
        else:
            arguments += [name, str(value)]
    return arguments

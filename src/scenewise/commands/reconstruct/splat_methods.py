"""How a way to reconstruct splats starts from the command's options."""

import sys
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from scenewise.catalogue import SPLAT_METHODS
from scenewise.commands.method_settings import settings_arguments
from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.parts.splats.reconstruction import SplatRequest, SplatStart


def started(options: ReconstructOptions) -> SplatStart:
    """The method that the options name, as they want it."""
    method = SPLAT_METHODS[options.method]

    def again(own: Any, threads: int | None) -> tuple[str, ...]:
        group = {} if method.group is None else {method.group: own}
        other = _anywhere(replace(options, threads=threads, ray=None, resume=True, overwrite=False, **group))
        return (sys.executable, "-m", "scenewise.cli.main", "reconstruct", *command_arguments(other))

    own = None if method.group is None else getattr(options, method.group)
    start: SplatStart = method.start(SplatRequest(own, options.max_gaussians, again, options.changed, options.ray))
    return start


def _anywhere(record: Any) -> Any:
    """The same record, of whose paths none depends on the folder that a process works in."""
    paths = {entry.name: value.absolute() for entry in fields(record) if isinstance(value := getattr(record, entry.name), Path)}
    groups = {entry.name: _anywhere(value) for entry in fields(record) if is_dataclass(value := getattr(record, entry.name))}
    return replace(record, **paths, **groups)


def command_arguments(options: object) -> list[str]:
    """The command line that gives these options again.

    >>> from pathlib import Path
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
        elif isinstance(value, dict):
            arguments += settings_arguments(value)
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

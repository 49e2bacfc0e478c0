"""Every setting of every method as an option of a command, in a group of its own for experts.

The options are made from the methods' records of settings: ``--hicl.levels`` sets ``levels`` of HICL's record, and its help is
what the record says of it.  What is not given stays as the preset has it.  A group exists where one of its options is on the
command line, or where help is asked and the method named: ``scenewise train --help`` stays short, ``scenewise train hicl --help``
shows HICL's settings as well.
"""

import inspect
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType, NoneType
from typing import Annotated, Any, TypedDict, get_args, get_type_hints

from tyro.conf import FlagConversionOff, arg

from scenewise.catalogue import READ_OUT_METHODS, records_in
from scenewise.engine.deferred import Deferred
from scenewise.engine.option_values import require

MethodSettings = Mapping[str, Mapping[str, Any]]
"""Changed settings by method, then by name; those of a record within by "record.name"."""

LEAVE_OUT = "leave the option out"

_NOTHING: Mapping[str, Collection[str]] = MappingProxyType({})
_WORDS: ContextVar[Sequence[str]] = ContextVar("words of the command line", default=())
_ENTRY = re.compile(r"    (\w+): (.*)")


@contextmanager
def read_from(words: Sequence[str]) -> Iterator[None]:
    """Within it, groups of options are those of the methods that the words of a command line name."""
    token = _WORDS.set(words)
    try:
        yield
    finally:
        _WORDS.reset(token)


def expert_groups(records: Mapping[str, type | Deferred], *, leave_out: Mapping[str, Collection[str]] = _NOTHING) -> Any:
    """How the command line reads :data:`MethodSettings`: a group of options for each method.

    Args:
        records: of settings, by method.
        leave_out: settings that get no option here, by method; a name that ends with a dot stands for all settings of a record.
    """

    def groups() -> type:
        made = {name: _group(name, records[name], leave_out.get(name, ())) for name in records if _is_meant(name, _WORDS.get())}
        shown = {name: Annotated[group, arg(name=f"expert: {name}")] for name, group in made.items()}
        return _typed_dict("Settings", shown)

    return arg(constructor_factory=groups, name="")


ReadOutOptions = Annotated[MethodSettings, expert_groups(READ_OUT_METHODS)]
"""Changed settings of the read-outs."""


def require_read_out(settings: MethodSettings, read_out: str | None) -> None:
    """Refuses settings of a read-out that is not the chosen one; ConventionError as in :func:`require_only`."""
    require_only(settings, read_out, "--read-out ", f"add it, or {LEAVE_OUT}")


def option_of(method: str, setting: str) -> str:
    """The option that sets a setting of a method: "--sc-clip.two-pass"."""
    return f"--{method}.{setting}".replace("_", "-")


def settings_arguments(settings: MethodSettings) -> list[str]:
    """The words of a command line that give these settings again."""
    arguments: list[str] = []
    for method, changes in settings.items():
        for name, value in changes.items():
            arguments += [option_of(method, name), *map(str, value if isinstance(value, tuple) else (value,))]
    return arguments


def given(settings: MethodSettings) -> dict[str, dict[str, Any]]:
    """The same without methods of which nothing was given."""
    return {method: dict(changes) for method, changes in settings.items() if changes}


def require_only(settings: MethodSettings, chosen: str | None, said: str, fix: str = LEAVE_OUT) -> None:
    """Refuses settings of a method that is not the chosen one.

    Args:
        settings: that were given.
        chosen: the method.
        said: how a method is chosen, such as "--read-out ".
        fix: what to do about it.

    Raises:
        ConventionError: names the first of them.
    """
    for method, changes in settings.items():
        for setting in changes:
            got = "none" if chosen is None else f"{said}{chosen}"
            require(method == chosen, option_of(method, setting), f"{said}{method}", got, fix)


def _is_meant(method: str, words: Sequence[str]) -> bool:
    asks = method in words and ("--help" in words or "-h" in words)
    return asks or any(word.startswith(option_of(method, "")) for word in words)


def _group(method: str, record: type | Deferred, leave_out: Collection[str]) -> type:
    described: dict[str, Any] = {}
    for name, kind, text in _settings(record.named() if isinstance(record, Deferred) else record):
        if name not in described and not any(name == left or (left[-1] == "." and name.startswith(left)) for left in leave_out):
            about = arg(name=option_of(method, name)[2:], help=text, help_behavior_hint="(default: the preset's)")
            described[name] = Annotated[kind, about, FlagConversionOff]
    group = _typed_dict(method, described, total=False)
    group.__doc__ = f"Settings of {method}, for experts."
    return group


def _settings(record: type, place: str = "") -> Iterator[tuple[str, Any, str]]:
    """(name, type, what it is) of each setting."""
    about = documented(record)
    for name, kind in get_type_hints(record).items():
        if NoneType in get_args(kind) and records_in(kind):
            yield f"{place}{name}", bool, about.get(name, "")
        for inner in records_in(kind):
            yield from _settings(inner, f"{place}{name}.")
        if not records_in(kind):
            yield f"{place}{name}", kind, about.get(name, "")


def documented(record: type) -> dict[str, str]:
    """What the docstrings of a record and of those it extends say of each attribute; the nearest says most."""
    found: dict[str, str] = {}
    for ancestor in reversed(record.__mro__):
        text = inspect.cleandoc(vars(ancestor).get("__doc__") or "")
        name = ""
        for line in text.partition("Attributes:\n")[2].splitlines():
            entry = _ENTRY.fullmatch(line)
            if entry is not None:
                name, found[entry[1]] = entry[1], entry[2]
            elif line.strip() and name:
                found[name] += f" {line.strip()}"
    return found


def _typed_dict(name: str, kinds: Mapping[str, Any], *, total: bool = True) -> type:
    return TypedDict(name, dict(kinds), total=total)  # type: ignore[operator]

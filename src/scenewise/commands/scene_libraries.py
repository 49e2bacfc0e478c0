"""What the commands about libraries of scenes have in common: where a library is, who encodes, which scenes are meant.

Neither torch nor anything that imports it may be imported here at the top, so that ``scenewise --help`` stays instant.
"""

import difflib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import UseAppendAction, arg

from scenewise.engine.option_values import Text, require
from scenewise.errors import ConventionError, DataFormatError

if TYPE_CHECKING:
    from scenewise.io.descriptor_files import DescriptorFiles
    from scenewise.io.scene_library.records import LibraryAbout
    from scenewise.io.scene_library.store import SceneLibrary
    from scenewise.parts.retrieval.filters import SceneFilter
    from scenewise.teachers.consistent import ConsistentFeatures

DEFAULT_LIBRARY = "library"
LIBRARY_VARIABLE = "SCENEWISE_LIBRARY"
DESCRIPTORS_PREFIX = "files:"

Place = Annotated[str | None, arg(metavar="URI", help_behavior_hint=f"(default: ${LIBRARY_VARIABLE}, else {DEFAULT_LIBRARY})")]
Date = Annotated[str | None, arg(metavar="YYYY-MM-DD")]
Counts = Annotated[tuple[str, ...], UseAppendAction, arg(metavar="CLASS>=N", help_behavior_hint="(repeatable)")]


@dataclass(frozen=True)
class FilterOptions:
    """Which scenes of the library are meant.

    Attributes:
        after: captured on this day or later; a year or a month will do.
        before: captured on this day, month or year, or earlier.
        place: part of the place's name.
        licence: part of the licence's name.
        has: how many things of a class were found, such as "chair>=2"; a bare class asks for one at least.
    """

    after: Date = None
    before: Date = None
    place: Text = None
    licence: Text = None
    has: Counts = ()

    def __post_init__(self) -> None:
        for option, value in (("--after", self.after), ("--before", self.before)):
            is_date = value is None or re.fullmatch(r"\d{4}(-\d\d(-\d\d)?)?", value) is not None
            require(is_date, option, "a day, a month or a year, such as 2025-03-28 or 2025-03", repr(value))


Filters = Annotated[FilterOptions, arg(name="")]
EVERY_SCENE = FilterOptions()


def library_uri(given: str | None) -> str:
    """The library that was named, or the usual one."""
    return given or os.environ.get(LIBRARY_VARIABLE) or DEFAULT_LIBRARY


def named_descriptors(text: str) -> "DescriptorFiles":
    """Descriptors of another network, by "files:DIR"; DataFormatError where there are none."""
    from scenewise.io.descriptor_files import read_descriptor_files

    return read_descriptor_files(Path(text.removeprefix(DESCRIPTORS_PREFIX)).expanduser())


def opened_library(given: str | None, version: int | None = None) -> "SceneLibrary":
    """The library that was named, or the usual one.

    Raises:
        DataFormatError: there is none, a damaged one, or no such version.
        ResourceError: the object storage does not answer.
        MissingDependencyError: LanceDB is not installed.
    """
    from scenewise.io.scene_library.store import find_library

    found = find_library(library_uri(given), version=version)
    if found is None:
        from scenewise.io.scene_library.connecting import library_place

        raise DataFormatError(
            library_place(library_uri(given)),
            expected="a library of scenes",
            got="none",
            fix=f"make one with scenewise library add SOURCE, or name another one with --library or {LIBRARY_VARIABLE}",
        )
    return found


def opened_encoder(about: "LibraryAbout | None", asked: str | None) -> "ConsistentFeatures":
    """The encoder that was asked for, else that of a library, else the embedded one.

    Raises:
        ConventionError: another one than the library was made with.
        DataFormatError, ResourceError, MissingDependencyError: it cannot be opened.
    """
    from scenewise.teachers.choice import CONSISTENT
    from scenewise.teachers.choose import with_absolute_folder
    from scenewise.teachers.consistent import open_consistent

    known = CONSISTENT if about is None else about.encoder
    try:
        model = open_consistent(with_absolute_folder(asked or known))
    except DataFormatError as error:
        if asked is not None or about is None:
            raise
        raise DataFormatError(
            error.path,
            error.place,
            expected=f"the encoder of the library, {known}",
            got=str(error),
            fix="name where it is now with --teacher condense:RUN",
        ) from error
    if about is not None and model.fingerprint != about.fingerprint:
        raise ConventionError(
            "the encoder of the library",
            expected=f"{known}, as it was when the library was made",
            got=model.name if asked else "another one of this name",
            fix="name the library's own with --teacher, or make a new library for this one",
        )
    return model


def scenes_meant(options: FilterOptions, about: "LibraryAbout") -> "SceneFilter":
    """The filter of some options.

    Raises:
        ConventionError: a condition that is none, or a class that the library does not know.
    """
    from scenewise.parts.retrieval.filters import SceneFilter, count_condition

    counts = tuple(count_condition(text) for text in options.has)
    known = {name.casefold() for name in about.class_names}
    for condition in counts:
        if known and condition.class_name.casefold() not in known:
            near = _examples(condition.class_name, about.class_names)
            raise ConventionError("--has", expected=f"a class of the library, such as {near}", got=repr(condition.class_name))
    return SceneFilter(options.after, options.before, options.place, options.licence, counts)


def _examples(name: str, names: Sequence[str]) -> str:
    return ", ".join(difflib.get_close_matches(name, names, n=3) or names[:5])

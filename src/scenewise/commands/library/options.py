"""Options of ``scenewise library``: one record for each word that may follow."""

import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from tyro.conf import Positional

from scenewise.commands.scene_libraries import DESCRIPTORS_PREFIX, EVERY_SCENE, Date, Filters, Place
from scenewise.engine.option_values import Count, Text, require, require_at_least


@dataclass(frozen=True)
class LibraryAddOptions:
    """Add captures, scenes and clouds to a library, which is made if it is not there.

    What is in the library already and has not changed is passed over, so an interrupted run goes on when it is started again.

    Attributes:
        source: captured folders (photographs with poses, RGB-D, ScanNet, nuScenes), scene folders, point clouds or meshes with
            colours, or folders of captures, each of which becomes a scene named by its path in there.
        library: folder, or place on object storage such as s3://bucket/name.
        name: of the scene; of several, put before theirs: "NAME/theirs".  Default the name of the folder or file.
        date: of the capture, such as 2025-03-28; default what the cameras wrote into the photographs.
        place: in your words.
        licence: of the capture; default what the capture says.
        teacher: the encoder of a new library: "condense" (built in), or "condense:RUN" of scenewise pretrain.
        classes: what things may be called, in a new library: names separated by commas, synonyms by bars, or a file; default the
            encoder's own list.
        descriptors: "files:DIR" with global descriptors of another network, a file per picture.
        replace: put a scene in place of one of the same name that comes from elsewhere.
        threads: worker threads; default all cores this process may use.
    """

    source: Positional[tuple[Path, ...]]
    library: Place = None
    name: Text = None
    date: Date = None
    place: Text = None
    licence: Text = None
    teacher: Text = None
    classes: Text = None
    descriptors: Text = None
    replace: bool = False
    threads: Count = None

    def __post_init__(self) -> None:
        require(bool(self.source), "SOURCE", "at least one", "none")
        require(self.date is None or _is_date(self.date), "--date", "year-month-day, such as 2025-03-28", repr(self.date))
        for option, value in (("--name", self.name), ("--place", self.place), ("--licence", self.licence)):
            require(value is None or bool(value.strip()), option, "a text", repr(value))
        has_prefix = self.descriptors is None or self.descriptors.startswith(DESCRIPTORS_PREFIX)
        require(has_prefix, "--descriptors", f'"{DESCRIPTORS_PREFIX}DIR"', repr(self.descriptors))
        require_at_least("--threads", self.threads, 1)


@dataclass(frozen=True)
class LibraryRemoveOptions:
    """Remove scenes from a library; old versions still have them until the library is compacted.

    Attributes:
        names: of the scenes.
        library: folder, or place on object storage.
    """

    names: Positional[tuple[str, ...]]
    library: Place = None

    def __post_init__(self) -> None:
        require(bool(self.names), "NAMES", "at least one scene", "none")


@dataclass(frozen=True)
class LibraryListOptions:
    """List the scenes of a library.

    Attributes:
        names: scenes whose things are listed too, with the numbers that scenewise search --object takes; default all scenes,
            without things.
        library: folder, or place on object storage.
        at: version to look at; scenewise library info --versions lists them.
        where: which scenes.
    """

    names: Positional[tuple[str, ...]] = ()
    library: Place = None
    at: Count = None
    where: Filters = EVERY_SCENE


@dataclass(frozen=True)
class LibraryInfoOptions:
    """Tell how large a library is and what it was made with.

    Attributes:
        library: folder, or place on object storage.
        versions: list the versions that are kept, and what changed in each.
    """

    library: Place = None
    versions: bool = False


@dataclass(frozen=True)
class LibraryIndexOptions:
    """Build the index of the tables that are too large to be compared row by row, and measure its recall.

    Attributes:
        library: folder, or place on object storage.
    """

    library: Place = None


@dataclass(frozen=True)
class LibraryCompactOptions:
    """Put small files together, take new rows into the index, and remove versions older than an hour.

    Attributes:
        library: folder, or place on object storage.
    """

    library: Place = None


def _is_date(text: str) -> bool:
    try:
        return re.fullmatch(r"\d{4}-\d\d-\d\d", text) is not None and date.fromisoformat(text) is not None
    except ValueError:
        return False

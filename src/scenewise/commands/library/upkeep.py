"""``scenewise library remove``, ``index`` and ``compact``."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scenewise.commands.library.options import LibraryCompactOptions, LibraryIndexOptions, LibraryRemoveOptions
from scenewise.commands.scene_libraries import library_uri, opened_library
from scenewise.engine.progress import NullProgress, Progress, duration_text
from scenewise.io.scene_library.records import VectorTable
from scenewise.io.scene_library.searching import EXACT_ROWS
from scenewise.io.scene_library.store import SceneLibrary, open_library
from scenewise.parts.retrieval.searching import index_of_scene

_ASKED, _BEST = 64, 10  # rows that recall is measured with, and of how many


@dataclass(frozen=True)
class RemoveSummary:
    """What ``scenewise library remove`` did.

    Attributes:
        library: where it is.
        removed: names of scenes.
        num_scenes: that are left.
    """

    library: str
    removed: tuple[str, ...]
    num_scenes: int

    def text(self) -> str:
        """One line."""
        return f"{self.library}: {', '.join(self.removed)} removed; {self.num_scenes} scenes"


def remove_scenes(options: LibraryRemoveOptions, progress: Progress | None = None) -> RemoveSummary:
    """Removes scenes, or none where one of them is unknown.

    Raises:
        DataFormatError: no library there, or a damaged one.
        ConventionError: no scene of a name.
        MissingDependencyError: LanceDB is not installed.
        ResourceError: the library cannot be written.
    """
    library = opened_library(options.library)
    there = library.scenes()
    names = [there[index_of_scene(there, name)].name for name in dict.fromkeys(options.names)]
    removed = tuple(name for name in names if library.remove(name))
    return RemoveSummary(library.uri, removed, len(library.scenes()))


@dataclass(frozen=True)
class IndexedTable:
    """A table whose index was built.

    Attributes:
        rows: that belong to a scene.
        recall: share of the ten nearest rows that the index finds, mean over rows of the table.
    """

    rows: int
    recall: float


@dataclass(frozen=True)
class IndexSummary:
    """What ``scenewise library index`` did.

    Attributes:
        library: where it is.
        tables: whose index was built.
        exact_rows: up to so many rows of a table are compared one by one, and need none.
        seconds: for all of it.
    """

    library: str
    tables: Mapping[str, IndexedTable]
    exact_rows: int
    seconds: float

    def text(self) -> str:
        """A line per table."""
        if not self.tables:
            return f"{self.library}: no table has more than {self.exact_rows:,} rows; all are compared one by one, which is exact"
        lines = [f"{name}: {each.rows:,} rows, recall@{_BEST} {each.recall:.3f}" for name, each in self.tables.items()]
        return "\n".join([*lines, f"{self.library}: indexed ({duration_text(self.seconds)})"])


def index_library(options: LibraryIndexOptions, progress: Progress | None = None, exact_rows: int = EXACT_ROWS) -> IndexSummary:
    """Builds the index of large tables and measures what it finds; errors as in :func:`remove_scenes`.

    Args:
        options: see there.
        progress: where to report.
        exact_rows: up to so many rows need no index.
    """
    progress = NullProgress() if progress is None else progress
    started = time.monotonic()
    place = opened_library(options.library).uri
    library = open_library(library_uri(options.library), exact_rows=exact_rows)
    with progress.stage("index"):
        built = library.index()
    tables = {}
    with progress.stage("recall", len(built)) as stage:
        rows = library.info().tables
        for table in built:
            tables[str(table)] = IndexedTable(rows[table].num_rows, _recall(library, table))
            stage.advance()
    return IndexSummary(place, tables, exact_rows, time.monotonic() - started)


def _recall(library: SceneLibrary, table: VectorTable) -> float:
    """Share of the ten nearest rows that are found, for rows of the table itself."""
    exactly = open_library(library.uri, exact_rows=1 << 62)
    vectors = _vectors(exactly, table)
    asked = vectors[np.linspace(0, len(vectors) - 1, min(_ASKED, len(vectors))).astype(np.int64)]
    asked = asked[np.linalg.norm(asked, axis=1) > 0]  # views without a descriptor of another network
    if not len(asked):
        return 1.0
    found, true = (each.nearest(table, asked, _BEST).indices for each in (library, exactly))
    shares = [
        len(set(a.tolist()) & set(b[b >= 0].tolist())) / max(1, int((b >= 0).sum())) for a, b in zip(found, true, strict=True)
    ]
    return float(np.mean(shares))


def _vectors(library: SceneLibrary, table: VectorTable) -> np.ndarray:
    if table == "objects":
        return library.objects().features
    if table == "keypoints":
        return library.key_points().features
    views = library.views()
    return views.descriptors if table == "views" or views.other_descriptors is None else views.other_descriptors


@dataclass(frozen=True)
class CompactSummary:
    """What ``scenewise library compact`` did.

    Attributes:
        library: where it is.
        rows_removed: that belonged to no scene any more.
        versions_removed: of the list of scenes.
        num_bytes_before, num_bytes_after: on the disk.
    """

    library: str
    rows_removed: int
    versions_removed: int
    num_bytes_before: int
    num_bytes_after: int

    def text(self) -> str:
        """One line."""
        return (
            f"{self.library}: {self.num_bytes_before / 1e6:.1f} → {self.num_bytes_after / 1e6:.1f} MB, "
            f"{self.rows_removed:,} stale rows and {self.versions_removed} old versions removed"
        )


def compact_library(options: LibraryCompactOptions, progress: Progress | None = None) -> CompactSummary:
    """Sweeps a library; errors as in :func:`remove_scenes`."""
    progress = NullProgress() if progress is None else progress
    library = opened_library(options.library)
    with progress.stage("compact"):
        done = library.compact()
    return CompactSummary(
        library.uri, done.num_rows_removed, done.num_versions_removed, done.num_bytes_before, done.num_bytes_after
    )

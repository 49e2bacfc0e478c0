"""A library of scenes: made, opened, added to, read, searched and swept."""

from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, final

import numpy as np
from jaxtyping import Float, Float32

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.scene_library.checks import check_about
from scenewise.io.scene_library.compaction import put_together, remove_stale_rows, revisions_in_use
from scenewise.io.scene_library.connecting import connected, is_local, lance_errors, library_place, opened_table, tried_again
from scenewise.io.scene_library.describing import info_of, num_bytes, versions_of
from scenewise.io.scene_library.neighbours import nearest_rows
from scenewise.io.scene_library.reading import (
    Snapshot,
    library_descriptors,
    library_key_points,
    library_objects,
    library_views,
    rows_of_scene,
    thumbnails_of,
)
from scenewise.io.scene_library.records import (
    Compaction,
    LibraryAbout,
    LibraryDescriptors,
    LibraryInfo,
    LibraryKeyPoints,
    LibraryObjects,
    LibraryVersion,
    LibraryViews,
    Neighbours,
    PutOutcome,
    SceneRows,
    StoredScene,
    VectorTable,
)
from scenewise.io.scene_library.schema import (
    ROW_TABLES,
    SCENES,
    VECTOR_COLUMNS,
    scene_rows,
    scenes_schema,
)
from scenewise.io.scene_library.searching import EXACT_ROWS, build_index, unit_queries
from scenewise.io.scene_library.tables import LibraryTables
from scenewise.io.scene_library.writing import put_scene, remove_scene

Loaded = TypeVar("Loaded")
_HOUR = timedelta(hours=1)


def create_library(uri: str | Path, about: LibraryAbout) -> "SceneLibrary":
    """A new, empty library.

    Args:
        uri: a folder, which is made, or a place on object storage such as ``s3://bucket/name``.
        about: what holds for all of it.

    Raises:
        DataFormatError: there is one already, or a folder with other content.
        ConventionError: ``about`` makes no sense, or the URI is of no kind that we know.
        ResourceError: the folder cannot be written, or the object storage does not answer.
        MissingDependencyError: LanceDB is not installed.
    """
    check_about(about)
    place = library_place(uri)
    if is_local(place) and Path(place).exists():
        folder = Path(place)
        other = None if not folder.is_dir() else next((p.name for p in folder.iterdir() if not p.name.endswith(".lance")), None)
        if not folder.is_dir() or other is not None:
            got = "a file" if other is None else f"a folder with other content ({other})"
            raise DataFormatError(place, expected="a new or empty folder", got=got, fix="choose another name")
    connection = connected(place)
    exists = DataFormatError(
        place, expected="a place without a library", got="a library", fix="open it, or choose another name for the new one"
    )
    if opened_table(connection, place, SCENES) is not None:
        raise exists
    with lance_errors(place):
        try:
            connection.create_table(SCENES, schema=scenes_schema(about))
        except ValueError as error:
            if "already exists" in str(error):  # somebody was quicker
                raise exists from error
            raise
    return open_library(uri)


def open_library(uri: str | Path, *, version: int | None = None, exact_rows: int = EXACT_ROWS) -> "SceneLibrary":
    """A library that exists.

    Args:
        uri: its folder, or its place on object storage.
        version: opens it as it was then, to be read only; see :meth:`SceneLibrary.versions`.
        exact_rows: up to so many rows of a table are compared one by one when it is searched.

    Raises:
        DataFormatError: no library, one of a newer format, a damaged one, or a version that is no longer kept.
        ConventionError: the URI is of no kind that we know.
        ResourceError: the object storage does not answer.
        MissingDependencyError: LanceDB is not installed.
    """
    place = library_place(uri)
    nothing = DataFormatError(place, expected="a library of scenes", got="none", fix="check the name, or make a new library")
    if is_local(place) and not Path(place).is_dir():
        raise nothing
    connection = connected(place)
    scenes = opened_table(connection, place, SCENES)
    if scenes is None:
        raise nothing
    if version is not None:
        with lance_errors(place, f"table {SCENES}"):
            kept = sorted(int(entry["version"]) for entry in scenes.list_versions())
            if version not in kept:
                raise DataFormatError(
                    place, f"version {version}", expected=f"one that is kept ({kept[0]} to {kept[-1]})", got="none of this number"
                )
            scenes.checkout(version)
    return SceneLibrary(LibraryTables(place, connection, scenes, pinned=version is not None), exact_rows=exact_rows)


def find_library(uri: str | Path, *, version: int | None = None) -> "SceneLibrary | None":
    """As :func:`open_library`, but None where there is none; what else may be there is not looked at."""
    place = library_place(uri)
    if is_local(place) and not Path(place).is_dir():
        return None
    return None if opened_table(connected(place), place, SCENES) is None else open_library(uri, version=version)


@final
class SceneLibrary:
    """An open library.  It sees what other processes add and remove; several may write at once.

    One object belongs to one thread.  Arrays that were read are kept until a scene changes.
    """

    def __init__(self, tables: LibraryTables, *, exact_rows: int) -> None:
        self._tables, self._exact_rows = tables, exact_rows
        self._kept: dict[str, tuple[tuple[int, ...], Any]] = {}

    @property
    def about(self) -> LibraryAbout:
        """What holds for the whole library."""
        return self._tables.about

    @property
    def uri(self) -> str:
        """Where it is."""
        return self._tables.place

    # --- writing ----------------------------------------------------------------------------------------------------------------

    def put(self, rows: SceneRows) -> PutOutcome:
        """Adds a scene, or replaces the one of its name; readers see the old one or the new.

        Nothing is written where the library has it already: the same content, date, place, licence, kind and scale.

        Raises:
            ConventionError, ShapeError: the rows do not fit into this library; it was opened at an old version.
            ResourceError: the disk is full, the object storage does not answer, or other writers never stopped.
            DataFormatError: the library is damaged.
        """
        return put_scene(self._tables, rows)

    def remove(self, name: str) -> bool:
        """Removes a scene; readers miss it at once.  False: there was none of this name.  Errors as in :meth:`put`."""
        return remove_scene(self._tables, name)

    def compact(self, *, older_than: timedelta = _HOUR) -> Compaction:
        """Puts small files together, and removes old versions and the rows that no version names.

        Args:
            older_than: age of what is removed.  Less than an hour hurts writers and readers at work; zero is for a library that
                nobody else uses.

        Raises:
            ConventionError: it was opened at an old version.
            ResourceError, DataFormatError: see :meth:`put`.
        """
        scenes = self._tables.scenes_to_write()
        before = num_bytes(self._tables)
        with lance_errors(self.uri):
            num_versions = len(scenes.list_versions())
            put_together(scenes, self.uri, f"table {SCENES}", older_than)
            used, removed = revisions_in_use(scenes), 0  # what is written from now on is too young to be removed
            for name in ROW_TABLES:
                handle = self._tables.rows(name)
                if handle is not None:
                    removed += remove_stale_rows(handle, self.uri, f"table {name}", used, older_than)
                    put_together(handle, self.uri, f"table {name}", older_than)
            gone = max(0, num_versions - len(scenes.list_versions()))
        return Compaction(removed, gone, before, num_bytes(self._tables))

    def index(self, tables: Collection[VectorTable] | None = None) -> tuple[VectorTable, ...]:
        """Builds the index of tables anew; returns which.

        Rows that are added later are found too, and are compared one by one until :meth:`compact` puts them into the index.

        Args:
            tables: whose; None = of those that have more rows than are compared in memory.

        Raises:
            ConventionError: it was opened at an old version.
            ResourceError, DataFormatError: see :meth:`put`.
        """
        self._tables.scenes_to_write()
        states = self.info().tables
        built: list[VectorTable] = []
        for what, state in states.items():
            name, column = VECTOR_COLUMNS[what]
            if (
                name == SCENES
                or not state.num_rows
                or not (what in tables if tables is not None else state.num_rows > self._exact_rows)
            ):
                continue
            handle = self._tables.rows(name)
            tried_again(handle, partial(build_index, column), self.uri, f"table {name}")
            built.append(what)
        return tuple(built)

    # --- reading ----------------------------------------------------------------------------------------------------------------

    def scenes(self) -> tuple[StoredScene, ...]:
        """The list of scenes, by name."""
        return self._tables.read(lambda snapshot: snapshot.scenes)

    def is_current(self, name: str, content_hash: str) -> bool:
        """Whether a scene of this name was made from this content, so that there is nothing to encode."""
        found = self._tables.snapshot().find(name)
        return found is not None and found.facts.content_hash == content_hash

    def scene(self, name: str) -> SceneRows:
        """All rows of one scene, as they were put in, with vectors as float16.

        Raises:
            ConventionError: there is none of this name.
            DataFormatError: the library is damaged.
        """

        def load(snapshot: Snapshot) -> SceneRows:
            found = snapshot.find(name)
            if found is None:
                raise ConventionError("scene", expected="the name of a scene of this library", got=repr(name))
            row = self._tables.scenes_as_listed().search().where(f"revision = {found.revision}").to_arrow()
            parts = {table: rows_of_scene(self._tables.rows(table), table, self.about, found) for table in ROW_TABLES}
            return scene_rows(self.about, found, row, parts)

        return self._tables.read(load)

    def descriptors(self) -> LibraryDescriptors:
        """The descriptors of all scenes; 4·D bytes each."""
        return self._tables.read(self._descriptors)

    def views(self) -> LibraryViews:
        """All views but their pictures; 4·D + 220 bytes each, and 4·E of another network's descriptors."""
        return self._tables.read(self._views)

    def objects(self) -> LibraryObjects:
        """All objects but their pictures; 4·D + 50 bytes each."""
        return self._tables.read(self._objects)

    def key_points(self) -> LibraryKeyPoints:
        """All key points; 4·D + 20 bytes each: 532 MB for a million with D = 128."""
        return self._tables.read(self._key_points)

    def thumbnails(self, table: Literal["scenes", "views", "objects"], indices: Sequence[int]) -> tuple[bytes, ...]:
        """JPEG files of rows of :meth:`scenes`, :meth:`views` or :meth:`objects`, as numbered there; b"" where there is none."""

        def load(snapshot: Snapshot) -> tuple[bytes, ...]:
            handle = self._tables.scenes_as_listed() if table == SCENES else self._tables.rows(table)
            return thumbnails_of(handle, snapshot, table, indices)

        return self._tables.read(load)

    def nearest(
        self, table: VectorTable, queries: Float[np.ndarray, "q d"], k: int, *, scenes: Collection[str] | None = None
    ) -> Neighbours:
        """The rows that are most similar to each query, by cosine.

        Up to ``exact_rows`` rows all are compared in memory, where they are kept (4·D bytes each).  Of larger tables the index is
        asked; without one (:meth:`index`) all are compared on the disk, which takes seconds.

        Args:
            table: what is searched.
            queries: of any length but zero.
            k: how many of each.
            scenes: names of those to search; None = all.

        Raises:
            ShapeError, ConventionError: queries of another dimension, zero or not finite; a scene that is none; a table that this
                library does not have.
            DataFormatError: the library is damaged.
        """
        dim = self.about.other_dim if table == "other_views" else self.about.dim
        if table not in VECTOR_COLUMNS or dim is None:
            raise ConventionError("table", expected="one of this library with vectors", got=table)
        if k < 1:
            raise ConventionError("k", expected="at least 1", got=k)
        unit = unit_queries(queries, dim)
        return self._tables.read(
            lambda snapshot: nearest_rows(
                self._tables,
                snapshot,
                table,
                unit,
                k,
                scenes=scenes,
                exact_rows=self._exact_rows,
                all_vectors=lambda: self._vectors(table, snapshot),
            )
        )

    def info(self) -> LibraryInfo:
        """The library in figures."""
        return self._tables.read(lambda snapshot: info_of(self._tables, snapshot))

    def versions(self) -> tuple[LibraryVersion, ...]:
        """All versions that are kept, the oldest first, and what changed in each."""
        return self._tables.read(lambda _: versions_of(self._tables))

    # --- within -----------------------------------------------------------------------------------------------------------------

    def _descriptors(self, snapshot: Snapshot) -> LibraryDescriptors:
        return self._loaded(
            "scenes", snapshot, lambda: library_descriptors(self._tables.scenes_as_listed(), snapshot, self.about)
        )

    def _views(self, snapshot: Snapshot) -> LibraryViews:
        return self._loaded("views", snapshot, lambda: library_views(self._tables.rows("views"), snapshot, self.about))

    def _objects(self, snapshot: Snapshot) -> LibraryObjects:
        return self._loaded("objects", snapshot, lambda: library_objects(self._tables.rows("objects"), snapshot, self.about))

    def _key_points(self, snapshot: Snapshot) -> LibraryKeyPoints:
        return self._loaded(
            "keypoints", snapshot, lambda: library_key_points(self._tables.rows("keypoints"), snapshot, self.about)
        )

    def _vectors(self, table: VectorTable, snapshot: Snapshot) -> Float32[np.ndarray, "n d"]:
        if table == "scenes":
            return self._descriptors(snapshot).descriptors
        if table == "objects":
            return self._objects(snapshot).features
        if table == "keypoints":
            return self._key_points(snapshot).features
        views = self._views(snapshot)
        if table == "views":
            return views.descriptors
        assert views.other_descriptors is not None, "asked for only where the library has them"
        return views.other_descriptors

    def _loaded(self, what: str, snapshot: Snapshot, load: Callable[[], Loaded]) -> Loaded:
        """What was loaded for the same revisions before, or loads it."""
        revisions = tuple(snapshot.revisions.tolist())
        if what not in self._kept or self._kept[what][0] != revisions:
            self._kept.pop(what, None)  # the old arrays go before the new ones come
            self._kept[what] = (revisions, load())
        return self._kept[what][1]

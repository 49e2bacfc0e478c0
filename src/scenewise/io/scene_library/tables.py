"""The tables of one library, each at the version it was last looked at."""

from collections.abc import Callable
from typing import Any, TypeVar, final

import numpy as np

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.scene_library.connecting import lance_errors, opened_table
from scenewise.io.scene_library.reading import RowsMissingError, Snapshot, batches_of
from scenewise.io.scene_library.records import LibraryAbout
from scenewise.io.scene_library.schema import SCENES, STORED_COLUMNS, RowTable, about_of, rows_schema, stored_scenes

Value = TypeVar("Value")
_LOOKS = 3


@final
class LibraryTables:
    """LanceDB's handles of a library.

    Args:
        place: of the library.
        connection: LanceDB's.
        scenes: handle of the table of scenes.
        pinned: whether that stays at the version it is at.
    """

    def __init__(self, place: str, connection: Any, scenes: Any, *, pinned: bool) -> None:
        self.place, self.connection, self.pinned = place, connection, pinned
        self.about: LibraryAbout = about_of(place, scenes.schema)
        self._scenes, self._rows = scenes, dict[RowTable, Any]()
        self._snapshot: Snapshot | None = None
        self._stale: dict[RowTable, tuple[tuple[int, int], list[int]]] = {}

    def scenes(self) -> Any:
        """The table of scenes: as it is now, or as it was at the version that was asked for."""
        if not self.pinned:
            with lance_errors(self.place, f"table {SCENES}"):
                self._scenes.checkout_latest()
        return self._scenes

    def scenes_as_listed(self) -> Any:
        """The table of scenes at the version that was last looked at."""
        return self._scenes

    def rows(self, table: RowTable) -> Any | None:
        """A table of rows as it is now; None where no scene had any yet."""
        if table not in self._rows:
            handle = opened_table(self.connection, self.place, table)
            if handle is None:
                return None
            if handle.schema.remove_metadata() != rows_schema(table, self.about):
                raise DataFormatError(
                    self.place, f"table {table}", expected="the columns of ours", got=", ".join(handle.schema.names)
                )
            self._rows[table] = handle
        with lance_errors(self.place, f"table {table}"):
            self._rows[table].checkout_latest()
        return self._rows[table]

    def rows_to_write(self, table: RowTable) -> Any:
        """A table of rows, made if need be."""
        handle = self.rows(table)
        if handle is None:
            with lance_errors(self.place, f"table {table}"):
                self.connection.create_table(table, schema=rows_schema(table, self.about), exist_ok=True)
            handle = self.rows(table)
            assert handle is not None
        return handle

    def scenes_to_write(self) -> Any:
        """The table of scenes as it is now.

        Raises:
            ConventionError: the library was opened as it was earlier, or was made anew with another encoder since.
        """
        if self.pinned:
            raise ConventionError(
                "library",
                expected="one opened as it is now",
                got="an old version, which is only read",
                fix="open the library without a version",
            )
        handle = self.scenes()
        if about_of(self.place, handle.schema) != self.about:
            raise ConventionError(
                "library", expected=f"the encoder {self.about.encoder}, as when it was opened", got="another", fix="open it again"
            )
        return handle

    def snapshot(self) -> Snapshot:
        """The list of scenes; read again where it has changed."""
        handle = self.scenes()
        with lance_errors(self.place, f"table {SCENES}"):
            if self._snapshot is None or self._snapshot.version != handle.version:
                listed = handle.search().select(list(STORED_COLUMNS)).to_arrow()
                self._snapshot = Snapshot(handle.version, stored_scenes(self.place, listed))
        return self._snapshot

    def stale_revisions(self, table: RowTable, handle: Any, snapshot: Snapshot) -> list[int]:
        """Revisions with rows in a table that the list of scenes does not name; looked for again where either has changed."""
        versions = (handle.version, snapshot.version)
        if table not in self._stale or self._stale[table][0] != versions:
            found: list[int] = []
            if handle.count_rows() != snapshot.starts(table)[-1]:
                parts = [np.unique(batch.column("revision").to_numpy()) for batch in batches_of(handle, ["revision"])]
                revisions = np.unique(np.concatenate(parts))
                found = revisions[snapshot.scene_index(revisions) < 0].tolist()
            self._stale[table] = versions, found
        return self._stale[table][1]

    def read(self, load: Callable[[Snapshot], Value]) -> Value:
        """What ``load`` makes of the list of scenes.

        Where rows are missing, because a scene was replaced and its old rows swept away in between, both are read again.

        Raises:
            DataFormatError: they are still missing: the library is damaged.
        """
        for look in range(_LOOKS):
            try:
                with lance_errors(self.place):
                    return load(self.snapshot())
            except RowsMissingError as error:
                if look == _LOOKS - 1:
                    raise DataFormatError(
                        self.place,
                        f"scene {error.scene!r}",
                        expected="all of its rows",
                        got=f"some missing in the table {error.table}",
                        fix="remove the scene and add it again",
                    ) from error
            except DataFormatError:
                if look == _LOOKS - 1:
                    raise
            self._snapshot = None
        raise AssertionError("the last look returns or raises")

"""A library in figures, and its versions."""

import os
from datetime import UTC, datetime
from pathlib import Path

from scenewise.io.scene_library.connecting import is_local, opened_table
from scenewise.io.scene_library.reading import Snapshot
from scenewise.io.scene_library.records import LibraryInfo, LibraryVersion, TableState, VectorTable
from scenewise.io.scene_library.schema import ROW_TABLES, SCENES, VECTOR_COLUMNS
from scenewise.io.scene_library.searching import num_unindexed_rows
from scenewise.io.scene_library.tables import LibraryTables


def info_of(tables: LibraryTables, snapshot: Snapshot) -> LibraryInfo:
    """The library in figures."""
    states: dict[VectorTable, TableState] = {}
    for what, (name, column) in VECTOR_COLUMNS.items():
        if what == "other_views" and tables.about.other_dim is None:
            continue
        handle = tables.scenes() if name == SCENES else tables.rows(name)
        live = len(snapshot.scenes) if name == SCENES else int(snapshot.starts(name)[-1])
        if handle is None:
            states[what] = TableState(0, 0, None)
        else:
            stale = 0 if name == SCENES else handle.count_rows() - live
            states[what] = TableState(live, stale, num_unindexed_rows(handle, column))
    return LibraryInfo(tables.place, tables.about, snapshot.version, len(snapshot.scenes), states, num_bytes(tables))


def num_bytes(tables: LibraryTables) -> int:
    """What a local library takes on the disk; of one on object storage what its present version takes."""
    if is_local(tables.place):
        return sum(_size(Path(folder) / name) for folder, _, names in os.walk(tables.place) for name in names)
    handles = [tables.scenes(), *(tables.rows(name) for name in ROW_TABLES)]
    return sum(int(handle.stats()["total_bytes"]) for handle in handles if handle is not None)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # another process has just swept it away
        return 0


def versions_of(tables: LibraryTables) -> tuple[LibraryVersion, ...]:
    """All versions of the list of scenes that are kept, the oldest first."""
    handle = opened_table(tables.connection, tables.place, SCENES)
    assert handle is not None
    versions = []
    before: dict[str, int] | None = None
    for entry in sorted(handle.list_versions(), key=lambda entry: int(entry["version"])):
        handle.checkout(entry["version"])
        rows = handle.search().select(["name", "revision"]).to_arrow()
        now = dict(zip(rows.column("name").to_pylist(), rows.column("revision").to_pylist()))
        old = now if before is None else before
        versions.append(
            LibraryVersion(
                number=int(entry["version"]),
                time=_in_utc(entry["timestamp"]),
                added=tuple(sorted(now.keys() - old.keys())),
                replaced=tuple(sorted(name for name in now.keys() & old.keys() if now[name] != old[name])),
                removed=tuple(sorted(old.keys() - now.keys())),
            )
        )
        before = now
    return tuple(versions)


def _in_utc(time: datetime) -> datetime:
    return time.astimezone(UTC)  # LanceDB gives local time without saying so, which is what this takes it for

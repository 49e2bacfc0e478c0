"""Adding, replacing and removing a scene.

The row of a scene in the table of scenes is the commit point.  A writer first writes the rows of views, objects and key points
under a new revision, which nobody reads, then the row of the scene, which names the revision, in one step.  A killed writer
leaves rows that no scene names; they are swept away later (:mod:`scenewise.io.scene_library.compaction`).
"""

from datetime import UTC, datetime
from functools import partial
from typing import Any

from scenewise.errors import ResourceError
from scenewise.io.scene_library.checks import check_scene
from scenewise.io.scene_library.connecting import tried_again
from scenewise.io.scene_library.records import PutOutcome, SceneFacts, SceneRows
from scenewise.io.scene_library.revisions import age_seconds, new_revision
from scenewise.io.scene_library.schema import ROW_TABLES, SCENES, rows_of, scene_row
from scenewise.io.scene_library.tables import LibraryTables

_LONGEST_PUT = 1800.0  # seconds; rows of a writer older than an hour may be swept away


def put_scene(tables: LibraryTables, rows: SceneRows) -> PutOutcome:
    """See :meth:`scenewise.io.scene_library.store.SceneLibrary.put`."""
    tables.scenes_to_write()
    check_scene(rows, tables.about)
    old = tables.snapshot().find(rows.facts.name)
    if old is not None and _says_the_same(old.facts, rows.facts):
        return "unchanged"
    revision = new_revision()
    for name in ROW_TABLES:
        data = rows_of(name, rows, tables.about, revision)
        if data.num_rows:
            tried_again(tables.rows_to_write(name), partial(_append, data), tables.place, f"table {name}")
    row = scene_row(rows, tables.about, revision, datetime.now(UTC))
    if age_seconds(revision) > _LONGEST_PUT:
        raise ResourceError(
            f"adding {rows.facts.name!r}",
            expected="at most half an hour",
            got="more, so that its rows may be swept away",
            fix="add it again",
        )
    tried_again(tables.scenes_to_write(), partial(_replace, row), tables.place, f"table {SCENES}")
    return "added" if old is None else "replaced"


def remove_scene(tables: LibraryTables, name: str) -> bool:
    """See :meth:`scenewise.io.scene_library.store.SceneLibrary.remove`."""
    tables.scenes_to_write()
    if tables.snapshot().find(name) is None:
        return False
    where = "name = '" + name.replace("'", "''") + "'"
    tried_again(tables.scenes_to_write(), lambda table: table.delete(where), tables.place, f"table {SCENES}")
    return True


def _says_the_same(old: SceneFacts, new: SceneFacts) -> bool:
    names = ("content_hash", "date", "place", "licence", "kind", "scale")
    return all(getattr(old, name) == getattr(new, name) for name in names)


def _append(data: Any, table: Any) -> None:
    table.add(data)


def _replace(row: Any, table: Any) -> None:
    table.merge_insert("name").when_matched_update_all().when_not_matched_insert_all().execute(row)

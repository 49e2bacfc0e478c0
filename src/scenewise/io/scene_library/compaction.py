"""Sweeping a library: rows that belong to no scene, small files, old versions."""

from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np

from scenewise.io.scene_library.connecting import tried_again
from scenewise.io.scene_library.reading import batches_of
from scenewise.io.scene_library.revisions import age_seconds

_AT_ONCE = 1000  # revisions in one condition


def put_together(handle: Any, place: str, part: str, older_than: timedelta) -> None:
    """Small files become large ones, rows new to an index go into it, versions older than this go.

    Files of a killed writer that no version names are left for a week, because nobody can tell them from those of one at work.
    """
    at_least = max(older_than, timedelta(milliseconds=1))
    before = -1
    for _ in range(2):  # what is written anew replaces what only the next call removes
        if handle.version != before:
            before = handle.version
            tried_again(handle, lambda table: table.optimize(cleanup_older_than=at_least), place, part)
            handle.checkout_latest()


def revisions_in_use(handle: Any) -> frozenset[int]:
    """Every revision that a version of the list of scenes names, as far as versions are kept.

    Args:
        handle: of the table of scenes; it is at the latest version afterwards.
    """
    used: set[int] = set()
    for version in [entry["version"] for entry in handle.list_versions()]:
        try:
            handle.checkout(version)
        except ValueError as error:
            if "no longer exists" in str(error):  # another sweeper was quicker
                continue
            raise
        used.update(handle.search().select(["revision"]).to_arrow().column("revision").to_pylist())
    handle.checkout_latest()
    return frozenset(used)


def remove_stale_rows(handle: Any, place: str, part: str, used: frozenset[int], older_than: timedelta) -> int:
    """Removes rows of revisions that are not in use and were begun longer ago than this; returns how many went."""
    found = {int(value) for batch in batches_of(handle, ["revision"]) for value in np.unique(batch.column("revision").to_numpy())}
    stale = sorted(value for value in found - used if age_seconds(value) > older_than.total_seconds())
    removed = 0
    for first in range(0, len(stale), _AT_ONCE):
        where = f"revision IN ({', '.join(map(str, stale[first : first + _AT_ONCE]))})"
        count = handle.count_rows(where)
        tried_again(handle, partial(_delete, where), place, part)
        removed += count
    return removed


def _delete(where: str, table: Any) -> None:
    table.delete(where)

"""All rows of a table at once, in the order of the scenes' names, and those of one scene.

Tables hold rows of replaced scenes and of writers that did not finish; only revisions that the list of scenes names count.
Rows are read in batches straight into their places, so that reading takes the memory of the result and of one batch.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Int32, Int64

from scenewise.errors import ConventionError
from scenewise.io.scene_library.records import (
    LibraryAbout,
    LibraryDescriptors,
    LibraryKeyPoints,
    LibraryObjects,
    LibraryViews,
    StoredScene,
    VectorTable,
)
from scenewise.io.scene_library.schema import (
    ROW_TABLES,
    SCENES,
    VECTOR_COLUMNS,
    RowTable,
    matrix,
    num_rows_of,
    rows_schema,
)

_BATCH = 16_384  # rows
_UNIT_ROWS = 65_536  # made unit vectors at a time


class RowsMissingError(Exception):
    """A scene that is listed lacks rows: it has just been replaced and swept away, or the library is damaged."""

    def __init__(self, scene: str, table: str) -> None:
        super().__init__(f"scene {scene!r} lacks rows of the table {table}")
        self.scene, self.table = scene, table


@dataclass(frozen=True)
class Snapshot:
    """The list of scenes at one version.

    Attributes:
        version: of the table of scenes.
        scenes: by name.
    """

    version: int
    scenes: tuple[StoredScene, ...]

    @cached_property
    def revisions(self) -> Int64[np.ndarray, "s"]:
        """Of each scene."""
        return np.array([scene.revision for scene in self.scenes], dtype=np.int64)

    @cached_property
    def _by_revision(self) -> Int64[np.ndarray, "s"]:
        return np.argsort(self.revisions, kind="stable")

    @cached_property
    def _starts(self) -> dict[RowTable, Int64[np.ndarray, "_"]]:
        counts = {table: [0, *(num_rows_of(table, scene) for scene in self.scenes)] for table in ROW_TABLES}
        return {table: np.cumsum(count, dtype=np.int64) for table, count in counts.items()}

    def starts(self, table: RowTable) -> Int64[np.ndarray, "_"]:
        """Where each scene's rows begin, and after the last where they end."""
        return self._starts[table]

    def find(self, name: str) -> StoredScene | None:
        """The scene of a name, or None."""
        return next((scene for scene in self.scenes if scene.name == name), None)

    def scene_index(self, revisions: Int64[np.ndarray, "n"]) -> Int32[np.ndarray, "n"]:
        """Which scene a revision is of, −1 = none."""
        if not self.scenes:
            return np.full(len(revisions), -1, dtype=np.int32)
        ordered = self.revisions[self._by_revision]
        at = np.minimum(np.searchsorted(ordered, revisions), len(ordered) - 1)
        return np.where(ordered[at] == revisions, self._by_revision[at], -1).astype(np.int32)

    def places(self, table: RowTable, revisions: Int64[np.ndarray, "n"], rows: Int32[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
        """Where rows of a table stand in the whole, −1 = not in it."""
        starts, scene = self.starts(table), self.scene_index(revisions)
        at = starts[scene] + rows  # of −1: nonsense, which goes below
        return np.where((scene >= 0) & (rows >= 0) & (at < starts[scene + 1]), at, -1)


def batches_of(handle: Any | None, columns: Sequence[str], where: str | None = None) -> Iterator[Any]:
    """The rows of a table in batches; none where there is no table."""
    if handle is None:
        return
    query = handle.search().select(list(columns))
    yield from (query if where is None else query.where(where)).to_batches(_BATCH)


def rows_of_scene(handle: Any | None, table: RowTable, about: LibraryAbout, scene: StoredScene) -> Any:
    """The rows of one scene, in order.

    Raises:
        RowsMissingError: there are others than the list of scenes says.
    """
    if handle is None or not num_rows_of(table, scene):
        found = rows_schema(table, about).empty_table()
    else:
        found = handle.search().where(f"revision = {scene.revision}").to_arrow().sort_by("row")
    if not np.array_equal(found.column("row").to_numpy(), np.arange(num_rows_of(table, scene))):
        raise RowsMissingError(scene.name, table)
    return found


def library_descriptors(handle: Any, snapshot: Snapshot, about: LibraryAbout) -> LibraryDescriptors:
    """The descriptors of all scenes; ``handle``: of the table of scenes, at the snapshot's version."""
    found = handle.search().select(["revision", "descriptor"]).to_arrow()
    at = snapshot.scene_index(found.column("revision").to_numpy())
    if not np.array_equal(np.sort(at), np.arange(len(snapshot.scenes))):
        raise RowsMissingError("?", "scenes")
    descriptors = np.empty((len(at), about.dim), dtype=np.float32)
    descriptors[at] = matrix(found.column("descriptor"), (about.dim,))
    return LibraryDescriptors(snapshot.scenes, _made_unit(descriptors))


def library_views(handle: Any | None, snapshot: Snapshot, about: LibraryAbout) -> LibraryViews:
    """All views; 4·D + 220 bytes each, and 4·E of another network's descriptors.

    Raises:
        RowsMissingError: a scene lacks some.
    """
    numbers: dict[str, _Column] = {"camera_from_world": ((4, 4), np.float64), "K": ((3, 3), np.float64)}
    numbers |= {"width": ((), np.int32), "height": ((), np.int32), "descriptor": ((about.dim,), np.float32)}
    if about.other_dim is not None:
        numbers["other_descriptor"] = ((about.other_dim,), np.float32)
    found, texts = _gathered(handle, snapshot, "views", numbers, "name")
    starts = snapshot.starts("views")
    return LibraryViews(
        scenes=snapshot.scenes,
        starts=starts,
        scene_index=_owners(starts),
        names=texts,
        camera_from_world=found["camera_from_world"],
        K=found["K"],
        widths=found["width"],
        heights=found["height"],
        descriptors=_made_unit(found["descriptor"]),
        other_descriptors=None if about.other_dim is None else _made_unit(found["other_descriptor"]),
    )


def library_objects(handle: Any | None, snapshot: Snapshot, about: LibraryAbout) -> LibraryObjects:
    """All objects; 4·D + 110 bytes each; errors as in :func:`library_views`."""
    numbers: dict[str, _Column] = {"id": ((), np.int32), "confidence": ((), np.float32), "center_in_world": ((3,), np.float32)}
    numbers |= {"size": ((3,), np.float32), "num_points": ((), np.int32), "color": ((3,), np.float32)}
    numbers |= {"feature": ((about.dim,), np.float32)}
    numbers |= {"color_shares": ((len(about.color_names),), np.float32)} if about.color_names else {}
    found, texts = _gathered(handle, snapshot, "objects", numbers, "class_name")
    starts = snapshot.starts("objects")
    return LibraryObjects(
        scenes=snapshot.scenes,
        starts=starts,
        scene_index=_owners(starts),
        ids=found["id"],
        class_names=texts,
        confidences=found["confidence"],
        centers_in_world=found["center_in_world"],
        sizes=found["size"],
        num_points=found["num_points"],
        colors=found["color"],
        color_shares=found.get("color_shares"),
        features=_made_unit(found["feature"]),
    )


def vectors_of_scenes(handle: Any | None, part: Snapshot, table: VectorTable, about: LibraryAbout) -> Float32[np.ndarray, "n d"]:
    """The unit vectors of some scenes alone; ``part`` lists them; errors as in :func:`library_views`."""
    name, column = VECTOR_COLUMNS[table]
    assert name != SCENES, "of scenes there are never too many to read all"
    dim = about.other_dim if table == "other_views" else about.dim
    assert dim is not None
    revisions = ", ".join(map(str, part.revisions.tolist()))
    found, _ = _gathered(handle, part, name, {column: ((dim,), np.float32)}, where=f"revision IN ({revisions})")
    return _made_unit(found[column])


def library_key_points(handle: Any | None, snapshot: Snapshot, about: LibraryAbout) -> LibraryKeyPoints:
    """All key points; 4·D + 20 bytes each; errors as in :func:`library_views`."""
    numbers: dict[str, _Column] = {"position_in_world": ((3,), np.float32), "score": ((), np.float32)}
    numbers |= {"feature": ((about.dim,), np.float32)}
    found, _ = _gathered(handle, snapshot, "keypoints", numbers)
    starts = snapshot.starts("keypoints")
    return LibraryKeyPoints(
        scenes=snapshot.scenes,
        starts=starts,
        scene_index=_owners(starts),
        positions_in_world=found["position_in_world"],
        scores=found["score"],
        features=_made_unit(found["feature"]),
    )


def thumbnails_of(
    handle: Any | None, snapshot: Snapshot, table: Literal["scenes", "views", "objects"], indices: Sequence[int]
) -> tuple[bytes, ...]:
    """Pictures of rows, as numbered in the whole; ``handle`` of the table of scenes: at the snapshot's version.

    Raises:
        ConventionError: there is no such row.
        RowsMissingError: a scene lacks it.
    """
    starts = np.arange(len(snapshot.scenes) + 1) if table == SCENES else snapshot.starts(table)
    wanted: dict[tuple[int, int], bytes | None] = {}
    for index in indices:
        if not 0 <= index < starts[-1]:
            raise ConventionError("indices", expected=f"0 to {starts[-1] - 1}", got=index)
        owner = int(np.searchsorted(starts, index, side="right")) - 1
        wanted[snapshot.scenes[owner].revision, int(index - starts[owner])] = None
    rows_by_revision: dict[int, list[int]] = {}
    for revision, row in wanted:
        rows_by_revision.setdefault(revision, []).append(row)
    columns = ["revision", "thumbnail"] if table == SCENES else ["revision", "row", "thumbnail"]
    for revision, rows in rows_by_revision.items():
        where = f"revision = {revision}" + ("" if table == SCENES else f" AND row IN ({', '.join(map(str, rows))})")
        for batch in batches_of(handle, columns, where):
            for found in batch.to_pylist():
                wanted[revision, found.get("row", 0)] = found["thumbnail"]
    pictures = []
    for index in indices:
        owner = int(np.searchsorted(starts, index, side="right")) - 1
        picture = wanted[snapshot.scenes[owner].revision, int(index - starts[owner])]
        if picture is None:
            raise RowsMissingError(snapshot.scenes[owner].name, table)
        pictures.append(picture)
    return tuple(pictures)


_Column = tuple[tuple[int, ...], type[np.generic]]


def _gathered(
    handle: Any | None,
    snapshot: Snapshot,
    table: RowTable,
    numbers: Mapping[str, _Column],
    text: str | None = None,
    where: str | None = None,
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Columns of numbers and one of text of all live rows, each in its place; lists that are null stay zero."""
    count = int(snapshot.starts(table)[-1])
    arrays: dict[str, Any] = {name: np.zeros((count, *shape), dtype) for name, (shape, dtype) in numbers.items()}
    texts = [""] * count
    seen = np.zeros(count, dtype=bool)
    columns = ["revision", "row", *numbers, *([] if text is None else [text])]
    for batch in batches_of(handle, columns, where) if count else ():
        places = snapshot.places(table, batch.column("revision").to_numpy(), batch.column("row").to_numpy())
        is_live = places >= 0
        if not is_live.any():
            continue
        for name, (shape, _) in numbers.items():
            column = batch.column(name)
            if shape:
                is_there = column.is_valid().to_numpy(zero_copy_only=False)
                arrays[name][places[is_live & is_there]] = matrix(column, shape)[is_live[is_there]]
            else:
                arrays[name][places[is_live]] = column.to_numpy()[is_live]
        if text is not None:
            for place, value in zip(places, batch.column(text).to_pylist()):
                if place >= 0:
                    texts[place] = value
        seen[places[is_live]] = True
    if not seen.all():
        owner = np.searchsorted(snapshot.starts(table), int(np.argmin(seen)), side="right") - 1
        raise RowsMissingError(snapshot.scenes[owner].name, table)
    return arrays, tuple(texts) if text is not None else ()


def _owners(starts: Int64[np.ndarray, "bounds"]) -> Int32[np.ndarray, "n"]:
    return np.repeat(np.arange(len(starts) - 1, dtype=np.int32), np.diff(starts))


def _made_unit(vectors: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n d"]:
    """Undoes what float16 did to the lengths, in place; zero vectors stay."""
    for first in range(0, len(vectors), _UNIT_ROWS):
        part = vectors[first : first + _UNIT_ROWS]
        lengths = np.linalg.norm(part, axis=1, keepdims=True)
        part /= np.where(lengths > 0, lengths, 1)
    return vectors

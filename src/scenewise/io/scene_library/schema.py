"""The tables of a library: their columns, and the way of the records into them and back.

The library itself is the table of scenes: the metadata of its schema hold the facts of the library, so that both come into being
in one step.  The other tables follow from those facts and are made by the first scene that has rows for them.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from scenewise.errors import DataFormatError
from scenewise.io.json_fields import JsonFields
from scenewise.io.scene_library.connecting import arrow
from scenewise.io.scene_library.records import (
    KeyPointRows,
    LibraryAbout,
    ObjectRows,
    SceneFacts,
    SceneRows,
    StoredScene,
    VectorTable,
    ViewRows,
)

FORMAT_VERSION = 2
SCENES: Literal["scenes"] = "scenes"
RowTable = Literal["views", "objects", "keypoints"]
ROW_TABLES: tuple[RowTable, ...] = ("views", "objects", "keypoints")
VECTOR_COLUMNS: Mapping[VectorTable, tuple[Literal["scenes"] | RowTable, str]] = {
    "scenes": (SCENES, "descriptor"),
    "views": ("views", "descriptor"),
    "other_views": ("views", "other_descriptor"),
    "objects": ("objects", "feature"),
    "keypoints": ("keypoints", "feature"),
}
"""Table and column of what can be searched."""
_COUNT_COLUMNS: Mapping[RowTable, str] = {"views": "num_views", "objects": "num_objects", "keypoints": "num_keypoints"}
_KEY = b"scenewise_library"
# What LanceDB reads as "no two rows with the same name": without it two writers that add a scene at once both insert it.
_PRIMARY_KEY = {"lance-schema:unenforced-primary-key": "true"}


# --- facts of the library -------------------------------------------------------------------------------------------------------


def about_metadata(about: LibraryAbout) -> dict[bytes, bytes]:
    """The facts of a library as metadata of a schema."""
    value = {
        "format": "scenewise-library",
        "version": FORMAT_VERSION,
        "encoder": about.encoder,
        "fingerprint": about.fingerprint,
        "licence": about.licence,
        "dim": about.dim,
        "class_names": list(about.class_names),
        "color_names": list(about.color_names),
        "other_encoder": about.other_encoder,
        "other_dim": about.other_dim,
    }
    return {_KEY: json.dumps(value, ensure_ascii=False).encode()}


def about_of(place: str, schema: Any) -> LibraryAbout:
    """The facts of a library out of the schema of its scenes.

    Raises:
        DataFormatError: no library of ours, of a newer format, or damaged.
    """
    text = (schema.metadata or {}).get(_KEY)
    if text is None:
        raise DataFormatError(place, expected="a library of scenes", got="a table of scenes without its facts")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataFormatError(place, "facts of the library", expected="JSON", got=str(error)[:120]) from error
    fields = JsonFields(Path(place), "facts of the library", value)
    fields.choice("format", ("scenewise-library",))
    version = fields.integer("version", minimum=1)
    if version < FORMAT_VERSION:
        fix = "add its scenes to a new library: this one has no names of colours"
        raise DataFormatError(place, "version", expected=f"{FORMAT_VERSION}", got=version, fix=fix)
    if version > FORMAT_VERSION:
        raise DataFormatError(place, "version", expected=f"{FORMAT_VERSION}", got=version, fix="use a newer version of Scenewise")
    about = LibraryAbout(
        encoder=fields.text("encoder"),
        fingerprint=fields.text("fingerprint"),
        licence=fields.text("licence"),
        dim=fields.integer("dim", minimum=1),
        class_names=fields.texts("class_names"),
        color_names=fields.texts("color_names"),
        other_encoder=fields.text("other_encoder", None),
        other_dim=fields.integer("other_dim", None, minimum=1),
    )
    fields.finish()
    wanted = scenes_schema(about)
    if schema.names != wanted.names or schema.types != wanted.types:
        raise DataFormatError(
            place, "table scenes", expected=f"the columns {', '.join(wanted.names)}", got=", ".join(schema.names)
        )
    return about


# --- columns --------------------------------------------------------------------------------------------------------------------


def scenes_schema(about: LibraryAbout) -> Any:
    """Of the table of scenes."""
    pa = arrow()
    return pa.schema(
        [
            pa.field("name", pa.string(), nullable=False, metadata=_PRIMARY_KEY),
            pa.field("revision", pa.int64()),
            pa.field("added", pa.string()),
            *(pa.field(name, pa.string()) for name in ("source", "kind", "content_hash", "date", "place", "licence", "scale")),
            pa.field("offset_in_source", pa.list_(pa.float64(), 3)),
            pa.field("bounds_in_world", pa.list_(pa.float32(), 6)),
            pa.field("num_points", pa.int64()),
            *(pa.field(_COUNT_COLUMNS[name], pa.int64()) for name in ROW_TABLES),
            pa.field("class_counts", pa.string()),
            pa.field("provenance", pa.string()),
            pa.field("descriptor", pa.list_(pa.float16(), about.dim)),
            pa.field("thumbnail", pa.binary()),
        ],
        metadata=about_metadata(about),
    )


def rows_schema(table: RowTable, about: LibraryAbout) -> Any:
    """Of a table of rows; each tells its scene, its revision and its place among the rows of that."""
    pa = arrow()
    vector = pa.list_(pa.float16(), about.dim)
    own: list[tuple[str, Any]]
    if table == "views":
        own = [("name", pa.string()), ("camera_from_world", pa.list_(pa.float64(), 16)), ("K", pa.list_(pa.float64(), 9))]
        own += [("width", pa.int32()), ("height", pa.int32()), ("descriptor", vector)]
        own += [] if about.other_dim is None else [("other_descriptor", pa.list_(pa.float16(), about.other_dim))]
        own += [("thumbnail", pa.binary())]
    elif table == "objects":
        own = [("id", pa.int32()), ("class_name", pa.string()), ("confidence", pa.float32())]
        own += [("center_in_world", pa.list_(pa.float32(), 3)), ("size", pa.list_(pa.float32(), 3)), ("num_points", pa.int32())]
        own += [("color", pa.list_(pa.float32(), 3)), ("feature", vector), ("thumbnail", pa.binary())]
        own += [("color_shares", pa.list_(pa.float32(), len(about.color_names)))] if about.color_names else []
    else:
        own = [("position_in_world", pa.list_(pa.float32(), 3)), ("score", pa.float32()), ("feature", vector)]
    return pa.schema([("scene", pa.string()), ("revision", pa.int64()), ("row", pa.int32()), *own])


# --- records to rows ------------------------------------------------------------------------------------------------------------


def scene_row(rows: SceneRows, about: LibraryAbout, revision: int, added: datetime) -> Any:
    """The row of a scene: a table of one."""
    facts = rows.facts
    return _table(
        scenes_schema(about),
        {
            "name": [facts.name],
            "revision": [revision],
            "added": [added.isoformat(timespec="milliseconds")],
            **{name: [getattr(facts, name)] for name in ("source", "kind", "content_hash", "date", "place", "licence", "scale")},
            "offset_in_source": facts.offset_in_source[None],
            "bounds_in_world": facts.bounds_in_world[None],
            "num_points": [facts.num_points],
            "num_views": [len(rows.views)],
            "num_objects": [len(rows.objects)],
            "num_keypoints": [len(rows.key_points)],
            "class_counts": [json.dumps(dict(facts.class_counts), ensure_ascii=False)],
            "provenance": [json.dumps(dict(facts.provenance), ensure_ascii=False)],
            "descriptor": rows.descriptor[None],
            "thumbnail": [rows.thumbnail],
        },
    )


def rows_of(table: RowTable, rows: SceneRows, about: LibraryAbout, revision: int) -> Any:
    """The rows of a scene in one of the tables."""
    columns: dict[str, Any]
    if table == "views":
        views = rows.views
        columns = {"name": views.names, "camera_from_world": views.camera_from_world, "K": views.K, "width": views.widths}
        columns |= {"height": views.heights, "descriptor": views.descriptors, "thumbnail": views.thumbnails}
        if about.other_dim is not None:
            columns["other_descriptor"] = [None] * len(views) if views.other_descriptors is None else views.other_descriptors
    elif table == "objects":
        things = rows.objects
        columns = {"id": things.ids, "class_name": things.class_names, "confidence": things.confidences}
        columns |= {"center_in_world": things.centers_in_world, "size": things.sizes, "num_points": things.num_points}
        columns |= {"color": things.colors, "feature": things.features, "thumbnail": things.thumbnails}
        columns |= {"color_shares": things.color_shares} if about.color_names else {}
    else:
        points = rows.key_points
        columns = {"position_in_world": points.positions_in_world, "score": points.scores, "feature": points.features}
    count = len(next(iter(columns.values())))
    where = {"scene": [rows.facts.name] * count, "revision": np.full(count, revision), "row": np.arange(count, dtype=np.int32)}
    return _table(rows_schema(table, about), {**where, **columns})


def _table(schema: Any, columns: Mapping[str, Any]) -> Any:
    pa = arrow()
    arrays = []
    for item in schema:
        values = columns[item.name]
        if isinstance(values, np.ndarray) and values.ndim > 1:
            flat = np.ascontiguousarray(values).reshape(-1).astype(item.type.value_type.to_pandas_dtype())
            arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(flat), item.type.list_size))
        else:
            arrays.append(pa.array(values, type=item.type))
    return pa.Table.from_arrays(arrays, schema=schema)


# --- rows to records ------------------------------------------------------------------------------------------------------------

STORED_COLUMNS: tuple[str, ...] = (
    *("name", "revision", "added", "source", "kind", "content_hash", "date", "place", "licence", "scale", "offset_in_source"),
    *("bounds_in_world", "num_points", "num_views", "num_objects", "num_keypoints", "class_counts", "provenance"),
)
"""What the list of scenes needs: all but vectors and pictures."""


def stored_scenes(place: str, table: Any) -> tuple[StoredScene, ...]:
    """The list of scenes, by name.

    Raises:
        DataFormatError: a row holds what we do not write.
    """
    scenes = []
    for row in table.to_pylist():
        try:
            facts = SceneFacts(
                **{name: row[name] for name in ("name", "source", "kind", "content_hash", "date", "place", "licence", "scale")},
                offset_in_source=np.array(row["offset_in_source"], dtype=np.float64),
                bounds_in_world=np.array(row["bounds_in_world"], dtype=np.float32).reshape(2, 3),
                num_points=int(row["num_points"]),
                class_counts={str(name): int(count) for name, count in json.loads(row["class_counts"]).items()},
                provenance=dict(json.loads(row["provenance"])),
            )
            added = datetime.fromisoformat(row["added"]).astimezone(UTC)
            counts = [int(row[_COUNT_COLUMNS[name]]) for name in ROW_TABLES]
            scenes.append(StoredScene(facts, int(row["revision"]), added, *counts))
        except (ValueError, TypeError, AttributeError) as error:
            raise DataFormatError(
                place,
                f"scene {row.get('name')!r}",
                expected="a row of ours",
                got=str(error)[:120],
                fix="remove the scene, add it again",
            ) from error
    return tuple(sorted(scenes, key=lambda scene: scene.name))


def num_rows_of(table: RowTable, scene: StoredScene) -> int:
    """How many rows a scene has in a table."""
    return {"views": scene.num_views, "objects": scene.num_objects, "keypoints": scene.num_key_points}[table]


def matrix(column: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A column of lists as an array ``[n, *shape]``."""
    return np.asarray(column.combine_chunks().flatten() if hasattr(column, "chunks") else column.flatten()).reshape(-1, *shape)


def scene_rows(about: LibraryAbout, stored: StoredScene, scene: Any, parts: Mapping[RowTable, Any]) -> SceneRows:
    """A scene as it was put in, out of its row and its rows in the tables, which are in order."""
    views, things, points = (parts[name] for name in ROW_TABLES)
    other = None
    if about.other_dim is not None and len(views) and not views.column("other_descriptor").null_count:
        other = matrix(views.column("other_descriptor"), (about.other_dim,))
    return SceneRows(
        facts=stored.facts,
        fingerprint=about.fingerprint,
        descriptor=matrix(scene.column("descriptor"), (about.dim,))[0],
        thumbnail=scene.column("thumbnail")[0].as_py(),
        views=ViewRows(
            names=_texts(views, "name"),
            camera_from_world=matrix(views.column("camera_from_world"), (4, 4)),
            K=matrix(views.column("K"), (3, 3)),
            widths=views.column("width").to_numpy(),
            heights=views.column("height").to_numpy(),
            descriptors=matrix(views.column("descriptor"), (about.dim,)),
            other_descriptors=other,
            thumbnails=_texts(views, "thumbnail"),
        ),
        objects=ObjectRows(
            ids=things.column("id").to_numpy(),
            class_names=_texts(things, "class_name"),
            confidences=things.column("confidence").to_numpy(),
            centers_in_world=matrix(things.column("center_in_world"), (3,)),
            sizes=matrix(things.column("size"), (3,)),
            num_points=things.column("num_points").to_numpy(),
            colors=matrix(things.column("color"), (3,)),
            features=matrix(things.column("feature"), (about.dim,)),
            thumbnails=_texts(things, "thumbnail"),
            color_shares=matrix(things.column("color_shares"), (len(about.color_names),)) if about.color_names else None,
        ),
        key_points=KeyPointRows(
            positions_in_world=matrix(points.column("position_in_world"), (3,)),
            scores=points.column("score").to_numpy(),
            features=matrix(points.column("feature"), (about.dim,)),
        ),
    )


def _texts(table: Any, column: str) -> tuple[Any, ...]:
    values: Sequence[Any] = table.column(column).to_pylist()
    return tuple(values)

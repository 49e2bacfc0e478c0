"""What goes into a library of scenes and comes out of it.

Coordinates are local to each scene: ``point_in_source = offset_in_source + point_in_world``, with the large float64 offset
added last.  Vectors have unit length; the library keeps them as float16.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Float32, Float64, Int32, Int64

from scenewise.errors import ShapeError

Scale = Literal["metric", "arbitrary"]
VectorTable = Literal["scenes", "views", "other_views", "objects", "keypoints"]
"""What can be searched; ``other_views`` are the views' descriptors of another network."""
PutOutcome = Literal["added", "replaced", "unchanged"]


@dataclass(frozen=True)
class LibraryAbout:
    """What holds for a whole library, and is settled when it is made.

    Attributes:
        encoder: name of the network all vectors come from.
        fingerprint: of that network and of its settings; only vectors with the same one go in.
        licence: of the network.
        dim: of the vectors.
        class_names: that objects and class counts may have; empty = any.
        color_names: that objects' colours are called; empty = no shares of them are kept.
        other_encoder: name of another network whose descriptors views may have too; None = none.
        other_dim: of those.
    """

    encoder: str
    fingerprint: str
    licence: str
    dim: int
    class_names: tuple[str, ...] = ()
    color_names: tuple[str, ...] = ()
    other_encoder: str | None = None
    other_dim: int | None = None


@dataclass(frozen=True)
class SceneFacts:
    """What is known about a scene as a whole.

    Attributes:
        name: unique in the library.
        source: where it came from, as it was given.
        kind: of the source, such as "RGB-D folder".
        content_hash: of the source and of every setting that decides the rows.
        date: of the capture, ISO 8601 (2025-03-28), or None.
        place: in the user's words, or None.
        licence: of the capture, or None.
        scale: whether a unit is a metre.
        offset_in_source: of the local coordinates.
        bounds_in_world: lowest and highest corner of the points.
        num_points: of the source.
        class_counts: how many objects of each class were predicted.
        provenance: encoder, versions, settings; anything that JSON holds.
    """

    name: str
    source: str
    kind: str
    content_hash: str
    date: str | None
    place: str | None
    licence: str | None
    scale: Scale
    offset_in_source: Float64[np.ndarray, "3"]
    bounds_in_world: Float32[np.ndarray, "2 3"]
    num_points: int
    class_counts: Mapping[str, int] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ViewRows:
    """The pictures of a scene.

    Attributes:
        names: of the pictures.
        camera_from_world: rigid, OpenCV axes.
        K: in pixels.
        widths, heights: in pixels.
        descriptors: unit vectors.
        other_descriptors: of another network, unit vectors; None = not known.
        thumbnails: JPEG files; b"" = none.
    """

    names: tuple[str, ...]
    camera_from_world: Float64[np.ndarray, "n 4 4"]
    K: Float64[np.ndarray, "n 3 3"]
    widths: Int32[np.ndarray, "n"]
    heights: Int32[np.ndarray, "n"]
    descriptors: Float[np.ndarray, "n d"]
    other_descriptors: Float[np.ndarray, "n e"] | None
    thumbnails: tuple[bytes, ...]

    def __post_init__(self) -> None:
        _same_length(self, ("camera_from_world", "K", "widths", "heights", "descriptors", "other_descriptors", "thumbnails"))

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class ObjectRows:
    """The objects found in a scene.

    Attributes:
        ids: the scene's own numbers.
        class_names: predicted.
        confidences: in [0, 1].
        centers_in_world: middles of their boxes.
        sizes: full lengths of their boxes along the world's axes.
        num_points: of each.
        colors: mean of each, sRGB in [0, 1].
        color_shares: how much of each is called each of the library's colour names; None where it has none.
        features: unit vectors.
        thumbnails: JPEG files; b"" = none.
    """

    ids: Int32[np.ndarray, "n"]
    class_names: tuple[str, ...]
    confidences: Float32[np.ndarray, "n"]
    centers_in_world: Float32[np.ndarray, "n 3"]
    sizes: Float32[np.ndarray, "n 3"]
    num_points: Int32[np.ndarray, "n"]
    colors: Float32[np.ndarray, "n 3"]
    features: Float[np.ndarray, "n d"]
    thumbnails: tuple[bytes, ...]
    color_shares: Float32[np.ndarray, "n names"] | None = None

    def __post_init__(self) -> None:
        names = ("class_names", "confidences", "centers_in_world", "sizes", "num_points", "colors", "features", "thumbnails")
        _same_length(self, (*names, "color_shares"), "ids")

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class KeyPointRows:
    """The key points of a scene.

    Attributes:
        positions_in_world: they.
        scores: how much of a key point each is.
        features: unit vectors.
    """

    positions_in_world: Float32[np.ndarray, "n 3"]
    scores: Float32[np.ndarray, "n"]
    features: Float[np.ndarray, "n d"]

    def __post_init__(self) -> None:
        _same_length(self, ("scores", "features"), "positions_in_world")

    def __len__(self) -> int:
        return len(self.positions_in_world)


@dataclass(frozen=True)
class SceneRows:
    """Everything a library keeps of one scene.

    Attributes:
        facts: about it.
        fingerprint: of the encoder the vectors come from.
        descriptor: of the scene, a unit vector.
        thumbnail: a JPEG file; b"" = none.
        views, objects, key_points: its parts.
    """

    facts: SceneFacts
    fingerprint: str
    descriptor: Float[np.ndarray, "d"]
    thumbnail: bytes
    views: ViewRows
    objects: ObjectRows
    key_points: KeyPointRows


@dataclass(frozen=True)
class StoredScene:
    """A scene in the library's list.

    Attributes:
        facts: about it.
        revision: number of what was written; a replaced scene has another.
        added: when, in UTC.
        num_views, num_objects, num_key_points: its rows.
    """

    facts: SceneFacts
    revision: int
    added: datetime
    num_views: int
    num_objects: int
    num_key_points: int

    @property
    def name(self) -> str:
        """Unique in the library."""
        return self.facts.name


@dataclass(frozen=True)
class LibraryDescriptors:
    """The descriptors of all scenes.

    Attributes:
        scenes: they, by name.
        descriptors: unit vectors, a row per scene.
    """

    scenes: tuple[StoredScene, ...]
    descriptors: Float32[np.ndarray, "s d"]


@dataclass(frozen=True)
class LibraryRows:
    """Whose the rows of all scenes are, one scene after the other.

    Attributes:
        scenes: they, by name.
        starts: rows ``starts[s]`` to ``starts[s + 1]`` are those of scene s.
        scene_index: of each row, into ``scenes``.
    """

    scenes: tuple[StoredScene, ...]
    starts: Int64[np.ndarray, "bounds"]
    scene_index: Int32[np.ndarray, "n"]


@dataclass(frozen=True)
class LibraryViews(LibraryRows):
    """The views of all scenes.

    Attributes:
        names, camera_from_world, K, widths, heights: as in :class:`ViewRows`.
        descriptors: unit vectors.
        other_descriptors: unit vectors, zero where a view has none; None where the library has none.
    """

    names: tuple[str, ...]
    camera_from_world: Float64[np.ndarray, "n 4 4"]
    K: Float64[np.ndarray, "n 3 3"]
    widths: Int32[np.ndarray, "n"]
    heights: Int32[np.ndarray, "n"]
    descriptors: Float32[np.ndarray, "n d"]
    other_descriptors: Float32[np.ndarray, "n e"] | None


@dataclass(frozen=True)
class LibraryObjects(LibraryRows):
    """The objects of all scenes.

    Attributes:
        ids, class_names, confidences, centers_in_world, sizes, num_points, colors, color_shares: as in :class:`ObjectRows`.
        features: unit vectors.
    """

    ids: Int32[np.ndarray, "n"]
    class_names: tuple[str, ...]
    confidences: Float32[np.ndarray, "n"]
    centers_in_world: Float32[np.ndarray, "n 3"]
    sizes: Float32[np.ndarray, "n 3"]
    num_points: Int32[np.ndarray, "n"]
    colors: Float32[np.ndarray, "n 3"]
    color_shares: Float32[np.ndarray, "n names"] | None
    features: Float32[np.ndarray, "n d"]


@dataclass(frozen=True)
class LibraryKeyPoints(LibraryRows):
    """The key points of all scenes.

    Attributes:
        positions_in_world, scores: as in :class:`KeyPointRows`; the world is that of each scene.
        features: unit vectors.
    """

    positions_in_world: Float32[np.ndarray, "n 3"]
    scores: Float32[np.ndarray, "n"]
    features: Float32[np.ndarray, "n d"]


@dataclass(frozen=True)
class Neighbours:
    """The nearest rows of each query, the nearest first.

    Attributes:
        indices: rows of :class:`LibraryViews` and its like; −1 where there are no more.
        scene_index: which scene each is of, into ``scenes``; −1 likewise.
        similarities: cosines; −∞ likewise.
        scenes: all scenes, by name.
        is_exact: whether every row was compared.
    """

    indices: Int64[np.ndarray, "q k"]
    scene_index: Int32[np.ndarray, "q k"]
    similarities: Float32[np.ndarray, "q k"]
    scenes: tuple[StoredScene, ...]
    is_exact: bool


@dataclass(frozen=True)
class TableState:
    """One table of a library.

    Attributes:
        num_rows: that belong to a scene.
        num_stale_rows: of replaced and removed scenes, and of writers that did not finish.
        num_unindexed_rows: that the index does not know yet, and that are compared one by one; None = no index.
    """

    num_rows: int
    num_stale_rows: int
    num_unindexed_rows: int | None


@dataclass(frozen=True)
class LibraryInfo:
    """A library in figures.

    Attributes:
        uri: where it is.
        about: what holds for all of it.
        version: of its list of scenes.
        num_scenes: in it.
        tables: by what can be searched.
        num_bytes: on the disk, old versions included; on object storage those of the present version.
    """

    uri: str
    about: LibraryAbout
    version: int
    num_scenes: int
    tables: Mapping[VectorTable, TableState]
    num_bytes: int


@dataclass(frozen=True)
class LibraryVersion:
    """A version of the list of scenes.

    Attributes:
        number: opens it.
        time: when it was written, in UTC.
        added, replaced, removed: names of the scenes that changed since the version before; all empty where only files were
            put together, or where the version before is gone.
    """

    number: int
    time: datetime
    added: tuple[str, ...]
    replaced: tuple[str, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True)
class Compaction:
    """What :meth:`SceneLibrary.compact` did.

    Attributes:
        num_rows_removed: stale rows that are gone.
        num_versions_removed: of the list of scenes.
        num_bytes_before, num_bytes_after: as in :class:`LibraryInfo`.
    """

    num_rows_removed: int
    num_versions_removed: int
    num_bytes_before: int
    num_bytes_after: int


def _same_length(record: object, names: tuple[str, ...], first: str = "names") -> None:
    length = len(getattr(record, first))
    for name in names:
        value = getattr(record, name)
        if value is not None and len(value) != length:
            raise ShapeError(f"{type(record).__name__}.{name}", expected=f"{length} rows, one per {first}", got=len(value))

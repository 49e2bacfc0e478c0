"""``scenewise library list`` and ``info``."""

from collections.abc import Mapping
from dataclasses import dataclass

from scenewise.commands.library.options import LibraryInfoOptions, LibraryListOptions
from scenewise.commands.scene_libraries import opened_library, scenes_meant
from scenewise.commands.text_tables import text_table
from scenewise.engine.progress import Progress
from scenewise.io.scene_library.records import LibraryObjects, LibraryVersion, StoredScene, TableState
from scenewise.io.scene_library.store import SceneLibrary
from scenewise.parts.retrieval.searching import index_of_scene

Three = tuple[float, float, float]
_TOLD_NAMES = 3  # of what changed in a version


@dataclass(frozen=True)
class ListedThing:
    """A thing of a scene.

    Attributes:
        id: as ``scenewise search --object`` takes it: "SCENE:NUMBER".
        class_name: predicted.
        confidence: in [0, 1].
        center_in_source: of its box, in the coordinates of the scene's capture.
        size: of its box along the axes.
        color: mean, sRGB in [0, 1].
        points: of it.
    """

    id: str
    class_name: str
    confidence: float
    center_in_source: Three
    size: Three
    color: Three
    points: int


@dataclass(frozen=True)
class ListedScene:
    """A scene of a library.

    Attributes:
        name: of it.
        source: where it came from.
        kind: of the source.
        date, place, licence: as far as they are known.
        scale: "metric" or "arbitrary".
        added: when, in UTC, ISO 8601.
        things: how many were found.
        views: pictures that are kept.
        key_points: that are kept.
        points: of the source.
        class_counts: how many things of each class.
        listed: the things, where they were asked for.
    """

    name: str
    source: str
    kind: str
    date: str | None
    place: str | None
    licence: str | None
    scale: str
    added: str
    things: int
    views: int
    key_points: int
    points: int
    class_counts: Mapping[str, int]
    listed: tuple[ListedThing, ...] | None = None


@dataclass(frozen=True)
class SceneList:
    """The scenes of a library.

    Attributes:
        library: where it is.
        scenes: they, by name.
        num_scenes: in all of the library.
    """

    library: str
    scenes: tuple[ListedScene, ...]
    num_scenes: int

    def text(self) -> str:
        """A table of scenes, and one of the things of each scene that was named."""
        if not self.scenes:
            return f"{self.library}: no scene" + (f" of {self.num_scenes} is meant" if self.num_scenes else "")
        head = ("name", "date", "place", "licence", "things", "views", "points")
        rows = [
            (
                scene.name,
                scene.date or "–",
                scene.place or "–",
                scene.licence or "–",
                str(scene.things),
                str(scene.views),
                f"{scene.points:,}",
            )
            for scene in self.scenes
        ]
        parts = [text_table(head, rows, right=("things", "views", "points"))]
        for scene in self.scenes:
            if scene.listed is not None:
                parts.append(_things_table(scene.listed))
        return "\n\n".join(parts)


def list_scenes(options: LibraryListOptions, progress: Progress | None = None) -> SceneList:
    """The scenes of a library that pass the filters.

    Raises:
        DataFormatError: no library there, a damaged one, or no such version.
        ConventionError: no scene of a name, or a filter that is none.
        MissingDependencyError: LanceDB is not installed.
    """
    library = opened_library(options.library, options.at)
    everything = library.scenes()
    named = [everything[index_of_scene(everything, name)].name for name in options.names]
    where = scenes_meant(options.where, library.about)
    meant = [scene for scene in everything if where.holds(scene) and (not named or scene.name in named)]
    things = library.objects() if named else None
    return SceneList(library.uri, tuple(_listed(scene, things) for scene in meant), len(everything))


def _listed(scene: StoredScene, things: LibraryObjects | None) -> ListedScene:
    facts = scene.facts
    return ListedScene(
        name=scene.name,
        source=facts.source,
        kind=facts.kind,
        date=facts.date,
        place=facts.place,
        licence=facts.licence,
        scale=facts.scale,
        added=scene.added.isoformat(timespec="seconds"),
        things=scene.num_objects,
        views=scene.num_views,
        key_points=scene.num_key_points,
        points=facts.num_points,
        class_counts=dict(facts.class_counts),
        listed=None if things is None else _things_of(scene, things),
    )


def _things_of(scene: StoredScene, things: LibraryObjects) -> tuple[ListedThing, ...]:
    index = index_of_scene(things.scenes, scene.name)
    return tuple(listed_thing(things, row) for row in range(int(things.starts[index]), int(things.starts[index + 1])))


def listed_thing(things: LibraryObjects, row: int) -> ListedThing:
    """One of a library's things, in the coordinates of its scene's capture."""
    scene = things.scenes[int(things.scene_index[row])]
    center = things.centers_in_world[row].astype(float) + scene.facts.offset_in_source
    return ListedThing(
        id=f"{scene.name}:{int(things.ids[row])}",
        class_name=things.class_names[row],
        confidence=float(things.confidences[row]),
        center_in_source=(float(center[0]), float(center[1]), float(center[2])),
        size=_three(things.sizes[row].tolist()),
        color=_three(things.colors[row].tolist()),
        points=int(things.num_points[row]),
    )


def _three(values: list[float]) -> Three:
    return values[0], values[1], values[2]


def _things_table(things: tuple[ListedThing, ...]) -> str:
    rows = [
        (
            thing.id,
            thing.class_name,
            f"{thing.confidence:.2f}",
            ", ".join(f"{value:.2f}" for value in thing.center_in_source),
            " × ".join(f"{value:.2f}" for value in thing.size),
        )
        for thing in things
    ]
    return text_table(("thing", "class", "sure", "centre", "size"), rows) if rows else "no things"


@dataclass(frozen=True)
class LibrarySummary:
    """A library in figures.

    Attributes:
        library: where it is.
        encoder: all vectors come from.
        encoder_licence: of its weights.
        dim: of the vectors.
        classes: that things may be called; empty = any.
        other_encoder: whose descriptors views may have too, or None.
        version: of the list of scenes.
        num_scenes: in it.
        tables: rows by what can be searched.
        num_bytes: on the disk, old versions included.
        versions: that are kept, where they were asked for.
    """

    library: str
    encoder: str
    encoder_licence: str
    dim: int
    classes: tuple[str, ...]
    other_encoder: str | None
    version: int
    num_scenes: int
    tables: Mapping[str, TableState]
    num_bytes: int
    versions: tuple[LibraryVersion, ...] | None = None

    def text(self) -> str:
        """A paragraph, a table of the tables, and one of the versions."""
        classes = f"{len(self.classes)} classes" if self.classes else "any class"
        other = f", views also by {self.other_encoder}" if self.other_encoder else ""
        size = f"{self.num_bytes / 1e6:.1f} MB"
        lines = [
            f"{self.library}: {self.num_scenes} scenes, {size}, version {self.version}",
            f"encoder {self.encoder} ({self.encoder_licence}), {self.dim} numbers, {classes}{other}",
        ]
        head = ("table", "rows", "stale", "index")
        rows = [
            (name, f"{state.num_rows:,}", f"{state.num_stale_rows:,}", _index_text(state)) for name, state in self.tables.items()
        ]
        lines.append(text_table(head, rows, right=("rows", "stale")))
        if self.versions is not None:
            lines.append(text_table(("version", "time (UTC)", "what changed"), [_version_row(each) for each in self.versions]))
        return "\n".join(lines)


def library_info(options: LibraryInfoOptions, progress: Progress | None = None) -> LibrarySummary:
    """A library in figures; errors as in :func:`list_scenes`."""
    return _summary(opened_library(options.library), options.versions)


def _summary(library: SceneLibrary, with_versions: bool) -> LibrarySummary:
    info = library.info()
    return LibrarySummary(
        library=info.uri,
        encoder=info.about.encoder,
        encoder_licence=info.about.licence,
        dim=info.about.dim,
        classes=info.about.class_names,
        other_encoder=info.about.other_encoder,
        version=info.version,
        num_scenes=info.num_scenes,
        tables={str(name): state for name, state in info.tables.items()},
        num_bytes=info.num_bytes,
        versions=library.versions() if with_versions else None,
    )


def _index_text(state: TableState) -> str:
    if state.num_unindexed_rows is None:
        return "none: compared one by one"
    return f"{state.num_unindexed_rows:,} rows not in it" if state.num_unindexed_rows else "complete"


def _version_row(version: LibraryVersion) -> tuple[str, str, str]:
    parts = []
    for what, names in (("added", version.added), ("replaced", version.replaced), ("removed", version.removed)):
        if names:
            more = f" and {len(names) - _TOLD_NAMES} more" if len(names) > _TOLD_NAMES else ""
            parts.append(f"{what} {', '.join(names[:_TOLD_NAMES])}{more}")
    return str(version.number), version.time.strftime("%Y-%m-%d %H:%M:%S"), "; ".join(parts) or "–"

"""``scenewise graph``: a segmented scene as objects, rooms and relations."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float64

from scenewise import __version__
from scenewise.commands.graph.networks import open_network
from scenewise.commands.graph.options import FORMATS, GraphOptions
from scenewise.commands.graph.summary import GraphSummary, ToldObject, ToldRoom, telling_sentences
from scenewise.engine.journal import Journal
from scenewise.engine.progress import NullProgress, Progress
from scenewise.engine.threads import compute_threads
from scenewise.errors import ConventionError, DataFormatError
from scenewise.geometry.orbits import up_from_cameras
from scenewise.io.atomic import atomic_write_bytes, disk_errors
from scenewise.io.images import png_bytes
from scenewise.io.named_points import read_named_points, renumber_named_points
from scenewise.io.scene_folder import (
    GRAPH_FILES,
    JOURNAL_FILE,
    POINTS_FILE,
    REPORT_FILE,
    read_scene,
    read_scene_labels,
    write_scene_labels,
)
from scenewise.io.scene_graphs.frames import graph_in_source
from scenewise.io.scene_graphs.graph_json import write_scene_graph
from scenewise.io.scene_graphs.graphml import write_graphml
from scenewise.io.scene_graphs.spark_dsg import write_spark_dsg
from scenewise.io.vocabularies import VOCABULARY_FILE, read_vocabulary
from scenewise.parts.graphs.building import GraphScene, GraphSettings, build_graph
from scenewise.parts.graphs.frames import UprightFrame
from scenewise.parts.graphs.instances import FoundInstances, LabelledElements, find_instances
from scenewise.parts.graphs.views import ShownThings, shown_things
from scenewise.parts.lifting import median_view_depth
from scenewise.parts.segments.oversegmentation import scale_unit
from scenewise.parts.words.answers import LEAST_OPACITY
from scenewise.scenes.elements import Elements
from scenewise.scenes.labels import ElementLabels
from scenewise.scenes.scene_graphs import SceneGraph
from scenewise.scenes.scenes import Scene, SceneCamera
from scenewise.show.graphs.from_above import graph_from_above
from scenewise.show.report.report import write_report

_SHOWN = 200  # points of each object that are looked for in the photographs
_USUAL_REACH = 7.0  # metres across a place of which neither scale nor cameras are known


def graph_scene(options: GraphOptions, progress: Progress | None = None) -> GraphSummary:
    """Makes the graph of a segmented scene and writes it beside its labels, which get the objects' numbers.

    Where the scene has a report, it is written anew, with the graph over some views and from above.

    Args:
        options: see there.
        progress: where to report.

    Raises:
        DataFormatError: no scene, or one without labels.
        ConventionError: a view that the scene does not have.
        ResourceError: the disk is full or the folder cannot be written.
    """
    progress = NullProgress() if progress is None else progress
    with compute_threads(options.threads):
        return _Graphing(options, progress).run()


@dataclass(frozen=True)
class _View:
    """Whose left and right is meant."""

    name: str | None
    yaw: float


@final
class _Graphing:
    """The stages; :meth:`run` reads top to bottom."""

    def __init__(self, options: GraphOptions, progress: Progress) -> None:
        self.options, self.progress = options, progress
        self.folder, self.scene = options.scene, read_scene(options.scene)
        self.seconds: dict[str, float] = {}
        if options.view is not None:
            _require_view(self.scene, options.view)
        self.network = open_network(options.network)

    def run(self) -> GraphSummary:
        with self._timed("read"):
            self.gaussians = self.scene.load_gaussians()
            self.sets = self._labelled()
            self.names = self._class_names()
            self.frame = self._frame()
        with self._timed("objects"):
            found = find_instances(self.sets, self.names, self.frame, mend=not self.options.keep_pieces)
        shown = self._shown(found)
        with self._timed("relations"):
            graph = self._built(found, shown)
        with self._timed("write"):
            files = self._written(graph, found)
        if (self.folder / REPORT_FILE).exists():
            with self._timed("report"):
                write_report(self.folder, scene=self.scene, progress=self.progress)
        return self._summary(graph, found, files)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        with self.progress.stage(name):
            yield
        self.seconds[name] = time.monotonic() - started

    # --------------------------------------------------------------------------------------------------------------------- read

    def _labelled(self) -> tuple[LabelledElements, ...]:
        """Points and splats with labels."""
        sets = []
        points, splats = (read_scene_labels(self.folder, kind) for kind in ("points", "splats"))
        if points is not None:
            sets.append(LabelledElements(Elements.of_cloud(read_named_points(self.folder / POINTS_FILE)), points))
        if splats is not None:
            solid = (self.gaussians.opacities >= LEAST_OPACITY).numpy()
            sets.append(LabelledElements(Elements.of_gaussians(self.gaussians), splats, solid))
        if not sets:
            raise DataFormatError(
                self.folder, expected="a scene with labels", got="none", fix=f"run scenewise segment {self.folder} first"
            )
        return tuple(sets)

    def _class_names(self) -> tuple[str, ...]:
        used = max(int(each.labels.class_ids.max(initial=-1)) for each in self.sets) + 1
        path = self.folder / VOCABULARY_FILE
        names = read_vocabulary(path)[0].names
        if used > len(names):
            fix = "the labels belong to another vocabulary; run scenewise segment again"
            raise DataFormatError(path, expected=f"at least {used} classes, the labels use so many", got=len(names), fix=fix)
        return names

    def _frame(self) -> UprightFrame:
        cameras = [entry.camera for entry in self.scene.cameras]
        up = self.scene.up_in_world
        if up is None and cameras:
            up = up_from_cameras(np.stack([camera.world_from_camera.numpy() for camera in cameras]))
        up = np.array([0.0, 0.0, 1.0]) if up is None else up
        if self.scene.scale == "metric":
            return UprightFrame.of_up(up)
        places = self._places()
        if cameras:
            return UprightFrame.of_up(up, scale_unit("arbitrary", median_view_depth(places, cameras)))
        across = float(np.linalg.norm(np.ptp(places, axis=0))) if len(places) else 0.0
        return UprightFrame.of_up(up, across / _USUAL_REACH if across > 0 else 1.0)

    def _places(self) -> Float64[np.ndarray, "m 3"]:
        """All points and solid splats."""
        kept = [
            each.elements.positions_in_world if each.solid is None else each.elements.positions_in_world[each.solid]
            for each in self.sets
        ]
        places = np.concatenate(kept)
        return places[np.isfinite(places).all(axis=1)]

    # -------------------------------------------------------------------------------------------------------------------- build

    def _shown(self, found: FoundInstances) -> ShownThings:
        started = time.monotonic()
        points = [
            self.frame.world(thing.points_in_upright[:: -(-len(thing.points_in_upright) // _SHOWN)].astype(np.float64))
            for thing in found.instances
        ]
        shown = shown_things(points, self.scene.cameras, self.gaussians, self.scene.scale, self.progress)
        self.seconds["photographs"] = time.monotonic() - started
        return shown

    def _view(self, shown: ShownThings) -> _View:
        """The view that was asked for, else the training view that shows most objects, the middle one of equals."""
        cameras = self.scene.cameras
        if self.options.view is not None:
            return self._seen_by(next(entry for entry in cameras if entry.name == self.options.view))
        train = [index for index, entry in enumerate(cameras) if entry.split == "train"] or list(range(len(cameras)))
        middle = (len(train) - 1) / 2
        best = shown.fullest([train[place] for place in sorted(range(len(train)), key=lambda place: abs(place - middle))])
        return _View(None, 0.0) if best is None else self._seen_by(cameras[best])

    def _seen_by(self, entry: SceneCamera) -> _View:
        """The direction of a camera laid on the floor; of one that looks straight down, where the top of its picture is."""
        axes = entry.camera.world_from_camera.numpy()[:3, :3]
        yaw = self.frame.yaw_of(axes[:, 2])
        yaw = self.frame.yaw_of(-axes[:, 1]) if yaw is None else yaw
        return _View(entry.name, 0.0 if yaw is None else yaw)

    def _built(self, found: FoundInstances, shown: ShownThings) -> SceneGraph:
        cameras, view = self.scene.cameras, self._view(shown)
        segmentation = self.scene.provenance.config.get("segmentation", {})
        scene = GraphScene(
            instances=found.instances,
            class_names=self.names,
            frame=self.frame,
            scale=self.scene.scale,
            points_in_world=self._places(),
            views=tuple(tuple(cameras[index].name for index in shown.best(row)) for row in range(len(found.instances))),
            view=view.name,
            view_yaw=view.yaw,
            provenance={
                "scenewise": __version__,
                "teacher": segmentation.get("teacher") if isinstance(segmentation, dict) else None,
                "units_per_metre": self.frame.unit,
                "pieces_mended": not self.options.keep_pieces,
            },
        )
        settings = GraphSettings(self.options.neighbours, self.options.min_score, self.options.seen_from)
        return build_graph(scene, settings, self.network)

    # -------------------------------------------------------------------------------------------------------------------- write

    def _written(self, graph: SceneGraph, found: FoundInstances) -> tuple[Path, ...]:
        """Labels first, the graph that speaks of their numbers last; meanwhile there is none."""
        paths = dict(zip(FORMATS, GRAPH_FILES))
        with disk_errors(self.folder):
            for name in paths.values():
                (self.folder / name).unlink(missing_ok=True)
        if found.changed:
            for each, numbers in zip(self.sets, found.numbers):
                own = ElementLabels(each.labels.class_ids, numbers, each.labels.confidence)
                write_scene_labels(self.folder, each.elements.kind, own)
                if each.elements.kind == "points":
                    renumber_named_points(self.folder / POINTS_FILE, numbers)
        files = [self.folder / paths[name] for name in self.options.wanted_formats]
        where = self.scene.world_from_source
        for name, path in zip(self.options.wanted_formats, files):
            if name == "json":
                write_scene_graph(path, graph, world_from_source=where, georeference=self.scene.georeference)
            elif name == "spark-dsg":
                write_spark_dsg(path, graph, world_from_source=where)
            elif name == "graphml":
                write_graphml(path, graph, world_from_source=where)
            else:
                colors = read_vocabulary(self.folder / VOCABULARY_FILE)[0].colors_u8
                atomic_write_bytes(path, png_bytes(graph_from_above(graph, colors_u8=colors)))
        with disk_errors(self.folder / JOURNAL_FILE), Journal(self.folder / JOURNAL_FILE) as journal:
            journal.write(
                "graph",
                objects=len(graph.objects),
                rooms=len(graph.rooms),
                relations=len(graph.relations),
                view=graph.view,
                seconds=round(sum(self.seconds.values()), 3),
            )
        return tuple(files)

    def _summary(self, graph: SceneGraph, found: FoundInstances, files: tuple[Path, ...]) -> GraphSummary:
        told = graph_in_source(graph, self.scene.world_from_source)
        rooms = {room.room_id: room.name for room in graph.rooms}
        held = Counter(thing.room_id for thing in graph.objects)
        return GraphSummary(
            folder=self.folder,
            objects=tuple(
                ToldObject(
                    thing.object_id,
                    thing.name,
                    thing.confidence,
                    None if thing.room_id is None else rooms[thing.room_id],
                    _three(thing.center_in_world),
                    _three(thing.box.size),
                    thing.views,
                )
                for thing in told.objects
            ),
            rooms=tuple(ToldRoom(room.name, room.floor_area, held[room.room_id]) for room in graph.rooms),
            relations=len(graph.relations),
            relations_by_name=dict(sorted(Counter(entry.predicate for entry in graph.relations).items())),
            sentences=telling_sentences(graph),
            view=graph.view,
            network=None if self.network is None else self.network.name,
            scale=graph.scale,
            labels_changed=found.changed,
            files=files,
            seconds=self.seconds,
        )


def _require_view(scene: Scene, name: str) -> None:
    names = [entry.name for entry in scene.cameras]
    if name not in names:
        some = ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
        raise ConventionError("--view", expected=f"a photograph of the scene, such as {some}" if names else "none", got=name)


def _three(values: Float64[np.ndarray, "3"]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])

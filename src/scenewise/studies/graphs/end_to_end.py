"""From photographs to a graph, through the commands, held against the truth of procedural rooms that nothing was trained on.

Each room is photographed into an RGB-D folder, reconstructed and named three times: by the embedded model, by a teacher that
knows the true class of every pixel (what remains are errors of geometry), and by true things altogether (what remains are errors
of relations).  The dear steps are kept: photographs with splats, and names; graphs and figures are made anew each time.
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float64, Int64

from scenewise.commands.demo.capture import write_room_capture
from scenewise.commands.graph.options import GraphOptions
from scenewise.commands.graph.run import graph_scene
from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.commands.reconstruct.run import reconstruct
from scenewise.commands.segment.options import SegmentOptions
from scenewise.commands.segment.run import segment
from scenewise.geometry.boxes import OrientedBox
from scenewise.io.json_values import fingerprint_of
from scenewise.io.named_points import read_named_points, renumber_named_points
from scenewise.io.product_kinds import FolderKind, folder_kind
from scenewise.io.products import find as find_product
from scenewise.io.products import keep, read_mark
from scenewise.io.scene_folder import GRAPH_FILE, POINTS_FILE, read_scene, read_scene_labels, write_scene_labels
from scenewise.io.scene_graphs.graph_json import read_scene_graph
from scenewise.metrics.instances import InstanceScores, box_overlaps, element_overlaps, instance_scores
from scenewise.parts.graphs.frames import UprightFrame
from scenewise.parts.words.answers import LEAST_OPACITY
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.elements import ElementKind, Elements
from scenewise.scenes.labels import ElementLabels
from scenewise.scenes.scene_graphs import RelationSource, SceneGraph
from scenewise.scenes.scenes import Scene
from scenewise.studies.graphs.changes import Score
from scenewise.studies.graphs.matching import found_things, matches, relation_scores, told_triplets, true_triplets
from scenewise.studies.graphs.true_teacher import write_true_teacher
from scenewise.studies.graphs.true_things import TrueThings, true_things
from scenewise.studies.weights import weights_hash
from scenewise.worlds.captures import room_cameras
from scenewise.worlds.classes import CLASS_NAMES, STUFF_NAMES
from scenewise.worlds.rooms import Room, furnished_room

Naming = Literal["small_clip", "true_names", "true_things"]
NAMINGS: tuple[Naming, ...] = get_args(Naming)
SOURCES: tuple[RelationSource, ...] = get_args(RelationSource)

CAPTURE_FOLDER, SCENE_FOLDER, TEACHER_FOLDER = "capture", "scene", "teacher"
_PHOTOGRAPHED = folder_kind("photographed and reconstructed room")
_NAMED = folder_kind("named room")
_Owners = tuple[Int64[np.ndarray, "_"], Int64[np.ndarray, "_"]]
_LEAST = 0.25  # IoU from which an object of the graph is a thing of the room


@dataclass(frozen=True)
class Sizes:
    """How rooms are photographed and reconstructed.

    Attributes:
        frames: photographs.
        width: pixels.
        height: pixels.
        steps: of the reconstruction.
        max_gaussians: it may have.
    """

    frames: int = 28
    width: int = 240
    height: int = 180
    steps: int = 800
    max_gaussians: int = 24_000


QUICK = Sizes(frames=10, width=96, height=72, steps=40, max_gaussians=3000)


@dataclass(frozen=True)
class RoomFigures:
    """What came of one room under one naming.

    Attributes:
        values: figures by name, shares of 1; NaN where there is nothing to measure.
        things: "right name 0.25" and the like: things found, told and there.
        relations: by source, by whether only pairs of found things count, by predicate.
        seconds: by stage.
    """

    values: Mapping[str, float]
    things: Mapping[str, Score]
    relations: Mapping[str, Mapping[str, Score]]
    seconds: Mapping[str, float] = field(default_factory=dict)


def room_figures(
    seed: int, sizes: Sizes, cache: Path, namings: Sequence[Naming] = NAMINGS, network: str = "auto"
) -> dict[Naming, RoomFigures]:
    """Figures of one room under every naming.

    Args:
        seed: of the room.
        sizes: see there.
        cache: folder of what is kept.
        namings: which.
        network: of ``scenewise graph``, which also has a say in the names of objects.
    """
    room = furnished_room(seed)
    cameras = room_cameras(room, sizes.frames, sizes.width, sizes.height)
    made, seconds = photographed(room, cameras, sizes, cache)
    things = true_things(room, cameras)
    found: dict[Naming, RoomFigures] = {}
    for naming in namings:
        named, named_seconds = named_room(naming, made, room, cameras, sizes, cache)
        work = cache / "graphs" / f"{seed}_{naming}"
        shutil.rmtree(work, ignore_errors=True)
        shutil.copytree(named / SCENE_FOLDER, work)
        if naming == "true_things":
            write_true_things(work, things)
        took: dict[str, float] = {**seconds, **named_seconds}
        with _timed(took, "graph"):
            graph_scene(GraphOptions(work, keep_pieces=naming == "true_things", network=network, threads=1))
        found[naming] = replace(scene_figures(work, things), seconds=took)
    return found


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[stage] = time.monotonic() - started


# ---------------------------------------------------------------------------------------------------------- what is kept


def photographed(room: Room, cameras: Cameras, sizes: Sizes, cache: Path) -> tuple[Path, dict[str, float]]:
    """Folder with the photographs and the splats of a room, and what they took, in seconds."""

    def make(folder: Path) -> dict[str, Any]:
        seconds: dict[str, float] = {}
        with _timed(seconds, "photographs"):
            write_room_capture(folder / CAPTURE_FOLDER, room, cameras, {"kind": "room", "seed": room.seed})
        with _timed(seconds, "reconstruct"):
            reconstruct(
                ReconstructOptions(
                    capture=folder / CAPTURE_FOLDER,
                    out=folder / SCENE_FOLDER,
                    steps=sizes.steps,
                    max_gaussians=sizes.max_gaussians,
                    threads=1,
                )
            )
            shutil.rmtree(folder / SCENE_FOLDER / "checkpoints", ignore_errors=True)
        return {"seconds": seconds}

    return _kept(cache / "rooms" / str(room.seed), _PHOTOGRAPHED, {"seed": room.seed, "sizes": asdict(sizes)}, make)


def named_room(
    naming: Naming, made: Path, room: Room, cameras: Cameras, sizes: Sizes, cache: Path
) -> tuple[Path, dict[str, float]]:
    """Folder with the named scene of a room, and what naming took, in seconds; true things are named like true names."""
    teacher = "small_clip" if naming == "small_clip" else "true_names"

    def make(folder: Path) -> dict[str, Any]:
        seconds: dict[str, float] = {}
        shutil.copytree(made / SCENE_FOLDER, folder / SCENE_FOLDER)
        capture = made / CAPTURE_FOLDER
        if teacher == "true_names":
            write_true_teacher(folder / TEACHER_FOLDER, capture, room, cameras)
        with _timed(seconds, "segment"):
            segment(
                SegmentOptions(
                    target=(folder / SCENE_FOLDER,),
                    capture=capture,
                    teacher="small-clip" if teacher == "small_clip" else f"files:{folder / TEACHER_FOLDER}",
                    classes=",".join(CLASS_NAMES),
                    no_cache=True,
                    threads=1,
                )
            )
        return {"seconds": seconds}

    about = {"seed": room.seed, "sizes": asdict(sizes), "teacher": teacher, "weights": weights_hash()}
    return _kept(cache / "names" / f"{room.seed}_{teacher}", _NAMED, about, make)


def _kept(
    path: Path, kind: FolderKind, about: Mapping[str, Any], make: Callable[[Path], dict[str, Any]]
) -> tuple[Path, dict[str, float]]:
    """A folder from before, or a new one, and the seconds its mark tells of."""
    fingerprint = fingerprint_of(about)
    if find_product(path, kind, fingerprint, lambda folder: folder) is None:
        keep(path, kind, fingerprint, make)
    mark = read_mark(path, kind)
    assert mark is not None, "it has just been found or made"
    return path, {name: float(value) for name, value in mark.mapping("seconds").items()}


def write_true_things(scene: Path, things: TrueThings) -> None:
    """True classes and things in the place of a named scene's labels; elements that lie on no thing lose theirs."""
    classes = np.array([CLASS_NAMES.index(name) for name in things.names])
    for kind, positions in _positions(scene, read_scene(scene)).items():
        nodes = things.nodes_at(positions)
        numbers = nodes.astype(np.int32)
        class_ids = np.where(nodes >= 0, classes[nodes], -1).astype(np.int32)
        write_scene_labels(scene, kind, ElementLabels(class_ids, numbers, (nodes >= 0).astype(np.float32)))
        if kind == "points":
            renumber_named_points(scene / POINTS_FILE, numbers)


def _positions(folder: Path, scene: Scene) -> dict[ElementKind, Float64[np.ndarray, "_ 3"]]:
    found: dict[ElementKind, Float64[np.ndarray, "_ 3"]] = {}
    if (folder / POINTS_FILE).exists():
        found["points"] = read_named_points(folder / POINTS_FILE).points_in_world
    if scene.num_gaussians:
        found["splats"] = Elements.of_gaussians(scene.load_gaussians()).positions_in_world
    return found


# --------------------------------------------------------------------------------------------------------------- figures


def scene_figures(folder: Path, things: TrueThings) -> RoomFigures:
    """A scene with its graph against what is true of it.

    Args:
        folder: of the scene.
        things: that were photographed.
    """
    scene, graph = read_scene(folder), read_scene_graph(folder / GRAPH_FILE)
    owners = _owners(folder, scene, graph, things)
    values: dict[str, float] = {}
    for kind, (predicted, true) in owners.items():
        values |= _named(kind, element_scores(graph, predicted, things, true, whole=True))
        values |= _named(f"{kind} furniture", element_scores(graph, predicted, things, true, whole=False))
    firm = owners["points"] if "points" in owners else owners["splats"]
    iou = iou_table(*firm, len(graph.objects), things)
    boxes = box_table(graph, things)
    counts, names = {}, [thing.name for thing in graph.objects]
    true_names = [things.names[node] for node in things.seen]
    for title, table in (("elements", iou), ("boxes", boxes)):
        for least in (0.25, 0.5):
            counts[f"{title} {least}"] = found_things(table, names, true_names, least)
    node = matches(iou, _LEAST)
    matched = {graph.objects[row].object_id: things.seen[node[row]] for row in np.flatnonzero(node >= 0)}
    called = [graph.by_id[number].name == things.names[own] for number, own in matched.items()]
    values["names of matched"] = float(np.mean(called)) if called else float("nan")
    return RoomFigures(values, counts, relation_figures(graph, scene, things, matched))


def relation_figures(
    graph: SceneGraph, scene: Scene, things: TrueThings, node_of_object: Mapping[int, int]
) -> dict[str, dict[str, Score]]:
    """Relations by source and by which pairs count, by predicate; left and right are those of the graph's view."""
    yaw, found = view_yaw(scene, graph), {}
    for source in SOURCES:
        told, true = told_triplets(graph, node_of_object, source), true_triplets(things.room, yaw, things.seen, source)
        found[f"{source} matched"] = relation_scores(told, true, "matched", tuple(node_of_object.values()))
        found[f"{source} all"] = relation_scores(told, true, "all", tuple(node_of_object.values()))
    return found


def view_yaw(scene: Scene, graph: SceneGraph) -> float:
    """Direction of the view that tells a graph's left from its right, from +Y about +Z; 0 where there is none."""
    view = next((entry for entry in scene.cameras if entry.name == graph.view), None)
    if view is None:
        return 0.0
    axes = view.camera.world_from_camera.numpy()[:3, :3]
    frame = UprightFrame.of_up(graph.up_in_world)
    yaw = frame.yaw_of(axes[:, 2])
    yaw = frame.yaw_of(-axes[:, 1]) if yaw is None else yaw
    return 0.0 if yaw is None else yaw


def _owners(folder: Path, scene: Scene, graph: SceneGraph, things: TrueThings) -> dict[ElementKind, _Owners]:
    """Of each element of each kind the position of its object in the graph and of its thing in ``seen``; −1 = none."""
    row = {thing.object_id: index for index, thing in enumerate(graph.objects)}
    column = np.full(len(things.names) + 1, -1, dtype=np.int64)  # the last for −1
    column[list(things.seen)] = np.arange(len(things.seen))
    found: dict[ElementKind, _Owners] = {}
    for kind, positions in _positions(folder, scene).items():
        labels = read_scene_labels(folder, kind)
        assert labels is not None, "segment names everything there is"
        predicted = np.array([row.get(number, -1) for number in labels.instance_ids.tolist()], dtype=np.int64)
        true = column[things.nodes_at(positions)]
        if kind == "splats":
            true[(scene.load_gaussians().opacities < LEAST_OPACITY).numpy()] = -1
        found[kind] = predicted, true
    return found


def element_scores(
    graph: SceneGraph,
    predicted: Int64[np.ndarray, "n"],
    things: TrueThings,
    true: Int64[np.ndarray, "n"],
    *,
    whole: bool,
) -> InstanceScores:
    """Objects as sets of elements.

    Args:
        graph: of the objects.
        predicted: position of each element's object.
        things: the truth.
        true: position in ``seen`` of each element's thing.
        whole: with walls, floor and ceiling; otherwise what lies on them is ignored.
    """
    classes = np.array([CLASS_NAMES.index(things.names[node]) for node in things.seen], dtype=np.int64)
    if not whole:
        stuff = np.array([CLASS_NAMES[number] in STUFF_NAMES for number in classes])
        true = np.where((true >= 0) & stuff[true], -1, true)
    called = np.array([_class_of(thing.name) for thing in graph.objects], dtype=np.int64)
    sure = np.array([thing.confidence for thing in graph.objects], dtype=np.float64)
    return instance_scores([element_overlaps(predicted, true, sure, called, classes)], len(CLASS_NAMES))


def _class_of(name: str) -> int:
    return CLASS_NAMES.index(name) if name in CLASS_NAMES else -1


def _named(title: str, scores: InstanceScores) -> dict[str, float]:
    found = {}
    for kind, figures in (("", scores.class_agnostic), (" of class", scores.class_aware)):
        for name in ("ap", "ap50", "ap25", "recall50", "recall25"):
            found[f"{title} {name}{kind}"] = float(getattr(figures, name))
    return found


def iou_table(
    predicted: Int64[np.ndarray, "n"], true: Int64[np.ndarray, "n"], objects: int, things: TrueThings
) -> Float64[np.ndarray, "objects seen"]:
    """IoU of objects with things as sets of elements; elements on no thing do not count."""
    none = np.full(objects, -1, dtype=np.int64)
    overlaps = element_overlaps(predicted, true, np.ones(objects), none, np.zeros(len(things.seen), dtype=np.int64))
    table = np.zeros((objects, len(things.seen)))
    table[overlaps.predicted, overlaps.true] = overlaps.iou
    return table


def box_table(graph: SceneGraph, things: TrueThings) -> Float64[np.ndarray, "objects seen"]:
    """IoU of the boxes along the world's axes around the boxes of objects and things; flat ones are 10 cm thick."""
    table = np.zeros((len(graph.objects), len(things.seen)))
    if not table.size:
        return table
    none = np.full(len(graph.objects), -1, dtype=np.int64)
    overlaps = box_overlaps(
        np.stack([_along_axes(thing.box) for thing in graph.objects]),
        np.stack([_along_axes(box) for box in things.boxes]),
        np.ones(len(graph.objects)),
        none,
        np.zeros(len(things.seen), dtype=np.int64),
    )
    table[overlaps.predicted, overlaps.true] = overlaps.iou
    return table


def _along_axes(box: OrientedBox) -> Float64[np.ndarray, "2 3"]:
    corners = box.corners_in_world
    low, high = corners.min(axis=0), corners.max(axis=0)
    wider = np.maximum(0.1 - (high - low), 0.0) / 2
    return np.stack([low - wider, high + wider])

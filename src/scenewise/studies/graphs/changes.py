"""How well ``scenewise diff`` tells what moved, appeared and vanished: procedural rooms before and after known changes.

Each pair is photographed twice, from other places and under other light.  With *true* instances only the comparison is measured:
each thing consists of the points of the depth maps that show it, and is called what it is.  With *predicted* ones everything is:
the commands see two RGB-D folders.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float64

from scenewise.commands.demo.capture import write_room_capture
from scenewise.commands.diff.options import DiffOptions
from scenewise.commands.diff.run import DiffSummary, diff
from scenewise.commands.diff.scenes import read_observed
from scenewise.commands.graph.options import GraphOptions
from scenewise.commands.graph.run import graph_scene
from scenewise.commands.segment.options import SegmentOptions
from scenewise.commands.segment.run import segment
from scenewise.geometry.boxes import upright_box
from scenewise.parts.graphs.diff import DiffSettings, ObjectChange, compared
from scenewise.parts.graphs.observed import ObservedGraph, tree_of
from scenewise.parts.points.from_depth import depth_edges, unproject
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.scene_graphs import GraphObject, SceneGraph
from scenewise.studies.arms import Arm, Outcome, measured, run_arm
from scenewise.studies.bench import say
from scenewise.studies.graphs.true_teacher import write_true_teacher
from scenewise.studies.weights import weights_hash
from scenewise.worlds.captures import photograph, room_cameras, truth
from scenewise.worlds.changes import ChangedRoom, changed_room_of
from scenewise.worlds.classes import CLASS_NAMES
from scenewise.worlds.relations import nodes_of
from scenewise.worlds.rooms import Room

UP = np.array([0.0, 0.0, 1.0])
FRAMES, WIDTH, HEIGHT = 48, 160, 120

_FEWEST = 20  # points of a thing that was seen at all
_STRIDE = 2  # of the pixels that become points
_ON = 0.05  # metres from a true point within which a point lies on its instance

PairNaming = Literal["small_clip", "true_names"]
_COUNTS = ("right", "told", "made")
Event = tuple[str, int | None, int | None]
"""Kind, number before, number after."""


@dataclass(frozen=True)
class Score:
    """Changes told against changes made.

    Attributes:
        right: told as they were made.
        told: all that were told.
        made: all that were made and could be seen.
    """

    right: int
    told: int
    made: int

    @property
    def precision(self) -> float:
        """Share of the told that is right; 1 where nothing was told."""
        return self.right / self.told if self.told else 1.0

    @property
    def recall(self) -> float:
        """Share of the made that was told; 1 where nothing was made."""
        return self.right / self.made if self.made else 1.0

    def __add__(self, other: "Score") -> "Score":
        return Score(self.right + other.right, self.told + other.told, self.made + other.made)


def second_visit(seed: int) -> tuple[float, float]:
    """Phase and rise of the tour after: other views than before."""
    rng = np.random.Generator(np.random.PCG64([seed, 2]))
    return float(rng.uniform(0.02, 0.11)), float(rng.uniform(-0.15, 0.15))


def observed_room(room: Room, cameras: Cameras) -> ObservedGraph:
    """The graph of a room's true instances, each made of the points that the views show of it; numbers are those of the room."""
    points, owners, colors = [], [], []
    for index in range(len(cameras)):
        known, picture = truth(room, cameras[index]), photograph(room, cameras[index])
        keep = np.zeros(known.depth.shape, dtype=bool)
        keep[::_STRIDE, ::_STRIDE] = True
        rows, columns = np.nonzero(keep & ~depth_edges(known.depth))
        points.append(unproject(cameras[index], rows, columns, known.depth))
        owners.append(known.instance_ids[rows, columns])
        colors.append(picture[rows, columns] / 255.0)
    cloud, owner, color = np.concatenate(points), np.concatenate(owners), np.concatenate(colors)
    things = []
    for number in nodes_of(room):
        members = owner == number
        if int(members.sum()) >= _FEWEST:
            things.append(_node(number, room.objects[number].class_name, cloud[members], color[members]))
    graph = SceneGraph(tuple(things), (), (), UP, "metric", ())
    return ObservedGraph(graph, cloud, owner, tuple(cameras[index] for index in range(len(cameras))), color)


def _node(number: int, name: str, points: Float64[np.ndarray, "n 3"], colors: Float64[np.ndarray, "n 3"]) -> GraphObject:
    mean = colors.mean(axis=0)
    return GraphObject(
        object_id=number,
        name=name,
        confidence=1.0,
        center_in_world=points.mean(axis=0),
        box=upright_box(points, UP, 0.005),
        num_points=len(points),
        color=(float(mean[0]), float(mean[1]), float(mean[2])),
        names=((name, 1.0),),
    )


def true_events(pair: ChangedRoom, before: ObservedGraph, after: ObservedGraph) -> set[Event]:
    """The changes that the captures could show: a thing that neither view shows has none."""
    words = {"moved": "moved", "added": "appeared", "removed": "vanished"}
    events: set[Event] = set()
    for change in pair.changes:
        sides = [(change.before, before), (change.after, after)]
        if all(number is None or number in graph.graph.by_id for number, graph in sides):
            events.add((words[change.kind], change.before, change.after))
    return events


def told_events(changes: Sequence[ObjectChange]) -> set[Event]:
    """What a comparison says."""
    return {(each.kind, each.before, each.after) for each in changes if each.kind in ("moved", "appeared", "vanished")}


def photographed(seed: int) -> tuple[ChangedRoom, ObservedGraph, ObservedGraph]:
    """The pair of rooms of a seed, as two captures show their true instances."""
    pair = changed_room_of(seed)
    phase, rise = second_visit(seed)
    before = observed_room(pair.before, room_cameras(pair.before, FRAMES, WIDTH, HEIGHT))
    after = observed_room(pair.after, room_cameras(pair.after, FRAMES, WIDTH, HEIGHT, phase=phase, rise=rise))
    return pair, before, after


def seen_changes(seed: int, settings: DiffSettings | None = None) -> Score:
    """True instances of one pair of rooms: what the comparison says against what was changed."""
    pair, before, after = photographed(seed)
    told = told_events(compared(before, after, np.eye(4), settings))
    made = true_events(pair, before, after)
    return Score(len(told & made), len(told), len(made))


# ------------------------------------------------------------------------------------------------------------ predicted instances


@dataclass(frozen=True)
class PredictedPair:
    """Two captures of a changed room that went through the commands.

    Attributes:
        pair: the truth.
        summary: what ``scenewise diff`` said.
        true_before: instance of the room before of each object of the first scene; −1 = none.
        true_after: the same of the second.
    """

    pair: ChangedRoom
    summary: DiffSummary
    true_before: Mapping[int, int]
    true_after: Mapping[int, int]

    def score(self, made: set[Event]) -> Score:
        """Told changes against made ones; an object stands for the instance that most of its points lie on.

        Several objects that tell the same change count as one; an object that lies on none is wrong.

        Args:
            made: of :func:`true_events`.
        """
        told: set[Event] = set()
        for change in self.summary.changes:
            if change.what in ("moved", "appeared", "vanished"):
                before = None if change.id_before is None else self.true_before[change.id_before]
                after = None if change.id_after is None else self.true_after[change.id_after]
                told.add((change.what, before, after))
        return Score(len(told & made), len(told), len(made))


def predicted_pair(folder: Path, seed: int, naming: PairNaming = "small_clip") -> PredictedPair:
    """Writes two RGB-D folders of a changed room and lets ``segment``, ``graph`` and ``diff`` work on them.

    Args:
        folder: where to; new or empty.
        seed: of the room and its changes.
        naming: who names what is seen.
    """
    pair = changed_room_of(seed)
    phase, rise = second_visit(seed)
    visits = (
        ("before", pair.before, room_cameras(pair.before, FRAMES, WIDTH, HEIGHT)),
        ("after", pair.after, room_cameras(pair.after, FRAMES, WIDTH, HEIGHT, phase=phase, rise=rise)),
    )
    for name, room, cameras in visits:
        capture, scene, teacher = folder / f"capture_{name}", folder / name, "small-clip"
        write_room_capture(capture, room, cameras, {"kind": "changed room", "seed": seed, "when": name})
        if naming == "true_names":
            teacher = f"files:{folder / f'teacher_{name}'}"
            write_true_teacher(folder / f"teacher_{name}", capture, room, cameras)
        segment(SegmentOptions((capture,), out=scene, teacher=teacher, classes=",".join(CLASS_NAMES), no_cache=True))
        graph_scene(GraphOptions(scene))
    summary = diff(DiffOptions(folder / "before", folder / "after", align="poses"))
    owners = [_true_instances(folder / name, room, cameras) for name, room, cameras in visits]
    return PredictedPair(pair, summary, owners[0], owners[1])


def predicted_changes(folder: Path, seed: int, naming: PairNaming) -> Score:
    """Instances of fused depth through the commands, against what was changed and could be seen."""
    pair, before, after = photographed(seed)
    return predicted_pair(folder, seed, naming).score(true_events(pair, before, after))


def pair_scores(naming: PairNaming | None, seeds: Sequence[int], cache: Path) -> Score:
    """The sum over pairs of rooms, of which finished ones are kept.

    Args:
        naming: of what is seen; None: true instances.
        seeds: of the rooms and their changes.
        cache: folder of what is kept.
    """

    def outcome(seed: int) -> Outcome:
        if naming is None:
            score = seen_changes(seed)
        else:
            with tempfile.TemporaryDirectory(dir=cache) as folder:
                score = predicted_changes(Path(folder), seed, naming)
        return Outcome({name: float(getattr(score, name)) for name in _COUNTS})

    about = {"frames": FRAMES, "size": [WIDTH, HEIGHT], "weights": weights_hash(), "version": 1}
    cache.mkdir(parents=True, exist_ok=True)
    found = run_arm(Arm(naming or "true_instances", about, outcome), seeds, cache, report=say)
    right, told, made = (int(sum(measured(name, found))) for name in _COUNTS)
    return Score(right, told, made)


def _true_instances(scene: Path, room: Room, cameras: Cameras) -> dict[int, int]:
    """The instance of the room on which most points of each object of a scene lie; −1 where fewer than half lie on any thing."""
    _, observed = read_observed(scene)
    known = observed_room(room, cameras)
    distance, nearest = tree_of(known.cloud_in_world).query(observed.cloud_in_world)
    owner = np.where(distance <= _ON, known.owners[nearest], -1)
    found = {}
    for node in observed.graph.objects:
        numbers, counts = np.unique(owner[observed.owners == node.object_id], return_counts=True)
        best = int(numbers[counts.argmax()]) if len(numbers) else -1
        found[node.object_id] = best if len(numbers) and 2 * int(counts.max()) >= int(counts.sum()) else -1
    return found

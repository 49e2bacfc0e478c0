"""What ``scenewise graph`` tells about its result."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scenewise.engine.progress import duration_text
from scenewise.scenes.scene_graphs import Relation, SceneGraph, described

_SENTENCES = 12
_USUAL_RELATIONS = (
    "left",
    "right",
    "front",
    "behind",
    "close by",
    "same as",
    "higher than",
    "lower than",
    "bigger than",
    "smaller than",
)


@dataclass(frozen=True)
class ToldObject:
    """One object of the graph.

    Attributes:
        object_id: its number.
        name: what it is called.
        confidence: how sure that is.
        room: name of the room it is in, or None.
        position: in the frame of the capture.
        size: of its box, the longer horizontal side first, height last.
        photographs: that show it best.
    """

    object_id: int
    name: str
    confidence: float
    room: str | None
    position: tuple[float, float, float]
    size: tuple[float, float, float]
    photographs: tuple[str, ...]


@dataclass(frozen=True)
class ToldRoom:
    """One room of the graph.

    Attributes:
        name: of the room.
        floor_area: in squared units of the capture.
        objects: how many it holds.
    """

    name: str
    floor_area: float
    objects: int


@dataclass(frozen=True)
class GraphSummary:
    """What ``scenewise graph`` made of a scene.

    Attributes:
        folder: the scene folder.
        objects: in the order of their numbers.
        rooms: the largest first.
        relations: how many were found.
        relations_by_name: how many of each kind.
        sentences: some of them in words, the most telling first.
        view: whose left and right is meant, or None for each object's own.
        network: what told relations beyond geometry, or None.
        scale: "metric" when lengths are metres, else "arbitrary".
        labels_changed: whether objects got other numbers in the labels.
        files: what was written.
        seconds: per stage.
    """

    folder: Path
    objects: tuple[ToldObject, ...]
    rooms: tuple[ToldRoom, ...]
    relations: int
    relations_by_name: Mapping[str, int]
    sentences: tuple[str, ...]
    view: str | None
    network: str | None
    scale: str
    labels_changed: bool
    files: tuple[Path, ...]
    seconds: Mapping[str, float]

    def text(self) -> str:
        """A table for people."""
        unit = " m" if self.scale == "metric" else ""
        digits = _digits(max((max(thing.size) for thing in self.objects), default=0.0))
        width = max([len("object"), *(len(f"{thing.name} {thing.object_id}") for thing in self.objects)])
        lines = [f"{'object':<{width}}  sure  {'room':<8}  {'position':<24}  size"]
        for thing in self.objects:
            place = ", ".join(f"{value:.{digits}f}" for value in thing.position)
            size = " × ".join(f"{value:.{digits}f}" for value in thing.size)
            called = f"{thing.name} {thing.object_id}"
            lines.append(f"{called:<{width}}  {thing.confidence:4.2f}  {thing.room or '–':<8}  {place:<24}  {size}{unit}")
        lines += self.sentences
        area = "m²" if unit else "square units"
        rooms = ", ".join(f"{room.name} with {room.objects} on {room.floor_area:.1f} {area}" for room in self.rooms)
        seen = f"left and right as seen from {self.view}" if self.view else "left and right as each object sees them"
        lines.append(f"{len(self.objects):,} objects ({rooms or 'no room'}), {self.relations:,} relations; {seen}")
        lines.append(", ".join(f"{name} {duration_text(seconds)}" for name, seconds in self.seconds.items()))
        lines.append(f"{self.folder}: {', '.join(path.name for path in self.files)}")
        return "\n".join(lines)


def _digits(size: float) -> int:
    """Decimals that show lengths of this order to about a hundredth."""
    return 2 + max(0, -math.floor(math.log10(size))) if size > 0 else 2


def telling_sentences(graph: SceneGraph, most: int = _SENTENCES) -> tuple[str, ...]:
    """The surest relation of each object; directions and comparisons, which nearly all have, only where there is nothing else."""
    chosen: dict[int, Relation] = {}
    for relation in sorted(graph.relations, key=lambda entry: (_rank(entry), -entry.score, entry.subject, entry.object)):
        chosen.setdefault(relation.subject, relation)
    return tuple(described(graph, relation) for relation in list(chosen.values())[:most])


def _rank(relation: Relation) -> int:
    if relation.source == "network":
        return 0
    return 2 if relation.predicate in _USUAL_RELATIONS else 1

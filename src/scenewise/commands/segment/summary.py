"""What ``scenewise segment`` tells about its result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from scenewise.commands.segment.options import PointsFrom
from scenewise.engine.memory import text_from_bytes
from scenewise.engine.progress import duration_text
from scenewise.parts.segments.instances import objects_of_labels
from scenewise.scenes.elements import Elements
from scenewise.scenes.label_fields import LabelField
from scenewise.scenes.labels import ElementLabels
from scenewise.scenes.vocabularies import Vocabulary


@dataclass(frozen=True)
class ClassShare:
    """How much of a scene is of one class.

    Attributes:
        name: of the class.
        points: share of all points; None without points.
        splats: share of all splats; None without splats.
        confidence: mean over its elements; None where it has none.
    """

    name: str
    points: float | None
    splats: float | None
    confidence: float | None


@dataclass(frozen=True)
class FoundObject:
    """A connected piece of one class.

    Attributes:
        instance_id: as in the labels.
        name: of its class.
        points: how many points.
        splats: how many splats.
        center_in_world: mean position.
        low_in_world: lower corner of its box along the world's axes.
        high_in_world: upper corner.
    """

    instance_id: int
    name: str
    points: int
    splats: int
    center_in_world: tuple[float, float, float]
    low_in_world: tuple[float, float, float]
    high_in_world: tuple[float, float, float]


@dataclass(frozen=True)
class SegmentSummary:
    """What ``scenewise segment`` made of a scene.

    Attributes:
        folder: the scene folder.
        teacher: its name.
        num_points: points with a row in the labels.
        num_splats: splats with a row in the labels.
        classes: per class, in the order of ids.
        objects: connected pieces, the largest first.
        coverage_points: share of points with a class; None without points.
        coverage_splats: share of splats with a class; None without splats.
        mean_confidence: over all elements with a class.
        frames: views that were looked at.
        frames_without_answer: views the teacher has nothing for.
        answers_from_cache: views whose answer was on the disk.
        segments: sets of points or splats that voted together; None without that vote.
        seconds: per stage.
        peak_memory_bytes: of this process.
        points_from: what named points and splats: the views, the teacher's 3D branch ("geometry"), or both.
    """

    folder: Path
    teacher: str
    num_points: int
    num_splats: int
    classes: tuple[ClassShare, ...]
    objects: tuple[FoundObject, ...]
    coverage_points: float | None
    coverage_splats: float | None
    mean_confidence: float
    frames: int
    frames_without_answer: int
    answers_from_cache: int
    segments: int | None
    seconds: Mapping[str, float]
    peak_memory_bytes: int
    points_from: PointsFrom = "pictures"

    def text(self) -> str:
        """A table for people."""
        present = [share for share in self.classes if (share.points or 0) > 0 or (share.splats or 0) > 0]
        width = max([len("class"), *(len(share.name) for share in present)])
        lines = [f"{'class':<{width}}  points  splats  confidence"]
        for share in sorted(present, key=lambda share: -max(share.points or 0, share.splats or 0)):
            lines.append(
                f"{share.name:<{width}}  {_percent(share.points)}  {_percent(share.splats)}  "
                + (f"{share.confidence:10.2f}" if share.confidence is not None else f"{'–':>10}")
            )
        counts = [
            f"{_percent(part).strip()} of {count:,} {name} have a class"
            for part, count, name in (
                (self.coverage_points, self.num_points, "points"),
                (self.coverage_splats, self.num_splats, "splats"),
            )
            if part is not None
        ]
        lines.append("; ".join(counts) + f"; {len(self.objects):,} objects")
        lines.append(self._named_by())
        lines.append(", ".join(f"{name} {duration_text(seconds)}" for name, seconds in self.seconds.items()))
        lines.append(f"{self.folder}: labels, colours and features written; {text_from_bytes(self.peak_memory_bytes)} of memory")
        return "\n".join(lines)

    def _named_by(self) -> str:
        if self.points_from == "geometry":
            return f"named by the 3D branch of {self.teacher} alone: no picture was looked at"
        lacking = f", {self.frames_without_answer} without an answer" if self.frames_without_answer else ""
        views = f"{self.frames} views by {self.teacher}{lacking} ({self.answers_from_cache} from the cache)"
        return f"{views}, and as much by its 3D branch" if self.points_from == "both" else views


def _percent(share: float | None) -> str:
    return f"{'–':>6}" if share is None else f"{100 * share:5.1f}%"


def class_shares(vocabulary: Vocabulary, points: LabelField | None, splats: LabelField | None) -> tuple[ClassShare, ...]:
    """How much of points and splats is of each class."""
    both = [labels for labels in (points, splats) if labels is not None]
    class_ids = np.concatenate([labels.class_ids for labels in both])
    confidence = np.concatenate([labels.confidence for labels in both]).astype(np.float64)
    count = np.bincount(class_ids + 1, minlength=len(vocabulary) + 1)[1:]
    sums = np.bincount(class_ids + 1, weights=confidence, minlength=len(vocabulary) + 1)[1:]
    return tuple(
        ClassShare(
            name,
            None if points is None else _share(points.class_ids == number),
            None if splats is None else _share(splats.class_ids == number),
            float(sums[number] / count[number]) if count[number] else None,
        )
        for number, name in enumerate(vocabulary.names)
    )


def mean_confidence(*fields: LabelField | None) -> float:
    """Over all elements with a class; 0 where none has one."""
    known = [labels.confidence[labels.class_ids >= 0] for labels in fields if labels is not None]
    values = np.concatenate(known) if known else np.zeros(0)
    return float(values.mean(dtype=np.float64)) if len(values) else 0.0


def found_objects(sets: Sequence[tuple[Elements, ElementLabels]], names: Sequence[str]) -> tuple[FoundObject, ...]:
    """The objects in the joint labels of sets of elements; boxes are around points where an object has any."""
    where = np.concatenate([elements.positions_in_world for elements, _ in sets])
    is_point = np.concatenate([np.full(len(elements), elements.kind == "points") for elements, _ in sets])
    joint = ElementLabels(
        *(np.concatenate([getattr(labels, name) for _, labels in sets]) for name in ("class_ids", "instance_ids", "confidence"))
    )
    found = []
    for thing in objects_of_labels(where, joint, names, measured=is_point):
        points = int(is_point[thing.elements].sum())
        center, low, high = (
            (float(place[0]), float(place[1]), float(place[2]))
            for place in (thing.center_in_world, thing.low_in_world, thing.high_in_world)
        )
        assert thing.instance_id is not None and thing.name is not None
        found.append(FoundObject(thing.instance_id, thing.name, points, len(thing.elements) - points, center, low, high))
    return tuple(found)


def _share(of: Bool[np.ndarray, "n"]) -> float:
    return float(of.mean()) if len(of) else 0.0

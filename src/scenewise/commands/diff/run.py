"""``scenewise diff``: what moved, appeared and vanished between two scenes of one place."""

import time
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from scenewise.commands.diff.options import DiffOptions
from scenewise.commands.diff.scenes import read_observed, told_transform
from scenewise.engine.progress import NullProgress, Progress, duration_text
from scenewise.engine.threads import compute_threads
from scenewise.errors import CaptureWarning, ConventionError
from scenewise.geometry.transforms import transform_points
from scenewise.io.atomic import atomic_write_bytes, atomic_write_text, json_text
from scenewise.io.images import png_bytes
from scenewise.io.placing import source_from_world
from scenewise.io.scene_folder import DIFF_FILE, vectors_on_one_line
from scenewise.io.scene_graphs.frames import moved_graph
from scenewise.parts.graphs.alignment import LEAST_OVERLAP, Alignment, found_alignment, given_alignment
from scenewise.parts.graphs.diff import CHANGE_KINDS, ObjectChange, compared
from scenewise.parts.graphs.observed import ObservedGraph
from scenewise.scenes.scene_graphs import SceneGraph
from scenewise.show.graphs.changes_from_above import changes_from_above

Three = tuple[float, float, float]

_POOR_FIT = 0.3  # overlap below which poses that were asked for are doubted

_ABOUT = {
    "frame": "position_before and position_after are the middles of an object's box as x, y, z in the frame of the second "
    "scene's capture, exactly as its poses came; b_from_a takes coordinates of the first capture there.",
    "what": "unchanged, moved, appeared, vanished; 'not seen' where one of the captures did not look at the object's place, so "
    "that nobody can tell.",
    "ids": "id_before is the object's id in the graph.json of the first scene, id_after in that of the second; null where it is "
    "not there.",
    "turn_deg": "Degrees about the vertical, counter-clockwise as seen from above.",
    "score": "In [0, 1]: how sure it is.",
    "renamed": "Whether the same object has another name in the second scene.",
}


@dataclass(frozen=True)
class ToldChange:
    """One entry of the comparison.

    Attributes:
        what: "moved", "appeared", "vanished", "not seen" or "unchanged".
        id_before: number in the first scene, or None.
        id_after: number in the second scene, or None.
        name_before: what it is called there, or None.
        name_after: what it is called there, or None.
        text: what happened, in words.
        score: in [0, 1], how sure it is.
        position_before: in the frame of the second capture, or None.
        position_after: the same, or None.
        distance: how far it went.
        turn_deg: how far it turned.
        renamed: whether it has another name now.
    """

    what: str
    id_before: int | None
    id_after: int | None
    name_before: str | None
    name_after: str | None
    text: str
    score: float
    position_before: Three | None
    position_after: Three | None
    distance: float
    turn_deg: float
    renamed: bool


@dataclass(frozen=True)
class DiffSummary:
    """What ``scenewise diff`` found.

    Attributes:
        scene_a: before.
        scene_b: after.
        aligned_by: "poses" or "geometry".
        overlap: share of the surfaces that fit, floors and ceilings left out.
        b_from_a: transform from the frame of the first capture to that of the second.
        scale: "metric" where lengths are metres, else "arbitrary".
        counts: how many of each kind.
        changes: all objects, what changed first.
        file: what was written.
        picture: plan of the changes, beside it.
        seconds: for all of it.
    """

    scene_a: Path
    scene_b: Path
    aligned_by: str
    overlap: float
    b_from_a: tuple[tuple[float, ...], ...]
    scale: str
    counts: Mapping[str, int]
    changes: tuple[ToldChange, ...]
    file: Path
    picture: Path
    seconds: float

    def text(self) -> str:
        """A sentence per change."""
        lines = [change.text for change in self.changes if change.what != "unchanged" or change.renamed]
        counts = ", ".join(f"{count} {what}" for what, count in self.counts.items()) or "no objects"
        fit = f", {self.overlap:.0%} of the surfaces fit" if self.overlap else ""
        lines.append(f"{counts}; aligned by {self.aligned_by}{fit}")
        lines.append(f"{self.file}, {self.picture.name} ({duration_text(self.seconds)})")
        return "\n".join(lines)


def diff(options: DiffOptions, progress: Progress | None = None) -> DiffSummary:
    """Compares the graphs of two scenes and writes diff.json with a picture beside it.

    Args:
        options: see there.
        progress: where to report.

    Raises:
        DataFormatError: no scene, or one without a graph.
        ConventionError: the two do not lie on each other, or nobody can tell how.
        ResourceError: the disk is full or the folder cannot be written.
    """
    progress = NullProgress() if progress is None else progress
    started = time.monotonic()
    with compute_threads(options.threads):
        with progress.stage("read"):
            scene_a, before = read_observed(options.scene_a)
            scene_b, after = read_observed(options.scene_b)
        if before.graph.scale != after.graph.scale:
            got = f"{before.graph.scale} and {after.graph.scale}"
            raise ConventionError("scales of the two scenes", expected="metric both, or arbitrary both", got=got)
        with progress.stage("align"):
            alignment = _aligned(options.align, before, after, told_transform(scene_a, scene_b))
        with progress.stage("compare"):
            changes = compared(before, after, alignment.after_from_before)
    file = options.out or options.scene_b / DIFF_FILE
    source_b_from_world_b = source_from_world(scene_b.world_from_source)
    between = source_b_from_world_b @ alignment.after_from_before @ scene_a.world_from_source
    told = tuple(_told(change, before.graph, after.graph, source_b_from_world_b) for change in changes)
    found = Counter(change.what for change in told)
    summary = DiffSummary(
        scene_a=options.scene_a,
        scene_b=options.scene_b,
        aligned_by=alignment.method,
        overlap=alignment.overlap,
        b_from_a=tuple(tuple(float(value) for value in row) for row in between),
        scale=after.graph.scale,
        counts={what: found[what] for what in CHANGE_KINDS if found[what]},
        changes=told,
        file=file,
        picture=file.with_suffix(".png"),
        seconds=time.monotonic() - started,
    )
    atomic_write_text(summary.file, vectors_on_one_line(json_text(summary.file, _result(summary, alignment))))
    plan = changes_from_above(moved_graph(before.graph, alignment.after_from_before), after.graph, changes)
    atomic_write_bytes(summary.picture, png_bytes(plan))
    return summary


def _aligned(wanted: str, before: ObservedGraph, after: ObservedGraph, told: Float64[np.ndarray, "4 4"]) -> Alignment:
    """By poses where they fit or were asked for, else by the surfaces."""
    if wanted == "geometry":
        return found_alignment(before, after)
    by_poses = given_alignment(before, after, told)
    has_surface = bool(len(before.cloud_in_world) and len(after.cloud_in_world))
    if wanted == "auto" and has_surface and by_poses.overlap < LEAST_OVERLAP:
        return found_alignment(before, after)
    if has_surface and by_poses.overlap < _POOR_FIT:
        warnings.warn(
            CaptureWarning(
                f"only {by_poses.overlap:.0%} of the surfaces lie on each other under the poses",
                fix="--align geometry finds how they fit, should the poses be in two frames",
            ),
            stacklevel=2,
        )
    return by_poses


def _told(change: ObjectChange, before: SceneGraph, after: SceneGraph, source_from_b: Float64[np.ndarray, "4 4"]) -> ToldChange:
    def placed(point: Float64[np.ndarray, "3"] | None) -> Three | None:
        if point is None:
            return None
        x, y, z = (float(value) for value in transform_points(source_from_b, point))
        return x, y, z

    return ToldChange(
        what=change.kind,
        id_before=change.before,
        id_after=change.after,
        name_before=None if change.before is None else before.by_id[change.before].name,
        name_after=None if change.after is None else after.by_id[change.after].name,
        text=change.sentence,
        score=change.score,
        position_before=placed(change.from_in_world),
        position_after=placed(change.to_in_world),
        distance=change.distance,
        turn_deg=change.turn_deg,
        renamed=change.renamed,
    )


def _result(summary: DiffSummary, alignment: Alignment) -> dict[str, Any]:
    units = "metres" if summary.scale == "metric" else "the units of the second capture, whose scale is arbitrary: not metres"
    return {
        "format": "scenewise-diff",
        "version": 1,
        "about": {"units": units, **_ABOUT},
        "scene_before": str(summary.scene_a),
        "scene_after": str(summary.scene_b),
        "alignment": {
            "by": summary.aligned_by,
            "overlap": summary.overlap,
            "overlap_of_next_best": alignment.runner_up if summary.aligned_by == "geometry" else None,
            "b_from_a": [list(row) for row in summary.b_from_a],
        },
        "counts": dict(summary.counts),
        "objects": [
            {
                **vars(change),
                "position_before": None if change.position_before is None else list(change.position_before),
                "position_after": None if change.position_after is None else list(change.position_after),
            }
            for change in summary.changes
        ],
    }

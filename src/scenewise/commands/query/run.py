"""``scenewise query``: where in a segmented scene something is."""

import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from scenewise.commands.query.asked_scene import AskedElements, AskedScene, read_asked_scene
from scenewise.commands.query.options import QueryOptions
from scenewise.commands.query.pictures import chosen_views, heat_pictures, write_painted
from scenewise.commands.query.relations import GraphReply, graph_reply, question_json, told_segments
from scenewise.engine.progress import NullProgress, Progress, duration_text
from scenewise.engine.threads import compute_threads
from scenewise.geometry.transforms import transform_points
from scenewise.io.atomic import atomic_write_bytes, atomic_write_json
from scenewise.io.images import png_bytes, read_image
from scenewise.io.placing import source_from_world
from scenewise.io.scene_folder import ANSWER_FILE, QUERY_FOLDER, read_scene
from scenewise.parts.graphs.asking import LEAST_SCORE, GraphAnswer
from scenewise.parts.words.answers import AnswerSegment, adaptive_threshold, answer_segments, identified
from scenewise.parts.words.picture_questions import AskedPicture
from scenewise.parts.words.queries import SceneSearcher
from scenewise.teachers.protocol import Teacher

_LONGEST_SLUG = 60


@dataclass(frozen=True)
class Answer:
    """One place that answers the question.

    Attributes:
        rank: from 1.
        name: class of most of its elements, or None where they have none.
        score: mean relevancy.
        peak: highest relevancy.
        count: of its splats, or of its points where the scene has no splats.
        center_in_world: mean position.
        center_in_source: the same in the frame of the capture that the scene was made from.
        low_in_world: lower corner of its box along the world's axes.
        high_in_world: upper corner.
        box_center_in_world: middle of its upright box.
        box_size: lengths of that box along its own axes, the longer horizontal one first, height last.
        world_from_box: its axes in the world, by column.
        instance_id: the object in the labels that it is, or None.
    """

    rank: int
    name: str | None
    score: float
    peak: float
    count: int
    center_in_world: tuple[float, float, float]
    center_in_source: tuple[float, float, float]
    low_in_world: tuple[float, float, float]
    high_in_world: tuple[float, float, float]
    box_center_in_world: tuple[float, float, float]
    box_size: tuple[float, float, float]
    world_from_box: tuple[tuple[float, float, float], ...]
    instance_id: int | None


@dataclass(frozen=True)
class RelatedAnswer(Answer):
    """One thing that answers a question about relations.

    Attributes:
        because: what makes it true: "lamp 4 standing on table 2".
        relations: the predicates of that, in the order of the question.
    """

    because: str
    relations: tuple[str, ...]


@dataclass(frozen=True)
class QuerySummary:
    """What ``scenewise query`` found.

    Attributes:
        text_asked: the question.
        teacher: who understood it; of a question about relations, who named the things of the graph.
        folder: where the pictures and files are.
        elements: what the segments are made of, "splats" or "points".
        threshold: relevancy from which an element belongs to the answer.
        scale: "metric" when lengths are metres, else "arbitrary".
        answers: the best first.
        files: what was written.
        seconds: for all of it.
        counted: of a question about relations, how many of each thing asked for there are.
    """

    text_asked: str
    teacher: str
    folder: Path
    elements: str
    threshold: float
    scale: str
    answers: tuple[Answer, ...]
    files: tuple[Path, ...]
    seconds: float
    counted: str = ""

    def text(self) -> str:
        """A table for people."""
        if not self.answers:
            counted = f"; in the graph there are {self.counted}" if self.counted else ""
            return f"{self.text_asked!r}: nothing answers it above {self.threshold:.2f}{counted}"
        unit = " m" if self.scale == "metric" else ""
        digits = _digits(max(max(answer.box_size) for answer in self.answers))
        width = max(5, *(len(answer.name or "–") for answer in self.answers))
        lines = [f"{'':>3} {'class':<{width}}  score  {'centre':<24}  size"]
        for answer in self.answers:
            center = ", ".join(f"{value:.{digits}f}" for value in answer.center_in_source)
            size = " × ".join(f"{value:.{digits}f}" for value in answer.box_size)
            because = f"  {answer.because}" if isinstance(answer, RelatedAnswer) else ""
            lines.append(
                f"{answer.rank:>3} {answer.name or '–':<{width}}  {answer.score:5.2f}  {center:<24}  {size}{unit}{because}"
            )
        lines.append(f"{self.folder}: {ANSWER_FILE}, heat maps, coloured {self.elements} ({duration_text(self.seconds)})")
        return "\n".join(lines)


def query(options: QueryOptions, progress: Progress | None = None, teacher: Teacher | None = None) -> QuerySummary:
    """Answers a text, a picture or both with ranked segments, boxes, heat maps and coloured splats and points.

    A text that says how two things stand to each other ("chair next to the table") is answered from the scene's graph, everything
    else from what the teacher saw.

    Args:
        options: see there.
        progress: where to report.
        teacher: used instead of the one the scene was segmented with; it must be the same.

    Raises:
        DataFormatError: no segmented scene, features of another teacher, a question about relations where there is no graph, or a
            picture that cannot be read.
        ConventionError: the teacher knows no word of the text or understands no pictures, or the graph not the relation.
    """
    progress = NullProgress() if progress is None else progress
    started = time.monotonic()
    with compute_threads(options.threads):
        scene = read_scene(options.scene)
        picture = _picture(options)
        reply = graph_reply(options.scene, options.text) if picture is None else None
        if reply is None:
            searcher = SceneSearcher(options.scene, teacher)
            with progress.stage("search"):
                heat = searcher.heat(options.text, picture)
            asked_of = searcher.teacher.name
        else:
            heat, asked_of = reply.heat, str(reply.graph.provenance.get("teacher") or "")
        world = read_asked_scene(options.scene, scene)
        sets = world.answered(heat)
        asked = sets[0]
        folder = options.out or options.scene / QUERY_FOLDER / slug(heat.text)
        with progress.stage("segments"):
            found = _found(world, asked, options) if reply is None else _related(reply, sets, options)
        files = write_painted(folder, world, sets)
        has_heat = reply is None or bool(found.segments)  # a graph's answer is yes or no: without one there is nothing to show
        views = chosen_views(scene.cameras, found.hot, options.views) if has_heat else ()
        with progress.stage("pictures", len(views)) as stage:
            for name, shown in heat_pictures(world, views, asked, options.capture):
                atomic_write_bytes(folder / name, png_bytes(shown))
                files.append(folder / name)
                stage.advance()
    answers = tuple(_answer(rank, segment, scene.world_from_source) for rank, segment in enumerate(found.segments, start=1))
    if reply is not None:
        answers = tuple(_with_reason(answer, reason) for answer, reason in zip(answers, found.reasons))
    summary = QuerySummary(
        text_asked=heat.text,
        teacher=asked_of,
        folder=folder,
        elements=asked.elements.kind,
        threshold=found.threshold,
        scale=scene.scale,
        answers=answers,
        files=(folder / ANSWER_FILE, *files),
        seconds=time.monotonic() - started,
        counted="" if reply is None else reply.counted,
    )
    about: dict[str, Any] = {} if reply is None else {"question": question_json(reply.question)}
    if picture is not None:
        about["picture"] = {"name": picture.name, "weight": picture.share if options.text.strip() else 1.0}
    atomic_write_json(folder / ANSWER_FILE, _result(summary) | about)
    return summary


def _picture(options: QueryOptions) -> AskedPicture | None:
    if options.picture is None:
        return None
    share = {} if options.picture_weight is None else {"share": options.picture_weight}
    return AskedPicture(read_image(options.picture), options.picture.name, **share)


@dataclass(frozen=True)
class _Found:
    """The places that answer, the best first.

    Attributes:
        segments: they.
        threshold: relevancy from which an element belongs to them.
        hot: where all their elements are.
        reasons: what makes each true; of questions about relations.
    """

    segments: tuple[AnswerSegment, ...]
    threshold: float
    hot: Float64[np.ndarray, "hot 3"]
    reasons: tuple[GraphAnswer, ...] = ()


def _related(reply: GraphReply, sets: Sequence[AskedElements], options: QueryOptions) -> _Found:
    told, hot = told_segments(reply, sets, options.segments)
    kept = [(segment, reason) for segment, reason in told if segment.score >= (options.threshold or 0.0)]
    threshold = LEAST_SCORE if options.threshold is None else options.threshold
    return _Found(tuple(segment for segment, _ in kept), threshold, hot, tuple(reason for _, reason in kept))


def _with_reason(answer: Answer, reason: GraphAnswer) -> RelatedAnswer:
    return RelatedAnswer(
        **vars(answer), because=reason.because, relations=tuple(relation.predicate for relation in reason.relations)
    )


def _found(world: AskedScene, asked: AskedElements, options: QueryOptions) -> _Found:
    seen = np.where(asked.surface, asked.heat, np.float32(0))
    threshold = adaptive_threshold(seen) if options.threshold is None else options.threshold
    found = answer_segments(
        asked.elements.positions_in_world,
        seen,
        threshold=threshold,
        objects=None if asked.labels is None else asked.labels.instance_ids,
        up_in_world=world.scene.up_in_world,
        limit=options.segments,
    )
    if asked.labels is not None:
        found = tuple(identified(segment, asked.labels, world.names) for segment in found)
    places = asked.elements.positions_in_world
    hot = places[np.concatenate([segment.elements for segment in found])] if found else np.zeros((0, 3))
    return _Found(found, threshold, hot)


def slug(text: str) -> str:
    """A text as a folder's name: words joined by hyphens, letters of any script.

    >>> slug("Where can I sit?"), slug("../..")
    ('where-can-i-sit', 'query')
    """
    words = re.findall(r"\w+", text.lower())
    return "-".join(words)[:_LONGEST_SLUG].strip("-") or "query"


def _digits(size: float) -> int:
    """Decimals that show lengths of this order to about a hundredth; two from one unit upwards."""
    return 2 + max(0, -math.floor(math.log10(size))) if size > 0 else 2


def _answer(rank: int, segment: AnswerSegment, world_from_source: Float64[np.ndarray, "4 4"]) -> Answer:
    center_in_source = transform_points(source_from_world(world_from_source), segment.center_in_world)
    return Answer(
        rank=rank,
        name=segment.name,
        score=segment.score,
        peak=segment.peak,
        count=len(segment.elements),
        center_in_world=_three(segment.center_in_world),
        center_in_source=_three(center_in_source),
        low_in_world=_three(segment.low_in_world),
        high_in_world=_three(segment.high_in_world),
        box_center_in_world=_three(segment.box.center_in_world),
        box_size=_three(segment.box.size),
        world_from_box=tuple(_three(row) for row in segment.box.world_from_box),
        instance_id=segment.instance_id,
    )


def _three(values: Float64[np.ndarray, "3"]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def _result(summary: QuerySummary) -> dict[str, Any]:
    return {
        "format": "scenewise-answer",
        "version": 1,
        "text": summary.text_asked,
        "teacher": summary.teacher,
        "elements": summary.elements,
        "threshold": summary.threshold,
        "scale": summary.scale,
        "segments": [
            {**vars(answer), "world_from_box": [list(row) for row in answer.world_from_box]} for answer in summary.answers
        ],
        "files": [path.name for path in summary.files],
    }

"""``scenewise segment``: words for every point, splat or pixel."""

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, final

import numpy as np
from jaxtyping import Int32

from scenewise.commands.segment.element_sets import ElementSet, NamedSet, element_sets
from scenewise.commands.segment.geometry import Surroundings, geometry_means
from scenewise.commands.segment.images import ImagesSummary, segment_images
from scenewise.commands.segment.options import PointsFrom, SegmentOptions
from scenewise.commands.segment.output import described_scene, kept_features, prepared_folder, write_named
from scenewise.commands.segment.summary import SegmentSummary, class_shares, found_objects, mean_confidence
from scenewise.commands.vocabularies import vocabulary_asked_for
from scenewise.engine.memory import peak_resident_bytes
from scenewise.engine.progress import NullProgress, Progress
from scenewise.engine.threads import compute_threads
from scenewise.errors import CaptureWarning, ConventionError, DataFormatError
from scenewise.parts.lifting import ViewPixels, median_view_depth, stream_visible_pixels
from scenewise.parts.lifting.rendered_depth import RenderedDepth
from scenewise.parts.segments.element_segments import Cutting
from scenewise.parts.segments.instances import connected_instances
from scenewise.parts.segments.oversegmentation import scale_unit
from scenewise.parts.segments.votes import MajorityVote
from scenewise.parts.sources.targets import (
    ImageTarget,
    PictureUse,
    SpatialTarget,
    TargetChoices,
    open_target,
    warn_of_photographs,
)
from scenewise.parts.words.finished_features import FinishedFeatures, mean_of_both
from scenewise.parts.words.lifted_views import ClassReading, LiftedElements, LiftedViews, Means
from scenewise.parts.words.pixel_classes import ClassQuestion, ask_for_classes, kind_of_answers
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.frames import Frame
from scenewise.scenes.label_fields import LabelField
from scenewise.scenes.partitions import Partition
from scenewise.teachers.cached import CachedTeacher
from scenewise.teachers.choose import FILES_PREFIX, open_choice, with_absolute_folders
from scenewise.teachers.protocol import PointTeacher, Teacher

CACHE_FOLDER = "cache/teacher"


def segment(
    options: SegmentOptions, progress: Progress | None = None, teacher: Teacher | None = None
) -> SegmentSummary | ImagesSummary:
    """Names every point, splat or pixel of the target.

    Args:
        options: see there.
        progress: where to report.
        teacher: used instead of ``options.teacher``.

    Raises:
        DataFormatError: the target cannot be read, has no images, or the output is in use.
        ConventionError: no classes, words the teacher does not know, other settings than those of the run to resume.
        ResourceError: the teacher cannot be reached, or memory or disk do not suffice.
    """
    progress = NullProgress() if progress is None else progress
    with compute_threads(options.threads) as threads:
        asked = open_choice(with_absolute_folders(options.teacher_choice)) if teacher is None else teacher
        question = ask_for_classes(asked, vocabulary_asked_for(options.classes, asked), kind_of_answers(asked))
        if question.unknown_classes:
            names = ", ".join(question.unknown_classes)
            warnings.warn(f"{asked.name} never gives: {names}", CaptureWarning, stacklevel=2)
        choices = TargetChoices(
            options.capture,
            options.frames,
            options.downscale,
            options.max_points,
            options.seed,
            pictures=_pictures(options.points_from, asked),
        )
        target = open_target(options.target, choices, threads, progress)
        warn_of_photographs(asked.name, target)
        if isinstance(target, ImageTarget):
            if options.points_from is not None:
                raise ConventionError("--points-from", expected="a scene or cloud", got="plain images", fix="leave it out")
            return segment_images(target, asked, question, options, progress)
        points_from: PointsFrom = options.points_from or ("pictures" if target.frames else "geometry")
        _require_spatial_options(options, points_from)
        return _Segmentation(options, progress, target, asked, question, points_from).run()


def _pictures(points_from: PointsFrom | None, teacher: Teacher) -> PictureUse:
    """What is done about the photographs of points and splats.

    Raises:
        ConventionError: the 3D branch is asked for of a teacher that has none.
    """
    if points_from in ("geometry", "both") and not isinstance(teacher, PointTeacher):
        raise ConventionError(
            "--points-from",
            expected="pictures, for only a teacher with a 3D branch can name points by themselves",
            got=f"{points_from} of {teacher.name}",
            fix="--teacher condense:RUN",
        )
    if points_from == "geometry":
        return "ignored"
    return "welcome" if points_from is None and isinstance(teacher, PointTeacher) else "required"


def _require_spatial_options(options: SegmentOptions, points_from: PointsFrom) -> None:
    """Nothing was asked for that has no effect on a scene."""
    if options.prompt_denoising is not None and points_from != "pictures":
        raise ConventionError(
            "--prompt-denoising", expected="--points-from pictures", got=f"names by {points_from}, where no single picture votes"
        )
    if options.pamr:
        raise ConventionError(
            "--pamr", expected="plain images", got="a scene, whose points and splats have no pixels", fix="leave it out"
        )
    if options.prompt_denoising is not None and options.vote == "none":
        raise ConventionError(
            "--prompt-denoising", expected="--vote view or set", got="--vote none, which never classifies an image"
        )


@final
class _Segmentation:
    """The stages of labelling a scene; :meth:`run` reads top to bottom, over whatever sets of elements there are."""

    def __init__(
        self,
        options: SegmentOptions,
        progress: Progress,
        target: SpatialTarget,
        teacher: Teacher,
        question: ClassQuestion,
        points_from: PointsFrom,
    ) -> None:
        self.options, self.progress, self.target = options, progress, target
        self.question, self.vocabulary = question, question.vocabulary
        self.points_from = points_from
        self.folder = prepared_folder(options, target, teacher, self.vocabulary, points_from)
        # Answers that are files already are not copied.
        room = 0 if teacher.name.startswith(FILES_PREFIX) else options.cache_bytes
        self.teacher = CachedTeacher(teacher, self.folder / CACHE_FOLDER, room)
        self.gaussians = target.scene.load_gaussians()
        self.seconds: dict[str, float] = {}
        self.without_answer: list[str] = []

    def run(self) -> SegmentSummary:
        """All stages in order."""
        if self.target.cloud is None and not len(self.gaussians):
            raise DataFormatError(self.folder, expected="points or splats to label", got="neither")
        sets = element_sets(self.target, self.gaussians, self._user_partition())
        with self._timed("views"):
            lifted = self._look(sets)
        with self._timed("segments"), self.progress.stage("segments"):
            partitions = self._partitions(sets)
        with self._timed("labels"), self.progress.stage("labels"):
            labels = [self._labels(lifted, own, partition) for own, partition in zip(lifted.sets, partitions)]
            objects = _objects(sets, labels, partitions)
            named = tuple(
                NamedSet(each.elements, own, names, partition, numbers)
                for each, own, names, partition, numbers in zip(sets, lifted.sets, labels, partitions, objects)
            )
        with self._timed("write"), self.progress.stage("write"):
            self._write(lifted, sets, named)
        return self._summary(named)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - started

    def _user_partition(self) -> Partition | None:
        """The segments in a file of the user's, read before anything slow."""
        path = self.options.segments
        if path is None:
            return None
        from scenewise.io.segments import read_segments

        if self.target.cloud is None:
            raise ConventionError("--segments", expected="a target with points", got="splats only", fix="leave it out")
        return read_segments(path, count=len(self.target.cloud))

    # -------------------------------------------------------------------------------------------------------------------- views

    def _look(self, sets: Sequence[ElementSet]) -> LiftedViews:
        """What the teacher says of all elements: of the views that show them, of themselves, or the mean of both."""
        reading = ClassReading(self.question, self.teacher.logit_scale, self.options.prompt_denoising)
        if self.points_from == "pictures":
            return self._lift(sets, reading, votes=self.options.vote != "none")
        known = self._by_themselves(sets)
        if self.points_from == "both":
            seen = self._lift(sets, reading, votes=False)
            known = [mean_of_both(lifted.means(), own) for lifted, own in zip(seen.sets, known)]
        return LiftedViews([FinishedFeatures(means, reading) for means in known], reading)

    def _by_themselves(self, sets: Sequence[ElementSet]) -> list[Means]:
        """Asks the teacher's 3D branch about every set of elements."""
        teacher, text = self.teacher.teacher, self.question.text
        assert isinstance(teacher, PointTeacher) and text is not None
        surroundings = Surroundings(self.target.scene.up_in_world, self._world_units_per_metre(sets))
        with self.progress.stage("geometry", len(sets)) as stage:
            known = []
            for each in sets:
                known.append(geometry_means(each, text.shape[1], teacher, surroundings))
                stage.advance()
        return known

    def _lift(self, sets: Sequence[ElementSet], reading: ClassReading, votes: bool) -> LiftedViews:
        """Asks the teacher about every view and lifts what it says."""
        lifted = LiftedViews([each.lifted(reading, votes) for each in sets], reading)
        frames = self._frames_with_depth()
        done = 0
        with self.progress.stage("views", len(frames)) as stage:
            for index, frame, pixels in self._views(frames):
                assert frame.load_image is not None
                field = self.teacher.dense(frame.load_image(), frame.name)
                if field is None:
                    self.without_answer.append(frame.name)
                else:
                    lifted.add(field, frame.camera, pixels)
                stage.advance(index + 1 - done, cached=self.teacher.found)
                done = index + 1
        self._check_answers(lifted, len(frames))
        return lifted

    def _views(self, frames: Sequence[Frame]) -> Iterator[tuple[int, Frame, ViewPixels | None]]:
        """Every view that can be used, with the points it shows."""
        cloud = self.target.cloud
        if cloud is None:
            yield from ((index, frame, None) for index, frame in enumerate(frames))
            return
        for pixels in stream_visible_pixels(cloud.points_in_world, frames, scale=self.target.scene.scale):
            yield pixels.view, frames[pixels.view], pixels

    def _frames_with_depth(self) -> Sequence[Frame]:
        """The views; where a scene has splats and no measured depth, the splats' depth tells which points are hidden."""
        if self.target.cloud is None or not len(self.gaussians):
            return self.target.frames
        return [
            frame if frame.load_depth is not None else replace(frame, load_depth=RenderedDepth(self.gaussians, frame.camera))
            for frame in self.target.frames
        ]

    def _check_answers(self, lifted: LiftedViews, views: int) -> None:
        lacking = self.without_answer
        if len(lacking) == views or not lifted.any_answer:
            raise ConventionError(
                f"answers of {self.teacher.name}",
                expected=f"one for some of the {views} views, such as {self.target.frames[0].name}",
                got="none",
                fix="name each file after its image",
            )
        if lacking:
            warnings.warn(
                f"{self.teacher.name} has nothing for {len(lacking)} of {views} views: {', '.join(lacking[:5])}"
                + (" …" if len(lacking) > 5 else ""),
                CaptureWarning,
                stacklevel=2,
            )

    # ----------------------------------------------------------------------------------------------------------- sets and labels

    def _partitions(self, sets: Sequence[ElementSet]) -> list[Partition | None]:
        """Sets to vote in of each set of elements; None where there is no such vote."""
        if self.options.vote != "set":
            return [None for _ in sets]
        centers = np.array([camera.centers_in_world.numpy() for camera in self._cameras()], dtype=np.float64).reshape(-1, 3)
        cutting = Cutting(self.options.partition == "compact", centers, self._world_units_per_metre(sets))
        return [each.segments(cutting) for each in sets]

    def _cameras(self) -> list[Cameras]:
        """Of the views that were looked at; where none was, of those that the scene knows."""
        return [frame.camera for frame in self.target.frames] or [view.camera for view in self.target.scene.cameras]

    def _world_units_per_metre(self, sets: Sequence[ElementSet]) -> float:
        """By the views, where the scene does not know it; without any, the world's unit counts as a metre."""
        cameras = self._cameras()
        if self.target.scene.scale == "metric" or not cameras:
            return 1.0
        return scale_unit("arbitrary", median_view_depth(sets[0].elements.positions_in_world, cameras))

    def _labels(self, lifted: LiftedViews, own: LiftedElements, partition: Partition | None) -> LabelField:
        """The class of each element, where it is certain enough."""
        if self.options.vote == "none":
            labels = lifted.mean_classes(own)
        elif partition is None:
            labels = own.winners()
        else:
            labels = own.set_winners(MajorityVote(weighting="confidence", min_agreement=self.options.min_agreement), partition)
        sure = labels.confidence >= self.options.min_confidence
        return LabelField(
            np.where(sure, labels.class_ids, -1).astype(np.int32), np.where(sure, labels.confidence, 0).astype(np.float32)
        )

    # --------------------------------------------------------------------------------------------------------------------- write

    def _write(self, lifted: LiftedViews, sets: Sequence[ElementSet], named: Sequence[NamedSet]) -> None:
        partition = _first_partition(named)
        found: dict[str, Any] = {
            "partition": None
            if partition is None
            else {"source": partition.source, "sets": partition.count, **_json_values(partition.parameters)},
            "points": self.target.cloud_source,
            "frames": len(self.target.frames),
            "frames_without_answer": len(self.without_answer),
        }
        if self.points_from != "pictures":
            found["points_from"] = self.points_from
        scene = described_scene(self.target, self.teacher, self.vocabulary, self.options, found)
        features = {
            each.elements.kind: kept_features(each.lifted.means(), lifted.kind, self.options, self.teacher) for each in named
        }
        write_named(self.folder, list(zip(sets, named)), scene, self.vocabulary, features, self.teacher.name)

    def _summary(self, named: Sequence[NamedSet]) -> SegmentSummary:
        names = {each.elements.kind: each.names for each in named}
        points, splats, partition = names.get("points"), names.get("splats"), _first_partition(named)
        return SegmentSummary(
            folder=self.folder,
            teacher=self.teacher.name,
            num_points=0 if points is None else len(points.class_ids),
            num_splats=0 if splats is None else len(splats.class_ids),
            classes=class_shares(self.vocabulary, points, splats),
            objects=found_objects([(each.elements, each.labels) for each in named], self.vocabulary.names),
            coverage_points=None if points is None else points.coverage,
            coverage_splats=None if splats is None else splats.coverage,
            mean_confidence=mean_confidence(points, splats),
            frames=len(self.target.frames),
            frames_without_answer=len(self.without_answer),
            answers_from_cache=self.teacher.found,
            segments=None if partition is None else partition.count,
            seconds=self.seconds,
            peak_memory_bytes=peak_resident_bytes(),
            points_from=self.points_from,
        )


def _objects(
    sets: Sequence[ElementSet], labels: Sequence[LabelField], partitions: Sequence[Partition | None]
) -> list[Int32[np.ndarray, "n"]]:
    """Objects of all sets of elements together, so that points and splats of a thing carry the same number."""
    places, joint = [each.elements.positions_in_world for each in sets], []
    count = 0
    for where, partition in zip(places, partitions):
        ids = np.full(len(where), -1, dtype=np.int64) if partition is None else partition.ids.astype(np.int64)
        joint.append(np.where(ids >= 0, ids + count, -1))
        count += 0 if partition is None else partition.count
    classes = np.concatenate([each.class_ids for each in labels])
    found = connected_instances(np.concatenate(places), classes, Partition.from_any_ids(np.concatenate(joint), "joint"))
    return np.split(found, np.cumsum([len(where) for where in places])[:-1])


def _first_partition(named: Sequence[NamedSet]) -> Partition | None:
    return next((each.partition for each in named if each.partition is not None), None)


def _json_values(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is None or isinstance(value, bool | int | float | str)}

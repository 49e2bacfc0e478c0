"""``scenewise segment``: words for every point, splat or pixel."""

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int32

from scenewise.commands.segment.images import ImagesSummary, segment_images
from scenewise.commands.segment.named_points import write_named_points
from scenewise.commands.segment.options import SegmentOptions
from scenewise.commands.segment.summary import SegmentSummary, class_shares, found_objects, mean_confidence
from scenewise.engine.memory import peak_resident_bytes
from scenewise.engine.progress import NullProgress, Progress
from scenewise.engine.threads import compute_threads
from scenewise.errors import CaptureWarning, ConventionError, DataFormatError
from scenewise.geometry.spherical_harmonics import sh0_from_rgb
from scenewise.io.atomic import disk_errors
from scenewise.io.element_features import features_path, write_element_features
from scenewise.io.json_values import fingerprint_of
from scenewise.io.ply import write_gaussians_ply
from scenewise.io.product_kinds import LABELS
from scenewise.io.products import claim, read_mark
from scenewise.io.scene_folder import (
    CLASS_SPLATS_FILE,
    POINTS_FILE,
    SPLATS_FILE,
    labels_path,
    prepare_output,
    write_scene_description,
    write_scene_labels,
)
from scenewise.io.vocabularies import VOCABULARY_FILE, write_vocabulary
from scenewise.parts.lifting import ViewPixels, median_view_depth, stream_visible_pixels
from scenewise.parts.segments.instances import connected_instances
from scenewise.parts.segments.oversegmentation import (
    PointSegments,
    Supervoxels,
    point_segments,
    scale_unit,
    splat_segments,
    supervoxels,
)
from scenewise.parts.segments.oversegmentation import mesh_segments as segments_of_mesh
from scenewise.parts.segments.point_normals import nearest_viewpoints
from scenewise.parts.segments.segment_settings import compact_segments, smooth_segments
from scenewise.parts.segments.votes import MajorityVote
from scenewise.parts.sources.targets import ImageTarget, SpatialTarget, open_target, warn_of_photographs
from scenewise.parts.words.lifted_views import LiftedViews
from scenewise.parts.words.pixel_classes import ClassQuestion, ask_for_classes, kind_of_answers
from scenewise.rendering import render
from scenewise.scenes.element_features import ElementFeatures
from scenewise.scenes.frames import DepthMap, Frame
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.label_fields import LabelField
from scenewise.scenes.labels import ElementLabels
from scenewise.scenes.partitions import Partition
from scenewise.scenes.scenes import Scene
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.show.label_pictures import class_palette
from scenewise.teachers.cached import CachedTeacher
from scenewise.teachers.choose import FILES_PREFIX
from scenewise.teachers.protocol import Teacher

CACHE_FOLDER = "cache/teacher"

_SOLID = 0.5  # a pixel at least this opaque has a depth worth comparing with
_ROWS = 1 << 14


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
        asked = teacher_of(options) if teacher is None else teacher
        question = ask_for_classes(asked, vocabulary_of(options, asked), kind_of_answers(asked))
        if question.unknown_classes:
            names = ", ".join(question.unknown_classes)
            warnings.warn(f"{asked.name} never gives: {names}", CaptureWarning, stacklevel=2)
        target = open_target(options, threads, progress)
        warn_of_photographs(asked.name, target)
        if isinstance(target, ImageTarget):
            return segment_images(target, asked, question, options, progress)
        _require_spatial_options(options)
        return _Segmentation(options, progress, target, asked, question).run()


def _require_spatial_options(options: SegmentOptions) -> None:
    """Nothing was asked for that has no effect on a scene."""
    if options.pamr:
        raise ConventionError(
            "--pamr", expected="plain images", got="a scene, whose points and splats have no pixels", fix="leave it out"
        )
    if options.prompt_denoising is not None and options.vote == "none":
        raise ConventionError(
            "--prompt-denoising", expected="--vote view or set", got="--vote none, which never classifies an image"
        )


def teacher_of(options: SegmentOptions) -> Teacher:
    """The teacher the options name; folders become absolute, so that a later query finds it from anywhere.

    Raises:
        ResourceError, DataFormatError, ConventionError, MissingDependencyError: see :func:`open_teacher`.
    """
    from scenewise.teachers.choose import open_teacher

    return open_teacher(
        _absolute(options.teacher),
        read_out=options.read_out,
        text_from=options.text_from,
        key_smoothing=options.key_smoothing,
    )


def _absolute(name: str) -> str:
    if name.startswith(FILES_PREFIX):
        return FILES_PREFIX + str(Path(name.removeprefix(FILES_PREFIX)).expanduser().resolve())
    folder = Path(name).expanduser()
    return str(folder.resolve()) if folder.is_dir() and (folder / "config.json").exists() else name


def vocabulary_of(options: SegmentOptions, teacher: Teacher) -> Vocabulary:
    """The classes asked for: typed, from a file, or the teacher's own.

    Raises:
        ConventionError: none of them.
    """
    from scenewise.teachers.prompts import vocabulary_from_file, vocabulary_from_words

    templates = teacher.default_templates()
    if options.classes is not None:
        is_file = "," not in options.classes and "|" not in options.classes and Path(options.classes).is_file()
        return vocabulary_from_file(options.classes, templates) if is_file else vocabulary_from_words(options.classes, templates)
    own = teacher.vocabulary()
    if own is None:
        raise ConventionError(
            "--classes",
            expected="names, because this teacher knows any words and has no list of its own",
            got="none",
            fix='e.g. --classes "wall, floor, chair, sofa|couch"',
        )
    return own


@dataclass(frozen=True)
class _Named:
    """What the stages found.

    Attributes:
        points: names of the points, None without points.
        splats: names of the splats, None without splats.
        point_objects: object of each point, −1 = none.
        splat_objects: object of each splat, −1 = none; numbers are shared with the points.
        partition: segments that voted, None without a vote in segments.
    """

    points: LabelField | None
    splats: LabelField | None
    point_objects: Int32[np.ndarray, "points"]
    splat_objects: Int32[np.ndarray, "splats"]
    partition: Partition | None


@final
class _Segmentation:
    """The stages of labelling a scene; :meth:`run` reads top to bottom."""

    def __init__(
        self, options: SegmentOptions, progress: Progress, target: SpatialTarget, teacher: Teacher, question: ClassQuestion
    ) -> None:
        self.options, self.progress, self.target = options, progress, target
        self.question, self.vocabulary = question, question.vocabulary
        self.scene = target.scene
        self.folder = self._prepared(teacher)
        # Answers that are files already are not copied.
        room = 0 if teacher.name.startswith(FILES_PREFIX) else options.cache_bytes
        self.teacher = CachedTeacher(teacher, self.folder / CACHE_FOLDER, room)
        self.gaussians = self.scene.load_gaussians()
        self.cloud = target.cloud
        self.seconds: dict[str, float] = {}
        self.without_answer: list[str] = []

    def run(self) -> SegmentSummary:
        """All stages in order."""
        if self.cloud is None and not len(self.gaussians):
            raise DataFormatError(self.folder, expected="points or splats to label", got="neither")
        user_partition = self._user_partition()
        with self._timed("views"):
            lifted = self._look()
        with self._timed("segments"), self.progress.stage("segments"):
            of_points, of_splats = self._partitions(user_partition)
        with self._timed("labels"), self.progress.stage("labels"):
            points = self._point_labels(lifted, of_points)
            splats = self._splat_labels(lifted, of_splats)
            named = _Named(points, splats, *self._objects(points, splats, of_points, of_splats), of_points or of_splats)
        with self._timed("write"), self.progress.stage("write"):
            self._write(lifted, named)
        return self._summary(named)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - started

    # ------------------------------------------------------------------------------------------------------------------- before

    def _prepared(self, teacher: Teacher) -> Path:
        """The folder to write to, made sure of before any work is done."""
        options, own = self.options, self.target.folder
        out = options.out or own
        if out is None:
            raise ConventionError("--out", expected="a folder for the labels", got="none", fix="--out my_scene")
        same = own is not None and out.exists() and out.samefile(own)
        if not same:
            if own is not None:
                raise ConventionError(
                    "--out", expected="the scene folder itself", got=out, fix="leave it out: labels belong beside the splats"
                )
            if (out / SPLATS_FILE).exists():
                raise DataFormatError(
                    out, expected="a folder without splats", got="a reconstructed scene", fix="segment the scene folder itself"
                )
            prepare_output(out, overwrite=options.overwrite, resume=options.resume)
        elif any(labels_path(out, of).exists() for of in _BOTH) and not (options.overwrite or options.resume):
            raise DataFormatError(
                out, expected="a scene without labels", got="labels", fix="--overwrite replaces them, --resume makes them again"
            )
        settings = self._settings(teacher)
        if options.resume:
            _check_same(out, settings)
        claim(out, LABELS, fingerprint_of(settings), {"settings": settings})
        return out

    def _settings(self, teacher: Teacher) -> dict[str, Any]:
        """What a resumed run must have in common with this one."""
        options = self.options
        return {
            "target": [str(path.resolve()) for path in options.target],
            "teacher": teacher.fingerprint,
            "classes": [list(group) for group in zip(self.vocabulary.names, map(list, self.vocabulary.phrases))],
            "templates": list(self.vocabulary.templates),
            "vote": options.vote,
            "partition": options.partition,
            "segments": None if options.segments is None else str(options.segments.resolve()),
            "min_agreement": options.min_agreement,
            "min_confidence": options.min_confidence,
            "prompt_denoising": options.prompt_denoising,
            "frames": [frame.name for frame in self.target.frames],
            "max_points": options.max_points,
            "seed": options.seed,
        }

    def _user_partition(self) -> Partition | None:
        """The segments in a file of the user's, read before anything slow."""
        path = self.options.segments
        if path is None:
            return None
        from scenewise.io.segments import read_segments

        if self.cloud is None:
            raise ConventionError("--segments", expected="a target with points", got="splats only", fix="leave it out")
        return read_segments(path, count=len(self.cloud))

    # -------------------------------------------------------------------------------------------------------------------- views

    def _look(self) -> LiftedViews:
        """Asks the teacher about every view and lifts what it says."""
        votes = self.options.vote != "none"
        lifted = LiftedViews(
            0 if self.cloud is None else len(self.cloud),
            len(self.gaussians),
            self.question,
            self.teacher.logit_scale,
            votes,
            self.options.prompt_denoising,
        )
        frames = self._frames_with_depth()
        done = 0
        with self.progress.stage("views", len(frames)) as stage:
            for index, frame, pixels in self._views(frames):
                assert frame.load_image is not None
                field = self.teacher.dense(frame.load_image(), frame.name)
                if field is None:
                    self.without_answer.append(frame.name)
                else:
                    lifted.add(field, frame.camera, pixels, self.gaussians)
                stage.advance(index + 1 - done, cached=self.teacher.found)
                done = index + 1
        self._check_answers(lifted, len(frames))
        return lifted

    def _views(self, frames: Sequence[Frame]) -> Iterator[tuple[int, Frame, ViewPixels | None]]:
        """Every view that can be used, with the points it shows."""
        if self.cloud is None:
            yield from ((index, frame, None) for index, frame in enumerate(frames))
            return
        for pixels in stream_visible_pixels(self.cloud.points_in_world, frames, scale=self.scene.scale):
            yield pixels.view, frames[pixels.view], pixels

    def _frames_with_depth(self) -> Sequence[Frame]:
        """The views; where a scene has splats and no measured depth, the splats' depth tells which points are hidden."""
        if self.cloud is None or not len(self.gaussians):
            return self.target.frames
        return [
            frame if frame.load_depth is not None else replace(frame, load_depth=_RenderedDepth(self.gaussians, frame))
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

    # ------------------------------------------------------------------------------------------------------------------ segments

    def _partitions(self, given: Partition | None) -> tuple[Partition | None, Partition | None]:
        """Sets of points and of splats to vote in; None where there is no such vote."""
        if self.options.vote != "set":
            return None, None
        centers = np.stack([frame.camera.centers_in_world.numpy() for frame in self.target.frames])
        unit = self._world_units_per_metre()
        compact = self.options.partition == "compact"
        of_points = given
        if of_points is None and self.cloud is not None and len(self.cloud):
            points, colors = self.cloud.points_in_world, self.cloud.colors_u8
            if compact:
                pieces = compact_segments(points, unit)
                of_points = supervoxels(points, colors_u8=colors, settings=pieces, scale_unit=unit)
            elif self.target.mesh is not None:
                of_points = segments_of_mesh(self.target.mesh)
            else:
                of_points = point_segments(
                    points,
                    viewpoints=nearest_viewpoints(points, centers),
                    normals=self.cloud.normals_in_world,
                    colors_u8=colors,
                    settings=smooth_segments(points, unit, colored=colors is not None),
                    scale_unit=unit,
                )
        of_splats = None
        if len(self.gaussians):
            places = self._splat_centers()
            settings: PointSegments | Supervoxels
            settings = compact_segments(places, unit) if compact else smooth_segments(places, unit, colored=True)
            of_splats = splat_segments(self.gaussians, camera_centers=centers, settings=settings, scale_unit=unit)
        return of_points, of_splats

    def _world_units_per_metre(self) -> float:
        if self.scene.scale == "metric":
            return 1.0
        points = self.cloud.points_in_world if self.cloud is not None else self._splat_centers()
        return scale_unit("arbitrary", median_view_depth(points, [frame.camera for frame in self.target.frames]))

    def _splat_centers(self) -> Float64[np.ndarray, "n 3"]:
        return self.gaussians.means.detach().cpu().numpy().astype(np.float64)

    # -------------------------------------------------------------------------------------------------------------------- labels

    def _point_labels(self, lifted: LiftedViews, partition: Partition | None) -> LabelField | None:
        if self.cloud is None:
            return None
        if self.options.vote == "none":
            return self._certain_enough(lifted.classes_of(lifted.point_means()))
        histogram = lifted.histogram()
        if partition is None:
            return self._certain_enough(histogram.winner("confidence")[0])
        vote = MajorityVote(weighting="confidence", min_agreement=self.options.min_agreement)
        return self._certain_enough(vote.of_histogram(histogram, partition))

    def _splat_labels(self, lifted: LiftedViews, partition: Partition | None) -> LabelField | None:
        if not len(self.gaussians):
            return None
        if self.options.vote == "none":
            return self._certain_enough(lifted.classes_of(lifted.splat_means()))
        labels = lifted.splat_votes()
        if partition is not None:
            labels = MajorityVote(weighting="confidence", min_agreement=self.options.min_agreement)(labels, partition)
        return self._certain_enough(labels)

    def _certain_enough(self, labels: LabelField) -> LabelField:
        sure = labels.confidence >= self.options.min_confidence
        return LabelField(
            np.where(sure, labels.class_ids, -1).astype(np.int32), np.where(sure, labels.confidence, 0).astype(np.float32)
        )

    def _objects(
        self,
        points: LabelField | None,
        splats: LabelField | None,
        of_points: Partition | None,
        of_splats: Partition | None,
    ) -> tuple[Int32[np.ndarray, "points"], Int32[np.ndarray, "splats"]]:
        """Objects of points and splats together, so that both carry the same ids."""
        places, classes, sets = [np.zeros((0, 3))], [np.zeros(0, dtype=np.int32)], [np.zeros(0, dtype=np.int64)]
        count = 0
        for labels, partition, where in (
            (points, of_points, None if self.cloud is None else self.cloud.points_in_world),
            (splats, of_splats, self._splat_centers()),
        ):
            if labels is None or where is None:
                continue
            places.append(where)
            classes.append(labels.class_ids)
            ids = np.full(len(where), -1, dtype=np.int64) if partition is None else partition.ids.astype(np.int64)
            sets.append(np.where(ids >= 0, ids + count, -1))
            count += 0 if partition is None else partition.count
        joint = Partition.from_any_ids(np.concatenate(sets), "joint")
        found = connected_instances(np.concatenate(places), np.concatenate(classes), joint)
        split = 0 if points is None else len(points.class_ids)
        return found[:split], found[split:]

    # --------------------------------------------------------------------------------------------------------------------- write

    def _write(self, lifted: LiftedViews, named: _Named) -> None:
        """Everything, each file at once; a folder that is read half way has no labels rather than mixed ones."""
        points, splats = named.points, named.splats
        folder, colors = self.folder, class_palette(self.vocabulary.colors_u8)
        with disk_errors(folder):
            for of in _BOTH:
                labels_path(folder, of).unlink(missing_ok=True)
                features_path(folder, of).unlink(missing_ok=True)
            (folder / CLASS_SPLATS_FILE).unlink(missing_ok=True)
        write_vocabulary(folder / VOCABULARY_FILE, self.vocabulary, teacher=self.teacher.name)
        if points is not None and self.cloud is not None:
            write_named_points(folder / POINTS_FILE, self.cloud, points, named.point_objects, self.vocabulary.colors_u8)
            write_element_features(features_path(folder, "points"), self._features(lifted, *lifted.point_means()))
        if splats is not None:
            painted = _painted(self.gaussians, colors[splats.class_ids])
            write_gaussians_ply(folder / CLASS_SPLATS_FILE, painted)
            write_element_features(features_path(folder, "splats"), self._features(lifted, *lifted.splat_means()))
        write_scene_description(folder, self._described(lifted, named.partition))
        if points is not None:
            write_scene_labels(folder, "points", ElementLabels(points.class_ids, named.point_objects, points.confidence))
        if splats is not None:
            write_scene_labels(folder, "splats", ElementLabels(splats.class_ids, named.splat_objects, splats.confidence))

    def _features(
        self, lifted: LiftedViews, means: Float32[np.ndarray, "n dim"], weight: Float32[np.ndarray, "n"]
    ) -> ElementFeatures:
        """Lifted outputs as they are kept: features as unit vectors, zeros where nothing was seen."""
        values = np.empty(means.shape, dtype=np.float16)
        for begin in range(0, len(means), _ROWS):
            rows = means[begin : begin + _ROWS]
            if lifted.kind == "features":
                length = np.linalg.norm(rows, axis=1, keepdims=True)
                rows = rows / np.where(length > 0, length, 1.0)
            values[begin : begin + _ROWS] = rows
        own = self.teacher.vocabulary()
        names = () if lifted.kind == "features" else self._column_names(means.shape[1], own)
        return ElementFeatures(
            values=values,
            weight=weight,
            kind=lifted.kind,
            teacher=self.teacher.name,
            read_out=self.options.read_out,
            fingerprint=self.teacher.fingerprint,
            text_from=self.options.text_from,
            classes=names,
            key_smoothing=self.options.key_smoothing,
        )

    def _column_names(self, columns: int, own: Vocabulary | None) -> tuple[str, ...]:
        if own is not None and len(own) == columns:
            return own.names
        return tuple(f"class {number}" for number in range(columns))

    def _described(self, lifted: LiftedViews, partition: Partition | None) -> Scene:
        """The scene with what was done to it."""
        record = {
            "teacher": self.teacher.name,
            "read_out": self.options.read_out,
            "fingerprint": self.teacher.fingerprint,
            "logit_scale": self.teacher.logit_scale,
            "key_smoothing": self.options.key_smoothing,
            "prompt_denoising": self.options.prompt_denoising,
            "prompts": list(self.vocabulary.templates),
            "classes": {name: list(words) for name, words in zip(self.vocabulary.names, self.vocabulary.phrases)},
            "vote": self.options.vote,
            "min_agreement": self.options.min_agreement,
            "min_confidence": self.options.min_confidence,
            "partition": None
            if partition is None
            else {"source": partition.source, "sets": partition.count, **_json_values(partition.parameters)},
            "points": self.target.cloud_source,
            "frames": len(self.target.frames),
            "frames_without_answer": len(self.without_answer),
        }
        origin = self.scene.provenance
        return replace(
            self.scene,
            provenance=replace(origin, config={**origin.config, "segmentation": record}),
            licences={**self.scene.licences, self.teacher.name: self.teacher.licence},
        )

    def _summary(self, named: _Named) -> SegmentSummary:
        points, splats, partition = named.points, named.splats, named.partition
        class_ids = np.concatenate([labels.class_ids for labels in (points, splats) if labels is not None])
        where = np.concatenate([np.zeros((0, 3)) if self.cloud is None else self.cloud.points_in_world, self._splat_centers()])
        return SegmentSummary(
            folder=self.folder,
            teacher=self.teacher.name,
            num_points=0 if points is None else len(points.class_ids),
            num_splats=0 if splats is None else len(splats.class_ids),
            classes=class_shares(self.vocabulary, points, splats),
            objects=found_objects(where, class_ids, named.point_objects, named.splat_objects, self.vocabulary.names),
            coverage_points=None if points is None else points.coverage,
            coverage_splats=None if splats is None else splats.coverage,
            mean_confidence=mean_confidence(points, splats),
            frames=len(self.target.frames),
            frames_without_answer=len(self.without_answer),
            answers_from_cache=self.teacher.found,
            segments=None if partition is None else partition.count,
            seconds=self.seconds,
            peak_memory_bytes=peak_resident_bytes(),
        )


_BOTH: tuple[Literal["splats", "points"], Literal["splats", "points"]] = ("splats", "points")


@dataclass(frozen=True)
class _RenderedDepth:
    """The depth of a splat scene as a frame's measured one; 0 where it is not solid."""

    gaussians: Gaussians
    frame: Frame

    def __call__(self) -> DepthMap:
        with torch.no_grad():
            seen = render(self.gaussians, self.frame.camera, sh_degree=0)
        alpha = seen.alpha.cpu().numpy()
        depth = seen.depth.cpu().numpy() / np.maximum(alpha, _SOLID)
        return np.where(alpha >= _SOLID, depth, 0.0).astype(np.float32)


def _check_same(folder: Path, settings: Mapping[str, Any]) -> None:
    mark = read_mark(folder, LABELS)
    if mark is None:
        return
    before = mark.mapping("settings")
    different = [key for key, value in settings.items() if before.get(key) != value]
    if different:
        raise ConventionError(
            "--resume",
            expected="the settings the run was started with",
            got="others: " + ", ".join(different),
            fix="--overwrite starts anew; the teacher's answers are kept and used again where they fit",
        )


def _painted(gaussians: Gaussians, colors_u8: np.ndarray) -> Gaussians:
    """The Gaussians in flat colours."""
    colors = torch.from_numpy(colors_u8.astype(np.float32) / 255.0)
    return replace(gaussians, sh0=sh0_from_rgb(colors)[:, None, :], shN=gaussians.shN[:, :0])


def _json_values(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is None or isinstance(value, bool | int | float | str)}

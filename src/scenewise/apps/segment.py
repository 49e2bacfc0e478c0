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
from jaxtyping import Bool, Float32, Float64, Int32

from scenewise.apps.label_pictures import class_palette
from scenewise.apps.options import SegmentOptions
from scenewise.apps.segment_images import ImagesSummary, segment_images
from scenewise.apps.segment_targets import PHOTO_COLUMNS, ImageTarget, SpatialTarget, open_target
from scenewise.engine.memory import peak_resident_bytes, text_from_bytes
from scenewise.engine.progress import NullProgress, Progress, duration_text
from scenewise.engine.threads import compute_threads
from scenewise.errors import CaptureWarning, ConventionError, DataFormatError
from scenewise.geometry.boxes import axis_aligned_box
from scenewise.geometry.spherical_harmonics import sh0_from_rgb
from scenewise.io.atomic import atomic_write_json, disk_errors
from scenewise.io.element_features import features_path, write_element_features
from scenewise.io.json_fields import read_json_object
from scenewise.io.ply import write_gaussians_ply, write_points_ply
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
from scenewise.parts.labelfree.classification import (
    class_probabilities,
    classify_probabilities,
    classify_scores,
)
from scenewise.parts.labelfree.instances import connected_instances
from scenewise.parts.labelfree.lifting import (
    FeatureSums,
    ViewPixels,
    VoteHistogram,
    VoteSums,
    gaussian_features,
    median_view_depth,
    sample_field,
    stream_visible_pixels,
)
from scenewise.parts.labelfree.oversegmentation import (
    PointSegments,
    Supervoxels,
    point_segments,
    scale_unit,
    splat_segments,
    supervoxels,
)
from scenewise.parts.labelfree.oversegmentation import mesh_segments as segments_of_mesh
from scenewise.parts.labelfree.pixel_classes import ClassQuestion, ask_for_classes, kind_of_answers
from scenewise.parts.labelfree.point_normals import nearest_viewpoints
from scenewise.parts.labelfree.votes import MajorityVote
from scenewise.rendering import render
from scenewise.scenes.dense_fields import DenseField
from scenewise.scenes.element_features import ElementFeatures
from scenewise.scenes.frames import DepthMap, Frame
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.label_fields import LabelField
from scenewise.scenes.labels import ElementLabels
from scenewise.scenes.partitions import Partition
from scenewise.scenes.point_clouds import PointCloud
from scenewise.scenes.scenes import Scene
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.teachers.cached import CachedTeacher
from scenewise.teachers.choose import FILES_PREFIX
from scenewise.teachers.protocol import Teacher

CACHE_FOLDER = "cache/teacher"
SETTINGS_FILE = "cache/segment.json"

_SOLID = 0.5  # a pixel at least this opaque has a depth worth comparing with
_PIXELS_PER_CELL = 4  # of the picture that splats look at: finer than the teacher's grid, coarser than the photograph
_MOST_DOWNSCALE = 4
_ROWS = 1 << 14
_COLOR_WEIGHT = 0.1
_SCANNET_MIN_SIZE, _FEWEST_POINTS = 20, 5
_DENSE_SPACING = 0.03  # metres up to which ScanNet's size is kept


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
        lacking = f", {self.frames_without_answer} without an answer" if self.frames_without_answer else ""
        lines.append(f"{self.frames} views by {self.teacher}{lacking} ({self.answers_from_cache} from the cache)")
        lines.append(", ".join(f"{name} {duration_text(seconds)}" for name, seconds in self.seconds.items()))
        lines.append(f"{self.folder}: labels, colours and features written; {text_from_bytes(self.peak_memory_bytes)} of memory")
        return "\n".join(lines)


def _percent(share: float | None) -> str:
    return f"{'–':>6}" if share is None else f"{100 * share:5.1f}%"


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
        if isinstance(target, ImageTarget):
            return segment_images(target, asked, question, options, progress)
        return _Segmentation(options, progress, target, asked, question).run()


def teacher_of(options: SegmentOptions) -> Teacher:
    """The teacher the options name; folders become absolute, so that a later query finds it from anywhere.

    Raises:
        ResourceError, DataFormatError, ConventionError, MissingDependencyError: see :func:`open_teacher`.
    """
    from scenewise.teachers.choose import open_teacher

    return open_teacher(_absolute(options.teacher), read_out=options.read_out, text_from=options.text_from)


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


def smooth_segments(points: Float64[np.ndarray, "n 3"], world_units_per_metre: float, *, colored: bool) -> PointSegments:
    """Settings of the over-segmentation that suit how dense the points are.

    ScanNet's 20 vertices are the area of a playing card on its 2 cm meshes; on a sparse cloud as many points are a piece of
    furniture.  The fewest points per segment therefore shrink with the density, and a little weight of colour separates what lies
    in one plane (doors, pictures).  Chosen on three validation rooms, where the best possible vote rises from 0.79–0.83 to
    0.95–0.96 at 17 cm spacing and from 0.97–0.98 to 0.99 at 3 cm.
    """
    spacing = _typical_spacing(points) / world_units_per_metre
    if spacing == 0:
        return PointSegments(color_weight=_COLOR_WEIGHT if colored else 0.0)
    fewest = round(_SCANNET_MIN_SIZE * (_DENSE_SPACING / spacing) ** 2)
    return PointSegments(
        min_size=int(np.clip(fewest, _FEWEST_POINTS, _SCANNET_MIN_SIZE)), color_weight=_COLOR_WEIGHT if colored else 0.0
    )


def _typical_spacing(points: Float64[np.ndarray, "n 3"]) -> float:
    """Median distance to the nearest other point, of at most 20,000 of them."""
    from scipy.spatial import cKDTree

    usable = points[np.isfinite(points).all(axis=1)]
    if len(usable) < 2:
        return 0.0
    return float(np.median(cKDTree(usable).query(usable[:: max(1, len(usable) // 20_000)], 2)[0][:, 1]))


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
            point_objects, splat_objects = self._objects(points, splats, of_points, of_splats)
        with self._timed("write"), self.progress.stage("write"):
            self._write(lifted, points, splats, point_objects, splat_objects, of_points or of_splats)
        return self._summary(lifted, points, splats, point_objects, splat_objects, of_points or of_splats)

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
        path = out / SETTINGS_FILE
        if options.resume and path.exists():
            _check_same(path, settings)
        atomic_write_json(path, {"settings": settings})
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

    def _look(self) -> "_Lifted":
        """Asks the teacher about every view and lifts what it says."""
        votes = self.options.vote != "none"
        lifted = _Lifted(
            0 if self.cloud is None else len(self.cloud), len(self.gaussians), self.question, self.teacher.logit_scale, votes
        )
        frames = self._frames_with_depth()
        with self.progress.stage("views", len(frames)) as stage:
            for index, frame, pixels in self._views(frames):
                assert frame.load_image is not None
                field = self.teacher.dense(frame.load_image(), frame.name)
                if field is None:
                    lifted.without_answer.append(frame.name)
                else:
                    lifted.add(field, frame, pixels, self.gaussians)
                stage.advance(index + 1 - lifted.views_done, cached=self.teacher.found)
                lifted.views_done = index + 1
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

    def _check_answers(self, lifted: "_Lifted", views: int) -> None:
        lacking = lifted.without_answer
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
        compact = Supervoxels() if self.options.partition == "compact" else None
        of_points = given
        if of_points is None and self.cloud is not None and len(self.cloud):
            points, colors = self.cloud.points_in_world, self.cloud.colors_u8
            if compact is not None:
                of_points = supervoxels(points, colors_u8=colors, settings=compact, scale_unit=unit)
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
            settings = compact or smooth_segments(self._splat_centers(), unit, colored=True)
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

    def _point_labels(self, lifted: "_Lifted", partition: Partition | None) -> LabelField | None:
        if self.cloud is None:
            return None
        if self.options.vote == "none":
            return self._certain_enough(lifted.classes_of(lifted.point_means()))
        histogram = lifted.histogram()
        if partition is None:
            return self._certain_enough(histogram.winner("confidence")[0])
        vote = MajorityVote(weighting="confidence", min_agreement=self.options.min_agreement)
        return self._certain_enough(vote.of_histogram(histogram, partition))

    def _splat_labels(self, lifted: "_Lifted", partition: Partition | None) -> LabelField | None:
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

    def _write(
        self,
        lifted: "_Lifted",
        points: LabelField | None,
        splats: LabelField | None,
        point_objects: Int32[np.ndarray, "points"],
        splat_objects: Int32[np.ndarray, "splats"],
        partition: Partition | None,
    ) -> None:
        """Everything, each file at once; a folder that is read half way has no labels rather than mixed ones."""
        folder, colors = self.folder, class_palette(self.vocabulary.colors_u8)
        with disk_errors(folder):
            for of in _BOTH:
                labels_path(folder, of).unlink(missing_ok=True)
                features_path(folder, of).unlink(missing_ok=True)
            (folder / CLASS_SPLATS_FILE).unlink(missing_ok=True)
        write_vocabulary(folder / VOCABULARY_FILE, self.vocabulary, teacher=self.teacher.name)
        if points is not None and self.cloud is not None:
            _write_points(folder / POINTS_FILE, self.cloud, points, point_objects, colors[points.class_ids])
            write_element_features(features_path(folder, "points"), self._features(lifted, *lifted.point_means()))
        if splats is not None:
            painted = _painted(self.gaussians, colors[splats.class_ids])
            write_gaussians_ply(folder / CLASS_SPLATS_FILE, painted)
            write_element_features(features_path(folder, "splats"), self._features(lifted, *lifted.splat_means()))
        write_scene_description(folder, self._described(lifted, partition))
        if points is not None:
            write_scene_labels(folder, "points", ElementLabels(points.class_ids, point_objects, points.confidence))
        if splats is not None:
            write_scene_labels(folder, "splats", ElementLabels(splats.class_ids, splat_objects, splats.confidence))

    def _features(
        self, lifted: "_Lifted", means: Float32[np.ndarray, "n dim"], weight: Float32[np.ndarray, "n"]
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
        )

    def _column_names(self, columns: int, own: Vocabulary | None) -> tuple[str, ...]:
        if own is not None and len(own) == columns:
            return own.names
        return tuple(f"class {number}" for number in range(columns))

    def _described(self, lifted: "_Lifted", partition: Partition | None) -> Scene:
        """The scene with what was done to it."""
        licence = getattr(self.teacher.teacher, "licence", None)
        record = {
            "teacher": self.teacher.name,
            "read_out": self.options.read_out,
            "fingerprint": self.teacher.fingerprint,
            "logit_scale": self.teacher.logit_scale,
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
            "frames_without_answer": len(lifted.without_answer),
        }
        origin = self.scene.provenance
        return replace(
            self.scene,
            provenance=replace(origin, config={**origin.config, "segmentation": record}),
            licences={**self.scene.licences, self.teacher.name: licence if isinstance(licence, str) else None},
        )

    def _summary(
        self,
        lifted: "_Lifted",
        points: LabelField | None,
        splats: LabelField | None,
        point_objects: Int32[np.ndarray, "points"],
        splat_objects: Int32[np.ndarray, "splats"],
        partition: Partition | None,
    ) -> SegmentSummary:
        both = [labels for labels in (points, splats) if labels is not None]
        class_ids = np.concatenate([labels.class_ids for labels in both])
        confidence = np.concatenate([labels.confidence for labels in both]).astype(np.float64)
        count = np.bincount(class_ids + 1, minlength=len(self.vocabulary) + 1)
        sums = np.bincount(class_ids + 1, weights=confidence, minlength=len(self.vocabulary) + 1)
        shares = tuple(
            ClassShare(
                name,
                None if points is None else _share(points.class_ids == number),
                None if splats is None else _share(splats.class_ids == number),
                float(sums[number + 1] / count[number + 1]) if count[number + 1] else None,
            )
            for number, name in enumerate(self.vocabulary.names)
        )
        known = int(count[1:].sum())
        where = np.concatenate([np.zeros((0, 3)) if self.cloud is None else self.cloud.points_in_world, self._splat_centers()])
        return SegmentSummary(
            folder=self.folder,
            teacher=self.teacher.name,
            num_points=0 if points is None else len(points.class_ids),
            num_splats=0 if splats is None else len(splats.class_ids),
            classes=shares,
            objects=_found_objects(where, class_ids, point_objects, splat_objects, self.vocabulary.names),
            coverage_points=None if points is None else points.coverage,
            coverage_splats=None if splats is None else splats.coverage,
            mean_confidence=float(sums[1:].sum() / known) if known else 0.0,
            frames=len(self.target.frames),
            frames_without_answer=len(lifted.without_answer),
            answers_from_cache=self.teacher.found,
            segments=None if partition is None else partition.count,
            seconds=self.seconds,
            peak_memory_bytes=peak_resident_bytes(),
        )


_BOTH: tuple[Literal["splats", "points"], Literal["splats", "points"]] = ("splats", "points")


@final
class _Lifted:
    """What the views said about points and splats, added up."""

    def __init__(self, points: int, splats: int, question: ClassQuestion, logit_scale: float, votes: bool) -> None:
        self.question, self.logit_scale = question, logit_scale
        self.without_answer: list[str] = []
        self.views_done = 0
        self.any_answer = False
        self.kind: Literal["features", "probabilities"] = "features"
        self._points = FeatureSums(points)
        self._votes = VoteSums(points, len(question.vocabulary)) if votes and points else None
        self._splats, self._columns = splats, 0
        self._splat_sums: np.ndarray | None = None
        self._splat_weight = np.zeros(splats, dtype=np.float32)
        self._point_means: np.ndarray | None = None

    def add(self, field: DenseField, frame: Frame, pixels: ViewPixels | None, gaussians: Gaussians) -> None:
        """One view's answer."""
        self.any_answer, self.kind = True, field.kind
        table = self.question.scores(field)
        if pixels is not None:
            self._points.add(pixels.element, field, pixels.row, pixels.column)
            if self._votes is not None:
                self._add_votes(self._votes, DenseField(table, field.height, field.width, field.kind), pixels)
        if self._splats:
            self._add_splats(field, self._probabilities(table), frame, gaussians)

    def _add_votes(self, votes: VoteSums, scores: DenseField, pixels: ViewPixels) -> None:
        for begin in range(0, len(pixels), _ROWS):
            some = slice(begin, begin + _ROWS)
            rows = sample_field(scores, pixels.row[some], pixels.column[some])
            class_id, confidence = self._classified(rows)
            votes.add(pixels.element[some], class_id, confidence)

    def _add_splats(self, field: DenseField, probabilities: np.ndarray, frame: Frame, gaussians: Gaussians) -> None:
        """Features and class probabilities in one pass over the Gaussians."""
        self._columns = field.values.shape[2]
        both = DenseField(np.concatenate([field.values, probabilities], axis=2), field.height, field.width)
        rows, columns = field.values.shape[:2]
        per_cell = min(frame.camera.width / columns, frame.camera.height / rows)
        downscale = int(np.clip(per_cell / _PIXELS_PER_CELL, 1, _MOST_DOWNSCALE))
        seen = gaussian_features(gaussians, [frame.camera], lambda _: both, downscale=downscale)
        if self._splat_sums is None:
            self._splat_sums = np.zeros_like(seen.values)
        self._splat_sums += seen.values * seen.weight[:, None]
        self._splat_weight += seen.weight

    def _probabilities(self, scores: np.ndarray) -> Float32[np.ndarray, "rows columns classes"]:
        if self.question.text is None:
            return scores
        return class_probabilities(scores, self.question.vocabulary, self.logit_scale)

    def _classified(self, rows: Float32[np.ndarray, "n scores"]) -> tuple[Int32[np.ndarray, "n"], Float32[np.ndarray, "n"]]:
        if self.question.text is None:
            return classify_probabilities(rows)
        return classify_scores(rows, self.question.vocabulary, self.logit_scale)

    def point_means(self) -> tuple[Float32[np.ndarray, "n dim"], Float32[np.ndarray, "n"]]:
        """Mean over the views of each point, and how many there were."""
        if self._point_means is None:
            self._point_means = self._points.mean()
        return self._point_means, self._points.counts.astype(np.float32)

    def splat_means(self) -> tuple[Float32[np.ndarray, "n dim"], Float32[np.ndarray, "n"]]:
        """Weighted mean of each splat, and Σα·T."""
        assert self._splat_sums is not None
        weight = np.where(self._splat_weight > 0, self._splat_weight, 1.0)[:, None]
        return self._splat_sums[:, : self._columns] / weight, self._splat_weight

    def splat_votes(self) -> LabelField:
        """The class with the largest mean probability of each splat."""
        assert self._splat_sums is not None
        weight = np.where(self._splat_weight > 0, self._splat_weight, 1.0)[:, None]
        return LabelField(*classify_probabilities(self._splat_sums[:, self._columns :] / weight))

    def histogram(self) -> VoteHistogram:
        """Votes of the views per point."""
        assert self._votes is not None
        return self._votes.histogram()

    def classes_of(self, means: tuple[Float32[np.ndarray, "n dim"], Float32[np.ndarray, "n"]]) -> LabelField:
        """The class of each mean feature; −1 where nothing was seen."""
        values, weight = means
        class_ids, confidence = np.empty(len(values), dtype=np.int32), np.empty(len(values), dtype=np.float32)
        for begin in range(0, len(values), _ROWS):
            some = slice(begin, begin + _ROWS)
            rows = self.question.scores(DenseField(values[some, None], len(values[some]), 1, self.kind))[:, 0]
            class_ids[some], confidence[some] = self._classified(np.where(weight[some, None] > 0, rows, np.nan))
        return LabelField(class_ids, confidence)


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


def _check_same(path: Path, settings: Mapping[str, Any]) -> None:
    before = read_json_object(path).mapping("settings")
    different = [key for key, value in settings.items() if before.get(key) != value]
    if different:
        raise ConventionError(
            "--resume",
            expected="the settings the run was started with",
            got="others: " + ", ".join(different),
            fix="--overwrite starts anew; the teacher's answers are kept and used again where they fit",
        )


def _write_points(
    path: Path,
    cloud: PointCloud,
    labels: LabelField,
    objects: Int32[np.ndarray, "n"],
    colors_u8: np.ndarray,
) -> None:
    extra: dict[str, np.ndarray] = {"label": labels.class_ids, "instance": objects, "confidence": labels.confidence}
    if cloud.colors_u8 is not None:
        extra |= {name: np.ascontiguousarray(cloud.colors_u8[:, channel]) for channel, name in enumerate(PHOTO_COLUMNS)}
    write_points_ply(path, replace(cloud, colors_u8=np.ascontiguousarray(colors_u8)), extra=extra)


def _painted(gaussians: Gaussians, colors_u8: np.ndarray) -> Gaussians:
    """The Gaussians in flat colours."""
    colors = torch.from_numpy(colors_u8.astype(np.float32) / 255.0)
    return replace(gaussians, sh0=sh0_from_rgb(colors)[:, None, :], shN=gaussians.shN[:, :0])


def _found_objects(
    where: Float64[np.ndarray, "n 3"],
    class_ids: Int32[np.ndarray, "n"],
    point_objects: Int32[np.ndarray, "points"],
    splat_objects: Int32[np.ndarray, "splats"],
    names: Sequence[str],
) -> tuple[FoundObject, ...]:
    objects = np.concatenate([point_objects, splat_objects])
    order = np.argsort(objects, kind="stable")
    bounds = np.searchsorted(objects[order], np.arange(int(objects.max(initial=-1)) + 2))
    found = []
    for number in range(len(bounds) - 1):
        members = order[bounds[number] : bounds[number + 1]]
        points = int((members < len(point_objects)).sum())
        measured = members[members < len(point_objects)] if points else members
        low, high = axis_aligned_box(where[measured])
        middle = where[measured].mean(axis=0)
        center, lowest, highest = ((float(place[0]), float(place[1]), float(place[2])) for place in (middle, low, high))
        name = names[int(class_ids[members[0]])]
        found.append(FoundObject(number, name, points, len(members) - points, center, lowest, highest))
    return tuple(found)


def _share(of: Bool[np.ndarray, "n"]) -> float:
    return float(of.mean()) if len(of) else 0.0


def _json_values(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is None or isinstance(value, bool | int | float | str)}

"""From a scan and a teacher to what learning needs: everything that is the same in every epoch, done once.

Each used view is shown to the teacher, its answer classified at the pixels of a small picture, and points linked to the pixels
that show them.  Points are cut into geometric segments, pictures, where asked for, into regions; frozen features are kept on
their grid.  No truth enters.
"""

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Float64, Int32, UInt8

from scenewise.engine.data_hash import capture_hash
from scenewise.engine.progress import NullProgress, Progress
from scenewise.errors import CaptureWarning, ConventionError
from scenewise.io.captures import usable_frames
from scenewise.parts.lifting import ZBuffer, median_view_depth, visible_pixels
from scenewise.parts.points.settings import spread_evenly
from scenewise.parts.scans.feature_targets import FeatureTarget
from scenewise.parts.scans.scans import ScanView, TrainingScan
from scenewise.parts.segments.oversegmentation import mesh_segments, point_segments, scale_unit, supervoxels
from scenewise.parts.segments.point_normals import nearest_viewpoints, vertex_normals
from scenewise.parts.segments.segment_settings import compact_segments, smooth_segments
from scenewise.parts.sources.raw_scans import RawScan
from scenewise.parts.words.pixel_classes import ClassQuestion, classify_pixels
from scenewise.scenes.correspondences import Correspondence
from scenewise.scenes.dense_fields import DenseField
from scenewise.scenes.frames import Frame, ImageU8
from scenewise.scenes.label_fields import LabelField
from scenewise.scenes.partitions import Partition
from scenewise.scenes.point_clouds import PointCloud
from scenewise.teachers.protocol import Teacher
from scenewise.teachers.regions.choose import SAM_PREFIX
from scenewise.teachers.regions.protocol import RegionSource

_VERSION = 1  # of what is computed here; a new number makes prepared scans anew
_NAMED_AT_MOST = 5
_MOST_CELLS = 1 << 16  # of a target's grid: SAM's has 4096

SegmentKind = Literal["auto", "mesh", "neighbours", "supervoxels", "shipped"]


@dataclass(frozen=True)
class PreparationSettings:
    """What decides how a scan is prepared.

    Attributes:
        picture_width: of the pictures that are learned from, pixels; height in proportion.  Wider ones are not enlarged.
        most_views: views of a scan, spread evenly over its frames.
        depth_tolerance: metres between a point and the measured depth; None takes 0.05, or 2 % of the median depth where the
            scale is arbitrary.
        facing: leave out vertices of a mesh that look away from the camera; needs faces that are counter-clockwise from outside.
        segments: "auto": of the mesh where there are faces, else of nearest neighbours; "shipped": those of ScanNet's files,
            which know the borders of its truth and must be named wherever a figure is.
        segment_k: of mesh segments; ScanNet's.
        segment_min_size: vertices of a mesh segment at least; ScanNet's.
        denoising_threshold: classes that are nowhere in a picture so probable are left out of it; None leaves none out.
        regions: 2D sets of each picture: "slic", "felzenszwalb", "sam:NAME"; None for none.
        targets: frozen features; see :mod:`scenewise.parts.scans.feature_targets`; None for none.
        pictures: keep the pictures for a 2D student.
    """

    picture_width: int = 320
    most_views: int = 100
    depth_tolerance: float | None = None
    facing: bool = False
    segments: SegmentKind = "auto"
    segment_k: float = 0.01
    segment_min_size: int = 20
    denoising_threshold: float | None = None
    regions: str | None = None
    targets: str | None = None
    pictures: bool = True

    def __post_init__(self) -> None:
        for name in ("picture_width", "most_views", "segment_min_size"):
            if getattr(self, name) < 1:
                raise ConventionError(name, expected="at least 1", got=getattr(self, name))
        if self.depth_tolerance is not None and not 0 < self.depth_tolerance < np.inf:
            raise ConventionError("depth_tolerance", expected="metres above 0", got=self.depth_tolerance)
        if not self.segment_k >= 0:
            raise ConventionError("segment_k", expected="0 or more", got=self.segment_k)


@dataclass(frozen=True)
class ScanSummary:
    """What a preparation was like, for reports.

    Attributes:
        name: of the scan.
        points: in it.
        point_source: where they come from.
        pairs: rows of the table of points and pixels.
        views: that are used.
        without_answer: frames that the teacher (or the target) has nothing for, left out.
        points_labelled: share of points that some view gives a label.
        pixels_labelled: share of pixels with a label.
        segments: geometric sets.
        segment_source: what made them; "shipped" must be disclosed.
        inputs: "colour", "intensity" or "ones".
    """

    name: str
    points: int
    point_source: str
    pairs: int
    views: int
    without_answer: tuple[str, ...]
    points_labelled: float
    pixels_labelled: float
    segments: int
    segment_source: str
    inputs: Literal["colour", "intensity", "ones"]


@dataclass(frozen=True)
class PreparedScan:
    """A scan ready to learn from, and what to say about it."""

    scan: TrainingScan
    summary: ScanSummary


@dataclass(frozen=True)
class Instruments:
    """Whoever is asked during preparation.

    Attributes:
        teacher: names pixels.
        question: the classes in its words.
        regions: cuts pictures; None for none.
        target: frozen features; None for none.
    """

    teacher: Teacher
    question: ClassQuestion
    regions: RegionSource | None = None
    target: FeatureTarget | None = None


@dataclass(frozen=True)
class ScanAxes:
    """A scan's own axes: +Z up where that is known, metres, the origin near the middle.

    Attributes:
        rotation: scan_from_world.
        middle_in_world: origin.
        world_units_per_metre: 1 for metric captures.
    """

    rotation: Float64[np.ndarray, "3 3"]
    middle_in_world: Float64[np.ndarray, "3"]
    world_units_per_metre: float

    def __call__(self, points_in_world: Float64[np.ndarray, "n 3"]) -> Float32[np.ndarray, "n 3"]:
        """Positions in the scan's axes."""
        local = (points_in_world - self.middle_in_world) @ self.rotation.T / self.world_units_per_metre
        return np.ascontiguousarray(local, dtype=np.float32)


def scan_axes(raw: RawScan) -> ScanAxes:
    """The axes of a scan; where its scale is arbitrary, its median depth tells the unit.

    Raises:
        ConventionError: no point, or one that is not finite.
    """
    points = raw.cloud.points_in_world
    if not len(points):
        raise ConventionError(f"points of {raw.name}", expected="at least one", got="none")
    if not np.isfinite(points).all():
        bad = int((~np.isfinite(points)).any(axis=1).sum())
        raise ConventionError(
            f"points of {raw.name}", expected="finite positions", got=f"{bad} that are not", fix="drop those points first"
        )
    unit, up = 1.0, None
    if raw.capture is not None:
        up = raw.capture.up_in_world
        if raw.capture.scale == "arbitrary":
            cameras = [frame.camera for frame in raw.capture.frames_with_image]
            unit = scale_unit("arbitrary", median_view_depth(points, cameras))
    rotation = np.eye(3) if up is None else _z_from(up)
    return ScanAxes(rotation, (points.min(axis=0) + points.max(axis=0)) / 2, unit)


def bare_scan(raw: RawScan) -> TrainingScan:
    """Points without pictures and segments: what a trained network needs to name them, in the same order."""
    none = np.zeros(0, dtype=np.int32)
    count = len(raw.cloud)
    return TrainingScan(
        name=raw.name,
        points_in_scan=scan_axes(raw)(raw.cloud.points_in_world),
        inputs=point_inputs(raw)[0],
        segments=np.full(count, -1, dtype=np.int32),
        views=(),
        pixels=Correspondence(none.astype(np.int64), none, none, none, count, 0),
    )


def used_frames(raw: RawScan, settings: PreparationSettings) -> tuple[Frame, ...]:
    """The frames that are looked at.

    Raises:
        ConventionError: the scan has no pictures.
    """
    if raw.capture is None:
        raise ConventionError(f"scan {raw.name}", expected="pictures with poses to learn from", got="points alone")
    return spread_evenly(usable_frames(raw.capture), settings.most_views)


def scan_fingerprint(raw: RawScan, instruments: Instruments, settings: PreparationSettings) -> str:
    """SHA-256 over everything that shapes a prepared scan: data, settings, teacher, words, regions, targets."""
    assert raw.capture is not None
    used = replace(raw.capture, frames=used_frames(raw, settings), points=raw.cloud, test_names=frozenset())
    digest = hashlib.sha256(capture_hash(used).encode())
    for values in (None if raw.mesh is None else raw.mesh.faces, raw.intensity):
        digest.update(b"|" if values is None else np.ascontiguousarray(values).data)
    if settings.segments == "shipped" and raw.shipped_segments is not None:
        digest.update(np.ascontiguousarray(raw.shipped_segments().ids).data)
    digest.update(fingerprint_of_settings(instruments, settings).encode())
    digest.update(raw.name.encode())
    return digest.hexdigest()


def fingerprint_of_settings(instruments: Instruments, settings: PreparationSettings) -> str:
    """The part of :func:`scan_fingerprint` that all scans of a data set share."""
    question = instruments.question
    about: dict[str, Any] = {
        "version": _VERSION,
        "settings": asdict(settings),
        "teacher": instruments.teacher.fingerprint,
        "logit_scale": instruments.teacher.logit_scale,
        "classes": [question.vocabulary.names, question.vocabulary.phrases, question.vocabulary.templates],
        "columns": question.columns,
        "text": None if question.text is None else hashlib.sha256(np.ascontiguousarray(question.text).data).hexdigest(),
        "regions": None if instruments.regions is None else instruments.regions.fingerprint,
        "targets": None if instruments.target is None else instruments.target.fingerprint,
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def prepare_scan(
    raw: RawScan,
    instruments: Instruments,
    settings: PreparationSettings,
    progress: Progress | None = None,
    *,
    is_alone: bool = True,
) -> PreparedScan:
    """Everything learning needs of a scan; its points keep their number and order.

    The teacher sees the photographs in full, under the name ``scan/frame``.  Confidences are rounded to float16, as they are kept
    on the disk.

    Args:
        raw: the scan.
        instruments: who is asked.
        settings: how.
        progress: where to report; one stage for the views.
        is_alone: whether it is the only scan, so that frames may also be known to the teacher by their own names.

    Raises:
        ConventionError: no pictures, no answer to any of them, no point visible in any, or segments that cannot be had.
    """
    progress = NullProgress() if progress is None else progress
    frames = used_frames(raw, settings)
    assert raw.capture is not None
    views, shown, lacking = [], [], []
    with progress.stage(f"views of {raw.name}", len(frames)) as stage:
        for frame in frames:
            small = _small(frame, settings.picture_width)
            names = (f"{raw.name}/{frame.name}", *((frame.name,) if is_alone else ()))
            view = _view(frame, names, small, instruments, settings)
            if view is None:
                lacking.append(frame.name)
            else:
                views.append(view)
                shown.append(small)
            stage.advance()
    _check_answers(raw.name, instruments.teacher.name, lacking, len(frames))
    axes = scan_axes(raw)
    unit = axes.world_units_per_metre
    normals = vertex_normals(raw.mesh) if settings.facing and raw.mesh is not None else None
    pixels = visible_pixels(
        raw.cloud.points_in_world,
        shown,
        absolute_tolerance=None if settings.depth_tolerance is None else settings.depth_tolerance * unit,
        z_buffer=ZBuffer(cell=max(1, round(8 * shown[0].camera.width / frames[0].camera.width))),
        scale=raw.capture.scale,
        normals_in_world=normals,
    )
    if not len(pixels):
        raise ConventionError(
            f"points of {raw.name}",
            expected="some that its views show",
            got="none within the depth tolerance",
            fix="check that points and poses share one frame, and that depth is in the poses' units",
        )
    partition = _segments(raw, frames, settings, unit)
    inputs, kind = point_inputs(raw)
    scan = TrainingScan(
        name=raw.name,
        points_in_scan=axes(raw.cloud.points_in_world),
        inputs=inputs,
        segments=partition.ids,
        views=tuple(views),
        pixels=pixels,
    )
    summary = ScanSummary(
        name=raw.name,
        points=len(scan),
        point_source=raw.cloud_source,
        pairs=len(pixels),
        views=len(views),
        without_answer=tuple(lacking),
        points_labelled=labelled_share(scan),
        pixels_labelled=float(np.mean([view.labels.coverage for view in views])),
        segments=partition.count,
        segment_source="shipped" if settings.segments == "shipped" else partition.source,
        inputs=kind,
    )
    return PreparedScan(scan, summary)


# -------------------------------------------------------------------------------------------------------------------- views


def _small(frame: Frame, width: int) -> Frame:
    camera = frame.camera
    if camera.width <= width:
        return frame
    return frame.resized(width, max(1, round(camera.height * width / camera.width)))


def _view(
    frame: Frame, names: tuple[str, ...], small: Frame, instruments: Instruments, settings: PreparationSettings
) -> ScanView | None:
    """One picture with the teacher's answer; None where the teacher or the target has nothing for it."""
    assert frame.load_image is not None
    image = frame.load_image()
    field = _answer(instruments.teacher, image, names)
    if field is None:
        return None
    target = None
    if instruments.target is not None:
        target = instruments.target.grid(image, names)
        if target is None:
            return None
        if target.shape[0] * target.shape[1] > _MOST_CELLS:
            raise ConventionError(
                "targets", expected=f"at most {_MOST_CELLS:,} cells of a picture", got=f"{target.shape[0]}×{target.shape[1]}"
            )
    width, height = small.camera.width, small.camera.height
    pixels = image if small is frame else _resized(image, small)
    class_ids, confidence = classify_pixels(
        DenseField(field.values, height, width, field.kind),
        instruments.question,
        instruments.teacher.logit_scale,
        denoising_threshold=settings.denoising_threshold,
    )
    if small.load_mask is not None:
        kept = small.load_mask()
        class_ids, confidence = np.where(kept, class_ids, np.int32(-1)), np.where(kept, confidence, np.float32(0))
    regions = None if instruments.regions is None else _regions(instruments.regions, image, pixels)
    return ScanView(
        name=frame.name,
        labels=LabelField(class_ids, confidence.astype(np.float16).astype(np.float32)),
        image_u8=pixels if settings.pictures else None,
        regions=regions,
        targets=target,
    )


def _answer(teacher: Teacher, image: ImageU8, names: tuple[str, ...]) -> DenseField | None:
    return next((field for name in names if (field := teacher.dense(image, name)) is not None), None)


def _resized(image: ImageU8, small: Frame) -> UInt8[np.ndarray, "rows columns 3"]:
    """What ``small`` would decode, without decoding the photograph twice."""
    from PIL import Image

    size = (small.camera.width, small.camera.height)
    return np.ascontiguousarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))


def _regions(
    source: RegionSource, image: ImageU8, picture: UInt8[np.ndarray, "rows columns 3"]
) -> Int32[np.ndarray, "rows columns"]:
    """Sets of the picture's pixels; −1 in holes.  A SAM looks at the photograph, what cuts by colour at the picture."""
    if not source.name.startswith(SAM_PREFIX) or image.shape == picture.shape:
        return source.regions(picture).ids
    ids = source.regions(image).ids
    rows = ((np.arange(picture.shape[0]) + 0.5) * image.shape[0] / picture.shape[0]).astype(np.int64)
    columns = ((np.arange(picture.shape[1]) + 0.5) * image.shape[1] / picture.shape[1]).astype(np.int64)
    return Partition.from_any_ids(np.ascontiguousarray(ids[rows[:, None], columns[None, :]]), "sam").ids


def _check_answers(scan_name: str, teacher_name: str, lacking: Sequence[str], views: int) -> None:
    if len(lacking) == views:
        raise ConventionError(
            f"answers of {teacher_name} for {scan_name}",
            expected=f"one for some of its {views} views" + (f", such as {lacking[0]}" if lacking else ""),
            got="none",
            fix=f"name each file after its image, in a folder {scan_name}/ where several scans have images of one name",
        )
    if lacking:
        warnings.warn(
            f"{teacher_name} has nothing for {len(lacking)} of {views} views of {scan_name}: "
            + ", ".join(lacking[:_NAMED_AT_MOST])
            + (" …" if len(lacking) > _NAMED_AT_MOST else ""),
            CaptureWarning,
            stacklevel=3,
        )


# ------------------------------------------------------------------------------------------------------------------- points


def _segments(raw: RawScan, frames: Sequence[Frame], settings: PreparationSettings, unit: float) -> Partition:
    points, cloud = raw.cloud.points_in_world, raw.cloud
    kind = settings.segments
    if kind == "auto":
        kind = "neighbours" if raw.mesh is None else "mesh"
    if kind == "shipped":
        if raw.shipped_segments is None:
            raise ConventionError(
                "segments", expected="segments shipped with the scan", got=f"none for {raw.name}", fix='choose "auto"'
            )
        return raw.shipped_segments()
    if kind == "mesh":
        if raw.mesh is None:
            raise ConventionError("segments", expected=f"a mesh of {raw.name}", got="points alone", fix='choose "auto"')
        return mesh_segments(raw.mesh, settings.segment_k, settings.segment_min_size)
    if kind == "supervoxels":
        pieces = compact_segments(points, unit)
        return supervoxels(points, colors_u8=cloud.colors_u8, settings=pieces, scale_unit=unit)
    centers = np.stack([frame.camera.centers_in_world.numpy() for frame in frames])
    return point_segments(
        points,
        viewpoints=nearest_viewpoints(points, centers) if raw.sensor_in_world is None else raw.sensor_in_world,
        normals=cloud.normals_in_world,
        colors_u8=cloud.colors_u8,
        settings=smooth_segments(points, unit, colored=cloud.colors_u8 is not None),
        scale_unit=unit,
    )


def point_inputs(raw: RawScan) -> tuple[Float32[np.ndarray, "n channels"], Literal["colour", "intensity", "ones"]]:
    """What a network is given of each point, and what that is: colour / 127.5 − 1, or intensity, or ones."""
    if raw.cloud.colors_u8 is not None:
        return inputs_of_colors(raw.cloud), "colour"
    if raw.intensity is not None:
        return np.ascontiguousarray(raw.intensity[:, None], dtype=np.float32), "intensity"
    return np.ones((len(raw.cloud), 1), dtype=np.float32), "ones"


def inputs_of_colors(cloud: PointCloud) -> Float32[np.ndarray, "n 3"]:
    """Colour / 127.5 − 1."""
    assert cloud.colors_u8 is not None
    return cloud.colors_u8.astype(np.float32) / np.float32(127.5) - np.float32(1.0)


def labelled_share(scan: TrainingScan) -> float:
    """Share of points with a labelled pixel."""
    seen = np.zeros(len(scan), dtype=bool)
    for index, view in enumerate(scan.views):
        mine = scan.pixels.view == index
        labelled = view.labels.class_ids[scan.pixels.row[mine], scan.pixels.column[mine]] >= 0
        seen[scan.pixels.element[mine][labelled]] = True
    return float(seen.mean())


def _z_from(up: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3 3"]:
    """The shortest rotation that takes a direction to +Z.

    R = I + [v]× + [v]×² / (1 + c) with v = up × z and c = up·z (Rodrigues' formula for an axis between two unit vectors).
    """
    x, y, c = (float(value) for value in up / np.linalg.norm(up))
    if c < -1 + 1e-9:  # every half turn about a level axis is as short
        return np.diag([1.0, -1.0, -1.0])
    if x == 0 and y == 0:
        return np.eye(3)
    cross = np.array([[0.0, 0.0, -x], [0.0, 0.0, -y], [x, y, 0.0]])
    return np.eye(3) + cross + cross @ cross / (1 + c)

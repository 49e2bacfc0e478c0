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

from scenewise.engine.data_hash import capture_hash
from scenewise.engine.progress import NullProgress, Progress
from scenewise.errors import CaptureWarning, ConventionError
from scenewise.io.captures import usable_frames
from scenewise.parts.lifting import VisibilityTest, ZBuffer, visible_pixels
from scenewise.parts.points.settings import spread_evenly
from scenewise.parts.scans.bare_scans import point_inputs, scan_axes
from scenewise.parts.scans.scan_views import scan_view, small_frame
from scenewise.parts.scans.scans import ScanView, TrainingScan
from scenewise.parts.scans.settings import Instruments, PreparationSettings
from scenewise.parts.segments.oversegmentation import mesh_segments, point_segments, supervoxels
from scenewise.parts.segments.point_normals import nearest_viewpoints, vertex_normals
from scenewise.parts.segments.segment_settings import compact_segments, smooth_segments
from scenewise.parts.sources.raw_scans import RawScan
from scenewise.scenes.frames import Frame
from scenewise.scenes.partitions import Partition

_VERSION = 1  # of what is computed here; a new number makes prepared scans anew
_NAMED_AT_MOST = 5


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
        digest.update(b"" if raw.segments_from == "shipped" else raw.segments_from.encode())
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
    views: list[ScanView] = []
    shown, lacking = [], []
    with progress.stage(f"views of {raw.name}", len(frames)) as stage:
        for frame in frames:
            small = small_frame(frame, settings.picture_width)
            names = (f"{raw.name}/{frame.name}", *((frame.name,) if is_alone else ()))
            view = scan_view(frame, names, small, instruments, settings)
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
        VisibilityTest(
            absolute_tolerance=None if settings.depth_tolerance is None else settings.depth_tolerance * unit,
            z_buffer=ZBuffer(cell=max(1, round(8 * shown[0].camera.width / frames[0].camera.width))),
        ),
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
    source = raw.segments_from if settings.segments == "shipped" else partition.source
    return PreparedScan(scan, _summary(raw, scan, lacking, kind, partition.count, source))


def _summary(
    raw: RawScan,
    scan: TrainingScan,
    lacking: Sequence[str],
    inputs: Literal["colour", "intensity", "ones"],
    segments: int,
    segment_source: str,
) -> ScanSummary:
    return ScanSummary(
        name=raw.name,
        points=len(scan),
        point_source=raw.cloud_source,
        pairs=len(scan.pixels),
        views=len(scan.views),
        without_answer=tuple(lacking),
        points_labelled=labelled_share(scan),
        pixels_labelled=float(np.mean([view.labels.coverage for view in scan.views])),
        segments=segments,
        segment_source=segment_source,
        inputs=inputs,
    )


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


def labelled_share(scan: TrainingScan) -> float:
    """Share of points with a labelled pixel."""
    seen = np.zeros(len(scan), dtype=bool)
    for index, view in enumerate(scan.views):
        mine = scan.pixels.view == index
        labelled = view.labels.class_ids[scan.pixels.row[mine], scan.pixels.column[mine]] >= 0
        seen[scan.pixels.element[mine][labelled]] = True
    return float(seen.mean())

"""``segment`` and ``query`` on real captures, end to end, with figures and pictures to look at.

    python -m scenewise.studies real_scenes [nuscenes_mini redkitchen_rgbd] [--data ROOT] [--out FOLDER] [--json]

nuscenes_mini      Six cameras label a LiDAR sweep.  The teacher is the annotation itself, the 3D boxes drawn into the cameras,
                   and the truth is which points lie in which box.  What is measured is therefore lifting and voting (the chain
                   of poses, what hides what, silhouettes that also show what is behind and between), not recognition.
redkitchen_rgbd    A kitchen is reconstructed and labelled twice: by the embedded model, which has only seen procedural rooms
                   (what its names are worth here is for the eye), and by surfaces told from the depth alone: there the names of
                   points are compared with what the same teacher says about views that were not used.  Then texts are looked
                   for.

Captures that are not below ROOT are left out and named.  Pictures stay in FOLDER: the captures' licences do not allow more.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
from tyro.conf import Positional

from scenewise.commands.query.options import QueryOptions
from scenewise.commands.query.run import query
from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.commands.reconstruct.run import reconstruct
from scenewise.commands.segment.options import SegmentOptions
from scenewise.commands.segment.run import segment
from scenewise.commands.segment.summary import SegmentSummary
from scenewise.engine.progress import NullProgress, Progress, console_progress
from scenewise.errors import ScenewiseError
from scenewise.io.captures import open_capture
from scenewise.io.nuscenes.keyframes import read_nuscenes
from scenewise.io.ply.points import read_points_ply
from scenewise.io.scene_folder import POINTS_FILE, read_scene, read_scene_labels
from scenewise.io.teacher_files import TEACHER_FILE, find_answer, read_answer, read_teacher_info
from scenewise.io.vocabularies import VOCABULARY_FILE, read_vocabulary
from scenewise.metrics.segmentation import ConfusionMatrix
from scenewise.parts.lifting import stream_visible_pixels
from scenewise.parts.points.settings import spread_evenly
from scenewise.scenes.captures import Capture
from scenewise.studies.bench import data_root
from scenewise.studies.real.captures import Figures, Report, captures_there, reporter, require_known
from scenewise.studies.real.pictures import draw_sweep, draw_top_view, splat_pictures, teacher_pictures
from scenewise.studies.real.teachers import points_in_boxes, scored_boxes, write_box_teacher, write_surface_teacher
from scenewise.teachers.small_clip import WEIGHTS

QUERIES = {"small_clip": ("monitor", "floor", "something to sit on"), "surfaces": ("floor", "table top", "monitor")}
"""Asked of each; the surfaces know no monitor, and say so."""
MINUTES = 1.0
FRAMES = 40


def nuscenes(capture_folder: Path, out: Path, report: Report) -> Figures:
    """Boxes drawn into six cameras, back onto the sweep; accuracy against the boxes themselves."""
    keyframe = read_nuscenes(capture_folder)
    started = time.monotonic()
    names = write_box_teacher(out / "teacher", keyframe)
    boxes, _ = scored_boxes(keyframe)
    teacher_seconds = time.monotonic() - started
    assert keyframe.capture.points is not None
    points = keyframe.capture.points.points_in_world
    truth = points_in_boxes(points, boxes, names)
    found: Figures = {
        "points": len(points),
        "points_of_class": dict(zip(names, np.bincount(truth, minlength=len(names)).tolist())),
        "teacher_seconds": teacher_seconds,
    }
    votes: tuple[Literal["view", "set"], ...] = ("view", "set")
    for vote in votes:
        folder = out / vote
        summary = _segment(
            SegmentOptions(target=(capture_folder,), out=folder, teacher=f"files:{out / 'teacher'}", vote=vote, overwrite=True)
        )
        labels = read_scene_labels(folder, "points")
        assert labels is not None and len(labels) == len(points)
        seen = labels.class_ids >= 0
        matrix, everywhere = ConfusionMatrix(names), ConfusionMatrix(names)
        matrix.update(np.where(seen, labels.class_ids, -1), np.where(seen, truth, -1))
        everywhere.update(labels.class_ids, truth)
        scores, strict = matrix.scores(), everywhere.scores()
        found[vote] = {
            "coverage": summary.coverage_points,
            "accuracy": scores.all_accuracy,
            "miou": scores.miou,
            "accuracy_in_boxes": float((labels.class_ids == truth)[seen & (truth > 0)].mean()),
            "miou_of_all_points": strict.miou,
            "iou": dict(zip(names, scores.iou.tolist())),
            "seconds": summary.seconds,
        }
        report(
            f"nuscenes_mini, {vote} vote: {summary.coverage_points:.1%} of {len(points):,} points named; of those "
            f"{scores.all_accuracy:.1%} right, mIoU {scores.miou:.3f}; in boxes {found[vote]['accuracy_in_boxes']:.1%} right"
        )
        report("  IoU: " + ", ".join(f"{name} {value:.2f}" for name, value in zip(names, scores.iou)))
        draw_sweep(out / f"cameras_{vote}.png", keyframe.capture, labels.class_ids, names)
        draw_top_view(out / f"above_{vote}.png", points, labels.class_ids, names, np.array([0.0, 0.0, 1.0]))
    draw_top_view(out / "above_truth.png", points, truth, names, np.array([0.0, 0.0, 1.0]))
    return found


def kitchen(capture_folder: Path, out: Path, report: Report) -> Figures:
    """Reconstruct, name with two teachers, ask."""
    scene = out / "scene"
    found: Figures = {}
    if not (scene / "scene.json").exists():
        started = time.monotonic()
        made = reconstruct(ReconstructOptions(capture_folder, scene, downscale=2, minutes=MINUTES, overwrite=scene.exists()))
        found["reconstruct_seconds"] = time.monotonic() - started
        report(f"redkitchen_rgbd: reconstructed in {found['reconstruct_seconds']:.0f} s, {made.steps} steps")
    capture = open_capture(capture_folder, factor=2)
    if not (out / "teacher" / TEACHER_FILE).exists():
        started = time.monotonic()
        shares = write_surface_teacher(out / "teacher", capture.frames_with_image)
        found["teacher_seconds"] = time.monotonic() - started
        report("  surfaces in the depth maps: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items()))
    teacher_pictures(out / "teacher.png", capture.frames_with_image, out / "teacher")
    found["weights_of"] = datetime.fromtimestamp(WEIGHTS.stat().st_mtime, tz=UTC).isoformat(timespec="minutes")
    for name, teacher in (("small_clip", "small-clip"), ("surfaces", f"files:{out / 'teacher'}")):
        folder = out / name
        if not folder.exists():
            shutil.copytree(scene, folder)
        summary = _segment(SegmentOptions(target=(folder,), teacher=teacher, frames=FRAMES, overwrite=True))
        found[name] = {
            "coverage_splats": summary.coverage_splats,
            "coverage_points": summary.coverage_points,
            "mean_confidence": summary.mean_confidence,
            "shares": {entry.name: entry.splats for entry in summary.classes if entry.splats},
            "seconds": summary.seconds,
        }
        shares_text = ", ".join(
            f"{entry.name} {entry.splats:.0%}" for entry in sorted(summary.classes, key=lambda entry: -(entry.splats or 0))[:6]
        )
        report(
            f"redkitchen_rgbd, {name}: {summary.coverage_splats:.1%} of {summary.num_splats:,} splats named ({shares_text}), "
            + ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in summary.seconds.items())
        )
        splat_pictures(out / f"{name}.png", folder, capture)
        labels = read_scene_labels(folder, "points")
        names, up = read_vocabulary(folder / VOCABULARY_FILE)[0].names, read_scene(folder).up_in_world
        if labels is not None and up is not None:
            points = read_points_ply(folder / POINTS_FILE).points_in_world
            draw_top_view(out / f"above_{name}.png", points, labels.class_ids, names, up)
        if name == "surfaces":
            found[name]["agreement"] = agreement = agreement_elsewhere(folder, out / "teacher", capture)
            report(f"  points agree with the teacher in {agreement['views']} views that were not used: {agreement['share']:.1%}")
        found[name]["queries"] = {text: _asked(folder, text, report) for text in QUERIES[name]}
    return found


def agreement_elsewhere(folder: Path, teacher: Path, capture: Capture) -> Figures:
    """How often the name of a visible point is what the teacher says there in views that played no part in naming it."""
    cloud, labels = read_points_ply(folder / POINTS_FILE), read_scene_labels(folder, "points")
    assert labels is not None
    used = {frame.name for frame in spread_evenly(capture.frames_with_image, FRAMES)}
    others = [frame for frame in capture.frames_with_image if frame.name not in used][::4]
    info = read_teacher_info(teacher)
    same = compared = 0
    for pixels in stream_visible_pixels(cloud.points_in_world, others):
        path = find_answer(teacher, others[pixels.view].name)
        said = None if path is None else read_answer(path, info).labels
        assert said is not None
        there, ours = said[pixels.row, pixels.column], labels.class_ids[pixels.element]
        both = (there >= 0) & (ours >= 0)
        same, compared = same + int((there == ours)[both].sum()), compared + int(both.sum())
    return {"views": len(others), "share": same / max(1, compared)}


def _segment(options: SegmentOptions) -> SegmentSummary:
    summary = segment(options, _progress())
    assert isinstance(summary, SegmentSummary)
    return summary


def _asked(folder: Path, text: str, report: Report) -> Figures:
    started = time.monotonic()
    try:
        answer = query(QueryOptions(folder, text), _progress())
    except ScenewiseError as error:  # words that a teacher does not know are part of what is tried out
        report(f"  {text!r}: {error}")
        return {"error": str(error)}
    seconds = time.monotonic() - started
    best = answer.answers[0] if answer.answers else None
    report(
        f"  {text!r}: {len(answer.answers)} places in {seconds:.1f} s"
        + (
            ""
            if best is None
            else f"; best {best.name}, score {best.score:.2f}, size {' × '.join(f'{s:.2f}' for s in best.box_size)}"
        )
    )
    return {"places": len(answer.answers), "seconds": seconds, "threshold": answer.threshold}


def _progress() -> Progress:
    return console_progress() if sys.stderr.isatty() else NullProgress()


CAPTURES: Mapping[str, Callable[[Path, Path, Report], Figures]] = {"nuscenes_mini": nuscenes, "redkitchen_rgbd": kitchen}


@dataclass(frozen=True)
class Options:
    """Of this study.

    Attributes:
        captures: by name; by default all.
        data: folder of all captures.
        out: folder of scenes and pictures.
        json: print one JSON object.
    """

    captures: Positional[tuple[str, ...]] = ()
    data: Path = field(default_factory=data_root)
    out: Path = Path("build/real_scenes")
    json: bool = False

    def __post_init__(self) -> None:
        require_known(self.captures, CAPTURES)


def main(options: Options) -> int:
    """Prints what was found, or one JSON object."""
    report = reporter(options.json)
    found: Figures = {}
    for name, folder in captures_there(options.captures, {name: name for name in CAPTURES}, options.data):
        (options.out / name).mkdir(parents=True, exist_ok=True)
        found[name] = CAPTURES[name](folder, options.out / name, report)
    if options.json:
        print(json.dumps(found))
    return 0

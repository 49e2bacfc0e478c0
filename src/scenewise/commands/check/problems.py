"""What is wrong with a capture, how much it matters, and what to do about it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from scenewise.commands.check.calibration import Calibration
from scenewise.commands.check.depth import DepthQuality
from scenewise.commands.check.images import ImageQuality
from scenewise.commands.check.masks import MaskFindings
from scenewise.commands.check.place import GeoreferenceSummary
from scenewise.commands.check.poses import Coverage, PoseHealth
from scenewise.errors import CaptureWarning
from scenewise.io.captures import COMPANION_FIX, ENOUGH_FRAMES, ENOUGH_SHARE, missing_companions
from scenewise.scenes.captures import Capture

Severity = Literal["error", "warning", "note"]

_FEW_VIEWS = 20
_LISTED_AT_MOST = 8


@dataclass(frozen=True)
class Problem:
    """Something to know or to mend.

    Attributes:
        severity: "error" stops a reconstruction, "warning" harms it, "note" is worth knowing.
        message: what is wrong, with the file or frame.
        fix: what to do.
    """

    severity: Severity
    message: str
    fix: str


def problems_of(
    capture: Capture,
    poses: PoseHealth | None,
    images: ImageQuality | None,
    coverage: Coverage | None,
    calibration: Calibration | None,
    georeference: GeoreferenceSummary | None,
    masks: MaskFindings | None = None,
    *,
    depth: DepthQuality | None = None,
    notices: Sequence[CaptureWarning] = (),
) -> tuple[Problem, ...]:
    """Everything that deserves to be known of what was found, most severe first."""
    found = [Problem("warning", notice.message, notice.fix or "look at what is named") for notice in notices]
    _file_problems(capture, images, found)
    if depth is not None:
        _depth_problems(depth, found)
    _mask_problems(capture, masks, found)
    if poses is not None:
        _pose_problems(poses, found)
    if images is not None:
        _pixel_problems(images, found)
    if coverage is not None:
        _coverage_problems(coverage, found)
    if calibration is not None and calibration.worst_px > calibration.limit_px:
        found.append(_calibration_problem(capture, calibration))
    if georeference is not None and georeference.rms_error_m is not None and georeference.rms_error_m > 10:
        found.append(
            Problem(
                "warning",
                f"positions and GPS differ by {georeference.rms_error_m:.1f} m on average",
                "check that GPS entries belong to these photographs, and their altitudes",
            )
        )
    if capture.scale == "arbitrary" and georeference is None:
        found.append(
            Problem(
                "note",
                "the scale is arbitrary: distances are in the units of the poses, not in metres",
                "add GPS positions or a depth sensor if you want to measure",
            )
        )
    order = {"error": 0, "warning": 1, "note": 2}
    return tuple(sorted(found, key=lambda problem: order[problem.severity]))


def _file_problems(capture: Capture, images: ImageQuality | None, found: list[Problem]) -> None:
    missing, usable = capture.missing_frames, capture.frames_with_image
    if missing:
        enough = len(usable) >= ENOUGH_FRAMES or len(usable) >= ENOUGH_SHARE * len(capture.frames)
        paths = [str(frame.image_path if frame.image_path is not None else capture.root / frame.name) for frame in missing]
        found.append(
            Problem(
                "warning" if enough and len(usable) >= 2 else "error",
                f"{len(missing)} of {len(capture.frames)} listed images are missing: {_named(paths)}",
                "restore them, or remove them from the list",
            )
        )
    for bad in () if images is None else images.unreadable:
        reason = bad.reason.removeprefix(bad.path).lstrip(": ")
        found.append(Problem("error", f"{bad.path} cannot be read: {reason}", "replace the file, or remove it from the list"))
    if images is not None and images.float_pictures:
        found.append(
            Problem(
                "note",
                f"{images.float_pictures} images hold floating-point numbers, which are read as sRGB in [0, 1]",
                "convert them to 8 bits if they are linear light or of another range",
            )
        )
    if len(capture.train_frames) < 2:
        found.append(
            Problem("error", f"{len(capture.train_frames)} training images in {capture.root}", "at least two are needed")
        )
    elif len(capture.train_frames) < _FEW_VIEWS:
        found.append(
            Problem(
                "note", f"only {len(capture.train_frames)} training images", "more views from more places give better geometry"
            )
        )
    if not capture.test_frames:
        found.append(
            Problem("note", "no view is held out, so nothing can be measured afterwards", "hold some out: --test-every 8")
        )


def _depth_problems(depth: DepthQuality, found: list[Problem]) -> None:
    if depth.unreadable:
        message, _, fix = depth.unreadable[0].partition(". Fix: ")
        of = f" ({len(depth.unreadable)} of {depth.measured} depth maps looked at cannot be read)"
        found.append(Problem("error", message + of, fix or "replace the depth maps, or remove them from the list"))
    if depth.empty:
        found.append(
            Problem(
                "warning",
                f"{len(depth.empty)} of {depth.measured} depth maps looked at hold no measurement: {_named(depth.empty)}",
                "check that they were written with their 16 bits, or leave them out",
            )
        )
    if depth.stretched:
        found.append(
            Problem(
                "warning",
                f"{len(depth.stretched)} of {depth.measured} depth maps looked at have other proportions than their photographs "
                f"and are stretched over them: {_named(depth.stretched)}",
                "pad them where they were cut, or give the depth camera's own intrinsics (README, RGB-D folders)",
            )
        )


def _mask_problems(capture: Capture, masks: MaskFindings | None, found: list[Problem]) -> None:
    for kind, paths in missing_companions(capture):
        names = _named([str(path) for path in paths])
        found.append(Problem("warning", f"{len(paths)} listed {kind}s are missing: {names}", COMPANION_FIX))
    if masks is None:
        return
    for name, reason in masks.unreadable:
        found.append(Problem("error", f"the mask of {name} cannot be used: {reason}", "replace the mask, or remove it"))
    if masks.empty:
        found.append(
            Problem(
                "warning",
                f"{len(masks.empty)} masks are all black, so nothing of these photographs is used: {_named(masks.empty)}",
                "white is what is used: make these masks again, or remove the photographs",
            )
        )
    if masks.unmasked:
        found.append(
            Problem(
                "note",
                f"{len(masks.unmasked)} photographs have no mask and are used whole: {_named(masks.unmasked)}",
                "add masks under the same names if something in them must not be learned",
            )
        )


def _pose_problems(poses: PoseHealth, found: list[Problem]) -> None:
    for group in poses.duplicates:
        found.append(
            Problem("warning", f"the same pose {len(group)} times: {_named(group)}", "remove copies, or pose them again")
        )
    for name in poses.strays:
        found.append(
            Problem("warning", f"{name} stands far away from all other cameras", "its pose is probably wrong: remove or redo it")
        )
    if len(poses.view_groups) > 1:
        rest = [name for group in poses.view_groups[1:] for name in group]
        found.append(
            Problem(
                "warning",
                f"the views fall into {len(poses.view_groups)} groups without overlap "
                f"({', '.join(str(len(group)) for group in poses.view_groups[:_LISTED_AT_MOST])}); outside the largest: "
                f"{_named(rest)}",
                "photograph the way between the groups, or reconstruct them apart",
            )
        )
    if poses.extent == 0:
        found.append(Problem("error", "all cameras stand at one point: there is no parallax", "move between photographs"))
    elif poses.median_angle_deg < 1 and len(poses.view_groups[0]) > 1:
        found.append(
            Problem(
                "warning",
                f"neighbouring views differ by {poses.median_angle_deg:.2f}° only: depth will be poorly determined",
                "add photographs from farther to the side",
            )
        )
    if poses.layout == "outward":
        found.append(
            Problem(
                "note",
                "the cameras look away from a common point",
                "right for a room photographed from its middle; if they were meant to face an object, the poses' axes are "
                "flipped (OpenGL cameras look along −Z, OpenCV along +Z)",
            )
        )


def _pixel_problems(images: ImageQuality, found: list[Problem]) -> None:
    if images.blurred:
        names = [f"{one.name} ({one.sharpness:.0%} of the median)" for one in images.blurred]
        found.append(
            Problem("warning", f"{len(names)} blurred images: {_named(names)}", "take them again, or remove them from the list")
        )
    if images.exposure_jumps:
        names = [f"{jump.name} (×{jump.gain:.2f})" for jump in images.exposure_jumps]
        found.append(
            Problem(
                "warning",
                f"{len(names)} images much lighter or darker than what overlaps them: {_named(names)}",
                "leave them out where other views show the same, and lock exposure and white balance next time; "
                "scenewise eval also measures after colour correction",
            )
        )


def _calibration_problem(capture: Capture, calibration: Calibration) -> Problem:
    parts = []
    if calibration.error_px is not None:
        parts.append(f"{calibration.error_px:.1f} px from where other views expect them")
    if calibration.error_with_depth_px is not None:
        parts.append(f"{calibration.error_with_depth_px:.1f} px from where the depth of another view puts them")
    return Problem(
        "warning",
        f"poses or intrinsics do not fit the pictures: features are seen {' and '.join(parts)} (median; up to "
        f"{calibration.limit_px:.1f} px is usual)",
        f"scenewise poses {capture.root} --refine --out CAPTURE2, then reconstruct that",
    )


def _coverage_problems(coverage: Coverage, found: list[Problem]) -> None:
    if coverage.points_in_front is not None and coverage.points_in_front < 0.3:
        found.append(
            Problem(
                "error",
                f"only {coverage.points_in_front:.0%} of the points lie in front of the cameras",
                "points and poses are in different frames, or the poses' axes are flipped (OpenGL −Z, OpenCV +Z)",
            )
        )
    if coverage.thin_share is not None and coverage.thin_share > 0.2:
        found.append(
            Problem(
                "warning",
                f"{coverage.thin_share:.0%} of the points are seen by fewer than three views",
                "photograph the edges of the scene again from more places",
            )
        )
    gap = coverage.largest_gap_deg
    if gap is not None and coverage.gap_toward_deg is not None and gap > 60:
        found.append(
            Problem(
                "note",
                f"no camera stands within an arc of {gap:.0f}° around the scene (towards azimuth {coverage.gap_toward_deg:.0f}°)",
                "what faces that way will be guessed; add views there if it matters",
            )
        )


def _named(names: list[str] | tuple[str, ...]) -> str:
    shown = ", ".join(names[:_LISTED_AT_MOST])
    return shown if len(names) <= _LISTED_AT_MOST else f"{shown} and {len(names) - _LISTED_AT_MOST} more"

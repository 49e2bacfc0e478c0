"""``scenewise check``: looks at a capture before minutes or hours are spent on it."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64
from rich.text import Text

from scenewise.commands.check.images import ImageQuality, image_quality
from scenewise.commands.check.options import CheckOptions
from scenewise.commands.check.poses import Coverage, PoseHealth, coverage_of, pose_health, view_geometry
from scenewise.engine.memory import text_from_bytes
from scenewise.engine.progress import NullProgress, Progress, duration_text
from scenewise.errors import ConventionError
from scenewise.io.captures import ENOUGH_FRAMES, ENOUGH_SHARE, open_capture, usable_frames
from scenewise.methods.gaussian_splatting.config import preset
from scenewise.parts.points.from_depth import points_from_depth
from scenewise.parts.points.settings import spread_evenly
from scenewise.parts.splats.building import DEFAULT_CACHE_BYTES
from scenewise.parts.splats.memory import decoded_bytes, training_memory
from scenewise.scenes.captures import Capture

Severity = Literal["error", "warning", "note"]

# Time of one training step on one core in ms: a + b per 1,000 pixels + c per 1,000 Gaussians (269×479 pixels, 10k to 100k
# Gaussians, degree-3 colour), on n threads divided by n^d.  The machine decides a factor of two either way.
_STEP_MS = 1.5
_STEP_MS_PER_KILOPIXEL = 0.075
_STEP_MS_PER_KILOGAUSSIAN = 0.35
_THREAD_EXPONENT = 0.65
_MATCH_SECONDS_PER_VIEW = 0.4  # features and matching of one view on one core
_MEAN_SHARE_OF_CAP = 0.7  # Gaussians over a run, as a share of what it ends with

_DEPTH_FRAMES, _DEPTH_POINTS = 24, 4000
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


@dataclass(frozen=True)
class GeoreferenceSummary:
    """Where the capture lies.

    Attributes:
        epsg: code of the projected system.
        metres_per_unit: scale of the fit.
        offset: projected coordinates of the world origin.
        rms_error_m: residual of the fit, None when the transform was given.
    """

    epsg: int
    metres_per_unit: float
    offset: tuple[float, float, float]
    rms_error_m: float | None


@dataclass(frozen=True)
class Prediction:
    """What a reconstruction with the default settings will take.

    Attributes:
        steps: optimiser steps.
        gaussians: cap it will work under.
        initial_points: where it will start: "capture", "depth" or "matches".
        memory_bytes: peak resident memory.
        seconds: training time on ``threads`` threads, without decoding; good to a factor of two.
        threads: assumed.
        megabytes_on_disk: size of the splats as .ply.
    """

    steps: int
    gaussians: int
    initial_points: Literal["capture", "depth", "matches"]
    memory_bytes: int
    seconds: float
    threads: int
    megabytes_on_disk: float


@dataclass(frozen=True)
class CheckReport:
    """Everything ``scenewise check`` found.

    Attributes:
        capture: folder.
        source_format: how it was read.
        preset: data set preset, or None.
        listed: frames listed.
        images: of them with an image file.
        train: training views.
        test: held-out views.
        image_sizes: how many frames have which size ("width×height").
        has_depth: frames with a depth map.
        has_masks: frames with a mask.
        points: points of the capture.
        missing: paths of missing image files by folder.
        poses: positions, directions and connections; None without images.
        images_quality: blur, exposure, unreadable files; None without images.
        coverage: from where the scene is seen; None without images.
        scale: "metric" or "arbitrary".
        up_in_world: away from the ground, None when unknown.
        georeference: where the capture lies, or None.
        prediction: memory and time, or None without training images.
        problems: most severe first.
        seconds: how long the check took.
    """

    capture: str
    source_format: str
    preset: str | None
    listed: int
    images: int
    train: int
    test: int
    image_sizes: Mapping[str, int]
    has_depth: int
    has_masks: int
    points: int
    missing: Mapping[str, tuple[str, ...]]
    poses: PoseHealth | None
    images_quality: ImageQuality | None
    coverage: Coverage | None
    scale: str
    up_in_world: tuple[float, float, float] | None
    georeference: GeoreferenceSummary | None
    prediction: Prediction | None
    problems: tuple[Problem, ...]
    seconds: float

    @property
    def worst(self) -> Severity | None:
        """The most severe kind of problem, None when there is none."""
        return self.problems[0].severity if self.problems else None

    def text(self) -> str:
        """The report for people."""
        return render_check(self).plain


def check_command(options: CheckOptions, progress: Progress) -> CheckReport:
    """What the command line runs.

    Raises:
        DataFormatError: the capture cannot be read; with ``strict``, too, when an image is missing.
        ConventionError: with ``strict``, when there is any error or warning; all of them are named.
    """
    capture = open_capture(options.capture, preset=options.preset, factor=options.downscale, background=options.background)
    report = check_capture(capture, progress=progress)
    if options.strict:
        usable_frames(capture, strict=True)
        serious = [problem for problem in report.problems if problem.severity != "note"]
        if serious:
            raise ConventionError(
                str(options.capture),
                expected="a capture without errors and warnings",
                got="; ".join(problem.message for problem in serious),
                fix=serious[0].fix,
            )
    return report


def check_capture(capture: Capture, *, threads: int = 2, progress: Progress | None = None) -> CheckReport:
    """Examines poses, files, pixels, coverage, scale and place of a capture, and predicts what training will take.

    Nothing is written.  Images are decoded once, at most about 200 megapixels of them (an even sample of larger captures).

    Args:
        capture: as opened, missing images included.
        threads: workers that decode, and the threads the prediction assumes.
        progress: shows how many images are decoded.

    Returns:
        The findings; problems are sorted by severity.
    """
    started = time.monotonic()
    progress = NullProgress() if progress is None else progress
    frames = capture.frames_with_image
    poses = images = coverage = prediction = None
    if frames:
        surface = _surface(capture, threads)
        geometry = view_geometry(frames, surface)
        poses = pose_health(tuple(frame.name for frame in frames), geometry)
        coverage = coverage_of(geometry, poses.layout, capture.up_in_world, surface)
        images = image_quality(frames, geometry.neighbours, threads=threads, progress=progress)
    if capture.train_frames:
        prediction = predict(capture, threads)
    georeference = None
    if capture.georeference is not None:
        place = capture.georeference
        east, north, height = (float(value) for value in place.offset)
        georeference = GeoreferenceSummary(place.epsg, place.scale, (east, north, height), place.rms_error)
    sizes: dict[str, int] = {}
    for frame in capture.frames:
        size = f"{frame.camera.width}×{frame.camera.height}"
        sizes[size] = sizes.get(size, 0) + 1
    missing: dict[str, list[str]] = {}
    for frame in capture.missing_frames:
        path = frame.image_path if frame.image_path is not None else capture.root / frame.name
        missing.setdefault(str(path.parent), []).append(str(path))
    problems = _problems(capture, poses, images, coverage, georeference)
    up = None if capture.up_in_world is None else tuple(float(value) for value in capture.up_in_world)
    return CheckReport(
        capture=str(capture.root),
        source_format=capture.source_format,
        preset=capture.preset,
        listed=len(capture.frames),
        images=len(frames),
        train=len(capture.train_frames),
        test=len(capture.test_frames),
        image_sizes=sizes,
        has_depth=sum(frame.load_depth is not None for frame in capture.frames),
        has_masks=sum(frame.load_mask is not None for frame in capture.frames),
        points=0 if capture.points is None else len(capture.points),
        missing={folder: tuple(paths) for folder, paths in missing.items()},
        poses=poses,
        images_quality=images,
        coverage=coverage,
        scale=capture.scale,
        up_in_world=up if up is None else (up[0], up[1], up[2]),
        georeference=georeference,
        prediction=prediction,
        problems=problems,
        seconds=time.monotonic() - started,
    )


def _surface(capture: Capture, threads: int) -> Float64[np.ndarray, "m 3"] | None:
    """Some points on the surface: the capture's own, or from a few depth maps."""
    if capture.points is not None and len(capture.points):
        points = capture.points.points_in_world
        usable = np.isfinite(points).all(axis=1)
        return points[usable] if usable.any() else None
    measured = tuple(frame for frame in capture.train_frames if frame.load_depth is not None)
    if not measured:
        return None
    try:
        cloud = points_from_depth(spread_evenly(measured, _DEPTH_FRAMES), maximum=_DEPTH_POINTS, threads=threads)
    except (OSError, ValueError):  # a broken file; the pass over the images names it
        return None
    return cloud.points_in_world if len(cloud) else None


def predict(capture: Capture, threads: int) -> Prediction:
    """Memory and time of a reconstruction with the default settings, from the constants above."""
    frames = capture.train_frames
    config = preset("fast", data_set=capture.preset)
    gaussians = config.strategy.max_gaussians or 1_000_000
    pixels = float(np.median([frame.camera.width * frame.camera.height for frame in frames]))
    step_ms = (
        _STEP_MS + _STEP_MS_PER_KILOPIXEL * pixels / 1000 + _STEP_MS_PER_KILOGAUSSIAN * _MEAN_SHARE_OF_CAP * gaussians / 1000
    )
    seconds = config.steps * step_ms / 1000 / threads**_THREAD_EXPONENT
    source: Literal["capture", "depth", "matches"] = "matches"
    if capture.points is not None and len(capture.points):
        source = "capture"
    elif any(frame.load_depth is not None for frame in frames):
        source = "depth"
    else:
        seconds += _MATCH_SECONDS_PER_VIEW * min(len(frames), 400) / threads
    cache_bytes = min(DEFAULT_CACHE_BYTES, decoded_bytes(frames, config.resolution.factors))
    estimate = training_memory(frames, sh_degree=config.sh.highest, cache_bytes=cache_bytes, matches=source == "matches")
    memory = estimate.total(gaussians)
    floats = 11 + 3 * (config.sh.highest + 1) ** 2
    return Prediction(config.steps, gaussians, source, memory, seconds, threads, gaussians * floats * 4 / 1e6)


# ---------------------------------------------------------------------------------------------------------------- problems


def _problems(
    capture: Capture,
    poses: PoseHealth | None,
    images: ImageQuality | None,
    coverage: Coverage | None,
    georeference: GeoreferenceSummary | None,
) -> tuple[Problem, ...]:
    found: list[Problem] = []
    _file_problems(capture, images, found)
    if poses is not None:
        _pose_problems(poses, found)
    if images is not None:
        _pixel_problems(images, found)
    if coverage is not None:
        _coverage_problems(coverage, found)
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
        found.append(Problem("note", "no view is held out, so nothing can be measured afterwards", "use a preset, or a split"))


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
                "reconstruct with --exposure-compensation, and lock the exposure next time",
            )
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


# ------------------------------------------------------------------------------------------------------------------ text

_STYLES: Mapping[Severity, str] = {"error": "bold red", "warning": "yellow", "note": "cyan"}


def render_check(report: CheckReport) -> Text:
    """The report as coloured text; ``.plain`` without colours.  Every missing path is listed."""
    text = Text()

    def line(label: str, value: str) -> None:
        text.append(f"{label:<14}", style="bold")
        text.append(value + "\n")

    read_as = f"{report.source_format}, preset {report.preset}" if report.preset else report.source_format
    line("capture", f"{report.capture} ({read_as})")
    sizes = ", ".join(f"{count} of {size}" for size, count in report.image_sizes.items())
    line("images", f"{report.images} of {report.listed} listed; {report.train} train, {report.test} held out; {sizes}")
    extras = [f"{report.points:,} points"] if report.points else []
    extras += [f"depth for {report.has_depth}"] if report.has_depth else []
    extras += [f"masks for {report.has_masks}"] if report.has_masks else []
    line("besides", ", ".join(extras) or "no points, no depth, no masks")
    if report.poses is not None:
        poses = report.poses
        line(
            "poses",
            f"{poses.layout}, spacing {poses.median_spacing:.3g}, extent {poses.extent:.3g}, scene at {poses.median_depth:.3g}; "
            f"{poses.median_angle_deg:.1f}° to the nearest view, {len(poses.view_groups)} connected "
            f"{'group' if len(poses.view_groups) == 1 else 'groups'}",
        )
    if report.coverage is not None:
        line("coverage", _coverage_text(report.coverage))
    if report.images_quality is not None:
        quality = report.images_quality
        line(
            "pixels",
            f"{quality.measured} decoded: {len(quality.unreadable)} unreadable, {len(quality.blurred)} blurred, "
            f"{len(quality.exposure_jumps)} exposure jumps, brightness spread ×{quality.exposure_spread:.2f}",
        )
    up = "unknown" if report.up_in_world is None else ", ".join(f"{value:.2f}" for value in report.up_in_world)
    line("scale, up", f"{report.scale}; up is ({up})" if report.up_in_world is not None else f"{report.scale}; up unknown")
    if report.georeference is not None:
        place = report.georeference
        residual = "given" if place.rms_error_m is None else f"residual {place.rms_error_m:.2f} m"
        line("place", f"EPSG:{place.epsg}, {place.metres_per_unit:.4g} m per unit, {residual}")
    if report.prediction is not None:
        guess = report.prediction
        line(
            "prediction",
            f"about {duration_text(guess.seconds)} on {guess.threads} threads and {text_from_bytes(guess.memory_bytes)} of "
            f"memory for {guess.steps:,} steps, up to {guess.gaussians:,} Gaussians ({guess.megabytes_on_disk:.0f} MB), "
            f"starting from {_SOURCES[guess.initial_points]}",
        )
    for folder, paths in report.missing.items():
        text.append(f"\nmissing in {folder}\n", style="bold")
        for path in paths:
            text.append(f"  {path}\n")
    text.append("\n")
    if not report.problems:
        text.append("no problems found\n", style="green")
    for problem in report.problems:
        text.append(f"{problem.severity:<8}", style=_STYLES[problem.severity])
        text.append(f"{problem.message}\n        → {problem.fix}\n")
    text.append(f"checked in {report.seconds:.1f} s")
    return text


_SOURCES = {
    "capture": "the capture's points",
    "depth": "its depth maps",
    "matches": "points triangulated from feature matches",
}


def _coverage_text(coverage: Coverage) -> str:
    parts = []
    if coverage.sectors_seen is not None and coverage.elevations_deg is not None and coverage.largest_gap_deg is not None:
        low, high = coverage.elevations_deg
        parts.append(
            f"cameras in {coverage.sectors_seen} of 12 directions, elevation {low:.0f}° to {high:.0f}°, "
            f"largest gap {coverage.largest_gap_deg:.0f}°"
        )
    if coverage.views_per_point is not None and coverage.thin_share is not None:
        low, middle, high = coverage.views_per_point
        parts.append(
            f"a point is seen by {middle:.0f} views ({low:.0f} to {high:.0f}), {coverage.thin_share:.0%} by fewer than three"
        )
    return "; ".join(parts) or "unknown until points are triangulated"

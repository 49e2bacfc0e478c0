"""Everything that was found, as a record and as text for people."""

from collections.abc import Mapping
from dataclasses import dataclass

from rich.text import Text

from scenewise.commands.check.calibration import Calibration
from scenewise.commands.check.images import ImageQuality
from scenewise.commands.check.masks import MaskFindings
from scenewise.commands.check.place import GeoreferenceSummary
from scenewise.commands.check.poses import Coverage, PoseHealth
from scenewise.commands.check.prediction import Prediction
from scenewise.commands.check.problems import Problem, Severity
from scenewise.engine.memory import text_from_bytes
from scenewise.engine.progress import duration_text


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
        alpha_masks: of them, those that the transparency of the photograph makes.
        masks: what they leave of the photographs; None without masks.
        points: points of the capture.
        missing: paths of missing image files by folder.
        poses: positions, directions and connections; None without images.
        images_quality: blur, exposure, unreadable files; None without images.
        coverage: from where the scene is seen; None without images.
        calibration: how well poses and intrinsics fit the pictures; None where that cannot be measured.
        scale: "metric" or "arbitrary".
        up_in_world: away from the ground, None when unknown.
        origin_in_source: the local origin that is worked about, in the capture's own coordinates; zeros where these stay.
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
    alpha_masks: int
    masks: MaskFindings | None
    points: int
    missing: Mapping[str, tuple[str, ...]]
    poses: PoseHealth | None
    images_quality: ImageQuality | None
    coverage: Coverage | None
    calibration: Calibration | None
    scale: str
    up_in_world: tuple[float, float, float] | None
    origin_in_source: tuple[float, float, float]
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
    if report.has_masks:
        used = None if report.masks is None else report.masks.mean_used
        of_alpha = f", {report.alpha_masks} of them transparency" if report.alpha_masks else ""
        extras.append(f"masks for {report.has_masks}{of_alpha}" + ("" if used is None else f" ({used:.0%} of their pixels used)"))
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
    if report.calibration is not None:
        line("calibration", _calibration_text(report.calibration))
    if report.images_quality is not None:
        quality = report.images_quality
        line(
            "pixels",
            f"{quality.measured} decoded: {len(quality.unreadable)} unreadable, {len(quality.blurred)} blurred, "
            f"{len(quality.exposure_jumps)} exposure jumps, brightness spread ×{quality.exposure_spread:.2f}",
        )
    up = "unknown" if report.up_in_world is None else ", ".join(f"{value:.2f}" for value in report.up_in_world)
    line("scale, up", f"{report.scale}; up is ({up})" if report.up_in_world is not None else f"{report.scale}; up unknown")
    if any(report.origin_in_source):
        origin = ", ".join(f"{value:,.6g}" for value in report.origin_in_source)
        line("origin", f"worked about a local origin at ({origin}) of the capture's coordinates, undone on export")
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
        if guess.blocks is not None:
            each = guess.blocks
            many = "1 block" if each.blocks == 1 else f"{each.blocks} blocks"
            line(
                "in blocks",
                f"--method momentum_gs: {many} of up to {each.anchors:,} anchors, about {duration_text(each.seconds)} and "
                f"{text_from_bytes(each.memory_bytes)}, one at a time",
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


def _calibration_text(calibration: Calibration) -> str:
    if calibration.error_px is None and calibration.error_with_depth_px is None:
        return f"unknown: too few features match between {calibration.views} views"
    parts = []
    if calibration.error_px is not None:
        parts.append(f"{calibration.error_px:.2f} px between views")
    if calibration.error_with_depth_px is not None:
        parts.append(f"{calibration.error_with_depth_px:.2f} px by the depth of one")
    return f"features lie {', '.join(parts)} from where the poses expect them (median; {calibration.views} views)"


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

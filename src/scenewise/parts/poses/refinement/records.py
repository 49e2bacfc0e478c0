"""What is known once the poses of a capture are refined."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scenewise.engine.progress import duration_text

_LISTED_AT_MOST = 8
_DEPTH_LEFT_OUT = (
    "its depth maps are left out: they belong to photographs of more than one camera, and an RGB-D folder knows one. "
    "Fix: refine the views of each camera apart"
)


@dataclass(frozen=True)
class RefinedLens:
    """One camera, shared by the views it took.

    Attributes:
        views: that it took.
        width: of the photographs, in pixels.
        height: likewise.
        model_before: COLMAP's name of the given lens.
        model: of the adjusted one.
        focal_px_before: both axes.
        focal_px: both axes.
        distortion_before: the model's parameters behind the principal point.
        distortion: likewise.
    """

    views: int
    width: int
    height: int
    model_before: str
    model: str
    focal_px_before: tuple[float, float]
    focal_px: tuple[float, float]
    distortion_before: tuple[float, ...]
    distortion: tuple[float, ...]


@dataclass(frozen=True)
class RefinedDepth:
    """The depth camera beside the colour camera.

    Attributes:
        error_before_m: median difference between triangulated points and depth maps, with everything as given.
        error_m: the same as refined.
        measured: points compared.
        offset_mm: where the colour camera stands in the depth camera's axes.
        turn_deg: angle between the two.
        transform_given: whether the capture told the transform, which was then kept.
    """

    error_before_m: float | None
    error_m: float
    measured: int
    offset_mm: tuple[float, float, float]
    turn_deg: float
    transform_given: bool


@dataclass(frozen=True)
class PosesRefined:
    """What ``scenewise poses --refine`` made.

    Attributes:
        capture: the folder.
        source: the capture it was made from.
        written_as: layout of the folder.
        split_file: names of the held-out views, where the layout cannot tell them; for ``--split-file``.
        views: how many there are, held-out ones among them.
        adjusted: how many have a new pose.
        kept_pose: names of the others, which show too little that other views show.
        tracks: points seen by three views or more that were used.
        sightings: of them.
        agreeing: share of the sightings that agree with their point after the refinement.
        reprojection_px_before: median over all sightings, in pixels of the photographs, with everything as given.
        reprojection_px: the same as refined.
        lenses: one per camera.
        metric: whether a world unit is a metre.
        moved: median distance between a camera's given and its new place, world units.
        moved_most: the largest.
        turned_deg: median angle likewise.
        turned_most_deg: the largest.
        scale_change: length of the world after ÷ before; 1 where nothing but the given poses tells the scale.
        given_poses_follow: whose poses the given ones look like.
        depth: of captures with depth.
        depth_left_out: there are depth maps, of more than one camera, and the layout has no place for them.
        seconds: all of it took.
    """

    capture: Path
    source: Path
    written_as: Literal["rgbd", "colmap"]
    split_file: Path | None
    views: int
    adjusted: int
    kept_pose: tuple[str, ...]
    tracks: int
    sightings: int
    agreeing: float
    reprojection_px_before: float | None
    reprojection_px: float | None
    lenses: tuple[RefinedLens, ...]
    metric: bool
    moved: float
    moved_most: float
    turned_deg: float
    turned_most_deg: float
    scale_change: float
    given_poses_follow: Literal["color", "depth"]
    depth: RefinedDepth | None
    depth_left_out: bool
    seconds: float

    @property
    def warnings(self) -> tuple[str, ...]:
        """What deserves attention, each with what to do."""
        said = (_DEPTH_LEFT_OUT,) if self.depth_left_out else ()
        if not self.kept_pose:
            return said
        more = len(self.kept_pose) - _LISTED_AT_MOST
        shown = ", ".join(self.kept_pose[:_LISTED_AT_MOST]) + (f" and {more} more" if more > 0 else "")
        return (
            *said,
            f"{len(self.kept_pose)} of {self.views} views share too little with others and keep their given pose: {shown}. "
            "Fix: leave them out, or add views between them and the others",
        )

    def text(self) -> str:
        """A few lines for people: before → after."""
        lines = [
            f"{self.capture}: {self.adjusted} of {self.views} views adjusted, {self.tracks:,} points in {self.sightings:,} "
            f"sightings, {duration_text(self.seconds)}",
            f"reprojection error: median {_px(self.reprojection_px_before)} → {_px(self.reprojection_px)}; "
            f"{self.agreeing:.0%} of the sightings agree",
        ]
        for lens in self.lenses:
            lines.append(
                f"camera of {lens.views} views {lens.width}×{lens.height}: focal length {_focal(lens.focal_px_before)} → "
                f"{_focal(lens.focal_px)} px, distortion {_numbers(lens.distortion_before)} → {_numbers(lens.distortion)}"
            )
        length = (lambda value: f"{1000 * value:.1f} mm") if self.metric else (lambda value: f"{value:.3g} units")
        lines.append(
            f"poses moved by {length(self.moved)} and {self.turned_deg:.2f}° (median), at most {length(self.moved_most)} and "
            f"{self.turned_most_deg:.2f}°"
        )
        if self.depth is not None:
            depth = self.depth
            offset = ", ".join(f"{value:.1f}" for value in depth.offset_mm)
            lines.append(
                f"colour camera in the depth camera's axes: ({offset}) mm, turned by {depth.turn_deg:.2f}°"
                + (" (as given)" if depth.transform_given else "")
                + f"; the given poses follow the {'colour' if self.given_poses_follow == 'color' else 'depth'} camera"
            )
            before = "unknown" if depth.error_before_m is None else f"{100 * depth.error_before_m:.1f} cm"
            lines.append(
                f"depth error: median {before} → {100 * depth.error_m:.1f} cm at {depth.measured:,} points; "
                f"scale of the poses × {self.scale_change:.4f}"
            )
        lines += [f"warning: {warning}" for warning in self.warnings]
        split = "" if self.split_file is None else f" --split-file {self.split_file}"
        lines.append(f"next: scenewise reconstruct {self.capture} --out SCENE{split}")
        return "\n".join(lines)


def _px(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f} px"


def _focal(values: tuple[float, float]) -> str:
    one, two = values
    return f"{one:.1f}" if abs(one - two) < 0.05 else f"{one:.1f}, {two:.1f}"


def _numbers(values: tuple[float, ...]) -> str:
    return "none" if not any(values) else ", ".join(f"{value:.4f}" for value in values)

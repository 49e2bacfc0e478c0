"""Captures of any kind as scans: photographs with poses, RGB-D frames."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scenewise.engine.progress import NullProgress, Progress
from scenewise.io.captures import open_capture, usable_frames
from scenewise.io.rgbd.capture_json import read_class_names
from scenewise.io.rgbd.ids import read_class_ids
from scenewise.parts.points.choose import InitialPoints, initial_points
from scenewise.parts.sources.raw_scans import FrameTruths, RawScan, Truth
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame
from scenewise.scenes.point_clouds import PointCloud

MADE_POINTS = 200_000
"""Points of a scan at most, where a capture has none and they are made of depth or matches."""


@dataclass(frozen=True)
class CaptureScan:
    """Any capture: photographs with poses, RGB-D frames.  Points are its own, or made of depth or matches.

    Attributes:
        folder: of the capture.
        name: of the scan.
        class_names: of an RGB-D capture that has them per pixel.
        max_points: where they are made.
        seed: of that.
    """

    folder: Path
    name: str
    class_names: tuple[str, ...] = ()
    max_points: int = MADE_POINTS
    seed: int = 0

    def open(self) -> RawScan:
        capture = open_capture(self.folder)
        if capture.points is not None and len(capture.points):
            return RawScan(self.name, capture.points, f"points of {capture.root.name}", capture=capture)
        frames = usable_frames(capture)
        made = points_of_views(capture, frames, maximum=self.max_points, seed=self.seed)
        return RawScan(self.name, made.cloud, made.provenance, capture=capture)

    def capture(self) -> Capture | None:
        return open_capture(self.folder)

    def points(self) -> PointCloud:
        return self.open().cloud

    def truth(self) -> Truth | None:
        return None

    def frame_truths(self) -> FrameTruths:
        frames = {frame.name: frame for frame in open_capture(self.folder).frames}
        return lambda name: read_class_ids(frames[name]) if name in frames else None


def capture_scan(folder: Path, *, max_points: int = MADE_POINTS, seed: int = 0) -> CaptureScan:
    """The capture in a folder, with the classes its frames are labelled with."""
    return CaptureScan(folder, folder.resolve().name, tuple(read_class_names(folder) or ()), max_points, seed)


def points_of_views(
    capture: Capture,
    frames: Sequence[Frame],
    *,
    maximum: int,
    seed: int = 0,
    threads: int = 1,
    progress: Progress | None = None,
) -> InitialPoints:
    """Points of a capture that has none: from the depth of some of its frames, or from matches between them.

    Held-out frames count as well: what is named is no reconstruction that they could judge.
    """
    views = replace(capture, test_names=frozenset(), frames=tuple(frames))
    progress = NullProgress() if progress is None else progress
    return initial_points(views, maximum=maximum, seed=seed, threads=threads, progress=progress, trim_far=False)

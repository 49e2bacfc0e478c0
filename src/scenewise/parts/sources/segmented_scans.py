"""Scans with a person's own sets of points."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.segments import SEGMENT_ENDINGS, read_segments
from scenewise.parts.sources.raw_scans import FrameTruths, RawScan, ScanSource, Truth
from scenewise.scenes.captures import Capture
from scenewise.scenes.partitions import Partition
from scenewise.scenes.point_clouds import PointCloud


@dataclass(frozen=True)
class SegmentedScan:
    """A scan whose segments are in a file; see :mod:`scenewise.io.segments` for what that may be.

    Attributes:
        source: the scan.
        path: of the file: an id for each point, in the order of the points.
    """

    source: ScanSource
    path: Path

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.source.class_names

    def open(self) -> RawScan:
        raw = self.source.open()

        def segments() -> Partition:
            return read_segments(self.path, count=len(raw.cloud))

        return replace(raw, shipped_segments=segments, segments_from="file")

    def capture(self) -> Capture | None:
        return self.source.capture()

    def points(self) -> PointCloud:
        return self.source.points()

    def truth(self) -> Truth | None:
        return self.source.truth()

    def frame_truths(self) -> FrameTruths:
        return self.source.frame_truths()


def with_segments(sources: Sequence[ScanSource], path: Path) -> tuple[ScanSource, ...]:
    """The scans with the segments of a file, or of a folder with a file for each, named after the scan.

    Raises:
        DataFormatError: nothing is there, or a scan has no file in the folder.
        ConventionError: one file for several scans.
    """
    if not path.exists():
        raise DataFormatError(path, expected="a file with a segment per point, or a folder of them", got="nothing")
    if path.is_dir():
        return tuple(SegmentedScan(source, _file_of(path, source.name)) for source in sources)
    if len(sources) != 1:
        raise ConventionError(
            "--segments",
            expected=f"a folder with a file for each of the {len(sources)} scans, such as {sources[0].name}.npy",
            got=f"one file, {path.name}",
        )
    return (SegmentedScan(sources[0], path),)


def _file_of(folder: Path, name: str) -> Path:
    found = next((folder / f"{name}{ending}" for ending in SEGMENT_ENDINGS if (folder / f"{name}{ending}").is_file()), None)
    if found is None:
        raise DataFormatError(
            folder,
            expected=f"{name} with the ending {', '.join(SEGMENT_ENDINGS)}",
            got="none",
            fix="name each file after its scan",
        )
    return found

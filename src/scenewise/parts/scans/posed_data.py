"""How scans of any source become posed scans, or are found as such: one by one, kept in files, some pictures held out."""

import hashlib
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from scenewise.engine.data_hash import capture_hash
from scenewise.engine.progress import NullProgress, Progress
from scenewise.errors import CaptureWarning, ConventionError, DataFormatError, ShapeError
from scenewise.io.captures import usable_frames
from scenewise.io.json_values import canonical_json, fingerprint_of
from scenewise.io.product_kinds import POSED_SCAN, safe_stem
from scenewise.parts.points.settings import spread_evenly
from scenewise.parts.scans.posed_files import DEFAULT_MEMORY, PosedScanFiles
from scenewise.parts.scans.posed_scans import write_posed_scan
from scenewise.parts.scans.posing import PosingSettings, posed_scan, posed_scan_fingerprint
from scenewise.parts.sources.capture_scans import CaptureScan
from scenewise.parts.sources.raw_scans import RawScan, ScanSource
from scenewise.scenes.captures import every_nth_name
from scenewise.scenes.point_clouds import PointCloud
from scenewise.teachers.protocol import Teacher

HOLDOUT = 8
"""Every so many pictures of a scan one is held out, where the capture does not say itself which are."""
_NAMED_AT_MOST = 5


@dataclass(frozen=True)
class WeightedScan:
    """A scan to learn from.

    Attributes:
        source: where it is read.
        name: what it is called.
        weight: how often it is drawn beside the others.
        origin: what a person named: the folder or the manifest's entry that it is from.
    """

    source: ScanSource
    name: str
    weight: float
    origin: str


@dataclass(frozen=True)
class PosedEntry:
    """A posed scan in its file, and which of its pictures are learned from.

    Attributes:
        name: of the scan.
        path: of its file.
        fingerprint: of what it was made from.
        weight: how often it is drawn beside the others.
        learned: pictures that are learned from.
        held_out: pictures that are measured on, perhaps none.
    """

    name: str
    path: Path
    fingerprint: str
    weight: float
    learned: tuple[int, ...]
    held_out: tuple[int, ...]


@dataclass(frozen=True)
class PosedData:
    """Posed scans in files.

    Attributes:
        scans: those that can be used.
        licences: of the data by their origin; None = unknown.
        skipped: scans that could not be used, and why.
    """

    scans: tuple[PosedEntry, ...]
    licences: Mapping[str, str | None]
    skipped: Mapping[str, str]

    def __len__(self) -> int:
        return len(self.scans)

    def to_learn(self, max_bytes: int = DEFAULT_MEMORY) -> PosedScanFiles:
        """All scans with the pictures that are learned from; of ``max_bytes`` in memory at most."""
        weights = [scan.weight for scan in self.scans]
        return _files(self.scans, [scan.learned for scan in self.scans], weights, max_bytes)

    def to_measure(self) -> PosedScanFiles | None:
        """Scans that have held-out pictures with these alone, one in memory; None where there are none."""
        measured = [scan for scan in self.scans if scan.held_out]
        return _files(measured, [scan.held_out for scan in measured], None, 0) if measured else None

    def joined(self, other: "PosedData") -> "PosedData":
        """These scans, then the others."""
        return PosedData((*self.scans, *other.scans), {**self.licences, **other.licences}, {**self.skipped, **other.skipped})

    def to_text(self) -> str:
        """As JSON, for the other processes of a run."""
        return canonical_json(self)

    @staticmethod
    def from_text(text: str) -> "PosedData":
        """The inverse of :meth:`to_text`."""
        told = json.loads(text)
        scans = tuple(
            PosedEntry(**{**scan, "path": Path(scan["path"]), **{name: tuple(scan[name]) for name in ("learned", "held_out")}})
            for scan in told["scans"]
        )
        return PosedData(scans, told["licences"], told["skipped"])


def _files(
    scans: Sequence[PosedEntry], views: Sequence[Sequence[int]], weights: Sequence[float] | None, max_bytes: int
) -> PosedScanFiles:
    return PosedScanFiles([scan.path for scan in scans], [scan.fingerprint for scan in scans], weights, max_bytes, views)


def split_frames(raw: RawScan, most: int) -> tuple[RawScan, tuple[int, ...]]:
    """A scan with the frames that are kept, and which of these are held out: the capture's own test frames, or each eighth.

    An eighth of the frames that are kept are held-out ones, where there are so many; both kinds are spread evenly.

    Args:
        raw: with pictures.
        most: frames that are kept at most.

    Raises:
        ConventionError: no pictures, or none to learn from.
    """
    if raw.capture is None:
        raise ConventionError(f"scan {raw.name}", expected="pictures with poses to learn from", got="points alone")
    frames = usable_frames(raw.capture)
    names = {frame.name for frame in frames}
    held_out = raw.capture.test_names & names or every_nth_name(frames, HOLDOUT)
    if len(names) == 1 or most == 1:
        held_out = frozenset()
    if held_out == names:
        raise ConventionError(f"scan {raw.name}", expected="pictures to learn from", got="a split that holds all of them out")
    tested = spread_evenly(tuple(frame for frame in frames if frame.name in held_out), max(1, most // HOLDOUT))
    learned = spread_evenly(tuple(frame for frame in frames if frame.name not in held_out), most - len(tested))
    chosen = {frame.name for frame in (*tested, *learned)}
    kept = tuple(frame for frame in frames if frame.name in chosen)
    rows = tuple(row for row, frame in enumerate(kept) if frame.name in held_out)
    return replace(raw, capture=replace(raw.capture, frames=kept)), rows


def posed_data(
    scans: Sequence[WeightedScan], teacher: Teacher, settings: PosingSettings, folder: Path, progress: Progress | None = None
) -> PosedData:
    """Makes scans posed ones, or finds them in files; what was stopped goes on with the scan it was at.

    Scans that cannot be used are left out with a warning: without pictures or colours, or damaged.

    Args:
        scans: where they are read, and their weights; no two have the same name.
        teacher: has an answer to every picture.
        settings: how much is kept of each.
        folder: of the files; several data sets and settings may lie there side by side.
        progress: where to report.

    Raises:
        ConventionError: no scan is left.
        ResourceError: the disk is full or the folder cannot be written.
    """
    progress = NullProgress() if progress is None else progress
    kept: list[PosedEntry] = []
    skipped: dict[str, str] = {}
    licences: dict[str, set[str | None]] = {}
    found = 0
    with progress.stage("prepare scans", len(scans)) as stage:
        for each in scans:
            try:
                entry, licence, is_new = _prepared(each, teacher, settings, folder, progress)
            except (ConventionError, DataFormatError, ShapeError) as error:
                skipped[each.name] = str(error)
            else:
                kept.append(entry)
                licences.setdefault(each.origin, set()).add(licence)
                found += not is_new
            stage.advance(1, cached=found, skipped=len(skipped))
    _tell_skipped(skipped, kept, len(scans))
    return PosedData(tuple(kept), {origin: _licence(of_scans) for origin, of_scans in licences.items()}, skipped)


def _prepared(
    each: WeightedScan, teacher: Teacher, settings: PosingSettings, folder: Path, progress: Progress
) -> tuple[PosedEntry, str | None, bool]:
    """A scan in its file, its licence, and whether it was made now."""
    raw, made_from = _recognised(each)
    raw, held_out = split_frames(raw, settings.most_views)
    assert raw.capture is not None
    fingerprint = posed_scan_fingerprint(raw, teacher, settings)
    if made_from is not None:
        fingerprint = fingerprint_of([fingerprint, made_from])
    path = POSED_SCAN.path(folder, safe_stem(each.name), fingerprint)
    is_new = not (path.exists() and POSED_SCAN.is_kind_of(path))
    if is_new:
        whole = raw if made_from is None else replace(raw, cloud=each.source.open().cloud)
        folder.mkdir(parents=True, exist_ok=True)
        write_posed_scan(path, posed_scan(whole, teacher, settings, progress), fingerprint)
    learned = tuple(row for row in range(len(raw.capture.frames)) if row not in held_out)
    return PosedEntry(each.name, path, fingerprint, each.weight, learned, held_out), raw.capture.licence, is_new


def _recognised(scan: WeightedScan) -> tuple[RawScan, str | None]:
    """A scan as far as it takes to find it in its file, and what its points will be made from.

    Points that have yet to be made are not: that takes long, and they follow from the frames of the capture.
    """
    source = scan.source
    if not isinstance(source, CaptureScan):
        return replace(source.open(), name=scan.name), None
    capture = source.capture()
    assert capture is not None, "a capture"
    if capture.points is not None and len(capture.points):
        return RawScan(scan.name, capture.points, f"points of {capture.root.name}", capture=capture), None
    raw = RawScan(scan.name, PointCloud(np.zeros((0, 3))), "points to be made", capture=capture)
    depths = (frame.load_depth for frame in capture.frames_with_image if frame.load_depth is not None)
    first = next((hashlib.sha256(load().tobytes()).hexdigest() for load in depths), None)
    return raw, fingerprint_of([capture_hash(capture), first, source.max_points, source.seed])


def _tell_skipped(skipped: Mapping[str, str], kept: Sequence[PosedEntry], count: int) -> None:
    named = "; ".join(f"{name} ({why})" for name, why in list(skipped.items())[:_NAMED_AT_MOST])
    more = f" and {len(skipped) - _NAMED_AT_MOST} more" if len(skipped) > _NAMED_AT_MOST else ""
    if not kept:
        raise ConventionError("scans", expected="at least one that can be learned from", got=f"none of {count}: {named}{more}")
    if skipped:
        warnings.warn(f"{count - len(kept)} of {count} scans are left out: {named}{more}", CaptureWarning, stacklevel=3)


def _licence(of_scans: set[str | None]) -> str | None:
    return None if None in of_scans else "; ".join(sorted(str(licence) for licence in of_scans))

"""Scans in the layout of 3DSSG on 3RScan, with what a CLIP saw of their things on the scans' own photographs."""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import torch

from scenewise.engine.data_hash import capture_hash
from scenewise.engine.progress import NullProgress, Progress
from scenewise.errors import CaptureWarning, DataFormatError
from scenewise.io.json_values import fingerprint_of
from scenewise.io.product_kinds import THING_PICTURES
from scenewise.io.products import made
from scenewise.io.tensor_files import read_tensors, write_tensors
from scenewise.io.three_rscan.metadata import Split
from scenewise.io.three_rscan.scans import SCAN_FOLDERS, read_three_rscan
from scenewise.io.three_rscan.sequences import INFO_FILE, SEQUENCE_FOLDER, read_three_rscan_capture
from scenewise.io.views import is_file
from scenewise.methods.vl_sat.pictures import KEPT_VIEWS, ThingPictures, thing_pictures
from scenewise.methods.vl_sat.seen import SeenScan, ThingClip
from scenewise.scenes.captures import Capture
from scenewise.scenes.graph_scans import GraphScan

_ENTRY = "thing_pictures"
_METHOD = 1  # part of every fingerprint; raise it when the same photographs begin to give other features
_FIX = "delete it; it is made again"


@dataclass(frozen=True)
class ScanReading:
    """How much of a data set is read.

    Attributes:
        max_points: of each thing.
        every: take every n-th photograph.
    """

    max_points: int = 1024
    every: int = 10


@dataclass(frozen=True)
class SeenScans:
    """The sub-scans of a split.

    Attributes:
        scans: with at least two things each.
        classes: names of things.
        predicates: names of relations.
        photographed: scans whose photographs are there; 0 where nobody asked for them.
    """

    scans: tuple[SeenScan, ...]
    classes: tuple[str, ...]
    predicates: tuple[str, ...]
    photographed: int = 0


def read_seen_scans(
    root: Path,
    split: Split,
    reading: ScanReading,
    clip: ThingClip | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> SeenScans:
    """The sub-scans of a split, in the frame that their words for directions are of: that of the room's first scan.

    All things of a scan are looked for in its photographs at once, in the frame of its own cameras and however many sub-scans
    they are in; what is found is kept.

    Args:
        root: the folder of the data.
        split: "train" or "validation".
        reading: how much of it.
        clip: what looks at the things; None reads no photographs.
        cache: where its answers are kept; needed with a CLIP.
        progress: where to report.

    Raises:
        DataFormatError: see :func:`scenewise.io.three_rscan.scans.read_three_rscan`; no sub-scan has two things.
    """
    read = read_three_rscan(root, split, max_points=reading.max_points)
    seen = None if clip is None or cache is None else _Looking(root, split, reading, clip, cache)
    rows_of: dict[str, list[int]] = {}
    for row, sub_scan in enumerate(read.sub_scans):
        rows_of.setdefault(sub_scan.scan_id, []).append(row)
    found: list[SeenScan] = []
    photographed = 0
    title = f"{split} scans" if seen is None else f"look at {split} scans"
    with (NullProgress() if progress is None else progress).stage(title, len(rows_of)) as stage:
        for scan_id, rows in rows_of.items():
            scans = [scan for scan in (read[row] for row in rows) if len(scan) > 1]
            pictures = seen.pictures(scan_id) if seen is not None and scans else None
            photographed += pictures is not None
            found += [SeenScan(scan, None if pictures is None else _of_things(pictures, scan)) for scan in scans]
            stage.advance()
    if not found:
        raise DataFormatError(root, expected=f"{split} sub-scans with two things or more", got=f"none of {len(read)}")
    if 0 < photographed < len(rows_of):
        message = f"{root}: {len(rows_of) - photographed} of {len(rows_of)} scans have no photographs ({_place('<scan>')})"
        warnings.warn(CaptureWarning(message, "the oracle sees nothing of their things"), stacklevel=2)
    return SeenScans(tuple(found), read.class_names, read.predicate_names, photographed)


def require_scans(root: Path, *, photographs: bool) -> None:
    """Refuses data to learn from that lack what is needed, by their lists and the names of their files.

    Args:
        root: the folder of the data.
        photographs: whether those of at least one scan are needed.

    Raises:
        DataFormatError: see :func:`scenewise.io.three_rscan.scans.read_three_rscan`; no photographs.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of faults is warned where the scans are read
        read = read_three_rscan(root, "train", frame="scan" if photographs else "reference")
    if photographs and not any(_photographs(root, scan_id) for scan_id in {each.scan_id for each in read.sub_scans}):
        raise DataFormatError(
            root,
            expected=f"photographs of the scans, which the oracle sees: {_place('<scan>')}",
            got="none",
            fix="unpack each scan's sequence.zip, or train without: --vl-sat.oracle.images False, or --teacher none",
        )


def _photographs(root: Path, scan_id: str) -> Path | None:
    """The scan's folder, where its photographs are in it."""
    places = (root / folder / scan_id for folder in SCAN_FOLDERS)
    return next((place for place in places if is_file(place / SEQUENCE_FOLDER / INFO_FILE)), None)


def _place(scan_id: str) -> str:
    return f"{scan_id}/{SEQUENCE_FOLDER}/{INFO_FILE}"


@dataclass(frozen=True)
class _Pictures:
    """What was seen of a scan's things.

    Attributes:
        rows: of each thing, by its number.
        seen: of all things; the last row is of none.
    """

    rows: Mapping[int, int]
    seen: ThingPictures


@final
class _Looking:
    """Things of whole scans in the frame of their cameras, and who looks at them."""

    def __init__(self, root: Path, split: Split, reading: ScanReading, clip: ThingClip, cache: Path) -> None:
        self.root, self.reading, self.clip, self.cache = root, reading, clip, cache
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # said when the same was read in the other frame
            self._scans = read_three_rscan(root, split, max_points=reading.max_points, frame="scan")
        self._rows_of: dict[str, list[int]] = {}
        for row, sub_scan in enumerate(self._scans.sub_scans):
            self._rows_of.setdefault(sub_scan.scan_id, []).append(row)

    def pictures(self, scan_id: str) -> _Pictures | None:
        """What is seen of a scan's things, now or earlier; None without photographs."""
        folder, rows = _photographs(self.root, scan_id), self._rows_of.get(scan_id, [])
        if folder is None or not rows:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole = _joined(scan_id, [self._scans[row] for row in rows])
        seen = self._seen(whole, read_three_rscan_capture(folder, every=self.reading.every))
        none = np.zeros((1, *seen.features.shape[1:]), dtype=np.float32), np.zeros((1, seen.shares.shape[1]), dtype=np.float32)
        padded = ThingPictures(np.concatenate([seen.features, none[0]]), np.concatenate([seen.shares, none[1]]))
        return _Pictures({number: row for row, number in enumerate(whole.object_ids)}, padded)

    def _seen(self, whole: GraphScan, capture: Capture) -> ThingPictures:
        clip, frames = self.clip, tuple(frame for frame in capture.frames if frame.has_image)
        digest = hashlib.sha256()
        for points in whole.points_in_world:
            digest.update(np.ascontiguousarray(points).tobytes())
        about = {
            "method": _METHOD,
            "kept": KEPT_VIEWS,
            "things": list(whole.object_ids),
            "counts": [len(points) for points in whole.points_in_world],
            "points": digest.hexdigest(),
            "photographs": capture_hash(capture),
            "depth": [frame.load_depth is not None for frame in frames],
            "clip": clip.fingerprint,
        }
        fingerprint = fingerprint_of(about)

        def make(path: Path) -> None:
            pictures = thing_pictures(whole, frames, clip.tower, device=clip.device)
            tensors = {
                "features": torch.from_numpy(pictures.features.astype(np.float16)),
                "shares": torch.from_numpy(pictures.shares),
            }
            write_tensors(path, tensors, _ENTRY, {"scan": whole.name, "things": list(whole.object_ids), "clip": clip.name})

        return made(
            THING_PICTURES.path(self.cache, whole.name, fingerprint),
            THING_PICTURES,
            fingerprint,
            make,
            lambda path: _read_pictures(path, len(whole), clip.tower.dim),
        ).value


def _of_things(pictures: _Pictures, scan: GraphScan) -> ThingPictures:
    """Those of a sub-scan's things."""
    rows = [pictures.rows.get(number, -1) for number in scan.object_ids]
    return ThingPictures(pictures.seen.features[rows], pictures.seen.shares[rows])


def _joined(scan_id: str, scans: Sequence[GraphScan]) -> GraphScan:
    """Every thing of a scan once, without classes and relations: whatever looks at it must not know them."""
    points = {number: its for scan in scans for number, its in zip(scan.object_ids, scan.points_in_world)}
    nothing = np.zeros((0, 3), dtype=np.int64)
    return GraphScan(scan_id, tuple(points.values()), np.full(len(points), -1), nothing, tuple(points))


def _read_pictures(path: Path, things: int, dim: int) -> ThingPictures:
    tensors, _ = read_tensors(path, _ENTRY, fix=_FIX)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    views = shapes.get("shares", (0, 0))[-1]
    wanted = {"features": (things, views, dim), "shares": (things, views)}
    if shapes != wanted:
        raise DataFormatError(path, expected=f"{wanted}", got=f"{shapes}", fix=_FIX)
    return ThingPictures(tensors["features"].float().numpy(), tensors["shares"].float().numpy())

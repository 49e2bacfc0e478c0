"""Sub-scans with the points of their things."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final, overload

import numpy as np
from jaxtyping import Float32, Int64

from scenewise.errors import CaptureWarning, DataFormatError
from scenewise.io.ply.columns import refuse_non_finite_rows, require_columns, stacked_columns
from scenewise.io.ply.tables import read_ply_table
from scenewise.io.segments import read_aggregation
from scenewise.io.three_rscan.metadata import (
    Split,
    SubScan,
    SubScanCheck,
    check_sub_scan,
    read_three_rscan_metadata,
)
from scenewise.io.views import is_file
from scenewise.scenes.graph_scans import GraphScan

Frame = Literal["reference", "scan"]
SCAN_FOLDERS = ("3RScan", ".")
ALIGNED_FILE = "labels.instances.align.annotated.v2.ply"
LABELS_FILE = "labels.instances.annotated.v2.ply"
NAMES_FILE = "semseg.v2.json"
LICENCE = "3RScan terms of use, 3DSSG CC BY-NC-SA 4.0 (research, non-commercial)"


@dataclass(frozen=True)
class _ObjectPoints:
    """Vertices of a scan sorted by object."""

    path: Path
    points: Float32[np.ndarray, "n 3"]
    object_ids: Int64[np.ndarray, "objects"]
    begins: Int64[np.ndarray, "ends"]

    def of(self, number: int, max_points: int) -> Float32[np.ndarray, "m 3"]:
        """At most so many points of an object, evenly spread over its vertices in the file's order."""
        at = int(np.searchsorted(self.object_ids, number))
        if at == len(self.object_ids) or self.object_ids[at] != number:
            return self.points[:0]
        points = self.points[self.begins[at] : self.begins[at + 1]]
        if len(points) <= max_points:
            return points.copy()
        return points[(np.arange(max_points) * len(points)) // max_points]


@final
class ThreeRscan(Sequence[GraphScan]):
    """The sub-scans of a split, read when they are asked for; the vertices of one scan stay in memory.

    Attributes:
        class_names: position = class id.
        predicate_names: position = predicate id.
        sub_scans: what the metadata say of each.
        missing_scans: scans without a file of vertices; their sub-scans are left out.
        faults: what cannot be used of each sub-scan, in order.
    """

    def __init__(
        self,
        sub_scans: Sequence[tuple[SubScan, Path]],
        class_names: tuple[str, ...],
        predicate_names: tuple[str, ...],
        missing_scans: tuple[str, ...] = (),
        max_points: int = 4096,
    ) -> None:
        self.class_names, self.predicate_names, self.missing_scans = class_names, predicate_names, missing_scans
        self.sub_scans = tuple(sub_scan for sub_scan, _ in sub_scans)
        self.faults: tuple[SubScanCheck, ...] = tuple(check_sub_scan(sub_scan, class_names) for sub_scan in self.sub_scans)
        self._paths = [path for _, path in sub_scans]
        self._max_points = max_points
        self._kept: _ObjectPoints | None = None
        self._pointless: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.sub_scans)

    @overload
    def __getitem__(self, index: int) -> GraphScan: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[GraphScan]: ...

    def __getitem__(self, index: int | slice) -> GraphScan | Sequence[GraphScan]:
        """A sub-scan: things in the order of the metadata, those without points left out with their relations; a slice reads all.

        Raises:
            DataFormatError: its file is missing or damaged.
        """
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(index)
        sub_scan, path = self.sub_scans[position], self._paths[position]
        if self._kept is None or self._kept.path != path:
            self._kept = _read_object_points(path)
        points = {number: self._kept.of(number, self._max_points) for number in sub_scan.object_names}
        present = tuple(number for number, its in points.items() if len(its))
        self._note(position, len(points) - len(present))
        place = {number: row for row, number in enumerate(present)}
        class_of = {name: number for number, name in enumerate(self.class_names)}
        predicate_of = {name: number for number, name in enumerate(self.predicate_names)}
        triplets = [
            (place[relation.subject], place[relation.object], predicate_of[relation.predicate])
            for relation in self.faults[position].relations
            if relation.subject in place and relation.object in place and relation.predicate in predicate_of
        ]
        return GraphScan(
            name=sub_scan.name,
            points_in_world=tuple(points[number] for number in present),
            class_ids=np.array([class_of.get(sub_scan.object_names[number], -1) for number in present], dtype=np.int64),
            triplets=np.array(sorted(triplets), dtype=np.int64).reshape(-1, 3),
            object_ids=present,
        )

    @property
    def objects_without_points(self) -> int:
        """Things that were left out of the sub-scans read so far because no vertex is theirs."""
        return sum(self._pointless.values())

    def _note(self, position: int, count: int) -> None:
        if count and not self._pointless:
            message = (
                f"{self._paths[position]}: {count} things of {self.sub_scans[position].name} have no points and are left out"
            )
            warnings.warn(CaptureWarning(message, "further ones are counted in objects_without_points"), stacklevel=4)
        if count:
            self._pointless[position] = count


def read_three_rscan(root: Path, split: Split, *, max_points: int = 4096, frame: Frame = "reference") -> ThreeRscan:
    """The sub-scans of a split with the points of their things.

    Args:
        root: the folder that holds 3DSSG_subset and the scans.
        split: "train" or "validation".
        max_points: of a thing.
        frame: "reference" takes the vertices that are aligned with the room's first scan where there are such, as VL-SAT does;
            "scan" those in the frame of the scan's own cameras.

    Raises:
        DataFormatError: metadata missing or damaged (see :func:`read_three_rscan_metadata`), or not one scan has vertices.
    """
    metadata = read_three_rscan_metadata(root, split)
    files = (ALIGNED_FILE, LABELS_FILE) if frame == "reference" else (LABELS_FILE,)
    paths: dict[str, Path | None] = {}
    for scan_id in dict.fromkeys(sub_scan.scan_id for sub_scan in metadata.sub_scans):
        places = (root / folder / scan_id / file for file in files for folder in SCAN_FOLDERS)
        paths[scan_id] = next((path for path in places if is_file(path)), None)
    missing = tuple(scan_id for scan_id, path in paths.items() if path is None)
    if len(missing) == len(paths):
        raise DataFormatError(
            root,
            expected=f"{' or '.join(str(Path(folder) / '<scan>' / LABELS_FILE) for folder in SCAN_FOLDERS)}",
            got=f"none of {len(paths)} scans",
            fix="put the scans of 3RScan beside the metadata",
        )
    found = [(sub_scan, path) for sub_scan in metadata.sub_scans if (path := paths[sub_scan.scan_id]) is not None]
    scans = ThreeRscan(found, metadata.class_names, metadata.predicate_names, missing, max_points)
    _warn_of_faults(root, scans, metadata.not_listed)
    return scans


def read_object_names(scan_folder: Path) -> dict[int, str]:
    """What annotators called the objects of a scan, before their words were put into classes, by number.

    Raises:
        DataFormatError: no ``semseg.v2.json``, or it is damaged.
    """
    return {group.object_id: group.label for group in read_aggregation(scan_folder / NAMES_FILE).groups}


def _warn_of_faults(root: Path, scans: ThreeRscan, not_listed: int) -> None:
    counts = {
        "relations of a thing to itself left out": sum(check.to_itself for check in scans.faults),
        "relations to things that the sub-scan lacks left out": sum(check.without_object for check in scans.faults),
        "relations told twice": sum(check.repeated for check in scans.faults),
        "things of no known class, whose class is −1": sum(len(check.unknown_objects) for check in scans.faults),
        "sub-scans of scans that the split's list lacks left out": not_listed,
        "scans without vertices left out": len(scans.missing_scans),
    }
    said = [f"{count} {what}" for what, count in counts.items() if count]
    if said:
        warnings.warn(CaptureWarning(f"{root}: {', '.join(said)}"), stacklevel=3)


def _read_object_points(path: Path) -> _ObjectPoints:
    table = read_ply_table(path)
    require_columns(path, table, ["x", "y", "z", "objectId"])
    refuse_non_finite_rows(path, table, ["x", "y", "z", "objectId"])
    numbers = table.columns["objectId"]
    if numbers.dtype.kind == "f" and bool((numbers != np.rint(numbers)).any()):
        raise DataFormatError(path, "objectId", expected="whole numbers", got="fractions")
    ids = numbers.astype(np.int64)
    order = np.argsort(ids, kind="stable")
    object_ids, first = np.unique(ids[order], return_index=True)
    return _ObjectPoints(
        path, stacked_columns(table, ["x", "y", "z"], None, np.float32)[order], object_ids, np.append(first, len(ids))
    )

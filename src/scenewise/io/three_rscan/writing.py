"""Scans with relations written in the layout of 3DSSG on 3RScan, so that what reads it reads procedural rooms too."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from scenewise.errors import ConventionError
from scenewise.io.atomic import atomic_write_json, atomic_write_text
from scenewise.io.ply.points import write_points_ply
from scenewise.io.three_rscan.metadata import (
    CLASSES_FILE,
    METADATA_FOLDERS,
    NONE,
    PREDICATE_FILES,
    Split,
    is_folder_name,
    relationships_path,
)
from scenewise.io.three_rscan.scans import LABELS_FILE, SCAN_FOLDERS
from scenewise.scenes.graph_scans import GraphScan
from scenewise.scenes.point_clouds import PointCloud

UNKNOWN = "unknown"
"""Name of things whose class is not known; never the name of a class."""


def write_three_rscan(
    root: Path, split: Split, scans: Sequence[GraphScan], class_names: Sequence[str], predicate_names: Sequence[str]
) -> None:
    """Writes a split beside others that are there already; relations go last, so a split without them is known to be incomplete.

    Scans are not cut into sub-scans: each is its own, with ``split`` 0, and keeps its name.  Things without ``object_ids`` are
    numbered from 1, since 0 is no object in 3RScan.

    Args:
        root: folder of the data set.
        split: "train" or "validation".
        scans: each under another name.
        class_names: position = class id; the same for all splits, as are
        predicate_names: position = predicate id, without "none".

    Raises:
        ConventionError: names that are no folders or that repeat, classes or predicates that have no name.
        ResourceError: the disk is full or read-only.
    """
    _check(scans, class_names, predicate_names)
    folder = root / METADATA_FOLDERS[1]
    atomic_write_text(folder / CLASSES_FILE, "".join(f"{name}\n" for name in class_names))
    atomic_write_text(folder / PREDICATE_FILES[0], "".join(f"{name}\n" for name in (NONE, *predicate_names)))
    atomic_write_text(folder / f"{split}_scans.txt", "".join(f"{scan.name}\n" for scan in scans))
    entries = []
    for scan in scans:
        numbers = scan.object_ids or tuple(range(1, len(scan) + 1))
        _write_points(root / SCAN_FOLDERS[0] / scan.name / LABELS_FILE, scan, numbers)
        names = [class_names[number] if number >= 0 else UNKNOWN for number in scan.class_ids.tolist()]
        rows = [
            [numbers[subject], numbers[thing], predicate + 1, predicate_names[predicate]]
            for subject, thing, predicate in scan.triplets.tolist()
        ]
        objects = {str(number): name for number, name in zip(numbers, names)}
        entries.append({"scan": scan.name, "split": 0, "objects": objects, "relationships": rows})
    atomic_write_json(relationships_path(folder, split), {"scans": entries}, indent=None)


def _write_points(path: Path, scan: GraphScan, numbers: Sequence[int]) -> None:
    points = np.concatenate([np.zeros((0, 3), np.float32), *scan.points_in_world]).astype(np.float64)
    owners = np.repeat(np.array(numbers, dtype=np.int64), [len(its) for its in scan.points_in_world])
    write_points_ply(path, PointCloud(points), extra={"objectId": owners})


def _check(scans: Sequence[GraphScan], class_names: Sequence[str], predicate_names: Sequence[str]) -> None:
    for what, names in (("class_names", class_names), ("predicate_names", predicate_names)):
        wrong = [name for name in names if name != name.strip().lower() or not name or not name.isprintable()]
        if wrong or len(set(names)) < len(names):
            raise ConventionError(what, expected="different names in small letters", got=", ".join(map(repr, wrong[:4] or names)))
    if UNKNOWN in class_names or NONE in predicate_names:
        raise ConventionError("names", expected=f"no class {UNKNOWN!r}, no predicate {NONE!r}", got="one of them")
    listed = [scan.name.lower() for scan in scans]
    if len(set(listed)) < len(listed) or not all(map(is_folder_name, listed)):
        raise ConventionError("scans", expected="names of folders, each once", got=", ".join(map(repr, listed))[:120])
    for scan in scans:
        largest = int(scan.triplets[:, 2].max()) if len(scan.triplets) else -1
        if int(scan.class_ids.max(initial=-1)) >= len(class_names) or largest >= len(predicate_names):
            raise ConventionError(scan.name, expected="classes and predicates that have names", got="others")
        if len(set(scan.object_ids)) < len(scan.object_ids) or min(scan.object_ids, default=0) < 0:
            raise ConventionError(scan.name, expected="object_ids from 0, each once", got=str(scan.object_ids[:20]))

"""Single scans of SemanticKITTI: points of a Velodyne and what they are.

000000.bin      f32 x, y, z, intensity per point, in the sensor's frame: +X forward, +Y left, +Z up, metres
000000.label    optional, u32 per point: the class in the lower 16 bits, the instance in the upper

Source: Behley et al. 2019, "SemanticKITTI", arXiv 1904.01416; numbers and names as in the data set's configuration.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import Float32, Int64, UInt16

from scenewise.errors import DataFormatError
from scenewise.io.bounded import open_bounded
from scenewise.io.views import is_file

SEMANTICKITTI_CLASSES = (
    "car", "bicycle", "motorcycle", "truck", "other-vehicle", "person", "bicyclist", "motorcyclist", "road", "parking",
    "sidewalk", "other-ground", "building", "fence", "vegetation", "trunk", "terrain", "pole", "traffic-sign",
)  # fmt: skip
"""The 19 classes of the single-scan benchmark; position = class id."""

SEMANTICKITTI_LABELS: Mapping[int, str] = MappingProxyType(
    {
        0: "unlabeled", 1: "outlier", 10: "car", 11: "bicycle", 13: "bus", 15: "motorcycle", 16: "on-rails", 18: "truck",
        20: "other-vehicle", 30: "person", 31: "bicyclist", 32: "motorcyclist", 40: "road", 44: "parking", 48: "sidewalk",
        49: "other-ground", 50: "building", 51: "fence", 52: "other-structure", 60: "lane-marking", 70: "vegetation",
        71: "trunk", 72: "terrain", 80: "pole", 81: "traffic-sign", 99: "other-object", 252: "moving-car",
        253: "moving-bicyclist", 254: "moving-person", 255: "moving-motorcyclist", 256: "moving-on-rails", 257: "moving-bus",
        258: "moving-truck", 259: "moving-other-vehicle",
    }
)  # fmt: skip
"""Name of each number in label files."""

_CLASS_OF_NAME = {
    "bus": "other-vehicle", "on-rails": "other-vehicle", "lane-marking": "road", "moving-on-rails": "other-vehicle",
    "moving-bus": "other-vehicle",
}  # fmt: skip
_UNSCORED = ("unlabeled", "outlier", "other-structure", "other-object")
_POINT_BYTES, _LABEL_BYTES = 16, 4


@dataclass(frozen=True)
class SemanticKittiScan:
    """One sweep.

    Attributes:
        points_in_sensor: metres; the sensor is the origin.
        intensity: of the returned light, as stored.
        labels: number per point, see ``SEMANTICKITTI_LABELS``; None without a label file.
    """

    points_in_sensor: Float32[np.ndarray, "n 3"]
    intensity: Float32[np.ndarray, "n"]
    labels: UInt16[np.ndarray, "n"] | None

    @property
    def class_ids(self) -> Int64[np.ndarray, "n"] | None:
        """Index into ``SEMANTICKITTI_CLASSES``, −1 = not scored; None without labels."""
        if self.labels is None:
            return None
        ids: np.ndarray = _class_table()[self.labels]
        return ids


def read_semantickitti_scan(path: str | Path, labels: str | Path | None = None) -> SemanticKittiScan:
    """A sweep and, where there are any, its labels.

    Args:
        path: the ``.bin`` file.
        labels: the ``.label`` file; None looks beside the sweep and, in the official layout, in ``labels/`` beside its folder.

    Raises:
        DataFormatError: no whole number of points, values that are not finite, another number of labels than points, or a label
            that the data set does not have.
    """
    path = Path(path)
    with open_bounded(path) as (file, size):
        if size % _POINT_BYTES:
            raise DataFormatError(
                path, expected=f"rows of {_POINT_BYTES} bytes (x, y, z, intensity)", got=f"{size:,} bytes", fix="copy it again"
            )
        rows = np.frombuffer(file.read(size), dtype="<f4").astype(np.float32).reshape(-1, 4)
    if not np.isfinite(rows).all():
        row = int((~np.isfinite(rows)).any(axis=1).argmax())
        raise DataFormatError(path, f"point {row}", expected="finite numbers", got=rows[row].tolist())
    found = _labels_of(path) if labels is None else Path(labels)
    return SemanticKittiScan(
        np.ascontiguousarray(rows[:, :3]),
        np.ascontiguousarray(rows[:, 3]),
        None if found is None else _read_labels(found, len(rows)),
    )


def _labels_of(path: Path) -> Path | None:
    beside = path.with_suffix(".label")
    official = path.parent.parent / "labels" / f"{path.stem}.label"
    return next((candidate for candidate in (beside, official) if is_file(candidate)), None)


def _read_labels(path: Path, count: int) -> UInt16[np.ndarray, "n"]:
    with open_bounded(path) as (file, size):
        if size != _LABEL_BYTES * count:
            raise DataFormatError(
                path,
                expected=f"{_LABEL_BYTES * count:,} bytes, a label for each of {count:,} points",
                got=f"{size:,}",
                fix="the labels belong to another sweep",
            )
        numbers = (np.frombuffer(file.read(size), dtype="<u4") & 0xFFFF).astype(np.uint16)
    unknown = sorted(set(np.unique(numbers).tolist()) - set(SEMANTICKITTI_LABELS))
    if unknown:
        raise DataFormatError(path, expected="numbers of SemanticKITTI's classes", got=unknown[:5], fix="copy it again")
    return numbers


def _class_table() -> Int64[np.ndarray, "numbers"]:
    table = np.full(1 << 16, -1, dtype=np.int64)
    for number, name in SEMANTICKITTI_LABELS.items():
        if name not in _UNSCORED:
            plain = _CLASS_OF_NAME.get(name, name.removeprefix("moving-"))
            table[number] = SEMANTICKITTI_CLASSES.index(plain)
    return table

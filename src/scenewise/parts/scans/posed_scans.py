"""Points of a scan with posed pictures, without labels or words: what agreement of 2D and 3D is learned from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float16, Float32, Float64, UInt8

from scenewise.errors import DataFormatError, ScenewiseError, ShapeError
from scenewise.io.product_kinds import POSED_SCAN
from scenewise.io.products import keep
from scenewise.io.tensor_files import read_tensors, write_tensors

_ENTRY = "posed_scan"
_FIX = "delete it; it is made again"


@dataclass(frozen=True)
class PosedScan:
    """A scan in its own axes: +Z up where that is known, metres, the origin near the middle.

    Attributes:
        name: of the scan.
        points_in_scan: on surfaces.
        colors_u8: of the points, sRGB.
        pictures_u8: all of one size.
        depths: of each pixel along the camera's +Z, metres; 0 where nothing is known.
        K: of each picture, in its pixels.
        camera_from_scan: of each picture.
        prior: what a frozen 2D model says of each picture, on a grid over the whole of it.
    """

    name: str
    points_in_scan: Float32[np.ndarray, "n 3"]
    colors_u8: UInt8[np.ndarray, "n 3"]
    pictures_u8: UInt8[np.ndarray, "views height width 3"]
    depths: Float32[np.ndarray, "views height width"]
    K: Float64[np.ndarray, "views 3 3"]
    camera_from_scan: Float64[np.ndarray, "views 4 4"]
    prior: Float16[np.ndarray, "views rows columns dim"]

    def __post_init__(self) -> None:
        for name, wanted in _SHAPES.items():
            found = getattr(self, name).shape
            if len(found) != len(wanted) or any(side not in (None, got) for side, got in zip(wanted, found)):
                sides = "×".join("any" if side is None else str(side) for side in wanted)
                raise ShapeError(name, expected=sides, got="×".join(map(str, found)))
        views = len(self.pictures_u8)
        if len(self.colors_u8) != len(self.points_in_scan):
            raise ShapeError("colors_u8", expected=f"{len(self.points_in_scan)} rows", got=len(self.colors_u8))
        for name in ("depths", "K", "camera_from_scan", "prior"):
            if len(getattr(self, name)) != views:
                raise ShapeError(name, expected=f"{views} views", got=len(getattr(self, name)))
        if self.depths.shape != self.pictures_u8.shape[:3]:
            raise ShapeError("depths", expected=f"{self.pictures_u8.shape[:3]}", got=f"{self.depths.shape}")

    def __len__(self) -> int:
        return len(self.points_in_scan)

    @property
    def num_bytes(self) -> int:
        """Memory its arrays take."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, np.ndarray))

    def with_views(self, views: list[int]) -> "PosedScan":
        """The same scan with some of its pictures."""
        taken = {name: getattr(self, name)[views] for name in _OF_VIEWS}
        return replace(self, **taken)


_SHAPES: Mapping[str, tuple[int | None, ...]] = {
    "points_in_scan": (None, 3),
    "colors_u8": (None, 3),
    "pictures_u8": (None, None, None, 3),
    "K": (None, 3, 3),
    "camera_from_scan": (None, 4, 4),
    "prior": (None, None, None, None),
}
_OF_VIEWS = ("pictures_u8", "depths", "K", "camera_from_scan", "prior")
_TENSORS: Mapping[str, torch.dtype] = {
    "points_in_scan": torch.float32,
    "colors_u8": torch.uint8,
    "pictures_u8": torch.uint8,
    "depths": torch.float32,
    "K": torch.float64,
    "camera_from_scan": torch.float64,
    "prior": torch.float16,
}


def write_posed_scan(path: Path, scan: PosedScan, fingerprint: str, more: Mapping[str, Any] | None = None) -> None:
    """One safetensors file, there whole or not at all.

    Args:
        path: to write.
        scan: what.
        fingerprint: of everything that shaped it.
        more: is kept beside it, JSON values.

    Raises:
        ResourceError: the disk is full or the folder cannot be written.
    """
    tensors = {name: torch.from_numpy(np.ascontiguousarray(getattr(scan, name))) for name in _TENSORS}
    about = {"name": scan.name, "fingerprint": fingerprint, **(more or {})}
    keep(path, POSED_SCAN, fingerprint, lambda beside: write_tensors(beside, tensors, _ENTRY, about))


def read_posed_scan(path: Path, fingerprint: str | None = None) -> PosedScan:
    """A scan from its file.

    Raises:
        DataFormatError: not such a file, tensors that do not fit each other, or another fingerprint than the one given.
    """
    tensors, about = read_tensors(path, _ENTRY, fix=_FIX)
    if fingerprint is not None and about.get("fingerprint") != fingerprint:
        raise DataFormatError(path, expected=f"a scan of {fingerprint[:16]}", got=str(about.get("fingerprint"))[:16], fix=_FIX)
    for name, kind in _TENSORS.items():
        if name not in tensors or tensors[name].dtype != kind:
            raise DataFormatError(path, name, expected=str(kind), got=str(getattr(tensors.get(name), "dtype", None)), fix=_FIX)
    try:
        return PosedScan(name=str(about["name"]), **{name: tensors[name].numpy() for name in _TENSORS})
    except (ScenewiseError, KeyError, TypeError, ValueError) as error:
        raise DataFormatError(path, expected="a posed scan", got=str(error)[:120], fix=_FIX) from error

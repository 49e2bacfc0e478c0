"""LiDAR sweeps, and the category of each of their points."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from scenewise.errors import DataFormatError
from scenewise.io.bounded import open_bounded
from scenewise.io.nuscenes.tables import file_name_of, read_records
from scenewise.io.views import is_file

_POINT = 5  # float32 per LiDAR point


def read_lidar_sweep(
    path: str | Path,
) -> tuple[Float32[np.ndarray, "n 3"], Float32[np.ndarray, "n"], Float32[np.ndarray, "n"]]:
    """Points in the LiDAR's frame, intensity (0 … 255) and ring of a ``.pcd.bin`` file by itself.

    Raises:
        DataFormatError: no whole number of points, or values that are not finite.
    """
    sweep = read_sweep(Path(path))
    return np.ascontiguousarray(sweep[:, :3]), np.ascontiguousarray(sweep[:, 3]), np.ascontiguousarray(sweep[:, 4])


def read_sweep(path: Path) -> Float32[np.ndarray, "n 5"]:
    """x, y, z, intensity and ring of the points of a ``.pcd.bin`` file.

    Raises:
        DataFormatError: no whole number of points, or values that are not finite.
    """
    with open_bounded(path) as (file, size):
        if size % (4 * _POINT):
            raise DataFormatError(path, expected=f"rows of {4 * _POINT} bytes", got=f"{size:,} bytes", fix="copy the file again")
        sweep = np.frombuffer(file.read(size), dtype="<f4").astype(np.float32).reshape(-1, _POINT)
    if not np.isfinite(sweep).all():
        row = int((~np.isfinite(sweep)).any(axis=1).argmax())
        raise DataFormatError(path, f"point {row}", expected="finite numbers", got=sweep[row].tolist())
    return sweep


def read_lidarseg(tables: Path, sweep_token: str, count: int) -> tuple[UInt8[np.ndarray, "n"] | None, Mapping[int, str]]:
    """Category index of each point of a sweep, and the names by index; None and nothing where lidarseg does not have it.

    Raises:
        DataFormatError: labels for another number of points, or without a name.
    """
    if not is_file(tables / "lidarseg.json"):
        return None, {}
    record = next(read_records(tables / "lidarseg.json", ("sample_data_token", {sweep_token})), None)
    if record is None:
        return None, {}
    path = tables.parent / file_name_of(record)
    with open_bounded(path) as (file, size):
        if size != count:
            raise DataFormatError(path, expected=f"{count:,} bytes, one per point", got=f"{size:,}", fix="copy the file again")
        index = np.frombuffer(file.read(size), dtype=np.uint8).copy()
    names: dict[int, str] = {
        int(record.integer("index", maximum=255)): str(record.text("name"))
        for record in read_records(tables / "category.json", None)
    }
    unknown = sorted(set(np.unique(index).tolist()) - set(names))
    if unknown:
        raise DataFormatError(path, expected="indices of category.json", got=unknown[:8])
    return index, names

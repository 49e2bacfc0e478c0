"""The TUM layout: lists of colour images, depth maps and poses with their times."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scenewise.errors import DataFormatError
from scenewise.geometry.rotations import rotation_from_quat
from scenewise.io.rgbd.calibration import RgbdFiles, read_calibration
from scenewise.io.rgbd.listing import Listed, warn_without_pose
from scenewise.io.rgbd.number_files import read_text
from scenewise.io.views import ListedView, is_file, safe_name

# TUM RGB-D, "Intrinsic camera calibration of the Kinect", the values its authors recommend for all sequences (640×480).
_TUM_K = ((525.0, 0.0, 319.5), (0.0, 525.0, 239.5), (0.0, 0.0, 1.0))
_TUM_CODES_PER_METRE = 5000.0
_TUM_MAX_SECONDS_APART = 0.02  # the benchmark's own association tool


def list_tum(path: Path, more: dict[str, Any]) -> Listed:
    """Colour images with the depth map and the pose nearest in time (https://cvg.cit.tum.de/data/datasets/rgbd-dataset).

    Raises:
        DataFormatError: a broken listing, or a pose that is none.
    """
    colour = _timed_lines(path / "rgb.txt", 1)
    depth = _timed_lines(path / "depth.txt", 1) if is_file(path / "depth.txt") else []
    truth = _timed_lines(path / "groundtruth.txt", 7)
    first_image = next((path / fields[0] for _, fields in colour if is_file(path / fields[0])), None)
    first_depth = next((path / fields[0] for _, fields in depth if is_file(path / fields[0])), None)
    # The benchmark's poses are those of the colour camera, and its depth lies on the colour pixels already.
    calibration = read_calibration(RgbdFiles(path, first_image, first_depth), more, default_K=_TUM_K, default_poses_of="color")
    depth_times, truth_times = np.array([time for time, _ in depth]), np.array([time for time, _ in truth])
    views, quats, centres, dropped = [], [], [], []
    for number, (time, fields) in enumerate(colour):
        nearest = _nearest(truth_times, time)
        if nearest is None:
            dropped.append(fields[0])
            continue
        try:
            values = [float(field) for field in truth[nearest][1]]
        except ValueError as error:
            raise DataFormatError(
                path / "groundtruth.txt", f"time {truth_times[nearest]}", expected="tx ty tz qx qy qz qw", got=str(error)
            ) from error
        if not all(math.isfinite(value) for value in values) or math.hypot(*values[3:]) < 1e-6:
            raise DataFormatError(
                path / "groundtruth.txt", f"time {truth_times[nearest]}", expected="a position and a unit quaternion", got=values
            )
        centres.append(values[:3])
        quats.append([values[6], *values[3:6]])  # the file has xyzw
        nearest_depth = _nearest(depth_times, time)
        views.append(
            ListedView(
                name=safe_name(fields[0]),
                image_path=path / fields[0],
                lens_camera=calibration.color_lens,
                place=f"rgb.txt record {number}",
                depth_path=None if nearest_depth is None else path / depth[nearest_depth][1][0],
                units_per_depth_code=1.0 / float(more.get("depth_codes_per_metre", _TUM_CODES_PER_METRE)),
                depth_camera=calibration.depth_camera,
            )
        )
    warn_without_pose(path, dropped)
    world_from_camera = torch.eye(4, dtype=torch.float64).repeat(len(views), 1, 1)
    world_from_camera[:, :3, :3] = rotation_from_quat(torch.tensor(quats, dtype=torch.float64).reshape(-1, 4))
    world_from_camera[:, :3, 3] = torch.tensor(centres, dtype=torch.float64).reshape(-1, 3)
    return path / "rgb.txt", views, calibration.world_from_color(world_from_camera)


def _timed_lines(path: Path, fields: int) -> list[tuple[float, list[str]]]:
    """Records ``seconds field …`` in order of time."""
    records = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = line.split(maxsplit=1) if fields == 1 else line.split()
        try:
            time = float(parts[0])
        except ValueError:
            time = math.nan
        if not math.isfinite(time) or len(parts) != fields + 1:
            raise DataFormatError(path, f"line {number}", expected=f"a time and {fields} fields", got=repr(line[:80]))
        records.append((time, [part.strip() for part in parts[1:]]))
    return sorted(records, key=lambda record: record[0])


def _nearest(times: np.ndarray, time: float) -> int | None:
    if not times.size:
        return None
    after = int(np.searchsorted(times, time))
    best = min((index for index in (after - 1, after) if 0 <= index < len(times)), key=lambda index: abs(times[index] - time))
    return best if abs(times[best] - time) <= _TUM_MAX_SECONDS_APART else None

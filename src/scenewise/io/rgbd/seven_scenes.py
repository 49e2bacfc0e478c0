"""The 7-Scenes layout: a pose file beside every colour image."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from scenewise.errors import DataFormatError
from scenewise.io.listed_files import is_hidden
from scenewise.io.rgbd.calibration import RgbdFiles, read_calibration
from scenewise.io.rgbd.listing import Listed, warn_without_pose
from scenewise.io.rgbd.number_files import read_matrix
from scenewise.io.views import ListedView

_COLOR_SUFFIXES = (".jpg", ".png", ".jpeg")


def list_7scenes(path: Path, more: dict[str, Any]) -> Listed:
    """The frames of a folder that have a pose.  ``more`` is what ``capture.json`` holds.

    Raises:
        DataFormatError: no intrinsics, a broken pose.
    """
    names = {entry.name for entry in os.scandir(path) if not is_hidden(entry.name)}
    stems = sorted({match[1] for name in names if (match := re.fullmatch(r"(.+)\.(?:pose\.txt|color\.\w+)", name))})
    colour_name = {
        stem: next((stem + ".color" + suffix for suffix in _COLOR_SUFFIXES if stem + ".color" + suffix in names), None)
        for stem in stems
    }
    first_image = next((path / name for name in colour_name.values() if name is not None), None)
    first_depth = next((path / f"{stem}.depth.png" for stem in stems if f"{stem}.depth.png" in names), None)
    calibration = read_calibration(RgbdFiles(path, first_image, first_depth), more)
    usual_suffix = "".join(first_image.suffixes[-1:]) if first_image is not None else ".png"
    views, poses, without_pose = [], [], []
    for stem in stems:
        pose_path = path / f"{stem}.pose.txt"
        pose = read_matrix(pose_path, 4, 4) if pose_path.name in names else None
        if pose is None or not np.isfinite(pose[:3]).any():
            without_pose.append(stem)
            continue
        name = colour_name[stem] or f"{stem}.color{usual_suffix}"
        views.append(
            ListedView(
                name=name,
                image_path=path / name,
                lens_camera=calibration.color_lens,
                place=pose_path.name,
                depth_path=path / f"{stem}.depth.png",
                units_per_depth_code=1.0 / float(more.get("depth_codes_per_metre", 1000.0)),
                depth_camera=calibration.depth_camera,
            )
        )
        poses.append(_checked_pose(pose_path, pose))
    warn_without_pose(path, without_pose)
    world_from_camera = torch.from_numpy(np.array(poses, dtype=np.float64).reshape(-1, 4, 4))
    return path, views, calibration.world_from_color(world_from_camera)


def _checked_pose(path: Path, pose: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "4 4"]:
    if not np.isfinite(pose).all():
        raise DataFormatError(
            path, expected="finite numbers", got="NaN or Inf in part of the pose", fix="delete the frame's files"
        )
    if np.abs(pose[3] - [0.0, 0.0, 0.0, 1.0]).max() > 1e-6:
        raise DataFormatError(path, "last row", expected="0 0 0 1", got=pose[3].tolist())
    return pose

"""The photographs of a scan of 3RScan, with the depth that a camera of its own measured."""

import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64

from scenewise.errors import CaptureWarning, DataFormatError
from scenewise.io.bounded import open_bounded
from scenewise.io.lens_files import lens_camera_or_error
from scenewise.io.listed_files import is_hidden
from scenewise.io.registered_depth import DepthCamera
from scenewise.io.rgbd.listing import warn_without_pose
from scenewise.io.rgbd.number_files import checked_intrinsics, read_matrix, read_text
from scenewise.io.scannet.number_files import numbers_of, usable_pose
from scenewise.io.three_rscan.scans import LICENCE
from scenewise.io.views import ListedView, frames_of_views, is_file, rigid_inverse
from scenewise.scenes.captures import Capture, every_nth_name

SEQUENCE_FOLDER = "sequence"
INFO_FILE = "_info.txt"
_HOLDOUT = 8
_FULL_RANGE = 65535  # of 16-bit PGM; decoders stretch the codes of others


@dataclass(frozen=True)
class SequenceInfo:
    """What ``_info.txt`` says.

    Attributes:
        color_size: width, height of the photographs.
        depth_size: of the depth maps.
        K_color: intrinsics in pixels of the photographs, centres at half-integers.
        K_depth: likewise of the depth maps.
        depth_codes_per_metre: of the depth maps.
    """

    color_size: tuple[int, int]
    depth_size: tuple[int, int]
    K_color: Float64[np.ndarray, "3 3"]
    K_depth: Float64[np.ndarray, "3 3"]
    depth_codes_per_metre: float


def read_sequence_info(path: Path) -> SequenceInfo:
    """Sizes and lenses of a sequence.

    Raises:
        DataFormatError: a line is missing or no number, intrinsics that no pinhole has, or cameras that stand apart.
    """
    lines = (line.partition("=") for line in read_text(path).splitlines())
    values = {key.strip(): value.strip() for key, sign, value in lines if sign}

    def numbers(key: str, count: int) -> Float64[np.ndarray, " count"]:
        if key not in values:
            raise DataFormatError(path, key, expected=f"a line {key} = …", got="none")
        found = np.array(numbers_of(path, values[key], (count,)))
        if not np.isfinite(found).all():
            raise DataFormatError(path, key, expected="finite numbers", got=values[key][:80])
        return found

    def size(kind: str) -> tuple[int, int]:
        width, height = (float(numbers(f"m_{kind}{side}", 1)[0]) for side in ("Width", "Height"))
        if min(width, height) < 1 or not (width.is_integer() and height.is_integer()):
            raise DataFormatError(path, f"m_{kind}Width, m_{kind}Height", expected="pixels", got=f"{width:g}×{height:g}")
        return int(width), int(height)

    for kind in ("Color", "Depth"):
        key = f"m_calibration{kind}Extrinsic"
        if key in values and np.abs(numbers(key, 16).reshape(4, 4) - np.eye(4)).max() > 1e-6:
            raise DataFormatError(path, key, expected="the identity: both cameras at one place", got=values[key][:120])
    scale = float(numbers("m_depthShift", 1)[0])
    if scale <= 0:
        raise DataFormatError(path, "m_depthShift", expected="codes per metre, above 0", got=scale)
    K_color, K_depth = (
        checked_intrinsics(path, numbers(f"m_calibration{kind}Intrinsic", 16).reshape(4, 4)[:3, :3])
        for kind in ("Color", "Depth")
    )
    return SequenceInfo(size("color"), size("depth"), K_color, K_depth, scale)


def read_three_rscan_capture(scan_folder: Path, *, every: int = 1) -> Capture:
    """The photographs of a scan; they lie on their side, as the tablet was held, and are not turned.

    Args:
        scan_folder: the scan's folder, or its ``sequence``.
        every: take every n-th frame.

    Returns:
        A metric capture in the frame of the scan's own vertices (``read_three_rscan(…, frame="scan")``), +Z up, every 8th of its
        frames held out.  Frames without a pose are left out and counted in a warning.

    Raises:
        DataFormatError: no such files, damaged ones, depth in another range than 16 bits.
    """
    folder = scan_folder / SEQUENCE_FOLDER if (scan_folder / SEQUENCE_FOLDER).is_dir() else scan_folder
    if not is_file(folder / INFO_FILE):
        fix = "unpack sequence.zip" if is_file(scan_folder / f"{SEQUENCE_FOLDER}.zip") else "name the folder of a scan"
        raise DataFormatError(scan_folder, expected=f"{SEQUENCE_FOLDER}/{INFO_FILE}", got="no such file", fix=fix)
    if every < 1:
        raise DataFormatError(scan_folder, "every", expected="1, 2, 3 …", got=every)
    info = read_sequence_info(folder / INFO_FILE)
    names = {entry.name for entry in os.scandir(folder) if not is_hidden(entry.name)}
    stems = sorted({match[1] for name in names if (match := re.fullmatch(r"(frame-\d+)\.(?:color\.jpg|pose\.txt)", name))})[
        ::every
    ]
    K = info.K_color
    params = (float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2]))
    lens = lens_camera_or_error(folder / INFO_FILE, "m_calibrationColorIntrinsic", "PINHOLE", params, *info.color_size)
    depth_camera = DepthCamera(info.K_depth, np.eye(4))
    views, poses, without_pose = [], [], []
    for stem in stems:
        pose_path, depth_path = folder / f"{stem}.pose.txt", folder / f"{stem}.depth.pgm"
        pose = read_matrix(pose_path, 4, 4) if pose_path.name in names else None
        if pose is None or not usable_pose(pose_path, "", pose):
            without_pose.append(stem)
            continue
        views.append(
            ListedView(
                name=f"{stem}.color.jpg",
                image_path=folder / f"{stem}.color.jpg",
                lens_camera=lens,
                place=pose_path.name,
                depth_path=depth_path if depth_path.name in names else None,
                units_per_depth_code=1.0 / info.depth_codes_per_metre,
                depth_camera=depth_camera,
            )
        )
        poses.append(pose)
    warn_without_pose(folder, without_pose)
    first_depth = next((view.depth_path for view in views if view.depth_path is not None), None)
    if first_depth is None:
        warnings.warn(f"{folder}: no depth maps", CaptureWarning, 2)
    else:
        _check_depth(first_depth, info.depth_size)
    world_from_camera = torch.from_numpy(np.array(poses, dtype=np.float64).reshape(-1, 4, 4))
    frames, background = frames_of_views(folder, views, rigid_inverse(world_from_camera), None)
    return Capture(
        root=folder,
        source_format="rgbd",
        frames=frames,
        test_names=every_nth_name(frames, _HOLDOUT),
        scale="metric",
        up_in_world=np.array([0.0, 0.0, 1.0]),
        background=background,
        licence=LICENCE,
    )


def _check_depth(path: Path, size: tuple[int, int]) -> None:
    """Refuses a PGM of another size, or of a range that decoders would stretch to 16 bits.

    Raises:
        DataFormatError: it is one, or no PGM.
    """
    with open_bounded(path) as (file, _):
        head = file.read(512)
    words = re.sub(rb"#[^\n]*", b"", head).split(maxsplit=4)[:4]
    said = [word.decode("latin-1") for word in words]
    if said != ["P5", str(size[0]), str(size[1]), str(_FULL_RANGE)]:
        expected = f"P5 {size[0]} {size[1]} {_FULL_RANGE}, as {INFO_FILE} says"
        raise DataFormatError(path, "header", expected=expected, got=" ".join(said)[:80])

"""RGB-D folders opened as captures, whichever layout they have."""

import os
from pathlib import Path

import numpy as np

from scenewise.errors import DataFormatError
from scenewise.io.images import Background
from scenewise.io.listed_files import is_hidden
from scenewise.io.rgbd.capture_json import CAPTURE_JSON_NAME, read_capture_json
from scenewise.io.rgbd.seven_scenes import list_7scenes
from scenewise.io.rgbd.tum import list_tum
from scenewise.io.views import frames_of_views, is_file, rigid_inverse
from scenewise.scenes.captures import Capture, every_nth_name

_HOLDOUT = 8


def find_rgbd_layout(path: Path) -> str | None:
    """ "7scenes", "tum" or None, by the files in a folder."""
    if is_file(path / "groundtruth.txt") and is_file(path / "rgb.txt"):
        return "tum"
    if not path.is_dir():
        return None
    with os.scandir(path) as entries:  # closed although any() stops at the first match
        return "7scenes" if any(entry.name.endswith(".pose.txt") and not is_hidden(entry.name) for entry in entries) else None


def read_rgbd(path: Path, *, background: Background | None = None) -> Capture:
    """Reads an RGB-D folder in the 7-Scenes or the TUM layout.

    Frames whose pose is marked invalid (all of it non-finite, as ScanNet and 7-Scenes write it) or absent are left out and
    counted in a warning; a pose that is non-finite in part is an error.

    Args:
        path: the folder.
        background: colour behind transparent pixels.

    Returns:
        A metric capture in the poses' world frame, every 8th frame held out unless ``capture.json`` names them.

    Raises:
        DataFormatError: no such layout, no intrinsics, a singular K, a broken pose or listing.
    """
    layout = find_rgbd_layout(path)
    if layout is None:
        raise DataFormatError(path, expected="frame-000000.pose.txt … or rgb.txt and groundtruth.txt", got="neither")
    more = read_capture_json(path)
    listing, views, world_from_camera = list_7scenes(path, more) if layout == "7scenes" else list_tum(path, more)
    colour = more.get("background")
    frames, in_effect = frames_of_views(
        listing,
        views,
        rigid_inverse(world_from_camera),
        background or (None if colour is None else (colour[0], colour[1], colour[2])),
    )
    if colour is not None and in_effect is None:
        in_effect = background or (colour[0], colour[1], colour[2])
    known = {frame.name for frame in frames}
    test_names = more.get("test_names")
    if test_names is not None and not set(test_names) <= known:
        unknown = min(set(test_names) - known)
        raise DataFormatError(path / CAPTURE_JSON_NAME, "test_names", expected="names of colour images", got=unknown)
    up = more.get("up_in_world")
    return Capture(
        root=path,
        source_format="rgbd",
        frames=frames,
        test_names=every_nth_name(frames, _HOLDOUT) if test_names is None else frozenset(test_names),
        scale="metric",
        up_in_world=None if up is None else np.array(up) / np.linalg.norm(up),
        background=in_effect,
        licence=more.get("licence"),
    )

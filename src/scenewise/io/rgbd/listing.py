"""Frames as a layout lists them, with their poses."""

import warnings
from pathlib import Path

import torch

from scenewise.errors import CaptureWarning
from scenewise.io.views import ListedView

Listed = tuple[Path, list[ListedView], torch.Tensor]
"""The file or folder that lists the views, the views, and world_from_camera of each [n, 4, 4], float64."""


def warn_without_pose(path: Path, dropped: list[str]) -> None:
    """Says how many frames are left out for want of a pose."""
    if dropped:
        warnings.warn(f"{path}: {len(dropped)} frames have no valid pose and are left out, first {dropped[0]}", CaptureWarning, 2)

"""NYU40 ids per vertex and per pixel, as label files have them."""

from pathlib import Path

import numpy as np
from jaxtyping import Int64

from scenewise.errors import DataFormatError
from scenewise.io.images import read_codes_u16
from scenewise.io.ply.tables import read_ply_table
from scenewise.io.scannet.classes import NYU40_NAMES
from scenewise.io.views import is_file
from scenewise.scenes.frames import Frame


def read_scannet_labels(path: Path) -> Int64[np.ndarray, "n"]:
    """NYU40 id per vertex of a ``.labels.ply``, 0 = unlabelled.

    Raises:
        DataFormatError: no property ``label``, or ids beyond 40.
    """
    table = read_ply_table(path)
    if "label" not in table.columns:
        raise DataFormatError(path, "header", expected="the property label", got=", ".join(table.columns)[:80])
    ids = table.columns["label"].astype(np.int64)
    if len(ids) and not (int(ids.min()) >= 0 and int(ids.max()) <= len(NYU40_NAMES)):
        raise DataFormatError(path, "label", expected=f"0 … {len(NYU40_NAMES)}", got=f"{ids.min()} … {ids.max()}")
    return ids


def read_scannet_frame_labels(frame: Frame) -> Int64[np.ndarray, "height width"] | None:
    """NYU40 id per pixel of a frame read from folders, 0 = unlabelled; None where there is no ``label/N.png``."""
    if frame.image_path is None:
        return None
    path = frame.image_path.parent.parent / "label" / f"{frame.image_path.stem}.png"
    if not is_file(path):
        return None
    codes = read_codes_u16(path).astype(np.int64)
    height, width = codes.shape
    rows = ((np.arange(frame.camera.height) + 0.5) * height / frame.camera.height).astype(np.int64)
    columns = ((np.arange(frame.camera.width) + 0.5) * width / frame.camera.width).astype(np.int64)
    return np.ascontiguousarray(codes[rows[:, None], columns[None, :]])

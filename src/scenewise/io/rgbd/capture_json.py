"""``capture.json``: what the picture files of an RGB-D folder cannot say."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from scenewise.errors import DataFormatError
from scenewise.io.atomic import atomic_write_json
from scenewise.io.rgbd.number_files import read_text
from scenewise.io.views import is_file

CAPTURE_JSON_NAME = "capture.json"


def write_rgbd_capture_json(
    folder: Path,
    *,
    up_in_world: Sequence[float | int] | Float64[np.ndarray, "3"] | None = None,
    classes: Sequence[str] | None = None,
    licence: str | None = None,
    test_names: Sequence[str] | None = None,
    background: Sequence[float | int] | None = None,
    **more: Any,
) -> None:
    """Writes ``capture.json``: what the picture files cannot say.

    Args:
        folder: existing folder of the capture.
        up_in_world: unit vector away from the ground.
        classes: class names; ids in ``class.png`` index this list.
        licence: licence of the images.
        test_names: file names of held-out colour images; every 8th when absent.
        background: colour behind everything, in [0, 1].
        more: further JSON values.  Read are "depth_codes_per_metre", "color_distortion" and "pose_camera" (see
            :func:`~scenewise.io.rgbd.calibration.read_calibration`); others are kept.
    """
    record: dict[str, Any] = {"scale": "metric"}
    if up_in_world is not None:
        record["up_in_world"] = [float(value) for value in up_in_world]
    for key, value in (("classes", classes), ("licence", licence), ("test_names", test_names), ("background", background)):
        if value is not None:
            record[key] = value if isinstance(value, str) else list(value)
    atomic_write_json(folder / CAPTURE_JSON_NAME, record | more)


def read_class_names(path: Path) -> list[str] | None:
    """Class names of an RGB-D capture; ids of :func:`read_class_ids` index them.  None when ``capture.json`` has none."""
    return read_capture_json(path).get("classes")


def read_capture_json(path: Path) -> dict[str, Any]:
    """The checked contents of ``capture.json``, or nothing where there is none.

    Raises:
        DataFormatError: no JSON object, or a value of another type than its key's.
    """
    file = path / CAPTURE_JSON_NAME
    if not is_file(file):
        return {}
    try:
        record = json.loads(read_text(file))
    except (ValueError, RecursionError) as error:
        raise DataFormatError(file, expected="JSON", got=str(error) or "nesting too deep", fix="the file is damaged") from error
    if not isinstance(record, dict):
        raise DataFormatError(file, expected="a JSON object", got=type(record).__name__)

    for key in ("up_in_world", "background"):
        value = record.get(key)
        fits = isinstance(value, list) and len(value) == 3
        if value is not None and not (fits and all(isinstance(x, int | float) and math.isfinite(x) for x in value)):
            raise DataFormatError(file, key, expected="3 finite numbers", got=repr(value)[:80])
    for key in ("classes", "test_names"):
        value = record.get(key)
        if value is not None and not (isinstance(value, list) and all(isinstance(x, str) for x in value)):
            raise DataFormatError(file, key, expected="a list of names", got=repr(value)[:80])
    up = record.get("up_in_world")
    if up is not None and not 1e-6 < math.hypot(*up) < 1e6:
        raise DataFormatError(file, "up_in_world", expected="a direction", got=up)
    if record.get("scale", "metric") != "metric":
        raise DataFormatError(file, "scale", expected="metric (depth is in millimetres)", got=repr(record["scale"])[:80])
    if not isinstance(record.get("licence", ""), str):
        raise DataFormatError(file, "licence", expected="text", got=repr(record["licence"])[:80])
    codes = record.get("depth_codes_per_metre", 1000.0)
    if isinstance(codes, bool) or not isinstance(codes, int | float) or not (math.isfinite(codes) and codes > 0):
        raise DataFormatError(file, "depth_codes_per_metre", expected="a number above 0", got=repr(codes)[:80])
    _check_calibration(file, record)
    return record


def _check_calibration(file: Path, record: dict[str, Any]) -> None:
    distortion = record.get("color_distortion")
    fits = isinstance(distortion, list) and len(distortion) in {1, 2, 4}
    if distortion is not None and not (fits and all(_is_number(value) for value in distortion)):
        raise DataFormatError(
            file, "color_distortion", expected="k1, k1 k2, or k1 k2 p1 p2 of OpenCV's model", got=repr(distortion)[:80]
        )
    if record.get("pose_camera", "color") not in ("color", "depth"):
        raise DataFormatError(file, "pose_camera", expected='"color" or "depth"', got=repr(record["pose_camera"])[:80])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)

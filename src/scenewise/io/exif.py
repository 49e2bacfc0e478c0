"""What a camera wrote into its photographs: which it was, its focal length, and the day."""

import math
import re
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from scenewise.io.images import with_image

_EXIF_IFD = 0x8769
_MAKE, _MODEL = 0x010F, 0x0110
_FOCAL_MM, _FOCAL_35MM, _BODY_SERIAL, _LENS = 0x920A, 0xA405, 0xA431, 0xA434
_TAKEN, _DIGITISED = 0x9003, 0x9004  # not 0x0132: that one changes with every program that saves the file
_PLANE_X, _PLANE_Y, _PLANE_UNIT = 0xA20E, 0xA20F, 0xA210
_MM_PER_UNIT = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # EXIF 2.32, table 6: inch, and what some cameras write beyond it
_DIAGONAL_35MM = math.hypot(36.0, 24.0)
_PLAUSIBLE = (0.2, 20.0)  # focal length in units of the longer side: from fisheyes to long tele lenses


@dataclass(frozen=True)
class PhotographHeader:
    """A picture's size and what its camera says of itself.

    Attributes:
        width: in pixels, as stored.
        height: in pixels, as stored.
        is_depth_like: one channel of 16 bits, as depth maps have.
        camera: make, model, lens and serial number, and the focal length as set; "" where the file does not say.
        focal_px: focal length in pixels of the picture as stored, or None where it cannot be told.
        date: the day it was taken, ISO 8601, by the camera's own clock; None where the file does not say.
    """

    width: int
    height: int
    is_depth_like: bool
    camera: str
    focal_px: float | None
    date: str | None = None


def read_photograph_header(path: Path) -> PhotographHeader:
    """Size, camera and focal length of a picture without decoding it; damaged EXIF counts as none.

    The focal length comes from the equivalent for 35 mm film, which is defined by the diagonal (CIPA DCG-001), else from the
    focal length in millimetres and the pixels of the focal plane.

    Raises:
        DataFormatError: missing, empty or not a picture.
    """

    def read(image: Any) -> PhotographHeader:
        size = (int(image.width), int(image.height))
        try:
            tags = image.getexif()
            more = tags.get_ifd(_EXIF_IFD)
        except Exception:  # decoders meet damaged tags with all kinds of errors; a picture without EXIF is the normal case
            tags, more = {}, {}
        said = [_text(tags.get(_MAKE)), _text(tags.get(_MODEL)), _text(more.get(_LENS)), _text(more.get(_BODY_SERIAL))]
        focal_mm = _number(more.get(_FOCAL_MM))
        known = [part for part in said if part]
        if focal_mm is not None:
            known.append(f"{focal_mm:g} mm")
        is_depth_like = str(image.mode).startswith("I")
        return PhotographHeader(*size, is_depth_like, " ".join(known), _focal_px(size, more, focal_mm), _date(more))

    return with_image(path, read)


def _focal_px(size: tuple[int, int], tags: Any, focal_mm: float | None) -> float | None:
    equivalent = _number(tags.get(_FOCAL_35MM))
    if equivalent is not None:
        return _plausible(equivalent * math.hypot(*size) / _DIAGONAL_35MM, size)
    per_unit = _number(tags.get(_PLANE_X)) or _number(tags.get(_PLANE_Y))
    unit = _MM_PER_UNIT.get(int(_number(tags.get(_PLANE_UNIT)) or 2))
    if focal_mm is None or per_unit is None or unit is None:
        return None
    return _plausible(focal_mm * per_unit / unit, size)


def _date(tags: Any) -> str | None:
    """ "2025:03:28 10:11:12" as 2025-03-28; a clock that was never set says nothing."""
    for tag in (_TAKEN, _DIGITISED):
        found = re.match(r"(\d{4})[:\-](\d\d)[:\-](\d\d)", _text(tags.get(tag)))
        try:
            day = None if found is None else date(*(int(part) for part in found.groups()))
        except ValueError:
            continue
        if day is not None and day.year > 1980:
            return day.isoformat()
    return None


def _plausible(focal_px: float, size: tuple[int, int]) -> float | None:
    low, high = _PLAUSIBLE
    return focal_px if low * max(size) <= focal_px <= high * max(size) else None


def _number(value: Any) -> float | None:
    """A positive finite number, whatever type a decoder makes of it."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _text(value: Any) -> str:
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else value if isinstance(value, str) else ""
    return "".join(character for character in text if character.isprintable()).strip()

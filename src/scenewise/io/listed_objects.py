"""JSON that other programs wrote: read leniently, and every complaint says where it belongs."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from scenewise.errors import DataFormatError
from scenewise.io.views import check_text


@dataclass(frozen=True)
class ListedObject:
    """A JSON object with its place in a file, so that every complaint can say where."""

    path: Path
    place: str
    values: dict[str, Any]

    def wrong(self, key: str, *, expected: str, got: object, fix: str = "correct it, or write the list again") -> DataFormatError:
        """The error for a value that does not fit."""
        return DataFormatError(self.path, f"{self.place}{key}", expected=expected, got=got, fix=fix)

    def number(self, key: str) -> float | None:
        """A finite number, or None where the key is absent."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            fix = "write numbers without quotation marks" if isinstance(value, str) else "write a number"
            raise self.wrong(key, expected="a number", got=repr(value)[:80], fix=fix)
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self.wrong(key, expected="a finite number", got=repr(value)[:80])
        return number

    def text(self, key: str) -> str | None:
        """A file name or other short text, or None where the key is absent."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, str):
            raise self.wrong(key, expected="text", got=repr(value)[:80])
        return check_text(self.path, f"{self.place}{key}", value)

    def matrix(self, key: str) -> Float64[np.ndarray, "4 4"]:
        """A finite 4×4 (or 3×4) matrix; the former also as one list of its numbers, row by row."""
        value = self.values.get(key)
        try:
            matrix = np.array(value, dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise self.wrong(key, expected="4×4 numbers", got=repr(value)[:80]) from error
        if matrix.shape == (16,):
            matrix = matrix.reshape(4, 4)  # one that goes column by column is refused below: its last row is not 0 0 0 1
        if matrix.shape == (3, 4):
            matrix = np.concatenate([matrix, [[0.0, 0.0, 0.0, 1.0]]])
        if matrix.shape != (4, 4):
            raise self.wrong(key, expected="4×4 numbers", got=f"shape {matrix.shape}")
        if not np.isfinite(matrix).all():
            raise self.wrong(key, expected="finite numbers", got="NaN or Inf", fix="remove the frame")
        if np.abs(matrix[3] - [0.0, 0.0, 0.0, 1.0]).max() > 1e-6:
            raise self.wrong(key, expected="last row 0 0 0 1", got=matrix[3].tolist())
        return matrix

    def names(self, key: str) -> list[str] | None:
        """A list of file names, or None where the key is absent."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise self.wrong(key, expected="a list of file names", got=repr(value)[:80])
        return value


def read_listed_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file that others wrote: unlike ours, it may begin with a byte-order mark and hold a key twice.

    Raises:
        DataFormatError: unreadable, not UTF-8, not JSON, nested too deeply, or not an object.
    """
    try:
        value = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise DataFormatError(path, expected="a readable file", got=error.strerror or str(error)) from error
    except RecursionError as error:
        fix = "this is no list of photographs"
        raise DataFormatError(path, expected="JSON", got="nesting too deep", fix=fix) from error
    except UnicodeDecodeError as error:
        raise DataFormatError(path, expected="JSON in UTF-8", got=str(error), fix="save it again as UTF-8") from error
    except ValueError as error:
        raise DataFormatError(path, expected="JSON", got=str(error), fix="the file is damaged or cut short") from error
    if not isinstance(value, dict):
        fix = "this is no list of photographs"
        raise DataFormatError(path, expected="a JSON object", got=type(value).__name__, fix=fix)
    return value

"""Reading JSON by schema: every key is asked for by name and type, and a key nobody asked for is an error."""

import difflib
import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from scenewise.errors import DataFormatError
from scenewise.io.bounded import open_bounded

_MAX_JSON_BYTES = 1 << 28  # 5,000 cameras take 4 MB
_REQUIRED: Any = object()


def read_json_object(path: str | Path) -> "JsonFields":
    """The object a JSON file holds.

    Raises:
        DataFormatError: no such file, not UTF-8, not JSON, not an object, a key twice, NaN or infinity, too large or too deep.
    """
    path = Path(path)
    with open_bounded(path) as (file, size):
        if size > _MAX_JSON_BYTES:
            raise DataFormatError(path, expected=f"at most {_MAX_JSON_BYTES:,} bytes of JSON", got=f"{size:,}")
        data = file.read(size)  # not a larger number: Python allocates what is asked for
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=partial(_unique, path), parse_constant=partial(_refuse_constant, path)
        )
    except DataFormatError:
        raise
    except json.JSONDecodeError as error:
        raise DataFormatError(
            path,
            f"line {error.lineno}, column {error.colno}",
            expected="JSON",
            got=error.msg,
            fix="the file is damaged or was cut short",
        ) from error
    except (ValueError, RecursionError) as error:  # not UTF-8, an integer of thousands of digits, brackets without end
        raise DataFormatError(path, expected="JSON in UTF-8", got=str(error)[:120]) from error
    return JsonFields(path, "", value)


def _unique(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DataFormatError(path, expected="each key once", got=f"{twice!r} twice")
    return keys


def _refuse_constant(path: Path, word: str) -> NoReturn:
    raise DataFormatError(path, expected="finite numbers", got=word)


class JsonFields:
    """One JSON object whose keys are taken out one by one; :meth:`finish` refuses what is left.

    Args:
        path: the file, for messages.
        place: where in it, e.g. ``world.georeference``.
        value: what stands there.
    """

    def __init__(self, path: Path, place: str, value: object) -> None:
        self.path, self.place = path, place
        if not isinstance(value, dict):
            raise DataFormatError(path, place, expected="an object {…}", got=_brief(value))
        self._values: dict[str, Any] = value
        self._asked: list[str] = []

    def _at(self, key: str) -> str:
        return f"{self.place}.{key}" if self.place else key

    def wrong(self, key: str, expected: str, got: object, fix: str | None = None) -> DataFormatError:
        """The error for a value that does not fit."""
        return DataFormatError(self.path, self._at(key), expected=expected, got=got, fix=fix)

    def _take(self, key: str, default: object) -> Any:
        self._asked.append(key)
        if key not in self._values:
            if default is _REQUIRED:
                raise self.wrong(key, "this key", "nothing")
            return default
        return self._values[key]

    def text(self, key: str, default: Any = _REQUIRED) -> Any:
        """A string; ``default=None`` also allows null."""
        value = self._take(key, default)
        if not isinstance(value, str) and not (value is None and default is None):
            raise self.wrong(key, "a text", _brief(value))
        return value

    def choice(self, key: str, allowed: Sequence[str]) -> Any:
        """One of a few strings."""
        value = self._take(key, _REQUIRED)
        if value not in allowed:
            raise self.wrong(key, " or ".join(repr(name) for name in allowed), _brief(value))
        return value

    def integer(self, key: str, default: Any = _REQUIRED, *, minimum: int = 0, maximum: int = 2**53) -> Any:
        """A whole number in a range; ``default=None`` also allows null."""
        value = self._take(key, default)
        if value is None and default is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
            raise self.wrong(key, f"a whole number from {minimum} to {maximum}", _brief(value))
        return value

    def number(self, key: str, default: Any = _REQUIRED) -> Any:
        """A finite float; ``default=None`` also allows null."""
        value = self._take(key, default)
        if value is None and default is None:
            return None
        if not _is_finite_number(value):
            raise self.wrong(key, "a finite number", _brief(value))
        return float(value)

    def array(self, key: str, shape: tuple[int, ...], default: Any = _REQUIRED) -> Any:
        """A float64 array of exactly this shape; ``default=None`` also allows null."""
        value = self._take(key, default)
        if value is None and default is None:
            return None
        if not _has_shape(value, shape):
            raise self.wrong(key, f"finite numbers in the shape {'×'.join(map(str, shape))}", _brief(value))
        return np.array(value, dtype=np.float64)

    def rows(self, key: str, width: int, *, most: int) -> Any:
        """A float64 array of any number of rows up to ``most``, all of this width."""
        value = self._take(key, _REQUIRED)
        if not isinstance(value, list) or len(value) > most or not all(_has_shape(row, (width,)) for row in value):
            raise self.wrong(key, f"at most {most:,} rows of {width} finite numbers", _brief(value))
        return np.array(value, dtype=np.float64).reshape(-1, width)

    def integers(self, key: str, default: Any = _REQUIRED) -> Any:
        """A list of whole numbers of 64 bits; ``default=None`` also allows null."""
        value = self._take(key, default)
        if value is None and default is None:
            return None
        if not isinstance(value, list):
            raise self.wrong(key, "a list […]", _brief(value))
        wrong = next((i for i, item in enumerate(value) if type(item) is not int or not -(2**63) <= item < 2**63), None)
        if wrong is not None:
            raise self.wrong(f"{key}[{wrong}]", "a whole number of 64 bits", _brief(value[wrong]))
        return value

    def object(self, key: str, default: Any = _REQUIRED) -> Any:
        """A nested object as :class:`JsonFields`; ``default=None`` also allows null."""
        value = self._take(key, default)
        if value is None and default is None:
            return None
        return JsonFields(self.path, self._at(key), value)

    def objects(self, key: str) -> "list[JsonFields]":
        """A list of nested objects."""
        value = self._take(key, _REQUIRED)
        if not isinstance(value, list):
            raise self.wrong(key, "a list […]", _brief(value))
        return [JsonFields(self.path, f"{self._at(key)}[{index}]", item) for index, item in enumerate(value)]

    def lists(self, key: str) -> list[list[Any]]:
        """A list of lists with free content."""
        value = self._take(key, _REQUIRED)
        if not isinstance(value, list) or not all(isinstance(item, list) for item in value):
            raise self.wrong(key, "a list of lists", _brief(value))
        return value

    def flag(self, key: str, default: Any = _REQUIRED) -> bool:
        """true or false."""
        value = self._take(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false", _brief(value))
        return value

    def texts(self, key: str, default: Any = _REQUIRED) -> Any:
        """A list of strings; ``default=None`` also allows null."""
        value = self._take(key, default)
        if value is None and default is None:
            return None
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.wrong(key, "a list of texts", _brief(value))
        return tuple(value)

    def mapping(self, key: str) -> dict[str, Any]:
        """A nested object with free content; an absent one is empty."""
        value = self._take(key, {})
        if not isinstance(value, dict):
            raise self.wrong(key, "an object {…}", _brief(value))
        return value

    def keys(self) -> tuple[str, ...]:
        """All keys there are; they count as asked for."""
        self._asked.extend(self._values)
        return tuple(self._values)

    def finish(self) -> None:
        """Refuses keys that nobody asked for."""
        for key in self._values:
            if key not in self._asked:
                close = difflib.get_close_matches(key, self._asked, n=1)
                fix = f"did you mean {close[0]!r}?" if close else "remove it, or use the version of Scenewise that wrote it"
                raise DataFormatError(self.path, self.place, expected="only known keys", got=repr(key), fix=fix)


def _is_finite_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond float64
        return False


def _has_shape(value: object, shape: tuple[int, ...]) -> bool:
    if not shape:
        return _is_finite_number(value)
    return isinstance(value, list) and len(value) == shape[0] and all(_has_shape(item, shape[1:]) for item in value)


def _brief(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, str | int | float | bool | None) else type(value).__name__
    return text if len(text) <= 60 else text[:57] + "…"

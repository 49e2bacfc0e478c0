"""Values in JSON's own types, and the one canonical text of a value that fingerprints are taken of."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any


def json_ready(value: object) -> Any:
    """``value`` in JSON's own types: records become objects, paths text, arrays lists, NaN and infinities null."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return {item.name: json_ready(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): json_ready(item) for key, item in value.items()}
    if hasattr(value, "tolist"):  # NumPy and torch values, without importing either
        return json_ready(value.tolist())
    if isinstance(value, Sequence | set | frozenset):
        return [json_ready(item) for item in value]
    return str(value)


def canonical_json(value: object) -> str:
    """The one text of a value: JSON with sorted keys, in ASCII, ``", "`` and ``": "`` between its parts.

    >>> canonical_json({"b": (1, 2.5), "a": None})
    '{"a": null, "b": [1, 2.5]}'
    """
    return json.dumps(json_ready(value), sort_keys=True, allow_nan=False)


def fingerprint_of(value: object) -> str:
    """SHA-256 of the canonical text, as 64 hexadecimal digits.

    >>> fingerprint_of({"steps": 1})[:16]
    '9d7ff7f1fb36e43b'
    """
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()

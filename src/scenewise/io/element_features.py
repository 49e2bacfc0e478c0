"""Lifted teacher outputs beside a scene: ``features/teacher_points.safetensors``, ``features/teacher_splats.safetensors``.

``values`` f16 [n, dim] and ``weight`` f32 [n]; the header's metadata names the teacher.  Row i belongs to row i of ``points.ply``
or ``splats.ply``.
"""

import json
from pathlib import Path
from typing import Literal, cast

import numpy as np

from scenewise.errors import DataFormatError, ScenewiseError
from scenewise.io.atomic import atomic_write_bytes
from scenewise.io.bounded import open_bounded
from scenewise.scenes.dense_fields import FieldKind
from scenewise.scenes.element_features import ElementFeatures

FEATURES_FOLDER = "features"
_TYPES = {"values": ("F16", 2), "weight": ("F32", 1)}
_KEYS = {"kind", "teacher", "read_out", "fingerprint", "text_from", "classes"}


def features_path(folder: str | Path, of: Literal["splats", "points"]) -> Path:
    """Where a scene folder keeps the features of its splats or points."""
    return Path(folder) / FEATURES_FOLDER / f"teacher_{of}.safetensors"


def write_element_features(path: str | Path, features: ElementFeatures) -> None:
    """Features to a safetensors file.

    Raises:
        ResourceError: the disk is full or the folder cannot be written.
    """
    from safetensors.numpy import save

    about = {
        "kind": features.kind,
        "teacher": features.teacher,
        "read_out": json.dumps(features.read_out),
        "fingerprint": features.fingerprint,
        "text_from": json.dumps(features.text_from),
        "classes": json.dumps(features.classes, ensure_ascii=False),
    }
    tensors = {"values": np.ascontiguousarray(features.values), "weight": np.ascontiguousarray(features.weight)}
    atomic_write_bytes(path, save(tensors, metadata=about))


def read_element_features(path: str | Path, *, count: int | None = None) -> ElementFeatures:
    """Features from a safetensors file.

    Args:
        path: the file.
        count: number of elements in the file the features belong to; None takes any.

    Raises:
        DataFormatError: not a safetensors file, other tensors or metadata than ours, another number of rows, or values that are
            not finite.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    with open_bounded(path):  # one message for missing files, whatever the library says
        pass
    try:
        with safe_open(path, framework="numpy") as file:
            about = file.metadata() or {}
            if set(file.keys()) != set(_TYPES) or set(about) != _KEYS:
                raise DataFormatError(
                    path,
                    expected=f"the tensors {', '.join(_TYPES)} and the metadata {', '.join(sorted(_KEYS))}",
                    got=f"{', '.join(sorted(file.keys()))} and {', '.join(sorted(about)) or 'none'}",
                )
            for name, (kind, axes) in _TYPES.items():
                part = file.get_slice(name)
                shape = part.get_shape()
                if part.get_dtype() != kind or len(shape) != axes or (count is not None and shape[0] != count):
                    rows = "any number of" if count is None else f"{count}"
                    raise DataFormatError(
                        path,
                        name,
                        expected=f"{rows} rows of {kind} on {axes} axes",
                        got=f"{part.get_dtype()} of shape {shape}",
                        fix="the features belong to another file; run scenewise segment again",
                    )
            values, weight = file.get_tensor("values"), file.get_tensor("weight")
    except SafetensorError as error:
        raise DataFormatError(path, expected="a safetensors file", got=str(error)[:120], fix="the file is damaged") from error
    for name, numbers in (("values", values), ("weight", weight)):
        if not np.isfinite(numbers).all():
            raise DataFormatError(path, name, expected="finite numbers", got="NaN or Inf", fix="run scenewise segment again")
    if about["kind"] not in ("features", "probabilities"):
        raise DataFormatError(path, "metadata kind", expected="features or probabilities", got=repr(about["kind"][:40]))
    read_out, text_from = _optional_text(path, about, "read_out"), _optional_text(path, about, "text_from")
    classes = _json(path, about, "classes")
    if not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
        raise DataFormatError(path, "metadata classes", expected="a list of texts", got=repr(classes)[:80])
    try:
        return ElementFeatures(
            values=values,
            weight=weight,
            kind=cast(FieldKind, about["kind"]),
            teacher=about["teacher"],
            read_out=read_out,
            fingerprint=about["fingerprint"],
            text_from=text_from,
            classes=tuple(classes),
        )
    except ScenewiseError as error:
        raise DataFormatError(path, got=str(error)) from error


def _json(path: Path, about: dict[str, str], key: str) -> object:
    try:
        return cast(object, json.loads(about[key]))
    except (ValueError, RecursionError) as error:
        raise DataFormatError(path, f"metadata {key}", expected="JSON", got=repr(about[key][:80])) from error


def _optional_text(path: Path, about: dict[str, str], key: str) -> str | None:
    value = _json(path, about, key)
    if not (value is None or isinstance(value, str)):
        raise DataFormatError(path, f"metadata {key}", expected="a text or null", got=repr(value)[:80])
    return value

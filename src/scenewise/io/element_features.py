"""Lifted teacher outputs beside a scene: ``features/teacher_points.safetensors``, ``features/teacher_splats.safetensors``.

``values`` f16 [n, dim] and ``weight`` f32 [n]; the header's metadata names the teacher.  Row i belongs to row i of ``points.ply``
or ``splats.ply``.
"""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from scenewise.errors import DataFormatError, ScenewiseError
from scenewise.io.atomic import atomic_write_bytes
from scenewise.io.bounded import open_bounded
from scenewise.scenes.element_features import ElementFeatures

FEATURES_FOLDER = "features"
_TYPES = {"values": ("F16", 2), "weight": ("F32", 1)}
_ABOUT = "teacher"
_SMOOTHING = "key_smoothing"  # may lack: false
_CHANGED = "read_out_settings"  # may lack: none
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

    about: dict[str, Any] = {
        "kind": features.kind,
        "teacher": features.teacher,
        "read_out": features.read_out,
        "fingerprint": features.fingerprint,
        "text_from": features.text_from,
        "classes": list(features.classes),
    }
    if features.key_smoothing:
        about[_SMOOTHING] = True
    if features.read_out_settings:
        about[_CHANGED] = dict(features.read_out_settings)
    tensors = {"values": np.ascontiguousarray(features.values), "weight": np.ascontiguousarray(features.weight)}
    # One entry: the library writes several in an order that changes from run to run.
    atomic_write_bytes(path, save(tensors, metadata={_ABOUT: json.dumps(about, ensure_ascii=False)}))


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
            if set(file.keys()) != set(_TYPES):
                names = ", ".join(sorted(file.keys()))[:120] or "none"
                raise DataFormatError(path, expected=f"the tensors {', '.join(_TYPES)}", got=names)
            about = _about(path, (file.metadata() or {}).get(_ABOUT))
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
    try:
        return ElementFeatures(values=values, weight=weight, **about)
    except ScenewiseError as error:
        raise DataFormatError(path, got=str(error)) from error


def _about(path: Path, text: str | None) -> dict[str, Any]:
    """The checked description of the teacher."""
    try:
        about = json.loads(text or "")
    except (ValueError, RecursionError) as error:
        raise DataFormatError(path, f"metadata {_ABOUT}", expected="JSON", got=repr((text or "")[:80])) from error
    if not isinstance(about, dict) or set(about) - {_SMOOTHING, _CHANGED} != _KEYS:
        keys = ", ".join(sorted(about)) if isinstance(about, dict) else type(about).__name__
        raise DataFormatError(path, f"metadata {_ABOUT}", expected=f"the keys {', '.join(sorted(_KEYS))}", got=keys[:200])
    if about["kind"] not in ("features", "probabilities"):
        raise DataFormatError(path, f"metadata {_ABOUT}.kind", expected="features or probabilities", got=repr(about["kind"])[:80])
    for key, may_lack in (("teacher", False), ("fingerprint", False), ("read_out", True), ("text_from", True)):
        if not isinstance(about[key], str) and not (may_lack and about[key] is None):
            raise DataFormatError(path, f"metadata {_ABOUT}.{key}", expected="a text", got=repr(about[key])[:80])
    if not (isinstance(about["classes"], list) and all(isinstance(name, str) for name in about["classes"])):
        raise DataFormatError(path, f"metadata {_ABOUT}.classes", expected="a list of texts", got=repr(about["classes"])[:80])
    if not isinstance(about.get(_SMOOTHING, False), bool):
        raise DataFormatError(path, f"metadata {_ABOUT}.{_SMOOTHING}", expected="true or false", got=repr(about[_SMOOTHING])[:80])
    if not isinstance(about.get(_CHANGED, {}), dict):
        raise DataFormatError(path, f"metadata {_ABOUT}.{_CHANGED}", expected="an object", got=repr(about[_CHANGED])[:80])
    return {**about, "classes": tuple(about["classes"])}

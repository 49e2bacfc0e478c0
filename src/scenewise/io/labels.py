"""Labels beside splats or points: ``labels_splats.safetensors``, ``labels_points.safetensors``.

Each holds ``class_id`` int32, ``instance_id`` int32 and ``confidence`` float32 of the same length; row i belongs to row i of
``splats.ply`` or ``points.ply``; −1 = unknown.
"""

from pathlib import Path

import numpy as np

from scenewise.errors import ConventionError, DataFormatError, ShapeError
from scenewise.io.atomic import atomic_write_bytes
from scenewise.io.bounded import open_bounded
from scenewise.scenes.labels import ElementLabels

_TYPES = {"class_id": "int32", "instance_id": "int32", "confidence": "float32"}


def write_labels(path: str | Path, labels: ElementLabels, *, count: int) -> None:
    """Labels to a safetensors file.

    Args:
        path: the file.
        labels: one row per element.
        count: number of elements in the file the labels belong to.

    Raises:
        ShapeError: there are more or fewer labels than elements.
        ResourceError: the disk is full or the folder cannot be written.
    """
    from safetensors.numpy import save

    if len(labels) != count:
        raise ShapeError("labels", expected=f"{count} rows, one per element", got=len(labels))
    values = {"class_id": labels.class_ids, "instance_id": labels.instance_ids, "confidence": labels.confidence}
    atomic_write_bytes(path, save({name: np.ascontiguousarray(values[name], dtype=kind) for name, kind in _TYPES.items()}))


def read_labels(path: str | Path, *, count: int) -> ElementLabels:
    """Labels from a safetensors file.

    Args:
        path: the file.
        count: number of elements in the file the labels belong to.

    Raises:
        DataFormatError: not a safetensors file, other tensors than the three, another number of rows, or values out of range.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    with open_bounded(path):  # one message for missing files, whatever the library says
        pass
    try:
        with safe_open(path, framework="numpy") as file:
            names = set(file.keys())
            if names != set(_TYPES):
                raise DataFormatError(path, expected=f"the tensors {', '.join(_TYPES)}", got=", ".join(sorted(names)) or "none")
            tensors = {}
            for name, kind in _TYPES.items():
                shape = file.get_slice(name).get_shape()
                if shape != [count]:
                    raise DataFormatError(
                        path,
                        name,
                        expected=f"{count} rows",
                        got=f"the shape {shape}",
                        fix="the labels belong to another file; make them again",
                    )
                tensors[name] = file.get_tensor(name)
                if tensors[name].dtype != kind:
                    raise DataFormatError(path, name, expected=kind, got=tensors[name].dtype)
    except SafetensorError as error:
        raise DataFormatError(path, expected="a safetensors file", got=str(error)[:120], fix="the file is damaged") from error
    except (TypeError, KeyError, ValueError) as error:  # a number type numpy does not have
        if isinstance(error, DataFormatError):
            raise
        raise DataFormatError(path, expected="int32 and float32 tensors", got=str(error)[:120]) from error
    try:
        return ElementLabels(tensors["class_id"], tensors["instance_id"], tensors["confidence"])
    except ConventionError as error:
        raise DataFormatError(path, got=str(error)) from error

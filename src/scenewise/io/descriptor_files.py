"""Global descriptors of pictures by any network, as files: ``DIR/teacher.json`` and ``DIR/<image stem>.safetensors``.

``teacher.json`` holds ``kind`` ("descriptors"), ``dim``, and perhaps ``name`` of the network and ``licence`` of its weights.  A
file holds ``descriptor`` f16 or f32 [dim] of any length but zero.  It lies in the picture's subfolder where frames are named with
one, as the answers of a teacher do (:mod:`scenewise.io.teacher_files`).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from scenewise.errors import DataFormatError
from scenewise.io.bounded import open_bounded
from scenewise.io.json_fields import read_json_object
from scenewise.io.teacher_files import TEACHER_FILE, find_answer

KIND = "descriptors"
_MOST_DIMS = 8192  # what a library takes
_TYPES = ("F16", "F32")


@dataclass(frozen=True)
class DescriptorFiles:
    """A folder of descriptors.

    Attributes:
        folder: where they are.
        name: of the network.
        dim: of a descriptor.
        licence: of the weights, or None.
    """

    folder: Path
    name: str
    dim: int
    licence: str | None = None


def read_descriptor_files(folder: str | Path) -> DescriptorFiles:
    """What ``teacher.json`` says.

    Raises:
        DataFormatError: no such folder or file, another kind, or a key that is missing or unknown.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataFormatError(folder, expected=f"a folder with {TEACHER_FILE}", got="a file" if folder.exists() else "nothing")
    top = read_json_object(folder / TEACHER_FILE)
    top.choice("kind", (KIND,))
    dim = top.integer("dim", minimum=1, maximum=_MOST_DIMS)
    name = top.text("name", None) or folder.resolve().name
    licence = top.text("licence", None)
    top.finish()
    return DescriptorFiles(folder, name, dim, licence)


def read_descriptor(files: DescriptorFiles, frame_name: str, below: str | None = None) -> Float32[np.ndarray, "dim"]:
    """The descriptor of a picture, at unit length.

    Args:
        files: where it is.
        frame_name: of the picture.
        below: subfolder that is looked into first: the name of a scene among several.

    Raises:
        DataFormatError: there is none, or a damaged one.
    """
    from safetensors import SafetensorError, safe_open

    places = [files.folder / below, files.folder] if below is not None else [files.folder]
    path = next((found for place in places if (found := find_answer(place, frame_name)) is not None), None)
    if path is None:
        raise DataFormatError(files.folder, frame_name, expected=f"{Path(frame_name).stem}.safetensors", got="no such file")
    with open_bounded(path):  # one message for what cannot be read, whatever the library says
        pass
    try:
        with safe_open(path, framework="numpy") as file:
            names = sorted(file.keys())
            if names != ["descriptor"]:
                raise DataFormatError(path, expected="the tensor descriptor", got=", ".join(names) or "none")
            described = file.get_slice("descriptor")
            if described.get_dtype() not in _TYPES or list(described.get_shape()) != [files.dim]:
                got = f"{described.get_dtype()} {list(described.get_shape())}"
                raise DataFormatError(path, "descriptor", expected=f"{' or '.join(_TYPES)} [{files.dim}]", got=got)
            vector = file.get_tensor("descriptor").astype(np.float64)
    except SafetensorError as error:
        raise DataFormatError(path, expected="a safetensors file", got=str(error)[:120], fix="the file is damaged") from error
    length = float(np.linalg.norm(vector))
    if not (np.isfinite(length) and length > 0):
        raise DataFormatError(path, "descriptor", expected="a vector with a direction", got=f"one of length {length}")
    unit: Float32[np.ndarray, " dim"] = (vector / length).astype(np.float32)
    return unit

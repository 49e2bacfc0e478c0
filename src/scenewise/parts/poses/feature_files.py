"""Features of one picture and the file that keeps them; neither needs torch, so a process that only reads them starts at once."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from scenewise.errors import DataFormatError

QUANTA = 512.0
"""Steps per unit of a descriptor: a RootSIFT entry is rarely above ½; COLMAP keeps descriptors with the same factor."""


@dataclass(frozen=True)
class PictureFeatures:
    """Features of one picture, those of the largest scale first.

    Attributes:
        pixels: positions in the full picture, centres at half-integers.
        descriptors_u8: RootSIFT times 512, rounded.
        colors_u8: the picture at the positions.
    """

    pixels: Float32[np.ndarray, "f 2"]
    descriptors_u8: UInt8[np.ndarray, "f 128"]
    colors_u8: UInt8[np.ndarray, "f 3"]

    def __len__(self) -> int:
        return len(self.pixels)

    def unit_descriptors(self) -> Float32[np.ndarray, "f 128"]:
        """RootSIFT of unit length."""
        values = self.descriptors_u8.astype(np.float32)
        return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)


def write_features(path: Path, features: PictureFeatures, name: str) -> None:
    """Writes the file; ``name`` of the picture is for people."""
    from safetensors.numpy import save_file

    arrays = {name: np.ascontiguousarray(getattr(features, name)) for name in ("pixels", "descriptors_u8", "colors_u8")}
    save_file(arrays, path, metadata={"picture_features": name})


def read_features(path: Path) -> PictureFeatures:
    """Features kept in a file.

    Raises:
        DataFormatError: it is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return PictureFeatures(**load_file(path))
    except (SafetensorError, OSError, TypeError, ValueError) as error:
        raise DataFormatError(
            path, expected="features of a picture", got=str(error), fix="delete it; it is made again"
        ) from error

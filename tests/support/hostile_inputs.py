"""What an entry of the corpus of hostile inputs is."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Writer = Callable[[Path], object]
Reader = Callable[[Path], object]


@dataclass(frozen=True)
class Hostile:
    """One input.

    Attributes:
        name: of the test.
        write: makes it in an empty folder; returns the path to read where that is not the folder itself.
        read: reads that path.
        says: words of the error that is right; none where the input is to be read.
        warns: words of the warnings that are right beside it.
        gives: what the reader returns, where that tells something.
    """

    name: str
    write: Writer
    read: Reader
    says: tuple[str, ...] = ()
    warns: tuple[str, ...] = ()
    gives: object = None


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def save_pixels(pixels: np.ndarray, path: Path, **options: Any) -> None:
    Image.fromarray(pixels).save(path, **options)

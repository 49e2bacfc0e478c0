"""Films: frames decoded one after the other by OpenCV."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scenewise.errors import DataFormatError, MissingDependencyError
from scenewise.scenes.frames import ImageU8

FILM_SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".mts", ".3gp")


@dataclass(frozen=True)
class FilmHeader:
    """What a film says of itself; some containers say wrong, so neither number is relied on.

    Attributes:
        frames: how many, 0 where unknown.
        frames_per_second: 0 where unknown.
    """

    frames: int
    frames_per_second: float


def is_film(path: Path) -> bool:
    """Whether a path is a film by its name."""
    return path.is_file() and path.suffix.lower() in FILM_SUFFIXES


def read_film_header(path: Path) -> FilmHeader:
    """How long a film says it is; errors as in :func:`film_frames`."""
    with _opened(path) as film:
        import cv2

        frames, rate = (float(film.get(key)) for key in (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FPS))
    return FilmHeader(
        int(frames) if math.isfinite(frames) and 0 < frames < 1e9 else 0, rate if math.isfinite(rate) and 0 < rate < 1e4 else 0.0
    )


def film_frames(path: Path, wanted: frozenset[int] | None = None) -> Iterator[tuple[int, ImageU8]]:
    """Frames of a film in order, each with its number from 0; those not wanted are passed over without conversion.

    A film that breaks off yields what comes before.

    Raises:
        DataFormatError: nothing in it can be decoded.
        MissingDependencyError: OpenCV is not installed.
    """
    with _opened(path) as film:
        import cv2

        number = 0
        last = None if wanted is None else max(wanted, default=-1)
        while (last is None or number <= last) and film.grab():
            if wanted is None or number in wanted:
                decoded, image = film.retrieve()
                if decoded:
                    yield number, np.ascontiguousarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
            number += 1
    if number == 0 and last != -1:
        raise _unreadable(path, "a film without a frame that can be decoded")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise MissingDependencyError("opencv-python-headless", needed_for="reading films", extra="sfm") from error
    if not path.is_file():
        raise DataFormatError(path, expected="a film", got="no such file", fix="check the path")
    film = cv2.VideoCapture(str(path))
    try:
        if not film.isOpened():
            raise _unreadable(path, "a file that OpenCV cannot decode")
        yield film
    finally:
        film.release()


def _unreadable(path: Path, got: str) -> DataFormatError:
    return DataFormatError(
        path, expected="a film", got=got, fix="play it to see whether it is whole, or convert it to H.264 in .mp4"
    )

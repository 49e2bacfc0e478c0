"""Which frames of a film to use: sharp ones that overlap well with their neighbours."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from scenewise.engine.progress import NullProgress, Progress
from scenewise.errors import DataFormatError
from scenewise.io.films import FilmHeader, film_frames, read_film_header

_WORKING_SIDE = 320
_CORNERS, _FEWEST_CORNERS = 150, 12
_RETURN_PX = 1.0
_LOST = 0.3  # motion that stands for frames between which nothing can be followed: a cut, or a whip of the camera
_STEP = 0.06  # of the diagonal that the picture may move between chosen frames: more than nine tenths stay in view
_MEASURED_PER_SECOND = 12.0
_FEWEST, _MOST = 24, 300
_NEIGHBOURHOOD = 7  # frames before and after with which sharpness is compared
_BLURRED = 0.5  # of the median sharpness around


@dataclass(frozen=True)
class FilmMotion:
    """What was measured of a film's frames.

    Attributes:
        number: of each measured frame in the film.
        sharpness: variance of the Laplacian of each.
        moved: how far the picture moved since the measured frame before, as a share of its diagonal.
    """

    number: Int64[np.ndarray, "f"]
    sharpness: Float64[np.ndarray, "f"]
    moved: Float64[np.ndarray, "f"]


def measure_film(path: Path, progress: Progress | None = None) -> FilmMotion:
    """Sharpness and motion of about a dozen frames a second; all of them where the film is slower.

    Raises:
        DataFormatError: fewer than three frames can be decoded.
        MissingDependencyError: OpenCV is not installed.
    """
    progress = NullProgress() if progress is None else progress
    header = read_film_header(path)
    stride = max(1, round(header.frames_per_second / _MEASURED_PER_SECOND))
    wanted = None if stride == 1 or header.frames == 0 else frozenset(range(0, header.frames, stride))
    numbers, sharpness, moved = [], [], []
    before = None
    with progress.stage("looking through the film", _measured(header, stride)) as stage:
        for number, image in film_frames(path, wanted):
            if wanted is None and number % stride:
                continue
            gray = _small_gray(image)
            numbers.append(number)
            sharpness.append(_sharpness(gray))
            moved.append(0.0 if before is None else picture_motion(before, gray))
            before = gray
            stage.advance()
    if len(numbers) < 3:
        raise DataFormatError(
            path, expected="a film of at least 3 frames", got=len(numbers), fix="check that it plays to its end"
        )
    return FilmMotion(np.array(numbers, dtype=np.int64), np.array(sharpness), np.array(moved))


def choose_frames(motion: FilmMotion, wanted: int | None = None) -> Int64[np.ndarray, "c"]:
    """Numbers of the frames to use, in order.

    The way the picture moves is cut into equal parts, so that neighbours overlap alike whether the camera was quick or slow, and
    the sharpest frame of each part is taken.  A part that is blurred throughout is passed over where its neighbours are not; two
    in a row never are.

    Args:
        motion: of the film.
        wanted: how many; None takes a part for every 6 % of the diagonal, between 24 and 300.
    """
    count = len(motion.number)
    # Time counts a little, so that a camera at rest does not end up with all frames in one part.
    way = np.cumsum(motion.moved + 0.05 * _STEP)
    way -= way[0]
    if wanted is None:
        wanted = min(max(math.ceil(way[-1] / _STEP), _FEWEST), _MOST)
    wanted = min(wanted, count)
    relative = motion.sharpness / np.maximum(_running_median(motion.sharpness), 1e-12)
    part = np.minimum((way / max(way[-1], 1e-12) * wanted).astype(np.int64), wanted - 1)
    chosen: list[int] = []
    passed_over = False
    for index in range(wanted):
        members = np.flatnonzero(part == index)
        if len(members) == 0:  # a jump spans several parts
            continue
        best = int(members[np.argmax(relative[members])])
        if relative[best] < _BLURRED and chosen and not passed_over and index < wanted - 1:
            passed_over = True
            continue
        passed_over = False
        chosen.append(best)
    return motion.number[_filled(chosen, relative, wanted)]


def _filled(chosen: list[int], relative: Float64[np.ndarray, "f"], wanted: int) -> Int64[np.ndarray, "c"]:
    """The chosen frames and, while they are fewer than wanted, the sharpest of the widest gap between them."""
    taken = sorted(set(chosen))
    while len(taken) < wanted:
        gaps = np.diff(np.array([-1, *taken, len(relative)]))
        widest = int(np.argmax(gaps))
        low = -1 if widest == 0 else taken[widest - 1]
        inside = np.arange(low + 1, low + gaps[widest])
        sharp = inside[relative[inside] >= _BLURRED]
        if gaps[widest] < 2 or len(sharp) == 0:
            break
        middle = (inside[0] + inside[-1]) / 2
        taken = sorted([*taken, int(sharp[np.argmin(np.abs(sharp - middle))])])
    return np.array(taken, dtype=np.int64)


def picture_motion(gray: UInt8[np.ndarray, "height width"], later: UInt8[np.ndarray, "height width"]) -> float:
    """Median displacement of corners that can be followed, as a share of the diagonal.

    Source: Lucas and Kanade 1981 in pyramids (Bouguet 2001), of corners by Shi and Tomasi 1994; those that do not come back to
    where they started are not followed (Kalal et al. 2010).
    """
    import cv2

    corners = cv2.goodFeaturesToTrack(gray, _CORNERS, 0.01, 7)
    if corners is None or len(corners) < _FEWEST_CORNERS:
        return _LOST if corners is not None or np.any(gray != later) else 0.0
    moved, found, _ = cv2.calcOpticalFlowPyrLK(gray, later, corners, np.zeros_like(corners))
    back, found_back, _ = cv2.calcOpticalFlowPyrLK(later, gray, moved, np.zeros_like(corners))
    kept = (found[:, 0] == 1) & (found_back[:, 0] == 1) & (np.linalg.norm(back - corners, axis=2)[:, 0] < _RETURN_PX)
    if kept.sum() < max(_FEWEST_CORNERS, len(corners) // 4):
        return _LOST
    distance = np.linalg.norm((moved - corners)[kept, 0], axis=1)
    return min(float(np.median(distance)) / math.hypot(*gray.shape), _LOST)


def _small_gray(image: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "rows columns"]:
    import cv2

    reduction = min(1.0, _WORKING_SIDE / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * reduction)), max(1, round(image.shape[0] * reduction)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY))


def _sharpness(gray: UInt8[np.ndarray, "height width"]) -> float:
    import cv2

    return float(cv2.Laplacian(gray, cv2.CV_64F).var())


def _running_median(values: Float64[np.ndarray, "f"]) -> Float64[np.ndarray, "f"]:
    reach = _NEIGHBOURHOOD
    return np.array([np.median(values[max(0, i - reach) : i + reach + 1]) for i in range(len(values))])


def _measured(header: FilmHeader, stride: int) -> int | None:
    return None if header.frames == 0 else -(-header.frames // stride)

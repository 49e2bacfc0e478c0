"""Which pictures are worth comparing."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from scenewise.errors import ConventionError
from scenewise.parts.poses.photographs import Photograph, Position
from scenewise.parts.poses.settings import PoseSettings

_METRES_PER_DEGREE = 111_320.0  # of latitude; WGS 84 at 45°, to a part in a thousand
_WITH_GPS = 0.8  # share of the pictures with a position from which "auto" trusts positions
_FEW_ALIKE = 4  # partners by likeness where the order of the names already gives most: places that are seen again
_NEXT_ALWAYS = 3  # pictures that follow are compared whatever else is chosen
_LARGEST_GAP = 50  # median step of the numbers in names that still looks like one series


@dataclass(frozen=True)
class ChosenPairs:
    """Pairs of pictures to compare, and how they were chosen.

    Attributes:
        pairs: rows of two indices, the smaller first, in ascending order.
        how: for people.
    """

    pairs: Int64[np.ndarray, "p 2"]
    how: str


def choose_pairs(
    pictures: Sequence[Photograph],
    settings: PoseSettings,
    *,
    is_film: bool,
    signatures: Callable[[], Float32[np.ndarray, "n d"]],
) -> ChosenPairs:
    """Pairs by what is known of the pictures.

    "auto" compares all with all up to ``all_pairs_up_to`` pictures (films apart).  Beyond that it takes GPS neighbours where
    most pictures have a position, else those that follow in a film or a series of numbered names, and those that look alike.

    Args:
        pictures: in natural order of their names.
        settings: the choice and its sizes.
        is_film: whether they are frames of a film.
        signatures: unit vectors that tell how much pictures look alike; asked for only where they are needed.

    Raises:
        ConventionError: GPS neighbours were asked for and there are no positions.
    """
    count = len(pictures)
    positions = [picture.position for picture in pictures]
    located = sum(position is not None for position in positions)
    choice = settings.pairs
    ordered = is_film or in_series([picture.name for picture in pictures])
    if choice == "gps" and located < 2:
        raise ConventionError(
            "--pairs gps", expected="GPS positions in EXIF or gps.csv", got=f"{located} of {count}", fix="--pairs similar"
        )
    if choice == "auto" and not is_film and count <= settings.all_pairs_up_to:
        choice = "all"
    if choice == "auto" and located >= max(2, _WITH_GPS * count):
        choice = "gps"
    if choice == "auto" and ordered:
        choice = "sequential"
    if choice == "auto":
        choice = "similar"
    match choice:
        case "all":
            return ChosenPairs(_sorted(all_pairs(count), count), "all with all")
        case "gps":
            near = np.concatenate([nearest_positions(positions, settings.partners), following(count, _NEXT_ALWAYS)])
            lost = np.flatnonzero([position is None for position in positions])
            if len(lost):
                alike = most_alike(signatures(), settings.partners)
                near = np.concatenate([near, alike[np.isin(alike, lost).any(axis=1)]])
            return ChosenPairs(_sorted(near, count), f"each with its {settings.partners} nearest by GPS")
        case "sequential":
            near = following(count, settings.neighbours)
            if count > settings.neighbours + 1:
                near = np.concatenate([near, most_alike(signatures(), _FEW_ALIKE, apart=settings.neighbours)])
            said = f"each with the {settings.neighbours} that follow and the {_FEW_ALIKE} others most alike"
            return ChosenPairs(_sorted(near, count), said)
        case "similar":
            near = np.concatenate([most_alike(signatures(), settings.partners), following(count, _NEXT_ALWAYS)])
            return ChosenPairs(_sorted(near, count), f"each with the {settings.partners} most alike")
    raise AssertionError(choice)


def expected_pairs(count: int, settings: PoseSettings) -> int:
    """About how many pairs "auto" chooses among pictures of which nothing is known yet."""
    if count <= settings.all_pairs_up_to:
        return count * (count - 1) // 2
    return count * (settings.neighbours + _FEW_ALIKE)


def all_pairs(count: int) -> Int64[np.ndarray, "p 2"]:
    """Every pair once."""
    return np.stack(np.triu_indices(count, 1), axis=1).astype(np.int64)


def following(count: int, neighbours: int) -> Int64[np.ndarray, "p 2"]:
    """Each with those that follow it, and with those twice and four times as far, which span small gaps.

    >>> following(4, 1).tolist()
    [[0, 1], [1, 2], [2, 3], [0, 2], [1, 3]]
    """
    steps = [*range(1, neighbours + 1), 2 * neighbours, 4 * neighbours]
    pairs = [(first, first + step) for step in steps for first in range(count - step)]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def nearest_positions(positions: Sequence[Position | None], partners: int) -> Int64[np.ndarray, "p 2"]:
    """Each with its nearest on the ground; those without a position are left out.

    Distances are horizontal: altitudes by GPS are off by tens of metres.
    """
    known = np.array([index for index, position in enumerate(positions) if position is not None], dtype=np.int64)
    degrees = np.array([position[:2] for position in positions if position is not None]).reshape(-1, 2)
    if len(known) < 2:
        return np.zeros((0, 2), np.int64)
    east = (degrees[:, 1] - degrees[0, 1] + 180.0) % 360.0 - 180.0
    north = degrees[:, 0] - degrees[0, 0]
    ground = _METRES_PER_DEGREE * np.stack([east * np.cos(np.radians(degrees[:, 0].mean())), north], axis=1)
    from scipy.spatial import cKDTree

    _, near = cKDTree(ground).query(ground, k=min(partners + 1, len(known)))
    near = np.asarray(near).reshape(len(known), -1)
    mine = np.repeat(np.arange(len(known)), near.shape[1])
    return np.stack([known[mine], known[near.reshape(-1)]], axis=1)


def most_alike(signatures: Float32[np.ndarray, "n d"], partners: int, *, apart: int = 0) -> Int64[np.ndarray, "p 2"]:
    """Each with those whose signatures agree most with its own; ties go to the first.

    Args:
        signatures: unit vectors.
        partners: of each.
        apart: those at most so far before or after do not count.
    """
    count = len(signatures)
    likeness = (signatures @ signatures.T).astype(np.float32)
    order = np.arange(count)
    near = np.abs(order[:, None] - order[None, :]) <= apart
    likeness[near] = -np.inf
    best = np.argsort(-likeness, axis=1, kind="stable")[:, : min(partners, count - 1)]
    pairs = np.stack([np.repeat(order, best.shape[1]), best.reshape(-1)], axis=1).astype(np.int64)
    return pairs[~near[pairs[:, 0], pairs[:, 1]]]


def in_series(names: Sequence[str]) -> bool:
    """Whether names are numbers of one series with small steps, as cameras and tools that cut films give them.

    >>> in_series(["IMG_0001.JPG", "IMG_0002.JPG", "IMG_0004.JPG"]), in_series(["tower.jpg", "church.jpg"])
    (True, False)
    """
    numbered = [re.fullmatch(r"(.*?)([0-9]+)([^0-9]*)", name) for name in names]
    parts = [match.groups() for match in numbered if match is not None]
    if len(parts) < len(names) or len({(head, tail) for head, _, tail in parts}) > 1:
        return False
    steps = np.diff(np.array([float(number) for _, number, _ in parts]))
    return len(steps) > 0 and bool((steps > 0).all()) and float(np.median(steps)) <= _LARGEST_GAP


def _sorted(pairs: Int64[np.ndarray, "q 2"], count: int) -> Int64[np.ndarray, "p 2"]:
    """Each pair once, the smaller index first, in ascending order."""
    low, high = pairs.min(axis=1), pairs.max(axis=1)
    codes = np.unique((low * count + high)[low != high])
    return np.stack([codes // max(1, count), codes % max(1, count)], axis=1).astype(np.int64)

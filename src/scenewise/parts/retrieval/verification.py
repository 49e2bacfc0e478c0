"""Whether matches agree on one place: the pose of one scene in another."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from scenewise.parts.retrieval.keypoints import KeyPoints

LEAST_INLIERS = 6
"""Matches that agree on one pose before it is believed; three always do, and in a thousand tries five by chance."""
_TRIES = 1000
_SCENE_TOLERANCE = 0.15  # metres between matched key points of two captures of a place
_SCALE_SLACK = 4.0
"""How far a unit that was estimated may be off: the median depth of captures lies between a fourth of the typical one and four
times that, from close-ups of a table to halls."""


@dataclass(frozen=True)
class Unit:
    """What a length of 1 in a capture is.

    Attributes:
        per_metre: so many of them are a metre; a guess where the scale is arbitrary.
        is_metric: whether that is known.
    """

    per_metre: float = 1.0
    is_metric: bool = True


METRE = Unit()
"""Of metric captures."""


@dataclass(frozen=True)
class Matches:
    """Pairs of key points that are each other's best answers.

    Attributes:
        asked: rows of the first set.
        held: rows of the second.
        cosines: of each pair, falling.
    """

    asked: Int64[np.ndarray, "pairs"]
    held: Int64[np.ndarray, "pairs"]
    cosines: Float32[np.ndarray, "pairs"]

    def __len__(self) -> int:
        return len(self.asked)


@dataclass(frozen=True)
class ScenePose:
    """How one capture lies in another.

    Attributes:
        held_from_asked: 4×4, scale · rotation and shift; rigid where both are metric.
        inliers: matches that agree.
        matches: that there were.
        scale: of the transform; 1 where both are metric.
        metre: so many units of the held capture count as a metre; 1 where both are metric.
    """

    held_from_asked: Float64[np.ndarray, "4 4"]
    inliers: int
    matches: int
    scale: float = 1.0
    metre: float = 1.0


def mutual_matches(asked: KeyPoints, held: KeyPoints, others: int = 1) -> Matches:
    """Pairs of which each is among the ``others`` best answers to the other.

    Args:
        asked: one set.
        held: the other.
        others: 1: mutual nearest neighbours; more lets repeated designs match several times, and geometry choose.
    """
    if not len(asked) or not len(held):
        none = np.zeros(0, dtype=np.int64)
        return Matches(none, none, none.astype(np.float32))
    cosines = asked.features @ held.features.T
    forward, backward = _among_best(cosines, others), _among_best(cosines.T, others).T
    rows, columns = np.nonzero(forward & backward)
    order = np.argsort(-cosines[rows, columns], kind="stable")
    rows, columns = rows[order], columns[order]
    return Matches(rows, columns, cosines[rows, columns].astype(np.float32))


def _among_best(cosines: Float32[np.ndarray, "n m"], count: int) -> Bool[np.ndarray, "n m"]:
    count = min(count, cosines.shape[1])
    limit = np.partition(cosines, cosines.shape[1] - count, axis=1)[:, cosines.shape[1] - count]
    among: Bool[np.ndarray, "n m"] = cosines >= limit[:, None]
    return among


def scene_pose(
    asked: KeyPoints,
    held: KeyPoints,
    matches: Matches,
    tolerance: float = _SCENE_TOLERANCE,
    units: tuple[Unit, Unit] = (METRE, METRE),
) -> ScenePose | None:
    """The transform on which most matches agree (RANSAC over three matches at a time, then all that agree).

    Where the unit of a capture is a guess, the scale between the two is found along with the rest; it may differ from what the
    guesses say by a factor of four.

    Args:
        asked: key points of one capture.
        held: of the other.
        matches: between them.
        tolerance: metres.
        units: of both.

    Returns:
        None where fewer than six matches agree.
    """
    if len(matches) < LEAST_INLIERS:
        return None
    first = asked.positions[matches.asked].astype(np.float64)
    second = held.positions[matches.held].astype(np.float64)
    rng = np.random.Generator(np.random.PCG64(0))
    # Better matches are drawn more often: the place of a match in the order of cosines is drawn as the least of two.
    drawn = rng.integers(len(matches), size=(2, _TRIES, 3)).min(axis=0)
    drawn = drawn[(drawn[:, 0] != drawn[:, 1]) & (drawn[:, 0] != drawn[:, 2]) & (drawn[:, 1] != drawn[:, 2])]
    drawn = drawn[_are_alike(first[drawn], second[drawn], tolerance, units)]
    if not len(drawn):
        return None
    fits = _Fits.of(first[drawn], second[drawn], units)
    best = fits.agreeing(first, second, tolerance, units)
    chosen = best[int(np.argmax(best.sum(axis=1)))]
    for _ in range(3):
        if int(chosen.sum()) < LEAST_INLIERS:
            return None
        fits = _Fits.of(first[None, chosen], second[None, chosen], units)
        if not _is_plausible(fits.scales, units).all():
            return None
        chosen = fits.agreeing(first, second, tolerance, units)[0]
    inliers, scale = int(chosen.sum()), float(fits.scales[0])
    if inliers < LEAST_INLIERS:
        return None
    found = np.eye(4)
    found[:3, :3], found[:3, 3] = scale * fits.turns[0], fits.shifts[0]
    return ScenePose(found, inliers, len(matches), scale, float(_metres(fits.scales, units)[0]))


def _are_alike(
    first: Float64[np.ndarray, "k 3 3"], second: Float64[np.ndarray, "k 3 3"], tolerance: float, units: tuple[Unit, Unit]
) -> Bool[np.ndarray, "k"]:
    """Whether three points span a triangle of the same shape, large enough, in both captures; else the matches are wrong."""
    sides = [np.linalg.norm(each - np.roll(each, 1, axis=1), axis=2) for each in (first, second)]
    scales = np.ones(len(first))
    if not all(unit.is_metric for unit in units):
        scales = sides[1].sum(axis=1) / np.maximum(sides[0].sum(axis=1), 1e-12)
    allowed = (tolerance * _metres(scales, units))[:, None]
    scaled = scales[:, None] * sides[0]
    alike: Bool[np.ndarray, " k"] = (np.abs(scaled - sides[1]) < 2 * allowed).all(axis=1) & (scaled > 4 * allowed).all(axis=1)
    return alike & _is_plausible(scales, units)


def _metres(scales: Float64[np.ndarray, "k"], units: tuple[Unit, Unit]) -> Float64[np.ndarray, "k"]:
    """How many units of the held capture are a metre, for each scale: what a metric one says, else the lesser of two guesses."""
    asked, held = units
    if held.is_metric:
        return np.full(len(scales), held.per_metre)
    by_asked = scales * asked.per_metre
    return by_asked if asked.is_metric else np.minimum(by_asked, held.per_metre)


def _is_plausible(scales: Float64[np.ndarray, "k"], units: tuple[Unit, Unit]) -> Bool[np.ndarray, "k"]:
    asked, held = units
    beyond = scales * asked.per_metre / held.per_metre
    plausible: Bool[np.ndarray, " k"] = (beyond > 1 / _SCALE_SLACK) & (beyond < _SCALE_SLACK)
    return plausible


@dataclass(frozen=True)
class _Fits:
    """Transforms: x → scale · turn · x + shift."""

    scales: Float64[np.ndarray, "k"]
    turns: Float64[np.ndarray, "k 3 3"]
    shifts: Float64[np.ndarray, "k 3"]

    @staticmethod
    def of(first: Float64[np.ndarray, "k n 3"], second: Float64[np.ndarray, "k n 3"], units: tuple[Unit, Unit]) -> "_Fits":
        """Rigid where both captures are metric, else with a scale."""
        if all(unit.is_metric for unit in units):
            return _Fits(np.ones(len(first)), *rigid_fits(first, second))
        return _Fits(*similarity_fits(first, second))

    def agreeing(
        self, first: Float64[np.ndarray, "n 3"], second: Float64[np.ndarray, "n 3"], tolerance: float, units: tuple[Unit, Unit]
    ) -> Bool[np.ndarray, "k n"]:
        """Which pairs each of them lays on each other."""
        moved = np.einsum("kij,nj->kni", self.scales[:, None, None] * self.turns, first) + self.shifts[:, None]
        agrees: Bool[np.ndarray, "k n"] = np.linalg.norm(moved - second[None], axis=2) < (
            tolerance * _metres(self.scales, units)[:, None]
        )
        return agrees


def rigid_fits(
    first: Float64[np.ndarray, "k n 3"], second: Float64[np.ndarray, "k n 3"]
) -> tuple[Float64[np.ndarray, "k 3 3"], Float64[np.ndarray, "k 3"]]:
    """Rotations R and shifts t that make Σ ‖R a + t − b‖² least, for several sets of pairs (Arun, Huang and Blostein 1987)."""
    middle, other = first.mean(axis=1, keepdims=True), second.mean(axis=1, keepdims=True)
    turns = _turns(first - middle, second - other)
    shifts = (other - middle @ np.swapaxes(turns, 1, 2))[:, 0]
    return turns, shifts


def similarity_fits(
    first: Float64[np.ndarray, "k n 3"], second: Float64[np.ndarray, "k n 3"]
) -> tuple[Float64[np.ndarray, "k"], Float64[np.ndarray, "k 3 3"], Float64[np.ndarray, "k 3"]]:
    """Scales s, rotations R and shifts t that make Σ ‖s R a + t − b‖² least, for several sets of pairs.

    Source: Umeyama 1991, Eq. 40–42; s = Σ b'·R a' / Σ ‖a'‖² with a', b' about their means.
    :func:`scenewise.geometry.transforms.fit_similarity` is the same for one set.
    """
    middle, other = first.mean(axis=1, keepdims=True), second.mean(axis=1, keepdims=True)
    turns = _turns(first - middle, second - other)
    turned = (first - middle) @ np.swapaxes(turns, 1, 2)
    scales = ((second - other) * turned).sum(axis=(1, 2)) / np.maximum((turned**2).sum(axis=(1, 2)), 1e-300)
    shifts = (other - scales[:, None, None] * (middle @ np.swapaxes(turns, 1, 2)))[:, 0]
    return scales, turns, shifts


def _turns(
    first_about_mean: Float64[np.ndarray, "k n 3"], second_about_mean: Float64[np.ndarray, "k n 3"]
) -> Float64[np.ndarray, "k 3 3"]:
    u, _, vt = np.linalg.svd(np.swapaxes(first_about_mean, 1, 2) @ second_about_mean)
    turns = np.swapaxes(u @ vt, 1, 2)
    mirrored = np.linalg.det(turns) < 0
    vt = vt.copy()
    vt[mirrored, 2] *= -1
    return np.where(mirrored[:, None, None], np.swapaxes(u @ vt, 1, 2), turns)

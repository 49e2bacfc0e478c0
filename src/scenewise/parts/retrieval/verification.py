"""Whether matches agree on one place: the pose of a camera in a scene, or of one scene in another."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from scenewise.errors import MissingDependencyError
from scenewise.parts.retrieval.keypoints import KeyPoints

LEAST_INLIERS = 6
"""Matches that agree on one pose before it is believed; three always do, and in a thousand tries five by chance."""
_REPROJECTION = 12.0
"""Pixels at a width of 640 between a key point and where its match would be seen: one and a half cells of the 2D branch."""
_REFERENCE_WIDTH = 640.0
_TRIES = 1000
_SCENE_TOLERANCE = 0.15  # metres between matched key points of two captures of a place


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
class CameraPose:
    """Where a picture was taken from.

    Attributes:
        camera_from_world: rigid 4×4, OpenCV axes.
        inliers: matches that agree.
        matches: that there were.
        focal: pixels; as given, or estimated.
    """

    camera_from_world: Float64[np.ndarray, "4 4"]
    inliers: int
    matches: int
    focal: float


@dataclass(frozen=True)
class ScenePose:
    """How one capture lies in another.

    Attributes:
        held_from_asked: rigid 4×4.
        inliers: matches that agree.
        matches: that there were.
    """

    held_from_asked: Float64[np.ndarray, "4 4"]
    inliers: int
    matches: int


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


def camera_pose(
    asked: KeyPoints,
    held: KeyPoints,
    matches: Matches,
    K: Float64[np.ndarray, "3 3"],
    width: int,
    height: int,
) -> CameraPose | None:
    """The pose on which most matches agree (LO-RANSAC of PoseLib on three-point poses, refined on all that agree).

    Args:
        asked: key points of the picture, pixels.
        held: of the scene, metres.
        matches: between them.
        K: of the picture.
        width: of the picture, pixels.
        height: likewise.

    Returns:
        None where fewer than six matches agree.

    Raises:
        MissingDependencyError: PoseLib is not installed.
    """
    if len(matches) < LEAST_INLIERS:
        return None
    try:
        import poselib
    except ImportError as error:
        raise MissingDependencyError("poselib", needed_for="finding where a picture was taken", extra="library") from error
    camera = {
        "model": "PINHOLE",
        "width": width,
        "height": height,
        "params": [float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])],
    }
    limits = {"max_error": _REPROJECTION * width / _REFERENCE_WIDTH, "max_iterations": _TRIES, "min_iterations": 100, "seed": 0}
    pose, facts = poselib.estimate_absolute_pose(
        asked.positions[matches.asked].astype(np.float64), held.positions[matches.held].astype(np.float64), camera, limits, {}
    )
    inliers = int(np.count_nonzero(facts["inliers"]))
    if inliers < LEAST_INLIERS:
        return None
    found = np.eye(4)
    found[:3] = np.asarray(pose.Rt)
    return CameraPose(found, inliers, len(matches), float(K[0, 0]))


def scene_pose(asked: KeyPoints, held: KeyPoints, matches: Matches, tolerance: float = _SCENE_TOLERANCE) -> ScenePose | None:
    """The rigid transform on which most matches agree (RANSAC over three matches at a time, then all that agree).

    Args:
        asked: key points of one capture, metres.
        held: of the other, metres.
        matches: between them.
        tolerance: metres.

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
    # Three points span a triangle of the same shape in both, or the matches are wrong.
    sides = [np.linalg.norm(each[drawn] - each[np.roll(drawn, 1, axis=1)], axis=2) for each in (first, second)]
    drawn = drawn[(np.abs(sides[0] - sides[1]) < 2 * tolerance).all(axis=1) & (sides[0] > 4 * tolerance).all(axis=1)]
    if not len(drawn):
        return None
    turns, shifts = rigid_fits(first[drawn], second[drawn])
    moved = np.einsum("kij,nj->kni", turns, first) + shifts[:, None]
    fits = np.linalg.norm(moved - second[None], axis=2) < tolerance
    best = fits[int(np.argmax(fits.sum(axis=1)))]
    for _ in range(3):
        if int(best.sum()) < LEAST_INLIERS:
            return None
        turn, shift = (each[0] for each in rigid_fits(first[None, best], second[None, best]))
        best = np.linalg.norm(first @ turn.T + shift - second, axis=1) < tolerance
    inliers = int(best.sum())
    if inliers < LEAST_INLIERS:
        return None
    found = np.eye(4)
    found[:3, :3], found[:3, 3] = turn, shift
    return ScenePose(found, inliers, len(matches))


def rigid_fits(
    first: Float64[np.ndarray, "k n 3"], second: Float64[np.ndarray, "k n 3"]
) -> tuple[Float64[np.ndarray, "k 3 3"], Float64[np.ndarray, "k 3"]]:
    """Rotations R and shifts t that make Σ ‖R a + t − b‖² least, for several sets of pairs (Arun, Huang and Blostein 1987)."""
    middle, other = first.mean(axis=1, keepdims=True), second.mean(axis=1, keepdims=True)
    spread = np.swapaxes(first - middle, 1, 2) @ (second - other)
    u, _, vt = np.linalg.svd(spread)
    turns = np.swapaxes(u @ vt, 1, 2)
    mirrored = np.linalg.det(turns) < 0
    vt = vt.copy()
    vt[mirrored, 2] *= -1
    turns = np.where(mirrored[:, None, None], np.swapaxes(u @ vt, 1, 2), turns)
    shifts = (other - middle @ np.swapaxes(turns, 1, 2))[:, 0]
    return turns, shifts

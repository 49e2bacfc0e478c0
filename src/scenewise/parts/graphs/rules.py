"""Relations that are geometry alone, read from the boxes and points of two things.

Each condition is a number in [0, 1] that is ½ exactly where a limit is reached and falls smoothly beyond it,

    s = 1 / (1 + exp(−margin / softness)),

and a relation holds as far as the weakest of its conditions: the minimum.  So a score above ½ says that every limit is kept, and
how far.  What the things are called matters only for comparisons ("bigger than" is said of two chairs, not of a chair and a cup),
for what is built into a wall, and as a hint of what the walls are.

Directions follow :mod:`scenewise.worlds.relations`: somebody looks along the frame's +Y; "left" is to their left, "front" is
nearer to them.
"""

import numpy as np
from jaxtyping import Bool, Float64, Int64

from scenewise.parts.graphs.things import CEILING, FLOOR, WALL, Things

RULE_PREDICATES = (
    "left",
    "right",
    "front",
    "behind",
    "close by",
    "standing on",
    "lying on",
    "attached to",
    "hanging on",
    "leaning against",
    "higher than",
    "lower than",
    "bigger than",
    "smaller than",
    "same as",
    "above",
    "below",
    "inside",
)
"""What :func:`rule_scores` tells; position = column."""

NEIGHBOURS = 20

# Limits in metres unless said otherwise, each with its softness.
_NEAR = (1.5, 0.15)  # between centres on the floor, for directions
_CONE = (0.5, 0.08)  # cosine of the angle to a direction: 60°
_CLOSE = (0.35, 0.06)  # between boxes
_BESIDE = (0.0, 0.05)  # common height
_REST = (0.08, 0.02)  # from an underside to what bears it
_ON_FLOOR = (0.45, 0.06)  # the same above the floor: legs are seldom seen down to their ends
_OVER = (0.02, 0.03)  # a middle beyond the edge of what bears it
_SHEET = (0.15, 0.04)  # height of what lies rather than stands
_SHEET_SHARE = (0.35, 0.05)  # and as a share of its shorter side
_FLUSH = (0.12, 0.03)  # from a wall
_BACK = (0.25, 0.04)  # the same of what leans: nobody sees its back
_THIN = (0.25, 0.04)  # depth of what hangs on a wall
_RAISED = (0.25, 0.05)  # above the floor
_TURNED = (0.2, 0.05)  # radians against the wall
_WIDE = (0.5, 0.05)  # along the wall
_PENDANT = (0.2, 0.05)  # below the ceiling
_OVERHEAD = (1.0, 0.1)  # above the floor
_JOINT = (0.2, 0.05)  # between walls, floor and ceiling
_EDGE = (0.6, 0.1)  # beyond the part of a floor that was seen
_RATIO = (float(np.log(1.3)), 0.08)  # of heights or volumes, as a logarithm
_SAME = (0.1, 0.03)  # largest difference of a side, as a share
_COLUMN = (0.2, 0.06)  # between boxes of which one is above the other
_STOREY = (1.5, 0.2)
_INSIDE = (0.8, 0.05)  # share of the points
_ROOMY = (0.5, 0.1)  # share of the volume
_REACH = 0.15  # around a thing, where what bears it is looked for
_THINNEST = 0.02  # of a box whose volume is compared
_BUILT_IN = frozenset({"door", "window"})

_Pairs = Int64[np.ndarray, "pairs 2"]
_Scores = Float64[np.ndarray, "pairs"]


def neighbour_pairs(things: Things, neighbours: int = NEIGHBOURS) -> _Pairs:
    """Ordered pairs of things of which one is among the nearest of the other, by the gap of their boxes; sorted."""
    count = len(things)
    if count < 2:
        return np.zeros((0, 2), dtype=np.int64)
    flat, rise = things.gaps
    gap = np.hypot(flat, rise)
    apart = np.linalg.norm(things.box_centers[:, None] - things.box_centers[None], axis=-1)
    np.fill_diagonal(gap, np.inf)
    order = np.lexsort((apart, gap), axis=1)[:, : min(neighbours, count - 1)]
    near = np.zeros((count, count), dtype=bool)
    near[np.arange(count)[:, None], order] = True
    return np.argwhere(near | near.T).astype(np.int64)


def rule_scores(things: Things, pairs: _Pairs, yaws: Float64[np.ndarray, "n"]) -> Float64[np.ndarray, "pairs predicates"]:
    """How far each geometric relation holds between the things of each pair.

    Args:
        things: all of a scene.
        pairs: rows (subject, object).  What a thing stands on, and whether it hangs, is decided among the pairs it is in.
        yaws: for each subject, the direction somebody looks in who tells its left from its right: angle from +Y about +Z.

    Returns:
        In [0, 1]; columns as in ``RULE_PREDICATES``.
    """
    if not len(pairs):
        return np.zeros((0, len(RULE_PREDICATES)))
    told = _Pair(things, pairs)
    inside = told.inside()
    support, sheet = np.minimum(told.support(), 1.0 - inside), told.sheet()
    hanging, built_in = told.on_wall(support)
    pendant = told.on_ceiling()
    support = told.with_floor(support, np.maximum.reduce([hanging, built_in, pendant]))
    back = told.exchanged(support)
    free = told.pieces * (1.0 - np.maximum(support, back))
    beside = np.minimum(free, 1.0 - np.maximum(inside, told.exchanged(inside)))
    left, right, front, behind = told.directions(yaws)
    above = np.minimum.reduce([told.above(), free, 1.0 - told.best_of_subject(support * told.to_floor)])
    alike = told.alike()
    bigger, higher = told.log_ratio(told.volume), told.log_ratio(np.maximum(things.high - things.floor_height, _THINNEST))
    other = told.same_name * (1.0 - alike)
    columns = {
        "left": np.minimum(left, beside),
        "right": np.minimum(right, beside),
        "front": np.minimum(front, beside),
        "behind": np.minimum(behind, beside),
        "close by": np.minimum(told.close(), beside),
        "standing on": np.minimum(support, 1.0 - sheet),
        "lying on": np.minimum(support, sheet),
        "attached to": np.maximum(built_in, told.joints()),
        "hanging on": np.maximum(hanging, pendant),
        "leaning against": told.leaning(support),
        "higher than": np.minimum(_at_least(higher, _RATIO), other),
        "lower than": np.minimum(_at_least(-higher, _RATIO), other),
        "bigger than": np.minimum(_at_least(bigger, _RATIO), other),
        "smaller than": np.minimum(_at_least(-bigger, _RATIO), other),
        "same as": alike,
        "above": above,
        "below": told.exchanged(above),
        "inside": inside,
    }
    return np.stack([columns[name] for name in RULE_PREDICATES], axis=1)


def _at_least(value: _Scores, limit: tuple[float, float]) -> _Scores:
    return np.asarray(1.0 / (1.0 + np.exp(np.clip((limit[0] - value) / limit[1], -50.0, 50.0))))


def _at_most(value: _Scores, limit: tuple[float, float]) -> _Scores:
    return _at_least(-value, (-limit[0], limit[1]))


class _Pair:
    """Quantities of pairs; every method gives a number per pair."""

    def __init__(self, things: Things, pairs: _Pairs) -> None:
        self.things, self.a, self.b = things, pairs[:, 0], pairs[:, 1]
        count = len(things)
        row_of = np.full((count, count), -1, dtype=np.int64)
        row_of[self.a, self.b] = np.arange(len(pairs))
        self._back = row_of[self.b, self.a]
        piece = things.is_piece
        self.pieces = (piece[self.a] & piece[self.b]).astype(np.float64)
        self.to_wall = piece[self.a] & (things.kinds[self.b] == WALL)
        self.to_floor = piece[self.a] & (things.kinds[self.b] == FLOOR)
        names = np.array(things.names)
        self.same_name = self.pieces * ((names[self.a] == names[self.b]) & (names[self.a] != ""))
        self.volume = np.prod(np.maximum(2 * things.half, _THINNEST), axis=1)
        self.offset = things.box_centers[self.a] - things.box_centers[self.b]
        self._seen_by_subject = things.local(things.points[self.b], self.a)  # the object's points in the subject's axes

    def exchanged(self, scores: _Scores) -> _Scores:
        """Of the same pair the other way round; 0 where that was not asked for."""
        return np.where(self._back >= 0, scores[self._back], 0.0)

    def best_of_subject(self, scores: _Scores) -> _Scores:
        """For each pair, the best score among the pairs of its subject."""
        best = np.zeros(len(self.things))
        np.maximum.at(best, self.a, scores)
        return best[self.a]

    # ------------------------------------------------------------------------------------------------------------- what bears it

    def support(self) -> _Scores:
        """Whether the object bears the subject: right below it there is a part of the object, and its middle is over it.

        The surface is the highest point of the object near the subject's outline and not above its underside, so that a pillow
        may lie on a bed whose headboard is higher.
        """
        things, a, b = self.things, self.a, self.b
        near = (np.abs(self._seen_by_subject[..., :2]) <= things.half[a][:, None, :2] + _REACH).all(axis=-1)
        height = things.points[b][..., 2]
        below = near & (height <= things.low[a][:, None] + _REST[0])
        surface = np.where(below, height, -np.inf).max(axis=1)
        surface = np.where(np.isfinite(surface), surface, things.high[b])
        middle = things.local(things.box_centers[a][:, None], b)[:, 0, :2]
        beyond = (np.abs(middle) - things.half[b][:, :2]).max(axis=1)
        rest = _at_most(np.abs(things.low[a] - surface), _REST)
        bears = self.pieces * (things.low[b] < things.low[a])
        return np.minimum(np.minimum(rest, _at_most(beyond, _OVER)), bears)

    def with_floor(self, support: _Scores, hung: _Scores) -> _Scores:
        """The same with floors: what nothing else bears and what does not hang stands on them."""
        things, a, b = self.things, self.a, self.b
        held = np.maximum(self.best_of_subject(support), self.best_of_subject(hung))
        middle = things.local(things.box_centers[a][:, None], b)[:, 0, :2]
        beyond = (np.abs(middle) - things.half[b][:, :2]).max(axis=1)
        ground = np.median(things.points[..., 2], axis=1)[b]
        rest = np.minimum(_at_most(things.low[a] - ground, _ON_FLOOR), _at_most(beyond, _EDGE))
        return np.maximum(support, self.to_floor * np.minimum(rest, 1.0 - held))

    def sheet(self) -> _Scores:
        """Whether the subject is so flat that it lies rather than stands."""
        height, shorter = 2 * self.things.half[:, 2], 2 * self.things.half[:, 1]
        flat = np.minimum(_at_most(height, _SHEET), _at_most(height / np.maximum(shorter, _THINNEST), _SHEET_SHARE))
        return flat[self.a]

    # ------------------------------------------------------------------------------------------------------ walls and ceilings

    def _from_wall(self) -> tuple[_Scores, _Scores, _Scores]:
        """Metres from the subject's near side to the wall, its depth as seen from there, and whether the wall is that long."""
        things, a, b = self.things, self.a, self.b
        normal, run = things.across[b], things.along[b]
        reach = self._reach(a, normal)
        away = np.abs((self.offset[:, :2] * normal).sum(axis=1))
        beyond = np.abs((self.offset[:, :2] * run).sum(axis=1)) - things.half[b, 0]
        return away - reach - things.half[b, 1], 2 * reach, _at_most(beyond, (_REACH, _OVER[1]))

    def _reach(self, of: Int64[np.ndarray, "pairs"], direction: Float64[np.ndarray, "pairs 2"]) -> _Scores:
        """Half the shadow of a box along a direction on the floor."""
        things = self.things
        first, second = (np.abs((axes[of] * direction).sum(axis=1)) for axes in (things.along, things.across))
        return first * things.half[of, 0] + second * things.half[of, 1]

    def _flush(self, limit: tuple[float, float] = _FLUSH) -> tuple[_Scores, _Scores]:
        """Whether the subject is at the wall, and whether it is thin."""
        gap, depth, within = self._from_wall()
        return self.to_wall * np.minimum(_at_most(gap, limit), within), _at_most(depth, _THIN)

    def on_wall(self, support: _Scores) -> tuple[_Scores, _Scores]:
        """Whether the subject hangs on a wall, and whether it is a part of it: thin, at the wall, clear of the floor or not."""
        flush, thin = self._flush()
        clear = np.minimum(
            _at_least((self.things.low - self.things.floor_height)[self.a], _RAISED), 1.0 - self.best_of_subject(support)
        )
        is_built_in = np.array([name in _BUILT_IN for name in self.things.names])[self.a]
        at_wall = np.minimum(flush, thin)
        hanging = np.where(is_built_in, 0.0, np.minimum(at_wall, clear))
        return hanging, np.where(
            is_built_in, at_wall, np.minimum(at_wall, 1.0 - np.maximum(clear, self.best_of_subject(support)))
        )

    def on_ceiling(self) -> _Scores:
        """Whether the subject hangs from a ceiling, above people's heads and away from the walls."""
        things, a, b = self.things, self.a, self.b
        is_below = things.is_piece[a] & (things.kinds[b] == CEILING)
        drop = np.abs(things.low[b] - things.high[a])
        over = _at_least(things.low[a] - things.floor_height, _OVERHEAD)
        middle = things.local(things.box_centers[a][:, None], b)[:, 0, :2]
        within = _at_most((np.abs(middle) - things.half[b][:, :2]).max(axis=1), _OVER)
        alone = 1.0 - self.best_of_subject(self._flush()[0])
        return is_below * np.minimum.reduce([_at_most(drop, _PENDANT), over, within, alone])

    def joints(self) -> _Scores:
        """Walls to the floor they rise from, ceilings to the walls that bear them."""
        kinds, things = self.things.kinds, self.things
        wall_floor = (kinds[self.a] == WALL) & (kinds[self.b] == FLOOR)
        ceiling_wall = (kinds[self.a] == CEILING) & (kinds[self.b] == WALL)
        rise = np.abs(things.low[self.a] - things.high[self.b])
        beyond = things.local(things.box_centers[self.a][:, None], self.b)[:, 0, :2]
        out = (np.abs(beyond) - things.half[self.b][:, :2]).max(axis=1)
        beside = np.where(ceiling_wall, 0.0, out)
        return (wall_floor | ceiling_wall) * np.minimum(_at_most(rise, _JOINT), _at_most(beside, _EDGE))

    def leaning(self, support: _Scores) -> _Scores:
        """Whether the subject stands on the floor with a side along a wall."""
        things = self.things
        flush, thin = self._flush(_BACK)
        cosine = np.abs((things.along[self.a] * things.along[self.b]).sum(axis=1))
        turned = np.arccos(np.clip(np.maximum(cosine, np.sqrt(np.maximum(1.0 - cosine**2, 0.0))), -1.0, 1.0))
        stands = self.best_of_subject(support * self.to_floor)
        wide = _at_least(2 * self._reach(self.a, things.along[self.b]), _WIDE)
        return np.minimum.reduce([flush, 1.0 - thin, _at_most(turned, _TURNED), stands, wide])

    # ---------------------------------------------------------------------------------------------------------- place and size

    def directions(self, yaws: Float64[np.ndarray, "n"]) -> tuple[_Scores, _Scores, _Scores, _Scores]:
        """Left, right, front, behind: the centres within a cone, and near."""
        offset = self.offset[:, :2]
        yaw = yaws[self.a]
        right = np.cos(yaw) * offset[:, 0] + np.sin(yaw) * offset[:, 1]
        ahead = -np.sin(yaw) * offset[:, 0] + np.cos(yaw) * offset[:, 1]
        flat = np.maximum(np.linalg.norm(offset, axis=1), 1e-9)
        near = np.minimum(_at_most(flat, _NEAR), flat > 1e-6)
        left, right, front, behind = (
            np.minimum(near, _at_least(share / flat, _CONE)) for share in (-right, right, -ahead, ahead)
        )
        return left, right, front, behind

    def close(self) -> _Scores:
        """Whether little is between the boxes, at a common height."""
        things = self.things
        common = np.minimum(things.high[self.a], things.high[self.b]) - np.maximum(things.low[self.a], things.low[self.b])
        return np.minimum(_at_most(things.gaps[0][self.a, self.b], _CLOSE), _at_least(common, _BESIDE))

    def above(self) -> _Scores:
        """Whether the subject is over the object, at most a storey higher, one's middle within the other's outline.

        What stands on the same floor is beside it, however flat the object is.
        """
        things, a, b = self.things, self.a, self.b
        rise = things.low[a] - things.high[b]
        first = (np.abs(things.local(things.box_centers[a][:, None], b)[:, 0, :2]) - things.half[b][:, :2]).max(axis=1)
        second = (np.abs(things.local(things.box_centers[b][:, None], a)[:, 0, :2]) - things.half[a][:, :2]).max(axis=1)
        column = _at_most(np.minimum(first, second), _COLUMN)
        return np.minimum.reduce([_at_least(rise, (-_COLUMN[1], _BESIDE[1])), _at_most(rise, _STOREY), column])

    def inside(self) -> _Scores:
        """Whether most points of the subject are in the object's box, which is much larger, and under a part of the object.

        A pillow in front of a headboard is on the bed; a book between two boards is in the shelf.
        """
        things, a, b = self.things, self.a, self.b
        over = (np.abs(self._seen_by_subject[..., :2]) <= things.half[a][:, None, :2]).all(axis=-1)
        covered = (over & (self._seen_by_subject[..., 2] > things.half[a][:, None, 2] - _REST[0])).any(axis=1)
        within: Bool[np.ndarray, "pairs samples"]
        within = (np.abs(things.local(things.points[a], b)) <= things.half[b][:, None]).all(axis=-1)
        share = self.volume[a] / self.volume[b]
        return self.pieces * covered * np.minimum(_at_least(within.mean(axis=1), _INSIDE), _at_most(share, _ROOMY))

    def log_ratio(self, values: Float64[np.ndarray, "n"]) -> _Scores:
        return np.log(values[self.a] / values[self.b])

    def alike(self) -> _Scores:
        """Whether two things of one name are of one size."""
        first, second = np.maximum(self.things.half[self.a], _THINNEST), np.maximum(self.things.half[self.b], _THINNEST)
        differs = (np.abs(first - second) / np.maximum(first, second)).max(axis=1)
        return self.same_name * _at_most(differs, _SAME)

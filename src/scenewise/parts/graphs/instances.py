"""Things from the labels of a segmented scene: each connected piece of a class, mended where connectedness alone is wrong.

What :func:`scenewise.parts.segments.instances.connected_instances` cannot know is put right by five rules, in this order:

1. cut       what is called a wall, a floor or a ceiling, and what has no known name and is longer than half of the scene, is cut
             into the planes it consists of; planes into their connected parts.  What is called a wall and is on no plane is none.
2. merge     pieces of a class that are parts of one thing become one: a small piece with a larger one that it touches, what is
             right over, under or within the other, pieces of a wall in one plane (:mod:`scenewise.parts.graphs.pieces`).
3. peel      names spill: what is called a chair, and for a good part lies in the floor or in a wall, loses that part; what is
             left falls into its connected parts, which merge anew.
4. drop      what is smaller than a cup, a sliver, a piece of wall shorter than a metre, what has too few elements or, where
             points are dense, no point, is no thing; nor is a wall without a point, wherever there are points.
5. adopt     elements of a class that are in no piece (too few to be one) join a piece of their class within a hand's breadth.

They are applied until nothing changes.  A piece keeps its number; of what is cut the largest part keeps it, of what is merged the
largest piece.  So the numbers of a scene that needs no mending stay.  Distances grow with the spacing of sparse clouds.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64

from scenewise.errors import ShapeError
from scenewise.geometry.boxes import OrientedBox, upright_box
from scenewise.parts.graphs.frames import UprightFrame
from scenewise.parts.graphs.pieces import HAND, PATCH, Piece, are_one_shell, are_one_thing
from scenewise.parts.graphs.planes import connected, planes_of
from scenewise.parts.graphs.things import FLOOR, OTHER_NAMES, SHELL_NAMES, TRIM, UP, WALL
from scenewise.parts.segments.instances import MIN_ELEMENTS
from scenewise.scenes.elements import Elements
from scenewise.scenes.labels import ElementLabels
from scenewise.scenes.synonyms import SYNONYMS

# Lengths in metres.
_TOUCH = 0.05
_CUP, _SLIVER = 0.1, 0.04  # diagonal of the smallest thing, and the second longest side of its box
_SHORT = 1.0  # diagonal of the smallest piece of a wall, floor or ceiling
_DENSE = 0.1  # spacing of points that show every surface
_ROUNDS = 8
_SPACINGS, _SPACINGS_OF_CUP = 2.0, 4.0  # typical distances of elements: of what touches, and of the smallest thing
_LARGE, _LARGE_SHARE = 2.0, 0.5  # diagonal on the floor, and as a share of the scene's
_DOORWAY = 0.6  # gap between the parts of a plane
_LEVEL = 0.3  # height of a floor or ceiling as it is measured
_LEAST_FLAT, _MOSTLY_FLAT = 0.5, 0.9  # share of the points on planes, of walls and of anything else
_SOLID = frozenset(
    word
    for name in ("bed", "chair", "sofa", "table", "cabinet", "bookshelf", "lamp", "plant", "monitor")
    for word in SYNONYMS[name]
)
"""Names of what has a depth: it is neither a part of the floor nor of a wall."""
_FLOOR_NAMES = frozenset(name for name, kind in SHELL_NAMES.items() if kind == FLOOR)
_WALL_NAMES = frozenset(name for name, kind in SHELL_NAMES.items() if kind == WALL)
_SHEET, _SPILT = 0.04, 0.2  # from the floor or a wall, and the share of a thing that lies there
_STEP = 0.3  # within which the floor is looked for above and below the lowest points
_FLAT = 0.3  # thickness of a wall as it is measured
_MEASURED = 20_000
_KEPT = 2_048  # points of each thing that are handed on


@dataclass(frozen=True)
class LabelledElements:
    """Points or splats with their labels.

    Attributes:
        elements: they.
        labels: of each.
        solid: which of them are surface, not haze; None = all.
    """

    elements: Elements
    labels: ElementLabels
    solid: Bool[np.ndarray, "n"] | None = None

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.elements):
            raise ShapeError("labels", expected=f"{len(self.elements)} rows, one per element", got=len(self.labels))


@dataclass(frozen=True)
class Instance:
    """One thing.

    Attributes:
        number: as in the labels.
        class_id: of its elements.
        confidence: mean of its elements.
        center_in_world: mean position.
        box: upright, in the world frame.
        points_in_upright: at most 2,048 of its points, or of its splats where it has no points; metres, +Z up.
        num_points: elements among the points.
        num_splats: and among the splats.
        color: mean, sRGB in [0, 1], or None.
    """

    number: int
    class_id: int
    confidence: float
    center_in_world: Float64[np.ndarray, "3"]
    box: OrientedBox
    points_in_upright: Float32[np.ndarray, "_ 3"]
    num_points: int
    num_splats: int
    color: tuple[float, float, float] | None


@dataclass(frozen=True)
class FoundInstances:
    """The things of a scene.

    Attributes:
        instances: in ascending order of their numbers.
        numbers: of the thing each element belongs to, −1 = none; per set in the order given.
        changed: whether any element has another number than in its labels.
    """

    instances: tuple[Instance, ...]
    numbers: tuple[Int32[np.ndarray, "_"], ...]
    changed: bool


def find_instances(
    sets: Sequence[LabelledElements], names: Sequence[str], frame: UprightFrame, *, mend: bool = True
) -> FoundInstances:
    """The things that labels speak of.

    Args:
        sets: points and splats of one scene; the same number means the same thing in both.
        names: of the classes.
        frame: upright.
        mend: whether to apply the rules above; without, every number is a thing as it stands.
    """
    joint = _Joint(sets, names, frame)
    numbers = joint.given.copy()
    if mend and len(numbers):
        for _ in range(_ROUNDS):
            before = numbers
            for rule in (_cut, _merge, _peel, _merge, _drop, _adopt):
                numbers = rule(joint, numbers)
            if np.array_equal(numbers, before):
                break
    split = np.split(numbers.astype(np.int32), np.cumsum([len(each.elements) for each in sets])[:-1])
    instances = tuple(_measured(joint, number, rows) for number, rows in _members(numbers))
    return FoundInstances(instances, tuple(split), bool((numbers != joint.given).any()))


class _Joint:
    """All elements of a scene in one row."""

    def __init__(self, sets: Sequence[LabelledElements], names: Sequence[str], frame: UprightFrame) -> None:
        self.frame, self.names = frame, [name.lower() for name in names]
        self.world = np.concatenate([each.elements.positions_in_world for each in sets])
        finite = np.isfinite(self.world).all(axis=1)
        self.points = frame.upright(np.where(finite[:, None], self.world, 0.0))
        self.classes = np.concatenate([each.labels.class_ids for each in sets]).astype(np.int64)
        self.confidence = np.concatenate([each.labels.confidence for each in sets]).astype(np.float64)
        self.is_point = np.concatenate([np.full(len(each.elements), each.elements.kind == "points") for each in sets])
        solid = [np.ones(len(each.elements), dtype=bool) if each.solid is None else each.solid for each in sets]
        self.solid = np.concatenate(solid) & finite
        self.colors = np.concatenate([_colors(each.elements) for each in sets])
        self.given = np.where(finite, np.concatenate([each.labels.instance_ids for each in sets]), -1).astype(np.int64)
        self.given = np.where(self.classes >= 0, self.given, -1)
        # Whatever is measured of a scene does not depend on numbers, so that mending again finds the same.
        self.is_known = finite & (self.classes >= 0)
        self.touch = max(_TOUCH, _SPACINGS * self._spacing(self.is_known))
        # What is nearest to a splat is another splat of the same surface: how fine a scene is, its points tell.
        spacing = self._spacing(self.is_point & self.is_known)
        self.has_points, self.is_dense = bool(self.is_point.any()), spacing <= _DENSE
        self.cup = max(_CUP, _SPACINGS_OF_CUP * (spacing if self.is_dense else self.touch / _SPACINGS))

    def _spacing(self, chosen: Bool[np.ndarray, "n"]) -> float:
        """Median distance from an element to the nearest other one, of a sample."""
        from scipy.spatial import cKDTree

        known = self.points[chosen]
        if len(known) < 2:
            return float("inf") if not len(known) else 0.0
        sample = known[:: max(1, len(known) // _MEASURED)]
        return float(np.median(cKDTree(known).query(sample, 2)[0][:, 1]))

    @cached_property
    def floor(self) -> float:
        """Height at which most of the lowest points lie, within a step; of the splats where there are no points."""
        heights = self.points[self.is_known & self.solid & (self.is_point | (not self.has_points)), 2]
        if not len(heights):
            return 0.0
        lowest = float(np.quantile(heights, 0.01))
        near = heights[np.abs(heights - lowest) <= _STEP]
        counts, edges = np.histogram(near, bins=round(2 * _STEP / _SHEET), range=(lowest - _STEP, lowest + _STEP))
        peak = int(counts.argmax())
        return float(np.median(near[(near >= edges[peak]) & (near <= edges[peak + 1])]))

    def are_called(self, names: Collection[str]) -> Bool[np.ndarray, "n"]:
        return np.array([name in names for name in self.names] + [False])[self.classes]  # the last is class −1

    def piece(self, rows: Int64[np.ndarray, "members"]) -> Piece:
        return Piece(self.points[self.firm(rows)], len(rows))

    def firm(self, rows: Int64[np.ndarray, "members"]) -> Int64[np.ndarray, "firm"]:
        """Of the elements of a thing those that tell its place: its points, else its solid splats, else all."""
        for wanted in (self.is_point, self.solid):
            chosen = rows[wanted[rows]]
            if len(chosen) >= MIN_ELEMENTS:
                return chosen
        return rows


def _colors(elements: Elements) -> Float64[np.ndarray, "n 3"]:
    return np.full((len(elements), 3), np.nan) if elements.colors is None else elements.colors.astype(np.float64)


def _members(numbers: Int64[np.ndarray, "n"]) -> list[tuple[int, Int64[np.ndarray, "members"]]]:
    """Each number from 0 with its rows, ascending."""
    order = np.argsort(numbers, kind="stable")
    present, begin = np.unique(numbers[order], return_index=True)
    parts = np.split(order.astype(np.int64), begin[1:])
    return [(int(number), rows) for number, rows in zip(present, parts) if number >= 0]


def _class_of(joint: _Joint, rows: Int64[np.ndarray, "members"]) -> int:
    return int(np.bincount(joint.classes[rows]).argmax())


def _measured(joint: _Joint, number: int, rows: Int64[np.ndarray, "members"]) -> Instance:
    firm = joint.firm(rows)
    upright = joint.points[firm]
    box = joint.frame.box_in_world(upright_box(upright, UP, TRIM))
    colored = next((some for some in (firm, rows) if np.isfinite(joint.colors[some, 0]).any()), firm)
    colored = colored[np.isfinite(joint.colors[colored, 0])]
    color = None if not len(colored) else joint.colors[colored].mean(axis=0).clip(0.0, 1.0)
    kept = upright[(np.arange(min(_KEPT, len(upright))) * len(upright)) // min(_KEPT, len(upright))]
    points = int(joint.is_point[rows].sum())
    return Instance(
        number=number,
        class_id=_class_of(joint, rows),
        confidence=float(np.clip(joint.confidence[rows].mean(), 0.0, 1.0)),
        center_in_world=joint.world[firm].mean(axis=0),
        box=box,
        points_in_upright=kept.astype(np.float32),
        num_points=points,
        num_splats=len(rows) - points,
        color=None if color is None else (float(color[0]), float(color[1]), float(color[2])),
    )


# ------------------------------------------------------------------------------------------------------------------------ cut


def _cut(joint: _Joint, numbers: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
    """Rule 1."""
    numbers, fresh = numbers.copy(), int(numbers.max(initial=-1)) + 1
    known = joint.points[(numbers >= 0) & joint.solid]
    reach = float(np.hypot(*np.ptp(known[:, :2], axis=0))) if len(known) else 0.0
    for _, rows in _members(numbers):
        own = joint.points[rows]
        diagonal = float(np.hypot(*np.ptp(own[:, :2], axis=0)))
        name = joint.names[_class_of(joint, rows)]
        is_shell = name in SHELL_NAMES
        if diagonal < _LARGE or name in OTHER_NAMES or not (is_shell or diagonal >= _LARGE_SHARE * reach):
            continue
        parts = _parts_of_planes(own, max(_DOORWAY, joint.touch), is_shell)
        numbers[rows[parts < 0]] = -1
        counts = np.bincount(parts[parts >= 0])
        for part in np.flatnonzero(counts)[np.argsort(-counts[counts > 0], kind="stable")][1:]:
            numbers[rows[parts == part]] = fresh
            fresh += 1
    return numbers


def _parts_of_planes(points: Float64[np.ndarray, "n 3"], gap: float, is_shell: bool) -> Int64[np.ndarray, "n"]:
    """The part each point belongs to: a connected piece of a plane; −1 where a wall is on none.

    What is not called a wall is cut only where planes hold nearly all of it: a long shelf has planes too.
    """
    planes = planes_of(points)
    is_flat = float((planes >= 0).mean())
    if planes.max(initial=-1) < (0 if is_shell else 1) or is_flat < (_LEAST_FLAT if is_shell else _MOSTLY_FLAT):
        return np.zeros(len(points), dtype=np.int64)
    parts, count = np.full(len(points), -1, dtype=np.int64), 0
    for plane in range(0 if is_shell else -1, int(planes.max()) + 1):
        rows = np.flatnonzero(planes == plane)
        is_level = is_shell and len(rows) > 0 and float(np.ptp(points[rows, 2])) <= _LEVEL
        parts[rows] = count + connected(points[rows], PATCH if is_level else gap)
        count += int(parts[rows].max(initial=count - 1)) - count + 1
    return parts


# ---------------------------------------------------------------------------------------------------------------------- merge


def _merge(joint: _Joint, numbers: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
    """Rule 2, the smallest pieces first."""
    numbers = numbers.copy()
    members = dict(_members(numbers))
    by_class: dict[int, list[int]] = {}
    for number, rows in members.items():
        by_class.setdefault(_class_of(joint, rows), []).append(number)
    for class_id, same in by_class.items():
        if len(same) < 2:
            continue
        is_shell = joint.names[class_id] in SHELL_NAMES
        pieces = {number: joint.piece(members[number]) for number in same}
        for number in sorted(same, key=lambda number: (len(members[number]), -number)):
            small = pieces.pop(number)
            wanted = [
                other
                for other, large in pieces.items()
                if (
                    are_one_shell(small, large, joint.touch)
                    if is_shell
                    else are_one_thing(small, large, joint.touch, joint.floor)
                )
            ]
            if wanted:
                host = max(wanted, key=lambda other: (len(members[other]), -other))
                members[host] = np.sort(np.concatenate([members[host], members[number]]))
                pieces[host] = joint.piece(members[host])
                numbers[members[number]] = host
    return numbers


# ----------------------------------------------------------------------------------------------------------------------- peel


def _peel(joint: _Joint, numbers: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
    """Rule 3."""
    numbers, fresh = numbers.copy(), int(numbers.max(initial=-1)) + 1
    spilt = _spilt(joint, numbers)
    for _, rows in _members(numbers):
        if spilt[rows].mean() < _SPILT:
            continue
        numbers[rows[spilt[rows]]] = -1
        kept = rows[~spilt[rows]]
        parts = connected(joint.points[kept], joint.touch)
        for part in range(1, int(parts.max(initial=0)) + 1):
            numbers[kept[parts == part]] = fresh
            fresh += 1
    return numbers


def _spilt(joint: _Joint, numbers: Int64[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
    """Elements that lie in the floor, if any is called so, or in a wall, and are called what neither is."""
    low = joint.points[:, 2] <= joint.floor + _SHEET
    spilt = low & joint.are_called(_SOLID) & bool(joint.are_called(_FLOOR_NAMES)[low].mean() >= _SPILT)
    asked = np.flatnonzero(joint.are_called(_SOLID) & ~spilt)
    points = joint.points[asked]
    for _, rows in _members(numbers):
        if joint.names[_class_of(joint, rows)] in _WALL_NAMES:
            box = upright_box(joint.points[joint.firm(rows)], UP, TRIM)
            if box.size[1] <= _FLAT and max(box.size[0], box.size[2]) >= _LARGE:
                # Across the wall first: few elements are that near to its plane.
                across = points @ box.world_from_box[:, 1] - box.center_in_world @ box.world_from_box[:, 1]
                near = np.flatnonzero(np.abs(across) <= box.size[1] / 2 + _SHEET)
                local = np.abs((points[near] - box.center_in_world) @ box.world_from_box)
                spilt[asked[near[(local <= box.size / 2 + _SHEET).all(axis=1)]]] = True
    return spilt


# -------------------------------------------------------------------------------------------------------------- drop and adopt


def _drop(joint: _Joint, numbers: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
    """Rule 4."""
    numbers = numbers.copy()
    for _, rows in _members(numbers):
        sides = np.sort(np.ptp(joint.points[joint.firm(rows)], axis=0))
        is_shell = joint.names[_class_of(joint, rows)] in SHELL_NAMES
        is_haze = (joint.is_dense or (is_shell and joint.has_points)) and not joint.is_point[rows].any()
        least = _SHORT if is_shell else joint.cup
        if len(rows) < MIN_ELEMENTS or float(np.linalg.norm(sides)) < least or sides[1] < _SLIVER or is_haze:
            numbers[rows] = -1
    return numbers


def _adopt(joint: _Joint, numbers: Int64[np.ndarray, "n"]) -> Int64[np.ndarray, "n"]:
    """Rule 5, from neighbour to neighbour."""
    from scipy.spatial import cKDTree

    numbers = numbers.copy()
    lost = np.flatnonzero((numbers < 0) & (joint.classes >= 0) & joint.solid & ~_spilt(joint, numbers))
    for class_id in np.unique(joint.classes[lost]):
        if joint.names[class_id] in SHELL_NAMES:  # what is on no plane stays so
            continue
        here = lost[joint.classes[lost] == class_id]
        new = np.flatnonzero((joint.classes == class_id) & (numbers >= 0))
        while len(new) and len(here):
            distance, nearest = cKDTree(joint.points[new]).query(joint.points[here], distance_upper_bound=max(HAND, joint.touch))
            near = np.isfinite(distance)
            numbers[here[near]] = numbers[new[nearest[near]]]
            new, here = here[near], here[~near]
    return numbers

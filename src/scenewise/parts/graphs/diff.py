"""What moved, appeared and vanished between two captures of a place."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float64

from scenewise.errors import ConventionError
from scenewise.geometry.transforms import transform_points
from scenewise.parts.graphs.evidence import Witness
from scenewise.parts.graphs.frames import UprightFrame
from scenewise.parts.graphs.likeness import Thing, color_of, light_between, likeness, name_likeness
from scenewise.parts.graphs.motion import Motion, Surface, fitted_motion, overlap, share_found
from scenewise.parts.graphs.observed import Matrix4, ObservedGraph, Points
from scenewise.scenes.scene_graphs import GraphObject

TOLD_TURN = 10.0
"""Degrees: smaller turns are the noise of the fit."""
ChangeKind = Literal["moved", "appeared", "vanished", "not seen", "unchanged"]
CHANGE_KINDS: tuple[ChangeKind, ...] = get_args(ChangeKind)
"""In the order they are told in."""


@dataclass(frozen=True)
class DiffSettings:
    """Where the lines are drawn.  Lengths in metres; where the scale is arbitrary, in median diagonals of the things.

    Attributes:
        cell: spacing of the points that stand for a thing.
        in_place: overlap from which two things in the same place may be one.
        least_distance: shorter ways are the noise of boxes.
        least_turn: smaller turns are, radians.
        least_gain: share of what does not overlap in place that a motion has to explain.
        clear_overlap: overlap from which nobody asks whether the thing has moved.
        alike: likeness from which a thing that is gone and one that is new are the same.
        per_metre: likeness that a metre of way costs, so that of twins the nearer one is taken.
        covered: share of a thing's surface that others cover from which it is cut differently, not gone.
        known: share of a thing's place that the other capture must have seen.
        freed: share of its surface that must have been looked through before anybody says that it was moved.
        gone: the same before anybody says that it is gone.
        recolored: distance in Oklab by which the place of a flat thing on a wall must have changed, as nobody looks behind it.
    """

    cell: float = 0.03
    in_place: float = 0.5
    least_distance: float = 0.15
    least_turn: float = math.radians(20.0)
    least_gain: float = 0.4
    clear_overlap: float = 0.97
    alike: float = 0.69
    per_metre: float = 0.01
    covered: float = 0.6
    known: float = 0.5
    freed: float = 0.15
    gone: float = 0.4
    recolored: float = 0.05


@dataclass(frozen=True)
class ObjectChange:
    """What became of one thing.

    Attributes:
        kind: "not seen" where one of the captures did not look at its place.
        before: object_id in the first scene, or None.
        after: object_id in the second scene, or None.
        score: in [0, 1], how sure it is.
        from_in_world: middle of its box before, in the frame of the second scene; None where it was not there.
        to_in_world: the same after.
        distance: how far it went, units of the second scene.
        turn_deg: about the vertical, counter-clockwise from above, degrees.
        sentence: what happened, as a person says it.
        renamed: whether it is called something else now.
    """

    kind: ChangeKind
    before: int | None
    after: int | None
    score: float
    from_in_world: Float64[np.ndarray, "3"] | None
    to_in_world: Float64[np.ndarray, "3"] | None
    distance: float
    turn_deg: float
    sentence: str
    renamed: bool = False


def compared(
    before: ObservedGraph, after: ObservedGraph, after_from_before: Matrix4, settings: DiffSettings | None = None
) -> tuple[ObjectChange, ...]:
    """Everything in two scenes, one entry per thing; walls, floors and ceilings are left out.

    A thing that moved and is whole in one scene and in pieces in the other has an entry for each piece.

    1. Things in the same place are matched one to one by how much of their surfaces lies on each other (Hungarian method, Kuhn
       1955); each may still have been moved a little or turned, if that explains clearly more.
    2. What is left over is matched by name, colour under the new light, size and shape: the same thing in another place.
    3. What is left over then but lies on the surface of other things, or was not looked through, was only cut or joined
       differently.  Of flat things on a wall, behind which nobody looks, the colour of the place tells.
    4. The rest vanished or appeared, unless it is a piece of what moved, or the other capture did not see its place.

    Nothing counts as moved unless a part of where it was is free now, or a part of where it is was free before.

    Args:
        before: the first scene.
        after: the second scene.
        after_from_before: rigid, from the world of the first to the world of the second; it must keep the vertical.
        settings: see there.

    Raises:
        ConventionError: the vertical of the two differs by more than 20° in the common frame.
    """
    return _Comparison(before, after, after_from_before, DiffSettings() if settings is None else settings).run()


class _Comparison:
    """The four steps of :func:`compared`, all of it in the second scene's frame turned so that up is +Z."""

    def __init__(self, before: ObservedGraph, after: ObservedGraph, after_from_before: Matrix4, settings: DiffSettings) -> None:
        level = np.eye(4)
        level[:3, :3] = UprightFrame.of_up(after.graph.up_in_world).upright_from_world
        self.world_from_level = np.linalg.inv(level)
        self.settings, self.unit, self.is_metric = settings, after.unit, after.graph.scale == "metric"
        first, second = before.moved(level @ after_from_before), after.moved(level)
        if float(first.graph.up_in_world[2]) < math.cos(math.radians(20.0)):
            raise ConventionError(
                "after_from_before", expected="a transform that keeps the vertical", got="one that tilts it by more than 20°"
            )
        self.graphs = (first, second)
        self.witnesses = (Witness(second, self.unit), Witness(first, self.unit))  # of what became of the other's things
        self.first, self.second = (
            _things(graph, witness, settings.cell * self.unit) for graph, witness in zip(self.graphs, self.witnesses)
        )
        self.factor = np.ones(3)
        self.pairs: dict[int, int] = {}
        self.changes: list[ObjectChange] = []
        self.motions: list[tuple[Thing, Thing, Motion]] = []

    def run(self) -> tuple[ObjectChange, ...]:
        """All steps in order."""
        self._match_in_place()
        self._adapt_colors()
        self._match_elsewhere()
        self._settle_leftovers()
        order = CHANGE_KINDS.index
        return tuple(sorted(self.changes, key=lambda each: (order(each.kind), _number(each.before), _number(each.after))))

    def _left(self) -> tuple[list[int], list[int]]:
        """Positions of things without a partner."""
        taken = set(self.pairs.values())
        return (
            [i for i in range(len(self.first)) if i not in self.pairs],
            [j for j in range(len(self.second)) if j not in taken],
        )

    def _match_in_place(self) -> None:
        rows, columns = self._left()
        shares = np.zeros((len(rows), len(columns)))
        scores = np.zeros_like(shares)
        for i, a in enumerate(self.first):
            for j, b in enumerate(self.second):
                if _are_near(a.surface.points, b.surface.points, 0.1 * self.unit):
                    shares[i, j] = overlap(a.surface, b.surface)
                    scores[i, j] = shares[i, j] + 0.1 * name_likeness(a.node, b.node)
        for i, j in assigned(scores, shares >= self.settings.in_place):
            self.pairs[i] = j
            self._judge(self.first[i], self.second[j], float(shares[i, j]))

    def _judge(self, a: Thing, b: Thing, share: float) -> None:
        """Whether two things in the same place are one that stayed, or one that was moved a little."""
        motion = None
        is_open = a.evidence.is_flat or min(a.evidence.freed, b.evidence.freed) >= self.settings.freed
        if share < self.settings.clear_overlap and is_open:
            motion = fitted_motion(a.surface, b.surface)
            gain = (motion.overlap - share) / max(1.0 - share, 1e-9)
            if not self._is_motion(motion) or gain < self.settings.least_gain:
                motion = None
        if motion is None:
            self._add("unchanged", a, b, share)
        else:
            self._add("moved", a, b, motion.overlap, motion)

    def _is_motion(self, motion: Motion) -> bool:
        return motion.distance >= self.settings.least_distance * self.unit or abs(motion.turn) >= self.settings.least_turn

    def _adapt_colors(self) -> None:
        """Colours before, as they would look under the light after."""
        self.factor = light_between([(self.first[i].node, self.second[j].node) for i, j in self.pairs.items()])
        self.first = [replace(each, color=color_of(each.node, self.factor)) for each in self.first]

    def _may_have_changed(self, thing: Thing, side: int, least: float) -> bool:
        """Whether the other capture shows that a thing is not where it was, or cannot tell.

        Args:
            thing: of this side.
            side: 0 before, 1 after.
            least: share of it that was looked through.
        """
        if not thing.evidence.is_flat:
            return thing.evidence.freed >= least
        factor = self.factor if side == 0 else 1.0 / self.factor
        apart = self.witnesses[side].recolored(self.graphs[side], thing.node.object_id, factor)
        return apart is None or apart >= self.settings.recolored

    def _match_elsewhere(self) -> None:
        rows, columns = self._left()
        rows = [i for i in rows if self._may_have_changed(self.first[i], 0, self.settings.freed)]
        columns = [j for j in columns if self._may_have_changed(self.second[j], 1, self.settings.freed)]
        motions: dict[tuple[int, int], Motion] = {}
        scores = np.zeros((len(rows), len(columns)))
        for i, row in enumerate(rows):
            here = self._covered(self.first[row], self.second)
            for j, column in enumerate(columns):
                a, b = self.first[row], self.second[column]
                if likeness(a, b, 1.0) < self.settings.alike:
                    continue
                motion = fitted_motion(a.surface, b.surface)
                alike = likeness(a, b, motion.overlap)
                if alike >= self.settings.alike and motion.overlap > here:
                    motions[i, j] = motion
                    scores[i, j] = alike - self.settings.per_metre * motion.distance / self.unit
        for i, j in assigned(scores, scores > 0):
            a, b, motion = self.first[rows[i]], self.second[columns[j]], motions[i, j]
            self.pairs[rows[i]] = columns[j]
            if self._is_motion(motion):
                self._add("moved", a, b, float(np.clip(scores[i, j], 0.0, 1.0)), motion)
            else:
                self._add("unchanged", a, b, float(np.clip(scores[i, j], 0.0, 1.0)))

    def _covered(self, thing: Thing, others: Sequence[Thing]) -> float:
        """Share of its surface that lies on other things, where they stand."""
        near = [each.surface.points for each in others if _are_near(thing.surface.points, each.surface.points, 0.1 * self.unit)]
        if not near:
            return 0.0
        together = Surface(np.concatenate(near), self.unit, thing.surface.is_known)
        return share_found(thing.surface.points, together, thing.surface.is_known)

    def _settle_leftovers(self) -> None:
        rows, columns = self._left()
        for thing, others, side in [
            *((self.first[i], self.second, 0) for i in rows),
            *((self.second[j], self.first, 1) for j in columns),
        ]:
            known, covered = thing.evidence.known, self._covered(thing, others)
            a, b = (thing, None) if side == 0 else (None, thing)
            if covered >= self.settings.covered:
                self._add("unchanged", a, b, covered)
            elif known < self.settings.known:
                self._add("not seen", a, b, 1.0 - known)
            elif not self._may_have_changed(thing, side, self.settings.gone):
                self._add("unchanged", a, b, 1.0 - thing.evidence.freed)
            elif (gone_with := self._gone_with(thing, side)) is not None:
                first, second, motion = gone_with
                self._add("moved", a or first, b or second, self.settings.covered, motion)
            else:
                self._add("vanished" if side == 0 else "appeared", a, b, known * (1.0 - covered))

    def _gone_with(self, thing: Thing, side: int) -> tuple[Thing, Thing, Motion] | None:
        """What moved and has this leftover as a piece, with its partner and its motion: the two touch, and under the same motion
        the leftover lies on the other capture's surface."""
        for first, second, motion in self.motions:
            own = first if side == 0 else second
            if not _are_near(own.surface.points, thing.surface.points, 0.1 * self.unit):
                continue
            step = motion.after_from_before if side == 0 else np.linalg.inv(motion.after_from_before)
            if self.witnesses[side].share_on(transform_points(step, thing.surface.points)) >= self.settings.covered:
                return first, second, motion
        return None

    def _add(self, kind: ChangeKind, a: Thing | None, b: Thing | None, score: float, motion: Motion | None = None) -> None:
        before, after = (None if each is None else each.node for each in (a, b))
        renamed = before is not None and after is not None and name_likeness(before, after) < 1.0
        turn = 0.0 if motion is None else math.degrees(motion.turn)
        distance = 0.0 if motion is None else motion.distance
        if motion is not None and a is not None and b is not None:
            self.motions.append((a, b, motion))
        self.changes.append(
            ObjectChange(
                kind=kind,
                before=None if before is None else before.object_id,
                after=None if after is None else after.object_id,
                score=float(np.clip(score, 0.0, 1.0)),
                from_in_world=self._in_world(before),
                to_in_world=self._in_world(after),
                distance=distance,
                turn_deg=turn,
                sentence=_sentence(kind, before, after, distance, turn, "m" if self.is_metric else "units"),
                renamed=renamed,
            )
        )

    def _in_world(self, node: GraphObject | None) -> Float64[np.ndarray, "3"] | None:
        return None if node is None else transform_points(self.world_from_level, node.box.center_in_world)


def _things(own: ObservedGraph, witness: Witness, cell: float) -> list[Thing]:
    """The things of a scene with their surfaces, and with what the other capture says about their places; no shell."""
    things = []
    for node in own.graph.objects:
        surface = Surface(own.points_of(node.object_id, cell), witness.unit, witness.is_known)
        things.append(Thing(node, surface, color_of(node, np.ones(3)), witness.about(surface.points)))
    return [thing for thing in things if not thing.is_shell]


def assigned(scores: Float64[np.ndarray, "n m"], allowed: Bool[np.ndarray, "n m"]) -> list[tuple[int, int]]:
    """The one-to-one pairs with the largest sum of scores, of those that are allowed."""
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(np.where(allowed, scores, 0.0), maximize=True)
    return [(int(i), int(j)) for i, j in zip(rows, columns) if allowed[i, j]]


def _are_near(first: Points, second: Points, reach: float) -> bool:
    """Whether the boxes along the axes come within reach of each other."""
    return bool(
        (first.min(axis=0) <= second.max(axis=0) + reach).all() and (second.min(axis=0) <= first.max(axis=0) + reach).all()
    )


def _number(object_id: int | None) -> int:
    return -1 if object_id is None else object_id


def _sentence(
    kind: ChangeKind, before: GraphObject | None, after: GraphObject | None, distance: float, turn_deg: float, unit: str
) -> str:
    """What happened, as a person says it; numbers are those of the scene that has the thing, of the first where both have it."""
    node = before if before is not None else after
    assert node is not None
    who = f"{node.name} {node.object_id}"
    aside = []
    if before is not None and after is not None:
        if after.name != before.name:
            aside.append(f"now called {after.name} {after.object_id}")
        elif after.object_id != before.object_id:
            aside.append(f"now number {after.object_id}")
    note = f" ({', '.join(aside)})" if aside else ""
    if kind == "moved":
        parts = []
        if round(distance, 2) > 0:
            parts.append(f"moved {distance:.2f} {unit}")
        if abs(turn_deg) >= TOLD_TURN:
            parts.append(f"turned {abs(turn_deg):.0f}°")
        return f"{who} {' and '.join(parts) or 'moved'}{note}"
    if kind == "not seen":
        return f"{who}: the {'second' if before is not None else 'first'} capture does not show its place"
    if kind == "unchanged" and (before is None or after is None):
        return f"{who} is unchanged, but counted to other things in the {'second' if before is not None else 'first'} scene"
    told = {"unchanged": "is unchanged", "appeared": "is new", "vanished": "is gone"}[kind]
    return f"{who} {told}{note}"

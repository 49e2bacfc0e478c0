"""What changed between two scenes of a place, as a plan: where things were, where they are, what is new and what is gone."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from scenewise.geometry.boxes import OrientedBox
from scenewise.parts.graphs.diff import CHANGE_KINDS, TOLD_TURN, ChangeKind, ObjectChange
from scenewise.scenes.scene_graphs import SceneGraph
from scenewise.scenes.vocabularies import Color
from scenewise.show.graphs.arrows import Arrow, draw_words
from scenewise.show.graphs.from_above import FOOT_ROW, PAPER, Plan, draw_building, draw_scale, fitting_plan
from scenewise.show.graphs.over_view import WIDTH
from scenewise.show.graphs.plates import Plate
from scenewise.show.graphs.sheets import Sheet
from scenewise.show.graphs.telling import is_shell, object_label

CHANGE_COLORS: dict[ChangeKind, Color] = {
    "moved": (0, 114, 178),
    "appeared": (0, 158, 115),
    "vanished": (213, 94, 0),
    "not seen": (150, 154, 160),
    "unchanged": (150, 154, 160),
}
"""Told apart by everybody: those of Okabe and Ito 2008."""
_WORDS: dict[ChangeKind, str] = {"appeared": " is new", "vanished": " is gone", "not seen": " not seen"}


def changes_from_above(
    before: SceneGraph, after: SceneGraph, changes: Sequence[ObjectChange], *, width: int = WIDTH
) -> UInt8[np.ndarray, "height width 3"]:
    """The floor with what moved, appeared and vanished; what stayed is grey.

    Args:
        before: the first scene's graph, its positions already in the frame of the second.
        after: the second scene's graph.
        changes: between them, as :func:`scenewise.parts.graphs.diff.compared` tells them.
        width: of the result in pixels.
    """
    told = sorted(changes, key=lambda change: CHANGE_KINDS.index(change.kind))
    further = [box for change in told if (box := _box(before, change.before)) is not None]
    plan = fitting_plan(after, width, further)
    sheet = Sheet(np.full((plan.size[1] + FOOT_ROW, width, 3), PAPER, dtype=np.uint8))
    draw_building(sheet, after, plan)
    names: list[Plate] = []
    arrows: list[Arrow] = []
    others: list[Plate] = []
    for change in reversed(told):  # what changed covers what did not
        here, there = _box(before, change.before), _box(after, change.after)
        color = CHANGE_COLORS[change.kind]
        if change.kind == "moved" and here is not None:
            sheet.area(plan.footprint(here), color, alpha=25, edge=color, thickness=1.0)
        shown = there if there is not None else here
        if shown is not None:
            filled = 40 if change.kind in ("unchanged", "not seen") else 110
            sheet.area(plan.footprint(shown), color, alpha=filled, edge=color, thickness=2.0)
    for change in told:
        here, there = _box(before, change.before), _box(after, change.after)
        shown = there if there is not None else here
        if shown is None:
            continue
        place, color = plan.place(shown.center_in_world), CHANGE_COLORS[change.kind]
        name = _name(before, after, change) + _WORDS.get(change.kind, "")
        plate = Plate(name, (place,), color, "place" if change.kind == "unchanged" else "name")
        (others if change.kind == "unchanged" else names).append(plate)
        if change.kind == "moved" and here is not None and there is not None:
            arrows.append(Arrow(_way(change, after), plan.place(here.center_in_world), place, color))
    draw_words(sheet, names, arrows, len(arrows), height=plan.size[1], places=others)
    _draw_legend(sheet, after, plan, told)
    return sheet.finished()


def _box(graph: SceneGraph, object_id: int | None) -> OrientedBox | None:
    """Of what stands in a room; nothing of what the room is made of."""
    thing = None if object_id is None else graph.by_id[object_id]
    return None if thing is None or is_shell(thing) else thing.box


def _name(before: SceneGraph, after: SceneGraph, change: ObjectChange) -> str:
    if change.after is not None:
        return object_label(after.by_id[change.after])
    assert change.before is not None, "a change of something"
    return object_label(before.by_id[change.before])


def _way(change: ObjectChange, graph: SceneGraph) -> str:
    """How far, and how much it was turned."""
    unit = "m" if graph.scale == "metric" else "units"
    turned = f", {abs(change.turn_deg):.0f} degrees" if abs(change.turn_deg) >= TOLD_TURN else ""
    return f"{change.distance:.2f} {unit}{turned}"


def _draw_legend(sheet: Sheet, graph: SceneGraph, plan: Plan, changes: Sequence[ObjectChange]) -> None:
    counts = {kind: sum(change.kind == kind for change in changes) for kind in CHANGE_KINDS}
    said = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "no objects"
    draw_scale(sheet, graph, plan, f"from above: {said}; arrows run from where a thing was to where it is")

"""A plan of what changed: colours where things were and are, and nothing that depends on the order told."""

from dataclasses import replace

import numpy as np
import pytest
from tests.support.small_graph import LAMP_ID, SOFA_ID, small_graph, thing

from scenewise.parts.graphs.diff import ChangeKind, ObjectChange
from scenewise.scenes.scene_graphs import SceneGraph
from scenewise.show.graphs.changes_from_above import CHANGE_COLORS, changes_from_above
from scenewise.show.graphs.from_above import fitting_plan

WIDTH = 900
NEW = thing(20, "plant", [0.0, 0.6, 0.3], [0.3, 0.3, 0.6])
GONE = thing(15, "box", [0.2, -0.7, 0.2], [0.4, 0.3, 0.4])


def change(kind: ChangeKind, before: int | None, after: int | None, distance: float = 0.0) -> ObjectChange:
    return ObjectChange(kind, before, after, 1.0, None, None, distance, 0.0, "")


def graphs() -> tuple[SceneGraph, SceneGraph]:
    """The lamp moved by a metre towards −x, a box is gone and a plant is new."""
    old = small_graph()
    lamp = old.by_id[LAMP_ID]
    box = replace(lamp.box, center_in_world=lamp.box.center_in_world - np.array([1.0, 0.0, 0.0]))
    there = replace(lamp, box=box, center_in_world=box.center_in_world)
    after = replace(old, objects=(*(there if each.object_id == LAMP_ID else each for each in old.objects), NEW))
    return replace(old, objects=(*old.objects, GONE)), after


CHANGES = (
    change("unchanged", SOFA_ID, SOFA_ID),
    change("moved", LAMP_ID, LAMP_ID, 1.0),
    change("appeared", None, NEW.object_id),
    change("vanished", GONE.object_id, None),
)


def test_what_changed_has_its_color_where_it_is_and_was():
    before, after = graphs()
    picture = changes_from_above(before, after, CHANGES, width=WIDTH)
    plan = fitting_plan(after, WIDTH, [GONE.box])

    def has(corner: np.ndarray, kind: ChangeKind) -> bool:
        u, v = (round(value) for value in plan.place(corner))
        around = picture[v - 2 : v + 3, u - 2 : u + 3].reshape(-1, 3).astype(int)
        return bool((np.abs(around - CHANGE_COLORS[kind]).max(axis=1) < 40).any())

    was, now = before.by_id[LAMP_ID].box, after.by_id[LAMP_ID].box
    assert has(was.corners_in_world[4], "moved") and has(now.corners_in_world[0], "moved")
    assert has(NEW.box.corners_in_world[6], "appeared") and has(GONE.box.corners_in_world[0], "vanished")
    assert has(after.by_id[SOFA_ID].box.corners_in_world[0], "unchanged")
    assert not has(after.by_id[SOFA_ID].box.corners_in_world[0], "moved")


def test_the_order_in_which_changes_are_told_does_not_matter():
    before, after = graphs()
    picture = changes_from_above(before, after, CHANGES, width=WIDTH)
    assert (changes_from_above(before, after, CHANGES[::-1], width=WIDTH) == picture).all()


def test_what_is_gone_widens_the_plan():
    before, after = graphs()
    far = replace(GONE, box=replace(GONE.box, center_in_world=np.array([9.0, 0.0, 0.2])))
    wide = replace(before, objects=(*small_graph().objects, far))
    plan = fitting_plan(after, WIDTH, [far.box])
    place = plan.place(np.array([9.2, 0.0, 0.2]))
    assert 0 < place[0] < WIDTH
    picture = changes_from_above(wide, after, CHANGES[3:], width=WIDTH)
    shown = np.abs(picture.astype(int) - CHANGE_COLORS["vanished"]).max(axis=2) < 40
    assert shown[:, int(0.9 * WIDTH) :].any() and not shown[:, : WIDTH // 2].any()


@pytest.mark.parametrize("changes", [(), (change("moved", 0, 0, 1.0),)])
def test_nothing_to_draw_and_what_is_part_of_the_building(changes: tuple[ObjectChange, ...]):
    before, after = graphs()
    picture = changes_from_above(before, after, changes, width=300)
    assert picture.shape[1] == 300
    shown = np.abs(picture.astype(int) - CHANGE_COLORS["moved"]).max(axis=2) < 40
    assert not shown.any()

"""What moved, appeared and vanished, on rooms known by heart."""

import math
from dataclasses import replace

import numpy as np
import pytest
from tests.support.observed_graphs import CHAIR, LAMP, PIECES, TABLE, Piece, observed

from scenewise.errors import ConventionError
from scenewise.parts.graphs.diff import ObjectChange, assigned, compared
from scenewise.parts.graphs.motion import rotation_about_up
from scenewise.parts.graphs.observed import ObservedGraph


def told(before: ObservedGraph, after: ObservedGraph, transform: np.ndarray | None = None) -> dict[object, ObjectChange]:
    """Changes by the number before, else after."""
    changes = compared(before, after, np.eye(4) if transform is None else transform)
    return {change.before if change.before is not None else ("new", change.after): change for change in changes}


@pytest.fixture(scope="module")
def room() -> ObservedGraph:
    return observed(PIECES)


def test_nothing_changed_under_other_light(room: ObservedGraph) -> None:
    changes = told(room, observed(PIECES, light=0.7))
    assert {change.kind for change in changes.values()} == {"unchanged"} and set(changes) == {10, 11, 12}
    assert all(change.sentence.endswith("is unchanged") and change.score > 0.9 for change in changes.values())


def test_a_chair_that_was_carried_and_turned(room: ObservedGraph) -> None:
    moved = replace(CHAIR, number=33, at=(1.5, 1.9), yaw=CHAIR.yaw + 70.0)
    change = told(room, observed((moved, TABLE, LAMP)))[10]
    assert change.kind == "moved" and change.after == 33
    assert change.distance == pytest.approx(math.hypot(0.5, 0.9), abs=0.03)
    assert change.turn_deg == pytest.approx(70.0, abs=4.0)  # counter-clockwise from above, so positive
    assert change.from_in_world is not None and change.to_in_world is not None
    np.testing.assert_allclose(change.to_in_world[:2], [1.5, 1.9], atol=0.05)
    assert change.sentence == f"chair 10 moved {change.distance:.2f} m and turned {change.turn_deg:.0f}° (now number 33)"


def test_a_chair_that_was_turned_where_it_stands(room: ObservedGraph) -> None:
    change = told(room, observed((replace(CHAIR, yaw=CHAIR.yaw - 90.0), TABLE, LAMP)))[10]
    assert change.kind == "moved" and change.turn_deg == pytest.approx(-90.0, abs=5.0) and change.distance < 0.1


def test_a_nudge_of_a_long_table_is_seen_and_the_noise_of_boxes_is_not(room: ObservedGraph) -> None:
    nudged = told(room, observed((CHAIR, replace(TABLE, at=(TABLE.at[0] - 0.3, TABLE.at[1])), LAMP)))[11]
    assert nudged.kind == "moved" and nudged.distance == pytest.approx(0.3, abs=0.03)
    noisy = told(room, observed((CHAIR, replace(TABLE, at=(TABLE.at[0] - 0.05, TABLE.at[1] + 0.03)), LAMP)))[11]
    assert noisy.kind == "unchanged"


def test_what_is_new_and_what_is_gone(room: ObservedGraph) -> None:
    plant = Piece(40, "plant", (0.8, 2.5), 0.0, (0.4, 0.4, 1.0), (0.1, 0.5, 0.1))
    changes = told(room, observed((CHAIR, TABLE, plant)))
    assert changes[12].kind == "vanished" and changes[12].after is None and changes[12].sentence == "lamp 12 is gone"
    assert changes[12].to_in_world is None
    new = changes["new", 40]
    assert new.kind == "appeared" and new.sentence == "plant 40 is new" and new.from_in_world is None
    assert changes[10].kind == changes[11].kind == "unchanged"


def test_another_chair_elsewhere_is_not_the_one_that_is_gone(room: ObservedGraph) -> None:
    other = Piece(40, "chair", (1.2, 2.3), 0.0, (0.42, 0.46, 1.0), (0.1, 0.2, 0.8))
    changes = told(room, observed((other, TABLE, LAMP)))
    assert changes[10].kind == "vanished" and changes["new", 40].kind == "appeared"


def test_twins_stay_where_they_are_and_the_nearer_place_is_taken() -> None:
    twins = (CHAIR, replace(CHAIR, number=20, at=(3.0, 1.0)))
    changes = told(observed(twins), observed((CHAIR, replace(CHAIR, number=20, at=(3.0, 1.8)))))
    assert changes[10].kind == "unchanged" and changes[20].kind == "moved" and changes[20].after == 20


def test_another_name_in_the_same_place_is_no_change(room: ObservedGraph) -> None:
    change = told(room, observed((replace(CHAIR, name="armchair", number=15), TABLE, LAMP)))[10]
    assert change.kind == "unchanged" and change.renamed and change.sentence == "chair 10 is unchanged (now called armchair 15)"
    synonym = told(room, observed((CHAIR, replace(TABLE, name="desk"), LAMP)))[11]
    assert synonym.kind == "unchanged" and not synonym.renamed


def test_things_cut_in_two_or_joined_are_no_change(room: ObservedGraph) -> None:
    rows = np.flatnonzero(room.owners == 11)
    left = rows[room.cloud_in_world[rows, 0] < TABLE.at[0] - 0.2]
    owners = room.owners.copy()
    owners[left] = 50
    node = room.graph.by_id[11]
    graph = replace(room.graph, objects=(*room.graph.objects, replace(node, object_id=50)))
    cut = replace(room, graph=graph, owners=owners)
    for before, after in ((room, cut), (cut, room)):
        assert {change.kind for change in compared(before, after, np.eye(4))} == {"unchanged"}


def test_what_the_other_scene_has_no_name_for_is_still_there(room: ObservedGraph) -> None:
    graph = replace(room.graph, objects=tuple(node for node in room.graph.objects if node.object_id != 11))
    nameless = replace(room, graph=graph, owners=np.where(room.owners == 11, -1, room.owners))
    change = told(room, nameless)[11]
    assert change.kind == "unchanged" and change.after is None and "counted to other things" in change.sentence
    assert told(nameless, room)["new", 11].kind == "unchanged"


def test_the_pieces_of_what_moved_moved_with_it(room: ObservedGraph) -> None:
    moved = observed((CHAIR, replace(TABLE, at=(1.2, 2.4), yaw=20.0), LAMP))
    rows = np.flatnonzero(moved.owners == 11)
    owners = moved.owners.copy()
    owners[rows[moved.cloud_in_world[rows, 0] < 0.85]] = 50
    graph = replace(moved.graph, objects=(*moved.graph.objects, replace(moved.graph.by_id[11], object_id=50)))
    changes = [each for each in compared(room, replace(moved, graph=graph, owners=owners), np.eye(4)) if each.kind != "unchanged"]
    assert {(each.kind, each.before, each.after) for each in changes} == {("moved", 11, 11), ("moved", 11, 50)}


def test_boxes_cut_in_two_are_no_change(room: ObservedGraph) -> None:
    box = room.graph.by_id[11].box
    halves = []
    for number, side in ((11, -1.0), (50, 1.0)):
        middle = box.center_in_world + side * 0.25 * box.size[0] * box.world_from_box[:, 0]
        half = replace(box, center_in_world=middle, size=box.size * np.array([0.5, 1.0, 1.0]))
        halves.append(replace(room.graph.by_id[11], object_id=number, box=half))
    rest = [node for node in room.graph.objects if node.object_id != 11]
    nothing = np.zeros((0, 3)), np.zeros(0, dtype=np.int64)
    whole = ObservedGraph(room.graph, *nothing)
    cut = ObservedGraph(replace(room.graph, objects=tuple(sorted([*rest, *halves], key=lambda n: n.object_id))), *nothing)
    assert {change.kind for change in compared(whole, cut, np.eye(4))} == {"unchanged"}


def test_a_place_that_nobody_looked_at_is_not_called_empty(room: ObservedGraph) -> None:
    blind = observed((CHAIR, TABLE), looks_from=((3.7, 2.9), (3.4, 3.0)))  # into the other corners
    seen = blind.cloud_in_world[:, 0] < 2.4  # and no surface of that corner
    blind = replace(blind, cloud_in_world=blind.cloud_in_world[seen], owners=blind.owners[seen], colors=blind.colors[seen])
    change = told(room, blind)[12]
    assert change.kind == "not seen" and change.sentence == "lamp 12: the second capture does not show its place"
    assert told(blind, room)["new", 12].kind == "not seen"


def test_a_picture_taken_from_the_wall_is_told_by_the_colour_of_its_place() -> None:
    picture = Piece(13, "picture", (2.0, 0.02), 0.0, (0.8, 0.03, 0.6), (0.7, 0.1, 0.1), bottom=1.2)
    with_it, without = observed((*PIECES, picture)), observed(PIECES)
    assert told(with_it, without)[13].kind == "vanished"
    # The same wall, a piece of which the first capture took for something else:
    on_paper = replace(picture, color=(0.8, 0.8, 0.8))
    assert told(observed((*PIECES, on_paper)), without)[13].kind == "unchanged"


def test_boxes_alone_are_compared_too(room: ObservedGraph) -> None:
    def bare(pieces: tuple[Piece, ...]) -> ObservedGraph:
        full = observed(pieces)
        return ObservedGraph(full.graph, np.zeros((0, 3)), np.zeros(0, dtype=np.int64))

    changes = told(bare(PIECES), bare((replace(CHAIR, at=(1.7, 1.0)), TABLE)))
    assert changes[10].kind == "moved" and changes[10].distance == pytest.approx(0.7, abs=0.02)
    assert changes[11].kind == "unchanged" and changes[12].kind == "vanished"


def test_the_answer_does_not_depend_on_the_frames(room: ObservedGraph) -> None:
    after_from_before = np.eye(4)
    after_from_before[:3, :3] = rotation_about_up(2.0)
    after_from_before[:3, 3] = [10.0, -3.0, 1.0]
    after = observed((replace(CHAIR, at=(1.7, 1.3), yaw=120.0), TABLE, LAMP)).moved(after_from_before)
    tipped = np.eye(4)
    tipped[:3, :3] = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])  # up is +Y there
    tipped_room = room.moved(np.linalg.inv(tipped))
    change = told(tipped_room, after, after_from_before @ tipped)[10]
    assert change.kind == "moved" and change.distance == pytest.approx(math.hypot(0.7, 0.3), abs=0.03)
    assert change.turn_deg == pytest.approx(90.0, abs=4.0)
    assert change.to_in_world is not None
    np.testing.assert_allclose(change.to_in_world, after.graph.by_id[10].box.center_in_world, atol=1e-6)


@pytest.mark.errors
def test_a_transform_that_tips_the_room_over_is_refused(room: ObservedGraph) -> None:
    tipped = np.eye(4)
    tipped[:3, :3] = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
    with pytest.raises(ConventionError, match="keeps the vertical"):
        compared(room, room, tipped)


def test_pairs_are_those_with_the_largest_sum() -> None:
    scores = np.array([[0.9, 0.8, 0.0], [0.85, 0.1, 0.0]])
    assert assigned(scores, scores > 0) == [(0, 1), (1, 0)]  # not the best one first: 0.9 + 0.1
    assert assigned(scores, scores > 0.82) == [(0, 0)] or assigned(scores, scores > 0.82) == [(1, 0)]
    assert assigned(np.zeros((0, 3)), np.zeros((0, 3), dtype=bool)) == []

"""True relations: by hand in furnished-by-hand rooms, and by what must hold in any room."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from scenewise.scenes.predicates import CONVERSE
from scenewise.worlds.layout import RoomObject
from scenewise.worlds.materials import Material, Texture
from scenewise.worlds.primitives import box
from scenewise.worlds.relations import ROOM_PREDICATES, hosts_of, node_of_instance, nodes_of, true_relations
from scenewise.worlds.rooms import Room, furnished_room

LOOK = Material(next(iter(Texture)), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
EMPTY = replace(furnished_room(3), objects=furnished_room(3).objects[:6])
X, Y, HEIGHT = EMPTY.size  # at least 4 × 4 × 2.4 metres
SHELL = ("floor", "ceiling", "south", "east", "north", "west")  # the walls at y = 0, x = X, y = Y, x = 0
SOUTH, EAST, NORTH, WEST = 0.0, math.pi / 2, math.pi, -math.pi / 2  # which way a piece is turned whose back is at that wall
Told = set[tuple[str, str, str]]


def piece(
    name: str,
    at: tuple[float, float],
    size: tuple[float, float, float] = (0.4, 0.4, 0.8),
    *,
    bottom: float = 0.0,
    yaw: float = 0.0,
    color: str = "red",
) -> RoomObject:
    """A box with its front along its own +Y."""
    part = box(0.0, 0.0, 0.0, *size, LOOK).moved((*at, bottom), yaw)
    return RoomObject(name, color, (*at, bottom + size[2] / 2), size, yaw, (part,))


def room_of(**pieces: RoomObject) -> Room:
    return replace(EMPTY, objects=(*EMPTY.objects, *pieces.values()))


def told(frame_yaw: float = 0.0, **pieces: RoomObject) -> Told:
    names = (*SHELL, *pieces)
    return {(names[s], ROOM_PREDICATES[p], names[o]) for s, o, p in true_relations(room_of(**pieces), frame_yaw).tolist()}


def between(first: str, second: str, found: Told) -> set[str]:
    return {predicate for subject, predicate, thing in found if (subject, thing) == (first, second)}


# ----------------------------------------------------------------------------------------------------------- pairs of boxes


def test_an_empty_room_is_held_together() -> None:
    walls = SHELL[2:]
    assert told() == {(wall, "attached to", "floor") for wall in walls} | {("ceiling", "attached to", wall) for wall in walls}


def test_directions_are_those_of_whoever_looks_along_y() -> None:
    a, b = piece("chair", (1.5, 2.0)), piece("bookshelf", (2.6, 1.8))
    found = told(a=a, b=b)
    assert between("a", "b", found) == {"left"} and between("b", "a", found) == {"right"}
    near, far = piece("chair", (2.0, 1.4)), piece("bookshelf", (2.1, 2.5))
    found = told(near=near, far=far)
    assert between("near", "far", found) == {"front"} and between("far", "near", found) == {"behind"}
    # Somebody turned to the left by 90°, looking along −X, has +Y on the right and −X far away.
    assert between("a", "b", told(math.pi / 2, a=a, b=b)) == {"behind"}
    assert between("near", "far", told(math.pi / 2, near=near, far=far)) == {"left"}
    corner = told(a=piece("chair", (1.5, 1.5)), b=piece("bookshelf", (2.3, 2.3)))
    assert between("a", "b", corner) == {"left", "front"}, "60° to each side: in between both hold"
    assert not between("a", "b", told(a=piece("chair", (1.0, 2.0)), b=piece("bookshelf", (2.6, 2.0)))), "too far apart"


def test_close_by_is_about_boxes_side_by_side() -> None:
    shelf = piece("bookshelf", (2.0, 2.0), (0.4, 0.4, 1.0))
    chair = piece("chair", (2.7, 2.0))
    assert "close by" in between("a", "b", told(a=chair, b=shelf)) & between("b", "a", told(a=chair, b=shelf))
    assert "close by" not in between("a", "b", told(a=piece("chair", (2.8, 2.0)), b=shelf)), "40 centimetres"
    above = piece("chair", (2.7, 2.0), bottom=1.2)
    assert "close by" not in between("a", "b", told(a=above, b=shelf)), "one is wholly above the other"
    # Turned by 45° a square of 40 cm reaches 28 cm to each side instead of 20.
    turned = piece("chair", (2.8, 2.0), yaw=math.pi / 4)
    assert "close by" in between("a", "b", told(a=turned, b=shelf))


def test_standing_on() -> None:
    table, cup = piece("table", (2.0, 2.0), (1.0, 0.8, 0.7)), piece("monitor", (2.3, 1.8), (0.4, 0.1, 0.3), bottom=0.703)
    found = told(table=table, cup=cup)
    assert between("table", "floor", found) == {"standing on"} and not between("cup", "floor", found)
    assert between("cup", "table", found) == {"standing on"} and not between("table", "cup", found), "no directions as well"
    assert hosts_of(room_of(table=table, cup=cup)) == (*[None] * 7, 6)
    beside = piece("monitor", (2.7, 1.8), (0.4, 0.1, 0.3), bottom=0.703)
    assert "standing on" not in between("cup", "table", told(table=table, cup=beside))
    higher = piece("monitor", (2.3, 1.8), (0.4, 0.1, 0.3), bottom=0.76)
    assert "standing on" not in between("cup", "table", told(table=table, cup=higher))
    picture = piece("picture", (2.3, 1.8), (0.4, 0.1, 0.3), bottom=0.703)
    assert "standing on" not in between("cup", "table", told(table=table, cup=picture)), "pictures hang"
    # A long table that is turned: its corner regions are no longer under what stood there.
    turned = piece("table", (2.0, 2.0), (1.6, 0.4, 0.7), yaw=math.pi / 2)
    assert between("cup", "table", told(table=turned, cup=piece("lamp", (2.0, 2.7), bottom=0.7))) == {"standing on"}
    assert not between("cup", "table", told(table=turned, cup=piece("lamp", (2.7, 2.0), bottom=0.7))) & {"standing on"}


def test_comparisons_are_between_things_of_a_class() -> None:
    small, large = piece("chair", (1.0, 1.0)), piece("chair", (3.0, 3.0), (0.4, 0.4, 1.1))
    found = told(small=small, large=large)
    assert between("small", "large", found) == {"smaller than", "lower than"}
    assert between("large", "small", found) == {"bigger than", "higher than"}
    wide = piece("chair", (3.0, 3.0), (0.6, 0.6, 0.8))
    assert between("wide", "small", told(small=small, wide=wide)) == {"bigger than"}
    other = piece("chair", (3.0, 3.0), (0.4, 0.4, 0.9))
    assert not between("small", "other", told(small=small, other=other)), "within a factor of 1.3"
    twin = piece("chair", (3.0, 3.0), yaw=1.0)
    found = told(small=small, twin=twin)
    assert between("small", "twin", found) == between("twin", "small", found) == {"same as"}
    assert not between("small", "twin", told(small=small, twin=replace(twin, color_name="blue")))
    assert not between("small", "box", told(small=small, box=piece("cabinet", (3.0, 3.0), (1.0, 1.0, 2.0))))


@pytest.mark.parametrize(
    ("wall", "yaw", "at"),
    [("south", SOUTH, (2.0, 0.2)), ("east", EAST, (X - 0.2, 1.7)), ("north", NORTH, (2.0, Y - 0.2)), ("west", WEST, (0.2, 1.7))],
)
def test_what_has_its_back_at_a_wall(wall: str, yaw: float, at: tuple[float, float]) -> None:
    def said(name: str, **changes: object) -> set[tuple[str, str]]:
        thing = piece(name, changes.pop("at", at), (1.0, 0.4, 0.8), **{"yaw": yaw, **changes})
        return {(p, o) for s, p, o in told(thing=thing) if s == "thing" and o in SHELL[2:]}

    assert said("cabinet") == {("leaning against", wall)} == said("bed")
    assert said("window", bottom=1.0) == {("build in", wall)} == said("door")
    assert said("picture", bottom=1.4) == {("hanging on", wall)}
    assert not said("plant"), "has no back"
    assert not said("cabinet", yaw=yaw + math.pi), "its front is at the wall"
    assert said("cabinet", yaw=yaw + 0.15) and not said("cabinet", yaw=yaw + 0.3)
    inwards = (at[0] - math.sin(yaw) * 0.2, at[1] + math.cos(yaw) * 0.2)
    assert not said("cabinet", at=inwards), "20 centimetres away from it"


def test_lamps_hang_on_the_ceiling() -> None:
    pendant = piece("lamp", (2.0, 2.0), (0.3, 0.3, 0.5), bottom=HEIGHT - 0.5)
    assert between("lamp", "ceiling", told(lamp=pendant)) == {"hanging on"}
    assert between("lamp", "floor", told(lamp=pendant)) == set()
    standing = piece("lamp", (2.0, 2.0), (0.3, 0.3, 1.6))
    assert between("lamp", "floor", told(lamp=standing)) == {"standing on"} and not between(
        "lamp", "ceiling", told(lamp=standing)
    )
    assert not between("shelf", "ceiling", told(shelf=piece("bookshelf", (2.0, 2.0), (0.5, 0.3, HEIGHT - 0.1))))


# ---------------------------------------------------------------------------------------------------- what things are for

TABLE = piece("table", (2.0, 2.0), (1.0, 0.8, 0.7))


def test_a_chair_belongs_to_the_table_it_faces_and_is_opposite_to_who_sits_there() -> None:
    near, far = piece("chair", (2.0, 1.4), yaw=SOUTH), piece("chair", (2.0, 2.6), yaw=NORTH)
    found = told(table=TABLE, near=near, far=far)
    assert ("near", "belonging to", "table") in found and ("far", "belonging to", "table") in found
    assert ("near", "opposite", "far") in found and ("far", "opposite", "near") in found
    away = piece("chair", (2.0, 1.4), yaw=NORTH)
    assert ("away", "belonging to", "table") not in told(table=TABLE, away=away), "it shows the table its back"
    side = piece("chair", (1.3, 2.0), yaw=WEST)
    found = told(table=TABLE, near=near, side=side)
    assert ("side", "belonging to", "table") in found and not {s for s, p, _ in found if p == "opposite"}
    second = piece("table", (2.0, 0.7), (1.0, 0.8, 0.7))
    found = told(table=TABLE, second=second, near=piece("chair", (2.0, 1.3), yaw=SOUTH))
    assert [row for row in found if row[1] == "belonging to"] == [("near", "belonging to", "table")]


def test_a_screen_belongs_to_the_desk_it_stands_on_and_a_low_table_to_a_sofa() -> None:
    screen = piece("monitor", (2.0, 2.2), (0.5, 0.1, 0.3), bottom=0.703, yaw=NORTH)
    chair = piece("chair", (2.0, 1.4), yaw=SOUTH)
    assert ("screen", "belonging to", "table") in told(table=TABLE, chair=chair, screen=screen)
    sofa = piece("sofa", (2.0, 1.0), (1.8, 0.8, 0.7), yaw=SOUTH)
    low, high = (piece("table", (2.0, 2.0), (0.9, 0.5, height)) for height in (0.4, 0.7))
    assert ("low", "belonging to", "sofa") in told(sofa=sofa, low=low)
    assert ("high", "belonging to", "sofa") not in told(sofa=sofa, high=high)
    assert ("low", "belonging to", "sofa") not in told(sofa=replace(sofa, yaw=NORTH), low=low), "behind its back"


def test_a_seat_faces_the_nearest_screen_that_shows_it_its_front() -> None:
    sofa = piece("sofa", (2.0, 0.6), (1.8, 0.8, 0.7), yaw=SOUTH)
    shelf = piece("cabinet", (2.0, 3.5), (1.4, 0.4, 0.5), yaw=NORTH)
    screen = piece("monitor", (2.2, 3.5), (1.0, 0.1, 0.6), bottom=0.503, yaw=NORTH)
    assert ("sofa", "facing", "screen") in told(sofa=sofa, shelf=shelf, screen=screen)
    nearer = piece("monitor", (1.9, 2.5), (0.5, 0.1, 0.3), bottom=0.7, yaw=NORTH)
    found = told(sofa=sofa, shelf=shelf, screen=screen, nearer=nearer)
    assert {row for row in found if row[1] == "facing"} == {("sofa", "facing", "nearer")}
    for other in (replace(screen, yaw=SOUTH), replace(screen, center=(3.9, 0.9, 0.8))):
        assert ("sofa", "facing", "screen") not in told(sofa=sofa, shelf=shelf, screen=other)


def test_a_lamp_lights_the_nearest_seat_and_a_nearer_one_takes_it_over() -> None:
    lamp, bed = piece("lamp", (1.0, 1.0), (0.3, 0.3, 1.6)), piece("bed", (2.5, 1.5), (1.0, 2.0, 0.5))
    assert ("lamp", "lighting", "bed") in told(lamp=lamp, bed=bed)
    chair = piece("chair", (1.2, 1.6))
    found = told(lamp=lamp, bed=bed, chair=chair)
    assert {row for row in found if row[1] == "lighting"} == {("lamp", "lighting", "chair")}, "the boxes of the bed are as before"
    assert not {row for row in told(lamp=lamp, bed=piece("bed", (3.2, 1.5), (1.0, 2.0, 0.5))) if row[1] == "lighting"}, "too far"
    pendant = piece("lamp", (2.2, 2.1), (0.3, 0.3, 0.5), bottom=HEIGHT - 0.5)
    found = told(pendant=pendant, table=TABLE, chair=piece("chair", (2.0, 1.4)))
    assert {row for row in found if row[1] == "lighting"} == {("pendant", "lighting", "table")}


def test_what_stands_at_a_window_is_lit_by_it() -> None:
    window = piece("window", (2.0, 0.03), (1.2, 0.06, 1.2), bottom=0.9)
    plant, shelf = piece("plant", (2.0, 0.5)), piece("bookshelf", (1.2, 0.4), (0.4, 0.3, 1.8))
    found = told(window=window, plant=plant, shelf=shelf)
    assert {row for row in found if row[1] == "lit by"} == {("plant", "lit by", "window")}
    assert ("plant", "lit by", "window") not in told(window=window, plant=piece("plant", (2.0, 1.0)))


def test_pictures_decorate_what_is_below_and_plants_what_they_stand_on_or_beside() -> None:
    bed, sofa = (piece(name, (x, 1.0), (1.2, 1.9, 0.5), yaw=SOUTH) for name, x in (("bed", 1.0), ("sofa", 2.7)))
    picture = piece("picture", (1.7, 0.02), (0.6, 0.04, 0.5), bottom=1.4)
    found = told(bed=bed, sofa=sofa, picture=picture)
    assert {row for row in found if row[1] == "decorating"} == {("picture", "decorating", "bed")}, "the nearer of the two"
    on, beside = piece("plant", (1.1, 1.2), (0.2, 0.2, 0.3), bottom=0.503), piece("plant", (3.5, 1.0), (0.2, 0.2, 0.5))
    found = told(bed=bed, sofa=sofa, on=on, beside=beside)
    assert {row for row in found if row[1] == "decorating"} == {("on", "decorating", "bed"), ("beside", "decorating", "sofa")}


def test_the_bedside_is_at_the_head() -> None:
    bed = piece("bed", (2.0, 1.1), (1.2, 2.0, 0.5), yaw=SOUTH)
    head, foot = piece("table", (2.9, 0.4)), piece("table", (2.9, 1.9))
    found = told(bed=bed, head=head, foot=foot)
    assert {row for row in found if row[1] == "bedside of"} == {("head", "bedside of", "bed")}
    turned = told(bed=replace(bed, yaw=NORTH), head=head, foot=foot)
    assert {row for row in turned if row[1] == "bedside of"} == {("foot", "bedside of", "bed")}


def test_a_seat_at_a_shelf_is_for_reading_only_where_a_lamp_lights_it() -> None:
    shelf, chair = piece("bookshelf", (2.0, 0.2), (0.9, 0.3, 1.8)), piece("chair", (2.0, 1.2))
    lamp, other = piece("lamp", (2.7, 1.4), (0.3, 0.3, 1.6)), piece("chair", (3.2, 1.5))
    assert not {row for row in told(shelf=shelf, chair=chair) if row[1] == "reading seat of"}
    assert ("chair", "reading seat of", "shelf") in told(shelf=shelf, chair=chair, lamp=lamp)
    taken = told(shelf=shelf, chair=chair, lamp=lamp, other=other)
    assert ("chair", "reading seat of", "shelf") not in taken, "the lamp lights the other one now"


# ---------------------------------------------------------------------------------------------------------------- any room


@pytest.fixture(scope="module")
def rooms() -> list[tuple[Room, np.ndarray]]:
    return [(room, true_relations(room)) for room in map(furnished_room, range(100, 130))]


def test_every_predicate_occurs_those_of_geometry_much_more_often(rooms) -> None:
    counts = Counter(ROOM_PREDICATES[p] for _, rows in rooms for p in rows[:, 2])
    assert set(counts) == set(ROOM_PREDICATES), "the last one too"
    assert counts["reading seat of"] >= 1 and min(counts[name] for name in ("left", "standing on")) > 20 * counts["bedside of"]


def test_rows_are_sorted_once_each_and_of_two_things(rooms) -> None:
    for room, rows in rooms:
        triplets = [tuple(row) for row in rows.tolist()]
        assert triplets == sorted(set(triplets))
        assert (rows[:, 0] != rows[:, 1]).all() and rows[:, :2].max() < len(nodes_of(room))


def test_relations_are_the_same_whenever_they_are_asked_for(rooms) -> None:
    for room, rows in rooms[:2]:
        assert np.array_equal(rows, true_relations(furnished_room(room.seed)))


def test_what_turns_round_is_told_both_ways(rooms) -> None:
    for _, rows in rooms:
        found = {(s, ROOM_PREDICATES[p], o) for s, o, p in rows.tolist()}
        for subject, predicate, thing in found:
            if predicate in CONVERSE:
                assert (thing, CONVERSE[predicate], subject) in found


def test_openings_and_pictures_are_at_one_wall_and_things_stand_on_one_thing(rooms) -> None:
    for room, rows in rooms:
        names = [room.objects[index].class_name for index in nodes_of(room)]
        said = {(s, ROOM_PREDICATES[p], o) for s, o, p in rows.tolist()}
        for node, name in enumerate(names):
            own = [(p, names[o]) for s, p, o in said if s == node]
            supports = [each for each in own if each[0] in ("standing on", "hanging on", "build in")]
            if name in ("door", "window"):
                assert supports == [("build in", "wall")]
            elif name == "picture":
                assert supports == [("hanging on", "wall")]
            elif name not in ("floor", "ceiling", "wall"):
                assert len(supports) == 1, (room.seed, name, supports)
            assert sum(p == "leaning against" for p, _ in own) <= 2, "in a corner at most"


def test_rugs_are_part_of_the_floor() -> None:
    room = next(room for room in map(furnished_room, range(50)) if any(t.class_name == "floor" for t in room.objects[1:]))
    nodes, node_of = nodes_of(room), node_of_instance(room)
    rug = next(index for index, thing in enumerate(room.objects) if index and thing.class_name == "floor")
    assert rug not in nodes and node_of[rug] == 0 and nodes[0] == 0
    assert all(node_of[instance] == node for node, instance in enumerate(nodes)) and len(nodes) == len(room.objects) - 1
    bare = replace(room, objects=tuple(thing for index, thing in enumerate(room.objects) if index != rug))
    assert np.array_equal(true_relations(room), true_relations(bare))


def test_directions_turn_with_who_looks_and_nothing_else_does(rooms) -> None:
    quarter = {"left": "behind", "right": "front", "front": "left", "behind": "right"}  # turned to the left by 90°
    for room, rows in rooms[:10]:
        turned = true_relations(room, math.pi / 2)
        renamed = {(s, quarter.get(ROOM_PREDICATES[p], ROOM_PREDICATES[p]), o) for s, o, p in rows.tolist()}
        assert renamed == {(s, ROOM_PREDICATES[p], o) for s, o, p in turned.tolist()}

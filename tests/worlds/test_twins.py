"""Twins have the same shell and the same kinds of things, none where it was, and nothing stands in anything else."""

import math
from collections import Counter

import numpy as np
import pytest

from scenewise.worlds import materials
from scenewise.worlds.classes import STUFF_NAMES
from scenewise.worlds.furniture import Furniture
from scenewise.worlds.layout import FloorPlan, RoomObject, boxes_of, boxes_overlap
from scenewise.worlds.pieces import as_furniture, foot_of
from scenewise.worlds.primitives import box
from scenewise.worlds.relations import hosts_of
from scenewise.worlds.rooms import Room, furnished_room
from scenewise.worlds.seeds import VALIDATION_SEEDS
from scenewise.worlds.twins import twin_room

SEEDS = VALIDATION_SEEDS[50_000:50_008]
BUILT_IN = {"wall", "ceiling", "door", "window"}


@pytest.fixture(scope="module")
def pairs() -> list[tuple[Room, Room]]:
    return [(room, twin_room(room, seed + 500)) for seed, room in ((seed, furnished_room(seed)) for seed in SEEDS)]


def furniture_of(room: Room) -> list[RoomObject]:
    return [thing for index, thing in enumerate(room.objects) if index and thing.class_name not in BUILT_IN]


def kind(thing: RoomObject, room: Room, host: int | None) -> tuple[str, object]:
    """Kinds as a person tells them apart: low tables from high ones, lamps that stand from lamps that hang."""
    name, height = thing.class_name, thing.size[2]
    if name == "table":
        return name, height < 0.6
    if name == "cabinet":
        return name, height > 1.3
    if name in ("lamp", "plant"):
        return name, "on" if host is not None else thing.center[2] > 0.6 * room.size[2]
    return name, None


def test_the_shell_is_the_same_and_so_are_the_kinds(pairs: list[tuple[Room, Room]]) -> None:
    for room, twin in pairs:
        assert twin.size == room.size and twin.seed != room.seed and twin.lighting != room.lighting
        built_in = [[each for i, each in enumerate(r.objects) if not i or each.class_name in BUILT_IN] for r in (room, twin)]
        assert built_in[0] == built_in[1]
        assert [thing.class_name for thing in twin.objects[:6]] == ["floor", "ceiling", "wall", "wall", "wall", "wall"]
        counts = [Counter(kind(thing, r, host) for thing, host in zip(r.objects, hosts_of(r))) for r in (room, twin)]
        assert counts[0] == counts[1]


def test_nothing_stands_in_anything_else_or_out_of_the_room(pairs: list[tuple[Room, Room]]) -> None:
    for _, twin in pairs:
        things = [thing for thing in twin.objects if thing.class_name not in STUFF_NAMES]
        boxes = [boxes_of(thing.parts) for thing in things]
        owner = np.repeat(np.arange(len(things)), [len(each) for each in boxes])
        every = np.concatenate(boxes)
        clash = boxes_overlap(every, every, margin=-0.001) & (owner[:, None] != owner)
        assert not clash.any(), (twin.seed, [things[i].class_name for i in owner[clash.any(1)]])
        centers = np.array([thing.center for thing in furniture_of(twin)])
        assert (centers > -0.01).all() and (centers < np.array(twin.size)).all()


def test_doors_and_windows_stay_free(pairs: list[tuple[Room, Room]]) -> None:
    for _, twin in pairs:
        for opening in (thing for thing in twin.objects if thing.class_name in ("door", "window")):
            x, y = opening.center[0] - 0.3 * math.sin(opening.yaw), opening.center[1] + 0.3 * math.cos(opening.yaw)
            way = np.array([[x, y, opening.center[2], opening.size[0] / 2 - 0.05, 0.18, opening.size[2] / 2 - 0.05, opening.yaw]])
            for thing in furniture_of(twin):
                assert not boxes_overlap(way, boxes_of(thing.parts)).any(), (twin.seed, thing.class_name, opening.class_name)


def look(thing: RoomObject) -> tuple[object, ...]:
    return tuple((part.half_size, part.material) for part in thing.parts)


def test_all_is_elsewhere_and_half_of_it_keeps_its_design(pairs: list[tuple[Room, Room]]) -> None:
    kept = total = 0
    for room, twin in pairs:
        before, after = furniture_of(room), furniture_of(twin)
        old: dict[tuple[object, ...], list[RoomObject]] = {}
        for thing in before:
            old.setdefault(look(thing), []).append(thing)
        for thing in after:
            total += 1
            for was in old.get(look(thing), []):
                kept += 1 / len(old[look(thing)])
                assert was.size == pytest.approx(thing.size) and was.color_name == thing.color_name
                if len(old[look(thing)]) == 1:
                    assert math.dist(was.center[:2], thing.center[:2]) >= 0.3
        makes = [
            Counter(Counter(look(thing) for thing in things if thing.class_name == "chair").values())
            for things in (before, after)
        ]
        assert makes[0] == makes[1]  # chairs of one make stay of one make
    assert 0.35 < kept / total < 0.65


def test_the_same_seed_is_the_same_twin_and_another_one_another() -> None:
    room = furnished_room(SEEDS[0])
    first, again, other = (twin_room(room, seed) for seed in (7, 7, 8))
    assert first == again and first.objects != other.objects


def test_a_piece_taken_up_has_its_own_frame_again() -> None:
    """A piece at (3, 1), turned by a quarter turn, whose knob was at +y of its own: in the room the knob is at −x."""
    looks = materials.paint(np.random.default_rng(0), "red")
    parts = (box(0.0, 0.0, 0.0, 1.0, 0.4, 0.8, looks), box(0.3, 0.25, 0.5, 0.1, 0.1, 0.1, looks))
    placed = tuple(part.moved((3.0, 1.0, 0.1), math.pi / 2) for part in parts)
    thing = RoomObject("cabinet", "red", (3.0, 1.0, 0.5), (1.0, 0.4, 0.8), math.pi / 2, placed)
    assert placed[1].center == pytest.approx((2.75, 1.3, 0.65))
    assert foot_of(thing) == pytest.approx((3.0, 1.0, 0.1))
    piece = as_furniture([thing], free_front=0.6)
    assert (piece.class_name, piece.size, piece.free_front, piece.is_hung) == (
        "cabinet",
        pytest.approx((1.0, 0.4, 0.8)),
        0.6,
        False,
    )
    for own, taken in zip(parts, piece.parts):
        assert taken.center == pytest.approx(own.center, abs=1e-12) and taken.yaw == pytest.approx(0.0, abs=1e-12)


def test_a_rug_is_moved_off_the_walls_by_its_turned_size() -> None:
    looks = materials.paint(np.random.default_rng(0), "red")
    mat = Furniture("floor", "red", (2.0, 1.2, 0.01), (box(0.0, 0.0, 0.0, 2.0, 1.2, 0.01, looks),))
    plan = FloorPlan(np.random.default_rng(0), 5.0, 4.0, 2.5)
    for yaw, expected in ((0.0, (1.05, 3.35, 0.0)), (math.pi / 2, (0.65, 2.95, 0.0))):
        plan.lay_rug(mat, (0.2, 3.9), yaw)
        assert plan.objects[-1].center == pytest.approx(expected)


def test_a_picture_is_taken_up_by_its_back() -> None:
    thing = next(each for seed in SEEDS for each in furnished_room(seed).objects if each.class_name == "picture")
    piece = as_furniture([thing])
    assert piece.is_hung and piece.free_front > 0
    assert min(part.center[1] - part.half_size[1] for part in piece.parts) == pytest.approx(0.0, abs=1e-9)

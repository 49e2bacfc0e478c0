"""Rooms are reproducible, believable and complete."""

import math

import numpy as np
import pytest
import torch

from scenewise.kernels import ray_casting
from scenewise.worlds import furniture, seeds
from scenewise.worlds.classes import CLASS_NAMES, STUFF_NAMES, class_id
from scenewise.worlds.furniture import Furniture
from scenewise.worlds.layout import FloorPlan, RoomObject, boxes_of, boxes_overlap
from scenewise.worlds.primitives import box, frustum, pack
from scenewise.worlds.rooms import Room, furnished_room

SEEDS = [*seeds.DEMO_SEEDS[:6], *seeds.TRAINING_SEEDS[:6]]


@pytest.fixture(scope="module")
def rooms() -> list[Room]:
    return [furnished_room(seed) for seed in SEEDS]


def pieces(room: Room) -> list[RoomObject]:
    """Everything but shell and rugs."""
    return [thing for thing in room.objects if thing.class_name not in STUFF_NAMES]


class TestSeeds:
    def test_uses_are_disjoint(self) -> None:
        ranges = [seeds.TRAINING_SEEDS, seeds.VALIDATION_SEEDS, seeds.BENCHMARK_SEEDS, seeds.DEMO_SEEDS]
        for i, first in enumerate(ranges):
            for second in ranges[i + 1 :]:
                assert first.stop <= second.start or second.stop <= first.start
        assert seeds.DEFAULT_DEMO_SEED in seeds.DEMO_SEEDS

    def test_same_seed_same_room(self, rooms: list[Room]) -> None:
        again = furnished_room(SEEDS[0])
        assert again == rooms[0]
        assert torch.equal(again.scene.primitives.centers_in_world, rooms[0].scene.primitives.centers_in_world)
        assert torch.equal(again.scene.materials.colors, rooms[0].scene.materials.colors)

    def test_rooms_differ(self, rooms: list[Room]) -> None:
        assert len({room.size for room in rooms}) == len(rooms)
        assert len({room.objects for room in rooms}) == len(rooms)

    def test_demo_room_shows_every_class(self) -> None:
        assert {thing.class_name for thing in furnished_room(seeds.DEFAULT_DEMO_SEED).objects} == set(CLASS_NAMES)


class TestContents:
    def test_every_class_occurs_and_ids_follow_the_list(self, rooms: list[Room]) -> None:
        assert {thing.class_name for room in rooms for thing in room.objects} == set(CLASS_NAMES)
        assert [class_id(name) for name in ("wall", "ceiling", "monitor")] == [0, 2, 14]

    def test_enough_to_see(self, rooms: list[Room]) -> None:
        for room in rooms:
            assert 6 <= len(pieces(room)) <= 60
            names = [thing.class_name for thing in room.objects]
            assert names[:6] == ["floor", "ceiling", "wall", "wall", "wall", "wall"]
            assert "door" in names

    def test_maps_from_parts_to_objects(self, rooms: list[Room]) -> None:
        room = rooms[0]
        assert len(room.parts) == len(room.instance_of_part) == len(room.scene.primitives)
        ids = torch.tensor([[-1, 0], [len(room.parts) - 1, 1]], dtype=torch.int32)
        assert room.instance_ids(ids).tolist() == [[-1, 0], [len(room.objects) - 1, 1]]
        last = class_id(room.objects[-1].class_name)
        assert room.class_ids(ids).tolist() == [[-1, class_id("floor")], [last, class_id("ceiling")]]

    def test_several_rooms_have_several_textures(self, rooms: list[Room]) -> None:
        kinds = {int(kind) for room in rooms for kind in room.scene.materials.textures}
        assert kinds == {int(kind) for kind in ray_casting.Texture}


class TestBelievable:
    def test_pieces_do_not_enter_each_other(self, rooms: list[Room]) -> None:
        for room in rooms:
            things = [boxes_of(thing.parts) for thing in pieces(room)]
            owner = np.repeat(np.arange(len(things)), [len(boxes) for boxes in things])
            every = np.concatenate(things)
            clash = boxes_overlap(every, every, margin=-0.001) & (owner[:, None] != owner[None, :])
            assert not clash.any(), (room.seed, [pieces(room)[i].class_name for i in owner[clash.any(1)]])

    def test_pieces_are_in_the_room(self, rooms: list[Room]) -> None:
        for room in rooms:
            for thing in pieces(room):
                corner = np.array(thing.center)
                assert (corner > 0).all() and (corner < np.array(room.size)).all()
                for part in thing.parts:
                    assert part.center[2] - part.half_size[2] > -1e-6
                    assert part.center[2] + part.half_size[2] < room.size[2] + 1e-6

    def test_nothing_floats(self, rooms: list[Room]) -> None:
        """Under the lowest solid of each piece is something within 1 cm, unless it hangs on a wall or from the ceiling."""
        for room in rooms:
            for thing in pieces(room):
                lowest = min(thing.parts, key=lambda part: part.center[2] - part.half_size[2])
                highest = max(part.center[2] + part.half_size[2] for part in thing.parts)
                hangs = thing.class_name in ("window", "picture") or highest > room.size[2] - 0.01
                if hangs:
                    continue
                start = torch.tensor([[lowest.center[0], lowest.center[1], lowest.center[2] - lowest.half_size[2] + 0.005]])
                others = [part for other in room.objects if other is not thing for part in other.parts]
                down = ray_casting.cast_rays(pack(others)[0], start, torch.tensor([[0.0, 0.0, -1.0]]))
                assert float(down.distances[0]) < 0.016, (room.seed, thing.class_name)

    def test_what_hangs_touches_its_wall(self, rooms: list[Room]) -> None:
        for room in rooms:
            width, length, _ = room.size
            for thing in pieces(room):
                if thing.class_name in ("door", "window", "picture"):
                    half = thing.size[1] / 2
                    x, y, _ = thing.center
                    assert min(x, y, width - x, length - y) == pytest.approx(half, abs=1e-6)
                    # and its front (+y of its own frame) looks into the room
                    front = np.array([x - math.sin(thing.yaw), y + math.cos(thing.yaw)])
                    assert (front > 0).all() and (front < [width, length]).all()

    def test_doors_can_be_reached(self, rooms: list[Room]) -> None:
        for room in rooms:
            for door in (thing for thing in room.objects if thing.class_name == "door"):
                x, y = door.center[0] - 0.45 * math.sin(door.yaw), door.center[1] + 0.45 * math.cos(door.yaw)
                way = np.array([[x, y, 0.6, 0.4, 0.3, 0.5, door.yaw]])
                for thing in pieces(room):
                    assert thing is door or not boxes_overlap(way, boxes_of(thing.parts)).any(), (room.seed, thing.class_name)


MAKERS = {
    "bed": furniture.bed,
    "sofa": furniture.sofa,
    "chair": furniture.chair,
    "table": lambda rng: furniture.table(rng, is_low=False),
    "coffee table": lambda rng: furniture.table(rng, is_low=True),
    "wardrobe": lambda rng: furniture.cabinet(rng, is_tall=True),
    "drawers": lambda rng: furniture.cabinet(rng, is_tall=False),
    "bookshelf": furniture.bookshelf,
    "door": furniture.door,
    "picture": furniture.picture,
    "floor lamp": furniture.floor_lamp,
    "table lamp": furniture.table_lamp,
    "pendant": furniture.pendant_lamp,
    "plant": furniture.plant,
    "monitor": furniture.monitor,
}


@pytest.mark.parametrize("name", MAKERS)
def test_furniture_keeps_to_its_size(name: str) -> None:
    looks = set()
    for seed in range(25):
        piece: Furniture = MAKERS[name](np.random.Generator(np.random.PCG64(seed)))
        looks.add(tuple(round(value, 3) for value in piece.size))
        back = 0.0 if piece.is_hung else -piece.size[1] / 2
        for part in piece.parts:
            c, s = abs(math.cos(part.yaw)), abs(math.sin(part.yaw))
            reach_x = c * part.half_size[0] + s * part.half_size[1]
            reach_y = s * part.half_size[0] + c * part.half_size[1]
            slack = 0.035
            assert abs(part.center[0]) + reach_x < piece.size[0] / 2 + slack
            assert back - slack < part.center[1] - reach_y and part.center[1] + reach_y < back + piece.size[1] + slack
            assert part.center[2] - part.half_size[2] > -0.04  # a window's sill
            assert part.center[2] + part.half_size[2] < piece.size[2] + slack
    assert len(looks) == 25


class TestLayout:
    def test_overlap_of_turned_boxes(self) -> None:
        # A 2 × 0.2 plank turned by 45° passes the corner of a unit box that its bounding box would hit.
        unit = np.array([[0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.0]])
        plank = np.array([[0.75, 0.75, 0.0, 1.0, 0.1, 0.5, -math.pi / 4]])
        assert not boxes_overlap(unit, plank).any()
        assert boxes_overlap(unit, plank * [1, 1, 1, 1, 1, 1, -1]).all()
        assert boxes_overlap(unit, np.array([[0.0, 0.0, 0.9, 0.1, 0.1, 0.5, 0.3]])).all()
        assert not boxes_overlap(unit, np.array([[0.0, 0.0, 1.1, 0.1, 0.1, 0.5, 0.3]])).any()
        assert boxes_overlap(unit, np.array([[1.05, 0.0, 0.0, 0.5, 0.5, 0.5, 0.0]]), margin=0.1).all()

    def test_quarter_turn_moves_the_front_to_minus_x(self) -> None:
        look = furniture.bed(np.random.Generator(np.random.PCG64(1))).parts[0].material
        moved = box(0.2, 1.0, 0.0, 0.4, 0.6, 0.8, look).moved((5.0, 3.0, 0.5), math.pi / 2)
        assert moved.center == pytest.approx((4.0, 3.2, 0.9))
        assert moved.half_size == (0.2, 0.3, 0.4) and moved.yaw == pytest.approx(math.pi / 2)

    def test_pots_widen_upwards(self) -> None:
        look = furniture.bed(np.random.Generator(np.random.PCG64(1))).parts[0].material
        pot = frustum(0.0, 0.0, 0.0, 0.1, 0.2, 0.3, look)
        assert pot.half_size == pytest.approx((0.2, 0.2, 0.15)) and pot.end_scales == pytest.approx((0.5, 1.0))

    def test_free_space_before_a_piece_is_kept(self) -> None:
        rng = np.random.Generator(np.random.PCG64(3))
        plan = FloorPlan(rng, 5.0, 5.0, 2.5)
        wardrobe, stool = furniture.cabinet(rng, is_tall=True), furniture.plant(rng, 0.5)
        plan.put(wardrobe, (2.5, wardrobe.size[1] / 2, 0.0), 0.0)
        before = (2.5, wardrobe.size[1] + 0.4, 0.0)
        assert not plan.has_room(stool, before, 0.0)
        assert plan.has_room(stool, (2.5, 4.0, 0.0), 0.0)
        assert not plan.has_room(stool, (0.05, 4.0, 0.0), 0.0)

    def test_free_space_turns_with_the_piece(self) -> None:
        """On the wall at x = width a piece's front looks to −x, so that is where nothing may stand."""
        rng = np.random.Generator(np.random.PCG64(3))
        plan = FloorPlan(rng, 5.0, 5.0, 2.5)
        exit_door, stool = furniture.door(rng), furniture.plant(rng, 0.5)
        assert plan.has_room(exit_door, (5.0, 2.0, 0.0), math.pi / 2)
        placed = plan.put(exit_door, (5.0, 2.0, 0.0), math.pi / 2)
        assert placed.center[:2] == pytest.approx((5.0 - exit_door.size[1] / 2, 2.0))
        assert not plan.has_room(stool, (4.4, 2.0, 0.0), 0.0)
        assert not plan.parts_fit(stool, (4.4, 2.0, 0.0), 0.0)
        assert plan.has_room(stool, (4.4, 3.2, 0.0), 0.0)

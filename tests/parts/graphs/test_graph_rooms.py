"""Rooms of a floor, their outlines, and what is in them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenewise.parts.graphs.floors import FloorPlan, floor_plan
from scenewise.parts.graphs.outlines import outline_of
from scenewise.parts.graphs.things import things_of_points

HEIGHT = 2.5


def sheet(low: tuple[float, float, float], high: tuple[float, float, float], step: float = 0.05) -> np.ndarray:
    """Grid points of a box along the axes that is flat along one of them."""
    axes = [np.arange(a, b + 1e-9, step) if b > a else np.array([a]) for a, b in zip(low, high)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def flat_of_two(door: float = 0.8) -> dict[str, np.ndarray]:
    """A room of 4 × 5 m and one of 3 × 5 m to its right, with a doorway in the wall between."""
    between = np.concatenate([sheet((4, 0, 0), (4, 2.0, HEIGHT)), sheet((4, 2.0 + door, 0), (4, 5, HEIGHT))])
    if door < 2.0:
        between = np.concatenate([between, sheet((4, 2.0, 2.1), (4, 2.0 + door, HEIGHT))])
    return {
        "floor": sheet((0, 0, 0), (7, 5, 0)),
        "south": sheet((0, 0, 0), (7, 0, HEIGHT)),
        "north": sheet((0, 5, 0), (7, 5, HEIGHT)),
        "west": sheet((0, 0, 0), (0, 5, HEIGHT)),
        "east": sheet((7, 0, 0), (7, 5, HEIGHT)),
        "between": between,
        "left chair": sheet((1.0, 1.0, 0.4), (1.5, 1.5, 0.4)) + np.random.default_rng(0).normal(0, 0.1, (121, 3)),
        "right chair": sheet((5.0, 3.0, 0.4), (5.5, 3.5, 0.4)) + np.random.default_rng(1).normal(0, 0.1, (121, 3)),
    }


def plan_of(parts: dict[str, np.ndarray], turn: np.ndarray | None = None) -> FloorPlan:
    turn = np.eye(3) if turn is None else turn
    points = [part @ turn.T for part in parts.values()]
    return floor_plan(things_of_points(points, [""] * len(points)), np.concatenate(points))


def area_of(outline: np.ndarray) -> float:
    x, y = outline[:, 0], outline[:, 1]
    return 0.5 * float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())


@pytest.mark.parametrize("angle", [0.0, 0.5])
def test_a_wall_with_a_doorway_makes_two_rooms(angle: float):
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    parts = flat_of_two()
    plan = plan_of(parts, turn)
    assert len(plan.rooms) == 2
    np.testing.assert_allclose([room.area for room in plan.rooms], [20.0, 15.0], rtol=0.08)
    room_of = dict(zip(parts, plan.room_of_thing.tolist()))
    assert (room_of["left chair"], room_of["right chair"], room_of["west"], room_of["east"]) == (0, 1, 0, 1)
    for room in plan.rooms:
        np.testing.assert_allclose(area_of(room.outline), room.area, rtol=0.05)  # positive: anticlockwise
        np.testing.assert_allclose(room.outline[:, 2], 0.0, atol=1e-9)
        assert len(room.outline) <= 12


def test_a_wide_opening_joins_rooms_and_a_missing_wall_leaves_one():
    assert len(plan_of(flat_of_two(door=2.6)).rooms) == 1
    parts = flat_of_two()
    del parts["between"]
    plan = plan_of(parts)
    assert len(plan.rooms) == 1 and plan.rooms[0].area == pytest.approx(35.0, rel=0.08)
    assert (plan.room_of_thing == 0).all()


def test_walls_that_are_not_things_of_their_own_part_rooms_at_narrow_gaps():
    parts = flat_of_two(door=0.8)
    walls = [parts.pop(name) for name in ("south", "north", "west", "east", "between")]
    whole = np.concatenate(walls)
    open_door = whole[~((whole[:, 0] == 4.0) & (whole[:, 1] > 2.0) & (whole[:, 1] < 2.8))]  # up to the ceiling
    assert len(plan_of({**parts, "walls": open_door}).rooms) == 2


def test_where_no_walls_are_known_everything_is_one_room():
    parts = flat_of_two()
    plan = plan_of({name: parts[name] for name in ("floor", "left chair", "right chair")})
    assert len(plan.rooms) == 1 and (plan.room_of_thing == 0).all()


def test_tall_furniture_is_in_a_room_and_no_wall():
    parts = flat_of_two()
    parts["wardrobe"] = np.concatenate([sheet((0.6, 3, 0), (0.6, 4.5, 2.2)), sheet((0, 3, 0), (0.6, 3, 2.2))])
    plan = plan_of(parts)
    assert len(plan.rooms) == 2
    assert plan.rooms[0].area == pytest.approx(20.0, rel=0.08)
    assert plan.room_of_thing[-1] == 0


def test_nothing_has_no_room():
    assert floor_plan(things_of_points([]), np.zeros((0, 3))).rooms == ()


def test_the_outline_of_an_l():
    region = np.zeros((20, 30), dtype=bool)
    region[2:18, 3:12] = True
    region[2:8, 3:28] = True
    region[0, 0] = True  # a crumb
    region[5, 5] = False  # a hole
    outline = outline_of(region)
    expected = {(2, 3), (18, 3), (18, 12), (8, 12), (8, 28), (2, 28)}
    assert {tuple(corner) for corner in outline.astype(int).tolist()} == expected
    assert area_of(outline) == 16 * 9 + 6 * 16
    assert len(outline_of(np.zeros((4, 4), dtype=bool))) == 0


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_outlines_hold_the_area_of_the_largest_part(seed: int):
    """Of the largest part, holes filled, as scipy counts it."""
    from scipy.ndimage import binary_fill_holes, label

    region = np.random.default_rng(seed).random((9, 11)) < 0.6
    parts, count = label(region)
    filled = [int(binary_fill_holes(parts == part, np.ones((3, 3))).sum()) for part in range(1, count + 1)]
    assert area_of(outline_of(region, tolerance=0.0)) == max(filled, default=0)

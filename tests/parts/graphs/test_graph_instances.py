"""Things from labels: what connectedness does badly is mended, and nothing else is touched."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scenewise.parts.graphs.frames import UprightFrame
from scenewise.parts.graphs.instances import FoundInstances, LabelledElements, find_instances
from scenewise.parts.graphs.planes import connected, planes_of
from scenewise.parts.segments.instances import connected_instances
from scenewise.scenes.elements import Elements
from scenewise.scenes.labels import ElementLabels

NAMES = ("wall", "floor", "chair", "lamp")
UPRIGHT = UprightFrame.of_up(np.array([0.0, 0.0, 1.0]))


def sheet(
    origin: tuple[float, float, float], first: tuple[float, float, float], second: tuple[float, float, float], step: float = 0.06
) -> np.ndarray:
    """A grid of points on a parallelogram, a millimetre rough."""
    one, two = np.array(first), np.array(second)
    u, v = (np.arange(0.0, 1.0 + 1e-9, step / np.linalg.norm(side)) for side in (one, two))
    points = np.array(origin) + u[:, None, None] * one + v[None, :, None] * two
    points = points.reshape(-1, 3)
    return points + np.random.default_rng(len(points)).normal(0.0, 0.002, points.shape)


def ring(width: float = 4.0, length: float = 3.0, height: float = 2.4) -> np.ndarray:
    """Four walls."""
    return np.concatenate(
        [
            sheet((0, 0, 0), (width, 0, 0), (0, 0, height)),
            sheet((width, 0, 0), (0, length, 0), (0, 0, height)),
            sheet((0, length, 0), (width, 0, 0), (0, 0, height)),
            sheet((0, 0, 0), (0, length, 0), (0, 0, height)),
        ]
    )


def labelled(*parts: tuple[int, int, np.ndarray]) -> LabelledElements:
    """Points of (class, number, positions)."""
    points = np.concatenate([part[2] for part in parts])
    classes = np.concatenate([np.full(len(part[2]), part[0], dtype=np.int32) for part in parts])
    numbers = np.concatenate([np.full(len(part[2]), part[1], dtype=np.int32) for part in parts])
    return LabelledElements(
        Elements("points", points), ElementLabels(classes, numbers, np.full(len(points), 0.8, dtype=np.float32))
    )


def again(sets: tuple[LabelledElements, ...], found: FoundInstances) -> FoundInstances:
    """The same once more, from the labels with the new numbers."""
    renumbered = [
        LabelledElements(each.elements, ElementLabels(each.labels.class_ids, numbers, each.labels.confidence), each.solid)
        for each, numbers in zip(sets, found.numbers)
    ]
    return find_instances(renumbered, NAMES, UPRIGHT)


def test_the_wall_round_a_room_becomes_four():
    walls = ring()
    sets = (labelled((0, 0, walls), (1, 1, sheet((0, 0, 0), (4, 0, 0), (0, 3, 0)))),)
    found = find_instances(sets, NAMES, UPRIGHT)
    assert [thing.class_id for thing in found.instances] == [0, 1, 0, 0, 0]
    assert [thing.number for thing in found.instances] == [0, 1, 2, 3, 4]  # the largest wall keeps its number
    for thing in found.instances:
        if thing.class_id == 0:
            assert thing.box.size[1] < 0.1 and 2.5 < thing.box.size[0] < 4.1 and 2.2 < thing.box.size[2] < 2.5
    assert found.changed and not again(sets, found).changed


def test_walls_are_cut_the_same_way_in_a_turned_and_larger_scene():
    angle, unit = 0.4, 3.0
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    frame = UprightFrame.of_up(turn @ np.array([0.0, 0.0, 1.0]), unit)
    found = find_instances([labelled((0, 0, unit * ring() @ turn.T))], NAMES, frame)
    assert len(found.instances) == 4
    upright = [frame.box_in_upright(thing.box) for thing in found.instances]
    assert all(box.size[1] < 0.1 and box.world_from_box[2, 2] > 0.999 for box in upright)
    np.testing.assert_allclose(
        np.linalg.norm(np.ptp([thing.center_in_world for thing in found.instances], axis=0)), unit * 5.0, rtol=0.01
    )


def test_two_walls_in_one_plane_stay_two_and_crumbs_of_walls_are_none():
    parted = np.concatenate(
        [sheet((0, 0, 0), (1.5, 0, 0), (0, 0, 2.4)), sheet((2.7, 0, 0), (1.5, 0, 0), (0, 0, 2.4)), ring() + np.array([0, 5, 0])]
    )
    crumb = sheet((2.0, 1.5, 1.0), (0.3, 0, 0), (0, 0.2, 0.2))
    found = find_instances([labelled((0, 0, parted), (0, 1, crumb))], NAMES, UPRIGHT)
    assert len(found.instances) == 6
    assert (found.numbers[0][len(parted) :] == -1).all()


def chair(x: float, y: float) -> tuple[np.ndarray, np.ndarray]:
    """Seat and back, and its legs, apart from each other."""
    seat = np.concatenate(
        [sheet((x, y, 0.45), (0.45, 0, 0), (0, 0.45, 0), 0.03), sheet((x, y, 0.45), (0.45, 0, 0), (0, 0, 0.45), 0.03)]
    )
    legs = np.concatenate([sheet((x + a, y + b, 0.0), (0.04, 0, 0), (0, 0, 0.4), 0.02) for a in (0, 0.4) for b in (0, 0.4)])
    return seat, legs


def test_a_thing_in_pieces_is_one_and_its_neighbour_another():
    seat, legs = chair(1.0, 1.0)
    other, others_legs = chair(1.7, 1.0)
    sets = (labelled((2, 5, seat), (2, 6, legs), (2, 7, other), (2, 9, others_legs)),)
    found = find_instances(sets, NAMES, UPRIGHT)
    assert [thing.number for thing in found.instances] == [5, 7]
    assert found.instances[0].num_points == len(seat) + len(legs)
    assert not again(sets, found).changed


def test_lost_elements_are_adopted_and_specks_dropped():
    seat, legs = chair(1.0, 1.0)
    near, far = seat[:6] + np.array([0.0, 0.0, 0.03]), seat[:6] + np.array([2.0, 0.0, 0.0])
    speck = np.random.default_rng(0).normal(0.0, 0.01, (30, 3)) + np.array([3.0, 3.0, 1.0])
    sets = (labelled((2, 0, np.concatenate([seat, legs])), (2, -1, near), (2, -1, far), (3, 1, speck)),)
    found = find_instances(sets, NAMES, UPRIGHT)
    numbers = found.numbers[0]
    start = len(seat) + len(legs)
    assert (numbers[:start] == 0).all() and (numbers[start : start + 6] == 0).all()
    assert (numbers[start + 6 :] == -1).all()
    assert [thing.number for thing in found.instances] == [0]


def test_points_and_splats_of_a_thing_share_a_number_and_points_measure_it():
    seat, _ = chair(1.0, 1.0)
    loose = seat + np.random.default_rng(1).normal(0.0, 0.05, seat.shape)
    points = labelled((2, 3, seat))
    colors = np.tile(np.array([[0.5, 0.25, 0.0]], dtype=np.float32), (len(loose), 1))
    splats = LabelledElements(
        Elements("splats", loose, colors),
        ElementLabels(np.full(len(loose), 2, np.int32), np.full(len(loose), 3, np.int32), np.full(len(loose), 0.2, np.float32)),
    )
    haze = LabelledElements(
        Elements("splats", np.concatenate([loose, loose + np.array([3.0, 0.0, 0.0])]), np.concatenate([colors, colors])),
        ElementLabels(
            np.full(2 * len(loose), 2, np.int32),
            np.repeat(np.array([3, 4], np.int32), len(loose)),
            np.full(2 * len(loose), 0.2, np.float32),
        ),
    )
    (thing,) = find_instances([points, splats], NAMES, UPRIGHT).instances
    assert (thing.number, thing.num_points, thing.num_splats) == (3, len(seat), len(loose))
    np.testing.assert_allclose(thing.center_in_world, seat.mean(axis=0))
    assert thing.box.size[2] < 0.47
    assert thing.color is not None and np.allclose(thing.color, (0.5, 0.25, 0.0))
    assert abs(thing.confidence - 0.5) < 1e-6
    # Where points are dense, what has none is haze.
    assert [each.number for each in find_instances([points, haze], NAMES, UPRIGHT).instances] == [3]
    assert [each.number for each in find_instances([haze], NAMES, UPRIGHT).instances] == [3, 4]


def test_without_mending_numbers_stand_as_they_are():
    seat, legs = chair(1.0, 1.0)
    found = find_instances([labelled((2, 5, seat), (2, 6, legs))], NAMES, UPRIGHT, mend=False)
    assert [thing.number for thing in found.instances] == [5, 6] and not found.changed


def test_no_elements_no_things():
    empty = LabelledElements(
        Elements("points", np.zeros((0, 3))), ElementLabels(*(np.zeros(0, kind) for kind in (np.int32, np.int32, np.float32)))
    )
    assert find_instances([empty], NAMES, UPRIGHT).instances == ()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_mending_twice_changes_nothing(seed: int):
    """Random blobs of random classes, cut into pieces as segment does."""
    rng = np.random.default_rng(seed)
    centers = rng.uniform(0.0, 3.0, (8, 3))
    points = np.concatenate([center + rng.uniform(-0.3, 0.3, (80, 3)) * rng.uniform(0.1, 2.0, 3) for center in centers])
    classes = np.repeat(rng.integers(0, 4, 8), 80).astype(np.int32)
    classes[rng.random(len(classes)) < 0.1] = -1
    numbers = connected_instances(points, classes)
    sets = (LabelledElements(Elements("points", points), ElementLabels(classes, numbers, np.full(len(points), 0.5, np.float32))),)
    found = find_instances(sets, NAMES, UPRIGHT)
    assert not again(sets, found).changed
    assert (found.numbers[0][classes < 0] == -1).all()


def test_planes_of_a_box_room_and_of_a_ball():
    room = np.concatenate([ring(), sheet((0, 0, 0), (4, 0, 0), (0, 3, 0)), sheet((0, 0, 2.4), (4, 0, 0), (0, 3, 0))])
    planes = planes_of(room)
    assert sorted(np.unique(planes)) == [0, 1, 2, 3, 4, 5]
    assert (planes >= 0).all()
    ball = np.random.default_rng(2).normal(size=(3000, 3))
    assert (planes_of(0.6 * ball / np.linalg.norm(ball, axis=1, keepdims=True)) == -1).all()


def test_pieces_are_numbered_by_size():
    points = np.concatenate([np.zeros((3, 3)), np.full((5, 3), 4.0), np.full((1, 3), 9.0)])
    assert connected(points, 0.5).tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 2]


def table(x: float, y: float) -> np.ndarray:
    """A top and its sides down to the floor."""
    top = sheet((x, y, 0.7), (0.9, 0, 0), (0, 0.9, 0))
    return np.concatenate([top, sheet((x, y, 0.0), (0.9, 0, 0), (0, 0, 0.7)), sheet((x, y, 0.0), (0, 0.9, 0), (0, 0, 0.7))])


def test_names_that_spilt_over_the_floor_and_up_a_wall_are_taken_back():
    one, other = table(0.5, 0.5), table(2.5, 0.5)
    rug, strip = sheet((0.4, 0.4, 0.0), (3.1, 0, 0), (0, 1.1, 0)), sheet((2.5, 0.0, 0.9), (0.9, 0, 0), (0, 0, 0.9))
    floor, wall = sheet((0, 1.6, 0.0), (4, 0, 0), (0, 2, 0)), sheet((0, 0, 0), (4, 0, 0), (0, 0, 2.4))
    plain = (labelled((2, 0, one), (2, 1, other), (1, 2, floor), (0, 3, wall)),)
    assert not find_instances(plain, NAMES, UPRIGHT).changed, "the feet of tables are theirs"
    joined = (labelled((2, 0, np.concatenate([one, other, rug])), (2, 1, strip), (1, 2, floor), (0, 3, wall)),)
    found = find_instances(joined, NAMES, UPRIGHT)
    assert sorted(NAMES[thing.class_id] for thing in found.instances) == ["chair", "chair", "floor", "wall"]
    numbers, start = found.numbers[0], len(one) + len(other)
    assert (numbers[start : start + len(rug) + len(strip)] == -1).all()
    assert numbers[0] != numbers[len(one)] and min(numbers[0], numbers[len(one)]) >= 0
    assert not again(joined, found).changed


def test_a_sheet_of_furniture_is_peeled_only_from_a_floor_that_is_called_so():
    top = sheet((0, 0, 0.7), (2, 0, 0), (0, 1, 0))
    assert not find_instances([labelled((2, 0, top))], NAMES, UPRIGHT).changed


def test_a_floor_of_haze_alone_is_none_where_there_are_points():
    floor = sheet((0, 0, 0), (4, 0, 0), (0, 3, 0), 0.2)  # sparse
    haze = sheet((0, 0, -0.5), (4, 0, 0), (0, 3, 0), 0.2)
    points = labelled((1, 0, floor))
    splats = LabelledElements(
        Elements("splats", haze),
        ElementLabels(np.ones(len(haze), np.int32), np.ones(len(haze), np.int32), np.ones(len(haze), np.float32)),
    )
    assert [thing.number for thing in find_instances([points, splats], NAMES, UPRIGHT).instances] == [0]
    assert [thing.number for thing in find_instances([splats], NAMES, UPRIGHT).instances] == [1]

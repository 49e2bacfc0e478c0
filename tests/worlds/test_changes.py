"""Changed rooms: what is listed is what happened, nothing else did, and nothing stands in anything else."""

import math

import numpy as np
import pytest

from scenewise.errors import ConventionError
from scenewise.worlds.cameras import tour
from scenewise.worlds.captures import capture_of_room, room_cameras, room_capture
from scenewise.worlds.changes import LEAST_DISTANCE, LEAST_TURN, ChangedRoom, changed_room, changed_room_of
from scenewise.worlds.classes import STUFF_NAMES
from scenewise.worlds.layout import boxes_of, boxes_overlap
from scenewise.worlds.relations import hosts_of
from scenewise.worlds.rooms import furnished_room
from scenewise.worlds.seeds import VALIDATION_SEEDS

SEEDS = VALIDATION_SEEDS[:12]


@pytest.fixture(scope="module")
def pairs() -> list[ChangedRoom]:
    return [changed_room_of(seed) for seed in SEEDS]


def test_the_list_is_what_happened(pairs: list[ChangedRoom]) -> None:
    kinds = set()
    for pair in pairs:
        before, after = pair.before.objects, pair.after.objects
        moved = {change.before: change for change in pair.changes if change.kind == "moved"}
        removed = {change.before for change in pair.changes if change.kind == "removed"}
        added = {change.after for change in pair.changes if change.kind == "added"}
        kinds |= {change.kind for change in pair.changes}
        for number, thing in enumerate(before):
            now = int(pair.after_of_before[number])
            if number in removed:
                assert now == -1
            elif number in moved:
                change = moved[number]
                assert change.after == now
                assert change.distance == pytest.approx(math.dist(thing.center, after[now].center))
                assert change.turn == pytest.approx(math.remainder(after[now].yaw - thing.yaw, 2 * math.pi))
                assert change.distance >= LEAST_DISTANCE or abs(change.turn) >= LEAST_TURN
            else:
                assert after[now] is thing  # to the last bit
        assert added == set(range(len(after))) - set(pair.after_of_before.tolist())
        assert pair.after.lighting != pair.before.lighting and pair.after.size == pair.before.size
    assert kinds == {"moved", "added", "removed"}


def test_parts_go_rigidly_with_their_piece(pairs: list[ChangedRoom]) -> None:
    for pair in pairs:
        for change in pair.changes:
            if change.kind != "moved":
                continue
            assert change.before is not None and change.after is not None
            thing, now = pair.before.objects[change.before], pair.after.objects[change.after]
            c, s = math.cos(change.turn), math.sin(change.turn)
            turned = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
            was = np.array([part.center for part in thing.parts]) - thing.center
            np.testing.assert_allclose(np.array([part.center for part in now.parts]) - now.center, was @ turned.T, atol=1e-9)


def test_nothing_stands_in_anything_else_or_out_of_doors(pairs: list[ChangedRoom]) -> None:
    for pair in pairs:
        things = [thing for thing in pair.after.objects if thing.class_name not in STUFF_NAMES]
        for index, thing in enumerate(things):
            for other in things[:index]:
                assert not boxes_overlap(boxes_of(thing.parts), boxes_of(other.parts), -0.002).any()
        size = np.array(pair.after.size)
        centers = np.array([thing.center for thing in things])
        assert (centers > -0.05).all() and (centers < size + 0.05).all()


def test_what_stands_on_a_piece_goes_along(pairs: list[ChangedRoom]) -> None:
    seen = 0
    for pair in pairs:
        kinds = {change.before: change for change in pair.changes}
        for rider, host in enumerate(hosts_of(pair.before)):
            if host is None or host not in kinds or pair.before.objects[rider].class_name == "picture":
                continue
            seen += 1
            assert kinds[rider].kind == kinds[host].kind
            if kinds[host].kind == "moved":
                assert kinds[rider].turn == pytest.approx(kinds[host].turn)
                now = hosts_of(pair.after)
                assert now[int(pair.after_of_before[rider])] == int(pair.after_of_before[host])
    assert seen


def test_doors_windows_and_the_shell_stay() -> None:
    pair = changed_room_of(1_100_012)  # a window just above a table that is moved
    kinds = {pair.before.objects[change.before].class_name for change in pair.changes if change.before is not None}
    assert not kinds & {"window", "door", *STUFF_NAMES}
    assert not any(
        host is not None and pair.before.objects[rider].class_name == "window" for rider, host in enumerate(hosts_of(pair.before))
    )


def test_the_same_seed_makes_the_same_changes_and_another_one_others() -> None:
    room = furnished_room(SEEDS[0])
    first, again, other = (changed_room(room, seed, 3) for seed in (5, 5, 6))
    assert first.changes == again.changes and first.after.objects == again.after.objects
    assert first.changes != other.changes


@pytest.mark.errors
def test_promised_errors() -> None:
    for count in (0, 6):
        with pytest.raises(ConventionError, match="expected 1 to 5"):
            changed_room(furnished_room(SEEDS[0]), 1, count)


def test_a_tour_from_elsewhere_sees_the_same_room_from_other_places() -> None:
    room = furnished_room(SEEDS[1])
    first, other = tour(room, 8), tour(room, 8, phase=0.3, rise=0.1)
    np.testing.assert_array_equal(first, tour(room, 8, phase=0.0, rise=0.0))
    assert np.linalg.norm(first[:, :3, 3] - other[:, :3, 3], axis=1).min() > 0.05


def test_a_capture_of_a_seed_is_that_of_its_room() -> None:
    seed = SEEDS[2]
    by_seed = room_capture(seed, 2, 24, 18)
    room = furnished_room(seed)
    by_room = capture_of_room(room, room_cameras(room, 2, 24, 18))
    assert [frame.name for frame in by_seed.frames] == [frame.name for frame in by_room.frames]
    for one, two in zip(by_seed.frames, by_room.frames):
        assert one.load_image is not None and two.load_image is not None
        np.testing.assert_array_equal(one.load_image(), two.load_image())

"""A library holds what it says: scenes, twins of some, captures again of some; no room occurs in two libraries."""

from collections import Counter

import numpy as np
import pytest

from scenewise.errors import ConventionError
from scenewise.worlds.library_rooms import (
    DUPLICATE_TOUR,
    QUERY_TOUR,
    SCENE_TOUR,
    LibraryRoom,
    library_cameras,
    library_rooms,
)
from scenewise.worlds.rooms import furnished_room
from scenewise.worlds.seeds import BENCHMARK_SEEDS, VALIDATION_SEEDS


@pytest.fixture(scope="module")
def library() -> tuple[LibraryRoom, ...]:
    return library_rooms(scenes=8, twins=3, duplicates=4, seed=3)


def test_roles_and_names(library: tuple[LibraryRoom, ...]) -> None:
    by_name = {entry.name: entry for entry in library}
    assert len(by_name) == len(library) == 12
    assert Counter(entry.role for entry in library) == {"scene": 5, "twin": 3, "duplicate": 4}
    for role in ("twin", "duplicate"):
        others = [entry.of for entry in library if entry.role == role]
        assert len(set(others)) == len(others)  # of another one each
    for entry in library:
        if entry.role == "scene":
            assert entry.of is None and entry.room == furnished_room(entry.room.seed)
            continue
        assert entry.of is not None
        other = by_name[entry.of]
        assert other.role == "scene" or (entry.role == "duplicate" and other.role == "twin")
        assert other.room.size == entry.room.size and other.room.lighting != entry.room.lighting
        if entry.role == "twin":
            assert Counter(t.class_name for t in other.room.objects) == Counter(t.class_name for t in entry.room.objects)
        else:
            before, after = set(other.room.objects), set(entry.room.objects)
            assert len(before & after) >= len(before) - 16 and before != after


def test_the_same_seed_is_the_same_library_and_another_one_shares_nothing(library: tuple[LibraryRoom, ...]) -> None:
    assert library == library_rooms(8, 3, 4, 3)
    others = [*library_rooms(5, 2, 0, 4), *library_rooms(5, 2, 0, 3, validation=True)]
    assert not {entry.room.seed for entry in library} & {entry.room.seed for entry in others}
    assert all(entry.room.seed in BENCHMARK_SEEDS for entry in library)
    assert all(entry.room.seed in VALIDATION_SEEDS for entry in others[5:])
    # Other studies take the first few thousand seeds of either range, 50 000 onwards of the one, and the end of the other.
    assert min(entry.room.seed for entry in library) >= BENCHMARK_SEEDS[80_000]
    assert all(VALIDATION_SEEDS[40_000] <= entry.room.seed < VALIDATION_SEEDS[60_000] for entry in others[5:])


def test_three_tours_have_no_view_in_common(library: tuple[LibraryRoom, ...]) -> None:
    assert len({(way.phase, way.rise) for way in (SCENE_TOUR, DUPLICATE_TOUR, QUERY_TOUR)}) == 3
    duplicate = library[-1]
    scene = LibraryRoom("the room as if it were a scene", duplicate.room, "scene")
    tours = [library_cameras(scene, 24, 40, 30), library_cameras(duplicate, 24, 40, 30)]
    tours.append(library_cameras(scene, 24, 40, 30, is_query=True))
    poses = [np.linalg.inv(np.asarray(way.camera_from_world)) for way in tours]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        apart = np.linalg.norm(poses[one][:, None, :3, 3] - poses[other][None, :, :3, 3], axis=-1)
        turned = np.einsum("aij,bij->ab", poses[one][:, :3, :3], poses[other][:, :3, :3])  # 3 where they look the same way
        assert ((apart > 0.05) | (turned < 2.99)).all()
    again = library_cameras(duplicate, 24, 40, 30, is_query=True)
    np.testing.assert_array_equal(again.camera_from_world, tours[2].camera_from_world)


@pytest.mark.errors
def test_promised_errors() -> None:
    for wrong in ({"twins": 7}, {"duplicates": 13}, {"seed": 20}, {"scenes": 1_001}):
        with pytest.raises(ConventionError, match=next(iter(wrong))):
            library_rooms(**{"scenes": 12, "twins": 0, "duplicates": 0, **wrong})

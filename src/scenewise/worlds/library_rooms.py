"""A library of rooms to search in: many rooms, some of them near-twins of others, and some captured a second time later on.

A search is right about a duplicate only if it finds the room in spite of another light, another tour and a few changes, and
right about a twin only if it does not take it for the room it resembles.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from scenewise.errors import ConventionError
from scenewise.scenes.cameras import Cameras
from scenewise.worlds.captures import DEFAULT_FOV_DEG, room_cameras
from scenewise.worlds.changes import MOST_CHANGES, changed_room
from scenewise.worlds.rooms import Room, furnished_room
from scenewise.worlds.seeds import BENCHMARK_SEEDS, VALIDATION_SEEDS
from scenewise.worlds.twins import twin_room

_OFFSETS = {True: (VALIDATION_SEEDS, 40_000), False: (BENCHMARK_SEEDS, 80_000)}  # where no other study's rooms are
_SEEDS_EACH = 1_000  # a library takes as many at most
_STREAM = 51  # of random numbers
_TRIES = 40


@dataclass(frozen=True)
class LibraryRoom:
    """A room of a library.

    Attributes:
        name: of the room in its library.
        room: the room.  A twin has a seed of its own; a duplicate has that of the scene it is a capture of.
        role: a scene, a scene that is a near-twin of another, or a scene captured again.
        of: name of the scene that it is a twin or a duplicate of; None for other scenes.
    """

    name: str
    room: Room
    role: Literal["scene", "twin", "duplicate"]
    of: str | None = None


def library_rooms(
    scenes: int = 200, twins: int = 40, duplicates: int = 20, seed: int = 0, *, validation: bool = False
) -> tuple[LibraryRoom, ...]:
    """The rooms of a library: scenes, then those scenes that are twins, then duplicates.

    Args:
        scenes: rooms, twins included.
        twins: how many of them are twins of others, each of another one; at most half.
        duplicates: captures of scenes or twins, each of another one, after 1 to 5 changes and under other light.
        seed: another one is another library without any common room; 0 to 19.
        validation: rooms on which settings are chosen, from ``VALIDATION_SEEDS``; otherwise from ``BENCHMARK_SEEDS``.

    Raises:
        ConventionError: a number out of range.
    """
    for name, number, most in (
        ("scenes", scenes, _SEEDS_EACH),
        ("twins", twins, scenes // 2),
        ("duplicates", duplicates, scenes),
        ("seed", seed, 19),
    ):
        if not 0 <= number <= most:
            raise ConventionError(name, expected=f"0 … {most}", got=number)
    seeds, offset = _OFFSETS[validation]
    first = offset + _SEEDS_EACH * seed
    rng = np.random.Generator(np.random.PCG64([seeds[first], _STREAM]))
    plain = scenes - twins
    library = [LibraryRoom(f"room-{i:03d}", furnished_room(seeds[first + i]), "scene") for i in range(plain)]
    for i, chosen in enumerate(rng.permutation(plain)[:twins], start=plain):
        other = library[int(chosen)]
        library.append(LibraryRoom(f"room-{i:03d}", twin_room(other.room, seeds[first + i]), "twin", other.name))
    for chosen in rng.permutation(scenes)[:duplicates]:
        other = library[int(chosen)]
        library.append(LibraryRoom(f"{other.name}-again", _changed(rng, other.room), "duplicate", other.name))
    return tuple(library)


def _changed(rng: np.random.Generator, room: Room) -> Room:
    """1 to 5 changes later; fewer or others where a room does not allow those first thought of."""
    for _ in range(_TRIES):
        seed, count = int(rng.integers(1 << 31)), 1 + int(rng.integers(MOST_CHANGES))
        try:
            return changed_room(room, seed, count).after
        except ConventionError:
            continue
    raise ConventionError("duplicates", expected="rooms that can be changed", got=f"the room of seed {room.seed}")


@dataclass(frozen=True)
class LibraryTour:
    """How a room is walked through; see :func:`scenewise.worlds.cameras.tour`.

    Attributes:
        phase: how far round the tour begins, radians.
        rise: how much higher the camera is carried, metres.
    """

    phase: float
    rise: float


SCENE_TOUR = LibraryTour(0.0, 0.0)
"""Of scenes and twins when they are captured for the library."""

DUPLICATE_TOUR = LibraryTour(1.1, 0.12)
"""Of rooms that are captured again."""

QUERY_TOUR = LibraryTour(2.3, -0.12)
"""Of held-out pictures that are searched for: of rooms of any role, never in the library."""


def library_cameras(
    entry: LibraryRoom, frames: int, width: int, height: int, fov_deg: float = DEFAULT_FOV_DEG, *, is_query: bool = False
) -> Cameras:
    """The cameras of a room's capture for the library, or of held-out pictures of it.

    Args:
        entry: the room; its role says which tour is taken.
        frames: number of views, at least 1.
        width: image width in pixels.
        height: image height in pixels.
        fov_deg: horizontal field of view.
        is_query: held-out pictures.
    """
    way = QUERY_TOUR if is_query else DUPLICATE_TOUR if entry.role == "duplicate" else SCENE_TOUR
    return room_cameras(entry.room, frames, width, height, fov_deg, phase=way.phase, rise=way.rise)

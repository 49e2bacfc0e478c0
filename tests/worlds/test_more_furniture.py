"""New kinds of furniture keep to their sizes and rules, and what was there before stays as it was."""

import hashlib
import math

import numpy as np
import pytest

from scenewise.kernels.ray_casting import Shape
from scenewise.worlds import captions, relation_words
from scenewise.worlds.bathroom import bathtub, toilet
from scenewise.worlds.classes import CLASS_NAMES, OBJECT_NAMES, class_id
from scenewise.worlds.designs import DESIGNS, OBJECT_CLASSES
from scenewise.worlds.furniture import Furniture
from scenewise.worlds.materials import paint
from scenewise.worlds.more_furniture import piano
from scenewise.worlds.primitives import oval, oval_wall
from scenewise.worlds.rooms import Room, furnished_room

NEW = OBJECT_NAMES[len(CLASS_NAMES) :]


def design(name: str, seed: int) -> Furniture:
    return DESIGNS[name](np.random.Generator(np.random.PCG64(seed)))


def digest(room: Room) -> str:
    """Of all that a room is photographed from, to a tenth of a millimetre."""
    primitives, looks = room.scene.primitives, room.scene.materials
    numbers = (
        *(primitives.shapes, primitives.centers_in_world, primitives.half_sizes, primitives.yaw_cos_sin, primitives.end_scales),
        *(primitives.material_ids, looks.colors, looks.textures, looks.seeds),
    )
    found = hashlib.sha256()
    for each in numbers:
        found.update(np.round(each.numpy().astype(np.float64) * 1e4).astype(np.int64).tobytes())
    found.update(",".join(f"{thing.class_name} {thing.color_name}" for thing in room.objects).encode())
    return found.hexdigest()[:16]


def test_rooms_and_words_are_those_of_before() -> None:
    assert digest(furnished_room(1_200_049)) == "a290e57d24924c75"
    assert digest(furnished_room(1_100_000)) == "da59692b60de5295"
    words = [" ".join(known()).encode() for known in (captions.known_words, relation_words.known_words)]
    assert [hashlib.sha256(each).hexdigest()[:16] for each in words] == ["d4e65ae40d78cabc", "1af7eda8e05c92d1"]


def test_ids_of_old_classes_stay_and_new_ones_follow() -> None:
    assert len(CLASS_NAMES) == 15 and OBJECT_NAMES[:15] == CLASS_NAMES and len(set(OBJECT_NAMES)) == len(OBJECT_NAMES)
    assert [class_id(name) for name in ("monitor", "stool", "fan")] == [14, 15, 24]
    assert tuple(DESIGNS) == OBJECT_CLASSES and len(OBJECT_CLASSES) == 22
    assert all(design(name, 0).class_name == name for name in OBJECT_CLASSES)


@pytest.mark.parametrize("name", NEW)
def test_designs_keep_to_their_size(name: str) -> None:
    sizes, part_counts = set(), set()
    for seed in range(25):
        piece = design(name, seed)
        sizes.add(tuple(round(length, 3) for length in piece.size))
        part_counts.add(len(piece.parts))
        assert piece.color_name in captions.COLOR_NAMES
        for part in piece.parts:
            c, s = abs(math.cos(part.yaw)), abs(math.sin(part.yaw))
            reach = (c * part.half_size[0] + s * part.half_size[1], s * part.half_size[0] + c * part.half_size[1])
            slack = 0.012
            assert abs(part.center[0]) + reach[0] < piece.size[0] / 2 + slack
            assert abs(part.center[1]) + reach[1] < piece.size[1] / 2 + slack
            assert part.center[2] - part.half_size[2] >= -1e-9
            assert part.center[2] + part.half_size[2] < piece.size[2] + slack
        assert min(part.center[2] - part.half_size[2] for part in piece.parts) < 0.001 or name == "fan"  # it may hang
    assert len(sizes) == 25 and len(part_counts) >= 2


@pytest.mark.parametrize("name", NEW)
def test_no_two_looks_share_a_plane(name: str) -> None:
    """Flat tops, and sides of boxes that are not turned, lie in one plane only where their looks are the same."""
    for seed in range(12):
        flat = [part for part in design(name, seed).parts if part.shape is not Shape.ELLIPSOID]
        center, half = (np.array([getattr(part, field) for part in flat]) for field in ("center", "half_size"))
        squared = np.array([part.shape is Shape.BOX and abs(math.sin(2 * part.yaw)) < 1e-9 for part in flat])
        other = np.array([[a.material != b.material for a in flat] for b in flat])
        crossing = np.abs(center[:, None] - center) < half[:, None] + half - 0.001
        for axis in range(3):
            across = crossing[..., [k for k in range(3) if k != axis]].all(-1) & other
            if axis < 2:
                across &= squared[:, None] & squared
            for side in (-1, 1) if axis < 2 else (1,):
                face = center[:, axis] + side * half[:, axis]
                assert not ((np.abs(face[:, None] - face) < 2e-4) & across).any(), (seed, axis, side)


def test_an_oval_wall_is_as_long_as_its_first_radius_along_x() -> None:
    look = paint(np.random.default_rng(0), "white")
    wall = oval_wall((1.0, 2.0), (0.8, 0.3), 0.4, 0.05, 0.2, look, 16)
    assert wall[0].center == pytest.approx((1.0 + 0.8 * math.cos(math.pi / 16), 2.0, 0.5))
    assert abs(math.sin(wall[0].yaw)) == pytest.approx(1.0)  # runs along y where the ellipse is farthest out in x
    assert wall[4].center == pytest.approx((1.0, 2.0 + 0.3 * math.cos(math.pi / 16), 0.5))
    bowl = oval(0.0, 0.5, 0.1, (0.4, 0.2), 0.6, look, (0.5, 1.0))
    assert bowl.center == pytest.approx((0.0, 0.5, 0.4)) and bowl.half_size == pytest.approx((0.4, 0.2, 0.3))


def test_fronts_look_to_plus_y() -> None:
    seats = [toilet(np.random.Generator(np.random.PCG64(seed))) for seed in range(8)]
    for seat in seats:
        tall = max(seat.parts, key=lambda part: part.center[2] + part.half_size[2])
        assert tall.center[1] < 0  # the cistern, the raised lid, or the wall
    grands = [piece for piece in (piano(np.random.Generator(np.random.PCG64(seed))) for seed in range(20)) if piece.size[1] > 1.3]
    assert grands
    for grand in grands:
        black = [part for part in grand.parts if part.half_size[2] == pytest.approx(0.007)]
        assert len(black) == 35 and all(part.center[1] > grand.size[1] / 4 for part in black)
        far = [part for part in grand.parts if part.center[1] - part.half_size[1] < -0.2 * grand.size[1]]
        ends = [part for part in far if part.shape is Shape.BOX or part.center[1] - part.half_size[1] < -0.45 * grand.size[1]]
        assert len(ends) == 2 and all(part.center[0] > 0 for part in ends)  # long strings at the left of whoever plays


def test_basins_are_hollow() -> None:
    for seed in range(8):
        tub = bathtub(np.random.Generator(np.random.PCG64(seed)))
        inner = [part for part in tub.parts if math.hypot(part.center[0], part.center[1]) < 0.01]
        assert max(part.center[2] + part.half_size[2] for part in inner) < 0.75 * (tub.size[2] - 0.17)

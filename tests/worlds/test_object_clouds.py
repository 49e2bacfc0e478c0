"""Clouds of single objects lie on what can be seen of them, evenly, and splits share no object."""

import math

import numpy as np
import pytest

from scenewise.errors import ConventionError
from scenewise.kernels.ray_casting import FACE_ROUND, Shape
from scenewise.worlds.designs import OBJECT_CLASSES
from scenewise.worlds.furniture import Furniture
from scenewise.worlds.materials import paint
from scenewise.worlds.meshes import signed_distance
from scenewise.worlds.object_clouds import SPLIT_SEEDS, object_cloud, object_design, object_seeds
from scenewise.worlds.primitives import Primitive, box, ellipsoid, frustum, oval
from scenewise.worlds.surface_points import draw_surface_points

LOOK = paint(np.random.default_rng(0), "white")


def distances(parts: tuple[Primitive, ...] | list[Primitive], points: np.ndarray) -> np.ndarray:
    """Signed distance to the union of solids."""
    return np.min([signed_distance(part, points.astype(np.float32)) for part in parts], axis=0)


def standing(piece: Furniture) -> list[Primitive]:
    lowest = min(part.center[2] - part.half_size[2] for part in piece.parts)
    return [part.moved((0.0, -piece.size[1] / 2 * piece.is_hung, -lowest), 0.0) for part in piece.parts]


class TestSurfacePoints:
    def test_areas_are_told_by_the_numbers_of_points(self) -> None:
        slab, cone = box(0.0, 0.0, 0.0, 1.0, 2.0, 0.5, LOOK), frustum(5.0, 0.0, 0.0, 0.8, 0.2, 1.2, LOOK)
        egg, bowl = ellipsoid(9.0, 0.0, 0.0, (0.9, 0.6, 0.2), LOOK), oval(12.0, 0.0, 0.0, (0.8, 0.3), 1.0, LOOK)
        points = draw_surface_points(np.random.default_rng(1), [slab, cone, egg, bowl], 60_000)
        p = 1.6075  # Thomsen's formula for ellipsoids, within 1.1 %
        around = math.pi * (3 * 1.1 - math.sqrt((3 * 0.8 + 0.3) * (0.8 + 3 * 0.3)))  # Ramanujan's for ellipses
        areas = np.array(
            [
                2 * (2.0 + 0.5 + 1.0),
                math.pi * (0.8**2 + 0.2**2 + (0.8 + 0.2) * math.hypot(1.2, 0.6)),
                4 * math.pi * (((0.9 * 0.6) ** p + (0.9 * 0.2) ** p + (0.6 * 0.2) ** p) / 3) ** (1 / p),
                2 * math.pi * 0.8 * 0.3 + around * 1.0,
            ]
        )
        np.testing.assert_allclose(np.bincount(points.part_ids) / len(points), areas / areas.sum(), atol=0.01)
        side = points.rows((points.part_ids == 1) & (points.faces == FACE_ROUND))
        # Of a cone's side, the lower half has (r0 + rm) / (rm + r1) times as much as the upper one.
        assert (side.points[:, 2] < 0.6).mean() == pytest.approx(1.3 / 2.0, abs=0.015)

    def test_points_and_normals_turn_with_their_solid(self) -> None:
        """A quarter turn takes the long side of a 3 × 1 × 0.4 box to the y-axis, and its +x face to +y."""
        beam = Primitive(Shape.BOX, (10.0, 20.0, 30.0), (1.5, 0.5, 0.2), LOOK, math.pi / 2)
        points = draw_surface_points(np.random.default_rng(2), [beam], 4000)
        assert np.ptp(points.points, axis=0) == pytest.approx([1.0, 3.0, 0.4], abs=0.01)
        end = points.rows(points.faces == 1)  # +x of its own frame
        np.testing.assert_allclose(end.normals, np.tile([0.0, 1.0, 0.0], (len(end), 1)), atol=1e-12)
        np.testing.assert_allclose(end.points[:, 1], 21.5)

    def test_normals_point_outwards(self) -> None:
        solids = [frustum(0.0, 0.0, 0.0, 0.1, 0.5, 0.7, LOOK), ellipsoid(3.0, 0.0, 0.0, (0.9, 0.3, 0.5), LOOK, 0.4)]
        solids.append(oval(6.0, 0.0, 0.0, (0.7, 0.3), 0.5, LOOK, (0.6, 1.0)))
        points = draw_surface_points(np.random.default_rng(3), solids, 3000)
        assert (distances(solids, points.points + 0.01 * points.normals) > 0.004).all()
        assert (distances(solids, points.points - 0.01 * points.normals) < 0.0).mean() > 0.97  # not so near sharp edges


class TestObjectClouds:
    @pytest.mark.parametrize("name", OBJECT_CLASSES)
    def test_points_are_on_the_surface_and_outside_of_all_solids(self, name: str) -> None:
        cloud = object_cloud(name, 1_300_007, 400)
        found = distances(standing(object_design(name, 1_300_007)), cloud.points_in_world)
        assert np.abs(found).max() < 0.004  # distances to ovals are of first order
        assert np.median(np.abs(found)) < 1e-5
        assert len(cloud) == 400 and cloud.colors_u8 is not None and cloud.colors_u8.std() > 0
        assert cloud.points_in_world[:, 2].min() > -1e-6

    def test_the_same_seed_is_the_same_cloud_and_another_one_another(self) -> None:
        first, again, other = (object_cloud("chair", seed, 64, views=1, noise=0.01) for seed in (5, 5, 6))
        np.testing.assert_array_equal(first.points_in_world, again.points_in_world)
        np.testing.assert_array_equal(first.colors_u8, again.colors_u8)
        assert not np.allclose(first.points_in_world, other.points_in_world)
        assert object_design("chair", 5) == object_design("chair", 5) != object_design("chair", 6)

    def test_one_view_sees_one_side_and_two_see_more(self) -> None:
        for seed in range(6):
            whole, one, two = (object_cloud("fridge", seed, 600, views=views).normals_in_world for views in (0, 1, 2))
            assert whole is not None and one is not None and two is not None
            sides = [
                {tuple(row) for row in np.round(normals[np.abs(normals[:, 2]) < 0.1]).astype(int)}
                for normals in (whole, one, two)
            ]
            assert len(sides[0]) == 4 and len(sides[1]) <= 3 and len(sides[2]) >= len(sides[1])
            flat = one[:, :2].sum(0)
            assert np.linalg.norm(flat) > 100 or one[:, 2].mean() > 0.5  # nothing of the far side

    def test_nothing_of_the_wall_side_of_what_hangs(self) -> None:
        for views in (0, 1, 2):
            for name in ("picture", "window", "door"):
                normals = object_cloud(name, 3, 300, views=views).normals_in_world
                assert normals is not None and normals[:, 1].min() > -0.9 and (normals[:, 1] > 0.9).mean() > 0.4

    def test_a_sofa_looks_to_plus_y_until_it_is_turned(self) -> None:
        cloud, turned = (object_cloud("sofa", 11, 800, is_turned=is_turned) for is_turned in (False, True))
        high = cloud.points_in_world[cloud.points_in_world[:, 2] > 0.68]
        assert len(high) > 20 and (high[:, 1] < 0).all()  # the back is behind
        # One turn takes all points and normals along.
        plain, moved = (each.points_in_world[:, 0] + 1j * each.points_in_world[:, 1] for each in (cloud, turned))
        angle = np.angle((moved * plain.conj()).sum())
        np.testing.assert_allclose(moved, plain * np.exp(1j * angle), atol=1e-9)
        assert abs(angle) > 0.05 and cloud.normals_in_world is not None and turned.normals_in_world is not None
        before, after = (each[:, 0] + 1j * each[:, 1] for each in (cloud.normals_in_world, turned.normals_in_world))
        np.testing.assert_allclose(after, before * np.exp(1j * angle), atol=1e-9)
        np.testing.assert_array_equal(cloud.colors_u8, turned.colors_u8)

    def test_noise_is_as_large_as_asked_for(self) -> None:
        plain, noisy = (object_cloud("table", 4, 1500, noise=noise).points_in_world for noise in (0.0, 0.02))
        assert (noisy - plain).std(axis=0) == pytest.approx([0.02] * 3, rel=0.1)


class TestSplits:
    def test_classes_take_turns_and_no_seed_comes_twice(self) -> None:
        every = [object_seeds(split, 30) for split in SPLIT_SEEDS]
        for pairs in every:
            assert [name for name, _ in pairs[: len(OBJECT_CLASSES)]] == list(OBJECT_CLASSES)
            assert len(pairs) == 30 * len(OBJECT_CLASSES)
        seeds = [seed for pairs in every for _, seed in pairs]
        assert len(set(seeds)) == len(seeds)
        assert object_seeds("test", 3) == object_seeds("test", 30)[: 3 * len(OBJECT_CLASSES)]

    def test_ranges_of_splits_are_disjoint(self) -> None:
        ranges = list(SPLIT_SEEDS.values())
        for i, first in enumerate(ranges):
            for second in ranges[i + 1 :]:
                assert first.stop <= second.start or second.stop <= first.start


@pytest.mark.errors
def test_promised_errors() -> None:
    with pytest.raises(ConventionError, match="class_name"):
        object_cloud("wall", 0)
    with pytest.raises(ConventionError, match="points"):
        object_cloud("chair", 0, 0)
    with pytest.raises(ConventionError, match="views"):
        object_cloud("chair", 0, views=3)
    with pytest.raises(ConventionError, match="noise"):
        object_cloud("chair", 0, noise=-1.0)
    with pytest.raises(ConventionError, match="per_class"):
        object_seeds("test", 10_000)

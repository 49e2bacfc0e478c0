"""Scenarios for every ray-casting backend: hits known by hand, then agreement on random scenes."""

import math

import pytest
import torch
from torch import Tensor

from scenewise.errors import ConventionError, MissingDependencyError, ShapeError
from scenewise.kernels import ray_casting
from scenewise.kernels.ray_casting import (
    FACE_ROUND,
    Backend,
    Lighting,
    MaterialTable,
    PrimitiveScene,
    PrimitiveTable,
    RayHits,
    Shape,
    Texture,
    native,
    reference,
)
from scenewise.scenes.cameras import Cameras

needs_library = pytest.mark.skipif(not native.is_available(), reason="the compiled library was not built")
backends = pytest.mark.parametrize("backend", ["reference", pytest.param("native", marks=needs_library)])


def solid(
    shape: Shape,
    half_size: tuple[float, float, float],
    center: tuple[float, float, float] = (0.0, 0.0, 0.0),
    yaw: float = 0.0,
    end_scales: tuple[float, float] = (1.0, 1.0),
) -> PrimitiveTable:
    return PrimitiveTable(
        shapes=torch.tensor([int(shape)], dtype=torch.int32),
        centers_in_world=torch.tensor([center]),
        half_sizes=torch.tensor([half_size]),
        yaw_cos_sin=torch.tensor([[math.cos(yaw), math.sin(yaw)]]),
        end_scales=torch.tensor([end_scales]),
        material_ids=torch.zeros(1, dtype=torch.int32),
    )


def together(*tables: PrimitiveTable) -> PrimitiveTable:
    names = ("shapes", "centers_in_world", "half_sizes", "yaw_cos_sin", "end_scales")
    joined = {name: torch.cat([getattr(table, name) for table in tables]) for name in names}
    return PrimitiveTable(**joined, material_ids=torch.arange(len(tables), dtype=torch.int32))


def cast_one(table: PrimitiveTable, origin: list[float], direction: list[float], backend: Backend) -> RayHits:
    return ray_casting.cast_rays(table, torch.tensor([origin]), torch.tensor([direction]), backend=backend)


def camera_at(position: list[float], width: int = 64, height: int = 48, focal: float = 40.0) -> Cameras:
    """Looks along world +Y with world +Z up: camera x = world x, camera y = −world z, camera z = world y."""
    rotation = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    camera_from_world = torch.eye(4, dtype=torch.float64)
    camera_from_world[:3, :3] = rotation
    camera_from_world[:3, 3] = -rotation @ torch.tensor(position, dtype=torch.float64)
    K = torch.tensor([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]], dtype=torch.float64)
    return Cameras(camera_from_world, K, width, height)


def plain_materials(count: int, textures: list[Texture] | None = None) -> MaterialTable:
    generator = torch.Generator().manual_seed(5)
    return MaterialTable(
        textures=torch.tensor([int(t) for t in textures or [Texture.PLAIN] * count], dtype=torch.int32),
        seeds=torch.arange(7, 7 + count, dtype=torch.int32),
        colors=torch.rand(count, 2, 3, generator=generator) * 0.8,
        feature_sizes=torch.full((count,), 0.13),
        contrasts=torch.full((count,), 0.9),
        grains=torch.full((count,), 0.3 if textures else 0.0),
        emissions=torch.zeros(count),
    )


LIGHT = Lighting(
    ambient=0.4,
    lamp_in_world=(0.3, 0.2, 2.2),
    lamp_radius=0.05,
    lamp_strength=0.9,
    sun_direction=(0.6, 0.0, 0.8),
    sun_strength=0.2,
    tint=(1.0, 0.95, 0.9),
)


@backends
class TestHitsByHand:
    def test_box_from_the_left(self, backend: Backend) -> None:
        hit = cast_one(solid(Shape.BOX, (1.0, 2.0, 3.0), (5.0, 0.0, 0.0)), [0.0, 1.5, -2.5], [2.0, 0.0, 0.0], backend)
        torch.testing.assert_close(hit.distances, torch.tensor([2.0]))  # 4 m in directions of 2 m
        torch.testing.assert_close(hit.normals_in_world, torch.tensor([[-1.0, 0.0, 0.0]]))
        torch.testing.assert_close(hit.local_positions, torch.tensor([[-1.0, 1.5, -2.5]]))
        assert hit.faces.tolist() == [0]

    def test_quarter_turn_brings_x_to_y(self, backend: Backend) -> None:
        # Half sizes 3 × 1: after +90° the long side lies along world Y, and the local +X face looks to world +Y.
        turned = solid(Shape.BOX, (3.0, 1.0, 0.5), yaw=math.pi / 2)
        hit = cast_one(turned, [0.5, 10.0, 0.2], [0.0, -1.0, 0.0], backend)
        torch.testing.assert_close(hit.distances, torch.tensor([7.0]))
        torch.testing.assert_close(hit.normals_in_world, torch.tensor([[0.0, 1.0, 0.0]]), atol=1e-6, rtol=0)
        torch.testing.assert_close(hit.local_positions, torch.tensor([[3.0, -0.5, 0.2]]), atol=1e-5, rtol=0)
        assert hit.faces.tolist() == [1]

    def test_frustum_that_narrows_upwards(self, backend: Backend) -> None:
        # Radius 2 at z = −1 falls to 1 at z = +1: at z = 0.5 it is 1.25, and the side looks up at slope ½.
        pot = solid(Shape.FRUSTUM, (2.0, 2.0, 1.0), end_scales=(1.0, 0.5))
        hit = cast_one(pot, [-10.0, 0.0, 0.5], [1.0, 0.0, 0.0], backend)
        torch.testing.assert_close(hit.distances, torch.tensor([8.75]))
        torch.testing.assert_close(hit.normals_in_world, torch.tensor([[-2.0, 0.0, 1.0]]) / math.sqrt(5.0))
        assert hit.faces.tolist() == [FACE_ROUND]

    def test_frustum_top_is_the_small_end(self, backend: Backend) -> None:
        pot = solid(Shape.FRUSTUM, (2.0, 2.0, 1.0), end_scales=(1.0, 0.5))
        on_top = cast_one(pot, [0.9, 0.0, 5.0], [0.0, 0.0, -1.0], backend)
        torch.testing.assert_close(on_top.distances, torch.tensor([4.0]))
        assert on_top.faces.tolist() == [5]
        beside_top = cast_one(pot, [1.5, 0.0, 5.0], [0.0, 0.0, -1.0], backend)  # meets the side where the radius is 1.5
        torch.testing.assert_close(beside_top.distances, torch.tensor([5.0]))
        assert beside_top.faces.tolist() == [FACE_ROUND]
        from_below = cast_one(pot, [1.9, 0.0, -5.0], [0.0, 0.0, 1.0], backend)
        assert from_below.faces.tolist() == [4]

    def test_cone_has_a_single_nappe(self, backend: Backend) -> None:
        cone = solid(Shape.FRUSTUM, (1.0, 1.0, 1.0), end_scales=(1.0, 0.0))
        assert cast_one(cone, [-5.0, 0.0, 1.5], [1.0, 0.0, 0.0], backend).primitive_ids.tolist() == [-1]

    def test_elliptic_cylinder(self, backend: Backend) -> None:
        hit = cast_one(solid(Shape.FRUSTUM, (2.0, 0.5, 1.0)), [0.0, -3.0, 0.25], [0.0, 1.0, 0.0], backend)
        torch.testing.assert_close(hit.distances, torch.tensor([2.5]))
        torch.testing.assert_close(hit.normals_in_world, torch.tensor([[0.0, -1.0, 0.0]]))

    def test_ellipsoid_normal_is_not_radial(self, backend: Backend) -> None:
        # x²/4 + z² = 1 at x = √2: z = √½, gradient (x/4, z) ∝ (1, 2)
        hit = cast_one(solid(Shape.ELLIPSOID, (2.0, 1.0, 1.0)), [math.sqrt(2.0), 0.0, 9.0], [0.0, 0.0, -1.0], backend)
        torch.testing.assert_close(hit.distances, torch.tensor([9.0 - math.sqrt(0.5)]))
        torch.testing.assert_close(hit.normals_in_world, torch.tensor([[1.0, 0.0, 2.0]]) / math.sqrt(5.0))

    def test_nearest_wins_and_a_miss_is_infinite(self, backend: Backend) -> None:
        table = together(
            solid(Shape.BOX, (1.0, 1.0, 1.0), (8.0, 0.0, 0.0)),
            solid(Shape.ELLIPSOID, (1.0, 1.0, 1.0), (4.0, 0.0, 0.0)),
            solid(Shape.FRUSTUM, (1.0, 1.0, 1.0), (12.0, 0.0, 0.0)),
        )
        origins = torch.zeros(3, 3)
        directions = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [1.0, 0.2, 0.0]])
        hits = ray_casting.cast_rays(table, origins, directions, backend=backend)
        assert hits.primitive_ids.tolist() == [1, -1, 1]
        assert hits.distances[1] == math.inf and hits.faces[1] == -1
        assert not bool(hits.normals_in_world[1].any())

    def test_a_ray_from_inside_leaves_unseen(self, backend: Backend) -> None:
        for shape in Shape:
            assert cast_one(solid(shape, (1.0, 1.0, 1.0)), [0.1, 0.2, 0.3], [0.3, 0.9, 0.1], backend).primitive_ids.tolist() == [
                -1
            ]

    def test_nothing_to_hit_and_no_rays(self, backend: Backend) -> None:
        one = solid(Shape.BOX, (1.0, 1.0, 1.0))
        empty = PrimitiveTable(*(getattr(one, name)[:0] for name in one.__dataclass_fields__))
        assert cast_one(empty, [0.0, 0.0, 0.0], [1.0, 0.0, 0.0], backend).primitive_ids.tolist() == [-1]
        assert len(ray_casting.cast_rays(one, torch.zeros(0, 3), torch.zeros(0, 3), backend=backend).distances) == 0


@backends
class TestPictures:
    def test_depth_is_along_z_and_not_along_the_ray(self, backend: Backend) -> None:
        wall = solid(Shape.BOX, (20.0, 0.5, 20.0), (0.0, 4.0, 0.0))
        maps = ray_casting.surface_maps(wall, camera_at([0.0, 0.0, 0.0]), backend=backend)
        torch.testing.assert_close(maps.depth, torch.full((48, 64), 3.5))

    def test_left_right_up_down(self, backend: Backend) -> None:
        table = together(solid(Shape.BOX, (0.3, 0.3, 0.3), (-1.0, 3.0, 0.8)), solid(Shape.BOX, (0.3, 0.3, 0.3), (1.0, 3.0, -0.8)))
        ids = ray_casting.surface_maps(table, camera_at([0.0, 0.0, 0.0]), backend=backend).primitive_ids
        rows, columns = (ids == 0).nonzero().unbind(-1)
        assert len(rows) > 10 and int(rows.max()) < 24 and int(columns.max()) < 32
        rows, columns = (ids == 1).nonzero().unbind(-1)
        assert len(rows) > 10 and int(rows.min()) >= 24 and int(columns.min()) >= 32
        assert float((ids == -1).float().mean()) > 0.5

    def test_pixel_centre_is_at_half(self, backend: Backend) -> None:
        # Focal length 40 at 4 m: one pixel is 0.1 m.  The box spans x ∈ [0, 0.2]: exactly columns 32 and 33 of 64.
        ids = ray_casting.surface_maps(
            solid(Shape.BOX, (0.1, 0.1, 9.0), (0.1, 4.1, 0.0)), camera_at([0.0, 0.0, 0.0]), backend=backend
        )
        assert sorted(set((ids.primitive_ids == 0).nonzero()[:, 1].tolist())) == [32, 33]

    def test_brightness_by_hand(self, backend: Backend) -> None:
        # Lamp straight above the floor point under the camera axis; no sun on a tilted surface, plain colour.
        floor = solid(Shape.BOX, (9.0, 9.0, 0.5), (0.0, 0.0, -0.5))
        scene = PrimitiveScene(floor, plain_materials(1), LIGHT)
        camera = camera_at([0.3, -1.0, 1.0], width=65, height=65, focal=32.5)  # the bottom edge looks down by 45°
        image = ray_casting.photograph(scene, camera, samples_per_axis=1, backend=backend)
        direction = torch.tensor([0.0, 1.0, -(64.5 - 32.5) / 32.5])
        point = torch.tensor([0.3, -1.0, 1.0]) + direction / -direction[2]
        to_lamp = torch.tensor(LIGHT.lamp_in_world) - point
        distance = to_lamp.norm()
        irradiance = 0.4 * 1.0 + 0.9 * (to_lamp[2] / distance) / (1 + 0.1 * distance**2) + 0.2 * 0.8
        expected = (scene.materials.colors[0, 0] * irradiance * torch.tensor(LIGHT.tint)).sqrt() * 255
        assert float((image[64, 32].float() - expected).abs().max()) <= 1.0

    def test_lamp_casts_a_shadow(self, backend: Backend) -> None:
        floor, shade = solid(Shape.BOX, (9.0, 9.0, 0.5), (0.0, 0.0, -0.5)), solid(Shape.BOX, (0.2, 0.2, 0.02), (0.3, 0.2, 1.2))
        camera = camera_at([0.3, -1.5, 0.8])
        materials = plain_materials(2)
        lit = ray_casting.photograph(PrimitiveScene(floor, materials, LIGHT), camera, backend=backend)
        shaded = ray_casting.photograph(PrimitiveScene(together(floor, shade), materials, LIGHT), camera, backend=backend)
        maps = ray_casting.surface_maps(floor, camera, backend=backend)
        below = (maps.primitive_ids == 0) & ((maps.depth - 1.7).abs() < 0.15)  # floor around y = 0.2, straight below the shade
        middle = below & (torch.arange(64) > 28) & (torch.arange(64) < 36)
        assert int(middle.sum()) > 5
        assert bool((shaded[middle].float() < lit[middle].float() - 20).all())
        assert torch.equal(shaded[-8:, :8], lit[-8:, :8])  # floor outside the shadow

    def test_several_samples_average_linear_colour(self, backend: Backend) -> None:
        edge = solid(Shape.BOX, (5.0, 0.1, 5.0), (5.05, 4.1, 0.0))  # starts in the middle of column 32
        lights = Lighting(1.0, (0.0, -9.0, 0.0), 0.0, 0.0, (0.0, 0.0, 1.0), 0.0, (1.0, 1.0, 1.0))
        scene = PrimitiveScene(edge, plain_materials(1), lights)
        image = ray_casting.photograph(scene, camera_at([0.0, 0.0, 0.0]), samples_per_axis=2, backend=backend).float() / 255
        torch.testing.assert_close(image[24, 32].square(), image[24, 40].square() / 2, atol=0.01, rtol=0)
        assert not bool(image[24, 31].any())


def random_scene(seed: int, count: int = 40) -> PrimitiveScene:
    g = torch.Generator().manual_seed(seed)
    yaw = torch.rand(count, generator=g) * 6.28
    ends = 0.3 + 0.7 * torch.rand(count, 2, generator=g)
    table = PrimitiveTable(
        shapes=torch.randint(0, 3, (count,), generator=g, dtype=torch.int32),
        centers_in_world=torch.rand(count, 3, generator=g) * torch.tensor([4.0, 4.0, 2.0]) + torch.tensor([-2.0, 1.0, -1.0]),
        half_sizes=0.05 + 0.4 * torch.rand(count, 3, generator=g),
        yaw_cos_sin=torch.stack([yaw.cos(), yaw.sin()], -1),
        end_scales=ends / ends.amax(1, keepdim=True),
        material_ids=torch.arange(count, dtype=torch.int32),
    )
    textures = [Texture(i % len(Texture)) for i in range(count)]
    return PrimitiveScene(table, plain_materials(count, textures), LIGHT)


@needs_library
class TestParity:
    def test_random_rays(self) -> None:
        scene = random_scene(3)
        g = torch.Generator().manual_seed(4)
        origins = (torch.rand(3001, 3, generator=g) - 0.5) * 8
        directions = torch.tensor([0.0, 3.0, 0.0]) + torch.randn(3001, 3, generator=g) - origins
        ours = native.cast_rays(scene.primitives, origins, directions)
        twin = reference.cast_rays(scene.primitives, origins, directions)
        same = ours.primitive_ids == twin.primitive_ids
        assert float(same.float().mean()) > 0.999  # float32 grazing hits may differ
        assert float((twin.primitive_ids >= 0).float().mean()) > 0.1
        hit = same & (twin.primitive_ids >= 0)
        torch.testing.assert_close(ours.distances[hit], twin.distances[hit], atol=1e-4, rtol=1e-4)
        agree = hit & (ours.faces == twin.faces)
        assert int(agree.sum()) > 0.999 * int(hit.sum())
        # Rays that graze a round side magnify the last bits of float32.
        torch.testing.assert_close(ours.normals_in_world[agree], twin.normals_in_world[agree], atol=2e-2, rtol=0)
        torch.testing.assert_close(ours.local_positions[agree], twin.local_positions[agree], atol=1e-3, rtol=0)

    @pytest.mark.parametrize("size", [(64, 48), (37, 29)])
    def test_pictures_of_every_texture(self, size: tuple[int, int]) -> None:
        scene, camera = random_scene(8), camera_at([0.1, -1.0, 0.2], *size)
        ours, twin = (b.surface_maps(scene.primitives, camera) for b in (native, reference))
        same: Tensor = ours.primitive_ids == twin.primitive_ids
        assert float(same.float().mean()) > 0.999
        torch.testing.assert_close(ours.depth[same], twin.depth[same], atol=1e-4, rtol=1e-4)
        a, b = (backend.photograph(scene, camera, 2).float() for backend in (native, reference))
        difference = (a - b).abs().amax(-1)
        assert float((difference <= 1).float().mean()) > 0.985  # pattern edges: floor() of values that differ by an ulp
        assert float(difference.mean()) < 0.3

    def test_thread_count_changes_nothing(self) -> None:
        from scenewise.kernels.native import library

        before = library.get_threads()
        scene, camera = random_scene(9), camera_at([0.0, -1.0, 0.0])
        try:
            library.set_threads(1)
            one = native.photograph(scene, camera, 2)
            library.set_threads(3)
            three = native.photograph(scene, camera, 2)
        finally:
            library.set_threads(before)
        assert torch.equal(one, three)


@pytest.mark.errors
class TestErrors:
    def test_ray_counts_differ(self) -> None:
        with pytest.raises((ShapeError, TypeError), match="directions"):
            ray_casting.cast_rays(solid(Shape.BOX, (1.0, 1.0, 1.0)), torch.zeros(2, 3), torch.ones(3, 3))

    def test_flat_primitive(self) -> None:
        with pytest.raises(ConventionError, match="half_sizes: expected above 0"):
            solid(Shape.BOX, (1.0, 0.0, 1.0))

    def test_material_that_does_not_exist(self) -> None:
        with pytest.raises(ConventionError, match="material_ids"):
            PrimitiveScene(together(*[solid(Shape.BOX, (1.0, 1.0, 1.0))] * 2), plain_materials(1), LIGHT)

    def test_no_samples(self) -> None:
        scene = PrimitiveScene(solid(Shape.BOX, (1.0, 1.0, 1.0)), plain_materials(1), LIGHT)
        with pytest.raises(ShapeError, match="samples_per_axis"):
            ray_casting.photograph(scene, camera_at([0.0, 0.0, 0.0]), samples_per_axis=0)

    def test_native_without_library(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(native, "is_available", lambda: False)
        with pytest.raises(MissingDependencyError, match="compiler"):
            cast_one(solid(Shape.BOX, (1.0, 1.0, 1.0)), [0.0, 0.0, 0.0], [1.0, 0.0, 0.0], "native")

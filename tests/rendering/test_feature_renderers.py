"""Features of a volume at pixels: marched and rasterised alike, in the right places, and with gradients."""

import pytest
import torch
from torch import Tensor

from scenewise.kernels.sparse_conv import voxelise
from scenewise.rendering.densities import surface_densities
from scenewise.rendering.feature_renderers import FeatureRenderer, MarchedFeatures, PixelFeatures, RasterisedFeatures
from scenewise.rendering.march import DepthSampling, FeatureVolume, pixel_rays
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.gaussians import Gaussians
from scenewise.worlds.captures import room_cameras, truth
from scenewise.worlds.meshes import room_mesh
from scenewise.worlds.rooms import furnished_room
from scenewise.worlds.seeds import DEMO_SEEDS

VOXEL, WIDTH, HEIGHT = 0.08, 96, 64
EVERYWHERE = DepthSampling(guided=0, uniform=220, near=0.1, far=8.0)


@pytest.fixture(scope="module")
def room():
    return furnished_room(DEMO_SEEDS[3])


@pytest.fixture(scope="module")
def places(room) -> FeatureVolume:
    """The room as the second of two scenes, the first of which is something in the way; features are places in the world."""
    points = torch.from_numpy(room_mesh(room, spacing=0.04, noise=0.0).mesh.vertices_in_world)
    shifts = torch.tensor([[0.0, 0.0, 0.0], [5.5, -3.0, 11.25]])
    cells = torch.cat([torch.ones(len(points), 1), (points / VOXEL + shifts[1]).floor()], dim=1).int()
    block = torch.cartesian_prod(torch.tensor([0]), *[torch.arange(0, 40, 2)] * 3).int()
    grid = voxelise(torch.cat([cells, block])).grid
    empty = FeatureVolume(grid, torch.zeros(len(grid), 1), surface_densities(grid, VOXEL), VOXEL, shifts)
    return with_features(empty, empty.centers_in_world().float())


def with_features(volume: FeatureVolume, features: Tensor) -> FeatureVolume:
    return FeatureVolume(volume.grid, features, volume.densities, volume.voxel, volume.shifts)


def waves(volume: FeatureVolume) -> Tensor:
    """Smooth features: sines over metres in eight directions, and a constant."""
    generator = torch.Generator().manual_seed(0)
    directions, phases = 0.7 * torch.randn(3, 8, generator=generator), 6.0 * torch.rand(8, generator=generator)
    return torch.cat([torch.sin(volume.features @ directions + phases), torch.ones(len(volume.features), 1)], dim=1)


def all_pixels() -> Tensor:
    return torch.cartesian_prod(torch.arange(HEIGHT), torch.arange(WIDTH))


def renderers(volume: FeatureVolume) -> dict[str, FeatureRenderer]:
    return {"marched": MarchedFeatures(volume, EVERYWHERE, scene=1), "rasterised": RasterisedFeatures(volume, scene=1)}


def views(room) -> tuple[Cameras, ...]:
    cameras = room_cameras(room, 6, WIDTH, HEIGHT)
    return cameras[0], cameras[2]


def test_both_see_the_same_features(room, places):
    volume = with_features(places, waves(places))
    for camera in views(room):
        marched, rasterised = (renderer.at_pixels(camera, all_pixels()) for renderer in renderers(volume).values())
        opaque = (marched.alpha > 0.5) & (rasterised.alpha > 0.5)
        assert float(opaque.float().mean()) > 0.98
        cosines = torch.cosine_similarity(marched.features, rasterised.features)[opaque]
        assert float(cosines.mean()) > 0.995
        assert float((cosines > 0.99).float().mean()) > 0.9  # the rest are edges of things before a far wall


@pytest.mark.parametrize("name", ["marched", "rasterised"])
def test_features_come_from_where_pixels_look(room, places, name):
    for camera in views(room):
        pixels = torch.tensor([[row, column] for row in range(1, HEIGHT, 9) for column in range(2, WIDTH, 7)])
        seen = renderers(places)[name].at_pixels(camera, pixels)
        rays = pixel_rays(camera, pixels)
        places_seen = seen.features / seen.alpha[:, None] - rays.origins_in_world
        along = torch.nn.functional.normalize(rays.directions_in_world, dim=1)
        beside = (places_seen - (places_seen * along).sum(1, keepdim=True) * along).norm(dim=1)
        assert float(beside.median()) < 0.8 * VOXEL and float(beside.quantile(0.9)) < 1.5 * VOXEL
        depth = torch.from_numpy(truth(room, camera).depth)[pixels[:, 0], pixels[:, 1]]
        assert float((seen.depth / seen.alpha - depth).abs().median()) < 2 * VOXEL


def test_known_depths_take_the_place_of_many_samples(room, places):
    camera = views(room)[0]
    known = torch.from_numpy(truth(room, camera).depth).reshape(-1)
    known = torch.where(torch.arange(len(known)) % 7 == 0, 0.0, known)
    few = MarchedFeatures(places, DepthSampling(guided=16, uniform=0, spread=0.05, near=0.1, far=8.0), scene=1)
    seen = few.at_pixels(camera, all_pixels(), known)
    many = MarchedFeatures(places, EVERYWHERE, scene=1).at_pixels(camera, all_pixels())
    guided = known > 0
    assert float(seen.alpha[guided].mean()) > 0.93
    away = (seen.features / seen.alpha[:, None] - many.features / many.alpha[:, None]).norm(dim=1)
    assert float(away[guided].median()) < 0.5 * VOXEL
    assert float(away[~guided].nanmedian()) > float(away[guided].median())  # 16 samples in a whole room miss its surfaces


def test_a_generator_moves_the_samples(room, places):
    camera, pixels = views(room)[0], torch.tensor([[4, 5], [20, 30]])

    def seen(seed: int | None) -> PixelFeatures:
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        return MarchedFeatures(places, EVERYWHERE, scene=1, generator=generator).at_pixels(camera, pixels)

    assert torch.equal(seen(1).features, seen(1).features) and not torch.equal(seen(1).features, seen(2).features)
    assert torch.equal(seen(None).depth, seen(None).depth)


def test_given_splats_carry_the_features_where_they_lie(room, places):
    camera = views(room)[1]
    own = places.grid.coords[:, 0] == 1
    centers = places.features[own]
    splats = Gaussians(
        means=centers + 0.3 * VOXEL * torch.tensor([1.0, -1.0, 0.5]),  # not in the middle
        log_scales=torch.full((len(centers), 3), 0.5 * VOXEL).log(),
        quats=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(len(centers), 1),
        logit_opacities=torch.full((len(centers),), 3.0),
        sh0=torch.zeros(len(centers), 1, 3),
        shN=torch.zeros(len(centers), 0, 3),
    )
    given = RasterisedFeatures(places, scene=1, splats=splats).at_pixels(camera, all_pixels())
    plain = RasterisedFeatures(places, scene=1).at_pixels(camera, all_pixels())
    away = given.features / given.alpha[:, None] - plain.features / plain.alpha[:, None]
    assert float(away.norm(dim=1).median()) < VOXEL
    left = RasterisedFeatures(places, scene=1, splats=splats.select(centers[:, 0] < 2.0)).at_pixels(camera, all_pixels())
    assert float((left.features[:, 0] / left.alpha)[left.alpha > 0.5].max()) < 2.0 + VOXEL
    in_the_air = camera.centers_in_world + 0.6 * camera.camera_from_world[2, :3]
    free = splats.select(torch.tensor([0]))
    free = Gaussians(**{**vars(free), "means": in_the_air[None].float()})
    nothing = RasterisedFeatures(places, scene=1, splats=free).at_pixels(camera, all_pixels())
    assert float(nothing.alpha.max()) > 0.5 and not nothing.features.any()


def test_gradients_of_both_go_to_what_is_seen(room, places):
    camera, pixels = views(room)[0], torch.tensor([[14, 21], [33, 47], [57, 80]])
    found = {}
    for name in ("marched", "rasterised"):
        features = places.features.clone().requires_grad_()
        seen = renderers(with_features(places, features))[name].at_pixels(camera, pixels)
        (gradient,) = torch.autograd.grad(seen.features[:, 0].sum(), features)
        torch.testing.assert_close(gradient[:, 0].sum(), seen.alpha.sum(), rtol=1e-4, atol=0)
        assert not gradient[places.grid.coords[:, 0] == 0].any() and not gradient[:, 1:].any()
        found[name] = (gradient[:, :1] * places.features).sum(0) / gradient[:, 0].sum()
    assert float((found["marched"] - found["rasterised"]).norm()) < 2 * VOXEL


def test_densities_of_marched_features_learn_when_asked_to(room, places):
    densities = places.densities.clone().requires_grad_()
    volume = FeatureVolume(places.grid, places.features, densities, VOXEL, places.shifts)
    camera, pixels = views(room)[0], torch.tensor([[14, 21]])
    assert not MarchedFeatures(volume, EVERYWHERE, scene=1).at_pixels(camera, pixels).alpha.requires_grad
    seen = MarchedFeatures(volume, EVERYWHERE, scene=1, density_gradient=True).at_pixels(camera, pixels)
    assert bool(torch.autograd.grad(seen.features.sum(), densities)[0].any())

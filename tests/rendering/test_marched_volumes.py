"""Ray marching in metres: rays of pixels, where they are sampled, what voxels absorb, and a wall seen through all of it."""

import math

import pytest
import torch
from tests.support.sparse_conv_scenarios import coords_of
from torch import Tensor

from scenewise.errors import ConventionError, ShapeError
from scenewise.kernels.sparse_conv import voxelise
from scenewise.rendering.densities import gaussian_densities, surface_densities
from scenewise.rendering.march import DepthSampling, FeatureVolume, joined_rays, march, pixel_rays, sample_depths
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.gaussians import Gaussians

VOXEL = 0.1


def turned_camera() -> Cameras:
    """Off-centre, with pixels of two shapes, turned about all axes."""
    generator = torch.Generator().manual_seed(3)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64)).Q
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = turn * torch.sign(torch.linalg.det(turn))
    pose[:3, 3] = torch.tensor([0.3, -0.7, 2.0])
    return Cameras(pose, torch.tensor([[40.0, 0, 21], [0, 55, 11], [0, 0, 1]], dtype=torch.float64), 48, 32)


def volume_of(cells: Tensor, *, alpha: float = 0.95, shifts: Tensor | None = None, stride: int = 1) -> FeatureVolume:
    """Voxels whose features are their centres in the world."""
    grid = voxelise(cells).grid
    while grid.stride < stride:
        grid = grid.down()
    shifts = torch.zeros(grid.batch_size, 3) if shifts is None else shifts
    empty = FeatureVolume(grid, torch.zeros(len(grid), 1), surface_densities(grid, VOXEL, alpha), VOXEL, shifts)
    return FeatureVolume(grid, empty.centers_in_world().float(), empty.densities, VOXEL, shifts)


def plane(batch: int, z: int, low: tuple[int, int], high: tuple[int, int]) -> Tensor:
    """A layer of voxels across the z axis."""
    x, y = torch.meshgrid(torch.arange(low[0], high[0]), torch.arange(low[1], high[1]), indexing="ij")
    columns = [torch.full_like(x, batch), x, y, torch.full_like(x, z)]
    return torch.stack([column.flatten() for column in columns], dim=1).int()


# --- rays ---------------------------------------------------------------------------------------------------------------------


def test_rays_go_through_pixel_centres_and_are_measured_by_depth():
    camera = turned_camera()
    pixels = torch.tensor([[2, 5], [31, 0], [0, 47]])
    rays = pixel_rays(camera, pixels, scene=3)
    depths = torch.tensor([[0.5], [2.0], [7.0]], dtype=torch.float64)
    points = rays.origins_in_world + depths * rays.directions_in_world
    in_camera = points @ camera.camera_from_world[:3, :3].T + camera.camera_from_world[:3, 3]
    torch.testing.assert_close(in_camera[:, 2:], depths)
    projected = in_camera @ camera.K.T
    expected = torch.tensor([[5.5, 2.5], [0.5, 31.5], [47.5, 0.5]], dtype=torch.float64)
    torch.testing.assert_close(projected[:, :2] / projected[:, 2:], expected)
    assert rays.scenes.tolist() == [3, 3, 3]
    both = joined_rays([rays, pixel_rays(camera, pixels[:1], scene=1)])
    assert both.scenes.tolist() == [3, 3, 3, 1]
    assert torch.equal(both.directions_in_world[3], rays.directions_in_world[0])


def test_rays_of_several_cameras_at_once_are_refused():
    camera = turned_camera()
    several = Cameras(camera.camera_from_world[None], camera.K[None], 48, 32)
    with pytest.raises(ShapeError, match="expected one camera"):
        pixel_rays(several, torch.zeros(1, 2, dtype=torch.int64))


# --- samples ------------------------------------------------------------------------------------------------------------------


def test_samples_without_depth_are_one_in_each_part():
    sampling = DepthSampling(guided=3, uniform=5, near=1.0, far=5.0)
    depths = sample_depths(torch.zeros(200), sampling, torch.Generator().manual_seed(0))
    parts = (depths - 1.0) / 0.5
    assert torch.equal(parts.floor(), torch.arange(8.0).expand(200, 8))
    assert float((parts - parts.floor()).std()) == pytest.approx(math.sqrt(1 / 12), abs=0.02)
    assert sample_depths(torch.zeros(1), sampling).tolist() == [[1.25 + 0.5 * i for i in range(8)]]


def test_guided_samples_are_normal_around_the_depth():
    sampling = DepthSampling(guided=12, uniform=0, spread=0.03)
    known = torch.tensor([2.0, 4.0]).repeat_interleave(500)
    depths = sample_depths(known, sampling, torch.Generator().manual_seed(1))
    away = (depths - known[:, None]) / 0.03
    assert bool((depths.diff(dim=1) >= 0).all())
    assert abs(float(away.mean())) < 0.01 and float(away.std()) == pytest.approx(1.0, abs=0.02)
    assert float(away.abs().max()) <= 3.001
    # Stratified: of twelve samples six lie before the depth, always; independent ones would differ.
    assert bool(((away < 0).sum(1) == 6).all())


def test_samples_of_both_kinds_ascend():
    sampling = DepthSampling(guided=6, uniform=4, spread=0.05, near=0.5, far=4.5)
    depths = sample_depths(torch.tensor([2.5, 0.0]), sampling)
    assert depths.shape == (2, 10) and bool((depths.diff(dim=1) > 0).all())
    near = (depths[0] - 2.5).abs() < 0.16
    assert int(near.sum()) == 6
    torch.testing.assert_close(depths[0][~near], torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert int(((depths[1] - 2.5).abs() < 0.16).sum()) < 2


def test_samples_repeat_with_the_generator():
    known = torch.tensor([1.0, 0.0, 3.0])
    first, again, other = (sample_depths(known, DepthSampling(), torch.Generator().manual_seed(seed)) for seed in (4, 4, 5))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"guided": 1, "uniform": 0}, "at least 2 samples"),
        ({"near": 3.0, "far": 2.0}, "near < far"),
        ({"spread": -0.1}, "spread"),
    ],
)
def test_sampling_that_cannot_be_is_refused(wrong, said):
    with pytest.raises(ConventionError, match=said):
        DepthSampling(**wrong)


# --- volumes and densities ----------------------------------------------------------------------------------------------------


def test_centres_lie_in_their_voxels():
    shifts = torch.tensor([[3.25, -7.0, 2.0], [0.0, 1.5, -4.0]])
    for stride in (1, 4):
        volume = volume_of(coords_of((0, 5, -3, 2), (1, 5, -3, 2), (1, -8, 0, 11)), shifts=shifts, stride=stride)
        batch = volume.grid.coords[:, 0].long()
        places = volume.positions_in_grid(volume.centers_in_world(), batch)
        torch.testing.assert_close(places / stride - 0.5, volume.grid.coords[:, 1:].double(), rtol=0, atol=1e-9)
    assert volume.edge == pytest.approx(0.4)
    by_hand = volume_of(coords_of((0, 5, -3, 2)), shifts=shifts[:1]).features
    torch.testing.assert_close(by_hand, torch.tensor([[0.225, 0.45, 0.05]]))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("alpha", [0.9, 0.99])
def test_a_layer_of_surface_voxels_stops_what_it_promises(alpha, stride):
    volume = volume_of(plane(0, 20, (-20, -20), (20, 20)), alpha=alpha, stride=stride)
    camera = Cameras(torch.eye(4, dtype=torch.float64), torch.tensor([[20.0, 0, 16], [0, 20, 16], [0, 0, 1]]).double(), 32, 32)
    rays = pixel_rays(camera, torch.tensor([[15, 16], [3, 27]]))
    depths = torch.linspace(1.5, 2.7, 600).repeat(2, 1)
    out = march(volume, rays, depths)
    slant = float(rays.directions_in_world[1].norm())
    expected = [1 - (1 - alpha) ** float(rays.directions_in_world[0].norm()), 1 - (1 - alpha) ** slant]
    torch.testing.assert_close(out.alpha, torch.tensor(expected), rtol=0, atol=2e-3)
    assert slant > 1.1 and float(out.alpha[1]) > alpha


def gaussians(means: list[list[float]], scales: list[list[float]], opacities: list[float]) -> Gaussians:
    n = len(means)
    return Gaussians(
        torch.tensor(means),
        torch.tensor(scales).log(),
        torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1),
        torch.tensor(opacities).logit(),
        torch.zeros(n, 1, 3),
        torch.zeros(n, 0, 3),
    )


def test_gaussians_add_up_in_their_voxels():
    grid = voxelise(coords_of((0, 0, 0, 0), (0, 1, 2, 3), (0, 3, 2, 1), (1, 1, 2, 3))).grid
    shift = torch.tensor([1.0, 0.0, 0.5])
    splats = gaussians(
        [[0.05, 0.25, 0.27], [0.02, 0.21, 0.33], [0.25, 0.25, 0.05], [0.95, 0.25, 0.05], [float("nan"), 0.0, 1e30]],
        [[0.01, 0.02, 0.03], [0.01, 0.001, 0.02], [0.5, 0.5, 0.001], [0.1, 0.1, 0.1], [0.1, 0.1, 0.1]],
        [0.5, 0.75, 0.9, 0.9, 0.9],
    )
    two_small = (math.log(2) * 2 * math.pi * 0.02 * 0.03 + math.log(4) * 2 * math.pi * 0.01 * 0.02) / 0.1**3
    one_large = math.log(10) / 0.1  # covers its voxel and no more
    found = dict(zip(map(tuple, grid.coords.tolist()), gaussian_densities(splats, grid, VOXEL, shift).tolist(), strict=True))
    assert found == {
        (0, 1, 2, 3): pytest.approx(two_small, rel=1e-5),
        (0, 3, 2, 1): pytest.approx(one_large, rel=1e-5),
        (0, 0, 0, 0): 0.0,
        (1, 1, 2, 3): 0.0,
    }
    other = gaussian_densities(splats, grid, VOXEL, shift, scene=1)
    assert (
        other[grid.coords[:, 0] == 1].tolist() == [pytest.approx(two_small, rel=1e-5)] and float(other.sum()) < two_small * 1.01
    )


@pytest.mark.errors
@pytest.mark.parametrize(("field", "value"), [("voxel", 0.0), ("features", torch.zeros(4, 1)), ("shifts", torch.zeros(2, 3))])
def test_volumes_that_do_not_fit_are_refused(field, value):
    volume = volume_of(coords_of((0, 0, 0, 0)))
    parts = {name: getattr(volume, name) for name in ("grid", "features", "densities", "voxel", "shifts")}
    with pytest.raises((ShapeError, ConventionError), match=field):
        FeatureVolume(**{**parts, field: value})


@pytest.mark.parametrize("alpha", [-0.1, 1.0])
def test_an_opacity_beyond_its_range_is_refused(alpha):
    with pytest.raises(ConventionError, match="alpha"):
        surface_densities(voxelise(coords_of((0, 0, 0, 0))).grid, VOXEL, alpha)


# --- all together -------------------------------------------------------------------------------------------------------------


def test_a_wall_is_seen_where_it_is():
    # Two scenes, moved differently: a wall two metres away, and one of three.  Features are places, so nothing may be mixed up.
    shifts = torch.tensor([[4.0, -2.0, 7.3], [-1.0, 30.0, 0.0]])
    cells = torch.cat([plane(0, 27, (-20, -20), (28, 18)), plane(1, 30, (-21, 10), (22, 52))])
    volume = volume_of(cells, shifts=shifts)
    camera = Cameras(torch.eye(4, dtype=torch.float64), torch.tensor([[60.0, 0, 30], [0, 40, 20], [0, 0, 1]]).double(), 64, 40)
    pixels = torch.tensor([[3, 11], [20, 50], [36, 22]])
    for scene, wall in ((0, (27.5 - 7.3) * VOXEL), (1, 30.5 * VOXEL)):
        rays = pixel_rays(camera, pixels, scene)
        for depths in (
            sample_depths(torch.full((3,), wall), DepthSampling(guided=40, uniform=0, spread=0.06)),
            sample_depths(torch.zeros(3), DepthSampling(guided=0, uniform=200, near=0.5, far=4.5)),
        ):
            out = march(volume, rays, depths)
            assert float(out.alpha.min()) > 0.85
            assert bool(((out.depth / out.alpha - wall).abs() < 0.5 * VOXEL).all())
            expected = rays.origins_in_world + wall * rays.directions_in_world
            places = out.features / out.alpha[:, None]
            assert float((places - expected).abs().max()) < 0.4 * VOXEL


def test_features_learn_and_densities_when_asked_to():
    volume = volume_of(plane(0, 20, (-10, -10), (10, 10)))
    features, densities = volume.features.requires_grad_(), volume.densities.requires_grad_()
    camera = Cameras(torch.eye(4, dtype=torch.float64), torch.tensor([[60.0, 0, 30], [0, 60, 20], [0, 0, 1]]).double(), 64, 40)
    rays = pixel_rays(camera, torch.tensor([[20, 30], [21, 33]]))
    depths = sample_depths(torch.full((2,), 2.05), DepthSampling(guided=8, uniform=0))
    volume = FeatureVolume(volume.grid, features, densities, VOXEL, volume.shifts)
    (gradient,) = torch.autograd.grad(march(volume, rays, depths).features.sum(), features)
    alpha = march(volume, rays, depths).alpha
    torch.testing.assert_close(gradient[:, 0].sum(), alpha.sum(), rtol=1e-5, atol=0)
    learns = march(volume, rays, depths, density_gradient=True)
    (of_alpha,) = torch.autograd.grad(learns.alpha.sum(), densities)
    # Per metre: a tenth more of everything, and the optical depth is a tenth more.
    more = FeatureVolume(volume.grid, features, densities * 1.001, VOXEL, volume.shifts)
    growth = march(more, rays, depths).alpha.sum() - alpha.sum()
    torch.testing.assert_close((of_alpha * densities).sum() * 0.001, growth, rtol=0.02, atol=0)

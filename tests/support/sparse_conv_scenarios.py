"""Voxels, truths and checks for sparse convolution that every backend must pass; the backend is an argument."""

from dataclasses import dataclass
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from scenewise.kernels.sparse_conv import Backend, VoxelGrid, down_conv, subm_conv, up_conv, voxelise

KINDS = ("submanifold", "down", "up")
OPERATORS = {"submanifold": subm_conv, "down": down_conv, "up": up_conv}
OFFSETS = {"submanifold": 27, "down": 8, "up": 8}


def coords_of(*voxels: tuple[int, int, int, int]) -> Tensor:
    """int32 [n, 4] from tuples (batch, x, y, z)."""
    return torch.tensor(voxels, dtype=torch.int32).reshape(-1, 4)


def random_coords(points: int, *, edge: int = 12, batch: int = 2, seed: int = 0) -> Tensor:
    """Points in cubes whose corner is at negative, odd and even coordinates; duplicates occur."""
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randint(0, edge, (points, 3), generator=generator) + torch.tensor([-7, -4, -edge])
    items = torch.randint(0, batch, (points, 1), generator=generator)
    return torch.cat([items, cells], dim=1).to(torch.int32)


def surface_coords(edge: int = 12, batch: int = 1) -> Tensor:
    """Two thick crossing walls: more than half of all neighbours exist, as in a room fused from depth."""
    cells = torch.tensor([p for p in product(range(edge), repeat=3) if p[0] < 3 or p[2] < 3])
    items = torch.arange(batch).repeat_interleave(len(cells))
    return torch.cat([items[:, None], cells.repeat(batch, 1)], dim=1).to(torch.int32)


@dataclass(frozen=True)
class Case:
    """Leaves of one convolution."""

    grid: VoxelGrid
    kind: str
    features: Tensor
    weight: Tensor
    gradient: Tensor


def case(grid: VoxelGrid, kind: str, c_in: int, c_out: int, *, dtype: torch.dtype = torch.float32, seed: int = 1) -> Case:
    """Random features, weight and upstream gradient."""
    generator = torch.Generator().manual_seed(seed)
    coarse = len(grid.down())
    inputs, outputs = {"submanifold": (len(grid),) * 2, "down": (len(grid), coarse), "up": (coarse, len(grid))}[kind]

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    weight = normal(OFFSETS[kind], c_in, c_out) / (OFFSETS[kind] * c_in) ** 0.5
    return Case(grid, kind, normal(inputs, c_in), weight, normal(outputs, c_out))


def run(case: Case, backend: Backend, **options: str) -> tuple[Tensor, Tensor, Tensor]:
    """Output, gradient of the features, gradient of the weight."""
    features, weight = case.features.clone().requires_grad_(), case.weight.clone().requires_grad_()
    out = OPERATORS[case.kind](features, weight, case.grid, backend=backend, **options)
    return (out.detach(), *torch.autograd.grad(out, (features, weight), case.gradient.to(out.dtype)))


def dense_truth(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """The same by dense convolution in float64: all space around the voxels, zeros where there is none."""
    features, weight = case.features.double().requires_grad_(), case.weight.double().requires_grad_()
    fine, coarse = case.grid.coords.long(), case.grid.down().coords.long()
    corner = 2 * coarse.amin(0)  # even, so that the strided lattice is met
    corner[0] = 0
    size = (fine.amax(0) + 2 - corner).add(1).div(2, rounding_mode="floor") * 2
    places = {"fine": (fine - corner).unbind(1), "coarse": (coarse - torch.cat([corner[:1], corner[1:] // 2])).unbind(1)}
    edge = 3 if case.kind == "submanifold" else 2
    kernel = weight.view(edge, edge, edge, *weight.shape[1:])

    def dense(values: Tensor, level: str) -> Tensor:
        shape = size[1:] if level == "fine" else size[1:] // 2
        space = values.new_zeros(case.grid.batch_size, *shape.tolist(), values.shape[1])
        return space.index_put(places[level], values).permute(0, 4, 1, 2, 3)

    if case.kind == "submanifold":
        space, level = F.conv3d(dense(features, "fine"), kernel.permute(4, 3, 0, 1, 2), padding=1), "fine"
    elif case.kind == "down":
        space, level = F.conv3d(dense(features, "fine"), kernel.permute(4, 3, 0, 1, 2), stride=2), "coarse"
    else:
        space, level = F.conv_transpose3d(dense(features, "coarse"), kernel.permute(3, 4, 0, 1, 2), stride=2), "fine"
    out = space.permute(0, 2, 3, 4, 1)[places[level]]
    return (out.detach(), *torch.autograd.grad(out, (features, weight), case.gradient.double()))


def neighbours_by_dictionary(coords: Tensor) -> list[list[int]]:
    """The definition of the neighbour table, one voxel and one offset at a time."""
    rows = {tuple(voxel): row for row, voxel in enumerate(coords.tolist())}
    steps = list(product((-1, 0, 1), repeat=3))  # x slowest
    return [[rows.get((batch, x + dx, y + dy, z + dz), len(rows)) for dx, dy, dz in steps] for batch, x, y, z in coords.tolist()]


def relative_error(got: Tensor, want: Tensor) -> float:
    """‖got − want‖ / ‖want‖ in float64; 0 when both vanish."""
    difference = float((got.double() - want.double()).norm())
    return difference / max(float(want.double().norm()), 1e-30) if difference > 0 else 0.0


def everything(points: Tensor, backend: Backend, channels: int = 5) -> Tensor:
    """A small U-Net without non-linearities, two levels deep, whose features come from nothing but the shape of the cloud.

    Returns:
        One row per point, so that clouds in other order or at another place can be compared.
    """
    generator = torch.Generator().manual_seed(7)
    voxels = voxelise(points)
    fine, middle = voxels.grid, voxels.grid.down()

    def weight(offsets: int) -> Tensor:
        return torch.randn(offsets, channels, channels, generator=generator) / channels

    x = subm_conv(torch.ones(len(fine), channels), weight(27), fine, backend=backend)
    y = subm_conv(down_conv(x, weight(8), fine, backend=backend), weight(27), middle, backend=backend)
    z = subm_conv(down_conv(y, weight(8), middle, backend=backend), weight(27), middle.down(), backend=backend)
    y = y + up_conv(z, weight(8), middle, backend=backend)
    return (x + up_conv(y, weight(8), fine, backend=backend))[voxels.voxel_of_point]

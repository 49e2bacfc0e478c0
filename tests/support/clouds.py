"""Small clouds of points for sparse networks."""

import torch

from scenewise.networks.sparse_inputs import VoxelisedPoints


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def wavy_cloud(seed=0, points=700, scans=2, channels=3, extent=40.0):
    """Two folded sheets of points per scan, negative coordinates included."""
    generator = seeded(seed)
    xy = torch.rand(points, 2, generator=generator) * extent - extent / 3
    z = 4 * torch.sin(xy[:, 0] / 5) + 3 * torch.cos(xy[:, 1] / 7) + 0.6 * torch.rand(points, generator=generator)
    positions = torch.cat([xy, z[:, None]], dim=1)
    batch = torch.arange(points) * scans // points
    return VoxelisedPoints.from_points(torch.rand(points, channels, generator=generator) * 2 - 1, positions, batch)


def full_block(size, channels=2, seed=0):
    """One point in the middle of every voxel of a box at the origin, x slowest, and its inputs [channels, x, y, z]."""
    cells = torch.cartesian_prod(*(torch.arange(length) for length in size))
    inputs = torch.randn(len(cells), channels, generator=seeded(seed))
    cloud = VoxelisedPoints.from_points(inputs, cells + 0.5, torch.zeros(len(cells), dtype=torch.int64))
    return cloud, inputs.T.unflatten(1, size)[None]


def parameter_count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def randomised_statistics(network, seed=0):
    """Batch norms that do something while evaluating."""
    generator = seeded(seed)
    for name, values in network.named_buffers():
        if name.endswith("running_mean"):
            values.copy_(0.3 * torch.randn(values.shape, generator=generator))
        elif name.endswith("running_var"):
            values.copy_(0.5 + torch.rand(values.shape, generator=generator))
    return network

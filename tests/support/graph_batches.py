"""Small scans for graph networks, and networks in which nothing is zero any more."""

import itertools
from collections.abc import Sequence

import torch
from torch import nn

from scenewise.networks.graphs.blocks import GroupAttention
from scenewise.networks.graphs.inputs import GraphInputs
from scenewise.networks.graphs.students import GraphShape, GraphStudent

SHAPES = {
    kind: GraphShape(kind=kind, classes=5, predicates=4, width=16, heads=2, depth=2, points=9)
    for kind in ("vl_sat", "sgfn", "sggpoint", "sgpn")
}


def pairs_of(counts: Sequence[int]) -> torch.Tensor:
    """All ordered pairs within each of several scans that follow one another."""
    found, start = [], 0
    for count in counts:
        found += [(start + a, start + b) for a, b in itertools.permutations(range(count), 2)]
        start += count
    return torch.tensor(found, dtype=torch.int64).reshape(-1, 2).T.contiguous()


def inputs_of(counts: Sequence[int], seed: int = 0, points: int = 9) -> GraphInputs:
    """Things of any place and size, in float64."""
    generator = torch.Generator().manual_seed(seed)
    total = sum(counts)
    centers, sizes = torch.randn(total, 1, 3, generator=generator), 0.2 + torch.rand(total, 1, 3, generator=generator)
    cloud = centers + sizes * torch.randn(total, points, 3, generator=generator)
    scans = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return GraphInputs(cloud.double(), pairs_of(counts), scans)


def stirred(module: nn.Module, seed: int = 1) -> nn.Module:
    """The module in float64 and as it answers, with norms that have seen data and attention that adds something."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, GroupAttention):
                part.out.weight.copy_(torch.randn(part.out.weight.shape, generator=generator) * part.out.in_features**-0.5)
            if isinstance(part, nn.BatchNorm1d):
                part.running_mean.copy_(0.3 * torch.randn(part.num_features, generator=generator))
                part.running_var.copy_(0.5 + torch.rand(part.num_features, generator=generator))
            if isinstance(part, nn.BatchNorm1d | nn.LayerNorm):
                part.weight.copy_(0.5 + torch.rand(part.weight.shape, generator=generator))
                part.bias.copy_(0.2 * torch.randn(part.bias.shape, generator=generator))
    return module.double().eval()


def stirred_student(kind: str, seed: int = 1) -> GraphStudent:
    torch.manual_seed(seed)
    student = stirred(GraphStudent(SHAPES[kind]), seed)
    assert isinstance(student, GraphStudent)
    return student

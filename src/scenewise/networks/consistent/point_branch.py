"""The 3D branch: a sparse U-Net on coloured voxels, with unit features and a key-point score for each voxel.

All levels up are read: the last one of a narrow network has fewer channels than the shared space has dimensions.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from scenewise.kernels.sparse_conv import Backend, Precision
from scenewise.networks.consistent.shape import ConsistentShape
from scenewise.networks.minkunet import minkunet14a, minkunet18a, minkunet34c
from scenewise.networks.sparse_inputs import VoxelisedPoints

COLOR_CHANNELS = 3
_BACKBONES = {"minkunet14a": minkunet14a, "minkunet18a": minkunet18a, "minkunet34c": minkunet34c}
_RARE = -3.0


@dataclass(frozen=True)
class PointFeatures:
    """What the 3D branch says about the voxels of its input.

    Attributes:
        features: unit length.
        score_logits: of being a key point.
    """

    features: Float[Tensor, "voxels dim"]
    score_logits: Float[Tensor, "voxels"]


class PointBranch(nn.Module):
    """Backbone, projection and score head.

    Args:
        shape: sizes.
        precision: of the operands of convolutions.
        backend: of the convolutions.
    """

    def __init__(self, shape: ConsistentShape, *, precision: Precision = "float32", backend: Backend = "auto") -> None:
        super().__init__()
        build = _BACKBONES[shape.backbone]
        self.backbone = build(COLOR_CHANNELS, shape.backbone_width, heads_on="concat", precision=precision, backend=backend)
        self.project = nn.Linear(self.backbone.out_channels, shape.dim)
        self.score = nn.Linear(self.backbone.out_channels, 1)
        nn.init.constant_(self.score.bias, _RARE)

    def forward(self, cloud: VoxelisedPoints) -> PointFeatures:
        """Features of the occupied voxels in the order of ``cloud.voxels.grid``; inputs are colours in [−1, 1]."""
        weight, bias = torch.cat([self.project.weight, self.score.weight]), torch.cat([self.project.bias, self.score.bias])
        # Each level is projected where it has few voxels, and its sum handed down: what a head on all of them together gives.
        total: Tensor | None = None
        first = 0
        for features, grid in self.backbone.level_features(cloud):
            own = F.linear(features, weight[:, first : first + features.shape[1]], bias if total is None else None)
            total = own if total is None else own + total.index_select(0, grid.parent)
            first += features.shape[1]
        assert total is not None
        return PointFeatures(F.normalize(total[:, :-1], dim=1), total[:, -1])

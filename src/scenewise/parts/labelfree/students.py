"""Students: a backbone and one linear head into the text space, where classes are words."""

from typing import cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scenewise.errors import ConventionError
from scenewise.kernels.sparse_conv import Pointwise
from scenewise.networks.backbones import Backbone3D
from scenewise.networks.sparse_inputs import VoxelisedPoints
from scenewise.parts.labelfree.steps import StudentOutput


@final
class PointStudent(nn.Module):
    """Names points: f = W z + b with the backbone's feature z; class scores are ψ(f, T̂).

    The head keeps torch's initialisation U(−1/√c, 1/√c) of weights and biases with c channels of z.  Behind batch norm and ReLU
    that gives logits with a standard deviation below ½ against unit texts, so that the first losses are near log(classes).

    Args:
        backbone: sparse 3D network.
        dim: of the text space.
    """

    def __init__(self, backbone: Backbone3D, dim: int) -> None:
        super().__init__()
        self.backbone = cast(nn.Module, backbone)
        self.head = Pointwise(backbone.out_channels, dim)

    def forward(self, cloud: VoxelisedPoints) -> StudentOutput:
        """A row per point of the cloud; embeddings are made of the rows that are asked for."""
        return StudentOutput(None, self.backbone(cloud), head=self.head)


@final
class PixelStudent(nn.Module):
    """Names pixels: as :class:`PointStudent`, on the grid of a 2D backbone.

    Args:
        backbone: images [b, 3, h, w] in [0, 1] → latent [b, c, rows, columns]; has ``out_channels``.
        dim: of the text space.

    Raises:
        ConventionError: the backbone does not say how many channels it gives.
    """

    def __init__(self, backbone: nn.Module, dim: int) -> None:
        super().__init__()
        channels = getattr(backbone, "out_channels", None)
        if not isinstance(channels, int):
            raise ConventionError("2D backbone", expected="an attribute out_channels", got=type(backbone).__name__)
        self.backbone = backbone
        self.head = nn.Linear(channels, dim)

    def forward(self, images: Float[Tensor, "views 3 height width"]) -> StudentOutput:
        """A row per cell of the backbone's grid."""
        latent = self.backbone(images)
        views, channels, rows, columns = latent.shape
        flat = latent.permute(0, 2, 3, 1).reshape(-1, channels)
        return StudentOutput(None, flat, (views, rows, columns), self.head)


def latent_channels(student: PointStudent | PixelStudent | None) -> int:
    """Channels of a student's latent features; 0 without a student."""
    return 0 if student is None else student.head.in_features


def parameter_count(module: nn.Module) -> int:
    """Trained numbers."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def device_of(module: nn.Module) -> torch.device:
    """Where the parameters are."""
    return next(module.parameters()).device

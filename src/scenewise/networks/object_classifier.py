"""A classifier of objects: a sparse U-Net on coloured voxels, pooled over each object, and a head."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from scenewise.errors import ConventionError
from scenewise.kernels.sparse_conv import Backend, Precision
from scenewise.networks.batch_norm import BatchNorm
from scenewise.networks.consistent.point_branch import COLOR_CHANNELS
from scenewise.networks.consistent.shape import PointBackbone
from scenewise.networks.minkunet import minkunet
from scenewise.networks.sparse_inputs import VoxelisedPoints


@dataclass(frozen=True)
class ClassifierShape:
    """What must be known to build the network.

    Attributes:
        classes: of objects.
        backbone: of the 3D branch.
        backbone_width: multiple of its channels.
        hidden: channels of a layer between pooled features and logits; 0 = the head is linear.
    """

    classes: int
    backbone: PointBackbone = "minkunet14a"
    backbone_width: float = 1.0
    hidden: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.classes <= 65536:
            raise ConventionError("classes", expected="1 to 65536", got=self.classes)
        if not 0 < self.backbone_width <= 16:
            raise ConventionError("backbone_width", expected="above 0, up to 16", got=self.backbone_width)
        if not 0 <= self.hidden <= 16384:
            raise ConventionError("hidden", expected="0 to 16384", got=self.hidden)


class ObjectClassifier(nn.Module):
    """Logits of an object's class.

    ``backbone`` is that of :class:`~scenewise.networks.consistent.point_branch.PointBranch`, so that the weights of a
    pre-trained one fit.

    Args:
        shape: sizes.
        precision: of the operands of convolutions.
        backend: of the convolutions.
    """

    def __init__(self, shape: ClassifierShape, *, precision: Precision = "float32", backend: Backend = "auto") -> None:
        super().__init__()
        self.shape = shape
        name = shape.backbone.removeprefix("minkunet").upper()
        self.backbone = minkunet(
            name, COLOR_CHANNELS, shape.backbone_width, heads_on="concat", precision=precision, backend=backend
        )
        pooled = 2 * self.backbone.out_channels
        # Whatever sizes pooled features have, the head sees all channels alike: a frozen backbone's are not trained for it.
        self.norm = BatchNorm(pooled)
        layers: list[nn.Module] = [nn.Linear(pooled, shape.hidden), nn.ReLU()] if shape.hidden else []
        self.head = nn.Sequential(*layers, nn.Linear(shape.hidden or pooled, shape.classes))

    def forward(self, cloud: VoxelisedPoints) -> Float[Tensor, "objects classes"]:
        """A row for each item of the batch, none of which may be empty; inputs are colours in [−1, 1], zeros where unknown."""
        return self.classified(self.pooled(cloud))

    def pooled(self, cloud: VoxelisedPoints) -> Float[Tensor, "objects channels"]:
        """Mean and maximum over each object's voxels, side by side."""
        grid = cloud.voxels.grid
        return pooled_by_item(self.backbone.voxel_features(cloud), grid.coords[:, 0].long(), grid.batch_size)

    def classified(self, pooled: Float[Tensor, "objects channels"]) -> Float[Tensor, "objects classes"]:
        """Logits from :meth:`pooled`."""
        logits: Tensor = self.head(self.norm(pooled))
        return logits


def pooled_by_item(
    features: Float[Tensor, "voxels channels"], item: Tensor, items: int
) -> Float[Tensor, "items twice_the_channels"]:
    """Mean and maximum of the rows of each item, side by side.

    Args:
        features: in any order.
        item: int64, which item a row belongs to; each has one at least.
        items: how many there are.
    """
    counts = torch.bincount(item, minlength=items).clamp_min(1)
    zeros = features.new_zeros(items, features.shape[1])
    mean = zeros.index_add(0, item, features) / counts[:, None]
    largest = zeros.scatter_reduce(0, item[:, None].expand_as(features), features, "amax", include_self=False)
    return torch.cat([mean, largest], dim=1)


def smoothed_cross_entropy(logits: Float[Tensor, "objects classes"], class_ids: Tensor, smoothing: float) -> Float[Tensor, ""]:
    """Mean over objects of −Σ_c q_c log p_c, with q_c = (1 − ε)·[c is the class] + ε / classes.

    Source: Szegedy et al. 2016, arXiv 1512.00567, section 7.

    Args:
        logits: of the classes.
        class_ids: int64, of the objects.
        smoothing: ε.
    """
    return F.cross_entropy(logits, class_ids, label_smoothing=smoothing)

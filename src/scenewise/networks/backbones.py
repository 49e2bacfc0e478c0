"""What every 3D backbone offers."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int64
from torch import Tensor

from scenewise.networks.sparse_inputs import VoxelisedPoints


@runtime_checkable
class Backbone3D(Protocol):
    """A network from voxelised points to a feature per point; heads are not its business."""

    @property
    def out_channels(self) -> int:
        """Length of a point's feature."""
        ...

    def __call__(self, cloud: VoxelisedPoints, rows: Int64[Tensor, "m"] | None = None) -> Float[Tensor, "m out"]:
        """Features of the points ``rows`` (of all points where None): a head applied to few points costs little."""
        ...

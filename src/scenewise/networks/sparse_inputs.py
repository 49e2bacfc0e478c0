"""What a sparse network is given."""

from dataclasses import dataclass

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from scenewise.errors import ShapeError
from scenewise.kernels.sparse_conv import Voxelisation, voxelise


@dataclass(frozen=True)
class VoxelisedPoints:
    """The points of one or several scans and the voxels they lie in.

    Attributes:
        inputs: per point: colours in [−1, 1], an intensity, or ones.
        positions: in units of voxels, already turned, flipped and shifted; the voxel of a point is the floor of its position.
        batch: which scan a point belongs to, ascending.
        voxels: the occupied voxels and the voxel of each point.
    """

    inputs: Float32[Tensor, "n channels"]
    positions: Float32[Tensor, "n 3"]
    batch: Int64[Tensor, "n"]
    voxels: Voxelisation

    def __post_init__(self) -> None:
        n = len(self.inputs)
        for name in ("positions", "batch"):
            if len(getattr(self, name)) != n:
                raise ShapeError(name, expected=f"{n} rows, as inputs", got=len(getattr(self, name)))

    @staticmethod
    def from_points(
        inputs: Float32[Tensor, "n channels"], positions: Float32[Tensor, "n 3"], batch: Int64[Tensor, "n"]
    ) -> "VoxelisedPoints":
        """Finds the voxels."""
        cells = torch.cat([batch[:, None], positions.floor().to(torch.int64)], dim=1).to(torch.int32)
        return VoxelisedPoints(inputs, positions, batch, voxelise(cells))

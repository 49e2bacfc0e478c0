"""Both branches and the way from their space to that of words."""

from jaxtyping import Float
from torch import Tensor, nn

from scenewise.errors import ConventionError
from scenewise.kernels.sparse_conv import Backend, Precision
from scenewise.networks.consistent.image_branch import ImageBranch
from scenewise.networks.consistent.point_branch import PointBranch
from scenewise.networks.consistent.shape import ConsistentShape


class ConsistentPair(nn.Module):
    """The two branches, the reader of the frozen prior, and nothing of the tower.

    ``translator`` is linear and is trained to give back what the frozen 2D model says of a pixel: it keeps the prior while both
    branches learn to agree, and afterwards it is the way to words.

    Args:
        shape: sizes.
        prior_dim: of the frozen features that are given back; the text space's where there is one.
        precision: of the 3D branch's convolutions.
        backend: likewise.

    Raises:
        ConventionError: a text space of another size than the prior.
    """

    def __init__(
        self, shape: ConsistentShape, prior_dim: int, *, precision: Precision = "float32", backend: Backend = "auto"
    ) -> None:
        super().__init__()
        if shape.text_dim is not None and shape.text_dim != prior_dim:
            raise ConventionError("prior_dim", expected=f"{shape.text_dim}, as the text space", got=prior_dim)
        self.shape = shape
        self.image = ImageBranch(shape)
        self.points = PointBranch(shape, precision=precision, backend=backend)
        self.translator = nn.Linear(shape.dim, prior_dim)

    def translated(self, features: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows prior_dim"]:
        """What the frozen 2D model would say, as a linear function of the features."""
        return self.translator(features)

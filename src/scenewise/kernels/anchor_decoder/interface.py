"""What goes into and comes out of the decoder of neural anchors, the same for every backend."""

from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

from scenewise.errors import ShapeError


@dataclass(frozen=True)
class DecoderHeads:
    """Three networks of two layers, each flattened into one vector: W₁ [hidden inputs], b₁, W₂ [outputs hidden], b₂, row by row.

    Inputs are an anchor's feature and the unit vector from the camera to it; between the layers stands a ReLU.

    Attributes:
        opacity: to ``slots`` numbers.
        color: to 3·``slots`` numbers, child by child.
        covariance: to 7·``slots`` numbers, child by child: three for the scales, four for the rotation.
    """

    opacity: Float[Tensor, "p_opacity"]
    color: Float[Tensor, "p_color"]
    covariance: Float[Tensor, "p_covariance"]


@dataclass(frozen=True)
class AnchorInput:
    """Anchors seen from one place.

    Attributes:
        positions: of the anchors, world units; no gradient.
        offsets: of each anchor's children, in multiples of its first three scales.
        features: of the anchors.
        log_scales: the first three stretch the offsets, the last three the children.
        rows: the anchors to decode, rising.
        center: of the camera in the world; no gradient.
        heads: the decoder.
        teacher: another decoder that the first one is compared with, or None; never receives a gradient.
        teacher_passes_gradients: whether a difference also moves the anchors by way of the teacher.
    """

    positions: Float[Tensor, "n 3"]
    offsets: Float[Tensor, "n slots 3"]
    features: Float[Tensor, "n channels"]
    log_scales: Float[Tensor, "n 6"]
    rows: Int64[Tensor, "visible"]
    center: Float[Tensor, "3"]
    heads: DecoderHeads
    teacher: DecoderHeads | None = None
    teacher_passes_gradients: bool = False

    @property
    def slots(self) -> int:
        """Children of an anchor."""
        return int(self.offsets.shape[1])

    @property
    def inputs(self) -> int:
        """Numbers that each head reads."""
        return int(self.features.shape[1]) + 3

    @property
    def hidden(self) -> int:
        """Hidden units of each head."""
        return hidden_units(self.heads.opacity.numel(), self.inputs, self.slots)


@dataclass(frozen=True)
class DecodedChildren:
    """The children that can be seen, as splats are stored; child by child in the order of ``rows`` and slots.

    Attributes:
        means: centres, world units.
        log_scales: logarithms of the standard deviations.
        quats: unit, wxyz.
        logit_opacities: of the opacity tanh(·) > 0.
        sh0: coefficient of degree 0 of the colour.
        row_of: anchor of each child.
        slot_of: which of its anchor's children it is.
        opacities: tanh(·) of all children of the anchors that were decoded, also of those that cannot be seen; no gradient.
        differences: from the teacher's: mean squares over colours, quaternions and scales of the children that can be seen, and
            over the opacities tanh(·) of all; None without a teacher.
    """

    means: Float[Tensor, "m 3"]
    log_scales: Float[Tensor, "m 3"]
    quats: Float[Tensor, "m 4"]
    logit_opacities: Float[Tensor, "m"]
    sh0: Float[Tensor, "m 1 3"]
    row_of: Int64[Tensor, "m"]
    slot_of: Int64[Tensor, "m"]
    opacities: Float[Tensor, "visible slots"]
    differences: Float[Tensor, "4"] | None


def rows_do_not_rise(anchors: AnchorInput) -> ShapeError:
    """What is said about rows that cannot be decoded."""
    return ShapeError("rows", expected=f"rising numbers from 0 to below {len(anchors.positions)}", got="others")


def head_parameters(inputs: int, hidden: int, outputs: int) -> int:
    """Numbers of a head.

    >>> head_parameters(35, 32, 10)
    1482
    """
    return hidden * (inputs + 1) + outputs * (hidden + 1)


def hidden_units(parameters: int, inputs: int, outputs: int) -> int:
    """Hidden units of a head with so many numbers.

    Raises:
        ShapeError: no number of them fits.
    """
    hidden, rest = divmod(parameters - outputs, inputs + 1 + outputs)
    if rest or hidden < 1:
        raise ShapeError("head of the decoder", expected=f"{inputs} inputs, {outputs} outputs", got=f"{parameters} numbers")
    return hidden

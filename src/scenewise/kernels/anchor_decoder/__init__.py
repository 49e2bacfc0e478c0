"""The decoder of neural anchors: features and a viewing direction in, the Gaussians that a camera sees out.

Source: Lu et al. 2024 (Scaffold-GS), arXiv 2312.00109, section 3.2, and its released code; the comparison with a teacher is
that of Fan et al. 2024 (Momentum-GS), arXiv 2412.04887.
"""

from typing import Literal

from jaxtyping import Float, Int64
from torch import Tensor

from scenewise.errors import ResourceError, ShapeError
from scenewise.kernels.anchor_decoder import native, reference
from scenewise.kernels.anchor_decoder.interface import (
    AnchorInput,
    DecodedChildren,
    DecoderHeads,
    head_parameters,
    hidden_units,
)
from scenewise.scenes.cameras import Cameras

__all__ = [
    "AnchorInput", "Backend", "DecodedChildren", "DecoderHeads", "backend_for", "decode", "head_parameters", "hidden_units",
    "visible_rows",
]  # fmt: skip

Backend = Literal["auto", "reference", "native"]

REACH = 3.0
"""Children are looked for up to this many of their anchor's largest scales away: as far as a Gaussian of that size is drawn."""


def backend_for(anchors: AnchorInput, wanted: Backend = "auto") -> tuple[Backend, str]:
    """The backend that will run, and why.

    Raises:
        ResourceError: the wanted one cannot run this input here.
    """
    if wanted == "auto":
        if native.can_run(anchors):
            return "native", "float32 tensors on the CPU and the compiled library is loaded"
        return "reference", "the compiled library takes float32 tensors on the CPU"
    if wanted == "native" and not native.can_run(anchors):
        raise ResourceError(
            "anchor decoder native",
            expected="float32 tensors on the CPU and the compiled library",
            got=f"{anchors.features.dtype} on {anchors.features.device}",
            fix="run `scenewise doctor`",
        )
    return wanted, "asked for"


def decode(anchors: AnchorInput, backend: Backend = "auto") -> DecodedChildren:
    """The children of anchors as one camera sees them; differentiable in offsets, features, log scales and heads.

    With x = (f, (a − c)/‖a − c‖) of anchor a and camera c, and a head h(x) = W₂·relu(W₁x + b₁) + b₂ each: opacity tanh(h(x)), of
    which those above 0 are kept; colour sigmoid(h(x)); scales e^{s[3:6]}·sigmoid(h(x)[:3]) and rotation h(x)[3:] / ‖h(x)[3:]‖
    with the anchor's log scales s; centre a + offset·e^{s[0:3]}.

    Raises:
        ShapeError: heads do not fit the features and each other, an array has not one row per anchor, or ``rows`` do not rise
            from 0 to below their number.
        ResourceError: see :func:`backend_for`.
    """
    n, slots, inputs = len(anchors.positions), anchors.slots, anchors.inputs
    for name in ("offsets", "features", "log_scales"):
        if len(getattr(anchors, name)) != n:
            raise ShapeError(name, expected=f"{n} rows", got=len(getattr(anchors, name)))
    for heads in (anchors.heads, anchors.teacher):
        if heads is None:
            continue
        for name, outputs in (("opacity", slots), ("color", 3 * slots), ("covariance", 7 * slots)):
            numbers = getattr(heads, name).numel()
            if numbers != head_parameters(inputs, anchors.hidden, outputs):
                raise ShapeError(f"{name} head", expected=f"{inputs} inputs, {outputs} outputs", got=f"{numbers} numbers")
    chosen, _ = backend_for(anchors, backend)
    return native.decode(anchors) if chosen == "native" else reference.decode(anchors)


def visible_rows(
    positions: Float[Tensor, "n 3"], log_scales: Float[Tensor, "n 6"], camera: Cameras, reach: float = REACH
) -> Int64[Tensor, " visible"]:
    """Anchors whose children a camera may see, rising: the centre is beyond its near plane, and a sphere of ``reach`` times the
    largest of the first three scales touches the pyramid through the picture's borders.

    Args:
        positions: of the anchors, world units.
        log_scales: of the anchors.
        camera: one, without batch axes.
        reach: see above.

    Raises:
        ShapeError: positions and log scales differ in number.
    """
    if len(log_scales) != len(positions):
        raise ShapeError("log_scales", expected=f"{len(positions)} rows", got=len(log_scales))
    size = (camera.width, camera.height)
    where = (camera.camera_from_world.to(positions.device), camera.K, size, camera.near, reach)
    run = native.visible_rows if native.takes(positions, log_scales) else reference.visible_rows
    return run(positions, log_scales, *where)

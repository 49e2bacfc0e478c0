"""What goes into and comes out of the splat kernel, the same for every backend."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class SplatInput:
    """Gaussians seen by one camera.

    Attributes:
        means: centres, world units.
        quats: wxyz, any non-zero length.
        scales: standard deviations, or their logarithms when ``stored``.
        opacities: in (0, 1), or logits when ``stored``.
        sh0: degree-0 coefficients; together with ``shN`` gives colour 0.5 + Σ Yₖ·coefficient, clamped at 0.
        shN: higher coefficients (at least as many as ``sh_degree`` needs).
        sh_degree: degrees evaluated, 0–3.
        extra: further channels blended like colour, or None.
        camera_from_world: rigid transform; receives a gradient.
        K: intrinsics in pixels.
        near: Gaussians whose centre is nearer than this along the viewing axis are not drawn, world units.
        width: image width.
        height: image height.
        background: colour seen where nothing covers.
        stored: whether scales and opacities are logs and logits.
        screen_gradients: zeros that collect the gradient of the projected centres (see :func:`rasterize`), or None.
        contribution: also return what each Gaussian contributed.
    """

    means: Float[Tensor, "n 3"]
    quats: Float[Tensor, "n 4"]
    scales: Float[Tensor, "n 3"]
    opacities: Float[Tensor, "n"]
    sh0: Float[Tensor, "n 1 3"]
    shN: Float[Tensor, "n rest 3"]
    sh_degree: int
    extra: Float[Tensor, "n channels"] | None
    camera_from_world: Float[Tensor, "4 4"]
    K: Float[Tensor, "3 3"]
    near: float
    width: int
    height: int
    background: Float[Tensor, "3"]
    stored: bool
    screen_gradients: Float[Tensor, "n 2"] | Float[Tensor, "n 4"] | None
    contribution: bool


@dataclass(frozen=True)
class Contribution:
    """What each Gaussian contributed to the picture.

    Attributes:
        weight_sum: Σ over pixels of α·T.
        pixel_count: pixels with α·T > 0.
        argmax_count: pixels where this Gaussian has the largest α·T.
    """

    weight_sum: Float[Tensor, "n"]
    pixel_count: Int[Tensor, "n"]
    argmax_count: Int[Tensor, "n"]


@dataclass(frozen=True)
class SplatOutput:
    """One rendered view.

    Attributes:
        color: Σ w·colour + T·background.
        depth: Σ w·z; divide by ``alpha`` for the expected depth.
        alpha: Σ w = 1 − T.
        extra: Σ w·extra, or None.
        radii: largest half-extent of each Gaussian's footprint in pixels; 0 = not drawn.  No gradient.
        contribution: see :class:`Contribution`, or None.
    """

    color: Float[Tensor, "height width 3"]
    depth: Float[Tensor, "height width"]
    alpha: Float[Tensor, "height width"]
    extra: Float[Tensor, "height width channels"] | None
    radii: Float[Tensor, "n"]
    contribution: Contribution | None

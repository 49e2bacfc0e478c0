"""Real spherical harmonics up to degree 3 in the order and signs of the 3D Gaussian Splatting literature."""

import torch
from jaxtyping import Float
from torch import Tensor

Y00 = 0.28209479177387814
_Y1 = 0.4886025119029199
_Y2 = (1.0925484305920792, -1.0925484305920792, 0.31539156525252005, -1.0925484305920792, 0.5462742152960396)
_Y3 = (
    -0.5900435899266435,
    2.890611442640554,
    -0.4570457994644658,
    0.3731763325901154,
    -0.4570457994644658,
    1.445305721320277,
    -0.5900435899266435,
)


def sh_basis(directions: Float[Tensor, "*batch 3"], degree: int) -> Float[Tensor, "*batch coefficients"]:
    """Values of the first (degree + 1)² basis functions.

    Source: Kerbl et al. 2023, arXiv 2308.04079, appendix; constants are √ factors of the real harmonics with the
    Condon–Shortley sign kept.

    Args:
        directions: unit vectors from the camera centre to the Gaussian, world frame.
        degree: 0 to 3.

    Returns:
        Basis values, (l, m) = (0,0), (1,−1), (1,0), (1,1), (2,−2) …
    """
    x, y, z = directions.unbind(-1)
    basis = [torch.full_like(x, Y00)]
    if degree >= 1:
        basis += [-_Y1 * y, _Y1 * z, -_Y1 * x]
    if degree >= 2:
        xx, yy, zz = x * x, y * y, z * z
        basis += [_Y2[0] * x * y, _Y2[1] * y * z, _Y2[2] * (2 * zz - xx - yy), _Y2[3] * x * z, _Y2[4] * (xx - yy)]
    if degree >= 3:
        basis += [
            _Y3[0] * y * (3 * xx - yy),
            _Y3[1] * x * y * z,
            _Y3[2] * y * (4 * zz - xx - yy),
            _Y3[3] * z * (2 * zz - 3 * xx - 3 * yy),
            _Y3[4] * x * (4 * zz - xx - yy),
            _Y3[5] * z * (xx - yy),
            _Y3[6] * x * (xx - 3 * yy),
        ]
    return torch.stack(basis, dim=-1)


def sh0_from_rgb(rgb: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3"]:
    """Degree-0 coefficient that shows ``rgb`` from every side: (rgb − ½) / Y₀₀."""
    return (rgb - 0.5) / Y00

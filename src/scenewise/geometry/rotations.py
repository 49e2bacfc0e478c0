"""Quaternions (wxyz) and rotation matrices."""

import torch
from jaxtyping import Float
from torch import Tensor


def rotation_from_quat(quats: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices of quaternions.

    Args:
        quats: wxyz, any non-zero length (normalised here).

    Returns:
        Proper rotations acting on column vectors.
    """
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1, eps=1e-30).unbind(-1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def quat_from_rotation(rotations: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternions (wxyz, w ≥ 0) of proper rotations; stable near half turns (largest of four candidates is used)."""
    m = rotations
    m00, m11, m22 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    squares = torch.stack([1 + m00 + m11 + m22, 1 + m00 - m11 - m22, 1 - m00 + m11 - m22, 1 - m00 - m11 + m22], dim=-1)
    roots = squares.clamp_min(0).sqrt()
    yz, zx, xy = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    sxy, szx, syz = m[..., 1, 0] + m[..., 0, 1], m[..., 0, 2] + m[..., 2, 0], m[..., 2, 1] + m[..., 1, 2]
    candidates = torch.stack(
        [
            torch.stack([squares[..., 0], yz, zx, xy], dim=-1),
            torch.stack([yz, squares[..., 1], sxy, szx], dim=-1),
            torch.stack([zx, sxy, squares[..., 2], syz], dim=-1),
            torch.stack([xy, szx, syz, squares[..., 3]], dim=-1),
        ],
        dim=-2,
    )
    best = roots.argmax(dim=-1)[..., None, None].expand(*roots.shape[:-1], 1, 4)
    quats = torch.nn.functional.normalize(candidates.gather(-2, best)[..., 0, :], dim=-1)
    return torch.where(quats[..., :1] < 0, -quats, quats)

"""What a camera sees of Gaussians that need not all be in memory."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool

from scenewise.kernels.splats.constants import ALPHA_MIN, DILATION, FRUSTUM_MARGIN
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.gaussians import GaussianRows, Gaussians, gaussian_numbers, joined_gaussians

SeenBy = Callable[[Cameras], Gaussians]
"""What a camera sees: the same Gaussians for all, those in its view, or those decoded for it."""

_FARTHEST = math.sqrt(-2.0 * math.log(ALPHA_MIN))
"""Standard deviations at which an opaque Gaussian ends."""
_SLACK = 1.0  # pixels, for what rounding may do
_ROWS = 1 << 16
_RENDERED_BYTES = 200  # a Gaussian in the rasteriser, without gradients


def seen_by(rows: GaussianRows, device: torch.device | str = "cpu", *, room: int | None = None) -> SeenBy:
    """What cameras see of Gaussians: of all of them in memory where there is room, else of those in view, read for each camera.

    Args:
        rows: in memory or on the disk.
        device: where they are to be.
        room: memory that they may take with what rendering needs, bytes; None for no limit.
    """
    each = 4 * gaussian_numbers(rows.sh_degree) + _RENDERED_BYTES
    if room is not None and len(rows) * each > room:
        return lambda camera: in_view(rows, camera).to(device)
    whole = rows.in_memory().to(device)
    return lambda camera: whole


def in_view(rows: GaussianRows, camera: Cameras) -> Gaussians:
    """The Gaussians that a picture may show, in their order; what is left out cannot reach any of its pixels.

    Args:
        rows: gone through once; beside the result a block of them is in memory.
        camera: one, without batch axes.
    """
    parts = [block.select(_may_be_seen(block, camera)) for block in rows.blocks(_ROWS)]
    return joined_gaussians(parts) if parts else rows.in_memory()


def _may_be_seen(gaussians: Gaussians, camera: Cameras) -> Bool[torch.Tensor, " n"]:
    """As :func:`scenewise.kernels.splats.reference.project` has it, of opaque spheres of each Gaussian's largest scale."""
    pose, K = camera.camera_from_world.to(torch.float32), camera.K.to(torch.float32)
    x, y, z = (gaussians.means @ pose[:3, :3].T + pose[:3, 3]).unbind(1)
    in_front = z > camera.near
    z = torch.where(in_front, z, 1.0)
    sizes = gaussians.log_scales.amax(dim=1).exp()
    seen = in_front
    for along, axis, pixels in ((x, 0, camera.width), (y, 1, camera.height)):
        focal, center = K[axis, axis], K[axis, 2]
        margin = FRUSTUM_MARGIN * 0.5 * pixels / focal
        slope = (along / z).clamp(-center / focal - margin, (pixels - center) / focal + margin)
        reach = _FARTHEST * ((focal * sizes / z).square() * (1.0 + slope.square()) + DILATION).sqrt() + _SLACK
        place = focal * along / z + center
        seen = seen & (place + reach > 0.0) & (place - reach < pixels)
    return seen

"""Anchors as explicit Gaussians that any viewer opens: what children look like from where the photographs were taken.

Not in the papers.  A child's place does not depend on the camera; its colour, opacity, scale and rotation do.  Each becomes what
the views say of it: colours as harmonics fitted by least squares, scales and rotations as means, all weighted by how much a view
sees of the child; opacity as the mean over all views that decode its anchor, since weighing it by what is seen forgets those that
decode nothing (half a decibel on the fox).  What is lost comes back in a few hundred steps of ordinary training
(:mod:`scenewise.methods.momentum_gs.settling`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from scenewise.geometry.spherical_harmonics import Y00, sh_basis
from scenewise.kernels.anchor_decoder import DecoderHeads
from scenewise.parts.splats.anchors.field import decoded_anchors
from scenewise.rendering import render
from scenewise.scenes.anchors import Anchors
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.gaussians import SH_COEFFICIENTS, Gaussians, joined_gaussians

_ANCHORS_AT_ONCE = 1024
BAKING_BYTES = 40_000_000
"""What the equations of the children of so many anchors take, to degree 3."""
_RIDGE = 0.05
"""Coefficients above degree 0 are pulled towards zero by this part of a child's weight: few views do not tell them apart."""
_FAINTEST = 1.0 / 255.0


@dataclass(frozen=True)
class BakeSettings:
    """How anchors become Gaussians.

    Attributes:
        sh_degree: of the colours.
        most_views: evenly spaced ones of more are looked at.
        faintest: children that no view sees more of than this, Σ α·T over pixels and views, are left out.
    """

    sh_degree: int = 3
    most_views: int = 96
    faintest: float = 0.05


@dataclass(frozen=True)
class Baked:
    """Explicit Gaussians and where they come from.

    Attributes:
        gaussians: as stored in scene folders; on the CPU.
        row_of: the anchor of each.
    """

    gaussians: Gaussians
    row_of: Int64[Tensor, "n"]


@torch.no_grad()
def baked(anchors: Anchors, heads: DecoderHeads, cameras: Sequence[Cameras], settings: BakeSettings | None = None) -> Baked:
    """The Gaussians that anchors are to those cameras.

    Args:
        anchors: all that the cameras see, in front of each other as they are.
        heads: their decoder.
        cameras: at the size that is to count; without batch axes.
        settings: see there.
    """
    settings = BakeSettings() if settings is None else settings
    step = max(1, -(-len(cameras) // settings.most_views))
    looking = list(cameras[::step])
    weights = [_weights(anchors, heads, camera) for camera in looking]
    parts: list[Gaussians] = []
    rows: list[Tensor] = []
    for begin in range(0, len(anchors), _ANCHORS_AT_ONCE):
        index = torch.arange(begin, min(len(anchors), begin + _ANCHORS_AT_ONCE), device=anchors.positions.device)
        sums = _Sums(len(index), anchors.slots, settings.sh_degree, anchors.positions.device)
        part = anchors.select(index)
        for camera, (child, weight) in zip(looking, weights):
            sums.add(part, heads, camera, _dense(child, weight, begin * anchors.slots, len(index) * anchors.slots))
        gaussians, row_of = sums.gaussians(part, settings)
        parts.append(gaussians.to("cpu"))
        rows.append((row_of + begin).cpu())
    return Baked(joined_gaussians(parts), torch.cat(rows))


def _weights(anchors: Anchors, heads: DecoderHeads, camera: Cameras) -> tuple[Int64[Tensor, " n"], Float[Tensor, " n"]]:
    """Number and contribution of every child that a camera sees."""
    decoded = decoded_anchors(anchors, heads, camera)
    found = render(decoded.gaussians, camera, contribution=True).contribution
    assert found is not None and decoded.row_of is not None and decoded.slot_of is not None, "anchors were decoded"
    seen = found.weight_sum > 0.0
    return (decoded.row_of * anchors.slots + decoded.slot_of)[seen], found.weight_sum[seen]


def _dense(child: Int64[Tensor, " n"], weight: Float[Tensor, " n"], begin: int, count: int) -> Float[Tensor, " count"]:
    """The weights of ``count`` children from number ``begin`` on."""
    inside = (child >= begin) & (child < begin + count)
    return weight.new_zeros(count).index_copy_(0, child[inside] - begin, weight[inside])


@final
class _Sums:
    """Weighted sums over views, one entry per child."""

    def __init__(self, anchors: int, slots: int, degree: int, device: torch.device) -> None:
        n, terms = anchors * slots, SH_COEFFICIENTS[degree]
        self._slots, self._degree = slots, degree
        self.weight = torch.zeros(n, device=device)
        self.opacity = torch.zeros(n, device=device)
        self.looks = torch.zeros(n, device=device)
        self.log_scale = torch.zeros(n, 3, device=device)
        self.quat = torch.zeros(n, 4, device=device)
        self.normal = torch.zeros(n, terms, terms, device=device)
        self.right = torch.zeros(n, terms, 3, device=device)

    def add(self, anchors: Anchors, heads: DecoderHeads, camera: Cameras, weights: Float[Tensor, " n"]) -> None:
        """What one view says."""
        decoded = decoded_anchors(anchors, heads, camera)
        assert decoded.row_of is not None and decoded.slot_of is not None, "anchors were decoded"
        assert decoded.visible is not None and decoded.opacities is not None, "anchors were decoded"
        # Children that a view decodes as nothing count too: their opacity is a mean over all who might see them.
        self.opacity.view(-1, self._slots)[decoded.visible] += decoded.opacities.clamp_min(0.0)
        self.looks.view(-1, self._slots)[decoded.visible] += 1.0
        child = decoded.row_of * self._slots + decoded.slot_of
        kept = weights[child] > 0.0
        child, gaussians = child[kept], decoded.gaussians.select(kept)
        weight = weights[child]
        self.weight[child] += weight
        self.log_scale[child] += weight[:, None] * gaussians.log_scales
        turned = (self.quat[child] * gaussians.quats).sum(dim=1, keepdim=True) < 0.0
        self.quat[child] += weight[:, None] * torch.where(turned, -gaussians.quats, gaussians.quats)
        center = camera.centers_in_world.to(gaussians.means)
        basis = sh_basis(torch.nn.functional.normalize(gaussians.means - center, dim=1), self._degree)
        self.normal[child] += weight[:, None, None] * basis[:, :, None] * basis[:, None, :]
        self.right[child] += weight[:, None, None] * basis[:, :, None] * (gaussians.sh0 * Y00)

    def gaussians(self, anchors: Anchors, settings: BakeSettings) -> tuple[Gaussians, Int64[Tensor, " n"]]:
        """The children that were seen, and the row of each."""
        kept = (self.weight > settings.faintest).nonzero()[:, 0]
        weight = self.weight[kept]
        opacity = (self.opacity[kept] / self.looks[kept]).clamp(_FAINTEST, 1.0 - 1e-4)
        normal = self.normal[kept]
        ridge = torch.full((normal.shape[1],), _RIDGE, device=normal.device)
        ridge[0] = 1e-6
        normal = normal + torch.diag_embed(weight[:, None] * ridge)
        harmonics = torch.cholesky_solve(self.right[kept], torch.linalg.cholesky(normal))
        means = anchors.positions[:, None] + anchors.offsets * anchors.log_scales[:, None, :3].exp()
        return Gaussians(
            means=means.flatten(0, 1)[kept],
            log_scales=self.log_scale[kept] / weight[:, None],
            quats=torch.nn.functional.normalize(self.quat[kept], dim=1),
            logit_opacities=torch.logit(opacity),
            sh0=harmonics[:, :1],
            shN=harmonics[:, 1:],
        ), kept // self._slots

"""The losses of ConDense on the rays of a step.

With f(u) the 2D feature of a pixel and g(r) the normalised rendered 3D feature of its ray, all of unit length:

    consistency  mean (1 − f·g)                            over rays that the volume stops
    prior        mean ‖A f + b − f⁰‖² / variance of f⁰     over cells; f⁰: of the frozen model, A and b: the translator
    contrast     cross entropy of f·g / τ over all rays of the step, both ways; rays that show the same place are left out
    agreement    mean (1 − f(u)·f(u′))                     over pixels u′ of other pictures that show the same point
    keypoints    binary cross entropy of both scores with how surely a ray's match is told from all others, and of each score with
                 the other

The paper has consistency, a term that keeps the prior, and key points in both branches; the rest is ours (README).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from scenewise.engine.distribution import ALONE, Ranks
from scenewise.methods.condense.options import CondenseConfig

_SURE = 0.05
"""Difference of cosines between the right match and the best wrong one that counts as a clear one."""


@dataclass(frozen=True)
class RayFeatures:
    """What both branches say about the rays of a process.

    Attributes:
        image: unit features of the pixels.
        volume: unit rendered features.
        image_logits: score of the pixels, before the sigmoid.
        volume_scores: rendered score, in [0, 1].
        twin: unit features of the pixels that show the same points; anything where there is none.
        has_twin: where there is one.
        stopped: rays that end in the volume.
        point: what the pixels show, metres, in axes of their own scan.
        scan: numbers of the scans, not shared with other processes.
    """

    image: Float[Tensor, "rays dim"]
    volume: Float[Tensor, "rays dim"]
    image_logits: Float[Tensor, "rays"]
    volume_scores: Float[Tensor, "rays"]
    twin: Float[Tensor, "rays dim"]
    has_twin: Bool[Tensor, "rays"]
    stopped: Bool[Tensor, "rays"]
    point: Float[Tensor, "rays 3"]
    scan: Int64[Tensor, "rays"]


@dataclass(frozen=True)
class Losses:
    """What one process adds to the loss of a step; the sum over processes is the step's.

    Attributes:
        terms: unweighted, by the names of :class:`~scenewise.methods.condense.options.LossWeights`.
        figures: for people: cosine of the two features, how often the right pixel is the best of all, how sure matches are.
    """

    terms: Mapping[str, Float[Tensor, ""]]
    figures: Mapping[str, float]


@dataclass(frozen=True)
class Memory:
    """Features of rays of the last steps, of scans that are others for the most part: what a sure match is told from as well.

    They are not contrasted with: that drove all features one way, away from what they had been, and made them alike.

    Attributes:
        image: unit features of pixels.
        volume: unit rendered features.
    """

    image: Float[Tensor, "remembered dim"]
    volume: Float[Tensor, "remembered dim"]

    @staticmethod
    def empty(dim: int, device: torch.device) -> "Memory":
        """Nothing remembered."""
        none = torch.zeros(0, dim, device=device)
        return Memory(none, none)

    def with_rays(self, rays: "RayFeatures", most: int, ranks: Ranks) -> "Memory":
        """The newest ``most`` rays of all processes; the same in each of them."""
        image, volume = (ranks.gather(each[rays.stopped].detach())[0] for each in (rays.image, rays.volume))
        first = max(0, len(self.image) + len(image) - most)
        return Memory(torch.cat([self.image, image])[first:], torch.cat([self.volume, volume])[first:])


def ray_losses(rays: RayFeatures, config: CondenseConfig, memory: Memory, ranks: Ranks = ALONE) -> dict[str, Tensor]:
    """Consistency, contrast, agreement and key points of the rays that the volume stops; and figures under "figures.…"."""
    kept = rays.stopped
    image, volume = rays.image[kept], rays.volume[kept]
    twins = kept & rays.has_twin
    count, twin_count = ranks.total([float(kept.sum()), float(twins.sum())])
    count, twin_count = max(count, 1.0), max(twin_count, 1.0)
    right = (image * volume).sum(1)
    found: dict[str, Tensor] = {
        "consistency": (1.0 - right).sum() / count,
        "agreement": (1.0 - (rays.image[twins] * rays.twin[twins]).sum(1)).sum() / twin_count,
    }
    matching = _matching(rays, config, memory, ranks)
    found["contrast"] = matching.cross_entropy / count
    sure = torch.sigmoid((right.detach() - matching.best_wrong) / _SURE)
    found["keypoints"] = _keypoints(rays.image_logits[kept], rays.volume_scores[kept], sure) / count
    with torch.no_grad():
        found["figures.cosine"] = right.sum() / count
        found["figures.matched"] = (right > matching.best_wrong).float().sum() / count
        found["figures.sure"] = sure.sum() / count
    return found


@dataclass(frozen=True)
class _Matching:
    """How rays are told from others.

    Attributes:
        cross_entropy: of both directions together, summed over this process's rays.
        best_wrong: largest cosine of either feature with the other branch's feature of a ray that shows another place.
    """

    cross_entropy: Float[Tensor, ""]
    best_wrong: Float[Tensor, "kept"]


def _matching(rays: RayFeatures, config: CondenseConfig, memory: Memory, ranks: Ranks) -> _Matching:
    kept = rays.stopped
    image, volume = rays.image[kept], rays.volume[kept]
    all_image, first = ranks.gather(image)
    all_volume, _ = ranks.gather(volume)
    place = torch.cat([rays.point[kept], _scan_numbers(rays, ranks)[:, None]], dim=1)
    all_places, _ = ranks.gather(place)
    if not len(all_image):
        return _Matching(image.sum() + volume.sum(), right_of_none(image))
    own = torch.arange(len(image), device=image.device)
    # The same place is no wrong answer: it is neither counted nor can it win.
    near = torch.cdist(place[:, :3], all_places[:, :3]) < config.far
    near &= place[:, 3:] == all_places[None, :, 3]
    near[own, first + own] = False
    entropy = image.new_zeros(())
    best = torch.full((len(image),), -1.0, device=image.device)
    for asked, others, before in ((image, all_volume, memory.volume), (volume, all_image, memory.image)):
        cosines = asked @ others.T
        logits = (cosines / config.temperature).masked_fill(near, -torch.inf)
        entropy = entropy + 0.5 * F.cross_entropy(logits, first + own, reduction="sum")
        with torch.no_grad():
            wrong = cosines.masked_fill(near, -1.0)
            wrong[own, first + own] = -1.0
            best = torch.maximum(best, wrong.amax(1))
            if len(before):
                best = torch.maximum(best, (asked @ before.T).amax(1))
    return _Matching(entropy, best)


def right_of_none(image: Float[Tensor, "none dim"]) -> Float[Tensor, "none"]:
    """No cosine at all."""
    return image.new_zeros(len(image))


def _scan_numbers(rays: RayFeatures, ranks: Ranks) -> Float[Tensor, "kept"]:
    """Numbers of scans that no other process uses."""
    return (rays.scan[rays.stopped] * ranks.size + ranks.rank).to(rays.point.dtype)


def _keypoints(logits: Float[Tensor, "kept"], scores: Float[Tensor, "kept"], sure: Float[Tensor, "kept"]) -> Float[Tensor, ""]:
    """Both scores learn how sure a match is, and each what the other says."""
    # The cross entropy refuses NaN with an error of its own; the features, which are NaN too, tell the trainer.
    scores, sure = scores.nan_to_num(0.5).clamp(1e-4, 1.0 - 1e-4), sure.nan_to_num(0.5)
    said = torch.sigmoid(logits).detach().nan_to_num(0.5)
    of_targets = F.binary_cross_entropy_with_logits(logits, sure, reduction="sum")
    of_targets = of_targets + F.binary_cross_entropy(scores, sure, reduction="sum")
    of_each_other = F.binary_cross_entropy_with_logits(logits, scores.detach(), reduction="sum")
    of_each_other = of_each_other + F.binary_cross_entropy(scores, said, reduction="sum")
    return of_targets + of_each_other


def prior_loss(
    translated: Float[Tensor, "cells prior_dim"], prior: Float[Tensor, "cells prior_dim"], variance: float, count: float
) -> Float[Tensor, ""]:
    """Squared error of the translated features as a share of the prior's variance, summed over cells and divided by ``count``."""
    return (translated - prior).square().sum() / (variance * count)


def effective_rank(features: Float[Tensor, "rows dim"]) -> float:
    """exp of the entropy of the singular values as shares of their sum: 1 where all features are alike up to their length.

    Not of centred features: those that have collapsed to one vector differ from it in noise, which has all dimensions.

    Source: Roy and Vetterli 2007, "The effective rank: a measure of effective dimensionality", eq. 3.
    """
    values = torch.linalg.svdvals(features.detach().double())
    total = float(values.sum())
    if total == 0.0:
        return 1.0
    shares = values / total
    return float(torch.exp(-(shares * shares.clamp_min(1e-300).log()).sum()))

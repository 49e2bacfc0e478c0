"""What is minimised: captions must find their pictures, and nouns must know whether they are visible."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from scenewise.methods.small_clip.batches import Batch
from scenewise.methods.small_clip.config import SmallClipConfig
from scenewise.networks.small_clip import SmallClip

_MAX_LOGIT_SCALE = 100.0


class VisibilityScale(nn.Module):
    """Turns a cosine into the log odds of "it is visible"; needed in training only."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(20.0)))
        self.bias = nn.Parameter(torch.tensor(-5.0))

    def forward(self, cosines: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return self.log_scale.exp() * cosines + self.bias


@dataclass(frozen=True)
class Losses:
    """Parts of the objective.

    Attributes:
        total: what is minimised.
        caption: pictures against captions.
        visible: "is it visible?" per noun and affordance.
        subject: which noun the picture is of.
        patches: "is it visible?" answered by patches; 0 where they are not asked.
    """

    total: Float[Tensor, ""]
    caption: Float[Tensor, ""]
    visible: Float[Tensor, ""]
    subject: Float[Tensor, ""]
    patches: Float[Tensor, ""]


def caption_loss(
    images: Float[Tensor, "batch dim"],
    texts: Float[Tensor, "batch dim"],
    logit_scale: Float[Tensor, ""],
    entailed: Bool[Tensor, "batch batch"],
) -> Float[Tensor, ""]:
    """Symmetric InfoNCE (CLIP, arXiv 2103.00020, Fig. 3) without the pairs that are true although not matched.

    Args:
        images: unit embeddings.
        texts: unit embeddings, row i of picture i.
        logit_scale: inverse temperature.
        entailed: [image, text] pairs left out of the denominators; the diagonal is False.
    """
    logits = (logit_scale * images @ texts.T).masked_fill(entailed, -1e4)
    own = torch.arange(len(images), device=images.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def subject_loss(
    cosines: Float[Tensor, "batch nouns"], logit_scale: Float[Tensor, ""], subjects: Int64[Tensor, "batch"]
) -> Float[Tensor, ""]:
    """Cross-entropy of the noun a picture is of, over the pictures that are of something."""
    has_subject = subjects >= 0
    if not bool(has_subject.any()):
        return cosines.new_zeros(())
    return F.cross_entropy(logit_scale * cosines[has_subject], subjects[has_subject])


def pooled(cosines: Float[Tensor, "batch patches prompts"], scale: float) -> Float[Tensor, "batch prompts"]:
    """Smooth maximum over patches, log mean exp(scale·c) / scale: their mean for scale → 0, the largest for scale → ∞."""
    return (torch.logsumexp(scale * cosines, dim=1) - math.log(cosines.shape[1])) / scale


def losses_of(
    network: SmallClip,
    visibility: VisibilityScale,
    batch: Batch,
    config: SmallClipConfig,
    nouns: int,
    patch_weight: float = 0.0,
    patch_visibility: VisibilityScale | None = None,
) -> Losses:
    """The objective on a batch.

    Args:
        network: both towers.
        visibility: scale and bias of the noun question to pictures.
        batch: pictures, captions, prompts.
        config: weights of the parts.
        nouns: how many of the prompts, from the first, are classes.
        patch_weight: of the noun question to patches; 0 does not ask it.
        patch_visibility: scale and bias of that question; needed where it is asked.
    """
    device = batch.images.device
    asks_patches = patch_weight > 0 and patch_visibility is not None
    patches = None
    with torch.autocast(device.type, torch.bfloat16, enabled=config.is_mixed_precision):
        if asks_patches:
            images, patches = network.vision.with_patches(batch.images, batch.kept)
        else:
            images = network.vision(batch.images, batch.kept)
        texts = network.text(torch.cat([batch.captions, batch.prompts]))
    images, texts = F.normalize(images.float(), dim=-1), F.normalize(texts.float(), dim=-1)
    told, asked = texts[: len(images)], texts[len(images) :]
    scale = network.log_logit_scale.exp().clamp(max=_MAX_LOGIT_SCALE)
    caption = caption_loss(images, told, scale, batch.entailed)
    cosines = images @ asked.T
    visible = F.binary_cross_entropy_with_logits(visibility(cosines), batch.answers)
    subject = subject_loss(cosines[:, :nouns], scale, batch.subjects)
    total = caption + config.noun_weight * (config.visible_weight * visible + subject)
    by_patches = total.new_zeros(())
    if patch_visibility is not None:
        # A gradient of zero where patches are not asked, so that the optimiser has a state for it from the first step on.
        total = total + 0.0 * (patch_visibility.log_scale + patch_visibility.bias)
    if patches is not None and patch_visibility is not None:
        answers = pooled(F.normalize(patches.float(), dim=-1) @ asked.T, config.pooling_scale)
        by_patches = F.binary_cross_entropy_with_logits(patch_visibility(answers), batch.answers)
        total = total + patch_weight * config.noun_weight * config.visible_weight * by_patches
    return Losses(total, caption, visible, subject, by_patches)

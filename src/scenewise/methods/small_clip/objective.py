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
    """

    total: Float[Tensor, ""]
    caption: Float[Tensor, ""]
    visible: Float[Tensor, ""]
    subject: Float[Tensor, ""]


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


def losses_of(network: SmallClip, visibility: VisibilityScale, batch: Batch, config: SmallClipConfig, nouns: int) -> Losses:
    """The objective on a batch.

    Args:
        network: both towers.
        visibility: scale and bias of the noun question.
        batch: pictures, captions, prompts.
        config: weights of the parts.
        nouns: how many of the prompts, from the first, are classes.
    """
    device = batch.images.device
    with torch.autocast(device.type, torch.bfloat16, enabled=config.is_mixed_precision):
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
    return Losses(total, caption, visible, subject)

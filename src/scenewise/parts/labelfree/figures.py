"""What a step says about itself beside its losses, and how far labels and predictions collapse onto one class."""

from collections.abc import Mapping

import torch
from jaxtyping import Int64
from torch import Tensor

from scenewise.parts.labelfree.label_sources import SOURCES
from scenewise.parts.labelfree.steps import LossContext, LossTerm
from scenewise.parts.labelfree.supervision import Modality

_LOOKED_AT = 4096  # rows whose predictions the collapse monitor counts


def shares(modality: Modality, counts: Int64[Tensor, "sources"]) -> dict[str, float]:
    """Part of a student's labels that each source gave."""
    total = max(1, int(counts.sum()))
    return {f"share/{source}/{modality}": int(count) / total for source, count in zip(SOURCES, counts.tolist())}


@torch.no_grad()
def step_figures(context: LossContext, terms: Mapping[str, LossTerm]) -> dict[str, float]:
    """What sources and losses noted, rows trained on, and the largest class's share of labels and predictions.

    Args:
        context: of a step that is over.
        terms: its losses by name.
    """
    figures = dict(context.figures)
    for name, term in terms.items():
        figures |= {f"{name}/{key}": value for key, value in term.extra.items()}
    for modality, supervision in context.supervision.items():
        figures[f"rows/{modality}"] = float(len(supervision))
        figures[f"largest_class/labels/{modality}"] = largest_share(supervision.class_ids)
        output = context.outputs[modality]
        every = max(1, len(output) // _LOOKED_AT)
        rows = torch.arange(0, len(output), every, device=output.latent.device)
        figures[f"largest_class/predictions/{modality}"] = largest_share(output.logits(context.text, rows).argmax(1))
    return figures


def largest_share(class_ids: Int64[Tensor, "rows"]) -> float:
    """Share of the most frequent class; 0 without rows."""
    return float(torch.bincount(class_ids).max()) / len(class_ids) if len(class_ids) else 0.0

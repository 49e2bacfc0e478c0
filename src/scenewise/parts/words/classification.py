"""From similarities with text to class names, and to how well a place answers a query."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Float16, Float32, Int32
from torch import Tensor

from scenewise.errors import ConventionError, ShapeError
from scenewise.scenes.vocabularies import Vocabulary

CANONICAL_PHRASES = ("object", "things", "stuff", "texture")
"""What a place is compared with when nothing better is known (Kerr et al. 2023, arXiv 2303.09553, section 3.4)."""
_CHUNK_NUMBERS = 1 << 22  # of a table held at once: 16 MB

Scores = Float32[np.ndarray, "*shape queries"] | Float[Tensor, "*shape queries"]


def classify_scores(
    scores: Scores,
    vocabulary: Vocabulary,
    logit_scale: float,
    *,
    probability_threshold: float = 0.0,
    area_threshold: float | None = None,
    background: int | None = None,
) -> tuple[Int32[np.ndarray, "*shape"], Float32[np.ndarray, "*shape"]]:
    """The best class of every element.

    p = softmax over all queries of logit_scale·s; the probability of a class is the largest of its phrases.  Source: Bai et al.
    2024 (SC-CLIP), released code.

    Args:
        scores: cosines with ``vocabulary.queries``, or logits with ``logit_scale`` 1.  A row that is not finite is unknown.
        vocabulary: the classes.
        logit_scale: factor before the softmax.
        probability_threshold: elements whose best class is less probable become background, or −1 where there is none.
        area_threshold: classes that win less than this share of the elements that are not background are dropped.
        background: class id of the background.

    Returns:
        Class ids (−1 = unknown) and the probability of that class (0 where unknown).

    Raises:
        ShapeError: the last axis is not one score per query.
        ConventionError: a background that is no class.
    """
    queries = len(vocabulary.queries)
    if scores.shape[-1] != queries:
        raise ShapeError("scores", expected=f"{queries} columns, one per phrase of the vocabulary", got=scores.shape[-1])
    groups = torch.from_numpy(vocabulary.class_of_query)
    return _classified(
        scores,
        len(vocabulary),
        lambda rows: _largest_of_group(torch.softmax(rows * logit_scale, dim=1), groups, len(vocabulary)),
        probability_threshold,
        area_threshold,
        background,
    )


def classify_probabilities(
    probabilities: Scores,
    *,
    probability_threshold: float = 0.0,
    area_threshold: float | None = None,
    background: int | None = None,
) -> tuple[Int32[np.ndarray, "*shape"], Float32[np.ndarray, "*shape"]]:
    """The most probable class of every element; arguments and results as in :func:`classify_scores`.

    A row without any probability is unknown.
    """

    def unknown_where_empty(rows: Tensor) -> Tensor:
        return torch.where(rows.sum(dim=1, keepdim=True) > 0, rows, torch.nan)

    classes = probabilities.shape[-1]
    return _classified(probabilities, classes, unknown_where_empty, probability_threshold, area_threshold, background)


def class_probabilities(
    scores: Float32[np.ndarray, "*shape queries"], vocabulary: Vocabulary, logit_scale: float
) -> Float32[np.ndarray, "*shape classes"]:
    """The probability of every class, as :func:`classify_scores` compares them: they need not sum to 1 where there are synonyms.

    Raises:
        ShapeError: the last axis is not one score per query.
    """
    queries = len(vocabulary.queries)
    if scores.shape[-1] != queries:
        raise ShapeError("scores", expected=f"{queries} columns, one per phrase of the vocabulary", got=scores.shape[-1])
    rows = torch.from_numpy(np.ascontiguousarray(scores)).reshape(-1, queries)
    groups = torch.from_numpy(vocabulary.class_of_query)
    found: np.ndarray = _largest_of_group(torch.softmax(rows * logit_scale, dim=1), groups, len(vocabulary)).numpy()
    return found.reshape(*scores.shape[:-1], len(vocabulary))


def relevancy(
    features: Float32[np.ndarray, "n dim"] | Float16[np.ndarray, "n dim"],
    text: Float32[np.ndarray, "phrases dim"],
    canonical: Float32[np.ndarray, "others dim"],
    logit_scale: float,
) -> Float32[np.ndarray, "n"]:
    """How much better elements fit a query than anything else.

    max over phrases q of min over others c of exp(s·f·q) / (exp(s·f·q) + exp(s·f·c)), which is σ(s·(max f·q − max f·c)).
    Source: Kerr et al. 2023 (LERF), arXiv 2303.09553, section 3.4.

    Args:
        features: unit vectors; a zero row was never seen and gets 0.
        text: unit embeddings of the phrases that mean what is looked for.
        canonical: unit embeddings of what it is compared with.
        logit_scale: s.

    Returns:
        In [0, 1]; ½ where the query fits as well as the best of the others.

    Raises:
        ShapeError: no phrase, nothing to compare with, or another dimension.
    """
    for name, rows in (("text", text), ("canonical", canonical)):
        if len(rows) == 0 or rows.shape[1] != features.shape[1]:
            raise ShapeError(name, expected=f"at least one row of {features.shape[1]} numbers", got=f"{rows.shape}")
    both = torch.from_numpy(np.concatenate([text, canonical])).T
    answer = np.empty(len(features), dtype=np.float32)
    chunk = max(1, _CHUNK_NUMBERS // (both.shape[1] + features.shape[1]))
    for start in range(0, len(features), chunk):
        part = torch.from_numpy(features[start : start + chunk]).float()
        scores = part @ both
        margin = scores[:, : len(text)].amax(dim=1) - scores[:, len(text) :].amax(dim=1)
        seen = part.square().sum(dim=1) > 0
        answer[start : start + chunk] = torch.where(seen, torch.sigmoid(logit_scale * margin), 0.0).numpy()
    return answer


def _largest_of_group(values: Float[Tensor, "n queries"], group: Tensor, count: int) -> Float[Tensor, "n classes"]:
    if count == values.shape[1]:
        return values
    best = values.new_zeros(len(values), count)
    return best.scatter_reduce_(1, group.to(values.device).expand(len(values), -1), values, "amax", include_self=False)


def _classified(
    table: Scores,
    classes: int,
    probabilities: Callable[[Tensor], Tensor],
    probability_threshold: float,
    area_threshold: float | None,
    background: int | None,
) -> tuple[Int32[np.ndarray, "*shape"], Float32[np.ndarray, "*shape"]]:
    if background is not None and not 0 <= background < classes:
        raise ConventionError("background", expected=f"a class from 0 to {classes - 1}", got=background)
    shape = tuple(table.shape[:-1])
    rows = (torch.from_numpy(table) if isinstance(table, np.ndarray) else table.detach()).reshape(-1, table.shape[-1])
    kept = torch.ones(classes, dtype=torch.bool, device=rows.device)
    class_ids, confidence = _best(rows, probabilities, kept)
    if area_threshold is not None:
        wins = torch.bincount(class_ids[class_ids >= 0], minlength=classes)
        if background is not None:
            wins[background] = 0
        kept = wins > area_threshold * wins.sum()
        if background is not None:
            kept[background] = True
        class_ids, confidence = _best(rows, probabilities, kept)
    weak = (confidence < probability_threshold) | (class_ids < 0)
    if background is None:
        confidence = torch.where(weak, 0.0, confidence)
    unknown = torch.full_like(class_ids, -1 if background is None else background)
    class_ids = torch.where(weak, torch.where(class_ids < 0, -1, unknown), class_ids)
    return (
        class_ids.to("cpu", torch.int32).numpy().reshape(shape),
        confidence.to("cpu", torch.float32).clamp(0.0, 1.0).numpy().reshape(shape),
    )


def _best(rows: Tensor, probabilities: Callable[[Tensor], Tensor], kept: Tensor) -> tuple[Tensor, Tensor]:
    """Best kept class and its probability per row; −1 and 0 where a row is not finite or nothing is kept."""
    class_ids = torch.full((len(rows),), -1, dtype=torch.int64, device=rows.device)
    confidence = torch.zeros(len(rows), dtype=torch.float32, device=rows.device)
    if not bool(kept.any()):
        return class_ids, confidence
    chunk = max(1, _CHUNK_NUMBERS // max(1, rows.shape[1]))
    for start in range(0, len(rows), chunk):
        part = probabilities(rows[start : start + chunk].float())
        known = part.isfinite().all(dim=1)
        best, index = part.masked_fill(~kept, -1.0).max(dim=1)
        class_ids[start : start + chunk] = torch.where(known, index, -1)
        confidence[start : start + chunk] = torch.where(known, best, 0.0)
    return class_ids, confidence

"""From a teacher's coarse field to a class for every pixel of the image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float32, Int32
from torch import Tensor

from scenewise.errors import ConventionError, ShapeError
from scenewise.parts.words.classification import classify_probabilities, classify_scores
from scenewise.scenes.dense_fields import DenseField, FieldKind
from scenewise.scenes.frames import ImageU8
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.teachers.protocol import Teacher
from scenewise.teachers.read_outs.refine import REMOVED, pixel_adaptive_refinement, prompt_denoising

_STRIP_NUMBERS = 1 << 24  # of a score table held at once: 64 MB
PAMR_DILATIONS = (8, 16)
"""Of local refinement, in pixels, as in NACLIP's code."""


@dataclass(frozen=True)
class ClassQuestion:
    """A list of classes in the form in which one teacher can be asked for it.

    Attributes:
        vocabulary: the classes, with the prompts that were used.
        text: unit embedding per phrase, for teachers of features; None for others.
        columns: per class, the columns of the teacher's probabilities that mean it; None for teachers of features.
    """

    vocabulary: Vocabulary
    text: Float32[np.ndarray, "queries dim"] | None = None
    columns: tuple[tuple[int, ...], ...] | None = None

    @property
    def unknown_classes(self) -> tuple[str, ...]:
        """Classes that the teacher never gives."""
        return tuple(name for name, own in zip(self.vocabulary.names, self.columns or ()) if not own)

    def scores(self, field: DenseField) -> Float32[np.ndarray, "rows columns scores"]:
        """Of each cell: cosines with all phrases, or a probability per class, the largest of its columns.

        Raises:
            ShapeError: the field has another dimension than the text or the columns.
        """
        if field.kind == "features":
            if self.text is None or self.text.shape[1] != field.values.shape[2]:
                dim = "probabilities" if self.text is None else f"{self.text.shape[1]} numbers per cell"
                raise ShapeError("field", expected=dim, got=f"features of {field.values.shape[2]}")
            return field.values @ self.text.T
        highest = max((max(own) for own in self.columns or () if own), default=-1)
        if self.columns is None or highest >= field.values.shape[2]:
            dim = "features" if self.columns is None else f"at least {highest + 1} columns"
            raise ShapeError("field", expected=dim, got=f"probabilities of {field.values.shape[2]} classes")
        table = np.zeros((*field.values.shape[:2], len(self.columns)), dtype=np.float32)
        for index, own in enumerate(self.columns):
            if own:
                table[..., index] = field.values[..., list(own)].max(axis=2)
        return table


def kind_of_answers(teacher: Teacher) -> FieldKind:
    """What a teacher's fields hold, before the first of them: a teacher that has a list but no text gives probabilities."""
    own = teacher.vocabulary()
    if own is None:
        return "features"
    try:
        teacher.embed_text(own.queries[:1], teacher.default_templates())
    except ConventionError:
        return "probabilities"
    return "features"


def ask_for_classes(teacher: Teacher, vocabulary: Vocabulary, kind: FieldKind = "features") -> ClassQuestion:
    """The question for the classes of a vocabulary, in the words and prompts that suit a teacher.

    Teachers of an open vocabulary embed every phrase with their own prompts.  Teachers with a fixed list are asked for those of
    its entries that are among a class's name and phrases, however they write spaces and capitals.

    Args:
        teacher: whom to ask.
        vocabulary: the classes; its templates are replaced by the teacher's.
        kind: of the teacher's fields.

    Raises:
        ConventionError: a phrase without text; or a fixed list without any of the classes or, where it is of text, without one.
    """
    own = teacher.vocabulary()
    templates = tuple(teacher.default_templates())
    if kind == "features":
        asked = replace(vocabulary, templates=templates)
        try:  # a teacher with a list may understand more than the names on it
            return ClassQuestion(asked, text=teacher.embed_text(asked.queries, templates))
        except ConventionError:
            if own is None:
                raise
    names = () if own is None else own.names
    position = {_folded(name): index for index, name in enumerate(names)}
    # Its own name first: "background" may stand for itself or for the words that describe it.
    wanted = [tuple(dict.fromkeys(map(_folded, (name, *words)))) for name, words in zip(vocabulary.names, vocabulary.phrases)]
    columns = tuple(tuple(position[word] for word in words if word in position) for words in wanted)
    missing = [name for name, found in zip(vocabulary.names, columns) if not found]
    if len(missing) == len(columns) or (missing and kind == "features"):
        raise ConventionError(
            f"classes for {teacher.name}",
            expected=f"{'all' if kind == 'features' else 'some'} of them among its own: {_listed(names)}",
            got=f"not {_listed(missing)}",
            fix="let its list name the classes, or use a teacher that understands any words",
        )
    if kind == "probabilities":
        return ClassQuestion(vocabulary, columns=columns)
    asked = replace(vocabulary, phrases=tuple(tuple(names[column] for column in found) for found in columns), templates=templates)
    return ClassQuestion(asked, text=teacher.embed_text(asked.queries, templates))


def without_improbable_classes(
    table: Float32[np.ndarray, "rows columns scores"],
    question: ClassQuestion,
    logit_scale: float,
    threshold: float,
    background: int | None = None,
) -> Float32[np.ndarray, "rows columns scores"]:
    """Scores of an image without the classes that none of its cells gives at least the probability ``threshold``.

    MaskCLIP's prompt denoising (Zhou et al. 2022, arXiv 2112.01071).  Probabilities are the ones that everything else goes by:
    at the scale of the softmax that follows (the paper's is 100), of the best of a class's phrases.  The background is kept.

    Args:
        table: :meth:`ClassQuestion.scores` of a field.
        question: the classes.
        logit_scale: before the softmax over all phrases; probabilities have none.
        threshold: 0 removes nothing; 0.5 in the paper.
        background: class id.

    Returns:
        The table with −100 in the columns of removed classes, or 0 where it is one of probabilities; where every class is removed
        NaN, which is no class.
    """
    if question.text is None:
        highest = table.max(axis=(0, 1))
        keep = (highest >= threshold) | (np.arange(len(highest)) == background)
        return np.where(keep, table, np.float32(0))
    groups = torch.from_numpy(question.vocabulary.class_of_query).long()
    cells = torch.from_numpy(table).flatten(0, 1)[None]
    left = prompt_denoising(cells, threshold=threshold, temperature=logit_scale, groups=groups, always_kept=background)[0]
    if bool((left == REMOVED).all()):
        left = torch.full_like(left, torch.nan)
    return left.reshape(table.shape).numpy()


@dataclass(frozen=True)
class PixelRules:
    """What decides about a pixel besides its scores.

    Attributes:
        probability_threshold: see :func:`~scenewise.parts.words.classification.classify_scores`.
        area_threshold: likewise.
        background: likewise.
        denoising_threshold: see :func:`without_improbable_classes`; None leaves it out.
        pamr_steps: steps of local refinement of the pixels' scores by likeness of colour
            (:func:`~scenewise.teachers.read_outs.refine.pixel_adaptive_refinement`); 0 leaves it out, 10 in NACLIP's code.
    """

    probability_threshold: float = 0.0
    area_threshold: float | None = None
    background: int | None = None
    denoising_threshold: float | None = None
    pamr_steps: int = 0


_BY_SCORES_ALONE = PixelRules()


def classify_pixels(
    field: DenseField,
    question: ClassQuestion,
    logit_scale: float,
    rules: PixelRules = _BY_SCORES_ALONE,
    image: ImageU8 | None = None,
) -> tuple[Int32[np.ndarray, "height width"], Float32[np.ndarray, "height width"]]:
    """Class and confidence of every pixel.

    Scores are made on the teacher's grid, brought to the pixels bilinearly and classified there, as SC-CLIP does (Bai et al.
    2024, arXiv 2411.15869, released code).  The image is done in strips, so memory does not grow with it; only an area threshold
    needs all pixels at once.

    Args:
        field: what the teacher says.
        question: the classes it was asked for.
        logit_scale: before the softmax over all phrases; probabilities have none.
        rules: what else decides.
        image: what the field is about, for the refinement.

    Returns:
        Class ids, −1 = unknown, and the probability of the class.

    Raises:
        ShapeError: a refinement without an image of the field's size.
    """
    height, width = field.height, field.width
    scores = question.scores(field)
    if rules.denoising_threshold is not None:
        scores = without_improbable_classes(scores, question, logit_scale, rules.denoising_threshold, rules.background)
    colors = None
    if rules.pamr_steps:
        if image is None or image.shape[:2] != (height, width):
            got = "none" if image is None else f"{image.shape[1]}×{image.shape[0]}"
            raise ShapeError("image", expected=f"the field's, {width}×{height} pixels", got=got)
        colors = image.transpose(2, 0, 1)[None]
    table = torch.from_numpy(scores)
    reach = rules.pamr_steps * max(PAMR_DILATIONS)  # rows beyond a strip that its refinement depends on
    rows = height if rules.area_threshold is not None else max(1, 2 * reach, _STRIP_NUMBERS // (width * table.shape[2]))
    class_ids = np.empty((height, width), dtype=np.int32)
    confidence = np.empty((height, width), dtype=np.float32)
    for top in range(0, height, rows):
        end = min(top + rows, height)
        if colors is None:
            part = pixels_of_grid(table, height, width, top, end)
        else:
            first, last = max(top - reach, 0), min(end + reach, height)
            coarse = pixels_of_grid(table, height, width, first, last).permute(2, 0, 1)[None]
            near = pixel_adaptive_refinement(
                torch.from_numpy(colors[:, :, first:last].astype(np.float32)),
                coarse,
                steps=rules.pamr_steps,
                dilations=PAMR_DILATIONS,
            )
            part = near[0, :, top - first : end - first].permute(1, 2, 0)
        if question.text is not None:
            class_ids[top:end], confidence[top:end] = classify_scores(
                part,
                question.vocabulary,
                logit_scale,
                probability_threshold=rules.probability_threshold,
                area_threshold=rules.area_threshold,
                background=rules.background,
            )
        else:
            class_ids[top:end], confidence[top:end] = classify_probabilities(
                part,
                probability_threshold=rules.probability_threshold,
                area_threshold=rules.area_threshold,
                background=rules.background,
            )
    return class_ids, confidence


def pixels_of_grid(
    table: Float[Tensor, "rows columns channels"], height: int, width: int, top: int = 0, end: int | None = None
) -> Float[Tensor, "strip width channels"]:
    """Some rows of pixels of an image from a grid that covers the whole of it.

    Bilinear with cell centres at (i + ½)·height/rows, beyond the outermost centres the cell's own value: what
    ``torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`` gives, a strip at a time and channels last.

    Args:
        table: values of the cells.
        height: of the image, pixels.
        width: of the image, pixels.
        top: first row of the strip.
        end: row after its last one; None for the image's end.
    """
    low, high, share = _between(table.shape[0], height, top, height if end is None else end)
    strip = torch.lerp(table[low], table[high], share[:, None, None].to(table))
    low, high, share = _between(table.shape[1], width, 0, width)
    return torch.lerp(strip[:, low], strip[:, high], share[None, :, None].to(table))


def _between(cells: int, pixels: int, first: int, end: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each pixel the cells on both sides of its centre, and how far towards the second it lies."""
    place = (torch.arange(first, end, dtype=torch.float64) + 0.5) * (cells / pixels) - 0.5
    place = place.clamp(0.0, cells - 1.0)
    low = place.floor().long()
    return low, (low + 1).clamp(max=cells - 1), place - low


def _listed(names: Sequence[str], most: int = 40) -> str:
    return ", ".join(names[:most]) + (f" … ({len(names)} in all)" if len(names) > most else "") if names else "none"


def _folded(phrase: str) -> str:
    return phrase.lower().replace("_", " ").replace("-", " ").strip()

"""Where labels come from in a step: what the teacher said, or what a student says now."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor
from torch.nn import functional

from scenewise.errors import ConventionError
from scenewise.parts.labelfree.batches import PictureBatch, PixelLinks
from scenewise.parts.labelfree.equations import cross_entropy_of_scores
from scenewise.parts.labelfree.sampling import scan_generators
from scenewise.parts.labelfree.steps import LossContext, LossTerm, StudentOutput
from scenewise.parts.labelfree.supervision import Modality, Supervision

SOURCES = ("clip", "self", "cross")
"""The teacher, the student itself, the other student: the order of shares and counts."""
CLIP, SELF, CROSS = range(3)

Granularity = Literal["step", "scene", "element"]
PointPool = Literal["none", "regions", "segments"]
_OTHER: dict[Modality, Modality] = {"points": "pixels", "pixels": "points"}


@dataclass(frozen=True)
class Fixed:
    """Labels that were made before training: :attr:`TrainingBatch.points` and :attr:`PictureBatch.labels`."""

    def __call__(self, context: LossContext, modality: Modality) -> tuple[Supervision, Int64[Tensor, "sources"]]:
        """All labelled rows.

        Raises:
            ConventionError: pixels are asked for in a step without pictures.
        """
        fixed = fixed_supervision(context, modality)
        return fixed, torch.tensor([len(fixed), 0, 0])


@dataclass(frozen=True)
class Switch:
    """Labels taken at random from the teacher, the student's own prediction or the other student's.

    Sources: CLIP2Scene (Chen et al. 2023), switchable self-training, shares (½, ½, 0); CNS (Chen et al. 2023), prediction
    consistency, shares (⅓, ⅓, ⅓).  Each student draws for itself.  With shares (1, 0, 0), and before ``from_epoch``, nothing is
    drawn and the result is that of :class:`Fixed`.

    A prediction is the argmax of logits, without gradient.  The other student's comes along the links Π: a point has the most
    frequent class of its pixels and a pixel that of its points (ties: the lowest class).  A point that no picture of this step
    shows has no cross label and is left out when that is drawn; a pixel without a point gets one only from its region.

    Attributes:
        shares: chances of clip, self and cross; sum 1.
        from_epoch: first epoch of switching, counted from 1.
        granularity: what one draw decides: all labels of a student in the step, those of a scene, or each element.
        pool_points: predicted labels of points are voted "regions": in each 2D region, carried there and back along Π (CNS's mask
            vote); "segments": in each geometric set; "none": not at all.
        pool_pixels: predicted labels of pixels are voted in 2D regions; pixels without a prediction get their region's.
        everywhere: a student's own prediction teaches every element, also those the teacher left open.  False: exactly the rows
            that the teacher labelled, as in CLIP2Scene's released code.
        min_region: pixels that a region needs to vote.
    """

    shares: tuple[float, float, float]
    from_epoch: int = 1
    granularity: Granularity = "step"
    pool_points: PointPool = "none"
    pool_pixels: bool = False
    everywhere: bool = True
    min_region: int = 100

    def __post_init__(self) -> None:
        if not all(0 <= share <= 1 for share in self.shares) or abs(sum(self.shares) - 1) > 1e-6:
            raise ConventionError("Switch.shares", expected="three shares that sum to 1", got=self.shares)

    def __call__(self, context: LossContext, modality: Modality) -> tuple[Supervision, Int64[Tensor, "sources"]]:
        """Rows of this step, and how many each source gave.

        Logs in :attr:`LossContext.figures` the share of the most frequent class among the rows of every source that gave any,
        "self/points/largest_class": near 1 means that the student teaches itself a single class.

        Raises:
            ConventionError: a source needs pictures, regions or a student that the step does not have.
        """
        if self.shares[CLIP] == 1 or context.epoch < self.from_epoch:
            return Fixed()(context, modality)
        source = self._drawn(context, modality)
        if isinstance(source, int):
            given = [self._rows(context, modality, source) if index == source else None for index in range(3)]
        else:
            given = []
            for index in range(3):
                rows = self._rows(context, modality, index) if bool((source == index).any()) else None
                if rows is not None:
                    mine = source[rows.element] == index
                    rows = Supervision(rows.element[mine], rows.class_ids[mine])
                given.append(rows)
        for index, rows in enumerate(given):
            if rows is not None and len(rows):
                context.figures[f"{SOURCES[index]}/{modality}/largest_class"] = largest_class_share(rows, len(context.text))
        some = [rows for rows in given if rows is not None]
        joined = Supervision(torch.cat([rows.element for rows in some]), torch.cat([rows.class_ids for rows in some]))
        return joined, torch.tensor([0 if rows is None else len(rows) for rows in given])

    def _drawn(self, context: LossContext, modality: Modality) -> int | Tensor:
        """The source of the whole step, or of each element."""
        chances = torch.tensor(self.shares, dtype=torch.float64)
        if self.granularity == "step":
            return int(torch.multinomial(chances, 1, generator=context.generator))
        generators = scan_generators(context.generator, context.batch.scans)
        counts = _elements_per_scan(context, modality)
        per_element = self.granularity == "element"
        drawn = [
            # Chances are drawn from by their sums: torch.multinomial is slow for many draws.
            torch.searchsorted(
                chances.cumsum(0), torch.rand(count if per_element else 1, generator=own, dtype=torch.float64), right=True
            )
            .clamp_max(2)
            .expand(count)
            for own, count in zip(generators, counts, strict=True)
        ]
        source = torch.cat(drawn).to(context.text.device)
        if modality == "points":
            return source
        pictures = _pictures(context)
        # Views of a scan lie together or not: each takes the next of its scan's draws.
        order = pictures.scan.argsort(stable=True)
        by_view = torch.empty_like(pictures.labels.flatten(1))
        by_view[order] = source.view(len(order), -1)
        return by_view.flatten()

    def _rows(self, context: LossContext, modality: Modality, source: int) -> Supervision:
        if source == CLIP:
            return fixed_supervision(context, modality)
        student: Modality = modality if source == SELF else _OTHER[modality]
        if student not in context.outputs:
            raise ConventionError(
                f"Switch.shares for {modality}", expected=f"a student of {student}", got=f"only {', '.join(context.outputs)}"
            )
        with torch.no_grad():
            if modality == "points":
                labels = self._own_points(context) if source == SELF else self._points_from_pixels(context)
            else:
                labels = self._own_pixels(context) if source == SELF else self._pixels_from_points(context)
            if source == SELF and not self.everywhere:
                fixed = fixed_supervision(context, modality)
                return Supervision(fixed.element, labels[fixed.element])
            element = (labels >= 0).nonzero()[:, 0]
            return Supervision(element, labels[element])

    def _own_points(self, context: LossContext) -> Tensor:
        said, classes = predicted_classes(context, "points"), len(context.text)
        if self.pool_points == "none":
            return said
        if self.pool_points == "segments":
            return _voted(said, context.batch.segments, classes)
        links = _links(context)
        # Points vote in the regions of the pixels that show them; a pixel of no region says what its point says.
        at_pixel = _voted(said[links.point], _region_ids(context, self.min_region)[_pixel_of(context, links)], classes)
        from_regions = mode_of_groups(links.point, at_pixel, len(said), classes)
        return torch.where(from_regions >= 0, from_regions, said)

    def _own_pixels(self, context: LossContext) -> Tensor:
        said = predicted_classes(context, "pixels")
        if not self.pool_pixels:
            return said
        return _voted(said, _region_ids(context, self.min_region), len(context.text))

    def _points_from_pixels(self, context: LossContext) -> Tensor:
        links, classes = _links(context), len(context.text)
        said = predicted_classes(context, "pixels")
        if self.pool_points == "regions":
            said = _voted(said, _region_ids(context, self.min_region), classes)
        labels = mode_of_groups(links.point, said[_pixel_of(context, links)], len(context.batch.segments), classes)
        return _voted(labels, context.batch.segments, classes) if self.pool_points == "segments" else labels

    def _pixels_from_points(self, context: LossContext) -> Tensor:
        links, classes = _links(context), len(context.text)
        pixel = _pixel_of(context, links)
        said = predicted_classes(context, "points")[links.point]
        linked, place = pixel.unique(return_inverse=True)
        labels = torch.full((_pictures(context).labels.numel(),), -1, dtype=torch.int64, device=pixel.device)
        labels[linked] = mode_of_groups(place, said, len(linked), classes)
        return _voted(labels, _region_ids(context, self.min_region), classes) if self.pool_pixels else labels


def fixed_supervision(context: LossContext, modality: Modality) -> Supervision:
    """What the teacher said, after refinement: rows of points, or all labelled pixels.

    Raises:
        ConventionError: pixels are asked for in a step without pictures.
    """
    if modality == "points":
        return context.batch.points

    def labelled_pixels() -> Supervision:
        labels = _pictures(context).labels.flatten()
        element = (labels >= 0).nonzero()[:, 0]
        return Supervision(element, labels[element])

    return context.once(("fixed", "pixels"), labelled_pixels)


def student_logits(context: LossContext, modality: Modality) -> Float[Tensor, "elements classes"]:
    """ψ(f, T̂) of every element that supervision can name: points, or pixels of the pictures.  Made once per step."""

    # With gradient also where a prediction without one asks first: the loss shares them.
    @torch.enable_grad()
    def made() -> Tensor:
        output = context.outputs[modality]
        if modality == "points":
            return output.logits(context.text)
        height, width = _pictures(context).labels.shape[1:]
        return pixel_logits(output, context.text, height, width).movedim(1, -1).flatten(0, 2)

    return context.once(("logits", modality), made)


def pixel_logits(
    output: StudentOutput, text: Float32[Tensor, "classes dim"], height: int, width: int
) -> Float[Tensor, "views classes height width"]:
    """Logits of a 2D student at the resolution of the pictures, bilinear between the centres of its own grid's cells.

    Logits are linear in embeddings, so these are the logits of the interpolated embeddings, at the cost of the classes.

    Args:
        output: with a grid.
        text: unit embeddings.
        height: of the pictures.
        width: of the pictures.

    Raises:
        ConventionError: an output of points.
    """
    if output.grid is None:
        raise ConventionError("output", expected="a student of pixels, which has a grid", got="none")
    coarse = output.logits(text).unflatten(0, output.grid).movedim(-1, 1)
    if coarse.shape[2:] == (height, width):
        return coarse
    return functional.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)


@torch.no_grad()
def predicted_classes(context: LossContext, modality: Modality) -> Int64[Tensor, "elements"]:
    """What a student says of every point, or every pixel of the pictures: the argmax of its logits in this step."""
    return context.once(("predicted", modality), lambda: student_logits(context, modality).detach().argmax(dim=1))


def cross_entropy(context: LossContext, modality: Modality, scale: float = 1.0) -> LossTerm:
    """−Σ log softmax(scale · ψ(f, T̂))[class] over the rows of this step's supervision, and how many those are.

    Source: HICL (Kang et al., CVPR 2024), Eq. 1, with ``scale`` 1: inner products with unit text embeddings, no temperature.

    Args:
        context: with the output and the supervision of the student.
        modality: which student.
        scale: factor of the logits.

    Returns:
        The term; its figure "accuracy" is the share of rows whose class the student says already.
    """
    rows = context.supervision[modality]
    logits = summable(student_logits(context, modality)[rows.element])
    if scale != 1.0:  # a pass over all rows, forwards and backwards
        logits = logits * scale
    extra: dict[str, float] = {}
    if len(rows):
        extra["accuracy"] = float((logits.detach().argmax(dim=1) == rows.class_ids).float().mean())
    return LossTerm(cross_entropy_of_scores(logits, rows.class_ids), len(rows), extra)


def summable(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The same in float32 where they are in half precision, which would round sums of thousands of terms or overflow."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def largest_class_share(rows: Supervision, num_classes: int) -> float:
    """Share of rows that have the most frequent class: the collapse monitor; 0 without rows."""
    return float(torch.bincount(rows.class_ids, minlength=num_classes).max()) / len(rows) if len(rows) else 0.0


def mode_of_groups(
    group: Int64[Tensor, "n"], class_ids: Int64[Tensor, "n"], num_groups: int, num_classes: int
) -> Int64[Tensor, "groups"]:
    """The most frequent class in each group, −1 where there is none; ties go to the lowest class.

    Args:
        group: of each vote, −1 = none.
        class_ids: of each vote, −1 = none.
        num_groups: groups in all.
        num_classes: classes in all.
    """
    votes = (group >= 0) & (class_ids >= 0)
    key = group[votes] * num_classes + class_ids[votes]
    if num_groups * num_classes <= 4 * len(group) + (1 << 16):
        count, winner = torch.bincount(key, minlength=num_groups * num_classes).view(num_groups, num_classes).max(dim=1)
        return torch.where(count > 0, winner, -1)
    present, count = key.unique(return_counts=True)
    # The larger count wins, then the lower class: both in one number.
    score = count * num_classes + (num_classes - 1 - present % num_classes)
    best = torch.full((num_groups,), -1, dtype=torch.int64, device=group.device)
    best = best.scatter_reduce(0, present // num_classes, score, "amax")
    return torch.where(best >= 0, num_classes - 1 - best % num_classes, -1)


def _voted(class_ids: Tensor, sets: Tensor, num_classes: int) -> Tensor:
    """Every member of a set gets the set's mode; members of none keep theirs."""
    winner = mode_of_groups(sets, class_ids, int(sets.max()) + 1 if len(sets) else 0, num_classes)
    if not len(winner):
        return class_ids
    mine = winner[sets.clamp_min(0)]
    return torch.where((sets >= 0) & (mine >= 0), mine, class_ids)


def _region_ids(context: LossContext, min_region: int) -> Tensor:
    """Region of every pixel of the pictures, those too small left out."""
    regions = _pictures(context).regions
    if regions is None:
        raise ConventionError(
            "Switch", expected="pictures with regions, in which predictions vote", got="none", fix="pool without"
        )

    def large_ones(regions: Tensor = regions) -> Tensor:
        flat = regions.flatten()
        if not len(flat) or int(flat.max()) < 0:
            return flat
        size = torch.bincount(flat[flat >= 0])
        return torch.where((flat >= 0) & (size[flat.clamp_min(0)] >= min_region), flat, -1)

    return context.once(("regions", min_region), large_ones)


def _pixel_of(context: LossContext, links: PixelLinks) -> Tensor:
    _, height, width = _pictures(context).labels.shape
    return (links.view * height + links.row) * width + links.column


def _pictures(context: LossContext) -> PictureBatch:
    if context.batch.pictures is None:
        raise ConventionError("TrainingBatch.pictures", expected="pictures, which pixels and their labels belong to", got="none")
    return context.batch.pictures


def _links(context: LossContext) -> PixelLinks:
    if context.batch.links is None:
        raise ConventionError("TrainingBatch.links", expected="which pixel shows which point", got="none")
    return context.batch.links


def _elements_per_scan(context: LossContext, modality: Modality) -> Sequence[int]:
    if modality == "points":
        return [int(count) for count in context.batch.first_point.diff()]
    pictures = _pictures(context)
    per_view = pictures.labels[0].numel() if len(pictures.labels) else 0
    return [int(count) * per_view for count in torch.bincount(pictures.scan, minlength=len(context.batch.scans))]

"""Features of a student agree with features that do not learn from it."""

from collections.abc import Mapping
from typing import Any, Literal, assert_never, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from scenewise.errors import ConventionError, ShapeError
from scenewise.kernels.sparse_conv import Pointwise
from scenewise.parts.labelfree.batches import PictureBatch, PixelLinks
from scenewise.parts.labelfree.label_sources import summable
from scenewise.parts.labelfree.sampling import scan_generators
from scenewise.parts.labelfree.steps import LossContext, LossTerm
from scenewise.parts.labelfree.supervision import Modality

Target = Literal["targets", "other"]
MatchSpace = Literal["latent", "text"]


@final
class FeatureMatch:
    """Σ (1 − cos(P z, t)) over the pixels of pictures, or over the points at their pixels.

    Sources: CNS (Chen et al. 2023), L_f = Σ_i (1 − cos(x_i, f_i)) + Σ_i (1 − cos(s_i, f_π(i))) with frozen features of SAM, one
    object of this class per student and one linear P each; CLIP2Scene's released code for ScanNet, the same for points with
    features of CLIP; in the text space, OpenScene (Peng et al. 2023).

    Args:
        modality: whose features.  "points": a row per link of Π; "pixels": a row per cell of the student's grid.
        channels: of the student's latent; of no consequence in the text space.
        target_channels: of what is matched.
        target: "targets": :attr:`PictureBatch.targets`, bilinear at the pixel; "other": the other student's features at the other
            end of each link, held.
        space: "latent": a linear P, trained with the rest, maps the latent to the target's channels; "text": embeddings are
            compared as they are, to a target in the text space.
        links_per_scan: of more links, so many are drawn anew in each step; None = all.
        name: under which schedules know it; None = "match_points" or "match_pixels".

    Raises:
        ConventionError: there is nothing to match.
    """

    def __init__(
        self,
        modality: Modality,
        channels: int,
        target_channels: int,
        *,
        target: Target = "targets",
        space: MatchSpace = "latent",
        links_per_scan: int | None = None,
        name: str | None = None,
    ) -> None:
        if space == "latent" and (channels < 1 or target_channels < 1):
            raise ConventionError(
                f"matching of {modality}",
                expected="a student and targets with channels",
                got=f"{channels} and {target_channels}",
                fix="give feature targets, or leave this loss out",
            )
        self.name = f"match_{modality}" if name is None else name
        self.modality: Modality = modality
        self.target: Target = target
        self.links_per_scan = links_per_scan
        self.projection = Pointwise(channels, target_channels) if space == "latent" else None
        self.modules: Mapping[str, nn.Module] = {} if self.projection is None else {"projection": self.projection}

    def __call__(self, context: LossContext) -> LossTerm:
        """1 − cos, summed over the rows whose target is not zero.

        Raises:
            ConventionError: a step without targets, pictures or links.
            ShapeError: targets of other channels.
        """
        if self.modality == "pixels" and self.target == "targets":
            student, target = self._cells(context)
        elif self.modality == "points":
            links = self._links(context)
            student = self._of_rows(context, links.point)
            target = self._at_links(context, links)
        else:
            links = self._links(context)
            grid = _as_grid(context, "pixels", self._of_rows(context, None))
            student = at_pixels(grid, *_size(_pictures(context)), links)
            other = context.outputs["points"]
            target = other.embedded(links.point) if self.projection is None else other.latent[links.point]
        student, target = summable(student), summable(target.detach())
        if student.shape != target.shape:
            raise ShapeError(f"targets of {self.name}", expected=f"{student.shape[1]} channels", got=target.shape[1])
        # Padding of a frozen encoder's picture, or a view nothing is known of.
        known = torch.linalg.vector_norm(target, dim=1) > 0
        cosine = cosine_of_rows(student, target)
        return LossTerm(torch.where(known, 1.0 - cosine, 0.0).sum(), int(known.sum()))

    def _of_rows(self, context: LossContext, rows: Tensor | None) -> Tensor:
        output = context.outputs[self.modality]
        if self.projection is None:
            return output.embedded(rows)
        projected: Tensor = self.projection(output.latent if rows is None else output.latent[rows])
        return projected

    def _cells(self, context: LossContext) -> tuple[Tensor, Tensor]:
        student = self._of_rows(context, None)
        grid = context.outputs["pixels"].grid
        assert grid is not None
        target = functional.interpolate(_targets(context).float(), grid[1:], mode="bilinear", align_corners=False)
        return student, target.movedim(1, -1).flatten(0, 2)

    def _at_links(self, context: LossContext, links: PixelLinks) -> Tensor:
        if self.target == "targets":
            return at_pixels(_targets(context), *_size(_pictures(context)), links)
        if self.target == "other":
            other = context.outputs["pixels"]
            values = other.embeddings if self.projection is None else other.latent
            return at_pixels(_as_grid(context, "pixels", values.detach()), *_size(_pictures(context)), links)
        assert_never(self.target)

    def _links(self, context: LossContext) -> PixelLinks:
        links = context.batch.links
        if links is None:
            raise ConventionError("TrainingBatch.links", expected="which pixel shows which point", got="none")
        if self.links_per_scan is None:
            return links
        chosen = _some_links(links, _pictures(context), context, self.links_per_scan)
        return PixelLinks(links.point[chosen], links.view[chosen], links.row[chosen], links.column[chosen])


def at_pixels(
    grid: Float[Tensor, "views channels rows columns"], height: int, width: int, links: PixelLinks
) -> Float[Tensor, "links channels"]:
    """Values of a grid over whole pictures at the centres of pixels, bilinear between the centres of its cells.

    Beyond the outermost centres the grid is constant, as in
    :func:`~scenewise.parts.lifting.aggregation.sample_field`.

    Args:
        grid: over pictures.
        height: of the pictures in pixels.
        width: of the pictures in pixels.
        links: the pixels; points are not looked at.
    """
    rows, columns = grid.shape[2:]
    real = torch.float64 if grid.dtype == torch.float64 else torch.float32
    y = ((links.row.to(real) + 0.5) * (rows / height) - 0.5).clamp(0, rows - 1)
    x = ((links.column.to(real) + 0.5) * (columns / width) - 0.5).clamp(0, columns - 1)
    top, left = y.floor().long(), x.floor().long()
    down, right = y - top, x - left
    below, beside = (top + 1).clamp_max(rows - 1), (left + 1).clamp_max(columns - 1)
    # Cells as rows, whose four corners are added in one pass: gathering along the channels' axis would read a number at a time.
    cells = grid.movedim(1, -1).flatten(0, 2)
    corners = torch.stack(
        [(links.view * rows + i) * columns + j for i, j in ((top, left), (top, beside), (below, left), (below, beside))], dim=1
    )
    weights = torch.stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right], dim=1)
    if corners.numel() < len(cells):  # few links
        return (cells[corners].to(real) * weights[:, :, None]).sum(dim=1)
    values: Tensor = functional.embedding_bag(corners, cells.to(real), per_sample_weights=weights, mode="sum")
    return values


def cosine_of_rows(student: Float[Tensor, "n channels"], target: Float[Tensor, "n channels"]) -> Float[Tensor, "n"]:
    """Cosine between rows, differentiable in the first; norms below 1e-8 count as 1e-8.

    The same as :func:`torch.nn.functional.cosine_similarity`, a block of rows at a time: a batch has several hundred thousand
    links, and whole intermediate arrays cost more than the arithmetic.
    """
    cosine: Tensor = _CosineOfRows.apply(student, target)
    return cosine


class _CosineOfRows(torch.autograd.Function):
    _ROWS = 4096
    _SMALLEST = 1e-8

    @staticmethod
    def forward(ctx: Any, student: Tensor, target: Tensor) -> Tensor:
        norms = [torch.linalg.vector_norm(rows, dim=1).clamp_min(_CosineOfRows._SMALLEST) for rows in (student, target)]
        dots = [(a * b).sum(dim=1) for a, b in zip(student.split(_CosineOfRows._ROWS), target.split(_CosineOfRows._ROWS))]
        cosine = torch.cat(dots) / (norms[0] * norms[1])
        ctx.save_for_backward(student, target, cosine, *norms)
        return cosine

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        student, target, cosine, of_student, of_target = ctx.saved_tensors
        along_target = (gradient / (of_student * of_target))[:, None]
        along_student = (-gradient * cosine / of_student.square())[:, None]
        made = torch.empty_like(student)
        for first in range(0, len(student), _CosineOfRows._ROWS):
            block = slice(first, first + _CosineOfRows._ROWS)
            torch.mul(target[block], along_target[block], out=made[block])
            made[block].addcmul_(student[block], along_student[block])
        return made, None


def _some_links(links: PixelLinks, pictures: PictureBatch, context: LossContext, count: int) -> Int64[Tensor, "chosen"]:
    scan = pictures.scan[links.view]
    chosen = []
    for number, own in enumerate(scan_generators(context.generator, context.batch.scans)):
        rows = (scan == number).nonzero()[:, 0]
        if len(rows) > count:
            rows = rows[torch.randperm(len(rows), generator=own)[:count].sort().values.to(rows.device)]
        chosen.append(rows)
    return torch.cat(chosen)


def _as_grid(context: LossContext, modality: Modality, values: Tensor) -> Tensor:
    grid = context.outputs[modality].grid
    assert grid is not None
    return values.unflatten(0, grid).movedim(-1, 1)


def _size(pictures: PictureBatch) -> tuple[int, int]:
    height, width = pictures.labels.shape[1:]
    return height, width


def _pictures(context: LossContext) -> PictureBatch:
    if context.batch.pictures is None:
        raise ConventionError("TrainingBatch.pictures", expected="pictures, whose features are matched", got="none")
    return context.batch.pictures


def _targets(context: LossContext) -> Tensor:
    targets = _pictures(context).targets
    if targets is None:
        raise ConventionError(
            "PictureBatch.targets", expected="frozen features to match", got="none", fix="prepare feature targets"
        )
    return targets

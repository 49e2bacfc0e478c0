"""Correlation within a scene and between scenes: transformers over sampled points, in training only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from scenewise.engine.threads import with_threads_of_torch
from scenewise.errors import ConventionError
from scenewise.networks.correlation import CorrelationTransformer, LayerForm, PositionCode
from scenewise.parts.labelfree.equations import cross_entropy_of_scores, inner_products
from scenewise.parts.labelfree.label_sources import mode_of_groups, summable
from scenewise.parts.labelfree.sampling import Tokens, sample_tokens
from scenewise.parts.labelfree.steps import LossContext, LossTerm
from scenewise.parts.labelfree.supervision import Supervision

Level = Literal["scene", "batch"]
LEVELS: tuple[Level, ...] = ("scene", "batch")
"""In the order in which they act."""


@dataclass(frozen=True)
class CorrelatedTokens:
    """Sampled points of a step before and after the transformers.

    Attributes:
        points: which points of the batch, and of which scans.
        class_ids: label of each in this step.
        before: f, embeddings of the 3D student.
        levels: f̂ after each enabled level, in order; the last is what other losses mean by f̂.
    """

    points: Tokens
    class_ids: Int64[Tensor, "t"]
    before: Float[Tensor, "t dim"]
    levels: tuple[Float[Tensor, "t dim"], ...]

    @property
    def after(self) -> Float[Tensor, "t dim"]:
        """f̂, the answer of the last enabled level."""
        return self.levels[-1]


@final
class Correlation:
    """f → f̂_scene → f̂_batch for M sampled points per scene; cross entropy of the last with the points' labels.

    f̂ = Transformer({f_m}), L̂_ce = −Σ_m log softmax_c(ψ(f̂_m, T̂_c))[l̂_m].  Source: HICL (Kang et al., CVPR 2024), Eq. 3, 4 and 7.
    The gradient reaches the 3D network, on which the paper's analysis rests.

    Across ranks, tokens of all scenes of the global batch meet (:attr:`LossContext.gather`) before attention across scenes, and
    each rank answers for its own.

    Args:
        transformers: by level, one or both of "scene" (points see those of their scene) and "batch" (those of all scenes).  They
            act in that order.
        tokens_per_scan: M.
        deep_supervision: every enabled level is told the labels, with equal shares; else the last alone.
        detach: stops the gradient before the 3D network, which the paper does not.
        metres_per_voxel: edge of a voxel, where the transformers code positions; None where they do not.
        name: under which schedules know it.
    """

    def __init__(
        self,
        transformers: Mapping[Level, nn.Module],
        *,
        tokens_per_scan: int = 1024,
        deep_supervision: bool = False,
        detach: bool = False,
        metres_per_voxel: float | None = None,
        name: str = "correlation",
    ) -> None:
        if not transformers or not set(transformers) <= set(LEVELS):
            raise ConventionError("transformers", expected=f"one or both of {', '.join(LEVELS)}", got=sorted(transformers))
        self.name = name
        self.modules: Mapping[str, nn.Module] = {level: transformers[level] for level in LEVELS if level in transformers}
        self.tokens_per_scan = tokens_per_scan
        self.deep_supervision = deep_supervision
        self.detach = detach
        self.metres_per_voxel = metres_per_voxel

    def __call__(self, context: LossContext) -> LossTerm:
        """L̂_ce over this step's tokens.

        Its figures are the share of tokens whose label the transformers say, and the 3D network.
        """
        tokens = self.tokens(context)
        told = tokens.levels if self.deep_supervision else tokens.levels[-1:]
        scores = [inner_products(summable(level), context.text) for level in told]
        total = torch.stack([cross_entropy_of_scores(each, tokens.class_ids) for each in scores]).mean()
        extra: dict[str, float] = {}
        if len(tokens.points):
            before = inner_products(summable(tokens.before.detach()), context.text)
            for figure, said in (("accuracy", scores[-1].detach()), ("accuracy_before", before)):
                extra[figure] = float((said.argmax(dim=1) == tokens.class_ids).float().mean())
        return LossTerm(total, len(tokens.points), extra)

    def tokens(self, context: LossContext) -> CorrelatedTokens:
        """The sampled points of this step and what the transformers make of them; made once per step."""
        return context.once(("correlated tokens", id(self)), lambda: self._correlated(context))

    def _correlated(self, context: LossContext) -> CorrelatedTokens:
        batch, student = context.batch, context.outputs["points"]
        class_ids = point_classes(context.supervision["points"], len(student), len(context.text))
        points = sample_tokens(
            batch.segments, class_ids >= 0, batch.first_point, self.tokens_per_scan, context.generator, batch.scans
        )
        before = student.embedded(points.rows)
        features = before.detach() if self.detach else before
        positions = None
        if self.metres_per_voxel is not None:
            positions = batch.cloud.positions[points.rows] * self.metres_per_voxel
        levels = []
        for level, transformer in self.modules.items():
            if level == "scene":
                features = _seen(transformer, features, points.scan, across=False, positions=positions)
            else:
                features = self._across(context, transformer, features, points.scan, positions)
            levels.append(features)
        return CorrelatedTokens(points, class_ids[points.rows], before, tuple(levels))

    def _across(
        self, context: LossContext, transformer: nn.Module, features: Tensor, scan: Tensor, positions: Tensor | None
    ) -> Tensor:
        every, begin = context.gather(features)
        # Whose a token is matters to codes of positions alone; indices in the data set differ between ranks.
        numbers = torch.tensor(context.batch.scans, device=scan.device)[scan]
        if positions is None:
            every_scan, every_position = numbers.new_zeros(len(every)), None
        else:
            beside, _ = context.gather(torch.cat([positions, numbers[:, None].to(positions.dtype)], dim=1))
            every_scan, every_position = beside[:, 3].round().long(), beside[:, :3]
        seen = _seen(transformer, every, every_scan, across=True, positions=every_position)
        return seen[begin : begin + len(features)]


def _seen(transformer: nn.Module, features: Tensor, scan: Tensor, *, across: bool, positions: Tensor | None) -> Tensor:
    return with_threads_of_torch(lambda rows: transformer(rows, scan, across=across, positions=positions), features)


@dataclass(frozen=True)
class CorrelationSettings:
    """What a :class:`Correlation` and its transformers are made of.

    Attributes:
        levels: which there are.
        tokens_per_scan: M.
        layers: of each transformer.
        heads: of the attention.
        mlp_ratio: width of the layers' MLP over that of the tokens.
        layer_form: "vit", or "paper" for the layer of HICL's Eq. 3.
        position_code: how places take part in queries and keys; None: they do not.
        metres_per_voxel: edge of a voxel; needed where positions are coded.
        deep_supervision: see :class:`Correlation`.
        detach: likewise.
        name: likewise.
    """

    levels: Sequence[Level] = LEVELS
    tokens_per_scan: int = 1024
    layers: int = 3
    heads: int = 8
    mlp_ratio: int = 4
    layer_form: LayerForm = "vit"
    position_code: PositionCode | None = None
    metres_per_voxel: float | None = None
    deep_supervision: bool = False
    detach: bool = False
    name: str = "correlation"

    def __post_init__(self) -> None:
        if self.position_code is not None and self.metres_per_voxel is None:
            raise ConventionError("metres_per_voxel", expected="the edge of a voxel, as positions are coded in metres", got=None)


def build_correlation(dim: int, settings: CorrelationSettings) -> Correlation:
    """:class:`Correlation` with a new :class:`CorrelationTransformer` for each level.

    Args:
        dim: of the text space.
        settings: of both.
    """

    def made() -> CorrelationTransformer:
        return CorrelationTransformer(
            dim,
            layers=settings.layers,
            heads=settings.heads,
            mlp_ratio=settings.mlp_ratio,
            layer_form=settings.layer_form,
            position_code=settings.position_code,
        )

    return Correlation(
        {level: made() for level in LEVELS if level in settings.levels},
        tokens_per_scan=settings.tokens_per_scan,
        deep_supervision=settings.deep_supervision,
        detach=settings.detach,
        metres_per_voxel=settings.metres_per_voxel if settings.position_code is not None else None,
        name=settings.name,
    )


def point_classes(rows: Supervision, num_points: int, num_classes: int) -> Int64[Tensor, "points"]:
    """One class per point, −1 where it has no row; of several rows the most frequent class, ties to the lowest."""
    count = torch.bincount(rows.element, minlength=num_points)
    if len(rows) and int(count.max()) > 1:
        return mode_of_groups(rows.element, rows.class_ids, num_points, num_classes)
    class_ids = torch.full((num_points,), -1, dtype=torch.int64, device=rows.element.device)
    class_ids[rows.element] = rows.class_ids
    return class_ids

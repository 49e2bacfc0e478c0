"""HICL as a composition: vote in sets → one 3D student → correlations of a scene and of the batch → feedback."""

from jaxtyping import Float32
from torch import Tensor

from scenewise.methods.hicl.options import HiclConfig
from scenewise.parts.labelfree.backbone_choice import point_backbone
from scenewise.parts.labelfree.label_sources import Fixed, Switch
from scenewise.parts.labelfree.recipes import PointLabels, Recipe, settings_as_json
from scenewise.parts.labelfree.regularisers import CorrelationSettings, FeedbackKL, build_correlation
from scenewise.parts.labelfree.schedules import LossPhase, LossSchedule, phase_starts
from scenewise.parts.labelfree.steps import LabelSource, Regulariser
from scenewise.parts.segments.votes import MajorityVote


def recipe(config: HiclConfig) -> Recipe:
    """What the trainer needs.  L_ce; then mean(L_ce, L̂_ce); then mean(L_ce, L̂_ce, L_kl)."""

    def regularisers(text: Float32[Tensor, "classes dim"], points: int, pixels: int, targets: int) -> tuple[Regulariser, ...]:
        if not config.levels:
            return ()
        settings = CorrelationSettings(
            levels=config.levels,
            tokens_per_scan=config.tokens,
            layers=config.layers,
            heads=config.heads,
            layer_form=config.layer_form,
            position_code=None if config.positions == "none" else config.positions,
            metres_per_voxel=config.voxel,
            deep_supervision=config.deep_supervision,
            detach=config.detach,
        )
        correlation = build_correlation(text.shape[1], settings)
        if not config.feedback:
            return (correlation,)
        return correlation, FeedbackKL(correlation, space=config.feedback_space, direction=config.feedback_direction)

    return Recipe(
        name="hicl",
        point_labels=PointLabels(
            config.labels, region_vote=config.region_refined, min_region=config.min_region, set_vote=MajorityVote.of(config.vote)
        ),
        build_points=point_backbone(config.backbone, config.width),
        build_regularisers=regularisers,
        source=_source(config),
        schedule=_schedule(config),
        voxel=config.voxel,
        batch_scans=config.batch_scans,
        epochs=config.epochs,
        points_optimizer=config.student_optimizer(),
        extra_optimizer=config.transformer_optimizer(),
        views_per_step=config.views_per_step,
        augmentation=config.augmentation,
        config=settings_as_json(config),
    )


def _schedule(config: HiclConfig) -> LossSchedule:
    """Three phases; fewer where levels or feedback are left out."""
    epochs = (1, config.correlation_from, config.feedback_from)
    starts = phase_starts(epochs, config.published_epochs, config.epochs)
    phases = [LossPhase(starts[0], {"points": 1.0})]
    if config.levels:
        phases.append(LossPhase(starts[1], {"points": 1.0, "correlation": 1.0}))
    if config.levels and config.feedback:
        phases.append(LossPhase(starts[2], {"points": 1.0, "correlation": 1.0, "feedback": 1.0}))
    return LossSchedule(tuple(phases), combine=config.combine)


def _source(config: HiclConfig) -> LabelSource:
    if not config.self_training:
        return Fixed()
    start = phase_starts((1, config.self_training_from), config.published_epochs, config.epochs)[-1]
    return Switch((1.0 - config.self_training, config.self_training, 0.0), start, everywhere=False)

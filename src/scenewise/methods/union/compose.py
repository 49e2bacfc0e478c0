"""The union as a composition: votes in regions and sets → two students that switch → correlations, feedback, matching."""

from jaxtyping import Float32
from torch import Tensor

from scenewise.methods.union.options import UnionConfig
from scenewise.parts.labelfree.backbone_choice import pixel_backbone, point_backbone
from scenewise.parts.labelfree.label_sources import Switch
from scenewise.parts.labelfree.recipes import PointLabels, Recipe, settings_as_json
from scenewise.parts.labelfree.regularisers import CorrelationSettings, FeatureMatch, FeedbackKL, build_correlation
from scenewise.parts.labelfree.schedules import LossPhase, LossSchedule, phase_starts
from scenewise.parts.labelfree.steps import Regulariser
from scenewise.parts.segments.votes import MajorityVote


def recipe(config: UnionConfig) -> Recipe:
    """What the trainer needs."""
    with_pixels = config.pixel_backbone is not None
    matched = config.matched()
    epochs = (1, config.correlation_from, config.feedback_from, config.switch_from)
    first, correlation_from, feedback_from, switch_from = phase_starts(epochs, config.published_epochs, config.epochs)
    supervised = {"points": 1.0, **({"pixels": 1.0} if with_pixels else {}), **matched}
    phases = [LossPhase(first, supervised)]
    if config.levels:
        phases.append(LossPhase(correlation_from, {**supervised, "correlation": 1.0}))
    if config.levels and config.feedback:
        phases.append(LossPhase(feedback_from, {**supervised, "correlation": 1.0, "feedback": 1.0}))

    def regularisers(text: Float32[Tensor, "classes dim"], points: int, pixels: int, targets: int) -> tuple[Regulariser, ...]:
        made: list[Regulariser] = []
        if "match_points" in matched:
            made.append(FeatureMatch("points", points, targets, links_per_scan=config.matched_links))
        if "match_pixels" in matched:
            made.append(FeatureMatch("pixels", pixels, targets))
        if config.levels:
            settings = CorrelationSettings(
                levels=config.levels,
                tokens_per_scan=config.tokens,
                layers=config.layers,
                heads=config.heads,
            )
            correlation = build_correlation(text.shape[1], settings)
            made.append(correlation)
            if config.feedback:
                made.append(FeedbackKL(correlation))
        return tuple(made)

    students = config.student_optimizer()
    return Recipe(
        name="union",
        point_labels=PointLabels(
            "set_vote", region_vote=config.region_refined, min_region=config.min_region, set_vote=MajorityVote.of(config.vote)
        ),
        build_points=point_backbone(config.backbone, config.width),
        build_pixels=pixel_backbone(config.pixel_backbone, config.pixel_width, config.pixel_stride),
        build_regularisers=regularisers,
        source=Switch(
            config.switch_shares,
            switch_from,
            pool_points="segments" if config.vote_predictions else "none",
            pool_pixels=config.vote_predictions,
            min_region=config.min_region,
        ),
        schedule=LossSchedule(tuple(phases), combine=config.combine),
        voxel=config.voxel,
        batch_scans=config.batch_scans,
        epochs=config.epochs,
        points_optimizer=students,
        pixels_optimizer=students if with_pixels else None,
        extra_optimizer=config.transformer_optimizer(),
        optimizers_by_loss=dict.fromkeys(matched, students),
        views_per_step=config.views_per_step,
        augmentation=config.augmentation,
        config=settings_as_json(config),
    )

"""CNS as a composition: votes in regions → two students → switch among three sources, and frozen features to match."""

from jaxtyping import Float32
from torch import Tensor

from scenewise.methods.cns.options import CnsConfig
from scenewise.parts.labelfree.backbone_choice import pixel_backbone, point_backbone
from scenewise.parts.labelfree.label_sources import Switch
from scenewise.parts.labelfree.recipes import PointLabels, Recipe, settings_as_json
from scenewise.parts.labelfree.regularisers import FeatureMatch
from scenewise.parts.labelfree.schedules import LossPhase, LossSchedule, phase_starts
from scenewise.parts.labelfree.steps import Regulariser


def recipe(config: CnsConfig) -> Recipe:
    """What the trainer needs.  L = CE_2D + CE_3D + Σ(1 − cos(x, f)) + Σ(1 − cos(s, f)), both sums as means."""
    start = phase_starts((1, config.switch_from), config.published_epochs, config.epochs)[-1]
    with_pixels = config.pixel_backbone is not None
    weights = {"points": 1.0}
    if with_pixels:
        weights["pixels"] = 1.0
    weights |= config.matched()

    def regularisers(text: Float32[Tensor, "classes dim"], points: int, pixels: int, targets: int) -> tuple[Regulariser, ...]:
        made: list[Regulariser] = []
        if "match_points" in weights:
            made.append(FeatureMatch("points", points, targets, links_per_scan=config.matched_links))
        if "match_pixels" in weights:
            made.append(FeatureMatch("pixels", pixels, targets))
        return tuple(made)

    students = config.student_optimizer()
    return Recipe(
        name="cns",
        point_labels=PointLabels("pairs", region_vote=config.region_refined, min_region=config.min_region),
        build_points=point_backbone(config.backbone, config.width),
        build_pixels=pixel_backbone(config.pixel_backbone, config.pixel_width, config.pixel_stride),
        build_regularisers=regularisers,
        source=Switch(
            config.switch_shares,
            start,
            config.granularity,
            pool_points="regions" if config.vote_predictions else "none",
            pool_pixels=config.vote_predictions,
            min_region=config.min_region,
        ),
        schedule=LossSchedule((LossPhase(1, weights),), combine="sum"),
        voxel=config.voxel,
        batch_scans=config.batch_scans,
        epochs=config.epochs,
        points_optimizer=students,
        pixels_optimizer=students if with_pixels else None,
        extra_optimizer=students,
        views_per_step=config.views_per_step,
        augmentation=config.augmentation,
        config=settings_as_json(config),
    )

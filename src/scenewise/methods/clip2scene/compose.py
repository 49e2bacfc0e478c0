"""CLIP2Scene as a composition: rows from pixels → switch → one 3D student, and frozen features to match."""

from typing import assert_never

from jaxtyping import Float32
from torch import Tensor

from scenewise.methods.clip2scene.options import Clip2SceneConfig
from scenewise.parts.labelfree.backbone_choice import point_backbone
from scenewise.parts.labelfree.label_sources import Switch
from scenewise.parts.labelfree.recipes import PointLabels, Recipe, settings_as_json
from scenewise.parts.labelfree.regularisers import FeatureMatch, GridConsistency
from scenewise.parts.labelfree.schedules import LossPhase, LossSchedule, phase_starts
from scenewise.parts.labelfree.steps import Regulariser


def recipe(config: Clip2SceneConfig) -> Recipe:
    """What the trainer needs.  Code's loss on ScanNet: CE(global · T̂ᵀ, y) + mean(1 − cos(image feature, local))."""
    start = phase_starts((1, config.switch_from), config.published_epochs, config.epochs)[-1]
    weights = {"points": 1.0}
    if config.feature_loss != "none":
        weights["features"] = config.feature_weight

    def regularisers(text: Float32[Tensor, "classes dim"], points: int, pixels: int, targets: int) -> tuple[Regulariser, ...]:
        match config.feature_loss:
            case "cosine":
                return (FeatureMatch("points", points, targets, links_per_scan=config.matched_links, name="features"),)
            case "grid":
                cell = config.grid_cell / config.voxel
                return (
                    GridConsistency(points, text.shape[1], cell_voxels=cell, cells_per_scan=config.grid_cells, name="features"),
                )
            case "none":
                return ()
            case _:
                assert_never(config.feature_loss)

    students = config.student_optimizer()
    return Recipe(
        name="clip2scene",
        point_labels=PointLabels(config.labels),
        build_points=point_backbone(config.backbone, config.width),
        build_regularisers=regularisers,
        source=Switch(config.switch_shares, start, everywhere=False),
        schedule=LossSchedule((LossPhase(1, weights),), combine="sum"),
        voxel=config.voxel,
        batch_scans=config.batch_scans,
        epochs=config.epochs,
        points_optimizer=students,
        extra_optimizer=students,
        views_per_step=config.views_per_step,
        augmentation=config.augmentation,
        config=settings_as_json(config),
    )

"""A recipe and a capture become a trainer of anchors."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Unpack

import numpy as np

from scenewise.engine.checkpoints import require_same_run
from scenewise.engine.randomness import RandomStreams, keyed_generator
from scenewise.errors import ConventionError
from scenewise.parts.splats.anchors.decoder import AnchorDecoder
from scenewise.parts.splats.anchors.field import AnchorField
from scenewise.parts.splats.anchors.growing import AnchorGrowth
from scenewise.parts.splats.anchors.objectives import ChildVolume
from scenewise.parts.splats.anchors.recipes import AnchorRecipe
from scenewise.parts.splats.anchors.starting import anchors_from_points, finest_cell
from scenewise.parts.splats.building import DEFAULT_CACHE_BYTES, RunArguments, thinned
from scenewise.parts.splats.fields import scene_extent
from scenewise.parts.splats.objectives import Photometric
from scenewise.parts.splats.schedules import ShSchedule
from scenewise.parts.splats.settings import RunIdentity, TrainerSettings
from scenewise.parts.splats.trainer import SplatTrainer
from scenewise.parts.splats.views import TrainingViews
from scenewise.scenes.captures import Capture
from scenewise.scenes.point_clouds import PointCloud


def build_anchor_trainer(
    capture: Capture,
    points: PointCloud | None,
    recipe: AnchorRecipe,
    *,
    seed: int = 0,
    record: Mapping[str, Any] | None = None,
    **run: Unpack[RunArguments],
) -> SplatTrainer:
    """A trainer of anchors and a decoder of their own, ready to run.

    Args:
        capture: its training frames are learned from.
        points: where the first anchors go; may be None when a checkpoint is given.
        recipe: the settings.
        seed: of every random stream.
        record: resolved configuration to keep in checkpoints; default the recipe and the seed.
        run: see :class:`RunArguments`.

    Raises:
        ConventionError: no points, or a checkpoint of another configuration or other data.
    """
    device, data_hash, resume_from = run.get("device", "cpu"), run.get("data_hash", ""), run.get("resume_from")
    record = {"seed": seed, "method": "anchors", **asdict(recipe)} if record is None else record
    views = TrainingViews(capture.train_frames, cache_bytes=run.get("cache_bytes", DEFAULT_CACHE_BYTES), device=device)
    if resume_from is not None:
        require_same_run(resume_from, config=record, data_hash=data_hash)
        points = PointCloud(np.zeros((1, 3)))  # the checkpoint's rows replace it
        extent, cell = (float(resume_from.details[name]) for name in ("scene_extent", "cell"))
    elif points is None:
        raise ConventionError("points", expected="initial points or a checkpoint", got=None)
    else:
        extent = scene_extent([frame.camera for frame in capture.train_frames], points)
        cell = finest_cell(points.points_in_world, extent) if recipe.cell is None else recipe.cell
        points = thinned(points, recipe.max_initial_anchors, RandomStreams(seed)["initial_points"])
    trainer = SplatTrainer(
        AnchorField(
            anchors_from_points(
                points, extent, cell, slots=recipe.decoder.slots, channels=recipe.decoder.channels, device=device
            ),
            AnchorDecoder(recipe.decoder, keyed_generator(seed, "decoder"), device),
            recipe.rates,
        ),
        views,
        [AnchorGrowth(recipe.growth, cell)],
        settings=TrainerSettings(
            steps=recipe.steps, sh=ShSchedule(highest=0), resolution=recipe.resolution, exposure=recipe.exposure
        ),
        scene_extent=extent,
        objectives=[Photometric(recipe.dssim_weight), ChildVolume(recipe.volume_weight)],
        background=capture.background,
        identity=RunIdentity(seed, record, data_hash, {"cell": cell}),
    )
    if resume_from is not None:
        trainer.restore(resume_from)
    return trainer

"""Gaussian splatting as a composition of parts: explicit Gaussians + one strategy + photometric loss."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from scenewise.engine.checkpoints import Checkpoint, require_same_run
from scenewise.engine.randomness import RandomStreams
from scenewise.errors import ConventionError
from scenewise.methods.gaussian_splatting.config import GaussianSplattingConfig
from scenewise.parts.splats.fields import ExplicitGaussians, gaussians_from_points, scene_extent
from scenewise.parts.splats.objectives import Objective, Photometric
from scenewise.parts.splats.trainer import SplatTrainer, TrainerSettings
from scenewise.parts.splats.views import TrainingViews
from scenewise.scenes.captures import Capture
from scenewise.scenes.point_clouds import PointCloud

DEFAULT_CACHE_BYTES = 1_000_000_000


def build_trainer(
    capture: Capture,
    points: PointCloud | None,
    config: GaussianSplattingConfig,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    data_hash: str = "",
    record: Mapping[str, Any] | None = None,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
    resume_from: Checkpoint | None = None,
) -> SplatTrainer:
    """A trainer ready to run.

    Args:
        capture: its training frames are learned from.
        points: where the first Gaussians go; may be None when ``resume_from`` is given.
        config: the method's settings.
        seed: of every random stream.
        device: where to compute.
        data_hash: checksum of the capture, kept in checkpoints.
        record: resolved configuration to keep in checkpoints and to compare on resume; default the method's settings and the
            seed.
        cache_bytes: decoded pixels kept in memory.
        resume_from: continue from here.

    Raises:
        ConventionError: no points, or a checkpoint of another configuration or other data.
    """
    frames = capture.train_frames
    views = TrainingViews(frames, cache_bytes=cache_bytes, device=device)
    record = {"seed": seed, "method": "gaussian_splatting", **asdict(config)} if record is None else record
    if resume_from is None:
        if points is None:
            raise ConventionError("points", expected="initial points or a checkpoint", got=None)
        extent = scene_extent(views.cameras, points)
        points = thinned(points, _most_points(config), RandomStreams(seed)["initial_points"])
    else:
        require_same_run(resume_from, config=record, data_hash=data_hash)
        extent = float(resume_from.details["scene_extent"])
        points = PointCloud(np.zeros((1, 3)))  # replaced by the checkpoint's rows below
    start = gaussians_from_points(
        points, extent, opacity=config.initial_opacity, scale_factor=config.initial_scale, device=device
    )
    objectives: list[Objective] = [Photometric(config.dssim_weight)]
    if config.depth is not None and any(frame.load_depth is not None for frame in frames):
        objectives.append(config.depth)
    trainer = SplatTrainer(
        ExplicitGaussians(start, config.learning_rates, extent),
        views,
        [config.strategy],
        settings=TrainerSettings(
            steps=config.steps,
            sh=config.sh,
            resolution=config.resolution,
            exposure=config.exposure,
            pose_refinement=config.pose_refinement,
            random_background=config.random_background,
        ),
        scene_extent=extent,
        objectives=objectives,
        seed=seed,
        background=capture.background,
        config=record,
        data_hash=data_hash,
    )
    if resume_from is not None:
        trainer.restore(resume_from)
    return trainer


def with_cap(config: GaussianSplattingConfig, max_gaussians: int | None) -> GaussianSplattingConfig:
    """The same settings with another hard cap; None leaves the strategy's own."""
    if max_gaussians is None:
        return config
    return replace(config, strategy=replace(config.strategy, max_gaussians=max_gaussians))


def _most_points(config: GaussianSplattingConfig) -> int | None:
    limits = [limit for limit in (config.max_initial_points, config.strategy.max_gaussians) if limit is not None]
    return min(limits, default=None)


def thinned(points: PointCloud, most: int | None, generator: torch.Generator) -> PointCloud:
    """At most ``most`` of the points, chosen at random, in their order."""
    if most is None or len(points) <= most:
        return points
    kept = torch.randperm(len(points), generator=generator)[:most].sort().values.numpy()
    return PointCloud(
        points.points_in_world[kept],
        None if points.colors_u8 is None else points.colors_u8[kept],
        None if points.normals_in_world is None else points.normals_in_world[kept],
    )

"""A recipe and a capture become a trainer: explicit Gaussians + strategies + objectives."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypedDict, Unpack

import numpy as np
import torch

from scenewise.engine.checkpoints import Checkpoint, require_same_run
from scenewise.engine.randomness import RandomStreams
from scenewise.errors import ConventionError
from scenewise.parts.splats.fields import ExplicitGaussians, gaussians_from_points, scene_extent
from scenewise.parts.splats.objectives import Objective, Photometric
from scenewise.parts.splats.recipes import SplatRecipe
from scenewise.parts.splats.settings import RunIdentity, TrainerSettings
from scenewise.parts.splats.strategies import Strategy
from scenewise.parts.splats.trainer import SplatTrainer
from scenewise.parts.splats.views import TrainingViews
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame
from scenewise.scenes.point_clouds import PointCloud

DEFAULT_CACHE_BYTES = 1_000_000_000
_CACHE_SHARE = 0.3  # of a memory budget


class RunArguments(TypedDict, total=False):
    """What every builder of a trainer hands on to :func:`build_trainer`.

    Attributes:
        device: where to compute; default the CPU.
        data_hash: checksum of the capture, kept in checkpoints.
        cache_bytes: decoded pixels kept in memory.
        resume_from: continue from here.
    """

    device: torch.device | str
    data_hash: str
    cache_bytes: int
    resume_from: Checkpoint | None


@dataclass(frozen=True)
class Additions:
    """What a method adds to a recipe.

    Attributes:
        strategies: further ones, after the recipe's own.
        objectives: further ones, after the photometric one.
        views: views beside the capture's training frames, with pictures of whatever origin.
        views_from: step of this run from which they take part.
    """

    strategies: Sequence[Strategy] = ()
    objectives: Sequence[Objective] = ()
    views: Sequence[Frame] = ()
    views_from: int = 0


def cache_limit(budget: int | None) -> int:
    """Decoded pixels that may be kept: of a memory budget in bytes a part."""
    return DEFAULT_CACHE_BYTES if budget is None else int(_CACHE_SHARE * budget)


def build_trainer(
    capture: Capture,
    points: PointCloud | None,
    recipe: SplatRecipe,
    *,
    additions: Additions | None = None,
    seed: int = 0,
    record: Mapping[str, Any] | None = None,
    **run: Unpack[RunArguments],
) -> SplatTrainer:
    """A trainer ready to run.

    Args:
        capture: its training frames are learned from.
        points: where the first Gaussians go; may be None when ``resume_from`` is given.
        recipe: the settings.
        additions: of a method that is more than its recipe.
        seed: of every random stream.
        record: resolved configuration to keep in checkpoints and to compare on resume; default the recipe and the seed.
        run: see :class:`RunArguments`.

    Raises:
        ConventionError: no points, or a checkpoint of another configuration or other data.
    """
    additions = Additions() if additions is None else additions
    device, data_hash, resume_from = run.get("device", "cpu"), run.get("data_hash", ""), run.get("resume_from")
    frames = (*capture.train_frames, *additions.views)
    views = TrainingViews(frames, cache_bytes=run.get("cache_bytes", DEFAULT_CACHE_BYTES), device=device)
    record = {"seed": seed, "method": "gaussian_splatting", **asdict(recipe)} if record is None else record
    if resume_from is not None:
        require_same_run(resume_from, config=record, data_hash=data_hash)
    points, extent = _beginning(capture, points, recipe, seed, resume_from)
    start = gaussians_from_points(
        points, extent, opacity=recipe.initial_opacity, scale_factor=recipe.initial_scale, device=device
    )
    trainer = SplatTrainer(
        ExplicitGaussians(start, recipe.learning_rates, extent),
        views,
        [recipe.strategy, *additions.strategies],
        settings=_settings(recipe, additions),
        scene_extent=extent,
        objectives=[*_objectives(recipe, frames), *additions.objectives],
        background=capture.background,
        identity=RunIdentity(seed, record, data_hash),
    )
    if resume_from is not None:
        trainer.restore(resume_from)
    return trainer


def _beginning(
    capture: Capture, points: PointCloud | None, recipe: SplatRecipe, seed: int, resume_from: Checkpoint | None
) -> tuple[PointCloud, float]:
    """Initial points, and the scene extent."""
    if resume_from is not None:
        return PointCloud(np.zeros((1, 3))), float(resume_from.details["scene_extent"])  # the checkpoint's rows replace it
    if points is None:
        raise ConventionError("points", expected="initial points or a checkpoint", got=None)
    extent = scene_extent([frame.camera for frame in capture.train_frames], points)
    return thinned(points, _most_points(recipe), RandomStreams(seed)["initial_points"]), extent


def _objectives(recipe: SplatRecipe, frames: Sequence[Frame]) -> list[Objective]:
    terms: list[Objective] = [Photometric(recipe.dssim_weight)]
    if recipe.depth is not None and any(frame.load_depth is not None for frame in frames):
        terms.append(recipe.depth)
    return terms


def _settings(recipe: SplatRecipe, additions: Additions) -> TrainerSettings:
    return TrainerSettings(
        steps=recipe.steps,
        sh=recipe.sh,
        resolution=recipe.resolution,
        views_per_step=recipe.views_per_step,
        exposure=recipe.exposure,
        pose_refinement=recipe.pose_refinement,
        random_background=recipe.random_background,
        late_views=len(additions.views),
        late_from=additions.views_from,
    )


def _most_points(recipe: SplatRecipe) -> int | None:
    limits = [limit for limit in (recipe.max_initial_points, recipe.strategy.max_gaussians) if limit is not None]
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

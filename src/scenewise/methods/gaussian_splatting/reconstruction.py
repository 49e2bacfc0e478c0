"""Gaussian splatting in the flow of ``scenewise reconstruct``: points, a trainer, its Gaussians."""

from collections.abc import Mapping
from typing import Any, final

from scenewise.engine.checkpoints import Checkpoint
from scenewise.parts.splats.building import build_trainer
from scenewise.parts.splats.reconstruction import (
    FindPoints,
    FinishedSplats,
    SceneTrainer,
    SplatRequest,
    SplatRun,
    SplatStart,
    detached,
)
from scenewise.parts.splats.trainer import SplatTrainer
from scenewise.scenes.point_clouds import PointCloud


@final
class PlainSplatting:
    """One run; see :class:`scenewise.parts.splats.reconstruction.SplatMethod`.

    Args:
        run: what is known before anything is trained.
    """

    def __init__(self, run: SplatRun) -> None:
        self._run = run

    def points(self, find: FindPoints, found: Checkpoint | None) -> tuple[PointCloud | None, str]:
        """Found once: a checkpoint knows where they came from."""
        return find() if found is None else (None, str(found.config["initial_points"]))

    def prepare(self, points: PointCloud | None) -> None:
        """Nothing."""

    def record(self) -> Mapping[str, Any]:
        """Nothing beside the recipe."""
        return {}

    def trainer(self, points: PointCloud | None, record: Mapping[str, Any], found: Checkpoint | None) -> SplatTrainer:
        """Of the recipe as it is."""
        run = self._run
        return build_trainer(
            run.capture,
            points,
            run.recipe,
            seed=run.seed,
            device=run.device,
            data_hash=run.data_hash,
            record=record,
            cache_bytes=run.cache_bytes,
            resume_from=found,
        )

    def finish(self, trainer: SceneTrainer) -> FinishedSplats:
        """What was trained."""
        assert isinstance(trainer, SplatTrainer), "it comes from above"
        return FinishedSplats(detached(trainer.field.gaussians()), trainer.seconds)


def start(request: SplatRequest) -> SplatStart:
    """As asked; the recipe holds all of its settings."""
    return SplatStart(PlainSplatting, request.max_gaussians)

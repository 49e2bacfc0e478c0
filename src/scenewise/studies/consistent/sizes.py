"""Which rooms, and how much of everything."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from scenewise.methods.condense.options import ROOMS, CondenseConfig
from scenewise.methods.condense.rooms import RoomScans
from scenewise.worlds.seeds import BENCHMARK_SEEDS, LEARNING_SEEDS, VALIDATION_SEEDS

_LEARNED_FROM = 60_000  # first of the learning rooms of this study
_MEASURED_FROM = 70_000  # first of the benchmark and of the validation rooms


@dataclass(frozen=True)
class CondenseSizes:
    """Sizes of the study.

    Attributes:
        pool: rooms that seeds draw theirs from.
        rooms: of each seed: pre-trained on, and labelled for probes.
        measured: other rooms.
        scans: how all of them are scanned.
        config: of pre-training.
        shares: of the labelled rooms.
        probe_points: of each room that a probe is fitted on.
        tune_steps: of fine-tuning.
        tune_rooms: in a step of it.
        validation: measure on validation rooms, to choose settings.
    """

    pool: int = 100
    rooms: int = 60
    measured: int = 12
    scans: RoomScans = field(default_factory=lambda: RoomScans(views=16))
    config: CondenseConfig = field(
        default_factory=lambda: replace(ROOMS, steps=300, voxel=0.08, scans_per_step=3, views_per_scan=2)
    )
    shares: tuple[float, ...] = (0.01, 0.05, 0.1, 1.0)
    probe_points: int = 2000
    tune_steps: int = 60
    tune_rooms: int = 2
    validation: bool = False

    def learned_rooms(self, seed: int) -> Sequence[int]:
        """Room seeds that a seed of the study learns from."""
        rng = np.random.Generator(np.random.PCG64([seed, 37]))
        drawn = np.sort(rng.permutation(self.pool)[: self.rooms])
        return [LEARNING_SEEDS[_LEARNED_FROM + int(index)] for index in drawn]

    def all_learned_rooms(self) -> Sequence[int]:
        """Of the pool."""
        return LEARNING_SEEDS[_LEARNED_FROM : _LEARNED_FROM + self.pool]

    def measured_rooms(self) -> Sequence[int]:
        """Room seeds that figures are of."""
        seeds = VALIDATION_SEEDS if self.validation else BENCHMARK_SEEDS
        return seeds[_MEASURED_FROM : _MEASURED_FROM + self.measured]


FULL = CondenseSizes()
QUICK = CondenseSizes(
    pool=3,
    rooms=2,
    measured=2,
    scans=RoomScans(views=4, width=64, height=48, spacing=0.05),
    config=replace(ROOMS, steps=4, voxel=0.2, scans_per_step=2, views_per_scan=2, rays=replace(ROOMS.rays, per_view=24)),
    shares=(0.5, 1.0),
    probe_points=200,
    tune_steps=2,
)
"""To see that everything works."""

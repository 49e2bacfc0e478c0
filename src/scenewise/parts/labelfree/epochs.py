"""Which scans each step of a label-free training sees."""

from typing import final

import torch

from scenewise.engine.randomness import keyed_generator
from scenewise.errors import ConventionError


@final
class EpochOrder:
    """Which scans a step sees: a new permutation every epoch, cut into batches whose sizes differ by at most one.

    Cutting off a short last batch would lose scans, and a batch of one scan makes poor statistics.

    Args:
        scans: how many there are.
        batch_scans: at most so many per step.
        seed: of the run.
    """

    def __init__(self, scans: int, batch_scans: int, seed: int) -> None:
        if scans < 1 or batch_scans < 1:
            raise ConventionError("training", expected="scans, and at least one per step", got=f"{scans} and {batch_scans}")
        self.scans, self.batch_scans, self.seed = scans, batch_scans, seed
        self.steps_per_epoch = -(-scans // batch_scans)

    def batch(self, step: int) -> tuple[int, tuple[int, ...]]:
        """The epoch (counted from 1) and the scans of a step (counted from 0)."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = torch.randperm(self.scans, generator=keyed_generator(self.seed, "order", epoch + 1)).tolist()
        begin, end = (self.scans * part // self.steps_per_epoch for part in (place, place + 1))
        return epoch + 1, tuple(order[begin:end])

    def require_enough(self, ranks: int) -> None:
        """ConventionError unless every rank has a scan in every step."""
        least = self.scans // self.steps_per_epoch
        if least < ranks:
            raise ConventionError(
                "processes",
                expected=f"at most {least}, the scans of the smallest batch",
                got=ranks,
                fix="fewer, or a larger --batch",
            )

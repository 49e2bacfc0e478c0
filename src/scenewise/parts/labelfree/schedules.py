"""Which losses act when."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scenewise.errors import ConventionError


@dataclass(frozen=True)
class LossPhase:
    """From an epoch on.

    Attributes:
        from_epoch: counted from 1.
        weights: loss name → weight; a loss that is not named does not act, and its modules rest.
    """

    from_epoch: int
    weights: Mapping[str, float]


@dataclass(frozen=True)
class LossSchedule:
    """Phases in order of time.

    Attributes:
        phases: the first starts at epoch 1.
        combine: "mean": Σ w·L / Σ w over the active losses; "sum": Σ w·L.
    """

    phases: tuple[LossPhase, ...]
    combine: Literal["mean", "sum"] = "sum"

    def __post_init__(self) -> None:
        starts = [phase.from_epoch for phase in self.phases]
        if not starts or starts[0] != 1 or sorted(set(starts)) != starts:
            raise ConventionError("LossSchedule.phases", expected="ascending epochs, the first 1", got=starts)

    def at(self, epoch: int) -> Mapping[str, float]:
        """Active losses and their weights in an epoch (counted from 1)."""
        return [phase for phase in self.phases if phase.from_epoch <= epoch][-1].weights


ABSOLUTE_FROM = 60
"""Runs at least this long take phases at the published epochs."""


def phase_starts(published: Sequence[int], published_epochs: int, epochs: int) -> tuple[int, ...]:
    """First epochs of the phases in a run of another length than the published one.

    Short runs keep the phases' shares of the whole: 1 + round((start − 1) · epochs / published_epochs), and every phase lasts an
    epoch at least, so that the last phases of very short runs may lie behind their end.  Runs of 60 epochs and more, and those of
    the published length, take the published epochs.

    Args:
        published: ascending, counted from 1.
        published_epochs: length of the published run.
        epochs: length of this one.

    >>> phase_starts((1, 11, 21), 120, 120), phase_starts((1, 11, 21), 120, 40), phase_starts((1, 11, 21), 120, 4)
    ((1, 11, 21), (1, 4, 8), (1, 2, 3))
    """
    if epochs >= ABSOLUTE_FROM or epochs == published_epochs:
        return tuple(published)
    starts: list[int] = []
    for start in published:
        scaled = 1 + round((start - 1) * epochs / published_epochs)
        starts.append(max(scaled, starts[-1] + 1) if starts else scaled)
    return tuple(starts)

"""Which losses act when."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from scenewise.errors import ConventionError


@dataclass(frozen=True)
class Phase:
    """From an epoch on.

    Attributes:
        from_epoch: counted from 1.
        weights: loss name → weight; a loss that is not named does not act, and its modules rest.
    """

    from_epoch: int
    weights: Mapping[str, float]


@dataclass(frozen=True)
class Schedule:
    """Phases in order of time.

    Attributes:
        phases: the first starts at epoch 1.
        combine: "mean": Σ w·L / Σ w over the active losses; "sum": Σ w·L.
    """

    phases: tuple[Phase, ...]
    combine: Literal["mean", "sum"] = "sum"

    def __post_init__(self) -> None:
        starts = [phase.from_epoch for phase in self.phases]
        if not starts or starts[0] != 1 or sorted(set(starts)) != starts:
            raise ConventionError("Schedule.phases", expected="ascending epochs, the first 1", got=starts)

    def at(self, epoch: int) -> Mapping[str, float]:
        """Active losses and their weights in an epoch (counted from 1)."""
        return [phase for phase in self.phases if phase.from_epoch <= epoch][-1].weights

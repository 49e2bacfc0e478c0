"""What the losses of a step need to know of whoever takes it, and what they give."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from scenewise.engine.distribution import Ranks
from scenewise.methods.condense.objective import Memory
from scenewise.methods.condense.options import CondenseConfig
from scenewise.methods.condense.prior import PriorStatistics
from scenewise.networks.consistent.pair import ConsistentPair
from scenewise.teachers.towers import VisionTower


@dataclass(frozen=True)
class FrozenTower:
    """What stands still in the 2D branch.

    Attributes:
        tower: transformer whose blocks are read.
        text_dim: of its space of words; None where it has none.
        half: it computes in bfloat16.
    """

    tower: VisionTower
    text_dim: int | None = None
    half: bool = False


@runtime_checkable
class Learner(Protocol):
    """Whoever takes steps.

    Attributes:
        config: the recipe.
        frozen: the tower.
        seed: of everything random.
        ranks: the processes that train together.
        pair: what learns.
        color: features to colours, for one of the objectives that are compared with.
        prior: mean and variance of what the frozen model says.
        memory: rays of the last steps.
    """

    config: CondenseConfig
    frozen: FrozenTower
    seed: int
    ranks: Ranks
    pair: ConsistentPair
    color: nn.Linear
    prior: PriorStatistics
    memory: Memory


@dataclass(frozen=True)
class StepLosses:
    """What one process adds to the loss of a step.

    Attributes:
        total: weighted sum, what is minimised.
        terms: unweighted values.
        figures: for people.
    """

    total: Float[Tensor, ""]
    terms: Mapping[str, Tensor]
    figures: Mapping[str, float]

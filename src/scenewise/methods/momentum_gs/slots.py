"""Which worker trains which block when.

Time is divided into slots of equal length.  In a slot each of k workers trains one of its own blocks; in a round every block has
one slot.  A worker that is through with its blocks earlier than others sits out the last slots of the round.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from scenewise.engine.distribution import Ranks
from scenewise.engine.randomness import keyed_generator
from scenewise.errors import ConventionError

SlotOrder = Literal["round_robin", "random", "worst_first"]


@dataclass(frozen=True)
class SlotPlan:
    """The whole run.

    Attributes:
        blocks: how many there are.
        workers: that train at the same time.
        slot_steps: steps of a slot (Fan et al. 2024, released code: 500).
        rounds: slots of each block in which the decoder learns.
        frozen_round: one more for each block in which it does not.
        order: of a worker's blocks in a round: by number (released code), in a new random order each time (paper), or those
            first that are shown worst.
        seed: of the random order.
    """

    blocks: int
    workers: int
    slot_steps: int
    rounds: int
    frozen_round: bool = True
    order: SlotOrder = "round_robin"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.workers <= self.blocks:
            raise ConventionError("workers", expected=f"1 to {self.blocks}, as there are {self.blocks} blocks", got=self.workers)
        if self.slot_steps < 1 or self.rounds < 1:
            raise ConventionError("slots", expected="at least one of at least one step", got=f"{self.rounds} × {self.slot_steps}")

    @property
    def slots_per_round(self) -> int:
        """Slots until every block had one."""
        return -(-self.blocks // self.workers)

    @property
    def all_rounds(self) -> int:
        """Rounds with and without a decoder that learns."""
        return self.rounds + int(self.frozen_round)

    @property
    def total_steps(self) -> int:
        """Steps of the run; in each of them all workers take one."""
        return self.all_rounds * self.slots_per_round * self.slot_steps

    @property
    def block_steps(self) -> int:
        """Steps that each block takes."""
        return self.all_rounds * self.slot_steps

    @property
    def learning_steps(self) -> int:
        """Steps in which the decoder learns."""
        return self.rounds * self.slots_per_round * self.slot_steps

    def own_blocks(self, worker: int) -> tuple[int, ...]:
        """Blocks that a worker trains throughout: neighbours by number."""
        return Ranks(worker, self.workers).share(range(self.blocks))

    def round_order(self, round_: int, quality: Sequence[float]) -> tuple[tuple[int | None, ...], ...]:
        """For each slot of a round, the block of each worker, or None where it sits out.

        Args:
            round_: number of the round.
            quality: how well each block is shown, the larger the better; asked for by "worst_first" alone.
        """
        queues = []
        for worker in range(self.workers):
            own = list(self.own_blocks(worker))
            if self.order == "random":
                mixed = torch.randperm(len(own), generator=keyed_generator(self.seed, "slots", round_, worker))
                own = [own[int(place)] for place in mixed]
            elif self.order == "worst_first":
                own.sort(key=lambda block: (quality[block], block))
            queues.append(own)
        return tuple(
            tuple(queue[slot] if slot < len(queue) else None for queue in queues) for slot in range(self.slots_per_round)
        )

"""Options of Momentum-GS on a command line; imports no torch."""

import math
import re
from dataclasses import dataclass
from typing import Literal

from scenewise.engine.option_values import Count, Number, Text, require, require_at_least


@dataclass(frozen=True)
class BlockOptions:
    """Method momentum_gs: a scene in blocks with one decoder.  What is not given is the preset's.

    Attributes:
        blocks: blocks along the long side of the ground, its short side, and upwards, such as 2,2,1; along x, y and z for data
            sets that have a box.  Default: as many as the memory budget asks for.
        workers: blocks that are trained at the same time, by one process or by several that share them.  Default: one for each
            process.
        processes: that train together: this one starts the others, on this machine or with --ray on a cluster, and each computes
            with its part of the processors unless --threads is given.
        coarse_steps: steps of the coarse model that blocks are cut from.
        slot_steps: steps that a block is trained before another one's turn.
        slot_order: whose turn it is: by number, in a new random order each round, or first those that are shown worst.
        momentum: of the teacher that keeps the decoder steady; 0 for no teacher.
        own_decoders: a decoder for each block, in place of one for all.
        settle_steps: steps in which each block's Gaussians settle after they were baked.
    """

    blocks: Text = None
    workers: Count = None
    processes: int = 1
    coarse_steps: Count = None
    slot_steps: Count = None
    slot_order: Literal["round_robin", "random", "worst_first"] | None = None
    momentum: Number = None
    own_decoders: bool = False
    settle_steps: Count = None

    def __post_init__(self) -> None:
        require_at_least("--workers", self.workers, 1)
        require_at_least("--processes", self.processes, 1)
        require_at_least("--coarse-steps", self.coarse_steps, 1)
        require_at_least("--slot-steps", self.slot_steps, 1)
        require_at_least("--settle-steps", self.settle_steps, 0)
        require(self.momentum is None or 0.0 <= self.momentum < 1.0, "--momentum", "a number in [0, 1)", self.momentum)
        if self.blocks is not None:
            expected = "three numbers above 0 such as 2,2,1"
            require(re.fullmatch(r"[1-9]\d*(,[1-9]\d*){2}", self.blocks) is not None, "--blocks", expected, self.blocks)
        self._check_processes()

    def _check_processes(self) -> None:
        processes, grid = self.processes, self.grid
        blocks = None if grid is None else math.prod(grid)
        if blocks is not None:
            expected = f"at most {blocks}, as there are {blocks} blocks"
            require(processes <= blocks, "--processes", expected, processes, "fewer, or more --blocks")
        workers = self.all_workers if blocks is None else min(self.all_workers, blocks)
        expected = f"a multiple of the {processes} --processes"
        require(workers % processes == 0, "--workers", expected, workers, "each process trains as many blocks at a time")

    @property
    def all_workers(self) -> int:
        """Blocks that are trained at the same time."""
        return self.processes if self.workers is None else self.workers

    @property
    def grid(self) -> tuple[int, int, int] | None:
        """The blocks asked for along three axes, or None."""
        if self.blocks is None:
            return None
        x, y, z = map(int, self.blocks.split(","))
        return x, y, z

"""A trainer of one's own, as small as they get: a line through noisy points by gradient descent with momentum."""

from collections.abc import Callable
from pathlib import Path
from typing import final

import torch

from scenewise.engine.checkpoints import Checkpoint, Checkpointer
from scenewise.engine.journal import Journal
from scenewise.engine.randomness import RandomStreams
from scenewise.engine.training import Rhythm, Session, StepReport, journaled, train


@final
class TinyTrainer:
    """Learns y = 2 x + 1 from points that it draws.

    Args:
        steps: length of the run.
        seed: of the points.
        during: called with the number of each step when one of its two halves is done.
    """

    def __init__(self, steps: int = 20, seed: int = 0, during: Callable[[int], None] | None = None) -> None:
        self.total_steps, self.steps_done, self.seconds = steps, 0, 0.0
        self.line, self.momentum = torch.zeros(2), torch.zeros(2)
        self.random = RandomStreams(seed)
        self.during, self.loss, self.seed, self.starts = during, 0.0, seed, 0

    def start(self) -> None:
        self.starts += 1

    def step(self) -> None:
        x = torch.rand(8, generator=self.random["points"])
        y = 2.0 * x + 1.0 + 0.1 * torch.randn(8, generator=self.random["noise"])
        inputs = torch.stack([x, torch.ones(8)], dim=1)
        error = inputs @ self.line - y
        self.momentum = 0.9 * self.momentum + inputs.T @ error / 8
        if self.during is not None:
            self.during(self.steps_done + 1)
        self.line = self.line - 0.1 * self.momentum
        self.loss = float(error.square().mean())
        self.steps_done += 1

    def describe(self) -> StepReport:
        loss, line = self.loss, {"loss": self.loss, "seconds": self.seconds}
        return StepReport(
            self.steps_done, self.total_steps, loss, {"squares": loss}, self.seconds, shown={"loss": loss}, line=line
        )

    def checkpoint(self) -> Checkpoint:
        moments, state = {"line.momentum": self.momentum}, self.random.state_tensors()
        details = {"seconds": self.seconds}
        return Checkpoint(self.steps_done, {"line": self.line}, moments, state, {"seed": self.seed}, "points", details)

    def restore(self, checkpoint: Checkpoint) -> None:
        self.line, self.momentum = checkpoint.parameters["line"].clone(), checkpoint.optimizer["line.momentum"].clone()
        self.random.load(checkpoint.state)
        self.steps_done, self.seconds = checkpoint.step, float(checkpoint.details["seconds"])


def main(folder: Path, steps: int, interrupted_at: int) -> None:
    """Trains in ``folder`` as a command would, and ends itself in the middle of a step."""
    import os
    import signal

    def during(step: int) -> None:
        if step == interrupted_at:
            os.kill(os.getpid(), signal.SIGTERM)

    with Journal(folder / "log.jsonl") as journal:
        session = Session(journaled(Checkpointer(folder / "checkpoints"), journal), Rhythm(5, 5, 1000), journal)
        train(TinyTrainer(steps, during=during), session)

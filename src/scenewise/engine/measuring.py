"""How many steps fit into the time there is: the first ones are timed, then undone."""

import time
from typing import Protocol, runtime_checkable

import torch

from scenewise.engine.step_back import NonFiniteError
from scenewise.engine.training import Trainable
from scenewise.errors import ConventionError

MEASURED_STEPS = 50
"""Steps that are timed before the length of the run is fixed."""


@runtime_checkable
class Measurable(Trainable, Protocol):
    """A trainer whose length can be chosen before its first step."""

    def set_total_steps(self, steps: int) -> None:
        """Fix the length of the run, and with it every schedule.

        Raises:
            ConventionError: training has already begun (:func:`require_not_begun`).
        """


@runtime_checkable
class Uneven(Protocol):
    """A trainer whose later steps take longer, or less long, than the first ones."""

    def slowdown(self) -> float:
        """Time of the run's mean step over that of the first ones, which have just been taken."""


def require_not_begun(trainer: Trainable) -> None:
    """Refuses another length for a training under way; ConventionError."""
    if trainer.steps_done:
        raise ConventionError("steps", expected="a run that has not begun", got=f"{trainer.steps_done} steps done")


def steps_within(trainer: Measurable, seconds: float) -> int:
    """How many steps fit into this time; the trainer is left as it was, so that the run equals one given that number.

    The estimate is the measured time of the first steps × :meth:`Uneven.slowdown`, 1 where all take the same time.  Measuring
    is deducted.  Never fewer than were measured.
    """
    trainer.start()
    begin = trainer.checkpoint().copied()
    trainer.step()  # the first one also decodes, allocates and compiles
    started = time.perf_counter()
    measured = 0
    while measured < MEASURED_STEPS:
        try:
            trainer.step()
        except NonFiniteError:  # the run itself will deal with it
            break
        measured += 1
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    each = (time.perf_counter() - started) / max(1, measured)
    slowdown = trainer.slowdown() if isinstance(trainer, Uneven) else 1.0
    trainer.restore(begin)
    left = max(0.0, seconds - each * (measured + 1))
    return max(MEASURED_STEPS, int(left / (each * slowdown)))

"""What happens when training becomes NaN: the last good state is taken up again, and what was to blame is left out once.

Three failures end a run: then it is not a single image or scan that is wrong.
"""

import warnings
from typing import Protocol, final, runtime_checkable

from scenewise.engine.checkpoints import Checkpoint
from scenewise.errors import ScenewiseError

MOST_FAILURES = 3
"""Non-finite values that end a run, earlier sessions included."""


class TrainingDivergedError(ScenewiseError, ArithmeticError):
    """Training produced non-finite values, and stepping back did not help or is not possible."""


class NonFiniteError(Exception):
    """Raised by a step or a check: something became NaN or infinite.

    Args:
        what: which values, and where they come from.
        culprit: number of the data to leave out, in the trainer's own count.
    """

    def __init__(self, what: str, culprit: int = 0) -> None:
        super().__init__(what)
        self.culprit = culprit


@runtime_checkable
class StepsBack(Protocol):
    """What a trainer has that can go on after a :class:`NonFiniteError`, beside what makes it trainable.

    Attributes:
        seconds: of training so far; what was undone took time too.
        failures: what went wrong so far; part of the checkpoints, so that a resumed run remembers.
        check_every: steps between two checks of everything, after each of which the state is kept to fall back on.
        advice: what to do when training keeps failing, an imperative.
    """

    seconds: float
    failures: list[str]

    @property
    def steps_done(self) -> int: ...

    @property
    def check_every(self) -> int: ...

    @property
    def advice(self) -> str: ...

    def require_finite(self) -> None:
        """Raises NonFiniteError unless all that is learned and its moments are finite."""

    def leave_out(self, culprit: int) -> str:
        """Do without this part of the data the next time it is its turn; what is left out, for people."""

    def checkpoint(self) -> Checkpoint: ...

    def restore(self, checkpoint: Checkpoint) -> None: ...


@final
class StepBack:
    """Keeps the last state that was found finite, and returns to it.

    Args:
        trainer: whose present state is the first to fall back on.
    """

    def __init__(self, trainer: StepsBack) -> None:
        self._trainer = trainer
        self._good: Checkpoint | None = trainer.checkpoint().copied()

    def after_step(self, *, is_last: bool) -> None:
        """Check when due, and remember.

        Raises:
            NonFiniteError: the check fails.
        """
        trainer = self._trainer
        if trainer.steps_done % trainer.check_every == 0 or is_last:
            trainer.require_finite()
            self._good = None if is_last else trainer.checkpoint().copied()

    def step_back(self, failure: NonFiniteError) -> None:
        """Return to the last good state, with the culprit left out.

        Raises:
            TrainingDivergedError: it is the last failure that is borne.
        """
        trainer = self._trainer
        failures, seconds = [*trainer.failures, str(failure)], trainer.seconds
        if len(failures) >= MOST_FAILURES or self._good is None:
            raise TrainingDivergedError(
                f"training diverged at step {trainer.steps_done + 1}: {'; '.join(failures)}. Fix: {trainer.advice}; "
                "the last checkpoint is intact"
            ) from failure
        trainer.restore(self._good)
        trainer.failures, trainer.seconds = failures, seconds
        left_out = trainer.leave_out(failure.culprit)
        self._good = trainer.checkpoint().copied()
        warnings.warn(f"{failure}. Stepped back to step {trainer.steps_done}; {left_out} is left out once.", stacklevel=4)

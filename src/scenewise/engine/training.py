"""Training runs: what every trainer must be able to do, and the one loop that runs them all.

A trainer knows its data, its networks and one step.  The loop knows when to report, when to save, how to stop at any step and go
on from there as if nothing had happened, and what to do when values become NaN.
"""

import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypedDict, final, runtime_checkable

from scenewise.engine.checkpoints import Checkpoint, Checkpointer, require_same_run
from scenewise.engine.distribution import ALONE, Ranks
from scenewise.engine.interruption import DeferredInterruption
from scenewise.engine.journal import Journal
from scenewise.engine.progress import NullProgress, Progress
from scenewise.engine.step_back import NonFiniteError, StepBack, StepsBack, TrainingDivergedError
from scenewise.engine.tensorboard import NO_BOARD, Board
from scenewise.errors import ScenewiseError


@dataclass(frozen=True)
class StepReport:
    """What a trainer says of its last step.

    Attributes:
        step: steps done.
        total_steps: of the run.
        loss: what was minimised.
        terms: unweighted value of each of its parts.
        seconds: of training so far, earlier sessions included.
        rates: learning rate by group of parameters.
        figures: whatever else is worth a curve, by name.
        shown: what stands beside the progress bar.
        line: the fields of its line in the run's diary, the step apart.
    """

    step: int
    total_steps: int
    loss: float
    terms: Mapping[str, float]
    seconds: float
    rates: Mapping[str, float] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    shown: Mapping[str, object] = field(default_factory=dict)
    line: Mapping[str, object] = field(default_factory=dict)


@runtime_checkable
class Trainable(Protocol):
    """Something that learns step by step and can be stopped after any of them.

    A trainer that can also go on after NaN is :class:`~scenewise.engine.step_back.StepsBack`; one whose length may be fitted to
    the time there is, :class:`~scenewise.engine.measuring.Measurable`.

    Attributes:
        seconds: of training so far, earlier sessions included; the loop counts them, the trainer keeps them in its checkpoints.
    """

    seconds: float

    @property
    def steps_done(self) -> int:
        """Steps taken, earlier sessions included."""

    @property
    def total_steps(self) -> int:
        """Length of the run."""

    def start(self) -> None:
        """Get ready for steps; called whenever they are about to begin, after :meth:`restore` where there is one."""

    def step(self) -> None:
        """One step, after which ``steps_done`` is one more.

        Raises:
            NonFiniteError, TrainingDivergedError: something became NaN or infinite.
        """

    def describe(self) -> StepReport:
        """The last step.  Asked for only when somebody wants to know, so that it may be dear."""

    def checkpoint(self) -> Checkpoint:
        """Everything another trainer needs to continue identically.  Tensors are not copied."""

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue exactly where a checkpoint was taken.

        Raises:
            ConventionError, ShapeError: it belongs to another kind of run.
        """


class StepArguments(TypedDict, total=False):
    """What a trainer's own ``run`` hands on to :func:`run_steps`, where each is explained."""

    until: int | None
    listener: Callable[[StepReport], None] | None
    report_every: int
    save: Callable[[Checkpoint], object] | None
    save_every: int | None


def run_steps(
    trainer: Trainable,
    *,
    until: int | None = None,
    listener: Callable[[StepReport], None] | None = None,
    report_every: int = 1,
    save: Callable[[Checkpoint], object] | None = None,
    save_every: int | None = None,
    ranks: Ranks = ALONE,
    deadline: float | None = None,
) -> None:
    """Trains up to step ``until`` (default: to the end).

    Interrupted by Ctrl-C or SIGTERM, it finishes the step, saves and lets the interruption have its way.

    Args:
        trainer: new or restored.
        until: steps done when it returns.
        listener: told about every ``report_every``-th step and the last one, on the first rank.
        report_every: see ``listener``.
        save: given a checkpoint every ``save_every`` steps and at the end, on the first rank; for example
            :meth:`Checkpointer.save`.
        save_every: see ``save``; None = at the end alone.
        ranks: the processes that train together.
        deadline: of :func:`time.monotonic`, after which no step begins.

    Raises:
        TrainingDivergedError: something became NaN or infinite, again and again where the trainer can step back.
        Whatever ``save`` raises.
    """
    last = trainer.total_steps if until is None else min(until, trainer.total_steps)
    trainer.start()
    back = StepBack(trainer) if isinstance(trainer, StepsBack) else None
    saver = _Saver(trainer, save if ranks.is_first else None)
    listener = listener if ranks.is_first else None
    clock = time.perf_counter()
    with DeferredInterruption() as interruption, saver:
        while trainer.steps_done < last and (deadline is None or time.monotonic() < deadline):
            saver.is_possible = False
            has_stepped = _step(trainer, back, last)
            saver.is_possible = True
            if has_stepped:
                now = time.perf_counter()
                trainer.seconds += now - clock
                clock, done = now, trainer.steps_done
                if listener is not None and (done % report_every == 0 or done == last):
                    listener(trainer.describe())
                if done == last or (save_every is not None and done % save_every == 0):
                    saver.save()
            if interruption.has_come:
                saver.save_before_leaving()
                interruption.go_on()
        if trainer.steps_done < last:  # time is up
            saver.save()


def _step(trainer: Trainable, back: StepBack | None, last: int) -> bool:
    """Whether the step was taken; if not, the trainer is back at an earlier one."""
    try:
        trainer.step()
        if back is not None:
            back.after_step(is_last=trainer.steps_done == last)
    except NonFiniteError as failure:
        if back is None:
            raise TrainingDivergedError(f"training diverged at step {trainer.steps_done + 1}: {failure}") from failure
        back.step_back(failure)
        return False
    return True


@final
class _Saver:
    """Saves every step once at most, also when the block is left by KeyboardInterrupt between two steps."""

    def __init__(self, trainer: Trainable, save: Callable[[Checkpoint], object] | None) -> None:
        self._trainer, self._save = trainer, save
        self._saved_at = trainer.steps_done
        self.is_possible = True

    def save(self) -> None:
        if self._save is None or self._saved_at == self._trainer.steps_done:
            return
        self.is_possible = False  # who interrupts now does not want to wait for another one
        self._save(self._trainer.checkpoint())
        self._saved_at = self._trainer.steps_done
        self.is_possible = True

    def save_before_leaving(self) -> None:
        """As :meth:`save`, but a checkpoint that cannot be written does not keep anybody from leaving."""
        try:
            self.save()
        except (ScenewiseError, OSError) as error:
            warnings.warn(f"No checkpoint at the interruption in step {self._trainer.steps_done}: {error}", stacklevel=3)

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is KeyboardInterrupt and self.is_possible:
            self.save_before_leaving()


@dataclass(frozen=True)
class Rhythm:
    """Steps between two of a kind; each also happens at the end.

    Attributes:
        show: updates of the progress bar.
        log: lines in the diary and points of TensorBoard's curves.
        save: checkpoints.
    """

    show: int = 10
    log: int = 50
    save: int = 1000


@dataclass(frozen=True)
class Session:
    """Who is told about a run, how often, and where it is kept.

    Attributes:
        save: given the checkpoints, for example by :func:`journaled`; None keeps none.
        rhythm: how often.
        journal: the run's diary.
        progress: shown to the person who waits.
        board: TensorBoard.
        title: of the stage of the progress.
    """

    save: Callable[[Checkpoint], object] | None = None
    rhythm: Rhythm = field(default_factory=Rhythm)
    journal: Journal | None = None
    progress: Progress = field(default_factory=NullProgress)
    board: Board = NO_BOARD
    title: str = "train"


def train(
    trainer: Trainable,
    session: Session,
    *,
    until: int | None = None,
    ranks: Ranks = ALONE,
    deadline: float | None = None,
) -> StepReport | None:
    """Trains from where the trainer is up to step ``until`` (default: to the end of the run).

    Args:
        trainer: new or restored.
        session: who is told; of several ranks, those of the first alone.
        until: steps done when it returns.
        ranks: the processes that train together.
        deadline: of :func:`time.monotonic`, after which no step begins.

    Returns:
        The last step that was reported, if any.

    Raises:
        TrainingDivergedError: see :func:`run_steps`.
        ResourceError: a checkpoint cannot be written.
    """
    rhythm, journal = session.rhythm, session.journal
    end = trainer.total_steps if until is None else min(until, trainer.total_steps)
    before, last = trainer.steps_done, None
    progress = session.progress if ranks.is_first else NullProgress()
    with progress.stage(session.title, end - before) as stage:

        def listen(report: StepReport) -> None:
            nonlocal before, last
            last = report
            is_end = report.step == end
            if is_end or report.step % rhythm.show == 0:
                stage.advance(max(0, report.step - before), **report.shown)
                before = max(before, report.step)
            if is_end or report.step % rhythm.log == 0:
                if journal is not None:
                    journal.write("step", step=report.step, **report.line)
                session.board.write(report.step, curves(report))

        run_steps(
            trainer,
            until=until,
            listener=listen,
            report_every=math.gcd(rhythm.show, rhythm.log),
            save=session.save,
            save_every=rhythm.save,
            ranks=ranks,
            deadline=deadline,
        )
    return last


def curves(report: StepReport) -> dict[str, float]:
    """What TensorBoard draws of a step, by tag."""
    return {
        "loss": report.loss,
        **{f"loss/{name}": value for name, value in report.terms.items()},
        **{f"rate/{name}": value for name, value in report.rates.items()},
        **report.figures,
    }


def journaled(checkpointer: Checkpointer, journal: Journal) -> Callable[[Checkpoint], None]:
    """Writes a checkpoint, and says so in the diary."""

    def save(checkpoint: Checkpoint) -> None:
        checkpointer.save(checkpoint)
        journal.write("checkpoint", step=checkpoint.step)

    return save


def resume(trainer: Trainable, checkpointer: Checkpointer, journal: Journal | None = None) -> bool:
    """Takes up the newest checkpoint, and says whether there was one.

    Raises:
        ConventionError: it is of another configuration or of other data.
        DataFormatError: there are checkpoints, but none can be read.
    """
    found = checkpointer.latest()
    if found is None:
        return False
    own = trainer.checkpoint()
    require_same_run(found, config=own.config, data_hash=own.data_hash)
    trainer.restore(found)
    if journal is not None:
        journal.write("resume", step=found.step)
    return True

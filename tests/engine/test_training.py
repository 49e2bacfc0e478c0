"""The loop that runs every training: told, kept, resumed, interrupted, measured, taken back; shown on a trainer of its own."""

import inspect
import io
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import final

import pytest
import torch
from tests.support import tiny_trainer
from tests.support.processes import run_process
from tests.support.tiny_trainer import TinyTrainer

from scenewise.engine.checkpoints import Checkpoint, Checkpointer
from scenewise.engine.distribution import Ranks
from scenewise.engine.interruption import DeferredInterruption
from scenewise.engine.journal import Journal, read_journal
from scenewise.engine.measuring import MEASURED_STEPS, Measurable, steps_within
from scenewise.engine.progress import LineProgress
from scenewise.engine.step_back import NonFiniteError, StepsBack, TrainingDivergedError
from scenewise.engine.tensorboard import Board
from scenewise.engine.training import Rhythm, Session, StepReport, Trainable, journaled, resume, run_steps, train
from scenewise.errors import ConventionError, ResourceError


@final
class _Writer:
    """What TensorBoard's writer is asked for."""

    def __init__(self) -> None:
        self.points: list[tuple[str, float, int]] = []

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.points.append((name, value, step))


def _same(one: Trainable, other: Trainable) -> bool:
    first, second = one.checkpoint(), other.checkpoint()
    parts = [(first.parameters, second.parameters), (first.optimizer, second.optimizer), (first.state, second.state)]
    return all(a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a) for a, b in parts)


def test_a_trainer_of_ones_own_takes_under_eighty_lines() -> None:
    assert isinstance(TinyTrainer(), Trainable) and not isinstance(TinyTrainer(), StepsBack)
    assert len(inspect.getsource(TinyTrainer).splitlines()) < 80


def test_a_run_is_told_and_kept(tmp_path: Path) -> None:
    writer, said = _Writer(), io.StringIO()
    trainer = TinyTrainer(25)
    with Journal(tmp_path / "log.jsonl") as journal:
        session = Session(
            journaled(Checkpointer(tmp_path / "checkpoints"), journal),
            Rhythm(show=4, log=10, save=8),
            journal,
            LineProgress(said, clock=map(float, range(1000)).__next__),
            Board(writer),
            title="a line",
        )
        last = train(trainer, session)
    events = read_journal(tmp_path / "log.jsonl")
    assert [(event["event"], event["step"]) for event in events] == [
        ("checkpoint", 8), ("step", 10), ("checkpoint", 16), ("step", 20), ("checkpoint", 24), ("step", 25), ("checkpoint", 25),
    ]  # fmt: skip
    assert set(events[1]) == {"event", "time", "step", "loss", "seconds"}
    assert [path.name for path in Checkpointer(tmp_path / "checkpoints").paths()] == ["step_000024", "step_000025"]
    assert [point[::2] for point in writer.points] == [(name, at) for at in (10, 20, 25) for name in ("loss", "loss/squares")]
    assert "a line: 4/25" in said.getvalue() and "a line: done" in said.getvalue() and "loss" in said.getvalue()
    assert last is not None and last.step == 25 and last.loss == events[5]["loss"]
    assert 0 < last.seconds <= trainer.seconds and trainer.starts == 1


@pytest.mark.parametrize("stop", [1, 7, 19])
def test_a_resumed_run_equals_an_unbroken_one(tmp_path: Path, stop: int) -> None:
    unbroken, checkpointer = TinyTrainer(), Checkpointer(tmp_path / "checkpoints")
    run_steps(unbroken)
    assert not resume(TinyTrainer(), checkpointer)
    run_steps(TinyTrainer(), until=stop, save=checkpointer.save, save_every=3)
    resumed = TinyTrainer()
    with Journal(tmp_path / "log.jsonl") as journal:
        assert resume(resumed, checkpointer, journal) and resumed.steps_done == stop
    assert [(event["event"], event["step"]) for event in read_journal(tmp_path / "log.jsonl")] == [("resume", stop)]
    run_steps(resumed)
    assert _same(unbroken, resumed)
    with pytest.raises(ConventionError, match="resume: option seed: expected 0 as in the checkpoint, got 1"):
        resume(TinyTrainer(seed=1), checkpointer)


def test_only_the_first_rank_is_listened_to_and_saved() -> None:
    for rank in range(2):
        reports: list[StepReport] = []
        saved: list[Checkpoint] = []
        trainer, writer, said = TinyTrainer(), _Writer(), io.StringIO()
        run_steps(trainer, listener=reports.append, save=saved.append, save_every=5, ranks=Ranks(rank, 2))
        assert trainer.steps_done == 20
        assert [len(reports), len(saved)] == ([20, 4] if rank == 0 else [0, 0])
        session = Session(saved.append, Rhythm(5, 5, 5), None, LineProgress(said), Board(writer))
        last = train(TinyTrainer(), session, ranks=Ranks(rank, 2))
        assert (last is not None) == bool(writer.points) == bool(said.getvalue()) == (rank == 0) == bool(saved)


def test_time_that_is_up_ends_between_two_steps_and_saves() -> None:
    saved: list[Checkpoint] = []
    trainer = TinyTrainer(during=lambda step: time.sleep(0.02))
    run_steps(trainer, save=saved.append, save_every=1000, deadline=time.monotonic() + 0.05)
    assert 1 <= trainer.steps_done < 20 and [checkpoint.step for checkpoint in saved] == [trainer.steps_done]
    run_steps(trainer, save=saved.append, deadline=time.monotonic())
    assert len(saved) == 1  # nothing new


# --------------------------------------------------------------------------------------------------------------- interruptions


def _at(step: int, do: Callable[[], object]) -> Callable[[int], None]:
    def during(now: int) -> None:
        if now == step:
            do()

    return during


@contextmanager
def _on_sigterm(handler: Callable[[int, object], object]) -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _require_resumable(checkpointer: Checkpointer, step: int) -> None:
    unbroken, resumed = TinyTrainer(), TinyTrainer()
    run_steps(unbroken)
    assert resume(resumed, checkpointer) and resumed.steps_done == step
    run_steps(resumed)
    assert _same(unbroken, resumed)


def test_ctrl_c_in_the_middle_of_a_step_ends_it_saves_and_goes_on(tmp_path: Path) -> None:
    checkpointer, handler = Checkpointer(tmp_path), signal.getsignal(signal.SIGINT)
    trainer = TinyTrainer(during=_at(7, lambda: signal.raise_signal(signal.SIGINT)))
    with pytest.raises(KeyboardInterrupt):
        run_steps(trainer, save=checkpointer.save, save_every=1000)
    assert trainer.steps_done == 7 and [path.name for path in checkpointer.paths()] == ["step_000007"]
    assert signal.getsignal(signal.SIGINT) is handler
    _require_resumable(checkpointer, 7)


def test_ctrl_c_between_two_steps_saves_too(tmp_path: Path) -> None:
    def listen(report: StepReport) -> None:
        if report.step == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_steps(TinyTrainer(), listener=listen, save=Checkpointer(tmp_path).save, save_every=5)
    _require_resumable(Checkpointer(tmp_path), 9)


def test_sigterm_ends_a_process_as_before_but_with_a_checkpoint(tmp_path: Path) -> None:
    assert run_process(tiny_trainer.main, tmp_path, 20, 7) == -signal.SIGTERM
    assert [(event["event"], event["step"]) for event in read_journal(tmp_path / "log.jsonl")] == [("step", 5), ("checkpoint", 7)]
    _require_resumable(Checkpointer(tmp_path / "checkpoints"), 7)


def test_handlers_of_others_have_their_way(tmp_path: Path) -> None:
    checkpointer = Checkpointer(tmp_path)
    trainer = TinyTrainer(during=_at(7, lambda: signal.raise_signal(signal.SIGTERM)))
    with _on_sigterm(lambda number, frame: sys.exit(3)), pytest.raises(SystemExit):
        run_steps(trainer, save=checkpointer.save)
    _require_resumable(checkpointer, 7)
    came: list[int] = []
    trainer = TinyTrainer(during=_at(7, lambda: signal.raise_signal(signal.SIGTERM)))
    with _on_sigterm(lambda number, frame: came.append(trainer.steps_done)):
        run_steps(trainer)
    assert came == [7] and trainer.steps_done == 20  # a handler that ends nothing
    trainer = TinyTrainer(5, during=_at(5, lambda: signal.raise_signal(signal.SIGTERM)))
    with _on_sigterm(lambda number, frame: came.append(trainer.steps_done)):
        run_steps(trainer)
    assert came == [7, 5]  # also in the last step


def test_a_second_ctrl_c_does_not_wait_and_saves_nothing_half_done(tmp_path: Path) -> None:
    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    trainer = TinyTrainer(during=_at(7, twice))
    with pytest.raises(KeyboardInterrupt):
        run_steps(trainer, save=Checkpointer(tmp_path).save, save_every=5)
    assert trainer.steps_done == 6 and [path.name for path in Checkpointer(tmp_path).paths()] == ["step_000005"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_who_interrupts_leaves_even_where_nothing_can_be_written() -> None:
    def full(checkpoint: Checkpoint) -> None:
        raise ResourceError("disk", expected="room", got="none")

    trainer = TinyTrainer(during=_at(7, lambda: signal.raise_signal(signal.SIGINT)))
    with pytest.warns(UserWarning, match=r"No checkpoint at the interruption in step 7: disk"), pytest.raises(KeyboardInterrupt):
        run_steps(trainer, save=full, save_every=1000)


def test_what_was_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with DeferredInterruption() as interruption:
            signal.raise_signal(signal.SIGINT)
            assert not interruption.has_come
    finally:
        signal.signal(signal.SIGINT, before)


# ------------------------------------------------------------------------------------------------------------------- --minutes


@final
class _Stretchable(Trainable):
    """A tiny trainer whose steps take a millisecond and grow twice as slow."""

    def __init__(self) -> None:
        self._tiny = TinyTrainer(1000, during=lambda step: time.sleep(0.001))
        self.seconds = 0.0

    @property
    def steps_done(self) -> int:
        return self._tiny.steps_done

    @property
    def total_steps(self) -> int:
        return self._tiny.total_steps

    def set_total_steps(self, steps: int) -> None:
        self._tiny.total_steps = steps

    def slowdown(self) -> float:
        assert self.steps_done == MEASURED_STEPS + 1
        return 2.0

    def start(self) -> None:
        self._tiny.start()

    def step(self) -> None:
        self._tiny.step()

    def describe(self) -> StepReport:
        return self._tiny.describe()

    def checkpoint(self) -> Checkpoint:
        return self._tiny.checkpoint()

    def restore(self, checkpoint: Checkpoint) -> None:
        self._tiny.restore(checkpoint)


def test_minutes_become_steps_and_measuring_leaves_no_trace() -> None:
    measured, plain = _Stretchable(), TinyTrainer(60)
    assert isinstance(measured, Measurable)
    few, many = steps_within(measured, 0.01), steps_within(measured, 2.0)
    assert few == MEASURED_STEPS
    assert MEASURED_STEPS < many <= 1000  # 2 s at 1 ms and more, twice as slow
    measured.set_total_steps(60)
    run_steps(measured)
    run_steps(plain)
    assert _same(measured, plain)


# -------------------------------------------------------------------------------------------------------------------- step-back


@final
class _Fragile(Trainable):
    """Fails in some steps as long as some part of its data is not left out.

    Args:
        failing: what becomes NaN, by step.
        late: the step after which a check, and nothing before it, finds NaN, once.
    """

    check_every, advice = 4, "look at the data"

    def __init__(self, failing: dict[int, int], late: int | None = None) -> None:
        self.tiny, self.failing, self.late = TinyTrainer(), failing, late
        self.failures: list[str] = []
        self.left_out: list[int] = []
        self.seconds = 0.0
        self.visited: list[int] = []

    @property
    def steps_done(self) -> int:
        return self.tiny.steps_done

    @property
    def total_steps(self) -> int:
        return self.tiny.total_steps

    def start(self) -> None:
        self.tiny.start()

    def step(self) -> None:
        step = self.steps_done + 1
        self.visited.append(step)
        culprit = self.failing.get(step)
        if culprit is not None and culprit not in self.left_out:
            self.tiny.line.mul_(float("nan"))  # in place: only a copy of the good state is safe from it
            raise NonFiniteError(f"datum {culprit} is NaN", culprit)
        self.tiny.step()

    def require_finite(self) -> None:
        if self.late is not None and self.steps_done >= self.late:
            self.late = None
            raise NonFiniteError("the line is NaN", 9)

    def leave_out(self, culprit: int) -> str:
        self.left_out.append(culprit)
        return f"datum {culprit}"

    def describe(self) -> StepReport:
        return self.tiny.describe()

    def checkpoint(self) -> Checkpoint:
        return self.tiny.checkpoint()

    def restore(self, checkpoint: Checkpoint) -> None:
        self.tiny.restore(checkpoint)
        self.failures = []


def test_nan_takes_the_run_back_to_the_last_good_state_without_the_culprit() -> None:
    trainer, plain = _Fragile({10: 5}, late=15), TinyTrainer()
    assert isinstance(trainer, StepsBack)
    with pytest.warns(UserWarning) as told:
        run_steps(trainer)
    assert [str(each.message) for each in told] == [
        "datum 5 is NaN. Stepped back to step 8; datum 5 is left out once.",
        "the line is NaN. Stepped back to step 12; datum 9 is left out once.",
    ]
    assert trainer.visited == [*range(1, 11), *range(9, 17), *range(13, 21)]
    assert trainer.failures == ["datum 5 is NaN", "the line is NaN"] and trainer.left_out == [5, 9]
    run_steps(plain)
    assert _same(trainer, plain)


def test_three_failures_end_a_run() -> None:
    trainer = _Fragile({2: 0, 6: 1, 7: 2})
    failures = "datum 0 is NaN; datum 1 is NaN; datum 2 is NaN"
    message = rf"training diverged at step 7: {failures}\. Fix: look at the data; the last checkpoint"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(TrainingDivergedError, match=message):
            run_steps(trainer)


def test_a_trainer_that_cannot_step_back_ends_at_once() -> None:
    def broken() -> None:
        raise NonFiniteError("the loss is NaN")

    with pytest.raises(TrainingDivergedError, match="training diverged at step 3: the loss is NaN"):
        run_steps(TinyTrainer(during=_at(3, broken)))

"""Progress reports: what reaches a pipe, a terminal, and nobody."""

import io
import re

import pytest

from scenewise.engine.progress import LineProgress, NullProgress, TerminalProgress, console_progress, duration_text


class Clock:
    """Seconds that pass only when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_line_per_tenth_with_the_time_left_and_fields():
    clock, stream = Clock(), io.StringIO()
    with LineProgress(stream, clock).stage("train", 50) as stage:
        for _ in range(50):
            clock.now += 0.5
            stage.advance(loss=0.25, num_gaussians=7)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "train: 5/50, 22 s left, loss 0.25, num gaussians 7"  # 45 units at half a second each
    assert [line.split(",")[0] for line in lines[:-1]] == [f"train: {done}/50" for done in range(5, 50, 5)]
    assert lines[-1] == "train: done after 25 s"


def test_a_slow_stage_speaks_every_half_minute_even_without_a_known_length():
    clock, stream = Clock(), io.StringIO()
    with LineProgress(stream, clock).stage("fit") as stage:
        for _ in range(7):
            clock.now += 10.0
            stage.advance()
    assert stream.getvalue().splitlines() == ["fit: 3", "fit: 6", "fit: done after 1 min 10 s"]


def test_a_stage_that_is_over_at_once_leaves_one_line():
    stream = io.StringIO()
    with LineProgress(stream).stage("read", 1000) as stage:
        for _ in range(1000):
            stage.advance()
    assert stream.getvalue().splitlines() == ["read: done after 0.0 s"]


def test_nested_stages_carry_their_parents_names_and_a_failure_is_not_called_done():
    stream = io.StringIO()
    progress = LineProgress(stream, Clock())
    with pytest.raises(RuntimeError), progress.stage("outer"), progress.stage("inner"):
        raise RuntimeError
    assert stream.getvalue().splitlines() == ["outer › inner: stopped after 0.0 s", "outer: stopped after 0.0 s"]


def test_the_console_is_quiet_when_it_is_no_terminal():
    assert isinstance(console_progress(io.StringIO()), LineProgress)


def test_a_terminal_gets_bars_and_one_closing_line_per_stage():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    progress = console_progress(stream)
    assert isinstance(progress, TerminalProgress)
    with progress.stage("reconstruct"), progress.stage("train [sh 3]", 4) as stage:
        stage.advance(4, loss=0.125)
        progress.warning("17 images are missing")
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    assert "✓ train [sh 3]" in text and "✓ reconstruct" in text and "warning: 17 images are missing" in text


def test_library_use_prints_nothing(capsys: pytest.CaptureFixture[str]):
    progress = NullProgress()
    with progress.stage("train", 3) as stage:
        stage.advance(3, loss=1.0)
        progress.warning("no")
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 min 00 s"), (185.2, "3 min 05 s"), (7620.0, "2 h 07 min")],
)
def test_durations_read_well(seconds: float, text: str):
    assert duration_text(seconds) == text

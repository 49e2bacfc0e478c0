"""A training in its folder: length, going on, diary."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.tiny_trainer import TinyTrainer

from scenewise.engine.folder_runs import FolderRun, usual_rhythm
from scenewise.engine.journal import read_journal
from scenewise.engine.progress import NullProgress
from scenewise.engine.training import Rhythm, train


@dataclass(frozen=True)
class Options:
    out: Path
    resume: bool = False
    tensorboard: bool = False


def test_a_diary_from_start_to_end_and_on_from_a_checkpoint(tmp_path: Path) -> None:
    trainer = TinyTrainer(6)
    run = FolderRun("practise", Options(tmp_path), NullProgress())
    run.take_up(trainer)
    with run.session(trainer, "practise", Rhythm(1, 1, 2)) as (session, journal):
        assert session.title == "practise"
        train(trainer, session, until=4)
        journal.write("note", said="hello")
    events = read_journal(tmp_path / "log.jsonl")
    assert (events[0]["event"], events[0]["command"], events[0]["processes"]) == ("start", "practise", 1)
    assert events[0]["options"] == {"out": str(tmp_path), "resume": False, "tensorboard": False}
    kinds = [event["event"] for event in events]
    assert kinds == ["start", "step", "step", "checkpoint", "step", "step", "checkpoint", "note", "end"]

    later, again = TinyTrainer(6), FolderRun("practise", Options(tmp_path, resume=True), NullProgress())
    again.take_up(later)
    assert later.steps_done == 4
    with again.session(later, "practise", Rhythm(1, 1, 2)) as (session, _):
        assert session.title == "practise from step 4"
        train(later, session)
    events = read_journal(tmp_path / "log.jsonl")
    assert [event["step"] for event in events if event["event"] == "step"] == [1, 2, 3, 4, 5, 6]
    assert [event["step"] for event in events if event["event"] == "resume"] == [4]


def test_a_session_that_fails_has_no_end(tmp_path: Path) -> None:
    run = FolderRun("practise", Options(tmp_path), NullProgress())
    with pytest.raises(KeyError), run.session(TinyTrainer(6), "practise", Rhythm()):
        raise KeyError
    assert [event["event"] for event in read_journal(tmp_path / "log.jsonl")] == ["start"]


def test_two_hundred_lines_of_a_long_run_and_all_of_a_short_one() -> None:
    assert usual_rhythm(TinyTrainer(1000), 7) == Rhythm(5, 5, 7) and usual_rhythm(TinyTrainer(3), 7) == Rhythm(1, 1, 7)

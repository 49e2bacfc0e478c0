"""The run's diary: append-only, safe against kills, honest after a resume."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from scenewise.engine.journal import Journal, read_journal
from scenewise.errors import DataFormatError


def test_events_come_back_in_order_with_plain_values(tmp_path: Path):
    path = tmp_path / "new" / "log.jsonl"
    with Journal(path) as journal:
        journal.write("start", command="reconstruct", out=Path("a/b"), counts=np.array([3, 4]))
        journal.write("step", step=1, loss=float("nan"), num_gaussians=np.int64(9), psnr=torch.tensor(21.5))
    start, step = read_journal(path)
    assert (start["event"], start["out"], start["counts"]) == ("start", "a/b", [3, 4])
    assert (step["loss"], step["num_gaussians"], step["psnr"]) == (None, 9, 21.5)
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_second_run_appends_and_a_torn_last_line_is_cut_off(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    with Journal(path) as journal:
        journal.write("step", step=1)
    with path.open("a") as file:
        file.write('{"event": "step", "st')
    assert [event["step"] for event in read_journal(path)] == [1]
    with Journal(path) as journal:
        journal.write("step", step=2)
    assert [event["step"] for event in read_journal(path)] == [1, 2]


def test_a_resume_undoes_what_was_logged_after_its_checkpoint(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    with Journal(path) as journal:
        for step in (100, 200, 300):
            journal.write("step", step=step, loss=1.0)
        journal.write("resume", step=200)
        journal.write("step", step=300, loss=0.5)
    steps = [(event["step"], event["loss"]) for event in read_journal(path) if event["event"] == "step"]
    assert steps == [(100, 1.0), (200, 1.0), (300, 0.5)]


def test_what_was_written_before_a_kill_is_there(tmp_path: Path):
    path = tmp_path / "log.jsonl"
    code = f"""
import os, pathlib, signal
from scenewise.engine.journal import Journal
journal = Journal(pathlib.Path({str(path)!r}))
for step in range(25):
    journal.write("step", step=step)
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert [event["step"] for event in read_journal(path)] == list(range(25))


def test_no_file_has_no_events_and_a_foreign_file_is_named(tmp_path: Path):
    assert read_journal(tmp_path / "log.jsonl") == []
    path = tmp_path / "other.jsonl"
    path.write_text('{"event": "step", "step": 1}\nhello\n')
    with pytest.raises(DataFormatError, match=r"other\.jsonl: line 2: expected a JSON object with \"event\", got 'hello'"):
        read_journal(path)

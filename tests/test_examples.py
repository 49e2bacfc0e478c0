"""The numbered examples run as a person would run them, one after the other in one folder, and say what they should."""

import os
import re
import runpy
import sys
from pathlib import Path

import pytest
from tests.support.processes import run_process

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
NAMES = sorted(path.name for path in EXAMPLES.glob("*.py"))

# What each is given, and what it has to say.  One process runs them all: starting Python takes longer than most of them.
RUNS = {
    "01_photographs_to_splats.py": (
        "--steps 60 --size 96",
        r"PSNR \d+\.\d\d dB.*\n.* Gaussians, the first at .* 16 cameras",
    ),
    "02_words_on_splats.py": ("--frames 3", r"\d% of [\d,]+ splats have a class(.*\n)+ *[\d,]+  wall\n"),
    "03_a_question.py": ("", r"\d\.\d\d  \w+ at \("),
    "04_your_own_teacher.py": ("--size 96", r"reddish +\d+\.\d%(.*\n)+100\.0% of [\d,]+ points have a class"),
    "05_your_own_splat_method.py": ("--steps 60", r"splats\.ply: [\d,]+ Gaussians, crisp 0\.\d+"),
    "06_your_own_label_free_method.py": ("--frames 3 --size 64 --epochs 4", r"4 steps: points \d\.\d+, together \d\.\d+"),
}


def run_examples(lines: list[str], folder: Path, said: Path) -> None:
    """To be called in a process of its own."""
    os.chdir(folder)
    with said.open("w", encoding="utf-8") as sys.stdout:
        for line in lines:
            sys.argv = line.split()
            print("==", sys.argv[0], flush=True)
            runpy.run_path(sys.argv[0], run_name="__main__")


def test_they_are_numbered_short_and_listed():
    assert [name[:3] for name in NAMES] == [f"{number:02d}_" for number in range(1, 7)]
    assert re.findall(r"`(\d\d_\w+\.py)`", (EXAMPLES / "README.md").read_text(encoding="utf-8")) == NAMES == list(RUNS)
    for name in NAMES:
        assert len((EXAMPLES / name).read_text(encoding="utf-8").splitlines()) <= 80, name


@pytest.mark.slow
def test_they_run(tmp_path):
    lines = [f"{EXAMPLES / name} {arguments}" for name, (arguments, _) in RUNS.items()]
    (tmp_path / "here").mkdir()
    assert run_process(run_examples, lines, tmp_path / "here", tmp_path / "said.txt") == 0
    said = re.split(r"^== .*\n", (tmp_path / "said.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    for (name, (_, expected)), text in zip(RUNS.items(), said, strict=True):
        assert re.search(expected, text), f"{name} said:\n{text}"

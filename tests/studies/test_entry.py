"""``python -m scenewise.studies``: an explicit table, options of every study, and nothing of it in the command."""

import importlib
import subprocess
import sys
import tomllib
from dataclasses import is_dataclass
from pathlib import Path

import pytest

from scenewise.studies.__main__ import STUDIES, main
from scenewise.studies.bench import Keeping, cache_folder

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_options_and_says_how_it_is_called(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    study = importlib.import_module(f"scenewise.studies.{name}")
    assert is_dataclass(study.Options) and callable(study.main)
    assert f"python -m scenewise.studies {name}" in study.__doc__
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "--only" not in shown, "for processes that a study starts, not for people"


def test_a_process_that_a_study_starts_is_told_its_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    study = importlib.import_module("scenewise.studies.distilled_3dgs")
    told = []
    monkeypatch.setattr(study, "main", lambda options: told.append((options.processes.only, options.processes.jobs)) or 0)
    assert main(["distilled_3dgs", "--jobs", "2", "--only", "fox", "--quick"]) == 0
    assert main(["distilled_3dgs", "--jobs", "3"]) == 0
    assert told == [("fox", 2), (None, 3)]


def test_an_unknown_study_is_answered_with_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hickle"]) == 2 and main([]) == 2
    told = capsys.readouterr().err
    assert all(name in told for name in STUDIES)
    assert main(["--help"]) == 0 and "union" in capsys.readouterr().out


def test_every_method_with_published_results_has_a_study() -> None:
    methods = {path.stem for path in (ROOT / "docs" / "results").glob("*.json")}
    assert methods and methods <= STUDIES.keys()


def test_what_was_kept_is_looked_for_where_it_was_kept() -> None:
    assert cache_folder("label_free", Keeping()) == ROOT / "build" / "reproduce" / "label_free"
    assert cache_folder("label_free", Keeping(cache=Path("x"))) == Path("x")


def test_the_command_does_not_load_studies() -> None:
    code = "import sys, scenewise.cli.main; print([name for name in sys.modules if 'studies' in name])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_rates_of_errors_go_into_the_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert "**/*.json" in project["tool"]["setuptools"]["package-data"]["scenewise"]
    assert (ROOT / "src" / "scenewise" / "studies" / "noise_rates.json").is_file()

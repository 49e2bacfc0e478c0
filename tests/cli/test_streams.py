"""Standard streams that are closed, full, without a reader or in a poor encoding."""

import errno
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from tests.support.processes import run_process

from scenewise.cli.main import main
from scenewise.errors import ConventionError

_REPORT = "PSNR 20–30 dB → 67×120 ✓ at 50°, 日本"


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., object]], None]:
    """Puts a function in place of ``scenewise eval``."""

    def replace(function: Callable[..., object]) -> None:
        module = ModuleType("scenewise.commands.evaluate.run")
        module.evaluate_command = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)

    return replace


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("cp1252", "PSNR 20–30 dB -> 67×120 ok at 50°, ??"),
        ("ascii", "PSNR 20-30 dB -> 67x120 ok at 50 deg, ??"),
        ("utf-8", _REPORT),
    ],
)
def test_what_a_console_cannot_show_is_shown_in_its_likeness(work, monkeypatch, encoding, shown):
    out, err = io.BytesIO(), io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding=encoding))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(err, encoding=encoding))

    def report(options, progress):
        progress.message(_REPORT)
        return _REPORT

    work(report)
    assert main(["eval", "a"]) == 0
    sys.stderr.flush()
    assert out.getvalue().decode(encoding) == err.getvalue().decode(encoding) == shown + "\n"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_json_keeps_every_character_whatever_the_console(work, monkeypatch, encoding):
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, encoding=encoding))
    name = "写真\udcff.jpg"  # a file name that is not UTF-8
    work(lambda options, progress: {"image": name})
    assert main(["eval", "a", "--json"]) == 0
    assert json.loads(out.getvalue().decode(encoding)) == {"image": name}


class _Broken(io.StringIO):
    """A stream whose writes fail."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, text: str) -> int:
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE, errno.EIO])
def test_messages_that_cannot_be_written_do_not_end_the_work(work, monkeypatch, capsys, number):
    monkeypatch.setattr(sys, "stderr", _Broken(number))

    def talk(options, progress):
        progress.message("a")
        print("a library", file=sys.stderr)
        return "the result"

    work(talk)
    assert main(["eval", "a"]) == 0
    assert capsys.readouterr().out == "the result\n"


def test_a_result_that_does_not_arrive_is_an_error_unless_nobody_waits_for_it(work, monkeypatch, capsys):
    work(lambda options, progress: "the result")
    monkeypatch.setattr(sys, "stdout", _Broken(errno.EPIPE))
    assert main(["eval", "a"]) == 0
    monkeypatch.setattr(sys, "stdout", _Broken(errno.ENOSPC))
    assert main(["eval", "a"]) == 2
    assert "disk space for standard output: expected room for the result" in capsys.readouterr().err


def _without_standard_error(said: Path) -> None:
    """In a process of its own: the shell's ``2>&-``."""
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - what the interpreter does at its start
    os.close(2)
    sys.stderr = None  # type: ignore[assignment]
    code = main(["check", str(said.parent / "no such capture"), "--json"])
    taken = os.open(os.devnull, os.O_RDONLY)  # the descriptor of messages must not go to a file that is opened later
    os._exit(code if taken > 2 else 99)


def test_a_closed_standard_error_changes_neither_result_nor_exit_code(tmp_path):
    said = tmp_path / "said.json"
    assert run_process(_without_standard_error, said) == 2
    assert json.loads(said.read_text())["error"]["type"] == "DataFormatError"


class _CudaError(RuntimeError):
    pass


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError("Unable to allocate 9 GiB"), "memory ran out (Unable to allocate 9 GiB)"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "memory ran out ([enforce fail]"),
        (RuntimeError("std::bad_alloc"), "memory ran out (std::bad_alloc)"),
        (type("OutOfMemoryError", (_CudaError,), {})("CUDA is full"), "memory ran out (CUDA is full)"),
        (ImportError("cv2.so: failed to map segment from shared object", name="cv2"), "memory ran out (cv2.so"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "memory ran out"),
        (ImportError("libGL.so.1: no such file", name="cv2"), "the package cv2 is installed but cannot be loaded: libGL.so.1"),
        (RuntimeError("Symlink loop from 'a'"), "Symlink loop from 'a': expected a path that leads somewhere"),
        (PermissionError(13, "Permission denied", "/a/b"), "/a/b: Permission denied"),
        (ConventionError("x", expected="1", got=2), "x: expected 1, got 2"),
    ],
)
def test_what_the_machine_lacks_is_no_defect(work, capsys, error, said):
    def fail(options, progress):
        raise error

    work(fail)
    assert main(["eval", "a"]) == 2
    found = capsys.readouterr().err
    assert found.startswith(f"scenewise: {said}") and "defect" not in found


def test_an_import_of_our_own_that_fails_is_a_defect(work, capsys):
    def fail(options, progress):
        raise ImportError("cannot import name 'x' from 'scenewise.io'", name="scenewise.io")

    work(fail)
    assert main(["eval", "a"]) == 1
    assert "a defect in Scenewise" in capsys.readouterr().err

"""Made once, whole or not at all: found again, killed at every line, two makers at a time, foreign and damaged content."""

import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.json_values import canonical_json, fingerprint_of
from scenewise.io.product_kinds import (
    ANSWER,
    LABELS,
    OUTCOME,
    PICTURES,
    SCAN,
    STUDENT,
    TEACHER,
    FileKind,
    FolderKind,
    folder_kind,
    record_fingerprint,
    safe_stem,
)
from scenewise.io.products import Made, claim, drop, find, fingerprint_at, made, products_in, read_mark, verify

BLOCK = folder_kind("block")
NOTE = FileKind("note", ".txt")
FIRST, SECOND = fingerprint_of({"steps": 1}), fingerprint_of({"steps": 2})


def _note(folder: Path, fingerprint: str = FIRST, text: str = "words") -> Made[str]:
    def make(beside: Path) -> None:
        beside.write_text(text)

    return made(NOTE.path(folder, "a", fingerprint), NOTE, fingerprint, make, Path.read_text)


def _block(folder: Path, fingerprint: str = FIRST, kind: FolderKind = BLOCK, text: str = "words") -> Made[str]:
    def make(beside: Path) -> Mapping[str, Any]:
        (beside / "deep").mkdir(exist_ok=True)
        (beside / "deep" / "a.txt").write_text(text)
        return {"num_words": 1}

    return made(folder, kind, fingerprint, make, lambda path: (path / "deep" / "a.txt").read_text())


def test_the_canonical_text_and_its_hash_are_fixed() -> None:
    value = {"b": (1, 2.5, None), "a": {"ü": True, "path": Path("x")}}
    assert canonical_json(value) == '{"a": {"path": "x", "\\u00fc": true}, "b": [1, 2.5, null]}'
    # echo -n '{"steps": 1}' | sha256sum
    assert "9d7ff7f1fb36e43b" + FIRST[16:] == FIRST and len(FIRST) == 64
    assert fingerprint_of({"a": 1, "b": 2}) == fingerprint_of({"b": 2, "a": 1}) != fingerprint_of({"a": 2, "b": 1})


def test_a_file_is_made_once_for_each_fingerprint(tmp_path: Path) -> None:
    first, again, other = _note(tmp_path), _note(tmp_path, text="unused"), _note(tmp_path, SECOND, "others")
    assert [first.is_new, again.is_new, other.is_new] == [True, False, True]
    assert first.value == again.value == "words" and other.value == "others"
    assert first.path.name == f"a-{FIRST[:16]}.txt"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_is_made_once_and_its_mark_lists_its_files(tmp_path: Path) -> None:
    first, again = _block(tmp_path / "block"), _block(tmp_path / "block", text="unused")
    assert first.is_new and not again.is_new and again.value == "words"
    mark = json.loads((tmp_path / "block" / "product.json").read_text())
    assert mark == {"product": "block", "fingerprint": FIRST, "num_words": 1, "files": {"deep/a.txt": 5}}
    replaced = _block(tmp_path / "block", SECOND, folder_kind("block", if_other="replace"), "other words")
    assert replaced.is_new and replaced.value == "other words" and fingerprint_at(tmp_path / "block", BLOCK) == SECOND


def test_a_long_work_is_taken_up_where_it_is_and_its_workplace_goes(tmp_path: Path) -> None:
    kind = FolderKind("work", "work.json", in_place=True, workplace=("checkpoints",), if_other="replace")
    folder, steps = tmp_path / "work", []

    def make(place: Path, until: int) -> Mapping[str, Any]:
        (place / "checkpoints").mkdir(parents=True, exist_ok=True)
        for step in range(len(list((place / "checkpoints").iterdir())), until):
            (place / "checkpoints" / str(step)).touch()
            steps.append(step)
        if until < 4:
            raise KeyboardInterrupt
        return {"steps": until}

    def run(until: int, fingerprint: str = FIRST) -> Made[int]:
        return made(folder, kind, fingerprint, lambda place: make(place, until), _steps)

    def _steps(place: Path) -> int:
        mark = read_mark(place, kind)
        assert mark is not None
        return int(mark.integer("steps"))

    with pytest.raises(KeyboardInterrupt):
        run(2)
    assert find(folder, kind, FIRST, _steps) is None and not products_in(tmp_path)
    assert run(4) == Made(4, folder, is_new=True) and steps == [0, 1, 2, 3]
    assert run(4) == Made(4, folder, is_new=False) and not (folder / "checkpoints").exists()
    with pytest.raises(KeyboardInterrupt):  # one of another fingerprint loses its mark before anything is changed
        run(1, SECOND)
    assert find(folder, kind, FIRST, _steps) is None


def test_a_claimed_folder_holds_products_of_one_fingerprint(tmp_path: Path) -> None:
    assert claim(tmp_path, PICTURES, FIRST, {"names": ["a"]})
    (tmp_path / "000000.png").write_bytes(b"")
    (tmp_path / "mine.txt").write_text("kept")
    assert not claim(tmp_path, PICTURES, FIRST, {"names": ["a"]}) and (tmp_path / "000000.png").exists()
    assert claim(tmp_path, PICTURES, SECOND, {"names": ["a"]})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.txt", "pictures.json"]
    (tmp_path / "pictures.json").write_text("{rubbish")
    assert claim(tmp_path, PICTURES, SECOND, {"names": []})
    assert json.loads((tmp_path / "pictures.json").read_text()) == {"fingerprint": SECOND, "names": []}


def test_products_are_listed_verified_and_dropped(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    _block(tmp_path / "deep" / "block")
    claim(tmp_path / "pictures", PICTURES, SECOND, {"names": []})
    (tmp_path / "outcome_0_0123456789abcdef.json").write_text('{"metrics": {}}')
    save_file({}, tmp_path / "scan-0123456789abcdef.safetensors", {"scan": "{}"})
    save_file({}, tmp_path / "a__1-0123456789abcdef.safetensors", {"kind": "features"})
    (tmp_path / "other-0123456789abcdef.json").write_text("{}")
    found = {product.kind.name: product for product in products_in(tmp_path)}
    assert set(found) == {"product", "pictures", "outcome", "scan", "answer"}
    assert found["product"].fingerprint == FIRST and found["scan"].fingerprint == "0123456789abcdef"
    assert found["product"].num_bytes == sum(file.stat().st_size for file in (tmp_path / "deep").rglob("*") if file.is_file())
    for product in found.values():
        verify(product)
        drop(product)
    assert not products_in(tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["other-0123456789abcdef.json"]


_KILLED = """
    import os, sys
    from pathlib import Path
    from scenewise.io.atomic import recover_folder
    from tests.io.test_products import FIRST, SECOND, _block, _note, folder_kind

    folder, what = Path(sys.argv[1]), sys.argv[2]
    replacing = folder_kind("block", if_other="replace")
    if what == "replaced":
        _block(folder / "block", SECOND, text="older words")

    def die_at(step):
        def hook(event, arguments):
            nonlocal step
            if event.partition(".")[0] in ("open", "os", "shutil", "ctypes"):
                step -= 1
                if step == 0:
                    os._exit(9)
        return hook

    def content():
        if what == "note":
            names = [path for path in folder.iterdir() if not path.name.startswith(".")]
            return names[0].read_text() if names else "nothing"
        if not recover_folder(folder / "block"):
            return "nothing"
        is_new = FIRST in (folder / "block" / "product.json").read_text()
        return _block(folder / "block", FIRST if is_new else SECOND).value

    seen, step, code = [], 0, 9
    while code == 9:
        step += 1
        child = os.fork()
        if child == 0:
            sys.addaudithook(die_at(step))
            _note(folder) if what == "note" else _block(folder / "block", kind=replacing)
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        seen.append(content())
    print(code, step, *dict.fromkeys(seen), sep="|")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills children that it forks")
@pytest.mark.parametrize(("what", "before"), [("note", "nothing"), ("block", "nothing"), ("replaced", "older words")])
def test_a_kill_before_any_step_on_the_disk_leaves_nothing_or_the_whole(tmp_path: Path, what: str, before: str) -> None:
    command = [sys.executable, "-c", textwrap.dedent(_KILLED), str(tmp_path), what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    code, steps, *seen = done.stdout.strip().split("|")
    assert code == "0" and seen == [before, "words"]
    assert int(steps) >= 7  # so often it was killed


def test_makers_at_the_same_time_do_not_hurt_each_other(tmp_path: Path) -> None:
    both, results = threading.Barrier(2), []

    def make(beside: Path) -> Mapping[str, Any]:
        (beside / "a.txt").write_text("words")
        both.wait(timeout=10)  # neither has found the other's
        return {}

    def run() -> None:
        results.append(made(tmp_path / "block", BLOCK, FIRST, make, lambda path: (path / "a.txt").read_text()))

    makers = [threading.Thread(target=run) for _ in range(2)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert sorted(result.is_new for result in results) == [False, True]
    assert [result.value for result in results] == ["words", "words"]
    assert [path.name for path in tmp_path.iterdir()] == ["block"]


def test_kinds_of_before_keep_their_names_and_fingerprints() -> None:
    key = "0123456789abcdef" * 4
    folder = Path("x")
    assert OUTCOME.path(folder, "an arm_0", key) == folder / "an arm_0_0123456789abcdef.json"
    assert SCAN.path(folder, safe_stem("scene/0 1"), key) == folder / "scene_0_1-0123456789abcdef.safetensors"
    assert ANSWER.path(folder, "a__1", key) == folder / "a__1-0123456789abcdef.safetensors"
    assert [kind.mark for kind in (TEACHER, STUDENT, PICTURES, LABELS)] == [
        "teacher.json",
        "student.json",
        "pictures.json",
        "cache/segment.json",
    ]
    # echo -n '{"seed": 0}|abc' | sha256sum
    assert record_fingerprint({"seed": 0}, "abc") == "307fa325b42b68ae064eede797663473bf4df144935d98ba9732918647b29a86"


@pytest.mark.errors
def test_foreign_and_damaged_content_is_refused_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_bytes(b"x")
    with pytest.raises(DataFormatError, match=r"photos: expected a new or empty folder, or a block, got other content"):
        _block(tmp_path / "photos")
    _block(tmp_path / "block")
    with pytest.raises(ConventionError, match=r"block in .*made from .*choose another folder"):
        _block(tmp_path / "block", SECOND)
    [product] = products_in(tmp_path)
    (tmp_path / "block" / "deep" / "a.txt").write_text("wor")
    for check in (lambda: _block(tmp_path / "block"), lambda: verify(product)):
        with pytest.raises(
            DataFormatError, match=r"a\.txt: expected 5 bytes, got 3 bytes\. Fix: delete .*block; it is made again"
        ):
            check()
    (tmp_path / "block" / "product.json").write_text("{")
    with pytest.raises(DataFormatError, match=r"product\.json: expected the mark of a finished block.*Fix: delete .*block"):
        _block(tmp_path / "block")


@pytest.mark.errors
def test_files_that_were_cut_short_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({}, tmp_path / "scan-0123456789abcdef.safetensors", {"scan": "{}"})
    claim(tmp_path / "pictures", PICTURES, SECOND, {"names": []})
    (tmp_path / "pictures" / "000000.png").write_bytes(b"\x89PNG")
    scan, pictures = sorted(products_in(tmp_path), key=lambda product: product.kind.name, reverse=True)
    with pytest.raises(DataFormatError, match=r"000000\.png: expected a whole picture"):
        verify(pictures)
    data = scan.path.read_bytes()
    for wrong, message in ((data[:-3], "safetensors"), (data + b"x", f"expected {len(data):,} bytes"), (b"", "0 bytes")):
        scan.path.write_bytes(wrong)
        with pytest.raises(DataFormatError, match=message):
            verify(scan)

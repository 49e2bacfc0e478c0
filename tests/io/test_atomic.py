"""Old or new, never a part: atomic writing under errors and kills."""

import errno
import json
import os
import random
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from scenewise.errors import ConventionError, DataFormatError, ResourceError
from scenewise.io import atomic
from scenewise.io.atomic import (
    atomic_folder,
    atomic_path,
    atomic_write_bytes,
    atomic_write_json,
    atomic_write_text,
    link_or_copy,
    recover_folder,
    remove_stray_temporaries,
)
from scenewise.io.tensor_files import write_tensors


def _entries(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def _dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


class TestFiles:
    def test_new_content_replaces_old_and_nothing_else_is_left(self, tmp_path):
        path = tmp_path / "deep" / "a.json"
        atomic_write_bytes(path, b"old")
        atomic_write_text(path, "Größe\n")
        assert path.read_bytes() == "Größe\n".encode()
        assert _entries(path.parent) == ["a.json"]

    def test_json_keeps_key_order(self, tmp_path):
        atomic_write_json(tmp_path / "a.json", {"z": 1, "a": [1.5, None]})
        assert list(json.loads((tmp_path / "a.json").read_text())) == ["z", "a"]

    def test_failure_inside_the_block_keeps_the_old_file(self, tmp_path):
        path = tmp_path / "a.bin"
        path.write_bytes(b"old")
        with pytest.raises(ZeroDivisionError), atomic_path(path) as temporary:
            temporary.write_bytes(b"half")
            raise ZeroDivisionError
        assert path.read_bytes() == b"old"
        assert _entries(tmp_path) == ["a.bin"]

    def test_temporary_keeps_the_ending_and_fits_long_names(self, tmp_path):
        with atomic_path(tmp_path / "a.png") as temporary:
            assert temporary.suffix == ".png"
            temporary.write_bytes(b"x")
        long = tmp_path / ("n" * 250 + ".ply")
        atomic_write_bytes(long, b"x")
        assert long.read_bytes() == b"x"

    def test_a_link_stays_a_link(self, tmp_path):
        (tmp_path / "real").mkdir()
        (tmp_path / "real" / "a").write_bytes(b"old")
        (tmp_path / "link").symlink_to(tmp_path / "real" / "a")
        atomic_write_bytes(tmp_path / "link", b"new")
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "real" / "a").read_bytes() == b"new"

    def test_an_error_about_another_file_is_not_blamed_on_this_one(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="elsewhere"), atomic_path(tmp_path / "a") as temporary:
            temporary.write_bytes((tmp_path / "elsewhere").read_bytes())

    @pytest.mark.errors
    def test_non_finite_number_names_its_place(self, tmp_path):
        with pytest.raises(ConventionError, match=r"evaluation\.psnr\[1\].*finite.*nan"):
            atomic_write_json(tmp_path / "a.json", {"evaluation": {"psnr": [1.0, float("nan")]}})
        assert _entries(tmp_path) == []

    @pytest.mark.errors
    def test_target_is_a_folder(self, tmp_path):
        with pytest.raises(DataFormatError, match="existing folder"):
            atomic_write_bytes(tmp_path, b"x")

    @pytest.mark.errors
    def test_parent_is_a_file(self, tmp_path):
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(DataFormatError, match="can be written"):
            atomic_write_bytes(tmp_path / "file" / "a", b"x")

    @pytest.mark.errors
    @pytest.mark.parametrize(
        ("number", "kind", "words"),
        [
            (errno.ENOSPC, ResourceError, "disk space"),
            (errno.EROFS, ResourceError, "write access"),
            (errno.EACCES, ResourceError, "write access"),
            (errno.EIO, ResourceError, "working disk"),
        ],
    )
    def test_disk_errors_keep_the_old_file(self, tmp_path, monkeypatch, number, kind, words):
        path = tmp_path / "a"
        path.write_bytes(b"old")

        def fail(descriptor):
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(atomic.os, "fsync", fail)
        with pytest.raises(kind, match=words):
            atomic_write_bytes(path, b"new")
        assert path.read_bytes() == b"old"
        assert _entries(tmp_path) == ["a"]

    @pytest.mark.errors
    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a device that is always full")
    def test_a_really_full_disk(self, tmp_path):
        with pytest.raises(ResourceError, match="free space"), atomic_path(tmp_path / "a") as temporary:
            temporary.write_bytes(b"")
            with Path("/dev/full").open("wb", buffering=0) as full:
                full.write(b"x")


class TestFolders:
    def test_replaces_content_completely(self, tmp_path):
        for text in ("old", "new"):
            with atomic_folder(tmp_path / "scene") as folder:
                (folder / text).write_text(text)
        assert _entries(tmp_path) == ["scene"]
        assert _entries(tmp_path / "scene") == ["new"]

    def test_without_an_exchange_call(self, tmp_path, monkeypatch):
        monkeypatch.setattr(atomic, "_exchange", lambda first, second: False)
        self.test_replaces_content_completely(tmp_path)

    def test_failure_keeps_the_old_folder(self, tmp_path):
        with atomic_folder(tmp_path / "scene") as folder:
            (folder / "a").write_text("old")
        with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "scene") as folder:
            (folder / "b").write_text("new")
            raise ZeroDivisionError
        assert _entries(tmp_path) == ["scene"]
        assert _entries(tmp_path / "scene") == ["a"]

    @pytest.mark.errors
    def test_refuses_a_file_and_content_it_may_not_replace(self, tmp_path):
        (tmp_path / "file").write_text("x")
        with pytest.raises(DataFormatError, match="existing file"), atomic_folder(tmp_path / "file"):
            pass
        with pytest.raises(DataFormatError, match="with content"), atomic_folder(tmp_path, replace=False):
            pass


class TestStrays:
    def _name(self, prefix, pid, name):
        return f"{prefix}{atomic._host()}-{pid}-0-{name}"

    def test_only_those_of_dead_processes_of_this_host_go(self, tmp_path):
        dead = _dead_pid()
        keep = [self._name(".scenewise-tmp-", os.getppid(), "a"), f".scenewise-tmp-{'0' * 8}-{dead}-0-a", ".scenewise-notes", "a"]
        for name in [*keep, self._name(".scenewise-tmp-", dead, "a")]:
            (tmp_path / name).write_text("")
        (tmp_path / self._name(".scenewise-tmp-", dead, "folder")).mkdir()
        assert remove_stray_temporaries(tmp_path) == 2
        assert _entries(tmp_path) == sorted(keep)

    def test_a_folder_moved_aside_comes_back(self, tmp_path):
        aside = tmp_path / self._name(".scenewise-old-", _dead_pid(), "scene")
        aside.mkdir()
        (aside / "a").write_text("old")
        assert recover_folder(tmp_path / "scene")
        assert (tmp_path / "scene" / "a").read_text() == "old"
        assert not recover_folder(tmp_path / "nothing")


_WRITER = """
import sys
from pathlib import Path
from scenewise.io.atomic import atomic_folder, atomic_write_json
root = Path(sys.argv[1])
number = 0
while True:
    number += 1
    atomic_write_json(root / "file.json", {"number": number, "fill": [number] * 20000})
    with atomic_folder(root / "folder") as folder:
        (folder / "first").write_text(str(number) * 50000)
        (folder / "second").write_text(str(number))
    print(number, flush=True)
"""


def _kill_often(root: Path, kills: int) -> None:
    """Kills a writing process at random moments; after each kill what is on disk must be complete and consistent."""
    generator = random.Random(7)
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in sys.path if path))
    for _ in range(kills):
        with subprocess.Popen(
            [sys.executable, "-S", "-c", _WRITER, str(root)], stdout=subprocess.PIPE, env=environment
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()  # at least one round is complete
            time.sleep(generator.uniform(0.0, 0.03))
            process.send_signal(signal.SIGKILL)
        content = json.loads((root / "file.json").read_text())
        assert content["fill"] == [content["number"]] * 20000
        assert recover_folder(root / "folder")
        number = (root / "folder" / "second").read_text()
        assert (root / "folder" / "first").read_text() == number * 50000
    remove_stray_temporaries(root)
    assert _entries(root) == ["file.json", "folder"]


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_kill_at_any_moment(tmp_path):
    """SCENEWISE_KILLS=300 for a long look."""
    _kill_often(tmp_path, kills=int(os.environ.get("SCENEWISE_KILLS", "20")))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no permissions of this kind")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_files_may_be_read_by_whom_the_user_lets(tmp_path: Path, umask: int, mode: int):
    before = os.umask(umask)
    try:
        write_tensors(tmp_path / "a.safetensors", {"x": torch.zeros(3)}, "kind", {})  # the library makes private files
        atomic_write_text(tmp_path / "b.txt", "text")
    finally:
        os.umask(before)
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.safetensors", "b.txt")} == {mode}
    assert len(list(tmp_path.iterdir())) == 2


def test_a_link_is_the_file_itself_and_a_copy_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source, alias = tmp_path / "a.jpg", tmp_path / "alias.jpg"
    source.write_bytes(b"pixels")
    alias.symlink_to(source)
    link_or_copy(alias, tmp_path / "new" / "b.jpg")
    assert (tmp_path / "new" / "b.jpg").samefile(source) and not (tmp_path / "new" / "b.jpg").is_symlink()

    def refuse(*paths: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    link_or_copy(source, tmp_path / "c.jpg")
    assert (tmp_path / "c.jpg").read_bytes() == b"pixels" and not (tmp_path / "c.jpg").samefile(source)

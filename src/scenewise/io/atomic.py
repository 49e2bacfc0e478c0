"""Writing files and folders so that a reader meets the old content or the new, never a part.

Everything is written under a temporary name beside its target, flushed to the disk, then renamed.  A process that is killed
leaves at most a temporary behind; its name holds the host and process number, so the next write in that folder removes it once
that process is gone.
"""

import ctypes
import errno
import itertools
import json
import math
import os
import re
import shutil
import socket
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scenewise.errors import ConventionError, DataFormatError, ResourceError, ScenewiseError

_PREFIX = ".scenewise-tmp-"
_PREFIX_REPLACED = ".scenewise-old-"
_MAX_NAME_BYTES = 255  # NAME_MAX of every common file system
_counter = itertools.count()

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NOT_ALLOWED = {errno.EROFS, errno.EACCES, errno.EPERM}
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """The same file under another name; a copy where the file system cannot do that.  What links point to is taken.

    Raises:
        ResourceError: the disk is full or the folder cannot be written.
    """
    source, target = Path(source).resolve(), Path(target)
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)


def _host() -> str:
    """Eight hexadecimal digits that tell this host from others which may share the disk."""
    return f"{zlib.crc32(socket.gethostname().encode()):08x}"


def _temporary_beside(target: Path, prefix: str = _PREFIX) -> Path:
    """An unused sibling name that keeps the target's ending, because some writers choose their format by it."""
    head = f"{prefix}{_host()}-{os.getpid()}-{next(_counter)}-"
    name = target.name if len(os.fsencode(head + target.name)) <= _MAX_NAME_BYTES else f"long{target.suffix[-16:]}"
    return target.parent / (head + name)


_TEMPORARY_NAME = re.compile(
    rf"(?P<prefix>{re.escape(_PREFIX)}|{re.escape(_PREFIX_REPLACED)})(?P<host>[0-9a-f]{{8}})-(?P<pid>\d+)-\d+-(?P<name>.+)",
    re.DOTALL,
)


def _is_running(pid: int) -> bool:
    if os.name != "posix":  # elsewhere signal 0 is not a harmless question, so a temporary is left alone
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def remove_stray_temporaries(folder: Path) -> int:
    """Removes what killed processes of this host left in ``folder``; returns how many entries went.

    A folder that was moved aside for its replacement when the process died is put back if its place is empty.
    """
    removed = 0
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.name.startswith(".scenewise-")]
    except OSError:  # nothing there yet, or not readable: the write itself will say so
        return 0
    for name in names:
        match = _TEMPORARY_NAME.fullmatch(name)
        if match is None or match["host"] != _host() or _is_running(int(match["pid"])):
            continue
        stray, target = folder / name, folder / match["name"]
        try:
            if match["prefix"] == _PREFIX_REPLACED and not os.path.lexists(target):
                stray.rename(target)
            elif stray.is_dir() and not stray.is_symlink():
                shutil.rmtree(stray)
            else:
                stray.unlink()
            removed += 1
        except OSError:  # another process was quicker, or the folder is read-only: no reason to stop a write
            continue
    return removed


def _scenewise_error(target: Path, error: OSError) -> ScenewiseError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in _DISK_FULL:
        return ResourceError(
            f"disk space for {target}", expected="room for the whole file", got=reason, fix="free space, or choose another folder"
        )
    if error.errno in _NOT_ALLOWED:
        return ResourceError(
            f"write access to {target}", expected="a writable folder", got=reason, fix="choose a folder you may write to"
        )
    if error.errno in {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY}:
        return DataFormatError(target, expected="a path that can be written", got=reason, fix="choose another name")
    if error.errno == errno.ENAMETOOLONG:
        return DataFormatError(target, expected=f"names up to {_MAX_NAME_BYTES} bytes", got=reason, fix="choose a shorter name")
    return ResourceError(
        f"writing {target}", expected="a working disk", got=reason, fix="check the disk, or choose another folder"
    )


@contextmanager
def disk_errors(target: Path, temporary: Path | None = None) -> Iterator[None]:
    """Turns failures to write ``target`` (under a temporary name, perhaps) into our errors; others pass through.

    Raises:
        ResourceError: the disk is full or the place cannot be written.
        DataFormatError: the path is no place for a file, e.g. one of its parents is a file.
    """
    try:
        yield
    except OSError as error:
        name = "" if error.filename is None else os.fsdecode(error.filename)
        ours = [str(target)] if temporary is None else [str(target), str(temporary)]
        elsewhere = name != "" and not name.startswith(tuple(ours)) and not str(target).startswith(name)
        if isinstance(error, ScenewiseError) or (elsewhere and error.errno not in _DISK_FULL):
            raise
        raise _scenewise_error(target, error) from error
    except Exception as error:
        number = _system_error_inside(error)
        if number is None:
            raise
        raise _scenewise_error(target, OSError(number, os.strerror(number))) from error


def _system_error_inside(error: Exception) -> int | None:
    """Number of the system's error that a library in Rust wraps into one of its own, such as safetensors'; else None."""
    found = re.search(r"\(os error (\d+)\)", str(error))
    return None if found is None or isinstance(error, ScenewiseError) else int(found[1])


def _flush_to_disk(path: Path) -> None:
    if path.is_dir() and os.name != "posix":  # only POSIX opens folders
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush_tree_to_disk(folder: Path) -> None:
    for parent, _, files in os.walk(folder):
        for name in files:
            if not (Path(parent) / name).is_symlink():
                _flush_to_disk(Path(parent) / name)
        _flush_to_disk(Path(parent))


def _make_parent(target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_stray_temporaries(target.parent)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; renamed to ``path`` when the block ends without an error.

    Parent folders are made.  A link is followed, so that the file it points to is replaced and the link stays.

    Raises:
        ResourceError: the disk is full or the folder cannot be written; the old file is untouched.
        DataFormatError: ``path`` is a folder, or one of its parents is a file.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise DataFormatError(path, expected="a file name", got="an existing folder", fix="choose another name")
    temporary = _temporary_beside(target)
    with disk_errors(target, temporary):
        _make_parent(target)
        usual_mode = _mode_of_new_files(temporary)
        try:
            yield temporary
            assert temporary.is_file(), f"the block wrote nothing to {temporary}"
            if stat.S_IMODE(temporary.stat().st_mode) != usual_mode:  # some libraries make files that only their owner reads
                temporary.chmod(usual_mode)
            _flush_to_disk(temporary)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        _flush_to_disk(target.parent)


def _mode_of_new_files(path: Path) -> int:
    """Permissions that a new file gets from the user's umask; ``path`` is made for it and deleted."""
    path.touch(exist_ok=False)
    mode = stat.S_IMODE(path.stat().st_mode)
    path.unlink()
    return mode


def atomic_write_bytes(path: str | Path, data: bytes | bytearray | memoryview) -> None:
    """Writes ``data`` to ``path``; errors as in :func:`atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def atomic_write_text(path: str | Path, text: str) -> None:
    """Writes ``text`` as UTF-8 with the line ends it has; errors as in :func:`atomic_path`."""
    atomic_write_bytes(path, text.encode())


def json_text(path: str | Path, value: object, *, indent: int | None = 2) -> str:
    """``value`` as JSON text in the order of its keys, with a line end; ``path`` is for the message.

    Raises:
        ConventionError: a number is NaN or infinite, which JSON cannot hold; the message names its place.
    """
    try:
        return json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False) + "\n"
    except ValueError as error:
        place = _place_of_non_finite(value, "")
        if place is None:
            raise
        raise ConventionError(
            f"{path}: {place[0]}", expected="a finite number", got=place[1], fix="store null where a figure is unknown"
        ) from error


def atomic_write_json(path: str | Path, value: object, *, indent: int | None = 2) -> None:
    """Writes ``value`` as JSON; errors as in :func:`json_text` and :func:`atomic_path`."""
    atomic_write_text(path, json_text(path, value, indent=indent))


def _place_of_non_finite(value: object, place: str) -> tuple[str, float] | None:
    if isinstance(value, float) and not math.isfinite(value):
        return place or "value", value
    items: Iterator[tuple[str, object]] = iter(())
    if isinstance(value, dict):
        items = ((f"{place}.{key}".lstrip("."), inner) for key, inner in value.items())
    elif isinstance(value, list | tuple):
        items = ((f"{place}[{index}]", inner) for index, inner in enumerate(value))
    return next((found for name, inner in items if (found := _place_of_non_finite(inner, name)) is not None), None)


def _exchange(first: Path, second: Path) -> bool:
    """Swaps two names in one step where the system can (Linux ≥ 3.15); False where it cannot and nothing happened."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    done = rename(
        ctypes.c_int(_AT_FDCWD),
        ctypes.c_char_p(os.fsencode(first)),
        ctypes.c_int(_AT_FDCWD),
        ctypes.c_char_p(os.fsencode(second)),
        ctypes.c_uint(_RENAME_EXCHANGE),
    )
    return int(done) == 0


@contextmanager
def atomic_folder(path: str | Path, *, replace: bool = True) -> Iterator[Path]:
    """An empty temporary folder beside ``path``; it becomes ``path`` when the block ends without an error.

    An existing folder is swapped for the new one and then deleted, so the caller must own it (see
    :mod:`scenewise.io.scene_outputs`).  Where the system cannot swap two names in one step the old folder is moved aside
    first; if the process dies just then, :func:`recover_folder` puts it back.

    Args:
        path: the folder to create or replace.
        replace: whether an existing, non-empty folder may be replaced.

    Raises:
        ResourceError: the disk is full or the parent cannot be written; the old folder is untouched.
        DataFormatError: ``path`` is a file, or it has content and ``replace`` is False.
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_dir():
        raise DataFormatError(path, expected="a folder", got="an existing file", fix="choose another name")
    if not replace and target.is_dir() and any(target.iterdir()):
        raise DataFormatError(path, expected="a new or empty folder", got="a folder with content", fix="choose another name")
    temporary = _temporary_beside(target)
    with disk_errors(target, temporary):
        _make_parent(target)
        try:
            temporary.mkdir()
            yield temporary
            _flush_tree_to_disk(temporary)
            _put_in_place(temporary, target, replace)
        finally:  # after a swap the temporary name holds the old folder
            shutil.rmtree(temporary, ignore_errors=True)
        _flush_to_disk(target.parent)


def _put_in_place(temporary: Path, target: Path, replace: bool) -> None:
    if not replace:  # fails where somebody was quicker: theirs stays
        if target.exists():
            target.rmdir()
        temporary.rename(target)
        return
    if not target.exists():
        temporary.rename(target)
        return
    if _exchange(temporary, target):
        return
    aside = _temporary_beside(target, _PREFIX_REPLACED)
    target.rename(aside)
    try:
        temporary.rename(target)
    except OSError:
        aside.rename(target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def recover_folder(path: str | Path) -> bool:
    """Puts back a folder whose replacement was interrupted; True when ``path`` exists afterwards.  Readers call it first."""
    target = Path(os.path.realpath(path))
    if not target.exists():
        remove_stray_temporaries(target.parent)
    return target.exists()

"""Which photographs of a capture are held out, as a person chooses it."""

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from scenewise.errors import DataFormatError
from scenewise.io.json_fields import JsonFields
from scenewise.scenes.captures import Capture, every_nth_name


@dataclass(frozen=True)
class SplitChoice:
    """A person's choice; at most one of the three.  None of them keeps the split of the capture's files.

    Attributes:
        keep_all: nothing is held out.
        test_every: frames 0, N, 2N … by name are held out.
        file: names of the held-out frames, one a line, or a JSON object with "train", "test" or both; see :func:`read_split`.
    """

    keep_all: bool = False
    test_every: int | None = None
    file: Path | None = None

    def words(self) -> str | None:
        """For records of a run; None where the files decide."""
        if self.keep_all:
            return "all train"
        if self.test_every is not None:
            return f"every {self.test_every} held out"
        return None if self.file is None else f"file {self.file.name}"


def with_split(capture: Capture, choice: SplitChoice) -> Capture:
    """The capture split as chosen; a file that lists both sides leaves out frames that are on neither.

    Raises:
        DataFormatError: the file cannot be read, names something unknown, or leaves nothing to train on.
    """
    if choice.keep_all:
        return replace(capture, test_names=frozenset())
    if choice.test_every is not None:
        return replace(capture, test_names=every_nth_name(capture.frames, choice.test_every))
    if choice.file is None:
        return capture
    train, test = read_split(choice.file, [frame.name for frame in capture.frames])
    frames = tuple(frame for frame in capture.frames if frame.name in train or frame.name in test)
    split = replace(capture, frames=frames, test_names=test)
    if len(split.train_frames) < 2:
        raise DataFormatError(
            choice.file,
            expected="at least 2 images to train on",
            got=f"{len(split.train_frames)} of {len(capture.frames_with_image)}",
            fix="hold fewer out",
        )
    return split


def read_split(path: Path, names: Sequence[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Names of the training and of the held-out frames.

    A text file lists the held-out ones, a line each; lines that begin with # are comments.  In JSON, {"test": […]} does the
    same, {"train": […]} lists the others, and both together leave out what is in neither.  A name is a frame's, its last part,
    or either without suffix.

    Args:
        path: the file.
        names: of all frames.

    Raises:
        DataFormatError: unreadable, a name that is unknown or fits several frames, or one on both sides.
    """
    lists = _listed(path)
    known = _by_every_name(names)
    found = {side: frozenset(_frame_named(path, side, entry, known) for entry in entries) for side, entries in lists.items()}
    everything = frozenset(names)
    if "train" not in found:
        return everything - found["test"], found["test"]
    if "test" not in found:
        return found["train"], everything - found["train"]
    both = sorted(found["train"] & found["test"])
    if both:
        raise DataFormatError(path, expected="each name under train or test", got=f"{both[0]} under both", fix="remove one")
    return found["train"], found["test"]


def _listed(path: Path) -> dict[str, list[str]]:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        got = error.strerror or str(error) if isinstance(error, OSError) else "bytes that are not UTF-8"
        raise DataFormatError(path, expected="a split file", got=got, fix="list names of held-out images, one a line") from error
    if text.lstrip()[:1] not in {"{", "["}:
        lines = (line.strip() for line in text.splitlines())
        return {"test": [line for line in lines if line and not line.startswith("#")]}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataFormatError(path, expected="JSON", got=str(error), fix="check brackets and commas") from error
    fields = JsonFields(path, "", {"test": value} if isinstance(value, list) else value)
    lists = {side: fields.texts(side, None) for side in ("train", "test")}
    fields.finish()
    found = {side: list(names) for side, names in lists.items() if names is not None}
    if not found:
        raise DataFormatError(path, expected='"train", "test" or both', got="neither")
    return found


def _by_every_name(names: Sequence[str]) -> dict[str, set[str]]:
    known: dict[str, set[str]] = {}
    for name in names:
        whole = PurePosixPath(name)
        for other in {name, whole.name, whole.stem, whole.with_suffix("").as_posix()}:
            known.setdefault(other, set()).add(name)
    return known


def _frame_named(path: Path, side: str, entry: str, known: dict[str, set[str]]) -> str:
    wanted = entry.replace("\\", "/").removeprefix("./")
    found = {wanted} if wanted in known.get(wanted, ()) else known.get(wanted, set())
    if len(found) == 1:
        return next(iter(found))
    if found:
        fix = f"write more of the path: {', '.join(sorted(found)[:3])}"
        raise DataFormatError(path, side, expected="names of one image each", got=f"{entry}, which fits {len(found)}", fix=fix)
    near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.0)
    raise DataFormatError(
        path, side, expected="names of images of the capture", got=entry, fix=f"the nearest is {near[0]}" if near else None
    )

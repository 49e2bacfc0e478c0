"""The lists of a CO3D category: hundreds of thousands of frames, of which a sequence needs two hundred."""

import json
import math
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import final

from scenewise.errors import DataFormatError
from scenewise.io.bounded import BoundedGunzip, open_bounded
from scenewise.io.json_fields import JsonFields
from scenewise.io.json_records import JsonRecord, json_records

FRAME_LIST = "frame_annotations.jgz"
SEQUENCE_LIST = "sequence_annotations.jgz"
_CATEGORIES_KEPT = 2
_QUICKEST = 1  # of zlib's levels: numbers in JSON shrink to a third even so


@dataclass(frozen=True)
class SequenceNotes:
    """What the list of sequences says about one.

    Attributes:
        name: of the sequence.
        category: it belongs to.
        cloud_path: of its points, relative to the data root; None where it has none.
        cloud_quality: of the points, the larger the better; None where nobody knows.
        viewpoint_quality: of the poses, likewise.  Who trains on CO3D usually leaves out sequences of 0.5 and less.
    """

    name: str
    category: str
    cloud_path: str | None
    cloud_quality: float | None
    viewpoint_quality: float | None


def sequence_notes(category: Path) -> dict[str, SequenceNotes]:
    """Of each sequence of a category, by name; nothing where the category has no list of sequences.

    Args:
        category: the folder with the lists.

    Raises:
        DataFormatError: a damaged list.
    """
    path = category / SEQUENCE_LIST
    if not path.is_file():
        return {}
    notes = {}
    for record in _records(path):
        fields = JsonFields(path, f"record {record.number}", record.values)
        cloud = fields.object("point_cloud", None)
        note = SequenceNotes(
            name=fields.text("sequence_name"),
            category=fields.text("category"),
            cloud_path=None if cloud is None else cloud.text("path"),
            cloud_quality=None if cloud is None else _known(record.values["point_cloud"].get("quality_score")),
            viewpoint_quality=_known(record.values.get("viewpoint_quality_score")),
        )
        notes[note.name] = note
    return notes


def _known(score: object) -> float | None:
    """A score, or None where there is none: the authors' software writes NaN for what could not be judged."""
    return float(score) if isinstance(score, int | float) and math.isfinite(score) else None


def frames_of_sequence(category: Path, sequence: str) -> tuple[JsonFields, ...]:
    """The records of a sequence's frames, in the order of the list.

    The list of a category is read once and kept, packed, for the next sequence of it.

    Args:
        category: the folder with the lists.
        sequence: its name.

    Raises:
        DataFormatError: a damaged list, or none of its frames is of this sequence.
    """
    path = category / FRAME_LIST
    packed = _LISTS.of(path)
    if sequence not in packed:
        names = list(packed)
        raise DataFormatError(
            path,
            expected=f"frames of the sequence {sequence}",
            got=f"those of {len(names)} others" + (f", {names[0]} the first" if names else ""),
            fix="name the folder of one of those, or unpack the list that came with the sequence",
        )
    numbers, parts = packed[sequence]
    texts = b",".join(zlib.decompress(part) for part in parts)
    values = json.loads(b"[" + texts + b"]")
    return tuple(JsonFields(path, f"record {number}", value) for number, value in zip(numbers, values))


_PackedFrames = dict[str, tuple[list[int], list[bytes]]]
"""By sequence: numbers of its records, and their texts, joined by commas and compressed."""


@final
class _FrameLists:
    """The lists that were read last."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lists: OrderedDict[tuple[Path, int, int], _PackedFrames] = OrderedDict()
        self._lock = Lock()

    def of(self, path: Path) -> _PackedFrames:
        with open_bounded(path):  # one message for what is no file
            stat = path.stat()
        key = path.resolve(), stat.st_mtime_ns, stat.st_size
        with self._lock:
            if key not in self._lists:
                self._lists[key] = _packed(path)
                while len(self._lists) > self._most:
                    self._lists.popitem(last=False)
            self._lists.move_to_end(key)
            return self._lists[key]


_LISTS = _FrameLists(_CATEGORIES_KEPT)


def _packed(path: Path) -> _PackedFrames:
    packed: _PackedFrames = {}
    waiting: list[str] = []
    before = ""

    def put_away(texts: Sequence[str]) -> None:
        if texts:
            packed[before][1].append(zlib.compress(",".join(texts).encode(), _QUICKEST))

    for record in _records(path):
        name = JsonFields(path, f"record {record.number}", record.values).text("sequence_name")
        if name != before:  # as published, frames of a sequence follow each other
            put_away(waiting)
            before, waiting = name, []
        packed.setdefault(name, ([], []))[0].append(record.number)
        waiting.append(record.text)
    put_away(waiting)
    return packed


def _records(path: Path) -> Iterator[JsonRecord]:
    with open_bounded(path) as (file, size):
        yield from json_records(path, BoundedGunzip(path, file, size).pieces(), with_nan=True)

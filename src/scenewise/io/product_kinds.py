"""The kinds of products: what each is called on the disk, and what its fingerprint is taken of.

``KINDS`` is the one table of them.  New kinds take :func:`scenewise.io.json_values.fingerprint_of` and, where they are folders,
:func:`folder_kind`.  Those that are older than this module keep names and fingerprints as they always were, so folders of then
open now:

==============  ===============================  =======================================================================
kind            on the disk                      SHA-256 of
==============  ===============================  =======================================================================
teacher         ``vanilla/teacher.json``         canonical JSON of its ``record``, a bar, and its ``data_hash``; not stated
student         ``30/student.json``              likewise, of a record that only the run has; stated
pictures        ``pictures/pictures.json``       the teachers' fingerprints, the background and every camera; stated
labels          ``cache/segment.json``           canonical JSON of its ``settings``; not stated
study training  ``dense_0_<digits>/done.json``   canonical JSON of scene, data and settings; in the folder's name
answer          ``name-<digits>.safetensors``    name, shape and pixels of the image, in a folder named after the teacher
scan            ``name-<digits>.safetensors``    data, settings, teacher, words; the whole of it stands in the file
features        ``name-<digits>.safetensors``    size and head of the picture's file, limits of the search
poses           ``poses.json``                   names and heads of the pictures or of the film, settings; stated
coarse model    ``coarse/coarse.json``           canonical JSON of data, settings and initial points; stated
block           ``block_003-<digits>.safetensors`` run, number and slot
settled block   ``settled_003-<digits>.ply``     run, number, steps and settings
part of a scene ``part_003-<digits>.safetensors`` likewise
graph scans     ``rooms_0-<digits>.safetensors``  numbers of the rooms, settings, weights of the teacher, rules of relations
thing pictures  ``name-<digits>.safetensors``    points of a scan's things, its cameras and photographs, weights of the teacher
posed scan      ``name-<digits>.safetensors``    points, cameras and pictures of a capture, weights of the teacher, settings
room truth      ``room-7-<digits>.safetensors``   number of the room, how it is scanned
outcome         ``arm_0_<digits>.json``          canonical JSON of arm, seed and configuration
==============  ===============================  =======================================================================

*Digits* are the first sixteen of the fingerprint.
"""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scenewise.errors import DataFormatError
from scenewise.io.json_fields import JsonFields, read_json_object
from scenewise.io.json_values import canonical_json, fingerprint_of

KEY_DIGITS = 16
_LONGEST_NAME = 80
_MAX_HEADER_BYTES = 100_000_000  # the safetensors library's own limit

IfDamaged = Literal["refuse", "again"]
"""What becomes of a product that cannot be read: an error that says so, or it is made again."""


def safe_stem(name: str) -> str:
    """A name as the first part of a file name: its last eighty characters, odd ones replaced."""
    return re.sub(r"[^\w.-]", "_", name)[-_LONGEST_NAME:]


def _stated(mark: JsonFields) -> str:
    return str(mark.text("fingerprint"))


@dataclass(frozen=True)
class FileKind:
    """A product that is one file, which is there whole or not at all.

    Attributes:
        name: of the kind.
        suffix: ending of its files.
        joint: between name and digits; None where the name holds none, because the folder was claimed for the fingerprint.
        if_damaged: see :data:`IfDamaged`.
        entry: key that tells its files from others with that ending: of the metadata, or of the JSON object.
    """

    name: str
    suffix: str
    joint: str | None = "-"
    if_damaged: IfDamaged = "refuse"
    entry: str | None = None

    def path(self, folder: Path, stem: str, fingerprint: str) -> Path:
        """Where the product of this fingerprint is kept; ``stem`` is for people, and may be any file name."""
        return folder / (stem + ("" if self.joint is None else self.joint + fingerprint[:KEY_DIGITS]) + self.suffix)

    def digits(self, path: Path) -> str | None:
        """The digits in a file's name; None where it is not named like this kind."""
        match = re.fullmatch(rf".*{re.escape(self.joint or '-')}([0-9a-f]{{{KEY_DIGITS}}}){re.escape(self.suffix)}", path.name)
        return None if match is None or self.joint is None else match[1]

    def is_kind_of(self, path: Path) -> bool:
        """Whether a file that is named like this kind is of it; damaged ones are of none."""
        try:
            return self.entry is None or self.entry in entries_of(path)
        except DataFormatError:
            return False


@dataclass(frozen=True)
class FolderKind:
    """A product that is a folder with a mark: a JSON file that says what it was made from.

    Attributes:
        name: of the kind.
        mark: file below the folder.
        mark_first: the mark claims the folder for files that are products of their own; otherwise it comes last, and a folder
            with it is finished.
        in_place: it is made where it will be, so that what a killed run has done so far is taken up again.
        fingerprint_in: fingerprint that a mark tells of.
        is_stated: whether that is an entry of the mark.
        is_listed: whether the mark lists the files with their sizes.
        needs: files that a finished one has.
        workplace: folders that are gone when it is finished.
        owns: patterns of what belongs to it; "*" is the folder itself.
        if_damaged: see :data:`IfDamaged`; of the mark.
        if_other: what becomes of one with another fingerprint in the same place: an error that says so, or it is replaced.
    """

    name: str
    mark: str
    mark_first: bool = False
    in_place: bool = False
    fingerprint_in: Callable[[JsonFields], str] = _stated
    is_stated: bool = True
    is_listed: bool = False
    needs: tuple[str, ...] = ()
    workplace: tuple[str, ...] = ()
    owns: tuple[str, ...] = ("*",)
    if_damaged: IfDamaged = "refuse"
    if_other: Literal["refuse", "replace"] = "refuse"


Kind = FileKind | FolderKind


def folder_kind(name: str, *, if_other: Literal["refuse", "replace"] = "refuse") -> FolderKind:
    """A new kind of folder: made beside and renamed, with a mark ``product.json`` that lists its files."""
    return FolderKind(name, "product.json", is_listed=True, if_other=if_other)


def record_fingerprint(record: object, data_hash: str) -> str:
    """Fingerprint of a training: its settings and the data it learns from."""
    return hashlib.sha256(f"{canonical_json(record)}|{data_hash}".encode()).hexdigest()


TEACHER = FolderKind(
    "teacher",
    "teacher.json",
    in_place=True,
    fingerprint_in=lambda mark: record_fingerprint(mark.mapping("record"), mark.text("data_hash")),
    is_stated=False,
    needs=("splats.ply",),
    workplace=("checkpoints",),
)
STUDENT = FolderKind(
    "student",
    "student.json",
    in_place=True,
    needs=("splats.ply", "splats.spz"),
    workplace=("checkpoints",),
    if_other="replace",
)
PICTURES = FolderKind(
    "pictures", "pictures.json", mark_first=True, in_place=True, owns=("*.png",), if_damaged="again", if_other="replace"
)
LABELS = FolderKind(
    "labels",
    "cache/segment.json",
    mark_first=True,
    in_place=True,
    fingerprint_in=lambda mark: fingerprint_of(mark.mapping("settings")),
    is_stated=False,
    owns=(),  # labels stay with their scene, whose folder this is
    if_other="replace",
)
STUDY_TRAINING = FolderKind(
    "training of a study",
    "done.json",
    in_place=True,
    fingerprint_in=lambda mark: mark.path.parent.name.rpartition("_")[2],  # the mark holds what the training took, no more
    is_stated=False,
    needs=("splats.ply",),
    workplace=("checkpoints",),
)
PICTURE = FileKind("picture", ".png", joint=None)
ANSWER = FileKind("answer", ".safetensors", if_damaged="again", entry="kind")
SCAN = FileKind("scan", ".safetensors", if_damaged="again", entry="scan")
PICTURE_FEATURES = FileKind("features of a picture", ".safetensors", if_damaged="again", entry="picture_features")
POSES = FolderKind(
    "poses of photographs",
    "poses.json",
    in_place=True,
    needs=tuple(f"sparse/0/{name}.bin" for name in ("cameras", "images", "points3D")),
    workplace=("work",),
    owns=("images/*", "masks/*", "sparse/0/*", "gps.csv", "log.jsonl"),
)
COARSE = FolderKind(
    "coarse model",
    "coarse.json",
    in_place=True,
    needs=("model.safetensors",),
    workplace=("checkpoints",),
    if_other="replace",
)
BLOCK = FileKind("block", ".safetensors", entry="block")
SETTLED = FileKind("settled block", ".ply")
BLOCK_PART = FileKind("part of a scene", ".safetensors", entry="block_part")
GRAPH_SCANS = FileKind("labelled scans with pictures", ".safetensors", if_damaged="again", entry="graph_scans")
POSED_SCAN = FileKind("posed scan", ".safetensors", if_damaged="again", entry="posed_scan")
ROOM_TRUTH = FileKind("truth of a room", ".safetensors", if_damaged="again", entry="room_truth")
THING_PICTURES = FileKind("pictures of a scan's things", ".safetensors", if_damaged="again", entry="thing_pictures")
OUTCOME = FileKind("outcome", ".json", joint="_", entry="metrics")

KINDS: tuple[Kind, ...] = (
    TEACHER, STUDENT, PICTURES, LABELS, STUDY_TRAINING, PICTURE, ANSWER, SCAN, PICTURE_FEATURES, POSES, BLOCK, COARSE, SETTLED,
    BLOCK_PART, GRAPH_SCANS, THING_PICTURES, POSED_SCAN, ROOM_TRUTH, OUTCOME, folder_kind("product"),
)  # fmt: skip
"""All kinds by which :func:`scenewise.io.products.products_in` knows what it finds."""


def entries_of(path: Path) -> frozenset[str]:
    """Keys of a safetensors file's metadata or of a JSON file's object, after a check that the file was not cut short.

    Raises:
        DataFormatError: it was, or it is no such file.
    """
    if path.suffix == ".json":
        return frozenset(read_json_object(path).keys())
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _MAX_HEADER_BYTES):
            raise DataFormatError(path, expected="a safetensors file", got=f"{size:,} bytes", fix="delete it; it is made anew")
        try:
            header = json.loads(file.read(length))
            end = max((int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"), default=0)
            entries = frozenset(map(str, header.get("__metadata__") or {}))
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
            raise DataFormatError(
                path, expected="a safetensors header", got=str(error)[:80], fix="delete it; it is made anew"
            ) from error
    if size != 8 + length + end:
        raise DataFormatError(path, expected=f"{8 + length + end:,} bytes", got=f"{size:,}", fix="delete it; it is made anew")
    return entries

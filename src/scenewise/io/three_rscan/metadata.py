"""Which things a sub-scan has, what they are called, and what holds between them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scenewise.errors import DataFormatError
from scenewise.io.bounded import open_bounded
from scenewise.io.json_fields import JsonFields, read_json_object
from scenewise.io.views import is_file
from scenewise.scenes.predicates import THREE_DSSG

Split = Literal["train", "validation"]
METADATA_FOLDERS = (".", "3DSSG_subset", "3DSSG")
CLASSES_FILE = "classes.txt"
PREDICATE_FILES = ("relationships.txt", "relations.txt")
NONE = "none"
"""First line of the file of predicates in the released data: no relation, of which the file of relations has none either."""
_MAX_LIST_BYTES = 1 << 24
_QUADRUPLE = 4


@dataclass(frozen=True)
class NamedRelation:
    """Something that holds between two objects of a scan.

    Attributes:
        subject: number of an object.
        object: number of another one.
        predicate: its name.
    """

    subject: int
    object: int
    predicate: str


@dataclass(frozen=True)
class SubScan:
    """What the files say of a sub-scan, faults included; see :func:`check_sub_scan`.

    Attributes:
        scan_id: name of the scan's folder.
        split: which part of the scan, from 1; 0 = all of it.
        object_names: class name by number of the object, in the file's order.
        relations: in the file's order.
    """

    scan_id: str
    split: int
    object_names: Mapping[int, str]
    relations: tuple[NamedRelation, ...]

    @property
    def name(self) -> str:
        """Name of the sub-scan: that of the scan, and which part of it."""
        return f"{self.scan_id}_{self.split}" if self.split else self.scan_id


@dataclass(frozen=True)
class SubScanCheck:
    """What of a sub-scan can be used.

    Attributes:
        relations: between two different objects of the sub-scan, each once, in the file's order.
        to_itself: relations of an object to itself.
        without_object: relations to objects that the sub-scan does not have.
        repeated: relations that were there before.
        unknown_objects: numbers of objects whose name is that of no class.
    """

    relations: tuple[NamedRelation, ...]
    to_itself: int
    without_object: int
    repeated: int
    unknown_objects: tuple[int, ...]


@dataclass(frozen=True)
class ThreeRscanMetadata:
    """The sub-scans of a split.

    Attributes:
        folder: where the files are.
        split: which.
        sub_scans: in the file's order, those of scans that the split's list names.
        class_names: position = class id.
        predicate_names: position = predicate id, without "none": the order of ``THREE_DSSG`` where these are its names, else the
            file's.
        not_listed: sub-scans left out because the split's list lacks their scan.
    """

    folder: Path
    split: Split
    sub_scans: tuple[SubScan, ...]
    class_names: tuple[str, ...]
    predicate_names: tuple[str, ...]
    not_listed: int = 0


def find_three_rscan_metadata(root: Path) -> Path | None:
    """The folder with ``relationships_train.json`` or ``relationships_validation.json``: ``root`` or one in it; None without."""
    for folder in (root / name for name in METADATA_FOLDERS):
        if is_file(relationships_path(folder, "train")) or is_file(relationships_path(folder, "validation")):
            return folder
    return None


def relationships_path(folder: Path, split: Split) -> Path:
    """Where the relations of a split are."""
    return folder / f"relationships_{split}.json"


def read_three_rscan_metadata(root: Path, split: Split) -> ThreeRscanMetadata:
    """What the files of a split say; no geometry is needed.

    Every relation is written with the number and the name of its predicate.  The number is the line in the file of predicates,
    from 0; where that file has no "none", lines may count from 0 or from 1, whichever all relations agree with.

    Args:
        root: the folder of the data, or that of the metadata itself.
        split: "train" or "validation".

    Raises:
        DataFormatError: a file is missing or damaged, an object has two names, or numbers and names of predicates disagree.
    """
    folder = find_three_rscan_metadata(root)
    if folder is None:
        places = " or ".join(str(Path(name) / f"relationships_{split}.json") for name in METADATA_FOLDERS)
        raise DataFormatError(root, expected=places, got="none of them", fix="name the folder that holds 3DSSG_subset")
    path = relationships_path(folder, split)
    listed_path = next((folder / name for name in PREDICATE_FILES if is_file(folder / name)), folder / PREDICATE_FILES[0])
    listed = read_names(listed_path)
    entries = read_json_object(path).objects("scans")
    sub_scans, numbers = [], []
    for entry in entries:
        sub_scan, numbers_of_scan = _sub_scan(entry)
        sub_scans.append(sub_scan)
        numbers.append(numbers_of_scan)
    _check_numbers(path, listed_path, listed, sub_scans, numbers)
    chosen = sub_scans
    if is_file(folder / f"{split}_scans.txt"):
        wanted = set(read_names(folder / f"{split}_scans.txt"))
        chosen = [sub_scan for sub_scan in sub_scans if sub_scan.scan_id.lower() in wanted]
    predicates = tuple(name for name in listed if name != NONE)
    return ThreeRscanMetadata(
        folder=folder,
        split=split,
        sub_scans=tuple(chosen),
        class_names=read_names(folder / CLASSES_FILE),
        predicate_names=THREE_DSSG if set(predicates) == set(THREE_DSSG) else predicates,
        not_listed=len(sub_scans) - len(chosen),
    )


def check_sub_scan(sub_scan: SubScan, class_names: Sequence[str]) -> SubScanCheck:
    """What of a sub-scan can be used.  3DSSG itself has things that support themselves; none of this is an error.

    Args:
        sub_scan: as read.
        class_names: of the data set.
    """
    used: dict[NamedRelation, None] = {}
    to_itself = without_object = repeated = 0
    for relation in sub_scan.relations:
        if relation.subject not in sub_scan.object_names or relation.object not in sub_scan.object_names:
            without_object += 1
        elif relation.subject == relation.object:
            to_itself += 1
        elif relation in used:
            repeated += 1
        else:
            used[relation] = None
    known = set(class_names)
    unknown = tuple(number for number, name in sub_scan.object_names.items() if name not in known)
    return SubScanCheck(tuple(used), to_itself, without_object, repeated, unknown)


def read_names(path: Path) -> tuple[str, ...]:
    """Lines of a text in small letters, empty ones left out.

    Raises:
        DataFormatError: missing, not UTF-8, too large, empty, or a name twice.
    """
    with open_bounded(path) as (file, size):
        if size > _MAX_LIST_BYTES:
            raise DataFormatError(path, expected=f"at most {_MAX_LIST_BYTES:,} bytes of names", got=f"{size:,}")
        try:
            lines = file.read(size).decode("utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise DataFormatError(path, expected="text in UTF-8", got=str(error)[:120]) from error
    names = tuple(line.strip().lower() for line in lines if line.strip())
    if not names:
        raise DataFormatError(path, expected="names, one a line", got="none")
    if len(set(names)) < len(names):
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise DataFormatError(path, expected="each name once", got=f"{twice!r} twice")
    return names


def _sub_scan(entry: JsonFields) -> tuple[SubScan, list[int]]:
    """A sub-scan, and the number that each of its relations gives its predicate."""
    names: dict[int, str] = {}
    for key, name in entry.mapping("objects").items():
        number = int(key) if key.isascii() and key.isdigit() and len(key) < 19 else -1
        if number < 0 or not isinstance(name, str):
            raise entry.wrong("objects", "names by the numbers of objects", f"{key[:40]!r}: {str(name)[:40]!r}")
        if number in names:
            raise entry.wrong("objects", "each object once", f"object {number} twice")
        names[number] = name.strip().lower()
    relations, numbers = [], []
    for index, row in enumerate(entry.lists("relationships")):
        if not _is_quadruple(row):
            expected = "[subject, object, number of the predicate, its name]"
            raise entry.wrong(f"relationships[{index}]", expected, str(row)[:80])
        relations.append(NamedRelation(row[0], row[1], row[3].strip().lower()))
        numbers.append(row[2])
    scan_id = entry.text("scan")
    if not is_folder_name(scan_id):
        raise entry.wrong("scan", "the name of a folder", repr(scan_id[:80]))
    return SubScan(scan_id, entry.integer("split", 0), names, tuple(relations)), numbers


def is_folder_name(scan_id: str) -> bool:
    """Whether a scan may be called so: one folder inside another, and nothing that leads out of it."""
    return scan_id.strip(". ") != "" and scan_id.isprintable() and not set(scan_id) & set("/\\:")


def _is_quadruple(row: list[Any]) -> bool:
    return len(row) == _QUADRUPLE and all(type(number) is int for number in row[:3]) and isinstance(row[3], str)


def _check_numbers(
    path: Path, listed_path: Path, listed: tuple[str, ...], sub_scans: Sequence[SubScan], numbers: Sequence[list[int]]
) -> None:
    """Refuses relations whose number and name of the predicate disagree with the list of predicates.

    Raises:
        DataFormatError: the first of them.
    """
    counts_from = (0,) if listed[0] == NONE else (0, 1)
    wrong = [_first_wrong(listed, first, sub_scans, numbers) for first in counts_from]
    if None in wrong:
        return
    # the numbering that goes well for longest is the one that was meant
    (scan, row), first = max((place, -first) for place, first in zip(wrong, counts_from) if place is not None)
    number, name = numbers[scan][row], sub_scans[scan].relations[row].predicate
    position = number + first
    meant = repr(listed[position]) if 0 <= position < len(listed) else f"one of {len(listed)} predicates"
    raise DataFormatError(
        path,
        f"scans[{scan}].relationships[{row}]",
        expected=f"predicate {number} to be {meant}, as in {listed_path.name}",
        got=repr(name),
        fix=f"take {path.name} and {listed_path.name} from the same release",
    )


def _first_wrong(
    listed: Sequence[str], counts_from: int, sub_scans: Iterable[SubScan], numbers: Iterable[list[int]]
) -> tuple[int, int] | None:
    """Sub-scan and row of the first relation that a numbering does not explain, or None."""
    name_of = {number + counts_from: name for number, name in enumerate(listed)}
    for scan, (sub_scan, of_scan) in enumerate(zip(sub_scans, numbers)):
        for row, (relation, number) in enumerate(zip(sub_scan.relations, of_scan)):
            if name_of.get(number) != relation.predicate:
                return scan, row
    return None

"""Folders of scans in ScanNet's layout: ScanNet itself, and others that say in ``data_set.json`` what their labels mean.

root/
  scans/scene0000_00/ …       or the scenes directly in root; ScanNet's hidden test is in scans_test/
  splits/train.txt …          optional: names, one a line; without, the official splits of ScanNet hold
  data_set.json               optional: {"classes": [names], "nyu40": [id of each class], "licence": …, …}
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scenewise.errors import DataFormatError
from scenewise.io.atomic import atomic_write_json, atomic_write_text
from scenewise.io.bounded import open_bounded
from scenewise.io.json_fields import read_json_object
from scenewise.io.listed_files import visible
from scenewise.io.scannet.classes import NYU40_NAMES, SCANNET20_NAMES, SCANNET20_NYU40
from scenewise.io.scannet.scenes import LICENCE, find_scannet_layout
from scenewise.io.scannet_splits import SPLIT_SIZES, official_scans
from scenewise.io.views import is_file

DESCRIPTION_FILE = "data_set.json"
SPLITS_FOLDER = "splits"
SCANS_FOLDER = "scans"
_SCAN_FOLDERS = (SCANS_FOLDER, "scans_test", ".")
_SCENE_NAME = re.compile(r"scene\d{4}_\d{2}")
_NAMED_AT_MOST = 3
_MAX_LIST_BYTES = 1 << 20


@dataclass(frozen=True)
class ScanDataSet:
    """A data set as found.

    Attributes:
        root: its folder.
        scenes: name and folder of each scan, in the order of the split.
        split: which part was asked for; None = all that is there.
        class_names: names of the classes that are scored; position = class id.
        nyu40_of_class: what each is called in label files.
        licence: of the data.
        more: whatever else the description says.
    """

    root: Path
    scenes: tuple[tuple[str, Path], ...]
    split: str | None
    class_names: tuple[str, ...] = SCANNET20_NAMES
    nyu40_of_class: tuple[int, ...] = SCANNET20_NYU40
    licence: str = LICENCE
    more: Mapping[str, Any] = field(default_factory=dict)


def is_scan_data_set(path: Path) -> bool:
    """Whether a folder holds scans in ScanNet's layout; they may still be incomplete."""
    if not path.is_dir() or find_scannet_layout(path) is not None:
        return False
    if is_file(path / DESCRIPTION_FILE):
        return True
    return any(_scans_in(path))


def read_scan_data_set(path: Path, split: str | None = None) -> ScanDataSet:
    """Finds the scans of a data set, or of one of its splits, and makes sure that each has what learning needs.

    Args:
        path: the root.
        split: "train", "val", "test", or the name of a list in ``splits/``; None takes every scan that is there.

    Raises:
        DataFormatError: no such split, or scans without folder, pictures, poses or mesh: one error that names the first of them
            and says how many there are.
    """
    description: _Description = (SCANNET20_NAMES, SCANNET20_NYU40, LICENCE, {})
    if is_file(path / DESCRIPTION_FILE):
        description = _read_description(path / DESCRIPTION_FILE)
    present = dict(_scans_in(path))
    names = tuple(sorted(present)) if split is None else _names_of_split(path, split)
    if not names:
        raise DataFormatError(path, expected="at least one scan", got="none", fix="unpack scans/scene0000_00/ … there")
    lacking = [(name, problem) for name in names if (problem := _problem(path, name, present.get(name))) is not None]
    if lacking:
        shown = "; ".join(f"{name}: {problem}" for name, problem in lacking[:_NAMED_AT_MOST])
        fix = "complete the download"
        if split is not None and present:
            fix += f", or leave the split out and take the {len(present)} scans that are there"
        raise DataFormatError(
            path,
            expected=f"{len(names)} complete scans" + (f" of the split {split}" if split else ""),
            got=f"{len(lacking)} incomplete. {shown}" + (" …" if len(lacking) > _NAMED_AT_MOST else ""),
            fix=fix,
        )
    return ScanDataSet(path, tuple((name, present[name]) for name in names), split, *description)


def write_scan_data_set(
    path: Path,
    splits: Mapping[str, Sequence[str]],
    class_names: Sequence[str],
    nyu40_of_class: Sequence[int],
    licence: str,
    more: Mapping[str, Any],
) -> None:
    """Writes the lists and the description of a data set; the scans belong into ``scans/``.

    Args:
        path: the root.
        splits: names of the scans in each.
        class_names: of the classes.
        nyu40_of_class: label code of each class.
        licence: of the data.
        more: JSON values to keep with it.
    """
    for split, names in splits.items():
        atomic_write_text(path / SPLITS_FOLDER / f"{split}.txt", "".join(f"{name}\n" for name in names))
    record = {"classes": list(class_names), "nyu40": list(nyu40_of_class), "licence": licence, "more": dict(more)}
    atomic_write_json(path / DESCRIPTION_FILE, record)


def read_data_set_description(path: Path) -> Mapping[str, Any] | None:
    """What :func:`write_scan_data_set` was told to keep; None where there is no description."""
    return _read_description(path / DESCRIPTION_FILE)[3] if is_file(path / DESCRIPTION_FILE) else None


def _scans_in(path: Path) -> list[tuple[str, Path]]:
    found: dict[str, Path] = {}
    for part in _SCAN_FOLDERS:
        folder = path / part
        if folder.is_dir():
            for entry in visible(folder.iterdir()):
                # By its name first: an empty folder of a known name is an incomplete scan, not none.
                if entry.is_dir() and (_SCENE_NAME.fullmatch(entry.name) or find_scannet_layout(entry) is not None):
                    found.setdefault(entry.name, entry)
    return list(found.items())


def _names_of_split(path: Path, split: str) -> tuple[str, ...]:
    own = path / SPLITS_FOLDER / f"{split}.txt"
    if re.fullmatch(r"[\w-]+", split) and is_file(own):
        with open_bounded(own) as (file, size):
            if size > _MAX_LIST_BYTES:
                raise DataFormatError(own, expected=f"at most {_MAX_LIST_BYTES:,} bytes of names", got=f"{size:,}")
            text = file.read(size).decode("utf-8", "replace")
        names = tuple(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
        wrong = [name for name in names if not re.fullmatch(r"[\w.-]+", name) or name.startswith(".")]
        if wrong:
            raise DataFormatError(own, expected="names of folders", got=repr(wrong[0][:60]))
        return names
    lists = [entry.stem for entry in visible((path / SPLITS_FOLDER).glob("*.txt"))] if (path / SPLITS_FOLDER).is_dir() else []
    for official in SPLIT_SIZES:
        if split == official and not lists:
            return official_scans(official)
    raise DataFormatError(
        path, "split", expected=" or ".join(lists or list(SPLIT_SIZES)), got=split, fix="name one of them, or none for all scans"
    )


def _problem(root: Path, name: str, folder: Path | None) -> str | None:
    """What a scan lacks, as a phrase with the place; None where it is complete."""
    if folder is None:
        return f"no folder {root / SCANS_FOLDER / name}"
    if find_scannet_layout(folder) is None:
        parts = [part for part in ("color", "depth", "pose", "intrinsic") if not (folder / part).is_dir()]
        return f"neither {name}.sens nor " + ("; no " + ", ".join(parts) if not parts else f"{', '.join(parts)} in {folder}")
    if not visible(folder.glob("*_vh_clean_2.ply")):
        return f"no {name}_vh_clean_2.ply in {folder}"
    return None


_Description = tuple[tuple[str, ...], tuple[int, ...], str, dict[str, Any]]


def _read_description(path: Path) -> _Description:
    fields = read_json_object(path)
    classes, nyu40 = fields.texts("classes"), tuple(fields.integers("nyu40"))
    licence, more = fields.text("licence"), fields.mapping("more")
    fields.finish()
    if not classes or len(nyu40) != len(classes) or len(set(nyu40)) != len(nyu40):
        raise DataFormatError(path, "nyu40", expected=f"{len(classes)} different ids, one per class", got=len(nyu40))
    if not all(1 <= code <= len(NYU40_NAMES) for code in nyu40):
        raise DataFormatError(path, "nyu40", expected=f"1 … {len(NYU40_NAMES)}", got=f"{min(nyu40)} … {max(nyu40)}")
    return classes, nyu40, licence, more

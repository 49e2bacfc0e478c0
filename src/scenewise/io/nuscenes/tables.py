"""The tables of nuScenes: lists of records linked by tokens, read record by record."""

import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64

from scenewise.errors import DataFormatError
from scenewise.geometry.rotations import rotation_from_quat
from scenewise.io.bounded import open_bounded
from scenewise.io.json_fields import JsonFields
from scenewise.io.json_records import json_records
from scenewise.io.views import check_text, is_file, safe_name

_VERSION = re.compile(r"v\d+\.\d+-\w+")
_CHUNK = 1 << 20


def find_nuscenes_tables(path: Path) -> Path | None:
    """The folder of tables (``v1.0-mini``) in a data root, or ``path`` itself when it is one; None where there is none.

    Raises:
        DataFormatError: the root holds several versions.
    """
    if _VERSION.fullmatch(path.name) and is_file(path / "sample_data.json"):
        return path
    if not path.is_dir():
        return None
    found = sorted(entry for entry in path.glob("v*-*") if _VERSION.fullmatch(entry.name) and is_file(entry / "sample_data.json"))
    if len(found) > 1:
        names = ", ".join(entry.name for entry in found)
        raise DataFormatError(path, expected="one version", got=names, fix=f"pass one of them, for example {found[0]}")
    return found[0] if found else None


def list_nuscenes_keyframes(path: Path) -> list[tuple[str, str]]:
    """(scene name, sample token) of every keyframe, in order of scenes and time."""
    tables = tables_of(path)
    scenes = {
        fields.text("token"): (number, fields.text("name"))
        for number, fields in enumerate(read_records(tables / "scene.json", None))
    }
    listed = []
    for fields in read_records(tables / "sample.json", None):
        scene = fields.text("scene_token")
        if scene not in scenes:
            raise fields.wrong("scene_token", "a token of scene.json", scene)
        listed.append((scenes[scene], fields.integer("timestamp"), fields.text("token")))
    return [(name, token) for (_, name), _, token in sorted(listed)]


class TableRecord(JsonFields):
    """One record of a table; keys that are not asked for are allowed, since releases add some."""

    def __init__(self, path: Path, place: str, value: object) -> None:
        super().__init__(path, place, value)
        self._raw = value

    def mapping_value(self, key: str) -> object:
        """What stands under a key, of any type; None without it."""
        return self._raw.get(key) if isinstance(self._raw, dict) else None


def tables_of(path: Path) -> Path:
    """The folder of tables in a data root, or the folder itself.

    Raises:
        DataFormatError: there is none.
    """
    tables = find_nuscenes_tables(path)
    if tables is None:
        raise DataFormatError(path, expected="v1.0-…/sample_data.json", got="no such folder of tables", fix="pass the data root")
    return tables


def read_records(path: Path, wanted: tuple[str, Collection[str]] | None) -> Iterator[TableRecord]:
    """Records of a table (all, or those whose key has one of some values), read piece by piece.

    Raises:
        DataFormatError: no list of JSON objects.
    """
    with open_bounded(path) as (file, _):
        for number, values, _ in json_records(path, iter(lambda: file.read(_CHUNK), b"")):
            key = None if wanted is None else values.get(wanted[0])
            if wanted is None or (isinstance(key, str) and key in wanted[1]):
                yield TableRecord(path, f"record {number}", values)


def records_by_token(path: Path, tokens: set[str]) -> dict[str, TableRecord]:
    """The records of a table with these tokens."""
    return {record.text("token"): record for record in read_records(path, ("token", tokens))}


def linked_record(record: TableRecord, key: str, targets: Mapping[str, TableRecord]) -> TableRecord:
    """The record that a key of another one names.

    Raises:
        DataFormatError: it is not among the targets.
    """
    token = record.text(key)
    if token not in targets:
        raise record.wrong(key, "a token of the linked table", repr(token), "the tables are incomplete; unpack them again")
    return targets[token]


def target_from_source(record: TableRecord) -> Float64[np.ndarray, "4 4"]:
    """target_from_source of a record's translation and wxyz rotation.

    Raises:
        DataFormatError: no finite numbers, or no unit quaternion.
    """
    quat = record.array("rotation", (4,))
    if abs(float(np.linalg.norm(quat)) - 1) > 1e-3:
        raise record.wrong("rotation", "a unit quaternion wxyz", quat.tolist())
    transform = np.eye(4)
    transform[:3, :3] = rotation_from_quat(torch.from_numpy(quat)).numpy()
    transform[:3, 3] = record.array("translation", (3,))
    return transform


def file_name_of(record: TableRecord) -> str:
    """The file that a record names, relative to the data root.

    Raises:
        DataFormatError: a name that leads out of it.
    """
    return safe_name(check_text(record.path, record.place, record.text("filename")))

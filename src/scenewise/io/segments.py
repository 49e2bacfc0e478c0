"""Partitions in files: ScanNet's ``*.segs.json`` and ``*.aggregation.json``, and a person's own ids.

What a partition file may be:

    *.json           {"segIndices": [...]} as ScanNet writes it, or {"ids": [...]}
    *.npy, *.npz     an array of whole numbers; of several in a .npz the one called ids
    *.safetensors    the tensor ids
    *.txt            whole numbers between blanks or line ends

Ids are any whole numbers; negative ones mean no set.
"""

import io
import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32, Int64

from scenewise.errors import DataFormatError
from scenewise.io.atomic import atomic_write_bytes, atomic_write_json, atomic_write_text
from scenewise.io.bounded import open_bounded
from scenewise.io.json_fields import read_json_object
from scenewise.io.npy_headers import read_npy_header
from scenewise.scenes.partitions import Partition

SEGMENT_ENDINGS = (".json", ".npy", ".npz", ".safetensors", ".txt")
_CHARACTERS_PER_ID = 24  # a 64-bit number with its sign, a comma and a line end
_NPY_HEADER = 16_384  # bytes; numpy itself refuses headers above 10,000
_SAFETENSORS_INTEGERS = ("I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64")


@dataclass(frozen=True)
class SegmentGroup:
    """One object of ``*.aggregation.json``.

    Attributes:
        object_id: number of the object in its scan.
        label: its name as the annotator wrote it.
        segments: raw ids of its segments, those of ``segIndices``.
    """

    object_id: int
    label: str
    segments: tuple[int, ...]


@dataclass(frozen=True)
class Aggregation:
    """Which segments make up which objects.

    Attributes:
        scene_id: the scan.
        segments_file: name of the file the segments are in, or "".
        groups: the objects.
    """

    scene_id: str
    segments_file: str
    groups: tuple[SegmentGroup, ...]


# --- reading -----------------------------------------------------------------------------------------------------------------


def read_segments(path: str | Path, *, count: int) -> Partition:
    """A set per point, vertex or splat from any of the formats above.

    Args:
        path: the file; its ending tells the format.
        count: elements the partition is for.

    Returns:
        Sets numbered anew in ascending order of the file's ids; the scene id and parameters of a ``segs.json`` are kept.

    Raises:
        DataFormatError: another format, not whole numbers, or a number of ids that is not ``count``.
    """
    ids, parameters = _read(Path(path), (count,))
    return Partition.from_any_ids(ids, "file", parameters)


def read_region_map(path: str | Path, *, height: int, width: int) -> Partition:
    """A set per pixel of an image from ``.npy``, ``.npz`` or ``.safetensors``; errors as in :func:`read_segments`."""
    path = Path(path)
    if path.suffix.lower() in (".json", ".txt"):
        raise DataFormatError(path, expected="ids of pixels as .npy, .npz or .safetensors", got=path.suffix)
    ids, parameters = _read(path, (height, width))
    return Partition.from_any_ids(ids, "file", parameters)


def read_segment_ids(path: str | Path, *, count: int) -> Int64[np.ndarray, "n"]:
    """Ids as they are in the file, for use with :func:`read_aggregation`; errors as in :func:`read_segments`."""
    return _read(Path(path), (count,))[0]


def read_aggregation(path: str | Path) -> Aggregation:
    """The objects of a ScanNet scan.

    Raises:
        DataFormatError: not such a file.
    """
    fields = read_json_object(path)
    groups = []
    for group in fields.objects("segGroups"):
        number = group.integer("objectId", None)
        number = group.integer("id") if number is None else number
        groups.append(SegmentGroup(number, group.text("label"), tuple(group.integers("segments"))))
    return Aggregation(fields.text("sceneId", "") or "", fields.text("segmentsFile", "") or "", tuple(groups))


def objects_of_elements(ids: Int64[np.ndarray, "n"], aggregation: Aggregation) -> Int32[np.ndarray, "n"]:
    """Index into ``aggregation.groups`` per element, −1 where its segment is in none; of several groups the last one counts."""
    objects = np.full(len(ids), -1, dtype=np.int32)
    pairs = [(segment, index) for index, group in enumerate(aggregation.groups) for segment in group.segments]
    if not pairs:
        return objects
    table = dict(pairs)
    segments = np.array(sorted(table), dtype=np.int64)
    owners = np.array([table[segment] for segment in segments.tolist()], dtype=np.int32)
    at = np.minimum(np.searchsorted(segments, ids), len(segments) - 1)
    is_known = segments[at] == ids
    objects[is_known] = owners[at[is_known]]
    return objects


def _read(path: Path, shape: tuple[int, ...]) -> tuple[Int64[np.ndarray, "..."], dict[str, Any]]:
    parameters: dict[str, Any] = {"file": path.name}
    match path.suffix.lower():
        case ".json":
            ids, more = _from_json(path)
            parameters |= more
        case ".txt":
            ids = _from_text(path, shape)
        case ".npy":
            with open_bounded(path) as (file, _):
                ids = _from_npy(path, file.read, shape)
        case ".npz":
            ids = _from_npz(path, shape)
        case ".safetensors":
            ids = _from_safetensors(path, shape)
        case other:
            raise DataFormatError(path, expected=f"a name ending in {', '.join(SEGMENT_ENDINGS)}", got=other or "no ending")
    _check_shape(path, ids.shape, shape)
    if ids.dtype == np.uint64 and ids.size and int(ids.max()) > np.iinfo(np.int64).max:
        raise DataFormatError(path, expected="ids below 2^63", got=int(ids.max()))
    return ids.astype(np.int64), parameters


def _check_shape(path: Path, got: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if tuple(got) != wanted:
        raise DataFormatError(
            path,
            expected=f"{'×'.join(map(str, wanted))} ids, one per {'element' if len(wanted) == 1 else 'pixel'}",
            got="×".join(map(str, got)) or "a single number",
            fix="the partition belongs to another cloud, mesh or image",
        )


def _from_json(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    fields = read_json_object(path)
    ids = fields.integers("ids", None)
    ids = fields.integers("segIndices") if ids is None else ids
    more = {name: value for name, value in fields.mapping("params").items() if isinstance(value, str | int | float)}
    scene = fields.text("sceneId", None)
    if scene:
        more["scene_id"] = scene
    return np.array(ids, dtype=np.int64), more


def _from_text(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    with open_bounded(path) as (file, size):
        limit = 64 + _CHARACTERS_PER_ID * int(np.prod(shape))
        if size > limit:
            raise DataFormatError(path, expected=f"{shape[0]} ids in at most {limit:,} bytes", got=f"{size:,} bytes")
        words = file.read(size).split()
    for index, word in enumerate(words):
        if not re.fullmatch(rb"[+-]?[0-9]{1,19}", word) or not -(2**63) <= int(word) < 2**63:
            raise DataFormatError(
                path,
                f"id {index}",
                expected="a whole number",
                got=repr(word[:40].decode("utf-8", "replace")),
                fix="write one id per element",
            )
    return np.array([int(word) for word in words], dtype=np.int64)


def _from_npy(path: Path, read: Callable[[int], bytes], shape: tuple[int, ...]) -> np.ndarray:
    """The array in a stream in numpy's format; its size is compared with what is wanted before any is read."""
    head = io.BytesIO(read(_NPY_HEADER))
    found, is_fortran, dtype = read_npy_header(path, head)
    if dtype.kind not in "iu":
        raise DataFormatError(path, expected="whole numbers", got=str(dtype), fix="save the ids as int32 or int64")
    _check_shape(path, found, shape)
    wanted = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    data = head.read(wanted)
    data += read(wanted - len(data))
    if len(data) != wanted:
        raise DataFormatError(path, expected=f"{wanted:,} bytes of ids", got=f"{len(data):,}", fix="the file was cut short")
    flat = np.frombuffer(data, dtype=dtype)
    return flat.reshape(shape, order="F" if is_fortran else "C").astype(dtype.newbyteorder("="))


def _from_npz(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    # Beside damage: zipfile raises NotImplementedError for compressions it lacks and RuntimeError for encrypted members.
    unreadable = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, KeyError, OSError, ValueError)
    with open_bounded(path) as (file, _):
        try:
            with zipfile.ZipFile(file) as archive:
                names = [name for name in archive.namelist() if name.endswith(".npy")]
                name = "ids.npy" if "ids.npy" in names or len(names) != 1 else names[0]
                if name not in names:
                    listed = ", ".join(sorted(names))[:120] or "none"
                    raise DataFormatError(path, expected="one array, or one called ids", got=listed)
                with archive.open(name) as member:
                    return _from_npy(path, member.read, shape)
        except DataFormatError:
            raise
        except unreadable as error:
            raise DataFormatError(path, expected="a .npz archive", got=str(error)[:120], fix="the file is damaged") from error


def _from_safetensors(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    from safetensors import SafetensorError, safe_open

    with open_bounded(path):  # one message for missing files, whatever the library says
        pass
    try:
        with safe_open(path, framework="numpy") as file:
            if "ids" not in file.keys():  # noqa: SIM118 - not a dictionary
                raise DataFormatError(path, expected="the tensor ids", got=", ".join(sorted(file.keys()))[:120] or "none")
            stored = file.get_slice("ids")
            if stored.get_dtype() not in _SAFETENSORS_INTEGERS:
                raise DataFormatError(path, "ids", expected="whole numbers", got=stored.get_dtype())
            _check_shape(path, tuple(stored.get_shape()), shape)
            return np.asarray(file.get_tensor("ids"))
    except SafetensorError as error:
        raise DataFormatError(path, expected="a safetensors file", got=str(error)[:120], fix="the file is damaged") from error


# --- writing -----------------------------------------------------------------------------------------------------------------


def write_segments(path: str | Path, partition: Partition, *, scene_id: str = "") -> None:
    """A partition in the format of the file's ending; ``.json`` is ScanNet's layout.

    Args:
        path: ending in ``.json``, ``.npy``, ``.safetensors`` or ``.txt``.
        partition: ids are written as they are, −1 included; a set per pixel goes to ``.npy`` and ``.safetensors`` only.
        scene_id: for ``.json``.

    Raises:
        DataFormatError: another ending.
        ResourceError: the disk is full or the folder cannot be written.
    """
    path = Path(path)
    ending = path.suffix.lower()
    listed = (".npy", ".safetensors") if partition.ids.ndim != 1 else (".json", ".npy", ".safetensors", ".txt")
    if ending not in listed:
        raise DataFormatError(path, expected=f"a name ending in {', '.join(listed)}", got=ending or "no ending")
    ids = np.ascontiguousarray(partition.ids)
    if ending == ".json":
        known = {"kThresh": partition.parameters.get("k"), "segMinVerts": partition.parameters.get("min_size")}
        params = {key: value for key, value in known.items() if value is not None}
        atomic_write_json(path, {"params": params, "sceneId": scene_id, "segIndices": ids.tolist()}, indent=None)
    elif ending == ".npy":
        stream = io.BytesIO()
        np.lib.format.write_array(stream, ids, allow_pickle=False)
        atomic_write_bytes(path, stream.getvalue())
    elif ending == ".txt":
        atomic_write_text(path, "".join(f"{number}\n" for number in ids.tolist()))
    else:
        from safetensors.numpy import save

        atomic_write_bytes(path, save({"ids": ids}))

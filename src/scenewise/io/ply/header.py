"""The header of PLY files: which elements with which properties follow, read and written."""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from scenewise.errors import DataFormatError

_MAX_HEADER_BYTES = 1 << 18  # a splat header is 1.5 kB
_TYPES = {  # numpy type by PLY name
    "char": "i1",
    "int8": "i1",
    "uchar": "u1",
    "uint8": "u1",
    "short": "i2",
    "int16": "i2",
    "ushort": "u2",
    "uint16": "u2",
    "int": "i4",
    "int32": "i4",
    "uint": "u4",
    "uint32": "u4",
    "float": "f4",
    "float32": "f4",
    "double": "f8",
    "float64": "f8",
    "int64": "i8",
    "uint64": "u8",
}
TYPE_NAMES = {
    "i1": "char",
    "u1": "uchar",
    "i2": "short",
    "u2": "ushort",
    "i4": "int",
    "u4": "uint",
    "f4": "float",
    "f8": "double",
}
"""PLY name by numpy type, as it is written."""

_AGAIN = "write the file again, for example with CloudCompare"
_BYTE_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}


@dataclass(frozen=True)
class PlyElement:
    """One table that the header announces.

    Attributes:
        name: "vertex", "face" …
        count: rows.
        properties: name and numpy type without byte order of each column; the type "list" for lists.
    """

    name: str
    count: int
    properties: tuple[tuple[str, str], ...]

    @property
    def has_list(self) -> bool:
        """Whether rows may differ in length."""
        return any(kind == "list" for _, kind in self.properties)


@dataclass(frozen=True)
class PlyHeader:
    """What a PLY file says before its rows.

    Attributes:
        byte_order: numpy's sign for it.
        is_text: ASCII rows.
        elements: tables in the file's order.
        comments: lines ``comment …`` without that word.
    """

    byte_order: str
    is_text: bool
    elements: tuple[PlyElement, ...]
    comments: tuple[str, ...]


def _bad_line(path: Path, line_number: int, *, expected: str, got: object, fix: str | None = None) -> DataFormatError:
    return DataFormatError(path, f"header line {line_number}", expected=expected, got=got, fix=fix)


def read_ply_header(path: Path, file: BinaryIO) -> PlyHeader:
    """The header at the start of a file, which is left at its first row.

    Raises:
        DataFormatError: no PLY file, or a damaged header.
    """

    form: str | None = None
    elements: list[PlyElement] = []
    comments: list[str] = []
    bytes_read = 0
    for line_number in range(1, _MAX_HEADER_BYTES):
        raw = file.readline(_MAX_HEADER_BYTES - bytes_read + 1)
        bytes_read += len(raw)
        if bytes_read > _MAX_HEADER_BYTES or not raw.endswith(b"\n"):
            got = f"more than {_MAX_HEADER_BYTES:,} bytes" if bytes_read > _MAX_HEADER_BYTES else "the end of the file"
            expected = "a header that ends with end_header"
            raise _bad_line(path, line_number, expected=expected, got=got, fix="is this a PLY file?")
        line = raw.decode("latin-1").strip()
        words = line.split()
        if line_number == 1:
            if line != "ply":
                raise _bad_line(path, 1, expected="ply", got=repr(line[:40]), fix="name a PLY file")
            continue
        match words:
            case []:
                continue
            case ["end_header"]:
                if form is None:
                    raise _bad_line(path, line_number, expected="a format line before it", got="none")
                return PlyHeader(_BYTE_ORDERS[form], form == "ascii", tuple(elements), tuple(comments))
            case ["comment" | "obj_info", *_]:
                if words[0] == "comment":
                    comments.append(line[len("comment") :].strip())
            case ["format", kind, _] if kind in _BYTE_ORDERS:
                form = kind
            case ["element", name, count] if count.isascii() and count.isdigit() and len(count) < 19:
                elements.append(PlyElement(name, int(count), ()))
            case ["property", "list", size, item, *parts] if elements and {size.lower(), item.lower()} <= _TYPES.keys() and parts:
                elements[-1] = _with_property(elements[-1], " ".join(parts), "list")
            case ["property", kind, *parts] if elements and kind.lower() in _TYPES and parts:
                name = " ".join(parts)  # CloudCompare writes names with spaces
                if any(name == other for other, _ in elements[-1].properties):
                    raise _bad_line(path, line_number, expected="each property once", got=f"{name} twice", fix=_AGAIN)
                elements[-1] = _with_property(elements[-1], name, _TYPES[kind.lower()])
            case _:
                expected = "a format, element, property or comment line"
                raise _bad_line(path, line_number, expected=expected, got=repr(line[:80]), fix=_AGAIN)
    raise _bad_line(path, _MAX_HEADER_BYTES, expected="end_header", got="too many lines")


def _with_property(element: PlyElement, name: str, kind: str) -> PlyElement:
    return PlyElement(element.name, element.count, (*element.properties, (name, kind)))


def ply_header_text(count: int, properties: list[tuple[str, str]], comments: tuple[str, ...]) -> bytes:
    """The header of a little-endian vertex table with properties (name, numpy type without byte order)."""
    lines = ["ply", "format binary_little_endian 1.0", *(f"comment {comment}" for comment in comments), f"element vertex {count}"]
    lines += [f"property {TYPE_NAMES[kind]} {name}" for name, kind in properties]
    return ("\n".join([*lines, "end_header"]) + "\n").encode("ascii")

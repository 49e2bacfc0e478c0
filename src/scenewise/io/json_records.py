"""Long lists of JSON objects, read record by record: memory does not grow with the list."""

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from scenewise.errors import DataFormatError

_WHITE_SPACE = re.compile(r"[ \t\r\n]*")
_MAX_RECORD = 1 << 20  # characters; real records have about 500 to 2,000


class JsonRecord(NamedTuple):
    """One object of a list.

    Attributes:
        number: its place, 0 for the first.
        values: what it holds.
        text: as it stands in the file.
    """

    number: int
    values: dict[str, Any]
    text: str


def json_records(path: Path, pieces: Iterable[bytes], *, with_nan: bool = False) -> Iterator[JsonRecord]:
    """The objects of a JSON list, one after the other.

    Args:
        path: the file, for messages.
        pieces: its bytes in pieces of any length.
        with_nan: let NaN and infinity pass, which Python writes and JSON does not know; whoever uses a value then has to look.

    Raises:
        DataFormatError: no list of JSON objects, or one longer than a million characters.
    """
    decoder = json.JSONDecoder() if with_nan else json.JSONDecoder(parse_constant=_refuse_constant)
    characters = _characters(path, pieces)
    text, position, number, at_end, opened = "", 0, 0, False, False
    while True:
        if not at_end and len(text) - position < _MAX_RECORD:
            piece = next(characters, None)
            at_end = piece is None
            text, position = text[position:] + (piece or ""), 0
        position = _skip(text, position)
        if position == len(text) and not at_end:
            continue
        here = text[position : position + 1]
        if not opened:
            if here != "[":
                raise _bad_record(path, number, f"a file that begins with {here!r}")
            opened, position = True, position + 1
        elif here == "]":
            if _skip(text, position + 1) != len(text) or any(piece.strip() for piece in characters):
                raise _bad_record(path, number, "something after the list")
            return
        else:
            if number:
                if here != ",":
                    raise _bad_record(path, number, f"{here!r} between records" if here else "the end of the file")
                position = _skip(text, position + 1)
            begin = position
            try:
                value, position = decoder.raw_decode(text, begin)
            except (ValueError, RecursionError) as error:
                raise _bad_record(path, number, error) from error
            if not isinstance(value, dict):
                raise _bad_record(path, number, type(value).__name__)
            yield JsonRecord(number, value, text[begin:position])
            number += 1


def _characters(path: Path, pieces: Iterable[bytes]) -> Iterator[str]:
    """The text of a file in UTF-8, whose characters may be cut between pieces."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for piece in pieces:
            yield decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise DataFormatError(path, expected="JSON in UTF-8", got=str(error)[:120], fix="copy it again") from error


def _bad_record(path: Path, number: int, got: object) -> DataFormatError:
    return DataFormatError(path, f"record {number}", expected="a list of JSON objects", got=str(got)[:120], fix="copy it again")


def _skip(text: str, position: int) -> int:
    """The next place that is not white space."""
    found = _WHITE_SPACE.match(text, position)
    return position if found is None else found.end()


def _refuse_constant(word: str) -> float:
    raise ValueError(f"{word} is no finite number")

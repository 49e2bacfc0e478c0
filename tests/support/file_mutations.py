"""Damaged copies of a good file, and a check that a reader survives them all."""

import random
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from scenewise.errors import CaptureWarning, ScenewiseError

_NASTY_NUMBERS = [
    b"99999999999999999",
    b"-1",
    b"4294967295",
    b"nan",
    b"1e400",
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\x7f",
]


def damaged_copies(good: bytes, count: int, seed: int = 3) -> Iterator[bytes]:
    """``count`` copies with flipped bytes, cut ends, repeated, removed or inserted pieces; the start suffers most."""
    generator = random.Random(seed)

    def place(data: bytes) -> int:
        limit = len(data) if generator.random() < 0.4 else min(len(data), 400)
        return generator.randrange(max(1, limit))

    for _ in range(count):
        data = bytearray(good)
        for _ in range(generator.choice([1, 1, 1, 2, 8])):
            match generator.randrange(6):
                case 0 | 1 if data:
                    data[min(place(data), len(data) - 1)] = generator.randrange(256)
                case 2:
                    del data[place(data) :]
                case 3:
                    start = place(data)
                    del data[start : start + generator.randrange(1, 40)]
                case 4:
                    start = place(data)
                    data[start:start] = data[start : start + generator.randrange(1, 40)]
                case _:
                    start, number = place(data), generator.choice(_NASTY_NUMBERS)
                    data[start : start + generator.choice([0, 1, len(number)])] = number
        yield bytes(data)


def assert_reader_survives(
    read: Callable[[Path], object], good: bytes, path: Path, *, count: int = 120, max_bytes: int = 20_000_000, seed: int = 3
) -> int:
    """Reads damaged copies: only our errors may escape, none may take more than ``max_bytes``.  Returns how many failed."""
    failed = 0
    tracemalloc.start()
    try:
        for data in damaged_copies(good, count, seed):
            path.write_bytes(data)
            tracemalloc.reset_peak()
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", CaptureWarning)  # points at no place are left out with a word
                    read(path)
            except ScenewiseError as error:
                failed += 1
                assert str(path.name) in str(error) or str(path.parent) in str(error), (
                    f"the message does not name the file: {error}"
                )
            assert tracemalloc.get_traced_memory()[1] < max_bytes, "a damaged header made the reader allocate"
    finally:
        tracemalloc.stop()
    assert failed > count // 12, "the damage was not noticed at all"
    return failed

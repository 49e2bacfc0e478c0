"""Opening and unpacking files without trusting what they say about their own size."""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from scenewise.errors import DataFormatError, ResourceError

_CHUNK = 1 << 20
_FREE_OUTPUT = 64 << 20  # bytes that any compressed file may grow to
_MAX_RATIO = 100  # beyond that; real splats compress about 1.1 to 4 times


@contextmanager
def open_bounded(path: str | Path) -> Iterator[tuple[BinaryIO, int]]:
    """A file open for binary reading and its size in bytes.

    Raises:
        DataFormatError: there is no such file, or it is a folder or a device.
        ResourceError: it may not be read, or the disk fails.
    """
    path = Path(path)
    if path.is_dir():
        raise DataFormatError(path, expected="a file", got="a folder", fix="name a file inside it")
    if not path.exists():
        raise DataFormatError(path, expected="a file", got="nothing", fix="check the path")
    if not path.is_file():
        raise DataFormatError(path, expected="a regular file", got="a device or pipe", fix="save it to disk first")
    try:
        with path.open("rb") as file:
            yield file, path.stat().st_size
    except OSError as error:
        if isinstance(error, DataFormatError | ResourceError):
            raise
        raise ResourceError(f"reading {path}", expected="a readable file", got=error.strerror or str(error)) from error


class BoundedGunzip:
    """Unpacks one gzip stream piece by piece; what comes out is at most what was asked for.

    Args:
        path: the compressed file, for messages.
        file: open at the start of the stream.
        size: compressed bytes in the file.
    """

    def __init__(self, path: str | Path, file: BinaryIO, size: int) -> None:
        self._path, self._file, self._size = Path(path), file, size
        self._stream = zlib.decompressobj(wbits=31)
        self._pending = b""

    def read(self, count: int, place: str) -> bytes:
        """Exactly ``count`` unpacked bytes.

        Raises:
            DataFormatError: the stream is damaged or too short, or ``count`` is beyond what a file of this size may hold.
        """
        limit = max(_FREE_OUTPUT, _MAX_RATIO * self._size)
        if count > limit:
            raise DataFormatError(
                self._path, place, expected=f"at most {limit:,} bytes from {self._size:,} compressed", got=f"{count:,} promised"
            )
        output = bytearray()
        while len(output) < count:
            piece = self._unpack(min(_CHUNK, count - len(output)))
            if not piece:
                raise DataFormatError(
                    self._path,
                    place,
                    expected=f"{count:,} bytes",
                    got=f"{len(output):,}",
                    fix="the file was cut short; copy it again",
                )
            output += piece
        return bytes(output)

    def pieces(self) -> Iterator[bytes]:
        """All that is left, piece by piece to the end, where :meth:`finish` checks it.

        Raises:
            DataFormatError: the stream is damaged or cut short, or grows beyond what a file of this size may hold.
        """
        limit, total = max(_FREE_OUTPUT, _MAX_RATIO * self._size), 0
        while piece := self._unpack(_CHUNK):
            total += len(piece)
            if total > limit:
                raise DataFormatError(
                    self._path,
                    expected=f"at most {limit:,} bytes from {self._size:,} compressed",
                    got="more",
                    fix="this is no list that was compressed; copy it again",
                )
            yield piece
        self.finish()

    def finish(self) -> None:
        """Checks that the stream ends here and its checksum agrees.

        Raises:
            DataFormatError: there is more data, or the end with the checksum is missing.
        """
        if self._unpack(1) or self._stream.unused_data or self._file.read(1):
            raise DataFormatError(self._path, "end of file", expected="no more data", got="further bytes")
        if not self._stream.eof:
            raise DataFormatError(
                self._path,
                "end of file",
                expected="the gzip checksum",
                got="nothing",
                fix="the file was cut short; copy it again",
            )

    def _unpack(self, count: int) -> bytes:
        try:
            while not self._stream.eof:
                if not self._pending:
                    self._pending = self._file.read(_CHUNK)
                at_end = not self._pending
                piece = self._stream.decompress(self._pending, count)
                self._pending = self._stream.unconsumed_tail
                if piece or at_end:
                    return piece
        except zlib.error as error:
            raise DataFormatError(self._path, expected="a gzip stream", got=str(error), fix="the file is damaged") from error
        return b""

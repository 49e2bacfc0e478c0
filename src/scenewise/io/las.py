"""LAS and LAZ point clouds: full coordinates in a projected system, as surveyors exchange them."""

import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from scenewise.errors import ConventionError, DataFormatError, MissingDependencyError, ShapeError
from scenewise.io.atomic import atomic_path
from scenewise.io.bounded import open_bounded
from scenewise.io.finite_points import only_near
from scenewise.scenes.point_clouds import PointCloud

_FINE_STEP, _COARSE_STEP = 1e-4, 1e-3  # metres; half a step is the largest error
_LARGEST_STEPS = 2**31 - 2
_MIN_HEADER_BYTES = 227  # of version 1.2
_POINTS_PER_CHUNK = 1 << 18
# A LAZ file has no row size to check its count against; 940k real points take 5.6 bytes each, the most regular ones ~0.05.
_MAX_POINTS_PER_BYTE = 1000
_FREE_POINTS = 1 << 16
_LASZIP_RECORD = 22204
_LAYERS_OF_ITEM = {10: 9, 11: 1, 12: 2, 13: 1}  # point, RGB, RGB + near infrared, wave packet; extra bytes: one layer each


def _laspy() -> Any:
    try:
        import laspy
    except ModuleNotFoundError as error:
        raise MissingDependencyError("laspy", needed_for="Reading and writing LAS point clouds", extra="io") from error
    return laspy


def _crs(epsg: int) -> Any:
    try:
        import pyproj
    except ModuleNotFoundError as error:
        raise MissingDependencyError("pyproj", needed_for="The coordinate system of a LAS file", extra="io") from error
    try:
        return pyproj.CRS.from_epsg(epsg)
    except pyproj.exceptions.CRSError as error:
        raise ConventionError("epsg", expected="a known coordinate system", got=epsg) from error


def write_las(
    path: str | Path,
    cloud_in_projected: PointCloud,
    *,
    epsg: int | None,
    classification: np.ndarray | None = None,
) -> None:
    """Points to a LAS file, or LAZ when ``path`` ends with .laz; every coordinate within 0.05 mm (0.5 mm beyond 200 km).

    Args:
        path: the file.
        cloud_in_projected: positions (east, north, up) in metres of the projected system.
        epsg: its code, or None when unknown.
        classification: a byte per point, or None.

    Raises:
        ConventionError: a position is NaN or infinite, positions span more than 4,000 km, or the code is unknown.
        MissingDependencyError: laspy or pyproj is not installed.
        ResourceError: the disk is full or the folder cannot be written.
    """
    laspy = _laspy()
    path = Path(path)
    points = cloud_in_projected.points_in_world
    if not np.isfinite(points).all():
        row = int((~np.isfinite(points).all(axis=1)).argmax())
        raise ConventionError(f"position of point {row}", expected="finite coordinates", got=points[row].tolist())
    if classification is not None and (classification.shape != (len(points),) or classification.dtype != np.uint8):
        raise ShapeError(
            "classification", expected=f"({len(points)},) of uint8", got=f"{classification.shape} of {classification.dtype}"
        )
    low, high = (points.min(axis=0), points.max(axis=0)) if len(points) else (np.zeros(3), np.zeros(3))
    offset = np.floor((low + high) / 2)
    reach = float((high - low).max()) / 2 + 1
    step = _FINE_STEP if reach / _FINE_STEP < _LARGEST_STEPS else _COARSE_STEP
    if reach / step > _LARGEST_STEPS:
        raise ConventionError("positions for LAS", expected="a span below 4,000 km", got=f"{2 * reach / 1000:,.0f} km")
    header = laspy.LasHeader(version="1.4", point_format=7)
    header.offsets, header.scales = offset, np.full(3, step)
    header.generating_software = "scenewise"
    if epsg is not None:
        header.add_crs(_crs(epsg))
    record = laspy.LasData(header)
    record.x, record.y, record.z = points.T
    if cloud_in_projected.colors_u8 is not None:
        # the format's colours are 16 bits wide; 257 makes 255 the largest
        record.red, record.green, record.blue = cloud_in_projected.colors_u8.T.astype(np.uint16) * 257
    if classification is not None:
        record.classification = classification
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        record.write(file, do_compress=path.suffix.lower() == ".laz")


class _ClampedFile:
    """A file whose ``read(n)`` never asks for more than is left: Python allocates what is asked for, and headers lie."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size

    def read(self, count: int = -1) -> bytes:
        left = max(0, self._size - self._file.tell())
        return self._file.read(left if count < 0 else min(count, left))

    def readinto(self, buffer: Any) -> int:
        return int(self._file.readinto(buffer))  # type: ignore[attr-defined]

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        return None


def read_las(path: str | Path) -> tuple[PointCloud, int | None]:
    """Points of a LAS or LAZ file in its projected system, with colours where they are not all zero, and the EPSG code if known.

    Raises:
        DataFormatError: not a LAS file, damaged, cut short, or its header promises more points than the file can hold.
        MissingDependencyError: laspy is not installed.
    """
    laspy = _laspy()
    path = Path(path)
    with open_bounded(path) as (file, size):
        _check_header(path, file, size)
        try:
            # one thread: the parallel decoder allocates what the chunk table says
            with laspy.open(_ClampedFile(file, size), closefd=False, laz_backend=laspy.LazBackend.Lazrs) as reader:
                _check_count(path, reader.header, size)
                if reader.header.are_points_compressed:
                    _check_compression(path, file, size, reader.header)
                return _read_points(path, reader)
        except (DataFormatError, KeyboardInterrupt, SystemExit, MemoryError):
            raise
        except BaseException as error:  # a damaged file fails anywhere in the library; its decoder's panic is no Exception
            raise DataFormatError(
                path,
                expected="a sound LAS file",
                got=str(error)[:120] or type(error).__name__,
                fix="the file is damaged or was cut short",
            ) from error


def _check_header(path: Path, file: BinaryIO, size: int) -> None:
    """The fixed part, before the library sees the file: mark, version and sizes."""
    head = file.read(_MIN_HEADER_BYTES)
    file.seek(0)
    if head[:4] != b"LASF":
        raise DataFormatError(path, expected="a LAS file (mark LASF)", got=repr(head[:4]), fix="name a .las or .laz file")
    if len(head) < _MIN_HEADER_BYTES:
        raise DataFormatError(path, "header", expected=f"{_MIN_HEADER_BYTES} bytes", got=len(head), fix="the file was cut short")
    major, minor = head[24], head[25]
    if major != 1 or minor > 4:
        raise DataFormatError(path, "header", expected="version 1.0 to 1.4", got=f"{major}.{minor}")
    header_bytes, point_offset, record_count = struct.unpack_from("<HII", head, 94)
    # each variable-length record takes at least its own 54-byte header
    if not _MIN_HEADER_BYTES <= header_bytes <= point_offset <= size or header_bytes + 54 * record_count > point_offset:
        raise DataFormatError(
            path, "header", expected="records and points inside the file", got=f"points at {point_offset:,} of {size:,} bytes"
        )
    if minor == 4 and header_bytes >= 375:
        file.seek(235)
        start, count = struct.unpack("<QI", file.read(12))
        file.seek(0)
        if count and (start > size or start + 60 * count > size):
            raise DataFormatError(path, "header", expected="extended records inside the file", got=f"{count:,} at {start:,}")


def _check_count(path: Path, header: Any, size: int) -> None:
    count, row_bytes = int(header.point_count), int(header.point_format.size)
    left = size - int(header.offset_to_point_data)
    fits = count <= max(_FREE_POINTS, left * _MAX_POINTS_PER_BYTE) if header.are_points_compressed else count * row_bytes <= left
    if not fits:
        raise DataFormatError(
            path, "header", expected=f"{count:,} points of {row_bytes} bytes", got=f"{left:,} bytes", fix="the file was cut short"
        )


def _damaged(path: Path, place: str, expected: str, got: object) -> DataFormatError:
    return DataFormatError(path, place, expected=expected, got=got, fix="the file is damaged or was cut short")


def _check_compression(path: Path, file: BinaryIO, size: int, header: Any) -> None:
    """Sizes inside the compressed points, which the decoder would allocate unseen; it ends the process where memory is short.

    Source: the LAZ specification 1.4 (ASPRS): the laszip record, the chunk table's head, and the sizes of a chunk's layers.
    """

    record = next((bytes(vlr.record_data) for vlr in header.vlrs if int(vlr.record_id) == _LASZIP_RECORD), b"")
    if len(record) < 34:
        raise _damaged(path, "laszip record", "34 bytes or more", len(record))
    compressor, _, _, _, _, _, _, _, _, item_count = struct.unpack_from("<HHBBHIIqqH", record)
    if len(record) < 34 + 6 * item_count:
        raise _damaged(path, "laszip record", f"{item_count} items", f"{len(record)} bytes")
    items = [struct.unpack_from("<HHH", record, 34 + 6 * index) for index in range(item_count)]
    row_bytes = sum(item_bytes for _, item_bytes, _ in items)
    if row_bytes != int(header.point_format.size) or not 1 <= compressor <= 3:
        raise _damaged(
            path, "laszip record", f"points of {header.point_format.size} bytes", f"{row_bytes} (compressor {compressor})"
        )
    start, count = int(header.offset_to_point_data), int(header.point_count)
    if count == 0:
        return
    file.seek(start)
    table = int.from_bytes(file.read(8), "little", signed=True)
    if table == -1:  # written to a stream: the place of the table is at the end
        file.seek(size - 8)
        table = int.from_bytes(file.read(8), "little", signed=True)
    if compressor > 1:
        if not start + 8 <= table <= size - 8:
            raise _damaged(path, "chunk table", f"a place within {size:,} bytes", f"{table:,}")
        file.seek(table)
        chunks = struct.unpack("<II", file.read(8))[1]
        if chunks * row_bytes > table - start:  # each chunk starts with one point as it is
            raise _damaged(path, "chunk table", f"at most {(table - start) // row_bytes:,} chunks", f"{chunks:,}")
    if compressor == 3:
        layers = sum(_LAYERS_OF_ITEM.get(kind, item_bytes) for kind, item_bytes, _ in items)
        place, points_seen = start + 8, 0
        while points_seen < count:
            file.seek(place)
            head = file.read(row_bytes + 4 + 4 * layers)
            if len(head) < row_bytes + 4 + 4 * layers:
                raise _damaged(path, f"point {points_seen:,}", "a chunk of points", "the end of the file")
            in_chunk, *layer_bytes = struct.unpack_from(f"<{1 + layers}I", head, row_bytes)
            place += len(head) + sum(layer_bytes)
            if place > table or in_chunk == 0:
                raise _damaged(
                    path, f"point {points_seen:,}", "a chunk inside the file", f"{sum(layer_bytes):,} bytes, {in_chunk:,} points"
                )
            points_seen += in_chunk
    file.seek(start)


def _read_points(path: Path, reader: Any) -> tuple[PointCloud, int | None]:
    header = reader.header
    if not (np.isfinite(header.scales).all() and np.isfinite(header.offsets).all()):
        raise DataFormatError(path, "header", expected="finite scales and offsets", got="NaN or Inf")
    has_colour = {"red", "green", "blue"} <= set(header.point_format.dimension_names)
    positions, colours = [np.empty((0, 3))], [np.empty((0, 3), np.uint16)]
    for chunk in reader.chunk_iterator(_POINTS_PER_CHUNK):
        positions.append(np.stack([np.asarray(chunk.x), np.asarray(chunk.y), np.asarray(chunk.z)], axis=1, dtype=np.float64))
        if has_colour:
            colours.append(np.stack([np.asarray(chunk.red), np.asarray(chunk.green), np.asarray(chunk.blue)], axis=1))
    points = np.concatenate(positions)
    if len(points) != int(header.point_count):
        raise DataFormatError(
            path, expected=f"{int(header.point_count):,} points", got=f"{len(points):,}", fix="the file was cut short"
        )
    if not np.isfinite(points).all():
        raise DataFormatError(
            path, expected="finite positions", got="NaN or Inf", fix="the header's scales or offsets are damaged"
        )
    wide = np.concatenate(colours)
    colours_u8 = None
    if len(wide) and wide.any():
        # many programs store 8-bit values in the 16-bit fields
        colours_u8 = (wide if int(wide.max()) <= 255 else wide // 257).astype(np.uint8)
    return only_near(path, PointCloud(points, colours_u8)), _epsg_of(header)


def _epsg_of(header: Any) -> int | None:
    """The code of the coordinate system, None where it is absent, unreadable or pyproj is not installed."""
    try:
        crs = header.parse_crs()
    except Exception:  # a damaged or exotic description says nothing about the points
        return None
    code = None if crs is None else crs.to_epsg()
    return None if code is None else int(code)

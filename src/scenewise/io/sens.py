"""The ``.sens`` stream of a ScanNet scan: a header and, frame by frame, pose, JPEG and compressed depth.

Little endian: u32 version (4); u64 length and the sensor's name; four 4×4 f32 (intrinsic and extrinsic of colour, then of depth);
i32 colour compression (0 raw, 1 PNG, 2 JPEG), i32 depth compression (0 raw u16, 1 zlib u16, 2 occi); u32 colour width, height,
depth width, height; f32 depth codes per metre; u64 frames; per frame 4×4 f32 world_from_camera, u64 colour time, u64 depth time,
u64 colour bytes, u64 depth bytes and the two payloads.

A scan of a few minutes takes gigabytes, so nothing is held: frames are located once, and decoded when they are asked for.
"""

import io
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float64, UInt16

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.bounded import open_bounded
from scenewise.io.registered_depth import require_rigid
from scenewise.scenes.frames import ImageU8

_VERSION = 4
_MAX_NAME = 4096
_MAX_SIDE = 1 << 14
_COLOR = {0: "raw", 1: "png", 2: "jpeg"}
_DEPTH = {0: "raw", 1: "zlib"}
_FRAME_HEADER = struct.Struct("<16f4Q")
_FORMATS = {"png": ("PNG",), "jpeg": ("JPEG",)}


@dataclass(frozen=True)
class SensHeader:
    """What a stream says about itself.

    Attributes:
        sensor: name of the device.
        K_color: intrinsics at the colour images' size; pixel centres moved to half-integers.
        K_depth: the same for depth.
        color_size: width, height.
        depth_size: width, height.
        color_compression: "raw", "png" or "jpeg".
        depth_compression: "raw" or "zlib".
        codes_per_metre: depth codes.
        num_frames: frames promised.
        base_from_color: rigid, metres.  The poses place the base: the camera whose matrix is the identity.
        base_from_depth: likewise.
    """

    sensor: str
    K_color: Float64[np.ndarray, "3 3"]
    K_depth: Float64[np.ndarray, "3 3"]
    color_size: tuple[int, int]
    depth_size: tuple[int, int]
    color_compression: str
    depth_compression: str
    codes_per_metre: float
    num_frames: int
    base_from_color: Float64[np.ndarray, "4 4"] = field(default_factory=lambda: np.eye(4))
    base_from_depth: Float64[np.ndarray, "4 4"] = field(default_factory=lambda: np.eye(4))


@dataclass(frozen=True)
class SensFrame:
    """Where a frame's payloads are.

    Attributes:
        index: in the stream.
        world_from_camera: as stored; all non-finite where tracking was lost.
        color_at: byte offset and length of the colour payload.
        depth_at: byte offset and length of the depth payload.
    """

    index: int
    world_from_camera: Float64[np.ndarray, "4 4"]
    color_at: tuple[int, int]
    depth_at: tuple[int, int]


def read_sens_header(path: Path) -> SensHeader:
    """The header alone.

    Raises:
        DataFormatError: not a ``.sens`` stream of version 4, sizes or counts that the file cannot hold, the occi compression.
    """
    with open_bounded(path) as (file, size):
        return _header(path, file, size)


def stream_sens(path: Path, every: int = 1) -> Iterator[SensFrame]:
    """Every n-th frame's pose and place, without reading the payloads.

    Raises:
        DataFormatError: see :func:`read_sens_header`, or a frame that reaches beyond the end of the file.
    """
    with open_bounded(path) as (file, size):
        header = _header(path, file, size)
        position = file.tell()
        for index in range(header.num_frames):
            file.seek(position)
            *pose, _, _, color_bytes, depth_bytes = _FRAME_HEADER.unpack(
                _exactly(path, file, _FRAME_HEADER.size, f"frame {index}")
            )
            position += _FRAME_HEADER.size
            if color_bytes + depth_bytes > size - position:
                raise DataFormatError(
                    path,
                    f"frame {index}",
                    expected=f"{color_bytes + depth_bytes:,} bytes of pictures",
                    got=f"{size - position:,} in the file",
                    fix="the file was cut short; download it again",
                )
            if index % every == 0:
                yield SensFrame(
                    index,
                    np.array(pose, dtype=np.float64).reshape(4, 4),
                    (position, color_bytes),
                    (position + color_bytes, depth_bytes),
                )
            position += color_bytes + depth_bytes


@dataclass(frozen=True)
class SensImageLoader:
    """Decodes the colour of one frame.

    Attributes:
        path: the stream.
        place: "frame 12", for messages.
        at: byte offset and length.
        size: width, height.
        compression: see :class:`SensHeader`.
    """

    path: Path
    place: str
    at: tuple[int, int]
    size: tuple[int, int]
    compression: str

    def __call__(self) -> ImageU8:
        """sRGB pixels.

        Raises:
            DataFormatError: damaged, or of another size than the header says.
        """
        data = _payload(self.path, self.at, self.place)
        width, height = self.size
        if self.compression == "raw":
            if len(data) != width * height * 3:
                raise DataFormatError(
                    self.path, self.place, expected=f"{width * height * 3:,} bytes of colour", got=f"{len(data):,}"
                )
            return np.frombuffer(data, dtype=np.uint8).reshape(height, width, 3).copy()
        from PIL import Image

        try:
            with Image.open(io.BytesIO(data), formats=_FORMATS[self.compression]) as image:
                if image.size != self.size:
                    raise DataFormatError(
                        self.path, self.place, expected=f"an image of {width}×{height}", got=f"{image.width}×{image.height}"
                    )
                return np.asarray(image.convert("RGB"))
        except DataFormatError:
            raise
        except Exception as error:  # decoders meet broken data with many kinds of exception
            raise DataFormatError(
                self.path, self.place, expected=f"a {self.compression} image", got=f"{type(error).__name__}: {error}"
            ) from error


def read_sens_depth_codes(path: Path, frame: SensFrame, header: SensHeader) -> UInt16[np.ndarray, "height width"]:
    """Depth codes of a frame; 0 = no measurement.

    Raises:
        DataFormatError: damaged, or of another size than the header says.
    """
    place = f"frame {frame.index}"
    data = _payload(path, frame.depth_at, place)
    width, height = header.depth_size
    expected = 2 * width * height
    if header.depth_compression == "zlib":
        stream = zlib.decompressobj()
        try:
            data = stream.decompress(data, expected + 1)
        except zlib.error as error:
            raise DataFormatError(path, place, expected="zlib-compressed depth", got=str(error)) from error
    if len(data) != expected:
        raise DataFormatError(
            path, place, expected=f"{expected:,} bytes of depth", got=f"{min(len(data), expected + 1):,} or more"
        )
    return np.frombuffer(data, dtype="<u2").astype(np.uint16).reshape(height, width)


def write_sens(
    path: Path,
    header: SensHeader,
    frames: list[tuple[Float64[np.ndarray, "4 4"], bytes, UInt16[np.ndarray, "height width"]]],
) -> None:
    """A stream of (world_from_camera, encoded colour, depth codes), depth compressed by zlib; for tests and small exports.

    Args:
        path: the file.
        header: ``num_frames`` is taken from ``frames``.
        frames: colour already encoded as ``header.color_compression`` says.
    """
    from scenewise.io.atomic import atomic_path

    codes = {name: code for code, name in _COLOR.items()}
    name = header.sensor.encode()
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(struct.pack("<IQ", _VERSION, len(name)) + name)
        for K, base in ((header.K_color, header.base_from_color), (header.K_depth, header.base_from_depth)):
            square = np.eye(4, dtype="<f4")
            square[:3, :3] = K
            square[:2, 2] -= 0.5
            file.write(square.tobytes() + base.astype("<f4").tobytes())
        file.write(
            struct.pack(
                "<ii4If", codes[header.color_compression], 1, *header.color_size, *header.depth_size, header.codes_per_metre
            )
        )
        file.write(struct.pack("<Q", len(frames)))
        for index, (pose, color, depth) in enumerate(frames):
            packed = zlib.compress(depth.astype("<u2").tobytes(), 1)
            file.write(_FRAME_HEADER.pack(*pose.ravel().tolist(), index, index, len(color), len(packed)) + color + packed)


def _exactly(path: Path, file: BinaryIO, count: int, place: str) -> bytes:
    data = file.read(count)
    if len(data) != count:
        raise DataFormatError(path, place, expected=f"{count:,} bytes", got=f"{len(data):,}", fix="the file was cut short")
    return data


def _header(path: Path, file: BinaryIO, size: int) -> SensHeader:
    version, length = struct.unpack("<IQ", _exactly(path, file, 12, "header"))
    if version != _VERSION:
        raise DataFormatError(path, "header", expected=f"a .sens stream of version {_VERSION}", got=f"version {version}")
    if length > _MAX_NAME:
        raise DataFormatError(path, "header", expected=f"a sensor name of at most {_MAX_NAME} bytes", got=f"{length:,}")
    sensor = _exactly(path, file, length, "header").decode("utf-8", errors="replace")
    matrices = np.frombuffer(_exactly(path, file, 4 * 64, "header"), dtype="<f4").astype(np.float64).reshape(4, 4, 4)
    color, depth, cw, ch, dw, dh, codes_per_metre, count = struct.unpack("<ii4IfQ", _exactly(path, file, 36, "header"))
    if color not in _COLOR:
        raise DataFormatError(path, "header", expected="colour as raw, PNG or JPEG", got=f"compression {color}")
    if depth not in _DEPTH:
        raise DataFormatError(
            path,
            "header",
            expected="depth as raw or zlib",
            got=f"compression {depth}",
            fix="export the scan with ScanNet's own reader",
        )
    for what, side in (("colour width", cw), ("colour height", ch), ("depth width", dw), ("depth height", dh)):
        if not 1 <= side <= _MAX_SIDE:
            raise DataFormatError(path, "header", expected=f"a {what} from 1 to {_MAX_SIDE}", got=side)
    if not (math.isfinite(codes_per_metre) and codes_per_metre > 0):
        raise DataFormatError(path, "header", expected="depth codes per metre above 0", got=codes_per_metre)
    if count * _FRAME_HEADER.size > size - file.tell():
        raise DataFormatError(
            path, "header", expected=f"{count:,} frames", got=f"{size - file.tell():,} bytes", fix="the file was cut short"
        )
    return SensHeader(
        sensor=sensor,
        K_color=_intrinsics(path, matrices[0], "colour"),
        K_depth=_intrinsics(path, matrices[2], "depth"),
        color_size=(cw, ch),
        depth_size=(dw, dh),
        color_compression=_COLOR[color],
        depth_compression=_DEPTH[depth],
        codes_per_metre=codes_per_metre,
        num_frames=count,
        base_from_color=_base_transform(path, matrices[1], "colour"),
        base_from_depth=_base_transform(path, matrices[3], "depth"),
    )


def _intrinsics(path: Path, matrix: Float64[np.ndarray, "4 4"], what: str) -> Float64[np.ndarray, "3 3"]:
    K = matrix[:3, :3].copy()
    if not (np.isfinite(K).all() and K[0, 0] > 0 and K[1, 1] > 0 and np.abs(K[2] - [0, 0, 1]).max() < 1e-6):
        raise DataFormatError(path, "header", expected=f"{what} intrinsics fx 0 cx / 0 fy cy / 0 0 1", got=K.tolist())
    K[:2, 2] += 0.5  # the file puts pixel centres at integers
    return K


def _base_transform(path: Path, matrix: Float64[np.ndarray, "4 4"], what: str) -> Float64[np.ndarray, "4 4"]:
    """The matrix; the identity where the recorder left zeros or −inf, as it does for cameras that it has aligned."""
    if not np.isfinite(matrix).any() or not matrix.any():
        return np.eye(4)
    try:
        require_rigid(f"extrinsic matrix of {what}", matrix)
    except ConventionError as error:
        raise DataFormatError(path, f"header: {error}") from error
    return matrix


def _payload(path: Path, at: tuple[int, int], place: str) -> bytes:
    offset, length = at
    with open_bounded(path) as (file, size):
        if offset + length > size:
            raise DataFormatError(
                path, place, expected=f"{length:,} bytes", got=f"{max(0, size - offset):,}", fix="the file was cut short"
            )
        file.seek(offset)
        return _exactly(path, file, length, place)

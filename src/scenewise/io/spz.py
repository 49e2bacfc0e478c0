"""SPZ: compact splats, about a tenth of the PLY's size.

A gzip stream of a 16-byte header and then one array per field over all splats: positions (three 24-bit fixed-point numbers),
opacity, colour, logarithms of the scales (a byte each), rotation, spherical harmonics (a byte per coefficient and channel).
Source: the format's public reference implementation (Niantic, MIT licence), versions 2 and 3; they differ in the rotation.

The file's axes are right-up-back where splats in PLY files are right-down-forward, so y and z change sign here.  That is a
half turn about x, hence also a sign on the rotation and on some of the harmonics.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.atomic import atomic_path
from scenewise.io.bounded import BoundedGunzip, open_bounded
from scenewise.io.ply.gaussians import ROWS_PER_BLOCK, finite_blocks, float32_array
from scenewise.scenes.gaussians import SH_COEFFICIENTS, GaussianRows, Gaussians

SpzVersion = Literal[2, 3]

_MAGIC = 0x5053474E  # "NGSP", little-endian
_HEADER = struct.Struct("<IIIBBBB")  # magic, version, splats, SH degree, fractional bits, flags, reserved
_ANTIALIASED = 1
_LEVEL = 6  # of compression
_GZIP = 31  # zlib's name for its largest window in a gzip stream
_MAX_FRACTIONAL_BITS = 20
_MIN_FRACTIONAL_BITS = 9  # coarser steps would move a splat by more than 1/1000 unit
_LARGEST_FIXED = (1 << 23) - 1
_LOG_SCALES = (-10.0, 5.9375)  # what a byte can say, in steps of 1/16
_MOST_CLAMPED = 0.01  # share of the splats that may be too small or too large as a whole
_COLOUR_SCALE = 0.15  # of the degree-0 coefficient, around ½
_SIGN_POSITION = np.array([1.0, -1.0, -1.0], dtype=np.float32)
# Each basis function of degrees 1 to 3 is odd or even in (y, z) together: y z x | xy yz zz xz xx−yy | yxx xyz yzz zzz xzz zxx xxx
_SIGN_SH = np.array([-1, -1, 1, -1, 1, 1, -1, 1, -1, 1, -1, -1, 1, -1, 1], dtype=np.float32)
_REST_BITS = (5, 5, 5, *[4] * 12)  # kept bits per coefficient: five for degree 1, four above


def _rounded_u8(values: np.ndarray) -> np.ndarray:
    return np.clip(np.floor(values + np.float32(0.5)), 0, 255).astype(np.uint8)


def write_spz(path: str | Path, gaussians: GaussianRows, *, version: SpzVersion = 3, antialiased: bool = False) -> None:
    """Splats to an SPZ file; see :func:`spz_bytes`.

    They are gone through once per field of the format, so that beside them (or at all, where they are on the disk) only one block
    is in memory.

    Raises:
        ConventionError: a value is NaN or infinite, a quaternion is zero, or positions need steps coarser than 1/512 unit.  All
            of it is found before anything is written.
        ResourceError: the disk is full or the folder cannot be written.
    """
    pieces = _compressed(gaussians, version, antialiased)
    start = next(pieces)  # refuses what cannot be written, before the disk is touched
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(start)
        for piece in pieces:
            file.write(piece)


def spz_bytes(gaussians: GaussianRows, *, version: SpzVersion = 3, antialiased: bool = False) -> bytes:
    """Splats as the contents of an SPZ file; rows keep their order, values are quantised.

    Position steps are 2⁻¹² units and finer for scenes smaller than 2,048 units (up to 2⁻²⁰), coarser for larger ones.  Scales
    are held to 1/32 in the logarithm between e⁻¹⁰ and e⁵·⁹ and clamped outside, which is refused where whole splats would become
    larger or smaller; opacity is clamped to [1/255, 254/255] because
    readers turn 0 and 1 into infinite logits; harmonics are clamped to ±1.

    Args:
        gaussians: what to write.
        version: 3 stores rotations to 0.2°; 2 to about 1°, near half turns to 10°, and is read by older programs.
        antialiased: whether the splats were trained with opacity compensation.

    Raises:
        ConventionError: a value is NaN or infinite, a quaternion is zero, positions need steps coarser than 1/512 unit, or
            splats are of sizes the format does not have.
    """
    return b"".join(_compressed(gaussians, version, antialiased))


def _compressed(gaussians: GaussianRows, version: SpzVersion, antialiased: bool) -> Iterator[bytes]:
    """The file piece by piece; the first comes when nothing can be refused any more."""
    count, rest = len(gaussians), SH_COEFFICIENTS[gaussians.sh_degree] - 1
    fractional_bits = _fractional_bits(_checked_extent(gaussians))
    encoders: list[Callable[[Gaussians], np.ndarray]] = [
        lambda block: _fixed_positions(block, fractional_bits),
        lambda block: np.clip(_rounded_u8(float32_array(block.opacities) * 255), 1, 254),
        lambda block: _rounded_u8((float32_array(block.sh0)[:, 0] * _COLOUR_SCALE + 0.5) * 255),
        lambda block: _rounded_u8((float32_array(block.log_scales) + 10) * 16),
        lambda block: _packed_rotations(float32_array(block.quats), version),
        lambda block: _quantised_harmonics(float32_array(block.shN) * _SIGN_SH[:rest, None]),
    ]
    # As gzip.compress does without a time stamp: the same splats give the same file.
    stream = zlib.compressobj(_LEVEL, wbits=_GZIP)
    flags = _ANTIALIASED if antialiased else 0
    yield stream.compress(_HEADER.pack(_MAGIC, version, count, gaussians.sh_degree, fractional_bits, flags, 0))
    for encode in encoders[: 6 if rest else 5]:
        for block in gaussians.blocks(ROWS_PER_BLOCK):
            yield stream.compress(encode(block).tobytes())
    yield stream.flush()


def _fixed_positions(block: Gaussians, fractional_bits: int) -> np.ndarray:
    means = float32_array(block.means) * _SIGN_POSITION
    fixed = np.floor(means.astype(np.float64) * 2.0**fractional_bits + 0.5).astype("<i4")
    return fixed.reshape(-1).view(np.uint8).reshape(-1, 4)[:, :3]


def _checked_extent(gaussians: GaussianRows) -> float:
    """The largest coordinate, after a look at everything that is refused.

    Sizes: a scene in kilometres has splats below the smallest size, one in millimetres above the largest.
    """
    extent, outside, start, zero = 0.0, 0, 0, -1
    for block in finite_blocks(gaussians.blocks(ROWS_PER_BLOCK)):
        extent = max(extent, float(np.abs(float32_array(block.means)).max(initial=0.0)))
        largest = float32_array(block.log_scales).max(axis=1)
        outside += int(((largest < _LOG_SCALES[0]) | (largest > _LOG_SCALES[1])).sum())
        is_zero = (float32_array(block.quats) == 0).all(axis=1)
        if zero < 0 and is_zero.any():
            zero = start + int(is_zero.argmax())
        start += len(block)
    if outside > _MOST_CLAMPED * len(gaussians):
        raise ConventionError(
            "sizes for .spz",
            expected=f"splats between e^{_LOG_SCALES[0]:g} and e^{_LOG_SCALES[1]:g} units",
            got=f"{outside / len(gaussians):.0%} outside",
            fix="export as ply, which has no such limits, or give the capture another unit of length",
        )
    if zero >= 0:
        raise ConventionError(f"quats of Gaussian {zero}", expected="a rotation", got="zero", fix="remove these Gaussians")
    return extent


def _fractional_bits(extent: float) -> int:
    for bits in range(_MAX_FRACTIONAL_BITS, _MIN_FRACTIONAL_BITS - 1, -1):
        if extent * 2.0**bits + 0.5 < _LARGEST_FIXED:
            return bits
    raise ConventionError(
        "positions for .spz",
        expected=f"coordinates within ±{_LARGEST_FIXED / 2.0**_MIN_FRACTIONAL_BITS:,.0f} units",
        got=f"{extent:,.0f}",
        fix="export as ply, or remove far outliers",
    )


def _packed_rotations(quats_wxyz: np.ndarray, version: SpzVersion) -> np.ndarray:
    lengths = np.linalg.norm(quats_wxyz.astype(np.float64), axis=1, keepdims=True)
    xyzw = (quats_wxyz / lengths)[:, [1, 2, 3, 0]] * np.array([1.0, -1.0, -1.0, 1.0])
    if version == 2:
        xyz = np.where(xyzw[:, 3:] < 0, -xyzw[:, :3], xyzw[:, :3])
        return _rounded_u8(xyz * 127.5 + 127.5)
    # Version 3: the largest component follows from the other three, each a sign and nine bits of its share of √½.
    largest = np.abs(xyzw).argmax(axis=1)
    rows = np.arange(len(xyzw))
    flip = xyzw[rows, largest] < 0
    packed = largest.astype(np.uint32)
    for axis in range(4):
        magnitude = np.minimum(np.floor(511 * np.abs(xyzw[:, axis]) / np.sqrt(0.5) + 0.5), 511).astype(np.uint32)
        sign = ((xyzw[:, axis] < 0) ^ flip).astype(np.uint32)
        packed = np.where(largest == axis, packed, (packed << 10) | (sign << 9) | magnitude)
    return packed.astype("<u4").view(np.uint8)


def _unpacked_rotations(stored: np.ndarray, version: int) -> np.ndarray:
    """Unit quaternions wxyz in PLY axes."""
    if version == 2:
        xyz = stored.astype(np.float64) / 127.5 - 1
        w = np.sqrt(np.maximum(0, 1 - (xyz**2).sum(axis=1)))
        xyzw = np.concatenate([xyz, w[:, None]], axis=1)
    else:
        packed = np.ascontiguousarray(stored).view("<u4")[:, 0].astype(np.uint32)
        largest = (packed >> 30).astype(np.int64)
        xyzw = np.zeros((len(packed), 4))
        for axis in (3, 2, 1, 0):
            value = (packed & 511) * (np.sqrt(0.5) / 511)
            value = np.where((packed >> 9) & 1, -value, value)
            xyzw[:, axis] = np.where(largest == axis, 0, value)
            packed = np.where(largest == axis, packed, packed >> 10)
        xyzw[np.arange(len(xyzw)), largest] = np.sqrt(np.maximum(0, 1 - (xyzw**2).sum(axis=1)))
    xyzw /= np.linalg.norm(xyzw, axis=1, keepdims=True)  # a damaged or coarse entry may be off the unit sphere
    return (xyzw[:, [3, 0, 1, 2]] * np.array([1.0, 1.0, -1.0, -1.0])).astype(np.float32)


def _quantised_harmonics(shN: np.ndarray) -> np.ndarray:
    steps = np.array([1 << (8 - bits) for bits in _REST_BITS[: shN.shape[1]]], dtype=np.int32)[:, None]
    levels = np.floor(np.clip(shN, -1, 1) * 128 + np.float32(0.5)).astype(np.int32) + 128
    return np.clip((levels + steps // 2) // steps * steps, 0, 255).astype(np.uint8)


def read_spz(path: str | Path) -> Gaussians:
    """Splats from an SPZ file of version 2 or 3, in the axes of PLY files (right, down, forward).

    Raises:
        DataFormatError: not an SPZ file, another version, an SH degree above 3, or a damaged or cut stream.
    """
    path = Path(path)
    with open_bounded(path) as (file, size):
        start = file.read(4)
        file.seek(0)
        if start == struct.pack("<I", _MAGIC):
            raise DataFormatError(
                path,
                expected="a gzip stream (version 2 or 3)",
                got="version 4",
                fix="convert it: splat-transform --spz-version 3",
            )
        if start[:2] != b"\x1f\x8b":
            raise DataFormatError(path, expected="an SPZ file (gzip)", got=f"{start!r}", fix="name an .spz file")
        stream = BoundedGunzip(path, file, size)
        magic, version, count, degree, fractional_bits, _, _ = _HEADER.unpack(stream.read(_HEADER.size, "header"))
        if magic != _MAGIC:
            raise DataFormatError(path, "header", expected="the mark NGSP", got=f"{magic:#010x}", fix="name an .spz file")
        if version not in (2, 3):
            raise DataFormatError(path, "header", expected="version 2 or 3", got=version, fix="convert it with splat-transform")
        if degree not in SH_COEFFICIENTS:
            raise DataFormatError(path, "header", expected="SH degree 0 to 3", got=degree)
        if fractional_bits > 23:
            raise DataFormatError(path, "header", expected="at most 23 fractional bits", got=fractional_bits)
        rest = SH_COEFFICIENTS[degree] - 1
        widths = (9, 1, 3, 3, 3 if version == 2 else 4, 3 * rest)
        body = np.frombuffer(stream.read(count * sum(widths), f"{count:,} splats"), dtype=np.uint8)
        stream.finish()
    ends = np.cumsum([count * width for width in widths])[:-1]
    fields = [part.reshape(count, width) for part, width in zip(np.split(body, ends), widths)]
    positions, opacities, colours, log_scales, rotations, harmonics = fields
    fixed = positions.reshape(count, 3, 3).astype(np.int32) @ np.array([1, 1 << 8, 1 << 16], dtype=np.int32)
    fixed -= (fixed >> 23) << 24  # two's complement of 24 bits
    opacity = np.clip(opacities[:, 0].astype(np.float64) / 255, 0.25 / 255, 254.75 / 255)  # 0 and 1 have no finite logit
    shN = (harmonics.reshape(count, rest, 3).astype(np.float32) - 128) / 128 * _SIGN_SH[:rest, None]

    def tensor(values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))

    return Gaussians(
        means=tensor(fixed * 2.0**-fractional_bits * _SIGN_POSITION),
        log_scales=tensor(log_scales.astype(np.float32) / 16 - 10),
        quats=tensor(_unpacked_rotations(rotations, version)),
        logit_opacities=tensor(np.log(opacity / (1 - opacity))),
        sh0=tensor((colours.astype(np.float32)[:, None] / 255 - 0.5) / _COLOUR_SCALE),
        shN=tensor(shN),
    )

"""Small clouds, splats, depth maps and pictures as people have them, and what is no such file.  All are written by code."""

import os
from pathlib import Path

import numpy as np
from tests.support.hostile_inputs import Hostile, Writer, save_pixels, written

from scenewise.io.depth_files import read_depth_values
from scenewise.io.images import read_image, read_image_header
from scenewise.io.ply.gaussians import read_gaussians_ply
from scenewise.io.segments import read_segments
from scenewise.io.spz import read_spz
from scenewise.parts.sources.clouds import read_cloud


def points_of_cloud(path: Path) -> int:
    """How many points a file has."""
    return len(read_cloud(path)[0])


def depth_of(path: Path) -> list[float]:
    """The different values of a depth map."""
    return np.unique(read_depth_values(path)).tolist()


def grey_of(path: Path) -> list[int]:
    """The different values of a picture."""
    return np.unique(read_image(path)).tolist()


def read_header(path: Path) -> tuple[int, int]:
    """Width and height of a picture."""
    header = read_image_header(path)
    return header.width, header.height


def _made(path: Path) -> Path:
    path.mkdir()
    return path


def _piped(path: Path) -> Path:
    os.mkfifo(path)
    return path


def _file(name: str, data: bytes) -> Writer:
    return lambda folder: written(folder / name, data)


def _ply(columns: str, rows: str, count: int, form: str = "ascii") -> bytes:
    head = "".join(f"property {column}\n" for column in columns.split(", "))
    return f"ply\nformat {form} 1.0\nelement vertex {count}\n{head}end_header\n{rows}".encode()


_XYZ = "float x, float y, float z"
_ROWS = "0 0 0\n1 0 0\n0 1 0\n"
_SPLAT = (
    _XYZ
    + "".join(f", float {name}" for name in ("f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "scale_1", "scale_2"))
    + "".join(f", float rot_{axis}" for axis in range(4))
)


def _npy(values: np.ndarray) -> Writer:
    def write(folder: Path) -> Path:
        np.save(folder / "a.npy", values)
        return folder / "a.npy"

    return write


def _npy_header(kind: str, shape: str = "(1, 1)") -> bytes:
    """The beginning of an array in numpy's format, of which no number follows."""
    said = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\0" + len(said).to_bytes(2, "little") + said.encode()


def _picture(name: str, pixels: np.ndarray) -> Writer:
    def write(folder: Path) -> Path:
        save_pixels(pixels, folder / name)
        return folder / name

    return write


def _huge(width: int, height: int) -> Writer:
    """A picture that says it is large; nothing but its header is ever read."""
    return _file("a.ppm", f"P4\n{width} {height}\n".encode() + b"\0" * 64)


HOSTILE_FILES = (
    Hostile("cloud", _file("a.ply", _ply(_XYZ, _ROWS, 3)), points_of_cloud, gives=3),
    Hostile(
        "cloud_nan", _file("a.ply", _ply(_XYZ, _ROWS + "nan 0 0\n", 4)), points_of_cloud, warns=("1 with NaN", "row 3"), gives=3
    ),
    Hostile(
        "cloud_far",
        _file("a.ply", _ply(_XYZ, "1e30 0 0\n" + _ROWS, 4)),
        points_of_cloud,
        warns=("beyond 1e+10", "row 0"),
        gives=3,
    ),
    Hostile(
        "cloud_capital_names", _file("a.ply", _ply(_XYZ.upper().replace("FLOAT", "float"), _ROWS, 3)), points_of_cloud, gives=3
    ),
    Hostile("cloud_capital_types", _file("a.ply", _ply(_XYZ.replace("float", "Float"), _ROWS, 3)), points_of_cloud, gives=3),
    Hostile("cloud_spaces", _file("a.ply", _ply(_XYZ + ", float scalar of mine", "0 0 0 1\n", 1)), points_of_cloud, gives=1),
    Hostile("cloud_int64", _file("a.ply", _ply(_XYZ + ", int64 id", "0 0 0 99\n", 1)), points_of_cloud, gives=1),
    Hostile("cloud_crlf", _file("a.ply", _ply(_XYZ, _ROWS, 3).replace(b"\n", b"\r\n")), points_of_cloud, gives=3),
    Hostile(
        "cloud_bytes_as_floats",
        _file("a.ply", _ply(_XYZ + ", float red, float green, float blue", "0 0 0 255 3 0\n", 1)),
        points_of_cloud,
        gives=1,
    ),
    Hostile("cloud_empty", _file("a.ply", b""), points_of_cloud, ("a.ply: header", "is this a PLY file?")),
    Hostile("cloud_short", _file("a.ply", _ply(_XYZ, "0 0 0\n", 3)), points_of_cloud, ("element vertex",)),
    Hostile("cloud_promises", _file("a.ply", _ply(_XYZ, "", 10**12, "binary_little_endian")), points_of_cloud, ("cut short",)),
    Hostile("cloud_words", _file("a.ply", _ply(_XYZ, "a b c\n", 1)), points_of_cloud, ("element vertex", "rows of 3 numbers")),
    Hostile("cloud_without_z", _file("a.ply", _ply("float x, float y", "0 0\n", 1)), points_of_cloud, ("the vertex property z",)),
    Hostile("cloud_twice_x", _file("a.ply", _ply(_XYZ + ", float x", "0 0 0 0\n", 1)), points_of_cloud, ("x twice",)),
    Hostile("cloud_list", _file("a.ply", _ply(_XYZ + ", list uchar int i", "0 0 0 0\n", 1)), points_of_cloud, ("the list i",)),
    Hostile(
        "cloud_compressed",
        _file("a.ply", _ply("uint packed_position", "0\n", 1)),
        points_of_cloud,
        ("compressed", "splat-transform"),
    ),
    Hostile("cloud_pcd", _file("a.pcd", b"# .PCD v0.7\n"), points_of_cloud, (".ply, .las, .laz", "CloudCompare")),
    Hostile("cloud_xyz", _file("a.xyz", b"0 0 0\n"), points_of_cloud, ("got .xyz", "CloudCompare")),
    Hostile("cloud_without_ending", _file("cloud", b"0 0 0\n"), points_of_cloud, ("no ending", "CloudCompare")),
    Hostile("cloud_las_text", _file("a.las", b"hello"), points_of_cloud, ("a.las: expected a LAS file", "name a .las")),
    Hostile("cloud_las_cut", _file("a.laz", b"LASF" + b"\0" * 90), points_of_cloud, ("a.laz: header", "cut short")),
    Hostile("cloud_obj_text", _file("a.obj", b"hello"), points_of_cloud, ("a.obj",)),
    Hostile("cloud_gone", lambda folder: folder / "a.ply", points_of_cloud, ("a.ply: expected a file, got nothing", "check")),
    Hostile("cloud_folder", lambda folder: _made(folder / "a.ply"), points_of_cloud, ("a folder", "inside it")),
    Hostile("cloud_pipe", lambda folder: _piped(folder / "a.ply"), points_of_cloud, ("a device or pipe", "save it to disk")),
    Hostile(
        "splats_nan",
        _file("s.ply", _ply(_SPLAT, "nan" + " 0" * 13 + "\n", 1)),
        read_gaussians_ply,
        ("vertex 0, x", "CloudCompare"),
    ),
    Hostile("splats_are_points", _file("s.ply", _ply(_XYZ, _ROWS, 3)), read_gaussians_ply, ("the vertex property",)),
    Hostile("spz_text", _file("s.spz", b"hello"), read_spz, ("s.spz", "gzip")),
    Hostile("depth_map_codes", _picture("d.png", np.array([[0, 1500]], np.uint16)), depth_of, gives=[0, 1500]),
    Hostile("depth_map_floats", _npy(np.array([[0.0, 1.5, -1.0, np.nan, np.inf]], np.float32)), depth_of, gives=[0.0, 1.5]),
    Hostile("depth_map_channel", _npy(np.full((2, 3, 1), 2.5)), depth_of, gives=[2.5]),
    Hostile("depth_map_big_endian", _npy(np.full((2, 3), 2.5, ">f4")), depth_of, gives=[2.5]),
    Hostile("depth_map_millimetres", _npy(np.full((2, 3), 1500.0)), depth_of, ("look like millimetres", "divide them by 1000")),
    Hostile("depth_map_objects", _file("d.npy", _npy_header("|O")), depth_of, ("object of shape (1, 1)", "16-bit PNG")),
    Hostile("depth_map_of_bytes", _npy(np.zeros((2, 3), np.uint8)), depth_of, ("uint8 of shape (2, 3)", "16-bit PNG")),
    Hostile("depth_map_cut", _file("d.npy", b"\x93NUMPY\x01\0"), depth_of, ("numpy's format", "write it again")),
    Hostile(
        "depth_map_promises",
        _file("d.npy", _npy_header("<f4", "(99999, 99999)")),
        depth_of,
        ("d.npy", "copy it again"),
    ),
    Hostile("picture_floats", _picture("p.tif", np.array([[0.0, 1.0]], np.float32)), grey_of, gives=[0, 255]),
    Hostile("picture_nan", _picture("p.tif", np.array([[0.0, np.nan]], np.float32)), grey_of, ("floating-point", "[0, 1]")),
    Hostile("picture_of_182_megapixels", _huge(14_000, 13_000), read_header, gives=(14_000, 13_000)),
    Hostile("picture_beyond_our_limit", _huge(400_000_001, 1), read_header, ("at most 400,000,000 pixels",)),
    Hostile(
        "segments_words", _file("s.txt", b"a b c"), lambda path: read_segments(path, count=3), ("s.txt: id 0", "whole number")
    ),
    Hostile("segments_too_few", _file("s.txt", b"1 2"), lambda path: read_segments(path, count=3), ("s.txt",)),
)

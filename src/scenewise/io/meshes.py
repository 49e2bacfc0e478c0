"""Triangle meshes from PLY, OBJ, STL, OFF and GLB files, and points sampled on them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scenewise.errors import ConventionError, DataFormatError, MissingDependencyError, ShapeError
from scenewise.io.atomic import atomic_path
from scenewise.io.bounded import open_bounded
from scenewise.io.ply.tables import read_ply_table
from scenewise.scenes.meshes import TriangleMesh

_ENDINGS = (".ply", ".obj", ".stl", ".off", ".glb")
_INTEGERS = {"i1": "char", "u1": "uchar", "i2": "short", "u2": "ushort", "i4": "int", "u4": "uint"}


def read_mesh(path: str | Path) -> TriangleMesh:
    """A mesh with its vertex colours if it has them; the parts of a scene file are joined, textures are not read.

    Other files that the mesh names (materials, buffers) are never opened.

    Raises:
        DataFormatError: another ending, a damaged file, no triangles, NaN or infinite positions.
        MissingDependencyError: trimesh is not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in _ENDINGS:
        raise DataFormatError(path, expected=f"a mesh file ({', '.join(_ENDINGS)})", got=path.suffix or "no ending")
    with open_bounded(path) as (file, size):
        try:
            import trimesh
        except ModuleNotFoundError as error:
            raise MissingDependencyError("trimesh", needed_for="Reading meshes", extra="io") from error
        if path.suffix.lower() == ".ply":
            read_ply_table(path)  # our reader compares the header's counts with the file before anything is allocated
        if path.suffix.lower() == ".stl":
            _check_stl(path, file.read(84), size)
            file.seek(0)
        try:
            # from an open file there is no folder to resolve further names in
            mesh: Any = trimesh.load(file, file_type=path.suffix[1:].lower(), force="mesh", process=False)
            vertices = np.array(mesh.vertices, dtype=np.float64).reshape(-1, 3)
            faces = np.array(mesh.faces, dtype=np.int64).reshape(-1, 3)
            colours = _vertex_colours(mesh, len(vertices))
        except Exception as error:  # a damaged file fails anywhere in the library, in whatever way
            raise DataFormatError(
                path, expected="a sound mesh", got=str(error)[:120] or type(error).__name__, fix="open and export it again"
            ) from error
    if not len(faces):
        raise DataFormatError(path, expected="a mesh with triangles", got="none", fix="read points with read_points_ply")
    if not np.isfinite(vertices).all():
        raise DataFormatError(path, "vertices", expected="finite positions", got="NaN or Inf")
    try:
        return TriangleMesh(vertices, faces, colours)
    except ShapeError as error:
        raise DataFormatError(path, got=str(error), fix="open and export it again") from error


def _check_stl(path: Path, head: bytes, size: int) -> None:
    is_text = head[:5].lower() == b"solid"
    count = int.from_bytes(head[80:84], "little") if len(head) == 84 else 0
    if not is_text and 84 + 50 * count > size:
        raise DataFormatError(
            path, "header", expected=f"{count:,} triangles of 50 bytes", got=f"{size:,} bytes", fix="the file was cut short"
        )


def _vertex_colours(mesh: Any, count: int) -> np.ndarray | None:
    if getattr(mesh.visual, "kind", None) != "vertex":
        return None
    colours = np.asarray(mesh.visual.vertex_colors)
    return colours[:, :3].astype(np.uint8) if colours.shape[:1] == (count,) else None


def write_mesh_ply(path: str | Path, mesh: TriangleMesh, *, extra: Mapping[str, np.ndarray] | None = None) -> None:
    """A mesh to a binary PLY file: x y z as float, red green blue alpha as uchar if known, ``extra``; faces as int lists.

    Args:
        path: the file.
        mesh: vertices within reach of float32 (a few kilometres for a tenth of a millimetre).
        extra: integers per vertex by column name, stored in their own type of 8, 16 or 32 bits.

    Raises:
        ShapeError: an extra column of another length or type.
        ConventionError: a vertex is NaN or infinite.
    """
    count = len(mesh.vertices_in_world)
    if not np.isfinite(mesh.vertices_in_world).all():
        raise ConventionError("vertices_in_world", expected="finite positions", got="NaN or Inf")
    columns: list[tuple[str, str, np.ndarray]] = [
        (axis, "f4", mesh.vertices_in_world[:, number]) for number, axis in enumerate("xyz")
    ]
    if mesh.colors_u8 is not None:
        columns += [(name, "u1", mesh.colors_u8[:, number]) for number, name in enumerate(("red", "green", "blue"))]
        columns.append(("alpha", "u1", np.full(count, 255, dtype=np.uint8)))
    for name, values in (extra or {}).items():
        kind = values.dtype.kind + str(values.dtype.itemsize)
        if values.shape != (count,) or kind not in _INTEGERS:
            raise ShapeError(f"extra column {name}", expected=f"{count} integers of up to 32 bits", got=f"{values.shape} {kind}")
        columns.append((name, kind, values))
    rows = np.empty(count, dtype=[(name, "<" + kind) for name, kind, _ in columns])
    for name, _, values in columns:
        rows[name] = values
    faces = np.empty(len(mesh.faces), dtype=[("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, mesh.faces
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    header += [f"property {'float' if kind == 'f4' else _INTEGERS[kind]} {name}" for name, kind, _ in columns]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header", ""]
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write("\n".join(header).encode("ascii"))
        file.write(rows.data)
        file.write(faces.data)

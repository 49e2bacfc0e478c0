"""COLMAP models written in the text format: cameras, photographs, points."""

from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Float64
from torch import Tensor

from scenewise.errors import ShapeError
from scenewise.geometry.lens_cameras import LensCamera
from scenewise.geometry.rotations import quat_from_rotation
from scenewise.io.atomic import disk_errors
from scenewise.scenes.point_clouds import PointCloud

_GREY = (128, 128, 128)


def write_colmap_model(
    folder: Path,
    names: Sequence[str],
    lenses: Sequence[LensCamera],
    camera_from_world: Float64[Tensor, "n 4 4"],
    points: PointCloud | None = None,
) -> None:
    """Writes ``cameras.txt``, ``images.txt`` and, where there are points, ``points3D.txt``; numbers are exact when read again.

    Files are written directly: to make a whole model appear at once, write inside :func:`scenewise.io.atomic.atomic_folder`.
    Points have no tracks, and images no features.

    Args:
        folder: of the model, created where it is missing.
        names: of the photographs, below their folder.
        lenses: of each; equal ones become one camera.
        camera_from_world: of each.
        points: world frame; without colours they are grey.  None: not known.

    Raises:
        ShapeError: as many names as lenses and poses are needed.
        ResourceError: the disk is full or the folder cannot be written.
    """
    if not len(names) == len(lenses) == len(camera_from_world):
        raise ShapeError("names", expected=f"as many as poses, {len(camera_from_world)}", got=f"{len(names)}")
    ids = {lens: number for number, lens in enumerate(dict.fromkeys(lenses), start=1)}
    cameras = [f"{number} {lens.model} {lens.width} {lens.height} {_row(lens.params)}" for lens, number in ids.items()]
    quats = quat_from_rotation(camera_from_world[:, :3, :3]).tolist()
    poses = zip(names, lenses, quats, camera_from_world[:, :3, 3].tolist())
    images = [
        f"{number} {_row((*quat, *translation))} {ids[lens]} {name}\n"  # an empty line: no feature points
        for number, (name, lens, quat, translation) in enumerate(poses, start=1)
    ]
    files = {
        "cameras.txt": ["# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]", *cameras],
        "images.txt": ["# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME", *images],
    }
    if points is not None:
        files["points3D.txt"] = ["# POINT3D_ID, X, Y, Z, R, G, B, ERROR", *_point_lines(points)]
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for file, lines in files.items():
            (folder / file).write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def _row(values: Sequence[float]) -> str:
    return " ".join(map(repr, values))


def _point_lines(points: PointCloud) -> list[str]:
    colors = [_GREY] * len(points) if points.colors_u8 is None else points.colors_u8.tolist()
    rows = zip(points.points_in_world.tolist(), colors)
    return [
        f"{index} {x!r} {y!r} {z!r} {red} {green} {blue} 0" for index, ((x, y, z), (red, green, blue)) in enumerate(rows, start=1)
    ]

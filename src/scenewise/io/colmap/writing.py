"""COLMAP models written in the text format, for photographs without lens distortion."""

from collections.abc import Sequence
from pathlib import Path

import torch

from scenewise.errors import ShapeError
from scenewise.geometry.rotations import quat_from_rotation
from scenewise.io.atomic import disk_errors
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.point_clouds import PointCloud

_GREY = (128, 128, 128)


def write_colmap_model(folder: Path, cameras: Cameras, names: Sequence[str], points: PointCloud | None) -> None:
    """Writes ``cameras.txt``, ``images.txt`` and ``points3D.txt``; numbers are exact when read again.

    Files are written directly: to make a whole capture appear at once, write inside
    :func:`scenewise.io.atomic.atomic_folder`.  Points have no tracks, and images no features.

    Args:
        folder: of the model, created where it is missing.
        cameras: one per photograph, in one batch; equal intrinsics share a camera of the model.
        names: of the photographs below the image folder.
        points: world frame; without colours they are grey.

    Raises:
        ShapeError: as many names as cameras are needed.
        ResourceError: the disk is full or the folder cannot be written.
    """
    if cameras.K.ndim != 3 or len(names) != len(cameras):
        raise ShapeError("names", expected=f"as many as cameras, {tuple(cameras.K.shape[:-2])}", got=f"{len(names)}")
    lenses: dict[str, int] = {}
    quats = quat_from_rotation(cameras.camera_from_world[:, :3, :3])
    poses = torch.cat([quats, cameras.camera_from_world[:, :3, 3]], dim=1).tolist()
    images = []
    for index, (name, pose, K) in enumerate(zip(names, poses, cameras.K.tolist()), start=1):
        lens = f"PINHOLE {cameras.width} {cameras.height} {_row([K[0][0], K[1][1], K[0][2], K[1][2]])}"
        camera_id = lenses.setdefault(lens, len(lenses) + 1)
        images.append(f"{index} {_row(pose)} {camera_id} {name}\n\n")  # the line of features is empty
    files = {
        "cameras.txt": "".join(f"{number} {lens}\n" for lens, number in lenses.items()),
        "images.txt": "".join(images),
        "points3D.txt": "" if points is None else _point_lines(points),
    }
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            (folder / file).write_text(text, encoding="utf-8", newline="\n")


def _row(values: Sequence[float]) -> str:
    return " ".join(repr(value) for value in values)


def _point_lines(points: PointCloud) -> str:
    colors = [_GREY] * len(points) if points.colors_u8 is None else points.colors_u8.tolist()
    rows = zip(points.points_in_world.tolist(), colors)
    return "".join(
        f"{index} {x!r} {y!r} {z!r} {red} {green} {blue} 0\n"
        for index, ((x, y, z), (red, green, blue)) in enumerate(rows, start=1)
    )

"""Procedural towns on the disk, as the command line reads captures of drones."""

from pathlib import Path

import torch

from scenewise.geometry.lens_cameras import LensCamera
from scenewise.io.atomic import atomic_folder
from scenewise.io.colmap.writing import write_colmap_model
from scenewise.io.images import png_bytes
from scenewise.worlds.town_captures import town_capture


def write_town_capture(
    folder: Path,
    seed: int,
    views: int,
    width: int,
    height: int,
    *,
    points: int = 20_000,
    fov_deg: float = 60.0,
    size: tuple[float, float] = (120.0, 120.0),
) -> None:
    """Writes the drone's capture of a town as a COLMAP model with photographs; the folder appears when all of it is there.

    What is read again has the same cameras, held-out views and points as :func:`town_capture`, but, like every COLMAP model,
    no word on its scale, which is metric.

    Args:
        folder: to create; must be new or empty.
        seed: of the town and of the flight.
        views: number of photographs, at least 1.
        width: image width in pixels.
        height: image height in pixels.
        points: size of the sparse cloud.
        fov_deg: horizontal field of view.
        size: of the town, metres.

    Raises:
        ConventionError: no views asked for, or a size out of range.
        DataFormatError: the folder has content.
        ResourceError: the disk is full or read-only.
    """
    capture = town_capture(seed, views, width, height, fov_deg=fov_deg, points=points, size=size)
    poses = torch.stack([frame.camera.camera_from_world for frame in capture.frames])
    lenses = [
        LensCamera("PINHOLE", (float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])), width, height)
        for K in (frame.camera.K for frame in capture.frames)
    ]
    with atomic_folder(folder, replace=False) as temporary:
        names = [frame.name for frame in capture.frames]
        write_colmap_model(temporary / "sparse" / "0", names, lenses, poses, capture.points)
        (temporary / "images").mkdir()
        for frame in capture.frames:
            assert frame.load_image is not None
            (temporary / "images" / frame.name).write_bytes(png_bytes(frame.load_image()))

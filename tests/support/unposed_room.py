"""Photographs of a procedural room as a person would hand them over: nothing but pictures."""

from pathlib import Path

import numpy as np
from PIL import Image

from scenewise.scenes.cameras import Cameras
from scenewise.worlds.captures import photograph, room_cameras
from scenewise.worlds.rooms import furnished_room

VIEWS, WIDTH, HEIGHT = 10, 240, 180
_SEED, _TOUR = 3, 48  # of the tour's views the first are taken, which overlap well


def _tour() -> Cameras:
    return room_cameras(furnished_room(_SEED), _TOUR, WIDTH, HEIGHT)


def unposed_poses() -> np.ndarray:
    """camera_from_world of the photographs [n, 4, 4], in the order of their names."""
    return _tour().camera_from_world.numpy()[:VIEWS]


def unposed_focal_px() -> float:
    return float(_tour()[0].K[0, 0])


def write_photographs(folder: Path) -> None:
    """``view-000.png`` …"""
    folder.mkdir(parents=True)
    room, cameras = furnished_room(_SEED), _tour()
    for index in range(VIEWS):
        Image.fromarray(photograph(room, cameras[index])).save(folder / f"view-{index:03d}.png")


def camera_names() -> list[str]:
    return [f"view-{index:03d}.png" for index in range(VIEWS)]


def centres(camera_from_world: np.ndarray) -> np.ndarray:
    """Optical centres [n, 3]."""
    return -np.einsum("nji,nj->ni", camera_from_world[:, :3, :3], camera_from_world[:, :3, 3])

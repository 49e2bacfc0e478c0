"""Procedural RGB-D captures whose files are wrong in ways that are known: what a refinement of poses must find again."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64

from scenewise.geometry.transforms import fit_similarity
from scenewise.io.captures import open_capture
from scenewise.io.rgbd.number_files import DEPTH_FROM_COLOR_NAME
from scenewise.io.rgbd.writing import RgbdFrame, write_rgbd_folder
from scenewise.scenes.cameras import Cameras
from scenewise.worlds.captures import LICENCE, photograph, room_cameras, truth
from scenewise.worlds.rooms import furnished_room


@dataclass(frozen=True)
class Miscalibration:
    """What is wrong with a capture.

    Attributes:
        focal: the files' focal length is that of the depth camera, larger than the colour camera's by this share.
        offset_m: where the colour camera stands in the depth camera's axes, of which the files say nothing.
        turn_deg: by which the two are turned against each other, about a slanted axis.
        shift_m: every pose is off by this much, each in another direction.
        tilt_deg: and turned by this much, each about another axis.
    """

    focal: float = 0.10
    offset_m: tuple[float, float, float] = (0.028, -0.007, 0.008)
    turn_deg: float = 0.4
    shift_m: float = 0.01
    tilt_deg: float = 0.5


@dataclass(frozen=True)
class KnownCalibration:
    """The truth behind a miscalibrated capture.

    Attributes:
        focal_px: of the colour camera.
        depth_from_color: rigid, metres.
        world_from_color: of every frame.
    """

    focal_px: float
    depth_from_color: Float64[np.ndarray, "4 4"]
    world_from_color: Float64[np.ndarray, "n 4 4"]


@dataclass(frozen=True)
class RecoveredCalibration:
    """How far a refined capture is from the truth.

    Attributes:
        focal_share: relative error of the focal length.
        offset_mm: distance between the true and the found place of the colour camera beside the depth camera.
        turn_deg: angle between the true and the found rotation of the two.
        shift_mm: median distance between true and found camera centres after a rigid alignment (no scale).
        shift_most_mm: the largest.
        tilt_deg: median angle likewise.
        tilt_most_deg: the largest.
    """

    focal_share: float
    offset_mm: float
    turn_deg: float
    shift_mm: float
    shift_most_mm: float
    tilt_deg: float
    tilt_most_deg: float


def write_miscalibrated_room(
    folder: Path, seed: int, frames: int, width: int, height: int, fault: Miscalibration, *, tour_frames: int | None = None
) -> KnownCalibration:
    """The tour of a room, or its beginning, as an RGB-D folder whose intrinsics and poses are wrong, and the truth.

    Args:
        folder: to create.
        seed: of the room and of the errors of the poses.
        frames: how many are written.
        width: of colour and depth, pixels.
        height: likewise.
        fault: what is wrong.
        tour_frames: of the whole tour; as many as are written when None.
    """
    room = furnished_room(seed)
    cameras = room_cameras(room, tour_frames or frames, width, height)
    depth_from_color = np.eye(4)
    depth_from_color[:3, :3] = _turned(np.array([2.0, -1.0, 0.5]), fault.turn_deg)
    depth_from_color[:3, 3] = fault.offset_m
    K_color = cameras[0].K.numpy()
    K_depth = K_color.copy()
    K_depth[[0, 1], [0, 1]] *= 1.0 + fault.focal
    world_from_color = np.linalg.inv(cameras.camera_from_world.numpy())[:frames]
    rng = np.random.default_rng(seed)

    def views() -> Iterator[RgbdFrame]:
        for index in range(frames):
            depth_camera = Cameras(
                torch.from_numpy(depth_from_color @ cameras[index].camera_from_world.numpy()),
                torch.from_numpy(K_depth),
                width,
                height,
            )
            wrong = world_from_color[index].copy()
            wrong[:3, :3] = wrong[:3, :3] @ _turned(rng.normal(size=3), fault.tilt_deg)
            direction = rng.normal(size=3)
            wrong[:3, 3] += fault.shift_m * direction / np.linalg.norm(direction)
            yield RgbdFrame(photograph(room, cameras[index]), truth(room, depth_camera).depth, wrong)

    write_rgbd_folder(folder, views(), K_depth, width, height, licence=LICENCE, up_in_world=[0.0, 0.0, 1.0])
    return KnownCalibration(float(K_color[0, 0]), depth_from_color, world_from_color)


def recovered(folder: Path, focal_px: float, known: KnownCalibration) -> RecoveredCalibration:
    """Compares a refined capture, as it is read again, with the truth.

    Args:
        folder: of the refined capture.
        focal_px: found for the colour camera; what is read again is that of the images without distortion.
        known: the truth.
    """
    capture = open_capture(folder)
    found = np.stack([frame.camera.world_from_camera.numpy() for frame in capture.frames])
    _, rotation, _ = fit_similarity(found[:, :3, 3], known.world_from_color[:, :3, 3])
    turned = found[:, :3, 3] @ rotation.T
    moved = turned + (known.world_from_color[:, :3, 3] - turned).mean(axis=0)  # rigid: the scale is to be found too
    shift = np.linalg.norm(moved - known.world_from_color[:, :3, 3], axis=1)
    tilt = angles_deg(rotation @ found[:, :3, :3], known.world_from_color[:, :3, :3])
    transform = np.loadtxt(folder / DEPTH_FROM_COLOR_NAME)
    return RecoveredCalibration(
        focal_share=abs(focal_px / known.focal_px - 1.0),
        offset_mm=1000 * float(np.linalg.norm(transform[:3, 3] - known.depth_from_color[:3, 3])),
        turn_deg=float(angles_deg(transform[None, :3, :3], known.depth_from_color[None, :3, :3])[0]),
        shift_mm=1000 * float(np.median(shift)),
        shift_most_mm=1000 * float(shift.max()),
        tilt_deg=float(np.median(tilt)),
        tilt_most_deg=float(tilt.max()),
    )


def angles_deg(one: Float64[np.ndarray, "n 3 3"], two: Float64[np.ndarray, "n 3 3"]) -> Float64[np.ndarray, "n"]:
    """Angle between rotations; exact for small ones too."""
    chord = np.linalg.norm(one - two, axis=(1, 2)) / np.sqrt(8.0)  # ‖R − S‖ = √8·sin(angle / 2)
    return np.rad2deg(2 * np.arcsin(np.clip(chord, 0, 1)))


def _turned(axis: Float64[np.ndarray, "3"], angle_deg: float) -> Float64[np.ndarray, "3 3"]:
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_rotvec(np.deg2rad(angle_deg) * axis / np.linalg.norm(axis)).as_matrix())

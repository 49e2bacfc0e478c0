"""Between the local coordinates a library keeps of a scene and those its capture came in.

``point_in_source = offset_in_source + point_in_local``; the axes are the same.
"""

import math
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float64

from scenewise.io.placing import in_source
from scenewise.parts.sources.raw_scans import RawScan
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame

_LEVEL = 1e-6  # of a direction's part across the vertical, below which it points straight up or down


def in_source_frame(raw: RawScan) -> RawScan:
    """The same scan in the frame its capture came in: what a reader moved or turned is moved back.

    Points, cameras and the up direction are moved; what else a scan has (triangles, a sensor, segments) is left out.
    """
    if raw.capture is None or np.array_equal(raw.capture.world_from_source, np.eye(4)):
        return raw
    world_from_source = raw.capture.world_from_source
    capture = replace(
        raw.capture,
        frames=tuple(_moved(frame, world_from_source) for frame in raw.capture.frames),
        points=None if raw.capture.points is None else in_source(raw.capture.points, world_from_source),
        up_in_world=_turned_back(raw.capture, world_from_source),
        world_from_source=np.eye(4),
        georeference=None,
    )
    return RawScan(raw.name, in_source(raw.cloud, world_from_source), raw.cloud_source, capture, intensity=raw.intensity)


def _moved(frame: Frame, world_from_source: Float64[np.ndarray, "4 4"]) -> Frame:
    pose = frame.camera.camera_from_world @ torch.from_numpy(world_from_source)
    return replace(frame, camera=replace(frame.camera, camera_from_world=pose))


def _turned_back(capture: Capture, world_from_source: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "3"] | None:
    if capture.up_in_world is None:
        return None
    up = world_from_source[:3, :3].T @ capture.up_in_world
    turned: Float64[np.ndarray, " 3"] = up / np.linalg.norm(up)
    return turned


def camera_from_local(
    camera_from_source: Float64[np.ndarray, "4 4"], offset_in_source: Float64[np.ndarray, "3"]
) -> Float64[np.ndarray, "4 4"]:
    """The same camera for points that are given from the offset on."""
    moved = camera_from_source.copy()
    moved[:3, 3] += camera_from_source[:3, :3] @ offset_in_source
    return moved


def camera_from_source(
    camera_from_local: Float64[np.ndarray, "4 4"], offset_in_source: Float64[np.ndarray, "3"]
) -> Float64[np.ndarray, "4 4"]:
    """The inverse of :func:`camera_from_local`."""
    moved = camera_from_local.copy()
    moved[:3, 3] -= camera_from_local[:3, :3] @ offset_in_source
    return moved


def source_from_source(
    held_from_asked: Float64[np.ndarray, "4 4"],
    asked_offset: Float64[np.ndarray, "3"],
    held_offset: Float64[np.ndarray, "3"],
) -> Float64[np.ndarray, "4 4"]:
    """A transform between local coordinates as one between those the two captures came in: x → offset + T (x − offset')."""
    moved = held_from_asked.copy()
    moved[:3, 3] += held_offset - held_from_asked[:3, :3] @ asked_offset
    return moved


def heading_and_pitch(
    camera_from_source: Float64[np.ndarray, "4 4"], up_in_source: Float64[np.ndarray, "3"] | None
) -> tuple[float, float]:
    """Where a camera looks, degrees: counter-clockwise from +X as seen from above, in (−180, 180], and above the horizon.

    Where +X itself is the vertical, headings count from +Y.  A camera that looks straight up or down has the heading 0.

    Args:
        camera_from_source: rigid, OpenCV axes.
        up_in_source: away from the ground; None: +Z.
    """
    up = np.array([0.0, 0.0, 1.0]) if up_in_source is None else up_in_source / np.linalg.norm(up_in_source)
    ahead = camera_from_source[2, :3]
    pitch = math.degrees(math.asin(float(np.clip(ahead @ up, -1.0, 1.0))))
    first = np.eye(3)[1] if abs(up[0]) > 0.999 else np.eye(3)[0]
    first = first - (first @ up) * up
    first /= np.linalg.norm(first)
    along, across = float(ahead @ first), float(ahead @ np.cross(up, first))
    heading = math.degrees(math.atan2(across, along)) if math.hypot(along, across) > _LEVEL else 0.0
    return heading, pitch

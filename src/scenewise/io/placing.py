"""Where the origin of a capture's world lies and how near its cameras see: both follow from how large the captured place is.

Gaussians are float32.  Of poses in UTM coordinates that leaves steps of half a metre, so a capture far from its origin is worked
in about an origin of its own; ``Capture.world_from_source`` says where that is, in float64, and exports undo it.
"""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float64

from scenewise.geometry.view_overlap import camera_centers, scene_depths
from scenewise.io.views import rigid_inverse
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame
from scenewise.scenes.georeference import Georeference
from scenewise.scenes.point_clouds import PointCloud

FINEST_SHARE = 1e-5
"""Largest step of float32 at the cameras, as a share of the typical depth: a fiftieth of a pixel at a focal length of 2,000."""
NEAR_SHARE = 0.004
"""The near plane as a share of the typical depth: a centimetre at 2.5 m, the median depth of indoor captures."""
_MOST_CAMERAS, _MOST_POINTS = 64, 4_000  # looked at; both evenly spaced in the given order


def typical_depth(capture: Capture) -> float:
    """Median distance along +Z from the cameras to what they look at, world units, > 0.

    From the capture's points where it has any, else from what the axes aim at or how the cameras stand
    (:func:`~scenewise.geometry.view_overlap.scene_depths`).
    """
    frames = capture.frames[:: max(1, len(capture.frames) // _MOST_CAMERAS)]
    cloud = capture.points
    points = None if cloud is None else cloud.points_in_world[:: max(1, len(cloud) // _MOST_POINTS)]
    camera_from_world = np.stack([frame.camera.camera_from_world.numpy() for frame in frames])
    middle = camera_centers(camera_from_world).mean(axis=0)  # small numbers: squares of seven digits would cost the rest
    camera_from_world[:, :3, 3] += camera_from_world[:, :3, :3] @ middle
    depths = scene_depths(
        camera_from_world,
        np.stack([frame.camera.K.numpy() for frame in frames]),
        np.array([(frame.camera.width, frame.camera.height) for frame in frames], dtype=np.int64),
        None if points is None else points - middle,
    )
    return float(np.median(depths))


def placed(capture: Capture) -> Capture:
    """The capture about a local origin where its coordinates are too large for float32, its near planes fitted to its depths.

    The origin is near the middle of the cameras, rounded to a power of ten of world units, so that it reads well.
    """
    if not capture.frames:
        return capture
    depth = typical_depth(capture)
    frames = tuple(replace(frame, camera=replace(frame.camera, near=NEAR_SHARE * depth)) for frame in capture.frames)
    capture = replace(capture, frames=frames)
    centers = camera_centers(np.stack([frame.camera.camera_from_world.numpy() for frame in frames]))
    middle = np.median(centers, axis=0)  # a single stray pose is no reason
    if float(np.spacing(np.float32(np.abs(middle).max()))) <= FINEST_SHARE * depth:
        return capture
    step = 10.0 ** np.floor(np.log10(depth))
    return about(capture, np.round(middle / step) * step)


def about(capture: Capture, origin_in_world: Float64[np.ndarray, "3"]) -> Capture:
    """The same capture with this point of its world as the origin.

    Args:
        capture: any.
        origin_in_world: in the capture's present world frame.
    """
    shift = torch.from_numpy(np.ascontiguousarray(origin_in_world, dtype=np.float64))
    frames = tuple(_moved(frame, shift) for frame in capture.frames)
    cloud, reference = capture.points, capture.georeference
    world_from_source = capture.world_from_source.copy()
    world_from_source[:3, 3] -= origin_in_world
    return replace(
        capture,
        frames=frames,
        points=None if cloud is None else replace(cloud, points_in_world=cloud.points_in_world - origin_in_world),
        world_from_source=world_from_source,
        georeference=None if reference is None else _moved_reference(reference, origin_in_world),
    )


def _moved(frame: Frame, origin_in_world: torch.Tensor) -> Frame:
    pose = frame.camera.camera_from_world.clone()
    pose[:3, 3] += pose[:3, :3] @ origin_in_world
    return replace(frame, camera=replace(frame.camera, camera_from_world=pose))


def _moved_reference(reference: Georeference, origin_in_world: Float64[np.ndarray, "3"]) -> Georeference:
    return replace(reference, offset=reference.projected_from_world(origin_in_world[None])[0])


def in_world_frame(capture: Capture, world_from_source: Float64[np.ndarray, "4 4"]) -> Capture:
    """The capture about the origin that a scene of it was made in.

    Args:
        capture: as opened today.
        world_from_source: of the scene.
    """
    origin_in_world = capture.world_from_source[:3, 3] - world_from_source[:3, 3]
    same_axes = np.array_equal(capture.world_from_source[:3, :3], world_from_source[:3, :3])
    return about(capture, origin_in_world) if same_axes and origin_in_world.any() else capture


def in_world(cloud: PointCloud, world_from_source: Float64[np.ndarray, "4 4"]) -> PointCloud:
    """Points given in a capture's own frame, in the world frame of its scene."""
    return _transformed(cloud, world_from_source)


def in_source(cloud: PointCloud, world_from_source: Float64[np.ndarray, "4 4"]) -> PointCloud:
    """Points of a scene in the frame of the capture it was made from: the inverse of :func:`in_world`."""
    return _transformed(cloud, source_from_world(world_from_source))


def source_from_world(world_from_source: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "4 4"]:
    """Inverse of a rigid transform."""
    inverse: np.ndarray = rigid_inverse(torch.from_numpy(world_from_source)[None])[0].numpy()
    return inverse


def _transformed(cloud: PointCloud, target_from_given: Float64[np.ndarray, "4 4"]) -> PointCloud:
    rotation, translation = target_from_given[:3, :3], target_from_given[:3, 3]
    if np.array_equal(rotation, np.eye(3)):  # nothing but digits: not even a rounding where nothing moves
        return cloud if not translation.any() else replace(cloud, points_in_world=cloud.points_in_world + translation)
    normals = cloud.normals_in_world
    return replace(
        cloud,
        points_in_world=cloud.points_in_world @ rotation.T + translation,
        normals_in_world=None if normals is None else normals @ rotation.T,
    )

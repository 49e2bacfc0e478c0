"""Where to look from first, and how far to see."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float32, Float64

from scenewise.geometry.boxes import OrientedBox
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.scene_graphs import GraphObject
from scenewise.show.viewer.contents import Contents

_CANDIDATES = 64  # cameras that are tried for the first view
_SAMPLE = 20_000  # positions that are counted in each
_FOV_RANGE = (np.radians(40.0), np.radians(75.0))
_OUTSIDE_FOV = np.radians(55.0)
_FRAMED = 0.5  # of the picture's height: an object with its surroundings


@dataclass(frozen=True)
class Viewpoint:
    """A place to look from.

    Attributes:
        position: of the eye, relative to the contents' origin.
        target: point in the middle of the picture, which the mouse turns around.
        fov: vertical field of view, radians.
    """

    position: Float64[np.ndarray, "3"]
    target: Float64[np.ndarray, "3"]
    fov: float


def scene_radius(contents: Contents) -> float:
    """Distance from the origin within which nine tenths of the scene lie; at least the distance of most cameras."""
    positions = _sample(contents)
    distances = [np.linalg.norm(positions, axis=1)] if len(positions) else []
    if contents.cameras:
        centers = np.stack([entry.camera.centers_in_world.numpy() for entry in contents.cameras]) - contents.origin
        distances.append(np.linalg.norm(centers, axis=1))
    radius = max((float(np.quantile(each, 0.9)) for each in distances), default=1.0)
    return radius if radius > 0 else 1.0


def first_view(contents: Contents) -> Viewpoint:
    """The camera of the scene that sees most of it; from outside and above where there are no cameras."""
    positions = _sample(contents)
    if not contents.cameras or not len(positions):
        return _from_outside(contents)
    step = max(1, len(contents.cameras) // _CANDIDATES)
    candidates = [entry.camera for entry in contents.cameras[::step]]
    seen = [int(_in_view(camera, positions + contents.origin).sum()) for camera in candidates]
    return view_of(contents, candidates[int(np.argmax(seen))])


def answer_view(contents: Contents, boxes: Sequence[OrientedBox]) -> Viewpoint | None:
    """The camera of the scene that shows most of some boxes, best in the middle of its picture; None where none shows any.

    Args:
        contents: what is shown.
        boxes: places, the first counting most.
    """
    best, best_score = None, 0.0
    for entry in contents.cameras:
        camera, score = entry.camera, 0.0
        for rank, box in enumerate(boxes):
            points = np.concatenate([box.corners_in_world, np.repeat(box.center_in_world[None], 4, axis=0)])
            shown = _in_view(camera, points)
            if shown.any():
                homogeneous = (points @ camera.camera_from_world.numpy()[:3, :3].T + camera.camera_from_world.numpy()[:3, 3]) @ (
                    camera.K.numpy().T
                )
                places = homogeneous[shown, :2] / homogeneous[shown, 2:]
                off = np.abs(places / np.array([camera.width, camera.height]) - 0.5).max(axis=1)  # ½ at the picture's edge
                score += float((1.0 - off).sum()) / len(points) / (1 + rank)
        if score > best_score:
            best, best_score = camera, score
    return None if best is None else view_of(contents, best)


def object_view(contents: Contents, thing: GraphObject) -> Viewpoint:
    """From a camera that shows it whole with something around it; it is in the middle.

    The photographs that show it best are mostly those that were taken next to it: good to recognise it, too near to see where
    it stands.  Of these cameras, and with half the weight of all others, in which something may stand before it, the one is
    taken that has most of its box in the picture at a size of half the picture; the first view where none has any.
    """
    best, best_score = None, 0.0
    for entry in contents.cameras:
        score = _framing(entry.camera, thing.box) * (1.0 if entry.name in thing.views else 0.5)
        if score > best_score:
            best, best_score = entry.camera, score
    view = first_view(contents) if best is None else view_of(contents, best)
    return replace(view, target=thing.box.center_in_world - contents.origin)


def _framing(camera: Cameras, box: OrientedBox) -> float:
    """In [0, 1]: how much of a box a camera shows, less where it is larger or smaller than half the picture."""
    shown = _in_view(camera, box.corners_in_world)
    if not shown.any():
        return 0.0
    camera_from_world = camera.camera_from_world.numpy()
    direction = camera_from_world[:3, :3] @ box.center_in_world + camera_from_world[:3, 3]
    tangent = 0.5 * float(np.linalg.norm(box.size)) / float(np.linalg.norm(direction))
    size = 2.0 * tangent * float(camera.K[1, 1]) / camera.height
    return float(shown.mean()) * min(size / _FRAMED, _FRAMED / size)


def view_of(contents: Contents, camera: Cameras) -> Viewpoint:
    """What a camera of the scene saw; the target lies at the median depth of what is near its axis."""
    world_from_camera = camera.world_from_camera.numpy()
    position = world_from_camera[:3, 3] - contents.origin
    in_camera = (_sample(contents) - position) @ world_from_camera[:3, :3]
    near_axis = np.hypot(in_camera[:, 0], in_camera[:, 1]) < 0.3 * in_camera[:, 2]
    depth = float(np.median(in_camera[near_axis, 2])) if near_axis.any() else scene_radius(contents)
    fov = float(np.clip(vertical_fov(camera), *_FOV_RANGE))
    return Viewpoint(position, position + depth * world_from_camera[:3, 2], fov)


def vertical_fov(camera: Cameras) -> float:
    """Angle between the top and the bottom of the picture, radians."""
    return float(2.0 * np.arctan2(0.5 * camera.height, float(camera.K[1, 1])))


def _from_outside(contents: Contents) -> Viewpoint:
    up = contents.up
    side = np.cross(up, np.eye(3)[int(np.argmin(np.abs(up)))])
    side /= np.linalg.norm(side)
    direction = 0.8 * side + 0.6 * up
    distance = scene_radius(contents) / np.sin(0.5 * _OUTSIDE_FOV)
    return Viewpoint(distance * direction, np.zeros(3), float(_OUTSIDE_FOV))


def _sample(contents: Contents) -> Float64[np.ndarray, "n 3"]:
    """Some positions: opaque splats where there are any, else points."""
    positions: Float32[np.ndarray, "m 3"]
    if len(contents.splats):
        solid = contents.shapes.opacities > 0.3
        positions = contents.splats.positions[solid] if solid.any() else contents.splats.positions
    else:
        positions = contents.points.positions
    return positions[:: max(1, len(positions) // _SAMPLE)].astype(np.float64)


def _in_view(camera: Cameras, points_in_world: Float64[np.ndarray, "n 3"]) -> np.ndarray:
    camera_from_world = camera.camera_from_world.numpy()
    in_camera = points_in_world @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
    homogeneous = in_camera @ camera.K.numpy().T
    z = np.maximum(in_camera[:, 2], 1e-9)
    u, v = homogeneous[:, 0] / z, homogeneous[:, 1] / z
    return (in_camera[:, 2] > 1e-6) & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)

"""Where a drone photographs a town from: straight down on a grid, and obliquely in four directions."""

import math

import numpy as np
from jaxtyping import Float64

from scenewise.errors import ConventionError
from scenewise.scenes.cameras import Cameras
from scenewise.worlds.cameras import pinhole
from scenewise.worlds.town import Town

Matrix4 = Float64[np.ndarray, "4 4"]

_NADIR_SHARE = 0.4
_STANDARD_SIDE = 120.0  # metres; the altitudes below are for a town of this size and grow with it
_NADIR_ALTITUDE, _OBLIQUE_ALTITUDE = (55.0, 62.0), (46.0, 68.0)
_PITCH_DEG = (38.0, 54.0)
_CLEAR_OF_ROOFS = 10.0  # metres
_STREAM = 1  # of random numbers; the town itself is drawn from its seed alone


def attitude(
    eye: Float64[np.ndarray, "3"], heading_deg: float, pitch_deg: float, roll_deg: float = 0.0
) -> Float64[np.ndarray, "4 4"]:
    """world_from_camera of a camera given as pilots do; defined at every pitch, straight down included.

    Args:
        eye: where it is, metres.
        heading_deg: direction of flight, clockwise from north (+Y): where the picture's upper edge points when looking down.
        pitch_deg: of the view below the horizon; 90 is straight down.
        roll_deg: about the view, clockwise as the drone sees it, so the picture turns the other way.
    """
    heading, pitch, roll = (math.radians(angle) for angle in (heading_deg, pitch_deg, roll_deg))
    ahead = np.array([math.sin(heading), math.cos(heading), 0.0])
    right = np.array([math.cos(heading), -math.sin(heading), 0.0])
    forward = math.cos(pitch) * ahead - math.sin(pitch) * np.array([0.0, 0.0, 1.0])
    down = np.cross(forward, right)
    world_from_camera = np.eye(4)
    world_from_camera[:3, 0] = math.cos(roll) * right + math.sin(roll) * down
    world_from_camera[:3, 1] = math.cos(roll) * down - math.sin(roll) * right
    world_from_camera[:3, 2] = forward
    world_from_camera[:3, 3] = eye
    return world_from_camera


def drone_flight(town: Town, views: int) -> Float64[np.ndarray, "views 4 4"]:
    """Poses of a survey: 40 % straight down with north up, then the rest obliquely, flown north, east, south and west.

    Every flight is a lawn-mower grid over the whole town of the points that are looked at, so every part of the town gets its
    share.  Altitudes of 46 … 68 m for a town of 120 m grow with the root of its area, 10 m above the highest point at least;
    oblique views look 38 … 54° below the horizon.  Positions are off the grid by up to 15 % of its spacing, courses and
    rolls by a few degrees.

    Args:
        town: where; its seed also decides what is off by how much.
        views: number of poses, at least 1.

    Returns:
        world_from_camera, OpenCV axes, metres, in the order of flight.

    Raises:
        ConventionError: no views asked for.
    """
    if views < 1:
        raise ConventionError("views", expected="at least 1", got=views)
    rng = np.random.Generator(np.random.PCG64((town.seed, _STREAM)))
    scale = math.sqrt(town.size[0] * town.size[1]) / _STANDARD_SIDE
    lowest = town.height + _CLEAR_OF_ROOFS
    straight = max(1, round(_NADIR_SHARE * views))
    poses = []
    for target in _lawn_mower(rng, town.size, straight):
        altitude = max(lowest, scale * rng.uniform(*_NADIR_ALTITUDE))
        eye = np.array([*target, altitude])
        poses.append(attitude(eye, rng.normal(0.0, 2.0), 90.0 - abs(rng.normal(0.0, 0.7)), rng.normal(0.0, 0.7)))
    for direction in range(4):
        count = (views - straight + 3 - direction) // 4
        for target in _lawn_mower(rng, town.size, count):
            altitude, pitch = max(lowest, scale * rng.uniform(*_OBLIQUE_ALTITUDE)), rng.uniform(*_PITCH_DEG)
            heading = 90.0 * direction + rng.normal(0.0, 3.0)
            behind = altitude / math.tan(math.radians(pitch))
            ahead = np.array([math.sin(math.radians(heading)), math.cos(math.radians(heading))])
            eye = np.array([*(target - behind * ahead), altitude])
            poses.append(attitude(eye, heading, pitch, rng.normal(0.0, 1.5)))
    return np.stack(poses)


def drone_cameras(town: Town, views: int, width: int, height: int, fov_deg: float = 60.0) -> Cameras:
    """The survey of a town as a batch of cameras; see :func:`drone_flight`.

    Args:
        town: where.
        views: number of cameras, at least 1.
        width: image width in pixels.
        height: image height in pixels.
        fov_deg: horizontal field of view.

    Raises:
        ConventionError: no views asked for.
    """
    return pinhole(drone_flight(town, views), width, height, fov_deg)


def _lawn_mower(rng: np.random.Generator, size: tuple[float, float], count: int) -> Float64[np.ndarray, "count 2"]:
    """Points spread evenly over [0, width] × [0, length], row by row and every other row backwards."""
    rows = min(count, max(1, round(math.sqrt(count * size[1] / size[0]))))
    points = []
    for row in range(rows):
        columns = (count * (row + 1)) // rows - (count * row) // rows
        spacing = np.array([size[0] / columns, size[1] / rows])
        order = range(columns) if row % 2 == 0 else range(columns - 1, -1, -1)
        points += [spacing * (np.array([column + 0.5, row + 0.5]) + rng.uniform(-0.15, 0.15, 2)) for column in order]
    return np.array(points).reshape(-1, 2)

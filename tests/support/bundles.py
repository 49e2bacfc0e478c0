"""Bundles without pictures: cameras around a cloud of points, with exact sightings."""

from dataclasses import replace

import numpy as np
from scipy.spatial.transform import Rotation

from scenewise.geometry.lens_cameras import LensCamera, distort
from scenewise.geometry.orbits import look_at
from scenewise.parts.points.multi_view import Observations
from scenewise.parts.poses.refinement.bundle import Bundle

WIDE = LensCamera("SIMPLE_RADIAL", (400.0, 310.0, 230.0, -0.06), 640, 480)
LONG = LensCamera("OPENCV", (620.0, 600.0, 330.0, 250.0, 0.04, 0.0, 0.001, -0.002), 640, 480)


def true_bundle(views: int = 18, points: int = 500, seed: int = 2) -> tuple[Bundle, np.ndarray]:
    """Two lenses in turn on an uneven arc of 200°, looking inwards; and the points."""
    rng = np.random.default_rng(seed)
    cloud = rng.normal(size=(points, 3)) * [0.5, 0.35, 0.3]
    poses = []
    for angle in np.sort(rng.uniform(0, np.deg2rad(200), views)):
        radius = rng.uniform(1.6, 2.4)
        eye = np.array([radius * np.cos(angle), radius * np.sin(angle), rng.uniform(-0.5, 0.9)])
        poses.append(np.linalg.inv(look_at(eye, rng.normal(size=3) * 0.1, np.array([0.0, 0.0, 1.0]))))
    camera_from_local = np.stack(poses)
    lens_of = np.arange(views) % 2
    rows = []
    for view, pose in enumerate(camera_from_local):
        in_camera = cloud @ pose[:3, :3].T + pose[:3, 3]
        lens = (WIDE, LONG)[lens_of[view]]
        pixels = distort(lens, in_camera[:, :2] / in_camera[:, 2:])
        seen = (in_camera[:, 2] > 0) & (pixels >= 0).all(1) & (pixels < [640, 480]).all(1) & (rng.random(points) < 0.6)
        rows += [(point, view, *pixels[point]) for point in np.flatnonzero(seen)]
    table = np.array(sorted(rows))
    observations = Observations(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2:])
    point = np.unique(observations.point, return_inverse=True)[1]
    return Bundle((WIDE, LONG), lens_of, camera_from_local, replace(observations, point=point)), cloud


def disturbed(bundle: Bundle, *, shift: float, tilt_deg: float, focal: float, seed: int = 0) -> Bundle:
    """Every pose off by ``shift`` and ``tilt_deg``, focal lengths by a share of ``focal``, no distortion known."""
    rng = np.random.default_rng(seed)
    poses = bundle.camera_from_local.copy()
    for pose in poses:
        axis, direction = rng.normal(size=3), rng.normal(size=3)
        turn = Rotation.from_rotvec(np.deg2rad(tilt_deg) * axis / np.linalg.norm(axis)).as_matrix()
        pose[:3, :3] = turn @ pose[:3, :3]
        pose[:3, 3] = turn @ pose[:3, 3] + shift * direction / np.linalg.norm(direction)
    wide = replace(WIDE, params=((1 + focal) * 400.0, 310.0, 230.0, 0.0))
    long = replace(LONG, params=((1 + focal) * 620.0, (1 + focal) * 600.0, 330.0, 250.0, 0.0, 0.0, 0.0, 0.0))
    return replace(bundle, camera_from_local=poses, lenses=(wide, long))

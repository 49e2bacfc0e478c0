"""Towns as ordinary captures: lazily photographed drone views and sparse points, without depth, as drones bring them home."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64

from scenewise.geometry.transforms import transform_points
from scenewise.kernels import ray_casting
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.captures import Capture, every_nth_name
from scenewise.scenes.frames import DepthMap, Frame, ImageU8
from scenewise.scenes.point_clouds import PointCloud
from scenewise.worlds.captures import LICENCE
from scenewise.worlds.drone import drone_cameras
from scenewise.worlds.town import Town, town

SKY = (0.66, 0.78, 0.92)
"""What is seen where there is no town and no land, as sRGB-like values in [0, 1]."""

_SAMPLES = 2  # per axis of a pixel
_HOLDOUT = 8
_POINT_NOISE = 0.02  # metres
_POINT_VIEWS = 64  # from so many views all of a town is seen, and few enough are rendered before a capture is used
_STREAM = 2  # of random numbers; the flight takes another


def photograph_town(town: Town, camera: Cameras) -> ImageU8:
    """What the camera sees, antialiased by 2×2 samples per pixel, with sky where the land ends."""
    image_u8 = ray_casting.photograph(town.scene, camera, samples_per_axis=_SAMPLES).numpy()
    if _sees_only_land(town, camera):
        return image_u8
    # Rays that meet nothing were counted as black.  The samples of a pixel are the pixel centres of a picture twice as large.
    finer = camera.resized(_SAMPLES * camera.width, _SAMPLES * camera.height)
    is_empty = (ray_casting.surface_maps(town.scene.primitives, finer).primitive_ids < 0).numpy()
    empty = is_empty.reshape(camera.height, _SAMPLES, camera.width, _SAMPLES).mean((1, 3))[..., None]
    linear = (image_u8 / 255.0) ** 2 + empty * np.array(SKY) ** 2
    with_sky = (np.sqrt(np.minimum(linear, 1.0)) * 255.0 + 0.5).astype(np.uint8)
    return np.where(empty > 0, with_sky, image_u8)


def town_depth(town: Town, camera: Cameras) -> DepthMap:
    """Exact depth along +Z at pixel centres, metres; 0 = sky."""
    return ray_casting.surface_maps(town.scene.primitives, camera).depth.numpy()


def _sees_only_land(town: Town, camera: Cameras) -> bool:
    """Whether the rays through the picture's corners, and so all between them, come down on the land."""
    corners = np.array([[u, v, 1.0] for u in (0, camera.width) for v in (0, camera.height)])
    world_from_camera = camera.world_from_camera.numpy()
    eye = world_from_camera[:3, 3]
    rays = corners @ np.linalg.inv(camera.K.numpy()).T @ world_from_camera[:3, :3].T
    if eye[2] <= 0 or (rays[:, 2] >= 0).any():
        return False
    landed = eye[:2] - rays[:, :2] * (eye[2] / rays[:, 2:])
    low_x, low_y, high_x, high_y = town.land
    return bool((landed > [low_x, low_y]).all() and (landed < [high_x, high_y]).all())


def town_points(town: Town, cameras: Cameras, count: int) -> PointCloud:
    """A sparse cloud as structure from motion would find it: more where there is more to match, and a little off.

    Pixels are drawn without replacement with probabilities in proportion to their gradient, the same number from each view of
    an even choice of at most 64, and moved to where their centres meet a surface.

    Args:
        town: what is seen; its seed also decides which pixels.
        cameras: views in a batch.
        count: number of points; fewer where the views have fewer pixels that see a surface.

    Returns:
        Points within about 2 cm of a surface (σ of each coordinate), with the photographs' colours.
    """
    rng = np.random.Generator(np.random.PCG64((town.seed, _STREAM)))
    chosen = np.unique(np.linspace(0, len(cameras) - 1, min(_POINT_VIEWS, len(cameras))).round().astype(np.int64))
    positions, colors = [np.zeros((0, 3))], [np.zeros((0, 3), np.uint8)]
    for k, index in enumerate(chosen.tolist()):
        wanted = count * (k + 1) // len(chosen) - count * k // len(chosen)
        camera = cameras[index]
        image_u8, depth = photograph_town(town, camera), town_depth(town, camera)
        weights = np.where(depth > 0, gradients(image_u8) + 1e-3, 0.0).reshape(-1)
        # The smallest of exponential variables with these rates are a weighted draw (Efraimidis and Spirakis 2006).
        keys = rng.exponential(size=weights.shape) / np.maximum(weights, 1e-300)
        pixels = np.sort(np.argsort(keys, kind="stable")[: min(wanted, int((weights > 0).sum()))])
        rows, columns = np.divmod(pixels, camera.width)
        rays = np.stack([columns + 0.5, rows + 0.5, np.ones(len(pixels))], axis=1) @ np.linalg.inv(camera.K.numpy()).T
        in_camera = rays * depth[rows, columns, None].astype(np.float64)
        exact = transform_points(camera.world_from_camera.numpy(), in_camera)
        positions.append(exact + rng.normal(0.0, _POINT_NOISE, exact.shape))
        colors.append(image_u8[rows, columns])
    return PointCloud(np.concatenate(positions), np.concatenate(colors))


def gradients(image_u8: ImageU8) -> Float64[np.ndarray, "height width"]:
    """Length of the brightness gradient of every pixel, in codes per pixel."""
    brightness = np.pad(image_u8.mean(-1), 1, mode="edge")
    across = (brightness[1:-1, 2:] - brightness[1:-1, :-2]) / 2
    along = (brightness[2:, 1:-1] - brightness[:-2, 1:-1]) / 2
    return np.hypot(across, along)


def town_capture(
    seed: int,
    views: int,
    width: int,
    height: int,
    *,
    fov_deg: float = 60.0,
    points: int = 20_000,
    size: tuple[float, float] = (120.0, 120.0),
) -> Capture:
    """A drone's capture of the town of a seed.  Frames are rendered when loaded; for the points up to 64 views are at once.

    Args:
        seed: of the town and of the flight.
        views: number of photographs, at least 1.
        width: image width in pixels.
        height: image height in pixels.
        fov_deg: horizontal field of view.
        points: size of the sparse cloud, taken from the views that are not held out; 0: none, and nothing is rendered.
        size: of the town, metres.

    Returns:
        Metric, up = +Z, every 8th frame held out, without depth (see :func:`town_depth`).

    Raises:
        ConventionError: no views asked for, or a size out of range.
    """
    place = town(seed, size=size)
    cameras = drone_cameras(place, views, width, height, fov_deg)
    frames = tuple(_frame(place, cameras[i], i) for i in range(views))
    held_out = every_nth_name(frames, _HOLDOUT)
    training = torch.tensor([i for i, frame in enumerate(frames) if frame.name not in held_out], dtype=torch.int64)
    seen = Cameras(cameras.camera_from_world[training], cameras.K[training], width, height)
    return Capture(
        root=Path(f"town-{seed}"),
        source_format="world",
        frames=frames,
        points=town_points(place, seen, points) if points > 0 and len(training) else None,
        test_names=held_out,
        scale="metric",
        up_in_world=np.array([0.0, 0.0, 1.0]),
        background=SKY,
        licence=LICENCE,
    )


def _frame(place: Town, camera: Cameras, index: int) -> Frame:
    return Frame(name=f"view-{index:06d}.png", camera=camera, load_image=lambda: photograph_town(place, camera))

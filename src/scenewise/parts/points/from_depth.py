"""Points from depth maps: unprojected, freed of flying pixels at depth edges, thinned to one point per voxel."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from scenewise.engine.progress import Progress
from scenewise.geometry.cells import count_distinct
from scenewise.geometry.view_overlap import camera_centers
from scenewise.parts.points.settings import SILENT, spread_evenly
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame
from scenewise.scenes.point_clouds import PointCloud

_MOST_FRAMES = 400  # more decode time than they add in surface
_SAMPLES_PER_POINT = 12  # unprojected samples per point wanted: enough that a voxel averages over views
_SAMPLE_FRAMES, _SAMPLE_POINTS = 24, 4000  # of a sample that only tells distances
_EDGE = 0.05  # relative step between neighbours that makes a pixel part of a depth edge


def points_from_depth(frames: tuple[Frame, ...], *, maximum: int, threads: int = 2, progress: Progress = SILENT) -> PointCloud:
    """Coloured points on the surfaces that depth maps measured.

    Pixels of all frames are sampled on a regular grid, moved to the world, and averaged per voxel; the voxel is the smallest
    (within 3 %) that leaves at most ``maximum`` points.

    Args:
        frames: frames with image and depth.
        maximum: largest number of points.
        threads: workers that decode; the result does not depend on it.
        progress: shows how many frames are read.

    Returns:
        At most ``maximum`` points with colours; none where no frame holds a valid depth.
    """
    frames = spread_evenly(tuple(frame for frame in frames if frame.load_depth is not None and frame.has_image), _MOST_FRAMES)
    empty = PointCloud(points_in_world=np.zeros((0, 3)), colors_u8=np.zeros((0, 3), np.uint8))
    if not frames:
        return empty
    per_frame = max(64, maximum * _SAMPLES_PER_POINT // len(frames))

    def read(frame: Frame) -> tuple[Float64[np.ndarray, "n 3"], UInt8[np.ndarray, "n 3"]]:
        assert frame.load_image is not None and frame.load_depth is not None
        depth = frame.load_depth()
        keep = ~depth_edges(depth)
        if frame.load_mask is not None:
            keep &= frame.load_mask()
        stride = max(1, int(np.sqrt(depth.size / per_frame)))
        chosen = np.zeros_like(keep)
        chosen[stride // 2 :: stride, stride // 2 :: stride] = True
        rows, columns = np.nonzero(keep & chosen)
        return unproject(frame.camera, rows, columns, depth), frame.load_image()[rows, columns]

    clouds = []
    with ThreadPoolExecutor(max(1, threads)) as pool, progress.stage("reading depth maps", len(frames)) as stage:
        for cloud in pool.map(read, frames):
            clouds.append(cloud)
            stage.advance()
    points = np.concatenate([cloud[0] for cloud in clouds])
    colors = np.concatenate([cloud[1] for cloud in clouds])
    if len(points) == 0:
        return empty
    return thinned(PointCloud(points_in_world=points, colors_u8=colors), maximum)


def surface_sample(capture: Capture, *, threads: int = 2) -> Float64[np.ndarray, "m 3"] | None:
    """Some points on the surface, to tell how far away things are: the capture's own, or from a few depth maps.

    None where there are none, and where a depth map is damaged: whoever reads the pictures names it.
    """
    if capture.points is not None and len(capture.points):
        points = capture.points.points_in_world
        usable = np.isfinite(points).all(axis=1)
        return points[usable] if usable.any() else None
    measured = tuple(frame for frame in capture.train_frames if frame.load_depth is not None)
    if not measured:
        return None
    try:
        cloud = points_from_depth(spread_evenly(measured, _SAMPLE_FRAMES), maximum=_SAMPLE_POINTS, threads=threads)
    except (OSError, ValueError):
        return None
    return cloud.points_in_world if len(cloud) else None


def depth_edges(depth: Float32[np.ndarray, "height width"], step: float = _EDGE) -> Bool[np.ndarray, "height width"]:
    """Pixels without a measurement, and those that differ from a measured 4-neighbour by more than ``step`` of the nearer depth.

    Sensors and resampling put points between foreground and background there.
    """
    valid = np.isfinite(depth) & (depth > 0)
    edge = ~valid
    value = np.where(valid, depth, np.float32(0))
    for axis in (0, 1):
        one = (slice(None, -1), slice(None)) if axis == 0 else (slice(None), slice(None, -1))
        two = (slice(1, None), slice(None)) if axis == 0 else (slice(None), slice(1, None))
        jump = np.abs(value[one] - value[two]) > step * np.minimum(value[one], value[two])
        jump &= valid[one] & valid[two]
        edge[one] |= jump
        edge[two] |= jump
    return edge


def unproject(
    camera: Cameras, rows: np.ndarray, columns: np.ndarray, depth: Float32[np.ndarray, "height width"]
) -> Float64[np.ndarray, "n 3"]:
    """World positions of pixel centres at their depth: R⁻¹(z·K⁻¹·(u, v, 1)ᵀ − t)."""
    z = depth[rows, columns].astype(np.float64)
    pixels = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))], axis=1)
    in_camera = pixels @ np.linalg.inv(camera.K.numpy()).T * z[:, None]
    camera_from_world = camera.camera_from_world.numpy()
    return in_camera @ camera_from_world[:3, :3] + camera_centers(camera_from_world[None])[0]


def thinned(cloud: PointCloud, maximum: int) -> PointCloud:
    """One mean point and colour per voxel, with the smallest voxel (within 3 %) that leaves at most ``maximum`` points."""
    points = cloud.points_in_world
    if len(points) <= maximum:
        return cloud
    origin = np.median(points, axis=0)
    extent = np.quantile(np.abs(points - origin), 0.95) * 2
    low, high = extent * 1e-5, max(extent, 1e-12)

    def keys(size: float) -> np.ndarray:
        # Cells beyond ±2²⁰ from the median share the outermost one: 21 bits per axis fill an int64.
        cell = np.clip(np.floor((points - origin) / size), -(1 << 20), (1 << 20) - 1).astype(np.int64) + (1 << 20)
        return (cell[:, 0] << 42) | (cell[:, 1] << 21) | cell[:, 2]

    while count_distinct(keys(high)) > maximum:
        high *= 2
    while high / low > 1.03:
        middle = np.sqrt(low * high)
        if count_distinct(keys(middle)) > maximum:
            low = middle
        else:
            high = middle
    _, voxel, count = np.unique(keys(high), return_inverse=True, return_counts=True)
    voxel = voxel.reshape(-1)

    def mean(values: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(voxel, weights=values[:, c]) / count for c in range(3)], axis=1)

    colors = None if cloud.colors_u8 is None else mean(cloud.colors_u8.astype(np.float64)).round().astype(np.uint8)
    return PointCloud(points_in_world=origin + mean(points - origin), colors_u8=colors)

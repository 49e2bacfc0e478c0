"""The views of a capture as its poses are refined: the photographs' own lenses, and depth as it was measured."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64

from scenewise.errors import DataFormatError
from scenewise.geometry.lens_cameras import LensCamera, distort
from scenewise.geometry.view_overlap import ViewPairs, camera_centers, candidate_pairs, scene_depths, view_overlap
from scenewise.io.depth_files import depth_size, distances_of, read_depth_values
from scenewise.io.frame_loaders import DepthLoader, ImageLoader
from scenewise.io.registered_depth import RegisteredDepthLoader
from scenewise.io.scannet.depth import ScannetDepthLoader
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import DepthMap, Frame

_LEAST_OVERLAP = 0.25
_WIDEST_DEG = 45.0  # SIFT finds little again beyond
_NO_TRANSFORM = 1e-9
_FAR, _NEAR_PX = 4.0, 4.0  # times the usual distance from the epipolar line, and pixels, that a match may always have


@dataclass(frozen=True)
class DepthSource:
    """A depth map as measured, before it is brought onto a photograph.

    Attributes:
        path: 16-bit codes, or floating-point distances, see :func:`scenewise.io.depth_files.read_depth_values`.
        K: intrinsics at the map's size.
        size: width, height.
        units_per_code: metres per stored step.
        color_from_depth: where the capture tells it, else None.
    """

    path: Path
    K: Float64[np.ndarray, "3 3"]
    size: tuple[int, int]
    units_per_code: float
    color_from_depth: Float64[np.ndarray, "4 4"] | None

    def read(self) -> DepthMap:
        """Metres along +Z, 0 = no measurement.

        Raises:
            DataFormatError: missing or damaged.
        """
        return distances_of(read_depth_values(self.path), self.units_per_code)


@dataclass(frozen=True)
class RefinementViews:
    """Views of a capture in name order.

    Attributes:
        frames: with images; held-out ones among them.
        lenses: that took the photographs.
        lens_of: index of the lens of each view.
        camera_from_world: as given.
        depth: of each view, or None.
    """

    frames: tuple[Frame, ...]
    lenses: tuple[LensCamera, ...]
    lens_of: Int64[np.ndarray, "n"]
    camera_from_world: Float64[np.ndarray, "n 4 4"]
    depth: tuple[DepthSource | None, ...]

    @property
    def centers(self) -> Float64[np.ndarray, "n 3"]:
        """Optical centres in the world."""
        return camera_centers(self.camera_from_world)

    def photographed(self, view: int, pixels: Float64[np.ndarray, "f 2"]) -> Float64[np.ndarray, "f 2"]:
        """Where pixels of a view's undistorted image lie in its photograph."""
        K = self.frames[view].camera.K.numpy()
        rays = (pixels - K[:2, 2]) / K[[0, 1], [0, 1]]
        return distort(self.lenses[self.lens_of[view]], rays)


def refinement_views(capture: Capture) -> RefinementViews:
    """The views with an image.

    Raises:
        DataFormatError: photographs that are not files (a ``.sens`` stream, a procedural world).
    """
    frames = capture.frames_with_image
    lenses: dict[LensCamera, int] = {}
    lens_of = [lenses.setdefault(lens_of_frame(capture, frame), len(lenses)) for frame in frames]
    poses = np.stack([frame.camera.camera_from_world.numpy() for frame in frames])
    depth = tuple(_depth_source(frame) for frame in frames)
    return RefinementViews(frames, tuple(lenses), np.array(lens_of, dtype=np.int64), poses, depth)


def lens_of_frame(capture: Capture, frame: Frame) -> LensCamera:
    """The lens that a frame's photograph was taken with, as the capture says.

    Raises:
        DataFormatError: the photograph is not a file.
    """
    loader = frame.load_image
    if not isinstance(loader, ImageLoader):
        raise DataFormatError(
            capture.root,
            frame.name,
            expected="photographs as files at their full size",
            got=f"a {capture.source_format} stream",
            fix="export the frames as files first",
        )
    return loader.lens_camera


def _depth_source(frame: Frame) -> DepthSource | None:
    loader: Callable[[], DepthMap] | None = frame.load_depth
    if isinstance(loader, RegisteredDepthLoader):
        camera = loader.depth_camera
        transform = camera.color_from_depth
        known = transform if np.abs(transform - np.eye(4)).max() > _NO_TRANSFORM else None
        return DepthSource(loader.path, camera.K, depth_size(loader.path), loader.units_per_code, known)
    if isinstance(loader, DepthLoader):
        width, height = depth_size(loader.path)
        K = loader.lens_camera.resized(width, height).K
        return DepthSource(loader.path, K, (width, height), loader.units_per_code, None)
    if isinstance(loader, ScannetDepthLoader) and loader.in_stream is None:
        size = depth_size(loader.source)
        return DepthSource(loader.source, loader.K_depth, size, 1.0 / loader.codes_per_metre, loader.color_from_depth)
    return None


def pairs_to_match(
    views: RefinementViews, surface_in_world: Float64[np.ndarray, "m 3"] | None, partners: int
) -> Int64[np.ndarray, "p 2"]:
    """Pairs of views by what they share under the given poses: of each, half the nearest and half spread over the others.

    Poses that are off by centimetres and degrees still tell who looks at the same things.

    Args:
        views: with poses.
        surface_in_world: some points that tell how far away things are.
        partners: of each view.
    """
    K = np.stack([frame.camera.K.numpy() for frame in views.frames])
    sizes = np.array([(frame.camera.width, frame.camera.height) for frame in views.frames], dtype=np.int64)
    depths = scene_depths(views.camera_from_world, K, sizes, surface_in_world)
    candidates = candidate_pairs(views.camera_from_world, 5 * partners)
    return spread_pairs(view_overlap(views.camera_from_world, K, sizes, depths, candidates), len(K), partners)


def spread_pairs(seen: ViewPairs, views: int, partners: int) -> Int64[np.ndarray, "p 2"]:
    """Of each view the partners with most overlap, and as many spread evenly over the rest that overlaps enough."""
    usable = np.flatnonzero((seen.overlap >= _LEAST_OVERLAP) & (seen.angle_deg <= _WIDEST_DEG))
    chosen = np.zeros(len(seen.pairs), dtype=bool)
    for view in range(views):
        mine = usable[(seen.pairs[usable] == view).any(axis=1)]
        mine = mine[np.argsort(-seen.overlap[mine], kind="stable")]
        near = partners // 2
        rest = mine[near:]
        few = min(partners - near, len(rest))
        chosen[mine[:near]] = True
        chosen[rest[np.linspace(0, len(rest) - 1, few).round().astype(np.int64)]] = True
    return seen.pairs[chosen]


def plausible_matches(
    views: RefinementViews, pixels: tuple[Float64[np.ndarray, "_ 2"], ...], matches: Int64[np.ndarray, "m 4"]
) -> Bool[np.ndarray, "m"]:
    """Matches not much farther from their epipolar lines under the given poses than is usual in this capture.

    Given poses are off, but alike for all pairs; tiles and repeated furniture match as neatly as the same spot seen twice, and
    lie anywhere.  A pair most of whose matches lie far off goes as a whole.

    Args:
        views: with the poses.
        pixels: of the features of each view, in its undistorted image.
        matches: rows (view, feature, other view, other feature).
    """
    K = np.stack([frame.camera.K.numpy() for frame in views.frames])
    distance = np.zeros(len(matches))
    key = matches[:, 0] * len(K) + matches[:, 2]
    order = np.argsort(key, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(key[order])) + 1) if len(order) else []
    for group in groups:
        i, j = (int(view) for view in matches[group[0], [0, 2]])
        one, two = pixels[i][matches[group, 1]], pixels[j][matches[group, 3]]
        distance[group] = epipolar_distances(one, two, views.camera_from_world[[i, j]], K[[i, j]])
    middles = np.array([np.median(distance[group]) for group in groups])
    limit = max(_FAR * float(np.median(middles)) if len(middles) else 0.0, _NEAR_PX)
    kept = distance <= limit
    for group in groups:
        if kept[group].mean() < 0.5:
            kept[group] = False
    return kept


def epipolar_distances(
    pixels: Float64[np.ndarray, "m 2"],
    other_pixels: Float64[np.ndarray, "m 2"],
    camera_from_world: Float64[np.ndarray, "2 4 4"],
    K: Float64[np.ndarray, "2 3 3"],
) -> Float64[np.ndarray, "m"]:
    """Distance of each match from its epipolar line in pixels, the larger of the two images."""
    relative = camera_from_world[1] @ np.linalg.inv(camera_from_world[0])
    x, y, z = relative[:3, 3]
    essential = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]]) @ relative[:3, :3]
    fundamental = np.linalg.inv(K[1]).T @ essential @ np.linalg.inv(K[0])
    one = np.concatenate([pixels, np.ones((len(pixels), 1))], axis=1)
    two = np.concatenate([other_pixels, np.ones((len(pixels), 1))], axis=1)
    lines, other_lines = one @ fundamental.T, two @ fundamental
    off = np.abs((lines * two).sum(axis=1))
    steepest = np.minimum(np.linalg.norm(lines[:, :2], axis=1), np.linalg.norm(other_lines[:, :2], axis=1))
    return off / np.maximum(steepest, 1e-300)

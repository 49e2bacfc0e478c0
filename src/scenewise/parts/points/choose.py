"""Chooses where the initial points of a reconstruction come from and says so."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64

from scenewise.engine.progress import Progress
from scenewise.errors import ConventionError
from scenewise.geometry.view_overlap import camera_centers, inside_image, project_points, scene_depths
from scenewise.parts.points.from_depth import points_from_depth
from scenewise.parts.points.masked import shown_somewhere
from scenewise.parts.points.settings import DEFAULT_SETTINGS, SILENT, TriangulationSettings, spread_evenly
from scenewise.parts.points.triangulation import triangulate_capture
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame
from scenewise.scenes.point_clouds import PointCloud

PointSource = Literal["auto", "capture", "depth", "matches", "random"]

TOO_FEW_POINTS = 1000
"""Below this, random points are added: densification needs something to grow from everywhere in view."""

_RANDOM_POINTS = 20_000
_FAR_FACTOR = 20.0  # times the distance that 90 % of the points keep from their median: sky points stay, runaways go


@dataclass(frozen=True)
class InitialPoints:
    """Where a reconstruction starts.

    Attributes:
        cloud: positions and colours in the capture's world frame.
        source: what most of the points come from.
        provenance: one sentence for the scene's record and the report.
        views: number of views that observe each point (0 for random ones), or None when not known.
        median_reprojection_px: of triangulated points at the working resolution, else None.
    """

    cloud: PointCloud
    source: Literal["capture", "depth", "matches", "random"]
    provenance: str
    views: Int64[np.ndarray, "n"] | None = None
    median_reprojection_px: float | None = None


def initial_points(
    capture: Capture,
    *,
    maximum: int = 100_000,
    source: PointSource = "auto",
    seed: int = 0,
    settings: TriangulationSettings = DEFAULT_SETTINGS,
    trim_far: bool = True,
    threads: int = 2,
    progress: Progress = SILENT,
) -> InitialPoints:
    """Initial points from what the capture has: its own points, else its depth maps, else feature matches with the known cameras.

    Only training frames are read.  Where fewer than ``TOO_FEW_POINTS`` are found, random points in the volume that at least two
    cameras see are added; the provenance says how many.

    Args:
        capture: frames with known cameras.
        maximum: largest number of points returned.
        source: insists on one origin; "auto" takes the first that is there.
        seed: for subsets and random points.
        settings: thresholds of the triangulation.
        trim_far: drops the capture's own points that are absurdly far away.
        threads: workers for decoding, detection and matching; the result does not depend on it.
        progress: shows the stages.

    Returns:
        At least one and at most ``maximum`` points with their provenance.

    Raises:
        ConventionError: ``source`` names something the capture does not have, or no training frame has an image.
        MissingDependencyError: features are needed and OpenCV is not installed.
    """
    frames = capture.train_frames
    if not frames:
        raise ConventionError(
            f"training frames of {capture.root}",
            expected="at least one frame with an image",
            got="none",
            fix="see `scenewise check` for the paths at which images were looked for",
        )
    rng = np.random.default_rng(seed)
    has_depth = any(frame.load_depth is not None for frame in frames)
    if source == "auto":
        if capture.points is not None and len(capture.points):
            source = "capture"
        else:
            source = "depth" if has_depth else "matches"
    if source == "capture":
        if capture.points is None or not len(capture.points):
            raise ConventionError(
                "source", expected="a capture with points", got=f"{capture.root} has none", fix='use source "matches" or "depth"'
            )
        chosen = _from_capture(capture.points, frames, maximum, trim_far, threads, rng)
    elif source == "depth":
        if not has_depth:
            raise ConventionError(
                "source", expected="a capture with depth maps", got=f"{capture.root} has none", fix='use source "matches"'
            )
        cloud = points_from_depth(frames, maximum=maximum, threads=threads, progress=progress)
        chosen = InitialPoints(cloud, "depth", f"{len(cloud)} points from the depth maps of {len(frames)} training frames")
    elif source == "matches":
        chosen = _from_matches(frames, maximum, settings, threads, rng, progress)
    else:
        chosen = InitialPoints(PointCloud(np.zeros((0, 3)), np.zeros((0, 3), np.uint8)), "random", "", np.zeros(0, np.int64))
    if len(chosen.cloud) >= min(TOO_FEW_POINTS, maximum):
        return chosen
    return _topped_up(chosen, frames, maximum, rng)


def _from_capture(
    points: PointCloud, frames: tuple[Frame, ...], maximum: int, trim_far: bool, threads: int, rng: np.random.Generator
) -> InitialPoints:
    keep = np.isfinite(points.points_in_world).all(axis=1)
    unusable, far = int((~keep).sum()), 0
    shown = shown_somewhere(points.points_in_world[keep], frames, threads=threads)
    masked = int((~shown).sum())
    keep[keep] = shown
    if trim_far and keep.any():
        near = within_reach(points.points_in_world, keep)
        far = int((keep & ~near).sum())
        keep &= near
    index = np.flatnonzero(keep)
    text = f"{len(points)} points of the capture"
    if unusable:
        text += f", {unusable} dropped for NaN or Inf"
    if masked:
        text += f", {masked} dropped because masks hide them in every view"
    if far:
        text += f", {far} dropped as far outliers"
    if len(index) > maximum:
        index = np.sort(rng.choice(index, maximum, replace=False))
        text += f", a random {maximum} of them kept"
    colors = np.full((len(index), 3), 128, np.uint8) if points.colors_u8 is None else points.colors_u8[index]
    return InitialPoints(PointCloud(points.points_in_world[index], colors), "capture", text)


def within_reach(points_in_world: Float64[np.ndarray, "n 3"], usable: np.ndarray) -> np.ndarray:
    """Points no farther from the median than 20 times the distance within which 90 % of the usable ones lie."""
    middle = np.median(points_in_world[usable], axis=0)
    distance = np.full(len(points_in_world), np.inf)
    distance[usable] = np.linalg.norm(points_in_world[usable] - middle, axis=1)
    return distance <= _FAR_FACTOR * max(float(np.quantile(distance[usable], 0.9)), 1e-12)


def _from_matches(
    frames: tuple[Frame, ...],
    maximum: int,
    settings: TriangulationSettings,
    threads: int,
    rng: np.random.Generator,
    progress: Progress,
) -> InitialPoints:
    found = triangulate_capture(frames, wanted=maximum, settings=settings, threads=threads, progress=progress)
    count = len(found.cloud)
    index = np.arange(count)
    if count > maximum:
        # Points of many views first; the seed decides among equals.
        order = np.lexsort((rng.random(count), -np.minimum(found.views, settings.sure_views)))
        index = np.sort(order[:maximum])
    assert found.cloud.colors_u8 is not None
    cloud = PointCloud(found.cloud.points_in_world[index], found.cloud.colors_u8[index])
    error = float(np.median(found.reprojection_px[index])) if len(index) else None
    text = f"{len(index)} points triangulated from matches between {min(len(frames), settings.max_views)} training frames"
    if error is not None:
        text += f", median reprojection error {error:.2f} px, median {int(np.median(found.views[index]))} views per point"
    return InitialPoints(cloud, "matches", text, found.views[index], error)


def _topped_up(chosen: InitialPoints, frames: tuple[Frame, ...], maximum: int, rng: np.random.Generator) -> InitialPoints:
    count = min(maximum, _RANDOM_POINTS) - len(chosen.cloud)
    random = random_points_in_view(frames, count, rng, chosen.cloud)
    assert chosen.cloud.colors_u8 is not None and random.colors_u8 is not None
    cloud = PointCloud(
        np.concatenate([chosen.cloud.points_in_world, random.points_in_world]),
        np.concatenate([chosen.cloud.colors_u8, random.colors_u8]),
    )
    text = f"{len(random)} random points in the volume that the training cameras see"
    if len(chosen.cloud):
        text = f"{chosen.provenance}; topped up with {text}, because fewer than {TOO_FEW_POINTS} were found"
    views = None if chosen.views is None else np.concatenate([chosen.views, np.zeros(len(random), np.int64)])
    mostly_random = len(random) > len(chosen.cloud)
    return InitialPoints(cloud, "random" if mostly_random else chosen.source, text, views, chosen.median_reprojection_px)


def random_points_in_view(
    frames: tuple[Frame, ...], count: int, rng: np.random.Generator, known: PointCloud | None = None
) -> PointCloud:
    """Points at random pixels and log-uniform depths, among those at least two cameras see when there are enough of them.

    Args:
        frames: frames with images.
        count: how many points.
        rng: the randomness.
        known: points that tell the depth range, if any.

    Returns:
        Exactly ``count`` points with the colours of the pixels they were drawn from.
    """
    frames = spread_evenly(frames, 64)
    camera_from_world = np.stack([frame.camera.camera_from_world.numpy() for frame in frames])
    K = np.stack([frame.camera.K.numpy() for frame in frames])
    sizes = np.array([(frame.camera.width, frame.camera.height) for frame in frames], dtype=np.int64)
    surface = None if known is None else known.points_in_world
    depths = scene_depths(camera_from_world, K, sizes, surface)
    pool = 3 * count + 16
    view = np.sort(rng.integers(0, len(frames), pool))
    pixels = rng.random((pool, 2)) * sizes[view]
    z = np.exp(rng.uniform(np.log(depths[view].min(axis=1)), np.log(depths[view].max(axis=1))))
    homogeneous = np.concatenate([pixels, np.ones((pool, 1))], axis=1)
    in_camera = np.einsum("nij,nj->ni", np.linalg.inv(K)[view], homogeneous) * z[:, None]
    points = np.einsum("nji,nj->ni", camera_from_world[view, :3, :3], in_camera) + camera_centers(camera_from_world)[view]
    seen = np.zeros(pool, dtype=np.int64)
    for i in range(len(frames)):
        seen += inside_image(project_points(camera_from_world[i], K[i], points)[0], sizes[i])
    # The seen-by-two first, in random order; the rest fills up where views do not overlap, what masks hide comes last.
    order = np.lexsort((rng.random(pool), seen < 2, _under_masks(frames, view, pixels)))[:count]
    order = order[np.argsort(view[order], kind="stable")]
    colors = np.empty((count, 3), np.uint8)
    for i in np.unique(view[order]).tolist():
        load = frames[i].load_image
        assert load is not None
        mine = view[order] == i
        column, row = pixels[order[mine]].astype(np.int64).T
        colors[mine] = load()[row, column]
    return PointCloud(points[order], colors)


def _under_masks(
    frames: tuple[Frame, ...], view: Int64[np.ndarray, "n"], pixels: Float64[np.ndarray, "n 2"]
) -> Bool[np.ndarray, "n"]:
    """Which pixels of views their masks hide."""
    hidden = np.zeros(len(view), dtype=bool)
    for index, frame in enumerate(frames):
        if frame.load_mask is not None:
            mine = view == index
            column, row = pixels[mine].astype(np.int64).T
            hidden[mine] = ~frame.load_mask()[row, column]
    return hidden

"""How far both branches agree on pictures that nobody learned from, in figures and as maps to look at."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32
from torch import Tensor

from scenewise.engine.progress import NullProgress, Progress
from scenewise.engine.step_back import TrainingDivergedError
from scenewise.methods.condense.batches import consistency_batch, varied_cloud
from scenewise.methods.condense.learning import FrozenTower
from scenewise.methods.condense.objective import Memory, effective_rank, ray_losses
from scenewise.methods.condense.objectives import image_features, ray_features
from scenewise.methods.condense.options import CondenseConfig
from scenewise.methods.condense.trainer import PosedScans
from scenewise.networks.consistent.pair import ConsistentPair
from scenewise.networks.consistent.shape import STRIDE
from scenewise.networks.sparse_inputs import VoxelisedPoints
from scenewise.parts.scans.posed_scans import PosedScan
from scenewise.rendering.densities import surface_densities
from scenewise.rendering.feature_renderers import MarchedFeatures
from scenewise.rendering.march import DepthSampling, FeatureVolume
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.frames import ImageU8

MOST_SCANS = 200
"""Scans that figures are taken of at most, spread evenly."""
_MOST_ROWS = 20_000  # features of all scans together that an effective rank is taken of
_UNVARIED = 0  # the step whose pixels are looked at


@dataclass(frozen=True)
class HeldOutFigures:
    """Of pixels of held-out pictures whose depth is known.

    Attributes:
        scans: whose pictures.
        views: pictures.
        pixels: that are compared.
        cosine: mean over pixels of the 2D feature and the rendered 3D feature.
        image_rank: effective rank of the 2D features.
        volume_rank: of the rendered 3D features.
        matched: share of the pixels whose two features are more like each other than like any other of their scan.
    """

    scans: int
    views: int
    pixels: int
    cosine: float
    image_rank: float
    volume_rank: float
    matched: float


@dataclass(frozen=True)
class FeatureMaps:
    """What both branches say of one picture, on cells of four by four pixels.

    Attributes:
        picture_u8: the picture, cut to whole cells.
        image: unit 2D features.
        volume: unit rendered 3D features; 0 where nothing is rendered.
        is_rendered: cells with a depth that the volume stops.
    """

    picture_u8: ImageU8
    image: Float32[np.ndarray, "rows columns dim"]
    volume: Float32[np.ndarray, "rows columns dim"]
    is_rendered: Bool[np.ndarray, "rows columns"]


@torch.no_grad()
def held_out_figures(
    pair: ConsistentPair,
    frozen: FrozenTower,
    scans: PosedScans,
    config: CondenseConfig,
    *,
    most_scans: int = MOST_SCANS,
    progress: Progress | None = None,
) -> HeldOutFigures | None:
    """Compares both branches on all pictures of some scans, whose clouds are laid and lit as they are.

    The same pixels are looked at whatever the run's seed.

    Args:
        pair: both branches.
        frozen: the tower.
        scans: with held-out pictures alone.
        config: how rays look.
        most_scans: spread evenly over all.
        progress: where to report.

    Returns:
        None where no pixel has a depth that a volume stops.

    Raises:
        TrainingDivergedError: features that are not finite.
    """
    rows = np.unique(np.linspace(0, len(scans) - 1, min(len(scans), most_scans)).round().astype(np.int64)).tolist()
    most_rows = max(1, -(-_MOST_ROWS // len(rows)))
    images: list[Tensor] = []
    volumes: list[Tensor] = []
    views = pixels = 0
    cosine = matched = 0.0
    with (
        _as_used(pair),
        (NullProgress() if progress is None else progress).stage("held-out pictures", len(rows)) as stage,
    ):
        device = next(pair.parameters()).device
        for row in rows:
            scan = scans[row]
            shown = replace(config, views_per_scan=len(scan.pictures_u8))
            batch = consistency_batch([(row, scan)], shown, 0, _UNVARIED, device, varied=False)
            rays, _ = ray_features(batch, pair, frozen, shown)
            found = ray_losses(rays, shown, Memory.empty(pair.shape.dim, device))
            if not bool(rays.image.isfinite().all() and rays.volume.isfinite().all()):
                raise TrainingDivergedError(f"training diverged: features of held-out pictures of {scan.name} are not finite")
            count = int(rays.stopped.sum())
            views, pixels = views + len(scan.pictures_u8), pixels + count
            cosine += count * float(found["figures.cosine"])
            matched += count * float(found["figures.matched"])
            images.append(rays.image[rays.stopped][:: max(1, -(-count // most_rows))].cpu())
            volumes.append(rays.volume[rays.stopped][:: max(1, -(-count // most_rows))].cpu())
            stage.advance()
    if not pixels:
        return None
    image_rank, volume_rank = (effective_rank(torch.cat(features)) for features in (images, volumes))
    return HeldOutFigures(len(rows), views, pixels, cosine / pixels, image_rank, volume_rank, matched / pixels)


@torch.no_grad()
def feature_maps(pair: ConsistentPair, frozen: FrozenTower, scan: PosedScan, view: int, config: CondenseConfig) -> FeatureMaps:
    """Both branches on one picture of a scan.

    Args:
        pair: both branches.
        frozen: the tower.
        scan: whose cloud is rendered, as it is.
        view: which of its pictures.
        config: how rays look.
    """
    device = next(pair.parameters()).device
    rows, columns = (side // STRIDE for side in scan.pictures_u8.shape[1:3])
    picture = np.ascontiguousarray(scan.pictures_u8[view, : rows * STRIDE, : columns * STRIDE])
    with _as_used(pair):
        shown = torch.from_numpy(picture).to(device).permute(2, 0, 1).float()[None] / 255.0
        image = image_features(pair, frozen, shown).features[0].permute(1, 2, 0)
        volume = _volume(pair, scan, config, device)
        depth = torch.from_numpy(scan.depths[view, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE][:rows, :columns].copy())
        cells = torch.nonzero(depth > 0)
        known = depth[cells[:, 0], cells[:, 1]].to(device)
        sampling = DepthSampling(guided=max(2, config.rays.samples), uniform=0, spread=config.rays.depth_deviation)
        pose, K = (torch.from_numpy(each[view]).to(device) for each in (scan.camera_from_scan, scan.K))
        camera = Cameras(pose, K, columns * STRIDE, rows * STRIDE).resized(columns, rows)
        seen = MarchedFeatures(volume, sampling).at_pixels(camera, cells.to(device), known)
    rendered = np.zeros((rows, columns, pair.shape.dim), dtype=np.float32)
    stopped = (seen.alpha >= config.rays.least_alpha).cpu().numpy()
    own = cells.numpy()[stopped]
    rendered[own[:, 0], own[:, 1]] = F.normalize(seen.features, dim=1).cpu().numpy()[stopped]
    is_rendered = np.zeros((rows, columns), dtype=bool)
    is_rendered[own[:, 0], own[:, 1]] = True
    return FeatureMaps(picture, image.contiguous().cpu().numpy(), rendered, is_rendered)


def _volume(pair: ConsistentPair, scan: PosedScan, config: CondenseConfig, device: torch.device) -> FeatureVolume:
    """The 3D branch's features of a scan as it is."""
    _, points, colors = varied_cloud(scan, config, torch.Generator(), varied=False)
    items = torch.zeros(len(points), dtype=torch.int64)
    cloud = VoxelisedPoints.from_points(colors.to(device), points.to(device), items.to(device))
    grid = cloud.voxels.grid
    features = pair.points(cloud).features
    return FeatureVolume(grid, features, surface_densities(grid, config.voxel), config.voxel, torch.zeros(1, 3, device=device))


@contextmanager
def _as_used(pair: ConsistentPair) -> Iterator[None]:
    """With the running statistics, which stay as they are."""
    was_training = pair.training
    pair.eval()
    try:
        yield
    finally:
        pair.train(was_training)

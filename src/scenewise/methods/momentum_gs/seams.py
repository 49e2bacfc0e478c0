"""What cuts between blocks cost: errors near cut planes against errors elsewhere, and how far blocks differ where they meet.

Not in the paper, which shows pictures; people who merge blocks ask for figures (released code, issue 10).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int32, Int64, UInt8

from scenewise.io.images import image_u8_from_color
from scenewise.methods.momentum_gs.partition import Partition
from scenewise.rendering import RenderOutput, render
from scenewise.rendering.in_view import SeenBy
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.frames import DepthMap, Frame, ImageU8

_SOLID = 0.5
_MARK = np.array([255, 40, 200], dtype=np.uint8)  # a colour that no town has


@dataclass(frozen=True)
class SeamErrors:
    """Mean absolute error of colours in [0, 1], over pixels and channels.

    Attributes:
        near: pixels whose surface lies near a cut plane; None where there are none.
        far: all others that show a surface.
        by_view: the same for each view by name: near, far, part of the pixels that are near.
    """

    near: float | None
    far: float | None
    by_view: Mapping[str, tuple[float, float, float]]

    @property
    def ratio(self) -> float | None:
        """Error near the cuts over error far from them; 1 where they do not show."""
        return None if self.near is None or not self.far else self.near / self.far


def depth_of(output: RenderOutput) -> DepthMap:
    """Depth of a rendered picture along +Z; 0 where it shows no surface."""
    solid = output.alpha > _SOLID
    depth = torch.where(solid, output.depth / output.alpha.clamp_min(_SOLID), 0.0)
    return depth.to("cpu", torch.float32).numpy()


def blocks_of_pixels(depth: DepthMap, camera: Cameras, partition: Partition) -> Int64[np.ndarray, "height width 7"]:
    """Of every pixel the block that owns its surface, and the six neighbours within reach (−1: none, or no surface)."""
    rows, columns = np.nonzero(depth > 0)
    found = np.full((*depth.shape, 7), -1, dtype=np.int64)
    if len(rows):
        K, pose = camera.K.cpu().double().numpy(), camera.camera_from_world.cpu().double().numpy()
        z = depth[rows, columns].astype(np.float64)
        in_camera = np.stack([(columns + 0.5 - K[0, 2]) / K[0, 0] * z, (rows + 0.5 - K[1, 2]) / K[1, 1] * z, z], axis=1)
        points = (in_camera - pose[:3, 3]) @ pose[:3, :3]
        found[rows, columns] = np.concatenate([partition.block_of(points)[:, None], partition.neighbours(points)], axis=1)
    return found


@torch.no_grad()
def seam_errors(
    seen_by: SeenBy,
    frames: Sequence[Frame],
    partition: Partition,
    background: torch.Tensor,
    true_depth: Callable[[Cameras], DepthMap] | None = None,
) -> SeamErrors:
    """Errors near the cuts and far from them.

    Args:
        seen_by: the merged scene.
        frames: with an image each.
        partition: where the cuts are.
        background: colour behind everything.
        true_depth: where surfaces are, if somebody knows; else where the scene shows them.
    """
    sums, by_view = np.zeros(4), {}
    for frame in frames:
        error, near, far = _error_map(seen_by, frame, partition, background, true_depth)
        own = np.array([error[near].sum(), near.sum(), error[far].sum(), far.sum()])
        sums += own
        if own[1]:
            by_view[frame.name] = (own[0] / own[1], own[2] / max(1.0, own[3]), float(near.mean()))
    near_mean = float(sums[0] / sums[1]) if sums[1] else None
    return SeamErrors(near_mean, float(sums[2] / sums[3]) if sums[3] else None, by_view)


def _error_map(
    seen_by: SeenBy,
    frame: Frame,
    partition: Partition,
    background: torch.Tensor,
    true_depth: Callable[[Cameras], DepthMap] | None = None,
) -> tuple[Float[np.ndarray, "height width"], Bool[np.ndarray, "height width"], Bool[np.ndarray, "height width"]]:
    """Error, pixels near a cut, and other pixels that show a surface."""
    assert frame.load_image is not None
    output = render(seen_by(frame.camera), frame.camera, background=background)
    truth = frame.load_image().astype(np.float32) / 255.0
    error = np.abs(output.color.clamp(0.0, 1.0).cpu().numpy() - truth).mean(axis=2).astype(np.float64)
    depth = depth_of(output) if true_depth is None else true_depth(frame.camera)
    blocks = blocks_of_pixels(depth, frame.camera, partition)
    counts = blocks[..., 0] >= 0
    if frame.load_mask is not None:
        counts = counts & frame.load_mask()
    near = counts & (blocks[..., 1:] >= 0).any(axis=2)
    return error, near, counts & ~near


@torch.no_grad()
def seam_picture(seen_by: SeenBy, frame: Frame, partition: Partition, background: torch.Tensor) -> tuple[ImageU8, ImageU8]:
    """A render with the pixels at the cuts marked, and its error, five times as bright."""
    output = render(seen_by(frame.camera), frame.camera, background=background)
    error, near, _ = _error_map(seen_by, frame, partition, background)
    shown = image_u8_from_color(output.color.clamp(0.0, 1.0).cpu().numpy()).copy()
    owner = blocks_of_pixels(depth_of(output), frame.camera, partition)[..., 0]
    edge = np.zeros_like(near)
    edge[:, 1:] |= (owner[:, 1:] != owner[:, :-1]) & (owner[:, 1:] >= 0) & (owner[:, :-1] >= 0)
    edge[1:] |= (owner[1:] != owner[:-1]) & (owner[1:] >= 0) & (owner[:-1] >= 0)
    shown[edge] = _MARK
    grey = np.clip(5.0 * error, 0.0, 1.0)[..., None].repeat(3, axis=2)
    return shown, image_u8_from_color(grey.astype(np.float32))


@torch.no_grad()
def seam_jumps(
    merged: SeenBy,
    alone: Callable[[int], SeenBy],
    looking: Mapping[int, Sequence[Cameras]],
    partition: Partition,
    background: torch.Tensor,
) -> dict[tuple[int, int], float]:
    """How far two blocks differ where they meet: mean absolute difference of their pictures of what lies near the cut between.

    Args:
        merged: the scene as a whole, which says where surfaces are.
        alone: what a block sees itself, its own and what is behind; one block after the other is asked for.
        looking: cameras that each block was trained with, by its number; only those that several have count.
        partition: where the cuts are.
        background: colour behind everything.

    Returns:
        By pair of blocks, the lower number first; pairs that no camera sees are missing.
    """
    views: dict[int, _CutsInView] = {}
    for block, cameras in looking.items():
        for camera in cameras:
            place = _identity(camera)
            if place not in views:
                owners = blocks_of_pixels(depth_of(render(merged(camera), camera, background=background)), camera, partition)
                near = np.flatnonzero((owners[..., 1:] >= 0).any(axis=2).ravel())
                views[place] = _CutsInView(near, owners.reshape(-1, 7)[near].astype(np.int32), {})
            views[place].colors_u8[block] = np.zeros((0, 3), np.uint8)
    for block, cameras in looking.items():
        own = [camera for camera in cameras if len(views[_identity(camera)].colors_u8) > 1]
        seen = alone(block) if own else None
        for camera in own:
            assert seen is not None, "it has cameras"
            view = views[_identity(camera)]
            color = render(seen(camera), camera, background=background).color.clamp(0.0, 1.0)
            view.colors_u8[block] = image_u8_from_color(color.cpu().numpy()).reshape(-1, 3)[view.near]
    sums: dict[tuple[int, int], np.ndarray] = {}
    for view in views.values():
        for a, b in permutations(view.colors_u8, 2):
            between = (view.owners[:, 0] == a) & (view.owners[:, 1:] == b).any(axis=1)
            if between.any():
                difference = np.abs(view.colors_u8[a][between].astype(np.float64) - view.colors_u8[b][between]) / 255.0
                pair = (min(a, b), max(a, b))
                sums[pair] = sums.get(pair, np.zeros(2)) + np.array([difference.mean(axis=1).sum(), between.sum()])
    return {pair: float(total / count) for pair, (total, count) in sorted(sums.items())}


@dataclass(frozen=True)
class _CutsInView:
    """What a camera sees near cuts, and no other pixel: cities have more pictures than memory.

    Attributes:
        near: pixels, by their number in the picture.
        owners: of each, and its neighbours; see :func:`blocks_of_pixels`.
        colors_u8: of each, as every block sees it alone.
    """

    near: Int64[np.ndarray, "pixels"]
    owners: Int32[np.ndarray, "pixels 7"]
    colors_u8: dict[int, UInt8[np.ndarray, "seen 3"]]


def _identity(camera: Cameras) -> int:
    return hash((camera.width, camera.height, *camera.K.flatten().tolist(), *camera.camera_from_world.flatten().tolist()))

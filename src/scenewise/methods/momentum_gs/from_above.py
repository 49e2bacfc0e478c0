"""A city from above, its blocks in colours."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from scenewise.geometry.spherical_harmonics import Y00, sh0_from_rgb
from scenewise.io.images import image_u8_from_color
from scenewise.methods.momentum_gs.cuts import Cut
from scenewise.rendering import render
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.class_colors import class_colors
from scenewise.scenes.frames import ImageU8
from scenewise.scenes.gaussians import GaussianRows, Gaussians, joined_gaussians

_SIDE = 720  # pixels
_TINT = 0.35  # of a block's colour
_MOST = 1_000_000
"""Gaussians that are drawn: a city may have more than fit into memory, and the picture has half as many pixels."""
_ROWS = 1 << 16


@torch.no_grad()
def from_above(cut: Cut, gaussians: GaussianRows, cameras: Float[torch.Tensor, "n 3"]) -> ImageU8:
    """The scene from far above in its blocks' colours, and the cameras.

    Args:
        cut: seen along the axis of the partition that it is cut least often across.
        gaussians: of the scene; of very many some are drawn, as much larger.
        cameras: their centres in the world.
    """
    shown = joined_gaussians(list(_tinted(cut, gaussians)))
    view = camera_above(cut)
    color = render(shown, view, background=torch.ones(3)).color.clamp(0.0, 1.0).numpy()
    picture = image_u8_from_color(color).copy()
    in_camera = cameras @ view.camera_from_world[:3, :3].T + view.camera_from_world[:3, 3]
    pixels = (in_camera @ view.K.T)[:, :2] / in_camera[:, 2:]
    columns, rows = pixels.long().clamp(4, _SIDE - 5).numpy().T
    for radius, level in ((3, 0), (2, 255)):
        for dx in range(-radius, radius + 1):
            for dy in range(-radius, radius + 1):
                if dx * dx + dy * dy <= radius * radius:
                    picture[rows + dy, columns + dx] = level
    return picture


def _tinted(cut: Cut, gaussians: GaussianRows) -> Iterator[Gaussians]:
    palette = torch.tensor(class_colors(cut.partition.num_blocks), dtype=torch.float32) / 255.0
    stride = max(1, math.ceil(len(gaussians) / _MOST))
    for block in gaussians.blocks(_ROWS):
        plain = block.select(torch.arange(0, len(block), stride)).with_sh_degree(0)
        tint = palette[torch.from_numpy(cut.partition.block_of(plain.means.numpy()))]
        colors = (0.5 + Y00 * plain.sh0[:, 0]).clamp(0.0, 1.0)
        sh0 = sh0_from_rgb((1.0 - _TINT) * colors + _TINT * tint)[:, None]
        yield replace(plain, sh0=sh0, log_scales=plain.log_scales + 0.5 * math.log(stride))  # surfaces have two dimensions


def camera_above(cut: Cut) -> Cameras:
    """A camera so far above the box of a partition that everything is seen from above, and a little more than the box."""
    axis = min((2, 1, 0), key=lambda each: (cut.grid[each], -each))
    world_from_partition = np.linalg.inv(cut.partition.partition_from_world)
    sides = [each for each in range(3) if each != axis]
    right, back, up = (world_from_partition[:3, each] for each in (*sides, axis))
    if np.dot(np.cross(right, back), up) < 0.0:  # seen from the other side
        up = -up
    half = max(float(np.linalg.norm(right)), float(np.linalg.norm(back)))
    distance = 20.0 * half + float(np.linalg.norm(up))
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2] = (each / np.linalg.norm(each) for each in (right, -back, -up))
    pose[:3, 3] = world_from_partition[:3, 3] + distance * up / np.linalg.norm(up)
    focal = distance / (1.25 * half) * _SIDE / 2.0
    K = torch.tensor([[focal, 0.0, _SIDE / 2.0], [0.0, focal, _SIDE / 2.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    return Cameras(torch.from_numpy(np.linalg.inv(pose)), K, _SIDE, _SIDE, near=half)

"""The report's part about blocks: the partition from above, figures of each block, the worst seams."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from scenewise.errors import ScenewiseError
from scenewise.geometry.spherical_harmonics import Y00, sh0_from_rgb
from scenewise.io.images import image_u8_from_color, read_image
from scenewise.methods.momentum_gs.assembly import CITY_FILE
from scenewise.methods.momentum_gs.cuts import Cut, read_cut
from scenewise.methods.momentum_gs.merging import CITY_FOLDER
from scenewise.methods.momentum_gs.stages import PARTITION_FILE
from scenewise.rendering import render
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.class_colors import class_colors
from scenewise.scenes.frames import ImageU8
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.sections import Block, Definitions, Notes, Picture, Pictures, ReportMaterial, Section, Table

_TITLE = "Blocks"
_SIDE = 720  # pixels of the map
_TINT = 0.35  # of a block's colour
_COLUMNS = {
    "block": "block",
    "cameras": "cameras",
    "anchors": "anchors",
    "behind": "anchors behind it",
    "gaussians": "Gaussians",
    "psnr": "PSNR in training, dB",
    "merged_psnr": "merged, dB",
    "baked_psnr": "baked, dB",
    "settled_psnr": "settled, dB",
}


def city_sections(material: ReportMaterial) -> list[Section]:
    """Map, table and seams; nothing where the scene was not trained in blocks.  What cannot be shown becomes a warning."""
    path = material.folder / CITY_FOLDER / CITY_FILE
    if not path.exists():
        return []
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        table = Table([{title: row.get(name) for name, title in _COLUMNS.items()} for row in found["blocks"]])
        facts = Definitions({name: found[key] for key, name in _FACTS.items() if found.get(key) is not None})
        said = [Notes(tuple(map(str, found["said"])))] if found["said"] else []
        seams = _seams(material.folder, found["worst_seams"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ScenewiseError) as error:
        return [Section(_TITLE, warnings=(f"Blocks are not shown: {error}",))]
    maps: list[Block] = []
    warnings: tuple[str, ...] = ()
    try:
        maps = [_map(material)]
    except (ScenewiseError, OSError) as error:
        warnings = (f"No map of the blocks: {error}",)
    ratio = found.get("seam_ratio")
    figures = {} if ratio is None else {"error at cuts": f"{ratio:.2f} × elsewhere"}
    return [Section(_TITLE, (*maps, table, facts, *said, *seams), figures=figures, warnings=warnings)]


_FACTS = {
    "decoded_psnr": "held-out views, anchors decoded for each, dB",
    "splats_psnr": "held-out views, the scene's Gaussians, dB",
    "decoded_seam_ratio": "error near the cuts over error elsewhere, decoded",
    "seam_ratio": "error near the cuts over error elsewhere, Gaussians",
    "seam_jumps": "difference of two blocks' pictures where they meet",
    "coarse_anchors": "anchors of the coarse model",
    "seconds": "seconds of training",
}


def _seams(folder: Path, pictures: Mapping[str, Any]) -> list[Block]:
    shown = tuple(Picture(name, read_image(folder / str(place))) for name, place in pictures.items())
    return [Pictures("Worst seams", "cuts marked; errors five times as bright", shown)] if shown else []


def _map(material: ReportMaterial) -> Block:
    scene = material.scene
    cut = read_cut(material.folder / CITY_FOLDER / PARTITION_FILE, [])
    assert cut is not None, "a scene in blocks has its partition"
    centers = torch.stack([entry.camera.centers_in_world for entry in scene.cameras])
    picture = from_above(cut, scene.gaussians, centers)
    return Pictures("From above", "each block in its colour, cameras as dots", (Picture("the partition", picture),))


@torch.no_grad()
def from_above(cut: Cut, gaussians: Gaussians, cameras: Float[torch.Tensor, "n 3"]) -> ImageU8:
    """The scene from far above in its blocks' colours, and the cameras.

    Args:
        cut: seen along the axis of the partition that it is cut least often across.
        gaussians: of the scene.
        cameras: their centres in the world.
    """
    palette = torch.tensor(class_colors(cut.partition.num_blocks), dtype=torch.float32) / 255.0
    tint = palette[torch.from_numpy(cut.partition.block_of(gaussians.means.numpy()))]
    plain = gaussians.with_sh_degree(0)
    colors = (0.5 + Y00 * plain.sh0[:, 0]).clamp(0.0, 1.0)
    shown = replace(plain, sh0=sh0_from_rgb((1.0 - _TINT) * colors + _TINT * tint)[:, None])
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

"""A run of pre-training without the training: two small branches beside the embedded CLIP, in the file that such a run leaves."""

from pathlib import Path

import torch

from scenewise.networks.consistent.pair import ConsistentPair
from scenewise.networks.consistent.shape import ConsistentShape, PointBackbone
from scenewise.teachers.choose import SMALL_CLIP, open_teacher
from scenewise.teachers.clip_teacher import ClipTeacher
from scenewise.teachers.consistent_file import FILE, AboutPair, write_pair

WIDTH = 0.125
"""Of the 3D branch."""


def write_pair_run(
    folder: Path,
    *,
    seed: int = 0,
    voxel: float = 0.25,
    backbone: PointBackbone = "minkunet14a",
    width: float = WIDTH,
    tower: str = SMALL_CLIP,
    tower_fingerprint: str | None = None,
) -> Path:
    """The folder, with random branches from a seed."""
    clip = open_teacher(SMALL_CLIP, device="cpu")
    assert isinstance(clip, ClipTeacher)
    seen, dim = clip.clip.tower, clip.embed_text(["chair"], ("{}",)).shape[1]
    shape = ConsistentShape(
        dim=12,
        tower_width=seen.width,
        tower_depth=seen.depth,
        image_width=16,
        backbone=backbone,
        backbone_width=width,
        text_dim=dim,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pair = ConsistentPair(shape, dim)
        with torch.no_grad():
            pair.translator.weight.normal_()  # far from zero, so that features differ in the text space
    about = AboutPair(tower, tower_fingerprint or clip.clip.fingerprint, dim, voxel, 320, "CC0-1.0", {"seed": seed})
    folder.mkdir(parents=True, exist_ok=True)
    write_pair(folder / FILE, pair, about)
    return folder

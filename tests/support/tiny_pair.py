"""A pre-trained pair of branches without the training: random, small, beside the embedded CLIP, in the file that a run leaves."""

from pathlib import Path

import torch

from scenewise.networks.consistent.pair import ConsistentPair
from scenewise.networks.consistent.shape import ConsistentShape
from scenewise.teachers.choose import SMALL_CLIP, open_teacher
from scenewise.teachers.clip_teacher import ClipTeacher
from scenewise.teachers.consistent_file import FILE, AboutPair, write_pair

PAIR_VOXEL = 0.1


def write_tiny_pair(folder: Path, seed: int = 0) -> Path:
    """The folder of the run, with all statistics of batch norm away from those of a new network."""
    clip = open_teacher(SMALL_CLIP, device="cpu")
    assert isinstance(clip, ClipTeacher)
    tower, dim = clip.clip.tower, clip.embed_text(["chair"], ("{}",)).shape[1]
    shape = ConsistentShape(
        dim=10, tower_width=tower.width, tower_depth=tower.depth, image_width=16, backbone_width=0.125, text_dim=dim
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        pair = ConsistentPair(shape, dim)
        for name, values in pair.points.state_dict().items():
            if name.endswith(("running_mean", "running_var")):
                values.add_(0.2 * torch.rand(values.shape))
        pair.translator.weight.normal_()
    about = AboutPair(SMALL_CLIP, clip.clip.fingerprint, dim, PAIR_VOXEL, 64, "CC0-1.0", {"seed": seed})
    folder.mkdir(parents=True, exist_ok=True)
    write_pair(folder / FILE, pair, about)
    return folder

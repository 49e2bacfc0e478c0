"""What a scene in blocks is measured by."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from scenewise.metrics.photographs import likeness
from scenewise.rendering import render
from scenewise.rendering.in_view import SeenBy
from scenewise.scenes.frames import Frame


@dataclass(frozen=True)
class BlockFigures:
    """One block.

    Attributes:
        block: its number.
        cameras: training views.
        anchors: of its own.
        behind: anchors of others that it was trained with.
        gaussians: that it gives to the scene.
        psnr: on some of its training views as it was trained, dB.
        baked_psnr: likewise, as baked.
        settled_psnr: likewise, after settling.
        merged_psnr: likewise, by the scene as a whole; its decoded anchors.
        seconds: that settling took.
    """

    block: int
    cameras: int
    anchors: int
    behind: int
    gaussians: int
    psnr: float
    baked_psnr: float
    settled_psnr: float
    merged_psnr: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class CitySummary:
    """What training in blocks came to.

    Attributes:
        blocks: figures of each.
        grid: blocks asked for along the axes of the partition.
        said: what was done about blocks that had too little to learn from.
        coarse_anchors: of the coarse model.
        decoded_psnr: held-out views, anchors decoded for each, dB; None where none are held out.
        decoded_ssim: likewise.
        splats_psnr: held-out views, by the Gaussians in the scene folder.
        seam_ratio: error near the cuts over error far from them, of the Gaussians; None where there is no cut.
        decoded_seam_ratio: likewise, of the decoded anchors.
        seam_jumps: mean difference of two blocks' pictures where they meet, by "0-1".
        worst_seams: pictures in the scene folder, by view.
        seconds: of the coarse model, of the blocks, of settling.
        bytes_reduced: that went from process to process for the decoder.
    """

    blocks: tuple[BlockFigures, ...]
    grid: tuple[int, int, int]
    said: tuple[str, ...]
    coarse_anchors: int
    decoded_psnr: float | None
    decoded_ssim: float | None
    splats_psnr: float | None
    seam_ratio: float | None
    decoded_seam_ratio: float | None
    seam_jumps: Mapping[str, float]
    worst_seams: Mapping[str, str]
    seconds: Mapping[str, float]
    bytes_reduced: int


@torch.no_grad()
def quality(seen_by: SeenBy, frames: Sequence[Frame], background: torch.Tensor) -> tuple[float, float] | None:
    """Mean PSNR in dB and SSIM over views; None without any."""
    found = [
        likeness(render(seen_by(frame.camera), frame.camera, background=background).color.clamp(0.0, 1.0), frame)
        for frame in frames
    ]
    if not found:
        return None
    ratios, similarities = zip(*found)
    return sum(ratios) / len(ratios), sum(similarities) / len(similarities)


def every_nth(frames: Sequence[Frame], n: int) -> list[Frame]:
    """Frames 0, n, 2n …, and the last one."""
    return [frame for index, frame in enumerate(frames) if index % n == 0 or index == len(frames) - 1]

"""What ``scenewise reconstruct`` says when it is done."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scenewise.engine.memory import text_from_bytes
from scenewise.engine.progress import duration_text
from scenewise.methods.distilled_3dgs.figures import DistillationSummary
from scenewise.methods.momentum_gs.figures import CitySummary
from scenewise.scenes.scenes import EvaluationCard

CAP_REACHED = 0.98
"""Part of the cap from which it is said to be reached: the last rounds may prune some."""


@dataclass(frozen=True)
class ReconstructSummary:
    """What ``scenewise reconstruct`` made.

    Attributes:
        scene: the scene folder.
        num_gaussians: size of the scene.
        steps: optimiser steps.
        seconds: training time, earlier sessions included.
        setup_seconds: reading the capture and finding initial points.
        initial_points: where the first Gaussians came from.
        peak_memory_bytes: of this process.
        cap: most Gaussians that were allowed, or None for no limit.
        evaluation: figures on held-out views, or None where none are held out.
        pose_refinement: how far poses moved and what it brought, or None.
        distillation: teachers, sizes and what all of it cost, or None.
        city: blocks, seams and what all of it cost, or None.
        warnings: what was warned about on the way, each once.
    """

    scene: Path
    num_gaussians: int
    steps: int
    seconds: float
    setup_seconds: float
    initial_points: str
    peak_memory_bytes: int
    cap: int | None
    evaluation: EvaluationCard | None
    pose_refinement: Mapping[str, float] | None = None
    distillation: DistillationSummary | None = None
    city: CitySummary | None = None
    warnings: tuple[str, ...] = ()

    def text(self) -> str:
        """A few lines for people."""
        lines = [
            f"{self.scene}: {self.num_gaussians:,} Gaussians after {self.steps:,} steps in {duration_text(self.seconds)} "
            f"(preparation {duration_text(self.setup_seconds)}), {text_from_bytes(self.peak_memory_bytes)} of memory at most",
            f"started from {self.initial_points}",
        ]
        if self.cap is not None and self.num_gaussians >= CAP_REACHED * self.cap:
            lines.append(
                f"the cap of {self.cap:,} Gaussians was reached: --max-gaussians {2 * self.cap} may show more detail, "
                "and takes longer"
            )
        card = self.evaluation
        if card is not None and card.psnr is not None and card.ssim is not None:
            lines.append(f"PSNR {card.psnr:.2f} dB, SSIM {card.ssim:.4f} on {card.num_views} held-out views")
        if self.pose_refinement is not None:
            lines.append(
                "poses: " + ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in self.pose_refinement.items())
            )
        if self.distillation is not None:
            lines += table_lines(self.distillation)
        if self.city is not None:
            lines += block_lines(self.city)
        return "\n".join(lines)


def table_lines(summary: DistillationSummary) -> list[str]:
    """Teachers and students as a table for people."""
    rows = [f"{'':<22}{'Gaussians':>11}{'PSNR':>9}{'SSIM':>8}{'ply':>10}{'spz':>10}{'render':>10}{'training':>14}"]
    for row in dict.fromkeys([*summary.table, *summary.curve]):
        cells = (
            f"{row.num_gaussians:,}" if row.num_gaussians is not None else "",
            f"{row.psnr:.2f} dB" if row.psnr is not None else "",
            f"{row.ssim:.4f}" if row.ssim is not None else "",
            text_from_bytes(float(row.ply_bytes)) if row.ply_bytes is not None else "",
            text_from_bytes(float(row.spz_bytes)) if row.spz_bytes is not None else "",
            f"{row.render_ms:.1f} ms" if row.render_ms is not None else "",
            duration_text(row.seconds) if row.seconds is not None else "",
        )
        widths = (11, 9, 8, 10, 10, 10, 14)
        rows.append(f"{row.name:<22}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths)))
    rows.append(
        f"the student keeps {100 * summary.kept:.1f} %; in all {duration_text(summary.seconds)} of training and "
        f"{summary.views_rendered:,} pictures rendered, teachers included"
    )
    return rows


def block_lines(summary: CitySummary) -> list[str]:
    """Blocks and seams as a table for people."""
    heads = {
        "cameras": 9,
        "anchors": 10,
        "behind": 9,
        "Gaussians": 11,
        "in training": 13,
        "merged": 10,
        "baked": 10,
        "settled": 10,
    }
    rows = [f"{'block':<7}" + "".join(f"{name:>{width}}" for name, width in heads.items())]
    for each in summary.blocks:
        merged = "" if each.merged_psnr is None else f"{each.merged_psnr:.2f} dB"
        rows.append(
            f"{each.block:<7}{each.cameras:>9}{each.anchors:>10,}{each.behind:>9,}{each.gaussians:>11,}"
            f"{each.psnr:>10.2f} dB{merged:>10}{each.baked_psnr:>7.2f} dB{each.settled_psnr:>7.2f} dB"
        )
    if summary.decoded_psnr is not None and summary.splats_psnr is not None:
        rows.append(
            f"held-out views: {summary.decoded_psnr:.2f} dB with anchors decoded for each view, "
            f"{summary.splats_psnr:.2f} dB with the Gaussians in the scene folder"
        )
    if summary.seam_ratio is not None:
        rows.append(f"errors near the cuts are {summary.seam_ratio:.2f} times those elsewhere")
    return [*rows, *summary.said]

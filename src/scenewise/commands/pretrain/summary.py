"""What ``scenewise pretrain`` tells about its result, on the screen and on the model's card."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scenewise.commands.training_words import (
    figures_section,
    licences_section,
    numbers_text,
    software_text,
    steps_text,
    training_section,
)
from scenewise.io.training_records import TrainingRecord
from scenewise.methods.condense.held_out import HeldOutFigures


@dataclass(frozen=True)
class PretrainSummary:
    """What a pre-training gave.

    Attributes:
        folder: of the run.
        weights: file of both branches.
        scans: learned from.
        views: pictures learned from.
        held_out_views: pictures kept out of the training.
        skipped: scans that could not be used, and why.
        steps: in all.
        loss: of the last step; None where this session took none.
        terms: unweighted losses of the last step.
        figures: on held-out pictures; None where there are none.
        collapsed: whether features say the same everywhere; None without figures.
        parameters_trained: numbers that moved.
        parameters_deployed: numbers of both branches and the translator, which are kept.
        seconds: of training, earlier sessions included.
        prepare_seconds: of preparing scans, or of finding them.
        peak_memory_bytes: of this process.
    """

    folder: Path
    weights: Path
    scans: int
    views: int
    held_out_views: int
    skipped: Mapping[str, str]
    steps: int
    loss: float | None
    terms: Mapping[str, float]
    figures: HeldOutFigures | None
    collapsed: bool | None
    parameters_trained: int
    parameters_deployed: int
    seconds: float
    prepare_seconds: float
    peak_memory_bytes: int

    def text(self) -> str:
        """A few lines for people."""
        left_out = f" ({len(self.skipped)} left out)" if self.skipped else ""
        return "\n".join(
            [
                f"trained on {self.scans:,} scans{left_out} with {self.views:,} pictures: "
                + steps_text(self.steps, self.seconds, self.loss),
                *figure_lines(self.figures),
                numbers_text(self.parameters_trained, self.parameters_deployed, self.peak_memory_bytes),
                f"use it: scenewise features CAPTURE --teacher condense:{self.folder} --out DIR",
            ]
        )


def figure_lines(figures: HeldOutFigures | None) -> list[str]:
    """The figures for people."""
    if figures is None:
        return ["no figures: no scan has a held-out picture with depth"]
    return [
        f"on {figures.views:,} held-out pictures of {figures.scans:,} scans, {figures.pixels:,} pixels:",
        f"cosine          {figures.cosine:6.3f}    of a pixel's 2D feature and the 3D feature rendered there",
        f"effective rank  {figures.image_rank:6.1f}    of the 2D features; {figures.volume_rank:.1f} of the 3D ones",
        f"matched         {100 * figures.matched:6.1f} %  of the pixels are told from all others of their scan",
    ]


def pretraining_card(config: TrainingRecord, summary: PretrainSummary) -> str:
    """The card as Markdown: what it is, data, tower, training, figures, licences, limits."""
    settings, data = config.settings, config.data
    named = [f"`{source}`" for source in data["sources"]]
    named += [f"{data['rooms']:,} procedural rooms"] if data["rooms"] else []
    left_out = "".join(f"\n- Left out: {name} ({why})." for name, why in summary.skipped.items())
    counted = f"{summary.scans:,} scans, {summary.views:,} pictures; {summary.held_out_views:,} more were held out"
    of_tower = "The tower itself is not in this folder; it is opened by its name"
    if data["text_dim"]:
        of_tower += f", and with it words: a linear translator leads to its space of {data['text_dim']} numbers"
    return f"""# {config.chosen["method"]}: one feature for a pixel and the point it shows

Trained with {software_text(config.versions, config.git_commit)} from posed pictures alone.
No label and no word was used.

## What it is
{summary.parameters_deployed:,} numbers: a 2D branch beside the frozen tower of {config.chosen["teacher"]}, a 3D branch
({settings["backbone"]} of width {settings["width"]:g} on voxels of {settings["voxel"]:g} m, colours in), and key-point scores
in both. A feature has {settings["dim"]} numbers and unit length. {of_tower}.

## What it learned from
- Data: {", ".join(named)}: {counted}.{left_out}
- Checksum of all of it: `{data["fingerprint"][:16]}`.

{training_section(config, summary.steps, summary.seconds)}

{figures_section(figure_lines(summary.figures))}

They are in `figures.json` too; `features.png` shows both branches on some of these pictures in the colours of one basis.

{licences_section(config.licences)}

## Limits
It knows places like those it has seen, in metres, with +Z up and with colours. What the frozen tower confuses, it confuses too.
"""

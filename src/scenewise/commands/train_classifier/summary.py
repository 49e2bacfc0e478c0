"""What ``scenewise train-classifier`` tells about its result, on the screen and on the model's card."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scenewise.commands.training_words import figures_section, licences_section, software_text, steps_text, training_section
from scenewise.engine.memory import text_from_bytes
from scenewise.io.training_records import TrainingRecord

TOLD_FIGURES: Mapping[str, str] = {
    "accuracy": "objects named right",
    "class_mean": "the same, mean over classes",
    "top3": "objects whose class is among the first three",
}
"""The figures, and what they are."""


@dataclass(frozen=True)
class TrainClassifierSummary:
    """What a training gave.

    Attributes:
        folder: of the run.
        network: its file.
        start: whose backbone it began with; None = random weights.
        frozen: whether that stayed as it was.
        objects: trained on.
        classes: of them.
        held_out_objects: that figures are of.
        steps: in all.
        loss: of the last step; None where this session took none.
        figures: per cent on the held-out objects; None where there are none.
        parameters_trained: numbers that moved.
        parameters_deployed: numbers of the network.
        seconds: of training, earlier sessions included.
        prepare_seconds: of reading or making objects.
        peak_memory_bytes: of this process.
    """

    folder: Path
    network: Path
    start: str | None
    frozen: bool
    objects: int
    classes: int
    held_out_objects: int
    steps: int
    loss: float | None
    figures: Mapping[str, float] | None
    parameters_trained: int
    parameters_deployed: int
    seconds: float
    prepare_seconds: float
    peak_memory_bytes: int

    def text(self) -> str:
        """A few lines for people."""
        return "\n".join(
            [
                f"{self.classes:,} classes learned from {self.objects:,} objects, {start_text(self.start, self.frozen)}: "
                + steps_text(self.steps, self.seconds, self.loss),
                *figure_lines(self.figures, self.held_out_objects),
                f"{self.parameters_trained:,} of {self.parameters_deployed:,} numbers trained; "
                f"peak memory {text_from_bytes(self.peak_memory_bytes)}",
                f"use it: scenewise classify CLOUD --run {self.folder}",
            ]
        )


def start_text(start: str | None, frozen: bool) -> str:
    """With what a training began."""
    began = "from random weights" if start is None else f"beginning with the 3D network of {start}"
    return began + (", which stayed as it was" if frozen else "")


def figure_lines(figures: Mapping[str, float] | None, objects: int) -> list[str]:
    """The figures for people."""
    if figures is None:
        return ["no figures: there are no held-out objects"]
    lines = [f"{name:<10} {figures[name]:5.1f} %  {told}" for name, told in TOLD_FIGURES.items()]
    return [f"on {objects:,} held-out objects:", *lines]


def classifier_model_card(config: TrainingRecord, summary: TrainClassifierSummary) -> str:
    """The card as Markdown: what it is, data, start, training, figures, licences, limits."""
    settings, data = config.settings, config.data
    size = "as large as they are, in metres" if settings["scale"] == "metres" else "scaled to extent 1"
    coloured = data["coloured"] == data["objects"]
    return f"""# Classes of objects from points

Trained with {software_text(config.versions, config.git_commit)}.

## What it is
{summary.parameters_deployed:,} numbers: {settings["backbone"]} of width {settings["width"]:g}, mean and maximum over an object's
voxels, {"a linear head" if not settings["hidden"] else "a head of two layers"}.
Input: up to {settings["points"]:,} points of one object, +Z up, {size}, on voxels of edge {settings["voxel"]:g};
{"all" if coloured else "some" if data["coloured"] else "none"} of the objects it learned from had colours.
Output: a probability of each of {summary.classes:,} classes: {", ".join(data["classes"])}.

## What it learned from
- Data: {data["path"]}: {data["objects"]:,} objects.
- Learned {start_text(config.chosen["start"], bool(settings["frozen"]))}.
- Checksum of the objects: `{data["fingerprint"][:16]}`.

{training_section(config, summary.steps, summary.seconds)}

{figures_section(figure_lines(summary.figures, summary.held_out_objects))}

{licences_section(config.licences)}

## Limits
It knows its classes and no others: anything else is given one of them too. It expects one object alone, the right way up.
"""

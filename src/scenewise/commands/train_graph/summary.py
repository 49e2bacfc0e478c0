"""What ``scenewise train-graph`` tells about its result, on the screen and on the model's card."""

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

TOLD_FIGURES: Mapping[str, str] = {
    "object A@1": "things named right",
    "object A@5": "things whose name is among the first five",
    "predicate A@1": "relation of a pair, or that there is none, told first",
    "predicate mA@1": "relations told first, mean over predicates",
    "tail mA@1": "the same over rare predicates",
    "triplet A@50": "names and relation of a pair, or that there is none, among the first 50",
    "triplet mA@50": "names and relation among the first 50, mean over predicates",
    "sgcls R@50": "relations among the first 50 of a scan, with both names",
    "predcls R@50": "the same where names are given",
}
"""The figures that people are shown, and what they are; all others are in ``figures.json``."""


@dataclass(frozen=True)
class TrainGraphSummary:
    """What a training gave.

    Attributes:
        folder: of the run.
        network: its file.
        student: which network.
        scans: trained on.
        relations: in them.
        validation_scans: that figures are of.
        steps: in all.
        loss: of the last step; None where this session took none.
        terms: unweighted losses of the last step.
        figures: per cent on the validation split, all of them; None where there is none.
        parameters_trained: numbers that moved.
        parameters_deployed: numbers of the network that is kept.
        seconds: of training, earlier sessions included.
        prepare_seconds: of reading scans and asking the teacher, or of finding its answers.
        peak_memory_bytes: of this process.
    """

    folder: Path
    network: Path
    student: str
    scans: int
    relations: int
    validation_scans: int
    steps: int
    loss: float | None
    terms: Mapping[str, float]
    figures: Mapping[str, float | None] | None
    parameters_trained: int
    parameters_deployed: int
    seconds: float
    prepare_seconds: float
    peak_memory_bytes: int

    def text(self) -> str:
        """A few lines for people."""
        return "\n".join(
            [
                f"{self.student} trained on {self.scans:,} scans with {self.relations:,} relations: "
                + steps_text(self.steps, self.seconds, self.loss),
                *figure_lines(self.figures, self.validation_scans),
                numbers_text(self.parameters_trained, self.parameters_deployed, self.peak_memory_bytes),
                f"use it: scenewise graph SCENE --network {self.folder}",
            ]
        )


def figure_lines(figures: Mapping[str, float | None] | None, scans: int) -> list[str]:
    """The figures for people."""
    if figures is None:
        return ["no figures: the data have no validation split that can be read"]
    told = [(name, value) for name in TOLD_FIGURES if (value := figures.get(name)) is not None]
    lines = [f"{name:<14} {value:5.1f} %  {TOLD_FIGURES[name]}" for name, value in told]
    return [f"on {scans:,} validation scans:", *lines]


def graph_model_card(config: TrainingRecord, summary: TrainGraphSummary) -> str:
    """The card as Markdown: what it is, data, teacher, training, figures, licences, limits."""
    settings, data = config.settings, config.data
    taught = "The student learned alone." if settings["oracle"] is None else _taught(config)
    return f"""# {config.settings["student"]}: names of things and relations between them

Trained with {software_text(config.versions, config.git_commit)} by {config.chosen["method"]}
on labelled scans.

## What it is
{summary.parameters_deployed:,} numbers, width {settings["width"]}, {settings["depth"]} layers.
Input: {settings["points"]} points of each thing in metres, +Z up; no picture, no word. Output: a name for each thing, and of
every ordered pair which relations hold. Left, right, front and behind
are those of its data; `scenewise graph` turns things so that the view looks along +Y.

## What it learned from
- Data: `{data["path"]}`: {data["scans"]:,} scans, {data["things"]:,} things, {data["relations"]:,} relations.
- {taught}
- Checksum of all of it: `{data["fingerprint"][:16]}`.

{training_section(config, summary.steps, summary.seconds)}

{figures_section(figure_lines(summary.figures, summary.validation_scans))}

All of them are in `figures.json`.

{licences_section(config.licences)}

## Limits
It knows the names and relations of its data and no others, and things as those scans show them: whole, and cut out by people.
"""


def _taught(config: TrainingRecord) -> str:
    seen, scans = config.data["seen_things"], config.data["photographed_scans"]
    looked = (
        f"{config.chosen['teacher']} looked at {seen:,} things on the photographs of {scans:,} scans"
        if scans
        else "no photographs"
    )
    return f"Teacher, gone after the training: {looked}; sentences: {config.chosen['text'] or 'none'}."

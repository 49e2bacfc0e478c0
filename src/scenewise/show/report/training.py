"""The report's sections of the run that made a scene: its curves, where the time went, where everything came from."""

from collections.abc import Mapping, Sequence
from typing import Any

from scenewise.engine.memory import text_from_bytes
from scenewise.engine.progress import duration_text
from scenewise.scenes.scenes import EvaluationCard
from scenewise.scenes.sections import Curve, Definitions, Durations, ReportMaterial, Section
from scenewise.show.charts import drawable_points

_Events = Sequence[Mapping[str, Any]]


def training_sections(material: ReportMaterial) -> list[Section]:
    """Size and cost of the scene, and what changed over the steps."""
    figures = {"Gaussians": f"{material.scene.num_gaussians:,}"} | _costs(material.scene.evaluation)
    steps = [event["step"] for event in material.events if event["event"] == "step" and "step" in event]
    if steps:
        figures["steps"] = f"{max(steps):,}"
    return [Section("Training", tuple(_curves(material.events)), figures)]


def duration_sections(material: ReportMaterial) -> list[Section]:
    """Seconds of every stage of the run."""
    seconds = {str(event["name"]): float(event["seconds"]) for event in material.events if _is_stage(event)}
    return [Section("Where the time went", (Durations(seconds),))] if seconds else []


def provenance_sections(material: ReportMaterial) -> list[Section]:
    """Where the data and the software came from."""
    scene = material.scene
    values = {name: value for name, value in vars(scene.provenance).items() if value not in (None, "", {})}
    if scene.licences:
        values["licences"] = {name: licence or "unknown" for name, licence in scene.licences.items()}
    return [Section("Provenance", (Definitions(values),))] if values else []


def _costs(card: EvaluationCard | None) -> dict[str, str]:
    costs = {}
    if card is not None and card.seconds is not None:
        costs["training"] = duration_text(float(card.seconds))
    if card is not None and card.peak_memory_bytes is not None:
        costs["peak memory"] = text_from_bytes(float(card.peak_memory_bytes))
    return costs


def _curves(events: _Events) -> list[Curve]:
    def curve(title: str, kind: str, field: str, logarithmic: bool = False) -> Curve:
        chosen = [event for event in events if event["event"] == kind and _is_number(event.get("step")) and field in event]
        values = [event[field] if _is_number(event[field]) else None for event in chosen]
        return Curve(title, [event["step"] for event in chosen], values, logarithmic)

    drawn = [
        curve("Loss", "step", "loss", logarithmic=True),
        curve("PSNR of held-out views, dB", "evaluation", "psnr"),
        curve("Gaussians", "step", "num_gaussians"),
    ]
    return [each for each in drawn if len(drawable_points(each)) >= 2]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_stage(event: Mapping[str, Any]) -> bool:
    return event["event"] == "stage" and "name" in event and _is_number(event.get("seconds"))

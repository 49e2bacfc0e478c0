"""What every command that trains a network says of it, on the screen and on its model card."""

from collections.abc import Mapping, Sequence

from scenewise.engine.memory import text_from_bytes
from scenewise.engine.progress import duration_text
from scenewise.io.training_records import TrainingRecord


def steps_text(steps: int, seconds: float, loss: float | None) -> str:
    """How long it was trained, and the last loss where this session took a step."""
    return f"{steps:,} steps in {duration_text(seconds)}" + ("" if loss is None else f", loss {loss:.4g}")


def numbers_text(trained: int, kept: int, peak_memory_bytes: int) -> str:
    """How many numbers moved and how many are kept."""
    return f"{trained:,} numbers trained, {kept:,} kept; peak memory {text_from_bytes(peak_memory_bytes)}"


def software_text(versions: Mapping[str, str], git_commit: str | None) -> str:
    """Which software a card is of."""
    return f"Scenewise {versions.get('scenewise', '')} ({git_commit or 'no commit'})"


def training_section(record: TrainingRecord, steps: int, seconds: float) -> str:
    """Of a card: how it was trained."""
    precision = "" if (named := record.chosen.get("precision")) is None else f", {named}"
    return f"""## Training
{steps:,} steps, seed {record.seed}, preset {record.preset}{precision}; {duration_text(seconds)} of training.
All settings are in `config.json`."""


def figures_section(lines: Sequence[str]) -> str:
    """Of a card: figures as the screen showed them."""
    return "\n".join(["## Figures", *(f"    {line}" for line in lines)])


def licences_section(licences: Mapping[str, str | None]) -> str:
    """Of a card: licences of all that had a part in it."""
    lines = (f"- {name}: {licence or 'unknown; ask its makers'}" for name, licence in licences.items())
    return "\n".join(["## Licences", *lines, "", "The weights inherit the terms of whatever they learned from."])

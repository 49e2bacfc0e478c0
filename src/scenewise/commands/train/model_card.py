"""``model_card.md``: what a person must know of a trained network."""

from dataclasses import dataclass

from scenewise.commands.training_words import licences_section, software_text
from scenewise.engine.progress import duration_text
from scenewise.io.run_folder import RunConfig
from scenewise.scenes.vocabularies import Vocabulary

_SHIPPED = """
Points voted inside ScanNet's shipped segments, on which its truth was painted: figures with them know its borders.
"""


@dataclass(frozen=True)
class Training:
    """What happened.

    Attributes:
        steps: of the optimiser.
        epochs: passes over the scans.
        seconds: all sessions together.
        loss: of the last step; None where this session took none.
        parameters: of the network that is kept.
    """

    steps: int
    epochs: int
    seconds: float
    loss: float | None
    parameters: int


def model_card(config: RunConfig, training: Training, vocabulary: Vocabulary) -> str:
    """The card as Markdown: what it is, data, teacher, training, licences, limits."""
    network, data = config.network, config.data
    loss = "" if training.loss is None else f"; last loss {training.loss:.4g}"
    of_split = "all of it" if data["split"] is None else f"split {data['split']}"
    read_out = "" if config.read_out is None else f", read with {config.read_out}"
    return f"""# {config.method}: names of points

Trained with {software_text(config.versions, config.git_commit)} from images and class names.
No label of any kind was used.

## What it is
A {network.backbone} of width {network.width:g} on voxels of {network.voxel:g} m: {training.parameters:,} numbers.
Input of a point: {network.inputs}. Output: an embedding of {network.dim} numbers in the text space of {data["text_from"]};
a point's class is the text with the largest inner product.
{_start(config)}
Classes: {", ".join(vocabulary.names)}.

## What it learned from
- Data: `{data["path"]}`, {of_split}: {data["scans"]} scans, {data["points"]:,} points, {data["views"]:,} pictures.
- Teacher: {config.teacher}{read_out}, which gave {100 * data["points_labelled"]:.1f} % of the points a label.
- Sets of points: {", ".join(data["segment_sources"])}.
- Regions of pictures: {data.get("regions") or "none"}. Matched features: {data.get("targets") or "none"}.
- Checksum of all of it: `{data["fingerprint"][:16]}`.
{_SHIPPED if "shipped" in data["segment_sources"] else ""}
## Training
{training.steps:,} steps, {training.epochs} epochs, seed {config.seed}, {config.precision}; {duration_text(training.seconds)}
of training{loss}.
All settings are in `config.json`.

{licences_section(config.licences)}

## Limits
It knows the classes above and no others. At best it is as right as its teacher is on average: what the teacher confuses
everywhere, it confuses too. Figures on labelled scans: `scenewise eval RUN --data DATA --split test`; none are claimed here.
"""


def _start(config: RunConfig) -> str:
    """A line on what the network began as, between two empty ones; or just one."""
    if config.init is None:
        return ""
    return (
        f"\nIt began as the 3D network of {config.init.name} (`{config.init.fingerprint[:16]}`), which learned without labels.\n"
    )

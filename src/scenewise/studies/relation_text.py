"""Trains the embedded text tower of triplet sentences from nothing: what holds in pictures of rooms, told in many ways.

    python -m scenewise.studies relation_text                 to the end (about nine minutes on one core)
    python -m scenewise.studies relation_text --quick         a toy of the same shape, in half a minute
    python -m scenewise.studies relation_text --export        also replaces the packaged weights

Everything random depends on the seed and the step alone, so an interrupted run gives the same bits as an unbroken one on the same
machine.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from scenewise.engine.progress import console_progress
from scenewise.io.json_values import json_ready
from scenewise.methods.vl_sat.language.config import RelationTextConfig, ToldPictures
from scenewise.methods.vl_sat.language.train import export, train, training_records, validation_records
from scenewise.teachers.relation_text import WEIGHTS

_VALIDATION_ROOMS = 200


@dataclass(frozen=True)
class Options:
    """Where, and what becomes of it.

    Attributes:
        out: folder of checkpoints and log.
        quick: a toy of the same shape.
        export: replace the packaged weights by the result.
        json: print the report as JSON.
    """

    out: Path = Path("runs/relation_text")
    quick: bool = False
    export: bool = False
    json: bool = False


def quick_config() -> RelationTextConfig:
    """Few pictures, few steps: shows that it runs, not that it learns much."""
    return RelationTextConfig(
        pictures=ToldPictures(rooms=20), steps=30, decay_steps=10, warm_up=5, batch_size=32, descriptions=8, save_every=15
    )


def main(options: Options) -> int:
    """Runs to the end."""
    progress = console_progress()
    config = quick_config() if options.quick else RelationTextConfig()
    out = options.out / "quick" if options.quick else options.out
    records = training_records(config.pictures, progress)
    rooms = min(_VALIDATION_ROOMS, config.pictures.rooms)
    validation = validation_records(replace(config.pictures, rooms=rooms), progress)
    text, report = train(config, records, out, validation=validation, progress=progress)
    weights = export(text, out / "relation_text.safetensors")
    if options.export and not options.quick:
        export(text, WEIGHTS)
    found = {**asdict(report), "weights": str(weights), "bytes": weights.stat().st_size}
    print(json.dumps(json_ready(found), indent=2) if options.json else "\n".join(f"{k}: {v}" for k, v in found.items()))
    return 0

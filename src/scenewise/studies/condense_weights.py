"""Trains the embedded pair of branches from nothing, on procedural rooms, and writes the weights file.

    python -m scenewise.studies condense_weights             to the end; a second call goes on where the first was stopped
    python -m scenewise.studies condense_weights --quick     a toy of the same shape, in seconds
    python -m scenewise.studies condense_weights --export    also replaces the packaged weights

Everything random depends on the seed and the step alone.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from scenewise.engine.checkpoints import Checkpointer
from scenewise.engine.journal import Journal
from scenewise.engine.progress import console_progress
from scenewise.engine.threads import torch_threads
from scenewise.engine.training import Rhythm, Session, journaled, resume
from scenewise.engine.training import train as train_to_end
from scenewise.io.json_values import json_ready
from scenewise.methods.condense.options import ROOMS, CondenseConfig
from scenewise.methods.condense.rooms import RoomScans
from scenewise.methods.condense.trainer import CondenseTrainer
from scenewise.studies.consistent.rooms import frozen_tower, posed_rooms, small_clip
from scenewise.teachers.consistent import WEIGHTS
from scenewise.teachers.consistent_file import AboutPair, write_pair
from scenewise.worlds.seeds import LEARNING_SEEDS

SEED = 0
RECIPE: CondenseConfig = replace(ROOMS, steps=4000, voxel=0.06, scans_per_step=3, views_per_scan=4)
_FIRST_ROOM, _ROOMS = 1000, 160  # of the learning seeds


@dataclass(frozen=True)
class Options:
    """Where.

    Attributes:
        out: folder of rooms, checkpoints and log.
        processes: that scan rooms at the same time.
        quick: a toy of the same shape.
        export: replace the packaged weights by the result.
        json: print the report as JSON.
    """

    out: Path = Path("runs/condense_weights")
    processes: int = 2
    quick: bool = False
    export: bool = False
    json: bool = False


def main(options: Options) -> int:
    """Scans rooms, trains, writes."""
    config = replace(RECIPE, steps=4, scans_per_step=2, views_per_scan=2) if options.quick else RECIPE
    scans = RoomScans(views=3, width=96, height=72) if options.quick else RoomScans()
    out = options.out / "quick" if options.quick else options.out
    seeds = LEARNING_SEEDS[_FIRST_ROOM : _FIRST_ROOM + (2 if options.quick else _ROOMS)]
    rooms = posed_rooms(seeds, scans, out / "rooms", options.processes)
    checkpointer = Checkpointer(out / "checkpoints")
    with torch_threads(1), Journal(out / "log.jsonl") as journal:
        trainer = CondenseTrainer(config, rooms, frozen_tower(half=True), SEED, precision="bfloat16")
        resume(trainer, checkpointer, journal)
        rhythm = Rhythm(show=20, log=20, save=250)
        train_to_end(trainer, Session(journaled(checkpointer, journal), rhythm, journal, console_progress()))
    teacher = small_clip()
    about = {"recipe": asdict(config), "seed": SEED, "rooms": len(rooms), "data": rooms.fingerprint}
    described = AboutPair(
        teacher.name,
        teacher.clip.fingerprint,
        trainer.prior.dim,
        config.voxel,
        config.picture_width,
        "Apache-2.0",
        json_ready(about),
    )
    file = out / "consistent.safetensors"
    for path in (file, *((WEIGHTS,) if options.export and not options.quick else ())):
        write_pair(path, trainer.average, described)
    told = {"weights": str(file), "bytes": file.stat().st_size, "steps": trainer.steps_done, "seconds": trainer.seconds}
    print(json.dumps(json_ready(told), indent=2) if options.json else "\n".join(f"{k}: {v}" for k, v in told.items()))
    return 0

"""Trains the embedded scene-graph network from nothing, on procedural rooms, and writes the weights file.

    python -m scenewise.studies scene_graph             to the end; a second call goes on where the first was stopped
    python -m scenewise.studies scene_graph --quick     a toy of the same shape, in seconds
    python -m scenewise.studies scene_graph --export    also replaces the packaged weights

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
from scenewise.methods.vl_sat.network_file import WEIGHTS, Learned, read_graph_network, write_graph_network
from scenewise.methods.vl_sat.options import VlSatConfig
from scenewise.methods.vl_sat.predicting import student_answer
from scenewise.methods.vl_sat.trainer import VlSatTrainer
from scenewise.studies.graphs.arms import QUICK, ROOMS, GraphSizes, RoomBench
from scenewise.studies.graphs.rooms import graph_data
from scenewise.studies.graphs.scoring import figures, predicted_graphs, seen_triplets
from scenewise.teachers.relation_text import load_relation_text

SEED = 0
RECIPE: VlSatConfig = replace(ROOMS, steps=3000, jitter=0.01)
_SHOWN = (
    "object A@1",
    "predicate A@1",
    "predicate mA@1",
    "predicate mA@3",
    "head mA@3",
    "body mA@3",
    "tail mA@3",
    "triplet mA@50",
)


@dataclass(frozen=True)
class Options:
    """Where.

    Attributes:
        out: folder of rooms, checkpoints and log.
        processes: that scan rooms at the same time.
        validation: rooms that figures are of.
        quick: a toy of the same shape.
        export: replace the packaged weights by the result.
        json: print the report as JSON.
    """

    out: Path = Path("runs/scene_graph")
    processes: int = 2
    validation: int = 50
    quick: bool = False
    export: bool = False
    json: bool = False


def main(options: Options) -> int:
    """Scans rooms, trains, measures on validation rooms, writes."""
    sizes = QUICK if options.quick else GraphSizes()
    config = replace(RECIPE, steps=4) if options.quick else RECIPE
    out = options.out / "quick" if options.quick else options.out
    rooms = RoomBench(sizes, out / "rooms", options.processes)
    data = graph_data(rooms.pool)
    validation = graph_data(rooms.validation(2 if options.quick else options.validation))
    checkpointer = Checkpointer(out / "checkpoints")
    with torch_threads(1), Journal(out / "log.jsonl") as journal:
        trainer = VlSatTrainer(config, data, load_relation_text(), SEED)
        resume(trainer, checkpointer, journal)
        rhythm = Rhythm(show=20, log=20, save=200)
        train_to_end(trainer, Session(journaled(checkpointer, journal), rhythm, journal, console_progress()))
    weights = out / "scene_graph.safetensors"
    about = {"recipe": asdict(config), "seed": SEED, "rooms": len(data), "data": data.fingerprint}
    learned = Learned(data.classes, data.predicates, json_ready(about))
    for path in (weights, *((WEIGHTS,) if options.export and not options.quick else ())):
        write_graph_network(path, trainer.student, learned)
    student = read_graph_network(weights).student
    graphs = predicted_graphs(lambda each: student_answer(student, each), validation)
    found = figures(graphs, validation.classes, validation.predicates, seen_triplets(data), whole=False)
    report = {name: found[name] for name in _SHOWN}
    told = {**report, "weights": str(weights), "bytes": weights.stat().st_size, "seconds": trainer.seconds}
    print(json.dumps(json_ready(told), indent=2) if options.json else "\n".join(f"{k}: {v}" for k, v in told.items()))
    return 0

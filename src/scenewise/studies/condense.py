"""Figures and claims of ConDense and of the library of scenes, on procedural rooms, written to docs/results/condense.json.

    python -m scenewise.studies condense [--quick] [--cache build/reproduce] [--jobs N]

Pre-training is done anew by every arm and seed; classification begins with the embedded pair, and the library is made with it.
Rooms and outcomes are kept, so an interrupted run goes on where it stopped.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from scenewise.engine.threads import compute_threads
from scenewise.io.atomic import atomic_write_bytes
from scenewise.io.images import png_bytes
from scenewise.methods.condense.held_out import feature_maps
from scenewise.methods.condense.options import CondenseConfig
from scenewise.show.feature_pictures import FeatureRow, feature_sheet
from scenewise.studies.arms import Arm, Outcome
from scenewise.studies.bench import Bench, Flat, Keeping, Processes, checkout, say, usual_bench
from scenewise.studies.claims import verdict
from scenewise.studies.consistent.arms import ARMS, PretrainingArm, lifting_outcome, pretraining_outcome
from scenewise.studies.consistent.classifying import USUAL, ClassifyingSettings, classification_outcome
from scenewise.studies.consistent.judging import claims_of, section
from scenewise.studies.consistent.library import LibrarySizes, library_outcome
from scenewise.studies.consistent.rooms import frozen_tower, posed_rooms, ready_rooms
from scenewise.studies.consistent.sizes import FULL, QUICK, CondenseSizes
from scenewise.studies.results import Results, publish
from scenewise.studies.runs import Runs
from scenewise.studies.weights import weights_hash
from scenewise.teachers.consistent import WEIGHTS, open_consistent

SEEDS = (0, 1, 2)
PICTURE = "condense_features.png"
_PICTURED = 3  # measured rooms
_LONGEST_LINE = 160
NOTES = (
    "Reduced to fit two hours on two cores: every arm pre-trains the narrow network for 300 steps on 60 rooms of a pool of 100, "
    "drawn anew by every seed, voxels of 8 cm; 12 other rooms are measured.",
    "Weights of the losses, rates and steps were chosen on validation rooms and objects.",
    "Labels: shares of the 60 rooms; 1 % is one room.",
    "Classification begins with the embedded pair, and the library is made with it; rooms and objects are other ones.",
    "Times are those of one thread, another arm being trained beside it.",
)
QUICK_NOTE = "quick: two rooms, four steps, one seed"
_QUICK_LIBRARY = LibrarySizes(scenes=6, twins=2, duplicates=1, frames=4, width=96, height=72)
_QUICK_OBJECTS = ClassifyingSettings(replace(USUAL.config, steps=2), test_per_class=1)


@dataclass(frozen=True)
class Options:
    """Of this study."""

    keeping: Flat[Keeping] = field(default_factory=Keeping)
    processes: Flat[Processes] = field(default_factory=Processes)


@dataclass(frozen=True)
class StudySizes:
    """How much of everything.

    Attributes:
        rooms: of pre-training and its figures.
        library: its rooms and questions.
        objects: what is classified.
        per_class: objects of each class that are learned from, one classifier each.
    """

    rooms: CondenseSizes = FULL
    library: LibrarySizes = field(default_factory=LibrarySizes)
    objects: ClassifyingSettings = USUAL
    per_class: tuple[int, ...] = (5, 20)


QUICK_SIZES = StudySizes(QUICK, _QUICK_LIBRARY, _QUICK_OBJECTS, (1,))


def pretraining_arms(bench: Bench, sizes: CondenseSizes, folder: Path) -> list[tuple[Arm, Sequence[int]]]:
    """Pre-training in all ways, none, and what needs no learning."""
    shared: dict[str, Any] = {"sizes": asdict(sizes), "weights": weights_hash()}

    def of(arm: PretrainingArm) -> Callable[[int], Outcome]:
        return lambda seed: pretraining_outcome(arm, sizes, seed, folder)

    arms: list[tuple[Arm, Sequence[int]]] = [
        (Arm(name, shared | {"arm": asdict(arm)} | _pair_of(arm), of(arm)), bench.seeds[: arm.most_seeds])
        for name, arm in ARMS.items()
    ]
    arms.append((Arm("lifting", shared, lambda seed: lifting_outcome(sizes, seed, folder)), bench.seeds))
    return arms


def _pair_of(arm: PretrainingArm) -> dict[str, Any]:
    return {"pair": weights_hash(WEIGHTS)} if arm.is_embedded else {}


def classifying_arms(bench: Bench, sizes: StudySizes) -> list[tuple[Arm, Sequence[int]]]:
    """Objects from random weights and from the embedded pair."""
    arms: list[tuple[Arm, Sequence[int]]] = []

    def of(count: int, start: str | None) -> Callable[[int], Outcome]:
        return lambda seed: _classified(count, start, sizes.objects, seed)

    for count in sizes.per_class:
        for kind, start in (("scratch", None), ("condense", "condense")):
            decides: dict[str, Any] = {"objects": asdict(sizes.objects), "count": count}
            decides |= {} if start is None else {"pair": weights_hash(WEIGHTS)}
            arms.append((Arm(f"objects_{count}_{kind}", decides, of(count, start)), bench.seeds))
    return arms


def _classified(count: int, start: str | None, settings: ClassifyingSettings, seed: int) -> Outcome:
    found: dict[str, float | None] = dict(classification_outcome(seed, count, start, settings=settings))
    trained, deployed, seconds = (found.pop(name) for name in ("parameters_trained", "parameters_deployed", "train_seconds"))
    assert trained is not None and deployed is not None and seconds is not None
    return Outcome(found, int(trained), int(deployed), seconds)


def library_arm(bench: Bench, sizes: LibrarySizes, folder: Path) -> tuple[Arm, Sequence[int]]:
    """The library of the embedded pair."""

    def run(seed: int) -> Outcome:
        began = time.monotonic()
        found = library_outcome(open_consistent("condense"), sizes, seed, folder / f"library_{seed}")
        return replace(found, train_seconds=time.monotonic() - began)

    return Arm("library", {"sizes": asdict(sizes), "pair": weights_hash(WEIGHTS), "words": weights_hash()}, run), bench.seeds


def feature_picture(sizes: CondenseSizes, folder: Path) -> bytes:
    """Both branches of the embedded pair on a picture of each of some measured rooms, in the colours of one basis."""
    model = open_consistent("condense")
    config = CondenseConfig(voxel=model.about.voxel)
    rows = []
    scans = posed_rooms(sizes.measured_rooms()[:_PICTURED], sizes.scans, folder)
    for index in range(len(scans)):
        seen = feature_maps(model.pair, frozen_tower(), scans[index], 0, config)
        rows.append(FeatureRow(seen.picture_u8, seen.image, seen.volume, seen.is_rendered))
    return png_bytes(feature_sheet(rows))


def main(options: Options) -> int:
    """Runs, judges and writes."""
    started = time.monotonic()
    keeping = options.keeping
    bench = usual_bench("condense", SEEDS, keeping, options.processes)
    cache, jobs = bench.cache, bench.jobs
    sizes = QUICK_SIZES if keeping.quick else StudySizes()
    rooms = cache / "rooms"
    runs = Runs(bench, say=lambda text: say(text[:_LONGEST_LINE]))
    with compute_threads(bench.threads):
        runs.stage(
            [
                library_arm(bench, sizes.library, cache),
                *pretraining_arms(bench, sizes.rooms, rooms),
                *classifying_arms(bench, sizes),
            ],
            ready=lambda: ready_rooms(sizes.rooms, rooms, jobs),
        )
    claims = [] if keeping.quick else claims_of(runs.outcomes, sizes.per_class)
    notes = [QUICK_NOTE] if keeping.quick else [*NOTES]
    for note in notes:
        say(note)
    for claim in claims:
        say(f"{verdict(claim)} ({claim.difference:+.3f}; {', '.join(f'{value:+.3f}' for value in claim.per_seed)})")
    seconds = max(runs.seconds(), time.monotonic() - started)
    results = Results("condense", "probe 100%", runs.seeds, runs.outcomes, claims, seconds, notes)
    sources = checkout()
    if publish(bench, results, section, whole=not keeping.quick, reduced=cache / "quick.json") and sources is not None:
        picture = sources / "docs" / "results" / "img" / PICTURE
        atomic_write_bytes(picture, feature_picture(sizes.rooms, rooms))
        say(f"written: {picture}")
    return 0

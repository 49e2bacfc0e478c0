"""How the studies of the four label-free methods begin and end: options, what runs them, and what is published."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from scenewise.studies.arms import Arm
from scenewise.studies.bench import Bench, Flat, Keeping, Processes, cache_folder, command_of, processors_for, say
from scenewise.studies.claims import Claim, verdict
from scenewise.studies.label_free.arms import RoomArms
from scenewise.studies.label_free.ladders import full_arm
from scenewise.studies.label_free.rooms import QUICK, REGIONS, STAND_IN_TARGETS, Rooms, Sizes
from scenewise.studies.label_free.tables import SHOWN_BY_CLASS, comparison_table, results_section
from scenewise.studies.results import Results, publish, results_json
from scenewise.studies.runs import Runs
from scenewise.studies.tables import per_class_table


@dataclass(frozen=True)
class Options:
    """Of CNS and the union."""

    keeping: Flat[Keeping] = field(default_factory=Keeping)
    processes: Flat[Processes] = field(default_factory=Processes)


@dataclass(frozen=True)
class FullOptions:
    """Of CLIP2Scene and HICL.

    Attributes:
        full: also one run at full width, 120 epochs.
    """

    keeping: Flat[Keeping] = field(default_factory=Keeping)
    processes: Flat[Processes] = field(default_factory=Processes)
    full: bool = False


@final
class LabelFreeStudy:
    """One of the four.

    Args:
        method: its name.
        options: of the command line.
    """

    def __init__(self, method: str, options: Options | FullOptions) -> None:
        self.method, self.started = method, time.monotonic()
        keeping, jobs = options.keeping, options.processes.count(options.keeping.quick)
        self.full = isinstance(options, FullOptions) and options.full
        folder = cache_folder("label_free", keeping)  # the four share rooms, answers and outcomes
        sizes = QUICK if keeping.quick else Sizes()
        self.bench = Bench(
            method,
            tuple(range(sizes.seeds)),
            folder / "quick" if keeping.quick else folder,
            quick=keeping.quick,
            out=keeping.out,
            jobs=jobs,
            threads=processors_for(jobs),
            command=command_of(method, folder, jobs, keeping.quick, ["--full"] if self.full else []),
            only=options.processes.only,
        )
        self.rooms = Rooms(sizes, self.bench.cache)
        self.arms = RoomArms(self.rooms, self.bench.threads)
        self.runs = Runs(self.bench, self.bench.cache / "outcomes", _say_without_classes)

    def run(self, arms: Sequence[Arm], methods: Sequence[str]) -> None:
        """Runs arms with every seed.

        Args:
            arms: which.
            methods: whose rooms have to be prepared.
        """
        self.runs.stage([(arm, self.bench.seeds) for arm in arms], lambda: self.rooms.ready(methods))

    def run_full(self) -> None:
        """The run at full width: where it is asked for, or was made before."""
        arm = full_arm(RoomArms(self.rooms, threads=None), self.method)  # alone: with all processors
        if self.full or self.runs.is_kept(arm, 0):
            outcome = self.runs.run(arm, [0])[0]
            self.runs.notes.append(
                f"{arm.name}: {outcome.metrics['steps']:.0f} steps of {outcome.metrics['seconds_per_step']:.2f} s, "
                f"{outcome.train_seconds / 60:.1f} minutes in all; one seed."
            )

    def publish(self, claims: Sequence[Claim]) -> int:
        """Prints everything in one table and writes the results file and the section of the method's README."""
        bench, runs, notes = self.bench, self.runs, self._notes()
        spent = max(runs.seconds(), time.monotonic() - self.started)
        results = Results(self.method, "miou", runs.seeds, runs.outcomes, claims, spent, notes)
        content = results_json(results)
        say("\n" + comparison_table(content) + "\n")
        say(per_class_table(content, SHOWN_BY_CLASS[self.method]) + "\n")
        for note in notes:
            say(note)
        for claim in claims:
            per_seed = ", ".join(f"{value:+.2f}" for value in claim.per_seed)
            say(f"{verdict(claim)} [{per_seed}]")
        publish(bench, results, results_section, whole=not bench.quick, reduced=bench.cache / f"{self.method}.json")
        return 0

    def _notes(self) -> list[str]:
        sizes, rooms = self.rooms.sizes, self.arms.config(self.method)
        notes = [
            f"{sizes.training} training and {sizes.test} test rooms, {sizes.views} views of {sizes.width}×{sizes.height} each, "
            f"vertices {100 * sizes.spacing:.0f} cm apart; seeds draw initial weights, order and augmentation of one set of "
            "rooms.",
            f"Regions: {REGIONS} in the place of SAM's masks.  Frozen features: {STAND_IN_TARGETS} in the place of SAM's for CNS "
            "and the union, the teacher's own for CLIP2Scene.  Segments are our own, not the ones that truth was painted on.",
            f"Students of the preset rooms: width {rooms.width:g}, voxels of {100 * rooms.voxel:g} cm, {rooms.epochs} epochs of "
            f"{rooms.batch_scans} rooms in a step, at most {rooms.augmentation.most_points or 'all'} points of each.",
            *self.runs.notes,
        ]
        if self.bench.quick:
            notes.append("quick: tiny rooms, two epochs, one seed; figures mean nothing")
        return notes


def _say_without_classes(text: str) -> None:
    """Without the figures of single classes, which are in the results file."""
    say(re.sub(r", iou [a-z ]+ [-+.\de]+", "", text))

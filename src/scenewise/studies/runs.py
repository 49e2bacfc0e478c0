"""Runs the arms of a study, in several processes where there are several to run, and keeps what they gave."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import final

from scenewise.engine.jobs import Job, run_jobs
from scenewise.engine.journal import Journal
from scenewise.engine.progress import Stage
from scenewise.studies.arms import Arm, Outcome, measured, outcome_path, run_arm
from scenewise.studies.bench import Bench, say

Pieces = Mapping[str, Sequence[tuple[Arm, int]]]
"""Arms and seeds that one process runs one after the other, by the name of the piece."""


def one_by_one(arm: Arm, seed: int) -> str:
    """Every arm and seed a piece of its own."""
    return f"{arm.name}_{seed}"


@final
class Runs:
    """Runs arms and remembers what they gave in the order asked for.

    A process that is told to run one piece goes through the same study: what comes before its piece it finds kept.

    Args:
        bench: seeds, processes, and which piece this process runs.
        folder: of kept outcomes.
        say: told what happens.

    Attributes:
        outcomes: by arm.
        seeds: by arm.
        notes: for the results file.
    """

    def __init__(self, bench: Bench, folder: Path | None = None, say: Callable[[str], None] = say) -> None:
        self.bench, self.folder, self._say = bench, bench.cache if folder is None else folder, say
        self.outcomes: dict[str, list[Outcome]] = {}
        self.seeds: dict[str, list[int]] = {}
        self.notes: list[str] = []

    def run(self, arm: Arm, seeds: Sequence[int]) -> list[Outcome]:
        """Outcomes of an arm, from before where they are there."""
        self.outcomes[arm.name] = run_arm(arm, list(seeds), self.folder, report=self._say)
        self.seeds[arm.name] = list(seeds)
        return self.outcomes[arm.name]

    def stage(
        self,
        arms: Sequence[tuple[Arm, Sequence[int]]],
        ready: Callable[[], None] = lambda: None,
        piece_of: Callable[[Arm, int], str] = one_by_one,
    ) -> None:
        """Runs several arms.

        Args:
            arms: each with its seeds.
            ready: called before anything is run; not where everything is there.
            piece_of: names the piece that an arm and seed belong to; pieces are independent of each other.

        Raises:
            JobFailedError: a process failed.
            SystemExit: this process was to run one piece, and has.
        """
        missing: dict[str, list[tuple[Arm, int]]] = {}
        for arm, seeds in arms:
            for seed in seeds:
                if not self.is_kept(arm, seed):
                    missing.setdefault(piece_of(arm, seed), []).append((arm, seed))
        if missing and self.bench.only is not None:
            self._run_piece(missing.get(self.bench.only, ()), self.bench.only)
            raise SystemExit(0)
        if missing:
            ready()
        if len(missing) > 1 and self.bench.jobs > 1:
            self._run_elsewhere(missing)
        for arm, seeds in arms:
            self.run(arm, seeds)

    def is_kept(self, arm: Arm, seed: int) -> bool:
        """Whether an arm has run before."""
        return outcome_path(arm, seed, self.folder).exists()

    def of(self, arm: str, metric: str = "miou") -> list[float]:
        """A figure of every seed, which all of them have measured."""
        return measured(metric, self.outcomes[arm])

    def seconds(self) -> float:
        """Training time of everything that was asked for, kept outcomes with what they took."""
        return sum(outcome.train_seconds for found in self.outcomes.values() for outcome in found)

    def _run_piece(self, piece: Sequence[tuple[Arm, int]], name: str) -> None:
        with Journal(self._diary(name)) as journal:
            for done, (arm, seed) in enumerate(piece, start=1):
                run_arm(arm, [seed], self.folder, report=self._say)
                journal.write("step", step=done)

    def _run_elsewhere(self, pieces: Pieces) -> None:
        jobs = []
        for name, piece in pieces.items():
            diary = self._diary(name)
            diary.unlink(missing_ok=True)
            command = (*self.bench.command, "--only", name)
            jobs.append(Job(name, command, diary, diary.with_suffix(".err"), len(piece)))
        run_jobs(jobs, workers=self.bench.jobs, progress=_Told(pieces, self._say))
        for job in jobs:
            job.journal.unlink(missing_ok=True)
            job.errors.unlink(missing_ok=True)

    def _diary(self, piece: str) -> Path:
        return self.folder / "pieces" / f"{piece}.jsonl"


@final
class _Told:
    """Progress of several processes as lines: which arm and seed is done."""

    def __init__(self, pieces: Pieces, say: Callable[[str], None]) -> None:
        self._pieces, self._say = pieces, say
        self._told = dict.fromkeys(pieces, 0)

    @contextmanager
    def stage(self, name: str, total: int | None = None) -> Iterator[Stage]:
        yield self

    def advance(self, n: int = 1, **fields: object) -> None:
        for name in fields:
            for arm, seed in self._pieces[name][self._told[name] : self._told[name] + n]:
                self._say(f"{arm.name}, seed {seed}: done")
            self._told[name] += n

    def message(self, text: str) -> None:
        self._say(text)

    def warning(self, text: str) -> None:
        self._say(text)

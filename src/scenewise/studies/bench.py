"""What every study has in common: what it may be told, where it keeps things, and what an experiment needs."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import tyro

from scenewise.kernels.native import library

_Options = TypeVar("_Options")
Flat = Annotated[_Options, tyro.conf.arg(name="")]
"""Options of a nested record under their own names."""


@dataclass(frozen=True)
class Keeping:
    """How much is run, and where what came of it is kept.

    Attributes:
        quick: small and short, to see that everything works; the figures mean nothing.
        cache: kept outcomes and trainings; by default below build/reproduce.
        out: results file; by default in docs/results, or in the cache folder with --quick.
    """

    quick: bool = False
    cache: Path | None = None
    out: Path | None = None


@dataclass(frozen=True)
class Processes:
    """How much is run at the same time.

    Attributes:
        jobs: processes; by default one per processor, one with --quick.
        only: piece of the next stage that this process is to run, for the one that waits for it.
    """

    jobs: int | None = None
    only: Annotated[str | None, tyro.conf.Suppress] = None

    def count(self, quick: bool) -> int:
        """Processes at the same time."""
        return self.jobs or (1 if quick else library.default_threads())


@dataclass(frozen=True)
class Bench:
    """What an experiment needs.

    Attributes:
        study: its name; a method's where it is about one.
        seeds: of each arm that is trained.
        cache: folder of everything that is kept.
        quick: small and short.
        out: results file that was asked for, or None.
        data: folder of the real captures.
        jobs: processes at the same time.
        threads: that each computes with; None: all processors.
        command: starts this study once more, in a process that runs one piece.
        only: the piece this process runs; None: it is the one that leads.
    """

    study: str
    seeds: tuple[int, ...]
    cache: Path
    quick: bool = False
    out: Path | None = None
    data: Path = Path("data")
    jobs: int = 1
    threads: int | None = None
    command: tuple[str, ...] = ()
    only: str | None = None


def say(text: str) -> None:
    """Prints at once."""
    print(text, flush=True)


def checkout() -> Path | None:
    """Folder of the sources this package is run from; None where it was installed without them."""
    root = Path(__file__).resolve().parents[3]
    return root if (root / "docs" / "results").is_dir() else None


def cache_folder(name: str, keeping: Keeping) -> Path:
    """Where things are kept: as asked for, else below ``build/reproduce`` of the checkout or of the working directory."""
    return keeping.cache or (checkout() or Path.cwd()) / "build" / "reproduce" / name


def data_root() -> Path:
    """Folder of the real captures."""
    return Path(os.environ.get("SCENEWISE_DATA", "data"))


def processors_for(jobs: int) -> int:
    """Threads of each of several processes."""
    return max(1, library.default_threads() // jobs)


def command_of(study: str, cache: Path, jobs: int, quick: bool, more: Sequence[str] = ()) -> tuple[str, ...]:
    """The command that starts a study with these options in another process."""
    flags = ("--quick",) if quick else ()
    return (sys.executable, "-m", "scenewise.studies", study, "--cache", str(cache), "--jobs", str(jobs), *flags, *more)


def usual_bench(
    study: str,
    seeds: Sequence[int],
    keeping: Keeping,
    processes: Processes,
    *,
    threads: int | None = None,
    more: Sequence[str] = (),
) -> Bench:
    """Of a study whose arms are as long as each other: as many processes as there are processors, one seed with --quick.

    Args:
        study: its name.
        seeds: of the whole study.
        keeping: as a person said.
        processes: likewise.
        threads: of each process; None: its part of the processors.
        more: of the words that start it once more.
    """
    jobs, cache = processes.count(keeping.quick), cache_folder(study, keeping)
    return Bench(
        study,
        tuple(seeds[:1] if keeping.quick else seeds),
        cache,
        quick=keeping.quick,
        out=keeping.out,
        jobs=jobs,
        threads=threads or processors_for(jobs),
        command=command_of(study, cache, jobs, keeping.quick, more),
        only=processes.only,
    )

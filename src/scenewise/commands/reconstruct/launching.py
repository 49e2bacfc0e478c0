"""The processes that make one scene with this one, started by it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.engine.devices import compute_device
from scenewise.engine.distribution import Ranks
from scenewise.engine.jobs import Job
from scenewise.engine.launching import launched_ranks
from scenewise.engine.progress import Progress
from scenewise.errors import ConventionError, ResourceError
from scenewise.io.scene_folder import ERRORS_FILE, JOURNAL_FILE, WORKERS_FOLDER
from scenewise.kernels.native import library
from scenewise.parts.splats.reconstruction import SplatStart


def check_launch(ranks: Ranks, options: ReconstructOptions, method: SplatStart) -> None:
    """Refuses what cannot be started from here, before anything is written.

    Raises:
        ConventionError: this process is one of several already.
        ResourceError: there are fewer CUDA devices than processes.
    """
    if ranks.size > 1:
        raise ConventionError(
            "--processes", expected="a command that torchrun did not start", got=f"{ranks.size} processes", fix="one of the two"
        )
    if options.ray is None and compute_device(options.device).type == "cuda":
        there = torch.cuda.device_count()
        if there < method.processes:
            expected = f"one for each of the {method.processes} processes"
            raise ResourceError("CUDA devices", expected=expected, got=there, fix="fewer --processes, or --device cpu")


def with_threads(options: ReconstructOptions, processes: int) -> ReconstructOptions:
    """The options with this process's part of the processors, where nobody says how many threads there are to be."""
    if options.threads is not None or options.ray is not None:
        return options
    return replace(options, threads=max(1, library.default_threads() // processes))


@contextmanager
def launched(options: ReconstructOptions, method: SplatStart, folder: Path, progress: Progress) -> Iterator[Ranks]:
    """All processes of the run, connected within the block; this one is the first.

    Args:
        options: of this process, with its threads.
        method: as the options want it.
        folder: of the scene; what the others say goes into it.
        progress: told where they are.

    Raises:
        see :func:`scenewise.engine.launching.launched_ranks`.
    """
    assert method.helper is not None, "a method that asks for processes says how they are started"
    cpus = options.threads or 1
    command = method.helper(cpus)
    helpers = []
    for rank in range(1, method.processes):
        own = folder / WORKERS_FOLDER / str(rank)
        helpers.append(Job(f"process {rank}", command, own / JOURNAL_FILE, own.absolute() / ERRORS_FILE, units=0))
    where = "on this machine" if options.ray is None else f"on the Ray cluster {options.ray}"
    progress.message(f"{method.processes} processes: this one and {len(helpers)} {where}")
    with launched_ranks(helpers, compute_device(options.device), ray=options.ray, cpus=cpus) as ranks:
        yield ranks

"""``scenewise reconstruct``: from a captured folder to a scene folder."""

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scenewise.commands.reconstruct.flow import Reconstruction
from scenewise.commands.reconstruct.launching import check_launch, launched, with_threads
from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.commands.reconstruct.photographs import check_source, with_poses
from scenewise.commands.reconstruct.planning import require_ranks
from scenewise.commands.reconstruct.splat_methods import started
from scenewise.commands.reconstruct.summary import ReconstructSummary
from scenewise.engine.devices import compute_device
from scenewise.engine.distribution import ALONE, Ranks, joined_ranks, rank_device
from scenewise.engine.jobs import end_with_parent
from scenewise.engine.journal import Journal
from scenewise.engine.progress import NullProgress, Progress
from scenewise.engine.threads import compute_threads
from scenewise.io.scene_folder import JOURNAL_FILE, WORKERS_FOLDER
from scenewise.io.scene_outputs import output_folder
from scenewise.parts.splats.reconstruction import SplatStart


def reconstruct_command(options: ReconstructOptions, progress: Progress | None = None) -> ReconstructSummary | None:
    """:func:`reconstruct`, by all the processes that ``torchrun`` or another process of this command started.

    Returns:
        What was made; None on all processes but the first.

    Raises:
        ConventionError: several processes cannot make together what was asked for, or have other options or other data.
        ResourceError: they do not find each other.
        And what :func:`reconstruct` raises.
    """
    end_with_parent()
    with joined_ranks(rank_device(compute_device(options.device))) as ranks:
        summary = reconstruct(options, progress, ranks)
        return summary if ranks.is_first else None


def reconstruct(options: ReconstructOptions, progress: Progress | None = None, ranks: Ranks = ALONE) -> ReconstructSummary:
    """Trains Gaussian splats from a capture and writes the scene folder.

    Args:
        options: see there.
        progress: where to report.
        ranks: processes that make the scene together, where they were not started by this one.

    Returns:
        What was made; of processes but the first, what they trained themselves.

    Raises:
        DataFormatError: the capture cannot be read, or the output folder is in use.
        ConventionError: ``resume`` with other options or other data, or processes that cannot make together what was asked for.
        JobFailedError: one of the processes that this one started ended with an error.
        MissingDependencyError: there are no poses, and pycolmap, which finds them, is not installed.
        ResourceError: memory or disk do not suffice.
        TrainingDivergedError: training fails again and again.
    """
    progress = NullProgress() if progress is None else progress
    check_source(options)
    method = started(options)
    if method.processes > 1:
        check_launch(ranks, options, method)
        return _with_others(options, method, progress)
    if ranks.size == 1:
        return _alone(options, method, progress)
    require_ranks(ranks, options, method)
    with _place_of(ranks, options) as folder:
        return _one_of_several(options, method, progress, ranks, folder)


def _alone(options: ReconstructOptions, method: SplatStart, progress: Progress) -> ReconstructSummary:
    """In this process."""
    # Several machines may make one part each in the same folder, whoever comes first.
    is_shared = method.part is not None and not options.overwrite
    with output_folder(options.out, overwrite=options.overwrite, resume=options.resume or is_shared) as folder:
        diary = folder / JOURNAL_FILE if method.part is None else folder / method.part / "job.jsonl"
        with Journal(diary) as journal, _journaled_warnings(journal) as said, compute_threads(options.threads) as threads:
            posed = with_poses(options, folder, journal, progress)
            if posed is not options:
                options, method = posed, started(posed)
            return Reconstruction(options, method, progress, folder, journal, threads, said).run()


def _with_others(options: ReconstructOptions, method: SplatStart, progress: Progress) -> ReconstructSummary:
    """In this process and in others that it starts."""
    with output_folder(options.out, overwrite=options.overwrite, resume=options.resume) as folder:
        with Journal(folder / JOURNAL_FILE) as journal:
            options = with_threads(with_poses(options, folder, journal, progress), method.processes)
        method = started(options)
        with launched(options, method, folder, progress) as ranks:
            ranks.wait()  # as the others do, for the folder
            return _one_of_several(options, method, progress, ranks, folder)


def _one_of_several(
    options: ReconstructOptions, method: SplatStart, progress: Progress, ranks: Ranks, folder: Path
) -> ReconstructSummary:
    own = folder if ranks.is_first else folder / WORKERS_FOLDER / str(ranks.rank)
    shown = progress if ranks.is_first else NullProgress()
    with (
        Journal(own / JOURNAL_FILE) as journal,
        _journaled_warnings(journal) as said,
        compute_threads(options.threads) as threads,
    ):
        journal.write("process", rank=ranks.rank, of=ranks.size, pid=os.getpid())
        run = Reconstruction(options, method, shown, folder, journal, threads, said, ranks)
        return run.run() if ranks.is_first else run.help()


@contextmanager
def _place_of(ranks: Ranks, options: ReconstructOptions) -> Iterator[Path]:
    """The scene folder, made ready by the first process alone."""
    if ranks.is_first:
        with output_folder(options.out, overwrite=options.overwrite, resume=options.resume) as folder:
            ranks.wait()
            yield folder
    else:
        ranks.wait()
        yield options.out


@contextmanager
def _journaled_warnings(journal: Journal) -> Iterator[list[str]]:
    """Writes every warning into the run's diary and into the list that is given, and passes it on."""
    said: list[str] = []
    with warnings.catch_warnings():
        pass_on = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
            said.append(str(message))
            journal.write("warning", message=str(message))
            pass_on(message, category, *rest, **more)

        warnings.showwarning = show
        yield said

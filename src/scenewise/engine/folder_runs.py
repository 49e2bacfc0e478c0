"""A training in a folder of its own: how long it is, where it goes on, its diary, its curves and its checkpoints."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from scenewise.engine.checkpoints import Checkpointer
from scenewise.engine.distribution import ALONE, Ranks
from scenewise.engine.journal import Journal
from scenewise.engine.measuring import Measurable, steps_within
from scenewise.engine.memory import peak_resident_bytes
from scenewise.engine.progress import Progress
from scenewise.engine.provenance import versions
from scenewise.engine.tensorboard import tensorboard_of
from scenewise.engine.training import Rhythm, Session, Trainable, journaled, resume
from scenewise.io.run_folder import RUN_CHECKPOINTS, RUN_LOG_FILE

_REPORTS = 200  # lines in the diary of a whole run


@runtime_checkable
class RunOptions(Protocol):
    """What a person says of a run.

    Attributes:
        out: its folder.
        resume: continue from its newest checkpoint.
        tensorboard: whether curves are written beside.
    """

    @property
    def out(self) -> Path: ...

    @property
    def resume(self) -> bool: ...

    @property
    def tensorboard(self) -> bool: ...


@dataclass(frozen=True)
class FolderRun:
    """A run of a command in its folder, which is there.

    Attributes:
        command: name of the command.
        options: of the command; all of them stand in the diary.
        progress: shown to the person who waits.
        ranks: the processes that train together.
    """

    command: str
    options: RunOptions
    progress: Progress
    ranks: Ranks = ALONE

    @property
    def checkpoints(self) -> Checkpointer:
        """Of the run."""
        return Checkpointer(self.options.out / RUN_CHECKPOINTS)

    def settle_length(self, trainer: Measurable, minutes: float | None) -> None:
        """Where minutes were given: the length of the run that is continued, else as many steps as fit by the first's clock."""
        if minutes is None:
            return
        before = self.checkpoints.latest() if self.options.resume else None
        if before is not None:
            trainer.set_total_steps(int(before.config["steps"]))
            return
        with self.progress.stage("time the first steps"):
            steps = steps_within(trainer, 60.0 * minutes)
            trainer.set_total_steps(int(self.ranks.total([float(steps) if self.ranks.is_first else 0.0])[0]))

    def take_up(self, trainer: Trainable) -> None:
        """Goes on from the newest checkpoint where that was asked for; there is none where a run stopped before its first.

        Raises:
            ConventionError: it is of another configuration or of other data.
            DataFormatError: there are checkpoints, but none can be read.
        """
        if self.options.resume:
            resume(trainer, self.checkpoints)

    @contextmanager
    def session(self, trainer: Trainable, title: str, rhythm: Rhythm) -> Iterator[tuple[Session, Journal]]:
        """Who is told about the training within the block, and the diary, in which beginning and end are written.

        Args:
            trainer: about to train, taken up where it is.
            title: of the training, for people.
            rhythm: how often who is told; see :func:`usual_rhythm`.

        Raises:
            MissingDependencyError: TensorBoard is wanted, and not installed.
        """
        folder, begun = self.options.out, trainer.steps_done
        with (
            Journal(folder / RUN_LOG_FILE) as journal,
            tensorboard_of(folder / "tensorboard" if self.options.tensorboard else None) as board,
        ):
            if begun:
                journal.write("resume", step=begun)
            journal.write("start", command=self.command, options=self.options, versions=versions(), processes=self.ranks.size)
            title += f" from step {begun}" if begun else ""
            yield Session(journaled(self.checkpoints, journal), rhythm, journal, self.progress, board, title), journal
            journal.write("end", seconds=trainer.seconds, peak_memory_bytes=peak_resident_bytes())


def usual_rhythm(trainer: Trainable, save_every: int) -> Rhythm:
    """A diary of two hundred lines, whatever the length; checkpoints as they are wanted."""
    every = max(1, trainer.total_steps // _REPORTS)
    return Rhythm(every, every, save_every)

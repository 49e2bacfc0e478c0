"""A splat trainer run with a progress bar, a diary and checkpoints: what every splat method's command does the same way."""

import time

from scenewise.engine.checkpoints import Checkpointer
from scenewise.engine.journal import Journal
from scenewise.engine.progress import Progress
from scenewise.engine.training import Rhythm, Session, Trainable, journaled, train

SHOW_EVERY, LOG_EVERY = 10, 50
"""Steps between two updates of the progress bar, and between two entries of the diary."""


def train_splats(
    trainer: Trainable,
    *,
    checkpointer: Checkpointer,
    journal: Journal,
    progress: Progress,
    checkpoint_every: int,
    stage: str = "train",
    until: int | None = None,
) -> None:
    """Runs a trainer from where it is to its end, or to an earlier step.

    Args:
        trainer: new or restored.
        checkpointer: where checkpoints go.
        journal: gets steps, checkpoints and the time of the stage.
        progress: gets a stage of as many units as steps are left.
        checkpoint_every: steps between two checkpoints.
        stage: its name.
        until: steps done when it returns; None: all.

    Raises:
        TrainingDivergedError: training fails again and again.
        ResourceError: a checkpoint cannot be written.
    """
    started = time.monotonic()
    rhythm = Rhythm(SHOW_EVERY, LOG_EVERY, checkpoint_every)
    train(trainer, Session(journaled(checkpointer, journal), rhythm, journal, progress, title=stage), until=until)
    journal.write("stage", name=stage, seconds=time.monotonic() - started)

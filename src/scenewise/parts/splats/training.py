"""A splat trainer run with a progress bar, a diary and checkpoints: what every splat method's command does the same way."""

import time

from scenewise.engine.checkpoints import Checkpoint, Checkpointer
from scenewise.engine.journal import Journal
from scenewise.engine.progress import Progress
from scenewise.parts.splats.trainer import SplatTrainer, StepReport

LOG_EVERY = 50
"""Steps between two entries of the diary."""


def train_splats(
    trainer: SplatTrainer,
    *,
    checkpointer: Checkpointer,
    journal: Journal,
    progress: Progress,
    checkpoint_every: int,
    stage: str = "train",
) -> None:
    """Runs a trainer from where it is to its end.

    Args:
        trainer: new or restored.
        checkpointer: where checkpoints go.
        journal: gets steps, checkpoints and the time of the stage.
        progress: gets a stage of as many units as steps are left.
        checkpoint_every: steps between two checkpoints.
        stage: its name.

    Raises:
        TrainingDivergedError: training fails again and again.
        ResourceError: a checkpoint cannot be written.
    """
    started = time.monotonic()
    with progress.stage(stage, trainer.settings.steps - trainer.steps_done) as shown:
        before = trainer.steps_done

        def listen(report: StepReport) -> None:
            nonlocal before
            shown.advance(max(0, report.step - before), loss=report.loss, gaussians=report.num_gaussians)
            before = max(before, report.step)
            if report.step % LOG_EVERY == 0 or report.step == report.total_steps:
                journal.write(
                    "step", step=report.step, loss=report.loss, num_gaussians=report.num_gaussians, seconds=report.seconds
                )

        def save(checkpoint: Checkpoint) -> None:
            checkpointer.save(checkpoint)
            journal.write("checkpoint", step=checkpoint.step)

        trainer.run(listener=listen, save=save, save_every=checkpoint_every)
    journal.write("stage", name=stage, seconds=time.monotonic() - started)

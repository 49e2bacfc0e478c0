"""Watches a training for collapse: features that no longer differ from place to place agree perfectly and are worth nothing."""

import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import final

from scenewise.engine.checkpoints import Checkpoint
from scenewise.engine.training import StepReport
from scenewise.errors import CaptureWarning
from scenewise.methods.condense.held_out import HeldOutFigures
from scenewise.methods.condense.objective import effective_rank
from scenewise.methods.condense.trainer import CondenseTrainer

LEAST_RANK = 4.0
"""Effective rank below which features have collapsed."""
MOST_COSINE = 0.999
"""Mean cosine of both branches above which they have."""
_FROM = 0.2  # of a run: before that features have not spread yet
_LOOKED_AT, _FEWEST = 1024, 32  # of the remembered rays


def collapse(cosine: float, image_rank: float, volume_rank: float) -> str | None:
    """What is wrong with features that have collapsed, for people; None where they have not.

    Args:
        cosine: mean over pixels, of both branches' features.
        image_rank: effective rank of the 2D features.
        volume_rank: of the rendered 3D ones.
    """
    found = [
        f"the effective rank of the {kind} features is {rank:.1f}, below {LEAST_RANK:g}"
        for kind, rank in (("2D", image_rank), ("3D", volume_rank))
        if rank < LEAST_RANK
    ]
    if cosine > MOST_COSINE:
        found.append(f"2D and 3D features are the same everywhere (cosine {cosine:.4f})")
    return " and ".join(found) or None


@final
class WatchedTrainer:
    """A trainer whose reports also tell the effective ranks of the last steps' features and, now and then, held-out figures.

    Training itself is what it is without.

    Args:
        trainer: who learns.
        look: measures the running average on held-out pictures; None where there are none.
        every: steps between two looks.
    """

    def __init__(self, trainer: CondenseTrainer, look: Callable[[], HeldOutFigures | None], every: int) -> None:
        self.trainer, self._look, self._every = trainer, look, every
        self._looks = trainer.steps_done // every
        self._has_warned = False

    @property
    def seconds(self) -> float:
        """Of training so far."""
        return self.trainer.seconds

    @seconds.setter
    def seconds(self, seconds: float) -> None:
        self.trainer.seconds = seconds

    @property
    def steps_done(self) -> int:
        """Steps taken, earlier sessions included."""
        return self.trainer.steps_done

    @property
    def total_steps(self) -> int:
        """Length of the run."""
        return self.trainer.total_steps

    def start(self) -> None:
        """Gets ready."""
        self.trainer.start()

    def step(self) -> None:
        """One step; TrainingDivergedError where something is not finite."""
        self.trainer.step()

    def checkpoint(self) -> Checkpoint:
        """The trainer's."""
        return self.trainer.checkpoint()

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue where a checkpoint was taken."""
        self.trainer.restore(checkpoint)
        self._looks = checkpoint.step // self._every

    def describe(self) -> StepReport:
        """The last step, and whether features have collapsed, which a warning tells once."""
        report = self.trainer.describe()
        told = self._ranks(report)
        if report.step // self._every > self._looks and report.step < report.total_steps:  # in the end the file is measured
            self._looks = report.step // self._every
            seen = self._look()
            told |= {} if seen is None else {f"held_out/{name}": value for name, value in asdict(seen).items()}
        figures = {**report.figures, **{name: float(value) for name, value in told.items()}}
        shown = {**report.shown, "held_out": told["held_out/cosine"]} if "held_out/cosine" in told else report.shown
        return replace(report, figures=figures, shown=shown, line={**report.line, **told})

    def _ranks(self, report: StepReport) -> dict[str, float | bool]:
        """Of a share of the remembered rays of the last steps; empty where none are remembered."""
        memory = self.trainer.memory
        stride = max(1, len(memory.image) // _LOOKED_AT)
        image, volume = memory.image[::stride], memory.volume[::stride]
        if len(image) < _FEWEST:
            return {}
        found = {"image_rank": effective_rank(image), "volume_rank": effective_rank(volume)}
        wrong = collapse(report.figures.get("cosine", 0.0), **found)
        if wrong is not None and report.step >= _FROM * report.total_steps and not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"step {report.step}: {wrong}: the features are collapsing. Fix: raise the weights of the prior and of the "
                "contrast, or learn from more scans",
                CaptureWarning,
                stacklevel=2,
            )
        return {**found, "collapsed": wrong is not None}


def warn_of_collapse(figures: HeldOutFigures) -> bool:
    """Whether features have collapsed on held-out pictures, said in a warning."""
    wrong = collapse(figures.cosine, figures.image_rank, figures.volume_rank)
    if wrong is not None:
        warnings.warn(
            f"held-out pictures: {wrong}: the features have collapsed. Fix: train longer, raise the weights of the prior and of "
            "the contrast, or learn from more scans",
            CaptureWarning,
            stacklevel=2,
        )
    return wrong is not None

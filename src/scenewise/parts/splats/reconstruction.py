"""What a way to reconstruct splats brings to the one flow of ``scenewise reconstruct``, and what the flow tells it."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from scenewise.engine.checkpoints import Checkpoint
from scenewise.engine.distribution import ALONE, Ranks
from scenewise.engine.journal import Journal
from scenewise.engine.progress import Progress
from scenewise.engine.training import Trainable
from scenewise.parts.splats.recipes import SplatRecipe
from scenewise.scenes.captures import Capture
from scenewise.scenes.gaussians import GaussianRows, Gaussians
from scenewise.scenes.point_clouds import PointCloud

FindPoints = Callable[[], tuple[PointCloud, str]]
"""Finds initial points, writes ``points.ply``, and says where they came from."""


@dataclass(frozen=True)
class SplatRun:
    """What is known before anything is trained.

    Attributes:
        name: of the capture's folder.
        capture: what is learned from.
        data_hash: its checksum.
        folder: the scene folder.
        recipe: settings of the splats, with the cap that memory and options allow.
        cache_bytes: decoded pixels that a trainer keeps.
        device: where to compute.
        threads: that were asked for; None: all.
        seed: of every random stream.
        minutes: that were asked for in place of a number of steps, or None.
        downscale: images are at 1/N of their size; None: at their own.
        max_gaussians: that the result may have at most, or None.
        checkpoint_every: steps between two checkpoints.
        journal: the run's diary.
        progress: shown to the person who waits.
        steps: optimisation steps that were asked for, or None.
        budget: memory that may be used, in bytes, or None for no limit.
        ranks: processes that train together.
    """

    name: str
    capture: Capture
    data_hash: str
    folder: Path
    recipe: SplatRecipe
    cache_bytes: int
    device: torch.device
    threads: int | None
    seed: int
    minutes: float | None
    downscale: int | None
    max_gaussians: int | None
    checkpoint_every: int
    journal: Journal
    progress: Progress
    steps: int | None = None
    budget: int | None = None
    ranks: Ranks = ALONE


@dataclass(frozen=True)
class MadePart:
    """What a run made that was asked for a part of a scene only.

    Attributes:
        folder: where it is.
        num_gaussians: how many.
        steps: optimisation steps.
        seconds: training time.
    """

    folder: Path
    num_gaussians: int
    steps: int
    seconds: float


@dataclass(frozen=True)
class FinishedSplats:
    """The Gaussians of a scene, and what they took.

    Attributes:
        gaussians: on the CPU or on the disk; no training changes them any more.
        seconds: of training in all.
        more: what else the method has to say, a record of its own.
        room: memory that all of them may take at once, bytes; None for no limit.
    """

    gaussians: GaussianRows
    seconds: float
    more: object = None
    room: int | None = None


@runtime_checkable
class SceneTrainer(Trainable, Protocol):
    """What is trained in the flow; what only :class:`~scenewise.parts.splats.trainer.SplatTrainer` can do is asked of that."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The run's resolved configuration."""


@runtime_checkable
class InSlots(Protocol):
    """A trainer that is best saved between two slots, where there is least to save."""

    @property
    def slot_steps(self) -> int:
        """Steps of a slot."""


@runtime_checkable
class SplatMethod(Protocol):
    """One run of a method; called in this order."""

    def points(self, find: FindPoints, found: Checkpoint | None) -> tuple[PointCloud | None, str]:
        """Initial points, and where they came from; they may be None when a checkpoint was found."""

    def prepare(self, points: PointCloud | None) -> MadePart | None:
        """Whatever comes before the training.  A part, when no more was asked for: the run ends with it."""

    def record(self) -> Mapping[str, Any]:
        """What a resumed run must have in common with this one, beside the options of every method."""

    def trainer(self, points: PointCloud | None, record: Mapping[str, Any], found: Checkpoint | None) -> SceneTrainer:
        """The trainer, at the start or where the checkpoint was taken."""

    def finish(self, trainer: SceneTrainer) -> FinishedSplats:
        """Whatever comes after the training."""


@dataclass(frozen=True)
class SplatRequest:
    """What a person asks of a method.

    Attributes:
        own: options that only this method has, or None where it has none.
        max_gaussians: cap of the result, or None.
        again: (own options, threads) → the command line that asks for the same with these, on any machine that sees the files.
        changed: the method's settings → the same with what experts changed.
        ray: address of the Ray cluster that helps, or None.
    """

    own: Any
    max_gaussians: int | None
    again: Callable[[Any, int | None], tuple[str, ...]]
    changed: Callable[[Any], Any]
    ray: str | None = None


@dataclass(frozen=True)
class SplatStart:
    """A method and what the flow must know of it before the capture is read.

    Attributes:
        begin: starts a run.
        max_gaussians: cap that is asked for where the recipe is trained, or None.
        keeps_cap: a resumed run has the cap of its checkpoint, whatever is asked for now.
        part: folder below the scene's of the only part that is to be made, or None for the whole.
        spoken: what comes before the news that training goes on.
        fits_capture: where nobody says, the recipe gets the cap and the length that the capture asks for.
        plans_memory: the method itself sees to it that a budget suffices.
        trains_in_processes: several processes may make one scene together.
        processes: how many of them are asked for; ``torchrun`` may start others.
        helper: threads → the command line of those that are started beside this one.
    """

    begin: Callable[[SplatRun], SplatMethod]
    max_gaussians: int | None = None
    keeps_cap: bool = True
    part: Path | None = None
    spoken: str = ""
    fits_capture: bool = True
    plans_memory: bool = False
    trains_in_processes: bool = False
    processes: int = 1
    helper: Callable[[int | None], tuple[str, ...]] | None = None


def detached(gaussians: Gaussians) -> Gaussians:
    """Copies on the CPU that no training changes any more."""
    return Gaussians(**{name: value.detach().cpu().clone() for name, value in vars(gaussians).items()})


@contextmanager
def timed(journal: Journal, name: str) -> Iterator[None]:
    """A stage of the diary; for work that shows its own progress."""
    started = time.monotonic()
    yield
    journal.write("stage", name=name, seconds=time.monotonic() - started)

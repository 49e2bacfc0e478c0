"""Settings of the small CLIP: pictures, network, schedule."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Literal

from scenewise.networks.small_clip import SmallClipShape

PictureKind = Literal["any", "close-up", "wide", "stuff"]


@dataclass(frozen=True)
class PictureSettings:
    """What is photographed.

    Attributes:
        size: height and width in pixels; larger than the network's input, so that training can crop.
        kinds: pictures of each room.
        close_up_weights: how much likelier than others a class is to be chosen for a close-up.
        rooms_per_shard: rooms in one file.
        shards: files.
        first_seed: of the first room.
    """

    size: int = 112
    kinds: tuple[PictureKind, ...] = ("any", "any", "any", "close-up", "close-up", "close-up", "wide", "stuff")
    close_up_weights: dict[str, float] = field(default_factory=lambda: {"monitor": 4.0, "lamp": 3.0, "plant": 2.0})
    rooms_per_shard: int = 250
    shards: int = 72
    first_seed: int = 0

    def fingerprint(self) -> str:
        """Changes with anything that changes a picture."""
        relevant = {name: value for name, value in asdict(self).items() if name not in ("shards",)}
        return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()[:16]

    def seeds(self, shard: int) -> range:
        """Rooms of a shard."""
        start = self.first_seed + shard * self.rooms_per_shard
        return range(start, start + self.rooms_per_shard)


@dataclass(frozen=True)
class Phase:
    """A stretch of training.

    Attributes:
        steps: how many.
        patches: looked at per image; the others are dropped at random.
        patch_weight: of the noun question asked of patches, beside the one asked of pictures.
        sizes: heights and widths the pictures are shown at, one drawn per step.
    """

    steps: int
    patches: int
    patch_weight: float = 0.0
    sizes: tuple[int, ...] = (96,)


@dataclass(frozen=True)
class SmallClipConfig:
    """Training of the embedded weights.

    The learning rate rises over ``warm_up`` steps, stays, and falls to zero over the last phase (warm-up, stable, decay: Hu et
    al. 2024, arXiv 2404.06395), so that a run can be lengthened from any checkpoint of the stable stretch.

    Attributes:
        pictures: what is learned from.
        shape: of the network; the size of the word list is filled in.
        phases: in order; the last is the decay.
        batch_size: pictures per step.
        learning_rate: of everything but the temperatures.
        temperature_rate: factor on the learning rate of temperatures and biases, which move too slowly otherwise.
        weight_decay: of matrices.
        warm_up: steps.
        noun_weight: of the noun loss beside the caption loss.
        visible_weight: of the question "is it visible?" inside the noun loss.
        pooling_scale: how much the pooled answer of patches leans to the largest one.
        seed: of everything random.
        save_every: steps between checkpoints.
        is_mixed_precision: whether matrices are multiplied in bfloat16.
        threads: of the processor; part of the recipe, because sums depend on how they are split.
    """

    pictures: PictureSettings = field(default_factory=PictureSettings)
    shape: SmallClipShape = field(default_factory=SmallClipShape)
    phases: tuple[Phase, ...] = (
        Phase(5600, 48),
        Phase(2500, 96, patch_weight=1.0, sizes=(96, 96, 112, 128)),
        Phase(1300, 144, patch_weight=1.0, sizes=(96, 96, 112, 128)),
    )
    batch_size: int = 128
    learning_rate: float = 1e-3
    temperature_rate: float = 10.0
    weight_decay: float = 0.05
    warm_up: int = 200
    noun_weight: float = 1.0
    visible_weight: float = 3.0
    pooling_scale: float = 30.0
    seed: int = 0
    save_every: int = 200
    is_mixed_precision: bool = True
    threads: int = 1

    @property
    def steps(self) -> int:
        """In all."""
        return sum(phase.steps for phase in self.phases)

    def phase_at(self, step: int) -> Phase:
        """The stretch a step belongs to."""
        for phase in self.phases:
            if step < phase.steps:
                return phase
            step -= phase.steps
        return self.phases[-1]

    def rate_at(self, step: int) -> float:
        """Learning rate of a step."""
        last = self.phases[-1].steps
        left = (self.steps - step) / last if last else 1.0
        return self.learning_rate * min(1.0, (step + 1) / self.warm_up) * min(1.0, max(left, 0.0))

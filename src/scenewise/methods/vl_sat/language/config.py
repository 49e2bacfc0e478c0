"""Settings of the text tower: pictures that are told about, network, schedule."""

import hashlib
import json
from dataclasses import asdict, dataclass, field

from scenewise.networks.relation_text import RelationTextShape


@dataclass(frozen=True)
class ToldPictures:
    """The pictures that sentences are about.

    Attributes:
        rooms: how many, from the first training seed on.
        views: pictures of each room.
        size: height and width in pixels at which is counted what can be seen.
    """

    rooms: int = 2000
    views: int = 3
    size: int = 64

    def fingerprint(self) -> str:
        """Changes with anything that changes a record."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class RelationTextConfig:
    """Training of the embedded weights.

    Attributes:
        pictures: what is told about.
        shape: of the network; the size of the word list is filled in.
        steps: in all.
        decay_steps: of these, the last ones, over which the learning rate falls to zero.
        warm_up: steps over which it rises.
        batch_size: facts per step, each told twice.
        foils: false sentences per fact, at most.
        descriptions: sentences of several facts per step, each told twice, with one false one.
        description_weight: of their loss beside that of facts.
        converse: how often a fact is told from the other thing's point of view, at the end.
        logit_scale: inverse temperature.  It is not learned: a large one lets near neighbours be told apart although the angle
            between them is next to nothing, and an angle is what the features are for.
        learning_rate: of everything.
        weight_decay: of matrices.
        seed: of everything random.
        save_every: steps between checkpoints.
        threads: of the processor; part of the recipe, because sums depend on how they are split.
    """

    pictures: ToldPictures = field(default_factory=ToldPictures)
    shape: RelationTextShape = field(default_factory=RelationTextShape)
    steps: int = 2400
    decay_steps: int = 800
    warm_up: int = 100
    batch_size: int = 64
    foils: int = 3
    descriptions: int = 8
    description_weight: float = 0.2
    converse: float = 0.4
    logit_scale: float = 15.0
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    seed: int = 0
    save_every: int = 300
    threads: int = 1

    def converse_at(self, step: int) -> float:
        """How often a fact is told from the other thing's point of view.

        It rises from a fifth to half of the way.  Told either way equally often from the beginning, order and predicate would be
        of no use without each other, and neither was learned: "a table left of a sofa" and "a sofa left of a table" kept a cosine
        of 1.
        """
        return self.converse * min(1.0, max(0.0, (step / self.steps - 0.2) / 0.3))

    def rate_at(self, step: int) -> float:
        """Learning rate of a step."""
        left = (self.steps - step) / self.decay_steps if self.decay_steps else 1.0
        return self.learning_rate * min(1.0, (step + 1) / self.warm_up) * min(1.0, left)

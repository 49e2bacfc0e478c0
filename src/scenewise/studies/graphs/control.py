"""A positive control: a small world in which an oracle must help, or the implementation is wrong.

Every thing has a class, which is labelled, and a *use*, which is not.  What holds between two things follows from the use of
the subject, but annotators err more often than not.  The use shows in the points (a knob on one side of a box), so a
network that sees points alone can tell it; but all it has to find out by that there are uses are the annotators' words,
errors and all.  The pictures say the use outright, of every thing.  Three further worlds keep all of this but one thing: in
"placebo" the pictures are those of other things, in "null" the points do not show the use, in "careful" annotators do not
err.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Literal, final

import numpy as np
from jaxtyping import Float32, Float64, Int64

from scenewise.methods.vl_sat.examples import GraphData, GraphExample
from scenewise.scenes.graph_scans import GraphScan

ControlKind = Literal["teaching", "placebo", "null", "careful"]
DIM = 64


@dataclass(frozen=True)
class ControlWorld:
    """Sizes of the world.

    Attributes:
        scans: that are learned from.
        test: that figures are of; nobody errs there.
        things: in a scan.
        uses: how many there are, and relations that follow from them.
        classes: how many.
        points: of a thing.
        errors: share of the relations that annotators put any relation in the place of.
        picture_noise: standard deviation of each channel of a unit feature, times √dim.
    """

    scans: int = 300
    test: int = 300
    things: int = 2
    uses: int = 8
    classes: int = 3
    points: int = 64
    errors: float = 0.6
    picture_noise: float = 0.5


@final
class RandomText:
    """Sentences as sums of fixed random vectors of their words and of the words' places: what an encoder would say of a world
    without a language.
    """

    name, dim, fingerprint, licence = "random words", DIM, "random words 1", None

    def embed(self, sentences: Sequence[str]) -> Float32[np.ndarray, "n dim"]:
        """Unit rows."""
        rows = np.stack(
            [sum((_vector(word, place) for place, word in enumerate(text.split())), np.zeros(DIM)) for text in sentences]
        )
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def control_data(world: ControlWorld, kind: ControlKind, seed: int) -> tuple[GraphData, GraphData]:
    """Scans to learn from and scans to measure on; the same rules hold in both.

    Args:
        world: sizes.
        kind: which of the four worlds.
        seed: of everything, the rules included.
    """
    rng = np.random.Generator(np.random.PCG64([seed, 11]))
    rules = rng.permutation(world.uses)
    directions = np.stack([_vector(f"use {use} of {seed}") for use in range(world.uses)])
    classes = tuple(f"thing{number}" for number in range(world.classes))
    predicates = tuple(f"relation{number}" for number in range(world.uses))
    text = np.stack([_vector(name) for name in classes])
    made = []
    for total, errors in ((world.scans, 0.0 if kind == "careful" else world.errors), (world.test, 0.0)):
        examples = [_example(replace(world, errors=errors), kind, rules, directions, text, rng) for _ in range(total)]
        if kind == "placebo":
            examples = exchanged(examples, rng)
        made.append(GraphData(examples, classes, predicates, text))
    return made[0], made[1]


def _example(
    world: ControlWorld,
    kind: ControlKind,
    rules: Int64[np.ndarray, "uses"],
    directions: Float32[np.ndarray, "uses dim"],
    text: Float32[np.ndarray, "classes dim"],
    rng: np.random.Generator,
) -> GraphExample:
    uses, classes = rng.integers(0, world.uses, world.things), rng.integers(0, world.classes, world.things)
    points, sides = [], _sides(world.uses)
    for use, own_class in zip(uses, classes):
        shown = int(rng.integers(world.uses)) if kind == "null" else int(use)
        points.append(_shape(rng, int(own_class), shown, world.points, sides) + rng.uniform(-2.0, 2.0, 3).astype(np.float32))
    triplets = [
        (a, b, int(rng.integers(world.uses)) if rng.random() < world.errors else int(rules[uses[a]]))
        for a, b in permutations(range(world.things), 2)
    ]
    noise = rng.normal(0.0, world.picture_noise / np.sqrt(DIM), (world.things, DIM))
    pictures = (directions[uses] + 0.5 * text[classes] + noise).astype(np.float32)
    pictures /= np.linalg.norm(pictures, axis=1, keepdims=True)
    told = np.array(triplets, dtype=np.int64).reshape(-1, 3)
    return GraphExample(GraphScan("scan", tuple(points), classes.astype(np.int64), told), pictures)


def _shape(
    rng: np.random.Generator, own_class: int, use: int, count: int, sides: Float64[np.ndarray, "uses 3"]
) -> Float32[np.ndarray, "k 3"]:
    """Points in a box whose proportions are the class's, and a knob on one side of it, which is the use's."""
    half = np.where(np.arange(3) == own_class % 3, 0.6, 0.25) * rng.uniform(0.85, 1.15, 3)
    body = rng.uniform(-1.0, 1.0, (count, 3)) * half
    few = count // 8
    body[:few] = 1.4 * sides[use] * half + rng.normal(0.0, 0.03, (few, 3))
    return rng.permutation(body).astype(np.float32)


def _sides(count: int) -> Float64[np.ndarray, "count 3"]:
    """Places on the surface of the cube [−1, 1]³, spread evenly by the golden angle."""
    height = 1.0 - (2.0 * np.arange(count) + 1.0) / count
    angle = np.pi * (3.0 - np.sqrt(5.0)) * np.arange(count)
    radius = np.sqrt(1.0 - height**2)
    found = np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)
    return np.asarray(found / np.abs(found).max(axis=1, keepdims=True))


def exchanged(examples: Sequence[GraphExample], rng: np.random.Generator) -> list[GraphExample]:
    """The pictures of all scans, dealt out anew."""
    pictures = np.concatenate([each.pictures for each in examples if each.pictures is not None])
    dealt = np.split(pictures[rng.permutation(len(pictures))], np.cumsum([len(each.scan) for each in examples])[:-1])
    return [GraphExample(each.scan, own) for each, own in zip(examples, dealt)]


def _vector(name: str, place: int = 0) -> Float32[np.ndarray, "dim"]:
    """A unit vector that depends on a name and a place in a sentence alone."""
    seed = int.from_bytes(hashlib.sha256(f"{place} {name}".encode()).digest()[:8], "little")
    vector = np.random.Generator(np.random.PCG64(seed)).normal(size=DIM)
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)

"""The truth with errors of known kinds and rates: an instrument to find out which error a method removes.

Each kind is what one mechanism is made for: votes in sets remove errors of pixels, patches and borders; votes over views those of
single views; comparing scenes those that only some scenes have; nothing removes what is wrong everywhere (the control).
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Bool, Float32, Int64

from scenewise.errors import ConventionError
from scenewise.io.json_fields import read_json_object
from scenewise.scenes.dense_fields import DenseField
from scenewise.scenes.frames import ImageU8
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.teachers.regions.grids import connected_regions

NOISY_TRUTH = "noisy-truth"
_VERSION = 1
_SHARES = ("pixels", "patches", "bleed", "objects", "scenes", "scene_classes", "anomalies")
_LEAST_REACH = 0.25  # of the farthest bleeding, where it is least

Labels = Int64[np.ndarray, "height width"]
Right = Bool[np.ndarray, "height width"]
Chances = Callable[[str], np.random.Generator]


@dataclass(frozen=True)
class NoiseRates:
    """How often each kind of error is made.  Shares are of the pixels with a known class.

    ``pixels``, ``bleed``, ``patches`` and ``anomalies`` each spoil that share of pixels that were still right, so that they add
    up; the share of ``objects`` is an expectation over views.

    Attributes:
        pixels: (a) single pixels get any other class.
        patches: (b) squares on a grid get one class, as a transformer's tokens do.
        bleed: (c) pixels near a border take the class from beyond it.
        objects: (d) what is connected in a view gets another class, in this view only.
        scenes: (e) share of the scenes in which classes are confused.
        scene_classes: (e) share of the classes that each stand for another one there, in all its views.
        global_pairs: (f) each first class is always called by the second one's name.
        anomalies: (g) squares all over a view get one and the same class.
        patch: side of the squares, pixels.
    """

    pixels: float = 0.0
    patches: float = 0.0
    bleed: float = 0.0
    objects: float = 0.0
    scenes: float = 0.0
    scene_classes: float = 0.0
    global_pairs: tuple[tuple[str, str], ...] = ()
    anomalies: float = 0.0
    patch: int = 16

    def __post_init__(self) -> None:
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ConventionError(f"NoiseRates.{name}", expected="a share from 0 to 1", got=getattr(self, name))
        if self.pixels + self.patches + self.bleed + self.anomalies > 1:
            raise ConventionError("NoiseRates", expected="pixels + patches + bleed + anomalies up to 1", got="more")
        if self.patch < 1:
            raise ConventionError("NoiseRates.patch", expected="at least 1 pixel", got=self.patch)


def read_noise_rates(path: str | Path) -> Mapping[str, NoiseRates]:
    """Named rates from a JSON file: {"rates": [{"name": …, a field of NoiseRates: …}]}, pairs as "chair > table".

    Raises:
        DataFormatError: not such a file.
    """
    top = read_json_object(path)
    top.text("what", "")
    found = {}
    for entry in top.objects("rates"):
        name = entry.text("name")
        shares: dict[str, float] = {share: entry.number(share, 0.0) for share in _SHARES}
        pairs = []
        for text in entry.texts("global_pairs", []):
            first, arrow, second = text.partition(" > ")
            if not arrow:
                raise entry.wrong("global_pairs", '"chair > table"', repr(text))
            pairs.append((first, second))
        patch = entry.integer("patch", 16, minimum=1)
        entry.finish()
        found[name] = NoiseRates(**shares, global_pairs=tuple(pairs), patch=patch)
    top.finish()
    return found


@final
class NoisyTruth:
    """A teacher that knows the answer and errs on purpose, the same way each time it is asked.

    What is wrong depends on the seed, the scene and the frame alone; kinds that are switched on or off leave the dice of the
    others alone.  Frames are asked for as ``scan/frame``.

    Args:
        truth: class of each pixel by that name, −1 = unknown; None where there is no such frame.
        vocabulary: the classes.
        rates: of the errors.
        seed: of the dice.
        label: what the rates are called, for reports.

    Raises:
        ConventionError: a global pair of classes that are not in the vocabulary, or fewer than two classes.
    """

    def __init__(
        self,
        truth: Callable[[str], Labels | None],
        vocabulary: Vocabulary,
        rates: NoiseRates,
        seed: int = 0,
        label: str = "",
    ) -> None:
        names = {name: index for index, name in enumerate(vocabulary.names)}
        unknown = sorted({name for pair in rates.global_pairs for name in pair} - set(names))
        if unknown or len(names) < 2:
            raise ConventionError(
                "global_pairs", expected=f"classes among {', '.join(names)}", got=", ".join(unknown) or "one class"
            )
        self.rates, self.seed = rates, seed
        self._truth, self._vocabulary, self._label = truth, vocabulary, label
        self._everywhere = np.arange(len(names))
        for first, second in rates.global_pairs:
            self._everywhere[names[first]] = names[second]

    @property
    def name(self) -> str:
        """What a report calls it."""
        return f"{NOISY_TRUTH}:{self._label}" if self._label else NOISY_TRUTH

    @property
    def fingerprint(self) -> str:
        """Rates, seed and classes."""
        about = [_VERSION, asdict(self.rates), self.seed, self._vocabulary.names]
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()

    @property
    def logit_scale(self) -> float:
        """Probabilities need none."""
        return 1.0

    @property
    def licence(self) -> str | None:
        """That of the data."""
        return None

    def dense(self, image: ImageU8, frame_name: str) -> DenseField | None:
        """Probability 1 for the class that is said of each pixel, none where the truth is unknown."""
        known = self._truth(frame_name)
        if known is None:
            return None
        height, width = image.shape[:2]
        rows = ((np.arange(height) + 0.5) * known.shape[0] / height).astype(np.int64)
        columns = ((np.arange(width) + 0.5) * known.shape[1] / width).astype(np.int64)
        said = self.spoiled(known[rows[:, None], columns[None, :]], frame_name)
        values = (said[..., None] == np.arange(len(self._vocabulary))).astype(np.float32)
        return DenseField(values, height, width, "probabilities")

    def embed_text(self, phrases: Sequence[str], templates: Sequence[str]) -> Float32[np.ndarray, "phrases dim"]:
        """It has no text.

        Raises:
            ConventionError: always.
        """
        raise ConventionError(f"text for {self.name}", expected="a teacher with text", got="one of classes alone")

    def default_templates(self) -> tuple[str, ...]:
        """The word alone."""
        return ("{}",)

    def vocabulary(self) -> Vocabulary | None:
        """The classes it knows."""
        return self._vocabulary

    def confusion_of_scene(self, scene: str) -> Int64[np.ndarray, "classes"]:
        """What each class is called in a scene, before anything else goes wrong: kinds (e) and (f)."""
        rng = self._chances(scene)("scene")
        classes = len(self._vocabulary)
        table = self._everywhere.copy()
        if rng.random() < self.rates.scenes:
            chosen = rng.permutation(classes)[: round(self.rates.scene_classes * classes)]
            table[chosen] = (chosen + rng.integers(1, classes, len(chosen))) % classes
        return table

    def spoiled(self, truth: Labels, frame_name: str) -> Labels:
        """What is said of the pixels of a frame whose classes are ``truth``."""
        scene, _, frame = frame_name.partition("/")
        chances = self._chances(scene, frame)
        known = truth >= 0
        said = np.where(known, self.confusion_of_scene(scene)[truth], -1)
        said = self._confuse_objects(said, chances("objects"))
        right = known & (said == truth)
        budget = int(known.sum())
        for kind, spoil in (
            ("bleed", self._bleed),
            ("patches", self._patches),
            ("anomalies", self._anomalies),
            ("pixels", self._pixels),
        ):
            wanted = getattr(self.rates, kind) * budget
            if wanted > 0 and right.any():
                said = spoil(said, truth, right, wanted, chances(kind))
                right = known & (said == truth)
        return said

    # ---------------------------------------------------------------------------------------------------------------- kinds

    def _confuse_objects(self, said: Labels, rng: np.random.Generator) -> Labels:
        if self.rates.objects == 0:
            return said
        regions = connected_regions(said)
        count = int(regions.max(initial=-1)) + 1
        classes = len(self._vocabulary)
        shift = np.where(rng.random(count) < self.rates.objects, rng.integers(1, classes, count), 0)
        return np.where(said >= 0, (said + shift[regions]) % classes, -1)

    def _bleed(self, said: Labels, truth: Labels, right: Right, wanted: float, rng: np.random.Generator) -> Labels:
        """The pixels nearest to another class take it; how far that reaches differs from place to place."""
        from scipy.ndimage import distance_transform_edt

        distance = np.full(said.shape, np.inf)
        beyond = said.copy()
        present = np.unique(said[said >= 0])
        for class_id in present.tolist():
            others = (said >= 0) & (said != class_id)
            mine = right & (said == class_id)
            if others.any() and mine.any():
                away, (row, column) = distance_transform_edt(~others, return_indices=True)
                distance[mine], beyond[mine] = away[mine], said[row, column][mine]
        reach = rng.uniform(_LEAST_REACH, 1.0, tuple(-(-side // self.rates.patch) for side in said.shape))
        order = np.where(beyond != truth, distance / self._of_squares(reach, said.shape), np.inf)
        flat = order.ravel()
        count = min(_rounded(wanted, rng), int(np.isfinite(flat).sum()))
        chosen = np.argsort(flat, kind="stable")[:count]
        spoiled = said.ravel().copy()
        spoiled[chosen] = beyond.ravel()[chosen]
        return spoiled.reshape(said.shape)

    def _patches(self, said: Labels, truth: Labels, right: Right, wanted: float, rng: np.random.Generator) -> Labels:
        grid = tuple(-(-side // self.rates.patch) for side in said.shape)
        return self._squares(said, truth, right, wanted, rng, rng.integers(0, len(self._vocabulary), grid))

    def _anomalies(self, said: Labels, truth: Labels, right: Right, wanted: float, rng: np.random.Generator) -> Labels:
        grid = tuple(-(-side // self.rates.patch) for side in said.shape)
        return self._squares(said, truth, right, wanted, rng, np.full(grid, rng.integers(0, len(self._vocabulary))))

    def _squares(
        self,
        said: Labels,
        truth: Labels,
        right: Right,
        wanted: float,
        rng: np.random.Generator,
        classes: Int64[np.ndarray, "rows columns"],
    ) -> Labels:
        """Squares in random order become of their class until enough pixels are newly wrong; the last one perhaps."""
        number = self._of_squares(np.arange(classes.size).reshape(classes.shape), said.shape)
        painted = self._of_squares(classes, said.shape)
        spoils = right & (painted != truth)
        cost = np.bincount(number[spoils], minlength=classes.size)
        order = rng.permutation(classes.size)
        total = np.cumsum(cost[order])
        last = int(np.searchsorted(total, wanted))
        chosen = order[:last]
        if last < classes.size:
            before = float(total[last - 1]) if last else 0.0
            if rng.random() < (wanted - before) / max(1.0, float(cost[order[last]])):
                chosen = order[: last + 1]
        return np.where(right & np.isin(number, chosen), painted, said)

    def _pixels(self, said: Labels, truth: Labels, right: Right, wanted: float, rng: np.random.Generator) -> Labels:
        places = np.flatnonzero(right)
        chosen = rng.permutation(places)[: _rounded(wanted, rng)]
        spoiled = said.ravel().copy()
        classes = len(self._vocabulary)
        spoiled[chosen] = (truth.ravel()[chosen] + rng.integers(1, classes, len(chosen))) % classes
        return spoiled.reshape(said.shape)

    # ------------------------------------------------------------------------------------------------------------------------

    def _of_squares(self, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        side = self.rates.patch
        return np.repeat(np.repeat(values, side, axis=0), side, axis=1)[: shape[0], : shape[1]]

    def _chances(self, *place: str) -> Chances:
        """Dice for each kind of error at a place."""

        def of_kind(kind: str) -> np.random.Generator:
            digest = hashlib.sha256("|".join([str(self.seed), *place, kind]).encode()).digest()
            return np.random.default_rng(int.from_bytes(digest[:16], "little"))

        return of_kind


def _rounded(value: float, rng: np.random.Generator) -> int:
    """A whole number whose expectation is the value."""
    return int(value) + int(rng.random() < value - int(value))

"""Which things of a library answer a sentence: by what they are, by their colour, and by what they stand on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from scenewise.io.scene_library.records import LibraryObjects, StoredScene
from scenewise.parts.retrieval.descriptions import Asked
from scenewise.teachers.consistent import ConsistentFeatures

_COLOR_WEIGHT = 0.5  # of the logarithm of the share of a thing that has the colour's name
_LEAST_SHARE = 0.03
_MISSING = -3.0  # deviations, and the worst colour: of a thing that is not there
_OVER = 0.3  # share of a thing's area, seen from above, that must lie over what it stands on
_ABOVE = 0.2  # metres, or units where the scale is not known, between the lowest points of both at least


@dataclass(frozen=True)
class Answers:
    """How well scenes answer.

    Attributes:
        scores: of every scene: mean fit of the things that a sentence mentions.
        things: rows of the library's objects that answer, by scene.
    """

    scores: Float64[np.ndarray, "scenes"]
    things: tuple[tuple[int, ...], ...]


def answered(asked: Sequence[Asked], held: LibraryObjects, model: ConsistentFeatures, color_names: Sequence[str]) -> Answers:
    """The best things of every scene for what a sentence asks.

    Args:
        asked: the things of the sentence.
        held: all things of the library.
        model: the encoder, whose text space the words are of.
        color_names: that the things' colours are called.

    Raises:
        ConventionError: words that the encoder's text space does not know, or no such space.
    """
    mentioned = [each for thing in asked for each in (thing, thing.on) if each is not None]
    fits = _Fits(held, model, color_names, mentioned)
    known = [(each, fits.of(each), None if each.on is None else fits.of(each.on)) for each in asked]
    scores, chosen = [], []
    for index, (begin, end) in enumerate(zip(held.starts[:-1], held.starts[1:])):
        own = slice(int(begin), int(end))
        found: list[float] = []
        rows: list[int] = []
        for each, fit, below in known:
            if below is None:
                score, best = _best(fit[own], each.count, fits.missing(each))
                found.append(score)
            else:
                assert each.on is not None
                stands = _stands_on(held, own, held.scenes[index])
                score, best = _best_pair(fit[own], below[own], stands, fits.missing(each) + fits.missing(each.on))
                found += [score / 2, score / 2]
            rows += [int(begin) + row for row in best]
        scores.append(float(np.mean(found)))
        chosen.append(tuple(rows))
    return Answers(np.array(scores, dtype=np.float64), tuple(chosen))


class _Fits:
    """How well each thing of a library is what is asked for: in deviations from the mean of all, and by its colour."""

    def __init__(
        self, held: LibraryObjects, model: ConsistentFeatures, color_names: Sequence[str], mentioned: Sequence[Asked]
    ) -> None:
        self._held, self._names = held, tuple(color_names)
        nouns = sorted({each.noun for each in mentioned})
        self._words = dict(zip(nouns, model.embed_text(nouns, model.default_templates())))
        self._translated = model.translated(held.features) if len(held.features) else np.zeros((0, 1), np.float32)

    def of(self, asked: Asked) -> Float64[np.ndarray, "things"]:
        """Of every thing of the library."""
        if not len(self._translated):
            return np.zeros(0)
        cosines = (self._translated @ self._words[asked.noun]).astype(np.float64)
        fit: Float64[np.ndarray, " things"] = (cosines - cosines.mean()) / max(float(cosines.std()), 1e-6)
        if self._tells(asked):
            assert asked.color is not None and self._held.color_shares is not None
            shares = self._held.color_shares[:, self._names.index(asked.color)].astype(np.float64)
            fit = fit + _COLOR_WEIGHT * np.log(shares.clip(0.0) + _LEAST_SHARE)
        return fit

    def missing(self, asked: Asked) -> float:
        """Fit of what is not there."""
        return _MISSING + (_COLOR_WEIGHT * float(np.log(_LEAST_SHARE)) if self._tells(asked) else 0.0)

    def _tells(self, asked: Asked) -> bool:
        return asked.color in self._names and self._held.color_shares is not None


def _best(fits: Float64[np.ndarray, "things"], count: int, missing: float) -> tuple[float, list[int]]:
    """Mean fit of the best things, as many as are asked for, and which."""
    order = np.argsort(-fits, kind="stable")[:count].tolist()
    return (float(fits[order].sum()) + (count - len(order)) * missing) / count, order


def _best_pair(
    upper: Float64[np.ndarray, "things"],
    lower: Float64[np.ndarray, "things"],
    stands: Bool[np.ndarray, "things things"],
    missing: float,
) -> tuple[float, list[int]]:
    """Summed fit of the best thing and of what it stands on, and both; ``missing`` where no two things stand so."""
    if not stands.any():
        return missing, []
    sums = np.where(stands, upper[:, None] + lower[None], -np.inf)
    thing, host = np.unravel_index(int(np.argmax(sums)), sums.shape)
    return max(float(sums[thing, host]), missing), [int(thing), int(host)]


def _stands_on(held: LibraryObjects, own: slice, scene: StoredScene) -> Bool[np.ndarray, "things things"]:
    """Whether the box of each thing of a scene stands on, or in, that of each other."""
    up = np.array(scene.facts.provenance.get("up_in_source") or (0.0, 0.0, 1.0), dtype=np.float64)
    axis = int(np.argmax(np.abs(up)))
    flat = [each for each in range(3) if each != axis]
    centers, sizes = held.centers_in_world[own].astype(np.float64), held.sizes[own].astype(np.float64)
    low, high = centers - sizes / 2, centers + sizes / 2
    across = np.minimum(high[:, None, flat], high[None, :, flat]) - np.maximum(low[:, None, flat], low[None, :, flat])
    area = np.maximum(sizes[:, flat], 0.02).prod(axis=1)
    over = np.maximum(across, 0.0).prod(axis=2) / area[:, None] > _OVER
    sign = 1.0 if up[axis] >= 0 else -1.0
    heights = sign * centers[:, axis]
    bottom, top = heights - sizes[:, axis] / 2, heights + sizes[:, axis] / 2
    above = (bottom[:, None] > bottom[None] + _ABOVE) & (top[:, None] > top[None] - _ABOVE / 4)
    stands: Bool[np.ndarray, "things things"] = over & above & ~np.eye(len(centers), dtype=bool)
    return stands

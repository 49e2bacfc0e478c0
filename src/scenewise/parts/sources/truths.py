"""What is known to be true of scans, in the class ids of a vocabulary.  Evaluation alone reads it."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from scenewise.errors import ConventionError
from scenewise.parts.sources.raw_scans import FrameTruth, FrameTruths, ScanSource, Truth
from scenewise.scenes.class_colors import class_colors
from scenewise.scenes.synonyms import SYNONYMS
from scenewise.scenes.vocabularies import Vocabulary

Renumbering = Int64[np.ndarray, "classes_and_one"]


def truth_of_scan(source: ScanSource, vocabulary: Vocabulary) -> Truth | None:
    """The class of each point in the ids of a vocabulary, −1 = not scored or not asked for; None where nobody knows.

    Evaluation alone calls this.
    """
    ids = source.truth()
    return None if ids is None else _class_in_vocabulary(source.class_names, vocabulary)[ids]


def frame_truths(sources: Sequence[ScanSource], vocabulary: Vocabulary) -> FrameTruths:
    """The class of each pixel by ``scan/frame``, in the ids of a vocabulary: what
    :class:`~scenewise.teachers.noisy_truth.NoisyTruth` errs from.  One scan at a time is kept open."""
    by_name = {source.name: source for source in sources}
    opened: dict[str, tuple[FrameTruths, Renumbering]] = {}

    def of_frame(name: str) -> FrameTruth | None:
        scan, _, frame = name.partition("/")
        if scan not in by_name:
            return None
        if scan not in opened:
            opened.clear()
            opened[scan] = by_name[scan].frame_truths(), _class_in_vocabulary(by_name[scan].class_names, vocabulary)
        of_scan, table = opened[scan]
        ids = of_scan(frame)
        return None if ids is None else table[ids]

    return of_frame


def vocabulary_of_sources(sources: Sequence[ScanSource], templates: Sequence[str]) -> Vocabulary:
    """The classes of a data set's truth, with the synonyms of those that procedural rooms have.

    Raises:
        ConventionError: the data has no list of classes, or several.
    """
    lists = {source.class_names for source in sources}
    if len(lists) != 1 or not next(iter(lists)):
        raise ConventionError("classes", expected="data with one list of classes", got=f"{len(lists)} lists", fix="name them")
    names = next(iter(lists))
    return Vocabulary(names, tuple(SYNONYMS.get(name, (name,)) for name in names), tuple(templates), class_colors(len(names)))


def _class_in_vocabulary(names: Sequence[str], vocabulary: Vocabulary) -> Renumbering:
    """Class id in the vocabulary per own id; the last entry, which −1 finds, is −1."""
    table = np.full(len(names) + 1, -1, dtype=np.int64)
    known = {_folded(word): index for index, words in enumerate(vocabulary.phrases) for word in words}
    known |= {_folded(name): index for index, name in enumerate(vocabulary.names)}
    for own, name in enumerate(names):
        table[own] = known.get(_folded(name), -1)
    return table


def _folded(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())

"""What a teacher says about many views, added up on points and on splats as the views come."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int32

from scenewise.parts.lifting import FeatureSums, ViewPixels, VoteSums, gaussian_features, sample_field
from scenewise.parts.segments.votes import MajorityVote
from scenewise.parts.words.classification import class_probabilities, classify_probabilities, classify_scores
from scenewise.parts.words.pixel_classes import ClassQuestion, without_improbable_classes
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.dense_fields import DenseField, FieldKind
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.label_fields import LabelField
from scenewise.scenes.partitions import Partition

_PIXELS_PER_CELL = 4  # of the picture that splats look at: finer than the teacher's grid, coarser than the photograph
_MOST_DOWNSCALE = 4
_ROWS = 1 << 14

Means = tuple[Float32[np.ndarray, "n dim"], Float32[np.ndarray, "n"]]


@dataclass(frozen=True)
class ClassReading:
    """How a teacher's answers are read as classes.

    Attributes:
        question: the classes that were asked for.
        logit_scale: of the teacher.
        denoising_threshold: classes that are nowhere in a view so probable are left out of its votes, see
            :func:`~scenewise.parts.words.pixel_classes.without_improbable_classes`; None leaves none out.
    """

    question: ClassQuestion
    logit_scale: float
    denoising_threshold: float | None = None

    def scores(self, field: DenseField) -> Float32[np.ndarray, "rows columns scores"]:
        """Of each cell of a view."""
        table = self.question.scores(field)
        if self.denoising_threshold is None:
            return table
        return without_improbable_classes(table, self.question, self.logit_scale, self.denoising_threshold)

    def probabilities(self, scores: Float32[np.ndarray, "rows columns scores"]) -> Float32[np.ndarray, "rows columns classes"]:
        """Of the classes of each cell."""
        if self.question.text is None:
            return scores
        return class_probabilities(scores, self.question.vocabulary, self.logit_scale)

    def classified(self, rows: Float32[np.ndarray, "n scores"]) -> tuple[Int32[np.ndarray, "n"], Float32[np.ndarray, "n"]]:
        """The best class of each row and its probability."""
        if self.question.text is None:
            return classify_probabilities(rows)
        return classify_scores(rows, self.question.vocabulary, self.logit_scale)

    def classes_of(self, means: Means, kind: FieldKind) -> LabelField:
        """The class of each mean feature; −1 where nothing was seen."""
        values, weight = means
        class_ids, confidence = np.empty(len(values), dtype=np.int32), np.empty(len(values), dtype=np.float32)
        for begin in range(0, len(values), _ROWS):
            some = slice(begin, begin + _ROWS)
            rows = self.question.scores(DenseField(values[some, None], len(values[some]), 1, kind))[:, 0]
            class_ids[some], confidence[some] = self.classified(np.where(weight[some, None] > 0, rows, np.nan))
        return LabelField(class_ids, confidence)


@dataclass(frozen=True)
class ReadView:
    """A view with what the teacher says about it.

    Attributes:
        field: the answer.
        scores: of the classes in each cell.
        camera: of the view.
        pixels: the points it shows; None where there are none to name.
    """

    field: DenseField
    scores: Float32[np.ndarray, "rows columns scores"]
    camera: Cameras
    pixels: ViewPixels | None


@runtime_checkable
class LiftedElements(Protocol):
    """Sums over views for one set of elements; memory grows with elements and channels, not with views."""

    def add(self, view: ReadView) -> None:
        """One view's answer."""
        ...

    def means(self) -> Means:
        """Mean answer of each element, and how much was seen of it."""
        ...

    def winners(self) -> LabelField:
        """The class that the views give each element."""
        ...

    def set_winners(self, vote: MajorityVote, partition: Partition) -> LabelField:
        """The class that the views give each set of elements."""
        ...


@final
class LiftedPoints:
    """Points: features and votes of the pixels that show them.

    Args:
        count: of points.
        reading: how answers become classes.
        votes: whether views vote; otherwise only features are kept.
    """

    def __init__(self, count: int, reading: ClassReading, votes: bool) -> None:
        self._reading = reading
        self._sums = FeatureSums(count)
        self._votes = VoteSums(count, len(reading.question.vocabulary)) if votes else None
        self._means: np.ndarray | None = None

    def add(self, view: ReadView) -> None:
        pixels, field = view.pixels, view.field
        if pixels is None:
            return
        self._sums.add(pixels.element, field, pixels.row, pixels.column)
        if self._votes is None:
            return
        scores = DenseField(view.scores, field.height, field.width, field.kind)
        for begin in range(0, len(pixels), _ROWS):
            some = slice(begin, begin + _ROWS)
            rows = sample_field(scores, pixels.row[some], pixels.column[some])
            class_ids, confidence = self._reading.classified(rows)
            self._votes.add(pixels.element[some], class_ids, confidence)

    def means(self) -> Means:
        """Mean over the views of each point, and how many there were."""
        if self._means is None:
            self._means = self._sums.mean()
        return self._means, self._sums.counts.astype(np.float32)

    def winners(self) -> LabelField:
        """The class with the most confidence among the views of each point."""
        assert self._votes is not None
        return self._votes.histogram().winner("confidence")[0]

    def set_winners(self, vote: MajorityVote, partition: Partition) -> LabelField:
        """All votes of all views and points of a set count together."""
        assert self._votes is not None
        return vote.of_histogram(self._votes.histogram(), partition)


@final
class LiftedSplats:
    """Splats: features and class probabilities, weighted by each splat's share of every pixel.

    Args:
        gaussians: the splats.
        reading: how answers become classes.
    """

    def __init__(self, gaussians: Gaussians, reading: ClassReading) -> None:
        self._gaussians, self._reading = gaussians, reading
        self._columns = 0
        self._sums: np.ndarray | None = None
        self._weight = np.zeros(len(gaussians), dtype=np.float32)

    def add(self, view: ReadView) -> None:
        """Features and class probabilities in one pass over the Gaussians."""
        field, camera = view.field, view.camera
        self._columns = field.values.shape[2]
        probabilities = self._reading.probabilities(view.scores)
        both = DenseField(np.concatenate([field.values, probabilities], axis=2), field.height, field.width)
        rows, columns = field.values.shape[:2]
        per_cell = min(camera.width / columns, camera.height / rows)
        downscale = int(np.clip(per_cell / _PIXELS_PER_CELL, 1, _MOST_DOWNSCALE))
        seen = gaussian_features(self._gaussians, [camera], lambda _: both, downscale=downscale)
        if self._sums is None:
            self._sums = np.zeros_like(seen.values)
        self._sums += seen.values * seen.weight[:, None]
        self._weight += seen.weight

    def means(self) -> Means:
        """Weighted mean of each splat, and Σα·T."""
        assert self._sums is not None
        return self._sums[:, : self._columns] / self._divisor, self._weight

    def winners(self) -> LabelField:
        """The class with the largest mean probability of each splat."""
        assert self._sums is not None
        return LabelField(*classify_probabilities(self._sums[:, self._columns :] / self._divisor))

    def set_winners(self, vote: MajorityVote, partition: Partition) -> LabelField:
        """The classes of a set's splats vote."""
        return vote(self.winners(), partition)

    @property
    def _divisor(self) -> Float32[np.ndarray, "n 1"]:
        return np.where(self._weight > 0, self._weight, np.float32(1.0))[:, None]


@final
class LiftedViews:
    """Hands the answer to each view on to every set of elements.

    Args:
        sets: the elements.
        reading: how answers become classes.

    Attributes:
        kind: of the teacher's answers.
        any_answer: whether any view had one.
    """

    def __init__(self, sets: Sequence[LiftedElements], reading: ClassReading) -> None:
        self.sets, self.reading = tuple(sets), reading
        self.any_answer = False
        self.kind: FieldKind = "features"

    def add(self, field: DenseField, camera: Cameras, pixels: ViewPixels | None) -> None:
        """One view's answer."""
        self.any_answer, self.kind = True, field.kind
        view = ReadView(field, self.reading.scores(field), camera, pixels)
        for lifted in self.sets:
            lifted.add(view)

    def mean_classes(self, lifted: LiftedElements) -> LabelField:
        """The class of the mean answer of each element; −1 where nothing was seen."""
        return self.reading.classes_of(lifted.means(), self.kind)

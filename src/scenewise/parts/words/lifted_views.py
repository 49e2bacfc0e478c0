"""What a teacher says about many views, added up on points and on splats as the views come."""

from typing import final

import numpy as np
from jaxtyping import Float32, Int32

from scenewise.parts.lifting import FeatureSums, ViewPixels, VoteHistogram, VoteSums, gaussian_features, sample_field
from scenewise.parts.words.classification import class_probabilities, classify_probabilities, classify_scores
from scenewise.parts.words.pixel_classes import ClassQuestion, without_improbable_classes
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.dense_fields import DenseField, FieldKind
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.label_fields import LabelField

_PIXELS_PER_CELL = 4  # of the picture that splats look at: finer than the teacher's grid, coarser than the photograph
_MOST_DOWNSCALE = 4
_ROWS = 1 << 14


@final
class LiftedViews:
    """Sums over views; memory grows with elements and channels, not with views.

    Args:
        points: number of points, 0 for none.
        splats: number of splats, 0 for none.
        question: the classes that were asked for.
        logit_scale: of the teacher.
        votes: whether points also collect the class that each view gives them.
        denoising_threshold: classes that are nowhere in a view so probable are left out of its votes, see
            :func:`~scenewise.parts.words.pixel_classes.without_improbable_classes`; None leaves none out.

    Attributes:
        kind: of the teacher's answers.
        any_answer: whether any view had one.
    """

    def __init__(
        self,
        points: int,
        splats: int,
        question: ClassQuestion,
        logit_scale: float,
        votes: bool,
        denoising_threshold: float | None = None,
    ) -> None:
        self.question, self.logit_scale, self.denoising_threshold = question, logit_scale, denoising_threshold
        self.any_answer = False
        self.kind: FieldKind = "features"
        self._points = FeatureSums(points)
        self._votes = VoteSums(points, len(question.vocabulary)) if votes and points else None
        self._splats, self._columns = splats, 0
        self._splat_sums: np.ndarray | None = None
        self._splat_weight = np.zeros(splats, dtype=np.float32)
        self._point_means: np.ndarray | None = None

    def add(self, field: DenseField, camera: Cameras, pixels: ViewPixels | None, gaussians: Gaussians) -> None:
        """One view's answer."""
        self.any_answer, self.kind = True, field.kind
        table = self.question.scores(field)
        if self.denoising_threshold is not None:
            table = without_improbable_classes(table, self.question, self.logit_scale, self.denoising_threshold)
        if pixels is not None:
            self._points.add(pixels.element, field, pixels.row, pixels.column)
            if self._votes is not None:
                self._add_votes(self._votes, DenseField(table, field.height, field.width, field.kind), pixels)
        if self._splats:
            self._add_splats(field, self._probabilities(table), camera, gaussians)

    def _add_votes(self, votes: VoteSums, scores: DenseField, pixels: ViewPixels) -> None:
        for begin in range(0, len(pixels), _ROWS):
            some = slice(begin, begin + _ROWS)
            rows = sample_field(scores, pixels.row[some], pixels.column[some])
            class_id, confidence = self._classified(rows)
            votes.add(pixels.element[some], class_id, confidence)

    def _add_splats(self, field: DenseField, probabilities: np.ndarray, camera: Cameras, gaussians: Gaussians) -> None:
        """Features and class probabilities in one pass over the Gaussians."""
        self._columns = field.values.shape[2]
        both = DenseField(np.concatenate([field.values, probabilities], axis=2), field.height, field.width)
        rows, columns = field.values.shape[:2]
        per_cell = min(camera.width / columns, camera.height / rows)
        downscale = int(np.clip(per_cell / _PIXELS_PER_CELL, 1, _MOST_DOWNSCALE))
        seen = gaussian_features(gaussians, [camera], lambda _: both, downscale=downscale)
        if self._splat_sums is None:
            self._splat_sums = np.zeros_like(seen.values)
        self._splat_sums += seen.values * seen.weight[:, None]
        self._splat_weight += seen.weight

    def _probabilities(self, scores: np.ndarray) -> Float32[np.ndarray, "rows columns classes"]:
        if self.question.text is None:
            return scores
        return class_probabilities(scores, self.question.vocabulary, self.logit_scale)

    def _classified(self, rows: Float32[np.ndarray, "n scores"]) -> tuple[Int32[np.ndarray, "n"], Float32[np.ndarray, "n"]]:
        if self.question.text is None:
            return classify_probabilities(rows)
        return classify_scores(rows, self.question.vocabulary, self.logit_scale)

    def point_means(self) -> tuple[Float32[np.ndarray, "n dim"], Float32[np.ndarray, "n"]]:
        """Mean over the views of each point, and how many there were."""
        if self._point_means is None:
            self._point_means = self._points.mean()
        return self._point_means, self._points.counts.astype(np.float32)

    def splat_means(self) -> tuple[Float32[np.ndarray, "n dim"], Float32[np.ndarray, "n"]]:
        """Weighted mean of each splat, and Σα·T."""
        assert self._splat_sums is not None
        weight = np.where(self._splat_weight > 0, self._splat_weight, 1.0)[:, None]
        return self._splat_sums[:, : self._columns] / weight, self._splat_weight

    def splat_votes(self) -> LabelField:
        """The class with the largest mean probability of each splat."""
        assert self._splat_sums is not None
        weight = np.where(self._splat_weight > 0, self._splat_weight, 1.0)[:, None]
        return LabelField(*classify_probabilities(self._splat_sums[:, self._columns :] / weight))

    def histogram(self) -> VoteHistogram:
        """Votes of the views per point."""
        assert self._votes is not None
        return self._votes.histogram()

    def classes_of(self, means: tuple[Float32[np.ndarray, "n dim"], Float32[np.ndarray, "n"]]) -> LabelField:
        """The class of each mean feature; −1 where nothing was seen."""
        values, weight = means
        class_ids, confidence = np.empty(len(values), dtype=np.int32), np.empty(len(values), dtype=np.float32)
        for begin in range(0, len(values), _ROWS):
            some = slice(begin, begin + _ROWS)
            rows = self.question.scores(DenseField(values[some, None], len(values[some]), 1, self.kind))[:, 0]
            class_ids[some], confidence[some] = self._classified(np.where(weight[some, None] > 0, rows, np.nan))
        return LabelField(class_ids, confidence)

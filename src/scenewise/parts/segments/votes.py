"""Majority vote within sets: of pixels in a region of an image, of points or splats in a geometric segment.

    l̂ = Mode{ l_ij : I_ij ∈ Ĝ_k } replaces every l of the set.  Source: HICL (CVPR 2024), the intra-set vote; the mask vote of
    CNS (Chen et al., NeurIPS 2023) is the same on regions of the image.

The formula leaves open what happens to members without a label, on a tie, and with weak majorities; the attributes of
:class:`~scenewise.parts.segments.vote_settings.VoteSettings` say what is done.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from scenewise.errors import ShapeError
from scenewise.parts.lifting import VoteHistogram, pair_histogram
from scenewise.parts.lifting.votes import largest_of_groups
from scenewise.parts.segments.vote_settings import VoteSettings
from scenewise.scenes.correspondences import Correspondence
from scenewise.scenes.label_fields import LabelField
from scenewise.scenes.partitions import Partition


@dataclass(frozen=True)
class MajorityVote(VoteSettings):
    """Gives every member of a set the label that most of its members have.

    A vote is idempotent, never changes a set whose members agree, and does not depend on how sets are numbered.  Elements that
    belong to no set keep what they have.
    """

    @classmethod
    def of(cls, settings: VoteSettings) -> "MajorityVote":
        """The vote with these settings."""
        return cls(settings.scope, settings.weighting, settings.fill, settings.min_agreement)

    def __call__(self, labels: LabelField, partition: Partition) -> LabelField:
        """Labels after the vote, of pixels [height, width] or points [n] alike.

        Args:
            labels: of the elements.
            partition: sets of the same elements.

        Returns:
            The winner of each set with the confidence Σ over the winners' confidences / number of voters: 1 where all agree and
            are sure.  A second vote gives the same.

        Raises:
            ShapeError: labels and partition of different elements.
        """
        if labels.class_ids.shape != partition.ids.shape:
            raise ShapeError("labels", expected=f"{partition.ids.shape} as the partition", got=f"{labels.class_ids.shape}")
        return self._in_groups(labels, partition.ids.astype(np.int64), partition.count)

    def over_views(
        self, correspondence: Correspondence, labels: LabelField, partition: Partition, num_classes: int
    ) -> LabelField:
        """Labels of elements from labels of their pixels in several views, with the vote in between.

        Args:
            correspondence: which pixel shows which element.
            labels: of each row of that table (:func:`~scenewise.parts.lifting.pair_labels`).
            partition: sets of the elements.
            num_classes: classes in all.

        Returns:
            A label per element.  With scope "view", each view's pixels of a set take their own mode and an element takes the mode
            over its views; then, with ``fill``, elements that no view labelled take the set's mode.

        Raises:
            ShapeError: as many labels as rows of the table, and as many ids as elements, are needed.
        """
        if len(labels.class_ids) != len(correspondence):
            raise ShapeError("labels", expected=f"{len(correspondence)} rows, as the table", got=len(labels.class_ids))
        if partition.ids.shape != (correspondence.num_elements,):
            raise ShapeError("partition.ids", expected=f"({correspondence.num_elements},)", got=f"{partition.ids.shape}")
        if self.scope == "scene":
            return self.of_histogram(pair_histogram(correspondence, labels, num_classes), partition)
        sets = partition.ids[correspondence.element].astype(np.int64)
        groups = np.where(sets >= 0, correspondence.view * np.int64(partition.count) + sets, -1)
        occurs = np.zeros(correspondence.num_views * partition.count + 1, dtype=bool)
        occurs[groups] = True  # −1 marks the last place, which no group has
        numbers = np.cumsum(occurs[:-1]) - 1
        groups[groups >= 0] = numbers[groups[groups >= 0]]
        voted = self._in_groups(labels, groups, int(occurs[:-1].sum()))
        by_element, _ = pair_histogram(correspondence, voted, num_classes).winner(
            "confidence" if self._by_confidence else "votes"
        )
        if not self.fill:
            return by_element
        # Elements that have a label keep it: views of a set may disagree, and what each saw is what it says.
        filled = MajorityVote(weighting=self.weighting)(by_element, partition)
        unknown = by_element.class_ids < 0
        return LabelField(
            np.where(unknown, filled.class_ids, by_element.class_ids), np.where(unknown, filled.confidence, by_element.confidence)
        )

    def of_histogram(self, histogram: VoteHistogram, partition: Partition) -> LabelField:
        """Labels of elements when all votes of a set are pooled, whichever view or member they come from.

        A histogram of probabilities makes this the soft vote.

        Args:
            histogram: votes per element.
            partition: sets of the elements.

        Returns:
            Each set's winner and its share of the set's votes; elements of no set take their own.

        Raises:
            ShapeError: as many ids as elements are needed.
        """
        n = len(histogram)
        if partition.ids.shape != (n,):
            raise ShapeError("partition.ids", expected=f"({n},)", got=f"{partition.ids.shape}")
        # An element of no set is a set of its own, which any agreement satisfies.
        alone = partition.ids < 0
        groups = np.where(alone, partition.count + np.arange(n), partition.ids).astype(np.int64)
        key = groups[histogram.element] * histogram.num_classes + histogram.class_ids
        keys, place = np.unique(key, return_inverse=True)
        votes = np.bincount(place, weights=histogram.votes, minlength=len(keys)).astype(np.float64)  # integers where empty
        confidence = np.bincount(place, weights=histogram.confidence, minlength=len(keys)).astype(np.float64)
        weight, second = (confidence, votes) if self._by_confidence else (votes, confidence)
        group, class_ids = keys // histogram.num_classes, (keys % histogram.num_classes).astype(np.int32)
        winner, share, _ = largest_of_groups(group, class_ids, weight, second, partition.count + n)
        agreed = share >= self.min_agreement
        agreed[partition.count :] = True
        winner = np.where(agreed, winner, -1).astype(np.int32)
        share = np.where(winner >= 0, share, 0.0)
        silent = (histogram.n_views == 0) & (not self.fill)
        return LabelField(
            np.where(silent, -1, winner[groups]).astype(np.int32), np.where(silent, 0.0, share[groups]).astype(np.float32)
        )

    @property
    def _by_confidence(self) -> bool:
        return self.weighting == "confidence"

    def _in_groups(self, labels: LabelField, groups: Int64[np.ndarray, "*shape"], num_groups: int) -> LabelField:
        """The vote in groups given by number; −1 = no group."""
        votes_here = (groups >= 0) & (labels.class_ids >= 0)
        if not votes_here.any():
            return labels
        group = groups[votes_here]
        class_ids = labels.class_ids[votes_here]
        sure = labels.confidence[votes_here].astype(np.float64)
        num_classes = int(class_ids.max()) + 1
        keys, place = np.unique(group * num_classes + class_ids, return_inverse=True)
        count = np.bincount(place).astype(np.float64)
        confidence = np.bincount(place, weights=sure)
        weight, second = (confidence, count) if self._by_confidence else (count, confidence)
        winner, share, entry = largest_of_groups(
            keys // num_classes, (keys % num_classes).astype(np.int32), weight, second, num_groups
        )
        voters = np.bincount(group, minlength=num_groups)
        won = np.where(entry >= 0, confidence[np.maximum(entry, 0)], 0.0)
        sureness = np.minimum(won / np.maximum(voters, 1), 1.0)
        # Where nothing has weight (all confidences 0) nothing was decided: members keep their labels.
        decided = entry >= 0
        agreed = decided & (share >= self.min_agreement)
        inside = groups >= 0
        mine = np.maximum(groups, 0)
        takes = inside & decided[mine] & (self.fill | (labels.class_ids >= 0))
        new_ids = np.where(agreed[mine], winner[mine], -1)
        new_sure = np.where(agreed[mine], sureness[mine], 0.0)
        return LabelField(
            np.where(takes, new_ids, labels.class_ids).astype(np.int32),
            np.where(takes, new_sure, labels.confidence).astype(np.float32),
        )

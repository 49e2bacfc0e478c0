"""Majority vote in sets of pixels, points and views."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scenewise.errors import ConventionError, ShapeError
from scenewise.parts.lifting import pair_histogram
from scenewise.parts.segments.votes import MajorityVote
from scenewise.scenes.correspondences import Correspondence
from scenewise.scenes.label_fields import LabelField
from scenewise.scenes.partitions import Partition

EVERY_VOTE = [
    MajorityVote(weighting=weighting, fill=fill, min_agreement=agreement)
    for weighting in ("count", "confidence")
    for fill in (True, False)
    for agreement in (0.0, 0.6)
]


def sets(ids: list[int] | np.ndarray) -> Partition:
    return Partition.from_any_ids(np.asarray(ids, dtype=np.int64), "file")


def labels(class_ids: list[int] | np.ndarray, confidence: list[float] | np.ndarray | None = None) -> LabelField:
    ids = np.asarray(class_ids, dtype=np.int32)
    sure = (ids >= 0).astype(np.float32) if confidence is None else np.asarray(confidence, dtype=np.float32)
    return LabelField(ids, sure)


def random_case(seed: int, n: int = 60) -> tuple[LabelField, Partition]:
    rng = np.random.default_rng(seed)
    ids = rng.integers(-1, 5, n)
    sure = np.where(ids >= 0, rng.random(n), 0).astype(np.float32)
    return labels(ids, sure), sets(rng.integers(-1, 9, n))


class TestByHand:
    def test_mode_fill_ties_and_agreement(self):
        """Set 0: 1 1 2 −1 → 1; set 1: 3 0, a tie decided by confidence → 3; set 2: unknown; the last belongs to none."""
        given_labels = labels([1, 1, 2, -1, 3, 0, -1, 4], [0.5, 0.3, 0.9, 0.0, 0.8, 0.6, 0.0, 0.7])
        partition = sets([0, 0, 0, 0, 1, 1, 2, -1])
        voted = MajorityVote()(given_labels, partition)
        assert voted.class_ids.tolist() == [1, 1, 1, 1, 3, 3, -1, 4]
        np.testing.assert_allclose(voted.confidence, [0.8 / 3] * 4 + [0.4, 0.4, 0.0, 0.7], rtol=1e-6)
        assert MajorityVote(fill=False)(given_labels, partition).class_ids.tolist() == [1, 1, 1, -1, 3, 3, -1, 4]
        assert MajorityVote(min_agreement=0.6)(given_labels, partition).class_ids.tolist() == [1, 1, 1, 1, -1, -1, -1, 4]
        by_confidence = MajorityVote(weighting="confidence")(given_labels, partition)
        assert by_confidence.class_ids.tolist() == [2, 2, 2, 2, 3, 3, -1, 4]

    def test_a_full_tie_goes_to_the_lowest_class(self):
        assert MajorityVote()(labels([4, 2, 3]), sets([0, 0, 0])).class_ids.tolist() == [2, 2, 2]

    def test_regions_of_an_image(self):
        """The same on [height, width]."""
        said = np.array([[0, 0, 1], [0, 1, 1], [2, 1, 2]])
        regions = np.array([[0, 0, 0], [0, 1, 1], [2, 2, 2]])
        voted = MajorityVote(scope="view")(labels(said), sets(regions))
        assert voted.class_ids.tolist() == [[0, 0, 0], [0, 1, 1], [2, 2, 2]]

    def test_views_vote_apart_or_together(self):
        """One set of three points.  View 0 sees all: 1 1 2.  View 1 sees two: 2 2.  Together 2 has three of five votes.

        Apart, view 0 says 1 for all three and view 1 says 2 for points 1 and 2, a tie there: view 1 is surer.
        """
        links = Correspondence(
            np.array([0, 1, 2, 1, 2]), np.array([0, 0, 0, 1, 1], np.int32), np.zeros(5, np.int32), np.zeros(5, np.int32), 4, 2
        )
        said = labels([1, 1, 2, 2, 2], [0.5, 0.5, 0.5, 0.9, 0.9])
        partition = sets([0, 0, 0, 0])
        assert MajorityVote(scope="scene").over_views(links, said, partition, 3).class_ids.tolist() == [2, 2, 2, 2]
        assert MajorityVote(scope="view").over_views(links, said, partition, 3).class_ids.tolist() == [1, 2, 2, 2]
        literal = MajorityVote(scope="view", fill=False).over_views(links, said, partition, 3)
        assert literal.class_ids.tolist() == [1, 2, 2, -1]
        assert MajorityVote(fill=False).over_views(links, said, partition, 3).class_ids.tolist() == [2, 2, 2, -1]

    def test_elements_of_no_set_keep_their_own_winner(self):
        links = Correspondence(np.array([0, 1]), np.zeros(2, np.int32), np.zeros(2, np.int32), np.zeros(2, np.int32), 3, 1)
        partition = sets([-1, 0, -1])
        for scope in ("scene", "view"):
            voted = MajorityVote(scope=scope, min_agreement=0.9).over_views(links, labels([2, 1]), partition, 3)
            assert voted.class_ids.tolist() == [2, 1, -1]


def cases(test):
    """Random labels in random sets, under every vote."""
    drawn = given(seed=st.integers(0, 100_000), which=st.sampled_from(range(len(EVERY_VOTE))))
    return settings(deadline=None, max_examples=40, derandomize=True)(drawn(test))


class TestProperties:
    @cases
    def test_idempotent(self, seed: int, which: int):
        given_labels, partition = random_case(seed)
        once = EVERY_VOTE[which](given_labels, partition)
        twice = EVERY_VOTE[which](once, partition)
        np.testing.assert_array_equal(once.class_ids, twice.class_ids)
        np.testing.assert_allclose(once.confidence, twice.confidence, rtol=1e-6)

    @cases
    def test_a_pure_set_never_changes(self, seed: int, which: int):
        given_labels, partition = random_case(seed)
        of_set = np.random.default_rng(seed).integers(0, 5, partition.count)
        pure = labels(np.where(partition.ids >= 0, of_set[partition.ids], given_labels.class_ids))
        voted = EVERY_VOTE[which](pure, partition)
        np.testing.assert_array_equal(voted.class_ids, pure.class_ids)
        np.testing.assert_array_equal(voted.confidence, pure.confidence)

    @cases
    def test_numbers_of_sets_do_not_matter(self, seed: int, which: int):
        given_labels, partition = random_case(seed)
        turned = np.random.default_rng(seed).permutation(partition.count).astype(np.int32)
        renamed = Partition(np.where(partition.ids >= 0, turned[partition.ids], -1).astype(np.int32), partition.count, "file")
        a, b = EVERY_VOTE[which](given_labels, partition), EVERY_VOTE[which](given_labels, renamed)
        np.testing.assert_array_equal(a.class_ids, b.class_ids)
        np.testing.assert_array_equal(a.confidence, b.confidence)

    @cases
    def test_one_view_is_the_scene(self, seed: int, which: int):
        given_labels, partition = random_case(seed)
        n = len(given_labels.class_ids)
        links = Correspondence(np.arange(n), np.zeros(n, np.int32), np.zeros(n, np.int32), np.zeros(n, np.int32), n, 1)
        base = EVERY_VOTE[which]
        scene, view = (
            MajorityVote(scope, base.weighting, base.fill, base.min_agreement).over_views(links, given_labels, partition, 5)
            for scope in ("scene", "view")
        )
        alone = base(given_labels, partition)
        np.testing.assert_array_equal(scene.class_ids, view.class_ids)
        np.testing.assert_array_equal(scene.class_ids, alone.class_ids)

    @cases
    def test_against_loops(self, seed: int, which: int):
        given_labels, partition = random_case(seed)
        vote = EVERY_VOTE[which]
        expected = given_labels.class_ids.copy()
        for k in range(partition.count):
            members = np.flatnonzero(partition.ids == k)
            voters = members[given_labels.class_ids[members] >= 0]
            if not len(voters):
                continue
            count, sure = {}, {}
            for m in voters:
                c = int(given_labels.class_ids[m])
                count[c] = count.get(c, 0) + 1
                sure[c] = sure.get(c, 0.0) + float(given_labels.confidence[m])
            weight, second = (sure, count) if vote.weighting == "confidence" else (count, sure)
            best = max(count, key=lambda c: (weight[c], second[c], -c))
            agreed = weight[best] / sum(weight.values()) >= vote.min_agreement
            for m in members if vote.fill else voters:
                expected[m] = best if agreed else -1
        np.testing.assert_array_equal(vote(given_labels, partition).class_ids, expected)


def test_accuracy_grows_with_the_purity_of_the_sets():
    """Noisy labels voted in sets of which a growing share mixes two classes."""
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(200) % 4, 50)
    noisy = np.where(rng.random(10_000) < 0.4, rng.integers(0, 4, 10_000), truth)
    accuracy = []
    for mixed in (0.0, 0.25, 0.5, 1.0):
        ids = np.repeat(np.arange(200), 50)
        ids[np.isin(ids, np.flatnonzero(np.arange(200) < 200 * mixed))] //= 2
        accuracy.append((MajorityVote()(labels(noisy), sets(ids)).class_ids == truth).mean())
    assert accuracy[0] > 0.99 > (noisy == truth).mean() + 0.2
    assert accuracy == sorted(accuracy, reverse=True) and accuracy[-1] < 0.7


def test_a_vote_over_a_histogram_of_probabilities_is_soft():
    from scenewise.parts.lifting import VoteSums

    sums = VoteSums(3, 2)
    sums.add_probabilities(np.arange(3), np.array([[0.55, 0.45], [0.55, 0.45], [0.0, 1.0]], np.float32))
    voted = MajorityVote().of_histogram(sums.histogram(), sets([0, 0, 0]))
    assert voted.class_ids.tolist() == [1, 1, 1]  # hard votes would give class 0
    np.testing.assert_allclose(voted.confidence, 1.9 / 3, rtol=1e-6)


def test_sets_and_labels_without_anything():
    empty = labels(np.zeros(0, np.int32))
    assert MajorityVote()(empty, sets(np.zeros(0, np.int64))).class_ids.shape == (0,)
    nothing = labels([-1, -1])
    assert MajorityVote()(nothing, sets([0, -1])).class_ids.tolist() == [-1, -1]
    links = Correspondence(np.zeros(0, np.int64), *[np.zeros(0, np.int32)] * 3, 2, 1)
    for scope in ("scene", "view"):
        assert MajorityVote(scope).over_views(links, empty, sets([0, 0]), 3).class_ids.tolist() == [-1, -1]
    assert len(pair_histogram(links, empty, 3)) == 2


@pytest.mark.errors
def test_what_is_refused():
    with pytest.raises(ShapeError, match="as the partition"):
        MajorityVote()(labels([1, 2]), sets([0, 0, 0]))
    with pytest.raises(ConventionError, match="min_agreement"):
        MajorityVote(min_agreement=1.5)

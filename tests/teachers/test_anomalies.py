"""Anomalous tokens: found by every detector, replaced by their neighbours, put in and measured."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.naive_read_outs import naive_cosines, naive_fill, naive_flag, naive_lof, naive_lof_fast
from tests.support.tiny_tower import TinyTower

from scenewise.errors import ConventionError
from scenewise.teachers.read_outs import MaskClipSettings, ScClipSettings, dense_tokens, dense_tokens_from_pass
from scenewise.teachers.read_outs.aggregation import aggregation_weights, similarity_map
from scenewise.teachers.read_outs.anomalies import (
    anomaly_scores,
    find_anomalies,
    flag_highest,
    local_outlier_factor,
    local_outlier_factor_fast,
    neighbour_mean_fill,
    squared_distances,
)
from scenewise.teachers.read_outs.attention import attention_weights
from scenewise.teachers.read_outs.diagnostics import diagnose, diagnose_pass
from scenewise.teachers.read_outs.injection import (
    Anomalies,
    TowerWithAnomalies,
    inject_anomalies,
    random_direction,
    random_positions,
)
from scenewise.teachers.read_outs.sc_clip import anomalies_of
from scenewise.teachers.towers import TransparentTower, VisionTower

DETECTORS = ("lof", "lof_fast", "norm_topk")


def random_tokens(batch: int = 2, count: int = 30, width: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- detectors ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("neighbours", [1, 4, 29, 300])
def test_lof_is_the_local_outlier_factor(neighbours):
    tokens = random_tokens()
    scores = local_outlier_factor(tokens, neighbours)
    for image in range(2):
        torch.testing.assert_close(scores[image], naive_lof(tokens[image], neighbours), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("neighbours", [1, 4, 29, 300])
def test_the_fast_factor_is_what_the_released_code_computes(neighbours):
    tokens = random_tokens()
    scores = local_outlier_factor_fast(tokens, neighbours)
    for image in range(2):
        torch.testing.assert_close(scores[image], naive_lof_fast(tokens[image], neighbours), rtol=1e-7, atol=1e-7)


def test_both_factors_of_a_hand_computed_line():
    """Four points at 0, 1, 3 and 7 on a line, k = 2.

    kdist 3, 2, 3, 6; lrd = 1 / mean reach: 1/2.5, 1/3, 1/2.5, 1/5 (reach of 0: to 1 max(2, 1), to 3 max(3, 3); …).
    """
    tokens = torch.tensor([[[0.0], [1.0], [3.0], [7.0]]], dtype=torch.float64)
    lrd = [1 / 2.5, 1 / 3.0, 1 / 2.5, 1 / 5.0]
    expected = [(lrd[1] + lrd[2]) / 2 / lrd[0], (lrd[0] + lrd[2]) / 2 / lrd[1], (lrd[0] + lrd[1]) / 2 / lrd[2]]
    expected.append((lrd[1] + lrd[2]) / 2 / lrd[3])
    torch.testing.assert_close(local_outlier_factor(tokens, 2)[0], torch.tensor(expected, dtype=torch.float64))
    # fast: kdist² 9, 4, 9, 36
    fast = [9 * (1 / 4 + 1 / 9) / 2, 4 * (1 / 9 + 1 / 9) / 2, 9 * (1 / 9 + 1 / 4) / 2, 36 * (1 / 4 + 1 / 9) / 2]
    torch.testing.assert_close(local_outlier_factor_fast(tokens, 2)[0], torch.tensor(fast, dtype=torch.float64))


@pytest.mark.parametrize("detector", DETECTORS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
def test_long_tokens_are_flagged_by_every_detector(detector, dtype):
    """Three of 60 tokens eight times as long, of which 5 % = three are flagged; squares of float16 overflow at 256."""
    tokens = random_tokens(3, 60, 16, seed=5) * 30.0
    places = torch.tensor([[3, 17, 41], [0, 1, 59], [8, 9, 30]])
    direction = random_direction(16, torch.Generator().manual_seed(1))
    for image in range(3):
        tokens[image, places[image]] = 8 * tokens[image].norm(dim=-1).median() * direction + 0.1 * tokens[image, places[image]]
    flagged = find_anomalies(tokens.to(dtype), detector, 30, 0.05)
    assert [sorted(row.nonzero()[:, 0].tolist()) for row in flagged] == places.tolist()


@pytest.mark.parametrize("detector", DETECTORS)
def test_scores_do_not_depend_on_the_other_images_of_a_batch(detector):
    tokens = random_tokens(4, 50)
    together = anomaly_scores(tokens, detector, 30)
    for image in range(4):
        torch.testing.assert_close(anomaly_scores(tokens[image : image + 1], detector, 30)[0], together[image])


def test_five_percent_of_196_are_10():
    scores = torch.randperm(196, generator=torch.Generator().manual_seed(0)).double()[None]
    flagged = flag_highest(scores, 0.05)
    assert int(flagged.sum()) == 10 and set(scores[flagged].tolist()) == set(range(186, 196))


@given(count=st.integers(2, 60), contamination=st.floats(0.01, 0.9), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=30, derandomize=True)
def test_flags_follow_the_quantile(count, contamination, seed):
    scores = torch.rand(1, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    assert flag_highest(scores, contamination)[0].nonzero()[:, 0].tolist() == naive_flag(scores[0], contamination)


@pytest.mark.parametrize("detector", DETECTORS)
def test_tokens_that_are_all_alike_are_not_anomalous(detector):
    tokens = torch.full((1, 40, 8), 3.0, dtype=torch.float64)
    scores = anomaly_scores(tokens, detector, 30)
    assert scores.isfinite().all() and not flag_highest(scores, 0.05).any()


def test_squared_distances_are_exact_where_a_common_offset_dwarfs_them():
    """Float32 with an offset of a million: the textbook ‖a‖² + ‖b‖² − 2ab alone would be wrong by thousands."""
    tokens = (random_tokens(1, 12, 4) * 4).round()  # exact in float32 next to the offset
    shifted = (tokens + 2.0**20).float()
    expected = torch.cdist(tokens, tokens).square()
    torch.testing.assert_close(squared_distances(shifted).double(), expected, rtol=1e-4, atol=1e-3)
    assert (squared_distances(shifted) >= 0).all()
    assert torch.equal(squared_distances(shifted)[0].diagonal(), torch.zeros(12))


# --- repair ------------------------------------------------------------------------------------------------------------------


def test_fill_takes_the_healthy_neighbours():
    """3 rows, 4 columns, values 0 … 11; flagged 0 (corner), 5 and 6 (next to each other)."""
    tokens = torch.arange(12, dtype=torch.float64)[None, :, None].repeat(1, 1, 2)
    tokens[..., 1] = 100.0
    flagged = torch.zeros(1, 12, dtype=torch.bool)
    flagged[0, [0, 5, 6]] = True
    filled = neighbour_mean_fill(tokens, flagged, 3, 4)[0, :, 0].tolist()
    expected = list(range(12))
    expected[0] = (1 + 4) / 2  # 5 is flagged itself
    expected[5] = (1 + 2 + 4 + 8 + 9 + 10) / 6  # not 0, not 6
    expected[6] = (1 + 2 + 3 + 7 + 9 + 10 + 11) / 7
    assert filled == pytest.approx(expected)
    torch.testing.assert_close(neighbour_mean_fill(tokens, flagged, 3, 4)[..., 1], tokens[..., 1])


def test_a_token_without_healthy_neighbours_stays():
    tokens = random_tokens(1, 9, 3)
    flagged = torch.ones(1, 9, dtype=torch.bool)
    assert torch.equal(neighbour_mean_fill(tokens, flagged, 3, 3), tokens)


def test_an_infinite_anomaly_leaves_no_trace():
    tokens = random_tokens(1, 9, 3)
    tokens[0, 4] = torch.inf
    flagged = torch.zeros(1, 9, dtype=torch.bool)
    flagged[0, 4] = True
    filled = neighbour_mean_fill(tokens, flagged, 3, 3)
    torch.testing.assert_close(filled[0, 4], tokens[0, [0, 1, 2, 3, 5, 6, 7, 8]].mean(0))


@given(rows=st.integers(1, 6), columns=st.integers(1, 6), seed=st.integers(0, 1000), share=st.floats(0, 1))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_fill_equals_loops(rows, columns, seed, share):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn(2, rows * columns, 3, generator=generator, dtype=torch.float64)
    flagged = torch.rand(2, rows * columns, generator=generator) < share
    filled = neighbour_mean_fill(tokens, flagged, rows, columns)
    for image in range(2):
        expected = naive_fill(tokens[image], flagged[image].nonzero()[:, 0].tolist(), rows, columns)
        torch.testing.assert_close(filled[image], expected)


# --- aggregation -------------------------------------------------------------------------------------------------------------


def test_similarity_is_the_cosine():
    tokens = random_tokens(2, 9)
    similarity = similarity_map(tokens)
    for image in range(2):
        torch.testing.assert_close(similarity[image], naive_cosines(tokens[image]))
        centred = tokens[image] - tokens[image].mean(0)
        torch.testing.assert_close(similarity_map(tokens, centred=True)[image], naive_cosines(centred))


def test_aggregation_of_a_hand_computed_case():
    similarity = torch.tensor([[[1.0, 0.5, 0.39], [0.5, 1.0, 0.4], [0.39, 0.4, 1.0]]], dtype=torch.float64)
    expected = torch.tensor([[[1 / 1.5, 0.5 / 1.5, 0], [0.5 / 1.9, 1 / 1.9, 0.4 / 1.9], [0, 0.4 / 1.4, 1 / 1.4]]])
    torch.testing.assert_close(aggregation_weights(similarity, 0.4), expected.double(), rtol=2e-6, atol=2e-6)


@given(beta=st.floats(0, 0.99), seed=st.integers(0, 1000))
@settings(deadline=None, max_examples=30, derandomize=True)
def test_aggregation_keeps_constant_fields_and_row_sums(beta, seed):
    weights = aggregation_weights(similarity_map(random_tokens(2, 12, 4, seed)), beta)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 12, dtype=torch.float64), rtol=1e-5, atol=1e-5)
    field = torch.full((2, 12, 3), 7.0, dtype=torch.float64)
    torch.testing.assert_close(weights @ field, field, rtol=1e-5, atol=1e-5)


# --- injection ---------------------------------------------------------------------------------------------------------------


def images_of(batch: int = 2, rows: int = 6, columns: int = 9) -> torch.Tensor:
    return torch.randn(batch, 3, 4 * rows, 4 * columns, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("has_class_token", [True, False])
def test_an_injected_token_is_what_it_says(has_class_token):
    tower = TinyTower(has_class_token=has_class_token)
    healthy = tower.tokens(images_of())
    first = int(has_class_token)
    positions = torch.zeros(2, 54, dtype=torch.bool)
    positions[0, 13] = positions[1, 40] = True
    direction = random_direction(tower.width, torch.Generator().manual_seed(4))
    spoilt = inject_anomalies(healthy, positions, direction, Anomalies(scale=8.0))
    assert (spoilt.rows, spoilt.columns) == (6, 9)
    for layer, (before, after) in enumerate(zip(healthy.hidden, spoilt.hidden, strict=True)):
        changed = (before != after).any(-1)
        assert changed[:, first:].equal(positions & (layer >= 3)) and not changed[:, :first].any()
    median = healthy.hidden[4][1, first:].norm(dim=-1).median()
    torch.testing.assert_close(spoilt.hidden[4][1, first + 40], 8 * median * direction)


@pytest.mark.parametrize("detector", DETECTORS)
def test_injected_tokens_are_flagged_and_repaired(detector):
    tower = TinyTower()
    healthy = tower.tokens(images_of())
    positions = torch.zeros(2, 54, dtype=torch.bool)
    positions[0, [4, 30]] = positions[1, [22, 53]] = True
    spoilt = inject_anomalies(healthy, positions, random_direction(tower.width, torch.Generator().manual_seed(4)))
    settings = ScClipSettings(detector=detector, contamination=2.5 / 54)
    found = anomalies_of(spoilt, settings)
    assert (found & positions).equal(positions)
    diagnosis = diagnose_pass(tower, spoilt, settings)
    assert diagnosis.anomalous.equal(found)
    # What the repair makes of them no longer depends on what they were.
    other = inject_anomalies(healthy, positions, -random_direction(tower.width, torch.Generator().manual_seed(9)))
    assert anomalies_of(other, settings).equal(found)
    one_pass = ScClipSettings(detector=detector, contamination=2.5 / 54, two_pass=False)
    torch.testing.assert_close(dense_tokens_from_pass(tower, spoilt, one_pass), dense_tokens_from_pass(tower, other, one_pass))


@pytest.mark.parametrize("two_pass", [True, False])
def test_repair_brings_back_most_of_what_anomalies_destroy(two_pass):
    """Relative error of tokens with the image's mean removed, which a random tower's tokens share."""
    tower = TinyTower()
    coarse = torch.randn(4, 3, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    images = 3 * torch.nn.functional.interpolate(coarse, size=(24, 36), mode="bilinear")  # neighbours resemble each other
    passed = TowerWithAnomalies(tower, torch.Generator().manual_seed(2), Anomalies(fraction=0.04)).tokens(images)

    def harm(settings):
        healthy = dense_tokens(tower, images, settings)
        healthy = healthy - healthy.mean((1, 2), keepdim=True)
        spoilt = dense_tokens_from_pass(tower, passed, settings)
        return float((spoilt - spoilt.mean((1, 2), keepdim=True) - healthy).norm(dim=-1).mean() / healthy.norm(dim=-1).mean())

    without = harm(ScClipSettings(repair=False, two_pass=two_pass))
    assert without > 0.3
    assert harm(ScClipSettings(two_pass=two_pass)) < 0.4 * without


def test_positions_do_not_depend_on_the_size_of_the_batch():
    together = random_positions(4, 54, 0.05, torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    one_by_one = torch.cat([random_positions(1, 54, 0.05, generator) for _ in range(4)])
    assert torch.equal(together, one_by_one)
    assert together.sum(1).tolist() == [3, 3, 3, 3] and not torch.equal(together[0], together[1])
    assert int(random_positions(1, 4, 0.01, generator).sum()) == 1


def test_a_tower_with_anomalies_is_a_tower_with_a_healthy_image_embedding():
    tower = TinyTower()
    sick = TowerWithAnomalies(tower, torch.Generator().manual_seed(2))
    assert isinstance(sick, VisionTower) and isinstance(sick, TransparentTower)
    assert (sick.depth, sick.width, sick.dim, sick.patch_size, sick.native_size) == (6, 32, 16, 4, 24)
    assert (sick.mean, sick.std, sick.has_class_token) == (tower.mean, tower.std, True)
    images = images_of()
    assert torch.equal(sick.embed_images(images), tower.embed_images(images))
    healthy = dense_tokens(tower, images, MaskClipSettings())
    changed = (dense_tokens(sick, images, MaskClipSettings()) - healthy).norm(dim=-1) > 1e-9
    assert changed.flatten(1).sum(1).tolist() == [2, 2]  # 3 % of 54, each in its own place alone
    again = TowerWithAnomalies(tower, torch.Generator().manual_seed(2))
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            again.tokens(images).hidden,
            TowerWithAnomalies(tower, torch.Generator().manual_seed(2)).tokens(images).hidden,
            strict=True,
        )
    )


@pytest.mark.parametrize("wrong", [{"fraction": 0.0}, {"fraction": 1.0}, {"scale": 0.0}])
def test_nonsense_anomalies_are_refused(wrong):
    with pytest.raises(ConventionError, match="0 < fraction < 1 and scale > 0"):
        Anomalies(**wrong)


# --- diagnostics -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("has_class_token", [True, False])
def test_diagnosis_of_a_healthy_tower(has_class_token):
    tower = TinyTower(has_class_token=has_class_token)
    images = images_of()
    found = diagnose(tower, images)
    passed = tower.tokens(images)
    first = int(has_class_token)
    assert (found.rows, found.columns) == (6, 9)
    assert found.norms.shape == (6, 2, 54) and found.attention.shape == (6, 2, 54)
    assert found.attention_blocks == (0, 1, 2, 3, 4, 5)
    torch.testing.assert_close(found.norms[2], passed.hidden[2][:, first:].norm(dim=-1))
    block = tower.blocks[2]
    normed = block.norm1(passed.hidden[2])
    weights = attention_weights(block.query(normed), block.key(normed), block.num_heads)
    expected = sum(weights[1, head, i, first + 7] for head in range(4) for i in range(first, first + 54)) / (4 * 54)
    torch.testing.assert_close(found.attention[2, 1, 7], expected * (54 + first))
    torch.testing.assert_close(found.similarity_before, similarity_map(passed.hidden[4][:, first:]))
    assert int(found.anomalous[0].sum()) == 3
    untouched = ~(found.anomalous[0][:, None] | found.anomalous[0][None, :])
    assert torch.equal(found.similarity_before[0][untouched], found.similarity_after[0][untouched])
    assert not torch.equal(found.similarity_before, found.similarity_after)


def test_equal_tokens_receive_equal_shares():
    tower = TinyTower(has_class_token=False)
    passed = tower.tokens(images_of())
    same = type(passed)(tuple(tokens[:, :1].expand_as(tokens).clone() for tokens in passed.hidden), 6, 9)
    found = diagnose_pass(tower, same)
    torch.testing.assert_close(found.attention, torch.ones_like(found.attention))
    assert not found.anomalous.any()


def test_a_tower_that_hides_its_blocks_shows_the_last():
    class Closed:
        """Forwards everything but ``blocks``."""

        def __init__(self, tower):
            self._tower = tower

        def __getattr__(self, name):
            if name == "blocks":
                raise AttributeError(name)
            return getattr(self._tower, name)

    tower = TinyTower()
    closed = Closed(tower)
    assert isinstance(closed, VisionTower) and not isinstance(closed, TransparentTower)
    images = images_of()
    found, full = diagnose(closed, images), diagnose(tower, images)
    assert found.attention_blocks == (5,)
    torch.testing.assert_close(found.attention[0], full.attention[5])
    sick = TowerWithAnomalies(closed, torch.Generator().manual_seed(2))
    assert diagnose(sick, images).attention_blocks == (5,)

"""Prompt denoising, key smoothing and local refinement against hand-computed cases and loops."""

import math

import pytest
import torch
from tests.support.naive_read_outs import naive_softmax

from scenewise.errors import ConventionError
from scenewise.teachers.read_outs.refine import (
    REMOVED,
    key_smoothing,
    pixel_adaptive_refinement,
    prompt_denoising,
    smoothed_features,
)


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- prompt denoising --------------------------------------------------------------------------------------------------------


def test_a_class_that_is_nowhere_likely_is_removed():
    """Temperature 100.  Image 0: class 1 never wins.  Image 1: class 2 reaches exp(0)/(2 + exp(−∞)) = ½ at one patch."""
    scores = torch.tensor(
        [[[0.30, 0.25, 0.20], [0.10, 0.15, 0.25]], [[0.30, 0.10, 0.30], [0.30, 0.10, 0.10]]], dtype=torch.float64
    )
    out = prompt_denoising(scores, threshold=0.49)
    assert out[0].tolist() == [[0.30, REMOVED, 0.20], [0.10, REMOVED, 0.25]]
    assert out[1].tolist() == [[0.30, REMOVED, 0.30], [0.30, REMOVED, 0.10]]
    assert prompt_denoising(scores, threshold=0.51)[1, :, 2].tolist() == [REMOVED, REMOVED]
    assert torch.equal(prompt_denoising(scores, threshold=0.0), scores)
    assert scores.max() == 0.3  # the input is left alone


def test_columns_of_a_group_stay_together_and_one_group_may_always_stay():
    """At temperature 10 the columns reach 1/2.11 = 0.47, 0.741/2.11 = 0.35 and 1/1.59 = 0.63; first and last are a group."""
    scores = torch.tensor([[[0.30, 0.27, 0.20], [0.05, 0.10, 0.20]]], dtype=torch.float64)
    first, middle, last = (10 * scores).softmax(-1).amax(1)[0].tolist()
    assert (first, middle, last) == pytest.approx((0.474, 0.351, 0.629), abs=1e-3)
    groups = torch.tensor([1, 0, 1])
    out = prompt_denoising(scores, threshold=0.5, temperature=10.0, groups=groups)
    assert out[0, :, 1].tolist() == [REMOVED, REMOVED] and torch.equal(out[..., [0, 2]], scores[..., [0, 2]])
    alone = prompt_denoising(scores, threshold=0.5, temperature=10.0)
    assert alone[0, :, 0].tolist() == [REMOVED, REMOVED]
    kept = prompt_denoising(scores, threshold=0.9, temperature=10.0, groups=groups, always_kept=0)
    assert torch.equal(kept[..., 1], scores[..., 1]) and (kept[..., [0, 2]] == REMOVED).all()


def test_denoising_never_removes_a_class_that_wins_clearly():
    scores = random(3, 20, 6) * 0.1
    kept = prompt_denoising(scores) > REMOVED / 2
    sure = (100 * scores).softmax(-1).amax(1) >= 0.5
    assert torch.equal(kept.all(1), sure)


# --- key smoothing -----------------------------------------------------------------------------------------------------------


def naive_smoothing(p, k, threshold):
    out = p.clone()
    for i in range(len(p)):
        if p[i].max() >= threshold:
            continue
        weights = [max(float(k[i] @ k[j] / (k[i].norm() * k[j].norm())), 0.0) for j in range(len(p))]
        out[i] = sum(w * p[j] for j, w in enumerate(weights)) / sum(weights)
    return out


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0])
def test_smoothing_equals_loops(threshold):
    p, k = random(2, 9, 4).softmax(-1), random(2, 9, 5, seed=1)
    out = key_smoothing(p, k, threshold=threshold)
    for image in range(2):
        torch.testing.assert_close(out[image], naive_smoothing(p[image], k[image], threshold))
    torch.testing.assert_close(out.sum(-1), torch.ones(2, 9, dtype=torch.float64))


def test_smoothing_compares_keys_over_channels():
    """Asymmetric anchor.  Keys (3, 4), (−4, 3), (8, 6): cosines 1–2 0, 1–3 0.96, 2–3 −0.28 → 0."""
    keys = torch.tensor([[[3.0, 4.0], [-4.0, 3.0], [8.0, 6.0]]], dtype=torch.float64)
    p = torch.tensor([[[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]]], dtype=torch.float64)
    first = (0.9 + 0.96 * 0.2) / 1.96
    third = (0.96 * 0.9 + 0.2) / 1.96
    expected = torch.tensor([[[first, 1 - first], [0.5, 0.5], [third, 1 - third]]], dtype=torch.float64)
    torch.testing.assert_close(key_smoothing(p, keys), expected)

    # The released code divides each channel by its norm over the patches instead: √(9 + 16 + 64) and √(16 + 9 + 36).
    x, y = math.sqrt(89), math.sqrt(61)
    unit = [(3 / x, 4 / y), (-4 / x, 3 / y), (8 / x, 6 / y)]
    row = [sum(a * b for a, b in zip(unit[0], other, strict=True)) for other in unit]
    legacy = row[0] * 0.9 + row[1] * 0.5 + row[2] * 0.2
    assert float(key_smoothing(p, keys, legacy_axis=True)[0, 0, 0]) == pytest.approx(legacy)
    assert abs(legacy - first) > 0.05


def test_smoothing_does_not_depend_on_the_length_of_keys():
    p, k = random(1, 9, 4).softmax(-1), random(1, 9, 5, seed=1)
    lengths = random(1, 9, 1, seed=2).abs() + 0.1
    torch.testing.assert_close(key_smoothing(p, k * lengths), key_smoothing(p, k))
    assert not torch.allclose(key_smoothing(p, k * lengths, legacy_axis=True), key_smoothing(p, k, legacy_axis=True))


def test_features_are_smoothed_as_unit_vectors_with_the_weights_of_their_keys():
    """The keys of the anchor above on a grid of one row; the second feature is ten times as long and counts no more for it."""
    keys = torch.tensor([[[[3.0, 4.0], [-4.0, 3.0], [8.0, 6.0]]]], dtype=torch.float64)
    features = torch.tensor([[[[2.0, 0.0], [0.0, 10.0], [0.6, 0.8]]]], dtype=torch.float64)
    out = smoothed_features(features, keys)
    expected = [[(1 + 0.96 * 0.6) / 1.96, 0.96 * 0.8 / 1.96], [0.0, 1.0], [(0.96 + 0.6) / 1.96, 0.8 / 1.96]]
    torch.testing.assert_close(out, torch.tensor([[expected]], dtype=torch.float64))


# --- local refinement --------------------------------------------------------------------------------------------------------


def naive_pamr(image, field, steps, dilations):
    _, height, width = image.shape

    def at(values, row, column):
        return values[:, min(max(row, 0), height - 1), min(max(column, 0), width - 1)]

    shifts = [(d * r, d * c) for d in dilations for r in (-1, 0, 1) for c in (-1, 0, 1) if r or c]
    for _ in range(steps):
        out = torch.zeros_like(field)
        for r in range(height):
            for c in range(width):
                near = torch.stack([at(image, r + dr, c + dc) for dr, dc in shifts])
                spread = torch.cat([near, image[:, r, c].repeat(len(dilations), 1)]).std(0)
                scores = (-(near - image[:, r, c]).abs() / (0.1 * spread + 1e-8)).mean(1).tolist()
                for weight, (dr, dc) in zip(naive_softmax(scores), shifts, strict=True):
                    out[:, r, c] += weight * at(field, r + dr, c + dc)
        field = out
    return field


@pytest.mark.parametrize("dilations", [(1,), (1, 2)])
def test_local_refinement_equals_loops(dilations):
    images, field = random(2, 3, 5, 7), random(2, 4, 5, 7, seed=1)
    out = pixel_adaptive_refinement(images, field, steps=2, dilations=dilations)
    for image in range(2):
        torch.testing.assert_close(out[image], naive_pamr(images[image], field[image], 2, dilations))


def test_many_classes_are_refined_as_each_alone():
    images, field = random(1, 3, 6, 5), random(1, 37, 6, 5, seed=1)
    whole = pixel_adaptive_refinement(images, field, steps=2, dilations=(1,))
    for index in (0, 15, 16, 36):
        assert torch.equal(whole[:, [index]], pixel_adaptive_refinement(images, field[:, [index]], steps=2, dilations=(1,)))


def test_local_refinement_moves_labels_to_the_edge_of_the_image():
    """Dark left half, bright right half; the field is one column off and is put right."""
    image = torch.zeros(1, 3, 12, 16, dtype=torch.float64)
    image[..., 8:] = 1.0
    image += 0.01 * random(1, 3, 12, 16)
    field = torch.zeros(1, 2, 12, 16, dtype=torch.float64)
    field[:, 0, :, :9], field[:, 1, :, 9:] = 1.0, 1.0
    out = pixel_adaptive_refinement(image, field, steps=10, dilations=(1, 2))
    assert torch.equal(out.argmax(1)[0], (torch.arange(16) >= 8).long().expand(12, 16))
    torch.testing.assert_close(out.sum(1), torch.ones(1, 12, 16, dtype=torch.float64))


def test_refinement_keeps_constants_and_flat_images_finite():
    flat = torch.full((1, 3, 6, 6), 0.5, dtype=torch.float64)
    field = torch.full((1, 2, 6, 6), 0.25, dtype=torch.float64)
    torch.testing.assert_close(pixel_adaptive_refinement(flat, field, dilations=(1,)), field)
    assert torch.equal(pixel_adaptive_refinement(flat, field, steps=0), field)


@pytest.mark.parametrize("wrong", [{"steps": -1}, {"dilations": ()}, {"dilations": (0,)}])
def test_refinement_refuses_nonsense(wrong):
    with pytest.raises(ConventionError, match="steps ≥ 0 and dilations ≥ 1"):
        pixel_adaptive_refinement(random(1, 3, 4, 4), random(1, 2, 4, 4), **wrong)

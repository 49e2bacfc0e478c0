"""What Gaussians contribute to views, and rankings made from it."""

import math

import pytest
import torch
from tests.support.fabricated_capture import arc_camera, true_gaussians

from scenewise.parts.splats.importance import (
    ViewContributions,
    importance,
    least_important_first,
    sample_by_importance,
    view_contributions,
)
from scenewise.rendering import render
from scenewise.scenes.gaussians import Gaussians

CAMERAS = [arc_camera(angle, 40, 30) for angle in (-0.5, 0.0, 0.4)]


def test_contributions_are_sums_over_views_of_what_the_kernel_reports() -> None:
    gaussians = true_gaussians()
    found = view_contributions(gaussians, CAMERAS)
    single = [render(gaussians, camera, contribution=True).contribution for camera in CAMERAS]
    assert found.views == 3 and all(each is not None for each in single)
    torch.testing.assert_close(found.weight_sum, sum(each.weight_sum for each in single if each))
    means = [each.weight_sum / each.pixel_count.clamp_min(1) for each in single if each]
    torch.testing.assert_close(found.mean_weight_sum, sum(means))  # not the ratio of the sums
    assert torch.equal(found.argmax_count, sum(each.argmax_count for each in single if each))  # type: ignore[arg-type]
    assert int(found.argmax_count.sum()) <= 3 * 40 * 30


def test_a_gaussian_behind_an_opaque_one_matters_to_no_pixel() -> None:
    front = torch.tensor([[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]])
    wide = Gaussians(
        front, torch.tensor([[0.0] * 3, [-3.0] * 3]), torch.tensor([[1.0, 0, 0, 0]] * 2), torch.full((2,), 12.0),
        torch.zeros(2, 1, 3), torch.zeros(2, 0, 3),
    )  # fmt: skip
    values = importance(view_contributions(wide, [arc_camera(0.0, 40, 30)]), "indoor")
    assert float(values[0]) > 100 and float(values[1]) == 0.0
    assert least_important_first(values).tolist() == [1, 0]


def test_kinds_of_importance_by_hand() -> None:
    found = ViewContributions(
        torch.tensor([10.0, 4.0, 7.0]), torch.tensor([0.5, 1.5, 0.9]), torch.tensor([5, 1, 0], dtype=torch.int64), 2
    )
    assert importance(found, "indoor").tolist() == [10.0, 4.0, 0.0]
    torch.testing.assert_close(importance(found, "outdoor"), torch.tensor([0.5, 1.5, 0.0]))


def test_samples_are_drawn_in_proportion_without_replacement() -> None:
    values = torch.tensor([1.0, 2.0, 0.0, 5.0, 2.0])
    counts = torch.zeros(5)
    generator = torch.Generator().manual_seed(0)
    for _ in range(4_000):
        (row,) = sample_by_importance(values, 1, generator).tolist()
        counts[row] += 1
    torch.testing.assert_close(counts / 4_000, values / values.sum(), atol=0.03, rtol=0.0)
    pairs = torch.zeros(5)
    for _ in range(4_000):
        chosen = sample_by_importance(values, 2, generator)
        assert len(set(chosen.tolist())) == 2 and chosen.tolist() == sorted(chosen.tolist())
        pairs[chosen] += 1
    # Without replacement: P(row 3 among two) = 0.5 + Σ_{i≠3} p_i · 0.5 / (1 − p_i).
    p = (values / values.sum()).tolist()
    expected = 0.5 + sum(p[i] * 0.5 / (1 - p[i]) for i in (0, 1, 4))
    assert float(pairs[3] / 4_000) == pytest.approx(expected, abs=0.03)


def test_everything_that_matters_is_kept_where_there_is_room_and_nothing_else() -> None:
    values = torch.tensor([0.0, 3.0, 0.0, math.pi])
    assert sample_by_importance(values, 10, torch.Generator().manual_seed(0)).tolist() == [1, 3]
    assert sample_by_importance(torch.zeros(4), 2, torch.Generator().manual_seed(0)).tolist() == []

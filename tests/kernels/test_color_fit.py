"""Normal equations of quadratic colour maps, and the maps: every implementation against a row per pixel."""

import pytest
import torch

from scenewise.kernels.color_fit import native, reference
from scenewise.kernels.native import library

IMPLEMENTATIONS = [
    pytest.param(reference, id="reference"),
    pytest.param(native, id="native", marks=pytest.mark.skipif(library.load() is None, reason="the library was not built")),
]
WITHIN = (0.1, 0.9)


def pixels(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Colours and targets in [0, 1], four fifths of them usable."""
    generator = torch.Generator().manual_seed(seed)
    colors, target = (torch.rand(3, count, dtype=torch.float64, generator=generator) for _ in range(2))
    return colors, target, torch.rand(3, count, generator=generator) < 0.8


def row_of_terms(r: float, g: float, b: float) -> list[float]:
    return [r * r, r * g, r * b, g * g, g * b, b * b, r, g, b, 1.0]


@pytest.mark.parametrize("kernel", IMPLEMENTATIONS)
@pytest.mark.parametrize("count", [0, 1, 7, 17, 1000])
def test_equations_are_those_of_the_rows_that_count(kernel, count):
    colors, target, usable = pixels(count)
    usable[:, : count // 2] = True  # whole groups that count in all channels, and one that counts in none
    colors[:, : count // 2] = 0.2 + 0.6 * colors[:, : count // 2]
    usable[:, count - 40 : count - 20] = False
    matrices, right_sides = kernel.normal_equations(colors, target, usable, WITHIN)
    for channel in range(3):
        kept = [i for i in range(count) if usable[channel, i] and WITHIN[0] < float(colors[channel, i]) < WITHIN[1]]
        rows = torch.tensor([row_of_terms(*colors[:, i].tolist()) for i in kept], dtype=torch.float64).reshape(-1, 10)
        torch.testing.assert_close(matrices[channel], rows.T @ rows, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(right_sides[channel], rows.T @ target[channel, kept], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", IMPLEMENTATIONS)
def test_map_of_one_colour_by_hand(kernel):
    colors = torch.tensor([[0.5], [0.2], [0.1]], dtype=torch.float64)
    weights = torch.zeros(3, 10, dtype=torch.float64)
    weights[0] = torch.tensor([1.0, 2, 3, 4, 5, 6, 0.1, 0.2, 0.3, -0.5], dtype=torch.float64)
    weights[1, 9] = 1.5
    weights[2, 7] = -1.0
    kernel.map_colors(colors, weights)
    # 0.25 + 0.2 + 0.15 + 0.16 + 0.1 + 0.06 + 0.05 + 0.04 + 0.03 − 0.5; the others leave [0, 1].
    assert colors[:, 0].tolist() == pytest.approx([0.54, 1.0, 0.0], abs=1e-15)


@pytest.mark.parametrize("kernel", IMPLEMENTATIONS)
def test_map_goes_over_all_pixels(kernel):
    colors, _, _ = pixels(20_001)
    weights = torch.randn(3, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) / 4
    expected = (weights @ torch.stack([torch.tensor(row_of_terms(*c), dtype=torch.float64) for c in colors.T.tolist()]).T).clamp(
        0, 1
    )
    kernel.map_colors(colors, weights)
    torch.testing.assert_close(colors, expected, rtol=0, atol=1e-14)


@pytest.mark.skipif(library.load() is None, reason="the library was not built")
def test_bits_do_not_depend_on_threads():
    before, results = library.get_threads(), []
    try:
        for threads in (1, 2, 3):
            library.set_threads(threads)
            results.append(native.normal_equations(*pixels(70_000), WITHIN))
    finally:
        library.set_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))

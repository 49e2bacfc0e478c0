"""Metrics against numbers one can compute by hand, and against loops."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from scenewise.errors import ShapeError
from scenewise.metrics.color_correction import color_corrected
from scenewise.metrics.depth import depth_error
from scenewise.metrics.psnr import psnr
from scenewise.metrics.ssim import ssim


def picture(height: int = 24, width: int = 31, seed: int = 0) -> Tensor:
    """Smooth colours without saturation, different in every channel."""
    generator = torch.Generator().manual_seed(seed)
    v, u = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    smooth = torch.stack([0.2 + 0.5 * u, 0.3 + 0.3 * v * u, 0.6 - 0.4 * v], dim=-1)
    return (smooth + 0.05 * torch.rand(height, width, 3, generator=generator)).clamp(0.05, 0.95)


def test_psnr_of_a_known_error() -> None:
    truth = torch.full((4, 5, 3), 0.5)
    assert psnr(truth + 0.1, truth) == pytest.approx(20.0, abs=1e-5)
    one = truth.clone()
    one[0, 0, 0] += 0.3  # mean square 0.09 / 60
    assert psnr(one, truth) == pytest.approx(-10 * math.log10(0.09 / 60), abs=1e-5)
    assert psnr(truth, truth) == math.inf


def test_psnr_clamps_the_image_and_obeys_the_mask() -> None:
    truth = torch.ones(4, 5, 3)
    assert psnr(truth + 3, truth) == math.inf
    image, mask = truth.clone(), torch.ones(4, 5, dtype=torch.bool)
    image[1, 2] = 0
    mask[1, 2] = False
    assert psnr(image, truth, mask) == math.inf and psnr(image, truth) < 20
    assert math.isnan(psnr(image, truth, torch.zeros(4, 5, dtype=torch.bool)))


def ssim_by_loops(image: np.ndarray, truth: np.ndarray) -> float:
    """Window by window, zeros outside."""
    offsets = np.arange(11) - 5
    taps = np.exp(-(offsets**2) / (2 * 1.5**2))
    window = np.outer(taps, taps) / np.outer(taps, taps).sum()
    values = []
    for channel in range(3):
        x, y = (np.pad(a[..., channel].astype(np.float64), 5) for a in (image, truth))
        for row in range(image.shape[0]):
            for column in range(image.shape[1]):
                a, b = x[row : row + 11, column : column + 11], y[row : row + 11, column : column + 11]
                mx, my = (window * a).sum(), (window * b).sum()
                vx, vy = (window * a * a).sum() - mx * mx, (window * b * b).sum() - my * my
                cross = (window * a * b).sum() - mx * my
                c1, c2 = 0.01**2, 0.03**2
                values.append((2 * mx * my + c1) * (2 * cross + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return float(np.mean(values))


def test_ssim_equals_the_loop_and_is_one_for_equal_pictures() -> None:
    image, truth = picture(9, 13, 1), picture(9, 13, 2)
    assert ssim(image, truth) == pytest.approx(ssim_by_loops(image.numpy(), truth.numpy()), abs=1e-5)
    assert ssim(truth, truth) == pytest.approx(1.0, abs=1e-6)


def test_ssim_mask_leaves_pixels_out() -> None:
    image, truth = picture(30, 30, 1), picture(30, 30, 1)
    image[20:, 20:] = 0
    mask = torch.zeros(30, 30, dtype=torch.bool)
    mask[:10, :10] = True  # farther than the window from the damage
    assert ssim(image, truth, mask) == pytest.approx(1.0, abs=1e-5)
    assert ssim(image, truth) < 0.95


def test_color_correction_removes_an_affine_change() -> None:
    truth = picture()
    mix = torch.tensor([[0.8, 0.1, 0.0], [0.0, 0.7, 0.05], [0.1, 0.0, 0.75]])
    image = truth @ mix.T + torch.tensor([0.05, 0.02, 0.08])
    assert psnr(image, truth) < 26
    assert psnr(color_corrected(image, truth), truth) > 80


def test_color_correction_leaves_equal_pictures_alone() -> None:
    truth = picture()
    assert torch.allclose(color_corrected(truth, truth), truth, atol=1e-6)


def test_color_correction_is_fitted_to_unsaturated_pixels_only() -> None:
    truth = picture(40, 40)
    image = 0.8 * truth
    truth, image = truth.clone(), image.clone()
    truth[:10] = 1.0  # blown out: says nothing about the map, though the image is grey there
    image[:10] = 0.3
    corrected = color_corrected(image, truth)
    assert (corrected[10:] - truth[10:]).abs().max() < 1e-4


def test_color_correction_is_clipped_and_keeps_hopeless_pictures() -> None:
    white = torch.ones(12, 12, 3)
    dim = torch.full((12, 12, 3), 0.4)
    assert torch.equal(color_corrected(dim, white), dim)  # no unsaturated truth to fit to
    corrected = color_corrected(picture(), (picture(seed=3) * 2 - 0.6).clamp(0, 1))
    assert corrected.min() >= 0 and corrected.max() <= 1


def corrected_by_rows(image: Tensor, truth: Tensor, mask: Tensor | None = None) -> Tensor:
    """The textbook form: five rounds of least squares with a row for every pixel."""
    current, target = image.reshape(-1, 3).double().clamp(0, 1), truth.reshape(-1, 3).double()

    def between(values: Tensor) -> Tensor:
        return (values > 0.5 / 255) & (values < 1 - 0.5 / 255)

    usable = between(current) & between(target)
    if mask is not None:
        usable &= mask.reshape(-1, 1)
    for _ in range(5):
        r, g, b = current.T
        rows = torch.stack([r * r, r * g, r * b, g * g, g * b, b * b, r, g, b, torch.ones_like(r)], dim=1)
        following = current.clone()
        for channel in range(3):
            kept = usable[:, channel] & between(current[:, channel])
            if int(kept.sum()) >= 100:
                # Singular values below 10⁻⁵·⁵ of the largest are eigenvalues of the normal matrix below 10⁻¹¹.
                inverse = torch.linalg.pinv(rows[kept], rtol=10**-5.5)
                following[:, channel] = rows @ (inverse @ target[kept, channel])
        current = following.clamp(0, 1)
    return current.reshape(image.shape).to(image.dtype)


def photograph_and_render(kind: str) -> tuple[Tensor, Tensor, Tensor | None]:
    """A truth, a picture of it that is off in exposure and noise, and perhaps a mask."""
    truth = picture(60, 80, seed=4)
    noise = 0.02 * torch.randn(60, 80, 3, generator=torch.Generator().manual_seed(5))
    mask = None
    match kind:
        case "saturated":
            truth = (2.4 * truth - 0.7).clamp(0, 1)
        case "masked":
            mask = torch.zeros(60, 80, dtype=torch.bool)
            mask[10:50, 20:45] = True
        case "one colour rendered":
            return truth, torch.full_like(truth, 0.4), None
        case "one colour photographed":
            truth = torch.full_like(truth, 0.4)
        case "grey":
            truth = truth.mean(dim=-1, keepdim=True).expand(-1, -1, 3).contiguous()
            noise = noise[..., :1]
        case "few pixels":
            mask = torch.zeros(60, 80, dtype=torch.bool)
            mask[:9, :11] = True
    return truth, (0.9 * truth**1.1 + 0.03 + noise).clamp(0, 1), mask


@pytest.mark.parametrize(
    "kind", ["plain", "saturated", "masked", "one colour rendered", "one colour photographed", "grey", "few pixels"]
)
def test_color_correction_equals_least_squares_over_all_pixels(kind: str) -> None:
    truth, image, mask = photograph_and_render(kind)
    got, expected = color_corrected(image, truth, mask), corrected_by_rows(image, truth, mask)
    if kind == "one colour photographed":
        assert (got - truth).abs().max() < 1e-6 and (expected - truth).abs().max() < 1e-6
    else:
        assert psnr(got, truth, mask) == pytest.approx(psnr(expected, truth, mask), abs=1e-4)
        assert ssim(got, truth, mask) == pytest.approx(ssim(expected, truth, mask), abs=1e-5)
    if kind == "few pixels":
        assert torch.equal(got, image)  # 99 of them say too little


def test_color_correction_looks_at_used_pixels_only() -> None:
    truth = picture(40, 40)
    image = 0.8 * truth + 0.05
    mask = torch.ones(40, 40, dtype=torch.bool)
    mask[:15] = False
    image[:15] = torch.rand(15, 40, 3, generator=torch.Generator().manual_seed(1))  # somebody who was not there
    assert psnr(color_corrected(image, truth, mask), truth, mask) > 80
    assert psnr(color_corrected(image, truth), truth, mask) < 40


def test_depth_error_by_hand() -> None:
    truth = torch.tensor([[2.0, 4.0, 0.0], [5.0, 10.0, float("nan")]])
    depth = torch.tensor([[2.2, 3.0, 9.0], [5.0, 0.0, 1.0]])
    found = depth_error(depth, truth)
    # Measured: 2, 4, 5, 10; rendered where depth > 0: the first three with errors 0.2, 1, 0 and ratios 1.1, 1.33, 1.
    assert found.num_pixels == 4 and found.coverage == 0.75
    assert found.abs_rel == pytest.approx((0.1 + 0.25 + 0) / 3, abs=1e-6)
    assert found.rmse == pytest.approx(math.sqrt((0.04 + 1) / 3), abs=1e-6)
    assert found.median_abs == pytest.approx(0.2, abs=1e-6)
    assert found.within_125 == pytest.approx(2 / 3)


def test_depth_error_without_truth_is_nan_not_zero() -> None:
    found = depth_error(torch.ones(2, 2), torch.zeros(2, 2))
    assert math.isnan(found.rmse) and math.isnan(found.coverage) and found.num_pixels == 0
    masked = depth_error(torch.ones(2, 2), torch.ones(2, 2), torch.tensor([[True, False], [False, False]]))
    assert masked.num_pixels == 1 and masked.rmse == 0


@pytest.mark.errors
@pytest.mark.parametrize("metric", [psnr, ssim, color_corrected])
def test_sizes_must_agree(metric) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ShapeError, match=r"truth: expected \(4, 5, 3\), got \(5, 4, 3\)"):
        metric(torch.zeros(4, 5, 3), torch.zeros(5, 4, 3))


@pytest.mark.errors
def test_depth_sizes_must_agree() -> None:
    with pytest.raises(ShapeError, match="truth"):
        depth_error(torch.zeros(4, 5), torch.zeros(5, 4))

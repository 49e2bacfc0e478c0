"""Sliding windows: which there are, and that averaging their features is averaging their scores."""

import pytest
import torch
import torch.nn.functional as F

from scenewise.errors import ConventionError
from scenewise.teachers.windows import WindowSettings, window_starts, windowed_features

PATCH = 4


def patch_features(windows):
    """Four numbers per patch that depend on the window as a whole too, as a transformer's do."""
    cells = F.avg_pool2d(windows, PATCH)
    spread = F.avg_pool2d(windows.square(), PATCH).sum(1, keepdim=True)
    whole = windows.mean(dim=(1, 2, 3), keepdim=True)
    return (torch.cat([cells + 0.3 * whole, spread], dim=1) * 7.0).permute(0, 2, 3, 1)


def random_image(height, width, seed=0):
    return torch.randn(3, height, width, generator=torch.Generator().manual_seed(seed))


def test_starts_of_the_published_settings():
    # 336×448 with 224/112: two rows of windows, three columns.
    assert window_starts(336, 224, 112) == [0, 112]
    assert window_starts(448, 224, 112) == [0, 112, 224]
    # 500 = 112·2 + 224 + 52: a fourth window, shifted back from 336 to end with the image.
    assert window_starts(500, 224, 112) == [0, 112, 224, 276]
    assert window_starts(100, 224, 112) == [0]


def test_one_window_is_a_plain_forward_pass():
    image = random_image(16, 24)
    settings = WindowSettings(crop=None, stride=8, cell=PATCH)
    found = windowed_features(image, patch_features, patch_size=PATCH, settings=settings)
    expected = F.normalize(patch_features(image[None])[0], dim=-1)
    torch.testing.assert_close(found.values, expected, rtol=0, atol=1e-6)
    assert (found.hits == 1).all()


def test_finer_cells_are_bilinear_upsampling_of_the_window():
    image = random_image(16, 24)
    found = windowed_features(image, patch_features, patch_size=PATCH, settings=WindowSettings(crop=None, stride=8, cell=1))
    features = F.normalize(patch_features(image[None]), dim=-1).permute(0, 3, 1, 2)
    expected = F.interpolate(features, size=(16, 24), mode="bilinear", align_corners=False)[0].permute(1, 2, 0)
    torch.testing.assert_close(found.values, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(20, 28), (22, 30), (16, 41)])
def test_averaged_features_give_averaged_scores(height, width):
    """Against the textbook: scores of every window upsampled to pixels, added up, divided by the count."""
    image = random_image(height, width)
    text = F.normalize(torch.randn(5, 4, generator=torch.Generator().manual_seed(1)), dim=-1)
    crop, stride = 16, 8
    found = windowed_features(image, patch_features, patch_size=PATCH, settings=WindowSettings(crop, stride, cell=1, batch=2))

    scores, counts = torch.zeros(5, height, width), torch.zeros(height, width)
    for top in window_starts(height, crop, stride):
        for left in window_starts(width, crop, stride):
            window = image[None, :, top : top + crop, left : left + crop]
            window_scores = F.normalize(patch_features(window), dim=-1) @ text.T
            upsampled = F.interpolate(window_scores.permute(0, 3, 1, 2), size=(crop, crop), mode="bilinear", align_corners=False)
            scores[:, top : top + crop, left : left + crop] += upsampled[0]
            counts[top : top + crop, left : left + crop] += 1
    torch.testing.assert_close(found.hits, counts.long())
    torch.testing.assert_close((found.values @ text.T).permute(2, 0, 1), scores / counts, rtol=0, atol=1e-5)


def test_hits_of_coarse_cells():
    # Windows at 0, 8 and 14 (shifted back) of 30 pixels; cell centres 3, 9, 15, 21, 27.
    found = windowed_features(
        random_image(16, 30), patch_features, patch_size=PATCH, settings=WindowSettings(crop=16, stride=8, cell=6)
    )
    assert found.values.shape == (3, 5, 4)
    assert found.hits.tolist() == [[1, 2, 3, 2, 1]] * 3


def test_an_image_smaller_than_the_window_is_filled_to_whole_patches_and_cut_back():
    image = random_image(10, 13)
    found = windowed_features(image, patch_features, patch_size=PATCH, settings=WindowSettings(crop=16, stride=8, cell=2))
    assert found.values.shape[:2] == (5, 6)  # round(13 / 2) = 6: cells of 13/6 pixels
    padded = F.normalize(patch_features(F.pad(image, (0, 3, 0, 2))[None]), dim=-1)  # 12 × 16
    at_pixels = F.interpolate(padded.permute(0, 3, 1, 2), size=(12 * 6, 16 * 6), mode="bilinear", align_corners=False)[0]
    # Centre of cell (2, 3) is at (5, 3.5·13/6 = 7.5833): sixths of pixels 29½, 45 apart from interpolation between samples.
    around = at_pixels[:, 29:31, 45]
    torch.testing.assert_close(found.values[2, 3], around.mean(1), rtol=0, atol=2e-3)


def test_batch_size_changes_nothing():
    image = random_image(40, 40)
    results = [
        windowed_features(image, patch_features, patch_size=PATCH, settings=WindowSettings(16, 8, 4, batch)).values
        for batch in (1, 7)
    ]
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-6)


@pytest.mark.errors
def test_errors():
    with pytest.raises(ConventionError, match="at most the crop, 16, got 24"):
        WindowSettings(crop=16, stride=24)
    with pytest.raises(ConventionError, match=r"multiple of the patch size 4, got 18\. Fix: use 16"):
        windowed_features(random_image(20, 20), patch_features, patch_size=PATCH, settings=WindowSettings(18, 9))

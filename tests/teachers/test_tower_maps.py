"""What blocks of a tower hold of pictures, on a grid of eight pixels."""

import pytest
import torch
import torch.nn.functional as F
from tests.support.tiny_tower import TinyTower

from scenewise.teachers.tower_maps import CELL, tower_maps


def pictures(height: int, width: int, count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(2))


def normalised(tower: TinyTower, shown: torch.Tensor) -> torch.Tensor:
    return (shown - shown.new_tensor(tower.mean)[:, None, None]) / shown.new_tensor(tower.std)[:, None, None]


@pytest.mark.parametrize("has_class_token", [True, False])
def test_at_its_own_size_they_are_the_towers_tokens(has_class_token: bool) -> None:
    tower = TinyTower(depth=4, patch_size=CELL, grid=3, width=12, has_class_token=has_class_token, dtype=torch.float32)
    shown = pictures(24, 24)
    found = tower_maps(tower, shown, (0, 2, 3))
    hidden = tower.tokens(normalised(tower, shown)).hidden
    assert [each.shape for each in found] == [(2, 12, 3, 3)] * 3
    for maps, level in zip(found, (0, 2, 3)):
        tokens = hidden[level]
        for row in range(3):
            for column in range(3):
                token = tokens[:, int(has_class_token) + 3 * row + column]  # the class token comes first
                torch.testing.assert_close(maps[:, :, row, column], token)


@pytest.mark.parametrize(("patch", "height", "width"), [(4, 40, 24), (14, 40, 24), (4, 43, 29), (8, 27, 8), (4, 5, 8)])
def test_pictures_of_other_sizes_are_shown_with_a_patch_for_each_cell(patch: int, height: int, width: int) -> None:
    tower = TinyTower(depth=2, patch_size=patch, width=8, dtype=torch.float32)
    shown = pictures(height, width)
    rows, columns = max(1, round(height / 8)), max(1, round(width / 8))
    (found,) = tower_maps(tower, shown, (1,))
    assert found.shape == (2, 8, rows, columns) and not found.requires_grad
    size = (rows * patch, columns * patch)
    resized = F.interpolate(shown, size, mode="bilinear", align_corners=False, antialias=True)
    expected = tower.tokens(normalised(tower, resized)).hidden[1][:, 1:]
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), expected)


def test_half_precision_answers_in_float32_and_nearly_the_same() -> None:
    tower = TinyTower(depth=3, patch_size=8, width=16, dtype=torch.float32)
    shown = pictures(16, 24)
    (full,), (half,) = (tower_maps(tower, shown, (2,), half=each) for each in (False, True))
    assert half.dtype == torch.float32 and not torch.equal(full, half)
    assert float(F.cosine_similarity(full, half, dim=1).min()) > 0.99

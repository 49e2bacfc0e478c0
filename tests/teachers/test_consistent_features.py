"""A pre-trained pair in use: pictures, points, and the fingerprint of what gave them."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.support.pair_run import write_pair_run

from scenewise.errors import ConventionError
from scenewise.teachers.choose import SMALL_CLIP, open_teacher
from scenewise.teachers.clip_teacher import ClipTeacher
from scenewise.teachers.consistent import ConsistentFeatures, open_pair
from scenewise.teachers.tower_maps import tower_maps

VOXEL = 0.25


@pytest.fixture(scope="module")
def clip() -> ClipTeacher:
    opened = open_teacher(SMALL_CLIP, device="cpu")
    assert isinstance(opened, ClipTeacher)
    return opened


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, clip: ClipTeacher) -> ConsistentFeatures:
    folder = write_pair_run(tmp_path_factory.mktemp("pair") / "run", voxel=VOXEL)
    return ConsistentFeatures(open_pair(f"condense:{folder}"), clip, "tiny")


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (height, width, 3), dtype=np.uint8)


def cloud(count: int = 300) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(5)
    return draw.uniform([-1.0, 3.0, 0.0], [1.5, 5.0, 1.0], (count, 3)), draw.integers(0, 256, (count, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "cells"), [(48, 64, (12, 16)), (45, 67, (12, 16)), (400, 640, (50, 80)), (30, 9, (8, 2))]
)
def test_cells_cover_the_whole_picture(pair: ConsistentFeatures, height: int, width: int, cells: tuple[int, int]) -> None:
    seen = pair.of_picture(picture(height, width))
    assert (
        (seen.height, seen.width) == (height, width) and seen.features.shape == (*cells, pair.dim) and seen.scores.shape == cells
    )
    np.testing.assert_allclose(np.linalg.norm(seen.features, axis=2), 1.0, atol=1e-5)
    assert 0 < seen.scores.min() <= seen.scores.max() < 1
    pixels = seen.pixels()
    assert pixels[0, 0] == pytest.approx([width / cells[1] / 2, height / cells[0] / 2]), "half a cell from the corner: (u, v)"
    assert pixels[-1, -1] == pytest.approx([width - width / cells[1] / 2, height - height / cells[0] / 2])
    np.testing.assert_allclose(np.diff(pixels[..., 0], axis=1), width / cells[1])
    np.testing.assert_allclose(np.diff(pixels[..., 1], axis=0), height / cells[0])


def test_a_picture_of_whole_cells_is_looked_at_as_it_is(pair: ConsistentFeatures, clip: ClipTeacher) -> None:
    image = picture(24, 40)
    shown = torch.from_numpy(image).permute(2, 0, 1).float()[None] / 255.0
    said = pair.pair.image(shown, tower_maps(clip.clip.tower, shown, pair.pair.shape.read_levels))
    found = pair.of_picture(image)
    np.testing.assert_allclose(found.features, said.features[0].permute(1, 2, 0).numpy(), atol=1e-6)
    np.testing.assert_allclose(found.scores, 1 / (1 + np.exp(-said.score_logits[0].numpy())), atol=1e-6)


def test_pixels_lead_to_what_is_seen_there(pair: ConsistentFeatures) -> None:
    """What changes in a corner changes the features of cells there most."""
    dark = np.full((64, 96, 3), 40, dtype=np.uint8)
    marked = dark.copy()
    marked[48:, :24] = picture(16, 24)
    before, after = pair.of_picture(dark), pair.of_picture(marked)
    change = np.linalg.norm(before.features - after.features, axis=2)
    u, v = before.pixels()[np.unravel_index(change.argmax(), change.shape)]
    assert u < 32 and v > 40


def test_voxels_are_the_means_of_their_points(pair: ConsistentFeatures) -> None:
    points, colors = cloud()
    said = pair.of_points(points, colors)
    cells = np.floor((points - points.min(axis=0)).astype(np.float32) / np.float32(VOXEL)).astype(int)
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, cell in enumerate(map(tuple, cells)):
        groups.setdefault(cell, []).append(row)
    assert len(said) == len(groups) < len(points)
    for rows in groups.values():
        (voxel,) = set(said.voxel_of_point[rows].tolist())
        np.testing.assert_allclose(said.centers[voxel], points[rows].mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(said.features, axis=1), 1.0, atol=1e-5)
    assert 0 < said.scores.min() <= said.scores.max() < 1


def test_points_in_another_order_get_the_same_features(pair: ConsistentFeatures) -> None:
    points, colors = cloud()
    order = np.random.default_rng(1).permutation(len(points))
    first, second = pair.of_points(points, colors), pair.of_points(points[order], colors[order])
    np.testing.assert_allclose(second.features[second.voxel_of_point], first.features[first.voxel_of_point[order]], atol=1e-5)
    np.testing.assert_allclose(second.centers[second.voxel_of_point], first.centers[first.voxel_of_point[order]], atol=1e-5)


def test_a_cloud_may_lie_anywhere_and_is_left_alone(pair: ConsistentFeatures) -> None:
    points, colors = (np.round(cloud()[0] * 1024) / 1024, cloud()[1])  # of which differences are exact
    colors.setflags(write=False)
    points.setflags(write=False)
    here, there = pair.of_points(points, colors), pair.of_points(points + np.array([4096.0, -512.0, 64.0]), colors)
    np.testing.assert_array_equal(here.features, there.features)
    here.features.setflags(write=False)
    pair.translated(here.features)
    np.testing.assert_allclose(there.centers, here.centers + np.array([4096.0, -512.0, 64.0]), atol=1e-3)


def test_translated_features_are_unit_vectors_of_the_text_space(pair: ConsistentFeatures) -> None:
    features = F.normalize(torch.randn(2, 3, pair.dim, generator=torch.Generator().manual_seed(1)), dim=2)
    layer = pair.pair.translator
    said = features @ layer.weight.T + layer.bias
    np.testing.assert_allclose(pair.translated(features.numpy()), (said / said.norm(dim=2, keepdim=True)).numpy(), atol=1e-5)


def test_a_whole_picture_is_the_mean_that_key_points_weigh(pair: ConsistentFeatures) -> None:
    image = picture(24, 32)
    seen, total = pair.of_picture(image), np.zeros(pair.dim)
    for row in range(6):
        for column in range(8):
            total += seen.scores[row, column] * seen.features[row, column]
    expected = pair.translated((total / np.linalg.norm(total)).astype(np.float32))
    np.testing.assert_allclose(pair.embed_image(image), expected, atol=1e-5)
    field = pair.dense(image, "any")
    assert field is not None and field.kind == "features" and (field.height, field.width) == (24, 32)
    np.testing.assert_allclose(field.values, pair.translated(seen.features), atol=1e-6)


def test_the_fingerprint_changes_with_the_weights(pair: ConsistentFeatures, clip: ClipTeacher, tmp_path: Path) -> None:
    def opened(name: str, **settings: object) -> ConsistentFeatures:
        folder = write_pair_run(tmp_path / name, **settings)  # type: ignore[arg-type]
        return ConsistentFeatures(open_pair(f"condense:{folder}"), clip, name)

    assert opened("same", voxel=VOXEL).fingerprint == pair.fingerprint
    assert len({pair.fingerprint, opened("seed", voxel=VOXEL, seed=1).fingerprint, opened("edge", voxel=0.3).fingerprint}) == 3


@pytest.mark.errors
def test_another_tower_than_it_was_trained_beside_is_refused(clip: ClipTeacher, tmp_path: Path) -> None:
    folder = write_pair_run(tmp_path / "run", tower_fingerprint="0" * 64)
    with pytest.raises(ConventionError, match="tower of mine: expected small-clip with the weights it was trained beside"):
        ConsistentFeatures(open_pair(f"condense:{folder}"), clip, "mine")


@pytest.mark.errors
def test_no_points_have_no_features(pair: ConsistentFeatures) -> None:
    points, colors = cloud(1)
    assert len(pair.of_points(points, colors)) == 1
    with pytest.raises(ConventionError, match="points: expected at least one, got none"):
        pair.of_points(points[:0], colors[:0])

"""Two branches of one space: sizes, unit features, and what they must not depend on."""

from dataclasses import replace

import pytest
import torch

from scenewise.errors import ConventionError
from scenewise.networks.consistent.image_branch import ImageBranch, ResidualCells
from scenewise.networks.consistent.pair import ConsistentPair
from scenewise.networks.consistent.point_branch import PointBranch
from scenewise.networks.consistent.shape import STRIDE, ConsistentShape
from scenewise.networks.sparse_inputs import VoxelisedPoints

SHAPE = ConsistentShape(dim=6, tower_width=10, tower_depth=5, image_width=16, backbone_width=0.125)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def pictures(count: int, height: int, width: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Colours, and maps of a tower on a grid of about eight pixels."""
    maps = [normal(count, 10, -(-height // 8), -(-width // 8), seed=level) for level in (1, 2)]
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(3)), maps


def seeded_image(shape: ConsistentShape) -> ImageBranch:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return ImageBranch(shape)


@pytest.mark.parametrize("reads_pixels", [True, False])
@pytest.mark.parametrize(("height", "width"), [(4, 4), (20, 36), (12, 8), (28, 4)])
def test_a_picture_has_unit_features_on_cells_of_four_pixels(reads_pixels: bool, height: int, width: int) -> None:
    seen = seeded_image(replace(SHAPE, reads_pixels=reads_pixels))(*pictures(2, height, width))
    assert seen.features.shape == (2, 6, height // STRIDE, width // STRIDE)
    assert seen.score_logits.shape == (2, height // STRIDE, width // STRIDE)
    torch.testing.assert_close(seen.features.norm(dim=1), torch.ones(2, height // 4, width // 4))


def test_only_the_branch_that_reads_pixels_sees_more_than_the_tower() -> None:
    shown, maps = pictures(1, 16, 16)
    for reads_pixels in (True, False):
        branch = seeded_image(replace(SHAPE, reads_pixels=reads_pixels))
        assert (branch.pixels is not None) == reads_pixels
        same = torch.equal(branch(shown, maps).features, branch(1.0 - shown, maps).features)
        assert same == (not reads_pixels)


@pytest.mark.parametrize("level", [0, 1])
def test_both_levels_of_the_tower_are_read(level: int) -> None:
    branch, (shown, maps) = seeded_image(SHAPE), pictures(1, 16, 16)
    other = list(maps)
    other[level] = normal(1, 10, 2, 2, seed=9)
    assert not torch.allclose(branch(shown, maps).features, branch(shown, other).features, atol=1e-3)
    assert SHAPE.read_levels == (2, 4)


def test_a_picture_is_seen_alike_alone_and_in_a_batch() -> None:
    branch, (shown, maps) = seeded_image(SHAPE), pictures(3, 20, 24)
    together = branch(shown, maps)
    for row in range(3):
        alone = branch(shown[row : row + 1], [level[row : row + 1] for level in maps])
        torch.testing.assert_close(alone.features[0], together.features[row], atol=1e-5, rtol=0)
        torch.testing.assert_close(alone.score_logits[0], together.score_logits[row], atol=1e-5, rtol=0)


def test_residual_blocks_begin_as_the_identity_and_learn() -> None:
    block, maps = ResidualCells(4), normal(1, 4, 3, 5)
    assert torch.equal(block(maps), maps)
    block(maps).square().sum().backward()
    assert block.second.weight.grad is not None and bool(block.second.weight.grad.any())
    blocks = [part for part in seeded_image(SHAPE).modules() if isinstance(part, ResidualCells)]
    assert len(blocks) == 4
    for part in blocks:
        wide = normal(1, SHAPE.image_width, 3, 3)
        assert torch.equal(part(wide), wide)


def test_few_cells_and_voxels_are_key_points_before_training() -> None:
    assert seeded_image(SHAPE).score.bias.tolist() == PointBranch(SHAPE).score.bias.tolist() == [-3.0]


def test_voxels_have_unit_features_in_their_order() -> None:
    positions = 6.0 * torch.rand(200, 3, generator=torch.Generator().manual_seed(1))
    batch = torch.arange(200) // 120
    cloud = VoxelisedPoints.from_points(normal(200, 3), positions, batch)
    branch = PointBranch(SHAPE).eval()
    said = branch(cloud)
    voxels = len(cloud.voxels.grid)
    assert said.features.shape == (voxels, 6) and said.score_logits.shape == (voxels,)
    torch.testing.assert_close(said.features.norm(dim=1), torch.ones(voxels))
    first = VoxelisedPoints.from_points(cloud.inputs[:120], positions[:120], batch[:120])
    torch.testing.assert_close(branch(first).features, said.features[: len(first.voxels.grid)], atol=1e-5, rtol=0)


def test_the_translator_is_linear_and_leads_to_the_prior() -> None:
    pair = ConsistentPair(replace(SHAPE, text_dim=9), 9)
    first, second = normal(5, 6), normal(5, 6, seed=1)
    said = pair.translated(0.25 * first + 0.75 * second)
    torch.testing.assert_close(said, 0.25 * pair.translated(first) + 0.75 * pair.translated(second))
    assert said.shape == (5, 9) and pair.translated(normal(2, 3, 6)).shape == (2, 3, 9)
    assert ConsistentPair(SHAPE, 7).translated(first).shape == (5, 7), "a tower without words has a prior of any size"


@pytest.mark.errors
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": 0}, "dim: expected 1 to 4096, got 0"),
        ({"tower_width": 20_000}, "tower_width: expected 1 to 16384"),
        ({"tower_depth": 0}, "tower_depth: expected 1 to 512"),
        ({"image_width": -1}, "image_width: expected 1 to 4096"),
        ({"backbone_width": 0.0}, "backbone_width: expected above 0, up to 16"),
        ({"backbone_width": float("nan")}, "backbone_width: expected above 0"),
        ({"text_dim": 0}, "text_dim: expected 1 to 16384"),
    ],
)
def test_shapes_that_cannot_be(changes: dict, message: str) -> None:
    with pytest.raises(ConventionError, match=message):
        replace(SHAPE, **changes)


@pytest.mark.errors
def test_a_prior_of_another_size_than_the_words_is_refused() -> None:
    with pytest.raises(ConventionError, match="prior_dim: expected 9, as the text space, got 7"):
        ConsistentPair(replace(SHAPE, text_dim=9), 7)

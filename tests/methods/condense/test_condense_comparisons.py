"""How a batch is rendered, and the two objectives that ConDense is compared with."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.support.posed_rooms import TINY, tiny_scan, wall_scan

from scenewise.methods.condense.batches import ConsistencyBatch, consistency_batch
from scenewise.methods.condense.comparisons import Cut, hidden_colors, pixel_colors, two_cuts
from scenewise.methods.condense.options import CondenseConfig, RaySettings, Variation
from scenewise.methods.condense.rendered import rendered


@pytest.fixture(scope="module")
def batch() -> ConsistencyBatch:
    config = replace(TINY, voxel=0.1, views_per_scan=3)
    return consistency_batch([(0, tiny_scan(100)), (4, tiny_scan(101))], config, 1, 0)


# --------------------------------------------------------------------------------------------------------------- rendered


def wall_batch(renderer: str, *, varied: bool) -> tuple[CondenseConfig, ConsistencyBatch]:
    rays = RaySettings(per_view=80, detailed=0.0, renderer=renderer)  # type: ignore[arg-type]
    config = replace(TINY, voxel=0.1, views_per_scan=3, rays=rays, variation=Variation(least_points=1.0, whole=1.0))
    return config, consistency_batch([(0, wall_scan(2.05)), (1, wall_scan(2.55))], config, 1, 0, varied=varied)


def smooth(batch: ConsistencyBatch, voxel: float) -> torch.Tensor:
    """Features of voxels that turn slowly along the wall, in axes that are turned and shifted with it."""
    grid = batch.cloud.voxels.grid
    scan = grid.coords[:, 0].long()
    at = (grid.coords[:, 1:] + 0.5 - batch.shifts[scan]) * voxel
    return F.normalize(torch.stack([torch.cos(at[:, 1]), torch.sin(at[:, 1]), 0.3 * at[:, 2], scan.float()], dim=1), dim=1)


@pytest.mark.parametrize("varied", [False, True])
def test_marched_and_rasterised_walls_look_alike(varied: bool) -> None:
    seen = []
    for renderer in ("marched", "rasterised"):
        config, batch = wall_batch(renderer, varied=varied)
        got = rendered(batch, smooth(batch, config.voxel), config.rays, config.voxel)
        assert float(got.alpha.min()) > 0.5 and got.features.shape == (6 * 80, 4)
        seen.append(F.normalize(got.features, dim=1))
    assert float((seen[0] * seen[1]).sum(1).min()) > 0.99
    rays = batch.rays
    at = rays.origin + rays.depth[:, None] * rays.direction
    truth = torch.stack([torch.cos(at[:, 1]), torch.sin(at[:, 1]), 0.3 * at[:, 2], rays.scan.float()], dim=1)
    for each in seen:
        assert float((each * F.normalize(truth, dim=1)).sum(1).min()) > 0.99, "each ray sees what lies where it ends"


@pytest.mark.parametrize("renderer", ["marched", "rasterised"])
def test_gradients_go_to_the_features_that_rays_see(renderer: str) -> None:
    config, batch = wall_batch(renderer, varied=True)
    features = smooth(batch, config.voxel).requires_grad_()
    rendered(batch, features, config.rays, config.voxel).features.sum().backward()
    assert features.grad is not None
    share = float((features.grad.abs().sum(1) > 0).float().mean())
    assert 0.02 < share < 0.9


# --------------------------------------------------------------------------------------------------------------- two cuts


def point_of_voxels(cut: Cut) -> dict[int, list[int]]:
    groups: dict[int, list[int]] = {}
    for row, voxel in enumerate(cut.cloud.voxels.voxel_of_point.tolist()):
        groups.setdefault(voxel, []).append(row)
    return groups


def test_compared_points_are_the_same_in_both_cuts(batch: ConsistencyBatch) -> None:
    """A turn and a shift of each scan alone take the points of either cut to those of the batch: they are told by height."""
    config = replace(TINY, voxel=0.1, variation=Variation(shift_voxels=0.0, light=0.0, tint=0.0, gamma=0.0))
    marked = replace(batch.cloud, inputs=batch.cloud.inputs.clone())
    marked.inputs[:, 0] = torch.linspace(-0.9, 0.9, len(marked.inputs))  # a colour for every point
    first, second = two_cuts(replace(batch, cloud=marked), config, 1, 0)
    assert len(first.voxel) == len(second.voxel) > 1000
    groups = [point_of_voxels(cut) for cut in (first, second)]
    step, met = 1.8 / (len(marked.inputs) - 1), 0
    for one, other in zip(first.voxel.tolist(), second.voxel.tolist()):
        names = [
            {round((float(cut.cloud.inputs[row, 0]) + 0.9) / step) for row in rows[voxel]}
            for cut, rows, voxel in ((first, groups[0], one), (second, groups[1], other))
        ]
        met += bool(names[0] & names[1])
    assert met == len(first.voxel), "some point lies in both voxels"
    for cut in (first, second):
        assert 0.55 < len(cut.cloud.inputs) / len(marked.inputs) < 0.65
        rows = ((cut.cloud.inputs[:, 0] + 0.9) / step).round().long()
        assert torch.equal(cut.cloud.batch, batch.cloud.batch[rows])
        torch.testing.assert_close(cut.cloud.positions[:, 2], batch.cloud.positions[rows, 2])
        torch.testing.assert_close(cut.cloud.positions[:, :2].norm(dim=1), batch.cloud.positions[rows, :2].norm(dim=1))
        assert not torch.allclose(cut.cloud.positions[:, :2], batch.cloud.positions[rows, :2], atol=1.0)
    angles = []
    for cut in (first, second):
        rows = ((cut.cloud.inputs[:, 0] + 0.9) / step).round().long()
        ours, theirs = (torch.complex(each[:, 0], each[:, 1]) for each in (cut.cloud.positions, batch.cloud.positions[rows]))
        for item in (0, 1):
            turns = (ours / theirs)[cut.cloud.batch == item].angle()
            far = theirs.abs()[cut.cloud.batch == item] > 5.0
            assert float(torch.complex(turns[far].cos(), turns[far].sin()).mean().abs()) > 0.9999, "one turn for each scan"
            angles.append(round(float(turns[far].median()), 2))
    assert len(set(angles)) == 4


def test_cuts_depend_on_the_step_and_nothing_else(batch: ConsistencyBatch) -> None:
    first, again, later = (two_cuts(batch, TINY, 1, step)[0] for step in (0, 0, 1))
    assert torch.equal(first.cloud.positions, again.cloud.positions) and torch.equal(first.voxel, again.voxel)
    assert first.cloud.positions.shape != later.cloud.positions.shape or not torch.equal(
        first.cloud.positions, later.cloud.positions
    )


# ---------------------------------------------------------------------------------------------------------------- colours


def test_colours_are_hidden_in_whole_blocks(batch: ConsistencyBatch) -> None:
    hidden = hidden_colors(batch, 1, 0)
    assert torch.equal(hidden.positions, batch.cloud.positions) and torch.equal(hidden.batch, batch.cloud.batch)
    blocks: dict[tuple[int, ...], list[int]] = {}
    for row, (item, position) in enumerate(zip(batch.cloud.batch.tolist(), batch.cloud.positions.tolist())):
        blocks.setdefault((item, *(int(np.floor(each / 8)) for each in position)), []).append(row)
    gone = 0
    for rows in blocks.values():
        own, before = hidden.inputs[rows], batch.cloud.inputs[rows]
        assert torch.equal(own, before) or not own.any(), "a block is shown or hidden as a whole"
        gone += not own.any()
    assert 0.6 < gone / len(blocks) < 0.9 and len(blocks) > 50
    assert not torch.equal(hidden.inputs, hidden_colors(batch, 1, 1).inputs)
    assert torch.equal(hidden.inputs, hidden_colors(batch, 1, 0).inputs) and bool(batch.cloud.inputs.any(1).all())


def test_colours_of_rays_are_those_of_their_pixels(batch: ConsistencyBatch) -> None:
    found, pictures = pixel_colors(batch), torch.cat(batch.pictures)
    for row in range(0, len(batch.rays), 5):
        u, v = batch.rays.pixel[row].tolist()
        assert torch.equal(found[row], pictures[int(batch.rays.view[row]), :, int(v), int(u)])

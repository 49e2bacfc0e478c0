"""What graph networks read, against loops and by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.graph_batches import inputs_of

from scenewise.errors import ShapeError
from scenewise.networks.graphs.inputs import GraphInputs, descriptors_of, groups_of


def test_descriptors_by_hand() -> None:
    points = torch.tensor([[[0.0, 0.0, 0.0], [2.0, 4.0, 1.0]], [[1.0, 1.0, 1.0], [1.0, 1.0, 3.0]]], dtype=torch.float64)
    found = descriptors_of(points)
    assert found[0].tolist() == pytest.approx([1, 2, 0.5, 1, 2, 0.5, 2, 4, 1, 8, 4])
    assert found[1].tolist() == pytest.approx([1, 1, 2, 0, 0, 1, 1e-3, 1e-3, 2, 2e-6, 2])  # flat along x and y
    inputs = GraphInputs(points, torch.tensor([[1], [0]]), torch.tensor([0, 0]))
    logs = torch.tensor([1e-3 / 2, 1e-3 / 4, 2 / 1, 2e-6 / 8, 2 / 4]).log().tolist()
    assert inputs.pair_descriptors[0].tolist() == pytest.approx([0, -1, 1.5, -1, -2, 0.5, *logs], rel=1e-6)


def test_descriptors_and_pairs_against_loops() -> None:
    inputs = inputs_of((3, 2))
    rows = []
    for points in inputs.points:
        low = [min(float(p[axis]) for p in points) for axis in range(3)]
        extent = [max(float(p[axis]) for p in points) - low[axis] for axis in range(3)]
        mean = [sum(float(p[axis]) for p in points) / len(points) for axis in range(3)]
        spread = [(sum((float(p[axis]) - mean[axis]) ** 2 for p in points) / len(points)) ** 0.5 for axis in range(3)]
        rows.append([*mean, *spread, *extent, extent[0] * extent[1] * extent[2], max(extent)])
    wanted = torch.tensor(rows, dtype=torch.float64)
    assert torch.allclose(inputs.descriptors, wanted)
    for (a, b), found in zip(inputs.edges.T.tolist(), inputs.pair_descriptors, strict=True):
        assert torch.allclose(found[:6], wanted[a, :6] - wanted[b, :6])
        assert torch.allclose(found[6:], torch.log(wanted[a, 6:] / wanted[b, 6:]))
    assert torch.allclose(inputs.geometry, torch.cat([wanted[:, 3:9], wanted[:, 9:].log()], dim=1))


def test_what_joins_a_thing_says_nothing_of_its_place() -> None:
    inputs = inputs_of((3,))
    moved = GraphInputs(inputs.points + torch.tensor([5.0, -3.0, 1.0]), inputs.edges, inputs.scans)
    assert torch.allclose(inputs.geometry, moved.geometry) and torch.allclose(inputs.centered, moved.centered)
    assert torch.allclose(inputs.pair_descriptors, moved.pair_descriptors)
    assert inputs.centered.mean(1).abs().max() < 1e-12


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 5), max_size=12))
def test_groups_against_loops(numbers: list[int]) -> None:
    groups = groups_of(torch.tensor(numbers, dtype=torch.int64))
    wanted = [[row for row, number in enumerate(numbers) if number == each] for each in sorted(set(numbers))]
    assert [rows[real].tolist() for rows, real in zip(groups.rows, groups.real, strict=True)] == wanted
    assert (groups.rows[~groups.real] == 0).all()
    assert groups.rows.shape[1] == max(map(len, wanted), default=0)
    assert groups.rows.flatten()[groups.position].tolist() == list(range(len(numbers)))
    assert groups.real.flatten()[groups.position].all()


def test_groups_of_a_batch() -> None:
    inputs = inputs_of((2, 1, 3))
    assert inputs.things_of_scans.real.sum(1).tolist() == [2, 1, 3]
    assert inputs.pairs_of_scans.real.sum(1).tolist() == [2, 6], "a scan of one thing has no pairs"
    assert inputs.all_pairs.real.shape == (1, 8)


@pytest.mark.errors
def test_things_without_a_scan_are_refused() -> None:
    with pytest.raises(ShapeError, match="scans: expected 3 numbers, got 2"):
        GraphInputs(torch.zeros(3, 4, 3), torch.zeros(2, 0, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))

"""Blocks fill space once: contraction, cells and their owners, faces and cut planes, by hand values and by loops."""

import json
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from scenewise.errors import ConventionError, DataFormatError
from scenewise.methods.momentum_gs.cuts import Cut, read_cut, write_cut
from scenewise.methods.momentum_gs.partition import (
    Partition,
    balanced_partition,
    contracted,
    even_partition,
    partition_json,
)

HERE = np.eye(4)  # the box is [−1, 1]³
_TURN = Rotation.from_euler("xyz", [0.3, -0.2, 0.7]).as_matrix()


def _frame() -> np.ndarray:
    """A turned box of unequal sides, off the origin."""
    frame = np.eye(4)
    frame[:3, :3] = np.diag([0.5, 0.2, 0.8]) @ _TURN
    frame[:3, 3] = [0.3, -0.1, 0.2]
    return frame


def _points(n: int, seed: int = 0) -> np.ndarray:
    """Some in the box, some just outside, some very far away."""
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, 3)) * np.exp(generator.normal(size=(n, 1)) * 2.0) + [0.4, -0.3, 0.1]


def _uneven() -> Partition:
    """Three cells seen from above: A fills the left half; on the right B is the lower part, and C the larger upper one."""
    cells = [[[0, 0, 0], [0.5, 1, 1]], [[0.5, 0, 0], [1, 0.3, 1]], [[0.5, 0.3, 0], [1, 1, 1]]]
    return Partition(HERE, np.array(cells, dtype=np.float64), np.array([0, 1, 2]))


class TestContraction:
    def test_hand_values(self) -> None:
        points = np.array([[0.0, 0.0, 0.0], [1.0, -0.5, 0.25], [4.0, -1.0, 2.0], [-0.5, -2.0, 0.0], [1e9, 0.0, -1e9]])
        # m = 4: (2 − ¼)/4 = 0.4375 of each coordinate; m = 2: (2 − ½)/2 = 0.75
        expected = [
            [0.5, 0.5, 0.5],
            [0.75, 0.375, 0.5625],
            [4 * 0.4375 / 4 + 0.5, -0.4375 / 4 + 0.5, 2 * 0.4375 / 4 + 0.5],
            [-0.375 / 4 + 0.5, -1.5 / 4 + 0.5, 0.5],
            [1.0, 0.5, 0.0],
        ]
        np.testing.assert_allclose(contracted(points, HERE), expected, rtol=0, atol=1e-9)

    def test_the_box_takes_the_middle(self) -> None:
        corners = np.array(list(product((-1.0, 1.0), repeat=3)))
        world = (corners - _frame()[:3, 3]) @ np.linalg.inv(_frame()[:3, :3]).T
        np.testing.assert_allclose(contracted(world, _frame()), corners / 4.0 + 0.5, rtol=0, atol=1e-12)
        # single precision is computed in double
        single = world.astype(np.float32)
        assert np.array_equal(contracted(single, _frame()), contracted(single.astype(np.float64), _frame()))

    def test_it_grows_along_every_axis_without_a_jump(self) -> None:
        for axis, others in product(range(3), ((0.2, -0.7), (3.0, -1.5))):
            points = np.zeros((4001, 3))
            points[:, axis] = np.linspace(-12.0, 12.0, 4001)
            points[:, (axis + 1) % 3], points[:, (axis + 2) % 3] = others
            found = contracted(points, HERE)[:, axis]
            assert (np.diff(found) > 0.0).all() and np.diff(found).max() < 0.25 * 0.006 + 1e-12
            assert found[0] > 0.0 and found[-1] < 1.0


@pytest.mark.parametrize("kind", ["even", "balanced", "uneven"])
def test_every_point_has_one_owner(kind: str) -> None:
    points = _points(100_000)
    partition = {
        "even": lambda: even_partition(_frame(), (3, 2, 2)),
        "balanced": lambda: balanced_partition(_frame(), (3, 2, 2), points[:500]),
        "uneven": _uneven,
    }[kind]()
    places = contracted(points, partition.partition_from_world)
    inside = np.stack([((places >= low) & (places < high)).all(axis=1) for low, high in partition.cells], axis=1)
    assert (inside.sum(axis=1) == 1).all()
    owner = partition.block_of_cell[inside.argmax(axis=1)]
    assert np.array_equal(partition.block_of(points), owner) and np.array_equal(partition.cell_of(points), inside.argmax(axis=1))
    assert len(set(owner.tolist())) == partition.num_blocks == len(partition.cells)


def test_cells_hold_their_lower_faces_and_not_their_upper_ones() -> None:
    partition = even_partition(HERE, (2, 1, 4))
    # Cuts at x = 0 and at z = −1, 0 and 1 of the world.
    for x, z, block in ((0.0, 0.0, 5), (-1e-12, 0.0, 4), (0.0, -1e-12, 3), (-1e-12, -1.0 - 1e-9, 0), (0.3, 1.0, 7)):
        assert partition.block_of(np.array([[x, 0.2, z]])).tolist() == [block]
    edge = np.array([[1e30, 1e30, 1e30], [-1e30, -1e30, -1e30]])  # on the very border of the contracted space
    assert partition.block_of(edge).tolist() == [7, 0]


def test_blocks_are_numbered_along_x_then_y_then_z() -> None:
    partition = even_partition(HERE, (2, 1, 4))
    for iz, ix in product(range(4), range(2)):
        center = np.array([[ix * 0.8 - 0.4, 0.3, (iz - 1.5) * 0.9]])
        assert partition.block_of(center).tolist() == [2 * iz + ix], (ix, iz)
    partition = even_partition(HERE, (3, 2, 2))
    for index, (iz, iy, ix) in enumerate(product(range(2), range(2), range(3))):
        np.testing.assert_allclose(partition.cells[index, 0], [ix / 3, iy / 2, iz / 2], atol=1e-15)
        np.testing.assert_allclose(partition.cells[index, 1], [(ix + 1) / 3, (iy + 1) / 2, (iz + 1) / 2], atol=1e-15)
        assert index == iz * 6 + iy * 3 + ix


class TestBalanced:
    def test_cells_hold_equally_many_points(self) -> None:
        points = _points(240, seed=3)
        partition = balanced_partition(_frame(), (3, 2, 2), points)
        assert np.bincount(partition.block_of(points)).tolist() == [20] * 12
        uneven = np.bincount(even_partition(_frame(), (3, 2, 2)).block_of(points), minlength=12)
        assert uneven.max() > 2 * uneven.min()

    def test_the_first_axis_is_cut_first_and_blocks_are_numbered_as_ever(self) -> None:
        points = _points(120, seed=4)
        partition = balanced_partition(HERE, (2, 1, 3), points)
        low, high = partition.cells[:, 0], partition.cells[:, 1]
        assert set(low[[0, 2, 4], 0]) == {0.0} and set(high[[1, 3, 5], 0]) == {1.0}
        assert len(set(high[[0, 2, 4], 0])) == 1  # one cut of x
        assert high[0, 2] == low[2, 2] < high[2, 2] == low[4, 2] and high[0, 2] != high[1, 2]  # z is cut anew for each x

    def test_points_in_a_plane_and_too_few_points(self) -> None:
        plane = np.array([[0.2, y, z] for y, z in product((0.1, 0.4, 0.5, 0.9), (-0.2, 0.3))])
        for points in (plane, plane[:1]):
            partition = balanced_partition(HERE, (3, 2, 2), points)
            assert ((partition.cells[:, 1] - partition.cells[:, 0]) > 0.0).all() and partition.num_blocks == 12
            many = _points(2000)
            places = contracted(many, HERE)
            held = sum(((places >= low) & (places < high)).all(axis=1) for low, high in partition.cells)
            assert (held == 1).all()


class TestNeighbours:
    def test_directions(self) -> None:
        partition = even_partition(HERE, (2, 1, 4))
        points = np.array(
            [
                [-0.08, 0.0, -0.03],  # ix 0, iz 1; near the cuts x = 0 and z = 0, both above it
                [0.08, 0.9, 0.5],  # ix 1, iz 2; x = 0 is below it
                [0.4, 0.0, -0.96],  # ix 1, iz 1; z = −1 is below it
                [0.4, 0.0, -0.5],  # in the middle
                [-0.12, 0.0, 0.5],  # a cell is 2 wide along x: a twentieth is 0.1
                [40.0, 0.0, 0.0],  # far out, where there is no cut beyond
            ]
        )
        assert partition.block_of(points).tolist() == [2, 5, 3, 3, 4, 5]
        assert partition.neighbours(points).tolist() == [
            [-1, 3, -1, -1, -1, 4],
            [4, -1, -1, -1, -1, -1],
            [-1, -1, -1, -1, 1, -1],
            [-1, -1, -1, -1, -1, -1],
            [-1, -1, -1, -1, -1, -1],
            [-1, -1, -1, -1, 3, -1],
        ]
        assert partition.near_a_cut(points).tolist() == [True, True, True, False, False, True]
        assert partition.near_a_cut(points, reach=0.07).tolist() == [True, True, True, False, True, True]

    def test_reach_is_a_part_of_the_width_of_the_points_own_cell(self) -> None:
        partition = _uneven()  # B is 0.3 wide along y: a twentieth is 0.015 of the contracted space, 0.06 of the world
        border = (0.3 - 0.5) * 4.0
        points = np.array([[0.5, border + dy, 0.0] for dy in (-0.07, -0.05, 0.13, 0.15)])
        assert partition.block_of(points).tolist() == [1, 1, 2, 2]
        assert partition.neighbours(points)[:, 2:4].tolist() == [[-1, -1], [-1, 2], [1, -1], [-1, -1]]

    def test_cells_of_one_block_are_no_neighbours(self) -> None:
        partition = even_partition(HERE, (2, 1, 4)).joined(4, 2)
        assert partition.neighbours(np.array([[-0.08, 0.0, -0.03]])).tolist() == [[-1, 3, -1, -1, -1, -1]]


class TestFaces:
    def test_blocks_that_share_a_face(self) -> None:
        assert [_uneven().touching(block) for block in range(3)] == [[2, 1], [2, 0], [0, 1]]
        # In a row of four layers of two, nobody touches across an edge.
        partition = even_partition(HERE, (2, 1, 4))
        # 2 is above 0 and below 4, each with half of the ground (0.5), and beside 3 (0.25).
        assert partition.touching(2) == [0, 4, 3]
        assert sorted(partition.touching(0)) == [1, 2]

    def test_areas_by_loops(self) -> None:
        partition = balanced_partition(_frame(), (3, 2, 2), _points(240, seed=5))
        fine = 40
        for block in range(12):
            area = dict.fromkeys(range(12), 0.0)
            for low, high in partition.cells[partition.block_of_cell == block]:
                for axis, side in product(range(3), range(2)):  # a grid of points just outside each face
                    u, v = (axis + 1) % 3, (axis + 2) % 3
                    steps = (np.arange(fine) + 0.5) / fine
                    places = np.empty((fine * fine, 3))
                    places[:, u] = low[u] + np.repeat(steps, fine) * (high[u] - low[u])
                    places[:, v] = low[v] + np.tile(steps, fine) * (high[v] - low[v])
                    places[:, axis] = high[axis] + 1e-9 if side else low[axis] - 1e-9
                    if not 0.0 < places[0, axis] < 1.0:
                        continue
                    for index, (lower, upper) in enumerate(partition.cells):
                        share = ((places >= lower) & (places < upper)).all(axis=1).mean()
                        area[index] += share * (high[u] - low[u]) * (high[v] - low[v])
            found = partition.touching(block)
            assert {other for other, size in area.items() if size > 2e-3} <= set(found) and block not in found
            sizes = [area[other] for other in found]
            assert all(first > second - 0.02 for first, second in pairwise(sizes))

    def test_a_joined_block_has_all_faces_of_both(self) -> None:
        partition = even_partition(HERE, (2, 1, 4)).joined(4, 2)  # the upper blocks move up by one
        assert partition.num_blocks == 7 and partition.block_of_cell.tolist() == [0, 1, 2, 3, 2, 4, 5, 6]
        assert sorted(partition.touching(2)) == [0, 3, 4, 5]
        other_way = even_partition(HERE, (2, 1, 4)).joined(2, 4)
        assert other_way.block_of_cell.tolist() == [0, 1, 3, 2, 3, 4, 5, 6]
        points = _points(1000)
        before = even_partition(HERE, (2, 1, 4)).block_of(points)
        assert np.array_equal(partition.block_of(points) == 2, np.isin(before, [2, 4]))


class TestCutFile:
    CAMERAS = ("a.png", "sub/b.png", "c.png")

    def _cut(self) -> Cut:
        belongs = np.array([[True, False, True], [False, True, False], [False, False, False]])
        return Cut(_uneven(), belongs, (2, 2, 1), ("a block with 3 cameras … was given to a neighbour",))

    @given(seed=st.integers(0, 1000), shape=st.tuples(*[st.integers(1, 3)] * 3))
    def test_a_partition_as_json_keeps_every_digit(self, seed: int, shape: tuple[int, int, int]) -> None:
        partition = balanced_partition(_frame() / 3.0, shape, _points(30, seed))
        found = json.loads(json.dumps(partition_json(partition)))
        for name, value in vars(partition).items():
            assert np.array_equal(np.array(found[name], dtype=value.dtype), value)

    def test_round_trip(self, tmp_path: Path) -> None:
        path, cut = tmp_path / "cut.json", self._cut()
        assert read_cut(path, self.CAMERAS) is None
        partition = balanced_partition(_frame() / 3.0, (3, 1, 1), _points(30))
        write_cut(path, replace(cut, partition=partition), self.CAMERAS, "f")
        found = read_cut(path, self.CAMERAS, "f")
        assert found is not None and (found.grid, found.said) == (cut.grid, cut.said)
        assert found.belongs.dtype == np.bool_ and np.array_equal(found.belongs, cut.belongs)
        for name, value in vars(partition).items():
            assert np.array_equal(getattr(found.partition, name), value) and getattr(found.partition, name).dtype == value.dtype
        assert read_cut(path, self.CAMERAS, "another") is None and read_cut(path, self.CAMERAS) is not None
        turned = read_cut(path, tuple(reversed(self.CAMERAS)))  # cameras are known by name
        assert turned is not None and np.array_equal(turned.belongs, cut.belongs[::-1])

    @pytest.mark.errors
    @pytest.mark.parametrize(
        "change",
        [
            {"cells": None},
            {"cells": [[0, 1]]},
            {"partition_from_world": [[1, 0], [0, 1]]},
            {"partition_from_world": [[0] * 4] * 4},
            {"block_of_cell": [0, 0, 2]},
            {"block_of_cell": [0, 1]},
            {"block_of_cell": [0, -1, 1]},
            {"block_of_cell": [0.5, 1, 2]},
            {"block_of_cell": [10**30, 0, 1]},
            {"block_of_cell": []},
            {"cells": [[[0, 0, 0], [0.5, 1, 1]], [[0, 0, 0], [0.5, 0.3, 1]], [[0.5, 0.3, 0], [1, 1, 1]]]},
            {"blocks_of_camera": {"a.png": [0], "sub/b.png": [1]}},
            {"blocks_of_camera": {"a.png": [0], "sub/b.png": [1], "c.png": [3]}},
            {"blocks_of_camera": {"a.png": [0], "sub/b.png": [1], "c.png": 2}},
            {"blocks_of_camera": {"a.png": [0], "sub/b.png": [1], "c.png": None}},
            {"grid": [1, 2]},
        ],
    )
    def test_damaged_files_are_told(self, tmp_path: Path, change: dict[str, object]) -> None:
        path = tmp_path / "cut.json"
        write_cut(path, self._cut(), self.CAMERAS, "f")
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
        with pytest.raises(DataFormatError, match=r"cut\.json: .*expected"):
            read_cut(path, self.CAMERAS)


@pytest.mark.errors
class TestRefused:
    def test_cells_that_do_not_fill_space(self) -> None:
        partition = _uneven()
        smaller = partition.cells.copy()
        smaller[2, 1, 2] = 0.9
        with pytest.raises(ConventionError, match="cells: expected to fill the unit cube once"):
            replace(partition, cells=smaller)
        with pytest.raises(ConventionError, match="cells: expected to fill the unit cube once"):
            Partition(HERE, np.zeros((0, 2, 3)), np.zeros(0, dtype=np.int64))

    def test_cells_that_overlap_and_leave_a_gap(self) -> None:
        """Their volumes add up to 1 all the same."""
        partition = _uneven()
        shifted = partition.cells.copy()
        shifted[1, :, 0] -= 0.5  # B lies in A, and nobody is where B was
        with pytest.raises(ConventionError, match="cells: expected to fill the unit cube once"):
            replace(partition, cells=shifted)
        swapped = partition.cells.copy()
        swapped[1, :, :2] = swapped[1, ::-1, :2]  # two sides run backwards
        with pytest.raises(ConventionError, match="cells: expected to fill the unit cube once"):
            replace(partition, cells=swapped)
        outside = partition.cells.copy()
        outside[1, :, 0] += 0.5
        with pytest.raises(ConventionError, match="cells: expected to fill the unit cube once"):
            replace(partition, cells=outside)

    def test_blocks_with_gaps(self) -> None:
        with pytest.raises(ConventionError, match="blocks: expected 0, 1, 2 … without gaps"):
            replace(_uneven(), block_of_cell=np.array([0, 3, 1]))
        with pytest.raises(ConventionError, match="blocks: expected one for each of 3 cells, got 2"):
            replace(_uneven(), block_of_cell=np.array([0, 1]))

    @pytest.mark.parametrize("blocks", [(0, 1, 1), (2, -1, 1), (1, 1)])
    def test_numbers_of_blocks(self, blocks: tuple[int, ...]) -> None:
        with pytest.raises(ConventionError, match="blocks: expected at least one along each of three axes"):
            even_partition(HERE, blocks)
        with pytest.raises(ConventionError, match="blocks: expected at least one along each of three axes"):
            balanced_partition(HERE, blocks, _points(10))

    def test_frames_that_are_none(self) -> None:
        flat = np.diag([1.0, 1.0, 0.0, 1.0])
        for frame in (flat, np.full((4, 4), np.inf)):
            with pytest.raises(ConventionError, match="partition_from_world: expected"):
                even_partition(frame, (2, 1, 1))

"""The compiled sparse convolution: its maps against dictionaries, its products against plain torch in float64."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.support.sparse_conv_results import sparse_conv_results

from scenewise.errors import ConventionError
from scenewise.kernels.native import library
from scenewise.kernels.sparse_conv import native

pytestmark = pytest.mark.skipif(not native.is_available(), reason="the compiled library was not built")
needs_bfloat16 = pytest.mark.skipif(not native.supports_bfloat16(), reason="no AVX512-BF16")

ROOT = Path(__file__).resolve().parents[2]
Rows = list[tuple[int, int, int, int]]


def random_coords(n: int, extent: int, seed: int, batches: int = 2) -> torch.Tensor:
    """Points around the origin, so that negative coordinates and brick borders on both sides occur; some coincide."""
    generator = torch.Generator().manual_seed(seed)
    batch = torch.randint(0, batches, (n, 1), generator=generator)
    xyz = torch.randint(-extent, extent, (n, 3), generator=generator)
    return torch.cat([batch, xyz], dim=1).to(torch.int32)


def rows_of(coords: torch.Tensor) -> Rows:
    return [tuple(row) for row in coords.tolist()]


def brick_key(row: tuple[int, int, int, int]) -> int:
    """The key as written in the module, one bit at a time."""
    batch, x, y, z = row[0], *(value + 2**17 for value in row[1:])
    morton = sum((value >> 2 >> bit & 1) << (3 * bit + axis) for bit in range(16) for axis, value in ((2, x), (1, y), (0, z)))
    return batch << 54 | morton << 6 | (x & 3) << 4 | (y & 3) << 2 | (z & 3)


def pairs_by_offset(rule: native.Rule) -> list[set[tuple[int, int]]]:
    found: list[set[tuple[int, int]]] = [set() for _ in range(rule.kernel_volume)]
    total = 0
    for block in range(len(rule.first_row) - 1):
        begin, end = rule.first_row[block : block + 2].tolist()
        for k in range(rule.kernel_volume):
            first, last = rule.first_pair[block * rule.kernel_volume + k :][:2].tolist()
            pairs = list(zip(rule.inputs[first:last].tolist(), rule.outputs[first:last].tolist(), strict=True))
            assert all(begin <= output < end for _, output in pairs)
            found[k].update(pairs)
            total += len(pairs)
    assert total == rule.num_pairs == sum(len(pairs) for pairs in found)
    return found


@pytest.mark.parametrize(("n", "extent"), [(0, 4), (1, 4), (3000, 7), (800, 100), (300, 2**17 - 2)])
def test_voxels_are_merged_and_in_brick_order(n, extent):
    points = random_coords(n, extent, seed=n)
    coords, voxel_of_point, counts = native.sorted_voxels(points)
    rows = rows_of(coords)
    keys = [brick_key(row) for row in rows]
    assert keys == sorted(set(keys)) and set(rows) == set(rows_of(points))
    assert torch.equal(coords[voxel_of_point], points)
    assert torch.equal(counts, torch.bincount(voxel_of_point, minlength=len(coords)))


@pytest.mark.parametrize(("n", "extent"), [(0, 4), (1, 4), (4000, 7), (1500, 30), (300, 2**17 - 2)])
def test_submanifold_rule_equals_a_dictionary(n, extent):
    coords = native.sorted_voxels(random_coords(n, extent, seed=n + 1))[0]
    if extent > 1000:  # far corners of the range with neighbours there, and neighbours across its outermost 16³ voxels
        low, high = 1 - 2**17, 2**17 - 2
        more = [[1, high, low, high], [1, high - 1, low, high]]
        for border in (low + 14, high - 16):
            more += [[0, border + i, border + j, border + k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]
        coords = native.sorted_voxels(torch.cat([coords, torch.tensor(more, dtype=torch.int32)]))[0]
    rows = rows_of(coords)
    row_of = {row: index for index, row in enumerate(rows)}
    rule = native.submanifold_rule(coords)
    assert (rule.num_in, rule.num_out, rule.kernel_volume) == (len(rows), len(rows), 27)
    assert rule.first_row[0] == 0 and rule.first_row[-1] == len(rows)
    for k, pairs in enumerate(pairs_by_offset(rule)):
        step = (k // 9 - 1, k // 3 % 3 - 1, k % 3 - 1)
        expected = set()
        for output, (batch, x, y, z) in enumerate(rows):
            neighbour = row_of.get((batch, x + step[0], y + step[1], z + step[2]))
            if neighbour is not None:
                expected.add((neighbour, output))
        assert pairs == expected, f"offset {k}"


@pytest.mark.parametrize(("n", "extent"), [(0, 4), (1, 4), (4000, 9), (1500, 60), (300, 2**17 - 2)])
def test_down_and_up_equal_dictionaries(n, extent):
    coords = native.sorted_voxels(random_coords(n, extent, seed=n + 2))[0]
    coarse, parent, child = native.down_voxels(coords)
    rows = rows_of(coords)
    parents = [(b, x // 2, y // 2, z // 2) for b, x, y, z in rows]
    assert rows_of(coarse[parent]) == parents and set(rows_of(coarse)) == set(parents)
    keys = [brick_key(row) for row in rows_of(coarse)]
    assert keys == sorted(set(keys))
    assert child.tolist() == [(x % 2) * 4 + (y % 2) * 2 + z % 2 for _, x, y, z in rows]
    down, up = native.down_rule(parent, child, len(coarse)), native.up_rule(parent, child, len(coarse))
    assert (down.num_in, down.num_out, up.num_in, up.num_out) == (len(rows), len(coarse), len(coarse), len(rows))
    for k, (downward, upward) in enumerate(zip(pairs_by_offset(down), pairs_by_offset(up), strict=True)):
        fine = (child == k).nonzero()[:, 0].tolist()
        assert downward == {(row, int(parent[row])) for row in fine}
        assert upward == {(coarse_row, row) for row, coarse_row in downward}


def test_rows_out_of_order_are_refused():
    coords = native.sorted_voxels(random_coords(50, 9, seed=0))[0]
    for wrong in (coords.flip(0), coords[[0, 0, *range(1, len(coords))]]):
        with pytest.raises(ConventionError, match="brick order"):
            native.submanifold_rule(wrong)
        with pytest.raises(ConventionError, match="brick order"):
            native.down_voxels(wrong)


def scene(n: int = 3000, extent: int = 9, seed: int = 5) -> tuple[native.Rule, native.Rule, native.Rule]:
    coords = native.sorted_voxels(random_coords(n, extent, seed))[0]
    coarse, parent, child = native.down_voxels(coords)
    up = native.up_rule(parent, child, len(coarse))
    return native.submanifold_rule(coords), native.down_rule(parent, child, len(coarse)), up


def expected_convolution(features: torch.Tensor, weight: torch.Tensor, rule: native.Rule) -> torch.Tensor:
    out = torch.zeros(rule.num_out, weight.shape[2], dtype=torch.float64)
    for k, pairs in enumerate(pairs_by_offset(rule)):
        if pairs:
            inputs, outputs = torch.tensor(sorted(pairs)).T
            out.index_add_(0, outputs, features[inputs].double() @ weight[k].double())
    return out


def expected_weight_gradient(features: torch.Tensor, grad: torch.Tensor, rule: native.Rule) -> torch.Tensor:
    result = torch.zeros(rule.kernel_volume, features.shape[1], grad.shape[1], dtype=torch.float64)
    for k, pairs in enumerate(pairs_by_offset(rule)):
        if pairs:
            inputs, outputs = torch.tensor(sorted(pairs)).T
            result[k] = features[inputs].double().T @ grad[outputs].double()
    return result


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got.double() - expected).norm() / expected.norm())


CHANNELS = [(1, 1), (3, 32), (32, 20), (16, 16), (7, 96), (48, 5), (64, 80), (37, 133)]


@pytest.mark.parametrize(("inputs", "outputs"), CHANNELS)
@pytest.mark.parametrize("bfloat16", [False, pytest.param(True, marks=needs_bfloat16)])
def test_products_match_float64_for_any_number_of_channels(inputs, outputs, bfloat16):
    generator = torch.Generator().manual_seed(inputs)
    tolerance = 5e-3 if bfloat16 else 1e-6  # bfloat16 keeps eight bits of an operand
    for rule in scene():
        features = torch.randn(rule.num_in, inputs, generator=generator)
        grad = torch.randn(rule.num_out, outputs, generator=generator)
        weight = torch.randn(rule.kernel_volume, inputs, outputs, generator=generator)
        expected = expected_convolution(features, weight, rule)
        for mirrored in (False, True):
            for transposed in (False, True):
                given = weight.flip(0) if mirrored else weight
                given = given.transpose(1, 2).contiguous() if transposed else given
                got = native.convolve(features, given, rule, transposed=transposed, mirrored=mirrored, bfloat16=bfloat16)
                assert relative_error(got, expected) < tolerance
        got = native.weight_gradient(features, grad, rule, bfloat16=bfloat16)
        assert relative_error(got, expected_weight_gradient(features, grad, rule)) < tolerance


@pytest.mark.parametrize("points", [0, 1])
@pytest.mark.parametrize("bfloat16", [False, pytest.param(True, marks=needs_bfloat16)])
def test_no_voxels_and_one(points, bfloat16):
    coords = native.sorted_voxels(torch.tensor([[4, -3, 2, 1]], dtype=torch.int32)[:points])[0]
    rule = native.submanifold_rule(coords)
    features, weight = torch.full((points, 2), 3.0), torch.arange(27 * 2 * 5, dtype=torch.float32).view(27, 2, 5)
    out = native.convolve(features, weight, rule, transposed=False, mirrored=False, bfloat16=bfloat16)
    assert out.shape == (points, 5)
    gradient = native.weight_gradient(features, out, rule, bfloat16=bfloat16)
    assert torch.equal(gradient.abs().sum((1, 2)) > 0, (torch.arange(27) == 13) & (points == 1))
    coarse, parent, child = native.down_voxels(coords)
    assert coarse.tolist() == [[4, -2, 1, 0]][:points] and child.tolist() == [5][:points]
    for down_or_up in (native.down_rule, native.up_rule):
        rule = down_or_up(parent, child, len(coarse))
        out = native.convolve(features, weight[:8], rule, transposed=False, mirrored=False, bfloat16=bfloat16)
        assert out.tolist() == (3 * weight[5].sum(0, keepdim=True))[:points].tolist()


@pytest.mark.parametrize("bfloat16", [False, pytest.param(True, marks=needs_bfloat16)])
def test_bits_do_not_depend_on_threads(bfloat16):
    before = library.get_threads()
    generator = torch.Generator().manual_seed(3)
    points = random_coords(60000, 30, seed=6)
    results = []
    try:
        for threads in (1, 2, 3):
            library.set_threads(threads)
            coords, voxel_of_point, _ = native.sorted_voxels(points)
            rule = native.submanifold_rule(coords)
            features = torch.randn(len(coords), 20, generator=generator.manual_seed(3))
            weight = torch.randn(27, 20, 36, generator=generator)
            out = native.convolve(features, weight, rule, transposed=False, mirrored=False, bfloat16=bfloat16)
            gradient = native.weight_gradient(features, out, rule, bfloat16=bfloat16)
            results.append((coords, voxel_of_point, rule.inputs, rule.outputs, out, gradient))
    finally:
        library.set_threads(before)
    assert results[0][2].shape[0] > 8 * 1024 * 27  # enough pairs for several partial sums
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


def test_instruction_sets_agree(tmp_path):
    best = native._loaded().sw_best_variant()
    generator = torch.Generator().manual_seed(8)
    given = {
        "points": random_coords(2000, 12, seed=8),
        "features": torch.randn(2000, 21, generator=generator),
        "weight": torch.randn(27, 21, 37, generator=generator),
    }
    torch.save(given, tmp_path / "given.pt")
    here = library.describe().variant
    results = [sparse_conv_results(given)]
    for variant in library._VARIANTS[: best + 1]:
        if variant == here:
            continue
        arguments = [str(tmp_path / "given.pt"), str(tmp_path / "result.pt")]
        command = [sys.executable, "-m", "tests.support.sparse_conv_results", *arguments]
        environment = {**os.environ, "SCENEWISE_ISA": variant, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == variant
        results.append(torch.load(tmp_path / "result.pt", weights_only=True))
    assert len(results) == best + 1, f"{here} is one of {library._VARIANTS}"
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0][:-2], other[:-2], strict=True))
        assert all(relative_error(a, b.double()) < 1e-6 for a, b in zip(results[0][-2:], other[-2:], strict=True))

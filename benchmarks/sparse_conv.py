"""Speed of sparse convolution: single layers, kernel maps, and a whole MinkUNet14A training step.

Everything is held against the fastest dense matrix product this machine reaches in the same run (shapes and routes are tried, the
best counts), against plain torch and against spconv where it is installed (on one thread: with more its sums are wrong), all with
the same number of threads.  One thread is measured in processor time, so that a busy machine disturbs little; several threads in
wall time.  Convolution and what it is compared with take turns, and the median of the turns' ratios counts.

    python benchmarks/sparse_conv.py [--quick] [--json] [--threads 1 2]

Clouds: a furnished room sampled densely and voxelised at 4 cm (about 70k voxels, 10.6 pairs of voxels per voxel), and the
SemanticKITTI scan below $SCENEWISE_DATA at 5 and 10 cm, or a simulated sweep where the data are missing.
"""

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from scenewise.engine.memory import keep_freed_memory, peak_resident_bytes
from scenewise.io.semantickitti import read_semantickitti_scan
from scenewise.kernels.matmul import fast_exact_matmul
from scenewise.kernels.native import library
from scenewise.kernels.sparse_conv import Pointwise, VoxelGrid, reference, spconv_backend, subm_conv, voxelise
from scenewise.kernels.sparse_conv.grid import native_kernels
from scenewise.networks.minkunet import minkunet14a
from scenewise.networks.sparse_blocks import SparseConv
from scenewise.networks.sparse_inputs import VoxelisedPoints
from scenewise.parts.labelfree.regularisers.matching import cosine_of_rows
from scenewise.worlds.meshes import room_mesh
from scenewise.worlds.rooms import furnished_room
from scenewise.worlds.seeds import BENCHMARK_SEEDS

WIDTHS = (32, 64, 96, 128, 256)
LEVELS = 5
STEP_VOXELS = 34_000
HEAD_CHANNELS = 512
SAMPLED_ROWS = 4096
PAUSE = 0.01  # seconds
GOALS = {
    "fraction_of_gemm forward, ≥ 64 channels, ≥ 10 pairs": 0.90,
    "fraction_of_gemm weight_gradient, ≥ 64 channels, ≥ 10 pairs": 0.80,
    "fraction_of_gemm forward, LiDAR": 0.60,
    "ratio_to_spconv, ≤ 128 channels": 3.0,
    "ratio_to_spconv, 256 channels": 2.3,
    "step over its GEMM floor": 1.6,
}


@dataclass(frozen=True)
class Cloud:
    """Voxels to convolve on."""

    name: str
    coords: Tensor
    grid: VoxelGrid
    pairs: int

    @property
    def pairs_per_voxel(self) -> float:
        return self.pairs / len(self.grid)


def cloud_of(name: str, points: np.ndarray, edge: float) -> Cloud:
    cells = torch.from_numpy(np.floor(points / edge)).to(torch.int32)
    coords = torch.cat([torch.zeros(len(cells), 1, dtype=torch.int32), cells], dim=1)
    return cloud_from_coords(name, coords)


def cloud_from_coords(name: str, coords: Tensor) -> Cloud:
    grid = voxelise(coords).grid
    return Cloud(name, coords, grid, int((reference.neighbour_table(grid.coords) < len(grid)).sum()))


def room_points() -> np.ndarray:
    """Vertices 15 mm apart on the surfaces of a room no network has seen."""
    points: np.ndarray = room_mesh(furnished_room(BENCHMARK_SEEDS[3]), spacing=0.015, noise=0.0).mesh.vertices_in_world
    return points


def lidar_points() -> tuple[str, np.ndarray]:
    """The SemanticKITTI scan, or a sweep of 64 beams over a street of boxes."""
    scan = Path(os.environ.get("SCENEWISE_DATA", "data")) / "semantickitti_scan" / "000000.bin"
    if scan.is_file():
        return "semantickitti_scan", read_semantickitti_scan(scan).points_in_sensor
    print("SCENEWISE_DATA has no semantickitti_scan: a simulated sweep instead", file=sys.stderr)
    return "simulated sweep", simulated_sweep()


def simulated_sweep() -> np.ndarray:
    """First hits of 64 beams × 2000 directions from 1.7 m above a plane with 120 boxes, within 80 m."""
    rng = np.random.default_rng(0)
    elevation, azimuth = np.meshgrid(np.deg2rad(np.linspace(-24.8, 2, 64)), np.linspace(-np.pi, np.pi, 2000, endpoint=False))
    rays = np.stack([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], -1)
    rays = rays.reshape(-1, 3)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.where(rays[:, 2] < 0, -1.7 / rays[:, 2], np.inf)
        for _ in range(120):
            center = np.array([*rng.uniform(-60, 60, 2), 0.0])
            half = np.array([*rng.uniform(0.5, 6, 2), rng.uniform(1, 6)])
            if np.all(np.abs(center[:2]) < half[:2] + 2):
                continue
            low, high = (center - half) / rays, (center + half) / rays
            enter, leave = np.minimum(low, high).max(1), np.maximum(low, high).min(1)
            distance = np.where((enter > 0) & (enter < leave), np.minimum(distance, enter), distance)
    hit = distance < 80
    points: np.ndarray = rays[hit] * distance[hit, None] + rng.normal(0, 0.01, (int(hit.sum()), 3))
    return points


# --- timing -------------------------------------------------------------------------------------------------------------------


@contextmanager
def threads_set(threads: int) -> Iterator[None]:
    before = torch.get_num_threads(), library.get_threads()
    torch.set_num_threads(threads)
    library.set_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        library.set_threads(before[1])


def as_in_training(step: Callable[[], Any]) -> Callable[[], Any]:
    """A step with one thread of torch beside the compiled library's, as every command of ours trains."""

    def run() -> None:
        with threads_set(library.get_threads()):
            torch.set_num_threads(1)
            step()

    return run


@contextmanager
def matmul_precision(setting: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(setting)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def seconds_of(action: Callable[[], Any]) -> float:
    """One call: processor time with one thread, wall time with more."""
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    action()
    return clock() - start


def take_turns(actions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of every action in every round, after one call each that does not count.

    With several threads a pause comes first: torch's idle threads spin for some milliseconds and would take a processor from
    whoever comes next.
    """
    for action in actions.values():
        action()
    times: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(rounds):
        for name, action in actions.items():
            if torch.get_num_threads() > 1:
                time.sleep(PAUSE)
            times[name].append(seconds_of(action))
    return times


def ratio(times: dict[str, list[float]], above: str, below: str) -> float:
    """Median over the rounds of above / below."""
    return median(a / b for a, b in zip(times[above], times[below], strict=True))


# --- the yardstick ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gemm:
    """A dense matrix product to compare with.

    Attributes:
        route: how torch was asked for it.
        shape: rows, inner, columns.
        action: one product.
    """

    route: str
    shape: tuple[int, int, int]
    action: Callable[[], Any]

    @property
    def flops(self) -> float:
        return 2.0 * self.shape[0] * self.shape[1] * self.shape[2]


def gemms(dtype: torch.dtype) -> list[Gemm]:
    """Products in the shapes that suit a GEMM best, by every route torch has on the CPU."""
    products = []
    for shape in ((2048, 2048, 2048), (8192, 256, 256), (8192, 2592, 96), (4096, 6912, 256)):
        rows, inner, columns = shape
        left = torch.randn(rows, inner).to(dtype)
        transposed = torch.randn(columns, inner).to(dtype)  # the layout of nn.Linear, which every route takes without a copy
        if dtype == torch.bfloat16:
            products.append(Gemm("torch", shape, lambda left=left, right=transposed: left @ right.T))
            continue

        def medium(left: Tensor = left, right: Tensor = transposed) -> Tensor:
            with matmul_precision("medium"):
                return left @ right.T

        def pointwise(left: Tensor = left, right: Tensor = transposed) -> Tensor:
            result: Tensor = torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")
            return result

        products += [
            Gemm("torch default", shape, lambda left=left, right=transposed: left @ right.T),
            Gemm('torch "medium"', shape, medium),
            Gemm("mkldnn._linear_pointwise", shape, pointwise),
        ]
    return products


def fastest_gemm(dtype: torch.dtype, rounds: int) -> tuple[Gemm, dict[str, float]]:
    """The product with the most operations per second, and GFLOP/s of every route at its best."""
    best: dict[str, float] = {}
    winner, highest = None, 0.0
    for gemm in gemms(dtype):
        try:
            rate = gemm.flops / median(take_turns({"": gemm.action}, rounds)[""])
        except (RuntimeError, AttributeError):  # a private operator that this build of torch does not have
            continue
        best[gemm.route] = max(best.get(gemm.route, 0.0), rate / 1e9)
        if rate > highest:
            winner, highest = gemm, rate
    assert winner is not None
    return winner, best


# --- one layer ----------------------------------------------------------------------------------------------------------------


def layer(cloud: Cloud, channels: int, gemm: Gemm, gemm16: Gemm | None, rounds: int, *, twins: bool) -> dict[str, Any]:
    """A 3³ layer of ``channels`` to ``channels``: milliseconds, share of the GEMM, ratios to the peers."""
    native = native_kernels()
    grid = cloud.grid
    features, gradient = torch.randn(len(grid), channels), torch.randn(len(grid), channels)
    weight = torch.randn(27, channels, channels) / (27 * channels) ** 0.5
    flops = 2.0 * cloud.pairs * channels**2
    rule = grid.rule("submanifold", native)

    def pieces(kernels: Any, rule: Any, bfloat16: bool) -> dict[str, Callable[[], Any]]:
        return {
            "forward": lambda: kernels.convolve(features, weight, rule, transposed=False, mirrored=False, bfloat16=bfloat16),
            "input_gradient": lambda: kernels.convolve(gradient, weight, rule, transposed=True, mirrored=True, bfloat16=bfloat16),
            "weight_gradient": lambda: kernels.weight_gradient(features, gradient, rule, bfloat16=bfloat16),
        }

    times = take_turns({"gemm": gemm.action, **pieces(native, rule, False)}, rounds)
    scale = flops / gemm.flops
    result: dict[str, Any] = {
        "ms": {name: 1e3 * median(times[name]) for name in times if name != "gemm"},
        "gflops": {name: flops / median(times[name]) / 1e9 for name in times if name != "gemm"},
        "fraction_of_gemm": {name: scale * ratio(times, "gemm", name) for name in times if name != "gemm"},
    }
    if gemm16 is not None:
        times = take_turns({"gemm": gemm16.action, **pieces(native, rule, True)}, rounds)
        result["bfloat16"] = {
            "ms": {name: 1e3 * median(times[name]) for name in times if name != "gemm"},
            "fraction_of_gemm": {name: flops / gemm16.flops * ratio(times, "gemm", name) for name in times if name != "gemm"},
        }
    if not twins:
        return result

    whole = {"native": lambda: forward_and_backward(subm_conv, features, weight, gradient, grid, "native")}
    whole["torch"] = lambda: forward_and_backward(subm_conv, features, weight, gradient, grid, "reference")
    if spconv_backend.is_installed() and not spconv_backend.has_races(features.device):
        peer = spconv_layer(cloud, features, weight, gradient)

        def tuned() -> None:
            with matmul_precision("medium"):
                peer()

        whole |= {"spconv": peer, "spconv_tuned": tuned}
    times = take_turns(whole, 3)  # the peers take seconds
    result["forward_and_backward_ms"] = {name: 1e3 * median(values) for name, values in times.items()}
    for name in ("torch", "spconv", "spconv_tuned"):
        result[f"ratio_to_{name}"] = ratio(times, name, "native") if name in times else None
    return result


def forward_and_backward(
    operator: Callable[..., Tensor], features: Tensor, weight: Tensor, gradient: Tensor, grid: VoxelGrid, backend: str
) -> None:
    leaves = features.detach().requires_grad_(), weight.detach().requires_grad_()
    torch.autograd.grad(operator(*leaves, grid, backend=backend), leaves, gradient)


def spconv_layer(cloud: Cloud, features: Tensor, weight: Tensor, gradient: Tensor) -> Callable[[], None]:
    """The same by spconv's own module on its own, cached map; its result is compared with ours once."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import spconv.pytorch as spconv
    spconv_backend._spconv()  # the patch without which its backward does not run on the CPU
    channels = features.shape[1]
    module = spconv.SubMConv3d(channels, channels, 3, bias=False, indice_key="level", algo=spconv.ConvAlgo.Native)
    module.weight.data = weight.permute(2, 0, 1).reshape(channels, 3, 3, 3, channels).contiguous()
    cells = cloud.grid.coords.clone()
    cells[:, 1:] -= cells[:, 1:].amin(0)
    shape = (cells[:, 1:].amax(0) + 1).tolist()
    mapped = module(spconv.SparseConvTensor(features, cells, shape, 1))
    ours = subm_conv(features, weight, cloud.grid)
    assert float((mapped.features.detach() - ours).norm() / ours.norm()) < 1e-5, "spconv computes something else"

    def run() -> None:
        leaf = features.detach().requires_grad_()
        # indice_dict holds the map, as in the second layer of a level.
        tensor = spconv.SparseConvTensor(leaf, cells, shape, 1, indice_dict=mapped.indice_dict)
        torch.autograd.grad(module(tensor).features, (leaf, module.weight), gradient)

    return run


# --- maps ---------------------------------------------------------------------------------------------------------------------


def maps(cloud: Cloud, rounds: int) -> dict[str, Any]:
    """Milliseconds of finding the voxels and of every rule of a U-Net with four levels down, points in random order."""
    shuffled = cloud.coords[torch.randperm(len(cloud.coords), generator=torch.Generator().manual_seed(0))]
    native = native_kernels()

    def build(kernels: Any) -> dict[str, float]:
        seconds: dict[str, float] = {}

        def timed(name: str, action: Callable[[], Any]) -> Any:
            start = time.thread_time() if torch.get_num_threads() == 1 else time.perf_counter()
            value = action()
            seconds[name] = (time.thread_time() if torch.get_num_threads() == 1 else time.perf_counter()) - start
            return value

        coords, _, _ = timed("voxelise", lambda: kernels.sorted_voxels(shuffled))
        for level in range(LEVELS):
            timed(f"submanifold {level}", lambda coords=coords: kernels.submanifold_rule(coords))
            if level < LEVELS - 1:
                parents, parent, child = timed(f"down {level}", lambda coords=coords: kernels.down_voxels(coords))
                for name, rule in (("down", kernels.down_rule), ("up", kernels.up_rule)):
                    count = len(parents)
                    timed(
                        f"{name} rule {level}",
                        lambda rule=rule, parent=parent, child=child, count=count: rule(parent, child, count),
                    )
                coords = parents
        return seconds

    runs = [build(native) for _ in range(rounds + 1)][1:]
    stages = {name: 1e3 * median(run[name] for run in runs) for name in runs[0]}
    result: dict[str, Any] = {
        "stages_ms": stages,
        "unet_ms": sum(stages.values()),
        "unet_without_voxelise_ms": sum(stages.values()) - stages["voxelise"],
        "torch_unet_ms": 1e3 * sum(build(reference).values()),
    }
    if spconv_backend.is_installed() and not spconv_backend.has_races(cloud.coords.device):
        _, algorithm = spconv_backend._spconv()
        from spconv.pytorch import ops

        cells = cloud.grid.coords.clone()
        cells[:, 1:] -= cells[:, 1:].amin(0)
        shape = (cells[:, 1:].amax(0) + 1).tolist()
        sizes = ([3] * 3, [1] * 3, [1] * 3, [1] * 3, [0] * 3)
        times = take_turns(
            {
                "spconv": lambda: ops.get_indice_pairs(cells, 1, shape, algorithm, *sizes, subm=True),
                "native": lambda: native.submanifold_rule(cloud.grid.coords),
            },
            rounds,
        )
        result["spconv_submanifold_ms"] = 1e3 * median(times["spconv"])
        result["submanifold_ratio_to_spconv"] = ratio(times, "spconv", "native")
    return result


# --- a training step ----------------------------------------------------------------------------------------------------------


class Step:
    """Voxels, maps, MinkUNet14A, a head of 512 channels, the loss of feature matching, gradients and SGD, on one room."""

    def __init__(self, coords: Tensor, precision: str, backend: str, rows: int | None) -> None:
        torch.manual_seed(0)
        self.coords = coords
        self.network = minkunet14a(3, precision=precision, backend=backend)
        linear = nn.Linear if backend == "reference" else Pointwise
        self.head = linear(self.network.out_channels, HEAD_CHANNELS)
        parameters = [*self.network.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, foreach=True)
        self.inputs = torch.rand(len(coords), 3) * 2 - 1
        self.positions = coords[:, 1:].float() + 0.5
        self.batch = coords[:, 0].long()
        self.rows = torch.arange(len(coords)) if rows is None else torch.randperm(len(coords))[:rows]
        self.targets = nn.functional.normalize(torch.randn(len(self.rows), HEAD_CHANNELS), dim=1)

    def __call__(self) -> float:
        with fast_exact_matmul():
            cloud = VoxelisedPoints.from_points(self.inputs, self.positions, self.batch)
            features = self.head(self.network(cloud, self.rows))
            loss = 1 - cosine_of_rows(features, self.targets).mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return float(loss.detach())

    def flops(self) -> float:
        """Multiplications and additions of all products of one step, forward and both gradients."""
        total = 0.0
        first = self.network.stem.conv
        handles = []

        def count(module: nn.Module, inputs: tuple[Any, ...], _: Tensor) -> None:
            nonlocal total
            if isinstance(module, SparseConv):
                grid = inputs[1]
                pairs = len(grid) if module.kind != "submanifold" else int((grid.neighbours() < len(grid)).sum())
                products = 2.0 * pairs * module.weight.shape[1] * module.weight.shape[2]
            else:
                products = 2.0 * len(inputs[0]) * module.weight.numel()
            total += products * (2 if module is first else 3)  # nobody asks for the gradient of the network's input

        for module in (*self.network.modules(), self.head):
            if isinstance(module, SparseConv | nn.Linear):
                handles.append(module.register_forward_hook(count))
        self()
        for handle in handles:
            handle.remove()
        return total


def training_step(cloud: Cloud, gemm: Gemm, gemm16: Gemm | None, rounds: int, *, twin: bool) -> dict[str, Any]:
    """Milliseconds of a step on about 34k voxels of a room, and how many times its GEMM floor that is."""
    coords = cloud.grid.coords[cloud.grid.coords[:, 1].argsort(stable=True)[:STEP_VOXELS]]
    variants = {"float32": Step(coords, "float32", "auto", None)}
    if gemm16 is not None:
        variants["bfloat16"] = Step(coords, "bfloat16", "auto", None)
        variants["bfloat16, sampled head"] = Step(coords, "bfloat16", "auto", SAMPLED_ROWS)
    if twin:
        variants["plain torch"] = Step(coords, "float32", "reference", None)
    result: dict[str, Any] = {"voxels": len(coords), "points_with_head": len(coords), "variants": {}}
    for name, step in variants.items():
        flops = step.flops()
        yardstick = gemm16 if gemm16 is not None and name.startswith("bfloat16") else gemm
        action = step if name == "plain torch" else as_in_training(step)
        times = take_turns({"gemm": yardstick.action, "step": action}, 3 if name == "plain torch" else rounds)
        floor = flops / yardstick.flops * median(times["gemm"])
        result["variants"][name] = {
            "ms": 1e3 * median(times["step"]),
            "fastest_ms": 1e3 * min(times["step"]),
            "gflop": flops / 1e9,
            "floor_ms": 1e3 * floor,
            "over_floor": yardstick.flops / flops * ratio(times, "step", "gemm"),
        }
    return result


# --- all of it ----------------------------------------------------------------------------------------------------------------


def measure(threads_tried: list[int], quick: bool) -> dict[str, Any]:
    native = native_kernels()
    has_bfloat16 = native.supports_bfloat16()
    rounds = 5 if quick else 7
    lidar_name, lidar = lidar_points()
    indoor = cloud_of("indoor 4 cm", room_points(), 0.04)
    clouds = [indoor, *(cloud_of(f"LiDAR {edge} cm", lidar, edge / 100) for edge in ((10,) if quick else (5, 10)))]
    result: dict[str, Any] = {
        "backend": library.describe().variant,
        "lidar": lidar_name,
        "spconv": spconv_backend.is_installed(),
        "clouds": {cloud.name: {"voxels": len(cloud.grid), "pairs_per_voxel": cloud.pairs_per_voxel} for cloud in clouds},
        "gemm_gflops": {},
        "layers": {},
        "fraction_of_gemm": {},
        "ratio_to_spconv": {},
        "ratio_to_torch": {},
        "maps": {},
        "training_step": {},
        "goals": GOALS,
    }
    for threads in threads_tried:
        key = str(threads)
        with threads_set(threads):
            gemm, by_route = fastest_gemm(torch.float32, rounds)
            gemm16, by_route16 = fastest_gemm(torch.bfloat16, rounds) if has_bfloat16 else (None, {})
            result["gemm_gflops"][key] = {
                "float32": by_route,
                "fastest": {"route": gemm.route, "shape": gemm.shape, "gflops": max(by_route.values())},
                "bfloat16": by_route16.get("torch"),
            }
            for cloud in clouds:
                for channels in (32, 96) if quick else WIDTHS:
                    print(f"{threads} threads, {cloud.name}, {channels} channels …", file=sys.stderr)
                    got = layer(cloud, channels, gemm, gemm16, rounds, twins=not quick or cloud is indoor)
                    for name, value in (
                        ("layers", got),
                        ("fraction_of_gemm", got["fraction_of_gemm"]),
                        ("ratio_to_spconv", got.get("ratio_to_spconv")),
                        ("ratio_to_torch", got.get("ratio_to_torch")),
                    ):
                        result[name].setdefault(cloud.name, {}).setdefault(str(channels), {})[key] = value
                result["maps"].setdefault(cloud.name, {})[key] = maps(cloud, rounds)
            print(f"{threads} threads, training step …", file=sys.stderr)
            result["training_step"][key] = training_step(indoor, gemm, gemm16, 3 if quick else 5, twin=not quick)
    result["peak_memory_bytes"] = peak_resident_bytes()
    return result


def table(result: dict[str, Any]) -> str:
    """The figures for people, goals beside them."""
    lines = [f"compiled kernels: {result['backend']}; LiDAR cloud: {result['lidar']}"]
    for name, cloud in result["clouds"].items():
        lines.append(f"{name}: {cloud['voxels']} voxels, {cloud['pairs_per_voxel']:.1f} pairs per voxel")
    for threads, gemm in result["gemm_gflops"].items():
        routes = ", ".join(f"{route} {rate:.0f}" for route, rate in gemm["float32"].items())
        rows, inner, columns = gemm["fastest"]["shape"]
        lines.append(
            f"fastest GEMM, {threads} threads: {gemm['fastest']['gflops']:.0f} GFLOP/s ({gemm['fastest']['route']}, "
            f"{rows} × {inner} × {columns}; {routes}" + (f"; bfloat16 {gemm['bfloat16']:.0f})" if gemm["bfloat16"] else ")")
        )

    def number(value: float | None, digits: int = 2) -> str:
        return "–" if value is None else f"{value:.{digits}f}"

    lines += [
        "",
        "3³ layer C → C; share of the fastest GEMM (goal: forward ≥ 0.90, weight gradient ≥ 0.80 for C ≥ 64 indoors; LiDAR"
        " forward ≥ 0.60);",
        'ratios of forward + backward to peers (goal: spconv ≥ 3 for C ≤ 128, ≥ 2.3 at 256); tuned = with torch\'s "medium"',
        f"{'cloud':<12}{'C':>4}{'thr':>4} {'fwd ms':>8}{'din ms':>8}{'dw ms':>8} {'fwd':>6}{'din':>6}{'dw':>6}"
        f"   bf16:{'fwd ms':>8}{'fwd':>6}{'din':>6}{'dw':>6}   {'× torch':>8}{'× spconv':>9}{'tuned':>7}",
    ]
    names = ("forward", "input_gradient", "weight_gradient")
    for cloud, widths in result["layers"].items():
        for channels, by_thread in widths.items():
            for threads, got in by_thread.items():
                half = got.get("bfloat16", {"ms": {}, "fraction_of_gemm": {}})
                lines.append(
                    f"{cloud:<12}{channels:>4}{threads:>4} "
                    + "".join(f"{got['ms'][name]:8.1f}" for name in names)
                    + " "
                    + "".join(f"{got['fraction_of_gemm'][name]:6.2f}" for name in names)
                    + f"        {number(half['ms'].get('forward'), 1):>8}"
                    + "".join(f"{number(half['fraction_of_gemm'].get(name)):>6}" for name in names)
                    + f"   {number(got.get('ratio_to_torch')):>8}{number(got.get('ratio_to_spconv')):>9}"
                    + f"{number(got.get('ratio_to_spconv_tuned')):>7}"
                )
    lines += ["", f"{'maps, ms':<12}{'thr':>4}{'voxelise':>10}{'finest 3³':>10}{'U-Net':>8}{'torch':>8}{'spconv 3³':>11}{'×':>6}"]
    for cloud, by_thread in result["maps"].items():
        for threads, got in by_thread.items():
            stages = got["stages_ms"]
            lines.append(
                f"{cloud:<12}{threads:>4}{stages['voxelise']:10.1f}{stages['submanifold 0']:10.1f}{got['unet_ms']:8.1f}"
                f"{got['torch_unet_ms']:8.1f}{number(got.get('spconv_submanifold_ms'), 1):>11}"
                f"{number(got.get('submanifold_ratio_to_spconv'), 1):>6}"
            )
    lines += ["", "MinkUNet14A training step, maps and SGD included, head of 512 channels on every voxel (goal: ≤ 1.6 × floor)"]
    for threads, got in result["training_step"].items():
        for name, step in got["variants"].items():
            lines.append(
                f"{threads} threads  {name:<24}{step['ms']:8.0f} ms (fastest {step['fastest_ms']:.0f}), "
                f"{step['gflop']:.1f} GFLOP, floor {step['floor_ms']:.0f} ms: {step['over_floor']:.2f} × floor"
            )
    lines += ["", *shortfalls(result)]
    return "\n".join(lines)


def shortfalls(result: dict[str, Any]) -> list[str]:
    """One line per goal that was missed; a line that says so when none was."""
    missed = []
    for cloud, widths in result["layers"].items():
        dense = result["clouds"][cloud]["pairs_per_voxel"] >= 10
        for channels, by_thread in widths.items():
            for threads, got in by_thread.items():
                goals: list[tuple[str, float | None, float]] = []
                share = got["fraction_of_gemm"]
                if dense and int(channels) >= 64:
                    goals.append(("forward, share of GEMM", share["forward"], 0.9))
                    goals.append(("weight gradient, share of GEMM", share["weight_gradient"], 0.8))
                if not dense:
                    goals.append(("forward, share of GEMM", share["forward"], 0.6))
                else:
                    goals.append(("ratio to spconv", got.get("ratio_to_spconv"), 3.0 if int(channels) <= 128 else 2.3))
                missed += [
                    f"missed: {cloud}, C = {channels}, {threads} threads: {name} {value:.2f}, goal {goal}"
                    for name, value, goal in goals
                    if value is not None and value < goal
                ]
    for threads, got in result["training_step"].items():
        over = got["variants"]["float32"]["over_floor"]
        if over > 1.6:
            missed.append(f"missed: float32 step, {threads} threads: {over:.2f} × floor, goal 1.6")
    return missed or ["every goal that could be measured was reached"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two widths, two clouds, one thread, few repetitions")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--threads", type=int, nargs="+", help="thread counts; 1 and all processors by default")
    arguments = parser.parse_args()
    if native_kernels() is None:
        sys.exit("the compiled library is not there; `scenewise doctor` says why")
    everything = sorted({1, library.default_threads()})
    threads_tried = arguments.threads or ([1] if arguments.quick else everything)
    torch.manual_seed(0)
    keep_freed_memory()  # as training does; helps whoever is measured
    result = measure(threads_tried, arguments.quick)
    print(json.dumps(result) if arguments.json else table(result))


if __name__ == "__main__":
    main()

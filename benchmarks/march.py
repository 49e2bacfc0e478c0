"""Speed of ray marching: forward alone, and forward with the gradient of the features (and of the densities).

Rays through random pixels of ten views of a furnished room whose surfaces are voxels: sampled around the true depth, as a
training step does, or evenly between near and far, as for pixels without depth.  The compiled backend and its plain torch twin
take turns.  One thread is measured in processor time, so that a busy machine disturbs little; several threads in wall time.

    python benchmarks/march.py [--quick] [--json]
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from scenewise.engine.memory import keep_freed_memory
from scenewise.kernels.native import library
from scenewise.kernels.sparse_conv import voxelise
from scenewise.rendering.densities import surface_densities
from scenewise.rendering.march import (
    Backend,
    DepthSampling,
    FeatureVolume,
    PixelRays,
    joined_rays,
    march,
    pixel_rays,
    sample_depths,
)
from scenewise.worlds.captures import room_cameras, truth
from scenewise.worlds.meshes import room_mesh
from scenewise.worlds.rooms import furnished_room
from scenewise.worlds.seeds import BENCHMARK_SEEDS

VIEWS, WIDTH, HEIGHT = 10, 160, 120
PAUSE = 0.01  # seconds
VOXELS = {"20k": 0.08, "50k": 0.05, "200k": 0.025}  # metres
SAMPLINGS = {"guided": (1, 0), "even": (0, 1), "mixed": (1, 1)}  # shares around the depth and between near and far


@dataclass(frozen=True)
class Size:
    """Rays, samples of each, channels, voxels and how rays are sampled."""

    rays: int
    samples: int
    channels: int
    voxels: str
    sampling: str

    def __str__(self) -> str:
        return f"{self.rays} × {self.samples}, {self.channels} ch, {self.voxels}, {self.sampling}"


QUICK = (Size(2048, 32, 64, "50k", "guided"), Size(2048, 32, 64, "50k", "even"))
SIZES = (
    Size(1024, 8, 32, "20k", "guided"),
    Size(2048, 32, 64, "50k", "guided"),
    Size(2048, 32, 64, "50k", "even"),
    Size(4096, 32, 64, "50k", "mixed"),
    Size(8192, 64, 64, "50k", "guided"),
    Size(8192, 64, 64, "50k", "even"),
    Size(4096, 32, 128, "200k", "guided"),
    Size(8192, 64, 128, "200k", "mixed"),
)


def volume_of(size: Size) -> FeatureVolume:
    """Voxels of a room's surfaces with random features."""
    points = torch.from_numpy(room_mesh(furnished_room(BENCHMARK_SEEDS[3]), spacing=0.02, noise=0.0).mesh.vertices_in_world)
    voxel = VOXELS[size.voxels]
    cells = (points / voxel).floor().int()
    grid = voxelise(torch.cat([torch.zeros(len(cells), 1, dtype=torch.int32), cells], dim=1)).grid
    features = torch.randn(len(grid), size.channels, generator=torch.Generator().manual_seed(0))
    return FeatureVolume(grid, features, surface_densities(grid, voxel), voxel, torch.zeros(1, 3))


def rays_of(size: Size) -> tuple[PixelRays, Tensor]:
    """Rays of random pixels, and the depths at which they are sampled."""
    room = furnished_room(BENCHMARK_SEEDS[3])
    cameras = room_cameras(room, VIEWS, WIDTH, HEIGHT)
    generator = torch.Generator().manual_seed(0)
    parts, known = [], []
    for view in range(VIEWS):
        count = size.rays // VIEWS + (view < size.rays % VIEWS)
        places = torch.randint(0, WIDTH * HEIGHT, (count,), generator=generator)
        parts.append(pixel_rays(cameras[view], torch.stack([places // WIDTH, places % WIDTH], dim=1)))
        known.append(torch.from_numpy(truth(room, cameras[view]).depth).reshape(-1)[places])
    around, between = (share * size.samples // sum(SAMPLINGS[size.sampling]) for share in SAMPLINGS[size.sampling])
    return joined_rays(parts), sample_depths(torch.cat(known), DepthSampling(guided=around, uniform=between), generator)


class Step:
    """One backend on one input."""

    def __init__(self, volume: FeatureVolume, rays: PixelRays, depths: Tensor, backend: Backend) -> None:
        self.features, self.densities = volume.features.clone().requires_grad_(), volume.densities.clone().requires_grad_()
        self.volume = FeatureVolume(volume.grid, self.features, self.densities, volume.voxel, volume.shifts)
        self.rays, self.depths, self.backend = rays, depths, backend
        self.upstream = torch.randn(len(depths), volume.features.shape[1], generator=torch.Generator().manual_seed(1))

    def forward(self) -> None:
        with torch.no_grad():
            march(self.volume, self.rays, self.depths, backend=self.backend)

    def features_learn(self) -> None:
        got = march(self.volume, self.rays, self.depths, backend=self.backend)
        torch.autograd.grad(got.features, self.features, self.upstream)

    def densities_learn(self) -> None:
        got = march(self.volume, self.rays, self.depths, density_gradient=True, backend=self.backend)
        torch.autograd.grad(got.features, (self.features, self.densities), self.upstream)


def seconds_of(action: Callable[[], None], threads: int, backend: Backend) -> float:
    """One call; the twin with threads of torch's, ours with none (see docs/decisions.md)."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    torch.set_num_threads(threads if backend == "reference" else 1)
    start = clock()
    action()
    taken = clock() - start
    torch.set_num_threads(1)
    if threads > 1 and backend == "reference":
        time.sleep(PAUSE)  # idle threads of torch spin for some milliseconds
    return taken


def measured(size: Size, threads: int, rounds: int) -> dict[str, Any]:
    """Milliseconds of both backends and how many times as long the twin takes: the median of the rounds' ratios."""
    volume, (rays, depths) = volume_of(size), rays_of(size)
    steps = {backend: Step(volume, rays, depths, backend) for backend in ("native", "reference")}
    result: dict[str, Any] = {"voxels": len(volume.grid)}
    for name in ("forward", "features_learn", "densities_learn"):
        seconds: dict[str, list[float]] = {"native": [], "reference": []}
        for turn in range(rounds + 1):
            for backend, repeats in (("reference", 1), ("native", 3)):
                taken = [seconds_of(getattr(steps[backend], name), threads, backend) for _ in range(repeats)]
                if turn > 0:
                    seconds[backend].append(median(taken))
        result[name] = {
            "ms": 1e3 * median(seconds["native"]),
            "reference_ms": 1e3 * median(seconds["reference"]),
            "ratio_to_reference": median(b / a for a, b in zip(seconds["native"], seconds["reference"], strict=True)),
        }
    return result


def measure(quick: bool) -> dict[str, Any]:
    result: dict[str, Any] = {"backend": library.describe().variant, "sizes": {}}
    for size in QUICK if quick else SIZES:
        for threads in (1,) if quick else (1, 2):
            if threads <= library.default_threads():
                library.set_threads(threads)
                result["sizes"].setdefault(str(size), {})[str(threads)] = measured(size, threads, 3 if quick else 7)
    return result


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    lines = [
        f"{result['backend']}; native ms (times as fast as the plain torch twin)",
        f"{'rays × samples, channels, voxels':<40}{'threads':>8}{'forward':>17}{'+ d features':>17}{'+ d densities':>17}",
    ]
    for size, by_thread in result["sizes"].items():
        for threads, got in by_thread.items():
            cells = (got[name] for name in ("forward", "features_learn", "densities_learn"))
            lines.append(
                f"{size:<40}{threads:>8}" + "".join(f"{cell['ms']:8.2f} ({cell['ratio_to_reference']:5.1f})" for cell in cells)
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two sizes, one thread, few repetitions")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    if library.load() is None:
        sys.exit("the compiled library is not there; `scenewise doctor` says why")
    keep_freed_memory()  # as training does; helps whoever is measured
    result = measure(arguments.quick)
    print(json.dumps(result) if arguments.json else table(result))


if __name__ == "__main__":
    main()

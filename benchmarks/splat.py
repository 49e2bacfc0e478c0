"""Speed of one training iteration of the splat kernel: milliseconds per stage, 1 and 2 threads, 10k, 47k and 100k Gaussians.

An iteration is projection, binning, rasterisation, L1 + D-SSIM, all their gradients, and Adam on every parameter.  The scenes are
trained with an exact number of Gaussians, on the fox at 1/4 size where the data are present, else on the embedded room, and kept
in the user's cache.  The processor's FMA peak is measured in the same run, and the plain torch twin runs beside the compiled
backend, so that figures of two machines can be compared by their ratios.

    python benchmarks/splat.py [--quick] [--json]
"""

import argparse
import ctypes
import json
import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from scenewise.io.captures import open_capture
from scenewise.io.resizing import downscaled_capture
from scenewise.kernels.adam import adam_step
from scenewise.kernels.native import library
from scenewise.kernels.splats import SplatInput, native, reference
from scenewise.kernels.ssim import l1_dssim
from scenewise.kernels.ssim import reference as ssim_reference
from scenewise.parts.points.choose import initial_points
from scenewise.parts.splats.building import build_trainer
from scenewise.parts.splats.recipes import FAST_MCMC
from scenewise.scenes.captures import Capture
from scenewise.worlds.captures import room_capture
from scenewise.worlds.seeds import BENCHMARK_SEEDS

SIZES = {"10k": 10_000, "47k": 47_000, "100k": 100_000}
NAMES = ("means", "quats", "log_scales", "logit_opacities", "sh0", "shN")
STAGES = ("projection", "binning", "rasterization", "loss", "rasterization_backward", "projection_backward", "adam")

# Floating-point operations (an FMA counts two), read off the source.  Per evaluated lane: forward 31 (offset 2, quadratic form 8,
# exponential 11, weights 2, four channels 8), backward 56 (21 recomputed, 15 for ∂L/∂α, 20 for ten moments).  Lanes of 4×4 blocks
# the ellipse does not touch are never evaluated and not counted.  The moment product carries 6 idle columns that are not counted.
FLOPS_PER_LANE = 31 + 56
FLOPS_PER_VISIBLE = 900  # projection, forward and backward, without harmonics
FLOPS_PER_SH_COEFFICIENT = 20
FLOPS_PER_VALUE_SSIM = 330  # 16 symmetric 11-tap passes of 17 operations, 58 for the formula and its derivative
FLOPS_PER_PARAMETER_ADAM = 13


@dataclass(frozen=True)
class Scene:
    """Gaussians and the view they are timed on."""

    parameters: dict[str, Tensor]
    camera_from_world: Tensor
    K: Tensor
    truth: Tensor


def bench_capture() -> tuple[str, Capture]:
    """The fox at 1/4 size, or the embedded room."""
    fox = Path(os.environ.get("SCENEWISE_DATA", "data")) / "fox"
    if fox.is_dir():
        return "fox", downscaled_capture(open_capture(fox), 4)
    return "room", room_capture(seed=BENCHMARK_SEEDS[0], frames=24, width=270, height=480)


def scene_of(size: int, name: str, capture: Capture) -> Scene:
    """A trained scene of exactly ``size`` Gaussians, from the cache or trained now."""
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "scenewise" / "bench"
    path = folder / f"{name}_{size}.safetensors"
    if not path.exists():
        print(f"training the scene of {size} Gaussians once …", file=sys.stderr)
        config = replace(FAST_MCMC, steps=600, strategy=replace(FAST_MCMC.strategy, max_gaussians=size))
        trainer = build_trainer(capture, initial_points(capture, maximum=size).cloud, config, seed=0)
        trainer.run()
        gaussians = trainer.field.gaussians(capture.train_frames[0].camera)
        folder.mkdir(parents=True, exist_ok=True)
        save_file({key: getattr(gaussians, key).detach().contiguous() for key in NAMES}, path)
    frame = capture.test_frames[len(capture.test_frames) // 2]
    assert frame.load_image is not None
    truth = torch.from_numpy(frame.load_image().copy()).float() / 255
    return Scene(load_file(path), frame.camera.camera_from_world.float(), frame.camera.K.float(), truth)


def with_degree(parameters: dict[str, Tensor], degree: int) -> dict[str, Tensor]:
    """Leaves with the coefficients of ``degree``; missing ones are small random numbers."""
    generator = torch.Generator().manual_seed(0)
    rest = torch.randn(len(parameters["means"]), (degree + 1) ** 2 - 1, 3, generator=generator) * 0.02
    return {key: (rest if key == "shN" else value).clone().requires_grad_() for key, value in parameters.items()}


def splat_input(leaves: dict[str, Tensor], scene: Scene, degree: int, screen: Tensor | None) -> SplatInput:
    height, width, _ = scene.truth.shape
    return SplatInput(
        means=leaves["means"],
        quats=leaves["quats"],
        sh0=leaves["sh0"],
        shN=leaves["shN"],
        scales=leaves["log_scales"],
        opacities=leaves["logit_opacities"],
        sh_degree=degree,
        extra=None,
        camera_from_world=scene.camera_from_world,
        K=scene.K,
        near=0.01,
        width=width,
        height=height,
        background=torch.zeros(3),
        stored=True,
        screen_gradients=screen,
        contribution=False,
    )


def iterate(scene: Scene, degree: int, repeats: int) -> dict[str, float]:
    """Milliseconds of the median iteration and of its stages, compiled backend."""
    leaves = with_degree(scene.parameters, degree)
    moments = {key: (torch.zeros_like(value), torch.zeros_like(value)) for key, value in leaves.items()}
    samples: list[dict[str, float]] = []
    for step in range(1, repeats + 3):
        times = native.StageTimes()
        screen = torch.zeros(len(leaves["means"]), 2, requires_grad=True)
        start = time.perf_counter()
        output = native.rasterize(splat_input(leaves, scene, degree, screen), times)
        rendered = time.perf_counter()
        loss = l1_dssim(output.color, scene.truth)
        judged = time.perf_counter()
        loss.backward()
        returned = time.perf_counter()
        with torch.no_grad():
            for key, leaf in leaves.items():
                if leaf.numel():
                    # A rate of 0 keeps the scene as it is; the arithmetic is the same.
                    adam_step(leaf, leaf.grad, *moments[key], learning_rate=0.0, step=step)
                leaf.grad = None
        end = time.perf_counter()
        sample = {stage: 1e3 * getattr(times, stage) for stage in STAGES if hasattr(times, stage)}
        sample |= {"loss": 1e3 * (judged - rendered), "adam": 1e3 * (end - returned), "total": 1e3 * (end - start)}
        sample["forward"], sample["backward"] = 1e3 * (rendered - start), 1e3 * (returned - judged)
        if step > 2:
            samples.append(sample)
    return {key: median(sample[key] for sample in samples) for key in samples[0]} | {
        "fastest_total": min(sample["total"] for sample in samples)
    }


def count_flops(scene: Scene, degree: int) -> tuple[float, dict[str, int]]:
    """Floating-point operations of one iteration, and the counts behind them."""
    leaves = with_degree(scene.parameters, degree)
    with torch.no_grad():
        native.rasterize(splat_input(leaves, scene, degree, None))
    visible, pairs, lanes = native.last_counts()
    parameters = sum(leaf.numel() for leaf in leaves.values())
    flops = lanes * FLOPS_PER_LANE + visible * (FLOPS_PER_VISIBLE + FLOPS_PER_SH_COEFFICIENT * (degree + 1) ** 2)
    flops += scene.truth.numel() * FLOPS_PER_VALUE_SSIM + parameters * FLOPS_PER_PARAMETER_ADAM
    return flops, {"visible": visible, "tile_pairs": pairs, "lanes": lanes}


def reference_iteration(scene: Scene, degree: int) -> float:
    """Milliseconds of one iteration of the plain torch twin."""
    leaves = with_degree(scene.parameters, degree)
    start = time.perf_counter()
    color = reference.rasterize(splat_input(leaves, scene, degree, None)).color
    (0.8 * (color - scene.truth).abs().mean() + 0.2 * (1 - ssim_reference.ssim_map(color, scene.truth).mean())).backward()
    return 1e3 * (time.perf_counter() - start)


def fma_peak(threads: int) -> float:
    """Measured floating-point operations per second of ``threads`` threads."""
    lib = library.load()
    assert lib is not None
    lib.sw_fma_peak.restype, lib.sw_fma_peak.argtypes = ctypes.c_double, [ctypes.c_int64, ctypes.c_int]
    return threads * float(lib.sw_fma_peak(1_000_000, 7))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10k Gaussians only, few repetitions")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    if library.load() is None:
        sys.exit("the compiled library is not there; `scenewise doctor` says why")
    torch.set_num_threads(1)
    name, capture = bench_capture()
    available = library.default_threads()
    threads_tried = [threads for threads in (1, 2) if threads <= available]
    result: dict[str, Any] = {
        "capture": name,
        "backend": library.describe().variant,
        "fma_peak_gflops_per_thread": fma_peak(1) / 1e9,
        "iteration_ms": {},
        "iteration_ms_sh3": {},
        "stages_ms": {},
        "fraction_of_fma_peak": {},
        "reference_ms": {},
        "ratio_to_reference": {},
        "counts": {},
    }
    for label, size in list(SIZES.items())[: 1 if arguments.quick else None]:
        scene = scene_of(size, name, capture)
        flops, result["counts"][label] = count_flops(scene, 0)
        repeats = 7 if arguments.quick else 25
        for key in ("iteration_ms", "iteration_ms_sh3", "stages_ms", "fraction_of_fma_peak", "ratio_to_reference"):
            result[key][label] = {}
        torch.set_num_threads(1)
        twin = reference_iteration(scene, 0) if label != "100k" else None
        result["reference_ms"][label] = twin
        for threads in threads_tried:
            library.set_threads(threads)
            flat, rich = iterate(scene, 0, repeats), iterate(scene, 3, repeats)
            result["iteration_ms"][label][str(threads)] = flat["total"]
            result["iteration_ms_sh3"][label][str(threads)] = rich["total"]
            result["stages_ms"][label][str(threads)] = flat
            result["fraction_of_fma_peak"][label][str(threads)] = flops / (flat["total"] / 1e3) / fma_peak(threads)
            result["ratio_to_reference"][label][str(threads)] = None if twin is None else twin / flat["total"]
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{name}, {result['backend']}, FMA peak {result['fma_peak_gflops_per_thread']:.0f} GFLOP/s per thread (measured)")
    columns = "  ".join(f"{stage.replace('rasterization', 'raster').replace('projection', 'project'):>16}" for stage in STAGES)
    print(f"{'Gaussians':>9} {'threads':>7} {'SH 0 ms':>8} {'fastest':>8} {'SH 3 ms':>8} {'of peak':>8} {'× twin':>8}  {columns}")
    for label, by_thread in result["iteration_ms"].items():
        for threads, total in by_thread.items():
            stages = result["stages_ms"][label][threads]
            ratio = result["ratio_to_reference"][label][threads]
            print(
                f"{label:>9} {threads:>7} {total:8.1f} {stages['fastest_total']:8.1f} "
                f"{result['iteration_ms_sh3'][label][threads]:8.1f} {result['fraction_of_fma_peak'][label][threads]:8.1%} "
                f"{'–' if ratio is None else f'{ratio:.0f}':>8}  " + "  ".join(f"{stages[stage]:16.2f}" for stage in STAGES)
            )


if __name__ == "__main__":
    main()

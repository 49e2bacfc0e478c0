"""Speed of the decoder of neural anchors: forward and backward, with and without a teacher, and the search for visible anchors.

Twice as many anchors as are visible, ten children each of which about half can be seen, features and hidden layers of 32.  The
compiled backend and its plain torch twin take turns, and the processor's FMA peak is measured in the same run.  One thread is
measured in processor time, so that a busy machine disturbs little; several threads in wall time.

    python benchmarks/anchor_decoder.py [--quick] [--json]
"""

import argparse
import ctypes
import json
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any, TypeVar

import torch
from torch import Tensor

from scenewise.engine.memory import keep_freed_memory
from scenewise.kernels.anchor_decoder import (
    AnchorInput,
    Backend,
    DecoderHeads,
    decode,
    head_parameters,
    native,
    reference,
)
from scenewise.kernels.native import library

T = TypeVar("T")
SIZES = {"5k": 5_000, "10k": 10_000, "50k": 50_000}  # visible anchors
SLOTS, CHANNELS, HIDDEN = 10, 32, 32
INPUTS = CHANNELS + 3
VARIANTS = {"plain": (False, False), "teacher": (True, False), "passing": (True, True)}
OUTPUTS = ("means", "log_scales", "quats", "logit_opacities", "sh0", "differences")
PAUSE = 0.01  # seconds
GOAL_MS = {"1": 5.0, "2": 3.0}  # forward + backward of 10k without a teacher, on a processor with AVX-512


def anchors_of(visible: int, teacher: bool, passes: bool) -> AnchorInput:
    """Random anchors, every second one visible, with leaves that want gradients."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    def heads() -> DecoderHeads:
        sizes = (head_parameters(INPUTS, HIDDEN, outputs * SLOTS) for outputs in (1, 3, 7))
        return DecoderHeads(*((0.3 * normal(size)).requires_grad_() for size in sizes))

    n = 2 * visible
    return AnchorInput(
        positions=normal(n, 3) * 2,
        offsets=normal(n, SLOTS, 3).requires_grad_(),
        features=normal(n, CHANNELS).requires_grad_(),
        log_scales=(normal(n, 6) * 0.5 - 3).requires_grad_(),
        rows=torch.randperm(n, generator=generator)[:visible].sort().values,
        center=torch.tensor([0.3, -4.0, 1.0]),
        heads=heads(),
        teacher=heads() if teacher else None,
        teacher_passes_gradients=passes,
    )


def flops(visible: int, teacher: bool, passes: bool) -> float:
    """Multiplications and additions of all products that the result needs: hidden layers are counted once."""
    first, second = 3 * INPUTS * HIDDEN, 11 * SLOTS * HIDDEN
    to_features = 3 * CHANNELS * HIDDEN
    total = 3 * (first + second) - (first - to_features)  # nobody asks for the gradient of the direction
    total += (first + second if teacher else 0) + (second + to_features if passes else 0)
    return 2.0 * visible * total


class Step:
    """Forward and backward with gradients of every output."""

    def __init__(self, anchors: AnchorInput, backend: Backend) -> None:
        self.anchors, self.backend = anchors, backend
        self.leaves = [anchors.offsets, anchors.features, anchors.log_scales]
        self.leaves += [anchors.heads.opacity, anchors.heads.color, anchors.heads.covariance]
        self.upstream: list[Tensor] = []

    def __call__(self, clock: Callable[[], float]) -> tuple[float, float]:
        """Seconds of forward and of backward."""
        start = clock()
        children = decode(self.anchors, self.backend)
        forward = clock() - start
        outputs = [value for name in OUTPUTS if (value := getattr(children, name)) is not None]
        if [tuple(value.shape) for value in outputs] != [tuple(value.shape) for value in self.upstream]:
            self.upstream = [torch.randn_like(value) for value in outputs]
        start = clock()
        torch.autograd.grad(outputs, self.leaves, self.upstream)
        return forward, clock() - start


def fma_peak(threads: int) -> float:
    """Measured floating-point operations per second of ``threads`` threads."""
    lib = library.load()
    assert lib is not None
    lib.sw_fma_peak.restype, lib.sw_fma_peak.argtypes = ctypes.c_double, [ctypes.c_int64, ctypes.c_int]
    return threads * float(lib.sw_fma_peak(1_000_000, 7))


def with_threads_of_torch(threads: int, action: Callable[[], T]) -> T:
    """Calls the twin with threads of torch's; ours run with none (see docs/decisions.md), and after a pause: idle threads of
    torch spin for some milliseconds and would take a processor from whoever comes next."""
    torch.set_num_threads(threads)
    result = action()
    torch.set_num_threads(1)
    if threads > 1:
        time.sleep(PAUSE)
    return result


def decoding(visible: int, variant: str, threads: int, rounds: int) -> dict[str, float]:
    """Milliseconds, share of the FMA peak and ratio to the twin."""
    anchors = anchors_of(visible, *VARIANTS[variant])
    compiled, twin = Step(anchors, "native"), Step(anchors, "reference")
    clock = time.thread_time if threads == 1 else time.perf_counter
    ours: list[tuple[float, float]] = []
    theirs: list[tuple[float, float]] = []
    for turn in range(rounds + 1):
        theirs.append(with_threads_of_torch(threads, lambda: twin(clock)))
        for _ in range(4):
            ours.append(compiled(clock))
        if turn == 0:
            ours, theirs = [], []
    total = [sum(times) for times in ours]
    twin_total = median(sum(times) for times in theirs)
    return {
        "forward_ms": 1e3 * median(times[0] for times in ours),
        "backward_ms": 1e3 * median(times[1] for times in ours),
        "ms": 1e3 * median(total),
        "fastest_ms": 1e3 * min(total),
        "fastest_fraction_of_fma_peak": flops(visible, *VARIANTS[variant]) / min(total) / fma_peak(threads),
        "reference_ms": 1e3 * twin_total,
        "ratio_to_reference": twin_total / median(total),
    }


def finding(visible: int, threads: int, rounds: int) -> dict[str, float]:
    """Milliseconds of the search for visible anchors among twice as many, and its ratio to the twin's."""
    anchors = anchors_of(visible, False, False)
    pose = torch.eye(4)
    pose[2, 3] = 4.0
    where = (pose, torch.tensor([[300.0, 0.0, 150.0], [0.0, 300.0, 250.0], [0.0, 0.0, 1.0]]), (300, 500), 0.01, 3.0)
    clock = time.thread_time if threads == 1 else time.perf_counter
    seconds: dict[str, list[float]] = {"native": [], "reference": []}
    for _ in range(3 * rounds):
        for name, find in (("native", native.visible_rows), ("reference", reference.visible_rows)):

            def action(find: Callable[..., Tensor] = find) -> float:
                start = clock()
                find(anchors.positions, anchors.log_scales, *where)
                return clock() - start

            seconds[name].append(action() if name == "native" else with_threads_of_torch(threads, action))
    ours, theirs = median(seconds["native"]), median(seconds["reference"])
    return {"ms": 1e3 * ours, "reference_ms": 1e3 * theirs, "ratio_to_reference": theirs / ours}


def measure(quick: bool) -> dict[str, Any]:
    rounds = 5 if quick else 12
    threads_tried = [threads for threads in (1, 2) if threads <= library.default_threads()]
    result: dict[str, Any] = {
        "backend": library.describe().variant,
        "fma_peak_gflops_per_thread": fma_peak(1) / 1e9,
        "decoding": {},
        "finding": {},
        "goal_ms": GOAL_MS,
    }
    for label in ["10k"] if quick else SIZES:
        result["decoding"][label] = {variant: {} for variant in VARIANTS}
        result["finding"][label] = {}
        for threads in threads_tried:
            library.set_threads(threads)
            for variant in VARIANTS:
                result["decoding"][label][variant][str(threads)] = decoding(SIZES[label], variant, threads, rounds)
            result["finding"][label][str(threads)] = finding(SIZES[label], threads, rounds)
    return result


def table(result: dict[str, Any]) -> str:
    """The figures for people."""
    lines = [f"{result['backend']}, FMA peak {result['fma_peak_gflops_per_thread']:.0f} GFLOP/s per thread (measured)"]
    lines.append(
        f"{'visible':>8} {'teacher':>8} {'threads':>7} {'forward':>8} {'backward':>9} {'sum ms':>7} {'fastest':>8} {'of peak':>8}"
        f" {'twin ms':>8} {'× twin':>7}"
    )
    for label, variants in result["decoding"].items():
        for variant, by_thread in variants.items():
            lines += [
                f"{label:>8} {variant:>8} {threads:>7} {got['forward_ms']:8.2f} {got['backward_ms']:9.2f} {got['ms']:7.2f} "
                f"{got['fastest_ms']:8.2f} {got['fastest_fraction_of_fma_peak']:8.0%} {got['reference_ms']:8.1f} "
                f"{got['ratio_to_reference']:7.1f}"
                for threads, got in by_thread.items()
            ]
        for threads, got in result["finding"][label].items():
            lines.append(
                f"{label:>8} found among twice as many, {threads} threads: {got['ms']:.2f} ms, twin {got['reference_ms']:.2f} ms "
                f"({got['ratio_to_reference']:.1f} times)"
            )
    for threads, goal in result["goal_ms"].items():
        got = result["decoding"]["10k"]["plain"].get(threads)
        if got is not None:
            said = "reached" if got["fastest_ms"] <= goal else "missed"
            lines.append(f"goal {goal:.0f} ms for 10k on {threads} threads: {said} ({got['fastest_ms']:.2f} ms at its fastest)")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="10k visible anchors only, few repetitions")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    if library.load() is None:
        sys.exit("the compiled library is not there; `scenewise doctor` says why")
    keep_freed_memory()  # as training does; helps whoever is measured
    result = measure(arguments.quick)
    print(json.dumps(result) if arguments.json else table(result))


if __name__ == "__main__":
    main()

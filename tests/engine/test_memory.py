"""Memory estimates and the caps that follow from budgets."""

import mmap
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from scenewise.engine import memory
from scenewise.engine.memory import (
    MemoryEstimate,
    cap_within_budget,
    forget_peak,
    peak_resident_bytes,
    peak_since_forgotten,
    resident_bytes,
    text_from_bytes,
)
from scenewise.errors import ResourceError

ESTIMATE = MemoryEstimate({"program": 100, "pictures": 20}, {"parameters": 8, "rasteriser": 2})


def test_estimate_anchor() -> None:
    assert ESTIMATE.total(5) == 170
    assert ESTIMATE.most_gaussians(170) == 5 and ESTIMATE.most_gaussians(179) == 5
    assert ESTIMATE.most_gaussians(119) == 0
    assert "program 100 bytes" in ESTIMATE.text(5) and "5 Gaussians × 10 B" in ESTIMATE.text(5)


def test_caps() -> None:
    assert cap_within_budget(ESTIMATE, None, wanted=7, at_least=1) == (7, None)
    assert cap_within_budget(ESTIMATE, 220, wanted=None, at_least=1) == (10, 10)
    assert cap_within_budget(ESTIMATE, 220, wanted=7, at_least=1) == (7, 10)
    assert cap_within_budget(ESTIMATE, 220, wanted=70, at_least=1) == (10, 10)
    with pytest.raises(ResourceError, match=r"at least 230 bytes for 11 Gaussians, got 220 bytes.*--budget"):
        cap_within_budget(ESTIMATE, 220, wanted=None, at_least=11)


@pytest.mark.parametrize(("size", "text"), [(999, "999 bytes"), (1500, "1.5 kB"), (999_600, "1 MB"), (2.34e9, "2.34 GB")])
def test_sizes_in_words(size: float, text: str) -> None:
    assert text_from_bytes(size) == text


def test_resident_memory_grows_with_what_is_allocated() -> None:
    before = resident_bytes()
    block = mmap.mmap(-1, 96_000_000)  # of the system itself: an array may get what an earlier test freed and the process kept
    np.frombuffer(block, dtype=np.uint8)[:] = 1
    assert resident_bytes() - before > 60_000_000
    assert peak_resident_bytes() >= resident_bytes() - 10_000_000
    block.close()


def test_kept_memory_is_given_back_when_it_has_grown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes settle at 20 in the first two steps; beyond 30 they are given back, and settle anew."""
    sizes = iter([20, 10, 30, 31, 40, 50, 75, 76])
    given = []
    monkeypatch.setattr(memory, "resident_bytes", lambda: next(sizes))
    monkeypatch.setattr(memory, "give_back_freed_memory", lambda: not given.append(1))
    kept = memory.KeptMemory(growth=1.5, settling=2)
    assert [kept.after_step() for _ in range(8)] == [False, False, False, True, False, False, False, True]
    assert len(given) == 2


def test_splat_training_estimate_covers_what_a_store_holds() -> None:
    from tests.support.fabricated_capture import fabricated_capture

    from scenewise.parts.splats.fields import ExplicitGaussians, gaussians_from_points
    from scenewise.parts.splats.memory import decoded_bytes, training_memory
    from scenewise.parts.splats.schedules import LearningRates

    capture = fabricated_capture(with_depth=True)
    frames = capture.train_frames
    assert decoded_bytes(frames) == len(frames) * 40 * 30 * (3 + 4 + 1)
    assert capture.points is not None
    for degree in (0, 3):
        field = ExplicitGaussians(gaussians_from_points(capture.points, 1.0), LearningRates(), 1.0)
        field.set_sh_degree(degree)
        estimate = training_memory(frames, sh_degree=degree, cache_bytes=10**9)
        gradients = sum(field.store[name].nbytes for name in field.store)
        assert estimate.per_gaussian["parameters"] * len(field.store) >= 2 * (field.store.bytes + gradients) * 0.9
    assert torch.equal(field.store["shN"], torch.zeros(150, 15, 3))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of the GNU C library")
def test_freed_memory_is_kept() -> None:
    # In a process of its own, because the setting lasts.  Faults count pages touched for the first time: 16 MB are 4096 of them.
    code = (
        "import resource, numpy, sys; from scenewise.engine.memory import keep_freed_memory\n"
        "taken = keep_freed_memory() if sys.argv[1] == 'keep' else True\n"
        "numpy.ones(1 << 21); before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(5): numpy.ones(1 << 21)\n"
        "print(taken, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)"
    )
    faults = {}
    for choice in ("keep", "default"):
        taken, count = subprocess.run(
            [sys.executable, "-c", code, choice], capture_output=True, text=True, check=True
        ).stdout.split()
        if taken != "True":
            pytest.skip("not the GNU C library")
        faults[choice] = int(count)
    assert faults["keep"] < 100 < faults["default"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the peak of a program")
def test_the_peak_is_not_that_of_whoever_started_the_program() -> None:
    with mmap.mmap(-1, 480_000_000) as block:
        np.frombuffer(block, dtype=np.uint8)[:] = 1
        assert peak_resident_bytes() > 480_000_000
        asked = "from scenewise.engine.memory import peak_resident_bytes; print(peak_resident_bytes())"
        child = subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True, text=True)
    assert 5_000_000 < int(child.stdout) < 400_000_000


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux forgets a peak")
def test_a_peak_that_was_forgotten_still_counts_for_the_whole() -> None:
    with mmap.mmap(-1, 320_000_000) as block:
        np.frombuffer(block, dtype=np.uint8)[:] = 1
    whole = peak_resident_bytes()
    if not forget_peak():
        pytest.skip("this system does not let a program forget its peak")
    assert peak_since_forgotten() < whole - 200_000_000
    assert peak_resident_bytes() >= whole

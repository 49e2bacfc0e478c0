"""Memory as an input: what a training run will need, the cap that follows from a budget, and what it did need."""

import errno
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from scenewise.errors import ResourceError


def text_from_bytes(size: int | float) -> str:
    """A size for people, in powers of ten: ``1.9 GB``, ``350 MB``, ``12 kB``."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= 0.9995 * factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} bytes"


_OUT_OF_MEMORY = re.compile(
    r"(can't|cannot|can not|not able to|unable to|failed to) (allocate|map)|not enough memory|out of memory|insufficient memory"
    r"|bad_?alloc|can't start new thread",
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: torch, OpenCV and the loader of libraries each have a way of their own."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    is_foreign = isinstance(error, RuntimeError | ImportError | OSError) or type(error).__module__.partition(".")[0] == "cv2"
    return is_foreign and _OUT_OF_MEMORY.search(str(error)) is not None


def resident_bytes() -> int:
    """Memory this process occupies now (its peak where the system does not tell)."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 - Path.open costs a text layer for a 40-byte read
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return peak_resident_bytes()


def peak_resident_bytes() -> int:
    """Largest memory this process has occupied so far; 0 where the system does not tell (Windows)."""
    peak = _high_water()
    if peak is not None:
        return max(_forgotten, peak)
    try:
        import resource
    except ImportError:
        return 0
    # Linux counts here what the parent occupied before this program was started, so it is asked last.
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(usage) if sys.platform == "darwin" else int(usage) * 1024


_forgotten = 0
"""The peak before the last :func:`forget_peak`."""


def forget_peak() -> bool:
    """Makes :func:`peak_since_forgotten` start from what this process occupies now; returns whether the system can do that."""
    global _forgotten
    before = peak_resident_bytes()
    try:
        with open("/proc/self/clear_refs", "w") as file:  # noqa: PTH123 - Path.write_text would truncate first
            file.write("5")  # proc(5): resets the peak resident size
    except OSError:
        return False
    _forgotten = before
    return True


def peak_since_forgotten() -> int:
    """Largest memory this process has occupied since the last :func:`forget_peak`; since its start where that has no effect."""
    peak = _high_water()
    return peak_resident_bytes() if peak is None else peak


def _high_water() -> int | None:
    """What Linux says was this program's largest size since its start, or since it was made to forget."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:  # noqa: PTH123 - as above
            line = next((line for line in file if line.startswith("VmHWM:")), None)
        return None if line is None else 1024 * int(line.split()[1])
    except (OSError, ValueError, IndexError):
        return None


def keep_freed_memory() -> bool:
    """Makes the C library keep what large arrays free for the next ones, for the rest of this process.

    By default every array beyond some hundred kilobytes is fetched from the operating system and given back, and each of its
    pages is cleared again at first touch.  Training allocates the same activations at every step: this saves a sparse network's
    step 10 to 30 %.  In exchange the process stays as large as it once was.

    Returns:
        Whether it took effect: only with the GNU C library.
    """
    import ctypes

    trim_threshold, mmap_threshold, most = -1, -3, 2**31 - 1  # malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library; Windows wants a name
        return False
    # Old releases refuse thresholds beyond half a heap, 32 MiB.
    return bool((mallopt(mmap_threshold, most) or mallopt(mmap_threshold, 32 << 20)) and mallopt(trim_threshold, most))


@final
class KeptMemory:
    """Gives freed memory back to the system where what is kept of it (:func:`keep_freed_memory`) has grown far beyond its use.

    Arrays of ever other sizes leave holes that the next ones do not fit into: a sparse network whose batches differ grew from
    3.5 to 20 GB in 720 steps.  Looked at after every step, the process is at most ``growth`` times as large as while it settled.

    Args:
        growth: times that size at which memory is given back.
        settling: steps after which a size is taken for what is used.
    """

    def __init__(self, growth: float = 1.25, settling: int = 3) -> None:
        self._growth, self._settling = growth, settling
        self._steps, self._settled = 0, 0

    def after_step(self) -> bool:
        """Looks at the size; returns whether memory was given back."""
        now = resident_bytes()
        self._steps += 1
        if self._steps <= self._settling:
            self._settled = max(self._settled, now)
            return False
        if now <= self._growth * self._settled:
            return False
        self._steps, self._settled = 0, 0
        return give_back_freed_memory()


def give_back_freed_memory() -> bool:
    """Returns whether the C library could be told to give back what it keeps: only GNU's."""
    import ctypes

    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return False
    return bool(trim(0))


@dataclass(frozen=True)
class MemoryEstimate:
    """What a run will need, as a sum of named parts.

    Attributes:
        fixed: bytes that do not depend on the number of Gaussians, by part.
        per_gaussian: bytes for each Gaussian, by part.
    """

    fixed: Mapping[str, int]
    per_gaussian: Mapping[str, int]

    def total(self, gaussians: int) -> int:
        """Bytes with this many Gaussians."""
        return sum(self.fixed.values()) + gaussians * sum(self.per_gaussian.values())

    def most_gaussians(self, budget: int) -> int:
        """The largest number of Gaussians whose total stays within the budget; 0 when not even the fixed part does."""
        return max(0, (budget - sum(self.fixed.values())) // max(1, sum(self.per_gaussian.values())))

    def text(self, gaussians: int) -> str:
        """One line for people: the total and what it is made of."""
        parts = [f"{name} {text_from_bytes(size)}" for name, size in self.fixed.items()]
        each = sum(self.per_gaussian.values())
        parts.append(f"{gaussians:,} Gaussians × {each} B = {text_from_bytes(gaussians * each)}")
        return f"{text_from_bytes(self.total(gaussians))} ({', '.join(parts)})"


def cap_within_budget(
    estimate: MemoryEstimate, budget: int | None, *, wanted: int | None, at_least: int
) -> tuple[int | None, int | None]:
    """The cap on Gaussians that keeps a run within its budget.

    Args:
        estimate: what the run needs.
        budget: bytes that may be used, or None for no limit.
        wanted: cap asked for by the user or the method, or None for none.
        at_least: fewest Gaussians with which the run makes sense.

    Returns:
        The cap to use (None for none), and the cap the budget would allow (None without budget).

    Raises:
        ResourceError: not even ``at_least`` Gaussians fit.
    """
    if budget is None:
        return wanted, None
    allowed = estimate.most_gaussians(budget)
    if allowed < at_least:
        raise ResourceError(
            "memory budget",
            expected=f"at least {text_from_bytes(estimate.total(at_least))} for {at_least:,} Gaussians",
            got=text_from_bytes(budget),
            fix="raise --budget, or use smaller images (--downscale) or a lower --sh-degree",
        )
    return (allowed if wanted is None else min(wanted, allowed)), allowed

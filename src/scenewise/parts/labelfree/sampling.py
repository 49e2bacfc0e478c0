"""Which points of a scan become tokens: as many of each geometric set as its size asks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from scenewise.engine.randomness import keyed_generator
from scenewise.errors import ConventionError


@dataclass(frozen=True)
class Tokens:
    """Points drawn from the scans of a batch.

    Attributes:
        rows: of the batch's points; scan after scan, ascending within a scan.
        scan: position in the batch of the scan each belongs to.
    """

    rows: Int64[Tensor, "t"]
    scan: Int64[Tensor, "t"]

    def __len__(self) -> int:
        return len(self.rows)


def scan_generators(generator: torch.Generator, scans: Sequence[int]) -> list[torch.Generator]:
    """One CPU generator per scan, which depends on the step and the scan but not on what else is in the batch or on its rank.

    Draws a single number from ``generator``.

    Args:
        generator: of the step, in the same state on every rank.
        scans: their indices in the data set.
    """
    seed = int(torch.randint(1 << 62, (), generator=generator, device=generator.device))
    return [keyed_generator(seed, scan) for scan in scans]


def sample_tokens(
    segments: Int64[Tensor, "n"],
    eligible: Bool[Tensor, "n"],
    first_point: Int64[Tensor, "scans_and_one"],
    tokens_per_scan: int,
    generator: torch.Generator,
    scans: Sequence[int] | None = None,
) -> Tokens:
    """Draws M points of every scan, from each set in proportion to its size.

    M_i = M · N_i / N.  Source: HICL (Kang et al., CVPR 2024), where M = 1024.  Rounding each M_i by itself would give most small
    sets nothing: points are ordered by set, at random within a set, and ranks ⌊(j + u)·N/M⌋ with j = 0 … M − 1 and one
    u ~ U(0, 1) are taken (systematic sampling).  These are M different points, every point has the chance M/N, and
    |M_i − M·N_i/N| < 1.

    Args:
        segments: set of each point, −1 = none; points of no set count as one set together.
        eligible: points that may be drawn: those with a label.
        first_point: row of each scan's first point, and the number of points at the end.
        tokens_per_scan: M.  A scan with no more eligible points than that gives all of them.
        generator: of the step.
        scans: their indices in the data set (:func:`scan_generators`); None = their positions in the batch.

    Returns:
        The points drawn.

    Raises:
        ConventionError: M < 1.
    """
    if tokens_per_scan < 1:
        raise ConventionError("tokens_per_scan", expected="at least 1", got=tokens_per_scan)
    bounds = [int(row) for row in first_point]
    generators = scan_generators(generator, range(len(bounds) - 1) if scans is None else scans)
    rows = [
        begin + _proportional(segments[begin:end], eligible[begin:end], tokens_per_scan, own)
        for (begin, end), own in zip(pairwise(bounds), generators, strict=True)
    ]
    scan = torch.repeat_interleave(
        torch.arange(len(rows), device=segments.device), torch.tensor([len(some) for some in rows], device=segments.device)
    )
    return Tokens(torch.cat([segments.new_zeros(0), *rows]), scan)


def _proportional(segments: Tensor, eligible: Tensor, count: int, generator: torch.Generator) -> Tensor:
    candidates = eligible.nonzero()[:, 0]
    n = len(candidates)
    if n <= count:
        return candidates
    # A random low half orders the points of a set at random: one sort does both.
    low = torch.randint(1 << 32, (n,), generator=generator).to(segments.device)
    order = ((segments[candidates] + 1) * (1 << 32) + low).argsort(stable=True)
    u = float(torch.rand((), generator=generator, dtype=torch.float64))
    ranks = ((torch.arange(count, dtype=torch.float64) + u) * (n / count)).floor().long().clamp_max(n - 1)
    chosen: Tensor = candidates[order[ranks.to(order.device)]]
    return chosen.sort().values

"""Mean and variance of what the frozen 2D model says, against which the loss of the prior is measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from scenewise.errors import ConventionError
from scenewise.parts.scans.posed_scans import PosedScan

_MOST_SCANS = 32  # that are looked at, spread evenly


@runtime_checkable
class _Scans(Protocol):
    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> PosedScan: ...


@dataclass(frozen=True)
class PriorStatistics:
    """Of the frozen features of some scans.

    Attributes:
        mean: of each number.
        variance: mean squared distance from the mean.
    """

    mean: Float32[Tensor, "prior_dim"]
    variance: float

    @property
    def dim(self) -> int:
        """Of the frozen features."""
        return len(self.mean)


def prior_statistics(scans: _Scans) -> PriorStatistics:
    """Mean and variance over all cells of at most 32 scans.

    Raises:
        ConventionError: no scans, scans of different priors, or a prior that says the same everywhere.
    """
    if len(scans) == 0:
        raise ConventionError("scans", expected="at least one", got="none")
    rows = _spread(len(scans), _MOST_SCANS)
    sums: np.ndarray | None = None
    squares, count = 0.0, 0
    for row in rows:
        values = scans[row].prior.astype(np.float64)
        flat = values.reshape(-1, values.shape[-1])
        if sums is None:
            sums = np.zeros(flat.shape[1])
        if flat.shape[1] != len(sums):
            raise ConventionError("prior", expected=f"{len(sums)} numbers in every scan", got=flat.shape[1])
        sums += flat.sum(0)
        squares += float(np.square(flat).sum())
        count += len(flat)
    assert sums is not None
    mean = sums / max(1, count)
    variance = squares / max(1, count) - float(np.square(mean).sum())
    if not variance > 0:
        raise ConventionError("prior", expected="features that differ from place to place", got=f"a variance of {variance:.3g}")
    return PriorStatistics(torch.from_numpy(mean.astype(np.float32)), variance)


def _spread(count: int, most: int) -> Sequence[int]:
    return [int(row) for row in np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))]

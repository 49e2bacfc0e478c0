"""Claims: statements about a study, judged from outcomes alone."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scenewise.errors import ConventionError


@dataclass(frozen=True)
class Claim:
    """A statement and whether the outcomes bear it out.

    Attributes:
        id: fixed name.
        claim: the statement in words.
        holds: the mean difference reaches the threshold and every seed has its sign.
        per_seed: the figure of each seed.
        difference: mean of what ``per_seed`` exceeds the threshold or the other arm by.
        interval: 95 % interval of the mean difference (Student's t over seeds), None with a single seed.
        why: one sentence when it does not hold.
    """

    id: str
    claim: str
    holds: bool
    per_seed: Sequence[float]
    difference: float
    interval: tuple[float, float] | None
    why: str | None = None


def t_interval(differences: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the mean by Student's t; None for fewer than two values."""
    if len(differences) < 2:
        return None
    from scipy.stats import t

    half = float(t.ppf(0.975, len(differences) - 1)) * float(np.std(differences, ddof=1)) / math.sqrt(len(differences))
    mean = float(np.mean(differences))
    return mean - half, mean + half


def threshold_claim(
    identifier: str, claim: str, values: Sequence[float], threshold: float, *, also: bool = True, why: str | None = None
) -> Claim:
    """The mean of ``values`` reaches ``threshold`` (larger is better) and ``also`` holds.

    A threshold is a statement about the mean, so single seeds may lie below it.
    """
    differences = [value - threshold for value in values]
    mean = float(np.mean(differences))
    holds = mean >= 0.0 and also
    reason = None if holds else why or f"the mean over {len(values)} seeds is {np.mean(values):.4g}, not {threshold:g}"
    return Claim(identifier, claim, holds, list(values), mean, t_interval(differences), reason)


def paired_claim(
    identifier: str,
    claim: str,
    values: Sequence[float],
    others: Sequence[float],
    *,
    at_least: float = 0.0,
    why: str | None = None,
) -> Claim:
    """``values`` exceed ``others``, seed by seed, by ``at_least`` on average, and every seed has the sign of the claim.

    Raises:
        ConventionError: not one value per seed on both sides.
    """
    if len(values) != len(others):
        raise ConventionError(
            f"claim {identifier}", expected="as many seeds on both sides", got=f"{len(values)} and {len(others)}"
        )
    differences = [value - other for value, other in zip(values, others)]
    mean = float(np.mean(differences))
    holds = mean >= at_least and all(difference > 0 for difference in differences)
    reason = (
        None
        if holds
        else why or f"the mean difference is {mean:.4g}; {sum(d > 0 for d in differences)} of {len(differences)} seeds"
    )
    return Claim(identifier, claim, holds, differences, mean, t_interval(differences), reason)


def not_run(identifier: str, claim: str, why: str) -> Claim:
    """A claim whose arms were not run: it does not hold."""
    return Claim(identifier, claim, False, [], 0.0, None, why)


def verdict(claim: Claim) -> str:
    """A line for people: whether it holds, and why not."""
    if not claim.per_seed:
        return f"{claim.id}: not measured: {claim.why}"
    return f"{claim.id}: {'holds' if claim.holds else f'does NOT hold: {claim.why}'}"

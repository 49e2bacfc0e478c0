"""Arms: configurations that are run once per seed, and their kept outcomes.

An outcome is kept under a hash of its arm's configuration, so that an interrupted study goes on where it stopped and a changed
setting is run again.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from scenewise.errors import DataFormatError
from scenewise.io.atomic import json_text
from scenewise.io.json_values import fingerprint_of
from scenewise.io.product_kinds import OUTCOME
from scenewise.io.products import find, keep, of_bytes


@dataclass(frozen=True)
class Outcome:
    """What one run of one arm gave.

    Attributes:
        metrics: figures by name; the experiment's main metric is among them.  None: not measured (LPIPS without a backbone).
        parameters_trained: trained numbers at the end.
        parameters_deployed: numbers that are kept.
        train_seconds: training time.
        bytes_on_disk: size of what is kept.
    """

    metrics: Mapping[str, float | None]
    parameters_trained: int = 0
    parameters_deployed: int = 0
    train_seconds: float = 0.0
    bytes_on_disk: int = 0


@dataclass(frozen=True)
class Arm:
    """One configuration to be run with every seed.

    Attributes:
        name: in the results.
        config: everything that decides the outcome besides the seed, as JSON values; changes run the arm again.
        run: seed → outcome.
    """

    name: str
    config: Mapping[str, Any]
    run: Callable[[int], Outcome]


def run_arm(arm: Arm, seeds: Sequence[int], cache: Path, *, report: Callable[[str], None] = lambda text: None) -> list[Outcome]:
    """Outcomes of an arm, one per seed, from the cache where they are there.

    Args:
        arm: what to run.
        seeds: with which seeds.
        cache: folder of kept outcomes.
        report: told what is done.
    """
    outcomes = []
    for seed in seeds:
        path, key = outcome_path(arm, seed, cache), _fingerprint(arm, seed)
        kept = find(path, OUTCOME, key, _read_outcome)
        if kept is not None:
            outcomes.append(kept)
            report(f"{arm.name}, seed {seed}: kept from before: {_figures(kept)}")
            continue
        started = time.monotonic()
        outcome = arm.run(seed)
        keep(path, OUTCOME, key, of_bytes(json_text(path, asdict(outcome)).encode()))
        outcomes.append(outcome)
        report(f"{arm.name}, seed {seed}: {_figures(outcome)} ({time.monotonic() - started:.0f} s)")
    return outcomes


def outcome_path(arm: Arm, seed: int, cache: Path) -> Path:
    """Where the outcome of an arm is kept; its name changes with the arm's configuration."""
    return OUTCOME.path(cache, f"{arm.name}_{seed}", _fingerprint(arm, seed))


def _fingerprint(arm: Arm, seed: int) -> str:
    return fingerprint_of({"arm": arm.name, "seed": seed, "config": arm.config})


def _read_outcome(path: Path) -> Outcome:
    try:
        return Outcome(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataFormatError(path, expected="a kept outcome", got=str(error), fix="delete the file") from error


def _figures(outcome: Outcome) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in outcome.metrics.items() if value is not None)


def measured(metric: str, outcomes: Sequence[Outcome]) -> list[float]:
    """A figure that every one of the outcomes has."""
    values = [value for value in (outcome.metrics[metric] for outcome in outcomes) if value is not None]
    assert len(values) == len(outcomes), f"{metric} was not measured everywhere"
    return values


def digest(values: object) -> str:
    """Short hash of JSON values."""
    return fingerprint_of(values)[:16]

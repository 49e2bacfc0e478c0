"""Reproducible experiments: arms × seeds with cached outcomes, paired claims, and the results file.

An arm is run once per seed; its outcome is kept under a hash of its configuration, so that an interrupted reproduction goes on
where it stopped and a changed setting is run again.  Claims are judged from outcomes alone.
"""

import json
import math
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scenewise.engine.memory import peak_resident_bytes
from scenewise.engine.provenance import versions
from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.atomic import json_text
from scenewise.io.json_values import fingerprint_of
from scenewise.io.product_kinds import OUTCOME
from scenewise.io.products import find, keep, of_bytes
from scenewise.kernels.native import library


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


@dataclass(frozen=True)
class Results:
    """Everything that goes into ``docs/results/<method>.json``.

    Attributes:
        method: name of the method's folder.
        metric: main metric of the arms.
        seeds: seeds of every arm.
        arms: outcomes by arm, in the order of the seeds.
        claims: judged claims.
        seconds: time of the whole reproduction, kept outcomes included with what they took.
        notes: reductions and skipped parts, in words.
    """

    method: str
    metric: str
    seeds: Mapping[str, Sequence[int]]
    arms: Mapping[str, Sequence[Outcome]]
    claims: Sequence[Claim]
    seconds: float
    notes: Sequence[str] = field(default_factory=list)


def results_json(results: Results) -> dict[str, Any]:
    """The results file's content."""
    return {
        "method": results.method,
        "metric": results.metric,
        "arms": {name: _arm_json(results.metric, results.seeds[name], outcomes) for name, outcomes in results.arms.items()},
        "claims": [asdict(claim) for claim in results.claims],
        "notes": list(results.notes),
        "environment": environment(),
        "seconds": results.seconds,
        "peak_memory_bytes": peak_resident_bytes(),
    }


def _arm_json(metric: str, seeds: Sequence[int], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    def spread(measured: Sequence[float | None]) -> dict[str, Any]:
        values = [value for value in measured if value is not None]
        if len(values) < len(measured):
            return {"per_seed": list(measured), "mean": None, "std": None}
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        return {"per_seed": list(values), "mean": float(np.mean(values)), "std": deviation}

    main = spread([outcome.metrics[metric] for outcome in outcomes])
    others = [name for name in outcomes[0].metrics if name != metric]
    return {
        "seeds": list(seeds),
        **main,
        "more": {name: spread([outcome.metrics[name] for outcome in outcomes]) for name in others},
        "parameters_trained": outcomes[0].parameters_trained,
        "parameters_deployed": outcomes[0].parameters_deployed,
        "train_seconds": float(np.mean([outcome.train_seconds for outcome in outcomes])),
        "bytes_on_disk": outcomes[0].bytes_on_disk,
    }


def results_table(content: Mapping[str, Any]) -> str:
    """The arms and claims of a results file as Markdown, for the method's README."""
    metric = content["metric"]
    lines = [f"| arm | {metric} | seeds | training | size on disk |", "|---|---|---|---|---|"]
    for name, arm in content["arms"].items():
        size = "–" if not arm["bytes_on_disk"] else f"{arm['bytes_on_disk'] / 1e6:.2f} MB"
        spread = f" ± {arm['std']:.2f}" if len(arm["seeds"]) > 1 else ""
        lines.append(f"| {name} | {arm['mean']:.2f}{spread} | {len(arm['seeds'])} | {arm['train_seconds']:.0f} s | {size} |")
    return "\n".join([*lines, "", claims_table(content)])


def wide_table(content: Mapping[str, Any], columns: Mapping[str, tuple[str, str, float]]) -> str:
    """All arms with several of their figures, and the claims, as Markdown.

    Args:
        content: a results file.
        columns: heading → (figure: the main metric, one of "more", or a field of the arm; format; divisor).  Figures that were
            not measured show as "–".
    """
    lines = [f"| arm | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    for name, arm in content["arms"].items():
        cells = []
        for figure, form, divisor in columns.values():
            found = arm if figure == content["metric"] else arm["more"].get(figure, {"mean": arm.get(figure)})
            mean = found["mean"]
            spread = f" ± {found['std'] / divisor:{form}}" if figure == content["metric"] and len(arm["seeds"]) > 1 else ""
            cells.append("–" if mean is None else f"{mean / divisor:{form}}{spread}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", claims_table(content)])


def claims_table(content: Mapping[str, Any]) -> str:
    """Claims with their figures, as Markdown: differences of a comparison, or values and how far their mean is from a threshold.

    Args:
        content: a results file.
    """
    lines = ["| claim | mean difference (95 %) | each seed or pair | holds |", "|---|---|---|---|"]
    for claim in content["claims"]:
        each = ", ".join(f"{value + 0.0:.2f}" for value in claim["per_seed"]) or "–"
        difference = f"{claim['difference']:+.2f}" if claim["per_seed"] else "–"
        if claim["interval"] is not None:
            difference += " ({:+.2f} … {:+.2f})".format(*claim["interval"])
        verdict = "yes" if claim["holds"] else f"no: {claim['why']}"
        lines.append(f"| `{claim['id']}`: {claim['claim']} | {difference} | {each} | {verdict} |")
    return "\n".join(lines)


def with_generated_section(text: str, body: str) -> str:
    """``text`` with what stands between its two ``results`` markers replaced by ``body``.

    Raises:
        ConventionError: the markers are missing.
    """
    begin, end = "<!-- results:begin -->", "<!-- results:end -->"
    if begin not in text or end not in text:
        raise ConventionError(
            "README", expected=f"the lines {begin} and {end}", got="none", fix="add them where the table belongs"
        )
    before, after = text.split(begin)[0], text.split(end)[1]
    return f"{before}{begin}\n{body}\n{end}{after}"


def environment() -> dict[str, Any]:
    """Machine and versions that figures belong to."""
    native = library.describe()
    return versions() | {
        "processor": _processor(),
        "processors": library.default_threads(),
        "system": platform.system(),
        "kernels": native.variant,
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")

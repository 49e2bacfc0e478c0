"""The results file of a study, and how it is published: the file, and the section of the method's README made from it."""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scenewise.engine.memory import peak_resident_bytes
from scenewise.engine.provenance import versions
from scenewise.errors import ConventionError
from scenewise.io.atomic import atomic_write_json, atomic_write_text
from scenewise.kernels.native import library
from scenewise.studies.arms import Outcome
from scenewise.studies.bench import Bench, checkout, say
from scenewise.studies.claims import Claim


@dataclass(frozen=True)
class Results:
    """Everything that goes into ``docs/results/<method>.json``.

    Attributes:
        method: name of the method's folder.
        metric: main metric of the arms; those of another kind do not have it.
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

    main = spread([outcome.metrics.get(metric) for outcome in outcomes])
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


def publish(bench: Bench, results: Results, section: Callable[[Mapping[str, Any]], str], *, whole: bool, reduced: Path) -> bool:
    """Writes the results file, and the section of the method's README where the study is whole and nothing else was asked for.

    Args:
        bench: says which file was asked for.
        results: everything that was found.
        section: results file → what the README shows.
        whole: whether every arm was run, so that the figures may be published.
        reduced: results file of a study that is not whole, or that is run without the sources.

    Returns:
        Whether it was published.
    """
    content = results_json(results)
    sources = checkout()
    published = None if sources is None or not whole else sources / "docs" / "results" / f"{results.method}.json"
    target = bench.out or published or reduced
    atomic_write_json(target, content)
    say(f"written: {target}")
    if sources is None or target != published:
        return False
    readme = sources / "src" / "scenewise" / "methods" / results.method / "README.md"
    atomic_write_text(readme, with_generated_section(readme.read_text(encoding="utf-8"), section(content)))
    say(f"table updated: {readme}")
    return True


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

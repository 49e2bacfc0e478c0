"""What is chosen on validation rooms, with one seed and the same budget for every method: learning rates, when labels switch."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from scenewise.parts.labelfree.schedules import ABSOLUTE_FROM
from scenewise.studies.arms import Arm
from scenewise.studies.label_free.arms import RoomArms
from scenewise.studies.label_free.ladders import AS_IN_HICL, NO_SWITCH
from scenewise.studies.runs import Runs

NEVER = "never"


def searches(arms: RoomArms, method: str, changes: Mapping[str, Any]) -> list[Arm]:
    """One arm per learning rate, scored on validation rooms; run with one seed."""
    return [
        arms.student(f"search_{method}_{rate:g}", arms.recipe(method, learning_rate=rate, **changes), split="val")
        for rate in arms.sizes.rates
    ]


def best_rates(
    arms: RoomArms, runs: Runs, methods: Sequence[str], changes: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
) -> dict[str, float]:
    """The learning rate of each method with the highest mIoU on the validation rooms.

    Args:
        arms: what is run.
        runs: where they are kept, and noted.
        methods: which.
        changes: of the preset, by method, with which the rate is searched.
    """
    tried = {method: searches(arms, method, changes.get(method, {})) for method in methods}
    runs.stage([(arm, [0]) for found in tried.values() for arm in found], lambda: arms.rooms.ready(methods))
    rates = {}
    for method, arms_of_method in tried.items():
        found = [runs.of(arm.name)[0] for arm in arms_of_method]
        rates[method] = arms.sizes.rates[int(np.argmax(found))]
        shown = ", ".join(f"{rate:g}: {miou:.2f}" for rate, miou in zip(arms.sizes.rates, found))
        changed = "".join(f", {name} {value}" for name, value in changes.get(method, {}).items())
        runs.notes.append(
            f"Learning rate of {method} on {arms.sizes.validation} validation rooms, one seed{changed}: {shown}; "
            f"{rates[method]:g} taken."
        )
    return rates


def best_of(
    arms: RoomArms,
    runs: Runs,
    method: str,
    rate: float,
    what: str,
    candidates: Mapping[str, Mapping[str, Any]],
    barred: str | None = None,
) -> dict[str, Any]:
    """The change of settings that serves a method best on the validation rooms, with one seed.

    Args:
        arms: what is run.
        runs: where they are kept, and noted.
        method: whose settings.
        rate: its learning rate.
        what: is chosen, in words.
        candidates: changes by what they are called; the first was run by the search for the rate.
        barred: which of them is shown, but not taken.
    """
    tried = []
    for number, change in enumerate(candidates.values()):
        name = f"search_{method}_{rate:g}" + (f"_{number}" if number else "")
        tried.append(arms.student(name, arms.recipe(method, learning_rate=rate, **change), split="val"))
    runs.stage([(arm, [0]) for arm in tried], lambda: arms.rooms.ready([method]))
    found = [runs.of(arm.name)[0] for arm in tried]
    best = max((said for said in candidates if said != barred), key=dict(zip(candidates, found)).__getitem__)
    shown = ", ".join(f"{said}: {miou:.2f}" for said, miou in zip(candidates, found))
    runs.notes.append(f"{what}, on the validation rooms, one seed: {shown}; {best!r} taken.")
    return dict(candidates[best])


def best_baseline(arms: RoomArms, runs: Runs, rate: float) -> dict[str, Any]:
    """What of CLIP2Scene's switching serves it best: the ladder starts from the strongest baseline."""
    candidates: dict[str, Mapping[str, Any]] = {
        "after a third of the run": {},
        "from epoch 10": AS_IN_HICL,
        NEVER: NO_SWITCH,
    }
    return best_of(arms, runs, "clip2scene", rate, "CLIP2Scene switches to its own predictions", candidates)


def switching(arms: RoomArms, method: str) -> dict[str, Mapping[str, Any]]:
    """After which share of the run CNS or the union may begin to switch; learning rates are searched with the first of these.

    The published epoch belongs to runs of many thousand steps.  A student that is told its own answers no longer changes them,
    so in a short run the later it begins, the more it has learned by then, and switching early hides the effect of the rate.
    """
    config = arms.config(method)
    epochs = config.epochs if config.epochs >= ABSOLUTE_FROM else config.published_epochs  # as `phase_starts` counts
    late = {said: {"switch_from": 1 + round(share * epochs)} for said, share in (("seven eighths", 7 / 8), ("two thirds", 2 / 3))}
    if method == "cns":
        return {**late, "a third": {}}
    return {NEVER: NO_SWITCH, "seven eighths": late["seven eighths"], "a third": {}}


def first_switching(arms: RoomArms) -> dict[str, Mapping[str, Any]]:
    """With what of :func:`switching` learning rates are searched."""
    return {method: next(iter(switching(arms, method).values())) for method in ("cns", "union")}


def best_switching(arms: RoomArms, runs: Runs, method: str, rate: float) -> dict[str, Any]:
    """When CNS or the union begins to switch; what they are without is an arm of its own."""
    what = f"{method} switches labels after this share of the run"
    return best_of(arms, runs, method, rate, what, switching(arms, method), barred=NEVER)


def best_transformers(arms: RoomArms, runs: Runs, rate: float) -> dict[str, Any]:
    """The rate of HICL's transformers: the published one belongs to runs of many thousand steps."""
    candidates = {"2e-4": {}, **{said: {"transformer_learning_rate": float(said)} for said in ("1e-3", "5e-3")}}
    return best_of(arms, runs, "hicl", rate, "Learning rate of HICL's transformers", candidates)

"""Every arm that the four label-free methods are compared by."""

from collections.abc import Mapping
from typing import Any

from scenewise.catalogue import LABEL_FREE_METHODS
from scenewise.parts.labelfree.recipes import PointLabels
from scenewise.studies.arms import Arm
from scenewise.studies.label_free.arms import RoomArms
from scenewise.studies.runs import Runs

NO_SWITCH: Mapping[str, Any] = {"switch_shares": (1.0, 0.0, 0.0)}
AS_IN_HICL: Mapping[str, Any] = {"switch_from": LABEL_FREE_METHODS["clip2scene"].presets["scannet"].switch_from}
"""HICL's authors ran CLIP2Scene's code for 120 epochs, where it begins to switch at the same epoch: early in the run."""


def teacher_arms(arms: RoomArms, runs: Runs) -> None:
    """What every method starts from: pixels, the vote over views, the vote in sets."""
    runs.run(arms.raw_teacher(), [0])
    runs.run(arms.raw_teacher_3d(), [0])
    runs.run(arms.votes("view_vote_3d", PointLabels("view_vote")), [0])
    runs.run(arms.votes("set_vote_3d", PointLabels("set_vote")), [0])
    runs.run(arms.votes("set_vote_after_regions_3d", PointLabels("set_vote", region_vote=True, min_region=20)), [0])


def clip2scene_arms(arms: RoomArms, rate: float) -> dict[str, Arm]:
    """CLIP2Scene and what it is without its parts."""
    changes: dict[str, Mapping[str, Any]] = {
        "clip2scene": {},
        "clip2scene_no_switch": NO_SWITCH,
        "clip2scene_no_features": {"feature_loss": "none"},
        "clip2scene_grid": {"feature_loss": "grid"},
    }
    return {name: arms.student(name, arms.recipe("clip2scene", learning_rate=rate, **change)) for name, change in changes.items()}


def hicl_arms(
    arms: RoomArms, rate: float, transformers: Mapping[str, Any], clip2scene_rate: float, baseline: Mapping[str, Any]
) -> dict[str, Arm]:
    """The paper's ladder.  I is CLIP2Scene as it does best here, beside it as HICL's authors ran it; II to V add an idea each."""
    firsts = {"hicl_I": baseline, "hicl_I_early_switch": AS_IN_HICL}
    rungs: dict[str, dict[str, Any]] = {
        "hicl_II": {"levels": (), "feedback": False},
        "hicl_III": {"levels": ("scene",), "feedback": False},
        "hicl_IV": {"feedback": False},
        "hicl_V": {},
        "hicl_V_region_refined": {"region_refined": True},
    }
    found = {
        name: arms.student(name, arms.recipe("clip2scene", learning_rate=clip2scene_rate, **change))
        for name, change in firsts.items()
    }
    return found | {
        name: arms.student(name, arms.recipe("hicl", learning_rate=rate, **transformers, **change))
        for name, change in rungs.items()
    }


def noise_arms(arms: RoomArms, rate: float, transformers: Mapping[str, Any]) -> dict[str, Arm]:
    """HICL under errors of one kind: e, confusion of classes in some scenes; f, the same confusion everywhere."""
    rungs: dict[str, dict[str, Any]] = {
        "II": {"levels": (), "feedback": False},
        "III": {"levels": ("scene",), "feedback": False},
        "IV": {"feedback": False},
        "V": {},
    }
    wanted = {"e": ("II", "III", "IV"), "f": ("II", "V")}
    found = {}
    for kind, names in wanted.items():
        for label, by in (("view_vote", PointLabels("view_vote")), ("set_vote", PointLabels("set_vote"))):
            found[f"noise_{kind}_{label}"] = arms.votes(f"noise_{kind}_{label}", by, noise=kind)
        for rung in names:
            name = f"noise_{kind}_{rung}"
            found[name] = arms.student(name, arms.recipe("hicl", learning_rate=rate, **transformers, **rungs[rung]), noise=kind)
    return found


def cns_arms(arms: RoomArms, rate: float, switching: Mapping[str, Any]) -> dict[str, Arm]:
    """CNS and what it is without its parts."""
    changes: dict[str, Mapping[str, Any]] = {
        "cns": {},
        "cns_no_region_refinement": {"region_refined": False, "vote_predictions": False},
        "cns_no_self": {"switch_shares": (0.5, 0.0, 0.5)},
        "cns_no_cross": {"switch_shares": (0.5, 0.5, 0.0)},
        "cns_no_latent_2d": {"match_pixels": 0.0},
        "cns_no_latent_3d": {"match_points": 0.0},
        "cns_stage_one": NO_SWITCH,
    }
    return {
        name: arms.student(name, arms.recipe("cns", learning_rate=rate, **switching, **change))
        for name, change in changes.items()
    }


def union_arms(arms: RoomArms, rate: float, transformers: Mapping[str, Any], switching: Mapping[str, Any]) -> dict[str, Arm]:
    """All of them together, and the same without the two students' exchange."""
    changes: dict[str, Mapping[str, Any]] = {"union": {}, "union_no_switch": NO_SWITCH}
    return {
        name: arms.student(name, arms.recipe("union", learning_rate=rate, **transformers, **switching, **change))
        for name, change in changes.items()
    }


def full_arm(arms: RoomArms, method: str) -> Arm:
    """One run at full width: MinkUNet14A, voxels of 5 cm, 120 epochs, 1024 tokens, the paper's optimisers; batch 4 (24 rooms)."""
    changes: dict[str, Any] = {"batch_scans": 4, "epochs": 120, "clip_norm": 10.0}
    if method == "clip2scene":
        changes["published_epochs"] = LABEL_FREE_METHODS["hicl"].presets["scannet"].epochs
    recipe = LABEL_FREE_METHODS[method].recipe(arms.config(method, "scannet", **changes))
    return arms.student(f"{method}_full_width", recipe)

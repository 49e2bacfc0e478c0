"""What a network learned on a real capture: the commands that trained it, and how far it agrees with what it was told."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int, Int64

from scenewise.io.scene_folder import read_scene_labels
from scenewise.parts.labelfree.recipes import PointLabels
from scenewise.parts.scans.scan_files import read_scan
from scenewise.parts.scans.scans import ScanView, TrainingScan
from scenewise.scenes.label_fields import LabelField
from scenewise.studies.label_free.scoring import voted_labels
from scenewise.studies.real.captures import Figures

VIEW_VOTE, SET_VOTE = PointLabels("view_vote"), PointLabels("set_vote")
_MOST_CLASSES = 1 << 15


def scenewise(*arguments: object) -> Figures:
    """A command in a process of its own; what it prints as JSON, and how long it took.

    Raises:
        SystemExit: it failed; its message is printed.
    """
    typed = ["scenewise", *map(str, arguments)]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "scenewise.cli.main", *typed[1:], "--json"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(typed)}\n{done.stdout}{done.stderr}")
    found: Figures = json.loads(done.stdout)
    warned = [line for line in done.stderr.splitlines() if line.startswith("warning")]
    return {**found, "command": " ".join(typed), "wall_seconds": time.monotonic() - began, "warnings": warned}


def voted(scan: TrainingScan, labels: PointLabels) -> Int64[np.ndarray, " n"]:
    """Class of each point by the teacher's labels, −1 = none."""
    return voted_labels(scan, labels, _MOST_CLASSES)


def scan_of(run: Path) -> TrainingScan:
    """What a run was trained on."""
    (path,) = (run / "cache").glob("*.safetensors")
    return read_scan(path).scan


def names_in(scene: Path) -> Int64[np.ndarray, " n"]:
    """Class of each point of a scene folder."""
    labels = read_scene_labels(scene, "points")
    assert labels is not None
    return labels.class_ids.astype(np.int64)


def figures_of(scan: TrainingScan, said: Int64[np.ndarray, " n"], summary: Figures, predicted: Figures) -> Figures:
    """What came of a run beside the labels it was trained on."""
    views, sets = voted(scan, VIEW_VOTE), voted(scan, SET_VOTE)
    seen, reached = views >= 0, sets >= 0
    return {
        "commands": [summary["command"], predicted["command"]],
        "warnings": summary["warnings"],
        "points": len(scan),
        "views": len(scan.views),
        "segments": int(scan.segments.max()) + 1,
        "labelled_by_views": float(seen.mean()),
        "labelled_by_set_vote": float(reached.mean()),
        "named": float((said >= 0).mean()),
        "agrees_with_set_vote": agreement(said, sets, reached),
        "agrees_with_view_vote": agreement(said, views, seen),
        "most_frequent_in_set_vote": most_frequent(sets[reached]),
        "named_though_no_view_labelled": float((~seen & (said >= 0)).mean()),
        "agrees_with_set_vote_there": agreement(said, sets, ~seen & reached),
        "named_though_no_set_reached": float((~reached & (said >= 0)).mean()),
        "classes": predicted["classes"],
        "mean_confidence": predicted["mean_confidence"],
        "prepare_seconds": summary["prepare_seconds"],
        "train_seconds": summary["seconds"],
        "steps": summary["steps"],
        "loss": summary["loss"],
        "terms": summary["terms"],
        "name_seconds": predicted["seconds"],
        "wall_seconds": {"train": summary["wall_seconds"], "predict": predicted["wall_seconds"]},
        "peak_memory_bytes": {"train": summary["peak_memory_bytes"], "predict": predicted["peak_memory_bytes"]},
        "parameters": summary["parameters_deployed"],
    }


def told(capture: str, name: str, found: Figures) -> str:
    """The figures of a teacher for people."""
    shares = sorted(found["classes"].items(), key=lambda entry: -entry[1])[:6]
    memory = found["peak_memory_bytes"]
    return (
        f"{capture}, {name}: {found['points']:,} points, {found['views']} views, {found['segments']:,} sets; prepared in "
        f"{found['prepare_seconds']:.0f} s, {found['steps']} steps in {found['train_seconds']:.0f} s, named in "
        f"{found['name_seconds']:.1f} s; memory {memory['train'] / 1e6:.0f} and {memory['predict'] / 1e6:.0f} MB\n"
        f"  labelled by views {found['labelled_by_views']:.1%}, after the vote in sets {found['labelled_by_set_vote']:.1%}, "
        f"by the network {found['named']:.0%}: " + ", ".join(f"{label} {share:.0%}" for label, share in shares) + "\n"
        f"  the network says what the vote in sets says at {found['agrees_with_set_vote']:.1%} (most frequent class "
        f"{found['most_frequent_in_set_vote']:.1%}), what the views say at {found['agrees_with_view_vote']:.1%}\n"
        f"  {found['named_though_no_view_labelled']:.1%} of the points no view labelled; the vote in sets agrees at "
        f"{percent(found['agrees_with_set_vote_there'])} of those it reaches; it does not reach "
        f"{found['named_though_no_set_reached']:.1%} of all"
    )


def held_back(
    scan: TrainingScan, half: TrainingScan, said: Int64[np.ndarray, " n"], said_by_whole: Int64[np.ndarray, " n"]
) -> Figures:
    """What a network that was told of some views says at points only the others show.

    Args:
        scan: with all views.
        half: the same points with some of them.
        said: by the network trained on ``half``.
        said_by_whole: by the one trained on ``scan``.
    """
    assert (half.points_in_scan == scan.points_in_scan).all()
    used = {view.name for view in half.views}
    others = replace(scan, views=tuple(_silent(view) if view.name in used else view for view in scan.views))
    truth = voted(others, VIEW_VOTE)
    there = (truth >= 0) & (voted(half, VIEW_VOTE) < 0)
    sets = voted(half, SET_VOTE)
    reached = there & (sets >= 0)
    return {
        "views": len(half.views),
        "points": int(there.sum()),
        "share": float(there.mean()),
        "most_frequent": most_frequent(truth[there]),
        "network_agrees": agreement(said, truth, there),
        "network_of_all_views_agrees": agreement(said_by_whole, truth, there),
        "set_vote_reaches": float(reached.sum() / max(1, there.sum())),
        "set_vote_agrees": agreement(sets, truth, reached),
        "network_agrees_where_vote_reaches": agreement(said, truth, reached),
        "network_agrees_elsewhere": agreement(said, truth, there & ~reached),
        "both_networks_agree": agreement(said, said_by_whole, said >= 0),
    }


def _silent(view: ScanView) -> ScanView:
    return replace(view, labels=LabelField(np.full_like(view.labels.class_ids, -1), np.zeros_like(view.labels.confidence)))


def agreement(one: Int[np.ndarray, " n"], other: Int[np.ndarray, " n"], where: Bool[np.ndarray, " n"]) -> float | None:
    """Share of the points marked ``where`` that two labellings give the same class; None of no points."""
    return float((one == other)[where].mean()) if where.any() else None


def most_frequent(ids: Int[np.ndarray, " n"]) -> float:
    """Share of the most frequent class."""
    return float(np.bincount(ids).max() / len(ids)) if len(ids) else 0.0


def percent(value: float | None) -> str:
    """In per cent, for people."""
    return "–" if value is None else f"{value:.1%}"


def listed(values: Figures) -> str:
    """Names and values in a line, for people."""
    return ", ".join(f"{key} {f'{value:.1%}' if isinstance(value, float) else f'{value:,}'}" for key, value in values.items())

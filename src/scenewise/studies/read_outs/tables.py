"""What SC-CLIP's README shows of its results."""

from collections.abc import Mapping
from typing import Any

from scenewise.studies.tables import per_class_table, results_table

SHOWN_BY_CLASS = ("window_cls_control", "maskclip", "sc_clip", "sc_clip_no_windows", "points")
"""Arms whose IoU of each class is shown."""


def results_section(content: Mapping[str, Any]) -> str:
    """What the method's README shows of the results."""
    crops = content["arms"]["zero_shot_crops"]
    shown = {**content, "arms": {name: arm for name, arm in content["arms"].items() if name != "zero_shot_crops"}}
    accuracy, mean_class = (crops["more"][name]["mean"] for name in ("accuracy", "macc"))
    naming = f"Zero-shot naming of pictures of one thing: {accuracy:.1f} % right, {mean_class:.1f} % averaged over classes."
    return "\n\n".join((results_table(shown), naming, per_class_table(content, SHOWN_BY_CLASS), points_table(content)))


def points_table(content: Mapping[str, Any]) -> str:
    """Votes on points and injected anomalies, as Markdown."""
    lines = ["| points | mIoU | accuracy |", "|---|---|---|"]
    more = content["arms"]["points"]["more"]
    for kind in ("one_view", "view_vote", "set_vote", "oracle_vote"):
        lines.append(
            f"| {kind.replace('_', ' ')} | {more[f'{kind}_miou']['mean']:.1f} | {more[f'{kind}_accuracy']['mean']:.1f} |"
        )
    lines.append(
        f"| true labels voted in the segments (ceiling of the segments) | {more['purity_miou']['mean']:.1f} | "
        f"{more['purity_accuracy']['mean']:.1f} |"
    )
    lines += ["", "| injected anomalies | mIoU | pixels lost | of these recovered |", "|---|---|---|---|"]
    for arm in ("injected_anomalies", "injected_anomalies_no_windows", "injected_anomalies_published"):
        if arm in content["arms"]:
            found = content["arms"][arm]
            values = {name: entry["mean"] for name, entry in found["more"].items()}
            lines.append(
                f"| {arm.removeprefix('injected_anomalies').strip('_') or 'tuned'} | healthy {values['healthy_miou']:.1f}, "
                f"spoilt {values['spoilt_miou']:.1f}, repaired {found['mean']:.1f} | {values['lost_share']:.1f} % | "
                f"{values['recovered_share']:.0f} % |"
            )
    return "\n".join(lines)

"""What the READMEs of the four label-free methods show of their results."""

from collections.abc import Mapping, Sequence
from typing import Any

from scenewise.studies.tables import claims_table, per_class_table

SHOWN_BY_CLASS: Mapping[str, Sequence[str]] = {
    "clip2scene": ("raw_teacher_2d", "view_vote_3d", "set_vote_3d", "clip2scene", "clip2scene_full_width"),
    "hicl": (
        "view_vote_3d", "set_vote_3d", "hicl_I", "hicl_I_early_switch", "hicl_II", "hicl_III", "hicl_IV", "hicl_V",
        "hicl_V_region_refined", "hicl_full_width",
    ),
    "cns": (
        "raw_teacher_2d", "view_vote_3d", "cns", "cns_no_region_refinement", "cns_no_self", "cns_no_cross", "cns_no_latent_2d",
        "cns_no_latent_3d", "cns_stage_one",
    ),
    "union": ("view_vote_3d", "set_vote_3d", "clip2scene", "hicl_V", "cns", "union", "union_no_switch"),
}  # fmt: skip
"""Arms whose IoU of each class is shown."""


def comparison_table(content: Mapping[str, Any]) -> str:
    """Arms with everything that is compared, as Markdown; searches are left to the notes."""
    arms = {name: arm for name, arm in content["arms"].items() if not name.startswith("search_")}
    lines = [
        "| arm | mIoU | 2D mIoU | accuracy | coverage | trained | deployed | training | peak memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, arm in arms.items():
        more = arm["more"]

        def cell(metric: str, more: Mapping[str, Any] = more, digits: int = 1) -> str:
            return "–" if metric not in more else f"{more[metric]['mean']:.{digits}f}"

        spread = f" ± {arm['std']:.2f}" if len(arm["seeds"]) > 1 else ""
        is_student = arm["parameters_trained"] > 0
        sizes = [f"{arm[key] / 1e6:.2f} M" if is_student else "–" for key in ("parameters_trained", "parameters_deployed")]
        seconds = f"{arm['train_seconds']:.0f} s" if is_student else "–"
        peak = f"{more['peak_memory_mb']['mean'] / 1e3:.2f} GB" if is_student else "–"
        lines.append(
            f"| {name} | {arm['mean']:.2f}{spread} | {cell('miou_2d')} | {cell('accuracy')} | {cell('coverage')} | "
            f"{' | '.join(sizes)} | {seconds} | {peak} |"
        )
    return "\n".join(lines)


def results_section(content: Mapping[str, Any]) -> str:
    """What a method's README shows of its results."""
    notes = "\n".join(f"- {note}" for note in content["notes"])
    by_class = per_class_table(content, SHOWN_BY_CLASS[content["method"]])
    return "\n\n".join((comparison_table(content), claims_table(content), by_class, notes))

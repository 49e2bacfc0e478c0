"""Tables of a results file, as Markdown, for a method's README."""

from collections.abc import Mapping, Sequence
from typing import Any

from scenewise.worlds.classes import CLASS_NAMES


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
            is_spread = figure == content["metric"] and len(arm["seeds"]) > 1 and mean is not None
            spread = f" ± {found['std'] / divisor:{form}}" if is_spread else ""
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
        verdict = "yes" if claim["holds"] else f"{'no' if claim['per_seed'] else 'not measured'}: {claim['why']}"
        lines.append(f"| `{claim['id']}`: {claim['claim']} | {difference} | {each} | {verdict} |")
    return "\n".join(lines)


def per_class_table(content: Mapping[str, Any], arms: Sequence[str]) -> str:
    """IoU per class of the procedural world, as Markdown; arms that are not there are left out.

    Args:
        content: a results file.
        arms: shown, a column each.
    """
    arms = [name for name in arms if name in content["arms"]]
    lines = ["| class | " + " | ".join(arms) + " |", "|---|" + "---|" * len(arms)]
    for name in CLASS_NAMES:
        cells = [content["arms"][arm]["more"].get(f"iou {name}") for arm in arms]
        lines.append(f"| {name} | " + " | ".join("–" if cell is None else f"{cell['mean']:.1f}" for cell in cells) + " |")
    return "\n".join(lines)

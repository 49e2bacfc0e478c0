"""Claims about ConDense and the library, and the tables of the method's README."""

from collections.abc import Mapping, Sequence
from typing import Any

from scenewise.studies.arms import Outcome, measured
from scenewise.studies.claims import Claim, paired_claim, threshold_claim
from scenewise.studies.consistent.library import SETS
from scenewise.studies.tables import claims_table

LEAST_COSINE, LEAST_RANK = 0.8, 10.0
_SAME_RENDERING = 0.99
_IMAGE_R1, _TEXT_R1, _DUPLICATE_AP = 0.9, 0.6, 0.95
_QUERY_MS, _ADD_SECONDS = 50.0, 3.0

_Outcomes = Mapping[str, Sequence[Outcome]]
_Table = Mapping[str, tuple[str, str]]
"""Heading → figure and format."""

BRANCHES: _Table = {
    "cosine": ("cosine", ".3f"),
    "rank 2D": ("rank 2D", ".1f"),
    "rank 3D": ("rank 3D", ".1f"),
    "marched · rasterised": ("marched against rasterised", ".4f"),
    "guided · rasterised": ("guided against rasterised", ".3f"),
    "2D noise": ("2D noise", ".3f"),
    "2D cosine of views": ("2D cosine", ".3f"),
    "2D sharpness": ("2D sharpness", ".2f"),
    "2D probe": ("2D probe", ".1f"),
    "points by words": ("text mIoU", ".1f"),
    "key points repeat": ("repeats", ".3f"),
    "training, s": ("train_seconds", ",.0f"),
}
LIBRARY: _Table = {
    "photograph → scene R@1": ("image R@1", ".3f"),
    "R@5": ("image R@5", ".3f"),
    "confused with a near-twin": ("image twin confusions", ".3f"),
    "of these right and with a camera": ("localised", ".3f"),
    "its position, m (median)": ("position error, m", ".3f"),
    "its rotation, ° (median)": ("rotation error, degrees", ".2f"),
    "words → scene R@1, as few facts as tell it, three at least": ("text R@1", ".3f"),
    "their R@5": ("text R@5", ".3f"),
    "words R@1, six facts": ("text R@1, six facts", ".3f"),
    "R@5, six facts": ("text R@5, six facts", ".3f"),
    "captions": ("captions", ",.0f"),
    "facts of a caption": ("facts", ".1f"),
    "duplicates AP": ("duplicate AP", ".3f"),
    "weakest duplicate's score": ("weakest duplicate", ".3f"),
    "strongest other pair's": ("strongest other pair", ".3f"),
    "photograph, ms (median)": ("image ms", ",.0f"),
    "words, ms": ("text ms", ",.0f"),
    "pairs, ms a scene": ("scene ms", ",.0f"),
    "adding, s (median)": ("add seconds", ".2f"),
    "adding, s (slowest)": ("add seconds, slowest", ".2f"),
    "bytes of a scene": ("bytes per scene", ",.0f"),
    "bytes of dense features": ("bytes of dense features", ",.0f"),
    "bytes of splats": ("bytes of splats", ",.0f"),
}
_BEFORE = "lifting"


def claims_of(outcomes: _Outcomes, per_class: Sequence[int]) -> list[Claim]:
    """All claims; pairs are seeds.

    Args:
        outcomes: by arm.
        per_class: sizes of the classifiers' training sets.
    """

    def of(arm: str, metric: str) -> list[float]:
        return measured(metric, outcomes[arm])

    return [*_branch_claims(outcomes, of), *_use_claims(outcomes, of, per_class), *_library_claims(of)]


def _branch_claims(outcomes: _Outcomes, of: Any) -> list[Claim]:
    def rank(arm: str) -> list[float]:
        return [min(pair) for pair in zip(of(arm, "rank 2D"), of(arm, "rank 3D"))]

    def quiet(arm: str) -> list[float]:
        return [-value for value in of(arm, "2D noise")]

    cosines, ranks = of("condense", "cosine"), rank("condense")
    plain = [max(pair) for pair in zip(of(_BEFORE, "repeats random"), of(_BEFORE, "repeats grid"))]
    return [
        threshold_claim(
            "consistency",
            f"cosine of rendered 3D and 2D features on held-out views {LEAST_COSINE:g} at least, both effective ranks above "
            f"{LEAST_RANK:g}",
            cosines,
            LEAST_COSINE,
            also=min(ranks) > LEAST_RANK,
            why=f"cosine {sum(cosines) / len(cosines):.3f}, lower rank {min(ranks):.1f}",
        ),
        paired_claim(
            "prior_prevents_collapse",
            "lower of both ranks of consistency and prior above consistency alone, as in the paper",
            rank("consistency_and_prior"),
            rank("consistency_alone"),
        ),
        paired_claim("prior_beside_contrast", "the same where rays are contrasted as well", ranks, rank("no_prior")),
        paired_claim(
            "features2d_less_noisy", "2D noise between views below the frozen tower's", quiet("condense"), quiet(_BEFORE)
        ),
        paired_claim("keypoints_repeat", "above the better of random and grid", of("condense", "repeats"), plain),
        threshold_claim(
            "marched_as_rasterised",
            f"mean cosine of marched and rasterised features {_SAME_RENDERING:g} at least",
            of("condense", "marched against rasterised"),
            _SAME_RENDERING,
        ),
    ]


def _use_claims(outcomes: _Outcomes, of: Any, per_class: Sequence[int]) -> list[Claim]:
    shares = [name.split()[1] for name in outcomes["condense"][0].metrics if name.startswith("probe ")]

    def mean(arm: str, kind: str) -> list[float]:
        each = [of(arm, f"{kind} {share}") for share in shares]
        return [sum(values) / len(values) for values in zip(*each)]

    def named(start: str) -> list[float]:
        each = [of(f"objects_{count}_{start}", "accuracy") for count in per_class]
        return [sum(values) / len(values) for values in zip(*each)]

    told = "linear probes, mean over shares of labels"
    return [
        paired_claim("probe_over_scratch", f"{told}, above random weights", mean("condense", "probe"), mean("scratch", "probe")),
        paired_claim("probe_over_lifting", f"{told}, above lifted features", mean("condense", "probe"), mean(_BEFORE, "probe")),
        paired_claim(
            "probe_over_contrastive", f"{told}, above PointContrast", mean("condense", "probe"), mean("point_contrast", "probe")
        ),
        paired_claim(
            "probe_over_rendering",
            f"{told}, above rendered colours",
            mean("condense", "probe"),
            mean("colour_rendering", "probe"),
        ),
        paired_claim(
            "true_pictures_teach",
            f"{told}, above the same with pictures of other rooms",
            mean("condense", "probe"),
            mean("other_pictures", "probe"),
        ),
        paired_claim("tuned_over_scratch", "fine-tuned, mean over shares", mean("condense", "tuned"), mean("scratch", "tuned")),
        paired_claim(
            "tuned_over_contrastive",
            "fine-tuned, above PointContrast",
            mean("condense", "tuned"),
            mean("point_contrast", "tuned"),
        ),
        paired_claim(
            "text_over_lifting",
            "points named by words alone, the 3D branch above lifted features",
            of("condense", "text mIoU"),
            of(_BEFORE, "text mIoU"),
        ),
        paired_claim("classify_over_scratch", "objects, mean over sizes of training sets", named("condense"), named("scratch")),
    ]


def _library_claims(of: Any) -> list[Claim]:
    def library(metric: str) -> list[float]:
        found: list[float] = of("library", metric)
        return found

    most = SETS[-1]
    means = [max(pair) for pair in zip(library(f"means, {most}"), library("means, 1"))]
    return [
        threshold_claim("image_r1", f"photograph → scene R@1 {_IMAGE_R1:g} at least", library("image R@1"), _IMAGE_R1),
        threshold_claim("text_r1", f"words → scene R@1 {_TEXT_R1:g} at least", library("text R@1"), _TEXT_R1),
        threshold_claim("text_r1_six_facts", "the same with six facts", library("text R@1, six facts"), _TEXT_R1),
        threshold_claim("duplicate_ap", f"duplicates AP {_DUPLICATE_AP:g} at least", library("duplicate AP"), _DUPLICATE_AP),
        paired_claim(
            "keypoints_over_mean",
            f"{most} key points above one mean vector and above {most} means of parts, R@1 by likeness alone",
            library(f"key points, {most}"),
            means,
        ),
        threshold_claim(
            "query_time", f"median query {_QUERY_MS:g} ms at most", [-value for value in library("image ms")], -_QUERY_MS
        ),
        threshold_claim(
            "add_time",
            f"adding a scene takes {_ADD_SECONDS:g} s at most",
            [-value for value in library("add seconds, slowest")],
            -_ADD_SECONDS,
        ),
    ]


# ------------------------------------------------------------------------------------------------------------------- tables


def section(content: Mapping[str, Any]) -> str:
    """What the method's README shows of a results file."""
    arms = content["arms"]
    trained = {name: arm for name, arm in arms.items() if "cosine" in arm["more"] or name == _BEFORE}
    shares = [name for name in (content["metric"], *arms["condense"]["more"]) if name.startswith("probe ")]
    shares = sorted(set(shares), key=lambda name: float(name.split()[1].rstrip("%")))
    probes = {share.split()[1]: (share, ".1f") for share in shares}
    tuned = {f"tuned {share.split()[1]}": (f"tuned {share.split()[1]}", ".1f") for share in shares}
    rooms = {name: arm for name, arm in arms.items() if not name.startswith(("objects", "library"))}
    objects = {name: arm for name, arm in arms.items() if name.startswith("objects")}
    library = arms["library"]
    return "\n".join(
        [
            'Both branches on rooms that nothing was learned from ("lifting": the frozen tower before any training):',
            "",
            _rows(trained, BRANCHES, content["metric"]),
            "",
            _repeats(arms[_BEFORE]),
            "",
            "Segmentation of rooms, mIoU in per cent by the share of 60 rooms that have labels: linear probes, then fine-tuning:",
            "",
            _rows(rooms, {**probes, **tuned}, content["metric"]),
            "",
            "Objects, per cent (22 classes, seen from one side; the number is of training objects per class):",
            "",
            _rows(objects, {"accuracy": ("accuracy", ".1f"), "mean of classes": ("class_mean", ".1f")}, content["metric"]),
            "",
            "The library:",
            "",
            "| | mean | each seed |",
            "|---|---|---|",
            *[_line(title, library["more"].get(figure), form) for title, (figure, form) in LIBRARY.items()],
            "",
            "R@1 of photographs by likeness alone, with as many vectors of each scene:",
            "",
            "| vectors | key points | means of parts |",
            "|---|---|---|",
            *[
                f"| {count} | {_mean(library, f'key points, {count}', '.3f')} | {_mean(library, f'means, {count}', '.3f')} |"
                for count in SETS
            ],
            "",
            claims_table(content),
        ]
    )


def _rows(arms: Mapping[str, Any], columns: _Table, metric: str) -> str:
    lines = [f"| arm | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    for name, arm in arms.items():
        held = {**arm, "more": {**arm["more"], metric: arm}}
        lines.append(f"| {name} | {' | '.join(_mean(held, figure, form) for figure, form in columns.values())} |")
    return "\n".join(lines)


def _mean(arm: Mapping[str, Any], figure: str, form: str) -> str:
    found = arm["more"].get(figure, {"mean": arm.get(figure)})
    if found["mean"] is None:
        return "–"
    spread = f" ± {found['std']:{form}}" if found.get("std") and len(arm["seeds"]) > 1 else ""
    return f"{found['mean']:{form}}{spread}"


def _line(title: str, found: Mapping[str, Any] | None, form: str) -> str:
    if found is None:
        return f"| {title} | – | |"
    each = ", ".join("–" if value is None else f"{value:{form}}" for value in found["per_seed"])
    return f"| {title} | {'–' if found['mean'] is None else format(found['mean'], form)} | {each} |"


def _repeats(before: Mapping[str, Any]) -> str:
    random, grid = (_mean(before, f"repeats {kind}", ".3f") for kind in ("random", "grid"))
    return f"Pixels drawn at random repeat {random}, a grid {grid}."

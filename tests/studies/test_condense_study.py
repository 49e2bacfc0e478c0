"""What ConDense's study makes of its outcomes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.posed_rooms import wall_scan

from scenewise.studies.arms import Outcome
from scenewise.studies.bench import Bench
from scenewise.studies.condense import QUICK_SIZES, StudySizes, classifying_arms, pretraining_arms
from scenewise.studies.consistent.arms import ARMS
from scenewise.studies.consistent.judging import BRANCHES, LIBRARY, claims_of, section
from scenewise.studies.consistent.library import SETS
from scenewise.studies.consistent.rooms import OtherPictures
from scenewise.studies.results import Results, results_json

ISSUE = {
    "consistency",
    "prior_prevents_collapse",
    "features2d_less_noisy",
    "probe_over_scratch",
    "probe_over_lifting",
    "probe_over_contrastive",
    "classify_over_scratch",
    "keypoints_repeat",
    "image_r1",
    "text_r1",
    "duplicate_ap",
    "keypoints_over_mean",
}
"""Names that are fixed."""


def outcomes(**changed: dict[str, float]) -> dict[str, list[Outcome]]:
    """Every figure of every arm: the better the arm, the higher; three seeds that differ a little."""
    names = [figure for figure, _ in BRANCHES.values()]
    shares = [f"{kind} {share}" for kind in ("probe", "tuned") for share in ("1%", "100%")]
    better = {"condense": 20.0, "embedded": 20.0, "consistency_alone": 5.0}
    found = {}
    for arm in (*ARMS, "lifting"):
        figures = dict.fromkeys([*names, *shares], better.get(arm, 12.0)) | {"repeats random": 0.1, "repeats grid": 0.2}
        figures |= {"cosine": 0.9, "marched against rasterised": 0.995, "repeats": 0.3, "2D noise": 1 / figures["rank 2D"]}
        figures["rank 3D"] = figures["rank 2D"] + 1
        found[arm] = _seeds({**figures, **changed.get(arm, {})})
    for count in (5, 20):
        for start in ("scratch", "condense"):
            score = 80.0 if start == "condense" else 70.0
            found[f"objects_{count}_{start}"] = _seeds({"accuracy": score, "class_mean": score} | changed.get(start, {}))
    library = dict.fromkeys((figure for figure, _ in LIBRARY.values()), 0.97) | {"image ms": 40.0, "add seconds, slowest": 2.0}
    library |= {f"{kind}, {count}": 0.9 if kind == "key points" else 0.6 for kind in ("key points", "means") for count in SETS}
    found["library"] = _seeds({**library, **changed.get("library", {})})
    return found


def _seeds(figures: dict[str, float]) -> list[Outcome]:
    return [Outcome({name: value * (1 + 0.001 * seed) for name, value in figures.items()}) for seed in range(3)]


def held(found: dict[str, list[Outcome]]) -> dict[str, bool]:
    return {claim.id: claim.holds for claim in claims_of(found, (5, 20))}


def test_all_fixed_claims_are_judged_and_hold_where_all_is_well():
    found = held(outcomes())
    assert found.keys() >= ISSUE and all(found.values())


@pytest.mark.parametrize(
    ("arm", "figures", "failed"),
    [
        ("condense", {"cosine": 0.7}, {"consistency"}),
        ("condense", {"rank 3D": 9.0}, {"consistency", "prior_beside_contrast"}),
        ("no_prior", {"rank 2D": 30.0, "rank 3D": 30.0}, {"prior_beside_contrast"}),
        ("consistency_alone", {"rank 2D": 30.0, "rank 3D": 30.0}, {"prior_prevents_collapse"}),
        ("lifting", {"2D noise": 0.01}, {"features2d_less_noisy"}),
        ("lifting", {"probe 1%": 60.0}, {"probe_over_lifting"}),
        ("lifting", {"repeats grid": 0.4}, {"keypoints_repeat"}),
        ("scratch", {"probe 100%": 60.0}, {"probe_over_scratch"}),
        ("point_contrast", {"probe 100%": 60.0}, {"probe_over_contrastive"}),
        ("other_pictures", {"probe 100%": 60.0}, {"true_pictures_teach"}),
        ("scratch", {"accuracy": 90.0}, {"classify_over_scratch"}),
        ("library", {"image R@1": 0.85}, {"image_r1"}),
        ("library", {"text R@1": 0.5}, {"text_r1"}),
        ("library", {"duplicate AP": 0.9}, {"duplicate_ap"}),
        ("library", {"means, 1": 0.95}, {"keypoints_over_mean"}),
        ("library", {"image ms": 60.0}, {"query_time"}),
    ],
)
def test_a_claim_fails_with_what_it_is_about(arm: str, figures: dict[str, float], failed: set[str]):
    found = held(outcomes(**{arm: figures}))
    assert {name for name, holds in found.items() if not holds} == failed


def test_the_readme_shows_every_arm_and_figure():
    found = outcomes()
    seeds: dict[str, Sequence[int]] = {name: range(len(each)) for name, each in found.items()}
    text = section(results_json(Results("condense", "probe 100%", seeds, found, claims_of(found, (5, 20)), 1.0)))
    assert all(f"| {name} |" in text for name in found if name != "library")
    assert all(heading in text for heading in (*BRANCHES, *LIBRARY)) and "tuned 1%" in text
    assert "None" not in text and "nan" not in text


def test_arms_of_other_settings_are_run_again():
    cache = Path("somewhere")
    bench = Bench("condense", (0, 1, 2), cache)
    plain = {arm.name: arm.config for arm, _ in pretraining_arms(bench, StudySizes().rooms, cache)}
    quick = {arm.name: arm.config for arm, _ in pretraining_arms(bench, QUICK_SIZES.rooms, cache)}
    assert plain.keys() == {*ARMS, "lifting"} and all(plain[name] != quick[name] for name in plain)
    counts = {arm.name: len(seeds) for arm, seeds in pretraining_arms(bench, StudySizes().rooms, cache)}
    assert (counts["embedded"], counts["condense"], counts["lifting"]) == (1, 3, 3)
    assert [arm.name for arm, _ in classifying_arms(bench, StudySizes())] == [
        f"objects_{count}_{start}" for count in (5, 20) for start in ("scratch", "condense")
    ]


def test_a_placebo_has_the_pictures_of_another_scan():
    class Scans:
        weights = (1.0, 1.0)
        fingerprint = "two"
        scans = (wall_scan(), replace(wall_scan(), pictures_u8=255 - wall_scan().pictures_u8, prior=2 * wall_scan().prior))

        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int):
            return self.scans[index]

    scans = Scans()
    swapped = OtherPictures(scans)
    assert len(swapped) == 2 and swapped.fingerprint != scans.fingerprint
    for index in (0, 1):
        np.testing.assert_array_equal(swapped[index].pictures_u8, scans[1 - index].pictures_u8)
        np.testing.assert_array_equal(swapped[index].prior, scans[1 - index].prior)
        np.testing.assert_array_equal(swapped[index].depths, scans[index].depths)

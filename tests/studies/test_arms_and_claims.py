"""Arms with kept outcomes, claims judged from them, and the tables they are shown in."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from scenewise.errors import ConventionError
from scenewise.studies.arms import Arm, Outcome, outcome_path, run_arm
from scenewise.studies.claims import Claim, paired_claim, t_interval, threshold_claim
from scenewise.studies.results import Results, results_json
from scenewise.studies.tables import claims_table


def test_outcomes_are_kept_per_arm_seed_and_configuration(tmp_path: Path) -> None:
    ran: list[int] = []

    def run(seed: int) -> Outcome:
        ran.append(seed)
        return Outcome({"psnr": 30.0 + seed}, 10, 5, 1.5, 99)

    first = run_arm(Arm("a", {"steps": 1}, run), [0, 1], tmp_path)
    assert run_arm(Arm("a", {"steps": 1}, run), [0, 1], tmp_path) == first and ran == [0, 1]
    run_arm(Arm("a", {"steps": 2}, run), [1], tmp_path)
    assert ran == [0, 1, 1]
    claim = threshold_claim("x", "words", [outcome.metrics["psnr"] for outcome in first], 31.0)
    content = results_json(Results("m", "psnr", {"a": [0, 1]}, {"a": first}, [claim], 2.0))
    assert content["arms"]["a"]["mean"] == 30.5 and content["arms"]["a"]["std"] == pytest.approx(0.5**0.5)
    assert content["claims"][0] | {"interval": None} == asdict(claim) | {"interval": None} and not claim.holds
    assert "30.5, not 31" in str(claim.why)
    json.dumps(content, allow_nan=False)


def test_paired_claims_need_the_mean_and_every_sign() -> None:
    assert paired_claim("x", "w", [2.0, 3.0], [1.0, 1.0], at_least=1.2).holds
    assert not paired_claim("x", "w", [2.0, 3.0], [1.0, 1.0], at_least=1.6).holds
    assert not paired_claim("x", "w", [9.0, 0.9], [1.0, 1.0], at_least=1.0).holds
    assert paired_claim("x", "w", [2.0], [1.0]).interval is None
    interval = t_interval([1.0, 2.0, 3.0])
    assert interval is not None and interval[0] == pytest.approx(2 - 4.302653 / 3**0.5, rel=1e-5)
    with pytest.raises(ConventionError, match="as many seeds"):
        paired_claim("x", "w", [2.0], [1.0, 2.0])


def test_claims_are_shown_with_every_difference_and_the_interval() -> None:
    claims = [
        paired_claim("better", "a over b", [2.0, 3.0, 4.0], [1.0, 1.0, 1.0]),
        threshold_claim("reaches", "thirty", [29.0, 30.5], 30.0),
        Claim("missing", "left out", False, [], 0.0, None, "not run"),
    ]
    rows = claims_table({"claims": [asdict(claim) for claim in claims]}).splitlines()
    assert rows[2] == "| `better`: a over b | +2.00 (-0.48 … +4.48) | 1.00, 2.00, 3.00 | yes |"
    assert rows[3].startswith("| `reaches`: thirty | -0.25 (-9.78 … +9.28) | 29.00, 30.50 | no: the mean over 2 seeds")
    assert rows[4] == "| `missing`: left out | – | – | not measured: not run |"


def test_an_outcome_lies_where_it_lay_before(tmp_path: Path) -> None:
    """Outcomes that took hours are found again: the name is made of name, seed and configuration in this way only."""
    arm = Arm("room_mcmc", {"caps": ((150, 3_333), (400, 12_345)), "preset": {"steps": 600, "rate": 0.01}}, lambda _: Outcome({}))
    assert outcome_path(arm, 2, tmp_path) == tmp_path / "room_mcmc_2_45c309ba1239ee59.json"

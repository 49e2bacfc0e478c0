"""``make reproduce METHOD=sc_clip QUICK=1``, and the published table."""

import json
from pathlib import Path

import pytest

from scenewise.studies.__main__ import main
from scenewise.studies.read_outs.tables import results_section
from scenewise.studies.results import with_generated_section
from scenewise.teachers.small_clip import WEIGHTS

ROOT = Path(__file__).resolve().parents[2]
CLAIMS = {
    "sc_over_maskclip",
    "sc_over_best_peer",
    "repair_recovers_injected",
    "set_vote_helps",
    "dense_over_window_control",
}


@pytest.mark.slow
@pytest.mark.skipif(not WEIGHTS.exists(), reason="the embedded weights are not there")
def test_reproduce_quick(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``make reproduce METHOD=sc_clip QUICK=1`` writes every claim and arm, and keeps what it has run."""
    for attempt in range(2):
        assert main(["sc_clip", "--quick", "--cache", str(tmp_path)]) == 0
        assert ("kept from before" in capsys.readouterr().out) == (attempt == 1)
    content = json.loads((tmp_path / "quick" / "quick.json").read_text())
    assert {claim["id"] for claim in content["claims"]} >= CLAIMS
    arms = content["arms"]
    assert {
        "chance",
        "most_frequent",
        "window_cls_control",
        "clip",
        "maskclip",
        "clearclip",
        "sclip",
        "naclip",
        "sc_clip",
    } <= arms.keys()
    assert {f"sc_clip_{i}" for i in range(6)} == {name[:9] for name in arms if name[:8] == "sc_clip_" and name[8].isdigit()}
    assert {"view_vote_miou", "set_vote_miou", "oracle_vote_miou"} <= arms["points"]["more"].keys()
    assert (tmp_path / "quick" / "sc_clip_anomalies.png").stat().st_size > 1000


def test_the_published_table_is_the_generated_one() -> None:
    """The method's README shows what docs/results/sc_clip.json holds."""
    content = json.loads((ROOT / "docs" / "results" / "sc_clip.json").read_text(encoding="utf-8"))
    readme = (ROOT / "src" / "scenewise" / "methods" / "sc_clip" / "README.md").read_text(encoding="utf-8")
    assert with_generated_section(readme, results_section(content)) == readme, "run make reproduce METHOD=sc_clip"
    assert {claim["id"] for claim in content["claims"]} >= CLAIMS

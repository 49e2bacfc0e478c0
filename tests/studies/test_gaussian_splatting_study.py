"""``make reproduce METHOD=gaussian_splatting QUICK=1``, and the published table."""

import json
import os
from pathlib import Path

import pytest

from scenewise.kernels.native import library
from scenewise.studies.__main__ import main
from scenewise.studies.results import with_generated_section
from scenewise.studies.tables import results_table

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_reproduce_quick(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """``make reproduce METHOD=gaussian_splatting QUICK=1`` writes every claim, and keeps what it has run."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"), prepend=os.pathsep)  # of the runs that are killed
    monkeypatch.setattr(library, "default_threads", lambda: 1)  # the other processors run other tests
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    out = tmp_path / "results.json"
    command = ["gaussian_splatting", "--quick", "--cache", str(tmp_path / "cache"), "--out", str(out)]
    assert main(command) == 0
    assert "kept from before" not in capsys.readouterr().out
    results = json.loads(out.read_text())
    claims = {claim["id"]: claim["holds"] for claim in results["claims"]}
    assert claims["mcmc_exact_budget"] and claims["resume_bit_exact"]
    assert {"fox_31db_90s", "lego_32db_5min"} <= claims.keys()
    assert results["arms"]["room"]["mean"] > 15
    assert main(command) == 0
    assert "kept from before" in capsys.readouterr().out


def test_readme_table_is_the_results_file() -> None:
    content = json.loads((ROOT / "docs" / "results" / "gaussian_splatting.json").read_text(encoding="utf-8"))
    readme = (ROOT / "src" / "scenewise" / "methods" / "gaussian_splatting" / "README.md").read_text(encoding="utf-8")
    assert with_generated_section(readme, results_table(content)) == readme, "run make reproduce METHOD=gaussian_splatting"

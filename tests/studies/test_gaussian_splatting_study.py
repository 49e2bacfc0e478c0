"""``make reproduce METHOD=gaussian_splatting QUICK=1``, and the published table."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scenewise.studies.results import with_generated_section
from scenewise.studies.tables import results_table

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_reproduce_quick(tmp_path: Path) -> None:
    """``make reproduce METHOD=gaussian_splatting QUICK=1`` writes every claim, and keeps what it has run."""
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in paths if path), OMP_NUM_THREADS="1")
    out = tmp_path / "results.json"
    command = [sys.executable, "-m", "scenewise.studies", "gaussian_splatting", "--quick"]
    command += ["--cache", str(tmp_path / "cache"), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    results = json.loads(out.read_text())
    claims = {claim["id"]: claim["holds"] for claim in results["claims"]}
    assert claims["mcmc_exact_budget"] and claims["resume_bit_exact"]
    assert {"fox_31db_90s", "lego_32db_5min"} <= claims.keys()
    assert results["arms"]["room"]["mean"] > 15
    again = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert "kept from before" in again.stdout


def test_readme_table_is_the_results_file() -> None:
    content = json.loads((ROOT / "docs" / "results" / "gaussian_splatting.json").read_text(encoding="utf-8"))
    readme = (ROOT / "src" / "scenewise" / "methods" / "gaussian_splatting" / "README.md").read_text(encoding="utf-8")
    assert with_generated_section(readme, results_table(content)) == readme, "run make reproduce METHOD=gaussian_splatting"

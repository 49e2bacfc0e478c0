"""``make reproduce METHOD=distilled_3dgs QUICK=1`` in small."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scenewise.kernels.native import library
from scenewise.studies.__main__ import main
from scenewise.studies.distilled_3dgs import COLUMNS
from scenewise.studies.results import with_generated_section
from scenewise.studies.tables import wide_table

ROOT = Path(__file__).parents[2]
CLAIMS = {
    "kd_over_pruned",
    "kd_over_mcmc",
    "structure_helps",
    "diversity_helps",
    "ensemble_over_best_teacher",
    "within_0p1_of_teacher_at_30pct",
    "within_0p1_of_teacher_at_15pct",
}


@pytest.mark.slow
def test_reproduce_quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writes every claim and figure, and keeps what it has run, for the same study in a process of its own."""
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(path for path in paths if path), OMP_NUM_THREADS="1")
    out = tmp_path / "results.json"
    monkeypatch.setattr(library, "default_threads", lambda: 1)  # the other processors run other tests
    arguments = ["distilled_3dgs", "--quick", "--cache", str(tmp_path / "cache"), "--out", str(out)]
    assert main(arguments) == 0
    results = json.loads(out.read_text())
    assert {claim["id"] for claim in results["claims"]} == CLAIMS
    arms = results["arms"]
    student, teacher = arms["room_e_structure_15"], arms["room_teacher_vanilla"]
    assert student["more"]["num_gaussians"]["mean"] == round(0.15 * teacher["more"]["num_gaussians"]["mean"])
    assert student["more"]["lpips"]["mean"] is None
    # The whole cost: three teachers of 60 steps, 3 × 14 pictures, its own 60 steps and two looks at 14 views.
    assert student["more"]["views_rendered"]["mean"] == 3 * 60 + 3 * 14 + 60 + 2 * 14
    assert student["train_seconds"] > student["more"]["own_seconds"]["mean"]
    # Students are alike until they are simplified: one dense training serves all.
    assert len(list((tmp_path / "cache" / "trainings" / "room").glob("dense_0_*/done.json"))) == 1
    command = [sys.executable, "-m", "scenewise.studies", *arguments]
    again = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("kept from before") == len(arms)


def test_readme_table_is_the_results_file() -> None:
    """The table in the README is what ``make reproduce`` wrote, claims included."""
    content = json.loads((ROOT / "docs" / "results" / "distilled_3dgs.json").read_text(encoding="utf-8"))
    readme = (ROOT / "src" / "scenewise" / "methods" / "distilled_3dgs" / "README.md").read_text(encoding="utf-8")
    table = wide_table(content, COLUMNS)
    assert with_generated_section(readme, table) == readme, "run make reproduce METHOD=distilled_3dgs"
    assert {claim["id"] for claim in content["claims"]} == CLAIMS

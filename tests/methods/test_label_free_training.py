"""Each composition trains end to end on two tiny rooms, and the studies in their short form."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.between_workers import made_once

from scenewise.catalogue import LABEL_FREE_METHODS, Overrides, method_recipe
from scenewise.engine.threads import compute_threads
from scenewise.engine.training import StepReport
from scenewise.errors import ConventionError
from scenewise.kernels.native import library
from scenewise.parts.labelfree.trainer import LabelFreeTrainer
from scenewise.studies.__main__ import main
from scenewise.studies.label_free.arms import RoomArms
from scenewise.studies.label_free.rooms import EMBEDDED, QUICK, Rooms
from scenewise.studies.label_free.scoring import scored_points
from scenewise.studies.label_free.tables import results_section
from scenewise.studies.results import with_generated_section
from scenewise.teachers.small_clip import WEIGHTS

ROOT = Path(__file__).resolve().parents[2]
CLAIMS = {
    "clip2scene": {"beats_view_vote"},
    "hicl": {
        "ladder_II", "ladder_III", "ladder_IV", "ladder_V", "ratio_to_clip2scene",
        "inter_scene_helps_under_per_scene_confusion", "global_confusion_null",
    },
    "cns": {"cns_region", "cns_switch", "cns_latent"},
    "union": {"union_at_least_best"},
}  # fmt: skip
ARMS = {
    "clip2scene": {"raw_teacher_2d", "raw_teacher_3d", "view_vote_3d", "set_vote_3d", "clip2scene"},
    "hicl": {"hicl_I", "hicl_II", "hicl_III", "hicl_IV", "hicl_V", "hicl_V_region_refined", "noise_e_IV", "noise_f_V"},
    "cns": {
        "cns", "cns_no_region_refinement", "cns_no_self", "cns_no_cross", "cns_no_latent_2d", "cns_no_latent_3d", "cns_stage_one",
    },
    "union": {"union", "hicl_V", "cns", "clip2scene"},
}  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not WEIGHTS.exists(), reason="the embedded weights are not there"),
]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the quick studies keep before the first arm: rooms, and everything that is prepared of them.  Nobody may change it."""
    return made_once(tmp_path_factory, "label_free_rooms", _prepare)[0]


def _prepare(folder: Path) -> None:
    Rooms(QUICK, folder / "quick").ready(list(LABEL_FREE_METHODS))


def test_every_quick_study_writes_its_claims_and_arms(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """``make reproduce METHOD=… QUICK=1``.  One after the other, as each finds what those before have kept."""
    monkeypatch.setattr(library, "default_threads", lambda: 1)  # the other processors run other tests
    shutil.copytree(cache, tmp_path, dirs_exist_ok=True)
    for method in ("clip2scene", "hicl", "cns", "union"):
        assert main([method, "--quick", "--cache", str(tmp_path)]) == 0, method
        content = json.loads((tmp_path / "quick" / f"{method}.json").read_text())
        assert {claim["id"] for claim in content["claims"]} >= CLAIMS[method], method
        assert set(content["arms"]) >= ARMS[method], method
        for name in ARMS[method] & {"hicl_V", "cns", "union", "clip2scene"}:
            arm = content["arms"][name]
            assert arm["parameters_trained"] > arm["parameters_deployed"] > 0 and arm["train_seconds"] > 0, (method, name)
            assert {"coverage", "accuracy", "peak_memory_mb", "iou wall"} <= set(arm["more"]), (method, name)
            assert ("miou_2d" in arm["more"]) == (name in ("cns", "union")), (method, name)


@pytest.mark.parametrize("method", list(LABEL_FREE_METHODS))
def test_a_composition_trains_on_two_rooms(method: str, cache: Path):
    """All phases are passed, the loss of labels falls, and the 3D student learns to say its labels."""
    epochs = 14
    changes = {**dict(QUICK.changes), "epochs": epochs}
    rooms = Rooms(replace(QUICK, changes=tuple(changes.items())), cache / "quick")
    recipe = RoomArms(rooms, threads=1).recipe(method, learning_rate=0.1)
    scans = rooms.scans("train", EMBEDDED, LABEL_FREE_METHODS[method].needs)
    trainer = LabelFreeTrainer(recipe, scans, rooms.text(), seed=0)
    reports: list[StepReport] = []
    with compute_threads(1):
        trainer.run(listener=reports.append)
    assert len(reports) == trainer.total_steps == epochs
    assert set(reports[-1].terms) == set(recipe.schedule.phases[-1].weights), "the last phase was reached"
    for name in {"points", "pixels"} & set(reports[0].terms):
        curve = [report.terms[name] for report in reports]
        assert np.mean(curve[-3:]) < 0.9 * np.mean(curve[:3]), (name, curve)
    if recipe.name != "hicl":
        assert any(report.figures.get("share/self/points", 0.0) > 0 for report in reports), "labels were switched"
    first, last = reports[0].figures["points/accuracy"], reports[-1].figures["points/accuracy"]
    assert last > max(0.3, 2 * first), "walls alone are a quarter of all points"
    assert scored_points(rooms, trainer, recipe.voxel, "test")["coverage"] == 100.0


@pytest.mark.parametrize("method", list(LABEL_FREE_METHODS))
def test_the_published_table_is_the_generated_one(method: str):
    """The method's README shows what its results file holds."""
    results = ROOT / "docs" / "results" / f"{method}.json"
    if not results.is_file():
        pytest.skip("not run yet")
    content = json.loads(results.read_text(encoding="utf-8"))
    readme = (ROOT / "src" / "scenewise" / "methods" / method / "README.md").read_text(encoding="utf-8")
    assert with_generated_section(readme, results_section(content)) == readme, f"run make reproduce METHOD={method}"
    assert {claim["id"] for claim in content["claims"]} >= CLAIMS[method]


def test_a_method_is_composed_by_its_name():
    recipe = method_recipe("hicl", "rooms", Overrides(epochs=12, width=0.5, batch_scans=2, learning_rate=0.05, backbone="spvcnn"))
    assert (recipe.epochs, recipe.batch_scans, recipe.points_optimizer.learning_rate) == (12, 2, 0.05)
    assert (recipe.config["width"], recipe.config["backbone"], recipe.config["tokens"]) == (0.5, "spvcnn", 256)
    assert method_recipe("hicl", "rooms", {"levels": ("scene",)}).config["levels"] == ["scene"]


@pytest.mark.errors
def test_unknown_names_are_refused():
    with pytest.raises(ConventionError, match="method: expected one of clip2scene, cns, hicl, union, got 'hickle'"):
        method_recipe("hickle")
    with pytest.raises(ConventionError, match="preset: expected one of scannet, nuscenes, rooms, got 'kitti'"):
        method_recipe("hicl", "kitti")
    with pytest.raises(ConventionError, match=r"settings of cns: expected any of .*, got tokens"):
        method_recipe("cns", "rooms", {"tokens": 3})

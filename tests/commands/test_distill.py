"""``scenewise reconstruct --method distilled_3dgs``: the whole way in small, kills at every stage, sizes, processes, errors."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import tyro
from tests.support.between_workers import made_once

import scenewise
from scenewise.commands.demo.capture import write_demo_capture
from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.commands.reconstruct.run import reconstruct
from scenewise.commands.reconstruct.splat_methods import command_arguments
from scenewise.engine.checkpoints import Checkpoint, Checkpointer
from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.ply.gaussians import read_gaussians_ply
from scenewise.io.scene_folder import read_scene
from scenewise.io.spz import read_spz
from scenewise.methods.distilled_3dgs import stages
from scenewise.methods.distilled_3dgs.config import spec_of
from scenewise.methods.distilled_3dgs.ensemble import Ensemble
from scenewise.methods.distilled_3dgs.options import DistillationOptions

FIGURES = ("vanilla", "noise", "dropout", "mean of the teachers", "student")


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def make(place: Path) -> None:
        write_demo_capture(place, seed=0, frames=12, width=48, height=36)

    return made_once(tmp_path_factory, "distill_room", make)[0]


def _options(room: Path, out: Path, *, distillation: DistillationOptions | None = None, **changes: object) -> ReconstructOptions:
    options = ReconstructOptions(
        capture=room,
        out=out,
        method="distilled_3dgs",
        steps=40,
        threads=1,
        sh_degree=1,
        checkpoint_every=10,
        distillation=distillation or DistillationOptions(teacher_gaussians=2_000, keep_ratio=0.3),
    )
    return replace(options, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def scene(room: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To be left as it is."""
    options = DistillationOptions(teacher_gaussians=2_000, keep_ratio=0.3, curve=(0.1, 0.6))

    def make(place: Path) -> None:
        reconstruct(_options(room, place, distillation=options))

    return made_once(tmp_path_factory, "distill_scene", make)[0]


def test_a_distilled_scene_is_complete(room: Path, scene: Path) -> None:
    written = read_scene(scene)
    vanilla = read_gaussians_ply(scene / "teachers" / "vanilla" / "splats.ply")
    assert written.num_gaussians == len(written.gaussians) == round(0.3 * len(vanilla))
    assert written.provenance.method == "distilled_3dgs"
    found = json.loads((scene / "distillation.json").read_text())
    rows = {row["name"]: row for row in found["table"]}
    assert tuple(rows) == FIGURES
    assert rows["student"]["num_gaussians"] == written.num_gaussians and written.evaluation is not None
    assert rows["student"]["psnr"] == pytest.approx(written.evaluation.psnr, abs=1e-3)
    assert rows["student"]["spz_bytes"] == (scene / "splats.spz").stat().st_size
    assert rows["student"]["ply_bytes"] == (scene / "splats.ply").stat().st_size
    # What it cost is that of all trainings: four of 40 steps, 3 × 10 pictures of teachers, two looks at 10 views.
    views = len(written.cameras_of("train"))
    assert found["views_rendered"] == 4 * 40 + 3 * views + 2 * views
    assert found["seconds"] == pytest.approx(sum(rows[name]["seconds"] for name in rows if rows[name]["seconds"] is not None))
    assert written.evaluation.seconds == pytest.approx(found["seconds"])
    curve = [row["num_gaussians"] for row in found["curve"]]
    assert curve == sorted(curve) and len(curve) == 4
    assert {row["name"] for row in found["curve"]} == {"student, 10 %", "student", "student, 60 %", "vanilla"}
    assert len(read_spz(scene / "students" / "10" / "splats.spz")) == round(0.1 * len(vanilla))
    assert not list((scene / "teachers").glob("*/checkpoints"))


def test_the_report_shows_teachers_student_and_truth(scene: Path) -> None:
    page = (scene / "report.html").read_text()
    for text in (
        "Teachers and student",
        "mean of the teachers",
        "PSNR of held-out views over size",
        "MB of .spz",
        "student, 10 %",
    ):
        assert text in page


class _Kill(Exception):  # noqa: N818 - not an error
    pass


def _killed(monkeypatch: pytest.MonkeyPatch, when: Callable[[Path, int], bool], run: Callable[[], object]) -> None:
    """Runs until a checkpoint at which ``when`` is true has been written, and stops there as a kill would."""
    save = Checkpointer.save

    def save_and_die(self: Checkpointer, checkpoint: Checkpoint) -> Path:
        path = save(self, checkpoint)
        if when(self.folder, checkpoint.step):
            raise _Kill
        return path

    with monkeypatch.context() as patched:
        patched.setattr(Checkpointer, "save", save_and_die)
        with pytest.raises(_Kill):
            run()


def test_a_run_killed_at_every_stage_ends_with_the_same_bits_and_trains_no_teacher_twice(
    room: Path, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    options = DistillationOptions(teacher_gaussians=2_000, keep_ratio=0.3, curve=(0.1,))
    first, again = (_options(room, broken, distillation=options, resume=resume) for resume in (False, True))
    trained: list[str] = []
    train = Ensemble.train

    def noted(self: Any, spec: Any, points: Any, folder: Path) -> dict[str, Any]:
        trained.append(spec.name)
        return train(self, spec, points, folder)

    monkeypatch.setattr(Ensemble, "train", noted)

    def at(folder: str, step: int) -> Callable[[Path, int], bool]:
        return lambda place, done: place.parent.name == folder and done == step

    _killed(monkeypatch, at("vanilla", 20), lambda: reconstruct(first))
    _killed(monkeypatch, at("noise", 30), lambda: reconstruct(again))
    with monkeypatch.context() as patched, pytest.raises(_Kill):  # between teachers and student

        def die(*_: object, **__: object) -> None:
            raise _Kill

        patched.setattr(stages, "write_pictures", die)
        reconstruct(again)
    assert trained == ["vanilla", "vanilla", "noise", "noise", "dropout"]
    _killed(monkeypatch, at("broken", 30), lambda: reconstruct(again))
    _killed(monkeypatch, at("dense", 10), lambda: reconstruct(again))
    _killed(monkeypatch, at("10", 30), lambda: reconstruct(again))
    reconstruct(again)
    assert trained == ["vanilla", "vanilla", "noise", "noise", "dropout"]
    for name in ("splats.ply", "teachers/vanilla/splats.ply", "teachers/noise/splats.ply", "students/10/splats.ply"):
        assert (scene / name).read_bytes() == (broken / name).read_bytes(), name


def test_a_size_in_bytes_is_kept(room: Path, scene: Path, tmp_path: Path) -> None:
    for size_of, target in (("spz", 8_000), ("ply", 60_000)):
        dial = DistillationOptions(
            teacher_gaussians=2_000, teachers_from=scene, target_size=str(target), size_of=size_of  # type: ignore[arg-type]
        )  # fmt: skip
        made = reconstruct(_options(room, tmp_path / size_of, distillation=dial))
        size = (tmp_path / size_of / f"splats.{size_of}").stat().st_size
        assert 0.8 * target < size <= target
        assert made.distillation is not None and not (tmp_path / size_of / "teachers" / "vanilla").exists()


def test_teachers_of_their_own_processes_give_the_same_bits(room: Path, scene: Path, tmp_path: Path) -> None:
    source = str(Path(scenewise.__file__).parents[1])
    options = DistillationOptions(teacher_gaussians=2_000, keep_ratio=0.3, jobs=2, teachers=("vanilla", "noise"))
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", os.pathsep.join([source, os.environ.get("PYTHONPATH", "")]))
        reconstruct(_options(room, tmp_path / "jobs", distillation=options))
    for name in ("vanilla", "noise"):
        place = Path("teachers") / name / "splats.ply"
        assert (tmp_path / "jobs" / place).read_bytes() == (scene / place).read_bytes()


def test_one_teacher_alone(room: Path, scene: Path, tmp_path: Path) -> None:
    options = DistillationOptions(teacher_gaussians=2_000, keep_ratio=0.3, only_teacher="noise")
    done = reconstruct(_options(room, tmp_path / "one", distillation=options))
    assert done.scene == tmp_path / "one" / "teachers" / "noise" and done.evaluation is None
    assert (done.scene / "splats.ply").read_bytes() == (scene / "teachers" / "noise" / "splats.ply").read_bytes()
    assert not (tmp_path / "one" / "scene.json").exists()


def test_minutes_are_shared_among_the_trainings_and_kept_for_a_resume(room: Path, tmp_path: Path) -> None:
    out = tmp_path / "minutes"
    options = _options(room, out, steps=None, minutes=0.004)
    made = reconstruct(options)
    plan = json.loads((out / "teachers" / "plan.json").read_text())
    assert made.steps == plan["student_steps"] == plan["teacher_steps"] >= 50
    assert reconstruct(replace(options, resume=True)).steps == made.steps


def test_the_command_line_of_options_gives_them_again(tmp_path: Path) -> None:
    options = _options(
        tmp_path / "a capture",
        tmp_path / "out",
        background=(0.0, 0.5, 1.0),
        resume=True,
        distillation=DistillationOptions(
            teachers=("vanilla", "vanilla_2"), curve=(0.1, 0.25), target_size="2MB", only_teacher="vanilla_2", depth_reg="on"
        ),
    )
    parsed = tyro.cli(
        ReconstructOptions,
        args=command_arguments(options),
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes),
    )
    assert parsed == options


@pytest.mark.errors
def test_what_cannot_be_is_refused_before_anything_is_trained(room: Path, scene: Path, tmp_path: Path) -> None:
    for changes, message in (
        ({"strategy": "mcmc"}, "--strategy mcmc.*--method gaussian_splatting"),
        ({"pose_refinement": True}, "--pose-refinement"),
        ({"max_gaussians": 300}, "one of --max-gaussians, --keep-ratio and --target-size"),
    ):
        with pytest.raises(ConventionError, match=message):
            _options(room, tmp_path / "x", **changes)  # type: ignore[arg-type]
    with pytest.raises(ConventionError, match=r"--keep-ratio.*--method distilled_3dgs"):
        ReconstructOptions(room, tmp_path / "x", distillation=DistillationOptions(keep_ratio=0.5))
    with pytest.raises(ConventionError, match=r"--teachers.*vanilla, noise or dropout"):
        DistillationOptions(teachers=("best",))
    with pytest.raises(ConventionError, match="vanilla, noise or dropout"):
        spec_of("best")
    with pytest.raises(ConventionError, match="--curve"):
        DistillationOptions(curve=(0.5, 1.5))
    with pytest.raises(ConventionError, match=r"size.*2GB"):
        DistillationOptions(target_size="much")


@pytest.mark.errors
def test_teachers_of_other_settings_are_not_used_again(room: Path, scene: Path, tmp_path: Path) -> None:
    other = DistillationOptions(teacher_gaussians=1_500, keep_ratio=0.3, teachers_from=scene)
    with pytest.raises(ConventionError, match=r"option strategy\.max_gaussians.*2000.*1500"):
        reconstruct(_options(room, tmp_path / "other", distillation=other))
    missing = replace(other, teacher_gaussians=2_000, teachers=("vanilla", "vanilla_2"))
    with pytest.raises(DataFormatError, match=r"finished teachers.*no vanilla_2"):
        reconstruct(_options(room, tmp_path / "missing", distillation=missing))
    assert torch.isfinite(read_scene(scene).gaussians.means).all()

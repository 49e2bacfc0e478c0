"""The size dial: exact files, counts that follow from sizes, presets of the paper's scenes."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.support.fabricated_capture import true_gaussians

from scenewise.errors import ConventionError
from scenewise.io.ply.gaussians import gaussians_ply_bytes, write_gaussians_ply
from scenewise.io.spz import read_spz, write_spz
from scenewise.methods.distilled_3dgs.config import (
    PAPER,
    PAPER_SCENES,
    RELEASED,
    THREE_TEACHERS,
    DistilledConfig,
    StructureSettings,
    TeacherSpec,
    preset,
)
from scenewise.methods.distilled_3dgs.size import SizeDial, file_bytes, fitted, gaussians_for
from scenewise.parts.splats.recipes import PAPER_30K_MCMC
from scenewise.parts.splats.strategies import DefaultStrategy

TEACHER = true_gaussians(3_000)


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_sizes_are_those_of_the_files(tmp_path: Path, degree: int) -> None:
    gaussians = TEACHER.with_sh_degree(degree)
    write_gaussians_ply(tmp_path / "a.ply", gaussians)
    write_spz(tmp_path / "a.spz", gaussians)
    assert file_bytes(gaussians, "ply") == gaussians_ply_bytes(3_000, degree) == (tmp_path / "a.ply").stat().st_size
    assert file_bytes(gaussians, "spz") == (tmp_path / "a.spz").stat().st_size


def test_counts_follow_from_what_is_asked_for() -> None:
    assert gaussians_for(SizeDial(), TEACHER, 3) is None
    assert gaussians_for(SizeDial(max_gaussians=77), TEACHER, 3) == 77
    assert gaussians_for(SizeDial(keep_ratio=0.15), TEACHER, 3) == 450
    # 62 float32 columns a row at degree 3, 17 at degree 0.
    header = gaussians_ply_bytes(0, 3)
    assert gaussians_for(SizeDial(target_bytes=header + 248 * 500 + 100, file_format="ply"), TEACHER, 3) in (499, 500)
    count = gaussians_for(SizeDial(target_bytes=20_000), TEACHER, 0)
    assert count is not None
    planned = file_bytes(TEACHER.select(torch.arange(count)), "spz")
    assert 0.95 * 20_000 < planned < 1.02 * 20_000  # a plan; ``fitted`` keeps to it


@pytest.mark.parametrize("file_format", ["ply", "spz"])
def test_what_does_not_fit_is_cut_least_important_first(tmp_path: Path, file_format: str) -> None:
    importances = torch.rand(3_000, generator=torch.Generator().manual_seed(0))
    target = 15_000 if file_format == "spz" else 60_000
    kept = fitted(TEACHER, importances, target, file_format)  # type: ignore[arg-type]
    assert 0.97 * target < file_bytes(kept, file_format) <= target  # type: ignore[arg-type]
    bound = importances.sort(descending=True).values[len(kept) - 1]
    assert torch.equal(kept.means, TEACHER.means[importances >= bound])
    assert fitted(TEACHER, importances, 10**9, file_format) is TEACHER  # type: ignore[arg-type]
    if file_format == "spz":
        write_spz(tmp_path / "kept.spz", kept)
        assert len(read_spz(tmp_path / "kept.spz")) == len(kept)


@pytest.mark.errors
def test_sizes_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConventionError, match="one of max_gaussians"):
        SizeDial(max_gaussians=5, keep_ratio=0.5)
    with pytest.raises(ConventionError, match="keep_ratio"):
        SizeDial(keep_ratio=1.5)
    with pytest.raises(ConventionError, match=r"room for 100 Gaussians.*larger"):
        gaussians_for(SizeDial(target_bytes=500), TEACHER, 3)
    with pytest.raises(ConventionError, match="room for 100 Gaussians"):
        fitted(TEACHER, torch.rand(3_000), 500, "spz")


def test_presets_hold_the_papers_values() -> None:
    assert PAPER.teachers == THREE_TEACHERS and PAPER.kd_weight == 0.4 and PAPER.kd_l1_target == "teacher"
    assert PAPER.structure == StructureSettings("trilinear", 128, 500) and PAPER.teacher_schedule == "paper"
    strategy = PAPER.student.strategy
    assert isinstance(strategy, DefaultStrategy) and strategy.reset_every is None and PAPER.student.steps == 30_000
    assert (RELEASED.teacher.views_per_step, RELEASED.kd_l1_target, RELEASED.teacher_schedule) == (6, "gt", "released")
    assert RELEASED.structure == StructureSettings("separable", 256, 1_000, first=20_000) and not RELEASED.restart_lr
    assert RELEASED.perturbation.units == "released" and RELEASED.simplification.reborn


def test_all_thirteen_scenes_of_the_paper_have_settings() -> None:
    assert len(PAPER_SCENES) == 13
    assert sum(scene.data_set == "mipnerf360" for scene in PAPER_SCENES.values()) == 9
    garden = preset("paper_30k", scene="garden", data_set="mipnerf360").simplification
    room = preset("paper_30k", scene="room", data_set="mipnerf360").simplification
    playroom = preset("paper_30k", scene="playroom", data_set="deep_blending").simplification
    assert (garden.kind, garden.factor) == ("outdoor", 0.9) and (room.kind, room.factor) == ("indoor", None)
    assert (playroom.kind, playroom.factor) == ("indoor", 0.5)
    # A room of somebody else is not the paper's.
    assert preset("paper_30k", scene="room", data_set=None) == PAPER


@pytest.mark.errors
def test_settings_that_make_no_sense_are_refused() -> None:
    for changes, message in (
        ({"teachers": (TeacherSpec("noise"),)}, "structure.*vanilla teacher"),
        ({"teachers": (TeacherSpec("vanilla"), TeacherSpec("vanilla"))}, "different ones"),
        ({"student": PAPER_30K_MCMC}, "adaptive density control"),
        ({"teacher": replace(PAPER.teacher, random_background=True)}, "fixed background"),
        ({"keep_ratio": 0.0}, "keep_ratio"),
    ):
        with pytest.raises(ConventionError, match=message):
            DistilledConfig(**changes)  # type: ignore[arg-type]

"""Distilled-3DGS as a composition of parts: teachers are recipes with one more strategy, the student has three."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Unpack

from scenewise.engine.randomness import keyed_seed
from scenewise.methods.distilled_3dgs.between import views_between
from scenewise.methods.distilled_3dgs.config import DistilledConfig, TeacherSpec
from scenewise.methods.distilled_3dgs.distillation import Distillation, picture_frames
from scenewise.methods.distilled_3dgs.simplification import BlurSplit, Simplification, sample_step
from scenewise.methods.distilled_3dgs.structure import structure_objective
from scenewise.parts.splats.building import DEFAULT_CACHE_BYTES, Additions, RunArguments, build_trainer
from scenewise.parts.splats.objectives import Objective
from scenewise.parts.splats.recipes import SplatRecipe
from scenewise.parts.splats.schedules import Schedule
from scenewise.parts.splats.strategies import DefaultStrategy, Strategy
from scenewise.parts.splats.trainer import SplatTrainer
from scenewise.parts.splats.views import TrainingViews
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.point_clouds import PointCloud

_RESTART = (0.5, 1.0 / 6.0)
"""Mini-Splatting: when half of the run is over, the positions' rate goes back to what it was after a sixth."""


def teacher_seed(seed: int, spec: TeacherSpec) -> int:
    """Seed of a teacher; the first vanilla one is what plain Gaussian splatting gives with the run's own."""
    return seed if spec.name == "vanilla" else keyed_seed(seed, "teacher", spec.name) % 2**31


def teacher_strategies(config: DistilledConfig, spec: TeacherSpec) -> tuple[Strategy, ...]:
    """What tells a teacher from the vanilla one."""
    if spec.kind == "noise":
        return (replace(config.perturbation, schedule=config.teacher_schedule),)
    if spec.kind == "dropout":
        return (replace(config.dropout, schedule=config.teacher_schedule),)
    return ()


def build_teacher(
    capture: Capture,
    points: PointCloud | None,
    config: DistilledConfig,
    spec: TeacherSpec,
    *,
    seed: int = 0,
    record: Mapping[str, Any] | None = None,
    **run: Unpack[RunArguments],
) -> SplatTrainer:
    """A teacher's trainer; ``seed`` is the run's, the other arguments are those of
    :func:`scenewise.parts.splats.building.build_trainer`.
    """
    if record is None:
        record = {"seed": seed, "teacher": spec.name, **asdict(config.teacher)}
    return build_trainer(
        capture,
        points,
        config.teacher,
        additions=Additions(strategies=teacher_strategies(config, spec)),
        seed=teacher_seed(seed, spec),
        record=record,
        **run,
    )


def build_student(
    capture: Capture,
    points: PointCloud | None,
    config: DistilledConfig,
    *,
    pictures: Path | None,
    vanilla: Gaussians | None = None,
    seed: int = 0,
    record: Mapping[str, Any] | None = None,
    **run: Unpack[RunArguments],
) -> SplatTrainer:
    """The student's trainer.

    Args:
        capture: its training frames are learned from.
        points: where the first Gaussians go; may be None when ``resume_from`` is given.
        config: the method's settings; ``simplification.keep`` says how many Gaussians are left at the end.
        pictures: folder of the teachers' mean pictures; None for a student that learns from photographs alone.
        vanilla: the vanilla teacher, for the structural term; needed when that is asked for.
        seed: of every random stream.
        record: see :func:`scenewise.parts.splats.building.build_trainer`.
        run: likewise; ``cache_bytes`` are kept of photographs and of pictures each.
    """
    device, cache_bytes = run.get("device", "cpu"), run.get("cache_bytes", DEFAULT_CACHE_BYTES)
    recipe = student_schedule(config)
    schedule = Schedule(recipe.steps)
    simplify = Simplification(config.simplification, tuple(frame.camera for frame in capture.train_frames))
    strategies: list[Strategy] = [simplify]
    assert isinstance(recipe.strategy, DefaultStrategy)
    if config.blur_split:
        strategies.insert(0, BlurSplit(recipe.strategy))
    objectives: list[Objective] = []
    first, between = 0, tuple[Frame, ...]()
    if pictures is not None:
        first = 0 if config.kd_from == "start" else sample_step(config.simplification, schedule)
        shown = picture_frames(pictures, pictured_frames(capture, config, seed))
        views = TrainingViews(shown[: len(capture.train_frames)], cache_bytes=cache_bytes, device=device)
        between = shown[len(capture.train_frames) :]
        objectives.append(Distillation(views, config.kd_weight, config.kd_l1_target, recipe.dssim_weight, first))
    if config.structure is not None and vanilla is not None:
        structure = config.structure
        objectives.append(
            structure_objective(
                vanilla.means.to(device),
                grid=structure.hist_grid,
                kind=structure.hist_kind,
                strength=structure.weight,
                every=schedule.interval(structure.hist_every, structure.smallest_interval),
                first_step=schedule.step(structure.first),
            )
        )
    if record is None:
        record = {"seed": seed, "method": "distilled_3dgs", **asdict(config)}
    return build_trainer(
        capture,
        points,
        recipe,
        additions=Additions(strategies, objectives, between, first),
        seed=seed,
        record=record,
        **run,
    )


def pictured_frames(capture: Capture, config: DistilledConfig, seed: int) -> tuple[Frame, ...]:
    """All views of which the student needs the teachers' pictures: the training views, then those between them."""
    frames = capture.train_frames
    return frames + views_between(frames, round(config.between * len(frames)), seed)


def student_schedule(config: DistilledConfig) -> SplatRecipe:
    """The student's recipe with densification ending where it is simplified, and its learning rate restarted if so set."""
    recipe, strategy = config.student, config.student.strategy
    assert isinstance(strategy, DefaultStrategy)
    until = min(strategy.refine_until, config.simplification.sample_at)
    rates = replace(recipe.learning_rates, restart=_RESTART) if config.restart_lr else recipe.learning_rates
    return replace(recipe, strategy=replace(strategy, refine_until=until), learning_rates=rates)

"""What the arms of Distilled-3DGS are made of: captures, teachers, their pictures, students and MCMC controls, each made once.

Everything that is trained is kept under a hash of what decides it, and long trainings write checkpoints, so an interrupted
reproduction goes on where it stopped.  Nothing of one seed is used by another.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, final

import torch

from scenewise.commands.demo.capture import write_demo_capture
from scenewise.engine.checkpoints import Checkpoint, Checkpointer
from scenewise.engine.data_hash import capture_hash
from scenewise.engine.memory import forget_peak, peak_since_forgotten
from scenewise.io.captures import open_capture
from scenewise.io.json_values import json_ready
from scenewise.io.ply.gaussians import read_gaussians_ply, write_gaussians_ply
from scenewise.io.ply.points import read_points_ply, write_points_ply
from scenewise.io.product_kinds import STUDY_TRAINING
from scenewise.io.products import made
from scenewise.methods.distilled_3dgs.config import (
    FAST_DISTILLED,
    DistilledConfig,
    StructureSettings,
    TeacherSpec,
    student_recipe,
)
from scenewise.methods.distilled_3dgs.distillation import write_pictures
from scenewise.methods.distilled_3dgs.figures import measured, measured_mean
from scenewise.methods.distilled_3dgs.simplification import sample_step
from scenewise.methods.distilled_3dgs.training import build_student, build_teacher, pictured_frames
from scenewise.metrics.lpips import Lpips
from scenewise.parts.points.choose import initial_points
from scenewise.parts.splats.building import build_trainer
from scenewise.parts.splats.recipes import FAST, FAST_MCMC, SplatRecipe, with_cap
from scenewise.parts.splats.reconstruction import detached
from scenewise.parts.splats.schedules import Schedule
from scenewise.parts.splats.trainer import SplatTrainer
from scenewise.rendering import render
from scenewise.scenes.captures import Capture
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.point_clouds import PointCloud
from scenewise.studies.arms import Outcome, digest
from scenewise.studies.bench import data_root

CHECKPOINT_EVERY = 500


@dataclass(frozen=True)
class BenchScene:
    """A capture and how large and how long its trainings are.

    Attributes:
        name: of its arms.
        capture: folder under the data root; "room" is the procedural one.
        downscale: images at 1/N of their size.
        preset: data set preset, or None.
        teacher_gaussians: cap of teachers and of the student before it is simplified: of those tried the best on held-out views.
        teacher_steps: of each teacher.
        student_steps: of each student.
    """

    name: str
    capture: str
    downscale: int | None
    preset: str | None
    teacher_gaussians: int
    teacher_steps: int
    student_steps: int


@dataclass(frozen=True)
class StudentArm:
    """What a student learns from.

    Attributes:
        teachers: names of the ensemble; () for none.
        structure: weight of the structural term and its grid, or None.
        kd_from: from which step on it distils.
        between: views between the photographs, as a part of their number.
        kd_weight: λ_kd.
        longer: its steps as a multiple of the scene's.
    """

    teachers: tuple[TeacherSpec, ...] = ()
    structure: StructureSettings | None = None
    kd_from: Literal["start", "simplification"] = "simplification"
    between: float = 0.0
    kd_weight: float = FAST_DISTILLED.kd_weight
    longer: int = 1


@final
class SplatTrainings:
    """Trains and measures on one scene; what is there is not made again.

    Args:
        scene: which.
        work: folder of what is kept.
        lpips: backbone and heads, or None.
    """

    def __init__(self, scene: BenchScene, work: Path, lpips: Lpips | None = None) -> None:
        self.scene, self.work, self._lpips = scene, work / scene.name, lpips
        self.capture = self._open()
        self.data_hash = capture_hash(self.capture)
        self._points: PointCloud | None = None

    def _open(self) -> Capture:
        scene = self.scene
        if scene.capture == "room":
            folder = self.work / "capture"
            if not folder.exists():
                write_demo_capture(folder, frames=16, width=64, height=48)
            return open_capture(folder)
        return open_capture(data_root() / scene.capture, factor=scene.downscale, preset=scene.preset)

    @property
    def config(self) -> DistilledConfig:
        """The preset for CPUs with this scene's lengths and cap.  No capture's depth is used: the paper's have none."""
        scene = self.scene
        teacher = with_cap(replace(FAST, steps=scene.teacher_steps, depth=None), scene.teacher_gaussians)
        student = with_cap(replace(student_recipe(FAST), steps=scene.student_steps, depth=None), scene.teacher_gaussians)
        return replace(FAST_DISTILLED, teacher=teacher, student=student)

    def points(self) -> PointCloud:
        """Initial points, as many as half the cap; the same for every arm and seed."""
        if self._points is None:
            path = self.work / f"points_{self.scene.teacher_gaussians}.ply"
            if not path.exists():
                scene = self.scene
                full = self.capture if scene.downscale is None else open_capture(data_root() / scene.capture, preset=scene.preset)
                found = initial_points(full, maximum=scene.teacher_gaussians // 2, seed=0)
                write_points_ply(path, found.cloud)
            self._points = read_points_ply(path)
        return self._points

    # ---------------------------------------------------------------------------------------------------------- what is kept

    def _kept(self, kind: str, decides: Mapping[str, Any], train: Callable[[Path, dict[str, Any]], dict[str, Any]]) -> Path:
        """Folder of a training, made by ``train`` unless it is finished."""
        record = json.loads(json.dumps(json_ready({"scene": asdict(self.scene), "data": self.data_hash, **decides})))
        fingerprint = digest(record)
        folder = self.work / f"{kind}_{fingerprint}"
        return made(folder, STUDY_TRAINING, fingerprint, lambda place: train(place, record), lambda path: path).path

    def _run(self, folder: Path, trainer: SplatTrainer, *, until: int | None = None) -> dict[str, Any]:
        """Trains from the newest checkpoint in the folder; keeps the Gaussians, time and memory."""
        checkpointer = Checkpointer(folder / "checkpoints", keep=1)
        found = checkpointer.latest()
        if found is not None:
            trainer.restore(found)
        forget_peak()
        trainer.run(until=until, save=checkpointer.save, save_every=CHECKPOINT_EVERY)
        memory = peak_since_forgotten()
        gaussians = detached(trainer.field.gaussians())
        write_gaussians_ply(folder / "splats.ply", gaussians)
        return {"seconds": trainer.seconds, "num_gaussians": len(gaussians), "memory": memory, "steps": trainer.steps_done}

    # ------------------------------------------------------------------------------------------------------------ the pieces

    def teacher(self, spec: TeacherSpec, seed: int) -> Path:
        """Folder of a trained teacher."""
        config = self.config
        decides = {"teacher": asdict(spec), "seed": seed, "recipe": asdict(config.teacher)}
        decides |= {"perturbation": asdict(config.perturbation)} if spec.kind == "noise" else {}
        decides |= {"dropout": asdict(config.dropout)} if spec.kind == "dropout" else {}

        def train(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
            trainer = build_teacher(self.capture, self.points(), config, spec, seed=seed, record=record, data_hash=self.data_hash)
            return self._run(folder, trainer)

        return self._kept(f"{spec.name}_{seed}", decides, train)

    def pictures(self, arm: StudentArm, seed: int) -> Path:
        """Folder of the mean pictures of an arm's ensemble."""
        folders = [self.teacher(spec, seed) for spec in arm.teachers]
        target = self.work / f"pictures_{'_'.join(spec.name for spec in arm.teachers)}_{arm.between:g}_{seed}"
        write_pictures(
            target,
            [partial(load_splats, folder) for folder in folders],
            pictured_frames(self.capture, self._student_config(arm, None), seed),
            fingerprint="|".join(folder.name for folder in folders),
            background=self.capture.background,
        )
        return target

    def keep(self, percent: int, seed: int) -> int:
        """So many per cent of the vanilla teacher's Gaussians."""
        return max(1, round(figures_of(self.teacher(TeacherSpec("vanilla"), seed))["num_gaussians"] * percent / 100))

    def _student_config(self, arm: StudentArm, keep: int | None) -> DistilledConfig:
        config = self.config
        return replace(
            config,
            student=replace(config.student, steps=config.student.steps * arm.longer),
            teachers=arm.teachers,
            structure=arm.structure,
            kd_from=arm.kd_from,
            between=arm.between,
            kd_weight=arm.kd_weight,
            simplification=replace(config.simplification, keep=keep),
        )

    def _student_trainer(self, arm: StudentArm, keep: int | None, seed: int, record: Mapping[str, Any]) -> SplatTrainer:
        vanilla = load_splats(self.teacher(TeacherSpec("vanilla"), seed)) if arm.structure is not None else None
        return build_student(
            self.capture,
            self.points(),
            self._student_config(arm, keep),
            pictures=self.pictures(arm, seed) if arm.teachers else None,
            vanilla=vanilla,
            seed=seed,
            record=record,
            data_hash=self.data_hash,
        )

    def dense(self, arm: StudentArm, seed: int) -> Path:
        """Folder of a student one step before it is simplified; the same for all sizes, and for all that distil only later."""
        early = arm if arm.kd_from == "start" else StudentArm(longer=arm.longer)
        config = self._student_config(early, 10**9)
        until = sample_step(config.simplification, Schedule(config.student.steps)) - 1
        decides = {"dense": _student_record(config), "seed": seed}

        def train(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
            trainer = self._student_trainer(early, 10**9, seed, record)
            figures = self._run(folder, trainer, until=until)
            Checkpointer(folder / "last", keep=1).save(trainer.checkpoint())
            return figures

        return self._kept(f"dense_{seed}", decides, train)

    def student(self, arm: StudentArm, percent: int, seed: int) -> Path:
        """Folder of a finished student."""
        keep = self.keep(percent, seed)
        decides = {"student": _student_record(self._student_config(arm, keep)), "seed": seed}

        def train(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
            start = Checkpointer(self.dense(arm, seed) / "last").latest()
            assert start is not None, "a finished dense student has its checkpoint"
            trainer = self._student_trainer(arm, keep, seed, record)
            trainer.restore(_renamed(start, record))
            return self._run(folder, trainer)

        return self._kept(f"student_{percent}_{seed}", decides, train)

    def mcmc(self, percent: int, seed: int, steps: int) -> Path:
        """Folder of MCMC capped at the student's number of Gaussians."""
        recipe: SplatRecipe = with_cap(replace(FAST_MCMC, steps=steps, depth=None), self.keep(percent, seed))
        decides = {"mcmc": asdict(recipe), "seed": seed}

        def train(folder: Path, record: dict[str, Any]) -> dict[str, Any]:
            trainer = build_trainer(self.capture, self.points(), recipe, seed=seed, record=record, data_hash=self.data_hash)
            return self._run(folder, trainer)

        return self._kept(f"mcmc_{percent}_{seed}", decides, train)

    # --------------------------------------------------------------------------------------------------------------- figures

    def teacher_outcome(self, spec: TeacherSpec, seed: int) -> Outcome:
        """A teacher's figures."""
        folder = self.teacher(spec, seed)
        own = figures_of(folder)
        return self._outcome(load_splats(folder), own, views=own["steps"], seconds=own["seconds"])

    def ensemble_outcome(self, specs: Sequence[TeacherSpec], seed: int) -> Outcome:
        """Quality of the mean of several teachers' pictures, which nobody deploys."""
        folders = [self.teacher(spec, seed) for spec in specs]
        loaded = [load_splats(folder) for folder in folders]
        figures = measured_mean(loaded, self.capture, torch.device("cpu"))
        costs = [figures_of(folder) for folder in folders]
        metrics: dict[str, float | None] = {
            "psnr": figures.psnr,
            "ssim": figures.ssim,
            "num_gaussians": float(sum(map(len, loaded))),
            "difference": _mean_difference(loaded, self.capture),
            "views_rendered": float(sum(cost["steps"] for cost in costs)),
        }
        return Outcome(metrics, train_seconds=sum(cost["seconds"] for cost in costs))

    def student_outcome(self, arm: StudentArm, percent: int, seed: int) -> Outcome:
        """A student's figures, with what its teachers cost."""
        folder = self.student(arm, percent, seed)
        own = figures_of(folder)
        frames = len(self.capture.train_frames)
        shown = len(pictured_frames(self.capture, self._student_config(arm, None), seed))
        needed = dict.fromkeys([*arm.teachers, *([TeacherSpec("vanilla")] if arm.structure is not None else [])])
        teachers = [figures_of(self.teacher(spec, seed)) for spec in needed]
        views = own["steps"] + 2 * frames + sum(teacher["steps"] for teacher in teachers) + shown * len(arm.teachers)
        seconds = own["seconds"] + sum(teacher["seconds"] for teacher in teachers)
        return self._outcome(load_splats(folder), own, views=views, seconds=seconds)

    def mcmc_outcome(self, percent: int, seed: int, steps: int) -> Outcome:
        """An MCMC control's figures."""
        folder = self.mcmc(percent, seed, steps)
        own = figures_of(folder)
        return self._outcome(load_splats(folder), own, views=own["steps"], seconds=own["seconds"])

    def _outcome(self, gaussians: Gaussians, own: Mapping[str, Any], *, views: int, seconds: float) -> Outcome:
        forget_peak()
        figures = measured("", gaussians, self.capture, torch.device("cpu"))
        memory = peak_since_forgotten()
        learned_from = replace(self.capture, test_names=frozenset(frame.name for frame in self.capture.train_frames))
        assert figures.psnr is not None and figures.render_ms is not None and figures.ply_bytes is not None, "views are held out"
        metrics: dict[str, float | None] = {
            "psnr": figures.psnr,
            "train_psnr": measured("", gaussians, learned_from, torch.device("cpu")).psnr,
            "ssim": figures.ssim,
            "lpips": self._lpips_of(gaussians),
            "num_gaussians": float(len(gaussians)),
            "ply_bytes": float(figures.ply_bytes),
            "spz_bytes": float(figures.spz_bytes or 0),
            "frames_per_second": 1000.0 / figures.render_ms,
            "train_memory_bytes": float(own["memory"]),
            "render_memory_bytes": float(memory),
            "own_seconds": float(own["seconds"]),
            "views_rendered": float(views),
        }
        numbers = len(gaussians) * (14 + gaussians.shN.shape[1] * 3)
        return Outcome(metrics, numbers, numbers, seconds, int(figures.spz_bytes or 0))

    def _lpips_of(self, gaussians: Gaussians) -> float | None:
        if self._lpips is None:
            return None
        background = torch.tensor(self.capture.background or (0.0, 0.0, 0.0))
        values = []
        for frame in self.capture.test_frames:
            assert frame.load_image is not None
            truth = torch.from_numpy(frame.load_image().copy()).float() / 255.0
            with torch.no_grad():
                values.append(float(self._lpips(render(gaussians, frame.camera, background=background).color.clamp(0, 1), truth)))
        return sum(values) / len(values)


def load_splats(folder: Path) -> Gaussians:
    """What a training ended with."""
    return read_gaussians_ply(folder / "splats.ply")


def figures_of(folder: Path) -> dict[str, Any]:
    """Time, memory and sizes of a finished training."""
    found: dict[str, Any] = json.loads((folder / STUDY_TRAINING.mark).read_text(encoding="utf-8"))
    return found


def _student_record(config: DistilledConfig) -> dict[str, Any]:
    """What decides a student; how teachers were trained is in their own records."""
    return {name: value for name, value in asdict(config).items() if name not in ("teacher", "keep_ratio")} | {
        "teacher_recipe": asdict(config.teacher) if config.teachers or config.structure else None
    }


def _renamed(checkpoint: Checkpoint, record: Mapping[str, Any]) -> Checkpoint:
    return replace(checkpoint, config=record)


def _mean_difference(teachers: Sequence[Gaussians], capture: Capture) -> float:
    """Mean absolute difference between two teachers' pictures of a held-out view: how much they disagree."""
    background = torch.tensor(capture.background or (0.0, 0.0, 0.0))
    total, count = 0.0, 0
    with torch.no_grad():
        for frame in capture.test_frames:
            pictures = [render(teacher, frame.camera, background=background).color.clamp(0.0, 1.0) for teacher in teachers]
            for first in range(len(pictures)):
                for second in range(first + 1, len(pictures)):
                    total += float((pictures[first] - pictures[second]).abs().mean())
                    count += 1
    return total / max(1, count)

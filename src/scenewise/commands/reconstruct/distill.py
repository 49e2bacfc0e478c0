"""The stages of ``scenewise reconstruct --method distilled_3dgs`` before and after its student: teachers, pictures, curve, table.

What a stage has made lies in the scene folder, so every stage can be killed and taken up again::

    teachers/plan.json            steps and initial points, fixed before anything is trained
             vanilla/             teacher.json, splats.ply, log.jsonl; checkpoints until it is finished
             pictures/            the teachers' mean picture of every training view, PNG
    students/30/                  a student of the curve (30 % kept): student.json, splats.spz
    distillation.json             figures of teachers, student, curve, and what all of it cost
"""

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, final

import torch

from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.commands.reconstruct.splat_training import train_splats
from scenewise.commands.shared import PAPER_FROM_STEPS
from scenewise.engine.checkpoints import Checkpoint, Checkpointer, require_same_run
from scenewise.engine.jobs import Job, run_jobs
from scenewise.engine.journal import Journal, json_ready
from scenewise.engine.memory import peak_resident_bytes, text_from_bytes
from scenewise.engine.progress import Progress, duration_text
from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.atomic import atomic_write_bytes, atomic_write_json
from scenewise.io.json_fields import read_json_object
from scenewise.io.ply import gaussians_ply_bytes, read_gaussians_ply, read_points_ply, write_gaussians_ply
from scenewise.io.scene_folder import CHECKPOINTS_FOLDER, COMPACT_FILE, DISTILLATION_FILE, POINTS_FILE, SPLATS_FILE
from scenewise.io.spz import write_spz
from scenewise.methods.distilled_3dgs.config import DistilledConfig, TeacherSpec, preset, student_recipe, with_depth
from scenewise.methods.distilled_3dgs.distillation import mean_picture, write_pictures
from scenewise.methods.distilled_3dgs.simplification import Simplification, sample_step
from scenewise.methods.distilled_3dgs.size import SizeDial, file_bytes, fitted, gaussians_for
from scenewise.methods.distilled_3dgs.training import build_student, build_teacher, pictured_frames
from scenewise.metrics.psnr import psnr
from scenewise.metrics.ssim import ssim
from scenewise.parts.splats.importance import importance, view_contributions
from scenewise.parts.splats.recipes import SplatRecipe
from scenewise.parts.splats.schedules import Schedule
from scenewise.parts.splats.trainer import SplatTrainer
from scenewise.rendering import render
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.point_clouds import PointCloud

TEACHERS_FOLDER = "teachers"
STUDENTS_FOLDER = "students"
PICTURES_FOLDER = "pictures"
PLAN_FILE = "plan.json"
TEACHER_FILE = "teacher.json"
STUDENT_FILE = "student.json"
_DENSE_FOLDER = "dense"
_LOG_FILE = "log.jsonl"


@dataclass(frozen=True)
class SplatFigures:
    """One set of Gaussians in the table.

    Attributes:
        name: "vanilla", "mean of the teachers", "student", "student, 30 %".
        num_gaussians: how many; None for a mean of pictures.
        ply_bytes: size of its .ply file.
        spz_bytes: size of its .spz file.
        psnr: on held-out views, dB; None where none are held out.
        ssim: likewise.
        render_ms: mean time to render a held-out view.
        steps: optimisation steps.
        seconds: training time.
        views_rendered: pictures that were rendered for its training.
    """

    name: str
    num_gaussians: int | None = None
    ply_bytes: int | None = None
    spz_bytes: int | None = None
    psnr: float | None = None
    ssim: float | None = None
    render_ms: float | None = None
    steps: int | None = None
    seconds: float | None = None
    views_rendered: int | None = None


@dataclass(frozen=True)
class DistillationSummary:
    """What distillation brought, and what it cost in all.

    Attributes:
        table: teachers, their mean, the student.
        curve: students of several sizes, the chosen one included; and the vanilla teacher.
        seconds: training of all teachers and of the student.
        views_rendered: pictures rendered for all of that.
        kept: Gaussians of the student as a part of the vanilla teacher's.
        teachers: folders of the teachers.
    """

    table: tuple[SplatFigures, ...]
    curve: tuple[SplatFigures, ...]
    seconds: float
    views_rendered: int
    kept: float
    teachers: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """A table for people."""
        rows = [f"{'':<22}{'Gaussians':>11}{'PSNR':>9}{'SSIM':>8}{'ply':>10}{'spz':>10}{'render':>10}{'training':>14}"]
        for row in dict.fromkeys([*self.table, *self.curve]):
            cells = (
                f"{row.num_gaussians:,}" if row.num_gaussians is not None else "",
                f"{row.psnr:.2f} dB" if row.psnr is not None else "",
                f"{row.ssim:.4f}" if row.ssim is not None else "",
                text_from_bytes(float(row.ply_bytes)) if row.ply_bytes is not None else "",
                text_from_bytes(float(row.spz_bytes)) if row.spz_bytes is not None else "",
                f"{row.render_ms:.1f} ms" if row.render_ms is not None else "",
                duration_text(row.seconds) if row.seconds is not None else "",
            )
            widths = (11, 9, 8, 10, 10, 10, 14)
            rows.append(f"{row.name:<22}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths)))
        rows.append(
            f"the student keeps {100 * self.kept:.1f} %; in all {duration_text(self.seconds)} of training and "
            f"{self.views_rendered:,} pictures rendered, teachers included"
        )
        return rows


@dataclass(frozen=True)
class TeacherResult:
    """A finished teacher.

    Attributes:
        spec: which.
        folder: with its ``splats.ply``.
        fingerprint: of its settings and data.
        num_gaussians: how many.
        steps: optimisation steps.
        seconds: training time.
        peak_memory_bytes: of the process that trained it.
    """

    spec: TeacherSpec
    folder: Path
    fingerprint: str
    num_gaussians: int
    steps: int
    seconds: float
    peak_memory_bytes: int

    def load(self) -> Gaussians:
        """Its Gaussians, bit for bit."""
        return read_gaussians_ply(self.folder / SPLATS_FILE)


def distilled_config(options: ReconstructOptions, recipe: SplatRecipe, *, scene: str, data_set: str | None) -> DistilledConfig:
    """The method's settings that a command line asks for.

    Args:
        options: of the command.
        recipe: what teachers and the student's first part are trained with, caps and steps included.
        scene: name of the capture's folder.
        data_set: preset of the capture, or None.
    """
    wanted = options.distillation
    name = "released" if wanted.released else "paper_30k" if recipe.steps >= PAPER_FROM_STEPS else "fast"
    config = preset(name, scene=scene, data_set=data_set)
    views = wanted.views_per_step or config.teacher.views_per_step
    recipe = replace(recipe, views_per_step=views)
    teacher_steps = wanted.teacher_steps or recipe.steps
    structure = config.structure
    teachers = tuple(map(spec_of, wanted.teachers)) or config.teachers
    if wanted.hist_kind == "none" or (wanted.hist_kind is None and TeacherSpec("vanilla") not in teachers):
        structure = None
    elif structure is not None:
        structure = replace(
            structure,
            hist_kind=wanted.hist_kind or structure.hist_kind,
            hist_grid=wanted.hist_grid or structure.hist_grid,
        )
    config = replace(
        config,
        teacher=replace(recipe, steps=teacher_steps),
        student=student_recipe(recipe),
        teachers=teachers,
        teacher_schedule=wanted.teacher_schedule or config.teacher_schedule,
        kd_l1_target=wanted.kd_l1_target or config.kd_l1_target,
        kd_from=wanted.kd_from or config.kd_from,
        between=config.between if wanted.between is None else wanted.between,
        restart_lr=config.restart_lr if wanted.restart_lr is None else wanted.restart_lr == "on",
        structure=structure,
    )
    return config if wanted.depth_reg is None else with_depth(config, wanted.depth_reg == "on")


def spec_of(name: str) -> TeacherSpec:
    """A teacher by its name: ``noise``, ``vanilla_2``."""
    kind, _, number = name.partition("_")
    if kind not in ("vanilla", "noise", "dropout"):
        raise ConventionError("teacher", expected="vanilla, noise or dropout", got=name)
    return TeacherSpec(kind, int(number) if number else 1)  # type: ignore[arg-type]


def with_steps(config: DistilledConfig, student_steps: int, teacher_steps: int) -> DistilledConfig:
    """The same settings with other lengths."""
    return replace(
        config,
        student=replace(config.student, steps=student_steps),
        teacher=replace(config.teacher, steps=teacher_steps),
    )


@final
class DistillationStages:
    """Everything of a distilled reconstruction but the main student's own training.

    Args:
        options: of the command.
        config: the method's settings.
        capture: what is learned from.
        folder: the scene folder.
        data_hash: checksum of the capture.
        cache_bytes: decoded pixels that a trainer keeps.
        device: where to compute.
        journal: of the run.
        progress: shown to the person who waits.
    """

    def __init__(
        self,
        options: ReconstructOptions,
        config: DistilledConfig,
        capture: Capture,
        folder: Path,
        *,
        data_hash: str,
        cache_bytes: int,
        device: torch.device,
        journal: Journal,
        progress: Progress,
    ) -> None:
        self.options, self.config, self.capture, self.folder = options, config, capture, folder
        self.data_hash, self.cache_bytes, self.device = data_hash, cache_bytes, device
        self.journal, self.progress = journal, progress
        self._finished: list[TeacherResult] = []

    # ---------------------------------------------------------------------------------------------------------------- the plan

    @property
    def teachers_folder(self) -> Path:
        """Where the teachers are, or will be."""
        source = self.options.distillation.teachers_from
        return (self.folder if source is None else source) / TEACHERS_FOLDER

    def plan(self, find_points: Callable[[], str]) -> tuple[PointCloud, str]:
        """Initial points and, with ``--minutes``, the number of steps: found once and kept in ``plan.json``.

        Args:
            find_points: writes ``points.ply`` and says where the points came from.

        Returns:
            The points as the file holds them, and where they came from.
        """
        path = self.folder / TEACHERS_FOLDER / PLAN_FILE
        options = self.options
        source = options.distillation.teachers_from
        if source is not None:
            self._require_teachers()
            if not path.exists() and (source / POINTS_FILE).exists() and (source / TEACHERS_FOLDER / PLAN_FILE).exists():
                # Teachers on the same data started from them; so may their student.
                atomic_write_bytes(self.folder / POINTS_FILE, (source / POINTS_FILE).read_bytes())
                atomic_write_bytes(path, (source / TEACHERS_FOLDER / PLAN_FILE).read_bytes())
        known = read_json_object(path) if path.exists() and (self.folder / POINTS_FILE).exists() else None
        if known is None:
            provenance = find_points()
            points = read_points_ply(self.folder / POINTS_FILE)
            if options.minutes is not None:
                self._measure(points, 60.0 * options.minutes)
            steps = {"student_steps": self.config.student.steps, "teacher_steps": self.config.teacher.steps}
            atomic_write_json(path, {"initial_points": provenance, **steps})
            return points, provenance
        provenance = known.text("initial_points")
        if options.minutes is not None:
            self.config = with_steps(self.config, known.integer("student_steps"), known.integer("teacher_steps"))
        return read_points_ply(self.folder / POINTS_FILE), provenance

    def _measure(self, points: PointCloud, seconds: float) -> None:
        """Fixes the steps so that all trainings together take about this long."""
        runs = len(self.config.teachers) + 1
        trainer = build_teacher(
            self.capture, points, self.config, TeacherSpec("vanilla"), seed=self.options.seed, device=self.device
        )
        with self.progress.stage("measure the speed"):
            steps = trainer.measure(seconds / runs)
        teacher_steps = self.options.distillation.teacher_steps or steps
        self.config = with_steps(self.config, steps, teacher_steps)
        self.progress.message(f"{seconds / 60:g} minutes are enough for {runs} trainings of {steps:,} steps")

    # ------------------------------------------------------------------------------------------------------------- the teachers

    def record_of(self, spec: TeacherSpec) -> dict[str, Any]:
        """What a teacher that is used again must have in common with the one asked for."""
        record: dict[str, Any] = {"teacher": spec.name, "seed": self.options.seed, "downscale": self.options.downscale}
        record |= asdict(self.config.teacher)
        if spec.kind == "noise":
            record |= {"perturbation": asdict(self.config.perturbation), "teacher_schedule": self.config.teacher_schedule}
        if spec.kind == "dropout":
            record |= {"dropout": asdict(self.config.dropout), "teacher_schedule": self.config.teacher_schedule}
        return record

    def teachers(self, points: PointCloud) -> list[TeacherResult]:
        """All teachers, trained here, by other processes, or found finished."""
        options = self.options.distillation
        missing = [spec for spec in self.config.teachers if self._finished_teacher(spec) is None]
        if missing and (options.jobs > 1 or options.ray is not None):
            self._train_elsewhere(missing)
        else:
            for spec in missing:
                self.train_teacher(spec, points)
        self._finished = []
        for spec in self.config.teachers:
            found = self._finished_teacher(spec)
            if found is None:
                raise DataFormatError(self.teachers_folder / spec.name, expected="a finished teacher", got="none", fix="--resume")
            self._finished.append(found)
        return self._finished

    def _require_teachers(self) -> None:
        """Refuses to go on unless all teachers are finished where ``--teachers-from`` points."""
        missing = [spec for spec in self.config.teachers if self._finished_teacher(spec) is None]
        if missing:
            raise DataFormatError(
                self.teachers_folder,
                expected=f"finished teachers {', '.join(spec.name for spec in self.config.teachers)}",
                got=f"no {missing[0].name}",
                fix="leave --teachers-from out, or finish that run",
            )

    def _finished_teacher(self, spec: TeacherSpec) -> TeacherResult | None:
        """The teacher in its folder, or None.

        Raises:
            ConventionError: it is finished, but was trained with other settings or on other data.
        """
        folder = self.teachers_folder / spec.name
        if not (folder / TEACHER_FILE).exists():
            return None
        found = read_json_object(folder / TEACHER_FILE)
        record, data_hash = dict(found.mapping("record")), found.text("data_hash")
        require_same_run(Checkpoint(0, {}, {}, {}, record, data_hash), config=self.record_of(spec), data_hash=self.data_hash)
        return TeacherResult(
            spec,
            folder,
            fingerprint=_fingerprint(record, data_hash),
            num_gaussians=found.integer("num_gaussians"),
            steps=found.integer("steps"),
            seconds=found.number("seconds"),
            peak_memory_bytes=found.integer("peak_memory_bytes"),
        )

    def one_teacher(self, spec: TeacherSpec, points: PointCloud) -> TeacherResult:
        """Trains a teacher unless it is finished."""
        if self._finished_teacher(spec) is None:
            self.train_teacher(spec, points)
        found = self._finished_teacher(spec)
        assert found is not None, "training ends with the file that says so"
        return found

    def train_teacher(self, spec: TeacherSpec, points: PointCloud) -> None:
        """Trains one teacher in its folder, from its newest checkpoint where there is one."""
        folder = self.teachers_folder / spec.name
        checkpointer = Checkpointer(folder / CHECKPOINTS_FOLDER)
        found = checkpointer.latest()
        record = self.record_of(spec)
        with Journal(folder / _LOG_FILE) as journal:
            if found is not None:
                journal.write("resume", step=found.step)
                self.progress.message(f"teacher {spec.name}: going on from step {found.step:,}")
            trainer = build_teacher(
                self.capture,
                points if found is None else None,
                self.config,
                spec,
                seed=self.options.seed,
                device=self.device,
                data_hash=self.data_hash,
                record=record,
                cache_bytes=self.cache_bytes,
                resume_from=found,
            )
            train_splats(
                trainer,
                checkpointer=checkpointer,
                journal=journal,
                progress=self.progress,
                checkpoint_every=self.options.checkpoint_every,
                stage=f"teacher {spec.name}",
            )
            gaussians = detached(trainer.field.gaussians())
            write_gaussians_ply(folder / SPLATS_FILE, gaussians)
            # Comes last: a folder with this file is finished.
            atomic_write_json(
                folder / TEACHER_FILE,
                {
                    "name": spec.name,
                    "kind": spec.kind,
                    "num_gaussians": len(gaussians),
                    "steps": trainer.steps_done,
                    "seconds": trainer.seconds,
                    "peak_memory_bytes": peak_resident_bytes(),
                    "data_hash": self.data_hash,
                    "record": json_ready(record),
                },
            )
            journal.write("end", seconds=trainer.seconds, peak_memory_bytes=peak_resident_bytes())
        shutil.rmtree(checkpointer.folder, ignore_errors=True)

    def _train_elsewhere(self, missing: Sequence[TeacherSpec]) -> None:
        """Trains teachers in processes of their own, here or on a cluster."""
        options = self.options.distillation
        threads = self.options.threads
        if threads is None and options.ray is None:
            from scenewise.kernels.native import library

            threads = max(1, library.default_threads() // min(options.jobs, len(missing)))
        jobs = []
        for spec in missing:
            own = replace(
                self.options,
                threads=threads,
                resume=True,
                overwrite=False,
                distillation=replace(options, jobs=1, ray=None, only_teacher=spec.name, curve=()),
            )
            jobs.append(
                Job(
                    spec.name,
                    (sys.executable, "-m", "scenewise.cli.main", "reconstruct", *command_arguments(own)),
                    journal=self.teachers_folder / spec.name / _LOG_FILE,
                    errors=self.teachers_folder / spec.name / "errors.txt",
                    units=self.config.teacher.steps,
                )
            )
        gpus = 1.0 if self.device.type == "cuda" else 0.0
        run_jobs(jobs, workers=options.jobs, ray=options.ray, gpus=gpus, progress=self.progress)

    # ------------------------------------------------------------------------------------------------------------- the student

    def prepare_student(self, teachers: Sequence[TeacherResult]) -> tuple[Path, Gaussians]:
        """The teachers' pictures on disk, and the vanilla teacher, which fixes the student's size."""
        pictures = self.folder / TEACHERS_FOLDER / PICTURES_FOLDER
        fingerprint = "|".join(teacher.fingerprint for teacher in teachers)
        write_pictures(
            pictures,
            [self._loader(teacher) for teacher in teachers],
            pictured_frames(self.capture, self.config, self.options.seed),
            fingerprint=fingerprint,
            background=self.capture.background,
            progress=self.progress,
        )
        vanilla = next((teacher for teacher in teachers if teacher.spec.kind == "vanilla"), teachers[0])
        gaussians = vanilla.load()
        keep = gaussians_for(self._dial(), gaussians, self.config.student.sh.highest)
        if keep is None and self.config.keep_ratio is not None:
            keep = max(1, round(self.config.keep_ratio * len(gaussians)))
        if keep is not None:
            self.config = self._keeping(keep)
            part = 100 * keep / len(gaussians)
            if part < 100:
                text = f"the student keeps {keep:,} Gaussians at most, {part:.1f} % of the vanilla teacher's"
            else:
                text = f"the size asked for has room for {keep:,} Gaussians, teachers have about {len(gaussians):,}: none must go"
                text += " (--teacher-gaussians raises their number)"
            self.progress.message(text)
        return pictures, gaussians

    def _loader(self, teacher: TeacherResult) -> Callable[[], Gaussians]:
        return lambda: teacher.load().to(self.device)

    def _dial(self) -> SizeDial:
        options = self.options.distillation
        return SizeDial(self.options.max_gaussians, options.keep_ratio, options.target_bytes, options.size_of)

    def _keeping(self, keep: int) -> DistilledConfig:
        return replace(self.config, simplification=replace(self.config.simplification, keep=keep))

    def student(
        self,
        points: PointCloud | None,
        pictures: Path,
        vanilla: Gaussians,
        *,
        record: Mapping[str, Any],
        resume_from: Checkpoint | None = None,
    ) -> SplatTrainer:
        """The trainer of a student of the size in ``config``."""
        return build_student(
            self.capture,
            points,
            self.config,
            pictures=pictures,
            vanilla=vanilla,
            seed=self.options.seed,
            device=self.device,
            data_hash=self.data_hash,
            record=record,
            cache_bytes=self.cache_bytes,
            resume_from=resume_from,
        )

    def student_record(self) -> dict[str, Any]:
        """What a resumed student must have in common with this one, its teachers included."""
        return asdict(self.config) | {"teacher_fingerprints": [teacher.fingerprint for teacher in self._finished]}

    def fitted(self, gaussians: Gaussians) -> Gaussians:
        """The Gaussians, cut to the size asked for where they compress less well than planned."""
        target = self.options.distillation.target_bytes
        if target is None or file_bytes(gaussians, self.options.distillation.size_of) <= target:
            return gaussians
        cameras = [frame.camera for frame in self.capture.train_frames]
        ranked = importance(view_contributions(gaussians, cameras), self.config.simplification.kind)
        kept = fitted(gaussians, ranked, target, self.options.distillation.size_of)
        self.progress.message(f"{len(gaussians) - len(kept):,} Gaussians more were dropped to keep to the size")
        return kept

    # --------------------------------------------------------------------------------------------------------------- the curve

    def train_curve(self, points: PointCloud, pictures: Path, vanilla: Gaussians) -> list[SplatFigures]:
        """Students of the sizes of ``--curve``; they share what comes before the simplification."""
        figures, chosen = [], self.config
        for ratio in self.options.distillation.curve:
            name = f"{100 * ratio:g}"
            folder = self.folder / STUDENTS_FOLDER / name
            self.config = self._keeping(max(1, round(ratio * len(vanilla))))
            record = self.student_record() | {"seed": self.options.seed}
            if not self._is_finished_student(folder, record):
                self._train_curve_student(folder, record, points, pictures, vanilla)
            found = read_json_object(folder / STUDENT_FILE)
            gaussians = read_gaussians_ply(folder / SPLATS_FILE)
            figures.append(
                replace(
                    measured(f"student, {name} %", gaussians, self.capture, self.device),
                    steps=found.integer("steps"),
                    seconds=found.number("seconds"),
                    views_rendered=self.student_views(),
                )
            )
        self.config = chosen
        return figures

    def _is_finished_student(self, folder: Path, record: Mapping[str, Any]) -> bool:
        if not (folder / STUDENT_FILE).exists():
            return False
        return read_json_object(folder / STUDENT_FILE).text("fingerprint") == _fingerprint(record, self.data_hash)

    def _train_curve_student(
        self, folder: Path, record: Mapping[str, Any], points: PointCloud, pictures: Path, vanilla: Gaussians
    ) -> None:
        checkpointer = Checkpointer(folder / CHECKPOINTS_FOLDER)
        trainer = self.student(points, pictures, vanilla, record=record)
        found = checkpointer.latest()
        if found is not None and found.config == json.loads(json.dumps(json_ready(trainer.config))):
            trainer.restore(found)
        else:
            trainer.restore(self._dense_student(points, pictures, vanilla))
        with Journal(folder / _LOG_FILE) as journal:
            journal.write("resume", step=trainer.steps_done)
            train_splats(
                trainer,
                checkpointer=checkpointer,
                journal=journal,
                progress=self.progress,
                checkpoint_every=self.options.checkpoint_every,
                stage=f"student of {self.config.simplification.keep:,} Gaussians",
            )
        gaussians = detached(trainer.field.gaussians())
        write_gaussians_ply(folder / SPLATS_FILE, gaussians)
        write_spz(folder / COMPACT_FILE, gaussians)
        atomic_write_json(
            folder / STUDENT_FILE,
            {
                "fingerprint": _fingerprint(record, self.data_hash),
                "num_gaussians": len(gaussians),
                "steps": trainer.steps_done,
                "seconds": trainer.seconds,
            },
        )
        shutil.rmtree(checkpointer.folder, ignore_errors=True)

    def _dense_student(self, points: PointCloud, pictures: Path, vanilla: Gaussians) -> Checkpoint:
        """The student one step before it is simplified: whatever its final size, it is the same until then."""
        checkpointer = Checkpointer(self.folder / STUDENTS_FOLDER / _DENSE_FOLDER / CHECKPOINTS_FOLDER)
        record = self.student_record()
        record["simplification"] = record["simplification"] | {"keep": None}
        until = sample_step(self.config.simplification, Schedule(self.config.student.steps)) - 1
        found = checkpointer.latest()
        if found is not None and found.config != json.loads(json.dumps(json_ready(record))):
            shutil.rmtree(checkpointer.folder, ignore_errors=True)
            found = None
        if found is not None and found.step == until:
            return found
        trainer = self.student(points, pictures, vanilla, record=json_ready(record))
        if found is not None:
            trainer.restore(found)
        with self.progress.stage("students before they are simplified", until - trainer.steps_done) as stage:
            before = trainer.steps_done
            while trainer.steps_done < until:
                trainer.run(until=min(until, before + self.options.checkpoint_every))
                stage.advance(trainer.steps_done - before)
                before = trainer.steps_done
                checkpointer.save(trainer.checkpoint())
        return trainer.checkpoint()

    # ----------------------------------------------------------------------------------------------------------------- figures

    def student_views(self) -> int:
        """Pictures rendered for a student: its steps, and the two looks at all training views to simplify it."""
        frames = self.capture.train_frames
        looks = Simplification(self.config.simplification, tuple(frame.camera for frame in frames)).views_rendered()
        return self.config.student.steps * self.config.student.views_per_step + looks

    def summary(
        self,
        teachers: Sequence[TeacherResult],
        student: Gaussians,
        *,
        student_seconds: float,
        curve: Sequence[SplatFigures],
    ) -> DistillationSummary:
        """Measures teachers, their mean and the student on the held-out views, and writes ``distillation.json``."""
        started = time.monotonic()
        table = []
        loaded = {teacher.spec.name: teacher.load() for teacher in teachers}
        per_step = self.config.teacher.views_per_step
        with self.progress.stage("compare with the teachers", len(teachers) + 2) as stage:
            for teacher in teachers:
                figures = measured(teacher.spec.name, loaded[teacher.spec.name], self.capture, self.device)
                views = teacher.steps * per_step
                table.append(replace(figures, steps=teacher.steps, seconds=teacher.seconds, views_rendered=views))
                stage.advance()
            if len(teachers) > 1:
                table.append(measured_mean(list(loaded.values()), self.capture, self.device))
            stage.advance()
            own = replace(
                measured("student", student, self.capture, self.device),
                steps=self.config.student.steps,
                seconds=student_seconds,
                views_rendered=self.student_views(),
            )
            table.append(own)
            stage.advance()
        pictures = len(pictured_frames(self.capture, self.config, self.options.seed)) * len(teachers)
        vanilla = next((row for row in table if row.name == "vanilla"), table[0])
        drawn = sorted([*curve, own, vanilla], key=lambda row: row.num_gaussians or 0)
        summary = DistillationSummary(
            table=tuple(table),
            curve=tuple(drawn),
            seconds=sum(teacher.seconds for teacher in teachers) + student_seconds,
            views_rendered=sum(row.views_rendered or 0 for row in table) + pictures,
            kept=len(student) / max(1, vanilla.num_gaussians or 1),
            teachers=tuple(self._folder_name(teacher) for teacher in teachers),
        )
        atomic_write_json(self.folder / DISTILLATION_FILE, json_ready(summary))
        self.journal.write("stage", name="compare with the teachers", seconds=time.monotonic() - started)
        return summary

    def _folder_name(self, teacher: TeacherResult) -> str:
        """Below the scene folder where it is there, so that a moved scene finds it."""
        folder, scene = teacher.folder.resolve(), self.folder.resolve()
        return folder.relative_to(scene).as_posix() if folder.is_relative_to(scene) else str(folder)


def measured(name: str, gaussians: Gaussians, capture: Capture, device: torch.device) -> SplatFigures:
    """Size, and quality and time on the held-out views."""
    plain = SplatFigures(
        name,
        num_gaussians=len(gaussians),
        ply_bytes=gaussians_ply_bytes(len(gaussians), gaussians.sh_degree),
        spz_bytes=file_bytes(gaussians, "spz"),
    )
    on_device = gaussians.to(device)
    background = torch.tensor(capture.background or (0.0, 0.0, 0.0), device=device)
    seconds, pictures = 0.0, []
    with torch.no_grad():
        for frame in capture.test_frames:
            began = time.perf_counter()
            color = render(on_device, frame.camera, background=background).color
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds += time.perf_counter() - began
            pictures.append(color.clamp(0.0, 1.0).cpu())
    if not pictures:
        return plain
    return _with_quality(replace(plain, render_ms=1000.0 * seconds / len(pictures)), pictures, capture.test_frames)


def measured_mean(teachers: Sequence[Gaussians], capture: Capture, device: torch.device) -> SplatFigures:
    """Quality of the teachers' mean picture on the held-out views."""
    loaded = [teacher.to(device) for teacher in teachers]
    pictures = [mean_picture(loaded, frame.camera, capture.background).cpu() for frame in capture.test_frames]
    figures = SplatFigures("mean of the teachers", num_gaussians=sum(map(len, teachers)))
    return _with_quality(figures, pictures, capture.test_frames) if pictures else figures


def _with_quality(figures: SplatFigures, pictures: Sequence[torch.Tensor], frames: Sequence[Frame]) -> SplatFigures:
    ratios, similarities = [], []
    for picture, frame in zip(pictures, frames):
        assert frame.load_image is not None
        truth = torch.from_numpy(frame.load_image().copy()).to(torch.float32) / 255.0
        mask = None if frame.load_mask is None else torch.from_numpy(frame.load_mask().copy())
        ratios.append(psnr(picture, truth, mask))
        similarities.append(ssim(picture, truth, mask))
    return replace(figures, psnr=sum(ratios) / len(ratios), ssim=sum(similarities) / len(similarities))


def detached(gaussians: Gaussians) -> Gaussians:
    """Copies on the CPU that no training changes any more."""
    return Gaussians(**{name: value.detach().cpu().clone() for name, value in vars(gaussians).items()})


def _fingerprint(record: Mapping[str, Any], data_hash: str) -> str:
    text = json.dumps(json_ready(dict(record)), sort_keys=True)
    return hashlib.sha256(f"{text}|{data_hash}".encode()).hexdigest()


def command_arguments(options: object) -> list[str]:
    """The command line that gives these options again.

    >>> from scenewise.commands.check.options import CheckOptions
    >>> command_arguments(CheckOptions(Path("a b"), downscale=2, strict=True, background=(0.0, 0.5, 1.0)))
    ['a b', '--downscale', '2', '--background', '0.0', '0.5', '1.0', '--strict']
    """
    arguments: list[str] = []
    assert is_dataclass(options)
    for entry in fields(options):
        value = getattr(options, entry.name)
        name = f"--{entry.name.replace('_', '-')}"
        if is_dataclass(value):
            arguments += command_arguments(value)
        elif entry.default is MISSING and entry.name == "capture":
            arguments.insert(0, str(value))
        elif value is None or value is False or value == entry.default:
            continue
        elif value is True:
            arguments.append(name)
        elif isinstance(value, tuple):
            arguments += [name, *map(str, value)]
        else:
            arguments += [name, str(value)]
    return arguments

"""Distilled-3DGS in the flow of ``scenewise reconstruct``: a list of products, before and after the student's own training.

What a stage has made lies in the scene folder, so every stage can be killed and taken up again::

    teachers/plan.json            steps and initial points, fixed before anything is trained
             vanilla/             a teacher, see ensemble.py
             pictures/            the teachers' mean picture of every training view, PNG
    students/30/                  a student of the curve, see students.py
    distillation.json             figures of teachers, student, curve, and what all of it cost
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, final

from scenewise.engine.checkpoints import Checkpoint
from scenewise.errors import DataFormatError
from scenewise.io.atomic import atomic_write_bytes, atomic_write_json
from scenewise.io.json_fields import read_json_object
from scenewise.io.json_values import json_ready
from scenewise.io.ply.points import read_points_ply
from scenewise.io.scene_folder import DISTILLATION_FILE, POINTS_FILE
from scenewise.methods.distilled_3dgs.config import DistilledConfig, TeacherSpec, distilled_config, spec_of, with_steps
from scenewise.methods.distilled_3dgs.distillation import write_pictures
from scenewise.methods.distilled_3dgs.ensemble import TEACHERS_FOLDER, Ensemble, TeacherCommand, TeacherResult
from scenewise.methods.distilled_3dgs.figures import DistillationSummary, SplatFigures, measured, measured_mean
from scenewise.methods.distilled_3dgs.options import DistillationOptions
from scenewise.methods.distilled_3dgs.size import SizeDial, file_bytes, fitted, gaussians_for
from scenewise.methods.distilled_3dgs.students import Student
from scenewise.methods.distilled_3dgs.training import build_teacher, pictured_frames
from scenewise.parts.splats.importance import importance, view_contributions
from scenewise.parts.splats.reconstruction import (
    FindPoints,
    FinishedSplats,
    MadePart,
    SceneTrainer,
    SplatRequest,
    SplatRun,
    SplatStart,
    detached,
    timed,
)
from scenewise.parts.splats.trainer import SplatTrainer
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.point_clouds import PointCloud

PICTURES_FOLDER = "pictures"
PLAN_FILE = "plan.json"


@final
class DistillationStages:
    """One run; see :class:`scenewise.parts.splats.reconstruction.SplatMethod`.

    Args:
        run: what is known before anything is trained.
        options: of the method.
        command: trains one teacher in a process of its own.
        changed: settings of the method → the same with what experts changed.
        ray: address of the Ray cluster that trains the teachers, or None.
    """

    def __init__(
        self,
        run: SplatRun,
        options: DistillationOptions,
        command: TeacherCommand,
        changed: Callable[[DistilledConfig], DistilledConfig],
        ray: str | None = None,
    ) -> None:
        self._run, self._options, self._command, self._ray = run, options, command, ray
        self._config = changed(distilled_config(options, run.recipe, scene=run.name, data_set=run.capture.preset))
        self._points: PointCloud | None = None
        self._teachers: Sequence[TeacherResult] = ()
        self._student: Student | None = None

    # ------------------------------------------------------------------------------------------------------- the list of products

    def points(self, find: FindPoints, found: Checkpoint | None) -> tuple[PointCloud, str]:
        """Initial points and, with ``--minutes``, the number of steps: found once and kept in ``plan.json``."""
        self._points, provenance = self._plan(find)
        return self._points, provenance

    def prepare(self, points: PointCloud | None) -> MadePart | None:
        """Teachers, their pictures, and how large the student will be; or one teacher alone."""
        assert points is not None, "the plan has them"
        if self._options.only_teacher is not None:
            teacher = self._ensemble.teacher(spec_of(self._options.only_teacher), points)
            return MadePart(teacher.folder, teacher.num_gaussians, teacher.steps, teacher.seconds)
        with timed(self._run.journal, "teachers"):
            self._teachers = self._all_teachers(points)
            pictures = self._pictures()
            vanilla = self._vanilla()
            student = Student(self._run, self._config, pictures, vanilla, tuple(each.fingerprint for each in self._teachers))
            keep = self._size(vanilla)
            self._student = student if keep is None else student.keeping(keep)
        return None

    def record(self) -> Mapping[str, Any]:
        """What a resumed student must have in common with this one."""
        return self._made_student.record()

    def trainer(self, points: PointCloud | None, record: Mapping[str, Any], found: Checkpoint | None) -> SplatTrainer:
        """Of the student."""
        return self._made_student.trainer(points if found is None else None, record, found)

    def finish(self, trainer: SceneTrainer) -> FinishedSplats:
        """Students of other sizes, the student at the size asked for, and the figures of all."""
        assert self._points is not None and isinstance(trainer, SplatTrainer), "the plan has them; it comes from above"
        curve = [self._made_student.of_the_curve(ratio, self._points) for ratio in self._options.curve]
        gaussians = self._fitted(detached(trainer.field.gaussians()))
        summary = self._figures(gaussians, trainer.seconds, curve)
        return FinishedSplats(gaussians, summary.seconds, summary)

    # ---------------------------------------------------------------------------------------------------------------- the plan

    @property
    def _ensemble(self) -> Ensemble:
        source = self._options.teachers_from
        return Ensemble(self._run, self._config, (self._run.folder if source is None else source) / TEACHERS_FOLDER)

    def _plan(self, find: FindPoints) -> tuple[PointCloud, str]:
        """The points as the file holds them, and where they came from."""
        run = self._run
        points_path, path = run.folder / POINTS_FILE, run.folder / TEACHERS_FOLDER / PLAN_FILE
        source = self._options.teachers_from
        if source is not None:
            self._require_teachers()
            if not path.exists() and (source / POINTS_FILE).exists() and (source / TEACHERS_FOLDER / PLAN_FILE).exists():
                # Teachers on the same data started from them; so may their student.
                atomic_write_bytes(points_path, (source / POINTS_FILE).read_bytes())
                atomic_write_bytes(path, (source / TEACHERS_FOLDER / PLAN_FILE).read_bytes())
        known = read_json_object(path) if path.exists() and points_path.exists() else None
        if known is None:
            provenance = find()[1]
            points = read_points_ply(points_path)
            if run.minutes is not None:
                self._measure(points, 60.0 * run.minutes)
            steps = {"student_steps": self._config.student.steps, "teacher_steps": self._config.teacher.steps}
            atomic_write_json(path, {"initial_points": provenance, **steps})
            return points, provenance
        provenance = known.text("initial_points")
        if run.minutes is not None:
            self._config = with_steps(self._config, known.integer("student_steps"), known.integer("teacher_steps"))
        return read_points_ply(points_path), provenance

    def _measure(self, points: PointCloud, seconds: float) -> None:
        """Fixes the steps so that all trainings together take about this long."""
        run, runs = self._run, len(self._config.teachers) + 1
        trainer = build_teacher(run.capture, points, self._config, TeacherSpec("vanilla"), seed=run.seed, device=run.device)
        with run.progress.stage("measure the speed"):
            steps = trainer.measure(seconds / runs)
        self._config = with_steps(self._config, steps, self._options.teacher_steps or steps)
        run.progress.message(f"{seconds / 60:g} minutes are enough for {runs} trainings of {steps:,} steps")

    # ------------------------------------------------------------------------------------------------------------- the teachers

    def _all_teachers(self, points: PointCloud) -> list[TeacherResult]:
        """Trained here, by other processes, or found finished."""
        options, ensemble = self._options, self._ensemble
        missing = ensemble.missing()
        if missing and (options.jobs > 1 or self._ray is not None):
            ensemble.train_elsewhere(missing, self._command, jobs=options.jobs, ray=self._ray)
            for spec in ensemble.missing():
                raise DataFormatError(ensemble.folder / spec.name, expected="a finished teacher", got="none", fix="--resume")
        return [ensemble.teacher(spec, points) for spec in self._config.teachers]

    def _require_teachers(self) -> None:
        """Refuses to go on unless all teachers are finished where ``--teachers-from`` points."""
        missing = self._ensemble.missing()
        if missing:
            raise DataFormatError(
                self._ensemble.folder,
                expected=f"finished teachers {', '.join(spec.name for spec in self._config.teachers)}",
                got=f"no {missing[0].name}",
                fix="leave --teachers-from out, or finish that run",
            )

    def _pictures(self) -> Path:
        """Folder of the teachers' mean picture of every view that the student learns from them."""
        folder = self._run.folder / TEACHERS_FOLDER / PICTURES_FOLDER
        write_pictures(
            folder,
            [self._loader(teacher) for teacher in self._teachers],
            pictured_frames(self._run.capture, self._config, self._run.seed),
            fingerprint="|".join(teacher.fingerprint for teacher in self._teachers),
            background=self._run.capture.background,
            progress=self._run.progress,
        )
        return folder

    def _loader(self, teacher: TeacherResult) -> Callable[[], Gaussians]:
        return lambda: teacher.load().to(self._run.device)

    def _vanilla(self) -> Gaussians:
        """The teacher that the student's size is a part of."""
        return next((teacher for teacher in self._teachers if teacher.spec.kind == "vanilla"), self._teachers[0]).load()

    # ------------------------------------------------------------------------------------------------------------- the student

    @property
    def _made_student(self) -> Student:
        assert self._student is not None, "it is prepared before it is trained"
        return self._student

    def _size(self, vanilla: Gaussians) -> int | None:
        """How many Gaussians the student keeps; None: as many as the settings say."""
        options = self._options
        dial = SizeDial(self._run.max_gaussians, options.keep_ratio, options.target_bytes, options.size_of)
        keep = gaussians_for(dial, vanilla, self._config.student.sh.highest)
        if keep is None and self._config.keep_ratio is not None:
            keep = max(1, round(self._config.keep_ratio * len(vanilla)))
        if keep is None:
            return None
        part = 100 * keep / len(vanilla)
        if part < 100:
            text = f"the student keeps {keep:,} Gaussians at most, {part:.1f} % of the vanilla teacher's"
        else:
            text = f"the size asked for has room for {keep:,} Gaussians, teachers have about {len(vanilla):,}: none must go"
            text += " (--teacher-gaussians raises their number)"
        self._run.progress.message(text)
        return keep

    def _fitted(self, gaussians: Gaussians) -> Gaussians:
        """The Gaussians, cut to the size asked for where they compress less well than planned."""
        target, size_of = self._options.target_bytes, self._options.size_of
        if target is None or file_bytes(gaussians, size_of) <= target:
            return gaussians
        cameras = [frame.camera for frame in self._run.capture.train_frames]
        ranked = importance(view_contributions(gaussians, cameras), self._config.simplification.kind)
        kept = fitted(gaussians, ranked, target, size_of)
        self._run.progress.message(f"{len(gaussians) - len(kept):,} Gaussians more were dropped to keep to the size")
        return kept

    # ----------------------------------------------------------------------------------------------------------------- figures

    def _figures(self, student: Gaussians, seconds: float, curve: Sequence[SplatFigures]) -> DistillationSummary:
        """Measures teachers, their mean and the student on the held-out views, and writes ``distillation.json``."""
        started = time.monotonic()
        run, teachers = self._run, self._teachers
        table = []
        loaded = {teacher.spec.name: teacher.load() for teacher in teachers}
        per_step = self._config.teacher.views_per_step
        with run.progress.stage("compare with the teachers", len(teachers) + 2) as stage:
            for teacher in teachers:
                figures = measured(teacher.spec.name, loaded[teacher.spec.name], run.capture, run.device)
                views = teacher.steps * per_step
                table.append(replace(figures, steps=teacher.steps, seconds=teacher.seconds, views_rendered=views))
                stage.advance()
            if len(teachers) > 1:
                table.append(measured_mean(list(loaded.values()), run.capture, run.device))
            stage.advance()
            own = replace(
                measured("student", student, run.capture, run.device),
                steps=self._config.student.steps,
                seconds=seconds,
                views_rendered=self._made_student.views(),
            )
            table.append(own)
            stage.advance()
        pictures = len(pictured_frames(run.capture, self._config, run.seed)) * len(teachers)
        vanilla = next((row for row in table if row.name == "vanilla"), table[0])
        drawn = sorted([*curve, own, vanilla], key=lambda row: row.num_gaussians or 0)
        summary = DistillationSummary(
            table=tuple(table),
            curve=tuple(drawn),
            seconds=sum(teacher.seconds for teacher in teachers) + seconds,
            views_rendered=sum(row.views_rendered or 0 for row in table) + pictures,
            kept=len(student) / max(1, vanilla.num_gaussians or 1),
            teachers=tuple(self._folder_name(teacher) for teacher in teachers),
        )
        atomic_write_json(run.folder / DISTILLATION_FILE, json_ready(summary))
        run.journal.write("stage", name="compare with the teachers", seconds=time.monotonic() - started)
        return summary

    def _folder_name(self, teacher: TeacherResult) -> str:
        """Below the scene folder where it is there, so that a moved scene finds it."""
        folder, scene = teacher.folder.resolve(), self._run.folder.resolve()
        return folder.relative_to(scene).as_posix() if folder.is_relative_to(scene) else str(folder)


def start(request: SplatRequest) -> SplatStart:
    """As asked.  The cap of the result is the student's; teachers have their own."""
    own: DistillationOptions = request.own

    def command(name: str, threads: int | None) -> tuple[str, ...]:
        return request.again(replace(own, jobs=1, only_teacher=name, curve=()), threads)

    return SplatStart(
        lambda run: DistillationStages(run, own, command, request.changed, request.ray),
        own.teacher_gaussians,
        keeps_cap=False,
        part=None if own.only_teacher is None else Path(TEACHERS_FOLDER) / own.only_teacher,
        spoken="student: ",
        fits_capture=False,  # its settings were chosen for teachers and students of the recipe's own length
    )

"""The teachers of a run as products: each trained once, here or by a process of its own, and found again.

::

    teachers/vanilla/    teacher.json, splats.ply, log.jsonl; checkpoints until it is finished
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

from scenewise.engine.checkpoints import Checkpoint, Checkpointer, require_same_run
from scenewise.engine.jobs import Job, run_jobs
from scenewise.engine.journal import Journal
from scenewise.engine.memory import peak_resident_bytes
from scenewise.io.json_values import json_ready
from scenewise.io.ply.gaussians import read_gaussians_ply, write_gaussians_ply
from scenewise.io.product_kinds import TEACHER, record_fingerprint
from scenewise.io.products import find, made, read_mark
from scenewise.io.scene_folder import CHECKPOINTS_FOLDER, SPLATS_FILE
from scenewise.methods.distilled_3dgs.config import DistilledConfig, TeacherSpec
from scenewise.methods.distilled_3dgs.training import build_teacher
from scenewise.parts.splats.reconstruction import SplatRun, detached
from scenewise.parts.splats.training import train_splats
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.point_clouds import PointCloud

TEACHERS_FOLDER = "teachers"
LOG_FILE = "log.jsonl"

TeacherCommand = Callable[[str, int | None], Sequence[str]]
"""Name of a teacher and threads → the command that trains it alone, for a machine that sees the scene folder."""


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


@final
@dataclass(frozen=True)
class Ensemble:
    """The teachers of a run.

    Attributes:
        run: what is known of it.
        config: the method's settings.
        folder: where the teachers are, or will be.
    """

    run: SplatRun
    config: DistilledConfig
    folder: Path

    def record_of(self, spec: TeacherSpec) -> dict[str, Any]:
        """What a teacher that is used again must have in common with the one asked for."""
        record: dict[str, Any] = {"teacher": spec.name, "seed": self.run.seed, "downscale": self.run.downscale}
        record |= asdict(self.config.teacher)
        if spec.kind == "noise":
            record |= {"perturbation": asdict(self.config.perturbation), "teacher_schedule": self.config.teacher_schedule}
        if spec.kind == "dropout":
            record |= {"dropout": asdict(self.config.dropout), "teacher_schedule": self.config.teacher_schedule}
        return record

    def finished(self, spec: TeacherSpec) -> TeacherResult | None:
        """The teacher in its folder, or None.

        Raises:
            ConventionError: it is finished, but was trained with other settings or on other data.
            DataFormatError: it cannot be read.
        """
        return find(self.folder / spec.name, TEACHER, self._fingerprint(spec), lambda folder: _read(folder, spec))

    def teacher(self, spec: TeacherSpec, points: PointCloud) -> TeacherResult:
        """A teacher, trained unless it is finished; errors as in :meth:`finished`."""
        return made(
            self.folder / spec.name,
            TEACHER,
            self._fingerprint(spec),
            lambda folder: self.train(spec, points, folder),
            lambda folder: _read(folder, spec),
        ).value

    def missing(self) -> list[TeacherSpec]:
        """Teachers that are not finished; errors as in :meth:`finished`."""
        return [spec for spec in self.config.teachers if self.finished(spec) is None]

    def _fingerprint(self, spec: TeacherSpec) -> str:
        """Of the teacher that is there, once it is sure that it is the one asked for; else of the one asked for."""
        record = self.record_of(spec)
        mark = read_mark(self.folder / spec.name, TEACHER)
        if mark is None:
            return record_fingerprint(record, self.run.data_hash)
        there = Checkpoint(0, {}, {}, {}, dict(mark.mapping("record")), mark.text("data_hash"))
        require_same_run(there, config=record, data_hash=self.run.data_hash)
        return TEACHER.fingerprint_in(mark)

    def train(self, spec: TeacherSpec, points: PointCloud, folder: Path) -> dict[str, Any]:
        """Trains one teacher in its folder, from its newest checkpoint where there is one; returns what its mark says."""
        run, record = self.run, self.record_of(spec)
        checkpointer = Checkpointer(folder / CHECKPOINTS_FOLDER)
        found = checkpointer.latest()
        with Journal(folder / LOG_FILE) as journal:
            if found is not None:
                journal.write("resume", step=found.step)
                run.progress.message(f"teacher {spec.name}: going on from step {found.step:,}")
            trainer = build_teacher(
                run.capture,
                points if found is None else None,
                self.config,
                spec,
                seed=run.seed,
                device=run.device,
                data_hash=run.data_hash,
                record=record,
                cache_bytes=run.cache_bytes,
                resume_from=found,
            )
            train_splats(
                trainer,
                checkpointer=checkpointer,
                journal=journal,
                progress=run.progress,
                checkpoint_every=run.checkpoint_every,
                stage=f"teacher {spec.name}",
            )
            gaussians = detached(trainer.field.gaussians())
            write_gaussians_ply(folder / SPLATS_FILE, gaussians)
            peak = peak_resident_bytes()
            journal.write("end", seconds=trainer.seconds, peak_memory_bytes=peak)
        return {
            "name": spec.name,
            "kind": spec.kind,
            "num_gaussians": len(gaussians),
            "steps": trainer.steps_done,
            "seconds": trainer.seconds,
            "peak_memory_bytes": peak,
            "data_hash": run.data_hash,
            "record": json_ready(record),
        }

    def train_elsewhere(
        self, missing: Sequence[TeacherSpec], command: TeacherCommand, *, jobs: int, ray: str | None = None
    ) -> None:
        """Trains teachers in processes of their own, here or on a cluster."""
        run, threads = self.run, self.run.threads
        if threads is None and ray is None:
            from scenewise.kernels.native import library

            threads = max(1, library.default_threads() // min(jobs, len(missing)))
        work = [
            Job(
                spec.name,
                tuple(command(spec.name, threads)),
                journal=self.folder / spec.name / LOG_FILE,
                errors=self.folder / spec.name / "errors.txt",
                units=self.config.teacher.steps,
            )
            for spec in missing
        ]
        gpus = 1.0 if run.device.type == "cuda" else 0.0
        run_jobs(work, workers=jobs, ray=ray, gpus=gpus, progress=run.progress)


def _read(folder: Path, spec: TeacherSpec) -> TeacherResult:
    mark = read_mark(folder, TEACHER)
    assert mark is not None, "only finished teachers are read"
    return TeacherResult(
        spec,
        folder,
        fingerprint=TEACHER.fingerprint_in(mark),
        num_gaussians=mark.integer("num_gaussians"),
        steps=mark.integer("steps"),
        seconds=mark.number("seconds"),
        peak_memory_bytes=mark.integer("peak_memory_bytes"),
    )

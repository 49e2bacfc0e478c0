"""Students of several sizes as products; they share what comes before the simplification.

::

    students/30/       a student of which 30 % are kept: student.json, splats.ply, splats.spz, log.jsonl
             dense/    checkpoints of what all of them are until they are simplified
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, final

from scenewise.engine.checkpoints import Checkpoint, Checkpointer
from scenewise.engine.journal import Journal
from scenewise.engine.training import Rhythm, Session, train
from scenewise.io.json_values import json_ready
from scenewise.io.ply.gaussians import read_gaussians_ply, write_gaussians_ply
from scenewise.io.product_kinds import STUDENT, record_fingerprint
from scenewise.io.products import made, read_mark
from scenewise.io.scene_folder import CHECKPOINTS_FOLDER, COMPACT_FILE, SPLATS_FILE
from scenewise.io.spz import write_spz
from scenewise.methods.distilled_3dgs.config import DistilledConfig
from scenewise.methods.distilled_3dgs.ensemble import LOG_FILE
from scenewise.methods.distilled_3dgs.figures import SplatFigures, measured
from scenewise.methods.distilled_3dgs.simplification import Simplification, sample_step
from scenewise.methods.distilled_3dgs.training import build_student
from scenewise.parts.splats.reconstruction import SplatRun, detached
from scenewise.parts.splats.schedules import Schedule
from scenewise.parts.splats.trainer import SplatTrainer
from scenewise.parts.splats.training import train_splats
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.point_clouds import PointCloud

STUDENTS_FOLDER = "students"
_DENSE_FOLDER = "dense"


@final
@dataclass(frozen=True)
class Student:
    """A student of one size, to be trained or found.

    Attributes:
        run: what is known of it.
        config: the method's settings; ``simplification.keep`` is the size.
        pictures: folder of the teachers' pictures.
        vanilla: the vanilla teacher.
        teachers: fingerprints of the teachers.
    """

    run: SplatRun
    config: DistilledConfig
    pictures: Path
    vanilla: Gaussians
    teachers: tuple[str, ...]

    def keeping(self, keep: int) -> "Student":
        """One that keeps so many Gaussians."""
        return replace(self, config=replace(self.config, simplification=replace(self.config.simplification, keep=keep)))

    def record(self) -> dict[str, Any]:
        """What a resumed student must have in common with this one, its teachers included."""
        return asdict(self.config) | {"teacher_fingerprints": list(self.teachers)}

    def trainer(
        self, points: PointCloud | None, record: Mapping[str, Any], resume_from: Checkpoint | None = None
    ) -> SplatTrainer:
        """At the start, or where the checkpoint was taken."""
        run = self.run
        return build_student(
            run.capture,
            points,
            self.config,
            pictures=self.pictures,
            vanilla=self.vanilla,
            seed=run.seed,
            device=run.device,
            data_hash=run.data_hash,
            record=record,
            cache_bytes=run.cache_bytes,
            resume_from=resume_from,
        )

    def views(self) -> int:
        """Pictures rendered for it: its steps, and the two looks at all training views to simplify it."""
        cameras = tuple(frame.camera for frame in self.run.capture.train_frames)
        looks = Simplification(self.config.simplification, cameras).views_rendered()
        return self.config.student.steps * self.config.student.views_per_step + looks

    # --------------------------------------------------------------------------------------------------------------- of the curve

    def of_the_curve(self, ratio: float, points: PointCloud) -> SplatFigures:
        """A student that keeps this part of the vanilla teacher's Gaussians; trained unless it is finished."""
        name = f"{100 * ratio:g}"
        student = self.keeping(max(1, round(ratio * len(self.vanilla))))
        record = student.record() | {"seed": self.run.seed}

        def figures(folder: Path) -> SplatFigures:
            mark = read_mark(folder, STUDENT)
            assert mark is not None, "only finished students are read"
            gaussians = read_gaussians_ply(folder / SPLATS_FILE)
            return replace(
                measured(f"student, {name} %", gaussians, self.run.capture, self.run.device),
                steps=mark.integer("steps"),
                seconds=mark.number("seconds"),
                views_rendered=student.views(),
            )

        return made(
            self.run.folder / STUDENTS_FOLDER / name,
            STUDENT,
            record_fingerprint(record, self.run.data_hash),
            lambda folder: student._train(folder, record, points),
            figures,
        ).value

    def _train(self, folder: Path, record: Mapping[str, Any], points: PointCloud) -> dict[str, Any]:
        """Trains it in its folder, and returns what its mark says."""
        checkpointer = Checkpointer(folder / CHECKPOINTS_FOLDER)
        trainer = self.trainer(points, record)
        found = checkpointer.latest()
        if found is not None and found.config == _read_back(trainer.config):
            trainer.restore(found)
        else:
            trainer.restore(self._dense(points))
        with Journal(folder / LOG_FILE) as journal:
            journal.write("resume", step=trainer.steps_done)
            train_splats(
                trainer,
                checkpointer=checkpointer,
                journal=journal,
                progress=self.run.progress,
                checkpoint_every=self.run.checkpoint_every,
                stage=f"student of {self.config.simplification.keep:,} Gaussians",
            )
        gaussians = detached(trainer.field.gaussians())
        write_gaussians_ply(folder / SPLATS_FILE, gaussians)
        write_spz(folder / COMPACT_FILE, gaussians)
        return {"num_gaussians": len(gaussians), "steps": trainer.steps_done, "seconds": trainer.seconds}

    def _dense(self, points: PointCloud) -> Checkpoint:
        """The student one step before it is simplified: whatever its final size, it is the same until then."""
        checkpointer = Checkpointer(self.run.folder / STUDENTS_FOLDER / _DENSE_FOLDER / CHECKPOINTS_FOLDER)
        record = self.record()
        record["simplification"] = record["simplification"] | {"keep": None}
        until = sample_step(self.config.simplification, Schedule(self.config.student.steps)) - 1
        found = checkpointer.latest()
        if found is not None and found.config != _read_back(record):
            shutil.rmtree(checkpointer.folder, ignore_errors=True)
            found = None
        if found is not None and found.step == until:
            return found
        trainer = self.trainer(points, json_ready(record))
        if found is not None:
            trainer.restore(found)
        rhythm = Rhythm(save=self.run.checkpoint_every)
        title = "students before they are simplified"
        train(trainer, Session(checkpointer.save, rhythm, progress=self.run.progress, title=title), until=until)
        return trainer.checkpoint()


def _read_back(value: object) -> Any:
    """A record as a checkpoint gives it back."""
    return json.loads(json.dumps(json_ready(value)))

"""Arms of the label-free methods: what the teacher says, votes, and students trained on the rooms and scored on others.

All arms share rooms, augmentation, epochs and the budget of the search for a learning rate, which is made on validation rooms
with one seed and the same grid for every method.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final

import numpy as np

from scenewise.catalogue import LABEL_FREE_METHODS, Needs, with_changes
from scenewise.engine.checkpoints import Checkpointer, require_same_run
from scenewise.engine.memory import give_back_freed_memory, peak_resident_bytes
from scenewise.engine.threads import compute_threads
from scenewise.metrics.segmentation import ConfusionMatrix
from scenewise.parts.labelfree.recipes import PointLabels, Recipe
from scenewise.parts.labelfree.students import parameter_count
from scenewise.parts.labelfree.trainer import LabelFreeTrainer
from scenewise.studies.arms import Arm, Outcome, digest
from scenewise.studies.label_free.rooms import EMBEDDED, REGIONS, Rooms
from scenewise.studies.label_free.scoring import figures, scored_pixels, scored_points, voted_labels
from scenewise.studies.weights import weights_hash
from scenewise.teachers.small_clip import WEIGHTS
from scenewise.worlds.classes import CLASS_NAMES

_VERSION = 1  # of what an arm does; a new number runs all of them again


@dataclass(frozen=True)
class Student:
    """One composition that is trained.

    Attributes:
        name: of the arm.
        recipe: of the method.
        teacher: "embedded", or "noise KIND SEED".
        needs: of the method.
        split: of the rooms it is scored on.
        about: what decides the outcome besides the seed.
    """

    name: str
    recipe: Recipe
    teacher: str
    needs: Needs
    split: str
    about: Mapping[str, Any]


@final
class RoomArms:
    """What training and scoring an arm means.

    Args:
        rooms: what is learned from and scored on.
        threads: to compute with; None = all processors.
    """

    def __init__(self, rooms: Rooms, threads: int | None = None) -> None:
        self.rooms, self.sizes, self.threads = rooms, rooms.sizes, threads

    def described(self, **values: Any) -> dict[str, Any]:
        """What decides an outcome besides the seed."""
        sizes = {key: value for key, value in asdict(self.sizes).items() if key not in ("seeds", "rates", "changes")}
        noise = values.get("teacher", EMBEDDED).split(" ")
        rates = {} if noise[0] != "noise" else {"rates": asdict(self.rooms.noise[noise[1]])}
        shared = {"version": _VERSION, "weights": weights_hash(), "sizes": sizes, "regions": REGIONS}
        found: dict[str, Any] = json.loads(json.dumps({**shared, **rates, **values}))
        return found

    def raw_teacher(self) -> Arm:
        """What the teacher says of the pixels of the test rooms' views; no vote, no student."""

        def run(seed: int) -> Outcome:
            matrix = ConfusionMatrix(CLASS_NAMES)
            for scan, truths in zip(self.rooms.rooms("test"), self.rooms.frame_truths("test")):
                for view, truth in zip(scan.views, truths):
                    matrix.update(view.labels.class_ids, truth)
            return Outcome(figures(matrix), bytes_on_disk=WEIGHTS.stat().st_size)

        return Arm("raw_teacher_2d", self.described(arm="raw_teacher_2d"), run)

    def raw_teacher_3d(self) -> Arm:
        """What the teacher says of a point's pixel in the first view that shows it; no vote."""

        def run(seed: int) -> Outcome:
            matrix = ConfusionMatrix(CLASS_NAMES)
            for scan, truth in zip(self.rooms.rooms("test"), self.rooms.truths("test")):
                said = np.full(len(scan), -1, dtype=np.int64)
                pixels = scan.pixels
                for index, view in reversed(list(enumerate(scan.views))):
                    mine = pixels.view == index
                    said[pixels.element[mine]] = view.labels.class_ids[pixels.row[mine], pixels.column[mine]]
                matrix.update(said, truth)
            return Outcome(figures(matrix), bytes_on_disk=WEIGHTS.stat().st_size)

        return Arm("raw_teacher_3d", self.described(arm="raw_teacher_3d"), run)

    def votes(self, name: str, labels: PointLabels, noise: str | None = None) -> Arm:
        """The teacher's labels on the points of the test rooms, with their pictures: what students start from, not a student.

        Beside them: the same of the points that some picture shows, and of the training rooms' labels, which students start from.
        """

        def run(seed: int) -> Outcome:
            teacher = self.teacher_name(noise, seed)
            matrices = {split: ConfusionMatrix(CLASS_NAMES) for split in ("test", "train")}
            seen = ConfusionMatrix(CLASS_NAMES)
            for split, matrix in matrices.items():
                for scan, truth in zip(self.rooms.rooms(split, teacher), self.rooms.truths(split)):
                    said = voted_labels(scan, labels, len(CLASS_NAMES))
                    matrix.update(said, truth)
                    if split == "test":
                        shown = np.zeros(len(scan), dtype=bool)
                        shown[scan.pixels.element] = True
                        seen.update(said[shown], truth[shown])
            metrics = {**figures(matrices["test"]), "miou_of_seen": 100 * seen.scores().miou}
            for key, value in figures(matrices["train"]).items():
                if " " not in key:
                    metrics[f"training_rooms_{key}"] = value
            return Outcome(metrics, bytes_on_disk=WEIGHTS.stat().st_size)

        about = self.described(arm="votes", labels=asdict(labels), teacher=self.teacher_name(noise, 0))
        return Arm(name, about, run)

    def teacher_name(self, noise: str | None, seed: int) -> str:
        """The teacher of a seed: errors are drawn anew for each."""
        return EMBEDDED if noise is None else f"noise {noise} {seed}"

    def student(self, name: str, recipe: Recipe, *, noise: str | None = None, split: str = "test") -> Arm:
        """A composition trained on the training rooms and scored on others.

        Args:
            name: of the arm.
            recipe: of the method.
            noise: kind of errors; None = the embedded teacher.
            split: of the rooms it is scored on.
        """
        needs = LABEL_FREE_METHODS[recipe.name].needs
        about = self.described(
            arm="student", method=recipe.name, recipe=dict(recipe.config), teacher=self.teacher_name(noise, 0),
            needs=asdict(needs), split=split,
        )  # fmt: skip

        def run(seed: int) -> Outcome:
            return self._trained(Student(name, recipe, self.teacher_name(noise, seed), needs, split, about), seed)

        return Arm(name, about, run)

    def _trained(self, student: Student, seed: int) -> Outcome:
        rooms, recipe = self.rooms, student.recipe
        scans = rooms.scans("train", student.teacher, student.needs)
        config = {**student.about, "seed": seed}
        runs = Checkpointer(rooms.cache / "runs" / f"{student.name}_{seed}_{digest(config)}")
        reset_peak()
        text = rooms.text()
        with compute_threads(self.threads):
            trainer = LabelFreeTrainer(recipe, scans, text, seed=seed, config=config)
            newest = runs.latest()
            if newest is not None:
                require_same_run(newest, config=config, data_hash=scans.fingerprint)
                trainer.restore(newest)
            losses: list[float] = []
            # Saved about ten times: often enough to lose little, seldom enough to cost little.  A few steps are not worth it.
            every = max(10, trainer.total_steps // 10)
            trainer.run(listener=lambda report: losses.append(report.loss), save=runs.save, save_every=every)
            peak = peak_resident_bytes()
            metrics = scored_points(rooms, trainer, recipe.voxel, student.split)
            if trainer.pixels is not None:
                metrics["miou_2d"] = 100 * scored_pixels(rooms, trainer.pixels, student.split).scores().miou
        metrics |= {
            "peak_memory_mb": peak / 1e6,
            "seconds_per_step": trainer.seconds / max(1, trainer.total_steps),
            "share_preparing": trainer.seconds_preparing / max(1e-9, trainer.seconds),
            "steps": float(trainer.total_steps),
        }
        if losses:
            tenth = max(1, len(losses) // 10)
            metrics |= {"first_loss": float(np.mean(losses[:tenth])), "last_loss": float(np.mean(losses[-tenth:]))}
        deployed = parameter_count(trainer.points)
        trained = sum(parameter_count(module) for module in trainer.modules.values())
        size = sum(tensor.numel() * tensor.element_size() for tensor in trainer.points.state_dict().values())
        shutil.rmtree(runs.folder, ignore_errors=True)
        return Outcome(metrics, trained, deployed, trainer.seconds, size)

    def config(self, method: str, preset: str = "rooms", **changes: Any) -> Any:
        """A method's settings for the bench."""
        base = LABEL_FREE_METHODS[method].presets[preset]
        wanted = {key: value for key, value in self.sizes.changes if getattr(base, key.partition(".")[0], None) is not None}
        return with_changes(base, {**changes, **wanted}, method)

    def recipe(self, method: str, preset: str = "rooms", **changes: Any) -> Recipe:
        """A method's composition for the bench."""
        return LABEL_FREE_METHODS[method].recipe(self.config(method, preset, **changes))


def reset_peak() -> None:
    """Gives back what is kept for later, and lets the system count the peak of memory anew, where it can (Linux)."""
    try:
        give_back_freed_memory()
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return

"""The indoor bench of label-free learning: procedural rooms, one teacher, and what training and scoring an arm means.

Rooms are written once in ScanNet's layout and read by the same reader; the embedded small CLIP answers once per picture.  All
arms share rooms, answers, segments, regions, augmentation, epochs and the budget of the search for a learning rate, which is made
on validation rooms with one seed and the same grid for every method.  Students are scored on rooms that nobody has seen, from
points alone, at the vertices of the mesh: absent classes do not count, a vertex without an answer is an error, and there is one
confusion matrix over all rooms.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from scenewise.catalogue import LABEL_FREE_METHODS, Needs
from scenewise.engine.checkpoints import Checkpointer, require_same_run
from scenewise.engine.experiments import Arm, Outcome, outcome_path, run_arm
from scenewise.engine.memory import give_back_freed_memory, keep_freed_memory, peak_resident_bytes
from scenewise.engine.threads import compute_threads
from scenewise.kernels.native import library
from scenewise.metrics.compactness import ClassSums
from scenewise.metrics.segmentation import ConfusionMatrix
from scenewise.networks.sparse_inputs import VoxelisedPoints
from scenewise.parts.labelfree.fixed_labels import fixed_labels
from scenewise.parts.labelfree.label_sources import pixel_logits
from scenewise.parts.labelfree.recipes import PointLabels, Recipe
from scenewise.parts.labelfree.students import PixelStudent, parameter_count
from scenewise.parts.labelfree.trainer import LabelFreeTrainer
from scenewise.parts.scans.data_sets import instruments_of, prepare_data
from scenewise.parts.scans.scan_files import ScanSet
from scenewise.parts.scans.scans import TrainingScan
from scenewise.parts.scans.settings import PreparationSettings
from scenewise.parts.sources.opening import open_scans
from scenewise.parts.sources.raw_scans import ScanSource
from scenewise.parts.sources.room_scans import RoomScanSettings, write_room_data_set
from scenewise.parts.sources.truths import frame_truths, truth_of_scan, vocabulary_of_sources
from scenewise.scenes.label_fields import LabelField
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.teachers.cached import CachedTeacher
from scenewise.teachers.choose import SMALL_CLIP, open_teacher
from scenewise.teachers.noisy_truth import NoiseRates, NoisyTruth, read_noise_rates
from scenewise.teachers.protocol import Teacher
from scenewise.teachers.small_clip import WEIGHTS
from scenewise.worlds.classes import CLASS_NAMES
from scenewise.worlds.seeds import BENCHMARK_SEEDS, LEARNING_SEEDS, VALIDATION_SEEDS

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / "build" / "reproduce" / "label_free"
NOISE_RATES = Path(__file__).resolve().parent / "noise_rates.json"
_VERSION = 1  # of what an arm does; a new number runs all of them again
_TEACHER_BYTES = 4 << 30
_COMPACTNESS_POINTS = 4096  # of each room

EMBEDDED = "embedded"
STAND_IN_TARGETS = "random-convolutions"
"""In the place of SAM's image features: fixed random filters and simple statistics of colour, which nobody trained."""
REGIONS = "slic"
"""In the place of SAM's masks."""

Say = Callable[[str], None]


def say(text: str) -> None:
    """Prints at once."""
    print(text, flush=True)


@dataclass(frozen=True)
class Sizes:
    """How much is run.

    Attributes:
        training: rooms that are learned from.
        test: rooms that figures are of.
        validation: rooms that learning rates are chosen on.
        views: of each room.
        width: of a picture, pixels.
        height: of a picture, pixels.
        spacing: of the mesh's vertices, metres.
        seeds: of each arm.
        rates: learning rates that are tried, for every method.
        changes: of the preset "rooms", by the names of settings; those a method does not have are left out.
    """

    training: int = 24
    test: int = 8
    validation: int = 4
    views: int = 12
    width: int = 160
    height: int = 120
    spacing: float = 0.05
    seeds: int = 3
    rates: tuple[float, ...] = (0.003, 0.01, 0.03)
    changes: tuple[tuple[str, float], ...] = ()


QUICK = Sizes(
    training=2,
    test=1,
    validation=1,
    views=3,
    spacing=0.06,
    seeds=1,
    rates=(0.003, 0.01),
    changes=(("epochs", 2), ("batch_scans", 2), ("tokens", 64), ("voxel", 0.16), ("views_per_step", 2)),
)


@dataclass(frozen=True)
class Scans:
    """Prepared scans in memory, with nothing in them that a method does not use."""

    scans: tuple[TrainingScan, ...]
    fingerprint: str

    def __len__(self) -> int:
        return len(self.scans)

    def __getitem__(self, index: int) -> TrainingScan:
        return self.scans[index]


class Bench:
    """The rooms, the teachers' answers on them, and what training and scoring an arm means.

    Args:
        sizes: how much.
        cache: folder of everything that is kept; the four methods share it.
        threads: to compute with; None = all processors.
        say: told what happens.
    """

    def __init__(self, sizes: Sizes, cache: Path, threads: int | None = None, say: Say = say) -> None:
        self.sizes, self.cache, self.threads, self.say = sizes, cache, threads, say
        keep_freed_memory()
        self._prepared: dict[tuple[str, str | None], ScanSet] = {}
        self._in_memory: dict[tuple[str, str, Needs], Scans] = {}
        self._truths: dict[str, list[np.ndarray]] = {}
        self._frame_truths: dict[str, list[list[np.ndarray]]] = {}

    # --------------------------------------------------------------------------------------------------------------- rooms

    @cached_property
    def data(self) -> Path:
        """The data set's folder; written when it is first asked for."""
        sizes = self.sizes
        about = [sizes.training, sizes.test, sizes.validation, sizes.views, sizes.width, sizes.height, sizes.spacing]
        folder = self.cache / f"rooms_{_digest(about)}"
        started = time.monotonic()
        write_room_data_set(
            folder,
            [LEARNING_SEEDS[i] for i in range(sizes.training)],
            [BENCHMARK_SEEDS[i] for i in range(sizes.test)],
            [VALIDATION_SEEDS[i] for i in range(sizes.validation)],
            settings=RoomScanSettings(frames=sizes.views, width=sizes.width, height=sizes.height, spacing=sizes.spacing),
        )
        if time.monotonic() - started > 1:
            self.say(f"rooms written in {time.monotonic() - started:.0f} s: {folder}")
        return folder

    def sources(self, split: str) -> Sequence[ScanSource]:
        """Rooms of "train", "val" or "test"."""
        return open_scans(self.data, split)

    @cached_property
    def embedded(self) -> Teacher:
        """The small CLIP with the read-out that suits it; its answers are kept."""
        return CachedTeacher(open_teacher(SMALL_CLIP, device="cpu"), self.cache / "answers", _TEACHER_BYTES)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The classes of the rooms in the embedded teacher's words."""
        return vocabulary_of_sources(self.sources("train"), self.embedded.default_templates())

    @cached_property
    def noise(self) -> Mapping[str, NoiseRates]:
        """Rates of each kind, fixed before the first run."""
        return read_noise_rates(NOISE_RATES)

    def prepared(self, split: str, targets: str | None = None) -> ScanSet:
        """Rooms with the embedded teacher's answers.

        Args:
            split: "train", "val" or "test".
            targets: frozen features that are kept beside them, or None.
        """
        key = split, targets
        if key not in self._prepared:
            started = time.monotonic()
            sizes = self.sizes
            settings = PreparationSettings(picture_width=sizes.width, most_views=sizes.views, regions=REGIONS, targets=targets)
            instruments = instruments_of(self.embedded, self.vocabulary, settings)
            self._prepared[key] = prepare_data(self.sources(split), instruments, settings, self.cache / "scans")
            if time.monotonic() - started > 5:
                self.say(f"{split} rooms prepared in {time.monotonic() - started:.0f} s")
        return self._prepared[key]

    def ready(self, methods: Sequence[str]) -> None:
        """Prepares what the arms of some methods need."""
        for needs in {LABEL_FREE_METHODS[method].needs for method in methods}:
            self.prepared("train", needs.targets)
        for split in ("val", "test"):
            self.prepared(split)

    def rooms(self, split: str, teacher: str = EMBEDDED) -> tuple[TrainingScan, ...]:
        """Rooms with a teacher's answers: "embedded", or "noise KIND SEED", the truth with errors of a kind."""
        return self.scans(split, teacher, Needs(pictures=True)).scans

    def scans(self, split: str, teacher: str, needs: Needs) -> Scans:
        """The same in memory, without what a method does not use: a step costs what the method costs."""
        key = split, teacher, needs
        if key not in self._in_memory:
            found = self.prepared(split, needs.targets)
            told = _as_told if teacher == EMBEDDED else self._as_noisy(split, teacher)
            scans = tuple(_only(told(scan), needs) for scan in found[:])
            self._in_memory[key] = Scans(scans, _digest([found.fingerprint, teacher, asdict(needs)]))
        return self._in_memory[key]

    def _as_noisy(self, split: str, teacher: str) -> Callable[[TrainingScan], TrainingScan]:
        """Puts the labels of an erring teacher into the views; segments, links and regions stay."""
        _, kind, seed = teacher.split(" ")
        truths = frame_truths(self.sources(split), self.vocabulary)
        noisy = NoisyTruth(truths, self.vocabulary, self.noise[kind], int(seed), kind)

        def told(scan: TrainingScan) -> TrainingScan:
            views = []
            for view in scan.views:
                name = f"{scan.name}/{view.name}"
                known = truths(name)
                assert known is not None
                views.append(replace(view, labels=LabelField.certain(noisy.spoiled(known, name).astype(np.int32))))
            return replace(scan, views=tuple(views))

        return told

    def text(self) -> torch.Tensor:
        """Unit embedding per class, the embedded model's."""
        return torch.from_numpy(self.prepared("train").text)

    def truths(self, split: str) -> list[np.ndarray]:
        """Class per vertex of each room."""
        if split not in self._truths:
            found = [truth_of_scan(source, self.vocabulary) for source in self.sources(split)]
            self._truths[split] = [ids for ids in found if ids is not None]
            assert len(self._truths[split]) == len(found)
        return self._truths[split]

    def frame_truths(self, split: str) -> list[list[np.ndarray]]:
        """Class per pixel of each view of each room."""
        if split not in self._frame_truths:
            of_frame = frame_truths(self.sources(split), self.vocabulary)
            rooms = []
            for scan in self.rooms(split):
                found = [of_frame(f"{scan.name}/{view.name}") for view in scan.views]
                rooms.append([ids for ids in found if ids is not None])
                assert len(rooms[-1]) == len(scan.views)
            self._frame_truths[split] = rooms
        return self._frame_truths[split]

    # ---------------------------------------------------------------------------------------------------------------- arms

    def described(self, **values: Any) -> dict[str, Any]:
        """What decides an outcome besides the seed."""
        sizes = {key: value for key, value in asdict(self.sizes).items() if key not in ("seeds", "rates", "changes")}
        noise = values.get("teacher", EMBEDDED).split(" ")
        rates = {} if noise[0] != "noise" else {"rates": asdict(self.noise[noise[1]])}
        shared = {"version": _VERSION, "weights": weights_hash(), "sizes": sizes, "regions": REGIONS}
        return json.loads(json.dumps({**shared, **rates, **values}))

    def raw_teacher(self) -> Arm:
        """What the teacher says of the pixels of the test rooms' views; no vote, no student."""

        def run(seed: int) -> Outcome:
            matrix = ConfusionMatrix(CLASS_NAMES)
            for scan, truths in zip(self.rooms("test"), self.frame_truths("test")):
                for view, truth in zip(scan.views, truths):
                    matrix.update(view.labels.class_ids, truth)
            return Outcome(figures(matrix), bytes_on_disk=WEIGHTS.stat().st_size)

        return Arm("raw_teacher_2d", self.described(arm="raw_teacher_2d"), run)

    def raw_teacher_3d(self) -> Arm:
        """What the teacher says of a point's pixel in the first view that shows it; no vote."""

        def run(seed: int) -> Outcome:
            matrix = ConfusionMatrix(CLASS_NAMES)
            for scan, truth in zip(self.rooms("test"), self.truths("test")):
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
                for scan, truth in zip(self.rooms(split, teacher), self.truths(split)):
                    said = voted_labels(scan, labels)
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
            return self._trained(name, recipe, seed, self.teacher_name(noise, seed), needs, split, about)

        return Arm(name, about, run)

    def _trained(
        self, name: str, recipe: Recipe, seed: int, teacher: str, needs: Needs, split: str, about: Mapping[str, Any]
    ) -> Outcome:
        scans = self.scans("train", teacher, needs)
        config = {**about, "seed": seed}
        runs = Checkpointer(self.cache / "runs" / f"{name}_{seed}_{_digest(config)}")
        reset_peak()
        text = self.text()
        with compute_threads(self.threads):
            trainer = LabelFreeTrainer(recipe, scans, text, seed=seed, config=config)
            newest = runs.latest()
            if newest is not None:
                require_same_run(newest, config=config, data_hash=scans.fingerprint)
                trainer.restore(newest)
            losses: list[float] = []
            # Saved about ten times: often enough to lose little, seldom enough to cost little.
            every = max(1, trainer.total_steps // 10)
            trainer.run(listener=lambda report: losses.append(report.loss), save=runs.save, save_every=every)
            peak = peak_resident_bytes()
            metrics = self.scored_points(trainer, recipe, split)
            if trainer.pixels is not None:
                metrics["miou_2d"] = 100 * self.scored_pixels(trainer.pixels, text, split).scores().miou
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

    @torch.no_grad()
    def scored_points(self, trainer: LabelFreeTrainer, recipe: Recipe, split: str) -> dict[str, float]:
        """The 3D student's names of every vertex, from points alone, and how compact its features are by true class."""
        matrix, compact = ConfusionMatrix(CLASS_NAMES), ClassSums(len(CLASS_NAMES))
        trainer.points.eval()
        seconds = 0.0
        for number, (scan, truth) in enumerate(zip(self.rooms(split), self.truths(split))):
            started = time.perf_counter()
            positions = torch.from_numpy(scan.points_in_scan) / recipe.voxel
            cloud = VoxelisedPoints.from_points(
                torch.from_numpy(scan.inputs), positions, torch.zeros(len(scan), dtype=torch.int64)
            )
            output = trainer.points(cloud)
            said = output.logits(trainer.text).argmax(dim=1).numpy()
            seconds += time.perf_counter() - started
            matrix.update(said, truth)
            some = np.random.default_rng(number).permutation(len(scan))[:_COMPACTNESS_POINTS]
            compact.add(output.embedded(torch.from_numpy(some)).numpy(), truth[some])
        trainer.points.train()
        tightness = compact.result()
        more = {
            "naming_seconds_per_room": seconds / len(self.truths(split)),
            "intra_class_cosine": tightness.intra_class_cosine,
            "scatter_ratio": tightness.scatter_ratio,
            "cross_scene_ratio": tightness.cross_scene_ratio,
        }
        return figures(matrix) | {name: value for name, value in more.items() if np.isfinite(value)}

    @torch.no_grad()
    def scored_pixels(self, student: PixelStudent, text: torch.Tensor, split: str) -> ConfusionMatrix:
        """The 2D student's names of every pixel of every view."""
        matrix = ConfusionMatrix(CLASS_NAMES)
        student.eval()
        for scan, truths in zip(self.rooms(split), self.frame_truths(split)):
            pictures = [view.image_u8 for view in scan.views if view.image_u8 is not None]
            images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255.0
            said = pixel_logits(student(images), text, scan.views[0].height, scan.views[0].width).argmax(dim=1)
            for ids, truth in zip(said.numpy(), truths):
                matrix.update(ids, truth)
        student.train()
        return matrix

    # ------------------------------------------------------------------------------------------------------- methods' settings

    def config(self, method: str, preset: str = "rooms", **changes: Any) -> Any:
        """A method's settings for the bench."""
        base = LABEL_FREE_METHODS[method].presets[preset]
        wanted = {
            key: type(getattr(base, key))(value) for key, value in self.sizes.changes if getattr(base, key, None) is not None
        }
        return replace(base, **{**changes, **wanted})

    def recipe(self, method: str, preset: str = "rooms", **changes: Any) -> Recipe:
        """A method's composition for the bench."""
        return LABEL_FREE_METHODS[method].recipe(self.config(method, preset, **changes))

    def searches(self, method: str, changes: Mapping[str, Any]) -> list[Arm]:
        """One arm per learning rate, scored on validation rooms; run with one seed."""
        return [
            self.student(f"search_{method}_{rate:g}", self.recipe(method, learning_rate=rate, **changes), split="val")
            for rate in self.sizes.rates
        ]

    def best_rates(
        self, methods: Sequence[str], kept: "Kept", changes: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    ) -> dict[str, float]:
        """The learning rate of each method with the highest mIoU on the validation rooms.

        Args:
            methods: which.
            kept: where the runs are kept, and noted.
            changes: of the preset, by method, with which the rate is searched.
        """
        searches = {method: self.searches(method, changes.get(method, {})) for method in methods}
        kept.stage([(arm, [0]) for arms in searches.values() for arm in arms], lambda: self.ready(methods))
        rates = {}
        for method, arms in searches.items():
            found = [kept.of(arm.name)[0] for arm in arms]
            rates[method] = self.sizes.rates[int(np.argmax(found))]
            shown = ", ".join(f"{rate:g}: {miou:.2f}" for rate, miou in zip(self.sizes.rates, found))
            changed = "".join(f", {name} {value}" for name, value in changes.get(method, {}).items())
            kept.notes.append(
                f"Learning rate of {method} on {self.sizes.validation} validation rooms, one seed{changed}: {shown}; "
                f"{rates[method]:g} taken."
            )
        return rates


class Kept:
    """Runs arms, in several processes where there are several to run, and keeps what they gave in the order asked for.

    Args:
        cache: folder of everything that is kept.
        jobs: processes.
        claims: folder in which processes that work together say what each has taken; None in the process that leads them.

    Attributes:
        outcomes: by arm.
        seeds: by arm.
        notes: for the results file.
    """

    def __init__(self, cache: Path, jobs: int = 1, claims: Path | None = None, say: Say = say) -> None:
        self.cache, self.jobs, self.claims, self._say = cache / "outcomes", jobs, claims, say
        self.outcomes: dict[str, list[Outcome]] = {}
        self.seeds: dict[str, list[int]] = {}
        self.notes: list[str] = []

    def run(self, arm: Arm, seeds: Sequence[int]) -> list[Outcome]:
        """Outcomes of an arm, from before where they are there."""
        self.outcomes[arm.name] = self._run(arm, seeds)
        self.seeds[arm.name] = list(seeds)
        return self.outcomes[arm.name]

    def stage(self, arms: Sequence[tuple[Arm, Sequence[int]]], ready: Callable[[], None] = lambda: None) -> None:
        """Runs several arms.

        Args:
            arms: each with its seeds.
            ready: called before anything is run; not where everything is there.
        """
        missing = [(arm, seed) for arm, seeds in arms for seed in seeds if not self.is_kept(arm, seed)]
        if missing and self.claims is not None:
            self._work(missing, self.claims)
            raise SystemExit(0)
        if missing:
            ready()
        helpers = min(self.jobs, len(missing)) - 1
        if helpers > 0:
            self.cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="claims_", dir=self.cache) as folder:
                command = [sys.executable, *sys.argv, "--claims", folder]
                children = [subprocess.Popen(command) for _ in range(helpers)]
                try:
                    self._work(missing, Path(folder))
                    for child in children:
                        child.wait()
                finally:
                    for child in children:
                        child.terminate()
        for arm, seeds in arms:
            self.run(arm, seeds)

    def is_kept(self, arm: Arm, seed: int) -> bool:
        """Whether an arm has run before."""
        return outcome_path(arm, seed, self.cache).exists()

    def of(self, arm: str, metric: str = "miou") -> list[float]:
        """A figure of every seed."""
        return [outcome.metrics[metric] for outcome in self.outcomes[arm]]

    def seconds(self) -> float:
        """Training time of everything that was asked for, kept outcomes with what they took."""
        return sum(outcome.train_seconds for found in self.outcomes.values() for outcome in found)

    def _work(self, pairs: Sequence[tuple[Arm, int]], claims: Path) -> None:
        for arm, seed in pairs:
            try:
                os.close(os.open(claims / f"{arm.name}_{seed}", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            except FileNotFoundError:  # whoever leads has ended
                return
            self._run(arm, [seed])

    def _run(self, arm: Arm, seeds: Sequence[int]) -> list[Outcome]:
        return run_arm(arm, list(seeds), self.cache, report=self._report)

    def _report(self, text: str) -> None:
        """Without the figures of single classes, which are in the results file; helpers speak of what they ran alone."""
        if self.claims is None or "kept from before" not in text:
            self._say(re.sub(r", iou [a-z ]+ [-+.\de]+", "", text))


# ---------------------------------------------------------------------------------------------------------------------- figures


def figures(matrix: ConfusionMatrix) -> dict[str, float]:
    """In per cent."""
    scores = matrix.scores()
    metrics = {
        "miou": 100 * scores.miou,
        "accuracy": 100 * scores.all_accuracy,
        "macc": 100 * scores.macc,
        "coverage": 100 * scores.coverage,
    }
    return metrics | {f"iou {name}": 100 * float(iou) for name, iou in zip(CLASS_NAMES, scores.iou) if not np.isnan(iou)}


def voted_labels(scan: TrainingScan, labels: PointLabels) -> np.ndarray:
    """Class of each point by the teacher's labels, −1 = none."""
    rows = fixed_labels(scan, labels, len(CLASS_NAMES)).points
    ids = np.full(len(scan), -1, dtype=np.int64)
    ids[rows.element] = rows.class_ids
    return ids


def weights_hash() -> str:
    """Of the embedded model."""
    return hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()[:16]


def reset_peak() -> None:
    """Gives back what is kept for later, and lets the system count the peak of memory anew, where it can (Linux)."""
    try:
        give_back_freed_memory()
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def processors_for(jobs: int) -> int:
    """Threads of each of several processes."""
    return max(1, library.default_threads() // jobs)


def _as_told(scan: TrainingScan) -> TrainingScan:
    return scan


def _only(scan: TrainingScan, needs: Needs) -> TrainingScan:
    views = tuple(
        replace(
            view,
            image_u8=view.image_u8 if needs.pictures else None,
            targets=view.targets if needs.targets is not None else None,
        )
        for view in scan.views
    )
    return replace(scan, views=views)


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

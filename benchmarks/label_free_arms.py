"""The indoor bench of label-free learning: procedural rooms, one teacher, and every arm that the four methods are compared by.

Rooms are written once in ScanNet's layout and read by the same reader; the embedded small CLIP answers once per picture.  All
arms share rooms, answers, segments, regions, augmentation, epochs and the budget of the search for a learning rate, which is made
on validation rooms with one seed and the same grid for every method.  Students are scored on rooms that nobody has seen, from
points alone, at the vertices of the mesh: absent classes do not count, a vertex without an answer is an error, and there is one
confusion matrix over all rooms.
"""

import argparse
import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scenewise.apps.label_free_methods import LABEL_FREE_METHODS
from scenewise.apps.room_scans import write_room_data_set
from scenewise.engine.checkpoints import Checkpointer, require_same_run
from scenewise.engine.experiments import (
    Arm,
    Claim,
    Outcome,
    Results,
    outcome_path,
    results_json,
    results_table,
    run_arm,
    with_generated_section,
)
from scenewise.engine.memory import peak_resident_bytes
from scenewise.engine.threads import compute_threads
from scenewise.io.atomic import atomic_write_json, atomic_write_text
from scenewise.methods.clip2scene.config import PRESETS as CLIP2SCENE
from scenewise.methods.cns.config import PRESETS as CNS
from scenewise.methods.hicl.config import PRESETS as HICL
from scenewise.methods.union.config import PRESETS as UNION
from scenewise.metrics.segmentation import ConfusionMatrix
from scenewise.networks.sparse_inputs import VoxelisedPoints
from scenewise.parts.labelfree.learning.data_sets import (
    frame_truths,
    open_training_data,
    prepare_data,
    truth_of_scan,
    vocabulary_of_sources,
)
from scenewise.parts.labelfree.learning.fixed_labels import fixed_labels
from scenewise.parts.labelfree.learning.preparation import PreparationSettings
from scenewise.parts.labelfree.learning.raw_scans import ScanSource
from scenewise.parts.labelfree.learning.recipes import PointLabels, Recipe
from scenewise.parts.labelfree.learning.scan_files import ScanSet
from scenewise.parts.labelfree.learning.scans import TrainingScan
from scenewise.parts.labelfree.learning.sources import pixel_logits
from scenewise.parts.labelfree.learning.students import PixelStudent, parameter_count
from scenewise.parts.labelfree.learning.trainer import LabelFreeTrainer
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

EMBEDDED = "embedded"
STAND_IN_TARGETS = "random-convolutions"
"""In the place of SAM's image features: fixed random filters and simple statistics of colour, which nobody trained."""
TEACHER_TARGETS = "teacher"
"""CLIP2Scene's: the dense features of the teacher itself."""
REGIONS = "felzenszwalb"
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
    spacing: float = 0.04
    seeds: int = 3
    rates: tuple[float, ...] = (0.05, 0.1, 0.2)
    changes: tuple[tuple[str, float], ...] = ()


QUICK = Sizes(
    training=2,
    test=1,
    validation=1,
    views=3,
    spacing=0.06,
    seeds=1,
    rates=(0.1, 0.2),
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


@dataclass(frozen=True)
class Needs:
    """What a composition reads of a scan besides points and labels.

    Attributes:
        targets: frozen features, or None.
        pictures: of a 2D student.
    """

    targets: str | None = None
    pictures: bool = False


NEEDS: Mapping[str, Needs] = {
    "clip2scene": Needs(TEACHER_TARGETS),
    "cns": Needs(STAND_IN_TARGETS, pictures=True),
    "hicl": Needs(),
    "union": Needs(STAND_IN_TARGETS, pictures=True),
}


class Bench:
    """The rooms, the teachers' answers on them, and what training and scoring an arm means.

    Args:
        sizes: how much.
        cache: folder of everything that is kept; the four methods share it.
        say: told what happens.
    """

    def __init__(self, sizes: Sizes, cache: Path, say: Say = say) -> None:
        self.sizes, self.cache, self.say = sizes, cache, say
        self._prepared: dict[tuple[str, str, str | None], ScanSet] = {}
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
            frames=sizes.views,
            width=sizes.width,
            height=sizes.height,
            spacing=sizes.spacing,
        )
        if time.monotonic() - started > 1:
            self.say(f"rooms written in {time.monotonic() - started:.0f} s: {folder}")
        return folder

    def sources(self, split: str) -> Sequence[ScanSource]:
        """Rooms of "train", "val" or "test"."""
        return open_training_data(self.data, split)

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

    def teacher(self, name: str, split: str) -> Teacher:
        """ "embedded", or "noise KIND SEED": the truth with errors of a kind."""
        if name == EMBEDDED:
            return self.embedded
        _, kind, seed = name.split(" ")
        truth = frame_truths(self.sources(split), self.vocabulary)
        return NoisyTruth(truth, self.vocabulary, self.noise[kind], int(seed), kind)

    def settings(self, targets: str | None) -> PreparationSettings:
        """How rooms are prepared."""
        return PreparationSettings(picture_width=self.sizes.width, most_views=self.sizes.views, regions=REGIONS, targets=targets)

    def prepared(self, split: str, teacher: str = EMBEDDED, targets: str | None = None) -> ScanSet:
        """Rooms with a teacher's answers."""
        key = split, teacher, targets
        if key not in self._prepared:
            started = time.monotonic()
            self._prepared[key] = prepare_data(
                self.sources(split),
                self.teacher(teacher, split),
                self.vocabulary,
                self.settings(targets),
                self.cache / "scans",
                words=self.embedded,
            )
            if time.monotonic() - started > 5:
                self.say(f"{split} rooms prepared with {teacher} in {time.monotonic() - started:.0f} s")
        return self._prepared[key]

    def scans(self, split: str, teacher: str, needs: Needs) -> Scans:
        """The same in memory, without what the method does not use: a step costs what the method costs."""
        key = split, teacher, needs
        if key not in self._in_memory:
            found = self.prepared(split, teacher, needs.targets)
            self._in_memory[key] = Scans(
                tuple(_only(scan, needs) for scan in found[:]), _digest([found.fingerprint, asdict(needs)])
            )
        return self._in_memory[key]

    def text(self, teacher: str = EMBEDDED) -> torch.Tensor:
        """Unit embedding per class."""
        return torch.from_numpy(self.prepared("train", teacher).text)

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
            for scan in self.prepared(split)[:]:
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
            for scan, truths in zip(self.prepared("test")[:], self.frame_truths("test")):
                for view, truth in zip(scan.views, truths):
                    matrix.update(view.labels.class_ids, truth)
            return Outcome(figures(matrix), bytes_on_disk=WEIGHTS.stat().st_size)

        return Arm("raw_teacher_2d", self.described(arm="raw_teacher_2d"), run)

    def raw_teacher_3d(self) -> Arm:
        """What the teacher says of a point's pixel in the first view that shows it; no vote."""

        def run(seed: int) -> Outcome:
            matrix = ConfusionMatrix(CLASS_NAMES)
            for scan, truth in zip(self.prepared("test")[:], self.truths("test")):
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

        Figures of the training rooms' labels, which the students are trained on, are beside them.
        """

        def run(seed: int) -> Outcome:
            teacher = self.teacher_name(noise, seed)
            matrices = {split: ConfusionMatrix(CLASS_NAMES) for split in ("test", "train")}
            for split, matrix in matrices.items():
                for scan, truth in zip(self.prepared(split, teacher)[:], self.truths(split)):
                    matrix.update(voted_labels(scan, labels), truth)
            metrics = figures(matrices["test"])
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
        needs = NEEDS[recipe.name]
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
        with compute_threads(None):
            trainer = LabelFreeTrainer(recipe, scans, self.text(teacher), seed=seed, config=config)
            newest = runs.latest()
            if newest is not None:
                require_same_run(newest, config=config, data_hash=scans.fingerprint)
                trainer.restore(newest)
            losses: list[float] = []
            # Saved about ten times: often enough to lose little, seldom enough to cost little.
            every = max(1, trainer.total_steps // 10)
            trainer.run(listener=lambda report: losses.append(report.loss), save=runs.save, save_every=every)
            peak = peak_resident_bytes()
            matrix, named_in = self.scored_points(trainer, recipe, split)
            metrics = figures(matrix)
            if trainer.pixels is not None:
                metrics["miou_2d"] = 100 * self.scored_pixels(trainer.pixels, self.text(teacher), split).scores().miou
        metrics |= {
            "peak_memory_mb": peak / 1e6,
            "seconds_per_step": trainer.seconds / max(1, trainer.total_steps),
            "share_preparing": trainer.seconds_preparing / max(1e-9, trainer.seconds),
            "steps": float(trainer.total_steps),
            "naming_seconds_per_room": named_in,
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
    def scored_points(self, trainer: LabelFreeTrainer, recipe: Recipe, split: str) -> tuple[ConfusionMatrix, float]:
        """The 3D student's names of every vertex, from points alone, and the seconds one room took."""
        matrix = ConfusionMatrix(CLASS_NAMES)
        trainer.points.eval()
        started = time.perf_counter()
        rooms = self.prepared(split)[:]
        for scan, truth in zip(rooms, self.truths(split)):
            positions = torch.from_numpy(scan.points_in_scan) / recipe.voxel
            cloud = VoxelisedPoints.from_points(
                torch.from_numpy(scan.inputs), positions, torch.zeros(len(scan), dtype=torch.int64)
            )
            said = trainer.points(cloud).logits(trainer.text).argmax(dim=1)
            matrix.update(said.numpy(), truth)
        trainer.points.train()
        return matrix, (time.perf_counter() - started) / max(1, len(rooms))

    @torch.no_grad()
    def scored_pixels(self, student: PixelStudent, text: torch.Tensor, split: str) -> ConfusionMatrix:
        """The 2D student's names of every pixel of every view."""
        matrix = ConfusionMatrix(CLASS_NAMES)
        student.eval()
        for scan, truths in zip(self.prepared(split)[:], self.frame_truths(split)):
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
        base = {"clip2scene": CLIP2SCENE, "cns": CNS, "hicl": HICL, "union": UNION}[method][preset]
        wanted = {
            key: type(getattr(base, key))(value) for key, value in self.sizes.changes if getattr(base, key, None) is not None
        }
        return replace(base, **{**changes, **wanted})

    def recipe(self, method: str, preset: str = "rooms", **changes: Any) -> Recipe:
        """A method's composition for the bench."""
        return LABEL_FREE_METHODS[method].recipe(self.config(method, preset, **changes))

    def searches(self, method: str) -> list[Arm]:
        """One arm per learning rate, scored on validation rooms; run with one seed."""
        return [
            self.student(f"search_{method}_{rate:g}", self.recipe(method, learning_rate=rate), split="val")
            for rate in self.sizes.rates
        ]

    def best_rate(self, method: str, kept: "Kept") -> float:
        """The learning rate with the highest mIoU on the validation rooms."""
        found = [kept.run(arm, [0])[0].metrics["miou"] for arm in self.searches(method)]
        rate = self.sizes.rates[int(np.argmax(found))]
        shown = ", ".join(f"{rate:g}: {miou:.2f}" for rate, miou in zip(self.sizes.rates, found))
        kept.notes.append(
            f"Learning rate of {method} on {self.sizes.validation} validation rooms, one seed: {shown}; {rate:g} taken."
        )
        return rate


class Kept:
    """Runs arms and keeps what they gave, in the order in which they are asked for.

    Attributes:
        outcomes: by arm.
        seeds: by arm.
        notes: for the results file.
    """

    def __init__(self, cache: Path, say: Say = say) -> None:
        self.cache, self._say = cache / "outcomes", say
        self.outcomes: dict[str, list[Outcome]] = {}
        self.seeds: dict[str, list[int]] = {}
        self.notes: list[str] = []

    def run(self, arm: Arm, seeds: Sequence[int]) -> list[Outcome]:
        """Outcomes of an arm, from before where they are there."""
        # The figures of single classes are in the results file.
        self.outcomes[arm.name] = run_arm(
            arm, list(seeds), self.cache, report=lambda text: self._say(re.sub(r", iou [a-z ]+ [-+.\de]+", "", text))
        )
        self.seeds[arm.name] = list(seeds)
        return self.outcomes[arm.name]

    def is_kept(self, arm: Arm, seed: int) -> bool:
        """Whether an arm has run before."""
        return outcome_path(arm, seed, self.cache).exists()

    def of(self, arm: str, metric: str = "miou") -> list[float]:
        """A figure of every seed."""
        return [outcome.metrics[metric] for outcome in self.outcomes[arm]]

    def seconds(self) -> float:
        """Training time of everything that was asked for, kept outcomes with what they took."""
        return sum(outcome.train_seconds for found in self.outcomes.values() for outcome in found)


# ------------------------------------------------------------------------------------------------------------------------ arms


def teacher_arms(bench: Bench, kept: Kept) -> None:
    """What every method starts from: pixels, the vote over views, the vote in sets."""
    kept.run(bench.raw_teacher(), [0])
    kept.run(bench.raw_teacher_3d(), [0])
    kept.run(bench.votes("view_vote_3d", PointLabels("view_vote")), [0])
    kept.run(bench.votes("set_vote_3d", PointLabels("set_vote")), [0])
    kept.run(bench.votes("set_vote_after_regions_3d", PointLabels("set_vote", region_vote=True)), [0])


def clip2scene_arms(bench: Bench, rate: float) -> dict[str, Arm]:
    """CLIP2Scene and what it is without its parts."""
    changes: dict[str, dict[str, Any]] = {
        "clip2scene": {},
        "clip2scene_no_switch": {"switch_shares": (1.0, 0.0, 0.0)},
        "clip2scene_no_features": {"feature_loss": "none"},
        "clip2scene_grid": {"feature_loss": "grid"},
    }
    return {
        name: bench.student(name, bench.recipe("clip2scene", learning_rate=rate, **change)) for name, change in changes.items()
    }


def hicl_arms(bench: Bench, rate: float, clip2scene_rate: float) -> dict[str, Arm]:
    """The paper's ladder.  I is CLIP2Scene run as long as HICL; each of II to V adds one idea."""
    # HICL's authors re-ran CLIP2Scene's code for 120 epochs, where switching begins at the same epoch.
    first = bench.recipe("clip2scene", learning_rate=clip2scene_rate, published_epochs=HICL["scannet"].epochs)
    rungs: dict[str, dict[str, Any]] = {
        "hicl_II": {"levels": (), "feedback": False},
        "hicl_III": {"levels": ("scene",), "feedback": False},
        "hicl_IV": {"feedback": False},
        "hicl_V": {},
        "hicl_V_region_refined": {"region_refined": True},
    }
    arms = {"hicl_I": bench.student("hicl_I", first)}
    return arms | {
        name: bench.student(name, bench.recipe("hicl", learning_rate=rate, **change)) for name, change in rungs.items()
    }


def noise_arms(bench: Bench, rate: float) -> dict[str, Arm]:
    """HICL under errors of one kind: e, confusion of classes in some scenes; f, the same confusion everywhere."""
    rungs: dict[str, dict[str, Any]] = {
        "II": {"levels": (), "feedback": False},
        "III": {"levels": ("scene",), "feedback": False},
        "IV": {"feedback": False},
        "V": {},
    }
    wanted = {"e": ("II", "III", "IV"), "f": ("II", "V")}
    arms = {}
    for kind, names in wanted.items():
        for label, by in (("view_vote", PointLabels("view_vote")), ("set_vote", PointLabels("set_vote"))):
            arms[f"noise_{kind}_{label}"] = bench.votes(f"noise_{kind}_{label}", by, noise=kind)
        for rung in names:
            name = f"noise_{kind}_{rung}"
            arms[name] = bench.student(name, bench.recipe("hicl", learning_rate=rate, **rungs[rung]), noise=kind)
    return arms


def cns_arms(bench: Bench, rate: float) -> dict[str, Arm]:
    """CNS and what it is without its parts."""
    changes: dict[str, dict[str, Any]] = {
        "cns": {},
        "cns_no_region_refinement": {"region_refined": False, "vote_predictions": False},
        "cns_no_self": {"switch_shares": (0.5, 0.0, 0.5)},
        "cns_no_cross": {"switch_shares": (0.5, 0.5, 0.0)},
        "cns_no_latent_2d": {"match_pixels": 0.0},
        "cns_no_latent_3d": {"match_points": 0.0},
        "cns_stage_one": {"switch_shares": (1.0, 0.0, 0.0)},
    }
    return {name: bench.student(name, bench.recipe("cns", learning_rate=rate, **change)) for name, change in changes.items()}


def union_arms(bench: Bench, rate: float) -> dict[str, Arm]:
    """All of them together, and the same without the two students' exchange."""
    changes: dict[str, dict[str, Any]] = {"union": {}, "union_no_switch": {"switch_shares": (1.0, 0.0, 0.0)}}
    return {name: bench.student(name, bench.recipe("union", learning_rate=rate, **change)) for name, change in changes.items()}


def full_arm(bench: Bench, method: str) -> Arm:
    """One run at full width: MinkUNet14A, voxels of 5 cm, 120 epochs, 1024 tokens, the paper's optimisers; batch 4 (24 rooms)."""
    changes: dict[str, Any] = {"batch_scans": 4, "epochs": 120, "clip_norm": 10.0}
    if method == "clip2scene":
        changes["published_epochs"] = HICL["scannet"].epochs
    recipe = LABEL_FREE_METHODS[method].recipe(bench.config(method, "scannet", **changes))
    return bench.student(f"{method}_full_width", recipe)


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
    """The system counts the peak of resident memory anew from here, where it can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def comparison_table(content: Mapping[str, Any]) -> str:
    """Arms with everything that is compared, as Markdown; searches are left to the notes."""
    arms = {name: arm for name, arm in content["arms"].items() if not name.startswith("search_")}
    lines = [
        "| arm | mIoU | 2D mIoU | accuracy | coverage | trained | deployed | training | peak memory |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, arm in arms.items():
        more = arm["more"]

        def cell(metric: str, more: Mapping[str, Any] = more, digits: int = 1) -> str:
            return "–" if metric not in more else f"{more[metric]['mean']:.{digits}f}"

        spread = f" ± {arm['std']:.2f}" if len(arm["seeds"]) > 1 else ""
        is_student = arm["parameters_trained"] > 0
        sizes = [f"{arm[key] / 1e6:.2f} M" if is_student else "–" for key in ("parameters_trained", "parameters_deployed")]
        seconds = f"{arm['train_seconds']:.0f} s" if is_student else "–"
        peak = f"{more['peak_memory_mb']['mean'] / 1e3:.2f} GB" if is_student else "–"
        lines.append(
            f"| {name} | {arm['mean']:.2f}{spread} | {cell('miou_2d')} | {cell('accuracy')} | {cell('coverage')} | "
            f"{' | '.join(sizes)} | {seconds} | {peak} |"
        )
    return "\n".join(lines)


def claims_table(content: Mapping[str, Any]) -> str:
    """Claims with differences of every seed, as Markdown."""
    shown = {**content, "arms": {}}
    table = results_table(shown)
    lines = table[table.index("| claim |") :].splitlines()
    per_seed = {claim["id"]: ", ".join(f"{value:+.2f}" for value in claim["per_seed"]) for claim in content["claims"]}
    out = ["| claim | holds | per seed |", "|---|---|---|"]
    for line in lines[2:]:
        identifier = line.split("`")[1]
        out.append(f"{line} {per_seed[identifier]} |")
    return "\n".join(out)


def per_class_table(content: Mapping[str, Any], arms: Sequence[str]) -> str:
    """IoU per class, as Markdown."""
    arms = [name for name in arms if name in content["arms"]]
    lines = ["| class | " + " | ".join(arms) + " |", "|---|" + "---|" * len(arms)]
    for name in CLASS_NAMES:
        cells = [content["arms"][arm]["more"].get(f"iou {name}") for arm in arms]
        lines.append(f"| {name} | " + " | ".join("–" if cell is None else f"{cell['mean']:.1f}" for cell in cells) + " |")
    return "\n".join(lines)


def results_section(content: Mapping[str, Any], classes_of: Sequence[str]) -> str:
    """What a method's README shows of its results."""
    notes = "\n".join(f"- {note}" for note in content["notes"])
    return "\n\n".join((comparison_table(content), claims_table(content), per_class_table(content, classes_of), notes))


# --------------------------------------------------------------------------------------------------------------------- helpers


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


# -------------------------------------------------------------------------------------------------------------------- scripts


@dataclass(frozen=True)
class Options:
    """Of a reproduction script.

    Attributes:
        quick: tiny rooms and runs, to see that everything works.
        full: one run at full width as well.
        cache: folder of everything that is kept.
        out: results file.
    """

    quick: bool
    full: bool
    cache: Path
    out: Path | None


def parsed_options(description: str | None, *, with_full: bool) -> Options:
    """Options from the command line."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two tiny rooms and two epochs")
    if with_full:
        parser.add_argument("--full", action="store_true", help="also one run at full width, 120 epochs")
    parser.add_argument("--cache", type=Path, default=CACHE, help="kept outcomes; all four methods share them")
    parser.add_argument("--out", type=Path, default=None, help="default: docs/results, or the cache folder with --quick")
    found = parser.parse_args()
    cache = found.cache / "quick" if found.quick else found.cache
    return Options(found.quick, getattr(found, "full", False), cache, found.out)


def run_full(bench: Bench, kept: Kept, method: str, options: Options) -> None:
    """The run at full width: where it is asked for, or was made before."""
    arm = full_arm(bench, method)
    if options.full or kept.is_kept(arm, 0):
        outcome = kept.run(arm, [0])[0]
        kept.notes.append(
            f"{arm.name}: {outcome.metrics['steps']:.0f} steps of {outcome.metrics['seconds_per_step']:.2f} s, "
            f"{outcome.train_seconds / 60:.1f} minutes in all; one seed."
        )


def publish(
    method: str, bench: Bench, kept: Kept, claims: Sequence[Claim], classes_of: Sequence[str], options: Options, started: float
) -> int:
    """Prints everything in one table and writes the results file and the section of the method's README."""
    sizes = bench.sizes
    notes = [
        f"{sizes.training} training and {sizes.test} test rooms, {sizes.views} views of {sizes.width}×{sizes.height} each, "
        f"vertices {100 * sizes.spacing:.0f} cm apart; seeds draw initial weights, order and augmentation of one set of rooms.",
        f"Regions: {REGIONS} in the place of SAM's masks.  Frozen features: {STAND_IN_TARGETS} in the place of SAM's for CNS and "
        "the union, the teacher's own for CLIP2Scene.  Segments are our own, not the ones that truth was painted on.",
        *kept.notes,
    ]
    if options.quick:
        notes.append("quick: tiny rooms, two epochs, one seed; figures mean nothing")
    spent = max(kept.seconds(), time.monotonic() - started)
    results = Results(method, "miou", kept.seeds, kept.outcomes, claims, spent, notes)
    content = results_json(results)
    say("\n" + comparison_table(content) + "\n")
    say(per_class_table(content, classes_of) + "\n")
    for note in notes:
        say(note)
    for claim in claims:
        per_seed = ", ".join(f"{value:+.2f}" for value in claim.per_seed)
        say(f"{claim.id}: {'holds' if claim.holds else f'does NOT hold: {claim.why}'} [{per_seed}]")
    target = options.out or (options.cache / f"{method}.json" if options.quick else ROOT / "docs" / "results" / f"{method}.json")
    atomic_write_json(target, content)
    say(f"written: {target}")
    if not options.quick and options.out is None:
        readme = ROOT / "src" / "scenewise" / "methods" / method / "README.md"
        section = results_section(content, classes_of)
        atomic_write_text(readme, with_generated_section(readme.read_text(encoding="utf-8"), section))
        say(f"table updated: {readme}")
    return 0

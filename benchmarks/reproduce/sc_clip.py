"""SC-CLIP, MaskCLIP and their peers on procedural rooms nobody trained on; figures and claims in docs/results/sc_clip.json.

    python benchmarks/reproduce/sc_clip.py [--quick] [--cache build/reproduce/sc_clip]

A seed is a set of eight benchmark rooms of its own, because nothing here is trained: the weights are the embedded ones.  Every
read-out's settings are chosen on validation rooms from grids of the same size, by pixel mIoU, and then fixed.  Kept outcomes are
reused, so an interrupted run goes on where it stopped.
"""

import argparse
import hashlib
import itertools
import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from label_free_figures import anomaly_figure, picture_of_rooms  # noqa: E402
from label_free_rooms import (  # noqa: E402
    HEIGHT,
    WIDTH,
    ReplayedPasses,
    View,
    color_classifier_confusion,
    confusion_of_views,
    dense_field,
    question_for,
    room_points,
    room_views,
    views_of,
    window_class_features,
)
from scenewise.engine.experiments import (  # noqa: E402
    Arm,
    Claim,
    Outcome,
    Results,
    paired_claim,
    results_json,
    results_table,
    run_arm,
    threshold_claim,
    with_generated_section,
)
from scenewise.io.atomic import atomic_write_json, atomic_write_text  # noqa: E402
from scenewise.methods.small_clip.config import PictureSettings  # noqa: E402
from scenewise.methods.small_clip.pictures import Pictures, pictures_of_room  # noqa: E402
from scenewise.methods.small_clip.train import crop_accuracy  # noqa: E402
from scenewise.metrics.segmentation import ConfusionMatrix  # noqa: E402
from scenewise.parts.lifting import visible_pixels, vote_histogram  # noqa: E402
from scenewise.parts.segments.oversegmentation import point_segments  # noqa: E402
from scenewise.parts.segments.segment_settings import smooth_segments  # noqa: E402
from scenewise.parts.segments.votes import MajorityVote  # noqa: E402
from scenewise.parts.words.pixel_classes import classify_pixels  # noqa: E402
from scenewise.scenes.dense_fields import DenseField  # noqa: E402
from scenewise.scenes.label_fields import LabelField  # noqa: E402
from scenewise.scenes.partitions import Partition  # noqa: E402
from scenewise.teachers.choose import SMALL_CLIP, SMALL_CLIP_READ_OUT, open_teacher  # noqa: E402
from scenewise.teachers.clip_teacher import ClipTeacher  # noqa: E402
from scenewise.teachers.preprocessing import ResizeSettings  # noqa: E402
from scenewise.teachers.read_outs import (  # noqa: E402
    ClearClipSettings,
    ClipSettings,
    MaskClipSettings,
    NaclipSettings,
    ReadOutSettings,
    ScClipSettings,
    SclipSettings,
    dense_tokens,
    name_of,
)
from scenewise.teachers.read_outs.injection import Anomalies, TowerWithAnomalies, random_direction  # noqa: E402
from scenewise.teachers.small_clip import WEIGHTS, load_small_clip  # noqa: E402
from scenewise.teachers.windows import WindowSettings  # noqa: E402
from scenewise.worlds.classes import CLASS_NAMES, class_id  # noqa: E402
from scenewise.worlds.seeds import BENCHMARK_SEEDS, TRAINING_SEEDS, VALIDATION_SEEDS  # noqa: E402

ROOT = HERE.parents[1]
INJECTED = Anomalies(fraction=0.03, scale=8.0)


@dataclass(frozen=True)
class Sizes:
    """How much is run.

    Attributes:
        rooms: per seed.
        views: per room.
        seeds: sets of rooms.
        validation_rooms: settings are chosen on.
        validation_views: of each of them.
        crop_rooms: per seed, for zero-shot naming.
        settings: tried of each read-out, the published one first; None: all.
    """

    rooms: int = 8
    views: int = 10
    seeds: int = 3
    validation_rooms: int = 8
    validation_views: int = 5
    crop_rooms: int = 80
    settings: int | None = None


QUICK = Sizes(rooms=1, views=2, seeds=1, validation_rooms=1, validation_views=1, crop_rooms=4, settings=3)


def grids() -> dict[str, list[ReadOutSettings]]:
    """What is tried for each read-out: the same switches for all, and each one's own parameter; the published setting first."""
    switches = list(itertools.product((False, True), (0.0, 0.2, 0.3, 0.5)))  # keep_ffn, class_residual
    maskclip = [MaskClipSettings()] + [
        MaskClipSettings(keep_residual=residual, keep_ffn=ffn, class_residual=weight)
        for residual in (False, True)
        for ffn, weight in switches
    ]
    clearclip = [ClearClipSettings()] + [
        ClearClipSettings(keep_residual=residual, keep_ffn=ffn, class_residual=weight)
        for residual in (False, True)
        for ffn, weight in switches
    ]
    sclip = [SclipSettings()] + [
        SclipSettings(average=True, keep_residual=residual, keep_ffn=ffn, class_residual=weight)
        for residual in (False, True)
        for ffn, weight in switches
    ]
    naclip = [NaclipSettings()] + [
        NaclipSettings(sigma=sigma, keep_ffn=ffn, class_residual=weight) for sigma in (2.0, 5.0) for ffn, weight in switches
    ]
    sc_clip = [ScClipSettings()]
    for two_pass, owns, betas in ((False, ("key", "value"), (0.4, 0.6, 0.8)), (True, ("value",), (0.6, 0.8))):
        for own, weight, beta in itertools.product(owns, (0.2, 0.3), betas):
            sc_clip.append(ScClipSettings(own_attention=own, keep_ffn=True, class_residual=weight, beta=beta, two_pass=two_pass))
    return {
        "clip": [ClipSettings()],
        "maskclip": maskclip,
        "clearclip": clearclip,
        "sclip": sclip,
        "naclip": naclip,
        "sc_clip": sc_clip,
    }


def choose_settings(teacher: ClipTeacher, sizes: Sizes, cache: Path, say: "Say") -> dict[str, tuple[ReadOutSettings, float]]:
    """Per read-out the setting of its grid with the best mIoU on validation rooms, and that mIoU."""
    rooms = [VALIDATION_SEEDS[i] for i in range(sizes.validation_rooms)]
    question, tower = question_for(teacher), teacher.clip.tower
    tried = [(name, settings) for name, options in grids().items() for settings in options[: sizes.settings]]
    key = {"tried": [[name, asdict(settings)] for name, settings in tried], "sizes": asdict(sizes), "weights": weights_hash()}
    path = cache / f"validation_{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]}.json"
    if path.exists():
        mious = json.loads(path.read_text(encoding="utf-8"))
    else:
        matrices = [ConfusionMatrix(CLASS_NAMES) for _ in tried]
        started = time.monotonic()
        for view in views_of(rooms, sizes.validation_views):
            passes = ReplayedPasses(tower)
            for matrix, (_, settings) in zip(matrices, tried):
                field = dense_field(
                    tower, view.image, passes.features_of(settings), teacher.settings.resize, teacher.settings.windows
                )
                matrix.update(classify_pixels(field, question, teacher.logit_scale)[0], view.truth.class_ids)
        mious = [matrix.scores().miou for matrix in matrices]
        atomic_write_json(path, mious)
        say(f"{len(tried)} settings on {len(rooms)} validation rooms in {time.monotonic() - started:.0f} s")
    chosen: dict[str, tuple[ReadOutSettings, float]] = {}
    for (name, settings), miou in zip(tried, mious):
        if name not in chosen or miou > chosen[name][1]:
            chosen[name] = (settings, miou)
    for name, (settings, miou) in chosen.items():
        say(f"validation: {name} {100 * miou:.1f} with {settings}")
    return chosen


def weights_hash() -> str:
    """Of the embedded model."""
    return hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()[:16]


def steps_in_turn(tuned: ScClipSettings) -> dict[str, ReadOutSettings]:
    """SC-CLIP's steps added one after the other to the same value path, class residual and FFN."""
    nothing = replace(
        tuned,
        repair=False,
        feature_adjust=False,
        attention_adjust=False,
        output_adjust=False,
        two_pass=False,
        own_attention="value",
    )
    steps: dict[str, ReadOutSettings] = {"sc_clip_0_value_path": nothing}
    current = nothing
    for number, (label, change) in enumerate(
        (
            ("repair", {"repair": True}),
            ("feature_adjust", {"feature_adjust": True}),
            ("attention_adjust", {"attention_adjust": True, "own_attention": tuned.own_attention}),
            ("output_adjust", {"output_adjust": True}),
            ("two_pass", {"two_pass": True}),
        ),
        start=1,
    ):
        current = replace(current, **change)
        steps[f"sc_clip_{number}_{label}"] = current
    return steps


class Say:
    """Prints at once."""

    def __call__(self, text: str) -> None:
        print(text, flush=True)


class Bench:
    """The embedded teacher on sets of rooms."""

    def __init__(self, sizes: Sizes) -> None:
        opened = open_teacher(SMALL_CLIP, device="cpu")
        assert isinstance(opened, ClipTeacher)
        self.teacher = opened
        self.sizes = sizes
        self.question = question_for(opened)
        self._read_outs: dict[str, tuple[ReadOutSettings, float | None]] = {}
        self._found: dict[tuple[str, int], Outcome] = {}

    def rooms(self, seed: int) -> list[int]:
        """Benchmark rooms of a seed; sets do not overlap."""
        return [BENCHMARK_SEEDS[seed * self.sizes.rooms + i] for i in range(self.sizes.rooms)]

    def described(self, **values: object) -> dict[str, object]:
        """What decides an outcome besides the seed."""
        settings = self.teacher.settings
        shared = {"weights": weights_hash(), "rooms": self.sizes.rooms, "views": self.sizes.views, "size": [WIDTH, HEIGHT]}
        seen = {"resize": asdict(settings.resize), "windows": asdict(settings.windows), "logit_scale": settings.logit_scale}
        return {**shared, **seen, **values}

    def field(self, view: View, read_out: ReadOutSettings) -> DenseField:
        """Features of a view."""
        tower = self.teacher.clip.tower
        return dense_field(tower, view.image, lambda images: dense_tokens(tower, images, read_out), *self.shown(None))

    def outcome(self, matrix: ConfusionMatrix, started: float, views: int) -> Outcome:
        """Figures of a matrix, in per cent."""
        scores = matrix.scores()
        metrics = {"miou": 100 * scores.miou, "accuracy": 100 * scores.all_accuracy, "macc": 100 * scores.macc}
        metrics |= {f"iou {name}": 100 * float(iou) for name, iou in zip(CLASS_NAMES, scores.iou) if not np.isnan(iou)}
        if views:
            metrics["seconds_per_view"] = (time.monotonic() - started) / views
        return Outcome(metrics, bytes_on_disk=WEIGHTS.stat().st_size)

    def pixels(self, name: str, read_out: ReadOutSettings, whole: float | None = None) -> Arm:
        """A read-out on the pixels of all views.

        The first of these arms that has to be run for a seed runs all of them, so that the tower sees every window once.
        """
        self._read_outs[name] = (read_out, whole)

        def run(seed: int) -> Outcome:
            if (name, seed) not in self._found:
                self._run_read_outs(seed)
            return self._found[name, seed]

        kind = name_of(read_out)
        return Arm(name, self.described(read_out=[kind, asdict(read_out)], whole=whole), run)

    def _run_read_outs(self, seed: int) -> None:
        started, tower, settings = time.monotonic(), self.teacher.clip.tower, self.teacher.settings
        matrices = {name: ConfusionMatrix(CLASS_NAMES) for name in self._read_outs}
        for view in views_of(self.rooms(seed), self.sizes.views):
            passes: dict[float | None, ReplayedPasses] = {}
            for name, (read_out, whole) in self._read_outs.items():
                replayed = passes.setdefault(whole, ReplayedPasses(tower))
                resize, windows = self.shown(whole)
                field = dense_field(tower, view.image, replayed.features_of(read_out), resize, windows)
                said = classify_pixels(field, self.question, settings.logit_scale)[0]
                matrices[name].update(said, view.truth.class_ids)
        for name, matrix in matrices.items():
            self._found[name, seed] = self.outcome(matrix, started, 0)

    def shown(self, whole: float | None) -> tuple[ResizeSettings, WindowSettings]:
        """How views are shown: as the teacher does it, or without windows at a multiple of their size."""
        resize, windows = self.teacher.settings.resize, self.teacher.settings.windows
        if whole is None:
            return resize, windows
        return replace(resize, short_side=round(HEIGHT * whole)), replace(windows, crop=None)

    def control(self) -> Arm:
        """The window's image-level embedding painted on the whole window."""
        tower, settings = self.teacher.clip.tower, self.teacher.settings

        def run(seed: int) -> Outcome:
            started = time.monotonic()
            rooms = self.rooms(seed)
            matrix = confusion_of_views(
                rooms,
                self.sizes.views,
                lambda view: dense_field(tower, view.image, window_class_features(tower), settings.resize, settings.windows),
                self.question,
                self.teacher.logit_scale,
            )
            return self.outcome(matrix, started, len(rooms) * self.sizes.views)

        return Arm("window_cls_control", self.described(control=True), run)

    def colors(self) -> Arm:
        """Colour alone, with labels and true regions: how much of the world can be named without shape."""
        rooms = 6 if self.sizes.rooms < 8 else 240

        def run(seed: int) -> Outcome:
            started = time.monotonic()
            training = [TRAINING_SEEDS[-1 - seed * rooms - i] for i in range(rooms)]
            matrix = color_classifier_confusion(training, self.rooms(seed), self.sizes.views, seed)
            return self.outcome(matrix, started, 0)

        return Arm("color_with_labels", self.described(rooms_with_labels=rooms), run)

    def guess(self, name: str) -> Arm:
        """Uniform random classes, or wall everywhere."""

        def run(seed: int) -> Outcome:
            rng, started = np.random.default_rng(seed), time.monotonic()
            matrix = ConfusionMatrix(CLASS_NAMES)
            for view in views_of(self.rooms(seed), self.sizes.views):
                wall = np.full(view.truth.class_ids.shape, class_id("wall"))
                guessed = rng.integers(0, len(CLASS_NAMES), wall.shape) if name == "chance" else wall
                matrix.update(guessed, view.truth.class_ids)
            return self.outcome(matrix, started, 0)

        return Arm(name, self.described(guess=name), run)

    def injected(self, name: str, read_out: ScClipSettings, whole: float | None = None) -> Arm:
        """The same pictures with anomalous tokens put in: what is lost without repair, and how much of that it brings back."""

        def run(seed: int) -> Outcome:
            started = time.monotonic()
            tower, shown = self.teacher.clip.tower, self.shown(whole)
            generator = torch.Generator().manual_seed(seed)
            spoilt = TowerWithAnomalies(tower, generator, INJECTED, random_direction(tower.width, generator))
            matrices = {kind: ConfusionMatrix(CLASS_NAMES) for kind in ("healthy", "spoilt", "repaired")}
            lost = recovered = spoilt_by_repair = right = 0
            for view in views_of(self.rooms(seed), self.sizes.views):
                said = {}
                passes = ReplayedPasses(spoilt)
                for kind, features in (
                    ("healthy", lambda images: dense_tokens(tower, images, replace(read_out, repair=False))),
                    ("spoilt", passes.features_of(replace(read_out, repair=False))),
                    ("repaired", passes.features_of(replace(read_out, repair=True))),
                ):
                    field = dense_field(tower, view.image, features, *shown)
                    said[kind] = classify_pixels(field, self.question, self.teacher.logit_scale)[0]
                    matrices[kind].update(said[kind], view.truth.class_ids)
                known = view.truth.class_ids >= 0
                is_right = {kind: (ids == view.truth.class_ids) & known for kind, ids in said.items()}
                gone = is_right["healthy"] & ~is_right["spoilt"]
                lost += int(gone.sum())
                recovered += int((gone & is_right["repaired"]).sum())
                right += int(is_right["healthy"].sum())
                spoilt_by_repair += int((is_right["healthy"] & is_right["spoilt"] & ~is_right["repaired"]).sum())
            base = self.outcome(matrices["repaired"], started, self.sizes.rooms * self.sizes.views)
            extra = {
                "healthy_miou": 100 * matrices["healthy"].scores().miou,
                "spoilt_miou": 100 * matrices["spoilt"].scores().miou,
                "lost_share": 100 * lost / max(1, right),
                "recovered_share": 100 * recovered / max(1, lost),
                "broken_by_repair_share": 100 * spoilt_by_repair / max(1, right),
            }
            return Outcome({**base.metrics, **extra}, bytes_on_disk=base.bytes_on_disk)

        return Arm(name, self.described(injected=asdict(INJECTED), read_out=asdict(read_out), whole=whole), run)

    def points(self, read_out: ReadOutSettings) -> Arm:
        """Points of the rooms: votes over views, then within segments, then within true instances (the ceiling of any vote)."""

        def run(seed: int) -> Outcome:
            started = time.monotonic()
            kinds = ("one_view", "view_vote", "set_vote", "oracle_vote", "purity")
            matrices = {kind: ConfusionMatrix(CLASS_NAMES) for kind in kinds}
            sets = 0
            for room in self.rooms(seed):
                found = room_views(room, self.sizes.views)
                points = room_points(found)
                shown = visible_pixels(points.points_in_world, [view.frame for view in found.views])
                maps = [
                    LabelField(*classify_pixels(self.field(view, read_out), self.question, self.teacher.logit_scale))
                    for view in found.views
                ]
                votes = vote_histogram(shown, lambda view, maps=maps: maps[view], len(CLASS_NAMES))
                one = np.full(len(points.class_ids), -1, dtype=np.int32)
                order = np.arange(len(shown))[::-1]  # the first view that shows a point wins
                one[shown.element[order]] = [
                    maps[v].class_ids[r, c] for v, r, c in zip(shown.view[order], shown.row[order], shown.column[order])
                ]
                cloud = points.points_in_world
                settings = smooth_segments(cloud, 1.0, colored=True)
                partition = point_segments(cloud, viewpoints=points.viewpoints, colors_u8=points.colors_u8, settings=settings)
                truth = Partition.from_any_ids(points.instance_ids, "truth")
                sets += partition.count
                by_view = votes.winner()[0]
                said = {
                    "one_view": one,
                    "view_vote": by_view.class_ids,
                    "set_vote": MajorityVote().of_histogram(votes, partition).class_ids,
                    "oracle_vote": MajorityVote().of_histogram(votes, truth).class_ids,
                    "purity": MajorityVote()(LabelField.certain(points.class_ids), partition).class_ids,
                }
                for kind, ids in said.items():
                    matrices[kind].update(ids, points.class_ids)
            base = self.outcome(matrices["set_vote"], started, self.sizes.rooms * self.sizes.views)
            extra = {f"{kind}_miou": 100 * matrix.scores().miou for kind, matrix in matrices.items()}
            extra |= {f"{kind}_accuracy": 100 * matrix.scores().all_accuracy for kind, matrix in matrices.items()}
            return Outcome(
                {**base.metrics, **extra, "segments_per_room": sets / self.sizes.rooms}, bytes_on_disk=base.bytes_on_disk
            )

        return Arm("points", self.described(read_out=[name_of(read_out), asdict(read_out)], segments="smooth_segments"), run)

    def crops(self) -> Arm:
        """Zero-shot naming of pictures that are of one thing."""
        settings = PictureSettings(size=112)

        def run(seed: int) -> Outcome:
            started = time.monotonic()
            rooms = [BENCHMARK_SEEDS[50_000 + 100 * seed + i] for i in range(self.sizes.crop_rooms)]
            pictures = Pictures.joined([pictures_of_room(room, settings) for room in rooms])
            accuracy, mean_class = crop_accuracy(load_small_clip(), pictures)
            subjects = int((pictures.records.subjects >= 0).sum())
            metrics = {"miou": 0.0, "accuracy": 100 * accuracy, "macc": 100 * mean_class, "pictures": float(subjects)}
            return Outcome({**metrics, "seconds_per_view": (time.monotonic() - started) / len(pictures)})

        return Arm("zero_shot_crops", self.described(pictures=settings.fingerprint(), of=self.sizes.crop_rooms), run)


def choose_whole(
    bench: Bench, read_out: ScClipSettings | MaskClipSettings, cache: Path, say: Say
) -> tuple[ReadOutSettings, float]:
    """For a view that goes through the tower as a whole: how much of the class token, and how much to enlarge the view.

    A window's class token speaks of a few things, that of a whole view of all of them, so its best weight is another one.
    """
    sizes = bench.sizes
    tried = [(weight, scale) for scale in (1.0, 1.5, 2.0) for weight in (0.1, 0.2, 0.3)]
    key = {"read_out": asdict(read_out), "sizes": asdict(sizes), "weights": weights_hash(), "tried": tried}
    path = cache / f"whole_{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]}.json"
    if path.exists():
        mious = json.loads(path.read_text(encoding="utf-8"))
    else:
        matrices = [ConfusionMatrix(CLASS_NAMES) for _ in tried]
        for view in views_of([VALIDATION_SEEDS[i] for i in range(sizes.validation_rooms)], sizes.validation_views):
            passes: dict[float, ReplayedPasses] = {}
            for matrix, (weight, scale) in zip(matrices, tried):
                replayed = passes.setdefault(scale, ReplayedPasses(bench.teacher.clip.tower))
                features = replayed.features_of(replace(read_out, class_residual=weight))
                field = dense_field(bench.teacher.clip.tower, view.image, features, *bench.shown(scale))
                matrix.update(classify_pixels(field, bench.question, bench.teacher.logit_scale)[0], view.truth.class_ids)
        mious = [matrix.scores().miou for matrix in matrices]
        atomic_write_json(path, mious)
    weight, scale = tried[int(np.argmax(mious))]
    say(f"validation, {name_of(read_out)} without windows: {100 * max(mious):.1f} at {scale}x with class residual {weight}")
    return replace(read_out, class_residual=weight), scale


def main() -> int:
    """Chooses, runs, judges and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "reproduce" / "sc_clip")
    parser.add_argument("--out", type=Path, default=None, help="default: docs/results, or the cache folder with --quick")
    options = parser.parse_args()
    started, say = time.monotonic(), Say()
    sizes = QUICK if options.quick else Sizes()
    cache = options.cache / "quick" if options.quick else options.cache
    bench = Bench(sizes)
    chosen = choose_settings(bench.teacher, sizes, cache, say)
    tuned = chosen["sc_clip"][0]
    assert isinstance(tuned, ScClipSettings)
    tuned_maskclip = chosen["maskclip"][0]
    assert isinstance(tuned_maskclip, MaskClipSettings)
    whole, whole_scale = choose_whole(bench, tuned, cache, say)
    whole_maskclip, whole_maskclip_scale = choose_whole(bench, tuned_maskclip, cache, say)
    best_peer = max(("clearclip", "sclip", "naclip"), key=lambda name: chosen[name][1])
    published = {name: options_[0] for name, options_ in grids().items()}

    arms: list[Arm] = [bench.guess("chance"), bench.guess("most_frequent"), bench.colors(), bench.control()]
    arms += [bench.pixels(f"{name}_published", settings) for name, settings in published.items() if name != "clip"]
    arms += [bench.pixels(name, settings) for name, (settings, _) in chosen.items()]
    arms += [bench.pixels(name, settings) for name, settings in steps_in_turn(tuned).items()]
    arms.append(bench.pixels("embedded_default", SMALL_CLIP_READ_OUT))
    arms += [
        bench.pixels("sc_clip_no_windows", whole, whole=whole_scale),
        bench.pixels("maskclip_no_windows", whole_maskclip, whole=whole_maskclip_scale),
    ]
    arms += [
        bench.injected("injected_anomalies", tuned),
        bench.injected("injected_anomalies_published", ScClipSettings()),
        bench.injected("injected_anomalies_no_windows", whole, whole=whole_scale),
        bench.points(tuned),
        bench.crops(),
    ]
    seeds = list(range(sizes.seeds))
    outcomes = {arm.name: run_arm(arm, seeds, cache, report=say) for arm in arms}

    def of(arm: str, metric: str = "miou") -> list[float]:
        return [outcome.metrics[metric] for outcome in outcomes[arm]]

    claims: list[Claim] = [
        paired_claim(
            "sc_over_maskclip", "SC-CLIP's mIoU exceeds MaskCLIP's, both tuned on validation rooms", of("sc_clip"), of("maskclip")
        ),
        paired_claim(
            "sc_over_best_peer",
            f"SC-CLIP's mIoU exceeds the best of ClearCLIP, SCLIP and NACLIP ({best_peer} on validation rooms), all tuned",
            of("sc_clip"),
            of(best_peer),
        ),
        threshold_claim(
            "repair_recovers_injected",
            "of the pixels that injected anomalous tokens cost, the repair brings back at least 80 %",
            of("injected_anomalies", "recovered_share"),
            80.0,
            why=_why_repair(of("injected_anomalies", "recovered_share"), of("injected_anomalies", "lost_share")),
        ),
        paired_claim(
            "set_vote_helps",
            "on points, the vote within own segments exceeds the vote over views",
            of("points", "set_vote_miou"),
            of("points", "view_vote_miou"),
        ),
        paired_claim(
            "dense_over_window_control",
            "SC-CLIP's mIoU is at least 6 points above painting each window's image-level answer on the window",
            of("sc_clip"),
            of("window_cls_control"),
            at_least=6.0,
        ),
        threshold_claim(
            "color_below_half_of_oracle",
            "a classifier of region colours trained with labels on true regions stays below half of what the truth itself gets",
            [50.0 - value for value in of("color_with_labels")],
            0.0,
        ),
        threshold_claim("dense_25", "dense mIoU of the embedded model is at least 25 % over 15 classes", of("sc_clip"), 25.0),
        threshold_claim(
            "dense_14_without_windows",
            "without sliding windows it is at least 14 %",
            [max(pair) for pair in zip(of("sc_clip_no_windows"), of("maskclip_no_windows"))],
            14.0,
        ),
    ]
    notes = [
        f"Seeds are disjoint sets of {sizes.rooms} benchmark rooms with {sizes.views} views of {WIDTH}×{HEIGHT} each; "
        "the weights are one training run.",
        "Settings chosen on validation rooms: "
        + "; ".join(f"{name}: {settings}" for name, (settings, _) in chosen.items())
        + ".",
        "The small CLIP has no anomalous tokens of its own; the repair is measured on injected ones.",
    ]
    if options.quick:
        notes.append("quick: one seed of one room with two views, three settings of each read-out")
    for claim in claims:
        say(f"{claim.id}: {'holds' if claim.holds else f'does NOT hold: {claim.why}'} {claim.per_seed}")
    results = Results("sc_clip", "miou", dict.fromkeys(outcomes, seeds), outcomes, claims, _seconds_so_far(cache, started), notes)
    target = options.out or (cache / "quick.json" if options.quick else ROOT / "docs" / "results" / "sc_clip.json")
    content = results_json(results)
    atomic_write_json(target, content)
    say(f"written: {target}")
    images = cache if options.quick else ROOT / "docs" / "results" / "img"
    anomaly_figure(bench, tuned, images / "sc_clip_anomalies.png")
    picture_of_rooms(bench, {"maskclip": chosen["maskclip"][0], "sc_clip": tuned}, images / "sc_clip_rooms.png")
    if not options.quick and options.out is None:
        readme = ROOT / "src" / "scenewise" / "methods" / "sc_clip" / "README.md"
        atomic_write_text(readme, with_generated_section(readme.read_text(encoding="utf-8"), results_section(content)))
        say(f"table updated: {readme}")
    return 0


def _seconds_so_far(cache: Path, started: float) -> float:
    """Time of all calls that filled the cache, this one included."""
    path = cache / "seconds.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else 0.0
    atomic_write_json(path, before + time.monotonic() - started)
    return float(before + time.monotonic() - started)


def _why_repair(recovered: list[float], lost: list[float]) -> str:
    return f"{np.mean(recovered):.0f} % come back; on this model the tokens cost only {np.mean(lost):.1f} % of the right pixels"


def results_section(content: dict) -> str:
    """What the method's README shows of the results."""
    crops = content["arms"]["zero_shot_crops"]
    shown = {**content, "arms": {name: arm for name, arm in content["arms"].items() if name != "zero_shot_crops"}}
    accuracy, mean_class = (crops["more"][name]["mean"] for name in ("accuracy", "macc"))
    naming = f"Zero-shot naming of pictures of one thing: {accuracy:.1f} % right, {mean_class:.1f} % averaged over classes."
    return "\n\n".join((results_table(shown), naming, per_class_table(content), points_table(content)))


def points_table(content: dict) -> str:
    """Votes on points and injected anomalies, as Markdown."""
    lines = ["| points | mIoU | accuracy |", "|---|---|---|"]
    more = content["arms"]["points"]["more"]
    for kind in ("one_view", "view_vote", "set_vote", "oracle_vote"):
        lines.append(
            f"| {kind.replace('_', ' ')} | {more[f'{kind}_miou']['mean']:.1f} | {more[f'{kind}_accuracy']['mean']:.1f} |"
        )
    lines.append(
        f"| true labels voted in the segments (ceiling of the segments) | {more['purity_miou']['mean']:.1f} | "
        f"{more['purity_accuracy']['mean']:.1f} |"
    )
    lines += ["", "| injected anomalies | mIoU | pixels lost | of these recovered |", "|---|---|---|---|"]
    for arm in ("injected_anomalies", "injected_anomalies_no_windows", "injected_anomalies_published"):
        if arm in content["arms"]:
            found = content["arms"][arm]
            values = {name: entry["mean"] for name, entry in found["more"].items()}
            lines.append(
                f"| {arm.removeprefix('injected_anomalies').strip('_') or 'tuned'} | healthy {values['healthy_miou']:.1f}, "
                f"spoilt {values['spoilt_miou']:.1f}, repaired {found['mean']:.1f} | {values['lost_share']:.1f} % | "
                f"{values['recovered_share']:.0f} % |"
            )
    return "\n".join(lines)


def per_class_table(content: dict) -> str:
    """IoU per class of the arms that matter, as Markdown."""
    arms = [
        name for name in ("window_cls_control", "maskclip", "sc_clip", "sc_clip_no_windows", "points") if name in content["arms"]
    ]
    lines = ["| class | " + " | ".join(arms) + " |", "|---|" + "---|" * len(arms)]
    for name in CLASS_NAMES:
        cells = [content["arms"][arm]["more"].get(f"iou {name}") for arm in arms]
        lines.append(f"| {name} | " + " | ".join("–" if cell is None else f"{cell['mean']:.1f}" for cell in cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

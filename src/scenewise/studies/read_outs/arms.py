"""Arms on procedural rooms: read-outs of the embedded teacher, their controls, anomalies put in, votes on points, crops."""

import time
from dataclasses import asdict, replace
from typing import final

import numpy as np
import torch
from jaxtyping import Int

from scenewise.methods.small_clip.config import PictureSettings
from scenewise.methods.small_clip.pictures import Pictures, pictures_of_room
from scenewise.methods.small_clip.train import crop_accuracy
from scenewise.metrics.segmentation import ConfusionMatrix
from scenewise.parts.lifting import visible_pixels, vote_histogram
from scenewise.parts.segments.oversegmentation import point_segments
from scenewise.parts.segments.segment_settings import smooth_segments
from scenewise.parts.segments.votes import MajorityVote
from scenewise.parts.words.pixel_classes import classify_pixels
from scenewise.scenes.dense_fields import DenseField
from scenewise.scenes.label_fields import LabelField
from scenewise.scenes.partitions import Partition
from scenewise.studies.arms import Arm, Outcome
from scenewise.studies.read_outs.colors import color_classifier_confusion
from scenewise.studies.read_outs.rooms import (
    HEIGHT,
    WIDTH,
    Points,
    ReplayedPasses,
    RoomViews,
    View,
    confusion_of_views,
    dense_field,
    question_for,
    room_points,
    room_views,
    tower_of,
    views_of,
    window_class_features,
)
from scenewise.studies.read_outs.settings import Sizes, shown_whole
from scenewise.studies.weights import weights_hash
from scenewise.teachers.choose import SMALL_CLIP, SMALL_CLIP_READ_OUT, open_teacher
from scenewise.teachers.clip_teacher import ClipTeacher
from scenewise.teachers.read_outs import ReadOutSettings, ScClipSettings, dense_tokens, name_of
from scenewise.teachers.read_outs.injection import Anomalies, TowerWithAnomalies, random_direction
from scenewise.teachers.small_clip import WEIGHTS, load_small_clip
from scenewise.worlds.classes import CLASS_NAMES, class_id
from scenewise.worlds.seeds import BENCHMARK_SEEDS, TRAINING_SEEDS

INJECTED = Anomalies(fraction=0.03, scale=8.0)


def _coarse(teacher: ClipTeacher) -> ClipTeacher:
    """The same model looking through few windows, each of its native size."""
    settings = teacher.settings
    crop = settings.windows.crop
    assert crop is not None, "the embedded model looks through windows"
    shown = replace(settings.resize, short_side=crop)
    return ClipTeacher(teacher.clip, replace(settings, resize=shown, windows=replace(settings.windows, stride=crop)))


@final
class ReadOutArms:
    """The embedded teacher on sets of rooms.

    Args:
        sizes: how much.
        coarse: views are shown smaller and windows lie side by side, a third as many.
    """

    def __init__(self, sizes: Sizes, *, coarse: bool = False) -> None:
        opened = open_teacher(SMALL_CLIP, read_out=SMALL_CLIP_READ_OUT, device="cpu")
        assert isinstance(opened, ClipTeacher)
        if coarse:
            opened = _coarse(opened)
        self.teacher, self.tower = opened, tower_of(opened)
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
        tower = self.tower
        return dense_field(
            tower, view.image, lambda images: dense_tokens(tower, images, read_out), *shown_whole(self.teacher, None)
        )

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
        started, tower, settings = time.monotonic(), self.tower, self.teacher.settings
        matrices = {name: ConfusionMatrix(CLASS_NAMES) for name in self._read_outs}
        for view in views_of(self.rooms(seed), self.sizes.views):
            passes: dict[float | None, ReplayedPasses] = {}
            for name, (read_out, whole) in self._read_outs.items():
                replayed = passes.setdefault(whole, ReplayedPasses(tower))
                resize, windows = shown_whole(self.teacher, whole)
                field = dense_field(tower, view.image, replayed.features_of(read_out), resize, windows)
                said = classify_pixels(field, self.question, settings.logit_scale)[0]
                matrices[name].update(said, view.truth.class_ids)
        for name, matrix in matrices.items():
            self._found[name, seed] = self.outcome(matrix, started, 0)

    def control(self) -> Arm:
        """The window's image-level embedding painted on the whole window."""
        tower, settings = self.tower, self.teacher.settings

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
            tower, shown = self.tower, shown_whole(self.teacher, whole)
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
                said, segments = self._said_of_points(found, points, read_out)
                sets += segments
                for kind, ids in said.items():
                    matrices[kind].update(ids, points.class_ids)
            base = self.outcome(matrices["set_vote"], started, self.sizes.rooms * self.sizes.views)
            extra = {f"{kind}_miou": 100 * matrix.scores().miou for kind, matrix in matrices.items()}
            extra |= {f"{kind}_accuracy": 100 * matrix.scores().all_accuracy for kind, matrix in matrices.items()}
            return Outcome(
                {**base.metrics, **extra, "segments_per_room": sets / self.sizes.rooms}, bytes_on_disk=base.bytes_on_disk
            )

        return Arm("points", self.described(read_out=[name_of(read_out), asdict(read_out)], segments="smooth_segments"), run)

    def _said_of_points(
        self, found: RoomViews, points: Points, read_out: ReadOutSettings
    ) -> tuple[dict[str, Int[np.ndarray, " n"]], int]:
        """Class of each point by every kind of vote, and the number of segments."""
        shown = visible_pixels(points.points_in_world, [view.frame for view in found.views])
        maps = [
            LabelField(*classify_pixels(self.field(view, read_out), self.question, self.teacher.logit_scale))
            for view in found.views
        ]
        votes = vote_histogram(shown, maps.__getitem__, len(CLASS_NAMES))
        one = np.full(len(points.class_ids), -1, dtype=np.int32)
        order = np.arange(len(shown))[::-1]  # the first view that shows a point wins
        one[shown.element[order]] = [
            maps[v].class_ids[r, c] for v, r, c in zip(shown.view[order], shown.row[order], shown.column[order])
        ]
        cloud = points.points_in_world
        settings = smooth_segments(cloud, 1.0, colored=True)
        partition = point_segments(cloud, viewpoints=points.viewpoints, colors_u8=points.colors_u8, settings=settings)
        truth = Partition.from_any_ids(points.instance_ids, "truth")
        said = {
            "one_view": one,
            "view_vote": votes.winner()[0].class_ids,
            "set_vote": MajorityVote().of_histogram(votes, partition).class_ids,
            "oracle_vote": MajorityVote().of_histogram(votes, truth).class_ids,
            "purity": MajorityVote()(LabelField.certain(points.class_ids), partition).class_ids,
        }
        return said, partition.count

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

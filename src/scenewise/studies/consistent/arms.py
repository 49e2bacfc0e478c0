"""Pre-training arms and everything that is measured of what they gave."""

import copy
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scenewise.engine.randomness import keyed_seed
from scenewise.engine.threads import torch_threads
from scenewise.engine.training import run_steps
from scenewise.methods.condense.batches import consistency_batch, projected
from scenewise.methods.condense.options import CondenseConfig
from scenewise.methods.condense.trainer import CondenseTrainer, shape_of
from scenewise.networks.consistent.pair import ConsistentPair
from scenewise.parts.scans.posed_scans import PosedScan
from scenewise.studies.arms import Outcome
from scenewise.studies.consistent.measuring import (
    agreement_of_branches,
    figures_2d,
    probe_2d,
    probe_figures,
    sampled,
    share_of,
    text_figures,
    text_miou,
    tuned_figures,
)
from scenewise.studies.consistent.pictures2d import RoomPictures, agreement, at_pixels, boundary_sharpness
from scenewise.studies.consistent.probing import LabelledCloud, LabelledFeatures, probe_miou
from scenewise.studies.consistent.repeating import grid_pixels, random_pixels, repeatability
from scenewise.studies.consistent.rooms import (
    OtherPictures,
    StudyRooms,
    frozen_tower,
    small_clip,
    study_rooms,
)
from scenewise.studies.consistent.sizes import CondenseSizes
from scenewise.teachers.clip_teacher import ClipTeacher
from scenewise.teachers.consistent import ConsistentFeatures, open_pair
from scenewise.teachers.consistent_file import AboutPair, PairFile


@dataclass(frozen=True)
class PretrainingArm:
    """One way to begin.

    Attributes:
        changes: of the study's configuration; None: nothing is trained, the network stays as it was drawn.
        losses: changed weights.
        tunes: whether fine-tuning is measured as well.
        is_embedded: the packaged pair, which learned longer and elsewhere, as it is.
        most_seeds: of those of the study.
        other_pictures: every scan has the pictures of another one: a placebo, from which nothing about pictures can be learned.
    """

    changes: Mapping[str, Any] | None = field(default_factory=dict)
    losses: Mapping[str, float] = field(default_factory=dict)
    tunes: bool = False
    other_pictures: bool = False
    is_embedded: bool = False
    most_seeds: int | None = None

    def config(self, sizes: CondenseSizes) -> CondenseConfig:
        """Of pre-training."""
        base = replace(sizes.config, voxel=open_pair("condense").about.voxel) if self.is_embedded else sizes.config
        return replace(base, losses=replace(base.losses, **self.losses), **(self.changes or {}))


ARMS: Mapping[str, PretrainingArm] = {
    "condense": PretrainingArm(tunes=True),
    "no_prior": PretrainingArm(losses={"prior": 0.0, "rendered_prior": 0.0}),
    "no_rendered_prior": PretrainingArm(losses={"rendered_prior": 0.0}, most_seeds=1),
    "consistency_and_prior": PretrainingArm(losses={"contrast": 0.0, "consistency": 1.0, "rendered_prior": 0.0}),
    "consistency_alone": PretrainingArm(losses={"contrast": 0.0, "consistency": 1.0, "prior": 0.0, "rendered_prior": 0.0}),
    "no_agreement": PretrainingArm(losses={"agreement": 0.0}, most_seeds=1),
    "point_contrast": PretrainingArm({"objective": "point_contrast"}, tunes=True),
    "colour_rendering": PretrainingArm({"objective": "colour_rendering"}, tunes=True),
    "other_pictures": PretrainingArm(other_pictures=True),
    "scratch": PretrainingArm(None, tunes=True),
    "embedded": PretrainingArm(tunes=True, is_embedded=True, most_seeds=1),
}
"""By name; "lifting" needs no network and is measured apart."""


def pretrained(arm: PretrainingArm, sizes: CondenseSizes, rooms: StudyRooms, seed: int) -> tuple[ConsistentPair, float, int]:
    """The pair that an arm gives, seconds of training, and numbers trained."""
    frozen = frozen_tower(half=True)
    config = arm.config(sizes)
    if arm.is_embedded:
        return open_pair("condense").pair, 0.0, 0
    if arm.changes is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(keyed_seed(seed, "initialisation"))
            pair = ConsistentPair(shape_of(config, frozen), frozen.tower.dim)
        return _settled(pair, rooms, config), 0.0, 0
    scans = OtherPictures(rooms.learned) if arm.other_pictures else rooms.learned
    taught = CondenseTrainer(config, scans, frozen, seed, precision="bfloat16")
    began = time.monotonic()
    run_steps(taught)
    return taught.average.eval(), time.monotonic() - began, taught.parameters_trained


def _settled(pair: ConsistentPair, rooms: StudyRooms, config: CondenseConfig) -> ConsistentPair:
    """Statistics of batch norm of an untrained network from its rooms, so that its features are not all alike."""
    pair.train()
    with torch.no_grad():
        for step in range(20):
            number = step % len(rooms.learned)
            pair.points(consistency_batch([(number, rooms.learned[number])], config, 0, step).cloud)
    return pair.eval()


def model_of(pair: ConsistentPair, config: CondenseConfig, teacher: ClipTeacher) -> ConsistentFeatures:
    """A pair in use, without a file."""
    about = AboutPair(
        teacher.name, teacher.clip.fingerprint, teacher.clip.tower.dim, config.voxel, config.picture_width, None, {}
    )
    return ConsistentFeatures(PairFile(pair.eval().requires_grad_(False), about, "in memory"), teacher, "condense")


def pretraining_outcome(arm: PretrainingArm, sizes: CondenseSizes, seed: int, folder: Path) -> Outcome:
    """Trains an arm and measures everything."""
    with torch_threads(1):
        rooms = study_rooms(sizes, seed, folder)
        pair, seconds, trained = pretrained(arm, sizes, rooms, seed)
        config = arm.config(sizes)
        model = model_of(copy.deepcopy(pair), config, small_clip())
        metrics: dict[str, float | None] = {}
        if config.objective == "condense":
            metrics |= agreement_of_branches(pair, config, rooms, seed)
            metrics |= figures_2d(model, rooms, seed)
            metrics |= text_figures(model, rooms)
        metrics |= probe_figures(model, sizes, rooms, seed)
        if arm.tunes:
            metrics |= tuned_figures(pair, config, sizes, rooms, seed)
    deployed = sum(parameter.numel() for parameter in pair.points.backbone.parameters())
    return Outcome(metrics, trained, deployed, seconds)


def lifting_outcome(sizes: CondenseSizes, seed: int, folder: Path) -> Outcome:
    """What the frozen 2D features give when they are averaged over the pixels that show each point, without learning."""
    with torch_threads(1):
        rooms = study_rooms(sizes, seed, folder)
        learned = [
            lifted(rooms.learned[index], cloud, sizes.probe_points, seed) for index, cloud in enumerate(rooms.learned_clouds)
        ]
        measured = [lifted(scan, cloud, None, seed) for scan, cloud in zip(rooms.measured, rooms.measured_clouds)]
        metrics: dict[str, float | None] = {}
        for share in sizes.shares:
            metrics[f"probe {share:.0%}"] = probe_miou(share_of(learned, share), measured, seed)
        before = [
            RoomPictures(scan, scan.prior.astype(np.float32), pixels)
            for scan, pixels in zip(rooms.measured, rooms.measured_pixels)
        ]
        metrics |= {f"2D {name}": value for name, value in agreement(before, seed).items()}
        metrics["2D sharpness"] = boundary_sharpness(before)
        metrics["2D probe"] = probe_2d(before, seed)
        metrics["text mIoU"] = text_miou(
            [each.features for each in measured], [each.class_ids for each in measured], small_clip()
        )
        metrics["repeats random"] = repeatability(rooms.measured, random_pixels(seed))
        metrics["repeats grid"] = repeatability(rooms.measured, grid_pixels)
    return Outcome(metrics)


def lifted(scan: PosedScan, cloud: LabelledCloud, count: int | None, seed: int) -> LabelledFeatures:
    """Mean prior of the pixels that show each of some points; points that none shows are left out."""
    rows = sampled(len(cloud.points), count, seed)
    points = torch.from_numpy(cloud.points[rows])
    size = (scan.pictures_u8.shape[1], scan.pictures_u8.shape[2])
    sums = np.zeros((len(rows), scan.prior.shape[3]), dtype=np.float32)
    counts = np.zeros(len(rows))
    for view in range(len(scan.pictures_u8)):
        seen, pixels = projected(scan, view, points, size)
        shown = seen.numpy()
        sums[shown] += at_pixels(scan.prior[view].astype(np.float32), pixels[seen], size)
        counts[shown] += 1
    known = counts > 0
    return LabelledFeatures(sums[known] / counts[known, None].astype(np.float32), cloud.class_ids[rows][known])

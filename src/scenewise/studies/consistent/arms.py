"""Pre-training arms and everything that is measured of what they gave."""

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, final

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from scenewise.engine.randomness import keyed_seed
from scenewise.engine.threads import torch_threads
from scenewise.engine.training import run_steps
from scenewise.methods.condense.batches import ConsistencyBatch, consistency_batch, projected
from scenewise.methods.condense.objective import effective_rank
from scenewise.methods.condense.objectives import ray_features
from scenewise.methods.condense.options import CondenseConfig
from scenewise.methods.condense.rendered import Rendered, rendered
from scenewise.methods.condense.trainer import CondenseTrainer, PosedScans, shape_of
from scenewise.metrics.segmentation import ConfusionMatrix
from scenewise.networks.consistent.pair import ConsistentPair
from scenewise.networks.sparse_inputs import VoxelisedPoints
from scenewise.parts.retrieval.keypoints import picture_keypoints
from scenewise.parts.scans.posed_files import PosedScanFiles
from scenewise.parts.scans.posed_scans import PosedScan
from scenewise.rendering.densities import surface_densities
from scenewise.rendering.march import DepthSampling, FeatureVolume, PixelRays, march, sample_depths
from scenewise.studies.arms import Outcome
from scenewise.studies.consistent.pictures2d import RoomPictures, agreement, at_pixels, boundary_sharpness
from scenewise.studies.consistent.probing import LabelledCloud, LabelledFeatures, probe_miou, tuned_miou
from scenewise.studies.consistent.repeating import KEY_POINTS, grid_pixels, random_pixels, repeatability
from scenewise.studies.consistent.rooms import frozen_tower, labelled_room, make_truths, posed_rooms, small_clip
from scenewise.studies.consistent.sizes import CondenseSizes
from scenewise.teachers.clip_teacher import ClipTeacher
from scenewise.teachers.consistent import ConsistentFeatures, open_pair
from scenewise.teachers.consistent_file import AboutPair, PairFile
from scenewise.worlds.classes import CLASS_NAMES

_Room = TypeVar("_Room")
_RAYS_VIEWS = 6  # of each measured room
_PROBED_PIXELS = 400  # of each view


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


@dataclass(frozen=True)
class StudyRooms:
    """Rooms of one seed.

    Attributes:
        learned: posed scans.
        learned_clouds: with truth, in the same order.
        measured: other rooms.
        measured_clouds: with truth.
        measured_pixels: truth of their pixels.
    """

    learned: PosedScanFiles
    learned_clouds: Sequence[LabelledCloud]
    measured: Sequence[PosedScan]
    measured_clouds: Sequence[LabelledCloud]
    measured_pixels: Sequence[Int64[np.ndarray, "views height width"]]


@final
class OtherPictures:
    """Scans of which each has the photographs of the next one, with the depths and cameras of its own.

    Args:
        scans: of one size of pictures.
    """

    def __init__(self, scans: PosedScans) -> None:
        self._scans, self.weights = scans, scans.weights

    @property
    def fingerprint(self) -> str:
        """Of the scans, and that their pictures are others'."""
        return f"other pictures of {self._scans.fingerprint}"

    def __len__(self) -> int:
        return len(self._scans)

    def __getitem__(self, index: int) -> PosedScan:
        own, other = self._scans[index], self._scans[(index + 1) % len(self._scans)]
        return replace(own, pictures_u8=other.pictures_u8, prior=other.prior)


def ready_rooms(sizes: CondenseSizes, folder: Path, jobs: int) -> None:
    """Scans all rooms of the study, in several processes."""
    rooms = [*sizes.all_learned_rooms(), *sizes.measured_rooms()]
    posed_rooms(rooms, sizes.scans, folder, jobs)
    make_truths(rooms, sizes.scans, folder, jobs)


def study_rooms(sizes: CondenseSizes, seed: int, folder: Path) -> StudyRooms:
    """Reads, or makes, the rooms of a seed."""
    learned = sizes.learned_rooms(seed)
    measured = posed_rooms(sizes.measured_rooms(), sizes.scans, folder)
    known = [labelled_room(room, sizes.scans, folder) for room in sizes.measured_rooms()]
    return StudyRooms(
        learned=posed_rooms(learned, sizes.scans, folder),
        learned_clouds=[labelled_room(room, sizes.scans, folder).cloud for room in learned],
        measured=[measured[index] for index in range(len(measured))],
        measured_clouds=[each.cloud for each in known],
        measured_pixels=[each.pixel_class_ids for each in known],
    )


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
            metrics[f"probe {share:.0%}"] = probe_miou(_share(learned, share), measured, seed)
        before = [
            RoomPictures(scan, scan.prior.astype(np.float32), pixels)
            for scan, pixels in zip(rooms.measured, rooms.measured_pixels)
        ]
        metrics |= {f"2D {name}": value for name, value in agreement(before, seed).items()}
        metrics["2D sharpness"] = boundary_sharpness(before)
        metrics["2D probe"] = _probe_2d(before, seed)
        metrics["text mIoU"] = _text_miou(
            [each.features for each in measured], [each.class_ids for each in measured], small_clip()
        )
        metrics["repeats random"] = repeatability(rooms.measured, random_pixels(seed))
        metrics["repeats grid"] = repeatability(rooms.measured, grid_pixels)
    return Outcome(metrics)


def lifted(scan: PosedScan, cloud: LabelledCloud, count: int | None, seed: int) -> LabelledFeatures:
    """Mean prior of the pixels that show each of some points; points that none shows are left out."""
    rows = _sample(len(cloud.points), count, seed)
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


# ------------------------------------------------------------------------------------------------------------- measurements


@torch.no_grad()
def agreement_of_branches(pair: ConsistentPair, config: CondenseConfig, rooms: StudyRooms, seed: int) -> dict[str, float | None]:
    """On views of rooms that nothing was learned from: cosine of rendered 3D and 2D features, their effective ranks, and whether
    marching and rasterising give the same.

    Rays whose depth is known pass by what stands before it at the edges of things, which the rasteriser cannot; so it is compared
    with rays that are sampled all along, two samples in a voxel, as well as with those of training.
    """
    frozen = frozen_tower()
    shown = replace(config, views_per_scan=_RAYS_VIEWS, rays=replace(config.rays, detailed=0.0))
    cosines, image, volume, same, guided = [], [], [], [], []
    pair.eval()
    for number, scan in enumerate(rooms.measured):
        batch = consistency_batch([(number, scan)], shown, seed, 0, varied=False)
        rays, _ = ray_features(batch, pair, frozen, shown)
        kept = rays.stopped
        cosines.append((rays.image[kept] * rays.volume[kept]).sum(1))
        image.append(rays.image[kept])
        volume.append(rays.volume[kept])
        features = pair.points(batch.cloud).features
        rasterised = rendered(batch, features, replace(shown.rays, renderer="rasterised"), config.voxel)
        same.append(_alike(_marched_all_along(batch, features, config.voxel), rasterised))
        guided.append(_alike(rendered(batch, features, replace(shown.rays, renderer="marched"), config.voxel), rasterised))
    return {
        "cosine": float(torch.cat(cosines).mean()),
        "rank 2D": effective_rank(torch.cat(image)),
        "rank 3D": effective_rank(torch.cat(volume)),
        "marched against rasterised": float(torch.cat(same).mean()),
        "guided against rasterised": float(torch.cat(guided).mean()),
    }


def _marched_all_along(batch: ConsistencyBatch, features: Float[Tensor, "voxels dim"], voxel: float) -> Rendered:
    grid, rays = batch.cloud.voxels.grid, batch.rays
    volume = FeatureVolume(grid, features, surface_densities(grid, voxel), voxel, batch.shifts)
    far = 1.5 * float(rays.depth.max())
    sampling = DepthSampling(guided=0, uniform=max(2, round(2.0 * far / voxel)), near=0.1, far=far)
    looking = PixelRays(rays.origin.double(), rays.direction.double(), rays.scan)
    got = march(volume, looking, sample_depths(torch.zeros_like(rays.depth), sampling))
    return Rendered(got.features, got.alpha)


def _alike(first: Rendered, second: Rendered) -> Float[Tensor, "solid"]:
    """Cosines on the rays that both see end."""
    solid = (first.alpha > 0.5) & (second.alpha > 0.5)
    return torch.cosine_similarity(first.features[solid], second.features[solid], dim=1)


def figures_2d(model: ConsistentFeatures, rooms: StudyRooms, seed: int) -> dict[str, float | None]:
    """Of the 2D branch: agreement of views, edges, a linear probe, and how well its key points repeat."""
    seen = [[model.of_picture(picture) for picture in scan.pictures_u8] for scan in rooms.measured]
    after = [
        RoomPictures(scan, np.stack([view.features for view in views]), pixels)
        for scan, views, pixels in zip(rooms.measured, seen, rooms.measured_pixels)
    ]
    chosen = {
        id(scan): [picture_keypoints(view, KEY_POINTS).positions for view in views] for scan, views in zip(rooms.measured, seen)
    }
    found: dict[str, float | None] = {f"2D {name}": value for name, value in agreement(after, seed).items()}
    found["2D sharpness"] = boundary_sharpness(after)
    found["2D probe"] = _probe_2d(after, seed)
    found["repeats"] = repeatability(rooms.measured, lambda scan, view: chosen[id(scan)][view])
    return found


def _probe_2d(rooms: Sequence[RoomPictures], seed: int) -> float:
    """mIoU of a linear classifier of pixels: fitted on every other room, measured on the rest."""
    sets = []
    for number, room in enumerate(rooms):
        rng = np.random.Generator(np.random.PCG64([seed, number, 43]))
        size = room.class_ids.shape[1:]
        features, labels = [], []
        for held, truth in zip(room.features, room.class_ids):
            rows, columns = rng.integers(size[0], size=_PROBED_PIXELS), rng.integers(size[1], size=_PROBED_PIXELS)
            known = truth[rows, columns] >= 0
            pixels = torch.from_numpy(np.stack([columns[known] + 0.5, rows[known] + 0.5], axis=1)).float()
            features.append(at_pixels(held, pixels, (size[0], size[1])))
            labels.append(truth[rows[known], columns[known]])
        sets.append(LabelledFeatures(np.concatenate(features), np.concatenate(labels)))
    return probe_miou(sets[::2], sets[1::2], seed)


def text_figures(model: ConsistentFeatures, rooms: StudyRooms) -> dict[str, float | None]:
    """mIoU of points of the measured rooms named by words alone, from the 3D branch."""
    clouds = [model.of_points(cloud.points, cloud.colors_u8) for cloud in rooms.measured_clouds]
    features = [model.translated(each.features)[each.voxel_of_point] for each in clouds]
    return {"text mIoU": _text_miou(features, [cloud.class_ids for cloud in rooms.measured_clouds], small_clip())}


def _text_miou(
    features: Sequence[Float32[np.ndarray, "_ dim"]], truth: Sequence[Int64[np.ndarray, "_"]], teacher: ClipTeacher
) -> float:
    words = teacher.embed_text(CLASS_NAMES, teacher.default_templates())
    confusion = ConfusionMatrix(CLASS_NAMES)
    for held, labels in zip(features, truth):
        confusion.update((held @ words.T).argmax(axis=1), labels)
    return 100.0 * confusion.scores().miou


def probe_figures(model: ConsistentFeatures, sizes: CondenseSizes, rooms: StudyRooms, seed: int) -> dict[str, float | None]:
    """Linear probes of the frozen 3D branch's backbone, by the share of the rooms that have labels."""
    learned = [_backbone_features(model, cloud, sizes.probe_points, seed) for cloud in rooms.learned_clouds]
    measured = [_backbone_features(model, cloud, None, seed) for cloud in rooms.measured_clouds]
    return {f"probe {share:.0%}": probe_miou(_share(learned, share), measured, seed) for share in sizes.shares}


@torch.no_grad()
def _backbone_features(model: ConsistentFeatures, cloud: LabelledCloud, count: int | None, seed: int) -> LabelledFeatures:
    """What the backbone says of some points, before its projection: the same channels whatever it was trained for."""
    held = backbone_features(model, cloud.points, cloud.colors_u8)
    rows = _sample(len(cloud.points), count, seed)
    return LabelledFeatures(held[rows], cloud.class_ids[rows])


def backbone_features(
    model: ConsistentFeatures, points: Float32[np.ndarray, "n 3"], colors_u8: np.ndarray
) -> Float32[np.ndarray, "n channels"]:
    """Of every point."""
    local = torch.from_numpy(points - points.min(axis=0)) / model.about.voxel
    inputs = torch.from_numpy(colors_u8).float() / 127.5 - 1.0
    cloud = VoxelisedPoints.from_points(inputs, local, torch.zeros(len(points), dtype=torch.int64))
    features: Float32[np.ndarray, "n channels"] = model.pair.points.backbone(cloud).numpy()
    return features


def tuned_figures(
    pair: ConsistentPair, config: CondenseConfig, sizes: CondenseSizes, rooms: StudyRooms, seed: int
) -> dict[str, float | None]:
    """Fine-tuning, by the share of the rooms that have labels."""
    return {
        f"tuned {share:.0%}": tuned_miou(
            copy.deepcopy(pair.points).requires_grad_(True),
            _share(rooms.learned_clouds, share),
            rooms.measured_clouds,
            voxel=config.voxel,
            steps=sizes.tune_steps,
            rooms=sizes.tune_rooms,
            seed=seed,
        )
        for share in sizes.shares
    }


def _share(rooms: Sequence[_Room], share: float) -> Sequence[_Room]:
    return rooms[: max(1, round(share * len(rooms)))]


def _sample(total: int, count: int | None, seed: int) -> Int64[np.ndarray, "rows"]:
    if count is None or count >= total:
        return np.arange(total)
    rng = np.random.Generator(np.random.PCG64([seed, total]))
    return np.sort(rng.permutation(total)[:count])

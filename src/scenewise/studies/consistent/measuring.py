"""What is measured of a pair of branches on the rooms of the study."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from scenewise.methods.condense.batches import ConsistencyBatch, consistency_batch
from scenewise.methods.condense.objective import effective_rank
from scenewise.methods.condense.objectives import ray_features
from scenewise.methods.condense.options import CondenseConfig
from scenewise.methods.condense.rendered import Rendered, rendered
from scenewise.metrics.segmentation import ConfusionMatrix
from scenewise.networks.consistent.pair import ConsistentPair
from scenewise.networks.sparse_inputs import VoxelisedPoints
from scenewise.parts.retrieval.keypoints import picture_keypoints
from scenewise.rendering.densities import surface_densities
from scenewise.rendering.march import DepthSampling, FeatureVolume, PixelRays, march, sample_depths
from scenewise.studies.consistent.pictures2d import RoomPictures, agreement, at_pixels, boundary_sharpness
from scenewise.studies.consistent.probing import LabelledCloud, LabelledFeatures, probe_miou, tuned_miou
from scenewise.studies.consistent.repeating import KEY_POINTS, repeatability
from scenewise.studies.consistent.rooms import StudyRooms, frozen_tower, small_clip
from scenewise.studies.consistent.sizes import CondenseSizes
from scenewise.teachers.clip_teacher import ClipTeacher
from scenewise.teachers.consistent import ConsistentFeatures
from scenewise.worlds.classes import CLASS_NAMES

_Room = TypeVar("_Room")
_RAYS_VIEWS = 6  # of each measured room
_PROBED_PIXELS = 400  # of each view


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
    found["2D probe"] = probe_2d(after, seed)
    found["repeats"] = repeatability(rooms.measured, lambda scan, view: chosen[id(scan)][view])
    return found


def probe_2d(rooms: Sequence[RoomPictures], seed: int) -> float:
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
    return {"text mIoU": text_miou(features, [cloud.class_ids for cloud in rooms.measured_clouds], small_clip())}


def text_miou(
    features: Sequence[Float32[np.ndarray, "_ dim"]], truth: Sequence[Int64[np.ndarray, "_"]], teacher: ClipTeacher
) -> float:
    """mIoU in per cent of points named by the class whose words their features are most like."""
    words = teacher.embed_text(CLASS_NAMES, teacher.default_templates())
    confusion = ConfusionMatrix(CLASS_NAMES)
    for held, labels in zip(features, truth):
        confusion.update((held @ words.T).argmax(axis=1), labels)
    return 100.0 * confusion.scores().miou


def probe_figures(model: ConsistentFeatures, sizes: CondenseSizes, rooms: StudyRooms, seed: int) -> dict[str, float | None]:
    """Linear probes of the frozen 3D branch's backbone, by the share of the rooms that have labels."""
    learned = [_backbone_features(model, cloud, sizes.probe_points, seed) for cloud in rooms.learned_clouds]
    measured = [_backbone_features(model, cloud, None, seed) for cloud in rooms.measured_clouds]
    return {f"probe {share:.0%}": probe_miou(share_of(learned, share), measured, seed) for share in sizes.shares}


@torch.no_grad()
def _backbone_features(model: ConsistentFeatures, cloud: LabelledCloud, count: int | None, seed: int) -> LabelledFeatures:
    """What the backbone says of some points, before its projection: the same channels whatever it was trained for."""
    held = backbone_features(model, cloud.points, cloud.colors_u8)
    rows = sampled(len(cloud.points), count, seed)
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
            share_of(rooms.learned_clouds, share),
            rooms.measured_clouds,
            voxel=config.voxel,
            steps=sizes.tune_steps,
            rooms=sizes.tune_rooms,
            seed=seed,
        )
        for share in sizes.shares
    }


def share_of(rooms: Sequence[_Room], share: float) -> Sequence[_Room]:
    """The first of some rooms, at least one."""
    return rooms[: max(1, round(share * len(rooms)))]


def sampled(total: int, count: int | None, seed: int) -> Int64[np.ndarray, "rows"]:
    """Rows drawn without repetition, ascending; all where no count is given."""
    if count is None or count >= total:
        return np.arange(total)
    rng = np.random.Generator(np.random.PCG64([seed, total]))
    return np.sort(rng.permutation(total)[:count])

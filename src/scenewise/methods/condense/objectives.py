"""What a step minimises: ConDense's losses, or those of the two objectives that it is compared with on the same 3D network."""

from collections.abc import Callable, Mapping
from dataclasses import fields

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from scenewise.methods.condense.batches import ConsistencyBatch
from scenewise.methods.condense.comparisons import color_rendering, point_contrast
from scenewise.methods.condense.learning import FrozenTower, Learner, StepLosses
from scenewise.methods.condense.objective import RayFeatures, prior_loss, ray_losses
from scenewise.methods.condense.options import CondenseConfig, LossWeights
from scenewise.methods.condense.rendered import rendered
from scenewise.networks.consistent.image_branch import ImageFeatures
from scenewise.networks.consistent.pair import ConsistentPair
from scenewise.teachers.tower_maps import tower_maps

_RISING = ("consistency", "agreement")


def losses_of(batch: ConsistencyBatch, learner: Learner, step: int) -> StepLosses:
    """What this process adds to the loss of a step."""
    return _OBJECTIVES[learner.config.objective](batch, learner, step)


def image_features(pair: ConsistentPair, frozen: FrozenTower, pictures: Float[Tensor, "views 3 height width"]) -> ImageFeatures:
    """What the 2D branch says of pictures in [0, 1]."""
    features: ImageFeatures = pair.image(pictures, tower_maps(frozen.tower, pictures, pair.shape.read_levels, half=frozen.half))
    return features


def ray_features(
    batch: ConsistencyBatch, pair: ConsistentPair, frozen: FrozenTower, config: CondenseConfig
) -> tuple[RayFeatures, list[ImageFeatures]]:
    """What both branches say about the rays of a batch, and the whole pictures of the 2D branch."""
    seen = [image_features(pair, frozen, pictures) for pictures in batch.pictures]
    of_points = pair.points(batch.cloud)
    held = torch.cat([of_points.features, torch.sigmoid(of_points.score_logits)[:, None]], dim=1)
    got = rendered(batch, held, config.rays, config.voxel)
    alpha = got.alpha.detach().clamp_min(1e-6)[:, None]
    rays = batch.rays
    image, logits = _sampled(seen, rays.view, rays.pixel, batch)
    twin, _ = _sampled(seen, rays.twin_view.clamp_min(0), rays.twin_pixel, batch)
    return (
        RayFeatures(
            image=image,
            volume=F.normalize(got.features[:, :-1], dim=1),
            image_logits=logits,
            volume_scores=(got.features[:, -1:] / alpha)[:, 0],
            twin=twin,
            has_twin=rays.twin_view >= 0,
            stopped=got.alpha.detach() >= config.rays.least_alpha,
            point=rays.point,
            scan=rays.scan,
        ),
        seen,
    )


def _sampled(
    seen: list[ImageFeatures], views: Int64[Tensor, "m"], pixels: Float[Tensor, "m 2"], batch: ConsistencyBatch
) -> tuple[Float[Tensor, "m dim"], Float[Tensor, "m"]]:
    """Unit features and score logits between the cells around pixels."""
    both = at_pixels([torch.cat([maps.features, maps.score_logits[:, None]], dim=1) for maps in seen], views, pixels, batch)
    return F.normalize(both[:, :-1], dim=1), both[:, -1]


def at_pixels(
    maps: list[Float[Tensor, "_views channels _rows _columns"]],
    views: Int64[Tensor, "m"],
    pixels: Float[Tensor, "m 2"],
    batch: ConsistencyBatch,
) -> Float[Tensor, "m channels"]:
    """Values between the cells around pixels, of maps that cover the pictures of each scan."""
    found = torch.zeros(len(views), maps[0].shape[1], device=pixels.device)
    first = 0
    for held, pictures in zip(maps, batch.pictures):
        size = pixels.new_tensor([pictures.shape[3], pictures.shape[2]])
        for view in range(len(pictures)):
            rows = torch.nonzero(views == first + view)[:, 0]
            if not len(rows):
                continue
            at = (2.0 * pixels[rows] / size - 1.0)[None, None]
            values = F.grid_sample(held[view][None], at, mode="bilinear", padding_mode="border", align_corners=False)[0, :, 0].T
            found = found.index_copy(0, rows, values)
        first += len(pictures)
    return found


def _condense(batch: ConsistencyBatch, learner: Learner, step: int) -> StepLosses:
    config, pair = learner.config, learner.pair
    rays, seen = ray_features(batch, pair, learner.frozen, config)
    found = ray_losses(rays, config, learner.memory, learner.ranks)
    learner.memory = learner.memory.with_rays(rays, config.remembered, learner.ranks)
    if config.losses.prior > 0:
        found["prior"] = _prior(batch, seen, learner)
    if config.losses.rendered_prior > 0:
        found["rendered_prior"] = _rendered_prior(batch, rays, learner)
    figures = {name.removeprefix("figures."): float(value) for name, value in found.items() if name.startswith("figures.")}
    terms = {entry.name: found[entry.name] for entry in fields(LossWeights) if entry.name in found}
    risen = min(1.0, step / max(1.0, config.settled * config.steps))
    weights = {name: getattr(config.losses, name) * (risen if name in _RISING else 1.0) for name in terms}
    total = torch.stack([weights[name] * value for name, value in terms.items()]).sum()
    return StepLosses(total, {name: value.detach() for name, value in terms.items()}, figures)


def _prior(batch: ConsistencyBatch, seen: list[ImageFeatures], learner: Learner) -> Tensor:
    """Over the cells of the prior's grid."""
    cells = [float(prior.shape[0] * prior.shape[1] * prior.shape[2]) for prior in batch.priors]
    count = learner.ranks.total([sum(cells)])[0]
    found = []
    for maps, prior in zip(seen, batch.priors):
        ours = F.adaptive_avg_pool2d(maps.features, (prior.shape[1], prior.shape[2])).permute(0, 2, 3, 1).flatten(0, 2)
        told = learner.pair.translated(ours)
        found.append(prior_loss(told, prior.float().flatten(0, 2), learner.prior.variance, count))
    return torch.stack(found).sum()


def _rendered_prior(batch: ConsistencyBatch, found: RayFeatures, learner: Learner) -> Tensor:
    """Over the rays that the volume stops; the prior between the cells around their pixels."""
    kept = found.stopped
    count = max(1.0, learner.ranks.total([float(kept.sum())])[0])
    maps = [prior.float().permute(0, 3, 1, 2) for prior in batch.priors]
    told = at_pixels(maps, batch.rays.view, batch.rays.pixel, batch)
    return prior_loss(learner.pair.translated(found.volume[kept]), told[kept], learner.prior.variance, count)


_OBJECTIVES: Mapping[str, Callable[[ConsistencyBatch, Learner, int], StepLosses]] = {
    "condense": _condense,
    "point_contrast": point_contrast,
    "colour_rendering": color_rendering,
}

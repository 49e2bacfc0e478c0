"""A training step made up from nothing: points in sets, pictures that show some of them, students that are one linear layer."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from scenewise.networks.sparse_inputs import VoxelisedPoints
from scenewise.parts.labelfree.batches import PictureBatch, PixelLinks, TrainingBatch
from scenewise.parts.labelfree.steps import LossContext, StudentOutput
from scenewise.parts.labelfree.supervision import Modality, Supervision

HEIGHT, WIDTH, GRID = 12, 16, (3, 4)


def made_batch(
    seed: int = 0,
    *,
    counts: tuple[int, ...] = (60, 45),
    scans: tuple[int, ...] | None = None,
    classes: int = 5,
    views_per_scan: int = 2,
    links: int = 80,
    channels: int = 6,
) -> TrainingBatch:
    """Random scans; every fifth point has no label, every seventh no set; sets and regions are numbered across the batch."""
    g = torch.Generator().manual_seed(seed)
    n, views = sum(counts), views_per_scan * len(counts)
    first = torch.tensor([0, *torch.tensor(counts).cumsum(0).tolist()])
    batch = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    segments = torch.randint(0, 6, (n,), generator=g) + 6 * batch
    segments[::7] = -1
    positions = torch.rand(n, 3, generator=g) * 6 - 3
    labelled = torch.arange(n)[torch.arange(n) % 5 != 0]
    view = torch.randint(0, views, (links,), generator=g)
    begin, count = first[view // views_per_scan], torch.tensor(counts)[view // views_per_scan]
    point = begin + (torch.rand(links, generator=g) * (count - 3)).long()  # the last points of a scan are never seen
    regions = torch.randint(0, 4, (views, HEIGHT // 4, WIDTH // 4), generator=g).repeat_interleave(4, 1).repeat_interleave(4, 2)
    regions = torch.where(regions == 0, -1, regions - 1 + 3 * torch.arange(views)[:, None, None])
    return TrainingBatch(
        scans=tuple(range(10, 10 + len(counts))) if scans is None else scans,
        names=tuple(f"scan{number}" for number in range(len(counts))),
        cloud=VoxelisedPoints.from_points(torch.rand(n, 3, generator=g), positions, batch),
        first_point=first,
        segments=segments,
        points=Supervision(labelled, torch.randint(0, classes, (len(labelled),), generator=g)),
        pictures=PictureBatch(
            images=None,
            labels=torch.randint(-1, classes, (views, HEIGHT, WIDTH), generator=g),
            regions=regions,
            targets=torch.randn(views, channels, 6, 8, generator=g),
            scan=torch.arange(views) // views_per_scan,
        ),
        links=PixelLinks(
            point, view, torch.randint(0, HEIGHT, (links,), generator=g), torch.randint(0, WIDTH, (links,), generator=g)
        ),
    )


def unit_text(classes: int = 5, dim: int = 8, seed: int = 7) -> Tensor:
    """Embeddings of class names."""
    return nn.functional.normalize(torch.randn(classes, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def made_outputs(batch: TrainingBatch, *, dim: int = 8, latent: int = 5, seed: int = 3) -> dict[Modality, StudentOutput]:
    """Both students: random latents with a gradient, heads of their own."""
    g = torch.Generator().manual_seed(seed)
    outputs: dict[Modality, StudentOutput] = {}
    views = 0 if batch.pictures is None else len(batch.pictures.labels)
    for modality, rows, grid in (("points", len(batch.segments), None), ("pixels", views * GRID[0] * GRID[1], (views, *GRID))):
        head = nn.Linear(latent, dim)
        with torch.no_grad():
            head.weight.copy_(torch.randn(dim, latent, generator=g))
            head.bias.copy_(torch.randn(dim, generator=g))
        outputs[modality] = StudentOutput(None, torch.randn(rows, latent, generator=g).requires_grad_(), grid, head)
    return outputs


def made_context(
    batch: TrainingBatch | None = None,
    *,
    epoch: int = 1,
    seed: int = 11,
    outputs: Mapping[Modality, StudentOutput] | None = None,
    text: Tensor | None = None,
) -> LossContext:
    """A step whose supervision is the fixed one."""
    batch = made_batch() if batch is None else batch
    return LossContext(
        epoch=epoch,
        batch=batch,
        text=unit_text() if text is None else text,
        outputs=made_outputs(batch) if outputs is None else outputs,
        supervision={"points": batch.points},
        generator=torch.Generator().manual_seed(seed),
    )

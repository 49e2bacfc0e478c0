"""Anomalous tokens put in on purpose, to measure what a read-out loses by them and what a repair brings back.

Large CLIP models grow such tokens by themselves; small ones do not (benchmark noise "g": a few tokens that all say the same).
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from scenewise.errors import ConventionError
from scenewise.teachers.towers import LastBlock, TokenPass, TransparentTower, VisionTower


@dataclass(frozen=True)
class Anomalies:
    """What is put in.

    Attributes:
        fraction: of the patches of an image, at least one patch.
        scale: length of an anomalous token in multiples of the image's median patch, layer by layer.
        first_layer: index into ``TokenPass.hidden`` from which on tokens are anomalous; None for the second half, where large
            models have them.
    """

    fraction: float = 0.03
    scale: float = 8.0
    first_layer: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1 or not self.scale > 0:
            raise ConventionError("Anomalies", expected="0 < fraction < 1 and scale > 0", got=f"{self.fraction}, {self.scale}")


def random_positions(batch: int, patches: int, fraction: float, generator: torch.Generator) -> Bool[Tensor, "batch patches"]:
    """The same number of patches in every image, drawn image by image: four images at once or one by one get the same."""
    count = max(1, round(fraction * patches))
    chosen = torch.zeros(batch, patches, dtype=torch.bool)
    for image in range(batch):
        chosen[image, torch.randperm(patches, generator=generator)[:count]] = True
    return chosen


def random_direction(width: int, generator: torch.Generator) -> Float[Tensor, "width"]:
    """A unit vector, uniform on the sphere."""
    return functional.normalize(torch.randn(width, generator=generator, dtype=torch.float64), dim=0)


def inject_anomalies(
    tower_pass: TokenPass,
    positions: Bool[Tensor, "batch patches"],
    direction: Float[Tensor, "width"],
    anomalies: Anomalies | None = None,
) -> TokenPass:
    """A pass whose chosen patches are one long vector, scale · median norm · direction, from a layer on.

    Args:
        tower_pass: left as it is.
        positions: patches to replace, row by row, the class token not counted.
        direction: unit vector that all anomalies share; the mean token of a class makes them broadcast that class.
        anomalies: length and first layer; the fraction is not used here.
    """
    anomalies = Anomalies() if anomalies is None else anomalies
    start = len(tower_pass.hidden) // 2 if anomalies.first_layer is None else anomalies.first_layer
    patches = tower_pass.rows * tower_pass.columns

    def spoilt(tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        first = tokens.shape[1] - patches
        length = anomalies.scale * tokens[:, first:].norm(dim=-1).median(dim=1).values
        anomaly = length[:, None, None] * direction.to(tokens)
        kept = torch.where(positions.to(tokens.device)[:, :, None], anomaly, tokens[:, first:])
        return torch.cat([tokens[:, :first], kept], dim=1)

    hidden = tuple(spoilt(tokens) if index >= start else tokens for index, tokens in enumerate(tower_pass.hidden))
    return TokenPass(hidden, tower_pass.rows, tower_pass.columns)


@final
class TowerWithAnomalies:
    """A tower that returns anomalous tokens at random places of every image; its image-level embedding stays ordinary.

    Args:
        tower: the healthy tower.
        generator: draws the direction, once, and the places, image by image in the order of the calls.
        anomalies: how many, how long, from which layer.
        direction: shared by all anomalies; None for a random one.
    """

    def __init__(
        self,
        tower: VisionTower,
        generator: torch.Generator,
        anomalies: Anomalies | None = None,
        direction: Float[Tensor, "width"] | None = None,
    ) -> None:
        self._tower = tower
        self._generator = generator
        self._anomalies = Anomalies() if anomalies is None else anomalies
        self._direction = random_direction(tower.width, generator) if direction is None else direction

    @property
    def depth(self) -> int:
        return self._tower.depth

    @property
    def width(self) -> int:
        return self._tower.width

    @property
    def dim(self) -> int:
        return self._tower.dim

    @property
    def patch_size(self) -> int:
        return self._tower.patch_size

    @property
    def native_size(self) -> int:
        return self._tower.native_size

    @property
    def mean(self) -> tuple[float, float, float]:
        return self._tower.mean

    @property
    def std(self) -> tuple[float, float, float]:
        return self._tower.std

    @property
    def has_class_token(self) -> bool:
        return self._tower.has_class_token

    @property
    def last_block(self) -> LastBlock:
        return self._tower.last_block

    @property
    def blocks(self) -> tuple[LastBlock, ...]:
        """All blocks where the tower shows them, else the last alone."""
        return tuple(self._tower.blocks) if isinstance(self._tower, TransparentTower) else (self._tower.last_block,)

    def tokens(self, images: Float[Tensor, "batch 3 height width"]) -> TokenPass:
        healthy = self._tower.tokens(images)
        patches = healthy.rows * healthy.columns
        positions = random_positions(len(images), patches, self._anomalies.fraction, self._generator)
        return inject_anomalies(healthy, positions, self._direction, self._anomalies)

    def head(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens dim"]:
        return self._tower.head(tokens)

    def embed_images(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        return self._tower.embed_images(images)

"""What the oracle sees of a thing: cuts of the photographs that show it, as features of a CLIP.

Which photographs is decided by how much of the thing they show, so nothing that only annotators know comes in.  The released code
asks a CLIP which pictures look most like the thing's true class, at training and at validation; that choice can be had to be
compared with (``views="released"``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float32, Float64, Int64, UInt8

from scenewise.engine.progress import Progress
from scenewise.parts.lifting import stream_visible_pixels
from scenewise.scenes.captures import Scale
from scenewise.scenes.frames import Frame, ImageU8
from scenewise.scenes.graph_scans import GraphScan
from scenewise.teachers.preprocessing import normalised_image
from scenewise.teachers.towers import VisionTower

Cut = UInt8[np.ndarray, "_ _ 3"]
"""Part of a photograph; each of another size."""
KEPT_VIEWS = 8
"""Views of a thing that are kept, so that choices among them can be compared."""
_LEAST_PIXELS = 8
_MARGIN = 0.15  # of a cut's side, added at each side
_BATCH = 64


@dataclass(frozen=True)
class ThingPictures:
    """Features of the cuts that show each thing, the view that shows most of it first.

    Attributes:
        features: unit rows; zeros where a thing has fewer views.
        shares: share of the thing's points that the view shows; 0 where there is none.
    """

    features: Float32[np.ndarray, "things views dim"]
    shares: Float32[np.ndarray, "things views"]

    def chosen(
        self,
        choice: Literal["visible", "released"],
        most: int,
        class_ids: Int64[np.ndarray, "things"],
        class_text: Float32[np.ndarray, "classes dim"] | None,
    ) -> Float32[np.ndarray, "things dim"]:
        """Mean feature of the chosen views of each thing; zeros where none shows it.

        Args:
            choice: by visibility, or by likeness to the true class.
            most: views at most.
            class_ids: of the things; "released" looks at them.
            class_text: embedding of each class; "released" compares with it.
        """
        score = self.shares.copy()
        if choice == "released" and class_text is not None:
            likeness = np.einsum("nvd,nd->nv", self.features, class_text[np.maximum(class_ids, 0)])
            score = np.where(self.shares > 0, np.where(class_ids[:, None] >= 0, 2.0 + likeness, self.shares), 0.0)
        order = np.argsort(-score, axis=1, kind="stable")[:, :most]
        taken = np.take_along_axis(self.features, order[..., None], axis=1)
        count = (np.take_along_axis(self.shares, order, axis=1) > 0).sum(axis=1)
        return np.asarray(taken.sum(axis=1) / np.maximum(count, 1)[:, None], dtype=np.float32)


def thing_pictures(
    scan: GraphScan,
    frames: Sequence[Frame],
    tower: VisionTower,
    *,
    scale: Scale = "metric",
    kept: int = KEPT_VIEWS,
    device: str = "cpu",
    progress: Progress | None = None,
) -> ThingPictures:
    """Cuts the photographs around each thing and asks a CLIP what they show.

    Args:
        scan: things with points in the frame of the cameras.
        frames: photographs, with measured depth where there is any.
        tower: of the CLIP.
        scale: of the points.
        kept: views per thing.
        device: where the tower is.
        progress: where to report.
    """
    things = len(scan)
    owner = np.repeat(np.arange(things), [len(points) for points in scan.points_in_world])
    points = np.concatenate(scan.points_in_world).astype(np.float64)
    counts = np.bincount(owner, minlength=things)
    shares = np.zeros((things, len(frames)), dtype=np.float32)
    boxes = np.zeros((things, len(frames), 4), dtype=np.int64)
    for seen in stream_visible_pixels(points, frames, scale=scale, progress=progress):
        own = owner[seen.element]
        number = np.bincount(own, minlength=things)
        shares[:, seen.view] = np.where(number >= _LEAST_PIXELS, number / counts, 0.0)
        boxes[:, seen.view] = _boxes(own, seen.row, seen.column, things)
    order = np.argsort(-shares, axis=1, kind="stable")[:, :kept]
    chosen = np.take_along_axis(shares, order, axis=1)
    features = np.zeros((things, order.shape[1], tower.dim), dtype=np.float32)
    wanted: dict[int, list[tuple[int, int]]] = {}
    for thing, place in np.argwhere(chosen > 0).tolist():
        wanted.setdefault(int(order[thing, place]), []).append((thing, place))
    for view, places in sorted(wanted.items()):
        load = frames[view].load_image
        assert load is not None, "a frame with a photograph"
        image = load()
        cuts = [_cut(image, boxes[thing, view]) for thing, _ in places]
        for (thing, place), feature in zip(places, embedded(tower, cuts, device)):
            features[thing, place] = feature
    return ThingPictures(features, chosen.astype(np.float32))


@torch.no_grad()
def embedded(tower: VisionTower, cuts: Sequence[Cut], device: str = "cpu") -> Float32[np.ndarray, "cuts dim"]:
    """Unit image-level embeddings of pictures of any size, each stretched to the square that the tower was made for."""
    side = max(tower.native_size // tower.patch_size, 1) * tower.patch_size
    shown = [normalised_image(cut, (side, side), tower.mean, tower.std) for cut in cuts]
    rows = [tower.embed_images(torch.stack(shown[first : first + _BATCH]).to(device)) for first in range(0, len(shown), _BATCH)]
    return torch.cat(rows).float().cpu().numpy() if rows else np.zeros((0, tower.dim), dtype=np.float32)


def _boxes(owner: Int64[np.ndarray, "pairs"], row: np.ndarray, column: np.ndarray, things: int) -> Int64[np.ndarray, "things 4"]:
    """First and last row, first and last column of each thing's pixels."""
    found = np.zeros((things, 4), dtype=np.int64)
    for place, pixel in ((0, row), (2, column)):
        low, high = np.full(things, np.iinfo(np.int64).max), np.full(things, -1)
        np.minimum.at(low, owner, pixel)
        np.maximum.at(high, owner, pixel)
        found[:, place], found[:, place + 1] = np.where(high >= 0, low, 0), high
    return found


def _cut(image: ImageU8, box: Int64[np.ndarray, "4"]) -> Cut:
    """A square around a thing's pixels with some margin, as far as the photograph reaches."""
    height, width = image.shape[:2]
    middle: Float64[np.ndarray, " 2"] = np.array([box[0] + box[1] + 1, box[2] + box[3] + 1]) / 2
    side = max(box[1] - box[0] + 1, box[3] - box[2] + 1, 8) * (1 + 2 * _MARGIN)
    low, high = np.floor(middle - side / 2).astype(int), np.ceil(middle + side / 2).astype(int)
    top, left = max(0, low[0]), max(0, low[1])
    return image[top : min(height, high[0]), left : min(width, high[1])]

"""Superpixels by local k-means in colour and position."""

from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float64, Int64

from scenewise.errors import ConventionError
from scenewise.scenes.frames import ImageU8
from scenewise.scenes.partitions import Partition
from scenewise.teachers.regions.grids import lab_from_srgb, smoothed, without_small_regions


@dataclass(frozen=True)
class SlicSettings:
    """Settings of :class:`SlicRegions`.

    Attributes:
        segments: about how many regions; the grid of seeds has the image's proportions.
        compactness: L*a*b* units that count as much as one seed spacing; more gives squarer regions.
        sigma: Gaussian smoothing before, pixels.
        iterations: of k-means.
        min_share: of the mean size; smaller connected parts join a neighbour.
    """

    segments: int = 150
    compactness: float = 10.0
    sigma: float = 1.0
    iterations: int = 10
    min_share: float = 0.25

    def __post_init__(self) -> None:
        if self.segments < 1 or self.iterations < 1:
            raise ConventionError("segments, iterations", expected="at least 1", got=(self.segments, self.iterations))
        if not (self.compactness > 0 and self.sigma >= 0):
            raise ConventionError("compactness, sigma", expected="positive, and not negative", got=(self.compactness, self.sigma))


class SlicRegions:
    """Simple linear iterative clustering.

    Seeds on a grid of spacing S compete for the pixels within S of them by D² = ‖Δlab‖² + (m·‖Δxy‖/S)², with m the compactness.
    Source: Achanta et al., "SLIC superpixels compared to state-of-the-art superpixel methods", TPAMI 2012, §III.  Departures: S
    differs between rows and columns so that whole cells fill the image; no moving of seeds to low gradients (smoothing does it).
    """

    def __init__(self, settings: SlicSettings | None = None) -> None:
        self.settings = SlicSettings() if settings is None else settings

    @property
    def name(self) -> str:
        """ "slic"."""
        return "slic"

    @property
    def fingerprint(self) -> str:
        """The settings."""
        return f"slic-1 {sorted(asdict(self.settings).items())}"

    def regions(self, image: ImageU8) -> Partition:
        """Connected regions that cover the image."""
        height, width = image.shape[:2]
        if not image.size:
            return Partition(np.empty((height, width), np.int32), 0, "slic", asdict(self.settings))
        settings = self.settings
        rows, columns = _grid(height, width, settings.segments)
        labels = _clustered(lab_from_srgb(smoothed(image, settings.sigma)), rows, columns, settings)
        labels = without_small_regions(labels, settings.min_share * height * width / (rows * columns))
        return Partition(labels.astype(np.int32), int(labels.max()) + 1, "slic", asdict(settings))


def _grid(height: int, width: int, segments: int) -> tuple[int, int]:
    """Rows and columns of cells that are nearly square and nearly ``segments`` in number."""
    spacing = np.sqrt(height * width / segments)
    return max(1, min(height, round(height / spacing))), max(1, min(width, round(width / spacing)))


def _clustered(
    lab: Float64[np.ndarray, "height width 3"], rows: int, columns: int, settings: SlicSettings
) -> Int64[np.ndarray, "height width"]:
    height, width = lab.shape[:2]
    step_y, step_x = height / rows, width / columns
    y, x = np.arange(height) + 0.5, np.arange(width) + 0.5
    # Positions in units where one seed spacing is the compactness: one squared distance over five numbers.
    features = np.concatenate(
        [
            lab,
            np.broadcast_to((y * settings.compactness / step_y)[:, None, None], (height, width, 1)),
            np.broadcast_to((x * settings.compactness / step_x)[None, :, None], (height, width, 1)),
        ],
        axis=2,
    )
    # The cell of each pixel: where k-means starts, and all there is where windows do not reach.
    labels = (np.floor(y / step_y).astype(np.int64)[:, None] * columns) + np.floor(x / step_x).astype(np.int64)[None, :]
    centers = _means(features, labels, rows * columns, np.zeros((rows * columns, 5)))
    for _ in range(settings.iterations):
        nearest = np.full((height, width), np.inf)
        previous = labels.copy()
        for number, center in enumerate(centers):
            middle_y, middle_x = center[3] * step_y / settings.compactness, center[4] * step_x / settings.compactness
            top, bottom = max(0, int(middle_y - step_y)), min(height, int(middle_y + step_y) + 1)
            left, right = max(0, int(middle_x - step_x)), min(width, int(middle_x + step_x) + 1)
            offsets = features[top:bottom, left:right] - center
            distances = np.einsum("yxc,yxc->yx", offsets, offsets)
            is_nearer = distances < nearest[top:bottom, left:right]
            nearest[top:bottom, left:right][is_nearer] = distances[is_nearer]
            labels[top:bottom, left:right][is_nearer] = number
        centers = _means(features, labels, len(centers), centers)
        if np.array_equal(labels, previous):
            break
    return labels


def _means(
    features: Float64[np.ndarray, "height width 5"],
    labels: Int64[np.ndarray, "height width"],
    count: int,
    previous: Float64[np.ndarray, "count 5"],
) -> Float64[np.ndarray, "count 5"]:
    """Mean of each cluster; an empty one keeps its place."""
    flat = labels.ravel()
    sizes = np.bincount(flat, minlength=count)
    sums = np.stack([np.bincount(flat, features[..., axis].ravel(), count) for axis in range(5)], axis=1)
    return np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], previous)

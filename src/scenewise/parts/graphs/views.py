"""Which photographs show a thing best.  No label is asked: only how much of it is visible, and how large."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from scenewise.engine.progress import Progress
from scenewise.errors import ConventionError
from scenewise.parts.lifting import stream_visible_pixels
from scenewise.parts.lifting.rendered_depth import RenderedDepth
from scenewise.scenes.captures import Scale
from scenewise.scenes.frames import Frame, ImageU8
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.scenes import SceneCamera

MOST_VIEWS = 5
_LEAST_SHARE = 0.1  # of a thing's points, in a photograph that shows it
_SEEN = 0.3  # of its points, where it counts as one of the things that a photograph shows


@dataclass(frozen=True)
class ShownThings:
    """What views show.

    Attributes:
        shares: share of each thing's points that each view shows.
        sizes: share of the view's picture that the box around them covers.
    """

    shares: Float64[np.ndarray, "things views"]
    sizes: Float64[np.ndarray, "things views"]

    def best(self, thing: int, most: int = MOST_VIEWS) -> tuple[int, ...]:
        """The views that show a thing best, by share · √size, the best first: all of it, and large."""
        score = self.shares[thing] * np.sqrt(self.sizes[thing])
        order = np.lexsort((np.arange(len(score)), -score))[:most]
        return tuple(int(view) for view in order if self.shares[thing, view] >= _LEAST_SHARE)

    def fullest(self, among: Sequence[int]) -> int | None:
        """The view that shows most things, and of equals most of them; None without views.

        Args:
            among: views to choose from, the earliest of equals first.
        """
        if not len(among):
            return None
        shares = self.shares[:, np.asarray(among, dtype=np.int64)]
        count = (shares >= _SEEN).sum(axis=0)
        return int(among[int(np.lexsort((-shares.sum(axis=0).round(9), -count))[0])])


def shown_things(
    points_in_world: Sequence[Float64[np.ndarray, "_ 3"]],
    cameras: Sequence[SceneCamera],
    gaussians: Gaussians,
    scale: Scale,
    progress: Progress | None = None,
) -> ShownThings:
    """How much of each thing each view shows: what is in the picture and behind nothing.

    What is hidden, the splats' depth tells where there are splats, else the points of the things themselves.

    Args:
        points_in_world: some of each thing; world units.
        cameras: the views.
        gaussians: of the scene; may be none.
        scale: of the scene.
        progress: where to report.
    """
    things, views = len(points_in_world), len(cameras)
    shares, sizes = np.zeros((things, views)), np.zeros((things, views))
    if not things or not views:
        return ShownThings(shares, sizes)
    counts = np.array([len(points) for points in points_in_world], dtype=np.int64)
    owner = np.repeat(np.arange(things, dtype=np.int64), counts)
    frames = [
        Frame(entry.name, entry.camera, _no_image, RenderedDepth(gaussians, entry.camera) if len(gaussians) else None)
        for entry in cameras
    ]
    for seen in stream_visible_pixels(np.concatenate(list(points_in_world)), frames, scale=scale, progress=progress):
        own = owner[seen.element]
        shares[:, seen.view] = np.bincount(own, minlength=things) / np.maximum(counts, 1)
        camera = cameras[seen.view].camera
        sizes[:, seen.view] = _covered(own, seen.row, things) * _covered(own, seen.column, things)
        sizes[:, seen.view] /= camera.width * camera.height
    return ShownThings(shares, sizes)


def _covered(owner: Int64[np.ndarray, "pairs"], pixel: np.ndarray, things: int) -> Float64[np.ndarray, "things"]:
    """From the first to the last pixel of each thing; 0 where there is none."""
    low, high = np.full(things, np.inf), np.full(things, -np.inf)
    np.minimum.at(low, owner, pixel)
    np.maximum.at(high, owner, pixel)
    return np.where(np.isfinite(low), high - low + 1.0, 0.0)


def _no_image() -> ImageU8:
    raise ConventionError("photograph", expected="none to be asked for", got="a view without one")

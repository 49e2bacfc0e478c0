"""How long to train and how many Gaussians to allow, when nobody says: from what a capture holds.

Not in any paper.  A cap that suits a phone's turn around a statue starves a street: 289 photographs of 800×533 with 97,732 points
reached 26.7 dB with 60,000 Gaussians after 3,000 steps, and 28.9 dB with 250,000 after 7,000.  The points that structure from
motion found, or the pixels whose depth was measured, say how much there is to see; the number of photographs says how long it
takes to look at all of it.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from scenewise.parts.splats.recipes import SplatRecipe, with_cap
from scenewise.parts.splats.time_model import gaussians_of_time, steps_of_time
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame

GAUSSIANS_PER_POINT = 2
"""Each point starts a Gaussian, and each of those has room for one more."""
PIXELS_PER_GAUSSIAN = 4
"""Without a cap of the user's own there is never more than one Gaussian for this many training pixels: more would learn them
by heart.
"""
PIXELS_PER_POINT = 180
"""Where depth is measured, so many pixels of training photographs count as a point.  150 RGB-D frames of 320×240 of a kitchen,
measured on views that are not used elsewhere: 28.4 dB with a cap of 60,000, 28.6 with 100,000, 28.7 with 150,000 and 200,000."""
MOST_GAUSSIANS = 250_000
"""More is asked for by a person, who then knows that it takes longer."""
LOOKS = 30
"""Steps per photograph, where there are so many that a short run would hardly see them.  The kitchen with a cap of 150,000: 28.7
dB with 20, 29.1 with 30; a procedural room of 160 photographs: 34.7 and 34.9 dB (35.6 after 4,700 steps)."""
MOST_STEPS = 7_000
SECONDS = 480.0
"""Time of training on two cores that steps beyond the recipe's own may fill, by the costs of :mod:`.time_model`."""
_MEAN_SHARE = 0.75  # Gaussians in the course of a run that starts with half of its cap and reaches it


def fitted(recipe: SplatRecipe, frames: Sequence[Frame], points: int, minutes: float | None = None) -> SplatRecipe:
    """The recipe with the cap, the starting points and the length that a capture asks for; never less than its own.

    The same on every machine: no clock is asked.

    Args:
        recipe: settings for minutes on a CPU.
        frames: training frames, at least one.
        points: see :func:`points_of`; 0 where they have to be made from matches.
        minutes: of training there are, or None.  Where they are few, so are the Gaussians, so that the recipe's own number of
            steps still fits.
    """
    pixels = pixels_of(frames) / len(frames)
    own_cap = recipe.strategy.max_gaussians
    wanted = GAUSSIANS_PER_POINT * points
    if minutes is not None:
        wanted = min(wanted, int(gaussians_of_time(60.0 * minutes, pixels, recipe.steps) / _MEAN_SHARE))
    cap = own_cap if own_cap is None else max(own_cap, min(MOST_GAUSSIANS, wanted))
    starting = recipe.max_initial_points
    starting = starting if starting is None or cap is None else max(starting, min(points, cap // GAUSSIANS_PER_POINT))
    affordable = steps_of_time(SECONDS, pixels, _MEAN_SHARE * (cap or points))
    steps = max(recipe.steps, min(LOOKS * len(frames), MOST_STEPS, affordable))
    return replace(with_cap(recipe, cap), max_initial_points=starting, steps=steps)


def points_of(capture: Capture) -> int:
    """How many points a capture brings that lie somewhere, or as many as its depth maps stand for."""
    if capture.points is not None and len(capture.points):
        return int(np.isfinite(capture.points.points_in_world).all(axis=1).sum())
    measured = [frame for frame in capture.train_frames if frame.load_depth is not None]
    return pixels_of(measured) // PIXELS_PER_POINT


def what_there_is(capture: Capture) -> str:
    """What a recipe is fitted to, one phrase."""
    frames = capture.train_frames
    size = f"{frames[0].camera.width}×{frames[0].camera.height}" if frames else ""
    has_points = capture.points is not None and len(capture.points) > 0
    more = f" and {points_of(capture):,} points" if has_points else ""
    if not has_points and any(frame.load_depth is not None for frame in frames):
        more = " with depth"
    return f"{len(frames)} training photographs of {size}{more}"


def pixels_of(frames: Sequence[Frame]) -> int:
    """How many pixels views have together."""
    return sum(frame.camera.width * frame.camera.height for frame in frames)

"""How long to train and how many Gaussians to allow, when nobody says: from what a capture holds.

Not in any paper.  A cap that suits a phone's turn around a statue starves a street: 289 photographs of 800×533 with 97,732 points
reached 26.7 dB with 60,000 Gaussians after 3,000 steps, and 28.9 dB with 250,000 after 7,000.  The points that structure from
motion found say how much there is to see; the number of photographs says how long it takes to look at all of it.
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
MOST_GAUSSIANS = 250_000
"""More is asked for by a person, who then knows that it takes longer."""
LOOKS = 20
"""Steps per photograph, where there are so many that a short run would hardly see them."""
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
        points: of the capture itself; 0 where they have to be made.
        minutes: of training there are, or None.  Where they are few, so are the Gaussians, so that the recipe's own number of
            steps still fits.
    """
    pixels = sum(frame.camera.width * frame.camera.height for frame in frames) / len(frames)
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
    """How many points a capture brings that lie somewhere."""
    return 0 if capture.points is None else int(np.isfinite(capture.points.points_in_world).all(axis=1).sum())


def what_there_is(capture: Capture) -> str:
    """What a recipe is fitted to, one phrase."""
    frames, points = capture.train_frames, points_of(capture)
    size = f"{frames[0].camera.width}×{frames[0].camera.height}" if frames else ""
    return f"{len(frames)} training photographs of {size}" + (f" and {points:,} points" if points else "")

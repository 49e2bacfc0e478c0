"""What a reconstruction is planned with: the recipe that the options ask for, and what memory allows of it."""

from dataclasses import asdict, replace
from typing import Any

from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.engine.checkpoints import Checkpoint
from scenewise.engine.distribution import Ranks
from scenewise.engine.memory import cap_within_budget, text_from_bytes
from scenewise.engine.progress import Progress
from scenewise.errors import ConventionError
from scenewise.methods.gaussian_splatting.config import preset
from scenewise.parts.splats.building import cache_limit
from scenewise.parts.splats.exposure import ExposureSettings
from scenewise.parts.splats.fitting import PIXELS_PER_GAUSSIAN, fitted, pixels_of, points_of, what_there_is
from scenewise.parts.splats.memory import decoded_bytes, training_memory
from scenewise.parts.splats.pose_refinement import PoseRefinementSettings
from scenewise.parts.splats.recipes import PAPER_FROM_STEPS, SplatRecipe, with_cap
from scenewise.parts.splats.reconstruction import SplatStart
from scenewise.parts.splats.strategies import DefaultStrategy
from scenewise.scenes.captures import Capture

FEWEST_GAUSSIANS = 2_000
"""A budget that allows fewer is refused: nothing recognisable would come of it."""
INITIAL_SHARE = 0.5
"""Part of the cap that initial points may fill; the rest is for densification, which knows better where detail is missing."""
_MOST_INITIAL_POINTS = 500_000
_NO_CAP = 5_000_000
ABSGRAD_THRESHOLD = 8e-4
"""Sums of absolute gradients are larger than the absolute sum (Ye et al. 2024, section 4)."""


def planned(
    options: ReconstructOptions, capture: Capture, progress: Progress, method: SplatStart, found: Checkpoint | None
) -> tuple[SplatRecipe, int]:
    """The recipe with the cap that the budget allows, and the size of the decode cache.

    Args:
        options: of the command.
        capture: what is learned from.
        progress: told what was chosen and what memory is needed.
        method: whose recipe it is.
        found: a checkpoint whose cap stays, or None.

    Raises:
        ResourceError: the budget does not suffice.
    """
    max_gaussians, frames = method.max_gaussians, capture.train_frames
    config = recipe_from_options(
        options, data_set=capture.preset, max_gaussians=max_gaussians, fit_to=capture if method.fits_capture else None
    )
    budget = options.budget_bytes
    cache_bytes = min(cache_limit(budget), decoded_bytes(frames, config.resolution.factors))
    if method.plans_memory:
        return config, cache_bytes
    has_points = capture.points is not None and len(capture.points) > 0
    matches = not has_points and all(frame.load_depth is None for frame in frames)
    estimate = training_memory(frames, sh_degree=options.sh_degree, cache_bytes=cache_bytes, matches=matches)
    if max_gaussians is None:
        few_pixels = max(FEWEST_GAUSSIANS, pixels_of(frames) // PIXELS_PER_GAUSSIAN)
        config = with_cap(config, min(config.strategy.max_gaussians or _NO_CAP, few_pixels))
    wanted = config.strategy.max_gaussians
    cap, allowed = cap_within_budget(estimate, budget, wanted=wanted, at_least=min(FEWEST_GAUSSIANS, wanted or FEWEST_GAUSSIANS))
    if found is not None:
        cap = found.config["strategy"]["max_gaussians"]
    shown = cap if cap is not None else 500_000
    if method.fits_capture:
        progress.message(_choice(options, with_cap(config, cap), capture))
    progress.message(f"memory: about {estimate.text(shown)}")
    if allowed is not None and (wanted is None or allowed < wanted):
        progress.message(f"the budget of {text_from_bytes(float(budget or 0))} allows {allowed:,} Gaussians")
    return with_cap(config, cap), cache_bytes


def _choice(options: ReconstructOptions, recipe: SplatRecipe, capture: Capture) -> str:
    """What was chosen for a capture, and how to choose otherwise."""
    cap = recipe.strategy.max_gaussians
    length = f"{recipe.steps:,} steps" if options.minutes is None else f"as many steps as fit {options.minutes:g} minutes"
    said = "" if options.max_gaussians is not None else ", --max-gaussians"
    said += "" if options.steps is not None or options.minutes is not None else ", --steps or --minutes"
    change = f"; {said[2:]} choose otherwise" if said else ""
    return f"plan: {length}, {'no cap' if cap is None else f'at most {cap:,} Gaussians'}, for {what_there_is(capture)}{change}"


def recorded(options: ReconstructOptions, recipe: SplatRecipe) -> dict[str, Any]:
    """What a resumed run of any method must have in common with this one."""
    return {
        "method": options.method,
        "seed": options.seed,
        "minutes": options.minutes,
        "downscale": options.downscale,
        "alpha": options.alpha,
        "split": options.split.words(),
        "budget": options.budget,
        "strategy_name": options.strategy,
        **asdict(recipe),
    }


def most_initial_points(recipe: SplatRecipe) -> int:
    """How many initial points a recipe has use for."""
    cap = recipe.strategy.max_gaussians
    limits = (recipe.max_initial_points, None if cap is None else max(1, int(INITIAL_SHARE * cap)), _MOST_INITIAL_POINTS)
    return min(limit for limit in limits if limit is not None)


def recipe_from_options(
    options: ReconstructOptions, *, data_set: str | None, max_gaussians: int | None = None, fit_to: Capture | None = None
) -> SplatRecipe:
    """The settings of splatting that a command line asks for.

    Args:
        options: of the command.
        data_set: preset of the capture, or None.
        max_gaussians: cap unless None.
        fit_to: capture that cap and length fit where the options say nothing; None leaves the preset's own.
    """
    long_run = options.steps is not None and options.steps >= PAPER_FROM_STEPS
    config = preset("paper_30k" if long_run else "fast", data_set=data_set, strategy=options.strategy)
    if fit_to is not None and not long_run:
        config = fitted(config, fit_to.train_frames, points_of(fit_to), options.minutes)
    config = replace(
        config,
        steps=config.steps if options.steps is None else options.steps,
        sh=replace(config.sh, highest=options.sh_degree),
        exposure=ExposureSettings() if options.exposure_compensation else None,
        pose_refinement=PoseRefinementSettings() if options.pose_refinement else None,
    )
    if options.absgrad:
        if not isinstance(config.strategy, DefaultStrategy):
            raise ConventionError(
                "--absgrad", expected="--strategy default", got=f"--strategy {options.strategy}", fix="leave it out"
            )
        config = replace(config, strategy=replace(config.strategy, absgrad=True, grow_gradient=ABSGRAD_THRESHOLD))
    return options.changed(with_cap(config, max_gaussians))


def require_ranks(ranks: Ranks, options: ReconstructOptions, method: SplatStart) -> None:
    """Refuses what several processes cannot make together.

    Raises:
        ConventionError: the method trains in one process, or the photographs have no poses yet.
    """
    if not method.trains_in_processes:
        raise ConventionError(
            f"{ranks.size} processes",
            expected="--method momentum_gs",
            got=f"--method {options.method}",
            fix="start it without torchrun",
        )

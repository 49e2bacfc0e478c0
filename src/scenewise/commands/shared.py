"""What options of several commands have in common, beside :mod:`scenewise.engine.option_values`.

Neither torch nor anything that imports it may be imported here, so that ``scenewise --help`` stays instant.
"""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from scenewise.engine.option_values import require, require_at_least

Device = Literal["auto", "cpu", "cuda"]
Color = tuple[float, float, float]

OptionalAlpha = Annotated[Literal["mask", "background"] | None, arg(metavar="{mask,background}")]
OptionalColor = Annotated[Color | None, arg(metavar="R G B")]

_MOST_PAMR_STEPS = 1000  # it has settled long before


def require_length(steps: int | None, minutes: float | None) -> None:
    require_at_least("--steps", steps, 1)
    require(minutes is None or 0.0 < minutes < float("inf"), "--minutes", "a time above 0", minutes)
    require(steps is None or minutes is None, "--steps and --minutes", "one of the two", "both")


def require_resume_or_overwrite(resume: bool, overwrite: bool) -> None:
    require(not (resume and overwrite), "--resume and --overwrite", "one of the two", "both")


def require_one_split(keep_all_images: bool, test_every: int | None, split_file: Path | None) -> None:
    given = [
        option
        for option, is_given in (
            ("--keep-all-images", keep_all_images),
            ("--test-every", test_every is not None),
            ("--split-file", split_file is not None),
        )
        if is_given
    ]
    require(len(given) <= 1, "split", "one of --keep-all-images, --test-every and --split-file", " and ".join(given))
    require_at_least("--test-every", test_every, 2)


def require_refinement(prompt_denoising: float | None, pamr: int) -> None:
    is_share = prompt_denoising is None or 0.0 <= prompt_denoising <= 1.0
    require(is_share, "--prompt-denoising", "a number in [0, 1]", prompt_denoising)
    require(0 <= pamr <= _MOST_PAMR_STEPS, "--pamr", f"0 to {_MOST_PAMR_STEPS} steps", pamr)


def require_color(option: str, value: Color | None) -> None:
    require(value is None or all(0.0 <= part <= 1.0 for part in value), option, "three numbers in [0, 1]", value)


def require_alpha(alpha: str | None, background: Color | None) -> None:
    both = alpha == "mask" and background is not None
    require(not both, "--background", "--alpha background", "--alpha mask", "a mask leaves out what the background would fill")

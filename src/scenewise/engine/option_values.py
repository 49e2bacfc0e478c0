"""Options that several commands and methods have in common: names of optional values, checks, sizes.

Neither torch nor anything that imports it may be imported here, so that ``scenewise --help`` stays instant.
"""

import re
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from scenewise.errors import ConventionError

# Optional values under the names the help shows for them.
Count = Annotated[int | None, arg(metavar="N")]
Number = Annotated[float | None, arg(metavar="X")]
Text = Annotated[str | None, arg(metavar="TEXT")]
OptionalPath = Annotated[Path | None, arg(metavar="PATH")]

MOST_SEED = 2**32 - 1
"""Every generator of random numbers takes a seed up to here."""

_UNITS = {"": 1, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}


def bytes_from_text(text: str) -> int:
    """Number of bytes in a human size: ``2GB`` is 2·10⁹, ``2GiB`` is 2·2³⁰, ``1500MB``, ``64k``, ``123``.

    Raises:
        ConventionError: not a size, or zero.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]I?)?B?\s*", text, flags=re.IGNORECASE | re.ASCII)
    size = 0 if match is None else int(float(match[1]) * _UNITS[(match[2] or "").upper()])
    if size < 1:
        raise ConventionError("size", expected="a number with a unit such as 2GB or 1500MiB", got=repr(text))
    return size


def require(condition: bool, option: str, expected: str, got: object, fix: str | None = None) -> None:
    if not condition:
        raise ConventionError(option, expected=expected, got=got, fix=fix)


def require_at_least(option: str, value: int | None, minimum: int) -> None:
    require(value is None or value >= minimum, option, f"{minimum} or more", value)


def require_above_zero(option: str, value: float | None) -> None:
    require(value is None or 0.0 < value < float("inf"), option, "a number above 0", value)


def require_seed(seed: int) -> None:
    require_at_least("--seed", seed, 0)
    require(seed <= MOST_SEED, "--seed", f"at most {MOST_SEED}", seed)

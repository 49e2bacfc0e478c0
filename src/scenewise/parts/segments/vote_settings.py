"""What a majority vote leaves open.  Nothing here imports torch: the command line is built from this record."""

from dataclasses import dataclass
from typing import Literal

from scenewise.errors import ConventionError


@dataclass(frozen=True)
class VoteSettings:
    """How a set votes; :class:`~scenewise.parts.segments.votes.MajorityVote` does it.

    Attributes:
        scope: "scene" pools the votes of all views of a set; "view" lets each view vote by itself, as the formula does per image.
            They differ only where elements are seen in several views.
        weighting: "count": every labelled member has one vote; "confidence": it has its confidence.  A tie goes to the larger sum
            of the other, then to the lowest class id.
        fill: members without a label get the set's.  False leaves them unknown.
        min_agreement: share of the votes that the winner needs; a set without such a winner becomes unknown.
    """

    scope: Literal["scene", "view"] = "scene"
    weighting: Literal["count", "confidence"] = "count"
    fill: bool = True
    min_agreement: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.min_agreement <= 1:
            raise ConventionError("min_agreement", expected="a share in [0, 1]", got=self.min_agreement)

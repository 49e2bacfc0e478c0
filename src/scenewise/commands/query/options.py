"""Options of ``scenewise query``."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from scenewise.engine.option_values import Count, Number, OptionalPath, require, require_at_least


@dataclass(frozen=True)
class QueryOptions:
    """Ask a segmented scene where something is: ranked segments with boxes, and heat maps.  Needs no images.

    Attributes:
        scene: folder that scenewise segment wrote.
        text: words or a sentence, such as "where can I sit"; after scenewise graph also "chair next to the table".  May be left
            out where a picture is given.
        picture: image file of what is looked for, where the scene was named by a teacher that understands pictures (CLIP, SigLIP,
            small-clip, condense:RUN); words beside it say more, and are then no question about relations.
        picture_weight: share of the picture in a question by words and a picture, between 0 and 1; default 0.5, both alike.
        out: folder for the answer; default SCENE/query/<the text>.
        segments: at most this many segments, the best first.
        threshold: relevancy from which an element belongs to the answer; default found from the answer itself.
        views: number of heat-map pictures.
        capture: photographs to draw the heat over where there are no splats, when they have moved.
        threads: worker threads; default all cores this process may use.
    """

    scene: Positional[Path]
    text: Positional[str] = ""
    picture: OptionalPath = None
    picture_weight: Number = None
    out: OptionalPath = None
    segments: int = 10
    threshold: Number = None
    views: int = 4
    capture: OptionalPath = None
    threads: Count = None

    def __post_init__(self) -> None:
        has_text = bool(self.text.strip())
        require(has_text or self.picture is not None, "TEXT", "a word or a sentence, or --picture FILE", repr(self.text))
        if self.picture_weight is not None:
            both = has_text and self.picture is not None
            require(
                both,
                "--picture-weight",
                "TEXT and --picture, between which it decides",
                "one of them" if has_text or self.picture else "none",
            )
            require(0.0 < self.picture_weight < 1.0, "--picture-weight", "a number between 0 and 1", self.picture_weight)
        require_at_least("--segments", self.segments, 1)
        require_at_least("--views", self.views, 0)
        require_at_least("--threads", self.threads, 1)
        require(self.threshold is None or 0.0 <= self.threshold <= 1.0, "--threshold", "a number in [0, 1]", self.threshold)

"""Options of ``scenewise diff``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from scenewise.engine.option_values import Count, OptionalPath, require, require_at_least


@dataclass(frozen=True)
class DiffOptions:
    """Compare two scenes of one place: which objects moved, appeared and vanished.  Needs no images.

    Attributes:
        scene_a: scene folder before, with the graph.json that scenewise graph wrote.
        scene_b: scene folder after, likewise.
        align: how the two lie on each other: "poses" in one frame, "geometry" found from the surfaces, "auto" for poses where
            those fit and geometry where they do not.
        out: file to write; default SCENE_B/diff.json; a plan of the changes goes beside it, as .png.
        threads: worker threads; default all cores this process may use.
    """

    scene_a: Positional[Path]
    scene_b: Positional[Path]
    align: Literal["poses", "geometry", "auto"] = "auto"
    out: OptionalPath = None
    threads: Count = None

    def __post_init__(self) -> None:
        require_at_least("--threads", self.threads, 1)
        require(self.out is None or self.out.suffix == ".json", "--out", "a file name that ends in .json", self.out)

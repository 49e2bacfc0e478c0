"""Options of ``scenewise graph``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from scenewise.engine.option_values import Count, Text, require, require_at_least

FORMATS = ("json", "spark-dsg", "graphml", "png")


@dataclass(frozen=True)
class GraphOptions:
    """Turn a segmented scene into objects, rooms and relations, in files that planners and graph programs read.  Needs no images.

    Attributes:
        scene: folder that scenewise segment wrote.
        view: photograph whose left and right is meant; default the one that shows most objects.
        seen_from: who tells left from right: somebody at the view, or each object itself, from its own front.
        formats: what to write, separated by commas: json (graph.json), spark-dsg (graph.dsg.json), graphml
            (graph.graphml) and png (graph.png, a plan).
        neighbours: other objects that each object is compared with, the nearest.
        min_score: relations that are less sure are left out.
        network: what tells relations that geometry does not: "auto" for the built-in network, where there is one, "none", or a
            run of scenewise train-graph, or its graph_network.safetensors.
        keep_pieces: take the objects as segment numbered them, without mending walls, crumbs and things in several pieces.
        threads: worker threads; default all cores this process may use.
    """

    scene: Positional[Path]
    view: Text = None
    seen_from: Literal["view", "subject"] = "view"
    formats: str = ",".join(FORMATS)
    neighbours: int = 20
    min_score: float = 0.5
    network: str = "auto"
    keep_pieces: bool = False
    threads: Count = None

    def __post_init__(self) -> None:
        unknown = [name for name in self.wanted_formats if name not in FORMATS]
        require(bool(self.wanted_formats) and not unknown, "--formats", f"some of {','.join(FORMATS)}", repr(self.formats))
        require_at_least("--neighbours", self.neighbours, 1)
        require(0.0 <= self.min_score <= 1.0, "--min-score", "a number in [0, 1]", self.min_score)
        require(bool(self.network.strip()), "--network", "auto, none, a folder or a file", repr(self.network))
        require_at_least("--threads", self.threads, 1)

    @property
    def wanted_formats(self) -> tuple[str, ...]:
        """Each once."""
        return tuple(dict.fromkeys(name.strip() for name in self.formats.split(",") if name.strip()))

"""Options of ``scenewise demo``."""

from dataclasses import dataclass
from pathlib import Path

from scenewise.engine.option_values import Count, require_at_least, require_seed


@dataclass(frozen=True)
class DemoOptions:
    """Photograph a procedural room, reconstruct it, measure it and write everything a scene folder holds.  Needs no data.

    Attributes:
        out: folder for the capture and the scene.
        quick: a smaller room and fewer steps, for a first look or a test.
        seed: which room, and the random seed of the reconstruction.
        threads: worker threads; default all cores this process may use.
    """

    out: Path = Path("demo")
    quick: bool = False
    seed: int = 0
    threads: Count = None

    def __post_init__(self) -> None:
        require_at_least("--threads", self.threads, 1)
        require_seed(self.seed)

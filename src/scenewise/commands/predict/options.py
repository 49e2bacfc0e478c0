"""Options of ``scenewise predict``."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from scenewise.commands.shared import Device
from scenewise.engine.option_values import Count, require_at_least, require_seed


@dataclass(frozen=True)
class PredictOptions:
    """Name the points of a cloud or scene with a trained network.  Needs no images.

    Attributes:
        run: folder that scenewise train wrote.
        target: point cloud or mesh (.ply, .las, .laz, .obj …), SemanticKITTI sweep (.bin), scene folder, or scan in ScanNet's
            layout.
        out: scene folder to write.
        repeats: grids, shifted against each other, whose answers are summed; 5 is usual where every point counts.
        max_voxels: larger clouds are named tile by tile; a smaller number needs less memory.
        overwrite: replace a scene folder.
        seed: of the shifts.
        threads: worker threads; default all cores this process may use.
        device: where to compute.
    """

    run: Positional[Path]
    target: Positional[Path]
    out: Path
    repeats: int = 1
    max_voxels: int = 600_000
    overwrite: bool = False
    seed: int = 0
    threads: Count = None
    device: Device = "auto"

    def __post_init__(self) -> None:
        require_at_least("--repeats", self.repeats, 1)
        require_at_least("--max-voxels", self.max_voxels, 1000)
        require_at_least("--threads", self.threads, 1)
        require_seed(self.seed)

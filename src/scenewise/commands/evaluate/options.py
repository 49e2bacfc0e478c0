"""Options of ``scenewise eval``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from scenewise.commands.shared import Device
from scenewise.engine.option_values import Count, OptionalPath, require, require_at_least


@dataclass(frozen=True)
class EvalOptions:
    """Measure a scene on its held-out views (PSNR, SSIM, LPIPS, depth error), or names of points against a data set's truth.

    Attributes:
        scene: scene folder; with --data also a run folder of scenewise train, or what scenewise predict or segment wrote.
        data: labelled scans to compare names of points with: a data set for a run, the scan itself for a scene.
        capture: the capture the scene was made from, when it has moved since.
        lpips_weights: LPIPS backbone and heads (safetensors); without it LPIPS is null.
        split: which views to measure on, by default the held-out ones ("test"); "train" says how well the scene fits, not how
            well it generalises.  With --data: which scans of a data set ("val" is ScanNet's usual one), by default test, of
            nuScenes val.
        repeats: with a run: shifted grids whose answers are summed.
        save_images: also write the rendered views to SCENE/renders.
        threads: worker threads; default all cores this process may use.
        device: where to compute.
    """

    scene: Positional[Path]
    data: OptionalPath = None
    capture: OptionalPath = None
    lpips_weights: OptionalPath = None
    split: Literal["test", "train", "val"] | None = None
    repeats: int = 1
    save_images: bool = False
    threads: Count = None
    device: Device = "auto"

    def __post_init__(self) -> None:
        require_at_least("--threads", self.threads, 1)
        require_at_least("--repeats", self.repeats, 1)
        require(
            self.split != "val" or self.data is not None, "--split val", "--data", "none", "views of a scene are test or train"
        )

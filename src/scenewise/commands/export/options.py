"""Options of ``scenewise export``."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

from scenewise.engine.option_values import Count, OptionalPath, require, require_at_least


@dataclass(frozen=True)
class ExportOptions:
    """Write a scene's Gaussians or points in a format other programs open.

    Attributes:
        scene: scene folder.
        format: "ply" for the usual splat file, "spz" for the compact one, "points" for the centres as a coloured point cloud.
        out: file to write; default beside the scene's own files.
        sh_degree: drop view-dependent colour above this degree.
        max_gaussians: merge neighbours that look alike until there are no more than so many ("ply" and "spz" only).
        min_opacity: leave out fainter Gaussians ("points" only).
        georeferenced: write projected coordinates (.las or .laz, "points" only) and the coordinate system beside them.
        overwrite: replace a file that exists.
    """

    scene: Positional[Path]
    format: Literal["ply", "spz", "points"] = "ply"
    out: OptionalPath = None
    sh_degree: Count = None
    max_gaussians: Count = None
    min_opacity: float = 0.1
    georeferenced: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        require(self.sh_degree is None or 0 <= self.sh_degree <= 3, "--sh-degree", "0, 1, 2 or 3", self.sh_degree)
        require_at_least("--max-gaussians", self.max_gaussians, 1)
        require(
            self.max_gaussians is None or self.format != "points",
            "--max-gaussians",
            "--format ply or spz",
            "--format points",
            "points are not merged; --min-opacity leaves out faint ones",
        )
        require(0.0 <= self.min_opacity <= 1.0, "--min-opacity", "a number in [0, 1]", self.min_opacity)
        require(
            not self.georeferenced or self.format == "points",
            "--georeferenced",
            "--format points",
            f"--format {self.format}",
            "splat files hold local float32 coordinates; scene.json carries their georeference",
        )

"""Options of ``scenewise convert-cameras``."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True)
class ConvertCamerasOptions:
    """Write the cameras of a Mega-NeRF data set, which are torch files, as COLMAP models beside the photographs.

    Attributes:
        capture: folder with coordinates.pt, train/metadata and val/metadata, such as building-pixsfm; train/sparse/0 and
            val/sparse/0 are written in it.
        overwrite: replace models that are there.
    """

    capture: Positional[Path]
    overwrite: bool = False

"""What a person may name, told apart by its files alone.

| kind | what it is |
|---|---|
| images | one or several pictures, or a folder of them, without poses |
| scene | a folder that scenewise wrote: points or splats, and where their photographs are |
| scans | a folder of scans in ScanNet's layout, perhaps with splits |
| scannet | one such scan, or its ``.sens`` stream |
| nuscenes | tables of nuScenes: sweeps and the cameras around them |
| cloud | a file with points, a mesh or a sweep |
| capture | photographs with poses or RGB-D frames, of whatever tool |
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from scenewise.errors import DataFormatError
from scenewise.io.captures import is_capture
from scenewise.io.images import IMAGE_SUFFIXES
from scenewise.io.listed_files import visible
from scenewise.io.nuscenes.tables import find_nuscenes_tables
from scenewise.io.scan_data_sets import is_scan_data_set
from scenewise.io.scannet.scenes import find_scannet_layout
from scenewise.io.scene_folder import SCENE_FILE
from scenewise.parts.sources.clouds import MESH_ENDINGS, POINT_ENDINGS, SWEEP_ENDING

SourceKind = Literal["images", "scene", "scans", "scannet", "nuscenes", "cloud", "capture"]

CLOUD_ENDINGS = (*POINT_ENDINGS, SWEEP_ENDING, *MESH_ENDINGS)


def kind_of(paths: Sequence[Path]) -> SourceKind | None:
    """What was named; None where nothing is known about it.  Files may still be damaged, and pictures mixed with others.

    Raises:
        DataFormatError: nothing is there.
    """
    for path in paths:
        if not path.exists():
            raise DataFormatError(path, expected="a folder or a file", got="nothing", fix="check the path")
    first = paths[0]
    if len(paths) > 1 or is_picture(first):
        return "images"
    if (first / SCENE_FILE).is_file():
        return "scene"
    if is_scan_data_set(first):
        return "scans"
    if find_scannet_layout(first) is not None:
        return "scannet"
    if first.is_file():
        return "cloud" if first.suffix.lower() in CLOUD_ENDINGS else None
    if find_nuscenes_tables(first) is not None:
        return "nuscenes"
    if is_capture(first):
        return "capture"
    return "images" if first.is_dir() and pictures_in(first) else None


def is_picture(path: Path) -> bool:
    """Whether a path is a picture file by its name."""
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def pictures_in(folder: Path) -> list[Path]:
    """The picture files of a folder, sorted; hidden files (macOS's ``._0.jpg``) are none."""
    return [path for path in visible(folder.iterdir()) if is_picture(path)]

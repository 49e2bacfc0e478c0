"""Scans to learn from or to name, whatever kind of source they come from."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from scenewise.errors import DataFormatError
from scenewise.io.nuscenes.splits import splits_there
from scenewise.io.scan_data_sets import read_scan_data_set
from scenewise.io.scannet.scenes import find_scannet_layout
from scenewise.parts.sources.capture_scans import MADE_POINTS, capture_scan
from scenewise.parts.sources.clouds import cloud_scan
from scenewise.parts.sources.kinds import CLOUD_ENDINGS, kind_of
from scenewise.parts.sources.listing import find_captures_below
from scenewise.parts.sources.nuscenes_scans import nuscenes_scans
from scenewise.parts.sources.raw_scans import ScanSource
from scenewise.parts.sources.scannet_scans import ScannetScan, scannet_scan
from scenewise.parts.sources.scene_scans import SceneScan


def has_splits(path: str | Path) -> bool:
    """Whether a folder's scans are split: a data set in ScanNet's layout, or nuScenes with scenes of its official lists."""
    path = Path(path)
    kind = kind_of((path,))
    return kind == "scans" or (kind == "nuscenes" and bool(splits_there(path)))


def open_scans(
    path: str | Path, split: str | None = None, *, max_points: int = MADE_POINTS, seed: int = 0
) -> Sequence[ScanSource]:
    """The scans in a folder or file; none of them is read yet, but those of a data set are checked for completeness.

    Args:
        path: anything of :mod:`scenewise.parts.sources.kinds` but plain images, or a folder with captures in it
            (:mod:`scenewise.parts.sources.listing`): a category of CO3D, a class of MVImgNet, any folder of captures.
        split: "train", "val", "test" or a list in ``splits/``; for folders of several scans, and nuScenes, only.
        max_points: of a capture without points, where they are made from depth or from matches.
        seed: of that.

    Raises:
        DataFormatError: nothing that can be read, an incomplete data set, or a split of something that has none.
    """
    path = Path(path)
    kind = kind_of((path,))
    if kind == "scans":
        found = read_scan_data_set(path, split)
        return tuple(ScannetScan(folder, name, found.class_names, found.nyu40_of_class) for name, folder in found.scenes)
    if split is not None and kind != "nuscenes":
        raise DataFormatError(
            path, "split", expected="a folder of scans with splits", got=f"{split} of a single scan", fix="leave the split out"
        )
    match kind:
        case "scannet":
            return (scannet_scan(path),)
        case "cloud":
            return (cloud_scan(path),)
        case "scene":
            return (SceneScan(path, path.resolve().name),)
        case "nuscenes":
            return nuscenes_scans(path, split)
        case "capture":
            return (capture_scan(path, max_points=max_points, seed=seed),)
        case None if path.is_dir() and (below := find_captures_below(path)):
            return tuple(_scan_below(path, folder, max_points, seed) for folder in below)
    raise DataFormatError(
        path,
        expected="a folder of scans (scans/scene0000_00/ …) or captures, a capture, a scene folder, or a cloud ("
        + ", ".join(CLOUD_ENDINGS)
        + ")",
        got="none of them",
        fix="pass the folder that holds the scans",
    )


def _scan_below(path: Path, folder: Path, max_points: int, seed: int) -> ScanSource:
    """A capture among others, named by where it lies: two classes may number their instances alike."""
    name = folder.relative_to(path).as_posix()
    if find_scannet_layout(folder) is not None:
        return replace(scannet_scan(folder), name=name)
    return replace(capture_scan(folder, max_points=max_points, seed=seed), name=name)

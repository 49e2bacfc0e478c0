"""Scans in ScanNet's layout: ScanNet's own, and procedural rooms written like them."""

from dataclasses import dataclass, replace
from pathlib import Path

from scenewise.errors import DataFormatError
from scenewise.io.placing import placed
from scenewise.io.scan_data_sets import DESCRIPTION_FILE, read_scan_data_set
from scenewise.io.scannet.classes import SCANNET20_NAMES, SCANNET20_NYU40, classes_of_nyu40
from scenewise.io.scannet.labels import read_scannet_frame_labels
from scenewise.io.scannet.scenes import ScannetScene, read_scannet
from scenewise.parts.sources.raw_scans import FrameTruth, FrameTruths, RawScan, Truth
from scenewise.scenes.captures import Capture
from scenewise.scenes.point_clouds import PointCloud


@dataclass(frozen=True)
class ScannetScan:
    """A scan in ScanNet's layout.

    Attributes:
        folder: with its files.
        name: of the scan.
        class_names: that are scored.
        nyu40_of_class: what each is called in label files.
    """

    folder: Path
    name: str
    class_names: tuple[str, ...] = SCANNET20_NAMES
    nyu40_of_class: tuple[int, ...] = SCANNET20_NYU40

    def open(self) -> RawScan:
        scene = self._scene()
        cloud = scene.capture.points
        if cloud is None:
            raise DataFormatError(self.folder, expected=f"{self.name}_vh_clean_2.ply", got="no mesh", fix="unpack it there")
        mesh = replace(scene.mesh(), vertices_in_world=cloud.points_in_world)
        has_segments = scene.segments_path is not None
        return RawScan(
            self.name,
            cloud,
            f"vertices of {self.name}_vh_clean_2.ply",
            capture=scene.capture,
            mesh=mesh,
            shipped_segments=scene.segments if has_segments else None,
        )

    def capture(self) -> Capture | None:
        return self._scene().capture

    def points(self) -> PointCloud:
        return self.open().cloud

    def truth(self) -> Truth | None:
        """Classes of the vertices, from the labels that only evaluation reads."""
        scene = self._scene()
        return None if scene.labels_path is None else classes_of_nyu40(scene.nyu40_ids(), self.nyu40_of_class)

    def frame_truths(self) -> FrameTruths:
        frames = {frame.name: frame for frame in self._scene().capture.frames}

        def of_frame(name: str) -> FrameTruth | None:
            ids = read_scannet_frame_labels(frames[name]) if name in frames else None
            return None if ids is None else classes_of_nyu40(ids, self.nyu40_of_class)

        return of_frame

    def _scene(self) -> ScannetScene:
        scene = read_scannet(self.folder)
        return replace(scene, capture=placed(scene.capture))


def scannet_scan(path: Path) -> ScannetScan:
    """The scan in a folder, or of a ``.sens`` file, with the classes of the data set that it lies in."""
    folder, name = (path.parent, path.stem) if path.is_file() else (path, path.resolve().name)
    return ScannetScan(folder, name, *_classes_around(folder))


def _classes_around(folder: Path) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The classes of the data set that a scan's folder lies in; ScanNet's 20 where it lies in none that says."""
    for root in folder.resolve().parents[:2]:
        if (root / DESCRIPTION_FILE).is_file():
            found = read_scan_data_set(root, None)
            return found.class_names, found.nyu40_of_class
    return SCANNET20_NAMES, SCANNET20_NYU40

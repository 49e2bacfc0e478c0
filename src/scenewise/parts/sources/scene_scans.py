"""Scene folders as scans."""

from dataclasses import dataclass
from pathlib import Path

from scenewise.errors import DataFormatError
from scenewise.io.named_points import read_named_points
from scenewise.io.scene_folder import POINTS_FILE, read_scene
from scenewise.parts.sources.raw_scans import FrameTruths, RawScan, Truth, unknown_truth
from scenewise.parts.sources.scene_photographs import place_of_photographs, reopen_photographs
from scenewise.scenes.captures import Capture
from scenewise.scenes.point_clouds import PointCloud


@dataclass(frozen=True)
class SceneScan:
    """A scene folder: its points, and the photographs it was made from, posed as it refined them.

    Attributes:
        folder: of the scene.
        name: of the scan.
    """

    folder: Path
    name: str
    class_names: tuple[str, ...] = ()

    def open(self) -> RawScan:
        points = self.folder / POINTS_FILE
        if not points.is_file():
            raise DataFormatError(points, expected="points", got="none", fix="run scenewise segment on the scene first")
        return RawScan(self.name, read_named_points(points), f"points of {points.name}", capture=self.capture())

    def capture(self) -> Capture | None:
        scene = read_scene(self.folder)
        return reopen_photographs(scene, place_of_photographs(self.folder, scene)).capture

    def points(self) -> PointCloud:
        return self.open().cloud

    def truth(self) -> Truth | None:
        return None

    def frame_truths(self) -> FrameTruths:
        return unknown_truth

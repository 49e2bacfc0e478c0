"""A scene opened from whatever files of it there are."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int32, Int64

from scenewise.errors import CaptureWarning, DataFormatError
from scenewise.io.images import Background
from scenewise.io.listed_files import visible
from scenewise.io.meshes import read_mesh
from scenewise.io.ply.points import read_points_ply
from scenewise.io.scannet.frames import exported_frames, stream_frames
from scenewise.io.scannet.labels import read_scannet_labels
from scenewise.io.scannet.number_files import intrinsics_path, read_axis_alignment
from scenewise.io.segments import Aggregation, objects_of_elements, read_aggregation, read_segment_ids, read_segments
from scenewise.io.views import is_file
from scenewise.scenes.captures import Capture, every_nth_name
from scenewise.scenes.meshes import TriangleMesh
from scenewise.scenes.partitions import Partition

LICENCE = "ScanNet terms of use (research, non-commercial)"
_HOLDOUT = 8


@dataclass(frozen=True)
class ScannetScene:
    """A scene as found.

    Attributes:
        name: for example "scene0000_00".
        capture: frames with a pose; points are the mesh's vertices where there is a mesh.
        skipped_frames: frames without a finite pose.
        axis_alignment: aligned_from_world, the rotation about +Z and shift that ScanNet gives with the scan; None without.
        mesh_path: the fused mesh, or None.
        labels_path: vertex labels, or None.
        segments_path: segments of the mesh, or None.
        aggregation_path: objects, or None.
    """

    name: str
    capture: Capture
    skipped_frames: int
    axis_alignment: Float64[np.ndarray, "4 4"] | None
    mesh_path: Path | None
    labels_path: Path | None
    segments_path: Path | None
    aggregation_path: Path | None

    def mesh(self) -> TriangleMesh:
        """The fused mesh; its vertices are the capture's points.

        Raises:
            DataFormatError: there is none, or it is damaged.
        """
        if self.mesh_path is None:
            raise DataFormatError(self.capture.root, expected=f"{self.name}_vh_clean_2.ply", got="no mesh")
        return read_mesh(self.mesh_path)

    def nyu40_ids(self) -> Int64[np.ndarray, "n"]:
        """NYU40 id per vertex, 0 = unlabelled.

        Raises:
            DataFormatError: there are no labels, or they are damaged.
        """
        if self.labels_path is None:
            raise DataFormatError(self.capture.root, expected=f"{self.name}_vh_clean_2.labels.ply", got="no labels")
        return read_scannet_labels(self.labels_path)

    def segments(self) -> Partition:
        """The shipped segments of the mesh's vertices.  Annotators painted on these: they know the truth's boundaries.

        Raises:
            DataFormatError: there are none, or they belong to another mesh.
        """
        return read_segments(self._annotation(self.segments_path, "segs.json"), count=self._vertices)

    def objects(self) -> tuple[Int32[np.ndarray, "n"], Aggregation]:
        """The annotated object of each vertex (index into the groups, −1 = none), and the groups.

        Raises:
            DataFormatError: segments or objects are missing or damaged.
        """
        ids = read_segment_ids(self._annotation(self.segments_path, "segs.json"), count=self._vertices)
        aggregation = read_aggregation(self._annotation(self.aggregation_path, "aggregation.json"))
        return objects_of_elements(ids, aggregation), aggregation

    @property
    def _vertices(self) -> int:
        return 0 if self.capture.points is None else len(self.capture.points)

    def _annotation(self, path: Path | None, ending: str) -> Path:
        if path is None:
            raise DataFormatError(self.capture.root, expected=f"a file of {self.name} ending in {ending}", got="none")
        return path


def find_scannet_layout(path: Path) -> str | None:
    """ "exported", "sens" or None, by the files in a folder (or for a ``.sens`` file itself)."""
    if path.suffix == ".sens":
        return "sens" if is_file(path) else None
    if not path.is_dir():
        return None
    if (
        (path / "color").is_dir()
        and (path / "pose").is_dir()
        and (intrinsics_path(path, "color") or intrinsics_path(path, "depth"))
    ):
        return "exported"
    return "sens" if visible(path.glob("*.sens")) else None


def read_scannet(path: Path, *, every: int = 1, background: Background | None = None) -> ScannetScene:
    """A scene from an exported folder or a ``.sens`` stream; the folders are taken where both are there.

    Args:
        path: the scene's folder, or a ``.sens`` file.
        every: take every n-th frame (20 is usual: neighbours differ by a thirtieth of a second).
        background: colour behind transparent pixels.

    Returns:
        A metric capture in the poses' frame, +Z up, every 8th of its frames held out.

    Raises:
        DataFormatError: no such layout, damaged files, intrinsics that do not fit the images.
    """
    layout = find_scannet_layout(path)
    if layout is None:
        raise DataFormatError(path, expected="color/, pose/ and intrinsic/intrinsic_color.txt, or a .sens stream", got="neither")
    if every < 1:
        raise DataFormatError(path, "every", expected="1, 2, 3 …", got=every)
    root = path.parent if path.suffix == ".sens" else path
    if layout == "exported":
        frames, in_effect, skipped = exported_frames(root, every, background)
    else:
        stream = path if path.suffix == ".sens" else visible(root.glob("*.sens"))[0]
        frames, skipped = stream_frames(stream, every)
        in_effect = None
    if skipped:
        warnings.warn(f"{path}: {skipped} frames have no finite pose and are left out", CaptureWarning, 2)
    mesh_path = _only(root, "*_vh_clean_2.ply")
    name = root.resolve().name if mesh_path is None else mesh_path.name.removesuffix("_vh_clean_2.ply")
    capture = Capture(
        root=root,
        source_format="scannet",
        frames=frames,
        points=None if mesh_path is None else read_points_ply(mesh_path),
        test_names=every_nth_name(frames, _HOLDOUT),
        scale="metric",
        up_in_world=np.array([0.0, 0.0, 1.0]),
        background=in_effect,
        licence=LICENCE,
    )
    return ScannetScene(
        name=name,
        capture=capture,
        skipped_frames=skipped,
        axis_alignment=read_axis_alignment(root / f"{name}.txt"),
        mesh_path=mesh_path,
        labels_path=_only(root, "*_vh_clean_2.labels.ply"),
        segments_path=_only(root, "*_vh_clean_2.0.*.segs.json"),
        aggregation_path=_only(root, f"{name}.aggregation.json") or _only(root, "*.aggregation.json"),
    )


def _only(root: Path, pattern: str) -> Path | None:
    found = visible(root.glob(pattern))
    if len(found) > 1:
        raise DataFormatError(
            root, expected=f"one file {pattern}", got=", ".join(path.name for path in found[:4]), fix="one scene a folder"
        )
    return found[0] if found else None

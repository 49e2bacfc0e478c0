"""ScanNet scenes: exported folders and ``.sens`` streams read, exported folders written.

scene0000_00/
  color/0.jpg  depth/0.png  pose/0.txt           u16 millimetres, 0 = no measurement; 4×4 world_from_camera, OpenCV axes
  intrinsic/intrinsic_color.txt, _depth.txt      4×4, pixel centres at integers (we add ½); or intrinsics_color.txt
  label/0.png                                    optional NYU40 ids per pixel, 0 = unlabelled
  scene0000_00.sens                              instead of the folders
  scene0000_00_vh_clean_2.ply                    the fused mesh, +Z up
  scene0000_00_vh_clean_2.labels.ply             the same vertices with the property ``label``, NYU40
  scene0000_00_vh_clean_2.0.010000.segs.json     the segments that annotators painted on
  scene0000_00.aggregation.json                  objects as lists of segments
  scene0000_00.txt                               axisAlignment = 16 numbers

Frames whose pose is not finite (tracking was lost) are left out and counted.  Colour and depth have lenses of their own: depth is
looked up through its own intrinsics at each colour pixel.  Poses and mesh share one frame, which is kept; ``axis_alignment`` is
offered, not applied.
"""

import io
import math
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64, Int32, Int64, UInt16

from scenewise.errors import CaptureWarning, ConventionError, DataFormatError, ResourceError, ShapeError
from scenewise.io.atomic import atomic_folder, atomic_write_json, atomic_write_text
from scenewise.io.bounded import open_bounded
from scenewise.io.images import Background, camera_of, lens_camera_or_error, read_codes_u16, read_image_header
from scenewise.io.meshes import read_mesh, write_mesh_ply
from scenewise.io.ply import read_ply_table, read_points_ply
from scenewise.io.rgbd import RgbdFrame
from scenewise.io.segments import (
    Aggregation,
    objects_of_elements,
    read_aggregation,
    read_segment_ids,
    read_segments,
    write_segments,
)
from scenewise.io.sens import SensFrame, SensHeader, SensImageLoader, read_sens_depth_codes, read_sens_header, stream_sens
from scenewise.io.views import ListedView, frames_of_views, is_file, rigid_inverse
from scenewise.scenes.captures import Capture, every_nth_name
from scenewise.scenes.frames import DepthMap, Frame
from scenewise.scenes.meshes import TriangleMesh
from scenewise.scenes.partitions import Partition

NYU40_NAMES = (
    "wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture", "counter", "blinds",
    "desk", "shelves", "curtain", "dresser", "pillow", "mirror", "floor mat", "clothes", "ceiling", "books", "refrigerator",
    "television", "paper", "towel", "shower curtain", "box", "whiteboard", "person", "night stand", "toilet", "sink", "lamp",
    "bathtub", "bag", "otherstructure", "otherfurniture", "otherprop",
)  # fmt: skip
"""Names of the NYU40 ids 1 … 40; id 0 is unlabelled."""

SCANNET20_NYU40 = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 24, 28, 33, 34, 36, 39)
"""NYU40 id of each of the 20 benchmark classes; position = class id."""

SCANNET20_NAMES = tuple(NYU40_NAMES[nyu40 - 1] for nyu40 in SCANNET20_NYU40)

LICENCE = "ScanNet terms of use (research, non-commercial)"
_HOLDOUT = 8
_MISSING_CODE = 65535
_CODES_PER_METRE = 1000.0
_COLOR_SUFFIXES = (".jpg", ".png", ".jpeg")
_MAX_TEXT_BYTES = 1 << 20
_JPEG_QUALITY = 95


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


def scannet20_of_nyu40(nyu40_ids: Int64[np.ndarray, "*shape"]) -> Int64[np.ndarray, "*shape"]:
    """Benchmark class (0 … 19) of NYU40 ids; −1 for everything that is not scored, unlabelled included."""
    return classes_of_nyu40(nyu40_ids, SCANNET20_NYU40)


def classes_of_nyu40(nyu40_ids: Int64[np.ndarray, "*shape"], nyu40_of_class: Sequence[int]) -> Int64[np.ndarray, "*shape"]:
    """Position in a list of NYU40 ids; −1 for everything that is not in it.

    Args:
        nyu40_ids: as label files have them, 0 = unlabelled.
        nyu40_of_class: the id of each class.
    """
    table = np.full(len(NYU40_NAMES) + 2, -1, dtype=np.int64)
    table[list(nyu40_of_class)] = np.arange(len(nyu40_of_class))
    known = (nyu40_ids >= 0) & (nyu40_ids <= len(NYU40_NAMES))
    classes: np.ndarray = table[np.where(known, nyu40_ids, len(NYU40_NAMES) + 1)]
    return classes


# ------------------------------------------------------------------------------------------------------------------- reading


def find_scannet_layout(path: Path) -> str | None:
    """ "exported", "sens" or None, by the files in a folder (or for a ``.sens`` file itself)."""
    if path.suffix == ".sens":
        return "sens" if is_file(path) else None
    if not path.is_dir():
        return None
    if (
        (path / "color").is_dir()
        and (path / "pose").is_dir()
        and (_intrinsics_path(path, "color") or _intrinsics_path(path, "depth"))
    ):
        return "exported"
    return "sens" if any(path.glob("*.sens")) else None


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
        frames, in_effect, skipped = _exported_frames(root, every, background)
    else:
        stream = path if path.suffix == ".sens" else min(root.glob("*.sens"))
        frames, skipped = _sens_frames(stream, every)
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
        axis_alignment=_axis_alignment(root / f"{name}.txt"),
        mesh_path=mesh_path,
        labels_path=_only(root, "*_vh_clean_2.labels.ply"),
        segments_path=_only(root, "*_vh_clean_2.0.*.segs.json"),
        aggregation_path=_only(root, f"{name}.aggregation.json") or _only(root, "*.aggregation.json"),
    )


def read_scannet_labels(path: Path) -> Int64[np.ndarray, "n"]:
    """NYU40 id per vertex of a ``.labels.ply``, 0 = unlabelled.

    Raises:
        DataFormatError: no property ``label``, or ids beyond 40.
    """
    table = read_ply_table(path)
    if "label" not in table.columns:
        raise DataFormatError(path, "header", expected="the property label", got=", ".join(table.columns)[:80])
    ids = table.columns["label"].astype(np.int64)
    if len(ids) and not (int(ids.min()) >= 0 and int(ids.max()) <= len(NYU40_NAMES)):
        raise DataFormatError(path, "label", expected=f"0 … {len(NYU40_NAMES)}", got=f"{ids.min()} … {ids.max()}")
    return ids


def read_scannet_frame_labels(frame: Frame) -> Int64[np.ndarray, "height width"] | None:
    """NYU40 id per pixel of a frame read from folders, 0 = unlabelled; None where there is no ``label/N.png``."""
    if frame.image_path is None:
        return None
    path = frame.image_path.parent.parent / "label" / f"{frame.image_path.stem}.png"
    if not is_file(path):
        return None
    codes = read_codes_u16(path).astype(np.int64)
    height, width = codes.shape
    rows = ((np.arange(frame.camera.height) + 0.5) * height / frame.camera.height).astype(np.int64)
    columns = ((np.arange(frame.camera.width) + 0.5) * width / frame.camera.width).astype(np.int64)
    return np.ascontiguousarray(codes[rows[:, None], columns[None, :]])


def _only(root: Path, pattern: str) -> Path | None:
    found = sorted(root.glob(pattern))
    if len(found) > 1:
        raise DataFormatError(
            root, expected=f"one file {pattern}", got=", ".join(path.name for path in found[:4]), fix="one scene a folder"
        )
    return found[0] if found else None


def _intrinsics_path(root: Path, kind: str) -> Path | None:
    names = (
        f"intrinsic/intrinsic_{kind}.txt",
        f"intrinsics_{kind}.txt",
        f"intrinsic_{kind}.txt",
        f"intrinsic/intrinsics_{kind}.txt",
    )
    return next((root / name for name in names if is_file(root / name)), None)


def _text(path: Path) -> str:
    with open_bounded(path) as (file, size):
        if size > _MAX_TEXT_BYTES:
            raise DataFormatError(path, expected=f"at most {_MAX_TEXT_BYTES:,} bytes of text", got=f"{size:,}")
        try:
            return file.read(size).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataFormatError(path, expected="text in UTF-8", got=str(error)) from error


def _numbers(path: Path, text: str, counts: tuple[int, ...]) -> list[float]:
    """Numbers of a text, one of some allowed counts; NaN and Inf pass."""
    fields = text.replace(",", " ").split()
    if len(fields) not in counts:
        raise DataFormatError(path, expected=" or ".join(f"{count} numbers" for count in counts), got=f"{len(fields)} fields")
    try:
        return [float(field) for field in fields]
    except ValueError as error:
        raise DataFormatError(path, expected=f"{counts[0]} numbers", got=str(error)) from error


def _read_intrinsics(path: Path) -> Float64[np.ndarray, "3 3"]:
    values = _numbers(path, _text(path), (16, 9))
    K = np.array(values).reshape(4 if len(values) == 16 else 3, -1)[:3, :3].copy()
    fits = np.isfinite(K).all() and K[0, 0] > 0 and K[1, 1] > 0 and np.abs(K[2] - [0, 0, 1]).max() < 1e-6
    if not fits or abs(K[0, 1]) > 1e-6 or abs(K[1, 0]) > 1e-6:
        raise DataFormatError(path, expected="fx 0 cx / 0 fy cy / 0 0 1", got=K.tolist(), fix="restore the file")
    K[:2, 2] += 0.5
    return K


def _is_centred(K: Float64[np.ndarray, "3 3"], width: int, height: int) -> bool:
    """Whether a principal point can belong to an image of this size."""
    return bool(abs(K[0, 2] / width - 0.5) < 0.15 and abs(K[1, 2] / height - 0.5) < 0.15)


def _usable_pose(path: Path, place: str, pose: Float64[np.ndarray, "4 4"]) -> bool:
    """False where all of it is non-finite: tracking was lost.

    Raises:
        DataFormatError: non-finite in part, or no affine transform.
    """
    if not np.isfinite(pose[:3]).any():
        return False
    if not np.isfinite(pose).all() or np.abs(pose[3] - [0, 0, 0, 1]).max() > 1e-4:
        raise DataFormatError(
            path, place, expected="a rigid 4×4 pose, or one that is all −inf", got=pose.tolist(), fix="delete the frame"
        )
    return True


@dataclass(frozen=True)
class ScannetDepthLoader:
    """Decodes depth onto the pixels of the colour image, through the depth camera's own intrinsics.

    Attributes:
        source: the PNG, or the ``.sens`` stream.
        K_depth: at the depth map's size.
        K_color: at the colour image's size.
        size: width, height of the colour image.
        codes_per_metre: of the depth codes.
        in_stream: the frame and header in a ``.sens`` stream; None for a PNG.
    """

    source: Path
    K_depth: Float64[np.ndarray, "3 3"]
    K_color: Float64[np.ndarray, "3 3"]
    size: tuple[int, int]
    codes_per_metre: float = _CODES_PER_METRE
    in_stream: tuple[SensFrame, SensHeader] | None = None

    def __call__(self) -> DepthMap:
        """Depth along +Z in metres, 0 = no measurement.

        Raises:
            DataFormatError: missing or damaged.
        """
        codes: UInt16[np.ndarray, "rows columns"] = (
            read_codes_u16(self.source) if self.in_stream is None else read_sens_depth_codes(self.source, *self.in_stream)
        )
        width, height = self.size
        across = self._places(0, width, codes.shape[1])
        down = self._places(1, height, codes.shape[0])
        seen = codes[down.clip(0)[:, None], across.clip(0)[None, :]]
        seen = np.where((down < 0)[:, None] | (across < 0)[None, :] | (seen == _MISSING_CODE), 0, seen)
        return seen.astype(np.float32) * np.float32(1.0 / self.codes_per_metre)

    def _places(self, axis: int, count: int, available: int) -> Int64[np.ndarray, "pixels"]:
        """Depth column (or row) of each colour column (or row); −1 outside."""
        slope = (np.arange(count) + 0.5 - self.K_color[axis, 2]) / self.K_color[axis, axis]
        place = np.floor(slope * self.K_depth[axis, axis] + self.K_depth[axis, 2]).astype(np.int64)
        return np.where((place >= 0) & (place < available), place, -1)


def _exported_frames(root: Path, every: int, background: Background | None) -> tuple[tuple[Frame, ...], Background | None, int]:
    color_names: dict[str, str] = {}
    for entry in os.scandir(root / "color"):
        stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122 - a name, not a path
        if suffix.lower() in _COLOR_SUFFIXES:
            color_names[stem] = entry.name
    pose_stems = {entry.name[:-4] for entry in os.scandir(root / "pose") if entry.name.endswith(".txt")}
    stems = sorted(set(color_names) | pose_stems, key=lambda stem: (len(stem), stem))[::every]
    suffix = os.path.splitext(next(iter(color_names.values()), "0.jpg"))[1]  # noqa: PTH122
    first = next((root / "color" / color_names[stem] for stem in stems if stem in color_names), None)
    K, K_depth, width, height = _lenses(root, first)
    lens = lens_camera_or_error(
        root / "color", "intrinsics", "PINHOLE", (float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])), width, height
    )
    views, poses, skipped = [], [], 0
    for stem in stems:
        pose_path = root / "pose" / f"{stem}.txt"
        pose = np.full((4, 4), np.nan)
        if stem in pose_stems:
            pose = np.array(_numbers(pose_path, _text(pose_path), (16,))).reshape(4, 4)
        if not _usable_pose(pose_path, "", pose):
            skipped += 1
            continue
        name = f"color/{color_names.get(stem, stem + suffix)}"
        views.append(ListedView(name=name, image_path=root / name, lens_camera=lens, place=f"pose/{stem}.txt"))
        poses.append(pose)
    camera_from_world = rigid_inverse(torch.from_numpy(np.array(poses, dtype=np.float64).reshape(-1, 4, 4)))
    frames, in_effect = frames_of_views(root / "pose", views, camera_from_world, background)

    def with_depth(frame: Frame) -> Frame:
        assert frame.image_path is not None
        depth_path = root / "depth" / f"{frame.image_path.stem}.png"
        if not is_file(depth_path):
            return frame
        size = (frame.camera.width, frame.camera.height)
        return replace(frame, load_depth=ScannetDepthLoader(depth_path, K_depth, frame.camera.K.numpy(), size))

    return tuple(with_depth(frame) for frame in frames), in_effect, skipped


def _lenses(root: Path, first_image: Path | None) -> tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, "3 3"], int, int]:
    """Intrinsics of colour and depth, and the colour images' size."""
    color_path, depth_path = _intrinsics_path(root, "color"), _intrinsics_path(root, "depth")
    color = None if color_path is None else _read_intrinsics(color_path)
    depth = None if depth_path is None else _read_intrinsics(depth_path)
    candidates = [K for K in (color, depth) if K is not None]
    if first_image is None:
        K = candidates[0]
        return K, candidates[-1], max(1, round(2 * K[0, 2])), max(1, round(2 * K[1, 2]))
    header = read_image_header(first_image)
    # Tools often store colour shrunk to the depth's size and leave both files as they were; then depth's intrinsics hold.
    fitting = [K for K in candidates if _is_centred(K, header.width, header.height)]
    if not fitting:
        raise DataFormatError(
            color_path or depth_path or root,
            expected=f"a principal point near the middle of {header.width}×{header.height}",
            got=f"({candidates[0][0, 2]:g}, {candidates[0][1, 2]:g})",
            fix="scale the intrinsics with the images",
        )
    return fitting[0], candidates[-1], header.width, header.height


def _sens_frames(path: Path, every: int) -> tuple[tuple[Frame, ...], int]:
    header = read_sens_header(path)
    K, (width, height) = header.K_color, header.color_size
    lens = lens_camera_or_error(
        path, "header", "PINHOLE", (float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])), width, height
    )
    frames, skipped = [], 0
    for found in stream_sens(path, every):
        place = f"frame {found.index}"
        if not _usable_pose(path, place, found.world_from_camera):
            skipped += 1
            continue
        camera_from_world = rigid_inverse(torch.from_numpy(found.world_from_camera)[None])[0]
        try:
            camera = camera_of(lens, camera_from_world)
        except ConventionError as error:
            raise DataFormatError(path, f"{place}: {error}") from error
        frames.append(
            Frame(
                name=f"color/{found.index:06d}.jpg",
                camera=camera,
                load_image=SensImageLoader(path, place, found.color_at, header.color_size, header.color_compression),
                load_depth=ScannetDepthLoader(
                    path, header.K_depth, K, header.color_size, header.codes_per_metre, (found, header)
                ),
                image_path=path,
            )
        )
    return tuple(frames), skipped


def _axis_alignment(path: Path) -> Float64[np.ndarray, "4 4"] | None:
    if not is_file(path):
        return None
    for line in _text(path).splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "axisAlignment":
            matrix = np.array(_numbers(path, value, (16,))).reshape(4, 4)
            if not np.isfinite(matrix).all():
                raise DataFormatError(path, "axisAlignment", expected="finite numbers", got=value[:80])
            return matrix
    return None


# ------------------------------------------------------------------------------------------------------------------- writing


def write_scannet_scene(
    path: Path,
    frames: Iterable[RgbdFrame],
    K: Float64[np.ndarray, "3 3"],
    width: int,
    height: int,
    *,
    mesh: TriangleMesh | None = None,
    nyu40_ids: Int64[np.ndarray, "n"] | None = None,
    segments: Partition | None = None,
    instance_ids: Int64[np.ndarray, "n"] | None = None,
    instance_names: Sequence[str] | None = None,
    axis_alignment: Float64[np.ndarray, "4 4"] | None = None,
) -> None:
    """Writes a scene in the exported layout; ``path``, whose name is the scene's, appears only when all of it is on the disk.

    Args:
        path: folder to create; must be new or empty.
        frames: views in order, consumed one at a time.  ``class_ids``, where given, are NYU40 ids (−1 becomes 0 = unlabelled) and
            go to ``label/``; poses that are not finite are written as ScanNet marks lost tracking.
        K: intrinsics in pixels of colour and depth alike, centre of the first pixel at (0.5, 0.5).
        width: image width in pixels.
        height: image height in pixels.
        mesh: fused surface, +Z up, in the poses' frame.
        nyu40_ids: label per vertex, 0 = unlabelled.
        segments: sets of vertices; every vertex needs one.
        instance_ids: object per vertex, −1 = none; written as lists of segments, each with the object most of its vertices have.
        instance_names: label of each object.
        axis_alignment: aligned_from_world; the identity when None.

    Raises:
        ShapeError: images or vertex arrays of another size.
        ConventionError: labels beyond 40, negative segments, objects without names or segments.
        ResourceError: the disk is full or read-only.
    """
    count = 0 if mesh is None else len(mesh.vertices_in_world)
    for what, values in (
        ("nyu40_ids", nyu40_ids),
        ("segments", None if segments is None else segments.ids),
        ("instance_ids", instance_ids),
    ):
        if values is not None and values.shape != (count,):
            raise ShapeError(what, expected=f"({count},), one per vertex of the mesh", got=f"{values.shape}")
    if nyu40_ids is not None and count and not (int(nyu40_ids.min()) >= 0 and int(nyu40_ids.max()) <= len(NYU40_NAMES)):
        raise ConventionError("nyu40_ids", expected=f"0 … {len(NYU40_NAMES)}", got=f"{nyu40_ids.min()} … {nyu40_ids.max()}")
    if segments is not None and (segments.ids < 0).any():
        raise ConventionError("segments", expected="a segment for every vertex", got=f"{int((segments.ids < 0).sum())} without")
    if instance_ids is not None and (
        segments is None or instance_names is None or int(instance_ids.max(initial=-1)) >= len(instance_names)
    ):
        raise ConventionError("instance_ids", expected="segments, and a name for every object", got="neither or too few")
    name = path.name
    with atomic_folder(path, replace=False) as folder:
        for part in ("color", "depth", "pose", "intrinsic"):
            (folder / part).mkdir()
        square = np.eye(4)
        square[:3, :3] = K
        square[:2, 2] -= 0.5
        for kind in ("color", "depth"):
            atomic_write_text(folder / f"intrinsic/intrinsic_{kind}.txt", _matrix_text(square))
            atomic_write_text(folder / f"intrinsic/extrinsic_{kind}.txt", _matrix_text(np.eye(4)))
        number = 0
        for number, frame in enumerate(frames, start=1):
            _write_frame(folder, number - 1, frame, width, height)
        alignment = " ".join(f"{value:.9g}" for value in (np.eye(4) if axis_alignment is None else axis_alignment).ravel())
        atomic_write_text(
            folder / f"{name}.txt",
            f"axisAlignment = {alignment}\ncolorHeight = {height}\ncolorWidth = {width}\ndepthHeight = {height}\n"
            f"depthWidth = {width}\nnumColorFrames = {number}\nnumDepthFrames = {number}\n",
        )
        if mesh is not None:
            write_mesh_ply(folder / f"{name}_vh_clean_2.ply", mesh)
        if mesh is not None and nyu40_ids is not None:
            write_mesh_ply(folder / f"{name}_vh_clean_2.labels.ply", mesh, extra={"label": nyu40_ids.astype(np.uint16)})
        if segments is not None:
            write_segments(folder / f"{name}_vh_clean_2.0.010000.segs.json", segments, scene_id=name)
        if segments is not None and instance_ids is not None and instance_names is not None:
            groups = _segment_groups(segments.ids, instance_ids, instance_names)
            record = {
                "sceneId": name,
                "appId": "scenewise",
                "segGroups": groups,
                "segmentsFile": f"{name}_vh_clean_2.0.010000.segs.json",
            }
            atomic_write_json(folder / f"{name}.aggregation.json", record, indent=None)


def _write_frame(folder: Path, index: int, frame: RgbdFrame, width: int, height: int) -> None:
    from PIL import Image

    if frame.image_u8.shape != (height, width, 3) or frame.depth.shape != (height, width):
        raise ShapeError(f"frame {index}", expected=f"{height}×{width}", got=f"{frame.image_u8.shape} and {frame.depth.shape}")
    color, depth = io.BytesIO(), io.BytesIO()
    Image.fromarray(frame.image_u8).save(color, format="JPEG", quality=_JPEG_QUALITY, subsampling=0)
    millimetres = frame.depth.astype(np.float64) * _CODES_PER_METRE
    measured = np.isfinite(millimetres) & (millimetres >= 0.5) & (millimetres < _MISSING_CODE - 0.5)
    codes = np.where(measured, np.rint(np.where(measured, millimetres, 0.0)), 0.0).astype(np.uint16)
    Image.fromarray(codes).save(depth, format="PNG", compress_level=1)
    pose = frame.world_from_camera
    is_lost = not math.isfinite(float(np.abs(pose).sum()))
    files = {
        f"color/{index}.jpg": color.getvalue(),
        f"depth/{index}.png": depth.getvalue(),
        f"pose/{index}.txt": ("-inf -inf -inf -inf\n" * 4 if is_lost else _matrix_text(pose)).encode(),
    }
    if frame.class_ids is not None:
        if frame.class_ids.shape != (height, width):
            raise ShapeError(f"class_ids of frame {index}", expected=f"{height}×{width}", got=f"{frame.class_ids.shape}")
        labels = io.BytesIO()
        Image.fromarray(np.maximum(frame.class_ids, 0).astype(np.uint16)).save(labels, format="PNG", compress_level=1)
        files[f"label/{index}.png"] = labels.getvalue()
    for name, data in files.items():
        try:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(data)
        except OSError as error:
            raise ResourceError(
                f"writing {folder / name}", expected="a writable folder with room", got=error.strerror or error
            ) from error


def _segment_groups(
    segments: Int32[np.ndarray, "n"], instance_ids: Int64[np.ndarray, "n"], names: Sequence[str]
) -> list[dict[str, object]]:
    owned = instance_ids >= 0
    keys, counts = np.unique(segments.astype(np.int64) * (len(names) + 1) + instance_ids + 1, return_counts=True)
    segment, instance = keys // (len(names) + 1), keys % (len(names) + 1) - 1
    best = np.lexsort((instance, -counts, segment))
    first = np.r_[True, segment[best][1:] != segment[best][:-1]] if len(best) else np.zeros(0, dtype=bool)
    owner = dict(zip(segment[best][first].tolist(), instance[best][first].tolist()))
    groups = []
    for number, object_id in enumerate(np.unique(instance_ids[owned]).tolist()):
        mine = sorted(one for one, whose in owner.items() if whose == object_id)
        groups.append({"id": number, "objectId": object_id, "segments": mine, "label": names[object_id]})
    return groups


def _matrix_text(matrix: Float64[np.ndarray, "rows columns"]) -> str:
    return "\n".join(" ".join(f"{value:.17g}" for value in row) for row in matrix.tolist()) + "\n"

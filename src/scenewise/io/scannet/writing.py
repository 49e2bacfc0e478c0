"""Scenes written in ScanNet's exported layout."""

import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int32, Int64

from scenewise.errors import ConventionError, ResourceError, ShapeError
from scenewise.io.atomic import atomic_folder, atomic_write_json, atomic_write_text
from scenewise.io.meshes import write_mesh_ply
from scenewise.io.rgbd.number_files import matrix_text
from scenewise.io.rgbd.writing import RgbdFrame, millimetres_u16
from scenewise.io.scannet.classes import NYU40_NAMES
from scenewise.io.segments import write_segments
from scenewise.scenes.meshes import TriangleMesh
from scenewise.scenes.partitions import Partition

_JPEG_QUALITY = 95


@dataclass(frozen=True)
class AnnotatedMesh:
    """The fused surface of a scene, with what annotators would say about its vertices.

    Attributes:
        mesh: +Z up, in the poses' frame.
        nyu40_ids: label per vertex, 0 = unlabelled.
        segments: sets of vertices; every vertex needs one.
        instance_ids: object per vertex, −1 = none; written as lists of segments, each with the object most of its vertices have.
        instance_names: label of each object.

    Raises:
        ShapeError: values for another number of vertices.
        ConventionError: labels beyond 40, negative segments, objects without names or segments.
    """

    mesh: TriangleMesh
    nyu40_ids: Int64[np.ndarray, "n"] | None = None
    segments: Partition | None = None
    instance_ids: Int64[np.ndarray, "n"] | None = None
    instance_names: Sequence[str] | None = None

    def __post_init__(self) -> None:
        count = len(self.mesh.vertices_in_world)
        ids, segments, instances = self.nyu40_ids, self.segments, self.instance_ids
        for what, values in (
            ("nyu40_ids", ids),
            ("segments", None if segments is None else segments.ids),
            ("instance_ids", instances),
        ):
            if values is not None and values.shape != (count,):
                raise ShapeError(what, expected=f"({count},), one per vertex of the mesh", got=f"{values.shape}")
        if ids is not None and count and not (int(ids.min()) >= 0 and int(ids.max()) <= len(NYU40_NAMES)):
            raise ConventionError("nyu40_ids", expected=f"0 … {len(NYU40_NAMES)}", got=f"{ids.min()} … {ids.max()}")
        if segments is not None and (segments.ids < 0).any():
            raise ConventionError(
                "segments", expected="a segment for every vertex", got=f"{int((segments.ids < 0).sum())} without"
            )
        if instances is not None and (
            segments is None or self.instance_names is None or int(instances.max(initial=-1)) >= len(self.instance_names)
        ):
            raise ConventionError("instance_ids", expected="segments, and a name for every object", got="neither or too few")


def write_scannet_scene(
    path: Path,
    frames: Iterable[RgbdFrame],
    K: Float64[np.ndarray, "3 3"],
    width: int,
    height: int,
    *,
    surface: AnnotatedMesh | None = None,
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
        surface: the fused mesh with its annotations.
        axis_alignment: aligned_from_world; the identity when None.

    Raises:
        ShapeError: images of another size.
        ResourceError: the disk is full or read-only.
    """
    name = path.name
    with atomic_folder(path, replace=False) as folder:
        for part in ("color", "depth", "pose", "intrinsic"):
            (folder / part).mkdir()
        square = np.eye(4)
        square[:3, :3] = K
        square[:2, 2] -= 0.5
        for kind in ("color", "depth"):
            atomic_write_text(folder / f"intrinsic/intrinsic_{kind}.txt", matrix_text(square))
            atomic_write_text(folder / f"intrinsic/extrinsic_{kind}.txt", matrix_text(np.eye(4)))
        number = 0
        for number, frame in enumerate(frames, start=1):
            _write_frame(folder, number - 1, frame, width, height)
        alignment = " ".join(f"{value:.9g}" for value in (np.eye(4) if axis_alignment is None else axis_alignment).ravel())
        atomic_write_text(
            folder / f"{name}.txt",
            f"axisAlignment = {alignment}\ncolorHeight = {height}\ncolorWidth = {width}\ndepthHeight = {height}\n"
            f"depthWidth = {width}\nnumColorFrames = {number}\nnumDepthFrames = {number}\n",
        )
        if surface is not None:
            _write_surface(folder, name, surface)


def _write_surface(folder: Path, name: str, surface: AnnotatedMesh) -> None:
    """The files of the mesh, its labels, its segments and its objects, as far as they are given."""
    mesh, segments = surface.mesh, surface.segments
    write_mesh_ply(folder / f"{name}_vh_clean_2.ply", mesh)
    if surface.nyu40_ids is not None:
        write_mesh_ply(folder / f"{name}_vh_clean_2.labels.ply", mesh, extra={"label": surface.nyu40_ids.astype(np.uint16)})
    if segments is not None:
        write_segments(folder / f"{name}_vh_clean_2.0.010000.segs.json", segments, scene_id=name)
    if segments is not None and surface.instance_ids is not None and surface.instance_names is not None:
        groups = _segment_groups(segments.ids, surface.instance_ids, surface.instance_names)
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
    Image.fromarray(millimetres_u16(frame.depth)).save(depth, format="PNG", compress_level=1)
    pose = frame.world_from_camera
    is_lost = not math.isfinite(float(np.abs(pose).sum()))
    files = {
        f"color/{index}.jpg": color.getvalue(),
        f"depth/{index}.png": depth.getvalue(),
        f"pose/{index}.txt": ("-inf -inf -inf -inf\n" * 4 if is_lost else matrix_text(pose)).encode(),
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

"""``scenewise export``: a scene in formats other programs open.

Splat files hold the scene's local coordinates in float32; a JSON file beside each says where they lie.  Points are written in the
frame of the capture, or in projected coordinates, in full.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_never

import numpy as np

from scenewise.commands.export.options import ExportOptions
from scenewise.engine.progress import NullProgress, Progress
from scenewise.errors import ConventionError, DataFormatError
from scenewise.geometry.spherical_harmonics import Y00
from scenewise.io.atomic import atomic_write_json
from scenewise.io.labels import write_labels
from scenewise.io.las import write_las
from scenewise.io.named_points import read_named_points
from scenewise.io.placing import in_source, source_from_world
from scenewise.io.ply.gaussians import ROWS_PER_BLOCK, open_gaussians_ply, write_gaussians_ply_blocks
from scenewise.io.ply.points import write_points_ply
from scenewise.io.scene_folder import POINTS_FILE, SPLATS_FILE, georeference_json, read_scene, read_scene_labels
from scenewise.io.spz import write_spz
from scenewise.parts.splats.merging import merged_to
from scenewise.scenes.gaussians import GaussianRows
from scenewise.scenes.labels import ElementLabels
from scenewise.scenes.point_clouds import PointCloud
from scenewise.scenes.scenes import Scene

_ENDINGS = {"ply": (".ply",), "spz": (".spz",), "points": (".ply", ".las", ".laz")}
EXPORTS_FOLDER = "exports"


@dataclass(frozen=True)
class ExportResult:
    """What was written.

    Attributes:
        path: the file.
        sidecars: files beside it: where it lies (JSON), labels.
        count: Gaussians or points in it.
        made_from: Gaussians or points that the scene has.
        bytes: its size.
        frame: "world" for the scene's local coordinates, "source" for those of the capture it was made from, "projected" for
            those of ``epsg``.
        epsg: code of the projected system the scene is referenced to, or None.
    """

    path: Path
    sidecars: tuple[Path, ...]
    count: int
    made_from: int
    bytes: int
    frame: str
    epsg: int | None


def export_scene(options: ExportOptions, progress: Progress | None = None) -> ExportResult:
    """Writes a scene's Gaussians or points to one file and what belongs to it beside it.

    A LAS file is always in projected coordinates where the scene has a georeference; a point PLY when asked.  Other points are in
    the frame of the capture.  Rows keep the order of splats.ply (points: of those opaque enough; merged Gaussians: of the
    heaviest of each), so labels stay aligned; of a scene without splats the named points are written, all of them.  Gaussians
    that are not merged go from file to file without being in memory all at once.

    Raises:
        DataFormatError: no scene there, a file name whose ending does not fit, or a file that exists and may not be replaced.
        ConventionError: projected coordinates were asked for and the scene has no georeference.
        ResourceError: the disk is full or the folder cannot be written.
    """
    progress = NullProgress() if progress is None else progress
    scene = read_scene(options.scene)
    path = _output_path(options)
    is_las = path.suffix.lower() in (".las", ".laz")
    if options.georeferenced and scene.georeference is None:
        raise ConventionError(
            "--georeferenced",
            expected="a scene with a georeference",
            got=f"none in {options.scene}",
            fix="reconstruct from a capture with GPS positions, or leave the option out",
        )
    is_projected = scene.georeference is not None and (is_las or options.georeferenced)
    if is_las and not is_projected:
        progress.warning(f"{path.name}: the scene has no georeference; coordinates are the capture's own, of an unnamed system")
    with progress.stage(f"export {options.format}"):
        labels_path: Path | None = None
        match options.format:
            case "ply" | "spz":
                count, labels_path = _write_splats(path, options, scene, progress)
            case "points":
                count = _write_points(path, scene, *_points(options, scene), is_projected=is_projected)
            case _:
                assert_never(options.format)
        frame = "projected" if is_projected else "source" if options.format == "points" else "world"
        made_from = scene.num_gaussians or count
        description = _description(scene, path, count, frame, labels_path) | {"made_from": made_from}
        atomic_write_json(_beside(path, ".json"), description)
    sidecars = (*(() if labels_path is None else (labels_path,)), _beside(path, ".json"))
    epsg = None if scene.georeference is None else scene.georeference.epsg
    return ExportResult(path, sidecars, count, made_from, path.stat().st_size, frame, epsg)


def _output_path(options: ExportOptions) -> Path:
    endings = _ENDINGS[options.format]
    if options.out is None:
        name = "points" if options.format == "points" else "splats"
        ending = ".laz" if options.georeferenced else endings[0]
        path = options.scene / EXPORTS_FOLDER / f"{name}{ending}"
    else:
        path = options.out
    if path.suffix.lower() not in endings:
        got = path.suffix or "none"
        raise DataFormatError(path, expected=f"the ending {' or '.join(endings)} for --format {options.format}", got=got)
    if path.resolve().parent == options.scene.resolve():
        raise DataFormatError(
            path,
            expected="a file outside the scene folder",
            got="the place of the scene's own files",
            fix=f"choose {EXPORTS_FOLDER}/{path.name}",
        )
    if path.exists() and not options.overwrite:
        raise DataFormatError(path, expected="a new file", got="an existing one", fix="--overwrite replaces it")
    return path


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _write_splats(path: Path, options: ExportOptions, scene: Scene, progress: Progress) -> tuple[int, Path | None]:
    """Their number, and the file of their labels where they have any; merged ones have the label of the heaviest."""
    if not scene.num_gaussians:
        raise DataFormatError(options.scene, expected="splats", got="a scene of points alone", fix="--format points writes those")
    labels = read_scene_labels(options.scene, "splats")
    stored = open_gaussians_ply(options.scene / SPLATS_FILE)
    if options.sh_degree is not None and options.sh_degree < stored.sh_degree:
        stored = stored.with_sh_degree(options.sh_degree)
    gaussians: GaussianRows = stored
    if options.max_gaussians is not None and options.max_gaussians < len(stored):
        merged = merged_to(stored.in_memory(), options.max_gaussians, progress=progress)
        gaussians, labels = merged.gaussians, None if labels is None else _labels_of(labels, merged.source_rows.numpy())
    if options.format == "ply":
        blocks = gaussians.blocks(ROWS_PER_BLOCK)
        write_gaussians_ply_blocks(path, blocks, sh_degree=gaussians.sh_degree, count=len(gaussians))
    else:
        write_spz(path, gaussians)
    labels_path = _beside(path, ".labels.safetensors")
    if labels is None:  # those of a file that was replaced
        labels_path.unlink(missing_ok=True)
        return len(gaussians), None
    write_labels(labels_path, labels, count=len(gaussians))
    return len(gaussians), labels_path


def _labels_of(labels: ElementLabels, rows: np.ndarray) -> ElementLabels:
    return ElementLabels(labels.class_ids[rows], labels.instance_ids[rows], labels.confidence[rows])


def _points(options: ExportOptions, scene: Scene) -> tuple[PointCloud, ElementLabels | None]:
    """The centres of the Gaussians that can be seen, or the points of a scene that has no others; in its world."""
    if not scene.num_gaussians:
        return read_named_points(options.scene / POINTS_FILE), read_scene_labels(options.scene, "points")
    gaussians, labels = scene.gaussians, read_scene_labels(options.scene, "splats")
    kept = (gaussians.opacities > options.min_opacity).numpy()
    if not kept.any():
        raise ConventionError(
            "--min-opacity", expected="some Gaussians above it", got=f"none above {options.min_opacity:g}", fix="lower it"
        )
    rgb = 0.5 + Y00 * gaussians.sh0.numpy()[kept, 0]
    cloud = PointCloud(gaussians.means.numpy()[kept].astype(np.float64), (np.clip(rgb, 0, 1) * 255 + 0.5).astype(np.uint8))
    if labels is None:
        return cloud, None
    return cloud, _labels_of(labels, kept)


def _write_points(
    path: Path, scene: Scene, cloud_in_world: PointCloud, labels: ElementLabels | None, *, is_projected: bool
) -> int:
    if is_projected and scene.georeference is not None:
        projected = scene.georeference.projected_from_world(cloud_in_world.points_in_world)
        cloud = PointCloud(projected, cloud_in_world.colors_u8)
    else:
        cloud = in_source(cloud_in_world, scene.world_from_source)
    if path.suffix.lower() == ".ply":
        extra = {} if labels is None else {"label": labels.class_ids, "instance": labels.instance_ids}
        write_points_ply(path, cloud, extra=extra)
    else:
        write_las(path, cloud, epsg=scene.georeference.epsg if is_projected and scene.georeference is not None else None)
    return len(cloud)


def _description(scene: Scene, path: Path, count: int, frame: str, labels_path: Path | None) -> dict[str, Any]:
    reference = scene.georeference
    return {
        "format": "scenewise-export",
        "version": 1,
        "file": path.name,
        "count": count,
        "frame": frame,
        "scale": scene.scale,
        "source_from_world": source_from_world(scene.world_from_source).tolist(),
        "up_in_world": None if scene.up_in_world is None else scene.up_in_world.tolist(),
        "georeference": None if reference is None else georeference_json(reference),
        "labels": None if labels_path is None else labels_path.name,
        "licences": dict(scene.licences),
    }

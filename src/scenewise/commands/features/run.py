"""``scenewise features``: what a pre-trained pair says of points and pictures, as files that any program reads.

my_features/
  features.json           of what, by whom, how many
  points.safetensors      positions f64 [n, 3], features f16 [n, dim], scores f16 [n]: those of each point's voxel
  keypoints.safetensors   the same of the key points, the surest first
  keypoints.ply           to look at: positions, colours, scores
  pictures/               a teacher from files: teacher.json and NAME.safetensors, features f16 [rows, columns, dim]

Positions are in the source's own frame; row i of the points is point i of the source.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, final

import numpy as np
import torch
from jaxtyping import Float64, UInt8

from scenewise.commands.features.options import FeaturesOptions
from scenewise.engine.devices import compute_device
from scenewise.engine.memory import peak_resident_bytes, text_from_bytes
from scenewise.engine.progress import NullProgress, Progress, duration_text
from scenewise.engine.threads import compute_threads
from scenewise.errors import ConventionError, DataFormatError, ScenewiseError
from scenewise.io.atomic import atomic_folder, atomic_write_json
from scenewise.io.captures import usable_frames
from scenewise.io.json_fields import read_json_object
from scenewise.io.listed_files import visible
from scenewise.io.placing import in_source
from scenewise.io.ply.points import write_points_ply
from scenewise.io.teacher_files import TeacherAnswer, TeacherFilesInfo, answer_path, write_answer, write_teacher_info
from scenewise.io.tensor_files import write_tensors
from scenewise.parts.points.settings import spread_evenly
from scenewise.parts.retrieval.keypoints import KeyPoints, scene_keypoints
from scenewise.parts.scans.bare_scans import scan_axes
from scenewise.parts.sources.opening import open_scans
from scenewise.parts.sources.raw_scans import RawScan
from scenewise.scenes.frames import Frame
from scenewise.scenes.point_clouds import PointCloud
from scenewise.teachers.consistent import CloudFeatures, ConsistentFeatures, open_consistent

ABOUT_FILE, POINTS_FILE, KEYPOINTS_FILE, KEYPOINTS_PLY = (
    "features.json",
    "points.safetensors",
    "keypoints.safetensors",
    "keypoints.ply",
)
PICTURES_FOLDER = "pictures"
_FORMAT = "scenewise features 1"
_KIND = "features"


@dataclass(frozen=True)
class FeaturesSummary:
    """What was written.

    Attributes:
        folder: where.
        teacher: whose features.
        points: of the source.
        voxels: that they lie in.
        keypoints: of the scene.
        pictures: that were looked at.
        dim: numbers of a point's feature.
        space: of the pictures' features; None without pictures.
        picture_dim: numbers of these; None without pictures.
        num_bytes: of all files.
        seconds: in all.
        peak_memory_bytes: of this process.
    """

    folder: Path
    teacher: str
    points: int
    voxels: int
    keypoints: int
    pictures: int
    dim: int
    space: str | None
    picture_dim: int | None
    num_bytes: int
    seconds: float
    peak_memory_bytes: int

    def text(self) -> str:
        """A few lines for people."""
        of_pictures = f", {self.pictures:,} pictures ({self.space}, {self.picture_dim} numbers)" if self.pictures else ""
        return (
            f"{self.points:,} points in {self.voxels:,} voxels, {self.keypoints:,} key points ({self.dim} numbers each)"
            f"{of_pictures}\n"
            f"{text_from_bytes(self.num_bytes)} in {self.folder} after {duration_text(self.seconds)}, "
            f"peak memory {text_from_bytes(self.peak_memory_bytes)}"
        )


def write_features(
    options: FeaturesOptions, progress: Progress | None = None, pair: ConsistentFeatures | None = None
) -> FeaturesSummary:
    """Looks at a source with a pre-trained pair and writes what it says.

    Args:
        options: see there.
        progress: where to report.
        pair: used instead of ``options.teacher``.

    Raises:
        DataFormatError: the source or the run cannot be read, or the folder is in use.
        ConventionError: several scans, points without colours, no such teacher, or no words where these are asked for.
        ResourceError: memory or disk do not suffice.
    """
    progress = NullProgress() if progress is None else progress
    began = time.monotonic()
    _require_place(options.out, overwrite=options.overwrite)
    with compute_threads(options.threads):
        if pair is None:
            pair = open_consistent(options.teacher, device=str(compute_device(options.device)))
        space = _space(options, pair)
        raw = _source(options)
        frames = _frames(raw, options)
        said = _Features(raw, pair, options, progress)
        with atomic_folder(options.out) as folder:
            if frames:
                said.write_pictures(folder / PICTURES_FOLDER, frames, space)
            cloud, keypoints = said.write_points(folder)
            about = {
                "format": _FORMAT,
                "source": str(options.source),
                "points_from": raw.cloud_source,
                "teacher": pair.name,
                "fingerprint": pair.fingerprint,
                "licence": pair.licence,
                "voxel": pair.about.voxel,
                "dim": pair.dim,
                "points": len(raw.cloud),
                "keypoints": len(keypoints),
                "pictures": len(frames),
                "space": space if frames else None,
            }
            atomic_write_json(folder / ABOUT_FILE, about)
            num_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return FeaturesSummary(
        folder=options.out,
        teacher=pair.name,
        points=len(raw.cloud),
        voxels=len(cloud),
        keypoints=len(keypoints),
        pictures=len(frames),
        dim=pair.dim,
        space=space if frames else None,
        picture_dim=(pair.about.prior_dim if space == "text" else pair.dim) if frames else None,
        num_bytes=num_bytes,
        seconds=time.monotonic() - began,
        peak_memory_bytes=peak_resident_bytes(),
    )


Space = Literal["text", "condense"]


def _require_place(folder: Path, *, overwrite: bool) -> None:
    """Refuses a folder that is in use, before anything is read."""
    if not folder.is_dir() or not visible(folder.iterdir()):
        return  # a file is refused when the folder is made
    try:
        is_ours = read_json_object(folder / ABOUT_FILE).text("format") == _FORMAT
    except ScenewiseError:
        is_ours = False
    if not (is_ours and overwrite):
        got, fix = (
            ("features", "--overwrite replaces them") if is_ours else ("a folder with other files", "choose another folder")
        )
        raise DataFormatError(folder, expected="a new or empty folder", got=got, fix=fix)


def _space(options: FeaturesOptions, pair: ConsistentFeatures) -> Space:
    knows_words = pair.pair.shape.text_dim is not None
    if options.space == "text" and not knows_words:
        raise ConventionError(
            "--space",
            expected="condense: the pair's tower knows no words",
            got="text",
            fix="leave it out, or use a pair beside a CLIP",
        )
    return options.space or ("text" if knows_words else "condense")


def _source(options: FeaturesOptions) -> RawScan:
    sources = open_scans(options.source, max_points=options.max_points, seed=options.seed)
    if len(sources) != 1:
        got = f"{len(sources)} in {options.source}"
        raise ConventionError("source", expected="one scan", got=got, fix="name the folder of one of them")
    raw = sources[0].open()
    if raw.cloud.colors_u8 is None:
        raise ConventionError(f"points of {raw.name}", expected="colours", got="none", fix="colour them from the pictures first")
    return raw


def _frames(raw: RawScan, options: FeaturesOptions) -> tuple[Frame, ...]:
    if raw.capture is None or options.no_pictures:
        return ()
    frames = usable_frames(raw.capture)
    frames = spread_evenly(frames, options.frames or len(frames))
    places = [answer_path("", frame.name) for frame in frames]
    if len(set(places)) < len(places):
        twice = next(place for place in places if places.count(place) > 1)
        raise ConventionError("names of pictures", expected="different ones without their endings", got=f"{twice.stem} twice")
    return frames


@final
class _Features:
    """What a pair says of a scan."""

    def __init__(self, raw: RawScan, pair: ConsistentFeatures, options: FeaturesOptions, progress: Progress) -> None:
        self.raw, self.pair, self.options, self.progress = raw, pair, options, progress
        self.axes = scan_axes(raw)

    def write_points(self, folder: Path) -> tuple[CloudFeatures, KeyPoints]:
        """Files of the points and of the key points."""
        colors = self.raw.cloud.colors_u8
        assert colors is not None
        with self.progress.stage("points"):
            cloud = self.pair.of_points(self.axes(self.raw.cloud.points_in_world), colors)
            keypoints = scene_keypoints(cloud, most=self.options.keypoints)
            voxels = cloud.voxel_of_point
            places = self._in_source(self.raw.cloud.points_in_world)
            _write(folder / POINTS_FILE, places, cloud.features[voxels], cloud.scores[voxels])
            places = self._in_source(self._in_world(keypoints.positions.astype(np.float64)))
            _write(folder / KEYPOINTS_FILE, places, keypoints.features, keypoints.scores)
            seen = PointCloud(places, _colors_at(keypoints, cloud, colors))
            write_points_ply(folder / KEYPOINTS_PLY, seen, extra={"score": keypoints.scores})
        return cloud, keypoints

    def write_pictures(self, folder: Path, frames: Sequence[Frame], space: Space) -> None:
        """A teacher from files."""
        pair = self.pair
        is_text = space == "text"
        info = TeacherFilesInfo(
            "features",
            pair.about.prior_dim if is_text else pair.dim,
            text_space=pair.about.tower if is_text else None,
            logit_scale=pair.logit_scale,
            templates=pair.default_templates(),
            licence=pair.licence,
        )
        folder.mkdir()
        write_teacher_info(folder, info)
        with self.progress.stage("pictures", len(frames)) as stage:
            for frame in frames:
                assert frame.load_image is not None
                seen = pair.of_picture(frame.load_image(), self.options.picture_width).features
                path = answer_path(folder, frame.name)
                path.parent.mkdir(parents=True, exist_ok=True)
                write_answer(folder, frame.name, info, TeacherAnswer(pair.translated(seen) if is_text else seen))
                stage.advance()

    def _in_world(self, positions: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
        """From the scan's own axes."""
        return self.axes.world_units_per_metre * positions @ self.axes.rotation + self.axes.middle_in_world

    def _in_source(self, points_in_world: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
        """As the source's own files give them."""
        if self.raw.capture is None:
            return points_in_world
        return in_source(PointCloud(points_in_world), self.raw.capture.world_from_source).points_in_world


def _colors_at(
    keypoints: KeyPoints, cloud: CloudFeatures, colors_u8: UInt8[np.ndarray, "n 3"]
) -> UInt8[np.ndarray, "keypoints 3"]:
    """Of a point in each key point's voxel."""
    from scipy.spatial import cKDTree

    rows = cKDTree(cloud.centers).query(keypoints.positions)[1]
    first = np.unique(cloud.voxel_of_point, return_index=True)[1]  # every voxel holds a point
    return colors_u8[first[rows]]


def _write(path: Path, positions: np.ndarray, features: np.ndarray, scores: np.ndarray) -> None:
    tensors = {
        "positions": torch.from_numpy(np.ascontiguousarray(positions, dtype=np.float64)),
        "features": torch.from_numpy(features.astype(np.float16)),
        "scores": torch.from_numpy(scores.astype(np.float16)),
    }
    write_tensors(path, tensors, _KIND, {"format": _FORMAT})

"""What ``--data`` may be, and how all of it becomes prepared scans.

A folder of scans in ScanNet's layout (ScanNet itself, procedural rooms), nuScenes, one capture of any kind, a scene folder, or,
to be named and not to be learned from, a bare cloud.
"""

import hashlib
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from scenewise.engine.progress import NullProgress, Progress
from scenewise.errors import CaptureWarning, ConventionError, DataFormatError, ScenewiseError
from scenewise.io.captures import is_capture, open_capture, usable_frames
from scenewise.io.las import read_las
from scenewise.io.meshes import read_mesh
from scenewise.io.nuscenes import (
    NUSCENES_CLASSES,
    find_nuscenes_tables,
    list_nuscenes_keyframes,
    read_lidar_sweep,
    read_nuscenes,
)
from scenewise.io.ply import read_points_ply_with_extra
from scenewise.io.rgbd import read_class_ids, read_class_names
from scenewise.io.scan_data_sets import DESCRIPTION_FILE, is_scan_data_set, read_scan_data_set
from scenewise.io.scannet import (
    SCANNET20_NAMES,
    SCANNET20_NYU40,
    ScannetScene,
    find_scannet_layout,
    read_scannet,
    read_scannet_frame_labels,
)
from scenewise.io.scene_folder import POINTS_FILE, SCENE_FILE, read_scene
from scenewise.io.semantickitti import SEMANTICKITTI_CLASSES, read_semantickitti_scan
from scenewise.parts.points.choose import initial_points
from scenewise.parts.scans.feature_targets import open_feature_target
from scenewise.parts.scans.preparation import (
    Instruments,
    PreparationSettings,
    ScanSummary,
    fingerprint_of_settings,
    prepare_scan,
    scan_fingerprint,
)
from scenewise.parts.scans.raw_scans import RawScan, ScanSource
from scenewise.parts.scans.scan_files import DEFAULT_MEMORY, ScanCache, ScanSet, read_scan
from scenewise.parts.scans.scans import TrainingScan
from scenewise.parts.words.pixel_classes import ClassQuestion, ask_for_classes, kind_of_answers
from scenewise.scenes.captures import Capture
from scenewise.scenes.class_colors import class_colors
from scenewise.scenes.frames import Frame
from scenewise.scenes.point_clouds import PointCloud
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.teachers.protocol import Teacher, Words
from scenewise.teachers.regions.choose import open_region_source
from scenewise.worlds.captions import SYNONYMS

_CLOUD_ENDINGS = (".ply", ".las", ".laz", ".bin", ".obj", ".stl", ".off", ".glb")
_NUSCENES_ENDING = ".pcd.bin"
_MADE_POINTS = 200_000
_PHOTO_COLUMNS = ("photo_red", "photo_green", "photo_blue")  # of clouds that are painted in the colours of their classes
_CODE_DIM = 64

Truth = Int64[np.ndarray, "n"]
FrameTruth = Int64[np.ndarray, "height width"]
Renumbering = Int64[np.ndarray, "classes_and_one"]
FrameTruths = Callable[[str], FrameTruth | None]


def _unknown(name: str) -> FrameTruth | None:
    return None


# ------------------------------------------------------------------------------------------------------------------ sources


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
        return None if scene.labels_path is None else self._classes(scene.nyu40_ids())

    def frame_truths(self) -> FrameTruths:
        frames = {frame.name: frame for frame in self._scene().capture.frames}

        def of_frame(name: str) -> FrameTruth | None:
            ids = read_scannet_frame_labels(frames[name]) if name in frames else None
            return None if ids is None else self._classes(ids)

        return of_frame

    def _scene(self) -> ScannetScene:
        return read_scannet(self.folder)

    def _classes(self, nyu40: Int64[np.ndarray, "*shape"]) -> Int64[np.ndarray, "*shape"]:
        table = np.full(41, -1, dtype=np.int64)
        table[list(self.nyu40_of_class)] = np.arange(len(self.nyu40_of_class))
        ids: np.ndarray = table[np.where((nyu40 >= 0) & (nyu40 <= 40), nyu40, 0)]
        return ids


@dataclass(frozen=True)
class NuscenesScan:
    """One keyframe of nuScenes: its sweep and the cameras around it.

    Attributes:
        root: of the data.
        token: of the keyframe.
        name: scene and number.
    """

    root: Path
    token: str
    name: str
    class_names: tuple[str, ...] = NUSCENES_CLASSES

    def open(self) -> RawScan:
        keyframe = read_nuscenes(self.root, self.token)
        cloud = keyframe.capture.points
        assert cloud is not None
        return RawScan(
            self.name,
            cloud,
            f"{len(cloud):,} points of a LiDAR sweep",
            capture=keyframe.capture,
            intensity=keyframe.intensity / np.float32(255.0),
            sensor_in_world=np.ascontiguousarray(keyframe.world_from_lidar[:3, 3]),
        )

    def capture(self) -> Capture | None:
        return read_nuscenes(self.root, self.token).capture

    def points(self) -> PointCloud:
        return self.open().cloud

    def truth(self) -> Truth | None:
        ids = read_nuscenes(self.root, self.token).class_ids
        return None if ids is None else ids.astype(np.int64)

    def frame_truths(self) -> FrameTruths:
        return _unknown


@dataclass(frozen=True)
class CaptureScan:
    """Any capture: photographs with poses, RGB-D frames.  Points are its own, or made of depth or matches.

    Attributes:
        folder: of the capture.
        name: of the scan.
        class_names: of an RGB-D capture that has them per pixel.
        max_points: where they are made.
        seed: of that.
    """

    folder: Path
    name: str
    class_names: tuple[str, ...] = ()
    max_points: int = _MADE_POINTS
    seed: int = 0

    def open(self) -> RawScan:
        capture = open_capture(self.folder)
        if capture.points is not None and len(capture.points):
            return RawScan(self.name, capture.points, f"points of {capture.root.name}", capture=capture)
        frames = usable_frames(capture)
        views = replace(capture, test_names=frozenset(), frames=frames)
        made = initial_points(views, maximum=self.max_points, seed=self.seed, threads=1, trim_far=False)
        return RawScan(self.name, made.cloud, made.provenance, capture=capture)

    def capture(self) -> Capture | None:
        return open_capture(self.folder)

    def points(self) -> PointCloud:
        return self.open().cloud

    def truth(self) -> Truth | None:
        return None

    def frame_truths(self) -> FrameTruths:
        frames = {frame.name: frame for frame in open_capture(self.folder).frames}
        return lambda name: read_class_ids(frames[name]) if name in frames else None


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
        return RawScan(self.name, _photographed(points), f"points of {points.name}", capture=self.capture())

    def capture(self) -> Capture | None:
        scene = read_scene(self.folder)
        where = None if not scene.provenance.capture else Path(scene.provenance.capture)
        if where is None or not where.exists():
            raise DataFormatError(self.folder, expected="the photographs the scene was made from", got=f"nothing at {where}")
        found = open_capture(where, preset=scene.provenance.preset)
        cameras = {entry.name: entry.camera for entry in scene.cameras}
        frames = tuple(_posed(frame, cameras[frame.name]) for frame in found.frames if frame.name in cameras)
        return replace(found, frames=frames, scale=scene.scale, up_in_world=scene.up_in_world)

    def points(self) -> PointCloud:
        return self.open().cloud

    def truth(self) -> Truth | None:
        return None

    def frame_truths(self) -> FrameTruths:
        return _unknown


@dataclass(frozen=True)
class CloudScan:
    """A bare cloud or mesh: something to name, nothing to learn from.

    Attributes:
        path: ``.ply``, ``.las``, ``.laz``, a mesh, a sweep of SemanticKITTI (``.bin``) or nuScenes (``.pcd.bin``).
        name: of the scan.
        class_names: of SemanticKITTI's labels.
    """

    path: Path
    name: str
    class_names: tuple[str, ...] = ()

    def open(self) -> RawScan:
        ending = self.path.suffix.lower()
        said = self.path.name
        if self.path.name.lower().endswith(_NUSCENES_ENDING):
            points, intensity, _ = read_lidar_sweep(self.path)
            cloud = PointCloud(points.astype(np.float64))
            return RawScan(self.name, cloud, said, intensity=intensity / np.float32(255.0), sensor_in_world=np.zeros(3))
        if ending == ".bin":
            sweep = read_semantickitti_scan(self.path)
            cloud = PointCloud(sweep.points_in_sensor.astype(np.float64))
            return RawScan(self.name, cloud, said, intensity=sweep.intensity, sensor_in_world=np.zeros(3))
        if ending in (".las", ".laz"):
            return RawScan(self.name, read_las(self.path)[0], said)
        if ending == ".ply":
            cloud = _photographed(self.path)
            try:
                mesh = read_mesh(self.path)
            except ScenewiseError:  # no triangles: just points
                return RawScan(self.name, cloud, said)
            same = len(mesh.vertices_in_world) == len(cloud)
            return RawScan(self.name, cloud, said, mesh=replace(mesh, vertices_in_world=cloud.points_in_world) if same else None)
        mesh = read_mesh(self.path)
        return RawScan(self.name, PointCloud(mesh.vertices_in_world, mesh.colors_u8), said, mesh=mesh)

    def capture(self) -> Capture | None:
        return None

    def points(self) -> PointCloud:
        return self.open().cloud

    def truth(self) -> Truth | None:
        is_kitti = self.path.suffix.lower() == ".bin" and not self.path.name.lower().endswith(_NUSCENES_ENDING)
        return read_semantickitti_scan(self.path).class_ids if is_kitti else None

    def frame_truths(self) -> FrameTruths:
        return _unknown


def open_training_data(
    path: str | Path, split: str | None = None, *, max_points: int = _MADE_POINTS, seed: int = 0
) -> Sequence[ScanSource]:
    """The scans in a folder or file; none of them is read yet, but those of a data set are checked for completeness.

    Args:
        path: see the module.
        split: "train", "val", "test" or a list in ``splits/``; for folders of several scans only.
        max_points: of a capture without points, where they are made from depth or from matches.
        seed: of that.

    Raises:
        DataFormatError: nothing that can be read, an incomplete data set, or a split of something that has none.
    """
    path = Path(path)
    if not path.exists():
        raise DataFormatError(path, expected="a folder or a file", got="nothing", fix="check the path")
    if is_scan_data_set(path):
        found = read_scan_data_set(path, split)
        return tuple(ScannetScan(folder, name, found.class_names, found.nyu40_of_class) for name, folder in found.scenes)
    if split is not None:
        raise DataFormatError(path, expected="a folder of scans with splits", got="a single scan", fix="leave the split out")
    name = path.resolve().name
    if find_scannet_layout(path) is not None:
        folder, scan = (path.parent, path.stem) if path.is_file() else (path, name)
        return (ScannetScan(folder, scan, *_classes_around(folder)),)
    if path.is_file():
        if path.name.lower().endswith(_NUSCENES_ENDING):
            return (CloudScan(path, path.name[: -len(_NUSCENES_ENDING)]),)
        if path.suffix.lower() in _CLOUD_ENDINGS:
            return (CloudScan(path, path.stem, SEMANTICKITTI_CLASSES if path.suffix.lower() == ".bin" else ()),)
    elif (path / SCENE_FILE).is_file():
        return (SceneScan(path, name),)
    elif find_nuscenes_tables(path) is not None:
        return tuple(
            NuscenesScan(path, token, f"{scene}-{index:04d}")
            for index, (scene, token) in enumerate(list_nuscenes_keyframes(path))
        )
    elif is_capture(path):
        return (CaptureScan(path, name, tuple(read_class_names(path) or ()), max_points, seed),)
    raise DataFormatError(
        path,
        expected="a folder of scans (scans/scene0000_00/ …), a capture, a scene folder, or a cloud ("
        + ", ".join(_CLOUD_ENDINGS)
        + ")",
        got="none of them",
        fix="pass the folder that holds the scans",
    )


def _classes_around(folder: Path) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The classes of the data set that a scan's folder lies in; ScanNet's 20 where it lies in none that says."""
    for root in folder.resolve().parents[:2]:
        if (root / DESCRIPTION_FILE).is_file():
            found = read_scan_data_set(root, None)
            return found.class_names, found.nyu40_of_class
    return SCANNET20_NAMES, SCANNET20_NYU40


def truth_of_scan(source: ScanSource, vocabulary: Vocabulary) -> Truth | None:
    """The class of each point in the ids of a vocabulary, −1 = not scored or not asked for; None where nobody knows.

    Evaluation alone calls this.
    """
    ids = source.truth()
    return None if ids is None else _renumbering(source.class_names, vocabulary)[ids]


def frame_truths(sources: Sequence[ScanSource], vocabulary: Vocabulary) -> FrameTruths:
    """The class of each pixel by ``scan/frame``, in the ids of a vocabulary: what
    :class:`~scenewise.teachers.noisy_truth.NoisyTruth` errs from.  One scan at a time is kept open."""
    by_name = {source.name: source for source in sources}
    opened: dict[str, tuple[FrameTruths, Renumbering]] = {}

    def of_frame(name: str) -> FrameTruth | None:
        scan, _, frame = name.partition("/")
        if scan not in by_name:
            return None
        if scan not in opened:
            opened.clear()
            opened[scan] = by_name[scan].frame_truths(), _renumbering(by_name[scan].class_names, vocabulary)
        of_scan, table = opened[scan]
        ids = of_scan(frame)
        return None if ids is None else table[ids]

    return of_frame


def vocabulary_of_sources(sources: Sequence[ScanSource], templates: Sequence[str]) -> Vocabulary:
    """The classes of a data set's truth, with the synonyms of those that procedural rooms have.

    Raises:
        ConventionError: the data has no list of classes, or several.
    """
    lists = {source.class_names for source in sources}
    if len(lists) != 1 or not next(iter(lists)):
        raise ConventionError("classes", expected="data with one list of classes", got=f"{len(lists)} lists", fix="name them")
    names = next(iter(lists))
    return Vocabulary(names, tuple(SYNONYMS.get(name, (name,)) for name in names), tuple(templates), class_colors(len(names)))


# -------------------------------------------------------------------------------------------------------------- preparation


def prepare_data(
    sources: Sequence[ScanSource],
    teacher: Teacher,
    vocabulary: Vocabulary,
    settings: PreparationSettings | None = None,
    cache_folder: str | Path = "cache/scans",
    progress: Progress | None = None,
    *,
    words: Words | None = None,
    device: str = "cpu",
    max_bytes: int = DEFAULT_MEMORY,
) -> ScanSet:
    """Prepares scans, or finds them prepared; what was stopped goes on with the scan it was at.

    Args:
        sources: the scans.
        teacher: names pixels.
        vocabulary: the classes.
        settings: how; defaults where None.
        cache_folder: where prepared scans are kept, several data sets and settings side by side.
        progress: where to report; silent by default.
        words: embeds the classes where the teacher gives probabilities and has no text; without one, classes get orthonormal
            codes that mean nothing.
        device: of a SAM.
        max_bytes: memory for scans that were read.

    Raises:
        ConventionError: no scan, words the teacher does not know, or scans of different inputs.
        DataFormatError, ResourceError: data or disk.
    """
    if not sources:
        raise ConventionError("scans", expected="at least one", got="none")
    settings = PreparationSettings() if settings is None else settings
    progress = NullProgress() if progress is None else progress
    instruments = instruments_of(teacher, vocabulary, settings, device=device)
    if instruments.question.unknown_classes:
        names = ", ".join(instruments.question.unknown_classes)
        warnings.warn(f"{teacher.name} never gives: {names}", CaptureWarning, stacklevel=2)
    text, text_source = class_embeddings(instruments.question, teacher, words)
    cache = ScanCache(cache_folder)
    fingerprints: list[str] = []
    summaries: list[ScanSummary] = []
    found = lacking = 0
    with progress.stage("preparing scans", len(sources)) as stage:
        for source in sources:
            raw = source.open()
            fingerprint = scan_fingerprint(raw, instruments, settings)
            summary = cache.find(source.name, fingerprint)
            if summary is None:
                prepared = prepare_scan(raw, instruments, settings, progress, is_alone=len(sources) == 1)
                cache.keep(prepared, fingerprint)
                summary = prepared.summary
            else:
                found += 1
            lacking += len(summary.without_answer)
            fingerprints.append(fingerprint)
            summaries.append(summary)
            stage.advance(1, cached=found, frames_without_answer=lacking)
    _check_inputs(summaries)
    shared = fingerprint_of_settings(instruments, settings)
    of_text = hashlib.sha256(np.ascontiguousarray(text).data).hexdigest()
    paths = [cache.path(summary.name, fingerprint) for summary, fingerprint in zip(summaries, fingerprints, strict=True)]

    def load(index: int) -> TrainingScan:
        return read_scan(paths[index]).scan

    about: dict[str, Any] = {
        "teacher": teacher.name,
        "teacher_fingerprint": teacher.fingerprint,
        "regions": None if instruments.regions is None else instruments.regions.name,
        "targets": None if instruments.target is None else instruments.target.name,
        "settings": asdict(settings),
        "classes": {name: list(own) for name, own in zip(vocabulary.names, instruments.question.vocabulary.phrases, strict=True)},
        "prompts": list(instruments.question.vocabulary.templates),
    }
    return ScanSet(
        summaries,
        load,
        instruments.question.vocabulary,
        text,
        text_source,
        hashlib.sha256(json.dumps([shared, of_text, fingerprints]).encode()).hexdigest(),
        about,
        max_bytes,
    )


def instruments_of(
    teacher: Teacher, vocabulary: Vocabulary, settings: PreparationSettings, *, device: str = "cpu"
) -> Instruments:
    """Opens what the settings name.

    Raises:
        ConventionError: words the teacher does not know, or a name of regions or targets that is none.
        ResourceError, DataFormatError, MissingDependencyError: a SAM or files that cannot be used.
    """
    question = ask_for_classes(teacher, vocabulary, kind_of_answers(teacher))
    regions = None if settings.regions is None else open_region_source(settings.regions, device=device)
    target = None
    if settings.targets is not None:
        target = open_feature_target(settings.targets, teacher, regions=regions, device=device)
    return Instruments(teacher, question, regions, target)


def class_embeddings(
    question: ClassQuestion, teacher: Teacher, words: Words | None = None
) -> tuple[Float32[np.ndarray, "classes dim"], str]:
    """A unit embedding per class, the mean over its phrases, and whose it is.

    Where neither the teacher nor ``words`` have text, rows are orthonormal codes from a fixed seed: students can learn the
    classes, but can be asked for no others.
    """
    vocabulary = question.vocabulary
    per_phrase, source = question.text, teacher.name
    if per_phrase is None and words is not None:
        per_phrase, source = words.embed_text(vocabulary.queries, words.default_templates()), words.name
    if per_phrase is None:
        dim = max(_CODE_DIM, len(vocabulary))
        square = np.linalg.qr(np.random.default_rng(0).standard_normal((dim, dim)))[0]
        return np.ascontiguousarray(square[: len(vocabulary)], dtype=np.float32), "orthonormal codes"
    means = np.zeros((len(vocabulary), per_phrase.shape[1]))
    np.add.at(means, vocabulary.class_of_query, per_phrase)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return means.astype(np.float32), source


def _check_inputs(summaries: Sequence[ScanSummary]) -> None:
    kinds = {summary.inputs: summary.name for summary in summaries}
    if len(kinds) > 1:
        (one, first), (other, second), *_ = kinds.items()
        raise ConventionError(
            "inputs of the scans", expected="colours in all, or intensities in all", got=f"{one} in {first}, {other} in {second}"
        )


def _renumbering(names: Sequence[str], vocabulary: Vocabulary) -> Renumbering:
    """Class id in the vocabulary per own id; the last entry, which −1 finds, is −1."""
    table = np.full(len(names) + 1, -1, dtype=np.int64)
    known = {_folded(word): index for index, words in enumerate(vocabulary.phrases) for word in words}
    known |= {_folded(name): index for index, name in enumerate(vocabulary.names)}
    for own, name in enumerate(names):
        table[own] = known.get(_folded(name), -1)
    return table


def _folded(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())


def _photographed(path: Path) -> PointCloud:
    """Points with the colours of the photographs, where ours keep them beside those of their classes."""
    cloud, extra = read_points_ply_with_extra(path)
    if all(name in extra and extra[name].dtype == np.uint8 for name in _PHOTO_COLUMNS):
        return replace(cloud, colors_u8=np.stack([extra[name] for name in _PHOTO_COLUMNS], axis=1))
    return cloud


def _posed(frame: Frame, camera: Any) -> Frame:
    same_size = camera.resized(frame.camera.width, frame.camera.height)
    return replace(frame, camera=replace(frame.camera, camera_from_world=same_size.camera_from_world))

"""Procedural rooms as posed scans: photographed on a tour, their points fused from noisy depth maps."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from scenewise.engine.progress import NullProgress, Progress
from scenewise.engine.threads import torch_threads
from scenewise.io.json_values import fingerprint_of
from scenewise.io.product_kinds import POSED_SCAN
from scenewise.parts.points.from_depth import depth_edges, unproject
from scenewise.parts.scans.posed_files import PosedScanFiles
from scenewise.parts.scans.posed_scans import PosedScan, write_posed_scan
from scenewise.parts.scans.posing import PRIOR_CELL, prior_on_grid
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.frames import DepthMap, ImageU8
from scenewise.teachers.choose import open_teacher
from scenewise.teachers.protocol import Teacher
from scenewise.worlds.cameras import pinhole, tour
from scenewise.worlds.captures import photograph, truth
from scenewise.worlds.rooms import Room, furnished_room

_NARROWEST, _WIDEST = 55.0, 80.0  # degrees, horizontal field of view
_HIGHER = 0.2  # metres that the tour is carried higher or lower, at most


@dataclass(frozen=True)
class RoomScans:
    """How rooms are scanned.

    Attributes:
        views: photographs of each room.
        width: of a photograph, pixels.
        height: likewise.
        spacing: of the fused points, metres.
        noise: whether depth is as noisy as that of a structured-light camera.
    """

    views: int = 20
    width: int = 192
    height: int = 144
    spacing: float = 0.025
    noise: bool = True


@dataclass(frozen=True)
class FusedRoom:
    """What a depth camera brings home from a room, and, for measuring alone, the truth.

    Attributes:
        points_in_world: one in each cell that some picture shows; metres.
        colors_u8: of the points, as the picture shows them.
        class_ids: truth of the points.
        pictures_u8: photographs.
        depths: measured, 0 = nothing.
        pixel_class_ids: truth of the pixels.
        cameras: of the pictures.
    """

    points_in_world: Float64[np.ndarray, "n 3"]
    colors_u8: UInt8[np.ndarray, "n 3"]
    class_ids: Int64[np.ndarray, "n"]
    pictures_u8: UInt8[np.ndarray, "views height width 3"]
    depths: Float32[np.ndarray, "views height width"]
    pixel_class_ids: Int64[np.ndarray, "views height width"]
    cameras: Cameras


def fused_room(room: Room, cameras: Cameras, settings: RoomScans, seed: int) -> FusedRoom:
    """Photographs a room and fuses what its depth maps show.

    Args:
        room: what is photographed.
        cameras: a batch.
        settings: how.
        seed: of the noise.
    """
    rng = np.random.Generator(np.random.PCG64([seed, 29]))
    points, colors, classes, pictures, depths, labels = [], [], [], [], [], []
    for view in range(len(cameras)):
        image, known = photograph(room, cameras[view]), truth(room, cameras[view])
        depth = measured_depth(known.depth, rng) if settings.noise else known.depth
        rows, columns = np.nonzero(depth > 0)
        points.append(unproject(cameras[view], rows, columns, depth))
        colors.append(image[rows, columns])
        classes.append(known.class_ids[rows, columns])
        pictures.append(image)
        depths.append(depth)
        labels.append(known.class_ids)
    joined = np.concatenate(points)
    kept = one_per_cell(joined, settings.spacing)
    return FusedRoom(
        joined[kept],
        np.concatenate(colors)[kept],
        np.concatenate(classes)[kept],
        np.stack(pictures),
        np.stack(depths),
        np.stack(labels),
        cameras,
    )


def measured_depth(depth: DepthMap, rng: np.random.Generator) -> DepthMap:
    """Depth as a structured-light camera gives it: nothing at edges, noise that grows with the square of the distance.

    σ(z) = 1.2 mm + 1.9 mm·(z − 0.4 m)² (Nguyen, Izadi and Lovell 2012, "Modeling Kinect sensor noise", along the axis).
    """
    sigma = 0.0012 + 0.0019 * np.square(np.maximum(depth - 0.4, 0.0))
    noisy = depth + sigma * rng.standard_normal(depth.shape)
    return np.where(depth_edges(depth), 0.0, noisy).astype(np.float32)


def one_per_cell(points: Float64[np.ndarray, "n 3"], spacing: float) -> Int64[np.ndarray, "kept"]:
    """Rows of the first point in each occupied cell, ascending."""
    cells = np.floor((points - points.min(axis=0)) / spacing).astype(np.int64)
    keys = (cells[:, 0] << 42) | (cells[:, 1] << 21) | cells[:, 2]
    return np.sort(np.unique(keys, return_index=True)[1])


def learning_cameras(room: Room, settings: RoomScans) -> Cameras:
    """A tour with a field of view, a beginning and a height of its own for every room."""
    rng = np.random.Generator(np.random.PCG64([room.seed, 31]))
    poses = tour(room, settings.views, phase=rng.uniform(0.0, 2.0 * np.pi), rise=rng.uniform(-_HIGHER, _HIGHER))
    return pinhole(poses, settings.width, settings.height, float(rng.uniform(_NARROWEST, _WIDEST)))


def fused_seed(seed: int, settings: RoomScans) -> FusedRoom:
    """The room of a seed, fused."""
    room = furnished_room(seed)
    return fused_room(room, learning_cameras(room, settings), settings, seed)


def posed_room(fused: FusedRoom, name: str, teacher: Teacher) -> PosedScan:
    """Points and pictures without the truth; axes in the middle of the room."""
    middle = (fused.points_in_world.min(axis=0) + fused.points_in_world.max(axis=0)) / 2
    poses = fused.cameras.camera_from_world.numpy().copy()
    poses[:, :3, 3] += poses[:, :3, :3] @ middle
    return PosedScan(
        name=name,
        points_in_scan=np.ascontiguousarray(fused.points_in_world - middle, dtype=np.float32),
        colors_u8=fused.colors_u8,
        pictures_u8=fused.pictures_u8,
        depths=fused.depths,
        K=fused.cameras.K.numpy(),
        camera_from_scan=poses,
        prior=np.stack([_prior(picture, teacher) for picture in fused.pictures_u8]),
    )


def _prior(picture: ImageU8, teacher: Teacher) -> np.ndarray:
    said = teacher.dense(picture, "picture")
    assert said is not None and said.kind == "features"
    return prior_on_grid(said.values, picture.shape[0], picture.shape[1])


def room_files(
    seeds: Sequence[int],
    settings: RoomScans,
    folder: Path,
    teacher: Teacher,
    *,
    jobs: int = 1,
    progress: Progress | None = None,
    max_bytes: int | None = None,
) -> PosedScanFiles:
    """Rooms as posed scans, from files where they are there.

    Args:
        seeds: of the rooms.
        settings: how they are scanned.
        folder: of the files.
        teacher: whose features are the prior; other processes open it by its name.
        jobs: processes that make what is missing.
        progress: where to report.
        max_bytes: of scans that stay in memory.
    """
    prints = [_fingerprint(seed, settings, teacher) for seed in seeds]
    paths = [POSED_SCAN.path(folder, f"room-{seed}", print_) for seed, print_ in zip(seeds, prints)]
    missing = [index for index, path in enumerate(paths) if not path.exists()]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        with (NullProgress() if progress is None else progress).stage("scan rooms", len(missing)) as stage:
            _make_all([(seeds[i], paths[i], prints[i]) for i in missing], settings, teacher, jobs, stage.advance)
    return PosedScanFiles(paths, prints) if max_bytes is None else PosedScanFiles(paths, prints, max_bytes=max_bytes)


_Wanted = tuple[int, Path, str]


def _make_all(wanted: Sequence[_Wanted], settings: RoomScans, teacher: Teacher, jobs: int, advance: Callable[[], object]) -> None:
    if jobs <= 1 or len(wanted) == 1:
        for each in wanted:
            _make(each, settings, teacher)
            advance()
        return
    parts = [list(wanted[first::jobs]) for first in range(jobs)]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        asked = [pool.submit(_make_elsewhere, part, settings, teacher.name) for part in parts if part]
        for part, making in zip(parts, asked):
            making.result()
            for _ in part:
                advance()


def _make_elsewhere(wanted: Sequence[_Wanted], settings: RoomScans, teacher: str) -> None:
    opened = open_teacher(teacher)
    with torch_threads(1):
        for each in wanted:
            _make(each, settings, opened)


def _make(wanted: _Wanted, settings: RoomScans, teacher: Teacher) -> None:
    seed, path, fingerprint = wanted
    write_posed_scan(path, posed_room(fused_seed(seed, settings), f"room-{seed}", teacher), fingerprint)


def _fingerprint(seed: int, settings: RoomScans, teacher: Teacher) -> str:
    return fingerprint_of({"room": seed, "settings": asdict(settings), "teacher": teacher.fingerprint, "cell": PRIOR_CELL})

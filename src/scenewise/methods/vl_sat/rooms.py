"""Procedural rooms as labelled scans: things as some depth maps show them, true relations, pictures of each thing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64

from scenewise.engine.progress import NullProgress, Progress
from scenewise.engine.threads import torch_threads
from scenewise.errors import DataFormatError
from scenewise.io.json_values import fingerprint_of
from scenewise.io.product_kinds import GRAPH_SCANS
from scenewise.io.products import keep
from scenewise.io.tensor_files import read_tensors, write_tensors
from scenewise.methods.vl_sat.pictures import ThingPictures, thing_pictures
from scenewise.methods.vl_sat.seen import SeenScan, ThingClip, clip_of
from scenewise.parts.points.from_depth import depth_edges, unproject
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.frames import DepthMap, Frame
from scenewise.scenes.graph_scans import GraphScan
from scenewise.teachers.choose import open_teacher
from scenewise.worlds.captures import photograph, room_cameras, truth
from scenewise.worlds.relations import node_of_instance, nodes_of, true_relations
from scenewise.worlds.rooms import Room, furnished_room

_ENTRY = "graph_scans"
_PER_FILE = 25
_WEIGHT_DIGITS = 16


@dataclass(frozen=True)
class RoomGraphs:
    """How rooms become scans.

    Attributes:
        views: photographs of each room.
        width: of a photograph, pixels.
        height: likewise.
        points: kept of each thing.
        least_points: things with fewer have not been seen, and are no things of the scan.
        noise: standard deviation of each point, metres.
    """

    views: int = 16
    width: int = 160
    height: int = 120
    points: int = 256
    least_points: int = 24
    noise: float = 0.005


def room_scan(seed: int, settings: RoomGraphs, clip: ThingClip | None) -> SeenScan:
    """Photographs a room, keeps points of each thing, and shows cuts of the photographs to a CLIP, where there is one."""
    room = furnished_room(seed)
    cameras = room_cameras(room, settings.views, settings.width, settings.height)
    rng = np.random.Generator(np.random.PCG64([seed, 23]))
    node_of, points, owners, frames = node_of_instance(room), [], [], []
    for view in range(settings.views):
        known = truth(room, cameras[view])
        rows, columns = np.nonzero((known.instance_ids >= 0) & ~depth_edges(known.depth))
        points.append(unproject(cameras[view], rows, columns, known.depth))
        owners.append(node_of[known.instance_ids[rows, columns]])
        frames.append(_frame(room, cameras[view], view, known.depth))
    scan = _scan(room, np.concatenate(points), np.concatenate(owners), settings, rng)
    return SeenScan(scan, None if clip is None else thing_pictures(scan, frames, clip.tower, device=clip.device))


def _frame(room: Room, camera: Cameras, index: int, depth: DepthMap) -> Frame:
    return Frame(f"view-{index:03d}", camera, lambda: photograph(room, camera), lambda: depth)


def _scan(
    room: Room,
    points: np.ndarray,
    owners: Int64[np.ndarray, "points"],
    settings: RoomGraphs,
    rng: np.random.Generator,
) -> GraphScan:
    """Things that were seen, with some of their points."""
    instances, kept, clouds = nodes_of(room), [], []
    for node in range(len(instances)):
        rows = np.flatnonzero(owners == node)
        if len(rows) >= settings.least_points:
            chosen = points[np.sort(rng.choice(rows, min(len(rows), settings.points), replace=False))]
            clouds.append((chosen + rng.normal(0.0, settings.noise, chosen.shape)).astype(np.float32))
            kept.append(node)
    position = np.full(len(instances), -1)
    position[kept] = np.arange(len(kept))
    told = true_relations(room)
    rows = np.stack([position[told[:, 0]], position[told[:, 1]], told[:, 2]], axis=1)
    rows = rows[(rows[:, :2] >= 0).all(axis=1)]
    classes = room.class_of_instance[np.array(instances)[kept]]
    return GraphScan(f"room-{room.seed}", tuple(clouds), classes, rows, tuple(instances[node] for node in kept))


# ---------------------------------------------------------------------------------------------------------------------- files


def room_scans(
    seeds: Sequence[int],
    settings: RoomGraphs,
    folder: Path,
    clip: ThingClip | None,
    *,
    jobs: int = 1,
    progress: Progress | None = None,
) -> list[SeenScan]:
    """Rooms as scans, from files where they are there.

    Args:
        seeds: of the rooms.
        settings: how they are scanned.
        folder: of the files, some rooms each.
        clip: what looks at the things; None for scans without pictures.
        jobs: processes that make what is missing; each opens the CLIP by its name.
        progress: where to report.
    """
    parts = _parts(seeds)
    missing = [part for part in parts if not _path(part, settings, folder, clip).exists()]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        progress = NullProgress() if progress is None else progress
        with progress.stage("scan rooms", sum(map(len, missing))) as stage:
            if jobs > 1 and len(missing) > 1:
                name, device = (None, "cpu") if clip is None else (clip.name, clip.device)
                with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
                    asked = [pool.submit(_make_elsewhere, part, settings, folder, name, device) for part in missing]
                    for part, making in zip(missing, asked):
                        making.result()
                        stage.advance(len(part))
            else:
                for part in missing:
                    _make(part, settings, folder, clip, stage.advance)
    return [scan for part in parts for scan in _read(_path(part, settings, folder, clip))]


def missing_rooms(seeds: Sequence[int], settings: RoomGraphs, folder: Path, clip: ThingClip | None) -> int:
    """How many rooms :func:`room_scans` would have to scan."""
    return sum(len(part) for part in _parts(seeds) if not _path(part, settings, folder, clip).exists())


def _parts(seeds: Sequence[int]) -> list[tuple[int, ...]]:
    return [tuple(seeds[first : first + _PER_FILE]) for first in range(0, len(seeds), _PER_FILE)]


def _path(seeds: Sequence[int], settings: RoomGraphs, folder: Path, clip: ThingClip | None) -> Path:
    weights = None if clip is None else clip.fingerprint[:_WEIGHT_DIGITS]
    about = {"seeds": list(seeds), "settings": asdict(settings), "weights": weights, "rules": _rules()}
    return GRAPH_SCANS.path(folder, f"rooms_{seeds[0]}", fingerprint_of(about))


@cache
def _rules() -> str:
    """Stands for the rules of relations: files from before one was changed are not taken."""
    return fingerprint_of([true_relations(furnished_room(seed)).tolist() for seed in range(20)])[:16]


def _make_elsewhere(seeds: Sequence[int], settings: RoomGraphs, folder: Path, clip: str | None, device: str) -> None:
    """In a process that knows the CLIP's name alone."""
    _make(seeds, settings, folder, None if clip is None else clip_of(open_teacher(clip, device=device)))


def _make(
    seeds: Sequence[int],
    settings: RoomGraphs,
    folder: Path,
    clip: ThingClip | None,
    advance: Callable[[], object] = lambda: None,
) -> None:
    path, scans = _path(seeds, settings, folder, clip), []
    with torch_threads(1):
        for seed in seeds:
            scans.append(room_scan(seed, settings, clip))
            advance()
    keep(path, GRAPH_SCANS, path.stem, lambda beside: _write(beside, scans))


def _write(path: Path, scans: Sequence[SeenScan]) -> None:
    def joined(arrays: Iterator[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate(list(arrays)))

    tensors = {
        "points": joined(points for each in scans for points in each.scan.points_in_world),
        "counts": torch.tensor([len(points) for each in scans for points in each.scan.points_in_world]),
        "classes": joined(each.scan.class_ids for each in scans),
        "instances": torch.tensor([number for each in scans for number in each.scan.object_ids]),
        "triplets": joined(each.scan.triplets for each in scans),
    }
    seen = [each.pictures for each in scans if each.pictures is not None]
    if seen:
        tensors["features"] = joined(pictures.features.astype(np.float16) for pictures in seen)
        tensors["shares"] = joined(pictures.shares for pictures in seen)
    about = {
        "names": [each.scan.name for each in scans],
        "things": [len(each.scan) for each in scans],
        "relations": [len(each.scan.triplets) for each in scans],
    }
    write_tensors(path, tensors, _ENTRY, about)


def _read(path: Path) -> list[SeenScan]:
    tensors, about = read_tensors(path, _ENTRY, fix="delete it; it is made again")
    try:
        return _unpacked({name: tensor.numpy() for name, tensor in tensors.items()}, about)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise DataFormatError(path, expected="scans of rooms", got=str(error)[:120], fix="delete it; it is made again") from error


def _unpacked(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> list[SeenScan]:
    clouds = np.split(arrays["points"], np.cumsum(arrays["counts"])[:-1])
    found, first, told = [], 0, 0
    for name, things, relations in zip(about["names"], about["things"], about["relations"]):
        own, rows = slice(first, first + things), slice(told, told + relations)
        scan = GraphScan(
            name, tuple(clouds[own]), arrays["classes"][own], arrays["triplets"][rows], tuple(arrays["instances"][own].tolist())
        )
        pictures = None
        if "features" in arrays:
            pictures = ThingPictures(arrays["features"][own].astype(np.float32), arrays["shares"][own])
        found.append(SeenScan(scan, pictures))
        first, told = first + things, told + relations
    return found

"""Procedural rooms as labelled scans: things as some depth maps show them, true relations, pictures of each thing."""

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float32, Int64

from scenewise.engine.threads import torch_threads
from scenewise.errors import DataFormatError
from scenewise.io.json_values import fingerprint_of
from scenewise.io.product_kinds import GRAPH_SCANS
from scenewise.io.products import keep
from scenewise.io.tensor_files import read_tensors, write_tensors
from scenewise.methods.vl_sat.examples import GraphData, GraphExample
from scenewise.methods.vl_sat.pictures import ThingPictures, thing_pictures
from scenewise.parts.points.from_depth import depth_edges, unproject
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.frames import DepthMap, Frame
from scenewise.scenes.graph_scans import GraphScan
from scenewise.studies.arms import digest
from scenewise.studies.bench import say
from scenewise.studies.weights import weights_hash
from scenewise.teachers.small_clip import load_small_clip
from scenewise.worlds.captures import photograph, room_cameras, truth
from scenewise.worlds.classes import CLASS_NAMES
from scenewise.worlds.relations import ROOM_PREDICATES, node_of_instance, nodes_of, true_relations
from scenewise.worlds.rooms import Room, furnished_room

_ENTRY = "graph_scans"
_PER_FILE = 25


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


@dataclass(frozen=True)
class RoomScan:
    """A room as a scan.

    Attributes:
        scan: its things and relations.
        pictures: what the embedded CLIP saw of its things.
    """

    scan: GraphScan
    pictures: ThingPictures


def room_scan(seed: int, settings: RoomGraphs) -> RoomScan:
    """Photographs a room, keeps points of each thing, and shows cuts of the photographs to the embedded CLIP."""
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
    return RoomScan(scan, thing_pictures(scan, frames, load_small_clip().tower))


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


def room_scans(seeds: Sequence[int], settings: RoomGraphs, folder: Path, jobs: int = 1) -> list[RoomScan]:
    """Rooms as scans, from files where they are there.

    Args:
        seeds: of the rooms.
        settings: how they are scanned.
        folder: of the files, some rooms each.
        jobs: processes that make what is missing.
    """
    parts = [tuple(seeds[first : first + _PER_FILE]) for first in range(0, len(seeds), _PER_FILE)]
    missing = [part for part in parts if not _path(part, settings, folder).exists()]
    if missing:
        started = time.monotonic()
        folder.mkdir(parents=True, exist_ok=True)
        if jobs > 1 and len(missing) > 1:
            with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
                list(pool.map(_make, missing, [settings] * len(missing), [folder] * len(missing)))
        else:
            for part in missing:
                _make(part, settings, folder)
        say(f"{sum(map(len, missing))} rooms scanned in {time.monotonic() - started:.0f} s: {folder}")
    return [scan for part in parts for scan in _read(_path(part, settings, folder))]


def _path(seeds: Sequence[int], settings: RoomGraphs, folder: Path) -> Path:
    about = {"seeds": list(seeds), "settings": asdict(settings), "weights": weights_hash(), "rules": _rules()}
    return GRAPH_SCANS.path(folder, f"rooms_{seeds[0]}", fingerprint_of(about))


@cache
def _rules() -> str:
    """Stands for the rules of relations: files from before one was changed are not taken."""
    return digest([true_relations(furnished_room(seed)).tolist() for seed in range(20)])


def _make(seeds: Sequence[int], settings: RoomGraphs, folder: Path) -> None:
    path = _path(seeds, settings, folder)
    with torch_threads(1):
        scans = [room_scan(seed, settings) for seed in seeds]
    keep(path, GRAPH_SCANS, path.stem, lambda beside: _write(beside, scans))


def _write(path: Path, scans: Sequence[RoomScan]) -> None:
    def joined(arrays: Iterator[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.concatenate(list(arrays)))

    tensors = {
        "points": joined(points for each in scans for points in each.scan.points_in_world),
        "counts": torch.tensor([len(points) for each in scans for points in each.scan.points_in_world]),
        "classes": joined(each.scan.class_ids for each in scans),
        "instances": torch.tensor([number for each in scans for number in each.scan.object_ids]),
        "triplets": joined(each.scan.triplets for each in scans),
        "features": joined(each.pictures.features.astype(np.float16) for each in scans),
        "shares": joined(each.pictures.shares for each in scans),
    }
    about = {
        "names": [each.scan.name for each in scans],
        "things": [len(each.scan) for each in scans],
        "relations": [len(each.scan.triplets) for each in scans],
    }
    write_tensors(path, tensors, _ENTRY, about)


def _read(path: Path) -> list[RoomScan]:
    tensors, about = read_tensors(path, _ENTRY, fix="delete it; it is made again")
    try:
        return _unpacked({name: tensor.numpy() for name, tensor in tensors.items()}, about)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise DataFormatError(path, expected="scans of rooms", got=str(error)[:120], fix="delete it; it is made again") from error


def _unpacked(arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> list[RoomScan]:
    clouds = np.split(arrays["points"], np.cumsum(arrays["counts"])[:-1])
    found, first, told = [], 0, 0
    for name, things, relations in zip(about["names"], about["things"], about["relations"]):
        own, rows = slice(first, first + things), slice(told, told + relations)
        scan = GraphScan(
            name, tuple(clouds[own]), arrays["classes"][own], arrays["triplets"][rows], tuple(arrays["instances"][own].tolist())
        )
        found.append(RoomScan(scan, ThingPictures(arrays["features"][own].astype(np.float32), arrays["shares"][own])))
        first, told = first + things, told + relations
    return found


# ----------------------------------------------------------------------------------------------------------------------- data


def class_words() -> Float32[np.ndarray, "classes dim"]:
    """What the embedded CLIP makes of the names of the rooms' classes."""
    model = load_small_clip()
    return model.embed_text(list(CLASS_NAMES), model.language.templates)


def graph_data(scans: Sequence[RoomScan], choice: Literal["visible", "released"] = "visible", most_views: int = 5) -> GraphData:
    """Rooms as a trainer reads them.

    Args:
        scans: the rooms.
        choice: which pictures of a thing the oracle sees.
        most_views: and how many.
    """
    words = class_words()
    examples = [GraphExample(each.scan, each.pictures.chosen(choice, most_views, each.scan.class_ids, words)) for each in scans]
    return GraphData(examples, CLASS_NAMES, ROOM_PREDICATES, words)

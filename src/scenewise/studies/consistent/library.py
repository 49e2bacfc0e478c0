"""A library of procedural rooms with near-twins and re-captured duplicates, entered as fused points, and questions to it."""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from jaxtyping import Float32, Float64, Int64

from scenewise.engine.threads import torch_threads
from scenewise.io.scene_library.records import StoredScene
from scenewise.io.scene_library.store import SceneLibrary, create_library
from scenewise.methods.condense.rooms import RoomScans, fused_room
from scenewise.parts.retrieval.encoding import EncodingSettings
from scenewise.parts.retrieval.entering import Entering, SceneLabels
from scenewise.parts.retrieval.keypoints import KeyPoints, picture_keypoints, scene_keypoints
from scenewise.parts.retrieval.likeness import mean_vector, set_likeness
from scenewise.parts.retrieval.searching import Hit, LibrarySearch
from scenewise.parts.sources.raw_scans import RawScan
from scenewise.scenes.frames import ImageU8
from scenewise.scenes.point_clouds import PointCloud
from scenewise.studies.arms import Outcome
from scenewise.teachers.consistent import CloudFeatures, ConsistentFeatures
from scenewise.worlds.captures import photograph
from scenewise.worlds.library_rooms import LibraryRoom, library_cameras, library_rooms
from scenewise.worlds.room_facts import LEAST_FACTS, MOST_FACTS, unique_captions

_SPLAT_BYTES = 62 * 4  # of a Gaussian of degree 3 in a PLY file
SETS = (1, 8, 64, 512)
"""Vectors of a scene in the comparison at equal bytes."""


@dataclass(frozen=True)
class LibrarySizes:
    """How large.

    Attributes:
        scenes: in the library.
        twins: of them, near-twins of others.
        duplicates: re-captured scenes beside them.
        frames: of a capture.
        width: pixels.
        height: likewise.
        queries: photographs of each scene that nothing was fused from.
        validation: validation rooms, to choose settings.
    """

    scenes: int = 200
    twins: int = 40
    duplicates: int = 20
    frames: int = 20
    width: int = 320
    height: int = 240
    queries: int = 1
    validation: bool = False


@dataclass(frozen=True)
class Query:
    """A held-out photograph.

    Attributes:
        name: of the scene it shows.
        image_u8: it.
        K: of its camera.
        camera_from_world: truth.
    """

    name: str
    image_u8: ImageU8
    K: Float64[np.ndarray, "3 3"]
    camera_from_world: Float64[np.ndarray, "4 4"]


@dataclass(frozen=True)
class FilledLibrary:
    """The library and what is true of it.

    Attributes:
        rooms: entries, by name.
        library: filled.
        queries: photographs of its scenes.
        clouds: features of all voxels of each scene that is no duplicate, for comparison.
        add_seconds: of each entry, from fused points to the commit.
        voxels: of each entry.
    """

    rooms: Mapping[str, LibraryRoom]
    library: SceneLibrary
    queries: Sequence[Query]
    clouds: Mapping[str, CloudFeatures]
    add_seconds: Sequence[float]
    voxels: Sequence[int]


def filled_library(model: ConsistentFeatures, sizes: LibrarySizes, seed: int, folder: Path) -> FilledLibrary:
    """Photographs all rooms, fuses their depth, and adds the points to a new library.

    Args:
        model: the encoder.
        sizes: how large.
        seed: another one draws other rooms.
        folder: of the library; made anew.
    """
    shutil.rmtree(folder, ignore_errors=True)
    rooms = library_rooms(sizes.scenes, sizes.twins, sizes.duplicates, seed, validation=sizes.validation)
    vocabulary = model.vocabulary()
    assert vocabulary is not None
    entering = Entering(model, vocabulary, EncodingSettings())
    library = create_library(str(folder), entering.about())
    scans = RoomScans(views=sizes.frames, width=sizes.width, height=sizes.height)
    queries: list[Query] = []
    clouds: dict[str, CloudFeatures] = {}
    seconds, voxels = [], []
    for number, entry in enumerate(rooms):
        cameras = library_cameras(entry, sizes.frames, sizes.width, sizes.height)
        fused = fused_room(entry.room, cameras, scans, 1000 * seed + number)
        raw = RawScan(entry.name, PointCloud(fused.points_in_world, fused.colors_u8), "fused depth")
        began = time.perf_counter()
        library.put(entering.rows(raw, SceneLabels(entry.name, "procedural", "cloud")))
        seconds.append(time.perf_counter() - began)
        if entry.role == "duplicate":
            continue
        low, high = fused.points_in_world.min(axis=0), fused.points_in_world.max(axis=0)
        clouds[entry.name] = model.of_points(fused.points_in_world - (low + high) / 2, fused.colors_u8)
        voxels.append(len(clouds[entry.name]))
        asked = library_cameras(entry, sizes.queries, sizes.width, sizes.height, is_query=True)
        for view in range(sizes.queries):
            queries.append(
                Query(
                    entry.name,
                    photograph(entry.room, asked[view]),
                    asked[view].K.numpy(),
                    asked[view].camera_from_world.numpy(),
                )
            )
    library.compact()
    return FilledLibrary({entry.name: entry for entry in rooms}, library, queries, clouds, seconds, voxels)


def library_outcome(model: ConsistentFeatures, sizes: LibrarySizes, seed: int, folder: Path) -> Outcome:
    """Everything that is asked of a library."""
    with torch_threads(1):
        filled = filled_library(model, sizes, seed, folder)
        search = LibrarySearch(filled.library, model)
        metrics: dict[str, float | None] = {}
        metrics |= picture_figures(search, filled)
        metrics |= word_figures(search, filled, seed)
        metrics |= {f"{name}, six facts": value for name, value in word_figures(search, filled, seed, MOST_FACTS).items()}
        metrics |= duplicate_figures(search, filled)
        metrics |= equal_bytes_figures(model, filled)
        stored = filled.library.info().num_bytes / len(filled.rooms)
        mean_voxels = float(np.mean(filled.voxels))
        metrics |= {
            "add seconds": median(filled.add_seconds),
            "add seconds, slowest": max(filled.add_seconds),
            "bytes per scene": stored,
            "bytes of dense features": mean_voxels * (2 * model.dim + 12),
            "bytes of splats": mean_voxels * _SPLAT_BYTES,
        }
    return Outcome(metrics)


def picture_figures(search: LibrarySearch, filled: FilledLibrary) -> dict[str, float | None]:
    """Of photographs: whether the scene is first, or among five; where the camera was found; confusions with near-twins."""
    right, among, confused, apart, turned, taken = 0, 0, 0, [], [], []
    for query in filled.queries:
        began = time.perf_counter()
        hits = [hit for hit in search.by_picture(query.image_u8, query.K, most=12) if not _is_duplicate(filled, hit.scene)]
        taken.append(1000 * (time.perf_counter() - began))
        names = [hit.scene.name for hit in hits]
        right += names[:1] == [query.name]
        among += query.name in names[:5]
        if names[:1] == [query.name]:
            error = pose_error(hits[0], query)
            if error is not None:
                apart.append(error[0])
                turned.append(error[1])
        elif names and are_twins(filled, names[0], query.name):
            confused += 1
    count = len(filled.queries)
    return {
        "image R@1": right / count,
        "image R@5": among / count,
        "image twin confusions": confused / count,
        "localised": len(apart) / count,
        "position error, m": median(apart) if apart else None,
        "rotation error, degrees": median(turned) if turned else None,
        "image ms": median(taken),
    }


def pose_error(hit: Hit, query: Query) -> tuple[float, float] | None:
    """Metres and degrees between the camera that was found and the true one; None where none was found."""
    if hit.camera is None:
        return None
    found, true = hit.camera.camera_from_world, query.camera_from_world.copy()
    true[:3, 3] += true[:3, :3] @ hit.scene.facts.offset_in_source
    places = [-pose[:3, :3].T @ pose[:3, 3] for pose in (found, true)]
    cosine = (float(np.trace(found[:3, :3] @ true[:3, :3].T)) - 1.0) / 2.0
    return float(np.linalg.norm(places[0] - places[1])), float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def are_twins(filled: FilledLibrary, first: str, second: str) -> bool:
    """Whether two scenes are near-twins, or twins of one."""
    one, other = filled.rooms[first], filled.rooms[second]
    return other.of == first or one.of == second or (one.of is not None and one.of == other.of)


def word_figures(search: LibrarySearch, filled: FilledLibrary, seed: int, least: int = LEAST_FACTS) -> dict[str, float | None]:
    """Of captions whose facts together, at least so many, are true of one scene alone."""
    captions = unique_captions(tuple(filled.rooms.values()), seed, least)
    right, among, taken, facts = 0, 0, [], []
    asked = {name: caption for name, caption in captions.items() if caption is not None}
    for name, caption in asked.items():
        began = time.perf_counter()
        hits = [hit for hit in search.by_words(caption.text, most=10) if not _is_duplicate(filled, hit.scene)]
        taken.append(1000 * (time.perf_counter() - began))
        names = [hit.scene.name for hit in hits]
        right += names[:1] == [name]
        among += name in names[:5]
        facts.append(len(caption.facts))
    count = max(1, len(asked))
    return {
        "text R@1": right / count,
        "text R@5": among / count,
        "captions": float(len(asked)),
        "facts": float(np.mean(facts)) if facts else None,
        "text ms": median(taken) if taken else None,
    }


def duplicate_figures(search: LibrarySearch, filled: FilledLibrary) -> dict[str, float | None]:
    """Average precision of all pairs; pairs that are never looked at count as missed where they are duplicates."""
    began = time.perf_counter()
    pairs = search.scored_pairs()
    seconds = time.perf_counter() - began
    is_true = [_are_duplicates(filled, pair.first.name, pair.second.name) for pair in pairs]
    total = sum(entry.role == "duplicate" for entry in filled.rooms.values())
    found = np.cumsum(is_true)
    precision = [found[index] / (index + 1) for index, true in enumerate(is_true) if true]
    false = [pair.score for pair, true in zip(pairs, is_true) if not true]
    return {
        "duplicate AP": float(sum(precision)) / max(1, total),
        "weakest duplicate": min((pair.score for pair, true in zip(pairs, is_true) if true), default=None),
        "strongest other pair": max(false, default=None),
        "scene ms": 1000 * seconds / max(1, len(filled.rooms)),
    }


def equal_bytes_figures(model: ConsistentFeatures, filled: FilledLibrary) -> dict[str, float | None]:
    """R@1 of photographs by likeness alone, with as many vectors of each scene: key points, or means over parts of the scene.

    One mean over the whole scene is the global descriptor that a scene is usually kept as.
    """
    names = sorted(filled.clouds)
    asked = [(query.name, picture_keypoints(model.of_picture(query.image_u8))) for query in filled.queries]
    found: dict[str, float | None] = {}
    for count in SETS:
        sets = {
            "key points": [scene_keypoints(filled.clouds[name], count).features for name in names],
            "means": [part_means(filled.clouds[name], count) for name in names],
        }
        for kind, vectors in sets.items():
            starts = np.concatenate([[0], np.cumsum([len(each) for each in vectors])[:-1]]).astype(np.int64)
            held = np.concatenate(vectors)
            right = [
                names[int(np.argmax(set_likeness(_asked_with(points, count), held, starts)))] == name for name, points in asked
            ]
            found[f"{kind}, {count}"] = float(np.mean(right))
    return found


def _asked_with(points: KeyPoints, count: int) -> KeyPoints:
    """The picture's own mean where a scene is one vector, its key points otherwise."""
    if count > 1:
        return points
    mean = mean_vector(points.features, points.scores)[None]
    return KeyPoints(points.positions[:1], mean, np.ones(1, dtype=np.float32))


def part_means(cloud: CloudFeatures, count: int) -> Float32[np.ndarray, "count dim"]:
    """Unit means over parts of a scene: voxels by the nearest of so many places that cover it."""
    from scipy.spatial import cKDTree

    places = scene_keypoints(cloud, count).positions
    owner: Int64[np.ndarray, " voxels"] = cKDTree(places).query(cloud.centers)[1]
    sums = np.zeros((len(places), cloud.features.shape[1]))
    np.add.at(sums, owner, cloud.features)
    return (sums / np.linalg.norm(sums, axis=1, keepdims=True).clip(1e-12)).astype(np.float32)


def _is_duplicate(filled: FilledLibrary, scene: StoredScene) -> bool:
    return filled.rooms[scene.name].role == "duplicate"


def _are_duplicates(filled: FilledLibrary, first: str, second: str) -> bool:
    one, other = filled.rooms[first], filled.rooms[second]
    return (one.role == "duplicate" and one.of == second) or (other.role == "duplicate" and other.of == first)

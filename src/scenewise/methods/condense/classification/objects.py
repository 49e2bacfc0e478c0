"""Objects with a class each, as they are learned from and measured on."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from jaxtyping import Int64

from scenewise.engine.progress import NullProgress, Progress
from scenewise.engine.randomness import keyed_seed
from scenewise.errors import ConventionError
from scenewise.scenes.classified_clouds import ClassifiedCloud, ClassifiedClouds
from scenewise.worlds.designs import OBJECT_CLASSES
from scenewise.worlds.object_clouds import object_cloud


@dataclass(frozen=True)
class ObjectScan:
    """How procedural objects are scanned.

    Attributes:
        points: of each.
        views: 0 = from all around; 1 or 2 = from so many places, as a scan of a room shows them.
        noise: deviation of positions, metres.
    """

    points: int = 2048
    views: int = 1
    noise: float = 0.005


@final
class ProceduralObjects:
    """Objects of ours, made when they are asked for; see :class:`~scenewise.scenes.classified_clouds.ClassifiedClouds`.

    Args:
        split: what they are for.
        objects: class and seed of each (:func:`~scenewise.worlds.object_clouds.object_seeds`).
        scan: how they are seen.
    """

    class_names = OBJECT_CLASSES

    def __init__(self, split: str, objects: Sequence[tuple[str, int]], scan: ObjectScan | None = None) -> None:
        self.split, self.objects = split, tuple(objects)
        self.scan = ObjectScan() if scan is None else scan

    @property
    def class_ids(self) -> Int64[np.ndarray, "n"]:
        """Of every object."""
        return np.array([OBJECT_CLASSES.index(name) for name, _ in self.objects], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, index: int) -> ClassifiedCloud:
        name, seed = self.objects[index]
        scan = self.scan
        cloud = object_cloud(name, seed, scan.points, views=scan.views, noise=scan.noise, is_turned=True)
        points = cloud.points_in_world.astype(np.float32)
        return ClassifiedCloud(f"{name}-{seed}", points, OBJECT_CLASSES.index(name), cloud.colors_u8)

    def __iter__(self) -> Iterator[ClassifiedCloud]:
        return (self[index] for index in range(len(self)))


@dataclass(frozen=True)
class ObjectData:
    """Objects in memory.

    Attributes:
        class_names: position = class id.
        clouds: the objects, each with some points.
    """

    class_names: tuple[str, ...]
    clouds: tuple[ClassifiedCloud, ...]

    def __post_init__(self) -> None:
        if not self.clouds:
            raise ConventionError("objects", expected="at least one", got="none")
        for cloud in self.clouds:
            if not len(cloud.points_in_object):
                raise ConventionError(f"object {cloud.name}", expected="points", got="none")
            if not 0 <= cloud.class_id < len(self.class_names):
                expected = f"a class from 0 to {len(self.class_names) - 1}"
                raise ConventionError(f"object {cloud.name}", expected=expected, got=cloud.class_id)

    def __len__(self) -> int:
        return len(self.clouds)

    @property
    def class_ids(self) -> Int64[np.ndarray, "n"]:
        """Of every object."""
        return np.array([cloud.class_id for cloud in self.clouds], dtype=np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """Changes with any point, colour, class or name of a class."""
        digest = hashlib.sha256("|".join(self.class_names).encode())
        for cloud in self.clouds:
            digest.update(f"|{cloud.class_id}|{len(cloud.points_in_object)}|{cloud.colors_u8 is not None}|".encode())
            digest.update(np.ascontiguousarray(cloud.points_in_object).tobytes())
            if cloud.colors_u8 is not None:
                digest.update(np.ascontiguousarray(cloud.colors_u8).tobytes())
        return digest.hexdigest()


def kept_objects(
    objects: ClassifiedClouds, points: int, progress: Progress | None = None, *, title: str = "read objects"
) -> ObjectData:
    """Reads or makes all objects and keeps some points of each: which ones depends on the object's name alone.

    Args:
        objects: of a split.
        points: of each object, at most.
        progress: where to report.
        title: of the stage.

    Raises:
        DataFormatError: a file is damaged.
        ConventionError: no objects.
    """
    progress = NullProgress() if progress is None else progress
    found = []
    with progress.stage(title, len(objects)) as stage:
        for cloud in objects:
            found.append(_some_points(cloud, points))
            stage.advance()
    return ObjectData(tuple(objects.class_names), tuple(found))


def _some_points(cloud: ClassifiedCloud, points: int) -> ClassifiedCloud:
    count = len(cloud.points_in_object)
    if count <= points:
        return cloud
    rng = np.random.Generator(np.random.PCG64(keyed_seed("kept points", cloud.name)))
    rows = np.sort(rng.choice(count, points, replace=False))
    colors = None if cloud.colors_u8 is None else cloud.colors_u8[rows]
    return ClassifiedCloud(cloud.name, cloud.points_in_object[rows], cloud.class_id, colors)

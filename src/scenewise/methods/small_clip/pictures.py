"""The pictures the small CLIP learns from: photographs of procedural rooms, and what is known of each as a whole.

A folder of shards, each made from its own range of rooms, so that rendering resumes and runs in several processes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8

from scenewise.errors import ConventionError, DataFormatError, ShapeError
from scenewise.io.atomic import atomic_write_bytes
from scenewise.methods.small_clip.config import PictureSettings
from scenewise.worlds.cameras import close_up, pinhole, random_view, surface_view
from scenewise.worlds.captions import ImageRecords, image_record
from scenewise.worlds.captures import photograph, truth
from scenewise.worlds.classes import CLASS_NAMES, STUFF_NAMES
from scenewise.worlds.materials import pick
from scenewise.worlds.rooms import Room, furnished_room

_RECORD_FIELDS = ("counts", "colors", "shares")


@dataclass(frozen=True)
class Pictures:
    """Photographs with their image-level records: all that training sees.

    Attributes:
        images: sRGB.
        records: which classes are visible, how many, in which colour, how much of the picture; nothing about where.
    """

    images: UInt8[np.ndarray, "n size size 3"]
    records: ImageRecords

    def __post_init__(self) -> None:
        if len(self.records) != len(self.images):
            raise ShapeError("records", expected=f"{len(self.images)}, one per image", got=len(self.records))

    def __len__(self) -> int:
        return len(self.images)

    @staticmethod
    def joined(parts: Sequence["Pictures"]) -> "Pictures":
        """Several sets after each other."""
        records = (np.concatenate([getattr(part.records, name) for part in parts]) for name in _RECORD_FIELDS)
        return Pictures(np.concatenate([part.images for part in parts]), ImageRecords(*records))


def pictures_of_room(seed: int, settings: PictureSettings) -> Pictures:
    """Pictures of one room: views at many angles of view, close-ups balanced over classes, and one of wall, floor or ceiling.

    Args:
        seed: of the room.
        settings: how many of each kind, and their size.
    """
    room = furnished_room(seed)
    # A stream of its own: the room's generator has the same seed.
    rng = np.random.Generator(np.random.PCG64([seed, 1]))
    images, records = [], []
    for kind in settings.kinds:
        if kind == "wide":
            fov_deg = rng.uniform(60.0, 80.0)
            world_from_camera = random_view(room, rng)
        elif kind == "any":
            # Narrow angles of view are what a sliding window sees of a wide picture.
            fov_deg = float(np.exp(rng.uniform(np.log(20.0), np.log(80.0))))
            world_from_camera = random_view(room, rng)
        elif kind == "stuff":
            fov_deg = rng.uniform(30.0, 65.0)
            world_from_camera = surface_view(room, pick(rng, ("floor", "floor", "ceiling", "ceiling", "wall")), rng, fov_deg)
        else:
            fov_deg = rng.uniform(40.0, 65.0)
            found = None
            for instance in _by_class(room, rng, settings.close_up_weights):
                found = close_up(room, int(instance), rng, fov_deg, tries=10, least_share=0.12)
                if found is not None:
                    break
            world_from_camera = random_view(room, rng) if found is None else found
        camera = pinhole(world_from_camera, settings.size, settings.size, fov_deg)
        images.append(photograph(room, camera))
        records.append(image_record(room, truth(room, camera).instance_ids))
    stacked = (np.concatenate([getattr(record, name) for record in records]) for name in _RECORD_FIELDS)
    return Pictures(np.stack(images), ImageRecords(*stacked))


def _by_class(room: Room, rng: np.random.Generator, weights: dict[str, float]) -> Int64[np.ndarray, "things"]:
    """One random object of each class of furniture, classes in weighted random order."""
    kinds = [i for i, name in enumerate(CLASS_NAMES) if name not in STUFF_NAMES and i in room.class_of_instance]
    chance = np.array([weights.get(CLASS_NAMES[kind], 1.0) for kind in kinds])
    order = rng.choice(len(kinds), len(kinds), replace=False, p=chance / chance.sum())
    return np.array([rng.choice(np.flatnonzero(room.class_of_instance == kinds[i])) for i in order], dtype=np.int64)


def shard_path(folder: Path, index: int) -> Path:
    """File of a shard."""
    return folder / f"pictures_{index:05d}.safetensors"


def write_shard(
    folder: Path, index: int, seeds: range, settings: PictureSettings, advance: Callable[[], None] | None = None
) -> Path:
    """Renders one shard unless it is there already.

    Args:
        folder: of the shards.
        index: number of the shard.
        seeds: its rooms.
        settings: of the pictures; kept in the file, so that a shard of other settings is not taken for this one.
        advance: called after every room.

    Raises:
        ConventionError: the shard is there, but made with other settings.
    """
    from safetensors.numpy import save

    path = shard_path(folder, index)
    if path.exists():
        _require_settings(path, settings, seeds)
        return path
    parts = []
    for seed in seeds:
        parts.append(pictures_of_room(seed, settings))
        if advance is not None:
            advance()
    pictures = Pictures.joined(parts)
    tensors = {"images": pictures.images, **{name: getattr(pictures.records, name) for name in _RECORD_FIELDS}}
    atomic_write_bytes(path, save(tensors, metadata={"made_with": _made_with(settings, seeds)}))
    return path


def _made_with(settings: PictureSettings, seeds: range) -> str:
    return f"{settings.fingerprint()} {seeds.start}:{seeds.stop}"


def _require_settings(path: Path, settings: PictureSettings, seeds: range) -> None:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        found = (file.metadata() or {}).get("made_with")
    if found != _made_with(settings, seeds):
        raise ConventionError(
            f"{path}", expected="pictures of these settings and rooms", got="others", fix="remove the folder or choose another"
        )


def read_shards(folder: Path, count: int) -> Pictures:
    """The first shards of a folder as one set, in memory.

    Raises:
        DataFormatError: a shard is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    parts = []
    for index in range(count):
        path = shard_path(folder, index)
        try:
            found = load_file(path)
            parts.append(Pictures(found["images"], ImageRecords(*(found[name] for name in _RECORD_FIELDS))))
        except FileNotFoundError as error:
            raise DataFormatError(path, expected="a shard of pictures", got="nothing", fix="render them first") from error
        except (SafetensorError, KeyError) as error:
            raise DataFormatError(path, expected="a shard of pictures", got=str(error)[:100], fix="remove it") from error
    if not parts:
        raise ConventionError("shards", expected="at least one", got=0)
    return _joined_in_place(parts)


def _joined_in_place(parts: list[Pictures]) -> Pictures:
    """Like ``Pictures.joined``, but lets go of each part as soon as it is copied: never twice the memory."""
    total, size = sum(len(part) for part in parts), parts[0].images.shape[1:]
    images = np.empty((total, *size), dtype=np.uint8)
    records = tuple(np.concatenate([getattr(part.records, name) for part in parts]) for name in _RECORD_FIELDS)
    start = 0
    while parts:
        part = parts.pop(0)
        images[start : start + len(part)] = part.images
        start += len(part)
    return Pictures(images, ImageRecords(*records))

"""Procedural rooms to measure label-free segmentation on: views and points with truth, and how read-outs are scored."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from scenewise.metrics.segmentation import ConfusionMatrix
from scenewise.parts.words.pixel_classes import ClassQuestion, ask_for_classes, classify_pixels
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.dense_fields import DenseField
from scenewise.scenes.frames import Frame
from scenewise.scenes.synonyms import SYNONYMS
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.teachers.clip_teacher import ClipTeacher
from scenewise.teachers.preprocessing import ResizeSettings, normalised_image
from scenewise.teachers.prompts import vocabulary_from_words
from scenewise.teachers.read_outs import ReadOutSettings, dense_tokens_from_pass
from scenewise.teachers.resnet_clip import ResNetClipTower
from scenewise.teachers.towers import TokenPass, VisionTower
from scenewise.teachers.windows import WindowSettings, windowed_features
from scenewise.worlds.captures import Truth, photograph, room_cameras, truth
from scenewise.worlds.classes import CLASS_NAMES
from scenewise.worlds.rooms import furnished_room

WIDTH, HEIGHT = 160, 120


@dataclass(frozen=True)
class View:
    """One picture with everything that is true of it."""

    frame: Frame
    image: UInt8[np.ndarray, "height width 3"]
    truth: Truth


@dataclass(frozen=True)
class RoomViews:
    """A room seen from its tour."""

    seed: int
    views: tuple[View, ...]
    class_of_instance: Int[np.ndarray, " instances"]


@lru_cache(maxsize=128)
def room_views(seed: int, views: int) -> RoomViews:
    """Pictures of a room, rendered once."""
    room = furnished_room(seed)
    cameras = room_cameras(room, views, WIDTH, HEIGHT)
    made = []
    for index in range(views):
        camera: Cameras = cameras[index]
        image, known = photograph(room, camera), truth(room, camera)
        made.append(View(_frame(f"{seed}-{index:02d}.png", camera, image, known), image, known))
    return RoomViews(seed, tuple(made), room.class_of_instance)


def _frame(name: str, camera: Cameras, image: UInt8[np.ndarray, "height width 3"], known: Truth) -> Frame:
    return Frame(name, camera, lambda: image, lambda: known.depth)


def world_vocabulary(templates: tuple[str, ...]) -> Vocabulary:
    """The classes of the procedural world with their synonyms."""
    return vocabulary_from_words(", ".join("|".join(SYNONYMS[name]) for name in CLASS_NAMES), templates)


FeaturesOf = Callable[[Tensor], Tensor]
"""Windows, n×3×h×w → features of their patches, n×rows×columns×c."""


def tower_of(teacher: ClipTeacher) -> VisionTower:
    """The embedded model's tower, which is a transformer."""
    tower = teacher.clip.tower
    assert not isinstance(tower, ResNetClipTower)
    return tower


def dense_field(
    tower: VisionTower,
    image: UInt8[np.ndarray, "height width 3"],
    features_of: FeaturesOf,
    resize: ResizeSettings,
    windows: WindowSettings,
) -> DenseField:
    """What the teacher does to an image, with any function from windows to features."""
    height, width = image.shape[:2]
    shown = normalised_image(image, resize.size(height, width), tower.mean, tower.std)
    with torch.no_grad():
        found = windowed_features(shown, features_of, patch_size=tower.patch_size, settings=windows)
    return DenseField(found.values.float().numpy(), height, width)


def window_class_features(tower: VisionTower) -> FeaturesOf:
    """The control: the image-level embedding of a window, painted on the whole of it."""

    def features(windows: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n rows columns c"]:
        rows, columns = windows.shape[2] // tower.patch_size, windows.shape[3] // tower.patch_size
        return tower.embed_images(windows)[:, None, None, :].expand(-1, rows, columns, -1)

    return features


class ReplayedPasses:
    """Runs the tower once per batch of windows, then hands the same passes to every read-out that is compared."""

    def __init__(self, tower: VisionTower) -> None:
        self._tower = tower
        self._passes: list[TokenPass] = []

    def features_of(self, settings: ReadOutSettings) -> FeaturesOf:
        """A function for one sweep over the windows of the image."""
        calls = iter(range(1 << 30))

        def features(windows: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n rows columns c"]:
            index = next(calls)
            if index == len(self._passes):
                self._passes.append(self._tower.tokens(windows))
            return dense_tokens_from_pass(self._tower, self._passes[index], settings)

        return features


def confusion_of_views(
    rooms: list[int], views: int, field_of: Callable[[View], DenseField], question: ClassQuestion, logit_scale: float
) -> ConfusionMatrix:
    """Pixels of all views of all rooms in one matrix."""
    matrix = ConfusionMatrix(CLASS_NAMES)
    for view in views_of(rooms, views):
        predicted, _ = classify_pixels(field_of(view), question, logit_scale)
        matrix.update(predicted, view.truth.class_ids)
    return matrix


def views_of(rooms: list[int], views: int) -> Iterator[View]:
    """All views of some rooms."""
    for seed in rooms:
        yield from room_views(seed, views).views


@dataclass(frozen=True)
class Points:
    """Points of a room with their truth.

    Attributes:
        points_in_world: one per occupied voxel.
        viewpoints: camera centre each was seen from.
        colors_u8: of the pixel.
        class_ids: truth.
        instance_ids: truth.
    """

    points_in_world: Float[np.ndarray, "n 3"]
    viewpoints: Float[np.ndarray, "n 3"]
    colors_u8: UInt8[np.ndarray, "n 3"]
    class_ids: Int[np.ndarray, " n"]
    instance_ids: Int[np.ndarray, " n"]


def room_points(views: RoomViews, voxel: float = 0.05) -> Points:
    """The measured surface: all depth pixels of all views, one per voxel."""
    positions, centers, colors, classes, instances = [], [], [], [], []
    for view in views.views:
        camera = view.frame.camera
        v, u = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
        K = camera.K.numpy()
        depth = view.truth.depth.astype(np.float64)
        rays = np.stack([(u - K[0, 2]) / K[0, 0] * depth, (v - K[1, 2]) / K[1, 1] * depth, depth], axis=-1)
        world_from_camera = np.linalg.inv(camera.camera_from_world.numpy())
        kept = depth > 0
        positions.append(rays[kept] @ world_from_camera[:3, :3].T + world_from_camera[:3, 3])
        centers.append(np.broadcast_to(world_from_camera[:3, 3], positions[-1].shape))
        colors.append(view.image[kept])
        classes.append(view.truth.class_ids[kept])
        instances.append(view.truth.instance_ids[kept])
    everything = np.concatenate(positions)
    _, first = np.unique(np.floor(everything / voxel).astype(np.int64), axis=0, return_index=True)
    first = np.sort(first)
    return Points(everything[first], *(np.concatenate(parts)[first] for parts in (centers, colors, classes, instances)))


def question_for(teacher: ClipTeacher) -> ClassQuestion:
    """The world's classes in the teacher's words."""
    return ask_for_classes(teacher, world_vocabulary(teacher.default_templates()))

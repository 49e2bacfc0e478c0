"""Procedural rooms as a benchmark of label-free segmentation: views and points with truth, and how read-outs are scored."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

from scenewise.metrics.segmentation import ConfusionMatrix
from scenewise.parts.words.pixel_classes import ClassQuestion, ask_for_classes, classify_pixels
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.dense_fields import DenseField
from scenewise.scenes.frames import Frame
from scenewise.scenes.synonyms import SYNONYMS
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.teachers.clip_teacher import ClipTeacher, ClipTeacherSettings
from scenewise.teachers.preprocessing import ResizeSettings, normalised_image
from scenewise.teachers.prompts import vocabulary_from_words
from scenewise.teachers.read_outs import ReadOutSettings, dense_tokens_from_pass
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
    image: np.ndarray
    truth: Truth


@dataclass(frozen=True)
class RoomViews:
    """A room seen from its tour."""

    seed: int
    views: tuple[View, ...]
    class_of_instance: np.ndarray


@lru_cache(maxsize=128)
def room_views(seed: int, views: int) -> RoomViews:
    """Pictures of a room, rendered once."""
    room = furnished_room(seed)
    cameras = room_cameras(room, views, WIDTH, HEIGHT)
    made = []
    for index in range(views):
        camera: Cameras = cameras[index]
        image, known = photograph(room, camera), truth(room, camera)
        frame = Frame(f"{seed}-{index:02d}.png", camera, lambda image=image: image, lambda known=known: known.depth)
        made.append(View(frame, image, known))
    return RoomViews(seed, tuple(made), room.class_of_instance)


def world_vocabulary(templates: tuple[str, ...]) -> Vocabulary:
    """The classes of the procedural world with their synonyms."""
    return vocabulary_from_words(", ".join("|".join(SYNONYMS[name]) for name in CLASS_NAMES), templates)


FeaturesOf = Callable[[torch.Tensor], torch.Tensor]


def dense_field(
    tower: VisionTower, image: np.ndarray, features_of: FeaturesOf, resize: ResizeSettings, windows: WindowSettings
) -> DenseField:
    """What the teacher does to an image, with any function from windows to features."""
    height, width = image.shape[:2]
    shown = normalised_image(image, resize.size(height, width), tower.mean, tower.std)
    with torch.no_grad():
        found = windowed_features(shown, features_of, patch_size=tower.patch_size, settings=windows)
    return DenseField(found.values.float().numpy(), height, width)


def window_class_features(tower: VisionTower) -> FeaturesOf:
    """The control: the image-level embedding of a window, painted on the whole of it."""

    def features(windows: torch.Tensor) -> torch.Tensor:
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

        def features(windows: torch.Tensor) -> torch.Tensor:
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

    points_in_world: np.ndarray
    viewpoints: np.ndarray
    colors_u8: np.ndarray
    class_ids: np.ndarray
    instance_ids: np.ndarray


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


def region_colors(rooms: list[int], views: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Colour histogram, mean and spread of every true region of every view, its class, and its size in pixels."""
    features, classes, sizes = [], [], []
    for view in views_of(rooms, views):
        levels = (view.image >> 6).astype(np.int64)
        bins = levels[..., 0] * 16 + levels[..., 1] * 4 + levels[..., 2]
        for instance in np.unique(view.truth.instance_ids):
            inside = view.truth.instance_ids == instance
            if instance < 0 or inside.sum() < 20:
                continue
            colors = view.image[inside] / 255.0
            histogram = np.sqrt(np.bincount(bins[inside], minlength=64) / inside.sum())
            features.append(np.concatenate([histogram, colors.mean(0), colors.std(0)]))
            classes.append(view.truth.class_ids[inside][0])
            sizes.append(int(inside.sum()))
    return np.array(features, dtype=np.float32), np.array(classes), np.array(sizes, dtype=np.int64)


def color_classifier_confusion(training: list[int], tested: list[int], views: int, seed: int) -> ConfusionMatrix:
    """How far colour alone goes when it is given labels and true regions: a classifier of region colours, counted in pixels.

    An oracle that names the same regions by their truth has mIoU 1.
    """
    generator = torch.Generator().manual_seed(seed)
    features, classes, _ = region_colors(training, views)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = torch.nn.Sequential(
            torch.nn.Linear(features.shape[1], 256), torch.nn.GELU(), torch.nn.Linear(256, 128), torch.nn.GELU(),
            torch.nn.Linear(128, len(CLASS_NAMES)),
        )  # fmt: skip
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3, weight_decay=1e-3)
    x, y = torch.from_numpy(features), torch.from_numpy(classes)
    for _ in range(40):
        for rows in torch.randperm(len(x), generator=generator).split(256):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(x[rows]), y[rows], label_smoothing=0.05).backward()
            optimizer.step()
    features, classes, sizes = region_colors(tested, views)
    with torch.no_grad():
        said = network(torch.from_numpy(features)).argmax(1).numpy()
    matrix = ConfusionMatrix(CLASS_NAMES)
    matrix.update(np.repeat(said, sizes), np.repeat(classes, sizes))
    return matrix


def question_for(teacher: ClipTeacher) -> ClassQuestion:
    """The world's classes in the teacher's words."""
    return ask_for_classes(teacher, world_vocabulary(teacher.default_templates()))


def with_read_out(settings: ClipTeacherSettings, read_out: ReadOutSettings) -> ClipTeacherSettings:
    """The same teacher with another read-out."""
    return replace(settings, read_out=read_out)

"""``scenewise query``: where in a segmented scene something is."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int32

from scenewise.commands.query.options import QueryOptions
from scenewise.engine.progress import NullProgress, Progress, duration_text
from scenewise.engine.threads import compute_threads
from scenewise.errors import ConventionError, ScenewiseError, ShapeError
from scenewise.geometry.spherical_harmonics import Y00, sh0_from_rgb
from scenewise.geometry.view_overlap import inside_image, project_points
from scenewise.io.atomic import atomic_write_bytes, atomic_write_json
from scenewise.io.images import image_u8_from_color, png_bytes
from scenewise.io.named_points import read_named_points
from scenewise.io.ply import write_gaussians_ply, write_points_ply
from scenewise.io.scene_folder import ANSWER_FILE, POINTS_FILE, QUERY_FOLDER, read_scene, read_scene_labels
from scenewise.io.vocabularies import VOCABULARY_FILE, read_vocabulary
from scenewise.parts.lifting import render_scores, stream_visible_pixels
from scenewise.parts.sources.scene_photographs import recorded_place, reopen_photographs
from scenewise.parts.words.answers import LEAST_OPACITY, AnswerSegment, adaptive_threshold, answer_segments
from scenewise.parts.words.queries import SceneSearcher
from scenewise.rendering import render
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.frames import Frame, ImageU8
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.labels import ElementLabels
from scenewise.scenes.point_clouds import PointCloud
from scenewise.scenes.scenes import Scene, SceneCamera
from scenewise.show.colors import heat_colors, heat_over_scene, shown_heat
from scenewise.show.label_pictures import heat_picture
from scenewise.show.pictures import file_stem
from scenewise.teachers.protocol import Teacher

HEAT_SPLATS_FILE, HEAT_POINTS_FILE = "heat_splats.ply", "heat_points.ply"

_LONGEST_SLUG = 60
_COVERED = 0.5  # share of a pixel from which its heat is shown
_LARGEST_DOT = 4  # pixels to each side that a point may fill


@dataclass(frozen=True)
class Answer:
    """One place that answers the question.

    Attributes:
        rank: from 1.
        name: class of most of its elements, or None where they have none.
        score: mean relevancy.
        peak: highest relevancy.
        count: of its splats, or of its points where the scene has no splats.
        center_in_world: mean position.
        low_in_world: lower corner of its box along the world's axes.
        high_in_world: upper corner.
        box_center_in_world: middle of its upright box.
        box_size: lengths of that box along its own axes, the longer horizontal one first, height last.
        world_from_box: its axes in the world, by column.
        instance_id: the object in the labels that it is, or None.
    """

    rank: int
    name: str | None
    score: float
    peak: float
    count: int
    center_in_world: tuple[float, float, float]
    low_in_world: tuple[float, float, float]
    high_in_world: tuple[float, float, float]
    box_center_in_world: tuple[float, float, float]
    box_size: tuple[float, float, float]
    world_from_box: tuple[tuple[float, float, float], ...]
    instance_id: int | None


@dataclass(frozen=True)
class QuerySummary:
    """What ``scenewise query`` found.

    Attributes:
        text_asked: the question.
        teacher: who understood it.
        folder: where the pictures and files are.
        elements: what the segments are made of, "splats" or "points".
        threshold: relevancy from which an element belongs to the answer.
        scale: "metric" when lengths are metres, else "arbitrary".
        answers: the best first.
        files: what was written.
        seconds: for all of it.
    """

    text_asked: str
    teacher: str
    folder: Path
    elements: str
    threshold: float
    scale: str
    answers: tuple[Answer, ...]
    files: tuple[Path, ...]
    seconds: float

    def text(self) -> str:
        """A table for people."""
        if not self.answers:
            return f"{self.text_asked!r}: nothing answers it above {self.threshold:.2f}"
        unit = " m" if self.scale == "metric" else ""
        width = max(5, *(len(answer.name or "–") for answer in self.answers))
        lines = [f"{'':>3} {'class':<{width}}  score  {'centre':<24}  size"]
        for answer in self.answers:
            center = ", ".join(f"{value:.2f}" for value in answer.center_in_world)
            size = " × ".join(f"{value:.2f}" for value in answer.box_size)
            lines.append(f"{answer.rank:>3} {answer.name or '–':<{width}}  {answer.score:5.2f}  {center:<24}  {size}{unit}")
        lines.append(f"{self.folder}: {ANSWER_FILE}, heat maps, coloured {self.elements} ({duration_text(self.seconds)})")
        return "\n".join(lines)


def query(options: QueryOptions, progress: Progress | None = None, teacher: Teacher | None = None) -> QuerySummary:
    """Answers a text with ranked segments, boxes, heat maps and coloured splats and points.

    Args:
        options: see there.
        progress: where to report.
        teacher: used instead of the one the scene was segmented with; it must be the same.

    Raises:
        DataFormatError: no segmented scene, or features of another teacher.
        ConventionError: the teacher knows no word of the text.
    """
    progress = NullProgress() if progress is None else progress
    started = time.monotonic()
    with compute_threads(options.threads):
        scene = read_scene(options.scene)
        searcher = SceneSearcher(options.scene, teacher)
        with progress.stage("search"):
            heat = searcher.heat(options.text)
        world = _World(options.scene, scene)
        world.check(heat.splats, heat.points)
        folder = options.out or options.scene / QUERY_FOLDER / slug(options.text)
        with progress.stage("segments"):
            values = heat.splats if heat.splats is not None else heat.points
            assert values is not None
            of = "splats" if heat.splats is not None else "points"
            places, usable, labels = world.elements(of)
            seen = np.where(usable, values, np.float32(0))
            threshold = adaptive_threshold(seen) if options.threshold is None else options.threshold
            found = answer_segments(
                places,
                seen,
                threshold=threshold,
                objects=None if labels is None else labels.instance_id,
                up_in_world=scene.up_in_world,
                limit=options.segments,
            )
        answers = tuple(_answer(rank, segment, labels, world.names) for rank, segment in enumerate(found, start=1))
        files = _write_elements(folder, world, heat.splats, heat.points)
        hot = places[np.concatenate([segment.elements for segment in found])] if found else np.zeros((0, 3))
        views = chosen_views(scene.cameras, hot, options.views)
        with progress.stage("pictures", len(views)) as stage:
            for name, picture in _pictures(world, views, heat.splats, heat.points, options.capture):
                atomic_write_bytes(folder / name, png_bytes(picture))
                files.append(folder / name)
                stage.advance()
    summary = QuerySummary(
        text_asked=heat.text,
        teacher=searcher.teacher.name,
        folder=folder,
        elements=of,
        threshold=threshold,
        scale=scene.scale,
        answers=answers,
        files=(folder / ANSWER_FILE, *files),
        seconds=time.monotonic() - started,
    )
    atomic_write_json(folder / ANSWER_FILE, _result(summary))
    return summary


def slug(text: str) -> str:
    """A text as a folder's name: words joined by hyphens, letters of any script.

    >>> slug("Where can I sit?"), slug("../..")
    ('where-can-i-sit', 'query')
    """
    words = re.findall(r"\w+", text.lower())
    return "-".join(words)[:_LONGEST_SLUG].strip("-") or "query"


def chosen_views(cameras: Sequence[SceneCamera], hot: Float64[np.ndarray, "n 3"], count: int) -> tuple[SceneCamera, ...]:
    """Views that show the answer: the cameras are cut into ``count`` runs, and of each run the one with most hot elements in its
    image is taken.  Without an answer, the middle one.
    """
    if not cameras or not count:
        return ()
    chosen = []
    for run in np.array_split(np.arange(len(cameras)), min(count, len(cameras))):
        shown = [_in_view(cameras[index].camera, hot) for index in run]
        best = int(np.argmax(shown)) if max(shown) else len(run) // 2
        if shown[best] or not len(hot):
            chosen.append(cameras[run[best]])
    return tuple(chosen)


def _in_view(camera: Cameras, points: Float64[np.ndarray, "n 3"]) -> int:
    if not len(points):
        return 0
    pixels, depth = project_points(camera.camera_from_world.numpy(), camera.K.numpy(), points)
    size = np.array([camera.width, camera.height], dtype=np.int64)
    return int((inside_image(pixels, size) & (depth > 0)).sum())


class _World:
    """What a scene folder holds, read when it is needed."""

    def __init__(self, folder: Path, scene: Scene) -> None:
        self.folder, self.scene = folder, scene
        self.gaussians: Gaussians = scene.load_gaussians()
        self.cloud: PointCloud | None = None
        if (folder / POINTS_FILE).exists():
            self.cloud = read_named_points(folder / POINTS_FILE)
        path = folder / VOCABULARY_FILE
        self.names: tuple[str, ...] = read_vocabulary(path)[0].names if path.exists() else ()

    def check(self, splats: Float32[np.ndarray, "n"] | None, points: Float32[np.ndarray, "m"] | None) -> None:
        """ShapeError where features belong to other elements than those in the folder."""
        cloud = 0 if self.cloud is None else len(self.cloud)
        for name, values, count in (("splats", splats, len(self.gaussians)), ("points", points, cloud)):
            if values is not None and len(values) != count:
                raise ShapeError(
                    f"features of {name}", expected=f"{count} rows", got=len(values), fix="run scenewise segment again"
                )

    def elements(self, of: str) -> tuple[Float64[np.ndarray, "n 3"], Bool[np.ndarray, "n"], ElementLabels | None]:
        """Places, which of them are surface, and labels."""
        if of == "splats":
            places = self.gaussians.means.numpy().astype(np.float64)
            return places, (self.gaussians.opacities >= LEAST_OPACITY).numpy(), read_scene_labels(self.folder, "splats")
        assert self.cloud is not None
        places = self.cloud.points_in_world
        return places, np.ones(len(places), dtype=bool), read_scene_labels(self.folder, "points")


def _answer(rank: int, segment: AnswerSegment, labels: ElementLabels | None, names: Sequence[str]) -> Answer:
    name, instance = None, None
    if labels is not None:
        class_id = _most_common(labels.class_id[segment.elements])
        name = names[class_id] if 0 <= class_id < len(names) else None
        found = _most_common(labels.instance_id[segment.elements])
        instance = found if found >= 0 else None
    return Answer(
        rank=rank,
        name=name,
        score=segment.score,
        peak=segment.peak,
        count=len(segment.elements),
        center_in_world=_three(segment.center_in_world),
        low_in_world=_three(segment.low_in_world),
        high_in_world=_three(segment.high_in_world),
        box_center_in_world=_three(segment.box.center_in_world),
        box_size=_three(segment.box.size),
        world_from_box=tuple(_three(row) for row in segment.box.world_from_box),
        instance_id=instance,
    )


def _most_common(ids: Int32[np.ndarray, "n"]) -> int:
    values, counts = np.unique(ids, return_counts=True)
    return int(values[counts.argmax()])


def _three(values: Float64[np.ndarray, "3"]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def _result(summary: QuerySummary) -> dict[str, Any]:
    return {
        "format": "scenewise-answer",
        "version": 1,
        "text": summary.text_asked,
        "teacher": summary.teacher,
        "elements": summary.elements,
        "threshold": summary.threshold,
        "scale": summary.scale,
        "segments": [
            {**vars(answer), "world_from_box": [list(row) for row in answer.world_from_box]} for answer in summary.answers
        ],
        "files": [path.name for path in summary.files],
    }


def _write_elements(
    folder: Path, world: _World, splats: Float32[np.ndarray, "n"] | None, points: Float32[np.ndarray, "m"] | None
) -> list[Path]:
    """Splats and points in the colours of their heat."""
    files = []
    if splats is not None:
        own = np.clip(0.5 + Y00 * world.gaussians.sh0[:, 0].numpy(), 0.0, 1.0).astype(np.float32)
        colors = torch.from_numpy(heat_over_scene(own, shown_heat(splats)))
        hot = replace(world.gaussians, sh0=sh0_from_rgb(colors)[:, None], shN=world.gaussians.shN[:, :0])
        write_gaussians_ply(folder / HEAT_SPLATS_FILE, hot)
        files.append(folder / HEAT_SPLATS_FILE)
    if points is not None and world.cloud is not None:
        cloud = world.cloud
        own_u8 = np.full((len(cloud), 3), 128, dtype=np.uint8) if cloud.colors_u8 is None else cloud.colors_u8
        shown = heat_over_scene(own_u8.astype(np.float32) / 255.0, shown_heat(points))
        painted = replace(cloud, colors_u8=(shown * 255.0 + 0.5).astype(np.uint8))
        write_points_ply(folder / HEAT_POINTS_FILE, painted, extra={"heat": points})
        files.append(folder / HEAT_POINTS_FILE)
    return files


def _pictures(
    world: _World,
    views: Sequence[SceneCamera],
    splats: Float32[np.ndarray, "n"] | None,
    points: Float32[np.ndarray, "m"] | None,
    capture: Path | None,
) -> "list[tuple[str, ImageU8]]":
    """Heat over the rendered splats, or over the photographs where there are only points."""
    if splats is not None:
        shown = shown_heat(splats)
        return [(_name(view), _splat_picture(world, view.camera, shown)) for view in views]
    if points is None or world.cloud is None:
        return []
    photographs = _photographs(world.scene, capture)
    shown = shown_heat(points)
    return [(_name(view), _cloud_picture(world.cloud, view, shown, photographs.get(view.name))) for view in views]


def _name(view: SceneCamera) -> str:
    return f"heat_{file_stem(view.name)}.png"


def _splat_picture(world: _World, camera: Cameras, shown: Float32[np.ndarray, "n"]) -> ImageU8:
    background = torch.tensor(world.scene.background or (0.0, 0.0, 0.0))
    with torch.no_grad():
        seen = render(world.gaussians, camera, background=background)
    heat = render_scores(world.gaussians, camera, shown[:, None])[..., 0]
    heat = np.where(seen.alpha.cpu().numpy() >= _COVERED, heat, 0).astype(np.float32)
    return heat_picture(heat, _colored(heat), image_u8_from_color(seen.color.cpu().numpy()))


def _colored(heat: Float32[np.ndarray, "height width"]) -> ImageU8:
    return (heat_colors(heat.ravel()) * 255.0 + 0.5).astype(np.uint8).reshape(*heat.shape, 3)


def _photographs(scene: Scene, capture: Path | None) -> dict[str, Frame]:
    """The frames of the scene's capture by name; none where it is gone: a heat map needs no photograph."""
    where = capture or recorded_place(scene)
    if where is None or (capture is None and not where.exists()):
        return {}
    try:
        return {frame.name: frame for frame in reopen_photographs(scene, where).capture.frames_with_image}
    except ScenewiseError:
        if capture is not None:
            raise
        return {}


def _cloud_picture(cloud: PointCloud, view: SceneCamera, shown: Float32[np.ndarray, "n"], photograph: Frame | None) -> ImageU8:
    """Points as discs as large as their spacing, the hottest on top, over the photograph or else over black."""
    camera = view.camera
    frame = Frame(view.name, camera, load_image=_no_image) if photograph is None else photograph
    pixels = next(iter(stream_visible_pixels(cloud.points_in_world, [frame], use_masks=False)), None)
    heat = np.zeros((camera.height, camera.width), dtype=np.float32)
    if pixels is not None and len(pixels):
        nearby = float(camera.K[0, 0]) * _spacing(cloud) / pixels.depth
        reach = np.clip(np.ceil(0.5 * nearby), 0, _LARGEST_DOT)
        values = shown[pixels.element]
        for down in range(-_LARGEST_DOT, _LARGEST_DOT + 1):
            for right in range(-_LARGEST_DOT, _LARGEST_DOT + 1):
                row, column = pixels.row + down, pixels.column + right
                kept = (np.hypot(down, right) <= reach) & (row >= 0) & (row < camera.height)
                kept &= (column >= 0) & (column < camera.width)
                np.maximum.at(heat, (row[kept], column[kept]), values[kept])
    under = np.zeros((camera.height, camera.width, 3), dtype=np.uint8)
    if photograph is not None and frame.load_image is not None:
        under = frame.load_image()
    return heat_picture(heat, _colored(heat), under)


def _no_image() -> ImageU8:
    raise ConventionError("photograph", expected="none to be asked for", got="a view without one")


def _spacing(cloud: PointCloud) -> float:
    from scipy.spatial import cKDTree

    if len(cloud) < 2:
        return 0.0
    tree = cKDTree(cloud.points_in_world)
    return float(np.median(tree.query(cloud.points_in_world[:: max(1, len(cloud) // 5000)], 2)[0][:, 1]))

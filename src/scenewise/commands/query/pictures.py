"""Answers to look at: splats and points in the colours of their heat, and heat over views."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32, Float64

from scenewise.commands.query.asked_scene import AskedElements, AskedScene
from scenewise.errors import ConventionError, ScenewiseError
from scenewise.geometry.spherical_harmonics import sh0_from_rgb
from scenewise.geometry.view_overlap import inside_image, project_points
from scenewise.io.images import image_u8_from_color
from scenewise.io.ply.gaussians import write_gaussians_ply
from scenewise.io.ply.points import write_points_ply
from scenewise.parts.lifting import VisibilityTest, render_scores, stream_visible_pixels
from scenewise.parts.sources.scene_photographs import recorded_place, reopen_photographs
from scenewise.rendering import render
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.frames import Frame, ImageU8
from scenewise.scenes.point_clouds import PointCloud
from scenewise.scenes.scenes import Scene, SceneCamera
from scenewise.show.colors import heat_colors, heat_over_scene, shown_heat
from scenewise.show.label_pictures import heat_picture
from scenewise.show.pictures import file_stem

HEAT_SPLATS_FILE, HEAT_POINTS_FILE = "heat_splats.ply", "heat_points.ply"

_COVERED = 0.5  # share of a pixel from which its heat is shown
_LARGEST_DOT = 4  # pixels to each side that a point may fill
_GREY = 128 / 255.0  # of points without colours


def write_painted(folder: Path, world: AskedScene, sets: Sequence[AskedElements]) -> list[Path]:
    """Splats and points in the colours of their heat."""
    return [_write_one(folder, world, asked) for asked in sets]


def _write_one(folder: Path, world: AskedScene, asked: AskedElements) -> Path:
    own = asked.elements.colors
    if own is None:
        own = np.full((len(asked.elements), 3), _GREY, dtype=np.float32)
    colors = heat_over_scene(own, shown_heat(asked.heat))
    if asked.elements.kind == "splats":
        sh0 = sh0_from_rgb(torch.from_numpy(colors))[:, None]
        write_gaussians_ply(folder / HEAT_SPLATS_FILE, replace(world.gaussians, sh0=sh0, shN=world.gaussians.shN[:, :0]))
        return folder / HEAT_SPLATS_FILE
    assert world.cloud is not None
    painted = replace(world.cloud, colors_u8=(colors * 255.0 + 0.5).astype(np.uint8))
    write_points_ply(folder / HEAT_POINTS_FILE, painted, extra={"heat": asked.heat})
    return folder / HEAT_POINTS_FILE


def heat_pictures(
    world: AskedScene, views: Sequence[SceneCamera], asked: AskedElements, capture: Path | None
) -> "list[tuple[str, ImageU8]]":
    """Heat over the rendered splats, or over the photographs where there are only points; each with the name of its file."""
    shown = shown_heat(asked.heat)
    if asked.elements.kind == "splats":
        return [(_name(view), _splat_picture(world, view.camera, shown)) for view in views]
    assert world.cloud is not None
    photographs = _photographs(world.scene, capture)
    return [(_name(view), _cloud_picture(world.cloud, view, shown, photographs.get(view.name))) for view in views]


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


def _name(view: SceneCamera) -> str:
    return f"heat_{file_stem(view.name)}.png"


def _splat_picture(world: AskedScene, camera: Cameras, shown: Float32[np.ndarray, "n"]) -> ImageU8:
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
    pixels = next(iter(stream_visible_pixels(cloud.points_in_world, [frame], VisibilityTest(use_masks=False))), None)
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

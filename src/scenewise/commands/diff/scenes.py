"""Scene folders as they are compared."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64

from scenewise.errors import DataFormatError
from scenewise.io.named_points import read_named_points
from scenewise.io.placing import source_from_world
from scenewise.io.scene_folder import GRAPH_FILE, POINTS_FILE, read_scene, read_scene_labels
from scenewise.io.scene_graphs.graph_json import read_scene_graph
from scenewise.parts.graphs.observed import ObservedGraph
from scenewise.parts.words.answers import LEAST_OPACITY
from scenewise.scenes.elements import Elements
from scenewise.scenes.labels import ElementLabels
from scenewise.scenes.scenes import Scene

_LIKE = 1e-3  # by which scales of one projected system may differ


def read_observed(folder: Path) -> tuple[Scene, ObservedGraph]:
    """A scene with its graph, and the points or else the splats that its things consist of.

    Raises:
        DataFormatError: no scene, no graph, or damaged files.
    """
    scene = read_scene(folder)
    path = folder / GRAPH_FILE
    if not path.exists():
        raise DataFormatError(folder, expected=f"a scene with {GRAPH_FILE}", got="none", fix=f"run scenewise graph {folder}")
    graph = read_scene_graph(path)
    cameras = tuple(entry.camera for entry in scene.cameras)
    labels, elements, kept = _surface(folder, scene)
    if labels is None:
        return scene, ObservedGraph(graph, np.zeros((0, 3)), np.zeros(0, dtype=np.int64), cameras)
    colors = None if elements.colors is None else elements.colors[kept].astype(np.float64)
    owners = labels.instance_ids[kept].astype(np.int64)
    return scene, ObservedGraph(graph, elements.positions_in_world[kept], owners, cameras, colors)


def _surface(folder: Path, scene: Scene) -> tuple[ElementLabels | None, Elements, Bool[np.ndarray, " n"]]:
    """Points with labels, or else splats; and which of them are surface."""
    labels = read_scene_labels(folder, "points")
    if labels is not None:
        points = Elements.of_cloud(read_named_points(folder / POINTS_FILE))
        return labels, points, np.isfinite(points.positions_in_world).all(axis=1)
    gaussians = scene.load_gaussians()
    return read_scene_labels(folder, "splats"), Elements.of_gaussians(gaussians), (gaussians.opacities >= LEAST_OPACITY).numpy()


def told_transform(before: Scene, after: Scene) -> Float64[np.ndarray, "4 4"]:
    """World after from world before where both captures were posed in one frame: the projected one where both are referenced to
    the same, else that of the poses as they came."""
    first, second = before.georeference, after.georeference
    if first is None or second is None or first.epsg != second.epsg or abs(first.scale / second.scale - 1.0) > _LIKE:
        return after.world_from_source @ source_from_world(before.world_from_source)
    transform = np.eye(4)
    transform[:3, :3] = second.rotation.T @ first.rotation
    transform[:3, 3] = second.rotation.T @ ((first.offset - second.offset) / second.scale)
    return transform

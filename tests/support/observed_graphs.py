"""A bare room with a few things as points, seen by cameras: scenes to compare that are known by heart."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scenewise.geometry.boxes import OrientedBox, upright_box
from scenewise.io.named_points import write_named_points
from scenewise.io.scene_folder import (
    GRAPH_FILE,
    POINTS_FILE,
    mark_scene_folder,
    no_gaussians,
    write_scene_description,
    write_scene_labels,
)
from scenewise.io.scene_graphs.graph_json import write_scene_graph
from scenewise.parts.graphs.motion import rotation_about_up
from scenewise.parts.graphs.observed import ObservedGraph, box_surface
from scenewise.scenes.labels import ElementLabels
from scenewise.scenes.point_clouds import PointCloud
from scenewise.scenes.scene_graphs import GraphObject, SceneGraph
from scenewise.scenes.scenes import Provenance, Scene, SceneCamera
from scenewise.worlds.cameras import looking_at, pinhole

UP = np.array([0.0, 0.0, 1.0])
SIZE = (4.0, 3.2, 2.4)
_STEP = 0.04


@dataclass(frozen=True)
class Piece:
    """A thing: a low block with a high back at −y, so that its front can be told.

    Attributes:
        number: object_id.
        name: of it.
        at: x, y of its middle on the floor.
        yaw: degrees.
        size: width, depth, height of the back; the block is half as high.
        color: sRGB.
        bottom: height of its underside.
    """

    number: int
    name: str
    at: tuple[float, float]
    yaw: float = 0.0
    size: tuple[float, float, float] = (0.5, 0.5, 0.9)
    color: tuple[float, float, float] = (0.5, 0.3, 0.2)
    bottom: float = 0.0

    def points(self) -> np.ndarray:
        width, depth, height = self.size
        parts = [
            (np.array([0.0, 0.0, height / 4]), (width, depth, height / 2)),
            (np.array([0.0, -depth / 2 + 0.03, height * 0.75]), (width, 0.06, height / 2)),
        ]
        solid = np.concatenate([box_surface(OrientedBox(middle, np.array(size), np.eye(3))) for middle, size in parts])
        return solid @ rotation_about_up(math.radians(self.yaw)).T + np.array([*self.at, self.bottom])


CHAIR = Piece(10, "chair", (1.0, 1.0), 30.0)
TABLE = Piece(11, "table", (2.6, 2.2), 0.0, (1.2, 0.7, 0.7), (0.8, 0.7, 0.5))
LAMP = Piece(12, "lamp", (3.4, 0.6), 0.0, (0.3, 0.3, 1.5), (0.9, 0.8, 0.2))
PIECES = (CHAIR, TABLE, LAMP)


def observed(
    pieces: Sequence[Piece], looks_from: Sequence[tuple[float, float]] | None = None, light: float = 1.0
) -> ObservedGraph:
    """The room with these things.

    Args:
        pieces: they.
        looks_from: x, y of the cameras, which look at the middle of the room from 1.6 m; default its four corners.
        light: factor on all colours.
    """
    width, length, height = SIZE
    slabs = {
        0: ("floor", _slab(width, length, lambda u, v: (u, v, 0 * u))),
        1: ("ceiling", _slab(width, length, lambda u, v: (u, v, 0 * u + height))),
        2: ("wall", _slab(width, height, lambda u, v: (u, 0 * u, v))),
        3: ("wall", _slab(width, height, lambda u, v: (u, 0 * u + length, v))),
        4: ("wall", _slab(length, height, lambda u, v: (0 * u, u, v))),
        5: ("wall", _slab(length, height, lambda u, v: (0 * u + width, u, v))),
    }
    sets = [(number, name, points, (0.8, 0.8, 0.8)) for number, (name, points) in slabs.items()]
    sets += [(piece.number, piece.name, piece.points(), piece.color) for piece in pieces]
    nodes = [_node(number, name, points, color, light) for number, name, points, color in sets]
    cloud = np.concatenate([points for _, _, points, _ in sets])
    owners = np.repeat(np.array([number for number, *_ in sets], dtype=np.int64), [len(points) for _, _, points, _ in sets])
    colors = np.concatenate([np.tile(np.array(color) * light, (len(points), 1)) for _, _, points, color in sets])
    corners = [(0.3, 0.3), (3.7, 0.3), (3.7, 2.9), (0.3, 2.9)] if looks_from is None else looks_from
    middle = np.array([width / 2, length / 2, 0.6])
    cameras = tuple(pinhole(looking_at(np.array([x, y, 1.6]), middle), 160, 120, 85.0) for x, y in corners)
    graph = SceneGraph(tuple(sorted(nodes, key=lambda node: node.object_id)), (), (), UP, "metric", ())
    return ObservedGraph(graph, cloud, owners, cameras, colors)


def write_observed(folder: Path, seen: ObservedGraph, world_from_source: np.ndarray | None = None) -> Path:
    """A scene folder of points with its graph."""
    placed = np.eye(4) if world_from_source is None else world_from_source
    folder.mkdir()
    mark_scene_folder(folder)
    assert seen.colors is not None
    colors = (seen.colors * 255 + 0.5).astype(np.uint8)
    labels = ElementLabels(
        np.zeros(len(seen.owners), dtype=np.int32), seen.owners.astype(np.int32), np.ones(len(seen.owners), dtype=np.float32)
    )
    write_named_points(folder / POINTS_FILE, PointCloud(seen.cloud_in_world, colors), labels, colors)
    write_scene_labels(folder, "points", labels)
    cameras = tuple(SceneCamera(f"{number}.png", camera, "train") for number, camera in enumerate(seen.cameras))
    scene = Scene(
        no_gaussians, 0, 0, cameras, Provenance("", "world", None, "", "none"), "metric", seen.graph.up_in_world, placed
    )
    write_scene_description(folder, scene)
    write_scene_graph(folder / GRAPH_FILE, seen.graph, world_from_source=placed)
    return folder


def _slab(width, height, place):
    u, v = np.meshgrid(np.arange(0.0, width, _STEP), np.arange(0.0, height, _STEP))
    return np.stack(place(u.ravel(), v.ravel()), axis=1)


def _node(number: int, name: str, points: np.ndarray, color: tuple[float, float, float], light: float) -> GraphObject:
    red, green, blue = (channel * light for channel in color)
    box = upright_box(points, UP)
    return GraphObject(
        number, name, 0.9, points.mean(axis=0), box, num_points=len(points), color=(red, green, blue), names=((name, 0.9),)
    )

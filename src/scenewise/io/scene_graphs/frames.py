"""Scene graphs in another frame."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from scenewise.geometry.transforms import transform_points
from scenewise.io.placing import source_from_world
from scenewise.scenes.scene_graphs import SceneGraph


def moved_graph(graph: SceneGraph, target_from_world: Float64[np.ndarray, "4 4"]) -> SceneGraph:
    """The same graph after a rigid transform; the identity changes no digit.

    Args:
        graph: whose places and directions are in the world frame.
        target_from_world: a rotation and a translation.
    """
    rotation = target_from_world[:3, :3]
    return replace(
        graph,
        objects=tuple(
            replace(
                thing,
                center_in_world=transform_points(target_from_world, thing.center_in_world),
                box=replace(
                    thing.box,
                    center_in_world=transform_points(target_from_world, thing.box.center_in_world),
                    world_from_box=rotation @ thing.box.world_from_box,
                ),
            )
            for thing in graph.objects
        ),
        rooms=tuple(
            replace(room, outline_in_world=transform_points(target_from_world, room.outline_in_world)) for room in graph.rooms
        ),
        up_in_world=rotation @ graph.up_in_world,
    )


def graph_in_source(graph: SceneGraph, world_from_source: Float64[np.ndarray, "4 4"]) -> SceneGraph:
    """A graph of a scene in the frame of the capture that the scene was made from."""
    return moved_graph(graph, source_from_world(world_from_source))

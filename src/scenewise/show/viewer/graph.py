"""The scene graph as browsers have it: a box around every object that can be clicked, and lines from the one that is chosen."""

from collections.abc import Callable
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float64

from scenewise.errors import ConventionError
from scenewise.geometry.rotations import quat_from_rotation
from scenewise.scenes.predicates import phrase_of
from scenewise.scenes.scene_graphs import GraphObject, SceneGraph
from scenewise.show.colors import Palette
from scenewise.show.graphs.telling import drawn_relations, is_shell, object_colors, object_label
from scenewise.show.viewer.contents import Contents

GRAPH = "graph"
"""Name of the node, and of its switch in the panel."""
_FAINT = 15  # of 255: opacity of boxes
_CHOSEN_COLOR = (255, 255, 255)
_LARGER = 1.01  # than its own box, so that the chosen one's edges are not drawn into each other
_WORD_AT = 0.65  # of the way to the other thing: all lines begin at the chosen one
_MOST_LINES = 8
_TOLD = 10  # numbers in an error
_MOST_NAMES = 40  # more would cover each other


@final
class PlacedGraph:
    """Boxes of a scene graph in a server's scene.

    Walls, floor and ceiling have none that could be clicked: they would stand in the way of everything else.

    Args:
        server: of viser.
        contents: with the graph; one without it places nothing.
        choose: told the number of an object whose box is clicked.

    Attributes:
        node: of viser, which shows and hides all of it; None without a graph.
        boxes: of viser, by the number of their object.
    """

    def __init__(self, server: Any, contents: Contents, choose: Callable[[int], None]) -> None:
        self._scene, self._contents = server.scene, contents
        self.node: Any = None
        self.boxes: dict[int, Any] = {}
        self._chosen: Any = None
        if contents.graph is None:
            return
        self._colors = object_colors(contents.graph, colors_of(contents.palette))
        self.node = self._scene.add_frame(f"/{GRAPH}", show_axes=False)
        things = [thing for thing in contents.graph.objects if not is_shell(thing)]
        if not things:
            return
        edges = np.concatenate([thing.box.edges_in_world for thing in things]) - contents.origin
        colors = np.repeat(np.array([self._colors[thing.object_id] for thing in things], dtype=np.uint8), 24, axis=0)
        self._lines(f"/{GRAPH}/edges", edges, colors.reshape(-1, 2, 3), 1.5)
        for thing in things:
            self.boxes[thing.object_id] = box = self._box(f"/{GRAPH}/boxes/{thing.object_id}", thing)
            box.on_click(lambda _, object_id=thing.object_id: choose(object_id))
            if len(things) <= _MOST_NAMES:
                self._name(f"/{GRAPH}/names/{thing.object_id}", thing)

    def choose(self, object_id: int | None) -> None:
        """Marks an object, and what it stands in relation to, in place of the one before."""
        if self._chosen is not None:
            self._chosen.remove()
            self._chosen = None
        graph = self._contents.graph
        if object_id is None or graph is None:
            return
        self._chosen = self._scene.add_frame(f"/{GRAPH}/chosen", show_axes=False)
        thing = graph.by_id[object_id]
        middle = thing.box.center_in_world
        edges = middle + _LARGER * (thing.box.edges_in_world - middle) - self._contents.origin
        self._lines(f"/{GRAPH}/chosen/edges", edges, np.full((12, 2, 3), _CHOSEN_COLOR, dtype=np.uint8), 5.0)
        if object_id not in self.boxes or len(self.boxes) > _MOST_NAMES:
            self._name(f"/{GRAPH}/chosen/name", thing)
        others = [each.object_id for each in graph.objects if each.object_id == object_id or not is_shell(each)]
        related = [
            each for each in drawn_relations(graph, others, len(graph.relations)) if object_id in (each.subject, each.object)
        ]
        for number, relation in enumerate(related[:_MOST_LINES]):
            other = relation.object if relation.subject == object_id else relation.subject
            ends = np.stack([self._top(graph.by_id[each]) for each in (object_id, other)])
            colors = np.array([[self._colors[object_id], self._colors[other]]], dtype=np.uint8)
            self._lines(f"/{GRAPH}/chosen/{number}/line", ends[None], colors, 3.0)
            self._scene.add_label(
                f"/{GRAPH}/chosen/{number}/word",
                phrase_of(relation.predicate),
                position=(1.0 - _WORD_AT) * ends[0] + _WORD_AT * ends[1],
                anchor="center-center",
                font_screen_scale=0.8,
            )

    def _lines(self, name: str, segments: Float64[np.ndarray, "n 2 3"], colors: np.ndarray, thickness: float) -> None:
        self._scene.add_line_segments(
            name, points=segments.astype(np.float32), colors=colors, thickness=thickness, thickness_units="screen"
        )

    def _box(self, name: str, thing: GraphObject) -> Any:
        """A box that is there to be clicked.

        A mesh with a colour of its own hides the splats in it, however transparent: browsers draw those last, and only where
        nothing is nearer.  A mesh from a file whose material is blended leaves no depth behind.
        """
        from trimesh import creation
        from trimesh.visual import TextureVisuals
        from trimesh.visual.material import PBRMaterial

        mesh = creation.box(extents=(1.0, 1.0, 1.0))
        material = PBRMaterial(baseColorFactor=(*self._colors[thing.object_id], _FAINT), alphaMode="BLEND")
        mesh.visual = TextureVisuals(material=material)
        return self._scene.add_mesh_trimesh(
            name,
            mesh,
            scale=tuple(float(side) for side in np.maximum(thing.box.size, 1e-6)),
            cast_shadow=False,
            receive_shadow=False,
            wxyz=quat_from_rotation(torch.from_numpy(thing.box.world_from_box)).numpy(),
            position=thing.box.center_in_world - self._contents.origin,
        )

    def _name(self, name: str, thing: GraphObject) -> None:
        self._scene.add_label(name, object_label(thing), position=self._top(thing), anchor="bottom-center", font_screen_scale=0.8)

    def _top(self, thing: GraphObject) -> Float64[np.ndarray, "3"]:
        """The middle of a box's upper side, where lines are not hidden by what they come from; relative to the origin."""
        up = self._contents.up
        height = float((np.abs(up @ thing.box.world_from_box) * thing.box.size).sum())
        return np.asarray(thing.box.center_in_world - self._contents.origin + 0.5 * height * up)


def require_object(graph: SceneGraph | None, object_id: int, asked_by: str = "object") -> None:
    """Raises ConventionError unless the graph has an object of this number."""
    if graph is None:
        raise ConventionError(asked_by, expected="a scene with a graph", got="none", fix="run scenewise graph first")
    if object_id not in graph.by_id:
        numbers = sorted(graph.by_id)
        some = ", ".join(map(str, numbers[:_TOLD])) + (f" … {numbers[-1]}" if len(numbers) > _TOLD else "")
        raise ConventionError(asked_by, expected=f"the number of an object: {some or 'there are none'}", got=object_id)


def colors_of(palette: Palette) -> tuple[tuple[int, int, int], ...]:
    """A palette's rows as colours."""
    return tuple((int(red), int(green), int(blue)) for red, green, blue in palette)

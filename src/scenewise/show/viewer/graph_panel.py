"""The panel's part about the objects of a scene graph."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, final, runtime_checkable

from scenewise.scenes.scene_graphs import GraphObject, SceneGraph
from scenewise.show.graphs.telling import object_label
from scenewise.show.viewer.contents import Contents
from scenewise.show.viewer.graph_text import graph_html, object_html

_NOTHING = "none"
_MOST_VIEWS = 5


@runtime_checkable
class ObjectChoices(Protocol):
    """Who carries out what a person chooses among objects; see :class:`scenewise.show.viewer.server.SceneViewer`."""

    def select_object(self, object_id: int | None) -> None: ...
    def look_at_object(self, object_id: int, client: Any = None) -> None: ...
    def look_from(self, camera: str | None = None, client: Any = None) -> None: ...


@final
class GraphPanel:
    """A list of the objects, what is known about the chosen one, and buttons to look at it.

    Args:
        gui: of viser.
        contents: with a graph.
        graph: of the contents.
        choices: carries out what is chosen.

    Attributes:
        choice, text: controls of viser.
        buttons: of viser, by the name of the photograph that they look from; "" looks from the best place.
    """

    def __init__(self, gui: Any, contents: Contents, graph: SceneGraph, choices: ObjectChoices) -> None:
        self._gui, self._graph, self._choices = gui, graph, choices
        self._known = {entry.name for entry in contents.cameras}
        self._texts = {_NOTHING: None} | {object_label(thing): thing.object_id for thing in graph.objects}
        self.buttons: dict[str, Any] = {}
        with gui.add_folder("Objects") as self._folder:
            self.choice = gui.add_dropdown("Object", tuple(self._texts), initial_value=_NOTHING)
            self.choice.on_update(lambda _: choices.select_object(self._texts[self.choice.value]))
            self.text = gui.add_html(graph_html(graph))

    def follow(self, object_id: int | None) -> None:
        """Brings the controls in line with what is chosen."""
        for button in self.buttons.values():
            button.remove()
        self.buttons = {}
        if object_id is None:
            self.choice.value, self.text.content = _NOTHING, graph_html(self._graph)
            return
        thing = self._graph.by_id[object_id]
        self.choice.value, self.text.content = object_label(thing), object_html(self._graph, object_id)
        with self._folder:
            self._add("", "Look at it", "brand", partial(self._choices.look_at_object, object_id))
            for name in self._photographs(thing):
                self._add(name, name, "gray", partial(self._choices.look_from, name))

    def _photographs(self, thing: GraphObject) -> list[str]:
        """The best of them that the scene still has a camera of."""
        return [name for name in thing.views if name in self._known][:_MOST_VIEWS]

    def _add(self, key: str, text: str, color: str, go: Callable[[Any], None]) -> None:
        hint = "Look from where this photograph was taken" if key else None
        self.buttons[key] = button = self._gui.add_button(text, color=None if color == "brand" else color, hint=hint)
        button.on_click(lambda event: go(event.client))

"""The scene in a browser, through viser."""

import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, final

import numpy as np
from jaxtyping import Float32, UInt8

from scenewise.errors import ConventionError, ResourceError, ScenewiseError
from scenewise.parts.words.answers import AnswerSegment
from scenewise.parts.words.picture_questions import AskedPicture
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.heats import Heat
from scenewise.show.viewer.contents import Contents, load_contents
from scenewise.show.viewer.finding import best_places, require_fitting
from scenewise.show.viewer.graph import GRAPH, PlacedGraph, require_object
from scenewise.show.viewer.legend import legend
from scenewise.show.viewer.painting import Look, Mode, painted, visible
from scenewise.show.viewer.panel import Panel
from scenewise.show.viewer.placed import PlacedScene, move
from scenewise.show.viewer.searcher import Searcher, answer, takes_pictures
from scenewise.show.viewer.serving import import_viser, started_server, stop_server
from scenewise.show.viewer.viewpoints import Viewpoint, answer_view, first_view, object_view, view_of

DEFAULT_PORT = 8080
MAX_SPLATS = 1_000_000
MAX_POINTS = 1_000_000


@final
class SceneViewer:
    """Serves a scene folder to browsers on this machine until closed.

    Every choice a person has in the panel is a method here; all browsers see the same.

    Args:
        scene_folder: what to show.
        searcher: answers questions; None turns the text box off.
        port: on which to listen; 0 takes a free one.
        host: address to listen on.  Anything but this machine's own warns: whoever reaches the port sees the scene.
        no_searcher_reason: why there is no searcher, for people.
        max_splats: the most important so many are shown.
        max_points: evenly spaced points are shown.

    Raises:
        DataFormatError: no scene there, or a damaged one.
        ResourceError: the port is in use or the address is not this machine's.
        MissingDependencyError: viser is not installed.
    """

    def __init__(
        self,
        scene_folder: str | Path,
        searcher: Searcher | None = None,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        no_searcher_reason: str = "run scenewise segment first",
        max_splats: int = MAX_SPLATS,
        max_points: int = MAX_POINTS,
    ) -> None:
        import_viser()
        self.contents: Contents = load_contents(scene_folder, max_splats=max_splats, max_points=max_points)
        self.searcher = searcher
        self._lock = threading.RLock()
        self._asking = threading.Lock()
        self._look = Look()
        self._heat: Heat | None = None
        self._selected: int | None = None
        self._up = self.contents.up.astype(np.float64)
        self._first_view = first_view(self.contents)
        self._heights = {what: each.positions @ self._up.astype(np.float32) for what, each in self.contents.elements.items()}
        self._server: Any = started_server(host, port)
        self.host = host
        self.port = int(self._server.get_port())
        try:
            self._placed = PlacedScene(self._server, self.contents, self._first_view)
            self._graph = PlacedGraph(self._server, self.contents, self.select_object)
            if self._graph.node is not None:
                self._placed.nodes[GRAPH] = self._graph.node
            self._panel = Panel(
                self._server.gui,
                self.contents,
                self,
                teacher=_teacher_name(searcher),
                no_searcher_reason=no_searcher_reason if searcher is None else None,
                takes_pictures=takes_pictures(searcher),
                visible={what: bool(node.visible) for what, node in self._placed.nodes.items()},
            )
            self._repaint()
        except BaseException:
            self.close()
            raise

    # --- what a person can do ------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where to point the browser."""
        shown = "127.0.0.1" if self.host in ("0.0.0.0", "") else "[::1]" if self.host in ("::", "::1") else self.host
        return f"http://{shown}:{self.port}"

    @property
    def look(self) -> Look:
        """What is chosen at present."""
        return self._look

    @property
    def selected(self) -> int | None:
        """Number of the object of the scene graph that is chosen, or None."""
        return self._selected

    @property
    def num_browsers(self) -> int:
        """How many are connected."""
        return len(self._server.get_clients())

    def set_mode(self, mode: Mode) -> None:
        """What the colours mean: "color", "classes", "confidence" or "heat"."""
        self._change(lambda look: replace(look, mode=mode))

    def toggle_class(self, class_id: int) -> None:
        """Shows or hides a class; −1 is what is unknown."""
        self._change(lambda look: look.toggled(class_id))

    def show_all_classes(self, shown: bool = True) -> None:
        """Shows or hides all classes at once."""
        hidden = frozenset() if shown else frozenset(row.class_id for row in legend(self.contents))
        self._change(lambda look: replace(look, hidden_classes=hidden))

    def set_min_confidence(self, min_confidence: float) -> None:
        """What is less certain counts as unknown."""
        self._change(lambda look: replace(look, min_confidence=float(min_confidence)))

    def set_cut(self, fraction: float) -> None:
        """Hides what lies above a fraction of the scene's height, such as a ceiling; 1 shows all."""
        self._change(lambda look: replace(look, cut_height=None if fraction >= 1.0 else self._height_at(fraction)))
        self._panel.follow_cut(fraction)

    def set_visible(self, what: str, shown: bool) -> None:
        """Shows or hides "splats", "points", "cameras", "boxes" or "graph"."""
        with self._lock:
            self._panel.set_shown(what, shown)
            self._placed.nodes[what].visible = shown

    def ask(self, text: str, picture: AskedPicture | None = None) -> tuple[AnswerSegment, ...]:
        """Lights up what answers a text, a picture or both and draws boxes around the best places, which are returned.

        Raises:
            ConventionError: the scene has no searcher, or the searcher knows no word of the text or understands no pictures.
        """
        if self.searcher is None:
            fix = "run scenewise segment first"
            raise ConventionError("a question", expected="a scene whose elements carry features", got="none", fix=fix)
        with self._asking:
            self._panel.show_busy(text if picture is None else f"{text} {picture.name}".strip())
            with warnings.catch_warnings(record=True) as heard:
                warnings.simplefilter("always")
                try:
                    heat = answer(self.searcher, text, picture)
                    require_fitting(heat, self.contents)
                except ScenewiseError as error:
                    self._panel.show_error(str(error))
                    raise
            segments = best_places(heat, self.contents)
            with self._lock:
                self._heat = heat
                asked = text if picture is None else heat.text
                self._panel.show_answer(text, asked, segments, tuple(str(warning.message) for warning in heard))
                self._placed.draw_boxes(segments, self._panel.is_shown("boxes"))
                self._look = replace(self._look, mode="heat")
                self._repaint()
        return segments

    def clear_question(self) -> None:
        """Takes the answer away again."""
        with self._lock:
            self._heat = None
            self._panel.show_no_question()
            self._placed.draw_boxes((), self._panel.is_shown("boxes"))
            if self._look.mode == "heat":
                self._look = replace(self._look, mode="color")
            self._repaint()

    def look_from(self, camera: str | None = None, client: Any = None) -> None:
        """Moves one browser, or all of them, to a camera of the scene, or to the first view."""
        view = self._first_view if camera is None else view_of(self.contents, self.contents.scene.camera(camera))
        for each in self._server.get_clients().values() if client is None else (client,):
            move(each, view, self._up)

    def look_at_answer(self, segments: Sequence[AnswerSegment]) -> None:
        """Moves all browsers, and those still to come, to the camera that shows an answer best."""
        view = answer_view(self.contents, [segment.box for segment in segments])
        if view is not None:
            self._look_first(view)

    def look_from_camera(self, camera: Cameras) -> None:
        """Moves all browsers, and those still to come, to a camera that need not be one of the scene's; in its world frame."""
        self._look_first(view_of(self.contents, camera))

    def select_object(self, object_id: int | None) -> None:
        """Marks an object of the scene graph, tells about it and shows what it stands in relation to; None marks nothing.

        Raises:
            ConventionError: the scene has no graph, or the graph no object of this number.
        """
        if object_id is not None:
            require_object(self.contents.graph, object_id)
        with self._lock:
            if object_id == self._selected:
                return
            self._selected = object_id
            self._graph.choose(object_id)
            if self._panel.objects is not None:
                self._panel.objects.follow(object_id)
            if object_id is not None:
                self.set_visible(GRAPH, True)
            self._server.flush()

    def look_at_object(self, object_id: int, client: Any = None) -> None:
        """Moves one browser to where an object of the scene graph is seen best; without one all, and those still to come.

        Raises:
            ConventionError: the scene has no graph, or the graph no object of this number.
        """
        graph = self.contents.graph
        require_object(graph, object_id)
        assert graph is not None
        view = object_view(self.contents, graph.by_id[object_id])
        if client is None:
            self._look_first(view)
        else:
            move(client, view, self._up)

    def sent_colors(self, what: str = "splats") -> UInt8[np.ndarray, "n 3"]:
        """The colours browsers have last been given for "splats" or "points"."""
        with self._lock:
            return self._placed.colors(what)

    def render(self, width: int, height: int, timeout: float = 300.0) -> UInt8[np.ndarray, "height width 3"]:
        """A picture of the scene as a connected browser draws it, without the panel.

        Raises:
            ResourceError: no browser is connected, or it gives no picture in time.
        """
        clients = list(self._server.get_clients().values())
        if not clients:
            raise ResourceError("a picture", expected="a connected browser", got="none", fix=f"open {self.url}")
        try:
            return np.asarray(clients[0].get_render(height=height, width=width, timeout=timeout))[..., :3].copy()
        except (TimeoutError, RuntimeError) as error:
            raise ResourceError("a picture", expected="an answer of the browser", got=str(error)) from error

    def close(self) -> None:
        """Stops listening; calling it again does nothing."""
        server, self._server = self._server, None
        if server is not None:
            stop_server(server)

    def __enter__(self) -> "SceneViewer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # --- state ---------------------------------------------------------------------------------------------------------------

    def _look_first(self, view: Viewpoint) -> None:
        """Moves all browsers, and those still to come."""
        self._first_view = view
        camera = self._server.initial_camera
        camera.position, camera.look_at, camera.fov = view.position, view.target, view.fov
        self.look_from()

    def _change(self, change: Callable[[Look], Look]) -> None:
        with self._lock:
            changed = change(self._look)
            if changed != self._look:
                self._look = changed
                self._repaint()

    def _repaint(self) -> None:
        """Sends colours for the present look, and brings the panel in line with it."""
        look = self._look
        for what, elements in self.contents.elements.items():
            if len(elements):
                colors = painted(elements, self.contents.palette, self._heat_of(what), look)
                self._placed.paint(what, colors, visible(elements, self._heights[what], look))
        self._panel.follow(look)
        self._server.flush()

    def _heat_of(self, what: str) -> Float32[np.ndarray, "n"] | None:
        heat = None if self._heat is None else self._heat.splats if what == "splats" else self._heat.points
        return None if heat is None else heat[self.contents.elements[what].rows]

    def _height_at(self, fraction: float) -> float:
        heights = self._heights["splats"] if len(self.contents.splats) else self._heights["points"]
        if not len(heights):
            return 0.0
        low, high = np.quantile(heights, [0.005, 0.995])
        return float(low + fraction * (high - low))


def _teacher_name(searcher: Searcher | None) -> str | None:
    name = getattr(getattr(searcher, "teacher", None), "name", None)
    return name if isinstance(name, str) else None

"""The scene in a browser, through viser."""

import ipaddress
import math
import socket
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, final

import numpy as np
from jaxtyping import Float32, UInt8

from scenewise.errors import ConventionError, MissingDependencyError, ResourceError, ScenewiseError, ShapeError
from scenewise.geometry.rotations import quat_from_rotation
from scenewise.parts.words.answers import LEAST_OPACITY, AnswerSegment, adaptive_threshold, answer_segments
from scenewise.scenes.heats import Heat
from scenewise.show.colors import NEUTRAL_HEAT
from scenewise.show.viewer.contents import Contents, Elements, load_contents
from scenewise.show.viewer.legend import legend
from scenewise.show.viewer.painting import MODES, Look, Mode, painted, visible
from scenewise.show.viewer.panel_text import answer_html, busy_html, class_label, error_html, hint_html, reason_html, status_html
from scenewise.show.viewer.searcher import Searcher
from scenewise.show.viewer.viewpoints import Viewpoint, answer_view, first_view, scene_radius, vertical_fov, view_of

DEFAULT_PORT = 8080
MAX_SPLATS = 1_000_000
MAX_POINTS = 1_000_000

_MAX_FRUSTUMS = 200
_MAX_BOXES = 3
_MAX_CLASS_BUTTONS = 40
_LARGEST_VARIANCE = 4096.0  # of what is sent as float16: 8,000 : 1 between the largest and the smallest exact deviation
_MODE_TEXTS: dict[Mode, str] = {"color": "own colours", "classes": "classes", "confidence": "confidence", "heat": "answer (heat)"}
_BOX_COLORS = ((255, 255, 255), (255, 214, 102), (160, 220, 255))
_TRAIN_COLOR, _TEST_COLOR = (120, 170, 255), (255, 170, 80)
_HIDDEN_BUTTON = (70, 72, 78)


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
        viser = _import_viser()
        self.contents: Contents = load_contents(scene_folder, max_splats=max_splats, max_points=max_points)
        self.searcher = searcher
        self._lock = threading.RLock()
        self._asking = threading.Lock()
        self._look = Look()
        self._heat: Heat | None = None
        self._up = self.contents.up.astype(np.float64)
        self._radius = scene_radius(self.contents)
        self._first_view = first_view(self.contents)
        self._heights = {what: elements.positions @ self._up.astype(np.float32) for what, elements in self._elements().items()}
        if not is_loopback(host):
            warnings.warn(f"listening on {host}: everybody who reaches this machine can see the scene", stacklevel=2)
        require_free_port(host, port)
        with _quiet_viser():
            self._server: Any = viser.ViserServer(host=host, port=port, verbose=False)
        self.host = host
        self.port = int(self._server.get_port())
        if port not in (0, self.port):  # taken between our check and viser's turn; it then moves on by itself
            self.close()
            raise _port_taken(host, port)
        self._server.request_share_url = _refuse_to_share
        try:
            self._place_scene()
            self._build_panel(no_searcher_reason)
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
        self._cut.value = round(100 * min(fraction, 1.0))

    def set_visible(self, what: str, shown: bool) -> None:
        """Shows or hides "splats", "points", "cameras" or "boxes"."""
        if what not in self._toggles:
            raise ConventionError("what", expected=" or ".join(self._toggles), got=repr(what))
        with self._lock:
            self._toggles[what].value = shown
            self._nodes[what].visible = shown

    def ask(self, text: str) -> tuple[AnswerSegment, ...]:
        """Lights up what answers a text and draws boxes around the best places, which are returned.

        Raises:
            ConventionError: the scene has no searcher, or the searcher knows no word of the text.
        """
        if self.searcher is None:
            fix = "run scenewise segment first"
            raise ConventionError("a question", expected="a scene whose elements carry features", got="none", fix=fix)
        with self._asking:
            self._answer.content = busy_html(text)
            with warnings.catch_warnings(record=True) as heard:
                warnings.simplefilter("always")
                try:
                    heat = self._checked(self.searcher.heat(text))
                except ScenewiseError as error:
                    self._answer.content = error_html(str(error))
                    raise
            segments = self._segments(heat)
            with self._lock:
                self._heat = heat
                self._question.value = text
                self._answer.content = answer_html(text, segments, tuple(str(warning.message) for warning in heard))
                self._draw_boxes(segments)
                self._look = replace(self._look, mode="heat")
                self._repaint()
        return segments

    def clear_question(self) -> None:
        """Takes the answer away again."""
        with self._lock:
            self._heat = None
            self._question.value = ""
            self._answer.content = hint_html() if self.searcher is not None else self._answer.content
            self._draw_boxes(())
            if self._look.mode == "heat":
                self._look = replace(self._look, mode="color")
            self._repaint()

    def look_from(self, camera: str | None = None) -> None:
        """Moves all browsers to a camera of the scene, or to the first view."""
        view = self._first_view if camera is None else view_of(self.contents, self.contents.scene.camera(camera))
        for client in self._server.get_clients().values():
            _move(client, view, self._up)

    def look_at_answer(self, segments: Sequence[AnswerSegment]) -> None:
        """Moves all browsers, and those still to come, to the camera that shows an answer best."""
        view = answer_view(self.contents, [segment.box for segment in segments])
        if view is not None:
            self._first_view = view
            camera = self._server.initial_camera
            camera.position, camera.look_at, camera.fov = view.position, view.target, view.fov
            self.look_from()

    def sent_colors(self, what: str = "splats") -> UInt8[np.ndarray, "n 3"]:
        """The colours browsers have last been given for "splats" or "points"."""
        with self._lock:
            node = self._nodes[what]
            return np.array(node.rgbs if what == "splats" else node.colors)

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
            with _quiet_viser():
                server.stop()

    def __enter__(self) -> "SceneViewer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    # --- state ---------------------------------------------------------------------------------------------------------------

    def _elements(self) -> dict[str, Elements]:
        return {"splats": self.contents.splats, "points": self.contents.points}

    def _change(self, change: Callable[[Look], Look]) -> None:
        with self._lock:
            changed = change(self._look)
            if changed != self._look:
                self._look = changed
                self._repaint()

    def _repaint(self) -> None:
        """Sends colours for the present look, and brings the panel in line with it."""
        look, palette = self._look, self.contents.palette
        for what, elements in self._elements().items():
            node = self._nodes.get(what)
            if node is None or not len(elements):
                continue
            colors = painted(elements, palette, self._heat_of(what), look)
            shown = visible(elements, self._heights[what], look)
            if what == "splats":
                buffer = self._splat_buffer.copy()
                rgba = buffer[:, 7:8].view(np.uint8).reshape(-1, 4)
                rgba[:, :3] = colors
                rgba[~shown, 3] = 0
                node.buffer = buffer
            elif shown.all():
                node.points, node.colors = elements.positions, colors
            else:
                node.points, node.colors = elements.positions[shown], colors[shown]
        self._mode.value = _MODE_TEXTS[look.mode]
        if self._threshold is not None:
            self._threshold.value = look.min_confidence
        rows = {row.class_id: row for row in legend(self.contents, look.min_confidence)}
        for class_id, button in self._class_buttons.items():
            is_hidden = class_id in look.hidden_classes
            button.label = class_label(rows[class_id], is_hidden)
            button.color = _HIDDEN_BUTTON if is_hidden else rows[class_id].color_u8
        self._server.flush()

    def _heat_of(self, what: str) -> Float32[np.ndarray, "n"] | None:
        heat = None if self._heat is None else self._heat.splats if what == "splats" else self._heat.points
        return None if heat is None else heat[self._elements()[what].rows]

    def _checked(self, heat: Heat) -> Heat:
        for what, values in (("splats", heat.splats), ("points", heat.points)):
            total = self._elements()[what].total
            if values is not None and len(values) != total:
                fix = "the features belong to another file; run scenewise segment again"
                raise ShapeError(f"heat of the {what}", expected=f"{total:,} numbers", got=f"{len(values):,}", fix=fix)
        return heat

    def _segments(self, heat: Heat) -> tuple[AnswerSegment, ...]:
        """The best places among what is shown, as ``scenewise query`` finds them; none that fits no better than the rest."""
        for what, elements in self._elements().items():
            values = heat.splats if what == "splats" else heat.points
            if values is None or not len(elements):
                continue
            shown = np.nan_to_num(values[elements.rows], nan=0.0)
            if what == "splats":
                shown[self.contents.shapes.opacities < LEAST_OPACITY] = 0.0
            found = answer_segments(
                elements.positions + self.contents.origin,
                shown,
                threshold=max(adaptive_threshold(shown), float(np.nextafter(np.float32(NEUTRAL_HEAT), np.float32(1.0)))),
                objects=None if elements.labels is None else elements.labels.instance_id,
                up_in_world=self._up,
                limit=_MAX_BOXES,
            )
            return tuple(replace(segment, elements=elements.rows[segment.elements]) for segment in found)
        return ()

    def _height_at(self, fraction: float) -> float:
        heights = self._heights["splats"] if len(self.contents.splats) else self._heights["points"]
        if not len(heights):
            return 0.0
        low, high = np.quantile(heights, [0.005, 0.995])
        return float(low + fraction * (high - low))

    # --- the scene -----------------------------------------------------------------------------------------------------------

    def _place_scene(self) -> None:
        scene, contents, view = self._server.scene, self.contents, self._first_view
        scene.set_up_direction(self._up)
        camera = self._server.initial_camera
        camera.up, camera.position, camera.look_at, camera.fov = self._up, view.position, view.target, view.fov
        camera.near, camera.far = 1e-3 * self._radius, 100.0 * self._radius
        self._nodes: dict[str, Any] = {}
        if len(contents.splats):
            # Variances travel as float16, whose range ends at 6e-5 … 65,504: the splats are sent larger and shown smaller.
            largest = float(np.diagonal(contents.shapes.covariances, axis1=1, axis2=2).max())
            enlarged = math.sqrt(_LARGEST_VARIANCE / max(largest, 1e-30))
            self._nodes["splats"] = scene.add_gaussian_splats(
                "/splats",
                centers=contents.splats.positions * np.float32(enlarged),
                covariances=contents.shapes.covariances.astype(np.float64) * enlarged**2,
                rgbs=contents.splats.colors,
                opacities=contents.shapes.opacities[:, None],
                scale=1.0 / enlarged,
            )
            self._splat_buffer: np.ndarray = self._nodes["splats"].buffer.copy()
        if len(contents.points):
            self._nodes["points"] = scene.add_point_cloud(
                "/points",
                points=contents.points.positions,
                colors=contents.points.colors,
                point_size=_point_size(contents.points.positions, self._radius),
                point_shape="circle",
                precision="float32",
                visible=not len(contents.splats),
            )
        if contents.cameras:
            self._place_cameras()
        self._nodes["boxes"] = scene.add_frame("/answer", show_axes=False)

    def _place_cameras(self) -> None:
        scene, cameras = self._server.scene, self.contents.cameras
        self._nodes["cameras"] = scene.add_frame("/cameras", show_axes=False, visible=False)
        for number in range(0, len(cameras), math.ceil(len(cameras) / _MAX_FRUSTUMS)):
            entry = cameras[number]
            pose = entry.camera.world_from_camera
            frustum = scene.add_camera_frustum(
                f"/cameras/{number}",
                fov=vertical_fov(entry.camera),
                aspect=entry.camera.width / entry.camera.height,
                scale=0.025 * self._radius,
                thickness=1.5,
                thickness_units="screen",
                color=_TEST_COLOR if entry.split == "test" else _TRAIN_COLOR,
                wxyz=quat_from_rotation(pose[:3, :3]).numpy(),
                position=pose[:3, 3].numpy() - self.contents.origin,
                cast_shadow=False,
                receive_shadow=False,
            )
            view = view_of(self.contents, entry.camera)

            def go(event: Any, view: Viewpoint = view) -> None:
                _move(event.client, view, self._up)

            frustum.on_click(go)

    def _draw_boxes(self, segments: tuple[AnswerSegment, ...]) -> None:
        scene = self._server.scene
        is_shown = bool(self._toggles["boxes"].value)
        self._nodes["boxes"].remove()
        self._nodes["boxes"] = scene.add_frame("/answer", show_axes=False, visible=is_shown)
        for number, segment in enumerate(segments, start=1):
            color = _BOX_COLORS[(number - 1) % len(_BOX_COLORS)]
            scene.add_line_segments(
                f"/answer/{number}/box",
                points=(segment.box.edges_in_world - self.contents.origin).astype(np.float32),
                colors=color,
                thickness=2.0,
                thickness_units="screen",
            )
            top = segment.box.center_in_world - self.contents.origin + 0.5 * segment.box.size[2] * self._up
            text = f"{number} · {100.0 * segment.score:.0f} %"
            scene.add_label(f"/answer/{number}/label", text, position=top, anchor="bottom-center")

    # --- the panel -----------------------------------------------------------------------------------------------------------

    def _build_panel(self, no_searcher_reason: str) -> None:
        gui, contents = self._server.gui, self.contents
        gui.configure_theme(
            dark_mode=True, show_logo=False, show_share_button=False, control_width="large", brand_color=(90, 140, 240)
        )
        gui.set_panel_label(f"Scenewise · {contents.name}")
        gui.main_panel.dock_right()
        gui.main_panel.set_width(340.0)
        gui.add_html(status_html(contents, _teacher_name(self.searcher)))
        self._build_question(no_searcher_reason)

        has_labels = contents.has_labels
        modes = [mode for mode in MODES if has_labels or mode not in ("classes", "confidence")]
        modes = [mode for mode in modes if self.searcher is not None or mode != "heat"]
        self._mode = gui.add_dropdown("Colours", [_MODE_TEXTS[mode] for mode in modes], initial_value=_MODE_TEXTS["color"])
        mode_of_text = {text: mode for mode, text in _MODE_TEXTS.items()}
        self._mode.on_update(lambda _: self.set_mode(mode_of_text[self._mode.value]))

        with gui.add_folder("Show"):
            self._toggles: dict[str, Any] = {}
            for what, node in self._nodes.items():
                if what == "boxes" and self.searcher is None:
                    self._toggles[what] = _Always()
                    continue
                hint = "Click a camera to look from there" if what == "cameras" else None
                self._toggles[what] = gui.add_checkbox(what.capitalize(), bool(node.visible), hint=hint)
                self._toggles[what].on_update(lambda _, what=what: self.set_visible(what, bool(self._toggles[what].value)))
            self._cut = gui.add_slider("Up to height", 5, 100, 1, 100, hint="In per cent; hides what is higher")
            self._cut.on_update(lambda _: self.set_cut(self._cut.value / 100.0))
            if contents.cameras:
                self._build_camera_slider()
        self._build_legend()

    def _build_question(self, no_searcher_reason: str) -> None:
        gui, is_off = self._server.gui, self.searcher is None
        with gui.add_form("Ask the scene") as form:
            self._question = gui.add_text("Look for", "", disabled=is_off, hint="For example: something to sit on")
            self._answer = gui.add_html(reason_html(no_searcher_reason) if is_off else hint_html())
            if not is_off:
                clear = gui.add_button("Clear the answer", color="gray")
                clear.on_click(lambda _: self.clear_question())

        def submitted(_: Any) -> None:
            text = str(self._question.value).strip()
            if not text:
                self.clear_question()
                return
            try:
                self.ask(text)
            except ScenewiseError as error:
                self._answer.content = error_html(str(error))

        if not is_off:
            form.on_submit(submitted)

    def _build_camera_slider(self) -> None:
        gui, cameras = self._server.gui, self.contents.cameras

        def go(event: Any) -> None:
            if event.client is not None:
                _move(event.client, view_of(self.contents, cameras[int(slider.value) - 1].camera), self._up)

        def home(event: Any) -> None:
            if event.client is not None:
                _move(event.client, self._first_view, self._up)

        if len(cameras) > 1:
            slider = gui.add_slider("Camera", 1, len(cameras), 1, 1, hint="Look from where the photographs were taken")
            slider.on_update(go)
        gui.add_button("First view", color="gray").on_click(home)

    def _build_legend(self) -> None:
        gui, rows = self._server.gui, legend(self.contents)
        self._class_buttons: dict[int, Any] = {}
        self._threshold: Any = None
        if not rows:
            return
        with gui.add_folder("Classes"):
            self._threshold = gui.add_slider("Confidence ≥", 0.0, 1.0, 0.01, 0.0, hint="What is less certain counts as unknown")
            self._threshold.on_update(lambda _: self.set_min_confidence(self._threshold.value))
            both = gui.add_button_group("All classes", ("show", "hide"))
            both.on_click(lambda _: self.show_all_classes(both.value == "show"))
            for row in (*rows[: _MAX_CLASS_BUTTONS - 1], rows[-1]) if len(rows) > _MAX_CLASS_BUTTONS else rows:
                button = gui.add_button(class_label(row, False), color=row.color_u8)
                button.on_click(lambda _, class_id=row.class_id: self.toggle_class(class_id))
                self._class_buttons[row.class_id] = button


@dataclass
class _Always:
    """Stands in for a toggle that the panel does not have."""

    value: bool = True


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_free_port(host: str, port: int) -> None:
    """Raises ResourceError unless ``port`` can be listened on; 0 always can."""
    try:
        family = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except socket.gaierror as error:
        raise ResourceError("--host", expected="an address of this machine", got=f"{host!r}") from error
    except OverflowError as error:
        raise ResourceError("--port", expected="a number from 0 to 65535", got=port) from error
    except PermissionError as error:
        raise ResourceError(f"port {port}", expected="one that may be used", got="no permission", fix="--port 8080") from error
    except OSError as error:
        if error.errno is not None and "assign" in (error.strerror or "").lower():
            raise ResourceError("--host", expected="an address of this machine", got=f"{host!r}") from error
        raise _port_taken(host, port) from error


def _port_taken(host: str, port: int) -> ResourceError:
    return ResourceError(f"port {port} of {host}", expected="a free port", got="one in use", fix="--port 0 takes a free one")


def _import_viser() -> Any:
    try:
        import viser
    except ImportError as error:
        raise MissingDependencyError("viser", needed_for="scenewise view", extra="viewer") from error
    return viser


@contextmanager
def _quiet_viser() -> Iterator[None]:
    """viser prints where it listens and that it stops; we say so ourselves."""
    from rich import get_console

    console = get_console()
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before


def _refuse_to_share(verbose: bool = True) -> None:
    """In place of viser's tunnel to a public server, which any browser could ask for."""


def _move(client: Any, view: Viewpoint, up: np.ndarray) -> None:
    with client.atomic():
        client.camera.up_direction = up
        client.camera.position = view.position
        client.camera.look_at = view.target
        client.camera.fov = view.fov


def _point_size(positions: Float32[np.ndarray, "n 3"], radius: float) -> float:
    """About half the distance between neighbours, if the points lie on surfaces of the scene's size."""
    return float(np.clip(1.2 * radius / math.sqrt(max(1, len(positions))), 5e-4 * radius, 2e-2 * radius))


def _teacher_name(searcher: Searcher | None) -> str | None:
    name = getattr(getattr(searcher, "teacher", None), "name", None)
    return name if isinstance(name, str) else None

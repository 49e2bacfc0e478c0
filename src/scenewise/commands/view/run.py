"""``scenewise view``: serves a scene until interrupted, or writes a picture of it and ends."""

import threading
import time
import webbrowser
from dataclasses import dataclass
from pathlib import Path

from scenewise.commands.view.options import ViewOptions
from scenewise.engine.progress import NullProgress, Progress
from scenewise.errors import ConventionError, DataFormatError, ResourceError, ScenewiseError
from scenewise.io.atomic import atomic_write_bytes
from scenewise.io.camera_files import read_camera_file
from scenewise.io.element_features import features_path
from scenewise.io.images import png_bytes, read_image
from scenewise.io.scene_folder import GRAPH_FILE, read_scene
from scenewise.io.scene_graphs.graph_json import read_scene_graph
from scenewise.parts.words.picture_questions import AskedPicture
from scenewise.show.graphs.telling import object_label
from scenewise.show.viewer.browser import HeadlessBrowser
from scenewise.show.viewer.graph import require_object
from scenewise.show.viewer.searcher import Searcher
from scenewise.show.viewer.server import DEFAULT_PORT, SceneViewer
from scenewise.show.viewer.serving import require_free_port

_CONNECT_SECONDS = 60.0


@dataclass(frozen=True)
class ViewSummary:
    """What was shown.

    Attributes:
        url: where it could be seen.
        splats: how many were shown.
        points: how many were shown.
        screenshot: the picture that was written, or None.
    """

    url: str
    splats: int
    points: int
    screenshot: Path | None

    def text(self) -> str:
        """One line for people."""
        return f"closed {self.url}" if self.screenshot is None else f"picture of {self.splats:,} splats in {self.screenshot}"


def view_scene(options: ViewOptions, progress: Progress | None = None) -> ViewSummary:
    """Serves a scene folder to browsers on this machine until Ctrl-C, or writes one picture.

    Raises:
        DataFormatError: no scene there, or a damaged one, or no such camera file.
        ConventionError: a question was given and the scene cannot answer it, or an object that its graph has not.
        ResourceError: the port is in use, or the browser for the picture does not start.
        MissingDependencyError: viser, or for a picture Chromium, is not installed.
    """
    progress = NullProgress() if progress is None else progress
    scene = read_scene(options.scene)  # whatever is wrong with it is told before the teacher is loaded
    camera = None if options.camera is None else read_camera_file(options.camera, scene.world_from_source)
    if options.object is not None:
        path = options.scene / GRAPH_FILE
        require_object(read_scene_graph(path) if path.exists() else None, options.object, "--object")
    with progress.stage("open the scene"):
        asked = options.ask is not None or options.picture is not None
        picture = None if options.picture is None else AskedPicture(read_image(options.picture), options.picture.name)
        searcher, reason = open_searcher(options.scene)
        if asked and searcher is None:
            option = "--picture" if options.ask is None else "--ask"
            raise ConventionError(option, expected="a scene that can answer", got=reason)
        viewer = SceneViewer(
            options.scene,
            searcher,
            0 if options.screenshot is not None and options.port is None else _port(options),
            host=options.host,
            no_searcher_reason=reason,
            max_splats=options.max_splats,
        )
    with viewer:
        for note in viewer.contents.notes:
            progress.message(note)
        if searcher is None:
            progress.message(f"questions are off: {reason}")
        if asked:
            segments = viewer.ask(options.ask or "", picture)
            viewer.look_at_answer(segments)
            said = " + ".join(each for each in (options.ask, picture and picture.name) if each)
            for number, segment in enumerate(segments, start=1):
                progress.message(f"{said}: place {number}, {100 * segment.score:.0f} %")
        if options.object is not None and viewer.contents.graph is not None:
            viewer.select_object(options.object)
            viewer.look_at_object(options.object)
            progress.message(object_label(viewer.contents.graph.by_id[options.object]))
        if camera is not None:
            viewer.look_from_camera(camera)
        if options.mode is not None:
            viewer.set_mode(options.mode)
        if options.screenshot is not None:
            with progress.stage("picture"):
                _write_picture(viewer, options.screenshot, options.width, options.height)
        else:
            _serve(viewer, options, progress)
        return ViewSummary(viewer.url, len(viewer.contents.splats), len(viewer.contents.points), options.screenshot)


def open_searcher(folder: Path) -> tuple[Searcher | None, str]:
    """What answers questions about a scene, or None and why there is none."""
    if not any(features_path(folder, of).exists() for of in ("splats", "points")):
        return None, f"the scene has no features; run scenewise segment {folder} first"
    from scenewise.parts.words.queries import SceneSearcher

    try:
        return SceneSearcher(folder), ""
    except ScenewiseError as error:
        return None, str(error)


def _port(options: ViewOptions) -> int:
    """The port asked for; otherwise the usual one, or any where that is taken."""
    if options.port is not None:
        return options.port
    try:
        require_free_port(options.host, DEFAULT_PORT)
    except ResourceError:
        return 0
    return DEFAULT_PORT


def _serve(viewer: SceneViewer, options: ViewOptions, progress: Progress) -> None:
    try:
        progress.message(f"{viewer.url}  (Ctrl-C ends)")  # and does from now on
        if not options.no_open:
            # A browser in a text terminal would take over; it gets its own thread, and failing to open one is no error.
            threading.Thread(target=webbrowser.open, args=(viewer.url,), daemon=True).start()
        while True:
            time.sleep(3600.0)
    except KeyboardInterrupt:  # the way to end it
        progress.message("")


def _write_picture(viewer: SceneViewer, path: Path, width: int, height: int) -> None:
    if path.suffix.lower() != ".png":
        raise DataFormatError(path, expected="a file name that ends in .png", got=path.name)
    with HeadlessBrowser(viewer.url, width, height) as browser:
        wait_for_browser(viewer)
        viewer.look_from()  # a busy browser may have told where it is before it knew where to begin
        viewer.render(64, 64)  # comes when everything sent before has been drawn
        atomic_write_bytes(path, png_bytes(browser.settled_picture()))


def wait_for_browser(viewer: SceneViewer, seconds: float = _CONNECT_SECONDS) -> None:
    """Returns when a browser shows the scene.

    Raises:
        ResourceError: none connects in time.
    """
    until = time.monotonic() + seconds
    while not viewer.num_browsers:
        if time.monotonic() > until:
            raise ResourceError("the browser", expected=f"a connection within {seconds:.0f} s", got="none")
        time.sleep(0.05)

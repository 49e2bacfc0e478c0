"""The viewer's server: who can reach it, what browsers are told, what can go wrong."""

import signal
import socket
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("viser")

from tests.support.small_room import LAMP, SOFA, TruthfulSearcher, room_parts

from scenewise.cli.main import main
from scenewise.commands.view.options import ViewOptions
from scenewise.commands.view.run import open_searcher, view_scene
from scenewise.engine.progress import NullProgress
from scenewise.errors import ConventionError, DataFormatError, MissingDependencyError, ResourceError, ShapeError
from scenewise.geometry.orbits import look_at
from scenewise.io.camera_files import read_camera_file, write_camera_file
from scenewise.io.scene_folder import write_scene_labels
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.heats import Heat
from scenewise.scenes.labels import ElementLabels
from scenewise.show.viewer.server import SceneViewer
from scenewise.show.viewer.serving import is_loopback

CLASSES = room_parts()[1]


def alphas(viewer: SceneViewer) -> np.ndarray:
    return np.array(viewer._placed.nodes["splats"].opacities)[:, 0]


def test_it_serves_this_machine_only(room_folder: Path, capsys):
    with SceneViewer(room_folder) as viewer:
        assert viewer.port > 0 and viewer.url == f"http://127.0.0.1:{viewer.port}"
        with urllib.request.urlopen(viewer.url, timeout=10) as answer:
            assert answer.status == 200 and b"<html" in answer.read(2000).lower()
        with pytest.raises(OSError), socket.create_connection(("127.0.0.2", viewer.port), timeout=5):
            pass
        assert viewer._server.request_share_url() is None  # and no tunnel was opened
    viewer.close()  # a second time does no harm
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", viewer.port), timeout=5):
        pass
    assert capsys.readouterr().out == ""


def test_other_addresses_warn(room_folder: Path):
    with pytest.warns(UserWarning, match=r"0\.0\.0\.0: everybody"), SceneViewer(room_folder, host="0.0.0.0") as viewer:
        assert viewer.url.startswith("http://127.0.0.1:")
    assert is_loopback("127.0.0.1") and is_loopback("::1") and is_loopback("localhost")
    assert not is_loopback("192.168.1.1") and not is_loopback("0.0.0.0") and not is_loopback("example.org")


def test_modes_change_what_is_sent(room_folder: Path):
    with SceneViewer(room_folder, TruthfulSearcher()) as viewer:
        own = viewer.sent_colors()
        assert own[250] == pytest.approx([25.5, 51, 229.5], abs=1)
        viewer.set_mode("classes")
        classes = viewer.sent_colors()
        assert (classes[CLASSES == SOFA] == classes[250]).all() and (classes[250] != own[250]).any()
        assert viewer._panel.mode.value == "classes"
        viewer.set_mode("confidence")
        confidence = viewer.sent_colors()
        assert (confidence[CLASSES == LAMP][0] != confidence[CLASSES == SOFA][0]).any()
        viewer.set_min_confidence(0.5)
        assert np.ptp(viewer.sent_colors()[CLASSES == LAMP][0].astype(int)) < 10  # grey
        assert viewer._panel.class_buttons[LAMP].label == "● lamp · 0 · 0 %"
        viewer.set_mode("color")
        assert (viewer.sent_colors() == own).all()


def test_what_is_hidden_is_sent_without_opacity(room_folder: Path):
    with SceneViewer(room_folder) as viewer:
        everything = alphas(viewer)
        assert everything.min() > 200
        viewer.toggle_class(SOFA)
        assert (alphas(viewer) == 0).tolist() == (CLASSES == SOFA).tolist()
        assert viewer._panel.class_buttons[SOFA].label.startswith("○")
        viewer.show_all_classes(False)
        assert alphas(viewer).max() == 0
        viewer.show_all_classes()
        assert (alphas(viewer) == everything).all()
        viewer.set_cut(0.1)  # the boxes are higher
        assert (alphas(viewer) == 0).tolist() == (CLASSES > 0).tolist()
        assert len(viewer.sent_colors("points")) == 0
        viewer.set_cut(1.0)
        assert (alphas(viewer) == everything).all() and len(viewer.sent_colors("points")) == 128
        viewer.set_visible("splats", False)
        viewer.set_visible("cameras", True)
        assert not viewer._placed.nodes["splats"].visible and viewer._placed.nodes["cameras"].visible
        with pytest.raises(ConventionError, match="what: expected splats or points or cameras"):
            viewer.set_visible("walls", True)


def test_sent_shapes_keep_their_size_in_half_precision(room_folder: Path):
    with SceneViewer(room_folder) as viewer:
        node, shapes = viewer._placed.nodes["splats"], viewer.contents.shapes
        sent = np.asarray(node.covariances, dtype=np.float64) * node.scale**2
        assert sent == pytest.approx(shapes.covariances, rel=2e-3, abs=1e-6)
        assert np.asarray(node.centers) * node.scale == pytest.approx(viewer.contents.splats.positions, abs=1e-5)


def test_an_answer_lights_up_and_goes_away(room_folder: Path):
    with SceneViewer(room_folder, TruthfulSearcher()) as viewer:
        own = viewer.sent_colors()
        (segment,) = viewer.ask("sofa")
        assert segment.elements.tolist() == np.flatnonzero(CLASSES == SOFA).tolist()
        assert segment.box.center_in_world == pytest.approx([-1.0, 0.0, 0.6], abs=1e-6)
        hot = viewer.sent_colors().astype(int)
        redness = hot[:, 0] - hot[:, 1:].mean(axis=1)
        assert redness[CLASSES == SOFA].min() > 100 and redness[CLASSES != SOFA].max() < 60
        assert viewer.look.mode == "heat" and viewer._panel.question.value == "sofa"
        assert "1 place answers <b>sofa</b>" in viewer._panel.answer.content
        assert viewer.sent_colors("points")[0].tolist() == hot[200].tolist()
        assert viewer.ask("nonsense") == () and "Nothing here answers" in viewer._panel.answer.content
        viewer.clear_question()
        assert (viewer.sent_colors() == own).all() and viewer.look.mode == "color"


def test_objects_that_touch_get_a_box_each_where_they_are(room_folder: Path, monkeypatch):
    class Everything:
        def heat(self, text: str) -> Heat:
            return Heat(text, np.full(len(CLASSES), 0.95, np.float32), None)

    with SceneViewer(room_folder, Everything()) as viewer:
        assert [len(segment.elements) for segment in viewer.ask("all")] == [328]
    objects = np.select([CLASSES == SOFA, CLASSES == LAMP], [7, 3], -1).astype(np.int32)
    write_scene_labels(room_folder, "splats", ElementLabels(CLASSES, objects, np.ones(len(CLASSES), np.float32)))
    with SceneViewer(room_folder, Everything(), max_splats=300) as viewer:
        drawn = []
        monkeypatch.setattr(viewer._server.scene, "add_line_segments", lambda name, points, **_: drawn.append(points))
        segments = viewer.ask("all")
        kept = viewer.contents.splats.rows
        of_class = {int(CLASSES[segment.elements[0]]): segment for segment in segments}
        for class_id, segment in of_class.items():
            assert segment.elements.tolist() == kept[CLASSES[kept] == class_id].tolist()
        assert len(of_class) == 3
        for segment, edges in zip(segments, drawn, strict=True):
            ends = edges.reshape(-1, 3) + viewer.contents.origin
            assert ends.min(axis=0) == pytest.approx(segment.box.corners_in_world.min(axis=0), abs=1e-5)
        size = " × ".join(f"{side:.2g}" for side in of_class[SOFA].box.size)
        assert "3 places answer <b>all</b>" in viewer._panel.answer.content and f"95 % · {size}" in viewer._panel.answer.content


def test_one_browser_is_moved_and_the_others_stay(room_folder: Path):
    class Browser:
        def __init__(self) -> None:
            self.camera = SimpleNamespace()
            self.atomic = nullcontext

    first, second = Browser(), Browser()
    with SceneViewer(room_folder) as viewer:
        camera = viewer.contents.cameras[1]
        viewer.look_from(camera.name, first)
        expected = camera.camera.centers_in_world.numpy() - viewer.contents.origin
        assert first.camera.position == pytest.approx(expected) and not vars(second.camera)
        viewer.look_from(None, second)
        assert not np.allclose(second.camera.position, first.camera.position)


def test_it_begins_at_a_camera_that_is_given(room_folder: Path, tmp_path: Path):
    """All browsers that are there and those still to come look from there, and at what it looks at."""
    eye, ahead = np.array([1.0, -3.0, 1.5]), np.array([0.0, 1.0, 0.0])
    pose = torch.linalg.inv(torch.from_numpy(look_at(eye, eye + ahead, np.array([0.0, 0, 1]))))
    K = torch.tensor([[100.0, 0, 48], [0, 100, 32], [0, 0, 1]], dtype=torch.float64)
    write_camera_file(tmp_path / "camera.json", Cameras(pose, K, 96, 64))
    camera = read_camera_file(tmp_path / "camera.json", np.eye(4))
    with SceneViewer(room_folder) as viewer:
        viewer.look_from_camera(camera)
        begins = viewer._server.initial_camera
        assert begins.position == pytest.approx(eye - viewer.contents.origin)
        looks = np.array(begins.look_at) - begins.position
        assert looks / np.linalg.norm(looks) == pytest.approx(ahead) and begins.fov == pytest.approx(np.radians(40))  # not less
    with pytest.raises(DataFormatError, match=r"none.json: expected .*, got"):
        view_scene(ViewOptions(scene=room_folder, camera=tmp_path / "none.json", port=0))


def test_what_fits_no_better_than_the_rest_is_no_answer_and_haze_neither(room_folder: Path):
    class Indifferent:
        def heat(self, text: str) -> Heat:
            return Heat(text, np.full(len(CLASSES), 0.5, np.float32), None)

    with SceneViewer(room_folder, Indifferent()) as viewer:
        assert viewer.ask("anything") == ()
    with SceneViewer(room_folder, TruthfulSearcher()) as viewer:
        viewer.contents.shapes.opacities[CLASSES == SOFA] = 0.05
        assert viewer.ask("sofa") == () and len(viewer.ask("lamp")) == 1


def test_questions_that_cannot_be_answered(room_folder: Path):
    class Deaf:
        def heat(self, text: str) -> Heat:
            raise ConventionError(f"query {text!r}", expected="a known word", got="<none>")

    class Foreign:
        def heat(self, text: str) -> Heat:
            return Heat(text, np.ones(7, np.float32), None)

    with SceneViewer(room_folder, Deaf()) as viewer:
        with pytest.raises(ConventionError, match="a known word"):
            viewer.ask("qwerty")
        assert "a known word, got &lt;none&gt;" in viewer._panel.answer.content and viewer.look.mode == "color"
    with SceneViewer(room_folder, Foreign()) as viewer, pytest.raises(ShapeError, match="328 numbers, got 7"):
        viewer.ask("sofa")


def test_warnings_of_the_searcher_are_shown(room_folder: Path):
    class Doubting(TruthfulSearcher):
        def heat(self, text: str) -> Heat:
            import warnings

            warnings.warn("unknown word <x>", stacklevel=2)
            return super().heat(text)

    with SceneViewer(room_folder, Doubting()) as viewer:
        viewer.ask("lamp")
        assert "unknown word &lt;x&gt;" in viewer._panel.answer.content


def test_without_features_the_box_says_why(room_folder: Path):
    searcher, reason = open_searcher(room_folder)
    assert searcher is None and f"run scenewise segment {room_folder} first" in reason
    with SceneViewer(room_folder, no_searcher_reason=reason) as viewer:
        assert viewer._panel.question.disabled and "run scenewise segment" in viewer._panel.answer.content
        assert "answer (heat)" not in viewer._panel.mode.options
        with pytest.raises(ConventionError, match="run scenewise segment first"):
            viewer.ask("sofa")


def test_a_scene_without_labels_offers_no_class_modes(room_folder: Path):
    (room_folder / "labels_splats.safetensors").unlink()
    (room_folder / "points.ply").unlink()
    with SceneViewer(room_folder) as viewer:
        assert tuple(viewer._panel.mode.options) == ("own colours",) and not viewer._panel.class_buttons


def test_a_port_in_use_is_one_clear_error(room_folder: Path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ResourceError, match=f"port {port} of 127.0.0.1: expected a free port, got one in use. Fix: --port 0"):
            SceneViewer(room_folder, port=port)
        assert main(["view", str(room_folder), "--port", str(port), "--no-open"]) == 2
    error = capsys.readouterr().err.splitlines()
    assert error[-1].startswith(f"scenewise: port {port}") and not any("Traceback" in line for line in error)


def test_no_scene_and_no_such_address(tmp_path: Path, room_folder: Path, capsys):
    with pytest.raises(DataFormatError, match="expected a scene folder, got nothing"):
        view_scene(ViewOptions(scene=tmp_path / "nowhere"))
    assert main(["view", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.warns(UserWarning), pytest.raises(ResourceError, match=r"--host: expected an address of this machine"):
        SceneViewer(room_folder, host="192.0.2.1")
    with pytest.raises(ConventionError, match="--ask: expected a scene that can answer, got the scene has no features"):
        view_scene(ViewOptions(scene=room_folder, ask="sofa", port=0))


def test_without_viser_the_line_that_installs_it(room_folder: Path, monkeypatch):
    monkeypatch.setitem(sys.modules, "viser", None)
    with pytest.raises(
        MissingDependencyError, match=r'scenewise view needs the package viser.*pip install "scenewise\[viewer\]"'
    ):
        SceneViewer(room_folder)


def test_a_picture_needs_a_browser(room_folder: Path, monkeypatch, tmp_path: Path):
    monkeypatch.setattr("scenewise.show.viewer.browser.find_browser", lambda: None)
    with pytest.raises(MissingDependencyError, match="a picture of the viewer needs the package chromium"):
        view_scene(ViewOptions(scene=room_folder, port=0, screenshot=tmp_path / "a.png"))
    with pytest.raises(DataFormatError, match=r"a file name that ends in \.png"):
        view_scene(ViewOptions(scene=room_folder, port=0, screenshot=tmp_path / "a.jpg"))
    with SceneViewer(room_folder) as viewer, pytest.raises(ResourceError, match="a connected browser, got none"):
        viewer.render(64, 64)


@pytest.fixture
def hears_control_c() -> Iterator[None]:
    """Programs started in the background of a shell ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hears_control_c")
def test_control_c_ends_it_cleanly(room_folder: Path):
    class Listener:
        heard: list[str] = []
        stage = NullProgress.stage
        warning = NullProgress.warning

        def message(self, text: str) -> None:
            self.heard.append(text)
            if "Ctrl-C" in text:
                threading.Thread(target=self.look_and_interrupt, args=(text.split()[0],)).start()

        def look_and_interrupt(self, url: str) -> None:
            with urllib.request.urlopen(url, timeout=10) as answer:
                self.heard.append(str(answer.status))
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    summary = view_scene(ViewOptions(scene=room_folder, no_open=True, port=0, mode="classes"), Listener())
    assert "200" in Listener.heard and any("questions are off" in text for text in Listener.heard)
    assert (summary.splats, summary.points, summary.screenshot) == (328, 128, None)
    assert summary.text() == f"closed {summary.url}"
    with pytest.raises(OSError):
        urllib.request.urlopen(summary.url, timeout=5)

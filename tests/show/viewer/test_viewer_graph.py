"""Objects of a scene graph in the viewer: what browsers are sent, what a click does, what the panel says."""

import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("viser")

from tests.support.small_graph import FLOOR_ID, LAMP_ID, SOFA_ID, small_graph, write_small_graph
from tests.support.small_room import write_room

from scenewise.cli.main import main
from scenewise.commands.view.options import ViewOptions
from scenewise.commands.view.run import view_scene
from scenewise.errors import ConventionError, DataFormatError
from scenewise.show.viewer.browser import HeadlessBrowser, find_browser
from scenewise.show.viewer.graph_text import graph_html, object_html
from scenewise.show.viewer.server import SceneViewer
from scenewise.show.viewer.viewpoints import object_view


def click(handle: Any) -> None:
    """What viser does when somebody clicks."""
    for callback in handle._impl.click_cb:
        callback = callback.callback if hasattr(callback, "callback") else callback
        callback(SimpleNamespace(client=None))


def press(button: Any, client: Any) -> None:
    for callback in button._impl.update_cb:
        callback(SimpleNamespace(client=client, target=button))


def names(viewer: SceneViewer) -> set[str]:
    return {name for name in viewer._server.scene._handle_from_node_name if name.startswith("/graph")}


def test_every_object_but_the_floor_has_a_box_where_it_is(graph_folder: Path):
    with SceneViewer(graph_folder) as viewer:
        boxes = viewer._graph.boxes
        assert set(boxes) == {SOFA_ID, LAMP_ID}
        sofa = small_graph().by_id[SOFA_ID].box
        assert np.asarray(boxes[SOFA_ID].position) + viewer.contents.origin == pytest.approx(sofa.center_in_world)
        assert tuple(boxes[SOFA_ID].scale) == pytest.approx(tuple(sofa.size))
        assert viewer._panel.is_shown("graph")
        viewer.set_visible("graph", False)
        assert not viewer._placed.nodes["graph"].visible


def test_a_click_tells_about_an_object(graph_folder: Path):
    with SceneViewer(graph_folder) as viewer:
        nothing = names(viewer)
        assert viewer.selected is None and viewer._panel.objects.choice.value == "none"
        click(viewer._graph.boxes[SOFA_ID])
        assert viewer.selected == SOFA_ID and viewer._panel.objects.choice.value == "sofa 3"
        text = viewer._panel.objects.text.content
        assert "<b>sofa 3</b> · 80 % sure" in text and "80 × 60 × 50 cm · in room 1" in text
        assert "lamp 7 lighting sofa 3" in text and "or bed &lt;b&gt; 10 %" in text
        assert names(viewer) > nothing
        viewer.set_visible("graph", False)
        viewer.select_object(LAMP_ID)
        assert viewer._panel.is_shown("graph") and "<b>lamp 7</b>" in viewer._panel.objects.text.content
        viewer.select_object(None)
        assert names(viewer) == nothing and viewer.selected is None
        assert "<b>3</b> objects" in viewer._panel.objects.text.content and not viewer._panel.objects.buttons


def test_the_list_chooses_too(graph_folder: Path):
    with SceneViewer(graph_folder) as viewer:
        viewer._panel.objects.choice.value = "floor 0"  # as a browser sets it
        until = time.monotonic() + 10.0
        while viewer.selected != FLOOR_ID and time.monotonic() < until:
            time.sleep(0.01)
        assert viewer.selected == FLOOR_ID and "sofa 3 standing on floor 0" in viewer._panel.objects.text.content


def test_photographs_of_an_object_are_places_to_look_from(graph_folder: Path):
    first, second = (SimpleNamespace(camera=SimpleNamespace(), atomic=nullcontext) for _ in range(2))
    with SceneViewer(graph_folder) as viewer:
        viewer.select_object(LAMP_ID)
        buttons = viewer._panel.objects.buttons
        assert list(buttons) == ["", "2.jpg", "1.jpg"]  # a photograph that the scene no longer has is left out
        press(buttons["1.jpg"], first)
        expected = viewer.contents.scene.camera("1.jpg").centers_in_world.numpy() - viewer.contents.origin
        assert first.camera.position == pytest.approx(expected)
        press(buttons[""], second)
        lamp = small_graph().by_id[LAMP_ID].center_in_world - viewer.contents.origin
        # 2.jpg shows it largest, but half of its box is outside of the picture: 1.jpg shows where it stands.
        assert second.camera.position == pytest.approx(expected) and second.camera.look_at == pytest.approx(lamp)
        viewer.look_at_object(SOFA_ID)  # which has no photographs: the camera that shows it best
        assert viewer._first_view.target + viewer.contents.origin == pytest.approx([-1.0, 0.0, 0.6])
        only = replace(small_graph().by_id[LAMP_ID], views=("2.jpg",))
        best = viewer.contents.scene.camera("2.jpg").centers_in_world.numpy() - viewer.contents.origin
        assert object_view(viewer.contents, only).position == pytest.approx(best)  # in the others something may stand before it


def test_objects_that_are_not_there(graph_folder: Path, room_folder: Path, tmp_path: Path, capsys):
    with SceneViewer(graph_folder) as viewer:
        for ask in (viewer.select_object, viewer.look_at_object):
            with pytest.raises(ConventionError, match="object: expected the number of an object: 0, 3, 7, got 5"):
                ask(5)
        assert viewer.selected is None
    with pytest.raises(ConventionError, match="--object: expected the number of an object: 0, 3, 7, got 12"):
        view_scene(ViewOptions(scene=graph_folder, object=12, port=0))
    assert main(["view", str(graph_folder), "--object", "12", "--no-open"]) == 2
    assert "scenewise: --object: expected the number of an object" in capsys.readouterr().err
    bare = write_room(tmp_path / "bare")
    with SceneViewer(bare) as viewer:
        assert viewer._panel.objects is None and "graph" not in viewer._placed.nodes
        viewer.select_object(None)
        with pytest.raises(ConventionError, match=r"a scene with a graph, got none\. Fix: run scenewise graph first"):
            viewer.select_object(3)
    with pytest.raises(ConventionError, match="--object: expected a scene with a graph"):
        view_scene(ViewOptions(scene=bare, object=3, port=0))
    (graph_folder / "graph.json").write_text("{")
    with pytest.raises(DataFormatError, match=r"graph\.json"):
        SceneViewer(graph_folder)


def test_texts_of_a_graph():
    graph = small_graph()
    assert "<b>3</b> objects · <b>6</b> relations" in graph_html(graph)
    told = object_html(graph, LAMP_ID).split("<br>")
    assert told[3:] == [
        "lamp 7 lighting sofa 3",
        "lamp 7 next to sofa 3",
        "lamp 7 to the right of sofa 3, as seen from 0.jpg</div>",
    ]


@pytest.mark.slow
@pytest.mark.skipif(find_browser() is None, reason="no Chromium or Chrome is installed")
def test_a_person_clicks_on_the_sofa(tmp_path: Path):
    folder = write_small_graph(write_room(tmp_path / "room"))
    with SceneViewer(folder) as viewer, HeadlessBrowser(viewer.url, 800, 420) as browser:
        until = time.monotonic() + 90.0
        while not viewer.num_browsers or viewer.selected is None:
            if viewer.num_browsers:
                browser.click(150.0, 190.0)  # the scene is 460 pixels wide, the sofa on its left
            assert time.monotonic() < until, "no click arrived"
            time.sleep(0.3)
        assert viewer.selected == SOFA_ID
        while "lamp 7 lighting sofa 3" not in browser.evaluate("document.body.innerText"):
            assert time.monotonic() < until
            time.sleep(0.1)

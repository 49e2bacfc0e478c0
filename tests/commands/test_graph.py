"""scenewise graph: objects, rooms and relations of a segmented scene, in files, without images."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.support.oracle_teacher import Oracle

from scenewise.cli.main import main
from scenewise.commands.graph.networks import open_network
from scenewise.commands.graph.options import GraphOptions
from scenewise.commands.graph.run import graph_scene
from scenewise.commands.segment.options import SegmentOptions
from scenewise.commands.segment.run import segment
from scenewise.engine.journal import read_journal
from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.ply.points import read_points_ply_with_extra
from scenewise.io.scene_folder import read_scene, read_scene_labels, write_scene_description
from scenewise.io.scene_graphs.graph_json import read_scene_graph
from scenewise.methods.vl_sat.network_file import NAME, WEIGHTS
from scenewise.parts.graphs.rules import RULE_PREDICATES

BACK = np.array([100.0, -20.0, -3.0])
FILES = ("graph.json", "graph.dsg.json", "graph.graphml", "graph.png")


@pytest.fixture(scope="module")
def named_cloud(known_room: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dense points of the known room with nearly true names."""
    out = tmp_path_factory.mktemp("named") / "cloud"
    segment(SegmentOptions(target=(known_room,), out=out, max_points=40_000, threads=1), None, Oracle(known_room))
    return out


@pytest.fixture
def cloud(named_cloud: Path, tmp_path: Path) -> Path:
    shutil.copytree(named_cloud, tmp_path / "cloud")
    return tmp_path / "cloud"


def test_a_room_becomes_a_graph(cloud: Path):
    summary = graph_scene(GraphOptions(scene=cloud, network="none", threads=1))
    graph = read_scene_graph(cloud / "graph.json")
    assert {relation.source for relation in graph.relations} == {"geometry"} and summary.network is None
    names = [thing.name for thing in graph.objects]
    assert names.count("wall") == 4 and names.count("floor") == names.count("ceiling") == 1
    assert len(graph.rooms) == 1 and {thing.room_id for thing in graph.objects} == {0}
    floor = graph.objects[names.index("floor")].object_id
    on_floor = {graph.by_id[e.subject].name for e in graph.relations if e.predicate == "standing on" and e.object == floor}
    assert on_floor & {"bed", "sofa", "table", "cabinet", "bookshelf", "chair"}
    assert sum(e.predicate == "attached to" and graph.by_id[e.subject].name == "wall" for e in graph.relations) == 4
    assert all(1 <= len(thing.views) <= 5 for thing in graph.objects)
    scene = read_scene(cloud)
    assert graph.view in {entry.name for entry in scene.cameras_of("train")}
    assert summary.relations == len(graph.relations) == sum(summary.relations_by_name.values())
    assert [path.name for path in summary.files] == list(FILES)
    for text in ("objects (room 1 with", "standing on floor", str(graph.view)):
        assert text in summary.text()
    assert [event for event in read_journal(cloud / "log.jsonl") if event["event"] == "graph"][-1]["objects"] == len(names)


def test_the_embedded_network_tells_what_rules_do_not(cloud: Path):
    graph_scene(GraphOptions(scene=cloud, network="none", threads=1))
    alone = read_scene_graph(cloud / "graph.json")
    summary = graph_scene(GraphOptions(scene=cloud, threads=1))
    graph = read_scene_graph(cloud / "graph.json")
    assert summary.network == "embedded scene-graph network"
    measured = [relation for relation in graph.relations if relation.source == "geometry"]
    assert {(each.subject, each.predicate, each.object) for each in measured} == {
        (each.subject, each.predicate, each.object) for each in alone.relations
    }, "geometry is geometry's"
    told = {each.predicate for each in graph.relations if each.source == "network"}
    assert told and not told & {each.predicate for each in alone.relations}
    built_in = [each for each in graph.relations if each.predicate == "build in"]
    assert built_in and {graph.by_id[each.object].name for each in built_in} == {"wall"}
    assert {graph.by_id[each.subject].name for each in built_in} <= {"window", "door"}


def test_labels_get_the_numbers_of_the_graph_and_the_second_run_changes_nothing(cloud: Path):
    first = graph_scene(GraphOptions(scene=cloud, threads=1))
    labels = read_scene_labels(cloud, "points")
    assert labels is not None and first.labels_changed
    graph = read_scene_graph(cloud / "graph.json")
    assert set(np.unique(labels.instance_ids)) - {-1} == set(graph.by_id)
    for thing in graph.objects:
        assert thing.num_points == (labels.instance_ids == thing.object_id).sum()
    _, extra = read_points_ply_with_extra(cloud / "points.ply")
    assert np.array_equal(extra["instance"], labels.instance_ids) and np.array_equal(extra["label"], labels.class_ids)
    before = {name: (cloud / name).read_bytes() for name in FILES}
    second = graph_scene(GraphOptions(scene=cloud, threads=1))
    assert not second.labels_changed
    assert {name: (cloud / name).read_bytes() for name in FILES} == before


def test_coordinates_are_those_of_the_capture(cloud: Path):
    """The same scene, its world moved away from the capture by a known way."""
    from dataclasses import replace

    graph_scene(GraphOptions(scene=cloud, threads=1, formats="json"))
    before = json.loads((cloud / "graph.json").read_text())
    scene = read_scene(cloud)
    moved = np.eye(4)
    moved[:3, 3] = -BACK
    write_scene_description(cloud, replace(scene, world_from_source=moved @ scene.world_from_source))
    graph_scene(GraphOptions(scene=cloud, threads=1, formats="json"))
    after = json.loads((cloud / "graph.json").read_text())
    for one, other in zip(before["rooms"][0]["objects"], after["rooms"][0]["objects"]):
        np.testing.assert_allclose(np.array(other["position"]), np.array(one["position"]) + BACK, atol=1e-9)
        np.testing.assert_allclose(np.array(other["box"]["center"]), np.array(one["box"]["center"]) + BACK, atol=1e-9)


def test_splats_and_points_alike(segmented_scene, tmp_path: Path):
    shutil.copytree(segmented_scene[0], tmp_path / "scene")
    graph_scene(GraphOptions(scene=tmp_path / "scene", threads=1, formats="json"))
    graph = read_scene_graph(tmp_path / "scene" / "graph.json")
    assert sum(thing.num_splats for thing in graph.objects) > 1000
    assert {"wall", "floor"} <= {thing.name for thing in graph.objects}
    assert not (tmp_path / "scene" / "graph.graphml").exists() and not (tmp_path / "scene" / "report.html").exists()
    (tmp_path / "scene" / "report.html").write_text("an old one")
    summary = graph_scene(GraphOptions(scene=tmp_path / "scene", threads=1, formats="json"))
    page = (tmp_path / "scene" / "report.html").read_text()
    assert "Scene graph" in page and "Objects and relations seen from" in page and "report" in summary.seconds


def test_left_and_right_follow_the_view(cloud: Path):
    """Two views that look nearly opposite ways call left right."""
    scene = read_scene(cloud)
    forward = np.stack([entry.camera.world_from_camera.numpy()[:2, 2] for entry in scene.cameras])
    forward /= np.linalg.norm(forward, axis=1, keepdims=True)
    one, other = np.unravel_index(int((forward @ forward.T).argmin()), (len(forward), len(forward)))
    assert forward[one] @ forward[other] < -0.9

    def of(view: int) -> set[tuple[int, int]]:
        graph_scene(GraphOptions(scene=cloud, view=scene.cameras[view].name, threads=1, formats="json"))
        graph = read_scene_graph(cloud / "graph.json")
        assert graph.view == scene.cameras[view].name
        left = {(e.subject, e.object) for e in graph.relations if e.predicate == "left"}
        to_the_right = scene.cameras[view].camera.world_from_camera.numpy()[:3, 0]
        for a, b in left:
            offset = graph.by_id[a].box.center_in_world - graph.by_id[b].box.center_in_world
            assert offset @ to_the_right < 0
        return left

    first, second = of(int(one)), of(int(other))
    flipped = {(b, a) for a, b in second}
    assert len(first & flipped) > 0.6 * len(first) and not first & second


def test_segmenting_again_takes_the_graph_away(known_room: Path, cloud: Path):
    graph_scene(GraphOptions(scene=cloud, threads=1))
    options = SegmentOptions(target=(known_room,), out=cloud, max_points=2_000, threads=1, overwrite=True)
    segment(options, None, Oracle(known_room))
    assert not any((cloud / name).exists() for name in FILES)


def test_a_trained_network_tells_what_geometry_does_not(cloud: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Named as the folder of a run, as its file, or as the one that comes with the package."""
    place = tmp_path / "my_run" / "graph_network.safetensors"
    place.parent.mkdir()
    shutil.copyfile(WEIGHTS, place)
    for module in ("scenewise.methods.vl_sat.network_file", "scenewise.commands.graph.networks"):
        monkeypatch.setattr(f"{module}.WEIGHTS", place)
    told = {}
    for choice in ("none", "auto", str(place.parent), str(place)):
        summary = graph_scene(GraphOptions(scene=cloud, network=choice, threads=1, formats="json"))
        graph = read_scene_graph(cloud / "graph.json")
        assert graph.provenance["network"] == summary.network
        told[choice] = summary.network, {(e.subject, e.predicate, e.object) for e in graph.relations if e.source == "network"}
    assert told["none"] == (None, set()) and len(told["auto"][1]) > 0
    assert [told[choice][0] for choice in ("auto", str(place.parent), str(place))] == [NAME, "my_run", "graph_network"]
    assert told["auto"][1] == told[str(place.parent)][1] == told[str(place)][1]
    assert not {predicate for _, predicate, _ in told["auto"][1]} & set(RULE_PREDICATES)


def test_without_weights_geometry_speaks_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("scenewise.commands.graph.networks.WEIGHTS", tmp_path / "none.safetensors")
    assert open_network("auto") is None


def test_what_cannot_be_done_is_said(cloud: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(ConventionError, match="photograph of the scene"):
        graph_scene(GraphOptions(scene=cloud, view="nowhere.png"))
    with pytest.raises(DataFormatError, match="a run of scenewise train-graph, or its file"):
        graph_scene(GraphOptions(scene=cloud, network=str(tmp_path)))
    with pytest.raises(DataFormatError, match=r"nothing\.safetensors"):
        graph_scene(GraphOptions(scene=cloud, network=str(tmp_path / "nothing.safetensors")))
    with pytest.raises(DataFormatError, match="graph_network"):
        graph_scene(GraphOptions(scene=cloud, network=str(cloud / "labels_points.safetensors")))
    for wrong in ({"formats": "json,usd"}, {"formats": ""}, {"neighbours": 0}, {"min_score": 1.5}):
        with pytest.raises(ConventionError):
            GraphOptions(scene=cloud, **wrong)
    for name in ("labels_points.safetensors", "labels_splats.safetensors"):
        (cloud / name).unlink(missing_ok=True)
    assert main(["graph", str(cloud), "--json"]) == 2
    said = json.loads(capsys.readouterr().out)
    assert "scenewise segment" in said["error"]["message"]


def test_the_command_prints_one_json_object(cloud: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["graph", str(cloud), "--formats", "graphml", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["relations"] > 10 and said["rooms"][0]["objects"] == len(said["objects"])
    assert said["files"] == [str(cloud / "graph.graphml")]

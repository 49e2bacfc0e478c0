"""The study of scene graphs, shrunken: a room through all commands, its truth, and what is kept."""

import json
from pathlib import Path

import numpy as np
import pytest

from scenewise.studies.bench import Keeping
from scenewise.studies.graphs.changes import Score
from scenewise.studies.graphs.end_to_end import NAMINGS, QUICK, RoomFigures, room_figures
from scenewise.studies.graphs.true_things import true_things
from scenewise.studies.scene_graphs import Options, main, mean_values, summed_relations, table
from scenewise.worlds.captures import room_cameras
from scenewise.worlds.relations import nodes_of
from scenewise.worlds.rooms import furnished_room
from scenewise.worlds.seeds import BENCHMARK_SEEDS, VALIDATION_SEEDS


def test_things_are_what_the_views_show() -> None:
    room = furnished_room(VALIDATION_SEEDS[0])
    things = true_things(room, room_cameras(room, 6, 80, 60))
    assert len(things.names) == len(nodes_of(room)) and 5 < len(things.seen) <= len(things.names)
    assert things.names[0] == "floor" and 0 in things.seen and len(things.boxes) == len(things.seen)
    node = next(node for node in things.seen if things.names[node] == "wall")
    own = things.points_in_world[things.owners == node]
    assert (things.nodes_at(own) == node).all()
    assert (things.nodes_at(own + np.array([0.0, 0.0, 50.0])) == -1).all()
    box = things.boxes[things.seen.index(node)]
    assert box.size[1] < 0.2 and box.size[0] > 2.0


def figures(**values: float) -> RoomFigures:
    relations = {"geometry matched": {"left": Score(1, 2, 3)}, "geometry all": {"left": Score(1, 4, 8), "right": Score(0, 1, 0)}}
    return RoomFigures(values, {"elements 0.5": Score(3, 4, 6)}, relations, {"graph": 1.5})


def test_means_and_sums_over_rooms() -> None:
    rooms = [figures(a=0.25, b=float("nan")), figures(a=0.75, b=0.5)]
    assert mean_values(rooms) == {"a": 0.5, "b": 0.5}
    assert summed_relations(rooms, "geometry all") == {"left": Score(2, 8, 16), "right": Score(0, 2, 0)}


@pytest.mark.slow
def test_a_room_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(Options(Keeping(quick=True, cache=tmp_path))) == 0
    shown = capsys.readouterr().out
    assert "elements 0.5: things, objects right" in shown and "    standing on" in shown
    content = json.loads((tmp_path / "scene_graphs.json").read_text())
    seed = str(BENCHMARK_SEEDS[0])
    assert list(content["rooms"]) == [seed] and set(content["rooms"][seed]) == set(NAMINGS)
    truth = content["rooms"][seed]["true_things"]
    assert truth["values"]["points ap50"] == truth["values"]["splats ap50"] == truth["values"]["names of matched"] == 1.0
    found = truth["things"]["elements 0.5"]
    assert found["right"] == found["told"] == found["made"] > 8
    left = truth["relations"]["geometry matched"]["left"]
    assert 2 * left["right"] > max(left["made"], left["told"]) > 0, "left and right are those of the view"
    assert content["all"]["small_clip"]["values"].keys() == truth["values"].keys()

    kept = sorted(tmp_path.rglob("splats.ply"))
    before = {path: path.stat().st_mtime_ns for path in kept if "graphs" not in path.parts}
    again = room_figures(BENCHMARK_SEEDS[0], QUICK, tmp_path, ("true_things",))["true_things"]
    assert {path: path.stat().st_mtime_ns for path in before} == before, "photographs, splats and names are kept"
    assert again.values["points ap50"] == 1.0 and again.seconds["reconstruct"] > 0
    lines = table([dict.fromkeys(NAMINGS, again)])
    assert any(line.startswith("AP50") and line.count("100.0") == 3 for line in lines)

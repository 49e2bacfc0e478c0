"""scenewise query with relations: answered by the graph, without a teacher; plain texts are not."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.observed_graphs import CHAIR, PIECES, observed, write_observed

from scenewise.commands.query.options import QueryOptions
from scenewise.commands.query.run import RelatedAnswer, query
from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.ply.points import read_points_ply_with_extra
from scenewise.io.scene_folder import GRAPH_FILE
from scenewise.scenes.scene_graphs import Relation


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    seen = observed((*PIECES, replace(CHAIR, number=20, at=(1.9, 2.2))))
    relations = (
        Relation(10, "left", 11, 0.7, "geometry", "2.png"),
        Relation(12, "left", 11, 0.9, "geometry", "2.png"),
        Relation(20, "close by", 11, 0.8, "geometry"),
    )
    graph = replace(seen.graph, relations=relations, predicates=("left", "right", "close by"), provenance={"teacher": "someone"})
    return write_observed(tmp_path_factory.mktemp("asked") / "scene", replace(seen, graph=graph))


def test_the_chair_next_to_the_table(scene: Path) -> None:
    summary = query(QueryOptions(scene, "Where is the chair next to the desk?", views=1, threads=1))
    (answer,) = summary.answers
    assert isinstance(answer, RelatedAnswer) and answer.instance_id == 20 and answer.name == "chair"
    assert answer.because == "chair 20 next to table 11" and answer.relations == ("close by",)
    assert answer.score == pytest.approx(0.9 * 0.8 * 0.9) and summary.teacher == "someone"
    np.testing.assert_allclose(answer.box_center_in_world[:2], [1.9, 2.2], atol=0.1)
    assert "chair 20 next to table 11" in summary.text()
    result = json.loads((summary.folder / "result.json").read_text())
    assert result["format"] == "scenewise-answer" and result["segments"][0]["because"] == answer.because
    assert result["question"]["things"][1]["name"] == "table" and result["question"]["relations"][0]["means"][0] == "close by"
    _, extra = read_points_ply_with_extra(summary.folder / "heat_points.ply")
    _, own = read_points_ply_with_extra(scene / "points.ply")
    np.testing.assert_allclose(extra["heat"], np.where(own["instance"] == 20, answer.score, 0.0), atol=1e-6)
    assert [path.suffix for path in summary.files].count(".png") == 1


def test_converses_ranks_and_limits(scene: Path) -> None:
    both = query(QueryOptions(scene, "something left of the table", views=0, threads=1))
    assert [answer.instance_id for answer in both.answers] == [12, 10]
    assert "(as seen from 2.png)" in both.text()
    first = query(QueryOptions(scene, "something left of the table", views=0, segments=1, threads=1))
    assert [answer.instance_id for answer in first.answers] == [12]
    converse = query(QueryOptions(scene, "table right of the chair", views=0, threads=1))
    assert [answer.instance_id for answer in converse.answers] == [11]
    none = query(QueryOptions(scene, "lamp next to the table", views=1, threads=1))
    assert none.answers == () and "nothing answers it above 0.05; in the graph there are 1 × lamp, 1 × table" in none.text()
    assert not list(none.folder.glob("*.png")), "pictures without anything to see"


@pytest.mark.errors
def test_promised_errors(scene: Path, tmp_path: Path) -> None:
    with pytest.raises(ConventionError, match=r"relation 'orbiting'.*ask for one of: to the left of, to the right of, next to"):
        query(QueryOptions(scene, "chair orbiting the table", views=0))
    with pytest.raises(DataFormatError, match="features"):  # a plain text still asks the teacher
        query(QueryOptions(scene, "chair", views=0))
    bare = write_observed(tmp_path / "bare", observed(PIECES))
    (bare / GRAPH_FILE).unlink()
    with pytest.raises(DataFormatError, match=r"'next to' asks for a relation, got none\. Fix: run scenewise graph"):
        query(QueryOptions(bare, "chair next to the table", views=0))
    with pytest.raises(DataFormatError, match="features"):
        query(QueryOptions(bare, "where can I sit", views=0))

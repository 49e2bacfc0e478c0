"""scenewise segment by a teacher's 3D branch: points without pictures, and both together."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.oracle_teacher import Oracle, write_splat_scene
from tests.support.pair_run import write_pair_run

from scenewise.cli.main import main
from scenewise.commands.segment.element_sets import PointSet, SplatSet
from scenewise.commands.segment.geometry import Surroundings, geometry_means
from scenewise.commands.segment.options import SegmentOptions
from scenewise.commands.segment.run import segment
from scenewise.commands.segment.summary import SegmentSummary
from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.element_features import features_path, read_element_features
from scenewise.io.ply.points import read_points_ply, write_points_ply
from scenewise.io.scene_folder import read_scene, read_scene_labels
from scenewise.scenes.element_features import ElementFeatures
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.point_clouds import PointCloud
from scenewise.teachers.choose import open_teacher
from scenewise.teachers.consistent import ConsistentFeatures

CLASSES = ("floor", "chair", "bed")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pair_run(tmp_path_factory.mktemp("pair") / "run")


@pytest.fixture(scope="module")
def teacher(run: Path) -> ConsistentFeatures:
    opened = open_teacher(f"condense:{run}", device="cpu")
    assert isinstance(opened, ConsistentFeatures)
    return opened


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PointCloud]:
    """A floor and a block on it, in two colours."""
    draw = np.random.default_rng(5)
    floor = np.concatenate([draw.uniform(0, 2, (300, 2)), draw.normal(0, 0.005, (300, 1))], axis=1)
    block = draw.uniform([0.5, 0.5, 0.4], [1.0, 1.2, 0.8], (160, 3))
    colors = np.repeat(np.array([[200, 180, 150], [40, 60, 190]], dtype=np.uint8), [300, 160], axis=0)
    made = PointCloud(np.concatenate([floor, block]), colors)
    path = tmp_path_factory.mktemp("cloud") / "scan.ply"
    write_points_ply(path, made)
    return path, read_points_ply(path)


def segmented(target: Path, out: Path | None, teacher: Any, **changes: Any) -> SegmentSummary:
    options = SegmentOptions(target=(target,), out=out, classes=",".join(CLASSES), threads=1, max_points=1500, **changes)
    summary = segment(options, None, teacher)
    assert isinstance(summary, SegmentSummary)
    return summary


def features(folder: Path, of: str = "points") -> ElementFeatures:
    return read_element_features(features_path(folder, of))  # type: ignore[arg-type]


# --- points without pictures --------------------------------------------------------------------------------------------------


def test_a_bare_cloud_is_named_by_its_own_places_and_colours(cloud, teacher: ConsistentFeatures, tmp_path: Path):
    path, points = cloud
    summary = segmented(path, tmp_path / "out", teacher, vote="none")
    assert summary.points_from == "geometry" and summary.frames == 0 and summary.num_points == len(points)
    assert f"named by the 3D branch of {teacher.name} alone: no picture was looked at" in summary.text()
    text = teacher.embed_text(CLASSES, teacher.default_templates())
    expected = teacher.features_of_points(points.points_in_world, points.colors_u8)
    labels = read_scene_labels(tmp_path / "out", "points")
    scores = expected @ text.T
    assert len(set(scores.argmax(axis=1))) > 1
    np.testing.assert_array_equal(labels.class_ids, scores.argmax(axis=1))
    odds = np.exp(teacher.logit_scale * (scores - scores.max(axis=1, keepdims=True)))
    np.testing.assert_allclose(labels.confidence, odds.max(axis=1) / odds.sum(axis=1), atol=1e-4)
    kept = features(tmp_path / "out")
    np.testing.assert_allclose(kept.values, expected, atol=2e-3)
    assert kept.teacher == teacher.name and (kept.weight == 1).all()
    scene = read_scene(tmp_path / "out")
    assert scene.provenance.config["segmentation"]["points_from"] == "geometry" and not scene.cameras


def test_sets_of_points_vote_without_a_camera_to_turn_their_normals_to(cloud, teacher, tmp_path: Path):
    out = tmp_path / "out"
    summary = segmented(cloud[0], out, teacher)
    labels = read_scene_labels(out, "points")
    assert summary.segments is not None and summary.segments >= 2 and labels.instance_ids.max() >= 0
    assert len(set(labels.class_ids[:300].tolist())) < len(set(features_classes(out, teacher)[:300].tolist()))


def features_classes(folder: Path, teacher: ConsistentFeatures) -> np.ndarray:
    return (features(folder).values.astype(np.float32) @ teacher.embed_text(CLASSES, teacher.default_templates()).T).argmax(1)


def test_the_command_takes_a_cloud_and_a_graph_follows(cloud, run: Path, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(run.parent)
    out = str(tmp_path / "out")
    asked = ["--teacher", "condense:run", "--classes", ",".join(CLASSES), "--threads", "1", "--json"]
    assert main(["segment", str(cloud[0]), "--out", out, *asked]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["teacher"] == f"condense:{run}" and told["points_from"] == "geometry"
    monkeypatch.chdir(tmp_path)
    assert main(["query", out, "chair", "--json"]) == 0  # opens the teacher by the name that the features carry
    found = json.loads(capsys.readouterr().out)
    assert found["teacher"] == f"condense:{run}" and found["elements"] == "points" and found["answers"]
    assert {Path(name).suffix for name in found["files"]} == {".ply", ".json"}  # no photograph, no picture
    assert main(["graph", out, "--json"]) == 0
    capsys.readouterr()
    assert main(["segment", out, "--overwrite", "--classes", "floor, chair", "--json"]) == 2
    assert "made of points alone" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_splats_are_named_by_their_centres_and_base_colours_and_haze_is_not(teacher: ConsistentFeatures):
    draw = np.random.default_rng(2)
    count, faint = 60, np.arange(60) % 6 == 5
    colors = draw.uniform(0.1, 0.9, (count, 3)).astype(np.float32)
    gaussians = Gaussians(
        means=torch.from_numpy(draw.uniform(0, 2, (count, 3)).astype(np.float32)),
        log_scales=torch.full((count, 3), -3.0),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
        logit_opacities=torch.from_numpy(np.where(faint, -4.0, 3.0).astype(np.float32)),
        sh0=torch.from_numpy((colors - 0.5) / 0.28209479177387814)[:, None],
        shN=torch.full((count, 3, 3), 0.3),
    )
    values, weight = geometry_means(SplatSet(gaussians), 128, teacher, Surroundings(None, 1.0))
    assert (weight == ~faint).all() and not values[faint].any()
    own = np.rint(colors[~faint] * 255).astype(np.uint8)
    expected = teacher.features_of_points(gaussians.means.numpy()[~faint].astype(np.float64), own)
    np.testing.assert_allclose(values[~faint], expected, atol=1e-5)


def test_the_branch_is_given_metres_and_z_up():
    class Listener:
        def features_of_points(self, points, colors_u8):
            self.heard = points
            return np.eye(2, dtype=np.float32)[[0] * len(points)]

    listener = Listener()
    points = np.array([[0.0, 0.0, 0.0], [2.0, 4.0, 6.0]])
    cloud = PointCloud(points, np.zeros((2, 3), dtype=np.uint8))
    geometry_means(PointSet(cloud), 2, listener, Surroundings(np.array([1.0, 0.0, 0.0]), 2.0))  # +X is up, two units are a metre
    x, y, z = listener.heard[1] - listener.heard[0]
    assert z == pytest.approx(1.0) and np.hypot(x, y) == pytest.approx(np.hypot(2.0, 3.0))


# --- beside pictures ----------------------------------------------------------------------------------------------------------


def test_both_are_the_mean_of_two_unit_features(known_room: Path, teacher: ConsistentFeatures, tmp_path: Path):
    summaries = {}
    for source in (None, "geometry", "both"):
        summaries[source] = segmented(known_room, tmp_path / str(source), teacher, frames=2, vote="none", points_from=source)
    assert [summaries[source].points_from for source in summaries] == ["pictures", "geometry", "both"]
    assert [summaries[source].frames for source in summaries] == [2, 0, 2]
    assert "2 views by" in summaries["both"].text() and "as much by its 3D branch" in summaries["both"].text()
    assert "points_from" not in read_scene(tmp_path / "None").provenance.config["segmentation"]
    seen, own, both = (features(tmp_path / str(source)) for source in (None, "geometry", "both"))
    one, two = seen.values.astype(np.float32), own.values.astype(np.float32)
    unseen = seen.weight == 0
    assert 0 < unseen.sum() < len(unseen)
    mean = np.where(unseen[:, None], two, (one + two) / 2)
    np.testing.assert_allclose(both.values, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=3e-3)
    np.testing.assert_array_equal(both.weight, seen.weight + own.weight)
    scores = teacher.logit_scale * mean @ teacher.embed_text(CLASSES, teacher.default_templates()).T
    confidence = np.exp(scores.max(axis=1)) / np.exp(scores).sum(axis=1)
    labels = read_scene_labels(tmp_path / "both", "points")
    assert (labels.class_ids == scores.argmax(axis=1)).mean() > 0.99
    np.testing.assert_allclose(labels.confidence, confidence, atol=0.02)


def test_a_scene_whose_photographs_are_gone_is_named_without_them(known_room: Path, teacher, tmp_path: Path):
    scene = write_splat_scene(tmp_path / "scene", known_room, 1500)
    text = (scene / "scene.json").read_text().replace(str(known_room), str(tmp_path / "gone"))
    (scene / "scene.json").write_text(text)
    summary = segmented(scene, None, teacher)
    assert summary.points_from == "geometry" and summary.num_splats > 1000 and summary.coverage_splats == 1.0
    assert summary.num_points > 0 and "–" not in summary.text().splitlines()[1]
    for source in ("pictures", "both"):
        with pytest.raises(DataFormatError, match=r"nothing at .*gone"):
            segmented(scene, None, teacher, points_from=source, overwrite=True)
    with pytest.raises(ConventionError, match=r"got others: .*points_from"):
        segmented(scene, None, teacher, capture=known_room, frames=2, resume=True)
    back = segmented(scene, None, teacher, capture=known_room, frames=2, overwrite=True)
    assert back.points_from == "pictures" and back.frames == 2
    with pytest.raises(ConventionError, match=r"got others: .*points_from"):
        segmented(scene, None, teacher, resume=True)
    assert segmented(scene, None, teacher, capture=known_room, frames=2, resume=True).answers_from_cache == 2


# --- what is refused ----------------------------------------------------------------------------------------------------------


def test_promised_errors(cloud, known_room: Path, teacher, tmp_path: Path):
    out = tmp_path / "out"
    with pytest.raises(ConventionError, match=r"3D branch can name points by themselves, got both of oracle.*condense:RUN"):
        segmented(known_room, out, Oracle(known_room), points_from="both")
    with pytest.raises(DataFormatError, match=r"photographs of the cloud.*--capture, or let --teacher condense:RUN name points"):
        segmented(cloud[0], out, Oracle(known_room))
    with pytest.raises(DataFormatError, match=r"photographs of the cloud"):
        segmented(cloud[0], out, teacher, points_from="pictures")
    with pytest.raises(ConventionError, match=r"--prompt-denoising: expected --points-from pictures, got names by geometry"):
        segmented(cloud[0], out, teacher, prompt_denoising=0.5)
    write_points_ply(tmp_path / "grey.ply", PointCloud(cloud[1].points_in_world))
    with pytest.raises(ConventionError, match=r"points: expected colours, which a 3D branch looks at, got none"):
        segmented(tmp_path / "grey.ply", tmp_path / "grey", teacher)
    shutil.copy(known_room / "frame-000000.color.png", tmp_path / "picture.png")
    with pytest.raises(ConventionError, match=r"--points-from: expected a scene or cloud, got plain images"):
        segmented(tmp_path / "picture.png", out, teacher, points_from="geometry")

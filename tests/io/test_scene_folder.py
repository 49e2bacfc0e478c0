"""The scene folder: everything comes back, every wrong key is named, and nothing that is not ours is touched."""

import json
import os
import random
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.support.file_mutations import assert_reader_survives
from tests.support.processes import process_context, start_process

from scenewise.errors import ConventionError, DataFormatError, ResourceError, ShapeError
from scenewise.io import scene_folder
from scenewise.io.ply.points import write_points_ply
from scenewise.io.scene_folder import (
    no_gaussians,
    read_scene,
    read_scene_labels,
    write_scene,
    write_scene_description,
    write_scene_labels,
)
from scenewise.io.scene_outputs import output_folder, prepare_output
from scenewise.io.spz import read_spz
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.georeference import Georeference
from scenewise.scenes.labels import ElementLabels
from scenewise.scenes.point_clouds import PointCloud
from scenewise.scenes.scenes import EvaluationCard, Provenance, Scene, SceneCamera


def _gaussians(n=6, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def values(*shape):
        return torch.randn(*shape, generator=generator)

    return Gaussians(values(n, 3), values(n, 3), values(n, 4), values(n), values(n, 1, 3), values(n, 3, 3))


def _camera(x):
    # 90° about z and a shift: every entry of the matrix has its own place
    pose = torch.tensor([[0, -1, 0, x], [1, 0, 0, 0.2], [0, 0, 1, 1 / 3], [0, 0, 0, 1]], dtype=torch.float64)
    K = torch.tensor([[500.5, 0, 319.1], [0, 499.5, 241.7], [0, 0, 1]], dtype=torch.float64)
    return Cameras(camera_from_world=pose, K=K, width=640, height=481)


def _scene(gaussians=None, **changes):
    gaussians = _gaussians() if gaussians is None else gaussians
    angle = 0.3
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    scene = Scene(
        load_gaussians=lambda: gaussians,
        num_gaussians=len(gaussians),
        sh_degree=gaussians.sh_degree,
        cameras=(SceneCamera("images/a.jpg", _camera(0.1), "train"), SceneCamera("images/b [1, 2].jpg", _camera(7.0), "test")),
        provenance=Provenance(
            "captures/a", "colmap", None, "ab12", "gaussian_splatting", {"steps": 7}, {"scenewise": "0.1"}, "c0ffee"
        ),
        scale="metric",
        up_in_world=np.array([0.0, -1.0, 0.0]),
        world_from_source=np.diag([1.0, -1.0, -1.0, 1.0]),
        georeference=Georeference(32615, 8.67 + 1e-13, rotation, np.array([501234.1234567891, 4512345.987654321, 0.1]), 0.4),
        background=(0.0, 0.5, 1.0),
        evaluation=EvaluationCard(
            "test", 1, 31.25, 0.9, None, len(gaussians), 12.5, 10**9, None, {"psnr_per_image": {"b": 31.25}}
        ),
        licences={"fox": None, "small clip": "Apache-2.0"},
    )
    return replace(scene, **changes)


def _entries(folder):
    return sorted(entry.name for entry in folder.iterdir())


class TestRoundTrip:
    def test_everything_comes_back_exactly(self, tmp_path):
        scene = _scene()
        write_scene(tmp_path / "scene", scene)
        again = read_scene(tmp_path / "scene")
        for name in ("scale", "background", "evaluation", "licences", "provenance", "num_gaussians", "sh_degree"):
            assert getattr(again, name) == getattr(scene, name), name
        for name in ("up_in_world", "world_from_source"):
            assert np.array_equal(getattr(again, name), getattr(scene, name)), name
        for name in ("epsg", "scale", "rms_error"):
            assert getattr(again.georeference, name) == getattr(scene.georeference, name), name
        assert np.array_equal(again.georeference.rotation, scene.georeference.rotation)
        assert np.array_equal(again.georeference.offset, scene.georeference.offset)
        assert [(c.name, c.split, c.camera.width, c.camera.height) for c in again.cameras] == [
            ("images/a.jpg", "train", 640, 481),
            ("images/b [1, 2].jpg", "test", 640, 481),
        ]
        for ours, theirs in zip(again.cameras, scene.cameras):
            assert torch.equal(ours.camera.camera_from_world, theirs.camera.camera_from_world)
            assert torch.equal(ours.camera.K, theirs.camera.K)
        assert torch.equal(again.gaussians.shN, scene.gaussians.shN)
        assert _entries(tmp_path / "scene") == ["scene.json", "splats.ply", "splats.spz"]
        assert len(read_spz(tmp_path / "scene" / "splats.spz")) == 6

    def test_unknown_values_stay_unknown(self, tmp_path):
        scene = _scene(
            up_in_world=None, georeference=None, background=None, evaluation=None, licences={}, cameras=(), scale="arbitrary"
        )
        write_scene(tmp_path, scene)
        again = read_scene(tmp_path)
        for name in ("up_in_world", "georeference", "background", "evaluation", "cameras", "scale"):
            assert getattr(again, name) == getattr(scene, name), name

    def test_vectors_take_one_line_each(self, tmp_path):
        write_scene(tmp_path, _scene())
        text = (tmp_path / "scene.json").read_text()
        assert '"up_in_world": [0.0, -1.0, 0.0]' in text
        assert "[0.0, -1.0, 0.0, 0.1]" in text

    def test_gaussians_are_read_late(self, tmp_path, monkeypatch):
        write_scene(tmp_path, _scene())
        monkeypatch.setattr(scene_folder, "read_gaussians_ply", lambda path: pytest.fail("read too early"))
        assert read_scene(tmp_path).num_gaussians == 6

    def test_georeferenced_positions_survive_to_a_millimetre(self, tmp_path):
        scene = _scene()
        points = np.random.default_rng(0).uniform(-500, 500, (50, 3))
        write_scene(tmp_path, scene)
        again = read_scene(tmp_path).georeference
        projected = scene.georeference.projected_from_world(points)
        assert np.abs(again.projected_from_world(points) - projected).max() == 0
        assert np.abs(again.world_from_projected(projected) - points).max() * again.scale <= 1e-3

    def test_accessors(self):
        scene = _scene()
        assert [entry.name for entry in scene.cameras_of("test")] == ["images/b [1, 2].jpg"]
        assert float(scene.camera("images/a.jpg").camera_from_world[0, 3]) == 0.1
        other = scene.with_gaussians(_gaussians(3))
        assert (other.num_gaussians, other.evaluation) == (3, None)


class TestReplacing:
    def test_a_death_between_two_files_leaves_a_scene_without_figures(self, tmp_path, monkeypatch):
        write_scene(tmp_path, _scene())
        monkeypatch.setattr(scene_folder, "write_spz", lambda path, gaussians: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            write_scene(tmp_path, _scene(_gaussians(9)))
        again = read_scene(tmp_path)
        assert again.num_gaussians == len(again.gaussians) == 9
        assert again.evaluation is None
        assert not (tmp_path / "splats.spz").exists()

    def test_a_scene_too_wide_for_spz_goes_without_it(self, tmp_path):
        gaussians = _gaussians()
        gaussians.means[0, 0] = 1e6
        with pytest.warns(UserWarning, match=r"splats\.spz is left out"):
            write_scene(tmp_path, _scene(gaussians))
        assert _entries(tmp_path) == ["scene.json", "splats.ply"]

    def test_description_alone(self, tmp_path):
        write_scene(tmp_path, _scene(evaluation=None))
        before = (tmp_path / "splats.ply").stat().st_mtime_ns
        write_scene_description(tmp_path, replace(read_scene(tmp_path), evaluation=_scene().evaluation))
        assert read_scene(tmp_path).evaluation == _scene().evaluation
        assert (tmp_path / "splats.ply").stat().st_mtime_ns == before


class TestPrepareOutput:
    def test_new_and_empty_folders(self, tmp_path):
        for folder in (tmp_path, tmp_path / "a" / "b"):
            assert prepare_output(folder) == folder
            assert _entries(folder)[0] == ".scenewise.json"

    def test_resume_keeps_and_overwrite_clears_only_ours(self, tmp_path):
        prepare_output(tmp_path)
        write_scene(tmp_path, _scene())
        (tmp_path / "checkpoints" / "step_000100").mkdir(parents=True)
        (tmp_path / "checkpoints" / "step_000100" / "state.json").write_text("{}")
        for name in ("log.jsonl", "notes.txt"):
            (tmp_path / name).write_text("x")
        before = _entries(tmp_path)
        prepare_output(tmp_path, resume=True)
        assert _entries(tmp_path) == before
        prepare_output(tmp_path, overwrite=True)
        assert _entries(tmp_path) == [".scenewise.json", "checkpoints", "notes.txt", "scene.json", "splats.ply"]
        assert _entries(tmp_path / "checkpoints") == []
        assert len(read_scene(tmp_path).gaussians) == 6

    @pytest.mark.errors
    def test_refusals(self, tmp_path):
        (tmp_path / "photo.jpg").write_text("x")
        for flags in ({}, {"overwrite": True}, {"resume": True}):
            with pytest.raises(DataFormatError, match="a folder with other files"):
                prepare_output(tmp_path, **flags)
        assert _entries(tmp_path) == ["photo.jpg"]
        with pytest.raises(DataFormatError, match="expected a folder, got a file"):
            prepare_output(tmp_path / "photo.jpg")
        prepare_output(tmp_path / "scene")
        with pytest.raises(DataFormatError, match="--resume continues it, --overwrite replaces it"):
            prepare_output(tmp_path / "scene")

    @pytest.mark.errors
    def test_what_is_refused_leaves_nothing_behind(self, tmp_path):
        def refused(folder, *made):
            with pytest.raises(DataFormatError), output_folder(folder):
                for name in made:
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (folder / name).write_text("x")
                raise DataFormatError("capture", expected="this", got="that")

        refused(tmp_path / "new", "log.jsonl")
        assert not (tmp_path / "new").exists()
        refused(tmp_path / "several", "log.jsonl", "workers/1/log.jsonl", "workers/1/errors.txt")
        assert not (tmp_path / "several").exists()
        refused(tmp_path / "trained", "log.jsonl", "workers/1/log.jsonl", "workers/1/checkpoints/step_000005/state.json")
        assert _entries(tmp_path / "trained") == [".scenewise.json", "log.jsonl", "workers"]
        (tmp_path / "empty").mkdir()
        refused(tmp_path / "empty")
        assert _entries(tmp_path / "empty") == []
        refused(tmp_path / "begun", "log.jsonl", "points.ply")
        assert _entries(tmp_path / "begun") == [".scenewise.json", "log.jsonl", "points.ply"]
        with output_folder(tmp_path / "begun", resume=True) as folder:
            assert folder == tmp_path / "begun"

    @pytest.mark.errors
    def test_a_foreign_scene_json_is_not_ours(self, tmp_path):
        (tmp_path / "scene.json").write_text('{"format": "other"}')
        with pytest.raises(DataFormatError, match="other files"):
            prepare_output(tmp_path, overwrite=True)


@pytest.mark.errors
class TestSchema:
    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda s: s.update(extra=1), r"scene\.json: expected only known keys, got 'extra'"),
            (lambda s: s["world"].update(upinworld=None), r"world: .*'upinworld'.*did you mean 'up_in_world'"),
            (lambda s: s["world"].pop("scale"), r"world\.scale: expected this key, got nothing"),
            (lambda s: s["world"].update(scale="miles"), r"world\.scale: expected 'metric' or 'arbitrary', got \"miles\""),
            (lambda s: s["world"].update(up_in_world=[0, 1]), r"world\.up_in_world: expected finite numbers in the shape 3"),
            (lambda s: s["world"].update(up_in_world=[0, 2, 0]), "unit vector"),
            (lambda s: s["world"]["georeference"].update(scale=-1), r"world\.georeference\.scale"),
            (lambda s: s["world"]["georeference"].update(rotation=[[1, 0, 0], [0, 1, 0], [0, 0, -1]]), "a mirrored one"),
            (lambda s: s["world"]["georeference"].update(epsg="UTM"), r"georeference\.epsg: expected a whole number"),
            (lambda s: s["cameras"][1].update(K=[[0, 0, 0], [0, 1, 0], [0, 0, 1]]), r"cameras\[1\] \(images/b.*focal lengths"),
            (lambda s: s["cameras"][0].update(split="val"), r"cameras\[0\]\.split"),
            (lambda s: s["cameras"].append(s["cameras"][0]), r"images/a\.jpg twice"),
            (lambda s: s["evaluation"].update(psnr="high"), r"evaluation\.psnr: expected a finite number, got \"high\""),
            (lambda s: s["provenance"].update(versions=[]), r"provenance\.versions: expected an object"),
            (lambda s: s["splats"].update(file="../../x"), r"splats\.file"),
            (lambda s: s.update(version=99), "a newer Scenewise"),
            (lambda s: s.update(format="x"), "expected 'scenewise-scene'"),
        ],
    )
    def test_the_wrong_key_is_named(self, tmp_path, change, words):
        write_scene(tmp_path, _scene())
        content = json.loads((tmp_path / "scene.json").read_text())
        change(content)
        (tmp_path / "scene.json").write_text(json.dumps(content))
        with pytest.raises(DataFormatError, match=words):
            read_scene(tmp_path)

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("{", "line 1, column 2"),
            ("[" * 100_000, "expected JSON"),
            ("[1]", "an object"),
            ('{"a": 1, "a": 2}', "'a' twice"),
            ('{"a": NaN}', "finite numbers, got NaN"),
            ('{"version": ' + "9" * 9000 + "}", "expected JSON"),
            ('{"format": "scenewise-scene", "version": 1e999}', "version"),
        ],
    )
    def test_damaged_json(self, tmp_path, text, words):
        (tmp_path / "scene.json").write_text(text)
        with pytest.raises(DataFormatError, match=words):
            read_scene(tmp_path)

    def test_no_scene_there(self, tmp_path):
        with pytest.raises(DataFormatError, match="expected a scene folder, got nothing"):
            read_scene(tmp_path / "nothing")
        with pytest.raises(DataFormatError, match="scenewise reconstruct wrote"):
            read_scene(tmp_path)
        (tmp_path / "checkpoints").mkdir()
        with pytest.raises(DataFormatError, match="--resume"):
            read_scene(tmp_path)
        write_scene(tmp_path, _scene())
        (tmp_path / "splats.ply").write_bytes((tmp_path / "splats.ply").read_bytes()[:-1])
        with pytest.raises(DataFormatError, match=r"splats\.ply: element vertex"):
            read_scene(tmp_path)

    def test_what_is_not_written(self, tmp_path):
        with pytest.raises(ConventionError, match=r"evaluation\.psnr: expected a finite number, got inf"):
            write_scene(tmp_path, _scene(evaluation=replace(_scene().evaluation, psnr=float("inf"))))
        with pytest.raises(ShapeError, match="5 Gaussians"):
            write_scene(tmp_path, _scene(num_gaussians=5))
        assert _entries(tmp_path) == []

    def test_read_only_place(self, tmp_path, monkeypatch):
        def refuse(*_, **__):
            raise PermissionError(13, "denied", str(tmp_path))

        monkeypatch.setattr("scenewise.io.atomic.Path.mkdir", refuse)
        with pytest.raises(ResourceError, match="write access"):
            write_scene(tmp_path / "a", _scene())


class TestLabels:
    def _labels(self, n):
        return ElementLabels(
            np.arange(-1, n - 1, dtype=np.int32), np.full(n, 7, np.int32), np.linspace(0, 1, n, dtype=np.float32)
        )

    def test_round_trip(self, tmp_path):
        write_scene(tmp_path, _scene())
        write_points_ply(tmp_path / "points.ply", PointCloud(np.zeros((4, 3))))
        assert read_scene_labels(tmp_path, "splats") is None
        for of, n in (("splats", 6), ("points", 4)):
            write_scene_labels(tmp_path, of, self._labels(n))
            again = read_scene_labels(tmp_path, of)
            for name in ("class_ids", "instance_ids", "confidence"):
                assert np.array_equal(getattr(again, name), getattr(self._labels(n), name)), name

    @pytest.mark.errors
    def test_errors(self, tmp_path):
        from safetensors.numpy import save_file

        write_scene(tmp_path, _scene())
        with pytest.raises(ShapeError, match="6 rows"):
            write_scene_labels(tmp_path, "splats", self._labels(5))
        write_scene_labels(tmp_path, "splats", self._labels(6))
        path = tmp_path / "labels_splats.safetensors"
        good = path.read_bytes()
        write_scene(tmp_path, _scene(_gaussians(7)))
        with pytest.raises(DataFormatError, match=r"expected 7 rows, got the shape \[6\]"):
            read_scene_labels(tmp_path, "splats")
        path.write_bytes(good[:-3])
        with pytest.raises(DataFormatError, match="a safetensors file"):
            read_scene_labels(tmp_path, "splats")
        save_file({"class_id": np.zeros(7, np.int32)}, path)
        with pytest.raises(DataFormatError, match="the tensors class_id, instance_id, confidence"):
            read_scene_labels(tmp_path, "splats")
        ids = np.zeros(7, np.int64)
        save_file({"class_id": ids, "instance_id": ids, "confidence": ids.astype(np.float32)}, path)
        with pytest.raises(DataFormatError, match="class_id: expected int32, got int64"):
            read_scene_labels(tmp_path, "splats")
        with pytest.raises(ConventionError, match="below −1"):
            ElementLabels(np.full(1, -2, np.int32), np.zeros(1, np.int32), np.zeros(1, np.float32))
        with pytest.raises(ConventionError, match="confidence"):
            ElementLabels(np.zeros(1, np.int32), np.zeros(1, np.int32), np.full(1, np.nan, np.float32))


def test_damaged_description(tmp_path):
    write_scene(tmp_path, _scene())
    assert_reader_survives(
        lambda path: read_scene(path.parent), (tmp_path / "scene.json").read_bytes(), tmp_path / "scene.json", count=80
    )


def test_damaged_labels(tmp_path):
    write_scene(tmp_path, _scene())
    write_scene_labels(tmp_path, "splats", TestLabels()._labels(6))
    path = tmp_path / "labels_splats.safetensors"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_reader_survives(lambda _: read_scene_labels(tmp_path, "splats"), path.read_bytes(), path)


def write_forever(folder: Path, rounds: Any) -> None:
    """Writes one scene after another, and releases ``rounds`` after each two."""
    torch.set_num_threads(1)
    scenes = [_scene(_gaussians(n, seed=n)) for n in (3000, 3500)]
    while True:
        for scene in scenes:
            write_scene(folder, scene)
        rounds.release()


def test_kill_at_any_moment(tmp_path):
    """Few writers by default; SCENEWISE_KILLS=300 for a long look."""
    generator = random.Random(5)
    for _ in range(int(os.environ.get("SCENEWISE_KILLS", "20")) // 10):
        rounds = process_context().Semaphore(0)
        process = start_process(write_forever, tmp_path / "scene", rounds)
        assert rounds.acquire(timeout=60)
        time.sleep(generator.uniform(0, 0.2))
        process.kill()
        process.join()
        scene = read_scene(tmp_path / "scene")
        n = scene.num_gaussians
        assert torch.equal(scene.gaussians.means, _gaussians(n, seed=n).means)
        assert scene.evaluation is None or scene.evaluation.num_gaussians == n
        if (tmp_path / "scene" / "splats.spz").exists():
            assert len(read_spz(tmp_path / "scene" / "splats.spz")) == n


def test_a_scene_may_have_points_only(tmp_path: Path):
    scene = _scene(no_gaussians())
    folder = prepare_output(tmp_path / "cloud")
    write_scene_description(folder, scene)
    read = read_scene(folder)
    assert read.num_gaussians == 0 and len(read.gaussians) == 0
    assert [entry.name for entry in read.cameras] == [entry.name for entry in scene.cameras]
    assert read_scene_labels(folder, "splats") is None

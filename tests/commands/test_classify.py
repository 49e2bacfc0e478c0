"""scenewise train-classifier and classify: from objects in files to names of others, end to end and small."""

import json
import re
import signal
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.between_workers import made_once
from tests.support.tiny_pair import write_tiny_pair

from scenewise.cli.main import main
from scenewise.commands.classify.options import ClassifyOptions
from scenewise.commands.classify.reading import read_object
from scenewise.commands.classify.run import classify, open_classifier
from scenewise.commands.train_classifier.options import TrainClassifierOptions
from scenewise.commands.train_classifier.run import train_classifier
from scenewise.engine.checkpoints import Checkpointer
from scenewise.engine.journal import read_journal
from scenewise.errors import CaptureWarning, ConventionError, DataFormatError
from scenewise.io.json_values import json_ready
from scenewise.io.ply.points import write_points_ply
from scenewise.io.training_records import CLASSIFIER_RUN, read_training_record
from scenewise.methods.condense.classification.options import PRESETS
from scenewise.methods.condense.classification.trainer import ClassifierTrainer
from scenewise.scenes.point_clouds import PointCloud
from scenewise.teachers.consistent import open_pair
from scenewise.worlds.designs import OBJECT_CLASSES
from scenewise.worlds.object_clouds import object_cloud

SMALL = {"steps": 3, "save_every": 2, "threads": 1, "device": "cpu"}
NARROW = {"classifier": {"width": 0.125, "points": 64, "batch_objects": 6}}
WORDS = "--threads 1 --device cpu --classifier.width 0.125 --classifier.points 64 --classifier.batch-objects 6"
RUN_FILES = {"checkpoints", "classifier.safetensors", "config.json", "figures.json", "log.jsonl", "model_card.md"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    """A run on two procedural objects of each class; to be left as it is."""

    def make(place: Path):
        return json_ready(train_classifier(TrainClassifierOptions(place, objects=2, seed=1, settings=NARROW, **SMALL)))

    folder, summary = made_once(tmp_path_factory, "classifier_run", make)
    return folder, summary, TrainClassifierOptions(folder, objects=2, seed=1, settings=NARROW, **SMALL)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "classifier_pair", lambda place: bool(write_tiny_pair(place)))[0]


@pytest.fixture(scope="module")
def clouds(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A coloured sofa as a cloud, and a box as a mesh without colours."""
    folder = tmp_path_factory.mktemp("clouds")
    write_points_ply(folder / "sofa.ply", object_cloud("sofa", 7, 300))
    box = "".join(f"{x} {y} {z}\n" for x in (0, 1) for y in (0, 2) for z in (0, 5))
    (folder / "box.off").write_text(f"OFF\n8 4 0\n{box}4 0 1 3 2\n4 4 5 7 6\n4 0 1 5 4\n4 2 3 7 6\n")
    return folder / "sofa.ply", folder / "box.off"


def write_modelnet(root: Path, *, test: bool = True) -> Path:
    """Two classes with three objects to learn from and one to measure on; +Y up, as published."""
    rng = np.random.default_rng(0)
    (root / "vase").mkdir(parents=True)
    (root / "lamp").mkdir()
    (root / "modelnet40_shape_names.txt").write_text("vase\nlamp\n")
    for split, numbers in {"train": (1, 2, 3), "test": (4,) if test else ()}.items():
        names = [f"{kind}_{number:04d}" for kind in ("vase", "lamp") for number in numbers]
        if names:
            (root / f"modelnet40_{split}.txt").write_text("\n".join(names))
        for name in names:
            kind = name[:4]
            points = rng.uniform(-1, 1, (50, 3)) * ((1, 0.2, 1) if kind == "vase" else (0.1, 1, 0.1))
            (root / kind / f"{name}.txt").write_text("".join(f"{x:.5f},{y:.5f},{z:.5f},0,0,1\n" for x, y, z in points))
    return root


def test_a_run_folder_says_what_it_is(run) -> None:
    folder, summary, _ = run
    assert {entry.name for entry in folder.iterdir()} == RUN_FILES
    config = read_training_record(folder, CLASSIFIER_RUN)
    assert (config.preset, config.seed, config.chosen) == ("objects", 1, {"start": None})
    assert config.settings["width"] == 0.125 and config.settings["steps"] == 3 and config.settings["scale"] == "metres"
    assert config.data["objects"] == 44 == config.data["coloured"] and tuple(config.data["classes"]) == OBJECT_CLASSES
    assert config.data["held_out"] == {"split": "validation", "objects": 22} and config.data["views"] == 1
    assert config.licences == {"procedural objects": "CC0-1.0 (generated)"}
    told = json.loads((folder / "figures.json").read_text())
    assert told["per_cent"] == summary["figures"] and set(told["per_cent"]) == {"accuracy", "class_mean", "top3"}
    card = (folder / "model_card.md").read_text()
    assert "from random weights" in card and "2 procedural objects of each class" in card and "objects named right" in card
    assert len(Checkpointer(folder / "checkpoints").paths()) == 2
    steps = [event for event in read_journal(folder / "log.jsonl") if event["event"] == "step"]
    assert [event["step"] for event in steps] == [1, 2, 3] and {"cross_entropy", "right"} <= set(steps[0])
    assert summary["parameters_trained"] == summary["parameters_deployed"] and summary["classes"] == 22


def test_an_interrupted_run_goes_on_bit_for_bit(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _, options = run
    again = replace(options, out=tmp_path / "again")
    step = ClassifierTrainer.step

    def interrupted(trainer: ClassifierTrainer) -> None:
        step(trainer)
        if trainer.steps_done == 1:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ClassifierTrainer, "step", interrupted)
        train_classifier(again)
    assert Checkpointer(again.out / "checkpoints").latest().step == 1
    with pytest.raises(DataFormatError, match="a finished training"):
        open_classifier(again.out)
    train_classifier(replace(again, resume=True))
    for name in ("classifier.safetensors", "figures.json"):
        assert (again.out / name).read_bytes() == (folder / name).read_bytes(), name
    with pytest.raises(ConventionError, match="resume: option rate"):
        train_classifier(replace(again, resume=True, settings={"classifier": {**NARROW["classifier"], "rate": 0.5}}))


def test_a_run_names_clouds_and_meshes(run, clouds: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder, _, _ = run
    assert main(["classify", *map(str, clouds), "--run", str(folder), "--top", "2", "--json", "--threads", "1"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["by"] == folder.name and tuple(told["classes"]) == OBJECT_CLASSES
    assert [Path(each["path"]).name for each in told["objects"]] == ["sofa.ply", "box.off"]
    assert [each["has_colors"] for each in told["objects"]] == [True, False]
    assert [each["points"] for each in told["objects"]] == [300, 10_000]
    for each in told["objects"]:
        first, second = (guess["probability"] for guess in each["guesses"])
        assert 1 > first >= second > 0 and first + second < 1
    everything = classify(ClassifyOptions(clouds, run=folder / "classifier.safetensors", top=99, threads=1))
    assert sum(guess.probability for guess in everything.objects[0].guesses) == pytest.approx(1.0, abs=1e-5)
    assert [guess.name for guess in everything.objects[0].guesses[:2]] == [
        guess["name"] for guess in told["objects"][0]["guesses"]
    ]
    alone = classify(ClassifyOptions(clouds[1:], run=folder, top=1, threads=1))
    assert alone.objects[0].guesses[0].probability == pytest.approx(told["objects"][1]["guesses"][0]["probability"], abs=1e-5)
    lines = everything.text().splitlines()
    assert lines[0].startswith("object") and lines[1].startswith("sofa.ply") and len(lines) == 4
    assert re.search(r"box\.off\s+\w+\s+\d+\.\d %", lines[2])


def test_without_a_run_words_are_compared(pair: Path, clouds: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["classify", str(clouds[0]), "--teacher", f"condense:{pair}", "--threads", "1", "--json"]
    assert main([*words, "--classes", "chair, sofa|bed, table"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["by"] == f"the words of condense:{pair}" and told["classes"] == ["chair", "sofa", "table"]
    assert sum(guess["probability"] for guess in told["objects"][0]["guesses"]) == pytest.approx(1.0, abs=1e-5)
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert "chair" in told["classes"] and "wall" in told["classes"] and len(told["objects"][0]["guesses"]) == 3


def test_modelnet_and_a_start(pair: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, start = write_modelnet(tmp_path / "modelnet"), f"condense:{pair}"
    words = f"train-classifier --data {data} --steps 2 --json --threads 1 --device cpu --classifier.points 40"
    figures = {}
    for name, more in {"tuned": "", "probe": "--frozen"}.items():
        out = tmp_path / name
        assert main([*words.split(), "--out", str(out), "--from", start, *more.split()]) == 0
        told = json.loads(capsys.readouterr().out)
        config = read_training_record(out, CLASSIFIER_RUN)
        assert told["objects"] == 6 and told["held_out_objects"] == 2 and told["classes"] == 2 and told["start"] == start
        assert config.settings["scale"] == "extent" and config.settings["width"] == 0.125 and config.data["coloured"] == 0
        assert config.licences == {start: "CC0-1.0", "modelnet": None} and config.preset == "modelnet"
        figures[name] = told["parameters_trained"] / told["parameters_deployed"]
    assert figures["tuned"] == 1.0 and figures["probe"] < 0.1
    assert "which stayed as it was" in (tmp_path / "probe" / "model_card.md").read_text()
    probe = open_classifier(tmp_path / "probe")
    assert probe.learned.scale == "extent"
    own, taken = probe.network.backbone.state_dict(), open_pair(start).pair.points.backbone.state_dict()
    assert all(torch.equal(own[name], taken[name]) for name in taken)


def test_data_without_a_test_split_are_learned_from_all_the_same(tmp_path: Path) -> None:
    data = write_modelnet(tmp_path / "modelnet", test=False)
    options = TrainClassifierOptions(tmp_path / "run", data=data, settings=NARROW, **{**SMALL, "steps": 1})
    with pytest.warns(CaptureWarning, match="no figures, as the test split cannot be read"):
        summary = train_classifier(options)
    assert summary.figures is None and not (tmp_path / "run" / "figures.json").exists() and "no figures" in summary.text()


def test_what_is_up_and_how_long_it_is_can_be_told(tmp_path: Path) -> None:
    path = tmp_path / "far.ply"
    corners = np.array([[0, 0, 0], [2, 0, 0], [0, 8, 0], [0, 0, 4]], dtype=np.float64)
    write_points_ply(path, PointCloud(corners + np.array([500_000.0, 5_000_000.0, 100.0])))
    middle = np.array([1, 4, 2])
    plain = read_object(path, ClassifyOptions((path,)))
    np.testing.assert_allclose(plain.points_in_object, corners - middle, atol=1e-4)
    turned = read_object(path, ClassifyOptions((path,), up="y", size=0.8)).points_in_object
    np.testing.assert_allclose(turned, np.array([[-1, 2, -4], [1, 2, -4], [-1, 2, 4], [-1, -2, -4]]) / 10, atol=1e-4)


def test_points_on_a_mesh_have_the_colour_of_the_next_vertex(tmp_path: Path) -> None:
    path = tmp_path / "two.ply"
    header = "ply\nformat ascii 1.0\nelement vertex 7\nproperty float x\nproperty float y\nproperty float z\n"
    header += "property uchar red\nproperty uchar green\nproperty uchar blue\nelement face 2\n"
    corners = ["0 0 0 255 0 0", "1 0 0 255 0 0", "0 1 0 255 0 0", "5 0 0 0 0 255", "7 0 0 0 0 255", "5 1 0 0 0 255"]
    unused = "5.5 0.3 0 9 9 9"
    rows = "\n".join([*corners, unused])
    path.write_text(f"{header}property list uchar int vertex_indices\nend_header\n{rows}\n3 0 1 2\n3 3 4 5\n")
    found = read_object(path, ClassifyOptions((path,)))
    left = found.points_in_object[:, 0] < 0
    assert found.colors_u8 is not None and 0.30 < left.mean() < 0.37, "the other triangle is twice as large"
    assert (found.colors_u8[left] == (255, 0, 0)).all() and (found.colors_u8[~left] == (0, 0, 255)).all()
    again = read_object(path, ClassifyOptions((path,)))
    assert np.array_equal(again.points_in_object, found.points_in_object)


@pytest.mark.errors
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train-classifier --out {new}", "--data or --objects: expected one of the two, got none"),
        ("train-classifier --out {new} --objects 1 --data {clouds}", "--data and --objects: expected one of the two, got both"),
        ("train-classifier --out {new} --objects 1 --variant x", "--variant: expected --data, got --objects"),
        ("train-classifier --out {new} --objects 4001", "--objects: expected at most 4000"),
        ("train-classifier --out {new} --objects 1 --views 3", "--views: expected 0, 1 or 2, got 3"),
        ("train-classifier --out {new} --objects 1 --from clip", '--from: expected "none", "condense" or "condense:RUN"'),
        ("train-classifier --out {new} --objects 1 --from condense:{new}", "{new}: expected a run of scenewise pretrain"),
        ("train-classifier --out {new} --objects 1 --voxel 0", "--voxel: expected a number above 0, got 0.0"),
        ("train-classifier --out {new} --objects 1 --steps 1 --minutes 1", "--steps and --minutes: expected one of the two"),
        ("train-classifier --out {new} --objects 1 --preset x", "--preset: expected one of objects, modelnet"),
        ("train-classifier --out {new} --data {clouds}", "{clouds}: expected ModelNet"),
        ("train-classifier --out {clouds} --objects 1", "{clouds}: expected a new folder or a training run"),
        ("train-classifier --out {run} --objects 1", "{run}: expected a new folder, got an existing run"),
        ("train-classifier --out {new} --objects 1 --classifier.smoothing 2", "smoothing: expected from 0, below 1"),
        ("classify {clouds}/sofa.ply --run {run} --classes chair", "--run and --classes: expected one of the two"),
        ("classify {clouds}/sofa.ply --run {clouds}", "{clouds}: expected a run of scenewise train-classifier, or its file"),
        ("classify {clouds}/none.ply --run {run}", "{clouds}/none.ply: expected a file, got nothing"),
        ("classify {clouds}/box.xyz --run {run}", "{clouds}/box.xyz: expected a point cloud"),
        ("classify {clouds}/flat.off --run {run}", "{clouds}/flat.off: expected triangles with an area"),
        ("classify {clouds}/sofa.ply --run {run} --size 1e9", "object {clouds}/sofa.ply: expected fewer than 50000 voxels"),
        ("classify {clouds}/sofa.ply --run {run} --size -1", "--size: expected metres above 0"),
        ("classify {clouds}/sofa.ply --run {run} --top 0", "--top: expected 1 or more, got 0"),
        ("classify {clouds}/sofa.ply --teacher small-clip", '--teacher: expected "condense" or "condense:RUN"'),
        ("classify {clouds}/sofa.ply --teacher condense:{pair} --classes zebra,cat", ""),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    words: str, message: str, run, pair: Path, clouds: tuple[Path, Path], tmp_path: Path, capsys
) -> None:
    folder = clouds[0].parent
    (folder / "flat.off").write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n2 0 0\n3 0 1 2\n")
    (folder / "box.xyz").write_text("0 0 0\n")
    places = {"new": tmp_path / "new", "run": run[0], "clouds": folder, "pair": pair}
    more = WORDS.split() if words.startswith("train") else []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main([*words.format(**places).split(), *more]) == 2
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("scenewise: ")]
    assert len(lines) == 1 and lines[0].startswith("scenewise: " + message.format(**places)), captured.err
    assert captured.out == "" and not places["new"].exists()


def test_options_become_settings() -> None:
    usual = TrainClassifierOptions(Path("run"), objects=1)
    assert usual.config == PRESETS["objects"] and usual.chosen_start is None
    changed = TrainClassifierOptions(
        Path("run"), data=Path("d"), voxel=0.02, steps=7, frozen=True, settings={"classifier": {"variation.grey": 0.5}}
    ).config
    preset = PRESETS["modelnet"]
    assert changed == replace(preset, voxel=0.02, steps=7, frozen=True, variation=replace(preset.variation, grey=0.5))
    assert TrainClassifierOptions(Path("run"), data=Path("d"), scale="metres").config.scale == "metres"

"""scenewise train-graph: from labelled scans with photographs to a network that tells relations from points."""

import json
import shutil
import signal
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.support.between_workers import made_once
from tests.support.tiny_models import save_tiny_clip, save_tiny_resnet_clip

from scenewise.catalogue import GRAPH_METHODS
from scenewise.cli.main import main
from scenewise.commands.graph.networks import open_network
from scenewise.commands.train_graph.options import TrainGraphOptions
from scenewise.commands.train_graph.run import train_graph
from scenewise.commands.train_graph.summary import TrainGraphSummary
from scenewise.engine.checkpoints import Checkpointer
from scenewise.engine.journal import read_journal
from scenewise.errors import CaptureWarning, ConventionError, DataFormatError
from scenewise.io.json_values import json_ready
from scenewise.io.ply.points import write_points_ply
from scenewise.io.ply.tables import read_ply_table
from scenewise.io.product_kinds import THING_PICTURES
from scenewise.io.products import files_in, verify
from scenewise.io.three_rscan.writing import write_three_rscan
from scenewise.io.training_records import GRAPH_RUN, read_training_record
from scenewise.methods.vl_sat import rooms as rooms_module
from scenewise.methods.vl_sat import scans as scans_module
from scenewise.methods.vl_sat.network_file import read_graph_network
from scenewise.methods.vl_sat.rooms import RoomGraphs, missing_rooms, room_scan, room_scans
from scenewise.methods.vl_sat.scans import ScanReading, read_seen_scans
from scenewise.methods.vl_sat.seen import clip_of, graph_data_of
from scenewise.methods.vl_sat.trainer import VlSatTrainer
from scenewise.scenes.point_clouds import PointCloud
from scenewise.teachers.choose import open_teacher
from scenewise.worlds.captures import photograph, room_cameras, truth
from scenewise.worlds.classes import CLASS_NAMES
from scenewise.worlds.relations import ROOM_PREDICATES
from scenewise.worlds.rooms import furnished_room
from scenewise.worlds.seeds import LEARNING_SEEDS, VALIDATION_SEEDS

VIEWS, WIDTH, HEIGHT = 4, 64, 48
SMALL = {
    "steps": 4,
    "save_every": 2,
    "every": 1,
    "threads": 1,
    "device": "cpu",
    "settings": {"vl_sat": {"width": 16, "heads": 2, "points": 16, "batch_scans": 2, "oracle.adapter_epochs": 2}},
}
WORDS = "--steps 4 --save-every 2 --every 1 --threads 1 --device cpu --vl-sat.width 16 --vl-sat.heads 2 --vl-sat.points 16"
RUN_FILES = {"cache", "checkpoints", "config.json", "figures.json", "graph_network.safetensors", "log.jsonl", "model_card.md"}


def write_sequence(folder: Path, seed: int) -> None:
    """Photographs, depth and poses of a room as 3RScan keeps them."""
    room = furnished_room(seed)
    cameras = room_cameras(room, VIEWS, WIDTH, HEIGHT)
    folder.mkdir(parents=True)
    square = np.eye(4)
    square[:3, :3] = cameras[0].K.numpy()
    square[:2, 2] -= 0.5  # centres of pixels are whole numbers there
    lines = [f"m_calibration{kind}Intrinsic = {' '.join(map(str, square.ravel()))}" for kind in ("Color", "Depth")]
    for kind in ("color", "depth"):
        lines += [f"m_{kind}Width = {WIDTH}", f"m_{kind}Height = {HEIGHT}"]
    (folder / "_info.txt").write_text("\n".join([*lines, "m_depthShift = 1000"]))
    for index in range(VIEWS):
        stem = folder / f"frame-{index:06d}"
        Image.fromarray(photograph(room, cameras[index])).save(f"{stem}.color.jpg", quality=95)
        codes = np.rint(truth(room, cameras[index]).depth * 1000).astype(">u2")
        Path(f"{stem}.depth.pgm").write_bytes(f"P5 {WIDTH} {HEIGHT} 65535\n".encode() + codes.tobytes())
        pose = cameras[index].world_from_camera.numpy()
        Path(f"{stem}.pose.txt").write_text("\n".join(" ".join(map(str, row)) for row in pose))


def trained(options: TrainGraphOptions) -> tuple[TrainGraphSummary, list[str]]:
    """What came out, and what was warned of."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        return train_graph(options), [str(warning.message) for warning in said]


@pytest.fixture(autouse=True)
def _rules_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty rooms need not be furnished to know that the rules are those of a moment ago."""
    monkeypatch.setattr(rooms_module, "_rules", lambda: "rules")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two scans to learn from, the first with photographs, and one to measure on; to be left as it is, as the run."""

    def make(place: Path) -> None:
        settings = RoomGraphs(views=VIEWS, width=WIDTH, height=HEIGHT, points=96)
        for split, seeds in (("train", LEARNING_SEEDS[:2]), ("validation", VALIDATION_SEEDS[:1])):
            scans = [room_scan(seed, settings, None).scan for seed in seeds]
            numbered = [replace(scan, object_ids=tuple(2 * number + 5 for number in scan.object_ids)) for scan in scans]
            write_three_rscan(place, split, numbered, CLASS_NAMES, ROOM_PREDICATES)
        first = place / "3RScan" / f"room-{LEARNING_SEEDS[0]}"
        write_sequence(first / "sequence", LEARNING_SEEDS[0])
        # The frame of the room's first scan, where the cameras do not fit.
        table = read_ply_table(first / "labels.instances.annotated.v2.ply").columns
        points = np.stack([-table["y"] + 9.0, table["x"] - 2.0, table["z"]], axis=1).astype(np.float64)
        aligned = first / "labels.instances.align.annotated.v2.ply"
        write_points_ply(aligned, PointCloud(points), extra={"objectId": table["objectId"]})

    return made_once(tmp_path_factory, "graph_data", make)[0]


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory):
    def make(place: Path):
        summary, said = trained(TrainGraphOptions(str(data), place, seed=1, **SMALL))
        assert len(said) == 2 and "only ever seen procedural rooms" in said[0] and "1 of 2 scans have no photographs" in said[1]
        return json_ready(summary)

    folder, summary = made_once(tmp_path_factory, "graph_run", make)
    return folder, summary, TrainGraphOptions(str(data), folder, seed=1, **SMALL)


def test_a_run_folder_says_what_it_is(run, data: Path):
    folder, summary, _ = run
    assert {entry.name for entry in folder.iterdir()} == RUN_FILES
    config = read_training_record(folder, GRAPH_RUN)
    assert (config.preset, config.seed) == ("3rscan", 1)
    assert config.chosen == {"method": "vl_sat", "teacher": "small-clip", "text": "relation-text"}
    assert config.settings["width"] == 16 and config.settings["steps"] == 4
    assert config.data["scans"] == 2 and config.data["photographed_scans"] == 1 and config.data["validation"]["scans"] == 1
    assert 0 < config.data["seen_things"] < config.data["things"] and config.data["relations"] == summary["relations"]
    assert config.licences[data.name].startswith("3RScan terms") and config.licences["small-clip"] == "Apache-2.0"
    told = json.loads((folder / "figures.json").read_text())
    assert told["scans"] == 1 and told["per_cent"] == summary["figures"] and 0 <= told["per_cent"]["object A@1"] <= 100
    card = (folder / "model_card.md").read_text()
    assert "2 scans" in card and "small-clip: Apache-2.0" in card and "object A@1" in card and "## Limits" in card
    assert len(Checkpointer(folder / "checkpoints").paths()) == 2
    steps = [event for event in read_journal(folder / "log.jsonl") if event["event"] == "step"]
    assert [event["step"] for event in steps] == [1, 2, 3, 4] and {"mimic", "sentences", "oracle objects"} <= set(steps[0])
    assert 0 < summary["parameters_deployed"] < summary["parameters_trained"] and summary["seconds"] > 0


def test_the_network_of_a_run_answers(run, data: Path):
    folder, _, _ = run
    scan = read_seen_scans(data, "validation", ScanReading()).scans[0].scan
    pairs = np.array([[0, 1], [2, 0]])
    answers = []
    for choice in (folder, folder / "graph_network.safetensors"):
        network = open_network(str(choice))
        assert network.predicates == ROOM_PREDICATES and network.class_names == CLASS_NAMES
        answers.append(network.answer(scan.points_in_world, [], [], pairs))
    assert open_network(str(folder)).name == folder.name and open_network("none") is None
    assert answers[0].predicate_scores.shape == (2, len(ROOM_PREDICATES))
    assert np.array_equal(answers[0].predicate_scores, answers[1].predicate_scores)
    learned = read_graph_network(folder / "graph_network.safetensors").learned
    assert learned.about["steps"] == 4 and learned.about["data"]["scans"] == 2


def test_photographs_show_the_things_of_their_own_scan(run, data: Path):
    """What the oracle sees of a thing agrees with the truth of each pixel; kept answers are found and nobody is asked again."""
    folder, _, _ = run
    clip = clip_of(open_teacher("small-clip", device="cpu"))
    with pytest.MonkeyPatch.context() as patch, pytest.warns(CaptureWarning, match="no photographs"):
        patch.setattr(scans_module, "thing_pictures", None)
        found = read_seen_scans(data, "train", ScanReading(every=1), clip, folder / "cache")
    assert found.photographed == 1 and found.scans[1].pictures is None
    (kept,) = files_in(folder / "cache", THING_PICTURES)
    verify(kept)
    scan, pictures = found.scans[0].scan, found.scans[0].pictures
    assert pictures is not None and pictures.features.shape == (len(scan), VIEWS, clip.tower.dim)
    room = furnished_room(LEARNING_SEEDS[0])
    places = np.concatenate(scan.points_in_world)
    assert np.all(places[:, 0] > 9.0 - room.size[1] - 0.1) and places[:, 0].max() > 8.5, "in the frame of the first scan"
    cameras = room_cameras(room, VIEWS, WIDTH, HEIGHT)
    pixels = np.stack(
        [np.bincount(truth(room, cameras[view]).instance_ids.ravel() + 1, minlength=99)[1:] for view in range(VIEWS)]
    )
    own = pixels[:, [(number - 5) // 2 for number in scan.object_ids]]
    seen = (pictures.shares > 0).sum(axis=1)
    assert np.all(seen <= (own > 0).sum(axis=0)), "no view shows what is not in it"
    assert np.all(seen[(own > 60).sum(axis=0) > 0] > 0), "what covers many pixels of a view is seen"


def test_a_second_kind_of_run_finds_what_the_teacher_saw(run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, _, options = run
    monkeypatch.setattr(scans_module, "thing_pictures", None)
    other = replace(options, out=tmp_path / "run", cache=folder / "cache", student="sgpn", text="none", steps=1)
    summary, _ = trained(other)
    assert summary.student == "sgpn" and "sentences" not in summary.terms and "mimic" in summary.terms
    assert not (tmp_path / "run" / "cache").exists()


def test_an_interrupted_run_goes_on_bit_for_bit(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, _, options = run
    again = replace(options, out=tmp_path / "again", cache=folder / "cache")
    step = VlSatTrainer.step

    def interrupted(trainer: VlSatTrainer) -> None:
        step(trainer)
        if trainer.steps_done == 3:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(VlSatTrainer, "step", interrupted)
        trained(again)
    assert Checkpointer(again.out / "checkpoints").latest().step == 3
    with pytest.raises(DataFormatError, match="a finished training"):
        open_network(str(again.out))
    trained(replace(again, resume=True))
    for name in ("graph_network.safetensors", "figures.json"):
        assert (again.out / name).read_bytes() == (folder / name).read_bytes(), name
    events = read_journal(again.out / "log.jsonl")
    assert [event["step"] for event in events if event["event"] == "step"] == [1, 2, 3, 4]


def test_a_teacher_from_a_folder_also_reads_the_sentences(data: Path, tmp_path: Path):
    save_tiny_clip(tmp_path / "clip")
    options = TrainGraphOptions(str(data), tmp_path / "run", teacher=str(tmp_path / "clip"), **{**SMALL, "steps": 2})
    summary, said = trained(options)
    assert len(said) == 1
    config = read_training_record(tmp_path / "run", GRAPH_RUN)
    assert config.chosen["teacher"] == config.chosen["text"] == str(tmp_path / "clip")
    assert {"mimic", "sentences"} <= set(summary.terms)


def test_rooms_without_a_teacher(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("scenewise.commands.train_graph.data.RoomGraphs", lambda: RoomGraphs(views=3, width=64, height=48))
    words = f"train-graph --data rooms:2 --out {tmp_path / 'run'} --teacher none --student sgfn --json {WORDS}"
    assert main(words.split()) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["scans"] == 2 and told["validation_scans"] == 1 and told["terms"].keys() == {"objects", "predicates"}
    config = read_training_record(tmp_path / "run", GRAPH_RUN)
    assert config.preset == "rooms" and config.settings["oracle"] is None and config.settings["turns"] is True
    assert config.chosen["teacher"] is None and config.data["seen_things"] == 0


def test_rooms_are_kept_with_what_was_seen_and_without(tmp_path: Path):
    settings = RoomGraphs(views=3, width=48, height=36, least_points=8)
    clip = clip_of(open_teacher("small-clip", device="cpu"))
    seeds = LEARNING_SEEDS[4:6]
    made = {}
    for looks in (clip, None):
        assert missing_rooms(seeds, settings, tmp_path, looks) == 2
        made[looks is None] = room_scans(seeds, settings, tmp_path, looks)
        assert missing_rooms(seeds, settings, tmp_path, looks) == 0
    again = room_scans(seeds, settings, tmp_path, clip)
    for seen, kept, blind in zip(made[False], again, made[True]):
        assert blind.pictures is None and np.array_equal(seen.scan.triplets, blind.scan.triplets)
        assert np.array_equal(seen.pictures.features, kept.pictures.features) and (seen.pictures.shares > 0).any()


def test_minutes_become_steps_that_a_resumed_run_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    trainer_steps = []
    monkeypatch.setattr("scenewise.engine.folder_runs.steps_within", lambda *_: trainer_steps.append(1) or 3)
    monkeypatch.setattr("scenewise.commands.train_graph.data.RoomGraphs", lambda: RoomGraphs(views=2, width=48, height=36))
    options = TrainGraphOptions("rooms:1", tmp_path / "run", teacher="none", minutes=1.0, **{**SMALL, "steps": None})
    assert train_graph(options).steps == 3 and read_training_record(options.out, GRAPH_RUN).settings["steps"] == 3
    shutil.rmtree(Checkpointer(options.out / "checkpoints").paths()[-1])
    assert train_graph(replace(options, resume=True)).steps == 3 and len(trainer_steps) == 1


def test_the_length_of_a_run_is_fixed_before_its_first_step(data: Path):
    scans = read_seen_scans(data, "train", ScanReading())
    graphs = graph_data_of(scans.scans, scans.classes, scans.predicates, None)
    config = replace(GRAPH_METHODS["vl_sat"].presets["rooms"], oracle=None, width=16, heads=2, points=8, steps=100)
    trainer, known = VlSatTrainer(config, graphs, None, 0), VlSatTrainer(replace(config, steps=2), graphs, None, 0)
    trainer.set_total_steps(2)
    for each in (trainer, known):
        each.step()
        each.step()
    one, two = (each.checkpoint() for each in (trainer, known))
    assert one.config == two.config and all(torch.equal(value, two.parameters[name]) for name, value in one.parameters.items())
    with pytest.raises(ConventionError, match="a run that has not begun, got 2 steps done"):
        trainer.set_total_steps(5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--data {new}/none --out {new}", "{new}/none: expected relationships_train.json or"),
        ("--data {bare} --out {new} --teacher none", "{bare}: expected 3RScan/<scan>/labels.instances.annotated.v2.ply or"),
        ("--data {blind} --out {new}", "{blind}: expected photographs of the scans, which the oracle sees"),
        ("--data {data} --out {new} --teacher nobody//here", "teacher 'nobody//here': expected a folder or a Hugging Face id"),
        ("--data {data} --out {new} --teacher files:{new}", "{new}"),
        ("--data {data} --out {new} --teacher {resnet}", "teacher {resnet}: expected a CLIP or SigLIP with a vision transformer"),
        (
            "--data {other} --out {new} --teacher small-clip",
            "the text 'xylophone': expected words that small-clip was trained on",
        ),
        ("--data {data} --out {new} --text large", "--text: expected small, hub:ID or none, got 'large'"),
        ("--data {data} --out {new} --teacher none --text small", "--text: expected a teacher beside it"),
        ("--data {data} --out {new} --preset moon", "--preset: expected one of 3rscan, rooms, got 'moon'"),
        ("--data rooms:0 --out {new}", "--data: expected rooms:1 to rooms:100000, got 'rooms:0'"),
        ("--data {data} --out {new} --steps 3 --minutes 2", "--steps and --minutes: expected one of the two, got both"),
        ("--data {data} --out {new} --vl-sat.width 18", "width: expected 16 or more, a multiple of 4, got 18"),
        ("--data {data} --out {run}", "{run}: expected a new folder, got an existing run. Fix: --resume"),
        ("--data {data} --out {data}", "{data}: expected a new folder or a training run"),
        ("--data {data} --out {run} --resume --text none", "resume: --text: expected relation-text, as the run has it, got none"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(words: str, message: str, run, data: Path, tmp_path: Path, capsys):
    names = ("new", "bare", "blind", "resnet", "other")
    places = {"data": data, "run": run[0], **{name: tmp_path / name for name in names}}
    if "{bare}" in words:
        shutil.copytree(data / "3DSSG_subset", places["bare"] / "3DSSG_subset")
    if "{blind}" in words:
        shutil.copytree(data, places["blind"], ignore=shutil.ignore_patterns("sequence"))
    if "{resnet}" in words:
        save_tiny_resnet_clip(places["resnet"])
    if "{other}" in words:
        shutil.copytree(data, places["other"])
        listed = places["other"] / "3DSSG_subset" / "classes.txt"
        listed.write_text(listed.read_text() + "xylophone\n")
    usual = WORDS.replace("--steps 4", "") if "--steps" in words else WORDS
    usual = usual.replace("--vl-sat.width 16", "") if "width" in words else usual
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["train-graph", *words.format(**places).split(), *usual.split()]) == 2
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("scenewise: ")]
    assert len(lines) == 1 and lines[0].startswith("scenewise: " + message.format(**places)), captured.err
    assert captured.out == ""
    assert not places["new"].exists()


@pytest.mark.errors
def test_an_unknown_student_is_refused(capsys: pytest.CaptureFixture[str]):
    assert main(["train-graph", "--data", "rooms:1", "--out", "run", "--student", "gpt"]) == 2
    assert "sggpoint" in capsys.readouterr().err
    with pytest.raises(ConventionError, match="--student: expected one of vl_sat, sgfn, sggpoint, sgpn, got 'gpt'"):
        TrainGraphOptions("rooms:1", Path("run"), student="gpt")  # type: ignore[arg-type]


def test_options_become_settings_of_the_method():
    usual = TrainGraphOptions("rooms:9", Path("run")).config
    assert usual == GRAPH_METHODS["vl_sat"].presets["rooms"]
    changed = TrainGraphOptions(
        "data", Path("run"), student="sgfn", steps=7, text="none", settings={"vl_sat": {"oracle.margin": 0.5, "heads": 4}}
    ).config
    preset = GRAPH_METHODS["vl_sat"].presets["3rscan"]
    oracle = replace(preset.oracle, margin=0.5, text=False)
    assert changed == replace(preset, student="sgfn", steps=7, heads=4, oracle=oracle)
    alone = TrainGraphOptions("data", Path("run"), teacher="none", settings={"vl_sat": {"oracle.margin": 0.5}})
    assert alone.config.oracle is None and alone.chosen_text == "none"
    assert TrainGraphOptions("data", Path("run"), teacher="org/clip").chosen_text == "hub:org/clip"


def test_vertices_in_the_frame_of_the_first_scan_are_enough_without_photographs(data: Path, tmp_path: Path):
    shutil.copytree(data, tmp_path / "data", ignore=shutil.ignore_patterns("labels.instances.annotated.v2.ply", "sequence"))
    options = TrainGraphOptions(str(tmp_path / "data"), tmp_path / "run", teacher="none", **{**SMALL, "steps": 1})
    summary, said = trained(options)
    assert summary.scans == 1 and summary.figures is None and not (tmp_path / "run" / "figures.json").exists()
    assert any("no figures, as the validation split cannot be read" in text for text in said)
    assert "no figures" in summary.text() and "no figures" in (tmp_path / "run" / "model_card.md").read_text()

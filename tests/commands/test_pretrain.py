"""scenewise pretrain: from captures of mixed origin to two networks that say the same of a pixel and of what it shows."""

import json
import shutil
import signal
import warnings
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.support.between_workers import made_once
from tests.support.tiny_models import save_tiny_dinov2, save_tiny_resnet_clip
from tests.support.tiny_posed import CAPTURED_FRAMES, tiny_teacher, write_captures

from scenewise.cli.main import main
from scenewise.commands.pretrain.data import weighted_scans
from scenewise.commands.pretrain.options import PretrainOptions
from scenewise.commands.pretrain.run import pretrain, tower_of
from scenewise.commands.pretrain.summary import PretrainSummary
from scenewise.engine.checkpoints import Checkpointer
from scenewise.engine.journal import read_journal
from scenewise.errors import CaptureWarning, ConventionError, DataFormatError
from scenewise.io.json_values import json_ready
from scenewise.io.training_records import PRETRAINING_RUN, read_training_record
from scenewise.methods.condense.options import LossWeights
from scenewise.methods.condense.trainer import CondenseTrainer
from scenewise.teachers.choose import open_teacher
from scenewise.teachers.consistent_file import read_pair

CONDENSE = {"backbone": "minkunet14a", "image_width": 16, "rays.per_view": 32, "rays.depth_deviation": 0.1, "remembered": 64}
SMALL = {
    "steps": 4,
    "width": 0.125,
    "dim": 16,
    "voxel": 0.2,
    "picture_width": 64,
    "views": CAPTURED_FRAMES,
    "views_per_step": 2,
    "batch": 2,
    "save_every": 2,
    "look_every": 3,
    "threads": 1,
    "device": "cpu",
    "settings": {"condense": CONDENSE},
}
WORDS = (
    "--steps 2 --width 0.125 --dim 8 --voxel 0.2 --picture-width 64 --views 3 --views-per-step 1 --batch 2 --threads 1 "
    "--device cpu --condense.backbone minkunet14a --condense.image-width 16 --condense.rays.per-view 16"
)
RUN_FILES = {
    *("cache", "checkpoints", "config.json", "consistent.safetensors", "features.png", "figures.json", "log.jsonl"),
    "README.md",
}


def trained(options: PretrainOptions) -> tuple[PretrainSummary, list[str]]:
    """What came out, and what was warned of; features as small as these are said to collapse."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        summary = pretrain(options, teacher=tiny_teacher())
    assert summary is not None
    return summary, [text for warning in said if "collaps" not in (text := str(warning.message))]


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two RGB-D captures and a manifest that lists them; to be left as it is."""
    place = made_once(tmp_path_factory, "posed_captures", write_captures)[0]
    return place


@pytest.fixture(scope="module")
def manifest(captures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lists") / "manifest.json"
    entries = [{"path": str(captures / "hall"), "weight": 2.0, "name": "entrance"}, {"path": str(captures / "study")}]
    path.write_text(json.dumps({"captures": entries}))
    return path


@pytest.fixture(scope="module")
def run(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PretrainSummary, PretrainOptions]:
    folder = tmp_path_factory.mktemp("run") / "run"
    options = PretrainOptions((manifest,), folder, seed=1, **SMALL)
    summary, said = trained(options)
    assert said == []
    return folder, summary, options


# ---------------------------------------------------------------------------------------------------------------------- data


def test_a_weight_is_shared_by_the_captures_below_a_path(captures: Path, tmp_path: Path):
    (tmp_path / "more" / "deep").mkdir(parents=True)
    for name in ("more/deep/a", "more/b", "more/c", "alone"):
        shutil.copytree(captures / "hall", tmp_path / name)
    entries = [{"path": "more", "weight": 6.0, "name": "many"}, {"path": "alone", "weight": 5}, {"path": str(captures)}]
    (tmp_path / "list.json").write_text(json.dumps({"captures": entries}))
    scans = weighted_scans((tmp_path / "list.json", tmp_path / "more" / "b"), 100)
    assert [(scan.name, scan.weight) for scan in scans] == [
        *(("many/b", 2.0), ("many/c", 2.0), ("many/deep/a", 2.0)),
        *(("alone", 5.0), ("hall", 1.0), ("study", 1.0), ("b", 1.0)),
    ]
    assert [scan.origin for scan in scans] == ["many"] * 3 + ["alone"] + [captures.name] * 2 + ["b"]
    twins = weighted_scans((captures, tmp_path / "more" / "b", tmp_path / "more"), 100)
    assert [scan.name for scan in twins] == ["hall", "study", "b", "b (2)", "c", "deep/a"], "told apart"


@pytest.mark.errors
def test_what_is_not_there_or_there_twice_is_refused(captures: Path, tmp_path: Path):
    with pytest.raises(DataFormatError, match=r"gone: expected a capture, a folder of captures or a manifest, got nothing"):
        weighted_scans((tmp_path / "gone",), 100)
    with pytest.raises(DataFormatError, match="expected each capture once, got it twice"):
        weighted_scans((captures / "hall", captures / "study" / ".." / "hall"), 100)


# ----------------------------------------------------------------------------------------------------------------------- run


def test_a_run_folder_says_what_it_is(run):
    folder, summary, options = run
    assert {entry.name for entry in folder.iterdir()} == RUN_FILES
    config = read_training_record(folder, PRETRAINING_RUN)
    assert (config.preset, config.seed) == ("captures", 1) and config.chosen == {
        "method": "condense",
        "precision": "float32",
        "teacher": "tiny tower",
        "tower_fingerprint": "tiny tower 0",
    }
    assert config.settings["steps"] == 4 and config.settings["width"] == 0.125 and config.settings["rays"]["per_view"] == 32
    assert config.data["sources"] == [str(options.sources[0])] and config.data["text_dim"] is None
    assert (config.data["scans"], config.data["views"], config.data["held_out_views"]) == (2, 14, 2)
    assert config.licences == {"tiny tower": "CC0-1.0", "entrance": "CC0-1.0 (generated)", "study": "CC0-1.0 (generated)"}
    told = json.loads((folder / "figures.json").read_text())
    figures = summary.figures
    assert figures is not None and told["cosine"] == figures.cosine and told["matched"] == figures.matched
    assert (told["scans"], told["views"], told["steps"], told["collapsed"]) == (2, 2, 4, summary.collapsed)
    card = (folder / "README.md").read_text()
    assert "2 scans, 14 pictures; 2 more were held out" in card and "- tiny tower: CC0-1.0\n" in card and "## Limits" in card
    assert f"{figures.cosine:.3f}" in card and "effective rank" in card
    picture = np.asarray(Image.open(folder / "features.png"))
    assert picture.shape == (18 + 180 + 4 + 180, 728, 3) and len(np.unique(picture[:, 244:484].reshape(-1, 3), axis=0)) > 50
    assert len(Checkpointer(folder / "checkpoints").paths()) == 2
    steps = [event for event in read_journal(folder / "log.jsonl") if event["event"] == "step"]
    assert [event["step"] for event in steps] == [1, 2, 3, 4] and {"prior", "cosine", "image_rank", "collapsed"} <= set(steps[0])
    assert [event["step"] for event in steps if "held_out/cosine" in event] == [3]
    text = summary.text()
    assert "2 scans with 14 pictures: 4 steps" in text and "on 2 held-out pictures of 2 scans" in text and "condense:" in text
    assert 0 < summary.parameters_deployed < summary.parameters_trained and summary.seconds > 0


def test_the_file_holds_the_running_average_and_where_it_comes_from(run):
    folder, summary, _ = run
    file = read_pair(folder / "consistent.safetensors")
    found = Checkpointer(folder / "checkpoints").latest()
    averages = {name.removeprefix("average."): value for name, value in found.parameters.items() if name.startswith("average.")}
    state = file.pair.state_dict()
    assert averages.keys() == state.keys()
    for name, value in averages.items():
        assert torch.equal(state[name], value.half().to(value.dtype) if value.is_floating_point() else value), name
    assert (file.about.tower, file.about.tower_fingerprint) == ("tiny tower", "tiny tower 0")
    assert (file.about.voxel, file.about.picture_width, file.about.prior_dim) == (0.2, 64, 16)
    assert file.about.licence == "tiny tower: CC0-1.0; entrance: CC0-1.0 (generated); study: CC0-1.0 (generated)"
    assert file.about.about["steps"] == 4 and file.about.about["data"]["scans"] == 2
    assert summary.parameters_deployed == sum(value.numel() for value in file.pair.parameters())


def test_an_interrupted_run_goes_on_bit_for_bit(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, _, options = run
    again = replace(options, out=tmp_path / "again", cache=folder / "cache")
    step = CondenseTrainer.step

    def interrupted(trainer: CondenseTrainer) -> None:
        step(trainer)
        if trainer.steps_done == 3:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(CondenseTrainer, "step", interrupted)
        trained(again)
    assert Checkpointer(again.out / "checkpoints").latest().step == 3
    assert not (again.out / "consistent.safetensors").exists()
    with monkeypatch.context() as patch:
        patch.setattr("scenewise.parts.scans.posed_data.posed_scan", None)  # nobody looks at a picture again
        trained(replace(again, resume=True))
    for name in ("consistent.safetensors", "figures.json", "features.png"):
        assert (again.out / name).read_bytes() == (folder / name).read_bytes(), name
    events = read_journal(again.out / "log.jsonl")
    assert [event["step"] for event in events if event["event"] == "step"] == [1, 2, 3, 4]
    assert [event["step"] for event in events if "held_out/cosine" in event] == [3]


@pytest.mark.errors
def test_another_run_is_not_gone_on_with(run, captures: Path):
    _, _, options = run
    with pytest.raises(
        ConventionError, match=r"resume: --teacher: expected tiny tower with the weights that the run has, got small-clip"
    ):
        pretrain(replace(options, resume=True), teacher=open_teacher("small-clip", device="cpu"))
    with pytest.raises(ConventionError, match="resume: option seed"):
        trained(replace(options, resume=True, seed=2))
    with pytest.raises(ConventionError, match="resume: the capture: expected the data the run was started on"):
        trained(replace(options, resume=True, sources=(captures,), seed=1))
    with pytest.raises(DataFormatError, match="--resume continues it, --overwrite replaces it"):
        trained(options)


def test_minutes_become_steps_that_a_resumed_run_keeps(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder, _, options = run
    monkeypatch.setattr("scenewise.engine.folder_runs.steps_within", lambda *_: 2)
    short = replace(options, out=tmp_path / "run", cache=folder / "cache", steps=None, minutes=1.0, save_every=1)
    assert trained(short)[0].steps == 2 and read_training_record(short.out, PRETRAINING_RUN).settings["steps"] == 2
    shutil.rmtree(Checkpointer(short.out / "checkpoints").paths()[-1])
    monkeypatch.setattr("scenewise.engine.folder_runs.steps_within", lambda *_: 7)
    assert trained(replace(short, resume=True))[0].steps == 2


def test_scans_that_cannot_be_used_are_named_and_the_others_learned_from(captures: Path, tmp_path: Path):
    broken = tmp_path / "data" / "broken"
    shutil.copytree(captures / "hall", broken)
    for path in list(broken.glob("*.color.png")):
        path.write_bytes(b"no picture")
    shutil.copytree(captures / "study", tmp_path / "data" / "study")
    summary, said = trained(PretrainOptions((tmp_path / "data",), tmp_path / "run", **{**SMALL, "steps": 1, "views": 2}))
    assert summary.scans == 1 and list(summary.skipped) == ["broken"] and (summary.views, summary.held_out_views) == (1, 1)
    assert any("1 of 2 scans are left out: broken (" in text for text in said)
    assert "- Left out: broken (" in (tmp_path / "run" / "README.md").read_text()
    skipped = [event for event in read_journal(tmp_path / "run" / "log.jsonl") if event["event"] == "skipped"]
    assert [event["scan"] for event in skipped] == ["broken"]


# ---------------------------------------------------------------------------------------------------------------- command line


def test_rooms_need_nothing_and_give_words(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("scenewise.methods.condense.monitor.LEAST_RANK", 0.0)
    run = tmp_path / "run"
    assert main(f"pretrain --rooms 2 --out {run} --json {WORDS}".split()) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["scans"], told["views"], told["held_out_views"], told["steps"]) == (2, 4, 2, 2)
    assert told["figures"]["views"] == 2 and set(told["terms"]) == {each.name for each in fields(LossWeights)}
    config = read_training_record(run, PRETRAINING_RUN)
    assert config.preset == "rooms" and config.data["rooms"] == 2 and config.data["text_dim"] == 128
    assert config.licences == {"small-clip": "Apache-2.0", "procedural rooms": "CC0-1.0 (generated)"}
    assert "2 procedural rooms" in (run / "README.md").read_text()


@pytest.mark.errors
@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("--steps 4 --look-every 1", "training diverged: features of held-out pictures of "),
        ("--steps 4 --look-every 9", "training diverged at step 2: gradients are not finite"),
        ("--steps 1", "training diverged: numbers after step 1 do not fit half precision"),
    ],
)
def test_values_that_are_not_finite_end_in_one_clear_error(
    run, tmp_path: Path, steps: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys
):
    folder, _, options = run
    monkeypatch.setattr("scenewise.commands.pretrain.run.open_choice", lambda choice: tiny_teacher())
    monkeypatch.setattr("scenewise.methods.condense.monitor.LEAST_RANK", 0.0)
    words = f"{steps} --width 0.125 --dim 16 --voxel 0.2 --picture-width 64 --views 9 --views-per-step 2 --batch 2 --threads 1"
    words += " --device cpu --condense.backbone minkunet14a --condense.image-width 16 --condense.point-rate 1e30 --json"
    arguments = ["pretrain", str(options.sources[0]), "--out", str(tmp_path / "run"), "--cache", str(folder / "cache")]
    assert main([*arguments, *words.split()]) == 2
    said = capsys.readouterr()
    error = json.loads(said.out)["error"]
    assert error["type"] == "TrainingDivergedError" and error["message"].startswith(message)
    assert "Traceback" not in said.err


def test_words_of_the_command_line_become_settings():
    options = PretrainOptions((), Path("run"), rooms=3, steps=7, **{k: v for k, v in SMALL.items() if k != "steps"})
    config = options.config
    assert options.chosen_preset == "rooms" and (config.steps, config.width, config.dim, config.voxel) == (7, 0.125, 16, 0.2)
    assert (config.picture_width, config.most_views, config.views_per_scan, config.scans_per_step) == (64, 9, 2, 2)
    assert (config.rays.per_view, config.remembered, config.losses.prior) == (32, 64, 1.0)
    plain = PretrainOptions((Path("a"),), Path("run")).config
    assert plain.steps == 20_000 and plain.backbone == "minkunet34c"
    assert PretrainOptions((Path("a"),), Path("run"), preset="rooms").config.dim == 64
    assert json_ready(plain)["losses"]["consistency"] == 0.2


@pytest.mark.errors
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sources": ()}, "SOURCE: expected a capture, a folder of them or a manifest, got none. Fix: .* --rooms N"),
        ({"preset": "streets"}, "--preset: expected one of captures, rooms, got 'streets'"),
        ({"steps": 5, "minutes": 1.0}, "--steps and --minutes: expected one of the two, got both"),
        ({"resume": True, "overwrite": True}, "--resume and --overwrite: expected one of the two, got both"),
        ({"rooms": 0}, "--rooms: expected 1 or more, got 0"),
        ({"rooms": 100_001}, "--rooms: expected at most 100,000"),
        ({"voxel": 0.0}, "--voxel: expected a number above 0"),
        ({"memory": "much"}, "size: expected a number with a unit"),
        ({"teacher": " "}, "--teacher: expected small-clip"),
    ],
)
def test_options_that_do_not_fit_are_refused(changed: dict[str, object], message: str):
    with pytest.raises(ConventionError, match=message):
        PretrainOptions(**{"sources": (Path("capture"),), "out": Path("run"), **changed})


@pytest.mark.errors
def test_a_tower_must_be_a_transformer_and_may_know_no_words(tmp_path: Path):
    save_tiny_resnet_clip(tmp_path / "resnet")
    with pytest.raises(
        ConventionError, match=r"--teacher: expected a CLIP, SigLIP or DINOv2 whose tower is a transformer, got .*resnet"
    ):
        tower_of(open_teacher(str(tmp_path / "resnet"), device="cpu"))
    save_tiny_dinov2(tmp_path / "dino")
    clip, frozen = tower_of(open_teacher(str(tmp_path / "dino"), device="cpu"))
    assert frozen.text_dim is None and frozen.tower is clip.clip.tower and not frozen.half
    assert tower_of(open_teacher("small-clip", device="cpu"), half=True)[1].text_dim == 128


def test_small_clip_is_said_to_know_no_photographs(captures: Path):
    from scenewise.commands.pretrain.data import warn_of_small_clip

    clip, _ = tower_of(open_teacher("small-clip", device="cpu"))
    with pytest.warns(CaptureWarning, match="only ever seen procedural rooms"):
        warn_of_small_clip(PretrainOptions((captures,), Path("run")), clip)
    warn_of_small_clip(PretrainOptions((), Path("run"), rooms=1), clip)

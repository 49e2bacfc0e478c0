"""The command line: what goes to which stream, which exit code, which options reach the work."""

import json
import re
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from tests.support.processes import run_command_line, run_process

from scenewise.cli.main import COMMANDS, main
from scenewise.commands.evaluate.options import EvalOptions
from scenewise.commands.predict.options import PredictOptions
from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.commands.render.options import RenderOptions
from scenewise.commands.train.options import TrainOptions
from scenewise.errors import DataFormatError
from scenewise.methods.distilled_3dgs.options import LEAST_BYTES

# (command line word, module that does the work, its function)
_WORK = {
    "reconstruct": ("scenewise.commands.reconstruct.run", "reconstruct_command"),
    "render": ("scenewise.commands.render.run", "render_scene"),
    "eval": ("scenewise.commands.evaluate.run", "evaluate_command"),
    "train": ("scenewise.commands.train.run", "train"),
    "predict": ("scenewise.commands.predict.run", "predict"),
}


@dataclass(frozen=True)
class Outcome:
    psnr: float
    lpips: float | None
    scene: Path


@pytest.fixture
def replace_work(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[..., object]], None]:
    def replace(command: str, function: Callable[..., object]) -> None:
        name, attribute = _WORK[command]
        module = ModuleType(name)
        setattr(module, attribute, function)
        monkeypatch.setitem(sys.modules, name, module)

    return replace


def test_json_is_one_object_whatever_the_work_prints(replace_work, capsys):
    def work(options, progress):
        print("a library talks")
        with progress.stage("measure", 2) as stage:
            stage.advance(2)
        return Outcome(psnr=31.25, lpips=float("nan"), scene=Path("a") / "b")

    replace_work("eval", work)
    assert main(["eval", "a/b", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"psnr": 31.25, "lpips": None, "scene": "a/b"}
    assert "a library talks" in captured.err and "measure: done" in captured.err


def test_without_json_the_result_is_readable_text_on_standard_output(replace_work, capsys):
    replace_work("eval", lambda options, progress: Outcome(psnr=31.25, lpips=None, scene=Path("a")))
    assert main(["eval", "a"]) == 0
    assert capsys.readouterr().out.splitlines() == ["psnr   31.25", "lpips  none", "scene  a"]


def test_an_input_error_is_one_clear_line_and_no_traceback(replace_work, capsys):
    def work(options, progress):
        raise DataFormatError("cap/transforms.json", "frame 3", expected="a finite pose", got="NaN", fix="remove the frame")

    replace_work("reconstruct", work)
    message = "cap/transforms.json: frame 3: expected a finite pose, got NaN. Fix: remove the frame"
    assert main(["reconstruct", "cap", "--out", "scene"]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"scenewise: {message}\n")
    assert main(["reconstruct", "cap", "--out", "scene", "--json"]) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"error": {"type": "DataFormatError", "message": message}}
    assert captured.err == f"scenewise: {message}\n"


def test_debug_shows_where_it_happened(replace_work, capsys, monkeypatch):
    def work(options, progress):
        raise DataFormatError("a.ply", got="nothing")

    replace_work("eval", work)
    monkeypatch.setenv("SCENEWISE_DEBUG", "1")
    assert main(["eval", "a"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupted_reconstruction_says_how_to_go_on(replace_work, capsys):
    def work(options, progress):
        raise KeyboardInterrupt

    replace_work("reconstruct", work)
    assert main(["reconstruct", "my photos", "--out", "scene", "--overwrite"]) == 130
    assert "continue with: scenewise reconstruct 'my photos' --out scene --resume" in capsys.readouterr().err
    replace_work("eval", work)
    assert main(["eval", "scene"]) == 130
    assert "--resume" not in capsys.readouterr().err


def test_our_own_defects_exit_with_1_and_say_how_to_report(replace_work, capsys):
    def work(options, progress):
        raise ZeroDivisionError("division by zero")

    replace_work("render", work)
    assert main(["render", "scene"]) == 1
    error = capsys.readouterr().err
    assert "ZeroDivisionError: division by zero" in error and "scenewise doctor" in error and "Traceback" not in error


def test_what_the_system_refuses_names_the_file(replace_work, capsys, tmp_path):
    replace_work("eval", lambda options, progress: (tmp_path / "missing.json").read_bytes())
    assert main(["eval", "scene"]) == 2
    assert f"{tmp_path / 'missing.json'}: No such file or directory" in capsys.readouterr().err


def test_a_warning_becomes_a_line_without_source_code(replace_work, capsys):
    def work(options, progress):
        import warnings

        warnings.simplefilter("default")
        warnings.warn("17 images are missing", stacklevel=1)
        return {}

    replace_work("eval", work)
    assert main(["eval", "scene"]) == 0
    assert capsys.readouterr().err == "warning: 17 images are missing\n"


@pytest.mark.parametrize(
    "arguments", [["nonsense", "--json"], ["reconstruct", "cap", "--json"], ["eval", "a", "--json", "--depth"]]
)
def test_wrong_arguments_exit_with_2_and_still_print_one_json_object(arguments, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out)["error"]["type"] == "UsageError"
    assert captured.err


def test_a_value_out_of_range_is_named_with_its_option(capsys):
    assert main(["reconstruct", "cap", "--out", "x", "--steps", "0"]) == 2
    assert capsys.readouterr().err == "scenewise: --steps: expected 1 or more, got 0\n"


@pytest.mark.parametrize(
    "line",
    [
        "reconstruct a --out b",
        "train hicl --data a --out b",
        "predict a b --out c",
        "segment a --out b",
        "demo",
        "poses a --out b",
    ],
    ids=lambda line: line.split()[0],
)
def test_seeds_that_no_generator_takes_are_refused_before_anything_is_read(line, capsys):
    assert main([*line.split(), "--seed", "-1"]) == 2
    assert capsys.readouterr().err == "scenewise: --seed: expected 0 or more, got -1\n"
    assert main([*line.split(), "--seed", str(2**32)]) == 2
    assert capsys.readouterr().err == "scenewise: --seed: expected at most 4294967295, got 4294967296\n"


@pytest.mark.parametrize(("size", "kind"), [("1B", "spz"), ("6kB", "ply")])
def test_a_size_that_holds_no_picture_is_refused_before_training(size, kind, capsys):
    line = f"reconstruct a --out b --method distilled_3dgs --target-size {size} --size-of {kind}"
    assert main(line.split()) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"--target-size: expected at least {LEAST_BYTES[kind]:,} bytes, for a hundred" in said


def test_every_option_of_reconstruct_reaches_the_work(replace_work):
    seen = []
    replace_work("reconstruct", lambda options, progress: seen.append(options) or {})
    line = (
        "reconstruct cap --out scene --strategy mcmc --preset mipnerf360 --downscale 4 --minutes 1.5 --max-gaussians 50000 "
        "--budget 2GiB --sh-degree 1 --background 1 0.5 0 --pose-refinement --exposure-compensation --absgrad --seed 7 "
        "--threads 2 --device cpu --checkpoint-every 200 --overwrite --strict"
    )
    assert main(line.split()) == 0
    assert seen == [
        ReconstructOptions(
            capture=Path("cap"),
            out=Path("scene"),
            strategy="mcmc",
            preset="mipnerf360",
            downscale=4,
            minutes=1.5,
            max_gaussians=50_000,
            budget="2GiB",
            sh_degree=1,
            background=(1.0, 0.5, 0.0),
            pose_refinement=True,
            exposure_compensation=True,
            absgrad=True,
            seed=7,
            threads=2,
            device="cpu",
            checkpoint_every=200,
            overwrite=True,
            strict=True,
        )
    ]
    assert seen[0].budget_bytes == 2 * 2**30


def test_options_of_render_and_eval_reach_the_work(replace_work):
    seen = []
    replace_work("render", lambda options, progress: seen.append(options) or {})
    replace_work("eval", lambda options, progress: seen.append(options) or {})
    assert main(["render", "s", "--path", "orbit", "--frames", "24", "--format", "mp4", "--elevation-deg", "-10"]) == 0
    assert main(["eval", "s", "--lpips-weights", "vgg.safetensors", "--split", "train"]) == 0
    assert seen == [
        RenderOptions(scene=Path("s"), path="orbit", frames=24, format="mp4", elevation_deg=-10.0),
        EvalOptions(scene=Path("s"), lpips_weights=Path("vgg.safetensors"), split="train"),
    ]


def test_every_option_of_train_and_predict_reaches_the_work(replace_work, capsys):
    seen = []
    replace_work("train", lambda options, progress: seen.append(options))
    replace_work("predict", lambda options, progress: seen.append(options) or {})
    line = (
        "train cns --data scannet --out run --split val --preset nuscenes --teacher files:answers --read-out maskclip "
        "--text-from clip --classes wall,floor --epochs 7 --width 0.25 --voxel 0.08 --batch 3 --learning-rate 0.05 "
        "--backbone spvcnn --views 9 "
        "--views-per-step 2 --picture-width 160 --regions slic --targets teacher --segments shipped --cache kept --seed 4 "
        "--precision bfloat16 --save-every 5 --resume --threads 2 --device cpu --tensorboard"
    )
    assert main(line.split()) == 0
    assert capsys.readouterr().out == ""  # a process that has nothing to tell prints nothing
    line = "predict run cloud.las --out scene --repeats 5 --max-voxels 2000 --overwrite --seed 3 --threads 1"
    assert main(line.split()) == 0
    assert seen == [
        TrainOptions(
            method="cns",
            data=Path("scannet"),
            out=Path("run"),
            split="val",
            preset="nuscenes",
            teacher="files:answers",
            read_out="maskclip",
            text_from="clip",
            classes="wall,floor",
            epochs=7,
            width=0.25,
            voxel=0.08,
            batch=3,
            learning_rate=0.05,
            backbone="spvcnn",
            views=9,
            views_per_step=2,
            picture_width=160,
            regions="slic",
            targets="teacher",
            segments="shipped",
            cache=Path("kept"),
            seed=4,
            precision="bfloat16",
            save_every=5,
            resume=True,
            threads=2,
            device="cpu",
            tensorboard=True,
        ),
        PredictOptions(
            run=Path("run"),
            target=Path("cloud.las"),
            out=Path("scene"),
            repeats=5,
            max_voxels=2000,
            overwrite=True,
            seed=3,
            threads=1,
        ),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train hicl --data a --out b --epochs 0", "--epochs: expected 1 or more, got 0"),
        ("train hicl --data a --out b --width -1", "--width: expected a number above 0, got -1.0"),
        ("train hicl --data a --out b --resume --overwrite", "--resume and --overwrite: expected one of the two, got both"),
        ("train hickle --data a --out b", "method: expected one of clip2scene, cns, hicl, union, got 'hickle'"),
        (
            "train hicl --data a --out b --cns.granularity scene",
            "--cns.granularity: expected method cns, got method hicl. Fix: leave the option out",
        ),
        (
            "train hicl --data a --out b --read-out naclip --sc-clip.beta 0.3",
            "--sc-clip.beta: expected --read-out sc_clip, got --read-out naclip. Fix: add it, or leave the option out",
        ),
        (
            "segment a --out b --sc-clip.two-pass False",
            "--sc-clip.two-pass: expected --read-out sc_clip, got none. Fix: add it, or leave the option out",
        ),
        (
            "eval-2d voc21 a --naclip.sigma 3",
            "--naclip.sigma: expected --read-out naclip, got none. Fix: add it, or leave the option out",
        ),
        ("predict run cloud --out s --repeats 0", "--repeats: expected 1 or more, got 0"),
        ("eval s --split val", "--split val: expected --data, got none. Fix: views of a scene are test or train"),
    ],
)
def test_options_of_training_out_of_range_are_named(line, message, capsys):
    assert main(line.split()) == 2
    assert capsys.readouterr().err == f"scenewise: {message}\n"


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_every_command_offers_json(command, capsys):
    assert main([command, "--help"]) == 0
    assert "--json" in capsys.readouterr().out


def test_a_word_that_another_one_follows(capsys, monkeypatch):
    """Each of the words has options of its own; --json may stand anywhere behind them."""
    seen = []
    module = ModuleType("scenewise.commands.library.upkeep")
    module.remove_scenes = lambda options, progress: seen.append(options) or {"removed": options.names}
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert main(["library", "remove", "a", "b c", "--json", "--library", "s3://bucket/mine"]) == 0
    assert json.loads(capsys.readouterr().out) == {"removed": ["a", "b c"]} and seen[0].library == "s3://bucket/mine"
    for words in (["library"], ["library", "nonsense"], ["library", "remove", "a", "--versions"]):
        assert main([*words, "--json"]) == 2
        assert json.loads(capsys.readouterr().out)["error"]["type"] == "UsageError"
    for word in COMMANDS["library"].words:
        assert main(["library", word, "--help"]) == 0
        assert f"usage: scenewise library {word}" in capsys.readouterr().out


def test_a_record_may_say_that_a_part_failed(replace_work, capsys):
    @dataclass(frozen=True)
    class Part:
        done: int
        exit_code = 2

    replace_work("eval", lambda options, progress: Part(3))
    assert main(["eval", "a", "--json"]) == 2
    assert json.loads(capsys.readouterr().out) == {"done": 3}


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip().count(".") == 2


def test_doctor_reports_this_machine(capsys):
    assert main(["doctor", "--json"]) == 0
    diagnosis = json.loads(capsys.readouterr().out)
    versions = {package["name"]: package["version"] for package in diagnosis["packages"]}
    needed = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    assert {re.split(r"[^\w-]", package)[0] for package in needed} <= set(versions)
    assert versions["torch"] is not None and diagnosis["cores"][1] >= 1
    assert isinstance(diagnosis["native_library"]["reason"], str)
    kernels = {"splats", "ssim", "adam", "ray_casting", "anchor_decoder", "march", "sparse_conv"}
    assert {kernel["kernel"] for kernel in diagnosis["kernels"]} == kernels
    assert main(["doctor"]) == 0
    assert "Kernels" in capsys.readouterr().out


def test_doctor_says_when_the_slow_kernels_run_and_what_to_do(tmp_path: Path):
    said = tmp_path / "said"
    assert run_process(run_command_line, ["doctor", "--json"], said, {"SCENEWISE_ISA": "reference"}) == 0
    diagnosis = json.loads(said.read_text())
    assert {kernel["backend"] for kernel in diagnosis["kernels"]} <= {"reference", "gsplat"}
    assert diagnosis["native_library"]["loaded"] is False
    assert any("SCENEWISE_ISA=reference" in problem and "Fix:" in problem for problem in diagnosis["problems"])

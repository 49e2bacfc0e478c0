"""``eval-2d``: teachers whose figures are known, going on after an interruption, the command line."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.support.fabricated_segmentation import HEIGHT, WIDTH, fabricate, image_path, truth

from scenewise.cli.main import main
from scenewise.commands.evaluate_2d.options import Evaluate2dOptions, SegmentationBenchmark
from scenewise.commands.evaluate_2d.run import Evaluation2d, evaluate_2d
from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.segmentation_datasets import SEGMENTATION_DATASETS
from scenewise.io.teacher_files import TeacherAnswer, TeacherFilesInfo, write_answer, write_teacher_info
from scenewise.scenes.dense_fields import DenseField
from scenewise.scenes.vocabularies import Vocabulary

ALL = list(SEGMENTATION_DATASETS)


def said(name: str, index: int, mistake: str) -> np.ndarray:
    """Class ids a stand-in gives for image ``index``; also where the truth does not count."""
    labels = truth(name, index)
    labels[-1] = labels[0]
    left, right = int(labels[0, 0]), int(labels[0, -1])
    if mistake == "swapped" and index == 0:
        return left + right - labels
    if mistake == "all right" and index == 0:
        return np.full_like(labels, right)
    return labels


@dataclass
class StandIn:
    """Says the truth, or a mistake in the first image: features that are one-hot over the phrases."""

    dataset: str
    mistake: str = "none"
    stop_at: int | None = None
    fingerprint: str = "1"
    name: str = "stand-in"
    logit_scale: float = 100.0
    licence: str | None = None
    asked: list[str] = field(default_factory=list)

    def dense(self, image: np.ndarray, frame_name: str) -> DenseField | None:
        assert image.shape == (HEIGHT, WIDTH, 3)
        index = int(image[0, 0, 0] > 100)
        if index == self.stop_at:
            raise KeyboardInterrupt
        self.asked.append(frame_name)
        words = SEGMENTATION_DATASETS[self.dataset].vocabulary()
        # The last phrase of a class, so that classes with many phrases are found by any of them.
        last = np.searchsorted(words.class_of_query, np.arange(len(words)), side="right") - 1
        return DenseField(
            np.eye(len(words.queries), dtype=np.float32)[last[said(self.dataset, index, self.mistake)]], HEIGHT, WIDTH
        )

    def embed_text(self, phrases: Sequence[str], templates: Sequence[str]) -> np.ndarray:
        assert list(templates) == ["a drawing of a {}"]
        return np.eye(len(phrases), dtype=np.float32)

    def default_templates(self) -> tuple[str, ...]:
        return ("a drawing of a {}",)

    def vocabulary(self) -> Vocabulary | None:
        return None


def run(name: str, root: Path, teacher: StandIn | None = None, **options: object) -> Evaluation2d:
    return evaluate_2d(Evaluate2dOptions(name, root, **options), teacher=StandIn(name) if teacher is None else teacher)


@pytest.mark.parametrize("name", ALL)
def test_a_teacher_that_knows_the_truth_has_a_hundred_per_cent(name: str, tmp_path: Path):
    result = run(name, fabricate(name, tmp_path))
    assert (result.miou, result.macc, result.all_accuracy, result.fwiou, result.coverage) == (1.0, 1.0, 1.0, 1.0, 1.0)
    assert (result.images, result.of_images, result.without_answer) == (2, 2, 0)
    assert sum(row["pixels"] for row in result.classes) == 2 * 5 * WIDTH  # the last row of six does not count
    assert result.prompts == ("a drawing of a {}",) and result.settings["rules"]["logit_scale"] in (40, 50, 55)


@pytest.mark.parametrize("name", ALL)
def test_known_mistakes_have_the_figures_computed_by_hand(name: str, tmp_path: Path):
    # Image one: 25 pixels of the left class, 15 of the right one; image two: 30 and 10 of two other classes, all right.
    root = fabricate(name, tmp_path)
    swapped = run(name, root, StandIn(name, "swapped"))
    assert swapped.miou == pytest.approx((0 + 0 + 1 + 1) / 4) and swapped.all_accuracy == pytest.approx(40 / 80)
    all_right = run(name, root, StandIn(name, "all right"))
    assert all_right.miou == pytest.approx((0 + 15 / 40 + 1 + 1) / 4)
    assert all_right.macc == pytest.approx((0 + 1 + 1 + 1) / 4) and all_right.all_accuracy == pytest.approx(55 / 80)
    assert all_right.fwiou == pytest.approx((15 * 15 / 40 + 30 + 10) / 80)


def test_weak_pixels_and_small_areas_become_background_where_the_data_set_says_so(tmp_path: Path):
    class Unsure(StandIn):
        def dense(self, image: np.ndarray, frame_name: str) -> DenseField | None:
            sure = super().dense(image, frame_name)
            return None if sure is None else DenseField(0.02 * sure.values, HEIGHT, WIDTH)

    root = fabricate("voc21", tmp_path)
    # One-hot features of length 0.02 at scale 50 over 51 phrases: e/(e + 50) = 0.05, below the threshold of 0.15.
    result = run("voc21", root, Unsure("voc21"))
    assert {row["name"] for row in result.classes if row["predicted_pixels"]} == {"background"}
    assert result.miou == pytest.approx((25 / 80 + 0 + 0 + 0) / 4)
    # Without a background the best class stays, however weak.
    assert run("voc20", fabricate("voc20", tmp_path / "voc20"), Unsure("voc20")).miou == 1.0


def test_refinements_of_the_paper_change_the_figures_only_when_asked(tmp_path: Path):
    class Doubtful(StandIn):
        """Says the truth, and of the first image's left pixels something less sure that is nowhere probable."""

        def dense(self, image: np.ndarray, frame_name: str) -> DenseField | None:
            sure = super().dense(image, frame_name)
            values = sure.values.copy()
            if image[0, 0, 0] < 100:
                values[:, 0] = 0.0
                values[:, 0, -1] = 0.05  # e^2 of 19 + e^2 at scale 40 is 0.28: the last class wins
            return DenseField(values, HEIGHT, WIDTH)

    root, out = fabricate("voc20", tmp_path / "data"), tmp_path / "out"
    plain, same = (run("voc20", root, Doubtful("voc20"), **options) for options in ({"out": out}, {"pamr": 0}))
    predicted = [[row["predicted_pixels"] for row in result.classes] for result in (plain, same)]
    assert predicted[0] == predicted[1] and plain.all_accuracy == pytest.approx(75 / 80)
    assert "prompt_denoising" not in plain.settings["rules"] and "pamr" not in plain.settings["rules"]
    denoised = run("voc20", root, Doubtful("voc20"), prompt_denoising=0.5)
    assert denoised.settings["rules"]["prompt_denoising"] == 0.5
    assert plain.classes[-1]["predicted_pixels"] - denoised.classes[-1]["predicted_pixels"] == 5
    refined = run("voc20", root, Doubtful("voc20"), pamr=3)
    assert refined.settings["rules"]["pamr"] == 3
    assert [row["predicted_pixels"] for row in refined.classes] != predicted[0]
    with pytest.raises(ConventionError, match="the same rules"):
        run("voc20", root, Doubtful("voc20"), out=out, pamr=3)


def test_an_interrupted_run_goes_on_with_the_image_it_stopped_at(tmp_path: Path):
    root, out = fabricate("ade20k", tmp_path / "data"), tmp_path / "out"
    unbroken = run("ade20k", root, StandIn("ade20k", "all right"), out=tmp_path / "unbroken")
    with pytest.raises(KeyboardInterrupt):
        run("ade20k", root, StandIn("ade20k", "all right", stop_at=1), out=out)
    assert not (out / "results.json").exists()
    with (out / "images.jsonl").open("a") as file:
        file.write('{"event": "image", "ima')  # torn by the interruption
    teacher = StandIn("ade20k", "all right")
    resumed = run("ade20k", root, teacher, out=out)
    assert teacher.asked == ["ADE_val_00000002.jpg"]
    for figure in ("miou", "macc", "all_accuracy", "fwiou", "coverage", "images", "settings"):
        assert getattr(resumed, figure) == getattr(unbroken, figure)
    written = [json.loads((folder / "results.json").read_text()) for folder in (out, tmp_path / "unbroken")]
    assert written[0]["classes"] == written[1]["classes"]
    counts = load_file(out / "confusion.safetensors")["counts"]
    assert counts.shape == (150, 151) and counts.sum() == 80 and counts[0, 12] == 25
    finished = StandIn("ade20k", "all right")
    run("ade20k", root, finished, out=out)
    assert finished.asked == []


def test_a_limit_takes_the_first_images_and_more_may_follow(tmp_path: Path):
    root, out = fabricate("cityscapes", tmp_path / "data"), tmp_path / "out"
    first = run("cityscapes", root, out=out, limit=1)
    assert (first.images, first.of_images) == (1, 2) and "1 images of 2: a figure for a look" in first.text()
    teacher = StandIn("cityscapes")
    assert run("cityscapes", root, teacher, out=out).images == 2
    assert teacher.asked == ["munster/munster_000001_000019_leftImg8bit.png"]


def test_results_of_other_settings_are_not_mixed(tmp_path: Path):
    root, out = fabricate("voc20", tmp_path / "data"), tmp_path / "out"
    run("voc20", root, out=out)
    with pytest.raises(
        ConventionError, match=r"expected the same rules as now, got another\. Fix: choose another --out, or start"
    ):
        run("voc20", root, out=out, logit_scale=100.0)
    with pytest.raises(ConventionError, match="the same fingerprint as now"):
        run("voc20", root, StandIn("voc20", fingerprint="2"), out=out)
    teacher = StandIn("voc20", fingerprint="2")
    run("voc20", root, teacher, out=out, overwrite=True)
    assert len(teacher.asked) == 2
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").touch()
    for overwrite in (False, True):
        with pytest.raises(DataFormatError, match="a folder with other content"):
            run("voc20", root, out=tmp_path / "photos", overwrite=overwrite)


def test_damaged_results_are_named(tmp_path: Path):
    root, out = fabricate("voc20", tmp_path / "data"), tmp_path / "out"
    run("voc20", root, out=out)
    (out / "images.jsonl").write_text('{"event": "image", "image": "2007_000033", "counts": [[0, 99, 1]], "answered": true}\n')
    with pytest.raises(DataFormatError, match=r"images\.jsonl: image 2007_000033: expected its counts.*--overwrite"):
        run("voc20", root, out=out)


def teacher_folder(folder: Path, name: str, images: Sequence[int], classes: Sequence[str]) -> Path:
    info = TeacherFilesInfo("labels", len(classes), classes=tuple(classes))
    write_teacher_info(folder, info)
    names = SEGMENTATION_DATASETS[name].vocabulary().names
    for index in images:
        ids = np.array([classes.index(names[label]) for label in said(name, index, "none").ravel()], dtype=np.int32)
        file = image_path(name, Path(), index).name
        write_answer(folder, file, info, TeacherAnswer(labels=ids.reshape(HEIGHT, WIDTH)))
    return folder


def test_the_command_with_a_teacher_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = fabricate("voc21", tmp_path / "data")
    classes = ["tvmonitor", "sofa", "background", "person", "bird", "boat", "zebra", "bicycle", "cat"]
    folder = teacher_folder(tmp_path / "teacher", "voc21", [0], classes)
    command = ["eval-2d", "voc21", str(root), "--teacher", f"files:{folder}", "--out", str(tmp_path / "out")]
    assert main([*command, "--json"]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    # Image one is right; the teacher has no file for image two, whose 30 boats and 10 monitors are errors.
    assert result["miou"] == pytest.approx((1 + 1 + 0 + 0) / 4) and result["coverage"] == pytest.approx(40 / 80)
    assert result["without_answer"] == 1 and result["read_out"] is None and result["prompts"] == []
    assert "has no class for aeroplane, bottle, " in captured.err
    assert [figure["miou"] for figure in result["published"]][:2] == [0.5963, 0.6407]
    assert [figure["checked"] for figure in result["published"]] == [True, True, False]
    assert result == json.loads((tmp_path / "out" / "results.json").read_text())
    assert main(command) == 0
    text = capsys.readouterr().out
    assert (
        "1 images without an answer" in text and "published: SC-CLIP, CLIP ViT-B/16: mIoU 64.6 (from memory, unchecked)" in text
    )


def test_classes_that_a_fixed_list_does_not_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    root = fabricate("cityscapes", tmp_path / "data")
    info = TeacherFilesInfo("labels", 2, classes=("sofa", "lamp"))
    write_teacher_info(tmp_path / "teacher", info)
    teacher = ["--teacher", f"files:{tmp_path / 'teacher'}"]
    assert main(["eval-2d", "cityscapes", str(root), *teacher]) == 2
    assert "expected one for some of the 2 images, got none" in capsys.readouterr().err
    for index in range(2):
        answer = TeacherAnswer(labels=np.zeros((2, 2), dtype=np.int32))
        write_answer(tmp_path / "teacher", image_path("cityscapes", Path(), index).name, info, answer)
    assert main(["eval-2d", "cityscapes", str(root), *teacher]) == 2
    assert "expected some of them among its own: sofa, lamp, got not road, sidewalk" in capsys.readouterr().err


def test_a_missing_folder_is_reported_before_the_teacher_is_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["eval-2d", "coco_stuff", str(tmp_path / "none"), "--teacher", "nobody/nothing"]) == 2
    error = capsys.readouterr().err
    assert "images/val2017/[…/]NAME.jpg and annotations/val2017/[…/]NAME_labelTrainIds.png" in error and "nobody" not in error


def test_options_name_the_data_sets_that_exist_and_check_themselves():
    assert set(get_args(SegmentationBenchmark)) == set(SEGMENTATION_DATASETS)
    for wrong, message in (
        ({"limit": 0}, "--limit: expected 1 or more"),
        ({"logit_scale": 0.0}, "--logit-scale: expected above 0"),
        ({"prompt_denoising": 1.5}, r"--prompt-denoising: expected a number in \[0, 1\], got 1.5"),
        ({"prompt_denoising": float("nan")}, "--prompt-denoising"),
        ({"pamr": -1}, "--pamr: expected 0 to 1000 steps, got -1"),
        ({"text_from": "some/clip"}, "--text-from: expected --teacher files:DIR, got small-clip"),
    ):
        with pytest.raises(ConventionError, match=message):
            Evaluate2dOptions("voc21", Path(), **wrong)


def test_a_hugging_face_clip_with_a_read_out(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("transformers")
    from tests.support.tiny_models import save_tiny_clip

    from scenewise.teachers.text_encoders import PromptEnsembleEncoder

    def embed_text(self: object, phrases: Sequence[str], templates: Sequence[str]) -> np.ndarray:
        return np.random.default_rng(0).normal(size=(len(phrases), 16)).astype(np.float32)  # thousands of prompts take long

    monkeypatch.setattr(PromptEnsembleEncoder, "embed_text", embed_text)

    save_tiny_clip(tmp_path / "clip")  # trained on 32 pixels: windows of 32 every 16 on images 48 high, 80 for Cityscapes
    results = {}
    for name, short_side in (("voc20", 48), ("cityscapes", 80)):
        root = fabricate(name, tmp_path / name)
        assert main(["eval-2d", name, str(root), "--teacher", str(tmp_path / "clip"), "--read-out", "maskclip", "--json"]) == 0
        results[name] = result = json.loads(capsys.readouterr().out)
        assert result["read_out"] == "maskclip" and len(result["prompts"]) == 80 and result["coverage"] == 1.0
        shown = result["settings"]["teacher_settings"]
        assert shown["resize"]["short_side"] == short_side and (shown["windows"]["crop"], shown["windows"]["stride"]) == (32, 16)
    assert results["voc20"]["settings"]["fingerprint"] != results["cityscapes"]["settings"]["fingerprint"]


def test_the_embedded_teacher_says_which_words_it_does_not_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["eval-2d", "voc20", str(fabricate("voc20", tmp_path))]) == 2
    assert "aeroplane" in capsys.readouterr().err

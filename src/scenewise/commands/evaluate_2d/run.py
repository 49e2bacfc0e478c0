"""``scenewise eval-2d``: what a 2D teacher is worth on a data set with labels.

Protocol of training-free open-vocabulary segmentation as SC-CLIP's release runs it (Bai et al. 2024, arXiv 2411.15869): cosines
with all phrases of all classes, brought to the pixels; softmax of logit_scale·cosine over all phrases; a class has the largest
of its phrases; classes with too small an area are dropped where the data set says so; the best class; background where even that
is improbable; one confusion matrix over all images.

A folder of results holds ``settings.json`` (what figures depend on), ``images.jsonl`` (a line per finished image with its part of
the confusion matrix, from which an interrupted run goes on), and at the end ``results.json`` and ``confusion.safetensors``.
"""

import dataclasses
import json
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from jaxtyping import Int64

from scenewise.commands.evaluate_2d.options import Evaluate2dOptions
from scenewise.engine.journal import Journal, read_journal
from scenewise.engine.memory import peak_resident_bytes
from scenewise.engine.progress import NullProgress, Progress
from scenewise.engine.threads import torch_threads
from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.atomic import atomic_write_bytes, atomic_write_json, disk_errors
from scenewise.io.json_fields import read_json_object
from scenewise.io.json_values import json_ready
from scenewise.io.listed_files import visible
from scenewise.io.segmentation_datasets import SEGMENTATION_DATASETS, LabelledImages, SegmentationDataset
from scenewise.metrics.segmentation import ConfusionMatrix, SegmentationScores
from scenewise.parts.words.pixel_classes import ClassQuestion, PixelRules, ask_for_classes, classify_pixels
from scenewise.scenes.dense_fields import FieldKind
from scenewise.teachers.protocol import Teacher

SETTINGS_FILE = "settings.json"
IMAGES_FILE = "images.jsonl"
RESULTS_FILE = "results.json"
CONFUSION_FILE = "confusion.safetensors"
_OURS = (SETTINGS_FILE, IMAGES_FILE, RESULTS_FILE, CONFUSION_FILE)
_VERSION = 1


@dataclass(frozen=True)
class Evaluation2d:
    """What ``scenewise eval-2d`` measured.  Shares are of 1, not per cent; null where a figure has no meaning.

    Attributes:
        dataset: name of the data set.
        teacher: as asked for.
        read_out: of the teacher, None where it has no choice.
        images: evaluated images.
        of_images: images of the data set; a figure over fewer compares with nothing published.
        without_answer: images the teacher had nothing for; their pixels count as errors.
        miou: mean IoU over the classes that occur in truth or prediction.
        macc: mean accuracy over the classes that occur in the truth.
        all_accuracy: share of right pixels.
        fwiou: IoU weighted by the classes' share of the truth.
        coverage: share of labelled pixels that were given a class.
        classes: name, phrases, IoU, accuracy and pixels of each class.
        prompts: the templates that phrases were put into.
        settings: everything else figures depend on.
        published: what others report under this protocol; ``checked`` is false where the figure was not read at its source.
        seconds: of the images' evaluation, earlier runs included.
        peak_memory_bytes: of this process.
        out: folder of the results, or None.
    """

    dataset: str
    teacher: str
    read_out: str | None
    images: int
    of_images: int
    without_answer: int
    miou: float
    macc: float
    all_accuracy: float
    fwiou: float
    coverage: float
    classes: tuple[Mapping[str, Any], ...]
    prompts: tuple[str, ...]
    settings: Mapping[str, Any]
    published: tuple[Mapping[str, Any], ...]
    seconds: float
    peak_memory_bytes: int
    out: Path | None

    def text(self) -> str:
        """A table of the classes, the means, and published figures beside them."""
        width = max(len(str(row["name"])) for row in self.classes)
        lines = [f"{'class':<{width}}  {'IoU %':>6}  {'acc %':>6}  {'pixels':>13}"]
        for row in self.classes:
            iou, accuracy = _percent(row["iou"]), _percent(row["accuracy"])
            lines.append(f"{row['name']:<{width}}  {iou:>6}  {accuracy:>6}  {row['pixels']:>13,}")
        part = "" if self.images == self.of_images else f" of {self.of_images}: a figure for a look, not for comparison"
        lines.append(
            f"{self.dataset}, {self.teacher}{'' if self.read_out is None else f', {self.read_out}'}: {self.images} images{part}"
        )
        lines.append(
            f"mIoU {_percent(self.miou)}, mAcc {_percent(self.macc)}, allAcc {_percent(self.all_accuracy)}, "
            f"fwIoU {_percent(self.fwiou)}, coverage {_percent(self.coverage)}"
        )
        if self.without_answer:
            lines.append(f"{self.without_answer} images without an answer of the teacher; their pixels count as errors")
        for figure in self.published:
            doubt = "" if figure["checked"] else " (from memory, unchecked)"
            lines.append(f"published: {figure['method']}, {figure['backbone']}: mIoU {_percent(figure['miou'])}{doubt}")
        return "\n".join(lines)


def evaluate_2d(options: Evaluate2dOptions, progress: Progress | None = None, *, teacher: Teacher | None = None) -> Evaluation2d:
    """Measures a teacher on a data set.

    Args:
        options: see there.
        progress: told about every image.
        teacher: instead of the one the options name.

    Raises:
        DataFormatError: files of the data set or the teacher are missing or damaged, or the folder of results is not one.
        ConventionError: the teacher does not know the classes, or the results in the folder were made with other settings.
        ResourceError: the teacher cannot be reached, or the disk is full.
    """
    progress = NullProgress() if progress is None else progress
    dataset = SEGMENTATION_DATASETS[options.dataset]
    everything = dataset.open(options.root)  # before the teacher: a wrong path should not wait for a download
    images = everything if options.limit is None else everything.first(options.limit)
    with torch_threads(options.threads):
        read_out: str | None = None
        about_teacher: dict[str, Any] = {}
        if teacher is None:
            teacher, read_out, about_teacher = _opened_teacher(options, dataset)
        question = ask_for_classes(teacher, images.vocabulary, _kind(teacher, images))
        if question.unknown_classes:
            progress.warning(
                f"{teacher.name} has no class for {', '.join(question.unknown_classes)}; their pixels can only be errors"
            )
        rules = dataset.settings() | ({} if options.logit_scale is None else {"logit_scale": options.logit_scale})
        rules |= {} if options.prompt_denoising is None else {"prompt_denoising": options.prompt_denoising}
        rules |= {"pamr": options.pamr} if options.pamr else {}
        settings = _settings(dataset, teacher, read_out, question, rules, about_teacher)
        done = {} if options.out is None else _begin(options.out, settings, options.overwrite)
        if done:
            kept = sum(name in done for name in images.names)
            progress.message(f"{kept} of {len(images)} images are kept from before in {options.out}")
        matrix, without_answer, seconds = _run(images, teacher, question, rules, done, options.out, progress)
    evaluation = _evaluation(dataset, len(everything), teacher, read_out, images, question, matrix, settings)
    evaluation = replace(evaluation, without_answer=without_answer, seconds=seconds, out=options.out)
    if options.out is not None:
        _write_results(options.out, evaluation, matrix)
    return evaluation


def _opened_teacher(options: Evaluate2dOptions, dataset: SegmentationDataset) -> tuple[Teacher, str | None, dict[str, Any]]:
    """The teacher the options name, its read-out, and its settings as JSON values."""
    from scenewise.teachers.choose import open_choice
    from scenewise.teachers.clip_teacher import ClipTeacher
    from scenewise.teachers.read_outs import name_of

    teacher = open_choice(options.teacher_choice)
    if not isinstance(teacher, ClipTeacher):
        return teacher, None, {}
    usual = 336  # what a teacher's own size stands for; Cityscapes is shown larger
    resize = teacher.settings.resize
    if dataset.short_side != usual and resize.short_side is not None:
        larger = min(round(resize.short_side * dataset.short_side / usual), resize.long_side)
        teacher = ClipTeacher(teacher.clip, replace(teacher.settings, resize=replace(resize, short_side=larger)))
    about = json_ready({key: value for key, value in dataclasses.asdict(teacher.settings).items() if key != "templates"})
    if not about["key_smoothing"]:
        del about["key_smoothing"]  # results from before it could be chosen go on
    return teacher, name_of(teacher.settings.read_out), about


def _kind(teacher: Teacher, images: LabelledImages) -> FieldKind:
    """Of the teacher's fields; one with a fixed list of classes has to be asked, because it may be of either kind."""
    if teacher.vocabulary() is None:
        return "features"
    for name in images.names:
        field = teacher.dense(images.load_image(name), _frame_name(images, name))
        if field is not None:
            return field.kind
    raise ConventionError(
        f"answers of {teacher.name}", expected=f"one for some of the {len(images)} images", got="none", fix="check the names"
    )


def _frame_name(images: LabelledImages, name: str) -> str:
    """The image's path below the folder of images: what a teacher from files looks for."""
    return (PurePosixPath(name).parent / images.files[name].image.name).as_posix()


def _settings(
    dataset: SegmentationDataset,
    teacher: Teacher,
    read_out: str | None,
    question: ClassQuestion,
    rules: Mapping[str, Any],
    about_teacher: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything the label of a pixel depends on."""
    vocabulary = question.vocabulary
    windows = {"short_side", "long_side", "crop", "stride"}  # the teacher's own say more
    value = {
        "version": _VERSION,
        "dataset": dataset.name,
        "teacher": teacher.name,
        "fingerprint": teacher.fingerprint,
        "read_out": read_out,
        "templates": list(vocabulary.templates) if question.text is not None else [],
        "words": {name: list(phrases) for name, phrases in zip(vocabulary.names, vocabulary.phrases)},
        "rules": {name: value for name, value in rules.items() if name not in windows},
        "teacher_settings": about_teacher,
    }
    return dict(json.loads(json.dumps(value)))


def _begin(out: Path, settings: Mapping[str, Any], overwrite: bool) -> dict[str, Mapping[str, Any]]:
    """Prepares the folder of results; gives the images that are done already, by name.

    Raises:
        DataFormatError: the folder has other content, or its files are damaged.
        ConventionError: it has results of other settings.
    """
    kept = out / SETTINGS_FILE
    if not kept.exists() and out.exists() and (not out.is_dir() or visible(out.iterdir())):
        raise DataFormatError(
            out,
            expected="a new or empty folder, or one that eval-2d has written",
            got="a folder with other content" if out.is_dir() else "a file",
            fix="choose another --out",
        )
    if kept.exists() and not overwrite:
        top = read_json_object(kept)
        before = top.mapping("settings")
        top.finish()
        different = sorted(name for name in before.keys() | settings.keys() if before.get(name) != settings.get(name))
        if different:
            raise ConventionError(
                f"results in {out}",
                expected=f"the same {different[0].replace('_', ' ')} as now",
                got="another",
                fix="choose another --out, or start over with --overwrite",
            )
        return {str(event.get("image")): event for event in read_journal(out / IMAGES_FILE) if event["event"] == "image"}
    for name in _OURS:
        (out / name).unlink(missing_ok=True)
    atomic_write_json(kept, {"settings": settings})
    return {}


def _run(
    images: LabelledImages,
    teacher: Teacher,
    question: ClassQuestion,
    rules: Mapping[str, Any],
    done: Mapping[str, Mapping[str, Any]],
    out: Path | None,
    progress: Progress,
) -> tuple[ConfusionMatrix, int, float]:
    """The confusion matrix over all images, how many had no answer, and the seconds all of them took."""
    names = images.vocabulary.names
    matrix = ConfusionMatrix(names)
    without_answer, seconds = 0, 0.0
    with (
        nullcontext() if out is None else disk_errors(out / IMAGES_FILE),
        nullcontext() if out is None else Journal(out / IMAGES_FILE) as journal,
        progress.stage(f"evaluate {images.dataset}", len(images)) as stage,
    ):
        for name in images.names:
            kept = done.get(name)
            if kept is not None:
                counts, answered, took = _kept(kept, len(names), None if out is None else out / IMAGES_FILE)
            else:
                began = time.monotonic()
                counts, answered = _one(images, name, teacher, question, rules)
                took = time.monotonic() - began
                if journal is not None:
                    rows, columns = np.nonzero(counts)
                    sparse = np.stack([rows, columns, counts[rows, columns]], axis=1)
                    journal.write("image", image=name, answered=answered, seconds=round(took, 3), counts=sparse)
            matrix += ConfusionMatrix.from_counts(names, counts)
            without_answer += not answered
            seconds += took
            stage.advance(mIoU=100.0 * matrix.scores().miou)
    return matrix, without_answer, seconds


def _one(
    images: LabelledImages, name: str, teacher: Teacher, question: ClassQuestion, rules: Mapping[str, Any]
) -> tuple[Int64[np.ndarray, "classes columns"], bool]:
    """Counts of one image, and whether the teacher said anything."""
    image, truth = images.load_image(name), images.load_labels(name)
    field = teacher.dense(image, _frame_name(images, name))
    if field is None:
        prediction = np.full(truth.shape, -1, dtype=np.int32)
    else:
        prediction, _ = classify_pixels(
            field,
            question,
            rules["logit_scale"],
            PixelRules(
                rules["probability_threshold"],
                rules["area_threshold"],
                rules["background"],
                rules.get("prompt_denoising"),
                rules.get("pamr", 0),
            ),
            image,
        )
    matrix = ConfusionMatrix(images.vocabulary.names)
    matrix.update(prediction, truth)
    return matrix.counts, field is not None


def _kept(event: Mapping[str, Any], classes: int, path: Path | None) -> tuple[Int64[np.ndarray, "classes columns"], bool, float]:
    """What the line of a finished image says."""
    counts = np.zeros((classes, classes + 1), dtype=np.int64)
    try:
        sparse = np.array(event["counts"], dtype=np.int64).reshape(-1, 3)
        if sparse.size and int(sparse.min()) < 0:
            raise ValueError("a negative number")
        counts[sparse[:, 0], sparse[:, 1]] = sparse[:, 2]
        return counts, bool(event["answered"]), float(event["seconds"])
    except (KeyError, ValueError, TypeError, IndexError, OverflowError) as error:
        place = f"image {event.get('image')}"
        raise DataFormatError(path or "", place, expected="its counts", got=str(error)[:80], fix="use --overwrite") from error


def _evaluation(
    dataset: SegmentationDataset,
    of_images: int,
    teacher: Teacher,
    read_out: str | None,
    images: LabelledImages,
    question: ClassQuestion,
    matrix: ConfusionMatrix,
    settings: Mapping[str, Any],
) -> Evaluation2d:
    scores = matrix.scores()
    return Evaluation2d(
        dataset=dataset.name,
        teacher=teacher.name,
        read_out=read_out,
        images=len(images),
        of_images=of_images,
        without_answer=0,
        miou=scores.miou,
        macc=scores.macc,
        all_accuracy=scores.all_accuracy,
        fwiou=scores.fwiou,
        coverage=scores.coverage,
        classes=_class_rows(scores, question),
        prompts=tuple(settings["templates"]),
        settings={name: value for name, value in settings.items() if name not in ("templates", "words")},
        published=tuple(dataclasses.asdict(figure) for figure in dataset.published),
        seconds=0.0,
        peak_memory_bytes=peak_resident_bytes(),
        out=None,
    )


def _class_rows(scores: SegmentationScores, question: ClassQuestion) -> tuple[dict[str, Any], ...]:
    return tuple(
        {
            "name": name,
            "phrases": list(phrases),
            "iou": float(iou),
            "accuracy": float(accuracy),
            "pixels": int(true_count),
            "predicted_pixels": int(predicted),
        }
        for name, phrases, iou, accuracy, true_count, predicted in zip(
            scores.names,
            question.vocabulary.phrases,
            scores.iou,
            scores.accuracy,
            scores.true_count,
            scores.predicted_count,
        )
    )


def _write_results(out: Path, evaluation: Evaluation2d, matrix: ConfusionMatrix) -> None:
    from safetensors.numpy import save

    about = {"names": json.dumps(matrix.names, ensure_ascii=False), "rows": "truth", "columns": "prediction, the last one none"}
    atomic_write_bytes(out / CONFUSION_FILE, save({"counts": np.ascontiguousarray(matrix.counts)}, metadata=about))
    atomic_write_json(out / RESULTS_FILE, json_ready(evaluation))


def _percent(value: float) -> str:
    return "–" if value != value else f"{100.0 * value:.1f}"

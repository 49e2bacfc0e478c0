"""``scenewise eval … --data``: names of points against a truth that nothing was trained on."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scenewise.commands.evaluate.options import EvalOptions
from scenewise.engine.devices import compute_device
from scenewise.engine.memory import peak_resident_bytes
from scenewise.engine.progress import NullProgress, Progress
from scenewise.engine.threads import compute_threads
from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.run_folder import is_run_folder
from scenewise.io.scan_data_sets import is_scan_data_set
from scenewise.io.scene_folder import read_scene_labels
from scenewise.io.vocabularies import VOCABULARY_FILE, read_vocabulary
from scenewise.metrics.segmentation import ConfusionMatrix, SegmentationScores
from scenewise.parts.labelfree.prediction import MAX_VOXELS
from scenewise.parts.labelfree.trained_run import TrainedRun, load_run
from scenewise.parts.sources.opening import has_splits, open_scans
from scenewise.parts.sources.raw_scans import ScanSource
from scenewise.parts.sources.truths import truth_of_scan
from scenewise.scenes.vocabularies import Vocabulary


@dataclass(frozen=True)
class NamesSummary:
    """How well points were named; shares of 1.

    Attributes:
        folder: run or scene.
        data: what it was compared with.
        split: which scans, None for a single one.
        scans: how many.
        points: with a truth.
        miou: mean IoU over classes that occur.
        macc: mean accuracy.
        all_accuracy: share of points named right.
        fwiou: IoU weighted by the classes' shares.
        coverage: share of points with a name.
        classes: IoU, accuracy and number of points of each class, null where the truth has none of it.
        seconds: of naming.
        peak_memory_bytes: of this process.
    """

    folder: Path
    data: Path
    split: str | None
    scans: int
    points: int
    miou: float
    macc: float
    all_accuracy: float
    fwiou: float
    coverage: float
    classes: Mapping[str, Mapping[str, Any]]
    seconds: float
    peak_memory_bytes: int

    def text(self) -> str:
        """A table for people."""
        place = f"{self.data}" + (f", split {self.split}" if self.split else "")
        width = max(len(name) for name in self.classes)
        lines = [f"{self.scans} scans of {place}, named in {self.seconds:.1f} s"]
        for name, figures in self.classes.items():
            lines.append(f"  {name:<{width}}  IoU {_percent(figures['iou'])}  of {figures['points']:>10,} points")
        means = (("mIoU", self.miou), ("mAcc", self.macc), ("allAcc", self.all_accuracy), ("coverage", self.coverage))
        lines.append(", ".join(f"{name} {_percent(value).strip()}" for name, value in means))
        return "\n".join(lines)


def _percent(share: float | None) -> str:
    return "    –  " if share is None or math.isnan(share) else f"{100 * share:5.1f} %"


def evaluate_names(options: EvalOptions, progress: Progress | None = None) -> NamesSummary:
    """Names every scan of a data set with a trained network, or takes the names a scene folder has, and compares.

    All original points count; a point without a name is an error of its class; figures come from one confusion matrix.

    Raises:
        ConventionError: no data given, no truth there, or no class in common.
        DataFormatError: run, scene or data cannot be read, or the scene has other points than the scan.
    """
    progress = NullProgress() if progress is None else progress
    if options.data is None:
        raise ConventionError(
            "--data", expected="labelled scans to compare a run with", got="none", fix="--data FOLDER --split test"
        )
    is_run = is_run_folder(options.scene)
    split: str | None = options.split
    if split is None and is_run and has_splits(options.data):  # a scene is one scan, whichever split it belongs to
        split = "test" if is_scan_data_set(options.data) else "val"
    sources = open_scans(options.data, split)
    if not is_run:
        _require_one(sources)
    with compute_threads(options.threads):
        run = load_run(options.scene, compute_device(options.device)) if is_run else None
        vocabulary = run.vocabulary if run is not None else _vocabulary(options.scene)
        _require_common(sources[0], vocabulary)
        matrix = ConfusionMatrix(vocabulary.names)
        seconds = 0.0
        with progress.stage("name scans", len(sources)) as stage:
            for source in sources:
                truth = truth_of_scan(source, vocabulary)
                if truth is None:
                    raise ConventionError(
                        f"truth of {source.name}", expected="a class per point", got="none", fix="name labelled scans"
                    )
                began = time.monotonic()
                said = _scene_names(options.scene, len(truth)) if run is None else _run_names(run, source, options)
                seconds += time.monotonic() - began
                matrix.update(said, truth)
                stage.advance()
    return _summary(options, split, len(sources), matrix.scores(), seconds)


def _vocabulary(folder: Path) -> Vocabulary:
    if not (folder / VOCABULARY_FILE).is_file():
        raise DataFormatError(
            folder,
            expected="a run folder, or a scene folder with labels of points",
            got=f"no {VOCABULARY_FILE}",
            fix="see scenewise predict",
        )
    return read_vocabulary(folder / VOCABULARY_FILE)[0]


def _require_one(sources: Sequence[ScanSource]) -> None:
    if len(sources) != 1:
        raise ConventionError(
            "--data", expected="the scan the scene was made from", got=f"{len(sources)} scans", fix="name the folder of one scan"
        )


def _run_names(run: TrainedRun, source: ScanSource, options: EvalOptions) -> np.ndarray:
    return run.name(source.open(), repeats=options.repeats, max_voxels=MAX_VOXELS).class_ids.astype(np.int64)


def _scene_names(folder: Path, count: int) -> np.ndarray:
    labels = read_scene_labels(folder, "points")
    if labels is None:
        raise DataFormatError(folder, expected="labels of points", got="none", fix="make them with scenewise predict or segment")
    if len(labels) != count:
        raise DataFormatError(folder, "labels of points", expected=f"{count} rows, one per point of the scan", got=len(labels))
    return labels.class_ids.astype(np.int64)


def _require_common(source: ScanSource, vocabulary: Vocabulary) -> None:
    asked = {word.lower() for words in vocabulary.phrases for word in words} | {name.lower() for name in vocabulary.names}
    if not asked & {name.lower() for name in source.class_names}:
        raise ConventionError(
            "classes",
            expected=f"some of the truth's: {', '.join(source.class_names[:6])} …",
            got=", ".join(vocabulary.names[:6]),
            fix="train or segment with the names of the data set's classes",
        )


def _summary(options: EvalOptions, split: str | None, scans: int, scores: SegmentationScores, seconds: float) -> NamesSummary:
    assert options.data is not None
    classes = {
        name: {
            "iou": None if math.isnan(iou) else iou,
            "accuracy": None if math.isnan(accuracy) else accuracy,
            "points": int(count),
        }
        for name, iou, accuracy, count in zip(scores.names, scores.iou.tolist(), scores.accuracy.tolist(), scores.true_count)
    }
    return NamesSummary(
        folder=options.scene,
        data=options.data,
        split=split,
        scans=scans,
        points=scores.count,
        miou=scores.miou,
        macc=scores.macc,
        all_accuracy=scores.all_accuracy,
        fwiou=scores.fwiou,
        coverage=scores.coverage,
        classes=classes,
        seconds=seconds,
        peak_memory_bytes=peak_resident_bytes(),
    )

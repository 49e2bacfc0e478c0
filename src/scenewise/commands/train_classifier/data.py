"""What a classifier of objects learns from, and what it is measured on."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scenewise.commands.train_classifier.options import TrainClassifierOptions
from scenewise.engine.progress import Progress
from scenewise.errors import CaptureWarning, DataFormatError
from scenewise.io.classification.opening import open_classification
from scenewise.methods.condense.classification.objects import ObjectData, ObjectScan, ProceduralObjects, kept_objects
from scenewise.scenes.classified_clouds import ClassifiedClouds
from scenewise.worlds.captures import LICENCE as GENERATED_LICENCE
from scenewise.worlds.object_clouds import object_seeds

_MOST_HELD_OUT = 20
_OBJECTS_PER_HELD_OUT = 4


@dataclass(frozen=True)
class ClassifierSources:
    """Objects of two splits; none is read yet.

    Attributes:
        train: learned from.
        held_out: measured on; None where there are none.
    """

    train: ClassifiedClouds
    held_out: ClassifiedClouds | None


@dataclass(frozen=True)
class ClassifierData:
    """Objects of two splits.

    Attributes:
        train: learned from.
        held_out: measured on; None where there are none.
        held_out_split: its name.
    """

    train: ObjectData
    held_out: ObjectData | None
    held_out_split: str | None

    def report(self) -> dict[str, Any]:
        """What a run's folder says of it."""
        return {
            "objects": len(self.train),
            "classes": list(self.train.class_names),
            "coloured": int(sum(cloud.colors_u8 is not None for cloud in self.train.clouds)),
            "held_out": None if self.held_out is None else {"split": self.held_out_split, "objects": len(self.held_out)},
            "fingerprint": self.train.fingerprint,
        }


def open_sources(options: TrainClassifierOptions) -> ClassifierSources:
    """Finds the objects, before anything is made or deleted.

    Raises:
        DataFormatError: no data set of objects, or an incomplete one.
        MissingDependencyError: h5py (ScanObjectNN) is not installed.
    """
    if options.objects is not None:
        held_out = min(_MOST_HELD_OUT, -(-options.objects // _OBJECTS_PER_HELD_OUT))
        scan = ObjectScan(views=options.views)
        return ClassifierSources(
            ProceduralObjects("train", object_seeds("train", options.objects), scan),
            ProceduralObjects("validation", object_seeds("validation", held_out), scan),
        )
    assert options.data is not None
    train = open_classification(options.data, "train", variant=options.variant, seed=options.seed)
    try:
        test = open_classification(options.data, "test", variant=options.variant, seed=options.seed)
    except DataFormatError as error:
        warnings.warn(CaptureWarning(f"no figures, as the test split cannot be read: {error}"), stacklevel=2)
        return ClassifierSources(train, None)
    if test.class_names != train.class_names:
        got = ", ".join(sorted(set(test.class_names) ^ set(train.class_names))[:5]) or "another order"
        raise DataFormatError(options.data, expected="the same classes in both splits", got=got, fix="unpack it completely")
    return ClassifierSources(train, test)


def classifier_data(sources: ClassifierSources, points: int, progress: Progress) -> ClassifierData:
    """Reads the objects, or makes them.

    Args:
        sources: of :func:`open_sources`.
        points: of each object, at most.
        progress: where to report.

    Raises:
        DataFormatError: a file is damaged.
    """
    train = kept_objects(sources.train, points, progress, title="objects to learn from")
    missing = set(range(len(train.class_names))) - set(np.unique(train.class_ids).tolist())
    if missing:
        names = ", ".join(train.class_names[class_id] for class_id in sorted(missing)[:5])
        warnings.warn(CaptureWarning(f"nothing is learned of {len(missing)} classes without objects: {names}"), stacklevel=2)
    if sources.held_out is None:
        return ClassifierData(train, None, None)
    held_out = kept_objects(sources.held_out, points, progress, title="held-out objects")
    return ClassifierData(train, held_out, sources.held_out.split)


def data_licences(options: TrainClassifierOptions) -> Mapping[str, str | None]:
    """Of the data, by name."""
    if options.objects is not None:
        return {"procedural objects": GENERATED_LICENCE}
    assert options.data is not None
    return {Path(options.data).resolve().name: None}

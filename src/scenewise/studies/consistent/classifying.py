"""Classification of procedural objects: how often a network trained on few of them names others right.

Objects are seen from one place each with noise of 5 mm, as scans of rooms show them.  Every seed has training objects of its
own; all seeds share the test objects, and more objects per class are those of fewer and others.
"""

import time
from dataclasses import dataclass, field, replace
from functools import lru_cache

from scenewise.engine.threads import compute_threads
from scenewise.engine.training import run_steps
from scenewise.errors import ConventionError
from scenewise.methods.condense.classification.objects import ObjectData, ObjectScan, ProceduralObjects, kept_objects
from scenewise.methods.condense.classification.options import OBJECTS, ClassifierConfig
from scenewise.methods.condense.classification.predicting import accuracies, class_probabilities
from scenewise.methods.condense.classification.trainer import ClassifierTrainer, config_of_start
from scenewise.teachers.consistent import open_pair
from scenewise.worlds.designs import OBJECT_CLASSES
from scenewise.worlds.object_clouds import ObjectSplit, object_seeds

MOST_PER_CLASS = 100
"""Training objects of each class and seed of a study; more would be those of the next seed."""
_THREADS = 1


@dataclass(frozen=True)
class ClassifyingSettings:
    """What is measured, and how.

    Attributes:
        config: of every training; chosen on validation objects, from scratch.
        test_per_class: objects that figures are of.
        test_split: which objects; "validation" to choose settings.
        scan: how all objects are seen.
    """

    config: ClassifierConfig = OBJECTS
    test_per_class: int = 30
    test_split: ObjectSplit = "test"
    scan: ObjectScan = field(default_factory=ObjectScan)


USUAL = ClassifyingSettings()


def classification_outcome(
    seed: int,
    per_class_train: int,
    start: str | None = None,
    *,
    frozen: bool = False,
    settings: ClassifyingSettings = USUAL,
) -> dict[str, float]:
    """Trains a classifier and measures it.

    Args:
        seed: of the training objects and of everything random.
        per_class_train: objects of each class that are learned from.
        start: "condense" or "condense:RUN"; None = random weights.
        frozen: the head alone learns.
        settings: of the training and the test.

    Returns:
        "accuracy", "class_mean" and "top3" in per cent on the test objects, "train_accuracy" on those learned from,
        "train_seconds", "parameters_trained" and "parameters_deployed".

    Raises:
        ConventionError: more objects of a class than a seed has.
        DataFormatError, ResourceError: the start cannot be read.
    """
    train, test = training_objects(seed, per_class_train, settings.scan), _test_objects(settings)
    pair = None if start is None else open_pair(start)
    config = config_of_start(replace(settings.config, frozen=frozen), pair)
    with compute_threads(_THREADS):
        trainer = ClassifierTrainer(config, train, seed, start=pair)
        began = time.monotonic()
        run_steps(trainer)
        seconds = time.monotonic() - began
        told, seen = (
            accuracies(
                class_probabilities(trainer.network, data.clouds, scale=config.scale, voxel=config.voxel, points=config.points),
                data,
            )
            for data in (test, train)
        )
    return {
        **{name: 100.0 * share for name, share in told.items()},
        "train_accuracy": 100.0 * seen["accuracy"],
        "train_seconds": seconds,
        "parameters_trained": float(trainer.parameters_trained),
        "parameters_deployed": float(trainer.parameters_deployed),
    }


@lru_cache(maxsize=4)
def training_objects(seed: int, per_class: int, scan: ObjectScan) -> ObjectData:
    """The first so many training objects of each class of those that a seed has for itself.

    Raises:
        ConventionError: it does not have as many.
    """
    if not 1 <= per_class <= MOST_PER_CLASS:
        raise ConventionError("per_class_train", expected=f"1 to {MOST_PER_CLASS}", got=per_class)
    first = seed * MOST_PER_CLASS
    objects = object_seeds("train", first + per_class)[first * len(OBJECT_CLASSES) :]
    return kept_objects(ProceduralObjects("train", objects, scan), scan.points)


def _test_objects(settings: ClassifyingSettings) -> ObjectData:
    return _held_out(settings.test_split, settings.test_per_class, settings.scan)


@lru_cache(maxsize=2)
def _held_out(split: ObjectSplit, per_class: int, scan: ObjectScan) -> ObjectData:
    return kept_objects(ProceduralObjects(split, object_seeds(split, per_class), scan), scan.points)

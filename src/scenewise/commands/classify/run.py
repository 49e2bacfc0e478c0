"""``scenewise classify``: names of single objects from their points."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from scenewise.commands.classify.options import ClassifyOptions
from scenewise.commands.classify.reading import read_object
from scenewise.commands.vocabularies import vocabulary_asked_for
from scenewise.engine.devices import compute_device
from scenewise.engine.progress import NullProgress, Progress, duration_text
from scenewise.engine.threads import compute_threads
from scenewise.io.training_records import CLASSIFIER_RUN, network_at
from scenewise.methods.condense.classification.network_file import TrainedClassifier, read_classifier
from scenewise.methods.condense.classification.zero_shot import WordClassifier
from scenewise.scenes.classified_clouds import ClassifiedCloud
from scenewise.teachers.consistent import ConsistentFeatures, open_consistent


@dataclass(frozen=True)
class Guess:
    """A name for an object.

    Attributes:
        name: of the class.
        probability: in [0, 1]; over all classes they sum to 1.
    """

    name: str
    probability: float


@dataclass(frozen=True)
class NamedObject:
    """What was said of a file.

    Attributes:
        path: of it.
        points: that were looked at, at most.
        has_colors: whether they had colours.
        guesses: the most probable first.
    """

    path: Path
    points: int
    has_colors: bool
    guesses: tuple[Guess, ...]


@dataclass(frozen=True)
class ClassifySummary:
    """What was said of all files.

    Attributes:
        by: who said it: a run, or whose words.
        classes: that were to choose from.
        objects: in the order in which they were asked for.
        seconds: for all of it.
    """

    by: str
    classes: tuple[str, ...]
    objects: tuple[NamedObject, ...]
    seconds: float

    def text(self) -> str:
        """A table for people."""
        width = max(len("object"), *(len(each.path.name) for each in self.objects))
        column = max(len(guess.name) for each in self.objects for guess in each.guesses)
        lines = [f"{'object':<{width}}  most probable of {len(self.classes):,} classes"]
        for each in self.objects:
            told = "  ".join(f"{guess.name:<{column}} {100 * guess.probability:5.1f} %" for guess in each.guesses)
            lines.append(f"{each.path.name:<{width}}  {told}")
        lines.append(f"by {self.by} ({duration_text(self.seconds)})")
        return "\n".join(lines)


def classify(
    options: ClassifyOptions, progress: Progress | None = None, features: ConsistentFeatures | None = None
) -> ClassifySummary:
    """Names the object in each file.

    Args:
        options: see there.
        progress: where to report.
        features: used instead of opening ``options.teacher``.

    Raises:
        DataFormatError: a file that cannot be read, or no trained classifier.
        ConventionError: no classes, words that the teacher does not know, or an object too large for its voxels.
        ResourceError: the teacher cannot be reached, or does not come with the package.
    """
    progress = NullProgress() if progress is None else progress
    began = time.monotonic()
    with compute_threads(options.threads):
        namer = _namer(options, features)
        with progress.stage("read objects", len(options.clouds)) as stage:
            clouds = []
            for path in options.clouds:
                clouds.append(read_object(path, options))
                stage.advance()
        with progress.stage("name objects"):
            rows = namer.probabilities(clouds)
    said = zip(options.clouds, clouds, rows, strict=True)
    objects = tuple(_named(path, cloud, row, namer.classes, options.top) for path, cloud, row in said)
    return ClassifySummary(namer.name, namer.classes, objects, time.monotonic() - began)


def open_classifier(place: Path) -> TrainedClassifier:
    """A trained classifier.

    Args:
        place: a run of ``scenewise train-classifier``, or its file.

    Raises:
        DataFormatError: nothing there, no classifier, or a run that is not finished.
    """
    expected, fix = "a run of scenewise train-classifier, or its file", "name one, or leave --run out"
    return read_classifier(*network_at(place, CLASSIFIER_RUN, expected=expected, fix=fix))


def _namer(options: ClassifyOptions, features: ConsistentFeatures | None) -> TrainedClassifier | WordClassifier:
    """Who names the objects."""
    device = compute_device(options.device)
    if options.run is not None:
        classifier = open_classifier(options.run)
        classifier.network.to(device)
        return classifier
    features = open_consistent(options.teacher, device=str(device)) if features is None else features
    return WordClassifier(features, vocabulary_asked_for(options.classes, features))


def _named(
    path: Path, cloud: ClassifiedCloud, row: Float32[np.ndarray, "classes"], classes: tuple[str, ...], top: int
) -> NamedObject:
    first = np.argsort(-row, kind="stable")[:top]
    guesses = tuple(Guess(classes[class_id], float(row[class_id])) for class_id in first.tolist())
    return NamedObject(path, len(cloud.points_in_object), cloud.colors_u8 is not None, guesses)

"""A trained classifier of objects as one file: weights, sizes, names of classes, and how objects are laid on its grid."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, final, get_args

import numpy as np
from jaxtyping import Float32

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.json_fields import JsonFields
from scenewise.io.tensor_files import half_precision, read_tensors, write_tensors
from scenewise.methods.condense.classification.options import Scale
from scenewise.methods.condense.classification.predicting import class_probabilities
from scenewise.networks.consistent.shape import PointBackbone
from scenewise.networks.object_classifier import ClassifierShape, ObjectClassifier
from scenewise.scenes.classified_clouds import ClassifiedCloud
from scenewise.teachers.network_files import network_of_tensors

_FORMAT = "scenewise object classifier 1"
_KIND = "object_classifier"
_FIX = "the file is damaged, or of another version"
_MOST_POINTS = 1 << 24


@dataclass(frozen=True)
class LearnedClasses:
    """What a network was trained to tell, and how it is shown objects.

    Attributes:
        classes: names.
        scale: "metres" or "extent"; see :class:`~scenewise.methods.condense.classification.options.ClassifierConfig`.
        voxel: edge, in metres or as a share of the extent.
        points: of an object, at most.
        about: data, recipe and figures, JSON values.
    """

    classes: tuple[str, ...]
    scale: Scale
    voxel: float
    points: int
    about: Mapping[str, Any]


@final
class TrainedClassifier:
    """A network ready to use.

    Args:
        network: trained.
        learned: what its outputs mean.
        name: for people.
    """

    def __init__(self, network: ObjectClassifier, learned: LearnedClasses, name: str) -> None:
        self.network, self.learned, self.name = network.eval().requires_grad_(False), learned, name

    @property
    def classes(self) -> tuple[str, ...]:
        """Position = class id."""
        return self.learned.classes

    def probabilities(self, clouds: Sequence[ClassifiedCloud]) -> Float32[np.ndarray, "objects classes"]:
        """Of each object's class; see :func:`~scenewise.methods.condense.classification.predicting.class_probabilities`."""
        learned = self.learned
        return class_probabilities(self.network, clouds, scale=learned.scale, voxel=learned.voxel, points=learned.points)


def write_classifier(path: Path, network: ObjectClassifier, learned: LearnedClasses) -> None:
    """Weights in half precision with everything needed to read them.

    Raises:
        ResourceError: the disk is full or the folder cannot be written.
    """
    described = {"format": _FORMAT, "shape": asdict(network.shape), **asdict(learned)}
    write_tensors(path, half_precision(network.state_dict()), _KIND, described)


def read_classifier(path: Path, name: str | None = None) -> TrainedClassifier:
    """What :func:`write_classifier` wrote; nothing in it is run.

    Args:
        path: the file.
        name: for people; default the file's.

    Raises:
        DataFormatError: missing, damaged, or another format.
    """
    tensors, described = read_tensors(path, _KIND, fix=_FIX)
    shape, learned = _described(path, described)
    network = network_of_tensors(path, tensors, lambda: ObjectClassifier(shape), _FIX)
    return TrainedClassifier(network, learned, path.stem if name is None else name)


def _described(path: Path, described: Mapping[str, Any]) -> tuple[ClassifierShape, LearnedClasses]:
    """The checked description in a file's metadata."""
    top = JsonFields(path, f"metadata {_KIND}", described)
    found = top.text("format", None)
    if found != _FORMAT:
        raise top.wrong("format", _FORMAT, repr(found)[:80])
    sizes = top.object("shape")
    backbone: PointBackbone = sizes.choice("backbone", get_args(PointBackbone))
    try:
        shape = ClassifierShape(
            classes=sizes.integer("classes"),
            backbone=backbone,
            backbone_width=sizes.number("backbone_width"),
            hidden=sizes.integer("hidden"),
        )
    except ConventionError as error:
        expected = "sizes of a classifier"
        raise DataFormatError(path, f"metadata {_KIND}", expected=expected, got=str(error)[:120], fix=_FIX) from error
    sizes.finish()
    scale: Scale = top.choice("scale", get_args(Scale))
    learned = LearnedClasses(
        classes=top.texts("classes"),
        scale=scale,
        voxel=top.number("voxel"),
        points=top.integer("points", minimum=1, maximum=_MOST_POINTS),
        about=top.mapping("about"),
    )
    top.finish()
    if not 0 < learned.voxel < 1000:
        raise top.wrong("voxel", "an edge above 0", learned.voxel)
    if len(learned.classes) != shape.classes:
        raise top.wrong("classes", f"{shape.classes} names", len(learned.classes))
    return shape, learned

"""A pre-trained pair of branches as one file: weights, sizes, and which frozen tower they were trained beside."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.json_fields import JsonFields
from scenewise.io.tensor_files import half_precision, read_tensors, write_tensors
from scenewise.io.training_records import PRETRAINING_RUN
from scenewise.networks.consistent.pair import ConsistentPair
from scenewise.networks.consistent.shape import ConsistentShape, PointBackbone
from scenewise.teachers.network_files import network_of_tensors

FILE = PRETRAINING_RUN.network
"""Name of the file in a run's folder."""
_FORMAT = "scenewise consistent features 1"
_KIND = "consistent_features"
_FIX = "the file is damaged, or of another version"


@dataclass(frozen=True)
class AboutPair:
    """What must be known to use the branches.

    Attributes:
        tower: name of the frozen 2D model, as :func:`scenewise.teachers.choose.open_teacher` takes it.
        tower_fingerprint: of its weights; another tower gives other features.
        prior_dim: of what the translator gives.
        voxel: edge that the 3D branch was trained with, metres.
        picture_width: that the 2D branch was trained with, pixels.
        licence: of the weights.
        about: data, recipe and figures, JSON values.
    """

    tower: str
    tower_fingerprint: str
    prior_dim: int
    voxel: float
    picture_width: int
    licence: str | None
    about: Mapping[str, Any]


@dataclass(frozen=True)
class PairFile:
    """What a file holds.

    Attributes:
        pair: ready to use; gradients are off.
        about: see there.
        fingerprint: of the file.
    """

    pair: ConsistentPair
    about: AboutPair
    fingerprint: str


def write_pair(path: Path, pair: ConsistentPair, about: AboutPair) -> None:
    """Weights in half precision with everything needed to read them.

    Raises:
        ResourceError: the disk is full or the folder cannot be written.
    """
    tensors = half_precision(pair.state_dict())
    write_tensors(path, tensors, _KIND, {"format": _FORMAT, "shape": asdict(pair.shape), **asdict(about)})


def read_pair(path: Path) -> PairFile:
    """What :func:`write_pair` wrote; nothing in it is run.

    Raises:
        DataFormatError: missing, damaged, or another format.
    """
    tensors, described = read_tensors(path, _KIND, fix=_FIX)
    shape, about = _described(path, described)
    try:
        pair = network_of_tensors(path, tensors, lambda: ConsistentPair(shape, about.prior_dim), _FIX)
    except ConventionError as error:
        raise DataFormatError(path, f"metadata {_KIND}", expected="sizes of a pair", got=str(error)[:120], fix=_FIX) from error
    return PairFile(pair.eval().requires_grad_(False), about, hashlib.sha256(path.read_bytes()).hexdigest())


def _described(path: Path, described: Mapping[str, Any]) -> tuple[ConsistentShape, AboutPair]:
    """The checked description in a file's metadata."""
    top = JsonFields(path, f"metadata {_KIND}", described)
    found = top.text("format", None)
    if found != _FORMAT:
        raise top.wrong("format", _FORMAT, repr(found)[:80])
    sizes = top.object("shape")
    numbers = {
        name: sizes.integer(name, minimum=1, maximum=16384) for name in ("dim", "tower_width", "tower_depth", "image_width")
    }
    backbone: PointBackbone = sizes.choice("backbone", get_args(PointBackbone))
    text_dim = sizes.integer("text_dim", None, minimum=1, maximum=16384)
    try:
        shape = ConsistentShape(
            **numbers,
            reads_pixels=sizes.flag("reads_pixels"),
            backbone=backbone,
            backbone_width=sizes.number("backbone_width"),
            text_dim=text_dim,
        )
    except ConventionError as error:
        raise DataFormatError(path, f"metadata {_KIND}", expected="sizes of a pair", got=str(error)[:120], fix=_FIX) from error
    sizes.finish()
    about = AboutPair(
        tower=top.text("tower"),
        tower_fingerprint=top.text("tower_fingerprint"),
        prior_dim=top.integer("prior_dim", minimum=1, maximum=16384),
        voxel=top.number("voxel"),
        picture_width=top.integer("picture_width", minimum=16, maximum=16384),
        licence=top.text("licence", None),
        about=top.mapping("about"),
    )
    if not 0 < about.voxel < 1000:
        raise top.wrong("voxel", "an edge in metres", about.voxel)
    top.finish()
    return shape, about

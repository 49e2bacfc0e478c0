"""Scans beside what a CLIP saw of their things, before it is decided which of the pictures an oracle is shown."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from scenewise.errors import ConventionError
from scenewise.methods.vl_sat.examples import GraphData, GraphExample
from scenewise.methods.vl_sat.options import OracleSettings
from scenewise.methods.vl_sat.pictures import ThingPictures
from scenewise.scenes.graph_scans import GraphScan
from scenewise.teachers.clip_teacher import ClipTeacher
from scenewise.teachers.loaded_clip import LoadedClip
from scenewise.teachers.protocol import Teacher
from scenewise.teachers.resnet_clip import ResNetClipTower
from scenewise.teachers.towers import VisionTower

ThingClip = LoadedClip[VisionTower]
"""A CLIP that can be shown cuts of photographs."""
_USUAL = OracleSettings()


@dataclass(frozen=True)
class SeenScan:
    """A scan, and what a CLIP saw of its things.

    Attributes:
        scan: its things and relations.
        pictures: of its things; None where there are no photographs, or nobody looked at them.
    """

    scan: GraphScan
    pictures: ThingPictures | None = None


def clip_of(teacher: Teacher) -> ThingClip:
    """The CLIP within a teacher.

    Raises:
        ConventionError: it is none, or one whose vision tower is no transformer.
    """
    if not isinstance(teacher, ClipTeacher) or isinstance(teacher.clip.tower, ResNetClipTower):
        raise ConventionError(
            f"teacher {teacher.name}",
            expected="a CLIP or SigLIP with a vision transformer, which can be shown cuts of photographs",
            got="another kind of teacher" if not isinstance(teacher, ClipTeacher) else "a ResNet",
            fix="small-clip, or a Hugging Face id such as openai/clip-vit-base-patch32",
        )
    return teacher.clip


def graph_data_of(
    scans: Sequence[SeenScan],
    classes: Sequence[str],
    predicates: Sequence[str],
    class_text: Float32[np.ndarray, "classes dim"] | None,
    oracle: OracleSettings = _USUAL,
) -> GraphData:
    """Scans as a trainer reads them; scans without photographs count as such in which no thing was seen.

    Args:
        scans: with pictures or without.
        classes: names of things.
        predicates: names of relations.
        class_text: embedding of each class; None without teacher.
        oracle: which pictures of a thing it sees, and how many.
    """
    dim = next((each.pictures.features.shape[2] for each in scans if each.pictures is not None), None)
    examples = []
    for each in scans:
        chosen = None if dim is None else np.zeros((len(each.scan), dim), dtype=np.float32)
        if each.pictures is not None:
            chosen = each.pictures.chosen(oracle.views, oracle.most_views, each.scan.class_ids, class_text)
        examples.append(GraphExample(each.scan, chosen))
    return GraphData(examples, classes, predicates, class_text)

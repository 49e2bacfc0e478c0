"""What ``scenewise segment`` finds, keeps and writes in a scene folder."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from scenewise.commands.segment.element_sets import ElementSet, NamedSet
from scenewise.commands.segment.options import PointsFrom, SegmentOptions
from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.atomic import disk_errors
from scenewise.io.element_features import features_path, write_element_features
from scenewise.io.json_values import fingerprint_of
from scenewise.io.product_kinds import LABELS
from scenewise.io.products import claim, read_mark
from scenewise.io.scene_folder import (
    CLASS_SPLATS_FILE,
    GRAPH_FILES,
    SPLATS_FILE,
    labels_path,
    write_scene_description,
    write_scene_labels,
)
from scenewise.io.scene_outputs import prepare_output
from scenewise.io.vocabularies import VOCABULARY_FILE, write_vocabulary
from scenewise.parts.sources.targets import SpatialTarget
from scenewise.parts.words.lifted_views import Means
from scenewise.scenes.dense_fields import FieldKind
from scenewise.scenes.element_features import ElementFeatures
from scenewise.scenes.elements import ELEMENT_KINDS, ElementKind
from scenewise.scenes.scenes import Scene
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.show.label_pictures import class_palette
from scenewise.teachers.protocol import Teacher

_ROWS = 1 << 14


def prepared_folder(
    options: SegmentOptions, target: SpatialTarget, teacher: Teacher, vocabulary: Vocabulary, points_from: PointsFrom
) -> Path:
    """The folder to write to, made sure of before any work is done.

    Raises:
        ConventionError: no folder was named, or another one than the scene's; other settings than those of the run to resume.
        DataFormatError: the folder is in use, or has labels already.
    """
    own = target.folder
    out = options.out or own
    if out is None:
        raise ConventionError("--out", expected="a folder for the labels", got="none", fix="--out my_scene")
    same = own is not None and out.exists() and out.samefile(own)
    if not same:
        if own is not None:
            raise ConventionError(
                "--out", expected="the scene folder itself", got=out, fix="leave it out: labels belong beside the splats"
            )
        if (out / SPLATS_FILE).exists():
            raise DataFormatError(
                out, expected="a folder without splats", got="a reconstructed scene", fix="segment the scene folder itself"
            )
        prepare_output(out, overwrite=options.overwrite, resume=options.resume)
    elif any(labels_path(out, of).exists() for of in ELEMENT_KINDS) and not (options.overwrite or options.resume):
        raise DataFormatError(
            out, expected="a scene without labels", got="labels", fix="--overwrite replaces them, --resume makes them again"
        )
    settings = _settings(options, target, teacher, vocabulary)
    if points_from != "pictures":  # marks from before there was a choice go on
        settings["points_from"] = points_from
    if options.resume:
        _check_same(out, settings)
    claim(out, LABELS, fingerprint_of(settings), {"settings": settings})
    return out


def _settings(options: SegmentOptions, target: SpatialTarget, teacher: Teacher, vocabulary: Vocabulary) -> dict[str, Any]:
    """What a resumed run must have in common with this one."""
    return {
        "target": [str(path.resolve()) for path in options.target],
        "teacher": teacher.fingerprint,
        "classes": [list(group) for group in zip(vocabulary.names, map(list, vocabulary.phrases))],
        "templates": list(vocabulary.templates),
        "vote": options.vote,
        "partition": options.partition,
        "segments": None if options.segments is None else str(options.segments.resolve()),
        "min_agreement": options.min_agreement,
        "min_confidence": options.min_confidence,
        "prompt_denoising": options.prompt_denoising,
        "frames": [frame.name for frame in target.frames],
        "max_points": options.max_points,
        "seed": options.seed,
    }


def _check_same(folder: Path, settings: Mapping[str, Any]) -> None:
    mark = read_mark(folder, LABELS)
    if mark is None:
        return
    before = mark.mapping("settings")
    different = [key for key in {**settings, **before} if before.get(key) != settings.get(key)]
    if different:
        raise ConventionError(
            "--resume",
            expected="the settings the run was started with",
            got="others: " + ", ".join(different),
            fix="--overwrite starts anew; the teacher's answers are kept and used again where they fit",
        )


def write_named(
    folder: Path,
    sets: Sequence[tuple[ElementSet, NamedSet]],
    scene: Scene,
    vocabulary: Vocabulary,
    features: Mapping[ElementKind, ElementFeatures],
    teacher_name: str,
) -> None:
    """Everything, each file at once; a folder that is read half way has no labels rather than mixed ones.

    Args:
        folder: of the scene.
        sets: elements and what was found about them.
        scene: its description.
        vocabulary: the classes.
        features: of the teacher, by the kind of elements.
        teacher_name: who named them.
    """
    with disk_errors(folder):
        for of in ELEMENT_KINDS:
            labels_path(folder, of).unlink(missing_ok=True)
            features_path(folder, of).unlink(missing_ok=True)
        for name in (CLASS_SPLATS_FILE, *GRAPH_FILES):  # they follow from the labels
            (folder / name).unlink(missing_ok=True)
    write_vocabulary(folder / VOCABULARY_FILE, vocabulary, teacher=teacher_name)
    palette = class_palette(vocabulary.colors_u8)
    for element_set, named in sets:
        element_set.write_painted(folder, named.labels, palette[named.names.class_ids])
        write_element_features(features_path(folder, named.elements.kind), features[named.elements.kind])
    write_scene_description(folder, scene)
    for _, named in sets:
        write_scene_labels(folder, named.elements.kind, named.labels)


def kept_features(means: Means, kind: FieldKind, options: SegmentOptions, teacher: Teacher) -> ElementFeatures:
    """Lifted outputs as they are kept: features as unit vectors, zeros where nothing was seen."""
    sums, weight = means
    values = np.empty(sums.shape, dtype=np.float16)
    for begin in range(0, len(sums), _ROWS):
        rows = sums[begin : begin + _ROWS]
        if kind == "features":
            length = np.linalg.norm(rows, axis=1, keepdims=True)
            rows = rows / np.where(length > 0, length, 1.0)
        values[begin : begin + _ROWS] = rows
    return ElementFeatures(
        values=values,
        weight=weight,
        kind=kind,
        teacher=teacher.name,
        read_out=options.read_out,
        fingerprint=teacher.fingerprint,
        text_from=options.text_from,
        classes=() if kind == "features" else _column_names(sums.shape[1], teacher.vocabulary()),
        key_smoothing=options.key_smoothing,
        read_out_settings=options.teacher_choice.read_out_settings,
    )


def _column_names(columns: int, own: Vocabulary | None) -> tuple[str, ...]:
    if own is not None and len(own) == columns:
        return own.names
    return tuple(f"class {number}" for number in range(columns))


def described_scene(
    target: SpatialTarget, teacher: Teacher, vocabulary: Vocabulary, options: SegmentOptions, found: Mapping[str, Any]
) -> Scene:
    """The scene with what was done to it.

    Args:
        target: what was named.
        teacher: by whom.
        vocabulary: with which words.
        options: how.
        found: what came out of it, JSON values.
    """
    changed = options.teacher_choice.read_out_settings
    record = {
        "teacher": teacher.name,
        "read_out": options.read_out,
        **({"read_out_settings": dict(changed)} if changed else {}),
        "fingerprint": teacher.fingerprint,
        "logit_scale": teacher.logit_scale,
        "key_smoothing": options.key_smoothing,
        "prompt_denoising": options.prompt_denoising,
        "prompts": list(vocabulary.templates),
        "classes": {name: list(words) for name, words in zip(vocabulary.names, vocabulary.phrases)},
        "vote": options.vote,
        "min_agreement": options.min_agreement,
        "min_confidence": options.min_confidence,
        **found,
    }
    origin = target.scene.provenance
    return replace(
        target.scene,
        provenance=replace(origin, config={**origin.config, "segmentation": record}),
        licences={**target.scene.licences, teacher.name: teacher.licence},
    )

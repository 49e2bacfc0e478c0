"""Settings of read-outs that are tried, and how they are chosen on validation rooms."""

import itertools
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np

from scenewise.io.atomic import atomic_write_json
from scenewise.metrics.segmentation import ConfusionMatrix
from scenewise.parts.words.pixel_classes import classify_pixels
from scenewise.studies.arms import digest
from scenewise.studies.read_outs.rooms import HEIGHT, ReplayedPasses, dense_field, question_for, tower_of, views_of
from scenewise.studies.weights import weights_hash
from scenewise.teachers.clip_teacher import ClipTeacher
from scenewise.teachers.preprocessing import ResizeSettings
from scenewise.teachers.read_outs import (
    ClearClipSettings,
    ClipSettings,
    MaskClipSettings,
    NaclipSettings,
    ReadOutSettings,
    ScClipSettings,
    SclipSettings,
    name_of,
)
from scenewise.teachers.windows import WindowSettings
from scenewise.worlds.classes import CLASS_NAMES
from scenewise.worlds.seeds import VALIDATION_SEEDS

Say = Callable[[str], None]
_Settings = TypeVar("_Settings", ScClipSettings, MaskClipSettings)


@dataclass(frozen=True)
class Sizes:
    """How much is run.

    Attributes:
        rooms: per seed.
        views: per room.
        seeds: sets of rooms.
        validation_rooms: settings are chosen on.
        validation_views: of each of them.
        crop_rooms: per seed, for zero-shot naming.
        settings: tried of each read-out, the published one first; None: all.
    """

    rooms: int = 8
    views: int = 10
    seeds: int = 3
    validation_rooms: int = 8
    validation_views: int = 5
    crop_rooms: int = 80
    settings: int | None = None


QUICK = Sizes(rooms=1, views=2, seeds=1, validation_rooms=1, validation_views=1, crop_rooms=4, settings=2)


def grids() -> dict[str, Sequence[ReadOutSettings]]:
    """What is tried for each read-out: the same switches for all, and each one's own parameter; the published setting first."""
    switches = list(itertools.product((False, True), (0.0, 0.2, 0.3, 0.5)))  # keep_ffn, class_residual
    maskclip = [MaskClipSettings()] + [
        MaskClipSettings(keep_residual=residual, keep_ffn=ffn, class_residual=weight)
        for residual in (False, True)
        for ffn, weight in switches
    ]
    clearclip = [ClearClipSettings()] + [
        ClearClipSettings(keep_residual=residual, keep_ffn=ffn, class_residual=weight)
        for residual in (False, True)
        for ffn, weight in switches
    ]
    sclip = [SclipSettings()] + [
        SclipSettings(average=True, keep_residual=residual, keep_ffn=ffn, class_residual=weight)
        for residual in (False, True)
        for ffn, weight in switches
    ]
    naclip = [NaclipSettings()] + [
        NaclipSettings(sigma=sigma, keep_ffn=ffn, class_residual=weight) for sigma in (2.0, 5.0) for ffn, weight in switches
    ]
    sc_clip = [ScClipSettings()]
    tried: tuple[tuple[bool, tuple[Literal["key", "value"], ...], tuple[float, ...]], ...] = (
        (False, ("key", "value"), (0.4, 0.6, 0.8)),
        (True, ("value",), (0.6, 0.8)),
    )
    for two_pass, owns, betas in tried:
        for own, weight, beta in itertools.product(owns, (0.2, 0.3), betas):
            sc_clip.append(ScClipSettings(own_attention=own, keep_ffn=True, class_residual=weight, beta=beta, two_pass=two_pass))
    return {
        "clip": [ClipSettings()],
        "maskclip": maskclip,
        "clearclip": clearclip,
        "sclip": sclip,
        "naclip": naclip,
        "sc_clip": sc_clip,
    }


def choose_settings(teacher: ClipTeacher, sizes: Sizes, cache: Path, say: Say) -> dict[str, tuple[ReadOutSettings, float]]:
    """Per read-out the setting of its grid with the best mIoU on validation rooms, and that mIoU."""
    rooms = [VALIDATION_SEEDS[i] for i in range(sizes.validation_rooms)]
    question, tower = question_for(teacher), tower_of(teacher)
    tried = [(name, settings) for name, options in grids().items() for settings in options[: sizes.settings]]
    key = {"tried": [[name, asdict(settings)] for name, settings in tried], "sizes": asdict(sizes), "weights": weights_hash()}
    path = cache / f"validation_{digest(key)}.json"
    if path.exists():
        mious = json.loads(path.read_text(encoding="utf-8"))
    else:
        matrices = [ConfusionMatrix(CLASS_NAMES) for _ in tried]
        started = time.monotonic()
        for view in views_of(rooms, sizes.validation_views):
            passes = ReplayedPasses(tower)
            for matrix, (_, settings) in zip(matrices, tried):
                field = dense_field(
                    tower, view.image, passes.features_of(settings), teacher.settings.resize, teacher.settings.windows
                )
                matrix.update(classify_pixels(field, question, teacher.logit_scale)[0], view.truth.class_ids)
        mious = [matrix.scores().miou for matrix in matrices]
        atomic_write_json(path, mious)
        say(f"{len(tried)} settings on {len(rooms)} validation rooms in {time.monotonic() - started:.0f} s")
    chosen: dict[str, tuple[ReadOutSettings, float]] = {}
    for (name, settings), miou in zip(tried, mious):
        if name not in chosen or miou > chosen[name][1]:
            chosen[name] = (settings, miou)
    for name, (settings, miou) in chosen.items():
        say(f"validation: {name} {100 * miou:.1f} with {settings}")
    return chosen


def steps_in_turn(tuned: ScClipSettings) -> dict[str, ReadOutSettings]:
    """SC-CLIP's steps added one after the other to the same value path, class residual and FFN."""
    nothing = replace(
        tuned,
        repair=False,
        feature_adjust=False,
        attention_adjust=False,
        output_adjust=False,
        two_pass=False,
        own_attention="value",
    )
    steps: dict[str, ReadOutSettings] = {"sc_clip_0_value_path": nothing}
    current = nothing
    changes: tuple[tuple[str, Mapping[str, Any]], ...] = (
        ("repair", {"repair": True}),
        ("feature_adjust", {"feature_adjust": True}),
        ("attention_adjust", {"attention_adjust": True, "own_attention": tuned.own_attention}),
        ("output_adjust", {"output_adjust": True}),
        ("two_pass", {"two_pass": True}),
    )
    for number, (label, change) in enumerate(changes, start=1):
        current = replace(current, **change)
        steps[f"sc_clip_{number}_{label}"] = current
    return steps


def shown_whole(teacher: ClipTeacher, scale: float | None) -> tuple[ResizeSettings, WindowSettings]:
    """How views are shown: as the teacher does it, or without windows at a multiple of their size."""
    resize, windows = teacher.settings.resize, teacher.settings.windows
    if scale is None:
        return resize, windows
    return replace(resize, short_side=round(HEIGHT * scale)), replace(windows, crop=None)


def choose_whole(teacher: ClipTeacher, read_out: _Settings, sizes: Sizes, cache: Path, say: Say) -> tuple[_Settings, float]:
    """For a view that goes through the tower as a whole: how much of the class token, and how much to enlarge the view.

    A window's class token speaks of a few things, that of a whole view of all of them, so its best weight is another one.
    """
    question, tower = question_for(teacher), tower_of(teacher)
    tried = [(weight, scale) for scale in (1.0, 1.5, 2.0) for weight in (0.1, 0.2, 0.3)]
    key = {"read_out": asdict(read_out), "sizes": asdict(sizes), "weights": weights_hash(), "tried": tried}
    path = cache / f"whole_{digest(key)}.json"
    if path.exists():
        mious = json.loads(path.read_text(encoding="utf-8"))
    else:
        matrices = [ConfusionMatrix(CLASS_NAMES) for _ in tried]
        for view in views_of([VALIDATION_SEEDS[i] for i in range(sizes.validation_rooms)], sizes.validation_views):
            passes: dict[float, ReplayedPasses] = {}
            for matrix, (weight, scale) in zip(matrices, tried):
                replayed = passes.setdefault(scale, ReplayedPasses(tower))
                features = replayed.features_of(replace(read_out, class_residual=weight))
                field = dense_field(tower, view.image, features, *shown_whole(teacher, scale))
                matrix.update(classify_pixels(field, question, teacher.logit_scale)[0], view.truth.class_ids)
        mious = [matrix.scores().miou for matrix in matrices]
        atomic_write_json(path, mious)
    weight, scale = tried[int(np.argmax(mious))]
    say(f"validation, {name_of(read_out)} without windows: {100 * max(mious):.1f} at {scale}x with class residual {weight}")
    return replace(read_out, class_residual=weight), scale

"""How scans of any source become prepared scans, or are found prepared."""

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from scenewise.engine.progress import NullProgress, Progress
from scenewise.errors import CaptureWarning, ConventionError
from scenewise.parts.scans.feature_targets import open_feature_target
from scenewise.parts.scans.preparation import ScanSummary, fingerprint_of_settings, prepare_scan, scan_fingerprint
from scenewise.parts.scans.scan_files import DEFAULT_MEMORY, ScanCache, ScanSet, read_scan
from scenewise.parts.scans.scans import TrainingScan
from scenewise.parts.scans.settings import Instruments, PreparationSettings
from scenewise.parts.sources.raw_scans import ScanSource
from scenewise.parts.words.pixel_classes import ClassQuestion, ask_for_classes, kind_of_answers
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.teachers.protocol import Teacher, Words
from scenewise.teachers.regions.choose import open_region_source

_CODE_DIM = 64


def prepare_data(
    sources: Sequence[ScanSource],
    instruments: Instruments,
    settings: PreparationSettings,
    cache_folder: str | Path = "cache/scans",
    progress: Progress | None = None,
    *,
    words: Words | None = None,
    max_bytes: int = DEFAULT_MEMORY,
) -> ScanSet:
    """Prepares scans, or finds them prepared; what was stopped goes on with the scan it was at.

    Args:
        sources: the scans.
        instruments: who is asked, and for what; see :func:`instruments_of`.
        settings: how, the same that the instruments were opened for.
        cache_folder: where prepared scans are kept, several data sets and settings side by side.
        progress: where to report; silent by default.
        words: embeds the classes where the teacher gives probabilities and has no text; without one, classes get orthonormal
            codes that mean nothing.
        max_bytes: memory for scans that were read.

    Raises:
        ConventionError: no scan, or scans of different inputs.
        DataFormatError, ResourceError: data or disk.
    """
    if not sources:
        raise ConventionError("scans", expected="at least one", got="none")
    teacher, question = instruments.teacher, instruments.question
    if question.unknown_classes:
        warnings.warn(f"{teacher.name} never gives: {', '.join(question.unknown_classes)}", CaptureWarning, stacklevel=2)
    text, text_source = class_embeddings(question, teacher, words)
    cache = ScanCache(cache_folder)
    summaries, fingerprints = _prepared(sources, instruments, settings, cache, NullProgress() if progress is None else progress)
    _check_inputs(summaries)
    shared = fingerprint_of_settings(instruments, settings)
    of_text = hashlib.sha256(np.ascontiguousarray(text).data).hexdigest()
    paths = [cache.path(summary.name, fingerprint) for summary, fingerprint in zip(summaries, fingerprints, strict=True)]

    def load(index: int) -> TrainingScan:
        return read_scan(paths[index]).scan

    about: dict[str, Any] = {
        "teacher": teacher.name,
        "teacher_fingerprint": teacher.fingerprint,
        "regions": None if instruments.regions is None else instruments.regions.name,
        "targets": None if instruments.target is None else instruments.target.name,
        "settings": asdict(settings),
        "classes": {name: list(own) for name, own in zip(question.vocabulary.names, question.vocabulary.phrases, strict=True)},
        "prompts": list(question.vocabulary.templates),
    }
    return ScanSet(
        summaries,
        load,
        question.vocabulary,
        text,
        text_source,
        hashlib.sha256(json.dumps([shared, of_text, fingerprints]).encode()).hexdigest(),
        about,
        max_bytes,
    )


def _prepared(
    sources: Sequence[ScanSource],
    instruments: Instruments,
    settings: PreparationSettings,
    cache: ScanCache,
    progress: Progress,
) -> tuple[list[ScanSummary], list[str]]:
    """What preparing each scan was like, and its fingerprint in the cache."""
    fingerprints: list[str] = []
    summaries: list[ScanSummary] = []
    found = lacking = 0
    with progress.stage("preparing scans", len(sources)) as stage:
        for source in sources:
            raw = source.open()
            fingerprint = scan_fingerprint(raw, instruments, settings)
            summary = cache.find(source.name, fingerprint)
            if summary is None:
                prepared = prepare_scan(raw, instruments, settings, progress, is_alone=len(sources) == 1)
                cache.keep(prepared, fingerprint)
                summary = prepared.summary
            else:
                found += 1
            lacking += len(summary.without_answer)
            fingerprints.append(fingerprint)
            summaries.append(summary)
            stage.advance(1, cached=found, frames_without_answer=lacking)
    return summaries, fingerprints


def instruments_of(
    teacher: Teacher, vocabulary: Vocabulary, settings: PreparationSettings, *, device: str = "cpu"
) -> Instruments:
    """Opens what the settings name.

    Raises:
        ConventionError: words the teacher does not know, or a name of regions or targets that is none.
        ResourceError, DataFormatError, MissingDependencyError: a SAM or files that cannot be used.
    """
    question = ask_for_classes(teacher, vocabulary, kind_of_answers(teacher))
    regions = None if settings.regions is None else open_region_source(settings.regions, device=device)
    target = None
    if settings.targets is not None:
        target = open_feature_target(settings.targets, teacher, regions=regions, device=device)
    return Instruments(teacher, question, regions, target)


def class_embeddings(
    question: ClassQuestion, teacher: Teacher, words: Words | None = None
) -> tuple[Float32[np.ndarray, "classes dim"], str]:
    """A unit embedding per class, the mean over its phrases, and whose it is.

    Where neither the teacher nor ``words`` have text, rows are orthonormal codes from a fixed seed: students can learn the
    classes, but can be asked for no others.
    """
    vocabulary = question.vocabulary
    per_phrase, source = question.text, teacher.name
    if per_phrase is None and words is not None:
        per_phrase, source = words.embed_text(vocabulary.queries, words.default_templates()), words.name
    if per_phrase is None:
        dim = max(_CODE_DIM, len(vocabulary))
        square = np.linalg.qr(np.random.default_rng(0).standard_normal((dim, dim)))[0]
        return np.ascontiguousarray(square[: len(vocabulary)], dtype=np.float32), "orthonormal codes"
    means = np.zeros((len(vocabulary), per_phrase.shape[1]))
    np.add.at(means, vocabulary.class_of_query, per_phrase)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return means.astype(np.float32), source


def _check_inputs(summaries: Sequence[ScanSummary]) -> None:
    kinds = {summary.inputs: summary.name for summary in summaries}
    if len(kinds) > 1:
        (one, first), (other, second), *_ = kinds.items()
        raise ConventionError(
            "inputs of the scans", expected="colours in all, or intensities in all", got=f"{one} in {first}, {other} in {second}"
        )

"""Any network as the teacher: its answers read from files (see :mod:`scenewise.io.teacher_files`)."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float32

from scenewise.errors import ConventionError, DataFormatError, ResourceError
from scenewise.io.atomic import atomic_write_json
from scenewise.io.json_fields import read_json_object
from scenewise.io.teacher_files import (
    TEACHER_FILE,
    TEXT_FILE,
    TeacherAnswer,
    TeacherFilesInfo,
    find_answer,
    read_answer,
    read_teacher_info,
    read_text_embeddings,
    write_answer,
    write_teacher_info,
    write_text_embeddings,
)
from scenewise.scenes.class_colors import class_colors
from scenewise.scenes.dense_fields import DenseField, FieldKind
from scenewise.scenes.frames import ImageU8
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.teachers.protocol import Teacher, Words
from scenewise.teachers.text_encoders import TextEncoder

_MARK_FILE = "export.json"
_MAX_FIELD_BYTES = 4 << 30  # of labels turned into a column per class


@final
class FilesTeacher:
    """A teacher whose answers were computed elsewhere.

    Labels become probabilities of 1.  A confidence scales what it belongs to: a feature that nobody is sure of counts little in a
    mean, a probability leaves the rest to "unknown".

    Args:
        folder: with ``teacher.json`` and a file per frame.
        text_encoder: turns any words into the space of the features; without it only the classes the folder lists are known.

    Raises:
        DataFormatError: the folder is not one of a teacher, or its embeddings do not fit.
    """

    def __init__(self, folder: str | Path, text_encoder: TextEncoder | None = None) -> None:
        self.folder = Path(folder)
        self.info = read_teacher_info(self.folder)
        self._words = FilesWords(self.folder, self.info, text_encoder)
        self._encoder = text_encoder
        self._fingerprint: str | None = None

    @property
    def name(self) -> str:
        """``files:`` and the folder."""
        return f"files:{self.folder}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 over ``teacher.json`` and the names, sizes and times of all files; reading them whole would take too long.

        Words do not enter, because they do not change the answers.
        """
        if self._fingerprint is None:
            digest = hashlib.sha256((self.folder / TEACHER_FILE).read_bytes())
            for path in sorted(self.folder.rglob("*.safetensors")):
                state = path.stat()
                digest.update(f"{path.relative_to(self.folder).as_posix()}|{state.st_size}|{state.st_mtime_ns}\n".encode())
            self._fingerprint = digest.hexdigest()
        return self._fingerprint

    @property
    def logit_scale(self) -> float:
        """As ``teacher.json`` says."""
        return self.info.logit_scale

    @property
    def licence(self) -> str | None:
        """As ``teacher.json`` says."""
        return self.info.licence

    def has(self, frame_name: str) -> bool:
        """Whether there is an answer to a frame."""
        return find_answer(self.folder, frame_name) is not None

    def dense(self, image: ImageU8, frame_name: str) -> DenseField | None:
        """The answer to a frame, or None where there is no file for it.

        Raises:
            DataFormatError: the file is damaged or does not fit ``teacher.json``.
            ResourceError: labels so many and so large that a column per class would not fit into memory.
        """
        path = find_answer(self.folder, frame_name)
        if path is None:
            return None
        answer = read_answer(path, self.info)
        values = self._one_hot(answer, path) if answer.labels is not None else self._scaled(answer)
        kind: FieldKind = "features" if self.info.kind == "features" else "probabilities"
        return DenseField(values, height=image.shape[0], width=image.shape[1], kind=kind)

    def _one_hot(self, answer: TeacherAnswer, path: Path) -> Float32[np.ndarray, "rows columns dim"]:
        labels = answer.labels
        assert labels is not None
        needed = labels.size * self.info.dim * 4
        if needed > _MAX_FIELD_BYTES:
            raise ResourceError(
                f"{path}: memory for {self.info.dim} classes at {labels.shape[1]}×{labels.shape[0]}",
                expected=f"at most {_MAX_FIELD_BYTES / 2**30:.0f} GiB",
                got=f"{needed / 2**30:.1f} GiB",
                fix="store the labels at a lower resolution",
            )
        values = np.zeros((*labels.shape, self.info.dim), dtype=np.float32)
        rows, columns = np.nonzero(labels >= 0)
        sure = 1.0 if answer.confidence is None else answer.confidence[rows, columns]
        values[rows, columns, labels[rows, columns]] = sure
        return values

    def _scaled(self, answer: TeacherAnswer) -> Float32[np.ndarray, "rows columns dim"]:
        values = answer.values
        assert values is not None
        if self.info.kind == "features" and not self.info.unit_means:
            lengths = np.linalg.norm(values, axis=2, keepdims=True)
            values = values / np.where(lengths > 0.0, lengths, np.float32(1.0))
        return values if answer.confidence is None else values * answer.confidence[..., None]

    def embed_text(self, phrases: Sequence[str], templates: Sequence[str]) -> Float32[np.ndarray, "phrases dim"]:
        """Unit embedding per phrase: the text encoder's where there is one, otherwise the row of ``text.safetensors``.

        The rows were made with prompts of their own, so ``templates`` only matter to an encoder.

        Raises:
            ConventionError: the teacher has no text, or does not know a phrase; the message lists what it knows.
        """
        if self.info.kind != "features":
            raise ConventionError(
                f"text for {self.name}",
                expected="a teacher with features",
                got=self.info.kind,
                fix=f"ask for its classes: {_listed(self.info.classes)}",
            )
        return self._words.embed_text(phrases, templates)

    @property
    def words(self) -> "FilesWords | None":
        """A text space for its classes beside what it answers: of the files or of an encoder; None where there is neither."""
        return self._words if self._words.is_known else None

    def default_templates(self) -> tuple[str, ...]:
        """The prompts its text embeddings were made with."""
        return self.info.templates

    def vocabulary(self) -> Vocabulary | None:
        """The classes the folder lists; None where a text encoder understands any words, or nothing is listed."""
        if not self.info.classes or (self._encoder is not None and self.info.kind == "features"):
            return None
        names = self.info.classes
        return Vocabulary(names, tuple((name,) for name in names), self.info.templates, class_colors(len(names)))


@final
class FilesWords:
    """The text that lies beside a teacher's files, or an encoder in its place.

    Args:
        folder: of the files.
        info: what ``teacher.json`` says.
        encoder: turns any words into the text space; without it only the classes the folder lists are known.

    Raises:
        DataFormatError: embeddings that do not fit.
    """

    def __init__(self, folder: Path, info: TeacherFilesInfo, encoder: TextEncoder | None = None) -> None:
        self.folder, self.info = folder, info
        self._rows = read_text_embeddings(folder, info)
        self._encoder = encoder

    @property
    def is_known(self) -> bool:
        """Whether there is any text."""
        return self._encoder is not None or self._rows is not None

    @property
    def name(self) -> str:
        """Whose text space it is: a teacher's, or only that of the files."""
        if isinstance(self._encoder, Words):
            return self._encoder.name
        return self.info.text_space or f"files:{self.folder}"

    def default_templates(self) -> tuple[str, ...]:
        """The prompts the embeddings were or are to be made with."""
        return self._encoder.default_templates() if isinstance(self._encoder, Words) else self.info.templates

    def embed_text(self, phrases: Sequence[str], templates: Sequence[str]) -> Float32[np.ndarray, "phrases dim"]:
        """Unit embedding per phrase: the text encoder's where there is one, otherwise the row of ``text.safetensors``.

        The rows were made with prompts of their own, so ``templates`` only matter to an encoder.

        Raises:
            ConventionError: there is no text, or a phrase is not known; the message lists what is.
        """
        if self._encoder is not None:
            embedded = self._encoder.embed_text(phrases, templates)
            if self.info.kind == "features" and embedded.shape[1] != self.info.dim:
                raise ConventionError(
                    f"text encoder for files:{self.folder}",
                    expected=f"{self.info.dim} numbers per phrase",
                    got=embedded.shape[1],
                    fix=f"use the encoder of the features' text space ({self.info.text_space or 'not named in teacher.json'})",
                )
            return embedded
        if self._rows is None:
            hint = f" or open {self.info.text_space} as its text encoder" if self.info.text_space else ""
            raise ConventionError(
                f"text for files:{self.folder}",
                expected=f"{TEXT_FILE}",
                got="nothing",
                fix=f"write an embedding per class there{hint}",
            )
        index = {_folded(name): row for row, name in enumerate(self.info.classes)}
        unknown = [phrase for phrase in phrases if _folded(phrase) not in index]
        if unknown:
            raise ConventionError(
                f"words for files:{self.folder}",
                expected=f"some of its classes: {_listed(self.info.classes)}",
                got=repr(unknown[0]) + (f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""),
                fix="only these have a text embedding"
                + (f"; {self.info.text_space} knows others" if self.info.text_space else ""),
            )
        return self._rows[[index[_folded(phrase)] for phrase in phrases]]


@dataclass(frozen=True)
class ExportedTeacher:
    """What an export wrote.

    Attributes:
        folder: with ``teacher.json``.
        frames: answers in it, those of an earlier run included.
        skipped: frames the teacher has nothing for.
    """

    folder: Path
    frames: int
    skipped: int


def export_teacher_files(
    folder: str | Path,
    teacher: Teacher,
    frames: Iterable[tuple[str, Callable[[], ImageU8]]],
    *,
    phrases: Sequence[str] = (),
    text_space: str | None = None,
    report: Callable[[str], None] = lambda frame_name: None,
) -> ExportedTeacher:
    """Writes a teacher's answers in the format that :class:`FilesTeacher` reads.

    An export that was stopped goes on where it was; answers of another teacher or with other settings are refused.

    Args:
        folder: to write to.
        teacher: whose answers.
        frames: name and image of each.
        phrases: what to embed as text beside the features; not for teachers with probabilities, which have their own classes.
        text_space: what else understands the features, e.g. a Hugging Face id.
        report: told the name of each frame when it is done.

    Raises:
        ConventionError: no frame, or phrases for a teacher of probabilities.
        DataFormatError: the folder holds something else.
        ResourceError: the disk is full or the folder cannot be written.
    """
    folder = Path(folder)
    mark = folder / _MARK_FILE
    if mark.exists() and _read_export_mark(mark) != _export_mark(teacher, phrases):
        raise DataFormatError(
            folder, expected=f"answers of {teacher.name} as it is now", got="those of another", fix="choose another folder"
        )
    if not mark.exists() and folder.is_dir() and any(folder.iterdir()):
        raise DataFormatError(folder, expected="a new or empty folder", got="a folder with content", fix="choose another name")
    info: TeacherFilesInfo | None = read_teacher_info(folder) if (folder / TEACHER_FILE).exists() else None
    written = skipped = 0
    for frame_name, load_image in frames:
        if info is None or find_answer(folder, frame_name) is None:
            field = teacher.dense(load_image(), frame_name)
            if field is None:
                skipped += 1
                continue
            if info is None:
                info = _begin_export(folder, teacher, field, phrases, text_space)
            write_answer(folder, frame_name, info, TeacherAnswer(values=field.values))
        written += 1
        report(frame_name)
    if info is None:
        raise ConventionError("frames to export", expected="at least one the teacher knows", got="none")
    return ExportedTeacher(folder, written, skipped)


def _export_mark(teacher: Teacher, phrases: Sequence[str]) -> dict[str, object]:
    return {"teacher": teacher.name, "fingerprint": teacher.fingerprint, "phrases": list(phrases)}


def _read_export_mark(path: Path) -> dict[str, object]:
    top = read_json_object(path)
    mark = {"teacher": top.text("teacher"), "fingerprint": top.text("fingerprint"), "phrases": list(top.texts("phrases"))}
    top.finish()
    return mark


def _begin_export(
    folder: Path, teacher: Teacher, field: DenseField, phrases: Sequence[str], text_space: str | None
) -> TeacherFilesInfo:
    vocabulary = teacher.vocabulary()
    templates = tuple(teacher.default_templates()) or ("{}",)
    if field.kind == "probabilities":
        if phrases or vocabulary is None:
            raise ConventionError("phrases", expected="none, because the teacher gives probabilities of its classes", got=phrases)
        classes = vocabulary.names
    else:
        classes = tuple(dict.fromkeys(phrases))
    info = TeacherFilesInfo(
        kind=field.kind,
        dim=field.values.shape[2],
        text_space=text_space,
        classes=classes,
        logit_scale=teacher.logit_scale,
        templates=templates,
        unit_means=field.kind == "features",
        licence=teacher.licence,
    )
    atomic_write_json(folder / _MARK_FILE, _export_mark(teacher, phrases))
    if field.kind == "features" and classes:
        write_text_embeddings(folder, info, teacher.embed_text(classes, templates))
    write_teacher_info(folder, info)
    return info


def _folded(phrase: str) -> str:
    return " ".join(phrase.lower().replace("_", " ").split())


def _listed(names: Sequence[str], most: int = 40) -> str:
    return ", ".join(names[:most]) + (f" … ({len(names)} in all)" if len(names) > most else "") if names else "none"

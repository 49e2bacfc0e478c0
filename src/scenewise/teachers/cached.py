"""A teacher whose answers are kept on disk, by the content of the image and everything that shapes the answer."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float32

from scenewise.errors import DataFormatError, ScenewiseError
from scenewise.io.product_kinds import ANSWER, safe_stem
from scenewise.io.products import Product, drop, files_in, find, keep, of_bytes
from scenewise.scenes.dense_fields import DenseField, FieldKind
from scenewise.scenes.frames import ImageU8
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.teachers.protocol import Teacher

_KINDS = ("features", "probabilities")
_LONGEST_STEM = 80


@final
class CachedTeacher:
    """Asks ``teacher`` once per image and keeps the answer as float16 under ``folder/<fingerprint>/``.

    Answers are rounded to float16 whether they come from the disk or not, so that an interrupted and continued run gets the same
    as an unbroken one.  A damaged file is asked for again.

    Args:
        teacher: whose answers are kept.
        folder: of the cache; several teachers may share it.
        max_bytes: disk space for all of them.  The oldest answers of other fingerprints go first; answers that find no room are
            not kept.  0 keeps none.

    Attributes:
        asked: answers the teacher gave.
        found: answers from the disk.
    """

    def __init__(self, teacher: Teacher, folder: Path, max_bytes: int) -> None:
        self.teacher, self.max_bytes = teacher, max_bytes
        self.root = folder
        self.folder = folder / re.sub(r"[^\w.-]", "_", teacher.fingerprint)[:_LONGEST_STEM]
        self.asked = self.found = 0
        self._of_words: dict[tuple[tuple[str, ...], tuple[str, ...]], Float32[np.ndarray, "phrases dim"]] = {}
        self._bytes = sum(answer.num_bytes for answer in self._kept()) if max_bytes else 0

    @property
    def name(self) -> str:
        return self.teacher.name

    @property
    def fingerprint(self) -> str:
        return self.teacher.fingerprint

    @property
    def logit_scale(self) -> float:
        return self.teacher.logit_scale

    @property
    def licence(self) -> str | None:
        return self.teacher.licence

    def embed_text(self, phrases: Sequence[str], templates: Sequence[str]) -> Float32[np.ndarray, "phrases dim"]:
        """The teacher's, who is asked once for the same words."""
        words = tuple(phrases), tuple(templates)
        if words not in self._of_words:
            self._of_words[words] = self.teacher.embed_text(phrases, templates)
        return self._of_words[words].copy()

    def default_templates(self) -> tuple[str, ...]:
        """The teacher's."""
        return self.teacher.default_templates()

    def vocabulary(self) -> Vocabulary | None:
        """The teacher's."""
        return self.teacher.vocabulary()

    def dense(self, image: ImageU8, frame_name: str) -> DenseField | None:
        """What the teacher says about an image, now or earlier; see the class.

        Raises:
            ResourceError: the disk is full or the folder cannot be written.
        """
        path, key = self._place(image, frame_name)
        kept = find(path, ANSWER, key, _read) if self.max_bytes else None
        if kept is not None:
            self.found += 1
            return kept
        said = self.teacher.dense(image, frame_name)
        if said is None:
            return None
        self.asked += 1
        values = said.values.astype(np.float16)
        self._keep(path, key, said, values)
        return DenseField(values.astype(np.float32), said.height, said.width, said.kind)

    def _place(self, image: ImageU8, frame_name: str) -> tuple[Path, str]:
        """Where the answer is kept, and its fingerprint in the teacher's folder."""
        digest = hashlib.sha256(f"{frame_name}|{image.shape}|".encode())
        digest.update(np.ascontiguousarray(image).data)
        stem = safe_stem(re.sub(r"\.\w{1,5}$", "", frame_name).replace("/", "__"))
        return ANSWER.path(self.folder, stem, digest.hexdigest()), digest.hexdigest()

    def _keep(self, path: Path, key: str, said: DenseField, values: np.ndarray) -> None:
        from safetensors.numpy import save

        if not self.max_bytes:
            return
        about = {"kind": said.kind, "height": str(said.height), "width": str(said.width)}
        data = save({"values": np.ascontiguousarray(values)}, metadata=about)
        if self._bytes + len(data) > self.max_bytes:
            self._make_room(len(data))
        if self._bytes + len(data) <= self.max_bytes:
            keep(path, ANSWER, key, of_bytes(data))
            self._bytes += len(data)

    def _kept(self) -> list[Product]:
        """All answers in the cache, whoever gave them."""
        folders = sorted(folder for folder in self.root.glob("*") if folder.is_dir())
        return [answer for folder in folders for answer in files_in(folder, ANSWER)]

    def _make_room(self, needed: int) -> None:
        others = [answer for answer in self._kept() if answer.path.parent != self.folder]
        for answer in sorted(others, key=lambda answer: (answer.path.stat().st_mtime_ns, answer.path.name)):
            if self._bytes + needed <= self.max_bytes:
                return
            drop(answer)
            self._bytes -= answer.num_bytes


def _read(path: Path) -> DenseField:
    """The answer in a file.

    Raises:
        DataFormatError: there is none that can be used.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            about = file.metadata() or {}
            part = file.get_slice("values")
            if part.get_dtype() != "F16" or len(part.get_shape()) != 3 or about.get("kind") not in _KINDS:
                raise DataFormatError(path, expected="float16 on 3 axes", got=f"{part.get_dtype()} {part.get_shape()}")
            values = file.get_tensor("values").astype(np.float32)
        kind: FieldKind = "features" if about["kind"] == "features" else "probabilities"
        return DenseField(values, int(about["height"]), int(about["width"]), kind)
    except (SafetensorError, OSError, KeyError, ValueError, ScenewiseError) as error:
        raise DataFormatError(path, expected="a teacher's answer", got=str(error)[:120], fix="delete it") from error

"""A teacher whose answers are kept on disk, by the content of the image and everything that shapes the answer."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Float32

from scenewise.errors import ScenewiseError
from scenewise.io.atomic import atomic_write_bytes
from scenewise.scenes.dense_fields import DenseField, FieldKind
from scenewise.scenes.frames import ImageU8
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.teachers.protocol import Teacher

_KINDS = ("features", "probabilities")
_KEY_DIGITS = 16
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
        self._bytes = sum(path.stat().st_size for path in folder.glob("*/*.safetensors")) if max_bytes else 0

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
        """The teacher's."""
        return self.teacher.embed_text(phrases, templates)

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
        path = self._path(image, frame_name)
        kept = _read(path) if self.max_bytes else None
        if kept is not None:
            self.found += 1
            return kept
        said = self.teacher.dense(image, frame_name)
        if said is None:
            return None
        self.asked += 1
        values = said.values.astype(np.float16)
        self._keep(path, said, values)
        return DenseField(values.astype(np.float32), said.height, said.width, said.kind)

    def _path(self, image: ImageU8, frame_name: str) -> Path:
        digest = hashlib.sha256(f"{frame_name}|{image.shape}|".encode())
        digest.update(np.ascontiguousarray(image).data)
        stem = re.sub(r"[^\w.-]", "_", re.sub(r"\.\w{1,5}$", "", frame_name).replace("/", "__"))[-_LONGEST_STEM:]
        return self.folder / f"{stem}-{digest.hexdigest()[:_KEY_DIGITS]}.safetensors"

    def _keep(self, path: Path, said: DenseField, values: np.ndarray) -> None:
        from safetensors.numpy import save

        if not self.max_bytes:
            return
        about = {"kind": said.kind, "height": str(said.height), "width": str(said.width)}
        data = save({"values": np.ascontiguousarray(values)}, metadata=about)
        if self._bytes + len(data) > self.max_bytes:
            self._make_room(len(data))
        if self._bytes + len(data) <= self.max_bytes:
            atomic_write_bytes(path, data)
            self._bytes += len(data)

    def _make_room(self, needed: int) -> None:
        others = [path for path in self.root.glob("*/*.safetensors") if path.parent != self.folder]
        for path in sorted(others, key=lambda path: (path.stat().st_mtime_ns, path.name)):
            if self._bytes + needed <= self.max_bytes:
                return
            size = path.stat().st_size
            path.unlink()
            self._bytes -= size


def _read(path: Path) -> DenseField | None:
    """The answer in a file; None where there is none that can be used."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            about = file.metadata() or {}
            part = file.get_slice("values")
            if part.get_dtype() != "F16" or len(part.get_shape()) != 3 or about.get("kind") not in _KINDS:
                return None
            values = file.get_tensor("values").astype(np.float32)
        kind: FieldKind = "features" if about["kind"] == "features" else "probabilities"
        return DenseField(values, int(about["height"]), int(about["width"]), kind)
    except (SafetensorError, OSError, KeyError, ValueError, ScenewiseError):
        return None

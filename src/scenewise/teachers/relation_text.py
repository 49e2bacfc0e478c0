"""Features of sentences such as "a point cloud of a lamp standing on a table": from the embedded tower, or from any CLIP."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32

from scenewise.errors import ConventionError
from scenewise.io.json_fields import JsonFields
from scenewise.io.tensor_files import half_precision, read_tensors, write_tensors
from scenewise.networks.relation_text import RelationTextNetwork, RelationTextShape
from scenewise.networks.small_clip import FIRST_WORD, token_ids
from scenewise.teachers.network_files import network_of_tensors
from scenewise.teachers.protocol import Words
from scenewise.worlds.captions import words_of
from scenewise.worlds.relation_words import triplet_sentence

__all__ = ["RelationText", "TripletText", "load_relation_text", "open_triplet_text", "read_relation_text", "triplet_sentence"]

FORMAT = "scenewise relation text 1"
KIND = "scenewise"
WEIGHTS = Path(__file__).resolve().parent.parent / "weights" / "relation_text.safetensors"
SMALL, HUB_PREFIX = "small", "hub:"
NAME = "relation-text"
LICENCE = "Apache-2.0"
_MOST = {"depth": 256, "context": 4096, "words": 1 << 20}
_MOST_CHANNELS = 8192
_BATCH = 512


@runtime_checkable
class TripletText(Protocol):
    """A text space for sentences about two things and what is between them."""

    @property
    def name(self) -> str:
        """Whose space it is."""
        ...

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes when the weights do."""
        ...

    @property
    def licence(self) -> str | None:
        """Of the weights, as their source names it; None = unknown."""
        ...

    def embed(self, sentences: Sequence[str]) -> Float32[np.ndarray, "n dim"]:
        """Unit embedding of each sentence.

        Raises:
            ConventionError: a sentence is empty, or holds words that are not known.
        """
        ...


@dataclass(frozen=True)
class RelationLanguage:
    """What the embedded tower was trained on.

    Attributes:
        words: position + ``FIRST_WORD`` = id.
        nouns: what things may be called.
        predicates: what may hold between them.
    """

    words: tuple[str, ...]
    nouns: tuple[str, ...]
    predicates: tuple[str, ...]


@final
class RelationText:
    """The embedded tower with its word list; see :class:`TripletText`.

    Attributes:
        network: the tower.
        language: words it knows.
    """

    def __init__(self, network: RelationTextNetwork, language: RelationLanguage, fingerprint: str = "") -> None:
        self.network = network.eval().requires_grad_(False)
        self.language = language
        self.name, self.licence, self.fingerprint = NAME, LICENCE, fingerprint
        self.dim = network.shape.dim
        self._ids = {word: FIRST_WORD + index for index, word in enumerate(language.words)}

    def token_ids(self, sentence: str) -> list[int]:
        """A sentence as the network reads it.

        Raises:
            ConventionError: no word, one that is not known, or too many.
        """
        words, most = words_of(sentence), self.network.shape.context - 2
        unknown = list(dict.fromkeys(word for word in words if word not in self._ids))
        if unknown or not words:
            raise ConventionError(
                f"the sentence {sentence!r}",
                expected=f"words that {NAME} was trained on: {', '.join(self.language.nouns)}, and {self._between()}",
                got=f"{', '.join(map(repr, unknown))}, which it does not know" if unknown else "no word",
                fix=f'use these words, or a CLIP with "{HUB_PREFIX}", e.g. {HUB_PREFIX}openai/clip-vit-base-patch32',
            )
        if len(words) > most:
            raise ConventionError(f"the sentence {sentence[:60]!r}…", expected=f"at most {most} words", got=len(words))
        return token_ids([self._ids[word] for word in words], self.network.shape.context)

    def _between(self) -> str:
        return ", ".join(self.language.predicates)

    @torch.no_grad()
    def embed(self, sentences: Sequence[str]) -> Float32[np.ndarray, "n dim"]:
        """Unit embeddings; see :class:`TripletText`."""
        ids = [self.token_ids(sentence) for sentence in sentences]
        rows = [
            F.normalize(self.network(torch.tensor(ids[first : first + _BATCH])).float(), dim=-1).numpy()
            for first in range(0, len(ids), _BATCH)
        ]
        return np.concatenate(rows) if rows else np.zeros((0, self.dim), dtype=np.float32)


@final
class ClipTripletText:
    """The text tower of a CLIP; see :class:`TripletText`.

    Args:
        words: its text space.
        fingerprint: of its weights.
        licence: of its weights.
    """

    def __init__(self, words: Words, fingerprint: str, licence: str | None) -> None:
        self._words = words
        self.name, self.fingerprint, self.licence = words.name, fingerprint, licence
        self.dim = len(words.embed_text(["a chair"], ("{}",))[0])

    def embed(self, sentences: Sequence[str]) -> Float32[np.ndarray, "n dim"]:
        """Unit embeddings; see :class:`TripletText`."""
        if not sentences:
            return np.zeros((0, self.dim), dtype=np.float32)
        return self._words.embed_text(sentences, ("{}",))


def open_triplet_text(name: str, *, device: str | None = None, local_files_only: bool = False) -> TripletText:
    """The text space a person asked for.

    Args:
        name: ``small`` (embedded) or ``hub:ID``, where ID is anything that
            :func:`~scenewise.teachers.choose.open_teacher` takes for a CLIP: a Hugging Face id, perhaps with ``@revision``, or a
            folder.
        device: of a CLIP; the embedded tower is so small that it stays on the CPU.
        local_files_only: never ask the network.

    Raises:
        ConventionError: no such name.
        ResourceError, DataFormatError, MissingDependencyError: as :func:`~scenewise.teachers.choose.open_teacher`.
    """
    if name == SMALL:
        return load_relation_text()
    wanted = name.removeprefix(HUB_PREFIX).strip()
    if not name.startswith(HUB_PREFIX) or not wanted:
        raise ConventionError(
            "triplet text", expected=f'"{SMALL}" or "{HUB_PREFIX}ID" with the Hugging Face id of a CLIP', got=repr(name)
        )
    from scenewise.teachers.choose import open_teacher

    teacher = open_teacher(wanted, device=device, local_files_only=local_files_only)
    return ClipTripletText(teacher, teacher.fingerprint, teacher.licence)


def save_relation_text(path: Path, network: RelationTextNetwork, language: RelationLanguage) -> None:
    """Weights in half precision with everything needed to read them, as one safetensors file."""
    about: dict[str, Any] = {"format": FORMAT, "shape": asdict(network.shape)}
    about |= {name: list(values) for name, values in asdict(language).items()}
    write_tensors(path, half_precision(network.state_dict()), KIND, about)


def read_relation_text(path: Path) -> RelationText:
    """A tower from its file; nothing in it is run.

    Raises:
        DataFormatError: missing, damaged, or another format.
    """
    tensors, about = read_tensors(path, KIND, fix="the file is damaged")
    shape, language = _described(path, about)
    network = network_of_tensors(path, tensors, lambda: RelationTextNetwork(shape), "the file is damaged")
    return RelationText(network, language, hashlib.sha256(path.read_bytes()).hexdigest())


def _described(path: Path, about: dict[str, Any]) -> tuple[RelationTextShape, RelationLanguage]:
    """The checked description in a file's metadata."""
    top = JsonFields(path, f"metadata {KIND}", about)
    found = top.text("format", None)
    if found != FORMAT:
        raise top.wrong("format", FORMAT, repr(found)[:80])
    sizes = top.object("shape")
    least = {"context": 3}
    shape = RelationTextShape(
        **{
            each.name: sizes.integer(each.name, minimum=least.get(each.name, 1), maximum=_MOST.get(each.name, _MOST_CHANNELS))
            for each in fields(RelationTextShape)
        }
    )
    sizes.finish()
    if shape.width % shape.heads:
        raise sizes.wrong("heads", f"a divisor of width, {shape.width}", shape.heads)
    language = RelationLanguage(*(top.texts(each.name) for each in fields(RelationLanguage)))
    if len(language.words) != shape.words or len(set(language.words)) != shape.words:
        raise top.wrong("words", f"{shape.words} different words, as the shape says", len(set(language.words)))
    top.finish()
    return shape, language


@cache
def load_relation_text() -> RelationText:
    """The embedded weights."""
    return read_relation_text(WEIGHTS)

"""What every 2D teacher offers."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from scenewise.scenes.dense_fields import DenseField
from scenewise.scenes.frames import ImageU8
from scenewise.scenes.vocabularies import Vocabulary


@runtime_checkable
class Words(Protocol):
    """A text space: what a teacher's classes, or what is learned from it, are compared with."""

    @property
    def name(self) -> str:
        """Whose space it is."""
        ...

    def embed_text(self, phrases: Sequence[str], templates: Sequence[str]) -> Float32[np.ndarray, "phrases dim"]:
        """Unit embedding per phrase; ConventionError where a phrase is not known."""
        ...

    def default_templates(self) -> tuple[str, ...]:
        """The prompts it was made for."""
        ...


@runtime_checkable
class Teacher(Protocol):
    """A source of dense 2D features or class probabilities."""

    @property
    def name(self) -> str:
        """What a person called it: a Hugging Face id, "small-clip", "files:DIR"."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes when weights, read-out or any setting that changes the output does: the key under which outputs are cached."""
        ...

    @property
    def logit_scale(self) -> float:
        """What inner products are multiplied by before the softmax over queries."""
        ...

    @property
    def licence(self) -> str | None:
        """Of its weights or answers, as their source names it ("Apache-2.0"); None = unknown.  Written beside what it named."""
        ...

    def dense(self, image: ImageU8, frame_name: str) -> DenseField | None:
        """Features or probabilities of an image; None when the teacher has nothing for this frame (a missing file)."""
        ...

    def embed_text(self, phrases: Sequence[str], templates: Sequence[str]) -> Float32[np.ndarray, "phrases dim"]:
        """Unit embedding per phrase: every prompt normalised, averaged over the templates, normalised again.

        Raises:
            ConventionError: the teacher knows none of the words of a phrase.
        """
        ...

    def default_templates(self) -> tuple[str, ...]:
        """The prompts this teacher was made for."""
        ...

    def vocabulary(self) -> Vocabulary | None:
        """The classes the teacher was made for, where it has a fixed list; None for an open vocabulary."""
        ...


@runtime_checkable
class PointTeacher(Protocol):
    """A teacher that has something to say of points without any picture of them."""

    def features_of_points(
        self, points: Float32[np.ndarray, "n 3"] | Float64[np.ndarray, "n 3"], colors_u8: UInt8[np.ndarray, "n 3"]
    ) -> Float32[np.ndarray, "n dim"]:
        """Unit feature of each point in the space of the teacher's fields and words.

        Args:
            points: metres, +Z up where that is known.
            colors_u8: sRGB.

        Raises:
            ConventionError: no points.
        """
        ...


@runtime_checkable
class PictureTeacher(Protocol):
    """A teacher that understands a whole picture as it understands words."""

    def embed_image(self, image: ImageU8) -> Float32[np.ndarray, "dim"]:
        """Unit embedding of the picture in the space of the teacher's fields and words."""
        ...

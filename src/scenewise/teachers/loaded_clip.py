"""A CLIP in memory, whatever it was loaded from."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from scenewise.scenes.vocabularies import Vocabulary
from scenewise.teachers.text_encoders import TextEncoder

Tower = TypeVar("Tower", covariant=True)


@dataclass(frozen=True)
class LoadedClip(Generic[Tower]):
    """Both towers.

    Attributes:
        name: what a person called it.
        tower: for images.
        text: for phrases.
        logit_scale: inverse temperature the model was trained to.
        fingerprint: hash of weights and configuration.
        device: where the weights are.
        vocabulary: the words it was trained on, where these are few; None = any word can be asked for.
        licence: of the weights, as their source names it; None = unknown.
    """

    name: str
    tower: Tower
    text: TextEncoder
    logit_scale: float
    fingerprint: str
    device: str
    vocabulary: Vocabulary | None = None
    licence: str | None = None

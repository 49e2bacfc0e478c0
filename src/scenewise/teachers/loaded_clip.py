"""A CLIP in memory, whatever it was loaded from."""

from dataclasses import dataclass
from typing import Generic, TypeVar

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
    """

    name: str
    tower: Tower
    text: TextEncoder
    logit_scale: float
    fingerprint: str
    device: str

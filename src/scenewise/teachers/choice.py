"""Which teacher a person asked for, before anything of it is loaded.  Neither torch nor what imports it may be imported here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class TeacherChoice:
    """A teacher by name, and how it is read.

    Attributes:
        teacher: ``small-clip``, a Hugging Face id or folder of CLIP, SigLIP or DINOv2 (no words), or ``files:DIR``.
        read_out: how dense features are read from it; None takes the method's, or what suits it.
        text_from: for ``files:DIR``, the teacher whose text tower shares the features' space.
        key_smoothing: patches with similar keys share what they say (MaskCLIP).
        device: where it runs; None takes CUDA where there is a device, else the CPU.
        read_out_settings: which of the read-out's published settings are changed, and to what.
        method_read_out: what a method reads vision transformers with; the embedded model and ResNets keep what suits them.
    """

    teacher: str = "small-clip"
    read_out: str | None = None
    text_from: str | None = None
    key_smoothing: bool = False
    device: str | None = None
    read_out_settings: Mapping[str, Any] = field(default_factory=dict)
    method_read_out: str | None = None

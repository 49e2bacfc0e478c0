"""Which teacher a person asked for, before anything of it is loaded.  Neither torch nor what imports it may be imported here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CONSISTENT = "condense"
"""Name of the embedded pair of branches that agree; ``condense:RUN`` is one that ``scenewise pretrain`` has trained."""


def is_consistent(name: str) -> bool:
    """Whether a name is that of a pair of branches that agree."""
    return name.strip().partition(":")[0] == CONSISTENT


@dataclass(frozen=True)
class TeacherChoice:
    """A teacher by name, and how it is read.

    Attributes:
        teacher: ``small-clip``, a Hugging Face id or folder of CLIP, SigLIP or DINOv2 (no words), ``files:DIR``, ``condense`` or
            ``condense:RUN``.
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

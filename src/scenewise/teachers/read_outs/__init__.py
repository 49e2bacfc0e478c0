"""Read-outs: how a vision transformer that was trained on whole images is made to speak about single patches.

Settings can be read without torch; the functions load it on first use.

- ``dense_tokens``: one image batch in, patch features in text space out.
- ``dense_tokens_from_pass``: the same from a pass through the tower that is already there, to compare read-outs cheaply.
"""

from typing import TYPE_CHECKING, Any

from scenewise.teachers.read_outs.settings import (
    READ_OUTS,
    ClearClipSettings,
    ClipSettings,
    MaskClipSettings,
    NaclipSettings,
    ReadOutSettings,
    ScClipSettings,
    SclipSettings,
    name_of,
    read_out_named,
)

if TYPE_CHECKING:
    from scenewise.teachers.read_outs.dense import dense_tokens, dense_tokens_from_pass

__all__ = [
    "READ_OUTS",
    "ClearClipSettings",
    "ClipSettings",
    "MaskClipSettings",
    "NaclipSettings",
    "ReadOutSettings",
    "ScClipSettings",
    "SclipSettings",
    "dense_tokens",
    "dense_tokens_from_pass",
    "name_of",
    "read_out_named",
]


def __getattr__(name: str) -> Any:
    if name in ("dense_tokens", "dense_tokens_from_pass"):
        from scenewise.teachers.read_outs import dense

        return getattr(dense, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

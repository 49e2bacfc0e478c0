"""Settings of every read-out, with the published value as default and its source beside it.

Nothing here imports torch: the command line is built from these records.

Three switches mean the same everywhere.  With x the tokens that enter the last block, c its class token and u what the attention
of the block returns after the output projection: ``keep_residual`` adds x to u, ``class_residual`` w adds w·c, and ``keep_ffn``
then adds MLP(LN2(u)).  Towers without class token ignore ``class_residual``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from scenewise.errors import ConventionError

Detector = Literal["lof", "lof_fast", "norm_topk"]
OwnAttention = Literal["key", "value"]


def _require(condition: bool, argument: str, expected: str, got: object) -> None:
    if not condition:
        raise ConventionError(argument, expected=expected, got=got)


@dataclass(frozen=True)
class ClipSettings:
    """Patch tokens of the ordinary forward pass, last block included: what an image-level model says about its patches."""


@dataclass(frozen=True)
class MaskClipSettings:
    """Value path of the last block, no mixing of tokens (Zhou et al. 2022, arXiv 2112.01071).

    Attributes:
        keep_residual: True in the released ViT code.
        keep_ffn: True in the released ViT code.
        class_residual: 0 in the paper; about 0.5 to 1 with ``keep_residual=False`` suits small models.
    """

    keep_residual: bool = True
    keep_ffn: bool = True
    class_residual: float = 0.0


@dataclass(frozen=True)
class ClearClipSettings:
    """Query-query attention, neither residual nor FFN (Lan et al. 2024, arXiv 2407.12442)."""

    keep_residual: bool = False
    keep_ffn: bool = False
    class_residual: float = 0.0


@dataclass(frozen=True)
class SclipSettings:
    """Sum of query-query and key-key attention in an otherwise ordinary last block (Wang et al. 2023, arXiv 2312.01597).

    Attributes:
        average: halve the sum, so that its rows add to 1.  The paper and its code do not.
        keep_residual: True in the paper.
        keep_ffn: True in the paper.
        class_residual: 0 in the paper.
    """

    average: bool = False
    keep_residual: bool = True
    keep_ffn: bool = True
    class_residual: float = 0.0


@dataclass(frozen=True)
class NaclipSettings:
    """Key-key attention with a Gaussian bonus for near patches (Hajimiri et al. 2024, arXiv 2404.08181, "reduced").

    Attributes:
        sigma: standard deviation of the window in patches; 5 in the paper's code.
        keep_residual: False in the paper.
        keep_ffn: False in the paper.
        class_residual: 0 in the paper.
    """

    sigma: float = 5.0
    keep_residual: bool = False
    keep_ffn: bool = False
    class_residual: float = 0.0

    def __post_init__(self) -> None:
        _require(self.sigma > 0, "NaclipSettings.sigma", "a number above 0", self.sigma)


@dataclass(frozen=True)
class ScClipSettings:
    """Self-calibration by the tower's own middle layers (Bai et al. 2024, arXiv 2411.15869).  Defaults: released ViT-B/16.

    Layers are fractions of the outputs of all blocks but the last, rounded down: of 11 outputs (B/16) they pick indices 8, 3 and
    3 … 9 as released; of 23 (L/14) 17, 6 and 6 … 19; of 5 (six blocks) 3, 1 and 1 … 3.

    Attributes:
        repair: replace anomalous tokens by the mean of their neighbours.
        feature_adjust: aggregate tokens by middle-layer similarity before the last block.
        attention_adjust: mix middle-layer similarity into the attention of the last block.
        output_adjust: aggregate the outputs by early-layer similarity.
        two_pass: add a second pass through the last block, of the sum of the middle layers.
        detector: how anomalies are found; all three flag the same tokens where tokens are clearly anomalous.
        neighbours: k of the local outlier factor; at most all other tokens.
        contamination: share of tokens flagged.
        pre: where the similarity of features and attention is taken from.
        post: where the similarity of outputs is taken from.
        multi_start: first of the layers summed for the second pass.
        multi_end: end (exclusive) of those layers.
        beta: smallest cosine that counts in an aggregation.
        output_beta: the same for the outputs; None for ``beta``, as published.
        gain: of the mean-centred similarity before its softmax.
        class_residual: weight of the class token added to every patch.
        own_attention: "key" as published, K·Kᵀ of the last block; "value" no mixing, which suits small models.
        keep_ffn: False as published; True suits small models.
        centred: subtract the image's mean token before cosines.  Not in the paper.
    """

    repair: bool = True
    feature_adjust: bool = True
    attention_adjust: bool = True
    output_adjust: bool = True
    two_pass: bool = True
    detector: Detector = "lof"
    neighbours: int = 30
    contamination: float = 0.05
    pre: float = 0.75
    post: float = 0.30
    multi_start: float = 0.30
    multi_end: float = 0.91
    beta: float = 0.4
    output_beta: float | None = None
    gain: float = 3.0
    class_residual: float = 0.3
    own_attention: OwnAttention = "key"
    keep_ffn: bool = False
    centred: bool = False

    def __post_init__(self) -> None:
        _require(self.neighbours >= 1, "ScClipSettings.neighbours", "1 or more", self.neighbours)
        _require(0 < self.contamination < 1, "ScClipSettings.contamination", "a share between 0 and 1", self.contamination)
        for name, fraction in (("pre", self.pre), ("post", self.post), ("multi_start", self.multi_start)):
            _require(0 <= fraction < 1, f"ScClipSettings.{name}", "a fraction in [0, 1)", fraction)
        _require(
            self.multi_start < self.multi_end <= 1,
            "ScClipSettings.multi_end",
            f"a fraction above multi_start ({self.multi_start}) and at most 1",
            self.multi_end,
        )
        for name, cosine in (("beta", self.beta), ("output_beta", self.output_beta)):
            _require(cosine is None or 0 <= cosine < 1, f"ScClipSettings.{name}", "a cosine in [0, 1)", cosine)
        _require(self.gain >= 0, "ScClipSettings.gain", "0 or more", self.gain)


ReadOutSettings = ClipSettings | MaskClipSettings | ClearClipSettings | SclipSettings | NaclipSettings | ScClipSettings

READ_OUTS: Mapping[str, ReadOutSettings] = {
    "clip": ClipSettings(),
    "maskclip": MaskClipSettings(),
    "clearclip": ClearClipSettings(),
    "sclip": SclipSettings(),
    "naclip": NaclipSettings(),
    "sc_clip": ScClipSettings(),
}


def read_out_named(name: str) -> ReadOutSettings:
    """The published settings of a read-out.

    Raises:
        ConventionError: there is no such read-out.
    """
    if name not in READ_OUTS:
        raise ConventionError("read-out", expected=f"one of {', '.join(READ_OUTS)}", got=repr(name))
    return READ_OUTS[name]


def read_out_changed(name: str | None, changes: Mapping[str, Any]) -> str | ReadOutSettings | None:
    """What to open a teacher with: a read-out's name, its published settings with some changed, or None for what suits the model.

    Args:
        name: of the read-out, or None.
        changes: values by the names of settings; none of them without a name.

    Raises:
        ConventionError: unknown read-out or setting, or a value that a setting cannot have.
    """
    if not changes or name is None:
        return name
    published = read_out_named(name)
    known = [entry.name for entry in fields(published)]
    unknown = sorted(set(changes) - set(known))
    if unknown:
        raise ConventionError(f"settings of {name}", expected=f"any of {', '.join(known)}", got=", ".join(unknown))
    return replace(published, **changes)


def name_of(settings: ReadOutSettings) -> str:
    """Which read-out settings belong to: part of every fingerprint, since different read-outs share field names."""
    return next(name for name, published in READ_OUTS.items() if type(published) is type(settings))

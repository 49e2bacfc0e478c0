"""Options of ``scenewise convert-weights``."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from scenewise.engine.option_values import OptionalPath


@dataclass(frozen=True)
class ConvertWeightsOptions:
    """Turn a checkpoint in torch's own format into safetensors, without running anything it contains.

    Attributes:
        checkpoint: file with the state dictionary of a CLIP with a ResNet (.pt, .pth, .bin), or a folder in Hugging Face layout
            with pytorch_model.bin.
        out: folder to make; give it to --teacher.
        tokenizer_from: folder with CLIP's tokenizer files, for a single file.
    """

    checkpoint: Positional[Path]
    out: Path
    tokenizer_from: OptionalPath = None

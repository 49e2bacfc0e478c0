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
            with pytorch_model.bin; with lpips_heads, torchvision's VGG16 or AlexNet (.pth).
        out: folder to make, for --teacher; with lpips_heads the .safetensors file to make, for --lpips-weights.
        tokenizer_from: folder with CLIP's tokenizer files, for a single file.
        lpips_heads: file with the linear heads of LPIPS 0.1 (vgg.pth, alex.pth).
    """

    checkpoint: Positional[Path]
    out: Path
    tokenizer_from: OptionalPath = None
    lpips_heads: OptionalPath = None

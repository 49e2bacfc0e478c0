"""DINOv2 vision transformers, with or without registers, through ``transformers``.

Source: Oquab et al. 2023, arXiv 2304.07193; Darcet et al. 2023, arXiv 2309.16588 (registers).  As for CLIPs, nothing is computed
differently from ``transformers``.  A DINOv2 knows pictures alone: its features are in no space of words, and ``head`` is its
last norm.  Registers, tokens that belong to no patch, stand between the class token and the patches: they take part in the
attention and are in no patch grid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.json_fields import read_json_object
from scenewise.networks.sizes_only import sizes_only
from scenewise.teachers.hugging_face import patch_grid
from scenewise.teachers.loaded_clip import LoadedClip
from scenewise.teachers.model_folders import ModelFolder, check_tensor_shapes, find_model_folder, tensor_shapes
from scenewise.teachers.pretrained import load_pretrained, normalisation_of
from scenewise.teachers.towers import LastBlock, TokenPass, VisionTower

DINOV2_TYPES = ("dinov2", "dinov2_with_registers")

_CLASSES = {
    "dinov2": ("Dinov2Config", "Dinov2Model"),
    "dinov2_with_registers": ("Dinov2WithRegistersConfig", "Dinov2WithRegistersModel"),
}
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # of the published processors
_LARGEST_SIDE = 1 << 14
_PREFIXES = ("dinov2.", "dinov2_with_registers.")  # of the tower in a classifier
# Files keep the names of the first release; newer releases of transformers call the same layers otherwise once they are loaded.
_NAMES_IN_FILES = {
    ".attention.q_proj.": ".attention.attention.query.",
    ".attention.k_proj.": ".attention.attention.key.",
    ".attention.v_proj.": ".attention.attention.value.",
    ".attention.o_proj.": ".attention.output.dense.",
    ".mlp.gate_proj.": ".mlp.weights_in.",
    ".mlp.up_proj.": ".mlp.weights_in.",
    ".mlp.down_proj.": ".mlp.weights_out.",
}
_JOINED = (".mlp.gate_proj.", ".mlp.up_proj.")  # one below the other in one tensor


@final
class Dinov2Block:
    """A residual block of a DINOv2; its layer scales are part of ``out`` and ``feed_forward``."""

    def __init__(self, layer: Any, num_heads: int) -> None:
        self._layer, self._heads = layer, num_heads
        attention = layer.attention
        if hasattr(attention, "q_proj"):
            parts = attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj
        else:  # the names of the first release, in transformers itself as well
            inner = attention.attention
            parts = inner.query, inner.key, inner.value, attention.output.dense
        self._query, self._key, self._value, self._out = parts

    @property
    def num_heads(self) -> int:
        return self._heads

    def norm1(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return self._layer.norm1(tokens)

    def query(self, normed: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return self._query(normed)

    def key(self, normed: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return self._key(normed)

    def value(self, normed: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return self._value(normed)

    def out(self, mixed: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return self._layer.layer_scale1(self._out(mixed))

    def feed_forward(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return self._layer.layer_scale2(self._layer.mlp(self._layer.norm2(tokens)))

    def forward(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """The whole block, as ``transformers`` computes it."""
        return self._layer(tokens)


@final
class Dinov2Tower:
    """A ``Dinov2Model`` or ``Dinov2WithRegistersModel``; see :class:`scenewise.teachers.towers.VisionTower`.

    Attributes:
        num_registers: tokens between the class token and the patches.
    """

    has_class_token = True

    def __init__(self, model: Any, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        self._model = model
        config = model.config
        self.depth, self.width, self.dim = config.num_hidden_layers, config.hidden_size, config.hidden_size
        self.patch_size, self.native_size = config.patch_size, config.image_size
        self.num_registers = int(getattr(config, "num_register_tokens", 0))
        self.mean, self.std = mean, std
        self._blocks = tuple(Dinov2Block(layer, config.num_attention_heads) for layer in model.encoder.layer)

    @property
    def blocks(self) -> Sequence[LastBlock]:
        """All blocks; ``blocks[i]`` takes ``hidden[i]``."""
        return self._blocks

    @property
    def last_block(self) -> LastBlock:
        """The parts of the last block."""
        return self._blocks[-1]

    @torch.no_grad()
    def tokens(self, images: Float[Tensor, "batch 3 height width"]) -> TokenPass:
        """All blocks but the last; positions are interpolated as ``transformers`` does it."""
        rows, columns = patch_grid(images, self.patch_size)
        hidden = [self._model.embeddings(images)]
        for block in self._blocks[:-1]:
            hidden.append(block.forward(hidden[-1]))
        return TokenPass(tuple(hidden), rows, columns)

    @torch.no_grad()
    def head(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens dim"]:
        """The last norm."""
        return self._model.layernorm(tokens)

    @torch.no_grad()
    def embed_images(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Unit image-level embeddings: the class token after all blocks and the last norm."""
        class_token = self._blocks[-1].forward(self.tokens(images).hidden[-1])[:, 0]
        return F.normalize(self._model.layernorm(class_token), dim=-1)


@dataclass(frozen=True)
class NoWords:
    """In place of a text tower: says that there is none.

    Attributes:
        name: of the model.
    """

    name: str

    def embed_text(self, phrases: Sequence[str], templates: Sequence[str]) -> Float32[np.ndarray, "phrases dim"]:
        """Refuses.

        Raises:
            ConventionError: always.
        """
        raise ConventionError(
            f"words for {self.name}",
            expected="a teacher that understands words",
            got="a DINOv2, which knows pictures alone",
            fix="ask a CLIP or SigLIP (openai/clip-vit-base-patch16, google/siglip-base-patch16-224) or small-clip",
        )


def load_dinov2(
    name_or_path: str, *, revision: str | None = None, local_files_only: bool = False, device: str = "cpu"
) -> LoadedClip[VisionTower]:
    """A DINOv2 by Hugging Face id or from a folder saved by ``save_pretrained``; asked for words, it refuses.

    Weights are read from safetensors only and used in float32; no code of the model's repository is run.

    Args:
        name_or_path: e.g. ``facebook/dinov2-small``, ``facebook/dinov2-with-registers-base``, or a folder.
        revision: branch, tag or commit of a Hugging Face id.
        local_files_only: never ask the network.
        device: where the weights go.

    Raises:
        ResourceError: the model cannot be reached; names the choices that need no network.
        DataFormatError: the folder or one of its files is not what it should be.
        MissingDependencyError: transformers is not installed.
    """
    folder = find_model_folder(name_or_path, DINOV2_TYPES, revision=revision, local_files_only=local_files_only)
    return load_dinov2_folder(name_or_path, folder, device=device)


def load_dinov2_folder(name: str, folder: ModelFolder, *, device: str = "cpu") -> LoadedClip[VisionTower]:
    """As :func:`load_dinov2`, for a folder that was found already."""
    if folder.model_type not in _CLASSES:
        raise DataFormatError(folder.path, expected="a DINOv2 in Hugging Face layout", got=folder.layout, fix="use open_teacher")
    _check_sizes(folder)
    model = load_pretrained(
        name, folder, _CLASSES[folder.model_type], lambda config, model_class: _check_weights(folder, config, model_class)
    ).to(device)
    tower: VisionTower = Dinov2Tower(model, *normalisation_of(folder.path, _IMAGENET))
    return LoadedClip(
        name=name,
        tower=tower,
        text=NoWords(name),
        logit_scale=1.0,
        fingerprint=folder.fingerprint(),
        device=device,
        licence=folder.licence(),
    )


def _check_sizes(folder: ModelFolder) -> None:
    """Sizes are what a tower can have: before the configuration is made, which names as many stages as there are layers."""
    fields = read_json_object(folder.path / "config.json")
    fields.integer("num_hidden_layers", 12, minimum=1, maximum=len(tensor_shapes(folder.weights)))
    for side in ("patch_size", "image_size"):
        fields.integer(side, 14, minimum=1, maximum=_LARGEST_SIDE)


def _check_weights(folder: ModelFolder, config: Any, model_class: Any) -> None:
    """The files hold every tensor the configuration asks for, before anything of that size is allocated."""
    found = {_plain(name): shape for name, shape in tensor_shapes(folder.weights).items()}
    with sizes_only():
        skeleton = model_class(config)
    wanted = {name: tuple(parameter.shape) for name, parameter in skeleton.named_parameters()}
    check_tensor_shapes(folder.weights[0], found, _as_in_files(wanted, found))


def _plain(name: str) -> str:
    return next((name.removeprefix(prefix) for prefix in _PREFIXES if name.startswith(prefix)), name)


def _as_in_files(wanted: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """What is wanted under the names of the files.  The token of masked patches is of pre-training alone."""
    there = {}
    for name, shape in wanted.items():
        part = next((part for part in _NAMES_IN_FILES if part in name), None)
        if name in found or part is None:
            there[name] = shape
        else:
            there[name.replace(part, _NAMES_IN_FILES[part])] = (2 * shape[0], *shape[1:]) if part in _JOINED else shape
    there.pop("embeddings.mask_token", None)
    return there

"""CLIP, SigLIP and SigLIP 2 vision transformers through ``transformers``: its own blocks, taken apart for the read-outs.

Nothing is computed differently from ``transformers``: embeddings, blocks, norms with their epsilons and activation (QuickGELU
where the configuration says so) are its modules.  Only the order of calls is ours.

A SigLIP has no class token.  It pools by attention: a learned probe looks at all patches, then comes an MLP, and the result is
the embedding.  Here that pooling head is the "last block": ``norm1`` is the tower's final norm, query, key, value and output
projection are the head's, ``feed_forward`` is its MLP with its norm, and ``head`` changes nothing.  The head adds no residual
around its attention, so dense features are right with ``keep_residual=False, keep_ffn=True``; on the value path they are then
exactly what the head would answer if its probe looked at one patch only.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from scenewise.errors import ConventionError, DataFormatError, MissingDependencyError, ShapeError
from scenewise.networks.sizes_only import sizes_only
from scenewise.teachers.loaded_clip import LoadedClip
from scenewise.teachers.model_folders import ModelFolder, check_tensor_shapes, find_model_folder, tensor_shapes
from scenewise.teachers.pretrained import load_pretrained, normalisation_of, not_loadable
from scenewise.teachers.text_encoders import PromptEnsembleEncoder
from scenewise.teachers.towers import LastBlock, TokenPass, VisionTower

if TYPE_CHECKING:
    from pathlib import Path

MODEL_TYPES = ("clip", "siglip", "siglip2")

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_SIGLIP_MEAN, _SIGLIP_STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)


@final
class EncoderBlock:
    """A residual block of a CLIP or SigLIP encoder."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer

    @property
    def num_heads(self) -> int:
        return int(self._layer.self_attn.num_heads)

    def norm1(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return self._layer.layer_norm1(tokens)

    def query(self, normed: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return self._layer.self_attn.q_proj(normed)

    def key(self, normed: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return self._layer.self_attn.k_proj(normed)

    def value(self, normed: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return self._layer.self_attn.v_proj(normed)

    def out(self, mixed: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return self._layer.self_attn.out_proj(mixed)

    def feed_forward(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return self._layer.mlp(self._layer.layer_norm2(tokens))

    def forward(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        """The whole block, as ``transformers`` computes it."""
        return self._layer(tokens, None)


@final
class PoolingHead:
    """SigLIP's attention pooling as a last block; see the module's text."""

    def __init__(self, final_norm: nn.Module, head: Any) -> None:
        self._final_norm, self._head = final_norm, head

    @property
    def num_heads(self) -> int:
        return int(self._head.attention.num_heads)

    def norm1(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return self._final_norm(tokens)

    def _project(self, part: int, normed: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        attention = self._head.attention
        return F.linear(normed, attention.in_proj_weight.chunk(3)[part], attention.in_proj_bias.chunk(3)[part])

    def query(self, normed: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return self._project(0, normed)

    def key(self, normed: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return self._project(1, normed)

    def value(self, normed: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return self._project(2, normed)

    def out(self, mixed: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return self._head.attention.out_proj(mixed)

    def feed_forward(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return self._head.mlp(self._head.layernorm(tokens))

    def pool(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch width"]:
        """The embedding the probe collects from all patches."""
        return self._head(self._final_norm(tokens))


def patch_grid(images: Float[Tensor, "batch 3 height width"], patch_size: int) -> tuple[int, int]:
    """Rows and columns of patches.

    Raises:
        ShapeError: a side of the images is no multiple of the patch size.
    """
    height, width = images.shape[-2:]
    if height % patch_size or width % patch_size or min(height, width) < patch_size:
        raise ShapeError("images", expected=f"sides that are multiples of the patch size {patch_size}", got=f"{height}×{width}")
    return height // patch_size, width // patch_size


@final
class ClipTower:
    """The vision tower of a ``CLIPModel``; see :class:`scenewise.teachers.towers.VisionTower`."""

    has_class_token = True

    def __init__(self, model: Any, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        self._vision, self._projection = model.vision_model, model.visual_projection
        config = self._vision.config
        self.depth, self.width, self.dim = config.num_hidden_layers, config.hidden_size, int(model.projection_dim)
        self.patch_size, self.native_size = config.patch_size, config.image_size
        self.mean, self.std = mean, std
        self._blocks = tuple(EncoderBlock(layer) for layer in self._vision.encoder.layers)

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
        hidden = [self._vision.pre_layrnorm(self._vision.embeddings(images, interpolate_pos_encoding=True))]
        for block in self._blocks[:-1]:
            hidden.append(block.forward(hidden[-1]))
        return TokenPass(tuple(hidden), rows, columns)

    @torch.no_grad()
    def head(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens dim"]:
        """Last norm and projection."""
        return self._projection(self._vision.post_layernorm(tokens))

    @torch.no_grad()
    def embed_images(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Unit image-level embeddings: the class token after all blocks."""
        class_token = self._blocks[-1].forward(self.tokens(images).hidden[-1])[:, 0]
        return F.normalize(self._projection(self._vision.post_layernorm(class_token)), dim=-1)


@final
class SiglipTower:
    """The vision tower of a ``SiglipModel`` or ``Siglip2Model``; its pooling head is the last block (see the module's text)."""

    has_class_token = False

    def __init__(self, model: Any, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        self._vision = model.vision_model
        config = self._vision.config
        self._takes_patches = config.model_type == "siglip2_vision_model"
        self.depth, self.width, self.dim = config.num_hidden_layers + 1, config.hidden_size, config.hidden_size
        self.patch_size = config.patch_size
        self.native_size = math.isqrt(config.num_patches) * config.patch_size if self._takes_patches else config.image_size
        self.mean, self.std = mean, std
        self._layers = tuple(EncoderBlock(layer) for layer in self._vision.encoder.layers)
        self._head = PoolingHead(self._vision.post_layernorm, self._vision.head)

    @property
    def blocks(self) -> Sequence[LastBlock]:
        """All blocks, the pooling head last; ``blocks[i]`` takes ``hidden[i]``."""
        return (*self._layers, self._head)

    @property
    def last_block(self) -> LastBlock:
        """The parts of the pooling head."""
        return self._head

    def _embed(
        self, images: Float[Tensor, "batch 3 height width"], rows: int, columns: int
    ) -> Float[Tensor, "batch tokens channels"]:
        if not self._takes_patches:
            return self._vision.embeddings(images, interpolate_pos_encoding=True)
        # SigLIP 2 with free aspect ratio is fed patches, each flattened as row, column, channel.
        size = self.patch_size
        patches = images.unflatten(3, (columns, size)).unflatten(2, (rows, size)).permute(0, 2, 4, 3, 5, 1)
        shapes = torch.tensor([[rows, columns]] * len(images), device=images.device)
        return self._vision.embeddings(patches.flatten(3).flatten(1, 2), shapes)

    @torch.no_grad()
    def tokens(self, images: Float[Tensor, "batch 3 height width"]) -> TokenPass:
        """All encoder blocks; what follows is the pooling head."""
        rows, columns = patch_grid(images, self.patch_size)
        hidden = [self._embed(images, rows, columns)]
        for block in self._layers:
            hidden.append(block.forward(hidden[-1]))
        return TokenPass(tuple(hidden), rows, columns)

    @torch.no_grad()
    def head(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens dim"]:
        """The pooling head's output is the embedding: nothing is left to do."""
        return tokens

    @torch.no_grad()
    def embed_images(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Unit image-level embeddings: what the probe collects."""
        return F.normalize(self._head.pool(self.tokens(images).hidden[-1]), dim=-1)


def load_hugging_face_clip(
    name_or_path: str, *, revision: str | None = None, local_files_only: bool = False, device: str = "cpu"
) -> LoadedClip[VisionTower]:
    """A CLIP or SigLIP by Hugging Face id or from a folder saved by ``save_pretrained``.

    Weights are read from safetensors only and used in float32; no code of the model's repository is run.

    Args:
        name_or_path: e.g. ``openai/clip-vit-large-patch14``, ``google/siglip-base-patch16-224``, or a folder.
        revision: branch, tag or commit of a Hugging Face id.
        local_files_only: never ask the network.
        device: where the weights go.

    Raises:
        ResourceError: the model cannot be reached; names the choices that need no network.
        DataFormatError: the folder or one of its files is not what it should be.
        MissingDependencyError: transformers (or what a tokenizer needs) is not installed.
    """
    folder = find_model_folder(name_or_path, MODEL_TYPES, revision=revision, local_files_only=local_files_only)
    if folder.layout != "hugging_face":
        raise DataFormatError(
            folder.path,
            expected="config.json of a CLIP in Hugging Face layout",
            got="the open_clip layout",
            fix="use open_teacher",
        )
    return load_hugging_face_folder(name_or_path, folder, device=device)


def load_hugging_face_folder(name: str, folder: ModelFolder, *, device: str = "cpu") -> LoadedClip[VisionTower]:
    """As :func:`load_hugging_face_clip`, for a folder that was found already."""
    path = folder.path
    classes = {
        "clip": ("CLIPConfig", "CLIPModel"),
        "siglip": ("SiglipConfig", "SiglipModel"),
        "siglip2": ("Siglip2Config", "Siglip2Model"),
    }
    model = load_pretrained(
        name, folder, classes[folder.model_type], lambda config, model_class: _check_weights(path, folder, config, model_class)
    ).to(device)
    standard = (CLIP_MEAN, CLIP_STD) if folder.model_type == "clip" else (_SIGLIP_MEAN, _SIGLIP_STD)
    mean, std = normalisation_of(path, standard)
    tower: VisionTower = ClipTower(model, mean, std) if folder.model_type == "clip" else SiglipTower(model, mean, std)
    return LoadedClip(
        name=name,
        tower=tower,
        text=PromptEnsembleEncoder(_SentenceEncoder(path, model, folder.model_type, device)),
        logit_scale=float(model.logit_scale.exp()),
        fingerprint=folder.fingerprint(),
        device=device,
        licence=folder.licence(),
    )


def _check_weights(path: "Path", folder: ModelFolder, config: Any, model_class: Any) -> None:
    """The files hold every tensor the configuration asks for, before anything of that size is allocated."""
    found = tensor_shapes(folder.weights)
    vision, text = config.vision_config, config.text_config
    if not 1 <= vision.num_hidden_layers <= len(found) or not 1 <= text.num_hidden_layers <= len(found):
        raise DataFormatError(
            path / "config.json",
            "num_hidden_layers",
            expected=f"from 1 to {len(found)}, the number of tensors in the weights",
            got=f"{vision.num_hidden_layers} and {text.num_hidden_layers}",
        )
    if folder.model_type != "clip" and not vision.vision_use_head:
        raise DataFormatError(
            path / "config.json",
            "vision_use_head",
            expected="a SigLIP with its pooling head",
            got="none",
            fix="use another model",
        )
    with sizes_only():
        skeleton = model_class(config)
    wanted = {name: tuple(parameter.shape) for name, parameter in skeleton.named_parameters()}
    # A factor stored as one number or as a list of one is the same thing.
    alike = {name: () if shape == (1,) and name.startswith("logit_") else shape for name, shape in found.items()}
    wanted = {name: () if name.startswith("logit_") else shape for name, shape in wanted.items()}
    check_tensor_shapes(folder.weights[0], alike, wanted)


@final
class _SentenceEncoder:
    """Sentences to embeddings by a model's own tokenizer and text tower."""

    def __init__(self, path: "Path", model: Any, model_type: str, device: str) -> None:
        from transformers import AutoTokenizer

        # Without any of these AutoTokenizer makes up a tokenizer of three words and says nothing.
        if not any((path / name).is_file() for name in ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")):
            raise DataFormatError(
                path,
                expected="a tokenizer (tokenizer.json, vocab.json or spiece.model)",
                got="none",
                fix="copy it from the model's source",
            )
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        except ImportError as error:
            raise MissingDependencyError("sentencepiece", needed_for=f"the tokenizer of {path}") from error
        except Exception as error:  # as for the model
            raise not_loadable(path, "tokenizer files beside the weights", error) from error
        self._model, self._device = model, device
        self._length = int(model.config.text_config.max_position_embeddings)
        # SigLIP was trained on texts of one length, padding seen as words; CLIP reads at the end token, blind to what follows.
        self._padding = "longest" if model_type == "clip" else "max_length"
        self._path, self._words = path, model.text_model.embeddings.token_embedding.num_embeddings

    def __call__(self, sentences: list[str]) -> Float[Tensor, "sentences dim"]:
        tokens = self._tokenizer(
            sentences, padding=self._padding, truncation=True, max_length=self._length, return_tensors="pt"
        ).input_ids
        if tokens.shape[1] == 0:
            raise ConventionError("text", expected="at least one token", got="none")
        if int(tokens.max()) >= self._words:
            raise DataFormatError(
                self._path,
                "tokenizer",
                expected=f"ids below {self._words}, the size of the text tower's word list",
                got=int(tokens.max()),
                fix="the tokenizer belongs to another model",
            )
        return self._model.get_text_features(input_ids=tokens.to(self._device)).pooler_output

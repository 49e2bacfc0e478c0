"""CLIP with a ResNet (RN50) from a folder in the open_clip layout, and its two dense read-outs.

``maskclip``: the attention pool's value and output projections as 1×1 convolutions, F = c_proj(v_proj(x)), without mean token,
positions, query or key.  Source: Zhou et al. 2022, arXiv 2112.01071, section 3.2.  ``clip``: the pool asked from every cell
instead of from the mean.  The other read-outs are about the residual blocks of a transformer, which a ResNet does not have.
"""

from pathlib import Path
from typing import final

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from scenewise.errors import ConventionError, DataFormatError, MissingDependencyError, ShapeError
from scenewise.io.json_fields import read_json_object
from scenewise.networks.resnet_clip import REDUCTION, ResNetClip, ResNetClipShape
from scenewise.networks.sizes_only import sizes_only
from scenewise.teachers.hugging_face import CLIP_MEAN, CLIP_STD
from scenewise.teachers.loaded_clip import LoadedClip
from scenewise.teachers.model_folders import (
    OPEN_CLIP_CONFIG,
    ModelFolder,
    check_tensor_shapes,
    find_model_folder,
    tensor_shapes,
)
from scenewise.teachers.text_encoders import PromptEnsembleEncoder

_MAX_SIZE = 1 << 20


@final
class ResNetClipTower:
    """The image tower with its dense path."""

    patch_size = REDUCTION

    def __init__(self, network: ResNetClip, mean: tuple[float, float, float], std: tuple[float, float, float]) -> None:
        self._vision = network.visual
        self.dim, self.native_size = network.shape.dim, network.shape.image_size
        self.mean, self.std = mean, std

    def _feature_map(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch features rows columns"]:
        height, width = images.shape[-2:]
        if height % REDUCTION or width % REDUCTION or min(height, width) < REDUCTION:
            raise ShapeError("images", expected=f"sides that are multiples of {REDUCTION}", got=f"{height}×{width}")
        return self._vision.feature_map(images)

    @torch.no_grad()
    def value_features(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch rows columns dim"]:
        """MaskCLIP: every cell through value and output projection, not normalised."""
        pool = self._vision.attnpool
        return pool.c_proj(pool.v_proj(self._feature_map(images).permute(0, 2, 3, 1)))

    @torch.no_grad()
    def attended_features(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch rows columns dim"]:
        """CLIP: the attention pool with every cell as the query, not normalised."""
        maps = self._feature_map(images)
        tokens = self._vision.attnpool.tokens(maps)
        return self._vision.attnpool.attend(tokens[:, 1:], tokens).unflatten(1, maps.shape[-2:])

    @torch.no_grad()
    def keys(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch rows columns features"]:
        """Keys of all cells, for key smoothing."""
        return self._vision.attnpool.k_proj(self._feature_map(images).permute(0, 2, 3, 1))

    @torch.no_grad()
    def embed_images(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Unit image-level embeddings."""
        return F.normalize(self._vision.attnpool(self._feature_map(images)), dim=-1)


def load_resnet_clip(
    name_or_path: str, *, revision: str | None = None, local_files_only: bool = False, device: str = "cpu"
) -> LoadedClip[ResNetClipTower]:
    """A ResNet CLIP by Hugging Face id (``timm/resnet50_clip.openai``) or from a folder in the open_clip layout.

    Args:
        name_or_path: holds ``open_clip_config.json``, ``open_clip_model.safetensors`` and CLIP's tokenizer files.
        revision: branch, tag or commit of a Hugging Face id.
        local_files_only: never ask the network.
        device: where the weights go.

    Raises:
        ResourceError: the model cannot be reached; names the choices that need no network.
        DataFormatError: the folder or one of its files is not what it should be.
        MissingDependencyError: transformers, which reads the tokenizer, is not installed.
    """
    folder = find_model_folder(name_or_path, (), revision=revision, local_files_only=local_files_only)
    return load_resnet_clip_folder(name_or_path, folder, device=device)


def load_resnet_clip_folder(name: str, folder: ModelFolder, *, device: str = "cpu") -> LoadedClip[ResNetClipTower]:
    """As :func:`load_resnet_clip`, for a folder that was found already."""
    from safetensors.torch import load_file

    shape, mean, std = _read_config(folder.path / OPEN_CLIP_CONFIG)
    found = tensor_shapes(folder.weights)
    if sum(shape.layers) + shape.text_layers > len(found):
        raise DataFormatError(
            folder.path / OPEN_CLIP_CONFIG,
            "layers",
            expected=f"no more than the {len(found)} tensors of the weights",
            got=shape.layers,
        )
    with sizes_only():
        network = ResNetClip(shape)
    wanted = {
        name: tuple(tensor.shape) for name, tensor in network.state_dict().items() if not name.endswith("num_batches_tracked")
    }
    check_tensor_shapes(folder.weights[0], found, wanted)
    stored = load_file(folder.weights[0], device=device)
    state = {name: stored[name].float() for name in wanted}
    state |= {name: torch.zeros((), dtype=torch.int64) for name in network.state_dict() if name.endswith("num_batches_tracked")}
    network.load_state_dict(state, assign=True)
    network = network.eval().requires_grad_(False).to(device)
    return LoadedClip(
        name=name,
        tower=ResNetClipTower(network, mean, std),
        text=PromptEnsembleEncoder(_SentenceEncoder(folder.path, network, device)),
        logit_scale=float(network.logit_scale.exp()),
        fingerprint=folder.fingerprint(),
        device=device,
        licence=folder.licence(),
    )


def _read_config(
    path: Path,
) -> tuple[ResNetClipShape, tuple[float, float, float], tuple[float, float, float]]:
    top = read_json_object(path)
    model = top.object("model_cfg")
    vision, text = model.object("vision_cfg"), model.object("text_cfg")
    layers = vision.array("layers", (4,)) if vision.integer("patch_size", None, maximum=_MAX_SIZE) is None else None
    if layers is None:
        raise vision.wrong(
            "patch_size", "null, as of a ResNet", "a vision transformer", "use the model's Hugging Face layout (config.json)"
        )
    if (layers < 1).any() or (layers > 1000).any() or (layers != layers.round()).any():
        raise vision.wrong("layers", "four counts of blocks", layers.tolist())
    shape = ResNetClipShape(
        layers=(int(layers[0]), int(layers[1]), int(layers[2]), int(layers[3])),
        width=vision.integer("width", minimum=2, maximum=_MAX_SIZE),
        image_size=vision.integer("image_size", 224, minimum=REDUCTION, maximum=_MAX_SIZE),
        dim=model.integer("embed_dim", minimum=1, maximum=_MAX_SIZE),
        context=text.integer("context_length", 77, minimum=3, maximum=_MAX_SIZE),
        words=text.integer("vocab_size", 49408, minimum=1, maximum=1 << 24),
        text_width=text.integer("width", 512, minimum=1, maximum=_MAX_SIZE),
        text_heads=text.integer("heads", 8, minimum=1, maximum=_MAX_SIZE),
        text_layers=text.integer("layers", 12, minimum=1, maximum=1000),
        quick_gelu=model.flag("quick_gelu", False),
    )
    if shape.text_width % shape.text_heads or shape.width % 2:
        raise text.wrong("heads", f"a divisor of the width {shape.text_width}", shape.text_heads)
    preprocess = top.object("preprocess_cfg", None)
    if preprocess is None:
        return shape, CLIP_MEAN, CLIP_STD
    mean, std = preprocess.array("mean", (3,), None), preprocess.array("std", (3,), None)
    return shape, CLIP_MEAN if mean is None else tuple(mean.tolist()), CLIP_STD if std is None else tuple(std.tolist())


@final
class _SentenceEncoder:
    """Sentences to embeddings by CLIP's tokenizer and the text transformer."""

    def __init__(self, path: Path, network: ResNetClip, device: str) -> None:
        try:
            from transformers import CLIPTokenizer
        except ModuleNotFoundError as error:
            raise MissingDependencyError("transformers", needed_for=f"the tokenizer of {path}", extra="foundation") from error
        if not (path / "tokenizer.json").is_file() and not ((path / "vocab.json").is_file() and (path / "merges.txt").is_file()):
            raise DataFormatError(
                path,
                expected="CLIP's tokenizer: tokenizer.json, or vocab.json and merges.txt",
                got="neither",
                fix="copy them from any CLIP on Hugging Face",
            )
        try:
            self._tokenizer = CLIPTokenizer.from_pretrained(path, local_files_only=True)
        except Exception as error:  # transformers promises no closed set of errors for damaged files
            raise DataFormatError(path, "tokenizer", expected="CLIP's tokenizer", got=str(error).splitlines()[0][:200]) from error
        if len(self._tokenizer) > network.shape.words:
            raise DataFormatError(path, "tokenizer", expected=f"at most {network.shape.words} words", got=len(self._tokenizer))
        self._network, self._device = network, device

    def __call__(self, sentences: list[str]) -> Float[Tensor, "sentences dim"]:
        ids = self._tokenizer(
            sentences, padding="longest", truncation=True, max_length=self._network.shape.context, return_tensors="pt"
        ).input_ids
        ends = (ids == self._tokenizer.eos_token_id).int().argmax(dim=1)  # the first one: padding may be the same token
        return self._network.encode_text(ids.to(self._device), ends.to(self._device))


def dense_path(read_out: str) -> str:
    """Name of the tower's method behind a read-out's name.

    Raises:
        ConventionError: the read-out needs a transformer's blocks.
    """
    paths = {"maskclip": "value_features", "clip": "attended_features"}
    if read_out not in paths:
        raise ConventionError(
            "read-out",
            expected="maskclip or clip for a CLIP with a ResNet",
            got=repr(read_out),
            fix="choose one of these, or a CLIP with a vision transformer",
        )
    return paths[read_out]

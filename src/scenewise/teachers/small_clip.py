"""The embedded teacher: a small CLIP that needs no download, in one file with its word list."""

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import final

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

from scenewise.errors import CaptureWarning, ConventionError, DataFormatError
from scenewise.io.atomic import atomic_write_bytes
from scenewise.io.json_fields import JsonFields
from scenewise.networks.sizes_only import sizes_only
from scenewise.networks.small_clip import (
    FIRST_WORD,
    IMAGE_MEAN,
    IMAGE_STD,
    PATCH_SIZE,
    Block,
    SmallClip,
    SmallClipShape,
    token_ids,
)
from scenewise.teachers.model_folders import check_tensor_shapes, tensor_shapes
from scenewise.teachers.towers import LastBlock, TokenPass
from scenewise.worlds.captions import words_of

FORMAT = "scenewise small clip 1"
_METADATA = "scenewise"  # one entry only: safetensors writes several in no fixed order
WEIGHTS = Path(__file__).resolve().parent.parent / "weights" / "small_clip.safetensors"
NAME = "small-clip"
LICENCE = "Apache-2.0"
_MOST = {"image_size": 4096, "vision_depth": 256, "text_depth": 256, "context": 4096, "words": 1 << 20}
_MOST_CHANNELS = 8192


@dataclass(frozen=True)
class Language:
    """The words a small CLIP was trained on.

    Attributes:
        words: position + ``FIRST_WORD`` = id.
        nouns: per class of the training world, what it may be called; the first is its name.
        content: words that carry meaning; the others (articles, "where", "photo") alone ask for nothing.
        templates: prompts of zero-shot classification.
    """

    words: tuple[str, ...]
    nouns: Mapping[str, tuple[str, ...]]
    content: frozenset[str]
    templates: tuple[str, ...]


@final
class _BlockParts:
    def __init__(self, block: Block) -> None:
        self._block = block
        self.num_heads = block.heads
        self._weights, self._biases = block.qkv.weight.chunk(3), block.qkv.bias.chunk(3)

    def norm1(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return self._block.norm1(tokens)

    def query(self, normed: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return F.linear(normed, self._weights[0], self._biases[0])

    def key(self, normed: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return F.linear(normed, self._weights[1], self._biases[1])

    def value(self, normed: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return F.linear(normed, self._weights[2], self._biases[2])

    def out(self, mixed: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return self._block.out(mixed)

    def feed_forward(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens width"]:
        return self._block.feed_forward(tokens)


@final
class SmallClipTower:
    """The vision tower as the read-outs want it; see :class:`scenewise.teachers.towers.TransparentTower`."""

    def __init__(self, network: SmallClip) -> None:
        self._vision = network.vision
        self.depth = network.shape.vision_depth
        self.width = network.shape.vision_width
        self.dim = network.shape.dim
        self.patch_size = PATCH_SIZE
        self.native_size = network.shape.image_size
        self.mean, self.std = IMAGE_MEAN, IMAGE_STD
        self.has_class_token = True
        self.blocks: tuple[LastBlock, ...] = tuple(_BlockParts(_block(block)) for block in network.vision.blocks)
        self.last_block = self.blocks[-1]

    @torch.no_grad()
    def tokens(self, images: Float[Tensor, "batch 3 height width"]) -> TokenPass:
        """All blocks but the last."""
        patches, rows, columns = self._vision.embed_patches(images)
        hidden = [self._vision.with_class_token(patches)]
        for block in self._vision.blocks[:-1]:
            hidden.append(block(hidden[-1]))
        return TokenPass(tuple(hidden), rows, columns)

    @torch.no_grad()
    def head(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch tokens dim"]:
        """Last norm and projection."""
        return self._vision.head(tokens)

    @torch.no_grad()
    def embed_images(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch dim"]:
        """Unit image-level embeddings."""
        return F.normalize(self._vision(images), dim=-1)


def _block(module: torch.nn.Module) -> Block:
    assert isinstance(module, Block)
    return module


@final
class SmallClipModel:
    """Both towers with their word list.

    Attributes:
        tower: for images.
        language: words it knows.
        logit_scale: inverse temperature it was trained to.
    """

    def __init__(self, network: SmallClip, language: Language) -> None:
        self.network = network.eval().requires_grad_(False)
        self.language = language
        self.tower = SmallClipTower(network)
        self.logit_scale = min(100.0, math.exp(float(network.log_logit_scale)))
        self._ids = {word: FIRST_WORD + i for i, word in enumerate(language.words)}

    def known_nouns(self) -> tuple[str, ...]:
        """Names and synonyms of the things it was trained on."""
        return tuple(noun for group in self.language.nouns.values() for noun in group)

    def check_words(self, phrase: str) -> list[str]:
        """The known words of a phrase; warns about unknown ones.

        Raises:
            ConventionError: no word that carries meaning is known.
        """
        words = words_of(phrase)
        unknown = [word for word in words if word not in self._ids]
        if not any(word in self.language.content for word in words):
            raise ConventionError(
                f"the text {phrase!r}",
                expected=f"words that {NAME} was trained on, such as {', '.join(self.known_nouns())}",
                got=f"nothing it knows ({', '.join(unknown) or 'no noun'})",
                fix="use these nouns, or a larger teacher with --teacher, e.g. openai/clip-vit-base-patch16",
            )
        if unknown:
            message = f"{NAME} does not know {', '.join(map(repr, unknown))} in {phrase!r}; it goes by the other words."
            warnings.warn(message, CaptureWarning, stacklevel=3)
        return [word for word in words if word in self._ids]

    @torch.no_grad()
    def embed_text(self, phrases: Sequence[str], templates: Sequence[str]) -> Float32[np.ndarray, "phrases dim"]:
        """Unit embedding per phrase; see :class:`scenewise.teachers.protocol.Teacher`."""
        context = self.network.shape.context
        rows = []
        for phrase in phrases:
            known = " ".join(self.check_words(phrase))
            ids = [
                token_ids([self._ids[word] for word in words_of(template.replace("{}", known)) if word in self._ids], context)
                for template in templates
            ]
            prompts = F.normalize(self.network.text(torch.tensor(ids, device=self.network.log_logit_scale.device)), dim=-1)
            rows.append(F.normalize(prompts.mean(0), dim=0))
        return torch.stack(rows).float().cpu().numpy()


def save_small_clip(path: Path, network: SmallClip, language: Language) -> None:
    """Weights in half precision with everything needed to read them, as one safetensors file."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().half().contiguous() for name, tensor in network.state_dict().items()}
    description = {
        "format": FORMAT,
        "shape": asdict(network.shape),
        "words": list(language.words),
        "nouns": {name: list(group) for name, group in language.nouns.items()},
        "content": sorted(language.content),
        "templates": list(language.templates),
    }
    atomic_write_bytes(path, save(tensors, metadata={_METADATA: json.dumps(description)}))


def read_small_clip(path: Path) -> SmallClipModel:
    """A small CLIP from its file.

    Raises:
        DataFormatError: missing, damaged, or another format.
    """
    from safetensors import SafetensorError, safe_open

    found = tensor_shapes([path])
    try:
        with safe_open(path, framework="pt") as file:
            shape, language = _described(path, (file.metadata() or {}).get(_METADATA, "{}"))
            with sizes_only():  # sizes are compared before anything of them is allocated
                wanted = SmallClip(shape).state_dict()
            check_tensor_shapes(path, found, {name: tuple(tensor.shape) for name, tensor in wanted.items()})
            network = SmallClip(shape)
            network.load_state_dict({name: file.get_tensor(name).float() for name in found})
    except (SafetensorError, RuntimeError, OSError) as error:
        raise DataFormatError(
            path, expected="weights of the small CLIP", got=str(error)[:160], fix="the file is damaged"
        ) from error
    for name, tensor in network.state_dict().items():
        if not bool(tensor.isfinite().all()):
            raise DataFormatError(path, name, expected="finite numbers", got="NaN or infinity", fix="the file is damaged")
    return SmallClipModel(network, language)


def _described(path: Path, text: str) -> tuple[SmallClipShape, Language]:
    """The checked description in a file's metadata."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataFormatError(path, f"metadata {_METADATA}", expected="JSON", got=str(error)[:120]) from error
    top = JsonFields(path, f"metadata {_METADATA}", value)
    found = top.text("format", None)
    if found != FORMAT:
        raise top.wrong("format", FORMAT, repr(found)[:80])
    sizes, usual = top.object("shape"), SmallClipShape()
    shape = SmallClipShape(
        **{
            each.name: sizes.integer(
                each.name,
                getattr(usual, each.name),
                minimum=3 if each.name == "context" else 1,
                maximum=_MOST.get(each.name, _MOST_CHANNELS),
            )
            for each in fields(SmallClipShape)
        }
    )
    sizes.finish()
    if shape.image_size % PATCH_SIZE:
        raise sizes.wrong("image_size", f"a multiple of the patch size {PATCH_SIZE}", shape.image_size)
    for tower, width, heads in (
        ("vision", shape.vision_width, shape.vision_heads),
        ("text", shape.text_width, shape.text_heads),
    ):
        if width % heads:
            raise sizes.wrong(f"{tower}_heads", f"a divisor of {tower}_width, {width}", heads)
    words, content, templates = top.texts("words"), top.texts("content"), top.texts("templates")
    if len(words) != shape.words:
        raise top.wrong("words", f"{shape.words} words, as the shape says", len(words))
    if not templates or any(template.count("{}") != 1 for template in templates):
        raise top.wrong("templates", "prompts with one {}", list(templates))
    nouns = top.mapping("nouns")
    if not nouns or not all(
        isinstance(group, list) and group and all(isinstance(noun, str) for noun in group) for group in nouns.values()
    ):
        raise top.wrong("nouns", "a list of words per class", str(nouns)[:80])
    top.finish()
    groups = {name: tuple(group) for name, group in nouns.items()}
    return shape, Language(words=words, nouns=groups, content=frozenset(content), templates=templates)


@cache
def load_small_clip() -> SmallClipModel:
    """The embedded weights."""
    return read_small_clip(WEIGHTS)

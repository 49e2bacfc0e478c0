"""The embedded teacher: its tower taken apart, its words, its file."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file

from scenewise.errors import CaptureWarning, ConventionError, DataFormatError
from scenewise.networks.small_clip import SmallClip, SmallClipShape, normalised
from scenewise.teachers.small_clip import Language, SmallClipModel, read_small_clip, save_small_clip

LANGUAGE = Language(
    words=("a", "can", "chair", "i", "of", "on", "photo", "sit", "sofa", "where"),
    nouns={"chair": ("chair",), "sofa": ("sofa", "couch")},
    content=frozenset({"chair", "sofa", "sit"}),
    templates=("a photo of a {}", "a {}"),
)
SHAPE = SmallClipShape(
    image_size=32, vision_width=32, vision_depth=3, vision_heads=2, text_width=16, text_heads=2, words=10, dim=8
)


@pytest.fixture
def model() -> SmallClipModel:
    torch.manual_seed(0)
    return SmallClipModel(SmallClip(SHAPE), LANGUAGE)


def test_the_last_block_put_together_again_gives_the_image_embedding(model: SmallClipModel) -> None:
    images = normalised(torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(1)))
    tower = model.tower
    found = tower.tokens(images)
    assert (found.rows, found.columns) == (4, 6) and len(found.hidden) == tower.depth and found.hidden[-1].shape == (2, 25, 32)
    tokens, block = found.hidden[-1], tower.last_block
    normed = block.norm1(tokens)
    q, k, v = (
        part(normed).unflatten(-1, (block.num_heads, -1)).transpose(1, 2) for part in (block.query, block.key, block.value)
    )
    tokens = tokens + block.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2))
    tokens = tokens + block.feed_forward(tokens)
    assert torch.allclose(F.normalize(tower.head(tokens)[:, 0], dim=-1), tower.embed_images(images), atol=1e-5)


def test_text_is_normalised_averaged_over_templates_and_normalised_again(model: SmallClipModel) -> None:
    both = model.embed_text(("chair",), LANGUAGE.templates)[0]
    single = [model.embed_text(("chair",), (template,))[0] for template in LANGUAGE.templates]
    mean = np.mean(single, axis=0)
    assert np.allclose(both, mean / np.linalg.norm(mean), atol=1e-6) and not np.allclose(single[0], single[1])


def test_unknown_words_are_named_and_nothing_known_is_an_error(model: SmallClipModel) -> None:
    with pytest.warns(CaptureWarning, match="'violet'"):
        found = model.embed_text(("violet chair",), ("{}",))
    assert np.array_equal(found, model.embed_text(("chair",), ("{}",)))
    with pytest.raises(ConventionError, match=r"chair, sofa, couch.*giraffe"):
        model.embed_text(("giraffe",), ("{}",))
    with pytest.raises(ConventionError, match="nothing it knows"):
        model.embed_text(("where can i",), ("{}",))


def test_the_file_gives_back_the_model(model: SmallClipModel, tmp_path: Path) -> None:
    save_small_clip(tmp_path / "w.safetensors", model.network, LANGUAGE)
    found = read_small_clip(tmp_path / "w.safetensors")
    assert found.language == LANGUAGE and found.network.shape == SHAPE
    images = torch.rand(1, 3, 32, 32)
    assert torch.allclose(found.tower.embed_images(images), model.tower.embed_images(images), atol=5e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda about: [], "metadata scenewise"),
        (lambda about: about | {"format": None}, "format: expected scenewise small clip 1, got None"),
        (lambda about: about | {"shape": about["shape"] | {"vision_depth": 10**7}}, "vision_depth: expected a whole number"),
        (lambda about: about | {"shape": about["shape"] | {"vision_width": 8000}}, "expected 8000, got 32"),
        (lambda about: about | {"shape": about["shape"] | {"image_size": 4096}}, "positions: expected 262145×32, got 17×32"),
        (lambda about: about | {"shape": about["shape"] | {"image_size": 33}}, "image_size: expected a multiple of"),
        (lambda about: about | {"shape": about["shape"] | {"vision_heads": 5}}, "vision_heads: expected a divisor of"),
        (lambda about: about | {"shape": about["shape"] | {"text_heads": 0}}, "text_heads: expected a whole number from 1"),
        (lambda about: about | {"shape": about["shape"] | {"other": 1}}, "'other'"),
        (lambda about: about | {"words": about["words"][1:]}, "words: expected 10 words, as the shape says, got 9"),
        (lambda about: about | {"words": [[1]]}, "words: expected a list of texts"),
        (lambda about: about | {"nouns": "x"}, "nouns: expected an object"),
        (lambda about: about | {"nouns": {"chair": []}}, "nouns: expected a list of words per class"),
        (lambda about: about | {"templates": [1]}, "templates: expected a list of texts"),
        (lambda about: about | {"templates": ["no place"]}, "templates: expected prompts with one {}"),
        (lambda about: "not JSON at all", "expected JSON"),
    ],
)
def test_a_description_that_lies_is_named_before_anything_is_allocated(model, tmp_path: Path, change, message: str) -> None:
    path = tmp_path / "w.safetensors"
    save_small_clip(path, model.network, LANGUAGE)
    with safe_open(path, framework="pt") as file:
        about, tensors = json.loads(file.metadata()["scenewise"]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    changed = change(about)
    save_file(tensors, path, metadata={"scenewise": changed if isinstance(changed, str) else json.dumps(changed)})
    with pytest.raises(DataFormatError, match=re.escape(message)):
        read_small_clip(path)


def test_weights_that_are_no_numbers_are_refused(model: SmallClipModel, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_small_clip(path, model.network, LANGUAGE)
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors["text.projection"][2, 1] = float("nan")
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(DataFormatError, match=r"text\.projection: expected finite numbers"):
        read_small_clip(path)


def test_a_prompt_with_other_braces_is_taken_as_it_is(model: SmallClipModel) -> None:
    plain = model.embed_text(("chair",), ("a {}",))
    assert np.array_equal(model.embed_text(("chair",), ("a {} {0.__class__} {",)), plain)


def test_damaged_files_give_one_clear_error(model: SmallClipModel, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(DataFormatError, match="nothing"):
        read_small_clip(path)
    save_small_clip(path, model.network, LANGUAGE)
    whole = path.read_bytes()
    for broken in (whole[:-20], whole[: len(whole) // 2], b"", whole.replace(b"small clip 1", b"small clip 9")):
        path.write_bytes(broken)
        with pytest.raises(DataFormatError):
            read_small_clip(path)

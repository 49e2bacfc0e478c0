"""The embedded teacher: its tower taken apart, its words, its file."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

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

"""CLIP, SigLIP and SigLIP 2 taken apart: parity with transformers on tiny models saved and loaded as real ones."""

import json
import os
import socket
import time

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.support.tiny_models import MEAN, STD, save_clip_tokenizer, save_tiny_clip, save_tiny_siglip, save_tiny_siglip2

from scenewise.errors import ConventionError, DataFormatError, ResourceError
from scenewise.teachers.hugging_face import load_hugging_face_clip
from scenewise.teachers.read_outs import READ_OUTS, MaskClipSettings, dense_tokens
from scenewise.teachers.towers import TransparentTower, VisionTower

SAVERS = {"clip": save_tiny_clip, "siglip": save_tiny_siglip, "siglip2": save_tiny_siglip2}
SIZES = [(32, 32), (24, 40), (64, 48), (8, 8)]


@pytest.fixture(scope="module", autouse=True)
def offline():
    os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Kind → (transformers' own model, ours)."""
    found = {}
    for kind, save in SAVERS.items():
        folder = tmp_path_factory.mktemp(kind)
        found[kind] = save(folder), load_hugging_face_clip(str(folder)), folder
    return found


def random_images(height, width, count=2, seed=5):
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def own_image_features(kind, model, images):
    if kind != "siglip2":
        return model.get_image_features(images, interpolate_pos_encoding=True).pooler_output
    # As its image processor cuts: patch after patch, row by row; in a patch rows, columns, channels.
    patches = torch.stack([
        torch.stack([
            image[:, top : top + 8, left : left + 8].permute(1, 2, 0).flatten()
            for top in range(0, image.shape[1], 8) for left in range(0, image.shape[2], 8)
        ])
        for image in images
    ])  # fmt: skip
    shapes = torch.tensor([[images.shape[2] // 8, images.shape[3] // 8]] * len(images))
    mask = torch.ones(patches.shape[:2], dtype=torch.int64)
    return model.get_image_features(patches, pixel_attention_mask=mask, spatial_shapes=shapes).pooler_output


def attention(block, queries, tokens):
    """Textbook multi-head attention, head by head."""
    q, k, v = block.query(queries), block.key(tokens), block.value(tokens)
    width = q.shape[-1] // block.num_heads
    heads = []
    for head in range(block.num_heads):
        part = slice(head * width, (head + 1) * width)
        weights = torch.softmax(q[..., part] @ k[..., part].transpose(1, 2) / width**0.5, dim=-1)
        heads.append(weights @ v[..., part])
    return block.out(torch.cat(heads, dim=-1))


@pytest.mark.parametrize("kind", SAVERS)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_image_embeddings_are_those_of_transformers(models, kind, height, width):
    model, ours, _ = models[kind]
    images = random_images(height, width)
    expected = F.normalize(own_image_features(kind, model, images), dim=-1)
    found = ours.tower.embed_images(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)
    assert (found[0] - found[1]).abs().max() > 0.01  # the tiny model does look at its image


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_clip_assembled_from_the_parts(models, height, width):
    """Tokens → the last block put together from its parts → head of the class token."""
    model, ours, _ = models["clip"]
    tower = ours.tower
    images = random_images(height, width)
    tower_pass = tower.tokens(images)
    assert (tower_pass.rows, tower_pass.columns) == (height // 8, width // 8)
    assert len(tower_pass.hidden) == tower.depth == 3
    x = tower_pass.hidden[-1]
    block = tower.last_block
    with torch.no_grad():
        x = x + attention(block, block.norm1(x), block.norm1(x))
        x = x + block.feed_forward(x)
        expected = model.get_image_features(images, interpolate_pos_encoding=True).pooler_output
    torch.testing.assert_close(tower.head(x)[:, 0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["siglip", "siglip2"])
def test_siglip_assembled_from_the_parts(models, kind):
    """The pooling head as the last block: the probe is its query, no residual around the attention."""
    model, ours, _ = models[kind]
    tower = ours.tower
    images = random_images(24, 40)
    x = tower.tokens(images).hidden[-1]
    assert x.shape == (2, 15, 32) and tower.depth == 4 and not tower.has_class_token
    block = tower.last_block
    with torch.no_grad():
        probe = model.vision_model.head.probe.expand(2, 1, -1)
        pooled = attention(block, probe, block.norm1(x))
        pooled = pooled + block.feed_forward(pooled)
        expected = own_image_features(kind, model, images)
    torch.testing.assert_close(tower.head(pooled)[:, 0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["siglip", "siglip2"])
def test_siglip_value_path_is_the_head_looking_at_one_patch(models, kind):
    model, ours, _ = models[kind]
    images = random_images(16, 24)
    dense = dense_tokens(ours.tower, images, MaskClipSettings(keep_residual=False, keep_ffn=True))
    x = ours.tower.tokens(images).hidden[-1]
    with torch.no_grad():
        for place in range(6):
            alone = model.vision_model.head(model.vision_model.post_layernorm(x[:, place : place + 1]))
            torch.testing.assert_close(dense[:, place // 3, place % 3], alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_hidden_states_are_those_of_transformers(models, kind):
    model, ours, _ = models[kind]
    images = random_images(24, 40)
    with torch.no_grad():
        own = model.vision_model(images, interpolate_pos_encoding=True, output_hidden_states=True).hidden_states
    found = ours.tower.tokens(images).hidden
    for left, right in zip(found, own):
        torch.testing.assert_close(left, right, rtol=0, atol=0)


@pytest.mark.parametrize("kind", SAVERS)
def test_text_embeddings_are_those_of_transformers(models, kind):
    from transformers import AutoTokenizer

    model, ours, folder = models[kind]
    templates, phrases = ("a photo of a {}.", "the {}."), ("chair", "wall of a chair")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected = []
    for phrase in phrases:
        prompts = [template.format(phrase) for template in templates]
        padding = {"padding": True} if kind == "clip" else {"padding": "max_length", "max_length": 40}
        ids = tokenizer(prompts, return_tensors="pt", **padding)
        inputs = dict(ids) if kind == "clip" else {"input_ids": ids["input_ids"]}
        with torch.no_grad():
            units = F.normalize(model.get_text_features(**inputs).pooler_output, dim=-1)
        expected.append(F.normalize(units.mean(0), dim=0))
    found = ours.text.embed_text(phrases, templates)
    assert found.dtype == np.float32
    assert np.allclose(found, torch.stack(expected).numpy(), atol=2e-6)
    assert abs(found[0] @ found[1]) < 0.999
    # The last template alone differs from the mean of both: averaging does something.
    assert np.abs(found - ours.text.embed_text(phrases, templates[1:])).max() > 1e-3


def test_what_a_tower_says_about_itself(models):
    for kind, (_, ours, _) in models.items():
        tower = ours.tower
        assert isinstance(tower, VisionTower) and isinstance(tower, TransparentTower)
        assert len(tower.blocks) == tower.depth and tower.blocks[-1] is tower.last_block
        assert (tower.patch_size, tower.native_size, tower.width) == (8, 32, 32)
        assert tower.dim == (16 if kind == "clip" else 32)
        assert np.allclose(tower.mean, MEAN) and np.allclose(tower.std, STD)
        assert ours.logit_scale == pytest.approx(np.exp(2.0), rel=1e-6)


@pytest.mark.parametrize("kind", SAVERS)
def test_image_level_answers_are_untouched_by_dense_read_outs(models, kind):
    """Bit-identical embedding and zero-shot scores before and after every read-out ran."""
    _, ours, _ = models[kind]
    images = random_images(24, 40)
    text = torch.from_numpy(ours.text.embed_text(("chair", "wall"), ("a {}.",)))

    def answers():
        embedded = ours.tower.embed_images(images)
        return embedded.numpy().tobytes(), (embedded @ text.T).numpy().tobytes()

    before = answers()
    for settings in READ_OUTS.values():
        dense_tokens(ours.tower, images, settings)
    assert answers() == before


def test_activation_comes_with_the_configuration(tmp_path):
    (tmp_path / "quick").mkdir()
    (tmp_path / "exact").mkdir()
    images = random_images(32, 32)
    quick = save_tiny_clip(tmp_path / "quick", hidden_act="quick_gelu")
    save_tiny_clip(tmp_path / "exact", hidden_act="gelu")
    found = [load_hugging_face_clip(str(tmp_path / name)).tower.embed_images(images) for name in ("quick", "exact")]
    expected = F.normalize(own_image_features("clip", quick, images), dim=-1)
    torch.testing.assert_close(found[0], expected, rtol=0, atol=2e-6)
    assert (found[0] - found[1]).abs().max() > 1e-3


def test_fingerprint_follows_weights_and_configuration(models, tmp_path):
    _, ours, folder = models["clip"]
    assert load_hugging_face_clip(str(folder)).fingerprint == ours.fingerprint
    save_tiny_clip(tmp_path, seed=1)
    other = load_hugging_face_clip(str(tmp_path))
    assert other.fingerprint != ours.fingerprint
    (tmp_path / "preprocessor_config.json").unlink()
    assert load_hugging_face_clip(str(tmp_path)).fingerprint != other.fingerprint


def test_an_unreachable_id_is_one_clear_error_at_once(monkeypatch):
    started = time.monotonic()
    with pytest.raises(ResourceError) as caught:
        load_hugging_face_clip("nobody/no-such-model")
    assert time.monotonic() - started < 2
    for words in ("nobody/no-such-model", "small-clip", "files:DIR", "folder"):
        assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_in_the_cache_needs_no_network(models, tmp_path, monkeypatch):
    """By id from a cache as any Hugging Face program leaves it: files behind links, branch names in refs."""
    from huggingface_hub import constants

    _, ours, folder = models["clip"]
    snapshot = tmp_path / "models--someone--tiny" / "snapshots" / ("a" * 40)
    (tmp_path / "models--someone--tiny" / "refs").mkdir(parents=True)
    (tmp_path / "models--someone--tiny" / "refs" / "main").write_text("a" * 40)
    snapshot.mkdir(parents=True)
    for file in folder.iterdir():
        (snapshot / file.name).symlink_to(file)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert load_hugging_face_clip("someone/tiny").fingerprint == ours.fingerprint
    (snapshot / "model.safetensors").unlink()  # the rest of an unfinished download
    with pytest.raises(ResourceError, match="the network is switched off"):
        load_hugging_face_clip("someone/tiny")


def test_a_silent_network_is_found_out_in_seconds(monkeypatch):
    """A server that takes the connection and never answers."""
    from huggingface_hub import constants

    from scenewise.teachers import model_folders

    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.setattr(model_folders, "_PROBE_SECONDS", 0.3)
        started = time.monotonic()
        with pytest.raises(ResourceError, match="does not answer") as caught:
            load_hugging_face_clip("openai/clip-vit-base-patch16")
        assert time.monotonic() - started < 2
        assert "small-clip" in str(caught.value)


def test_folders_that_are_no_model(tmp_path):
    with pytest.raises(ResourceError, match=r"neither\. Fix: give the path"):
        load_hugging_face_clip("./no/such/folder at all")
    with pytest.raises(DataFormatError, match=r"expected config.json of a CLIP"):
        load_hugging_face_clip(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(DataFormatError, match=r"model_type: expected 'clip' or 'siglip' or 'siglip2', got 'bert'"):
        load_hugging_face_clip(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"anything")
    with pytest.raises(DataFormatError, match=r"weights as safetensors, got pytorch_model.bin. Fix: convert them"):
        load_hugging_face_clip(str(tmp_path))


def _edit_config(folder, change):
    content = json.loads((folder / "config.json").read_text())
    change(content)
    (folder / "config.json").write_text(json.dumps(content))


def test_damaged_models_are_named(tmp_path):
    save_tiny_clip(tmp_path)
    intact = (tmp_path / "config.json").read_text()
    _edit_config(tmp_path, lambda config: config["vision_config"].update(hidden_size=1 << 20))
    with pytest.raises(DataFormatError, match="do not belong to this configuration"):
        load_hugging_face_clip(str(tmp_path))
    (tmp_path / "config.json").write_text(intact)
    _edit_config(tmp_path, lambda config: config["text_config"].update(num_hidden_layers=10**9))
    with pytest.raises(DataFormatError, match="num_hidden_layers: expected from 1 to"):
        load_hugging_face_clip(str(tmp_path))
    (tmp_path / "config.json").write_text(intact)
    _edit_config(tmp_path, lambda config: config["vision_config"].update(num_hidden_layers=4))
    with pytest.raises(DataFormatError, match=r"layers\.3\..*got nothing"):
        load_hugging_face_clip(str(tmp_path))
    (tmp_path / "config.json").write_text(intact)
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(DataFormatError, match="a safetensors file"):
        load_hugging_face_clip(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(weights)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    with pytest.raises(DataFormatError, match="expected a tokenizer"):
        load_hugging_face_clip(str(tmp_path))


def test_a_tokenizer_of_another_model(tmp_path):
    save_tiny_siglip(tmp_path)
    save_clip_tokenizer(tmp_path)
    with pytest.raises(DataFormatError, match="ids below 9"):
        load_hugging_face_clip(str(tmp_path)).text.embed_text(("chair",), ("a {}",))


@pytest.mark.errors
def test_words_and_sides_that_do_not_fit(models):
    _, ours, _ = models["clip"]
    with pytest.raises(ConventionError, match="a word, got ' '"):
        ours.text.embed_text((" ",), ("a {}",))
    with pytest.raises(ValueError, match="multiples of the patch size 8, got 30×32"):
        ours.tower.tokens(torch.zeros(1, 3, 30, 32))

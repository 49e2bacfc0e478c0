"""DINOv2, with and without registers: parity with transformers on tiny models saved and loaded as real ones."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.support.tiny_models import MEAN, STD, save_tiny_clip, save_tiny_dinov2, save_tiny_siglip
from tests.support.tiny_tower import TinyTower

from scenewise.errors import ConventionError, DataFormatError, ResourceError
from scenewise.teachers.choose import open_teacher, read_out_text
from scenewise.teachers.clip_teacher import ClipTeacher
from scenewise.teachers.dinov2 import Dinov2Tower, load_dinov2
from scenewise.teachers.hugging_face import load_hugging_face_clip
from scenewise.teachers.patch_maps import patch_maps
from scenewise.teachers.preprocessing import normalised_image
from scenewise.teachers.protocol import Teacher
from scenewise.teachers.read_outs import READ_OUTS, ClipSettings, dense_tokens
from scenewise.teachers.towers import TransparentTower, VisionTower

REGISTERS = {"plain": 0, "registers": 3, "swiglu": 0}
SIZES = [(32, 32), (24, 40), (64, 48), (8, 8)]


@pytest.fixture(scope="module", autouse=True)
def offline():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory):
    """Kind → (transformers' own model, ours, the folder)."""
    found = {}
    for kind, registers in REGISTERS.items():
        folder = tmp_path_factory.mktemp(kind)
        model = save_tiny_dinov2(folder, registers=registers, use_swiglu_ffn=kind == "swiglu")
        found[kind] = model, load_dinov2(str(folder)), folder
    return found


def random_images(height: int, width: int, count: int = 2, seed: int = 5) -> torch.Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def own_states(model, images: torch.Tensor):
    return model(images, output_hidden_states=True)


@pytest.mark.parametrize("kind", REGISTERS)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_dense_features_are_the_last_hidden_state(models, kind: str, height: int, width: int):
    model, ours, _ = models[kind]
    images = random_images(height, width)
    own = own_states(model, images)
    patches = own.last_hidden_state[:, 1 + REGISTERS[kind] :].unflatten(1, (height // 8, width // 8))
    found = dense_tokens(ours.tower, images, ClipSettings())
    torch.testing.assert_close(found, patches, rtol=0, atol=1e-5)
    assert (found[0] - found[1]).abs().max() > 0.01  # the tiny model does look at its image
    torch.testing.assert_close(ours.tower.embed_images(images), F.normalize(own.pooler_output, dim=-1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", REGISTERS)
def test_patch_maps_are_hidden_states_in_rows_and_columns(models, kind: str):
    model, ours, _ = models[kind]
    tower = ours.tower
    images = random_images(24, 40)
    own = own_states(model, images).hidden_states
    assert len(own) == tower.depth + 1 == 4
    for layer, found in enumerate(patch_maps(tower, images, range(4))):
        assert found.shape == (2, 3, 5, 32)
        expected = own[layer][:, 1 + REGISTERS[kind] :].unflatten(1, (3, 5))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    last, early, again = patch_maps(tower, images, (-1, 1, 3))
    assert torch.equal(last, again) and not torch.allclose(last, early)
    torch.testing.assert_close(
        tower.head(last.flatten(1, 2)).unflatten(1, (3, 5)), dense_tokens(tower, images, ClipSettings()), rtol=0, atol=1e-6
    )
    assert not last.requires_grad


def test_a_patch_is_where_it_lies_in_the_picture(models):
    """Before any attention, a change in the patch of row 1, column 3 is in that cell of the map and in no other."""
    _, ours, _ = models["registers"]
    images = random_images(24, 40)
    changed = images.clone()
    changed[:, :, 8:16, 24:32] += 1
    (before,), (after,) = patch_maps(ours.tower, images, [0]), patch_maps(ours.tower, changed, [0])
    assert torch.nonzero((before != after).any(dim=-1)[0]).tolist() == [[1, 3]]


def test_patch_maps_of_other_towers(tmp_path: Path):
    images = random_images(24, 40)
    (tmp_path / "clip").mkdir()
    (tmp_path / "siglip").mkdir()
    model = save_tiny_clip(tmp_path / "clip")
    clip = load_hugging_face_clip(str(tmp_path / "clip")).tower
    with torch.no_grad():
        own = model.vision_model(images, interpolate_pos_encoding=True, output_hidden_states=True).hidden_states
    torch.testing.assert_close(patch_maps(clip, images, [-1])[0].flatten(1, 2), own[-1][:, 1:], rtol=0, atol=1e-5)
    save_tiny_siglip(tmp_path / "siglip")
    siglip = load_hugging_face_clip(str(tmp_path / "siglip")).tower
    assert torch.equal(patch_maps(siglip, images, [3])[0].flatten(1, 2), siglip.tokens(images).hidden[-1])
    with pytest.raises(ConventionError, match=r"layers: expected 0 … 3, got 4. Fix: its last block pools"):
        patch_maps(siglip, images, [4])
    tiny = TinyTower(dtype=torch.float32)
    for wrong in (7, -8):
        with pytest.raises(ConventionError, match=f"layers: expected 0 … 6, got {wrong}"):
            patch_maps(tiny, images, [wrong])


def test_blocks_put_together_from_their_parts(models):
    """The parts that read-outs take apart, put together again: attention, layer scale, residual, MLP, layer scale, residual."""
    for kind, (model, ours, _) in models.items():
        tower = ours.tower
        images = random_images(16, 24)
        own = own_states(model, images).hidden_states
        for block, before, after in zip(tower.blocks, own, own[1:]):
            normed = block.norm1(before)
            q, k, v = (part(normed).unflatten(-1, (block.num_heads, -1)) for part in (block.query, block.key, block.value))
            weights = torch.einsum("bihd,bjhd->bhij", q, k).div(q.shape[-1] ** 0.5).softmax(-1)
            x = before + block.out(torch.einsum("bhij,bjhd->bihd", weights, v).flatten(2))
            torch.testing.assert_close(x + block.feed_forward(x), after, rtol=0, atol=1e-5, msg=kind)


@pytest.mark.parametrize("kind", REGISTERS)
def test_every_read_out_leaves_registers_out(models, kind: str):
    _, ours, _ = models[kind]
    images = random_images(24, 40)
    for settings in READ_OUTS.values():
        assert dense_tokens(ours.tower, images, settings).shape == (2, 3, 5, 32)


def test_what_a_tower_says_about_itself(models):
    for kind, (_, ours, _) in models.items():
        tower = ours.tower
        assert isinstance(tower, Dinov2Tower) and isinstance(tower, VisionTower) and isinstance(tower, TransparentTower)
        assert tower.num_registers == REGISTERS[kind] and len(tower.blocks) == tower.depth == 3
        assert (tower.patch_size, tower.native_size, tower.width, tower.dim) == (8, 32, 32, 32)
        assert np.allclose(tower.mean, MEAN) and np.allclose(tower.std, STD)


@pytest.mark.parametrize("kind", REGISTERS)
def test_it_is_a_teacher_of_features(models, kind: str):
    """One pass over the whole picture; the grid is interpolated between the patches of transformers' own answer."""
    model, _, folder = models[kind]
    teacher = open_teacher(str(folder), device="cpu", local_files_only=True)
    assert isinstance(teacher, Teacher) and isinstance(teacher, ClipTeacher) and read_out_text(teacher) == "clip"
    assert read_out_text(open_teacher(str(folder), device="cpu", method_read_out="maskclip")) == "clip"
    image = np.random.default_rng(1).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    found = teacher.dense(image, "any")
    assert found is not None and found.values.shape == (8, 12, 32)  # cells of half a patch
    own = own_states(model, normalised_image(image, (32, 48), MEAN, STD)[None]).last_hidden_state[0, 1 + REGISTERS[kind] :]
    expected = F.normalize(own, dim=-1).unflatten(0, (4, 6)).numpy()
    # The centre of a cell lies a quarter of a patch beside a patch's: ¾ of that patch and ¼ of the next, along each axis.
    mixed = 9 * expected[1, 2] + 3 * expected[1, 1] + 3 * expected[0, 2] + expected[0, 1]
    assert np.allclose(found.values[2, 4], mixed / 16, atol=1e-5)


def test_it_has_no_words(models):
    _, ours, folder = models["plain"]
    teacher = open_teacher(str(folder), device="cpu")
    for ask in (ours.text.embed_text, teacher.embed_text):
        with pytest.raises(
            ConventionError, match=r"words for .*expected a teacher that understands words.*Fix: ask a CLIP"
        ) as caught:
            ask(("chair",), ("a {}",))
        assert str(folder) in str(caught.value) and "\n" not in str(caught.value)
    assert teacher.vocabulary() is None


def test_a_tower_inside_a_classifier_is_found(models, tmp_path: Path):
    """Checkpoints of classifiers name the same tensors with a prefix."""
    from safetensors.torch import load_file, save_file

    _, ours, folder = models["plain"]
    tensors = {f"dinov2.{name}": tensor for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(tensors | {"classifier.bias": torch.zeros(2)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    found = load_dinov2(str(tmp_path)).tower
    images = random_images(16, 16)
    assert torch.equal(found.embed_images(images), ours.tower.embed_images(images))
    assert np.allclose(found.mean, (0.485, 0.456, 0.406))  # no preprocessor_config.json: the published values


@pytest.mark.parametrize("kind", ["plain", "swiglu"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 1 << 20}, "do not belong to this configuration"),
        ({"num_hidden_layers": 4}, r"layer\.3\..*got nothing"),
        ({"num_hidden_layers": 10**9}, r"num_hidden_layers: expected a whole number from 1 to"),
        ({"patch_size": [8, 8]}, r"patch_size: expected a whole number"),
        ({"mlp_ratio": 3}, "do not belong to this configuration"),
        ({"model_type": "dinov3_vit"}, "model_type: expected 'dinov2' or 'dinov2_with_registers', got 'dinov3_vit'"),
    ],
)
def test_weights_of_another_configuration(models, kind: str, change: dict[str, object], message: str, tmp_path: Path):
    _, _, folder = models[kind]
    (tmp_path / "model.safetensors").symlink_to(folder / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(json.loads((folder / "config.json").read_text()) | change))
    with pytest.raises(DataFormatError, match=message):
        load_dinov2(str(tmp_path))


def test_models_that_are_something_else(tmp_path: Path):
    save_tiny_clip(tmp_path)
    with pytest.raises(DataFormatError, match="expected 'dinov2' or 'dinov2_with_registers', got 'clip'"):
        load_dinov2(str(tmp_path))
    with pytest.raises(ResourceError, match="facebook/dinov2-no-such-size"):
        load_dinov2("facebook/dinov2-no-such-size", local_files_only=True)


@pytest.mark.errors
def test_sides_that_do_not_fit(models):
    _, ours, _ = models["registers"]
    with pytest.raises(ValueError, match="multiples of the patch size 8, got 30×32"):
        patch_maps(ours.tower, torch.zeros(1, 3, 30, 32), [1])

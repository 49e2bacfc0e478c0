"""A CLIP as a teacher from end to end, and how a teacher is chosen by name."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.support.tiny_models import save_tiny_clip, save_tiny_resnet_clip, save_tiny_siglip

from scenewise.errors import ConventionError, DataFormatError, ResourceError
from scenewise.teachers.choose import chosen_device, open_teacher
from scenewise.teachers.clip_teacher import ClipTeacher, ClipTeacherSettings, fitting_read_out, settings_for_native_size
from scenewise.teachers.model_folders import licence_of_model_card
from scenewise.teachers.preprocessing import ResizeSettings, normalised_image
from scenewise.teachers.prompts import IMAGENET_TEMPLATES
from scenewise.teachers.protocol import Teacher
from scenewise.teachers.read_outs import ClearClipSettings, ClipSettings, MaskClipSettings, ScClipSettings, dense_tokens
from scenewise.teachers.read_outs.attention import projected_keys
from scenewise.teachers.windows import WindowSettings

SAVERS = {"clip": save_tiny_clip, "siglip": save_tiny_siglip, "resnet": save_tiny_resnet_clip}


@pytest.fixture(scope="module", autouse=True)
def offline():
    os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    found = {}
    for kind, save in SAVERS.items():
        found[kind] = tmp_path_factory.mktemp(kind)
        save(found[kind])
    return found


@pytest.fixture(scope="module")
def teachers(folders):
    return {kind: open_teacher(str(folder), device="cpu") for kind, folder in folders.items()}


def random_image(height=60, width=90, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_the_published_settings_are_the_defaults():
    settings = ClipTeacherSettings()
    assert (settings.resize.short_side, settings.resize.long_side) == (336, 2048)
    assert (settings.windows.crop, settings.windows.stride, settings.logit_scale) == (224, 112, 40.0)
    assert settings.read_out == ScClipSettings() and settings.templates == IMAGENET_TEMPLATES
    assert settings_for_native_size(224, 16, settings) == settings
    # A SigLIP of 384 pixels with patches of 14: 27 whole patches.
    larger = settings_for_native_size(384, 14, settings)
    assert (larger.windows.crop, larger.windows.stride, larger.resize.short_side, larger.windows.cell) == (378, 189, 567, 7)


@pytest.mark.parametrize("kind", SAVERS)
def test_a_teacher_from_a_folder(teachers, folders, kind):
    teacher = teachers[kind]
    assert isinstance(teacher, Teacher)
    assert teacher.name == str(folders[kind]) and teacher.vocabulary() is None and teacher.logit_scale == 40.0
    image = random_image()
    field = teacher.dense(image, "a.png")
    assert (field.height, field.width, field.kind) == (60, 90, "features")
    crop = 64 if kind == "resnet" else 32
    cell = 16 if kind == "resnet" else 4
    assert field.values.shape[:2] == (round(crop * 1.5 / cell), round(crop * 1.5 * 1.5 / cell))
    assert field.values.dtype == np.float32 and np.isfinite(field.values).all()
    lengths = np.linalg.norm(field.values, axis=-1)
    assert lengths.max() <= 1 + 1e-5 and lengths.min() < 0.999  # means of unit vectors
    text = teacher.embed_text(("chair", "wall"), teacher.default_templates()[:3])
    assert text.shape == (2, field.values.shape[2])
    assert np.allclose(np.linalg.norm(text, axis=1), 1.0, atol=1e-6)
    again = teacher.dense(image, "b.png")
    assert again.values.tobytes() == field.values.tobytes()
    assert np.linalg.norm(teacher.embed_image(image)) == pytest.approx(1.0, abs=1e-5)


def test_dense_features_are_the_read_out_on_the_resized_image(teachers):
    clip = teachers["clip"].clip
    read_out = MaskClipSettings(keep_residual=False)
    teacher = ClipTeacher(
        clip,
        ClipTeacherSettings(read_out=read_out, resize=ResizeSettings(short_side=40), windows=WindowSettings(crop=None, cell=8)),
    )
    image = random_image(60, 84)
    shown = normalised_image(image, (40, 56), clip.tower.mean, clip.tower.std)
    expected = F.normalize(dense_tokens(clip.tower, shown[None], read_out)[0], dim=-1).numpy()
    assert np.allclose(teacher.dense(image, "x").values, expected, atol=1e-6)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_image_level_embedding_is_bit_identical_after_dense(teachers, kind):
    """The teacher's whole dense path (resize, windows, SC-CLIP) leaves the model's ordinary answers alone."""
    teacher, image = teachers[kind], random_image()
    text = teacher.embed_text(("chair", "wall"), ("a {}",))

    def answers():
        embedded = teacher.embed_image(image)
        return embedded.tobytes() + (text @ embedded).tobytes() + teacher.embed_text(("chair",), ("a {}",)).tobytes()

    before = answers()
    parameters = sum(p.numel() for p in teacher.clip.tower._vision.parameters())
    teacher.dense(image, "x")
    assert answers() == before
    assert sum(p.numel() for p in teacher.clip.tower._vision.parameters()) == parameters


def test_fingerprint_follows_what_changes_dense_features(teachers, folders):
    teacher = teachers["clip"]
    same = [
        open_teacher(str(folders["clip"]), device="cpu"),
        ClipTeacher(teacher.clip, replace(teacher.settings, logit_scale=50.0, templates=("a {}",))),
        ClipTeacher(teacher.clip, replace(teacher.settings, windows=replace(teacher.settings.windows, batch=1))),
    ]
    assert {each.fingerprint for each in same} == {teacher.fingerprint}
    others = [
        ClipTeacher(teacher.clip, replace(teacher.settings, windows=replace(teacher.settings.windows, stride=8))),
        ClipTeacher(teacher.clip, replace(teacher.settings, resize=ResizeSettings(short_side=40))),
        ClipTeacher(teacher.clip, replace(teacher.settings, read_out=ScClipSettings(beta=0.5))),
        open_teacher(str(folders["clip"]), read_out="maskclip", device="cpu"),
        open_teacher(str(folders["clip"]), read_out="sclip", device="cpu"),
        teachers["siglip"],
    ]
    assert len({each.fingerprint for each in [teacher, *others]}) == 7


@pytest.mark.parametrize("kind", SAVERS)
def test_key_smoothing_shares_features_between_patches_of_a_window(teachers, folders, kind):
    plain = teachers[kind]
    teacher = open_teacher(str(folders[kind]), key_smoothing=True, device="cpu")
    assert teacher.settings == replace(plain.settings, key_smoothing=True) and teacher.fingerprint != plain.fingerprint
    size = 64 if kind == "resnet" else 32  # one window
    image = random_image(size, size)
    one = replace(teacher.settings, resize=ResizeSettings(short_side=size))
    tower, read_out = plain.clip.tower, plain.settings.read_out
    shown = normalised_image(image, (size, size), tower.mean, tower.std)[None]
    if kind == "resnet":
        features, keys = tower.value_features(shown), tower.keys(shown).flatten(1, 2)
    else:
        features, passed = dense_tokens(tower, shown, read_out), tower.tokens(shown)
        keys = projected_keys(tower.last_block, passed.hidden[-1], passed)
    unit, keys = F.normalize(features.flatten(1, 2), dim=-1)[0].double(), keys[0].double()
    cosines = (F.normalize(keys, dim=-1) @ F.normalize(keys, dim=-1).T).clamp(min=0)
    expected = F.normalize(cosines @ unit, dim=-1).unflatten(0, features.shape[1:3])
    one = replace(one, windows=replace(one.windows, cell=tower.patch_size))
    assert np.allclose(ClipTeacher(plain.clip, one).dense(image, "x").values, expected.float().numpy(), atol=1e-5)
    unsmoothed = ClipTeacher(plain.clip, replace(one, key_smoothing=False)).dense(image, "x").values
    assert np.abs(unsmoothed - expected.numpy()).max() > 1e-3


def test_read_outs_as_they_make_sense_for_a_pooling_head(teachers, folders):
    siglip = teachers["siglip"].clip.tower
    assert fitting_read_out(siglip, MaskClipSettings()) == MaskClipSettings(keep_residual=False, keep_ffn=True)
    assert fitting_read_out(siglip, ClearClipSettings()) == ClearClipSettings(keep_ffn=True)
    assert fitting_read_out(siglip, ScClipSettings()) == ScClipSettings(keep_ffn=True)
    assert fitting_read_out(teachers["clip"].clip.tower, ClearClipSettings()) == ClearClipSettings()
    with pytest.raises(ConventionError, match="only the pooling probe"):
        open_teacher(str(folders["siglip"]), read_out="clip", device="cpu")


def test_a_resnet_takes_two_read_outs(teachers, folders):
    assert teachers["resnet"].settings.read_out == MaskClipSettings()
    asked = open_teacher(str(folders["resnet"]), read_out="clip", device="cpu")
    assert asked.settings.read_out == ClipSettings()
    image = random_image()
    assert np.abs(asked.dense(image, "x").values - teachers["resnet"].dense(image, "x").values).max() > 0.01
    with pytest.raises(ConventionError, match="maskclip or clip for a CLIP with a ResNet, got 'naclip'"):
        open_teacher(str(folders["resnet"]), read_out="naclip", device="cpu")


def test_names_that_cannot_be(folders, tmp_path):
    with pytest.raises(ResourceError, match=r"small-clip.*files:DIR"):
        open_teacher("smal-clip", device="cpu")
    with pytest.raises(ResourceError, match="within reach"):
        open_teacher("openai/clip-vit-base-patch16@refs/pr/5", device="cpu")
    with pytest.raises(ConventionError, match="one of clip, maskclip"):
        open_teacher(str(folders["clip"]), read_out="mask_clip", device="cpu")
    with pytest.raises(ConventionError, match="none for a teacher from files"):
        open_teacher(f"files:{tmp_path}", read_out="maskclip")
    with pytest.raises(ConventionError, match="finished features, got key smoothing"):
        open_teacher(f"files:{tmp_path}", key_smoothing=True)
    with pytest.raises(DataFormatError, match=r"teacher\.json"):
        open_teacher(f"files:{tmp_path / 'nothing'}")
    with pytest.raises(ConventionError, match="multiple of the patch size 8, got 30"):
        open_teacher(str(folders["clip"]), settings=ClipTeacherSettings(windows=WindowSettings(30, 10)), device="cpu")


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: mit\ntags:\n- vision\n---\n# license: apache\n", "mit"),
        ("---\r\ntags: [a, b]\r\nlicense : 'Apache-2.0' # see LICENSE\r\n---\r\n", "Apache-2.0"),
        ("---\nlicense:\n  - mit\n  - cc0-1.0\nlicense_link: x\n- no\n---\n", "mit, cc0-1.0"),
        ('---\nlicense: [mit, "bsd"]\n---\n', "mit, bsd"),
        ("---\nlicense: other\nlicense_name: my-terms\n---\n", "my-terms"),
        ("---\nlicense: other\n---\n", "other"),
        ("---\nmodel:\n  license: nested\nlicense_name: unused\nlicense: null\n---\n", None),
        ("---\nlicense: mit\nand no end", None),
        ("license: mit\n", None),
        ("", None),
    ],
)
def test_the_licence_in_a_model_card(card, licence):
    assert licence_of_model_card(card) == licence


@pytest.mark.parametrize("kind", SAVERS)
def test_the_licence_of_a_model_is_that_of_its_card(teachers, kind, tmp_path):
    assert teachers[kind].licence is None
    folder = tmp_path / "model"
    SAVERS[kind](folder)
    before = open_teacher(str(folder), device="cpu").fingerprint
    (folder / "README.md").write_bytes(b"---\nlicense: cc-by-4.0\n---\n\xff\xfe not UTF-8")
    teacher = open_teacher(str(folder), device="cpu")
    assert teacher.licence == "cc-by-4.0" and teacher.fingerprint == before


def test_devices():
    assert chosen_device("cpu") == "cpu"
    assert chosen_device(None) == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(ConventionError, match='"cpu", "cuda"'):
        chosen_device("gpu")
    with pytest.raises(ResourceError, match="a CUDA device"):
        chosen_device("cuda:99")


def test_files_with_the_text_tower_of_a_model(folders, tmp_path):
    from safetensors.numpy import save_file

    features = np.random.default_rng(0).normal(size=(3, 4, 16)).astype(np.float16)
    (tmp_path / "teacher.json").write_text(json.dumps({"kind": "features", "dim": 16, "text_space": "tiny", "ignore": -1}))
    save_file({"features": features}, tmp_path / "a.safetensors")
    teacher = open_teacher(f"files:{tmp_path}", text_from=str(folders["clip"]), device="cpu")
    assert isinstance(teacher, Teacher)
    assert teacher.embed_text(("chair",), ("a {}",)).shape == (1, 16)
    with pytest.raises(ConventionError, match="only with files:DIR"):
        open_teacher(str(folders["clip"]), text_from="small-clip", device="cpu")


def test_the_embedded_model(monkeypatch, tmp_path):
    """With random weights in its own file format: what is tested is the way from the name to a teacher."""
    from scenewise.networks.small_clip import SmallClip, SmallClipShape
    from scenewise.teachers import small_clip

    language = small_clip.Language(("chair", "a", "red"), {"chair": ("chair",)}, frozenset({"chair", "red"}), ("a {}", "{}"))
    path = tmp_path / "small.safetensors"
    small_clip.save_small_clip(path, SmallClip(SmallClipShape(image_size=32, words=3)), language)
    monkeypatch.setattr(small_clip, "WEIGHTS", path)
    monkeypatch.setattr(small_clip, "load_small_clip", lambda: small_clip.read_small_clip(path))
    teacher = open_teacher("small-clip", device="cpu")
    assert isinstance(teacher, Teacher) and teacher.name == "small-clip" and teacher.licence == "Apache-2.0"
    assert teacher.default_templates() == ("a {}", "{}")
    field = teacher.dense(random_image(48, 64), "x")
    assert field.values.shape == (20, 27, 128)  # 80×107 pixels in cells of half a patch
    assert teacher.embed_text(("red chair",), teacher.default_templates()).shape == (1, 128)
    with pytest.raises(ConventionError, match="nothing it knows"):
        teacher.embed_text(("zebra",), ("a {}",))
    assert teacher.fingerprint != open_teacher("small-clip", read_out="maskclip", device="cpu").fingerprint


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu(folders):
    image = random_image()
    found = [open_teacher(str(folders["clip"]), device=device).dense(image, "x").values for device in ("cpu", "cuda")]
    assert np.allclose(found[0], found[1], atol=2e-3)

"""The training of the small CLIP: what it sees, what it minimises, that it learns, resumes and repeats itself."""

import dataclasses
import inspect
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from scenewise.engine.progress import NullProgress
from scenewise.errors import ConventionError
from scenewise.methods.small_clip import train as training
from scenewise.methods.small_clip.batches import Batch, WordIds, batch_at
from scenewise.methods.small_clip.config import Phase, PictureSettings, SmallClipConfig
from scenewise.methods.small_clip.objective import VisibilityScale, caption_loss, losses_of, pooled, subject_loss
from scenewise.methods.small_clip.pictures import Pictures, pictures_of_room, read_shards, write_shard
from scenewise.methods.small_clip.trainer import build_network
from scenewise.networks.small_clip import SmallClip, SmallClipShape
from scenewise.teachers.small_clip import read_small_clip
from scenewise.worlds.captions import ImageRecords

SETTINGS = PictureSettings(size=40, kinds=("any", "close-up", "stuff"), rooms_per_shard=4, shards=1)
CONFIG = SmallClipConfig(
    pictures=SETTINGS,
    shape=SmallClipShape(image_size=32, vision_width=32, vision_depth=2, vision_heads=2, text_width=32, text_heads=2, dim=16),
    phases=(Phase(6, 8, sizes=(32,)), Phase(2, 16, patch_weight=0.5, sizes=(32, 40))),
    batch_size=12,
    warm_up=2,
    save_every=4,
    is_mixed_precision=False,
)


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return Pictures.joined([pictures_of_room(seed, SETTINGS) for seed in SETTINGS.seeds(0)])


@pytest.fixture(autouse=True)
def few_validation_pictures(monkeypatch: pytest.MonkeyPatch, pictures: Pictures) -> None:
    monkeypatch.setattr(training, "_validation_pictures", lambda config: pictures)


def test_training_receives_image_level_records_only() -> None:
    """No argument of the training, and no field of what it is given, can carry class or instance maps."""
    arguments = inspect.signature(training.train).parameters
    assert arguments["pictures"].annotation is Pictures
    assert set(arguments) == {"config", "pictures", "folder", "minutes", "device", "progress"}
    assert {field.name for field in dataclasses.fields(Pictures)} == {"images", "records"}
    assert {field.name for field in dataclasses.fields(ImageRecords)} == {"counts", "colors", "shares"}
    with pytest.raises((ValueError, TypeError)):  # one number per class and picture: a map does not fit
        Pictures(
            np.zeros((1, 4, 4, 3), np.uint8), ImageRecords(*[np.zeros((1, 4, 4), np.uint8)] * 2, np.zeros((1, 4, 4), np.float32))
        )


def test_batches_depend_on_the_step_alone(pictures: Pictures) -> None:
    words = WordIds(training.training_language().words, CONFIG.shape.context)
    first, again, other = (batch_at(pictures, words, CONFIG, step) for step in (3, 3, 4))
    for field in dataclasses.fields(Batch):
        assert torch.equal(getattr(first, field.name), getattr(again, field.name))
    assert not torch.equal(first.images, other.images)
    assert first.kept.shape == (12, 8) and batch_at(pictures, words, CONFIG, 6).kept.shape == (12, 16)
    assert not first.entailed.diagonal().any()


def test_rooms_of_pictures_repeat_and_settings_are_kept_with_them(tmp_path: Path, pictures: Pictures) -> None:
    write_shard(tmp_path, 0, SETTINGS.seeds(0), SETTINGS)
    found = read_shards(tmp_path, 1)
    assert (found.images == pictures.images).all() and (found.records.shares == pictures.records.shares).all()
    with pytest.raises(ConventionError, match="settings"):
        write_shard(tmp_path, 0, SETTINGS.seeds(0), replace(SETTINGS, kinds=("wide",)))


def test_caption_loss_against_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    images, texts = (F.normalize(torch.randn(3, 4, generator=generator, dtype=torch.float64), dim=-1) for _ in range(2))
    entailed = torch.zeros(3, 3, dtype=torch.bool)
    entailed[0, 2] = True  # asymmetric: text 2 is true of picture 0, not the other way round
    total = 0.0
    for i in range(3):
        by_image = sum(torch.exp(5 * images[i] @ texts[j]) for j in range(3) if not entailed[i, j])
        by_text = sum(torch.exp(5 * images[j] @ texts[i]) for j in range(3) if not entailed[j, i])
        own = torch.exp(5 * images[i] @ texts[i])
        total -= float(torch.log(own / by_image) + torch.log(own / by_text)) / 6
    assert float(caption_loss(images, texts, torch.tensor(5.0, dtype=torch.float64), entailed)) == pytest.approx(total, abs=1e-9)


def test_subject_loss_leaves_out_pictures_of_nothing() -> None:
    cosines = torch.tensor([[0.2, -0.1], [0.5, 0.5], [0.9, 0.1]], requires_grad=True)
    loss = subject_loss(cosines, torch.tensor(3.0), torch.tensor([1, -1, 0]))
    expected = F.cross_entropy(3 * cosines.detach()[[0, 2]], torch.tensor([1, 0]))
    assert torch.allclose(loss, expected)
    loss.backward()
    assert cosines.grad is not None and (cosines.grad[1] == 0).all()
    assert float(subject_loss(cosines, torch.tensor(3.0), torch.tensor([-1, -1, -1]))) == 0.0


def test_the_loss_falls_and_the_temperature_receives_gradients(pictures: Pictures) -> None:
    config = replace(CONFIG, learning_rate=3e-3)
    language = training.training_language()
    network, visibility = build_network(config, len(language.words))
    batch = batch_at(pictures, WordIds(language.words, config.shape.context), config, 0)
    optimizer = torch.optim.AdamW([*network.parameters(), *visibility.parameters()], lr=3e-3)
    values = []
    for _ in range(12):
        optimizer.zero_grad()
        losses = losses_of(network, visibility, batch, config, 15)
        losses.total.backward()
        assert network.log_logit_scale.grad is not None and visibility.bias.grad is not None
        optimizer.step()
        values.append(float(losses.total.detach()))
    assert values[-1] < 0.8 * values[0]


def test_resumed_training_equals_an_unbroken_run(tmp_path: Path, pictures: Pictures, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = training.train(CONFIG, pictures, tmp_path / "whole")
    clock = iter(range(10_000))
    monkeypatch.setattr(training.time, "monotonic", lambda: float(next(clock)))
    slices = 0
    while True:
        slices += 1
        report = training.train(CONFIG, pictures, tmp_path / "slices", minutes=0.1, progress=NullProgress())
        if report.is_done:
            break
    assert slices > 1 and whole.is_done
    weights = [training.export(CONFIG, tmp_path / name, tmp_path / f"{name}.safetensors") for name in ("whole", "slices")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    with pytest.raises(ConventionError, match="batch_size"):
        training.train(replace(CONFIG, batch_size=4), pictures, tmp_path / "slices")
    with pytest.raises(ConventionError, match="phases"):
        training.train(
            replace(CONFIG, phases=(Phase(5, 8, sizes=(32,)), Phase(3, 16, sizes=(32,)))), pictures, tmp_path / "slices"
        )
    model = read_small_clip(weights[0])
    assert model.embed_text(("chair", "couch"), ("a {}",)).shape == (2, 16)


def test_the_schedule_rises_stays_and_falls() -> None:
    rates = [CONFIG.rate_at(step) for step in range(CONFIG.steps)]
    assert rates[0] == pytest.approx(0.5 * CONFIG.learning_rate) and rates[1:6] == [CONFIG.learning_rate] * 5
    assert rates[6:] == pytest.approx([CONFIG.learning_rate, 0.5 * CONFIG.learning_rate])


def test_dropping_no_patch_changes_nothing_and_heads_agree() -> None:
    network = SmallClip(replace(CONFIG.shape, words=3)).eval()
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    kept = torch.arange(16).expand(2, 16)
    assert torch.allclose(network.vision(images), network.vision(images, kept), atol=1e-6)
    tokens = torch.randn(2, 5, 32)
    block = network.vision.blocks[0]
    assert torch.allclose(block(tokens)[:, :1], block.first_token(tokens), atol=1e-6)
    normed = block.norm1(tokens)
    q, k, v = (block.split_heads(part) for part in block.qkv(normed).chunk(3, dim=-1))
    for causal in (False, True):
        logits = q @ k.transpose(-1, -2) / 4  # two heads of 16 channels
        if causal:
            logits = logits + torch.full((5, 5), -torch.inf).triu(1)
        expected = block.out((logits.softmax(-1) @ v).transpose(1, 2).flatten(-2))
        assert torch.allclose(block.attend(normed, causal), expected, atol=1e-6)
        half = deepcopy(block).to(torch.bfloat16).attend(normed.to(torch.bfloat16), causal).float()
        assert torch.allclose(half, expected, atol=0.02)


def test_visibility_scale_is_an_affine_map() -> None:
    scale = VisibilityScale()
    assert float(scale(torch.tensor(0.5)).detach()) == pytest.approx(0.5 * 20 - 5, rel=1e-5)


def test_a_run_may_be_lengthened_while_its_rate_is_stable(
    tmp_path: Path, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = replace(CONFIG, phases=(Phase(7, 8, sizes=(32,)), Phase(2, 16, sizes=(32,))))
    clock = iter(range(10_000))
    with monkeypatch.context() as patched:
        patched.setattr(training.time, "monotonic", lambda: float(next(clock)))
        stopped = training.train(CONFIG, pictures, tmp_path / "lengthened", minutes=0.1)
    assert 0 < stopped.step <= 6
    training.train(longer, pictures, tmp_path / "lengthened")
    training.train(longer, pictures, tmp_path / "whole")
    weights = [training.export(longer, tmp_path / name, tmp_path / f"{name}.st").read_bytes() for name in ("lengthened", "whole")]
    assert weights[0] == weights[1]


def test_pooling_lies_between_mean_and_largest() -> None:
    cosines = torch.tensor([[[0.1, -0.5], [0.4, -0.1], [0.1, -0.3]]], dtype=torch.float64)
    assert torch.allclose(pooled(cosines, 1e-6), cosines.mean(1), atol=1e-5)
    assert torch.allclose(pooled(cosines, 1e4), cosines.amax(1), atol=1e-3)
    by_hand = np.log(np.mean(np.exp(30 * np.array([0.1, 0.4, 0.1])))) / 30
    assert float(pooled(cosines, 30.0)[0, 0]) == pytest.approx(by_hand, abs=1e-9)


def test_patches_answer_along_the_value_path_and_learn_only_when_asked(pictures: Pictures) -> None:
    language = training.training_language()
    network, visibility = build_network(CONFIG, len(language.words))
    batch = batch_at(pictures, WordIds(language.words, CONFIG.shape.context), CONFIG, 6)
    whole, patches = network.vision.with_patches(batch.images, batch.kept)
    assert torch.allclose(whole, network.vision(batch.images, batch.kept), atol=1e-6) and patches.shape[1] == batch.kept.shape[1]
    # Attention that looks at one token only gives that token's value path.
    tokens, block = network.vision.before_last_block(batch.images, batch.kept), network.vision.blocks[-1]
    alone = block.attend(block.norm1(tokens[:, 3:4]))
    assert torch.allclose(network.vision.head(alone + block.feed_forward(alone))[:, 0], patches[:, 2], atol=1e-5)
    asked = VisibilityScale()
    silent = losses_of(network, visibility, batch, CONFIG, 15)
    spoken = losses_of(network, visibility, batch, CONFIG, 15, 0.5, asked)
    assert float(silent.patches) == 0.0 and float(spoken.patches.detach()) > 0.0
    assert torch.allclose(spoken.total, silent.total + 0.5 * CONFIG.visible_weight * spoken.patches, atol=1e-5)
    spoken.total.backward()
    assert asked.bias.grad is not None

"""CLIP with a ResNet: against naive formulas on a tiny random network saved and loaded in the open_clip layout."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.support.tiny_models import MEAN, OPEN_CLIP, byte_pair_vocabulary, save_tiny_resnet_clip
from torch import nn

from scenewise.commands.convert_weights.options import ConvertWeightsOptions
from scenewise.commands.convert_weights.run import convert_weights_command
from scenewise.errors import ConventionError, DataFormatError
from scenewise.networks.resnet_clip import ResNetClip, ResNetClipShape, shape_of_state
from scenewise.teachers.convert_weights import convert_open_clip_checkpoint
from scenewise.teachers.resnet_clip import dense_path, load_resnet_clip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resnet")
    network = save_tiny_resnet_clip(folder)
    return network, load_resnet_clip(str(folder)), folder


def random_images(height, width):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(3))


def naive_map(state, images):
    """The convolutions by name, as the published weights are meant to be used."""

    def conv(x, name, norm, stride=1, padding=0):
        x = F.conv2d(x, state[f"visual.{name}.weight"], stride=stride, padding=padding)
        parts = (state[f"visual.{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts, training=False, eps=1e-5)

    x = conv(images, "conv1", "bn1", stride=2, padding=1).relu()
    x = conv(x, "conv2", "bn2", padding=1).relu()
    x = F.avg_pool2d(conv(x, "conv3", "bn3", padding=1).relu(), 2)
    for stage, count in enumerate(OPEN_CLIP["vision_cfg"]["layers"], start=1):
        for block in range(count):
            name = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            y = conv(x, f"{name}.conv1", f"{name}.bn1").relu()
            y = conv(y, f"{name}.conv2", f"{name}.bn2", padding=1).relu()
            y = conv(F.avg_pool2d(y, stride), f"{name}.conv3", f"{name}.bn3")
            if f"visual.{name}.downsample.0.weight" in state:
                x = conv(F.avg_pool2d(x, stride), f"{name}.downsample.0", f"{name}.downsample.1")
            x = (x + y).relu()
    return x


def naive_pool(state, maps):
    """Attention pooling by torch's own multi-head attention with the mean as its only query, native grid only."""
    weight = {name: state[f"visual.attnpool.{name}.weight"] for name in ("q_proj", "k_proj", "v_proj", "c_proj")}
    bias = {name: state[f"visual.attnpool.{name}.bias"] for name in weight}
    x = maps.flatten(2).permute(2, 0, 1)
    x = torch.cat([x.mean(0, keepdim=True), x]) + state["visual.attnpool.positional_embedding"][:, None]
    pooled, _ = F.multi_head_attention_forward(
        x[:1], x, x, x.shape[-1], x.shape[-1] // 64, None,
        torch.cat([bias["q_proj"], bias["k_proj"], bias["v_proj"]]), None, None, False, 0.0, weight["c_proj"], bias["c_proj"],
        training=False, need_weights=False, use_separate_proj_weight=True,
        q_proj_weight=weight["q_proj"], k_proj_weight=weight["k_proj"], v_proj_weight=weight["v_proj"],
    )  # fmt: skip
    return pooled[0]


def test_image_embedding_against_naive_formulas(tiny):
    network, ours, _ = tiny
    images = random_images(64, 64)
    with torch.no_grad():
        maps = naive_map(network.state_dict(), images)
        expected = F.normalize(naive_pool(network.state_dict(), maps), dim=-1)
    assert maps.shape == (2, 128, 2, 2)
    torch.testing.assert_close(ours.tower.embed_images(images), expected, rtol=0, atol=2e-6)
    assert (expected[0] - expected[1]).abs().max() > 0.01


def test_maskclip_is_two_pointwise_convolutions(tiny):
    network, ours, _ = tiny
    images = random_images(96, 160)
    state = network.state_dict()
    with torch.no_grad():
        x = naive_map(state, images)
        for name in ("v_proj", "c_proj"):
            x = F.conv2d(x, state[f"visual.attnpool.{name}.weight"][:, :, None, None], state[f"visual.attnpool.{name}.bias"])
        keys = F.conv2d(
            naive_map(state, images),
            state["visual.attnpool.k_proj.weight"][:, :, None, None],
            state["visual.attnpool.k_proj.bias"],
        )
    found = ours.tower.value_features(images)
    assert found.shape == (2, 3, 5, 12)
    torch.testing.assert_close(found, x.permute(0, 2, 3, 1), rtol=0, atol=2e-5)
    torch.testing.assert_close(ours.tower.keys(images), keys.permute(0, 2, 3, 1), rtol=0, atol=2e-5)


def test_clip_read_out_asks_from_every_cell(tiny):
    network, ours, _ = tiny
    images = random_images(64, 64)
    found = ours.tower.attended_features(images)
    pool = network.visual.attnpool
    with torch.no_grad():
        tokens = pool.tokens(network.visual.feature_map(images))
        for place in range(4):
            row = []
            for head in range(2):
                part = slice(64 * head, 64 * head + 64)
                q, k, v = (projection(tokens)[..., part] for projection in (pool.q_proj, pool.k_proj, pool.v_proj))
                weights = torch.softmax((q[:, place + 1, None] * k).sum(-1) / 8.0, dim=-1)
                row.append((weights[..., None] * v).sum(1))
            expected = pool.c_proj(torch.cat(row, dim=-1))
            torch.testing.assert_close(found[:, place // 2, place % 2], expected, rtol=0, atol=1e-5)


def test_positions_are_interpolated_on_other_grids(tiny):
    network, _, _ = tiny
    pool = network.visual.attnpool
    maps = torch.zeros(1, 128, 3, 5)
    with torch.no_grad():
        found = pool.tokens(maps)[0]
        square = pool.positional_embedding[1:].reshape(2, 2, 128).permute(2, 0, 1)[None]
        expected = F.interpolate(square, (3, 5), mode="bicubic", align_corners=False)[0]
    torch.testing.assert_close(found[0], pool.positional_embedding[0])
    torch.testing.assert_close(found[1 + 1 * 5 + 3], expected[:, 1, 3], rtol=0, atol=1e-6)


def test_text_against_torchs_own_transformer(tiny):
    """CLIP's text tower is a pre-norm encoder with a causal mask; read at the end token."""
    network, ours, _ = tiny
    state = network.state_dict()
    vocabulary = byte_pair_vocabulary()
    pieces = ["a</w>", *"phot", "o</w>", "of</w>", "a</w>", "chair</w>", ".</w>"]
    ids = torch.tensor([[vocabulary[piece] for piece in ("<|startoftext|>", *pieces, "<|endoftext|>")]])
    with torch.no_grad():
        x = state["token_embedding.weight"][ids] + state["positional_embedding"][: ids.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1])
        for number in range(2):
            block = {
                name.removeprefix(f"transformer.resblocks.{number}."): tensor
                for name, tensor in state.items()
                if name.startswith(f"transformer.resblocks.{number}.")
            }
            attention = nn.MultiheadAttention(16, 2, batch_first=True)
            attention.load_state_dict({name.removeprefix("attn."): t for name, t in block.items() if name.startswith("attn.")})
            y = F.layer_norm(x, (16,), block["ln_1.weight"], block["ln_1.bias"])
            x = x + attention(y, y, y, attn_mask=mask, need_weights=False)[0]
            y = F.layer_norm(x, (16,), block["ln_2.weight"], block["ln_2.bias"])
            y = F.linear(y, block["mlp.c_fc.weight"], block["mlp.c_fc.bias"])
            x = x + F.linear(y * torch.sigmoid(1.702 * y), block["mlp.c_proj.weight"], block["mlp.c_proj.bias"])
        x = F.layer_norm(x, (16,), state["ln_final.weight"], state["ln_final.bias"])[0, -1]
        expected = F.normalize(x @ state["text_projection"], dim=0).numpy()
    found = ours.text.embed_text(("chair", "a much longer phrase with wall"), ("a photo of a {}.",))
    assert np.allclose(found[0], expected, atol=3e-6)  # padding by the longer phrase is not seen
    assert ours.logit_scale == pytest.approx(np.exp(2.0), rel=1e-6)
    assert np.allclose(ours.tower.mean, MEAN)


def test_conversion_of_a_foreign_checkpoint(tiny, tmp_path):
    network, ours, folder = tiny
    source = tmp_path / "RN.pt"
    state = {f"module.{name}": tensor.half() for name, tensor in network.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state | {"module.input_resolution": torch.tensor(64)}}, source)
    converted = convert_open_clip_checkpoint(source, tmp_path / "out", tokenizer_from=folder)
    config = json.loads((converted / "open_clip_config.json").read_text())
    assert config["model_cfg"]["vision_cfg"] == OPEN_CLIP["vision_cfg"]
    again = load_resnet_clip(str(converted))
    images = random_images(64, 96)
    torch.testing.assert_close(again.tower.embed_images(images), ours.tower.embed_images(images), rtol=0, atol=5e-3)
    summary = convert_weights_command(ConvertWeightsOptions(source, tmp_path / "by_command", folder))
    for name in ("open_clip_config.json", "open_clip_model.safetensors"):
        assert (summary.folder / name).read_bytes() == (converted / name).read_bytes()


def test_sizes_read_off_the_tensors():
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in ResNetClip(ResNetClipShape()).state_dict().items()}
    assert shape_of_state(shapes) == ResNetClipShape()
    assert shapes["visual.attnpool.positional_embedding"] == (50, 2048)
    assert shapes["visual.layer4.0.downsample.0.weight"] == (2048, 1024, 1, 1)
    # The published RN50 has 102 million parameters; running means and variances are no parameters.
    assert 101e6 < sum(np.prod(shape) for name, shape in shapes.items() if "running" not in name) < 103e6


class _Payload:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_conversions_that_cannot_be(tmp_path, capsys):
    torch.save({"weights": _Payload()}, tmp_path / "evil.pt")
    with pytest.raises(DataFormatError, match="tensors only"):
        convert_open_clip_checkpoint(tmp_path / "evil.pt", tmp_path / "out")
    assert "never run" not in capsys.readouterr().out
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(DataFormatError, match="CLIP with a ResNet"):
        convert_open_clip_checkpoint(tmp_path / "other.pt", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folders_that_cannot_be_loaded(tmp_path):
    save_tiny_resnet_clip(tmp_path)
    intact = json.loads((tmp_path / "open_clip_config.json").read_text())

    def load_with(change):
        content = json.loads(json.dumps(intact))
        change(content["model_cfg"])
        (tmp_path / "open_clip_config.json").write_text(json.dumps(content))
        load_resnet_clip(str(tmp_path))

    for change, message in (
        (lambda model: model["vision_cfg"].update(patch_size=16, layers=12), "vision transformer. Fix: use the model's Hugging"),
        (lambda model: model["vision_cfg"].update(layers=[1, 2, 1, 2]), r"layer4\.1\..*got nothing"),
        (lambda model: model["vision_cfg"].update(layers=[900, 900, 900, 900]), "no more than the"),
        (lambda model: model.update(embed_dim=1 << 19), "expected 524288, got 12|expected .*524288"),
        (lambda model: model["text_cfg"].update(heads=3), "a divisor of the width 16"),
    ):
        with pytest.raises(DataFormatError, match=message):
            load_with(change)
    (tmp_path / "open_clip_config.json").write_text(json.dumps(intact))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).unlink()
    with pytest.raises(DataFormatError, match="CLIP's tokenizer"):
        load_resnet_clip(str(tmp_path))


def test_other_read_outs_are_refused():
    assert dense_path("maskclip") == "value_features"
    with pytest.raises(ConventionError, match="maskclip or clip for a CLIP with a ResNet, got 'sc_clip'"):
        dense_path("sc_clip")

"""Tiny random models saved in the layouts of real ones: `from teachers.tiny_models import save_tiny_clip`."""

import json
from pathlib import Path

import torch
from torch import nn

LETTERS = "abcdefghijklmnopqrstuvwxyz"
MERGES = [("c", "h"), ("ch", "a"), ("cha", "i"), ("chai", "r</w>"), ("w", "a"), ("wa", "l"), ("wal", "l</w>"), ("o", "f</w>")]
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)

VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}


def randomise(model: nn.Module, seed: int) -> None:
    """Weights large enough that every part of a network is felt in its output; no two norms alike."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "logit" in name:
                parameter.fill_(2.0)
                continue
            spread = 0.3 if parameter.ndim < 2 or "embed" in name or "probe" in name else parameter[0].numel() ** -0.5
            is_gain = parameter.ndim == 1 and name.endswith("weight")
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread + float(is_gain))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.copy_(torch.randn(module.num_features, generator=generator) * 0.1)
                module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)


def byte_pair_vocabulary() -> dict[str, int]:
    entries = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), ".</w>", "-</w>"]
    entries += [left + right for left, right in MERGES]
    return {entry: number for number, entry in enumerate([*entries, "<|startoftext|>", "<|endoftext|>"])}


def save_clip_tokenizer(folder: Path) -> dict[str, int]:
    from transformers import CLIPTokenizer

    vocabulary = byte_pair_vocabulary()
    CLIPTokenizer(vocab=vocabulary, merges=MERGES).save_pretrained(folder)
    return vocabulary


def save_word_tokenizer(folder: Path) -> dict[str, int]:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(["<pad>", "<unk>", "a", "photo", "of", "the", "chair", "wall", "."])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>").save_pretrained(folder)
    return words


def save_siglip2_tokenizer(folder: Path) -> dict[str, int]:
    from transformers import Siglip2Tokenizer

    entries = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", ".", *LETTERS]
    vocabulary = {entry: number for number, entry in enumerate(entries)}
    Siglip2Tokenizer(vocab=vocabulary, merges=[]).save_pretrained(folder)
    return vocabulary


def save_tiny_clip(folder: Path, *, seed: int = 0, **vision: object) -> nn.Module:
    """A CLIPModel, its tokenizer and its preprocessor_config.json; returns the model."""
    from transformers import CLIPConfig, CLIPModel

    vocabulary = save_clip_tokenizer(folder)
    text = {
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vocab_size": len(vocabulary),
        "max_position_embeddings": 40,
        "bos_token_id": vocabulary["<|startoftext|>"],
        "eos_token_id": vocabulary["<|endoftext|>"],
        "pad_token_id": vocabulary["<|endoftext|>"],
    }
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=VISION | vision, projection_dim=16)).eval()
    randomise(model, seed)
    _save(model, folder)
    return model


def save_tiny_siglip(folder: Path, *, seed: int = 0) -> nn.Module:
    from transformers import SiglipConfig, SiglipModel

    model = SiglipModel(SiglipConfig(text_config=_siglip_text(save_word_tokenizer(folder)), vision_config=VISION)).eval()
    randomise(model, seed)
    _save(model, folder)
    return model


def save_tiny_siglip2(folder: Path, *, seed: int = 0) -> nn.Module:
    from transformers import Siglip2Config, Siglip2Model

    vision = {key: value for key, value in VISION.items() if key != "image_size"} | {"num_patches": 16}
    model = Siglip2Model(Siglip2Config(text_config=_siglip_text(save_siglip2_tokenizer(folder)), vision_config=vision)).eval()
    randomise(model, seed)
    _save(model, folder)
    return model


def _siglip_text(words: dict[str, int]) -> dict[str, int | None]:
    return {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "vocab_size": len(words),
        "max_position_embeddings": 40,
        "bos_token_id": None,
        "eos_token_id": None,
    }


def _save(model: nn.Module, folder: Path) -> None:
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": MEAN, "image_std": STD, "do_resize": True}))


OPEN_CLIP = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 64, "layers": [1, 2, 1, 1], "width": 4, "patch_size": None},
    "text_cfg": {"context_length": 30, "vocab_size": len(byte_pair_vocabulary()), "width": 16, "heads": 2, "layers": 2},
    "quick_gelu": True,
}


def save_tiny_resnet_clip(folder: Path, *, seed: int = 0) -> nn.Module:
    """A ResNet CLIP in the open_clip layout with CLIP's tokenizer files; returns the network."""
    from safetensors.torch import save_file

    from scenewise.networks.resnet_clip import ResNetClip, ResNetClipShape

    text, vision = OPEN_CLIP["text_cfg"], OPEN_CLIP["vision_cfg"]
    shape = ResNetClipShape(
        layers=tuple(vision["layers"]),
        width=vision["width"],
        image_size=vision["image_size"],
        dim=OPEN_CLIP["embed_dim"],
        context=text["context_length"],
        words=text["vocab_size"],
        text_width=text["width"],
        text_heads=text["heads"],
        text_layers=text["layers"],
    )
    network = ResNetClip(shape).eval()
    randomise(network, seed)
    save_clip_tokenizer(folder)
    save_file(
        {name: tensor.contiguous() for name, tensor in network.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    config = {"model_cfg": OPEN_CLIP, "preprocess_cfg": {"mean": MEAN, "std": STD}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return network


def save_tiny_dinov2(folder: Path, *, registers: int = 0, seed: int = 0, **changes: object) -> nn.Module:
    """A Dinov2Model, or one with registers, and its preprocessor_config.json; returns the model."""
    import transformers

    settings = {key: value for key, value in VISION.items() if key != "intermediate_size"} | {"mlp_ratio": 2} | changes
    if registers:
        config = transformers.Dinov2WithRegistersConfig(num_register_tokens=registers, **settings)
        model = transformers.Dinov2WithRegistersModel(config).eval()
    else:
        model = transformers.Dinov2Model(transformers.Dinov2Config(**settings)).eval()
    randomise(model, seed)
    _save(model, folder)
    return model

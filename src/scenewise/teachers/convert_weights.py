"""Checkpoints in torch's own format become safetensors, explicitly and without running anything they contain."""

from pathlib import Path

from torch import Tensor

from scenewise.errors import DataFormatError
from scenewise.io.atomic import atomic_write_bytes, atomic_write_json
from scenewise.io.bounded import open_bounded
from scenewise.io.torch_files import read_torch_file
from scenewise.networks.resnet_clip import ResNetClip, shape_of_state
from scenewise.networks.sizes_only import sizes_only
from scenewise.teachers.hugging_face import CLIP_MEAN, CLIP_STD
from scenewise.teachers.model_folders import OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS, check_tensor_shapes

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "special_tokens_map.json")


def convert_open_clip_checkpoint(
    path: str | Path, out: str | Path, *, tokenizer_from: str | Path | None = None, quick_gelu: bool = True
) -> Path:
    """A ResNet CLIP's state dictionary (``.pt``, ``.pth``, ``.bin``) as a folder in the open_clip layout.

    Args:
        path: a state dictionary, perhaps under the key ``state_dict`` and with ``module.`` before every name.
        out: the folder to make.
        tokenizer_from: a folder with CLIP's tokenizer files, which are copied; any CLIP on Hugging Face has them.
        quick_gelu: which activation the text tower was trained with; true for OpenAI's weights.  Tensors do not tell.

    Returns:
        The folder.

    Raises:
        DataFormatError: the file holds more than tensors, or none of a CLIP with a ResNet.
        ResourceError: the folder cannot be written.
    """
    from safetensors.torch import save

    path, out = Path(path), Path(out)
    state = read_state_dictionary(path)
    try:
        shape = shape_of_state({name: tuple(tensor.shape) for name, tensor in state.items()})
    except (KeyError, IndexError) as error:
        raise DataFormatError(path, expected="the weights of a CLIP with a ResNet", got=f"no tensor {error}") from error
    with sizes_only():
        wanted = ResNetClip(shape).state_dict()
    needed = {name: tuple(tensor.shape) for name, tensor in wanted.items() if not name.endswith("num_batches_tracked")}
    check_tensor_shapes(path, {name: tuple(tensor.shape) for name, tensor in state.items()}, needed)
    config = {
        "model_cfg": {
            "embed_dim": shape.dim,
            "vision_cfg": {
                "image_size": shape.image_size,
                "layers": list(shape.layers),
                "width": shape.width,
                "patch_size": None,
            },
            "text_cfg": {
                "context_length": shape.context,
                "vocab_size": shape.words,
                "width": shape.text_width,
                "heads": shape.text_heads,
                "layers": shape.text_layers,
            },
            "quick_gelu": quick_gelu,
        },
        "preprocess_cfg": {"mean": list(CLIP_MEAN), "std": list(CLIP_STD)},
    }
    atomic_write_bytes(out / OPEN_CLIP_WEIGHTS, save({name: state[name].contiguous() for name in needed}))
    atomic_write_json(out / OPEN_CLIP_CONFIG, config)
    _copy_tokenizer(tokenizer_from, out)
    return out


def convert_hugging_face_checkpoint(folder: str | Path, out: str | Path) -> Path:
    """A folder with ``config.json`` and ``pytorch_model.bin`` as one with ``model.safetensors``.

    Args:
        folder: in Hugging Face layout.
        out: the folder to make; configuration, preprocessing and tokenizer are copied.

    Returns:
        The folder.

    Raises:
        DataFormatError: the weights hold more than tensors, or a file is missing.
        ResourceError: the folder cannot be written.
    """
    from safetensors.torch import save

    folder, out = Path(folder), Path(out)
    with open_bounded(folder / "config.json") as (file, size):
        config = file.read(size)
    state = read_state_dictionary(folder / "pytorch_model.bin")
    # Copies, because safetensors refuses tensors that share memory.
    weights = {name: tensor.clone().contiguous() for name, tensor in state.items() if not name.endswith("position_ids")}
    atomic_write_bytes(out / "model.safetensors", save(weights, metadata={"format": "pt"}))
    atomic_write_bytes(out / "config.json", config)
    for name in ("preprocessor_config.json", "spiece.model", "tokenizer.model"):
        if (folder / name).is_file():
            atomic_write_bytes(out / name, (folder / name).read_bytes())
    _copy_tokenizer(folder, out)
    return out


def read_state_dictionary(path: Path) -> dict[str, Tensor]:
    """Named tensors from a file of torch's own format; nothing in it is run.

    Raises:
        DataFormatError: no such file, or it holds anything but tensors and plain values (``weights_only`` refuses it), or it is a
            TorchScript archive, which is a program.
    """
    fix = "use the model's safetensors version, e.g. timm/resnet50_clip.openai on Hugging Face"
    content = read_torch_file(path, expected="a checkpoint that holds tensors only", fix=fix)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise DataFormatError(path, expected="named tensors", got=type(content).__name__)
    return {name.removeprefix("module."): tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}


def _copy_tokenizer(source: str | Path | None, out: Path) -> None:
    if source is None:
        return
    present = [name for name in _TOKENIZER_FILES if (Path(source) / name).is_file()]
    if not {"tokenizer.json", "vocab.json"} & set(present):
        raise DataFormatError(source, expected="tokenizer.json, or vocab.json and merges.txt", got="neither")
    for name in present:
        atomic_write_bytes(out / name, (Path(source) / name).read_bytes())

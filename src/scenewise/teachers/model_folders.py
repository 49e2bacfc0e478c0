"""Where a CLIP's files are: a folder, or a Hugging Face model that is in the local cache or can be downloaded into it."""

import hashlib
import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from scenewise.errors import DataFormatError, MissingDependencyError, ResourceError
from scenewise.io.bounded import open_bounded
from scenewise.io.json_fields import read_json_object

Layout = Literal["hugging_face", "open_clip"]

OFFLINE_CHOICES = (
    'give the path of a folder that holds the model, "small-clip" (embedded, needs no download), '
    'or "files:DIR" (features from files)'
)

_DESCRIPTIONS = ("*.json", "*.txt", "*.model")
MODEL_CARD = "README.md"
_MOST_CARD_BYTES = 1 << 18
_LONGEST_LICENCE = 200
_HUB_WEIGHTS = ("model.safetensors", "model-*.safetensors")
OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")
_PROBE_SECONDS = 5.0
_CHUNK = 1 << 22


@dataclass(frozen=True)
class ModelFolder:
    """A model whose files are all on the disk.

    Attributes:
        path: the folder.
        layout: how the files are named and what their tensors are called.
        model_type: of the configuration ("clip", "siglip", "dinov2" …); "" in the open_clip layout.
        weights: the safetensors files.
    """

    path: Path
    layout: Layout
    model_type: str
    weights: tuple[Path, ...]

    def fingerprint(self) -> str:
        """SHA-256 of the weights, the configuration and the tokenizer; names of folders do not enter."""
        described = {path for pattern in _DESCRIPTIONS for path in self.path.glob(pattern)}
        digest = hashlib.sha256()
        for path in sorted(described | set(self.weights), key=lambda path: path.name):
            with open_bounded(path) as (file, size):
                digest.update(f"{path.name}|{size}|".encode())
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
        return digest.hexdigest()

    def licence(self) -> str | None:
        """What the model card's front matter says (``license:`` in ``README.md``); None where there is none."""
        path = self.path / MODEL_CARD
        if not path.is_file():
            return None
        with open_bounded(path) as (file, _):
            text = file.read(_MOST_CARD_BYTES).decode("utf-8", "replace")
        return licence_of_model_card(text)


def find_model_folder(
    name_or_path: str,
    model_types: Sequence[str],
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    offline_choices: str = OFFLINE_CHOICES,
) -> ModelFolder:
    """A model's files, downloaded if need be.

    A model that is complete in the local cache is used without asking the network.

    Args:
        name_or_path: a folder, or a Hugging Face id such as ``openai/clip-vit-large-patch14``.
        model_types: which configurations are understood.
        revision: branch, tag, commit or ``refs/pr/N`` of a Hugging Face id.
        local_files_only: never ask the network; also so when ``HF_HUB_OFFLINE`` is set.
        offline_choices: what the message names when the model cannot be reached.

    Raises:
        ResourceError: neither a folder nor a model that can be reached; names the choices that need no network.
        DataFormatError: the folder is none of a model, or has no safetensors weights.
        MissingDependencyError: huggingface_hub is not installed and a Hugging Face id was asked for.
    """
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return _inspect(path, model_types, name_or_path)
    if path.exists():
        raise DataFormatError(path, expected="the folder of a model", got="a file", fix="name the folder that holds it")
    if not _HUB_ID.fullmatch(name_or_path):
        raise ResourceError(
            f"teacher {name_or_path!r}", expected="a folder or a Hugging Face id", got="neither", fix=offline_choices
        )
    found = _from_hub(name_or_path, model_types, revision, local_files_only)
    if isinstance(found, str):
        raise ResourceError(
            f"teacher {name_or_path!r}", expected="a Hugging Face model within reach", got=found, fix=offline_choices
        )
    return found


def _inspect(folder: Path, model_types: Sequence[str], name: str) -> ModelFolder:
    """What a folder holds; the Hugging Face layout is preferred where both are there."""
    model_type = _model_type(folder)
    if model_type is not None and model_type in model_types:
        weights = _hub_weights(folder)
        if weights:
            return ModelFolder(folder, "hugging_face", model_type, weights)
    elif (folder / OPEN_CLIP_CONFIG).is_file():
        if (folder / OPEN_CLIP_WEIGHTS).is_file():
            return ModelFolder(folder, "open_clip", "", (folder / OPEN_CLIP_WEIGHTS,))
    elif model_type is None:
        raise DataFormatError(
            folder,
            expected=f"config.json of a CLIP in Hugging Face layout, or {OPEN_CLIP_CONFIG} and {OPEN_CLIP_WEIGHTS}",
            got="neither",
            fix="name a folder that holds one of them",
        )
    else:
        raise DataFormatError(
            folder / "config.json",
            "model_type",
            expected=" or ".join(map(repr, model_types)) or f"the open_clip layout ({OPEN_CLIP_CONFIG}) instead",
            got=repr(model_type),
        )
    others = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
    raise DataFormatError(
        folder,
        expected="weights as safetensors",
        got=", ".join(others) or "no weights",
        fix=f"convert them (scenewise.teachers.convert_weights), or use a revision of {name} that has them "
        f"(often one of refs/pr/…, written {name}@refs/pr/N)",
    )


def _model_type(folder: Path) -> str | None:
    if not (folder / "config.json").is_file():
        return None
    kind = read_json_object(folder / "config.json").text("model_type", None)
    return kind if isinstance(kind, str) else None


def _hub_weights(folder: Path) -> tuple[Path, ...]:
    """``model.safetensors``, or all the parts its index names; empty when any is missing."""
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():
        return (whole,)
    if not index.is_file():
        return ()
    names = {str(name) for name in read_json_object(index).mapping("weight_map").values()}
    parts = tuple(folder / name for name in sorted(names))
    if any(Path(name).name != name for name in names):
        raise DataFormatError(index, "weight_map", expected="names of files in this folder", got="a path")
    return parts if all(part.is_file() for part in parts) else ()


def _from_hub(name: str, model_types: Sequence[str], revision: str | None, local_files_only: bool) -> ModelFolder | str:
    """The model's folder, or why it cannot be reached."""
    try:
        from huggingface_hub import constants
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "huggingface_hub", needed_for=f"the model {name} from Hugging Face", extra="foundation"
        ) from error

    cached = _cached_folder(name, revision)
    if cached is not None:
        try:
            return _inspect(cached, model_types, name)
        except DataFormatError:  # only a part of it is in the cache
            pass
    if local_files_only or constants.HF_HUB_OFFLINE or os.environ.get("HF_HUB_OFFLINE", "0").lower() not in _NO:
        return "nothing in the local cache, and the network is switched off (HF_HUB_OFFLINE)"
    if not _answers(constants.ENDPOINT):
        return f"nothing in the local cache, and {constants.ENDPOINT} does not answer"
    described = _snapshot(name, (*_DESCRIPTIONS, MODEL_CARD), revision)
    if isinstance(described, str):
        return described
    weights = _HUB_WEIGHTS if _model_type(described) in model_types else (OPEN_CLIP_WEIGHTS,)
    folder = _snapshot(name, (*_DESCRIPTIONS, MODEL_CARD, *weights), revision)
    if isinstance(folder, str):
        return folder
    return _inspect(folder, model_types, name)


_NO = ("", "0", "false", "no", "off")


def _cached_folder(name: str, revision: str | None) -> Path | None:
    """Where the cache keeps a model's files, whichever program put them there and how many of them."""
    from huggingface_hub import constants, try_to_load_from_cache

    for file in ("config.json", OPEN_CLIP_CONFIG):
        found = try_to_load_from_cache(name, file, cache_dir=constants.HF_HUB_CACHE, revision=revision)
        if isinstance(found, str):
            return Path(found).parent
    return None


def _snapshot(name: str, patterns: Iterable[str], revision: str | None) -> Path | str:
    """The folder of a model in the cache after the files were fetched, or why there is none."""
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            name,
            revision=revision,
            allow_patterns=list(patterns),
            etag_timeout=_PROBE_SECONDS,
        )
    except Exception as error:  # the client promises no closed set: its own, the HTTP library's, the system's
        return f"{type(error).__name__}: {_first_line(error)}"
    return Path(folder)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else "no reason given"


def _answers(endpoint: str) -> bool:
    """Whether a server is there at all, within seconds: the hub's own client repeats for half a minute before it gives up."""
    heard: list[bool] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=_PROBE_SECONDS):
                heard.append(True)
        except urllib.error.HTTPError:  # an answer, if an unfriendly one
            heard.append(True)
        except (OSError, ValueError):
            heard.append(False)

    asking = threading.Thread(target=ask, daemon=True)  # looking up a name has no time limit of its own
    asking.start()
    asking.join(_PROBE_SECONDS)
    return bool(heard and heard[0])


def licence_of_model_card(text: str) -> str | None:
    """The licence in the YAML front matter of a model card, or None.

    A name, a list of names (then joined by commas), or "other" with ``license_name``: the forms the Hugging Face hub knows.  No
    YAML is parsed beyond that.
    """
    lines = text.removeprefix("\ufeff").splitlines()
    if not lines or lines[0].rstrip() != "---":
        return None
    end = next((number for number, line in enumerate(lines[1:], 1) if line.rstrip() in ("---", "...")), 0)
    values: dict[str, list[str]] = {}
    key = ""
    for line in lines[1:end]:
        entry = re.fullmatch(r"(license|license_name)\s*:(.*)", line)
        if entry is not None:
            key = entry[1]
            values[key] = _yaml_names(entry[2])
        elif key and re.match(r"\s*-\s", line):
            values[key] += _yaml_names(line.strip()[1:])
        else:
            key = ""
    found = values.get("license", [])
    if found == ["other"]:
        found = values.get("license_name", []) or found
    return ", ".join(found)[:_LONGEST_LICENCE] or None


def _yaml_names(text: str) -> list[str]:
    """The names in a value: one, perhaps quoted, or several in brackets; without a comment behind them."""
    plain = re.sub(r"(^|\s)#.*", "", text).strip()
    parts = plain[1:-1].split(",") if plain.startswith("[") and plain.endswith("]") else [plain]
    names = [part.strip().strip("\"'").strip() for part in parts]
    return [name for name in names if name not in ("", "null", "~")]


def tensor_shapes(paths: Iterable[Path]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in safetensors files, from their headers alone.

    Raises:
        DataFormatError: a file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for path in paths:
        with open_bounded(path):  # one message for missing files, whatever the library says
            pass
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118 - not a dictionary
                    shapes[name] = tuple(file.get_slice(name).get_shape())
        except (SafetensorError, OSError) as error:
            raise DataFormatError(
                path, expected="a safetensors file", got=str(error)[:120], fix="the file is damaged; fetch it again"
            ) from error
    return shapes


def check_tensor_shapes(path: Path, found: dict[str, tuple[int, ...]], wanted: dict[str, tuple[int, ...]]) -> None:
    """Every wanted tensor is there in the wanted shape; others are passed over.

    Raises:
        DataFormatError: one is missing or has another shape, so the weights belong to another configuration.
    """
    for name, shape in wanted.items():
        if found.get(name) != shape:
            got = "nothing" if name not in found else "×".join(map(str, found[name])) or "a single number"
            raise DataFormatError(
                path,
                name,
                expected="×".join(map(str, shape)) or "a single number",
                got=got,
                fix="the weights do not belong to this configuration",
            )

"""Models of ``transformers`` from folders on the disk: weights as data, checked before anything of their size is allocated."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from scenewise.errors import DataFormatError, MissingDependencyError
from scenewise.io.json_fields import read_json_object
from scenewise.teachers.model_folders import ModelFolder

Channels = tuple[float, float, float]


def load_pretrained(name: str, folder: ModelFolder, classes: tuple[str, str], check: Callable[[Any, Any], None]) -> Any:
    """A model in float32, frozen, on the CPU.  No code of its repository is run.

    Args:
        name: what a person called it, for messages.
        folder: with its files.
        classes: names of its configuration and its model in ``transformers``.
        check: told the configuration and the model's class; raises where the weights do not belong to them.

    Raises:
        DataFormatError: the folder or one of its files is not what it should be.
        MissingDependencyError: transformers is not installed.
    """
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise MissingDependencyError("transformers", needed_for=f"the model {name}", extra="foundation") from error
    from transformers.utils import logging

    config_class, model_class = (getattr(transformers, each) for each in classes)
    was_showing, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()  # a second of loading needs none, and progress is told in one place
    logging.set_verbosity_error()  # what is wrong with a model is checked here and told in one sentence
    try:
        config = config_class.from_pretrained(folder.path, local_files_only=True)
        check(config, model_class)
        model = model_class.from_pretrained(
            folder.path, config=config, dtype=torch.float32, use_safetensors=True, local_files_only=True, trust_remote_code=False
        )
    except (DataFormatError, MissingDependencyError):
        raise
    except Exception as error:  # transformers promises no closed set of errors for a damaged model
        raise not_loadable(folder.path, "a model that transformers can load", error) from error
    finally:
        logging.set_verbosity(verbosity)
        if was_showing:
            logging.enable_progress_bar()
    return model.eval().requires_grad_(False)


def not_loadable(path: Path, expected: str, error: Exception) -> DataFormatError:
    """The error for whatever ``transformers`` raised."""
    lines = str(error).strip().splitlines() or ["no reason given"]
    return DataFormatError(path, expected=expected, got=f"{type(error).__name__}: {lines[0][:200]}")


def normalisation_of(path: Path, standard: tuple[Channels, Channels]) -> tuple[Channels, Channels]:
    """Mean and standard deviation from ``preprocessor_config.json``; those of the family where there is no such file."""
    file = path / "preprocessor_config.json"
    if not file.is_file():
        return standard
    fields = read_json_object(file)
    mean, std = fields.array("image_mean", (3,), None), fields.array("image_std", (3,), None)
    if std is not None and std.min() <= 0:
        raise fields.wrong("image_std", "numbers above 0", std.tolist())
    first = standard[0] if mean is None else (float(mean[0]), float(mean[1]), float(mean[2]))
    second = standard[1] if std is None else (float(std[0]), float(std[1]), float(std[2]))
    return first, second

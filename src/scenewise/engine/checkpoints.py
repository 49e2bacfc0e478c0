"""Checkpoints that survive being killed at any moment: data only, written beside and renamed, the last two kept.

Layout (one folder per checkpoint, named after its step)::

    checkpoints/step_000123/params.safetensors      what is being learned
                            optimizer.safetensors   Adam's moments and counters
                            state.safetensors       strategy records, random-number bytes, order of the views
                            state.json              step, schedule, configuration, data hash, versions

A folder whose name has the form ``step_NNNNNN`` is complete by construction; anything else in there is ignored and, when its
writer is gone, removed by the next write.
"""

import json
import re
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

from torch import Tensor

from scenewise.engine.distribution import Ranks
from scenewise.engine.provenance import versions
from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.atomic import atomic_folder, remove_stray_temporaries

FORMAT_VERSION = 1
_NAME = re.compile(r"step_(\d{6,})")
_TENSOR_FILES = {"parameters": "params.safetensors", "optimizer": "optimizer.safetensors", "state": "state.safetensors"}


@dataclass(frozen=True)
class Checkpoint:
    """Everything a run needs to go on exactly where it was.

    Attributes:
        step: steps taken.
        parameters: what is being learned.
        optimizer: moments, counters and learning rates.
        state: records, random-number states, order of the views.
        config: the run's resolved configuration, as JSON values.
        data_hash: checksum of the data it trains on.
        details: whatever else the trainer must know (schedule, skipped views, seconds so far), as JSON values.
    """

    step: int
    parameters: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    state: Mapping[str, Tensor]
    config: Mapping[str, Any]
    data_hash: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def copied(self) -> "Checkpoint":
        """The same with tensors of its own, which further training does not change."""

        def own(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: tensor.clone() for name, tensor in tensors.items()}

        return replace(
            self,
            parameters=own(self.parameters),
            optimizer=own(self.optimizer),
            state=own(self.state),
            details=dict(self.details),
        )


@final
class Checkpointer:
    """Writes and finds the checkpoints of one run.

    Args:
        folder: the run's ``checkpoints`` folder; made by the first write.
        keep: how many of the newest stay.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint and drop the oldest.

        Raises:
            ResourceError: the disk is full or read-only; older checkpoints are untouched.
            ConventionError: a value is NaN or infinite; nothing is written.
        """
        from safetensors.torch import save_file

        description = {
            "format": FORMAT_VERSION,
            "step": checkpoint.step,
            "data_hash": checkpoint.data_hash,
            "config": checkpoint.config,
            "details": checkpoint.details,
            "versions": versions(),
        }
        tensors = {"parameters": checkpoint.parameters, "optimizer": checkpoint.optimizer, "state": checkpoint.state}
        _require_finite(checkpoint)
        target = self.folder / f"step_{checkpoint.step:06d}"
        with atomic_folder(target) as temporary:
            for part, file_name in _TENSOR_FILES.items():
                plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors[part].items()}
                save_file(plain, temporary / file_name)
            (temporary / "state.json").write_text(json.dumps(description, indent=1, allow_nan=False), encoding="utf-8")
        for old in self.paths()[: -self.keep]:
            shutil.rmtree(old, ignore_errors=True)
        return target

    def paths(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        if not self.folder.is_dir():
            return []
        found = [
            (int(match[1]), path) for path in self.folder.iterdir() if (match := _NAME.fullmatch(path.name)) and path.is_dir()
        ]
        return [path for _, path in sorted(found)]

    def latest(self, up_to: int | None = None) -> Checkpoint | None:
        """The newest checkpoint that can be read, or None without any.  An unreadable newer one is passed over with a warning.

        Args:
            up_to: later ones do not count; None: all do.

        Raises:
            DataFormatError: there are checkpoints, but none can be read.
        """
        if self.folder.is_dir():
            remove_stray_temporaries(self.folder)
        problem: DataFormatError | None = None
        for path in reversed(self.paths()):
            if up_to is not None and int(path.name.removeprefix("step_")) > up_to:
                continue
            try:
                found = load_checkpoint(path)
            except DataFormatError as error:
                problem = error
                continue
            if problem is not None:
                warnings.warn(f"Checkpoint passed over: {problem}. Going on from step {found.step}.", stacklevel=2)
            return found
        if problem is not None:
            raise problem
        return None


def latest_of_all(checkpointer: Checkpointer, found: Checkpoint | None, ranks: Ranks) -> Checkpoint | None:
    """The newest checkpoint that all ranks have; None on all of them where there is none.

    Args:
        checkpointer: of this rank.
        found: its newest, or None where it has none or is to begin anew.
        ranks: all of them call this together.
    """
    while ranks.size > 1:
        own = [0.0] * ranks.size
        own[ranks.rank] = -1.0 if found is None else float(found.step)
        steps = ranks.total(own)
        common = int(min(steps))
        if common == max(steps):
            break
        # Each has its own newest ones; the step that another one is at may not be among them.
        if found is not None and found.step > common:
            found = checkpointer.latest(up_to=common)
    return found


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a part of a trainer, named as the part's."""
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def without_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of :func:`prefixed`; tensors of other parts are left out."""
    return {name.removeprefix(f"{prefix}."): tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}.")}


def load_checkpoint(path: Path) -> Checkpoint:
    """Read one checkpoint folder.

    Raises:
        DataFormatError: a file is missing, damaged, or of another format version.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    description = _read_description(path / "state.json")
    tensors: dict[str, dict[str, Tensor]] = {}
    for part, file_name in _TENSOR_FILES.items():
        file = path / file_name
        try:
            tensors[part] = load(file.read_bytes())
        except FileNotFoundError as error:
            raise DataFormatError(
                file, expected="a file of this checkpoint", got="nothing", fix="use another checkpoint"
            ) from error
        except (SafetensorError, OSError, ValueError) as error:
            raise DataFormatError(file, expected="safetensors", got=str(error), fix="use another checkpoint") from error
    return Checkpoint(
        step=description["step"],
        parameters=tensors["parameters"],
        optimizer=tensors["optimizer"],
        state=tensors["state"],
        config=description["config"],
        data_hash=description["data_hash"],
        details=description["details"],
    )


def _read_description(path: Path) -> dict[str, Any]:
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataFormatError(path, expected="a file of this checkpoint", got="nothing", fix="use another checkpoint") from error
    except (OSError, ValueError) as error:
        raise DataFormatError(path, expected="JSON", got=str(error), fix="use another checkpoint") from error
    kinds = {"format": int, "step": int, "data_hash": str, "config": dict, "details": dict}
    for name, kind in kinds.items():
        if not isinstance(description, dict) or not isinstance(description.get(name), kind):
            raise DataFormatError(path, name, expected=kind.__name__, got="something else", fix="use another checkpoint")
    if description["format"] != FORMAT_VERSION:
        raise DataFormatError(
            path, "format", expected=str(FORMAT_VERSION), got=description["format"], fix="use the Scenewise that wrote it"
        )
    return description


def _require_finite(checkpoint: Checkpoint) -> None:
    import torch

    for part in (checkpoint.parameters, checkpoint.optimizer, checkpoint.state):
        for name, tensor in part.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise ConventionError(
                    f"{name} at step {checkpoint.step}", expected="finite values", got="NaN or Inf", fix="report this"
                )


def require_same_run(checkpoint: Checkpoint, *, config: Mapping[str, Any], data_hash: str) -> None:
    """Refuse to go on with another configuration or other data than the checkpoint's.

    Raises:
        ConventionError: naming the first option that differs, or the data.
    """
    here, there = (_flat(json.loads(json.dumps(values))) for values in (config, checkpoint.config))
    for key in sorted(here.keys() | there.keys()):
        if here.get(key) != there.get(key):
            raise ConventionError(
                f"resume: option {key}",
                expected=f"{there.get(key)!r} as in the checkpoint",
                got=repr(here.get(key)),
                fix="use the options the run was started with, or start anew with --overwrite",
            )
    if data_hash != checkpoint.data_hash:
        raise ConventionError(
            "resume: the capture",
            expected=f"the data the run was started on ({checkpoint.data_hash[:12]})",
            got=f"other data ({data_hash[:12]})",
            fix="restore the images, poses and split, or start anew with --overwrite",
        )


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {key: leaf for name, inner in value.items() for key, leaf in _flat(inner, f"{prefix}{name}.").items()}
    return {prefix.rstrip("."): value}

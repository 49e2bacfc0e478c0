"""The small CLIP as something that learns step by step."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, final

import torch
from torch import nn

from scenewise.engine.checkpoints import Checkpoint, require_same_run
from scenewise.engine.optimizer_states import optimizer_tensors, restore_optimizer
from scenewise.engine.training import StepReport
from scenewise.errors import ConventionError
from scenewise.methods.small_clip.batches import WordIds, batch_at
from scenewise.methods.small_clip.config import Phase, SmallClipConfig
from scenewise.methods.small_clip.objective import Losses, VisibilityScale, losses_of
from scenewise.methods.small_clip.pictures import Pictures
from scenewise.networks.small_clip import SmallClip
from scenewise.teachers.small_clip import Language
from scenewise.worlds.classes import CLASS_NAMES

_BETAS = (0.9, 0.98)
_EPSILON = 1e-8
_MAX_GRADIENT_NORM = 1.0
_TERMS = ("caption", "visible", "subject", "patches")


def build_network(config: SmallClipConfig, words: int) -> tuple[SmallClip, VisibilityScale]:
    """Freshly initialised towers; the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return SmallClip(replace(config.shape, words=words)), VisibilityScale()


@final
class SmallClipTrainer:
    """Trains both towers on pictures and captions.

    Args:
        config: the recipe.
        pictures: photographs and image-level records; nothing else is learned from.
        language: the words.
        device: where to compute.
    """

    def __init__(self, config: SmallClipConfig, pictures: Pictures, language: Language, device: torch.device) -> None:
        self.config, self.pictures, self.device = config, pictures, device
        self.network, self._visibility = build_network(config, len(language.words))
        self._patch_visibility = VisibilityScale()
        self._words = WordIds(language.words, config.shape.context)
        parts = {"network": self.network, "visibility": self._visibility, "patch_visibility": self._patch_visibility}
        self._modules = nn.ModuleDict(parts).to(device)
        self._optimizer, self._names = _optimizer(self._modules, config)
        self._described: dict[str, Any] = json.loads(json.dumps(asdict(config)))
        self._data_hash = config.pictures.fingerprint() + f"-{config.pictures.shards}"
        self._losses: Losses | None = None
        self.steps_done = 0
        self.seconds = 0.0

    @property
    def total_steps(self) -> int:
        """Of the recipe."""
        return self.config.steps

    def start(self) -> None:
        """Puts everything into the mode of training."""
        self._modules.train()

    def step(self) -> None:
        """One step on the batch that belongs to it."""
        config, step = self.config, self.steps_done
        batch = batch_at(self.pictures, self._words, config, step).to(self.device)
        for group in self._optimizer.param_groups:
            group["lr"] = config.rate_at(step) * group["factor"]
        self._optimizer.zero_grad(set_to_none=True)
        weight = config.phase_at(step).patch_weight
        losses = losses_of(self.network, self._visibility, batch, config, len(CLASS_NAMES), weight, self._patch_visibility)
        losses.total.backward()
        nn.utils.clip_grad_norm_(self._modules.parameters(), _MAX_GRADIENT_NORM)
        self._optimizer.step()
        self.steps_done += 1
        self._losses = losses

    def describe(self) -> StepReport:
        """The last step: the parts of its loss, and the scale of the logits."""
        losses = self._losses
        assert losses is not None, "no step yet"
        terms = {name: float(getattr(losses, name).detach()) for name in _TERMS}
        scale = float(self.network.log_logit_scale.detach().exp())
        line = {"seconds": self.seconds, "scale": scale, **terms}
        return StepReport(
            self.steps_done, self.total_steps, float(losses.total.detach()), terms, self.seconds, shown=terms, line=line
        )

    def checkpoint(self) -> Checkpoint:
        """Both towers, the scales of the questions, and Adam's moments.  Tensors are not copied."""
        moments = optimizer_tensors(self._optimizer, self._names)
        details = {"seconds": self.seconds}
        parameters = dict(self._modules.state_dict())
        return Checkpoint(self.steps_done, parameters, moments, {}, self._described, self._data_hash, details)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue exactly where a checkpoint was taken.

        Raises:
            ConventionError: it is of another recipe; a longer or shorter one that agrees on all steps taken so far is the same.
        """
        _require_same_steps(checkpoint, self.config, self._described, self._data_hash)
        self._modules.load_state_dict(dict(checkpoint.parameters))
        restore_optimizer(self._optimizer, self._names, checkpoint.optimizer)
        self.steps_done, self.seconds = checkpoint.step, float(checkpoint.details["seconds"])


def _require_same_steps(found: Checkpoint, config: SmallClipConfig, described: Mapping[str, Any], data_hash: str) -> None:
    """Refuses to go on with another recipe.

    Raises:
        ConventionError: naming what differs.
    """
    taken = dict(found.config)
    try:
        earlier = replace(config, phases=tuple(Phase(**{**phase, "sizes": tuple(phase["sizes"])}) for phase in taken["phases"]))
    except (KeyError, TypeError) as error:
        raise ConventionError("resume: the checkpoint", expected="a recipe with phases", got=str(error)) from error
    steps = range(found.step)

    def course(recipe: SmallClipConfig) -> list[tuple[float, Phase]]:
        return [(recipe.rate_at(i), replace(recipe.phase_at(i), steps=0)) for i in steps]

    if course(config) != course(earlier):
        raise ConventionError(
            "resume: option phases",
            expected="the same learning rate and patches in all steps taken",
            got="others",
            fix="use the phases the run was started with, or start anew in another folder",
        )
    require_same_run(replace(found, config={**taken, "phases": described["phases"]}), config=described, data_hash=data_hash)


def _optimizer(both: nn.Module, config: SmallClipConfig) -> tuple[torch.optim.AdamW, list[str]]:
    """AdamW with decay on matrices only and faster temperatures; parameter names in its order beside it."""
    groups: dict[str, list[tuple[str, nn.Parameter]]] = {"matrices": [], "others": [], "temperatures": []}
    for name, parameter in both.named_parameters():
        if name.endswith("log_logit_scale") or "visibility" in name:
            groups["temperatures"].append((name, parameter))
        elif parameter.ndim > 1 and "positions" not in name and "words" not in name:
            groups["matrices"].append((name, parameter))
        else:
            groups["others"].append((name, parameter))
    settings: list[dict[str, Any]] = [
        {
            "params": [parameter for _, parameter in members],
            "weight_decay": config.weight_decay if kind == "matrices" else 0.0,
            "factor": config.temperature_rate if kind == "temperatures" else 1.0,
        }
        for kind, members in groups.items()
    ]
    optimizer = torch.optim.AdamW(settings, lr=config.learning_rate, betas=_BETAS, eps=_EPSILON, fused=True)
    return optimizer, [name for members in groups.values() for name, _ in members]

"""A classifier of objects as something that learns step by step."""

import json
import math
from dataclasses import asdict, replace
from typing import Any, final

import torch
from torch import Tensor, nn

from scenewise.engine.adamw_groups import cosine_share, grouped_adamw, rates_of, set_rates
from scenewise.engine.checkpoints import Checkpoint
from scenewise.engine.measuring import require_not_begun
from scenewise.engine.optimizer_states import optimizer_tensors, restore_optimizer
from scenewise.engine.randomness import keyed_seed
from scenewise.engine.step_back import TrainingDivergedError
from scenewise.engine.training import StepReport
from scenewise.errors import ConventionError
from scenewise.kernels.sparse_conv import Precision
from scenewise.methods.condense.classification.batches import object_batch
from scenewise.methods.condense.classification.objects import ObjectData
from scenewise.methods.condense.classification.options import ClassifierConfig
from scenewise.networks.object_classifier import ClassifierShape, ObjectClassifier, smoothed_cross_entropy
from scenewise.teachers.consistent_file import PairFile


def config_of_start(config: ClassifierConfig, start: PairFile | None) -> ClassifierConfig:
    """The settings with the backbone that a start brings."""
    if start is None:
        return config
    shape = start.pair.shape
    return replace(config, backbone=shape.backbone, width=shape.backbone_width)


@final
class ClassifierTrainer:
    """Trains a classifier on objects.

    Args:
        config: the recipe.
        data: what is learned from.
        seed: of everything random.
        start: pre-trained pair whose 3D backbone is taken over; None begins with random weights.
        device: where to compute.
        precision: of the operands of sparse convolutions.

    Raises:
        ConventionError: the recipe wants another backbone than the start has.
    """

    def __init__(
        self,
        config: ClassifierConfig,
        data: ObjectData,
        seed: int,
        *,
        start: PairFile | None = None,
        device: torch.device | None = None,
        precision: Precision = "float32",
    ) -> None:
        wanted = config_of_start(config, start)
        if wanted != config:
            expected, got = f"{wanted.backbone}, width {wanted.width:g}, as the start", f"{config.backbone}, {config.width:g}"
            raise ConventionError("backbone", expected=expected, got=got, fix="take the settings of config_of_start")
        self.config, self.data, self.seed = config, data, seed
        self.device = torch.device("cpu") if device is None else device
        shape = ClassifierShape(len(data.class_names), config.backbone, config.width, config.hidden)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(keyed_seed(seed, "classifier initialisation"))
            self.network = ObjectClassifier(shape, precision=precision)
        if start is not None:
            self.network.backbone.load_state_dict(start.pair.points.backbone.state_dict())
        if config.frozen:
            self.network.backbone.requires_grad_(False)
        self.network.to(self.device)
        self._optimizer, self._names = _optimizer(self.network, config)
        self._learned = [value for group in self._optimizer.param_groups for value in group["params"]]
        started = None if start is None else start.fingerprint
        self._described: dict[str, Any] = json.loads(
            json.dumps({**asdict(config), "seed": seed, "start": started, "precision": precision})
        )
        self._last: tuple[float, float] | None = None
        self.steps_done = 0
        self.seconds = 0.0

    @property
    def total_steps(self) -> int:
        """Length of the run."""
        return self.config.steps

    @property
    def parameters_trained(self) -> int:
        """Numbers that move."""
        return sum(parameter.numel() for parameter in self._learned)

    @property
    def parameters_deployed(self) -> int:
        """Numbers of the network."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def set_total_steps(self, steps: int) -> None:
        """Fixes the length of the run, and with it the rate; see :class:`scenewise.engine.measuring.Measurable`.

        Raises:
            ConventionError: training has already begun.
        """
        require_not_begun(self)
        self.config = replace(self.config, steps=steps)
        self._described["steps"] = steps

    def start(self) -> None:
        """Puts everything into the mode of training; a frozen backbone keeps the statistics it came with."""
        self.network.train()
        if self.config.frozen:
            self.network.backbone.eval()

    def step(self) -> None:
        """One step on the objects that belong to it."""
        config, step = self.config, self.steps_done
        batch = object_batch(self.data, config, self.seed, step, self.device)
        set_rates(self._optimizer, cosine_share(step, config.steps))
        self._optimizer.zero_grad(set_to_none=True)
        with torch.set_grad_enabled(not config.frozen):
            pooled = self.network.pooled(batch.cloud)
        logits: Tensor = self.network.classified(pooled)
        loss = smoothed_cross_entropy(logits, batch.class_ids, config.smoothing)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self._learned, config.clip_norm)
        if not math.isfinite(float(norm)):
            raise TrainingDivergedError(f"training diverged at step {step + 1}: gradients are not finite")
        self._optimizer.step()
        right = (logits.detach().argmax(1) == batch.class_ids).float().mean()
        self._last = float(loss.detach()), float(right)
        self.steps_done += 1

    def describe(self) -> StepReport:
        """The last step: its loss, and the share of its objects that were named right."""
        assert self._last is not None, "no step yet"
        loss, right = self._last
        return StepReport(
            self.steps_done,
            self.total_steps,
            loss,
            {"cross_entropy": loss},
            self.seconds,
            rates=rates_of(self._optimizer),
            figures={"right": right},
            shown={"loss": loss, "right": right},
            line={"seconds": self.seconds, "cross_entropy": loss, "right": right},
        )

    def checkpoint(self) -> Checkpoint:
        """The network and the optimiser's memory.  Tensors are not copied."""
        return Checkpoint(
            self.steps_done,
            self.network.state_dict(),
            optimizer_tensors(self._optimizer, self._names),
            {},
            self._described,
            self.data.fingerprint,
            {"seconds": self.seconds},
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue exactly where a checkpoint was taken."""
        self.network.load_state_dict(dict(checkpoint.parameters))
        restore_optimizer(self._optimizer, self._names, checkpoint.optimizer)
        self.steps_done, self.seconds = checkpoint.step, float(checkpoint.details["seconds"])


def _optimizer(network: ObjectClassifier, config: ClassifierConfig) -> tuple[torch.optim.AdamW, list[str]]:
    """AdamW for what moves; names of the parameters in its order beside it."""
    rates = {"head": config.rate, "backbone": config.rate * config.backbone_rate}

    def group_of(name: str) -> str:
        return "backbone" if name.startswith("backbone.") else "head"

    return grouped_adamw(network.named_parameters(), group_of, rates, config.weight_decay)

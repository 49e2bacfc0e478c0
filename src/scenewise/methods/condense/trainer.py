"""Both branches as something that learns step by step."""

import copy
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Protocol, final, runtime_checkable

import torch
from torch import Tensor, nn

from scenewise.engine.adamw_groups import cosine_share, grouped_adamw, rates_of, set_rates
from scenewise.engine.checkpoints import Checkpoint
from scenewise.engine.distribution import ALONE, Ranks
from scenewise.engine.measuring import require_not_begun
from scenewise.engine.optimizer_states import optimizer_tensors, restore_optimizer
from scenewise.engine.randomness import keyed_generator, keyed_seed
from scenewise.engine.step_back import TrainingDivergedError
from scenewise.engine.training import StepReport
from scenewise.errors import ConventionError
from scenewise.kernels.sparse_conv import Precision
from scenewise.methods.condense.batches import consistency_batch
from scenewise.methods.condense.learning import FrozenTower, StepLosses
from scenewise.methods.condense.objective import Memory
from scenewise.methods.condense.objectives import losses_of
from scenewise.methods.condense.options import CondenseConfig
from scenewise.methods.condense.prior import PriorStatistics, prior_statistics
from scenewise.networks.batch_norm import reduce_statistics
from scenewise.networks.consistent.pair import ConsistentPair
from scenewise.networks.consistent.shape import ConsistentShape
from scenewise.parts.scans.posed_scans import PosedScan

_RISE = 50  # steps in which the rates rise, or a tenth of a shorter run


@runtime_checkable
class PosedScans(Protocol):
    """What is learned from.

    Attributes:
        weights: how often each scan is drawn, beside the others.
    """

    weights: Sequence[float]

    @property
    def fingerprint(self) -> str:
        """Changes whenever any scan or weight does."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> PosedScan: ...


def shape_of(config: CondenseConfig, frozen: FrozenTower) -> ConsistentShape:
    """The two branches for a tower."""
    return ConsistentShape(
        dim=config.dim,
        tower_width=frozen.tower.width,
        tower_depth=frozen.tower.depth,
        image_width=config.image_width,
        reads_pixels=config.reads_pixels,
        backbone=config.backbone,
        backbone_width=config.width,
        text_dim=frozen.text_dim,
    )


@final
class CondenseTrainer:
    """Trains both branches on posed scans.

    Args:
        config: the recipe.
        scans: what is learned from.
        frozen: the tower.
        seed: of everything random.
        device: where to compute.
        precision: of the operands of sparse convolutions.
        ranks: the processes that train together; a step's scans are shared among them.

    Raises:
        ConventionError: no scans, fewer scans in a step than processes, or scans of different priors.
    """

    def __init__(
        self,
        config: CondenseConfig,
        scans: PosedScans,
        frozen: FrozenTower,
        seed: int,
        *,
        device: torch.device | None = None,
        precision: Precision = "float32",
        ranks: Ranks = ALONE,
    ) -> None:
        self.config, self.scans, self.frozen, self.seed, self.ranks = config, scans, frozen, seed, ranks
        self.device = torch.device("cpu") if device is None else device
        self._scans_per_step = min(config.scans_per_step, len(scans))
        if self._scans_per_step < ranks.size:
            fix = "start fewer processes, or raise scans_per_step"
            raise ConventionError("scans in a step", expected=f"{ranks.size}", got=self._scans_per_step, fix=fix)
        ranks.require_same("the data", scans.fingerprint)
        self.prior: PriorStatistics = prior_statistics(scans)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(keyed_seed(seed, "initialisation"))
            self.pair = ConsistentPair(shape_of(config, frozen), self.prior.dim, precision=precision)
            self.color = nn.Linear(config.dim, 3)  # of one of the objectives that are compared with
        with torch.no_grad():
            self.pair.translator.bias.copy_(self.prior.mean)
        self._modules = nn.ModuleDict({"pair": self.pair, "color": self.color}).to(self.device)
        if ranks.size > 1:
            reduce_statistics(self._modules, ranks.sum)
        self.average = copy.deepcopy(self.pair).requires_grad_(False)
        self._optimizer, self._names = _optimizer(self._modules, config)
        self._described: dict[str, Any] = json.loads(json.dumps({**asdict(config), "seed": seed, "precision": precision}))
        self.memory = Memory.empty(config.dim, self.device)
        self._losses: StepLosses | None = None
        self.steps_done = 0
        self.seconds = 0.0

    @property
    def total_steps(self) -> int:
        """Length of the run."""
        return self.config.steps

    @property
    def parameters_trained(self) -> int:
        """Numbers that move."""
        return sum(parameter.numel() for parameter in self._modules.parameters())

    def set_total_steps(self, steps: int) -> None:
        """Fixes the length of the run, and with it the rates; see :class:`scenewise.engine.measuring.Measurable`.

        Raises:
            ConventionError: training has already begun.
        """
        require_not_begun(self)
        self.config = replace(self.config, steps=steps)
        self._described["steps"] = steps

    def start(self) -> None:
        """Puts everything into the mode of training."""
        self._modules.train()

    def scans_of(self, step: int) -> tuple[int, ...]:
        """Which scans all processes together look at in a step, by their weights; none twice."""
        weights = torch.tensor(self.scans.weights, dtype=torch.float64)
        generator = keyed_generator("condense order", self.seed, step)
        return tuple(torch.multinomial(weights, self._scans_per_step, generator=generator).tolist())

    def step(self) -> None:
        """One step on the scans that belong to it."""
        config, step = self.config, self.steps_done
        numbers = self.ranks.share(self.scans_of(step))
        batch = consistency_batch([(number, self.scans[number]) for number in numbers], config, self.seed, step, self.device)
        rise = max(1, min(_RISE, config.steps // 10))
        set_rates(self._optimizer, min(1.0, (step + 1) / rise) * cosine_share(step, config.steps))
        self._optimizer.zero_grad(set_to_none=True)
        losses = losses_of(batch, self, step)
        losses.total.backward()
        self.ranks.sum_gradients(self._modules.parameters())
        norm = nn.utils.clip_grad_norm_(self._modules.parameters(), config.clip_norm)
        if not math.isfinite(float(norm)):
            raise TrainingDivergedError(f"training diverged at step {step + 1}: gradients are not finite")
        self._optimizer.step()
        self._follow(min(config.average, (1 + step) / (10 + step)))
        self._losses = _of_all(losses, self.ranks)
        self.steps_done += 1

    def describe(self) -> StepReport:
        """The last step: the parts of its loss and what they tell, of all processes together."""
        losses = self._losses
        assert losses is not None, "no step yet"
        terms = {name: float(value) for name, value in losses.terms.items()}
        figures = dict(losses.figures)
        line = {"seconds": self.seconds, **terms, **figures}
        shown = {name: terms[name] for name in list(terms)[:3]}
        rates = rates_of(self._optimizer)
        total = float(losses.total.detach())
        return StepReport(
            self.steps_done, self.total_steps, total, terms, self.seconds, rates=rates, figures=figures, shown=shown, line=line
        )

    def checkpoint(self) -> Checkpoint:
        """All networks, their running average and the optimiser's memory.  Tensors are not copied."""
        averages = {f"average.{name}": value for name, value in self.average.state_dict().items()}
        return Checkpoint(
            self.steps_done,
            {**self._modules.state_dict(), **averages},
            optimizer_tensors(self._optimizer, self._names),
            {"memory.image": self.memory.image, "memory.volume": self.memory.volume},
            self._described,
            self.scans.fingerprint,
            {"seconds": self.seconds},
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue exactly where a checkpoint was taken."""
        learned, averages = _apart(checkpoint.parameters)
        self._modules.load_state_dict(learned)
        self.average.load_state_dict(averages)
        restore_optimizer(self._optimizer, self._names, checkpoint.optimizer)
        remembered = (checkpoint.state[f"memory.{name}"].to(self.device, copy=True) for name in ("image", "volume"))
        self.memory = Memory(*remembered)
        self.steps_done, self.seconds = checkpoint.step, float(checkpoint.details["seconds"])

    @torch.no_grad()
    def _follow(self, kept: float) -> None:
        """The running average takes in what was learned; statistics of batch norm are taken over as they are."""
        for average, parameter in zip(self.average.parameters(), self.pair.parameters(), strict=True):
            average.lerp_(parameter, 1.0 - kept)
        for kept_buffer, buffer in zip(self.average.buffers(), self.pair.buffers(), strict=True):
            kept_buffer.copy_(buffer)


def _of_all(losses: StepLosses, ranks: Ranks) -> StepLosses:
    """What all processes together have added to a step: each has a share of every mean."""
    if ranks.size == 1:
        return losses
    terms, figures = tuple(losses.terms), tuple(losses.figures)
    own: list[Tensor | float] = [losses.total.detach(), *losses.terms.values(), *losses.figures.values()]
    total, *values = ranks.total([float(value) for value in own])
    told = [losses.total.new_tensor(value) for value in (total, *values[: len(terms)])]
    return StepLosses(told[0], dict(zip(terms, told[1:])), dict(zip(figures, values[len(terms) :])))


def _apart(parameters: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What is learned, and its running average."""
    averages = {name.removeprefix("average."): value for name, value in parameters.items() if name.startswith("average.")}
    return {name: value for name, value in parameters.items() if not name.startswith("average.")}, averages


def _optimizer(modules: nn.ModuleDict, config: CondenseConfig) -> tuple[torch.optim.AdamW, list[str]]:
    """AdamW with a rate for each branch; names of the parameters in its order beside it."""
    rates = {"points": config.point_rate, "image": config.image_rate}

    def group_of(name: str) -> str:
        return "points" if name.startswith(("pair.points.", "color.")) else "image"

    return grouped_adamw(modules.named_parameters(), group_of, rates, config.weight_decay)

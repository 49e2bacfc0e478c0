"""The training loop of every label-free method.  It knows recipes, never a paper.

One step: some scans are augmented, the students look at them, the label source says what each is trained on, the losses of the
schedule's phase are combined, and every group of parameters moves by its own optimiser.  Optimisers live from the first step to
the last: a phase neither makes nor resets one, and the modules of a loss that does not act rest.

Whatever is drawn depends on the seed and on epoch, step or scan, never on what was drawn before; so a resumed run is the unbroken
one bit for bit, and ranks draw what one process would.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, final, runtime_checkable

import torch
from jaxtyping import Float32, Int64
from torch import Tensor, nn

from scenewise.engine.checkpoints import Checkpoint
from scenewise.engine.distribution import ALONE, Ranks
from scenewise.engine.memory import KeptMemory
from scenewise.engine.randomness import keyed_generator, keyed_seed
from scenewise.errors import ConventionError, ScenewiseError
from scenewise.kernels.matmul import fast_exact_matmul
from scenewise.networks.batch_norm import reduce_statistics
from scenewise.networks.sparse_blocks import SparseConv
from scenewise.parts.labelfree.augmentation import BatchMember, training_batch
from scenewise.parts.labelfree.batches import TrainingBatch
from scenewise.parts.labelfree.fixed_labels import FixedLabels, fixed_labels
from scenewise.parts.labelfree.label_sources import SOURCES, cross_entropy
from scenewise.parts.labelfree.recipes import Recipe
from scenewise.parts.labelfree.settings import OptimizerSettings
from scenewise.parts.labelfree.steps import LossTerm, StepContext, StudentOutput
from scenewise.parts.labelfree.students import PixelStudent, PointStudent, latent_channels
from scenewise.parts.labelfree.supervision import Modality, Supervision
from scenewise.parts.scans.scans import TrainingScan

Precision = Literal["float32", "bfloat16", "float16"]
CROSS_ENTROPIES: tuple[Modality, ...] = ("points", "pixels")
"""Names of the losses that every recipe has; all others are regularisers'."""

_LABELS_IN_MEMORY = 2 << 30
_LOOKED_AT = 4096  # rows whose predictions the collapse monitor counts


@runtime_checkable
class TrainingScans(Protocol):
    """What is trained on."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever any scan does."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> TrainingScan: ...


@dataclass(frozen=True)
class StepReport:
    """What a listener is told after a step.

    Attributes:
        step: steps done.
        total_steps: of the run.
        epoch: counted from 1.
        epochs: of the run.
        loss: combined over all ranks.
        terms: unweighted value of each active loss over all ranks.
        rates: learning rate by group.
        figures: of sources and losses: shares of label sources, the largest class's share of the labels and predictions …
        seconds: of training so far, earlier sessions included.
        seconds_preparing: part of ``seconds`` in which batches were read and augmented.
    """

    step: int
    total_steps: int
    epoch: int
    epochs: int
    loss: float
    terms: Mapping[str, float]
    rates: Mapping[str, float]
    figures: Mapping[str, float]
    seconds: float
    seconds_preparing: float


class TrainingDivergedError(ScenewiseError, ArithmeticError):
    """The loss or its gradient became NaN or infinite."""


@dataclass
class _Group:
    """Parameters that one optimiser moves.

    Attributes:
        modules: what they belong to, by name.
        settings: of the optimiser.
        optimizer: which.
        names: of the parameters, in the optimiser's order.
    """

    modules: nn.ModuleDict
    settings: OptimizerSettings
    optimizer: torch.optim.Optimizer
    names: list[str] = field(default_factory=list)

    @property
    def parameters(self) -> list[nn.Parameter]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]


@final
class LabelFreeTrainer:
    """Trains the students of a recipe on scans.

    Args:
        recipe: the method.
        scans: what is trained on.
        text: unit embedding per class.
        seed: of everything that is drawn.
        device: where to compute.
        precision: "float32"; "bfloat16" on a CPU rounds the operands of sparse convolutions, where its instructions have them; on
            CUDA "bfloat16" and "float16" are torch's mixed precision.
        ranks: the processes that train together.
        config: resolved configuration, stored in checkpoints and compared on resume.

    Raises:
        ConventionError: no scans, more ranks than scans in a batch, losses the recipe does not make, or missing optimisers.
    """

    def __init__(
        self,
        recipe: Recipe,
        scans: TrainingScans,
        text: Float32[Tensor, "classes dim"],
        *,
        seed: int = 0,
        device: torch.device | None = None,
        precision: Precision = "float32",
        ranks: Ranks = ALONE,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        self.recipe, self.scans, self.seed, self.precision, self.ranks = recipe, scans, seed, precision, ranks
        self.device = torch.device("cpu") if device is None else device
        self.config = dict(recipe.config if config is None else config)
        self.text = text.detach().to(self.device)
        self._order = EpochOrder(len(scans), recipe.batch_scans, seed)
        self._order.require_enough(ranks.size)
        ranks.require_same("the data", scans.fingerprint)
        self.total_steps = recipe.epochs * self._order.steps_per_epoch
        self.steps_done = 0
        self.seconds = 0.0
        self.seconds_preparing = 0.0
        self._kept_memory = KeptMemory()
        self._labels = _LabelsOfScans(scans, recipe, len(text))
        first = scans[0]
        self.in_channels = int(first.inputs.shape[1])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(keyed_seed(seed, "initialisation"))
            self.points = PointStudent(recipe.build_points(self.in_channels), text.shape[1])
            self.pixels = None if recipe.build_pixels is None else PixelStudent(recipe.build_pixels(), text.shape[1])
            targets = next((view.targets for view in first.views if view.targets is not None), None)
            self.regularisers = recipe.build_regularisers(
                text, latent_channels(self.points), latent_channels(self.pixels), 0 if targets is None else targets.shape[-1]
            )
        self._with_pictures = self.pixels is not None or targets is not None
        self._groups = self._made_groups()
        self._require_known_losses()
        _set_precision(self.points, precision, self.device)
        if ranks.size > 1:
            for group in self._groups.values():
                reduce_statistics(group.modules, ranks.sum)
                ranks.broadcast(dict(group.modules.state_dict(keep_vars=True)))
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "float16" and self.device.type == "cuda")

    # ------------------------------------------------------------------------------------------------------------------- running

    def run(
        self,
        *,
        until: int | None = None,
        listener: Callable[[StepReport], None] | None = None,
        report_every: int = 1,
        save: Callable[[Checkpoint], object] | None = None,
        save_every: int | None = None,
    ) -> None:
        """Trains up to step ``until`` (default: to the end).

        Args:
            until: steps done when it returns.
            listener: told about every ``report_every``-th step, on the first rank.
            report_every: see ``listener``.
            save: given a checkpoint every ``save_every`` steps and at the end, on the first rank.
            save_every: default an epoch.

        Raises:
            TrainingDivergedError: something became NaN or infinite; the message names the step.
            Whatever ``save`` raises.
        """
        last = self.total_steps if until is None else min(until, self.total_steps)
        save_every = self._order.steps_per_epoch if save_every is None else save_every
        for group in self._groups.values():
            group.modules.train()
        while self.steps_done < last:
            due = (self.steps_done + 1) % report_every == 0 or self.steps_done + 1 == last
            report = self._step(detailed=due and listener is not None)
            self._kept_memory.after_step()
            if due and listener is not None and self.ranks.is_first:
                listener(report)
            if save is not None and self.ranks.is_first and (self.steps_done % save_every == 0 or self.steps_done == last):
                save(self.checkpoint())

    @property
    def steps_per_epoch(self) -> int:
        """Optimisation steps in an epoch."""
        return self._order.steps_per_epoch

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return self.steps_done >= self.total_steps

    @property
    def modules(self) -> Mapping[str, nn.ModuleDict]:
        """What is trained, by group: "points", "pixels", "extra", and "extra_LOSS" for losses with an optimiser of their own."""
        return {name: group.modules for name, group in self._groups.items()}

    # ------------------------------------------------------------------------------------------------------------------ one step

    def batch_at(self, step: int) -> TrainingBatch:
        """This rank's part of the batch of a step (counted from 0)."""
        epoch, rows = self._order.batch(step)
        members = []
        for index in self.ranks.share(rows):
            scan = self.scans[index]
            members.append(BatchMember(index, scan, self._labels.of(index, scan)))
        return training_batch(
            members,
            self.recipe.augmentation,
            voxel=self.recipe.voxel,
            views_per_step=self.recipe.views_per_step,
            seed=self.seed,
            epoch=epoch,
            with_pictures=self._with_pictures,
            with_images=self.pixels is not None,
            device=self.device,
        )

    def _step(self, detailed: bool) -> StepReport:
        clock = time.perf_counter()
        step = self.steps_done
        epoch, _ = self._order.batch(step)
        batch = self.batch_at(step)
        prepared = time.perf_counter()
        rates = self._set_rates(step)
        # Dropout reads torch's own generator: it is put where this step and rank want it, and the caller's is left as it was.
        with fast_exact_matmul(self.device), _seeded(keyed_seed(self.seed, "step", step, self.ranks.rank), self.device):
            with self._autocast():
                context = self._context(epoch, step, batch)
                terms = self._terms(context)
                total, values = self._combined(context, terms)
            for group in self._groups.values():
                group.optimizer.zero_grad(set_to_none=True)
            if not math.isfinite(values["loss"]):
                raise self._diverged("the loss", epoch, batch, values)
            if total.requires_grad:
                self._scaler.scale(total).backward()
        figures = self._move(epoch, batch, values)
        if detailed:
            figures |= self._figures(context, terms)
        self.steps_done += 1
        self.seconds += time.perf_counter() - clock
        self.seconds_preparing += prepared - clock
        loss = values.pop("loss")
        return StepReport(
            self.steps_done,
            self.total_steps,
            epoch,
            self.recipe.epochs,
            loss,
            values,
            rates,
            figures,
            self.seconds,
            self.seconds_preparing,
        )

    def _context(self, epoch: int, step: int, batch: TrainingBatch) -> StepContext:
        """Outputs of the students and what each is trained on."""
        outputs: dict[Modality, StudentOutput] = {"points": self.points(batch.cloud)}
        if self.pixels is not None and batch.pictures is not None and batch.pictures.images is not None:
            outputs["pixels"] = self.pixels(batch.pictures.images)
        supervision: dict[Modality, Supervision] = {}
        context = StepContext(
            epoch=epoch,
            batch=batch,
            text=self.text,
            outputs=outputs,
            supervision=supervision,
            generator=keyed_generator(self.seed, "draws", step),
            gather=self.ranks.gather,
        )
        weights = self.recipe.schedule.at(epoch)
        for modality in outputs:
            if modality in weights:
                supervision[modality], counts = self.recipe.source(context, modality)
                context.figures |= _shares(modality, counts)
        return context

    def _terms(self, context: StepContext) -> dict[str, LossTerm]:
        """The losses of the phase, in the schedule's order."""
        by_name = {regulariser.name: regulariser for regulariser in self.regularisers}
        terms: dict[str, LossTerm] = {}
        for name in self.recipe.schedule.at(context.epoch):
            if name in CROSS_ENTROPIES:
                terms[name] = cross_entropy(context, name)
            else:
                terms[name] = by_name[name](context)
        return terms

    def _combined(self, context: StepContext, terms: Mapping[str, LossTerm]) -> tuple[Tensor, dict[str, float]]:
        """This rank's part of the loss, whose sum over ranks is the loss, and the values over all ranks.

        A term is Σ over the rows of all ranks / their number; one without any rows vanishes.
        """
        weights = self.recipe.schedule.at(context.epoch)
        names = list(terms)
        sums = self.ranks.total(
            [float(terms[name].rows) for name in names] + [float(terms[name].total.detach()) for name in names]
        )
        rows, totals = dict(zip(names, sums)), dict(zip(names, sums[len(names) :]))
        active = [name for name in names if rows[name] > 0]
        shared = sum(weights[name] for name in active) if self.recipe.schedule.combine == "mean" else 1.0
        # Every rank must send the same messages backwards, also one whose scans have no rows.
        total = torch.zeros((), device=self.device)
        if self.ranks.size > 1:
            total = total + sum(0.0 * output.latent.sum() for output in context.outputs.values())
        for name in active:
            total = total + (weights[name] / (shared * rows[name])) * terms[name].total
        values = {name: totals[name] / rows[name] if rows[name] > 0 else 0.0 for name in names}
        values["loss"] = sum(weights[name] / shared * values[name] for name in active)
        return total, values

    def _set_rates(self, step: int) -> dict[str, float]:
        """Half a cosine to 0 over all steps."""
        factor = 0.5 * (1.0 + math.cos(math.pi * step / self.total_steps))
        rates = {}
        for name, group in self._groups.items():
            rates[name] = group.settings.learning_rate * factor
            for parameters in group.optimizer.param_groups:
                parameters["lr"] = rates[name]
        return rates

    def _move(self, epoch: int, batch: TrainingBatch, values: Mapping[str, float]) -> dict[str, float]:
        """Sums gradients over ranks, clips them, and steps."""
        norms = {}
        for name, group in self._groups.items():
            self._scaler.unscale_(group.optimizer) if self._scaler.is_enabled() and self._has_gradient(group) else None
            self.ranks.sum_gradients(group.parameters)
            limit = math.inf if group.settings.clip_norm is None else group.settings.clip_norm
            norm = float(nn.utils.clip_grad_norm_(group.parameters, limit))
            if not math.isfinite(norm) and not self._scaler.is_enabled():
                raise self._diverged(f"the gradient of {name}", epoch, batch, values)
            norms[f"gradient_norm/{name}"] = norm
            if self._has_gradient(group):
                self._scaler.step(group.optimizer)
        self._scaler.update()
        return norms

    @staticmethod
    def _has_gradient(group: _Group) -> bool:
        return any(parameter.grad is not None for parameter in group.parameters)

    def _diverged(self, what: str, epoch: int, batch: TrainingBatch, values: Mapping[str, float]) -> TrainingDivergedError:
        scans = ", ".join(batch.names[:4]) + (" …" if len(batch.names) > 4 else "")
        said = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        return TrainingDivergedError(
            f"{what} became NaN or infinite in step {self.steps_done + 1} of {self.total_steps} (epoch {epoch}, scans {scans}; "
            f"{said}). Fix: a lower learning rate or a clip norm; the newest checkpoint is from before"
        )

    @torch.no_grad()
    def _figures(self, context: StepContext, terms: Mapping[str, LossTerm]) -> dict[str, float]:
        """What sources and losses say about themselves, and how far labels and predictions collapse onto one class."""
        figures = dict(context.figures)
        for name, term in terms.items():
            figures |= {f"{name}/{key}": value for key, value in term.extra.items()}
        for modality, supervision in context.supervision.items():
            figures[f"rows/{modality}"] = float(len(supervision))
            figures[f"largest_class/labels/{modality}"] = _largest_share(supervision.class_ids)
            output = context.outputs[modality]
            every = max(1, len(output) // _LOOKED_AT)
            rows = torch.arange(0, len(output), every, device=output.latent.device)
            figures[f"largest_class/predictions/{modality}"] = _largest_share(output.logits(self.text, rows).argmax(1))
        return figures

    def _autocast(self) -> AbstractContextManager[object]:
        if self.precision == "float32" or self.device.type != "cuda":
            return nullcontext()
        return torch.autocast("cuda", dtype=getattr(torch, self.precision))

    # -------------------------------------------------------------------------------------------------------------------- groups

    def _made_groups(self) -> dict[str, _Group]:
        alone = self.recipe.optimizers_by_loss
        extra = {
            regulariser.name: {f"{regulariser.name}_{name}": module for name, module in regulariser.modules.items()}
            for regulariser in self.regularisers
        }
        together_trained = {
            name: module for loss, modules in extra.items() if loss not in alone for name, module in modules.items()
        }
        wanted: list[tuple[str, dict[str, nn.Module], OptimizerSettings | None]] = [
            ("points", {"student": self.points}, self.recipe.points_optimizer),
            ("pixels", {} if self.pixels is None else {"student": self.pixels}, self.recipe.pixels_optimizer),
            ("extra", together_trained, self.recipe.extra_optimizer),
            *((f"extra_{loss}", extra.get(loss, {}), settings) for loss, settings in alone.items()),
        ]
        groups = {}
        for name, modules, settings in wanted:
            together = nn.ModuleDict(modules).to(self.device)
            if not any(True for _ in together.parameters()):
                continue
            if settings is None:
                raise ConventionError(f"{name}_optimizer of {self.recipe.name}", expected="settings", got="none")
            named = [(key, value) for key, value in together.named_parameters() if value.requires_grad]
            optimizer = _optimizer([value for _, value in named], settings)
            groups[name] = _Group(together, settings, optimizer, [key for key, _ in named])
        return groups

    def _require_known_losses(self) -> None:
        known = {"points", *(("pixels",) if self.pixels is not None else ()), *(part.name for part in self.regularisers)}
        for phase in self.recipe.schedule.phases:
            for name in phase.weights:
                if name not in known:
                    raise ConventionError(
                        f"loss {name!r} of epoch {phase.from_epoch}", expected=f"one of {', '.join(sorted(known))}", got=name
                    )

    # --------------------------------------------------------------------------------------------------------------------- state

    def checkpoint(self) -> Checkpoint:
        """Everything another trainer needs to continue identically.  Tensors are not copied."""
        parameters: dict[str, Tensor] = {}
        optimizer: dict[str, Tensor] = {}
        for name, group in self._groups.items():
            parameters |= {f"{name}.{key}": value for key, value in group.modules.state_dict().items()}
            for key, parameter in zip(group.names, group.parameters):
                for kind, value in group.optimizer.state[parameter].items():
                    if isinstance(value, Tensor):
                        optimizer[f"{name}.{kind}.{key}"] = value
        state = {"text": self.text}
        if self._scaler.is_enabled():
            kept = self._scaler.state_dict()
            state["scaler"] = torch.tensor([kept["scale"], kept["_growth_tracker"]], dtype=torch.float64)
        details = {"total_steps": self.total_steps, "seconds": self.seconds, "seconds_preparing": self.seconds_preparing}
        return Checkpoint(self.steps_done, parameters, optimizer, state, self.config, self.scans.fingerprint, details)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue exactly where a checkpoint was taken.

        Raises:
            ConventionError: it belongs to another kind of run.
        """
        if int(checkpoint.details.get("total_steps", -1)) != self.total_steps:
            raise ConventionError(
                "resume: steps",
                expected=f"{checkpoint.details.get('total_steps')} as in the checkpoint",
                got=self.total_steps,
                fix="use the epochs, batch and data the run was started with",
            )
        for name, group in self._groups.items():
            own = f"{name}."
            given = {key.removeprefix(own): value for key, value in checkpoint.parameters.items() if key.startswith(own)}
            try:
                group.modules.load_state_dict(given)
            except RuntimeError as error:
                message = " ".join(str(error).split())[:200]
                raise ConventionError(f"resume: parameters of {name}", expected="the network of this run", got=message) from error
            group.optimizer.state.clear()
            for key, parameter in zip(group.names, group.parameters):
                kinds = {
                    full.split(".")[1]: value
                    for full, value in checkpoint.optimizer.items()
                    if full.startswith(own) and full.split(".", 2)[2] == key
                }
                # Adam's counter stays on the CPU unless the fused kernel wants it beside the parameter; both accept the device.
                if kinds:
                    group.optimizer.state[parameter] = {kind: value.to(parameter.device) for kind, value in kinds.items()}
        if self._scaler.is_enabled() and "scaler" in checkpoint.state:
            scale, growth = checkpoint.state["scaler"].tolist()
            self._scaler.load_state_dict({**self._scaler.state_dict(), "scale": scale, "_growth_tracker": int(growth)})
        self.steps_done = checkpoint.step
        self.seconds = float(checkpoint.details["seconds"])
        self.seconds_preparing = float(checkpoint.details.get("seconds_preparing", 0.0))


@final
class EpochOrder:
    """Which scans a step sees: a new permutation every epoch, cut into batches whose sizes differ by at most one.

    Cutting off a short last batch would lose scans, and a batch of one scan makes poor statistics.

    Args:
        scans: how many there are.
        batch_scans: at most so many per step.
        seed: of the run.
    """

    def __init__(self, scans: int, batch_scans: int, seed: int) -> None:
        if scans < 1 or batch_scans < 1:
            raise ConventionError("training", expected="scans, and at least one per step", got=f"{scans} and {batch_scans}")
        self.scans, self.batch_scans, self.seed = scans, batch_scans, seed
        self.steps_per_epoch = -(-scans // batch_scans)

    def batch(self, step: int) -> tuple[int, tuple[int, ...]]:
        """The epoch (counted from 1) and the scans of a step (counted from 0)."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = torch.randperm(self.scans, generator=keyed_generator(self.seed, "order", epoch + 1)).tolist()
        begin, end = (self.scans * part // self.steps_per_epoch for part in (place, place + 1))
        return epoch + 1, tuple(order[begin:end])

    def require_enough(self, ranks: int) -> None:
        """ConventionError unless every rank has a scan in every step."""
        least = self.scans // self.steps_per_epoch
        if least < ranks:
            raise ConventionError(
                "processes",
                expected=f"at most {least}, the scans of the smallest batch",
                got=ranks,
                fix="fewer, or a larger --batch",
            )


@final
class _LabelsOfScans:
    """Fixed labels, made once per scan and kept while they fit; what does not fit is made again, with the same result."""

    def __init__(self, scans: TrainingScans, recipe: Recipe, num_classes: int) -> None:
        self._recipe, self._num_classes = recipe, num_classes
        self._kept: dict[int, FixedLabels] = {}
        self._bytes = 0

    def of(self, index: int, scan: TrainingScan) -> FixedLabels:
        if index in self._kept:
            return self._kept[index]
        made = fixed_labels(scan, self._recipe.point_labels, self._num_classes)
        if self._bytes + made.num_bytes <= _LABELS_IN_MEMORY:
            self._kept[index] = made
            self._bytes += made.num_bytes
        return made


def _optimizer(parameters: Sequence[nn.Parameter], settings: OptimizerSettings) -> torch.optim.Optimizer:
    if settings.kind == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=settings.learning_rate,
            momentum=settings.momentum,
            dampening=settings.dampening,
            weight_decay=settings.weight_decay,
            fused=True,
        )
    return torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)


def _set_precision(network: nn.Module, precision: Precision, device: torch.device) -> None:
    """Sparse convolutions round their operands where mixed precision is asked for; on CUDA autocast does the rest."""
    if precision == "float32":
        return
    if precision == "float16" and device.type == "cpu":
        raise ConventionError("precision", expected="float32 or bfloat16 on a CPU", got=precision)
    for module in network.modules():
        if isinstance(module, SparseConv):
            module.settings = replace(module.settings, precision="bfloat16")


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _shares(modality: Modality, counts: Int64[Tensor, "sources"]) -> dict[str, float]:
    total = max(1, int(counts.sum()))
    return {f"share/{source}/{modality}": int(count) / total for source, count in zip(SOURCES, counts.tolist())}


def _largest_share(class_ids: Int64[Tensor, "rows"]) -> float:
    """Share of the most frequent class; 0 without rows."""
    return float(torch.bincount(class_ids).max()) / len(class_ids) if len(class_ids) else 0.0

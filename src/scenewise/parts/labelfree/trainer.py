"""The training loop of every label-free method.  It knows recipes, never a paper.

One step: some scans are augmented, the students look at them, the label source says what each is trained on, the losses of the
schedule's phase are combined, and every group of parameters moves by its own optimiser.  Optimisers live from the first step to
the last: a phase neither makes nor resets one, and the modules of a loss that does not act rest.

Whatever is drawn depends on the seed and on epoch, step or scan, never on what was drawn before; so a resumed run is the unbroken
one bit for bit, and ranks draw what one process would.
"""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, Unpack, final, runtime_checkable

import torch
from jaxtyping import Float32
from torch import Tensor, nn

from scenewise.engine.adamw_groups import cosine_share
from scenewise.engine.checkpoints import Checkpoint
from scenewise.engine.distribution import ALONE, Ranks
from scenewise.engine.memory import KeptMemory
from scenewise.engine.randomness import keyed_generator, keyed_seed
from scenewise.engine.step_back import TrainingDivergedError
from scenewise.engine.training import StepArguments, StepReport, run_steps
from scenewise.errors import ConventionError
from scenewise.kernels.matmul import fast_exact_matmul
from scenewise.networks.batch_norm import reduce_statistics
from scenewise.networks.sparse_blocks import SparseConv
from scenewise.parts.labelfree.augmentation import BatchMember, BatchSettings, training_batch
from scenewise.parts.labelfree.batches import TrainingBatch
from scenewise.parts.labelfree.epochs import EpochOrder
from scenewise.parts.labelfree.figures import shares, step_figures
from scenewise.parts.labelfree.fixed_labels import LabelsOfScans
from scenewise.parts.labelfree.label_sources import cross_entropy
from scenewise.parts.labelfree.optimizers import group_tensors, load_groups, optimizer_groups
from scenewise.parts.labelfree.recipes import Recipe
from scenewise.parts.labelfree.steps import LossContext, LossTerm, StudentOutput
from scenewise.parts.labelfree.students import PixelStudent, PointStudent, latent_channels
from scenewise.parts.labelfree.supervision import Modality, Supervision
from scenewise.parts.scans.scans import TrainingScan

Precision = Literal["float32", "bfloat16", "float16"]
CROSS_ENTROPIES: tuple[Modality, ...] = ("points", "pixels")
"""Names of the losses that every recipe has; all others are regularisers'."""


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
class _LastStep:
    """What the last step leaves to be described."""

    epoch: int
    loss: float
    terms: Mapping[str, float]
    rates: Mapping[str, float]
    norms: Mapping[str, float]
    context: LossContext
    losses: Mapping[str, LossTerm]


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
        self._last_step: _LastStep | None = None
        self._labels = LabelsOfScans(recipe.point_labels, len(text))
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
        self._batches = BatchSettings(
            recipe.augmentation,
            recipe.voxel,
            recipe.views_per_step,
            seed,
            with_pictures=self.pixels is not None or targets is not None,
            with_images=self.pixels is not None,
        )
        self._groups = optimizer_groups(recipe, self.points, self.pixels, self.regularisers, self.device)
        self._require_known_losses()
        _set_precision(self.points, precision, self.device)
        if ranks.size > 1:
            for group in self._groups.values():
                reduce_statistics(group.modules, ranks.sum)
                ranks.broadcast(dict(group.modules.state_dict(keep_vars=True)))
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "float16" and self.device.type == "cuda")

    # ------------------------------------------------------------------------------------------------------------------- running

    def run(self, **how: Unpack[StepArguments]) -> None:
        """Trains up to a step, all ranks together; see :func:`scenewise.engine.training.run_steps`."""
        run_steps(self, ranks=self.ranks, **how)

    def start(self) -> None:
        """Puts all networks into the mode of training."""
        for group in self._groups.values():
            group.modules.train()

    def describe(self) -> StepReport:
        """The last step: losses over all ranks, rates, norms, and what sources, losses and the collapse monitor say."""
        last = self._last_step
        assert last is not None, "no step yet"
        figures = {**last.norms, **step_figures(last.context, last.losses)}
        return StepReport(
            self.steps_done,
            self.total_steps,
            last.loss,
            last.terms,
            self.seconds,
            last.rates,
            figures,
            shown={"epoch": f"{last.epoch}/{self.recipe.epochs}", "loss": last.loss},
            line={
                "epoch": last.epoch,
                "loss": last.loss,
                "terms": last.terms,
                "rates": last.rates,
                "figures": figures,
                "seconds": self.seconds,
                "seconds_preparing": self.seconds_preparing,
            },
        )

    @property
    def steps_per_epoch(self) -> int:
        """Optimisation steps in an epoch."""
        return self._order.steps_per_epoch

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
        return training_batch(members, self._batches, epoch=epoch, device=self.device)

    def step(self) -> None:
        """One step of this rank's part of the batch.

        Raises:
            TrainingDivergedError: the loss or a gradient is NaN or infinite; the message names the step.
        """
        if self._last_step is not None:
            self._last_step = None  # what it holds must not lie beside the next one's
            self._kept_memory.after_step()
        clock = time.perf_counter()
        step = self.steps_done
        epoch, _ = self._order.batch(step)
        batch = self.batch_at(step)
        self.seconds_preparing += time.perf_counter() - clock
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
        norms = self._move(epoch, batch, values)
        self.steps_done += 1
        loss = values.pop("loss")
        self._last_step = _LastStep(epoch, loss, values, rates, norms, context, terms)

    def _context(self, epoch: int, step: int, batch: TrainingBatch) -> LossContext:
        """Outputs of the students and what each is trained on."""
        outputs: dict[Modality, StudentOutput] = {"points": self.points(batch.cloud)}
        if self.pixels is not None and batch.pictures is not None and batch.pictures.images is not None:
            outputs["pixels"] = self.pixels(batch.pictures.images)
        supervision: dict[Modality, Supervision] = {}
        context = LossContext(
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
                context.figures |= shares(modality, counts)
        return context

    def _terms(self, context: LossContext) -> dict[str, LossTerm]:
        """The losses of the phase, in the schedule's order."""
        by_name = {regulariser.name: regulariser for regulariser in self.regularisers}
        terms: dict[str, LossTerm] = {}
        for name in self.recipe.schedule.at(context.epoch):
            if name in CROSS_ENTROPIES:
                terms[name] = cross_entropy(context, name)
            else:
                terms[name] = by_name[name](context)
        return terms

    def _combined(self, context: LossContext, terms: Mapping[str, LossTerm]) -> tuple[Tensor, dict[str, float]]:
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
        factor = cosine_share(step, self.total_steps)
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
            self._scaler.unscale_(group.optimizer) if self._scaler.is_enabled() and group.has_gradient else None
            self.ranks.sum_gradients(group.parameters)
            limit = math.inf if group.settings.clip_norm is None else group.settings.clip_norm
            norm = float(nn.utils.clip_grad_norm_(group.parameters, limit))
            if not math.isfinite(norm) and not self._scaler.is_enabled():
                raise self._diverged(f"the gradient of {name}", epoch, batch, values)
            norms[f"gradient_norm/{name}"] = norm
            if group.has_gradient:
                self._scaler.step(group.optimizer)
        self._scaler.update()
        return norms

    def _diverged(self, what: str, epoch: int, batch: TrainingBatch, values: Mapping[str, float]) -> TrainingDivergedError:
        scans = ", ".join(batch.names[:4]) + (" …" if len(batch.names) > 4 else "")
        said = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        return TrainingDivergedError(
            f"{what} became NaN or infinite in step {self.steps_done + 1} of {self.total_steps} (epoch {epoch}, scans {scans}; "
            f"{said}). Fix: a lower learning rate or a clip norm; the newest checkpoint is from before"
        )

    def _autocast(self) -> AbstractContextManager[object]:
        if self.precision == "float32" or self.device.type != "cuda":
            return nullcontext()
        return torch.autocast("cuda", dtype=getattr(torch, self.precision))

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
        parameters, optimizer = group_tensors(self._groups)
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
        load_groups(self._groups, checkpoint)
        if self._scaler.is_enabled() and "scaler" in checkpoint.state:
            scale, growth = checkpoint.state["scaler"].tolist()
            self._scaler.load_state_dict({**self._scaler.state_dict(), "scale": scale, "_growth_tracker": int(growth)})
        self.steps_done = checkpoint.step
        self.seconds = float(checkpoint.details["seconds"])
        self.seconds_preparing = float(checkpoint.details.get("seconds_preparing", 0.0))


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

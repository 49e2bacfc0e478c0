"""Training of blocks in turn, with one decoder for all of them.

A step of the run is a step of every block that a worker has in hand; gradients of the decoder are averaged over them, in this
process and over the processes that train together.  Blocks that nobody has in hand wait on the disk.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from scenewise.engine.checkpoints import Checkpoint, prefixed, without_prefix
from scenewise.engine.distribution import ALONE, Ranks
from scenewise.engine.training import StepReport
from scenewise.errors import ConventionError
from scenewise.methods.momentum_gs.block_states import BlockStates, BlockVersion
from scenewise.methods.momentum_gs.slots import SlotPlan
from scenewise.methods.momentum_gs.teaching import MomentumTeacher
from scenewise.methods.momentum_gs.weighting import BlockQuality, WeightingSettings, block_weights
from scenewise.metrics.psnr import psnr
from scenewise.metrics.ssim import ssim
from scenewise.parts.splats.anchors.decoder import AnchorDecoder
from scenewise.parts.splats.anchors.field import AnchorField
from scenewise.parts.splats.settings import RunIdentity
from scenewise.parts.splats.trainer import SplatTrainer
from scenewise.rendering import render

MakeBlock = Callable[[int, bool], SplatTrainer]
"""A block's trainer: (block, whether it is only to be filled from a checkpoint) → the trainer at its start."""

_KEPT_CHECKPOINTS = 3  # versions of waiting blocks that as many of the newest checkpoints ask for are kept


@dataclass(frozen=True)
class SharedDecoder:
    """What all blocks have in common.

    Attributes:
        decoder: lent to every block.
        teacher: follows it, or None.
        weighting: of the blocks' gradients, or None.
    """

    decoder: AnchorDecoder
    teacher: MomentumTeacher | None = None
    weighting: WeightingSettings | None = None


@final
class BlockTrainer:
    """Trains blocks, some at a time; a :class:`~scenewise.engine.training.Trainable`.

    Args:
        plan: who trains what when.
        make: builds a block's trainer.
        states: where blocks wait.
        shared: their decoder; None where each block has what it needs for itself.
        ranks: processes that train together; each has an equal share of the workers.
        identity: seed, configuration and data.

    Attributes:
        seconds: of training so far, earlier sessions included.
        quality: PSNR and SSIM of each block on some of its training views, after its last slot; None where it had none yet.
        drift: distance of teacher and student at the end of each slot.
    """

    def __init__(
        self,
        plan: SlotPlan,
        make: MakeBlock,
        states: BlockStates,
        *,
        shared: SharedDecoder | None = None,
        ranks: Ranks = ALONE,
        identity: RunIdentity | None = None,
    ) -> None:
        if plan.workers % ranks.size:
            raise ConventionError(
                "workers", expected=f"a multiple of the {ranks.size} processes", got=plan.workers, fix="change --workers"
            )
        identity = RunIdentity() if identity is None else identity
        self.plan, self.states, self.shared, self.ranks = plan, states, shared, ranks
        self.config, self.data_hash = dict(identity.config), identity.data_hash
        self.steps_done, self.seconds = 0, 0.0
        self.quality: list[BlockQuality | None] = [None] * plan.blocks
        self.drift: list[float] = []
        self.bytes_reduced = 0
        self._make = make
        self._active: dict[int, SplatTrainer] = {}  # by block
        self._waiting: dict[int, BlockVersion] = {}
        self._order: tuple[tuple[int | None, ...], ...] = ()
        self._needed: list[set[BlockVersion]] = []
        self._loss, self._terms = 0.0, dict[str, float]()
        self._rows, self._shown = 0, "none"

    # ------------------------------------------------------------------------------------------------------------- what it is

    @property
    def total_steps(self) -> int:
        """Length of the run."""
        return self.plan.total_steps

    @property
    def slot_steps(self) -> int:
        """Steps of a slot."""
        return self.plan.slot_steps

    @property
    def own_workers(self) -> range:
        """Workers that this process stands for."""
        each = self.plan.workers // self.ranks.size
        return range(self.ranks.rank * each, (self.ranks.rank + 1) * each)

    @property
    def own_blocks(self) -> tuple[int, ...]:
        """Blocks that this process trains."""
        return tuple(block for worker in self.own_workers for block in self.plan.own_blocks(worker))

    def owner(self, block: int) -> int:
        """Process that trains a block."""
        each = self.plan.workers // self.ranks.size
        return next(worker for worker in range(self.plan.workers) if block in self.plan.own_blocks(worker)) // each

    @property
    def in_hand(self) -> Mapping[int, SplatTrainer]:
        """Blocks in memory."""
        return self._active

    @property
    def learns(self) -> bool:
        """Whether the decoder learns in the next step."""
        return self.steps_done < self.plan.learning_steps

    # ------------------------------------------------------------------------------------------------------------- one step

    def start(self) -> None:
        """Nothing: blocks are taken in hand when their slot begins."""

    def step(self) -> None:
        """One step of every block in hand.

        Raises:
            NonFiniteError: a loss or a gradient is NaN or infinite.
        """
        slot, within = divmod(self.steps_done, self.plan.slot_steps)
        if within == 0:
            self._begin_slot(slot)
        shared, learns = self.shared, self.learns
        if shared is not None and shared.teacher is not None and learns:
            shared.teacher.follow(self.steps_done)
        weights = self._weights()
        total: Tensor | None = None
        for block, trainer in self._active.items():
            trainer.backward()
            if shared is not None:
                gradient = shared.decoder.flat_gradient()
                shared.decoder.parameters.clear_gradients()
                part = torch.cat([weights[block] * gradient, gradient.new_ones(1)])
                total = part if total is None else total + part
        if shared is not None and learns:
            self._learn(shared, total, sum(weights) / len(weights))
        for trainer in self._active.values():
            trainer.update()
        self._remember()  # blocks may be put away before anybody asks
        self.steps_done += 1
        if within == self.plan.slot_steps - 1:
            self._end_slot(slot)

    def _learn(self, shared: SharedDecoder, total: Tensor | None, mean_weight: float) -> None:
        """A step of the decoder along the weighted mean of all blocks' gradients: one message for all of it."""
        decoder = shared.decoder
        if total is None:  # this process sits the slot out, and joins with nothing
            gradient = decoder.flat_gradient()
            total = torch.cat([gradient, gradient.new_zeros(1)])
        total = self.ranks.sum(total)
        if self.ranks.size > 1:
            self.bytes_reduced += total.nbytes
        decoder.set_learning_rates(self.steps_done / self.plan.learning_steps)
        decoder.set_flat_gradient(total[:-1] / (total[-1].clamp_min(1.0) * mean_weight))
        decoder.parameters.step()

    def _weights(self) -> list[float]:
        weighting = None if self.shared is None else self.shared.weighting
        learned = self.steps_done / max(1, self.plan.total_steps)
        if weighting is None or learned < weighting.learned_from:
            return [1.0] * self.plan.blocks
        return block_weights(self.quality, weighting)

    def _remember(self) -> None:
        reports = [trainer.describe() for trainer in self._active.values()]
        if not reports:
            return
        self._loss = sum(report.loss for report in reports) / len(reports)
        self._rows = sum(len(trainer.field.store) for trainer in self._active.values())
        self._shown = ",".join(map(str, sorted(self._active)))
        names = {name for report in reports for name in report.terms}
        self._terms = {name: sum(report.terms.get(name, 0.0) for report in reports) / len(reports) for name in sorted(names)}

    def describe(self) -> StepReport:
        """The last step."""
        rows, blocks = self._rows, self._shown
        slot = min(self.steps_done, self.total_steps - 1) // self.plan.slot_steps
        return StepReport(
            self.steps_done,
            self.total_steps,
            self._loss,
            self._terms,
            self.seconds,
            shown={"loss": self._loss, "blocks": blocks, "rows": rows},
            line={
                "loss": self._loss,
                "num_gaussians": rows,
                "seconds": self.seconds,
                "slot": slot,
                "blocks": blocks,
                "bytes_reduced": self.bytes_reduced,
            },
        )

    # ---------------------------------------------------------------------------------------------------------------- slots

    def _begin_slot(self, slot: int) -> None:
        round_, place = divmod(slot, self.plan.slots_per_round)
        if place == 0:
            self._order = self.plan.round_order(round_, [0.0 if each is None else each[0] for each in self.quality])
        wanted = [self._order[place][worker] for worker in self.own_workers]
        blocks = [block for block in wanted if block is not None]
        self._active = {block: self._active.get(block) or self._taken_in_hand(block) for block in blocks}
        for trainer in self._active.values():
            self._lend(trainer)

    def _taken_in_hand(self, block: int) -> SplatTrainer:
        version = self._waiting.get(block)
        trainer = self._make(block, version is not None)
        if version is not None:
            trainer.restore(self.states.load(version, trainer.checkpoint()))
        trainer.start()
        return trainer

    def _lend(self, trainer: SplatTrainer) -> None:
        """Tells a block whom to listen to: to the teacher, as long as the decoder learns."""
        teacher = None if self.shared is None else self.shared.teacher
        if teacher is not None and isinstance(trainer.field, AnchorField):
            trainer.field.teacher = teacher.heads if self.learns else None
            trainer.field.teacher_passes_gradients = teacher.settings.passes_gradients

    def _end_slot(self, slot: int) -> None:
        self._share({block: _quality(trainer, self._every) for block, trainer in self._active.items()}, slot)
        if self.shared is not None and self.shared.teacher is not None:
            self.drift.append(self.shared.teacher.distance())
        if self._goes_to_disk():
            for block, trainer in self._active.items():
                self.states.save(self._waiting[block], trainer.checkpoint())
            self._active = {}

    def _goes_to_disk(self) -> bool:
        """Whether blocks are put away after this slot: where others wait for their turn, and at the end."""
        return self.plan.workers < self.plan.blocks or self.steps_done == self.total_steps

    @property
    def _every(self) -> int:
        weighting = None if self.shared is None else self.shared.weighting
        return WeightingSettings().every if weighting is None else weighting.every

    def _share(self, own: Mapping[int, BlockQuality], slot: int) -> None:
        """Everybody learns how well all blocks are shown, and which version of each waits where it is trained."""
        table = torch.zeros(self.plan.blocks, 3)
        for block, (ratio, similarity) in own.items():
            table[block] = torch.tensor([ratio, similarity, 1.0])
        table = self.ranks.sum(table)
        for block, (ratio, similarity, known) in enumerate(table.tolist()):
            if known:
                self.quality[block] = (ratio, similarity)
                if self._goes_to_disk():
                    self._waiting[block] = BlockVersion(block, slot + 1)

    def finished(self, block: int) -> SplatTrainer:
        """A block as its last slot left it; that of another process where its file has been brought here.

        Raises:
            ConventionError: it had no slot yet.
            DataFormatError: its file is not here.
        """
        if block in self._active:
            return self._active[block]
        if block not in self._waiting:
            raise ConventionError(f"block {block}", expected="one that was trained", got="none yet")
        return self._taken_in_hand(block)

    # ---------------------------------------------------------------------------------------------------------------- state

    def waiting_file(self, block: int) -> Path:
        """File of a block's newest version, in the folder of the process that trains it."""
        return self.states.path(self._waiting[block])

    def checkpoint(self) -> Checkpoint:
        """Everything another trainer needs to go on: the decoder, blocks in hand, and which versions wait on the disk."""
        parameters: dict[str, Tensor] = {}
        optimizer: dict[str, Tensor] = {}
        state: dict[str, Tensor] = {}
        if self.shared is not None:
            parameters |= prefixed("decoder", self.shared.decoder.parameters.parameter_tensors())
            optimizer |= prefixed("decoder", self.shared.decoder.parameters.optimizer_tensors())
            if self.shared.teacher is not None:
                parameters |= prefixed("teacher", self.shared.teacher.tensors())
        details: dict[str, Any] = {
            "seconds": self.seconds,
            "order": [list(blocks) for blocks in self._order],
            "quality": [None if each is None else list(each) for each in self.quality],
            "drift": list(self.drift),
            "bytes_reduced": self.bytes_reduced,
            "waiting": {str(block): version.slot for block, version in self._waiting.items()},
            "in_hand": {},
        }
        for block, trainer in self._active.items():
            own = trainer.checkpoint()
            parameters |= prefixed(f"block{block}", own.parameters)
            optimizer |= prefixed(f"block{block}", own.optimizer)
            state |= prefixed(f"block{block}", own.state)
            details["in_hand"][str(block)] = {"step": own.step, "details": dict(own.details)}
        self._forget()
        return Checkpoint(self.steps_done, parameters, optimizer, state, self.config, self.data_hash, details)

    def _forget(self) -> None:
        """Deletes versions of waiting blocks that none of the newest checkpoints asks for."""
        self._needed = [*self._needed, set(self._waiting.values())][-_KEPT_CHECKPOINTS:]
        if len(self._needed) == _KEPT_CHECKPOINTS:
            self.states.forget(set.union(*self._needed), self.own_blocks)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue exactly where a checkpoint was taken.

        Raises:
            ConventionError, ShapeError: it belongs to another kind of run.
            DataFormatError: a waiting block is missing or damaged.
        """
        details = checkpoint.details
        if self.shared is not None:
            self.shared.decoder.parameters.load(
                without_prefix("decoder", checkpoint.parameters), without_prefix("decoder", checkpoint.optimizer)
            )
            if self.shared.teacher is not None:
                self.shared.teacher.load(without_prefix("teacher", checkpoint.parameters))
        self.steps_done, self.seconds = checkpoint.step, float(details["seconds"])
        self._order = tuple(tuple(blocks) for blocks in details["order"])
        self.quality = [None if each is None else (float(each[0]), float(each[1])) for each in details["quality"]]
        self.drift = list(details["drift"])
        self.bytes_reduced = int(details["bytes_reduced"])
        self._waiting = {int(block): BlockVersion(int(block), int(slot)) for block, slot in details["waiting"].items()}
        self._needed = []
        self._active = {}
        for name, own in details["in_hand"].items():
            trainer = self._make(int(name), True)
            trainer.restore(
                replace(
                    trainer.checkpoint(),
                    step=int(own["step"]),
                    parameters=without_prefix(f"block{name}", checkpoint.parameters),
                    optimizer=without_prefix(f"block{name}", checkpoint.optimizer),
                    state=without_prefix(f"block{name}", checkpoint.state),
                    details=own["details"],
                )
            )
            trainer.start()
            self._lend(trainer)
            self._active[int(name)] = trainer


@torch.no_grad()
def _quality(trainer: SplatTrainer, every: int) -> BlockQuality:
    """Mean PSNR and SSIM of every so many of a block's training views, the last one always among them; zeros where masks hide
    all of them.
    """
    count = len(trainer.views)
    looked_at = sorted({*range(0, count, every), count - 1})
    ratios, similarities = [], []
    for index in looked_at:
        view = trainer.views.load(index)
        if view.mask is not None and not bool(view.mask.any()):
            continue
        image = render(trainer.field.gaussians(view.camera), view.camera, background=trainer.background).color.clamp(0.0, 1.0)
        ratios.append(psnr(image, view.image, view.mask))
        similarities.append(ssim(image, view.image, view.mask))
    return (sum(ratios) / len(ratios), sum(similarities) / len(similarities)) if ratios else (0.0, 0.0)

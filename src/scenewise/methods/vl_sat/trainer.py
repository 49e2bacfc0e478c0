"""Student and oracle as something that learns step by step."""

import json
from dataclasses import asdict, replace
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scenewise.engine.adamw_groups import cosine_share, grouped_adamw, set_rates
from scenewise.engine.checkpoints import Checkpoint
from scenewise.engine.measuring import require_not_begun
from scenewise.engine.optimizer_states import optimizer_tensors, restore_optimizer
from scenewise.engine.training import StepReport
from scenewise.errors import ConventionError
from scenewise.methods.vl_sat.adapter import trained_adapter
from scenewise.methods.vl_sat.batches import Batches, GraphBatch
from scenewise.methods.vl_sat.examples import GraphData
from scenewise.methods.vl_sat.objective import Losses, scheme_losses, student_losses
from scenewise.methods.vl_sat.options import VlSatConfig
from scenewise.methods.vl_sat.sentences import TripletTable, triplet_table
from scenewise.networks.graphs.oracle import GraphOracle, ImageAdapter, OracleShape, run_both
from scenewise.networks.graphs.students import GraphShape, build_student
from scenewise.teachers.relation_text import TripletText

_WITHOUT_TEXT = 1  # channels of sentences nobody reads


def shape_of(config: VlSatConfig, data: GraphData) -> GraphShape:
    """The deployed network for a data set."""
    return GraphShape(
        kind=config.student,
        classes=len(data.classes),
        predicates=len(data.predicates),
        width=config.width,
        heads=config.heads,
        depth=config.depth,
        points=config.points,
        dropout=config.dropout,
    )


@final
class VlSatTrainer:
    """Trains a student, with an oracle beside it where the settings have one.

    Args:
        config: the recipe.
        data: scans; with pictures where the oracle sees any.
        text: says what triplets mean; needed where the oracle reads sentences.
        seed: of everything random.
        device: where to compute.

    Raises:
        ConventionError: the recipe needs pictures or a text encoder that are not there, or a step may see one thing alone.
    """

    def __init__(
        self, config: VlSatConfig, data: GraphData, text: TripletText | None, seed: int, device: torch.device | None = None
    ) -> None:
        if config.batch_scans * min(len(each.scan) for each in data.examples) < 2:
            fix = "leave scans of a single thing out"
            raise ConventionError("batch_scans", expected="two things in every step, for the norms", got="one", fix=fix)
        self.config, self.data, self.seed = config, data, seed
        self.device = torch.device("cpu") if device is None else device
        self._batches = Batches(data, config, seed)
        self.student = build_student(shape_of(config, data), seed)
        self.oracle: GraphOracle | None = None
        self.adapter: ImageAdapter | None = None
        self._table: TripletTable | None = None
        if config.oracle is not None:
            self._add_oracle(text)
        if config.text_heads and data.class_text is not None:
            words = torch.from_numpy(data.class_text)
            for branch in (self.student, self.oracle):
                if branch is not None:
                    branch.classifier.start_from(words)
        parts: dict[str, nn.Module] = {"student": self.student}
        if self.oracle is not None:
            parts["oracle"] = self.oracle
        if self.adapter is not None:
            parts["adapter"] = self.adapter
        self._modules = nn.ModuleDict(parts).to(self.device)
        self._optimizer, self._names = _optimizer(self._modules, config)
        self._described: dict[str, Any] = json.loads(json.dumps({**asdict(config), "seed": seed}))
        self._losses: Losses | None = None
        self.steps_done = 0
        self.seconds = 0.0

    @property
    def total_steps(self) -> int:
        """Length of the run."""
        return self.config.steps

    @property
    def parameters_deployed(self) -> int:
        """Numbers of the student."""
        return sum(parameter.numel() for parameter in self.student.parameters())

    @property
    def parameters_trained(self) -> int:
        """Numbers that move."""
        return sum(parameter.numel() for parameter in self._modules.parameters() if parameter.requires_grad)

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

    def step(self) -> None:
        """One step on the batch that belongs to it."""
        self._modules.train()
        batch = self._batches.at(self.steps_done).to(self.device)
        set_rates(self._optimizer, cosine_share(self.steps_done, self.config.steps))
        self._optimizer.zero_grad(set_to_none=True)
        # What dropout draws depends on seed and step alone, so that a resumed run equals an unbroken one.
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed((self.seed << 32) + self.steps_done)
            losses = self._losses_of(batch)
        losses.total.backward()
        if self.config.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._modules.parameters(), self.config.clip_norm)
        self._optimizer.step()
        self._losses = losses
        self.steps_done += 1

    def describe(self) -> StepReport:
        """The last step: the parts of its loss."""
        losses = self._losses
        assert losses is not None, "no step yet"
        terms = {name: float(value.detach()) for name, value in losses.terms.items()}
        line = {"seconds": self.seconds, **terms}
        shown = {"objects": terms["objects"], "predicates": terms["predicates"]}
        total = float(losses.total.detach())
        return StepReport(self.steps_done, self.total_steps, total, terms, self.seconds, shown=shown, line=line)

    def checkpoint(self) -> Checkpoint:
        """All networks and the optimiser's memory.  Tensors are not copied."""
        return Checkpoint(
            self.steps_done,
            dict(self._modules.state_dict()),
            optimizer_tensors(self._optimizer, self._names),
            {},
            self._described,
            self.data.fingerprint,
            {"seconds": self.seconds},
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue exactly where a checkpoint was taken."""
        self._modules.load_state_dict(dict(checkpoint.parameters))
        restore_optimizer(self._optimizer, self._names, checkpoint.optimizer)
        self.steps_done, self.seconds = checkpoint.step, float(checkpoint.details["seconds"])

    def pictures(self, batch: GraphBatch) -> Float[Tensor, "nodes dim"] | None:
        """Adapted picture features, where the oracle sees any."""
        if self.adapter is None or batch.pictures is None:
            return None
        return self.adapter(batch.pictures)

    def _losses_of(self, batch: GraphBatch) -> Losses:
        if self.oracle is None:
            return student_losses(self.student(batch.inputs), batch, self.config)
        pictures = self.pictures(batch)
        both = run_both(self.student, self.oracle, batch.inputs, pictures)
        return scheme_losses(both, batch, pictures, self._table, self.config)

    def _add_oracle(self, text: TripletText | None) -> None:
        """The branch that is thrown away, its adapter and its sentences."""
        settings, data = self.config.oracle, self.data
        assert settings is not None
        dim = data.picture_dim if settings.images else None
        if settings.images and dim is None:
            fix = "give a teacher, or leave the oracle's images out"
            raise ConventionError("oracle", expected="picture features of the scans' things", got="none", fix=fix)
        if settings.text and text is None:
            raise ConventionError("oracle", expected="a text encoder", got="none", fix="leave the oracle's text out")
        if settings.text and text is not None:
            self._table = triplet_table(data, text).to(self.device)
        if settings.images:
            self.adapter = trained_adapter(data, settings.adapter_epochs, self.seed)
        shape = OracleShape(
            image_dim=dim,
            text_dim=_WITHOUT_TEXT if self._table is None else self._table.vectors.shape[1],
            reads_nodes=settings.reads_nodes,
            reads_edges=settings.reads_edges,
            mask_edges=settings.mask_edges,
            projects=settings.projects,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + 1)
            self.oracle = GraphOracle(self.student.shape, shape)


def _optimizer(modules: nn.ModuleDict, config: VlSatConfig) -> tuple[torch.optim.AdamW, list[str]]:
    """AdamW with slower graph layers and class directions; names of the parameters in its order beside it."""
    factors = {"graph": config.graph_rate, "heads": config.head_rate, "others": 1.0}

    def group_of(name: str) -> str:
        kind = name.split(".")[1]
        if kind == "classifier":
            return "heads"
        return "graph" if kind in ("layers", "bias", "attention", "node_attention", "edge_attention") else "others"

    rates = {name: config.learning_rate * factor for name, factor in factors.items()}
    return grouped_adamw(modules.named_parameters(), group_of, rates, config.weight_decay)

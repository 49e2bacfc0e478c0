"""The text tower as something that learns step by step."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, final

import torch
from torch import nn

from scenewise.engine.checkpoints import Checkpoint, require_same_run
from scenewise.engine.optimizer_states import optimizer_tensors, restore_optimizer
from scenewise.engine.training import StepReport
from scenewise.methods.vl_sat.language.batches import WordIds, batch_at
from scenewise.methods.vl_sat.language.config import RelationTextConfig
from scenewise.methods.vl_sat.language.corpus import Corpus
from scenewise.methods.vl_sat.language.objective import Losses, losses_of
from scenewise.networks.relation_text import RelationTextNetwork
from scenewise.worlds.relation_captions import RelationRecord
from scenewise.worlds.relation_words import known_words

_BETAS = (0.9, 0.98)
_EPSILON = 1e-8
_MAX_GRADIENT_NORM = 1.0


def build_network(config: RelationTextConfig) -> RelationTextNetwork:
    """A freshly initialised tower; the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return RelationTextNetwork(replace(config.shape, words=len(known_words())))


@final
class RelationTextTrainer:
    """Trains the tower on sentences.

    Args:
        config: the recipe.
        records: what is known of pictures; nothing else is learned from.
    """

    def __init__(self, config: RelationTextConfig, records: Sequence[RelationRecord]) -> None:
        self.config = config
        self.network = build_network(config)
        self._corpus = Corpus(records)
        self._words = WordIds(known_words(), config.shape.context)
        self._optimizer, self._names = _optimizer(self.network, config)
        self._described: dict[str, Any] = json.loads(json.dumps(asdict(config)))
        self._losses: Losses | None = None
        self.steps_done = 0
        self.seconds = 0.0

    @property
    def total_steps(self) -> int:
        """Of the recipe."""
        return self.config.steps

    def start(self) -> None:
        """Puts the tower into the mode of training."""
        self.network.train()

    def step(self) -> None:
        """One step on the batch that belongs to it."""
        batch = batch_at(self._corpus, self._words, self.config, self.steps_done)
        for group in self._optimizer.param_groups:
            group["lr"] = self.config.rate_at(self.steps_done)
        self._optimizer.zero_grad(set_to_none=True)
        self._losses = losses_of(self.network, batch, self.config)
        self._losses.total.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), _MAX_GRADIENT_NORM)
        self._optimizer.step()
        self.steps_done += 1

    def describe(self) -> StepReport:
        """The last step: the parts of its loss."""
        losses = self._losses
        assert losses is not None, "no step yet"
        terms = {"fact": float(losses.fact.detach()), "description": float(losses.description.detach())}
        line = {"seconds": self.seconds, **terms}
        return StepReport(
            self.steps_done, self.total_steps, float(losses.total.detach()), terms, self.seconds, shown=terms, line=line
        )

    def checkpoint(self) -> Checkpoint:
        """The tower and Adam's moments.  Tensors are not copied."""
        moments = optimizer_tensors(self._optimizer, self._names)
        parameters, data_hash = dict(self.network.state_dict()), self.config.pictures.fingerprint()
        return Checkpoint(self.steps_done, parameters, moments, {}, self._described, data_hash, {"seconds": self.seconds})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue exactly where a checkpoint was taken.

        Raises:
            ConventionError: it is of another recipe.
        """
        require_same_run(checkpoint, config=self._described, data_hash=self.config.pictures.fingerprint())
        self.network.load_state_dict(dict(checkpoint.parameters))
        restore_optimizer(self._optimizer, self._names, checkpoint.optimizer)
        self.steps_done, self.seconds = checkpoint.step, float(checkpoint.details["seconds"])


def _optimizer(network: nn.Module, config: RelationTextConfig) -> tuple[torch.optim.AdamW, list[str]]:
    """AdamW with decay on matrices only; names of the parameters in its order beside it."""
    groups: dict[str, list[tuple[str, nn.Parameter]]] = {"matrices": [], "others": []}
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1 and "positions" not in name and "words" not in name:
            groups["matrices"].append((name, parameter))
        else:
            groups["others"].append((name, parameter))
    settings: list[dict[str, Any]] = [
        {
            "params": [parameter for _, parameter in members],
            "weight_decay": config.weight_decay if kind == "matrices" else 0.0,
        }
        for kind, members in groups.items()
    ]
    optimizer = torch.optim.AdamW(settings, lr=config.learning_rate, betas=_BETAS, eps=_EPSILON, fused=True)
    return optimizer, [name for members in groups.values() for name, _ in members]

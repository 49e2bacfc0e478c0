"""Groups of parameters, each moved by an optimiser of its own from the first step to the last."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from scenewise.engine.checkpoints import Checkpoint
from scenewise.errors import ConventionError
from scenewise.parts.labelfree.recipes import Recipe
from scenewise.parts.labelfree.settings import OptimizerSettings
from scenewise.parts.labelfree.steps import Regulariser


@dataclass
class OptimizerGroup:
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
        """In the order of ``names``."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    @property
    def has_gradient(self) -> bool:
        """Whether there is anything to move."""
        return any(parameter.grad is not None for parameter in self.parameters)


def optimizer_groups(
    recipe: Recipe,
    points: nn.Module,
    pixels: nn.Module | None,
    regularisers: Sequence[Regulariser],
    device: torch.device,
) -> dict[str, OptimizerGroup]:
    """The groups of a recipe: "points", "pixels", "extra", and "extra_LOSS" for losses with an optimiser of their own.

    Args:
        recipe: with their settings.
        points: the 3D student.
        pixels: the 2D student.
        regularisers: with modules of their own.
        device: where all of it goes.

    Raises:
        ConventionError: parameters without settings.
    """
    alone = recipe.optimizers_by_loss
    extra = {
        regulariser.name: {f"{regulariser.name}_{name}": module for name, module in regulariser.modules.items()}
        for regulariser in regularisers
    }
    together_trained = {name: module for loss, modules in extra.items() if loss not in alone for name, module in modules.items()}
    wanted: list[tuple[str, dict[str, nn.Module], OptimizerSettings | None]] = [
        ("points", {"student": points}, recipe.points_optimizer),
        ("pixels", {} if pixels is None else {"student": pixels}, recipe.pixels_optimizer),
        ("extra", together_trained, recipe.extra_optimizer),
        *((f"extra_{loss}", extra.get(loss, {}), settings) for loss, settings in alone.items()),
    ]
    groups = {}
    for name, modules, settings in wanted:
        together = nn.ModuleDict(modules).to(device)
        if not any(True for _ in together.parameters()):
            continue
        if settings is None:
            raise ConventionError(f"{name}_optimizer of {recipe.name}", expected="settings", got="none")
        named = [(key, value) for key, value in together.named_parameters() if value.requires_grad]
        optimizer = _optimizer([value for _, value in named], settings)
        groups[name] = OptimizerGroup(together, settings, optimizer, [key for key, _ in named])
    return groups


def group_tensors(groups: Mapping[str, OptimizerGroup]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Parameters and buffers, and the optimisers' moments and counters, by name; not copies."""
    parameters: dict[str, Tensor] = {}
    optimizer: dict[str, Tensor] = {}
    for name, group in groups.items():
        parameters |= {f"{name}.{key}": value for key, value in group.modules.state_dict().items()}
        for key, parameter in zip(group.names, group.parameters):
            for kind, value in group.optimizer.state[parameter].items():
                if isinstance(value, Tensor):
                    optimizer[f"{name}.{kind}.{key}"] = value
    return parameters, optimizer


def load_groups(groups: Mapping[str, OptimizerGroup], checkpoint: Checkpoint) -> None:
    """Become exactly what :func:`group_tensors` was taken from.

    Raises:
        ConventionError: the checkpoint is of other networks.
    """
    for name, group in groups.items():
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

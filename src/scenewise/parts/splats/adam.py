"""Named parameters under Adam, each with its moments and its learning rate: what rows and shared parameters have in common."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from scenewise.errors import ConventionError, ShapeError
from scenewise.kernels.adam import adam_step


@dataclass(frozen=True)
class AdamSettings:
    """Constants of Adam.  Source: Kerbl et al. 2023 use ε = 1e-15 because position gradients are tiny; β are Adam's own."""

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-15


@dataclass
class AdamGroup:
    """One named parameter, its moments, its learning rate and the number of Adam steps it has taken."""

    value: Tensor
    first_moment: Tensor
    second_moment: Tensor
    learning_rate: float
    steps: int = 0

    def rewrite(self, value: Tensor, first_moment: Tensor, second_moment: Tensor) -> None:
        """Another value, as a leaf, with other moments; learning rate and steps stay."""
        self.value = _leaf(value)
        self.first_moment, self.second_moment = first_moment, second_moment


def _leaf(value: Tensor) -> Tensor:
    return value.detach().contiguous().requires_grad_(True)


def _new_group(name: str, value: Tensor, learning_rates: Mapping[str, float]) -> AdamGroup:
    if value.dtype != torch.float32:
        raise ShapeError(f"parameter {name}", expected="float32", got=value.dtype)
    if name not in learning_rates:
        raise ConventionError(f"learning rate of {name}", expected="one for every parameter", got=None)
    leaf = _leaf(value.clone())
    return AdamGroup(
        leaf, torch.zeros_like(leaf, requires_grad=False), torch.zeros_like(leaf, requires_grad=False), learning_rates[name]
    )


class AdamParameters:
    """Named float32 parameters and their Adam state.

    Args:
        parameters: tensors of any shape; copied.
        learning_rates: one per parameter.
        adam: constants of the optimiser.

    Raises:
        ShapeError: a dtype other than float32.
        ConventionError: a parameter without learning rate.
    """

    def __init__(
        self, parameters: Mapping[str, Tensor], learning_rates: Mapping[str, float], *, adam: AdamSettings | None = None
    ) -> None:
        self.adam = adam or AdamSettings()
        self._groups = {name: _new_group(name, value, learning_rates) for name, value in parameters.items()}

    def __iter__(self) -> Iterator[str]:
        return iter(self._groups)

    def __getitem__(self, name: str) -> Tensor:
        """The parameter called ``name``: a leaf that receives gradients.  Its values change only through this class."""
        return self._groups[name].value

    def learning_rate(self, name: str) -> float:
        """Current learning rate of a parameter."""
        return self._groups[name].learning_rate

    def set_learning_rate(self, name: str, learning_rate: float) -> None:
        """Learning rate of a parameter from the next step on."""
        self._groups[name].learning_rate = learning_rate

    def step(self) -> None:
        """One Adam step for every parameter that has a gradient; the gradients are consumed."""
        for group in self._groups.values():
            gradient = group.value.grad
            if gradient is None:
                continue
            group.steps += 1
            adam_step(
                group.value.detach(),
                gradient,
                group.first_moment,
                group.second_moment,
                learning_rate=group.learning_rate,
                beta1=self.adam.beta1,
                beta2=self.adam.beta2,
                epsilon=self.adam.epsilon,
                step=group.steps,
            )
            group.value.grad = None

    def clear_gradients(self) -> None:
        """Forget the gradients without using them."""
        for group in self._groups.values():
            group.value.grad = None

    def parameter_tensors(self) -> dict[str, Tensor]:
        """Current values by name, without gradients; not copies."""
        return {name: group.value.detach() for name, group in self._groups.items()}

    def optimizer_tensors(self) -> dict[str, Tensor]:
        """Moments, Adam steps and learning rates, as plain tensors; not copies."""
        tensors: dict[str, Tensor] = {}
        for name, group in self._groups.items():
            tensors[f"{name}.first_moment"] = group.first_moment
            tensors[f"{name}.second_moment"] = group.second_moment
            tensors[f"{name}.steps"] = torch.tensor(group.steps, dtype=torch.int64)
            tensors[f"{name}.learning_rate"] = torch.tensor(group.learning_rate, dtype=torch.float64)
        return tensors

    def _load_groups(self, parameters: Mapping[str, Tensor], optimizer: Mapping[str, Tensor]) -> None:
        missing = [name for name in self._groups if name not in parameters or f"{name}.steps" not in optimizer]
        if missing:
            raise ConventionError(
                "saved parameters", expected=f"those of this run ({', '.join(self._groups)})", got=f"none called {missing[0]}"
            )
        for name, group in self._groups.items():
            value = parameters[name].to(group.value.device)
            first, second = (optimizer[f"{name}.{kind}_moment"].to(group.value.device) for kind in ("first", "second"))
            if first.shape != value.shape or second.shape != value.shape:
                raise ShapeError(f"saved moments of {name}", expected=f"{tuple(value.shape)}", got=f"{tuple(first.shape)}")
            group.rewrite(value.clone(), first.clone(), second.clone())
            group.steps = int(optimizer[f"{name}.steps"])
            group.learning_rate = float(optimizer[f"{name}.learning_rate"])


@final
class FreeParameters(AdamParameters):
    """Parameters without rows: exposure matrices, pose corrections, a shared decoder."""

    def load(self, parameters: Mapping[str, Tensor], optimizer: Mapping[str, Tensor]) -> None:
        """Become exactly what the two dictionaries were taken from.

        Raises:
            ConventionError, ShapeError: they belong to another set of parameters.
        """
        self._load_groups(parameters, optimizer)

"""Named streams of random numbers, so that every stochastic operation can be replayed and resumed."""

import hashlib
from collections.abc import Mapping
from typing import final

import torch
from jaxtyping import UInt8
from torch import Tensor

from scenewise.errors import ConventionError


def keyed_seed(*key: object) -> int:
    """A seed that depends on the key alone: what is drawn from it needs no state to be resumed, and is the same on every rank.

    >>> keyed_seed(0, "order", 1) == keyed_seed(0, "order", 1), keyed_seed(0, "order", 1) == keyed_seed(0, "order", 11)
    (True, False)
    """
    digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def keyed_generator(*key: object) -> torch.Generator:
    """A CPU generator at the beginning of the stream that belongs to the key (:func:`keyed_seed`)."""
    return torch.Generator().manual_seed(keyed_seed(*key))


@final
class RandomStreams:
    """One generator per name, each seeded from the run's seed and its own name.

    Using one stream more or less does not change what the others give: switching dropout on leaves the order of the views as
    it was.

    Args:
        seed: the run's seed.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._generators: dict[str, torch.Generator] = {}

    def __getitem__(self, name: str) -> torch.Generator:
        """The CPU generator called ``name``; made on first use."""
        if name not in self._generators:
            self._generators[name] = keyed_generator(self.seed, name)
        return self._generators[name]

    def state_tensors(self) -> dict[str, Tensor]:
        """State bytes of every stream used so far."""
        return {name: generator.get_state().clone() for name, generator in self._generators.items()}

    def load(self, states: Mapping[str, UInt8[Tensor, "_"]]) -> None:
        """Continue exactly where ``state_tensors`` was taken; streams not among them start afresh.

        Raises:
            ConventionError: the bytes are not the state of a generator.
        """
        self._generators = {}
        for name, state in states.items():
            try:
                self[name].set_state(state)
            except (RuntimeError, TypeError) as error:
                raise ConventionError(f"random stream {name}", expected="the state of a generator", got=str(error)) from error

"""Several processes that train one model: what one of them must know and what they tell each other.

One optimisation step of all ranks together equals the step of a single process on the same batch.  Three things make it so: a
loss is divided by the number of rows of all ranks, not of one; batch statistics and tokens cross ranks with a gradient; and
gradients are summed.  Started by ``torchrun`` or by :mod:`scenewise.engine.launching`, which set ``RANK``, ``WORLD_SIZE``,
``LOCAL_RANK``, ``MASTER_ADDR`` and ``MASTER_PORT``.
"""

import importlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, final

import torch
import torch.distributed
from jaxtyping import Float
from torch import Tensor

from scenewise.engine.meeting import PATIENCE, await_ranks, enter_store, open_store, reachable_interface
from scenewise.errors import ConventionError, ResourceError, ScenewiseError

LOST_RANK = "the other ranks"
"""How the error of a rank begins that another one has left alone."""
_MESSAGE = 1 << 26  # bytes that go in one piece
_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@final
@dataclass(frozen=True)
class Ranks:
    """The processes of a run.  Without arguments: this one alone, where every method is the identity.

    Attributes:
        rank: this process, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and talks to people."""
        return self.rank == 0

    def share(self, rows: Sequence[int]) -> tuple[int, ...]:
        """This rank's part of a batch: contiguous, so that what ranks gather in order is in the order of the batch."""
        begin, end = (len(rows) * rank // self.size for rank in (self.rank, self.rank + 1))
        return tuple(rows[begin:end])

    def sum(self, values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Sum over ranks.  Its gradient is the sum of what the ranks' losses want of it."""
        if self.size == 1:
            return values
        summed: Tensor = _Sum.apply(values)
        return summed

    def gather(self, rows: Float[Tensor, "own *columns"]) -> tuple[Float[Tensor, "all *columns"], int]:
        """Rows of all ranks in the order of ranks, and where this rank's begin.

        Ranks may have different numbers of rows.  The gradient of a row is the sum of what every rank's loss wants of its copy.
        """
        if self.size == 1:
            return rows, 0
        counts = [
            int(count) for count in self.total([float(len(rows)) if rank == self.rank else 0.0 for rank in range(self.size)])
        ]
        begin = sum(counts[: self.rank])
        gathered: Tensor = _Gather.apply(rows, counts, begin)
        return gathered, begin

    def total(self, numbers: Sequence[float]) -> list[float]:
        """Sums of plain numbers over ranks, in float64."""
        if self.size == 1:
            return [float(number) for number in numbers]
        values = torch.tensor(numbers, dtype=torch.float64, device=_device())
        torch.distributed.all_reduce(values)
        return [float(value) for value in values.tolist()]

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Gradients become their sum over ranks.  A parameter that no rank has a gradient for keeps none, so that it rests."""
        if self.size == 1:
            return
        parameters = list(parameters)
        if not parameters:
            return
        has_gradient = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.int32, device=_device())
        torch.distributed.all_reduce(has_gradient)
        moving = [parameter for parameter, count in zip(parameters, has_gradient.tolist()) if count]
        if not moving:
            return
        # One message instead of one per tensor: latency, not volume, is what costs.
        flat = torch.cat([_gradient_or_zeros(parameter).reshape(-1) for parameter in moving])
        torch.distributed.all_reduce(flat)
        for parameter, summed in zip(moving, flat.split([parameter.numel() for parameter in moving])):
            parameter.grad = summed.reshape(parameter.shape).clone()

    def broadcast(self, tensors: Mapping[str, Tensor]) -> None:
        """Tensors become those of rank 0, in place."""
        if self.size == 1:
            return
        for name in sorted(tensors):
            torch.distributed.broadcast(tensors[name].data, src=0)

    def shared_bytes(self, data: bytes | None, source: int = 0) -> bytes:
        """What one rank has, on all of them.

        Args:
            data: on the rank ``source``; others give None.
            source: which.
        """
        if self.size == 1:
            assert data is not None, "there is nobody else to have it"
            return data
        own = data if self.rank == source and data is not None else b""
        length = torch.tensor([len(own)], dtype=torch.int64, device=_device())
        torch.distributed.broadcast(length, src=source)
        parts = []
        for begin in range(0, int(length), _MESSAGE):
            count = min(_MESSAGE, int(length) - begin)
            part = torch.empty(count, dtype=torch.uint8, device=_device())
            if self.rank == source:
                part.copy_(torch.frombuffer(bytearray(own[begin : begin + count]), dtype=torch.uint8))
            torch.distributed.broadcast(part, src=source)
            parts.append(own[begin : begin + count] if self.rank == source else part.cpu().numpy().tobytes())
        return b"".join(parts)

    def require_same(self, what: str, text: str) -> None:
        """Raises ConventionError on every rank unless all have the same text: data, configuration …"""
        if self.size == 1:
            return
        texts: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(texts, text)
        other = next((rank for rank, found in enumerate(texts) if found != texts[0]), None)
        if other is not None:
            raise ConventionError(
                what, expected=f"the same on all {self.size} ranks", got=f"another on rank {other} than on rank 0"
            )

    def wait(self) -> None:
        """Returns when all ranks are here."""
        if self.size > 1:
            torch.distributed.barrier()


ALONE = Ranks()
"""One process."""


@contextmanager
def joined_ranks(device: torch.device) -> Iterator[Ranks]:
    """The ranks that a launcher started, connected within the block; without a launcher this process alone.

    Args:
        device: what is computed on: gloo carries the messages of CPUs, NCCL those of CUDA devices.

    Raises:
        ConventionError: the environment of a launcher is incomplete.
        ResourceError: the ranks do not find each other, one is lost, or there are more ranks than CUDA devices.
    """
    if int(os.environ.get("WORLD_SIZE", "1") or 1) <= 1:
        yield ALONE
        return
    missing = [name for name in _VARIABLES if not os.environ.get(name)]
    if missing:
        raise ConventionError(
            "environment", expected=", ".join(_VARIABLES), got=f"no {missing[0]}", fix="start it with torchrun --nproc-per-node N"
        )
    if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun has opened a store itself
        with connected_ranks(device) as ranks:
            yield ranks
        return
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    load_what_connects()
    if rank == 0:
        store = open_store(address, port)
        await_ranks(store, size)
    else:
        store = enter_store(address, port, rank)
    with reachable_interface(address, port), connected_ranks(device, store, rank, size) as ranks:
        yield ranks


@contextmanager
def connected_ranks(
    device: torch.device, store: torch.distributed.Store | None = None, rank: int = -1, size: int = -1
) -> Iterator[Ranks]:
    """Ranks that have found each other, connected within the block.

    Args:
        device: see :func:`joined_ranks`.
        store: where they have found each other; None: torchrun's, which also tells rank and size.
        rank: of this process.
        size: how many there are.

    Raises:
        ResourceError: as in :func:`joined_ranks`.
    """
    if device.type == "cuda":
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise ResourceError("CUDA devices", expected=f"one for local rank {local}", got=torch.cuda.device_count())
        torch.cuda.set_device(local)
    load_what_connects()
    try:
        backend = "nccl" if device.type == "cuda" else "gloo"
        torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    except ScenewiseError:  # that of a signal's handler
        raise
    except (RuntimeError, ValueError) as error:
        raise ResourceError(LOST_RANK, expected="a connection", got=str(error)[:200]) from error
    try:
        yield Ranks(torch.distributed.get_rank(), torch.distributed.get_world_size())
    except RuntimeError as error:
        is_gone = "gloo/transport" in str(error)
        if isinstance(error, ScenewiseError) or not (is_gone or isinstance(error, torch.distributed.DistError)):
            raise
        got = "one is gone" if is_gone else str(error)[:200]
        raise ResourceError(LOST_RANK, expected="all of them until the end", got=got, fix="see what they said") from error
    finally:
        torch.distributed.destroy_process_group()


def load_what_connects() -> None:
    """Loads what must be there before ranks are connected, which takes seconds."""
    # Optimisers import torch._dynamo at their first step.  If that happens while ranks are connected, torch never closes the
    # connection, and its threads, waiting for Python when Python has ended, abort the process (seen with torch 2.13).
    importlib.import_module("torch._dynamo")


def rank_device(device: torch.device) -> torch.device:
    """The device of this rank: with several CUDA ranks on a machine each has its own."""
    if device.type != "cuda" or "LOCAL_RANK" not in os.environ:
        return device
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]))


def _device() -> torch.device:
    """Where the messages of the current backend must lie."""
    return torch.device("cuda" if torch.distributed.get_backend() == "nccl" else "cpu")


def _gradient_or_zeros(parameter: torch.nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


@final
class _Sum(torch.autograd.Function):
    """y = Σ_r x_r on every rank; the run's loss is the sum of the ranks' losses, so ∂L/∂x_r = Σ_s ∂L_s/∂y."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        summed = values.detach().clone()
        torch.distributed.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        summed = gradients[0].contiguous().clone()
        torch.distributed.all_reduce(summed)
        return summed


@final
class _Gather(torch.autograd.Function):
    """Rows of all ranks, one after another."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: list[int], begin: int) -> Tensor:
        # Messages of one collective must have one size.
        padded = rows.new_zeros((max(counts), *rows.shape[1:]))
        padded[: len(rows)] = rows.detach()
        parts = [torch.empty_like(padded) for _ in counts]
        torch.distributed.all_gather(parts, padded)
        ctx.begin, ctx.count = begin, len(rows)
        return torch.cat([part[:count] for part, count in zip(parts, counts)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        summed = gradients[0].contiguous().clone()
        torch.distributed.all_reduce(summed)
        return summed[ctx.begin : ctx.begin + ctx.count], None, None

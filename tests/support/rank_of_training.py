"""One process of a training over ranks; started by torchrun, or alone."""

import importlib
import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from tests.support.tiny_training import tiny_recipe, tiny_scans, tiny_text

from scenewise.engine.distribution import joined_ranks
from scenewise.parts.labelfree.trainer import LabelFreeTrainer


def main(out: Path, steps: int) -> None:
    torch.set_num_threads(1)
    with joined_ranks(torch.device("cpu")) as ranks:
        losses = []
        recipe = tiny_recipe(pixels=True, spread=True, batch_scans=4)
        trainer = LabelFreeTrainer(recipe, tiny_scans(), tiny_text(), seed=2, ranks=ranks)
        trainer.run(until=steps, listener=lambda report: losses.append(report.loss))
        if ranks.is_first:
            found = trainer.checkpoint()
            moments = {f"moments {name}": value for name, value in found.optimizer.items()}
            save_file({**found.parameters, **moments, "losses": torch.tensor(losses, dtype=torch.float64)}, out)
    require_closed()


def require_closed() -> None:
    """No connection to other ranks is left."""
    threads = Path("/proc/self/task")
    names = [(entry / "comm").read_text() for entry in threads.iterdir()] if threads.is_dir() else []
    assert not [name for name in names if "gloo" in name], "the connection is still open"


def launch(processes: int, out: Path, steps: int, work: Callable[[Path, int], None] = main) -> None:
    """What torchrun does, in a process that forks the ranks instead of loading torch in each of them.

    Raises:
        ChildFailedError: a rank failed.
    """
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    importlib.import_module("torch._dynamo")  # takes seconds, and each rank needs it
    os.environ["OMP_NUM_THREADS"] = "1"
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id="ranks of training",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        start_method="fork",
        max_restarts=0,
    )
    elastic_launch(config, work)(out, steps)

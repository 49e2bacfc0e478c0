"""One process of a training over ranks; started by torchrun, or alone.  Usage: rank_of_training.py OUT STEPS"""

import sys
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
    threads = Path("/proc/self/task")
    names = [(entry / "comm").read_text() for entry in threads.iterdir()] if threads.is_dir() else []
    assert not [name for name in names if "gloo" in name], "the connection is still open"


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

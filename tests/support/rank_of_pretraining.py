"""One process of a pre-training over ranks; started by torchrun, or alone."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from tests.support.rank_of_training import require_closed
from tests.support.tiny_posed import tiny_trainer

from scenewise.engine.distribution import joined_ranks
from scenewise.engine.training import run_steps

RATE = 5e-5


def main(out: Path, steps: int) -> None:
    torch.set_num_threads(1)
    with joined_ranks(torch.device("cpu")) as ranks:
        told: list[dict[str, float]] = []
        trainer = tiny_trainer(ranks=ranks, steps=steps, point_rate=RATE, image_rate=RATE)
        run_steps(
            trainer, listener=lambda report: told.append({"loss": report.loss, **report.terms, **report.figures}), ranks=ranks
        )
        if ranks.is_first:
            found = trainer.checkpoint()
            moments = {f"moments {name}": value for name, value in found.optimizer.items()}
            reports = {f"told {name}": torch.tensor([step[name] for step in told], dtype=torch.float64) for name in told[0]}
            save_file({**found.parameters, **moments, **found.state, **reports}, out)
    require_closed()

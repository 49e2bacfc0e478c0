"""A splat method from outside the package: a strategy that removes what no view needs, and a term that keeps Gaussians crisp.

python examples/05_your_own_splat_method.py
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from scenewise.commands.demo.capture import write_demo_capture
from scenewise.engine.checkpoints import Checkpointer
from scenewise.engine.progress import console_progress
from scenewise.engine.training import Session, train
from scenewise.io.captures import open_capture
from scenewise.io.ply.gaussians import write_gaussians_ply
from scenewise.parts.points.choose import initial_points
from scenewise.parts.splats.building import Additions, build_trainer
from scenewise.parts.splats.recipes import FAST, with_cap
from scenewise.parts.splats.rows import add_to_rows
from scenewise.parts.splats.strategies import StepContext, Strategy, ViewResult, operations
from scenewise.parts.splats.views import ViewData
from scenewise.rendering import RenderOutput


@dataclass(frozen=True)
class Thrift(Strategy):
    """Every `every` steps, Gaussians go whose Σα·T over all views since then is below `least`; a hook not named does nothing."""

    every: int = 50
    least: float = 0.5

    def start(self, context: StepContext) -> None:
        # A record stays aligned with the store's rows whoever edits them, and is saved with every checkpoint.
        context.field.store.attach("thrift.seen", torch.zeros(len(context.field.store)), fill=self.least)

    def contribution(self, context: StepContext) -> bool:
        return True

    def after_view(self, context: StepContext, view: ViewResult) -> None:
        add_to_rows(context.field.store.record("thrift.seen"), view.output.contribution.weight_sum, view.row_of)

    def after_step(self, context: StepContext) -> None:
        if context.steps_done % self.every == 0:
            operations.prune(context.field.store, context.field.store.record("thrift.seen") < self.least)
            context.field.store.record("thrift.seen").zero_()


@dataclass(frozen=True)
class Crisp:
    """α (1 − α) of the picture: something is there, or nothing is."""

    name: str = "crisp"

    def weight(self, context: StepContext) -> float:
        return 0.01

    def value(self, context: StepContext, view: ViewData, output: RenderOutput, image: Tensor) -> Tensor:
        return (output.alpha * (1.0 - output.alpha)).mean()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("example_method"))
    parser.add_argument("--steps", type=int, default=300)
    out, steps = vars(parser.parse_args()).values()
    if not (out / "room").exists():
        write_demo_capture(out / "room", frames=12, width=96, height=72)
    capture, recipe = open_capture(out / "room"), with_cap(replace(FAST, steps=steps), 4_000)
    points = initial_points(capture, maximum=3_000).cloud
    trainer = build_trainer(capture, points, recipe, additions=Additions(strategies=[Thrift()], objectives=[Crisp()]))
    train(trainer, Session(save=Checkpointer(out / "checkpoints").save, progress=console_progress()))
    write_gaussians_ply(out / "splats.ply", trainer.field.gaussians())
    print(f"{out / 'splats.ply'}: {len(trainer.field.store):,} Gaussians, crisp {trainer.describe().terms['crisp']:.4f}")


if __name__ == "__main__":
    main()

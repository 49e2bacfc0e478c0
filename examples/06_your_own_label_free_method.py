"""A label-free method that nobody has published: HICL's vote in geometric sets, and a term that keeps sets together.

    python examples/06_your_own_label_free_method.py

The trainer knows recipes only; this one is composed of parts, one of which is made here.
"""

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from scenewise.catalogue import method_recipe
from scenewise.engine.journal import Journal
from scenewise.engine.progress import console_progress
from scenewise.engine.training import Rhythm, Session, train
from scenewise.parts.labelfree.schedules import LossPhase, LossSchedule
from scenewise.parts.labelfree.steps import LossContext, LossTerm
from scenewise.parts.labelfree.trainer import LabelFreeTrainer
from scenewise.parts.scans.data_sets import instruments_of, prepare_data
from scenewise.parts.scans.settings import PreparationSettings
from scenewise.parts.sources.opening import open_scans
from scenewise.parts.sources.room_scans import RoomScanSettings, write_room_data_set
from scenewise.teachers.choice import TeacherChoice
from scenewise.teachers.choose import open_choice
from scenewise.worlds.seeds import LEARNING_SEEDS


class Together:
    """Σ ‖z − mean of its set‖²: what lies on one smooth surface should look alike.  Sums and row counts add over processes."""

    name = "together"
    modules: Mapping[str, nn.Module] = {}  # what the term itself would train

    def __call__(self, context: LossContext) -> LossTerm:
        inside = context.batch.segments >= 0
        latent, sets = context.outputs["points"].latent[inside], context.batch.segments[inside]
        sums = latent.new_zeros(int(sets.max()) + 1, latent.shape[1]).index_add(0, sets, latent)
        means = sums / torch.bincount(sets, minlength=len(sums)).clamp_min(1)[:, None]
        return LossTerm((latent - means[sets]).square().mean(1).sum(), len(latent))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("example_learner"))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--frames", type=int, default=8, help="photographs of each room")
    parser.add_argument("--size", type=int, default=160, help="width of the rooms' photographs in pixels")
    out, epochs, frames, size = vars(parser.parse_args()).values()

    # Two rooms in ScanNet's layout; any folder that `scenewise train --data` takes would do.
    rooms = RoomScanSettings(frames=frames, width=size, height=3 * size // 4, spacing=0.06)
    write_room_data_set(out / "rooms", LEARNING_SEEDS[:2], LEARNING_SEEDS[2:3], settings=rooms)
    sources = open_scans(out / "rooms", "train")

    teacher = open_choice(TeacherChoice("small-clip"))  # asked once: its answers are kept under a fingerprint
    settings = PreparationSettings(picture_width=size, pictures=False)
    vocabulary = teacher.vocabulary()
    assert vocabulary is not None, "the embedded teacher has words of its own"
    scans = prepare_data(sources, instruments_of(teacher, vocabulary, settings), settings, out / "cache", console_progress())

    hicl = method_recipe("hicl", "rooms", {"levels": (), "width": 0.125, "epochs": epochs, "batch_scans": 2})
    recipe = replace(
        hicl,
        name="together",
        build_regularisers=lambda text, points, pixels, targets: (Together(),),
        schedule=LossSchedule((LossPhase(1, {"points": 1.0}), LossPhase(epochs // 2, {"points": 1.0, "together": 0.1}))),
    )
    trainer = LabelFreeTrainer(recipe, scans, torch.from_numpy(scans.text))
    with Journal(out / "log.jsonl") as journal:
        last = train(trainer, Session(rhythm=Rhythm(1, 5, 10), journal=journal, progress=console_progress()))
    assert last is not None
    print(f"{last.step} steps: " + ", ".join(f"{name} {value:.4f}" for name, value in last.terms.items()))


if __name__ == "__main__":
    main()

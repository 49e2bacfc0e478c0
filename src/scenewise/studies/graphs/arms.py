"""Arms of the study of scene graphs: one training on rooms, or in the control world, and its figures."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, final

import numpy as np

from scenewise.engine.threads import torch_threads
from scenewise.methods.vl_sat.examples import GraphData
from scenewise.methods.vl_sat.options import PRESETS, OracleSettings, VlSatConfig
from scenewise.methods.vl_sat.predicting import oracle_answer, student_answer
from scenewise.methods.vl_sat.seen import SeenScan
from scenewise.methods.vl_sat.trainer import VlSatTrainer
from scenewise.studies.arms import Outcome
from scenewise.studies.graphs.control import ControlKind, ControlWorld, RandomText, control_data, exchanged
from scenewise.studies.graphs.rooms import RoomGraphs, graph_data, room_scans
from scenewise.studies.graphs.scoring import figures, predicted_graphs, seen_triplets
from scenewise.teachers.relation_text import load_relation_text
from scenewise.worlds.seeds import BENCHMARK_SEEDS, LEARNING_SEEDS, VALIDATION_SEEDS

ROOMS = replace(PRESETS["rooms"], steps=600, dropout=0.1)
ALONE = replace(ROOMS, oracle=None)


def oracle(**changes: object) -> VlSatConfig:
    """The whole scheme with some settings of its oracle changed."""
    assert ROOMS.oracle is not None
    return replace(ROOMS, oracle=replace(ROOMS.oracle, **changes))  # type: ignore[arg-type]


ARMS: Mapping[str, VlSatConfig] = {
    "no_oracle": ALONE,
    "full": ROOMS,
    "plain_distillation": replace(oracle(reads_nodes=False, reads_edges=False, mimic=False), distillation=True),
    "vision_only": oracle(text=False),
    "language_only": oracle(images=False, mimic=False),
    "no_mimic": oracle(mimic=False),
    "no_node_attention": oracle(reads_nodes=False),
    "no_edge_attention": oracle(reads_edges=False),
    "adapter": oracle(adapter_epochs=OracleSettings().adapter_epochs),
    "no_projection": oracle(projects=False),
    "weights_of_the_code": replace(ROOMS, oracle=OracleSettings()),
    "released_views": oracle(views="released"),
    "no_pair_mask": oracle(mask_edges=False),
    "random_heads": replace(ROOMS, text_heads=False),
    "sgfn": replace(ALONE, student="sgfn"),
    "sgfn_with_oracle": replace(ROOMS, student="sgfn"),
    "sggpoint": replace(ALONE, student="sggpoint"),
    "sggpoint_with_oracle": replace(ROOMS, student="sggpoint"),
    "sgpn": replace(ALONE, student="sgpn"),
    "sgpn_with_oracle": replace(ROOMS, student="sgpn"),
}
"""By name; "full" is the whole scheme, the others differ from it, or from the student alone, in one thing."""


@dataclass(frozen=True)
class RoomArm:
    """One training on rooms.

    Attributes:
        config: of it.
        few: with a fifth of the rooms.
        other_pictures: a placebo: the oracle sees each thing in pictures of another, of any room.
        most_seeds: so many of the study's.
    """

    config: VlSatConfig
    few: bool = False
    other_pictures: bool = False
    most_seeds: int | None = None


def _longer(config: VlSatConfig, *, few: bool) -> RoomArm:
    """Three times as long, on fewer seeds."""
    return RoomArm(replace(config, steps=3 * ROOMS.steps), few, most_seeds=3)


ROOM_ARMS: Mapping[str, RoomArm] = {
    **{name: RoomArm(config) for name, config in ARMS.items()},
    "few_rooms_no_oracle": RoomArm(ALONE, few=True),
    "few_rooms_full": RoomArm(ROOMS, few=True),
    "other_pictures": RoomArm(ROOMS, other_pictures=True),
    "longer_no_oracle": _longer(ALONE, few=False),
    "longer_full": _longer(ROOMS, few=False),
    "few_rooms_longer_no_oracle": _longer(ALONE, few=True),
    "few_rooms_longer_full": _longer(ROOMS, few=True),
}


@dataclass(frozen=True)
class GraphSizes:
    """How much is run.

    Attributes:
        pool: rooms that training rooms are drawn from.
        training: rooms that each seed draws.
        few: and where rooms are few.
        test: rooms that figures are of.
        rooms: how rooms are scanned.
        bound_rooms: rooms that the bounds are counted on.
        steps: of training; None = the arms' own.
        control_steps: of training in the control world.
        control: that world.
    """

    pool: int = 300
    training: int = 200
    few: int = 40
    test: int = 75
    rooms: RoomGraphs = field(default_factory=RoomGraphs)
    bound_rooms: int = 600
    steps: int | None = None
    control_steps: int = 600
    control: ControlWorld = field(default_factory=lambda: ControlWorld(scans=3000))


QUICK = GraphSizes(
    pool=3,
    training=2,
    few=1,
    test=2,
    rooms=RoomGraphs(views=4, width=80, height=60, points=64),
    bound_rooms=8,
    steps=4,
    control_steps=4,
    control=ControlWorld(scans=40, test=20),
)


@final
class RoomBench:
    """Rooms in memory, shared by the arms of a process.

    Args:
        sizes: how many.
        folder: of their files.
        jobs: processes that make what is missing.
    """

    def __init__(self, sizes: GraphSizes, folder: Path, jobs: int = 1) -> None:
        self.sizes, self._folder, self._jobs = sizes, folder, jobs

    def ready(self) -> None:
        """Makes what is missing."""
        assert self.pool and self.test

    @cached_property
    def pool(self) -> list[SeenScan]:
        """Rooms to learn from."""
        return room_scans([LEARNING_SEEDS[i] for i in range(self.sizes.pool)], self.sizes.rooms, self._folder, self._jobs)

    @cached_property
    def test(self) -> list[SeenScan]:
        """Rooms that figures are of."""
        return room_scans([BENCHMARK_SEEDS[i] for i in range(self.sizes.test)], self.sizes.rooms, self._folder, self._jobs)

    def validation(self, count: int) -> list[SeenScan]:
        """Rooms that settings are chosen on."""
        return room_scans([VALIDATION_SEEDS[i] for i in range(count)], self.sizes.rooms, self._folder, self._jobs)

    def drawn(self, seed: int, count: int) -> list[SeenScan]:
        """The training rooms of a seed; the fewer are among the more."""
        order = np.random.Generator(np.random.PCG64([seed, 29])).permutation(len(self.pool))
        return [self.pool[int(index)] for index in order[:count]]


def room_outcome(arm: RoomArm, bench: RoomBench, seed: int) -> Outcome:
    """Trains on a seed's rooms and measures on the test rooms; figures of the oracle stand beside, as "oracle …"."""
    sizes, settings = bench.sizes, arm.config.oracle
    config = arm.config if sizes.steps is None else replace(arm.config, steps=sizes.steps)
    seen_by = OracleSettings() if settings is None else settings
    train = graph_data(bench.drawn(seed, sizes.few if arm.few else sizes.training), seen_by.views, seen_by.most_views)
    test = graph_data(bench.test, seen_by.views, seen_by.most_views)
    if arm.other_pictures:
        dealt = exchanged(train.examples, np.random.Generator(np.random.PCG64([seed, 31])))
        train = GraphData(dealt, train.classes, train.predicates, train.class_text)
    trainer, seconds = trained(config, train, seed)
    seen = seen_triplets(train)
    found = figures(
        predicted_graphs(lambda each: student_answer(trainer.student, each), test), test.classes, test.predicates, seen
    )
    if trainer.oracle is not None:
        graphs = predicted_graphs(lambda each: oracle_answer(trainer, each), test)
        of_oracle = figures(graphs, test.classes, test.predicates, seen, whole=False)
        found |= {f"oracle {name}": value for name, value in of_oracle.items()}
    return Outcome(found, trainer.parameters_trained, trainer.parameters_deployed, seconds, 2 * trainer.parameters_deployed)


def trained(config: VlSatConfig, data: GraphData, seed: int) -> tuple[VlSatTrainer, float]:
    """A trainer at the end of its run, and the seconds of its steps."""
    with torch_threads(1):
        trainer = VlSatTrainer(config, data, load_relation_text(), seed)
        began = time.monotonic()
        while trainer.steps_done < config.steps:
            trainer.step()
        return trainer, time.monotonic() - began


# -------------------------------------------------------------------------------------------------------------------- control


CONTROL_CONFIG = replace(
    PRESETS["rooms"],
    turns=False,
    jitter=0.0,
    width=64,
    heads=4,
    points=32,
    nodes_per_scan=None,
    dropout=0.0,
    batch_scans=32,
    clip_norm=None,
    oracle=OracleSettings(weight=3.0, margin=1.0, adapter_epochs=0),
)
"""Picture features are already what they should be, so nothing adapts them; an adapter to class words would wash the use out."""


@dataclass(frozen=True)
class ControlArm:
    """One training in the control world.

    Attributes:
        kind: which of its variants.
        oracle: with the whole scheme, or the student alone.
        changes: of the oracle's settings.
    """

    kind: ControlKind = "teaching"
    oracle: bool = True
    changes: Mapping[str, object] = field(default_factory=dict)


CONTROLS: Mapping[str, ControlArm] = {
    "control_no_oracle": ControlArm(oracle=False),
    "control_full": ControlArm(),
    "control_placebo": ControlArm("placebo"),
    "control_null_no_oracle": ControlArm("null", oracle=False),
    "control_null_full": ControlArm("null"),
    "control_careful_no_oracle": ControlArm("careful", oracle=False),
    "control_careful_full": ControlArm("careful"),
    "control_mimic_alone": ControlArm(changes={"reads_nodes": False, "reads_edges": False, "text": False}),
    "control_no_mimic": ControlArm(changes={"mimic": False}),
    "control_adapter": ControlArm(changes={"adapter_epochs": 20}),
    "control_no_projection": ControlArm(changes={"projects": False}),
}


def control_outcome(arm: ControlArm, sizes: GraphSizes, seed: int) -> Outcome:
    """Accuracy of the relation that ranks first, mean over relations, on scans where nobody errs."""
    train, test = control_data(sizes.control, arm.kind, seed)
    settings = CONTROL_CONFIG.oracle
    assert settings is not None
    changed = replace(settings, **arm.changes) if arm.oracle else None  # type: ignore[arg-type]
    config = replace(CONTROL_CONFIG, oracle=changed, steps=sizes.control_steps)
    with torch_threads(1):
        trainer = VlSatTrainer(config, train, RandomText(), seed)
        began = time.monotonic()
        while trainer.steps_done < config.steps:
            trainer.step()
        seconds = time.monotonic() - began
    found = {"predicate mA@1": _first_right(trainer, test, "student")}
    if trainer.oracle is not None:
        found["oracle predicate mA@1"] = _first_right(trainer, test, "oracle")
    return Outcome(found, trainer.parameters_trained, trainer.parameters_deployed, seconds, 2 * trainer.parameters_deployed)


def _first_right(trainer: VlSatTrainer, data: GraphData, who: Literal["student", "oracle"]) -> float:
    answers = [
        student_answer(trainer.student, each) if who == "student" else oracle_answer(trainer, each) for each in data.examples
    ]
    graphs = iter(answers)
    found = figures(predicted_graphs(lambda _: next(graphs), data), data.classes, data.predicates, frozenset(), whole=False)
    value = found["predicate mA@1"]
    assert value is not None, "every relation occurs"
    return value

"""Scene graphs from photographs, end to end: five procedural rooms against their truth, and a real kitchen to look at.

    python -m scenewise.studies scene_graphs [--rooms 5] [--pairs 20] [--quick] [--kitchen] [--cache build/reproduce/scene_graphs]

Each room goes through ``reconstruct``, ``segment`` and ``graph``; names come from the embedded model, from a teacher that knows
every pixel's class, and, with true things, from nobody.  Photographs, splats and names are kept, so an interrupted study goes on
where it stopped; graphs are made anew.  Figures go into ``scene_graphs.json`` of the cache folder.  The kitchen, which nobody
labelled, becomes pictures in the same folder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scenewise.engine.option_values import require_at_least
from scenewise.io.atomic import atomic_write_json
from scenewise.studies.bench import Flat, Keeping, cache_folder, data_root, say
from scenewise.studies.graphs.changes import PairNaming, Score, pair_scores
from scenewise.studies.graphs.end_to_end import NAMINGS, QUICK, Naming, RoomFigures, Sizes, room_figures
from scenewise.studies.graphs.kitchen import kitchen_graphs
from scenewise.worlds.seeds import BENCHMARK_SEEDS

KITCHEN = "redkitchen_rgbd"
RESULTS_FILE = "scene_graphs.json"
Figures = Mapping[Naming, RoomFigures]

_NONE = Score(0, 0, 0)
_PAIRS: Mapping[str, PairNaming | None] = {"true instances": None, "true names": "true_names", "small-clip": "small_clip"}
_VALUES = {"AP": "points ap", "AP50": "points ap50", "AP25": "points ap25", "R50": "points recall50", "R25": "points recall25"}
_OF_CLASS = {"AP50 of class": "points ap50 of class", "splats AP50": "splats ap50"}


@dataclass(frozen=True)
class Options:
    """Of this study.

    Attributes:
        keeping: see there.
        rooms: how many, from the first of the benchmark on.
        network: that tells relations which geometry does not, as scenewise graph takes it.
        pairs: of captures before and after known changes that scenewise diff compares.
        kitchen: also the real one, from the folder of captures.
        data: folder of all captures.
    """

    keeping: Flat[Keeping] = field(default_factory=Keeping)
    rooms: int = 5
    network: str = "auto"
    pairs: int = 0
    kitchen: bool = False
    data: Path = field(default_factory=data_root)

    def __post_init__(self) -> None:
        require_at_least("--rooms", self.rooms, 1)
        require_at_least("--pairs", self.pairs, 0)


def main(options: Options) -> int:
    """Runs the study and prints its table."""
    cache, quick = cache_folder("scene_graphs", options.keeping), options.keeping.quick
    sizes, found = QUICK if quick else Sizes(), {}
    for seed in BENCHMARK_SEEDS[: 1 if quick else options.rooms]:
        found[seed] = room_figures(seed, sizes, cache, network=options.network)
        say(f"room {seed}: " + "; ".join(_told(naming, figures) for naming, figures in found[seed].items()))
    say("")
    say("\n".join(table(list(found.values()))))
    told = {}
    for name, naming in _PAIRS.items() if options.pairs else ():
        score = pair_scores(naming, BENCHMARK_SEEDS[: options.pairs], cache / "pairs")
        told[name] = _score(score)
        shares = f"precision {score.precision:.3f}, recall {score.recall:.3f}"
        say(f"diff, {options.pairs} pairs, {name}: {score.right} right of {score.told} told, {score.made} made; {shares}")
    content = {"sizes": asdict(sizes), "network": options.network, **contents(found), "diff": told}
    atomic_write_json(options.keeping.out or cache / RESULTS_FILE, content)
    if options.kitchen:
        for name, graph in kitchen_graphs(options.data / KITCHEN, cache / "kitchen").items():
            say(f"\n{KITCHEN}, {name}\n{graph.summary.text()}")
            say("\n".join(map(str, graph.pictures)))
    return 0


def _told(naming: Naming, figures: RoomFigures) -> str:
    things, seconds = figures.things["elements 0.5"], sum(figures.seconds.values())
    return f"{naming} {things.right} of {things.made} things with {things.told} objects, {seconds:.0f} s"


def mean_values(rooms: Sequence[RoomFigures]) -> dict[str, float]:
    """Means over rooms of each figure, over those rooms where there is something to measure."""
    found = {}
    for name in rooms[0].values:
        values = [room.values[name] for room in rooms if not np.isnan(room.values[name])]
        found[name] = float(np.mean(values)) if values else float("nan")
    return found


def summed_things(rooms: Sequence[RoomFigures]) -> dict[str, Score]:
    """Things of all rooms."""
    return {name: sum((room.things[name] for room in rooms), _NONE) for name in rooms[0].things}


def summed_relations(rooms: Sequence[RoomFigures], kind: str) -> dict[str, Score]:
    """Relations of all rooms by predicate.

    Args:
        rooms: under one naming.
        kind: source, and which pairs count.
    """
    names = sorted({name for room in rooms for name in room.relations[kind]})
    return {name: sum((room.relations[kind].get(name, _NONE) for room in rooms), _NONE) for name in names}


def contents(found: Mapping[int, Figures]) -> dict[str, Any]:
    """Everything as JSON values: each room, and by naming the means and sums."""
    namings = {naming: [room[naming] for room in found.values()] for naming in NAMINGS}
    return {
        "rooms": {str(seed): {naming: _json(room[naming]) for naming in NAMINGS} for seed, room in found.items()},
        "all": {
            naming: {
                "values": _finite(mean_values(rooms)),
                "things": {name: _score(score) for name, score in summed_things(rooms).items()},
                "relations": {
                    kind: {name: _score(score) for name, score in summed_relations(rooms, kind).items()}
                    for kind in rooms[0].relations
                },
            }
            for naming, rooms in namings.items()
        },
    }


def _json(figures: RoomFigures) -> dict[str, Any]:
    return {
        "values": _finite(figures.values),
        "things": {name: _score(score) for name, score in figures.things.items()},
        "relations": {
            kind: {name: _score(score) for name, score in scores.items()} for kind, scores in figures.relations.items()
        },
        "seconds": dict(figures.seconds),
    }


def _finite(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else value for name, value in values.items()}


def _score(score: Score) -> dict[str, int]:
    return {"right": score.right, "told": score.told, "made": score.made}


def table(rooms: Sequence[Figures]) -> list[str]:
    """Lines for people: means of per cent, a column per naming."""
    columns = {naming: [room[naming] for room in rooms] for naming in NAMINGS}
    lines = [f"{'':<34}" + "".join(f"{naming:>14}" for naming in columns)]

    def row(title: str, cells: Sequence[str]) -> None:
        lines.append(f"{title:<34}" + "".join(f"{cell:>14}" for cell in cells))

    for title, name in {**_VALUES, **_OF_CLASS, "right name, if found": "names of matched"}.items():
        row(title, [_percent(mean_values(own)[name]) for own in columns.values()])
    for name in columns["small_clip"][0].things:
        row(f"{name}: things, objects right", [_both(summed_things(own)[name]) for own in columns.values()])
    for kind in columns["small_clip"][0].relations:
        sums = {naming: summed_relations(own, kind) for naming, own in columns.items()}
        row(f"{kind}: recall, precision", [_both(sum(own.values(), _NONE)) for own in sums.values()])
        for predicate in sorted({name for own in sums.values() for name in own}) if kind.endswith("matched") else ():
            row(f"    {predicate}", [_both(own.get(predicate, _NONE)) for own in sums.values()])
    for stage in columns["small_clip"][0].seconds:
        row(f"{stage}, s", [f"{np.mean([room.seconds[stage] for room in own]):.1f}" for own in columns.values()])
    return lines


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.1f}"


def _both(score: Score) -> str:
    recall = _percent(score.recall) if score.made else "–"
    return f"{recall}, {_percent(score.precision) if score.told else '–'}"

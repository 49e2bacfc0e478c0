"""Time from the things of a scene to its graph: 200 things of 500 points, tiled from procedural rooms, on one thread.

With rules alone and with the embedded network beside them; finding the things in labelled points is measured on its own.

    python benchmarks/scene_graph.py [--quick] [--json]
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from scenewise.engine.threads import compute_threads, torch_threads
from scenewise.methods.vl_sat.network_file import embedded_network
from scenewise.parts.graphs.building import GraphScene, build_graph
from scenewise.parts.graphs.frames import UprightFrame
from scenewise.parts.graphs.instances import LabelledElements, find_instances
from scenewise.parts.graphs.things import UP
from scenewise.scenes.elements import Elements
from scenewise.scenes.labels import ElementLabels
from scenewise.studies.graphs.true_things import true_things
from scenewise.worlds.captures import room_cameras
from scenewise.worlds.classes import CLASS_NAMES
from scenewise.worlds.rooms import furnished_room
from scenewise.worlds.seeds import VALIDATION_SEEDS

POINTS = 500
APART = 9.0  # metres between the middles of two rooms
ACROSS = 3  # rooms
GOAL_S = 2.0


def labelled_rooms(things: int) -> LabelledElements:
    """So many things of several rooms side by side, each with at most 500 points."""
    rng = np.random.Generator(np.random.PCG64(0))
    points, classes, numbers, count = [], [], [], 0
    for place, seed in enumerate(VALIDATION_SEEDS):
        room = furnished_room(seed)
        known = true_things(room, room_cameras(room, 16, 160, 120))
        shift = APART * np.array([place % ACROSS, place // ACROSS, 0.0])
        for node in known.seen[: things - count]:
            own = np.flatnonzero(known.owners == node)
            own = rng.permutation(own)[:POINTS]
            points.append(known.points_in_world[own] + shift)
            classes.append(np.full(len(own), CLASS_NAMES.index(known.names[node]), dtype=np.int32))
            numbers.append(np.full(len(own), count, dtype=np.int32))
            count += 1
        if count == things:
            break
    cloud = np.concatenate(points)
    labels = ElementLabels(np.concatenate(classes), np.concatenate(numbers), np.ones(len(cloud), dtype=np.float32))
    return LabelledElements(Elements("points", cloud), labels)


def seconds_of(work: Callable[[], object], repeats: int) -> float:
    """Median wall time."""
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return median(taken)


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="30 things, once")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    things, repeats = (30, 1) if options.quick else (200, 5)
    elements, frame = labelled_rooms(things), UprightFrame.of_up(UP)
    with compute_threads(1), torch_threads(1):
        found = find_instances([elements], CLASS_NAMES, frame, mend=False)
        cloud = elements.elements.positions_in_world
        scene = GraphScene(found.instances, CLASS_NAMES, frame, "metric", cloud)
        network = embedded_network()
        graph = build_graph(scene, network=network)
        seconds = {
            "things from labelled points": seconds_of(lambda: find_instances([elements], CLASS_NAMES, frame), repeats),
            "graph, rules alone": seconds_of(lambda: build_graph(scene), repeats),
            "graph, rules and network": seconds_of(lambda: build_graph(scene, network=network), repeats),
        }
    told = {
        "things": len(graph.objects),
        "points": len(cloud),
        "relations": len(graph.relations),
        "rooms": len(graph.rooms),
        "seconds": seconds,
        "goal_s": GOAL_S,
    }
    if options.json:
        print(json.dumps(told, indent=2))
        return 0
    print(
        f"{told['things']} things, {told['points']:,} points, {told['relations']:,} relations, {told['rooms']} rooms; one thread"
    )
    for name, value in seconds.items():
        print(f"{name:<28} {value:6.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())

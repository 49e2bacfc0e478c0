"""A library of a million key points: time to build it, its size, and what a query takes and finds, beside comparing every vector.

The vectors are clustered: around a random direction for every 250, cosines to it about .86.  They enter scene by scene, as a
person's would, and are never in memory together until all are compared for the flat search.

    python benchmarks/scene_library.py [--quick] [--json] [--vectors N] [--dim D]
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from statistics import median

import numpy as np

from scenewise.engine.threads import compute_threads, torch_threads
from scenewise.io.scene_library.records import Compaction, KeyPointRows, LibraryAbout, ObjectRows, SceneFacts, SceneRows, ViewRows
from scenewise.io.scene_library.store import SceneLibrary, create_library, open_library

PER_SCENE, PER_CLUSTER = 5000, 250
SPREAD = 0.6  # length of what is added to a cluster's direction
QUERIES, FLAT_QUERIES, BATCH, K = 200, 20, 64, 10
GOAL_BUILD_S, GOAL_RECALL = 900.0, 0.95


class Clusters:
    """Unit vectors around random directions, some of which have many more than others."""

    def __init__(self, count: int, dim: int) -> None:
        rng = np.random.Generator(np.random.PCG64(0))
        centers = rng.standard_normal((count, dim), dtype=np.float32)
        self._centers = centers / np.linalg.norm(centers, axis=1, keepdims=True)
        weights = rng.exponential(size=count)
        self._shares = weights / weights.sum()

    def vectors(self, count: int, seed: int) -> np.ndarray:
        """So many, float32; the same for the same seed."""
        rng = np.random.Generator(np.random.PCG64([1, seed]))
        around = self._centers[rng.choice(len(self._centers), count, p=self._shares)]
        dim = around.shape[1]
        vectors = around + SPREAD / np.sqrt(dim) * rng.standard_normal((count, dim), dtype=np.float32)
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def scene_of(features: np.ndarray, number: int) -> SceneRows:
    """A scene that has key points and nothing else."""
    n, dim = features.shape
    none, nowhere = np.zeros((0, dim), np.float32), np.zeros((0, 3), np.float32)
    whole, score = np.zeros(0, np.int32), np.zeros(0, np.float32)
    return SceneRows(
        facts=SceneFacts(
            name=f"scene {number:06d}",
            source="random",
            kind="random",
            content_hash=str(number),
            date=None,
            place=None,
            licence=None,
            scale="metric",
            offset_in_source=np.zeros(3),
            bounds_in_world=np.zeros((2, 3), np.float32),
            num_points=n,
        ),
        fingerprint="random",
        descriptor=features[0],
        thumbnail=b"",
        views=ViewRows((), np.zeros((0, 4, 4)), np.zeros((0, 3, 3)), whole, whole, none, None, ()),
        objects=ObjectRows(whole, (), score, nowhere, nowhere, whole, nowhere, none, ()),
        key_points=KeyPointRows(np.zeros((n, 3), np.float32), np.ones(n, np.float32), features),
    )


def seconds_of(work: Callable[[], object]) -> float:
    """Wall time."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def query_ms(library: SceneLibrary, queries: np.ndarray) -> float:
    """Median of single queries, after a few that do not count."""
    taken = [seconds_of(lambda query=query: library.nearest("keypoints", query[None], K)) for query in queries]
    return 1000 * median(taken[min(5, len(taken) // 2) :])


def peak_mb() -> float:
    """Most memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def measure(folder: Path, num_vectors: int, dim: int) -> dict[str, object]:
    """Builds, asks, compares."""
    clusters = Clusters(max(1, num_vectors // PER_CLUSTER), dim)
    library = create_library(folder, LibraryAbout("random", "random", "CC0", dim))
    sizes = [min(PER_SCENE, num_vectors - first) for first in range(0, num_vectors, PER_SCENE)]

    def add() -> None:
        for number, size in enumerate(sizes):
            library.put(scene_of(clusters.vectors(size, number), number))

    add_s = seconds_of(add)
    index_s = seconds_of(lambda: library.index(["keypoints"]))
    build_mb = peak_mb()
    queries = clusters.vectors(QUERIES, len(sizes))
    indexed = open_library(folder, exact_rows=0)
    ms = query_ms(indexed, queries)
    batch_ms = 1000 * seconds_of(lambda: indexed.nearest("keypoints", queries[:BATCH], K)) / BATCH
    found = indexed.nearest("keypoints", queries, K)
    flat = open_library(folder, exact_rows=num_vectors)
    load_s = seconds_of(flat.key_points)
    true = flat.nearest("keypoints", queries, K)
    assert true.is_exact and not found.is_exact
    swept: list[Compaction] = []
    sweep_s = seconds_of(lambda: swept.append(library.compact(older_than=timedelta(0))))
    return {
        "vectors": num_vectors,
        "dim": dim,
        "scenes": len(sizes),
        "build_seconds": add_s + index_s,
        "add_seconds": add_s,
        "index_seconds": index_s,
        "sweep_seconds": sweep_s,
        "disk_bytes": swept[0].num_bytes_after,
        "disk_bytes_before_sweeping": swept[0].num_bytes_before,
        "query_ms": ms,
        "query_ms_in_batches_of_64": batch_ms,
        "recall_at_10": float(np.mean([len({*a} & {*b}) / K for a, b in zip(true.indices.tolist(), found.indices.tolist())])),
        "flat_query_ms": query_ms(flat, queries[:FLAT_QUERIES]),
        "flat_load_seconds": load_s,
        "peak_mb_of_building": build_mb,
        "peak_mb": peak_mb(),
        "goal_build_seconds": GOAL_BUILD_S,
        "goal_recall_at_10": GOAL_RECALL,
    }


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20,000 vectors")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--vectors", type=int, help="how many (default 1,000,000)")
    parser.add_argument("--dim", type=int, default=128, help="numbers of each (default 128)")
    options = parser.parse_args()
    count = options.vectors or (20_000 if options.quick else 1_000_000)
    with tempfile.TemporaryDirectory() as folder, compute_threads(1), torch_threads(1):
        told = measure(Path(folder) / "library", count, options.dim)
    if options.json:
        print(json.dumps(told, indent=2))
        return 0
    print(f"{told['vectors']:,} vectors of {told['dim']} numbers in {told['scenes']} scenes, {told['disk_bytes']:,} bytes")
    print(f"built in    {told['build_seconds']:8.1f} s   (added {told['add_seconds']:.1f}, index {told['index_seconds']:.1f})")
    print(f"a query     {told['query_ms']:8.2f} ms  ({told['query_ms_in_batches_of_64']:.2f} in batches of 64)")
    print(f"flat        {told['flat_query_ms']:8.2f} ms  (after {told['flat_load_seconds']:.1f} s of reading)")
    print(f"recall@10   {told['recall_at_10']:8.3f}")
    print(f"memory      {told['peak_mb_of_building']:8.0f} MB to build, {told['peak_mb']:.0f} MB with the flat search")
    return 0


if __name__ == "__main__":
    sys.exit(main())

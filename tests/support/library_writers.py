"""Writers of a library that are killed, and writers, readers and sweepers of one at the same time.

    python -m tests.support.library_writers PLACE KILLS TURNS

makes the libraries ``killed`` (unless KILLS is 0) and ``together`` there.

Every process is forked from this one, which has loaded LanceDB and never used it: that takes milliseconds, where starting anew
takes seconds.  What happened is printed as one JSON object.
"""

import json
import os
import random
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
from tests.support.library_scenes import ABOUT, scene_rows

from scenewise.io.scene_library.connecting import lancedb
from scenewise.io.scene_library.records import SceneRows
from scenewise.io.scene_library.store import SceneLibrary, create_library, open_library

lancedb()
_LONGEST = 30  # seconds a process may take; what hangs is ended and shows


def scene(seed: int) -> SceneRows:
    """One of two states of the same scene; every table tells them apart."""
    return scene_rows("room", seed, views=3 + seed, objects=2 + 2 * seed, key_points=400 - 100 * seed)


def state_of(library: SceneLibrary) -> int:
    """Which of the states a library holds; an error where it is a mixture or none."""
    found = library.scene("room")
    seed = int(found.facts.provenance["seed"])
    whole = scene(seed)
    assert found.facts.content_hash == whole.facts.content_hash
    for part, name in (("views", "descriptors"), ("objects", "features"), ("key_points", "features")):
        np.testing.assert_array_equal(
            getattr(getattr(found, part), name), getattr(getattr(whole, part), name).astype(np.float16), err_msg=part
        )
    return seed


def forked(work: Callable[[int], Any]) -> tuple[int, int]:
    """A process that does the work, which may write to the pipe it is handed; its number, and the end of the pipe to read."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(_LONGEST)
        os.close(read)
        code = 1
        try:
            work(write)
            code = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    os.close(write)
    return pid, read


def ended(pid: int, read: int) -> tuple[int, bytes]:
    """How a process ended (−N by signal N), and what it wrote."""
    parts = []
    while part := os.read(read, 1 << 16):
        parts.append(part)
    os.close(read)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), b"".join(parts)


def kill(uri: str, kills: int) -> dict[str, Any]:
    """Writers that are killed at random moments while they replace the same scene."""

    def begin(_: int) -> None:
        create_library(uri, ABOUT).put(scene(0))

    def replace(pipe: int) -> None:
        library = open_library(uri)
        seed = state_of(library)
        os.write(pipe, bytes([seed]))
        library.put(scene(1 - seed))
        os.write(pipe, b"d")

    def finish(pipe: int) -> None:
        library = open_library(uri)
        seed = state_of(library)
        told = {"state": seed, "stale": library.info().tables["keypoints"].num_stale_rows, "put": library.put(scene(1 - seed))}
        library.compact(older_than=timedelta(0))
        told |= {"after": state_of(library), "stale_after": library.info().tables["keypoints"].num_stale_rows}
        os.write(pipe, json.dumps(told).encode())

    codes = [ended(*forked(begin))[0]]
    took = []
    for _ in range(2):
        pid, read = forked(replace)
        os.read(read, 1)
        began = time.perf_counter()
        codes.append(ended(pid, read)[0])
        took.append(time.perf_counter() - began)
    chance, states, finished = random.Random(0), [], 0
    for _ in range(kills):
        pid, read = forked(replace)
        states.append(list(os.read(read, 1)))
        time.sleep(chance.uniform(0, min(took)))
        os.kill(pid, signal.SIGKILL)
        finished += b"d" in ended(pid, read)[1]
    code, text = ended(*forked(finish))
    return {"codes": [*codes, code], "states": states, "finished": finished, **json.loads(text or b"{}")}


def together(uri: str, turns: int) -> dict[str, Any]:
    """Two writers, of different scenes and of the same, beside a reader and a sweeper; all begin at once."""
    begin = time.time() + 0.4

    def opened() -> SceneLibrary:
        library = open_library(uri)
        while time.time() < begin:
            pass
        return library

    def write(number: int) -> Callable[[int], None]:
        def work(pipe: int) -> None:
            library = opened()
            done = []
            for turn in range(turns + 1):
                if turn < turns:
                    done.append(library.put(scene_rows(f"of {number}, {turn}", 0, views=1)))
                    done.append(library.put(scene_rows(f"of both, {turn}", number, views=1)))  # both insert the same name
                done.append(library.put(scene((number + turn) % 2)))
                library.put(scene_rows(f"gone {number}", turn))
            library.remove(f"gone {number}")
            os.write(pipe, json.dumps(done).encode())

        return work

    def read(pipe: int) -> None:
        library = opened()
        seen = []
        while time.time() < begin + 0.7:
            seen.append(state_of(library))
            points = library.key_points()
            assert len(points.scores) == points.starts[-1] and (np.linalg.norm(points.features, axis=1) > 0.99).all()
        os.write(pipe, json.dumps(seen).encode())

    def sweep(pipe: int) -> None:
        library = opened()
        for _ in range(min(turns, 3)):
            library.compact()
        os.write(pipe, b"[]")

    def look(pipe: int) -> None:
        library = open_library(uri)
        names = [found.name for found in library.scenes()]
        told = {"names": names, "state": state_of(library), "whole": len(library.key_points().scores)}
        told["mixed"] = [name for name in names if name.startswith("of both") and not whole(library, name)]
        os.write(pipe, json.dumps(told).encode())

    def whole(library: SceneLibrary, name: str) -> bool:
        found = library.scene(name).key_points.features
        return any(
            np.array_equal(found, scene_rows(name, seed, views=1).key_points.features.astype(np.float16)) for seed in (0, 1)
        )

    first = ended(*forked(lambda _: [create_library(uri, ABOUT).put(scene(0))]))[0]
    running = [forked(work) for work in (write(0), write(1), read, sweep)]
    results = [ended(*process) for process in running]
    code, text = ended(*forked(look))
    codes = [first, *(code for code, _ in results), code]
    return {"codes": codes, "done": [json.loads(said or b"null") for _, said in results], **json.loads(text or b"{}")}


def main() -> int:
    """Does what was asked for and prints what happened."""
    warnings.filterwarnings("ignore", message="lancedb fork support is experimental")
    place, kills, turns = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    told = {"kill": kill(f"{place}/killed", kills) if kills else None, "together": together(f"{place}/together", turns)}
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())

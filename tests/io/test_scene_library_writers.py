"""Writers of a library that are killed, writers at the same time, and a library on object storage."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lancedb")
ROOT = Path(__file__).resolve().parent.parent.parent
KILLS, TURNS = 20, 5
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork processes")


def happened(place: Path | str, kills: int, turns: int, environment: dict[str, str] | None = None) -> dict[str, Any]:
    """What the processes of :mod:`tests.support.library_writers` tell."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.library_writers", str(place), str(kills), str(turns)],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr[-2000:]
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What happens to libraries in a folder."""
    return happened(tmp_path_factory.mktemp("libraries"), KILLS, TURNS)


def assert_old_or_new(told: dict[str, Any], kills: int) -> None:
    """Of kills at random moments of replacing a scene; each process looks first what the one before left."""
    assert told["codes"] == [0] * 4, "writers that are not killed, and the last"
    assert len(told["states"]) == kills and all(state in ([0], [1]) for state in told["states"])
    assert told["put"] == "replaced" and told["after"] == 1 - told["state"]
    assert told["stale_after"] == 0 < told["stale"], "what was replaced, and what was not finished"


def assert_nothing_lost(told: dict[str, Any], turns: int) -> None:
    """Of two writers, a reader and a sweeper: all ended well, all scenes are there and whole."""
    assert told["codes"] == [0] * 6
    expected = [f"of {who}, {turn}" for who in ("0", "1", "both") for turn in range(turns)] + ["room"]
    assert told["names"] == sorted(expected)
    assert told["mixed"] == [] and told["state"] in (0, 1)
    assert told["whole"] == 3 * turns * 7 + 400 - 100 * told["state"], "each name is there once"
    for outcomes in told["done"][:2]:
        assert outcomes[:-1:3] == ["added"] * turns, "scenes of one writer"
    assert set(told["done"][2]) <= {0, 1} and told["done"][2], "the reader saw one state or the other"


@needs_fork
def test_a_killed_writer_leaves_the_old_scene_or_the_new(local: dict[str, Any]):
    assert_old_or_new(local["kill"], KILLS)
    assert local["kill"]["finished"] < KILLS, "some were killed before they were done"


@needs_fork
def test_writers_at_the_same_time_lose_nothing(local: dict[str, Any]):
    assert_nothing_lost(local["together"], TURNS)


@pytest.fixture
def object_storage() -> Iterator[dict[str, str]]:
    """Variables that lead to a server on this machine which speaks S3, with a bucket."""
    program = shutil.which("moto_server")
    if program is None:
        pytest.skip("no S3-compatible server: moto_server is not installed (pip install 'moto[s3,server]')")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    server = subprocess.Popen([program, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                urllib.request.urlopen(urllib.request.Request(f"{address}/bucket", method="PUT"), timeout=5).close()
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.1)
        yield {
            "AWS_ENDPOINT": address,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
        }
    finally:
        server.kill()
        server.wait()


@needs_fork
@pytest.mark.slow
def test_object_storage_is_as_safe(object_storage: dict[str, str]):
    """Few turns: the server is slow.  With 20 kills and 5 turns it takes 40 s and is as safe."""
    assert_nothing_lost(happened("s3://bucket/some libraries", 0, 1, object_storage)["together"], 1)

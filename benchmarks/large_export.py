"""Seconds and memory of exporting a scene of 20 million Gaussians, whole and merged, and whether others can read the files.

    python benchmarks/large_export.py [--count 20000000] [--scene SCENE] [--folder FOLDER] [--gsply PYTHON] [--json]

The scene is a small one (degree 0) side by side with itself as often as needed: SCENE, or a wavy patterned ground.  Merged means
a twentieth of the Gaussians.  Each step runs in a process of its own, of which the system tells the largest resident size.  The
files are then read by numpy without the package, and by gsply where PYTHON is an interpreter that has it.  Everything is deleted
afterwards: 20 million take 3.5 GB.  The goal: no step above 4 GB.
"""

import argparse
import gzip
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from scenewise.scenes.gaussians import Gaussians

GOAL_BYTES = 4e9
_COLUMNS = (
    *("x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"),
    *("scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"),
)
_GSPLY = """
import sys, gsply, numpy
data = gsply.plyread(sys.argv[1]) if sys.argv[1].endswith(".ply") else gsply.read_spz(sys.argv[1])
print(len(data), *data.means.astype(numpy.float64).mean(axis=0), *data.means.astype(numpy.float64).std(axis=0))
"""


def make(folder: Path, count: int, source: Path | None) -> None:
    """Writes a scene of ``count`` Gaussians of which one tile is in memory at a time."""
    import torch

    from scenewise.io.ply.gaussians import write_gaussians_ply_blocks
    from scenewise.io.scene_folder import SPLATS_FILE, read_scene, write_scene_description
    from scenewise.scenes.gaussians import Gaussians
    from scenewise.scenes.scenes import Provenance, Scene

    small = ground() if source is None else read_scene(source).gaussians.with_sh_degree(0)
    middle = torch.quantile(small.means[:: max(1, len(small) // 100_000)], torch.tensor([0.02, 0.98]), dim=0)
    extent = middle[1] - middle[0]
    tiles = math.ceil(count / len(small))
    side = math.ceil(tiles**0.5)

    def blocks() -> Iterator[Gaussians]:
        for tile in range(tiles):
            rows = small.select(torch.arange(min(len(small), count - tile * len(small))))
            step = torch.tensor([tile % side - side // 2, tile // side - side // 2, 0])
            yield Gaussians(rows.means + step * extent, rows.log_scales, rows.quats, rows.logit_opacities, rows.sh0, rows.shN)

    write_gaussians_ply_blocks(folder / SPLATS_FILE, blocks(), sh_degree=0, count=count)

    def unread() -> Gaussians:
        raise AssertionError("only described")

    scene = Scene(unread, count, 0, (), Provenance("", "world", None, "", "tiles"))
    write_scene_description(folder, scene)


def ground(side: int = 140) -> "Gaussians":
    """Flat, overlapping Gaussians of mixed size and opacity on a wavy, patterned ground of 10 × 10 units."""
    import torch

    from scenewise.scenes.gaussians import Gaussians

    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    n = side * side
    across = 10 * torch.rand(n, 2, generator=generator) - 5
    height = 0.2 * torch.sin(across[:, :1] * 2) * torch.cos(across[:, 1:] * 3)
    log_scales = torch.tensor([10 / side, 10 / side, 1 / side]).log() + 0.4 * normal(n, 3)
    quats = torch.tensor([1.0, 0, 0, 0]) + 0.2 * normal(n, 4)
    sh0 = (torch.sin(across @ torch.tensor([[1.0, -0.5, 0.3], [0.6, 1.0, -0.8]])) + 0.1 * normal(n, 3))[:, None]
    return Gaussians(torch.cat([across, height], 1), log_scales, quats, 1 + normal(n), sh0, torch.zeros(n, 0, 3))


def read_ply(path: Path) -> np.ndarray:
    """Every column of a splat file [splats, 17], mapped, not read."""
    with path.open("rb") as file:
        lines = []
        while (line := file.readline().strip()) != b"end_header":
            assert line, "no header"
            lines.append(line.split())
        start = file.tell()
    assert lines[:2] == [[b"ply"], [b"format", b"binary_little_endian", b"1.0"]], lines[:2]
    (count,) = (int(words[2]) for words in lines if words[0] == b"element")
    assert tuple(words[2].decode() for words in lines if words[0] == b"property") == _COLUMNS
    assert all(words[1] == b"float" for words in lines if words[0] == b"property")
    assert path.stat().st_size == start + 4 * 17 * count
    return np.memmap(path, "<f4", "r", offset=start, shape=(count, 17))


def compare(ply: Path, spz: Path) -> dict[str, float]:
    """Largest differences between the two files, read independently, a piece at a time."""
    rows = read_ply(ply)
    worst: dict[str, float] = {}
    with gzip.open(spz) as file:
        magic, version, count = np.frombuffer(file.read(12), "<u4")
        degree, bits, _, _ = file.read(4)
        assert (magic, version, degree, count) == (0x5053474E, 3, 0, len(rows)), (magic, version, degree, count)

        def field(name: str, width: int, difference: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
            for start in range(0, count, 1 << 18):
                part = rows[start : start + (1 << 18)]
                assert np.isfinite(part).all()
                stored = np.frombuffer(file.read(width * len(part)), np.uint8).reshape(len(part), width)
                worst[name] = max(worst.get(name, 0.0), float(np.abs(difference(stored.astype(np.int64), part)).max()))

        def position(stored: np.ndarray, part: np.ndarray) -> np.ndarray:
            fixed = stored.reshape(-1, 3, 3) @ np.array([1, 1 << 8, 1 << 16])
            fixed = np.where(fixed >= 1 << 23, fixed - (1 << 24), fixed)
            return fixed / 2.0**bits * (1, -1, -1) - part[:, :3]

        def opacity(stored: np.ndarray, part: np.ndarray) -> np.ndarray:
            return stored[:, 0] / 255 - np.clip(1 / (1 + np.exp(-part[:, 9].astype(np.float64))), 1 / 255, 254 / 255)

        def rotation(stored: np.ndarray, part: np.ndarray) -> np.ndarray:
            """1 − |cos| of half the angle between the two."""
            packed = stored @ np.array([1, 1 << 8, 1 << 16, 1 << 24])
            largest, found = packed >> 30, np.zeros((len(part), 4))
            for axis in (3, 2, 1, 0):
                taken = largest != axis
                value = (packed & 511) / 511 * math.sqrt(0.5) * np.where(packed & 512, -1, 1)
                found[taken, axis] = value[taken]
                packed = np.where(taken, packed >> 10, packed)
            found[np.arange(len(part)), largest] = np.sqrt(1 - (found**2).sum(axis=1))
            xyzw = part[:, [14, 15, 16, 13]].astype(np.float64) * (1, -1, -1, 1)
            return 1 - np.abs((found * xyzw).sum(axis=1)) / np.linalg.norm(xyzw, axis=1)

        field("position", 9, position)
        field("opacity", 1, opacity)
        field("colour", 3, lambda stored, part: (stored / 255 - 0.5) / 0.15 - np.clip(part[:, 6:9], -0.5 / 0.15, 0.5 / 0.15))
        field("log scale", 3, lambda stored, part: stored / 16 - 10 - np.clip(part[:, 10:13], -10, 5.9375))
        field("rotation", 4, rotation)
        assert file.read(1) == b""
    assert worst["position"] <= 2.0**-bits and worst["opacity"] < 0.002 and worst["colour"] < 0.014, worst
    assert worst["log scale"] <= 1 / 32 + 1e-4 and worst["rotation"] < 1e-4, worst
    return worst


def measured(name: str, command: list[str], written: Path | None = None) -> dict[str, Any]:
    """Runs a command; how long it took and its largest resident size."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, f"{name}: exit {process.returncode}"
    return {
        "step": name,
        "seconds": time.perf_counter() - start,
        "processor_seconds": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "file_bytes": 0 if written is None else written.stat().st_size,
    }


def with_gsply(python: str, path: Path) -> list[float]:
    """Number of splats, the mean and the deviation of their positions as gsply reads them."""
    output = subprocess.run([python, "-c", _GSPLY, str(path)], check=True, capture_output=True, text=True).stdout
    return [float(word) for word in output.split()]


def run(folder: Path, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """All steps; fails where an independent reader finds anything else than was written."""
    scene = folder / "scene"
    scene.mkdir()
    step = [sys.executable, __file__, "--count", str(arguments.count), "--step"]
    steps = [
        measured("make", [*step, "make", "--folder", str(scene), *(["--scene", arguments.scene] if arguments.scene else [])])
    ]
    files = {}
    fewer = max(1, arguments.count // 20)
    for count in (arguments.count, fewer):
        for form in ("ply", "spz"):
            path = folder / f"{count}.{form}"
            command = [sys.executable, "-m", "scenewise.cli.main", "export", str(scene), "--format", form, "--out", str(path)]
            command += ["--max-gaussians", str(count)] if count < arguments.count else []
            steps.append(measured(f"{form} of {count:,}", command, path))
            files[count, form] = path
        subprocess.run([*step, "compare", "--folder", str(folder), "--count", str(count)], check=True)
        if arguments.gsply:
            ply, spz = (with_gsply(arguments.gsply, files[count, form]) for form in ("ply", "spz"))
            in_plys_axes = np.array(spz) * (1, 1, -1, -1, 1, 1, 1)  # gsply leaves those of .spz as they are
            assert ply[0] == count and np.allclose(in_plys_axes, ply, rtol=1e-4, atol=1e-4), (ply, spz)
    return steps


def main() -> None:
    """Prints a line per step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000_000)
    parser.add_argument("--scene", help="scene folder to repeat")
    parser.add_argument("--folder", type=Path, help="where the files may lie for a while; a temporary folder by default")
    parser.add_argument("--gsply", metavar="PYTHON", help="interpreter that has the package gsply, to read the files with it too")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--step", choices=["make", "compare"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step == "make":
        make(arguments.folder, arguments.count, None if arguments.scene is None else Path(arguments.scene))
        return
    if arguments.step == "compare":
        compare(arguments.folder / f"{arguments.count}.ply", arguments.folder / f"{arguments.count}.spz")
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        steps = run(Path(folder), arguments)
    peak = max(step["peak_bytes"] for step in steps)
    if arguments.json:
        print(json.dumps({"count": arguments.count, "steps": steps, "goal_bytes": GOAL_BYTES, "holds": peak <= GOAL_BYTES}))
        return
    for step in steps:
        print(
            f"{step['step']:<24}{step['seconds']:8.1f} s{step['processor_seconds']:8.1f} s of processor"
            f"{step['peak_bytes'] / 1e9:8.2f} GB at most{step['file_bytes'] / 1e6:10.1f} MB"
        )
    print(f"largest {peak / 1e9:.2f} GB, goal {GOAL_BYTES / 1e9:.0f} GB: {'holds' if peak <= GOAL_BYTES else 'MISSED'}")


if __name__ == "__main__":
    main()

"""Memory against the number of listed images: opens a fabricated capture, decodes every frame, prints the peak.

    python benchmarks/listed_images_rss.py [--images 50 5000] [--layout colmap|transforms] [--lens-per-image] [--json]

The images are hard links to a few photographs of noise, so the capture takes no room; each is opened, decoded, undistorted and
passed through the decode cache as in training.  Each count runs in a process of its own.  The goal: at most 300 MB more for
5,000 images than for 50.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CACHE_BYTES = 256 * 2**20
GOAL_BYTES = 300 * 2**20
WIDTH, HEIGHT = 640, 480


def fabricate(root: Path, images: int, layout: str, lens_per_image: bool) -> None:
    """Writes a capture of ``images`` photographs on a circle."""
    import math

    import numpy as np
    from PIL import Image

    folder = root / "images"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    originals = []
    for index in range(4):
        noise = generator.integers(0, 256, (HEIGHT // 16, WIDTH // 16, 3), dtype=np.uint8)
        path = root / f"original_{index}.jpg"
        Image.fromarray(noise).resize((WIDTH, HEIGHT)).save(path)
        originals.append(path)
    names = [f"{index:05d}.jpg" for index in range(images)]
    for index, name in enumerate(names):
        os.link(originals[index % len(originals)], folder / name)
    lens = {"fl_x": 500.0, "fl_y": 505.0, "cx": 322.0, "cy": 239.0, "k1": 0.05, "k2": -0.02, "p1": 0.001, "p2": 0.0005}
    if layout == "transforms":
        frames = []
        for index, name in enumerate(names):
            a = 2 * math.pi * index / images
            pose = [[math.cos(a), 0, math.sin(a), 0], [0, 1, 0, 0], [-math.sin(a), 0, math.cos(a), 0], [0, 0, 0, 1]]
            own = {"fl_x": 500.0 + index * 1e-3} if lens_per_image else {}
            frames.append({"file_path": f"images/{name}", "transform_matrix": pose, **own})
        (root / "transforms.json").write_text(json.dumps(lens | {"w": WIDTH, "h": HEIGHT, "frames": frames}))
        return
    model = root / "sparse/0"
    model.mkdir(parents=True)
    cameras, lines = [], []
    for index, name in enumerate(names):
        a = math.pi * index / images
        camera = index + 1 if lens_per_image else 1
        if camera > len(cameras):
            numbers = [lens["fl_x"] + index * 1e-3, *list(lens.values())[1:]]
            cameras.append(f"{camera} OPENCV {WIDTH} {HEIGHT} " + " ".join(map(str, numbers)))
        lines += [f"{index + 1} {math.cos(a)} 0 {math.sin(a)} 0 0 0 0 {camera} {name}", " ".join(["1.5 2.5 -1"] * 500)]
    (model / "cameras.txt").write_text("\n".join(cameras) + "\n")
    (model / "images.txt").write_text("\n".join(lines) + "\n")


def measure(root: Path) -> dict[str, float]:
    """Opens the capture, decodes all of it, and reports this process's memory."""
    import torch

    torch.set_num_threads(1)
    from scenewise.io.captures import open_capture
    from scenewise.io.decode_cache import DecodeCache

    before = peak_bytes()
    start = time.perf_counter()
    capture = open_capture(root)
    opened = time.perf_counter()
    after_opening = peak_bytes()
    cache = DecodeCache(CACHE_BYTES)
    for frame in capture.frames_with_image:
        cache.image(frame)
    return {
        "images": len(capture.frames),
        "peak_bytes": peak_bytes(),
        "peak_after_opening_bytes": after_opening,
        "peak_before_bytes": before,
        "cache_bytes": cache.bytes_used,
        "open_seconds": opened - start,
        "decode_seconds": time.perf_counter() - opened,
    }


def peak_bytes() -> int:
    """Largest resident size of this process so far."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def run(images: int, layout: str, lens_per_image: bool) -> dict[str, float]:
    """One measurement in a process of its own; memory that earlier ones left behind would hide the difference."""
    with tempfile.TemporaryDirectory() as folder:
        fabricate(Path(folder) / "capture", images, layout, lens_per_image)
        command = [sys.executable, __file__, "--measure", str(Path(folder) / "capture")]
        # One arena: how many glibc opens depends on timing and would blur the figure.
        output = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | {"MALLOC_ARENA_MAX": "1"})
        return json.loads(output.stdout)


def main() -> None:
    """Prints a line per count and the growth between the first and the last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[50, 5000])
    parser.add_argument("--layout", choices=["colmap", "transforms"], default="colmap")
    parser.add_argument("--lens-per-image", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure is not None:
        print(json.dumps(measure(arguments.measure)))
        return
    results = [run(images, arguments.layout, arguments.lens_per_image) for images in arguments.images]
    growth = results[-1]["peak_bytes"] - results[0]["peak_bytes"]
    if arguments.json:
        print(json.dumps({"runs": results, "growth_bytes": growth, "goal_bytes": GOAL_BYTES, "holds": growth <= GOAL_BYTES}))
        return
    for result in results:
        peak, cached = result["peak_bytes"] / 2**20, result["cache_bytes"] / 2**20
        opening = (result["peak_after_opening_bytes"] - result["peak_before_bytes"]) / 2**20
        print(
            f"{result['images']:6.0f} images: peak {peak:6.0f} MB of which cache {cached:4.0f} MB, opened in "
            f"{result['open_seconds']:.2f} s (+{opening:.0f} MB), decoded in {result['decode_seconds']:.1f} s"
        )
    print(f"growth {growth / 2**20:.0f} MB, goal {GOAL_BYTES / 2**20:.0f} MB: {'holds' if growth <= GOAL_BYTES else 'MISSED'}")


if __name__ == "__main__":
    main()

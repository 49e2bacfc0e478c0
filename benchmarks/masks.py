"""What masks are worth: a procedural room in whose training photographs something moves.

    python benchmarks/masks.py [--seeds 0 1 2] [--steps 600] [--threads 2] [--json]

A patterned disc covers a third of each training photograph, elsewhere in each; held-out photographs show the room alone and are
measured whole.  Three captures: without the disc, with it, and with it under masks.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from defaults import write_room
from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.commands.reconstruct.run import reconstruct
from scenewise.io.captures import open_capture

FRAMES, SIZE, POINTS = 48, (320, 240), 20_000
SHARE = 1 / 3
"""Of a photograph that the disc covers, where it lies inside."""
CAPTURES = ("clean", "blob", "masked")


def add_disc(folder: Path, *, masks: bool) -> None:
    """Paints the disc into the training photographs, and a mask of each where asked for."""
    radius = np.sqrt(SHARE * SIZE[0] * SIZE[1] / np.pi)
    rows, columns = np.mgrid[: SIZE[1], : SIZE[0]]
    for number, frame in enumerate(open_capture(folder).train_frames):
        assert frame.image_path is not None
        rng = np.random.default_rng(number)
        column, row = (rng.uniform(0.3 * side, 0.7 * side) for side in SIZE)
        inside = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
        picture = np.array(Image.open(frame.image_path))
        cells = rng.integers(0, 256, (SIZE[1] // 20, SIZE[0] // 20, 3)).astype(np.uint8)
        picture[inside] = np.kron(cells, np.ones((20, 20, 1), np.uint8))[inside]
        Image.fromarray(picture).save(frame.image_path, quality=95)
        if masks:
            (folder / "masks").mkdir(exist_ok=True)
            Image.fromarray(np.where(inside, 0, 255).astype(np.uint8)).save(folder / "masks" / f"{frame.image_path.stem}.png")


def main() -> int:
    """Measures and prints a line per run, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found: dict[str, list[float]] = {name: [] for name in CAPTURES}
    with tempfile.TemporaryDirectory() as scratch:
        for name in CAPTURES:
            folder = write_room(Path(scratch) / name, frames=FRAMES, size=SIZE, points=POINTS)
            if name != "clean":
                add_disc(folder, masks=name == "masked")
            for seed in given.seeds:
                options = ReconstructOptions(
                    folder, Path(scratch) / "out", steps=given.steps, seed=seed, threads=given.threads, overwrite=True
                )
                card = reconstruct(options).evaluation
                assert card is not None and card.psnr is not None
                found[name].append(card.psnr)
                print(f"{name:<7} seed {seed}: {card.psnr:6.2f} dB", file=sys.stderr, flush=True)
    for name, values in found.items():
        lost = np.array(found["clean"]) - np.array(values)
        print(
            f"{name:<7} {np.mean(values):6.2f} dB, {lost.mean():5.2f} less than clean ({lost.min():.2f} … {lost.max():.2f})",
            file=sys.stderr,
        )
    if given.json:
        print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

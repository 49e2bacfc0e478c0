"""Photographs with poses in, a scene folder out: Gaussian splats that any viewer opens, and figures on held-out views.

    python examples/01_photographs_to_splats.py --photographs my_photos --out my_scene

Without ``--photographs`` a procedural room is photographed first.
"""

import argparse
from pathlib import Path

from scenewise.commands.demo.capture import write_demo_capture
from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.commands.reconstruct.run import reconstruct
from scenewise.engine.progress import console_progress
from scenewise.io.scene_folder import read_scene


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, help="COLMAP, transforms.json or RGB-D; default a room made on the spot")
    parser.add_argument("--out", type=Path, default=Path("example_scene"))
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--size", type=int, default=160, help="width of the room's photographs in pixels")
    arguments = parser.parse_args()

    photographs = arguments.photographs
    if photographs is None:
        photographs = arguments.out.with_name(arguments.out.name + "_room")
        if not photographs.exists():
            write_demo_capture(photographs, frames=16, width=arguments.size, height=3 * arguments.size // 4)

    # The same record that the command line fills in: everything it can set can be set here.
    made = reconstruct(
        ReconstructOptions(photographs, out=arguments.out, steps=arguments.steps, max_gaussians=8_000, overwrite=True),
        console_progress(),
    )
    print(made.text())

    # Everything in a scene folder is data, and reads back.
    scene = read_scene(arguments.out)
    gaussians = scene.gaussians
    print(f"{len(gaussians):,} Gaussians, the first at {gaussians.means[0].tolist()}, seen by {len(scene.cameras)} cameras")


if __name__ == "__main__":
    main()

"""Default settings of ``scenewise reconstruct`` beside the preset's own length and cap, on captures of several kinds.

    python benchmarks/defaults.py [--only NAME …] [--capture FOLDER …] [--threads 2] [--json]

The procedural capture is a furnished room of 160 photographs of 640×480 with 95,000 points, as structure from motion would leave
them: some millimetres off.  Real captures are taken from SCENEWISE_DATA; without it they are left out, and that is said.
Captures of one's own are measured instead of all these.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.commands.reconstruct.run import reconstruct
from scenewise.geometry.transforms import OPENCV_FROM_OPENGL
from scenewise.io.atomic import atomic_write_bytes, atomic_write_json
from scenewise.io.images import encoded_picture
from scenewise.io.ply.points import write_points_ply
from scenewise.parts.points.from_depth import points_from_depth
from scenewise.parts.splats.recipes import FAST
from scenewise.scenes.point_clouds import PointCloud
from scenewise.worlds.captures import room_capture

ROOM_SEED, ROOM_FRAMES, ROOM_SIZE, ROOM_POINTS = 77, 160, (640, 480), 95_000
POINT_NOISE = 0.004
"""Metres, one standard deviation: half a pixel at two metres and a triangulation angle of 10°."""
CAPTURES = {"room": None, "fox": ("fox", 4), "lego": ("lego_400", None), "kitchen": ("redkitchen_rgbd", None)}


@dataclass(frozen=True)
class Measured:
    """One reconstruction.

    Attributes:
        capture: its name.
        settings: "default", or "preset" for the recipe's own length and cap.
        psnr: of held-out views, dB.
        ssim: likewise.
        gaussians: in the result.
        steps: of optimisation.
        seconds: of the whole command.
        training_seconds: of the optimisation alone.
    """

    capture: str
    settings: str
    psnr: float | None
    ssim: float | None
    gaussians: int
    steps: int
    seconds: float
    training_seconds: float


def write_room(folder: Path, *, frames: int = ROOM_FRAMES, size: tuple[int, int] = ROOM_SIZE, points: int = ROOM_POINTS) -> Path:
    """The procedural capture as transforms.json with points, without depth."""
    capture = room_capture(ROOM_SEED, frames, *size)
    listed = []
    for frame in capture.frames:
        assert frame.load_image is not None
        name = f"images/{Path(frame.name).stem}.jpg"
        atomic_write_bytes(folder / name, encoded_picture(frame.load_image(), "JPEG", quality=95, subsampling=0))
        pose = frame.camera.world_from_camera.numpy() @ OPENCV_FROM_OPENGL
        listed.append({"file_path": name, "transform_matrix": pose.tolist()})
    cloud = points_from_depth(capture.frames, maximum=points)
    noise = np.random.default_rng(0).normal(scale=POINT_NOISE, size=cloud.points_in_world.shape)
    write_points_ply(folder / "points.ply", PointCloud(cloud.points_in_world + noise, cloud.colors_u8))
    K = capture.frames[0].camera.K.tolist()
    lens = {"fl_x": K[0][0], "fl_y": K[1][1], "cx": K[0][2], "cy": K[1][2], "w": size[0], "h": size[1]}
    atomic_write_json(folder / "transforms.json", {**lens, "ply_file_path": "points.ply", "frames": listed})
    return folder


def measured(name: str, settings: str, options: ReconstructOptions) -> Measured:
    """One run of the command."""
    started = time.monotonic()
    summary = reconstruct(options)
    card = summary.evaluation
    return Measured(
        name,
        settings,
        None if card is None else card.psnr,
        None if card is None else card.ssim,
        summary.num_gaussians,
        summary.steps,
        time.monotonic() - started,
        summary.seconds,
    )


def main() -> int:
    """Measures what was asked for and prints a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=list(CAPTURES), default=list(CAPTURES))
    parser.add_argument("--capture", nargs="+", type=Path, default=[], metavar="FOLDER")
    parser.add_argument("--settings", nargs="+", choices=["default", "preset"], default=["preset", "default"])
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a small room alone")
    given = parser.parse_args()
    data = Path(os.environ.get("SCENEWISE_DATA", "data"))
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        own = {folder.name: folder.absolute() for folder in given.capture}
        for name in own or (["room"] if given.quick else given.only):
            place, downscale = (None, None) if name in own else CAPTURES[name] or (None, None)
            if name in own:
                folder = own[name]
            elif place is None:
                small = {"frames": 24, "size": (96, 72), "points": 3_000} if given.quick else {}
                folder = write_room(Path(scratch) / "room", **small)
            else:
                folder = data / place
                if not folder.is_dir():
                    print(f"{name}: left out, {folder} is not there", file=sys.stderr)
                    continue
            options = ReconstructOptions(
                folder, Path(scratch) / "out", threads=given.threads, downscale=downscale, overwrite=True
            )
            for settings in given.settings:
                if settings == "preset":
                    asked = replace(options, steps=FAST.steps, max_gaussians=FAST.strategy.max_gaussians)
                else:
                    asked = options
                results.append(measured(name, settings, asked))
                print(
                    f"{name:<8} {settings:<8} {results[-1].psnr:6.2f} dB  SSIM {results[-1].ssim:.4f}  "
                    f"{results[-1].gaussians:>8,} Gaussians  {results[-1].steps:>6,} steps  {results[-1].seconds:6.1f} s",
                    file=sys.stderr,
                    flush=True,
                )
    if given.json:
        print(json.dumps([asdict(result) for result in results]))
    return 0


if __name__ == "__main__":
    sys.exit(main())

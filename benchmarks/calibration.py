"""What ``check`` and ``poses --refine`` make of captures whose calibration does not fit.

    python benchmarks/calibration.py [room] [redkitchen] [--threads N] [--steps N] [--out FOLDER] [--json]

room         a procedural room of 60 frames whose files have a focal length 10 % too large, a colour camera 3 cm beside the depth
             camera of which they say nothing, and poses off by 1 cm and 0.5°: how much of it is found again
redkitchen   7-Scenes red kitchen in the folder named by SCENEWISE_DATA, left out where it is not there; with --steps, a scene is
             reconstructed at half size from the poses as given and as refined, and the figures on held-out views compared

Needs the extras sfm and io.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from scenewise.commands.check.options import CheckOptions
from scenewise.commands.check.run import check_command
from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.commands.reconstruct.run import reconstruct
from scenewise.engine.progress import console_progress
from scenewise.io.json_values import json_ready
from scenewise.parts.poses.refinement.refine import RefinementRequest, refine_poses
from scenewise.studies.miscalibrated_rooms import Miscalibration, recovered, write_miscalibrated_room

LIMITS = {"focal_share": 0.005, "offset_mm": 5.0, "shift_mm": 3.0, "tilt_deg": 0.1}
"""What the room's calibration has to be found within."""
_ROOM_FRAMES, _ROOM_SIZE, _ROOM_SEED = 60, (640, 480), 7


def room(place: Path, threads: int, steps: int | None) -> dict[str, Any]:
    """The procedural capture: figures against the truth."""
    folder = place / "room"
    known = write_miscalibrated_room(folder, _ROOM_SEED, _ROOM_FRAMES, *_ROOM_SIZE, Miscalibration())
    figures = _refined(folder, threads, steps)
    found = asdict(recovered(place / "room_refined", figures["refined"]["lenses"][0]["focal_px"][0], known))
    return figures | {"recovered": found, "within_limits": all(found[name] <= limit for name, limit in LIMITS.items())}


def redkitchen(place: Path, threads: int, steps: int | None) -> dict[str, Any]:
    """The real capture, linked so that nothing is written beside it."""
    folder = place / "redkitchen"
    folder.symlink_to(Path(os.environ.get("SCENEWISE_DATA", "data"), "redkitchen_rgbd").resolve())
    return _refined(folder, threads, steps)


CAPTURES: dict[str, Callable[[Path, int, int | None], dict[str, Any]]] = {"room": room, "redkitchen": redkitchen}


def _refined(folder: Path, threads: int, steps: int | None) -> dict[str, Any]:
    """Check, refinement, check again, and with ``steps`` a scene of each."""
    progress, out = console_progress(), folder.with_name(f"{folder.name}_refined")
    before = check_command(CheckOptions(folder), progress).calibration
    began, used = time.perf_counter(), _cpu_seconds()
    refined = refine_poses(RefinementRequest(folder, out, threads=threads), progress)
    seconds, cpu_seconds = time.perf_counter() - began, _cpu_seconds() - used
    figures = {
        "check_before": before,
        "check_after": check_command(CheckOptions(out), progress).calibration,
        "refined": refined,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
    }
    for name, capture in (("scene_before", folder), ("scene_after", out)) if steps else ():
        options = ReconstructOptions(
            capture, folder.with_name(f"{folder.name}_{name}"), downscale=2, steps=steps, threads=threads
        )
        figures[name] = reconstruct(options, progress=progress).evaluation
    ready: dict[str, Any] = json_ready(figures)
    return ready


def _cpu_seconds() -> float:
    return sum(resource.getrusage(who).ru_utime for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def _told(name: str, figures: dict[str, Any]) -> str:
    lines = [f"{name}: {figures['seconds']:.0f} s, {figures['cpu_seconds']:.0f} s of processor time"]
    for key in ("check_before", "check_after"):
        found = figures[key]
        lines.append(f"  {key}: {found and (found['error_px'], found['error_with_depth_px'])} px without and with depth")
    if "recovered" in figures:
        lines += [f"  {key}: {value:.4g}" for key, value in figures["recovered"].items()]
    for key in ("scene_before", "scene_after"):
        if key in figures:
            card = figures[key]
            depth = card["more"].get("depth", {}).get("median_abs")
            lines.append(f"  {key}: {card['psnr']:.2f} dB, SSIM {card['ssim']:.3f}, median depth error {depth} m")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("captures", nargs="*", metavar="CAPTURE", help=" or ".join(CAPTURES))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, help="reconstruct with so many steps before and after")
    parser.add_argument("--out", type=Path, help="keep captures and scenes here")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.captures) - set(CAPTURES))
    if unknown:
        parser.error(f"{unknown[0]}: expected {' or '.join(CAPTURES)}")
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary) if arguments.out is None else arguments.out
        place.mkdir(parents=True, exist_ok=True)
        for name in arguments.captures or CAPTURES:
            if name == "redkitchen" and not Path(os.environ.get("SCENEWISE_DATA", "data"), "redkitchen_rgbd").is_dir():
                print("redkitchen: no redkitchen_rgbd in SCENEWISE_DATA, left out", file=sys.stderr)
                continue
            results[name] = CAPTURES[name](place, arguments.threads, arguments.steps)
            print(_told(name, results[name]), file=sys.stderr if arguments.json else sys.stdout)
    if arguments.json:
        print(json.dumps(results, indent=2))
    return 0 if all(figures.get("within_limits", True) for figures in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Poses found from photographs and from a film, against those that came with the captures.

    python benchmarks/poses.py [fox] [brighton_beach] [redkitchen] [film] [--threads N] [--out FOLDER] [--json]

Needs the extras sfm and io, and the captures in the folder named by SCENEWISE_DATA; those that are not there are named and left
out.  The film is made of the red kitchen's frames, every seventh of them blurred.  Poses are compared after the similarity that
brings the positions of all cameras closest together; brighton_beach also with its GPS positions.
"""

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from scenewise.engine.progress import console_progress
from scenewise.geometry.transforms import fit_similarity
from scenewise.io.captures import open_capture
from scenewise.io.georeference import read_gps_csv
from scenewise.parts.poses.capture import PosesRequest, find_poses
from scenewise.parts.poses.records import PosesFound
from scenewise.scenes.captures import Capture


def make_fox(data: Path, place: Path) -> Path:
    """The photographs of the fox alone."""
    return _linked(sorted((data / "fox" / "images").glob("*.jpg")), place)


def make_brighton(data: Path, place: Path) -> Path:
    folder = _linked(sorted((data / "brighton_beach" / "images").glob("*.jpg")), place)
    shutil.copy(data / "brighton_beach" / "gps.csv", folder / "gps.csv")
    return folder


def make_kitchen(data: Path, place: Path) -> Path:
    """The colour frames of the red kitchen alone."""
    return _linked(sorted((data / "redkitchen_rgbd").glob("*.color.jpg")), place)


def make_film(data: Path, place: Path) -> Path:
    """A film of the red kitchen's frames, at ten a second, every seventh of them blurred."""
    import cv2

    place.mkdir(parents=True, exist_ok=True)
    path = place / "kitchen.mp4"
    writer = None
    for index, photograph in enumerate(sorted((data / "redkitchen_rgbd").glob("*.color.jpg"))):
        image = cv2.imread(str(photograph))
        assert image is not None, f"{photograph} cannot be read"
        if index % 7 == 3:
            image = cv2.GaussianBlur(image, (0, 0), 5.0)
        if writer is None:
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (image.shape[1], image.shape[0]))
        writer.write(image)
    assert writer is not None, "no frames"
    writer.release()
    return path


def _linked(pictures: list[Path], place: Path) -> Path:
    place.mkdir(parents=True, exist_ok=True)
    for picture in pictures:
        (place / picture.name).unlink(missing_ok=True)
        (place / picture.name).symlink_to(picture.resolve())
    return place


def same_name(name: str) -> str:
    return name


def kitchen_frame(name: str) -> str:
    """Of a film's frame, the photograph it shows."""
    return f"frame-{5 * int(name[len('frame-') : -len('.jpg')]):06d}.color.jpg"


CASES: dict[str, tuple[str, Callable[[Path, Path], Path], Callable[[str], str]]] = {
    "fox": ("fox", make_fox, same_name),
    "brighton_beach": ("brighton_beach", make_brighton, same_name),
    "redkitchen": ("redkitchen_rgbd", make_kitchen, same_name),
    "film": ("redkitchen_rgbd", make_film, kitchen_frame),
}


def pose_errors(found: Capture, given: Capture, given_name: Callable[[str], str]) -> dict[str, float]:
    """Median angle and distance after the similarity of all positions; distances as a share of the given positions' extent."""
    known = {Path(frame.name).name: frame.camera for frame in given.frames}
    pairs = [
        (frame.camera, known[given_name(Path(frame.name).name)])
        for frame in found.frames
        if given_name(Path(frame.name).name) in known
    ]
    mine, theirs = (torch.stack([pair[side].camera_from_world for pair in pairs]).numpy() for side in (0, 1))
    scale, rotation, offset = fit_similarity(_centres(mine), _centres(theirs))
    distance = np.linalg.norm(offset + scale * _centres(mine) @ rotation.T - _centres(theirs), axis=1)
    extent = float(np.linalg.norm(np.ptp(_centres(theirs), axis=0)))
    turned = mine[:, :3, :3] @ rotation.T @ theirs[:, :3, :3].transpose(0, 2, 1)
    angle = np.degrees(np.arccos(np.clip((np.trace(turned, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    # Of neighbours, without any alignment: what the similarity of the whole cannot take up.
    steps = _turns_between(mine) @ _turns_between(theirs).transpose(0, 2, 1)
    relative = np.degrees(np.arccos(np.clip((np.trace(steps, axis1=1, axis2=2) - 1) / 2, -1, 1)))
    return {
        "compared": len(pairs),
        "median_angle_deg": float(np.median(angle)),
        "median_share_of_extent": float(np.median(distance)) / extent,
        "median_angle_between_neighbours_deg": float(np.median(relative)),
    }


def _centres(camera_from_world: np.ndarray) -> np.ndarray:
    return -np.einsum("nji,nj->ni", camera_from_world[:, :3, :3], camera_from_world[:, :3, 3])


def _turns_between(camera_from_world: np.ndarray) -> np.ndarray:
    """Rotation from each camera to the next."""
    rotations = camera_from_world[:, :3, :3]
    return rotations[1:] @ rotations[:-1].transpose(0, 2, 1)


def gps_rms_m(found: Capture, table: Path) -> float:
    """Root mean square of the distances to the GPS positions after the fit, metres."""
    from pyproj import Transformer

    assert found.georeference is not None, "GPS positions were not used"
    gps = read_gps_csv(table)
    to_projected = Transformer.from_crs(4326, found.georeference.epsg, always_xy=True)
    squares = []
    for frame in found.frames:
        latitude, longitude, altitude = gps[frame.name]
        east, north = to_projected.transform(longitude, latitude)
        center = found.georeference.projected_from_world(frame.camera.centers_in_world.numpy()[None])[0]
        squares.append(float(((center - (east, north, altitude)) ** 2).sum()))
    return float(np.mean(squares) ** 0.5)


def measured(name: str, data: Path, place: Path, threads: int | None) -> dict[str, object]:
    """Everything about one case."""
    folder, make, given_name = CASES[name]
    source = make(data, place / "photographs")
    before = [resource.getrusage(who).ru_utime for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    started = time.monotonic()
    found: PosesFound = find_poses(
        PosesRequest(source, place / "capture", threads=threads, overwrite=True), progress=console_progress()
    )
    seconds = time.monotonic() - started
    after = [resource.getrusage(who).ru_utime for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    result: dict[str, object] = {
        "pictures": found.pictures,
        "registered": found.registered,
        "models": list(found.models),
        "points": found.points,
        "reprojection": asdict(found.reprojection),
        "held_out": asdict(found.held_out),
        "lenses": [asdict(lens) for lens in found.lenses],
        "seconds": seconds,
        "user_seconds": sum(after) - sum(before),
    }
    capture = open_capture(place / "capture")
    result |= pose_errors(capture, open_capture(data / folder), given_name)
    if name == "brighton_beach":
        result["gps_rms_m"] = gps_rms_m(capture, data / folder / "gps.csv")
    return result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--out", type=Path, help="keep the captures here")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.cases if name not in CASES]
    if unknown:
        parser.error(f"unknown case {unknown[0]}; there are {', '.join(CASES)}")
    data = Path(os.environ.get("SCENEWISE_DATA", "data"))
    results = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in arguments.cases or CASES:
            if not (data / CASES[name][0]).is_dir():
                print(f"{name}: left out, no {CASES[name][0]} in {data} (SCENEWISE_DATA)", file=sys.stderr)
                continue
            results[name] = measured(name, data, (arguments.out or Path(temporary)) / name, arguments.threads)
            if not arguments.json:
                print(name, json.dumps(results[name], indent=2))
    if arguments.json:
        print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())

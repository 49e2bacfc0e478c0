"""A category of CO3D written by code: the asymmetric world of the other layouts, in PyTorch3D's conventions."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tests.support.fabricated_folders import HEIGHT, WIDTH, K, World, photograph

from scenewise.io.ply.points import write_points_ply
from scenewise.scenes.point_clouds import PointCloud

CATEGORY, SEQUENCE = "chair", "110_13051_23361"
SCALE_ADJUSTMENT = 0.25


def viewpoint_of(pose: np.ndarray, form: str | None = "ndc_isotropic") -> dict[str, Any]:
    """PyTorch3D's camera of a pose (world_from_camera, OpenCV axes) with the K of the fabricated world.

    Written down axis by axis: the columns of R are the camera's left, up and forward in the world.
    """
    right, down, forward, centre = pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3]
    R = np.stack([-right, -down, forward], axis=1)
    half = WIDTH / 2, HEIGHT / 2
    unit = (min(half), min(half)) if form == "ndc_isotropic" else half
    viewpoint = {
        "R": R.tolist(),
        "T": (-centre @ R).tolist(),
        "focal_length": [K[0, 0] / unit[0], K[1, 1] / unit[1]],
        "principal_point": [(half[0] - K[0, 2]) / unit[0], (half[1] - K[1, 2]) / unit[1]],
    }
    return viewpoint if form is None else viewpoint | {"intrinsics_format": form}


def frame_records(world: World, sequence: str = SEQUENCE, form: str | None = "ndc_isotropic") -> list[dict[str, Any]]:
    """What the list of frames says about a sequence."""
    base = f"{CATEGORY}/{sequence}"
    records = []
    for index, pose in enumerate(world.world_from_camera):
        stem = f"frame{index + 1:06d}"
        records.append(
            {
                "sequence_name": sequence,
                "frame_number": index,
                "frame_timestamp": index / 30,
                "image": {"path": f"{base}/images/{stem}.jpg", "size": [HEIGHT, WIDTH]},
                "depth": {
                    "path": f"{base}/depths/{stem}.jpg.geometric.png",
                    "scale_adjustment": SCALE_ADJUSTMENT,
                    "mask_path": f"{base}/depth_masks/{stem}.png",
                },
                "mask": {"path": f"{base}/masks/{stem}.png", "mass": float("nan")},
                "viewpoint": viewpoint_of(pose, form),
                "meta": None,
            }
        )
    return records


def sequence_record(world: World, sequence: str = SEQUENCE, **changes: object) -> dict[str, Any]:
    """What the list of sequences says about one."""
    path = f"{CATEGORY}/{sequence}/pointcloud.ply"
    cloud = {"path": path, "quality_score": 0.9, "n_points": len(world.points)}
    record = {"sequence_name": sequence, "category": CATEGORY, "video": None, "point_cloud": cloud}
    return record | {"viewpoint_quality_score": 0.7} | changes


def write_list(path: Path, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(json.dumps(records).encode()))


def write_sequence_files(folder: Path, world: World) -> None:
    """Pictures (lossless, whatever their ending), masks, depth maps and their masks, points."""
    for name in ("images", "masks", "depths", "depth_masks"):
        (folder / name).mkdir(parents=True)
    for index, pose in enumerate(world.world_from_camera):
        stem = f"frame{index + 1:06d}"
        image, depth = photograph(world, pose)
        Image.fromarray(image).save(folder / f"images/{stem}.jpg", "PNG")
        # Probabilities: the points 60 to 100 %, of the rest the left half 40 %, the right half none.
        probability = np.where(np.arange(WIDTH) < WIDTH // 2, 102, 0) * np.ones((HEIGHT, 1))
        probability[depth > 0] = 153
        Image.fromarray(probability.astype(np.uint8)).save(folder / f"masks/{stem}.png")
        bits = (depth / SCALE_ADJUSTMENT).astype(np.float16).view(np.uint16)
        Image.fromarray(bits).save(folder / f"depths/{stem}.jpg.geometric.png")
        trusted = np.ones((HEIGHT, WIDTH), dtype=bool)
        trusted[: HEIGHT // 4] = False
        Image.fromarray(trusted).save(folder / f"depth_masks/{stem}.png")
    write_points_ply(folder / "pointcloud.ply", PointCloud(world.points, world.colors_u8))


def write_category(
    root: Path, world: World, *, sequences: tuple[str, ...] = (SEQUENCE,), form: str | None = "ndc_isotropic"
) -> Path:
    """A category with these sequences, all of the same world; returns the folder of the first."""
    category = root / CATEGORY
    write_list(category / "frame_annotations.jgz", [one for name in sequences for one in frame_records(world, name, form)])
    write_list(category / "sequence_annotations.jgz", [sequence_record(world, name) for name in sequences])
    for name in sequences:
        write_sequence_files(category / name, world)
    return category / sequences[0]

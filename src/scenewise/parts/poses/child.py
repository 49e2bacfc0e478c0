"""The process that matches and maps, so that whoever waits for it can end it, and outlives it whatever befalls it.

``python -m scenewise.parts.poses.child FOLDER`` reads ``task.json`` and ``pairs.safetensors`` there, goes on with the
``database.db`` of an earlier run, tells its steps in ``steps.jsonl`` and writes ``model/`` and, last, ``found.json``.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from scenewise.engine.jobs import run_in_child
from scenewise.engine.journal import Journal
from scenewise.io.atomic import atomic_folder, atomic_write_bytes, atomic_write_json
from scenewise.io.json_fields import read_json_object
from scenewise.parts.poses.feature_files import PictureFeatures, read_features
from scenewise.parts.poses.held_out import checked_model
from scenewise.parts.poses.mapping import MappedCamera, MappedPicture, color_points, map_pictures, match_pairs, write_pictures
from scenewise.parts.poses.settings import PoseSettings

TASK_FILE, PAIRS_FILE, STEPS_FILE, FOUND_FILE, MODEL_FOLDER = (
    "task.json", "pairs.safetensors", "steps.jsonl", "found.json", "model",
)  # fmt: skip
MAPPING_UNITS = 12
"""Steps that a picture counts in mapping, where a pair counts one in matching."""


@dataclass(frozen=True)
class Task:
    """What the process is to do.

    Attributes:
        cameras: that took the pictures.
        names: of the pictures.
        camera_of: index of the camera of each picture.
        features: file with the features of each picture, None where it cannot be used.
        settings: limits.
        pixel_scale: pixels of the full picture per pixel at the working size.
        threads: workers.
    """

    cameras: tuple[MappedCamera, ...]
    names: tuple[str, ...]
    camera_of: tuple[int, ...]
    features: tuple[str | None, ...]
    settings: PoseSettings
    pixel_scale: float
    threads: int


def steps_in(pairs: int, pictures: int) -> int:
    """Steps that the process tells in all."""
    return pairs + MAPPING_UNITS * pictures


def write_task(folder: Path, task: Task, pairs: Int64[np.ndarray, "p 2"]) -> None:
    """Everything the process needs but the features."""
    from safetensors.numpy import save

    atomic_write_bytes(folder / PAIRS_FILE, save({"pairs": np.ascontiguousarray(pairs)}))
    features = [path or "" for path in task.features]
    atomic_write_json(folder / TASK_FILE, asdict(task) | {"features": features})


def read_task(folder: Path) -> Task:
    """The inverse of :func:`write_task`.

    Raises:
        DataFormatError: a damaged file.
    """
    top = read_json_object(folder / TASK_FILE)
    cameras = tuple(
        MappedCamera(entry.integer("width"), entry.integer("height"), entry.number("focal_px", None))
        for entry in top.objects("cameras")
    )
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in top.mapping("settings").items()
    }
    return Task(
        cameras,
        top.texts("names"),
        tuple(top.integers("camera_of")),
        tuple(path or None for path in top.texts("features")),
        replace(PoseSettings(), **given),
        top.number("pixel_scale"),
        top.integer("threads"),
    )


def work(folder: Path) -> None:
    """Matches, maps, checks and writes.

    Raises:
        ConventionError: no picture can be registered.
        DataFormatError: a damaged file.
        MissingDependencyError: pycolmap is not installed.
    """
    from safetensors.numpy import load_file

    task = read_task(folder)
    pairs = load_file(folder / PAIRS_FILE)["pairs"]
    pictures = _pictures(task)
    database = folder / "database.db"
    began, stages = time.monotonic(), dict[str, float]()
    with Journal(folder / STEPS_FILE) as journal:
        write_pictures(database, task.cameras, pictures)
        for done in match_pairs(
            database, task.cameras, pictures, pairs, task.settings, pixel_scale=task.pixel_scale, threads=task.threads
        ):
            journal.write("step", step=done, doing="matching")

        stages["matching"] = time.monotonic() - began

        def told(registered: int) -> None:
            journal.write("step", step=len(pairs) + MAPPING_UNITS * registered, doing="mapping", registered=registered)

        models = map_pictures(database, len(pictures), task.settings, pixel_scale=task.pixel_scale, told=told)
        stages["mapping"] = time.monotonic() - began - stages["matching"]
        checked = checked_model(models[0], task.settings, pixel_scale=task.pixel_scale)
        color_points(checked.model, pictures)
        with atomic_folder(folder / MODEL_FOLDER) as beside:
            checked.model.write_binary(beside)
        registered = sorted(checked.model.images[key].name for key in checked.model.reg_image_ids())
        stages["checking"] = time.monotonic() - began - sum(stages.values())
        found = {
            "stages": stages,
            "registered": registered,
            "models": [model.num_reg_images() for model in models],
            "points": checked.model.num_points3D(),
            "reprojection": asdict(checked.reprojection),
            "held_out": asdict(checked.held_out),
            "lenses": _lenses(checked.model, task.cameras),
        }
        atomic_write_json(folder / FOUND_FILE, found)


def _pictures(task: Task) -> list[MappedPicture]:
    def features(path: str | None) -> PictureFeatures | None:
        return None if path is None else read_features(Path(path))

    return [MappedPicture(name, camera, features(path)) for name, camera, path in zip(task.names, task.camera_of, task.features)]


def _lenses(known: Any, cameras: Sequence[MappedCamera]) -> list[dict[str, object]]:
    users = [known.images[key].camera_id for key in known.reg_image_ids()]
    return [
        {
            "model": known.cameras[index].model_name,
            "width": camera.width,
            "height": camera.height,
            "focal_px": float(known.cameras[index].mean_focal_length()),
            "exif_focal_px": camera.focal_px,
            "pictures": users.count(index),
        }
        for index, camera in enumerate(cameras, start=1)
        if index in users
    ]


if __name__ == "__main__":
    sys.exit(run_in_child(work))

"""The process that adjusts a bundle, so that whoever waits for it outlives it whatever befalls it.

``python -m scenewise.parts.poses.refinement.child FOLDER`` reads ``bundle.json`` and ``bundle.safetensors`` there, tells its
rounds in ``rounds.jsonl`` and writes ``adjusted.safetensors`` and, last, ``adjusted.json``.
"""

import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from scenewise.engine.jobs import run_in_child
from scenewise.engine.journal import Journal
from scenewise.geometry.lens_cameras import LensCamera
from scenewise.geometry.lens_models import LENS_MODELS
from scenewise.io.atomic import atomic_write_bytes, atomic_write_json
from scenewise.io.json_fields import JsonFields, read_json_object
from scenewise.parts.points.multi_view import Observations
from scenewise.parts.poses.refinement.bundle import AdjustedBundle, Bundle, BundleSettings, adjust

ROUNDS_FILE, ADJUSTED_FILE = "rounds.jsonl", "adjusted.json"
UNITS = 100
"""Steps that the process tells in all."""


def write_bundle(folder: Path, name: str, bundle: Bundle, more: dict[str, object]) -> None:
    """A bundle as two files; the JSON file comes last."""
    from safetensors.numpy import save

    seen = bundle.observations
    arrays = {
        "lens_of": bundle.lens_of,
        "camera_from_local": bundle.camera_from_local,
        "point": seen.point,
        "view": seen.view,
        "pixels": seen.pixels,
    }
    arrays |= {key: value for key, value in more.items() if isinstance(value, np.ndarray)}
    atomic_write_bytes(folder / f"{name}.safetensors", save({key: np.ascontiguousarray(value) for key, value in arrays.items()}))
    plain = {key: value for key, value in more.items() if not isinstance(value, np.ndarray)}
    atomic_write_json(folder / f"{name}.json", {"lenses": [asdict(lens) for lens in bundle.lenses], **plain})


def _read(folder: Path, name: str) -> tuple[Bundle, JsonFields, dict[str, np.ndarray]]:
    from safetensors.numpy import load_file

    top = read_json_object(folder / f"{name}.json")
    arrays = load_file(folder / f"{name}.safetensors")
    lenses = tuple(_lens(entry) for entry in top.objects("lenses"))
    seen = Observations(arrays["point"], arrays["view"], arrays["pixels"])
    return Bundle(lenses, arrays["lens_of"], arrays["camera_from_local"], seen), top, arrays


def _lens(entry: JsonFields) -> LensCamera:
    name = entry.choice("model", tuple(LENS_MODELS))
    params = entry.array("params", (LENS_MODELS[name].focal_lengths + 2 + LENS_MODELS[name].extra,))
    return LensCamera(name, tuple(float(value) for value in params), entry.integer("width"), entry.integer("height"))


def read_adjusted(folder: Path) -> AdjustedBundle:
    """What the process found.

    Raises:
        DataFormatError: a damaged file.
    """
    bundle, _, arrays = _read(folder, "adjusted")
    return AdjustedBundle(bundle, arrays["points_in_local"], arrays["kept"] > 0, arrays["adjusted"] > 0)


def work(folder: Path) -> None:
    """Adjusts and writes.

    Raises:
        DataFormatError: a damaged file.
        MissingDependencyError: pycolmap is not installed.
    """
    bundle, top, _ = _read(folder, "bundle")
    settings = replace(BundleSettings(), **top.mapping("settings"))
    with Journal(folder / ROUNDS_FILE) as journal:

        def told(share: float) -> None:
            journal.write("step", step=round(UNITS * share), doing="adjusting")

        found = adjust(bundle, settings, pixel_scale=top.number("pixel_scale"), told=told)
    more = {
        "points_in_local": found.points_in_local,
        "kept": found.kept.astype(np.uint8),
        "adjusted": found.adjusted.astype(np.uint8),
    }
    write_bundle(folder, "adjusted", found.bundle, dict(more))


if __name__ == "__main__":
    sys.exit(run_in_child(work))

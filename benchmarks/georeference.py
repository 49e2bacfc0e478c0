"""How far a georeferenced scene lies from the photographs' GPS, and what a round trip through each export costs.

    python benchmarks/georeference.py SCENE CAPTURE [--cloud REFERENCE.laz]

Needs the extra io.  ``--cloud`` names an independent georeferenced cloud of the same place to compare the exported points with.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from scenewise.commands.export.options import ExportOptions
from scenewise.commands.export.run import export_scene
from scenewise.io.georeference import read_gps_csv
from scenewise.io.las import read_las
from scenewise.io.ply.gaussians import read_gaussians_ply
from scenewise.io.scene_folder import read_scene
from scenewise.io.spz import read_spz


def gps_residuals(scene_folder: Path, capture: Path) -> np.ndarray:
    """Distance of every camera from its GPS position, metres, in the projected system."""
    from pyproj import Transformer

    scene = read_scene(scene_folder)
    assert scene.georeference is not None, "the scene has no georeference"
    gps = {Path(name).stem: position for name, position in read_gps_csv(capture / "gps.csv").items()}
    to_projected = Transformer.from_crs(4326, scene.georeference.epsg, always_xy=True)
    residuals = []
    for entry in scene.cameras:
        latitude, longitude, altitude = gps[Path(entry.name).stem]
        east, north = to_projected.transform(longitude, latitude)
        center = entry.camera.centers_in_world.numpy()[None]
        residuals.append(np.linalg.norm(scene.georeference.projected_from_world(center)[0] - (east, north, altitude)))
    return np.array(residuals)


def round_trips_mm(scene_folder: Path) -> tuple[dict[str, float], np.ndarray]:
    """Largest error of a centre after writing and reading each format, millimetres on the ground; and the projected points."""
    scene = read_scene(scene_folder)
    assert scene.georeference is not None
    metres_per_unit = scene.georeference.scale
    means = scene.gaussians.means.double().numpy()
    projected = scene.georeference.projected_from_world(means)
    errors: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for name in ("splats.ply", "splats.spz", "points.las", "points.laz"):
            out = Path(temporary) / name
            form = "points" if name.startswith("points") else out.suffix[1:]
            export_scene(
                ExportOptions(scene_folder, format=form, out=out, min_opacity=0.0, georeferenced=form == "points")  # type: ignore[arg-type]
            )
            if form == "points":
                cloud, epsg = read_las(out)
                assert epsg == scene.georeference.epsg, f"{name} says EPSG:{epsg}"
                errors[name] = 1e3 * float(np.abs(cloud.points_in_world - projected).max())
            else:
                back = (read_gaussians_ply if form == "ply" else read_spz)(out).means.double().numpy()
                errors[name] = 1e3 * metres_per_unit * float(np.abs(back - means).max())
    return errors, projected


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path)
    parser.add_argument("capture", type=Path)
    parser.add_argument("--cloud", type=Path)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    residuals = gps_residuals(arguments.scene, arguments.capture)
    errors, projected = round_trips_mm(arguments.scene)
    result: dict[str, object] = {
        "gps_residual_m": {
            "mean": float(residuals.mean()),
            "rms": float((residuals**2).mean() ** 0.5),
            "max": float(residuals.max()),
        },
        "round_trip_mm": errors,
    }
    if arguments.cloud is not None:
        reference, _ = read_las(arguments.cloud)
        distance, index = cKDTree(reference.points_in_world[:, :2]).query(projected[:, :2])
        vertical = projected[:, 2] - reference.points_in_world[index, 2]
        inside = distance < 1.0
        result["reference_cloud"] = {
            "share_above_it": float(inside.mean()),
            "median_height_difference_m": float(np.median(vertical[inside])),
        }
    if arguments.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(name, value)


if __name__ == "__main__":
    main()

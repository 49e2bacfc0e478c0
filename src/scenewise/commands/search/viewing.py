"""The viewer on a hit: its scene folder, or its points as a scene folder for as long as one looks."""

import tempfile
from pathlib import Path

import numpy as np
import torch

from scenewise.commands.search.telling import FoundCamera
from scenewise.commands.view.options import ViewOptions
from scenewise.commands.view.run import view_scene
from scenewise.engine.progress import Progress
from scenewise.io.camera_files import write_camera_file
from scenewise.io.ply.points import write_points_ply
from scenewise.io.scene_folder import POINTS_FILE, no_gaussians, write_scene
from scenewise.io.scene_library.records import StoredScene
from scenewise.io.scene_outputs import prepare_output
from scenewise.parts.retrieval.frames import in_source_frame
from scenewise.parts.retrieval.sources import SCENE_KIND, source_again
from scenewise.parts.sources.raw_scans import RawScan
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.scenes import Provenance, Scene, SceneCamera


def cameras_of(found: FoundCamera) -> Cameras:
    """A found camera as a record, in the frame of the scene's capture."""
    pose, K = (torch.tensor(values, dtype=torch.float64) for values in (found.camera_from_source, found.K))
    return Cameras(pose, K, found.width, found.height)


def view_hit(scene: StoredScene, camera: FoundCamera | None, progress: Progress) -> None:
    """Opens the viewer on what a scene was made from, until Ctrl-C.

    Raises:
        DataFormatError: it is gone, or cannot be read any more.
        ResourceError, MissingDependencyError: the viewer cannot be opened.
    """
    source = source_again(scene)
    with tempfile.TemporaryDirectory(prefix="scenewise-") as place:
        file = None
        if camera is not None:
            file = Path(place) / "camera.json"
            write_camera_file(file, cameras_of(camera))
        folder = source.place
        if source.kind != SCENE_KIND:
            progress.message(f"{source.place} is no scene folder: its points are shown")
            folder = write_viewable(Path(place) / "scene", in_source_frame(source.open()))
        view_scene(ViewOptions(scene=folder, camera=file), progress)


def write_viewable(folder: Path, raw: RawScan) -> Path:
    """A scan as a scene folder with its points and cameras, and no splats."""
    capture = raw.capture
    scene = Scene(
        load_gaussians=no_gaussians,
        num_gaussians=0,
        sh_degree=0,
        cameras=() if capture is None else tuple(SceneCamera(each.name, each.camera, "train") for each in capture.frames),
        provenance=Provenance(
            capture="" if capture is None else str(capture.root.resolve()),
            source_format="points" if capture is None else capture.source_format,
            preset=None,
            data_hash="",
            method="search",
        ),
        scale="metric" if capture is None else capture.scale,
        up_in_world=None if capture is None else capture.up_in_world,
        world_from_source=np.eye(4),
    )
    prepare_output(folder)
    write_scene(folder, scene, compact=False)
    write_points_ply(folder / POINTS_FILE, raw.cloud)
    return folder

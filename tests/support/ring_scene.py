"""A scene folder small enough to know by heart."""

from pathlib import Path

import numpy as np
import pytest
import torch

from scenewise.geometry.orbits import look_at
from scenewise.io.scene_folder import write_scene
from scenewise.io.scene_outputs import prepare_output
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.scenes import Provenance, Scene, SceneCamera

UP = np.array([0.0, 0.0, 1.0])


@pytest.fixture
def ring_scene() -> Scene:
    """A red ball at the origin and a green one at (0, 0, 1), seen by four cameras 4 units away on a ring; two are held out."""
    colors = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.8, 0.1]])
    gaussians = Gaussians(
        means=torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
        log_scales=torch.full((2, 3), -1.5),
        quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(2, 1),
        logit_opacities=torch.full((2,), 4.0),
        sh0=((colors - 0.5) / 0.28209479177387814)[:, None, :],
        shN=torch.zeros(2, 0, 3),
    )
    K = torch.tensor([[40.0, 0.0, 24.0], [0.0, 40.0, 16.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    cameras = []
    for number, angle in enumerate(np.radians([0.0, 90.0, 180.0, 270.0])):
        pose = look_at(np.array([4.0 * np.cos(angle), 4.0 * np.sin(angle), 0.0]), np.zeros(3), UP)
        camera = Cameras(torch.linalg.inv(torch.from_numpy(pose)), K, width=48, height=32)
        cameras.append(SceneCamera(f"images/{number}.jpg", camera, "test" if number % 2 else "train"))
    return Scene(
        load_gaussians=lambda: gaussians,
        num_gaussians=2,
        sh_degree=0,
        cameras=tuple(cameras),
        provenance=Provenance(
            capture="ring", source_format="world", preset=None, data_hash="0" * 64, method="gaussian_splatting"
        ),
        up_in_world=UP,
    )


@pytest.fixture
def scene_folder(tmp_path: Path, ring_scene: Scene) -> Path:
    folder = prepare_output(tmp_path / "scene")
    write_scene(folder, ring_scene)
    return folder

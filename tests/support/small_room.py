"""A labelled scene of a few hundred splats: a grey floor, a blue box on the left, an orange one on the right, four cameras."""

from pathlib import Path

import numpy as np
import torch

from scenewise.geometry.orbits import look_at
from scenewise.io.ply.points import write_points_ply
from scenewise.io.scene_folder import write_scene, write_scene_labels
from scenewise.io.scene_outputs import prepare_output
from scenewise.io.vocabularies import write_vocabulary
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.heats import Heat
from scenewise.scenes.labels import ElementLabels
from scenewise.scenes.point_clouds import PointCloud
from scenewise.scenes.scenes import Provenance, Scene, SceneCamera
from scenewise.scenes.vocabularies import Vocabulary

UP = np.array([0.0, 0.0, 1.0])
FLOOR, SOFA, LAMP = 0, 1, 2
WORDS = Vocabulary(
    names=("floor", "sofa", "lamp", "unused"),
    phrases=(("floor",), ("sofa", "couch"), ("lamp",), ("unused",)),
    templates=("a {}",),
    colors_u8=((200, 180, 20), (20, 200, 60), (200, 30, 160), (1, 2, 3)),
)
_COLORS = np.array([[0.5, 0.5, 0.5], [0.1, 0.2, 0.9], [0.95, 0.5, 0.1]], dtype=np.float32)


def _grid(low: list[float], high: list[float], counts: list[int]) -> np.ndarray:
    axes = [np.linspace(*ends) for ends in zip(low, high, counts)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.float32)


def room_parts() -> tuple[np.ndarray, np.ndarray]:
    """Positions and classes.  The camera of the first view looks along +Y: the sofa (x < 0) is on its left."""
    parts = [
        _grid([-2.0, -1.0, 0.0], [2.0, 1.0, 0.0], [20, 10, 1]),
        _grid([-1.4, -0.3, 0.3], [-0.6, 0.3, 0.9], [4, 4, 4]),
        _grid([0.6, -0.3, 0.3], [1.4, 0.3, 0.9], [4, 4, 4]),
    ]
    return np.concatenate(parts), np.repeat(np.arange(3, dtype=np.int32), [len(part) for part in parts])


def room_scene() -> Scene:
    positions, classes = room_parts()
    count = len(positions)
    gaussians = Gaussians(
        means=torch.from_numpy(positions),
        log_scales=torch.tensor([0.13, 0.12, 0.11]).log().repeat(count, 1),
        quats=torch.tensor([0.9, 0.1, 0.3, 0.2]).repeat(count, 1),
        logit_opacities=torch.full((count,), 3.0),
        sh0=torch.from_numpy((_COLORS[classes] - 0.5) / 0.28209479177387814)[:, None, :],
        shN=torch.zeros(count, 0, 3),
    )
    K = torch.tensor([[80.0, 0.0, 48.0], [0.0, 80.0, 32.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    centers = ([0.0, -4.0, 1.5], [0.5, -3.0, 1.0], [0.1, -2.0, 0.9], [0.0, -1.2, 0.6])
    cameras = []
    for number, center in enumerate(centers):
        pose = torch.from_numpy(look_at(np.array(center), np.array([0.0, 0.0, 0.4]), UP))
        split = "test" if number == 1 else "train"
        cameras.append(SceneCamera(f"{number}.jpg", Cameras(torch.linalg.inv(pose), K, width=96, height=64), split))
    return Scene(
        load_gaussians=lambda: gaussians,
        num_gaussians=count,
        sh_degree=0,
        cameras=tuple(cameras),
        provenance=Provenance(capture="", source_format="world", preset=None, data_hash="0" * 64, method="gaussian_splatting"),
        up_in_world=UP,
        licences={"photos <b>": "CC0-1.0"},
    )


class TruthfulSearcher:
    """Knows where the classes are."""

    def heat(self, text: str) -> Heat:
        classes = room_parts()[1]
        found = WORDS.names.index(text) if text in WORDS.names else -2
        hot = np.where(classes == found, 0.95, 0.3).astype(np.float32)
        return Heat(text, hot, hot[200:].copy())


def write_room(folder: Path) -> Path:
    """The scene folder: splats with labels, and the boxes' points without."""
    prepare_output(folder)
    write_scene(folder, room_scene(), compact=False)
    positions, classes = room_parts()
    confidence = np.where(classes == LAMP, 0.4, 0.9).astype(np.float32)
    known = classes.copy()
    known[:20] = -1  # a strip of floor nobody named
    write_scene_labels(folder, "splats", ElementLabels(known, np.full_like(known, -1), confidence))
    write_vocabulary(folder / "classes.json", WORDS, teacher="truth & co")
    boxes = PointCloud(positions[200:].astype(np.float64), (_COLORS[classes[200:]] * 255).astype(np.uint8))
    write_points_ply(folder / "points.ply", boxes)
    return folder

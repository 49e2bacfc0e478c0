"""A teacher that knows the truth of a room written as an RGB-D folder, and a scene of splats made without training."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import cKDTree

from scenewise.errors import ConventionError
from scenewise.geometry.spherical_harmonics import sh0_from_rgb
from scenewise.io.captures import open_capture
from scenewise.io.ply.points import write_points_ply
from scenewise.io.rgbd.ids import read_class_ids
from scenewise.io.scene_folder import POINTS_FILE, write_scene
from scenewise.io.scene_outputs import prepare_output
from scenewise.parts.points.from_depth import points_from_depth
from scenewise.scenes.class_colors import class_colors
from scenewise.scenes.dense_fields import DenseField
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.scenes import Provenance, Scene, SceneCamera
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.worlds.classes import CLASS_NAMES

WORDS = Vocabulary(CLASS_NAMES, tuple((name,) for name in CLASS_NAMES), ("a {}",), class_colors(len(CLASS_NAMES)))
SITTING = ("chair", "sofa", "bed")


class Oracle:
    """Truth as features: each class has a direction of its own, and what one can sit on shares another.

    Args:
        capture: an RGB-D folder with class maps.
        kind: of its answers.
        wrong_share: part of the pixels, drawn anew in every view, that get a random class.
        lacks: frames it has nothing for.
    """

    name, logit_scale, licence = "oracle", 20.0, "CC0-1.0"

    def __init__(self, capture: Path, kind: str = "features", wrong_share: float = 0.0, lacks: Sequence[str] = ()) -> None:
        self.frames = {frame.name: frame for frame in open_capture(capture).frames}
        self.kind, self.wrong_share, self.lacks = kind, wrong_share, set(lacks)
        self.fingerprint = f"truth-{kind}-{wrong_share}-{len(self.lacks)}"
        self.calls: list[str] = []
        classes = len(CLASS_NAMES)
        self.directions = np.zeros((classes, classes + 1), dtype=np.float32)
        self.directions[:, :classes] = np.eye(classes)
        for name in SITTING:
            row = CLASS_NAMES.index(name)
            self.directions[row, row], self.directions[row, classes] = 0.8, 0.6

    def dense(self, image, frame_name):
        self.calls.append(frame_name)
        if frame_name in self.lacks:
            return None
        ids = read_class_ids(self.frames[frame_name])
        if self.wrong_share:
            rng = np.random.default_rng(int(image[0, 0].astype(int) @ [1, 256, 65536]))
            wrong = rng.random(ids.shape) < self.wrong_share
            ids = np.where(wrong, rng.integers(0, len(CLASS_NAMES), ids.shape), ids)
        table = self.directions if self.kind == "features" else np.eye(len(CLASS_NAMES), dtype=np.float32)
        values = np.where((ids >= 0)[..., None], table[ids], 0).astype(np.float32)
        return DenseField(values, image.shape[0], image.shape[1], self.kind)

    def embed_text(self, phrases, templates):
        rows = []
        for phrase in phrases:
            if self.kind != "features":
                raise ConventionError("text", expected="a teacher with features", got=self.kind)
            words = phrase.lower().replace("?", "").split()
            if "sit" in words:
                rows.append(np.eye(len(CLASS_NAMES) + 1, dtype=np.float32)[-1])
            elif words and words[-1] in CLASS_NAMES:
                rows.append(self.directions[CLASS_NAMES.index(words[-1])])
            else:
                raise ConventionError(f"query {phrase!r}", expected=f"one of {', '.join(CLASS_NAMES)}", got="no known word")
        return np.stack(rows)

    def default_templates(self):
        return ("a {}",)

    def vocabulary(self):
        return WORDS


class TruePoints:
    """The class of any place: that of the nearest unprojected pixel."""

    def __init__(self, capture: Path) -> None:
        places, classes = [], []
        for frame in open_capture(capture).frames:
            depth, ids = frame.load_depth().astype(np.float64), read_class_ids(frame)
            row, column = np.nonzero((depth > 0) & (ids >= 0))
            K = frame.camera.K.numpy()
            z = depth[row, column]
            in_camera = np.stack([(column + 0.5 - K[0, 2]) / K[0, 0] * z, (row + 0.5 - K[1, 2]) / K[1, 1] * z, z], axis=1)
            pose = frame.camera.world_from_camera.numpy()
            places.append(in_camera @ pose[:3, :3].T + pose[:3, 3])
            classes.append(ids[row, column])
        self.tree, self.classes = cKDTree(np.concatenate(places)), np.concatenate(classes)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return self.classes[self.tree.query(points)[1]]


def write_splat_scene(folder: Path, capture_folder: Path, count: int = 6000) -> Path:
    """A scene whose Gaussians are discs on the measured surfaces, and a cloud beside them."""
    capture = open_capture(capture_folder)
    cloud = points_from_depth(capture.frames, maximum=count, threads=1)
    spacing = cKDTree(cloud.points_in_world).query(cloud.points_in_world, 3)[0][:, 1:].mean(axis=1)
    n = len(cloud)
    gaussians = Gaussians(
        means=torch.from_numpy(cloud.points_in_world.astype(np.float32)),
        log_scales=torch.from_numpy(np.log(0.6 * spacing).astype(np.float32))[:, None].repeat(1, 3),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1),
        logit_opacities=torch.full((n,), 3.0),
        sh0=sh0_from_rgb(torch.from_numpy(cloud.colors_u8.astype(np.float32) / 255))[:, None],
        shN=torch.zeros(n, 0, 3),
    )
    scene = Scene(
        load_gaussians=lambda: gaussians,
        num_gaussians=n,
        sh_degree=0,
        cameras=tuple(SceneCamera(frame.name, frame.camera, "train") for frame in capture.frames),
        provenance=Provenance(str(capture_folder), "rgbd", None, "0" * 64, "gaussian_splatting", {"steps": 0}),
        scale="metric",
        up_in_world=np.array([0.0, 0.0, 1.0]),
    )
    prepare_output(folder)
    write_scene(folder, scene, compact=False)
    write_points_ply(folder / POINTS_FILE, points_from_depth(capture.frames, maximum=count // 2, threads=1))
    return folder

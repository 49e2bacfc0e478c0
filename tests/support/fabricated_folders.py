"""One small asymmetric world photographed into every folder layout, and the check that a reader understood it.

Nothing in it is symmetric: fx ≠ fy, the principal point is off centre, the cameras stand anywhere, every point has a colour of
its own.  If a reader swaps, flips or inverts anything, the colours at the projected points are wrong.
"""

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from scenewise.scenes.captures import Capture

WIDTH, HEIGHT = 96, 64
K = np.array([[80.0, 0.0, 50.0], [0.0, 70.0, 29.0], [0.0, 0.0, 1.0]])
GREY = 90
_RADIUS = 2.2  # of a blob, pixels
OPENGL_FROM_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class World:
    """Coloured points and the poses they are photographed from."""

    points: np.ndarray
    colors_u8: np.ndarray
    world_from_camera: list[np.ndarray]
    names: list[str] = field(default_factory=list)


def asymmetric_world(views: int = 4, seed: int = 5) -> World:
    """Twelve points of different colours in front of ``views`` cameras that stand in a loose arc, each rolled differently."""
    generator = np.random.default_rng(seed)
    points = generator.uniform([-1.2, -0.7, 3.0], [1.0, 0.9, 5.0], (12, 3))
    colors = np.array([[255 * (i & 1), 255 * (i >> 1 & 1), 255 * (i >> 2 & 1)] for i in range(8)] + [[255, 128, 0]] * 4)
    colors[8:] = [[255, 128, 0], [0, 128, 255], [128, 0, 255], [0, 255, 128]]
    poses = []
    for index in range(views):
        a, b, c = 0.25 * (index - 1.3), 0.1 * index - 0.12, 0.15 * index + 0.2
        turn_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
        turn_x = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
        turn_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
        pose = np.eye(4)
        pose[:3, :3] = turn_y @ turn_x @ turn_z
        pose[:3, 3] = [-4.0 * np.sin(a) + 0.1, 0.3 * index - 0.4, 4.0 - 4.0 * np.cos(a) + 0.2 * index]
        poses.append(pose)
    return World(points, colors.astype(np.uint8), poses, [f"view {index}.png" for index in range(views)])


def projected(world: World, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels (u, v) and depths of the points, by the textbook formula."""
    in_camera = (np.linalg.inv(pose) @ np.c_[world.points, np.ones(len(world.points))].T).T[:, :3]
    pixels = (K @ in_camera.T).T
    return pixels[:, :2] / pixels[:, 2:], in_camera[:, 2]


def photograph(world: World, pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Image u8 and depth in metres: a disc per point, near ones in front."""
    image, depth = np.full((HEIGHT, WIDTH, 3), GREY, dtype=np.uint8), np.zeros((HEIGHT, WIDTH), dtype=np.float32)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    pixels, depths = projected(world, pose)
    for index in np.argsort(-depths):
        disc = (columns - pixels[index, 0]) ** 2 + (rows - pixels[index, 1]) ** 2 <= _RADIUS**2
        if depths[index] > 0:
            image[disc], depth[disc] = world.colors_u8[index], depths[index]
    return image, depth


def share_of_right_colors(capture: Capture, world: World, flip_u: bool = False) -> float:
    """Share of visible points whose colour is found where the capture's camera says the point must be.

    Args:
        flip_u: look at the mirrored column instead, to show that the check notices it.
    """
    right = seen = 0
    for frame in capture.frames_with_image:
        image = frame.load_image()
        camera = frame.camera
        in_camera = camera.camera_from_world.numpy() @ np.c_[world.points, np.ones(len(world.points))].T
        pixels = camera.K.numpy() @ in_camera[:3]
        u, v = pixels[:2] / pixels[2]
        if flip_u:
            u = camera.width - u
        for index in range(len(world.points)):
            seen += 1
            if in_camera[2, index] > 0 and 0 <= u[index] < camera.width and 0 <= v[index] < camera.height:
                right += int((image[int(v[index]), int(u[index])] == world.colors_u8[index]).all())
    return right / max(1, seen)


def quat_of(rotation: np.ndarray) -> np.ndarray:
    """wxyz by the trace formula; the fabricated rotations are all less than half a turn."""
    w = np.sqrt(1 + np.trace(rotation)) / 2
    differences = [rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]]
    return np.array([w, *(np.array(differences) / (4 * w))])


def write_images(folder: Path, world: World) -> None:
    """All photographs as PNG under their names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, pose in zip(world.names, world.world_from_camera):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photograph(world, pose)[0]).save(folder / name)


def write_colmap_text(root: Path, world: World, *, camera: str | None = None, quat_order: str = "wxyz") -> Path:
    """``sparse/0/*.txt`` and ``images/``."""
    model = root / "sparse/0"
    model.mkdir(parents=True)
    camera = camera or f"PINHOLE {WIDTH} {HEIGHT} {K[0, 0]} {K[1, 1]} {K[0, 2]} {K[1, 2]}"
    (model / "cameras.txt").write_text(f"# comment\n7 {camera}\n", encoding="utf-8")
    lines = ["# comment"]
    for index, (name, pose) in enumerate(zip(world.names, world.world_from_camera)):
        inverse = np.linalg.inv(pose)
        quat = quat_of(inverse[:3, :3])
        if quat_order == "xyzw":
            quat = np.roll(quat, -1)
        lines.append(" ".join([str(index + 1), *map(repr, map(float, [*quat, *inverse[:3, 3]])), "7", name]))
        lines.append("" if index else "10.5 20.5 -1 30.25 2.5 3")  # feature points; the line may be empty
    (model / "images.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    points = [
        " ".join([str(index + 1), *map(repr, map(float, point)), *map(str, map(int, color)), "0.5", "1", "2", "2", "3"])
        for index, (point, color) in enumerate(zip(world.points, world.colors_u8))
    ]
    (model / "points3D.txt").write_text("# comment\n" + "\n".join(points) + "\n", encoding="utf-8")
    write_images(root / "images", world)
    return root


def colmap_binary_files(world: World, *, tracks: int = 3) -> dict[str, bytes]:
    """Contents of cameras.bin, images.bin, points3D.bin."""
    cameras = struct.pack("<Q", 1) + struct.pack("<IiQQ4d", 7, 1, WIDTH, HEIGHT, K[0, 0], K[1, 1], K[0, 2], K[1, 2])
    images = struct.pack("<Q", len(world.names))
    for index, (name, pose) in enumerate(zip(world.names, world.world_from_camera)):
        inverse = np.linalg.inv(pose)
        images += struct.pack("<I7dI", index + 1, *quat_of(inverse[:3, :3]), *inverse[:3, 3], 7) + name.encode() + b"\0"
        images += struct.pack("<Q", index) + struct.pack("<ddq", 1.5, 2.5, -1) * index
    points = struct.pack("<Q", len(world.points))
    for index, (point, color) in enumerate(zip(world.points, world.colors_u8)):
        length = (index * tracks) % 5
        points += struct.pack("<Q3d3BdQ", index + 1, *point, *color.tolist(), 0.5, length) + struct.pack("<II", 1, 2) * length
    return {"cameras.bin": cameras, "images.bin": images, "points3D.bin": points}


def write_colmap_binary(root: Path, world: World) -> Path:
    """``sparse/0/*.bin`` with the extra files of newer versions, and ``images/``."""
    model = root / "sparse/0"
    model.mkdir(parents=True)
    for name, data in (colmap_binary_files(world) | {"rigs.bin": b"\1\2", "frames.bin": b"\3"}).items():
        (model / name).write_bytes(data)
    write_images(root / "images", world)
    return root


def transforms_of(world: World, *, turn: np.ndarray = OPENGL_FROM_OPENCV) -> dict[str, object]:
    """The contents of transforms.json in nerfstudio's form."""
    return {
        "w": WIDTH,
        "h": HEIGHT,
        "fl_x": K[0, 0],
        "fl_y": K[1, 1],
        "cx": K[0, 2],
        "cy": K[1, 2],
        "frames": [
            {"file_path": f"images/{name}", "transform_matrix": (pose @ turn).tolist()}
            for name, pose in zip(world.names, world.world_from_camera)
        ],
    }


def write_transforms(root: Path, world: World, **changes: object) -> Path:
    """``transforms.json`` and ``images/``."""
    write_images(root / "images", world)
    (root / "transforms.json").write_text(json.dumps(transforms_of(world) | changes), encoding="utf-8")
    return root

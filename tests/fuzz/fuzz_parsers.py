"""Damages input files for as long as wanted and looks for what must never happen: ``make fuzz``, or

    python tests/fuzz/fuzz_parsers.py --seconds 60 [--only spz] [--seed 7]

A reader may return something or raise one of our errors that names a file.  Anything else is a find: another exception, a hang,
memory out of proportion.  The damaged files are kept in ``tests/fuzz/found/`` (not committed); each becomes a test before it is
fixed.
"""

import argparse
import contextlib
import io
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tests.io.test_nuscenes import fabricated as build_nuscenes_folder
from tests.io.test_scannet import MESH
from tests.io.test_scannet import streamed as build_sens_file
from tests.io.test_scannet import written as build_scannet_folder
from tests.io.test_scene_graphs import small_graph
from tests.support.file_mutations import damaged_copies

from scenewise.engine.journal import Journal, read_journal
from scenewise.errors import ScenewiseError
from scenewise.io.captures import open_capture
from scenewise.io.element_features import read_element_features, write_element_features
from scenewise.io.las import read_las, write_las
from scenewise.io.nuscenes.keyframes import read_nuscenes
from scenewise.io.ply.gaussians import read_gaussians_ply, write_gaussians_ply
from scenewise.io.ply.points import read_points_ply, write_points_ply
from scenewise.io.rgbd.writing import RgbdFrame, write_rgbd_folder
from scenewise.io.scannet.labels import read_scannet_frame_labels
from scenewise.io.scannet.scenes import read_scannet
from scenewise.io.scene_folder import read_scene, write_scene
from scenewise.io.scene_graphs.graph_json import read_scene_graph, write_scene_graph
from scenewise.io.segments import read_aggregation, read_segments
from scenewise.io.spz import read_spz, write_spz
from scenewise.io.teacher_files import (
    TeacherAnswer,
    TeacherFilesInfo,
    write_answer,
    write_teacher_info,
    write_text_embeddings,
)
from scenewise.io.vocabularies import read_vocabulary, write_vocabulary
from scenewise.methods.vl_sat.network_file import Learned, read_graph_network, write_graph_network
from scenewise.networks.graphs.students import GraphShape, build_student
from scenewise.networks.relation_text import RelationTextNetwork, RelationTextShape
from scenewise.networks.small_clip import SmallClip, SmallClipShape
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.element_features import ElementFeatures
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.point_clouds import PointCloud
from scenewise.scenes.scenes import Provenance, Scene, SceneCamera
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.teachers.from_files import FilesTeacher
from scenewise.teachers.relation_text import RelationLanguage, read_relation_text, save_relation_text
from scenewise.teachers.small_clip import Language, read_small_clip, save_small_clip

SECONDS_PER_READ = 5.0
BYTES_PER_READ = 64_000_000  # beyond what was in use before; the files here have a few kilobytes
FOUND = Path(__file__).parent / "found"


class TooSlowError(Exception):
    """A read took longer than ``SECONDS_PER_READ``."""


@dataclass(frozen=True)
class Target:
    """One kind of input.

    Attributes:
        name: for ``--only``.
        build: writes a good input into a folder.
        damaged: files in that folder to damage, one at a time.
        read: reads the folder as a user would.
    """

    name: str
    build: Callable[[Path], None]
    damaged: tuple[str, ...]
    read: Callable[[Path], object]


# --- good inputs -------------------------------------------------------------------------------------------------------------


def gaussians(n: int = 12) -> Gaussians:
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return Gaussians(normal(n, 3), normal(n, 3), normal(n, 4), normal(n), normal(n, 1, 3), normal(n, 3, 3))


def points() -> PointCloud:
    generator = np.random.default_rng(2)
    return PointCloud(generator.normal(size=(15, 3)), generator.integers(0, 256, (15, 3), dtype=np.uint8))


def pose(index: int) -> np.ndarray:
    world_from_camera = np.eye(4)
    world_from_camera[:3, 3] = [0.3 * index, -0.1, 0.2]
    return world_from_camera


def write_pictures(folder: Path, count: int = 3) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        pixels = np.random.default_rng(index).integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")


def build_colmap(folder: Path, *, binary: bool) -> None:
    write_pictures(folder / "images")
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    if not binary:
        (model / "cameras.txt").write_text("# cameras\n1 OPENCV 16 12 14.5 14.25 8.1 6.2 0.01 -0.002 0.001 0.0005\n")
        lines = [f"{i + 1} 1 0 0 0 {-0.3 * i} 0.1 -0.2 1 {i}.png\n4.5 3.25 1 7.5 2.5 -1\n" for i in range(3)]
        (model / "images.txt").write_text("# images\n" + "".join(lines))
        (model / "points3D.txt").write_text("1 0.5 -0.25 2.0 200 100 50 0.4 1 0 2 0\n2 0.1 0.2 3.0 10 20 30 0.5 3 0\n")
        return
    camera = struct.pack("<QIiQQ8d", 1, 1, 4, 16, 12, 14.5, 14.25, 8.1, 6.2, 0.01, -0.002, 0.001, 0.0005)
    (model / "cameras.bin").write_bytes(camera)
    images = struct.pack("<Q", 3)
    for i in range(3):
        images += struct.pack("<I7dI", i + 1, 1, 0, 0, 0, -0.3 * i, 0.1, -0.2, 1) + f"{i}.png\0".encode()
        images += struct.pack("<Q2dQ2dq", 2, 4.5, 3.25, 1, 7.5, 2.5, -1)
    (model / "images.bin").write_bytes(images)
    cloud = struct.pack("<Q", 2)
    for i in range(2):
        cloud += struct.pack("<Q3d3BdQ2I", i + 1, 0.5, -0.25, 2.0 + i, 200, 100, 50, 0.4, 1, 1, 0)
    (model / "points3D.bin").write_bytes(cloud)


def build_transforms(folder: Path) -> None:
    write_pictures(folder / "images")
    frames = ",".join(
        f'{{"file_path": "images/{i}.png", "transform_matrix": {pose(i).tolist()}, "sharpness": {20.5 + i}}}' for i in range(3)
    )
    text = (
        '{"camera_angle_x": 0.9, "fl_x": 14.5, "cx": 8.1, "cy": 6.2, "w": 16, "h": 12, "k1": 0.01, "aabb_scale": 4, "frames": ['
    )
    (folder / "transforms.json").write_text(text + frames + "]}")


def build_rgbd(folder: Path) -> None:
    generator = np.random.default_rng(4)
    K = np.array([[14.5, 0, 8], [0, 14.25, 6], [0, 0, 1.0]])
    frames = [
        RgbdFrame(generator.integers(0, 256, (12, 16, 3), dtype=np.uint8), np.full((12, 16), 1.5, np.float32), pose(index))
        for index in range(3)
    ]
    shutil.rmtree(folder)
    write_rgbd_folder(folder, iter(frames), K, 16, 12, classes=["chair", "table"], world={"kind": "room", "seed": 1})


def build_scene(folder: Path) -> None:
    K = torch.tensor([[14.5, 0, 8], [0, 14.25, 6], [0, 0, 1]], dtype=torch.float64)
    cameras = tuple(SceneCamera(f"{i}.png", Cameras(torch.from_numpy(pose(i)), K, 16, 12), "train") for i in range(2))
    provenance = Provenance("x", "colmap", None, "0" * 64, "gaussian_splatting", versions={"scenewise": "0.1.0"})
    good = gaussians()
    write_scene(folder, Scene(lambda: good, len(good), good.sh_degree, cameras, provenance))


def build_journal(folder: Path) -> None:
    with Journal(folder / "log.jsonl") as journal:
        for step in range(4):
            journal.write("step", step=step, loss=0.5, note="ä")
        journal.write("resume", step=2)


def build_teacher_files(folder: Path, *, kind: str) -> None:
    generator = np.random.default_rng(5)
    confidence = generator.random((3, 4), dtype=np.float32)
    if kind == "features":
        info = TeacherFilesInfo("features", 6, text_space="small-clip", classes=("wall", "chair"), licence="CC0-1.0")
        write_text_embeddings(folder, info, generator.normal(size=(2, 6)).astype(np.float32))
        answer = TeacherAnswer(values=generator.normal(size=(3, 4, 6)).astype(np.float32), confidence=confidence)
    else:
        info = TeacherFilesInfo("labels", 3, classes=("wall", "chair", "lamp"), ignore=255)
        answer = TeacherAnswer(labels=generator.integers(-1, 3, (3, 4), dtype=np.int32), confidence=confidence)
    write_teacher_info(folder, info)
    write_answer(folder, "a.png", info, answer)


def build_segments(folder: Path) -> None:
    from safetensors.numpy import save_file

    ids = np.array([7, 7, -3, 2, 900, 2, 2, 11])
    (folder / "a.segs.json").write_text('{"params": {"kThresh": "0.0001"}, "sceneId": "s", "segIndices": [7,7,-3,2,900,2,2,11]}')
    np.save(folder / "a.npy", ids)
    np.savez_compressed(folder / "a.npz", ids=ids)
    save_file({"ids": ids}, folder / "a.safetensors")
    (folder / "a.txt").write_text("\n".join(map(str, ids)))
    groups = '{"sceneId": "s", "segGroups": [{"id": 0, "objectId": 0, "segments": [7, 2], "label": "chair"}]}'
    (folder / "a.aggregation.json").write_text(groups)


def build_scannet(folder: Path) -> None:
    build_scannet_folder(folder, mesh=MESH, nyu40_ids=np.array([1, 2, 0, 40, 39]))


def build_features(folder: Path) -> None:
    values = np.random.default_rng(6).normal(size=(9, 5)).astype(np.float16)
    about = {"kind": "features", "teacher": "small-clip", "read_out": None, "fingerprint": "f", "key_smoothing": True}
    write_element_features(folder / "a.safetensors", ElementFeatures(values, np.ones(9, np.float32), **about))


def build_words(folder: Path) -> None:
    words = Vocabulary(("wall", "sofa"), (("wall",), ("sofa", "couch")), ("a {}",), ((1, 2, 3), (255, 0, 128)))
    write_vocabulary(folder / "classes.json", words, teacher="small-clip")


def build_graph(folder: Path) -> None:
    write_scene_graph(folder / "graph.json", small_graph(), world_from_source=np.diag([-1.0, -1.0, 1.0, 1.0]))


def build_small_clip(folder: Path) -> None:
    shape = SmallClipShape(16, 8, 2, 2, 8, 1, 2, context=6, words=3, dim=4)
    language = Language(("chair", "a", "red"), {"chair": ("chair",)}, frozenset({"chair", "red"}), ("a {}", "{}"))
    save_small_clip(folder / "a.safetensors", SmallClip(shape), language)


def build_relation_text(folder: Path) -> None:
    shape = RelationTextShape(width=16, heads=2, context=8, words=5, dim=12)
    language = RelationLanguage(("a", "chair", "left", "of", "table"), ("chair", "table"), ("left",))
    save_relation_text(folder / "a.safetensors", RelationTextNetwork(shape), language)


def build_graph_network(folder: Path) -> None:
    student = build_student(GraphShape("sgfn", 3, 2, width=16, heads=2, depth=1, points=8), 0)
    write_graph_network(folder / "a.safetensors", student, Learned(("floor", "bed", "lamp"), ("left", "right"), {"steps": 3}))


# --- reading as a user would ---------------------------------------------------------------------------------------------------


def read_capture(folder: Path) -> None:
    capture = open_capture(folder)
    for frame in capture.frames_with_image:
        if frame.load_image is not None:
            frame.load_image()
        if frame.load_depth is not None:
            frame.load_depth()


def read_whole_scene(folder: Path) -> None:
    read_scene(folder).load_gaussians()


def read_teacher_files(folder: Path) -> None:
    teacher = FilesTeacher(folder)
    teacher.dense(np.zeros((12, 16, 3), dtype=np.uint8), "a.png")
    teacher.vocabulary()
    if teacher.info.kind == "features":
        teacher.embed_text(["chair"], teacher.default_templates())


def read_all_segments(folder: Path) -> None:
    for name in ("a.segs.json", "a.npy", "a.npz", "a.safetensors", "a.txt"):
        read_segments(folder / name, count=8)
    read_aggregation(folder / "a.aggregation.json")


def read_keyframe(folder: Path) -> None:
    for frame in read_nuscenes(folder).capture.frames:
        if frame.load_image is not None:
            frame.load_image()


def read_scannet_folder(folder: Path) -> None:
    scene = read_scannet(folder)
    for frame in scene.capture.frames_with_image:
        if frame.load_image is not None:
            frame.load_image()
        if frame.load_depth is not None:
            frame.load_depth()
        read_scannet_frame_labels(frame)
    scene.mesh()
    scene.nyu40_ids()


def ask_small_clip(folder: Path) -> None:
    model = read_small_clip(folder / "a.safetensors")
    model.embed_text(["a red chair"], model.language.templates)
    model.tower.embed_images(torch.zeros(1, 3, model.tower.native_size, model.tower.native_size))


def ask_relation_text(folder: Path) -> None:
    read_relation_text(folder / "a.safetensors").embed(["a chair left of a table"])


def ask_graph_network(folder: Path) -> None:
    things = [np.random.default_rng(n).normal(size=(5 + n, 3)).astype(np.float32) for n in range(3)]
    pairs = np.array([[0, 1], [2, 0]])
    read_graph_network(folder / "a.safetensors").answer(things, ["bed"] * 3, [0.5] * 3, pairs)


TARGETS = (
    Target("ply", lambda f: write_gaussians_ply(f / "a.ply", gaussians()), ("a.ply",), lambda f: read_gaussians_ply(f / "a.ply")),
    Target("points", lambda f: write_points_ply(f / "a.ply", points()), ("a.ply",), lambda f: read_points_ply(f / "a.ply")),
    Target("spz", lambda f: write_spz(f / "a.spz", gaussians()), ("a.spz",), lambda f: read_spz(f / "a.spz")),
    Target("las", lambda f: write_las(f / "a.las", points(), epsg=32615), ("a.las",), lambda f: read_las(f / "a.las")),
    Target(
        "colmap_binary",
        lambda f: build_colmap(f, binary=True),
        ("sparse/0/cameras.bin", "sparse/0/images.bin", "sparse/0/points3D.bin"),
        read_capture,
    ),
    Target(
        "colmap_text",
        lambda f: build_colmap(f, binary=False),
        ("sparse/0/cameras.txt", "sparse/0/images.txt", "sparse/0/points3D.txt"),
        read_capture,
    ),
    Target("transforms", build_transforms, ("transforms.json",), read_capture),
    Target("pictures", build_transforms, ("images/0.png",), read_capture),
    Target("rgbd", build_rgbd, ("*.txt", "*.json", "*.png"), read_capture),
    Target("scene", build_scene, ("scene.json", "splats.ply"), read_whole_scene),
    Target(
        "teacher_features", lambda f: build_teacher_files(f, kind="features"), ("*.json", "*.safetensors"), read_teacher_files
    ),
    Target("teacher_labels", lambda f: build_teacher_files(f, kind="labels"), ("*.json", "*.safetensors"), read_teacher_files),
    Target("segments", build_segments, ("*.json", "*.np?", "*.safetensors", "*.txt"), read_all_segments),
    Target(
        "nuscenes",
        lambda f: build_nuscenes_folder(f, category_index=[4, 3]) and None,
        ("*.json", "*.bin"),
        read_keyframe,
    ),
    Target("sens", lambda f: build_sens_file(f / "a.sens") and None, ("a.sens",), read_capture),
    Target("scannet", build_scannet, ("*.txt", "*.json", "*.ply", "*.png"), read_scannet_folder),
    Target("words", build_words, ("classes.json",), lambda f: read_vocabulary(f / "classes.json")),
    Target("graph", build_graph, ("graph.json",), lambda f: read_scene_graph(f / "graph.json")),
    Target("features", build_features, ("a.safetensors",), lambda f: read_element_features(f / "a.safetensors", count=9)),
    Target("small_clip", build_small_clip, ("a.safetensors",), ask_small_clip),
    Target("relation_text", build_relation_text, ("a.safetensors",), ask_relation_text),
    Target("graph_network", build_graph_network, ("a.safetensors",), ask_graph_network),
    Target("journal", build_journal, ("log.jsonl",), lambda f: read_journal(f / "log.jsonl")),
)


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    def too_slow(_signal: int, _frame: object) -> None:
        raise TooSlowError(f"no answer after {seconds} s")

    signal.signal(signal.SIGALRM, too_slow)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def fuzz(target: Target, seconds: float, seed: int) -> tuple[int, int, list[str]]:
    """Cases tried, cases refused with one of our errors, and what was found."""
    tried = refused = 0
    finds: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        good = Path(scratch) / "good"
        good.mkdir()
        target.build(good)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.read(good)  # a good input must be read, and warms up what is loaded once
        files = sorted(path for pattern in target.damaged for path in good.rglob(pattern.rpartition("/")[2]))
        originals = {path: path.read_bytes() for path in files}
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            path = files[seed % len(files)]
            for data in damaged_copies(originals[path], 25, seed):
                path.write_bytes(data)
                tried += 1
                before = _peak_bytes()
                problem = None
                try:
                    with warnings.catch_warnings(), _time_limit(SECONDS_PER_READ), contextlib.redirect_stderr(io.StringIO()):
                        warnings.simplefilter("ignore")
                        target.read(good)
                except ScenewiseError:
                    refused += 1
                except (Exception, RecursionError) as error:
                    where = traceback.extract_tb(error.__traceback__)[-1]
                    problem = f"{type(error).__name__}: {error} at {Path(where.filename).name}:{where.lineno}"
                if problem is None and _peak_bytes() - before > BYTES_PER_READ:
                    problem = f"took {(_peak_bytes() - before) / 1e6:.0f} MB"
                if problem is not None and problem not in finds and len(finds) < 20:
                    FOUND.mkdir(exist_ok=True)
                    kept = FOUND / f"{target.name}-{seed}-{tried}-{path.name}"
                    kept.write_bytes(data)
                    finds[problem] = f"{target.name}: {problem}  [{kept}]"
            path.write_bytes(originals[path])
            seed += 1
    return tried, refused, list(finds.values())


def main() -> int:
    """Fuzz every target; exit code 1 when something was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="time per kind of input")
    parser.add_argument("--only", nargs="+", choices=[target.name for target in TARGETS])
    parser.add_argument("--seed", type=int, default=int(time.time()))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")
    all_finds = []
    for target in TARGETS:
        if arguments.only is None or target.name in arguments.only:
            tried, refused, finds = fuzz(target, arguments.seconds, arguments.seed)
            print(f"{target.name:<16}{tried:>9,} files, {refused:>9,} refused, {len(finds)} finds", flush=True)
            all_finds += finds
    print("\n".join(all_finds))
    return 1 if all_finds else 0


if __name__ == "__main__":
    sys.exit(main())

"""Halves of real captures beside procedural rooms in one library, and what the other halves find there.

    python -m scenewise.studies library_real [redkitchen fox brighton lego] [--quick] [--data ROOT] [--out FOLDER]

Every second picture of a capture is entered, with points made of these pictures alone; the others ask.  As a scan, with points of
their own, they must find their capture; as pictures too, and those of the kitchen, whose poses a depth camera measured, must be
placed.  Once with the embedded encoder, which has seen procedural rooms alone, and once with one that has learned from
the entered halves, as ``scenewise pretrain`` would: no label and none of the pictures that ask.

Captures that are not below ROOT are left out and named.
"""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from tyro.conf import Positional

from scenewise.engine.memory import keep_freed_memory
from scenewise.engine.threads import torch_threads
from scenewise.engine.training import run_steps
from scenewise.io.captures import open_capture, usable_frames
from scenewise.io.scene_library.store import create_library
from scenewise.methods.condense.options import ROOMS, CondenseConfig
from scenewise.methods.condense.rooms import RoomScans, fused_seed
from scenewise.methods.condense.trainer import CondenseTrainer
from scenewise.parts.points.settings import spread_evenly
from scenewise.parts.retrieval.encoding import EncodingSettings
from scenewise.parts.retrieval.entering import Entering, SceneLabels
from scenewise.parts.retrieval.keypoints import KeyPoints
from scenewise.parts.retrieval.searching import Hit, LibrarySearch, unit_of
from scenewise.parts.scans.posed_files import PosedScanFiles
from scenewise.parts.scans.posed_scans import write_posed_scan
from scenewise.parts.scans.posing import PosingSettings, posed_scan
from scenewise.parts.sources.capture_scans import MADE_POINTS, points_of_views
from scenewise.parts.sources.raw_scans import RawScan
from scenewise.scenes.captures import Capture
from scenewise.scenes.frames import Frame
from scenewise.scenes.point_clouds import PointCloud
from scenewise.studies.bench import data_root
from scenewise.studies.consistent.arms import model_of
from scenewise.studies.consistent.rooms import frozen_tower, small_clip
from scenewise.studies.real.captures import Figures, Report, captures_there, reporter, require_known
from scenewise.teachers.consistent import ConsistentFeatures, open_consistent
from scenewise.worlds.seeds import BENCHMARK_SEEDS

CAPTURES: Mapping[str, str] = {
    "redkitchen": "redkitchen_rgbd",
    "fox": "fox",
    "brighton": "brighton_beach",
    "lego": "lego_400",
}
"""Folders of the captures."""
_FIRST_ROOM = 80_000  # of the benchmark's seeds
_MEASURED = "redkitchen"
"""The capture whose poses are in metres."""


@dataclass(frozen=True)
class Sizes:
    """How much of everything.

    Attributes:
        rooms: procedural ones beside the captures.
        asked: pictures of each capture that ask.
        views: of each half that points are made of and that are learned from.
        config: of pre-training.
    """

    rooms: int = 20
    asked: int = 20
    views: int = 100
    config: CondenseConfig = field(
        default_factory=lambda: replace(ROOMS, steps=600, voxel=0.06, scans_per_step=3, views_per_scan=4, most_views=60)
    )


QUICK = Sizes(rooms=1, asked=2, views=8, config=replace(ROOMS, steps=2, scans_per_step=2, most_views=4))


@dataclass(frozen=True)
class Halves:
    """A capture cut in two.

    Attributes:
        name: of it.
        entered: every second picture, with points of these.
        asking: the others, likewise.
    """

    name: str
    entered: RawScan
    asking: RawScan


def halves_of(name: str, folder: Path, sizes: Sizes) -> Halves:
    """Cuts a capture."""
    capture = open_capture(folder)
    frames = usable_frames(capture)
    return Halves(name, *(_half(name, capture, frames[first::2], sizes) for first in (0, 1)))


def _half(name: str, capture: Capture, frames: Sequence[Frame], sizes: Sizes) -> RawScan:
    chosen = spread_evenly(tuple(frames), sizes.views)
    half = replace(capture, frames=tuple(chosen), points=None, test_names=frozenset())
    made = points_of_views(half, chosen, maximum=MADE_POINTS)
    return RawScan(name, made.cloud, made.provenance, capture=half)


def learned_from(halves: Sequence[Halves], sizes: Sizes, folder: Path) -> ConsistentFeatures:
    """An encoder of the entered halves alone."""
    teacher = small_clip()
    settings = PosingSettings(sizes.config.picture_width, sizes.config.most_views)
    paths, prints = [], []
    for half in halves:
        path, fingerprint = folder / f"{half.name}.safetensors", f"half of {half.name}"
        write_posed_scan(path, posed_scan(half.entered, teacher, settings), fingerprint)
        paths.append(path)
        prints.append(fingerprint)
    trainer = CondenseTrainer(sizes.config, PosedScanFiles(paths, prints), frozen_tower(half=True), 0, precision="bfloat16")
    run_steps(trainer)
    return model_of(trainer.average.eval(), sizes.config, teacher)


def asked_of(model: ConsistentFeatures, halves: Sequence[Halves], sizes: Sizes, folder: Path, report: Report) -> Figures:
    """Enters the halves and some rooms, and asks by the other halves."""
    shutil.rmtree(folder, ignore_errors=True)
    vocabulary = model.vocabulary()
    assert vocabulary is not None
    entering = Entering(model, vocabulary, EncodingSettings())
    library = create_library(str(folder), entering.about())
    seconds = []
    for half in halves:
        began = time.perf_counter()
        library.put(entering.rows(half.entered, SceneLabels(half.name, half.name, "half of a capture")))
        seconds.append(time.perf_counter() - began)
    for index in range(sizes.rooms):
        fused = fused_seed(BENCHMARK_SEEDS[_FIRST_ROOM + index], RoomScans())
        cloud = PointCloud(fused.points_in_world, fused.colors_u8)
        name = f"room-{index:02d}"
        library.put(entering.rows(RawScan(name, cloud, "fused depth"), SceneLabels(name, "procedural", "cloud")))
    search = LibrarySearch(library, model)
    found: Figures = {"adding, s": seconds}
    for half in halves:
        found[half.name] = {**_as_scan(search, entering, half), **_as_pictures(search, half, sizes)}
        report(f"  {half.name}: " + ", ".join(f"{key} {value}" for key, value in found[half.name].items()))
    return found


def _as_scan(search: LibrarySearch, entering: Entering, half: Halves) -> Figures:
    rows = entering.rows(half.asking, SceneLabels(f"{half.name} again", half.name, "half of a capture"))
    points = rows.key_points
    asked = KeyPoints(points.positions_in_world, points.features.astype(np.float32), points.scores)
    own = next(scene for scene in search.library.key_points().scenes if scene.name == half.name)
    hits = search.by_scene(asked, unit=unit_of(own))
    names = [hit.scene.name for hit in hits]
    pose = hits[0].pose
    told: Figures = {"scan first": names[0], "scan rank": names.index(half.name) + 1 if half.name in names else None}
    if names[0] == half.name and pose is not None:
        offsets = own.facts.offset_in_source - rows.facts.offset_in_source
        moved = pose.held_from_asked[:3, 3] + offsets  # both halves came in one frame: nothing has moved
        told |= {"scan off, units": float(np.linalg.norm(moved)), "scan turned, °": _turned(pose.held_from_asked[:3, :3])}
    return told


def _as_pictures(search: LibrarySearch, half: Halves, sizes: Sizes) -> Figures:
    assert half.asking.capture is not None
    right, among, apart, turned, believed, wrong = 0, 0, [], [], 0, 0
    frames = spread_evenly(half.asking.capture.frames, sizes.asked)
    for frame in frames:
        assert frame.load_image is not None
        hits = search.by_picture(frame.load_image(), frame.camera.K.numpy())
        names = [hit.scene.name for hit in hits]
        right += names[0] == half.name
        among += half.name in names[:5]
        if hits[0].camera is None:
            continue
        believed += 1
        wrong += names[0] != half.name
        if names[0] == half.name:
            off = _camera_off(hits[0], frame)
            apart.append(off[0])
            turned.append(off[1])
    told: Figures = {"pictures": len(frames), "R@1": right / len(frames), "R@5": among / len(frames)}
    told |= {"with a camera": believed, "of these in a wrong scene": wrong}
    if apart:
        unit = 100.0 if half.name == _MEASURED else 1.0
        name = "cm" if half.name == _MEASURED else "units"
        told |= {f"camera off, {name} (median)": unit * float(np.median(apart)), "turned, ° (median)": float(np.median(turned))}
        told |= {f"camera off, {name} (best)": unit * min(apart)}
    return told


def _camera_off(hit: Hit, frame: Frame) -> tuple[float, float]:
    assert hit.camera is not None
    found, true = hit.camera.camera_from_world, frame.camera.camera_from_world.numpy().copy()
    true[:3, 3] += true[:3, :3] @ hit.scene.facts.offset_in_source
    places = [-pose[:3, :3].T @ pose[:3, 3] for pose in (found, true)]
    return float(np.linalg.norm(places[0] - places[1])), _turned(found[:3, :3] @ true[:3, :3].T)


def _turned(rotation: Float64[np.ndarray, "3 3"]) -> float:
    """Degrees; of a rotation with a scale too."""
    scale = np.cbrt(np.linalg.det(rotation))
    return float(np.degrees(np.arccos(np.clip((np.trace(rotation) / scale - 1.0) / 2.0, -1.0, 1.0))))


@dataclass(frozen=True)
class Options:
    """Of this study.

    Attributes:
        captures: by name; by default all.
        data: folder of all captures.
        out: folder of libraries and figures.
        quick: few pictures and steps.
        json: print one JSON object.
    """

    captures: Positional[tuple[str, ...]] = ()
    data: Path = field(default_factory=data_root)
    out: Path = Path("build/library_real")
    quick: bool = False
    json: bool = False

    def __post_init__(self) -> None:
        require_known(self.captures, CAPTURES)


def main(options: Options) -> int:
    """Prints what was found, or one JSON object."""
    report = reporter(options.json)
    keep_freed_memory()
    sizes = QUICK if options.quick else Sizes()
    options.out.mkdir(parents=True, exist_ok=True)
    with torch_threads(1):
        halves = [halves_of(name, folder, sizes) for name, folder in captures_there(options.captures, CAPTURES, options.data)]
        report("embedded encoder:")
        found: Figures = {"quick": options.quick, "sizes": asdict(sizes)}
        found["embedded"] = asked_of(open_consistent("condense"), halves, sizes, options.out / "embedded", report)
        report(f"encoder that learned from the entered halves, {sizes.config.steps} steps:")
        began = time.perf_counter()
        model = learned_from(halves, sizes, options.out)
        found["learning, s"] = time.perf_counter() - began
        found["learned"] = asked_of(model, halves, sizes, options.out / "learned", report)
    (options.out / "figures.json").write_text(json.dumps(found, indent=1, default=str) + "\n")
    if options.json:
        print(json.dumps(found, default=str))
    return 0

"""``train``, ``predict`` and ``eval`` on real captures, as a person would type them, with figures and pictures to look at.

    python -m scenewise.studies label_free_real [redkitchen nuscenes semantickitti] [--quick] [--data ROOT] [--out FOLDER]

redkitchen      HICL on one RGB-D kitchen, taught twice.  By the embedded model, which has only seen procedural rooms: that shows
                that all of it runs, not that names are right.  By files: surfaces told from depth alone (floor, table top,
                upright …), with real CLIP ViT-B/16 text vectors beside them, so that the network learns in CLIP's space of 512
                dimensions.  Nobody labelled the kitchen, so names are held against the teacher's own: in the vote that was
                learned from, and at points only views show that the network was not told about (every second one).
                With one scan the batch is one scan too: HICL's inter-scene level then attends within that scene once more.
nuscenes        HICL (SPVCNN) on one LiDAR keyframe, inputs intensity, told of ground, standing things and cars in six cameras:
                the sweep's own geometry and boxes, drawn into the photographs.  So its figures on this sweep show what lifting
                and learning keep; a third of the points no camera shows.
semantickitti   A sweep of another LiDAR is voxelised and goes through full-width networks, forward and one training step; the
                network of the keyframe names it and is held against the sweep's labels, which nothing was trained on.

Captures that are not below ROOT are left out and named.
"""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch.nn import functional
from tyro.conf import Positional

from scenewise.engine.memory import keep_freed_memory, peak_resident_bytes
from scenewise.engine.threads import compute_threads
from scenewise.geometry.orbits import look_at
from scenewise.io.captures import open_capture, usable_frames
from scenewise.io.nuscenes.keyframes import read_nuscenes
from scenewise.io.ply.points import read_points_ply_with_extra
from scenewise.io.scene_folder import POINTS_FILE
from scenewise.io.teacher_files import TEACHER_FILE, TEXT_FILE, find_answer
from scenewise.io.vocabularies import VOCABULARY_FILE, read_vocabulary
from scenewise.metrics.segmentation import ConfusionMatrix
from scenewise.networks.sparse_inputs import VoxelisedPoints
from scenewise.parts.labelfree.backbone_choice import point_backbone
from scenewise.parts.labelfree.settings import BackboneName
from scenewise.parts.labelfree.students import PointStudent
from scenewise.parts.points.settings import spread_evenly
from scenewise.parts.scans.bare_scans import bare_scan
from scenewise.parts.scans.scans import TrainingScan
from scenewise.parts.sources.opening import open_scans
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.frames import Frame
from scenewise.show.label_pictures import class_palette
from scenewise.studies.bench import data_root
from scenewise.studies.real.captures import Figures, Report, captures_there, reporter, require_known
from scenewise.studies.real.learned import (
    SET_VOTE,
    figures_of,
    held_back,
    listed,
    most_frequent,
    names_in,
    percent,
    scan_of,
    scenewise,
    told,
    voted,
)
from scenewise.studies.real.pictures import Legend, compare_points, draw_top_view
from scenewise.studies.real.teachers import SWEEP, write_clip_words, write_surface_teacher, write_sweep_teacher
from scenewise.teachers.choose import SMALL_CLIP_READ_OUT, open_teacher
from scenewise.teachers.from_files import export_teacher_files

SWEEP_OF_KITTI = dict.fromkeys(("road", "parking", "sidewalk", "other-ground", "terrain"), "ground") | {"car": "car"}
"""Classes of SemanticKITTI as those of the keyframe; all others are standing things."""
PICTURE_RADIUS = 30.0
"""Metres around a LiDAR that are drawn."""
PICTURE_PLACE = 0.6
"""Which of the frames the kitchen is drawn from."""


@dataclass(frozen=True)
class Sizes:
    """How much of everything.

    Attributes:
        views: of the kitchen.
        epochs: of HICL on it; one step each, as there is one scan.
        keyframe_epochs: of HICL on nuScenes.
        network_width: of the networks timed on the sweep.
        voxels: edges they are timed at, metres.
    """

    views: int = 40
    epochs: int = 80
    keyframe_epochs: int = 40
    network_width: float = 1.0
    voxels: tuple[float, ...] = (0.05, 0.1)


QUICK = Sizes(views=8, epochs=4, keyframe_epochs=3, network_width=0.25, voxels=(0.1,))


# ------------------------------------------------------------------------------------------------------------------ kitchen


def kitchen(capture_folder: Path, out: Path, sizes: Sizes, report: Report) -> Figures:
    """Two teachers, each learned from whole and by halves."""
    frames = spread_evenly(usable_frames(open_capture(capture_folder)), sizes.views)
    every_other = frames[::2]
    surfaces = out / "surfaces"
    shutil.rmtree(surfaces, ignore_errors=True)
    began = time.monotonic()
    shares = write_surface_teacher(surfaces, frames)
    write_clip_words(surfaces, capture_folder.parent / "clip_text_embeddings")
    found: Figures = {"teacher_seconds": time.monotonic() - began, "surfaces_in_depth": shares}
    report("surfaces in the depth maps: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items()))

    half_of_surfaces = copied_answers(surfaces, out / "surfaces_half", every_other)
    half_of_small_clip, words = exported_small_clip(out / "small_clip_half", every_other)
    halves: dict[str, tuple[object, ...]] = {
        "files": ("--teacher", f"files:{half_of_surfaces}"),
        "small_clip": ("--teacher", f"files:{half_of_small_clip}", "--text-from", "small-clip", "--classes", words),
    }
    teachers = {"files": f"files:{surfaces}", "small_clip": "small-clip"}
    for name, teacher in teachers.items():
        run, summary = trained(capture_folder, out / f"{name}_run", sizes, "--teacher", teacher)
        scene = out / f"{name}_scene"
        predicted = scenewise("predict", run, capture_folder, "--out", scene, "--overwrite", "--threads", 1)
        scan, said = scan_of(run), names_in(scene)
        found[name] = figures_of(scan, said, summary, predicted)
        report(told("redkitchen", name, found[name]))
        draw_kitchen(out / f"label_free_redkitchen_{name}.png", capture_folder, scene, scan, said)

        half_run, half_summary = trained(capture_folder, out / f"{name}_half_run", sizes, *halves[name])
        half_scene = out / f"{name}_half_scene"
        scenewise("predict", half_run, capture_folder, "--out", half_scene, "--overwrite", "--threads", 1)
        found[name]["half"] = half = held_back(scan, scan_of(half_run), names_in(half_scene), said)
        half["warnings"] = half_summary["warnings"]
        report(
            f"  told of every second view: {half['points']:,} points ({half['share']:.1%}) only the others show; there the "
            f"network says what they say at {half['network_agrees']:.1%} (most frequent class {half['most_frequent']:.1%}); the "
            f"vote in sets reaches {half['set_vote_reaches']:.1%} of them and agrees at {half['set_vote_agrees']:.1%} of those, "
            f"the network at {half['network_agrees_where_vote_reaches']:.1%} and at {percent(half['network_agrees_elsewhere'])} "
            f"of the rest; both networks agree at {half['both_networks_agree']:.1%} of all points"
        )
    return found


def trained(capture: Path, run: Path, sizes: Sizes, *teacher: object) -> tuple[Path, Figures]:
    """HICL of a quarter of the width on one capture; nothing is left of an earlier run."""
    shutil.rmtree(run, ignore_errors=True)
    summary = scenewise(
        *("train", "hicl", "--data", capture, "--out", run, *teacher),
        *("--width", 0.25, "--epochs", sizes.epochs, "--batch", 1, "--views", sizes.views),
        *("--save-every", sizes.epochs, "--threads", 1),
    )
    return run, summary


def copied_answers(teacher: Path, folder: Path, frames: Sequence[Frame]) -> Path:
    """The answers to some of the frames, in a folder of their own."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in (TEACHER_FILE, TEXT_FILE):
        shutil.copyfile(teacher / name, folder / name)
    for frame in frames:
        answer = find_answer(teacher, frame.name)
        assert answer is not None
        shutil.copyfile(answer, folder / answer.name)
    return folder


def exported_small_clip(folder: Path, frames: Sequence[Frame]) -> tuple[Path, str]:
    """Features of the embedded model as files, and its classes as one types them."""
    shutil.rmtree(folder, ignore_errors=True)
    teacher = open_teacher("small-clip", read_out=SMALL_CLIP_READ_OUT)
    images = [(frame.name, frame.load_image) for frame in frames if frame.load_image is not None]
    export_teacher_files(folder, teacher, images, text_space="small-clip")
    own = teacher.vocabulary()
    assert own is not None
    return folder, ",".join("|".join(dict.fromkeys((name, *words))) for name, words in zip(own.names, own.phrases, strict=True))


def draw_kitchen(path: Path, capture_folder: Path, scene: Path, scan: TrainingScan, said: Int[np.ndarray, " n"]) -> None:
    """Photograph's colours, the vote in sets, the network: from above, into the room, and from where a photograph was taken."""
    cloud, extra = read_points_ply_with_extra(scene / POINTS_FILE)
    photo = np.stack([extra[f"photo_{channel}"] for channel in ("red", "green", "blue")], axis=1).astype(np.uint8)
    vocabulary, _ = read_vocabulary(scene / VOCABULARY_FILE)
    palette = class_palette(vocabulary.colors_u8)
    capture = open_capture(capture_folder)
    frames = usable_frames(capture)
    assert capture.up_in_world is not None
    up = np.asarray(capture.up_in_world)
    sets = voted(scan, SET_VOTE)
    of_vote, of_network = (np.bincount(ids[ids >= 0], minlength=len(vocabulary)) / len(ids) for ids in (sets, said))
    compare_points(
        path,
        cloud.points_in_world,
        {"photographs": photo, "vote in sets": palette[sets], "network": palette[said]},
        up,
        [into_the_room(cloud.points_in_world, frames, up), frames[int(PICTURE_PLACE * len(frames))].camera],
        Legend(
            [f"{name}: vote {vote:.0%}, network" for name, vote in zip(vocabulary.names, of_vote, strict=True)],
            vocabulary.colors_u8,
            np.where(of_vote > 0, np.maximum(of_network, 1e-9), of_network).tolist(),
        ),
        310,
    )


def into_the_room(points: Float[np.ndarray, "n 3"], frames: Sequence[Frame], up: Float[np.ndarray, "3"]) -> Cameras:
    """A camera behind all others that looks down at the middle of the points."""
    camera, middle = frames[0].camera, np.median(points, axis=0)
    behind = np.mean([frame.camera.centers_in_world.numpy() for frame in frames], axis=0) - middle
    behind -= (behind @ up) * up
    eye = middle + 2.6 * behind / np.linalg.norm(behind) + 2.0 * up
    pose = np.linalg.inv(look_at(eye, middle, up))
    return replace(camera, camera_from_world=torch.from_numpy(pose).to(camera.camera_from_world))


# -------------------------------------------------------------------------------------------------------------------- LiDAR


def nuscenes(capture_folder: Path, out: Path, sizes: Sizes, report: Report) -> Figures:
    """A sweep's geometry, drawn into six cameras, teaches a network to name the sweep."""
    keyframe = read_nuscenes(capture_folder)
    teacher, run, scene = out / "teacher", out / "run", out / "scene"
    for folder in (teacher, run):
        shutil.rmtree(folder, ignore_errors=True)
    truth = write_sweep_teacher(teacher, keyframe)
    summary = scenewise(
        *("train", "hicl", "--preset", "nuscenes", "--data", capture_folder, "--out", run, "--teacher", f"files:{teacher}"),
        *("--width", 0.25, "--epochs", sizes.keyframe_epochs, "--batch", 1, "--picture-width", 800),
        *("--save-every", sizes.keyframe_epochs, "--threads", 1, "--classes", ",".join(SWEEP)),
    )
    predicted = scenewise("predict", run, capture_folder, "--out", scene, "--overwrite", "--threads", 1)
    scan, said = scan_of(run), names_in(scene)
    found = figures_of(scan, said, summary, predicted)
    sets = voted(scan, SET_VOTE)
    found["inputs"] = json.loads((run / "config.json").read_text())["network"]["inputs"]
    found["truth"] = {
        "set_vote_where_it_reaches": scores_of(sets, truth, sets >= 0),
        "network_there": scores_of(said, truth, sets >= 0),
        "network_elsewhere": scores_of(said, truth, sets < 0),
    }
    report(told("nuscenes", "sweep", found))
    for place, scores in found["truth"].items():
        report(f"  {place.replace('_', ' ')}: {listed(scores)}")
    assert keyframe.capture.points is not None
    points = keyframe.capture.points.points_in_world
    near = np.linalg.norm(points[:, :2] - keyframe.world_from_lidar[:2, 3], axis=1) < PICTURE_RADIUS
    for name, ids in (("network", said), ("truth", truth), ("vote", sets)):
        draw_top_view(out / f"above_{name}.png", points[near], ids[near], SWEEP, np.array([0.0, 0.0, 1.0]))
    return found


def sweep(folder: Path, out: Path, sizes: Sizes, report: Report) -> Figures:
    """Full networks on one sweep, and the names a network of another LiDAR gives it."""
    path = folder / "000000.bin"
    source = open_scans(path)[0]
    scan = bare_scan(source.open())
    found: Figures = {"points": len(scan), "networks": []}
    with torch.random.fork_rng(), compute_threads(1):
        torch.manual_seed(0)
        for voxel in sizes.voxels:
            for name in ("minkunet14a", "spvcnn"):
                figures = network_times(scan, name, voxel, sizes.network_width)
                found["networks"].append(figures)
                report(
                    f"semantickitti, {name} × {sizes.network_width:g} at {voxel:g} m: {figures['voxels']:,} voxels of "
                    f"{len(scan):,} points in {figures['voxelise_seconds'] * 1e3:.0f} ms; forward "
                    f"{figures['forward_seconds']:.2f} s, training step {figures['step_seconds']:.2f} s of one thread, loss "
                    f"{figures['losses'][0]:.3f} → {figures['losses'][1]:.3f}"
                )
    found["peak_memory_bytes"] = peak_resident_bytes()
    run = out.parent / "nuscenes" / "run"
    if not run.is_dir():
        report("  no network for intensities: run nuscenes first")
        return found
    predicted = scenewise("predict", run, path, "--out", out / "scene", "--overwrite", "--threads", 1)
    compared = scenewise("eval", run, "--data", path, "--threads", 1)
    said, labelled = names_in(out / "scene"), source.truth()
    assert labelled is not None
    table = np.array([*(SWEEP.index(SWEEP_OF_KITTI.get(name, "standing thing")) for name in source.class_names), -1])
    truth = table[labelled]
    found["named"] = {
        "commands": [predicted["command"], compared["command"]],
        "classes": predicted["classes"],
        "eval": {key: compared[key] for key in ("points", "miou", "all_accuracy", "coverage")},
        "truth": scores_of(said, truth, truth >= 0),
        "seconds": predicted["seconds"],
    }
    report(f"  named by the keyframe's network in {predicted['seconds']:.1f} s: {listed(found['named']['truth'])}")
    for name, ids in (("network", said), ("truth", truth)):
        near = np.linalg.norm(scan.points_in_scan[:, :2], axis=1) < PICTURE_RADIUS
        draw_top_view(out / f"above_{name}.png", scan.points_in_scan[near], ids[near], SWEEP, np.array([0.0, 0.0, 1.0]))
    return found


def scores_of(said: Int[np.ndarray, " n"], truth: Int[np.ndarray, " n"], where: Bool[np.ndarray, " n"]) -> Figures:
    """Accuracy and IoU of the classes of a sweep over the points marked ``where``."""
    if not where.any():
        return {"points": 0}
    matrix = ConfusionMatrix(SWEEP)
    matrix.update(said[where].astype(np.int64), truth[where].astype(np.int64))
    scores = matrix.scores()
    of_class = {name: value for name, value in zip(SWEEP, scores.iou.tolist(), strict=True) if not np.isnan(value)}
    return {
        "points": int(where.sum()),
        "right": scores.all_accuracy,
        "most frequent class": most_frequent(truth[where]),
        **{f"IoU {name}": value for name, value in of_class.items()},
    }


def network_times(scan: TrainingScan, name: BackboneName, voxel: float, width: float) -> Figures:
    """One pass and one step of a network with a head of 512 numbers and 19 random words, in processor time."""
    positions, inputs = torch.from_numpy(scan.points_in_scan) / voxel, torch.from_numpy(scan.inputs)
    began = time.process_time()
    cloud = VoxelisedPoints.from_points(inputs, positions, torch.zeros(len(scan), dtype=torch.int64))
    voxelised = time.process_time() - began
    student = PointStudent(point_backbone(name, width)(inputs.shape[1]), 512)
    text = functional.normalize(torch.randn(19, 512), dim=1)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.01)
    student.eval()
    with torch.no_grad():
        student(cloud)  # kernel maps are made once
        began = time.process_time()
        student(cloud).logits(text)
        forward = time.process_time() - began
    student.train()
    targets = torch.arange(len(scan)) % 19
    losses, seconds = [], 0.0
    for _ in range(2):
        began = time.process_time()
        optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(student(cloud).logits(text), targets)
        loss.backward()
        optimizer.step()
        seconds = time.process_time() - began
        losses.append(loss.item())
    return {
        "network": name,
        "voxel": voxel,
        "width": width,
        "voxels": len(cloud.voxels.grid),
        "voxelise_seconds": voxelised,
        "forward_seconds": forward,
        "step_seconds": seconds,
        "losses": losses,
    }


CAPTURES: Mapping[str, str] = {
    "redkitchen": "redkitchen_rgbd",
    "nuscenes": "nuscenes_mini",
    "semantickitti": "semantickitti_scan",
}
"""Folders of the captures."""
WORK: Mapping[str, Callable[[Path, Path, Sizes, Report], Figures]] = {
    "redkitchen": kitchen,
    "nuscenes": nuscenes,
    "semantickitti": sweep,
}


@dataclass(frozen=True)
class Options:
    """Of this study.

    Attributes:
        captures: by name; by default all.
        data: folder of all captures.
        out: folder of runs, scenes, pictures and figures.
        quick: few views, few steps, narrow networks.
        json: print one JSON object.
    """

    captures: Positional[tuple[str, ...]] = ()
    data: Path = field(default_factory=data_root)
    out: Path = Path("build/label_free_real")
    quick: bool = False
    json: bool = False

    def __post_init__(self) -> None:
        require_known(self.captures, CAPTURES)


def main(options: Options) -> int:
    """Prints what was found, or one JSON object."""
    report = reporter(options.json)
    keep_freed_memory()
    found: Figures = {"quick": options.quick}
    for name, folder in captures_there(options.captures, CAPTURES, options.data):
        out = options.out / name
        out.mkdir(parents=True, exist_ok=True)
        found[name] = WORK[name](folder.resolve(), out, QUICK if options.quick else Sizes(), report)
        (out / "figures.json").write_text(json.dumps(found[name], indent=1) + "\n")
    if options.json:
        print(json.dumps(found))
    return 0

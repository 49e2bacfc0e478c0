"""Every command sees the photographs of a scene as the scene saw them: its size, its background, the poses it refined."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.support.fabricated_capture import arc_camera, true_gaussians
from tests.support.fabricated_folders import OPENGL_FROM_OPENCV

from scenewise.commands.evaluate.options import EvalOptions
from scenewise.commands.evaluate.run import EvalSummary, evaluate_command
from scenewise.commands.query import pictures as query_pictures
from scenewise.commands.query.options import QueryOptions
from scenewise.commands.query.run import query
from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.commands.reconstruct.run import reconstruct
from scenewise.commands.render.options import RenderOptions
from scenewise.commands.render.run import render_scene
from scenewise.commands.segment import run as segment_run
from scenewise.commands.segment.options import SegmentOptions
from scenewise.commands.train.options import TrainOptions
from scenewise.commands.train.run import train
from scenewise.errors import DataFormatError, ResourceError
from scenewise.io.element_features import features_path
from scenewise.io.images import image_u8_from_color, read_image
from scenewise.io.ply.points import write_points_ply
from scenewise.io.scene_folder import labels_path, read_scene, write_scene_description
from scenewise.metrics.psnr import psnr
from scenewise.parts.scans import data_sets
from scenewise.parts.sources.opening import open_scans
from scenewise.parts.sources.scene_photographs import place_of_photographs, reopen_photographs
from scenewise.rendering import render
from scenewise.scenes.class_colors import class_colors
from scenewise.scenes.dense_fields import DenseField
from scenewise.scenes.frames import Frame
from scenewise.scenes.point_clouds import PointCloud
from scenewise.scenes.scenes import Scene
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.show.viewer.contents import load_contents

WIDTH, HEIGHT, FACTOR, VIEWS = 96, 72, 2, 6
BACKGROUND = (0.8, 0.2, 0.6)
BACKGROUND_U8 = (204, 51, 153)


@dataclass
class Watcher:
    """A teacher that remembers what it was shown; it tells bright cells from dark ones."""

    shown: dict[str, np.ndarray] = field(default_factory=dict)
    name, fingerprint, logit_scale, licence = "watcher", "watcher-1", 20.0, "CC0-1.0"

    def dense(self, image: np.ndarray, frame_name: str) -> DenseField:
        self.shown[frame_name.rpartition("/")[2]] = image
        grey = np.asarray(Image.fromarray(image).convert("L").resize((12, 9)), dtype=np.float32)
        values = np.eye(4, dtype=np.float32)[(grey > np.median(grey)).astype(int)]
        return DenseField(values, image.shape[0], image.shape[1])

    def embed_text(self, phrases: Sequence[str], templates: Sequence[str]) -> np.ndarray:
        return np.stack([np.eye(4, dtype=np.float32)[int("bright" in phrase)] for phrase in phrases])

    def default_templates(self) -> tuple[str, ...]:
        return ("a {}",)

    def vocabulary(self) -> Vocabulary:
        return Vocabulary(("dark", "bright"), (("dark",), ("bright",)), ("a {}",), class_colors(2))


def write_transparent_capture(root: Path) -> None:
    """Blobs before nothing: PNG pictures with alpha, poses in transforms.json, points beside them."""
    blobs, frames = true_gaussians(), []
    (root / "images").mkdir(parents=True)
    for number in range(VIEWS):
        camera = arc_camera(-0.5 + 0.2 * number, WIDTH, HEIGHT)
        with torch.no_grad():
            seen = render(blobs, camera)
        alpha = seen.alpha.clamp(0, 1)[..., None]
        color = torch.where(alpha > 0, seen.color / alpha.clamp_min(1e-3), 0).clamp(0, 1)
        rgba_u8 = (torch.cat([color, alpha], dim=-1) * 255).round().to(torch.uint8).numpy()
        rgba_u8[:6, :6] = 0  # certainly transparent
        Image.fromarray(rgba_u8).save(root / "images" / f"{number}.png")
        pose = camera.world_from_camera.numpy() @ OPENGL_FROM_OPENCV
        frames.append({"file_path": f"images/{number}.png", "transform_matrix": pose.tolist()})
    K = camera.K.numpy()
    lens = {"w": WIDTH, "h": HEIGHT, "fl_x": K[0, 0], "fl_y": K[1, 1], "cx": K[0, 2], "cy": K[1, 2]}
    (root / "transforms.json").write_text(json.dumps(lens | {"ply_file_path": "points.ply", "frames": frames}))
    write_points_ply(root / "points.ply", PointCloud(blobs.means.double().numpy()))


@pytest.fixture(scope="module")
def capture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("transparent") / "capture"
    write_transparent_capture(root)
    return root


@pytest.fixture(scope="module")
def scene_folder(capture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene of a few steps at half the size before its own background, whose poses have moved since the capture was read."""
    folder = tmp_path_factory.mktemp("transparent_scene") / "scene"
    reconstruct(
        ReconstructOptions(
            capture=capture, out=folder, downscale=FACTOR, background=BACKGROUND, steps=3, sh_degree=0, threads=1, device="cpu"
        )
    )
    scene = read_scene(folder)
    assert scene.background == BACKGROUND and scene.provenance.config["downscale"] == FACTOR
    moved = []
    for number, entry in enumerate(scene.cameras):
        pose = entry.camera.camera_from_world.clone()
        pose[:3, 3] += torch.tensor([0.01, -0.02, 0.015]) * (number + 1)  # what a refinement may find, and no file says
        moved.append(replace(entry, camera=replace(entry.camera, camera_from_world=pose)))
    write_scene_description(folder, replace(scene, cameras=tuple(moved)))
    return folder


@pytest.fixture
def folder(scene_folder: Path, tmp_path: Path) -> Path:
    """A copy to write to."""
    return Path(shutil.copytree(scene_folder, tmp_path / "scene"))


@pytest.fixture
def labelled(folder: Path) -> Path:
    segment_run.segment(SegmentOptions(target=(folder,), vote="view", no_cache=True, threads=1), None, Watcher())
    return folder


def photograph_u8(capture: Path, name: str) -> np.ndarray:
    """What the scene was trained on, made by hand: over the background first, then averaged over squares of pixels."""
    with Image.open(capture / name) as picture:
        rgba = np.asarray(picture).astype(np.uint16)
    behind = np.array(BACKGROUND_U8, dtype=np.uint16)
    alpha = rgba[..., 3:]
    whole = ((rgba[..., :3] * alpha + behind * (255 - alpha) + 127) // 255).astype(np.uint8)
    return np.asarray(Image.fromarray(whole).resize((WIDTH // FACTOR, HEIGHT // FACTOR), Image.Resampling.BOX))


def assert_as_the_scene_saw_them(frames: Sequence[Frame], scene: Scene, capture: Path) -> None:
    assert frames
    for frame in frames:
        camera = scene.camera(frame.name)
        assert (frame.camera.width, frame.camera.height) == (WIDTH // FACTOR, HEIGHT // FACTOR)
        assert torch.equal(frame.camera.camera_from_world, camera.camera_from_world) and torch.equal(frame.camera.K, camera.K)
        assert frame.load_image is not None
        np.testing.assert_array_equal(frame.load_image(), photograph_u8(capture, frame.name))
        assert tuple(frame.load_image()[0, 0]) == BACKGROUND_U8


def test_evaluate_compares_with_what_was_trained_on(folder: Path, capture: Path, tmp_path: Path) -> None:
    scene = read_scene(folder)
    expected = []
    for entry in scene.cameras_of("test"):
        with torch.no_grad():
            color = render(scene.gaussians, entry.camera, background=torch.tensor(BACKGROUND)).color
        truth = photograph_u8(capture, entry.name).astype(np.float32) * np.float32(1 / 255)
        expected.append(psnr(color.clamp(0, 1), torch.from_numpy(truth)))
    assert expected
    found = evaluate_command(EvalOptions(folder, threads=1, device="cpu"))
    assert isinstance(found, EvalSummary) and found.psnr == pytest.approx(np.mean(expected), abs=1e-4)
    elsewhere = shutil.copytree(capture, tmp_path / "elsewhere")
    again = evaluate_command(EvalOptions(folder, capture=elsewhere, threads=1, device="cpu"))
    assert isinstance(again, EvalSummary) and again.psnr == found.psnr


def test_figures_of_a_scene_that_cannot_be_written_are_not_thrown_away(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ResourceError("write access to scene.json", expected="a writable folder", got="Permission denied")

    monkeypatch.setattr("scenewise.commands.evaluate.run.write_scene_description", refuse)
    with pytest.warns(UserWarning, match=r"scene\.json was not updated with these figures: write access to scene\.json"):
        found = evaluate_command(EvalOptions(folder, threads=1, device="cpu"))
    assert isinstance(found, EvalSummary) and found.psnr is not None


def test_segment_shows_the_teacher_what_the_scene_was_trained_on(
    folder: Path, capture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = []

    def watched(*arguments):
        targets.append(open_target(*arguments))
        return targets[-1]

    open_target = segment_run.open_target
    monkeypatch.setattr(segment_run, "open_target", watched)
    teacher = Watcher()
    segment_run.segment(SegmentOptions(target=(folder,), no_cache=True, threads=1), None, teacher)
    scene = read_scene(folder)
    assert_as_the_scene_saw_them(targets[0].frames, scene, capture)
    assert teacher.shown.keys() == {Path(entry.name).name for entry in scene.cameras}
    for entry in scene.cameras:
        np.testing.assert_array_equal(teacher.shown[Path(entry.name).name], photograph_u8(capture, entry.name))


def test_segment_at_another_size_keeps_background_and_poses(folder: Path, capture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = read_scene(folder)
    frames = reopen_photographs(scene, capture, factor=1).capture.frames
    for frame in frames:
        assert (frame.camera.width, frame.camera.height) == (WIDTH, HEIGHT)
        assert torch.equal(frame.camera.camera_from_world, scene.camera(frame.name).camera_from_world)
        assert frame.load_image is not None and tuple(frame.load_image()[0, 0]) == BACKGROUND_U8


def test_train_learns_from_what_the_scene_was_trained_on(
    labelled: Path, capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = []

    def watched(raw, *arguments, **more):
        scans.append(raw)
        return prepare_scan(raw, *arguments, **more)

    prepare_scan = data_sets.prepare_scan
    monkeypatch.setattr(data_sets, "prepare_scan", watched)
    teacher = Watcher()
    options = TrainOptions(
        "hicl", data=labelled, out=tmp_path / "run", preset="rooms", epochs=1, width=0.25, voxel=0.15, batch=1, threads=1
    )
    train(replace(options, device="cpu"), None, teacher)
    assert_as_the_scene_saw_them(scans[0].capture.frames, read_scene(labelled), capture)
    assert {image.shape for image in teacher.shown.values()} == {(HEIGHT // FACTOR, WIDTH // FACTOR, 3)}


def test_the_split_of_a_scene_is_kept(folder: Path) -> None:
    (source,) = open_scans(folder)
    reopened = source.capture()
    assert reopened is not None
    assert reopened.test_names == {entry.name for entry in read_scene(folder).cameras_of("test")} != set()


def test_query_draws_heat_over_what_the_scene_was_trained_on(
    labelled: Path, capture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (features_path(labelled, "splats"), labels_path(labelled, "splats")):
        path.unlink()  # points alone: their heat lies over photographs
    frames: list[Frame] = []

    def watched(points, views, *arguments):
        frames.extend(views)
        return stream_visible_pixels(points, views, *arguments)

    stream_visible_pixels = query_pictures.stream_visible_pixels
    monkeypatch.setattr(query_pictures, "stream_visible_pixels", watched)
    summary = query(QueryOptions(labelled, "bright", views=3, threads=1), None, Watcher())
    assert summary.elements == "points"
    assert_as_the_scene_saw_them(frames, read_scene(labelled), capture)
    sizes = {read_image(path).shape for path in summary.files if path.suffix == ".png"}
    assert sizes == {(HEIGHT // FACTOR, WIDTH // FACTOR, 3)}


def test_render_and_view_stand_where_the_photographs_were_taken(folder: Path) -> None:
    scene = read_scene(folder)
    summary = render_scene(RenderOptions(folder, split="all", threads=1, device="cpu"))
    assert (summary.width, summary.height, summary.pictures) == (WIDTH // FACTOR, HEIGHT // FACTOR, VIEWS)
    for entry, path in zip(scene.cameras, summary.files, strict=True):
        with torch.no_grad():
            color = render(scene.gaussians, entry.camera, background=torch.tensor(BACKGROUND)).color
        np.testing.assert_array_equal(read_image(path), image_u8_from_color(color.numpy()))
    contents = load_contents(folder, max_splats=1000, max_points=1000)
    assert contents.scene.background == BACKGROUND
    for shown, entry in zip(contents.cameras, scene.cameras, strict=True):
        assert torch.equal(shown.camera.camera_from_world, entry.camera.camera_from_world)
        assert (shown.camera.width, shown.camera.height) == (WIDTH // FACTOR, HEIGHT // FACTOR)


def test_photographs_that_are_gone_are_missed_by_name(folder: Path) -> None:
    scene = read_scene(folder)
    nowhere = replace(scene, provenance=replace(scene.provenance, capture=""))
    with pytest.raises(DataFormatError, match="no record of where they are"):
        place_of_photographs(folder, nowhere)
    with pytest.raises(DataFormatError, match=r"nothing at .*gone.*look there"):
        place_of_photographs(folder, scene, folder / "gone", fix="look there")

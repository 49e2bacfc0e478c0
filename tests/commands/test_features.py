"""scenewise features: what a pre-trained pair says of points and pictures, as files."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.between_workers import made_once
from tests.support.tiny_posed import tiny_teacher, write_captures

from scenewise.cli.main import main
from scenewise.commands.features.options import FeaturesOptions
from scenewise.commands.features.run import write_features
from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.captures import open_capture
from scenewise.io.ply.points import read_points_ply_with_extra, write_points_ply
from scenewise.io.teacher_files import read_answer, read_teacher_info
from scenewise.io.tensor_files import read_tensors
from scenewise.networks.consistent.pair import ConsistentPair
from scenewise.networks.consistent.shape import ConsistentShape
from scenewise.parts.sources.capture_scans import capture_scan
from scenewise.scenes.point_clouds import PointCloud
from scenewise.teachers.choose import open_teacher
from scenewise.teachers.clip_teacher import ClipTeacher
from scenewise.teachers.consistent import ConsistentFeatures, open_consistent
from scenewise.teachers.consistent_file import FILE, AboutPair, read_pair, write_pair
from scenewise.teachers.from_files import FilesTeacher

VOXEL = 0.2
FAR = np.array([450_000.0, 5_400_000.0, 120.0])


def write_tiny_pair(path: Path, clip: ClipTeacher, *, knows_words: bool) -> None:
    """Random branches beside a tower."""
    tower = clip.clip.tower
    shape = ConsistentShape(
        dim=8,
        tower_width=tower.width,
        tower_depth=tower.depth,
        image_width=16,
        backbone="minkunet14a",
        backbone_width=0.125,
        text_dim=tower.dim if knows_words else None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        pair = ConsistentPair(shape, tower.dim)
        torch.nn.init.normal_(pair.points.score.weight)  # scores that differ
    write_pair(path, pair, AboutPair(clip.name, clip.clip.fingerprint, tower.dim, VOXEL, 64, "CC0-1.0", {}))


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "posed_captures", write_captures)[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair beside the embedded CLIP."""
    folder = tmp_path_factory.mktemp("pair")
    write_tiny_pair(folder / FILE, open_teacher("small-clip", device="cpu"), knows_words=True)
    return folder


@pytest.fixture(scope="module")
def wordless(tmp_path_factory: pytest.TempPathFactory) -> ConsistentFeatures:
    path = tmp_path_factory.mktemp("wordless") / FILE
    write_tiny_pair(path, tiny_teacher(), knows_words=False)
    return ConsistentFeatures(read_pair(path), tiny_teacher(), "condense:wordless")


def tensors(path: Path) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in read_tensors(path, "features")[0].items()}


def test_a_capture_becomes_points_key_points_and_a_teacher(
    captures: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "features"
    words = f"features {captures / 'hall'} --teacher condense:{run} --out {out} --keypoints 30 --frames 3 --threads 1 --json"
    assert main([*words.split(), "--device", "cpu"]) == 0
    told = json.loads(capsys.readouterr().out)
    pair = open_consistent(f"condense:{run}", device="cpu")
    raw = capture_scan(captures / "hall").open()
    assert (told["points"], told["pictures"], told["space"], told["dim"], told["picture_dim"]) == (
        len(raw.cloud),
        3,
        "text",
        8,
        128,
    )
    assert told["num_bytes"] == sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    about = json.loads((out / "features.json").read_text())
    assert about["fingerprint"] == pair.fingerprint and about["voxel"] == VOXEL and about["licence"] == "CC0-1.0"

    points = tensors(out / "points.safetensors")
    assert points["features"].dtype == points["scores"].dtype == np.float16 and points["positions"].dtype == np.float64
    assert np.array_equal(points["positions"], raw.cloud.points_in_world), "in the order and frame of the source"
    middle = (raw.cloud.points_in_world.min(axis=0) + raw.cloud.points_in_world.max(axis=0)) / 2
    said = pair.of_points((raw.cloud.points_in_world - middle).astype(np.float32), raw.cloud.colors_u8)
    for row in range(0, len(raw.cloud), 997):
        voxel = said.voxel_of_point[row]
        assert np.allclose(points["features"][row], said.features[voxel], atol=1e-3)
        assert points["scores"][row] == pytest.approx(said.scores[voxel], abs=1e-3)

    keypoints = tensors(out / "keypoints.safetensors")
    assert len(keypoints["positions"]) == told["keypoints"] == 30 and np.all(np.diff(keypoints["scores"].astype(np.float32)) <= 0)
    assert keypoints["scores"][0] == points["scores"].max()
    for place, feature, score in zip(keypoints["positions"], keypoints["features"], keypoints["scores"]):
        same = np.flatnonzero((points["features"] == feature).all(axis=1) & (points["scores"] == score))
        assert len(same) and np.allclose(points["positions"][same].mean(axis=0), place, atol=1e-4), "the middle of its points"
    cloud, extra = read_points_ply_with_extra(out / "keypoints.ply")
    assert np.allclose(cloud.points_in_world, keypoints["positions"], atol=1e-5) and cloud.colors_u8 is not None
    assert np.allclose(extra["score"], keypoints["scores"], atol=1e-3)
    for place, color in zip(keypoints["positions"], cloud.colors_u8):
        near = np.abs(raw.cloud.points_in_world - place).max(axis=1) < VOXEL
        assert (raw.cloud.colors_u8[near] == color).all(axis=1).any(), "of a point that lies there"

    teacher = FilesTeacher(out / "pictures", open_teacher("small-clip", device="cpu"))
    capture = open_capture(captures / "hall")
    assert [frame.name for frame in capture.frames if teacher.has(frame.name)] == [capture.frames[i].name for i in (0, 4, 8)]
    image = capture.frames[4].load_image()
    found, wanted = teacher.dense(image, capture.frames[4].name), pair.dense(image, "")
    assert found.values.shape == wanted.values.shape == (12, 16, 128) and np.allclose(found.values, wanted.values, atol=2e-3)
    assert teacher.info.text_space == "small-clip" and teacher.logit_scale == pair.logit_scale and teacher.licence == "CC0-1.0"


def test_positions_are_those_of_the_source_however_far_and_tilted(captures: Path, wordless: ConsistentFeatures, tmp_path: Path):
    """Far from the origin the world has an origin of its own, and "up" turns the scan's axes; neither reaches the files."""
    turn = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # z becomes x
    far = tmp_path / "far"
    shutil.copytree(captures / "hall", far)
    for path in far.glob("*.pose.txt"):
        pose = np.loadtxt(path)
        moved = np.eye(4)
        moved[:3, :3], moved[:3, 3] = turn @ pose[:3, :3], turn @ pose[:3, 3] + FAR
        np.savetxt(path, moved, fmt="%.17g")
    about = json.loads((far / "capture.json").read_text())
    about["up_in_world"] = [1.0, 0.0, 0.0]
    (far / "capture.json").write_text(json.dumps(about))
    found = []
    for name, source in (("near", captures / "hall"), ("far", far)):
        summary = write_features(FeaturesOptions(source, tmp_path / f"{name} out", threads=1, no_pictures=True), None, wordless)
        assert summary.pictures == 0 and summary.space is None and not (summary.folder / "pictures").exists()
        found.append((tensors(summary.folder / "points.safetensors"), tensors(summary.folder / "keypoints.safetensors")))
    (near, near_keys), (moved, moved_keys) = found
    assert np.allclose(near["positions"] @ turn.T + FAR, moved["positions"], atol=1e-4)
    assert np.abs(moved_keys["positions"] - FAR).max() < 10.0
    gaps = np.linalg.norm(moved_keys["positions"][:, None] - moved["positions"][None, ::5], axis=2).min(axis=1)
    assert gaps.max() < 2 * VOXEL and len(near_keys["positions"]) > 50


def test_the_space_of_a_pair_without_words_is_its_own(captures: Path, wordless: ConsistentFeatures, tmp_path: Path):
    options = FeaturesOptions(captures / "hall", tmp_path / "out", threads=1, frames=1, keypoints=5)
    summary = write_features(options, None, wordless)
    assert (summary.space, summary.picture_dim, summary.keypoints) == (
        "condense",
        8,
        5,
    ) and "1 pictures (condense" in summary.text()
    info = read_teacher_info(tmp_path / "out" / "pictures")
    frame = open_capture(captures / "hall").frames[0]
    values = read_answer(tmp_path / "out" / "pictures" / f"{Path(frame.name).stem}.safetensors", info).values
    assert info.text_space is None and info.dim == 8
    assert np.allclose(values, wordless.of_picture(frame.load_image()).features, atol=1e-3)


def test_a_cloud_has_points_alone_and_a_folder_is_replaced_on_request(
    captures: Path, wordless: ConsistentFeatures, tmp_path: Path
):
    cloud = capture_scan(captures / "study", max_points=400).open().cloud
    write_points_ply(tmp_path / "cloud.ply", cloud)
    options = FeaturesOptions(tmp_path / "cloud.ply", tmp_path / "out", threads=1)
    summary = write_features(options, None, wordless)
    assert summary.points == 400 and summary.pictures == 0
    with pytest.raises(DataFormatError, match=r"expected a new or empty folder, got features\. Fix: --overwrite replaces them"):
        write_features(options, None, wordless)
    write_points_ply(tmp_path / "cloud.ply", PointCloud(cloud.points_in_world[:100], cloud.colors_u8[:100]))
    replaced = write_features(FeaturesOptions(options.source, options.out, threads=1, overwrite=True), None, wordless)
    assert replaced.points == len(tensors(tmp_path / "out" / "points.safetensors")["scores"]) == 100


@pytest.mark.errors
def test_what_cannot_be_written_is_refused(captures: Path, wordless: ConsistentFeatures, tmp_path: Path):
    out = tmp_path / "out"
    with pytest.raises(ConventionError, match="--space: expected condense: the pair's tower knows no words, got text"):
        write_features(FeaturesOptions(captures / "hall", out, space="text", threads=1), None, wordless)
    with pytest.raises(ConventionError, match="source: expected one scan, got 2 in"):
        write_features(FeaturesOptions(captures, out, threads=1), None, wordless)
    write_points_ply(tmp_path / "grey.ply", PointCloud(np.zeros((3, 3))))
    with pytest.raises(ConventionError, match="points of grey: expected colours, got none"):
        write_features(FeaturesOptions(tmp_path / "grey.ply", out, threads=1), None, wordless)
    assert not out.exists()
    with pytest.raises(DataFormatError, match="expected a new or empty folder, got a folder with other files"):
        write_features(FeaturesOptions(captures / "hall", captures, threads=1, overwrite=True), None, wordless)
    with pytest.raises(ConventionError, match="--frames: expected pictures to write, got --no-pictures"):
        FeaturesOptions(captures, out, frames=2, no_pictures=True)
    with pytest.raises(ConventionError, match="--keypoints: expected 1 or more, got 0"):
        FeaturesOptions(captures, out, keypoints=0)

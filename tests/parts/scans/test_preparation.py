"""Scans are prepared as promised, kept on the disk, and found again."""

import shutil
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from tests.support.between_workers import made_once

from scenewise.errors import CaptureWarning, ConventionError, DataFormatError
from scenewise.io.ply.points import write_points_ply
from scenewise.io.scene_folder import no_gaussians, write_scene_description
from scenewise.networks.sparse_inputs import VoxelisedPoints
from scenewise.parts.scans.bare_scans import bare_scan, scan_axes
from scenewise.parts.scans.data_sets import class_embeddings, instruments_of, prepare_data
from scenewise.parts.scans.preparation import prepare_scan
from scenewise.parts.scans.scan_files import ScanSet, read_scan, scan_bytes, write_scan
from scenewise.parts.scans.settings import PreparationSettings
from scenewise.parts.segments.oversegmentation import mesh_segments
from scenewise.parts.sources.opening import open_scans
from scenewise.parts.sources.raw_scans import RawScan, ScanSource
from scenewise.parts.sources.room_scans import RoomScanSettings, write_room_data_set
from scenewise.parts.sources.truths import frame_truths, truth_of_scan, vocabulary_of_sources
from scenewise.scenes.captures import Capture
from scenewise.scenes.dense_fields import DenseField
from scenewise.scenes.point_clouds import PointCloud
from scenewise.scenes.scenes import Provenance, Scene, SceneCamera
from scenewise.scenes.vocabularies import Vocabulary
from scenewise.teachers.from_files import FilesTeacher, export_teacher_files
from scenewise.teachers.noisy_truth import NoiseRates, NoisyTruth
from scenewise.teachers.regions.sam import SamRegions
from scenewise.worlds.classes import CLASS_NAMES
from scenewise.worlds.seeds import BENCHMARK_SEEDS, LEARNING_SEEDS

SMALL = PreparationSettings(picture_width=48)
COLORS = Vocabulary(("red", "green", "blue"), (("red", "crimson"), ("green",), ("blue",)), ("{}",), ((255, 0, 0),) * 3)
_OF_WORD = {"red": (1.0, 0.0, 0.0), "crimson": (0.8, 0.6, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}


class ColorTeacher:
    """Features are the mean colours of a 4×5 grid."""

    name, fingerprint, logit_scale, licence = "colors", "colors-1", 10.0, None

    def __init__(self, missing: Sequence[str] = (), stop_after: int | None = None) -> None:
        self.missing, self.stop_after = missing, stop_after
        self.asked: list[str] = []

    def dense(self, image: np.ndarray, frame_name: str) -> DenseField | None:
        if any(name in frame_name for name in self.missing):
            return None
        if len(self.asked) == self.stop_after:
            raise KeyboardInterrupt
        self.asked.append(frame_name)
        height, width = image.shape[0] // 4 * 4, image.shape[1] // 5 * 5
        cells = image[:height, :width].reshape(4, height // 4, 5, width // 5, 3).mean(axis=(1, 3)).astype(np.float32)
        return DenseField(cells / np.linalg.norm(cells, axis=2, keepdims=True), *image.shape[:2])

    def embed_text(self, phrases: Sequence[str], templates: Sequence[str]) -> np.ndarray:
        return np.array([_OF_WORD[phrase] for phrase in phrases], dtype=np.float32)

    def default_templates(self) -> tuple[str, ...]:
        return ("{}",)

    def vocabulary(self) -> Vocabulary | None:
        return None


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To be left as they are."""
    settings = RoomScanSettings(frames=3, width=64, height=48, spacing=0.06, segment=mesh_segments)

    def make(place: Path) -> None:
        write_room_data_set(place, LEARNING_SEEDS[:2], BENCHMARK_SEEDS[:1], settings=settings)

    return made_once(tmp_path_factory, "prepared_rooms", make)[0]


@pytest.fixture(scope="module")
def sources(rooms: Path) -> Sequence[ScanSource]:
    return open_scans(rooms, "train")


@pytest.fixture(scope="module")
def vocabulary(sources: Sequence[ScanSource]) -> Vocabulary:
    return vocabulary_of_sources(sources, ("{}",))


def clean_truth(sources: Sequence[ScanSource], vocabulary: Vocabulary) -> NoisyTruth:
    return NoisyTruth(frame_truths(sources, vocabulary), vocabulary, NoiseRates())


# ------------------------------------------------------------------------------------------------------------------ one scan


def test_labels_of_pixels_and_the_points_they_show_are_those_of_the_truth(
    sources: Sequence[ScanSource], vocabulary: Vocabulary
) -> None:
    source = sources[0]
    instruments = instruments_of(clean_truth(sources, vocabulary), vocabulary, SMALL)
    prepared = prepare_scan(source.open(), instruments, replace(SMALL, picture_width=64))
    scan = prepared.scan
    of_frame, truth = frame_truths(sources, vocabulary), truth_of_scan(source, vocabulary)
    assert truth is not None and len(truth) == len(scan)
    for view in scan.views:
        assert (view.labels.class_ids == of_frame(f"{source.name}/{view.name}")).all()
        assert view.image_u8 is not None and view.image_u8.shape == (48, 64, 3)
    labels = np.stack([view.labels.class_ids for view in scan.views])
    agrees = labels[scan.pixels.view, scan.pixels.row, scan.pixels.column] == truth[scan.pixels.element]
    assert len(scan.pixels) > 3000 and agrees.mean() > 0.9
    assert prepared.summary.pairs == len(scan.pixels) and 0.2 < prepared.summary.points_labelled < 1
    assert prepared.summary.segment_source == "felzenszwalb-mesh" and prepared.summary.inputs == "colour"
    assert scan.segments.min() == 0 and scan.segments.max() + 1 == prepared.summary.segments


def test_a_scans_axes_are_upright_metric_and_central() -> None:
    cloud = PointCloud(np.array([[0.0, 0.0, 0.0], [2.0, 4.0, 6.0]]), np.array([[0, 255, 51]] * 2, dtype=np.uint8))
    capture = Capture(Path("x"), "rgbd", (), scale="metric", up_in_world=np.array([1.0, 0.0, 0.0]))
    raw = RawScan("x", cloud, "two points", capture)
    # +X becomes up: the axis of the turn is Y, and what was +Z points along −X.
    np.testing.assert_allclose(scan_axes(raw)(cloud.points_in_world), [[3, -2, -1], [-3, 2, 1]], atol=1e-6)
    scan = bare_scan(raw)
    np.testing.assert_allclose(scan.inputs[0], [-1, 1, -0.6], atol=1e-6)
    assert scan.points_in_scan.dtype == np.float32 and (scan.segments == -1).all() and scan.views == ()
    upside_down = replace(raw, capture=replace(capture, up_in_world=np.array([0.0, 0.0, -1.0])))
    np.testing.assert_allclose(scan_axes(upside_down)(cloud.points_in_world)[1], [1, -2, -3], atol=1e-6)
    with pytest.raises(ConventionError, match=r"points of x: expected finite positions, got 1 that are not"):
        scan_axes(replace(raw, cloud=PointCloud(np.array([[0, 0, np.nan], [1, 1, 1]]))))


def test_regions_and_targets_come_at_their_own_sizes(sources: Sequence[ScanSource]) -> None:
    for target, channels in (("random-convolutions", 78), ("teacher", 3)):
        settings = replace(SMALL, regions="slic", targets=target, pictures=False)
        instruments = instruments_of(ColorTeacher(), COLORS, settings)
        scan = prepare_scan(sources[0].open(), instruments, settings).scan
        for view in scan.views:
            assert view.image_u8 is None and (view.height, view.width) == (36, 48)
            assert view.regions is not None and view.regions.shape == (36, 48) and len(np.unique(view.regions)) > 10
            assert view.targets is not None and view.targets.shape[2] == channels and np.isfinite(view.targets).all()
    with pytest.raises(ConventionError, match=r"targets: expected sam:NAME, files:DIR, teacher or random-convolutions"):
        instruments_of(ColorTeacher(), COLORS, replace(SMALL, targets="dino"))


def test_targets_and_answers_from_files_are_those_of_the_scan(sources: Sequence[ScanSource], tmp_path: Path) -> None:
    """Frames of different scans share their names; files lie in a folder for each scan."""
    frames = [
        (f"{source.name}/{frame.name}", frame.load_image)
        for source in sources
        for frame in source.open().capture.frames  # type: ignore[union-attr]
    ]
    assert len({name.partition("/")[2] for name, _ in frames}) == 3 and len(frames) == 6
    export_teacher_files(tmp_path / "files", ColorTeacher(), frames, phrases=COLORS.queries)  # type: ignore[arg-type]
    settings = replace(SMALL, targets=f"files:{tmp_path / 'files'}")
    from_files = prepare_data(
        sources, instruments_of(FilesTeacher(tmp_path / "files"), COLORS, settings), settings, tmp_path / "one"
    )
    asked = prepare_data(
        sources,
        instruments_of(ColorTeacher(), COLORS, replace(SMALL, targets="teacher")),
        replace(SMALL, targets="teacher"),
        tmp_path / "two",
    )
    for one, two in zip(from_files, asked, strict=True):
        for mine, other in zip(one.views, two.views, strict=True):
            assert mine.targets is not None and other.targets is not None
            np.testing.assert_allclose(mine.targets, other.targets, atol=1e-3)
            assert (mine.labels.class_ids == other.labels.class_ids).mean() > 0.99


def test_a_sam_gives_regions_and_targets_in_one_pass(sources: Sequence[ScanSource], tmp_path: Path) -> None:
    import torch
    from transformers import SamConfig, SamModel

    vision = {"hidden_size": 24, "output_channels": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 64}
    vision |= {"patch_size": 8, "window_size": 0, "global_attn_indexes": [0], "mlp_dim": 32, "num_pos_feats": 8}
    prompt = {"hidden_size": 16, "image_size": 64, "patch_size": 8, "mask_input_channels": 4}
    decoder = {"hidden_size": 16, "mlp_dim": 32, "num_attention_heads": 2, "num_hidden_layers": 1, "iou_head_hidden_dim": 16}
    torch.manual_seed(0)
    config = SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    SamModel(config).save_pretrained(tmp_path / "sam")
    settings = replace(SMALL, regions=f"sam:{tmp_path / 'sam'}", targets=f"sam:{tmp_path / 'sam'}", most_views=2)
    instruments = instruments_of(ColorTeacher(), COLORS, settings)
    assert isinstance(instruments.regions, SamRegions)
    passes = []
    encoder = instruments.regions._model.get_image_embeddings
    instruments.regions._model.get_image_embeddings = lambda values: passes.append(1) or encoder(values)
    prepared = prepare_scan(sources[0].open(), instruments, settings)
    assert len(passes) == len(prepared.scan.views) == 2
    for view in prepared.scan.views:
        assert view.regions is not None and view.regions.shape == (36, 48) and view.regions.min() == -1
        assert view.targets is not None and view.targets.shape == (6, 8, 16)  # 48×64 of 64×64 pixels are picture


def test_shipped_segments_are_taken_only_on_request_and_said(sources: Sequence[ScanSource]) -> None:
    raw = sources[0].open()
    settings = replace(SMALL, segments="shipped")
    instruments = instruments_of(ColorTeacher(), COLORS, settings)
    prepared = prepare_scan(raw, instruments, settings)
    assert prepared.summary.segment_source == "shipped"
    assert raw.shipped_segments is not None and (prepared.scan.segments == raw.shipped_segments().ids).all()
    with pytest.raises(ConventionError, match=r"segments: expected segments shipped with the scan, got none for room"):
        prepare_scan(replace(raw, shipped_segments=None), instruments, settings)


def test_frames_without_an_answer_are_left_out_and_counted(sources: Sequence[ScanSource]) -> None:
    raw = sources[0].open()
    with pytest.warns(CaptureWarning, match=r"colors has nothing for 1 of 3 views of room1300000: color/1.jpg"):
        prepared = prepare_scan(raw, instruments_of(ColorTeacher(["1.jpg"]), COLORS, SMALL), SMALL)
    assert prepared.summary.without_answer == ("color/1.jpg",)
    assert [view.name for view in prepared.scan.views] == ["color/0.jpg", "color/2.jpg"]
    assert set(np.unique(prepared.scan.pixels.view)) == {0, 1}
    with pytest.raises(ConventionError, match=r"answers of colors for room1300000: expected one for some of its 3 views"):
        prepare_scan(raw, instruments_of(ColorTeacher(["color"]), COLORS, SMALL), SMALL)


def test_what_cannot_be_learned_from_says_so(sources: Sequence[ScanSource]) -> None:
    raw = sources[0].open()
    instruments = instruments_of(ColorTeacher(), COLORS, SMALL)
    with pytest.raises(ConventionError, match=r"pictures with poses to learn from, got points alone"):
        prepare_scan(replace(raw, capture=None), instruments, SMALL)
    far = replace(raw.cloud, points_in_world=raw.cloud.points_in_world + 50.0)
    with pytest.raises(ConventionError, match=r"some that its views show, got none within the depth tolerance"):
        prepare_scan(replace(raw, cloud=far, mesh=None), instruments, SMALL)


# --------------------------------------------------------------------------------------------------------------- on the disk


def test_a_scan_comes_back_as_it_was_written(sources: Sequence[ScanSource], tmp_path: Path) -> None:
    settings = replace(SMALL, regions="felzenszwalb", targets="random-convolutions")
    prepared = prepare_scan(sources[0].open(), instruments_of(ColorTeacher(), COLORS, settings), settings)
    write_scan(tmp_path / "a.safetensors", prepared, "key")
    back = read_scan(tmp_path / "a.safetensors")
    assert back.summary == prepared.summary and back.scan.name == prepared.scan.name
    for name in ("points_in_scan", "inputs", "segments"):
        assert (getattr(back.scan, name) == getattr(prepared.scan, name)).all()
    for name in ("element", "view", "row", "column"):
        assert (getattr(back.scan.pixels, name) == getattr(prepared.scan.pixels, name)).all()
    for before, after in zip(prepared.scan.views, back.scan.views, strict=True):
        assert after.name == before.name
        assert (after.labels.class_ids == before.labels.class_ids).all()
        assert (after.labels.confidence == before.labels.confidence).all()
        for name in ("image_u8", "regions", "targets"):
            assert (getattr(after, name) == getattr(before, name)).all()
    write_scan(tmp_path / "b.safetensors", back, "key")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    # Nothing but what learning may know.
    names = {name.partition(".")[0] for name in load_file(tmp_path / "a.safetensors")}
    assert names == {"points", "inputs", "segments", "pixels", "labels", "confidence", "image", "regions", "targets"}


def test_damaged_files_are_refused(sources: Sequence[ScanSource], tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_scan(path, prepare_scan(sources[0].open(), instruments_of(ColorTeacher(), COLORS, SMALL), SMALL))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataFormatError, match=r"a safetensors file"):
        read_scan(path)
    path.write_bytes(data)
    tensors = load_file(path)
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    for name, spoil, message in (
        ("pixels.row", lambda values: values + 40, "points and pixels that exist"),
        ("pixels.element", lambda values: values[:-1], "points and pixels that exist"),
        ("segments", lambda values: values.astype(np.float32), "segments: expected I8 or I16 or I32 on 1 axes"),
        ("labels.0", lambda values: values - 2, "class_ids"),
        ("confidence.1", lambda values: values + np.float16(2), "confidence"),
        ("image.0", lambda values: values[1:], "image.0: expected 36×48"),
    ):
        save_file({**tensors, name: spoil(tensors[name])}, path, metadata)
        with pytest.raises(DataFormatError, match=message):
            read_scan(path)
    save_file({name: values for name, values in tensors.items() if name != "inputs"}, path, metadata)
    with pytest.raises(DataFormatError, match=r"inputs: expected this tensor, got none"):
        read_scan(path)
    save_file(tensors, path, {"scan": "{}"})
    with pytest.raises(DataFormatError, match=r"a scan of version 1"):
        read_scan(path)


def test_a_stopped_preparation_goes_on_where_it_was(sources: Sequence[ScanSource], tmp_path: Path) -> None:
    whole = prepare_data(sources, instruments_of(ColorTeacher(), COLORS, SMALL), SMALL, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        prepare_data(sources, instruments_of(ColorTeacher(stop_after=4), COLORS, SMALL), SMALL, tmp_path / "stopped")
    assert len(list((tmp_path / "stopped").iterdir())) == 1
    second = ColorTeacher()
    resumed = prepare_data(sources, instruments_of(second, COLORS, SMALL), SMALL, tmp_path / "stopped")
    assert second.asked == [f"{sources[1].name}/color/{number}.jpg" for number in range(3)]
    assert resumed.fingerprint == whole.fingerprint and resumed.names == whole.names
    for one, two in zip(*(sorted((tmp_path / name).iterdir()) for name in ("whole", "stopped")), strict=True):
        assert one.name == two.name and one.read_bytes() == two.read_bytes()


def test_a_damaged_scan_is_made_anew_and_other_settings_are_kept_apart(sources: Sequence[ScanSource], tmp_path: Path) -> None:
    first = prepare_data(sources[:1], instruments_of(ColorTeacher(), COLORS, SMALL), SMALL, tmp_path)
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:1000])
    teacher = ColorTeacher()
    again = prepare_data(sources[:1], instruments_of(teacher, COLORS, SMALL), SMALL, tmp_path)
    assert len(teacher.asked) == 3 and again.fingerprint == first.fingerprint and len(again[0]) == len(read_scan(path).scan)
    other = prepare_data(
        sources[:1],
        instruments_of(ColorTeacher(), COLORS, replace(SMALL, segment_min_size=50)),
        replace(SMALL, segment_min_size=50),
        tmp_path,
    )
    assert other.fingerprint != first.fingerprint and len(list(tmp_path.iterdir())) == 2


def test_a_set_reads_lazily_within_its_memory_and_reports(sources: Sequence[ScanSource], tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("always")
        found = prepare_data(
            sources, instruments_of(ColorTeacher(["0/color/1.jpg"]), COLORS, SMALL), SMALL, tmp_path, max_bytes=1
        )
    assert len(found) == 2 and [scan.name for scan in found] == list(found.names)
    first = found[0]
    assert found[0] is first and scan_bytes(first) > 100_000
    assert found[1] is not None and found[0] is not first  # there was room for one
    with pytest.raises(IndexError):
        found[2]
    report = found.report()
    assert report["frames_without_answer"] == 1 and report["views"] == 5 and report["segment_sources"] == ["felzenszwalb-mesh"]
    assert report["teacher"] == "colors" and report["settings"]["picture_width"] == 48
    # The mean of its phrases, (0.9, 0.3, 0) before it is scaled to unit length.
    np.testing.assert_allclose(found.text[0], np.array([0.9, 0.3, 0]) / np.hypot(0.9, 0.3), atol=1e-6)
    np.testing.assert_allclose(found.text[1:], np.eye(3)[1:], atol=1e-6)
    same = ScanSet.in_memory(list(found), COLORS, found.text)
    assert same.names == found.names and same[-1] is same[1]


def test_classes_without_text_get_codes_or_the_words_of_another(sources: Sequence[ScanSource], vocabulary: Vocabulary) -> None:
    noisy = clean_truth(sources, vocabulary)
    question = instruments_of(noisy, vocabulary, SMALL).question
    codes, source = class_embeddings(question, noisy)
    np.testing.assert_allclose(codes @ codes.T, np.eye(len(vocabulary)), atol=1e-5)
    assert source == "orthonormal codes"


# ----------------------------------------------------------------------------------------------------------------- data sets


def test_rooms_are_written_once(rooms: Path, tmp_path: Path) -> None:
    rooms = Path(shutil.copytree(rooms, tmp_path / "rooms"))
    before = {path: path.stat().st_mtime_ns for path in (rooms / "scans").iterdir()}
    seeds = LEARNING_SEEDS[:2], BENCHMARK_SEEDS[:1]
    write_room_data_set(
        rooms, *seeds, settings=RoomScanSettings(frames=3, width=64, height=48, spacing=0.06, segment=mesh_segments)
    )
    assert {path: path.stat().st_mtime_ns for path in (rooms / "scans").iterdir()} == before
    assert [source.name for source in open_scans(rooms, "test")] == [f"room{BENCHMARK_SEEDS[0]}"]
    assert len(open_scans(rooms)) == 3
    with pytest.raises(DataFormatError, match=r"expected rooms made with .*'frames': 2"):
        write_room_data_set(rooms, *seeds, settings=RoomScanSettings(frames=2, width=64, height=48, spacing=0.06))
    with pytest.raises(ConventionError, match=r"seeds of rooms: expected each in one split, got 5 twice"):
        write_room_data_set(tmp_path / "x", [5, 6], [5])


def test_paths_that_hold_no_scans(rooms: Path, tmp_path: Path) -> None:
    with pytest.raises(DataFormatError, match=r"a folder of scans .*, a capture, a scene folder, or a cloud"):
        open_scans(tmp_path)
    with pytest.raises(DataFormatError, match=r"expected a folder or a file, got nothing"):
        open_scans(tmp_path / "none")
    scan = rooms / "scans" / f"room{LEARNING_SEEDS[0]}"
    with pytest.raises(DataFormatError, match=r"leave the split out"):
        open_scans(scan, "train")
    alone = open_scans(scan)[0]
    assert alone.name == scan.name and alone.class_names == CLASS_NAMES  # of the data set it lies in, not ScanNet's
    truth = alone.truth()
    assert truth is not None and set(np.unique(truth)) >= {0, 1, 2}


def test_a_scene_folder_is_seen_as_it_refined_its_poses(sources: Sequence[ScanSource], tmp_path: Path) -> None:
    raw = sources[0].open()
    assert raw.capture is not None
    shifted = raw.capture.frames[0].camera.camera_from_world.clone()
    shifted[2, 3] += 0.25
    cameras = tuple(
        SceneCamera(frame.name, replace(frame.camera, camera_from_world=shifted), "train") for frame in raw.capture.frames[:1]
    )
    provenance = Provenance(str(raw.capture.root), "scannet", None, "", "segment", {}, {}, None)
    scene = Scene(no_gaussians, 0, 0, cameras, provenance, scale="metric", up_in_world=np.array([0.0, 0.0, 1.0]))
    write_scene_description(tmp_path, scene)
    assert raw.cloud.colors_u8 is not None
    photo = {f"photo_{name}": raw.cloud.colors_u8[:, channel].copy() for channel, name in enumerate(("red", "green", "blue"))}
    painted = replace(raw.cloud, colors_u8=np.zeros_like(raw.cloud.colors_u8))
    write_points_ply(tmp_path / "points.ply", painted, extra=photo)
    (source,) = open_scans(tmp_path)
    found = source.open()
    # Colours of classes would tell the answer.
    assert (found.cloud.colors_u8 == raw.cloud.colors_u8).all() and found.capture is not None
    assert [frame.name for frame in found.capture.frames] == ["color/0.jpg"]
    assert (found.capture.frames[0].camera.camera_from_world == shifted).all()


@pytest.mark.data
def test_a_real_kitchen_becomes_a_scan(data_root: Path) -> None:
    (source,) = open_scans(data_root / "redkitchen_rgbd", max_points=20_000)
    settings = replace(SMALL, picture_width=160, most_views=6)
    scan = prepare_scan(source.open(), instruments_of(ColorTeacher(), COLORS, settings), settings).scan
    assert 10_000 < len(scan) <= 20_000 and len(scan.views) == 6 and len(scan.pixels) > 5_000
    assert scan.segments.max() > 50 and np.abs(scan.points_in_scan).max() < 10
    # Upright: the kitchen's floor and worktops are level, so the height is its shortest side.
    low, high = np.quantile(scan.points_in_scan, [0.02, 0.98], axis=0)
    assert (high - low).argmin() == 2


@pytest.mark.data
def test_a_real_sweep_is_voxelised(data_root: Path) -> None:
    import torch

    (source,) = open_scans(data_root / "semantickitti_scan" / "000000.bin")
    scan = bare_scan(source.open())
    truth = source.truth()
    assert truth is not None and len(truth) == len(scan) and scan.inputs.shape == (len(scan), 1)
    positions = torch.from_numpy(scan.points_in_scan) / 0.2
    found = VoxelisedPoints.from_points(torch.from_numpy(scan.inputs), positions, torch.zeros(len(scan), dtype=torch.int64))
    assert 10_000 < len(found.voxels.grid) < len(scan)


@pytest.mark.data
def test_a_real_keyframe_of_nuscenes_becomes_a_scan(data_root: Path) -> None:
    (source,) = open_scans(data_root / "nuscenes_mini")
    settings = replace(SMALL, picture_width=200, pictures=False)
    prepared = prepare_scan(source.open(), instruments_of(ColorTeacher(), COLORS, settings), settings)
    assert prepared.summary.inputs == "intensity" and len(prepared.scan.views) == 6
    assert len(prepared.scan) == 34_688 and 0.2 < prepared.summary.points_labelled < 0.8
    assert prepared.scan.inputs.min() >= 0 and prepared.scan.inputs.max() <= 1

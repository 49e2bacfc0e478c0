"""CO3D's layout: PyTorch3D's cameras, bits of float16 as depth, lists of a whole category."""

import gzip
import json
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.support.fabricated_folders import HEIGHT, WIDTH, K, World, asymmetric_world, photograph, share_of_right_colors
from tests.support.file_mutations import assert_reader_survives
from tests.support.tiny_co3d import (
    CATEGORY,
    SEQUENCE,
    frame_records,
    sequence_record,
    viewpoint_of,
    write_category,
    write_list,
)

from scenewise.errors import CaptureWarning, DataFormatError
from scenewise.io.captures import is_capture, open_capture, usable_frames
from scenewise.io.co3d.annotations import frames_of_sequence, sequence_notes
from scenewise.io.co3d.cameras import camera_from_world_of, lens_of_viewpoint
from scenewise.io.co3d.captures import co3d_sequences, find_co3d_sequence, is_co3d_collection, read_co3d
from scenewise.io.json_fields import JsonFields

FORMS = ("ndc_isotropic", "ndc_norm_image_bounds", None)


@pytest.fixture(scope="module")
def world() -> World:
    return asymmetric_world()


@pytest.fixture
def sequence(world: World, tmp_path: Path) -> Path:
    return write_category(tmp_path, world)


def rewrite_frames(sequence: Path, change) -> None:
    """The list of frames again, each record changed by ``change(index, record)``."""
    path = sequence.parent / "frame_annotations.jgz"
    records = json.loads(gzip.decompress(path.read_bytes()))
    for index, record in enumerate(records):
        change(index, record)
    write_list(path, records)


# ------------------------------------------------------------------------------------------------------------ conventions


def test_a_camera_by_hand():
    """The camera at (0, 0, −5) looks along world +Z with its head towards world −Y, as ours do: left is −X, up is −Y.

    For a 200×100 image the shorter side's half is 50.  f = (2, 3) and p = (0.1, −0.2) in isotropic coordinates are 100 and 150
    pixels, and (100 − 5, 50 + 10) = (95, 60).  The point (1, 2, 5) is at depth 10, so u = 95 + 100·1/10 and v = 60 + 150·2/10.
    """
    camera = {"R": [[-1, 0, 0], [0, -1, 0], [0, 0, 1]], "T": [0, 0, 5], "focal_length": [2, 3], "principal_point": [0.1, -0.2]}
    isotropic = JsonFields(Path("x"), "", camera | {"intrinsics_format": "ndc_isotropic"})
    lens = lens_of_viewpoint(isotropic, 200, 100)
    assert lens.model == "PINHOLE" and lens.params == pytest.approx((100, 150, 95, 60))
    x, y, z, _ = camera_from_world_of(isotropic) @ [1, 2, 5, 1]
    assert (x, y, z) == pytest.approx((1, 2, 10))
    assert (95 + 100 * x / z, 60 + 150 * y / z) == pytest.approx((105, 90))
    # The same numbers where each side has its own unit: 100 along the width, 50 along the height.
    bounds = JsonFields(Path("x"), "", camera | {"intrinsics_format": "ndc_norm_image_bounds"})
    assert lens_of_viewpoint(bounds, 200, 100).params == pytest.approx((200, 150, 90, 60))
    assert lens_of_viewpoint(JsonFields(Path("x"), "", camera), 200, 100).params == pytest.approx((200, 150, 90, 60))


def test_a_turned_camera_by_hand():
    """Rows times R: a quarter-turn that a transposed R would turn the other way.

    Left is world +Y, up is world +Z, forward is world +X; the camera stands at (3, 1, 2), so T = −(3, 1, 2) R = (−1, −2, −3).
    The point (7, 2, 4) is 4 ahead, 1 to the left and 2 above: (−1, −2, 4) in our axes.
    """
    camera = {"R": [[0, 0, 1], [1, 0, 0], [0, 1, 0]], "T": [-1, -2, -3]}
    pose = camera_from_world_of(JsonFields(Path("x"), "", camera))
    np.testing.assert_allclose(pose @ [7, 2, 4, 1], [-1, -2, 4, 1])
    np.testing.assert_allclose(np.linalg.inv(pose)[:3, 3], [3, 1, 2])


@pytest.mark.parametrize("form", FORMS)
def test_pixels_are_those_of_pytorch3d(form: str | None, world: World):
    """Its projection in its own words: rows @ R + T, f·x/z + p, and from normalised coordinates to pixels."""
    for pose in world.world_from_camera:
        viewpoint = viewpoint_of(pose, form)
        in_camera = world.points @ np.array(viewpoint["R"]) + viewpoint["T"]
        ndc = np.array(viewpoint["focal_length"]) * in_camera[:, :2] / in_camera[:, 2:] + viewpoint["principal_point"]
        shorter = min(WIDTH, HEIGHT)
        aspect = np.array([WIDTH / shorter, HEIGHT / shorter]) if form == "ndc_isotropic" else np.ones(2)
        expected = (1 - ndc / aspect) * [WIDTH / 2, HEIGHT / 2]
        fields = JsonFields(Path("x"), "", viewpoint)
        ours = (
            lens_of_viewpoint(fields, WIDTH, HEIGHT).K @ (camera_from_world_of(fields) @ np.c_[world.points, np.ones(12)].T)[:3]
        )
        np.testing.assert_allclose((ours[:2] / ours[2]).T, expected, atol=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_points_have_their_colours_in_the_photographs(form: str | None, world: World, tmp_path: Path):
    capture = open_capture(write_category(tmp_path, world, form=form))
    assert capture.source_format == "co3d" and capture.scale == "arbitrary" and len(capture.frames) == 4
    assert share_of_right_colors(capture, world) > 0.9 > share_of_right_colors(capture, world, flip_u=True)
    assert [frame.name for frame in capture.frames] == [f"images/frame{number:06d}.jpg" for number in (1, 2, 3, 4)]
    np.testing.assert_allclose(capture.frames[0].camera.K.numpy(), K, atol=1e-9)
    for frame, pose in zip(capture.frames, world.world_from_camera):
        np.testing.assert_allclose(frame.camera.world_from_camera.numpy(), pose, atol=1e-9)
    assert capture.points is not None and np.allclose(capture.points.points_in_world, world.points, atol=1e-6)
    assert "CO3D" in (capture.licence or "") and capture.test_names == {"images/frame000001.jpg"}


def test_depth_is_bits_of_half_floats_times_the_adjustment(sequence: Path, world: World):
    capture = read_co3d(sequence)
    for frame, pose in zip(capture.frames, world.world_from_camera):
        expected = photograph(world, pose)[1]
        expected[: HEIGHT // 4] = 0  # not to be trusted
        assert frame.load_depth is not None and (expected > 0).sum() > 20
        assert frame.depth_path == frame.load_depth.path
        np.testing.assert_allclose(frame.load_depth(), expected, rtol=1e-3)


def test_depth_by_hand(sequence: Path):
    """As float16, 0x3E00 is 1.5, 0xC000 −2, 0x7C00 infinity, 0x7E00 NaN; with an adjustment of 0.25 they are 0.375 and 0."""
    path = sequence / "depths/frame000001.jpg.geometric.png"
    bits = np.zeros((HEIGHT, WIDTH), dtype=np.uint16)
    bits[HEIGHT // 2, 3:7] = [0x3E00, 0xC000, 0x7C00, 0x7E00]
    Image.fromarray(bits).save(path)
    load = read_co3d(sequence).frames[0].load_depth
    assert load is not None
    assert load()[HEIGHT // 2, 2:8].tolist() == [0, 0.375, 0, 0, 0, 0]
    bits[HEIGHT // 2, 4] = 0x3E00
    Image.fromarray(bits[::2, ::2]).save(path)  # a map of half the size covers the photograph as well
    Image.fromarray(np.ones((HEIGHT // 2, WIDTH // 2), dtype=bool)).save(sequence / "depth_masks/frame000001.png")
    assert load()[HEIGHT // 2, 3:7].tolist() == [0, 0.375, 0.375, 0]


def test_depth_masks_that_were_not_unpacked(sequence: Path, world: World):
    shutil.rmtree(sequence / "depth_masks")
    load = read_co3d(sequence).frames[0].load_depth
    assert load is not None
    np.testing.assert_allclose(load(), photograph(world, world.world_from_camera[0])[1], rtol=1e-3)


def test_masks_are_what_is_more_likely_of_the_object_than_not(sequence: Path, world: World):
    for frame, pose in zip(read_co3d(sequence).frames, world.world_from_camera):
        assert frame.load_mask is not None
        np.testing.assert_array_equal(frame.load_mask(), photograph(world, pose)[1] > 0)


# ------------------------------------------------------------------------------------------------------- lists and folders


def test_a_sequence_finds_its_own_frames_among_those_of_the_category(world: World, tmp_path: Path):
    names = ("a_1", "b_2", "c_3")
    write_category(tmp_path, world, sequences=names)
    category = tmp_path / CATEGORY
    records = [one for name in names for one in frame_records(world, name)]
    records = [*records[6:], *records[:6]]  # as no list must be: frames of b_2 in two places
    for index, record in enumerate(records):
        record["frame_timestamp"] = index
    write_list(category / "frame_annotations.jgz", records)
    for name in names:
        found = frames_of_sequence(category, name)
        assert [fields.text("sequence_name") for fields in found] == [name] * 4
        assert [fields.place for fields in found] == [f"record {int(fields.number('frame_timestamp'))}" for fields in found]
        assert len(open_capture(category / name).frames_with_image) == 4
    assert co3d_sequences(category) == co3d_sequences(tmp_path) == tuple(category / name for name in names)
    assert is_co3d_collection(category) and is_co3d_collection(tmp_path) and not is_co3d_collection(category / "a_1")
    assert is_capture(category / "a_1") and not is_capture(category) and not is_capture(tmp_path)
    with pytest.raises(DataFormatError, match=r"expected the folder of one sequence of CO3D, got 3 sequences. Fix: name .*a_1"):
        open_capture(category)


def test_the_list_is_read_again_when_it_has_changed(sequence: Path, world: World):
    assert len(read_co3d(sequence).frames) == 4
    write_list(sequence.parent / "frame_annotations.jgz", frame_records(world)[:3])
    assert len(read_co3d(sequence).frames) == 3


def test_a_sequence_is_found_from_inside_and_through_a_link(sequence: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "elsewhere").symlink_to(sequence)
    monkeypatch.chdir(sequence)
    for path in (Path(), tmp_path / "elsewhere"):
        place = find_co3d_sequence(path)
        assert place is not None and place.name == SEQUENCE and len(read_co3d(path).frames_with_image) == 4
    assert find_co3d_sequence(sequence.parent) is None and find_co3d_sequence(sequence / "images") is None


def test_points_only_where_the_data_set_vouches_for_them(sequence: Path, world: World):
    listing = sequence.parent / "sequence_annotations.jgz"
    unscored = sequence_record(world)["point_cloud"] | {"quality_score": float("nan")}
    for changes in ({"point_cloud": None}, {"point_cloud": unscored}):
        write_list(listing, [sequence_record(world, **changes)])
        capture = read_co3d(sequence)
        assert capture.points is None and len(capture.frames_with_image) == 4
    listing.unlink()
    assert len(read_co3d(sequence).points) == len(world.points)
    (sequence / "pointcloud.ply").unlink()
    assert read_co3d(sequence).points is None


def test_what_is_said_about_sequences(world: World, tmp_path: Path):
    path = tmp_path / "sequence_annotations.jgz"
    write_list(path, [sequence_record(world, "a"), sequence_record(world, "b", point_cloud=None, viewpoint_quality_score=None)])
    notes = sequence_notes(tmp_path)
    assert (notes["a"].cloud_quality, notes["a"].viewpoint_quality, notes["a"].category) == (0.9, 0.7, CATEGORY)
    assert (notes["b"].cloud_path, notes["b"].cloud_quality, notes["b"].viewpoint_quality) == (None, None, None)
    assert sequence_notes(tmp_path.parent) == {}


def test_frames_without_a_camera_are_left_out_with_a_word(sequence: Path):
    rewrite_frames(sequence, lambda index, record: record.update({"viewpoint": None} if index == 1 else {}))
    with pytest.warns(CaptureWarning, match=r"1 frames have no valid pose .*frame000002"):
        capture = read_co3d(sequence)
    assert [frame.name[-5] for frame in capture.frames] == ["1", "3", "4"]


def test_missing_files_are_named(sequence: Path):
    (sequence / "depths/frame000002.jpg.geometric.png").unlink()
    (sequence / "masks/frame000003.png").unlink()
    capture = read_co3d(sequence)
    with pytest.warns(CaptureWarning) as said:
        usable_frames(capture)
    texts = "".join(str(one.message) for one in said)
    assert "1 listed mask is missing" in texts and "1 listed depth map is missing" in texts
    (sequence / "images/frame000004.jpg").unlink()
    assert [frame.name for frame in read_co3d(sequence).missing_frames] == ["images/frame000004.jpg"]


def test_listed_paths_stay_in_the_sequence(sequence: Path):
    (sequence.parent.parent / "secret.jpg").write_bytes((sequence / "images/frame000001.jpg").read_bytes())
    rewrite_frames(sequence, lambda index, record: record["image"].update({"path": "../../secret.jpg"} if index == 0 else {}))
    missing = read_co3d(sequence).missing_frames
    assert [frame.image_path for frame in missing] == [sequence / "secret.jpg"]


# ------------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.pop("image"), "record 1: image: expected this key|image: expected this key"),
        (lambda record: record["image"].update(size=[64]), "image.size: expected height and width"),
        (lambda record: record["image"].update(size=[64, 10**9]), "image.size: expected height and width"),
        (lambda record: record["image"].update(path="\x00"), "image.path: expected a file name"),
        (lambda record: record["viewpoint"].update(intrinsics_format="opencv"), "intrinsics_format: expected ndc_isotropic or"),
        (lambda record: record["viewpoint"].update(focal_length=[0, 1]), "focal length"),
        (lambda record: record["viewpoint"].update(T=[0, float("nan"), 1]), "viewpoint.T: expected finite numbers"),
        (lambda record: record["viewpoint"].update(R=(-np.eye(3)).tolist()), "mirrored"),
        (lambda record: record["depth"].update(scale_adjustment=0), "depth.scale_adjustment: expected a number above 0"),
    ],
)
def test_records_that_are_none(change, message: str, sequence: Path):
    rewrite_frames(sequence, lambda index, record: change(record) if index == 1 else None)
    with pytest.raises(DataFormatError, match=message) as caught:
        read_co3d(sequence)
    assert "frame_annotations.jgz" in str(caught.value) and "record 1" in str(caught.value)


def test_a_sequence_that_the_list_does_not_know(sequence: Path):
    other = sequence.parent / "somebody_else"
    (other / "images").mkdir(parents=True)
    with pytest.raises(DataFormatError, match=f"frames of the sequence somebody_else, got those of 1 others, {SEQUENCE}"):
        read_co3d(other)
    with pytest.raises(DataFormatError, match=r"expected a sequence of CO3D.*got no images"):
        read_co3d(sequence / "images")


def test_depth_masks_of_another_size(sequence: Path):
    Image.fromarray(np.ones((3, 5), dtype=bool)).save(sequence / "depth_masks/frame000001.png")
    with pytest.raises(DataFormatError, match=r"expected 96×64 like frame000001.jpg.geometric.png, got 5×3"):
        read_co3d(sequence).frames[0].load_depth()


def test_a_small_file_that_unpacks_to_gigabytes_is_refused(sequence: Path):
    packer = zlib.compressobj(9, wbits=31)
    zeros = b"[" + b" " * (1 << 20)
    parts = [packer.compress(zeros)] + [packer.compress(b" " * (1 << 20)) for _ in range(100)]
    (sequence.parent / "frame_annotations.jgz").write_bytes(b"".join(parts) + packer.flush())
    with pytest.raises(DataFormatError, match=r"expected at most 67,108,864 bytes"):
        read_co3d(sequence)


def test_damaged_lists_give_our_errors(sequence: Path):
    path = sequence.parent / "frame_annotations.jgz"
    good = path.read_bytes()
    assert_reader_survives(lambda _: read_co3d(sequence), good, path, count=60)

    def packed(data: Path) -> None:
        path.write_bytes(gzip.compress(data.read_bytes(), 1))
        try:
            read_co3d(sequence)
        except DataFormatError as error:
            raise DataFormatError(data, got=str(error)) from error

    assert_reader_survives(packed, gzip.decompress(good), sequence / "plain.json", count=60)


def test_cameras_are_float64(sequence: Path):
    assert read_co3d(sequence).frames[0].camera.camera_from_world.dtype == torch.float64

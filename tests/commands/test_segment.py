"""scenewise segment, end to end on a small room with a teacher that knows the truth."""

import json
import shutil
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.support.oracle_teacher import WORDS, Oracle, TruePoints, write_splat_scene

from scenewise.cli.main import main
from scenewise.commands.segment.options import SegmentOptions
from scenewise.commands.segment.run import segment
from scenewise.errors import CaptureWarning, ConventionError, DataFormatError
from scenewise.io.captures import open_capture
from scenewise.io.element_features import features_path, read_element_features
from scenewise.io.json_values import json_ready
from scenewise.io.ply.gaussians import read_gaussians_ply
from scenewise.io.ply.points import read_points_ply_with_extra, write_points_ply
from scenewise.io.rgbd.ids import read_class_ids
from scenewise.io.scene_folder import labels_path, read_scene, read_scene_labels
from scenewise.io.segments import write_segments
from scenewise.io.teacher_files import TeacherAnswer, TeacherFilesInfo, write_answer, write_teacher_info
from scenewise.io.vocabularies import read_vocabulary
from scenewise.parts.segments.votes import MajorityVote
from scenewise.scenes.label_fields import LabelField
from scenewise.scenes.partitions import Partition
from scenewise.worlds.classes import CLASS_NAMES

FRAMES, POINTS = 12, 8_000


@pytest.fixture(scope="module")
def room(known_room: Path) -> Path:
    return known_room


@pytest.fixture(scope="module")
def truth(room: Path) -> TruePoints:
    return TruePoints(room)


@pytest.fixture(scope="module")
def labelled_cloud(room: Path, tmp_path_factory):
    out = tmp_path_factory.mktemp("cloud") / "out"
    summary = segment(options(room, out), None, Oracle(room))
    return out, summary


@pytest.fixture(scope="module")
def labelled_scene(segmented_scene):
    return segmented_scene


def options(target: Path, out: Path | None, **changes) -> SegmentOptions:
    return SegmentOptions(target=(target,), out=out, max_points=POINTS, threads=1, **changes)


def points_of(folder: Path):
    cloud, extra = read_points_ply_with_extra(folder / "points.ply")
    return cloud, extra, read_scene_labels(folder, "points")


def contents(folder: Path) -> dict[str, bytes]:
    """All results; the cache and the marker aside."""
    files = [path for path in folder.rglob("*") if path.is_file() and "cache" not in path.relative_to(folder).parts]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


# --- what is right ------------------------------------------------------------------------------------------------------------


def test_points_of_a_capture_get_the_right_names(labelled_cloud, truth):
    out, summary = labelled_cloud
    cloud, extra, labels = points_of(out)
    assert (labels.class_ids == truth(cloud.points_in_world)).mean() >= 0.95
    assert summary.num_points == len(cloud) == len(labels) and summary.num_splats == 0
    assert summary.coverage_points > 0.99
    np.testing.assert_array_equal(extra["label"], labels.class_ids)
    np.testing.assert_array_equal(extra["instance"], labels.instance_ids)
    colors = np.array(WORDS.colors_u8, dtype=np.uint8)
    np.testing.assert_array_equal(cloud.colors_u8, colors[labels.class_ids])
    assert extra["photo_red"].std() > 10  # the photographs' colours are kept


def test_splats_get_the_right_names_and_are_not_touched(labelled_scene, truth):
    folder, summary, before = labelled_scene
    gaussians, labels = read_gaussians_ply(folder / "splats.ply"), read_scene_labels(folder, "splats")
    assert (labels.class_ids == truth(gaussians.means.numpy().astype(float))).mean() >= 0.95
    assert (folder / "splats.ply").read_bytes() == before
    painted = read_gaussians_ply(folder / "splats_classes.ply")
    assert painted.sh_degree == 0 and len(painted) == len(gaussians) == summary.num_splats
    shown = 0.5 + 0.28209479177387814 * painted.sh0[:, 0].numpy()
    expected = np.array(WORDS.colors_u8, dtype=np.float32)[labels.class_ids] / 255
    np.testing.assert_allclose(shown, expected, atol=1e-5)
    point_labels = points_of(folder)[2]
    shared = set(labels.instance_ids.tolist()) & set(point_labels.instance_ids.tolist()) - {-1}
    assert len(shared) >= 8  # points and splats of one object carry one id
    for number in shared:
        of_points = point_labels.class_ids[point_labels.instance_ids == number]
        of_splats = labels.class_ids[labels.instance_ids == number]
        assert len(set(of_points.tolist()) | set(of_splats.tolist())) == 1


def test_the_vote_repairs_what_views_get_wrong(room: Path, tmp_path: Path, truth):
    right = {}
    for vote in ("none", "view", "set"):
        out = tmp_path / vote
        segment(options(room, out, vote=vote), None, Oracle(room, wrong_share=0.5))
        cloud, _, labels = points_of(out)
        right[vote] = (labels.class_ids == truth(cloud.points_in_world)).mean()
    assert right["set"] >= 0.93 and right["set"] > max(right["none"], right["view"]) + 0.2


def test_compact_pieces_of_a_sparse_cloud_are_pieces(room: Path, tmp_path: Path, truth):
    out = tmp_path / "out"
    summary = segment(options(room, out, partition="compact"), None, Oracle(room, wrong_share=0.5))
    cloud, _, labels = points_of(out)
    assert summary.segments < summary.num_points / 5  # a piece of one point is no vote
    assert (labels.class_ids == truth(cloud.points_in_world)).mean() >= 0.9


def test_a_partition_of_the_users_own_is_voted_in_and_a_second_vote_changes_nothing(
    room: Path, tmp_path: Path, labelled_cloud, truth
):
    cloud = points_of(labelled_cloud[0])[0]
    true = truth(cloud.points_in_world).astype(np.int32)
    partition = Partition.from_any_ids(true, "file")
    write_segments(tmp_path / "mine.npy", partition)
    out = tmp_path / "out"
    summary = segment(options(room, out, segments=tmp_path / "mine.npy"), None, Oracle(room, wrong_share=0.5))
    labels = points_of(out)[2]
    assert (labels.class_ids == true).mean() >= 0.99 and summary.segments == partition.count
    again = MajorityVote()(LabelField(labels.class_ids, labels.confidence), partition)
    np.testing.assert_array_equal(again.class_ids, labels.class_ids)


def test_probabilities_serve_as_well_as_features(room: Path, tmp_path: Path, truth):
    out = tmp_path / "out"
    segment(options(room, out, classes="floor, wall, sofa|couch"), None, Oracle(room, kind="probabilities"))
    cloud, _, labels = points_of(out)
    true = truth(cloud.points_in_world)
    for number, name in enumerate(("floor", "wall", "sofa")):
        mine = true == CLASS_NAMES.index(name)
        assert (labels.class_ids[mine] == number).mean() > 0.9
    kept = read_element_features(features_path(out, "points"))
    assert kept.kind == "probabilities" and kept.classes == CLASS_NAMES  # all columns stay for later questions


def test_a_point_cloud_is_labelled_in_its_own_order(room: Path, tmp_path: Path, labelled_cloud, truth):
    cloud = points_of(labelled_cloud[0])[0]
    shuffled = replace(cloud, points_in_world=cloud.points_in_world[::-7].copy(), colors_u8=None)
    write_points_ply(tmp_path / "scan.ply", shuffled)
    out = tmp_path / "out"
    # A seventh of the points, without colours, is too sparse to be cut into surfaces.
    segment(SegmentOptions(target=(tmp_path / "scan.ply",), out=out, capture=room, vote="view", threads=1), None, Oracle(room))
    written, _, labels = points_of(out)
    np.testing.assert_allclose(written.points_in_world, shuffled.points_in_world, atol=1e-6)
    seen = labels.class_ids >= 0
    assert seen.mean() > 0.9 and (labels.class_ids == truth(written.points_in_world))[seen].mean() > 0.95


def test_plain_images_get_label_maps_and_overlays(room: Path, tmp_path: Path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    names = [frame.name for frame in open_capture(room).frames[:3]]
    for name in names:
        shutil.copy(room / name, pictures / name)
    out = tmp_path / "out"
    summary = segment(SegmentOptions(target=(pictures,), out=out, threads=1), None, Oracle(room))
    assert summary.images == 3 and summary.coverage > 0.99 and len(summary.files) == 6
    frame = open_capture(room).frames[0]
    labels = np.asarray(Image.open(out / "frame-000000.color_labels.png"))
    assert labels.dtype == np.uint8 and (labels == read_class_ids(frame)).mean() > 0.99
    with Image.open(out / "frame-000000.color_overlay.png") as overlay:
        assert overlay.width == 128 and overlay.height > 96  # the legend is below
    assert read_vocabulary(out / "classes.json")[0].names == CLASS_NAMES
    assert "sofa" in summary.text() or "wall" in summary.text()
    listed = SegmentOptions(target=(pictures / names[1], pictures / names[0]), out=tmp_path / "two", threads=1)
    assert segment(listed, None, Oracle(room)).images == 2
    with pytest.raises(DataFormatError, match="nothing in the way"):
        segment(SegmentOptions(target=(pictures,), out=out, threads=1), None, Oracle(room))


# --- what is written ----------------------------------------------------------------------------------------------------------


def test_everything_written_can_be_read_again(labelled_scene):
    folder, summary, _ = labelled_scene
    words, teacher = read_vocabulary(folder / "classes.json")
    assert words == WORDS and teacher == "oracle"
    for of, count in (("points", summary.num_points), ("splats", summary.num_splats)):
        features = read_element_features(features_path(folder, of), count=count)
        assert features.teacher == "oracle" and features.kind == "features"
        lengths = np.linalg.norm(features.values.astype(np.float32), axis=1)
        seen = features.weight > 0
        np.testing.assert_allclose(lengths[seen], 1.0, atol=2e-3)
        assert (lengths[~seen] == 0).all() and seen.mean() > 0.95
    scene = read_scene(folder)
    record = scene.provenance.config["segmentation"]
    assert record["teacher"] == "oracle" and record["prompts"] == ["a {}"] and record["vote"] == "set"
    assert record["partition"]["sets"] == summary.segments and record["classes"]["sofa"] == ["sofa"]
    assert scene.provenance.config["steps"] == 0  # what was there stays
    assert scene.licences["oracle"] == "CC0-1.0"
    assert json.loads(json.dumps(json_ready(summary)))["num_splats"] == summary.num_splats
    assert "wall" in summary.text() and "12 views by oracle" in summary.text()


def test_objects_are_listed_with_their_boxes(labelled_scene, room: Path):
    _, summary, _ = labelled_scene
    told = {entry["id"]: entry for entry in json.loads((room / "capture.json").read_text())["instances"]}
    sofa = next(entry for entry in told.values() if entry["class"] == "sofa")
    found = max((thing for thing in summary.objects if thing.name == "sofa"), key=lambda thing: thing.points)
    assert np.linalg.norm(np.array(found.center_in_world) - sofa["center"]) < 0.6
    assert found.points > 0 and found.splats > 0
    assert summary.objects[0].points + summary.objects[0].splats >= summary.objects[-1].points + summary.objects[-1].splats


# --- the same again -----------------------------------------------------------------------------------------------------------


class StopAfter:
    """A progress that interrupts after some views."""

    def __init__(self, views: int) -> None:
        self.left = views

    @contextmanager
    def stage(self, name, total=None):
        stop = self

        class Stage:
            def advance(self, n=1, **fields):
                if name == "views":
                    stop.left -= n
                    if stop.left <= 0:
                        raise KeyboardInterrupt

        yield Stage()

    def message(self, text):
        pass

    def warning(self, text):
        pass


def test_interrupted_and_resumed_equals_unbroken(room: Path, tmp_path: Path):
    unbroken, broken = Oracle(room, wrong_share=0.2), Oracle(room, wrong_share=0.2)
    segment(options(room, tmp_path / "a" / "out"), None, unbroken)
    with pytest.raises(KeyboardInterrupt):
        segment(options(room, tmp_path / "b" / "out"), StopAfter(5), broken)
    assert not labels_path(tmp_path / "b" / "out", "points").exists()
    resumed = segment(options(room, tmp_path / "b" / "out", resume=True), None, broken)
    assert len(broken.calls) == FRAMES and resumed.answers_from_cache == 5  # nothing was asked twice
    first, second = contents(tmp_path / "a" / "out"), contents(tmp_path / "b" / "out")
    assert first.keys() == second.keys() and len(first) >= 6
    for name in first:
        assert first[name] == second[name], name


def test_answers_are_kept_for_other_classes_and_votes(room: Path, tmp_path: Path):
    teacher, out = Oracle(room), tmp_path / "out"
    segment(options(room, out), None, teacher)
    segment(options(room, out, vote="none", classes="wall, floor", overwrite=True), None, teacher)
    assert len(teacher.calls) == FRAMES
    assert read_vocabulary(out / "classes.json")[0].names == ("wall", "floor")
    segment(options(room, tmp_path / "other", no_cache=True), None, teacher)
    assert len(teacher.calls) == 2 * FRAMES and not list((tmp_path / "other").glob("cache/teacher/*/*"))


def test_frames_without_an_answer_are_counted(room: Path, tmp_path: Path):
    lacks = [frame.name for frame in open_capture(room).frames[:4]]
    with pytest.warns(CaptureWarning, match="nothing for 4 of 12 views: frame-000000"):
        summary = segment(options(room, tmp_path / "out"), None, Oracle(room, lacks=lacks))
    assert summary.frames_without_answer == 4 and summary.frames == FRAMES
    assert "4 without an answer" in summary.text()


def test_few_views_are_spread_evenly(room: Path, tmp_path: Path):
    teacher = Oracle(room)
    segment(options(room, tmp_path / "out", frames=3), None, teacher)
    names = [frame.name for frame in open_capture(room).frames]
    assert teacher.calls == [names[0], names[6], names[11]]


# --- what is refused ----------------------------------------------------------------------------------------------------------


class OpenWords(Oracle):
    """Knows its words but lists none."""

    def vocabulary(self):
        return None


def test_promised_errors(room: Path, tmp_path: Path, labelled_cloud):
    teacher, out = Oracle(room), tmp_path / "out"
    with pytest.raises(ConventionError, match="--classes: expected names, because this teacher knows any words"):
        segment(options(room, out), None, OpenWords(room))
    with pytest.raises(ConventionError, match=r"got .*zebra"):
        segment(options(room, out, classes="wall, zebra"), None, teacher)
    with pytest.raises(ConventionError, match="--out: expected a folder for the labels"):
        segment(options(room, None), None, teacher)
    with pytest.raises(DataFormatError, match="an existing scene"):
        segment(options(room, labelled_cloud[0]), None, teacher)
    with pytest.raises(ConventionError, match="got others: vote"):
        segment(options(room, labelled_cloud[0], vote="view", resume=True), None, teacher)
    with pytest.raises(DataFormatError, match="got nothing"):
        segment(options(tmp_path / "nowhere", out), None, teacher)
    with pytest.raises(DataFormatError, match="--capture"):
        segment(SegmentOptions(target=(labelled_cloud[0] / "points.ply",), out=out), None, teacher)
    np.save(tmp_path / "short.npy", np.zeros(7, dtype=np.int32))
    with pytest.raises(DataFormatError, match="belongs to another cloud"):
        segment(options(room, out, segments=tmp_path / "short.npy"), None, teacher)
    everything = [frame.name for frame in open_capture(room).frames]
    with pytest.raises(ConventionError, match=r"name each file after its image"):
        segment(options(room, tmp_path / "none"), None, Oracle(room, lacks=everything))
    with pytest.raises(DataFormatError, match="an image file"):
        segment(SegmentOptions(target=(room, labelled_cloud[0]), out=out), None, teacher)


def test_a_scene_whose_photographs_are_gone_says_where_they_were(labelled_scene, room: Path, tmp_path: Path):
    folder = tmp_path / "scene"
    shutil.copytree(labelled_scene[0], folder)
    text = (folder / "scene.json").read_text().replace(str(room), str(tmp_path / "gone"))
    (folder / "scene.json").write_text(text)
    with pytest.raises(DataFormatError, match=r"nothing at .*gone.*--capture"):
        segment(SegmentOptions(target=(folder,), overwrite=True), None, Oracle(room))
    summary = segment(SegmentOptions(target=(folder,), overwrite=True, capture=room, frames=2, threads=1), None, Oracle(room))
    assert summary.frames == 2


def test_labels_are_only_replaced_when_told(labelled_scene, room: Path):
    with pytest.raises(DataFormatError, match="--overwrite replaces them"):
        segment(SegmentOptions(target=(labelled_scene[0],), threads=1), None, Oracle(room))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"target": ()}, "TARGET"),
        ({"frames": 0}, "--frames"),
        ({"min_agreement": 1.5}, "--min-agreement"),
        ({"resume": True, "overwrite": True}, "--resume and --overwrite"),
        ({"vote": "none", "segments": Path("a.npy")}, "--segments"),
        ({"cache_limit": "much"}, "size"),
    ],
)
def test_options_that_cannot_be_meant(changes, message):
    with pytest.raises(ConventionError, match=message):
        SegmentOptions(**{"target": (Path("a"),)} | changes)


# --- a teacher from files, through the command line -----------------------------------------------------------------------------


def write_label_files(room: Path, folder: Path) -> Path:
    info = TeacherFilesInfo(kind="labels", dim=len(CLASS_NAMES), classes=CLASS_NAMES)
    write_teacher_info(folder, info)
    for frame in open_capture(room).frames:
        write_answer(folder, frame.name, info, TeacherAnswer(labels=read_class_ids(frame).astype(np.int32)))
    return folder


def test_the_command_with_a_teacher_from_files_prints_one_json_object(room: Path, tmp_path: Path, capsys):
    teacher = write_label_files(room, tmp_path / "teacher")
    arguments = ["segment", str(room), "--out", str(tmp_path / "out"), "--teacher", f"files:{teacher}", "--frames", "4", "--json"]
    assert main([*arguments, "--max-points", "3000"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["frames"] == 4 and told["teacher"] == f"files:{teacher}" and told["coverage_points"] > 0.7
    assert main(arguments) == 2
    assert "existing scene" in json.loads(capsys.readouterr().out)["error"]["message"]


def test_an_unknown_teacher_is_one_clear_error(room: Path, tmp_path: Path, capsys):
    assert main(["segment", str(room), "--out", str(tmp_path / "out"), "--teacher", f"files:{tmp_path}/none", "--json"]) == 2
    assert "none" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert not (tmp_path / "out").exists()


# --- what the embedded model does not know ------------------------------------------------------------------------------------


def called_small_clip(room: Path) -> Oracle:
    teacher = Oracle(room)
    teacher.name = "small-clip"
    return teacher


def test_the_embedded_model_warns_once_where_the_place_is_no_generated_room(room: Path, tmp_path: Path):
    photographed = tmp_path / "photographed"
    shutil.copytree(room, photographed)
    record = json.loads((photographed / "capture.json").read_text())
    del record["licence"]
    (photographed / "capture.json").write_text(json.dumps(record))
    few = {"frames": 2, "overwrite": True}
    with pytest.warns(CaptureWarning, match="procedural rooms.*wrong names.*openai/clip-vit-base-patch16.*files:DIR") as caught:
        segment(options(photographed, tmp_path / "out", **few), None, called_small_clip(room))
    assert len(caught) == 1 and str(photographed) in str(caught[0].message)
    pictures = SegmentOptions(target=(photographed / "frame-000000.color.png",), out=tmp_path / "images", threads=1)
    with pytest.warns(CaptureWarning, match="images of anything else"):
        segment(pictures, None, called_small_clip(room))
    teacher = called_small_clip(room)
    teacher.licence = "CC0-1.0 (generated)"  # of the model, not of the place
    scene = write_splat_scene(tmp_path / "scene", photographed, 1000)
    for _ in range(2):
        with pytest.warns(CaptureWarning, match="procedural rooms"):
            segment(SegmentOptions(target=(scene,), threads=1, **few), None, teacher)
    # Warnings are errors here: neither the model in its own world nor another teacher elsewhere says anything.
    segment(options(room, tmp_path / "out", **few), None, called_small_clip(room))
    segment(options(photographed, tmp_path / "out", **few), None, Oracle(room))


# --- real captures --------------------------------------------------------------------------------------------------------------


def write_stripes(capture, folder: Path, every: int) -> Path:
    """Answers that say "top" and "bottom" of each picture, on a coarse grid."""
    info = TeacherFilesInfo(kind="probabilities", dim=2, classes=("top", "bottom"))
    write_teacher_info(folder, info)
    values = np.zeros((6, 8, 2), dtype=np.float32)
    values[:3, :, 0] = values[3:, :, 1] = 1.0
    for frame in capture.frames[::every]:
        write_answer(folder, frame.name, info, TeacherAnswer(values=values))
    return folder


@pytest.mark.data
def test_a_real_rgbd_capture_with_a_teacher_from_files(data_root: Path, tmp_path: Path):
    source = data_root / "redkitchen_rgbd"
    if not source.is_dir():
        pytest.skip(f"no {source}")
    teacher = write_stripes(open_capture(source), tmp_path / "teacher", every=1)
    chosen = SegmentOptions(
        target=(source,), out=tmp_path / "out", teacher=f"files:{teacher}", frames=10, max_points=20_000, threads=1
    )
    summary = segment(chosen)
    cloud, _, labels = points_of(tmp_path / "out")
    assert summary.frames_without_answer == 0 and summary.coverage_points > 0.9
    up = read_scene(tmp_path / "out").up_in_world
    height = cloud.points_in_world @ up
    assert np.median(height[labels.class_ids == 0]) > np.median(height[labels.class_ids == 1]) + 0.2  # top is above bottom


@pytest.mark.data
def test_six_real_cameras_label_a_lidar_sweep(data_root: Path, tmp_path: Path):
    source = data_root / "nuscenes_mini"
    if not source.is_dir():
        pytest.skip(f"no {source}")
    capture = open_capture(source)
    teacher = write_stripes(capture, tmp_path / "teacher", every=1)
    chosen = SegmentOptions(target=(source,), out=tmp_path / "out", teacher=f"files:{teacher}", vote="view", threads=1)
    summary = segment(chosen)
    cloud, _, labels = points_of(tmp_path / "out")
    assert len(cloud) == len(capture.points) and summary.frames == 6
    assert 0.3 < summary.coverage_points < 1.0  # cameras see part of what the LiDAR sees
    assert (labels.class_ids[cloud.points_in_world[:, 2] > 3.0] == 0).mean() > 0.5 * (
        (labels.class_ids >= 0)[cloud.points_in_world[:, 2] > 3.0]
    ).mean()

"""3DSSG on 3RScan: metadata, vertices and photographs read; the layout written."""

import json
import warnings
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.support.fabricated_folders import HEIGHT, WIDTH, K, asymmetric_world, photograph, share_of_right_colors
from tests.support.file_mutations import assert_reader_survives

from scenewise.errors import CaptureWarning, ConventionError, DataFormatError
from scenewise.io.ply.points import write_points_ply
from scenewise.io.three_rscan.metadata import (
    NamedRelation,
    SubScan,
    check_sub_scan,
    find_three_rscan_metadata,
    read_three_rscan_metadata,
)
from scenewise.io.three_rscan.scans import read_object_names, read_three_rscan
from scenewise.io.three_rscan.sequences import read_sequence_info, read_three_rscan_capture
from scenewise.io.three_rscan.writing import write_three_rscan
from scenewise.scenes.graph_scans import GraphScan
from scenewise.scenes.point_clouds import PointCloud
from scenewise.scenes.predicates import THREE_DSSG

CLASSES = ("floor", "chair", "lamp")
PREDICATES = ("left", "standing on", "lit by")


def scan(name: str = "room1", object_ids: tuple[int, ...] = (7, 3, 12)) -> GraphScan:
    generator = np.random.default_rng(3)
    points = tuple(generator.normal(size=(count, 3)).astype(np.float32) for count in (5, 1, 30))
    triplets = np.array([[0, 2, 2], [1, 0, 1], [2, 0, 0], [2, 0, 1]])
    return GraphScan(name, points, np.array([2, -1, 0]), triplets, object_ids)


def metadata(
    root: Path,
    relationships: object,
    *,
    predicates: str = "none\nleft\nstanding on\nlit by",
    objects: object = None,
    name="relationships",
) -> Path:
    root.mkdir(exist_ok=True)
    (root / "classes.txt").write_text("\n".join(CLASSES))
    (root / f"{name}.txt").write_text(predicates)
    objects = {"7": "lamp", "3": "chair", "12": "floor"} if objects is None else objects
    entry = {"scan": "room1", "split": 2, "objects": objects, "relationships": relationships}
    (root / "relationships_train.json").write_text(json.dumps({"scans": [entry]}))
    return root


def vertices(root: Path, ids: list[int], *, aligned: bool = False, shift: float = 0.0) -> None:
    points = np.arange(3.0 * len(ids)).reshape(-1, 3) + shift
    name = f"labels.instances.{'align.' if aligned else ''}annotated.v2.ply"
    write_points_ply(root / "3RScan/room1" / name, PointCloud(points), extra={"objectId": np.array(ids, dtype=np.uint16)})


class TestWriting:
    def test_what_is_written_is_read(self, tmp_path: Path):
        first, second = scan(), scan("room2", ())
        write_three_rscan(tmp_path, "train", [first, second], CLASSES, PREDICATES)
        write_three_rscan(tmp_path, "validation", [scan("room3")], CLASSES, PREDICATES)
        with pytest.warns(CaptureWarning, match="2 things of no known class"):
            scans = read_three_rscan(tmp_path, "train")
        assert (scans.class_names, scans.predicate_names) == (CLASSES, PREDICATES)
        assert [one.name for one in scans] == ["room1", "room2"] and scans[-1].object_ids == (1, 2, 3)
        for read, meant in zip(scans, (first, second)):
            np.testing.assert_array_equal(read.class_ids, meant.class_ids)
            np.testing.assert_array_equal(read.triplets, meant.triplets)
            for points, expected in zip(read.points_in_world, meant.points_in_world):
                np.testing.assert_array_equal(points, expected)
        assert scans[0].object_ids == (7, 3, 12) and scans.objects_without_points == 0
        with pytest.warns(CaptureWarning):
            assert len(read_three_rscan(tmp_path, "validation")) == 1

    @pytest.mark.errors
    @pytest.mark.parametrize(
        ("scans", "classes", "predicates", "match"),
        [
            ([scan(), scan()], CLASSES, PREDICATES, "scans: expected names of folders, each once"),
            ([scan("..")], CLASSES, PREDICATES, "names of folders"),
            ([scan()], ("Floor", "chair", "lamp"), PREDICATES, "small letters, got 'Floor'"),
            ([scan()], CLASSES[:2], PREDICATES, "classes and predicates that have names"),
            ([scan()], CLASSES, PREDICATES[:2], "classes and predicates that have names"),
            ([scan()], CLASSES, ("none", "a", "b"), "no predicate 'none'"),
            ([scan(object_ids=(1, 1, 2))], CLASSES, PREDICATES, "each once"),
        ],
    )
    def test_what_cannot_be_written(self, tmp_path: Path, scans, classes, predicates, match: str):
        with pytest.raises(ConventionError, match=match):
            write_three_rscan(tmp_path / "out", "train", scans, classes, predicates)
        assert not (tmp_path / "out").exists()


class TestMetadata:
    @pytest.mark.parametrize("folder", [".", "3DSSG_subset", "3DSSG"])
    def test_places(self, tmp_path: Path, folder: str):
        metadata(tmp_path / folder, [[7, 12, 2, "standing on"]])
        assert find_three_rscan_metadata(tmp_path) == tmp_path / folder
        read = read_three_rscan_metadata(tmp_path, "train")
        assert read.predicate_names == PREDICATES and read.sub_scans[0].name == "room1_2"
        assert read.sub_scans[0].object_names == {7: "lamp", 3: "chair", 12: "floor"}
        assert read.sub_scans[0].relations == (NamedRelation(7, 12, "standing on"),)

    @pytest.mark.parametrize(
        ("predicates", "number"),
        [
            ("none\nleft\nstanding on\nlit by\n", 2),
            ("left\nstanding on\nlit by", 1),
            ("\ufeffLeft\r\nStanding on \r\n\r\nlit by", 2),
        ],
    )
    def test_numbers_count_from_none_or_from_the_first_line(self, tmp_path: Path, predicates: str, number: int):
        read = read_three_rscan_metadata(metadata(tmp_path, [[7, 12, number, "standing on"]], predicates=predicates), "train")
        assert read.predicate_names == PREDICATES

    @pytest.mark.parametrize(
        ("predicates", "rows", "said"),
        [
            ("none\nleft\nstanding on\nlit by", [[7, 12, 1, "left"], [3, 12, 1, "standing on"]], "predicate 1 to be 'left'"),
            ("none\nleft\nstanding on\nlit by", [[7, 12, 0, "none"], [3, 12, 1, "standing on"]], "predicate 1 to be 'left'"),
            ("left\nstanding on\nlit by", [[7, 12, 0, "left"], [3, 12, 2, "standing on"]], "predicate 2 to be 'lit by'"),
            ("left\nstanding on\nlit by", [[7, 12, 1, "left"], [3, 12, 4, "standing on"]], "predicate 4 to be one of 3"),
        ],
    )
    def test_numbers_that_disagree_with_names_are_told_with_their_place(self, tmp_path: Path, predicates: str, rows, said: str):
        with pytest.raises(DataFormatError) as caught:
            read_three_rscan_metadata(metadata(tmp_path, rows, predicates=predicates), "train")
        text = str(caught.value)
        assert (
            "scans[0].relationships[1]" in text and said in text and "got 'standing on'" in text and "relationships.txt" in text
        )

    def test_names_of_3dssg_have_its_order(self, tmp_path: Path):
        listed = sorted(THREE_DSSG)
        metadata(tmp_path, [[7, 12, listed.index("left"), "left"]], predicates="\n".join(listed), name="relations")
        assert read_three_rscan_metadata(tmp_path, "train").predicate_names == THREE_DSSG

    def test_a_list_chooses_scans(self, tmp_path: Path):
        metadata(tmp_path, [])
        (tmp_path / "train_scans.txt").write_text("room2")
        read = read_three_rscan_metadata(tmp_path, "train")
        assert read.sub_scans == () and read.not_listed == 1

    def test_faults_are_counted(self):
        names = {1: "chair", 2: "sofa", 5: "floor"}
        pairs = [(1, 2), (1, 1), (1, 2), (2, 9), (9, 2), (5, 1)]
        check = check_sub_scan(SubScan("a", 1, names, tuple(NamedRelation(*pair, "left") for pair in pairs)), CLASSES)
        assert check.relations == (NamedRelation(1, 2, "left"), NamedRelation(5, 1, "left"))
        assert (check.to_itself, check.without_object, check.repeated, check.unknown_objects) == (1, 2, 1, (2,))

    @pytest.mark.parametrize(
        ("relationships", "objects", "match"),
        [
            ([[1, 2, 1]], None, r"relationships\[0\].*\[subject, object"),
            ([[1, 2, "1", "left"]], None, r"\[subject, object"),
            ([3], None, "a list of lists"),
            ([], {"seven": "lamp"}, "names by the numbers of objects"),
            ([], {"7": "lamp", "07": "chair"}, "object 7 twice"),
            ([], {"7": 3}, "names by the numbers of objects"),
        ],
    )
    def test_damaged_entries(self, tmp_path: Path, relationships, objects, match: str):
        with pytest.raises(DataFormatError, match=match):
            read_three_rscan_metadata(metadata(tmp_path, relationships, objects=objects), "train")

    def test_missing_files(self, tmp_path: Path):
        with pytest.raises(DataFormatError, match=r"3DSSG_subset.relationships_train\.json"):
            read_three_rscan_metadata(tmp_path, "train")
        metadata(tmp_path, [])
        (tmp_path / "classes.txt").write_text("chair\nlamp\nchair\n")
        with pytest.raises(DataFormatError, match="'chair' twice"):
            read_three_rscan_metadata(tmp_path, "train")
        (tmp_path / "classes.txt").unlink()
        with pytest.raises(DataFormatError, match=r"classes\.txt: expected a file"):
            read_three_rscan_metadata(tmp_path, "train")
        entry = {"scan": "../room1", "split": 1, "objects": {}, "relationships": []}
        (tmp_path / "relationships_train.json").write_text(json.dumps({"scans": [entry]}))
        with pytest.raises(DataFormatError, match=r"scans\[0\]\.scan: expected the name of a folder"):
            read_three_rscan_metadata(tmp_path, "train")


class TestScans:
    def test_things_without_points_are_left_out_with_their_relations_and_told_once(self, tmp_path: Path):
        rows = [[7, 12, 1, "left"], [12, 3, 2, "standing on"], [12, 7, 3, "lit by"], [7, 7, 1, "left"]]
        metadata(tmp_path, rows)
        vertices(tmp_path, [12, 0, 7, 12, 7, 0, 12])
        with pytest.warns(CaptureWarning) as told:  # the shape hook may look at the first sub-scan already
            scans = read_three_rscan(tmp_path, "train")
            read = scans[0]
        said = sorted(str(warning.message) for warning in told)
        assert len(said) == 2 and "1 things of room1_2 have no points" in said[0]
        assert said[1].endswith(": 1 relations of a thing to itself left out")
        assert read.object_ids == (7, 12) and read.class_ids.tolist() == [2, 0]
        assert read.triplets.tolist() == [[0, 1, 0], [1, 0, 2]]
        np.testing.assert_array_equal(read.points_in_world[1][:, 0], [0, 9, 18])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert scans[:1][0].object_ids == (7, 12)
        assert scans.objects_without_points == 1
        with pytest.raises(IndexError):
            scans[1]

    def test_points_are_spread_over_the_thing_and_the_same_each_time(self, tmp_path: Path):
        metadata(tmp_path, [], objects={"4": "chair", "5": "lamp"})
        vertices(tmp_path, [5, *[4] * 10])
        first, second = (read_three_rscan(tmp_path, "train", max_points=4)[0] for _ in range(2))
        np.testing.assert_array_equal(first.points_in_world[0][:, 0] / 3 - 1, [0, 2, 5, 7])
        assert len(first.points_in_world[1]) == 1
        np.testing.assert_array_equal(first.points_in_world[0], second.points_in_world[0])

    def test_frames(self, tmp_path: Path):
        metadata(tmp_path, [], objects={"4": "chair"})
        vertices(tmp_path, [4])
        assert read_three_rscan(tmp_path, "train")[0].points_in_world[0][0, 0] == 0
        vertices(tmp_path, [4], aligned=True, shift=100.0)
        assert read_three_rscan(tmp_path, "train")[0].points_in_world[0][0, 0] == 100
        assert read_three_rscan(tmp_path, "train", frame="scan")[0].points_in_world[0][0, 0] == 0

    def test_scans_that_are_not_there(self, tmp_path: Path):
        write_three_rscan(tmp_path, "train", [scan(), scan("room2")], CLASSES, PREDICATES)
        (tmp_path / "3RScan/room1/labels.instances.annotated.v2.ply").unlink()
        with pytest.warns(CaptureWarning, match="1 scans without vertices left out"):
            scans = read_three_rscan(tmp_path, "train")
        assert scans.missing_scans == ("room1",) and [one.name for one in scans] == ["room2"]
        (tmp_path / "3RScan/room2/labels.instances.annotated.v2.ply").unlink()
        with pytest.raises(DataFormatError, match="got none of 2 scans"):
            read_three_rscan(tmp_path, "train")

    def test_damaged_vertices(self, tmp_path: Path):
        metadata(tmp_path, [], objects={"4": "chair"})
        path = tmp_path / "3RScan/room1/labels.instances.annotated.v2.ply"
        write_points_ply(path, PointCloud(np.zeros((2, 3))), extra={"objectId": np.array([1.5, 4.0], dtype=np.float32)})
        with pytest.raises(DataFormatError, match="objectId: expected whole numbers"):
            read_three_rscan(tmp_path, "train")[0]
        write_points_ply(path, PointCloud(np.zeros((2, 3))))
        with pytest.raises(DataFormatError, match="the vertex property objectId"):
            read_three_rscan(tmp_path, "train")[0]

    def test_words_of_the_annotators(self, tmp_path: Path):
        group = {"id": 3, "objectId": 3, "label": "office chair", "segments": [1, 2]}
        (tmp_path / "semseg.v2.json").write_text(json.dumps({"scan_id": "a", "segGroups": [group]}))
        assert read_object_names(tmp_path) == {3: "office chair"}

    def test_no_mutation_of_the_metadata_escapes_as_another_error(self, tmp_path: Path):
        path = metadata(tmp_path, [[7, 12, 1, "left"]]) / "relationships_train.json"
        good = path.read_bytes()
        assert assert_reader_survives(lambda _: read_three_rscan_metadata(tmp_path, "train"), good, path) > 50


# ------------------------------------------------------------------------------------------------------------- photographs

DEPTH_SIZE = (48, 32)  # half of the photographs


def sequence(root: Path, *, lost: bool = False, **changed: str) -> Path:
    world = asymmetric_world()
    folder = root / "sequence"
    folder.mkdir(parents=True)
    square = np.eye(4)
    square[:3, :3] = K
    square[:2, 2] -= 0.5
    small = square.copy()
    small[:2, :3] = K[:2] / 2
    small[:2, 2] -= 0.5
    lines = {
        "m_versionNumber": "4",
        "m_colorWidth": str(WIDTH),
        "m_colorHeight": str(HEIGHT),
        "m_depthWidth": str(DEPTH_SIZE[0]),
        "m_depthHeight": str(DEPTH_SIZE[1]),
        "m_depthShift": "1000",
        "m_calibrationColorIntrinsic": " ".join(map(str, square.ravel())),
        "m_calibrationColorExtrinsic": " ".join(map(str, np.eye(4).ravel())),
        "m_calibrationDepthIntrinsic": " ".join(map(str, small.ravel())),
    } | changed
    (folder / "_info.txt").write_text("".join(f"{key} = {value} \n" for key, value in lines.items() if value))
    for index, pose in enumerate(world.world_from_camera):
        image, depth = photograph(world, pose)
        stem = folder / f"frame-{index:06d}"
        Image.fromarray(image).save(f"{stem}.color.jpg", quality=98, subsampling=0)
        codes = np.rint(depth[::2, ::2] * 1000).astype(">u2")
        head = f"P5 {DEPTH_SIZE[0]} {DEPTH_SIZE[1]} 65535\n".encode()
        Path(f"{stem}.depth.pgm").write_bytes(head + codes.tobytes())
        matrix = np.full((4, 4), -np.inf) if lost and index == 1 else pose
        Path(f"{stem}.pose.txt").write_text("\n".join(" ".join(map(str, row)) for row in matrix))
    return root


class TestSequence:
    def test_colours_lie_where_the_cameras_say(self, tmp_path: Path):
        world = asymmetric_world()
        capture = read_three_rscan_capture(sequence(tmp_path))
        assert [frame.name for frame in capture.frames] == [f"frame-{index:06d}.color.jpg" for index in range(4)]
        assert capture.scale == "metric" and capture.up_in_world.tolist() == [0, 0, 1]
        for frame, pose in zip(capture.frames, world.world_from_camera):
            np.testing.assert_allclose(frame.camera.world_from_camera.numpy(), pose, atol=1e-9)
            np.testing.assert_allclose(frame.camera.K.numpy(), K, atol=1e-9)
            _, depth = photograph(world, pose)
            seen = frame.load_depth()
            both = (depth > 0) & (seen > 0)
            assert both.sum() > 0.6 * (depth > 0).sum()
            assert np.median(np.abs(seen - depth)[both]) < 1e-3
        bright = {tuple(color) for color in world.colors_u8.tolist()}
        snapped = np.array(sorted(bright | {(90, 90, 90)}))
        frames = []
        for frame in capture.frames:
            image = frame.load_image().astype(int)
            nearest = snapped[np.abs(image[:, :, None] - snapped).sum(-1).argmin(-1)].astype(np.uint8)
            frames.append((frame, nearest))
        pictured = replace(
            capture, frames=tuple(replace(frame, load_image=partial(np.asarray, image)) for frame, image in frames)
        )
        assert share_of_right_colors(pictured, world) > 0.85 and share_of_right_colors(pictured, world, flip_u=True) < 0.3

    def test_half_pixel_and_scale(self, tmp_path: Path):
        info = read_sequence_info(sequence(tmp_path, m_depthShift="5000") / "sequence/_info.txt")
        np.testing.assert_allclose(info.K_color, K)
        np.testing.assert_allclose(info.K_depth[:2], K[:2] / 2)
        assert info.color_size == (WIDTH, HEIGHT) and info.depth_size == DEPTH_SIZE
        frame = read_three_rscan_capture(tmp_path).frames[0]
        assert 0.5 < frame.load_depth()[frame.load_depth() > 0].mean() < 1.2  # a fifth of 3 … 5 m

    def test_lost_and_every(self, tmp_path: Path):
        sequence(tmp_path, lost=True)
        with pytest.warns(CaptureWarning, match="1 frames have no valid pose"):
            assert len(read_three_rscan_capture(tmp_path / "sequence").frames) == 3
        assert [frame.name[6:12] for frame in read_three_rscan_capture(tmp_path, every=2).frames] == ["000000", "000002"]
        for path in (tmp_path / "sequence").glob("*.pgm"):
            path.unlink()
        with pytest.warns(CaptureWarning, match="no depth maps"):
            assert not any(frame.load_depth for frame in read_three_rscan_capture(tmp_path, every=2).frames)

    @pytest.mark.parametrize(
        ("changed", "match"),
        [
            ({"m_colorWidth": ""}, "m_colorWidth: expected a line"),
            ({"m_colorWidth": "9.5"}, "expected pixels"),
            ({"m_depthShift": "0"}, "codes per metre"),
            ({"m_calibrationColorIntrinsic": "1 2 3"}, "16 numbers"),
            ({"m_calibrationColorIntrinsic": " ".join(["nan"] * 16)}, "finite numbers"),
            ({"m_calibrationColorExtrinsic": " ".join(["1"] * 16)}, "both cameras at one place"),
            ({"m_depthWidth": "47"}, "expected P5 47 32 65535"),
        ],
    )
    def test_damaged_info(self, tmp_path: Path, changed: dict[str, str], match: str):
        with pytest.raises(DataFormatError, match=match):
            read_three_rscan_capture(sequence(tmp_path, **changed))

    def test_nothing_there(self, tmp_path: Path):
        (tmp_path / "sequence.zip").write_text("")
        with pytest.raises(DataFormatError, match=r"unpack sequence\.zip"):
            read_three_rscan_capture(tmp_path)
        with pytest.raises(DataFormatError, match="every"):
            read_three_rscan_capture(sequence(tmp_path), every=0)


# -------------------------------------------------------------------------------------------------------------------- data

HISTOGRAM = {
    "close by": 1766, "left": 1713, "right": 1713, "standing on": 1357, "behind": 1024, "front": 1024, "attached to": 1011,
    "lying on": 232, "supported by": 227, "same as": 214, "higher than": 195, "lower than": 195, "hanging on": 160,
    "bigger than": 85, "smaller than": 85, "same symmetry as": 50, "lying in": 36, "connected to": 34, "build in": 33,
    "belonging to": 31, "standing in": 25, "leaning against": 19, "cover": 18, "part of": 6, "hanging in": 1,
}  # fmt: skip


@pytest.mark.data
def test_the_released_metadata(data_root: Path):
    read = read_three_rscan_metadata(data_root / "scene_graph_meta", "validation")
    assert len(read.sub_scans) == 548 and read.not_listed == 0
    assert len({sub_scan.scan_id for sub_scan in read.sub_scans}) == 157
    sizes = [len(sub_scan.object_names) for sub_scan in read.sub_scans]
    assert sum(sizes) == 4745 and max(sizes) == 9
    counts = Counter(relation.predicate for sub_scan in read.sub_scans for relation in sub_scan.relations)
    assert counts == HISTOGRAM and sum(counts.values()) == 11254 and set(THREE_DSSG) - set(counts) == {"inside"}
    assert read.predicate_names == THREE_DSSG and len(read.class_names) == 160
    checks = [check_sub_scan(sub_scan, read.class_names) for sub_scan in read.sub_scans]
    # eleven floors support themselves; between two things there are 11,243 relations
    assert sum(check.to_itself for check in checks) == 11 and sum(len(check.relations) for check in checks) == 11243
    assert not any(check.without_object or check.repeated or check.unknown_objects for check in checks)

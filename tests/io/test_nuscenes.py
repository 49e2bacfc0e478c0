"""nuScenes: the chain from LiDAR to camera, keyframes, lidarseg classes, damaged tables."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.support.file_mutations import assert_reader_survives

from scenewise.errors import CaptureWarning, DataFormatError
from scenewise.geometry.rotations import quat_from_rotation
from scenewise.io.captures import is_capture, open_capture
from scenewise.io.nuscenes.classes import CLASS_OF_CATEGORY, NUSCENES_CLASSES
from scenewise.io.nuscenes.keyframes import read_nuscenes
from scenewise.io.nuscenes.shots import camera_from_lidar_ego
from scenewise.io.nuscenes.tables import find_nuscenes_tables, list_nuscenes_keyframes
from scenewise.parts.lifting import VisibilityTest, ZBuffer, visible_pixels

WIDTH, HEIGHT = 64, 36
CATEGORIES = ["noise", "animal", "human.pedestrian.adult", "vehicle.car", "flat.other", "flat.driveable_surface"]
OPENCV_FROM_EGO = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])  # forward +X, left +Y, up +Z


def rigid(rotation: np.ndarray, translation: list[float]) -> np.ndarray:
    transform = np.eye(4)
    transform[:3, :3], transform[:3, 3] = rotation, translation
    return transform


def yaw(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def placed(transform: np.ndarray) -> dict[str, list[float]]:
    quat = quat_from_rotation(torch.from_numpy(np.ascontiguousarray(transform[:3, :3])))
    return {"rotation": quat.tolist(), "translation": transform[:3, 3].tolist()}


GLOBAL_FROM_EGO = rigid(yaw(2.0), [1010.5, 612.25, 0.5])
MOVED = rigid(yaw(2.1), [1011.5, 612.75, 0.5])  # where the car was when the second camera fired
EGO_FROM_LIDAR = rigid(yaw(-1.5), [0.9, 0.0, 1.8])
EGO_FROM_FRONT = rigid(OPENCV_FROM_EGO.T, [1.7, 0.1, 1.5])
EGO_FROM_BACK = rigid(yaw(np.pi) @ OPENCV_FROM_EGO.T, [-0.5, 0.0, 1.6])


def fabricated(
    root: Path, *, points: np.ndarray | None = None, category_index: list[int] | None = None, samples: int = 1
) -> Path:
    """A data root with two cameras, the second fired later, and a box per keyframe."""
    tables = root / "v1.0-mini"
    tables.mkdir(parents=True)
    sweep = np.array([[4.0, 1.0, -1.0, 0.5, 3.0], [-6.0, 2.0, 0.5, 0.1, 17.0]]) if points is None else points
    sensors = [
        ("LIDAR_TOP", "lidar", EGO_FROM_LIDAR),
        ("CAM_FRONT", "camera", EGO_FROM_FRONT),
        ("CAM_BACK", "camera", EGO_FROM_BACK),
    ]
    K = [[40.0, 0.0, 31.5], [0.0, 41.0, 17.5], [0.0, 0.0, 1.0]]
    tabled: dict[str, list[dict[str, object]]] = {
        "sensor": [{"token": f"s{i}", "channel": name, "modality": kind} for i, (name, kind, _) in enumerate(sensors)],
        "calibrated_sensor": [
            {"token": f"c{i}", "sensor_token": f"s{i}", "camera_intrinsic": K if kind == "camera" else [], **placed(pose)}
            for i, (_, kind, pose) in enumerate(sensors)
        ],
        "scene": [{"token": "scene", "name": "scene-0001"}],
        "category": [{"token": f"k{i}", "name": name, "index": i} for i, name in enumerate(CATEGORIES)],
        "instance": [{"token": "i0", "category_token": "k3"}],
        "sample": [], "sample_data": [], "ego_pose": [], "sample_annotation": [], "lidarseg": [],
    }  # fmt: skip
    for number in range(samples):
        # stored out of order on purpose
        tabled["sample"].insert(0, {"token": f"sample{number}", "timestamp": 1000 + number, "scene_token": "scene"})
        box = placed(GLOBAL_FROM_EGO @ rigid(yaw(0.3), [12.0, -2.0, 0.8]))
        tabled["sample_annotation"].append(
            {"token": f"a{number}", "sample_token": f"sample{number}", "instance_token": "i0", "size": [1.9, 4.6, 1.7], **box}
        )
        for i, (name, kind, _) in enumerate(sensors):
            file_name = f"samples/{name}/{number}.{'jpg' if kind == 'camera' else 'pcd.bin'}"
            (root / file_name).parent.mkdir(parents=True, exist_ok=True)
            if kind == "camera":
                Image.new("RGB", (WIDTH, HEIGHT), (20 * i, 90, 10)).save(root / file_name)
            else:
                sweep.astype("<f4").tofile(root / file_name)
            tabled["ego_pose"].append({"token": f"e{number}{i}", **placed(MOVED if name == "CAM_BACK" else GLOBAL_FROM_EGO)})
            common = {"calibrated_sensor_token": f"c{i}", "ego_pose_token": f"e{number}{i}", "sample_token": f"sample{number}"}
            record = {"token": f"d{number}{i}", "filename": file_name, "width": WIDTH, "height": HEIGHT, "is_key_frame": True}
            tabled["sample_data"] += [
                record | common,
                record | common | {"token": f"w{number}{i}", "is_key_frame": False, "filename": "sweeps/none"},
            ]
        if category_index is not None:
            (root / "lidarseg").mkdir(exist_ok=True)
            np.array(category_index, dtype=np.uint8).tofile(root / f"lidarseg/{number}.bin")
            tabled["lidarseg"].append(
                {"token": f"l{number}", "sample_data_token": f"d{number}0", "filename": f"lidarseg/{number}.bin"}
            )
    if category_index is None:
        del tabled["lidarseg"]
    for name, records in tabled.items():
        (tables / f"{name}.json").write_text(json.dumps(records, indent=1 if name != "sensor" else None))
    return root


class TestChain:
    def test_equal_poses_compose_to_the_identity(self):
        ego_from_sensor, global_from_ego = EGO_FROM_BACK, rigid(yaw(1.1), [411.3, 1180.9, 0.0])
        through = camera_from_lidar_ego(ego_from_sensor, global_from_ego, global_from_ego) @ ego_from_sensor
        np.testing.assert_allclose(through, np.eye(4), atol=1e-12)

    def test_a_point_ahead_of_a_car_that_drove_on(self):
        """By hand: the car looks along +X of the world and drives 1 m before the camera fires.

        A point 10 m ahead, 2 m to the left and 1 m up of the car at the LiDAR's time is then 9 m ahead.  The camera, 1.5 m up,
        looks forward: x = −2 (left), y = 0.5 (down), z = 9.
        """
        camera = camera_from_lidar_ego(
            rigid(OPENCV_FROM_EGO.T, [0.0, 0.0, 1.5]), rigid(np.eye(3), [501.0, 20.0, 0.0]), rigid(np.eye(3), [500.0, 20.0, 0.0])
        )
        np.testing.assert_allclose(camera @ [10.0, 2.0, 1.0, 1.0], [-2.0, 0.5, 9.0, 1.0], atol=1e-12)

    def test_the_readers_world_is_the_car_at_the_lidars_time(self, tmp_path: Path):
        keyframe = read_nuscenes(fabricated(tmp_path))
        capture = keyframe.capture
        assert capture.points is not None
        direct = EGO_FROM_LIDAR @ np.c_[keyframe.points_in_lidar, np.ones(2)].T
        np.testing.assert_allclose(capture.points.points_in_world, direct[:3].T, atol=1e-12)
        to_global = np.linalg.inv(capture.world_from_source)
        np.testing.assert_allclose(to_global, GLOBAL_FROM_EGO, atol=1e-9)
        front, back = sorted(capture.frames, key=lambda frame: "BACK" in frame.name)
        np.testing.assert_allclose(front.camera.camera_from_world.numpy(), np.linalg.inv(EGO_FROM_FRONT), atol=1e-9)
        expected = np.linalg.inv(EGO_FROM_BACK) @ np.linalg.inv(MOVED) @ GLOBAL_FROM_EGO
        np.testing.assert_allclose(back.camera.camera_from_world.numpy(), expected, atol=1e-9)
        still = np.linalg.inv(EGO_FROM_BACK)
        assert np.abs(back.camera.camera_from_world.numpy() - still).max() > 0.05  # the ego pose of the camera matters
        # Pixel centres at half-integers: the file's principal point plus ½.
        assert front.camera.K[0, 2] == 32.0 and front.camera.K[1, 2] == 18.0


class TestKeyframe:
    def test_what_is_read(self, tmp_path: Path):
        keyframe = read_nuscenes(fabricated(tmp_path))
        assert keyframe.scene == "scene-0001" and keyframe.token == "sample0"
        assert keyframe.ring.tolist() == [3.0, 17.0] and keyframe.intensity[0] == np.float32(0.5)
        capture = keyframe.capture
        assert capture.source_format == "nuscenes" and capture.scale == "metric"
        assert [frame.name for frame in capture.frames] == ["samples/CAM_BACK/0.jpg", "samples/CAM_FRONT/0.jpg"]
        assert capture.frames[1].load_image is not None and capture.frames[1].load_image().shape == (HEIGHT, WIDTH, 3)
        (box,) = keyframe.boxes
        assert box.category == "vehicle.car" and box.size == (1.9, 4.6, 1.7)
        np.testing.assert_allclose(box.center_in_world, [12.0, -2.0, 0.8], atol=1e-9)
        np.testing.assert_allclose(box.world_from_box, yaw(0.3), atol=1e-9)
        assert keyframe.class_ids is None

    def test_lidarseg_maps_names_to_the_sixteen_classes(self, tmp_path: Path):
        points = np.zeros((6, 5))
        keyframe = read_nuscenes(fabricated(tmp_path, points=points, category_index=[0, 1, 2, 3, 4, 5]))
        names = [None if i < 0 else NUSCENES_CLASSES[i] for i in keyframe.class_ids]
        assert names == [None, None, "pedestrian", "car", "other flat", "driveable surface"]
        assert set(CLASS_OF_CATEGORY.values()) == set(NUSCENES_CLASSES) and len(CLASS_OF_CATEGORY) == 20

    def test_keyframes_are_listed_in_order_and_the_first_is_taken(self, tmp_path: Path):
        root = fabricated(tmp_path, samples=3)
        assert list_nuscenes_keyframes(root) == [("scene-0001", f"sample{i}") for i in range(3)]
        assert read_nuscenes(root, "sample2").capture.frames[0].name == "samples/CAM_BACK/2.jpg"
        with pytest.warns(CaptureWarning, match="first of 3 keyframes"):
            capture = open_capture(root)
        assert capture.frames[0].name == "samples/CAM_BACK/0.jpg"
        with pytest.raises(DataFormatError, match="sample9"):
            read_nuscenes(root, "sample9")

    def test_open_capture_knows_the_layout(self, tmp_path: Path):
        root = fabricated(tmp_path)
        assert is_capture(root)
        capture = open_capture(root, factor=2)
        assert capture.source_format == "nuscenes" and capture.frames[0].camera.width == WIDTH // 2
        assert open_capture(root / "v1.0-mini").source_format == "nuscenes"
        shutil.copytree(root / "v1.0-mini", root / "v1.0-trainval")
        with pytest.raises(DataFormatError, match=r"v1\.0-mini, v1\.0-trainval"):
            find_nuscenes_tables(root)

    def test_a_missing_image_is_a_frame_without_one(self, tmp_path: Path):
        root = fabricated(tmp_path)
        (root / "samples/CAM_FRONT/0.jpg").unlink()
        capture = read_nuscenes(root).capture
        assert [frame.has_image for frame in capture.frames] == [True, False]


class TestDamage:
    @pytest.mark.parametrize(
        ("table", "change", "message"),
        [
            ("ego_pose", lambda records: records[:1], "ego_pose_token"),
            ("calibrated_sensor", lambda records: [{**records[0], "rotation": [1, 1, 0, 0]}, *records[1:]], "unit quaternion"),
            ("sample_data", lambda records: [r for r in records if not r["filename"].endswith("bin")], "LIDAR_TOP"),
            ("sensor", lambda records: [3], "JSON objects"),
            ("sample", lambda records: [], "at least one sample"),
            ("calibrated_sensor", lambda records: [records[0], {**records[1], "camera_intrinsic": [1, 2]}, records[2]], "3×3"),
        ],
    )
    def test_broken_links_and_records_are_named(self, table: str, change, message: str, tmp_path: Path):
        path = fabricated(tmp_path) / f"v1.0-mini/{table}.json"
        path.write_text(json.dumps(change(json.loads(path.read_text()))))
        with pytest.raises(DataFormatError, match=message):
            read_nuscenes(tmp_path)

    def test_sweeps_and_labels_of_the_wrong_size(self, tmp_path: Path):
        root = fabricated(tmp_path / "a", category_index=[1, 2, 3])
        with pytest.raises(DataFormatError, match="2 bytes, one per point"):
            read_nuscenes(root)
        root = fabricated(tmp_path / "b", category_index=[1, 77])
        with pytest.raises(DataFormatError, match=r"\[77\]"):
            read_nuscenes(root)
        sweep = root / "samples/LIDAR_TOP/0.pcd.bin"
        sweep.write_bytes(sweep.read_bytes()[:-3])
        with pytest.raises(DataFormatError, match="rows of 20 bytes"):
            read_nuscenes(root)

    @pytest.mark.parametrize("table", ["sample_data", "calibrated_sensor"])
    def test_damaged_tables(self, table: str, tmp_path: Path):
        root = fabricated(tmp_path)
        path = root / f"v1.0-mini/{table}.json"
        assert_reader_survives(lambda _: read_nuscenes(root), path.read_bytes(), path, count=16)

    def test_tables_longer_than_a_piece(self, tmp_path: Path):
        """Records are found wherever the pieces are cut."""
        root = fabricated(tmp_path)
        path = root / "v1.0-mini/ego_pose.json"
        records = json.loads(path.read_text())
        filler = [{"token": f"f{i}", "timestamp": i, "note": "x" * 200} for i in range(13_000)]
        path.write_text(json.dumps([*filler, *records], indent=1))
        assert path.stat().st_size > 3 << 20
        assert len(read_nuscenes(root).capture.frames) == 2
        path.write_text(json.dumps([{"note": "y" * (3 << 20)}, *records]))
        with pytest.raises(DataFormatError, match="record 0"):
            read_nuscenes(root)


@pytest.mark.data
class TestRealKeyframe:
    def test_the_chain_puts_boxes_and_points_into_the_pictures(self, data_root: Path, capsys: pytest.CaptureFixture[str]):
        keyframe = read_nuscenes(data_root / "nuscenes_mini")
        capture = keyframe.capture
        points = capture.points.points_in_world
        assert len(points) == 34_688 and len(capture.frames) == 6 and set(keyframe.ring.tolist()) == set(range(32))
        # Most of the ring around the car is road: at height 0 of the car's frame.
        near = np.hypot(points[:, 0], points[:, 1]) < 12
        assert abs(np.median(points[near][:, 2])) < 0.3
        inside = 0
        for box in keyframe.boxes:
            for frame in capture.frames:
                x, y, z = frame.camera.camera_from_world.numpy()[:3] @ [*box.center_in_world, 1.0]
                u, v, _ = frame.camera.K.numpy() @ (np.array([x, y, z]) / z)
                inside += z > 1 and 0 <= u < 1600 and 0 <= v < 900
        assert inside >= len(keyframe.boxes)
        # LiDAR points of a box lie where its picture is: boxes that claim points have them inside.
        for box in keyframe.boxes[:20]:
            local = (points - box.center_in_world) @ box.world_from_box
            half = np.array([box.size[1], box.size[0], box.size[2]]) / 2 + 0.1
            assert (np.abs(local) < half).all(1).any() or np.linalg.norm(box.center_in_world) > 10
        free = visible_pixels(points, capture.frames, VisibilityTest(minimum_depth=1.0, border=1, z_buffer=None))
        tested = visible_pixels(points, capture.frames, VisibilityTest(minimum_depth=1.0, border=1, z_buffer=ZBuffer()))
        seen, kept = len(np.unique(free.element)), len(np.unique(tested.element))
        with capsys.disabled():
            print(f"\nnuScenes keyframe: {seen:,} of 34,688 points project into a camera, {kept:,} after the z-buffer")
        assert 19_000 < kept < seen < 21_000

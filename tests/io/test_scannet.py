"""ScanNet: exported folders and .sens streams, written and read."""

import io
import shutil
import tracemalloc
import warnings
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.support.fabricated_folders import GREY, HEIGHT, WIDTH, K, World, asymmetric_world, photograph, share_of_right_colors
from tests.support.file_mutations import assert_reader_survives

from scenewise.errors import CaptureWarning, ConventionError, DataFormatError, ShapeError
from scenewise.io.captures import is_capture, open_capture
from scenewise.io.rgbd.writing import RgbdFrame
from scenewise.io.scannet.classes import NYU40_NAMES, SCANNET20_NAMES, SCANNET20_NYU40, classes_of_nyu40
from scenewise.io.scannet.depth import ScannetDepthLoader
from scenewise.io.scannet.labels import read_scannet_frame_labels, read_scannet_labels
from scenewise.io.scannet.scenes import find_scannet_layout, read_scannet
from scenewise.io.scannet.writing import AnnotatedMesh, write_scannet_scene
from scenewise.io.sens import SensHeader, read_sens_header, stream_sens, write_sens
from scenewise.scenes.captures import Capture
from scenewise.scenes.meshes import TriangleMesh
from scenewise.scenes.partitions import Partition

MESH = TriangleMesh(
    np.array([[0.0, 0, 0], [1, 0, 0], [1, 2, 0], [0, 2, 0.5], [0, 0, 3]]),
    np.array([[0, 1, 2], [0, 2, 3], [0, 3, 4]]),
    np.array([[255, 0, 1], [2, 3, 4], [5, 6, 7], [8, 9, 10], [11, 12, 13]], dtype=np.uint8),
)


def written(path: Path, world=None, *, lost: bool = False, **more: object) -> Path:
    """The asymmetric world as an exported scene; with ``lost``, a frame without tracking comes second."""
    world = world or asymmetric_world()
    frames = []
    for index, pose in enumerate(world.world_from_camera):
        image, depth = photograph(world, pose)
        frames.append(RgbdFrame(image, depth, pose, np.where(depth > 0, 5, -1).astype(np.int64)))
        if lost and index == 0:
            frames.append(RgbdFrame(image, depth, np.full((4, 4), -np.inf)))
    write_scannet_scene(path, frames, K, WIDTH, HEIGHT, **more)
    return path


def share_of_close_colors(capture: Capture, world: World, flip_u: bool = False) -> float:
    """As ``share_of_right_colors``, for pictures that went through JPEG: nearest of the world's colours and grey."""
    palette = np.concatenate([world.colors_u8, [[GREY] * 3]]).astype(int)
    restored = []
    for frame in capture.frames:
        image = frame.load_image().astype(int)
        nearest = np.abs(image[:, :, None] - palette).sum(-1).argmin(-1)
        restored.append(replace(frame, load_image=partial(np.asarray, palette[nearest].astype(np.uint8))))
    return share_of_right_colors(replace(capture, frames=tuple(restored)), world, flip_u)


def encoded(image: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format=kind, **({"quality": 95, "subsampling": 0} if kind == "JPEG" else {}))
    return buffer.getvalue()


def streamed(path: Path, world=None, *, compression: str = "png", lost: bool = False) -> Path:
    world = world or asymmetric_world()
    header = SensHeader("StructureSensor", K, K, (WIDTH, HEIGHT), (WIDTH, HEIGHT), compression, "zlib", 1000.0, 0)
    frames = []
    for index, pose in enumerate(world.world_from_camera):
        image, depth = photograph(world, pose)
        codes = np.rint(depth * 1000).astype(np.uint16)
        frames.append((pose, encoded(image, compression.upper()), codes))
        if lost and index == 0:
            frames.append((np.full((4, 4), -np.inf), encoded(image), codes))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_sens(path, header, frames)
    return path


class TestExported:
    def test_what_is_written_is_read(self, tmp_path: Path):
        world = asymmetric_world()
        path = written(tmp_path / "scene0001_00", world, surface=AnnotatedMesh(MESH, nyu40_ids=np.array([1, 2, 0, 40, 39])))
        scene = read_scannet(path)
        assert scene.name == "scene0001_00" and scene.skipped_frames == 0
        capture = scene.capture
        assert capture.source_format == "scannet" and capture.scale == "metric"
        assert [frame.name for frame in capture.frames] == [f"color/{index}.jpg" for index in range(4)]
        assert share_of_close_colors(capture, world) > 0.85
        assert share_of_close_colors(capture, world, flip_u=True) < 0.3
        np.testing.assert_allclose(capture.frames[0].camera.K.numpy(), K, atol=1e-9)
        assert (path / "intrinsic/intrinsic_color.txt").read_text().split()[2] == "49.5"
        for frame, pose in zip(capture.frames, world.world_from_camera):
            np.testing.assert_allclose(frame.camera.world_from_camera.numpy(), pose, atol=1e-9)
            _, depth = photograph(world, pose)
            np.testing.assert_allclose(frame.load_depth(), depth, atol=5.1e-4)
            assert frame.depth_path == path / "depth" / f"{frame.image_path.stem}.png"
            np.testing.assert_array_equal(read_scannet_frame_labels(frame), np.where(depth > 0, 5, 0))
        mesh = scene.mesh()
        np.testing.assert_allclose(mesh.vertices_in_world, MESH.vertices_in_world)
        np.testing.assert_array_equal(mesh.faces, MESH.faces)
        np.testing.assert_array_equal(mesh.colors_u8, MESH.colors_u8)
        np.testing.assert_array_equal(capture.points.points_in_world, mesh.vertices_in_world)
        assert scene.nyu40_ids().tolist() == [1, 2, 0, 40, 39]
        np.testing.assert_array_equal(scene.axis_alignment, np.eye(4))

    def test_open_capture_knows_the_layout(self, tmp_path: Path):
        path = written(tmp_path / "scene")
        assert find_scannet_layout(path) == "exported" and is_capture(path)
        capture = open_capture(path, factor=2)
        assert capture.source_format == "scannet" and capture.frames[0].camera.width == WIDTH // 2
        assert capture.frames[0].load_depth().shape == (HEIGHT // 2, WIDTH // 2)

    def test_lost_tracking_is_skipped_and_counted(self, tmp_path: Path):
        path = written(tmp_path / "scene", lost=True)
        assert (path / "pose/1.txt").read_text().split()[0] == "-inf"
        with pytest.warns(CaptureWarning, match="1 frames"):
            scene = read_scannet(path)
        assert scene.skipped_frames == 1 and len(scene.capture.frames) == 4
        (path / "pose/1.txt").write_text("1 0 0 nan\n0 1 0 0\n0 0 1 0\n0 0 0 1\n")
        with pytest.raises(DataFormatError, match=r"pose/1\.txt"):
            read_scannet(path)

    def test_every_nth_frame_in_numeric_order(self, tmp_path: Path):
        path = written(tmp_path / "scene", asymmetric_world(12))
        names = [frame.name for frame in read_scannet(path, every=5).capture.frames]
        assert sorted(names) == ["color/0.jpg", "color/10.jpg", "color/5.jpg"]

    def test_names_of_the_25k_export(self, tmp_path: Path):
        path = written(tmp_path / "scene")
        (path / "intrinsic/intrinsic_color.txt").rename(path / "intrinsics_color.txt")
        (path / "intrinsic/intrinsic_depth.txt").rename(path / "intrinsics_depth.txt")
        shutil.rmtree(path / "intrinsic")
        assert len(read_scannet(path).capture.frames) == 4

    def test_color_stored_at_the_depths_size_takes_the_depths_lens(self, tmp_path: Path):
        path = written(tmp_path / "scene")
        large = np.eye(4)
        large[:3, :3] = np.diag([2.025, 1.5125, 1.0]) @ K  # of a colour image twice as large that was shrunk on export
        large[:2, 2] -= 0.5
        np.savetxt(path / "intrinsic/intrinsic_color.txt", large)
        np.testing.assert_allclose(read_scannet(path).capture.frames[0].camera.K.numpy(), K, atol=1e-9)

    def test_depth_goes_through_its_own_lens(self, tmp_path: Path):
        """By hand: colour 8×6, f = 10, centre (4, 3); depth 4×3, f = 4, centre (2.5, 1.5).

        Colour pixel (row 2, column 6) has its centre at slope 0.25, −0.05: depth at u = 3.5, v = 1.3, so row 1, column 3.
        Colour column 0 has slope −0.35: u = 1.1, column 1.  Column 7, slope 0.35: u = 3.9, column 3.
        """
        codes = np.arange(1, 13, dtype=np.uint16).reshape(3, 4) * 1000
        Image.fromarray(codes).save(tmp_path / "d.png")
        K_depth = np.array([[4.0, 0, 2.5], [0, 4.0, 1.5], [0, 0, 1]])
        K_color = np.array([[10.0, 0, 4.0], [0, 10.0, 3.0], [0, 0, 1]])
        depth = ScannetDepthLoader(tmp_path / "d.png", K_depth, K_color, (8, 6))()
        assert depth.shape == (6, 8)
        np.testing.assert_allclose(depth[2, [6, 0, 7]], [8.0, 6.0, 8.0], rtol=1e-6)
        narrow = replace(ScannetDepthLoader(tmp_path / "d.png", K_depth, K_color, (8, 6)), K_depth=K_depth * [[2], [2], [1]])
        assert narrow()[0, 7] == 0.0  # outside the depth camera's view: no measurement

    def test_segments_and_objects(self, tmp_path: Path):
        segments, owners = Partition.from_any_ids(np.array([7, 7, 3, 3, 9]), "file"), np.array([1, 1, 0, 1, -1])
        path = written(
            tmp_path / "s", surface=AnnotatedMesh(MESH, segments=segments, instance_ids=owners, instance_names=["floor", "chair"])
        )
        scene = read_scannet(path)
        assert scene.segments().ids.tolist() == [1, 1, 0, 0, 2]
        of_vertex, aggregation = scene.objects()
        assert [(one.object_id, one.label, one.segments) for one in aggregation.groups] == [
            (0, "floor", (0,)),
            (1, "chair", (1,)),
        ]
        assert of_vertex.tolist() == [1, 1, 0, 0, -1]
        with pytest.raises(DataFormatError, match=r"segs\.json"):
            read_scannet(written(tmp_path / "t", surface=AnnotatedMesh(MESH))).segments()

    def test_axis_alignment_is_offered(self, tmp_path: Path):
        path = written(tmp_path / "s", axis_alignment=np.array([[0.0, -1, 0, 2], [1, 0, 0, 3], [0, 0, 1, -1], [0, 0, 0, 1]]))
        alignment = read_scannet(path).axis_alignment
        assert alignment is not None and alignment[0, 3] == 2 and alignment[1, 0] == 1

    @pytest.mark.parametrize(
        ("name", "text", "message"),
        [
            ("intrinsic/intrinsic_color.txt", "1 2 3", "16 numbers"),
            ("pose/2.txt", "a b c d " * 4, "16 numbers"),
            ("pose/2.txt", "2 0 0 0 0 2 0 0 0 0 2 0 0 0 0 1", "orthonormal"),
            ("scene.txt", "axisAlignment = 1 2 3\n", "16 numbers"),
        ],
    )
    def test_damage_is_named(self, name: str, text: str, message: str, tmp_path: Path):
        path = written(tmp_path / "scene")
        (path / name).write_text(text)
        with pytest.raises(DataFormatError, match=message):
            read_scannet(path)

    def test_intrinsics_of_another_size_are_refused(self, tmp_path: Path):
        path = written(tmp_path / "scene")
        for kind in ("color", "depth"):
            twice = np.eye(4)
            twice[:3, :3] = np.diag([2.0, 2.0, 1.0]) @ K
            np.savetxt(path / f"intrinsic/intrinsic_{kind}.txt", twice)
        with pytest.raises(DataFormatError, match="near the middle of 96×64"):
            read_scannet(path)

    def test_labels_beyond_forty_are_refused(self, tmp_path: Path):
        path = written(tmp_path / "s", surface=AnnotatedMesh(MESH, nyu40_ids=np.array([1, 2, 0, 40, 39])))
        labels = path / "s_vh_clean_2.labels.ply"
        data = labels.read_bytes()
        assert read_scannet_labels(labels)[3] == 40
        labels.write_bytes(data.replace((40).to_bytes(2, "little"), (41).to_bytes(2, "little"), 1))
        with pytest.raises(DataFormatError, match="0 … 40"):
            read_scannet_labels(labels)

    @pytest.mark.errors
    def test_what_cannot_be_written(self, tmp_path: Path):
        with pytest.raises(ShapeError, match="one per vertex"):
            written(tmp_path / "a", surface=AnnotatedMesh(MESH, nyu40_ids=np.array([1])))
        with pytest.raises(ConventionError, match="0 … 40"):
            written(tmp_path / "b", surface=AnnotatedMesh(MESH, nyu40_ids=np.array([1, 2, 0, 41, 39])))
        with pytest.raises(ConventionError, match="a name for every object"):
            written(
                tmp_path / "c",
                surface=AnnotatedMesh(
                    MESH,
                    segments=Partition.from_any_ids(np.zeros(5, np.int64), "file"),
                    instance_ids=np.array([0, 1, 2, 3, 4]),
                    instance_names=["x"],
                ),
            )
        assert not (tmp_path / "a").exists() and not (tmp_path / "c").exists()


class TestClasses:
    def test_the_twenty_classes(self):
        assert SCANNET20_NAMES[:3] == ("wall", "floor", "cabinet") and SCANNET20_NAMES[12:14] == ("desk", "curtain")
        assert SCANNET20_NAMES[14:] == ("refrigerator", "shower curtain", "toilet", "sink", "bathtub", "otherfurniture")
        assert len(NYU40_NAMES) == 40 and NYU40_NAMES[21] == "ceiling"
        ids = classes_of_nyu40(np.array([0, 1, 14, 16, 24, 39, 40, 13, -1, 99]), SCANNET20_NYU40)
        assert ids.tolist() == [-1, 0, 12, 13, 14, 19, -1, -1, -1, -1]


class TestSens:
    @pytest.mark.parametrize("compression", ["png", "jpeg"])
    def test_frames_decode_lazily(self, compression: str, tmp_path: Path):
        world = asymmetric_world()
        path = streamed(tmp_path / "scene0002_00/scene0002_00.sens", world, compression=compression)
        for given in (path, path.parent):
            capture = open_capture(given)
            assert capture.source_format == "scannet" and len(capture.frames) == 4
        assert share_of_close_colors(capture, world) > 0.85
        np.testing.assert_allclose(capture.frames[0].camera.K.numpy(), K, atol=1e-5)  # float32 in the file
        for frame, pose in zip(capture.frames, world.world_from_camera):
            np.testing.assert_allclose(frame.camera.world_from_camera.numpy(), pose, atol=1e-6)
            np.testing.assert_allclose(frame.load_depth(), photograph(world, pose)[1], atol=5.1e-4)

    def test_lost_frames_and_every_nth(self, tmp_path: Path):
        path = streamed(tmp_path / "a.sens", asymmetric_world(6), lost=True)
        assert read_sens_header(path).num_frames == 7
        assert [frame.index for frame in stream_sens(path, every=3)] == [0, 3, 6]
        with pytest.warns(CaptureWarning, match="1 frames"):
            scene = read_scannet(path)
        assert [frame.name for frame in scene.capture.frames] == [f"color/{i:06d}.jpg" for i in (0, 2, 3, 4, 5, 6)]

    def test_counts_are_checked_before_anything_is_allocated(self, tmp_path: Path):
        path = streamed(tmp_path / "a.sens")
        data = bytearray(path.read_bytes())
        place = 12 + len("StructureSensor") + 256 + 28
        data[place : place + 8] = (1 << 60).to_bytes(8, "little")
        path.write_bytes(data)
        with pytest.raises(DataFormatError, match=r"1,152,921,504,606,846,976 frames"):
            read_sens_header(path)

    def test_bombs_in_depth_do_not_unpack(self, tmp_path: Path):
        world = asymmetric_world(2)
        header = SensHeader("s", K, K, (WIDTH, HEIGHT), (4, 4), "png", "zlib", 1000.0, 0)
        image, _ = photograph(world, world.world_from_camera[0])
        write_sens(
            tmp_path / "a.sens", header, [(p, encoded(image), np.zeros((2000, 2000), np.uint16)) for p in world.world_from_camera]
        )
        frame = read_scannet(tmp_path / "a.sens").capture.frames[0]
        tracemalloc.start()
        with pytest.raises(DataFormatError, match="32 bytes of depth"):
            frame.load_depth()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1_000_000  # of 8 MB that want out

    def test_damaged_streams(self, tmp_path: Path):
        path = streamed(tmp_path / "a.sens", asymmetric_world(2))

        def read(where: Path) -> None:
            for frame in read_scannet(where).capture.frames:
                frame.load_image()
                frame.load_depth()

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CaptureWarning)  # damage can make a pose look lost
            assert_reader_survives(read, path.read_bytes(), path, count=60)


class TestCamerasApart:
    """ScanNet's extrinsic files lead from each camera to the one that the poses place."""

    BASE_FROM_DEPTH = np.array([[0.8, -0.6, 0, 0.3], [0.6, 0.8, 0, -0.1], [0, 0, 1, 0.05], [0, 0, 0, 1.0]])

    def one_depth_pixel(self, root: Path) -> Path:
        depth = np.zeros((HEIGHT, WIDTH), dtype=np.uint16)
        depth[33, 61] = 2500
        Image.fromarray(depth).save(root / "depth/1.png")
        return root

    def where(self) -> tuple[int, int]:
        ray = np.linalg.inv(K) @ [61.5, 33.5, 1.0]
        x, y, z = self.BASE_FROM_DEPTH[:3, :3] @ (2.5 * ray) + self.BASE_FROM_DEPTH[:3, 3]
        return int(K[1, 1] * y / z + K[1, 2]), int(K[0, 0] * x / z + K[0, 2])

    def test_depth_is_registered_to_colour(self, tmp_path: Path):
        root = self.one_depth_pixel(written(tmp_path / "scene0001_00"))
        before = read_scannet(root).capture.frames[1]
        assert before.load_depth()[33, 61] == np.float32(2.5)
        np.savetxt(root / "intrinsic/extrinsic_depth.txt", self.BASE_FROM_DEPTH)
        frame = read_scannet(root).capture.frames[1]
        np.testing.assert_allclose(frame.load_depth()[self.where()], 2.55, rtol=1e-6)
        np.testing.assert_array_equal(frame.camera.camera_from_world, before.camera.camera_from_world)

    def test_poses_of_the_depth_camera_become_those_of_the_colour_camera(self, tmp_path: Path):
        root = self.one_depth_pixel(written(tmp_path / "scene0001_00"))
        before = read_scannet(root).capture.frames[1].camera.world_from_camera.numpy()
        np.savetxt(root / "intrinsic/extrinsic_color.txt", np.linalg.inv(self.BASE_FROM_DEPTH), fmt="%.17g")
        frame = read_scannet(root).capture.frames[1]
        np.testing.assert_allclose(frame.load_depth()[self.where()], 2.55, rtol=1e-6)
        moved = frame.camera.world_from_camera.numpy()
        np.testing.assert_allclose(moved, before @ np.linalg.inv(self.BASE_FROM_DEPTH), atol=1e-9)

    def test_in_a_stream_too(self, tmp_path: Path):
        path = streamed(tmp_path / "s.sens")
        frames = list(stream_sens(path))
        depth = np.zeros((HEIGHT, WIDTH), dtype=np.uint16)
        depth[33, 61] = 2500
        header = replace(read_sens_header(path), base_from_depth=self.BASE_FROM_DEPTH)
        image = encoded(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        write_sens(path, header, [(found.world_from_camera, image, depth) for found in frames])
        np.testing.assert_allclose(read_sens_header(path).base_from_depth, self.BASE_FROM_DEPTH, atol=1e-7)
        frame = read_scannet(path).capture.frames[1]
        np.testing.assert_allclose(frame.load_depth()[self.where()], 2.55, rtol=1e-6)

    def test_a_broken_transform_is_named(self, tmp_path: Path):
        root = written(tmp_path / "scene0001_00")
        (root / "intrinsic/extrinsic_depth.txt").write_text("1 0 0 0 0 1 0 0 0 0 -1 0 0 0 0 1")
        with pytest.raises(DataFormatError, match=r"extrinsic_depth\.txt.*rigid"):
            read_scannet(root)

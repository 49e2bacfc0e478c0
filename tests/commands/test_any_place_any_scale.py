"""One room at the origin, moved to where surveyors work, and in other units of length: nothing but the coordinates may change."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.support.between_workers import made_once
from tests.support.oracle_teacher import Oracle

from scenewise.commands.export.options import ExportOptions
from scenewise.commands.export.run import export_scene
from scenewise.commands.query.options import QueryOptions
from scenewise.commands.query.run import query
from scenewise.commands.reconstruct.options import ReconstructOptions
from scenewise.commands.reconstruct.run import reconstruct
from scenewise.commands.segment.options import SegmentOptions
from scenewise.commands.segment.run import segment
from scenewise.geometry.transforms import OPENCV_FROM_OPENGL
from scenewise.io.captures import open_capture
from scenewise.io.las import read_las, write_las
from scenewise.io.ply.gaussians import read_gaussians_ply
from scenewise.io.ply.points import read_points_ply, write_points_ply
from scenewise.io.scene_folder import read_scene, read_scene_labels
from scenewise.parts.points.from_depth import points_from_depth
from scenewise.scenes.point_clouds import PointCloud

MOVES = {"utm": (500_000.0, 5_400_000.0, 300.0), "far": (1e7, -1e7, 1e7)}
SCALES = {"mm": 1e3, "km": 1e-3}
POINTS, STEPS = 4_000, 100


def write_variant(folder: Path, room: Path, scale: float, move: tuple[float, float, float]) -> Path:
    """The room as transforms.json with points, every length times ``scale``, then moved."""
    capture = open_capture(room)
    cloud = points_from_depth(capture.frames, maximum=POINTS, threads=1)
    folder.mkdir(parents=True)
    frames = []
    for frame in capture.frames:
        assert frame.image_path is not None
        shutil.copy(frame.image_path, folder / frame.name)
        pose = frame.camera.world_from_camera.numpy() @ OPENCV_FROM_OPENGL
        pose[:3, 3] = pose[:3, 3] * scale + np.array(move)
        frames.append({"file_path": frame.name, "transform_matrix": pose.tolist()})
    camera = capture.frames[0].camera
    lens = {"fl_x": camera.K[0, 0], "fl_y": camera.K[1, 1], "cx": camera.K[0, 2], "cy": camera.K[1, 2]}
    listing = {name: float(value) for name, value in lens.items()} | {"w": camera.width, "h": camera.height}
    (folder / "transforms.json").write_text(json.dumps({**listing, "ply_file_path": "points.ply", "frames": frames}))
    write_points_ply(folder / "points.ply", PointCloud(cloud.points_in_world * scale + np.array(move), cloud.colors_u8))
    return folder


@pytest.fixture(scope="module")
def measured(known_room: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, float]]:
    """Captures and scenes of all variants side by side, and the PSNR of each; to be left as they are."""

    def make(place: Path) -> dict[str, float]:
        variants = {"near": (1.0, (0.0, 0.0, 0.0))}
        variants |= {name: (1.0, move) for name, move in MOVES.items()}
        variants |= {name: (scale, (0.0, 0.0, 0.0)) for name, scale in SCALES.items()}
        psnr = {}
        for name, (scale, move) in variants.items():
            capture = write_variant(place / name / "capture", known_room, scale, move)
            options = ReconstructOptions(
                capture=capture, out=place / name / "scene", steps=STEPS, threads=1, sh_degree=1, max_gaussians=5_000
            )
            psnr[name] = reconstruct(options).evaluation.psnr
        return psnr

    return made_once(tmp_path_factory, "any_place", make)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*MOVES, *SCALES])
def test_the_picture_does_not_depend_on_place_and_unit(measured, name):
    psnr = measured[1]
    assert psnr["near"] > 15.0
    assert psnr[name] == pytest.approx(psnr["near"], abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("name", MOVES)
def test_exports_lie_where_the_capture_lies(measured, tmp_path, name):
    place, move = measured[0], np.array(MOVES[name])
    near, far = (place / variant / "scene" for variant in ("near", name))
    scene = read_scene(far)
    assert np.abs(scene.gaussians.means.numpy()).max() < 100.0  # local: a step of float32 is far below a millimetre
    for ending, read in ((".ply", read_points_ply), (".laz", lambda path: read_las(path)[0])):
        if ending == ".laz":
            pytest.importorskip("laspy", reason="laspy is an optional package")
        # What the two trainings make of rounding aside, the splats of the far scene are where its photographs put them.
        moved = export_scene(ExportOptions(far, "points", tmp_path / f"far{ending}", min_opacity=0.0))
        local = scene.gaussians.means.numpy()[(scene.gaussians.opacities > 0.0).numpy()]
        offset = -scene.world_from_source[:3, 3]
        assert moved.frame == "source"
        assert np.abs(read(moved.path).points_in_world - (local + offset)).max() < 1e-3
        unmoved = export_scene(ExportOptions(near, "points", tmp_path / f"near{ending}", min_opacity=0.0))
        middle, far_middle = (np.median(read(path).points_in_world, axis=0) for path in (unmoved.path, moved.path))
        assert np.abs(far_middle - middle - move).max() < 0.2
    splats = export_scene(ExportOptions(far, "ply", tmp_path / "far_splats.ply"))
    said = json.loads(splats.sidecars[-1].read_text())
    back = np.array(said["source_from_world"])
    assert np.array_equal(back[:3, :3], np.eye(3))
    assert (
        np.abs(read_gaussians_ply(splats.path).means.numpy() + back[:3, 3] - (scene.gaussians.means.numpy() + offset)).max()
        < 1e-3
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", [*MOVES, *SCALES])
def test_points_get_the_same_names(measured, known_room, tmp_path, name):
    place, oracle = measured[0], Oracle(known_room)
    labels = {}
    for variant in ("near", name):
        out = tmp_path / variant
        segment(SegmentOptions(target=(place / variant / "capture",), out=out, threads=1), None, oracle)
        labels[variant] = read_scene_labels(out, "points").class_ids
    assert (labels["near"] >= 0).mean() > 0.9
    assert (labels[name] == labels["near"]).mean() >= 0.995
    if name in MOVES:
        exported = export_scene(ExportOptions(tmp_path / name, "points", tmp_path / "back.ply"))
        given = read_points_ply(place / name / "capture" / "points.ply")
        assert np.abs(read_points_ply(exported.path).points_in_world - given.points_in_world).max() < 1e-3


@pytest.mark.slow
def test_a_cloud_of_its_own_follows_its_photographs(measured, known_room, tmp_path):
    """Both as PLY and as LAS, and the answer to a question says where it is in the surveyor's coordinates."""
    pytest.importorskip("laspy", reason="laspy is an optional package")
    place, oracle = measured[0], Oracle(known_room)
    capture = place / "utm" / "capture"
    cloud = read_points_ply(capture / "points.ply")
    write_las(tmp_path / "cloud.laz", cloud, epsg=None)
    labels = []
    for path in (capture / "points.ply", tmp_path / "cloud.laz"):
        out = tmp_path / path.suffix[1:]
        segment(SegmentOptions(target=(path,), capture=capture, out=out, threads=1), None, oracle)
        labels.append(read_scene_labels(out, "points").class_ids)
        assert (labels[-1] >= 0).mean() > 0.9
        answer = query(QueryOptions(scene=out, text="floor", threads=1), teacher=oracle).answers[0]
        assert np.abs(np.array(answer.center_in_source) - np.array(MOVES["utm"])).max() < 10.0
        assert np.abs(np.array(answer.center_in_world)).max() < 100.0
    assert (labels[0] == labels[1]).mean() > 0.98  # LAS rounds to 0.1 mm, which turns some votes in sets

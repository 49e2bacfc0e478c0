"""What a refinement writes, without a picture being matched: a COLMAP folder for photographs, an RGB-D folder for depth."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scenewise.errors import DataFormatError
from scenewise.geometry.lens_cameras import LensCamera
from scenewise.geometry.view_overlap import ViewPairs
from scenewise.io.captures import open_capture
from scenewise.parts.points.multi_view import Observations
from scenewise.parts.poses.refinement.bundle import AdjustedBundle, Bundle
from scenewise.parts.poses.refinement.depth import DepthFit
from scenewise.parts.poses.refinement.matches import FreeMatches
from scenewise.parts.poses.refinement.output import layout_for, leaves_depth_out, write_capture
from scenewise.parts.poses.refinement.placing import Placed, PlacedDepth, local_frame, place
from scenewise.parts.poses.refinement.views import (
    RefinementViews,
    epipolar_distances,
    plausible_matches,
    refinement_views,
    spread_pairs,
)
from scenewise.scenes.captures import Capture
from scenewise.worlds.captures import room_capture

pytest.importorskip("pycolmap", reason="needs the extra sfm")

WIDTH, HEIGHT = 40, 30
NEW_LENS = LensCamera("SIMPLE_RADIAL", (33.0, 20.5, 15.0, -0.04), WIDTH, HEIGHT)


def poses(count: int, origin: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """world_from_camera on an uneven arc, looking along their own Z."""
    found = np.tile(np.eye(4), (count, 1, 1))
    for index, pose in enumerate(found):
        a = 0.2 * index
        pose[:3, :3] = [[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]]
        pose[:3, 3] = np.add(origin, [0.5 * index, 0.1 * index * index, -0.3 * index])
    return found


def write_photographs(root: Path, origin: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Path:
    (root / "images").mkdir(parents=True)
    frames = []
    for index, pose in enumerate(poses(4, origin)):
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), 40 * index, np.uint8)).save(root / f"images/p{index}.png")
        opengl = pose @ np.diag([1.0, -1.0, -1.0, 1.0])
        frames.append({"file_path": f"images/p{index}.png", "transform_matrix": opengl.tolist()})
    top = {"w": WIDTH, "h": HEIGHT, "fl_x": 36.0, "fl_y": 36.0, "cx": 20.5, "cy": 15.0, "frames": frames}
    (root / "transforms.json").write_text(json.dumps(top))
    return root


def write_depth_frames(root: Path) -> Path:
    root.mkdir()
    np.savetxt(root / "camera-intrinsics.txt", [[36.0, 0, 20], [0, 36.0, 14.5], [0, 0, 1]])
    for index, pose in enumerate(poses(4)):
        stem = root / f"frame-{index:06d}"
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), 40 * index, np.uint8)).save(f"{stem}.color.png")
        Image.fromarray(np.full((HEIGHT, WIDTH), 5000 + index, np.uint16)).save(f"{stem}.depth.png")
        Image.fromarray(np.full((HEIGHT, WIDTH), index, np.uint16)).save(f"{stem}.class.png")
        np.savetxt(f"{stem}.pose.txt", pose, fmt="%.17g")
    (root / "capture.json").write_text(json.dumps({"depth_codes_per_metre": 5000, "classes": ["a", "b", "c", "d"], "own": 7}))
    return root


def found_for(capture: Capture, views: RefinementViews, shift: np.ndarray) -> tuple[AdjustedBundle, Placed]:
    """Every camera moved by ``shift`` and one point, seen by three."""
    seen = Observations(np.zeros(3, np.int64), np.arange(3), np.array([[10.0, 11], [12, 13], [14, 15]]))
    moved = views.camera_from_world.copy()
    moved[:, :3, 3] -= moved[:, :3, :3] @ shift
    bundle = Bundle((NEW_LENS,), views.lens_of, moved, seen)
    adjusted = AdjustedBundle(bundle, np.zeros((1, 3)), np.ones(3, bool), np.ones(4, bool))
    middle = views.centers.mean(axis=0)
    return adjusted, Placed(moved, np.add(middle, [0.25, 0.5, 4.0])[None], 1.0, "color", None)


@pytest.mark.parametrize("origin", [(0.0, 0.0, 0.0), (500000.0, 5400000.0, 300.0)])
def test_photographs_become_a_colmap_folder_in_their_own_frame(origin: tuple[float, float, float], tmp_path: Path) -> None:
    root = write_photographs(tmp_path / "in", origin)
    (root / "masks").mkdir()
    Image.fromarray(np.eye(HEIGHT, WIDTH, dtype=np.uint8)).save(root / "masks/p2.png")
    capture = replace(open_capture(root), test_names=frozenset({"images/p2.png"}))
    views = refinement_views(capture)
    shift = np.array([0.01, -0.02, 0.03])
    (tmp_path / "out").mkdir()
    write_capture(tmp_path / "out", capture, views, *found_for(capture, views, shift))
    assert (tmp_path / "out/held_out.txt").read_text() == "images/p2.png\n"
    again = open_capture(tmp_path / "out")
    assert [frame.name for frame in again.frames] == [f"images/p{index}.png" for index in range(4)]
    assert [frame.load_mask is not None for frame in again.frames] == [False, False, True, False]
    back = np.stack([frame.camera.world_from_camera.numpy() for frame in again.frames])
    back[:, :3, 3] -= again.world_from_source[:3, 3]
    expected = poses(4, origin)
    expected[:, :3, 3] += shift
    np.testing.assert_allclose(back, expected, atol=1e-8)
    assert again.frames[0].load_image.lens_camera == NEW_LENS  # type: ignore[union-attr]
    assert again.points is not None and again.points.colors_u8 is not None
    np.testing.assert_array_equal(again.points.colors_u8, [[40, 40, 40]])  # mean of three grey pictures
    middle = poses(4, origin)[:, :3, 3].mean(axis=0)
    np.testing.assert_allclose(
        again.points.points_in_world - again.world_from_source[:3, 3], np.add(middle, [0.25, 0.5, 4.0])[None], atol=1e-8
    )


def test_depth_captures_stay_depth_captures(tmp_path: Path) -> None:
    capture = open_capture(write_depth_frames(tmp_path / "in"))
    views = refinement_views(capture)
    assert views.depth[0] is not None and views.depth[0].size == (WIDTH, HEIGHT) and views.depth[0].color_from_depth is None
    found, placed = found_for(capture, views, np.zeros(3))
    depth_from_color = np.eye(4)
    depth_from_color[:3, 3] = [0.02, -0.01, 0.005]
    fit = DepthFit(1.0, depth_from_color, 0.01, 500)
    placed = replace(placed, depth=PlacedDepth(fit, fit, views.depth[0].K, False))
    (tmp_path / "out").mkdir()
    write_capture(tmp_path / "out", capture, views, found, placed)
    again = open_capture(tmp_path / "out")
    frame = again.frames[2]
    loader = frame.load_depth
    np.testing.assert_allclose(np.linalg.inv(loader.depth_camera.color_from_depth), depth_from_color, atol=1e-12)  # type: ignore[union-attr]
    np.testing.assert_allclose(loader.depth_camera.K, [[36, 0, 20.5], [0, 36, 15], [0, 0, 1]])  # type: ignore[union-attr]
    assert loader.measured().max() == np.float32(5002 / 5000)  # type: ignore[union-attr]
    assert frame.load_image.lens_camera.extra == (-0.04, 0.0, 0.0, 0.0)  # type: ignore[union-attr]
    np.testing.assert_allclose(frame.camera.world_from_camera.numpy(), poses(4)[2], atol=1e-12)
    told = json.loads((tmp_path / "out/capture.json").read_text())
    assert told["own"] == 7 and told["classes"] == ["a", "b", "c", "d"] and told["test_names"] == ["frame-000000.color.png"]
    assert (tmp_path / "out/frame-000003.class.png").stat().st_ino == (tmp_path / "in/frame-000003.class.png").stat().st_ino


@pytest.mark.parametrize("ending", [".png", ".npy"])
def test_depth_listed_in_transforms_json_stays(tmp_path: Path, ending: str) -> None:
    """A phone's export: photographs of one lens with depth beside them, as codes of an odd step or as distances."""
    root = write_photographs(tmp_path / "in")
    top = json.loads((root / "transforms.json").read_text())
    for index, frame in enumerate(top["frames"]):
        frame["depth_file_path"] = f"depth_{index}{ending}"
        if ending == ".png":
            Image.fromarray(np.full((HEIGHT, WIDTH), 4000 + index, np.uint16)).save(root / frame["depth_file_path"])
        else:
            np.save(root / frame["depth_file_path"], np.full((HEIGHT, WIDTH), 0.002 * (1000 + index), np.float32))
    (root / "transforms.json").write_text(json.dumps(top | {"integer_depth_scale": 0.0005}))
    capture = open_capture(root)
    views = refinement_views(capture)
    assert layout_for(capture) == "rgbd" and not leaves_depth_out(capture)
    assert views.depth[0] is not None and views.depth[0].size == (WIDTH, HEIGHT)
    (tmp_path / "out").mkdir()
    write_capture(tmp_path / "out", capture, views, *found_for(capture, views, np.zeros(3)))
    again = open_capture(tmp_path / "out")
    for index, frame in enumerate(again.frames):
        depth = frame.load_depth()  # type: ignore[misc]
        middle = depth[HEIGHT // 2, WIDTH // 2]
        assert middle == pytest.approx(0.0005 * (4000 + index) if ending == ".png" else 0.002 * (1000 + index), abs=1e-6)
        np.testing.assert_allclose(frame.camera.world_from_camera.numpy(), poses(4)[index], atol=1e-12)
        written, source = tmp_path / f"out/frame-{index:06d}.depth.png", root / f"depth_{index}{ending}"
        assert (written.stat().st_ino == source.stat().st_ino) == (ending == ".png")  # linked where it can be


def test_depth_of_several_cameras_is_said_to_be_left_out(tmp_path: Path) -> None:
    root = write_photographs(tmp_path / "in")
    top = json.loads((root / "transforms.json").read_text())
    for index, frame in enumerate(top["frames"]):
        frame |= {"depth_file_path": f"depth_{index}.png", "fl_x": 36.0 + index, "fl_y": 36.0 + index}
        Image.fromarray(np.full((HEIGHT, WIDTH), 4000, np.uint16)).save(root / frame["depth_file_path"])
    (root / "transforms.json").write_text(json.dumps(top))
    capture = open_capture(root)
    assert layout_for(capture) == "colmap" and leaves_depth_out(capture)


def test_a_refined_capture_tells_its_transform_to_the_next_refinement(tmp_path: Path) -> None:
    root = write_depth_frames(tmp_path / "in")
    transform = np.eye(4)
    transform[:3, 3] = [0.03, 0, 0]
    np.savetxt(root / "depth_from_color.txt", transform)
    top = json.loads((root / "capture.json").read_text()) | {"pose_camera": "depth"}
    (root / "capture.json").write_text(json.dumps(top))
    source = refinement_views(open_capture(root)).depth[1]
    assert source is not None and source.color_from_depth is not None
    np.testing.assert_allclose(source.color_from_depth[:3, 3], [-0.03, 0, 0])


def test_pictures_must_be_files() -> None:
    with pytest.raises(DataFormatError, match="world stream"):
        refinement_views(room_capture(3, 3, 32, 24))


def test_a_bundle_comes_back_to_where_the_given_poses_were(tmp_path: Path) -> None:
    """Turned, shrunk and shifted as a whole: the similarity is undone, whatever frame the adjustment ended in."""
    capture = open_capture(write_photographs(tmp_path / "in", (7.0, -3.0, 2.0)))
    views = refinement_views(capture)
    local = local_frame(views.centers)
    seen = Observations(np.zeros(3, np.int64), np.arange(3), np.array([[10.0, 11], [12, 13], [14, 15]]))
    given = Bundle(views.lenses, views.lens_of, local.camera_from_local(views.camera_from_world), seen)
    turn = np.array([[0.0, -1, 0], [0.6, 0, -0.8], [0.8, 0, 0.6]])
    other = given.camera_from_local.copy()
    other[:, :3, :3] = other[:, :3, :3] @ turn.T
    other[:, :3, 3] = 0.4 * other[:, :3, 3] - other[:, :3, :3] @ [0.3, 0.1, -0.2]
    point = 0.4 * turn @ [0.5, 0.25, 1.5] + [0.3, 0.1, -0.2]
    found = AdjustedBundle(replace(given, camera_from_local=other), point[None], np.ones(3, bool), np.ones(4, bool))
    placed = place(views, given, found, local)
    np.testing.assert_allclose(placed.camera_from_world, views.camera_from_world, atol=1e-9)
    np.testing.assert_allclose(placed.points_in_world[0], local.origin + local.unit * np.array([0.5, 0.25, 1.5]), atol=1e-9)
    assert placed.follows == "color" and placed.scale_change == pytest.approx(1.0)


def test_epipolar_distance_by_hand() -> None:
    """Two cameras side by side: a match must lie on the same row, and the distance is the difference of rows."""
    K = np.array([[100.0, 0, 50], [0, 100.0, 40], [0, 0, 1]])
    right = np.eye(4)
    right[0, 3] = -0.5
    found = epipolar_distances(
        np.array([[60.0, 45.0], [10.0, 70.0]]),
        np.array([[33.0, 45.0], [5.0, 67.5]]),
        np.stack([np.eye(4), right]),
        np.stack([K, K]),
    )
    np.testing.assert_allclose(found, [0.0, 2.5], atol=1e-12)


def test_implausible_matches_and_pairs_go(tmp_path: Path) -> None:
    views = refinement_views(open_capture(write_photographs(tmp_path / "in")))
    camera = views.frames[0].camera
    points = np.random.default_rng(0).uniform([-1, -0.6, 4], [2.5, 1.0, 6], (40, 3))
    pixels = []
    for pose in views.camera_from_world:
        in_image = (points @ pose[:3, :3].T + pose[:3, 3]) @ camera.K.numpy().T
        pixels.append(in_image[:, :2] / in_image[:, 2:])
    rows = [(i, k, j, k) for i, j in ((0, 1), (1, 2), (2, 3)) for k in range(40)]
    matches = np.array(rows, dtype=np.int64)
    pixels[1][3] += [0, 15]
    shifted = [*pixels[:3], pixels[3] + [0, 30.0]]
    kept = plausible_matches(views, tuple(shifted), matches)
    assert not kept[3] and not kept[40 + 3] and kept[:80].sum() == 78 and not kept[80:].any()


def test_partners_are_near_ones_and_others() -> None:
    pairs = np.array([(0, k) for k in range(1, 11)], dtype=np.int64)
    seen = ViewPairs(pairs, np.linspace(0.9, 0.1, 10), np.full(10, 5.0))
    chosen = spread_pairs(seen, 1, 4)  # eight of them overlap enough
    assert chosen[:, 1].tolist() == [1, 2, 3, 8]


def test_tracks_keep_one_sighting_a_view() -> None:
    pixels = (np.array([[1.0, 1], [1.5, 1]]), np.array([[2.0, 2]]), np.array([[3.0, 3], [9, 9]]))
    matches = np.array([[0, 0, 1, 0], [0, 1, 1, 0], [1, 0, 2, 0]])
    tracks = FreeMatches(pixels, matches, 1.0).tracks()
    assert tracks.view.tolist() == [0, 1, 2] and tracks.point.tolist() == [0, 0, 0]
    np.testing.assert_array_equal(tracks.pixels, [[1, 1], [2, 2], [3, 3]])

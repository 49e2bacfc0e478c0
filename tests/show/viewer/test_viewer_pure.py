"""What the viewer shows, computed without a viewer: colours, choice, legend, boxes, viewpoints."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.small_room import FLOOR, LAMP, SOFA, WORDS, room_parts, room_scene

from scenewise.errors import ConventionError, DataFormatError
from scenewise.geometry.boxes import OrientedBox
from scenewise.io.scene_folder import write_scene, write_scene_labels
from scenewise.io.scene_outputs import prepare_output
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.labels import ElementLabels
from scenewise.show.colors import (
    UNKNOWN_COLOR,
    class_colors,
    colors_from_sh0,
    confidence_colors,
    heat_colors,
    heat_over_scene,
    palette_for,
    shown_heat,
)
from scenewise.show.viewer.contents import Contents, covariances, evenly_spaced_rows, load_contents, rows_within_budget
from scenewise.show.viewer.legend import legend
from scenewise.show.viewer.painting import MODES, Look, painted, visible
from scenewise.show.viewer.panel_text import answer_html, class_label, status_html
from scenewise.show.viewer.viewpoints import answer_view, first_view, scene_radius, vertical_fov, view_of


@pytest.fixture
def room(room_folder: Path) -> Contents:
    return load_contents(room_folder, max_splats=10_000, max_points=10_000)


def floats(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


# --- colours -----------------------------------------------------------------------------------------------------------------


def test_colour_of_a_known_coefficient():
    # ½ + 0.2820948·c: 0.5 → 0.6410474, −0.3 → 0.4153716, and 3 is beyond white.
    assert colors_from_sh0(floats(0.5, -0.3, 3.0)[None]) == pytest.approx(floats(0.6410474, 0.4153716, 1.0)[None], abs=1e-6)


def test_ends_of_the_colour_maps():
    ends = floats(0.0, 1.0)
    assert (heat_colors(ends) * 255).round().tolist() == [[48, 18, 59], [225, 35, 15]]
    assert (confidence_colors(ends) * 255).round().tolist() == [[68, 1, 84], [253, 231, 37]]
    middle = heat_colors(floats(0.25, 0.5, 0.75))
    assert middle.argmax(axis=1).tolist() == [2, 1, 0]  # blue, green, red in that order
    lightness = confidence_colors(np.linspace(0, 1, 20, dtype=np.float32)) @ floats(0.3, 0.6, 0.1)
    assert (np.diff(lightness) > 0).all()


def test_heat_starts_at_one_half_and_does_not_magnify_nothing():
    assert shown_heat(floats(0.2, 0.5, 0.75, 1.0, np.nan)) == pytest.approx(floats(0.0, 0.0, 0.5, 1.0, 0.0), abs=2e-3)
    assert shown_heat(floats(0.48, 0.54)) == pytest.approx(floats(0.0, 0.2), abs=1e-6)  # 0.04 of 0.7 − 0.5
    assert shown_heat(np.zeros(0, np.float32)).shape == (0,)


def test_hot_places_take_the_colour_of_heat_and_cold_ones_fade():
    own = np.tile(floats(0.2, 0.4, 0.9), (2, 1))
    cold, hot = heat_over_scene(own, floats(0.0, 1.0))
    assert np.ptp(cold) < 0.15 and cold.max() < 0.5
    assert hot == pytest.approx(floats(225, 35, 15) / 255, abs=0.06)


def test_classes_keep_some_of_the_shape_and_unknown_is_grey():
    palette = np.array([[255, 0, 0], [0, 0, 255]], dtype=np.uint8)
    own = np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=np.float32)
    painted_own = class_colors(own, np.array([1, 0, -1], dtype=np.int32), palette)
    assert painted_own[0] == pytest.approx(floats(0.25, 0.25, 1.0))
    assert painted_own[1] == pytest.approx(floats(0.75, 0.0, 0.0))
    assert painted_own[2] == pytest.approx(0.5 * floats(*UNKNOWN_COLOR) / 255)


def test_invented_palettes_are_distinct():
    palette = palette_for(16)
    distances = np.linalg.norm(palette[:, None].astype(float) - palette[None], axis=-1) + 1e3 * np.eye(16)
    assert distances.min() > 30
    assert palette_for(0).shape == (0, 3)


# --- contents ----------------------------------------------------------------------------------------------------------------


def test_covariance_of_turns_with_three_unequal_scales():
    half, root = 0.5, 0.5**0.5
    gaussians = Gaussians(
        means=torch.zeros(2, 3),
        log_scales=torch.tensor([1.0, 2.0, 3.0]).log().repeat(2, 1),
        # wxyz: a quarter turn about +Z takes x to y and y to −x; a third of a turn about (1, 1, 1) takes x to y, y to z, z to x.
        quats=torch.tensor([[root, 0.0, 0.0, root], [half, half, half, half]]),
        logit_opacities=torch.zeros(2),
        sh0=torch.zeros(2, 1, 3),
        shN=torch.zeros(2, 0, 3),
    )
    quarter, third = covariances(gaussians)
    assert quarter == pytest.approx(np.diag([4.0, 1.0, 9.0]), abs=1e-5)
    assert third == pytest.approx(np.diag([9.0, 1.0, 4.0]), abs=1e-5)


def test_the_budget_keeps_what_matters_most():
    opacities = floats(0.9, 0.5, 0.9, 0.1, 0.9)
    scales = np.array([[1, 1, 1], [2, 2, 0.001], [0.1, 3, 0.1], [9, 9, 9], [0.5, 0.5, 0.5]], dtype=np.float32)
    # √√(area) 1, √2, ⁴√0.3, 3, ⁴√0.25; importance 0.90, 0.71, 0.67, 0.30, 0.64
    assert rows_within_budget(opacities, scales, 2).tolist() == [0, 1]
    assert rows_within_budget(opacities, scales, 3).tolist() == [0, 1, 2]
    assert rows_within_budget(opacities, scales, 5).tolist() == [0, 1, 2, 3, 4]
    assert evenly_spaced_rows(10, 4).tolist() == [0, 2, 5, 7]
    assert evenly_spaced_rows(3, 4).tolist() == [0, 1, 2]


def test_a_folder_within_the_budget(room: Contents):
    positions, classes = room_parts()
    assert (len(room.splats), len(room.points), len(room.cameras)) == (328, 128, 4)
    assert room.splats.positions + room.origin == pytest.approx(positions, abs=1e-6)
    assert room.points.positions + room.origin == pytest.approx(positions[200:], abs=1e-6)
    assert room.splats.colors[250] == pytest.approx(floats(0.1, 0.2, 0.9), abs=1e-6)
    assert room.points.labels is None and room.splats.labels is not None
    assert (room.splats.labels.class_ids[20:] == classes[20:]).all()
    assert (room.names, room.teacher, room.notes) == (WORDS.names, "truth & co", ())


def test_rows_stay_together_when_the_budget_leaves_some_out(room_folder: Path):
    small = load_contents(room_folder, max_splats=50, max_points=10)
    positions, classes = room_parts()
    assert (len(small.splats), small.splats.total, len(small.points), small.points.total) == (50, 328, 10, 128)
    assert small.splats.positions + small.origin == pytest.approx(positions[small.splats.rows], abs=1e-6)
    known = small.splats.labels.class_ids >= 0
    assert (small.splats.labels.class_ids == classes[small.splats.rows])[known].all() and known.any()
    assert small.notes[0] == "50 of 328 splats are shown, the most opaque and largest"
    assert small.notes[1].startswith("10 of 128 points")


def test_georeferenced_points_keep_their_millimetres(tmp_path: Path):
    from scenewise.io.ply.points import write_points_ply
    from scenewise.scenes.point_clouds import PointCloud

    folder = prepare_output(tmp_path / "far")
    empty = room_scene().load_gaussians().select(torch.zeros(328, dtype=torch.bool))
    write_scene(folder, replace(room_scene().with_gaussians(empty), cameras=(), up_in_world=None), compact=False)
    places = np.array([[500_000.001, 5_000_000.002, 3.0], [500_001.004, 5_000_001.0, 4.0], [500_002.0, 5_000_002.0, 5.0]])
    write_points_ply(folder / "points.ply", PointCloud(places))
    far = load_contents(folder, max_splats=10, max_points=10)
    assert far.points.positions + far.origin == pytest.approx(places, abs=1e-6)
    assert far.up.tolist() == [0, 0, 1]
    view = first_view(far)
    assert view.position[2] > 0 and np.linalg.norm(view.position - view.target) > scene_radius(far)


def test_labels_without_names_get_some(room_folder: Path):
    (room_folder / "classes.json").unlink()
    nameless = load_contents(room_folder, max_splats=1000, max_points=10)
    assert nameless.names == ("class 0", "class 1", "class 2") and nameless.palette.shape == (3, 3)


def test_labels_of_another_vocabulary_are_refused(room_folder: Path):
    labels = ElementLabels(np.full(328, 4, np.int32), np.full(328, -1, np.int32), np.ones(328, np.float32))
    write_scene_labels(room_folder, "splats", labels)
    with pytest.raises(DataFormatError, match=r"classes\.json: expected at least 5 classes, .* got 4"):
        load_contents(room_folder, max_splats=1000, max_points=10)


def test_no_scene(tmp_path: Path):
    with pytest.raises(DataFormatError, match="nowhere: expected a scene folder, got nothing"):
        load_contents(tmp_path / "nowhere", max_splats=10, max_points=10)


# --- painting and legend -----------------------------------------------------------------------------------------------------


def test_every_mode_paints_differently(room: Contents):
    heat = np.linspace(0.3, 1.0, 328, dtype=np.float32)
    pictures = [painted(room.splats, room.palette, heat, Look(mode)) for mode in MODES]
    for index, picture in enumerate(pictures):
        assert all((picture != other).any() for other in pictures[:index])
    assert pictures[0][250] == pytest.approx([25.5, 51, 229.5], abs=1)  # its own blue
    sofa = 0.75 * np.array([20, 200, 60]) + 0.25 * 255 * (0.299 * 0.1 + 0.587 * 0.2 + 0.114 * 0.9)
    assert pictures[1][250] == pytest.approx(sofa, abs=1)


def test_without_labels_or_answer_the_modes_are_dim(room: Contents):
    for mode in ("classes", "confidence", "heat"):
        dim = painted(room.points, room.palette, None, Look(mode)).astype(int)
        assert dim.max() < 160 and np.ptp(dim, axis=1).max() < 40


def test_what_is_less_certain_counts_as_unknown(room: Contents):
    _, classes = room_parts()
    sure = painted(room.splats, room.palette, None, Look("classes"))
    doubtful = painted(room.splats, room.palette, None, Look("classes", min_confidence=0.5))
    assert (sure != doubtful).any(axis=1).tolist() == (classes == LAMP).tolist()
    heights = room.splats.positions[:, 2]
    hidden = visible(room.splats, heights, Look(min_confidence=0.5, hidden_classes=frozenset({-1})))
    assert (~hidden).tolist() == ((classes == LAMP) | (np.arange(328) < 20)).tolist()


def test_hidden_classes_and_the_cut(room: Contents):
    _, classes = room_parts()
    heights = room.splats.positions[:, 2] + np.float32(room.origin[2])
    look = Look().toggled(SOFA)
    assert (~visible(room.splats, heights, look)).tolist() == (classes == SOFA).tolist()
    assert visible(room.splats, heights, look.toggled(SOFA)).all()
    assert visible(room.splats, heights, Look(cut_height=0.1)).tolist() == (classes == FLOOR).tolist()
    assert visible(room.points, heights[200:], look).all()  # no labels, nothing to hide by


def test_unknown_mode():
    with pytest.raises((ConventionError, TypeError), match="mode"):
        Look("colour")


def test_the_legend_counts(room: Contents):
    rows = legend(room)
    assert [(row.name, row.count) for row in rows] == [("floor", 180), ("sofa", 64), ("lamp", 64), ("unknown", 20)]
    assert rows[1].color_u8 == (20, 200, 60) and rows[3].color_u8 == UNKNOWN_COLOR
    assert sum(row.share for row in rows) == pytest.approx(1.0)
    doubtful = legend(room, 0.5)
    assert [(row.name, row.count) for row in doubtful] == [("floor", 180), ("sofa", 64), ("lamp", 0), ("unknown", 84)]
    assert legend(replace(room, splats=replace(room.splats, labels=None))) == ()


def test_texts_are_escaped(room: Contents):
    text = status_html(room, None)
    assert "<b>328</b> splats" in text and "truth &amp; co" in text and "photos &lt;b&gt;: CC0-1.0" in text
    assert "&lt;img" in answer_html("<img src=x>", (), ("<i>",)) and "<i>" not in answer_html("x", (), ("<i>",))
    assert class_label(legend(room)[0], False) == "● floor · 180 · 55 %"


# --- viewpoints --------------------------------------------------------------------------------------------------------------


def test_the_first_view_is_the_camera_that_sees_most(room: Contents):
    view = first_view(room)
    assert view.position + room.origin == pytest.approx([0.0, -4.0, 1.5])  # the farthest of the four
    forward = view.target - view.position
    assert forward[1] > 0 and forward[2] < 0  # ahead and down, where the room is
    assert np.linalg.norm(forward) == pytest.approx(4.0, abs=1.0)
    assert view.fov == pytest.approx(2 * np.arctan(32 / 80))
    assert vertical_fov(room.cameras[0].camera) == view.fov


def test_the_view_of_a_camera_looks_where_it_looked(room: Contents):
    camera = room.cameras[3].camera
    view = view_of(room, camera)
    axis = (view.target - view.position) / np.linalg.norm(view.target - view.position)
    assert axis == pytest.approx(camera.world_from_camera.numpy()[:3, 2], abs=1e-9)


def test_an_answer_is_shown_by_the_camera_that_has_it_in_the_middle(room: Contents):
    for entry in room.cameras[1:3]:
        world_from_camera = entry.camera.world_from_camera.numpy()
        in_front = world_from_camera[:3, 3] + 2.0 * world_from_camera[:3, 2]
        box = OrientedBox(in_front, np.array([0.3, 0.2, 0.1]), np.eye(3))
        view = answer_view(room, [box])
        assert view is not None
        offsets = {other.name: _off_axis(other.camera, in_front) for other in room.cameras}
        chosen = next(
            other for other in room.cameras if np.allclose(other.camera.centers_in_world.numpy(), view.position + room.origin)
        )
        assert offsets[chosen.name] <= offsets[entry.name] + 0.02  # all cameras look at the same spot
    # A place that only one camera has in its picture.
    lonely = room.cameras[3].camera.world_from_camera.numpy()
    beside = lonely[:3, 3] + 0.4 * lonely[:3, 2]
    seen_by = [entry.name for entry in room.cameras if _off_axis(entry.camera, beside) < 0.5]
    view = answer_view(room, [OrientedBox(beside, np.full(3, 0.01), np.eye(3))])
    assert view is not None and room.cameras[3].name in seen_by
    best = min(seen_by, key=lambda name: _off_axis(next(e.camera for e in room.cameras if e.name == name), beside))
    shown = next(e for e in room.cameras if np.allclose(e.camera.centers_in_world.numpy(), view.position + room.origin))
    assert shown.name == best
    behind = OrientedBox(np.array([0.0, -500.0, 0.0]), np.ones(3), np.eye(3))
    assert answer_view(room, [behind]) is None and answer_view(room, []) is None


def _off_axis(camera: Cameras, point: np.ndarray) -> float:
    """How far from the middle of the picture a point lies, in pictures; infinite behind the camera."""
    in_camera = camera.camera_from_world.numpy()[:3, :3] @ point + camera.camera_from_world.numpy()[:3, 3]
    if in_camera[2] <= 0:
        return np.inf
    pixel = camera.K.numpy() @ in_camera
    return float(np.abs(pixel[:2] / pixel[2] / [camera.width, camera.height] - 0.5).max())


def test_an_empty_scene_has_a_view(tmp_path: Path):
    folder = prepare_output(tmp_path / "empty")
    empty = room_scene().load_gaussians().select(torch.zeros(328, dtype=torch.bool))
    write_scene(folder, replace(room_scene().with_gaussians(empty), cameras=()), compact=False)
    contents = load_contents(folder, max_splats=10, max_points=10)
    assert np.isfinite(first_view(contents).position).all() and legend(contents) == ()

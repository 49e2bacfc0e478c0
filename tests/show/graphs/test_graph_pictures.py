"""A graph over a view and from above."""

from dataclasses import replace

import numpy as np
import pytest
from tests.support.small_graph import SOFA_ID, small_graph, thing
from tests.support.small_room import room_scene

from scenewise.errors import ShapeError
from scenewise.geometry.view_overlap import project_points
from scenewise.scenes.scene_graphs import Relation, SceneGraph
from scenewise.show.graphs.from_above import fitting_plan, graph_from_above
from scenewise.show.graphs.over_view import graph_over_view, outlines_in

COLORS = ((200, 180, 20), (20, 200, 60), (200, 30, 160))
GREY = np.full((64, 96, 3), 128, dtype=np.uint8)
CAMERA = room_scene().cameras[0].camera


def is_near(picture: np.ndarray, place: np.ndarray, color: tuple[int, int, int]) -> bool:
    """Whether a colour is found within two pixels of a place."""
    u, v = (int(each) for each in place)
    around = picture[v - 2 : v + 3, u - 2 : u + 3].reshape(-1, 3).astype(int)
    return bool((np.abs(around - color).max(axis=1) < 60).any())


def test_boxes_are_drawn_where_the_camera_sees_them():
    graph = small_graph()
    picture = graph_over_view(graph, CAMERA, GREY, colors_u8=COLORS)
    assert picture.shape == (600, 900, 3) and (picture == graph_over_view(graph, CAMERA, GREY, colors_u8=COLORS)).all()
    large = CAMERA.resized(900, 600)
    box = graph.by_id[SOFA_ID].box
    corners, _ = project_points(large.camera_from_world.numpy(), large.K.numpy(), box.corners_in_world)
    lower_front = 0.5 * (corners[0] + corners[4])  # y = low, z = low: the edge nearest to the camera
    assert is_near(picture, lower_front, COLORS[1])
    nobody = SceneGraph((), (), (), graph.up_in_world, "metric", ())
    assert np.ptp(graph_over_view(nobody, CAMERA, GREY)) == 0


def test_what_something_hides_is_left_out():
    graph = small_graph()
    near, open_ = np.full((64, 96), 1.0), np.full((64, 96), 4.1)
    assert np.ptp(graph_over_view(graph, CAMERA, GREY, depth=near)) == 0
    assert np.ptp(graph_over_view(graph, CAMERA, GREY, depth=open_)) > 100


@pytest.mark.errors
def test_a_picture_of_another_size():
    with pytest.raises(ShapeError, match="depth: expected 64×96 pixels, got 3×5"):
        graph_over_view(small_graph(), CAMERA, GREY, depth=np.ones((3, 5)))
    with pytest.raises(ShapeError, match="picture_u8: expected 64×96 pixels, got 10×96"):
        graph_over_view(small_graph(), CAMERA, GREY[:10])


def test_floor_and_what_the_camera_is_in_have_no_outline():
    graph = small_graph()
    assert [each.thing.name for each in outlines_in(graph.objects, CAMERA)] == ["sofa", "lamp"]
    tent = thing(9, "tent", [0.0, -4.0, 1.0], [3.0, 12.0, 3.0])  # its far end is in the picture
    behind = thing(10, "tree", [0.0, -9.0, 1.0], [1.0, 1.0, 1.0])
    assert [each.thing.name for each in outlines_in([*graph.objects, tent, behind], CAMERA)] == ["sofa", "lamp"]


def test_the_plan_is_seen_from_above_and_not_from_below():
    graph = small_graph()
    plan = fitting_plan(graph, 900)
    assert np.cross(plan.right, plan.ahead) == pytest.approx(graph.up_in_world)
    # Longer along x: right is +x, and then up on the paper is +y.
    (left, top), (right, above) = plan.place(np.array([-1.0, 0.0, 0.6])), plan.place(np.array([1.0, 0.5, 0.0]))
    assert right - left == pytest.approx(2.0 * plan.scale) and above - top == pytest.approx(-0.5 * plan.scale)
    assert plan.place(np.array([-2.0, 1.0, 0.0])) == pytest.approx((27.0, 27.0))  # the upper left corner, 3 % from the sides
    assert plan.scale == pytest.approx((900 - 54) / 4.0)


@pytest.mark.parametrize("up", [(0.0, -1.0, 0.0), (1.0, 0.0, 0.0)])
def test_the_plan_follows_the_way_up(up: tuple[float, float, float]):
    things = (thing(1, "cup", [0.0, 0.0, 0.0], [0.1, 0.1, 0.1]), thing(2, "book", [1.0, 2.0, 3.0], [0.1, 0.1, 0.1]))
    graph = SceneGraph(things, (), (), np.array(up), "metric", ())
    plan = fitting_plan(graph, 600)
    assert np.cross(plan.right, plan.ahead) == pytest.approx(np.array(up))
    assert plan.size[0] == 600 and plan.size[1] <= 601


def test_footprints_lie_in_their_places():
    graph = replace(small_graph(), relations=())
    picture = graph_from_above(graph, colors_u8=COLORS)
    plan = fitting_plan(graph, 900)
    assert picture.shape == (plan.size[1] + 40, 900, 3)
    sofa = graph.by_id[SOFA_ID].box
    edge = np.array(plan.place(sofa.center_in_world + np.array([0.4, 0.15, 0.0])))  # on its right side
    assert is_near(picture, edge, COLORS[1])
    floor = plan.place(np.array([0.0, -0.8, 0.0]))
    assert picture[int(floor[1]), int(floor[0])].tolist() == [246, 242, 234]
    told = replace(graph, relations=(Relation(SOFA_ID, "left", 7, 1.0, "geometry"),))
    assert (graph_from_above(told, colors_u8=COLORS) == picture).all()  # a direction is not drawn unless asked
    assert (graph_from_above(told, colors_u8=COLORS, trivial=True) != picture).any()


def test_an_empty_graph_is_an_empty_plan():
    empty = SceneGraph((), (), (), np.array([0.0, 0.0, 1.0]), "arbitrary", ())
    assert graph_from_above(empty, width=300).shape[1] == 300

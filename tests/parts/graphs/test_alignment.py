"""One capture laid on another without poses in common."""

import math
from dataclasses import replace

import numpy as np
import pytest
from tests.support.observed_graphs import CHAIR, LAMP, PIECES, TABLE, Piece, observed

from scenewise.errors import ConventionError
from scenewise.geometry.transforms import transform_points
from scenewise.parts.graphs.alignment import Alignment, found_alignment, given_alignment
from scenewise.parts.graphs.motion import rotation_about_up
from scenewise.parts.graphs.observed import ObservedGraph

CORNERS = np.array([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0], [4.0, 3.2, 2.4]])


@pytest.fixture(scope="module")
def room() -> ObservedGraph:
    return observed(PIECES)


def elsewhere(yaw: float, tilt: float = 0.0) -> np.ndarray:
    """A turn about the vertical after a small one about x, and a shift."""
    transform = np.eye(4)
    c, s = math.cos(tilt), math.sin(tilt)
    transform[:3, :3] = rotation_about_up(yaw) @ np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])
    transform[:3, 3] = [7.3, -2.1, 0.6]
    return transform


@pytest.mark.parametrize(("yaw", "tilt"), [(0.7, 0.0), (-2.4, 0.0), (2.9, math.radians(1.0))])
def test_it_is_found_though_a_chair_was_moved(room: ObservedGraph, yaw: float, tilt: float) -> None:
    true = elsewhere(yaw, tilt)
    changed = observed((replace(CHAIR, at=(1.6, 2.0), yaw=100.0), TABLE, LAMP)).moved(true)
    if tilt:  # nobody knows that the other frame is tilted
        changed = replace(changed, graph=replace(changed.graph, up_in_world=np.array([0.0, 0.0, 1.0])))
    found = found_alignment(room, changed)
    assert found.is_sure and found.method == "geometry" and found.overlap > 0.9
    error = transform_points(found.after_from_before, CORNERS) - transform_points(true, CORNERS)
    assert np.abs(error).max() < 0.03


def test_up_may_be_another_axis(room: ObservedGraph) -> None:
    on_its_side = np.eye(4)
    on_its_side[:3, :3] = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    found = found_alignment(room.moved(on_its_side), observed(PIECES).moved(elsewhere(1.0)))
    true = elsewhere(1.0) @ np.linalg.inv(on_its_side)
    error = transform_points(found.after_from_before @ on_its_side, CORNERS) - transform_points(true @ on_its_side, CORNERS)
    assert np.abs(error).max() < 0.03


def test_poses_that_fit_are_told_from_poses_that_do_not(room: ObservedGraph) -> None:
    assert given_alignment(room, observed(PIECES), np.eye(4)).overlap > 0.95
    assert given_alignment(room, observed(PIECES), elsewhere(0.5)).overlap < 0.2
    bare = ObservedGraph(room.graph, np.zeros((0, 3)), np.zeros(0, dtype=np.int64))
    assert given_alignment(room, bare, np.eye(4)).overlap == 0.0


@pytest.mark.parametrize("unit", [0.05, 12.0])
def test_where_nobody_knows_the_scale_poses_fit_as_well(room: ObservedGraph, unit: float) -> None:
    aside = np.eye(4)
    aside[0, 3] = 0.1  # more than lies on the other, less than a wall is long
    expected = given_alignment(room, observed(PIECES), aside).overlap
    told = {"units_per_metre": unit}
    scaled = [
        ObservedGraph(replace(each.graph, scale="arbitrary", provenance=told), unit * each.cloud_in_world, each.owners)
        for each in (room, observed(PIECES))
    ]
    aside[0, 3] *= unit
    assert given_alignment(scaled[0], scaled[1], aside).overlap == pytest.approx(expected, abs=0.03) and expected < 0.9


def test_it_is_sure_only_where_one_pose_is_clearly_the_best() -> None:
    assert Alignment(np.eye(4), "geometry", 0.95, 0.7).is_sure
    assert not Alignment(np.eye(4), "geometry", 0.95, 0.94).is_sure
    assert not Alignment(np.eye(4), "geometry", 0.4, 0.0).is_sure


@pytest.mark.errors
def test_promised_errors(room: ObservedGraph) -> None:
    bare = observed(())  # half a turn looks the same
    with pytest.raises(ConventionError, match=r"--align geometry.*one way only.*another way.*--align poses"):
        found_alignment(bare, bare)
    arbitrary = replace(room, graph=replace(room.graph, scale="arbitrary"))
    with pytest.raises(ConventionError, match="two scenes in metres"):
        found_alignment(room, arbitrary)
    with pytest.raises(ConventionError, match="points or splats"):
        found_alignment(room, ObservedGraph(room.graph, np.zeros((0, 3)), np.zeros(0, dtype=np.int64)))


def test_another_room_is_refused() -> None:
    other = [Piece(20 + i, "cabinet", (0.7 + 0.8 * i, 1.6), 45.0 * i, (0.7, 0.5, 1.8)) for i in range(4)]
    longer = observed(other)
    stretched = replace(longer, cloud_in_world=longer.cloud_in_world * np.array([1.6, 1.3, 1.0]))
    with pytest.raises(ConventionError, match="fit in one way only"):
        found_alignment(observed(PIECES), stretched)

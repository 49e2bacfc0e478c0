"""Points and splats as one kind of thing, and the things made of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from scenewise.errors import ConventionError, ShapeError
from scenewise.geometry.spherical_harmonics import sh0_from_rgb
from scenewise.parts.segments.instances import objects_of_labels
from scenewise.scenes.elements import Elements
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.labels import ElementLabels
from scenewise.scenes.objects import SceneObject
from scenewise.scenes.point_clouds import PointCloud

PLACES = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0], [5.0, 5.0, 5.0], [7.0, 5.0, 9.0]])
COLORS_U8 = np.array([[255, 0, 51], [0, 255, 102], [10, 20, 30], [40, 50, 60]], dtype=np.uint8)


def test_points_and_splats_of_one_colour_are_alike():
    points = Elements.of_cloud(PointCloud(PLACES, COLORS_U8))
    splats = Elements.of_gaussians(
        Gaussians(
            means=torch.from_numpy(PLACES).float(),
            log_scales=torch.zeros(4, 3),
            quats=torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(4, 1),
            logit_opacities=torch.zeros(4),
            sh0=sh0_from_rgb(torch.from_numpy(COLORS_U8.astype(np.float32) / 255.0))[:, None],
            shN=torch.zeros(4, 0, 3),
        )
    )
    assert (points.kind, splats.kind) == ("points", "splats") and len(points) == len(splats) == 4
    np.testing.assert_array_equal(points.positions_in_world, splats.positions_in_world)
    np.testing.assert_allclose(points.colors, splats.colors, atol=1e-6)
    assert Elements.of_cloud(PointCloud(PLACES)).colors is None


@pytest.mark.errors
def test_elements_of_another_kind_or_shape_are_refused():
    with pytest.raises(ConventionError, match="kind: expected points or splats, got 'voxels'"):
        Elements("voxels", PLACES)  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="colors"):
        Elements("points", PLACES, np.zeros((3, 3), dtype=np.float32))


def test_objects_stand_where_their_firm_elements_are():
    labels = ElementLabels(
        np.array([1, 1, 0, 1], dtype=np.int32), np.array([0, 0, 1, 0], dtype=np.int32), np.array([1, 0.5, 0.7, 0.6], np.float32)
    )
    chair, table = objects_of_labels(PLACES, labels, ("table", "chair"), measured=np.array([True, True, False, False]))
    assert chair.elements.tolist() == [0, 1, 3] and (chair.name, chair.class_id, chair.instance_id) == ("chair", 1, 0)
    assert chair.confidence == pytest.approx(0.7) and chair.box is None
    assert chair.low_in_world.tolist() == [0, 0, 0] and chair.high_in_world.tolist() == [1, 2, 3]
    assert chair.center_in_world.tolist() == [0.5, 1, 1.5]
    assert table.elements.tolist() == [2] and table.center_in_world.tolist() == [5, 5, 5]  # it has no others
    assert objects_of_labels(PLACES, replace(labels, instance_ids=np.full(4, -1, np.int32)), ("table", "chair")) == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"elements": np.zeros(0, dtype=np.int64)}, "at least one row"),
        ({"elements": np.array([3, 1])}, "ascending"),
        ({"confidence": float("nan")}, "confidence"),
        ({"low_in_world": np.full(3, 9.0)}, "a lower and an upper corner"),
        ({"instance_id": -1}, "class_id, instance_id"),
    ],
)
def test_what_is_no_object_is_refused(changes: dict[str, object], message: str):
    thing = SceneObject(np.array([1, 3]), 0.5, np.ones(3), np.zeros(3), np.full(3, 2.0))
    with pytest.raises(ConventionError, match=message):
        replace(thing, **changes)  # type: ignore[arg-type]

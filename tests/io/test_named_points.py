"""Points that are painted in the colours of their classes and keep their own."""

from pathlib import Path

import numpy as np
import pytest

from scenewise.errors import CaptureWarning
from scenewise.io.named_points import PHOTO_COLUMNS, read_named_points, write_named_points
from scenewise.io.ply.points import read_points_ply_with_extra, write_points_ply
from scenewise.scenes.labels import ElementLabels
from scenewise.scenes.point_clouds import PointCloud

PLACES = np.array([[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
OWN_U8 = np.array([[1, 2, 3], [250, 128, 7]], dtype=np.uint8)
PAINT_U8 = np.array([[9, 9, 9], [200, 0, 0]], dtype=np.uint8)
LABELS = ElementLabels(np.array([4, -1], np.int32), np.array([0, -1], np.int32), np.array([0.75, 0.0], np.float32))


def test_own_colours_come_back_and_others_see_the_classes(tmp_path: Path):
    write_named_points(tmp_path / "points.ply", PointCloud(PLACES, OWN_U8), LABELS, PAINT_U8)
    np.testing.assert_array_equal(read_named_points(tmp_path / "points.ply").colors_u8, OWN_U8)
    painted, extra = read_points_ply_with_extra(tmp_path / "points.ply")
    np.testing.assert_array_equal(painted.colors_u8, PAINT_U8)
    assert list(extra) == ["label", "instance", "confidence", *PHOTO_COLUMNS]
    assert extra["label"].tolist() == [4, -1] and extra["confidence"].tolist() == [0.75, 0.0]


def test_points_without_kept_colours_are_read_as_they_are(tmp_path: Path):
    write_named_points(tmp_path / "grey.ply", PointCloud(PLACES), LABELS, PAINT_U8)
    np.testing.assert_array_equal(read_named_points(tmp_path / "grey.ply").colors_u8, PAINT_U8)
    write_points_ply(tmp_path / "plain.ply", PointCloud(PLACES, OWN_U8))
    np.testing.assert_array_equal(read_named_points(tmp_path / "plain.ply").colors_u8, OWN_U8)


def test_where_points_were_left_out_the_rows_of_the_others_are_kept(tmp_path: Path):
    """Row i of a scene's points is row ``source_row[i]`` of the cloud they came from."""
    given = tmp_path / "cloud.ply"
    rows = "nan 0 0\n0 1 2\n9 9 1e30\n3 4 5\n"
    head = "".join(f"property float {axis}\n" for axis in "xyz")
    given.write_text(f"ply\nformat ascii 1.0\nelement vertex 4\n{head}end_header\n{rows}")
    with pytest.warns(CaptureWarning, match=r"1 with NaN or infinity and 1 beyond 1e\+10 of 4 points, the first in row 0"):
        cloud = read_named_points(given, non_finite="drop")
    write_named_points(tmp_path / "points.ply", cloud, LABELS, PAINT_U8)
    found, extra = read_points_ply_with_extra(tmp_path / "points.ply")
    assert extra["source_row"].tolist() == [1, 3] and extra["label"].tolist() == [4, -1]
    np.testing.assert_array_equal(found.points_in_world, PLACES)
    assert read_named_points(tmp_path / "points.ply").source_rows.tolist() == [1, 3]  # and again when it is named anew

"""Towns on the disk are the captures they were written from."""

from pathlib import Path

import numpy as np
import pytest
import torch

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.captures import open_capture
from scenewise.studies import towns
from scenewise.studies.towns import write_town_capture
from scenewise.worlds.town_captures import town_capture


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    write_town_capture(tmp_path / "town", 3, 10, 48, 32, points=500, fov_deg=70.0)
    known, read = town_capture(3, 10, 48, 32, points=500, fov_deg=70.0), open_capture(tmp_path / "town")
    assert [frame.name for frame in read.frames] == [frame.name for frame in known.frames]
    for ours, theirs in zip(known.frames, read.frames):
        torch.testing.assert_close(theirs.camera.camera_from_world, ours.camera.camera_from_world, rtol=0, atol=1e-12)
        assert torch.equal(theirs.camera.K, ours.camera.K)
        assert (theirs.camera.width, theirs.camera.height) == (48, 32)
    assert read.test_names == known.test_names
    assert known.points is not None and read.points is not None
    np.testing.assert_array_equal(read.points.points_in_world, known.points.points_in_world)
    np.testing.assert_array_equal(read.points.colors_u8, known.points.colors_u8)
    for index in (0, 9):
        load, again = known.frames[index].load_image, read.frames[index].load_image
        assert load is not None and again is not None
        np.testing.assert_array_equal(again(), load())
    assert read.up_in_world is not None and read.up_in_world[2] > 0.99  # told from the cameras


def test_other_content_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(DataFormatError, match="content"):
        write_town_capture(tmp_path, 3, 2, 8, 6, points=0)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_nothing_is_left_of_a_town_that_was_not_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(image_u8: np.ndarray) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(towns, "png_bytes", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_town_capture(tmp_path / "town", 3, 2, 8, 6, points=0)
    assert list(tmp_path.iterdir()) == []


def test_no_views_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConventionError, match="views"):
        write_town_capture(tmp_path / "town", 3, 0, 8, 6)

"""Frames of films: sharp ones that overlap."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from scenewise.errors import DataFormatError
from scenewise.io.films import film_frames, is_film, read_film_header
from scenewise.parts.poses.film_frames import FilmMotion, choose_frames, measure_film, picture_motion


def _wall(seed: int = 0) -> np.ndarray:
    """A wide picture full of detail."""
    noise = np.random.default_rng(seed).integers(0, 256, (60, 240), np.uint8)
    return cv2.resize(noise, (960, 240), interpolation=cv2.INTER_CUBIC)


def _write_film(path: Path, offsets: list[int], blurred: set[int]) -> Path:
    """A camera that slides along a wall; each frame shows 320×240 of it."""
    wall = _wall()
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (320, 240))
    for index, offset in enumerate(offsets):
        frame = wall[:, offset : offset + 320]
        if index in blurred:
            frame = cv2.GaussianBlur(frame, (0, 0), 4.0)
        writer.write(np.ascontiguousarray(np.repeat(frame[..., None], 3, axis=2)))
    writer.release()
    return path


def test_motion_is_a_share_of_the_diagonal() -> None:
    wall = _wall()
    moved = picture_motion(np.ascontiguousarray(wall[:, :320]), np.ascontiguousarray(wall[:, 8:328]))
    assert moved == pytest.approx(8 / 400, rel=0.05)
    assert picture_motion(np.zeros((240, 320), np.uint8), np.zeros((240, 320), np.uint8)) == 0.0
    assert picture_motion(np.ascontiguousarray(wall[:, :320]), np.ascontiguousarray(_wall(1)[:, :320])) > 0.1


def test_frames_follow_the_way_and_blurred_ones_are_skipped(tmp_path: Path) -> None:
    # Ten frames at rest, then twenty in motion.
    offsets = [0] * 10 + [12 * i for i in range(1, 21)]
    blurred = {12, 15, 16, 21, 27}
    path = _write_film(tmp_path / "walk.avi", offsets, blurred)
    motion = measure_film(path)
    assert motion.number.tolist() == list(range(30))
    chosen = choose_frames(motion, 10).tolist()
    assert len(chosen) == 10 and chosen == sorted(set(chosen))
    assert not blurred & set(chosen)
    assert sum(number < 10 for number in chosen) <= 3  # a camera at rest shows nothing new
    steps = np.diff([offsets[number] for number in chosen])
    assert steps.max() <= 60  # more than four fifths of each picture are in the next


def test_a_stretch_that_is_blurred_throughout_is_still_crossed() -> None:
    sharpness = np.full(40, 10.0)
    sharpness[10:30] = 0.5
    motion = FilmMotion(np.arange(40), sharpness, np.full(40, 0.03))
    chosen = choose_frames(motion, 20)
    assert np.diff(chosen).max() <= 4


@pytest.mark.parametrize("wanted", [3, 17, 60, 500])
def test_as_many_as_wanted_while_there_are_so_many(wanted: int) -> None:
    generator = np.random.default_rng(wanted)
    motion = FilmMotion(np.arange(0, 300, 5), generator.uniform(8, 12, 60), generator.uniform(0, 0.2, 60))
    chosen = choose_frames(motion, wanted)
    assert len(chosen) == min(wanted, 60)
    assert set(chosen.tolist()) <= set(range(0, 300, 5))


def test_a_film_is_read_frame_by_frame(tmp_path: Path) -> None:
    path = _write_film(tmp_path / "a.avi", [0, 40, 80], set())
    assert is_film(path) and not is_film(tmp_path / "nothing.avi")
    assert read_film_header(path).frames == 3
    assert [number for number, _ in film_frames(path)] == [0, 1, 2]
    ((number, image),) = film_frames(path, frozenset({1}))
    assert number == 1
    assert np.abs(image[..., 0].astype(int) - _wall()[:, 40:360]).mean() < 6


@pytest.mark.errors
def test_a_broken_film_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"this is no film" * 100)
    with pytest.raises(DataFormatError, match=r"broken\.mp4: expected a film, got"):
        measure_film(path)
    with pytest.raises(DataFormatError, match=r"at least 3 frames, got 2"):
        measure_film(_write_film(tmp_path / "short.avi", [0, 5], set()))

"""Which pictures are compared."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scenewise.errors import ConventionError
from scenewise.parts.poses.feature_files import PictureFeatures
from scenewise.parts.poses.likeness import picture_signatures
from scenewise.parts.poses.pairs import all_pairs, choose_pairs, following, in_series, most_alike, nearest_positions
from scenewise.parts.poses.photographs import Photograph, Position, natural_order
from scenewise.parts.poses.settings import PoseSettings


def _pictures(names: list[str], positions: list[Position | None] | None = None) -> list[Photograph]:
    where = [None] * len(names) if positions is None else positions
    return [Photograph(name, Path(name), 8, 6, "", None, position) for name, position in zip(names, where)]


def _unneeded() -> np.ndarray:
    raise AssertionError("nobody needs to know how much pictures look alike")


def _in_a_circle(count: int) -> np.ndarray:
    """Signatures of which neighbours are most alike."""
    angle = 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def _lines(pairs: np.ndarray) -> set[tuple[int, int]]:
    return {(int(low), int(high)) for low, high in pairs}


def _on_a_grid(count: int) -> list[Position | None]:
    """Rows of five, 11 m apart to the north and 7.6 m to the east."""
    return [(46.8 + 1e-4 * (i // 5), -92.0 + 1e-4 * (i % 5), 200.0 + i % 3) for i in range(count)]


def test_few_pictures_are_compared_all_with_all() -> None:
    chosen = choose_pairs(_pictures(["b", "a", "c"]), PoseSettings(), is_film=False, signatures=_unneeded)
    assert _lines(chosen.pairs) == {(0, 1), (0, 2), (1, 2)}
    assert len(all_pairs(80)) == 3160


def test_positions_choose_the_neighbours_of_many_pictures() -> None:
    pictures = _pictures([f"{i:03d}.jpg" for i in range(100)], _on_a_grid(100))
    chosen = choose_pairs(pictures, replace(PoseSettings(), partners=4), is_film=False, signatures=_unneeded)
    lines = _lines(chosen.pairs)
    assert (52, 57) in lines and (51, 52) in lines  # the rows beside, and the picture beside
    assert (0, 99) not in lines and len(lines) < 700
    assert "GPS" in chosen.how


def test_nearest_positions_reach_over_the_date_line_and_leave_out_pictures_without_one() -> None:
    positions: list[Position | None] = [(10.0, 179.9999, 0.0), None, (10.0, -179.9999, 0.0), (10.0, 178.0, 0.0)]
    assert _lines(np.sort(nearest_positions(positions, 1), axis=1)) - {(0, 0), (2, 2), (3, 3)} == {(0, 2), (0, 3)}


def test_a_series_is_compared_in_order_and_with_what_looks_alike() -> None:
    names = [f"IMG_{i:04d}.JPG" for i in range(0, 300, 3)]
    alike = _in_a_circle(100)
    alike[90] = alike[5]  # the camera came back
    chosen = choose_pairs(_pictures(names), PoseSettings(), is_film=False, signatures=lambda: alike)
    lines = _lines(chosen.pairs)
    assert {(0, 1), (0, 10), (0, 20), (0, 40), (5, 90)} <= lines
    assert (0, 50) not in lines and len(lines) < 100 * (10 + 2 + 4)
    assert "follow" in chosen.how


def test_a_film_is_a_series_whatever_its_length() -> None:
    names = [f"frame-{i:06d}.jpg" for i in range(30)]
    chosen = choose_pairs(_pictures(names), PoseSettings(), is_film=True, signatures=lambda: _in_a_circle(60)[:30])
    assert "follow" in chosen.how
    assert (0, 29) not in _lines(chosen.pairs)


def test_unordered_pictures_are_compared_with_what_looks_alike() -> None:
    names = sorted(f"{hash_}.jpg" for hash_ in np.random.default_rng(0).integers(10**6, 10**9, 90))
    signatures = np.random.default_rng(1).normal(size=(90, 8)).astype(np.float32)
    chosen = choose_pairs(_pictures(names), PoseSettings(), is_film=False, signatures=lambda: signatures)
    assert "alike" in chosen.how and "follow" not in chosen.how


def test_most_alike_takes_each_picture_once_and_never_itself() -> None:
    signatures = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], np.float32)
    assert most_alike(signatures, 1).tolist() == [[0, 1], [1, 0], [2, 1]]


def test_following_spans_gaps_ever_wider() -> None:
    assert {int(b - a) for a, b in following(200, 10)} == {*range(1, 11), 20, 40}


def test_pictures_of_one_place_are_more_alike_than_others_and_the_words_repeat() -> None:
    generator = np.random.default_rng(0)
    places = [generator.integers(0, 120, (300, 128)).astype(np.uint8) for _ in range(2)]

    def seen(place: int) -> PictureFeatures:
        rows = places[place][generator.permutation(300)[:200]].astype(np.int64) + generator.integers(-6, 7, (200, 128))
        return PictureFeatures(
            np.zeros((200, 2), np.float32), np.clip(rows, 0, 255).astype(np.uint8), np.zeros((200, 3), np.uint8)
        )

    pictures = [seen(0), seen(1), seen(0), seen(1), None]
    signatures = picture_signatures(pictures, words=8, seed=0)
    likeness = signatures @ signatures.T
    assert min(likeness[0, 2], likeness[1, 3]) > max(likeness[0, 1], likeness[0, 3], likeness[2, 1]) + 0.2
    assert (signatures[4] == 0).all()
    assert (picture_signatures(pictures, words=8, seed=0) == signatures).all()


def test_names_in_natural_order() -> None:
    assert sorted(["a10.jpg", "a9.jpg", "a²1.jpg", "10.jpg"], key=natural_order) == ["10.jpg", "a9.jpg", "a10.jpg", "a²1.jpg"]
    assert not in_series(["a2.jpg", "a1.jpg"])
    assert not in_series(["a1.jpg", "b2.jpg"])


@pytest.mark.errors
def test_gps_neighbours_without_positions_are_refused() -> None:
    with pytest.raises(ConventionError, match=r"--pairs gps: expected GPS positions.*got 0 of 3.*--pairs similar"):
        choose_pairs(_pictures(["a", "b", "c"]), PoseSettings(pairs="gps"), is_film=False, signatures=_unneeded)

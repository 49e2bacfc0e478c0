"""Which photographs show a thing, which part of them is cut out, and which of the cuts the oracle is shown."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tests.support.tiny_tower import TinyTower

from scenewise.methods.vl_sat.pictures import ThingPictures, embedded, thing_pictures
from scenewise.parts.points.from_depth import unproject
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.frames import Frame
from scenewise.scenes.graph_scans import GraphScan

WIDTH, HEIGHT, FOCAL, DEPTH = 64, 48, 32.0, 2.0
SHIFT = 8  # columns that everything lies further to the left in the second view
# Rows and columns (first, last) of the things in the first view, and where the third of them is: behind both cameras.
BOXES = {0: (5, 14, 4, 13), 1: (30, 39, 40, 49), 3: (20, 20, 30, 36)}


class Watcher(TinyTower):
    """Sees 14 × 14 pixels as they are, keeps what it was shown, and answers with its corner and its blue."""

    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def __init__(self) -> None:
        super().__init__(depth=1, width=8, heads=2, dim=4, patch_size=7, grid=2, dtype=torch.float32)
        self.shown: list[np.ndarray] = []

    def embed_images(self, images: torch.Tensor) -> torch.Tensor:
        rows = []
        for image in images:
            pixels = (255 * image.permute(1, 2, 0)).round().numpy().astype(np.uint8)
            self.shown.append(pixels)
            rows.append([*pixels[0, 0].tolist(), 1.0])
        return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float32), dim=-1)


def camera(view: int) -> Cameras:
    camera_from_world = torch.eye(4, dtype=torch.float64)
    camera_from_world[0, 3] = -view * SHIFT * DEPTH / FOCAL
    K = torch.tensor([[FOCAL, 0.0, WIDTH / 2], [0.0, FOCAL, HEIGHT / 2], [0.0, 0.0, 1.0]], dtype=torch.float64)
    return Cameras(camera_from_world, K, WIDTH, HEIGHT)


def photograph(view: int) -> np.ndarray:
    """Red counts rows, green columns, blue views."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([4 * rows, 3 * columns, np.full_like(rows, 100 + view)], axis=-1).astype(np.uint8)


def frame(view: int) -> Frame:
    depth = np.full((HEIGHT, WIDTH), DEPTH, dtype=np.float32)
    return Frame(f"{view}", camera(view), lambda: photograph(view), lambda: depth)


def scan() -> GraphScan:
    depth, clouds = np.full((HEIGHT, WIDTH), DEPTH, dtype=np.float32), []
    for thing in range(4):
        if thing == 2:
            clouds.append(np.tile(np.array([[0.0, 0.0, -1.0]], np.float32), (20, 1)))
            continue
        top, bottom, left, right = BOXES[thing]
        rows, columns = (grid.ravel() for grid in np.mgrid[top : bottom + 1, left : right + 1])
        clouds.append(unproject(camera(0), rows, columns, depth).astype(np.float32))
    return GraphScan("scan", tuple(clouds), np.arange(4), np.zeros((0, 3), dtype=np.int64))


def shown_by(views: Sequence[int], kept: int = 8) -> tuple[ThingPictures, list[np.ndarray]]:
    tower = Watcher()
    return thing_pictures(scan(), [frame(view) for view in views], tower, kept=kept), tower.shown


def test_the_view_that_shows_most_comes_first_and_shares_are_of_the_thing() -> None:
    for views in ((0, 1), (1, 0)):
        found, _ = shown_by(views)
        assert found.shares[0].tolist() == pytest.approx([1.0, 0.6]), "six of ten columns are left in the second view"
        assert found.shares[1].tolist() == [1.0, 1.0]
        assert not found.shares[2:].any() and not found.features[2:].any(), "behind the cameras, and too few pixels"
        assert np.allclose(np.linalg.norm(found.features[:2], axis=-1), 1.0)
        # The corner pixel's blue over the last number is the view.
        assert [round(float(row[2] / row[3])) - 100 for row in found.features[0]] == [0, 1]
        assert [round(float(row[2] / row[3])) - 100 for row in found.features[1]] == list(views), "the earlier of two alike"
    one, cuts = shown_by((1, 0), kept=1)
    assert one.features.shape == (4, 1, 4) and round(float(one.features[0, 0, 2] / one.features[0, 0, 3])) == 100
    assert len(cuts) == 2, "what is not kept is not shown to the teacher"


def test_the_right_pixels_are_cut_out() -> None:
    _, cuts = shown_by((0,))
    for cut, thing in zip(cuts, (0, 1), strict=True):
        top, _, left, _ = BOXES[thing]
        # Ten pixels and 15 % at each side make thirteen; whole pixels around them are fourteen, two before the first.
        assert np.array_equal(cut, photograph(0)[top - 2 : top + 12, left - 2 : left + 12])


def test_a_cut_ends_where_the_photograph_does() -> None:
    shown: list[np.ndarray] = []

    class Unchanged(Watcher):
        def embed_images(self, images: torch.Tensor) -> torch.Tensor:
            shown.extend(images.numpy())
            return torch.ones(len(images), 4) / 2

    thing_pictures(scan(), [frame(1)], Unchanged())
    # Columns −4 … 9 of rows 3 … 16 were wanted; what is left was stretched to the square.
    part = photograph(1)[3:17, 0:10]
    green = 255 * shown[0][1].mean(axis=0)
    assert green[0] == pytest.approx(0.0, abs=2.0) and green[-1] == pytest.approx(part[0, -1, 1], abs=2.0)
    red = 255 * shown[0][0].mean(axis=1)
    assert red == pytest.approx(part[:, 0, 0].astype(float), abs=1.0)


def test_pictures_of_any_size_are_embedded_alone_or_together_alike() -> None:
    rng = np.random.default_rng(0)
    tower = TinyTower(depth=2, width=8, heads=2, dim=4, dtype=torch.float32)
    cuts = [rng.integers(0, 256, (rows, columns, 3), dtype=np.uint8) for rows, columns in ((24, 24), (5, 40), (60, 9))]
    found = embedded(tower, cuts)
    assert found.shape == (3, 4) and np.allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)
    assert np.allclose(found, np.concatenate([embedded(tower, [cut]) for cut in cuts]), atol=1e-5)
    assert embedded(tower, []).shape == (0, 4)


# ------------------------------------------------------------------------------------------------------------------- choices

UNITS = np.eye(3, dtype=np.float32)
PICTURES = ThingPictures(
    features=np.stack([UNITS, UNITS[[2, 0, 1]], np.stack([UNITS[1], 0 * UNITS[0], 0 * UNITS[0]]), 0 * UNITS]),
    shares=np.array([[0.9, 0.6, 0.2], [0.8, 0.5, 0.4], [0.3, 0.0, 0.0], [0.0, 0.0, 0.0]], dtype=np.float32),
)
CLASSES = np.array([2, -1, 0, 1])


def test_the_views_that_show_most_are_averaged() -> None:
    found = PICTURES.chosen("visible", 2, CLASSES, None)
    assert found.tolist() == [[0.5, 0.5, 0.0], [0.5, 0.0, 0.5], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    assert np.allclose(PICTURES.chosen("visible", 9, CLASSES, None)[0], 1 / 3)
    other = PICTURES.chosen("visible", 2, CLASSES[::-1], UNITS)
    assert np.array_equal(found, other), "nothing of the truth comes in"


def test_the_released_choice_looks_at_the_true_class() -> None:
    text = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.6, 0.8]], dtype=np.float32)
    found = PICTURES.chosen("released", 2, CLASSES, text)
    # Thing 0 is of class 2, most like its third and second view; thing 1's class is unknown; thing 2 has one view, unlike it.
    assert found.tolist() == [[0.0, 0.5, 0.5], [0.5, 0.0, 0.5], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    assert PICTURES.chosen("released", 1, CLASSES, text)[0].tolist() == [0.0, 0.0, 1.0]
    assert np.array_equal(PICTURES.chosen("released", 2, CLASSES, None), PICTURES.chosen("visible", 2, CLASSES, None))

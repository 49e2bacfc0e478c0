"""Names for all points of any cloud."""

import numpy as np
import pytest
import torch
from tests.support.tiny_training import TinyBackbone, TinyPixels, tiny_text

from scenewise.errors import ConventionError, ShapeError
from scenewise.networks.minkunet import MinkUNet
from scenewise.parts.labelfree.prediction import PredictionGrids, predict_points, tiles
from scenewise.parts.labelfree.students import PixelStudent, PointStudent


def _student(backbone=None):
    torch.manual_seed(0)
    student = PointStudent(TinyBackbone(3) if backbone is None else backbone, 7)
    student(_cloud())
    return student.eval()


def _cloud():
    from scenewise.networks.sparse_inputs import VoxelisedPoints

    points, inputs = _points(200)
    batch = torch.zeros(200, dtype=torch.int64)
    return VoxelisedPoints.from_points(torch.from_numpy(inputs), torch.from_numpy(points) / 0.1, batch)


def _points(count, seed=0):
    draw = np.random.default_rng(seed)
    return draw.uniform(-2, 2, (count, 3)).astype(np.float32), draw.uniform(-1, 1, (count, 3)).astype(np.float32)


def test_the_folded_head_gives_the_logits_of_the_embeddings():
    said = _student()(_cloud())
    rows = torch.tensor([5, 0, 5])
    torch.testing.assert_close(said.logits(tiny_text(), rows), said.embeddings[rows] @ tiny_text().T, rtol=1e-4, atol=1e-5)
    assert torch.equal(said.embedded(rows), said.embeddings[rows])
    pixels = PixelStudent(TinyPixels(), 7)(torch.rand(2, 3, 6, 10))
    assert pixels.grid == (2, 3, 5) and pixels.embeddings.shape == (30, 7)


def test_every_point_gets_a_class_also_duplicates_and_points_whose_logits_are_all_negative():
    student = _student()
    points, inputs = _points(300)
    points[7], points[9] = points[3], points[3]
    points[11] = points[3] + np.float32(1e-4)
    with torch.no_grad():
        student.head.weight.mul_(0.1)
        student.head.bias.copy_(torch.linalg.pinv(tiny_text()) @ torch.full((3,), -50.0))
    assert bool((student(_cloud()).logits(tiny_text()) < -40).all())
    said = predict_points(student, tiny_text(), points, inputs, PredictionGrids(voxel=0.1))
    assert len(said.class_ids) == 300 and said.coverage == 1.0
    assert len(set(said.class_ids[[3, 7, 9, 11]].tolist())) == 1
    assert bool((said.confidence > 0).all())


def test_one_grid_is_the_network_and_several_are_summed():
    student = _student()
    points, inputs = _points(400, seed=1)
    once, thrice = (predict_points(student, tiny_text(), points, inputs, PredictionGrids(voxel=0.7, repeats=n)) for n in (1, 3))
    from scenewise.networks.sparse_inputs import VoxelisedPoints

    cloud = VoxelisedPoints.from_points(
        torch.from_numpy(inputs), torch.from_numpy(points) / 0.7, torch.zeros(400, dtype=torch.int64)
    )
    logits = student(cloud).logits(tiny_text())
    assert np.array_equal(once.class_ids, logits.argmax(1).numpy())
    np.testing.assert_allclose(once.confidence, logits.softmax(1).max(1).values.detach().numpy(), rtol=1e-5)
    other_grids = (logits / 3).softmax(1).max(1).values.detach().numpy()
    assert not np.allclose(once.confidence, thrice.confidence) and not np.allclose(other_grids, thrice.confidence)
    again = predict_points(student, tiny_text(), points, inputs, PredictionGrids(voxel=0.7, repeats=3))
    assert np.array_equal(again.confidence, thrice.confidence)


def test_tiles_name_every_point_once_and_see_around_themselves():
    places = np.random.default_rng(2).uniform(0, [400, 90, 20], (4000, 3)).astype(np.float32)
    found = list(tiles(places, 500, margin=10.0))
    assert len(found) >= 8
    assert sorted(np.concatenate([own for own, _ in found]).tolist()) == list(range(4000))
    for own, seen in found:
        assert len(own) <= 500 and set(own) <= set(seen) and np.array_equal(seen, np.sort(seen))
        low, high = places[own].min(0), places[own].max(0)
        assert set(np.flatnonzero(((places > low - 9.9) & (places < high + 9.9)).all(1))) <= set(seen)
    assert [len(own) for own, _ in tiles(places, 4000)] == [4000]
    assert list(tiles(places[:0], 10)) == []


def test_tiles_give_what_the_whole_gives_away_from_their_borders():
    torch.manual_seed(1)
    planes, blocks = (4, 4, 4, 4, 4, 4, 4, 4), (1,) * 8
    student = _student(MinkUNet(3, planes, blocks, stem_planes=4))
    draw = np.random.default_rng(3)
    points = np.concatenate([draw.uniform(0, [24, 1, 0.1], (3000, 3))]).astype(np.float32)
    inputs = draw.uniform(-1, 1, points.shape).astype(np.float32)
    whole = predict_points(student, tiny_text(), points, inputs, PredictionGrids(voxel=0.1))
    cut = predict_points(student, tiny_text(), points, inputs, PredictionGrids(voxel=0.1, max_voxels=1300))
    assert float((whole.class_ids == cut.class_ids).mean()) > 0.99
    assert not np.array_equal(whole.confidence, cut.confidence)


@pytest.mark.errors
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"repeats": 0}, ConventionError, "repeats, voxel: expected 1 or more, a length above 0"),
        ({"voxel": 0.0}, ConventionError, "repeats, voxel"),
        ({"inputs": np.zeros((3, 3), np.float32)}, ShapeError, "inputs: expected 20 rows, one per point, got 3"),
        ({"points": np.full((20, 3), np.nan, np.float32)}, ConventionError, "points: expected finite positions"),
    ],
)
def test_what_cannot_be_named_is_one_clear_error(change, error, message):
    points, inputs = _points(20)
    given = {"points": points, "inputs": inputs, "voxel": 0.1, "repeats": 1, **change}
    with pytest.raises(error, match=message):
        grids = PredictionGrids(given["voxel"], given["repeats"])
        predict_points(_student(), tiny_text(), given["points"], given["inputs"], grids)

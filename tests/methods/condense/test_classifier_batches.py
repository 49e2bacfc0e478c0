"""What a classifier is shown: objects on the grid by the data's convention, varied by the key alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.support.tiny_objects import STILL, TINY, tiny_object, tiny_objects

from scenewise.errors import ConventionError
from scenewise.methods.condense.classification.batches import as_it_is, joined, object_batch, objects_of
from scenewise.methods.condense.classification.objects import ObjectData, ObjectScan, ProceduralObjects, kept_objects
from scenewise.methods.condense.classification.options import ClassifierConfig, ObjectVariation
from scenewise.scenes.classified_clouds import ClassifiedCloud, ClassifiedClouds
from scenewise.worlds.designs import OBJECT_CLASSES
from scenewise.worlds.object_clouds import object_cloud, object_seeds

CPU = torch.device("cpu")
# A step of a stair: 4 long, 2 wide, 1 high, with a corner missing, so that no two axes and no two ends are alike.
CORNERS = np.array([[0, 0, 0], [4, 0, 0], [4, 2, 0], [0, 2, 1], [0, 0, 1], [1, 0, 1]], dtype=np.float32)
COLORS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [51, 102, 153], [0, 0, 0], [255, 255, 255]], dtype=np.uint8)


def stair(origin: tuple[float, float, float] = (7.0, -3.0, 0.5), *, colored: bool = True) -> ClassifiedCloud:
    return ClassifiedCloud("stair", CORNERS + np.float32(origin), 0, COLORS if colored else None)


def step_of(cloud: ClassifiedCloud, config: ClassifierConfig, step: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions and inputs of the one object of a step."""
    batch = object_batch(ObjectData(("a",), (cloud,)), replace(config, batch_objects=1), 0, step, CPU)
    return batch.cloud.positions, batch.cloud.inputs


def test_every_object_comes_once_in_an_epoch_in_an_order_of_its_own():
    config, count = replace(TINY, batch_objects=4), 10
    seen = [number for step in range(10) for number in objects_of(step, config, count, 5)]
    epochs = [seen[first : first + count] for first in range(0, 40, count)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs) and len({tuple(epoch) for epoch in epochs}) == 4
    assert objects_of(3, config, count, 5) == tuple(seen[12:16]) != objects_of(3, config, count, 6)
    few = objects_of(0, replace(TINY, batch_objects=7), 3, 0)
    assert sorted(few[:3]) == sorted(few[3:6]) == [0, 1, 2], "fewer objects than a step takes"


def test_lengths_are_metres_or_shares_of_the_extent():
    laid = as_it_is(stair(), "metres", 0.5, 100)
    torch.testing.assert_close(laid.positions, torch.from_numpy(CORNERS) / 0.5)
    torch.testing.assert_close(laid.inputs, torch.from_numpy(COLORS).float() / 127.5 - 1.0)
    # The ball about the middle of the box: its radius is half the box's diagonal here, as corners are taken.
    shared = as_it_is(stair(), "extent", 0.1, 100)
    torch.testing.assert_close(shared.positions, torch.from_numpy(CORNERS) / 21**0.5 / 0.1)
    larger = ClassifiedCloud("larger", 30 * (CORNERS + 2), 0)
    torch.testing.assert_close(as_it_is(larger, "extent", 0.1, 100).positions, shared.positions)
    assert as_it_is(larger, "metres", 0.5, 100).positions.max() == pytest.approx(240)
    assert not as_it_is(stair(colored=False), "metres", 0.5, 100).inputs.any(), "mid-grey"
    single = ClassifiedCloud("single", np.ones((2, 3), np.float32), 0)
    assert not as_it_is(single, "extent", 0.1, 5).positions.any()


def test_points_are_taken_evenly_from_the_list():
    cloud = tiny_object(0, 1, points=11)
    laid = as_it_is(cloud, "metres", 0.1, 6)
    whole = as_it_is(cloud, "metres", 0.1, 11)
    moved = laid.positions - whole.positions[::2]
    torch.testing.assert_close(moved, moved[:1].expand(6, 3), msg="every other one")


def test_nothing_is_varied_where_nothing_is_asked():
    positions, inputs = step_of(stair(), replace(TINY, voxel=0.5, points=50, variation=STILL))
    wanted = as_it_is(stair(), "metres", 0.5, 50)
    rows = [int((wanted.positions - each).norm(dim=1).argmin()) for each in positions]
    assert sorted(rows) == list(range(6))
    torch.testing.assert_close(positions, wanted.positions[rows], atol=1e-5, rtol=0)
    torch.testing.assert_close(inputs, wanted.inputs[rows], atol=1e-3, rtol=0)  # black is not quite black


def distances(positions: torch.Tensor) -> torch.Tensor:
    return torch.pdist(positions).sort().values


def test_turns_keep_what_is_up_and_mirrors_change_hands():
    still = step_of(stair(), replace(TINY, variation=STILL))[0]
    heights = still[:, 2].sort().values
    hands = set()
    for step in range(12):
        turned = step_of(stair(), replace(TINY, variation=replace(STILL, turn=True)), step)[0]
        torch.testing.assert_close(turned[:, 2].sort().values, heights, atol=1e-4, rtol=0)
        torch.testing.assert_close(distances(turned), distances(still), atol=1e-3, rtol=0)
        mirrored, colors = step_of(stair(), replace(TINY, variation=replace(STILL, mirror=True)), step)
        torch.testing.assert_close(distances(mirrored), distances(still), atol=1e-3, rtol=0)
        place = [int((colors - torch.from_numpy(COLORS[row]).float() / 127.5 + 1).norm(dim=1).argmin()) for row in (0, 1, 2, 4)]
        a, b, c, d = (mirrored[row] for row in place)
        hands.add(float(torch.linalg.det(torch.stack([b - a, c - a, d - a]))) > 0)
    assert hands == {True, False}


def test_each_variation_does_what_it_says():
    cloud = replace(tiny_object(2, 0, points=400), class_id=0)
    base = replace(TINY, points=400, variation=STILL)
    still, colors = step_of(cloud, base)

    def varied(step: int = 0, **changes: float) -> tuple[torch.Tensor, torch.Tensor]:
        return step_of(cloud, replace(base, variation=replace(STILL, **changes)), step)

    sizes = [float(varied(step, scale=0.3)[0].max() / still.max()) for step in range(8)]
    assert len(set(sizes)) == 8 and all(0.3 < size < 3 for size in sizes)
    factors = varied(stretch=0.2)[0].amax(0) / still.amax(0)
    assert len(set(factors.tolist())) == 3
    counts = [len(varied(step, least_points=0.25)[0]) for step in range(12)]
    assert min(counts) >= 100 and max(counts) <= 400 and max(counts) - min(counts) > 100
    shifts = [varied(step, shift_voxels=8.0)[0].amin(0) for step in range(6)]
    assert all((shift >= 0).all() and (shift < 8).all() for shift in shifts) and torch.stack(shifts).std(0).min() > 0.5
    assert float((varied(jitter=0.5)[0].std(0) - still.std(0)).abs().max()) > 0.01
    assert not varied(grey=1.0)[1].any()
    dark = [float(varied(step, light=0.4)[1].mean()) for step in range(4)]
    assert len({round(each, 3) for each in dark}) == 4
    noisy = varied(noise=0.1)[1]
    assert noisy.std(0).min() > 0.05 > colors.std(0).max() and noisy.abs().max() <= 1


def test_a_step_depends_on_its_key_alone():
    data = tiny_objects()
    first, again, other = (object_batch(data, TINY, seed, 2, CPU) for seed in (1, 1, 2))
    torch.randn(3)
    assert torch.equal(first.cloud.positions, again.cloud.positions) and torch.equal(first.cloud.inputs, again.cloud.inputs)
    assert not torch.equal(first.cloud.positions[:20], other.cloud.positions[:20])
    numbers = objects_of(2, TINY, len(data), 1)
    assert first.class_ids.tolist() == [data.clouds[number].class_id for number in numbers]
    assert first.cloud.batch.unique().tolist() == [0, 1, 2, 3]
    assert torch.bincount(first.cloud.batch).max() <= TINY.points


def test_objects_are_joined_in_order():
    laid = [as_it_is(tiny_object(kind, 0, points=10 + kind), "metres", 0.1, 50) for kind in (2, 0)]
    cloud = joined(laid, CPU)
    assert torch.bincount(cloud.batch).tolist() == [12, 10]
    assert torch.equal(cloud.positions[:12], laid[0].positions) and torch.equal(cloud.inputs[12:], laid[1].inputs)


def test_procedural_objects_are_clouds_with_classes():
    objects = ProceduralObjects("train", object_seeds("train", 1)[:3], ObjectScan(points=64))
    assert isinstance(objects, ClassifiedClouds) and objects.class_names == OBJECT_CLASSES and len(objects) == 3
    data = kept_objects(objects, 40)
    assert data.class_ids.tolist() == objects.class_ids.tolist() == [0, 1, 2]
    whole = objects[1]
    assert whole.name.startswith(f"{OBJECT_CLASSES[1]}-") and len(whole.points_in_object) == 64
    scan = object_cloud(*objects.objects[1], 64, views=1, noise=0.005, is_turned=True)
    np.testing.assert_array_equal(whole.points_in_object, scan.points_in_world.astype(np.float32))
    kept = data.clouds[1]
    rows = [np.flatnonzero((whole.points_in_object == point).all(1))[0] for point in kept.points_in_object]
    assert len(set(rows)) == 40 and np.array_equal(kept.colors_u8, whole.colors_u8[rows])
    assert kept_objects(objects, 40).fingerprint == data.fingerprint
    assert kept_objects(objects, 41).fingerprint != data.fingerprint
    assert np.array_equal(kept_objects(objects, 64).clouds[1].points_in_object, whole.points_in_object)


def test_a_fingerprint_is_of_points_colours_classes_and_names():
    data = tiny_objects(1)
    cloud = data.clouds[0]
    moved = cloud.points_in_object.copy()
    moved[5, 1] += 1e-3
    assert cloud.colors_u8 is not None
    others = [
        ObjectData(("x", *data.class_names[1:]), data.clouds),
        *(
            ObjectData(data.class_names, (changed, *data.clouds[1:]))
            for changed in (
                replace(cloud, points_in_object=moved),
                replace(cloud, colors_u8=cloud.colors_u8 + np.uint8(1)),
                replace(cloud, colors_u8=None),
                replace(cloud, class_id=1),
            )
        ),
    ]
    assert len({data.fingerprint, *(other.fingerprint for other in others)}) == 6
    assert ObjectData(data.class_names, data.clouds).fingerprint == data.fingerprint


@pytest.mark.errors
def test_what_cannot_be_shown_is_told():
    with pytest.raises(ConventionError, match=r"object stair: expected fewer than 50000 voxels \(metres\), got 4e\+06"):
        as_it_is(stair(), "metres", 1e-6, 10)
    with pytest.raises(ConventionError, match="object none: expected points, got none"):
        as_it_is(ClassifiedCloud("none", np.zeros((0, 3), np.float32), 0), "metres", 0.1, 10)
    with pytest.raises(ConventionError, match="objects: expected at least one"):
        ObjectData(("a",), ())
    with pytest.raises(ConventionError, match="object stair: expected a class from 0 to 0, got 2"):
        ObjectData(("a",), (replace(stair(), class_id=2),))


@pytest.mark.errors
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"voxel": 0.0}, "voxel: expected above 0"),
        ({"rate": float("nan")}, "rate: expected above 0"),
        ({"steps": 0}, "steps: expected at least 1"),
        ({"batch_objects": 513}, "batch_objects: expected at most 512"),
        ({"width": 17.0}, "width: expected above 0, up to 16"),
        ({"smoothing": 1.0}, "smoothing: expected from 0, below 1"),
        ({"hidden": -1}, "hidden: expected 0 to 16384"),
        ({"weight_decay": -0.1}, "weight_decay: expected 0 or more"),
    ],
)
def test_recipes_that_cannot_be(changes: dict, message: str):
    with pytest.raises(ConventionError, match=message):
        replace(TINY, **changes)
    with pytest.raises(ConventionError, match=r"variation.grey: expected a share"):
        ObjectVariation(grey=1.5)
    with pytest.raises(ConventionError, match=r"variation.jitter: expected 0 or more"):
        ObjectVariation(jitter=-1.0)

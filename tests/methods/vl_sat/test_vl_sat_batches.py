"""What a step sees: a function of seed and step; labels that go with the points however they are turned."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from tests.support.graph_examples import ALONE, scan_of_points, tiny_data

from scenewise.errors import ConventionError, ShapeError
from scenewise.methods.vl_sat.batches import Batches, GraphBatch, Piece, direction_order, joined, sampled, whole
from scenewise.methods.vl_sat.examples import GraphData, GraphExample
from scenewise.scenes.graph_scans import GraphScan
from scenewise.worlds.relations import ROOM_PREDICATES, nodes_of, true_relations
from scenewise.worlds.rooms import Room, furnished_room


def tensors_of(batch: GraphBatch) -> Iterator[np.ndarray]:
    for each in (batch.inputs.points, batch.inputs.edges, batch.inputs.scans, batch.classes, batch.labels, batch.seen):
        yield each.numpy()
    assert batch.pictures is not None
    yield batch.pictures.numpy()


def same(first: GraphBatch, second: GraphBatch) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(tensors_of(first), tensors_of(second), strict=True))


def test_a_batch_depends_on_seed_and_step_alone() -> None:
    data, _ = tiny_data()
    config = replace(ALONE, turns=True, jitter=0.01, nodes_per_scan=2)
    first, second, other = (Batches(data, config, seed) for seed in (7, 7, 8))
    steps = [first.at(step) for step in (0, 1, 2, 5)]
    assert all(same(second.at(step), batch) for step, batch in zip((5, 2, 1, 0), reversed(steps), strict=True))
    assert not same(steps[0], steps[1]) and not same(steps[0], other.at(0))


def test_every_pass_sees_every_scan_once_in_another_order() -> None:
    scans = [scan_of_points(np.array([[i, 0, 0], [i, 1, 0]], np.float32), np.zeros((0, 3), np.int64)) for i in range(6)]
    data = GraphData([GraphExample(scan) for scan in scans], ("a", "b"), ("p",))
    batches, orders = Batches(data, replace(ALONE, batch_scans=4), 0), []
    seen = [int(points[0, 0]) for step in range(6) for points in batches.at(step).inputs.points[::2]]
    for first in range(0, 24, 6):
        orders.append(seen[first : first + 6])
        assert sorted(orders[-1]) == list(range(6))
    assert len({tuple(order) for order in orders}) > 1


# ------------------------------------------------------------------------------------------------------------- turned scans


def mirrored(room: Room) -> Room:
    """The room in a mirror: x changes its sign."""

    def flipped(point: tuple[float, float, float]) -> tuple[float, float, float]:
        return (-point[0], point[1], point[2])

    objects = [
        replace(
            thing,
            center=flipped(thing.center),
            yaw=-thing.yaw,
            parts=tuple(replace(part, center=flipped(part.center), yaw=-part.yaw) for part in thing.parts),
        )
        for thing in room.objects
    ]
    return replace(room, objects=tuple(objects))


@pytest.mark.parametrize("seed", [21, 40])
def test_words_for_directions_go_with_the_points(seed: int) -> None:
    """A room's things as single points: how a batch was turned can be read from them, and the room itself knows what holds."""
    room = furnished_room(seed)
    places = np.array([room.objects[index].center for index in nodes_of(room)], dtype=np.float32)
    scan = replace(scan_of_points(places, true_relations(room)), class_ids=room.class_of_instance[list(nodes_of(room))])
    data = GraphData([GraphExample(scan)], tuple(map(str, range(15))), ROOM_PREDICATES)
    batches, met = Batches(data, replace(ALONE, turns=True, batch_scans=1, points=2), 0), set()
    for step in range(40):
        batch = batches.at(step)
        found = batch.inputs.points[:, 0].numpy()
        for quarters in range(4):
            c, s = round(math.cos(quarters * math.pi / 2)), round(math.sin(quarters * math.pi / 2))
            turned = places @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]], dtype=np.float32)
            for sign in (1, -1):
                if np.allclose(found, turned * np.array([sign, 1, 1]), atol=1e-6):
                    break
            else:
                continue
            break
        else:
            raise AssertionError("neither turned by quarters nor mirrored")
        # Turning the room by an angle is looking at it turned by the opposite one; a mirror turns the other way round.
        judge = true_relations(room if sign == 1 else mirrored(room), -sign * quarters * math.pi / 2)
        edges, (rows, predicates) = batch.inputs.edges.numpy(), np.nonzero(batch.labels.numpy())
        told = np.column_stack([edges[0, rows], edges[1, rows], predicates])
        assert sorted(map(tuple, told.tolist())) == sorted(map(tuple, judge.tolist()))
        met.add((quarters, sign))
    assert len(met) == 8, "all turns occur, mirrored and not"


def test_directions_change_places_only_where_all_four_are_known() -> None:
    becomes = {"right": "behind", "behind": "left", "left": "front", "front": "right"}
    names = ("on", "left", "right", "front", "behind")
    # The new "left" is what was "behind", the new "right" was "front", the new "front" was "left", the new "behind" was "right".
    assert direction_order(names, becomes).tolist() == [0, 4, 3, 1, 2]
    assert direction_order(names[:4], becomes).tolist() == [0, 1, 2, 3]


# ----------------------------------------------------------------------------------------------------------- things and pairs


def test_pieces_are_the_things_nearest_to_one() -> None:
    rng = np.random.default_rng(0)
    places = rng.normal(size=(9, 3)).astype(np.float32)
    data = GraphData([GraphExample(scan_of_points(places, np.zeros((0, 3), np.int64)))], tuple("abcdefghi"), ("p",))
    gaps = np.linalg.norm(places[:, None] - places[None], axis=-1)
    assert np.allclose(data.examples[0].gaps, gaps, atol=1e-5)
    wanted = {tuple(sorted(np.argsort(gaps[thing])[:4].tolist())) for thing in range(9)}
    batches = Batches(data, replace(ALONE, batch_scans=1, nodes_per_scan=4), 0)
    found = {tuple(batches.at(step).classes.tolist()) for step in range(80)}
    assert found == wanted
    few = Batches(data, replace(ALONE, batch_scans=1, nodes_per_scan=30), 0)
    assert few.at(0).classes.tolist() == list(range(9))


def test_gaps_are_between_surfaces() -> None:
    line = np.stack([np.linspace(0, 1, 20), np.zeros(20), np.zeros(20)], axis=1).astype(np.float32)
    scan = GraphScan("s", (line, line + np.array([3, 0, 0], np.float32)), np.array([0, 1]), np.zeros((0, 3), np.int64))
    assert GraphExample(scan).gaps.tolist() == pytest.approx(np.array([[0, 2], [2, 0]]), abs=1e-6)


def test_joined_pieces_have_all_ordered_pairs_and_their_labels() -> None:
    rng = np.random.default_rng(1)
    pieces = [
        Piece(
            rng.normal(size=(count, 5, 3)).astype(np.float32),
            rng.integers(-1, 3, count),
            rng.integers(0, 2, (count, count, 4)).astype(np.uint8),
            rng.normal(size=(count, 6)).astype(np.float32),
            rng.random(count) < 0.5,
        )
        for count in (3, 1, 2)
    ]
    batch, owner, row = joined(pieces), [0, 0, 0, 1, 2, 2], [0, 1, 2, 0, 0, 1]
    assert batch.inputs.scans.tolist() == owner
    wanted = {(a, b) for a in range(6) for b in range(6) if a != b and owner[a] == owner[b]}
    pairs = [tuple(pair) for pair in batch.inputs.edges.T.tolist()]
    assert set(pairs) == wanted and len(pairs) == len(wanted)
    for (a, b), labels in zip(pairs, batch.labels.tolist(), strict=True):
        assert labels == pieces[owner[a]].labels[row[a], row[b]].tolist()
    for thing in range(6):
        piece = pieces[owner[thing]]
        assert batch.classes[thing] == piece.classes[row[thing]] and batch.seen[thing] == piece.seen[row[thing]]
        assert batch.pictures is not None and np.array_equal(batch.pictures[thing], piece.pictures[row[thing]])
        assert np.array_equal(batch.inputs.points[thing], piece.points[row[thing]])
    assert joined([pieces[0], replace(pieces[1], pictures=None)]).pictures is None


def test_points_are_drawn_once_where_there_are_enough() -> None:
    many, few = np.arange(60, dtype=np.float32).reshape(20, 3), np.arange(9, dtype=np.float32).reshape(3, 3)
    found = sampled(np.random.default_rng(0), [many, few], 12)
    assert found.shape == (2, 12, 3)
    assert len(np.unique(found[0], axis=0)) == 12 and {tuple(p) for p in found[0]} <= {tuple(p) for p in many}
    assert {tuple(p) for p in found[1]} <= {tuple(p) for p in few}


def test_a_whole_scan_is_always_read_alike_from_end_to_end() -> None:
    data, _ = tiny_data()
    example = data.examples[0]
    first, again = whole(example, 4, 7), whole(example, 4, 7)
    assert np.array_equal(first.points, again.points) and first.points.shape == (3, 7, 3)
    for thing, points in enumerate(example.scan.points_in_world):
        assert np.array_equal(first.points[thing, 0], points[0]) and np.array_equal(first.points[thing, -1], points[-1])
    held = [(s, o, p) for s in range(3) for o in range(3) for p in range(4) if first.labels[s, o, p]]
    assert sorted(map(tuple, example.scan.triplets.tolist())) == held


def test_jitter_is_as_large_as_it_is_said_to_be() -> None:
    scan = scan_of_points(np.array([[1, 2, 3], [-1, 0, 5]], np.float32), np.zeros((0, 3), np.int64))
    data = GraphData([GraphExample(scan)], ("a", "b"), ("p",))
    batch = Batches(data, replace(ALONE, batch_scans=1, points=500, jitter=0.1), 0).at(0)
    noise = batch.inputs.points.numpy() - np.concatenate(scan.points_in_world)[:, None]
    assert 0.09 < noise.std() < 0.11 and abs(noise.mean()) < 0.01


# -------------------------------------------------------------------------------------------------------------------- data


def test_the_fingerprint_changes_with_everything_that_is_learned_from() -> None:
    data, _ = tiny_data()
    example, rest = data.examples[0], data.examples[1:]
    scan, pictures = example.scan, example.pictures
    assert pictures is not None and data.class_text is not None

    def with_first(changed: GraphExample, text: np.ndarray = data.class_text) -> GraphData:
        return GraphData([changed, *rest], data.classes, data.predicates, text)

    points = (scan.points_in_world[0] + np.float32(1e-3), *scan.points_in_world[1:])
    others = [
        with_first(GraphExample(replace(scan, points_in_world=points), pictures)),
        with_first(GraphExample(replace(scan, class_ids=(scan.class_ids + 1) % 3), pictures)),
        with_first(GraphExample(replace(scan, triplets=scan.triplets[1:]), pictures)),
        with_first(GraphExample(replace(scan, name="other"), pictures)),
        with_first(GraphExample(scan, pictures + np.float32(1e-3))),
        with_first(example, data.class_text * np.float32(0.5)),
        GraphData(data.examples, ("x", *data.classes[1:]), data.predicates, data.class_text),
        GraphData(data.examples, data.classes, ("x", *data.predicates[1:]), data.class_text),
    ]
    assert with_first(example).fingerprint == data.fingerprint
    assert len({data.fingerprint, *(each.fingerprint for each in others)}) == len(others) + 1


def test_what_the_teacher_has_seen() -> None:
    scan = scan_of_points(np.zeros((3, 3), np.float32), np.zeros((0, 3), np.int64))
    pictures = np.array([[0, 0], [0, -1], [2, 0]], dtype=np.float32)
    assert GraphExample(scan, pictures).seen.tolist() == [False, True, True]
    assert not GraphExample(scan).seen.any()
    data = GraphData([GraphExample(scan, pictures)], ("a", "b", "c"), ("p",))
    assert data.picture_dim == 2 and GraphData([GraphExample(scan)], ("a", "b", "c"), ("p",)).picture_dim is None


@pytest.mark.errors
def test_data_that_cannot_be() -> None:
    scan = scan_of_points(np.zeros((3, 3), np.float32), np.array([[0, 1, 1]]))
    with pytest.raises(ConventionError, match="scans: expected at least one, got none"):
        GraphData([], ("a",), ("p",))
    with pytest.raises(ConventionError, match="classes of scan: expected below 2, got 2"):
        GraphData([GraphExample(scan)], ("a", "b"), ("p", "q"))
    with pytest.raises(ConventionError, match="predicates of scan: expected below 1, got 1"):
        GraphData([GraphExample(scan)], ("a", "b", "c"), ("p",))
    with pytest.raises(ShapeError, match="pictures: expected 3 rows, got 2"):
        GraphExample(scan, np.zeros((2, 4), np.float32))
    names, seen = (("a", "b", "c"), ("p", "q")), GraphExample(scan, np.ones((3, 4), np.float32))
    empty = GraphScan("nothing", (), np.zeros(0, np.int64), np.zeros((0, 3), np.int64))
    with pytest.raises(ConventionError, match="things of nothing: expected at least one, got none"):
        GraphData([GraphExample(empty)], *names)
    with pytest.raises(ConventionError, match="pictures: expected those of all scans, or of none, got some"):
        GraphData([seen, GraphExample(scan)], *names)
    with pytest.raises(ShapeError, match=r"pictures: expected \d channels in every scan"):
        GraphData([seen, GraphExample(scan, np.ones((3, 5), np.float32))], *names)
    with pytest.raises(ShapeError, match=r"class_text: expected \(3, 4\), got \(3, 5\)"):
        GraphData([seen], *names, np.ones((3, 5), np.float32))
    with pytest.raises(ShapeError, match=r"class_text: expected \(3, any\), got \(2, 5\)"):
        GraphData([GraphExample(scan)], *names, np.ones((2, 5), np.float32))

"""Relations read from geometry: hand-made rooms with known answers, and the truth of procedural ones."""

from itertools import pairwise

import numpy as np
import pytest

from scenewise.parts.graphs.facing import own_yaws
from scenewise.parts.graphs.rules import RULE_PREDICATES, neighbour_pairs, rule_scores
from scenewise.parts.graphs.things import CEILING, FLOOR, PIECE, SHAPELESS, WALL, Things, things_of_points
from scenewise.worlds.primitives import Primitive
from scenewise.worlds.relations import ROOM_PREDICATES, nodes_of, true_relations
from scenewise.worlds.rooms import furnished_room

QUARTER = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])


def block(center: tuple[float, float, float], size: tuple[float, float, float], count: int = 900) -> np.ndarray:
    """Points on the surface of a box along the axes, with its corners."""
    rng = np.random.default_rng(int(1000 * abs(sum(center))) + 7)
    half = np.array(size) / 2
    points = rng.uniform(-1.0, 1.0, (count, 3))
    side = rng.integers(0, 3, count)
    points[np.arange(count), side] = np.sign(points[np.arange(count), side])
    return np.array(center) + points * half


def shell(width: float = 6.0, length: float = 5.0, height: float = 2.5) -> list[tuple[str, np.ndarray]]:
    """A floor, a ceiling, a wall at y = 0 and one at x = 0."""
    return [
        ("floor", block((width / 2, length / 2, -0.01), (width, length, 0.02), 2000)),
        ("ceiling", block((width / 2, length / 2, height), (width, length, 0.02), 2000)),
        ("wall", block((width / 2, -0.02, height / 2), (width, 0.04, height), 2000)),
        ("wall", block((-0.02, length / 2, height / 2), (0.04, length, height), 2000)),
    ]


def things_of(*named: tuple[str, np.ndarray]) -> Things:
    return things_of_points([points for _, points in named], [name for name, _ in named])


def found(things: Things, yaw: float = 0.0, least: float = 0.5) -> set[tuple[int, str, int]]:
    """All that holds between any two."""
    pairs = neighbour_pairs(things, len(things))
    scores = rule_scores(things, pairs, np.full(len(things), yaw))
    return {
        (int(pairs[row, 0]), RULE_PREDICATES[column], int(pairs[row, 1])) for row, column in np.argwhere(scores >= least).tolist()
    }


def between(things: Things, a: int, b: int, yaw: float = 0.0) -> set[str]:
    return {predicate for first, predicate, second in found(things, yaw) if (first, second) == (a, b)}


# ---------------------------------------------------------------------------------------------------------- what things are


def test_the_parts_of_a_room_are_known_by_shape_alone():
    named = [*shell(), ("", block((3.0, 2.0, 0.9), (1.0, 0.4, 1.8)))]
    kinds = things_of_points([points for _, points in named]).kinds
    assert kinds.tolist() == [FLOOR, CEILING, WALL, WALL, PIECE]


def test_a_name_tips_the_scales():
    panel = block((3.0, 0.02, 1.0), (1.5, 0.1, 2.0))
    low = block((3.0, 2.0, 0.4), (1.5, 0.1, 0.8))
    kinds = things_of(*shell(), ("picture", panel), ("", panel), ("wall", low), ("", low)).kinds
    assert kinds.tolist()[4:] == [PIECE, WALL, WALL, PIECE]


def test_what_is_called_a_wall_and_looks_like_none_is_what_it_looks_like_or_nothing():
    lump = block((3.0, 2.0, 0.9), (1.0, 0.8, 0.9))
    above = block((3.0, 2.5, 2.5), (2.0, 1.5, 0.01))
    things = things_of(*shell(), ("wall", lump), ("wall", above), ("chair", block((3.0, 2.9, 0.9), (0.5, 0.5, 0.9))))
    assert things.kinds.tolist()[4:] == [SHAPELESS, CEILING, PIECE]
    assert not between(things, 4, 6) and not between(things, 6, 4), "of a lump of wall nothing is said"


def test_what_nothing_bears_stands_on_the_floor_though_its_feet_were_not_seen():
    seen, hanging = block((3.0, 2.0, 0.6), (1.0, 0.6, 0.5)), block((4.5, 2.0, 1.2), (0.5, 0.5, 0.5))
    at_the_wall = block((3.0, 5.2, 0.5), (1.0, 0.3, 1.0))
    things = things_of(*shell(), ("table", seen), ("thing", hanging), ("shelf", at_the_wall))
    assert "standing on" in between(things, 4, 0)
    assert "standing on" not in between(things, 5, 0), "nothing has legs that long"
    assert "standing on" in between(things, 6, 0), "the floor behind it was not seen"


def test_what_leans_on_a_wall_may_not_show_its_back():
    things = things_of(
        *shell(), ("cabinet", block((3.0, 0.4, 0.9), (1.0, 0.4, 1.7))), ("cabinet", block((4.5, 0.6, 0.9), (1.0, 0.4, 1.7)))
    )
    assert "leaning against" in between(things, 4, 2) and "leaning against" not in between(things, 5, 2)


# --------------------------------------------------------------------------------------------------------------- directions


def test_left_and_front_for_somebody_who_looks_along_y():
    """The cup is to the right of the pot and nearer to who looks."""
    cup, pot = block((1.0, 0.0, 0.1), (0.2, 0.2, 0.2)), block((0.0, 0.1, 0.1), (0.2, 0.2, 0.2))
    things = things_of(("", cup), ("", pot))
    assert between(things, 0, 1) == {"right"}
    assert between(things, 1, 0) == {"left"}
    # Looks along −X now: the cup, at larger x, is nearer.
    assert between(things, 0, 1, np.pi / 2) == {"front"}
    assert between(things, 1, 0, np.pi / 2) == {"behind"}
    diagonal = things_of(("", block((0.8, -0.8, 0.1), (0.2, 0.2, 0.2))), ("", pot))
    assert between(diagonal, 0, 1) == {"right", "front"}


def test_directions_turn_with_the_scene():
    rng = np.random.default_rng(3)
    named = [("", block(tuple(rng.uniform(0, 2, 3)), (0.3, 0.2, 0.2))) for _ in range(6)]
    turned = [(name, points @ QUARTER.T) for name, points in named]
    assert found(things_of(*named)) == found(things_of(*turned), yaw=np.pi / 2)


def test_what_is_far_has_no_direction():
    things = things_of(("", block((1.7, 0.0, 0.1), (0.2, 0.2, 0.2))), ("", block((0.0, 0.0, 0.1), (0.2, 0.2, 0.2))))
    assert between(things, 0, 1) == set()


def test_a_score_is_a_half_at_the_limit_and_falls_smoothly():
    def score(distance: float) -> float:
        things = things_of(("", block((distance, 0.0, 0.1), (0.2, 0.2, 0.2))), ("", block((0.0, 0.0, 0.1), (0.2, 0.2, 0.2))))
        return float(rule_scores(things, np.array([[0, 1]]), np.zeros(2))[0, RULE_PREDICATES.index("right")])

    scores = [score(distance) for distance in np.linspace(0.6, 2.4, 37)]
    assert abs(score(1.5) - 0.5) < 0.02
    assert scores[0] > 0.95 and scores[-1] < 0.05
    assert all(first >= second - 0.01 for first, second in pairwise(scores))
    assert max(abs(first - second) for first, second in pairwise(scores)) < 0.15


# ------------------------------------------------------------------------------------------------------ on, at, over, inside


def test_things_stand_lie_hang_and_lean():
    table = ("table", block((3.0, 2.5, 0.36), (1.4, 0.8, 0.72)))
    lamp = ("lamp", block((3.2, 2.5, 0.92), (0.2, 0.2, 0.4)))
    book = ("book", block((2.7, 2.4, 0.735), (0.3, 0.2, 0.03)))
    picture = ("picture", block((4.0, 0.03, 1.5), (0.8, 0.04, 0.6)))
    shelf = ("bookshelf", block((1.5, 0.2, 0.9), (1.0, 0.3, 1.8)))
    door = ("door", block((0.02, 3.0, 1.0), (0.06, 0.9, 2.0)))
    pendant = ("lamp", block((4.8, 3.9, 2.2), (0.4, 0.4, 0.5)))
    things = things_of(*shell(), table, lamp, book, picture, shelf, door, pendant)
    said = found(things)
    resting = {"standing on", "lying on", "hanging on", "attached to", "leaning against"}
    of_pieces = {entry for entry in said if entry[1] in resting and entry[0] >= 4}
    assert of_pieces == {
        (4, "standing on", 0),
        (5, "standing on", 4),
        (6, "lying on", 4),
        (7, "hanging on", 2),
        (8, "standing on", 0),
        (8, "leaning against", 2),
        (9, "attached to", 3),
        (10, "hanging on", 1),
    }
    assert {entry for entry in said if entry[1] == "attached to" and entry[0] < 4} == {
        (1, "attached to", 2),
        (1, "attached to", 3),
        (2, "attached to", 0),
        (3, "attached to", 0),
    }


def test_a_pillow_lies_on_a_bed_below_its_headboard():
    bed = np.concatenate([block((2.0, 2.0, 0.25), (2.0, 1.4, 0.5)), block((1.05, 2.0, 0.6), (0.1, 1.4, 1.2))])
    pillow = ("pillow", block((1.5, 2.0, 0.56), (0.5, 0.4, 0.1)))
    assert between(things_of(*shell(), ("bed", bed), pillow), 5, 4) == {"lying on"}


def test_over_under_and_inside():
    sofa = ("sofa", block((3.0, 0.5, 0.4), (2.0, 0.9, 0.8)))
    picture = ("picture", block((3.0, 0.03, 1.6), (0.8, 0.04, 0.6)))
    crate, ball = ("crate", block((4.5, 4.0, 0.4), (0.8, 0.8, 0.8))), ("ball", block((4.5, 4.0, 0.4), (0.3, 0.3, 0.3)))
    things = things_of(*shell(), sofa, picture, crate, ball)
    assert between(things, 5, 4) == {"above", "front"} and between(things, 4, 5) == {"below", "behind"}
    assert "inside" in between(things, 7, 6) and "inside" not in between(things, 6, 7)
    assert not between(things, 7, 6) & {"left", "right", "front", "behind", "close by"}


def test_only_things_of_one_name_are_compared():
    small, large = block((2.0, 2.0, 0.4), (0.4, 0.4, 0.8)), block((3.5, 2.0, 0.6), (0.6, 0.6, 1.2))
    chairs = things_of(*shell(), ("chair", small), ("chair", large))
    assert between(chairs, 5, 4) >= {"bigger than", "higher than"}
    assert between(chairs, 4, 5) >= {"smaller than", "lower than"}
    assert not between(things_of(*shell(), ("chair", small), ("plant", large)), 5, 4) & {"bigger than", "higher than", "same as"}
    twins = things_of(*shell(), ("chair", small), ("chair", small + np.array([1.0, 0.0, 0.0])))
    assert "same as" in between(twins, 4, 5) and "bigger than" not in between(twins, 4, 5)


def test_who_is_next_to_whom():
    near, far = block((2.35, 2.0, 0.4), (0.4, 0.4, 0.8)), block((3.5, 2.0, 0.4), (0.4, 0.4, 0.8))
    things = things_of(*shell(), ("a", block((1.8, 2.0, 0.4), (0.4, 0.4, 0.8))), ("b", near), ("c", far))
    said = {(a, b) for a, predicate, b in found(things) if predicate == "close by"}
    assert said == {(4, 5), (5, 4)}


# --------------------------------------------------------------------------------------------------------------------- whole


def surface(part: Primitive, count: int, rng: np.random.Generator) -> np.ndarray:
    half = np.array(part.half_size)
    points = rng.uniform(-1.0, 1.0, (count, 3))
    side = rng.integers(0, 3, count)
    points[np.arange(count), side] = np.sign(points[np.arange(count), side])
    points *= half
    cos, sin = np.cos(part.yaw), np.sin(part.yaw)
    turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    return points @ turn.T + np.array(part.center)


@pytest.mark.parametrize("yaw", [0.0, 0.7])
def test_directions_agree_with_the_truth_of_procedural_rooms(yaw: float):
    """More than 95 % of both, though boxes are measured on points and the truth knows the solids."""
    rng = np.random.default_rng(0)
    hits, said_in_all, true_in_all = 0, 0, 0
    for seed in range(4):
        room = furnished_room(seed)
        nodes = [room.objects[index] for index in nodes_of(room)]
        points = [np.concatenate([surface(part, 120, rng) for part in thing.parts]) for thing in nodes]
        wanted = {"left", "right", "front", "behind", "standing on"}
        things = things_of_points(points, [thing.class_name for thing in nodes])
        said = {entry for entry in found(things, yaw) if entry[1] in wanted}
        truth = {(a, ROOM_PREDICATES[p], b) for a, b, p in true_relations(room, yaw).tolist() if ROOM_PREDICATES[p] in wanted}
        hits, said_in_all, true_in_all = hits + len(said & truth), said_in_all + len(said), true_in_all + len(truth)
    assert true_in_all > 150
    assert hits / said_in_all > 0.95 and hits / true_in_all > 0.95


def test_gaps_of_turned_boxes_are_those_of_their_points():
    """Against the distances of many points on the boxes, which can only be a little larger."""
    rng = np.random.default_rng(5)
    named = []
    for _ in range(7):
        angle = rng.uniform(0, np.pi)
        turn = np.array([[np.cos(angle), -np.sin(angle), 0.0], [np.sin(angle), np.cos(angle), 0.0], [0.0, 0.0, 1.0]])
        points = block((0.0, 0.0, 0.0), (1.0, 0.5, 0.4), 400) @ turn.T + rng.uniform(0, 3, 3)
        named.append(("", points))
    things = things_of(*named)
    flat, rise = things.gaps
    edge = np.linspace(-1.0, 1.0, 81)
    rim = np.concatenate(
        [np.stack([edge, np.full(81, s)], 1) for s in (-1, 1)] + [np.stack([np.full(81, s), edge], 1) for s in (-1, 1)]
    )
    rims = [
        things.box_centers[i, :2]
        + rim[:, :1] * things.half[i, 0] * things.along[i]
        + rim[:, 1:] * things.half[i, 1] * things.across[i]
        for i in range(len(things))
    ]
    for a in range(len(things)):
        for b in range(len(things)):
            measured = float(np.linalg.norm(rims[a][:, None] - rims[b][None], axis=-1).min())
            if flat[a, b] > 0:
                assert flat[a, b] <= measured + 1e-9 and measured - flat[a, b] < 0.02
            assert rise[a, b] == max(0.0, things.low[a] - things.high[b], things.low[b] - things.high[a])
    assert (flat > 0).sum() > 10 and (flat == 0).sum() > len(things)


def test_pairs_hold_the_nearest_in_either_direction():
    things = things_of(*[("", block((float(2**step), 0.0, 0.0), (0.2, 0.2, 0.2))) for step in range(6)])
    pairs = neighbour_pairs(things, 1).tolist()
    assert [0, 1] in pairs and [1, 0] in pairs
    assert [4, 5] in pairs and [5, 4] in pairs  # 5's nearest is 4, though 4's is 3
    assert [0, 5] not in pairs
    assert pairs == sorted(pairs)
    assert len(neighbour_pairs(things_of(("", block((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))))) == 0


def test_a_chair_looks_away_from_its_back_and_a_shelf_from_its_wall():
    seat = np.concatenate([block((3.0, 3.0, 0.22), (0.5, 0.5, 0.44)), block((2.78, 3.0, 0.7), (0.06, 0.5, 0.6))])
    shelf = block((1.5, 0.2, 0.9), (1.0, 0.3, 1.8))
    yaws = own_yaws(things_of(*shell(), ("chair", seat), ("bookshelf", shelf)))
    directions = np.stack([-np.sin(yaws), np.cos(yaws)], axis=1)
    np.testing.assert_allclose(directions[4], [1.0, 0.0], atol=0.05)  # its back is at smaller x
    np.testing.assert_allclose(directions[5], [0.0, 1.0], atol=0.05)  # its wall is at y = 0

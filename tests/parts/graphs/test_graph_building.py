"""From things to a graph: frames, photographs, names and relations of a network."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from scenewise.errors import ShapeError
from scenewise.parts.graphs.building import GraphScene, GraphSettings, NetworkAnswer, build_graph, fused_names
from scenewise.parts.graphs.frames import UprightFrame
from scenewise.parts.graphs.instances import LabelledElements, find_instances
from scenewise.parts.graphs.rules import RULE_PREDICATES
from scenewise.parts.graphs.views import ShownThings, shown_things
from scenewise.scenes.cameras import Cameras
from scenewise.scenes.elements import Elements
from scenewise.scenes.gaussians import Gaussians
from scenewise.scenes.labels import ElementLabels
from scenewise.scenes.scenes import SceneCamera

CLASSES = ("floor", "couch", "lamp", "thing")
Z_UP = UprightFrame.of_up(np.array([0.0, 0.0, 1.0]))


def cloud(center: tuple[float, float, float], size: tuple[float, float, float], count: int = 300) -> np.ndarray:
    rng = np.random.default_rng(int(10 * sum(size)))
    return np.array(center) + rng.uniform(-0.5, 0.5, (count, 3)) * np.array(size)


def scene(frame: UprightFrame = Z_UP, world_from_upright: np.ndarray | None = None, unit: float = 1.0) -> GraphScene:
    """A sofa on a floor, a lamp to its right, a thing on the sofa; numbers 3, 5, 8, 9."""
    parts = [
        (0, 3, cloud((0.0, 0.0, 0.0), (5.0, 4.0, 0.02), 3000)),
        (1, 5, cloud((0.0, 0.0, 0.4), (1.6, 0.8, 0.8))),
        (2, 8, cloud((1.3, 0.1, 0.7), (0.3, 0.3, 1.4))),
        (3, 9, cloud((0.3, 0.0, 0.9), (0.2, 0.2, 0.2))),
    ]
    turn = np.eye(3) if world_from_upright is None else world_from_upright
    points = unit * np.concatenate([part[2] for part in parts]) @ turn.T
    classes, numbers = (np.concatenate([np.full(len(part[2]), part[which], np.int32) for part in parts]) for which in (0, 1))
    sure = np.full(len(points), 0.6, np.float32)
    sets = [LabelledElements(Elements("points", points), ElementLabels(classes, numbers, sure))]
    found = find_instances(sets, CLASSES, frame, mend=False)
    return GraphScene(found.instances, CLASSES, frame, "metric", points, view="front.png")


@dataclass(frozen=True)
class Told:
    """A network that says what it was told to say, and remembers what it was asked."""

    probabilities: np.ndarray | None
    score: float = 0.9
    class_names: tuple[str, ...] = ("sofa", "light", "bed")
    predicates: tuple[str, ...] = ("lighting", "left")
    name: str = "told"
    asked: list[np.ndarray] | None = None

    def answer(
        self, points_in_upright: Sequence[np.ndarray], names: Sequence[str], confidences: Sequence[float], pairs: np.ndarray
    ) -> NetworkAnswer:
        if self.asked is not None:
            self.asked.extend(points_in_upright)
        scores = np.zeros((len(pairs), len(self.predicates)), dtype=np.float32)
        scores[(pairs == [2, 1]).all(axis=1)] = self.score
        return NetworkAnswer(self.probabilities, scores)


def sentences(graph) -> set[tuple[int, str, int]]:
    return {(entry.subject, entry.predicate, entry.object) for entry in graph.relations}


def test_a_graph_says_what_geometry_says():
    graph = build_graph(scene())
    assert [(thing.object_id, thing.name, thing.room_id) for thing in graph.objects] == [
        (3, "floor", 0),
        (5, "couch", 0),
        (8, "lamp", 0),
        (9, "thing", 0),
    ]
    said = sentences(graph)
    assert {(5, "standing on", 3), (8, "standing on", 3), (9, "standing on", 5), (8, "right", 5), (5, "left", 8)} <= said
    directions = [entry for entry in graph.relations if entry.predicate == "right"]
    assert all(entry.seen_from == "front.png" and entry.source == "geometry" for entry in directions)
    assert all(entry.seen_from is None for entry in graph.relations if entry.predicate == "standing on")
    assert graph.predicates == RULE_PREDICATES and graph.view == "front.png"


def test_graphs_of_a_turned_larger_scene_are_the_same():
    """Up is +Y of the world, which has half a metre to the unit."""
    turn = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    frame = UprightFrame.of_up(turn @ np.array([0.0, 0.0, 1.0]), 2.0)
    np.testing.assert_allclose(frame.up_in_world, [0.0, 1.0, 0.0])
    yaw = frame.yaw_of(turn @ np.array([0.0, 1.0, 0.0]))
    assert yaw is not None
    first, second = build_graph(scene()), build_graph(replace(scene(frame, turn, 2.0), view_yaw=yaw))
    assert sentences(first) == sentences(second)
    for one, other in zip(first.objects, second.objects):
        np.testing.assert_allclose(2.0 * turn @ one.center_in_world, other.center_in_world, atol=1e-9)
        np.testing.assert_allclose(2.0 * one.box.size, other.box.size, atol=1e-6)
    np.testing.assert_allclose(second.rooms[0].floor_area, 4.0 * first.rooms[0].floor_area, rtol=0.02)


def test_frames_there_and_back():
    rng = np.random.default_rng(0)
    up = rng.normal(size=3)
    frame, points = UprightFrame.of_up(up / np.linalg.norm(up), 3.0), rng.normal(size=(5, 3))
    np.testing.assert_allclose(frame.world(frame.upright(points)), points, atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(frame.upright_from_world), 1.0)
    np.testing.assert_allclose(frame.upright(3.0 * up[None] / np.linalg.norm(up)), [[0.0, 0.0, 1.0]], atol=1e-12)
    assert np.array_equal(Z_UP.upright_from_world, np.eye(3))
    assert Z_UP.yaw_of(np.array([-1.0, 0.0, -0.3])) == pytest.approx(np.pi / 2)
    assert Z_UP.yaw_of(np.array([0.01, 0.0, -1.0])) is None


def test_whose_left_it_is():
    own = build_graph(scene(), GraphSettings(seen_from="subject"))
    assert own.view is None
    assert {entry.seen_from for entry in own.relations if entry.predicate in ("left", "right", "front", "behind")} == {"subject"}
    turned = build_graph(replace(scene(), view_yaw=np.pi))
    assert (8, "left", 5) in sentences(turned)


def test_a_network_adds_what_rules_do_not_know():
    asked: list[np.ndarray] = []
    graph = build_graph(replace(scene(), view_yaw=np.pi / 2), network=Told(None, asked=asked))
    (lighting,) = [entry for entry in graph.relations if entry.source == "network"]
    assert (lighting.subject, lighting.predicate, lighting.object, lighting.score) == (8, "lighting", 5, 0.9)
    assert graph.predicates == (*RULE_PREDICATES, "lighting")
    assert graph.provenance["network"] == "told"
    # The view looks along −X; for the network that is +Y, so what lay at +X is behind it, at −Y.
    np.testing.assert_allclose(asked[2].mean(axis=0), [0.1, -1.3, 0.7], atol=0.05)
    assert not [e for e in build_graph(scene(), network=Told(None, score=0.4)).relations if e.source == "network"]


@pytest.mark.parametrize(
    ("sofa", "lamp", "counts"),
    [
        ([0.9, 0.05, 0.05], [0.05, 0.9, 0.05], True),  # light is lamp
        ([0.5, 0.25, 0.25], [0.0, 0.5, 0.5], True),
        ([0.9, 0.05, 0.05], [0.3, 0.4, 0.3], False),
        ([0.3, 0.3, 0.4], [0.05, 0.9, 0.05], False),
    ],
)
def test_relations_of_things_that_the_network_takes_for_others_do_not_count(sofa: list[float], lamp: list[float], counts: bool):
    told = np.array([[0.4, 0.3, 0.3], sofa, lamp, [0.4, 0.3, 0.3]], dtype=np.float32)
    built = scene()
    sure = replace(built, instances=tuple(replace(each, confidence=0.9) for each in built.instances))
    graph = build_graph(sure, network=Told(told))
    assert [entry.predicate for entry in graph.relations if entry.source == "network"] == ["lighting"] * counts
    strange = replace(sure, class_names=("floor", "couch", "a thing of glass", "thing"))
    assert not [entry for entry in build_graph(strange, network=Told(told)).relations if entry.source == "network"]


def test_names_of_labels_and_of_a_network_multiply():
    """Sofa is couch, light is lamp; the rest counts as the network's average class."""
    told = np.array([[0.2, 0.2, 0.6], [0.9, 0.05, 0.05], [0.98, 0.01, 0.01], [0.1, 0.8, 0.1]], dtype=np.float32)
    network = Told(told)
    built = scene()
    classes, posterior = fused_names(built, network, network.answer([], [], [], np.zeros((0, 2), dtype=np.int64)))
    labels = np.full((4, 4), 0.4 / 3)
    labels[np.arange(4), np.arange(4)] = 0.6
    expected = labels * np.stack([np.full(4, 1 / 3), told[:, 0], told[:, 1], np.full(4, 1 / 3)], axis=1)
    expected = 0.5 * (labels + expected / expected.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(posterior, expected, rtol=1e-5)
    assert classes.tolist() == [0, 1, 1, 3]
    graph = build_graph(built, network=network)
    assert graph.by_id[8].name == "couch" and graph.by_id[8].names[0][0] == "couch"
    assert graph.by_id[8].confidence == pytest.approx(posterior[2, 1])
    assert build_graph(built).by_id[8].names[0] == ("lamp", pytest.approx(0.6))


def test_names_that_labels_are_sure_of_stay():
    told = np.array([[0.9, 0.05, 0.05]] * 4, dtype=np.float32)
    network, built = Told(told), scene()
    sure = replace(built, instances=tuple(replace(each, confidence=0.7) for each in built.instances))
    said = network.answer([], [], [], np.zeros((0, 2), dtype=np.int64))
    classes, posterior = fused_names(sure, network, said)
    assert classes.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(posterior, fused_names(sure, None, None)[1])
    doubted = replace(built.instances[2], confidence=0.5)
    one = replace(built, instances=(*sure.instances[:2], doubted, sure.instances[3]))
    assert fused_names(one, network, said)[0].tolist() == [0, 1, 1, 3], "each thing is asked about on its own"


def test_a_network_of_the_wrong_size_is_refused():
    @dataclass(frozen=True)
    class Short(Told):
        def answer(self, *asked: object) -> NetworkAnswer:
            return NetworkAnswer(None, np.zeros((1, 2), dtype=np.float32))

    with pytest.raises(ShapeError, match="predicate_scores"):
        build_graph(scene(), network=Short(None))


def test_a_scene_of_nothing_is_a_graph_of_nothing():
    graph = build_graph(GraphScene((), CLASSES, Z_UP, "metric", np.zeros((0, 3))), network=Told(None))
    assert graph.objects == () and graph.relations == () and graph.rooms == ()


# -------------------------------------------------------------------------------------------------------------- photographs


def camera_at(x: float, name: str) -> SceneCamera:
    """Looks along +Y from y = −3; the picture is 64 × 48 pixels."""
    axes = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = axes
    pose[:3, 3] = -axes @ torch.tensor([x, -3.0, 0.0], dtype=torch.float64)
    K = torch.tensor([[60.0, 0.0, 32.0], [0.0, 60.0, 24.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    return SceneCamera(name, Cameras(camera_from_world=pose, K=K, width=64, height=48), "train")


def nothing() -> Gaussians:
    return Gaussians(
        torch.zeros(0, 3), torch.zeros(0, 3), torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, 1, 3), torch.zeros(0, 0, 3)
    )


def test_the_best_photograph_shows_all_of_a_thing_and_large():
    ball, hidden, beside = (
        cloud((0.0, 0.0, 0.0), (1.0, 0.1, 1.0)),
        cloud((0.0, 2.0, 0.0), (0.5, 0.1, 0.5)),
        cloud((4.0, 0.0, 0.0), (0.5, 0.1, 0.5)),
    )
    cameras = [camera_at(0.0, "middle"), camera_at(4.0, "right"), camera_at(1.4, "edge"), camera_at(90.0, "away")]
    shown = shown_things([ball, hidden, beside], cameras, nothing(), "metric")
    np.testing.assert_allclose(shown.shares[:, 0], [1.0, 0.0, 0.0])  # what is behind the ball is not seen
    assert shown.shares[2, 1] == 1.0 and shown.shares[1, 2] > 0.3
    assert 0.0 < shown.shares[0, 2] < 1.0
    assert shown.best(0) == (0, 2) and shown.best(2) == (1,)
    assert shown.best(0, most=1) == (0,)
    assert shown.fullest([0, 1, 2, 3]) == 2 and shown.fullest([1, 0]) == 1 and shown.fullest([]) is None


def test_all_of_a_thing_is_better_than_a_large_half_of_it():
    shown = ShownThings(np.array([[0.4, 1.0, 0.05]]), np.array([[0.2, 0.1, 0.9]]))
    assert shown.best(0) == (1, 0)


def test_splats_hide_what_is_behind_them():
    """A wall of splats at y = −1 before the left half of the picture."""
    across, up = torch.meshgrid(torch.arange(-3.0, -0.1, 0.1), torch.arange(-2.0, 2.0, 0.1), indexing="ij")
    means = torch.stack([across.flatten(), torch.full((across.numel(),), -1.0), up.flatten()], dim=1)
    count = len(means)
    quats = torch.tensor([[1.0, 0.0, 0.0, 0.0]]).repeat(count, 1)
    wall = Gaussians(
        means, torch.full((count, 3), -2.5), quats, torch.full((count,), 6.0), torch.zeros(count, 1, 3), torch.zeros(count, 0, 3)
    )
    left = cloud((-0.8, 0.0, 0.0), (0.4, 0.1, 0.4))
    shown = shown_things([left], [camera_at(0.0, "a")], wall, "metric")
    assert shown.shares[0, 0] == 0.0
    assert shown_things([left], [camera_at(0.0, "a")], nothing(), "metric").shares[0, 0] == 1.0


def test_views_of_nothing():
    empty = shown_things([], [camera_at(0.0, "a")], nothing(), "metric")
    assert isinstance(empty, ShownThings) and empty.shares.shape == (0, 1)
    assert shown_things([cloud((0, 0, 0), (1, 1, 1))], [], nothing(), "metric").best(0) == ()

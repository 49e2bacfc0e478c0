"""Students and their oracle: what answers may depend on, and what they must not."""

from dataclasses import replace

import pytest
import torch
from tests.support.graph_batches import SHAPES, inputs_of, pairs_of, stirred, stirred_student

from scenewise.errors import ConventionError
from scenewise.networks.graphs.inputs import GraphInputs
from scenewise.networks.graphs.oracle import GraphOracle, ImageAdapter, OracleShape, run_both
from scenewise.networks.graphs.students import GraphLogits, GraphShape, build_student, graph_layer

KINDS = tuple(SHAPES)
DIM = 10


def pictures_of(count: int, seed: int = 3) -> torch.Tensor:
    return torch.randn(count, DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def stirred_oracle(kind: str, **changes) -> GraphOracle:
    torch.manual_seed(11)
    oracle = stirred(GraphOracle(SHAPES[kind], replace(OracleShape(image_dim=DIM, text_dim=6), **changes)), 2)
    assert isinstance(oracle, GraphOracle)
    return oracle


def joined(first: GraphInputs, second: GraphInputs) -> GraphInputs:
    return GraphInputs(
        torch.cat([first.points, second.points]),
        torch.cat([first.edges, second.edges + len(first.points)], dim=1),
        torch.cat([first.scans, second.scans + 1 + int(first.scans.max())]),
    )


def both_answers(kind: str, inputs: GraphInputs, pictures: torch.Tensor, **changes) -> tuple[GraphLogits, GraphLogits]:
    with torch.no_grad():
        found = run_both(stirred_student(kind), stirred_oracle(kind, **changes), inputs, pictures)
    return found.student, found.oracle


def differ(first: GraphLogits, second: GraphLogits) -> float:
    parts = ((first.classes, second.classes), (first.predicates, second.predicates))
    return max(float((a - b).abs().max()) for a, b in parts if a.numel())


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_of_things_and_pairs_does_not_matter(kind: str) -> None:
    inputs, pictures = inputs_of((4, 3)), pictures_of(7)
    place = torch.tensor([5, 0, 6, 3, 1, 2, 4])  # new number of each thing: the scans are mixed up too
    order, rows = torch.argsort(place), torch.randperm(18, generator=torch.Generator().manual_seed(0))
    moved = GraphInputs(inputs.points[order], place[inputs.edges[:, rows]], inputs.scans[order])
    for before, after in zip(both_answers(kind, inputs, pictures), both_answers(kind, moved, pictures[order]), strict=True):
        assert differ(GraphLogits(before.classes[order], before.predicates[rows]), after) < 1e-9
        assert float((before.classes[0] - before.classes[1]).abs().max()) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_scan_is_answered_alike_whatever_else_is_in_the_batch(kind: str) -> None:
    own, other = inputs_of((4,)), inputs_of((5, 1), seed=7)
    pictures, others = pictures_of(4), pictures_of(6, seed=8)
    alone = both_answers(kind, own, pictures)
    for batch, all_pictures, things, pairs in (
        (joined(own, other), torch.cat([pictures, others]), slice(0, 4), slice(0, 12)),
        (joined(other, own), torch.cat([others, pictures]), slice(6, 10), slice(20, 32)),
    ):
        found = both_answers(kind, batch, all_pictures)
        for one, several in zip(alone, found, strict=True):
            assert differ(one, GraphLogits(several.classes[things], several.predicates[pairs])) < 1e-9
    # The released code lets the pairs of all scans see each other; the student's own answers are safe even then.
    alone, found = (
        both_answers(kind, inputs, each, mask_edges=False)
        for inputs, each in ((own, pictures), (joined(own, other), torch.cat([pictures, others])))
    )
    cut = [GraphLogits(each.classes[:4], each.predicates[:12]) for each in found]
    assert differ(alone[0], cut[0]) < 1e-9 and differ(alone[1], cut[1]) > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_who_is_subject_and_who_object_matters(kind: str) -> None:
    inputs = inputs_of((2,))
    one_way = GraphInputs(inputs.points, torch.tensor([[0], [1]]), inputs.scans)
    other_way = GraphInputs(inputs.points, torch.tensor([[1], [0]]), inputs.scans)
    for there, back in zip(
        both_answers(kind, one_way, pictures_of(2)), both_answers(kind, other_way, pictures_of(2)), strict=True
    ):
        assert there.predicates.shape == (1, 4) and float((there.predicates - back.predicates).abs().max()) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_small_flat_and_doubled_scans_give_finite_numbers_and_gradients(kind: str) -> None:
    single, pair = inputs_of((1,)), inputs_of((2,))
    none = torch.zeros(2, 0, dtype=torch.int64)
    flat = pair.points.clone()
    flat[0, :, 2], flat[1] = 0.5, flat[1, :1]  # a sheet, and a thing that is one point nine times
    same = pair.points[:1].expand(2, -1, -1)  # two things on one place
    for inputs in (
        single,
        GraphInputs(pair.points, none, pair.scans),
        GraphInputs(flat, pair.edges, pair.scans),
        GraphInputs(same, pair.edges, pair.scans),
        GraphInputs(pair.points[:, :1], pair.edges, pair.scans),
    ):
        student, oracle = stirred_student(kind), stirred_oracle(kind)
        both = run_both(student, oracle, inputs, pictures_of(len(inputs.points)))
        for said in (both.student, both.oracle):
            assert said.classes.isfinite().all() and said.predicates.isfinite().all()
            assert said.predicates.shape == (inputs.edges.shape[1], 4)
        total = sum(said.classes.square().sum() + said.predicates.square().sum() for said in (both.student, both.oracle))
        (total + both.mimicked.sum() + both.sentences.sum()).backward()
        for network in (student, oracle):
            assert all(each.grad.isfinite().all() for each in network.parameters() if each.grad is not None)


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_student_says_alone_is_what_it_says_beside_an_oracle(kind: str) -> None:
    student, inputs = stirred_student(kind), inputs_of((4, 2))
    with torch.no_grad():
        alone = student(inputs)
        for pictures in (pictures_of(6), pictures_of(6, seed=4)):
            beside = run_both(student, stirred_oracle(kind), inputs, pictures).student
            assert torch.equal(alone.classes, beside.classes) and torch.equal(alone.predicates, beside.predicates)
        oracle = [run_both(student, stirred_oracle(kind), inputs, pictures_of(6, seed=s)).oracle for s in (3, 4)]
    assert differ(oracle[0], oracle[1]) > 1e-3, "the oracle does look at the pictures"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("things", "pairs"), [(True, False), (False, True), (False, False)])
def test_what_the_oracle_gets_wrong_reaches_the_student_through_what_it_reads(kind: str, things: bool, pairs: bool) -> None:
    student, oracle = stirred_student(kind), stirred_oracle(kind, reads_nodes=things, reads_edges=pairs)
    both = run_both(student, oracle, inputs_of((3, 2)), pictures_of(5))
    (both.oracle.classes.square().mean() + both.oracle.predicates.square().mean() + both.sentences[:, 0].sum()).backward()
    moved = {name for name, each in student.named_parameters() if each.grad is not None and bool(each.grad.any())}
    assert bool(moved) == (things or pairs)
    assert not any(name.startswith(("classifier", "predicates")) for name in moved)
    if things:
        assert "nodes.backbone.layers.0.weight" in moved or "nodes.backbone.own.0.weight" in moved
    if pairs:
        assert any(name.startswith("pairs") for name in moved)


def test_the_mimicking_channels_reach_the_points_alone() -> None:
    student, oracle = stirred_student("vl_sat"), stirred_oracle("vl_sat", reads_nodes=False, reads_edges=False)
    run_both(student, oracle, inputs_of((3,)), pictures_of(3)).mimicked.sum().backward()
    moved = {name.split(".")[0] for name, each in student.named_parameters() if each.grad is not None}
    assert moved == {"nodes"}


def test_what_mimics_is_a_layer_of_what_enters_the_graph_or_the_first_pooled_channels() -> None:
    first = stirred_student("vl_sat").encode(inputs_of((3,)))
    oracle = stirred_oracle("vl_sat")
    assert torch.equal(oracle.mimicked(first), oracle.projection(first.nodes)) and oracle.mimicked(first).shape == (3, DIM)
    plain = stirred_oracle("vl_sat", projects=False)
    assert torch.equal(plain.mimicked(first), first.pooled[:, :DIM]) and plain.projection is None
    assert stirred_oracle("vl_sat", image_dim=None).mimicked(first) is None


def test_an_oracle_without_pictures_begins_with_points() -> None:
    student, oracle = stirred_student("vl_sat"), stirred_oracle("vl_sat", image_dim=None)
    inputs = inputs_of((3,))
    moved = GraphInputs(inputs.points * torch.tensor([1.0, 1.0, 2.0]), inputs.edges, inputs.scans)
    with torch.no_grad():
        first, second = (run_both(student, oracle, each, None) for each in (inputs, moved))
    assert first.mimicked is None and differ(first.oracle, second.oracle) > 1e-3
    assert torch.allclose(first.sentences.norm(dim=1), torch.ones(6, dtype=torch.float64))


def test_the_adapter_is_half_its_input() -> None:
    torch.manual_seed(0)
    adapter, features = ImageAdapter(6).double(), torch.randn(3, 6, dtype=torch.float64)
    assert torch.allclose(adapter(features), 0.5 * features + 0.5 * adapter.layers(features))
    assert [tuple(each.shape) for each in adapter.parameters()] == [(3, 6), (3,), (6, 3), (6,)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_is_the_same_for_the_same_seed_and_leaves_others_their_numbers(kind: str) -> None:
    before = torch.random.get_rng_state()
    first, again, other = (build_student(SHAPES[kind], seed).state_dict() for seed in (4, 4, 5))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_kinds_differ_in_what_they_are_made_of() -> None:
    layers = {kind: type(graph_layer(SHAPES[kind])).__name__ for kind in KINDS}
    assert layers == {
        "vl_sat": "FeatureWiseAttention",
        "sgfn": "FeatureWiseAttention",
        "sggpoint": "EdgeGcn",
        "sgpn": "TripletLayer",
    }
    counts = {kind: len(build_student(SHAPES[kind], 0).layers) for kind in KINDS}
    assert counts == {"vl_sat": 2, "sgfn": 2, "sggpoint": 1, "sgpn": 2}
    assert [len(build_student(SHAPES[kind], 0).attention) for kind in KINDS] == [2, 0, 0, 0]


def test_paper_s_sizes() -> None:
    assert GraphShape(width=512).pooled == 768, "channels of the backbone in VL-SAT"
    assert pairs_of((2, 1, 2)).tolist() == [[0, 1, 3, 4], [1, 0, 4, 3]]


@pytest.mark.errors
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": 0}, "classes: expected at least 1"),
        ({"width": 24, "heads": 8}, "width: expected 16 or more, a multiple of 16, got 24"),
        ({"width": 8, "heads": 2}, "width: expected 16 or more"),
        ({"points": -1}, "points: expected at least 1"),
    ],
)
def test_sizes_that_cannot_be(changes: dict, message: str) -> None:
    with pytest.raises(ConventionError, match=message):
        replace(SHAPES["vl_sat"], **changes)

"""The decoder of neural anchors: every backend against a case by hand, float64, and what it promises where there is nothing."""

import math
from dataclasses import replace

import pytest
import torch
from tests.support.anchor_scenarios import HEADS, LEAVES, OUTPUTS, map_heads, random_anchors, run, to_double, with_gradients
from tests.support.splat_scenarios import relative_error

from scenewise.errors import ResourceError, ShapeError
from scenewise.geometry.spherical_harmonics import Y00
from scenewise.kernels.anchor_decoder import (
    AnchorInput,
    DecoderHeads,
    backend_for,
    decode,
    head_parameters,
    hidden_units,
)
from scenewise.kernels.native import library

HAS_NATIVE = library.load() is not None
needs_native = pytest.mark.skipif(not HAS_NATIVE, reason="the compiled library was not built")
BACKENDS = ["reference", pytest.param("native", marks=needs_native)]


@pytest.fixture
def dirty_memory(monkeypatch):
    """What torch gives as empty is full of NaN, or of a large number: whatever is not written shows."""
    empty, empty_like = torch.empty, torch.empty_like
    dirty = lambda tensor: tensor.fill_(float("nan") if tensor.is_floating_point() else 2**62)  # noqa: E731
    monkeypatch.setattr(torch, "empty", lambda *size, **options: dirty(empty(*size, **options)))
    monkeypatch.setattr(torch, "empty_like", lambda tensor: dirty(empty_like(tensor)))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_child_by_hand(backend):
    # From (1, 3, 1) to (3, 6, 7): direction (2, 3, 6) / 7.  A head: weights of (feature, x, y, z), bias, weights of the outputs,
    # their biases.  The second of two anchors is decoded.
    opacity = [0.5, 1.4, 0.7, -0.35, 0.1, 0.4, -0.1]  # hidden 1 + 0.4 + 0.3 − 0.3 + 0.1 = 1.5, output 0.5
    color = [-0.25, 0.7, 1.4, 0.7, 0.2, 2.0, -1.0, 0.5, 0.0, 0.3, -0.7]  # hidden −0.5 + 0.2 + 0.6 + 0.6 + 0.2 = 1.1
    # hidden 1 − 0.2 + 0.3 − 0.6 − 0.3 = 0.2
    covariance = [
        0.5,
        -0.7,
        0.7,
        -0.7,
        -0.3,
        *[1.0, -2.0, 3.0],
        *[5.0, -5.0, 10.0, 0.0],
        *[0.1, 0.2, 0.3],
        *[0.0, 2.0, 0.0, -4.0],
    ]
    anchors = AnchorInput(
        positions=torch.tensor([[9.0, 9.0, 9.0], [3.0, 6.0, 7.0]]),
        offsets=torch.tensor([[[9.0, 9.0, 9.0]], [[1.0, -2.0, 0.5]]]),
        features=torch.tensor([[9.0], [2.0]]),
        log_scales=torch.tensor([[9.0] * 6, [math.log(2), math.log(3), math.log(4), -1.0, -2.0, -3.0]]),
        rows=torch.tensor([1]),
        center=torch.tensor([1.0, 3.0, 1.0]),
        heads=DecoderHeads(torch.tensor(opacity), torch.tensor(color), torch.tensor(covariance)),
    )
    children = decode(anchors, backend)
    close = lambda got, want: torch.testing.assert_close(got, torch.tensor(want), rtol=2e-6, atol=2e-6)  # noqa: E731
    close(children.means, [[3 + 2.0, 6 - 6.0, 7 + 2.0]])
    close(children.opacities, [[math.tanh(0.5)]])
    close(children.logit_opacities, [math.log((math.e - 1) / 2)])
    close(children.sh0, [[[(sigmoid(x) - 0.5) / Y00 for x in (2.2, -0.8, -0.15)]]])
    close(children.log_scales, [[-1 + math.log(sigmoid(0.3)), -2 + math.log(sigmoid(-0.2)), -3 + math.log(sigmoid(0.9))]])
    close(children.quats, [[1 / math.sqrt(22), 1 / math.sqrt(22), 2 / math.sqrt(22), -4 / math.sqrt(22)]])
    assert children.row_of.tolist() == [1] and children.slot_of.tolist() == [0] and children.differences is None
    # A teacher with other biases of the outputs: colours all one higher before the sigmoid, quaternions turned round.
    moved = torch.tensor(color) + torch.tensor([0.0] * 8 + [1.0] * 3)
    turned = torch.tensor(covariance) * torch.tensor([1.0] * 8 + [-1.0] * 4 + [1.0] * 3 + [-1.0] * 4)
    other = DecoderHeads(torch.tensor(opacity) * torch.tensor([1.0] * 6 + [-3.0]), moved, turned)
    differences = decode(replace(anchors, teacher=other), backend).differences
    shifts = [(sigmoid(x) - sigmoid(x + 1)) ** 2 for x in (2.2, -0.8, -0.15)]
    close(differences, [sum(shifts) / 3, 4 / 4, 0.0, (math.tanh(0.5) - math.tanh(0.9)) ** 2])


CASES = [
    {"n": 100, "visible": 70},
    {"n": 400, "visible": 230, "teacher": True},
    {"n": 400, "visible": 230, "teacher": True, "passes": True},
    {"n": 60, "visible": 60, "slots": 3, "channels": 5, "hidden": 7, "teacher": True, "passes": True},
    {"n": 40, "visible": 17, "slots": 17, "channels": 33, "hidden": 40, "teacher": True, "passes": True},
    {"n": 90, "visible": 16, "slots": 16, "channels": 16, "hidden": 16, "teacher": True},
    {"n": 50, "visible": 33, "slots": 1, "channels": 0, "hidden": 2, "teacher": True, "passes": True},
    {"n": 9, "visible": 1, "slots": 4, "channels": 1, "hidden": 1, "seed": 5},
    {"n": 700, "visible": 700, "slots": 2, "channels": 3, "hidden": 5},
]


@needs_native
@pytest.mark.parametrize("case", CASES)
def test_native_agrees_with_float64(dirty_memory, case):
    anchors = random_anchors(**case)
    want_children, want = run(to_double(anchors), "reference")
    assert len(want_children.means) > 0
    assert float(want_children.opacities.abs().min()) > 2e-6  # else a child may be seen by one and not by the other
    got_children, got = run(anchors, "native")
    assert torch.equal(got_children.row_of, want_children.row_of) and torch.equal(got_children.slot_of, want_children.slot_of)
    for name in (*OUTPUTS, "opacities"):
        if name != "differences" or anchors.teacher is not None:
            assert relative_error(getattr(got_children, name), getattr(want_children, name)) < 3e-6, name
    for name, value in want.items():
        assert relative_error(got[name], value) < 1e-5, name


@needs_native
@pytest.mark.parametrize("output", OUTPUTS)
def test_native_gradients_of_one_output_alone(output):
    anchors = random_anchors(150, 100, slots=4, channels=6, hidden=8, teacher=True, passes=True, seed=3)
    _, want = run(to_double(anchors), "reference", (output,))
    _, got = run(anchors, "native", (output,))
    for name, value in want.items():
        assert relative_error(got[name], value) < 1e-5, name


@needs_native
def test_native_gradients_of_few_anchors_among_many(dirty_memory):
    # Gaps that are cleared apart: before the first, between two chunks, within one, and after the last.
    anchors = random_anchors(30_000, 0, slots=2, channels=3, hidden=4)
    rows = [*range(4000, 4100), *range(7000, 7150), 9800, *range(21_000, 21_300)]
    anchors = replace(anchors, rows=torch.tensor(rows))
    _, want = run(to_double(anchors), "reference")
    _, got = run(anchors, "native")
    for name, value in want.items():
        assert relative_error(got[name], value) < 1e-5, name
    assert float(got["features"].abs().sum(dim=1).nonzero().max()) == 21_299


@pytest.mark.parametrize("passes", [None, True])
def test_reference_gradients_match_finite_differences(passes):
    anchors = random_anchors(4, 3, slots=2, channels=2, hidden=3, teacher=passes is not None, passes=passes is True, seed=4)
    anchors = to_double(anchors)
    children = decode(anchors, "reference")
    assert len(children.means) > 2 and float(children.opacities.abs().min()) > 0.01

    def outputs(*values):
        arrays, weights = dict(zip(LEAVES, values[:3], strict=True)), DecoderHeads(*values[3:])
        decoded = decode(replace(anchors, **arrays, heads=weights), "reference")
        return tuple(value for name in OUTPUTS if (value := getattr(decoded, name)) is not None)

    _, leaves = with_gradients(anchors)
    assert torch.autograd.gradcheck(outputs, list(leaves.values()), fast_mode=True)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("passes", [False, True])
def test_a_teacher_passes_gradients_only_where_asked(backend, passes):
    # With the same opacity head, decoding with the teacher in the pupil's place shows the same children.
    anchors = random_anchors(80, 60, slots=5, channels=4, hidden=6, teacher=True, passes=passes, seed=6)
    anchors = to_double(anchors) if backend == "reference" else anchors
    anchors = replace(anchors, teacher=replace(anchors.teacher, opacity=anchors.heads.opacity))
    anchors, leaves = with_gradients(anchors)
    weights = torch.tensor([3.0, 2.0, 50.0, 1.0], dtype=anchors.features.dtype)
    (decode(anchors, backend).differences * weights).sum().backward()
    got = {name: leaf.grad.clone() for name, leaf in leaves.items() if leaf.grad is not None}
    for leaf in leaves.values():
        leaf.grad = None

    own = decode(replace(anchors, teacher=None), "reference")
    seen = anchors if passes else replace(anchors, **{name: getattr(anchors, name).detach() for name in LEAVES})
    other = decode(replace(seen, heads=anchors.teacher, teacher=None), "reference")
    squares = [
        ((own.sh0 - other.sh0) * Y00).square().mean(),
        (own.quats - other.quats).square().mean(),
        (own.log_scales.exp() - other.log_scales.exp()).square().mean(),
    ]
    (torch.stack(squares) * weights[:3]).sum().backward()
    for name in ("features", "log_scales", "color", "covariance"):
        assert relative_error(got[name], leaves[name].grad) < 1e-5, name
    assert float(got["log_scales"][:, 3:].abs().max()) > 0  # scales are e^s·sigmoid: their difference moves with the anchor's


@pytest.mark.parametrize("backend", BACKENDS)
def test_heads_of_a_teacher_get_no_gradient(backend):
    anchors = random_anchors(20, 10, slots=3, channels=4, hidden=5, teacher=True, passes=True)
    anchors = replace(anchors, teacher=map_heads(anchors.teacher, lambda head: head.requires_grad_()))
    moving, leaves = with_gradients(anchors)
    decode(moving, backend).differences.sum().backward()
    assert all(getattr(anchors.teacher, name).grad is None for name in HEADS)
    assert all(leaves[name].grad is not None for name in ("features", "log_scales", *HEADS))


@needs_native
def test_bits_do_not_depend_on_threads():
    before, results = library.get_threads(), []
    anchors = random_anchors(1500, 1000, slots=6, channels=16, hidden=16, teacher=True, passes=True)
    try:
        for threads in (1, 2, 3):
            library.set_threads(threads)
            children, gradients = run(anchors, "native")
            outputs = (getattr(children, name).detach() for name in (*OUTPUTS, "row_of", "slot_of", "opacities"))
            results.append([*outputs, *gradients.values()])
    finally:
        library.set_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("visible", [0, 20])
def test_nothing_to_show(dirty_memory, backend, visible):
    anchors = random_anchors(30, visible, slots=3, channels=4, hidden=5, teacher=True, passes=True)
    # The last numbers of a head are the biases of its outputs.
    shut = torch.cat([anchors.heads.opacity[:-3] * 0, torch.full((3,), -1.0)])
    anchors = replace(anchors, heads=replace(anchors.heads, opacity=shut))
    children, gradients = run(anchors, backend)
    assert [len(getattr(children, name)) for name in (*OUTPUTS[:-1], "row_of", "slot_of")] == [0] * 7
    assert children.quats.shape == (0, 4) and children.sh0.shape == (0, 1, 3) and children.opacities.shape == (visible, 3)
    assert children.differences[:3].tolist() == [0.0, 0.0, 0.0]
    assert (float(children.differences[3]) > 0) == (visible > 0)  # opacities are compared whether seen or not
    for name, gradient in gradients.items():
        moves = visible > 0 and name in ("features", "opacity")
        assert bool((gradient != 0).any()) == moves and bool(gradient.isfinite().all()), name


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_bad_anchor_spoils_no_other(backend):
    anchors = random_anchors(60, 50, slots=4, channels=5, hidden=6)
    bad = int(anchors.rows[20])
    features = anchors.features.clone()
    features[bad, 2] = float("nan")
    children = decode(replace(anchors, features=features), backend)
    whole = decode(anchors, backend)
    assert bad not in children.row_of
    for name in OUTPUTS[:-1]:
        assert torch.equal(getattr(children, name), getattr(whole, name)[whole.row_of != bad]), name


@pytest.mark.parametrize("backend", BACKENDS)
def test_faintest_opacity_and_shortest_quaternion(backend):
    # Outputs are their heads' biases.  An opacity below 1e-7 gets that one's logit and no gradient; a quaternion shorter than
    # 1e-12 is divided by that, and its gradient too.  Scales far out: log sigmoid(−90) = −90 and log sigmoid(90) = 0.
    biases = {"opacity": [3e-8, 12.0], "color": [0.0] * 6}
    biases["covariance"] = [*[-90.0, 90.0, 0.0], *[1e-13, 0.0, 0.0, 0.0], *[0.0] * 3, *[3e18, 0.0, -4e18, 0.0]]
    anchors = random_anchors(1, 1, slots=2, channels=1, hidden=1)
    flat = {name: torch.cat([getattr(anchors.heads, name)[: -len(b)] * 0, torch.tensor(b)]) for name, b in biases.items()}
    anchors, leaves = with_gradients(replace(anchors, heads=DecoderHeads(**flat)))
    children = decode(anchors, backend)
    expected = torch.tensor([math.log(1e-7), 24 - math.log(2)])
    torch.testing.assert_close(children.logit_opacities.detach(), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(children.quats.detach(), torch.tensor([[0.1, 0, 0, 0], [0.6, 0, -0.8, 0]]), rtol=1e-6, atol=0)
    shifts = children.log_scales.detach() - anchors.log_scales.detach()[:, 3:]
    torch.testing.assert_close(shifts[0], torch.tensor([-90.0, 0.0, -math.log(2)]), rtol=1e-6, atol=1e-6)
    (children.logit_opacities.sum() + children.quats.sum() + children.log_scales.sum()).backward()
    assert leaves["opacity"].grad[-2:].tolist() == pytest.approx([0.0, 2.0])
    gradient = leaves["covariance"].grad[-14:].tolist()
    assert gradient[:7] == pytest.approx([1.0, 0.0, 0.5, *[1e12] * 4], rel=1e-5, abs=1e-30)
    # 1/5e18 of (1, 1, 1, 1) without its part along the quaternion, −0.2 of it
    assert gradient[10:] == pytest.approx([1.12 / 5e18, 1 / 5e18, 0.84 / 5e18, 1 / 5e18], rel=1e-5)


@needs_native
def test_native_without_gradients_and_with_frozen_heads():
    anchors = random_anchors(90, 70, slots=4, channels=5, hidden=6, teacher=True)
    # Views that are not contiguous are read as they are meant.
    anchors = replace(anchors, features=torch.stack([anchors.features, -anchors.features], dim=2)[..., 0])
    moving, leaves = with_gradients(anchors)
    plain, children = decode(anchors, "native"), decode(moving, "native")
    assert not plain.means.requires_grad and children.means.requires_grad and not children.opacities.requires_grad
    assert all(torch.equal(getattr(plain, name), getattr(children, name)) for name in OUTPUTS)
    children.sh0.sum().backward()
    frozen = replace(moving, heads=map_heads(moving.heads, torch.Tensor.detach))
    gradient, leaves["features"].grad = leaves["features"].grad, None
    decode(frozen, "native").sh0.sum().backward()
    assert torch.equal(leaves["features"].grad, gradient)


@pytest.mark.errors
@pytest.mark.parametrize("backend", BACKENDS)
def test_errors(backend):
    anchors = random_anchors(20, 10, slots=3, channels=4, hidden=5, teacher=True)
    longer = torch.cat([anchors.heads.color, torch.zeros(1)])
    with pytest.raises(ShapeError, match=r"color head: expected 7 inputs, 9 outputs, got 95 numbers"):
        decode(replace(anchors, heads=replace(anchors.heads, color=longer)), backend)
    with pytest.raises(ShapeError, match=r"covariance head: expected 7 inputs, 21 outputs"):
        decode(replace(anchors, teacher=replace(anchors.teacher, covariance=anchors.teacher.color)), backend)
    with pytest.raises(ShapeError, match=r"head of the decoder: expected 7 inputs, 3 outputs"):
        decode(replace(anchors, heads=replace(anchors.heads, opacity=longer)), backend)
    with pytest.raises(ShapeError, match=r"features: expected 20 rows, got 19"):
        decode(replace(anchors, features=anchors.features[1:]), backend)
    for rows in ([3, 3], [5, 2], [-1, 4], [18, 20]):
        with pytest.raises(ShapeError, match=r"rows: expected rising numbers from 0 to below 20"):
            decode(replace(anchors, rows=torch.tensor(rows)), backend)
    assert head_parameters(7, 5, 9) == 94 and hidden_units(94, 7, 9) == 5


@pytest.mark.errors
def test_what_runs_is_said():
    anchors = random_anchors(5, 3, slots=3, channels=4, hidden=5)
    assert backend_for(anchors)[0] == ("native" if HAS_NATIVE else "reference")
    assert backend_for(to_double(anchors)) == ("reference", "the compiled library takes float32 tensors on the CPU")
    with pytest.raises(ResourceError, match=r"got torch.float64 on cpu"):
        decode(to_double(anchors), "native")

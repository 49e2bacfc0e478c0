"""The correlation transformer: eq. 3 of HICL and identities 2 and 4."""

import math

import pytest
import torch
from tests.support.clouds import parameter_count
from torch import nn

from scenewise.errors import ConventionError
from scenewise.networks.correlation import CorrelationTransformer, EquationThree

FORMS = pytest.mark.parametrize("form", ["vit", "paper"])
CLOSE = {"rtol": 1e-8, "atol": 1e-8}


def build(form="vit", dim=24, heads=4, layers=2, spread=0.3, **settings):
    """In float64, with weights large enough that attention is far from uniform."""
    network = CorrelationTransformer(dim, layers=layers, heads=heads, layer_form=form, **settings).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(spread * torch.randn(parameter.shape, dtype=torch.float64, generator=generator))
    return network


def tokens_of(count, dim=24, seed=1):
    return torch.randn(count, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_parameters():
    with torch.device("meta"):
        assert parameter_count(CorrelationTransformer(512)) == 9_457_152  # 9.46 million
        assert parameter_count(CorrelationTransformer(512, layer_form="paper")) == 3_151_872  # 3.15 million


# Identity 2


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("across", [True, False])
def test_paper_layer_is_its_right_hand_side(heads, across):
    network = build("paper", heads=heads, layers=1)
    tokens, scan = tokens_of(11), torch.tensor([0] * 4 + [3] * 7)
    apart = network.taken_apart(tokens, scan, across=across)
    torch.testing.assert_close(network(tokens, scan, across=across), apart.output(), **CLOSE)
    torch.testing.assert_close(apart.weights.sum(-1), torch.ones(heads, 11, dtype=torch.float64))
    assert (apart.weights[:, :4, 4:] == 0).all() != across


def test_paper_layer_by_hand():
    """Two tokens, one head, all from the printed equation with explicit loops."""
    network = build("paper", dim=3, heads=1, layers=1)
    (layer,) = network.layers
    f = tokens_of(2, dim=3)
    q, k, v = ((f @ part.weight.T + part.bias).detach() for part in (layer.query, layer.key, layer.value))
    for m in range(2):
        e = [math.exp(sum(q[m, c] * k[n, c] for c in range(3)) / math.sqrt(3)) for n in range(2)]
        w = [value / sum(e) for value in e]
        f_tilde = f[m] + w[0] * v[0] + w[1] * v[1]
        f_hat = f_tilde + (layer.linear.weight @ f_tilde + layer.linear.bias)
        torch.testing.assert_close(network(f, torch.zeros(2, dtype=torch.int64), across=True)[m], f_hat, **CLOSE)


def test_without_attention_and_w_the_layer_adds_b():
    network = build("paper", layers=1)
    tokens, scan = tokens_of(6), torch.zeros(6, dtype=torch.int64)
    nn.init.zeros_(network.layers[0].linear.weight)
    apart = network.taken_apart(tokens, scan, across=True)
    silent = EquationThree(apart.features, torch.zeros_like(apart.weights), apart.values, apart.bias)
    torch.testing.assert_close(silent.output(), tokens + network.layers[0].linear.bias, **CLOSE)
    # The layer itself, its weights w being made void by v = 0.
    nn.init.zeros_(network.layers[0].value.weight)
    nn.init.zeros_(network.layers[0].value.bias)
    torch.testing.assert_close(network(tokens, scan, across=True), tokens + network.layers[0].linear.bias, **CLOSE)


# Identity 4


@FORMS
def test_one_scan_intra_is_inter(form):
    network, tokens = build(form), tokens_of(9)
    scan = torch.full((9,), 2)
    torch.testing.assert_close(network(tokens, scan, across=False), network(tokens, scan, across=True), **CLOSE)


def naive_with_mask(network, tokens, seen):
    """Every layer written out with a mask and explicit softmax."""

    def attention(q, k, v):
        outputs = []
        for q_h, k_h, v_h in zip(*(part.chunk(layer.heads, dim=-1) for part in (q, k, v)), strict=True):
            scores = q_h @ k_h.T / math.sqrt(q_h.shape[1])
            outputs.append(torch.softmax(scores.masked_fill(~seen, -torch.inf), dim=1) @ v_h)
        return torch.cat(outputs, dim=1)

    for layer in network.layers:
        if hasattr(layer, "qkv"):
            tokens = tokens + layer.out(attention(*layer.qkv(layer.norm1(tokens)).chunk(3, dim=1)))
            tokens = tokens + layer.down(nn.functional.gelu(layer.up(layer.norm2(tokens))))
        else:
            tokens = tokens + attention(layer.query(tokens), layer.key(tokens), layer.value(tokens))
            tokens = tokens + layer.linear(tokens)
    return tokens


@FORMS
@pytest.mark.parametrize(
    "scan", [[0, 0, 0, 0, 1, 1, 1, 1], [0, 1, 1, 1, 1, 4, 4, 4], [2, 0, 2, 1, 0, 2, 2, 0]], ids=["equal", "ragged", "unsorted"]
)
def test_block_diagonal_mask_makes_inter_intra(form, scan):
    network, tokens, scan = build(form), tokens_of(8), torch.tensor(scan)
    same = scan[:, None] == scan[None]
    torch.testing.assert_close(network(tokens, scan, across=False), naive_with_mask(network, tokens, same), **CLOSE)
    everything = naive_with_mask(network, tokens, torch.ones_like(same))
    torch.testing.assert_close(network(tokens, scan, across=True), everything, **CLOSE)
    assert (network(tokens, scan, across=False) - everything).abs().max() > 1e-3


@FORMS
@pytest.mark.parametrize("across", [True, False])
@pytest.mark.parametrize("code", [None, "xyz_fourier"])
def test_permuting_tokens_permutes_the_output(form, across, code):
    network, tokens = build(form, position_code=code), tokens_of(10)
    scan, order = torch.tensor([0] * 4 + [1] * 6), torch.randperm(10, generator=torch.Generator().manual_seed(2))
    positions = tokens_of(10, dim=3, seed=5)
    whole = network(tokens, scan, across=across, positions=positions)
    turned = network(tokens[order], scan[order], across=across, positions=positions[order])
    torch.testing.assert_close(turned, whole[order], **CLOSE)


# Positions


@FORMS
def test_positions_count_relative_to_the_scan(form):
    network, tokens = build(form, position_code="xyz_fourier"), tokens_of(10)
    scan, positions = torch.tensor([0] * 4 + [1] * 6), tokens_of(10, dim=3, seed=5)
    moved = positions + torch.tensor([[3.0, -5.0, 1.0], [0.0, 7.0, 2.0]], dtype=torch.float64)[scan]
    whole = network(tokens, scan, across=True, positions=positions)
    torch.testing.assert_close(network(tokens, scan, across=True, positions=moved), whole, rtol=1e-6, atol=1e-6)
    stretched = network(tokens, scan, across=True, positions=2 * positions)
    assert (stretched - whole).abs().max() > 1e-3


# Training


@FORMS
@pytest.mark.parametrize("lengths", [(5, 5), (3, 7)])
def test_gradients(form, lengths):
    network = build(form, dim=4, heads=2, layers=1, spread=0.2)
    scan = torch.repeat_interleave(torch.arange(2), torch.tensor(lengths))
    tokens = tokens_of(10, dim=4).requires_grad_()
    assert torch.autograd.gradcheck(lambda values: network(values, scan, across=False), (tokens,))


@FORMS
def test_fresh_layers_are_close_to_the_identity_and_train_everywhere(form):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = CorrelationTransformer(32, layer_form=form)
    tokens = tokens_of(20, dim=32).float().requires_grad_()
    scan = torch.tensor([0] * 10 + [1] * 10)
    outputs = network(tokens, scan, across=False)
    assert (outputs - tokens).norm() < 0.5 * tokens.norm()
    (outputs * torch.linspace(-1, 1, outputs.numel()).view_as(outputs)).sum().backward()
    assert tokens.grad is not None and (tokens.grad != 0).all()
    for name, parameter in network.named_parameters():
        # A key's bias shifts all scores of a row alike, which softmax does not see.
        assert "key.bias" in name or (parameter.grad != 0).any(), name
    again = network(tokens, scan, across=False)
    assert torch.equal(outputs, again)


@FORMS
def test_no_tokens(form):
    network = build(form, position_code="xyz_fourier")
    empty = network(tokens_of(0), torch.zeros(0, dtype=torch.int64), across=False, positions=tokens_of(0, dim=3))
    assert empty.shape == (0, 24)


@pytest.mark.errors
def test_promised_errors():
    with pytest.raises(ConventionError, match="heads: expected a divisor of dim = 10, got 4"):
        CorrelationTransformer(10, heads=4)
    network, scan = build("vit", position_code="xyz_fourier"), torch.zeros(3, dtype=torch.int64)
    with pytest.raises(ConventionError, match="positions"):
        network(tokens_of(3), scan, across=True)
    with pytest.raises(ConventionError, match="layer_form: expected 'paper'"):
        network.taken_apart(tokens_of(3), scan, across=True)

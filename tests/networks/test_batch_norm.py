"""Batch norm: torch's where torch works, one row where it does not, and statistics over processes."""

import copy

import pytest
import torch
from torch import nn

from scenewise.networks.batch_norm import BatchNorm, reduce_statistics


def filled(channels=4):
    layer = BatchNorm(channels, momentum=0.3).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for values in (layer.weight, layer.bias, layer.running_mean):
            values.copy_(torch.randn(channels, generator=generator))
        layer.running_var.copy_(torch.rand(channels, generator=generator) + 0.2)
    return layer


def torch_twin(layer, kind):
    twin = kind(layer.channels, momentum=layer.momentum).double()
    twin.load_state_dict({**layer.state_dict(), "num_batches_tracked": torch.tensor(0)})
    return twin


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("reduced", [False, True])
@pytest.mark.parametrize(("shape", "kind"), [((9, 4), nn.BatchNorm1d), ((2, 4, 3, 5), nn.BatchNorm2d)])
def test_equals_torch(shape, kind, reduced, training):
    layer = filled().train(training)
    twin = torch_twin(layer, kind).train(training)
    if reduced:
        reduce_statistics(layer, lambda sums: sums)
    values, residual, gradient = (
        torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(s)) for s in (1, 2, 3)
    )
    inputs = [values.clone().requires_grad_(), values.clone().requires_grad_()]
    ours = layer(inputs[0], residual, relu=True)
    theirs = (twin(inputs[1]) + residual).relu()
    torch.testing.assert_close(ours, theirs)
    (ours * gradient).sum().backward()
    (theirs * gradient).sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    for name in ("weight", "bias"):
        torch.testing.assert_close(getattr(layer, name).grad, getattr(twin, name).grad)
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(layer, name), getattr(twin, name))


@pytest.mark.parametrize("reduced", [False, True])
@pytest.mark.parametrize("shape", [(1, 4), (1, 4, 1, 1), (0, 4)])
def test_one_row_takes_the_running_statistics(shape, reduced):
    layer = filled()
    before = copy.deepcopy(layer.state_dict())
    if reduced:
        reduce_statistics(layer, lambda sums: sums)
    values = torch.randn(shape, dtype=torch.float64)
    trained = layer(values)
    assert all(torch.equal(before[name], values) for name, values in layer.state_dict().items())
    torch.testing.assert_close(trained, layer.eval()(values))


class _TwoProcesses:
    """Both processes' batches at once: a stand-in for summing over ranks, with gradients."""

    def __init__(self):
        self.waiting = []

    def run(self, layers, batches):
        """Runs each layer's forward in a thread; a reduction waits for the other."""
        import threading

        barrier = threading.Barrier(2, timeout=20)
        slots, outputs = [None, None], [None, None]

        def work(rank):
            def reduce(sums):
                slots[rank] = sums
                barrier.wait()
                total = slots[0] + slots[1]
                barrier.wait()
                return total

            layers[rank].reduce = reduce
            outputs[rank] = layers[rank](batches[rank])

        threads = [threading.Thread(target=work, args=(rank,)) for rank in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return outputs


@pytest.mark.parametrize("split", [3, 9, 8])
def test_statistics_over_processes_are_those_of_the_joint_batch(split):
    """Also where a process has no row (9) or one (8)."""
    whole = torch.randn(9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    gradient = torch.randn(9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    joint, layers = filled(), [filled(), filled()]
    leaf, parts = whole.clone().requires_grad_(), [part.clone().requires_grad_() for part in (whole[:split], whole[split:])]
    expected = joint(leaf)
    outputs = _TwoProcesses().run(layers, parts)
    torch.testing.assert_close(torch.cat(outputs), expected)
    (expected * gradient).sum().backward()
    (torch.cat(outputs) * gradient).sum().backward()
    torch.testing.assert_close(torch.cat([part.grad for part in parts]), leaf.grad)
    for layer in layers:
        torch.testing.assert_close(layer.running_mean, joint.running_mean)
        torch.testing.assert_close(layer.running_var, joint.running_var)


def test_reduce_statistics_reaches_every_layer():
    network = nn.Sequential(BatchNorm(2), nn.Sequential(BatchNorm(3), nn.ReLU()))

    def reduce(sums):
        return sums

    assert reduce_statistics(network, reduce) == 2
    assert network[0].reduce is reduce and network[1][0].reduce is reduce
    reduce_statistics(network, None)
    assert network[1][0].reduce is None

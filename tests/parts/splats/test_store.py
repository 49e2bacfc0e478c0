"""The store keeps parameters, moments and records of a row together, whatever is done to the rows."""

import pytest
import torch

from scenewise.errors import ConventionError, ShapeError
from scenewise.parts.splats.adam import FreeParameters
from scenewise.parts.splats.store import ParameterStore

RATES = {"means": 0.1, "colors": 0.2}


def _store(n: int = 6) -> ParameterStore:
    values = torch.arange(n, dtype=torch.float32)
    return ParameterStore(
        {"means": values[:, None].expand(n, 3), "colors": values[:, None, None] * 10.0}, RATES, track_identity=True
    )


def _step_with_gradient_of_identity(store: ParameterStore) -> None:
    """Gives every row a gradient that depends on its identity alone, so that its moments tell who it is."""
    for name in store:
        shape = store[name].shape
        store[name].grad = (store.record("identity").float() + 1.0).view(-1, *[1] * (len(shape) - 1)).expand(shape).clone()
    store.step()


def test_moments_follow_their_rows_through_200_random_operations() -> None:
    generator = torch.Generator().manual_seed(3)
    store = _store(20)
    store.attach("mark", store.record("identity").float() * 7.0)
    first: dict[int, float] = {}  # what the first moment of each identity must be
    for _ in range(200):
        choice = int(torch.randint(0, 5, (), generator=generator))
        n = len(store)
        index = torch.randperm(n, generator=generator)[: 1 + n // 4]
        if choice == 0 and n > 8:
            mask = torch.ones(n, dtype=torch.bool)
            mask[index] = False
            store.select(mask)
        elif choice == 1:
            store.select(torch.randperm(n, generator=generator))
        elif choice == 2 and n < 60:
            store.append({name: store[name].detach()[index] for name in store})
        elif choice == 3 and n < 60:
            parents = store.record("identity")[index]
            store.append({name: store[name].detach()[index] for name in store}, moments="copy", source=index)
            for child, parent in zip(store.record("identity")[n:].tolist(), parents.tolist()):
                first[child] = first.get(parent, 0.0)
            store.record("mark")[n:] = store.record("identity")[n:].float() * 7.0
        elif choice == 4:
            store.replace(index, {name: store[name].detach()[index] + 1.0 for name in store})
            for identity in store.record("identity")[index].tolist():
                first[identity] = 0.0
            assert store.record("mark")[index].eq(0.0).all()
            store.record("mark")[index] = store.record("identity")[index].float() * 7.0
        if choice == 2 and n < 60:
            assert store.record("mark")[n:].eq(0.0).all()
            store.record("mark")[n:] = store.record("identity")[n:].float() * 7.0
        _step_with_gradient_of_identity(store)
        identities = store.record("identity").tolist()
        for identity in identities:
            first[identity] = 0.9 * first.get(identity, 0.0) + 0.1 * (identity + 1.0)
        expected = torch.tensor([first[identity] for identity in identities])
        for name in store:
            moment, second = store.moments(name)
            assert moment.shape == store[name].shape == second.shape
            torch.testing.assert_close(moment.reshape(len(store), -1)[:, 0], expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(store.record("mark"), store.record("identity").float() * 7.0)
        assert len(set(identities)) == len(identities)


def test_step_is_adam_and_consumes_gradients() -> None:
    store = _store(2)
    before = store["means"].detach().clone()
    store["means"].grad = torch.tensor([[1.0, -2.0, 0.0], [3.0, 0.0, 0.5]])
    store.step()
    # The first step of Adam moves every coordinate by the learning rate against the sign of its gradient, however large it is.
    expected = before - 0.1 * torch.tensor([[1.0, -1.0, 0.0], [1.0, 0.0, 1.0]])
    torch.testing.assert_close(store["means"].detach(), expected, rtol=1e-5, atol=1e-6)
    assert store["means"].grad is None
    assert store["colors"].detach()[1].item() == 10.0  # had no gradient


def test_widening_appends_resting_zeros_and_keeps_what_is_there() -> None:
    store = ParameterStore({"shN": torch.ones(2, 3, 3)}, {"shN": 0.5})
    store["shN"].grad = torch.ones(2, 3, 3)
    store.step()
    kept = store["shN"].detach().clone()
    store.widen("shN", 8)
    assert store["shN"].shape == (2, 8, 3)
    assert torch.equal(store["shN"].detach()[:, :3], kept)
    assert store["shN"].detach()[:, 3:].eq(0).all() and store.moments("shN")[0][:, 3:].eq(0).all()
    assert store.moments("shN")[0][:, :3].gt(0).all()


def test_state_makes_another_store_identical() -> None:
    store = _store(5)
    store.attach("seen", torch.arange(5.0), fill=2.0)
    _step_with_gradient_of_identity(store)
    store.set_learning_rate("means", 0.01)
    other = _store(1)
    other.load(store.parameter_tensors(), store.optimizer_tensors(), store.record_tensors())
    for each in (store, other):
        _step_with_gradient_of_identity(each)
        each.append({name: each[name].detach()[:1] for name in each})
    for name in store:
        assert torch.equal(store[name], other[name])
        assert torch.equal(store.moments(name)[1], other.moments(name)[1])
    assert other.record("seen").tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 2.0]
    assert other.record("identity").tolist() == [0, 1, 2, 3, 4, 5]


def test_reset_moments_rests_one_parameter_only() -> None:
    store = _store(3)
    _step_with_gradient_of_identity(store)
    store.reset_moments("means")
    assert store.moments("means")[0].eq(0).all() and store.moments("means")[1].eq(0).all()
    assert store.moments("colors")[0].gt(0).all()


def test_free_parameters_round_trip() -> None:
    free = FreeParameters({"matrix": torch.eye(3)}, {"matrix": 0.1})
    free["matrix"].grad = torch.ones(3, 3)
    free.step()
    other = FreeParameters({"matrix": torch.zeros(3, 3)}, {"matrix": 0.5})
    other.load(free.parameter_tensors(), free.optimizer_tensors())
    for each in (free, other):
        each["matrix"].grad = torch.full((3, 3), 0.3)
        each.step()
    assert torch.equal(free["matrix"], other["matrix"])


@pytest.mark.parametrize(
    "rows",
    [
        {"means": torch.zeros(1, 3)},
        {"means": torch.zeros(1, 3), "colors": torch.zeros(2, 1, 1)},
        {"means": torch.zeros(1, 2), "colors": torch.zeros(1, 1, 1)},
        {"means": torch.zeros(1, 3, dtype=torch.float64), "colors": torch.zeros(1, 1, 1)},
        {"means": torch.zeros(1, 3), "colors": torch.zeros(1, 1, 1), "more": torch.zeros(1)},
    ],
)
def test_rows_that_do_not_fit_are_refused(rows: dict[str, torch.Tensor]) -> None:
    store = _store(2)
    with pytest.raises(ShapeError):
        store.append(rows)
    assert len(store) == 2 and store.moments("means")[0].shape == (2, 3)


def test_unequal_rows_and_missing_learning_rates_are_refused() -> None:
    with pytest.raises(ShapeError, match="same number"):
        ParameterStore({"a": torch.zeros(2), "b": torch.zeros(3)}, {"a": 1.0, "b": 1.0})
    with pytest.raises(ConventionError, match="learning rate of b"):
        ParameterStore({"a": torch.zeros(2), "b": torch.zeros(2)}, {"a": 1.0})

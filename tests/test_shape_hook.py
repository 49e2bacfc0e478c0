"""The shape hook: what it lets through and what not, with the checker that writes its checks at the first call."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from jaxtyping import Float, TypeCheckError
from tests.support.shape_checks import beartype_when_called, checked, no_checks
from torch import Tensor

from scenewise.parts.splats.strategies.operations import logit


@pytest.fixture(autouse=True)
def hook(pytestconfig: pytest.Config) -> None:
    if not pytestconfig.getoption("jaxtyping_packages"):
        pytest.skip("this session runs without the hook")


def test_the_package_is_checked():
    assert logit(torch.full((3,), 0.5)).shape == (3,)
    with pytest.raises(TypeCheckError):
        logit(torch.full((3, 2), 0.5))


@pytest.mark.errors
def test_tests_of_promised_errors_run_without_checks():
    assert logit(torch.full((3, 2), 0.5)).shape == (3, 2)


def test_checks_are_on_again_afterwards():
    with no_checks():
        assert logit(torch.full((3, 2), 0.5)).shape == (3, 2)
    with pytest.raises(TypeCheckError):
        logit(torch.full((3, 2), 0.5))


def test_results_are_checked_and_axes_of_one_name_agree():
    @checked(typechecker=beartype_when_called)
    def first_columns(points: Float[Tensor, "n 3"], weights: Float[Tensor, "n"], count: int) -> Float[Tensor, "n 2"]:
        return points[:, :count]

    assert first_columns(torch.zeros(4, 3), torch.zeros(4), 2).shape == (4, 2)
    with pytest.raises(TypeCheckError):
        first_columns(torch.zeros(4, 3), torch.zeros(4), 1)
    with pytest.raises(TypeCheckError):
        first_columns(torch.zeros(4, 3), torch.zeros(5), 2)


def test_a_function_made_anew_is_checked_by_its_own_annotations():
    def made(kind: type):
        @checked(typechecker=beartype_when_called)
        def doubled(value: kind) -> kind:
            return value + value

        return doubled

    assert made(int)(2) == 4 and made(str)("a") == "aa"
    for kind, wrong in ((int, "a"), (str, 2), (int, 0.5)):
        with pytest.raises(TypeCheckError):
            made(kind)(wrong)


def _first_columns(points: Float[Tensor, "n 3"], weights: Float[Tensor, "n"], count: int) -> Float[Tensor, "n 2"]:
    return points[:, :count]


def _eye(count: int) -> Float[Tensor, "{count} {count}"]:
    return torch.eye(4)


def _named(value: "Float[Tensor, '2']", other: "Unknown | None" = None) -> "int":  # type: ignore[name-defined]
    return value.shape[0] if other is None else other


def _rows(points: Float[Tensor, "n 3"]) -> Iterator[Float[Tensor, "3"]]:
    yield from points


@dataclass(frozen=True)
class _Record:
    points: Float[Tensor, "n 3"]
    weights: list[Float[Tensor, "n"]]


_POINTS, _WEIGHTS = torch.zeros(4, 3), torch.zeros(4)


@pytest.mark.parametrize(
    ("function", "right", "wrong"),
    [
        (_first_columns, [(_POINTS, _WEIGHTS, 2)], [(_POINTS, _WEIGHTS, 1), (_POINTS, torch.zeros(5), 2)]),
        (_eye, [(4,)], [(3,)]),
        (_named, [(torch.zeros(2),), (torch.zeros(2), 4)], [(torch.zeros(3),), (torch.zeros(2), "x")]),
        (_rows, [(_POINTS,)], [(torch.zeros(3),)]),
        (_Record, [(_POINTS, [_WEIGHTS]), (_POINTS, [])], [(_POINTS, [torch.zeros(3)]), (_WEIGHTS, [])]),
    ],
)
def test_functions_and_records_of_a_module(function: Any, right: list[Any], wrong: list[Any]):
    """Results, axes of one name, sizes said by a value, annotations written as text, generators, fields of a record."""
    decorated = checked(function, typechecker=beartype_when_called)
    for arguments in right:
        decorated(*arguments)
    for arguments in wrong:
        with pytest.raises(TypeCheckError, match=r"^Type-check error .*the (parameters|return value)"):
            decorated(*arguments)


def test_sizes_are_those_of_one_call():
    """A call inside a call has axes of its own, also where a function without shapes lies between."""

    def outer(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        return between(points)

    def between(points: Any) -> Any:
        inner(points[:1], torch.zeros(1))
        return points

    def inner(points: Float[Tensor, "n 3"], weights: Float[Tensor, "n"]) -> None:
        pass

    for function in (outer, between, inner):
        function.__qualname__ = function.__name__
    outer, between, inner = (checked(function, typechecker=beartype_when_called) for function in (outer, between, inner))
    assert outer(torch.zeros(4, 3)).shape == (4, 3)

"""The shape hook: what it lets through and what not, with the checker that writes its checks at the first call."""

import pytest
import torch
from jaxtyping import Float, TypeCheckError, jaxtyped
from tests.support.shape_checks import beartype_when_called
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


def test_results_are_checked_and_axes_of_one_name_agree():
    @jaxtyped(typechecker=beartype_when_called)
    def first_columns(points: Float[Tensor, "n 3"], weights: Float[Tensor, "n"], count: int) -> Float[Tensor, "n 2"]:
        return points[:, :count]

    assert first_columns(torch.zeros(4, 3), torch.zeros(4), 2).shape == (4, 2)
    with pytest.raises(TypeCheckError):
        first_columns(torch.zeros(4, 3), torch.zeros(4), 1)
    with pytest.raises(TypeCheckError):
        first_columns(torch.zeros(4, 3), torch.zeros(5), 2)


def test_a_function_made_anew_is_checked_by_its_own_annotations():
    def made(kind: type):
        @jaxtyped(typechecker=beartype_when_called)
        def doubled(value: kind) -> kind:
            return value + value

        return doubled

    assert made(int)(2) == 4 and made(str)("a") == "aa"
    for kind, wrong in ((int, "a"), (str, 2), (int, 0.5)):
        with pytest.raises(TypeCheckError):
            made(kind)(wrong)

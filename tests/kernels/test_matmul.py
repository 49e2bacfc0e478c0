"""The fastest exact product: exact, and the setting it uses is put back."""

import pytest
import torch

from scenewise.kernels.matmul import fast_exact_matmul


def test_products_stay_exact():
    left, right = torch.randn(300, 500), torch.randn(500, 70)
    with fast_exact_matmul():
        product = left @ right
    exact = left.double() @ right.double()
    assert float((product - exact).norm() / exact.norm()) < 2e-6


def test_setting_is_put_back_after_an_error_and_untouched_for_other_devices():
    before = torch.get_float32_matmul_precision()
    with pytest.raises(ZeroDivisionError), fast_exact_matmul():
        _ = 1 / 0
    assert torch.get_float32_matmul_precision() == before
    with fast_exact_matmul("cuda"):
        assert torch.get_float32_matmul_precision() == before

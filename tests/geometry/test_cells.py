"""Counting cells."""

import numpy as np
import pytest

from scenewise.geometry.cells import count_distinct


@pytest.mark.parametrize("values", [[], [7], [7, 7], [3, -1, 3, 2, -1, 2**62]])
def test_distinct_values_are_counted(values: list[int]):
    given = np.array(values, dtype=np.int64)
    kept = given.copy()
    assert count_distinct(given) == len(set(values))
    assert np.array_equal(given, kept), "nothing is sorted in place"

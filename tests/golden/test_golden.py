"""Numbers that only change when somebody means it."""

import json
import math
from pathlib import Path

import pytest
from tests.golden.producers import GOLDEN


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_golden_numbers_stay(name: str):
    record = json.loads((Path(__file__).parent / f"{name}.json").read_text(encoding="utf-8"))
    assert (record["tolerance"], record["reason"]) == (GOLDEN[name].tolerance, GOLDEN[name].reason)
    figures = dict(GOLDEN[name].produce())
    assert figures.keys() == record["figures"].keys()
    for key, expected in record["figures"].items():
        close = math.isclose(figures[key], expected, rel_tol=record["tolerance"], abs_tol=record["tolerance"])
        assert close, f"{key}: {figures[key]} instead of {expected}"

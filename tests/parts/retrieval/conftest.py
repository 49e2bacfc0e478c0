"""A small random pair of branches, made once."""

from pathlib import Path

import pytest
from tests.support.between_workers import made_once
from tests.support.pair_run import write_pair_run

from scenewise.teachers.consistent import ConsistentFeatures, open_consistent


@pytest.fixture(scope="session")
def pair_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "library_pair_run", lambda place: write_pair_run(place).name)[0]


@pytest.fixture(scope="session")
def model(pair_run: Path) -> ConsistentFeatures:
    return open_consistent(f"condense:{pair_run}", device="cpu")

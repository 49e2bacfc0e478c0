"""What every test may rely on: which tests run where, and where real captures are."""

import gc
import os
from pathlib import Path

import pytest
import tests.support.shape_checks  # noqa: F401  (the shape hook looks it up by name)


def _shape_hook_is_active(config: pytest.Config) -> bool:
    return bool(config.getoption("jaxtyping_packages"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what cannot run here, and say why; begin with what takes long.

    Tests of promised errors hand wrong shapes to functions on purpose.  Under the shape hook the hook would object first, so
    they run in a session of their own, ``pytest -m errors --jaxtyping-packages=``.
    """
    if _shape_hook_is_active(config):
        later = [item for item in items if "errors" in item.keywords]
        if later:
            config.hook.pytest_deselected(items=later)
            items[:] = [item for item in items if "errors" not in item.keywords]
    # Long tests begin first, so that two workers end together.
    items.sort(key=lambda item: "slow" not in item.keywords)
    root = os.environ.get("SCENEWISE_DATA", "data")
    for item in items:
        if "data" in item.keywords and not Path(root).is_dir():
            item.add_marker(pytest.mark.skip(reason=f"no real captures: SCENEWISE_DATA={root} is not a folder"))
        if "gpu" in item.keywords and not _has_cuda():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def pytest_collection_finish() -> None:
    """What is loaded by now stays: full collections need not walk through it again (a tenth of the session's time)."""
    gc.collect()
    gc.freeze()


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with real captures; tests that use it are marked ``data``."""
    return Path(os.environ.get("SCENEWISE_DATA", "data"))

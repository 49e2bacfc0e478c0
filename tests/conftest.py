"""What every test may rely on: which tests run where, and where real captures are."""

import contextlib
import gc
import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from tests.support.shape_checks import no_checks  # the shape hook looks the module up by its name


def pytest_sessionstart() -> None:
    """A session that was started in the background ignores Ctrl-C, and so would the runs that tests interrupt."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what cannot run here, and say why; begin with what takes long."""
    # Long tests begin first, so that two workers end together.
    items.sort(key=lambda item: "slow" not in item.keywords)
    root = os.environ.get("SCENEWISE_DATA", "data")
    for item in items:
        if "data" in item.keywords and not Path(root).is_dir():
            item.add_marker(pytest.mark.skip(reason=f"no real captures: SCENEWISE_DATA={root} is not a folder"))
        if "gpu" in item.keywords and not _has_cuda():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Tests of promised errors hand wrong shapes to functions on purpose: there the shape hook would object first."""
    with no_checks() if "errors" in item.keywords else contextlib.nullcontext():
        return (yield)


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

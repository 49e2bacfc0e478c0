"""The small room as a scene folder."""

from pathlib import Path

import pytest
from tests.support.small_graph import write_small_graph
from tests.support.small_room import write_room


@pytest.fixture
def room_folder(tmp_path: Path) -> Path:
    return write_room(tmp_path / "room")


@pytest.fixture
def graph_folder(room_folder: Path) -> Path:
    return write_small_graph(room_folder)

"""Scene folders small enough to know by heart, and what is made once for all processes that run tests."""

from pathlib import Path

import pytest
from tests.support.between_workers import made_once
from tests.support.oracle_teacher import Oracle, write_splat_scene
from tests.support.ring_scene import ring_scene, scene_folder

from scenewise.commands.demo.capture import write_demo_capture
from scenewise.commands.segment.options import SegmentOptions
from scenewise.commands.segment.run import segment
from scenewise.commands.segment.summary import SegmentSummary

__all__ = ["known_room", "ring_scene", "scene_folder", "segmented_scene"]


@pytest.fixture(scope="session")
def known_room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 views of a procedural room whose truth :class:`Oracle` tells; to be left as it is."""

    def make(place: Path) -> None:
        write_demo_capture(place, seed=1_000_000, frames=12, width=128, height=96)

    return made_once(tmp_path_factory, "known_room", make)[0]


@pytest.fixture(scope="session")
def segmented_scene(known_room: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SegmentSummary, bytes]:
    """A scene of the known room with names, what was said about it, and its splats before; to be left as it is."""
    folder = write_splat_scene(tmp_path_factory.mktemp("segmented") / "scene", known_room, 12_000)
    before = (folder / "splats.ply").read_bytes()
    return folder, segment(SegmentOptions(target=(folder,), threads=1), None, Oracle(known_room)), before

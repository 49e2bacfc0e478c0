"""The embedded encoder finds rooms by photographs and by another capture of them, without any training."""

from pathlib import Path

import numpy as np
import pytest

from scenewise.io.scene_library.store import create_library
from scenewise.methods.condense.rooms import RoomScans, fused_room
from scenewise.parts.retrieval.encoding import EncodingSettings
from scenewise.parts.retrieval.entering import Entering, SceneLabels
from scenewise.parts.retrieval.searching import LibrarySearch
from scenewise.parts.sources.raw_scans import RawScan
from scenewise.scenes.point_clouds import PointCloud
from scenewise.teachers.consistent import open_consistent
from scenewise.worlds.captures import photograph
from scenewise.worlds.library_rooms import library_cameras, library_rooms

SCANS = RoomScans(views=8, width=192, height=144)


def test_a_room_is_known_again(tmp_path: Path):
    """Two rooms, a near-twin of the first, and the first once more: moved things, other light, another tour."""
    pytest.importorskip("lancedb", reason="LanceDB, of the extra library, is not installed")
    pytest.importorskip("poselib", reason="PoseLib, of the extra library, is not installed")
    model = open_consistent("condense")
    vocabulary = model.vocabulary()
    assert vocabulary is not None
    entering = Entering(model, vocabulary, EncodingSettings())
    library = create_library(tmp_path / "library", entering.about())
    rooms = library_rooms(3, 1, 1, 0, validation=True)
    for number, entry in enumerate(rooms):
        cameras = library_cameras(entry, SCANS.views, SCANS.width, SCANS.height)
        fused = fused_room(entry.room, cameras, SCANS, number)
        cloud = PointCloud(fused.points_in_world, fused.colors_u8)
        library.put(entering.rows(RawScan(entry.name, cloud, "fused depth"), SceneLabels(entry.name, "generated", "cloud")))
    search = LibrarySearch(library, model)
    of = {entry.name: entry.of if entry.role == "duplicate" else entry.name for entry in rooms}
    placed = 0
    for entry in rooms:
        camera = library_cameras(entry, 1, 320, 240, is_query=True)[0]
        best = search.by_picture(photograph(entry.room, camera), camera.K.numpy())[0]
        assert of[best.scene.name] == of[entry.name]
        placed += best.camera is not None
        if best.scene.name == entry.name and best.camera is not None:
            true = camera.camera_from_world.numpy().copy()
            true[:3, 3] += true[:3, :3] @ best.scene.facts.offset_in_source
            places = [-pose[:3, :3].T @ pose[:3, 3] for pose in (best.camera.camera_from_world, true)]
            assert np.linalg.norm(places[0] - places[1]) < 0.5
    assert placed >= 2  # eight small pictures of a room leave gaps
    first = search.scored_pairs()[0]
    assert of[first.first.name] == of[first.second.name] and first.first.name != first.second.name

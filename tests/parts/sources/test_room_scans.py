"""Procedural rooms as ScanNet scenes: the loader reads what the exporter wrote, and lifting finds the truth again."""

from pathlib import Path

import numpy as np

from scenewise.io.scannet.classes import NYU40_NAMES
from scenewise.io.scannet.labels import read_scannet_frame_labels
from scenewise.io.scannet.scenes import read_scannet
from scenewise.parts.lifting import visible_pixels, vote_histogram
from scenewise.parts.segments.oversegmentation import mesh_segments
from scenewise.parts.segments.votes import MajorityVote
from scenewise.parts.sources.room_scans import RoomScanSettings, nyu40_of_class_ids, write_room_scan
from scenewise.worlds.captures import truth
from scenewise.worlds.classes import CLASS_NAMES
from scenewise.worlds.rooms import furnished_room
from scenewise.worlds.seeds import DEFAULT_DEMO_SEED


def test_every_class_has_an_nyu40_name():
    ids = nyu40_of_class_ids(np.arange(-1, len(CLASS_NAMES)))
    assert ids[0] == 0 and (ids[1:] > 0).all() and NYU40_NAMES[ids[1 + CLASS_NAMES.index("monitor")] - 1] == "television"


def test_a_room_comes_back_from_its_files(tmp_path: Path):
    path = tmp_path / "scene9000_00"
    write_room_scan(
        DEFAULT_DEMO_SEED, path, RoomScanSettings(frames=6, width=160, height=120, spacing=0.05, segment=mesh_segments)
    )
    scene = read_scannet(path)
    capture, room = scene.capture, furnished_room(DEFAULT_DEMO_SEED)
    assert scene.name == "scene9000_00" and len(capture.frames) == 6 and capture.points is not None
    for frame in capture.frames[:2]:
        exact = truth(room, frame.camera)
        np.testing.assert_allclose(frame.load_depth(), exact.depth, atol=6e-4)
        np.testing.assert_array_equal(read_scannet_frame_labels(frame), nyu40_of_class_ids(exact.class_ids))
    labels = scene.nyu40_ids()
    assert len(labels) == len(capture.points) and set(np.unique(labels)) >= {1, 2, 4, 22}
    _, aggregation = scene.objects()
    assert {group.label for group in aggregation.groups} >= {"floor", "wall", "bed"}
    # Labels of the frames, lifted onto the mesh, are the mesh's labels.
    table = visible_pixels(capture.points.points_in_world, capture.frames)
    votes = vote_histogram(table, lambda view: read_scannet_frame_labels(capture.frames[view]), 41)
    found, views = votes.winner()
    assert (views > 0).mean() > 0.3
    assert (found.class_ids == labels)[views > 0].mean() > 0.95
    # The vote in the shipped segments fills what no frame saw and keeps what they got right.
    voted = MajorityVote().of_histogram(votes, scene.segments())
    assert voted.coverage > found.coverage
    assert (voted.class_ids == labels)[views > 0].mean() > 0.9

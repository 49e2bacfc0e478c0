"""Procedural rooms as labelled scans: what is in them, that they repeat themselves, and their files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from scenewise.errors import DataFormatError
from scenewise.methods.vl_sat import rooms as room_files
from scenewise.methods.vl_sat.seen import SeenScan, clip_of
from scenewise.studies.graphs.rooms import RoomGraphs, class_words, graph_data, room_scan, room_scans
from scenewise.teachers.choose import SMALL_CLIP, open_teacher
from scenewise.worlds.classes import CLASS_NAMES
from scenewise.worlds.relations import ROOM_PREDICATES, node_of_instance, nodes_of, true_relations
from scenewise.worlds.rooms import furnished_room

CLIP = clip_of(open_teacher(SMALL_CLIP, device="cpu"))
SETTINGS = RoomGraphs(views=3, width=48, height=36, points=40, least_points=12)
SEEDS = (31, 32)


@pytest.fixture(scope="module")
def fresh() -> list[SeenScan]:
    return [room_scan(seed, SETTINGS) for seed in SEEDS]


def same(first: SeenScan, second: SeenScan) -> bool:
    one, two = first.scan, second.scan
    return (
        (one.name, one.object_ids) == (two.name, two.object_ids)
        and all(map(np.array_equal, one.points_in_world, two.points_in_world))
        and np.array_equal(one.class_ids, two.class_ids)
        and np.array_equal(one.triplets, two.triplets)
        and np.array_equal(first.pictures.features, second.pictures.features)
        and np.array_equal(first.pictures.shares, second.pictures.shares)
    )


def test_things_are_those_that_were_seen_where_they_are(fresh: list[SeenScan]) -> None:
    for seed, found in zip(SEEDS, fresh, strict=True):
        room, scan = furnished_room(seed), found.scan
        assert scan.name == f"room-{seed}" and list(scan.object_ids) == sorted(set(scan.object_ids))
        assert 5 < len(scan) <= len(nodes_of(room)) and set(scan.object_ids) <= set(nodes_of(room))
        for number, kind, points in zip(scan.object_ids, scan.class_ids, scan.points_in_world, strict=True):
            thing = room.objects[number]
            assert CLASS_NAMES[kind] == thing.class_name and 12 <= len(points) <= 40
            if thing.class_name in ("wall", "floor", "ceiling"):
                continue
            c, s = np.cos(thing.yaw), np.sin(thing.yaw)
            offset = points - np.array(thing.center)
            local = np.stack([c * offset[:, 0] + s * offset[:, 1], c * offset[:, 1] - s * offset[:, 0], offset[:, 2]], axis=1)
            # The box of a chair or a plant is larger than its solids; five standard deviations of the noise are 2.5 cm.
            assert (np.abs(local) <= np.array(thing.size) / 2 + 0.05).all(), thing.class_name


def test_relations_are_the_room_s_between_things_that_were_seen(fresh: list[SeenScan]) -> None:
    for seed, found in zip(SEEDS, fresh, strict=True):
        room, ids = furnished_room(seed), found.scan.object_ids
        node_of = node_of_instance(room)
        kept = {int(node_of[number]): row for row, number in enumerate(ids)}
        wanted = {(kept[s], kept[o], p) for s, o, p in true_relations(room).tolist() if s in kept and o in kept}
        assert {tuple(row) for row in found.scan.triplets.tolist()} == wanted and len(wanted) > 10
        assert len(kept) < len(nodes_of(room)), "three small photographs do not show everything"


def test_pictures_are_of_most_things(fresh: list[SeenScan]) -> None:
    for found in fresh:
        shown = found.pictures.shares > 0
        assert shown.any(axis=1).mean() > 0.5 and (np.diff(found.pictures.shares, axis=1) <= 0).all()
        assert np.allclose(np.linalg.norm(found.pictures.features[shown], axis=1), 1.0, atol=1e-4)
        assert not found.pictures.features[~shown].any()


def test_the_same_seed_makes_the_same_scan_and_the_file_gives_it_back(fresh: list[SeenScan], tmp_path: Path) -> None:
    assert same(fresh[0], room_scan(SEEDS[0], SETTINGS))
    made = room_scans(SEEDS, SETTINGS, tmp_path)
    files = list(tmp_path.iterdir())
    assert len(files) == 1
    written = files[0].read_bytes()
    for scan, kept in zip(fresh, made, strict=True):
        halved = scan.pictures.features.astype(np.float16).astype(np.float32)
        assert same(replace(scan, pictures=replace(scan.pictures, features=halved)), kept)
    again = room_scans(SEEDS, SETTINGS, tmp_path)
    assert all(map(same, made, again)) and files[0].read_bytes() == written and list(tmp_path.iterdir()) == files


def test_other_settings_and_other_rules_are_other_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def path(seeds: tuple[int, ...] = SEEDS, **changes: object) -> Path:
        return room_files._path(seeds, replace(SETTINGS, **changes), tmp_path, CLIP)

    first = {path(), path(noise=0.01), path(views=4), path((31, 33)), path((31,))}
    assert len(first) == 5
    monkeypatch.setattr(room_files, "_rules", lambda: "others")
    assert path() not in first


@pytest.mark.errors
def test_a_damaged_file_is_named(fresh: list[SeenScan], tmp_path: Path) -> None:
    path = room_files._path(SEEDS, SETTINGS, tmp_path, CLIP)
    room_files._write(path, fresh)
    whole = path.read_bytes()
    for broken in (b"", whole[:-9], whole.replace(b'\\"things\\"', b'\\"thinks\\"')):
        path.write_bytes(broken)
        with pytest.raises(DataFormatError, match="delete it; it is made again"):
            room_scans(SEEDS, SETTINGS, tmp_path)


def test_rooms_as_a_trainer_reads_them(fresh: list[SeenScan]) -> None:
    data = graph_data(fresh, most_views=2)
    assert data.classes == CLASS_NAMES and data.predicates == ROOM_PREDICATES and len(data) == 2
    assert data.class_text is not None and np.array_equal(data.class_text, class_words())
    assert data.class_text.shape == (len(CLASS_NAMES), fresh[0].pictures.features.shape[-1])
    for scan, example in zip(fresh, data.examples, strict=True):
        assert np.array_equal(example.seen, (scan.pictures.shares > 0).any(axis=1))
        assert example.pictures is not None
        assert np.array_equal(example.pictures, scan.pictures.chosen("visible", 2, scan.scan.class_ids, None))
    released = graph_data(fresh, "released", 1)
    assert any(
        not np.array_equal(one.pictures, two.pictures)
        for one, two in zip(released.examples, graph_data(fresh, most_views=1).examples)
    )

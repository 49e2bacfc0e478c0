"""Scans become rows of a library: what is kept, what is told apart, and what stays when it is added again."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import save_file
from tests.support.between_workers import made_once
from tests.support.library_examples import DIM, room_cloud, turn, write_sources
from tests.support.small_room import write_room

from scenewise.errors import ConventionError, DataFormatError
from scenewise.io.captures import open_capture
from scenewise.io.descriptor_files import read_descriptor_files
from scenewise.parts.retrieval.adding import Told, add_source
from scenewise.parts.retrieval.encoding import EncodingSettings, encode_scene, named_voxels
from scenewise.parts.retrieval.entering import Entering, SceneLabels, cloud_from_above
from scenewise.parts.retrieval.sources import date_of_photographs, library_sources, named_anew, source_again
from scenewise.parts.sources.raw_scans import RawScan
from scenewise.scenes.captures import Capture
from scenewise.scenes.point_clouds import PointCloud
from scenewise.teachers.consistent import ConsistentFeatures
from scenewise.teachers.prompts import vocabulary_from_words

SETTINGS = EncodingSettings(key_points=64, views=3)
WORDS = vocabulary_from_words("wall, floor, ceiling, chair, table, sofa|couch, bed, lamp", ("a photo of a {}",))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "library_sources", write_sources)[0]


@pytest.fixture
def entering(model: ConsistentFeatures) -> Entering:
    return Entering(model, WORDS, SETTINGS)


@pytest.fixture
def cloud(sources: Path) -> RawScan:
    return library_sources(sources / "one.ply")[0].open()


@pytest.fixture
def capture(sources: Path) -> RawScan:
    return library_sources(sources / "three")[0].open()


# --- encoding -------------------------------------------------------------------------------------------------------------------


def test_a_room_is_kept_as_key_points_things_views_and_a_vector(capture: RawScan, model: ConsistentFeatures):
    found = encode_scene(capture, model, WORDS, SETTINGS)
    low, high = found.bounds_in_world
    assert len(found.key_points) == 64 and found.num_points == len(capture.cloud)
    places = found.key_points.positions + found.offset_in_world
    assert (places >= low - 0.01).all() and (places <= high + 0.01).all()
    apart = np.linalg.norm(places[:, None] - places[None], axis=2) + 9 * np.eye(64)
    assert apart.min() > 0.3  # they cover the room
    np.testing.assert_allclose(np.linalg.norm(found.key_points.features, axis=1), 1, atol=1e-5)
    assert np.linalg.norm(found.descriptor) == pytest.approx(1, abs=1e-5)
    assert len(found.views) == 3 and {view.name for view in found.views} < {frame.name for frame in capture.capture.frames}
    assert all(np.linalg.norm(view.descriptor) == pytest.approx(1, abs=1e-5) for view in found.views)
    assert all(thing.class_name in WORDS.names and 0 <= thing.confidence <= 1 for thing in found.things) and found.things
    assert [thing.num_points for thing in found.things] == sorted((thing.num_points for thing in found.things), reverse=True)
    for thing in found.things:
        assert (thing.center_in_world - thing.size / 2 >= low - 0.01).all()
        assert (thing.center_in_world + thing.size / 2 <= high + 0.01).all() and ((thing.color >= 0) & (thing.color <= 1)).all()


def test_each_voxel_gets_the_class_of_the_words_that_fit_best(cloud: RawScan, model: ConsistentFeatures):
    """A class with two phrases has the share of both."""
    seen = model.of_points(cloud.cloud.points_in_world[:400], cloud.cloud.colors_u8[:400])
    class_ids, confidence = named_voxels(seen, model, WORDS)
    text = model.embed_text(WORDS.queries, WORDS.templates)
    for row in range(0, len(seen), 7):
        logits = model.logit_scale * (model.translated(seen.features[row]) @ text.T)
        weights = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        shares = [weights[WORDS.class_of_query == index].sum() for index in range(len(WORDS))]
        assert class_ids[row] == int(np.argmax(shares)) and confidence[row] == pytest.approx(max(shares), abs=1e-4)


def test_what_is_told_of_a_scene_does_not_depend_on_where_it_lies(model: ConsistentFeatures):
    given = room_cloud(1_000_004, every=8)
    far = PointCloud(given.points_in_world + np.array([500_000.0, 6_160_000.0, 30.0]), given.colors_u8)
    near_one, far_one = (encode_scene(RawScan("a", each, "points"), model, WORDS, SETTINGS) for each in (given, far))
    np.testing.assert_allclose(far_one.key_points.positions, near_one.key_points.positions, atol=1e-3)
    np.testing.assert_allclose(far_one.offset_in_world - near_one.offset_in_world, [500_000, 6_160_000, 30], atol=1e-6)


def test_points_without_colours_are_refused(model: ConsistentFeatures):
    bare = RawScan("bare", PointCloud(np.zeros((5, 3))), "points")
    with pytest.raises(ConventionError, match="points of bare: expected colours, got none"):
        encode_scene(bare, model, WORDS, SETTINGS)


def test_a_cloud_from_above():
    """Red in the corner of low x and low y, which is at the left bottom; blue above it hides it; the ceiling is left out."""
    points = np.array([[0, 0, 0], [4, 0, 0], [0, 2, 0], [4, 2, 0], [4, 2, 0.5], [0, 0, 3]], dtype=np.float64)
    colors = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 9, 9], [7, 7, 7], [1, 1, 1]], dtype=np.uint8)
    picture = cloud_from_above(points, colors, pixels=9)
    assert picture.shape == (5, 9, 3)
    assert picture[-1, 0].tolist() == [255, 0, 0] and picture[-1, -1].tolist() == [0, 255, 0]
    assert picture[0, 0].tolist() == [0, 0, 255] and picture[0, -1].tolist() == [7, 7, 7]
    assert (picture[2] == 255).all()


# --- entering -------------------------------------------------------------------------------------------------------------------


def test_the_content_hash_tells_apart_what_decides_the_rows(capture: RawScan, entering: Entering):
    moved = replace(capture.cloud, points_in_world=capture.cloud.points_in_world + 1e-6)
    painted = replace(capture.cloud, colors_u8=capture.cloud.colors_u8 ^ 1)
    assert capture.capture is not None
    others = [
        entering.content_hash(replace(capture, cloud=moved)),
        entering.content_hash(replace(capture, cloud=painted)),
        entering.content_hash(replace(capture, capture=None)),
        entering.content_hash(replace(capture, capture=replace(capture.capture, up_in_world=np.array([0.0, 1, 0])))),
        entering.content_hash(capture, "descriptors"),
        replace(entering, settings=EncodingSettings()).content_hash(capture),
        replace(entering, vocabulary=vocabulary_from_words("wall, sofa")).content_hash(capture),
        replace(entering, vocabulary=replace(WORDS, templates=("{}",))).content_hash(capture),
        replace(entering, vocabulary=replace(WORDS, phrases=(*WORDS.phrases[:5], ("sofa",), *WORDS.phrases[6:]))).content_hash(
            capture
        ),
    ]
    assert len({entering.content_hash(capture), *others}) == len(others) + 1
    assert entering.content_hash(replace(capture, name="another")) == entering.content_hash(capture)


def test_a_scan_goes_through_a_library_and_comes_back(capture: RawScan, entering: Entering, tmp_path: Path):
    """In the frame that the capture came in, although its reader has moved and turned it."""
    store = pytest.importorskip("scenewise.io.scene_library.store")
    pytest.importorskip("lancedb", reason="LanceDB, of the extra library, is not installed")
    world_from_source = np.eye(4)
    world_from_source[:3, :3], world_from_source[:3, 3] = turn((0, 0, 1), 90), [-30.0, 20.0, 0.5]
    given = capture.capture
    assert given is not None
    frames = tuple(
        replace(
            frame,
            camera=replace(
                frame.camera,
                camera_from_world=frame.camera.camera_from_world @ torch.linalg.inv(torch.from_numpy(world_from_source)),
            ),
        )
        for frame in given.frames
    )  # the same cameras, seen from the world
    points = capture.cloud.points_in_world @ world_from_source[:3, :3].T + world_from_source[:3, 3]
    turned = RawScan(
        "room",
        replace(capture.cloud, points_in_world=points),
        "points",
        replace(given, frames=frames, world_from_source=world_from_source, points=None),
    )
    library = store.create_library(tmp_path / "library", entering.about())
    rows = entering.rows(turned, SceneLabels("room", "captures/room", "capture", place="Malmö"))
    assert library.put(rows) == "added" and library.put(rows) == "unchanged"
    back = store.open_library(tmp_path / "library").scene("room")
    facts = back.facts
    low, high = facts.bounds_in_world + facts.offset_in_source
    np.testing.assert_allclose(low, capture.cloud.points_in_world.min(axis=0), atol=1e-4)
    np.testing.assert_allclose(high, capture.cloud.points_in_world.max(axis=0), atol=1e-4)
    camera = next(frame.camera for frame in given.frames if frame.name == back.views.names[1]).camera_from_world.numpy()
    np.testing.assert_allclose(back.views.camera_from_world[1][:3, :3], camera[:3, :3], atol=1e-9)
    np.testing.assert_allclose(
        back.views.camera_from_world[1][:3, 3], camera[:3, 3] + camera[:3, :3] @ facts.offset_in_source, atol=1e-6
    )
    assert (facts.scale, facts.place, facts.licence) == ("metric", "Malmö", given.licence)
    assert facts.content_hash == entering.content_hash(turned)
    np.testing.assert_allclose(facts.provenance["up_in_source"], [0, 0, 1], atol=1e-9)
    assert facts.provenance["world_units_per_metre"] == 1 and facts.provenance["classes"][5] == ["sofa", "couch"]
    assert sum(facts.class_counts.values()) == len(back.objects)
    with Image.open(io.BytesIO(back.thumbnail)) as small:
        assert small.format == "JPEG" and small.size == (64, 48)


# --- sources --------------------------------------------------------------------------------------------------------------------


def test_a_scene_folder_gives_its_points_else_its_splats(tmp_path: Path, entering: Entering):
    """Its photographs are gone: its cameras still say how it lies and how large it is."""
    folder = write_room(tmp_path / "room")
    (source,) = library_sources(folder)
    raw = source.open()
    assert (source.name, source.kind, raw.cloud_source, len(raw.cloud)) == ("room", "scene folder", "points of points.ply", 128)
    assert raw.capture is not None and raw.capture.scale == "arbitrary" and not raw.capture.frames_with_image
    (folder / "points.ply").unlink()
    splats = source.open()
    assert splats.cloud_source == "centres of splats" and len(splats.cloud) == 328
    orange = splats.cloud.colors_u8[splats.cloud.points_in_world[:, 0] > 0.7][-1]
    assert orange.tolist() == pytest.approx([242, 128, 26], abs=2)
    rows = entering.rows(splats, SceneLabels("room", str(folder), source.kind))
    assert rows.facts.scale == "arbitrary" and rows.facts.provenance["world_units_per_metre"] != 1 and len(rows.views) == 0


def test_a_folder_of_captures_gives_a_scene_each(sources: Path, tmp_path: Path):
    for place in ("a/kitchen", "b/kitchen"):
        shutil.copytree(sources / "three", tmp_path / "many" / place)
    found = library_sources(tmp_path / "many")
    assert [source.name for source in found] == ["a/kitchen", "b/kitchen"]
    assert [source.place for source in found] == [tmp_path / "many" / "a/kitchen", tmp_path / "many" / "b/kitchen"]
    assert [source.name for source in named_anew(found, "house")] == ["house/a/kitchen", "house/b/kitchen"]
    assert [source.name for source in named_anew(found[:1], "house")] == ["house"] and named_anew(found, None) == found
    with pytest.raises(DataFormatError, match="nowhere"):
        library_sources(tmp_path / "nowhere")


def test_photographs_tell_the_day(sources: Path, tmp_path: Path):
    folder = tmp_path / "dated"
    shutil.copytree(sources / "three", folder)
    assert date_of_photographs(open_capture(folder)) is None and date_of_photographs(None) is None
    for number, day in enumerate(("2025:03:29", "2025:03:28", "0000:00:00")):
        path = folder / f"frame-{number:06d}.color.png"
        exif = Image.Exif()
        exif[0x010F] = "Maker"
        exif.get_ifd(0x8769)[0x9003] = f"{day} 10:11:12"
        with Image.open(path) as image:
            image.load()
            image.save(path, exif=exif)
    assert date_of_photographs(open_capture(folder)) == "2025-03-28"


# --- adding ---------------------------------------------------------------------------------------------------------------------


def write_descriptors(folder: Path, names: list[str], dim: int = 5, seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "teacher.json").write_text(json.dumps({"kind": "descriptors", "dim": dim, "name": "mixer", "licence": "MIT"}))
    rng = np.random.default_rng(seed)
    for name in names:
        save_file({"descriptor": rng.standard_normal(dim).astype(np.float32)}, folder / f"{Path(name).stem}.safetensors")
    return folder


@pytest.fixture
def library(entering: Entering, tmp_path: Path):
    pytest.importorskip("lancedb", reason="LanceDB, of the extra library, is not installed")
    from scenewise.io.scene_library.store import create_library

    return create_library(tmp_path / "library", entering.about("mixer", 5))


def test_what_is_there_is_not_looked_at_again(sources: Path, entering: Entering, library, monkeypatch: pytest.MonkeyPatch):
    (source,) = library_sources(sources / "three")
    first = add_source(library, entering, source, Told(place="Malmö"))
    assert (first.outcome, first.is_encoded, first.scene.facts.source) == ("added", True, str(sources / "three"))
    monkeypatch.setattr(ConsistentFeatures, "of_points", None)  # whoever looks at points fails
    again = add_source(library, entering, source, Told())
    assert (again.outcome, again.is_encoded, again.scene.facts.place) == ("unchanged", False, "Malmö")
    dated = add_source(library, entering, source, Told(date="2025-03-28"))
    assert (dated.outcome, dated.is_encoded) == ("replaced", False)
    assert (dated.scene.facts.date, dated.scene.facts.place) == ("2025-03-28", "Malmö")
    assert dated.scene.num_key_points == first.scene.num_key_points and len(library.scenes()) == 1


def test_points_that_follow_from_pictures_are_not_made_to_see_that_nothing_changed(
    sources: Path, entering: Entering, library, tmp_path: Path
):
    """Photographs with poses and nothing else: their points are found by matching, once."""
    (given,) = library_sources(sources / "three")
    opened: list[int] = []

    def bare() -> Capture:
        capture = open_capture(sources / "three")
        return replace(capture, frames=tuple(replace(frame, load_depth=None) for frame in capture.frames))

    def made() -> RawScan:
        opened.append(1)
        return RawScan("photographs", given.open().cloud, "made", bare())

    source = replace(given, name="photographs", open=made, capture=bare)
    assert add_source(library, entering, source, Told()).outcome == "added" and len(opened) == 1
    assert add_source(library, entering, source, Told()).outcome == "unchanged" and len(opened) == 1
    assert add_source(library, entering, source, Told(place="here")).outcome == "replaced" and len(opened) == 1
    turned = replace(bare(), up_in_world=np.array([0.0, 1, 0]))
    other = replace(source, capture=lambda: turned, open=lambda: replace(made(), capture=turned))
    assert add_source(library, entering, other, Told()).outcome == "replaced" and len(opened) == 2


def test_another_place_must_not_take_a_name_unasked(sources: Path, entering: Entering, library):
    one, two = (library_sources(sources / name)[0] for name in ("one.ply", "two.ply"))
    add_source(library, entering, one, Told(place="here"))
    with pytest.raises(ConventionError, match=r"the scene 'one': expected .*one.ply.*got .*two.ply.*--name.*--replace"):
        add_source(library, entering, replace(two, name="one"), Told())
    put = add_source(library, entering, replace(two, name="one"), Told(), may_replace=True)
    assert put.outcome == "replaced" and put.scene.facts.source.endswith("two.ply")
    assert put.scene.facts.place is None  # known of the other one
    assert source_again(put.scene).place == sources / "two.ply"


def test_a_changed_capture_is_looked_at_again(sources: Path, entering: Entering, library, tmp_path: Path):
    shutil.copy(sources / "one.ply", tmp_path / "one.ply")
    (source,) = library_sources(tmp_path / "one.ply")
    before = add_source(library, entering, source, Told(place="here"))
    shutil.copy(sources / "two.ply", tmp_path / "one.ply")
    after = add_source(library, entering, source, Told())
    assert (after.outcome, after.is_encoded, after.scene.facts.place) == ("replaced", True, "here")
    assert after.scene.facts.num_points != before.scene.facts.num_points
    (tmp_path / "one.ply").unlink()
    with pytest.raises(DataFormatError, match="expected what the scene 'one' was made from, got nothing"):
        source_again(after.scene)


def test_descriptors_of_another_network_come_later_and_stay(
    sources: Path, entering: Entering, library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (source,) = library_sources(sources / "three")
    names = [frame.name for frame in source.open().capture.frames]
    files = read_descriptor_files(write_descriptors(tmp_path / "descriptors", names))
    assert (files.name, files.dim, files.licence) == ("mixer", 5, "MIT")
    add_source(library, entering, source, Told())
    assert library.scene("three").views.other_descriptors is None
    with monkeypatch.context() as patch:
        patch.setattr(ConsistentFeatures, "of_points", None)
        assert add_source(library, entering, source, Told(), descriptors=files).outcome == "replaced"
        held = library.scene("three").views
        assert held.other_descriptors is not None and held.other_descriptors.shape == (3, 5)
        assert add_source(library, entering, source, Told(), descriptors=files).outcome == "unchanged"
        assert add_source(library, entering, source, Told()).outcome == "unchanged"  # they stay
        below = read_descriptor_files(write_descriptors(tmp_path / "descriptors", []))
        write_descriptors(tmp_path / "descriptors" / "three", names, seed=1)  # of the scene's own folder: goes first
        assert add_source(library, entering, source, Told(), descriptors=below).outcome == "replaced"
    found = library.scene("three").views.other_descriptors
    assert found is not None and not np.allclose(found, held.other_descriptors)
    assert len(library.views().other_descriptors[0]) == 5 and library.about.dim == DIM
    (tmp_path / "descriptors" / "three").rename(tmp_path / "gone")
    (tmp_path / "descriptors" / f"{Path(found_name(library)).stem}.safetensors").unlink()
    with pytest.raises(DataFormatError, match=r"expected frame-000000.color.safetensors, got no such file"):
        add_source(library, entering, source, Told(), descriptors=files)


def found_name(library) -> str:
    return str(library.scene("three").views.names[0])

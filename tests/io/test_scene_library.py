"""A library of scenes: what goes in comes out, what is replaced is replaced whole, and what cannot be read is said."""

import json
import subprocess
import sys
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.library_scenes import ABOUT, DIM, JPEG, OTHER_DIM, scene_rows

from scenewise.errors import ConventionError, DataFormatError, MissingDependencyError, ResourceError, ShapeError
from scenewise.io.scene_library import compaction, schema, store, writing
from scenewise.io.scene_library.connecting import lance_errors, library_place, tried_again
from scenewise.io.scene_library.records import LibraryAbout, SceneRows, ViewRows
from scenewise.io.scene_library.schema import about_metadata, scenes_schema
from scenewise.io.scene_library.store import SceneLibrary, create_library, open_library

lancedb = pytest.importorskip("lancedb")
AT_ONCE = timedelta(0)


@pytest.fixture
def library(tmp_path: Path) -> SceneLibrary:
    return create_library(tmp_path / "library", ABOUT)


def assert_same(found: Any, given: Any, place: str = "scene") -> None:
    """Every field; of vectors what float16 keeps."""
    for field in fields(given):
        name = f"{place}.{field.name}"
        a, b = getattr(found, field.name), getattr(given, field.name)
        if isinstance(b, np.ndarray) and field.name in ("descriptor", "descriptors", "other_descriptors", "features"):
            assert a.dtype == np.float16, name
            np.testing.assert_array_equal(a, b.astype(np.float16), err_msg=name)
        elif isinstance(b, np.ndarray):
            assert a.dtype == b.dtype, name
            np.testing.assert_array_equal(a, b, err_msg=name)
        elif hasattr(b, "__dataclass_fields__"):
            assert_same(a, b, name)
        else:
            assert a == b, name


# --- what goes in comes out -----------------------------------------------------------------------------------------------------


def test_a_scene_comes_back_as_it_was_put_in(library: SceneLibrary):
    scenes = [scene_rows("kitchen", 1), scene_rows("O'Brien's \"back\" room, ü", 2), scene_rows("no other views", 3, other=False)]
    scenes += [scene_rows("nothing in it", 4, views=0, objects=0, key_points=0, date=None, place=None, scale="arbitrary")]
    assert [library.put(scene) for scene in scenes] == ["added"] * 4
    for scene in scenes:
        found = open_library(library.uri).scene(scene.facts.name)
        if not len(scene.views):  # without rows nobody knows whether they would have had other descriptors
            assert found.views.other_descriptors is None
            scene = replace(scene, views=replace(scene.views, other_descriptors=None))
        assert_same(found, scene)


def test_the_list_of_scenes_tells_what_is_known(library: SceneLibrary):
    before = datetime.now(UTC) - timedelta(seconds=1)
    for name in ("b", "a"):
        library.put(scene_rows(name, 5))
    a, b = library.scenes()
    assert (a.name, b.name) == ("a", "b")
    assert (a.num_views, a.num_objects, a.num_key_points) == (3, 2, 7)
    assert before <= a.added <= datetime.now(UTC)
    assert a.facts.class_counts == {"lamp": 1, "chair": 5} and list(a.facts.class_counts) == ["lamp", "chair"]
    assert library.about == open_library(library.uri).about == ABOUT


def test_rows_of_all_scenes_lie_one_scene_after_the_other(library: SceneLibrary):
    given = {name: scene_rows(name, seed, other=name != "b") for seed, name in enumerate("cab")}
    for scene in given.values():
        library.put(scene)
    library.put(replace(given["a"], facts=replace(given["a"].facts, content_hash="again")))  # leaves rows behind
    views, objects, points, whole = library.views(), library.objects(), library.key_points(), library.descriptors()
    assert [scene.name for scene in points.scenes] == ["a", "b", "c"]
    assert points.starts.tolist() == [0, 7, 14, 21] and views.scene_index.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    for number, name in enumerate("abc"):
        scene = given[name]
        rows = slice(points.starts[number], points.starts[number + 1])
        np.testing.assert_array_equal(points.positions_in_world[rows], scene.key_points.positions_in_world)
        np.testing.assert_array_equal(points.scores[rows], scene.key_points.scores)
        np.testing.assert_allclose(points.features[rows], scene.key_points.features, atol=1e-3)
        rows = slice(views.starts[number], views.starts[number + 1])
        assert views.names[rows] == scene.views.names and views.widths[rows].tolist() == [640] * 3
        np.testing.assert_array_equal(views.camera_from_world[rows], scene.views.camera_from_world)
        np.testing.assert_array_equal(views.K[rows], scene.views.K)
        np.testing.assert_allclose(views.descriptors[rows], scene.views.descriptors, atol=1e-3)
        other = scene.views.other_descriptors
        np.testing.assert_allclose(views.other_descriptors[rows], np.zeros((3, OTHER_DIM)) if other is None else other, atol=1e-3)
        rows = slice(objects.starts[number], objects.starts[number + 1])
        assert objects.class_names[rows] == scene.objects.class_names and objects.ids[rows].tolist() == [10, 11]
        np.testing.assert_array_equal(objects.centers_in_world[rows], scene.objects.centers_in_world)
        np.testing.assert_array_equal(objects.sizes[rows], scene.objects.sizes)
        np.testing.assert_allclose(whole.descriptors[number], scene.descriptor, atol=1e-3)
    for vectors in (points.features, views.descriptors, objects.features, whole.descriptors):
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)  # what float16 took is given back


def test_a_library_is_found_or_is_not_there(library: SceneLibrary, tmp_path: Path):
    found = store.find_library(library.uri)
    assert found is not None and found.about == ABOUT
    assert store.find_library(tmp_path / "nowhere") is None and store.find_library(tmp_path) is None
    with pytest.raises(DataFormatError, match="version 9: expected one that is kept"):
        store.find_library(library.uri, version=9)


def test_arrays_are_read_once_and_again_when_a_scene_changes(library: SceneLibrary):
    library.put(scene_rows("a", 0))
    other = open_library(library.uri)
    points = library.key_points()
    assert library.key_points() is points
    library.compact()  # another version of the files, the same scenes
    assert library.key_points() is points
    other.put(scene_rows("b", 0))
    assert len(library.key_points().features) == 14


def test_pictures_come_by_the_numbers_of_their_rows(library: SceneLibrary):
    for name in ("b", "a"):
        library.put(scene_rows(name, 0))
    assert library.thumbnails("scenes", [1, 0]) == (JPEG + b"b", JPEG + b"a")
    assert library.thumbnails("views", [4, 0, 4]) == (JPEG + b"b view 1", JPEG + b"a view 0", JPEG + b"b view 1")
    assert library.thumbnails("objects", [1, 2]) == (b"", JPEG + b"object")
    with pytest.raises(ConventionError, match="expected 0 to 5, got 6"):
        library.thumbnails("views", [6])


# --- adding, replacing, removing ------------------------------------------------------------------------------------------------


def test_adding_the_same_again_writes_nothing(library: SceneLibrary):
    scene = scene_rows("a", 0)
    assert library.put(scene) == "added"
    before = {path: path.stat().st_mtime_ns for path in Path(library.uri).rglob("*")}
    assert library.put(scene) == "unchanged"
    assert library.put(scene_rows("a", 0, source="elsewhere", provenance={"day": 2})) == "unchanged"
    assert {path: path.stat().st_mtime_ns for path in Path(library.uri).rglob("*")} == before
    assert (
        library.is_current("a", "hash-a-0") and not library.is_current("a", "other") and not library.is_current("b", "hash-a-0")
    )


@pytest.mark.parametrize("what", [{"content_hash": "new"}, {"date": "2025-03-29"}, {"place": None}, {"licence": "CC0"}])
def test_another_content_date_place_or_licence_replaces(library: SceneLibrary, what: dict[str, Any]):
    library.put(scene_rows("a", 0))
    assert library.put(scene_rows("a", 0, **what)) == "replaced"
    (found,) = library.scenes()
    assert getattr(found.facts, next(iter(what))) == next(iter(what.values()))


def test_a_replaced_scene_has_only_its_new_rows(library: SceneLibrary):
    library.put(scene_rows("a", 0, views=5, objects=4, key_points=9))
    reader = open_library(library.uri)
    assert len(reader.key_points().features) == 9
    new = scene_rows("a", 1, views=1, objects=0, key_points=2)
    library.put(new)
    assert_same(reader.scene("a"), new)
    assert (len(reader.views().names), len(reader.objects().ids), len(reader.key_points().scores)) == (1, 0, 2)


def test_two_writers_that_both_find_no_scene_of_the_name_do_not_both_insert_it(library: SceneLibrary):
    """The second looked before the first wrote; it replaces what the first has added."""
    late = lancedb.connect(library.uri).open_table("scenes")
    assert late.count_rows() == 0
    library.put(scene_rows("a", 0))
    row = schema.scene_row(scene_rows("a", 1, views=0, objects=0, key_points=0), ABOUT, 7, datetime.now(UTC))
    late.merge_insert("name").when_matched_update_all().when_not_matched_insert_all().execute(row)
    assert [scene.revision for scene in library.scenes()] == [7]


def test_a_removed_scene_is_gone_at_once(library: SceneLibrary):
    names = ["a", "it's b"]
    for name in names:
        library.put(scene_rows(name, 0))
    reader = open_library(library.uri)
    assert len(reader.key_points().features) == 14
    assert library.remove("it's b") and not library.remove("it's b")
    assert [scene.name for scene in reader.scenes()] == ["a"]
    assert len(reader.key_points().features) == 7
    with pytest.raises(ConventionError, match='expected the name of a scene of this library, got "it\'s b"'):
        reader.scene("it's b")


def test_a_writer_that_did_not_finish_is_not_seen(library: SceneLibrary, monkeypatch: pytest.MonkeyPatch):
    """The row of the scene comes last: whatever else is there without it, the library holds the old scene."""
    old, new = scene_rows("a", 0), scene_rows("a", 1, key_points=4)
    library.put(old)

    def stopped(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writing, "scene_row", stopped)
        with pytest.raises(KeyboardInterrupt):
            library.put(new)
    assert_same(open_library(library.uri).scene("a"), old)
    assert library.compact().num_rows_removed == 0, "it may be at work"
    assert library.info().tables["keypoints"].num_stale_rows == 4
    assert library.put(new) == "replaced"
    library.compact(older_than=AT_ONCE)
    assert library.info().tables["keypoints"].num_stale_rows == 0
    assert_same(library.scene("a"), new)


def test_a_writer_that_took_too_long_does_not_name_rows_that_may_be_gone(library: SceneLibrary, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writing, "age_seconds", lambda _: 1801.0)
    with pytest.raises(ResourceError, match="adding 'a': expected at most half an hour, got more"):
        library.put(scene_rows("a", 0))
    assert library.scenes() == ()


# --- sweeping, versions ---------------------------------------------------------------------------------------------------------


def test_sweeping_removes_what_no_scene_names_once_it_is_old(library: SceneLibrary):
    keep, gone = scene_rows("keep", 0), scene_rows("gone", 0)
    for scene in (keep, scene_rows("again", 0), scene_rows("again", 1), gone):
        library.put(scene)
    library.remove("gone")
    young = library.compact()
    assert (young.num_rows_removed, young.num_versions_removed) == (0, 0), "a writer at work may have begun them"
    assert library.info().tables["keypoints"].num_stale_rows == 14
    swept = library.compact(older_than=AT_ONCE)
    assert swept.num_rows_removed == 2 * (3 + 2 + 7) and swept.num_versions_removed >= 5
    assert swept.num_bytes_after < swept.num_bytes_before
    assert all(state.num_stale_rows == 0 for state in library.info().tables.values())
    assert_same(library.scene("keep"), keep)
    assert_same(library.scene("again"), scene_rows("again", 1))
    assert [scene.name for scene in open_library(library.uri).scenes()] == ["again", "keep"]


def test_versions_tell_what_changed_and_open_as_it_was(library: SceneLibrary, monkeypatch: pytest.MonkeyPatch):
    first, second = scene_rows("a", 0), scene_rows("a", 1, key_points=2)
    library.put(first)
    library.put(scene_rows("b", 0))
    library.put(second)
    library.remove("b")
    versions = library.versions()
    assert [(v.added, v.replaced, v.removed) for v in versions] == [
        ((), (), ()),
        (("a",), (), ()),
        (("b",), (), ()),
        ((), ("a",), ()),
        ((), (), ("b",)),
    ]
    assert [v.number for v in versions] == sorted(v.number for v in versions)
    assert all(abs(datetime.now(UTC) - v.time) < timedelta(minutes=1) for v in versions)
    with monkeypatch.context() as patch:  # scenes written long ago and replaced just now
        patch.setattr(compaction, "age_seconds", lambda _: 1e9)
        assert library.compact().num_rows_removed == 0
    then = open_library(library.uri, version=versions[2].number)
    assert [scene.name for scene in then.scenes()] == ["a", "b"]
    assert_same(then.scene("a"), first)
    assert len(then.key_points().features) == 14 and then.info().version == versions[2].number
    for write in (lambda: then.put(second), lambda: then.remove("a"), then.compact, then.index):
        with pytest.raises(ConventionError, match="got an old version, which is only read"):
            write()
    library.compact(older_than=AT_ONCE)
    with pytest.raises(DataFormatError, match=f"version {versions[2].number}: expected one that is kept"):
        open_library(library.uri, version=versions[2].number)


@pytest.mark.parametrize("when", ["before a table is looked at", "before its rows are read"])
def test_rows_swept_away_while_they_are_looked_for_are_looked_for_again(
    library: SceneLibrary, monkeypatch: pytest.MonkeyPatch, when: str
):
    """Between the list of scenes and their rows another process replaces the scene and sweeps."""
    library.put(scene_rows("a", 0))
    other, new = open_library(library.uri), scene_rows("a", 1, key_points=3)
    place: Any = library._tables if when.endswith("looked at") else store
    name = "rows" if place is library._tables else "rows_of_scene"
    go_on = getattr(place, name)
    swept = []

    def sweep_first(*arguments: Any) -> Any:
        if not swept:
            swept.append(other.put(new))
            other.compact(older_than=AT_ONCE)
        return go_on(*arguments)

    monkeypatch.setattr(place, name, sweep_first)
    assert_same(library.scene("a"), new)
    assert swept == ["replaced"]


# --- refusals -------------------------------------------------------------------------------------------------------------------


def test_another_encoder_is_refused(library: SceneLibrary):
    with pytest.raises(ConventionError, match=r"the encoder of 'a': expected condense with the fingerprint f00d, .* got the fin"):
        library.put(replace(scene_rows("a", 0), fingerprint="beef"))
    assert library.scenes() == ()


def _with_views(scene: SceneRows, **changes: Any) -> SceneRows:
    return replace(scene, views=replace(scene.views, **changes))


BAD = {
    "another dimension": (lambda s: replace(s, descriptor=np.eye(DIM + 1, dtype=np.float32)[0]), "of 8 numbers.*got 9"),
    "no unit vector": (
        lambda s: _with_views(s, descriptors=2 * s.views.descriptors),
        "views.descriptors: .*got length 2 in row 0",
    ),
    "NaN": (lambda s: _with_views(s, descriptors=np.nan * s.views.descriptors), "length nan"),
    "other dimension": (
        lambda s: _with_views(s, other_descriptors=s.views.other_descriptors[:, :4]),
        "views.other_descriptors: expected vectors of 5 numbers",
    ),
    "no finite camera": (lambda s: _with_views(s, K=np.full_like(s.views.K, np.inf)), "views.K: expected finite"),
    "unknown class": (
        lambda s: replace(s, objects=replace(s.objects, class_names=("chair", "unicorn"))),
        r"objects.class_names: expected classes of the library \(chair, table, lamp\), got unicorn",
    ),
    "unknown count": (lambda s: replace(s, facts=replace(s.facts, class_counts={"unicorn": 1})), "class_counts.*unicorn"),
    "no date": (lambda s: replace(s, facts=replace(s.facts, date="28.3.2025")), "year-month-day"),
    "no day": (lambda s: replace(s, facts=replace(s.facts, date="2025-02-30")), "year-month-day"),
    "no name": (lambda s: replace(s, facts=replace(s.facts, name=" a")), "name of the scene"),
    "long name": (lambda s: replace(s, facts=replace(s.facts, name="a" * 201)), "1 to 200 characters"),
    "no picture": (lambda s: replace(s, thumbnail=b"\x89PNG"), "expected JPEG files"),
    "no hash": (lambda s: replace(s, facts=replace(s.facts, content_hash="")), "hash of its source"),
    "no scale": (lambda s: replace(s, facts=replace(s.facts, scale="feet")), "metric or arbitrary"),
    "no bounds": (lambda s: replace(s, facts=replace(s.facts, bounds_in_world=np.full((2, 3), np.inf, np.float32))), "finite"),
    "no JSON": (lambda s: replace(s, facts=replace(s.facts, provenance={"a": Path("b")})), "provenance of 'a'.*what JSON holds"),
}


@pytest.mark.errors
@pytest.mark.parametrize("what", BAD)
def test_rows_that_do_not_fit_are_refused_before_anything_is_written(library: SceneLibrary, what: str):
    make, message = BAD[what]
    with pytest.raises((ConventionError, ShapeError), match=message):
        library.put(make(scene_rows("a", 0)))
    assert sorted(path.name for path in Path(library.uri).iterdir()) == ["scenes.lance"]


@pytest.mark.errors
def test_columns_of_different_lengths_are_refused():
    views = scene_rows("a", 0).views
    with pytest.raises(ShapeError, match=r"ViewRows.widths: expected 3 rows, one per names, got 2"):
        replace(views, widths=views.widths[:2])
    assert isinstance(views, ViewRows)


def test_a_library_without_other_descriptors_takes_none(tmp_path: Path):
    library = create_library(tmp_path / "plain", replace(ABOUT, other_encoder=None, other_dim=None, class_names=()))
    with pytest.raises(ConventionError, match=r"views.other_descriptors: expected none, because this library was made without"):
        library.put(scene_rows("a", 0))
    scene = scene_rows("a", 0, other=False, class_counts={"anything": 1})  # no vocabulary: any name
    library.put(scene)
    assert_same(library.scene("a"), scene)
    assert library.views().other_descriptors is None
    with pytest.raises(ConventionError, match="table: expected one of this library with vectors, got other_views"):
        library.nearest("other_views", np.ones((1, DIM), np.float32), 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dim": 0}, "about.dim: expected 1 to 8192, got 0"),
        ({"fingerprint": ""}, "name and fingerprint"),
        ({"other_dim": None}, "or neither"),
        ({"class_names": ("a", "a")}, "each class once"),
    ],
)
def test_a_library_of_nonsense_is_not_made(tmp_path: Path, changes: dict[str, Any], message: str):
    with pytest.raises(ConventionError, match=message):
        create_library(tmp_path / "library", replace(ABOUT, **changes))
    assert list(tmp_path.iterdir()) == []


# --- places ---------------------------------------------------------------------------------------------------------------------


def test_a_place_is_a_folder_or_object_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert library_place("some/library") == str(tmp_path / "some/library")
    assert library_place(f"file://{tmp_path}/b") == str(tmp_path / "b")
    assert library_place("s3://bucket/a b/library") == "s3://bucket/a b/library"
    for unknown in ("db://cloud", "https://example.org/library"):
        with pytest.raises(ConventionError, match=f"expected a folder, or a URI that begins with s3://.*got {unknown}"):
            open_library(unknown)


def test_where_there_is_no_library_it_is_said(tmp_path: Path):
    for place in ("missing", "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        with pytest.raises(DataFormatError, match=f"{place}: expected a library of scenes, got none"):
            open_library(tmp_path / place)
    assert not (tmp_path / "missing").exists(), "asking makes no folder"
    (tmp_path / "full").mkdir()
    (tmp_path / "full/photo.jpg").write_bytes(JPEG)
    with pytest.raises(DataFormatError, match=r"expected a new or empty folder, got a folder with other content \(photo.jpg\)"):
        create_library(tmp_path / "full", ABOUT)
    with pytest.raises(DataFormatError, match="expected a new or empty folder, got a file"):
        create_library(tmp_path / "full/photo.jpg", ABOUT)
    with pytest.raises(DataFormatError, match="expected a path that can be written, got Not a directory"):
        create_library(tmp_path / "full/photo.jpg/library", ABOUT)


def test_a_library_is_made_once(library: SceneLibrary):
    library.put(scene_rows("a", 0))
    with pytest.raises(DataFormatError, match="expected a place without a library, got a library"):
        create_library(library.uri, ABOUT)
    assert len(library.scenes()) == 1


def test_a_library_is_made_over_what_a_killed_process_left(tmp_path: Path):
    (tmp_path / "library/scenes.lance/data").mkdir(parents=True)
    assert create_library(tmp_path / "library", ABOUT).put(scene_rows("a", 0)) == "added"


def _library_of(place: Path, change: Any) -> None:
    """A library whose facts are others."""
    schema = scenes_schema(ABOUT)
    facts = json.loads(about_metadata(ABOUT)[b"scenewise_library"])
    change(facts)
    lancedb.connect(str(place)).create_table("scenes", schema=schema.with_metadata({b"scenewise_library": json.dumps(facts)}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda facts: facts.update(version=3), "version: expected 2, got 3. Fix: use a newer version"),
        (lambda facts: facts.update(version=1), "version: expected 2, got 1. Fix: add its scenes to a new library"),
        (lambda facts: facts.update(dim="x"), "facts of the library.dim: expected a whole number"),
        (lambda facts: facts.update(dim=9), "table scenes: expected the columns name, revision"),
        (lambda facts: facts.pop("encoder"), "facts of the library.encoder: expected this key"),
        (lambda facts: facts.update(more=1), "expected only known keys, got 'more'"),
    ],
)
def test_a_library_of_another_format_is_not_read(tmp_path: Path, change: Any, message: str):
    _library_of(tmp_path / "library", change)
    with pytest.raises(DataFormatError, match=message):
        open_library(tmp_path / "library")


def test_tables_of_others_are_no_library(tmp_path: Path):
    lancedb.connect(str(tmp_path / "theirs")).create_table("scenes", [{"a": 1}])
    with pytest.raises(DataFormatError, match="got a table of scenes without its facts"):
        open_library(tmp_path / "theirs")
    library = create_library(tmp_path / "ours", ABOUT)
    lancedb.connect(library.uri).create_table("views", [{"a": 1}])
    with pytest.raises(DataFormatError, match="table views: expected the columns of ours, got a"):
        library.put(scene_rows("a", 0))


@pytest.mark.parametrize("what", ["cut short", "gone", "manifest"])
def test_damage_is_said_without_a_traceback(library: SceneLibrary, what: str):
    library.put(scene_rows("a", 0))
    table = Path(library.uri) / ("scenes.lance" if what == "manifest" else "keypoints.lance")
    for path in (table / "_versions").glob("*.manifest") if what == "manifest" else (table / "data").glob("*"):
        path.unlink() if what == "gone" else path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(DataFormatError, match=r"expected a library that can be read, got .*it is damaged"):
        open_library(library.uri).key_points()


def test_missing_rows_are_said(library: SceneLibrary):
    library.put(scene_rows("a", 0))
    lancedb.connect(library.uri).open_table("keypoints").delete("row = 3")
    for read in (library.key_points, lambda: library.scene("a")):
        with pytest.raises(
            DataFormatError, match=r"scene 'a': expected all of its rows, got some missing in the table keypoints.*Fix: re"
        ):
            read()
    library.remove("a")
    library.put(scene_rows("a", 0))  # what the message advises helps
    assert len(library.key_points().features) == 7


def test_a_library_made_anew_with_another_encoder_is_noticed(library: SceneLibrary):
    connection = lancedb.connect(library.uri)
    connection.create_table("scenes", schema=scenes_schema(replace(ABOUT, fingerprint="beef")), mode="overwrite")
    with pytest.raises(ConventionError, match="expected the encoder condense, as when it was opened, got another"):
        library.put(scene_rows("a", 0))


# --- LanceDB itself -------------------------------------------------------------------------------------------------------------


def test_work_is_done_again_while_others_are_quicker_and_not_for_ever(monkeypatch: pytest.MonkeyPatch):
    waits: list[float] = []
    monkeypatch.setattr("scenewise.io.scene_library.connecting.time.sleep", waits.append)
    tries: list[int] = []

    class Table:
        looks = 0

        def checkout_latest(self) -> None:
            self.looks += 1

    table = Table()

    def work(handle: Table) -> str:
        assert handle is table
        tries.append(1)
        if len(tries) < 4:
            raise RuntimeError("lance error: Retryable commit conflict for version 7")
        return "done"

    assert tried_again(table, work, "library", "table scenes") == "done" and len(waits) == 3
    assert table.looks == 4, "what was written in between is seen"
    waits.clear()

    def never(_: Table) -> str:
        raise RuntimeError("Too many concurrent writers")

    with pytest.raises(ResourceError, match="writing /library: expected a moment without other writers, got Too many"):
        tried_again(table, never, "/library", "")
    assert len(waits) == 11 and sum(waits) < 30 and len(set(waits)) == 11, "bounded, and never alike"

    def broken(_: Table) -> str:
        tries.append(1)
        raise RuntimeError("lance error: file size is too small")

    tries.clear()
    with pytest.raises(DataFormatError, match="file size is too small"):
        tried_again(table, broken, "/library", "")
    assert tries == [1], "what is no conflict is not tried again"


@pytest.mark.parametrize(
    ("place", "text", "error", "message"),
    [
        ("/library", "IO error: No space left on device (os error 28)", ResourceError, "disk space for /library"),
        ("/library", "Permission denied (os error 13)", ResourceError, "write access to /library"),
        ("s3://bucket/a", "ListRequest { source: RetryError(...) }", ResourceError, "the object storage of s3://bucket/a"),
        (
            "/library",
            "Not found: x.lance, /rustc/2d8/library/core/result.rs:1896:29",
            DataFormatError,
            "got Not found: x.lance. Fix",
        ),
    ],
)
def test_errors_of_lancedb_become_ours(place: str, text: str, error: type[Exception], message: str):
    with pytest.raises(error, match=message), lance_errors(place):
        raise RuntimeError(text)


def test_an_error_in_our_own_code_is_not_called_damage(library: SceneLibrary, monkeypatch: pytest.MonkeyPatch):
    library.put(scene_rows("a", 0))
    monkeypatch.setattr(store, "scene_rows", lambda *_: schema.matrix(np.zeros(3), (2,)))
    with pytest.raises(ValueError, match="cannot reshape array of size 3") as caught:
        library.scene("a")
    assert caught.type is ValueError


def test_without_lancedb_the_line_that_installs_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "lancedb", None)
    for use in (lambda: create_library(tmp_path / "a", ABOUT), lambda: open_library(tmp_path)):
        with pytest.raises(
            MissingDependencyError, match=r'A library of scenes needs .* lancedb.*pip install "scenewise\[library\]"'
        ):
            use()
    assert not (tmp_path / "a").exists()


def test_the_store_is_imported_without_lancedb():
    code = "import sys, scenewise.io.scene_library.store; print({'lancedb', 'pyarrow', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_record_of_a_library_has_what_its_file_has():
    assert set(json.loads(about_metadata(ABOUT)[b"scenewise_library"])) == {
        "format",
        "version",
        *(field.name for field in fields(LibraryAbout)),
    }

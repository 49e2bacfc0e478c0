"""scenewise library, search and duplicates: on three tiny rooms, with a pair of branches that has learned nothing."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from tests.support.between_workers import made_once
from tests.support.library_examples import room_cloud, turn, write_sources
from tests.support.library_killer import add_and_be_killed
from tests.support.pair_run import write_pair_run
from tests.support.processes import run_process

pytest.importorskip("lancedb", reason="LanceDB, of the extra library, is not installed")

from scenewise.cli.main import main
from scenewise.commands.library.add import add_scenes
from scenewise.commands.library.options import LibraryAddOptions, LibraryIndexOptions
from scenewise.commands.library.upkeep import index_library
from scenewise.commands.search import run as search_run
from scenewise.commands.search import viewing
from scenewise.commands.search.options import SearchOptions
from scenewise.commands.search.run import search
from scenewise.commands.view.options import ViewOptions
from scenewise.io.camera_files import read_camera_file
from scenewise.io.images import read_image
from scenewise.io.ply.points import write_points_ply
from scenewise.io.scene_library.store import open_library
from scenewise.parts.retrieval.locating import CameraPose
from scenewise.scenes.point_clouds import PointCloud


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_once(tmp_path_factory, "library_sources", write_sources)[0]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"condense:{made_once(tmp_path_factory, 'library_pair_run', lambda place: write_pair_run(place).name)[0]}"


@pytest.fixture(scope="module")
def filled(sources: Path, encoder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of the three rooms; to be left as it is."""
    place = tmp_path_factory.mktemp("filled") / "library"
    arguments = ["library", "add", *(str(sources / name) for name in ("one.ply", "two.ply", "three"))]
    assert main([*arguments, "--library", str(place), "--teacher", encoder, "--place", "Malmö"]) == 0
    return place


@pytest.fixture
def library(filled: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(filled, tmp_path / "library"))


def said(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> Any:
    """What a command prints as JSON."""
    capsys.readouterr()
    assert main([*map(str, arguments), "--json"]) == code
    return json.loads(capsys.readouterr().out)


# --- adding ---------------------------------------------------------------------------------------------------------------------


def test_adding_is_told_once_and_again(sources: Path, encoder: str, tmp_path: Path, capsys, monkeypatch):
    """The library is made where nothing was named, which is said; what is there is passed over."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCENEWISE_LIBRARY", str(tmp_path / "mine"))
    first = said(capsys, "library", "add", sources / "one.ply", "--teacher", encoder)
    assert first["is_new"] and first["library"] == str(tmp_path / "mine") and first["num_scenes"] == 1
    one = first["scenes"][0]
    assert (one["name"], one["outcome"], one["reason"]) == ("one", "added", None) and one["source"] == str(sources / "one.ply")
    assert one["points"] > 1000 and one["key_points"] > 50 and one["things"] >= 1 and one["views"] == 0
    assert main(["library", "add", str(sources / "one.ply"), str(sources / "three")]) == 0
    captured = capsys.readouterr()
    assert "1 added, 1 unchanged; 2 scenes" in captured.out and "a new library" not in captured.err
    monkeypatch.delenv("SCENEWISE_LIBRARY")
    assert main(["library", "add", str(sources / "one.ply"), "--teacher", encoder]) == 0
    assert f"{tmp_path / 'library'}: a new library, encoder {encoder}, 15 classes" in capsys.readouterr().err


def test_what_cannot_be_added_is_reported_and_the_others_are(sources: Path, library: Path, tmp_path: Path, capsys):
    (tmp_path / "broken.ply").write_text("ply\nnothing")
    write_points_ply(tmp_path / "grey.ply", PointCloud(room_cloud(1_000_001, 9).points_in_world))
    write_points_ply(tmp_path / "new.ply", room_cloud(1_000_001, 9))
    places = [tmp_path / name for name in ("broken.ply", "grey.ply", "nowhere", "new.ply")]
    summary = said(capsys, "library", "add", *places, "--library", library, code=2)
    outcomes = {scene["name"]: (scene["outcome"], scene["reason"] or "") for scene in summary["scenes"]}
    assert {name: outcome for name, (outcome, _) in outcomes.items()} == {
        "broken": "failed",
        "grey": "failed",
        "nowhere": "failed",
        "new": "added",
    }
    assert "colours" in outcomes["grey"][1] and "broken.ply" in outcomes["broken"][1] and "nothing" in outcomes["nowhere"][1]
    assert main(["library", "add", *map(str, places), "--library", str(library)]) == 2
    text = capsys.readouterr().out
    assert "grey: not added: points of grey: expected colours" in text and "1 unchanged, 3 failed; 4 scenes" in text
    assert (
        said(capsys, "library", "add", tmp_path / "nowhere", "--library", library, code=2)["error"]["type"] == "DataFormatError"
    )


def test_names_and_what_is_told_about_captures(sources: Path, library: Path, tmp_path: Path, capsys):
    for name in ("a/kitchen", "b/kitchen"):
        shutil.copytree(sources / "three", tmp_path / "house" / name)
    told = ["--date", "2025-03-28", "--place", "My house", "--library", library]
    summary = said(capsys, "library", "add", tmp_path / "house", "--name", "house", *told)
    assert [scene["name"] for scene in summary["scenes"]] == ["house/a/kitchen", "house/b/kitchen"]
    listed = said(capsys, "library", "list", "--library", library, "--place", "HOUSE", "--after", "2025")
    assert [(scene["name"], scene["date"]) for scene in listed["scenes"]] == [
        ("house/a/kitchen", "2025-03-28"),
        ("house/b/kitchen", "2025-03-28"),
    ]
    licensed = said(capsys, "library", "add", sources / "one.ply", "--licence", "CC-BY-4.0", "--library", library)
    assert licensed["scenes"][0]["outcome"] == "replaced"
    assert [scene["name"] for scene in said(capsys, "library", "list", "--library", library, "--licence", "cc-by")["scenes"]] == [
        "one"
    ]
    twice = said(capsys, "library", "add", sources / "one.ply", sources / "one.ply", "--library", library, code=2)
    assert "names of the scenes: expected each once, got 'one' from" in twice["error"]["message"]
    other = said(capsys, "library", "add", sources / "two.ply", "--name", "one", "--library", library, code=2)
    assert "--replace" in other["scenes"][0]["reason"]
    assert said(capsys, "library", "add", sources / "two.ply", "--name", "one", "--library", library, "--replace")["scenes"][0][
        "outcome"
    ] == ("replaced")


def test_the_encoder_and_the_classes_of_a_library_are_settled(
    sources: Path, library: Path, encoder: str, tmp_path: Path, capsys, monkeypatch
):
    other = f"condense:{write_pair_run(tmp_path / 'other', seed=1)}"
    add = ["library", "add", sources / "one.ply", "--library", library]
    error = said(capsys, *add, "--teacher", other, code=2)["error"]
    assert error["type"] == "ConventionError" and "the encoder of the library: expected condense:" in error["message"]
    assert (
        "name the library's own with --teacher"
        in said(capsys, "search", "chair", "--library", library, "--teacher", other, code=2)["error"]["message"]
    )
    assert (
        "--classes: expected those of the library" in said(capsys, *add, "--classes", "chair, sofa", code=2)["error"]["message"]
    )
    unknown = said(
        capsys,
        "library",
        "add",
        sources / "one.ply",
        "--library",
        tmp_path / "new",
        "--teacher",
        encoder,
        "--classes",
        "xylophone",
        code=2,
    )
    assert "xylophone" in unknown["error"]["message"] and not (tmp_path / "new").exists()
    typed = ["--library", tmp_path / "own", "--classes", "wall, sofa|couch, chair"]
    assert said(capsys, "library", "add", sources / "one.ply", *typed, "--teacher", encoder)["scenes"][0]["outcome"] == "added"
    again = said(capsys, "library", "add", sources / "one.ply", "--library", tmp_path / "own")  # with its synonyms
    assert again["scenes"][0]["outcome"] == "unchanged"
    moved = write_pair_run(tmp_path / "moved")
    (tmp_path / "moved").rename(tmp_path / "elsewhere")
    gone = tmp_path / "gone"
    assert said(capsys, "library", "add", sources / "one.ply", "--library", gone, "--teacher", f"condense:{moved}", code=2)
    monkeypatch.chdir(tmp_path)
    known = said(capsys, "library", "add", sources / "one.ply", "--library", gone, "--teacher", "condense:elsewhere")
    assert known["num_scenes"] == 1
    monkeypatch.chdir("/")
    assert said(capsys, "search", "chair", "--library", gone)["hits"]  # the encoder is found from anywhere
    (tmp_path / "elsewhere").rename(tmp_path / "away")
    error = said(capsys, "search", "chair", "--library", gone, code=2)["error"]
    assert "name where it is now with --teacher" in error["message"]
    assert said(capsys, "search", "chair", "--library", gone, "--teacher", f"condense:{tmp_path / 'away'}")["hits"]


def test_descriptors_of_another_network_by_files(sources: Path, encoder: str, library: Path, tmp_path: Path, capsys):
    folder = tmp_path / "descriptors"
    folder.mkdir()
    (folder / "teacher.json").write_text(json.dumps({"kind": "descriptors", "dim": 6}))
    for number in range(4):
        save_file({"descriptor": np.arange(1, 7, dtype=np.float16) + number}, folder / f"frame-{number:06d}.color.safetensors")
    add = ["library", "add", sources / "three", "--descriptors", f"files:{folder}"]
    said(capsys, *add, "--library", tmp_path / "new", "--teacher", encoder)
    held = open_library(tmp_path / "new")
    assert (held.about.other_encoder, held.about.other_dim) == ("descriptors", 6)
    wanted = np.arange(1, 7) / np.linalg.norm(np.arange(1, 7))
    np.testing.assert_allclose(held.views().other_descriptors[0], wanted, atol=1e-3)
    error = said(capsys, *add, "--library", library, code=2)["error"]["message"]
    assert "--descriptors: expected those the library was made with: none, got descriptors with 6 numbers" in error
    picture = tmp_path / "frame-000003.color.png"
    shutil.copy(sources / "three" / picture.name, picture)
    by_picture = ["search", "--image", picture, "--descriptors", f"files:{folder}", "--library", tmp_path / "new"]
    summary = said(capsys, *by_picture, "--out", tmp_path / "out")
    (hit,) = summary["hits"]
    assert (hit["name"], hit["view"], hit["camera"]) == ("three", "frame-000003.color.png", None)
    assert hit["score"] == pytest.approx(1.0, abs=1e-3) and summary["question"]["descriptors"] == "descriptors"
    assert main([*map(str, by_picture)]) == 0
    table = capsys.readouterr().out
    assert "likest picture" in table and "guesses" not in table
    said(capsys, "library", "add", sources / "three", "--name", "again", "--descriptors", f"files:{folder}", *by_picture[-2:])
    by_scene = ["search", "--scene", "three", "--descriptors", "library", *by_picture[-2:]]
    assert [(hit["name"], round(hit["score"], 3)) for hit in said(capsys, *by_scene)["hits"]] == [("again", 1.0)]
    error = said(capsys, *by_scene[:-1], library, code=2)["error"]["message"]
    assert error.startswith("descriptors of three: expected some of another network, got none")
    error = said(capsys, *by_picture[:-1], library, code=2)["error"]["message"]
    assert "made with: none, got descriptors with 6 numbers. Fix: name descriptors of that network" in error
    (folder / "frame-000002.color.safetensors").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        failed = said(capsys, *add, "--library", "new", code=2)["scenes"][0]
    assert failed["outcome"] == "failed" and "frame-000002.color.safetensors, got no such file" in failed["reason"]


def test_a_killed_run_leaves_a_library_and_the_next_one_finishes(sources: Path, encoder: str, tmp_path: Path, capsys):
    """Killed when the first scene is there and the second one's rows, but not its own row."""
    place, words = tmp_path / "library", [str(sources / name) for name in ("one.ply", "two.ply", "three")]
    arguments = [*words, "--library", str(place), "--teacher", encoder]
    assert run_process(add_and_be_killed, arguments, tmp_path / "said", 1) == -9
    assert [scene.name for scene in open_library(place).scenes()] == ["one"]
    assert said(capsys, "library", "info", "--library", place)["tables"]["keypoints"]["num_stale_rows"] > 0
    assert said(capsys, "search", "--scene", "one", "--library", place)["hits"] == []
    summary = said(capsys, "library", "add", *arguments)
    assert [scene["outcome"] for scene in summary["scenes"]] == ["unchanged", "added", "added"]
    assert len(open_library(place).key_points().scenes) == 3


def test_an_interrupted_run_keeps_what_was_added(sources: Path, library: Path, monkeypatch, capsys):
    from scenewise.commands.library import add

    real, done = add.add_source, []

    def interrupted(*arguments: Any, **more: Any) -> Any:
        if done:
            raise KeyboardInterrupt
        done.append(1)
        return real(*arguments, **more)

    monkeypatch.setattr(add, "add_source", interrupted)
    words = [str(sources / "one.ply"), str(sources / "two.ply"), "--name", "again"]
    assert main(["library", "add", *words, "--library", str(library)]) == 130
    assert "1 of 2 scenes are done and stay; the same command goes on" in capsys.readouterr().err
    assert [scene.name for scene in open_library(library).scenes()] == ["again/one", "one", "three", "two"]


# --- looking at it --------------------------------------------------------------------------------------------------------------


def test_the_list_and_its_things(filled: Path, capsys):
    assert main(["library", "list", "--library", str(filled)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "date", "place", "licence", "things", "views", "points"] and len(lines) == 4
    assert lines[2].startswith("three") and "Malmö" in lines[2] and "CC0-1.0 (generated)" in lines[2]
    listed = said(capsys, "library", "list", "three", "--library", filled)
    (three,) = listed["scenes"]
    assert listed["num_scenes"] == 3 and three["views"] == 4 and len(three["listed"]) == three["things"]
    assert three["listed"][0]["id"] == "three:0" and three["class_counts"]
    assert main(["library", "list", "three", "--library", str(filled)]) == 0
    assert "three:0" in capsys.readouterr().out
    assert said(capsys, "library", "list", "--library", filled, "--has", "chair>=99")["scenes"] == []
    assert main(["library", "list", "--library", str(filled), "--place", "Lund"]) == 0
    assert "no scene of 3 is meant" in capsys.readouterr().out
    error = said(capsys, "library", "list", "--library", filled, "--has", "xylophone", code=2)["error"]["message"]
    assert error.startswith("--has: expected a class of the library, such as ")
    assert (
        "one of the 3 of the library, such as three"
        in said(capsys, "library", "list", "thre", "--library", filled, code=2)["error"]["message"]
    )


def test_scenes_are_removed_and_old_versions_still_have_them(library: Path, capsys):
    before = said(capsys, "library", "info", "--library", library)["version"]
    error = said(capsys, "library", "remove", "one", "four", "--library", library, code=2)["error"]["message"]
    assert "'four'" in error and said(capsys, "library", "list", "--library", library)["num_scenes"] == 3
    gone = said(capsys, "library", "remove", "one", "--library", library)
    assert gone["removed"] == ["one"] and gone["num_scenes"] == 2
    then = said(capsys, "library", "list", "--library", library, "--at", before)
    assert [scene["name"] for scene in then["scenes"]] == ["one", "three", "two"]
    hits = said(capsys, "search", "--scene", "two", "--library", library, "--at", before)["hits"]
    assert {hit["name"] for hit in hits} == {"one", "three"}
    versions = said(capsys, "library", "info", "--library", library, "--versions")["versions"]
    assert versions[-1]["removed"] == ["one"]
    assert main(["library", "info", "--library", str(library), "--versions"]) == 0
    text = capsys.readouterr().out
    assert "removed one" in text and "2 scenes" in text and "12 numbers, 15 classes" in text
    error = said(capsys, "library", "list", "--library", library, "--at", 99, code=2)["error"]
    assert error["type"] == "DataFormatError" and "version 99: expected one that is kept" in error["message"]
    swept = said(capsys, "library", "compact", "--library", library)
    assert swept["num_bytes_before"] > 0 and main(["library", "compact", "--library", str(library)]) == 0


def test_the_index_of_large_tables_and_its_recall(library: Path, capsys):
    assert main(["library", "index", "--library", str(library)]) == 0
    assert "no table has more than 200,000 rows" in capsys.readouterr().out
    built = index_library(LibraryIndexOptions(str(library)), exact_rows=20)
    assert {"keypoints"} <= set(built.tables) <= {"keypoints", "objects"} and built.tables["keypoints"].rows > 100
    assert built.tables["keypoints"].recall > 0.95 and "recall@10" in built.text()
    assert said(capsys, "library", "info", "--library", library)["tables"]["keypoints"]["num_unindexed_rows"] == 0


# --- searching ------------------------------------------------------------------------------------------------------------------


def test_no_library_and_wrong_questions_are_said(filled: Path, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for words in (["search", "chair"], ["duplicates"], ["library", "list"], ["library", "remove", "a"], ["library", "compact"]):
        error = said(capsys, *words, code=2)["error"]
        assert error["message"].startswith(f"{tmp_path / 'library'}: expected a library of scenes, got none. Fix: make one with")
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "notes.txt").write_text("mine")
    assert said(capsys, "search", "chair", code=2)["error"]["type"] == "DataFormatError"
    for words, message in (
        (["search"], "search: expected one of TEXT, --image, --scene and --object, got none"),
        (
            ["search", "chair", "--scene", "one"],
            "search: expected one of TEXT, --image, --scene and --object, got TEXT and --scene",
        ),
        (["search", "--object", "one"], "--object: expected SCENE:NUMBER, got 'one'"),
        (["search", "chair", "--fov", "60"], "--fov: expected --image, got none"),
        (
            ["search", "chair", "--after", "March"],
            "--after: expected a day, a month or a year, such as 2025-03-28 or 2025-03, got 'March'",
        ),
        (
            ["library", "add", "a", "--date", "2025-13-01"],
            "--date: expected year-month-day, such as 2025-03-28, got '2025-13-01'",
        ),
        (["library", "add"], "SOURCE: expected at least one, got none"),
        (["library", "add", "a", "--descriptors", "dir"], "--descriptors: expected \"files:DIR\", got 'dir'"),
        (
            ["search", "--scene", "one", "--descriptors", "files:dir"],
            '--descriptors: expected "files:DIR" with --image, or "library" with --scene, got \'files:dir\'',
        ),
        (
            ["search", "--image", "a.jpg", "--descriptors", "files:dir", "--fov", "60"],
            "--fov and --descriptors: expected one of the two, got both",
        ),
        (["duplicates", "--least", "2"], "--least: expected a number in [0, 1], got 2.0"),
    ):
        assert said(capsys, *words, code=2)["error"]["message"] == message
    for words, message in (
        (["xylophone"], "xylophone"),
        (["--scene", "tow"], "--scene: expected a scene of the library, such as two, or a file or folder, got 'tow'"),
        (["--object", "one:99"], "scenewise library list one lists them"),
        (["--object", "four:0"], "one of the 3 of the library"),
        (["--image", tmp_path / "none.jpg"], "none.jpg: expected an image, got no such file"),
        (["--scene", tmp_path / "library"], "expected a folder of scans"),
    ):
        assert message in said(capsys, "search", *words, "--library", filled, code=2)["error"]["message"]


def test_words_and_things(filled: Path, capsys):
    summary = said(capsys, "search", "two chairs", "--library", filled, "--top", 2)
    assert set(summary) == {"library", "encoder", "question", "hits", "num_scenes", "files", "seconds", "was_viewed"}
    assert summary["question"]["kind"] == "text" and summary["question"]["things_asked"] == ["2 chair"]
    hit = summary["hits"][0]
    assert hit["rank"] == 1 and hit["camera"] is None and hit["transform"] is None and len(summary["hits"]) == 2
    thing = hit["things"][0]
    assert thing["id"].startswith(f"{hit['name']}:") and thing["class_name"]
    found = said(capsys, "search", "--object", thing["id"], "--library", filled)
    assert found["question"] == {
        **summary["question"],
        "kind": "object",
        "asked": thing["id"],
        "things_asked": [thing["class_name"]],
    }
    assert thing["id"] not in [each["id"] for one in found["hits"] for each in one["things"]]
    assert main(["search", "two chairs", "--library", str(filled)]) == 0
    assert thing["id"] in capsys.readouterr().out
    assert main(["search", "a chair", "--library", str(filled), "--place", "Lund"]) == 0
    assert "no scene that could answer" in capsys.readouterr().out


def test_another_capture_of_a_place(sources: Path, filled: Path, tmp_path: Path, capsys):
    """A cloud that was moved: the transform leads back, in the coordinates of both files."""
    shift, cloud = np.array([1000.0, -200.0, 3.0]), room_cloud(1_000_001)
    write_points_ply(tmp_path / "again.ply", replace(cloud, points_in_world=cloud.points_in_world + shift))
    summary = said(capsys, "search", "--scene", tmp_path / "again.ply", "--library", filled, "--out", tmp_path / "out")
    best = summary["hits"][0]
    assert best["name"] == "one" and best["transform"]["agreeing"] >= 20 and best["transform"]["scale"] == 1
    found = np.array(best["transform"]["to_from"])
    corners = cloud.points_in_world[:: len(cloud) // 8]
    np.testing.assert_allclose((corners + shift) @ found[:3, :3].T + found[:3, 3], corners, atol=0.02)
    file = json.loads((tmp_path / "out" / "hits.json").read_text())
    assert file["format"] == "scenewise-hits" and file["hits"] == summary["hits"] and set(file["about"]) >= {"frame", "transform"}
    assert not (tmp_path / "out" / "camera.json").exists() and read_image(tmp_path / "out" / "hits.png").std() > 10
    assert main(["search", "--scene", str(tmp_path / "again.ply"), "--library", str(filled)]) == 0
    assert " of " in capsys.readouterr().out.splitlines()[1]
    by_name = said(capsys, "search", "--scene", "one", "--library", filled)
    assert "one" not in [hit["name"] for hit in by_name["hits"]]


CENTER = np.array([2.0, 1.5, 1.2])


def found_camera(search_answers: Any, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Lets every picture be found in the first scene from one place, in local coordinates; returns that pose in the source."""
    in_source = np.eye(4)
    in_source[:3, :3] = turn((1, 0, 0), 90)  # looks along +Y
    in_source[:3, 3] = -in_source[:3, :3] @ CENTER

    def answered(*arguments: Any) -> Any:
        answer = search_answers(*arguments)
        local = in_source.copy()
        local[:3, 3] += local[:3, :3] @ answer.hits[0].scene.facts.offset_in_source
        assert answer.question.width is not None
        hit = replace(answer.hits[0], camera=CameraPose(local, 42, 60, answer.question.width / 1.2, 30.0))
        return replace(answer, hits=(hit, *answer.hits[1:]))

    monkeypatch.setattr(search_run, "answered", answered)
    return in_source


def photograph(sources: Path, path: Path, **tags: Any) -> Path:
    exif = Image.Exif()
    for tag, value in tags.items():
        if tag == "orientation":
            exif[0x0112] = value
        else:
            exif.get_ifd(0x8769)[0xA405] = value
    with Image.open(sources / "three" / "frame-000000.color.png") as image:
        image.convert("RGB").save(path, exif=exif)
    return path


def test_a_picture_and_where_it_was_taken(sources: Path, filled: Path, tmp_path: Path, capsys, monkeypatch):
    pytest.importorskip("poselib", reason="PoseLib, of the extra library, is not installed")
    pose = found_camera(search_run.answered, monkeypatch)
    image, out = sources / "three" / "frame-000001.color.png", tmp_path / "out"
    summary = said(capsys, "search", "--image", image, "--fov", 62, "--library", filled, "--place", "Malmö", "--out", out)
    question, camera = summary["question"], summary["hits"][0]["camera"]
    assert (question["width"], question["height"], question["fov_deg"], question["fov_from"]) == (
        64,
        48,
        pytest.approx(62),
        "option",
    )
    np.testing.assert_allclose(camera["camera_from_source"], pose, atol=1e-9)
    np.testing.assert_allclose(camera["position_in_source"], CENTER, atol=1e-9)
    assert camera["heading_deg"] == pytest.approx(90) and camera["pitch_deg"] == pytest.approx(0, abs=1e-9)
    assert (camera["agreeing"], camera["in_view"], camera["width"], camera["height"]) == (42, 60, 64, 48)
    assert camera["K"][0][0] == pytest.approx(64 / 1.2) and camera["fov_deg"] == pytest.approx(2 * np.degrees(np.arctan(0.6)))
    assert summary["files"] == [str(out / name) for name in ("hits.json", "hits.png", "camera.json")]
    assert read_image(out / "hits.png").shape[0] > 400  # the picture that was asked for, and the hits below it
    world_from_source = np.eye(4)
    world_from_source[:3, 3] = [-100, 0, 5]
    read = read_camera_file(out / "camera.json", world_from_source)
    np.testing.assert_allclose(read.world_from_camera[:3, 3], CENTER + world_from_source[:3, 3], atol=1e-9)
    assert main(["search", "--image", str(image), "--library", str(filled)]) == 0
    text = capsys.readouterr().out
    assert "2.00, 1.50, 1.20 m" in text and "90°" in text and "42 of 60" in text
    if summary["hits"][0]["name"] == "three":
        assert summary["hits"][0]["view"] in {f"frame-{number:06d}.color.png" for number in range(4)}


def test_the_focal_length_is_read_from_exif_and_the_picture_turned(sources: Path, filled: Path, tmp_path: Path):
    pytest.importorskip("poselib", reason="PoseLib, of the extra library, is not installed")
    lying = search(SearchOptions(image=photograph(sources, tmp_path / "a.jpg", focal=26), library=str(filled), top=1)).question
    focal = 26 * 80 / np.hypot(36, 24)  # the diagonal of 64 by 48 pixels is 80
    assert lying.fov_from == "exif" and lying.fov_deg == pytest.approx(np.degrees(2 * np.arctan(32 / focal)))
    upright = photograph(sources, tmp_path / "b.jpg", focal=26, orientation=6)
    standing = search(SearchOptions(image=upright, library=str(filled), top=1)).question
    assert (standing.width, standing.height) == (48, 64)
    assert standing.fov_deg == pytest.approx(np.degrees(2 * np.arctan(24 / focal)))
    tried = search(SearchOptions(image=photograph(sources, tmp_path / "c.jpg"), library=str(filled), top=1)).question
    assert tried.fov_from == "tried" and tried.fov_deg is None


def test_without_poselib_it_is_said_what_to_install(sources: Path, filled: Path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "poselib", None)
    image = sources / "three" / "frame-000000.color.png"
    error = said(capsys, "search", "--image", image, "--library", filled, code=2)["error"]
    assert error["type"] == "MissingDependencyError" and 'pip install "scenewise[library]"' in error["message"]


@pytest.mark.parametrize("words", [["search", "chair"], ["library", "list"], ["library", "add", "."], ["duplicates"]])
def test_without_lancedb_it_is_said_what_to_install(words: list[str], sources: Path, tmp_path: Path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "lancedb", None)
    (tmp_path / "library").mkdir()
    shutil.copy(sources / "one.ply", tmp_path / "one.ply")
    monkeypatch.chdir(tmp_path)
    given = ["one.ply" if word == "." else word for word in words]
    error = said(capsys, *given, code=2)["error"]
    assert error["type"] == "MissingDependencyError" and 'pip install "scenewise[library]"' in error["message"]


# --- the viewer -----------------------------------------------------------------------------------------------------------------


def test_the_viewer_opens_on_the_best_hit(sources: Path, library: Path, tmp_path: Path, capsys, monkeypatch):
    """A capture is shown by its points, in a scene folder that lasts as long as one looks."""
    pytest.importorskip("poselib", reason="PoseLib, of the extra library, is not installed")
    shutil.copytree(sources / "three", tmp_path / "moved")
    said(capsys, "library", "add", tmp_path / "moved", "--library", library, "--place", "cellar")
    found_camera(search_run.answered, monkeypatch)
    seen: list[tuple[np.ndarray, int, int]] = []

    def look(options: ViewOptions, progress: Any) -> None:
        from scenewise.io.scene_folder import read_scene
        from scenewise.show.viewer.contents import load_contents

        scene = read_scene(options.scene)
        contents = load_contents(options.scene, max_splats=10, max_points=10**6)
        assert options.camera is not None
        camera = read_camera_file(options.camera, scene.world_from_source)
        seen.append((camera.world_from_camera[:3, 3].numpy(), len(contents.points), len(scene.cameras)))

    monkeypatch.setattr(viewing, "view_scene", look)
    ask = ["search", "--image", sources / "three" / "frame-000000.color.png", "--library", library, "--place", "cellar", "--view"]
    assert said(capsys, *ask)["hits"][0]["name"] == "moved"
    assert main(list(map(str, ask))) == 0 and seen.pop() is not None
    captured = capsys.readouterr()
    assert captured.out == "closed the viewer on moved\n" and "42 of 60" in captured.err
    ((center, points, cameras),) = seen
    np.testing.assert_allclose(center, CENTER, atol=1e-9)
    assert points > 1000 and cameras == 4
    shutil.rmtree(tmp_path / "moved")
    error = said(capsys, *ask, code=2)["error"]["message"]
    assert "expected what the scene 'moved' was made from, got nothing. Fix: put it back" in error


# --- duplicates -----------------------------------------------------------------------------------------------------------------


def test_places_that_are_there_twice(library: Path, tmp_path: Path, capsys):
    assert said(capsys, "duplicates", "--library", library, "--least", 0.9)["pairs"] == []
    cloud, shift = room_cloud(1_000_001), np.array([50.0, 0.0, -2.0])
    again = PointCloud(cloud.points_in_world + shift, cloud.colors_u8)
    write_points_ply(tmp_path / "again.ply", again)
    said(capsys, "library", "add", tmp_path / "again.ply", "--library", library)
    summary = said(capsys, "duplicates", "--library", library, "--out", tmp_path / "out")
    (pair,) = summary["pairs"]
    assert (pair["first"], pair["second"]) == ("again", "one") and pair["score"] > 0.9 and summary["num_scenes"] == 4
    np.testing.assert_allclose(np.array(pair["transform"]["to_from"])[:3, 3], -shift, atol=0.1)
    assert json.loads((tmp_path / "out" / "duplicates.json").read_text())["pairs"] == summary["pairs"]
    assert read_image(tmp_path / "out" / "duplicates.png").shape[1] == 14 + 2 * 270
    assert main(["duplicates", "--library", str(library)]) == 0
    assert "1 pair among 4 scenes" in capsys.readouterr().out
    only = said(capsys, "duplicates", "--library", library, "--place", "Malmö")
    assert only["pairs"] == [] and only["num_scenes"] == 3


def test_pictures_of_anything_but_rooms_are_warned_about(sources: Path, encoder: str, tmp_path: Path):
    shutil.copytree(sources / "three", tmp_path / "photographs")
    about = json.loads((tmp_path / "photographs" / "capture.json").read_text())
    (tmp_path / "photographs" / "capture.json").write_text(json.dumps({**about, "licence": "mine"}))
    options = LibraryAddOptions((tmp_path / "photographs",), library=str(tmp_path / "library"), teacher=encoder)
    with pytest.warns(UserWarning, match=r"has learned words in procedural rooms only: .*\(photographs\)"):
        assert add_scenes(options).exit_code == 0
    assert add_scenes(options).scenes[0].outcome == "unchanged"  # and is said once

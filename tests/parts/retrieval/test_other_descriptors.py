"""Questions by descriptors of another network."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.library_scenes import ABOUT, OTHER_DIM, scene_rows

pytest.importorskip("lancedb", reason="LanceDB, of the extra library, is not installed")

from scenewise.errors import ConventionError, ShapeError
from scenewise.io.descriptor_files import DescriptorFiles
from scenewise.io.scene_library.store import SceneLibrary, create_library
from scenewise.parts.retrieval import other_descriptors
from scenewise.parts.retrieval.filters import SceneFilter
from scenewise.parts.retrieval.other_descriptors import descriptors_of_scene, require_same_network, scenes_like

NAMES = ("attic", "hall", "kitchen", "yard")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> SceneLibrary:
    """Four scenes of 2, 3, 4 and 5 views; of the hall's the other network said nothing."""
    made = create_library(tmp_path_factory.mktemp("others") / "library", ABOUT)
    for number, name in enumerate(NAMES):
        made.put(scene_rows(name, number, views=2 + number, other=name != "hall", place=f"The {name}"))
    return made


def reference(library: SceneLibrary, asked: np.ndarray, but: str | None = None) -> dict[str, tuple[float, int]]:
    """Score and likest view of every scene of which something is known."""
    views, found = library.views(), {}
    unit = asked / np.linalg.norm(asked, axis=1, keepdims=True)
    for index, scene in enumerate(views.scenes):
        begin, end = views.starts[index : index + 2]
        own = views.other_descriptors[begin:end]
        if own.any() and scene.name != but:
            cosines = unit @ own.T
            found[scene.name] = (float(cosines.max(axis=1).mean()), int(begin) + int(np.argmax(cosines.max(axis=0))))
    return found


@pytest.mark.parametrize("count", [1, 3])
def test_scenes_are_ranked_by_their_likest_views(library: SceneLibrary, count: int) -> None:
    asked = 7.0 * np.random.default_rng(count).standard_normal((count, OTHER_DIM)).astype(np.float32)
    wanted = reference(library, asked)
    found = scenes_like(library, asked)
    assert [hit.scene.name for hit in found] == sorted(wanted, key=lambda name: -wanted[name][0]) and len(found) == 3
    for hit in found:
        assert hit.score == pytest.approx(wanted[hit.scene.name][0], abs=1e-5) and hit.view == wanted[hit.scene.name][1]


def test_a_scene_asks_with_all_its_views_and_is_no_answer(library: SceneLibrary) -> None:
    asked = descriptors_of_scene(library, "kitchen")
    assert asked.shape == (4, OTHER_DIM)
    found = scenes_like(library, asked, but="kitchen")
    wanted = reference(library, asked, but="kitchen")
    assert {hit.scene.name: pytest.approx(hit.score, abs=1e-5) for hit in found} == {name: wanted[name][0] for name in wanted}
    assert scenes_like(library, asked, 1)[0].scene.name == "kitchen"
    assert [hit.scene.name for hit in scenes_like(library, asked, where=SceneFilter(place="attic"))] == ["attic"]
    assert scenes_like(library, asked, where=SceneFilter(place="nowhere")) == ()
    assert scenes_like(library, asked, where=SceneFilter(place="hall")) == ()


def test_of_many_views_only_the_nearest_are_looked_at(library: SceneLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scene that is missing there counts as much as the last one found; one that is found nowhere is no answer."""
    views = library.views()
    attic, yard = (views.other_descriptors[views.starts[NAMES.index(name)]] for name in ("attic", "yard"))
    monkeypatch.setattr(other_descriptors, "_NEAREST", 1)
    found = scenes_like(library, np.stack([attic, yard]))
    assert {hit.scene.name for hit in found} == {"attic", "yard"}
    assert [hit.score for hit in found] == pytest.approx([1.0, 1.0], abs=1e-3)
    assert {hit.view for hit in found} == {int(views.starts[NAMES.index(name)]) for name in ("attic", "yard")}


@pytest.mark.errors
def test_what_cannot_be_asked_is_said(library: SceneLibrary, tmp_path: Path) -> None:
    with pytest.raises(ConventionError, match="descriptors of hall: expected some of another network, got none"):
        descriptors_of_scene(library, "hall")
    with pytest.raises(ConventionError, match="scene: expected one of the 4 of the library"):
        descriptors_of_scene(library, "cellar")
    with pytest.raises(ShapeError, match=f"vectors of {OTHER_DIM} numbers"):
        scenes_like(library, np.ones((1, OTHER_DIM + 1), np.float32))
    require_same_network(ABOUT, DescriptorFiles(tmp_path, "dinov2", OTHER_DIM), "no")
    for files in (DescriptorFiles(tmp_path, "dinov2", 6), DescriptorFiles(tmp_path, "clip", OTHER_DIM)):
        with pytest.raises(ConventionError, match=r"--descriptors: expected .*: dinov2 with 5 numbers, got .* Fix: take those"):
            require_same_network(ABOUT, files, "take those")
    with pytest.raises(ConventionError, match="made with: none"):
        require_same_network(replace(ABOUT, other_encoder=None, other_dim=None), files, "take those")

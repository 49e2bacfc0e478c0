"""What a sentence asks for, and which scenes a filter means."""

from datetime import UTC, datetime

import pytest
from tests.support.library_scenes import scene_rows

from scenewise.errors import ConventionError
from scenewise.io.scene_library.records import StoredScene
from scenewise.parts.retrieval.descriptions import singular, things_asked
from scenewise.parts.retrieval.filters import EVERYTHING, SceneFilter, count_condition


def asked(sentence: str) -> list[tuple[int, str, str | None]]:
    return [(each.count, each.noun, each.color) for each in things_asked(sentence)]


@pytest.mark.parametrize(
    ("sentence", "wanted"),
    [
        (
            "a room with two red chairs, a blue sofa and a yellow wall",
            [(2, "chair", "red"), (1, "sofa", "blue"), (1, "wall", "yellow")],
        ),
        ("kitchen with two chairs", [(1, "kitchen", None), (2, "chair", None)]),
        ("Is there a sofa?", [(1, "sofa", None)]),
        ("chair", [(1, "chair", None)]),
        ("a photo of an indoor scene with a table", [(1, "table", None)]),
        ("there are three lamps and 2 plants!", [(3, "lamp", None), (2, "plant", None)]),
        ("show me rooms that have a green couch", [(1, "couch", "green")]),
        ("four bookshelves as well as an armchair", [(4, "bookshelf", None), (1, "armchair", None)]),
        ("several glass tables; a bed", [(3, "glass table", None), (1, "bed", None)]),
        ("a grey bed with a violet lamp", [(1, "bed", "gray"), (1, "lamp", "purple")]),
        ("a room where there is a desk", [(1, "desk", None)]),
        ("a big table, and, a lamp", [(1, "big table", None), (1, "lamp", None)]),
        ("the red and blue chair", [(1, "chair", "blue")]),
        ("with", [(1, "with", None)]),
        ("red", [(1, "red", None)]),
        ("?", [(1, "?", None)]),
        ("", [(1, "", None)]),
        ("999999999999 chairs", [(100, "chair", None)]),
        ("a room without chairs", [(1, "room without chairs", None)]),
    ],
)
def test_things_of_a_sentence(sentence: str, wanted: list[tuple[int, str, str | None]]):
    assert asked(sentence) == wanted


def test_the_color_stays_in_the_text():
    assert [each.text for each in things_asked("two dark red chairs")] == ["dark red chair"]


@pytest.mark.parametrize(
    ("many", "one"),
    [
        ("chairs", "chair"),
        ("bookshelves", "bookshelf"),
        ("couches", "couch"),
        ("boxes", "box"),
        ("glasses", "glass"),
        ("glass", "glass"),
    ],
)
def test_one_of_many(many: str, one: str):
    assert singular(many) == one


def stored(**facts: object) -> StoredScene:
    rows = scene_rows("kitchen", 2, **facts)
    return StoredScene(rows.facts, 1, datetime.now(UTC), 3, 2, 7)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (SceneFilter(after="2025-03-28"), True),
        (SceneFilter(after="2025-03-29"), False),
        (SceneFilter(after="2025-03"), True),
        (SceneFilter(after="2026"), False),
        (SceneFilter(before="2025-03-28"), True),
        (SceneFilter(before="2025-03-27"), False),
        (SceneFilter(before="2025-03"), True),
        (SceneFilter(before="2025"), True),
        (SceneFilter(before="2024-12"), False),
        (SceneFilter(place="malmö"), True),
        (SceneFilter(place="Lund"), False),
        (SceneFilter(licence="cc0"), False),
        (EVERYTHING, True),
    ],
)
def test_filters(condition: SceneFilter, holds: bool):
    scene = stored(date="2025-03-28", place="Malmö, Sweden")
    assert condition.holds(scene) is holds
    assert condition.rows([scene, scene]) == ([0, 1] if holds else [])


def test_scenes_without_a_date_or_a_licence_fail_what_asks_for_one():
    unknown = stored(date=None, place=None)
    assert not SceneFilter(after="1900").holds(unknown) and not SceneFilter(before="2100").holds(unknown)
    assert not SceneFilter(place="x").holds(unknown)
    assert SceneFilter(licence="CC0").holds(stored(licence="CC0-1.0 (generated)"))


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("chair", True),
        ("chair>=2", True),
        ("Chair >= 3", False),
        ("chair=2", True),
        ("chair == 2", True),
        ("chair<2", False),
        ("lamp <= 1", True),
        ("lamp>1", False),
        ("table", False),
        ("table=0", True),
        ("dining table<1", True),
    ],
)
def test_counts(text: str, holds: bool):
    scene = stored(class_counts={"chair": 2, "lamp": 1})
    assert SceneFilter(counts=(count_condition(text),)).holds(scene) is holds
    assert not SceneFilter(counts=(count_condition(text), count_condition("sofa"))).holds(scene)


@pytest.mark.parametrize("text", ["", "  ", ">=2", " >= 2", "chair>=", "chair>=two", "chair>=-1", "2<chair<4"])
def test_conditions_that_are_none_are_refused(text: str):
    with pytest.raises(ConventionError, match=r'--has: expected a class and perhaps a number, such as "chair>=2"'):
        count_condition(text)

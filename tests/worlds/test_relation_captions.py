"""Sentences about relations say only what holds, as whoever looks at the picture would say it."""

import dataclasses
import re

import numpy as np
import pytest

from scenewise.errors import ShapeError
from scenewise.scenes.predicates import THREE_DSSG
from scenewise.worlds.cameras import pinhole, random_view
from scenewise.worlds.captions import COLOR_NAMES, NO_COLOR, words_of
from scenewise.worlds.captures import Truth, truth
from scenewise.worlds.classes import CLASS_NAMES, class_id
from scenewise.worlds.relation_captions import (
    Fact,
    RelationCaption,
    RelationRecord,
    description,
    foils,
    implied,
    relation_record,
    sentence,
    viewing_yaw,
    with_few_colors,
)
from scenewise.worlds.relation_words import (
    FAMILIES,
    NO_RELATION,
    PHRASES,
    STATEMENTS,
    TOLD_CONVERSE,
    TOLD_PREDICATES,
    known_words,
    triplet_sentence,
)
from scenewise.worlds.relations import nodes_of, true_relations
from scenewise.worlds.rooms import Room, furnished_room

RED, BLUE = COLOR_NAMES.index("red"), COLOR_NAMES.index("blue")


def fact(subject: str, predicate: str, thing: str, colors: tuple[int, int] = (NO_COLOR, NO_COLOR)) -> Fact:
    return Fact(class_id(subject), TOLD_PREDICATES.index(predicate), class_id(thing), *colors)


def record_of(*facts: Fact) -> RelationRecord:
    rows = [(*each.triple, each.subject_color, each.object_color) for each in facts]
    return RelationRecord(np.array(rows, dtype=np.int64).reshape(-1, 5))


def pictures(count: int) -> list[tuple[Room, Truth, float, RelationRecord]]:
    found = []
    for seed in range(500, 500 + count):
        room, rng = furnished_room(seed), np.random.default_rng(seed)
        pose = random_view(room, rng)
        seen, yaw = truth(room, pinhole(pose, 64, 64, 70.0)), viewing_yaw(pose)
        found.append((room, seen, yaw, relation_record(room, seen.instance_ids, yaw)))
    return found


@pytest.fixture(scope="module")
def looked_at() -> list[tuple[Room, Truth, float, RelationRecord]]:
    return pictures(10)


def test_a_record_holds_what_is_true_between_things_that_can_be_seen_and_nothing_else(looked_at) -> None:
    for room, seen, yaw, record in looked_at:
        nodes = nodes_of(room)

        def share(node: int, room: Room = room, seen: Truth = seen, nodes: tuple[int, ...] = nodes) -> float:
            mine = [nodes[node]] if node else [0, *(i for i, t in enumerate(room.objects) if t.class_name == "floor")]
            return float(np.isin(seen.instance_ids, mine).mean())

        covered: dict[str, float] = {}
        for node, instance in enumerate(nodes):
            name = room.objects[instance].class_name
            covered[name] = covered.get(name, 0.0) + share(node)
        expected = set()
        for subject, thing, predicate in true_relations(room, yaw):
            first, second = room.objects[nodes[subject]], room.objects[nodes[thing]]
            if all(share(node) >= 0.0025 for node in (subject, thing)) and all(
                covered[each.class_name] >= 0.005 for each in (first, second)
            ):
                colors = COLOR_NAMES.index(first.color_name), COLOR_NAMES.index(second.color_name)
                expected.add((class_id(first.class_name), int(predicate), class_id(second.class_name), *colors))
        told = {tuple(map(int, row)) for row in record.facts}
        none = TOLD_PREDICATES.index(NO_RELATION)
        assert {row for row in told if row[1] != none} == expected
        related = {frozenset((row[0], row[2])) for row in expected}
        for row in told - expected:
            assert frozenset((row[0], row[2])) not in related and row[3:] == (NO_COLOR, NO_COLOR)
            assert all(covered[CLASS_NAMES[kind]] > 0 for kind in (row[0], row[2]))
    assert sum(len(record) for *_, record in looked_at) > 200


def test_left_and_near_are_those_of_whoever_looks_at_the_picture(looked_at) -> None:
    agree: dict[str, list[bool]] = {"left": [], "front": []}
    for room, seen, yaw, _ in looked_at:
        nodes = nodes_of(room)
        for subject, thing, predicate in true_relations(room, yaw):
            name = TOLD_PREDICATES[predicate]
            masks = [seen.instance_ids == nodes[node] for node in (subject, thing)]
            if name in agree and all(mask.sum() > 20 for mask in masks):
                columns = [np.nonzero(mask)[1].mean() for mask in masks]
                depths = [seen.depth[mask].mean() for mask in masks]
                agree[name].append(columns[0] < columns[1] if name == "left" else depths[0] < depths[1])
    assert len(agree["left"]) > 20 and len(agree["front"]) > 20
    assert np.mean(agree["left"]) > 0.85 and np.mean(agree["front"]) > 0.85  # perspective turns a few round


def test_every_sentence_is_true_of_its_picture_and_every_foil_is_false(looked_at) -> None:
    rng, known, false = np.random.default_rng(0), set(known_words()), 0
    for *_, record in looked_at:
        for row in rng.integers(0, len(record), 25):
            told = with_few_colors(rng, record.fact(int(row)))
            found = sentence(rng, told)
            assert set(words_of(found.text)) <= known, found.text
            assert all(record.holds(each) for each in found.facts)
            for wrong in foils(rng, record, told):
                false += 1
                plain = dataclasses.replace(wrong, subject_color=NO_COLOR, object_color=NO_COLOR)
                assert not record.holds(plain) and not record.holds(wrong)
                assert {wrong.subject, wrong.object} == {told.subject, told.object}
        chosen = [record.fact(int(row)) for row in rng.choice(len(record), 3, replace=False)]
        several = description(rng, chosen)
        assert set(words_of(several.text)) <= known and several.facts == tuple(chosen)
    assert false > 500


def test_sentences_say_who_stands_how_to_whom() -> None:
    """Forms of an asymmetric fact, written down by hand: what must come, and what must never."""
    rng = np.random.default_rng(1)
    said = {sentence(rng, fact("table", "left", "bed")).text.replace("desk", "table") for _ in range(600)}
    assert {
        "a point cloud of a table to the left of a bed",
        "a point cloud of a bed to the right of a table",
        "a table is to the left of a bed",
        "a bed is to the right of a table",
        "on the right of a table there is a bed",
        "there is a bed on the right hand side of a table",
    } <= said
    for text in said:
        side = re.search(r"\b(left|right)\b", text)
        assert side is not None
        is_table_first = text.index("table") < text.index("bed")
        reads_backwards = text.startswith("on the")  # "on the left of a bed there is a table"
        assert (side[0] == "left") == (is_table_first != reads_backwards), text
    said = {sentence(rng, fact("lamp", "standing on", "table")).text for _ in range(300)}
    assert {"a table with a lamp standing on it", "on top of a table there is a lamp", "a desk carrying a lamp"} & said
    assert not any(re.search(r"(table|desk) (\w+ )*on (top of )?a (lamp|light)", text) for text in said)


def test_what_lights_a_thing_is_what_it_is_lit_by() -> None:
    record = record_of(fact("lamp", "lighting", "chair"))
    assert record.holds(fact("chair", "lit by", "lamp")) and not record.holds(fact("lamp", "lit by", "chair"))
    assert fact("chair", "lit by", "lamp").canonical == fact("lamp", "lighting", "chair").canonical


def test_colours_hold_for_the_thing_they_were_seen_on() -> None:
    record = record_of(fact("chair", "close by", "table", (RED, BLUE)), fact("bed", "left", "chair", (BLUE, RED)))
    assert record.holds(fact("chair", "close by", "table")) and record.holds(fact("table", "close by", "chair", (BLUE, RED)))
    assert record.holds(fact("table", "close by", "chair", (NO_COLOR, RED)))
    assert not record.holds(fact("table", "close by", "chair", (RED, BLUE)))
    assert record.holds(fact("chair", "right", "bed", (RED, BLUE))) and not record.holds(fact("chair", "left", "bed"))
    same = record_of(fact("chair", "same as", "chair", (RED, BLUE)))
    assert same.holds(fact("chair", "same as", "chair", (BLUE, RED))) and not same.holds(
        fact("chair", "same as", "chair", (RED, RED))
    )


def test_implication_is_about_facts_and_colours_whichever_way_they_are_told() -> None:
    plain, colored = fact("chair", "left", "table"), fact("chair", "left", "table", (RED, NO_COLOR))
    turned, other = fact("table", "right", "chair", (NO_COLOR, RED)), fact("table", "left", "chair")
    captions = [RelationCaption("", facts) for facts in ((plain,), (colored,), (turned,), (other,), (plain, other))]
    expected = [
        [True, False, False, False, False],
        [True, True, True, False, False],
        [True, True, True, False, False],
        [False, False, False, True, False],
        [True, False, False, True, True],
    ]
    assert implied(captions, captions).tolist() == expected
    bigger, smaller = (RelationCaption("", (fact("bed", name, "bed"),)) for name in ("bigger than", "smaller than"))
    assert not implied([bigger], [smaller]).any(), "both are true of two beds, but about different ones"
    red = RelationCaption("", (fact("bed", "bigger than", "bed", (RED, BLUE)),))
    blue = RelationCaption("", (fact("bed", "smaller than", "bed", (BLUE, RED)),))
    assert implied([red], [blue, bigger, smaller]).all() and not implied([bigger, smaller], [red]).any()
    assert implied([], captions).shape == (0, 5) and implied(captions, []).shape == (5, 0)


def test_every_predicate_can_be_said_and_is_taken_for_others() -> None:
    assert set(PHRASES) == set(STATEMENTS) == set(TOLD_PREDICATES)
    assert {name for family in FAMILIES for name in family} == set(TOLD_PREDICATES) - {NO_RELATION}
    assert all(TOLD_CONVERSE[other] == name for name, other in TOLD_CONVERSE.items())
    for forms in (*PHRASES.values(), *STATEMENTS.values()):
        assert all(form.count("{s}") == form.count("{o}") == 1 for form in forms)
    ways = [form for forms in (*PHRASES.values(), *STATEMENTS.values()) for form in forms]
    assert len(set(ways)) == len(ways), "one form for two predicates"


def test_triplet_sentences_are_those_of_vl_sat() -> None:
    assert triplet_sentence("picture", "hanging on", "wall") == "a point cloud of a picture hanging on a wall"
    assert triplet_sentence("chair", "front", "bed") == "a point cloud of a chair in front of a bed"
    assert triplet_sentence("chair", "none", "bed") == "a point cloud of a chair and a bed that have no relation"
    known = set(known_words())
    for predicate in TOLD_PREDICATES:
        assert set(words_of(triplet_sentence("screen", predicate, "wardrobe"))) <= known
    assert not set(words_of(triplet_sentence("chair", "supported by", "floor"))) <= known and "supported by" in THREE_DSSG


def test_no_field_of_a_record_can_hold_a_map() -> None:
    assert [field.name for field in dataclasses.fields(RelationRecord)] == ["facts"]
    with pytest.raises((ShapeError, TypeError)):
        RelationRecord(np.zeros((64, 64), np.int64))


def test_a_record_does_not_change_when_the_picture_is_moved_about() -> None:
    room, seen, yaw, record = pictures(1)[0]
    moved = relation_record(room, np.roll(seen.instance_ids, (5, 3), axis=(0, 1)), yaw)
    assert np.array_equal(record.facts, moved.facts)

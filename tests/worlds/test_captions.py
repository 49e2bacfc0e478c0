"""Captions say only what holds, and only of pictures as a whole."""

import dataclasses

import numpy as np
import pytest

from scenewise.worlds import captions
from scenewise.worlds.captions import NO_COLOR, NO_SUBJECT, Caption, ImageRecords, caption, entailed, image_record
from scenewise.worlds.classes import CLASS_NAMES, class_id
from scenewise.worlds.rooms import furnished_room

CLASSES = len(CLASS_NAMES)


def record(**shares: float) -> ImageRecords:
    """A record of one picture: share by class name, one red instance each."""
    counts, colors, covered = np.zeros((1, CLASSES), np.uint8), np.full((1, CLASSES), NO_COLOR, np.uint8), np.zeros((1, CLASSES))
    for name, share in shares.items():
        counts[0, class_id(name)] = 1
        colors[0, class_id(name)] = captions.COLOR_NAMES.index("red")
        covered[0, class_id(name)] = share
    return ImageRecords(counts, colors, covered.astype(np.float32))


def joined(*records: ImageRecords) -> ImageRecords:
    return ImageRecords(*(np.concatenate([getattr(r, name) for r in records]) for name in ("counts", "colors", "shares")))


def test_a_record_says_what_is_visible_and_not_where() -> None:
    room = furnished_room(3)
    chair = next(i for i, thing in enumerate(room.objects) if thing.class_name == "chair")
    ids = np.full((20, 10), 1, dtype=np.int64)  # all ceiling
    ids[3:7, 2:5] = chair
    found = image_record(room, ids)
    assert found.counts[0, class_id("chair")] == 1 and found.counts[0, class_id("ceiling")] == 1 and found.counts.sum() == 2
    assert found.shares[0, class_id("chair")] == pytest.approx(12 / 200)
    assert captions.COLOR_NAMES[found.colors[0, class_id("chair")]] == room.objects[chair].color_name
    moved = image_record(room, np.roll(ids, (5, 3), axis=(0, 1)))
    assert all((getattr(found, field.name) == getattr(moved, field.name)).all() for field in dataclasses.fields(found))


def test_no_field_of_a_record_can_hold_a_map() -> None:
    assert {field.name for field in dataclasses.fields(ImageRecords)} == {"counts", "colors", "shares"}
    assert all(getattr(record(chair=0.3), field.name).shape == (1, CLASSES) for field in dataclasses.fields(ImageRecords))


def test_the_subject_is_what_clearly_covers_most() -> None:
    cases = {
        "chair": record(wall=0.6, chair=0.3, lamp=0.1),
        "floor": record(floor=0.8, wall=0.15, plant=0.05),
    }
    for name, found in cases.items():
        assert found.subjects[0] == class_id(name)
    assert record(wall=0.5, chair=0.3, lamp=0.2).subjects[0] == NO_SUBJECT
    assert record(floor=0.4, wall=0.4, ceiling=0.2).subjects[0] == NO_SUBJECT


def test_every_caption_is_made_of_known_words_and_true_of_its_own_picture() -> None:
    rng = np.random.default_rng(0)
    known = set(captions.known_words())
    pictures = joined(
        record(wall=0.3, floor=0.2, chair=0.4, table=0.02),
        record(bed=0.5, wall=0.5),
        record(wall=0.5, picture=0.01, lamp=0.01, monitor=0.01, bookshelf=0.02),
        record(ceiling=0.9),
    )
    for row in [0, 1, 2, 3] * 40:
        own = pictures.rows(np.array([row]))
        found = caption(rng, own)
        assert set(captions.words_of(found.text)) <= known, found.text
        assert entailed([found], own)[0, 0], found


def test_a_caption_names_nothing_that_is_not_visible() -> None:
    rng = np.random.default_rng(1)
    bed = record(bed=0.5, wall=0.5)
    hidden = {
        noun for name, nouns in captions.SYNONYMS.items() if name not in ("bed", "wall", "picture", "lamp") for noun in nouns
    }
    for _ in range(200):
        assert not hidden & set(captions.words_of(caption(rng, bed).text))


def test_entailment_knows_classes_colours_purposes_and_subjects() -> None:
    chair, bed = class_id("chair"), class_id("bed")
    red, blue = captions.COLOR_NAMES.index("red"), captions.COLOR_NAMES.index("blue")
    told = [
        Caption("a chair", frozenset({chair})),
        Caption("a blue chair", frozenset({chair}), colors=((chair, blue),)),
        Caption("a red chair", frozenset({chair}), colors=((chair, red),)),
        Caption("something to sit on", frozenset(), any_of=frozenset({chair, class_id("sofa")})),
        Caption("a photo of a chair", frozenset({chair}), subject=chair),
        Caption("a chair and a bed", frozenset({chair, bed})),
    ]
    pictures = joined(record(chair=0.1), record(chair=0.3, bed=0.1), record(sofa=0.3), record(bed=0.5))
    expected = [
        [True, False, True, True, False, False],
        [True, False, True, True, True, True],
        [False, False, False, True, False, False],
        [False, False, False, False, False, False],
    ]
    assert entailed(told, pictures).tolist() == expected


def test_affordances_name_classes_that_exist_once_each() -> None:
    served = [name for affordance in captions.AFFORDANCES for name in affordance.class_names]
    assert len(set(served)) == len(served) and set(served) <= set(CLASS_NAMES)

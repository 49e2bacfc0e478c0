"""The positive control's worlds: what each keeps and what it takes away."""

from dataclasses import replace

import numpy as np
import pytest

from scenewise.methods.vl_sat.examples import GraphData
from scenewise.studies.graphs.control import DIM, ControlWorld, RandomText, control_data

WORLD = ControlWorld(scans=40, test=30, things=3, uses=4, classes=3, points=32)


def knob_of(points: np.ndarray) -> np.ndarray:
    """Where the points lie that stick out, as seen from the middle of the thing, in units of its box."""
    offset = points - np.median(points, axis=0)
    half = np.quantile(np.abs(offset), 0.8, axis=0)
    out = np.abs(offset / half).max(axis=1)
    return (offset / half)[np.argsort(out)[-3:]].mean(axis=0)


@pytest.mark.parametrize("kind", ["teaching", "placebo", "null", "careful"])
def test_the_same_seed_makes_the_same_world(kind) -> None:
    (learn, test), (again, other) = control_data(WORLD, kind, 5), control_data(WORLD, kind, 5)
    assert learn.fingerprint == again.fingerprint and test.fingerprint == other.fingerprint
    assert control_data(WORLD, kind, 6)[0].fingerprint != learn.fingerprint
    assert (len(learn), len(test)) == (40, 30) and learn.classes == test.classes and learn.predicates == test.predicates
    for example in (*learn.examples, *test.examples):
        assert len(example.scan.triplets) == 6 and all(len(points) == 32 for points in example.scan.points_in_world)
        assert example.pictures is not None and example.pictures.shape == (3, DIM)
        assert np.allclose(np.linalg.norm(example.pictures, axis=1), 1.0, atol=1e-5) and example.seen.all()


def predicates_by_subject(data: GraphData) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and predicates, a row per relation."""
    pictures, predicates = [], []
    for example in data.examples:
        assert example.pictures is not None
        subject, _, predicate = example.scan.triplets.T
        pictures.append(example.pictures[subject])
        predicates.append(predicate)
    return np.concatenate(pictures), np.concatenate(predicates)


def told_by_pictures(data: GraphData) -> float:
    """Share of relations that the nearest other scan's picture, by cosine, gives right."""
    pictures, predicates = predicates_by_subject(data)
    alike = pictures @ pictures.T
    alike[alike > 0.9999] = -1.0  # the same thing
    return float((predicates[np.argmax(alike, axis=1)] == predicates).mean())


def told_by_shapes(data: GraphData) -> float:
    """The same by where the points stick out."""
    knobs, predicates, owners = [], [], []
    for number, example in enumerate(data.examples):
        subject, _, predicate = example.scan.triplets.T
        knobs.append(np.stack([knob_of(points) for points in example.scan.points_in_world])[subject])
        predicates.append(predicate)
        owners.append(np.full(len(subject), number))
    where, what, owner = np.concatenate(knobs), np.concatenate(predicates), np.concatenate(owners)
    away = np.linalg.norm(where[:, None] - where[None], axis=-1)
    away[owner[:, None] == owner[None]] = np.inf
    return float((what[np.argmin(away, axis=1)] == what).mean())


def test_pictures_say_the_use_and_shapes_show_it() -> None:
    for kind, by_pictures, by_shapes in (
        ("teaching", True, True),
        ("careful", True, True),
        ("placebo", False, True),
        ("null", True, False),
    ):
        _, test = control_data(WORLD, kind, 5)
        chance = 1 / WORLD.uses
        shares = told_by_pictures(test), told_by_shapes(test)
        for share, is_told in zip(shares, (by_pictures, by_shapes), strict=True):
            assert share > 2.0 * chance if is_told else share < 1.5 * chance, (kind, shares)


def test_annotators_err_in_what_is_learned_from_alone() -> None:
    def rules_broken(data: GraphData) -> float:
        """Share of things that several relations are told of: with rules and no errors there is one per subject."""
        several = [
            len(set(example.scan.triplets[example.scan.triplets[:, 0] == subject, 2].tolist())) > 1
            for example in data.examples
            for subject in range(3)
        ]
        return float(np.mean(several))

    learn, test = control_data(WORLD, "teaching", 5)
    # Two relations of a subject differ with probability 1 − P(same): both right, or by chance.
    assert 0.4 < rules_broken(learn) < 0.8 and rules_broken(test) == 0.0
    careful, _ = control_data(WORLD, "careful", 5)
    assert rules_broken(careful) == 0.0


def test_placebo_pictures_are_those_of_other_things_and_nothing_else_changes() -> None:
    (truth, _), (dealt, _) = (control_data(WORLD, kind, 5) for kind in ("teaching", "placebo"))
    mine, theirs = (np.concatenate([each.pictures for each in data.examples]) for data in (truth, dealt))
    assert (mine != theirs).any(axis=1).mean() > 0.9
    assert np.array_equal(mine[np.lexsort(mine.T)], theirs[np.lexsort(theirs.T)]), "dealt out anew, none changed"
    for first, second in zip(truth.examples, dealt.examples, strict=True):
        assert np.array_equal(first.scan.triplets, second.scan.triplets)
        assert np.array_equal(first.scan.class_ids, second.scan.class_ids)
        assert all(map(np.array_equal, first.scan.points_in_world, second.scan.points_in_world))


def test_rules_of_what_is_learned_hold_in_what_is_measured() -> None:
    learn, test = control_data(replace(WORLD, errors=0.0), "teaching", 5)
    (known, told), (asked, truth) = predicates_by_subject(learn), predicates_by_subject(test)
    assert (told[np.argmax(asked @ known.T, axis=1)] == truth).mean() > 0.7


def test_random_sentences_are_units_and_hear_the_order_of_words() -> None:
    text = RandomText()
    found = text.embed(["a lamp on a table", "a table on a lamp", "a lamp on a table"])
    assert found.shape == (3, DIM) and np.allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-6)
    assert np.array_equal(found[0], found[2]) and 0.2 < float(found[0] @ found[1]) < 0.95

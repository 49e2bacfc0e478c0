"""Where labels go, and what they say."""

from itertools import combinations

import numpy as np
from tests.support.small_graph import FLOOR_ID, LAMP_ID, SOFA_ID, small_graph, thing

from scenewise.scenes.predicates import DIRECTIONS
from scenewise.scenes.scene_graphs import Relation, SceneGraph
from scenewise.show.graphs.arrows import Arrow, _between_plates
from scenewise.show.graphs.plates import Plate, drawable, letter_size, overlap, placed_plates, plate_size
from scenewise.show.graphs.telling import (
    area_text,
    drawn_relations,
    object_colors,
    object_label,
    said_once,
    sentence,
    size_text,
)

RED = (200, 0, 0)


def test_no_label_covers_another():
    rng = np.random.default_rng(3)
    plates = [Plate(f"thing {i}", ((float(x), float(y)),), RED) for i, (x, y) in enumerate(rng.uniform(200, 500, (60, 2)))]
    placed = placed_plates(plates, 900, 700, letter_size(900), taken=[(300.0, 300.0, 400.0, 400.0)])
    assert 45 < len(placed) <= 60
    for first, second in combinations([each.place for each in placed], 2):
        assert not overlap(first, second, 1.9)
    for each in placed:
        left, top, right, bottom = each.place
        assert left >= 0 and top >= 0 and right <= 900 and bottom <= 700
        assert not overlap(each.place, (300.0, 300.0, 400.0, 400.0))
    assert placed == placed_plates(plates, 900, 700, letter_size(900), taken=[(300.0, 300.0, 400.0, 400.0)])


def test_a_label_alone_stands_where_it_belongs():
    across, down = plate_size("table 4", "name", 15.0)
    on, above = (
        placed_plates([Plate("table 4", ((400.0, 300.0),), RED, is_above=is_above)], 900, 700, 15.0)[0].place
        for is_above in (False, True)
    )
    assert on == (400 - across / 2, 300 - down / 2, 400 + across / 2, 300 + down / 2)
    assert above == (on[0], 297 - down, on[2], 297.0)
    corner = placed_plates([Plate("table 4", ((0.0, 0.0),), RED)], 900, 700, 15.0)[0].place
    assert corner[:2] == (1.0, 1.0)
    assert placed_plates([Plate("far too long for this picture", ((10.0, 10.0),), RED)], 40, 40, 15.0) == ()


def test_the_second_anchor_is_taken_before_a_place_beside_the_first():
    taken = [(90.0, 90.0, 110.0, 110.0)]
    (placed,) = placed_plates([Plate("on", ((100.0, 100.0), (200.0, 150.0)), RED, "predicate")], 900, 700, 15.0, taken)
    assert placed.anchor == (200.0, 150.0) and placed.place[0] < 200.0 < placed.place[2]


def test_an_arrow_begins_and_ends_outside_of_names():
    arrow = Arrow("on", (50.0, 50.0), (250.0, 150.0), RED)
    free = _between_plates(arrow, [(30.0, 40.0, 90.0, 60.0), (240.0, 130.0, 300.0, 170.0)])
    # It falls by half of what it goes across: it leaves the first plate through its lower side, 10 down and 20 across.
    assert free is not None and (free.start, free.end) == ((70.0, 60.0), (240.0, 145.0))
    assert _between_plates(arrow, [(0.0, 0.0, 160.0, 120.0), (150.0, 80.0, 300.0, 170.0)]) is None


def test_letters_the_font_has_not():
    assert drawable("Stühle × 2\nßø 37 m²") == "Stuhle x 2 sso 37 m2"
    assert drawable("椅子 4") == "?? 4"


def test_what_two_relations_say_from_both_sides_is_said_once():
    graph = small_graph()
    told = said_once(graph, graph.relations)
    assert [each.predicate for each in told] == ["lighting", "close by", "standing on", "left"]
    of_lamp = said_once(graph, graph.relations_of(LAMP_ID), first=LAMP_ID)
    assert [(each.subject, each.predicate) for each in of_lamp] == [
        (LAMP_ID, "lighting"),
        (LAMP_ID, "close by"),
        (LAMP_ID, "right"),
    ]


def test_the_most_telling_relation_of_a_pair_is_drawn():
    graph = small_graph()
    both = {SOFA_ID, LAMP_ID}
    assert [each.predicate for each in drawn_relations(graph, both, 5)] == ["lighting"]
    assert [each.predicate for each in drawn_relations(graph, {*both, FLOOR_ID}, 5)] == ["lighting", "standing on"]
    assert len(drawn_relations(graph, {*both, FLOOR_ID}, 1)) == 1 and drawn_relations(graph, {SOFA_ID}, 5) == ()


def test_directions_are_drawn_when_asked():
    things = (thing(1, "cup", [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]), thing(2, "book", [2.0, 0.0, 0.0], [1.0, 1.0, 1.0]))
    relations = (Relation(1, "left", 2, 1.0, "geometry"), Relation(2, "right", 1, 1.0, "geometry"))
    graph = SceneGraph(things, relations, (), np.array([0.0, 0.0, 1.0]), "arbitrary", DIRECTIONS)
    assert drawn_relations(graph, {1, 2}, 5) == ()
    assert drawn_relations(graph, {1, 2}, 5, trivial=True) == relations[:1]
    assert size_text(graph, np.array([0.5, 12.345, 0.001])) == "0.5 × 12.3 × 0.001 units"
    assert area_text(graph, 3.0) == "3 square units"
    assert len(set(object_colors(graph).values())) == 2


def test_words_for_people():
    graph = small_graph()
    left, lighting = graph.relations[1], graph.relations[4]
    assert sentence(graph, lighting) == "lamp 7 lighting sofa 3"
    assert sentence(graph, left) == "sofa 3 to the left of lamp 7, as seen from 0.jpg"
    assert sentence(graph, Relation(SOFA_ID, "left", LAMP_ID, 1.0, "geometry", "subject")).endswith("as it looks itself")
    assert size_text(graph, np.array([0.8, 0.6, 0.5])) == "80 × 60 × 50 cm"
    assert size_text(graph, np.array([1.2, 0.6, 0.5])) == "1.20 × 0.60 × 0.50 m"
    assert area_text(graph, 8.04) == "8.0 m²"
    assert len(object_label(thing(4, "a" * 90, [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]))) < 40
    colors = object_colors(graph, ((9, 9, 9), (1, 2, 3)))
    assert colors[SOFA_ID] == (1, 2, 3) and colors[LAMP_ID] not in ((9, 9, 9), (1, 2, 3))  # its class has no colour

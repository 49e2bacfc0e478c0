"""Facts are true, and captions are true of one room only."""

from collections import Counter
from dataclasses import replace
from itertools import combinations

import pytest

from scenewise.worlds.captions import known_words, words_of
from scenewise.worlds.library_rooms import LibraryRoom, library_rooms
from scenewise.worlds.relations import hosts_of
from scenewise.worlds.room_facts import RoomFact, holds, room_facts, unique_captions
from scenewise.worlds.rooms import Room, furnished_room
from scenewise.worlds.seeds import VALIDATION_SEEDS


@pytest.fixture(scope="module")
def library() -> tuple[LibraryRoom, ...]:
    return library_rooms(scenes=11, twins=4, duplicates=4, seed=5, validation=True)


def is_true(fact: RoomFact, room: Room) -> bool:
    """Counted by hand."""
    found = 0
    for thing, host in zip(room.objects, hosts_of(room)):
        if (thing.color_name, thing.class_name) == (fact.color, fact.name):
            on = None if host is None else (room.objects[host].color_name, room.objects[host].class_name)
            found += fact.on is None or fact.on == on
    return found >= fact.count


def room_of(facts: str) -> Room:
    """A room whose furniture is told by colours and names; only what they are called and how large they are counts."""
    plain = furnished_room(VALIDATION_SEEDS[0])
    model = next(thing for thing in plain.objects if thing.class_name == "chair")
    words = [fact.split() for fact in facts.split(", ")]
    return replace(plain, objects=tuple(replace(model, color_name=color, class_name=name) for color, name in words))


class TestFacts:
    def test_facts_of_a_room_are_true_and_are_counted(self, library: tuple[LibraryRoom, ...]) -> None:
        for entry in library:
            facts = room_facts(entry.room)
            assert len(set(facts)) == len(facts) and all(is_true(fact, entry.room) for fact in facts)
            shell = [thing.class_name for thing in entry.room.objects[:6]]
            assert shell == ["floor", "ceiling", "wall", "wall", "wall", "wall"]
            floors = [fact for fact in facts if fact.name == "floor"]
            assert [fact.color for fact in floors] == [entry.room.objects[0].color_name]  # no rugs
        carried = [fact for entry in library for fact in room_facts(entry.room) if fact.on is not None]
        assert {"monitor", "lamp", "plant"} == {fact.name for fact in carried}
        assert {fact.on[1] for fact in carried if fact.on is not None} == {"table", "cabinet"}

    def test_two_are_told_as_two_and_nine_as_four(self) -> None:
        room = room_of("red chair, red chair, blue sofa" + ", gray chair" * 9)
        assert room_facts(room) == (RoomFact(4, "gray", "chair"), RoomFact(2, "red", "chair"), RoomFact(1, "blue", "sofa"))
        assert holds(RoomFact(1, "red", "chair"), room) and holds(RoomFact(2, "red", "chair"), room)
        assert not holds(RoomFact(3, "red", "chair"), room) and not holds(RoomFact(1, "red", "sofa"), room)
        assert not holds(RoomFact(1, "red", "chair", ("blue", "sofa")), room)

    def test_what_is_small_is_not_told_but_holds(self) -> None:
        room = room_of("red chair, blue lamp")
        small = replace(room, objects=(room.objects[0], replace(room.objects[1], size=(0.2, 0.25, 0.39))))
        assert room_facts(small) == (RoomFact(1, "red", "chair"),)
        assert holds(RoomFact(1, "blue", "lamp"), small)


class TestCaptions:
    def test_they_are_true_of_their_room_only(self, library: tuple[LibraryRoom, ...]) -> None:
        captions = unique_captions(library, seed=1)
        assert set(captions) == {entry.name for entry in library if entry.role != "duplicate"}
        for entry in library:
            caption = captions.get(entry.name)
            if caption is None:
                continue
            assert all(is_true(fact, entry.room) for fact in caption.facts) and len(caption.facts) >= 3
            for other in library:
                if other is not entry and not (other.role == "duplicate" and other.of == entry.name):
                    assert not all(is_true(fact, other.room) for fact in caption.facts), (entry.name, other.name)
            assert len({kind for fact in caption.facts for kind in fact.kinds}) == sum(len(fact.kinds) for fact in caption.facts)
        assert sum(caption is not None for caption in captions.values()) >= 9
        assert captions == unique_captions(library, seed=1) != unique_captions(library, seed=2)

    def test_nothing_is_mentioned_twice(self) -> None:
        """Without the rule, "a gray lamp on a white table" and "a white table" would be two of three facts."""
        model = next(room for room in map(furnished_room, VALIDATION_SEEDS[:20]) if any(fact.on for fact in room_facts(room)))
        carried = next(index for index, host in enumerate(hosts_of(model)) if host is not None and index)
        host = hosts_of(model)[carried]
        assert host is not None
        bare = replace(model, objects=(model.objects[0], model.objects[host], model.objects[carried]))
        assert len(room_facts(bare)) == 4
        assert unique_captions([LibraryRoom("a", bare, "scene")], seed=0)["a"] is not None
        assert unique_captions([LibraryRoom("a", replace(bare, objects=bare.objects[1:]), "scene")], seed=0)["a"] is None

    def test_no_smaller_set_would_do(self, library: tuple[LibraryRoom, ...]) -> None:
        for entry in library[:6]:
            facts, others = room_facts(entry.room), [other for other in library if other.name != entry.name]
            caption = unique_captions([entry, *others], seed=0)[entry.name]
            others = [other for other in others if other.of != entry.name or other.role != "duplicate"]
            least = next(
                count
                for count in range(3, 7)
                for chosen in combinations(facts, count)
                if max(Counter(kind for fact in chosen for kind in fact.kinds).values()) == 1
                and not any(all(is_true(fact, other.room) for fact in chosen) for other in others)
            )
            assert caption is not None and len(caption.facts) == least

    def test_as_many_facts_as_it_takes(self) -> None:
        """Each other room lacks one of five things, so that all five must be told."""
        things = ["red chair", "blue sofa", "white table", "green bed", "gray door", "pink lamp"]
        rooms = [LibraryRoom("all", room_of(", ".join(things)), "scene")]
        rooms += [
            LibraryRoom(f"no {lost}", room_of(", ".join(each for each in things if each != lost)), "scene") for lost in things[:5]
        ]
        caption = unique_captions(rooms, seed=0)["all"]
        assert caption is not None
        assert {f"{fact.color} {fact.name}" for fact in caption.facts} == set(things[:5])

    def test_none_where_another_room_has_it_all(self) -> None:
        poor, rich = room_of("red chair, blue sofa, white table"), room_of("red chair, blue sofa, white table, pink bed")
        rooms = [LibraryRoom("poor", poor, "scene"), LibraryRoom("rich", rich, "scene")]
        captions = unique_captions(rooms, seed=0)
        assert captions["poor"] is None and captions["rich"] is not None
        # The same room captured again does not count as another one; that of another room does.
        assert unique_captions([rooms[0], LibraryRoom("again", rich, "duplicate", "poor")], seed=0)["poor"] is not None
        assert unique_captions([*rooms[1:], LibraryRoom("again", rich, "duplicate", "poor")], seed=0)["rich"] is None

    def test_sentences_say_the_facts_in_known_words(self, library: tuple[LibraryRoom, ...]) -> None:
        rooms = [LibraryRoom("a", room_of("orange chair, orange chair, blue bed, gray bookshelf, gray bookshelf"), "scene")]
        caption = unique_captions(rooms, seed=4)["a"]
        assert caption is not None
        said = {"two orange chairs", "a blue bed", "two gray bookshelves", "two gray bookcases"}
        told = caption.text.removeprefix("a room with ").replace(" and ", ", ").split(", ")
        assert len(told) == 3 and set(told) <= said
        texts = [each.text for seed in range(6) for each in unique_captions(library, seed).values() if each is not None]
        assert {word for text in texts for word in words_of(text)} <= set(known_words())
        assert any(" on a" in text for text in texts) and any(" an orange" in text for text in texts)
        assert not any("wardrobe" in text or "desk" in text for text in texts)

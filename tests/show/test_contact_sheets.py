"""Contact sheets: pictures where they belong, words below them, nothing that does not fit."""

import io

import numpy as np
from PIL import Image

from scenewise.show.contact_sheets import Tile, contact_sheet, picture_of

RED, BLUE = np.full((48, 64, 3), (200, 20, 20), np.uint8), np.full((90, 30, 3), (20, 20, 200), np.uint8)
GAP, WIDTH, HEIGHT = 14, 256, 192


def color_at(sheet: np.ndarray, x: int, y: int) -> list[int]:
    return sheet[y, x].tolist()


def test_pictures_stand_in_rows_in_their_order():
    sheet = contact_sheet([Tile(RED, ("one", "more")), Tile(BLUE, ("two",)), Tile(None)], columns=2)
    assert sheet.shape[1] == GAP + 2 * (WIDTH + GAP)
    middle = GAP + WIDTH // 2, GAP + HEIGHT // 2
    assert color_at(sheet, *middle) == [200, 20, 20]
    assert color_at(sheet, GAP, GAP) == [200, 20, 20] and color_at(sheet, GAP + WIDTH - 1, GAP + HEIGHT - 1) == [200, 20, 20]
    second = GAP + WIDTH + GAP + WIDTH // 2
    assert color_at(sheet, second, middle[1]) == [20, 20, 200]
    assert color_at(sheet, second - 60, middle[1]) not in ([20, 20, 200], color_at(sheet, 1, 1))  # a tall picture leaves a field
    below = sheet[GAP + HEIGHT : GAP + HEIGHT + 40]
    assert below[:, GAP : GAP + WIDTH].min() < 60 and below[:, : GAP - 1].min() > 200  # words, and nothing beside them
    third = GAP + HEIGHT + 2 * 18 + GAP + HEIGHT // 2
    assert color_at(sheet, middle[0], third) == [228, 229, 226] and color_at(sheet, second, third) == color_at(sheet, 1, 1)


def test_what_was_asked_for_stands_above():
    sheet = contact_sheet([Tile(BLUE)], first=Tile(RED))
    middle = GAP + WIDTH // 2
    assert color_at(sheet, middle, GAP + HEIGHT // 2) == [200, 20, 20]
    assert color_at(sheet, middle, GAP + HEIGHT + GAP + HEIGHT // 2) == [20, 20, 200]


def test_words_are_cut_where_the_tile_ends_and_any_letters_are_drawn():
    long = contact_sheet([Tile(RED, ("w" * 500,)), Tile(RED, ("",))])
    assert long[GAP + HEIGHT :, GAP + WIDTH + 1 : GAP + WIDTH + GAP].min() > 200
    assert contact_sheet([Tile(RED, ("Küche 椅子 42°",))]).shape[0] == GAP + HEIGHT + 18 + GAP
    assert contact_sheet([]).size > 0


def test_small_pictures_are_decoded_or_left_out():
    file = io.BytesIO()
    Image.fromarray(RED).save(file, "JPEG")
    found = picture_of(file.getvalue())
    assert found is not None and found.shape == RED.shape and abs(int(found[5, 5, 0]) - 200) < 5
    assert picture_of(b"") is None and picture_of(b"\xff\xd8broken") is None and picture_of(file.getvalue()[:200]) is None
